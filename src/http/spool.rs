//! Reading an upstream ahead of a slow client: memory up to `proxy_buffers`, then a temporary file up to
//! `proxy_max_temp_file_size`, so that the upstream connection is free long before the client has everything.
//!
//! Two loops on one task share a queue: one fills it from the origin, one drains it to the client. Start at [`run`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::content::proxy;
use super::exchange::Exchange;
use super::local::{Cx, Local};
use super::pace::Pace;
use super::transfer;
use crate::front::{ClientFault, Stream};
use crate::net::file::{self, File};
use crate::net::join::join2;
use crate::net::notify::Notify;
use crate::plan::model;
use crate::upstream::origin::{Fault, Lease, Origin, Step};

/// Bytes read back from the temporary file at a time.
const READ_BACK_BYTES: usize = 32 << 10;

/// A piece of body that waits for the client.
enum Piece {
    /// In memory, from an offset on.
    Memory(Vec<u8>, usize),
    /// In the temporary file.
    File(u64, u64),
}

/// The queue between the two loops.
struct Spool {
    pieces: RefCell<VecDeque<Piece>>,
    /// Body bytes in memory.
    memory: Cell<usize>,
    /// Bytes written to the file.
    file_len: Cell<u64>,
    file: RefCell<Option<std::rc::Rc<File>>>,
    /// The origin has nothing more.
    ended: Cell<bool>,
    /// The client is gone.
    stopped: Cell<bool>,
    filled: Notify,
    drained: Notify,
}

/// How the origin's side ended.
enum Filled {
    /// The body is whole, and was handed back.
    Done(Lease),
    /// It broke.
    Broken(Lease, Fault),
}

/// What the filling loop needs of the configuration.
struct Bounds<'a> {
    memory: usize,
    file: u64,
    folder: &'a model::TempPath,
    within: Duration,
}

/// Relays the rest of a body, the upstream side running ahead.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>, origin: Lease) -> Result<(), ClientFault> {
    let settings = &cx.location(ex.location).settings;
    let pass = &cx.location(ex.location).pass;
    let bounds = Bounds {
        memory: pass.buffer_bytes(),
        file: pass.temp_bytes_max() as u64,
        folder: &pass.temp_path,
        within: pass.read_timeout,
    };
    let spool = Spool {
        pieces: RefCell::default(),
        memory: Cell::new(0),
        file_len: Cell::new(0),
        file: RefCell::new(None),
        ended: Cell::new(false),
        stopped: Cell::new(false),
        filled: Notify::new(),
        drained: Notify::new(),
    };
    let client_pace = Pace::of_client(ex, cx);
    let origin_pace = Pace::of_origin(ex, cx);
    let stream = &mut ex.stream;
    let (filled, sent) = join2(
        fill(&spool, origin, &bounds, origin_pace, cx),
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

/// Reads the origin until its end, or until the client is gone.
async fn fill(
    spool: &Spool,
    mut origin: Lease,
    bounds: &Bounds<'_>,
    mut pace: Option<Pace>,
    cx: Cx<'_>,
) -> Filled {
    let end = loop {
        if spool.stopped.get() {
            break Some(Fault::Cut);
        }
        match origin.inbound.step() {
            Ok(Step::Data) => {
                let len = origin.inbound.data().len();
                if let Err(fault) = store(spool, &mut origin, bounds, cx.local).await {
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
            Ok(Step::End) => break None,
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
    spool.ended.set(true);
    spool.filled.notify();
    match end {
        None => Filled::Done(origin),
        Some(fault) => Filled::Broken(origin, fault),
    }
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
        // Once the file is in use everything goes through it until the client has caught up: order is kept.
        let in_memory = spool.memory.get() + len <= bounds.memory || spool.memory.get() == 0;
        if in_memory || spool.stopped.get() {
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
        spool.stopped.set(true);
        spool.drained.notify();
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
    loop {
        let piece = spool.pieces.borrow_mut().pop_front();
        match piece {
            None if spool.ended.get() => return Ok(()),
            None => spool.filled.wait().await,
            Some(Piece::Memory(buf, from)) => {
                let len = buf.len() - from;
                let (result, buf) = send_piece(stream, buf, from, pace, within, cx).await;
                buffers.give(buf);
                result?;
                spool.memory.set(spool.memory.get() - len);
                spool.drained.notify();
            }
            Some(Piece::File(mut at, mut len)) => {
                let file = spool.file.borrow().clone();
                let Some(file) = file else {
                    return Err(ClientFault::Gone);
                };
                while len > 0 {
                    let want = len.min(READ_BACK_BYTES as u64) as usize;
                    let (result, buf) = file.read_at(buffers.take(want), at, want).await;
                    let Ok(n @ 1..) = result else {
                        buffers.give(buf);
                        return Err(ClientFault::Gone);
                    };
                    at += n as u64;
                    len -= n as u64;
                    let (result, buf) = send_piece(stream, buf, 0, pace, within, cx).await;
                    buffers.give(buf);
                    result?;
                }
                spool.drained.notify();
            }
        }
    }
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
