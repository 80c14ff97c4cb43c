//! Directives whose values are words of a fixed list: one type for each, and the words. Re-exported by the model.

/// `off`, `on`, `always` and their kin: what the words of an enumerated directive mean.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// The words a configuration may use, with what they mean.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }
    };
}

choice! {
    /// `server_tokens`.
    ServerTokens {
        /// The name alone.
        Off = "off",
        /// Name and version.
        On = "on",
        /// Name, version and build.
        Build = "build",
    }
}
choice! {
    /// `lingering_close`.
    LingeringClose {
        /// Never.
        Off = "off",
        /// When the client seems to be still sending.
        On = "on",
        /// Always.
        Always = "always",
    }
}
choice! {
    /// `if_modified_since`.
    IfModifiedSince {
        /// The field is ignored.
        Off = "off",
        /// The dates must be equal.
        Exact = "exact",
        /// The file is not newer.
        Before = "before",
    }
}
choice! {
    /// `splice`: whether bytes that nothing looks at go from socket to socket inside the kernel.
    #[derive(Default)]
    Splicing {
        /// Never.
        Off = "off",
        /// Wherever they can.
        On = "on",
        /// Where there are enough of them at a time.
        #[default]
        Auto = "auto",
    }
}
choice! {
    /// `autoindex_format`.
    ListingFormat {
        /// A page.
        Html = "html",
        /// A JSON array.
        Json = "json",
        /// The same as the argument of a call, where the request names a function.
        Jsonp = "jsonp",
        /// XML.
        Xml = "xml",
    }
}
choice! {
    /// Which symbolic links `disable_symlinks` refuses.
    #[derive(Default)]
    Symlinks {
        /// None.
        #[default]
        Off = "off",
        /// Every one.
        On = "on",
        /// Those whose owner is another than that of what they lead to.
        IfNotOwner = "if_not_owner",
    }
}
choice! {
    /// `satisfy`.
    Satisfy {
        /// Every access check must allow.
        All = "all",
        /// One access check that allows is enough.
        Any = "any",
    }
}
choice! {
    /// `client_body_in_file_only`.
    BodyInFile {
        /// Only bodies that do not fit the buffer.
        Off = "off",
        /// Every body, and the file stays.
        On = "on",
        /// Every body, and the file is removed.
        Clean = "clean",
    }
}
choice! {
    /// `proxy_http_version`.
    HttpVersion {
        /// HTTP/1.0.
        Http10 = "1.0",
        /// HTTP/1.1.
        Http11 = "1.1",
        /// HTTP/2.
        Http2 = "2",
    }
}
choice! {
    /// `add_header_inherit`.
    HeaderInherit {
        /// Nothing of the level above.
        Off = "off",
        /// All of the level above, if this one has none.
        On = "on",
        /// All of the level above, then this one's.
        Merge = "merge",
    }
}
choice! {
    /// `trace_context`.
    TraceContext {
        /// Fields of a trace pass as others do.
        Off = "off",
        /// A client's trace goes on, if it is valid.
        Pass = "pass",
        /// A trace begins with each request, whatever the client says.
        Start = "start",
        /// A client's trace goes on, and one begins where there is none.
        On = "on",
    }
}
choice! {
    /// `userid`.
    UseridMode {
        /// Nothing.
        Off = "off",
        /// Logs the cookie that came.
        Log = "log",
        /// Sets and logs a version 1 cookie.
        V1 = "v1",
        /// Sets and logs a version 2 cookie.
        On = "on",
    }
}

choice! {
    /// `ssl_verify_client`.
    VerifyClient {
        /// Clients are not asked.
        Off = "off",
        /// A certificate that is missing or wrong is an error.
        On = "on",
        /// A certificate that is wrong is an error.
        Optional = "optional",
        /// As `optional`, and nobody known has to have signed it.
        OptionalNoCa = "optional_no_ca",
    }
}

choice! {
    /// `ssl_ocsp`.
    Ocsp {
        /// Nobody is asked.
        Off = "off",
        /// About all certificates but the trusted one.
        On = "on",
        /// About the client's own.
        Leaf = "leaf",
    }
}

choice! {
    /// `gzip_static` and its kin.
    StaticMode {
        /// Never.
        Off = "off",
        /// For clients that accept it.
        On = "on",
        /// For every client.
        Always = "always",
    }
}

choice! {
    /// `proxy_cache_mode`.
    CacheMode {
        /// nginx's rules.
        Nginx = "nginx",
        /// Those of RFC 9111.
        Rfc9111 = "rfc9111",
    }
}

choice! {
    /// Levels of the error log; a log takes its level and everything before it.
    LogLevel {
        /// The process cannot go on.
        Emerg = "emerg",
        /// Act at once.
        Alert = "alert",
        /// Something failed that should not.
        Crit = "crit",
        /// A request or a connection failed.
        Error = "error",
        /// Something looks wrong.
        Warn = "warn",
        /// Worth knowing.
        Notice = "notice",
        /// What happens.
        Info = "info",
        /// Everything.
        Debug = "debug",
    }
}

/// Several words of a fixed list at once.
macro_rules! mask {
    ($(#[$meta:meta])* $name:ident { $($(#[$bmeta:meta])* $bit:ident = $shift:literal $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(u16);

        impl $name {
            $($(#[$bmeta])* pub const $bit: Self = Self(1 << $shift);)+
            /// The words a configuration may use, with what they mean.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$bit)),+];

            /// Whether every part of `other` is in this.
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// This and `other` together.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
}

mask! {
    /// `ssl_protocols` and its kin.
    SslProtocols {
        /// SSL 2.
        SSL_2 = 0 "SSLv2",
        /// SSL 3.
        SSL_3 = 1 "SSLv3",
        /// TLS 1.0.
        TLS_1_0 = 2 "TLSv1",
        /// TLS 1.1.
        TLS_1_1 = 3 "TLSv1.1",
        /// TLS 1.2.
        TLS_1_2 = 4 "TLSv1.2",
        /// TLS 1.3.
        TLS_1_3 = 5 "TLSv1.3",
    }
}
mask! {
    /// `proxy_next_upstream`: what lets a request go to another server.
    NextUpstream {
        /// `error`.
        ERROR = 0 "error",
        /// `timeout`.
        TIMEOUT = 1 "timeout",
        /// `invalid_header`.
        INVALID_HEADER = 2 "invalid_header",
        /// `non_idempotent`.
        NON_IDEMPOTENT = 3 "non_idempotent",
        /// `http_500`.
        HTTP_500 = 4 "http_500",
        /// `http_502`.
        HTTP_502 = 5 "http_502",
        /// `http_503`.
        HTTP_503 = 6 "http_503",
        /// `http_504`.
        HTTP_504 = 7 "http_504",
        /// `http_403`.
        HTTP_403 = 8 "http_403",
        /// `http_404`.
        HTTP_404 = 9 "http_404",
        /// `http_429`.
        HTTP_429 = 10 "http_429",
        /// `updating`: for stale answers only, harmless here.
        UPDATING = 11 "updating",
        /// `off`.
        OFF = 12 "off",
    }
}
mask! {
    /// `proxy_ignore_headers`: fields of an answer that do not steer us.
    IgnoreHeaders {
        /// `X-Accel-Redirect`.
        X_ACCEL_REDIRECT = 0 "X-Accel-Redirect",
        /// `X-Accel-Expires`.
        X_ACCEL_EXPIRES = 1 "X-Accel-Expires",
        /// `X-Accel-Limit-Rate`.
        X_ACCEL_LIMIT_RATE = 2 "X-Accel-Limit-Rate",
        /// `X-Accel-Buffering`.
        X_ACCEL_BUFFERING = 3 "X-Accel-Buffering",
        /// `X-Accel-Charset`.
        X_ACCEL_CHARSET = 4 "X-Accel-Charset",
        /// `Expires`.
        EXPIRES = 5 "Expires",
        /// `Cache-Control`.
        CACHE_CONTROL = 6 "Cache-Control",
        /// `Set-Cookie`.
        SET_COOKIE = 7 "Set-Cookie",
        /// `Vary`.
        VARY = 8 "Vary",
    }
}
mask! {
    /// `proxy_cache_methods`: requests whose answers are stored.
    CacheMethods {
        /// `GET`, always.
        GET = 0 "GET",
        /// `HEAD`, always.
        HEAD = 1 "HEAD",
        /// `POST`.
        POST = 2 "POST",
    }
}
mask! {
    /// `keepalive_disable`: which browsers get no keep-alive.
    KeepaliveDisable {
        /// No browser.
        NONE = 0 "none",
        /// Old MSIE, after a POST.
        MSIE6 = 1 "msie6",
        /// Safari on macOS.
        SAFARI = 2 "safari",
    }
}
mask! {
    /// `userid_flags`: attributes of the cookie.
    UseridFlags {
        /// Nothing is added.
        OFF = 0 "off",
        /// `HttpOnly`.
        HTTPONLY = 1 "httponly",
        /// `Secure`.
        SECURE = 3 "secure",
        /// `SameSite=Strict`.
        SAMESITE_STRICT = 5 "samesite=strict",
        /// `SameSite=Lax`.
        SAMESITE_LAX = 6 "samesite=lax",
        /// `SameSite=None`.
        SAMESITE_NONE = 7 "samesite=none",
    }
}
mask! {
    /// `gzip_proxied`: which answers to requests with `Via` are compressed.
    GzipProxied {
        /// None.
        OFF = 0 "off",
        /// Those whose `Expires` is past.
        EXPIRED = 1 "expired",
        /// Those with `Cache-Control: no-cache`.
        NO_CACHE = 2 "no-cache",
        /// Those with `Cache-Control: no-store`.
        NO_STORE = 3 "no-store",
        /// Those with `Cache-Control: private`.
        PRIVATE = 4 "private",
        /// Those without `Last-Modified`.
        NO_LAST_MODIFIED = 5 "no_last_modified",
        /// Those without `ETag`.
        NO_ETAG = 6 "no_etag",
        /// Those to requests with `Authorization`.
        AUTH = 7 "auth",
        /// All.
        ANY = 8 "any",
    }
}

impl NextUpstream {
    /// Whether this lets a request go on after `reason`; never if `off` is among the words.
    pub const fn allows(self, reason: Self) -> bool {
        !self.has(Self::OFF) && self.has(reason)
    }
}
