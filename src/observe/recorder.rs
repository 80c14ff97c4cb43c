//! The flight recorder: each shard remembers its last requests, each in the same few bytes, with the microseconds of
//! their phases. Kept by the shard that served them and read by nobody else: whoever wants to see them asks it.
//!
//! [`Recorder::note`] is on the path of every request: it copies a few hundred bytes into a place that was there before.
//! [`Filter`] says which ones are wanted, on both ends of the control socket. Start at [`Recorder`].

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::base::cidr::Cidr;
use crate::base::escape;
use crate::base::time::log_iso8601;

/// Bytes of a record for its texts, and how many each of them may take.
const TEXT_BYTES: usize = 232;
const TARGET_MAX: usize = 96;
const HOST_MAX: usize = 40;
const LOCATION_MAX: usize = 40;
const PEER_MAX: usize = 40;
const METHOD_MAX: usize = TEXT_BYTES - TARGET_MAX - HOST_MAX - LOCATION_MAX - PEER_MAX;

/// The most records in one answer: a shard that formats them serves nobody meanwhile.
pub const ANSWER_MAX: usize = 400;

/// Microseconds from a request's first byte to the steps that follow; 0 for a step that was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// The head was read.
    pub head: u32,
    /// An origin was connected to.
    pub connect: u32,
    /// The origin's head was read.
    pub header: u32,
    /// The answer's head was made.
    pub first: u32,
}

impl Phases {
    /// What is noted of a step that is taken now: at least 1.
    #[must_use]
    pub fn since(started_us: u64, now_us: u64) -> u32 {
        u32::try_from(now_us.saturating_sub(started_us))
            .unwrap_or(u32::MAX)
            .max(1)
    }
}

/// What is noted of a request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Flight<'a> {
    /// When it ended, by [`clock::micros`](crate::net::clock::micros).
    pub ended_us: u64,
    /// Milliseconds that its connection was open before it.
    pub idle_ms: u64,
    /// Steps on its way.
    pub phases: Phases,
    /// Microseconds to its end.
    pub took_us: u64,
    /// Status of its answer; 0 when it had none.
    pub status: u16,
    /// The client; none behind a unix socket.
    pub client: Option<IpAddr>,
    /// Bytes that came.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
    /// Attempts on origins.
    pub attempts: u16,
    /// As the client sent it.
    pub method: &'a [u8],
    /// `$host`.
    pub host: &'a [u8],
    /// As the client sent it.
    pub target: &'a [u8],
    /// The location's modifier and name.
    pub location: (&'static str, &'a [u8]),
    /// The last origin that was asked; empty for none.
    pub peer: &'a [u8],
}

/// A remembered request.
#[derive(Clone, Debug)]
struct Record {
    ended_us: u64,
    took_us: u64,
    idle_ms: u32,
    phases: Phases,
    received: u64,
    sent: u64,
    client: Option<IpAddr>,
    status: u16,
    attempts: u16,
    /// Where the texts end, one behind the other: method, host, location, peer, target.
    ends: [u8; 5],
    /// The target was longer.
    cut: bool,
    text: [u8; TEXT_BYTES],
}

/// The last requests of a shard.
#[derive(Debug, Default)]
pub struct Recorder {
    records: RefCell<Vec<Record>>,
    /// 0: nothing is remembered.
    capacity: Cell<usize>,
    /// How many have been noted in all.
    count: Cell<u64>,
}

impl Recorder {
    /// Remembers so many from now on. Another number than before forgets everything.
    pub fn resize(&self, capacity: usize) {
        if self.capacity.replace(capacity) != capacity {
            // Room for all at once: pages that are never written cost nothing.
            *self.records.borrow_mut() = Vec::with_capacity(capacity);
            self.count.set(0);
        }
    }

    /// Whether requests are remembered.
    pub fn is_on(&self) -> bool {
        self.capacity.get() > 0
    }

    /// Remembers a request.
    pub fn note(&self, flight: &Flight<'_>) {
        let capacity = self.capacity.get();
        if capacity == 0 {
            return;
        }
        let place = (self.count.get() % capacity as u64) as usize;
        let mut records = self.records.borrow_mut();
        if place >= records.len() {
            records.push(Record::EMPTY);
        }
        records[place].fill(flight);
        self.count.set(self.count.get() + 1);
    }

    /// The newest records that a filter lets through, oldest first, as lines of JSON. The line before them tells where to
    /// go on, and how many are missing because they were too many or have been forgotten. `start_us` is the wall clock at
    /// the beginning of [`clock::micros`](crate::net::clock::micros).
    pub fn read(&self, shard: usize, start_us: i64, filter: &Filter) -> Vec<u8> {
        let records = self.records.borrow();
        let count = self.count.get();
        let after = filter.after.get(shard).copied().unwrap_or(0);
        // Another process has begun to count anew.
        let after = if after > count { 0 } else { after };
        let oldest = count - records.len() as u64;
        let mut found = Vec::new();
        let mut more = 0u64;
        for number in (after.max(oldest)..count).rev() {
            let record = &records[(number % self.capacity.get().max(1) as u64) as usize];
            if filter.takes(record) {
                if found.len() < filter.limit.min(ANSWER_MAX) {
                    found.push(record);
                } else {
                    more += 1;
                }
            }
        }
        let missed = match filter.after.is_empty() {
            true => 0,
            false => more + oldest.saturating_sub(after),
        };
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{{\"shard\":{shard},\"next\":{count},\"missed\":{missed},\"kept\":{}}}",
            records.len()
        );
        for record in found.into_iter().rev() {
            record.write(shard, start_us, &mut out);
        }
        out.into_bytes()
    }
}

impl Record {
    const EMPTY: Self = Self {
        ended_us: 0,
        took_us: 0,
        idle_ms: 0,
        phases: Phases {
            head: 0,
            connect: 0,
            header: 0,
            first: 0,
        },
        received: 0,
        sent: 0,
        client: None,
        status: 0,
        attempts: 0,
        ends: [0; 5],
        cut: false,
        text: [0; TEXT_BYTES],
    };

    /// Writes over what was here, in place, and of the text no more than there is: the lines of memory that a request
    /// touches here are cold.
    fn fill(&mut self, flight: &Flight<'_>) {
        self.ended_us = flight.ended_us;
        self.took_us = flight.took_us;
        self.idle_ms = u32::try_from(flight.idle_ms).unwrap_or(u32::MAX);
        self.phases = flight.phases;
        self.received = flight.received;
        self.sent = flight.sent;
        self.client = flight.client;
        self.status = flight.status;
        self.attempts = flight.attempts;
        self.cut = flight.target.len() > TARGET_MAX;
        let mut at = 0;
        let (modifier, location) = flight.location;
        let parts: [(&[u8], &[u8], usize); 5] = [
            (b"", flight.method, METHOD_MAX),
            (b"", flight.host, HOST_MAX),
            (modifier.as_bytes(), location, LOCATION_MAX),
            (b"", flight.peer, PEER_MAX),
            (b"", flight.target, TARGET_MAX),
        ];
        for (end, (before, bytes, max)) in self.ends.iter_mut().zip(parts) {
            let bytes = &bytes[..bytes.len().min(max - before.len())];
            for part in [before, bytes] {
                self.text[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
            *end = at as u8;
        }
    }

    /// Method, host, location, peer and target.
    fn texts(&self) -> [&[u8]; 5] {
        let mut from = 0;
        self.ends.map(|end| {
            let text = &self.text[from..usize::from(end)];
            from = usize::from(end);
            text
        })
    }

    fn write(&self, shard: usize, start_us: i64, out: &mut String) {
        let [method, host, location, peer, target] = self.texts().map(quoted);
        let began_us = start_us.saturating_add_unsigned(self.ended_us.saturating_sub(self.took_us));
        let stamp = log_iso8601(began_us.div_euclid(1_000_000), 0);
        let stamp = String::from_utf8_lossy(&stamp[..19]).into_owned();
        let micros = began_us.rem_euclid(1_000_000);
        let client = self
            .client
            .map_or_else(|| "unix:".to_owned(), |ip| ip.to_string());
        let Phases {
            head,
            connect,
            header,
            first,
        } = self.phases;
        let _ = writeln!(
            out,
            "{{\"time\":\"{stamp}.{micros:06}Z\",\"shard\":{shard},\"client\":\"{client}\",\"method\":{method},\
             \"host\":{host},\"target\":{target},\"cut\":{},\"location\":{location},\"status\":{},\"received\":{},\
             \"sent\":{},\"upstream\":{peer},\"attempts\":{},\"connection_ms\":{},\"head_us\":{head},\
             \"connect_us\":{connect},\"header_us\":{header},\"first_us\":{first},\"last_us\":{}}}",
            self.cut,
            self.status,
            self.received,
            self.sent,
            self.attempts,
            self.idle_ms,
            self.took_us
        );
    }
}

/// A JSON string.
fn quoted(bytes: &[u8]) -> String {
    let mut out = vec![b'"'];
    escape::log_json(&mut out, String::from_utf8_lossy(bytes).as_bytes());
    out.push(b'"');
    String::from_utf8_lossy(&out).into_owned()
}

/// Which requests are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// At least so many microseconds.
    pub slow_us: u64,
    /// From this status to that; 0 is a request without an answer.
    pub status: Option<(u16, u16)>,
    /// The client's network, as it was written.
    pub client: Option<(String, Cidr)>,
    /// `$host`, in lower case; empty for any.
    pub host: String,
    /// The location as `show servers` has it, or its name alone; empty for any.
    pub location: String,
    /// At most so many of each shard.
    pub limit: usize,
    /// Only those that were noted after so many others, for each shard; empty for all.
    pub after: Vec<u64>,
}

impl Filter {
    /// The words of a line that ask for them.
    #[must_use]
    pub fn words(&self) -> String {
        let mut out = format!("slow={} limit={}", self.slow_us, self.limit);
        // Writing to a String cannot fail.
        if let Some((from, to)) = self.status {
            let _ = write!(out, " status={from}-{to}");
        }
        if let Some((client, _)) = &self.client {
            let _ = write!(out, " client={client}");
        }
        for (name, value) in [("host", &self.host), ("location", &self.location)] {
            if !value.is_empty() {
                let _ = write!(out, " {name}=");
                for byte in value.bytes() {
                    let _ = write!(out, "{byte:02x}");
                }
            }
        }
        if !self.after.is_empty() {
            let list: Vec<String> = self.after.iter().map(u64::to_string).collect();
            let _ = write!(out, " after={}", list.join(","));
        }
        out
    }

    /// Reads what [`Self::words`] wrote.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut filter = Self {
            limit: ANSWER_MAX,
            ..Self::default()
        };
        for word in words {
            filter
                .take(word)
                .ok_or_else(|| format!("\"{word}\" says nothing about requests"))?;
        }
        Ok(filter)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        match name {
            "slow" => self.slow_us = value.parse().ok()?,
            "limit" => self.limit = value.parse().ok()?,
            "status" => {
                let (from, to) = value.split_once('-')?;
                self.status = Some((from.parse().ok()?, to.parse().ok()?));
            }
            "client" => self.client = Some(network(value)?),
            "host" => self.host = unhex(value)?,
            "location" => self.location = unhex(value)?,
            "after" => {
                let numbers = value.split(',').map(|number| number.parse().ok());
                self.after = numbers.collect::<Option<_>>()?;
            }
            _ => return None,
        }
        Some(())
    }

    fn takes(&self, record: &Record) -> bool {
        let [_, host, location, _, _] = record.texts();
        let name = location.splitn(2, |b| *b == b' ').last();
        record.took_us >= self.slow_us
            && self
                .status
                .is_none_or(|(from, to)| (from..=to).contains(&record.status))
            && self
                .client
                .as_ref()
                .is_none_or(|(_, net)| record.client.is_some_and(|ip| net.contains(ip)))
            && (self.host.is_empty() || clipped(&self.host, HOST_MAX) == host)
            && (self.location.is_empty()
                || clipped(&self.location, LOCATION_MAX) == location
                || name == Some(self.location.as_bytes()))
    }
}

/// A network with its text.
#[must_use]
pub fn network(text: &str) -> Option<(String, Cidr)> {
    let (net, _) = Cidr::parse(text.as_bytes())?;
    Some((text.to_owned(), net))
}

/// As much of a text as a record has room for.
fn clipped(text: &str, max: usize) -> &[u8] {
    &text.as_bytes()[..text.len().min(max)]
}

fn unhex(text: &str) -> Option<String> {
    let bytes = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::Value;

    fn flight(target: &'static [u8], status: u16, took_us: u64) -> Flight<'static> {
        Flight {
            ended_us: 2_500_000,
            idle_ms: 3,
            phases: Phases {
                head: 1,
                ..Phases::default()
            },
            took_us,
            status,
            client: Some(IpAddr::from([192, 0, 2, 7])),
            received: 10,
            sent: 20,
            attempts: 1,
            method: b"GET",
            host: b"example.com",
            target,
            location: ("~ ", b"\\.php$"),
            peer: b"127.0.0.1:3000",
        }
    }

    fn lines(recorder: &Recorder, filter: &Filter) -> Vec<Value> {
        let text = recorder.read(0, 1_699_999_998_000_001, filter);
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| Value::parse(line).expect("JSON"))
            .collect()
    }

    fn all() -> Filter {
        Filter::parse(&[]).expect("filter")
    }

    #[test]
    fn the_last_ones_are_kept() {
        let recorder = Recorder::default();
        recorder.note(&flight(b"/0", 200, 5));
        assert!(
            !recorder.is_on() && lines(&recorder, &all()).len() == 1,
            "off at first"
        );
        recorder.resize(3);
        for target in [&b"/1"[..], b"/2", b"/3", b"/4"] {
            recorder.note(&flight(target, 200, 5));
        }
        let got = lines(&recorder, &all());
        let targets: Vec<&str> = got[1..].iter().map(|line| line.text("target")).collect();
        assert_eq!(targets, ["/2", "/3", "/4"]);
        assert_eq!((got[0].number("next"), got[0].number("missed")), (4.0, 0.0));
        let after = |number| Filter {
            after: vec![number],
            ..all()
        };
        assert_eq!(lines(&recorder, &after(3)).len(), 2);
        let got = lines(&recorder, &after(0));
        assert_eq!((got.len(), got[0].number("missed")), (4, 1.0));
        assert_eq!(
            lines(&recorder, &after(99)).len(),
            4,
            "another process counts anew"
        );
    }

    #[test]
    fn a_record_tells_everything_in_its_bounds() {
        let recorder = Recorder::default();
        recorder.resize(1);
        let long: &'static [u8] = Box::leak(vec![b'x'; 5000].into_boxed_slice());
        recorder.note(&Flight {
            method: long,
            host: long,
            location: ("= ", long),
            peer: long,
            ..flight(long, 502, 1_500_000)
        });
        let got = lines(&recorder, &all());
        assert_eq!(got[1].text("target").len(), TARGET_MAX);
        assert!(got[1].flag("cut") && got[1].text("location").starts_with("= x"));
        recorder.note(&flight(b"/a\"\x01\xff", 200, 1_500_000));
        let got = lines(&recorder, &all());
        assert_eq!(got[1].text("target"), "/a\"\u{1}\u{fffd}");
        assert_eq!(got[1].text("time"), "2023-11-14T22:13:19.000001Z");
        assert_eq!(got[1].text("location"), "~ \\.php$");
        assert!(size_of::<Record>() <= 320, "{}", size_of::<Record>());
    }

    #[test]
    fn filters_cross_the_socket_and_choose() {
        let recorder = Recorder::default();
        recorder.resize(8);
        recorder.note(&flight(b"/fast", 200, 5));
        recorder.note(&flight(b"/slow", 504, 2_000_000));
        for (filter, want) in [
            (
                Filter {
                    slow_us: 1_000_000,
                    ..all()
                },
                1,
            ),
            (
                Filter {
                    status: Some((500, 599)),
                    ..all()
                },
                1,
            ),
            (
                Filter {
                    status: Some((200, 599)),
                    ..all()
                },
                2,
            ),
            (
                Filter {
                    client: network("192.0.2.0/24"),
                    ..all()
                },
                2,
            ),
            (
                Filter {
                    client: network("10.0.0.0/8"),
                    ..all()
                },
                0,
            ),
            (
                Filter {
                    host: "example.com".to_owned(),
                    ..all()
                },
                2,
            ),
            (
                Filter {
                    host: "example.org".to_owned(),
                    ..all()
                },
                0,
            ),
            (
                Filter {
                    location: "\\.php$".to_owned(),
                    ..all()
                },
                2,
            ),
            (
                Filter {
                    location: "~ \\.php$".to_owned(),
                    ..all()
                },
                2,
            ),
            (
                Filter {
                    location: "/".to_owned(),
                    ..all()
                },
                0,
            ),
            (Filter { limit: 1, ..all() }, 1),
        ] {
            let words = filter.words();
            let words: Vec<&str> = words.split(' ').collect();
            assert_eq!(Filter::parse(&words).as_ref(), Ok(&filter));
            assert_eq!(lines(&recorder, &filter).len() - 1, want, "{filter:?}");
        }
        for bad in [
            "", "slow", "slow=x", "status=5", "client=x", "host=zz", "who=me",
        ] {
            assert!(Filter::parse(&[bad]).is_err(), "{bad}");
        }
    }
}
