//! TLS to a peer: which server is meant, the handshake on a fresh connection, and what is thought of the certificate.
//! Start at [`secure`].

use std::rc::Rc;
use std::time::Duration;

use super::connect::Unreached;
use super::pool::Conn;
use super::trouble::Trouble;
use crate::net::clock;
use crate::net::tls::{ClientTls, Impostor, Peer, Trouble as Broken};

/// What tells one kind of connection to a peer from another: requests share those of equal identity only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The plan's description of TLS.
    pub client: usize,
    /// The name that the server must have, without a port.
    pub name: Box<[u8]>,
    /// The names of our certificate and its key, where the request decided about them.
    pub pair: Option<PairNames>,
}

/// The names of a certificate and its key.
pub type PairNames = (Box<[u8]>, Box<[u8]>);

/// How connections of a request speak TLS.
#[derive(Clone, Debug)]
pub struct Dial {
    /// What is asked of the server.
    pub tls: ClientTls,
    /// Who it is.
    pub identity: Rc<Identity>,
    /// HTTP/2 is asked for.
    pub h2: bool,
}

/// Shakes hands on a connection that was just opened, and makes sure of the server. `tls` is the dial's own, or that with
/// a certificate.
pub async fn secure(
    conn: &mut Conn,
    dial: &Dial,
    tls: &ClientTls,
    within: Duration,
) -> Result<(), Unreached> {
    let stream = &mut conn.stream;
    stream.rx.arm(within);
    stream.tx.arm(within);
    let name = String::from_utf8_lossy(&dial.identity.name);
    let peer = Peer {
        name: &name,
        h2: dial.h2,
    };
    let done = stream.connect_tls(tls, peer).await;
    stream.rx.disarm();
    stream.tx.disarm();
    done.map_err(|trouble| match trouble {
        Broken::TimedOut => Unreached::Unshaken(Trouble::TimedOut),
        trouble => Unreached::Unshaken(Trouble::Handshake(trouble)),
    })?;
    let Some(facts) = stream.tls() else {
        return Ok(());
    };
    let now = clock::unix().secs;
    let judged = tls.judge(facts, &dial.identity.name, now);
    judged.map_err(|impostor| {
        Unreached::Unshaken(match impostor {
            Impostor::Flawed(flaw) => Trouble::Certificate(flaw),
            Impostor::Misnamed => Trouble::Misnamed(dial.identity.name.to_vec()),
        })
    })?;
    conn.identity = Some(Rc::clone(&dial.identity));
    Ok(())
}
