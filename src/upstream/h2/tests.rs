//! Connections over a pair of sockets, with the machine in its server role at the other end.

use super::super::pool::Whose;
use super::*;
use crate::base::ids::IdVec;
use crate::net::deadline::{Deadlines, Link};
use crate::net::runtime::{on_each_driver, sleep, spawn, yield_now};
use crate::plan::{GroupId, GroupPlan, KeepalivePlan, LocationId, Method, PeerId};
use crate::proto::h1::parse::HeadLimits;
use crate::proto::head::RequestHead;
use crate::proto::tokens::Token;

const SOON: Duration = Duration::from_secs(5);
const GET: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nConnection: close\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";

/// Buffers of a test.
#[derive(Clone, Default)]
struct Lent(Rc<BufPool>);

impl AsRef<BufPool> for Lent {
    fn as_ref(&self) -> &BufPool {
        &self.0
    }
}

/// What a server sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(StreamKey, String),
    Data(String, bool),
    Reset(ErrorCode),
    Closed,
}

/// The other end.
struct Server {
    socket: Socket,
    machine: Machine,
    input: Vec<u8>,
}

impl Server {
    fn new(socket: Socket, streams_max: u32) -> Self {
        let config = Config {
            streams_max,
            window: 65_535,
            connection_window: 1 << 20,
            unread_max: 1 << 20,
            frame_max: FRAME_MIN,
            head_bytes_max: 8192,
            connect_protocol: false,
        };
        Self {
            socket,
            machine: Machine::new(Role::Server, config),
            input: Vec::new(),
        }
    }

    async fn next(&mut self) -> Seen {
        loop {
            self.flush().await;
            let step = self.machine.step(Mono(1), &self.input).unwrap();
            let seen = match step.event {
                Some(Event::Head { stream, .. }) => {
                    let mut head = RequestHead::default();
                    let limits = HeadLimits::default();
                    let read = self.machine.read_request(stream, &mut head, &limits);
                    read.unwrap().unwrap();
                    let own = head.fields.get(Token::CONNECTION).is_some();
                    let text = format!(
                        "{} {} {}{}",
                        head.method_bytes().escape_ascii(),
                        head.bytes(head.uri).escape_ascii(),
                        head.bytes(head.host).escape_ascii(),
                        if own { " connection" } else { "" }
                    );
                    Some(Seen::Request(stream, text))
                }
                Some(Event::Data {
                    stream,
                    from,
                    to,
                    end,
                }) => {
                    let text = self.input[from..to].escape_ascii().to_string();
                    self.machine.consumed(stream, to - from);
                    Some(Seen::Data(text, end))
                }
                Some(Event::Reset { code, .. }) => Some(Seen::Reset(code)),
                _ => None,
            };
            self.input.drain(..step.consumed);
            if let Some(seen) = seen {
                return seen;
            }
            if step.event.is_none() && !self.machine.wants_write() {
                let (read, input) = self.socket.rx.recv(std::mem::take(&mut self.input)).await;
                self.input = input;
                if !matches!(read, Ok(1..)) {
                    return Seen::Closed;
                }
            }
        }
    }

    async fn flush(&mut self) {
        let mut out = Vec::new();
        self.machine.transmit(&mut out, 1 << 20);
        if !out.is_empty() {
            let _ = self.socket.tx.send_all(out).await;
        }
    }

    async fn answer(&mut self, stream: StreamKey, body: &[u8]) {
        self.machine.begin_block();
        self.machine.put_status(200);
        self.machine.end_block(stream, false);
        self.machine.send(stream, body);
        self.machine.finish(stream, None);
        self.flush().await;
    }

    async fn request(&mut self) -> StreamKey {
        match self.next().await {
            Seen::Request(stream, _) => stream,
            other => panic!("{other:?} instead of a request"),
        }
    }
}

/// A group on a shelf, and a connection of it.
struct Place {
    deadlines: Rc<Deadlines>,
    shelves: Shelves,
}

const G: GroupId = GroupId(0);

fn plan(idle_max: u32) -> IdVec<GroupId, GroupPlan> {
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
            local: false,
            requests_max: 100,
            time_max: Duration::from_secs(100),
            timeout: Duration::from_secs(10),
        },
    };
    vec![plan].into()
}

impl Place {
    fn new(idle_max: u32) -> Self {
        let deadlines = Deadlines::new();
        drop(spawn(deadlines.clone().run()));
        Self {
            shelves: Shelves::new(&plan(idle_max)),
            deadlines,
        }
    }

    fn key() -> Key {
        Key {
            peer: PeerId(0),
            location: LocationId(0),
            identity: None,
        }
    }

    /// A new connection's first stream.
    fn open(&self, streams_max: u32) -> (Handle, Server) {
        let (stream, other) = Socket::pair(&self.deadlines).unwrap();
        let conn = Conn {
            stream,
            group: Some(G),
            peer: PeerId(0),
            requests: 1,
            created: Mono(0),
            bytes_sent_before: 0,
            reused: false,
            identity: None,
        };
        let shared = start(conn, Lent::default());
        let handle = self
            .shelves
            .put(Some(G), Self::key(), shared, &self.deadlines);
        (handle.unwrap(), Server::new(other, streams_max))
    }

    fn take(&self) -> Option<Handle> {
        let whose = Whose::plain(LocationId(0));
        self.shelves
            .take(G, (PeerId(0), whose), &self.deadlines, Mono(1))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.deadlines.stop();
    }
}

async fn status(handle: &Handle) -> Result<u16, Fault> {
    let mut head = ResponseHead::default();
    handle.read_head(&mut head, SOON, SOON).await?;
    Ok(head.status)
}

async fn body(handle: &Handle) -> Result<String, Fault> {
    let mut text = Vec::new();
    loop {
        let mut piece = Vec::new();
        match handle.read_body(&mut piece, SOON).await? {
            Came::Data(_) => text.extend(piece),
            Came::End => return Ok(String::from_utf8(text).unwrap()),
        }
    }
}

#[test]
fn a_connection_carries_one_exchange_after_the_other() {
    on_each_driver(|| async {
        let place = Place::new(4);
        let (handle, mut server) = place.open(10);
        handle.send_head(GET, b"http", true);
        let Seen::Request(stream, text) = server.next().await else {
            panic!("a request");
        };
        assert_eq!(text, "GET /a?b h", "what only HTTP/1 has is left out");
        server.answer(stream, b"hello").await;
        assert!(!handle.reused);
        assert_eq!(status(&handle).await.unwrap(), 200);
        assert_eq!(body(&handle).await.unwrap(), "hello");
        drop(handle);
        let handle = place.take().unwrap();
        assert!(handle.reused);
        handle.send_head(POST, b"http", false);
        handle.send_rest(b"four");
        let stream = server.request().await;
        assert_eq!(server.next().await, Seen::Data("four".into(), true));
        server.answer(stream, b"").await;
        assert_eq!(status(&handle).await.unwrap(), 200);
        assert_eq!(body(&handle).await.unwrap(), "");
        assert_eq!(place.shelves.len(), 1);
    });
}

#[test]
fn a_peers_limit_is_kept_once_it_is_known() {
    on_each_driver(|| async {
        let place = Place::new(4);
        let (first, mut server) = place.open(2);
        first.send_head(GET, b"http", true);
        let stream = server.request().await;
        server.answer(stream, b"").await;
        assert_eq!(status(&first).await.unwrap(), 200);
        let second = place.take().unwrap();
        assert!(place.take().is_none(), "two are open");
        drop(second);
        assert!(place.take().is_some());
    });
}

#[test]
fn what_is_not_wanted_any_more_is_cancelled() {
    on_each_driver(|| async {
        let place = Place::new(4);
        let (handle, mut server) = place.open(10);
        // Nothing was said on this one, and nothing is.
        drop(place.take().unwrap());
        handle.send_head(GET, b"http", true);
        server.request().await;
        drop(handle);
        assert_eq!(server.next().await, Seen::Reset(ErrorCode::Cancel));
        let handle = place.take().unwrap();
        let link = Link::new(handle.mark(), &place.deadlines);
        handle.send_head(GET, b"http", true);
        server.request().await;
        link.cut();
        assert!(matches!(status(&handle).await, Err(Fault::Cut)));
    });
}

#[test]
fn an_unread_body_is_held_at_the_origin() {
    on_each_driver(|| async {
        let place = Place::new(4);
        let (handle, mut server) = place.open(10);
        handle.send_head(GET, b"http", true);
        let stream = server.request().await;
        server.answer(stream, &vec![b'x'; 4 << 20]).await;
        let serving = spawn(async move { while server.next().await != Seen::Closed {} });
        assert_eq!(status(&handle).await.unwrap(), 200);
        let held = || handle.shared.mailbox(handle.key).data.len();
        while held() < WINDOW as usize {
            sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..50 {
            yield_now().await;
        }
        assert_eq!(held(), WINDOW as usize);
        assert_eq!(body(&handle).await.unwrap().len(), 4 << 20);
        drop(handle);
        place.shelves.close();
        serving.await;
    });
}

#[test]
fn a_stream_above_the_last_one_was_not_looked_at() {
    on_each_driver(|| async {
        let place = Place::new(4);
        let (first, mut server) = place.open(10);
        first.send_head(GET, b"http", true);
        server.request().await;
        server.machine.leave(ErrorCode::No);
        let second = place.take().unwrap();
        second.send_head(GET, b"http", true);
        server.flush().await;
        assert!(matches!(status(&second).await, Err(Fault::Unprocessed)));
        assert!(place.take().is_none(), "no new streams");
        drop(server);
        let end = status(&first).await;
        assert!(matches!(end, Err(Fault::Closed | Fault::Io(_))), "{end:?}");
    });
}

#[test]
fn idle_connections_are_bounded_in_number_and_in_time() {
    on_each_driver(|| async {
        let place = Place::new(1);
        let (a, mut first) = place.open(10);
        let (b, mut second) = place.open(10);
        drop((a, b));
        // The one that was idle for longest goes; both never said a word.
        assert_eq!(first.next().await, Seen::Closed);
        assert_eq!(place.shelves.len(), 1);
        place.shelves.sweep(Mono(u64::MAX / 2));
        assert_eq!(second.next().await, Seen::Closed);
        assert!(place.take().is_none());
    });
}

#[test]
fn a_body_is_sent_no_faster_than_it_is_taken() {
    on_each_driver(|| async {
        let place = Place::new(4);
        let (handle, mut server) = place.open(10);
        handle.send_head(POST, b"http", false);
        server.request().await;
        let sink = handle.sink();
        // More than the peer's window and what may wait here.
        let piece = vec![b'x'; 200_000];
        let sent = sink.send(&piece, Duration::from_millis(60)).await;
        assert!(matches!(sent, Err(Fault::TimedOut)));
        drop(handle);
        assert!(matches!(sink.queue(b"x"), Err(Fault::Stopped)));
        sink.closed().await;
    });
}
