//! Downstream connections: what a client sends becomes a head and a body to read, what it gets is queued and sent.
//!
//! A connection *yields* requests; nobody above is called from here. Knows the plan's limits and no location, no
//! upstream, no log. Start at [`h1::Conn`].

pub mod accept;
pub mod h1;
pub mod h2;
pub mod inner;
pub mod stream;

use std::cell::Cell;
use std::rc::Rc;

use crate::base::time::Mono;
use crate::net::Addr;
use crate::net::tls::Facts;
use crate::plan::regex::Captures;
use crate::plan::{AddressPlan, ListenerId, ServerId};
use crate::proto::h1::parse::RequestError;
use crate::proto::proxy_protocol::ProxyHeader;

pub use stream::{BodyLength, BodyRead, ClientFault, HeadView, Stream};

/// Facts of one client connection; they outlive its exchanges' views of them.
pub struct ConnInfo {
    /// `$connection`: serial number, unique in the process.
    pub number: u64,
    /// The client: the other end of the socket.
    pub remote: Addr,
    /// Our end, as the client addressed it.
    pub local: Addr,
    /// The listener that accepted it, as the plan of the current request numbers it.
    pub listener: Cell<ListenerId>,
    /// What a PROXY protocol header said, with its bytes for the TLVs.
    pub proxy: Option<Rc<ProxyFacts>>,
    /// `debug_connection` names the client.
    pub debug: bool,
    /// When it was accepted.
    pub accepted: Mono,
    /// `$connection_requests`: requests begun, this one included.
    pub requests: Cell<u64>,
    /// `$pipe`: the current request was pipelined.
    pub pipelined: Cell<bool>,
    /// What the TLS handshake agreed on; none without TLS.
    pub tls: Option<Rc<Facts>>,
    /// Plain HTTP where TLS is spoken.
    pub misplaced: bool,
    /// The name by which the handshake chose a server, in its normal form; none where the default server was as good.
    pub named: Option<Box<[u8]>>,
    /// The server that `named` names in the configuration of this epoch.
    pub entry: Cell<Option<(u64, ServerId)>>,
}

impl ConnInfo {
    /// For an exchange that no client began.
    #[must_use]
    pub fn nobody(accepted: Mono) -> Self {
        Self {
            number: 0,
            remote: Addr::unnamed(),
            local: Addr::unnamed(),
            listener: Cell::new(ListenerId(0)),
            proxy: None,
            debug: false,
            accepted,
            requests: Cell::new(1),
            pipelined: Cell::new(false),
            tls: None,
            misplaced: false,
            named: None,
            entry: Cell::new(None),
        }
    }

    /// The server whose settings hold before a request names one: the one that the handshake chose, or the address's
    /// default server. `epoch` is that of the configuration, which may be newer than the connection.
    pub fn entry(&self, address: &AddressPlan, epoch: u64) -> ServerId {
        let Some(name) = &self.named else {
            return address.names.default_server();
        };
        match self.entry.get() {
            Some((known, server)) if known == epoch => server,
            _ => {
                let found = address.names.find(name, &mut Captures::default()).server;
                self.entry.set(Some((epoch, found)));
                found
            }
        }
    }
}

/// Why a request never became one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head broke a rule: its status is answered, the connection closed.
    Bad(RequestError),
    /// The head did not arrive in time: 408 in the log, no answer.
    TimedOut,
    /// The client closed in the middle of the head: 400 in the log, no answer.
    Aborted,
}

/// A PROXY protocol header as received.
pub struct ProxyFacts {
    /// The decoded header.
    pub header: ProxyHeader,
    /// Its bytes, which the TLVs point into.
    pub bytes: Box<[u8]>,
}
