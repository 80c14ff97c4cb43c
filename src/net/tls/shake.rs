//! The handshake itself, the same on both sides: feed, answer, receive. Start at [`Stream::shake_hands`].

use std::cell::Cell;

use rustls::{HandshakeKind, ProtocolVersion};

use super::io::Tls;
use super::session::Session;
use super::{Facts, Hello, Trouble, Version};
use crate::net::Stream;

/// Room for what the peer says.
const INPUT_BYTES: usize = 4 << 10;

impl Stream {
    /// Drives a session to the end of its handshake, or to its early data, and puts it into the stream.
    pub(super) async fn shake_hands(
        &mut self,
        mut session: Session,
        mut input: Vec<u8>,
        hello: Option<(Hello, bool)>,
    ) -> Result<(), Trouble> {
        let mut plain = Vec::new();
        let mut id: Option<Box<[u8]>> = None;
        loop {
            let result = session.advance(&mut input, &mut plain);
            if let Ok(used) = result {
                input.drain(..used);
            }
            let over = result.is_err() || !session.is_handshaking();
            let out = std::mem::take(&mut session.out);
            id = id.or_else(|| session_id(&out).map(Box::from));
            if result.is_err() || (over && session.may_defer()) {
                // Tickets go out with the first answer, and an alert below.
                session.out = out;
            } else if !out.is_empty() {
                self.tx.send_all(out).await.0?;
            }
            if let Err(error) = result {
                let alert = std::mem::take(&mut session.out);
                let _ = self.tx.try_send(&alert);
                return Err(Trouble::from(&error));
            }
            if over || session.early {
                break;
            }
            if input.capacity() == input.len() {
                input.reserve(INPUT_BYTES);
            }
            let (received, back) = self.rx.recv(input).await;
            input = back;
            match received {
                Ok(0) if self.expired().is_some() => return Err(Trouble::TimedOut),
                Ok(0) => return Err(Trouble::Closed),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Exactly as long as they are: they stay until the first receive.
        session.partial = input.as_slice().to_vec();
        let facts = facts(&session, hello, id.unwrap_or_default());
        self.install_tls(Tls::new(session, facts));
        Ok(())
    }
}

/// The id in the ServerHello that a flight begins with, which the machine does not tell.
fn session_id(flight: &[u8]) -> Option<&[u8]> {
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    // Behind the header of the record, the header of the message, the version and the random bytes.
    const AT: usize = 5 + 4 + 2 + 32;
    if flight.first() != Some(&HANDSHAKE) || flight.get(5) != Some(&SERVER_HELLO) {
        return None;
    }
    let len = usize::from(*flight.get(AT)?);
    flight.get(AT + 1..AT + 1 + len)
}

fn facts(session: &Session, hello: Option<(Hello, bool)>, session_id: Box<[u8]>) -> Facts {
    let common = session.common();
    let early = session.is_handshaking();
    let (hello, keep) = hello.map_or((None, false), |(hello, keep)| (Some(hello), keep));
    let chain = common.peer_certificates().unwrap_or_default();
    Facts {
        version: match common.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            _ => Version::Tls13,
        },
        cipher: common
            .negotiated_cipher_suite()
            .map_or(0, |suite| u16::from(suite.suite())),
        group: common
            .negotiated_key_exchange_group()
            .map(|group| u16::from(group.name())),
        alpn: common.alpn_protocol().map(Box::from),
        name: hello.as_ref().and_then(|hello| hello.name.clone()),
        resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
        early: Cell::new(early),
        chain: chain.iter().map(|one| Box::from(one.as_ref())).collect(),
        flaw: Cell::new(None),
        judge: Cell::new(0),
        said: Cell::default(),
        session_id,
        hello: hello.filter(|_| keep).map(Box::new),
    }
}
