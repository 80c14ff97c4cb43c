//! HTTP/2 connections: each request is served by a task of its own beside the connection's.

use std::fmt;
use std::rc::Rc;

use super::{Client, Home, Http, Job, limits, serve as serve_job};
use crate::base::base64;
use crate::front::h2::{Closed, Conn, Next, Times};
use crate::front::{Refusal, Stream};
use crate::http::local::{Generation, Local};
use crate::net::clock;
use crate::net::join::catch;
use crate::net::runtime;
use crate::observe::counters::{Count, Gauge};
use crate::observe::entry::{Entry, Fact};
use crate::plan::model::{Core, LogLevel, Settings};
use crate::proto::h1::parse::HeadLimits;
use crate::proto::h2::conn::{CONNECTION_WINDOW, Config, Fatal};
use crate::proto::h2::frame::FRAME_MAX;
use crate::proto::h2::header::Received;
use crate::proto::h2::streams::Key;
use crate::proto::head::RequestHead;
use crate::proto::tokens::Token;
use crate::shard::{Event, Serve, Shard};

/// What a connection goes by: the settings of its address's default server.
fn settings<'a>(
    generation: &'a Generation,
    home: &Home,
    conn: &crate::front::ConnInfo,
) -> Option<&'a Settings> {
    let plan = &generation.plan;
    let address = plan
        .listeners
        .get(home.now.get()?)?
        .address(conn.local.ip());
    let server = &plan.servers[conn.entry(address, generation.epoch)];
    Some(&plan.locations[server.root].settings)
}

fn config(settings: &Settings, limits: &HeadLimits) -> Config {
    Config {
        streams_max: settings.http2.http2_max_concurrent_streams.max(1),
        window: settings.http2.http2_body_preread_size,
        connection_window: CONNECTION_WINDOW,
        unread_max: CONNECTION_WINDOW.into(),
        // As nginx: whoever likes large frames may send them. Bodies are passed on as they come all the same.
        frame_max: FRAME_MAX,
        head_bytes_max: limits.bytes_max(),
        connect_protocol: true,
    }
}

/// Serves a connection whose client has sent HTTP/2's preface, until it ends.
pub(super) async fn serve(shard: Rc<Shard<Http>>, client: Client) {
    let service = &shard.service;
    let Client {
        conn,
        home,
        _active,
        ..
    } = client;
    let Some(generation) = service.generation() else {
        return;
    };
    let Some(of_connection) = settings(&generation, &home, &conn.info) else {
        return;
    };
    let config = config(of_connection, &limits(&of_connection.core));
    let info = conn.info.clone();
    let (socket, input, at) = conn.into_parts();
    let mut conn = Conn::new(socket, info, input, at, config);
    let _listed = Listed::new(&shard, &conn);
    let mut times = times(&of_connection.core);
    let epoch = generation.epoch;
    drop(generation);
    loop {
        // What this connection has agreed on belongs to the configuration that it began with: the client is asked to come
        // again, as nginx asks.
        let current = service.generation().is_some_and(|g| g.epoch == epoch);
        if (shard.draining() || !current) && !conn.is_leaving() {
            conn.leave();
        }
        match conn.next(times, &service.local.buffers).await {
            Next::Turn => {}
            Next::Head { stream } => {
                let Some(new) = begin(&shard, &mut conn, &home, stream) else {
                    continue;
                };
                times = new;
            }
            Next::Closed(closed) => {
                if let Closed::Fatal(fatal) = closed {
                    tell(service, &home, &conn, fatal);
                }
                if matches!(closed, Closed::Fatal(_) | Closed::Left) {
                    conn.linger(&service.local.buffers).await;
                }
                return;
            }
        }
    }
}

/// A connection's place in the list of those that a drain tells.
struct Listed {
    shard: Rc<Shard<Http>>,
    place: usize,
}

impl Listed {
    fn new(shard: &Rc<Shard<Http>>, conn: &Conn) -> Self {
        let place = shard.service.alarms.borrow_mut().insert(conn.alarm());
        Self {
            shard: shard.clone(),
            place,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shard.service.alarms.borrow_mut().remove(self.place);
    }
}

fn times(core: &Core) -> Times {
    Times {
        head: core.client_header_timeout,
        idle: core.keepalive_timeout.timeout,
        send: core.send_timeout,
    }
}

/// Starts serving a request; returns what the connection goes by from now on.
fn begin(shard: &Rc<Shard<Http>>, conn: &mut Conn, home: &Rc<Home>, stream: Key) -> Option<Times> {
    let service = &shard.service;
    let generation = service.generation()?;
    let info = conn.info().clone();
    let Some(settings) = settings(&generation, home, &info) else {
        conn.leave();
        return None;
    };
    let core = &settings.core;
    let times = times(core);
    let limits = limits(core);
    let (requests_max, life) = (core.keepalive_requests, core.keepalive_time);
    if let Some(listener) = home.now.get() {
        info.listener.set(listener);
    }
    let mut exchange = service.take(&info);
    let mut head = std::mem::take(&mut exchange.head);
    let read = conn.read_head(stream, &mut head, &limits);
    exchange.request_length = head.wire_len.into();
    if let Some((_, Ok(Received { websocket: true }))) = read {
        add_key(&mut head, &service.local);
    }
    exchange.head = head;
    let Some((mut handle, received)) = read else {
        service.give(exchange);
        return None;
    };
    let age = service.local.clock.mono().since(info.accepted);
    if info.requests.get() >= requests_max || age >= life {
        conn.leave();
    }
    service.local.counters.count(Count::Requests);
    exchange.started = service.local.clock.mono();
    exchange.started_us = clock::micros();
    let refused = received.err().map(Refusal::Bad);
    if refused.is_some() {
        handle.refuse();
    }
    exchange.conn = info;
    exchange.stream = Stream::H2(Box::new(handle));
    let job = Job {
        exchange,
        refused,
        generation,
        local: service.local.clone(),
    };
    runtime::spawn(run(shard.clone(), job));
    Some(times)
}

/// An origin that speaks HTTP/1 wants a key, which clients of HTTP/2 do not send (RFC 8441 §5).
fn add_key(head: &mut RequestHead, local: &Local) {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&local.random().to_be_bytes());
    nonce[8..].copy_from_slice(&local.random().to_be_bytes());
    let mut key = Vec::with_capacity(24);
    base64::encode(&nonce, &mut key);
    head.fields.set(Token::SEC_WEBSOCKET_KEY, &key);
}

/// Serves one request to its end.
async fn run(shard: Rc<Shard<Http>>, job: Job) {
    let service = &shard.service;
    let counters = &service.local.counters;
    counters.raise(Gauge::Writing);
    let served = catch(|| service.workers.run(job, serve_job)).await;
    counters.lower(Gauge::Writing);
    match served {
        Ok(mut exchange) => {
            // Letting go of the stream ends it, in whatever state it is.
            drop(exchange.end(&service.local.buffers));
            service.give(exchange);
        }
        Err(message) => Http::event(&shard, Event::Panicked(&message)),
    }
}

/// One log line for a connection that broke a rule.
fn tell(service: &Http, home: &Home, conn: &Conn, fatal: Fatal) {
    let Some(generation) = service.generation() else {
        return;
    };
    let plan = &generation.plan;
    let info = conn.info();
    let Some(listener) = home
        .now
        .get()
        .and_then(|listener| plan.listeners.get(listener))
    else {
        return;
    };
    let address = listener.address(info.local.ip());
    let logs = &plan.locations[plan.servers[address.names.default_server()].root].error_logs;
    let (client, server) = (info.remote.to_string(), info.local.to_string());
    let fact = |name, value| Fact {
        name,
        value,
        quoted: false,
    };
    let tell = |message: fmt::Arguments<'_>| {
        let entry = Entry {
            level: LogLevel::Info,
            connection: info.number,
            trace: b"",
            message,
            facts: &[
                fact("client", client.as_bytes()),
                fact("server", server.as_bytes()),
            ],
        };
        generation.logs.tell(logs, info.debug, &entry);
    };
    match fatal {
        Fatal::Broken(code, why) => {
            tell(format_args!("client broke HTTP/2: {why} ({})", code.name()));
        }
        Fatal::Flood(flood) => {
            service.local.counters.count_flood(flood as usize);
            let what = flood.name();
            tell(format_args!("http2 flood detected: too many {what}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::counters::FLOODS;
    use crate::proto::h2::guard::Flood;

    #[test]
    fn floods_have_one_name() {
        for flood in [
            Flood::Resets,
            Flood::Empty,
            Flood::Answered,
            Flood::Windows,
            Flood::Continuations,
            Flood::Unread,
            Flood::HeaderBlock,
        ] {
            assert_eq!(FLOODS[flood as usize], flood.name());
        }
        assert_eq!(FLOODS.len(), Flood::COUNT);
    }
}
