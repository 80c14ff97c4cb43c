//! An exchange's handle on its client, the same for every HTTP version: request body in, response out.
//!
//! One enum and no trait, so that `http` is compiled once. Output is queued and leaves with
//! [`Stream::flush`]: a small response costs one send, head and body together.

use std::io;
use std::time::Duration;

use super::inner::{Behind, Inner};
use super::{h1, h2};
use crate::base::buf::BufPool;
use crate::net::deadline::Mark;
use crate::net::file::Sending;
use crate::net::stream::Line;
use crate::net::sys::option::TcpInfo;
use crate::proto::h1::body::BodyError;
use crate::proto::h1::parse::RequestError;
use crate::proto::head::{Fields, RequestHead};

/// A client's half-done exchange.
#[derive(Default)]
pub enum Stream {
    /// No client: an exchange that waits in its pool.
    #[default]
    None,
    /// HTTP/1.
    H1(Box<h1::Conn>),
    /// A stream of HTTP/2.
    H2(Box<h2::Handle>),
    /// Another request, which made this one: a subrequest has no body to read, and its answer no socket to go to.
    Inner(Box<Inner>),
}

/// What is known of a request body before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// So many bytes.
    Known(u64),
    /// Until its last chunk.
    Chunked,
}

/// What one look at the request body brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRead {
    /// So many bytes were appended.
    Data(usize),
    /// The body is over.
    End,
}

/// Why a client's bytes ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFault {
    /// It closed, or the connection broke.
    Gone,
    /// It was too slow: 408.
    TimedOut,
    /// Its framing is wrong: 400.
    Framing(BodyError),
}

/// A response head, ready to be encoded. Every slice is already clean of line ends or gets cleaned by the encoder.
pub struct HeadView<'a> {
    /// Status code.
    pub status: u16,
    /// An origin's status and reason (`404 Nope`), passed on as they are; empty for the standard ones.
    pub status_line: &'a [u8],
    /// `Server` value; empty when an origin's own is among `fields`.
    pub server: &'a [u8],
    /// `Date` value; empty when an origin's own is among `fields`.
    pub date: &'a [u8],
    /// `Content-Type`; empty when none.
    pub content_type: &'a [u8],
    /// Length of the body when known; decides framing.
    pub content_length: Option<u64>,
    /// `Last-Modified`, formatted; empty when none.
    pub last_modified: &'a [u8],
    /// `Location`, absolute; empty when none or among `fields`.
    pub location: &'a [u8],
    /// Everything else, in order.
    pub fields: &'a Fields,
    /// Trailers will follow a chunked body.
    pub trailers: bool,
    /// `chunked_transfer_encoding`.
    pub chunked_allowed: bool,
    /// Seconds of `Keep-Alive: timeout=`; 0 sends none.
    pub keepalive_header: u64,
}

/// Stands in every method where an exchange without a client would be a bug of ours.
const NO_CLIENT: &str = "invariant: an exchange that is served has a client";

impl Stream {
    /// The HTTP/1 connection under this stream.
    #[must_use]
    pub fn h1(&self) -> &h1::Conn {
        match self {
            Self::H1(conn) => conn,
            _ => unreachable!("{NO_CLIENT}"),
        }
    }

    /// The HTTP/1 connection under this stream.
    pub fn h1_mut(&mut self) -> &mut h1::Conn {
        match self {
            Self::H1(conn) => conn,
            _ => unreachable!("{NO_CLIENT}"),
        }
    }

    /// The other end when it is a request of ours.
    fn inner(&self) -> Option<&Inner> {
        match self {
            Self::Inner(inner) => Some(inner),
            _ => None,
        }
    }

    /// Whether the other end is a request of ours.
    #[must_use]
    pub fn is_inner(&self) -> bool {
        self.inner().is_some()
    }

    /// The client's socket, for somebody who does not own it.
    #[must_use]
    pub fn line(&self) -> Line {
        match self {
            Self::H1(conn) => conn.socket().line(),
            Self::H2(handle) => handle.line(),
            Self::Inner(inner) => inner.behind().line(),
            Self::None => Line::default(),
        }
    }

    /// The client, for a subrequest of its.
    #[must_use]
    pub fn behind(&self) -> Behind {
        match self {
            Self::H1(conn) => Behind::Socket(conn.socket().line()),
            Self::H2(handle) => Behind::Stream(handle.sight()),
            Self::Inner(inner) => inner.behind().clone(),
            Self::None => Behind::Nobody,
        }
    }

    /// Whether only a tunnel is a success (extended CONNECT).
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::H2(handle) if handle.is_connect())
    }

    /// Cuts `link` when the client hangs up, until [`Stream::unwatch`].
    pub fn watch(&self, link: Mark) {
        match self {
            Self::H1(conn) => conn.socket().watch(Some(link)),
            Self::H2(handle) => handle.watch(link),
            Self::Inner(inner) => inner.behind().watch(link),
            Self::None => {}
        }
    }

    /// Ends [`Stream::watch`].
    pub fn unwatch(&self) {
        match self {
            Self::H1(conn) => conn.socket().unwatch(),
            Self::H2(handle) => handle.unwatch(),
            Self::Inner(inner) => inner.behind().unwatch(),
            Self::None => {}
        }
    }

    /// Round trip and windows of the client's TCP connection.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        match self {
            Self::H1(conn) => conn.socket().tcp_info(),
            _ => self.line().tcp_info(),
        }
    }

    /// What is known of the request body.
    #[must_use]
    pub fn body_length(&self) -> BodyLength {
        match self {
            Self::Inner(_) => BodyLength::None,
            Self::H2(handle) => handle.body_length(),
            _ => self.h1().body_length(),
        }
    }

    /// Whether the whole request body was read; there is none without a client.
    #[must_use]
    pub fn body_done(&self) -> bool {
        match self {
            Self::H1(conn) => conn.body_done(),
            Self::H2(handle) => handle.body_done(),
            Self::None | Self::Inner(_) => true,
        }
    }

    /// Appends the next piece of the request body to `out`, waiting `within` at most. Answers a pending
    /// `Expect: 100-continue` first.
    pub async fn read_body(
        &mut self,
        out: &mut Vec<u8>,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<BodyRead, ClientFault> {
        match self {
            Self::Inner(_) => Ok(BodyRead::End),
            Self::H2(handle) => handle.read_body(out, within, buffers).await,
            _ => self.h1_mut().read_body(out, within, buffers).await,
        }
    }

    /// Appends what is already here of the request body, without waiting; stops when `out` holds `bytes_max`. True
    /// when that was all of it.
    pub fn take_ready_body(
        &mut self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        buffers: &BufPool,
    ) -> Result<bool, ClientFault> {
        match self {
            Self::Inner(_) => Ok(true),
            Self::H2(handle) => handle.take_ready_body(out, bytes_max, buffers),
            _ => self.h1_mut().take_ready_body(out, bytes_max, buffers),
        }
    }

    /// Appends what was received of the request body already, with no system call.
    pub fn take_here(&mut self, out: &mut Vec<u8>) -> Result<(), ClientFault> {
        match self {
            Self::Inner(_) => Ok(()),
            // Nothing is known to be here without asking for it, which costs no system call either.
            Self::H2(_) => Ok(()),
            _ => self.h1_mut().take_here(out),
        }
    }

    /// Whether `Expect: 100-continue` waits for its answer.
    #[must_use]
    pub fn owes_continue(&self) -> bool {
        match self {
            Self::H1(conn) => conn.owes_continue(),
            Self::H2(handle) => handle.owes_continue(),
            Self::None | Self::Inner(_) => false,
        }
    }

    /// Answers a pending `Expect: 100-continue`, also where no body follows.
    pub async fn send_continue(
        &mut self,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<(), ClientFault> {
        match self {
            Self::Inner(_) => Ok(()),
            Self::H2(handle) => {
                handle.send_continue();
                Ok(())
            }
            _ => self.h1_mut().send_continue(within, buffers).await,
        }
    }

    /// Trailer fields of a chunked request body that is done.
    #[must_use]
    pub fn body_trailers(&self) -> Option<&Fields> {
        match self {
            Self::Inner(_) => None,
            Self::H2(handle) => handle.body_trailers(),
            _ => self.h1().body_trailers(),
        }
    }

    /// The request body will be read whole, as fast as it comes.
    pub fn expect_all(&mut self) {
        if let Self::H2(handle) = self
            && !handle.body_done()
        {
            handle.expect_all();
        }
    }

    /// `http2_chunk_size`, which HTTP/1 has no use for.
    pub fn set_chunk(&mut self, bytes: u32) {
        if let Self::H2(handle) = self {
            handle.set_chunk(bytes);
        }
    }

    /// Queues a response head and fixes the body's framing.
    pub fn queue_head(&mut self, head: &HeadView<'_>, buffers: &BufPool) {
        match self {
            Self::Inner(inner) => inner.queue_head(head),
            Self::H2(handle) => handle.queue_head(head),
            _ => self.h1_mut().queue_head(head, buffers),
        }
    }

    /// Queues an interim response (103) with these fields.
    pub fn queue_interim(&mut self, status: u16, fields: &Fields, buffers: &BufPool) {
        match self {
            Self::Inner(_) => {}
            Self::H2(handle) => handle.queue_interim(status, fields),
            _ => self.h1_mut().queue_interim(status, fields, buffers),
        }
    }

    /// Queues a piece of the body: framed, copied. Use it for small pieces.
    pub fn queue(&mut self, data: &[u8], buffers: &BufPool) {
        match self {
            Self::Inner(inner) => inner.queue(data, buffers),
            Self::H2(handle) => handle.queue(data),
            _ => self.h1_mut().queue(data, buffers),
        }
    }

    /// Bytes queued and not yet sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        match self {
            Self::Inner(inner) => inner.queued(),
            Self::H2(handle) => handle.queued(),
            _ => self.h1().queued(),
        }
    }

    /// Sends what is queued. Each step must make progress `within` the time.
    pub async fn flush(&mut self, within: Duration, buffers: &BufPool) -> Result<(), ClientFault> {
        match self {
            Self::Inner(inner) => {
                inner.flush(buffers).await;
                Ok(())
            }
            Self::H2(handle) => handle.flush(within).await,
            _ => {
                let conn = self.h1_mut();
                let Some((tx, out)) = conn.begin_flush() else {
                    return Ok(());
                };
                let sent = tx.send_all_within(within, out).await;
                conn.flushed(sent, buffers)
            }
        }
    }

    /// Hands the end of an answer over, which leaves with those of other connections when all of them have had their turn.
    /// False where it must be flushed, as over TLS. A connection that ends with it may be dropped: it closes after that.
    pub fn post(&mut self, within: Duration, buffers: &BufPool) -> bool {
        match self {
            Self::Inner(_) | Self::H2(_) => false,
            _ => self.h1_mut().post(within, buffers),
        }
    }

    /// Sends what the socket takes at once. False when something is left in the queue.
    pub fn try_flush(&mut self, buffers: &BufPool) -> Result<bool, ClientFault> {
        match self {
            Self::Inner(inner) => Ok(inner.try_flush(buffers)),
            Self::H2(handle) => handle.try_flush(),
            _ => self.h1_mut().try_flush(buffers),
        }
    }

    /// Sends what is queued and then of this piece what the socket takes at once. False when something is left, which
    /// is queued.
    pub fn try_send(&mut self, data: &[u8], buffers: &BufPool) -> Result<bool, ClientFault> {
        match self {
            Self::Inner(inner) => {
                inner.queue(data, buffers);
                Ok(inner.try_flush(buffers))
            }
            Self::H2(handle) => {
                handle.queue(data);
                handle.try_flush()
            }
            _ => self.h1_mut().try_send(data, buffers),
        }
    }

    /// Sends what is queued and then this piece of the body, `data[from..]`, without copying it. Gives the buffer back.
    pub async fn send(
        &mut self,
        data: Vec<u8>,
        from: usize,
        within: Duration,
        buffers: &BufPool,
    ) -> (Result<(), ClientFault>, Vec<u8>) {
        match self {
            Self::Inner(inner) => (Ok(()), inner.send(data, from, buffers).await),
            Self::H2(handle) => {
                handle.queue(&data[from..]);
                (handle.flush(within).await, data)
            }
            _ => self.h1_mut().send(data, from, within, buffers).await,
        }
    }

    /// Sends what is queued and then a stretch of a file, which is not copied. Only for a plain body.
    pub async fn send_file(
        &mut self,
        sending: Sending<'_>,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<(), ClientFault> {
        self.h1_mut().send_file(sending, within, buffers).await
    }

    /// Queues the end of the body, trailers included; nothing for a body of known length.
    pub fn queue_end(&mut self, trailers: &Fields, buffers: &BufPool) {
        match self {
            Self::Inner(_) => {}
            Self::H2(handle) => handle.queue_end(trailers),
            _ => self.h1_mut().queue_end(trailers, buffers),
        }
    }

    /// Whether the client has closed its connection, with nothing left to receive before that; not known of streams that
    /// share one. A system call.
    #[must_use]
    pub fn is_left(&self) -> bool {
        matches!(self, Self::H1(conn) if conn.socket().rx.is_ended())
    }

    /// Whether the response may have a body at all (not for HEAD, 1xx, 204, 304).
    #[must_use]
    pub fn wants_body(&self) -> bool {
        match self {
            Self::Inner(inner) => inner.wants_body(),
            Self::H2(handle) => handle.wants_body(),
            _ => self.h1().wants_body(),
        }
    }

    /// Whether the body goes out as it is, without chunk framing or TLS: what `sendfile` and splicing need.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Inner(_) | Self::H2(_) => false,
            _ => !self.h1().is_chunked() && self.h1().socket().tls().is_none(),
        }
    }

    /// Whether the client's bytes are on its socket as they are, so that they may be spliced.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        matches!(self, Self::H1(conn) if conn.socket().tls().is_none())
    }

    /// Bytes given to the kernel for this exchange, head and framing included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match self {
            Self::Inner(inner) => inner.sent(),
            Self::H2(handle) => handle.sent(),
            _ => self.h1().sent(),
        }
    }

    /// The connection must not be used again after this exchange.
    pub fn set_close(&mut self) {
        match self {
            Self::Inner(_) => {}
            // The other streams of the connection go on.
            Self::H2(_) => {}
            _ => self.h1_mut().set_close(),
        }
    }

    /// Whether the connection will be kept for another request, as far as is known now.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        match self {
            Self::Inner(_) | Self::H2(_) => true,
            _ => self.h1().keeps_alive(),
        }
    }

    /// Request body bytes read so far, without framing.
    #[must_use]
    pub fn body_received(&self) -> u64 {
        match self {
            Self::H2(handle) => handle.body_received(),
            Self::Inner(_) => 0,
            _ => self.h1().body_received(),
        }
    }

    /// Appends what the log says of a head that broke a rule.
    pub fn describe(&self, error: RequestError, head: &RequestHead, out: &mut Vec<u8>) {
        match self {
            Self::H1(conn) => conn.describe(error, head, out),
            _ => out.extend_from_slice(error.message().as_bytes()),
        }
    }
}
