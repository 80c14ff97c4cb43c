//! One attempt on the wire: the request goes out, the response's head comes in, and where the body is large or
//! still arriving both happen at once.

use std::io;
use std::pin::pin;
use std::time::Duration;

use super::super::super::exchange::{Exchange, RequestBody};
use super::super::super::local::Cx;
use super::super::super::transfer::{self, Facts, Transfer, decide, spliced};
use super::super::super::{body, vars};
use super::{Failure, Framing, Request, Rest, Steps, notes};
use crate::base::buf::BufPool;
use crate::front::{BodyLength, BodyRead, Stream};
use crate::net::join::{First, race};
use crate::net::splice::{Broken, Gait, Manner, Moved, Pipes, Ran, Receiver, Splice, Way};
use crate::net::stream::SendHalf;
use crate::plan::location::{ProxyPlan, WirePlan};
use crate::plan::model::Splicing;
use crate::proto::fastcgi;
use crate::upstream::origin::{Fault, HeadRead, Origin};
use crate::upstream::trouble::Action;

/// Bodies up to this size are copied behind the head: one send, and nothing to wait for meanwhile.
pub const JOIN_BYTES_MAX: usize = 4 << 10;

/// Larger ones up to this size go out with the head in one vectored send.
pub const VECTOR_BYTES_MAX: usize = 32 << 10;

/// Bytes of a body that are read (from the client, or back from a file) and sent at a time.
pub const PIECE_BYTES: usize = 32 << 10;

/// Sends the request on `origin` and reads the response's head. Interim heads are dropped or relayed.
pub(super) async fn exchange(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    request: &mut Request,
    origin: &mut Origin,
) -> Result<(), Failure> {
    let pass = &cx.location(ex.location).pass;
    let steps = Steps {
        send: pass.send_timeout,
        read: pass.read_timeout,
    };
    request.sent = true;
    let mut body = Rest::None;
    if request.rest == Rest::Held
        && request.framing == Framing::Plain
        && let Some(held) = small_body(ex, cx).await
    {
        let head = std::mem::take(&mut request.bytes);
        let (result, head, held) = origin.send_two(head, held, steps.send).await;
        request.bytes = head;
        match &mut ex.body {
            RequestBody::Memory(kept) => *kept = held,
            _ => cx.local.buffers.give(held),
        }
        result.map_err(while_sending)?;
    } else {
        body = request.rest;
        if body == Rest::None && origin.conn.stream.tx.post(&request.bytes, steps.send) {
            origin.count_sent(request.bytes.len() as u64);
        } else {
            let bytes = std::mem::take(&mut request.bytes);
            let tx = &mut origin.conn.stream.tx;
            let (result, bytes) = tx.send_all_within(steps.send, bytes).await;
            let sent = origin.note_sent(bytes.len(), result);
            request.bytes = bytes;
            sent.map_err(while_sending)?;
        }
    }
    if body == Rest::None {
        origin.request_sent();
        let buffers = &cx.local.buffers;
        let room = (pass.buffer_size, transfer::room_at_once(ex, cx, origin));
        // `Inbound::read_head`, without one more future around every wait for an answer.
        loop {
            match origin.inbound.look(pass.buffer_size) {
                Ok(Some(HeadRead::Final)) => break,
                Ok(Some(HeadRead::Interim)) => Box::pin(interim(ex, cx, origin)).await?,
                Ok(Some(HeadRead::Notes)) => {
                    if let WirePlan::FastCgi(wire) = &plan.wire {
                        notes::judge(ex, cx, wire, origin)?;
                    }
                }
                Ok(None) => {
                    let rx = &mut origin.conn.stream.rx;
                    rx.news_within(steps.read).await;
                    let input = origin.inbound.room_for_head(room, buffers);
                    let received = rx.recv_within(steps.read, input).await;
                    let came = origin.inbound.take_in_head(received, rx);
                    came.map_err(while_reading)?;
                }
                Err(fault) => return Err(while_reading(fault)),
            }
        }
    } else {
        with_body(ex, cx, request, origin, steps).await?;
    }
    match &plan.wire {
        WirePlan::FastCgi(wire) => notes::judge(ex, cx, wire, origin),
        _ => Ok(()),
    }
}

fn while_sending(fault: Fault) -> Failure {
    Failure::Peer(fault, Action::Sending)
}

fn while_reading(fault: Fault) -> Failure {
    Failure::Peer(fault, Action::ReadingHead)
}

/// A held body that is small enough to go out with the head; one that is in a file is read back for it. An origin that
/// answers before it has read a body could otherwise not be told from one that will never read it.
pub(super) async fn small_body(ex: &mut Exchange, cx: Cx<'_>) -> Option<Vec<u8>> {
    match &mut ex.body {
        RequestBody::Memory(body) if body.len() <= VECTOR_BYTES_MAX => Some(std::mem::take(body)),
        RequestBody::File(held) if held.length <= VECTOR_BYTES_MAX as u64 => {
            let (file, length) = (&held.file, held.length as usize);
            let mut body = cx.local.buffers.take(length);
            while body.len() < length {
                let (offset, want) = (body.len() as u64, length - body.len());
                let (result, back) = file.read_at(body, offset, want).await;
                body = back;
                // What is wrong with it is told where bodies are sent piece by piece.
                if !matches!(result, Ok(n) if n > 0) {
                    cx.local.buffers.give(body);
                    return None;
                }
            }
            Some(body)
        }
        _ => None,
    }
}

/// 103 is relayed where `early_hints` says so; every other interim head ends here.
pub(super) async fn interim(
    ex: &mut Exchange,
    cx: Cx<'_>,
    origin: &mut Origin,
) -> Result<(), Failure> {
    let location = cx.location(ex.location);
    let core = &location.settings.core;
    if origin.inbound.head.status == 103 && vars::any_true(&location.early_hints, ex, cx) {
        ex.stream
            .queue_interim(103, &origin.inbound.head.fields, &cx.local.buffers);
        let sent = ex.stream.flush(core.send_timeout, &cx.local.buffers).await;
        sent.map_err(|fault| Failure::Client(body::client_fault(ex, cx, fault)))?;
    }
    origin.inbound.head.clear();
    Ok(())
}

/// How sending a body ended early.
enum Stopped {
    /// The client's side.
    Client(crate::front::ClientFault),
    /// It is larger than allowed.
    TooLarge,
    /// The origin's side.
    Origin(Fault),
}

/// Sends the body while looking for the response: an origin may answer, and stop reading, before it has everything.
async fn with_body(
    ex: &mut Exchange,
    cx: Cx<'_>,
    request: &mut Request,
    origin: &mut Origin,
    steps: Steps,
) -> Result<(), Failure> {
    let location = cx.location(ex.location);
    let bytes_max = location.pass.buffer_size;
    let core = &location.settings.core;
    let source = Source {
        within: core.client_body_timeout,
        body_max: core.client_max_body_size,
        framing: request.framing,
        step: steps.send,
        buffers: &cx.local.buffers,
        pipes: &cx.local.pipes,
        splice: manner(ex, cx, request, origin),
        spliced: Moved::default(),
    };
    let mut sent = 0;
    let mut taken = false;
    let (ended, head) = {
        let net = &mut origin.conn.stream;
        let inbound = &mut origin.inbound;
        let mut sending = pin!(async {
            match &ex.body {
                RequestBody::Unread => {
                    source
                        .stream(&mut ex.stream, &mut net.tx, &mut sent, &mut taken)
                        .await
                }
                held => source.held(held, &mut net.tx, &mut sent).await,
            }
        });
        let rx = &mut net.rx;
        let mut reading = pin!(async {
            loop {
                match inbound
                    .read_head(rx, bytes_max, steps.read, &cx.local.buffers)
                    .await
                {
                    Ok(HeadRead::Interim) => inbound.head.clear(),
                    // Told once the client's side is free again.
                    Ok(HeadRead::Notes) => {}
                    other => return other.map(|_| ()),
                }
            }
        });
        match race(sending.as_mut(), reading.as_mut()).await {
            First::Right(head) => (None, Some(head)),
            // An origin that stopped reading may have said why.
            First::Left(Err(Stopped::Origin(fault))) => match reading.await {
                Ok(()) => (None, Some(Ok(()))),
                // A reset is told once, to whichever direction asks first; the retry policy must hear of it.
                Err(reset @ Fault::Io(_)) => (Some(Err(Stopped::Origin(reset))), None),
                Err(_) => (Some(Err(Stopped::Origin(fault))), None),
            },
            First::Left(Ok(())) => (Some(Ok(())), Some(reading.await)),
            First::Left(Err(stopped)) => (Some(Err(stopped)), None),
        }
    };
    sent += source.spliced.sent.get();
    origin.count_sent(sent);
    request.body_taken |= taken;
    ex.request_length += if taken { sent } else { 0 };
    let whole = matches!(ended, Some(Ok(())));
    if whole {
        origin.request_sent();
    } else if matches!(ex.body, RequestBody::Unread) {
        // What the pump had in its hands is lost: the rest of the body cannot be told from the next request.
        ex.close = true;
    }
    if matches!(ex.body, RequestBody::Unread) && taken && whole {
        ex.body = RequestBody::Gone;
    }
    match (ended, head) {
        (Some(Err(Stopped::Client(fault))), _) => {
            Err(Failure::Client(body::client_fault(ex, cx, fault)))
        }
        (Some(Err(Stopped::TooLarge)), _) => {
            Err(Failure::Client(super::super::super::flow::Flow::Error(413)))
        }
        (Some(Err(Stopped::Origin(fault))), _) => Err(Failure::Peer(fault, Action::Sending)),
        (_, Some(Err(fault))) => Err(Failure::Peer(fault, Action::ReadingHead)),
        (_, Some(Ok(())) | None) => Ok(()),
    }
}

/// Whether the body may go past user space.
fn manner(ex: &Exchange, cx: Cx<'_>, request: &Request, origin: &Origin) -> Manner {
    let location = cx.location(ex.location);
    let facts = Facts {
        client_plain: ex.stream.is_bare(),
        origin_plain: origin.conn.is_bare(),
        origin_unframed: request.framing == Framing::Plain,
        buffering: request.rest != Rest::Streamed,
        filtered: false,
        stored: false,
        paced: false,
        wanted: location.settings.core.splice != Splicing::Off,
    };
    match decide(facts) {
        Transfer::Splice => spliced::manner(location.settings.core.splice),
        Transfer::Stream | Transfer::Buffer => Manner::Off,
    }
}

/// How a body is sent.
struct Source<'a> {
    /// Longest gap between two reads from the client.
    within: Duration,
    /// `client_max_body_size`, for bodies of unknown length.
    body_max: u64,
    framing: Framing,
    /// Longest gap between two writes to the origin.
    step: Duration,
    buffers: &'a BufPool,
    pipes: &'a Pipes,
    /// Whether bytes may go past user space, and those that did.
    splice: Manner,
    spliced: Moved,
}

impl Source<'_> {
    /// From the client, as it arrives.
    async fn stream(
        &self,
        client: &mut Stream,
        tx: &mut SendHalf,
        sent: &mut u64,
        taken: &mut bool,
    ) -> Result<(), Stopped> {
        let mut received = client.body_received();
        let mut gait = Gait::new(self.splice);
        if let BodyLength::Known(length) = client.body_length() {
            gait.note(usize::try_from(length - received).unwrap_or(usize::MAX));
        }
        loop {
            if gait.splices() && self.splice(client, tx, taken, &mut gait).await? {
                return Ok(());
            }
            let mut piece = self.buffers.take(PIECE_BYTES + 32);
            let read = client
                .read_body(&mut piece, self.within, self.buffers)
                .await;
            let end = match read {
                Ok(BodyRead::End) => true,
                Ok(BodyRead::Data(n)) => {
                    *taken = true;
                    received += n as u64;
                    gait.note(n);
                    // The end that came with this piece leaves with it.
                    client.body_done()
                }
                Err(fault) => {
                    self.buffers.give(piece);
                    return Err(Stopped::Client(fault));
                }
            };
            if self.body_max > 0 && received > self.body_max {
                self.buffers.give(piece);
                return Err(Stopped::TooLarge);
            }
            piece = self.framed(piece, end);
            self.send(piece, tx, sent).await?;
            if end {
                return Ok(());
            }
        }
    }

    /// Moves what may be moved past user space, while it pays. True when that was the rest of the body.
    async fn splice(
        &self,
        client: &mut Stream,
        tx: &SendHalf,
        taken: &mut bool,
        gait: &mut Gait,
    ) -> Result<bool, Stopped> {
        let Stream::H1(conn) = client else {
            return Ok(false);
        };
        let left = conn.unread_body();
        if left == 0 {
            return Ok(false);
        }
        // Nobody can tell any more what of the body has been taken.
        *taken = true;
        let splice = Splice {
            pipes: self.pipes,
            way: Way::Up,
            receiver: Receiver::Awaited(self.step),
            moved: &self.spliced,
        };
        let before = self.spliced.received.get();
        let bounds = (left, self.within);
        let ran = splice.run(&conn.socket().rx, tx, bounds, gait).await;
        conn.count_spliced(self.spliced.received.get() - before);
        match ran {
            Ran::Whole => Ok(true),
            Ran::Thin | Ran::Blocked => Ok(false),
            Ran::Ended => {
                let gone = io::ErrorKind::UnexpectedEof.into();
                Err(Stopped::Client(conn.fault(&gone)))
            }
            Ran::Broken(Broken::Recv(error)) => Err(Stopped::Client(conn.fault(&error))),
            Ran::Broken(Broken::Send(error)) => Err(Stopped::Origin(Fault::of(error, false))),
        }
    }

    /// Wraps a piece in the framing of the wire; the last one gets the end.
    fn framed(&self, piece: Vec<u8>, end: bool) -> Vec<u8> {
        if self.framing == Framing::Plain {
            return piece;
        }
        let mut framed = self.buffers.take(fastcgi::stdin_room(piece.len()));
        self.framing.append(&piece, &mut framed);
        if end {
            self.framing.end(&mut framed);
        }
        self.buffers.give(piece);
        framed
    }

    /// From memory or a temporary file.
    async fn held(
        &self,
        body: &RequestBody,
        tx: &mut SendHalf,
        sent: &mut u64,
    ) -> Result<(), Stopped> {
        match body {
            RequestBody::Memory(bytes) => {
                for part in bytes.chunks(PIECE_BYTES) {
                    let mut piece = self.buffers.take(part.len());
                    piece.extend_from_slice(part);
                    self.send(self.framed(piece, false), tx, sent).await?;
                }
            }
            RequestBody::File(held) => {
                let (file, length) = (&held.file, held.length);
                let mut at = 0;
                while at < length {
                    let want = (length - at).min(PIECE_BYTES as u64) as usize;
                    let (result, piece) = file.read_at(self.buffers.take(want), at, want).await;
                    match result {
                        Ok(n) if n > 0 => at += n as u64,
                        Ok(_) => {
                            return Err(Stopped::Origin(Fault::Local(
                                io::ErrorKind::UnexpectedEof.into(),
                            )));
                        }
                        Err(error) => return Err(Stopped::Origin(Fault::Local(error))),
                    }
                    self.send(self.framed(piece, false), tx, sent).await?;
                }
            }
            RequestBody::Unread | RequestBody::Gone => {}
        }
        if self.framing == Framing::Plain {
            return Ok(());
        }
        let mut end = self.buffers.take(fastcgi::stdin_room(0));
        self.framing.end(&mut end);
        self.send(end, tx, sent).await
    }

    async fn send(&self, piece: Vec<u8>, tx: &mut SendHalf, sent: &mut u64) -> Result<(), Stopped> {
        if piece.is_empty() {
            self.buffers.give(piece);
            return Ok(());
        }
        let len = piece.len() as u64;
        let (result, piece) = tx.send_all_within(self.step, piece).await;
        self.buffers.give(piece);
        match result {
            Ok(()) => {
                *sent += len;
                Ok(())
            }
            Err(error) => Err(Stopped::Origin(Fault::of(error, false))),
        }
    }
}
