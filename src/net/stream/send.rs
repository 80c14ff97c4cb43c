//! The sending half of a stream: all of a buffer, or a head and a body, with a deadline for each step. Start at
//! [`SendHalf::send_all2_within`].

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use monoio::buf::IoBuf;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use super::{Expired, How, Socket, timed_out};
use crate::net::tls::io::send_now;

/// Bodies up to this size are copied behind the head instead of costing a second element: a copy of this size is
/// cheaper than the kernel's handling of a vector.
pub(super) const JOIN_BYTES_MAX: usize = 4096;

/// The sending half. One send at a time.
pub struct SendHalf {
    pub(super) socket: Rc<Socket>,
}

/// A body that [`SendHalf::send_all2_within`] takes.
pub trait Body: IoBuf {
    /// Its bytes.
    fn bytes(&self) -> &[u8];
}

impl Body for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Body for Bytes {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl SendHalf {
    /// Sends all of it.
    pub fn send_all(
        &mut self,
        buf: Vec<u8>,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)> + use<'_> {
        self.send_steps(buf, 0, None)
    }

    /// Sends all from an offset on; each step must make progress within its time. Through the ring also where the socket
    /// would take all at once: under load the kernel then sends for many connections in one go, which costs a tenth
    /// less than as many system calls between other work.
    async fn send_steps<T: Body>(
        &mut self,
        buf: T,
        from: usize,
        step: Option<Duration>,
    ) -> (io::Result<()>, T) {
        if self.socket.tls.get().is_some() {
            let result = self.send_tls(&buf.bytes()[from..], &[], step).await;
            return (result, buf);
        }
        self.settled().await;
        self.send_ring(buf, from, step).await
    }

    /// The same of plaintext, whether or not what was handed over before is settled.
    pub(super) async fn send_ring<T: Body>(
        &mut self,
        mut buf: T,
        from: usize,
        step: Option<Duration>,
    ) -> (io::Result<()>, T) {
        let len = buf.bytes().len();
        let mut at = from;
        let mut result = Ok(());
        while at < len {
            if let Some(step) = step {
                self.arm(step);
            }
            // Pinned where it is made: awaited by value it would be copied.
            let sending = pin!(self.socket.io.send(buf.slice(at..)));
            let (sent, slice) = sending.await;
            buf = slice.into_inner();
            match sent {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    at += n;
                    self.socket.count_sent(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The other direction splices.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    result = self.writable().await;
                }
                Err(e) => result = Err(self.cause(e)),
            }
            if result.is_err() {
                break;
            }
        }
        if step.is_some() {
            self.disarm();
        }
        (result, buf)
    }

    /// Sends two pieces over TLS, as many records at once as fit a buffer. Every few sends others get their turn.
    async fn send_tls(
        &mut self,
        head: &[u8],
        body: &[u8],
        step: Option<Duration>,
    ) -> io::Result<()> {
        let Some(tls) = self.socket.tls.get() else {
            return Ok(());
        };
        let mut at = 0;
        let mut result = Ok(());
        while result.is_ok() {
            let mut sealed = tls.seal(head, body, &mut at)?;
            if sealed.end == 0 {
                break;
            }
            tls.set_sending(true);
            // What the socket takes at once leaves at once: sealing comes between two sends, so that many at a time through
            // the ring would find the caches no warmer.
            let mut sent = 0;
            if tls.may_send_now() {
                match send_now(self.socket.io.as_fd(), &sealed.bytes[..sealed.end]) {
                    Ok(n) => sent = n,
                    Err(e) => result = Err(self.cause(e)),
                }
            }
            while sent < sealed.end && result.is_ok() {
                if let Some(step) = step {
                    self.arm(step);
                }
                let (took, slice) = self
                    .socket
                    .io
                    .send(sealed.bytes.slice(sent..sealed.end))
                    .await;
                sealed.bytes = slice.into_inner();
                match took {
                    Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => sent += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => result = Err(self.cause(e)),
                }
            }
            tls.set_sending(false);
            // Of what went out half way, at least as much is plaintext that somebody may have seen.
            self.socket.count_sent(sealed.plain.min(sent));
            sealed.give();
        }
        if step.is_some() {
            self.disarm();
        }
        result
    }

    /// A send that fails because its deadline shut the socket down timed out.
    fn cause(&self, error: io::Error) -> io::Error {
        if self.socket.expired().is_some() {
            timed_out()
        } else {
            error
        }
    }

    /// Sends the head and then the body, in one system call where both fit. Every step must make progress within the
    /// time; else an error of kind `TimedOut`.
    pub fn send_all2_within<B: Body>(
        &mut self,
        within: Duration,
        head: Vec<u8>,
        body: B,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>, B)> + use<'_, B> {
        self.send_all2_from_within(within, head, body, 0)
    }

    /// [`SendHalf::send_all2_within`] of a body from an offset on.
    pub async fn send_all2_from_within<B: Body>(
        &mut self,
        within: Duration,
        mut head: Vec<u8>,
        body: B,
        from: usize,
    ) -> (io::Result<()>, Vec<u8>, B) {
        let len_of_head = head.len();
        let bytes = &body.bytes()[from..];
        if bytes.len() <= JOIN_BYTES_MAX {
            head.extend_from_slice(bytes);
            let (result, head) = self.send_steps(head, 0, Some(within)).await;
            return (result, head, body);
        }
        if self.socket.tls.get().is_some() {
            let result = self.send_tls(&head, bytes, Some(within)).await;
            return (result, head, body);
        }
        let sent = match self.try_send_two(&head, bytes) {
            Ok(sent) => sent.unwrap_or(0),
            Err(e) => return (Err(self.cause(e)), head, body),
        };
        let (result, head) = self
            .send_steps(head, sent.min(len_of_head), Some(within))
            .await;
        if result.is_err() {
            return (result, head, body);
        }
        let from = from + sent.saturating_sub(len_of_head);
        let (result, body) = self.send_steps(body, from, Some(within)).await;
        (result, head, body)
    }

    /// [`SendHalf::send_all`] whose every step must make progress within the time; else an error of kind `TimedOut`.
    pub fn send_all_within(
        &mut self,
        within: Duration,
        buf: Vec<u8>,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)> + use<'_> {
        self.send_steps(buf, 0, Some(within))
    }

    /// [`SendHalf::send_all_within`] from an offset on.
    pub fn send_from_within(
        &mut self,
        within: Duration,
        buf: Vec<u8>,
        from: usize,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)> + use<'_> {
        self.send_steps(buf, from, Some(within))
    }

    /// [`SendHalf::try_send`] of two pieces, one behind the other.
    pub fn try_send_two(&mut self, head: &[u8], body: &[u8]) -> io::Result<Option<usize>> {
        if head.is_empty() {
            return self.try_send(body);
        }
        if self.socket.tls.get().is_some() {
            let Some(sent) = self.try_send(head)? else {
                return Ok(None);
            };
            if sent < head.len() {
                return Ok(Some(sent));
            }
            return Ok(Some(sent + self.try_send(body)?.unwrap_or(0)));
        }
        if !self.is_settled() {
            return Ok(None);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let pieces = [IoSlice::new(head), IoSlice::new(body)];
        let mut nothing = SendAncillaryBuffer::default();
        let result = rustix::net::sendmsg(self.socket.io.as_fd(), &pieces, &mut nothing, flags);
        self.taken(result)
    }

    /// Sends what fits; `None` when nothing does. Never waits. What was not sent has to be sent next: over TLS it may be
    /// sealed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        if let Some(tls) = self.socket.tls.get() {
            let sent = tls.try_send(self.socket.io.as_fd(), bytes)?;
            self.socket.count_sent(sent.unwrap_or(0));
            return Ok(sent);
        }
        if !self.is_settled() {
            return Ok(None);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = rustix::net::send(self.socket.io.as_fd(), bytes, flags);
        self.taken(result)
    }

    /// Reads the result of a send that does not wait.
    fn taken(&self, result: rustix::io::Result<usize>) -> io::Result<Option<usize>> {
        match result {
            Ok(n) => {
                self.socket.count_sent(n);
                Ok(Some(n))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Keeps calls on the socket from blocking, for splicing.
    pub fn unblock(&self) -> io::Result<()> {
        self.socket.unblock()
    }

    /// Sends what fits of what goes before spliced bytes, in one segment with these if they `follow` right now. Not
    /// over TLS.
    pub(in crate::net) fn try_send_before(&self, bytes: &[u8], follow: bool) -> io::Result<usize> {
        if !self.is_settled() {
            return Ok(0);
        }
        let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, follow);
        let result = rustix::net::send(self.socket.io.as_fd(), bytes, flags);
        Ok(self.taken(result)?.unwrap_or(0))
    }

    /// Counts bytes that went past the calls of this half.
    pub(in crate::net) fn count_spliced(&self, bytes: usize) {
        self.socket.count_sent(bytes);
    }

    /// Bytes that the kernel took from all sends so far, also from one that failed half way.
    pub fn sent(&self) -> u64 {
        self.socket.sent.get()
    }

    /// Completes when a send would not wait. May be dropped at any time without loss.
    pub async fn writable(&self) -> io::Result<()> {
        self.settled().await;
        self.socket.io.writable().await
    }

    /// Sends the FIN: the peer sees the end, receiving goes on.
    pub fn finish(&self) -> io::Result<()> {
        self.socket.shutdown(How::Write)
    }

    /// Shuts a direction of the socket down.
    pub fn shutdown(&self, how: How) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// The other half's deadline, for who sees progress from this one.
    pub fn arm_recv(&self, after: Duration) {
        self.socket.deadlines.arm_recv(self.socket.slot, after);
    }

    /// Sending must end within this time, until armed anew or disarmed.
    pub fn arm(&self, after: Duration) {
        self.socket.deadlines.arm_send(self.socket.slot, after);
    }

    /// Takes the deadline off.
    pub fn disarm(&self) {
        self.socket.deadlines.disarm_send(self.socket.slot);
    }

    /// Whether a deadline of the socket passed.
    pub fn expired(&self) -> Option<Expired> {
        self.socket.expired()
    }
}

impl AsFd for SendHalf {
    /// For who sends past this half, once all is [`SendHalf::settled`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.io.as_fd()
    }
}
