//! A small generator for choices that need no secrecy: balancing, jitter, request ids of logs. Seeded by its argument.
//! Start at [`Rng::new`].

/// wyrand: one multiplication per word.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Equal seeds give equal sequences.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0xa076_1d64_78bd_642f);
        let wide = (self.0 as u128).wrapping_mul((self.0 ^ 0xe703_7ed1_a0b4_28db) as u128);
        (wide >> 64) as u64 ^ wide as u64
    }

    /// A number below `bound`; 0 for a bound of 0. The bias is below 2^-32 for 32-bit bounds.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.word() as u128 * bound as u128) >> 64) as u64
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_and_spread() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert!((0..100).all(|_| a.word() == b.word()));
        let mut seen = [0u32; 10];
        (0..100_000).for_each(|_| seen[a.below(10) as usize] += 1);
        assert!(
            seen.iter().all(|&n| (9_500..10_500).contains(&n)),
            "{seen:?}"
        );
        assert_eq!(a.below(0), 0);
        let mut bytes = [0; 13];
        a.fill(&mut bytes);
        assert_ne!(bytes, [0; 13]);
    }
}
