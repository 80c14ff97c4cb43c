//! The hashes whose values configurations depend on: CRC-32 for `hash`, MurmurHash2 for `split_clients`; and the one
//! that the kernel computes too, for addresses. Not for tables that clients fill. Start at [`crc32`] and [`murmur2`].

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::OnceLock;

use super::cidr::canonical;

/// A word that the shards of one process share and nobody else knows: the seed of tables that clients fill.
pub fn process_seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().build_hasher().finish())
}

/// CRC-32 (IEEE) of `bytes`. nginx's "short" and "long" variants differ in table size only.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(bytes);
    crc.finish()
}

/// CRC-32 (IEEE) over several pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32 {
    /// Before the first byte.
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    /// Takes in `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = CRC32[((self.0 ^ u32::from(byte)) & 0xff) as usize] ^ (self.0 >> 8);
        }
    }

    /// The value of everything taken in.
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

/// CRC-32C (Castagnoli) of `bytes`, as PROXY protocol checksums use it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        CRC32C[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8)
    })
}

static CRC32: [u32; 256] = crc_table(0xedb8_8320);
static CRC32C: [u32; 256] = crc_table(0x82f6_3b78);

const fn crc_table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ polynomial
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
}

/// MurmurHash2 with seed 0.
pub fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ k >> 24).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

/// What the words of an IPv6 address are joined with.
pub const ADDRESS_JOIN: u32 = 0x9e37_79b1;
/// The shifts and factors that mix an address: shift, multiply, shift, multiply, shift.
pub const ADDRESS_MIX: ([u32; 3], [u32; 2]) = ([16, 13, 16], [0x85eb_ca6b, 0xc2b2_ae35]);

/// The hash of a client's address that decides which shard owns it. `net::sys::steer` is the same in the kernel's
/// instructions, which know 32 bits and no tables; an IPv4 address mapped into IPv6 counts as IPv4, because that is
/// what the packet has. Not keyed: who owns many addresses can choose their shard.
pub fn address(at: IpAddr) -> u32 {
    let joined = match canonical(at) {
        IpAddr::V4(at) => at.to_bits(),
        IpAddr::V6(at) => {
            let bits = at.to_bits();
            let words = [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
            let join = |hash: u32, word: &u32| hash.wrapping_mul(ADDRESS_JOIN) ^ word;
            words[1..].iter().fold(words[0], join)
        }
    };
    let ([a, b, c], [first, second]) = ADDRESS_MIX;
    let hash = (joined ^ joined >> a).wrapping_mul(first);
    let hash = (hash ^ hash >> b).wrapping_mul(second);
    hash ^ hash >> c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_spread_evenly_and_forms_of_one_agree() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            address(parse("::ffff:192.0.2.1")),
            address(parse("192.0.2.1"))
        );
        assert_ne!(
            address(parse("2001:db8::1")),
            address(parse("2001:db8:1::"))
        );
        for net in [0x0a00_0000u32, 0xc0a8_0100] {
            let mut shares = [0u32; 4];
            for n in 0..4096 {
                let at = IpAddr::V4((net + n).into());
                shares[(address(at) % 4) as usize] += 1;
            }
            assert!(shares.iter().all(|n| (900..1150).contains(n)), "{shares:?}");
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32(b""), 0);
        let mut parts = Crc32::new();
        parts.update(b"1234");
        parts.update(b"56789");
        assert_eq!(parts.finish(), 0xcbf4_3926);
        // Computed with the reference implementation of MurmurHash2, seed 0.
        assert_eq!(murmur2(b""), 0);
        assert_eq!(murmur2(b"a"), 0x9268_5f5e);
        assert_ne!(murmur2(b"abc"), murmur2(b"abd"));
    }
}
