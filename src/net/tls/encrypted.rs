//! Private keys that are encrypted with a password: PKCS #8 with PBES2, and the older form that the headers of a PEM
//! section tell. Start at [`open`].
//!
//! The ciphers are those that OpenSSL has written since 1.1: AES in CBC mode. Keys under DES are refused, whoever made
//! them last did so long ago.

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, Algorithm};
use aws_lc_rs::cipher::{DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use md5::{Digest, Md5};

use super::der::{element, expect};
use super::pem::Section;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;

/// Rounds of key derivation, at most: what takes a second or two.
const ROUNDS_MAX: u64 = 10_000_000;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// `1.2.840.113549.2.`, followed by one number.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
/// `2.16.840.1.101.3.4.1.`, followed by one number.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];

/// Opens a section with the first password that does. None when no password does, or the cipher is unknown.
pub(super) fn open(section: &Section, passwords: &[&[u8]]) -> Option<Vec<u8>> {
    let mut tried = passwords.iter();
    match section.label == "ENCRYPTED PRIVATE KEY" {
        true => tried.find_map(|password| pkcs8(&section.der, password)),
        false => tried.find_map(|password| headed(section, password)),
    }
}

/// What a decryption gave is a key when it is one whole sequence.
fn whole(plain: &[u8]) -> Option<Vec<u8>> {
    let (tag, _, _, rest) = element(plain)?;
    (tag == SEQUENCE && rest.is_empty()).then(|| plain.to_vec())
}

fn decrypt(algorithm: &'static Algorithm, key: &[u8], iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let key = UnboundCipherKey::new(algorithm, key).ok()?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
    let iv: [u8; 16] = iv.try_into().ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let mut data = data.to_vec();
    let plain = key.decrypt(&mut data, context).ok()?;
    whole(plain)
}

fn pkcs8(der: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let (inside, _) = expect(der, SEQUENCE)?;
    let (scheme, rest) = expect(inside, SEQUENCE)?;
    let (data, _) = expect(rest, OCTETS)?;
    let (id, scheme) = expect(scheme, OBJECT)?;
    if id != PBES2 {
        return None;
    }
    let (scheme, _) = expect(scheme, SEQUENCE)?;
    let (derivation, rest) = expect(scheme, SEQUENCE)?;
    let (cipher, _) = expect(rest, SEQUENCE)?;
    let (id, cipher) = expect(cipher, OBJECT)?;
    let (iv, _) = expect(cipher, OCTETS)?;
    let algorithm = match id.strip_prefix(AES)? {
        [2] => &AES_128,
        [22] => &AES_192,
        [42] => &AES_256,
        _ => return None,
    };
    let (id, derivation) = expect(derivation, OBJECT)?;
    if id != PBKDF2 {
        return None;
    }
    let (derivation, _) = expect(derivation, SEQUENCE)?;
    let (salt, rest) = expect(derivation, OCTETS)?;
    let (rounds, mut rest) = expect(rest, INTEGER)?;
    if let Some((INTEGER, _, _, after)) = element(rest) {
        // The length of the key, which the cipher says too.
        rest = after;
    }
    let hash = match expect(rest, SEQUENCE) {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some((function, _)) => match expect(function, OBJECT)?.0.strip_prefix(HMAC)? {
            [7] => pbkdf2::PBKDF2_HMAC_SHA1,
            [9] => pbkdf2::PBKDF2_HMAC_SHA256,
            [10] => pbkdf2::PBKDF2_HMAC_SHA384,
            [11] => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return None,
        },
    };
    let rounds = rounds
        .iter()
        .try_fold(0u64, |n, &byte| Some(n.checked_mul(256)? + u64::from(byte)))?;
    let rounds = u32::try_from(rounds.min(ROUNDS_MAX + 1)).ok()?;
    if u64::from(rounds) > ROUNDS_MAX {
        return None;
    }
    let mut key = vec![0; key_bytes(algorithm)];
    pbkdf2::derive(hash, rounds.try_into().ok()?, salt, password, &mut key);
    decrypt(algorithm, &key, iv, data)
}

fn key_bytes(algorithm: &'static Algorithm) -> usize {
    match () {
        () if *algorithm == AES_128 => 16,
        () if *algorithm == AES_192 => 24,
        () => 32,
    }
}

/// The older form: `DEK-Info: AES-256-CBC,` and the vector, whose first half is the salt of MD5.
fn headed(section: &Section, password: &[u8]) -> Option<Vec<u8>> {
    let mut headers = section.headers.iter();
    let (_, info) = headers.find(|(name, _)| name == "DEK-Info")?;
    let (cipher, iv) = info.split_once(',')?;
    let algorithm = match cipher {
        "AES-128-CBC" => &AES_128,
        "AES-192-CBC" => &AES_192,
        "AES-256-CBC" => &AES_256,
        _ => return None,
    };
    let iv = from_hex(iv.trim())?;
    let salt = iv.get(..8)?;
    let mut key = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    while key.len() < key_bytes(algorithm) {
        let mut hash = Md5::new();
        hash.update(&last);
        hash.update(password);
        hash.update(salt);
        last = hash.finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(key_bytes(algorithm));
    decrypt(algorithm, &key, &iv, &section.der)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::pem;
    use super::*;

    /// `openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -v2 aes-128-cbc -iter 1000 -passout pass:secret`.
    const PKCS8: &[u8] = include_bytes!("encrypted/pkcs8.pem");
    /// `openssl ec -aes256 -passout pass:secret`.
    const HEADED: &[u8] = include_bytes!("encrypted/headed.pem");

    #[test]
    fn keys_open_with_the_right_password_only() {
        for text in [PKCS8, HEADED] {
            let sections = pem::sections(text).expect("whole");
            let section = sections
                .iter()
                .find(|section| section.label.ends_with("PRIVATE KEY"))
                .expect("a key");
            assert!(open(section, &[&b"wrong"[..], b"secret"]).is_some());
            assert!(open(section, &[&b"wrong"[..]]).is_none());
            assert!(open(section, &[]).is_none());
        }
    }
}
