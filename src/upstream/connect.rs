//! From a group to a connection: picks a peer, takes an idle connection to it or opens one. One attempt a call; what
//! follows a failure is [`super::retry`]'s to say. Start at [`acquire`].

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::h2;
use super::peers::Target;
use super::pool::{Conn, Pool, Whose};
use super::retry::Cause;
use super::selection::{Pick, Selection};
use super::tls::Identity;
use super::trouble::{Action, Trouble};
use crate::base::buf::BufPool;
use crate::base::time::Mono;
use crate::net::addr::Addr;
use crate::net::connect::{self, Options};
use crate::net::deadline::Deadlines;
use crate::plan::{GroupId, LocationId, PeerAddr, PeerId};

/// No connection.
#[derive(Debug)]
pub enum Unreached {
    /// No peer was usable.
    NoLive,
    /// All usable peers have as many requests as they may.
    Full,
    /// The peer did not take the connection in time.
    TimedOut,
    /// The peer cannot be connected to.
    Refused(Trouble),
    /// There is a connection, and TLS on it failed.
    Unshaken(Trouble),
    /// Our certificate for the peer cannot be read, which was told.
    Unarmed,
    /// We are short of descriptors or memory, which is not the peer's fault.
    Local(io::Error),
}

impl Unreached {
    /// As the retry policy sees it.
    pub fn cause(&self) -> Cause {
        match self {
            Self::NoLive => Cause::NoLive,
            Self::Full => Cause::Full,
            Self::TimedOut | Self::Unshaken(Trouble::TimedOut) => Cause::Timeout,
            Self::Refused(_) | Self::Unshaken(_) => Cause::Error,
            Self::Unarmed | Self::Local(_) => Cause::Local,
        }
    }

    /// As the log tells it, with what was being done.
    pub fn into_trouble(self) -> (Trouble, Action) {
        let action = match self {
            Self::Unshaken(_) => Action::Handshaking,
            _ => Action::Connecting,
        };
        let trouble = match self {
            Self::NoLive | Self::Full | Self::Unarmed => Trouble::NoLive,
            Self::TimedOut => Trouble::TimedOut,
            Self::Refused(trouble) | Self::Unshaken(trouble) => trouble,
            Self::Local(error) => Trouble::Socket(error),
        };
        (trouble, action)
    }
}

/// Picks a peer, with the help of a random word. The peer stays the selection's current one until it is reported, whatever the result. A connection to
/// it that idles is taken from the pool, which is keyed by `whose` they are; none means that one has to be opened, by [`open`].
pub fn acquire(
    selection: &mut Selection,
    pool: &Pool,
    whose: Whose<'_>,
    now: Mono,
    random: u64,
) -> Result<Option<Box<Conn>>, Unreached> {
    let Some((id, peer)) = pick(selection, now, random)? else {
        return Ok(None);
    };
    Ok(pool.take(id, peer, whose, now))
}

/// As [`acquire`], for a stream of a connection over HTTP/2 that is there already.
pub fn acquire_stream(
    selection: &mut Selection,
    pool: &Pool,
    whose: Whose<'_>,
    deadlines: &Rc<Deadlines>,
    (now, random): (Mono, u64),
) -> Result<Option<h2::Handle>, Unreached> {
    let Some((id, peer)) = pick(selection, now, random)? else {
        return Ok(None);
    };
    Ok(pool.h2.take(id, (peer, whose), deadlines, now))
}

/// Where [`acquire_stream`] found nothing: whether to open a connection, or to wait for one that is being opened.
pub fn turn(
    selection: &Selection,
    pool: &Pool,
    whose: Whose<'_>,
    identity: Option<Rc<Identity>>,
) -> h2::Turn {
    match picked(selection) {
        Some((group, peer)) => pool.h2.turn(group, (peer, whose), identity),
        None => h2::Turn::Alone,
    }
}

/// A stream for who has waited.
pub fn join_stream(
    selection: &Selection,
    pool: &Pool,
    whose: Whose<'_>,
    deadlines: &Rc<Deadlines>,
    now: Mono,
) -> Option<h2::Handle> {
    let (group, peer) = picked(selection)?;
    pool.h2.take(group, (peer, whose), deadlines, now)
}

/// The group and the peer of a selection, where its connections may be shared.
fn picked(selection: &Selection) -> Option<(GroupId, PeerId)> {
    match (selection.group().id, selection.target()) {
        (Some(id), Some(target)) if !selection.fresh_only() => Some((id, target.twin)),
        _ => None,
    }
}

/// The group and the peer, where a connection that is there already will do.
fn pick(
    selection: &mut Selection,
    now: Mono,
    random: u64,
) -> Result<Option<(GroupId, PeerId)>, Unreached> {
    let fresh = selection.fresh_only();
    match selection.pick(now, random) {
        Pick::Peer(_) => {}
        Pick::None => return Err(Unreached::NoLive),
        Pick::Full => return Err(Unreached::Full),
    }
    Ok(match (selection.group().id, selection.target()) {
        (Some(id), Some(target)) if !fresh => Some((id, target.twin)),
        _ => None,
    })
}

/// Speaks HTTP/2 on a connection that was just opened, and begins its first stream.
pub fn speak_h2<B: AsRef<BufPool> + 'static>(
    conn: Conn,
    pool: &Pool,
    location: LocationId,
    deadlines: &Rc<Deadlines>,
    buffers: B,
) -> Result<h2::Handle, Unreached> {
    let group = conn.group;
    let key = h2::Key {
        peer: conn.peer,
        location,
        identity: conn.identity.clone(),
    };
    let shared = h2::start(conn, buffers);
    let handle = pool.h2.put(group, key, shared, deadlines);
    // A connection that has not begun cannot be full.
    handle.ok_or(Unreached::NoLive)
}

/// Opens a connection to the peer that [`acquire`] picked.
pub async fn open(
    selection: &Selection,
    options: &Options,
    deadlines: &Rc<Deadlines>,
    now: Mono,
) -> Result<Box<Conn>, Unreached> {
    let Some(target) = selection.target() else {
        return Err(Unreached::NoLive);
    };
    let stream = connect::connect(&address(&target.addr), options, deadlines)
        .await
        .map_err(|e| unreached(e, target))?;
    Ok(Box::new(Conn {
        stream,
        group: selection.group().id,
        peer: target.twin,
        requests: 1,
        created: now,
        bytes_sent_before: 0,
        reused: false,
        identity: None,
    }))
}

fn address(addr: &PeerAddr) -> Addr {
    match addr {
        PeerAddr::Tcp(addr) => Addr::Ip(*addr),
        PeerAddr::Unix(path) => Addr::Unix(Rc::from(path.as_os_str().as_bytes())),
    }
}

fn unreached(error: io::Error, target: &Target) -> Unreached {
    use io::ErrorKind as K;
    if error.raw_os_error().is_some_and(is_ours) {
        return Unreached::Local(error);
    }
    match error.kind() {
        // Our own deadline has no number; ETIMEDOUT is the kernel giving up, an error like others.
        K::TimedOut if error.raw_os_error().is_none() => Unreached::TimedOut,
        // These come from the network, later than the call; all else is the call's own answer and names its target.
        K::ConnectionRefused | K::ConnectionReset | K::TimedOut | K::HostUnreachable
            if matches!(target.addr, PeerAddr::Tcp(_)) =>
        {
            Unreached::Refused(Trouble::Connect(error))
        }
        _ => Unreached::Refused(Trouble::ConnectTo(target.name.to_vec(), error)),
    }
}

/// Errors of the socket call itself: EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_ours(number: i32) -> bool {
    use rustix::io::Errno as E;
    [E::MFILE, E::NFILE, E::NOBUFS, E::NOMEM]
        .iter()
        .any(|errno| errno.raw_os_error() == number)
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "tests may wait")]
mod tests {
    use super::*;
    use crate::base::ids::IdVec;
    use crate::net::runtime::on_each_driver;
    use crate::plan::{GroupId, GroupPlan, KeepalivePlan, Method, PeerPlan};
    use crate::upstream::balance::Key;
    use crate::upstream::group::{Group, Groups};
    use crate::upstream::selection::Outcome;
    use std::time::Duration;

    fn plans(addrs: Vec<PeerAddr>) -> IdVec<GroupId, GroupPlan> {
        let peers: Vec<_> = addrs
            .into_iter()
            .map(|addr| PeerPlan {
                name: crate::upstream::group::address_text(&addr),
                server: crate::upstream::group::address_text(&addr),
                addr,
                weight: 1,
                max_conns: 0,
                max_fails: 1,
                fail_timeout: Duration::from_secs(10),
                slow_start: Duration::ZERO,
                backup: false,
                down: false,
                drain: false,
                sid: bytes::Bytes::new(),
            })
            .collect();
        vec![GroupPlan {
            name: "app".into(),
            explicit: true,
            method: Method::RoundRobin,
            checked: crate::plan::Checked::default(),
            sticky: None,
            lines: Default::default(),
            peers: peers.into(),
            zone: None,
            keepalive: KeepalivePlan {
                idle_max: 4,
                local: true,
                requests_max: 100,
                time_max: Duration::from_secs(100),
                timeout: Duration::from_secs(10),
            },
        }]
        .into()
    }

    fn closed_port() -> PeerAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        PeerAddr::Tcp(listener.local_addr().unwrap())
    }

    async fn obtain(
        selection: &mut Selection,
        pool: &Pool,
        deadlines: &Rc<Deadlines>,
    ) -> Result<Box<Conn>, Unreached> {
        if let Some(conn) = acquire(selection, pool, Whose::plain(LocationId(0)), Mono(0), 0)? {
            return Ok(conn);
        }
        let options = Options {
            within: Some(Duration::from_secs(1)),
            ..Options::default()
        };
        open(selection, &options, deadlines, Mono(0)).await
    }

    #[test]
    fn a_connection_is_opened_kept_and_taken_again() {
        on_each_driver(|| async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let plans = plans(vec![PeerAddr::Tcp(listener.local_addr().unwrap())]);
            let (groups, pool) = (Groups::new(&plans, None), Pool::new(&plans));
            let deadlines = Deadlines::new();
            let mut selection = groups.begin(GroupId(0), Key::None, 0, Mono(0));
            let conn = obtain(&mut selection, &pool, &deadlines).await.unwrap();
            assert!(!conn.reused);
            let local = conn.stream.local_addr().unwrap();
            pool.put(conn, LocationId(0), Mono(1));
            selection.report(Outcome::Ok, Mono(1));
            let mut selection = groups.begin(GroupId(0), Key::None, 0, Mono(1));
            let conn = obtain(&mut selection, &pool, &deadlines).await.unwrap();
            assert!(conn.reused);
            assert_eq!(conn.stream.local_addr().unwrap(), local);
            // After a stale attempt an idle connection is not trusted.
            pool.put(conn, LocationId(0), Mono(1));
            selection.report(Outcome::Stale, Mono(1));
            let conn = obtain(&mut selection, &pool, &deadlines).await.unwrap();
            assert!(!conn.reused);
        });
    }

    #[test]
    fn failures_are_told_in_nginxs_words() {
        on_each_driver(|| async {
            let missing = PeerAddr::Unix("/nonexistent/ringx.sock".into());
            for (addr, text) in [
                (
                    closed_port(),
                    "connect() failed (111: Connection refused) while connecting to upstream",
                ),
                (
                    missing,
                    "connect() to unix:/nonexistent/ringx.sock failed (2: No such file or directory) while connecting to upstream",
                ),
            ] {
                let plans = plans(vec![addr]);
                let (groups, pool) = (Groups::new(&plans, None), Pool::new(&plans));
                let deadlines = Deadlines::new();
                let mut selection = groups.begin(GroupId(0), Key::None, 0, Mono(0));
                let error = obtain(&mut selection, &pool, &deadlines)
                    .await
                    .err()
                    .unwrap();
                assert_eq!(error.cause(), Cause::Error);
                let mut out = Vec::new();
                let (trouble, action) = error.into_trouble();
                trouble.write(action, &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), text);
                assert!(
                    selection.current().is_some(),
                    "the attempt is reported by its owner"
                );
            }
        });
    }

    #[test]
    fn a_lack_of_descriptors_is_not_the_peers_fault() {
        let group = Group::of_targets("peer".into(), std::iter::once(closed_port()));
        let set = group.set();
        let target = &set.targets()[0];
        for (number, ours) in [
            (24, true),
            (23, true),
            (105, true),
            (12, true),
            (111, false),
            (99, false),
        ] {
            let error = unreached(io::Error::from_raw_os_error(number), target);
            assert_eq!(matches!(error, Unreached::Local(_)), ours, "{number}");
            assert_eq!(error.cause() == Cause::Local, ours);
        }
    }
}
