//! A shard with a one-line protocol: what comes is sent back, `panic` panics, `bye` closes.

#![expect(
    clippy::disallowed_types,
    reason = "the clients of these tests block in threads of their own"
)]

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use super::*;
use crate::mail::{ListenSocket, Target};
use crate::net::Addr;
use crate::net::bell;
use crate::net::listener::{self, Options};
use crate::net::runtime::{Prefer, RING_ENTRIES_DEFAULT, probe};
use crate::net::stream::{Idle, Stream};
use crate::plan::ListenerId;
use crate::shard::{After, Begin, Event};
use std::io::{Read, Write};
use std::sync::mpsc;

struct Echo {
    told: mpsc::Sender<String>,
}

impl Serve for Echo {
    type Parked = Stream;
    type Woken = Idle;

    fn started(shard: &Rc<Shard<Self>>) {
        let fd = LISTEN.with(|cell| cell.borrow_mut().take());
        let socket = ListenSocket {
            key: 1,
            listener: ListenerId(7),
            fd,
        };
        shard.set_listeners(vec![socket]).unwrap();
        shard
            .service
            .told
            .send(format!("shard {}", shard.index.0))
            .unwrap();
    }

    async fn serve(shard: Rc<Shard<Self>>, begin: Begin<Self>) -> After<Stream> {
        let mut stream = match begin {
            Begin::Accepted(accepted) => accepted.stream,
            Begin::Parked(stream, _) => stream,
        };
        let (n, buf) = stream.rx.recv(Vec::new()).await;
        assert!(buf != b"panic", "asked for");
        if n.is_err() || buf.is_empty() || buf == b"bye" {
            return After::Closed;
        }
        if stream.tx.send_all(buf).await.0.is_err() || shard.draining() {
            return After::Closed;
        }
        After::Park(stream)
    }

    async fn wait(parked: &mut Stream) -> Idle {
        let idle = parked.rx.wait_idle(Some(Duration::from_secs(60))).await;
        let idle = idle.unwrap();
        assert!(matches!(idle, Idle::Ready | Idle::Drained));
        idle
    }

    fn mail(shard: &Rc<Shard<Self>>, mail: Mail) {
        match mail {
            Mail::Collect { to, ticket, .. } => {
                let text = Ok(vec![shard.connections() as u8, shard.accepted() as u8]);
                shard.outbox.post(
                    to,
                    Mail::Collected {
                        from: shard.index,
                        ticket,
                        text,
                    },
                );
            }
            mail => shard.service.told.send(mail.name().to_owned()).unwrap(),
        }
    }

    fn event(shard: &Shard<Self>, event: Event<'_>) {
        if !matches!(event, Event::Draining) {
            shard.service.told.send(format!("{event:?}")).unwrap();
        }
    }

    async fn end(shard: &Rc<Shard<Self>>) {
        shard.service.told.send("end".to_owned()).unwrap();
    }
}

struct Bench {
    post: Post<Mail>,
    control: Inbox<Mail>,
    told: mpsc::Receiver<String>,
    at: SocketAddr,
    thread: JoinHandle<io::Result<()>>,
}

/// A shard that listens from its start, because there is no plan to mail to it.
fn shard(prefer: Prefer, sockets_max: usize) -> Bench {
    let fd = listener::bind(
        &Addr::Ip("127.0.0.1:0".parse().unwrap()),
        &Options::default(),
    )
    .unwrap();
    let at = Addr::from(Some(rustix::net::getsockname(&fd).unwrap()))
        .ip()
        .unwrap();
    let bells: Vec<OwnedFd> = (0..2).map(|_| bell::event().unwrap()).collect();
    let (post, mut inboxes) = Post::new(bells);
    let control = inboxes.pop().unwrap();
    let inbox = inboxes.pop().unwrap();
    let (tell, told) = mpsc::channel();
    let setup = Setup {
        core: Some(0),
        choice: probe(prefer),
        ring_entries: RING_ENTRIES_DEFAULT,
        sockets_max,
        busy_poll: Duration::ZERO,
        room: Room::default(),
    };
    let thread = start(setup, inbox, post.clone(), move |_| {
        LISTEN.with(|cell| *cell.borrow_mut() = Some(fd));
        Echo { told: tell }
    })
    .unwrap();
    let bench = Bench {
        post,
        control,
        told,
        at,
        thread,
    };
    assert_eq!(bench.told.recv().unwrap(), "shard 0");
    bench
}

thread_local! {
    static LISTEN: std::cell::RefCell<Option<OwnedFd>> = const { std::cell::RefCell::new(None) };
}

impl Bench {
    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.at).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client
    }

    fn send(&self, mail: Mail) {
        assert!(self.post.send(Target(0), mail).is_ok());
    }

    /// The next letter to control.
    fn letter(&self) -> Mail {
        let bell = self.control.bell().unwrap();
        let mut letters = VecDeque::new();
        loop {
            self.control.take(&mut letters);
            if let Some(letter) = letters.pop_front() {
                assert!(letters.is_empty());
                return letter;
            }
            let mut wait = [rustix::event::PollFd::new(
                &bell,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut wait, None).unwrap();
            let _ = rustix::io::read(&bell, &mut [0u8; 8]);
        }
    }

    fn counts(&self) -> Vec<u8> {
        self.send(Mail::Collect {
            to: Target(1),
            ticket: 3,
            line: Box::default(),
        });
        match self.letter() {
            Mail::Collected {
                from: Target(0),
                ticket: 3,
                text: Ok(text),
            } => text,
            other => unreachable!("{}", other.name()),
        }
    }

    fn end(self) {
        assert!(matches!(self.letter(), Mail::Ended { shard: Target(0) }));
        assert_eq!(self.told.recv().unwrap(), "end");
        self.thread.join().unwrap().unwrap();
    }
}

fn say(client: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    client.write_all(text).unwrap();
    hear(client)
}

/// What comes next, empty at the end. A receive with a time-out may be interrupted without a signal.
fn hear(client: &mut TcpStream) -> Vec<u8> {
    let mut got = vec![0; 64];
    loop {
        match client.read(&mut got) {
            Ok(n) => {
                got.truncate(n);
                return got;
            }
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::Interrupted),
        }
    }
}

fn on_both(test: impl Fn(Prefer)) {
    test(Prefer::Auto);
    test(Prefer::Epoll);
}

#[test]
fn connections_are_served_parked_and_counted() {
    on_both(|prefer| {
        let bench = shard(prefer, 100);
        let mut clients: Vec<_> = (0..3).map(|_| bench.client()).collect();
        for round in [&b"one"[..], b"two", b"three"] {
            for client in &mut clients {
                assert_eq!(say(client, round), round);
            }
        }
        assert_eq!(bench.counts(), [3, 3]);
        assert_eq!(say(&mut clients[0], b"bye"), b"");
        bench.send(Mail::Stop);
        bench.end();
    });
}

#[test]
fn a_panic_costs_one_connection() {
    on_both(|prefer| {
        let bench = shard(prefer, 100);
        let mut other = bench.client();
        assert_eq!(say(&mut other, b"x"), b"x");
        assert_eq!(say(&mut bench.client(), b"panic"), b"");
        assert_eq!(bench.told.recv().unwrap(), "Panicked(\"asked for\")");
        assert_eq!(say(&mut other, b"y"), b"y");
        assert_eq!(bench.counts(), [1, 2]);
        bench.send(Mail::Stop);
        bench.end();
    });
}

#[test]
fn a_drain_closes_the_idle_finishes_the_busy_and_refuses_the_new() {
    on_both(|prefer| {
        let bench = shard(prefer, 100);
        let (mut idle, mut busy) = (bench.client(), bench.client());
        assert_eq!(say(&mut idle, b"x"), b"x");
        assert_eq!(bench.counts().len(), 2);
        // Busy is in the middle of its first exchange, which no drain may cut.
        while bench.counts()[0] != 2 {}
        bench.send(Mail::Drain { within: None });
        assert_eq!(say(&mut idle, b""), b"");
        assert_eq!(say(&mut busy, b"last"), b"last");
        assert_eq!(hear(&mut busy), b"");
        assert!(TcpStream::connect(bench.at).is_err());
        bench.end();
    });
}

#[test]
fn a_drain_cuts_what_is_left_when_its_time_is_over() {
    on_both(|prefer| {
        let bench = shard(prefer, 100);
        let mut busy = bench.client();
        while bench.counts()[0] != 1 {}
        bench.send(Mail::Drain {
            within: Some(Duration::from_millis(60)),
        });
        assert_eq!(hear(&mut busy), b"");
        assert_eq!(bench.told.recv().unwrap(), "Cut(1)");
        bench.end();
    });
}

#[test]
fn the_socket_limit_closes_idle_connections_first() {
    on_both(|prefer| {
        let bench = shard(prefer, 2);
        let (mut a, mut b) = (bench.client(), bench.client());
        assert_eq!(say(&mut a, b"a"), b"a");
        // Busy: its exchange has begun.
        while bench.counts()[0] != 2 {}
        let mut c = bench.client();
        assert_eq!(say(&mut c, b"c"), b"c");
        assert_eq!(hear(&mut a), b"");
        assert_eq!(say(&mut b, b"b"), b"b");
        bench.send(Mail::Stop);
        bench.end();
    });
}
