//! What a server offers, put together from its parts. Start at [`ServerParts`].

use std::sync::Arc;

use rustls::server::{NoClientAuth, NoServerSessionStorage, ServerConfig};
use rustls::version::{TLS12, TLS13};

use super::ServerTls;
use super::certified::{Certificates, Certified};

/// The parts of a server's TLS.
#[derive(Clone, Debug)]
pub struct ServerParts {
    /// Its certificates in order.
    pub certificates: Vec<Certified>,
    /// TLS 1.2 is offered.
    pub tls12: bool,
    /// TLS 1.3 is offered.
    pub tls13: bool,
    /// Most plaintext of one record.
    pub record_bytes: usize,
    /// The order of our ciphers counts, not the client's.
    pub own_order: bool,
}

impl ServerParts {
    /// Puts them together; says why they cannot be.
    pub fn build(self) -> Result<ServerTls, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut versions = Vec::new();
        if self.tls13 {
            versions.push(&TLS13);
        }
        if self.tls12 {
            versions.push(&TLS12);
        }
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| error.to_string())?;
        let certificates = Certificates {
            all: self.certificates.into_iter().map(|one| one.key).collect(),
            tls13: self.tls13,
        };
        let mut config = builder
            .with_client_cert_verifier(Arc::new(NoClientAuth))
            .with_cert_resolver(Arc::new(certificates));
        config.ignore_client_order = self.own_order;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(ServerTls::new(config, self.record_bytes))
    }
}
