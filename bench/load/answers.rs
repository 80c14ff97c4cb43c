//! An origin that answers every request with 1 KiB, and costs little: who measures a proxy wants its core to be the full one,
//! and the load and the origin often share another. Start at [`run`].
//!
//! One thread, two system calls for each request. It knows of HTTP what the harness's requests need: heads that end, bodies
//! of a known length. Anything else ends it.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use slab::Slab;

use super::{Options, content_length};

/// Room for a head and a body that come at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes of an answer's body.
const BODY_BYTES: usize = 1024;

/// The two listeners' places in the set; connections have theirs from zero on.
const TCP: u64 = u64::MAX;
const UNIX: u64 = u64::MAX - 1;

struct Conn {
    socket: OwnedFd,
    /// A head that has not come whole.
    held: Vec<u8>,
    /// Bytes of a body that are still to come.
    rest: usize,
}

/// Serves until it is killed.
pub fn run(options: &Options) {
    let unix = options.unix.as_ref().map(|path| {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    });
    // Last: whoever finds this port open finds the other one too.
    let tcp = TcpListener::bind(&options.addr).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let flags = epoll::EventFlags::IN;
    epoll::add(&poll, &tcp, epoll::EventData::new_u64(TCP), flags).unwrap();
    if let Some(unix) = &unix {
        epoll::add(&poll, unix, epoll::EventData::new_u64(UNIX), flags).unwrap();
    }
    let answer = answer();
    let (mut conns, mut buf) = (Slab::new(), vec![0; READ_BYTES]);
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        for event in &events {
            match event.data.u64() {
                TCP => {
                    while let Ok((socket, _)) = tcp.accept() {
                        socket.set_nodelay(true).unwrap();
                        enter(&poll, &mut conns, socket.into());
                    }
                }
                UNIX => {
                    while let Ok((socket, _)) = unix.as_ref().unwrap().accept() {
                        enter(&poll, &mut conns, socket.into());
                    }
                }
                place => {
                    if !conns[place as usize].turn(&mut buf, &answer) {
                        conns.remove(place as usize);
                    }
                }
            }
        }
    }
}

/// With the fields of a usual origin.
fn answer() -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: load\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n\
         Content-Length: {BODY_BYTES}\r\nConnection: keep-alive\r\n\r\n"
    );
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + BODY_BYTES, b'x');
    answer
}

fn enter(poll: &OwnedFd, conns: &mut Slab<Conn>, socket: OwnedFd) {
    rustix::io::ioctl_fionbio(&socket, true).unwrap();
    let place = conns.vacant_entry();
    let data = epoll::EventData::new_u64(place.key() as u64);
    epoll::add(poll, &socket, data, epoll::EventFlags::IN).unwrap();
    place.insert(Conn {
        socket,
        held: Vec::new(),
        rest: 0,
    });
}

impl Conn {
    /// Reads once and answers what has come whole; false when the connection is over.
    fn turn(&mut self, buf: &mut [u8], answer: &[u8]) -> bool {
        let n = match rustix::net::recv(&self.socket, &mut *buf, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((n, _)) => n,
            Err(e) => return e == Errno::AGAIN,
        };
        let mut came = &buf[..n];
        let joined;
        if !self.held.is_empty() {
            self.held.extend_from_slice(came);
            joined = std::mem::take(&mut self.held);
            came = &joined;
        }
        loop {
            if self.rest > 0 {
                let taken = self.rest.min(came.len());
                self.rest -= taken;
                came = &came[taken..];
                if self.rest > 0 {
                    return true;
                }
                if self.send(answer).is_err() {
                    return false;
                }
            }
            if came.is_empty() {
                return true;
            }
            let Some(end) = memchr::memmem::find(came, b"\r\n\r\n") else {
                self.held = came.to_vec();
                return true;
            };
            let head;
            (head, came) = came.split_at(end + 4);
            self.rest = body_length(head);
            if self.rest == 0 && self.send(answer).is_err() {
                return false;
            }
        }
    }

    /// Answers are small, and who asked waits for them: there is room.
    fn send(&self, answer: &[u8]) -> io::Result<()> {
        let sent = rustix::net::send(&self.socket, answer, SendFlags::NOSIGNAL)?;
        assert_eq!(sent, answer.len(), "a proxy does not take its answers");
        Ok(())
    }
}

/// Of a request whose head this is.
fn body_length(head: &[u8]) -> usize {
    if head.starts_with(b"GET ") {
        return 0;
    }
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(!text.contains("\r\ntransfer-encoding:"), "{text}");
    content_length(head).unwrap_or(0)
}
