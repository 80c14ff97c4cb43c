//! The table of rules: for each its name, how serious it is, what it finds, whom that harms and what to write instead.
//! `docs/CHECKS.md` is generated from it. A rule is looked up by [`find`].

use super::super::diag::Level;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name, for `--deny`, `--allow` and comments.
    pub id: &'static str,
    /// How serious a finding is, at most.
    pub level: Level,
    /// Whether `--fix` may make the edit.
    pub fixes: bool,
    /// What it finds.
    pub what: &'static str,
    /// Why that is bad, with the request that suffers.
    pub why: &'static str,
    /// What to write instead.
    pub edit: &'static str,
}

impl PartialEq for Rule {
    /// The same rule.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// The rule of a name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|r| r.id == id)
}

macro_rules! rules {
    ($($name:ident = $id:literal $level:ident $($fix:ident)?: $what:literal, $why:literal, $edit:literal;)*) => {
        $(#[doc = $what] pub static $name: Rule = Rule {
            id: $id,
            level: Level::$level,
            fixes: rules!(@fixes $($fix)?),
            what: $what,
            why: $why,
            edit: $edit,
        };)*
        /// Every rule.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
    (@fixes fix) => { true };
    (@fixes) => { false };
}

rules! {
    // What the loader itself says.
    CANNOT_LOAD = "cannot-load" Emerg: "The configuration cannot be used.",
        "nothing is served; a reload keeps the old configuration", "see the message";
    LOAD_WARNING = "load-warning" Warn: "Loading gives a warning that no other rule is about.",
        "`-t` prints it, and so does every reload", "see the message";
    DEPRECATED_LISTEN_HTTP2 = "deprecated-listen-http2" Warn fix: "`listen … http2`, the old form of `http2 on`.",
        "nginx warns about it at each start; it switches HTTP/2 on for every server of the address, which few expect", "write `http2 on;` in the server and take the word off `listen`";
    HTTP_VERSION_2_0 = "http-version-2-0" Warn fix: "`proxy_http_version 2.0`, which nginx does not know.",
        "the file does not load under nginx", "write `2`";
    CONFLICTING_SERVER_NAME = "conflicting-server-name" Warn: "A name that two servers of one address have.",
        "the second server never gets a request for it", "remove the name from one of them";
    OLD_TLS_VERSIONS = "old-tls-versions" Warn fix: "Versions of TLS that cannot be offered any more.",
        "clients that know nothing newer get an alert whatever the line says; under nginx they get broken encryption", "leave `TLSv1.2 TLSv1.3`";
    STAPLING_IGNORED = "stapling-ignored" Warn: "`ssl_stapling on` for a certificate that it does nothing for.",
        "no OCSP answer is ever sent; Let's Encrypt has no responders since 2025", "remove `ssl_stapling` and `ssl_stapling_verify`";
    EXPIRED_CERTIFICATE = "expired-certificate" Warn: "A certificate that has expired or is not valid yet.",
        "browsers refuse every request of its server", "renew it, then reload";

    // Files that the configuration names.
    EXPIRING_CERTIFICATE = "expiring-certificate" Warn: "A certificate that expires within three weeks.",
        "automatic renewal happens earlier: it has probably failed", "look at the log of what renews it (`certbot renew --dry-run`)";
    CERTIFICATE_NAME = "certificate-name" Warn: "A `server_name` that the server's certificate is not for.",
        "browsers refuse the name", "get a certificate with the name, or remove the name";
    INCOMPLETE_CHAIN = "incomplete-chain" Notice: "A certificate of an authority without the certificates that sign it.",
        "browsers often know the missing one; `curl`, Java and phones do not and refuse", "name the file with the whole chain (`fullchain.pem`)";
    READABLE_KEY = "readable-key" Warn: "A private key that every user of the machine can read.",
        "any process of the machine can pretend to be the server", "`chmod 600` the file; it is read as root before rights are dropped";

    // Lists that replace what is inherited.
    SHADOWED_ADD_HEADER = "shadowed-add-header" Warn: "An `add_header` that drops those of the level above.",
        "answers of the inner level lack the outer fields, among them often security headers", "repeat them, or write `add_header_inherit merge;`";
    SHADOWED_PROXY_SET_HEADER = "shadowed-proxy-set-header" Warn: "A `proxy_set_header` that drops those of the level above.",
        "the backend no longer gets the outer fields", "repeat them, or include them from a file of their own";
    SHADOWED_GRPC_SET_HEADER = "shadowed-grpc-set-header" Warn: "A `grpc_set_header` that drops those of the level above.",
        "the backend no longer gets the outer fields", "repeat them, or include them from a file of their own";
    SHADOWED_FASTCGI_PARAM = "shadowed-fastcgi-param" Warn: "A `fastcgi_param` that drops those of the level above.",
        "the application lacks parameters such as SCRIPT_FILENAME and answers an empty page", "repeat them, or `include fastcgi_params;` at the same level";
    HEADER_WITHOUT_ALWAYS = "header-without-always" Notice fix: "A security header without `always`.",
        "error pages and other answers than 200, 201, 204, 206, 301 to 304, 307 and 308 lack it", "add `always`";
    HIDE_SERVER_HEADER = "hide-server-header" Notice fix: "`proxy_hide_header Server` or `Date`.",
        "it changes nothing: both are always replaced by our own", "remove it; `server_tokens off` hides the version";
    HSTS_WITHOUT_TLS = "hsts-without-tls" Notice: "`Strict-Transport-Security` from a server without TLS.",
        "browsers ignore the field on plain HTTP", "add it where `listen … ssl` is";
    HSTS_PRELOAD = "hsts-preload" Notice: "`preload` without what the browsers' list asks for.",
        "a submission to the list is refused", "`max-age` of 31536000 or more and `includeSubDomains`";
    OBSOLETE_HEADER = "obsolete-header" Notice fix: "A response field that no browser obeys any more.",
        "it only costs bytes", "remove it";
    CORS_WILDCARD_CREDENTIALS = "cors-wildcard-credentials" Warn: "`Access-Control-Allow-Origin: *` together with credentials.",
        "browsers refuse such an answer to a request with cookies", "answer one origin, out of a `map` of `$http_origin`";
    CORS_ANY_ORIGIN = "cors-any-origin" Warn: "The client's `Origin` given back together with credentials.",
        "any page that a user visits can read answers that are meant for that user", "take the origin out of a `map` of `$http_origin` that knows yours";

    // What a backend gets.
    MISSING_HOST = "missing-host" Warn: "A backend that is not told the client's `Host`.",
        "it sees the name in `proxy_pass`, and puts that into links, redirects and cookies or refuses it", "`proxy_set_header Host $host;`";
    HTTP_HOST = "http-host" Notice: "`$http_host` for the backend's `Host`.",
        "with `GET http://a/` and `Host: b` the server of a is chosen and the backend is told b; without a Host it is told none", "`$host`";
    FIXED_UPGRADE = "fixed-upgrade" Warn fix: "A fixed `Connection: upgrade` for every request.",
        "ordinary requests reach the backend as failed upgrades and cannot share a connection", "a `map` of `$http_upgrade`: `default upgrade; '' '';`";
    UPGRADE_WITH_HTTP_1_0 = "upgrade-with-http-1-0" Warn fix: "Upgrades to a backend over HTTP/1.0.",
        "HTTP/1.0 knows no upgrade: WebSockets never open", "`proxy_http_version 1.1;`";
    UPGRADE_WITHOUT_CONNECTION = "upgrade-without-connection" Warn: "`Upgrade` passed on without `Connection`.",
        "the backend has to ignore the field: WebSockets never open", "`proxy_set_header Connection $connection_upgrade;` with its `map`";
    SHORT_TUNNEL = "short-tunnel" Notice: "WebSockets with the usual `proxy_read_timeout`.",
        "a WebSocket in which nothing is said for 60 s is closed", "`proxy_read_timeout 1h;` or pings of the application";
    CLOSED_KEEPALIVE = "closed-keepalive" Warn: "`keepalive` in a group whose requests close their connections.",
        "the pool stays empty, and each request pays for a new connection", "`proxy_http_version 1.1;` and `proxy_set_header Connection \"\";`";
    REPLACED_PREFIX = "replaced-prefix" Warn: "A location and a `proxy_pass` that do not agree on the last slash.",
        "the prefix is replaced as text: a slash comes twice, or is lost", "end both with a slash, or neither";
    VARIABLE_URI = "variable-uri" Warn: "A `proxy_pass` with variables in front of a fixed URI.",
        "no prefix is replaced and arguments are lost: every request gets the same URI", "end it with `$request_uri`, or use `rewrite … break` and leave the URI out";
    DECODED_URI = "decoded-uri" Warn: "`$uri` in a `proxy_pass`.",
        "the decoded path goes into the request line: blanks and line breaks of a client change the request, and arguments are lost", "`$request_uri`";
    DECODED_REDIRECT = "decoded-redirect" Warn fix: "`$uri` in a redirect or a field.",
        "it is decoded: `%0d%0a` becomes a line break (nginx sends it, and with it fields of an attacker), `%3F` changes the link, arguments are lost", "`$request_uri`";
    MISSING_RESOLVER = "missing-resolver" Warn: "A `proxy_pass` with a variable host and no `resolver`.",
        "names are not resolved at run time: 502 and \"no resolver defined\"", "`resolver 127.0.0.53;` or the name server of the network";
    OPEN_PROXY = "open-proxy" Warn: "A client that chooses the backend.",
        "it reaches whatever this machine reaches", "choose by a `map` of the values that you know";
    UNVERIFIED_BACKEND = "unverified-backend" Notice: "TLS to a backend that is not verified.",
        "whoever answers at the address is believed", "`proxy_ssl_verify on;` with `proxy_ssl_trusted_certificate`";
    BACKEND_WITHOUT_SNI = "backend-without-sni" Notice: "TLS to a named backend that is not told the name.",
        "hosts with several names answer with the wrong certificate or an alert", "`proxy_ssl_server_name on;`";
    UNDERSCORES = "underscored-fields" Warn: "Fields with underscores, in front of fields that we set ourselves.",
        "many applications take `X_Real_IP` for `X-Real-IP`: the client's word counts instead of ours", "`underscores_in_headers off;`";
    REPEATED_POST = "repeated-post" Notice: "`non_idempotent` in `proxy_next_upstream`.",
        "a POST whose answer is lost is made again on another server: twice an order, twice a payment", "leave the word out";
    TRUSTED_BY_ALL = "trusted-everybody" Warn: "`set_real_ip_from` for the whole internet.",
        "every client chooses its own address: for logs, limits and access rules", "name the proxies in front";
    UNUSED_REAL_IP = "unused-real-ip" Warn: "`real_ip_header` without `set_real_ip_from`.",
        "nobody's word is taken: the address stays that of the proxy in front", "`set_real_ip_from` with the addresses of the proxies in front";
    AUTH_REQUEST_BODY = "auth-request-body" Notice: "A body that goes along to who is asked by `auth_request`.",
        "the subrequest says that a body comes and sends none: many backends wait for it", "`proxy_pass_request_body off;` and `proxy_set_header Content-Length \"\";`";
    MISSING_SCRIPT_FILENAME = "missing-script-filename" Warn: "PHP without `SCRIPT_FILENAME`.",
        "PHP answers an empty page or \"File not found.\"", "`fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;`";

    // The cache.
    INERT_CACHE = "inert-cache" Warn: "Cache directives where no cache is.",
        "nothing is stored: every request goes to the backend", "`proxy_cache` with a zone of `proxy_cache_path`";
    UNUSED_CACHE = "unused-cache" Notice: "A cache zone that no `…_cache` names.",
        "memory is held for nothing", "use it or remove it";
    UNBUFFERED_CACHE = "unbuffered-cache" Warn: "`proxy_buffering off` with a cache.",
        "answers that are not buffered are not stored", "leave buffering on where there is a cache";
    CACHED_COOKIES = "cached-cookies" Warn: "`Set-Cookie` that is ignored by the cache and not hidden.",
        "the cookie of the first client is stored and given to all others", "`proxy_hide_header Set-Cookie;`";
    CACHE_KEY_HOST = "cache-key-without-host" Warn: "Servers that share a cache and a key without the host.",
        "a page of one host is served for another", "put `$host` into the key";
    CACHE_KEY_METHOD = "cache-key-method" Notice: "`$request_method` in a cache key.",
        "a HEAD is fetched as a GET, and then stored twice", "leave it out; other methods are not stored anyway";
    SLICE_KEY = "slice-key" Warn: "`slice` without `$slice_range` in the cache key.",
        "the first slice is served in place of all others: files arrive broken", "put `$slice_range` into the key, and `proxy_set_header Range $slice_range;`";

    // Locations.
    LOOSE_ALIAS = "loose-alias" Warn: "An `alias` with a last slash in a location without.",
        "`/files../x` is looked for beside the folder: nginx serves it, ringx answers 404; `/filesx` is looked for inside", "write the location with a slash";
    GLUED_ALIAS = "glued-alias" Warn: "An `alias` without a last slash in a location with one.",
        "the names are glued together: `/files/x` becomes `/srv/filesx`", "end the alias with a slash";
    LOOSE_DOT = "loose-dot" Warn fix: "A dot in a pattern that stands for any character.",
        "`.php$` takes `/xphp` too; `www.example.com` takes `wwwxexample.com`", "`\\.`";
    UNREACHABLE_LOCATION = "unreachable-location" Warn: "A location that no request gets to.",
        "an earlier pattern or a `^~` prefix takes all its requests", "move it before, or remove it";
    STOLEN_FILES = "stolen-files" Notice: "A pattern that takes requests from under a prefix with files of its own.",
        "patterns win over prefixes: the file is looked for elsewhere and answered 404", "`location ^~` for the prefix";
    ROOT_IN_LOCATION = "root-in-location" Warn: "A `root` in `location /` alone.",
        "other locations with files have none: they answer 404", "put `root` into the server";
    TRY_FILES_LOOP = "try-files-loop" Warn: "A `try_files` whose last parameter is another try.",
        "the last one is not tried but gone to: the request goes round until it is answered 500", "end with `=404`, a page or a named location";
    IF_WITH_SETTINGS = "if-with-settings" Warn: "An `if` in a location with more than `return`, `rewrite` and `set`.",
        "it is a location of its own: `try_files` does not work in it, and of two that are true only the last counts", "choose by a `map`, or by a location";
    SERVED_DOTFILES = "served-dotfiles" Warn: "Listed folders in which hidden files are served.",
        "the listing leaves them out, and whoever guesses the name gets them", "`location ~ /\\. { deny all; }`";
    DOUBLE_SLASHES = "double-slashes" Warn: "`merge_slashes off` in front of guarded locations.",
        "`//admin/` is not under `/admin/`: it gets past the rules there, and many backends take both for the same", "leave it on";
    UNLIMITED_BODY = "unlimited-body" Notice: "`client_max_body_size 0`.",
        "a client fills the disk with one upload", "a limit, or `proxy_request_buffering off` where the backend has its own";

    // Access and limits.
    RETURN_BEFORE_ACCESS = "return-before-access" Warn: "A `return` beside access rules.",
        "it answers before they are looked at: everybody gets it", "leave the answer to a file, a backend or another location";
    RETURN_BEFORE_LIMITS = "return-before-limits" Warn: "A `return` beside limits.",
        "it answers before they are looked at: nothing is limited", "limit where the work is done";
    NO_PASSWORDS = "no-passwords" Warn: "`auth_basic` without a file of users.",
        "nobody is asked for a password: what looks closed is open", "`auth_basic_user_file`";
    ALLOW_WITHOUT_DENY = "allow-without-deny" Warn: "`allow` without any `deny`.",
        "who is not named is let in as well", "end the list with `deny all;`";
    UNREACHABLE_RULE = "unreachable-access-rule" Warn: "An access rule behind `allow all` or `deny all`.",
        "the first rule that fits counts: those behind are never asked", "put it before";
    OPEN_STATUS = "open-status" Notice: "Numbers of the server that everybody can ask for.",
        "they tell backends, names and load", "`allow 127.0.0.1; deny all;` or a listener of its own";
    UNUSED_LIMIT = "unused-limit" Warn: "A limit zone that no `limit_req` or `limit_conn` names.",
        "nothing is limited", "`limit_req zone=…` where it should count, or remove it";
    CONSTANT_LIMIT_KEY = "constant-limit-key" Warn: "A limit zone whose key is the same for everybody.",
        "all clients share one allowance: one of them locks the others out", "`$binary_remote_addr`";
    OPTIONAL_LIMIT_KEY = "optional-limit-key" Warn: "A limit zone whose key the client may leave out or invent.",
        "requests with an empty key are not counted, and a new value is a new allowance", "`$binary_remote_addr`, with realip behind a proxy";
    LONG_QUEUE = "long-queue" Notice: "A `burst` whose last request waits for longer than a minute.",
        "most clients have given up by then and have asked again", "`nodelay`, or a smaller burst";
    UNREACHABLE_LIMIT = "unreachable-limit" Notice: "A `limit_conn` above what can be open at all.",
        "it never rejects anything", "a number below `worker_connections` times the workers";

    // Servers and names.
    MISSING_DEFAULT = "missing-default-server" Notice: "Several servers of one address and none is the default.",
        "requests for unknown names get the one that happens to come first", "a server of its own: `listen 80 default_server; return 444;`";
    DEAD_WILDCARD = "dead-wildcard" Warn: "A star that is not a whole label at one end of a name.",
        "the name matches no host", "`*.example.com`, `www.example.*`, or a pattern after `~`";
    PLAIN_443 = "plain-443" Warn: "Port 443 without `ssl`.",
        "browsers speak TLS there and get an error", "`listen 443 ssl;`";
    UNUSED_UPSTREAM = "unused-upstream" Notice: "A group that nothing passes requests to.",
        "it is dead text, or its name is misspelt where it should be used", "use it or remove it";
    REPEATED_PEER = "repeated-peer" Notice: "A server that stands twice in one group.",
        "it gets twice the share, and each line counts failures by itself", "one line, with `weight=2` if that was meant";
    LONE_PEER = "lone-peer" Notice: "`max_fails` or `fail_timeout` of a group's only server.",
        "a lone server is never taken out: the numbers do nothing", "add a second server, or leave them out";
    UNUSED_MAP = "unused-variable" Notice: "A `map`, `geo` or `split_clients` whose variable nothing reads.",
        "it is dead text, or its name is misspelt where it should be used", "use it or remove it";
    UNUSED_FORMAT = "unused-log-format" Notice: "A `log_format` that no log names.",
        "it is dead text, or its name is missing behind `access_log`", "use it or remove it";
    HTML_ONLY = "gzip-html-only" Notice: "`gzip on` without `gzip_types`.",
        "only text/html is compressed: scripts, styles and JSON are not", "`gzip_types text/css application/javascript application/json image/svg+xml;`";

    // The process.
    FEW_FILES = "few-files" Warn: "`worker_rlimit_nofile` below what `worker_connections` need.",
        "a proxied connection needs two: connections fail with \"Too many open files\" before the limit is reached", "twice `worker_connections`, and some for files";
    ROOT_WORKER = "root-worker" Warn: "`user root`.",
        "whoever breaks into the worker owns the machine", "a user without rights, such as www-data";
    DEBUG_LOG = "debug-log" Notice: "`error_log … debug` for everybody.",
        "it fills the disk and holds passwords and cookies of users", "`warn` or `error`, and `debug` for one address while it is needed";
    ERROR_LOG_OFF = "error-log-off" Warn: "`error_log off`.",
        "that writes a file with the name \"off\"", "`error_log /dev/null crit;`";
    NO_ACCESS_LOG = "no-access-log" Notice: "`access_log off` for everything.",
        "when something goes wrong nobody can tell what was asked", "switch it off where it is noise, such as health checks";
}
