//! Certificates with their keys, and which of them a client gets. Reads PEM, tells what is wrong with it in the words
//! that OpenSSL has. Start at [`Certified::read`].

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::encrypted;
use super::pem::{self, Section};
use super::staple::{Staple, Stapled};

/// A chain with the key of its first certificate.
#[derive(Clone, Debug)]
pub struct Certified {
    pub(super) key: Arc<CertifiedKey>,
    /// What its responder says is sent along.
    staple: Option<Arc<Staple>>,
    /// When its first certificate ends, in seconds of Unix time.
    pub ends: i64,
    /// When it begins.
    pub begins: i64,
    /// Its key was encrypted.
    pub sealed: bool,
}

/// What is wrong with a certificate or its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairFault {
    /// The first file holds no certificate, or a broken one.
    Certificate(&'static str),
    /// The second file holds no key, or one that cannot be used.
    Key(&'static str),
    /// The key is of another certificate.
    Mismatch,
}

/// No such section in a file, in OpenSSL's words.
const NO_START_LINE: &str = "SSL: error:0480006C:PEM routines::no start line";
const BAD_PEM: &str = "SSL: error:04800066:PEM routines::bad end line";
const BAD_CERTIFICATE: &str = "SSL: error:0688010A:asn1 encoding routines::nested asn1 error";
const BAD_KEY: &str = "SSL: error:1E08010C:DECODER routines::unsupported";
const ENCRYPTED: &str =
    "SSL: error:0480006D:PEM routines::problems getting password or error:bad decrypt";

impl Certified {
    /// The same with an OCSP answer that goes along with it.
    #[must_use]
    pub fn stapled(mut self, answer: Vec<u8>) -> Self {
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(answer);
        self.key = Arc::new(key);
        self
    }

    /// The same with whatever OCSP answer there is at the time of a handshake.
    #[must_use]
    pub fn stapling(mut self, staple: Arc<Staple>) -> Self {
        self.staple = Some(staple);
        self
    }

    /// The certificates in DER, its own first.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.key.cert.iter().map(|one| &one[..])
    }

    /// Reads a chain and its key. `passwords` are tried in turn where the key is encrypted.
    pub fn read(chain: &[u8], key: &[u8], passwords: &[&[u8]]) -> Result<Self, PairFault> {
        let ders = pem::certificates(chain).ok_or(PairFault::Certificate(BAD_PEM))?;
        let first = ders.first().ok_or(PairFault::Certificate(NO_START_LINE))?;
        let mut validity = (0, 0);
        let mut spki = Vec::new();
        for der in &ders {
            let (_, parsed) = X509Certificate::from_der(der)
                .map_err(|_| PairFault::Certificate(BAD_CERTIFICATE))?;
            if std::ptr::eq(der, first) {
                let times = parsed.validity();
                validity = (times.not_before.timestamp(), times.not_after.timestamp());
                spki = parsed.public_key().raw.to_vec();
            }
        }
        let (key, sealed) = read_key(key, passwords)?;
        if key.public_key().is_some_and(|own| *own != *spki) {
            return Err(PairFault::Mismatch);
        }
        let chain = ders.into_iter().map(CertificateDer::from).collect();
        Ok(Self {
            key: Arc::new(CertifiedKey::new(chain, key)),
            staple: None,
            begins: validity.0,
            ends: validity.1,
            sealed,
        })
    }
}

/// The key of a text, and whether it was encrypted.
fn read_key(text: &[u8], passwords: &[&[u8]]) -> Result<(Arc<dyn SigningKey>, bool), PairFault> {
    let sections = pem::sections(text).ok_or(PairFault::Key(BAD_PEM))?;
    let section = sections
        .into_iter()
        .find(|section| section.label.ends_with("PRIVATE KEY"))
        .ok_or(PairFault::Key(NO_START_LINE))?;
    let headers = section.headers.iter();
    let mut headers =
        headers.filter(|(name, value)| name == "Proc-Type" && value.ends_with("ENCRYPTED"));
    let encrypted = section.label == "ENCRYPTED PRIVATE KEY" || headers.next().is_some();
    let opened = match encrypted {
        true => encrypted::open(&section, passwords).ok_or(PairFault::Key(ENCRYPTED))?,
        false => Vec::new(),
    };
    let Section { label, der, .. } = section;
    let der = if encrypted { opened } else { der };
    let der = match &label[..] {
        "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => PrivateKeyDer::Pkcs8(der.into()),
        "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(der.into()),
        "EC PRIVATE KEY" => PrivateKeyDer::Sec1(der.into()),
        _ => return Err(PairFault::Key(BAD_KEY)),
    };
    let key = any_supported_type(&der).map_err(|_| PairFault::Key(BAD_KEY))?;
    Ok((key, encrypted))
}

/// Ready to be chosen: of several with the same kind of key the last one, as with OpenSSL.
pub(super) fn offered(all: &[Certified]) -> Vec<Stapled> {
    let kind = |one: &Certified| one.key.key.algorithm();
    let counts = |(at, one): &(usize, &Certified)| {
        !all[at + 1..].iter().any(|later| kind(later) == kind(one))
    };
    let kept = all.iter().enumerate().filter(counts);
    kept.map(|(_, one)| Stapled::new(one.key.clone(), one.staple.clone()))
        .collect()
}

/// The certificates of a server.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) all: Vec<Stapled>,
    /// TLS 1.3 is offered, where ciphers say nothing about the key.
    pub(super) tls13: bool,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let chosen = match &self.all[..] {
            [] => return None,
            [one] => Some(one),
            several => self.choose(several, &hello, schemes),
        };
        // With nothing in common the handshake fails for its own reason.
        chosen.or_else(|| self.all.first()).map(Stapled::now)
    }
}

impl Certificates {
    /// The client's preference decides: its signatures in TLS 1.3, its ciphers before.
    fn choose<'a>(
        &self,
        all: &'a [Stapled],
        hello: &ClientHello<'_>,
        schemes: &[SignatureScheme],
    ) -> Option<&'a Stapled> {
        let suites = hello.cipher_suites().iter().map(|suite| u16::from(*suite));
        let speaks_13 = suites.clone().any(|suite| suite >> 8 == 0x13);
        if self.tls13 && speaks_13 {
            let signs = |one: &&Stapled, scheme: &SignatureScheme| {
                one.plain()
                    .key
                    .choose_scheme(std::slice::from_ref(scheme))
                    .is_some()
            };
            return schemes
                .iter()
                .find_map(|scheme| all.iter().find(|key| signs(key, scheme)));
        }
        let mut kinds = suites.filter_map(super::ciphers::signed_by);
        kinds.find_map(|kind| {
            all.iter().find(|one| {
                let key = one.plain();
                let own = match key.key.algorithm() {
                    SignatureAlgorithm::RSA => SignatureAlgorithm::RSA,
                    _ => SignatureAlgorithm::ECDSA,
                };
                own == kind && key.key.choose_scheme(schemes).is_some()
            })
        })
    }
}
