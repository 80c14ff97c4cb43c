//! Base64 of RFC 4648, the standard alphabet. Start at [`encode`] and [`decode`].

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` in base64, padded.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            if place <= three.len() {
                out.push(DIGITS[(bits >> shift & 63) as usize]);
            } else {
                out.push(b'=');
            }
        }
    }
}

/// Appends the bytes that `text` stands for; `None`, with nothing appended, when it is no base64. Padding may be left out.
#[must_use]
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digits = text.iter().position(|&b| b == b'=').unwrap_or(text.len());
    let padding = &text[digits..];
    if digits % 4 == 1 || padding.len() > 2 || padding.iter().any(|&b| b != b'=') {
        return None;
    }
    let start = out.len();
    let (mut bits, mut have) = (0u32, 0);
    for &digit in &text[..digits] {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => {
                out.truncate(start);
                return None;
            }
        };
        bits = bits << 6 | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pairs_both_ways() {
        for (plain, text) in [
            (&b""[..], &b""[..]),
            (b"f", b"Zg=="),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg=="),
            (b"\xff\xfe\xfd", b"//79"),
        ] {
            let mut out = Vec::new();
            encode(plain, &mut out);
            assert_eq!(out, text);
            let mut back = b"x".to_vec();
            assert_eq!(decode(text, &mut back), Some(()));
            assert_eq!(&back[1..], plain);
        }
    }

    #[test]
    fn what_is_no_base64() {
        for text in [&b"A"[..], b"AA===", b"A A=", b"AA=A", b"AAAAA", b"\xff\xff"] {
            let mut out = Vec::new();
            assert_eq!(decode(text, &mut out), None, "{}", text.escape_ascii());
            assert!(out.is_empty());
        }
        let mut out = Vec::new();
        assert_eq!(decode(b"Zg", &mut out), Some(()));
        assert_eq!(out, b"f");
    }
}
