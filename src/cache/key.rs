//! What a key becomes: a digest, an owner, the name of a file. Start at [`digest`].

use md5::{Digest as _, Md5};

use crate::mail::Target;
use crate::mail::cache::{Digest, Name};

/// The digest of a key, which is nginx's.
pub fn digest(key: &[u8]) -> Digest {
    Md5::digest(key).into()
}

/// The digest of a variant of a key. Lengths are part of it: no two different triples are digested alike.
pub fn variant(key: &[u8], vary: &[u8], variant: &[u8]) -> Digest {
    let mut md5 = Md5::new();
    for part in [key, vary] {
        md5.update((part.len() as u64).to_le_bytes());
        md5.update(part);
    }
    md5.update(variant);
    md5.finalize().into()
}

/// What a key, or a variant of it, is called.
pub fn name(key: &[u8], chosen: Option<(&[u8], &[u8])>) -> Name {
    let main = digest(key);
    let own = match chosen {
        Some((vary, of)) if !vary.is_empty() => variant(key, vary, of),
        _ => main,
    };
    Name { main, own }
}

/// Who owns a key, by its digest.
pub fn owner(main: &Digest, shards: u16) -> Target {
    let word = u64::from(u32::from_le_bytes([main[0], main[1], main[2], main[3]]));
    Target(((word * u64::from(shards.max(1))) >> 32) as u16)
}

/// Appends the path of a file below the store's directory: `/c/29/b7f54b2df7773722d382f4809d65029c`.
pub fn push_path(path: &mut Vec<u8>, levels: [u8; 3], digest: &Digest) {
    let name = hex(digest);
    let mut end = name.len();
    for level in levels {
        let len = usize::from(level).min(end);
        if len == 0 {
            break;
        }
        path.push(b'/');
        path.extend_from_slice(&name[end - len..end]);
        end -= len;
    }
    path.push(b'/');
    path.extend_from_slice(&name);
}

/// 32 digits.
pub fn hex(digest: &Digest) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 32];
    for (pair, byte) in out.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

/// The digest that a file's name spells, if it does.
pub fn unhex(name: &[u8]) -> Option<Digest> {
    let mut out = [0; 16];
    if name.len() != 32 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(name.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_and_placed_as_nginx_does() {
        // From nginx's documentation of levels=1:2.
        let digest = unhex(b"b7f54b2df7773722d382f4809d65029c").unwrap();
        for (levels, want) in [
            ([1, 2, 0], "/d/c/29/b7f54b2df7773722d382f4809d65029c"),
            ([0, 0, 0], "/d/b7f54b2df7773722d382f4809d65029c"),
            ([2, 2, 2], "/d/9c/02/65/b7f54b2df7773722d382f4809d65029c"),
        ] {
            let mut path = b"/d".to_vec();
            push_path(&mut path, levels, &digest);
            assert_eq!(String::from_utf8(path).unwrap(), want);
        }
        assert_eq!(
            super::digest(b""),
            unhex(b"d41d8cd98f00b204e9800998ecf8427e").unwrap()
        );
    }

    #[test]
    fn only_digests_are_names() {
        for wrong in [
            &b"b7f54b2df7773722d382f4809d65029"[..],
            b"b7f54b2df7773722d382f4809d65029cc",
            b"B7f54b2df7773722d382f4809d65029c",
            b"b7f54b2df7773722d382f4809d65029g",
            b"",
        ] {
            assert_eq!(unhex(wrong), None);
        }
    }

    #[test]
    fn variants_have_names_of_their_own_and_the_owner_of_their_key() {
        let plain = name(b"key", None);
        assert_eq!(plain.main, plain.own);
        assert_eq!(name(b"key", Some((b"", b""))), plain);
        let mut seen = vec![plain.own];
        for (vary, of) in [("a", "b"), ("ab", ""), ("", "ab"), ("a", "bc"), ("ab", "c")] {
            let name = name(b"key", Some((vary.as_bytes(), of.as_bytes())));
            assert_eq!(name.main, plain.main);
            if !vary.is_empty() {
                assert!(!seen.contains(&name.own));
                seen.push(name.own);
            }
        }
    }

    #[test]
    fn owners_are_spread() {
        let mut counts = [0; 4];
        for n in 0..4000u32 {
            let at = owner(&digest(&n.to_le_bytes()), 4);
            counts[usize::from(at.0)] += 1;
        }
        assert!(counts.iter().all(|&n| n > 800), "{counts:?}");
    }
}
