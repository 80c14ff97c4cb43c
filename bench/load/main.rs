//! The load of tunnels, both ends of it: an origin that switches protocols, and clients that move bulk, play ping-pong or
//! sit still. One thread and epoll, so that the generator costs little beside what it measures.
//!
//! `load origin ADDR` serves until it is killed; `/echo` gives back, `/source` sends without end, `/sink` takes all.
//! `load bulk ADDR --path /source`, `load pingpong ADDR` and `load idle ADDR` are clients; they print `begin` when
//! measuring begins and `moved BYTES MESSAGES P50 P99 P999` when it ends: percentiles of how long a message was under way,
//! in nanoseconds, zero in bulk. `load hits ADDR` asks for answers at a steady pace ([`hits`]); `load answers ADDR` is the
//! other end of plain requests ([`answers`]), and `load tls ADDR` asks over TLS ([`secure`]).

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a load generator has no shards, reads clocks, and stops at the first surprise"
)]

mod answers;
mod hits;
mod secure;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use rustix::net::{RecvFlags, recv};

/// Bytes of one read or write in bulk.
const BULK_BYTES: usize = 256 << 10;

/// The longest time that is told apart from longer ones.
const MINUTE_NS: u64 = 60_000_000_000;

/// How long a load runs before it is measured.
const WARM: Duration = Duration::from_millis(700);

#[derive(Parser)]
struct Options {
    /// `origin`, `bulk`, `pingpong`, `idle`, `hits`, `answers` or `tls`.
    role: String,
    /// Where to listen, or the proxy.
    addr: String,
    /// A unix socket to listen on too, of `answers`.
    #[arg(long)]
    unix: Option<std::path::PathBuf>,
    /// What to ask for, in bulk and over TLS.
    #[arg(long, default_value = "/source")]
    path: String,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Requests for each second, of `hits`.
    #[arg(long, default_value_t = 8000)]
    rate: u64,
    /// Different keys that `hits` asks for.
    #[arg(long, default_value_t = 64)]
    keys: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

/// What an end of a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    /// The origin waits for a request.
    Head,
    /// Gives back what comes.
    Echo,
    /// Sends without end.
    Source,
    /// Takes all and looks at none of it.
    Sink,
    /// Sends a message and waits until it is back.
    Ping,
    /// Nothing.
    Still,
}

impl Play {
    /// Over loopback it is the sender who pays for waking the receiver up, which no proxy does between machines.
    fn stays_awake(self) -> bool {
        matches!(self, Self::Source | Self::Sink | Self::Ping | Self::Echo)
    }
}

struct Conn {
    socket: TcpStream,
    play: Play,
    /// What came of a request head.
    held: Vec<u8>,
    /// Bytes of the current message that came back.
    back: usize,
    /// When it was sent.
    sent: Instant,
}

struct Moved {
    bytes: u64,
    messages: u64,
    /// Nanoseconds that messages were under way.
    times: Histogram<u64>,
}

impl Moved {
    fn new() -> Self {
        Self {
            bytes: 0,
            messages: 0,
            times: Histogram::new_with_bounds(1, MINUTE_NS, 3).unwrap(),
        }
    }
}

fn main() {
    let options = Options::parse();
    match options.role.as_str() {
        "origin" => origin(&options),
        "bulk" => {
            let play = match options.path.as_str() {
                "/source" => Play::Sink,
                "/sink" => Play::Source,
                other => panic!("{other} is no bulk"),
            };
            client(&options, play, options.connections);
        }
        "pingpong" => client(&options, Play::Ping, options.connections),
        "idle" => client(&options, Play::Still, options.connections),
        "hits" => hits::run(&options),
        "answers" => answers::run(&options),
        "tls" => secure::run(&options),
        other => panic!("no such role: {other}"),
    }
}

fn watch(epoll: &OwnedFd, socket: &TcpStream, number: usize, play: Play) {
    let flags = match play {
        Play::Source => epoll::EventFlags::OUT,
        Play::Echo | Play::Ping => epoll::EventFlags::IN | epoll::EventFlags::ET,
        _ => epoll::EventFlags::IN,
    };
    epoll::add(
        epoll,
        socket,
        epoll::EventData::new_u64(number as u64),
        flags,
    )
    .unwrap();
}

/// Waits for a second at most. Whoever stays awake gives the core to the other end instead.
fn wait(poll: &OwnedFd, events: &mut Vec<epoll::Event>, awake: bool) {
    let patience = Timespec {
        tv_sec: i64::from(!awake),
        tv_nsec: 0,
    };
    events.clear();
    let room = rustix::buffer::spare_capacity(events);
    epoll::wait(poll, room, Some(&patience)).unwrap();
    if awake && events.is_empty() {
        rustix::thread::sched_yield();
    }
}

/// One process for all tunnels of one load.
fn origin(options: &Options) {
    let listener = TcpListener::bind(&options.addr).unwrap();
    listener.set_nonblocking(true).unwrap();
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let own = epoll::EventData::new_u64(u64::MAX);
    epoll::add(&poll, &listener, own, epoll::EventFlags::IN).unwrap();
    let mut conns: Vec<Option<Conn>> = Vec::new();
    let (mut buf, mut moved) = (vec![b'x'; BULK_BYTES], Moved::new());
    let mut events = Vec::with_capacity(256);
    loop {
        let awake = conns.iter().flatten().any(|conn| conn.play.stays_awake());
        wait(&poll, &mut events, awake);
        for event in &events {
            let number = event.data.u64();
            if number == u64::MAX {
                while let Ok((socket, _)) = listener.accept() {
                    socket.set_nonblocking(true).unwrap();
                    socket.set_nodelay(true).unwrap();
                    let free = conns.iter().position(Option::is_none);
                    let number = free.unwrap_or(conns.len());
                    watch(&poll, &socket, number, Play::Head);
                    let conn = Some(Conn::new(socket, Play::Head));
                    match free {
                        Some(free) => conns[free] = conn,
                        None => conns.push(conn),
                    }
                }
                continue;
            }
            let number = number as usize;
            let Some(conn) = &mut conns[number] else {
                continue;
            };
            let before = conn.play;
            if !conn.turn(&mut buf, options.size, &mut moved) {
                conns[number] = None;
            } else if conn.play != before {
                epoll::delete(&poll, &conn.socket).unwrap();
                watch(&poll, &conn.socket, number, conn.play);
            }
        }
    }
}

/// Opens the tunnels and runs them for the time.
fn client(options: &Options, play: Play, count: usize) {
    let path = match play {
        Play::Ping | Play::Still => "/echo",
        _ => options.path.as_str(),
    };
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut conns: Vec<Conn> = (0..count)
        .map(|number| {
            let socket = upgraded(&options.addr, path);
            watch(&poll, &socket, number, play);
            Conn::new(socket, play)
        })
        .collect();
    let mut buf = vec![b'x'; BULK_BYTES];
    if play == Play::Still {
        println!("begin");
        // Until whoever measures closes it.
        let _ = std::io::stdin().read(&mut buf);
        return;
    }
    if play == Play::Ping {
        for conn in &mut conns {
            conn.sent = Instant::now();
            conn.socket.write_all(&buf[..options.size]).unwrap();
        }
    }
    let mut moved = Moved::new();
    run(
        &poll,
        &mut conns,
        (&mut buf, options.size),
        WARM,
        &mut moved,
    );
    moved = Moved::new();
    println!("begin");
    let time = Duration::from_secs(options.seconds);
    run(
        &poll,
        &mut conns,
        (&mut buf, options.size),
        time,
        &mut moved,
    );
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| moved.times.value_at_quantile(share));
    println!(
        "moved {} {} {p50} {p99} {p999}",
        moved.bytes, moved.messages
    );
}

fn run(
    poll: &OwnedFd,
    conns: &mut [Conn],
    (buf, size): (&mut [u8], usize),
    time: Duration,
    moved: &mut Moved,
) {
    let end = Instant::now() + time;
    let awake = conns.iter().any(|conn| conn.play.stays_awake());
    let mut events = Vec::with_capacity(256);
    while Instant::now() < end {
        wait(poll, &mut events, awake);
        for event in &events {
            let open = conns[event.data.u64() as usize].turn(buf, size, moved);
            assert!(open, "a tunnel was closed");
        }
    }
}

/// A connection whose tunnel stands.
fn upgraded(addr: &str, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: load\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "closed before its head");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "not upgraded");
    socket.set_nonblocking(true).unwrap();
    socket
}

impl Conn {
    fn new(socket: TcpStream, play: Play) -> Self {
        Self {
            socket,
            play,
            held: Vec::new(),
            back: 0,
            sent: Instant::now(),
        }
    }

    /// Does what can be done now; false when the connection is over.
    fn turn(&mut self, buf: &mut [u8], size: usize, moved: &mut Moved) -> bool {
        if self.play == Play::Source {
            return match self.socket.write(buf) {
                Ok(n) => {
                    moved.bytes += n as u64;
                    true
                }
                Err(e) => e.kind() == ErrorKind::WouldBlock,
            };
        }
        let received = match self.play {
            // Dropped where it is: a load that copies is full before a proxy that does not.
            Play::Sink => recv(&self.socket, &mut *buf, RecvFlags::TRUNC)
                .map(|(_, n)| n)
                .map_err(std::io::Error::from),
            _ => self.socket.read(buf),
        };
        let n = match received {
            Ok(0) => return false,
            Ok(n) => n,
            Err(e) => return e.kind() == ErrorKind::WouldBlock,
        };
        moved.bytes += n as u64;
        match self.play {
            Play::Head => {
                self.held.extend_from_slice(&buf[..n]);
                !self.held.ends_with(b"\r\n\r\n") || self.answer()
            }
            Play::Echo => {
                // Messages are small, and their senders wait for them.
                self.socket.write_all(&buf[..n]).is_ok()
            }
            Play::Ping => {
                self.back += n;
                if self.back < size {
                    return true;
                }
                self.back = 0;
                moved.messages += 1;
                let now = Instant::now();
                let nanoseconds = (now - self.sent).as_nanos() as u64;
                moved.times.saturating_record(nanoseconds);
                self.sent = now;
                self.socket.write_all(&buf[..size]).is_ok()
            }
            Play::Sink | Play::Still | Play::Source => true,
        }
    }

    fn answer(&mut self) -> bool {
        let path = self.held.split(|&b| b == b' ').nth(1);
        self.play = match path {
            Some(b"/echo") => Play::Echo,
            Some(b"/source") => Play::Source,
            Some(b"/sink") => Play::Sink,
            _ => return false,
        };
        self.held = Vec::new();
        let head =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: load\r\n\r\n";
        self.socket.write_all(head).is_ok()
    }
}

/// Bytes of the body that a head announces; none where it announces none.
fn content_length(head: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = text.split("\r\ncontent-length:").nth(1)?.lines().next()?;
    Some(line.trim().parse().unwrap())
}
