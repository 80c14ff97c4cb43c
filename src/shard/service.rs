//! What a shard does with a connection: reads requests from it and hands each to `http::flow::serve`.
//!
//! The loop that a connection waits in is small; an exchange and its future come from pools for as long as a request
//! lasts. Start at [`Http::connection`].

mod h2;
mod lines;
mod named;
mod said;
mod stream;
mod tls;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use self::said::Said;
use self::stream::Sorted;
use self::tls::{Begun, Newcomer};
use super::pool::Workers;
use super::{After, Begin, Event, Serve, Shard};
use crate::base::buf::BufPool;
use crate::cache::Cache;
use crate::front::accept::{self, Broken};
use crate::front::h1::{Conn, Decoded, Ending, Waited};
use crate::front::h2::Alarm;
use crate::front::{ConnInfo, Refusal, Stream};
use crate::http::access::Limits;
use crate::http::exchange::Exchange;
use crate::http::health::{self, Health};
use crate::http::local::{Generation, Local};
use crate::http::log::{Errno, Text};
use crate::http::{console, flow, stapling, tunnel};
use crate::mail::{Found, Mail, NewPlan, PeerState, Seat, Target};
use crate::net::Addr;
use crate::net::clock::Clock;
use crate::net::listener::Accepted;
use crate::net::splice::Pipes;
use crate::net::stream::Idle;
use crate::net::tls::Shelf;
use crate::net::{clock, runtime};
use crate::observe::counters::{Count, Gauge, Held};
use crate::observe::scribe::Files;
use crate::observe::{Counters, Desk, Logs, Scribe};
use crate::plan::location::LocationPlan;
use crate::plan::model::{Core, LingeringClose, LogLevel};
use crate::plan::{AddressPlan, ListenAddr, ListenerId, Plan};
use crate::proto::h1::parse::HeadLimits;
use crate::upstream::Sessions;
use crate::upstream::health::HealthNote;

/// Exchanges that wait, at most.
const EXCHANGES_MAX: usize = 1024;

/// How often logs are handed over, health is told and replaced generations are looked at.
const TICK: Duration = Duration::from_millis(20);

/// Ticks without splicing after which pipes are given back.
const PIPES_REST: u32 = 50;

/// One request for a worker.
struct Job {
    exchange: Box<Exchange>,
    refused: Option<Refusal>,
    generation: Rc<Generation>,
    local: Rc<Local>,
}

/// A request whose head is being read.
struct Reading {
    exchange: Box<Exchange>,
    generation: Rc<Generation>,
    /// What its head is, once it has come as a whole.
    decoded: Option<Decoded>,
}

/// A listening address over reloads: its connections outlive the plan that numbered it.
struct Home {
    addr: ListenAddr,
    /// Its number in the current plan; none when that does not listen there any more.
    now: Cell<Option<ListenerId>>,
}

/// How long a connection waits for its next request in the task that served the last one; those that wait longer move
/// to a task that holds little more than the socket.
const PATIENCE: Duration = Duration::from_millis(400);

/// A client's connection between two requests.
pub struct Client {
    conn: Box<Conn>,
    home: Rc<Home>,
    /// It may speak HTTP/2 instead.
    speaks: Speaks,
    /// How long the next request may take to begin.
    within: Duration,
    _active: Held,
}

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    H1,
    H2,
    /// Its first bytes tell.
    Either,
}

impl Client {
    /// Whether it speaks HTTP/2; none when it says nothing in time.
    async fn speaks_h2(&mut self, service: &Http) -> Option<bool> {
        match self.speaks {
            Speaks::H1 => Some(false),
            Speaks::H2 => Some(true),
            Speaks::Either => {
                let buffers = &service.local.buffers;
                self.conn.speaks_h2(self.within, buffers).await
            }
        }
    }
}

/// An HTTP proxy on one shard.
pub struct Http {
    local: Rc<Local>,
    desk: Rc<Desk>,
    scribe: Scribe,
    shelf: Shelf,
    generation: RefCell<Option<Rc<Generation>>>,
    workers: Workers<Job, Box<Exchange>>,
    #[expect(
        clippy::vec_box,
        reason = "an exchange is handed to a task as a box and must not move"
    )]
    exchanges: RefCell<Vec<Box<Exchange>>>,
    homes: RefCell<Vec<Rc<Home>>>,
    /// Connections of HTTP/2, which a drain tells.
    alarms: RefCell<Slab<Alarm>>,
    /// What was found for a plan that has not come yet.
    early: RefCell<Vec<Arc<Found>>>,
    /// The next connection's number.
    next: Cell<u64>,
    /// How many shards take numbers in turn.
    shards: u64,
}

impl Http {
    /// A shard's service; it answers nothing before its first plan comes.
    #[must_use]
    pub fn new(parts: &super::Parts, counters: Counters, scribe: Scribe, seed: u64) -> Self {
        let (clock, room) = (Clock::new(), parts.room);
        let seat = || Seat::among(parts.outbox.clone());
        Self {
            desk: Desk::new(scribe.clone(), Clock::new()),
            local: Rc::new(
                Local::new(clock, parts.deadlines.clone(), counters, seed)
                    .sharing(
                        Limits::new(seat()),
                        Cache::new(seat()),
                        (Sessions::new(seat()), Health::new(seat())),
                    )
                    .with_pools(
                        BufPool::bounded(room.buffers, room.buffer_bytes),
                        Pipes::sized(room.pipe_bytes),
                    ),
            ),
            scribe,
            shelf: Shelf::default(),
            generation: RefCell::new(None),
            workers: Workers::new(),
            exchanges: RefCell::new(Vec::new()),
            homes: RefCell::new(Vec::new()),
            alarms: RefCell::new(Slab::new()),
            early: RefCell::default(),
            next: Cell::new(u64::from(parts.index.0) + 1),
            // Every target but control is a shard.
            shards: (parts.outbox.targets() as u64).saturating_sub(1).max(1),
        }
    }

    /// The same with a shelf that holds the TLS of each epoch.
    #[must_use]
    pub fn taking_tls_from(mut self, shelf: Shelf) -> Self {
        self.shelf = shelf;
        self
    }

    /// Tells what was spliced since the last time, and lets unused pipes go.
    fn tend_pipes(&self) {
        self.local.pipes.tend(PIPES_REST);
        let (up, down) = self.local.pipes.take_moved();
        self.local.counters.add(Count::SplicedUp, up);
        self.local.counters.add(Count::SplicedDown, down);
    }

    /// The number of a new connection.
    fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + self.shards);
        number
    }

    fn generation(&self) -> Option<Rc<Generation>> {
        self.generation.borrow().clone()
    }

    /// Takes a new connection in.
    async fn begin(&self, accepted: Accepted) -> Option<Client> {
        let generation = self.generation()?;
        let counters = &self.local.counters;
        counters.count(Count::Accepted);
        counters.count(Count::Handled);
        let active = counters.hold(Gauge::Active);
        let home = self.home(ListenerId(accepted.listener as u32))?;
        let conn = self.open(&generation, &home, accepted).await?;
        let within = default_core(&generation, &conn.info)?.client_header_timeout;
        let speaks = match &conn.info.tls {
            Some(tls) if tls.alpn.as_deref() == Some(b"h2") => Speaks::H2,
            None if default_address(&generation.plan, &conn.info)?.http2
                && !conn.info.misplaced =>
            {
                Speaks::Either
            }
            _ => Speaks::H1,
        };
        Some(Client {
            conn,
            home,
            speaks,
            within,
            _active: active,
        })
    }

    /// Serves a connection until it ends or idles.
    async fn connection(
        shard: Rc<Shard<Self>>,
        mut client: Client,
        mut waited: Option<Waited>,
    ) -> After<Client> {
        let service = &shard.service;
        if client.speaks != Speaks::H1 {
            match Box::pin(client.speaks_h2(service)).await {
                // In a task of its own: this one would keep the memory of its HTTP/1 side as long as the connection lives.
                Some(true) => return After::Apart(Box::pin(h2::serve(shard, client))),
                Some(false) => client.speaks = Speaks::H1,
                None => return After::Closed,
            }
        }
        loop {
            let waited = match waited.take() {
                Some(waited) => waited,
                None if client.conn.has_unread() => Waited::Ready,
                None => Waited::of(&pin!(client.conn.wait(client.within, PATIENCE)).await),
            };
            match waited {
                Waited::Ready => {}
                Waited::Over => return After::Closed,
                Waited::Long => {
                    client.within = client.within.saturating_sub(PATIENCE);
                    return After::Park(client);
                }
            }
            let Client { conn, home, .. } = &mut client;
            let Some(mut begun) = service.begin_request(conn, home) else {
                return After::Closed;
            };
            let decoded = match begun.decoded {
                Some(decoded) => decoded,
                None => service.read_on(&mut begun, conn).await,
            };
            let Some(refused) = service.end_reading(&shard, &mut begun, decoded) else {
                service.give(begun.exchange);
                return After::Closed;
            };
            let Reading {
                mut exchange,
                generation,
                ..
            } = begun;
            let Client {
                conn,
                home,
                within: _,
                speaks: _,
                _active,
            } = client;
            exchange.stream = Stream::H1(conn);
            let job = Job {
                exchange,
                refused,
                generation: generation.clone(),
                local: service.local.clone(),
            };
            let counters = &service.local.counters;
            counters.raise(Gauge::Writing);
            let mut exchange = service.workers.run(job, serve).await;
            if tunnel::is_due(&exchange) {
                let apart = Apart {
                    exchange,
                    generation,
                    _active,
                };
                return After::Apart(Box::pin(apart.run(shard.clone())));
            }
            counters.lower(Gauge::Writing);
            let location = &generation.plan.locations[exchange.location];
            let timed_out = exchange.client_timed_out;
            let within = location.settings.core.keepalive_timeout.timeout;
            if exchange.close {
                exchange.stream.set_close();
            }
            let stream = exchange.end(&service.local.buffers);
            service.give(exchange);
            let Stream::H1(mut conn) = stream else {
                return After::Closed;
            };
            let buffers = &service.local.buffers;
            let goes_on =
                conn.go_on(buffers) || conn.finish(&ending(location, timed_out), buffers).await;
            drop(generation);
            if !goes_on || shard.draining() {
                return After::Closed;
            }
            client = Client {
                conn,
                home,
                speaks: Speaks::H1,
                within,
                _active,
            };
        }
    }

    /// The first steps of a connection: socket options and the PROXY protocol.
    async fn open(
        &self,
        generation: &Rc<Generation>,
        home: &Home,
        accepted: Accepted,
    ) -> Option<Box<Conn>> {
        let number = self.number();
        let Accepted {
            mut stream,
            peer,
            local,
            ..
        } = accepted;
        let local = match local {
            Some(local) => local,
            None => stream.local_addr().ok()?,
        };
        let plan = &generation.plan;
        let listener = home.now.get()?;
        let listening = plan.listeners.get(listener)?;
        let address = listening.address(local.ip());
        let who = Newcomer {
            number,
            peer: &peer,
            server: &listening.addr,
            local: &local,
            listener,
            debug: is_debugged(plan, &peer),
        };
        let location = &plan.locations[plan.servers[address.names.default_server()].root];
        if who.debug || location.debug {
            let text = format_args!("accept: {peer}");
            who.tell(generation, location, LogLevel::Debug, text);
        }
        let core = &location.settings.core;
        if !core.tcp_nodelay && !local.is_unix() {
            // Some sockets have no such option; all is well without it.
            let _ = stream.set_nodelay(false);
        }
        let (mut proxy, mut input, mut at) = (None, Vec::new(), 0);
        if address.proxy_protocol {
            match accept::proxy_header(&mut stream, core.client_header_timeout, &self.local.buffers)
                .await
            {
                Ok((facts, bytes, len)) => (proxy, input, at) = (Some(facts), bytes, len),
                Err(broken) => {
                    let text = match broken {
                        Broken::Invalid => "broken header while reading PROXY protocol",
                        Broken::Gone => "client closed connection while reading PROXY protocol",
                    };
                    let level = if broken == Broken::Invalid {
                        LogLevel::Error
                    } else {
                        LogLevel::Info
                    };
                    who.tell(generation, location, level, format_args!("{text}"));
                    return None;
                }
            }
        }
        let (mut named, mut misplaced) = (None, false);
        if address.ssl {
            let rest = input.split_off(at);
            self.local.buffers.give(std::mem::take(&mut input));
            at = 0;
            let done = self.shake_hands(generation, address, &mut stream, rest, &who);
            match Box::pin(done).await? {
                Begun::Tls { named: name } => named = name,
                Begun::Plain(received) => (input, misplaced) = (received, true),
            }
        }
        let tls = stream.tls().cloned();
        let info = Rc::new(ConnInfo {
            tls,
            misplaced,
            named,
            entry: Cell::new(None),
            number,
            debug: who.debug,
            remote: peer,
            local,
            listener: Cell::new(listener),
            proxy,
            accepted: self.local.clock.mono(),
            requests: Cell::new(0),
            pipelined: Cell::new(false),
        });
        Some(Box::new(Conn::new(stream, info, input, at)))
    }

    /// Begins a request: takes an exchange, and its head where that is here already. None when nobody listens any more.
    fn begin_request(&self, conn: &mut Conn, home: &Home) -> Option<Reading> {
        let generation = self.generation()?;
        let listener = home.now.get()?;
        conn.info.listener.set(listener);
        let mut exchange = self.take(&conn.info);
        exchange.conn = conn.info.clone();
        exchange.started = self.local.clock.mono();
        exchange.started_us = clock::micros();
        self.local.counters.raise(Gauge::Reading);
        let core = default_core(&generation, &conn.info)?;
        let decoded = conn.look_for_head(&mut exchange.head, &limits(core), &self.local.buffers);
        Some(Reading {
            exchange,
            generation,
            decoded,
        })
    }

    /// Reads the rest of a head that comes in pieces.
    async fn read_on(&self, begun: &mut Reading, conn: &mut Conn) -> Decoded {
        let Some(core) = default_core(&begun.generation, &conn.info) else {
            return Decoded::Closed;
        };
        let (within, head) = (core.client_header_timeout, &mut begun.exchange.head);
        conn.read_head(head, &limits(core), within, &self.local.buffers)
            .await
    }

    /// A head was read, or broke a rule; None when the connection is over.
    fn end_reading(
        &self,
        shard: &Rc<Shard<Self>>,
        begun: &mut Reading,
        decoded: Decoded,
    ) -> Option<Option<Refusal>> {
        let counters = &self.local.counters;
        counters.lower(Gauge::Reading);
        let exchange = &mut begun.exchange;
        exchange.request_length = exchange.head.wire_len.into();
        let refused = match decoded {
            Decoded::Request => None,
            Decoded::Refused(refusal) => Some(refusal),
            Decoded::Closed => return None,
        };
        counters.count(Count::Requests);
        exchange.close |= shard.draining();
        Some(refused)
    }

    fn take(&self, info: &Rc<ConnInfo>) -> Box<Exchange> {
        let pooled = self.exchanges.borrow_mut().pop();
        pooled.unwrap_or_else(|| Box::new(Exchange::new(info.clone())))
    }

    fn give(&self, exchange: Box<Exchange>) {
        let mut exchanges = self.exchanges.borrow_mut();
        if exchanges.len() < EXCHANGES_MAX {
            exchanges.push(exchange);
        }
    }

    /// Makes connections of HTTP/2 with work in hand look at what has changed.
    fn ring_alarms(&self) {
        for (_, alarm) in self.alarms.borrow().iter() {
            // One that is gone needs no telling.
            let _ = alarm.ring();
        }
    }

    fn home(&self, listener: ListenerId) -> Option<Rc<Home>> {
        self.homes
            .borrow()
            .iter()
            .find(|home| home.now.get() == Some(listener))
            .cloned()
    }

    /// Numbers the addresses as `plan` does. Addresses that are gone stay as long as they have connections; true when
    /// there are such.
    fn renumber(&self, plan: &Plan) -> bool {
        let mut homes = self.homes.borrow_mut();
        homes.retain(|home| {
            Rc::strong_count(home) > 1 || plan.listeners.iter().any(|l| l.addr == home.addr)
        });
        for home in homes.iter() {
            home.now.set(None);
        }
        for (id, listener) in plan.listeners.enumerate() {
            match homes.iter().find(|home| home.addr == listener.addr) {
                Some(home) => home.now.set(Some(id)),
                None => homes.push(Rc::new(Home {
                    addr: listener.addr.clone(),
                    now: Cell::new(Some(id)),
                })),
            }
        }
        homes.iter().any(|home| home.now.get().is_none())
    }

    /// Serves by another plan from now on. What has begun keeps its own.
    fn swap(shard: &Rc<Shard<Self>>, new: NewPlan) {
        let service = &shard.service;
        let number = shard.deadlines.next_epoch();
        let table = service.scribe.table(&new.plan, &Files::default());
        let logs = Logs::new(service.desk.clone(), table);
        let tls = service.shelf.get(new.epoch);
        let before = service.generation();
        let before = before.as_deref().map(|generation| &generation.groups);
        let generation = Generation::new(new.plan, tls, logs, &service.local, (new.epoch, before));
        let generation = Rc::new(generation);
        let old = service.generation.borrow_mut().replace(generation.clone());
        service.ring_alarms();
        if shard.index == Target(0) {
            stapling::start(&generation, &service.local);
        }
        for found in service.early.take() {
            match found.epoch.cmp(&generation.epoch) {
                Ordering::Less => {}
                Ordering::Equal => lines::learn(&generation, &found),
                Ordering::Greater => service.early.borrow_mut().push(found),
            }
        }
        lines::begin(shard, &generation);
        health::begin(&generation, &service.local);
        let declared = [Some(&generation), old.as_ref()];
        service.local.limits.keep_tables(|table| {
            let mut zones = declared
                .iter()
                .flatten()
                .flat_map(|g| g.plan.limit_zones.iter());
            zones.any(|zone| zone.table.id == table)
        });
        service.local.sessions.keep_tables(|table| {
            let mut groups = declared.iter().flatten().flat_map(|g| g.plan.groups.iter());
            groups.any(|group| group.sessions().is_some_and(|s| s.table.id == table))
        });
        let stores = declared.iter().flatten().flat_map(|g| &g.plan.stores);
        service.local.cache.declare(stores.cloned());
        if service.renumber(&generation.plan) {
            // Nobody would answer the next request of those that came by an address that is gone.
            shard.deadlines.close_idle(usize::MAX, false);
        }
        let flights = generation.plan.main.operate.flights;
        service.local.recorder.resize(flights as usize);
        shard.set_sockets_max(generation.plan.main.worker_connections as usize);
        if let Err(error) = shard.set_listeners(new.sockets) {
            let main = &generation.plan.error_logs;
            generation.logs.error_all(
                main,
                LogLevel::Emerg,
                format_args!("listening failed ({error})"),
            );
        }
        let serving = Mail::Serving {
            shard: shard.index,
            epoch: new.epoch,
        };
        shard.outbox.post(shard.outbox.control(), serving);
        if let Some(old) = old {
            if let Some(within) = old.plan.main.worker_shutdown_timeout {
                runtime::spawn(end_before(shard.clone(), number, within));
            }
            runtime::spawn(retire(shard.clone(), old));
        }
    }
}

/// `worker_shutdown_timeout`: what began under an older configuration may go on for so long.
async fn end_before(shard: Rc<Shard<Http>>, epoch: u32, within: Duration) {
    runtime::sleep(within).await;
    shard.deadlines.end_before(epoch);
}

/// Tells control when the last exchange of a replaced generation is done.
async fn retire(shard: Rc<Shard<Http>>, old: Rc<Generation>) {
    let epoch = old.epoch;
    old.pool.close();
    let last = Rc::downgrade(&old);
    // Shadowing would keep it alive.
    drop(old);
    while last.strong_count() > 0 {
        runtime::sleep(TICK).await;
    }
    shard.outbox.post(
        shard.outbox.control(),
        Mail::Retired {
            shard: shard.index,
            epoch,
        },
    );
}

/// What recurs: logs leave, health of shared groups is told, idle connections to origins end.
async fn tick(shard: Rc<Shard<Http>>) {
    let mut said = Said::default();
    loop {
        let before = clock::mono();
        runtime::sleep(TICK).await;
        let service = &shard.service;
        said.tell(service, before);
        service.desk.flush(clock::mono());
        service.local.limits.sweep(clock::mono());
        service.local.cache.sweep(clock::mono());
        service.tend_pipes();
        if let Some(generation) = service.generation() {
            tell_health(&shard, &generation);
            service.local.sessions.sweep(clock::mono(), |table| {
                tell_full(&generation, table);
            });
            if let Some(lines) = service.desk.take_dropped() {
                let text = format_args!(
                    "{lines} log lines were lost, because they could not be written or not fast enough"
                );
                let main = &generation.plan.error_logs;
                generation.logs.error_all(main, LogLevel::Alert, text);
            }
            generation.pool.sweep(clock::mono());
            service.local.cache.notes(|level, line| {
                let main = &generation.plan.error_logs;
                generation
                    .logs
                    .error_all(main, level, format_args!("{line}"));
            });
        }
    }
}

/// Answers a line of an operator.
async fn tell(
    shard: Rc<Shard<Http>>,
    generation: Rc<Generation>,
    (to, ticket, line): (Target, u64, Box<[u8]>),
) {
    let local = shard.service.local.clone();
    let text = console::answer(line, generation, local).await;
    let told = Mail::Collected {
        from: shard.index,
        ticket,
        text,
    };
    shard.outbox.post(to, told);
}

/// Mails what this shard learned of peers of `zone`d groups to all others.
fn tell_health(shard: &Shard<Http>, generation: &Generation) {
    generation.groups.take_notes(|note| {
        let state = PeerState {
            epoch: generation.epoch,
            group: note.group,
            peer: note.peer,
            change: note.change,
        };
        shard.outbox.post_others(|| Mail::PeerState(state));
    });
}

/// Logs that a zone of sessions had no room for a new one.
fn tell_full(generation: &Generation, table: u64) {
    let mut zones = generation.plan.groups.iter().filter_map(|g| g.sessions());
    if let Some(zone) = zones.find(|zone| zone.table.id == table) {
        let text = format_args!(
            "could not allocate node in sticky session zone \"{}\", expiring least recently used session",
            Text(&zone.zone)
        );
        let main = &generation.plan.error_logs;
        generation.logs.error_all(main, LogLevel::Warn, text);
    }
}

/// A tunnel and what it holds of its connection.
struct Apart {
    exchange: Box<Exchange>,
    generation: Rc<Generation>,
    _active: Held,
}

impl Apart {
    /// Runs it and closes the connection.
    async fn run(self, shard: Rc<Shard<Http>>) {
        let service = &shard.service;
        let local = service.local.clone();
        let mut exchange = flow::tunnel(self.exchange, self.generation.clone(), local).await;
        service.local.counters.lower(Gauge::Writing);
        let timed_out = exchange.client_timed_out;
        let location = &self.generation.plan.locations[exchange.location];
        let stream = exchange.end(&service.local.buffers);
        service.give(exchange);
        if let Stream::H1(mut conn) = stream {
            let ending = ending(location, timed_out);
            Box::pin(conn.finish(&ending, &service.local.buffers)).await;
        }
    }
}

/// Whether `debug_connection` names a client.
fn is_debugged(plan: &Plan, client: &Addr) -> bool {
    let named = &plan.debug_clients;
    !named.is_empty()
        && named.contains(match client {
            Addr::Ip(at) => Some(at.ip()),
            Addr::Unix(_) => None,
        })
}

/// What a head may cost, by the settings of the address's default server.
fn limits(core: &Core) -> HeadLimits {
    HeadLimits {
        first_buffer: core.client_header_buffer_size,
        large_count: core.large_client_header_buffers.count as usize,
        large_size: core.large_client_header_buffers.size,
        fields_max: core.max_headers as usize,
        ignore_invalid: core.ignore_invalid_headers,
        underscores: core.underscores_in_headers,
    }
}

/// The body of a worker: one exchange from head to log line.
fn serve(job: Job) -> impl Future<Output = Box<Exchange>> + 'static {
    flow::serve(job.exchange, job.refused, job.generation, job.local)
}

/// How the connection may end, by the location that answered.
fn ending(location: &LocationPlan, timed_out: bool) -> Ending {
    let core = &location.settings.core;
    Ending {
        linger: core.lingering_close != LingeringClose::Off,
        linger_always: core.lingering_close == LingeringClose::Always,
        linger_time: core.lingering_time,
        linger_timeout: core.lingering_timeout,
        reset: core.reset_timedout_connection && timed_out,
    }
}

/// The settings that hold before a request has named its server.
fn default_core<'a>(generation: &'a Generation, conn: &ConnInfo) -> Option<&'a Core> {
    let plan = &generation.plan;
    let address = default_address(plan, conn)?;
    let root = plan.servers[conn.entry(address, generation.epoch)].root;
    Some(&plan.locations[root].settings.core)
}

/// The servers of the address that a connection came by.
fn default_address<'a>(plan: &'a Plan, conn: &ConnInfo) -> Option<&'a AddressPlan> {
    let listener = plan.listeners.get(conn.listener.get())?;
    Some(listener.address(conn.local.ip()))
}

impl Serve for Http {
    type Parked = Client;
    type Woken = io::Result<Idle>;

    fn started(shard: &Rc<Shard<Self>>) {
        runtime::spawn(tick(shard.clone()));
    }

    async fn serve(shard: Rc<Shard<Self>>, begin: Begin<Self>) -> After<Client> {
        let (client, waited) = match begin {
            Begin::Parked(client, woken) => (client, Some(Waited::of(&woken))),
            Begin::Accepted(accepted) => match shard.service.sort(accepted) {
                Some(Sorted::Requests(accepted)) => match shard.service.begin(accepted).await {
                    Some(client) => (client, None),
                    None => return After::Closed,
                },
                Some(Sorted::Session(session)) => return session.apart(&shard),
                None => return After::Closed,
            },
        };
        Self::connection(shard, client, waited).await
    }

    fn wait(client: &mut Client) -> impl Future<Output = io::Result<Idle>> {
        client.conn.wait_on(client.within)
    }

    fn mail(shard: &Rc<Shard<Self>>, mail: Mail) {
        let service = &shard.service;
        match mail {
            Mail::NewPlan(new) => Self::swap(shard, *new),
            Mail::ReopenLogs => service.desk.flush_all(),
            Mail::Limit(letter) => service.local.limits.take(letter),
            Mail::Cache(letter) => service.local.cache.take(*letter),
            Mail::Session(letter) => service.local.sessions.take(*letter),
            Mail::Found(found) => {
                let generation = service.generation();
                let epoch = generation.as_ref().map_or(0, |generation| generation.epoch);
                match generation {
                    Some(generation) if epoch == found.epoch => lines::learn(&generation, &found),
                    // The plan that it is about is still on its way.
                    _ if epoch < found.epoch => service.early.borrow_mut().push(found),
                    _ => {}
                }
            }
            Mail::PeerOrder(order) => {
                if let Some(generation) = service.generation() {
                    generation.groups.order(&order);
                }
            }
            Mail::Collect { to, ticket, line } => {
                if let Some(generation) = service.generation() {
                    runtime::spawn(tell(shard.clone(), generation, (to, ticket, line)));
                }
            }
            Mail::PeerState(state) => {
                if let Some(generation) = service.generation()
                    && generation.epoch == state.epoch
                {
                    let note = HealthNote {
                        group: state.group,
                        peer: state.peer,
                        change: state.change,
                    };
                    generation.groups.apply(note, clock::mono());
                }
            }
            _ => {}
        }
    }

    fn event(shard: &Shard<Self>, event: Event<'_>) {
        let Some(generation) = shard.service.generation() else {
            return;
        };
        let logs = &generation.plan.error_logs;
        let max = generation.plan.main.worker_connections;
        let tell =
            |level, text: std::fmt::Arguments<'_>| generation.logs.error_all(logs, level, text);
        match event {
            Event::Panicked(message) => {
                shard.service.local.counters.count(Count::Panics);
                tell(
                    LogLevel::Alert,
                    format_args!("a connection was dropped: {message}"),
                );
            }
            Event::Full => tell(
                LogLevel::Alert,
                format_args!("{max} worker_connections are not enough"),
            ),
            Event::Short(error) => {
                let error = Errno(error);
                tell(LogLevel::Crit, format_args!("accept4() failed ({error})"));
            }
            Event::AcceptFailed(error) => {
                let error = Errno(error);
                tell(LogLevel::Alert, format_args!("accept4() failed ({error})"));
            }
            Event::Draining => {
                shard.service.local.draining.set(true);
                shard.service.local.cache.retire();
                shard.service.ring_alarms();
            }
            Event::Cut(count) => tell(
                LogLevel::Notice,
                format_args!("open socket left, {count} connections are cut"),
            ),
        }
    }

    async fn end(shard: &Rc<Shard<Self>>) {
        shard.service.local.limits.leave();
        shard.service.local.sessions.leave();
        shard.service.local.cache.leave().await;
        shard.service.desk.flush_all();
    }
}
