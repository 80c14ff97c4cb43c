//! Bodies on their way through the cache: an origin's, which goes to the store and to the client, and one that somebody
//! else fetches, which is read along.
//!
//! The store is not slowed down by its first client: what that does not take at once goes through a spool. Start at
//! [`send`].

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::pace::Pace;
use super::super::super::{spool, transfer};
use super::super::proxy;
use super::copy::Copying;
use crate::cache::{Fill, Live};
use crate::front::ClientFault;
use crate::upstream::origin::{Fault, Lease, Step};

/// Bytes that are read at a time.
pub const READ_BYTES: usize = 32 << 10;

/// A body that has to do with the cache.
pub struct Stored {
    /// Where it comes from.
    pub source: Source,
    /// The stretch that the client gets.
    pub window: Window,
}

/// Where a body comes from.
pub enum Source {
    /// Somebody else's fetch.
    Live(Live),
    /// An origin, and where its bytes go besides.
    Origin(Lease, Tee),
}

/// Where the bytes of a body go besides.
pub enum Tee {
    /// To the cache.
    Cache(Fill),
    /// To a file of `…_store`.
    Copy(Box<Copying>),
}

/// The stretch of a body that is wanted, while the body passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// First byte, and the byte after the last.
    wanted: Option<(u64, u64)>,
    /// What has passed.
    at: u64,
}

/// Why no more comes.
pub enum Broken {
    /// The origin.
    Origin(Lease, Fault),
    /// Whoever fetches it.
    Live,
}

impl Window {
    /// The part of the next bytes that is wanted.
    pub fn cut<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let len = bytes.len() as u64;
        let Some((start, end)) = self.wanted else {
            return bytes;
        };
        // Both are within the bytes, which are in memory.
        let skip = start.saturating_sub(self.at).min(len) as usize;
        let keep = end.saturating_sub(self.at).min(len) as usize;
        self.at += len;
        bytes.get(skip..keep).unwrap_or_default()
    }

    /// Whether all that is wanted has passed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.wanted.is_some_and(|(_, end)| self.at >= end)
    }

    /// Whether everything is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.wanted.is_none()
    }
}

impl Tee {
    /// The next bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Cache(fill) => fill.write(bytes).await,
            Self::Copy(copy) => copy.write(bytes).await,
        }
    }

    /// All has come.
    pub fn finish(self) {
        match self {
            Self::Cache(fill) => fill.finish(),
            Self::Copy(copy) => copy.finish(),
        }
    }
}

impl Stored {
    /// Somebody else's fetch.
    #[must_use]
    pub fn live(live: Live) -> Self {
        Self {
            source: Source::Live(live),
            window: Window::default(),
        }
    }

    /// An origin's answer.
    #[must_use]
    pub fn origin(origin: Lease, tee: Tee) -> Self {
        Self {
            source: Source::Origin(origin, tee),
            window: Window::default(),
        }
    }

    /// Only these bytes are wanted: the first one, and the one after the last.
    pub fn narrow(&mut self, start: u64, end: u64) {
        self.window.wanted = Some((start, end));
    }

    /// The next piece into `out`; false at the end. For who reads no faster than its client takes.
    pub async fn next(
        mut self: Box<Self>,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Box<Self>>, Broken> {
        out.clear();
        let Self { source, window } = &mut *self;
        match source {
            Source::Live(live) => loop {
                if window.is_over() {
                    return Ok(None);
                }
                let buf = cx.local.buffers.take(READ_BYTES);
                let (read, buf) = live.read(buf, READ_BYTES).await;
                match read {
                    Ok(0) => {
                        cx.local.buffers.give(buf);
                        return Ok(None);
                    }
                    Ok(_) => out.extend_from_slice(window.cut(&buf)),
                    Err(_) => {
                        cx.local.buffers.give(buf);
                        return Err(Broken::Live);
                    }
                }
                cx.local.buffers.give(buf);
                if !out.is_empty() {
                    return Ok(Some(self));
                }
            },
            Source::Origin(..) => self.next_of_origin(ex, cx, out).await,
        }
    }

    async fn next_of_origin(
        self: Box<Self>,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Box<Self>>, Broken> {
        let within = cx.location(ex.location).pass.read_timeout;
        let Self { source, mut window } = *self;
        let Source::Origin(mut origin, mut tee) = source else {
            return Ok(None);
        };
        loop {
            match origin.inbound.step() {
                Ok(Step::Data) => {
                    tee.write(origin.inbound.data()).await;
                    out.extend_from_slice(window.cut(origin.inbound.data()));
                    if !out.is_empty() {
                        let source = Source::Origin(origin, tee);
                        return Ok(Some(Box::new(Self { source, window })));
                    }
                }
                Ok(Step::End) => {
                    tee.finish();
                    proxy::finish(ex, cx, origin);
                    return Ok(None);
                }
                Ok(Step::More) => {
                    match origin.receive(READ_BYTES, within, &cx.local.buffers).await {
                        Ok(true) => {}
                        Ok(false) if origin.inbound.ends_at_close() => {}
                        Ok(false) => return Err(Broken::Origin(origin, Fault::Closed)),
                        Err(fault) => return Err(Broken::Origin(origin, fault)),
                    }
                }
                Err(fault) => return Err(Broken::Origin(origin, fault)),
            }
        }
    }

    /// Nobody wants it; an origin that is let go so is not to blame.
    pub fn abandon(self, ex: &mut Exchange, cx: Cx<'_>) {
        if let Source::Origin(origin, _) = self.source {
            proxy::abandon(ex, cx, origin);
        }
    }
}

/// Sends a body to the client.
pub async fn send(ex: &mut Exchange, cx: Cx<'_>, stored: Stored) -> Result<(), ClientFault> {
    let Stored { source, window } = stored;
    match source {
        Source::Live(_) if !ex.stream.wants_body() => transfer::end(ex, cx).await,
        Source::Live(live) => send_live(ex, cx, live, window).await,
        Source::Origin(origin, tee) => send_origin(ex, cx, origin, (tee, window)).await,
    }
}

async fn send_live(
    ex: &mut Exchange,
    cx: Cx<'_>,
    mut live: Live,
    mut window: Window,
) -> Result<(), ClientFault> {
    let buffers = &cx.local.buffers;
    let within = cx.location(ex.location).settings.core.send_timeout;
    let mut pace = Pace::of_client(ex, cx);
    let mut piece = buffers.take(READ_BYTES);
    let result = loop {
        // Nobody knows when there is more: what is there goes out first.
        if ex.stream.queued() > 0
            && let Err(fault) = ex.stream.flush(within, buffers).await
        {
            break Err(fault);
        }
        if window.is_over() {
            break transfer::end(ex, cx).await;
        }
        piece.clear();
        let (read, back) = live.read(piece, READ_BYTES).await;
        piece = back;
        match read {
            Ok(0) => break transfer::end(ex, cx).await,
            Ok(_) => {
                let bytes = window.cut(&piece);
                if let Err(fault) = transfer::memory(ex, cx, bytes, &mut pace).await {
                    break Err(fault);
                }
            }
            Err(_) => break transfer::break_off(ex, cx).await,
        }
    };
    buffers.give(piece);
    result
}

async fn send_origin(
    ex: &mut Exchange,
    cx: Cx<'_>,
    mut origin: Lease,
    (mut tee, mut window): (Tee, Window),
) -> Result<(), ClientFault> {
    let paced = Pace::of_client(ex, cx).is_some() || Pace::of_origin(ex, cx).is_some();
    if !origin.inbound.is_whole(READ_BYTES) || paced {
        return spool::stored(ex, cx, origin, (tee, window)).await;
    }
    // A body that is whole has no piece that could be wrong or wanting.
    while let Ok(Step::Data) = origin.inbound.step() {
        tee.write(origin.inbound.data()).await;
        if ex.stream.wants_body() {
            let bytes = window.cut(origin.inbound.data());
            ex.stream.queue(bytes, &cx.local.buffers);
        }
    }
    tee.finish();
    proxy::finish(ex, cx, origin);
    transfer::end(ex, cx).await
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn windows_cut_what_passes() {
        let mut window = Window {
            wanted: Some((3, 7)),
            at: 0,
        };
        let got: Vec<&[u8]> = [&b"ab"[..], b"cd", b"efgh", b"ij"]
            .iter()
            .map(|bytes| window.cut(bytes))
            .collect();
        assert_eq!(got, [&b""[..], b"d", b"efg", b""]);
        assert!(window.is_over());
        assert_eq!(Window::default().cut(b"abc"), b"abc");
    }
}
