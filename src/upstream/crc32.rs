//! Joins CRC-32 checksums, so that a balancer which hashes "attempt number, key" need not keep the key.
//! The checksum itself is [`crate::base::hash::crc32`]. Start at [`join`].

const POLYNOMIAL: u32 = 0xedb8_8320;

/// The checksum of `a` followed by `b`, from the checksums of both and the length of `b`.
pub fn join(a: u32, b: u32, b_length: u64) -> u32 {
    multiply(a, power(b_length.wrapping_mul(8))) ^ b
}

/// Product of two polynomials modulo the checksum's. Bit 31 is the constant term.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut mask = 1 << 31;
    while mask != 0 {
        if a & mask != 0 {
            product ^= b;
        }
        b = if b & 1 == 1 {
            (b >> 1) ^ POLYNOMIAL
        } else {
            b >> 1
        };
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
    use crate::base::hash::crc32;

    #[test]
    fn joined_equals_whole_at_every_cut() {
        let text = b"1/some/key?with=a&longer=tail";
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(
                join(crc32(a), crc32(b), b.len() as u64),
                crc32(text),
                "{cut}"
            );
        }
    }
}
