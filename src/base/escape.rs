//! Escaping and unescaping as nginx does it: percent-escapes for each place of a URI, HTML text, and log values.
//! Start at [`uri`], [`unescape`], [`html`], [`log_default`], [`log_json`].

/// Where percent-escaped text will stand; each place has its own set of bytes to escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path: `?`, `#`, `%` and what RFC 3986 does not allow.
    Uri,
    /// A query argument: also `&`, `+`, `;`.
    Args,
    /// One component: everything but letters, digits, `-._~`.
    Component,
    /// A link inside HTML: also the quote, but not `?`.
    Html,
    /// A link inside a `Refresh` field.
    Refresh,
}

/// A set of byte values.
struct ByteSet([u64; 4]);

impl ByteSet {
    /// Controls, DEL, bytes above ASCII, and `more`.
    const fn unsafe_and(more: &[u8]) -> Self {
        let mut set = [0xffff_ffff, 1 << 63, u64::MAX, u64::MAX];
        let mut i = 0;
        while i < more.len() {
            set[more[i] as usize / 64] |= 1 << (more[i] % 64);
            i += 1;
        }
        Self(set)
    }

    /// Everything but letters, digits and `but`.
    const fn all_but_alphanumeric_and(but: &[u8]) -> Self {
        let mut set = [u64::MAX; 4];
        let mut b = 0u8;
        while b < 128 {
            if b.is_ascii_alphanumeric() {
                set[b as usize / 64] &= !(1 << (b % 64));
            }
            b += 1;
        }
        let mut i = 0;
        while i < but.len() {
            set[but[i] as usize / 64] &= !(1 << (but[i] % 64));
            i += 1;
        }
        Self(set)
    }

    #[inline]
    const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize >> 6] & (1 << (byte & 63)) != 0
    }
}

static URI: ByteSet = ByteSet::unsafe_and(b" \"#%<>?\\^`{|}");
static ARGS: ByteSet = ByteSet::unsafe_and(b" \"#%&+;<>?\\^`{|}");
static COMPONENT: ByteSet = ByteSet::all_but_alphanumeric_and(b"-._~");
static HTML: ByteSet = ByteSet::unsafe_and(b" \"#%'<>\\^`{|}");
static REFRESH: ByteSet = ByteSet::unsafe_and(b" \"'<>\\^`{|~");
static LOG: ByteSet = ByteSet::unsafe_and(b"\"\\");

const HEX: &[u8; 16] = b"0123456789ABCDEF";

impl Place {
    fn set(self) -> &'static ByteSet {
        match self {
            Self::Uri => &URI,
            Self::Args => &ARGS,
            Self::Component => &COMPONENT,
            Self::Html => &HTML,
            Self::Refresh => &REFRESH,
        }
    }

    /// True when `byte` must be escaped here.
    #[inline]
    pub fn escapes(self, byte: u8) -> bool {
        self.set().has(byte)
    }
}

/// True when `text` has something to escape.
pub fn uri_needed(text: &[u8], place: Place) -> bool {
    let set = place.set();
    text.iter().any(|&b| set.has(b))
}

/// Appends `text` percent-escaped for `place`.
pub fn uri(out: &mut Vec<u8>, text: &[u8], place: Place) {
    let set = place.set();
    runs(
        out,
        text,
        |b| set.has(b),
        |out, b| out.extend([b'%', HEX[b as usize >> 4], HEX[b as usize & 15]]),
    );
}

/// What [`unescape`] does with what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unescape {
    /// Decodes every escape.
    All,
    /// Decodes, and stops behind a `?`.
    Uri,
    /// Decodes only what is safe in a redirect (above `%` and below DEL), keeps other escapes, and stops behind a `?`.
    Redirect,
}

/// Appends `text` with its percent-escapes decoded, as nginx's `ngx_unescape_uri`: a broken escape loses its `%` and keeps
/// what is not a digit. Returns how many bytes of `text` were used.
pub fn unescape(out: &mut Vec<u8>, text: &[u8], how: Unescape) -> usize {
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if byte == b'?' && how != Unescape::All {
            out.push(byte);
            return at;
        }
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let Some(&first) = text.get(at) else {
            return at;
        };
        at += 1;
        let Some(high) = hex_value(first) else {
            out.push(first);
            continue;
        };
        let Some(&second) = text.get(at) else {
            return at;
        };
        at += 1;
        let Some(low) = hex_value(second) else {
            continue;
        };
        let decoded = high << 4 | low;
        // An escaped question mark ends a URI like a raw one does.
        if decoded == b'?' && how != Unescape::All {
            out.push(decoded);
            return at;
        }
        if how == Unescape::Redirect && !(decoded > b'%' && decoded < 0x7f) {
            out.extend([b'%', first, second]);
        } else {
            out.push(decoded);
        }
    }
    at
}

/// The value of a hexadecimal digit.
#[inline]
pub const fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Appends a number in lower-case hexadecimal digits, without leading zeros.
pub fn hex(out: &mut Vec<u8>, value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (u64::BITS - (value | 1).leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        out.push(DIGITS[(value >> (4 * digit) & 15) as usize]);
    }
}

/// Appends `text` for HTML: `<`, `>`, `&` and `"` as entities.
pub fn html(out: &mut Vec<u8>, text: &[u8]) {
    runs(
        out,
        text,
        |b| matches!(b, b'<' | b'>' | b'&' | b'"'),
        |out, b| {
            out.extend_from_slice(match b {
                b'<' => b"&lt;",
                b'>' => b"&gt;",
                b'&' => b"&amp;",
                _ => b"&quot;",
            });
        },
    );
}

/// Appends a log value with `escape=default`: `"`, `\`, controls and bytes from DEL on become `\xXX`.
pub fn log_default(out: &mut Vec<u8>, text: &[u8]) {
    runs(
        out,
        text,
        |b| LOG.has(b),
        |out, b| out.extend([b'\\', b'x', HEX[b as usize >> 4], HEX[b as usize & 15]]),
    );
}

/// Appends a log value with `escape=json`: what a JSON string may not hold.
pub fn log_json(out: &mut Vec<u8>, text: &[u8]) {
    runs(
        out,
        text,
        |b| b < 0x20 || b == b'"' || b == b'\\',
        |out, b| match b {
            b'"' | b'\\' => out.extend([b'\\', b]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            8 => out.extend(b"\\b"),
            12 => out.extend(b"\\f"),
            _ => out.extend([
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[b as usize >> 4],
                HEX[b as usize & 15],
            ]),
        },
    );
}

/// Appends a log value with `escape=none`, except that no line end or NUL gets into a log line.
/// Differs from nginx: it writes those bytes raw, which forges log lines.
pub fn log_none(out: &mut Vec<u8>, text: &[u8]) {
    runs(
        out,
        text,
        |b| matches!(b, b'\r' | b'\n' | 0),
        |out, b| out.extend([b'\\', b'x', HEX[b as usize >> 4], HEX[b as usize & 15]]),
    );
}

/// Copies stretches without special bytes whole and hands each special byte to `put`.
#[inline]
fn runs(
    out: &mut Vec<u8>,
    text: &[u8],
    special: impl Fn(u8) -> bool,
    mut put: impl FnMut(&mut Vec<u8>, u8),
) {
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        if special(byte) {
            out.extend_from_slice(&text[start..at]);
            put(out, byte);
            start = at + 1;
        }
    }
    out.extend_from_slice(&text[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn places_escape_their_own_sets() {
        let all: Vec<u8> = (0x20..0x7f).collect();
        for (place, kept) in [
            (
                Place::Uri,
                "!$&'()*+,-./0123456789:;=@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~",
            ),
            (
                Place::Args,
                "!$'()*,-./0123456789:=@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~",
            ),
            (
                Place::Component,
                "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~",
            ),
            (
                Place::Html,
                "!$&()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~",
            ),
            (
                Place::Refresh,
                "!#$%&()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz}",
            ),
        ] {
            let got: String = all
                .iter()
                .filter(|&&b| !place.escapes(b))
                .map(|&b| char::from(b))
                .collect();
            assert_eq!(got, kept, "{place:?}");
            assert!(
                place.escapes(0)
                    && place.escapes(31)
                    && place.escapes(127)
                    && place.escapes(128)
                    && place.escapes(255)
            );
        }
        assert_eq!(
            with(|o| uri(o, b"/a b%\xff?", Place::Uri)),
            "/a%20b%25%FF%3F"
        );
        assert!(!uri_needed(b"/a/b", Place::Uri) && uri_needed(b"a/b", Place::Component));
    }

    #[test]
    fn unescape_like_nginx() {
        for (text, all, redirect) in [
            ("a%20b", "a b", "a%20b"),
            ("%41%2f", "A/", "A/"),
            ("a?%41", "a?A", "a?"),
            ("%3Fx", "?x", "?"),
            ("%zz", "zz", "zz"),
            ("%4zb", "b", "b"),
            ("%", "", ""),
            ("%4", "", ""),
            ("%25", "%", "%25"),
        ] {
            assert_eq!(
                with(|o| assert!(unescape(o, text.as_bytes(), Unescape::All) <= text.len())),
                all,
                "{text}"
            );
            assert_eq!(
                with(|o| assert!(unescape(o, text.as_bytes(), Unescape::Redirect) <= text.len())),
                redirect,
                "{text}"
            );
        }
        let mut out = Vec::new();
        assert_eq!(unescape(&mut out, b"a%3fbc", Unescape::Uri), 4);
        assert_eq!(out, b"a?");
    }

    #[test]
    fn html_and_logs() {
        assert_eq!(
            with(|o| html(o, b"<a href=\"x\">&'")),
            "&lt;a href=&quot;x&quot;&gt;&amp;'"
        );
        assert_eq!(
            with(|o| log_default(o, b"a\"\\\n\x7f\xc3 b")),
            "a\\x22\\x5C\\x0A\\x7F\\xC3 b"
        );
        assert_eq!(
            with(|o| log_json(o, b"a\"\\\n\r\t\x08\x0c\x01\x1f/\x7f")),
            "a\\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u001F/\x7f"
        );
        assert_eq!(
            with(|o| log_none(o, b"a\"b\r\n\0c")),
            "a\"b\\x0D\\x0A\\x00c"
        );
    }
}
