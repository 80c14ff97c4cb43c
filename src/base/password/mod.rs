//! Does a password belong to what a user file stores for it? All the forms that `htpasswd`, `openssl passwd` and
//! `crypt(3)` write.
//!
//! Pure functions. Those that are [`is_slow`] take milliseconds by design and must not run on a shard.
//! Start at [`matches()`].

mod des;
mod md5;

use std::hint::black_box;

use md5::md5_crypt;
use sha_crypt::Params;
use sha1::{Digest as _, Sha1};

use super::base64;

/// The alphabet of `crypt(3)`.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `crypt(3)` of today's systems refuses longer passwords. Without a bound one request could ask for seconds of work.
const CRYPT_BYTES_MAX: usize = 511;

/// Characters of a salt that the SHA forms of `crypt(3)` use.
const SHA_SALT_MAX: usize = 16;

/// Whether checking against this takes long enough to hold up a shard.
#[must_use]
pub fn is_slow(stored: &[u8]) -> bool {
    !["{PLAIN}", "{SHA}", "{SSHA}"]
        .iter()
        .any(|form| stored.starts_with(form.as_bytes()))
}

/// Whether `password` is the one that `stored` was made from. A form that is not known matches nothing.
#[must_use]
pub fn matches(password: &[u8], stored: &[u8]) -> bool {
    // No program that writes user files lets a NUL into a password; C programs would stop at it.
    if memchr::memchr(0, password).is_some() {
        return false;
    }
    if let Some(plain) = stored.strip_prefix(b"{PLAIN}") {
        return equal(password, plain);
    }
    if let Some(text) = stored.strip_prefix(b"{SHA}") {
        return equal(&encoded(&Sha1::digest(password)), text);
    }
    if let Some(text) = stored.strip_prefix(b"{SSHA}") {
        return salted_sha1(password, text);
    }
    if stored.starts_with(b"$apr1$") {
        return equal(&md5_crypt(password, stored, b"$apr1$"), stored);
    }
    if password.len() > CRYPT_BYTES_MAX {
        return false;
    }
    match stored {
        [b'$', b'1', b'$', ..] => equal(&md5_crypt(password, stored, b"$1$"), stored),
        [b'$', b'2', b'a' | b'b' | b'y', b'$', ..] => std::str::from_utf8(stored)
            .is_ok_and(|stored| bcrypt::verify(password, stored).unwrap_or(false)),
        [b'$', b'5', b'$', rest @ ..] => sha_crypt(password, rest, false),
        [b'$', b'6', b'$', rest @ ..] => sha_crypt(password, rest, true),
        _ => des::crypt(password, stored).is_some_and(|made| equal(&made, stored)),
    }
}

/// Compares in a time that depends on the lengths alone.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    a.len() == b.len() && black_box(differing) == 0
}

/// Standard base64 of a digest.
fn encoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    base64::encode(bytes, &mut out);
    out
}

/// `{SSHA}`: the digest of password and salt, then the salt.
fn salted_sha1(password: &[u8], text: &[u8]) -> bool {
    let mut decoded = Vec::new();
    if base64::decode(text, &mut decoded).is_none() {
        return false;
    }
    let Some((digest, salt)) = decoded.split_at_checked(20) else {
        return false;
    };
    let made = Sha1::new()
        .chain_update(password)
        .chain_update(salt)
        .finalize();
    equal(&made, digest)
}

/// `$5$` and `$6$` behind their marks: `[rounds=N$]SALT$DIGEST`.
fn sha_crypt(password: &[u8], rest: &[u8], long: bool) -> bool {
    let (params, rest) = match rest.strip_prefix(b"rounds=") {
        None => (Params::default(), rest),
        Some(tail) => {
            let Some((digits, tail)) = split(tail) else {
                return false;
            };
            let rounds = super::size::parse_digits(digits).and_then(|n| u32::try_from(n).ok());
            // Out of range, crypt(3) uses the nearest number and writes that instead: the texts differ.
            match rounds.map(Params::new) {
                Some(Ok(params)) => (params, tail),
                _ => return false,
            }
        }
    };
    let Some((salt, digest)) = split(rest).filter(|(salt, _)| salt.len() <= SHA_SALT_MAX) else {
        return false;
    };
    let made = if long {
        let bytes = sha_crypt::sha512_crypt(password, salt, params);
        in_alphabet(&bytes, 21)
    } else {
        let bytes = sha_crypt::sha256_crypt(password, salt, params);
        in_alphabet(&bytes, 10)
    };
    equal(&made, digest)
}

/// What stands before and after the next `$`.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'$', text)?;
    Some((&text[..at], &text[at + 1..]))
}

/// A SHA digest in the alphabet of `crypt(3)`: three bytes that are `step` apart make four characters, each next
/// group beginning with the next byte of another third.
fn in_alphabet(bytes: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(88);
    let mut group = [0, step, 2 * step];
    // The groups walk the thirds in turn; which third leads moves on in the same direction as the digests' lengths.
    let turn = if step == 21 { 1 } else { 2 };
    for _ in 0..step {
        let [a, b, c] = group.map(|at| u32::from(bytes[at]));
        push(&mut out, a << 16 | b << 8 | c, 4);
        group.rotate_left(turn);
        group = group.map(|at| at + 1);
    }
    let tail = &bytes[3 * step..];
    match tail {
        [a, b] => push(&mut out, u32::from(*b) << 8 | u32::from(*a), 3),
        [a] => push(&mut out, u32::from(*a), 2),
        _ => {}
    }
    out
}

/// Appends `count` characters of six bits each, the lowest first.
fn push(out: &mut Vec<u8>, mut word: u32, count: usize) {
    for _ in 0..count {
        out.push(ALPHABET[(word & 63) as usize]);
        word >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passwords with what other programs make of them: openssl's `passwd`, the system's `crypt(3)`, and the bcrypt
    /// authors' own vector.
    const PAIRS: &[(&[u8], &[u8])] = &[
        (b"secret", b"{PLAIN}secret"),
        (b"", b"{PLAIN}"),
        (b"secret", b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        (b"secret", b"{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0"),
        (b"secret", b"$apr1$12345678$0lqb/6VUFP8JY/s/jTrIk0"),
        (
            b"a much longer password, with spaces",
            b"$apr1$ab$jdMv.ID/bo/ijgHIWLVxF1",
        ),
        (b"secret", b"$1$abc$iCQ2D3nhptRYi27fDYv2s1"),
        (
            b"secret",
            b"$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.",
        ),
        (
            b"secret",
            b"$5$rounds=1234$x$bKpgFu8b6NR4IvBo6.B2QBz3CFTzp1Sqs.JnYP8IPl.",
        ),
        (
            b"Hello world!",
            b"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        (
            b"secret",
            b"$6$rounds=1500$saltsaltsaltsalt$/bLK13RMbB3vYsSVWZZYNDGszbUzwdGNBVc.BRcbtYXccbTCfjSTF9FJX76ZuNsf5oGjaue9LrqckcEFKqM1Q1",
        ),
        (
            b"U*U",
            b"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ),
        (
            b"secret",
            b"$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
        ),
        (b"secret", b"abNANd1rDfiNc"),
        (b"", b"./Una9Fi.seRo"),
        (b"longer than eight", b"ZzLkyOkBTeqXA"),
        (b"longer t", b"ZzLkyOkBTeqXA"),
        (b"p\xe4ss", b"9.AA9ZLKNehNE"),
    ];

    #[test]
    fn what_other_programs_write_is_read() {
        for (password, stored) in PAIRS {
            let shown = stored.escape_ascii();
            assert!(matches(password, stored), "{shown}");
            for wrong in [&b"Secret"[..], b"secrets", b"x"] {
                assert!(!matches(wrong, stored), "{shown}");
            }
            let mut cut = stored.to_vec();
            cut.pop();
            assert!(!matches(password, &cut), "{shown}");
            let mut longer = stored.to_vec();
            longer.push(b'.');
            assert!(!matches(password, &longer), "{shown}");
        }
    }

    #[test]
    fn what_is_no_hash_matches_nothing() {
        for stored in [
            &b""[..],
            b"x",
            b"secret",
            b"*0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"$",
            b"$1$",
            b"$apr1$",
            b"$2y$",
            b"$2y$99$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
            b"$2x$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
            b"$5$",
            b"$5$$",
            b"$5$rounds=",
            b"$5$rounds=1$x$bKpgFu8b6NR4IvBo6.B2QBz3CFTzp1Sqs.JnYP8IPl.",
            b"$6$rounds=99999999999999999999$x$y",
            b"$7$x$y",
            b"{SHA}",
            b"{SSHA}",
            b"{SSHA}????",
            b"{SSHA}c2hvcnQ=",
            b"{MD5}x",
        ] {
            for password in [&b"secret"[..], b"", b"\0", b"x"] {
                assert!(!matches(password, stored), "{}", stored.escape_ascii());
            }
        }
    }

    #[test]
    fn a_nul_never_ends_a_password() {
        assert!(!matches(b"secret\0", b"{PLAIN}secret"));
        assert!(!matches(b"secret\0", b"abNANd1rDfiNc"));
        assert!(!matches(b"a\0b", b"{PLAIN}a\0b"));
    }

    #[test]
    fn long_passwords_cost_no_more_than_crypt_allows() {
        let long = vec![b'x'; 6000];
        assert!(!matches(&long, b"$6$rounds=999999999$x$y"));
        assert!(!matches(&long, b"$1$abc$iCQ2D3nhptRYi27fDYv2s1"));
        let mut plain = b"{PLAIN}".to_vec();
        plain.extend_from_slice(&long);
        assert!(matches(&long, &plain));
    }

    #[test]
    fn the_fast_ones_are_told_apart() {
        for (stored, slow) in [
            (&b"{PLAIN}x"[..], false),
            (b"{SHA}x", false),
            (b"{SSHA}x", false),
            (b"$apr1$x", true),
            (b"$2y$x", true),
            (b"abNANd1rDfiNc", true),
        ] {
            assert_eq!(is_slow(stored), slow);
        }
        assert!(equal(b"a", b"a") && !equal(b"a", b"ab") && !equal(b"a", b"b") && equal(b"", b""));
    }
}
