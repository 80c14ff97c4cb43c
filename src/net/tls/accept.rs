//! The server's side of a handshake: read the hello, let the caller choose, shake hands. Start at
//! [`Stream::read_hello`].

use rustls::server::UnbufferedServerConnection;

use super::hello::{self, Hello, Status};
use super::session::{Machine, Session};
use super::{ServerTls, Trouble};
use crate::net::{Stream, clock};

/// How to shake hands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// HTTP/2 is offered.
    pub h2: bool,
    /// What the client offered is kept with the facts.
    pub keep_hello: bool,
}

/// Why a hello is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// No server has that name, or it wants no handshakes (`ssl_reject_handshake`).
    UnrecognizedName,
    /// Something failed on this side.
    InternalError,
    /// The hello breaks a rule.
    DecodeError,
    /// A message that has no place here.
    UnexpectedMessage,
    /// A version that is not spoken.
    ProtocolVersion,
}

impl Alert {
    fn number(self) -> u8 {
        match self {
            Self::UnexpectedMessage => 10,
            Self::DecodeError => 50,
            Self::ProtocolVersion => 70,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        }
    }
}

impl Stream {
    /// Reads a ClientHello, behind bytes that were received already; within the deadlines that are armed. Returns it
    /// with all that was received, which [`Stream::accept_tls`] wants, also when it is no TLS.
    pub async fn read_hello(&mut self, mut received: Vec<u8>) -> (Result<Hello, Trouble>, Vec<u8>) {
        loop {
            match hello::read(&received) {
                Status::Hello(hello) => return (Ok(hello), received),
                Status::NotTls => return (Err(Trouble::NotTls), received),
                Status::Broken(fault) => {
                    self.refuse_tls(match fault {
                        hello::Fault::Version => Alert::ProtocolVersion,
                        hello::Fault::Unexpected => Alert::UnexpectedMessage,
                        _ => Alert::DecodeError,
                    });
                    return (Err(fault.into()), received);
                }
                Status::Incomplete => {}
            }
            let (result, back) = self.rx.recv(received).await;
            received = back;
            match result {
                Ok(0) if self.expired().is_some() => return (Err(Trouble::TimedOut), received),
                Ok(0) => return (Err(Trouble::Closed), received),
                Ok(_) => {}
                Err(e) => return (Err(e.into()), received),
            }
        }
    }

    /// Shakes hands as this server with a client whose hello is at the beginning of `received`; within the deadlines
    /// that are armed. Afterwards the stream moves plaintext.
    pub async fn accept_tls(
        &mut self,
        received: Vec<u8>,
        hello: Hello,
        tls: &ServerTls,
        options: Options,
    ) -> Result<(), Trouble> {
        let config = if options.h2 { &tls.h2 } else { &tls.h1 };
        let machine =
            UnbufferedServerConnection::new(config.clone()).map_err(|e| Trouble::from(&e))?;
        let session = Session::new(Machine::Server(machine), tls.record_bytes);
        self.shake_hands(session, received, Some((hello, options.keep_hello)))
            .await?;
        // Anew for a session that was taken up again: a certificate may have ended or been revoked since.
        if let Some(facts) = self.tls().filter(|facts| !facts.chain.is_empty()) {
            tls.flaw(facts, clock::unix().secs);
        }
        Ok(())
    }

    /// Answers a hello with a fatal alert.
    pub fn refuse_tls(&mut self, alert: Alert) {
        // Nobody waits for it: a socket that takes nothing now is about to be closed.
        let _ = self.tx.try_send(&[21, 3, 3, 0, 2, 2, alert.number()]);
    }
}
