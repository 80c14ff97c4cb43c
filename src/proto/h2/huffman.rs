//! The Huffman code of header strings (RFC 7541 §5.2, appendix B). The code is canonical, so the lengths of the 257
//! codes are the whole of it; every table is made of them when the program is compiled.

/// Bits of each symbol's code; the last is the end-of-string symbol, which no string may hold.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The symbol that fills the last byte and is never decoded.
const EOS: u16 = 256;

/// The longest code.
const LONGEST: usize = 30;

/// Codes up to this length are found by one look-up.
const DIRECT_BITS: u32 = 9;

/// What all decoding and encoding looks up.
struct Tables {
    /// Code of each symbol, right-aligned.
    codes: [u32; 257],
    /// Symbols in the order of their codes.
    sorted: [u16; 257],
    /// First code of each length.
    first: [u32; LONGEST + 1],
    /// Where the symbols of each length begin in `sorted`.
    start: [u16; LONGEST + 2],
    /// Symbol and length for each run of `DIRECT_BITS` bits that begins with a short code; length 0 for the others.
    direct: [(u8, u8); 1 << DIRECT_BITS],
}

const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [0; 257],
        sorted: [0; 257],
        first: [0; LONGEST + 1],
        start: [0; LONGEST + 2],
        direct: [(0, 0); 1 << DIRECT_BITS],
    };
    let (mut code, mut at, mut length) = (0u32, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        tables.first[length] = code;
        tables.start[length] = at;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                tables.codes[symbol] = code;
                tables.sorted[at as usize] = symbol as u16;
                if length <= DIRECT_BITS as usize {
                    let spare = DIRECT_BITS - length as u32;
                    let mut fill = 0;
                    while fill < 1 << spare {
                        tables.direct[((code << spare) + fill) as usize] =
                            (symbol as u8, length as u8);
                        fill += 1;
                    }
                }
                at += 1;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    tables.start[LONGEST + 1] = at;
    tables
}

static TABLES: Tables = tables();

/// Appends the string that `coded` stands for. False when it holds the end symbol, or ends in padding that is longer
/// than seven bits or not all ones (§5.2: a decoding error).
#[must_use]
pub fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    decode_padded(coded, PADDING_MAX, out)
}

/// Ones that may follow the last symbol (RFC 7541 §5.2).
const PADDING_MAX: u32 = 7;

/// As [`decode`], with a whole byte of padding behind a text that ends with a byte: some write it, and nginx takes it
/// from origins.
pub fn decode_patiently(coded: &[u8], out: &mut Vec<u8>) -> bool {
    decode_padded(coded, 8, out)
}

fn decode_padded(coded: &[u8], padding_max: u32, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    // The shortest code has five bits.
    out.resize(start + coded.len() * 8 / 5, 0);
    let decoded = decode_into(coded, padding_max, &mut out[start..]);
    out.truncate(start + decoded.unwrap_or(0));
    decoded.is_some()
}

/// Decodes into `out`, which is long enough, and says how long the text is.
fn decode_into(coded: &[u8], padding_max: u32, out: &mut [u8]) -> Option<usize> {
    let (mut bits, mut have) = (0u64, 0u32);
    let mut rest = coded;
    let mut n = 0;
    loop {
        match rest.split_first_chunk() {
            Some((four, after)) if have <= 32 => {
                bits |= u64::from(u32::from_be_bytes(*four)) << (32 - have);
                have += 32;
                rest = after;
            }
            _ => {
                while let Some((&byte, after)) = rest.split_first()
                    && have <= 56
                {
                    bits |= u64::from(byte) << (56 - have);
                    have += 8;
                    rest = after;
                }
            }
        }
        // Most symbols: several for each refill, with nothing to check but their table.
        while have >= DIRECT_BITS {
            let (symbol, length) = TABLES.direct[(bits >> (64 - DIRECT_BITS)) as usize];
            if length == 0 {
                break;
            }
            out[n] = symbol;
            n += 1;
            bits <<= length;
            have -= u32::from(length);
        }
        if have < LONGEST as u32 && !rest.is_empty() {
            continue;
        }
        let (symbol, length) = TABLES.direct[(bits >> (64 - DIRECT_BITS)) as usize];
        let (symbol, length) = match u32::from(length) {
            length if length != 0 && length <= have => (symbol, length),
            _ if have <= padding_max && bits == padding(have) => return Some(n),
            _ => long(bits, have)?,
        };
        out[n] = symbol;
        n += 1;
        bits <<= length;
        have -= length;
    }
}

/// `have` ones, left-aligned.
fn padding(have: u32) -> u64 {
    if have == 0 { 0 } else { !0 << (64 - have) }
}

/// A code longer than the look-up's, out of `have` valid bits.
fn long(bits: u64, have: u32) -> Option<(u8, u32)> {
    let mut length = DIRECT_BITS as usize + 1;
    while length <= LONGEST && length <= have as usize {
        let code = (bits >> (64 - length)) as u32;
        let count = u32::from(TABLES.start[length + 1] - TABLES.start[length]);
        let index = code.wrapping_sub(TABLES.first[length]);
        if index < count {
            let symbol = TABLES.sorted[TABLES.start[length] as usize + index as usize];
            return (symbol != EOS).then_some((symbol as u8, length as u32));
        }
        length += 1;
    }
    None
}

/// Bytes that `text` takes when coded.
#[must_use]
pub fn coded_len(text: &[u8]) -> usize {
    let bits: usize = text
        .iter()
        .map(|&byte| usize::from(LENGTHS[usize::from(byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends the code of `text`.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0u64, 0u32);
    for &byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        bits = bits << length | u64::from(TABLES.codes[usize::from(byte)]);
        have += length;
        // At most 31 bits stay, and the longest code has 30.
        if have >= 32 {
            have -= 32;
            out.extend_from_slice(&((bits >> have) as u32).to_be_bytes());
        }
    }
    while have >= 8 {
        have -= 8;
        out.push((bits >> have) as u8);
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | 0xff >> have);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).then_some(out)
    }

    #[test]
    fn the_code_is_complete() {
        // Kraft's sum of a complete prefix code is one.
        let sum: u64 = LENGTHS.iter().map(|&length| 1u64 << (32 - length)).sum();
        assert_eq!(sum, 1 << 32);
    }

    #[test]
    fn the_examples_of_appendix_c() {
        for (text, coded) in [
            (
                &b"www.example.com"[..],
                &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
            ),
            (b"no-cache", b"\xa8\xeb\x10\x64\x9c\xbf"),
            (b"custom-key", b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f"),
            (b"custom-value", b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf"),
            (b"302", b"\x64\x02"),
            (b"private", b"\xae\xc3\x77\x1a\x4b"),
            (b"", b""),
        ] {
            assert_eq!(decoded(coded).as_deref(), Some(text));
            let mut out = Vec::new();
            encode(text, &mut out);
            assert_eq!(out, coded);
            assert_eq!(coded_len(text), coded.len());
        }
    }

    #[test]
    fn every_byte_survives_in_every_place() {
        for byte in 0..=255u8 {
            for around in 0..9 {
                let mut text = vec![b'a'; around];
                text.push(byte);
                text.extend(vec![b'0'; around]);
                let mut coded = Vec::new();
                encode(&text, &mut coded);
                assert_eq!(decoded(&coded), Some(text));
            }
        }
    }

    #[test]
    fn bad_endings_are_errors() {
        for (coded, why) in [
            (&b"\xff"[..], "eight bits of padding"),
            (b"\x1f\xff", "a byte of padding behind a code"),
            (b"\x18", "padding of zeros"),
            (b"\xff\xff\xff\xff", "the end symbol"),
            (b"\xff\xff\xff\xfc", "the end symbol with zeros behind it"),
            (b"\xff\xfe", "a long code cut short"),
        ] {
            assert_eq!(decoded(coded), None, "{why}");
        }
        assert_eq!(
            decoded(b"\x1f"),
            Some(b"a".to_vec()),
            "three bits of padding"
        );
    }
}
