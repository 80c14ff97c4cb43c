//! RFC 9218: urgency and incremental delivery, from the `Priority` field and from PRIORITY_UPDATE.

/// How a response wants to be sent (§4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 is the most urgent, 7 is for the background.
    pub urgency: u8,
    /// Useful in pieces: shares the connection with others of its urgency.
    pub incremental: bool,
}

impl Priority {
    /// What holds where nothing is said (§4.1, §4.2).
    pub const DEFAULT: Self = Self {
        urgency: 3,
        incremental: false,
    };

    /// Number of urgencies.
    pub const LEVELS: usize = 8;

    /// Reads a field value: a structured dictionary (RFC 8941 §3.2) of which `u` and `i` matter. What is malformed is
    /// as good as absent (§4).
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut priority = Self::DEFAULT;
        for member in value.split(|&byte| byte == b',') {
            let member = member.trim_ascii();
            // Parameters of a member have no meaning here.
            let member = member
                .split(|&byte| byte == b';')
                .next()
                .unwrap_or(b"")
                .trim_ascii();
            match member {
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                _ => {}
            }
        }
        priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_leniently() {
        for (value, urgency, incremental) in [
            (&b""[..], 3, false),
            (b"u=0", 0, false),
            (b"u=7, i", 7, true),
            (b"i,u=1", 1, true),
            (b"i=?0", 3, false),
            (b"i=?1, i=?0", 3, false),
            (b"u=5;x=1, i;y", 5, true),
            (b"u=8", 3, false),
            (b"u=-1", 3, false),
            (b"u=3.0", 3, false),
            (b"u=\"2\"", 3, false),
            (b"U=1", 3, false),
            (b"u=2, u=4", 4, false),
            (b"\xff\x00,,,=;", 3, false),
        ] {
            let want = Priority {
                urgency,
                incremental,
            };
            assert_eq!(Priority::parse(value), want, "{}", value.escape_ascii());
        }
    }
}
