//! The lookup machine by tables, and the resolver against name servers of its own.

#![expect(clippy::disallowed_types, reason = "tests may wait")]

use super::*;
use crate::net::join::join2;
use crate::net::runtime::on_each_driver;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// An answer to a question: the same question, a code, and records (type, ttl, data).
fn answer(question: &[u8], code: u8, records: &[(u16, u32, &[u8])]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2] = 0x81;
    out[3] = 0x80 | code;
    out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, ttl, data) in records {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    }
    out
}

fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// Name and type that a question asks for.
fn asked(question: &[u8]) -> (String, u16) {
    let (mut at, mut name) = (12, Vec::new());
    while question[at] != 0 {
        let end = at + 1 + question[at] as usize;
        name.push(String::from_utf8(question[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    (
        name.join("."),
        u16::from_be_bytes([question[at + 1], question[at + 2]]),
    )
}

fn plan(servers: Vec<SocketAddr>, ipv6: bool) -> ResolverPlan {
    ResolverPlan {
        servers,
        valid: None,
        ipv4: true,
        ipv6,
    }
}

const V4: &[u8] = &[10, 0, 0, 1];
const V6: &[u8] = &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// What a family's server says.
#[derive(Clone, Copy)]
enum Says {
    Addr,
    Nothing,
    Alias,
    Fails,
}

fn said(says: Says, question: &[u8], other: &[u8]) -> Vec<u8> {
    let (_, kind) = asked(question);
    let data = if kind == A { V4 } else { V6 };
    match says {
        Says::Addr => answer(question, 0, &[(kind, 60, data)]),
        Says::Nothing => answer(question, 0, &[]),
        Says::Alias => answer(question, 0, &[(CNAME, 30, other)]),
        Says::Fails => answer(question, 2, &[]),
    }
}

#[test]
fn both_families_make_the_verdict_as_in_nginx() {
    let (v4, v6): (IpAddr, IpAddr) = (IpAddr::from([10, 0, 0, 1]), "fe80::1".parse().unwrap());
    let found = |ips: &[IpAddr]| Progress::Found(ips.to_vec(), Duration::from_secs(60));
    let alias = Progress::Alias(b"b.example".to_vec(), Duration::from_secs(30));
    let other = wire("b.example");
    for (a, aaaa, want) in [
        (Says::Addr, Says::Addr, found(&[v4, v6])),
        (Says::Addr, Says::Nothing, found(&[v4])),
        (Says::Nothing, Says::Addr, found(&[v6])),
        (Says::Nothing, Says::Nothing, Progress::Failed(3)),
        (Says::Nothing, Says::Alias, alias.clone()),
        (Says::Alias, Says::Alias, alias),
        (Says::Alias, Says::Nothing, Progress::Failed(3)),
        (Says::Addr, Says::Fails, Progress::Failed(2)),
        (Says::Fails, Says::Addr, Progress::Failed(2)),
    ] {
        let mut lookup = Lookup::new(b"a.example", &plan(vec![], true), [1, 2]).unwrap();
        let questions: Vec<_> = lookup.open().map(|(_, m, _)| m.to_vec()).collect();
        let first = said(a, &questions[0], &other);
        let second = said(aaaa, &questions[1], &other);
        assert_eq!(
            lookup.handle_message(b"a.example", &first, false),
            Progress::Wait
        );
        assert_eq!(
            lookup.handle_message(b"a.example", &first, false),
            Progress::Wait,
            "a duplicate"
        );
        match (lookup.handle_message(b"a.example", &second, false), want) {
            (Progress::Found(got, _), Progress::Found(want, _)) => assert_eq!(got, want),
            (got, want) => assert_eq!(got, want),
        }
    }
}

#[test]
fn strangers_answers_change_nothing() {
    let fresh = || Lookup::new(b"a.example", &plan(vec![], false), [7, 8]).unwrap();
    let question = fresh().open().next().unwrap().1.to_vec();
    let right = answer(&question, 0, &[(A, 1, V4)]);
    let mut other_id = right.clone();
    other_id[1] ^= 1;
    let other_name = {
        let mut lookup = Lookup::new(b"b.example", &plan(vec![], false), [7, 8]).unwrap();
        assert_eq!(
            lookup.handle_message(b"b.example", b"", false),
            Progress::Wait
        );
        answer(lookup.open().next().unwrap().1, 0, &[(A, 1, V4)])
    };
    let mut failed_id = answer(&question, 3, &[]);
    failed_id[0] ^= 1;
    let format_error = answer(&question, 1, &[]);
    for wrong in [other_id, other_name, failed_id, format_error, question] {
        assert_eq!(
            fresh().handle_message(b"a.example", &wrong, false),
            Progress::Wait
        );
    }
    for cut in 0..right.len() {
        assert_eq!(
            fresh().handle_message(b"a.example", &right[..cut], false),
            Progress::Wait,
            "{cut}"
        );
    }
    assert!(matches!(
        fresh().handle_message(b"a.example", &right, false),
        Progress::Found(..)
    ));
}

#[test]
fn cut_answers_are_asked_for_again_over_tcp() {
    let mut lookup = Lookup::new(b"a.example", &plan(vec![], false), [7, 8]).unwrap();
    let question = lookup.open().next().unwrap().1.to_vec();
    let mut cut = answer(&question, 0, &[(A, 1, V4)]);
    cut[2] |= 2;
    assert_eq!(
        lookup.handle_message(b"a.example", &cut, false),
        Progress::AskTcp(0)
    );
    assert_eq!(
        lookup.handle_message(b"a.example", &cut, false),
        Progress::Wait
    );
    assert!(lookup.open().all(|(_, _, tcp)| tcp));
    let whole = answer(&question, 0, &[(A, 1, V4)]);
    assert!(matches!(
        lookup.handle_message(b"a.example", &whole, true),
        Progress::Found(..)
    ));
}

#[test]
fn rotation_keeps_families_together_and_loses_nothing() {
    let all: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1", "::2"]
        .map(|t| t.parse().unwrap())
        .to_vec();
    let mut firsts = std::collections::HashSet::new();
    for random in 0..200 {
        let got = rotate(&all, random);
        firsts.insert(got[0]);
        let mut sorted = got.clone();
        sorted.sort();
        assert_eq!(sorted, all);
    }
    assert_eq!(firsts.len(), 5);
    assert!(rotate(&[], 3).is_empty());
}

#[test]
fn errors_have_nginxs_words() {
    for (error, text) in [
        (
            ResolveError::Code(3),
            "x.example could not be resolved (3: Host not found)",
        ),
        (
            ResolveError::Code(2),
            "x.example could not be resolved (2: Server failure)",
        ),
        (
            ResolveError::TimedOut,
            "x.example could not be resolved (110: Operation timed out)",
        ),
        (
            ResolveError::NoResolver,
            "no resolver defined to resolve x.example",
        ),
    ] {
        let mut out = Vec::new();
        error.write(b"x.example", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

/// A name server on its own thread; counts questions.
struct Server {
    at: SocketAddr,
    questions: Arc<AtomicUsize>,
    _stop: mpsc::Sender<()>,
}

impl Server {
    fn start(reply: impl Fn(usize, &[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        Self::start_on(UdpSocket::bind("127.0.0.1:0").unwrap(), reply)
    }

    fn start_on(
        socket: UdpSocket,
        reply: impl Fn(usize, &[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let at = socket.local_addr().unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let (_stop, stopped) = mpsc::channel();
        let count = Arc::clone(&questions);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while stopped.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                let Ok((n, from)) = socket.recv_from(&mut bytes) else {
                    continue;
                };
                let number = count.fetch_add(1, Ordering::Relaxed);
                if let Some(reply) = reply(number, &bytes[..n]) {
                    socket.send_to(&reply, from).unwrap();
                }
            }
        });
        Self {
            at,
            questions,
            _stop,
        }
    }

    fn asked(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }
}

fn resolvers(plan: ResolverPlan) -> Resolvers {
    Resolvers::new(&vec![plan].into(), &Deadlines::new())
}

async fn ask(resolvers: &Resolvers, name: &str, ms: u64) -> Result<Vec<IpAddr>, ResolveError> {
    resolvers
        .resolve(
            Some(ResolverId(0)),
            name.as_bytes(),
            Duration::from_millis(ms),
        )
        .await
}

#[test]
fn answers_are_shared_cached_and_case_does_not_matter() {
    on_each_driver(|| async {
        let server = Server::start(|_, question| Some(answer(question, 0, &[(A, 60, V4)])));
        let resolvers = resolvers(plan(vec![server.at], false));
        let (one, two) = join2(
            ask(&resolvers, "a.example", 2000),
            ask(&resolvers, "A.Example.", 2000),
        )
        .await;
        assert_eq!(
            (one.unwrap(), two.unwrap()),
            (
                vec![IpAddr::from([10, 0, 0, 1])],
                vec![IpAddr::from([10, 0, 0, 1])]
            )
        );
        ask(&resolvers, "a.EXAMPLE", 2000).await.unwrap();
        assert_eq!(server.asked(), 1);
        assert_eq!(
            ask(&resolvers, "192.0.2.7", 1).await,
            Ok(vec![IpAddr::from([192, 0, 2, 7])])
        );
        assert_eq!(ask(&resolvers, "[::1]", 1).await.unwrap().len(), 1);
        let none = resolvers.resolve(None, b"a.example", Duration::ZERO).await;
        assert_eq!(none, Err(ResolveError::NoResolver));
    });
}

#[test]
fn aliases_are_followed_and_circles_end() {
    on_each_driver(|| async {
        let server = Server::start(|_, question| {
            let (name, kind) = asked(question);
            Some(match &name[..] {
                "a.example" => answer(question, 0, &[(CNAME, 60, &wire("b.example"))]),
                "b.example" if kind == A => answer(question, 0, &[(A, 60, V4)]),
                "b.example" => answer(question, 0, &[(AAAA, 60, V6)]),
                "round.example" => answer(question, 0, &[(CNAME, 60, &wire("round.example"))]),
                _ => answer(question, 3, &[]),
            })
        });
        let resolvers = resolvers(plan(vec![server.at], true));
        assert_eq!(ask(&resolvers, "a.example", 2000).await.unwrap().len(), 2);
        assert_eq!(
            ask(&resolvers, "round.example", 5000).await,
            Err(ResolveError::Code(3))
        );
        let before = server.asked();
        for _ in 0..2 {
            assert_eq!(
                ask(&resolvers, "nx.example", 2000).await,
                Err(ResolveError::Code(3))
            );
        }
        assert_eq!(server.asked() - before, 4, "failures are not remembered");
    });
}

#[test]
fn silence_ends_in_a_timeout_and_zero_lifetimes_are_not_kept() {
    on_each_driver(|| async {
        let silent = Server::start(|_, _| None);
        let deaf = resolvers(plan(vec![silent.at], false));
        assert_eq!(
            ask(&deaf, "a.example", 50).await,
            Err(ResolveError::TimedOut)
        );
        let server = Server::start(|n, question| {
            Some(if n == 0 {
                answer(question, 0, &[(A, 0, V4)])
            } else {
                answer(question, 2, &[])
            })
        });
        let resolvers = resolvers(plan(vec![server.at], false));
        assert!(ask(&resolvers, "a.example", 2000).await.is_ok());
        assert_eq!(
            ask(&resolvers, "a.example", 2000).await,
            Err(ResolveError::Code(2))
        );
    });
}

#[test]
fn a_dead_server_is_passed_over_at_once() {
    on_each_driver(|| async {
        // A socket with a peer keeps the port from others, and takes nothing from anyone else.
        let dead = UdpSocket::bind("127.0.0.1:0").unwrap();
        dead.connect("127.0.0.1:1").unwrap();
        let dead = (dead.local_addr().unwrap(), dead);
        let server = Server::start(|_, question| Some(answer(question, 0, &[(A, 60, V4)])));
        let resolvers = resolvers(plan(vec![dead.0, server.at], false));
        let got = ask(&resolvers, "a.example", 2000).await;
        assert!(got.is_ok(), "{got:?} on the ring: {}", runtime::on_ring());
    });
}

#[test]
fn long_answers_come_over_tcp() {
    use std::io::{Read, Write};
    on_each_driver(|| async {
        let (listener, socket) = std::iter::repeat_with(|| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = UdpSocket::bind(listener.local_addr().unwrap());
            socket.map(|socket| (listener, socket))
        })
        .find_map(Result::ok)
        .unwrap();
        let server = Server::start_on(socket, |_, question| {
            let mut cut = answer(question, 0, &[]);
            cut[2] |= 2;
            Some(cut)
        });
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).unwrap();
            let records: Vec<_> = (0..100).map(|_| (A, 60, V4)).collect();
            let reply = answer(&question, 0, &records);
            stream
                .write_all(&(reply.len() as u16).to_be_bytes())
                .unwrap();
            stream.write_all(&reply).unwrap();
        });
        let resolvers = resolvers(plan(vec![server.at], false));
        assert_eq!(ask(&resolvers, "a.example", 2000).await.unwrap().len(), 100);
    });
}
