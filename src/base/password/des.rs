//! The traditional form of `crypt(3)`: 25 rounds of DES over zeros, the password's first eight characters as the key, two
//! characters of salt that stir one table. Weak by today's measure, but user files of old hold it.
//!
//! Works on single bits, as the standard writes its tables: nobody's speed depends on it.

use super::ALPHABET;

/// The standard's tables; positions count from 1.
const INITIAL: [u8; 64] = steps([58, 60, 62, 64, 57, 59, 61, 63]);

const KEY_CHOICE: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60,
    52, 44, 36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29,
    21, 13, 5, 28, 20, 12, 4,
];

const ROUND_CHOICE: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52,
    31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];

const SHIFTS: [u8; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];

const STIR: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19,
    13, 30, 6, 22, 11, 4, 25,
];

#[rustfmt::skip]
const BOXES: [[u8; 64]; 8] = [
    [14,4,13,1,2,15,11,8,3,10,6,12,5,9,0,7, 0,15,7,4,14,2,13,1,10,6,12,11,9,5,3,8,
     4,1,14,8,13,6,2,11,15,12,9,7,3,10,5,0, 15,12,8,2,4,9,1,7,5,11,3,14,10,0,6,13],
    [15,1,8,14,6,11,3,4,9,7,2,13,12,0,5,10, 3,13,4,7,15,2,8,14,12,0,1,10,6,9,11,5,
     0,14,7,11,10,4,13,1,5,8,12,6,9,3,2,15, 13,8,10,1,3,15,4,2,11,6,7,12,0,5,14,9],
    [10,0,9,14,6,3,15,5,1,13,12,7,11,4,2,8, 13,7,0,9,3,4,6,10,2,8,5,14,12,11,15,1,
     13,6,4,9,8,15,3,0,11,1,2,12,5,10,14,7, 1,10,13,0,6,9,8,7,4,15,14,3,11,5,2,12],
    [7,13,14,3,0,6,9,10,1,2,8,5,11,12,4,15, 13,8,11,5,6,15,0,3,4,7,2,12,1,10,14,9,
     10,6,9,0,12,11,7,13,15,1,3,14,5,2,8,4, 3,15,0,6,10,1,13,8,9,4,5,11,12,7,2,14],
    [2,12,4,1,7,10,11,6,8,5,3,15,13,0,14,9, 14,11,2,12,4,7,13,1,5,0,15,10,3,9,8,6,
     4,2,1,11,10,13,7,8,15,9,12,5,6,3,0,14, 11,8,12,7,1,14,2,13,6,15,0,9,10,4,5,3],
    [12,1,10,15,9,2,6,8,0,13,3,4,14,7,5,11, 10,15,4,2,7,12,9,5,6,1,13,14,0,11,3,8,
     9,14,15,5,2,8,12,3,7,0,4,10,1,13,11,6, 4,3,2,12,9,5,15,10,11,14,1,7,6,0,8,13],
    [4,11,2,14,15,0,8,13,3,12,9,7,5,10,6,1, 13,0,11,7,4,9,1,10,14,3,5,12,2,15,8,6,
     1,4,11,13,12,3,7,14,10,15,6,8,0,5,9,2, 6,11,13,8,1,4,10,7,9,5,0,15,14,2,3,12],
    [13,2,8,4,6,15,11,1,10,9,3,14,5,0,12,7, 1,15,13,8,10,3,7,4,12,5,6,11,0,14,9,2,
     7,11,4,1,9,12,14,2,0,6,10,13,15,3,5,8, 2,1,14,7,4,10,8,13,15,12,9,0,3,5,6,11],
];

/// Rows of eight that each go down by eight.
const fn steps(rows: [u8; 8]) -> [u8; 64] {
    let mut table = [0; 64];
    let mut at = 0;
    while at < 64 {
        table[at] = rows[at / 8] - 8 * (at % 8) as u8;
        at += 1;
    }
    table
}

/// Characters of a result, salt included.
const RESULT_BYTES: usize = 13;

/// What a password becomes with the salt of `stored`; none where that has another form.
pub(super) fn crypt(password: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
    if stored.len() != RESULT_BYTES {
        return None;
    }
    let salt = stored.first_chunk::<2>()?;
    let mut swaps = 0u32;
    for (n, byte) in salt.iter().enumerate() {
        let bits = ALPHABET.iter().position(|known| known == byte)? as u32;
        swaps |= bits << (6 * n);
    }
    let keys = keys(password);
    let mut block = [0; 64];
    for _ in 0..25 {
        block = encrypt(&block, &keys, swaps);
    }
    let mut out = salt.to_vec();
    for six in 0..11 {
        let bit = |n: usize| usize::from(block.get(6 * six + n).copied().unwrap_or(0));
        let index = (0..6).fold(0, |index, n| index << 1 | bit(n));
        out.push(ALPHABET[index]);
    }
    Some(out)
}

/// The sixteen round keys of a password.
fn keys(password: &[u8]) -> [[u8; 48]; 16] {
    let mut bits = [0; 64];
    for (n, byte) in password.iter().take(8).enumerate() {
        for bit in 0..7 {
            bits[8 * n + bit] = byte >> (6 - bit) & 1;
        }
    }
    let mut halves: [u8; 56] = pick(&bits, &KEY_CHOICE);
    SHIFTS.map(|shift| {
        halves[..28].rotate_left(shift.into());
        halves[28..].rotate_left(shift.into());
        pick(&halves, &ROUND_CHOICE)
    })
}

/// The bits that a table names.
fn pick<const N: usize>(bits: &[u8], table: &[u8; N]) -> [u8; N] {
    table.map(|at| bits[usize::from(at) - 1])
}

fn encrypt(block: &[u8; 64], keys: &[[u8; 48]; 16], swaps: u32) -> [u8; 64] {
    let mixed = pick(block, &INITIAL);
    let mut left = [0; 32];
    let mut right = [0; 32];
    left.copy_from_slice(&mixed[..32]);
    right.copy_from_slice(&mixed[32..]);
    for key in keys {
        let stirred = round(&right, key, swaps);
        let next = std::array::from_fn(|at| left[at] ^ stirred[at]);
        left = std::mem::replace(&mut right, next);
    }
    // The final table undoes the initial one, with the halves swapped.
    let mut out = [0; 64];
    for (at, from) in INITIAL.iter().enumerate() {
        out[usize::from(*from) - 1] = if at < 32 { right[at] } else { left[at - 32] };
    }
    out
}

/// One round's function of a half and a key.
fn round(half: &[u8; 32], key: &[u8; 48], swaps: u32) -> [u8; 32] {
    // Each four bits with their neighbours on both sides.
    let wide = |at: usize| half[(4 * (at / 6) + at % 6 + 31) % 32];
    let mut boxed = [0; 32];
    let salted: [u8; 48] = std::array::from_fn(|at| {
        let swapped = swaps >> (at % 24) & 1 == 1;
        wide(if swapped { (at + 24) % 48 } else { at }) ^ key[at]
    });
    for (n, table) in BOXES.iter().enumerate() {
        let six = &salted[6 * n..6 * n + 6];
        let row = six[0] << 1 | six[5];
        let column = six[1] << 3 | six[2] << 2 | six[3] << 1 | six[4];
        let value = table[usize::from(row << 4 | column)];
        for bit in 0..4 {
            boxed[4 * n + bit] = value >> (3 - bit) & 1;
        }
    }
    pick(&boxed, &STIR)
}
