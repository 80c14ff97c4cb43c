//! What a client asks of its servers, put together from its parts, and what it thinks of their certificates. Start at
//! [`ClientParts`].

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::certified::Certified;
use super::ciphers::{self, Chosen, Cipher, Group};
use super::verify::{AnyServer, Flaw, Purpose, Trust, names_host};
use super::{ClientTls, Facts, KeyLines};

/// Servers whose sessions are kept, for each block of settings.
const SESSIONS_MAX: usize = 1024;

/// The parts of a client's TLS.
#[derive(Clone, Debug)]
pub struct ClientParts {
    /// Its own certificate.
    pub certificate: Option<Certified>,
    /// TLS 1.2 is offered.
    pub tls12: bool,
    /// TLS 1.3 is offered.
    pub tls13: bool,
    /// The ciphers of TLS 1.2.
    pub ciphers: Chosen<Cipher>,
    /// The ciphers of TLS 1.3.
    pub ciphers_13: Chosen<Cipher>,
    /// The groups for key exchange.
    pub groups: Chosen<Group>,
    /// Servers are told the name.
    pub tells_name: bool,
    /// Whom to trust with the certificates of servers; none when any will do.
    pub trust: Option<Arc<Trust>>,
    /// Sessions are taken up again.
    pub resumes: bool,
    /// Where secrets are logged.
    pub key_log: Option<Arc<KeyLines>>,
}

/// Why a server is not the one that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impostor {
    /// This is wrong with its certificate.
    Flawed(Flaw),
    /// Its certificate is for other names.
    Misnamed,
}

impl ClientParts {
    /// Puts them together; says why they cannot be.
    pub fn build(self) -> Result<ClientTls, String> {
        let tls13 = self.tls13.then_some(&self.ciphers_13);
        let tls12 = self.tls12.then_some(&self.ciphers);
        let (provider, versions) = ciphers::provider(&self.groups, tls13, tls12);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer));
        let own = self.certificate.map(|one| one.key);
        let mut config = builder.with_client_cert_resolver(Arc::new(Own(own)));
        config.enable_sni = self.tells_name;
        if let Some(lines) = self.key_log {
            config.key_log = lines;
        }
        config.resumption = match self.resumes {
            true => Resumption::in_memory_sessions(SESSIONS_MAX),
            false => Resumption::disabled(),
        };
        Ok(ClientTls::new(config).judging(self.trust))
    }
}

/// Our certificate, whoever asks for one.
#[derive(Debug)]
struct Own(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Own {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let own = self.0.as_ref()?;
        SingleCertAndKey::from(own.clone()).resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ClientTls {
    /// The same with a certificate of its own. Sessions are not those of the client that it is made from.
    #[must_use]
    pub fn with_certificate(&self, certificate: &Certified) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.client_auth_cert_resolver = Arc::new(Own(Some(certificate.key.clone())));
        config.resumption = Resumption::disabled();
        Self {
            config: Arc::new(config),
            trust: self.trust.clone(),
        }
    }

    /// What it thinks, after a handshake, of a server that should have this name.
    pub fn judge(&self, facts: &Facts, name: &[u8], now: i64) -> Result<(), Impostor> {
        let Some(trust) = &self.trust else {
            return Ok(());
        };
        trust
            .verify(&facts.chain, Purpose::Server, now)
            .map_err(Impostor::Flawed)?;
        match facts.chain.first() {
            Some(own) if names_host(own, name) => Ok(()),
            _ => Err(Impostor::Misnamed),
        }
    }
}
