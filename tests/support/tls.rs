//! Certificates of the tests, made when a test runs: a name and its key, or an authority that signs some.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A certificate and its key, as files hold them.
pub struct Pair {
    /// The certificate, PEM.
    pub cert: String,
    /// The key, PEM.
    pub key: String,
}

/// An authority.
pub struct Authority {
    /// Its own certificate, PEM: what clients trust.
    pub cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "tests");
        let cert = params.self_signed(&key).unwrap().pem();
        Self {
            cert,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for these names.
    pub fn sign(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A certificate for `localhost` and 127.0.0.1 that signs itself.
pub fn localhost() -> Pair {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    Pair {
        cert: cert.pem(),
        key: signing_key.serialize_pem(),
    }
}
