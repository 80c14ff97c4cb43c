//! The client's side of a handshake. Start at [`Stream::connect_tls`].

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;

use super::session::{Machine, Session};
use super::{ClientTls, Trouble};
use crate::net::Stream;

/// What is asked for in a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The server's name: told to it where the configuration says so, and what sessions are kept under.
    pub name: &'a str,
    /// HTTP/2 and nothing else is offered.
    pub h2: bool,
}

impl Stream {
    /// Shakes hands as a client with a server; within the deadlines that are armed. Afterwards the stream moves
    /// plaintext. Whether it is the server that was meant is for [`ClientTls::judge`] to say.
    pub async fn connect_tls(&mut self, tls: &ClientTls, peer: Peer<'_>) -> Result<(), Trouble> {
        // What is no name of a host cannot be told to a server, as in nginx an address.
        let nameless = || ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
        let name = ServerName::try_from(peer.name);
        let name = name.map_or_else(|_| nameless(), |name| name.to_owned());
        let alpn = match peer.h2 {
            true => vec![b"h2".to_vec()],
            false => tls.config.alpn_protocols.clone(),
        };
        let machine = UnbufferedClientConnection::new_with_alpn(tls.config.clone(), name, alpn)
            .map_err(|e| Trouble::from(&e))?;
        let session = Session::new(Machine::Client(machine), super::RECORD_BYTES_MAX as u16);
        self.shake_hands(session, Vec::new(), None).await
    }
}
