//! A tunnel between a stream of HTTP/2 (extended CONNECT, RFC 8441) and an origin that switched protocols.
//!
//! The client's end of its stream is passed on and the origin may say the rest; the origin's end is the tunnel's. Neither
//! side is read ahead of the other by more than a window or a buffer, and none is held while both are silent. Start at
//! [`relay`].

use std::cell::Cell;
use std::io;
use std::time::Duration;

use crate::base::buf::BufPool;
use crate::front::h2::{Down, Handle, Up};
use crate::front::{BodyRead, ClientFault};
use crate::net::Stream as Socket;
use crate::net::join::join2;
use crate::net::stream::{How, RecvHalf, SendHalf};
use crate::net::tunnel::{End, Totals};
use crate::proto::h2::ErrorCode;

/// Bytes that are taken from the origin at once.
const CHUNK_BYTES: usize = 16 << 10;

struct Tunnel<'a> {
    pool: &'a BufPool,
    /// Ends when nothing moves in either direction for so long.
    idle: Duration,
    totals: &'a Totals,
    /// The first reason to end: what follows from it is not one.
    cause: Cell<Option<End>>,
    over: Cell<bool>,
}

/// Moves bytes until the tunnel ends. `ahead` is what the origin sent behind its head.
pub async fn relay(
    client: &mut Handle,
    origin: &mut Socket,
    ahead: Vec<u8>,
    pool: &BufPool,
    idle: Duration,
    totals: &Totals,
) -> End {
    let tunnel = Tunnel {
        pool,
        idle,
        totals,
        cause: Cell::new(None),
        over: Cell::new(false),
    };
    let (up, mut down) = client.open_tunnel();
    let (rx, tx) = (&mut origin.rx, &mut origin.tx);
    // One clock for both ways: whatever moves sets it back.
    rx.arm(idle);
    join2(tunnel.up(up, tx), tunnel.down(&mut down, rx, ahead)).await;
    origin.rx.disarm();
    origin.tx.disarm();
    let end = tunnel.cause.get().unwrap_or(End::Done);
    match end {
        End::Done => down.end(),
        End::Idle | End::ClientSlow => down.reset(ErrorCode::Cancel),
        End::ClientFailed(_) | End::OriginFailed(_) => down.reset(ErrorCode::Connect),
    }
    end
}

impl Tunnel<'_> {
    fn end(&self, end: End) {
        self.over.set(true);
        if self.cause.get().is_none() {
            self.cause.set(Some(end));
        }
    }

    async fn up(&self, mut from: Up<'_>, to: &mut SendHalf) {
        loop {
            let mut buf = Vec::new();
            let end = match from.read(&mut buf, self.pool, &self.over).await {
                None => return,
                Some(Ok(BodyRead::Data(n))) => {
                    self.totals.up.receive(n);
                    to.arm_recv(self.idle);
                    let (result, buf) = to.send_all_within(self.idle, buf).await;
                    self.pool.give(buf);
                    match result {
                        Ok(()) => {
                            self.totals.up.send(n);
                            continue;
                        }
                        Err(e) if e.kind() == io::ErrorKind::TimedOut => End::Idle,
                        Err(e) => End::OriginFailed(e.kind()),
                    }
                }
                Some(Ok(BodyRead::End)) => {
                    let _ = to.finish();
                    return;
                }
                Some(Err(fault)) => client_failed(fault),
            };
            self.end(end);
            // Wakes the other way, which waits for the origin.
            let _ = to.shutdown(How::Both);
            return;
        }
    }

    async fn down(&self, to: &mut Down<'_>, from: &mut RecvHalf, ahead: Vec<u8>) {
        let end = self.pump(to, from, ahead).await;
        self.end(end);
        let _ = from.shutdown(How::Both);
        // The other way may wait for the client.
        to.wake();
    }

    async fn pump(&self, to: &mut Down<'_>, from: &mut RecvHalf, ahead: Vec<u8>) -> End {
        if !ahead.is_empty()
            && let Err(end) = self.forward(to, ahead).await
        {
            return end;
        }
        let failed = |e: io::Error| End::OriginFailed(e.kind());
        loop {
            if let Err(e) = from.readable().await {
                return failed(e);
            }
            let mut buf = self.pool.take(CHUNK_BYTES);
            match from.try_recv(&mut buf) {
                Ok(Some(n)) if n > 0 => {
                    self.totals.down.receive(n);
                    from.arm(self.idle);
                    if let Err(end) = self.forward(to, buf).await {
                        return end;
                    }
                }
                Ok(None) => self.pool.give(buf),
                Ok(Some(_)) if from.expired().is_some() => return End::Idle,
                Ok(Some(_)) => return End::Done,
                Err(e) => return failed(e),
            }
        }
    }

    async fn forward(&self, to: &mut Down<'_>, buf: Vec<u8>) -> Result<(), End> {
        let result = to.send(&buf, self.idle, &self.over).await;
        let bytes = buf.len();
        self.pool.give(buf);
        result.map_err(client_failed)?;
        self.totals.down.send(bytes);
        Ok(())
    }
}

fn client_failed(fault: ClientFault) -> End {
    match fault {
        ClientFault::TimedOut => End::Idle,
        ClientFault::Gone | ClientFault::Framing(_) => {
            End::ClientFailed(io::ErrorKind::ConnectionReset)
        }
    }
}
