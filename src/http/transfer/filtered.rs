//! The way of a body through armed filters: pulled from where it is, fed, queued and sent at the client's rate.
//!
//! Knows no filter: that is [`Chain`]'s. One [`Pump`] serves every source. Where an origin's answer is buffered and the
//! client does not keep up, the origin runs ahead into a spool, unfiltered, and the spool becomes the source. Start
//! at [`run`].

use std::time::Duration;

use super::super::content::cache::body::{self, Source, Stored, Tee, Window};
use super::super::content::proxy;
use super::super::exchange::{Body, Exchange};
use super::super::filter::chain::{Ask, At, Broken, Chain, Done, Next};
use super::super::filter::range::Parts;
use super::super::local::Cx;
use super::super::log::{self, Text};
use super::super::pace::Pace;
use super::super::slice::{self, Slices};
use super::super::spool::{self, Filled, Spool};
use super::super::subrequest::{self, Entry, Spec, Subrequest, Wanted};
use super::{QUEUE_BYTES, RECV_BYTES, break_off, cut, end, room};
use crate::front::ClientFault;
use crate::net::file::File;
use crate::net::join::join2;
use crate::plan::model::LogLevel;
use crate::upstream::origin::{Fault, Lease, Step};

/// Bytes of an error answer that are held back while it is not known whether something else takes its place.
const STUB_BYTES_MAX: usize = 64 << 10;

/// Why a body does not go on.
enum Stop {
    /// The client.
    Client(ClientFault),
    /// A filter, or what it was fed; it was logged.
    Broken,
}

impl From<ClientFault> for Stop {
    fn from(fault: ClientFault) -> Self {
        Self::Client(fault)
    }
}

/// A chain with what sends its output.
struct Pump {
    chain: Chain,
    /// What came out and is not queued yet.
    out: Vec<u8>,
    pace: Option<Pace>,
    within: Duration,
    /// The client is not waited for: what it does not take at once stays in its queue.
    ahead: bool,
    /// It has not taken all.
    blocked: bool,
}

/// Sends `body` through the armed filters of the answer.
pub(super) async fn run(ex: &mut Exchange, cx: Cx<'_>, body: Body) -> Result<(), ClientFault> {
    let mut pump = Pump {
        chain: std::mem::take(&mut ex.response.chain),
        out: cx.local.buffers.take(RECV_BYTES),
        pace: Pace::of_client(ex, cx),
        within: cx.location(ex.location).settings.core.send_timeout,
        ahead: false,
        blocked: false,
    };
    let result = match body {
        Body::Origin(origin) => pump.origin(origin, ex, cx).await,
        Body::File {
            file,
            offset,
            length,
        } => pump.file(&file, (offset, length), ex, cx).await,
        Body::Static(bytes) => pump.memory(bytes, ex, cx).await,
        Body::Buffer(bytes) => {
            let result = pump.memory(&bytes, ex, cx).await;
            cx.local.buffers.give(bytes);
            result
        }
        Body::Parts(parts) => pump.parts(*parts, ex, cx).await,
        Body::Slices(slices) => pump.slices(slices, ex, cx).await,
        Body::Stored(stored) => pump.stored(*stored, ex, cx).await,
        Body::Empty | Body::Tunnel(_) => pump.memory(b"", ex, cx).await,
    };
    let Pump { mut chain, out, .. } = pump;
    cx.local.buffers.give(out);
    chain.clear(&cx.local.buffers);
    ex.response.chain = chain;
    match result {
        Ok(()) => Ok(()),
        Err(Stop::Client(fault)) => Err(fault),
        Err(Stop::Broken) => break_off(ex, cx).await,
    }
}

/// Logs why a filter cannot go on.
fn tell(broken: &Broken, ex: &Exchange, cx: Cx<'_>) -> Stop {
    let text = format_args!("{} while sending to client", broken.0);
    log::error(ex, cx, LogLevel::Error, text);
    Stop::Broken
}

impl Pump {
    /// A body in memory.
    async fn memory(&mut self, bytes: &[u8], ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Stop> {
        self.send_memory(bytes, ex, cx).await?;
        self.finish(ex, cx).await
    }

    async fn send_memory(
        &mut self,
        bytes: &[u8],
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        for piece in bytes.chunks(QUEUE_BYTES) {
            self.push(piece, At::More, ex, cx).await?;
        }
        Ok(())
    }

    /// A stretch of a file, given as offset and length.
    async fn file(
        &mut self,
        file: &File,
        stretch: (u64, u64),
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        self.send_file(file, stretch, ex, cx).await?;
        self.finish(ex, cx).await
    }

    async fn send_file(
        &mut self,
        file: &File,
        (offset, length): (u64, u64),
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        let buffers = &cx.local.buffers;
        let (mut at, last) = (offset, offset + length);
        while at < last {
            let want = usize::try_from(last - at).unwrap_or(usize::MAX);
            let want = want.min(QUEUE_BYTES);
            let (result, piece) = file.read_at(buffers.take(want), at, want).await;
            let Ok(n @ 1..) = result else {
                buffers.give(piece);
                let text = format_args!("a file ended before its length while sending to client");
                log::error(ex, cx, LogLevel::Alert, text);
                return Err(Stop::Broken);
            };
            at += n as u64;
            let pushed = self.push(&piece, At::More, ex, cx).await;
            buffers.give(piece);
            pushed?;
        }
        Ok(())
    }

    /// Several stretches, each behind its head.
    async fn parts(&mut self, mut parts: Parts, ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Stop> {
        let whole = std::mem::take(&mut parts.whole);
        let mut text = Vec::new();
        for (index, &(start, end)) in parts.ranges.iter().enumerate() {
            text.clear();
            parts.write_head(index, &mut text);
            self.push(&text, At::More, ex, cx).await?;
            // Ranges of a body in memory lie within it.
            let stretch = start as usize..end as usize;
            match &whole {
                Body::File { file, offset, .. } => {
                    let place = (offset + start, end - start);
                    self.send_file(file, place, ex, cx).await?;
                }
                Body::Buffer(bytes) => self.send_memory(&bytes[stretch], ex, cx).await?,
                Body::Static(bytes) => self.send_memory(&bytes[stretch], ex, cx).await?,
                _ => {}
            }
        }
        text.clear();
        parts.write_tail(&mut text);
        self.push(&text, At::More, ex, cx).await?;
        if let Body::Buffer(bytes) = whole {
            cx.local.buffers.give(bytes);
        }
        self.finish(ex, cx).await
    }

    /// A body that comes in slices.
    async fn slices(
        &mut self,
        mut slices: Box<Slices>,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        let mut piece = cx.local.buffers.take(RECV_BYTES);
        loop {
            match slices.next(ex, cx, &mut piece).await {
                Ok(true) => {}
                Ok(false) => {
                    cx.local.buffers.give(piece);
                    return self.finish(ex, cx).await;
                }
                Err(slice::Broken::Origin(origin, fault)) => {
                    return self.cut(origin, &fault, ex, cx).await;
                }
                Err(slice::Broken::Part) => return Err(Stop::Broken),
            }
            if let Err(stop) = self.push(&piece, At::More, ex, cx).await {
                slices.abandon(ex, cx);
                return Err(stop);
            }
        }
    }

    /// An origin's body, as it comes; through a spool once a buffered answer's client lags behind.
    async fn origin(
        &mut self,
        mut origin: Lease,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        let pass = &cx.location(ex.location).pass;
        let paced = self.pace.is_some() || Pace::of_origin(ex, cx).is_some();
        if ex.buffering && paced {
            return self.spooled(origin, None, ex, cx).await;
        }
        self.ahead = ex.buffering;
        let mut unflushed = false;
        loop {
            let fault = match origin.inbound.step() {
                Ok(Step::Data) => {
                    unflushed = true;
                    match self.push(origin.inbound.data(), At::More, ex, cx).await {
                        Ok(()) => continue,
                        Err(stop) => {
                            proxy::abandon(ex, cx, origin);
                            return Err(stop);
                        }
                    }
                }
                Ok(Step::End) => {
                    proxy::finish(ex, cx, origin);
                    self.ahead = false;
                    return self.finish(ex, cx).await;
                }
                Ok(Step::More) => {
                    if let Err(stop) = self.catch_up(&mut unflushed, ex, cx).await {
                        proxy::abandon(ex, cx, origin);
                        return Err(stop);
                    }
                    if self.blocked {
                        self.ahead = false;
                        return self.spooled(origin, None, ex, cx).await;
                    }
                    proxy::notes::tell(ex, cx, &mut origin);
                    let room = room(&origin, pass.buffer_bytes());
                    let within = pass.read_timeout;
                    match origin.receive(room, within, &cx.local.buffers).await {
                        Ok(true) => continue,
                        Ok(false) if origin.inbound.ends_at_close() => continue,
                        Ok(false) => Fault::Closed,
                        Err(fault) => fault,
                    }
                }
                Err(fault) => fault,
            };
            self.ahead = false;
            return self.cut(origin, &fault, ex, cx).await;
        }
    }

    /// What is stored on its way, or read along while somebody else stores it.
    async fn stored(&mut self, stored: Stored, ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Stop> {
        let Stored { source, mut window } = stored;
        let mut live = match source {
            Source::Origin(origin, tee) => {
                return self.spooled(origin, Some((tee, window)), ex, cx).await;
            }
            Source::Live(live) => live,
        };
        let mut piece = cx.local.buffers.take(body::READ_BYTES);
        loop {
            ex.stream.flush(self.within, &cx.local.buffers).await?;
            piece.clear();
            let (read, back) = live.read(piece, body::READ_BYTES).await;
            piece = back;
            match read {
                Ok(0) => break,
                Ok(_) => self.push(window.cut(&piece), At::More, ex, cx).await?,
                Err(_) => return Err(Stop::Broken),
            }
        }
        cx.local.buffers.give(piece);
        self.finish(ex, cx).await
    }

    /// Before more is waited for: sends what is there, and without buffering asks the filters for what they hold.
    async fn catch_up(
        &mut self,
        unflushed: &mut bool,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        if std::mem::take(unflushed) && !ex.buffering {
            self.push(b"", At::Flush, ex, cx).await?;
        }
        if self.ahead {
            self.blocked = !ex.stream.try_flush(&cx.local.buffers)?;
        } else {
            ex.stream.flush(self.within, &cx.local.buffers).await?;
        }
        Ok(())
    }

    /// The origin failed midway: what came goes out as far as the filters let it, and nothing ends properly.
    async fn cut(
        &mut self,
        origin: Lease,
        fault: &Fault,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        if let Err(stop) = self.push(b"", At::Flush, ex, cx).await {
            proxy::abandon(ex, cx, origin);
            return Err(stop);
        }
        Ok(cut(ex, cx, origin, fault).await?)
    }

    /// The origin runs ahead into a spool.
    async fn spooled(
        &mut self,
        origin: Lease,
        tee: Option<(Tee, Window)>,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        let spool = Spool::new();
        let bounds = spool::Bounds::of(ex, cx);
        let pace = Pace::of_origin(ex, cx);
        let (filled, sent) = join2(
            spool::fill(&spool, origin, (&bounds, pace), tee, cx),
            self.send_spool(&spool, ex, cx),
        )
        .await;
        match (filled, sent) {
            (Filled::Done(origin), sent) => {
                proxy::finish(ex, cx, origin);
                sent?;
                Ok(end(ex, cx).await?)
            }
            (Filled::Broken(origin, fault), Ok(())) => Ok(cut(ex, cx, origin, &fault).await?),
            (Filled::Broken(origin, _), Err(stop)) => {
                proxy::abandon(ex, cx, origin);
                Err(stop)
            }
        }
    }

    /// Feeds what a spool holds until its origin has ended.
    async fn send_spool(
        &mut self,
        spool: &Spool,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        let result = self.drain_spool(spool, ex, cx).await;
        if result.is_err() {
            spool.stop();
        }
        result
    }

    async fn drain_spool(
        &mut self,
        spool: &Spool,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        ex.stream.flush(self.within, &cx.local.buffers).await?;
        while let Some(piece) = spool.next(&cx.local.buffers).await? {
            let pushed = self.push(piece.bytes(), At::More, ex, cx).await;
            let flushed = match pushed {
                Ok(()) => Ok(ex.stream.flush(self.within, &cx.local.buffers).await?),
                Err(stop) => Err(stop),
            };
            spool.sent(piece, &cx.local.buffers);
            flushed?;
        }
        let at = if spool.is_whole() { At::End } else { At::Flush };
        self.push(b"", at, ex, cx).await
    }

    /// Feeds the end of the body, and sends all.
    async fn finish(&mut self, ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Stop> {
        self.push(b"", At::End, ex, cx).await?;
        Ok(end(ex, cx).await?)
    }

    /// Feeds a piece and queues what comes out.
    async fn push(
        &mut self,
        input: &[u8],
        at: At,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Stop> {
        let mut next = self.chain.feed(input, at, ex, cx, &mut self.out);
        loop {
            match next {
                Ok(Next::Feed) => return self.emit(ex, cx).await,
                Ok(Next::GoOn) => {
                    self.emit(ex, cx).await?;
                    if self.blocked {
                        // A body that grows much on its way must not pile up in the queue.
                        ex.stream.flush(self.within, &cx.local.buffers).await?;
                        self.blocked = false;
                    }
                    next = self.chain.go_on(ex, cx, &mut self.out);
                }
                Ok(Next::Ask(ask)) => {
                    self.emit(ex, cx).await?;
                    ex.stream.flush(self.within, &cx.local.buffers).await?;
                    self.blocked = false;
                    let done = self.include(*ask, ex, cx).await?;
                    next = self.chain.resume(done, ex, cx, &mut self.out);
                }
                Err(broken) => return Err(tell(&broken, ex, cx)),
            }
        }
    }

    /// Runs a subrequest, its output in this place.
    async fn include(&mut self, ask: Ask, ex: &mut Exchange, cx: Cx<'_>) -> Result<Done, Stop> {
        let spec = Spec {
            uri: &ask.uri,
            args: &ask.args,
            same_method: false,
            with_body: true,
            wanted: Wanted::Body,
            entry: Entry::Server,
        };
        let Ok(mut sub) = Subrequest::start(ex, cx, &spec) else {
            return Ok(Done::default());
        };
        let mut kept = Vec::new();
        let mut whole = true;
        let mut passed = 0;
        let status = sub.head().await.map_or(0, |head| head.status);
        // An answer of our own making shows itself at its end: what it says is held back until then.
        let held = ask.stub && status >= 300;
        let keep = ask.keep.or_else(|| held.then_some(STUB_BYTES_MAX));
        let mut piece = Vec::new();
        loop {
            piece.clear();
            match sub.next(&mut piece, &cx.local.buffers).await {
                Ok(false) => break,
                Err(subrequest::Broken) => {
                    whole = false;
                    break;
                }
                Ok(true) => match keep {
                    Some(max) => {
                        passed += piece.len() as u64;
                        let room = max.saturating_sub(kept.len()).min(piece.len());
                        kept.extend_from_slice(&piece[..room]);
                    }
                    None => {
                        passed += piece.len() as u64;
                        self.insert(&piece, ex, cx).await?;
                    }
                },
            }
        }
        cx.local.buffers.give(piece);
        let mut ended = sub.finish(ex).await;
        let status = ended.status();
        let own = !ended.exchange().response.upstream;
        ended.release(cx);
        let Some(status) = status.filter(|_| whole) else {
            let text = format_args!(
                "subrequest \"{}\" ended early while sending to client",
                Text(&ask.uri)
            );
            log::error(ex, cx, LogLevel::Error, text);
            return Err(Stop::Broken);
        };
        let failed = own && status >= 300;
        if held && !failed {
            self.insert(&kept, ex, cx).await?;
            kept.clear();
        }
        Ok(Done {
            status,
            failed,
            kept,
            length: passed,
        })
    }

    /// Puts a piece of a subrequest's output behind what is there.
    async fn insert(&mut self, piece: &[u8], ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Stop> {
        let mut next = self.chain.insert(piece, At::More, ex, cx, &mut self.out);
        loop {
            self.emit(ex, cx).await?;
            match next {
                Ok(Next::GoOn) => {
                    next = self.chain.insert(b"", At::More, ex, cx, &mut self.out);
                }
                Ok(_) => return Ok(()),
                Err(broken) => return Err(tell(&broken, ex, cx)),
            }
        }
    }

    /// Queues what came out of the chain, and sends when it is much.
    async fn emit(&mut self, ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Stop> {
        let buffers = &cx.local.buffers;
        if self.out.is_empty() {
            return Ok(());
        }
        if let Some(pace) = &mut self.pace {
            let mut at = 0;
            while at < self.out.len() {
                let n = pace.allow_to(self.out.len() - at, &ex.stream, cx).await?;
                ex.stream.queue(&self.out[at..at + n], buffers);
                ex.stream.flush(self.within, buffers).await?;
                at += n;
            }
        } else {
            ex.stream.queue(&self.out, buffers);
            if ex.stream.queued() >= QUEUE_BYTES {
                if self.ahead {
                    self.blocked = !ex.stream.try_flush(buffers)?;
                } else {
                    ex.stream.flush(self.within, buffers).await?;
                }
            }
        }
        self.out.clear();
        Ok(())
    }
}
