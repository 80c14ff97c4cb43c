//! What a stream that speaks TLS carries.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::{Hello, Trouble};
use crate::net::Stream;

/// rustls's machine of either side.
pub(super) enum Machine {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One connection's TLS.
pub struct Session {
    machine: Machine,
    record_bytes: u16,
}

impl Session {
    pub(super) fn new(machine: Machine, record_bytes: u16) -> Self {
        Self {
            machine,
            record_bytes,
        }
    }
}

impl Stream {
    pub(super) async fn shake_hands(
        &mut self,
        _session: Session,
        _received: Vec<u8>,
        _hello: Option<(Hello, bool)>,
    ) -> Result<(), Trouble> {
        Err(Trouble::NotTls)
    }
}
