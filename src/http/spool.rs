//! Reading an upstream ahead of a slow client: memory up to `proxy_buffers`, then a temporary file up to
//! `proxy_max_temp_file_size`, so that the upstream connection is free long before the client has everything.
//!
//! Two loops on one task share a queue: one fills it from the origin, one drains it to the client. Start at [`run`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::content::cache::body::{Tee, Window};
use super::content::proxy;
use super::exchange::Exchange;
use super::local::{Cx, Local};
use super::pace::Pace;
use super::transfer;
use crate::base::buf::BufPool;
use crate::front::{ClientFault, Stream};
use crate::net::file::{self, File};
use crate::net::join::join2;
use crate::net::notify::Notify;
use crate::plan::model;
use crate::upstream::origin::{Fault, Lease, Origin, Step};

/// Bytes read back from the temporary file at a time.
const READ_BACK_BYTES: usize = 32 << 10;

/// A piece of body that is on its way to the client.
pub struct Taken {
    buf: Vec<u8>,
    from: usize,
    /// Bytes of it that count as memory of the spool.
    held: usize,
}

impl Taken {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.from..]
    }
}

/// A piece of body that waits for the client.
enum Piece {
    /// In memory, from an offset on.
    Memory(Vec<u8>, usize),
    /// In the temporary file.
    File(u64, u64),
}

/// The queue between the two loops.
pub struct Spool {
    pieces: RefCell<VecDeque<Piece>>,
    /// Body bytes in memory.
    memory: Cell<usize>,
    /// Bytes written to the file.
    file_len: Cell<u64>,
    file: RefCell<Option<std::rc::Rc<File>>>,
    /// The origin has nothing more.
    ended: Cell<bool>,
    /// Its body came to its proper end.
    whole: Cell<bool>,
    /// The client is gone.
    stopped: Cell<bool>,
    filled: Notify,
    drained: Notify,
}

/// How the origin's side ended.
pub enum Filled {
    /// The body is whole, and was handed back.
    Done(Lease),
    /// It broke.
    Broken(Lease, Fault),
}

/// What the filling loop needs of the configuration.
pub struct Bounds<'a> {
    memory: usize,
    file: u64,
    folder: &'a model::TempPath,
    within: Duration,
}

impl<'a> Bounds<'a> {
    /// Those of the exchange's location.
    pub fn of(ex: &Exchange, cx: Cx<'a>) -> Self {
        let pass = &cx.location(ex.location).pass;
        Self {
            memory: pass.buffer_bytes(),
            file: pass.temp_bytes_max() as u64,
            folder: &pass.temp_path,
            within: pass.read_timeout,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self::new()
    }
}

impl Spool {
    /// Starts empty, and without a file.
    pub fn new() -> Self {
        Self {
            pieces: RefCell::default(),
            memory: Cell::new(0),
            file_len: Cell::new(0),
            file: RefCell::new(None),
            ended: Cell::new(false),
            whole: Cell::new(false),
            stopped: Cell::new(false),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Nobody takes anything any more: the filling loop ends.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.drained.notify();
    }

    /// Whether the origin's body came to its proper end.
    pub fn is_whole(&self) -> bool {
        self.whole.get()
    }

    /// Waits for the next piece; none when the origin has ended and everything was taken.
    pub async fn next(&self, buffers: &BufPool) -> Result<Option<Taken>, ClientFault> {
        loop {
            let piece = self.pieces.borrow_mut().pop_front();
            match piece {
                None if self.ended.get() => return Ok(None),
                None => self.filled.wait().await,
                Some(Piece::Memory(buf, from)) => {
                    let held = buf.len() - from;
                    return Ok(Some(Taken { buf, from, held }));
                }
                Some(Piece::File(at, len)) => {
                    let file = self.file.borrow().clone();
                    let Some(file) = file else {
                        return Err(ClientFault::Gone);
                    };
                    let want = len.min(READ_BACK_BYTES as u64) as usize;
                    let (result, buf) = file.read_at(buffers.take(want), at, want).await;
                    let Ok(n @ 1..) = result else {
                        buffers.give(buf);
                        return Err(ClientFault::Gone);
                    };
                    let n = n as u64;
                    if n < len {
                        let rest = Piece::File(at + n, len - n);
                        self.pieces.borrow_mut().push_front(rest);
                    }
                    let (from, held) = (0, 0);
                    return Ok(Some(Taken { buf, from, held }));
                }
            }
        }
    }

    /// A piece has gone: there is room for another one.
    pub fn sent(&self, piece: Taken, buffers: &BufPool) {
        self.memory.set(self.memory.get() - piece.held);
        buffers.give(piece.buf);
        self.drained.notify();
    }
}

/// Relays the rest of a body, the upstream side running ahead.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>, origin: Lease) -> Result<(), ClientFault> {
    relay(ex, cx, origin, None).await
}

/// The same for a body that goes elsewhere besides, all of it, whatever becomes of the client.
pub async fn stored(
    ex: &mut Exchange,
    cx: Cx<'_>,
    origin: Lease,
    tee: (Tee, Window),
) -> Result<(), ClientFault> {
    if ex.stream.wants_body() {
        return relay(ex, cx, origin, Some(tee)).await;
    }
    // The client has its answer, and the store what it did not ask for.
    let sent = transfer::end(ex, cx).await;
    let spool = Spool::new();
    spool.stop();
    let bounds = Bounds::of(ex, cx);
    let pace = Pace::of_origin(ex, cx);
    match fill(&spool, origin, (&bounds, pace), Some(tee), cx).await {
        Filled::Done(origin) => proxy::finish(ex, cx, origin),
        Filled::Broken(origin, fault) => proxy::cut(ex, cx, origin, &fault),
    }
    sent
}

async fn relay(
    ex: &mut Exchange,
    cx: Cx<'_>,
    origin: Lease,
    tee: Option<(Tee, Window)>,
) -> Result<(), ClientFault> {
    let settings = &cx.location(ex.location).settings;
    let bounds = Bounds::of(ex, cx);
    let spool = Spool::new();
    let client_pace = Pace::of_client(ex, cx);
    let origin_pace = Pace::of_origin(ex, cx);
    let stream = &mut ex.stream;
    let (filled, sent) = join2(
        fill(&spool, origin, (&bounds, origin_pace), tee, cx),
        drain(&spool, stream, client_pace, settings.core.send_timeout, cx),
    )
    .await;
    match (filled, sent) {
        (Filled::Done(origin), Ok(())) => {
            proxy::finish(ex, cx, origin);
            transfer::end(ex, cx).await
        }
        (Filled::Broken(origin, fault), Ok(())) => transfer::cut(ex, cx, origin, &fault).await,
        (Filled::Done(origin), Err(fault)) => {
            proxy::finish(ex, cx, origin);
            Err(fault)
        }
        (Filled::Broken(origin, _), Err(fault)) => {
            proxy::abandon(ex, cx, origin);
            Err(fault)
        }
    }
}

/// Reads the origin until its end, or until the client is gone, unless the body goes elsewhere besides.
pub async fn fill(
    spool: &Spool,
    mut origin: Lease,
    (bounds, mut pace): (&Bounds<'_>, Option<Pace>),
    mut tee: Option<(Tee, Window)>,
    cx: Cx<'_>,
) -> Filled {
    // Who else gets the body must not wait for this client.
    let file = if tee.is_some() { u64::MAX } else { bounds.file };
    let bounds = &Bounds { file, ..*bounds };
    let end = loop {
        if spool.stopped.get() && tee.is_none() {
            break Some(Fault::Cut);
        }
        match origin.inbound.step() {
            Ok(Step::Data) => {
                let len = origin.inbound.data().len();
                let stored = match &mut tee {
                    None => store(spool, &mut origin, bounds, cx.local).await,
                    Some((tee, window)) => {
                        tee.write(origin.inbound.data()).await;
                        match window.is_all() {
                            true => store(spool, &mut origin, bounds, cx.local).await,
                            false => {
                                let part = window.cut(origin.inbound.data());
                                keep(spool, part, cx.local);
                                Ok(())
                            }
                        }
                    }
                };
                if let Err(fault) = stored {
                    break Some(fault);
                }
                spool.filled.notify();
                if let Some(pace) = &mut pace {
                    let mut left = len;
                    while left > 0 && !spool.stopped.get() {
                        left -= pace.allow(left, cx).await;
                    }
                }
            }
            Ok(Step::End) => {
                // Before the client has it all, so that its next request finds it stored.
                if let Some((tee, _)) = tee.take() {
                    tee.finish();
                }
                break None;
            }
            Ok(Step::More) => {
                let room = transfer::room(&origin, bounds.memory);
                match origin.receive(room, bounds.within, &cx.local.buffers).await {
                    Ok(true) => {}
                    Ok(false) if origin.inbound.ends_at_close() => {}
                    Ok(false) => break Some(Fault::Closed),
                    Err(fault) => break Some(fault),
                }
            }
            Err(fault) => break Some(fault),
        }
    };
    spool.whole.set(end.is_none());
    spool.ended.set(true);
    spool.filled.notify();
    match end {
        None => Filled::Done(origin),
        Some(fault) => Filled::Broken(origin, fault),
    }
}

/// Puts a part of a piece into the queue.
fn keep(spool: &Spool, part: &[u8], local: &Local) {
    if part.is_empty() || spool.stopped.get() {
        return;
    }
    let mut copy = local.buffers.take(part.len());
    copy.extend_from_slice(part);
    spool.memory.set(spool.memory.get() + part.len());
    spool.pieces.borrow_mut().push_back(Piece::Memory(copy, 0));
}

/// Puts the origin's current piece into the queue: memory while there is room, then the file, else it waits.
async fn store(
    spool: &Spool,
    origin: &mut Origin,
    bounds: &Bounds<'_>,
    local: &Local,
) -> Result<(), Fault> {
    let len = origin.inbound.data().len();
    loop {
        if spool.stopped.get() {
            return Ok(());
        }
        // Once the file is in use everything goes through it until the client has caught up: order is kept.
        let in_memory = spool.memory.get() + len <= bounds.memory || spool.memory.get() == 0;
        if in_memory {
            let (buf, from) = origin.inbound.take_data().unwrap_or_else(|| {
                let mut copy = local.buffers.take(len);
                copy.extend_from_slice(origin.inbound.data());
                (copy, 0)
            });
            spool.memory.set(spool.memory.get() + len);
            spool
                .pieces
                .borrow_mut()
                .push_back(Piece::Memory(buf, from));
            return Ok(());
        }
        let at = spool.file_len.get();
        if at + len as u64 <= bounds.file {
            let file = temp_file(spool, bounds)?;
            let mut copy = local.buffers.take(len);
            copy.extend_from_slice(origin.inbound.data());
            let (result, copy) = file.write_all_at(copy, at).await;
            local.buffers.give(copy);
            result.map_err(Fault::Local)?;
            spool.file_len.set(at + len as u64);
            spool
                .pieces
                .borrow_mut()
                .push_back(Piece::File(at, len as u64));
            return Ok(());
        }
        spool.drained.wait().await;
    }
}

fn temp_file(spool: &Spool, bounds: &Bounds<'_>) -> Result<std::rc::Rc<File>, Fault> {
    let mut slot = spool.file.borrow_mut();
    if let Some(file) = &*slot {
        return Ok(file.clone());
    }
    let file = file::temporary(bounds.folder.path.as_os_str().as_bytes()).map_err(Fault::Local)?;
    let file = std::rc::Rc::new(file);
    *slot = Some(file.clone());
    Ok(file)
}

/// Sends what the queue holds until the origin has ended and it is empty.
async fn drain(
    spool: &Spool,
    stream: &mut Stream,
    mut pace: Option<Pace>,
    within: Duration,
    cx: Cx<'_>,
) -> Result<(), ClientFault> {
    let result = drain_loop(spool, stream, &mut pace, within, cx).await;
    if result.is_err() {
        spool.stop();
    }
    result
}

async fn drain_loop(
    spool: &Spool,
    stream: &mut Stream,
    pace: &mut Option<Pace>,
    within: Duration,
    cx: Cx<'_>,
) -> Result<(), ClientFault> {
    let buffers = &cx.local.buffers;
    stream.flush(within, buffers).await?;
    while let Some(mut piece) = spool.next(buffers).await? {
        let buf = std::mem::take(&mut piece.buf);
        let (result, buf) = send_piece(stream, buf, piece.from, pace, within, cx).await;
        piece.buf = buf;
        spool.sent(piece, buffers);
        result?;
    }
    Ok(())
}

async fn send_piece(
    stream: &mut Stream,
    buf: Vec<u8>,
    from: usize,
    pace: &mut Option<Pace>,
    within: Duration,
    cx: Cx<'_>,
) -> (Result<(), ClientFault>, Vec<u8>) {
    let buffers = &cx.local.buffers;
    let Some(pace) = pace else {
        return stream.send(buf, from, within, buffers).await;
    };
    let mut at = from;
    while at < buf.len() {
        let n = match pace.allow_to(buf.len() - at, stream, cx).await {
            Ok(n) => n,
            Err(fault) => return (Err(fault), buf),
        };
        stream.queue(&buf[at..at + n], buffers);
        at += n;
        if let Err(fault) = stream.flush(within, buffers).await {
            return (Err(fault), buf);
        }
    }
    (Ok(()), buf)
}
