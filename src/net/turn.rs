//! What the task of a multiplexed connection waits for: bytes, room in the socket, or word from those that it works for.
//! Knows no protocol.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::notify::Notify;
use super::stream::Stream;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A receive would not wait.
    Readable,
    /// A send would not wait.
    Writable,
    /// Somebody has left word.
    News,
}

/// Waits for one of these; for room only when the socket is `blocked`. Loses nothing when it is dropped.
pub async fn turn(socket: &Stream, news: &Notify, blocked: bool) -> io::Result<Woken> {
    let mut readable = pin!(socket.rx.readable());
    let mut news = pin!(news.wait());
    // Only a full socket is waited for; boxing costs nothing where none is.
    let mut writable: Option<Pin<Box<dyn Future<Output = io::Result<()>> + '_>>> =
        blocked.then(|| Box::pin(socket.tx.writable()) as _);
    poll_fn(|cx| {
        if news.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(Woken::News));
        }
        if let Some(writable) = &mut writable
            && let Poll::Ready(result) = writable.as_mut().poll(cx)
        {
            return Poll::Ready(result.map(|()| Woken::Writable));
        }
        readable
            .as_mut()
            .poll(cx)
            .map(|result| result.map(|()| Woken::Readable))
    })
    .await
}
