//! A stream that became a tunnel (extended CONNECT, RFC 8441): its two ways, which are used at once.
//!
//! Both stand on the stream's mailbox and on the machine's windows, so that neither side is read faster than the other one
//! takes. What stands at the tunnel's other end is the business of its user. Start at [`Handle::open_tunnel`].

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::super::stream::{BodyRead, ClientFault};
use super::handle::{self, Handle};
use super::{Key, Shared};
use crate::base::buf::BufPool;
use crate::proto::h2::ErrorCode;

/// What the client sends.
pub struct Up<'a> {
    shared: &'a Shared,
    key: Key,
    received: &'a mut u64,
}

/// What the client gets.
pub struct Down<'a> {
    shared: &'a Shared,
    key: Key,
    sent: &'a mut u64,
}

impl Handle {
    /// The two ways of a stream whose tunnel was accepted.
    pub fn open_tunnel(&mut self) -> (Up<'_>, Down<'_>) {
        let (shared, key) = (&*self.shared, self.key);
        let up = Up {
            shared,
            key,
            received: &mut self.received,
        };
        let down = Down {
            shared,
            key,
            sent: &mut self.sent,
        };
        // Its end is said by `down`.
        self.ended = true;
        (up, down)
    }
}

impl Up<'_> {
    /// Moves what has come into `out`, which is taken from `buffers` then; waits while nothing has. None when `over` was
    /// set meanwhile. There is no limit of time.
    pub async fn read(
        &mut self,
        out: &mut Vec<u8>,
        buffers: &BufPool,
        over: &Cell<bool>,
    ) -> Option<Result<BodyRead, ClientFault>> {
        let (shared, key) = (self.shared, self.key);
        let read = poll_fn(|cx| {
            if over.get() {
                return Poll::Ready(None);
            }
            match handle::take(shared, key, out, buffers) {
                Ok(None) => {
                    shared.mailbox(key).waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                Ok(Some(read)) => Poll::Ready(Some(Ok(read))),
                Err(fault) => Poll::Ready(Some(Err(fault))),
            }
        })
        .await;
        if let Some(Ok(BodyRead::Data(n))) = read {
            *self.received += n as u64;
        }
        read
    }
}

impl Down<'_> {
    /// Queues a piece and waits until windows and turns have let it through, or `over` is set. Each step must make
    /// progress `within` the time.
    pub async fn send(
        &mut self,
        data: &[u8],
        within: Duration,
        over: &Cell<bool>,
    ) -> Result<(), ClientFault> {
        let (shared, key) = (self.shared, self.key);
        *self.sent += data.len() as u64;
        shared.machine.borrow_mut().send(key, data);
        shared.news.notify();
        loop {
            if let Some(fault) = shared.mailbox(key).fault {
                return Err(fault);
            }
            let before = shared.machine.borrow().pending(key);
            if before == 0 || over.get() || shared.machine.borrow().has_window(key, before) {
                return Ok(());
            }
            let moved = handle::wait(shared, key, within, || {
                over.get()
                    || shared.mailbox(key).fault.is_some()
                    || shared.machine.borrow().pending(key) < before
            })
            .await;
            if !moved {
                return Err(ClientFault::TimedOut);
            }
        }
    }

    /// Says that nothing more comes.
    pub fn end(&mut self) {
        self.shared.machine.borrow_mut().finish(self.key, None);
        self.shared.news.notify();
    }

    /// Takes the stream back: what is still queued is not sent.
    pub fn reset(&mut self, code: ErrorCode) {
        self.shared.machine.borrow_mut().reset(self.key, code);
        self.shared.news.notify();
    }

    /// Lets [`Up::read`] look again.
    pub fn wake(&self) {
        self.shared.mailbox(self.key).wake();
    }
}
