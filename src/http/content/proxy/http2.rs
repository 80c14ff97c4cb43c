//! One attempt over HTTP/2: a stream for it, the request on its way, the response's head. The wire of
//! `proxy_http_version 2` and of gRPC.
//!
//! Unlike with HTTP/1 the request's body goes on while the answer is passed on: what is in memory stands in the
//! machine, within its flow control, and the rest is sent by an [`super::upload`]. Start at [`exchange`].

use super::super::super::body;
use super::super::super::exchange::{Exchange, RequestBody};
use super::super::super::flow::Flow;
use super::super::super::local::{Cx, Lent};
use super::upload::{self, Source, Upload};
use super::{Failure, Request, Rest, open, send};
use crate::front::Stream;
use crate::net::join::{First, race};
use crate::plan::location::ProxyPlan;
use crate::upstream::connect::{self, Unreached, acquire_stream};
use crate::upstream::h2::Turn;
use crate::upstream::origin::{Fault, HeadRead, Link, Origin};
use crate::upstream::selection::Selection;
use crate::upstream::trouble::Action;
use std::pin::pin;

/// A stream: of a connection that is there, or the first one of a new connection.
pub(super) async fn obtain(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    request: &Request,
    selection: &mut Selection,
) -> Result<Link, Unreached> {
    let pool = &cx.generation.pool;
    let deadlines = &cx.local.deadlines;
    let (now, word) = (cx.local.clock.mono(), cx.local.random());
    let whose = request.whose(ex.location);
    if let Some(handle) = acquire_stream(selection, pool, whose, deadlines, (now, word))? {
        return Ok(Link::Shared(Box::new(handle)));
    }
    let identity = request.tls.as_ref().map(|dial| dial.identity.clone());
    let opening = match connect::turn(selection, pool, whose, identity) {
        Turn::Open(opening) => Some(opening),
        Turn::Alone => None,
        Turn::Wait(flight) => {
            // As long as an own one might take. Boxed, because it is rare.
            let within = cx.location(ex.location).pass.connect_timeout;
            Box::pin(flight.landed(within)).await;
            let now = cx.local.clock.mono();
            if let Some(handle) = connect::join_stream(selection, pool, whose, deadlines, now) {
                return Ok(Link::Shared(Box::new(handle)));
            }
            None
        }
    };
    let conn = open(ex, cx, plan, request, selection, now).await?;
    let lent = Lent(cx.local.clone());
    let handle = connect::speak_h2(*conn, pool, ex.location, deadlines, lent)?;
    drop(opening);
    Ok(Link::Shared(Box::new(handle)))
}

/// Sends the request and reads the response's head. Interim heads are dropped or relayed.
pub(super) async fn exchange(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    request: &mut Request,
    origin: &mut Origin,
) -> Result<(), Failure> {
    let inline = begin(ex, cx, request, origin).await?;
    request.sent = true;
    let head = if inline {
        read_beside(ex, cx, request, origin).await
    } else {
        read_head(ex, cx, origin).await
    };
    if let Some(upload) = &ex.upload {
        request.body_taken |= upload.is_taken();
    }
    let _ = plan;
    let fault = match head {
        Ok(()) => return Ok(()),
        Err(Failure::Peer(Fault::Stopped, action)) => (Fault::Stopped, action),
        Err(other) => return Err(other),
    };
    match ex.upload.as_ref().and_then(|upload| upload.why()) {
        Some(upload::Stopped::Client(fault)) => {
            Err(Failure::Client(body::client_fault(ex, cx, fault)))
        }
        Some(upload::Stopped::TooLarge) => Err(Failure::Client(Flow::Error(413))),
        Some(upload::Stopped::TimedOut) => Err(Failure::Peer(Fault::TimedOut, Action::Sending)),
        Some(upload::Stopped::File | upload::Stopped::Over) | None => {
            Err(Failure::Peer(fault.0, fault.1))
        }
    }
}

/// Sends the head, and what is in memory of the body. True when the rest is to be read from the client beside the
/// answer's head: one over HTTP/1 cannot be read and written by two.
async fn begin(
    ex: &mut Exchange,
    cx: Cx<'_>,
    request: &mut Request,
    origin: &mut Origin,
) -> Result<bool, Failure> {
    let mut held = None;
    if request.rest == Rest::Held {
        held = match &ex.body {
            RequestBody::Memory(_) => None,
            _ => send::small_body(ex, cx).await,
        };
    }
    let Some(handle) = origin.conn.shared() else {
        return Err(Failure::Peer(Fault::Closed, Action::Sending));
    };
    let bytes = &request.bytes;
    let head_len = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let (head, first) = bytes.split_at(head_len);
    let whole = request.rest == Rest::None;
    let scheme: &[u8] = match request.tls {
        Some(_) => b"https",
        None => b"http",
    };
    handle.send_head(head, scheme, whole && first.is_empty());
    if whole {
        if !first.is_empty() {
            handle.send_rest(first);
        }
        return Ok(false);
    }
    if let Some(body) = held {
        handle.send_rest(&body);
        cx.local.buffers.give(body);
        return Ok(false);
    }
    let source = match (&ex.body, &mut ex.stream) {
        (RequestBody::Memory(body), _) => {
            handle.send_rest(body);
            return Ok(false);
        }
        (RequestBody::File(body), _) => match body.file.share() {
            Ok(file) => Source::File {
                file,
                length: body.length,
            },
            Err(error) => return Err(Failure::Peer(Fault::Local(error), Action::Sending)),
        },
        (_, Stream::H2(client)) => Source::Client(client.split()),
        _ => {
            handle.send_part(first);
            return Ok(true);
        }
    };
    handle.send_part(first);
    let rules = upload::Rules::of(ex, cx);
    ex.upload = Some(Upload::start(
        source,
        handle.sink(),
        rules,
        cx.local.clone(),
    ));
    Ok(false)
}

/// Reads heads until the final one.
async fn read_head(ex: &mut Exchange, cx: Cx<'_>, origin: &mut Origin) -> Result<(), Failure> {
    let pass = &cx.location(ex.location).pass;
    loop {
        let read = origin
            .read_stream_head(pass.buffer_size, pass.send_timeout, pass.read_timeout)
            .await;
        match read {
            Ok(HeadRead::Final) => return Ok(()),
            Ok(HeadRead::Interim | HeadRead::Notes) => send::interim(ex, cx, origin).await?,
            Err(fault) => return Err(Failure::Peer(fault, action(origin))),
        }
    }
}

/// The same while a client over HTTP/1 sends its body. What comes after an early answer is not read.
async fn read_beside(
    ex: &mut Exchange,
    cx: Cx<'_>,
    request: &mut Request,
    origin: &mut Origin,
) -> Result<(), Failure> {
    let Some(sink) = origin.conn.shared().map(|handle| handle.sink()) else {
        return Err(Failure::Peer(Fault::Closed, Action::Sending));
    };
    let rules = upload::Rules::of(ex, cx);
    let pass = &cx.location(ex.location).pass;
    let before = ex.stream.body_received();
    let (stopped, head) = {
        let client = &mut ex.stream;
        let mut sending = pin!(upload::from_client(
            client,
            &sink,
            &rules,
            &cx.local.buffers
        ));
        let mut reading = pin!(async {
            loop {
                let read = origin
                    .read_stream_head(pass.buffer_size, pass.send_timeout, pass.read_timeout)
                    .await;
                match read {
                    Ok(HeadRead::Final) => return Ok(()),
                    Ok(HeadRead::Interim | HeadRead::Notes) => origin.inbound.head.clear(),
                    Err(fault) => return Err(Failure::Peer(fault, action(origin))),
                }
            }
        });
        match race(sending.as_mut(), reading.as_mut()).await {
            First::Right(head) => (None, Some(head)),
            First::Left(Ok(())) => (None, Some(reading.await)),
            // An origin that wants no more of it says why.
            First::Left(Err(upload::Stopped::Over)) => (None, Some(reading.await)),
            First::Left(Err(stopped)) => (Some(stopped), None),
        }
    };
    let taken = ex.stream.body_received() - before;
    ex.request_length += taken;
    request.body_taken |= taken > 0;
    if ex.stream.body_done() {
        if taken > 0 {
            ex.body = RequestBody::Gone;
        }
    } else {
        // The rest of the body cannot be told from the next request.
        ex.close = true;
    }
    match (stopped, head) {
        (Some(upload::Stopped::Client(fault)), _) => {
            Err(Failure::Client(body::client_fault(ex, cx, fault)))
        }
        (Some(upload::Stopped::TooLarge), _) => Err(Failure::Client(Flow::Error(413))),
        (Some(_), _) => Err(Failure::Peer(Fault::TimedOut, Action::Sending)),
        (None, Some(head)) => head,
        (None, None) => Ok(()),
    }
}

/// What was being done when it went wrong.
fn action(origin: &Origin) -> Action {
    match origin.conn.shared() {
        Some(handle) if handle.is_sending() => Action::Sending,
        _ => Action::ReadingHead,
    }
}
