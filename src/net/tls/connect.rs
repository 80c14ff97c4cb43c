//! The client's side of a handshake. Start at [`Stream::connect_tls`].

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;

use super::session::{Machine, Session};
use super::{ClientTls, Trouble};
use crate::net::Stream;

impl Stream {
    /// Shakes hands as a client with the server of this name; within the deadlines that are armed. Afterwards the
    /// stream moves plaintext.
    pub async fn connect_tls(&mut self, tls: &ClientTls, name: &str) -> Result<(), Trouble> {
        let name = ServerName::try_from(name)
            .map_err(|_| Trouble::from(super::hello::Fault::Name))?
            .to_owned();
        let machine = UnbufferedClientConnection::new(tls.config.clone(), name)
            .map_err(|e| Trouble::from(&e))?;
        let session = Session::new(Machine::Client(machine), super::RECORD_BYTES_MAX as u16);
        self.shake_hands(session, Vec::new(), None).await
    }
}
