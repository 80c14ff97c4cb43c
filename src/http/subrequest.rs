//! Requests that a request makes: `auth_request`, `mirror`, slices, includes.
//!
//! A subrequest is an [`Exchange`] of its own, made from its parent's, that runs through the same stages. Its client is
//! the parent ([`Stream::Inner`]): what it answers is read piece by piece, or only its status and fields are looked at.
//! It runs while its parent polls it, and ends when its parent lets go of it; one that nobody waits for gets a task.
//! Knows none of the features that make subrequests. Start at [`Subrequest::start`].

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::debug::debug;
use super::exchange::{BodyFile, Exchange, RequestBody};
use super::filter::charset;
use super::local::{Cx, Generation, Local};
use super::log::{self, Text};
use super::{flow, route, transfer};
use crate::base::buf::BufPool;
use crate::front::Stream;
use crate::front::inner::{Behind, Hatch, Head, Inner};
use crate::net::join;
use crate::net::notify::Notify;
use crate::net::runtime;
use crate::plan::model::LogLevel;
use crate::proto::head::Method;

/// Subrequests inside each other before it is taken for a cycle, as in nginx.
const DEPTH_MAX: u8 = 50;

/// Exchanges that a shard keeps for later subrequests.
const KEPT_MAX: usize = 256;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// `$uri`, normalised.
    pub uri: &'a [u8],
    /// `$args`.
    pub args: &'a [u8],
    /// The parent's method instead of GET.
    pub same_method: bool,
    /// Goes with the parent's body, if that was read.
    pub with_body: bool,
    /// What of the answer is of interest.
    pub wanted: Wanted,
    /// Where it begins.
    pub entry: Entry,
}

/// What of a subrequest's answer is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Status and fields; no byte of its body is read for it.
    Head,
    /// Everything: [`Subrequest::next`].
    Body,
}

/// Where a subrequest begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// At the server's rewrite rules, as an internal redirect does.
    Server,
    /// In its parent's location, with the content.
    Content,
}

/// Subrequests nest too deeply: told in the log, and 500 for the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle;

/// A subrequest's body ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Boxed, because a subrequest's future holds one of the parent's kind.
type Run = Pin<Box<dyn Future<Output = Box<Exchange>>>>;

/// A subrequest that its parent waits for. One that is dropped ends at once.
pub struct Subrequest {
    run: Option<Run>,
    hatch: Option<Rc<Hatch>>,
    ended: Option<Box<Exchange>>,
}

/// Subrequests that their parent does not wait for.
#[derive(Default)]
pub struct Background {
    running: Cell<usize>,
    changed: Notify,
}

impl Subrequest {
    /// Makes a subrequest. It does nothing until it is waited for.
    pub fn start(parent: &Exchange, cx: Cx<'_>, spec: &Spec<'_>) -> Result<Self, Cycle> {
        let hatch = match spec.wanted {
            Wanted::Head => None,
            Wanted::Body => Some(Rc::default()),
        };
        let exchange = make(parent, cx, spec, hatch.clone(), parent.stream.behind())?;
        Ok(Self {
            run: Some(boxed(exchange, spec.entry, cx)),
            hatch,
            ended: None,
        })
    }

    /// Lets it run until it waits for something. True when it has ended.
    fn poll_run(&mut self, task: &mut Context<'_>) -> bool {
        if let Some(run) = &mut self.run
            && let Poll::Ready(exchange) = run.as_mut().poll(task)
        {
            self.run = None;
            self.ended = Some(exchange);
        }
        self.run.is_none()
    }

    /// Waits for the head of its answer; none when it ends without one. Can be asked once, and only where the body is
    /// wanted.
    pub async fn head(&mut self) -> Option<Head> {
        let hatch = self.hatch.clone()?;
        poll_fn(|task| {
            let ready = hatch.has_head() || self.poll_run(task) || hatch.has_head();
            match ready {
                true => Poll::Ready(hatch.take_head()),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for the next piece of its body and appends it to `out`. False when that was all of it.
    pub async fn next(&mut self, out: &mut Vec<u8>, buffers: &BufPool) -> Result<bool, Broken> {
        let Some(hatch) = self.hatch.clone() else {
            return Ok(false);
        };
        let piece = poll_fn(|task| {
            let ended = self.poll_run(task);
            match hatch.take() {
                None if !ended => Poll::Pending,
                piece => Poll::Ready(piece),
            }
        })
        .await;
        match piece {
            Some(piece) if out.is_empty() => {
                buffers.give(std::mem::replace(out, piece));
                Ok(true)
            }
            Some(piece) => {
                buffers.grow(out, out.len() + piece.len());
                out.extend_from_slice(&piece);
                buffers.give(piece);
                Ok(true)
            }
            None if self.ended.as_ref().is_some_and(|ex| is_whole(ex)) => Ok(false),
            None => Err(Broken),
        }
    }

    /// Waits for its end and throws away what was not read. Its parent gets the variables back.
    pub async fn finish(mut self, parent: &mut Exchange) -> Ended {
        let hatch = self.hatch.clone();
        let mut exchange = poll_fn(|task| {
            loop {
                if self.poll_run(task)
                    && let Some(exchange) = self.ended.take()
                {
                    return Poll::Ready(exchange);
                }
                if hatch.as_ref().and_then(|hatch| hatch.take()).is_none() {
                    return Poll::Pending;
                }
            }
        })
        .await;
        exchange.vars.hand_over(&mut parent.vars);
        Ended(exchange)
    }
}

/// A subrequest that is over.
pub struct Ended(Box<Exchange>);

impl Ended {
    /// What became of it, for variables to be read.
    pub fn exchange(&mut self) -> &mut Exchange {
        &mut self.0
    }

    /// Its final status; none when it ended without an answer, which ends its parent's connection too.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let response = &self.0.response;
        response.head_sent.then_some(response.status)
    }

    /// Lets go of it.
    pub fn release(self, cx: Cx<'_>) {
        keep(self.0, cx);
    }
}

/// Whether the answer was given to its end.
fn is_whole(ex: &Exchange) -> bool {
    ex.response.head_sent && !ex.response.truncated
}

/// Starts a subrequest that nobody waits for but the log line of its parent.
pub fn detach(parent: &mut Exchange, cx: Cx<'_>, spec: &Spec<'_>) -> Result<(), Cycle> {
    // It goes on when the client leaves.
    let exchange = make(parent, cx, spec, None, Behind::Nobody)?;
    let background = parent.background.get_or_insert_default().clone();
    background.running.set(background.running.get() + 1);
    set_off(exchange, spec.entry, cx, move || {
        background.running.set(background.running.get() - 1);
        background.changed.notify();
    });
    Ok(())
}

/// The same for one that only a connection waits for which ends anyway; `prepare` is shown its exchange before it begins.
pub fn behind(
    parent: &mut Exchange,
    cx: Cx<'_>,
    spec: &Spec<'_>,
    prepare: impl FnOnce(&mut Exchange),
) -> Result<(), Cycle> {
    let mut exchange = make(parent, cx, spec, None, Behind::Nobody)?;
    prepare(&mut exchange);
    let ends = parent.close || !parent.head.wants_keep_alive();
    let background = ends.then(|| parent.background.get_or_insert_default().clone());
    if let Some(background) = &background {
        background.running.set(background.running.get() + 1);
    }
    set_off(exchange, spec.entry, cx, move || {
        if let Some(background) = background {
            background.running.set(background.running.get() - 1);
            background.changed.notify();
        }
    });
    Ok(())
}

/// Gives a subrequest a task of its own.
fn set_off(exchange: Box<Exchange>, entry: Entry, cx: Cx<'_>, ended: impl FnOnce() + 'static) {
    let run = boxed(exchange, entry, cx);
    let (generation, local) = (cx.generation.clone(), cx.local.clone());
    runtime::spawn(async move {
        // It must not take the shard along.
        match join::catch(|| run).await {
            Ok(exchange) => keep(exchange, Cx::new(&generation, &local)),
            Err(message) => {
                let text = format_args!("a subrequest was dropped: {message}");
                let logs = &generation.plan.error_logs;
                generation.logs.error_all(logs, LogLevel::Alert, text);
            }
        }
        ended();
    });
}

/// Waits for the subrequests that nobody reads: as in nginx a request is over, and logged, when they are. Nobody waits
/// for them on behalf of a client that has left.
pub async fn outlast(ex: &mut Exchange) {
    let Some(background) = ex.background.take() else {
        return;
    };
    while background.running.get() > 0 && is_whole(ex) {
        background.changed.wait().await;
    }
}

/// Fills an exchange for a subrequest.
fn make(
    parent: &Exchange,
    cx: Cx<'_>,
    spec: &Spec<'_>,
    hatch: Option<Rc<Hatch>>,
    behind: Behind,
) -> Result<Box<Exchange>, Cycle> {
    if parent.depth >= DEPTH_MAX {
        let uri = Text(spec.uri);
        let text = format_args!("subrequests cycle while processing \"{uri}\"");
        log::error(parent, cx, LogLevel::Error, text);
        return Err(Cycle);
    }
    let pooled = cx.local.subrequests.borrow_mut().pop();
    let mut sub = pooled.unwrap_or_else(|| Box::new(Exchange::new(parent.conn.clone())));
    sub.conn = parent.conn.clone();
    sub.real_client.clone_from(&parent.real_client);
    sub.stream = Stream::Inner(Box::new(Inner::new(hatch, behind)));
    sub.head.clone_from(&parent.head);
    sub.head.has_args = !spec.args.is_empty();
    sub.head.upgrade = false;
    sub.head.expect_100 = false;
    sub.server = parent.server;
    sub.location = parent.location;
    sub.debug = parent.debug;
    debug!(parent, cx, "http subrequest \"{}\"", Text(spec.uri));
    sub.uri.extend_from_slice(spec.uri);
    sub.args.extend_from_slice(spec.args);
    sub.host.extend_from_slice(&parent.host);
    sub.host_port = parent.host_port;
    sub.depth = parent.depth + 1;
    sub.main_method = match parent.is_subrequest() {
        true => parent.main_method,
        false => parent.method,
    };
    charset::hand_down(parent, &mut sub);
    sub.method = match spec.same_method {
        true => parent.method,
        false => Method::Get,
    };
    sub.target_unchanged = false;
    sub.internal = true;
    sub.started = cx.local.clock.mono();
    sub.vars.inherit(&parent.vars);
    sub.limits.inherit(&parent.limits);
    sub.ssi = parent.ssi.inherited();
    // Differs from nginx: a length is not announced for a body that is not passed on.
    sub.body = match spec.with_body {
        true => share(&parent.body),
        false => RequestBody::Gone,
    };
    sub.discard_body = parent.discard_body;
    if spec.entry == Entry::Content {
        sub.reroutes_left = route::REROUTES;
        sub.rewritten_in_place = parent.rewritten_in_place;
        sub.uri_is_below_alias = parent.uri_is_below_alias;
        sub.target_unchanged = parent.target_unchanged;
        sub.internal = parent.internal;
        sub.vars.take_captures(&parent.vars);
        sub.slicing = parent.slicing;
    } else {
        sub.head.quoted = false;
        sub.head.plus = false;
    }
    Ok(sub)
}

/// The parent's body once more.
fn share(body: &RequestBody) -> RequestBody {
    match body {
        RequestBody::Memory(bytes) => RequestBody::Memory(bytes.clone()),
        RequestBody::File(held) => match held.file.share() {
            Ok(file) => RequestBody::File(Box::new(BodyFile {
                file,
                length: held.length,
                path: held.path.clone(),
                removed: false,
            })),
            Err(_) => RequestBody::Gone,
        },
        RequestBody::Unread | RequestBody::Gone => RequestBody::Gone,
    }
}

fn boxed(exchange: Box<Exchange>, entry: Entry, cx: Cx<'_>) -> Run {
    Box::pin(run(
        exchange,
        entry,
        cx.generation.clone(),
        cx.local.clone(),
    ))
}

/// A subrequest from its target to its log line.
async fn run(
    mut exchange: Box<Exchange>,
    entry: Entry,
    generation: Rc<Generation>,
    local: Rc<Local>,
) -> Box<Exchange> {
    let cx = Cx::new(&generation, &local);
    let ex = &mut *exchange;
    let flow = match entry {
        Entry::Server => route::inside(ex, cx).await,
        Entry::Content => super::content::run(ex, cx).await,
    };
    if flow::go_on(ex, flow, cx).await {
        transfer::send(ex, cx).await;
    }
    if cx.location(ex.location).settings.subrequests.log_subrequest {
        log::line(ex, cx);
    }
    exchange
}

/// Keeps an exchange for the next subrequest.
fn keep(mut exchange: Box<Exchange>, cx: Cx<'_>) {
    drop(exchange.end(&cx.local.buffers));
    let mut kept = cx.local.subrequests.borrow_mut();
    if kept.len() < KEPT_MAX {
        kept.push(exchange);
    }
}
