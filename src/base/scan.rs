//! Byte searches eight bytes at a time, for stretches so short that a call into a vector search costs more than the search.
//! Start at [`first_below`] and [`first_equal`].

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// The first eight bytes as a little-endian word; zeros stand for bytes behind the end.
#[inline(always)]
pub fn first_word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => short_word(bytes),
    }
}

#[inline(never)]
fn short_word(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |word, &b| word << 8 | u64::from(b))
}

/// The position of the first byte from `from` on that is below `limit`, which is at most 128.
#[inline(always)]
pub fn first_below(bytes: &[u8], from: usize, limit: u8) -> Option<usize> {
    debug_assert!(limit <= 128);
    // A borrow runs only upwards, so the lowest mark of a word is always true.
    search_pairs(bytes, from, |x| {
        x.wrapping_sub(ONES * limit as u64) & !x & HIGH
    })
}

/// The position of the first byte that equals `wanted`, if it is among the first `words` times eight.
#[inline(always)]
pub fn first_equal(bytes: &[u8], wanted: u8, words: usize) -> Option<usize> {
    search(bytes, 0, words, |word| zeros(word ^ (ONES * wanted as u64)))
}

/// The position of the first byte from `from` on that equals `a` or `b`.
#[inline(always)]
pub fn first_of_two(bytes: &[u8], from: usize, a: u8, b: u8) -> Option<usize> {
    search(bytes, from, usize::MAX, |word| {
        zeros(word ^ (ONES * a as u64)) | zeros(word ^ (ONES * b as u64))
    })
}

/// True when a byte is below `limit`, which is at most 128.
#[inline(always)]
pub fn any_below(bytes: &[u8], limit: u8) -> bool {
    let marks = |x: u64| x.wrapping_sub(ONES * limit as u64) & !x & HIGH;
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().any(|&b| b < limit);
    };
    // The last word may overlap the one before it.
    let last = marks(u64::from_le_bytes(*last));
    let (words, _) = bytes.as_chunks();
    words
        .iter()
        .fold(last, |found, word| found | marks(u64::from_le_bytes(*word)))
        != 0
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

#[inline(always)]
const fn zeros(x: u64) -> u64 {
    x.wrapping_sub(ONES) & !x & HIGH
}

/// `marks` sets the high bit of each byte that is looked for; marks above the lowest may be wrong. No more than `words` words are
/// looked at.
#[inline(always)]
fn search(bytes: &[u8], from: usize, words: usize, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let mut rest = bytes.get(from..)?;
    // What is left is cut word by word, because that costs one comparison of lengths for each.
    for _ in 0..words {
        let Some((word, more)) = rest.split_first_chunk() else {
            // Behind the end stand zeros, which may be marked, and no mark at all counts as position 8.
            let found = (marks(short_word(rest)).trailing_zeros() / 8) as usize;
            return (found < rest.len()).then_some(bytes.len() - rest.len() + found);
        };
        let hit = marks(u64::from_le_bytes(*word));
        if hit != 0 {
            let found = (hit.trailing_zeros() / 8) as usize;
            return Some(bytes.len() - rest.len() + found);
        }
        rest = more;
    }
    None
}

/// The same for longer stretches: two words for each branch.
#[inline(always)]
fn search_pairs(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let mut rest = bytes.get(from..)?;
    loop {
        let Some((pair, more)) = rest.split_first_chunk() else {
            return search(bytes, bytes.len() - rest.len(), usize::MAX, marks);
        };
        let pair = u128::from_le_bytes(*pair);
        let (low, high) = (marks(pair as u64), marks((pair >> 64) as u64));
        if low | high != 0 {
            let bits = match low {
                0 => 64 + high.trailing_zeros(),
                _ => low.trailing_zeros(),
            };
            return Some(bytes.len() - rest.len() + (bits / 8) as usize);
        }
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
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
            for limit in [1, 0x0e, 0x80] {
                let found = part.iter().any(|&b| b < limit);
                assert_eq!(any_below(part, limit), found, "{part:?}");
            }
            let len = part.len().min(8);
            word[..len].copy_from_slice(&part[..len]);
            assert_eq!(first_word(part), u64::from_le_bytes(word));
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
            let first = bytes.iter().position(|&b| b == wanted);
            assert_eq!(first_equal(&bytes, wanted, usize::MAX), first);
            let near = first.filter(|&at| at < 16);
            assert_eq!(first_equal(&bytes, wanted, 2), near);
            let other = wanted.wrapping_add(3);
            assert_eq!(
                first_of_two(&bytes, from, wanted, other),
                plain(&|b| b == wanted || b == other)
            );
        }
    }
}
