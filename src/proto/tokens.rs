//! Known field names as small integers, and what the protocol says about each of them.
//! Start at [`Token::of`]; the one list is at the bottom of the type.

use crate::base::scan::first_word;

/// A known field name, or [`Token::NONE`]. Names compare without case, so a token stands for every spelling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token(pub u8);

/// The request field may occur once: a second one is 400, as nginx decides.
pub const UNIQUE: u8 = 1;
/// Belongs to one connection and is never forwarded as is.
pub const HOP_BY_HOP: u8 = 2;
/// Decides where a message ends or whom it is for: never accepted in trailers.
pub const FRAMING: u8 = 4;
/// The response field may occur once: nginx ignores later ones.
pub const SINGLE: u8 = 8;

macro_rules! tokens {
    ($($id:ident = $name:literal $(, $flag:ident)*;)+) => {
        #[allow(dead_code, non_camel_case_types, clippy::upper_case_acronyms, reason = "the names of constants, only counted here")]
        #[repr(u8)]
        enum Index { NONE = 0, $($id,)+ COUNT }

        #[allow(missing_docs, reason = "each constant is the field name it spells")]
        impl Token {
            $(pub const $id: Self = Self(Index::$id as u8);)+
        }

        const NAMES: [&str; Index::COUNT as usize] = ["", $($name,)+];
        static FLAGS: [u8; 256] = {
            let listed = [0, $(0 $(| $flag)*,)+];
            // As many as there are bytes, so that an index needs no check.
            let mut flags = [0; 256];
            let mut i = 0;
            while i < listed.len() {
                flags[i] = listed[i];
                i += 1;
            }
            flags
        };
    };
}

tokens! {
    HOST = "Host", UNIQUE, FRAMING;
    CONNECTION = "Connection", HOP_BY_HOP, FRAMING;
    CONTENT_LENGTH = "Content-Length", UNIQUE, FRAMING;
    TRANSFER_ENCODING = "Transfer-Encoding", UNIQUE, HOP_BY_HOP, FRAMING;
    UPGRADE = "Upgrade", HOP_BY_HOP, FRAMING;
    EXPECT = "Expect", UNIQUE, FRAMING;
    TE = "TE", HOP_BY_HOP, FRAMING;
    TRAILER = "Trailer", FRAMING;
    KEEP_ALIVE = "Keep-Alive", HOP_BY_HOP, FRAMING;
    PROXY_CONNECTION = "Proxy-Connection", HOP_BY_HOP, FRAMING;
    PROXY_AUTHENTICATE = "Proxy-Authenticate", FRAMING;
    PROXY_AUTHORIZATION = "Proxy-Authorization", UNIQUE, FRAMING;
    USER_AGENT = "User-Agent";
    REFERER = "Referer";
    ACCEPT = "Accept";
    ACCEPT_ENCODING = "Accept-Encoding";
    ACCEPT_LANGUAGE = "Accept-Language";
    ACCEPT_CHARSET = "Accept-Charset";
    ACCEPT_RANGES = "Accept-Ranges";
    COOKIE = "Cookie";
    SET_COOKIE = "Set-Cookie", FRAMING;
    AUTHORIZATION = "Authorization", UNIQUE, FRAMING;
    CACHE_CONTROL = "Cache-Control", FRAMING;
    PRAGMA = "Pragma";
    IF_MODIFIED_SINCE = "If-Modified-Since", UNIQUE, FRAMING;
    IF_UNMODIFIED_SINCE = "If-Unmodified-Since", UNIQUE, FRAMING;
    IF_MATCH = "If-Match", UNIQUE, FRAMING;
    IF_NONE_MATCH = "If-None-Match", UNIQUE, FRAMING;
    IF_RANGE = "If-Range", UNIQUE, FRAMING;
    RANGE = "Range", FRAMING;
    CONTENT_RANGE = "Content-Range", UNIQUE, FRAMING;
    CONTENT_TYPE = "Content-Type", FRAMING, SINGLE;
    CONTENT_ENCODING = "Content-Encoding", FRAMING;
    CONTENT_DISPOSITION = "Content-Disposition";
    CONTENT_LANGUAGE = "Content-Language";
    CONTENT_LOCATION = "Content-Location";
    CONTENT_SECURITY_POLICY = "Content-Security-Policy";
    DATE = "Date", SINGLE;
    SERVER = "Server", SINGLE;
    LOCATION = "Location", SINGLE;
    REFRESH = "Refresh", SINGLE;
    LAST_MODIFIED = "Last-Modified", SINGLE;
    ETAG = "ETag", SINGLE;
    EXPIRES = "Expires", SINGLE;
    AGE = "Age";
    VARY = "Vary";
    VIA = "Via";
    WWW_AUTHENTICATE = "WWW-Authenticate", FRAMING;
    ALLOW = "Allow";
    RETRY_AFTER = "Retry-After";
    LINK = "Link";
    ORIGIN = "Origin";
    STATUS = "Status", SINGLE;
    X_FORWARDED_FOR = "X-Forwarded-For";
    X_FORWARDED_PROTO = "X-Forwarded-Proto";
    X_FORWARDED_HOST = "X-Forwarded-Host";
    X_FORWARDED_PORT = "X-Forwarded-Port";
    X_FORWARDED_SERVER = "X-Forwarded-Server";
    X_REAL_IP = "X-Real-IP";
    X_REQUEST_ID = "X-Request-ID";
    X_REQUESTED_WITH = "X-Requested-With";
    X_PAD = "X-Pad";
    X_POWERED_BY = "X-Powered-By";
    X_ACCEL_EXPIRES = "X-Accel-Expires", SINGLE;
    X_ACCEL_REDIRECT = "X-Accel-Redirect", SINGLE;
    X_ACCEL_LIMIT_RATE = "X-Accel-Limit-Rate", SINGLE;
    X_ACCEL_BUFFERING = "X-Accel-Buffering", SINGLE;
    X_ACCEL_CHARSET = "X-Accel-Charset", SINGLE;
    X_CONTENT_TYPE_OPTIONS = "X-Content-Type-Options";
    X_FRAME_OPTIONS = "X-Frame-Options";
    X_XSS_PROTECTION = "X-XSS-Protection";
    STRICT_TRANSPORT_SECURITY = "Strict-Transport-Security";
    REFERRER_POLICY = "Referrer-Policy";
    ACCESS_CONTROL_ALLOW_ORIGIN = "Access-Control-Allow-Origin";
    ACCESS_CONTROL_ALLOW_METHODS = "Access-Control-Allow-Methods";
    ACCESS_CONTROL_ALLOW_HEADERS = "Access-Control-Allow-Headers";
    ACCESS_CONTROL_ALLOW_CREDENTIALS = "Access-Control-Allow-Credentials";
    ACCESS_CONTROL_REQUEST_METHOD = "Access-Control-Request-Method";
    ACCESS_CONTROL_REQUEST_HEADERS = "Access-Control-Request-Headers";
    SEC_WEBSOCKET_KEY = "Sec-WebSocket-Key";
    SEC_WEBSOCKET_VERSION = "Sec-WebSocket-Version";
    SEC_WEBSOCKET_ACCEPT = "Sec-WebSocket-Accept";
    SEC_WEBSOCKET_PROTOCOL = "Sec-WebSocket-Protocol";
    SEC_WEBSOCKET_EXTENSIONS = "Sec-WebSocket-Extensions";
    SEC_FETCH_DEST = "Sec-Fetch-Dest";
    SEC_FETCH_MODE = "Sec-Fetch-Mode";
    SEC_FETCH_SITE = "Sec-Fetch-Site";
    SEC_FETCH_USER = "Sec-Fetch-User";
    SEC_CH_UA = "Sec-CH-UA";
    SEC_CH_UA_MOBILE = "Sec-CH-UA-Mobile";
    SEC_CH_UA_PLATFORM = "Sec-CH-UA-Platform";
    UPGRADE_INSECURE_REQUESTS = "Upgrade-Insecure-Requests";
    DNT = "DNT";
    PRIORITY = "Priority";
    FORWARDED = "Forwarded";
    DEPTH = "Depth";
    DESTINATION = "Destination";
    OVERWRITE = "Overwrite";
    HTTP2_SETTINGS = "HTTP2-Settings", HOP_BY_HOP, FRAMING;
    EARLY_DATA = "Early-Data";
    TRACEPARENT = "Traceparent";
    TRACESTATE = "Tracestate";
    GRPC_STATUS = "grpc-status";
    GRPC_MESSAGE = "grpc-message";
    GRPC_TIMEOUT = "grpc-timeout";
    GRPC_ENCODING = "grpc-encoding";
    ALT_SVC = "Alt-Svc";
}

impl Token {
    /// A name that is not in the list.
    pub const NONE: Self = Self(0);
    /// Known names, and so the bound of `Token.0`.
    pub const COUNT: usize = NAMES.len();

    /// The token of a name in any case; `NONE` for an unknown one.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        Self::of_part(name, name.len())
    }

    /// The token of the name that `line` starts with; cheaper than [`of`](Self::of) when more bytes follow the name.
    #[inline(always)]
    pub fn of_part(line: &[u8], len: usize) -> Self {
        let name = &line[..len];
        let (first, last) = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => (first_word(line) & ((1 << (len * 8)) - 1), 0),
        };
        let mut slot = slot(first, last, len);
        loop {
            let index = TABLE[slot];
            let known = &KEYS[index as usize];
            if known.is(first, last, len) {
                // Two words hold the whole of most names; longer ones are compared whole.
                if len <= 16 || NAMES[index as usize].as_bytes().eq_ignore_ascii_case(name) {
                    return Self(index);
                }
                return Self::NONE;
            }
            if index == 0 {
                return Self::NONE;
            }
            slot = (slot + 1) & (SLOTS - 1);
        }
    }

    /// The usual spelling, as nginx writes it. Empty for `NONE`.
    pub const fn name(self) -> &'static str {
        NAMES[self.0 as usize]
    }

    /// True for a name of the list.
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }

    /// A second one in a request is an error.
    #[inline]
    pub const fn is_unique(self) -> bool {
        FLAGS[self.0 as usize] & UNIQUE != 0
    }

    /// Belongs to one connection, whatever `Connection` says.
    #[inline]
    pub const fn is_hop_by_hop(self) -> bool {
        FLAGS[self.0 as usize] & HOP_BY_HOP != 0
    }

    /// Only the first one of a response counts.
    #[inline]
    pub const fn is_single_in_response(self) -> bool {
        FLAGS[self.0 as usize] & SINGLE != 0
    }

    /// Must not come in trailers: RFC 9110 6.5.1 names framing, routing, authentication and content fields.
    pub const fn is_refused_in_trailers(self) -> bool {
        FLAGS[self.0 as usize] & FRAMING != 0
    }

    /// One bit for sets of tokens.
    #[inline(always)]
    pub const fn bit(self) -> u128 {
        BITS[self.0 as usize % BITS.len()]
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_known() {
            self.name()
        } else {
            "(other)"
        })
    }
}

/// The first and last eight bytes of a known name; a name of fewer than eight is all in the first, filled up with zeros.
#[derive(Clone, Copy)]
struct Key {
    first: u64,
    last: u64,
    /// The bits of `first` and `last` that must be the same: all but the one that tells the case of a letter.
    first_bits: u64,
    last_bits: u64,
    len: usize,
}

impl Key {
    #[inline(always)]
    const fn is(&self, first: u64, last: u64, len: usize) -> bool {
        (self.first ^ first) & self.first_bits | (self.last ^ last) & self.last_bits == 0
            && self.len == len
    }
}

/// Where the search for a name begins, in any case: the bit that tells it is left out.
#[inline(always)]
const fn slot(first: u64, last: u64, len: usize) -> usize {
    const NO_CASE: u64 = 0xdfdf_dfdf_dfdf_dfdf;
    let mix = (first ^ last.rotate_left(24)) & NO_CASE ^ len as u64;
    (mix.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.trailing_zeros())) as usize
}

/// Eight times the names, so that nearly every look-up is one probe.
const SLOTS: usize = 1024;

static KEYS: [Key; NAMES.len()] = {
    // The first one is no name, and must equal none: not even the empty one.
    let mut keys = [Key {
        first: 0,
        last: 0,
        first_bits: 0,
        last_bits: 0,
        len: usize::MAX,
    }; NAMES.len()];
    let mut i = 1;
    while i < NAMES.len() {
        let name = NAMES[i].as_bytes();
        let (first, first_bits) = word_of(name, 0);
        let (last, last_bits) = match name.len().checked_sub(8) {
            Some(at) => word_of(name, at),
            None => (0, u64::MAX),
        };
        keys[i] = Key {
            first,
            last,
            first_bits,
            last_bits,
            len: name.len(),
        };
        i += 1;
    }
    keys
};

/// Up to eight bytes of a name from `at` on, and the bits of them that do not depend on the case.
const fn word_of(name: &[u8], at: usize) -> (u64, u64) {
    let (mut word, mut bits) = (0, u64::MAX);
    let mut b = 0;
    while b < 8 && at + b < name.len() {
        let byte = name[at + b];
        word |= (byte as u64) << (8 * b);
        if byte.is_ascii_alphabetic() {
            bits &= !(0x20 << (8 * b));
        }
        b += 1;
    }
    (word, bits)
}

/// Looked up, because shifting 128 bits by a variable costs three times as much.
static BITS: [u128; 128] = {
    let mut bits = [0; 128];
    let mut i = 0;
    while i < 128 {
        bits[i] = 1 << i;
        i += 1;
    }
    bits
};

/// Open addressing, built by the compiler. 0 is an empty slot.
static TABLE: [u8; SLOTS] = {
    assert!(NAMES.len() <= 128, "tokens fit the bits of a u128");
    let mut table = [0u8; SLOTS];
    let mut i = 1;
    while i < NAMES.len() {
        let mut slot = slot(KEYS[i].first, KEYS[i].last, KEYS[i].len);
        while table[slot] != 0 {
            slot = (slot + 1) & (SLOTS - 1);
        }
        table[slot] = i as u8;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for i in 1..Token::COUNT {
            let token = Token(i as u8);
            let name = token.name();
            for spelling in [
                name.to_string(),
                name.to_ascii_lowercase(),
                name.to_ascii_uppercase(),
            ] {
                assert_eq!(Token::of(spelling.as_bytes()), token, "{spelling}");
            }
            assert_eq!(Token::of(format!("{name}x").as_bytes()), Token::NONE);
            assert_eq!(Token::of(&name.as_bytes()[1..]), Token::NONE, "{name}");
        }
        for unknown in [
            "",
            "x",
            "Hots",
            "Content_Length",
            "Content-Length ",
            "\u{e9}",
        ] {
            assert_eq!(Token::of(unknown.as_bytes()), Token::NONE, "{unknown:?}");
        }
    }

    #[test]
    fn only_the_very_bytes_match() {
        for i in 1..Token::COUNT {
            let token = Token(i as u8);
            let name = token.name().as_bytes();
            for at in 0..name.len() {
                for byte in 0..=255u8 {
                    let mut other = name.to_vec();
                    other[at] = byte;
                    let same = other.eq_ignore_ascii_case(name);
                    assert_eq!(Token::of(&other) == token, same, "{other:?}");
                    let mut followed = other.clone();
                    followed.extend_from_slice(b": and whatever follows behind the name");
                    assert_eq!(Token::of_part(&followed, other.len()), Token::of(&other));
                }
            }
        }
    }

    #[test]
    fn probes_are_few() {
        let probes = |i: usize| {
            let mut slot = slot(KEYS[i].first, KEYS[i].last, KEYS[i].len);
            let mut probes = 1;
            while TABLE[slot] as usize != i {
                slot = (slot + 1) & (SLOTS - 1);
                probes += 1;
            }
            probes
        };
        let worst = (1..Token::COUNT).map(probes).max();
        let total: usize = (1..Token::COUNT).map(probes).sum();
        assert!(
            worst <= Some(4) && total < Token::COUNT * 6 / 5,
            "{worst:?} {total}"
        );
    }

    #[test]
    fn flags_follow_the_list() {
        assert!(Token::HOST.is_unique() && !Token::HOST.is_hop_by_hop());
        assert!(Token::KEEP_ALIVE.is_hop_by_hop() && !Token::KEEP_ALIVE.is_unique());
        assert!(Token::CONTENT_LENGTH.is_refused_in_trailers());
        assert!(!Token::GRPC_STATUS.is_refused_in_trailers());
        assert!(!Token::NONE.is_known() && !Token::NONE.is_unique());
    }
}
