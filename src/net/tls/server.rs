//! What a server offers, put together from its parts. Start at [`ServerParts`].

use std::sync::Arc;

use rustls::server::{NoClientAuth, NoServerSessionStorage, ServerConfig};

use super::certified::{self, Certificates, Certified};
use super::ciphers::{self, Chosen, Cipher, Group};
use super::compress::{Brotli, Zlib};
use super::sessions::{Sessions, Store};
use super::tickets::{TicketKeys, Tickets, digest_of};
use super::verify::{AnyClient, Trust};
use super::{Asks, KeyLines, ServerTls};

/// Tickets that a client gets with TLS 1.3, as many as from OpenSSL.
const TICKETS: usize = 2;

/// Early data that a client may send, as with nginx.
const EARLY_BYTES_MAX: u32 = 16 << 10;

/// The parts of a server's TLS.
#[derive(Clone, Debug)]
pub struct ServerParts {
    /// Its certificates in order.
    pub certificates: Vec<Certified>,
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
    /// Most plaintext of one record.
    pub record_bytes: usize,
    /// The order of our ciphers counts, not the client's.
    pub own_order: bool,
    /// Whom to trust with the certificates of clients; none when clients are not asked.
    pub clients: Option<Clients>,
    /// How sessions are taken up again.
    pub sessions: SessionParts,
    /// Early data is taken.
    pub early_data: bool,
    /// Certificates are sent compressed to those who can read that.
    pub compresses: bool,
    /// Where secrets are logged.
    pub key_log: Option<Arc<KeyLines>>,
}

/// How certificates of clients are judged.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Whom to trust.
    pub trust: Arc<Trust>,
    /// Who asks authorities whether they were taken back; none when nobody does.
    pub asks: Option<Arc<Asks>>,
    /// Certificates in PEM whose names clients are told.
    pub hints: Vec<u8>,
    /// The rule itself, as text: sessions are not taken up again under another.
    pub rule: Vec<u8>,
}

/// Where sessions are between two connections.
#[derive(Clone, Debug)]
pub struct SessionParts {
    /// Tickets are given out, sealed with these.
    pub tickets: Option<TicketKeys>,
    /// Sessions are kept here.
    pub store: Option<Arc<Store>>,
    /// Seconds that they are good for.
    pub lifetime: u32,
}

impl ServerParts {
    /// Puts them together; says why they cannot be.
    pub fn build(self) -> Result<ServerTls, String> {
        let tls13 = self.tls13.then_some(&self.ciphers_13);
        let tls12 = self.tls12.then_some(&self.ciphers);
        let (provider, versions) = ciphers::provider(&self.groups, tls13, tls12);
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .map_err(|error| error.to_string())?;
        let context = self.context();
        let verifier = match &self.clients {
            None => Arc::new(NoClientAuth) as Arc<_>,
            Some(clients) => Arc::new(AnyClient {
                hints: Trust::subjects(&clients.hints),
            }) as Arc<_>,
        };
        let certificates = Certificates {
            all: certified::offered(&self.certificates),
            tls13: self.tls13,
        };
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(certificates));
        config.ignore_client_order = self.own_order;
        if let Some(lines) = self.key_log.clone() {
            config.key_log = lines;
        }
        if self.compresses {
            config.cert_compressors = vec![&Zlib, &Brotli];
        }
        let rules = SessionRules {
            parts: self.sessions,
            context,
            early_data: self.early_data,
        };
        rules.put_into(&mut config, context);
        let (trust, asks) = match self.clients {
            Some(clients) => (Some(clients.trust), clients.asks),
            None => (None, None),
        };
        let mut tls = ServerTls::new(config, self.record_bytes)
            .judging(trust)
            .asking(asks);
        tls.rules = Some(Arc::new(rules));
        Ok(tls)
    }

    /// What must be the same for a session to be taken up again: certificates, and the rules for clients.
    fn context(&self) -> [u8; 32] {
        let mut parts: Vec<&[u8]> = Vec::new();
        let own = self.certificates.iter();
        let own = own.filter_map(|one| one.key.cert.first());
        parts.extend(own.map(|certificate| &certificate[..]));
        parts.push(b"clients");
        if let Some(clients) = &self.clients {
            parts.push(&clients.hints);
            parts.push(&clients.rule);
        }
        digest_of(&parts)
    }
}

/// How a server takes up sessions again, kept for those of its kind with other certificates.
#[derive(Debug)]
pub(super) struct SessionRules {
    parts: SessionParts,
    context: [u8; 32],
    early_data: bool,
}

impl SessionRules {
    fn put_into(&self, config: &mut ServerConfig, context: [u8; 32]) {
        let SessionParts {
            tickets,
            store,
            lifetime,
        } = self.parts.clone();
        let early_data = self.early_data;
        // Early data needs sessions that are used once, which tickets cannot promise.
        let tickets = tickets.filter(|_| !early_data);
        config.send_tls13_tickets = match tickets.is_some() || store.is_some() {
            true => TICKETS,
            false => 0,
        };
        config.session_storage = match store {
            Some(store) => Arc::new(Sessions {
                store,
                context,
                lifetime,
                once: early_data,
            }),
            None => Arc::new(NoServerSessionStorage {}),
        };
        if let Some(keys) = tickets {
            config.ticketer = Arc::new(Tickets {
                keys,
                context,
                lifetime,
            });
        }
        if early_data {
            config.max_early_data_size = EARLY_BYTES_MAX;
            // Its answers do not wait for the client's last word of the handshake.
            config.send_half_rtt_data = true;
        }
    }
}

impl ServerTls {
    /// The same with these certificates before its own.
    #[must_use]
    pub fn with_certificates(&self, certificates: Vec<Certified>) -> Self {
        let mut parts: Vec<&[u8]> = Vec::new();
        parts.extend(self.rules.iter().map(|rules| &rules.context[..]));
        parts.extend(certificates.iter().filter_map(|one| one.chain().next()));
        let context = digest_of(&parts);
        let with = |config: &Arc<ServerConfig>| {
            let mut config = ServerConfig::clone(config);
            let tls13 = config
                .crypto_provider()
                .cipher_suites
                .iter()
                .any(|suite| suite.tls13().is_some());
            config.cert_resolver = Arc::new(Certificates {
                all: certified::offered(&certificates),
                tls13,
            });
            if let Some(rules) = &self.rules {
                rules.put_into(&mut config, context);
            }
            Arc::new(config)
        };
        Self {
            h1: with(&self.h1),
            h2: with(&self.h2),
            ..self.clone()
        }
    }
}
