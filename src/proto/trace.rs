//! W3C trace context: `traceparent` and `tracestate`, read strictly and written in version 00. Start at [`Parent`].

/// What a `traceparent` says: which trace a request belongs to, and which span made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace, in hex.
    pub trace: [u8; 32],
    /// The span that made the request, in hex.
    pub span: [u8; 16],
    /// The flags that version 00 knows: sampled (1), random (2).
    pub flags: u8,
}

/// Members of a `tracestate`, at most.
const MEMBERS_MAX: usize = 32;

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte - b'a' + 10,
    }
}

impl Parent {
    /// Reads a value; none where a rule is broken. Versions to come are read as far as 00 knows them.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(55)?;
        let [version, trace, span, flags] = [&head[..2], &head[3..35], &head[36..52], &head[53..]];
        let dashes = [head[2], head[35], head[52]] == [b'-'; 3];
        let hex = [version, trace, span, flags]
            .iter()
            .all(|part| is_hex(part));
        let named = [trace, span].iter().all(|id| id.iter().any(|b| *b != b'0'));
        if !dashes || !hex || !named || version == b"ff" {
            return None;
        }
        match (version, rest.first()) {
            (_, None) => {}
            (b"00", Some(_)) => return None,
            (_, Some(b'-')) => {}
            (_, Some(_)) => return None,
        }
        let known = if version == b"00" { 3 } else { 1 };
        Some(Self {
            trace: trace.try_into().ok()?,
            span: span.try_into().ok()?,
            flags: (digit(flags[0]) << 4 | digit(flags[1])) & known,
        })
    }

    /// Appends the value.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"00-");
        out.extend_from_slice(&self.trace);
        out.push(b'-');
        out.extend_from_slice(&self.span);
        out.extend_from_slice(&[b'-', b'0', b'0' + self.flags]);
    }
}

/// Whether a `tracestate`, its fields joined by commas, keeps the rules of its grammar.
#[must_use]
pub fn is_state(text: &[u8]) -> bool {
    let mut keys: Vec<&[u8]> = Vec::new();
    for member in text.split(|&b| b == b',') {
        let member = member.trim_ascii();
        if member.is_empty() {
            continue;
        }
        let Some(at) = member.iter().position(|&b| b == b'=') else {
            return false;
        };
        let (key, value) = (&member[..at], &member[at + 1..]);
        if keys.len() == MEMBERS_MAX || keys.contains(&key) || !is_key(key) || !is_value(value) {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

fn is_key(key: &[u8]) -> bool {
    let mut parts = key.splitn(2, |&b| b == b'@');
    let word = |part: &[u8], most: usize| {
        part.len() <= most
            && part
                .first()
                .is_some_and(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'))
            && part
                .iter()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    match (parts.next(), parts.next()) {
        (Some(tenant), Some(system)) => word(tenant, 241) && word(system, 14),
        (Some(key), None) => word(key, 256),
        _ => false,
    }
}

fn is_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len())
        && value
            .iter()
            .all(|b| matches!(b, 0x20..=0x7e) && !matches!(b, b'=' | b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn parents_are_read_strictly() {
        let good = Parent::parse(GOOD.as_bytes()).expect("valid");
        assert_eq!(&good.trace, b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((&good.span, good.flags), (b"00f067aa0ba902b7", 1));
        let mut out = Vec::new();
        good.write(&mut out);
        assert_eq!(out, GOOD.as_bytes());
        for (text, flags) in [
            (GOOD.replace("-01", "-00"), Some(0)),
            (GOOD.replace("-01", "-ff"), Some(3)),
            (GOOD.replacen("00-", "cc-", 1), Some(1)),
            (GOOD.replacen("00-", "cc-", 1) + "-what-comes", Some(1)),
            (GOOD.replacen("00-", "cc-", 1) + ".what", None),
            (GOOD.replacen("00-", "ff-", 1), None),
            (GOOD.to_owned() + "-", None),
            (GOOD.to_uppercase(), None),
            (GOOD.replace("4bf9", "4bg9"), None),
            (GOOD.replace("00f067aa0ba902b7", "0000000000000000"), None),
            (
                GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
                None,
            ),
            (GOOD.replace('-', "_"), None),
            (GOOD[..54].to_owned(), None),
            (String::new(), None),
        ] {
            let got = Parent::parse(text.as_bytes()).map(|parent| parent.flags);
            assert_eq!(got, flags, "{text}");
        }
        for cut in 0..GOOD.len() {
            assert_eq!(Parent::parse(&GOOD.as_bytes()[..cut]), None);
        }
    }

    #[test]
    fn states_keep_their_grammar() {
        let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>();
        for (text, good) in [
            ("rojo=00f067aa0ba902b7", true),
            ("congo=t61rcWkgMzE, rojo=00f067aa0ba902b7 ,,a=b", true),
            ("t1@sys=x y", true),
            (&many[..32].join(","), true),
            (&many.join(","), false),
            ("a=1,a=2", false),
            ("A=1", false),
            ("a", false),
            ("a=", false),
            ("a=b=c", false),
            ("=x", false),
            ("@sys=x", false),
            ("", false),
            (" , ", false),
            ("a=\u{7}", false),
        ] {
            assert_eq!(is_state(text.as_bytes()), good, "{text}");
        }
    }
}
