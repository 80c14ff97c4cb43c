//! Requests at a steady pace, whose latencies are told. Start at [`run`].
//!
//! A latency counts from when the request was due, not from when there was time to send it: who is slow to answer does not
//! get fewer questions.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::{Options, WARM, content_length};

struct Asker {
    socket: TcpStream,
    /// When its request is due, or was.
    due: Instant,
    /// It has been sent.
    asked: bool,
    answer: Vec<u8>,
    /// The number in its next path; those of all together are one sequence.
    number: usize,
}

/// What was measured.
#[derive(Default)]
struct Seen {
    /// Latencies of hits, in microseconds.
    hits: Vec<u64>,
    others: u64,
}

/// Asks at `rate` for the options' path, `%` in it replaced by a number, and prints percentiles.
pub fn run(options: &Options) {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let count = options.connections.max(1);
    let step = Duration::from_secs_f64(count as f64 / options.rate.max(1) as f64);
    let begin = Instant::now();
    let mut askers: Vec<Asker> = (0..count)
        .map(|number| {
            let socket = TcpStream::connect(&options.addr).unwrap();
            socket.set_nodelay(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&poll, &socket, data, epoll::EventFlags::IN).unwrap();
            Asker {
                socket,
                due: begin + step * number as u32 / count as u32,
                asked: false,
                answer: Vec::new(),
                number,
            }
        })
        .collect();
    let measured = begin + WARM;
    let end = measured + Duration::from_secs(options.seconds);
    let (mut seen, mut buf, mut events) = (Seen::default(), vec![0; 64 << 10], Vec::new());
    events.reserve(256);
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        for asker in askers.iter_mut().filter(|a| !a.asked && a.due <= now) {
            asker.ask(options, count);
        }
        let next = askers.iter().filter(|a| !a.asked).map(|a| a.due).min();
        let wait = next.unwrap_or(end).saturating_duration_since(now);
        let wait = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: wait.subsec_nanos().into(),
        };
        events.clear();
        epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&wait),
        )
        .unwrap();
        for event in &events {
            let asker = &mut askers[event.data.u64() as usize];
            if let Some(is_hit) = asker.receive(&mut buf) {
                let now = Instant::now();
                if asker.due >= measured {
                    match is_hit {
                        true => seen.hits.push((now - asker.due).as_micros() as u64),
                        false => seen.others += 1,
                    }
                }
                asker.asked = false;
                asker.due += step;
            }
        }
    }
    seen.tell();
}

impl Asker {
    fn ask(&mut self, options: &Options, step: usize) {
        let number = (self.number % options.keys).to_string();
        self.number += step;
        let path = options.path.replace('%', &number);
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        self.socket.write_all(request.as_bytes()).unwrap();
        self.asked = true;
    }

    /// Takes what has come; whether the answer was a hit, once it is whole.
    fn receive(&mut self, buf: &mut [u8]) -> Option<bool> {
        match self.socket.read(buf) {
            Ok(0) => panic!("a connection was closed"),
            Ok(n) => self.answer.extend_from_slice(&buf[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
            Err(e) => panic!("{e}"),
        }
        let head = self
            .answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&self.answer[..head]).to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 200 "), "{text}");
        let length = content_length(&self.answer[..head]).unwrap();
        if self.answer.len() < head + 4 + length {
            return None;
        }
        self.answer.clear();
        Some(text.contains("x-cache-status: hit"))
    }
}

impl Seen {
    fn tell(mut self) {
        self.hits.sort_unstable();
        let at = |share: f64| {
            let last = self.hits.len().saturating_sub(1);
            let place = (self.hits.len() as f64 * share) as usize;
            self.hits.get(place.min(last)).copied().unwrap_or(0)
        };
        println!(
            "p50 {} p99 {} p999 {} hits {} others {}",
            at(0.5),
            at(0.99),
            at(0.999),
            self.hits.len(),
            self.others
        );
    }
}
