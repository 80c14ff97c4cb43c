//! The client of a subrequest: the request that made it. What would go to a socket is handed over piece by piece, or
//! thrown away where only the head is asked for.
//!
//! Both ends run on one task: whoever polls the subrequest looks into the [`Hatch`] after each poll, so that nobody has
//! to be woken. Knows no request. Start at [`Inner`].

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::h2;
use super::stream::HeadView;
use crate::base::buf::BufPool;
use crate::net::deadline::Mark;
use crate::net::stream::Line;
use crate::proto::head::Fields;

/// Body pieces up to this size are collected before they are handed over.
const COPY_BYTES_MAX: usize = 16 << 10;

/// What a subrequest hands to its reader.
#[derive(Default)]
pub struct Hatch {
    /// The piece on its way; empty when the reader has taken it.
    piece: RefCell<Vec<u8>>,
    /// The head, where the reader wants to see it.
    head: RefCell<Option<Head>>,
}

/// A subrequest's response head.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Length of the body when known.
    pub content_length: Option<u64>,
    /// Its `Content-Type`.
    pub content_type: Vec<u8>,
    /// Everything else.
    pub fields: Fields,
}

impl Hatch {
    /// Takes the piece that is there; none when there is none.
    #[must_use]
    pub fn take(&self) -> Option<Vec<u8>> {
        let mut piece = self.piece.borrow_mut();
        (!piece.is_empty()).then(|| std::mem::take(&mut *piece))
    }

    /// Whether the head has come.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.head.borrow().is_some()
    }

    /// Takes the head.
    #[must_use]
    pub fn take_head(&self) -> Option<Head> {
        self.head.borrow_mut().take()
    }
}

/// The end of a subrequest that writes.
pub struct Inner {
    /// Where the body goes; none where it is not wanted.
    hatch: Option<Rc<Hatch>>,
    /// Body bytes that were not handed over yet.
    out: Vec<u8>,
    sent: u64,
    /// The response has no body, or nobody wants it.
    head_only: bool,
    behind: Behind,
}

/// The client of the request that makes another: when it leaves, the subrequest ends.
#[derive(Clone, Default)]
pub enum Behind {
    /// A client that leaves ends nothing.
    #[default]
    Nobody,
    /// A connection.
    Socket(Line),
    /// A stream of a connection: the others have subrequests of their own.
    Stream(h2::Sight),
}

impl Behind {
    /// Cuts `link` when the client leaves, until [`Self::unwatch`].
    pub fn watch(&self, link: Mark) {
        match self {
            Self::Nobody => {}
            Self::Socket(line) => line.watch(link),
            Self::Stream(stream) => stream.watch(link),
        }
    }

    /// Ends [`Self::watch`].
    pub fn unwatch(&self) {
        match self {
            Self::Nobody => {}
            Self::Socket(line) => line.unwatch(),
            Self::Stream(stream) => stream.unwatch(),
        }
    }

    /// The client's socket.
    #[must_use]
    pub fn line(&self) -> Line {
        match self {
            Self::Nobody => Line::default(),
            Self::Socket(line) => line.clone(),
            Self::Stream(stream) => stream.line(),
        }
    }
}

impl Inner {
    /// Writes into `hatch`; without one the body is thrown away.
    #[must_use]
    pub fn new(hatch: Option<Rc<Hatch>>, behind: Behind) -> Self {
        Self {
            head_only: hatch.is_none(),
            hatch,
            out: Vec::new(),
            sent: 0,
            behind,
        }
    }

    /// The client behind it.
    #[must_use]
    pub fn behind(&self) -> &Behind {
        &self.behind
    }

    /// See [`super::Stream::queue_head`].
    pub fn queue_head(&mut self, head: &HeadView<'_>) {
        let Some(hatch) = &self.hatch else {
            return;
        };
        self.head_only = matches!(head.status, 204 | 304);
        *hatch.head.borrow_mut() = Some(Head {
            status: head.status,
            content_length: head.content_length,
            content_type: head.content_type.to_vec(),
            fields: head.fields.clone(),
        });
    }

    /// See [`super::Stream::queue`].
    pub fn queue(&mut self, data: &[u8], buffers: &BufPool) {
        if data.is_empty() || self.head_only {
            return;
        }
        if self.out.capacity() == 0 {
            self.out = buffers.take(data.len());
        } else {
            let need = self.out.len() + data.len();
            buffers.grow(&mut self.out, need);
        }
        self.out.extend_from_slice(data);
    }

    /// See [`super::Stream::queued`].
    #[must_use]
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// Hands over what is queued, if the reader has taken the piece before it.
    pub fn try_flush(&mut self, buffers: &BufPool) -> bool {
        if self.out.is_empty() {
            return true;
        }
        let Some(hatch) = &self.hatch else {
            self.out.clear();
            return true;
        };
        let mut piece = hatch.piece.borrow_mut();
        if !piece.is_empty() {
            return false;
        }
        self.sent += self.out.len() as u64;
        buffers.give(std::mem::replace(
            &mut *piece,
            std::mem::take(&mut self.out),
        ));
        true
    }

    /// Hands over what is queued, once the reader has taken the piece before it. Whoever reads polls again after that.
    pub async fn flush(&mut self, buffers: &BufPool) {
        poll_fn(|_| match self.try_flush(buffers) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// See [`super::Stream::send`]: a large piece goes in its own buffer.
    pub async fn send(&mut self, mut data: Vec<u8>, from: usize, buffers: &BufPool) -> Vec<u8> {
        if data.len() - from <= COPY_BYTES_MAX || from > 0 || self.head_only {
            self.queue(&data[from..], buffers);
            self.flush(buffers).await;
            return data;
        }
        self.flush(buffers).await;
        std::mem::swap(&mut self.out, &mut data);
        self.flush(buffers).await;
        data
    }

    /// Whether a body is wanted.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        !self.head_only
    }

    /// Body bytes handed over.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn view(status: u16, fields: &Fields) -> HeadView<'_> {
        HeadView {
            status,
            status_line: b"",
            server: b"",
            date: b"",
            content_type: b"text/plain",
            content_length: Some(3),
            last_modified: b"",
            location: b"",
            fields,
            trailers: false,
            chunked_allowed: true,
            keepalive_header: 0,
        }
    }

    #[test]
    fn one_piece_waits_at_most() {
        let buffers = BufPool::new();
        let hatch = Rc::new(Hatch::default());
        let mut inner = Inner::new(Some(hatch.clone()), Behind::Nobody);
        inner.queue_head(&view(200, &Fields::new()));
        assert_eq!(hatch.take_head().map(|head| head.status), Some(200));
        inner.queue(b"one", &buffers);
        assert!(inner.try_flush(&buffers));
        inner.queue(b"two", &buffers);
        assert!(!inner.try_flush(&buffers));
        {
            let cx = &mut Context::from_waker(Waker::noop());
            let mut flushing = pin!(inner.flush(&buffers));
            assert!(flushing.as_mut().poll(cx).is_pending());
            assert_eq!(hatch.take().as_deref(), Some(&b"one"[..]));
            assert!(flushing.as_mut().poll(cx).is_ready());
        }
        assert_eq!(hatch.take().as_deref(), Some(&b"two"[..]));
        assert_eq!(hatch.take(), None);
        assert_eq!(inner.sent(), 6);
    }

    #[test]
    fn a_body_that_nobody_wants_is_not_kept() {
        let buffers = BufPool::new();
        let mut inner = Inner::new(None, Behind::Nobody);
        inner.queue_head(&view(200, &Fields::new()));
        assert!(!inner.wants_body());
        inner.queue(b"gone", &buffers);
        assert_eq!(inner.queued(), 0);
        let hatch = Rc::new(Hatch::default());
        let mut inner = Inner::new(Some(hatch.clone()), Behind::Nobody);
        inner.queue_head(&view(204, &Fields::new()));
        inner.queue(b"gone", &buffers);
        assert!(!inner.wants_body() && inner.try_flush(&buffers) && hatch.take().is_none());
    }
}
