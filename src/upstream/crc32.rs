//! CRC-32 (IEEE), as the hash balancers of nginx use it: of whole keys, of running states, and joined.
//! Knows no balancing. Start at [`crc32`].

const POLYNOMIAL: u32 = 0xedb8_8320;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = half(value);
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// Divides by x in the reflected field.
const fn half(value: u32) -> u32 {
    if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 }
}

/// A running state before any byte.
pub const START: u32 = u32::MAX;

/// Feeds bytes into a running state.
pub fn update(mut state: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        state = TABLE[((state ^ u32::from(byte)) & 0xff) as usize] ^ (state >> 8);
    }
    state
}

/// Ends a running state.
pub const fn finish(state: u32) -> u32 {
    !state
}

/// The checksum of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    finish(update(START, bytes))
}

/// The checksum of `a` followed by `b`, from the checksums of both and the length of `b`: a balancer that hashes
/// "attempt number, key" again and again need not keep the key.
pub fn join(a: u32, b: u32, b_length: u64) -> u32 {
    multiply(a, power(b_length.wrapping_mul(8))) ^ b
}

/// Product of two polynomials modulo the field's. Bit 31 is the constant term.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut mask = 1 << 31;
    while mask != 0 {
        if a & mask != 0 {
            product ^= b;
        }
        b = half(b);
        mask >>= 1;
    }
    product
}

/// x to the `exponent`.
fn power(mut exponent: u64) -> u32 {
    let mut square = 1 << 30;
    let mut result = 1 << 31;
    while exponent != 0 {
        if exponent & 1 == 1 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        for (text, value) in [("", 0), ("a", 0xe8b7_be43), ("123456789", 0xcbf4_3926)] {
            assert_eq!(crc32(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn joined_equals_whole_at_every_cut() {
        let text = b"1/some/key?with=a&longer=tail";
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(join(crc32(a), crc32(b), b.len() as u64), crc32(text), "{cut}");
        }
    }
}
