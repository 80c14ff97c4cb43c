//! Host names of requests: validation and the normal form that picks a server. Start at [`validate`].

/// A valid host, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Bytes of the name: without port and without a trailing dot.
    pub len: usize,
    /// The port, or 0 when there is none.
    pub port: u16,
    /// The name has upper-case letters.
    pub upper: bool,
}

/// The host is not valid: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHost;

/// Letters, digits, hyphens, and what RFC 3986 allows besides.
const PLAIN: u8 = 0;
const UPPER: u8 = 1;
const DOT: u8 = 2;
const COLON: u8 = 4;
const PERCENT: u8 = 8;
const INVALID: u8 = 16;

/// What a byte is in a host.
static CLASS: [u8; 256] = {
    let mut table = [INVALID; 256];
    let mut b = 0;
    while b < 128 {
        let byte = b as u8;
        if byte.is_ascii_uppercase() {
            table[b] = UPPER;
        } else if byte.is_ascii_alphanumeric() || byte == b'-' {
            table[b] = PLAIN;
        }
        b += 1;
    }
    let rare = b"_~!$&'()*+,;=";
    let mut i = 0;
    while i < rare.len() {
        table[rare[i] as usize] = PLAIN;
        i += 1;
    }
    table[b'.' as usize] = DOT;
    table[b':' as usize] = COLON;
    table[b'%' as usize] = PERCENT;
    table
};

/// Checks `host` (a `Host` field or an authority) by RFC 3986, as nginx does since 1.29.4.
pub fn validate(host: &[u8]) -> Result<Host, InvalidHost> {
    // Nearly all names can be judged by the classes of all their bytes together, and of neighbours.
    let (mut end, mut classes, mut both, mut last) = (host.len(), 0, 0, 0);
    for (at, &byte) in host.iter().enumerate() {
        let class = CLASS[usize::from(byte)];
        if class == COLON {
            end = at;
            break;
        }
        classes |= class;
        both |= class & last;
        last = class;
    }
    if classes & !(UPPER | DOT) != 0 || both & DOT != 0 {
        return byte_by_byte(host);
    }
    let (name, rest) = host.split_at(end);
    finish(name, rest, classes & UPPER != 0)
}

fn byte_by_byte(host: &[u8]) -> Result<Host, InvalidHost> {
    if host.first() == Some(&b'[') {
        return literal(host);
    }
    let (mut upper, mut len) = (false, 0);
    while let Some(&byte) = host.get(len) {
        let class = CLASS[byte as usize];
        if class != PLAIN {
            match class {
                UPPER => upper = true,
                DOT if len == 0 || host[len - 1] != b'.' => {}
                // Differs from nginx: a percent sign that escapes nothing is refused.
                PERCENT if is_escape(&host[len..]) => {}
                COLON => break,
                _ => return Err(InvalidHost),
            }
        }
        len += 1;
    }
    finish(&host[..len], &host[len..], upper)
}

/// A name whose bytes are valid, and what follows it.
#[inline]
fn finish(name: &[u8], rest: &[u8], upper: bool) -> Result<Host, InvalidHost> {
    let port = if rest.is_empty() { 0 } else { port(rest)? };
    let len = name.strip_suffix(b".").unwrap_or(name).len();
    if len == 0 {
        return Err(InvalidHost);
    }
    Ok(Host { len, port, upper })
}

/// An address in brackets. Like nginx, checks its bytes but not that it is an address.
fn literal(host: &[u8]) -> Result<Host, InvalidHost> {
    let close = host.iter().position(|&b| b == b']').ok_or(InvalidHost)?;
    let mut upper = false;
    for (i, &byte) in host[..close].iter().enumerate().skip(1) {
        match CLASS[byte as usize] {
            PLAIN | COLON => {}
            UPPER => upper = true,
            DOT if host[i - 1] != b'.' => {}
            _ => return Err(InvalidHost),
        }
    }
    Ok(Host {
        len: close + 1,
        port: port(&host[close + 1..])?,
        upper,
    })
}

fn is_escape(text: &[u8]) -> bool {
    matches!(text, [_, a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

/// `:` and digits, either of which may be missing.
fn port(text: &[u8]) -> Result<u16, InvalidHost> {
    let Some((colon, digits)) = text.split_first() else {
        return Ok(0);
    };
    if *colon != b':' {
        return Err(InvalidHost);
    }
    let mut port = 0u32;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return Err(InvalidHost);
        }
        port = port * 10 + u32::from(byte - b'0');
        if port > u32::from(u16::MAX) {
            return Err(InvalidHost);
        }
    }
    Ok(port as u16)
}

/// Validates and appends the normal form (lower case, no port, no trailing dot) to `out`; returns the port or 0.
pub fn normalize(host: &[u8], out: &mut Vec<u8>) -> Result<u16, InvalidHost> {
    let valid = validate(host)?;
    valid.normal_form(host, out);
    Ok(valid.port)
}

impl Host {
    /// Appends the normal form of the very `host` that was found valid.
    pub fn normal_form(&self, host: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&host[..self.len]);
        if self.upper {
            out[start..].make_ascii_lowercase();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_hosts_have_one_form() {
        for (host, normal, port) in [
            ("a", "a", 0),
            ("L", "l", 0),
            (
                "AbC-d93.0.34ZhGt-s.nk.Ru:88",
                "abc-d93.0.34zhgt-s.nk.ru",
                88,
            ),
            ("abcd-ef.g02.xyz:", "abcd-ef.g02.xyz", 0),
            ("example.com.", "example.com", 0),
            ("example.com.:88", "example.com", 88),
            (".example.com", ".example.com", 0),
            ("a_b~!$&'()*+,;=c", "a_b~!$&'()*+,;=c", 0),
            ("a%2Fb", "a%2fb", 0),
            ("123.40.56.78:65535", "123.40.56.78", 65535),
            ("[abcd::EF98:0:7654:321]:80", "[abcd::ef98:0:7654:321]", 80),
            ("[::ffff:12.30.67.89]", "[::ffff:12.30.67.89]", 0),
            ("[::1]:", "[::1]", 0),
        ] {
            let mut out = b">".to_vec();
            assert_eq!(normalize(host.as_bytes(), &mut out), Ok(port), "{host}");
            assert_eq!(&out[1..], normal.as_bytes(), "{host}");
        }
    }

    #[test]
    fn invalid_hosts() {
        for host in [
            "",
            ".",
            ":80",
            ".:80",
            "a..b",
            "..",
            "a b",
            "a/b",
            "a\\b",
            "a@b",
            "a?b",
            "a#b",
            "a\"b",
            "a<b",
            "a[b",
            "a]b",
            "a|b",
            "a^b",
            "a`b",
            "a{b",
            "a%",
            "a%2",
            "a%zz",
            "a:65536",
            "a:98777",
            "a:9000:80",
            "a:1.2",
            "a:x",
            "a:-1",
            "[",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[::1]:70000",
            "[::1/]",
            "[a..b]",
            "[%]",
            "\u{e9}",
            "a\0",
            "a\t",
            "a\r",
            "user@a",
            "a,b c",
        ] {
            assert_eq!(validate(host.as_bytes()), Err(InvalidHost), "{host:?}");
        }
    }

    #[test]
    fn all_bytes_together_or_one_by_one() {
        let mut rng = crate::base::rng::Rng::new(3);
        let parts = [
            "a", "B", "-", ".", ".", "..", "abcdefg", "1234567", ":", "80", "%41", "%", "[", "]",
            "_", "/", "\u{e9}", "\0", " ",
        ];
        for _ in 0..100_000 {
            let mut host = String::new();
            (0..rng.below(8)).for_each(|_| host.push_str(parts[rng.below(19) as usize]));
            let host = host.as_bytes();
            assert_eq!(
                validate(host),
                byte_by_byte(host),
                "{}",
                host.escape_ascii()
            );
        }
    }
}
