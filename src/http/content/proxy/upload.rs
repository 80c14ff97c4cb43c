//! The body of a request that goes to an origin over HTTP/2 while the answer is already passed on: both directions of a
//! call at once, each at its own pace.
//!
//! An upload is a task of its own beside the exchange. It ends with the body, with the stream, or with its exchange,
//! whichever comes first; how it ended early is kept for the exchange. Start at [`Upload::start`].

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::super::super::exchange::{Exchange, RequestBody};
use super::super::super::local::{Cx, Local};
use super::send::PIECE_BYTES;
use crate::base::buf::BufPool;
use crate::front::h2::Half;
use crate::front::{BodyRead, ClientFault, Stream};
use crate::net::file::File;
use crate::net::join::{First, catch, race};
use crate::net::runtime;
use crate::upstream::h2::Sink;
use crate::upstream::origin::Fault;

/// Where a body comes from.
pub enum Source {
    /// From a client over HTTP/2, as it arrives.
    Client(Half),
    /// From a temporary file.
    File {
        /// The file.
        file: File,
        /// Its length.
        length: u64,
    },
}

/// What a body may be and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Longest gap between two reads from the client.
    within: Duration,
    /// Longest gap between two writes to the origin.
    step: Duration,
    /// `client_max_body_size`, for bodies of unknown length.
    body_max: u64,
    /// Bytes of it that were sent already.
    before: u64,
    /// Trailers go on to the origin.
    trailers: bool,
}

impl Rules {
    /// Those of the exchange's location.
    pub fn of(ex: &Exchange, cx: Cx<'_>) -> Self {
        let location = cx.location(ex.location);
        let core = &location.settings.core;
        Self {
            within: core.client_body_timeout,
            step: location.pass.send_timeout,
            body_max: core.client_max_body_size,
            before: ex.stream.body_received(),
            trailers: true,
        }
    }
}

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The client's side.
    Client(ClientFault),
    /// It is larger than allowed.
    TooLarge,
    /// The origin does not take it.
    TimedOut,
    /// A file of our own failed.
    File,
    /// The stream is over, of which its exchange knows more.
    Over,
}

/// An upload, as its exchange sees it.
#[derive(Debug, Default)]
pub struct Upload {
    why: Cell<Option<Stopped>>,
    received: Cell<u64>,
    from_client: bool,
}

impl Upload {
    /// Begins one.
    pub fn start(source: Source, sink: Sink, rules: Rules, local: Rc<Local>) -> Rc<Self> {
        let upload = Rc::new(Self {
            from_client: matches!(source, Source::Client(_)),
            ..Self::default()
        });
        let told = upload.clone();
        drop(runtime::spawn(async move {
            let run = || run(source, &sink, rules, &told, &local.buffers);
            let stopped = match catch(run).await {
                Ok(Ok(()) | Err(Stopped::Over)) => return,
                Ok(Err(stopped)) => stopped,
                Err(_) => Stopped::File,
            };
            told.why.set(Some(stopped));
            sink.stop();
        }));
        upload
    }

    /// Why it ended early, if it did.
    #[must_use]
    pub fn why(&self) -> Option<Stopped> {
        self.why.get()
    }

    /// Bytes were taken from the client for good.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.from_client && self.received.get() > 0
    }

    /// Books what was taken from the client, at the end of the exchange.
    pub fn book(&self, ex: &mut Exchange) {
        ex.request_length += self.received.get();
        if self.is_taken() {
            ex.body = RequestBody::Gone;
        }
    }
}

async fn run(
    source: Source,
    sink: &Sink,
    rules: Rules,
    upload: &Upload,
    buffers: &BufPool,
) -> Result<(), Stopped> {
    match source {
        Source::Client(half) => from_half(half, sink, rules, upload, buffers).await,
        Source::File { file, length } => from_file(&file, length, sink, rules, buffers).await,
    }
}

/// From a client over HTTP/2.
async fn from_half(
    mut half: Half,
    sink: &Sink,
    rules: Rules,
    upload: &Upload,
    buffers: &BufPool,
) -> Result<(), Stopped> {
    let mut closed = pin!(sink.closed());
    loop {
        let mut piece = Vec::new();
        let read = {
            let mut reading = pin!(half.read(&mut piece, rules.within, buffers));
            match race(reading.as_mut(), closed.as_mut()).await {
                First::Left(read) => read.map_err(Stopped::Client)?,
                First::Right(()) => return Ok(()),
            }
        };
        if let BodyRead::Data(n) = read {
            upload.received.set(upload.received.get() + n as u64);
        }
        check_size(&rules, rules.before + upload.received.get())?;
        let end = read == BodyRead::End || half.is_done();
        put(sink, piece, end, &rules, buffers).await?;
        if end {
            sink.finish(half.trailers().filter(|_| rules.trailers));
            return Ok(());
        }
    }
}

/// From a client over HTTP/1, whose connection nobody else may use meanwhile.
pub async fn from_client(
    client: &mut Stream,
    sink: &Sink,
    rules: &Rules,
    buffers: &BufPool,
) -> Result<(), Stopped> {
    loop {
        let mut piece = buffers.take(PIECE_BYTES);
        let read = client.read_body(&mut piece, rules.within, buffers).await;
        let end = match read {
            Ok(BodyRead::End) => true,
            Ok(BodyRead::Data(_)) => client.body_done(),
            Err(fault) => {
                buffers.give(piece);
                return Err(Stopped::Client(fault));
            }
        };
        check_size(rules, client.body_received())?;
        put(sink, piece, end, rules, buffers).await?;
        if end {
            sink.finish(client.body_trailers().filter(|_| rules.trailers));
            return Ok(());
        }
    }
}

async fn from_file(
    file: &File,
    length: u64,
    sink: &Sink,
    rules: Rules,
    buffers: &BufPool,
) -> Result<(), Stopped> {
    let mut at = 0;
    while at < length {
        let want = (length - at).min(PIECE_BYTES as u64) as usize;
        let (result, piece) = file.read_at(buffers.take(want), at, want).await;
        match result {
            Ok(n) if n > 0 => at += n as u64,
            _ => return Err(Stopped::File),
        }
        put(sink, piece, at >= length, &rules, buffers).await?;
    }
    sink.finish(None);
    Ok(())
}

/// Sends a piece. The last one need not have gone when its end is queued behind it.
async fn put(
    sink: &Sink,
    piece: Vec<u8>,
    last: bool,
    rules: &Rules,
    buffers: &BufPool,
) -> Result<(), Stopped> {
    let sent = match last {
        true => sink.queue(&piece),
        false => sink.send(&piece, rules.step).await,
    };
    if piece.capacity() > 0 {
        buffers.give(piece);
    }
    sent.map_err(|fault| match fault {
        Fault::TimedOut => Stopped::TimedOut,
        _ => Stopped::Over,
    })
}

fn check_size(rules: &Rules, received: u64) -> Result<(), Stopped> {
    match rules.body_max > 0 && received > rules.body_max {
        true => Err(Stopped::TooLarge),
        false => Ok(()),
    }
}
