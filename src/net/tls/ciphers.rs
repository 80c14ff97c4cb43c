//! Cipher suites and key exchange groups: what the lists of a configuration mean, and what they are called in OpenSSL.

use rustls::SignatureAlgorithm;

/// The kind of key that a suite of TLS 1.2 wants; none for those of TLS 1.3 and those that are not known.
pub(super) fn signed_by(suite: u16) -> Option<SignatureAlgorithm> {
    match suite {
        0xc02b | 0xc02c | 0xcca9 => Some(SignatureAlgorithm::ECDSA),
        0xc02f | 0xc030 | 0xcca8 => Some(SignatureAlgorithm::RSA),
        _ => None,
    }
}
