//! The body of a request alone, for a task that reads on while the exchange sends its answer.
//!
//! The exchange's [`Handle`] owns the stream: when that goes, its half finds nothing any more.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::super::stream::{BodyRead, ClientFault};
use super::handle::{self, Handle};
use super::{Mailbox, Shared};
use crate::base::buf::BufPool;
use crate::net::runtime;
use crate::proto::h2::streams::Key;
use crate::proto::head::Fields;

/// What a half and its handle know of each other.
#[derive(Debug, Default)]
pub(super) struct Together {
    /// The handle is gone.
    pub(super) over: Cell<bool>,
    pub(super) received: Cell<u64>,
    pub(super) done: Cell<bool>,
    /// The client was too slow.
    pub(super) late: Cell<bool>,
}

/// The reading side of a stream.
pub struct Half {
    shared: Rc<Shared>,
    key: Key,
    together: Rc<Together>,
    trailers: Option<Box<Fields>>,
}

impl Half {
    pub(super) fn new(shared: Rc<Shared>, key: Key, together: Rc<Together>) -> Self {
        Self {
            shared,
            key,
            together,
            trailers: None,
        }
    }

    /// Appends what comes next of the body. Its end is told together with its last piece: see [`Self::is_done`].
    pub async fn read(
        &mut self,
        out: &mut Vec<u8>,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<BodyRead, ClientFault> {
        let mut timer = pin!(runtime::sleep(within));
        poll_fn(|cx| {
            if self.together.over.get() {
                return Poll::Ready(Err(ClientFault::Gone));
            }
            match handle::take(&self.shared, self.key, out, buffers) {
                Ok(Some(read)) => {
                    self.book(read);
                    return Poll::Ready(Ok(read));
                }
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(fault)),
            }
            if timer.as_mut().poll(cx).is_ready() {
                self.together.late.set(true);
                return Poll::Ready(Err(ClientFault::TimedOut));
            }
            self.shared.mailbox(self.key).reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn book(&mut self, read: BodyRead) {
        if let BodyRead::Data(n) = read {
            let received = &self.together.received;
            received.set(received.get() + n as u64);
        }
        let mut mailbox = self.shared.mailbox(self.key);
        if mailbox.ended && mailbox.data.is_empty() {
            self.trailers = mailbox.trailers.take();
            self.together.done.set(true);
        }
    }

    /// Whether all of the body was read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.together.done.get()
    }

    /// Trailers of a body that is done.
    #[must_use]
    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_deref()
    }
}

impl Handle {
    /// The body alone; this handle reads nothing of it any more.
    pub fn split(&mut self) -> Half {
        let together = Rc::<Together>::default();
        self.half = Some(together.clone());
        Half::new(self.shared.clone(), self.key, together)
    }
}

impl Mailbox {
    /// The stream is over: whoever still reads finds out.
    pub(super) fn dismiss(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
