//! Plaintext through a session and a socket: what [`crate::net::stream`] does on a connection that speaks TLS. Its
//! buffers belong to the shard and are lent for as long as a call, or a send, lasts. Start at [`Tls`].

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use rustix::net::{RecvFlags, SendFlags};
use rustls::Error;

use super::Facts;
use super::session::{BATCH_BYTES, RECORD_EXTRA, Session};
use crate::net::clock;
use crate::net::stream::Socket;

/// What one receive takes at most: four records, as a large body comes.
const SCRATCH_BYTES: usize = 4 * (super::RECORD_BYTES_MAX + RECORD_EXTRA);

/// What a receive takes beyond the caller's room, so that a record that just fits is decrypted at once.
const RECV_EXTRA: usize = 2 * RECORD_EXTRA;

/// Sizes of buffers for ciphertext: a short answer, one record, a batch.
const SIZES: [usize; 3] = [
    6 << 10,
    super::RECORD_BYTES_MAX + (1 << 10),
    BATCH_BYTES + (2 << 10),
];

/// Sends in one turn of a task, which leave others none: at most 448 KiB.
const HASTY_SENDS_MAX: u8 = 7;

/// Free buffers of one size, at most.
const FREE_MAX: usize = 64;

/// A shard's buffers.
#[derive(Default)]
struct Buffers {
    /// Ciphertext on its way in; empty until the first receive.
    scratch: RefCell<Vec<u8>>,
    /// Ciphertext on its way out. They are never cleared: filling one with zeros again would cost more than all else.
    free: [RefCell<Vec<Vec<u8>>>; SIZES.len()],
}

thread_local! {
    static BUFFERS: Buffers = Buffers::default();
}

/// A buffer of at least so many bytes, all of them there.
fn take(min: usize) -> Vec<u8> {
    let class = SIZES.iter().position(|&size| size >= min);
    let kept = class.and_then(|class| BUFFERS.with(|b| b.free[class].borrow_mut().pop()));
    kept.unwrap_or_else(|| vec![0; class.map_or(min, |class| SIZES[class])])
}

fn give(buf: Vec<u8>) {
    let Some(class) = SIZES.iter().rposition(|&size| buf.len() >= size) else {
        return;
    };
    BUFFERS.with(|b| {
        let mut free = b.free[class].borrow_mut();
        if free.len() < FREE_MAX {
            free.push(buf);
        }
    });
}

/// Ciphertext for one send.
pub(in crate::net) struct Sealed {
    /// The bytes, up to `end`.
    pub(in crate::net) bytes: Vec<u8>,
    pub(in crate::net) end: usize,
    /// How much plaintext the caller may count once all of it is sent.
    pub(in crate::net) plain: usize,
}

impl Sealed {
    /// Gives the buffer back.
    pub(in crate::net) fn give(self) {
        give(self.bytes);
    }
}

/// The TLS of one stream.
pub(in crate::net) struct Tls {
    session: RefCell<Session>,
    facts: Rc<Facts>,
    /// A send is under way: nothing else may go out.
    sending: Cell<bool>,
    /// Sends that did not wait, in the turn of that number, since the last one that did.
    hasty: Cell<(u64, u8)>,
}

fn broken(error: &Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl Tls {
    pub(super) fn new(session: Session, facts: Facts) -> Self {
        Self {
            session: RefCell::new(session),
            facts: Rc::new(facts),
            sending: Cell::new(false),
            hasty: Cell::new((0, 0)),
        }
    }

    pub(in crate::net) fn facts(&self) -> &Rc<Facts> {
        &self.facts
    }

    /// Whether something can be received without a look at the socket.
    pub(in crate::net) fn has_news(&self) -> bool {
        self.session.borrow().has_news()
    }

    /// Receives what is there, into the room that the buffer has; none when no plaintext is.
    pub(in crate::net) fn try_recv(
        &self,
        socket: &Socket,
        buf: &mut Vec<u8>,
    ) -> io::Result<Option<usize>> {
        let begin = buf.len();
        loop {
            let mut session = self.session.borrow_mut();
            if session.take_plain(buf) > 0 || buf.len() > begin {
                return Ok(Some(buf.len() - begin));
            }
            if session.peer_closed {
                return Ok(Some(0));
            }
            if let Some(error) = &session.failed {
                return Err(broken(error));
            }
            let room = buf.capacity() - buf.len();
            if !self.pull(socket, &mut session, room, buf)? {
                return Ok(None);
            }
        }
    }

    /// One receive and what the machine makes of it; false when nothing is there.
    fn pull(
        &self,
        socket: &Socket,
        session: &mut Session,
        room: usize,
        buf: &mut Vec<u8>,
    ) -> io::Result<bool> {
        BUFFERS.with(|buffers| {
            let mut scratch = buffers.scratch.borrow_mut();
            if scratch.is_empty() {
                scratch.resize(SCRATCH_BYTES + SCRATCH_BYTES / 4, 0);
            }
            let kept = session.partial.len();
            let end = (kept + room + RECV_EXTRA).clamp(kept + 512, scratch.len());
            let room = &mut scratch[kept..end];
            let fetched = socket.fetch(|member| {
                member.fetch(room.len(), |bytes| {
                    room[..bytes.len()].copy_from_slice(bytes)
                })
            });
            let got = match fetched {
                Some(got) => got?,
                None => match rustix::net::recv(socket, &mut *room, RecvFlags::DONTWAIT) {
                    Ok((n, _)) => {
                        socket.drained.set(0 < n && n < room.len());
                        n
                    }
                    Err(rustix::io::Errno::AGAIN) => {
                        socket.drained.set(true);
                        return Ok(false);
                    }
                    Err(rustix::io::Errno::INTR) => return Ok(false),
                    Err(e) => return Err(e.into()),
                },
            };
            if got == 0 {
                // Without a word before: as OpenSSL does for nginx, an end is an end.
                session.peer_closed = true;
                return Ok(true);
            }
            scratch[..kept].copy_from_slice(&session.partial);
            let end = kept + got;
            let advanced = session.advance(&mut scratch[..end], buf);
            if self.facts.early.get() && !session.is_handshaking() {
                self.facts.early.set(false);
            }
            match advanced {
                Ok(used) => {
                    let rest = &scratch[used..end];
                    if rest.is_empty() {
                        session.partial = Vec::new();
                    } else {
                        session.partial.clear();
                        session.partial.extend_from_slice(rest);
                    }
                    if !session.out.is_empty() && session.untold == 0 {
                        // A word to what the peer said, which may wait for it.
                        self.flush(socket.as_fd(), session);
                    }
                    Ok(true)
                }
                Err(error) => {
                    session.partial = Vec::new();
                    self.flush(socket.as_fd(), session);
                    Err(broken(&error))
                }
            }
        })
    }

    /// Whether the peer has neither said anything nor closed: session tickets are no words.
    pub(in crate::net) fn is_quiet(&self, socket: &Socket) -> bool {
        self.probe(socket) && !self.session.borrow().has_news()
    }

    /// Whether the peer's end is all that is left to receive.
    pub(in crate::net) fn is_ended(&self, socket: &Socket) -> bool {
        let fine = self.probe(socket);
        let session = self.session.borrow();
        !fine || session.plain.is_empty() && (session.peer_closed || session.failed.is_some())
    }

    /// Takes from the socket until something is known; false when it failed.
    fn probe(&self, socket: &Socket) -> bool {
        let mut session = self.session.borrow_mut();
        // No room: plaintext stays with the session.
        let mut none = Vec::new();
        while !session.has_news() {
            match self.pull(socket, &mut session, 0, &mut none) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Seals the next batch of two pieces, from `at` on, behind what has to go out first. Empty when nothing is left.
    pub(in crate::net) fn seal(
        &self,
        head: &[u8],
        body: &[u8],
        at: &mut usize,
    ) -> io::Result<Sealed> {
        let mut session = self.session.borrow_mut();
        let first = std::mem::take(&mut session.out);
        let mut plain = std::mem::take(&mut session.untold);
        *at += plain;
        let left = (head.len() + body.len()).saturating_sub(*at);
        let batch = left.min(BATCH_BYTES);
        if first.is_empty() && batch == 0 {
            return Ok(Sealed {
                bytes: Vec::new(),
                end: 0,
                plain,
            });
        }
        let mut bytes = take(first.len() + session.room_for(batch));
        bytes[..first.len()].copy_from_slice(&first);
        let mut end = first.len();
        let from_head = head.len().saturating_sub(*at).min(batch);
        if from_head > 0 {
            let piece = &head[*at..*at + from_head];
            end = session
                .seal(piece, &mut bytes, end)
                .map_err(|e| broken(&e))?;
        }
        if from_head < batch {
            let begin = *at + from_head - head.len();
            let piece = &body[begin..begin + batch - from_head];
            end = session
                .seal(piece, &mut bytes, end)
                .map_err(|e| broken(&e))?;
        }
        *at += batch;
        plain += batch;
        Ok(Sealed { bytes, end, plain })
    }

    /// A send begins or ends.
    pub(in crate::net) fn set_sending(&self, sending: bool) {
        self.sending.set(sending);
    }

    /// Whether the next send may be tried without the ring. Not for ever: whoever has data and a client that takes it would
    /// keep the shard to itself.
    pub(in crate::net) fn may_send_now(&self) -> bool {
        let now = clock::turn_number();
        let (turn, before) = self.hasty.get();
        let before = if turn == now { before } else { 0 };
        let may = before < HASTY_SENDS_MAX;
        self.hasty.set((now, if may { before + 1 } else { 0 }));
        may
    }

    /// Sends what fits of one batch. Returns how much plaintext went out as a whole; the caller offers the rest again,
    /// where it begins.
    pub(in crate::net) fn try_send(
        &self,
        fd: BorrowedFd<'_>,
        plain: &[u8],
    ) -> io::Result<Option<usize>> {
        let mut at = 0;
        let sealed = self.seal(plain, &[], &mut at)?;
        let sent = send_now(fd, &sealed.bytes[..sealed.end])?;
        let told = if sent == sealed.end {
            Some(sealed.plain)
        } else {
            let mut session = self.session.borrow_mut();
            session.out = sealed.bytes[sent..sealed.end].to_vec();
            session.untold = sealed.plain;
            None
        };
        if sealed.end > 0 {
            sealed.give();
        }
        Ok(told)
    }

    /// Sends what has to go out, as far as the socket takes it.
    fn flush(&self, fd: BorrowedFd<'_>, session: &mut Session) {
        if session.out.is_empty() || self.sending.get() {
            return;
        }
        let out = std::mem::take(&mut session.out);
        match send_now(fd, &out) {
            Ok(n) if n < out.len() => session.out = out[n..].to_vec(),
            _ => {}
        }
    }

    /// Whether something can be received. Session tickets leave with the answer to it, and without it now: a client whose
    /// kernel holds its request back until the handshake's last word is acknowledged waits for them (RFC 896).
    pub(in crate::net) fn has_news_or_flush(&self, socket: &Socket) -> bool {
        if self.has_news() {
            return true;
        }
        if self.session.borrow().out.is_empty() {
            return false;
        }
        let fine = self.probe(socket);
        let mut session = self.session.borrow_mut();
        if !fine || session.has_news() {
            return true;
        }
        self.flush(socket.as_fd(), &mut session);
        false
    }

    /// Says that nothing more comes, where the socket takes it.
    pub(in crate::net) fn close(&self, fd: BorrowedFd<'_>) {
        let mut session = self.session.borrow_mut();
        session.close();
        self.flush(fd, &mut session);
    }
}

/// Sends what the socket takes without a wait.
pub(in crate::net) fn send_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::net::send(fd, bytes, flags) {
        Ok(n) => Ok(n),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
        Err(e) => Err(e.into()),
    }
}
