//! The MD5 form of `crypt(3)`, which Apache writes under a mark of its own: a thousand rounds over password and salt.

use md5::{Digest as _, Md5};

use super::push;

/// Characters of the salt that count.
const SALT_MAX: usize = 8;

/// What a password becomes with the salt of `stored`, which begins with `mark`.
pub(super) fn md5_crypt(password: &[u8], stored: &[u8], mark: &[u8]) -> Vec<u8> {
    let salt = &stored[mark.len()..];
    let salt = &salt[..salt.len().min(SALT_MAX)];
    let end = memchr::memchr(b'$', salt);
    let salt = &salt[..end.unwrap_or(salt.len())];
    let digest = digest(password, salt, mark);
    let mut out = Vec::with_capacity(mark.len() + salt.len() + 23);
    out.extend_from_slice(mark);
    out.extend_from_slice(salt);
    out.push(b'$');
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let [a, b, c] = [a, b, c].map(|at: usize| u32::from(digest[at]));
        push(&mut out, a << 16 | b << 8 | c, 4);
    }
    push(&mut out, u32::from(digest[11]), 2);
    out
}

fn digest(password: &[u8], salt: &[u8], mark: &[u8]) -> [u8; 16] {
    let inner = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut first = Md5::new()
        .chain_update(password)
        .chain_update(mark)
        .chain_update(salt);
    let mut left = password.len();
    while left > 0 {
        let n = left.min(inner.len());
        first.update(&inner[..n]);
        left -= n;
    }
    // One byte for each bit of the length: a zero, or the password's first.
    let mut length = password.len();
    while length > 0 {
        match (length & 1, password) {
            (0, [byte, ..]) => first.update([*byte]),
            _ => first.update([0]),
        }
        length >>= 1;
    }
    let mut digest: [u8; 16] = first.finalize().into();
    for round in 0..1000 {
        let odd = round & 1 == 1;
        let mut hash = Md5::new();
        hash.update(if odd { password } else { &digest });
        if round % 3 != 0 {
            hash.update(salt);
        }
        if round % 7 != 0 {
            hash.update(password);
        }
        hash.update(if odd { &digest } else { password });
        digest = hash.finalize().into();
    }
    digest
}
