//! One session: whose it is, where it went, what it moved.

use std::rc::Rc;

use bytes::Bytes;

use super::vars::Matches;
use crate::base::time::Mono;
use crate::front::ProxyFacts;
use crate::http::local::Cx;
use crate::net::{Addr, Stream as Socket};
use crate::observe::sessions::Ended;
use crate::plan::{GroupId, ListenerId, LocationId, PeerId, ServerId};

/// A connection that was just accepted.
pub struct Arrival {
    /// The socket.
    pub socket: Socket,
    /// Its number in the logs.
    pub number: u64,
    /// The other end.
    pub peer: Addr,
    /// This end.
    pub local: Addr,
    /// Where it came in, by the generation's plan.
    pub listener: ListenerId,
    /// Which server it is for.
    pub server: ServerId,
    /// It begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// The logs are told everything about it.
    pub debug: bool,
}

/// A session from its first byte to its log line.
pub(super) struct Session {
    pub(super) number: u64,
    /// The other end, whoever it speaks for.
    pub(super) peer: Addr,
    /// Whom a trusted peer speaks for.
    pub(super) real: Option<Addr>,
    pub(super) local: Addr,
    pub(super) listener: ListenerId,
    pub(super) server: ServerId,
    /// The server's root, which has its settings.
    pub(super) location: LocationId,
    pub(super) expects_header: bool,
    /// `debug_connection` names the other end.
    pub(super) debug: bool,
    /// The PROXY protocol header.
    pub(super) proxy: Option<Rc<ProxyFacts>>,
    pub(super) started: Mono,
    pub(super) status: u16,
    /// Bytes from the client, without a PROXY protocol header.
    pub(super) received: u64,
    /// Bytes to the client.
    pub(super) sent: u64,
    pub(super) attempts: Vec<Attempt>,
    pub(super) matches: Matches,
}

/// A backend that was tried.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) group: Option<GroupId>,
    pub(super) peer: Option<PeerId>,
    /// Its address, or the name of a group in which nobody was usable.
    pub(super) name: Bytes,
    pub(super) started: Mono,
    /// Milliseconds to the connection; none where there never was one.
    pub(super) connect_ms: Option<u64>,
    /// Milliseconds to the backend's first byte.
    pub(super) first_byte_ms: Option<u64>,
    /// Milliseconds to the end.
    pub(super) session_ms: Option<u64>,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Session {
    /// Takes a connection in.
    pub(super) fn new(arrival: Arrival, cx: Cx<'_>) -> (Box<Self>, Socket) {
        let session = Self {
            number: arrival.number,
            peer: arrival.peer,
            real: None,
            local: arrival.local,
            listener: arrival.listener,
            server: arrival.server,
            location: cx.plan.servers[arrival.server].root,
            expects_header: arrival.proxy_protocol,
            debug: arrival.debug,
            proxy: None,
            started: cx.local.clock.mono(),
            status: 0,
            received: 0,
            sent: 0,
            attempts: Vec::new(),
            matches: Matches::default(),
        };
        (Box::new(session), arrival.socket)
    }

    /// What is counted of it.
    pub(super) fn ended(&self) -> Ended {
        let failed = |attempt: &&Attempt| attempt.connect_ms.is_none();
        Ended {
            status: self.status,
            received: self.received,
            sent: self.sent,
            unconnected: self.attempts.iter().filter(failed).count() as u64,
        }
    }

    /// The client: the other end, or whom it speaks for.
    pub(super) fn client(&self) -> &Addr {
        self.real.as_ref().unwrap_or(&self.peer)
    }
}
