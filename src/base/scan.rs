//! Byte searches eight bytes at a time, for stretches so short that a call into a vector search costs more than the search.
//! Start at [`first_below`] and [`first_equal`].

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// The eight bytes from `at` on as a little-endian word; zeros stand for bytes behind the end.
#[inline(always)]
pub fn word_at(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        return u64::from_le_bytes(*word);
    }
    let left = bytes.len().saturating_sub(at);
    match bytes.last_chunk::<8>() {
        _ if left == 0 => 0,
        Some(word) => u64::from_le_bytes(*word) >> (8 * (8 - left)),
        None => bytes[at..]
            .iter()
            .rev()
            .fold(0, |word, &b| word << 8 | u64::from(b)),
    }
}

/// The position of the first byte from `from` on that is below `limit`, which is at most 128.
#[inline(always)]
pub fn first_below(bytes: &[u8], from: usize, limit: u8) -> Option<usize> {
    debug_assert!(limit <= 128);
    // A borrow runs only upwards, so the lowest mark of a word is always true.
    search(bytes, from, |x| {
        x.wrapping_sub(ONES * limit as u64) & !x & HIGH
    })
}

/// The position of the first byte from `from` on that equals `wanted`.
#[inline(always)]
pub fn first_equal(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    search(bytes, from, |word| zeros(word ^ (ONES * wanted as u64)))
}

/// The position of the first byte from `from` on that equals `a` or `b`.
#[inline(always)]
pub fn first_of_two(bytes: &[u8], from: usize, a: u8, b: u8) -> Option<usize> {
    search(bytes, from, |word| {
        zeros(word ^ (ONES * a as u64)) | zeros(word ^ (ONES * b as u64))
    })
}

/// The union of the flags that `table` gives each byte.
#[inline(always)]
pub fn flags_of(bytes: &[u8], table: &[u8; 256]) -> u8 {
    let (chunks, tail) = bytes.as_chunks::<8>();
    let mut flags = 0;
    for chunk in chunks {
        // Written out, so that nothing but a load and an `or` is spent on each byte.
        for byte in *chunk {
            flags |= table[byte as usize];
        }
    }
    tail.iter()
        .fold(flags, |flags, &b| flags | table[b as usize])
}

/// True when `first` is followed by one of `second` somewhere; sometimes true without.
#[inline(always)]
pub fn may_have_pair(bytes: &[u8], first: u8, second: [u8; 2]) -> bool {
    let mut at = 0;
    while at + 1 < bytes.len() {
        let word = word_at(bytes, at);
        let next =
            zeros(word ^ (ONES * second[0] as u64)) | zeros(word ^ (ONES * second[1] as u64));
        if zeros(word ^ (ONES * first as u64)) & (next >> 8) != 0 {
            return true;
        }
        // Words overlap by a byte, so that no pair lies between two.
        at += 7;
    }
    false
}

#[inline(always)]
const fn zeros(x: u64) -> u64 {
    x.wrapping_sub(ONES) & !x & HIGH
}

/// `marks` sets the high bit of each byte that is looked for; marks above the lowest may be wrong.
#[inline(always)]
fn search(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let (words, tail) = rest.as_chunks::<8>();
    let mut at = from;
    for word in words {
        let hit = marks(u64::from_le_bytes(*word));
        if hit != 0 {
            return Some(at + (hit.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    if tail.is_empty() {
        return None;
    }
    let found = at + (marks(word_at(bytes, at)).trailing_zeros() / 8) as usize;
    // Behind the end stand zeros, which may be marked, and no mark at all counts as position 8.
    (found < bytes.len()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_pairs() {
        let mut table = [0; 256];
        table[b'a' as usize] = 1;
        table[b'b' as usize] = 2;
        for (text, flags) in [
            ("", 0),
            ("xxxxxxxxx", 0),
            ("xxxxxxxxa", 1),
            ("bxxxxxxxxxxxxxxxxxa", 3),
        ] {
            assert_eq!(flags_of(text.as_bytes(), &table), flags, "{text}");
        }
        for (text, pair) in [
            ("", false),
            ("/", false),
            ("/a/b", false),
            ("/a//", true),
            ("/234567/.", true),
            ("/2345678/.", true),
            ("/./", true),
        ] {
            assert_eq!(may_have_pair(text.as_bytes(), b'/', *b"/."), pair, "{text}");
        }
    }

    #[test]
    fn agree_with_the_plain_search() {
        let mut rng = crate::base::rng::Rng::new(6);
        for _ in 0..50_000 {
            let mut bytes = vec![0; rng.below(40) as usize];
            rng.fill(&mut bytes);
            let from = rng.below(bytes.len() as u64 + 2) as usize;
            let plain = |test: &dyn Fn(u8) -> bool| {
                let at = bytes.get(from..)?.iter().position(|&b| test(b))?;
                Some(from + at)
            };
            for limit in [1, 0x0e, 0x20, 0x21, 0x80] {
                assert_eq!(first_below(&bytes, from, limit), plain(&|b| b < limit));
            }
            let mut word = [0; 8];
            let part = bytes.get(from..).unwrap_or_default();
            let len = part.len().min(8);
            word[..len].copy_from_slice(&part[..len]);
            assert_eq!(word_at(&bytes, from), u64::from_le_bytes(word));
        }
        for _ in 0..50_000 {
            let wanted = rng.word() as u8;
            let mut bytes = vec![0; rng.below(40) as usize];
            rng.fill(&mut bytes);
            bytes
                .iter_mut()
                .for_each(|b| *b = (*b & 7).wrapping_add(wanted));
            let from = rng.below(bytes.len() as u64 + 1) as usize;
            let plain = |test: &dyn Fn(u8) -> bool| {
                Some(from + bytes[from..].iter().position(|&b| test(b))?)
            };
            assert_eq!(first_equal(&bytes, from, wanted), plain(&|b| b == wanted));
            let other = wanted.wrapping_add(3);
            assert_eq!(
                first_of_two(&bytes, from, wanted, other),
                plain(&|b| b == wanted || b == other)
            );
        }
    }
}
