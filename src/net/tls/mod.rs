//! TLS of one connection, on both sides: a driver over rustls that owns every buffer, holds none while a connection
//! idles, and sends once per flush. Every type of rustls stays in this folder.
//!
//! Start at [`accept`] (what a server does with a new connection) and [`io`] (what a stream that speaks TLS carries).
//! After the handshake [`super::Stream`] moves plaintext as before.

pub mod accept;
pub mod certificate;
mod certified;
pub mod ciphers;
mod client;
mod compress;
mod connect;
mod der;
mod encrypted;
pub mod hello;
pub(super) mod io;
mod keylog;
mod memory;
pub mod ocsp;
pub mod pem;
mod server;
mod session;
mod sessions;
mod set;
mod shake;
pub mod staple;
pub mod status;
#[cfg(test)]
mod tests;
mod tickets;
pub mod trouble;
pub mod verify;

use std::cell::Cell;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};

pub use certified::{Certified, PairFault};
pub use client::{ClientParts, Impostor};
pub use connect::Peer;
pub use hello::Hello;
pub use keylog::KeyLines;
pub use memory::Memory;
pub use server::{Clients, ServerParts, SessionParts};
pub use sessions::Store;
pub use set::{Offer, Shelf, TlsSet};
pub use status::{Asks, Inquiry, Known};
pub use tickets::TicketKeys;
pub use trouble::Trouble;
pub use verify::{Flaw, Purpose, Trust};

/// Plaintext that one record carries at most.
pub const RECORD_BYTES_MAX: usize = 16 << 10;

/// What a server offers to its clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Offers HTTP/1 only.
    h1: Arc<ServerConfig>,
    /// Offers HTTP/2 before HTTP/1.
    h2: Arc<ServerConfig>,
    record_bytes: u16,
    /// Who judges the certificates of clients; none when they are not asked for one.
    trust: Option<Arc<Trust>>,
    /// Who is asked whether they were taken back; none when nobody is.
    asks: Option<Arc<Asks>>,
    /// How sessions are taken up again.
    rules: Option<Arc<server::SessionRules>>,
}

/// What a client asks of its servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// Who judges the certificates of servers; none when any will do.
    trust: Option<Arc<Trust>>,
}

impl ServerTls {
    /// Takes a configuration over; the application protocols are set here. `record_bytes` is the most plaintext of
    /// one record (`ssl_buffer_size`).
    pub(super) fn new(config: ServerConfig, record_bytes: usize) -> Self {
        let older: [&[u8]; 3] = [b"http/1.1", b"http/1.0", b"http/0.9"];
        let mut h1 = config.clone();
        h1.alpn_protocols = older.iter().map(|p| p.to_vec()).collect();
        let mut h2 = config;
        h2.alpn_protocols = [&b"h2"[..]]
            .iter()
            .chain(&older)
            .map(|p| p.to_vec())
            .collect();
        Self {
            h1: Arc::new(h1),
            h2: Arc::new(h2),
            record_bytes: record_bytes.clamp(1, RECORD_BYTES_MAX) as u16,
            trust: None,
            asks: None,
            rules: None,
        }
    }

    /// What is wrong with the certificates that a client showed, by the rules of this server, which need not be the one
    /// that shook hands. What was found last is kept with the facts.
    pub fn flaw(&self, facts: &Facts, now: i64) -> Option<Flaw> {
        let trust = self.trust.as_ref()?;
        if facts.judge.get() != trust.number() {
            let judged = trust.verify(&facts.chain, Purpose::Client, now);
            facts.flaw.set(judged.err());
            facts.judge.set(trust.number());
            let (by, said) = facts.said.get();
            if facts.flaw.get().is_none() && self.asks.as_ref().is_some_and(|a| a.number() == by) {
                facts.flaw.set(said);
            }
        }
        facts.flaw.get()
    }

    /// What authorities must be asked about certificates that are good as far as this server knows, and by whose rules;
    /// none where nobody has to be asked, or was asked already.
    pub fn inquiries(&self, facts: &Facts, now: i64) -> Option<(Arc<Asks>, Vec<Inquiry>)> {
        let (asks, trust) = (self.asks.as_ref()?, self.trust.as_ref()?);
        match self.flaw(facts, now) {
            Some(_) => None,
            None if !self.may_inquire(facts) => None,
            None => Some((Arc::clone(asks), asks.inquiries(trust, facts))),
        }
    }

    /// Whether [`Self::inquiries`] is worth a call.
    pub fn may_inquire(&self, facts: &Facts) -> bool {
        let asks = self.asks.as_ref();
        asks.is_some_and(|asks| asks.number() != facts.said.get().0) && !facts.chain.is_empty()
    }

    /// Keeps what those who were asked said of a client's certificates.
    pub fn told(facts: &Facts, by: &Asks, flaw: Option<Flaw>) {
        facts.said.set((by.number(), flaw));
        if flaw.is_some() {
            facts.flaw.set(flaw);
        }
    }

    /// The same, judging the certificates of clients.
    pub(super) fn judging(mut self, trust: Option<Arc<Trust>>) -> Self {
        self.trust = trust;
        self
    }

    /// The same, asking authorities about the certificates of clients.
    pub(super) fn asking(mut self, asks: Option<Arc<Asks>>) -> Self {
        self.asks = asks;
        self
    }
}

impl ClientTls {
    /// Takes a configuration over, its application protocols with it.
    pub(super) fn new(config: ClientConfig) -> Self {
        Self {
            config: Arc::new(config),
            trust: None,
        }
    }

    /// The same, judging the certificates of servers.
    pub(super) fn judging(mut self, trust: Option<Arc<Trust>>) -> Self {
        self.trust = trust;
        self
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

impl Version {
    /// As OpenSSL, and `$ssl_protocol`, writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// What a handshake agreed on.
#[derive(Debug)]
pub struct Facts {
    /// The version.
    pub version: Version,
    /// The cipher suite's number in IANA's registry.
    pub cipher: u16,
    /// The key exchange group's number in IANA's registry; none where a TLS 1.2 session was resumed.
    pub group: Option<u16>,
    /// The application protocol.
    pub alpn: Option<Box<[u8]>>,
    /// The server name that the client asked for, as it wrote it.
    pub name: Option<Box<[u8]>>,
    /// Whether an older session was resumed.
    pub resumed: bool,
    /// Whether what arrives now is early data: it came before the handshake was complete and may be a replay.
    pub early: Cell<bool>,
    /// The peer's certificates in DER, its own first; empty when it showed none.
    pub chain: Box<[Box<[u8]>]>,
    /// The session's id: a server's own with TLS 1.2, the client's with TLS 1.3.
    pub session_id: Box<[u8]>,
    /// What is wrong with the client's certificates, if anything is.
    pub flaw: Cell<Option<Flaw>>,
    /// Who said so last: the number of a [`Trust`].
    judge: Cell<u64>,
    /// What authorities said of the client's certificates, and who asked them: the number of an [`Asks`].
    said: Cell<(u64, Option<Flaw>)>,
    /// What the client offered; only where something asks for it, see [`accept::Options::keep_hello`].
    pub hello: Option<Box<Hello>>,
}

impl Facts {
    /// What is known before a handshake: what the client asks for.
    #[must_use]
    pub fn foretold(hello: &Hello) -> Self {
        Self {
            version: match hello.version {
                0x0304 => Version::Tls13,
                _ => Version::Tls12,
            },
            cipher: 0,
            group: None,
            alpn: None,
            name: hello.name.clone(),
            resumed: false,
            early: Cell::new(false),
            chain: Box::default(),
            session_id: Box::default(),
            flaw: Cell::new(None),
            judge: Cell::new(0),
            said: Cell::default(),
            hello: Some(Box::new(hello.clone())),
        }
    }

    /// What a client of today would agree on for a server of this name, where there is no handshake.
    #[must_use]
    pub fn supposed(name: &[u8]) -> Self {
        const TLS_AES_128_GCM_SHA256: u16 = 0x1301;
        Self {
            version: Version::Tls13,
            cipher: TLS_AES_128_GCM_SHA256,
            group: None,
            alpn: None,
            name: Some(name.into()),
            resumed: false,
            early: Cell::new(false),
            chain: Box::default(),
            flaw: Cell::new(None),
            hello: None,
            judge: Cell::new(0),
            said: Cell::default(),
            session_id: Default::default(),
        }
    }
}
