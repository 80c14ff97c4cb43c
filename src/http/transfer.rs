//! Stage 8: how a response crosses to the client.
//!
//! [`decide`] is a pure function from facts to splice, stream or buffer; [`send`] carries it out. Small responses
//! leave in one send, head and body together. A body that filters touch goes through [`filtered`]. Knows no routing and
//! no retry: a body that breaks here is cut visibly.

mod filtered;
pub mod spliced;

use std::time::Duration;

use super::content::{cache, proxy};
use super::exchange::{Body, Exchange};
use super::filter::range::Parts;
use super::local::Cx;
use super::slice::{self, Slices};
use super::{debug, filter, log, pace, spool, tunnel};
use crate::base::time::HTTP_DATE_LEN;
use crate::front::{ClientFault, HeadView};
use crate::net::file::{File, Sending};
use crate::net::splice::{Gait, Manner};
use crate::plan::model::{LogLevel, Splicing};
use crate::proto::head::Fields;
use crate::upstream::origin::{Fault, Lease, Origin, Step};
use spliced::Stopped;

/// Room for one receive of a body when nothing is known of its length.
const RECV_BYTES: usize = 16 << 10;

/// Queued bytes that are sent before more is received.
const QUEUE_BYTES: usize = 32 << 10;

/// Bytes of an answer in slices that wait for more, as many as nginx holds back by default.
const POSTPONED_BYTES: usize = 1460;

/// What decides how a body crosses.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The client's side is a bare socket (no TLS) and the body goes out unframed.
    pub client_plain: bool,
    /// The origin's side is a bare socket.
    pub origin_plain: bool,
    /// Length known, ended by close, or a tunnel: no chunk framing to take off.
    pub origin_unframed: bool,
    /// `proxy_buffering`, as `X-Accel-Buffering` left it.
    pub buffering: bool,
    /// A filter will touch the body.
    pub filtered: bool,
    /// The body is being stored.
    pub stored: bool,
    /// A rate cap is in force.
    pub paced: bool,
    /// `splice` is not off.
    pub wanted: bool,
}

/// How a body crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// From socket to socket in the kernel, the client waited for.
    Splice,
    /// Through one buffer, each piece sent as it comes.
    Stream,
    /// Read ahead of the client, into memory and then a temporary file, from where it does not keep up. While it does, from
    /// socket to socket where [`Facts::may_splice`].
    Buffer,
}

impl Facts {
    /// Whether bytes of the body may pass the kernel without being looked at.
    #[must_use]
    pub fn may_splice(self) -> bool {
        let bare = self.client_plain && self.origin_plain && self.origin_unframed;
        bare && self.wanted && !self.filtered && !self.stored && !self.paced
    }
}

/// Chooses. Pure.
#[must_use]
pub fn decide(facts: Facts) -> Transfer {
    match facts.may_splice() {
        _ if facts.buffering => Transfer::Buffer,
        true => Transfer::Splice,
        false => Transfer::Stream,
    }
}

/// Sends `ex.response`, head and body. Whatever goes wrong ends in the exchange's marks and the log.
pub async fn send(ex: &mut Exchange, cx: Cx<'_>) {
    if ex.debug {
        debug::answer(ex, cx);
    }
    cx.generation.logs.desk().before_answer();
    queue_head(ex, cx);
    let head_bytes = ex.stream.queued() as u64;
    let result = if queue_whole(ex, cx) {
        conclude(ex, cx).await
    } else {
        body(ex, cx).await
    };
    if let Err(fault) = result {
        client_fault(ex, cx, fault);
    }
    ex.response.bytes_sent = ex.stream.sent();
    ex.response.body_bytes_sent = ex.response.bytes_sent.saturating_sub(head_bytes);
}

/// Queues a body of an origin that has come as a whole, with its end. False when there is more to do than that, and
/// nothing was done yet.
fn queue_whole(ex: &mut Exchange, cx: Cx<'_>) -> bool {
    let Body::Origin(origin) = &ex.response.body else {
        return false;
    };
    if !origin.inbound.is_whole(RECV_BYTES)
        || !ex.response.chain.is_empty()
        || !ex.stream.wants_body()
        || is_paced(ex, cx)
    {
        return false;
    }
    let Body::Origin(mut origin) = std::mem::take(&mut ex.response.body) else {
        return false;
    };
    origin.inbound.take_whole();
    if !origin.inbound.data().is_empty() {
        ex.stream.queue(origin.inbound.data(), &cx.local.buffers);
    }
    proxy::finish(ex, cx, origin);
    queue_end(ex, cx);
    true
}

fn is_paced(ex: &mut Exchange, cx: Cx<'_>) -> bool {
    pace::Pace::of_client(ex, cx).is_some() || pace::Pace::of_origin(ex, cx).is_some()
}

/// Encodes the head into the client's output queue.
fn queue_head(ex: &mut Exchange, cx: Cx<'_>) {
    let settings = &cx.location(ex.location).settings;
    // A shard that drains takes no further request: say so while the head is still to be written.
    ex.close |= cx.local.draining.get();
    if ex.close {
        ex.stream.set_close();
    }
    let mut date = [0; HTTP_DATE_LEN];
    let mut modified = [0; HTTP_DATE_LEN];
    let Exchange {
        stream, response, ..
    } = ex;
    let view = HeadView {
        status: response.status,
        status_line: &response.reason,
        server: filter::headers::server(response, cx, settings),
        date: filter::headers::date(response, cx, &mut date),
        content_type: &response.content_type,
        content_length: response.content_length,
        last_modified: filter::headers::last_modified(response, &mut modified),
        location: &response.location,
        fields: &response.fields,
        trailers: response.expect_trailers,
        chunked_allowed: settings.core.chunked_transfer_encoding,
        keepalive_header: settings
            .core
            .keepalive_timeout
            .header
            .map_or(0, |t| t.as_secs()),
    };
    stream.set_chunk(settings.http2.http2_chunk_size);
    stream.queue_head(&view, &cx.local.buffers);
    response.head_sent = true;
    ex.phases.first = ex.step_us();
}

async fn body(ex: &mut Exchange, cx: Cx<'_>) -> Result<(), ClientFault> {
    let buffers = &cx.local.buffers;
    let within = cx.location(ex.location).settings.core.send_timeout;
    if !ex.response.chain.is_empty() && ex.stream.wants_body() {
        let body = std::mem::take(&mut ex.response.body);
        return filtered::run(ex, cx, body).await;
    }
    match std::mem::take(&mut ex.response.body) {
        Body::Empty => {}
        Body::Origin(origin) => return relay(ex, cx, origin).await,
        Body::Slices(slices) => return Box::pin(sliced(ex, cx, slices)).await,
        Body::Stored(stored) => return Box::pin(cache::body::send(ex, cx, *stored)).await,
        Body::Tunnel(origin) => {
            if let Err(fault) = ex.stream.flush(within, buffers).await {
                proxy::abandon(ex, cx, origin);
                return Err(fault);
            }
            match ex.stream.is_connect() {
                true => Box::pin(tunnel::run_stream(ex, cx, origin)).await,
                // What follows needs little and lasts long: a smaller task does it.
                false => ex.response.body = Body::Tunnel(origin),
            }
            return Ok(());
        }
        Body::Buffer(bytes) if !ex.stream.wants_body() => buffers.give(bytes),
        _ if !ex.stream.wants_body() => {}
        Body::Parts(parts) => Box::pin(multipart(ex, cx, *parts)).await?,
        Body::Buffer(bytes) => {
            let mut pace = pace::Pace::of_client(ex, cx);
            let result = memory(ex, cx, &bytes, &mut pace).await;
            buffers.give(bytes);
            result?;
        }
        Body::Static(bytes) => {
            let mut pace = pace::Pace::of_client(ex, cx);
            memory(ex, cx, bytes, &mut pace).await?;
        }
        Body::File {
            file,
            offset,
            length,
        } => {
            let mut pace = pace::Pace::of_client(ex, cx);
            from_file(ex, cx, &file, (offset, length), &mut pace).await?;
        }
    }
    end(ex, cx).await
}

/// Sends a body that comes in slices.
async fn sliced(ex: &mut Exchange, cx: Cx<'_>, mut slices: Box<Slices>) -> Result<(), ClientFault> {
    let within = cx.location(ex.location).settings.core.send_timeout;
    let buffers = &cx.local.buffers;
    if !ex.stream.wants_body() {
        slices.end_unread(ex, cx);
        return end(ex, cx).await;
    }
    let mut pace = pace::Pace::of_client(ex, cx);
    let mut piece = buffers.take(RECV_BYTES);
    let result = loop {
        match slices.next(ex, cx, &mut piece).await {
            Ok(true) => {}
            Ok(false) => break end(ex, cx).await,
            Err(slice::Broken::Origin(origin, fault)) => {
                break cut(ex, cx, origin, &fault).await;
            }
            Err(slice::Broken::Part) => {
                // What was not sent is dropped: a short answer then ends without a byte.
                ex.response.truncated = true;
                ex.close = true;
                ex.stream.set_close();
                break Ok(());
            }
        }
        let sent = match memory(ex, cx, &piece, &mut pace).await {
            Ok(()) if ex.stream.queued() < POSTPONED_BYTES => Ok(()),
            Ok(()) => ex.stream.flush(within, buffers).await,
            Err(fault) => Err(fault),
        };
        if sent.is_err() {
            slices.abandon(ex, cx);
            break sent;
        }
    };
    buffers.give(piece);
    result
}

/// Ends a body visibly without its end.
pub(super) async fn break_off(ex: &mut Exchange, cx: Cx<'_>) -> Result<(), ClientFault> {
    let within = cx.location(ex.location).settings.core.send_timeout;
    ex.response.truncated = true;
    ex.close = true;
    ex.stream.set_close();
    ex.stream.flush(within, &cx.local.buffers).await
}

/// Sends several stretches of a body, each behind its head.
async fn multipart(ex: &mut Exchange, cx: Cx<'_>, mut parts: Parts) -> Result<(), ClientFault> {
    let buffers = &cx.local.buffers;
    let mut pace = pace::Pace::of_client(ex, cx);
    let whole = std::mem::take(&mut parts.whole);
    let mut text = buffers.take(256);
    let mut result = Ok(());
    for (index, &(start, end)) in parts.ranges.iter().enumerate() {
        text.clear();
        parts.write_head(index, &mut text);
        ex.stream.queue(&text, buffers);
        // Ranges of a body in memory lie within it.
        let stretch = start as usize..end as usize;
        result = match &whole {
            Body::File { file, offset, .. } => {
                let place = (offset + start, end - start);
                from_file(ex, cx, file, place, &mut pace).await
            }
            Body::Buffer(bytes) => memory(ex, cx, &bytes[stretch], &mut pace).await,
            Body::Static(bytes) => memory(ex, cx, &bytes[stretch], &mut pace).await,
            _ => Ok(()),
        };
        if result.is_err() {
            break;
        }
    }
    text.clear();
    parts.write_tail(&mut text);
    ex.stream.queue(&text, buffers);
    buffers.give(text);
    if let Body::Buffer(bytes) = whole {
        buffers.give(bytes);
    }
    result
}

/// Sends a body that is in memory, at the client's rate.
pub(super) async fn memory(
    ex: &mut Exchange,
    cx: Cx<'_>,
    bytes: &[u8],
    pace: &mut Option<pace::Pace>,
) -> Result<(), ClientFault> {
    let within = cx.location(ex.location).settings.core.send_timeout;
    let buffers = &cx.local.buffers;
    let Some(pace) = pace else {
        for piece in bytes.chunks(QUEUE_BYTES) {
            ex.stream.queue(piece, buffers);
            if ex.stream.queued() >= QUEUE_BYTES {
                ex.stream.flush(within, buffers).await?;
            }
        }
        return Ok(());
    };
    let mut at = 0;
    while at < bytes.len() {
        let n = pace.allow_to(bytes.len() - at, &ex.stream, cx).await?;
        ex.stream.queue(&bytes[at..at + n], buffers);
        ex.stream.flush(within, buffers).await?;
        at += n;
    }
    Ok(())
}

/// Sends a stretch of a file, given as offset and length: straight from the page cache where `sendfile` is on and
/// nothing stands between, else through a buffer.
async fn from_file(
    ex: &mut Exchange,
    cx: Cx<'_>,
    file: &File,
    (offset, length): (u64, u64),
    pace: &mut Option<pace::Pace>,
) -> Result<(), ClientFault> {
    let core = &cx.location(ex.location).settings.core;
    let within = core.send_timeout;
    let buffers = &cx.local.buffers;
    let mut at = offset;
    let end = offset + length;
    if core.sendfile && ex.stream.is_plain() && length > RECV_BYTES as u64 {
        while at < end {
            let len = match pace {
                None => end - at,
                Some(pace) => {
                    let want = usize::try_from(end - at).unwrap_or(usize::MAX);
                    pace.allow_to(want, &ex.stream, cx).await? as u64
                }
            };
            let sending = Sending {
                file,
                offset: at,
                len,
                chunk: core.sendfile_max_chunk,
            };
            ex.stream.send_file(sending, within, buffers).await?;
            at += len;
        }
        return Ok(());
    }
    while at < end {
        let want = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(QUEUE_BYTES);
        let want = match pace {
            Some(pace) => pace.allow_to(want, &ex.stream, cx).await?,
            None => want,
        };
        let (result, piece) = file.read_at(buffers.take(want), at, want).await;
        match result {
            Ok(n) if n > 0 => at += n as u64,
            // The file became shorter, or cannot be read any more: the end is visibly missing.
            _ => {
                buffers.give(piece);
                log::error(
                    ex,
                    cx,
                    LogLevel::Alert,
                    format_args!("a file ended before its length while sending to client"),
                );
                ex.stream.flush(within, buffers).await?;
                return Err(ClientFault::Gone);
            }
        }
        ex.stream.queue(&piece, buffers);
        buffers.give(piece);
        if ex.stream.queued() >= QUEUE_BYTES || pace.is_some() {
            ex.stream.flush(within, buffers).await?;
        }
    }
    Ok(())
}

/// Ends the body, trailers included, and sends what is left in the queue.
pub(super) async fn end(ex: &mut Exchange, cx: Cx<'_>) -> Result<(), ClientFault> {
    queue_end(ex, cx);
    conclude(ex, cx).await
}

/// Sends what is left in the queue.
async fn conclude(ex: &mut Exchange, cx: Cx<'_>) -> Result<(), ClientFault> {
    let within = cx.location(ex.location).settings.core.send_timeout;
    if ex.stream.post(within, &cx.local.buffers) {
        return Ok(());
    }
    ex.stream.flush(within, &cx.local.buffers).await
}

fn queue_end(ex: &mut Exchange, cx: Cx<'_>) {
    filter::headers::trailers(ex, cx);
    static NONE: Fields = Fields::new();
    let trailers = ex.response.trailers.as_deref().unwrap_or(&NONE);
    ex.stream.queue_end(trailers, &cx.local.buffers);
}

/// Relays a response body from its origin.
async fn relay(ex: &mut Exchange, cx: Cx<'_>, origin: Lease) -> Result<(), ClientFault> {
    if !ex.stream.wants_body() {
        return drain(ex, cx, origin).await;
    }
    let core = &cx.location(ex.location).settings.core;
    let paced = is_paced(ex, cx);
    let facts = Facts {
        client_plain: ex.stream.is_plain() && ex.stream.is_bare(),
        origin_plain: origin.conn.is_bare(),
        origin_unframed: origin.inbound.is_unframed(),
        buffering: ex.buffering,
        filtered: false,
        stored: false,
        paced,
        wanted: core.splice != Splicing::Off,
    };
    let transfer = decide(facts);
    if paced && transfer == Transfer::Buffer {
        return spool::run(ex, cx, origin).await;
    }
    if paced {
        return paced_stream(ex, cx, origin).await;
    }
    let watched =
        transfer != Transfer::Buffer && !cx.location(ex.location).pass.ignore_client_abort;
    if watched {
        // A client that leaves takes a silent origin with it; a buffered answer is worth having.
        ex.stream.watch(origin.conn.mark());
    }
    let gait = match facts.may_splice() {
        true => gait(core.splice, &origin, transfer),
        false => Gait::new(Manner::Off),
    };
    let result = stream(ex, cx, origin, (transfer, gait), core.send_timeout).await;
    if watched {
        ex.stream.unwatch();
    }
    result
}

/// A response to HEAD, or a status without a body: nothing to relay.
async fn drain(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) -> Result<(), ClientFault> {
    proxy::skim(&mut origin);
    proxy::finish(ex, cx, origin);
    end(ex, cx).await
}

/// Bytes to receive at once while a head is waited for: where a large body may be spliced, as little of it as comes with a
/// head anyway.
pub(super) fn room_at_once(ex: &Exchange, cx: Cx<'_>, origin: &Origin) -> usize {
    let splicing = cx.location(ex.location).settings.core.splice;
    match ex.stream.is_bare() && origin.conn.is_bare() {
        true if splicing != Splicing::Off => RECV_BYTES,
        _ => usize::MAX,
    }
}

/// The common way: pieces go out as they come, copied behind the head when small, in their own buffer when large.
/// In buffered mode a client that does not keep up turns this into a spool.
async fn stream(
    ex: &mut Exchange,
    cx: Cx<'_>,
    mut origin: Lease,
    (transfer, mut gait): (Transfer, Gait),
    within: Duration,
) -> Result<(), ClientFault> {
    let buffers = &cx.local.buffers;
    let pass = &cx.location(ex.location).pass;
    // The client has stopped taking: what came meanwhile stands in its queue.
    let mut blocked = false;
    loop {
        match origin.inbound.step() {
            Ok(Step::Data) if blocked => ex.stream.queue(origin.inbound.data(), buffers),
            Ok(Step::Data) => match take_large(&mut origin) {
                Some((data, from)) => {
                    let (sent, data) = send_large(ex, cx, (data, from), transfer, within).await;
                    buffers.give(data);
                    match sent {
                        Ok(all) => blocked = !all,
                        Err(fault) => {
                            proxy::abandon(ex, cx, origin);
                            return Err(fault);
                        }
                    }
                }
                None => ex.stream.queue(origin.inbound.data(), buffers),
            },
            Ok(Step::End) => {
                if transfer != Transfer::Buffer {
                    ex.stream.unwatch();
                }
                proxy::finish(ex, cx, origin);
                return end(ex, cx).await;
            }
            Ok(Step::More) => {
                if blocked {
                    return spool::run(ex, cx, origin).await;
                }
                let splices = gait.splices() && origin.unread() > 0;
                // In buffered mode the queue leaves with what is spliced.
                let goes_along = splices && transfer == Transfer::Buffer;
                if ex.stream.queued() > 0 && !goes_along {
                    match push(ex, cx, transfer, within).await {
                        Ok(true) => {}
                        Ok(false) => return spool::run(ex, cx, origin).await,
                        Err(fault) => {
                            proxy::abandon(ex, cx, origin);
                            return Err(fault);
                        }
                    }
                }
                if splices {
                    let how = (&mut gait, goes_along);
                    match spliced::run(ex, cx, &mut origin, how).await {
                        Stopped::Copy => {}
                        Stopped::Blocked => blocked = true,
                        Stopped::Client(fault) => {
                            proxy::abandon(ex, cx, origin);
                            return Err(fault);
                        }
                        Stopped::Origin(fault) => return cut(ex, cx, origin, &fault).await,
                    }
                    continue;
                }
                proxy::notes::tell(ex, cx, &mut origin);
                let room = room(&origin, pass.buffer_bytes());
                let before = origin.inbound.received();
                match origin.receive(room, pass.read_timeout, buffers).await {
                    Ok(true) => gait.note((origin.inbound.received() - before) as usize),
                    Ok(false) if origin.inbound.ends_at_close() => {}
                    Ok(false) => return cut(ex, cx, origin, &Fault::Closed).await,
                    Err(fault) => return cut(ex, cx, origin, &fault).await,
                }
            }
            Err(fault) => return cut(ex, cx, origin, &fault).await,
        }
    }
}

/// How a body begins: one that is known to be long enough is spliced from the start. In buffered mode that is for what is
/// still to come of it, which may be all in the socket by now.
fn gait(splicing: Splicing, origin: &Origin, transfer: Transfer) -> Gait {
    let mut gait = Gait::new(spliced::manner(splicing));
    let length = match transfer {
        Transfer::Buffer => origin.inbound.to_come(),
        _ => origin.inbound.content_length(),
    };
    if let Some(length) = length {
        gait.note(usize::try_from(length).unwrap_or(usize::MAX));
    }
    gait
}

/// Sends a large piece in its own buffer. False when the client does not keep up in buffered mode: the rest of the
/// piece stands in the queue then.
async fn send_large(
    ex: &mut Exchange,
    cx: Cx<'_>,
    (data, from): (Vec<u8>, usize),
    transfer: Transfer,
    within: Duration,
) -> (Result<bool, ClientFault>, Vec<u8>) {
    let buffers = &cx.local.buffers;
    if transfer == Transfer::Buffer {
        return (ex.stream.try_send(&data[from..], buffers), data);
    }
    let (sent, data) = ex.stream.send(data, from, within, buffers).await;
    (sent.map(|()| true), data)
}

/// Sends the queue. False when the client does not keep up and the rest is worth spooling.
async fn push(
    ex: &mut Exchange,
    cx: Cx<'_>,
    transfer: Transfer,
    within: Duration,
) -> Result<bool, ClientFault> {
    if transfer == Transfer::Buffer {
        return ex.stream.try_flush(&cx.local.buffers);
    }
    ex.stream.flush(within, &cx.local.buffers).await?;
    Ok(true)
}

/// A piece that is large and alone in its buffer goes out without a copy.
fn take_large(origin: &mut Origin) -> Option<(Vec<u8>, usize)> {
    if origin.inbound.data().len() > RECV_BYTES {
        origin.inbound.take_data()
    } else {
        None
    }
}

/// Room for the next receive: the rest of the body where that is known, within `proxy_buffers`.
pub(super) fn room(origin: &Origin, bound: usize) -> usize {
    let rest = match origin.inbound.content_length() {
        Some(length) => {
            usize::try_from(length - origin.inbound.body_received()).unwrap_or(usize::MAX)
        }
        None => RECV_BYTES,
    };
    rest.clamp(1, bound.max(RECV_BYTES))
}

/// Unbuffered, with a rate cap on one side: one piece at a time.
async fn paced_stream(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) -> Result<(), ClientFault> {
    let buffers = &cx.local.buffers;
    let settings = &cx.location(ex.location).settings;
    let within = settings.core.send_timeout;
    let mut pace = pace::Pace::of_client(ex, cx);
    loop {
        match origin.inbound.step() {
            Ok(Step::Data) => {
                let mut at = 0;
                while at < origin.inbound.data().len() {
                    let left = origin.inbound.data().len() - at;
                    let n = match &mut pace {
                        Some(pace) => match pace.allow_to(left, &ex.stream, cx).await {
                            Ok(n) => n,
                            Err(fault) => {
                                proxy::abandon(ex, cx, origin);
                                return Err(fault);
                            }
                        },
                        None => left,
                    };
                    ex.stream.queue(&origin.inbound.data()[at..at + n], buffers);
                    at += n;
                    if let Err(fault) = ex.stream.flush(within, buffers).await {
                        proxy::abandon(ex, cx, origin);
                        return Err(fault);
                    }
                }
            }
            Ok(Step::End) => {
                proxy::finish(ex, cx, origin);
                return end(ex, cx).await;
            }
            Ok(Step::More) => {
                proxy::notes::tell(ex, cx, &mut origin);
                match origin
                    .receive(
                        RECV_BYTES,
                        cx.location(ex.location).pass.read_timeout,
                        buffers,
                    )
                    .await
                {
                    Ok(true) => {}
                    Ok(false) if origin.inbound.ends_at_close() => {}
                    Ok(false) => return cut(ex, cx, origin, &Fault::Closed).await,
                    Err(fault) => return cut(ex, cx, origin, &fault).await,
                }
            }
            Err(fault) => return cut(ex, cx, origin, &fault).await,
        }
    }
}

/// The origin failed in the middle of its body: what came is sent, and the end is visibly missing.
pub(super) async fn cut(
    ex: &mut Exchange,
    cx: Cx<'_>,
    origin: Lease,
    fault: &Fault,
) -> Result<(), ClientFault> {
    let within = cx.location(ex.location).settings.core.send_timeout;
    if matches!(fault, Fault::Cut) {
        let text = format_args!(
            "client prematurely closed connection, so upstream connection is closed too while reading upstream"
        );
        log::error(ex, cx, LogLevel::Info, text);
    }
    proxy::cut(ex, cx, origin, fault);
    ex.response.truncated = true;
    ex.close = true;
    ex.stream.set_close();
    ex.stream.flush(within, &cx.local.buffers).await
}

fn client_fault(ex: &mut Exchange, cx: Cx<'_>, fault: ClientFault) {
    ex.close = true;
    ex.response.truncated = true;
    ex.stream.set_close();
    match fault {
        ClientFault::TimedOut => {
            ex.client_timed_out = true;
            let text = format_args!(
                "client timed out (110: Connection timed out) while sending to client"
            );
            log::error(ex, cx, LogLevel::Info, text);
        }
        ClientFault::Gone | ClientFault::Framing(_) => {
            let text = format_args!("client closed connection while sending to client");
            log::error(ex, cx, LogLevel::Info, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, Transfer, decide};

    #[test]
    fn the_table_of_facts() {
        let bare = Facts {
            client_plain: true,
            origin_plain: true,
            origin_unframed: true,
            buffering: false,
            filtered: false,
            stored: false,
            paced: false,
            wanted: true,
        };
        let cases = [
            (bare, Transfer::Splice),
            (
                Facts {
                    buffering: true,
                    ..bare
                },
                Transfer::Buffer,
            ),
            (
                Facts {
                    buffering: true,
                    paced: true,
                    ..bare
                },
                Transfer::Buffer,
            ),
            (
                Facts {
                    client_plain: false,
                    ..bare
                },
                Transfer::Stream,
            ),
            (
                Facts {
                    origin_plain: false,
                    ..bare
                },
                Transfer::Stream,
            ),
            (
                Facts {
                    origin_unframed: false,
                    ..bare
                },
                Transfer::Stream,
            ),
            (
                Facts {
                    filtered: true,
                    ..bare
                },
                Transfer::Stream,
            ),
            (
                Facts {
                    stored: true,
                    ..bare
                },
                Transfer::Stream,
            ),
            (
                Facts {
                    paced: true,
                    ..bare
                },
                Transfer::Stream,
            ),
            (
                Facts {
                    wanted: false,
                    ..bare
                },
                Transfer::Stream,
            ),
        ];
        for (facts, want) in cases {
            assert_eq!(decide(facts), want, "{facts:?}");
        }
    }
}
