//! What is counted for each location and each peer: every shard has a sheet for each plan that it serves by, writes it
//! alone, and anybody reads all sheets. What a sheet holds when its plan is let go is added to what was before, under
//! the names of the configuration, so that a reload loses no count.
//!
//! One writer per number, as in [`super::counters`]. Start at [`Board::open`] and [`Board::read`].

#![expect(
    clippy::disallowed_types,
    reason = "locked when a plan comes or goes and by who reads, never while requests are served"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::counters::add;
use super::latency::{Distribution, Latency};
use super::live::Live;
use super::sessions::{self, SESSION_CELLS, SessionSums};
use crate::base::ids::DenseId as _;
use crate::plan::limits::ZoneId;
use crate::plan::location::LocationKind;
use crate::plan::{GroupId, ListenerId, LocationId, PeerId, Plan};

/// Upper ends of the buckets of durations, in microseconds, as client libraries of metrics have them by default.
pub const BUCKET_ENDS_US: [u64; 11] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Classes of answers: none at all (0), then 1xx to 5xx.
pub const CLASSES: usize = 6;

/// Numbers of one location: answers by class, bytes received and sent, microseconds, durations by bucket (the last
/// one holds what is longer than all ends).
const LOCATION_CELLS: usize = CLASSES + 3 + BUCKET_ENDS_US.len() + 1;

/// Numbers of one peer: answers by class, bytes received and sent, microseconds to connect and to the end, and how
/// many attempts had a new connection.
const PEER_CELLS: usize = CLASSES + 5;

/// What a cache says of requests: the words of `$upstream_cache_status`.
pub const CACHE_WORDS: [&str; 7] = [
    "MISS",
    "BYPASS",
    "EXPIRED",
    "STALE",
    "UPDATING",
    "REVALIDATED",
    "HIT",
];

/// Numbers of one store: requests by word, then the bytes of their answers.
const STORE_CELLS: usize = 2 * CACHE_WORDS.len();

/// What limits say of requests, as labels have it.
pub const LIMIT_WORDS: [&str; 5] = [
    "passed",
    "delayed",
    "rejected",
    "delayed_dry_run",
    "rejected_dry_run",
];

/// One shard's numbers under one plan.
#[derive(Debug)]
struct Numbers {
    epoch: u64,
    stores: Box<[AtomicU64]>,
    zones: Box<[AtomicU64]>,
    locations: Box<[AtomicU64]>,
    /// By listener.
    sessions: Box<[AtomicU64]>,
    peers: Box<[AtomicU64]>,
    /// Peers that the plan does not name, because they were found while running.
    others: Mutex<Vec<Other>>,
    latency: Latency,
}

/// The numbers of a peer that was found while running.
#[derive(Debug)]
struct Other {
    group: GroupId,
    name: Bytes,
    cells: Arc<[AtomicU64]>,
}

/// The numbers of one peer.
type Cells = Arc<[AtomicU64]>;

/// Peers that are found while running and counted each by itself; those beyond are counted together.
const OTHERS_MAX: usize = 4096;

/// What peers are called that are too many.
const REST: &[u8] = b"others";

/// Where one shard counts under one plan. Dropped with the plan.
pub struct Sheet {
    numbers: Arc<Numbers>,
    plan: Arc<Plan>,
    /// The first peer of each group among all peers.
    first_peers: Box<[u32]>,
    others: RefCell<HashMap<(GroupId, Bytes), Cells>>,
    board: Arc<Board>,
}

/// All sheets of the process.
#[derive(Default)]
pub struct Board {
    sheets: Mutex<Sheets>,
    /// What each shard said last.
    live: Mutex<Vec<Live>>,
}

#[derive(Default)]
struct Sheets {
    open: Vec<(Arc<Numbers>, Arc<Plan>)>,
    past: Report,
}

/// What one request was.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Status of its answer; 0 when it had none.
    pub status: u16,
    /// Bytes of head and body that came.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
    /// From its first byte to its end.
    pub took_us: u64,
}

/// What one attempt on a peer was.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Status of the peer's answer; 0 when it gave none.
    pub status: u16,
    /// Bytes that came from it.
    pub received: u64,
    /// Bytes that went to it.
    pub sent: u64,
    /// How long connecting took, where it was connected to.
    pub connect_ms: Option<u64>,
    /// How long the whole took.
    pub took_ms: u64,
}

/// Sums of one location or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationSums([u64; LOCATION_CELLS]);

/// Sums of one peer or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSums([u64; PEER_CELLS]);

impl Default for LocationSums {
    fn default() -> Self {
        Self([0; LOCATION_CELLS])
    }
}

impl Default for PeerSums {
    fn default() -> Self {
        Self([0; PEER_CELLS])
    }
}

/// Sums by the names of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By server and location.
    pub locations: BTreeMap<(String, String), LocationSums>,
    /// By group and peer.
    pub peers: BTreeMap<(String, String), PeerSums>,
    /// All requests.
    pub latency: Distribution,
    /// By the zone's name: requests by [`CACHE_WORDS`], then bytes.
    pub stores: BTreeMap<String, [u64; STORE_CELLS]>,
    /// Sessions of `stream {}` by the address that they came in at.
    pub sessions: BTreeMap<String, SessionSums>,
    /// By the zone's name: requests by [`LIMIT_WORDS`].
    pub zones: BTreeMap<String, [u64; LIMIT_WORDS.len()]>,
    /// How many shards have each epoch, requests in progress or being served by it.
    pub epochs: BTreeMap<u64, usize>,
    /// What each shard said last.
    pub live: Vec<Live>,
}

impl LocationSums {
    /// Answers of a class, 1 for 1xx; 0 is for requests without an answer.
    pub fn class(&self, class: usize) -> u64 {
        self.0[class]
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.0[..CLASSES].iter().sum()
    }

    /// Bytes that came from clients.
    pub fn received(&self) -> u64 {
        self.0[CLASSES]
    }

    /// Bytes that went to clients.
    pub fn sent(&self) -> u64 {
        self.0[CLASSES + 1]
    }

    /// Sum of all durations, in microseconds.
    pub fn took_us(&self) -> u64 {
        self.0[CLASSES + 2]
    }

    /// Requests in each bucket of durations; the last one is for what is longer than all ends.
    pub fn buckets(&self) -> &[u64] {
        &self.0[CLASSES + 3..]
    }
}

impl PeerSums {
    /// Answers of a class, 1 for 1xx; 0 is for attempts without an answer.
    pub fn class(&self, class: usize) -> u64 {
        self.0[class]
    }

    /// All attempts.
    pub fn attempts(&self) -> u64 {
        self.0[..CLASSES].iter().sum()
    }

    /// Bytes that came from the peer.
    pub fn received(&self) -> u64 {
        self.0[CLASSES]
    }

    /// Bytes that went to the peer.
    pub fn sent(&self) -> u64 {
        self.0[CLASSES + 1]
    }

    /// Milliseconds until connected, in all.
    pub fn connect_ms(&self) -> u64 {
        self.0[CLASSES + 2]
    }

    /// Milliseconds until the end of the answer, in all.
    pub fn took_ms(&self) -> u64 {
        self.0[CLASSES + 3]
    }

    /// Attempts that came as far as a connection.
    pub fn connected(&self) -> u64 {
        self.0[CLASSES + 4]
    }
}

fn class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}

fn cells(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

impl Sheet {
    /// Counts a request in its location.
    pub fn request(&self, location: LocationId, request: &Request) {
        let first = location.index() * LOCATION_CELLS;
        let cells = &self.numbers.locations[first..first + LOCATION_CELLS];
        add(&cells[class(request.status)], 1);
        add(&cells[CLASSES], request.received);
        add(&cells[CLASSES + 1], request.sent);
        add(&cells[CLASSES + 2], request.took_us);
        let bucket = BUCKET_ENDS_US.partition_point(|&end| end < request.took_us);
        add(&cells[CLASSES + 3 + bucket], 1);
        self.numbers.latency.record(request.took_us);
    }

    /// Counts an attempt on a peer.
    pub fn attempt(&self, group: GroupId, peer: PeerId, name: &Bytes, attempt: &Attempt) {
        if peer.index() >= self.plan.groups[group].peers.len() {
            return book(&self.other(group, name), attempt);
        }
        let place = self.first_peers[group.index()] as usize + peer.index();
        let first = place * PEER_CELLS;
        book(&self.numbers.peers[first..first + PEER_CELLS], attempt);
    }

    /// The numbers of a peer that was found while running.
    fn other(&self, group: GroupId, name: &Bytes) -> Arc<[AtomicU64]> {
        let mut others = self.others.borrow_mut();
        if let Some(cells) = others.get(&(group, name.clone())) {
            return Arc::clone(cells);
        }
        let name = if others.len() < OTHERS_MAX {
            Bytes::copy_from_slice(name)
        } else {
            Bytes::from_static(REST)
        };
        let cells = others.entry((group, name.clone())).or_insert_with(|| {
            let cells: Arc<[AtomicU64]> = cells(PEER_CELLS).into();
            // A list is whole whoever panicked beside it.
            let mut all = (self.numbers.others.lock()).unwrap_or_else(PoisonError::into_inner);
            all.push(Other {
                group,
                name,
                cells: Arc::clone(&cells),
            });
            cells
        });
        Arc::clone(cells)
    }

    /// Counts a request that a store of the plan was asked about, by the place of its word in [`CACHE_WORDS`].
    pub fn cache(&self, store: usize, word: usize, bytes: u64) {
        let cells = &self.numbers.stores[store * STORE_CELLS..];
        add(&cells[word], 1);
        add(&cells[CACHE_WORDS.len() + word], bytes);
    }

    /// Counts what a zone said, by the place of its word in [`LIMIT_WORDS`].
    pub fn limit(&self, zone: ZoneId, word: usize) {
        add(
            &self.numbers.zones[zone.index() * LIMIT_WORDS.len() + word],
            1,
        );
    }

    /// The cells of sessions that came in at a listener.
    pub(super) fn sessions(&self, listener: ListenerId) -> &[AtomicU64] {
        let first = listener.index() * SESSION_CELLS;
        &self.numbers.sessions[first..first + SESSION_CELLS]
    }

    /// All sheets of the process.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }
}

fn book(cells: &[AtomicU64], attempt: &Attempt) {
    add(&cells[class(attempt.status)], 1);
    add(&cells[CLASSES], attempt.received);
    add(&cells[CLASSES + 1], attempt.sent);
    if let Some(ms) = attempt.connect_ms {
        add(&cells[CLASSES + 2], ms);
        add(&cells[CLASSES + 4], 1);
    }
    add(&cells[CLASSES + 3], attempt.took_ms);
}

impl Drop for Sheet {
    fn drop(&mut self) {
        let mut sheets = self.board.lock();
        sheets.past.add(&self.numbers, &self.plan);
        sheets
            .open
            .retain(|(numbers, _)| !Arc::ptr_eq(numbers, &self.numbers));
    }
}

impl Board {
    fn lock(&self) -> std::sync::MutexGuard<'_, Sheets> {
        // Sums stay sums, whoever panicked beside them.
        self.sheets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new sheet, for one shard under one plan.
    pub fn open(self: &Arc<Self>, plan: &Arc<Plan>, epoch: u64) -> Sheet {
        let mut first_peers = Vec::with_capacity(plan.groups.len());
        let mut peers = 0;
        for group in plan.groups.iter() {
            first_peers.push(peers);
            peers += group.peers.len() as u32;
        }
        let numbers = Arc::new(Numbers {
            epoch,
            stores: cells(plan.stores.len() * STORE_CELLS),
            zones: cells(plan.limit_zones.len() * LIMIT_WORDS.len()),
            locations: cells(plan.locations.len() * LOCATION_CELLS),
            sessions: cells(plan.listeners.len() * SESSION_CELLS),
            peers: cells(peers as usize * PEER_CELLS),
            others: Mutex::default(),
            latency: Latency::default(),
        });
        let open = (Arc::clone(&numbers), Arc::clone(plan));
        self.lock().open.push(open);
        Sheet {
            numbers,
            plan: Arc::clone(plan),
            first_peers: first_peers.into(),
            others: RefCell::default(),
            board: Arc::clone(self),
        }
    }

    /// Takes what a shard has at the moment; one who reads just now makes it say nothing this time.
    pub fn say(&self, live: Live) {
        let Ok(mut all) = self.live.try_lock() else {
            return;
        };
        match all.iter_mut().find(|known| known.shard == live.shard) {
            Some(known) => *known = live,
            None => all.push(live),
        }
    }

    /// Sums over all shards and all plans. Takes time with many locations: not for a shard's thread.
    pub fn read(&self) -> Report {
        let sheets = self.lock();
        let mut report = sheets.past.clone();
        for (numbers, plan) in &sheets.open {
            report.add(numbers, plan);
            *report.epochs.entry(numbers.epoch).or_default() += 1;
        }
        drop(sheets);
        let live = self.live.lock();
        report
            .live
            .clone_from(&live.unwrap_or_else(PoisonError::into_inner));
        report.live.sort_by_key(|live| live.shard);
        report
    }
}

impl Report {
    /// Takes what a shard has just now for what it said last, except for what only it knows over time.
    pub fn refresh(&mut self, own: &Live) {
        let known = self.live.iter_mut().find(|live| live.shard == own.shard);
        match known {
            Some(known) => {
                *known = Live {
                    lag_ms: known.lag_ms,
                    resolver: known.resolver,
                    // Who asks another shard must not see fewer of them than before.
                    checks: std::mem::take(&mut known.checks),
                    ..own.clone()
                }
            }
            None => self.live.push(Live {
                checks: Vec::new(),
                ..own.clone()
            }),
        }
    }

    fn add(&mut self, numbers: &Numbers, plan: &Plan) {
        let rows = numbers.locations.chunks_exact(LOCATION_CELLS);
        for (id, row) in plan.locations.ids().zip(rows) {
            let location = &plan.locations[id];
            let named = location.kind != LocationKind::Anonymous;
            let used = || row.iter().any(|cell| cell.load(Ordering::Relaxed) > 0);
            // The settings of an `if` and their like are worth a line only when something was answered there.
            if named || used() {
                let key = (server_name(plan, id), location_name(plan, id));
                sum(&mut self.locations.entry(key).or_default().0, row);
            }
        }
        for (listener, row) in sessions::rows(plan, &numbers.sessions) {
            let sums = &mut self.sessions.entry(listener).or_default().0;
            for (sum, cell) in sums.iter_mut().zip(row) {
                *sum = sum.wrapping_add(cell);
            }
        }
        let mut rows = numbers.peers.chunks_exact(PEER_CELLS);
        for group in plan.groups.iter() {
            for (peer, row) in group.peers.iter().zip(&mut rows) {
                let key = (text(&group.name), text(&peer.name));
                sum(&mut self.peers.entry(key).or_default().0, row);
            }
        }
        let others = (numbers.others.lock()).unwrap_or_else(PoisonError::into_inner);
        for other in others.iter() {
            let key = (text(&plan.groups[other.group].name), text(&other.name));
            sum(&mut self.peers.entry(key).or_default().0, &other.cells);
        }
        drop(others);
        for (store, row) in plan
            .stores
            .iter()
            .zip(numbers.stores.chunks_exact(STORE_CELLS))
        {
            let sums = self.stores.entry(text(&store.name)).or_default();
            sum(sums, row);
        }
        let rows = numbers.zones.chunks_exact(LIMIT_WORDS.len());
        for (zone, row) in plan.limit_zones.iter().zip(rows) {
            sum(self.zones.entry(text(&zone.name)).or_default(), row);
        }
        self.latency.add(&numbers.latency);
    }
}

fn sum(into: &mut [u64], row: &[AtomicU64]) {
    for (sum, cell) in into.iter_mut().zip(row) {
        *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first `server_name`, or `_`.
pub(super) fn server_name(plan: &Plan, location: LocationId) -> String {
    match &plan.servers[plan.locations[location].server].name[..] {
        b"" => "_".to_owned(),
        name => text(name),
    }
}

/// A location as it is written; empty for what a server answers by itself.
pub(super) fn location_name(plan: &Plan, id: LocationId) -> String {
    let location = &plan.locations[id];
    let name = text(&location.name);
    match location.kind {
        LocationKind::Exact => format!("= {name}"),
        LocationKind::Regex => format!("~ {name}"),
        LocationKind::Prefix | LocationKind::Named => name,
        LocationKind::Anonymous => String::new(),
    }
}
