//! Names to addresses while running: asks the name servers of a `resolver` line and keeps what they say.
//!
//! Each shard has its own cache, as each nginx worker has. [`Lookup`] is the protocol as a machine: answers and time
//! in, a verdict out. [`Resolvers::resolve`] drives it over sockets; lookups of one name at a time share one flight.
//! Every flight uses a socket, a port and ids of its own, so that an answer cannot be guessed from earlier ones.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::base::ids::IdVec;
use crate::base::lru::Lru;
use crate::base::rng::Rng;
use crate::base::time::Mono;
use crate::net::addr::Addr;
use crate::net::clock;
use crate::net::connect::{self, Options};
use crate::net::deadline::Deadlines;
use crate::net::join::{First, race};
use crate::net::runtime;
use crate::net::udp::Datagrams;
use crate::plan::{ResolverId, ResolverPlan};
use crate::proto::dns::{self, Answer, DnsError, Query, Srv};

mod line;

pub use line::{Discovery, Handle};

/// A question is asked again, of the next server, after these times; the last one goes on.
///
/// Differs from nginx: it waits 5 s each time, so one lost datagram costs as much.
const RESEND: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// How long a wait for an answer goes on before the socket is asked whether its server refused.
const LOOK: Duration = Duration::from_millis(200);

/// CNAMEs that are followed for one name.
const CHAIN_MAX: u32 = 50;

/// Names that one resolver remembers on one shard, about 200 bytes each.
const NAMES_MAX: usize = 8192;

/// Names that one resolver asks for at a time on one shard; each holds a socket.
const FLIGHTS_MAX: usize = 256;

/// Largest datagram that is taken; without EDNS a server cuts at 512.
const DATAGRAM_MAX: usize = 4096;

/// Server failure.
const SERVFAIL: u8 = 2;
/// Host not found.
const NXDOMAIN: u8 = 3;

/// A name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// A server said so, or the answers make no address.
    Code(u8),
    /// Nobody answered within `resolver_timeout`.
    TimedOut,
    /// No `resolver` is configured where the name is used.
    NoResolver,
}

impl ResolveError {
    /// Appends the line of the log, up to where the context begins.
    pub fn write(self, name: &[u8], out: &mut Vec<u8>) {
        if self == Self::NoResolver {
            out.extend_from_slice(b"no resolver defined to resolve ");
            out.extend_from_slice(name);
            return;
        }
        out.extend_from_slice(name);
        out.extend_from_slice(b" could not be resolved (");
        match self {
            Self::Code(code) => {
                out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(DnsError::Code(code).message().as_bytes());
            }
            Self::TimedOut | Self::NoResolver => out.extend_from_slice(b"110: Operation timed out"),
        }
        out.push(b')');
    }
}

/// What a [`Lookup`] has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More answers, or another try, must come.
    Wait,
    /// This question must be asked again over TCP.
    AskTcp(usize),
    /// Addresses, IPv4 first, valid for so long.
    Found(Vec<IpAddr>, Duration),
    /// The name is another name's; valid for so long.
    Alias(Vec<u8>, Duration),
    /// The services of the name, valid for so long.
    Services(Vec<Srv>, Duration),
    /// It has no address.
    Failed(u8),
}

/// The questions for one name: A, AAAA or both.
#[derive(Debug)]
pub struct Lookup {
    halves: Vec<Half>,
    /// An error that one half got while the other is open.
    code: u8,
    ttl: u32,
}

#[derive(Debug)]
struct Half {
    query: Query,
    id: u16,
    message: Vec<u8>,
    /// Asked over TCP, because an answer was cut.
    tcp: bool,
    answer: Option<Vec<IpAddr>>,
}

impl Lookup {
    /// Questions for a name; none when it cannot be a name. `ids` are two random words.
    pub fn new(name: &[u8], plan: &ResolverPlan, ids: [u16; 2]) -> Option<Self> {
        let wanted = [(Query::A, plan.ipv4), (Query::Aaaa, plan.ipv6)];
        let mut halves = Vec::with_capacity(2);
        for ((query, _), id) in wanted.into_iter().zip(ids).filter(|((_, on), _)| *on) {
            let mut message = Vec::with_capacity(name.len() + 18);
            dns::encode_query(&mut message, id, name, query).ok()?;
            halves.push(Half {
                query,
                id,
                message,
                tcp: false,
                answer: None,
            });
        }
        Some(Self {
            halves,
            code: 0,
            ttl: u32::MAX,
        })
    }

    /// The question for the services of a name.
    pub fn services(name: &[u8], id: u16) -> Option<Self> {
        let mut message = Vec::with_capacity(name.len() + 18);
        dns::encode_query(&mut message, id, name, Query::Srv).ok()?;
        Some(Self {
            halves: vec![Half {
                query: Query::Srv,
                id,
                message,
                tcp: false,
                answer: None,
            }],
            code: 0,
            ttl: u32::MAX,
        })
    }

    /// Questions that still need an answer: the message, and whether it goes over TCP.
    pub fn open(&self) -> impl Iterator<Item = (usize, &[u8], bool)> {
        let open = self
            .halves
            .iter()
            .enumerate()
            .filter(|(_, half)| half.answer.is_none());
        open.map(|(i, half)| (i, &half.message[..], half.tcp))
    }

    /// Takes a message from the server. One that answers no open question of ours changes nothing.
    pub fn handle_message(&mut self, name: &[u8], message: &[u8], over_tcp: bool) -> Progress {
        let Some(id) = message.first_chunk().map(|id| u16::from_be_bytes(*id)) else {
            return Progress::Wait;
        };
        for i in 0..self.halves.len() {
            let half = &mut self.halves[i];
            if half.id != id || half.answer.is_some() {
                continue;
            }
            match dns::decode_answer(message, name, half.query) {
                Ok(answer) if answer.id != id => {}
                Ok(answer) if answer.truncated => {
                    if !half.tcp && !over_tcp {
                        half.tcp = true;
                        return Progress::AskTcp(i);
                    }
                }
                Ok(answer) => return self.answered(i, answer),
                // A format error is as good as silence: another server, or another try, may do better.
                Err(DnsError::Malformed | DnsError::Code(0 | 1 | 6..)) => {}
                // No records of this family; the other one may have some.
                Err(DnsError::Code(NXDOMAIN)) => {
                    let ttl = u32::MAX;
                    return self.answered(
                        i,
                        Answer {
                            id,
                            ttl,
                            ..Answer::default()
                        },
                    );
                }
                Err(DnsError::Code(code)) => return self.failed(i, code),
            }
        }
        Progress::Wait
    }

    fn is_open(&self) -> bool {
        self.halves.iter().any(|half| half.answer.is_none())
    }

    fn failed(&mut self, half: usize, code: u8) -> Progress {
        self.halves[half].answer = Some(Vec::new());
        if self.code == 0 {
            self.code = code;
        }
        if self.is_open() {
            Progress::Wait
        } else {
            Progress::Failed(self.code)
        }
    }

    fn answered(&mut self, half: usize, answer: Answer) -> Progress {
        self.ttl = self.ttl.min(answer.ttl);
        self.halves[half].answer = Some(answer.addresses);
        if self.is_open() {
            return Progress::Wait;
        }
        if self.code != 0 {
            return Progress::Failed(self.code);
        }
        let addresses: Vec<_> = self
            .halves
            .iter_mut()
            .filter_map(|half| half.answer.take())
            .flatten()
            .collect();
        let ttl = Duration::from_secs(self.ttl.into());
        if !addresses.is_empty() {
            return Progress::Found(addresses, ttl);
        }
        if !answer.services.is_empty() {
            return Progress::Services(answer.services, ttl);
        }
        // As nginx: the alias counts that came with the last answer.
        match answer.alias {
            Some(name) => Progress::Alias(name, ttl),
            None => Progress::Failed(NXDOMAIN),
        }
    }
}

/// Addresses in nginx's rotation: each family turned by a random amount, then the whole.
fn rotate(addresses: &[IpAddr], random: u64) -> Vec<IpAddr> {
    let mut rng = Rng::new(random);
    let mut all = addresses.to_vec();
    let fours = all.iter().take_while(|ip| ip.is_ipv4()).count();
    for family in [0..fours, fours..all.len()] {
        let count = family.len() as u64;
        all[family].rotate_left(rng.below(count) as usize);
    }
    let count = all.len() as u64;
    all.rotate_right(rng.below(count) as usize);
    all
}

#[derive(Clone)]
struct Known {
    addresses: Rc<[IpAddr]>,
    until: Mono,
    /// Nobody has had it from the cache yet.
    fresh: bool,
}

type Outcome = Result<Known, u8>;

/// One name being asked for, and who waits for it.
#[derive(Default)]
struct Flight {
    outcome: RefCell<Option<Outcome>>,
    wakers: RefCell<Vec<Waker>>,
    waiting: Cell<u32>,
}

impl Flight {
    fn land(&self, outcome: Outcome) {
        *self.outcome.borrow_mut() = Some(outcome);
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn landed(&self) -> Outcome {
        poll_fn(|cx| {
            if let Some(outcome) = &*self.outcome.borrow() {
                return Poll::Ready(outcome.clone());
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|w| w.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// Counts who waits for a flight, also when the wait is dropped.
struct Waiter(Rc<Flight>);

impl Waiter {
    fn new(flight: Rc<Flight>) -> Self {
        flight.waiting.set(flight.waiting.get() + 1);
        Self(flight)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

struct Resolver {
    plan: ResolverPlan,
    known: RefCell<Lru<Rc<[u8]>, Known>>,
    flights: RefCell<HashMap<Rc<[u8]>, Rc<Flight>, foldhash::fast::RandomState>>,
    /// The server that the next lookup begins with.
    next: Cell<usize>,
    deadlines: Rc<Deadlines>,
}

/// The resolvers of one generation on one shard.
pub struct Resolvers {
    /// Names that were known, found, not found and not answered in time, since somebody took the numbers.
    counts: [Cell<u64>; 4],
    resolvers: IdVec<ResolverId, Rc<Resolver>>,
}

impl Resolvers {
    /// Starts with empty caches.
    pub fn new(plans: &IdVec<ResolverId, ResolverPlan>, deadlines: &Rc<Deadlines>) -> Self {
        let resolvers = plans.iter().map(|plan| {
            Rc::new(Resolver {
                plan: plan.clone(),
                known: RefCell::new(Lru::new(NAMES_MAX)),
                flights: RefCell::default(),
                next: Cell::new(0),
                deadlines: Rc::clone(deadlines),
            })
        });
        Self {
            counts: Default::default(),
            resolvers: resolvers.collect(),
        }
    }

    /// A resolver, for who asks it by himself; none when it has no servers.
    pub fn handle(&self, resolver: ResolverId) -> Option<Handle> {
        let resolver = self.resolvers.get(resolver)?;
        (!resolver.plan.servers.is_empty()).then(|| Handle(Rc::clone(resolver)))
    }

    /// Addresses of a name within `resolver_timeout`. An address in text is its own answer.
    pub async fn resolve(
        &self,
        resolver: Option<ResolverId>,
        name: &[u8],
        within: Duration,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(ip) = literal(name) {
            return Ok(vec![ip]);
        }
        let Some(resolver) = resolver.and_then(|id| self.resolvers.get(id)) else {
            return Err(ResolveError::NoResolver);
        };
        if resolver.plan.servers.is_empty() {
            return Err(ResolveError::NoResolver);
        }
        let known = resolver.addresses(name, within).await;
        self.count(match &known {
            Ok(known) if !known.fresh => 0,
            Ok(_) => 1,
            Err(ResolveError::TimedOut) => 3,
            Err(_) => 2,
        });
        let known = known?;
        Ok(if known.fresh {
            known.addresses.to_vec()
        } else {
            rotate(&known.addresses, secret())
        })
    }

    fn count(&self, outcome: usize) {
        let count = &self.counts[outcome];
        count.set(count.get() + 1);
    }

    /// Names that were known, found, not found and not answered in time since the last call.
    pub fn take_counts(&self) -> [u64; 4] {
        [0, 1, 2, 3].map(|outcome| self.counts[outcome].take())
    }
}

/// `127.0.0.1`, `::1` or `[::1]`.
fn literal(name: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(name).ok()?;
    let text = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    text.parse().ok()
}

/// A word that nobody outside the process can foresee: the hash of nothing under fresh secret keys.
fn secret() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// How asking for one name ended.
enum Asked {
    Found(Vec<IpAddr>, Duration),
    Alias(Vec<u8>, Duration),
    Services(Vec<Srv>, Duration),
    Failed(u8),
    /// Nobody waits any more.
    Abandoned,
}

impl Resolver {
    /// Addresses of a name, from the cache or from a server.
    async fn addresses(
        self: &Rc<Self>,
        name: &[u8],
        within: Duration,
    ) -> Result<Known, ResolveError> {
        let name = name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase();
        if let Some(known) = self.recall(&name, clock::mono()) {
            return Ok(known);
        }
        let waiter = Waiter::new(self.flight(&name).ok_or(ResolveError::Code(SERVFAIL))?);
        let landed = pin!(waiter.0.landed());
        let limit = pin!(runtime::sleep(within));
        match race(landed, limit).await {
            First::Left(outcome) => outcome.map_err(ResolveError::Code),
            First::Right(()) => Err(ResolveError::TimedOut),
        }
    }

    fn recall(&self, name: &[u8], now: Mono) -> Option<Known> {
        let mut known = self.known.borrow_mut();
        let found = known.get(name)?;
        if now < found.until {
            return Some(Known {
                fresh: false,
                ..found.clone()
            });
        }
        known.remove(name);
        None
    }

    /// The flight for a name, begun if there is none. None when too many are under way.
    fn flight(self: &Rc<Self>, name: &[u8]) -> Option<Rc<Flight>> {
        let mut flights = self.flights.borrow_mut();
        if let Some(flight) = flights.get(name) {
            return Some(Rc::clone(flight));
        }
        if flights.len() >= FLIGHTS_MAX {
            return None;
        }
        let flight = Rc::new(Flight::default());
        let name: Rc<[u8]> = name.into();
        flights.insert(Rc::clone(&name), Rc::clone(&flight));
        let resolver = Rc::clone(self);
        let kept = Rc::clone(&flight);
        drop(runtime::spawn(async move {
            let outcome = resolver.fly(&name, &kept).await;
            resolver.flights.borrow_mut().remove(&name);
            kept.land(outcome);
        }));
        Some(flight)
    }

    /// Follows aliases until there are addresses, and remembers them under the name that was asked for.
    async fn fly(&self, name: &Rc<[u8]>, flight: &Flight) -> Outcome {
        let mut current = name.to_vec();
        let mut least = Duration::MAX;
        for _ in 0..=CHAIN_MAX {
            match self.ask(&current, false, flight).await {
                Asked::Found(addresses, ttl) => {
                    let addresses: Rc<[IpAddr]> = addresses.into();
                    let until =
                        clock::mono().after(self.plan.valid.unwrap_or_else(|| ttl.min(least)));
                    let known = Known {
                        addresses,
                        until,
                        fresh: true,
                    };
                    let kept = known.clone();
                    self.known.borrow_mut().insert(Rc::clone(name), kept);
                    return Ok(known);
                }
                Asked::Alias(next, ttl) => {
                    least = least.min(ttl);
                    current = next;
                }
                Asked::Failed(code) => return Err(code),
                Asked::Abandoned | Asked::Services(..) => return Err(SERVFAIL),
            }
        }
        Err(NXDOMAIN)
    }

    /// Asks for the addresses or services of one name, server after server, for as long as somebody waits.
    async fn ask(&self, name: &[u8], services: bool, flight: &Flight) -> Asked {
        let [a, b, c, d, ..] = secret().to_le_bytes();
        let ids = [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])];
        let lookup = if services {
            Lookup::services(name, ids[0])
        } else {
            Lookup::new(name, &self.plan, ids)
        };
        let Some(mut lookup) = lookup else {
            return Asked::Failed(NXDOMAIN);
        };
        let count = self.plan.servers.len();
        let mut server = self.next.get() % count;
        self.next.set((server + 1) % count);
        let mut socket: Option<(usize, Datagrams)> = None;
        let mut retried = false;
        let mut pauses = RESEND.into_iter();
        while flight.waiting.get() > 0 {
            let due = clock::mono().after(pauses.next().unwrap_or(RESEND[2]));
            if socket.as_ref().is_none_or(|(of, _)| *of != server) {
                socket = Datagrams::connect(&Addr::Ip(self.plan.servers[server]))
                    .ok()
                    .map(|udp| (server, udp));
            }
            if let Some((_, udp)) = &socket {
                match self
                    .round(name, &mut lookup, udp, self.plan.servers[server], due)
                    .await
                {
                    Progress::Found(addresses, ttl) => return Asked::Found(addresses, ttl),
                    Progress::Alias(next, ttl) => return Asked::Alias(next, ttl),
                    Progress::Services(services, ttl) => return Asked::Services(services, ttl),
                    Progress::Failed(code) => return Asked::Failed(code),
                    Progress::Wait | Progress::AskTcp(_) => {}
                }
            }
            server = (server + 1) % count;
            let left = due.since(clock::mono());
            if !left.is_zero() {
                // The socket failed: the next server at once, but not round and round.
                socket = None;
                if retried {
                    runtime::sleep(left).await;
                }
                retried = !retried;
            }
        }
        Asked::Abandoned
    }

    /// Sends what is open to one server and takes answers until there is a verdict, an error, or no time left.
    async fn round(
        &self,
        name: &[u8],
        lookup: &mut Lookup,
        udp: &Datagrams,
        server: SocketAddr,
        due: Mono,
    ) -> Progress {
        let mut over_tcp: Vec<usize> = Vec::new();
        for (i, message, tcp) in lookup.open() {
            if tcp {
                over_tcp.push(i);
            } else if udp.try_send(message).is_err() {
                return Progress::Wait;
            }
        }
        let mut answer = Vec::with_capacity(DATAGRAM_MAX);
        loop {
            while let Some(i) = over_tcp.pop() {
                let question = lookup.halves[i].message.clone();
                let Ok(message) = self.ask_tcp(&question, server, due).await else {
                    continue;
                };
                match lookup.handle_message(name, &message, true) {
                    Progress::Wait | Progress::AskTcp(_) => {}
                    verdict => return verdict,
                }
            }
            let left = due.since(clock::mono());
            if left.is_zero() {
                return Progress::Wait;
            }
            answer.clear();
            let limit = pin!(runtime::sleep(left.min(LOOK)));
            let received = race(pin!(udp.recv(&mut answer)), limit).await;
            match received {
                First::Left(Ok(_)) => {}
                First::Left(Err(_)) => return Progress::Wait,
                First::Right(()) => continue,
            }
            match lookup.handle_message(name, &answer, false) {
                Progress::Wait => {}
                Progress::AskTcp(i) => over_tcp.push(i),
                verdict => return verdict,
            }
        }
    }

    /// One question over TCP.
    async fn ask_tcp(&self, question: &[u8], server: SocketAddr, due: Mono) -> io::Result<Vec<u8>> {
        let left = || due.since(clock::mono()).max(Duration::from_millis(1));
        let options = Options {
            within: Some(left()),
            ..Options::default()
        };
        let mut stream = connect::connect(&Addr::Ip(server), &options, &self.deadlines).await?;
        let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut buf = length.to_be_bytes().to_vec();
        buf.extend_from_slice(question);
        let (sent, mut buf) = stream.tx.send_all_within(left(), buf).await;
        sent?;
        buf.clear();
        loop {
            if let Some(length) = buf
                .first_chunk()
                .map(|l| usize::from(u16::from_be_bytes(*l)))
                && buf.len() >= length + 2
            {
                buf.truncate(length + 2);
                buf.drain(..2);
                return Ok(buf);
            }
            let (received, more) = stream.rx.recv_within(left(), buf).await;
            buf = more;
            if received? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
#[path = "resolve/tests.rs"]
mod tests;
