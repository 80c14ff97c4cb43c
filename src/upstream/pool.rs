//! Idle connections to origins, per group and shard, kept for the next request.
//!
//! Bounded by `keepalive N`: the one unused for longest makes room. Taking costs no system call; the deadline sweep
//! looks at waiting connections and marks those whose peer closed or spoke unasked. Knows no protocol: whoever
//! gives a connection back vouches that it is between two exchanges. Start at [`Pool::take`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::h2;
use super::tls::Identity;
use crate::base::ids::IdVec;
use crate::base::time::Mono;
use crate::net::stream::Stream;
use crate::plan::{GroupId, GroupPlan, KeepalivePlan, LocationId, PeerId};

/// A connection to an origin. Stays in its box from its opening to its end.
pub struct Conn {
    /// The socket.
    pub stream: Stream,
    /// The group, when the plan knows it; only those connections are pooled.
    pub group: Option<GroupId>,
    /// The first peer of the group with this address.
    pub peer: PeerId,
    /// Requests that began on it, the current one included.
    pub requests: u32,
    /// When it was opened.
    pub created: Mono,
    /// Bytes that the kernel took for earlier requests.
    pub bytes_sent_before: u64,
    /// It came from the pool.
    pub reused: bool,
    /// Whom TLS is spoken with; none without TLS.
    pub identity: Option<Rc<Identity>>,
}

/// Who wants a connection to a peer.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The location, where the pool is split by it.
    pub location: LocationId,
    /// Whom TLS is spoken with; none without TLS.
    pub identity: Option<&'a Identity>,
}

impl Whose<'_> {
    /// A location without TLS.
    pub fn plain(location: LocationId) -> Self {
        Self {
            location,
            identity: None,
        }
    }
}

impl Conn {
    /// Whether the peer took no byte of the current request, so that sending it again elsewhere repeats nothing.
    /// `reset` says that the connection was reset rather than ended.
    ///
    /// After a reset nothing is certain: an origin that reads a request and dies resets too, and its
    /// acknowledgement may never have left. After an orderly end it is: the FIN acknowledges all that was read.
    pub fn untouched(&self, reset: bool) -> bool {
        if self.stream.tx.sent() == self.bytes_sent_before {
            return true;
        }
        if reset {
            return false;
        }
        // A unix socket has no acknowledgements: what was taken may have been read.
        let Ok(info) = self.stream.tcp_info() else {
            return false;
        };
        // The SYN counts as one byte.
        info.bytes_acked.saturating_sub(1) <= self.bytes_sent_before
    }
}

/// Entries in order of use, at most `max`.
#[derive(Debug)]
struct Shelf<T> {
    /// Oldest first.
    entries: VecDeque<T>,
    max: usize,
}

impl<T> Shelf<T> {
    fn new(max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            max,
        }
    }

    /// The latest entry that suits.
    fn take(&mut self, suits: impl Fn(&T) -> bool) -> Option<T> {
        let found = self.entries.iter().rposition(suits)?;
        if found + 1 == self.entries.len() {
            return self.entries.pop_back();
        }
        self.entries.remove(found)
    }

    /// Adds an entry; returns the one that had to go.
    fn put(&mut self, entry: T) -> Option<T> {
        if self.max == 0 {
            return Some(entry);
        }
        let gone = if self.entries.len() >= self.max {
            self.entries.pop_front()
        } else {
            None
        };
        self.entries.push_back(entry);
        gone
    }
}

struct Waiting {
    conn: Box<Conn>,
    location: LocationId,
    since: Mono,
}

struct Idle {
    rules: KeepalivePlan,
    shelf: RefCell<Shelf<Waiting>>,
}

/// The idle connections of one generation on one shard, and those that several requests share.
pub struct Pool {
    /// Connections over HTTP/2.
    pub h2: h2::Shelves,
    groups: IdVec<GroupId, Idle>,
    open: Cell<bool>,
}

impl Pool {
    /// Starts empty.
    pub fn new(plans: &IdVec<GroupId, GroupPlan>) -> Self {
        let groups = plans.iter().map(|plan| Idle {
            rules: plan.keepalive.clone(),
            shelf: RefCell::new(Shelf::new(if plan.explicit {
                plan.keepalive.idle_max as usize
            } else {
                0
            })),
        });
        Self {
            h2: h2::Shelves::new(plans),
            groups: groups.collect(),
            open: Cell::new(true),
        }
    }

    /// The connection to this peer that was used last, for another request. `peer` is the group's
    /// [`twin`](super::peers::Target::twin).
    pub fn take(
        &self,
        group: GroupId,
        peer: PeerId,
        whose: Whose<'_>,
        now: Mono,
    ) -> Option<Box<Conn>> {
        let idle = &self.groups[group];
        loop {
            let taken = idle.shelf.borrow_mut().take(|entry| {
                entry.conn.peer == peer
                    && (!idle.rules.local || entry.location == whose.location)
                    && entry.conn.identity.as_deref() == whose.identity
            });
            let Waiting {
                mut conn, since, ..
            } = taken?;
            if conn.stream.peer_gone() || now.since(since) >= idle.rules.timeout {
                continue;
            }
            conn.stream.unwatch();
            conn.bytes_sent_before = conn.stream.tx.sent();
            conn.requests += 1;
            conn.reused = true;
            return Some(conn);
        }
    }

    /// Keeps a connection that is between two exchanges, or closes it: too old, used too often, or no room.
    pub fn put(&self, conn: Box<Conn>, location: LocationId, now: Mono) {
        let Some(idle) = conn.group.and_then(|group| self.groups.get(group)) else {
            return;
        };
        let rules = &idle.rules;
        let spent = conn.requests >= rules.requests_max || now.since(conn.created) > rules.time_max;
        if spent || !self.open.get() || conn.stream.is_shut() {
            return;
        }
        conn.stream.watch_quiet();
        let gone = idle.shelf.borrow_mut().put(Waiting {
            conn,
            location,
            since: now,
        });
        drop(gone);
    }

    /// Closes connections whose peer is gone and those that waited for too long. Call it a few times a second.
    pub fn sweep(&self, now: Mono) {
        self.h2.sweep(now);
        for idle in &self.groups {
            let mut shelf = idle.shelf.borrow_mut();
            if !shelf.entries.is_empty() {
                shelf.entries.retain(|entry| {
                    !entry.conn.stream.peer_gone() && now.since(entry.since) < idle.rules.timeout
                });
            }
        }
    }

    /// Closes what waits for these peers of a group, which it has let go; connections that are shared end with their
    /// last request.
    pub fn forget(&self, group: GroupId, peers: &[PeerId]) {
        if peers.is_empty() {
            return;
        }
        self.h2.forget(group, peers);
        if let Some(idle) = self.groups.get(group) {
            let mut shelf = idle.shelf.borrow_mut();
            shelf
                .entries
                .retain(|entry| !peers.contains(&entry.conn.peer));
        }
    }

    /// Closes all and keeps none from now on: the generation drains.
    pub fn close(&self) {
        self.open.set(false);
        self.h2.close();
        self.groups
            .iter()
            .for_each(|idle| idle.shelf.borrow_mut().entries.clear());
    }

    /// Connections that wait.
    pub fn len(&self) -> usize {
        self.groups
            .iter()
            .map(|idle| idle.shelf.borrow().entries.len())
            .sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "tests may wait")]
mod tests {
    use super::*;
    use crate::net::deadline::Deadlines;
    use crate::net::runtime::{on_each_driver, sleep};
    use crate::plan::Method;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn the_shelf_forgets_the_oldest_and_gives_the_latest() {
        let mut shelf = Shelf::new(3);
        for entry in 0..3 {
            assert_eq!(shelf.put(entry), None);
        }
        assert_eq!(shelf.put(3), Some(0));
        assert_eq!(shelf.take(|e| e % 2 == 1), Some(3));
        assert_eq!(shelf.take(|e| e % 2 == 1), Some(1));
        assert_eq!(shelf.take(|e| e % 2 == 1), None);
        assert_eq!(Shelf::new(0).put(7), Some(7));
    }

    fn pool(idle_max: u32, local: bool) -> Pool {
        let plan = GroupPlan {
            name: "app".into(),
            explicit: true,
            method: Method::RoundRobin,
            checked: crate::plan::Checked::default(),
            sticky: None,
            lines: Default::default(),
            peers: IdVec::new(),
            zone: None,
            keepalive: KeepalivePlan {
                idle_max,
                local,
                requests_max: 3,
                time_max: Duration::from_secs(100),
                timeout: Duration::from_secs(10),
            },
        };
        Pool::new(&vec![plan].into())
    }

    fn conn(deadlines: &Rc<Deadlines>, peer: u32) -> (Box<Conn>, Stream) {
        let (stream, other) = Stream::pair(deadlines).unwrap();
        let conn = Conn {
            stream,
            group: Some(GroupId(0)),
            peer: PeerId(peer),
            requests: 1,
            created: Mono(0),
            bytes_sent_before: 0,
            reused: false,
            identity: None,
        };
        (Box::new(conn), other)
    }

    const G: GroupId = GroupId(0);
    const L: LocationId = LocationId(0);

    #[test]
    fn connections_come_back_by_peer_and_location() {
        on_each_driver(|| async {
            let deadlines = Deadlines::new();
            let pool = pool(2, true);
            let (a, _a) = conn(&deadlines, 0);
            let (b, _b) = conn(&deadlines, 1);
            pool.put(a, L, Mono(0));
            pool.put(b, L, Mono(0));
            assert!(
                pool.take(G, PeerId(0), Whose::plain(LocationId(1)), Mono(0))
                    .is_none(),
                "another location"
            );
            assert!(
                pool.take(G, PeerId(2), Whose::plain(L), Mono(0)).is_none(),
                "another peer"
            );
            let a = pool.take(G, PeerId(0), Whose::plain(L), Mono(1)).unwrap();
            assert!(a.reused);
            assert_eq!(a.requests, 2);
            pool.put(a, L, Mono(1));
            let (c, _c) = conn(&deadlines, 2);
            pool.put(c, L, Mono(2));
            assert!(
                pool.take(G, PeerId(1), Whose::plain(L), Mono(2)).is_none(),
                "the oldest made room"
            );
            assert_eq!(pool.len(), 2);
        });
    }

    #[test]
    fn age_use_and_idleness_end_a_connection() {
        on_each_driver(|| async {
            let deadlines = Deadlines::new();
            let pool = pool(8, false);
            let (mut used, _u) = conn(&deadlines, 0);
            used.requests = 3;
            pool.put(used, L, Mono(0));
            let (old, _o) = conn(&deadlines, 0);
            pool.put(old, L, Mono(100_001));
            assert!(pool.is_empty());
            let (idle, _i) = conn(&deadlines, 0);
            pool.put(idle, L, Mono(0));
            assert!(
                pool.take(G, PeerId(0), Whose::plain(LocationId(9)), Mono(10_000))
                    .is_none()
            );
            let (idle, _j) = conn(&deadlines, 0);
            pool.put(idle, L, Mono(0));
            pool.sweep(Mono(9_999));
            assert_eq!(pool.len(), 1);
            pool.sweep(Mono(10_000));
            assert!(pool.is_empty());
            let (late, _l) = conn(&deadlines, 0);
            pool.close();
            pool.put(late, L, Mono(0));
            assert!(pool.is_empty());
            assert_eq!(
                deadlines.len(),
                5,
                "closed sockets left the table; the test holds the other ends"
            );
        });
    }

    #[test]
    fn a_peer_that_closes_or_speaks_is_noticed_while_it_waits() {
        on_each_driver(|| async {
            let deadlines = Deadlines::new();
            let pool = pool(8, false);
            let (quiet, _q) = conn(&deadlines, 0);
            let (closed, other) = conn(&deadlines, 1);
            let (noisy, mut talker) = conn(&deadlines, 2);
            [quiet, closed, noisy]
                .into_iter()
                .for_each(|c| pool.put(c, L, Mono(0)));
            drop(other);
            talker.tx.try_send(b"HTTP/1.1 408\r\n").unwrap();
            sleep(Duration::from_millis(5)).await;
            // The first tick is enough.
            deadlines.sweep(Mono(20));
            assert!(
                pool.take(G, PeerId(1), Whose::plain(L), Mono(200))
                    .is_none()
            );
            pool.sweep(Mono(200));
            assert_eq!(pool.len(), 1);
            assert!(
                pool.take(G, PeerId(0), Whose::plain(L), Mono(200))
                    .is_some()
            );
        });
    }

    #[test]
    fn the_kernel_tells_whether_a_request_was_seen() {
        on_each_driver(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = listener.local_addr().unwrap().into();
            // What the origin does after the first exchange: read the second request or close before it.
            for (reads, untouched) in [(true, false), (false, true)] {
                let deadlines = Deadlines::new();
                let stream = crate::net::connect::connect(&to, &Default::default(), &deadlines)
                    .await
                    .unwrap();
                let (mut origin, _) = listener.accept().unwrap();
                let mut conn = conn_of(stream);
                let mut bytes = [0; 16];
                conn.stream.tx.try_send(b"first").unwrap();
                origin.read_exact(&mut bytes[..5]).unwrap();
                origin.write_all(b"answer").unwrap();
                let mut got = Vec::new();
                conn.stream.rx.recv_ready(&mut got).await.unwrap();
                conn.bytes_sent_before = 5;
                assert!(
                    conn.untouched(false) && conn.untouched(true),
                    "nothing was sent"
                );
                if !reads {
                    drop(origin);
                    conn.stream.tx.try_send(b"second").unwrap();
                } else {
                    conn.stream.tx.try_send(b"second").unwrap();
                    origin.read_exact(&mut bytes[..6]).unwrap();
                    drop(origin);
                }
                let end = conn.stream.rx.recv_ready(&mut got).await;
                assert!(matches!(end, Ok(0)), "{end:?}");
                assert_eq!(conn.untouched(false), untouched, "reads: {reads}");
                assert!(!conn.untouched(true));
            }
        });
    }

    fn conn_of(stream: Stream) -> Conn {
        Conn {
            stream,
            group: None,
            peer: PeerId(0),
            requests: 1,
            created: Mono(0),
            bytes_sent_before: 0,
            reused: true,
            identity: None,
        }
    }
}
