//! Log lines on their way out of a shard: appended to a buffer, handed to the writer when the shard has a moment.
//!
//! The first lines of a tick leave at once, so that an operator who watches sees them; the other lines of a busy shard
//! leave together at the next tick, those of error logs with the next answer. Knows no formats: lines come whole. Start at [`Desk`], which a shard owns, and
//! [`Logs`], which a plan's exchanges write to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::rc::Rc;

use super::entry::{Entry, Stamp};
use super::scribe::{Job, Kind, Scribe, SinkId, Table};
use crate::base::time::{Mono, Unix, log_syslog};
use crate::net::clock::{self, Clock};
use crate::plan::model::LogLevel;
use crate::plan::{ErrorTo, LogId};

/// Bytes that a shard collects for one place before it hands them over.
pub const BUFFER_MAX: usize = 64 << 10;

/// Bytes that a shard keeps for one place while the writer is behind; lines beyond are dropped and counted.
const BACKLOG_MAX: usize = 1 << 20;

/// Lines for one place that leave at once in one tick. A shard that writes more has better things to do.
const PROMPT_MAX: u32 = 8;

/// Milliseconds between two reports of dropped lines.
const TELL_DROPPED_MS: u64 = 10_000;

/// Longest datagram to a syslog server.
const DATAGRAM_MAX: usize = 8192;

/// Places by path with variables that one tick may write to.
const PATHS_MAX: usize = 64;

/// Lines for paths that leave at once in one tick: a few for each of many places.
const PROMPT_PATHS: u32 = 64;

/// One place as a shard sees it.
#[derive(Default)]
struct Sink {
    /// Lines, or datagrams each behind its length.
    pending: Vec<u8>,
    /// Waits to be looked at by [`Desk::flush`].
    listed: bool,
    /// When the first pending line came.
    since: Mono,
    /// The tick that last handed something over, and how often it did.
    tick: u64,
    handed: u32,
    /// For a log in memory.
    memory: VecDeque<u8>,
}

/// Lines for a file whose path came out of a request.
struct PathLines {
    /// What keeps the file open.
    kept: Option<SinkId>,
    path: Vec<u8>,
    lines: u64,
    bytes: Vec<u8>,
}

/// A shard's end of all logs.
pub struct Desk {
    scribe: Scribe,
    clock: Clock,
    /// Process and thread as the error log prints them.
    stamp: Stamp,
    sinks: RefCell<Vec<Sink>>,
    /// Sinks with something pending.
    listed: RefCell<Vec<(SinkId, Kind)>>,
    /// Lines for paths that came out of requests, in the order in which the paths came.
    paths: RefCell<Vec<PathLines>>,
    /// The tick that last handed such lines over at once, and how often it did.
    prompt_paths: Cell<(u64, u32)>,
    /// Lines of error logs wait for the next answer.
    urgent: Cell<bool>,
    now: Cell<Mono>,
    tick: Cell<u64>,
    dropped: Cell<u64>,
    /// When dropped lines were last told of.
    told: Cell<Mono>,
    line: RefCell<Vec<u8>>,
}

impl Desk {
    /// A desk for the calling thread.
    pub fn new(scribe: Scribe, clock: Clock) -> Rc<Self> {
        let process = rustix::process::getpid().as_raw_nonzero().get();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        Rc::new(Self {
            scribe,
            clock,
            stamp: Stamp {
                at: Unix::default(),
                offset: 0,
                process,
                thread,
            },
            sinks: RefCell::default(),
            listed: RefCell::default(),
            paths: RefCell::default(),
            prompt_paths: Cell::default(),
            urgent: Cell::new(false),
            now: Cell::new(clock::mono()),
            tick: Cell::new(1),
            dropped: Cell::new(0),
            told: Cell::default(),
            line: RefCell::default(),
        })
    }

    /// Lines that were lost, because the writer was behind or could not write, and were not told of yet. At most once in
    /// [`TELL_DROPPED_MS`], so that a slow disk is not given more to write.
    pub fn take_dropped(&self) -> Option<u64> {
        let now = self.now.get();
        if now.ms_since(self.told.get()) < TELL_DROPPED_MS {
            return None;
        }
        let lost = self.dropped.get() + self.scribe.take_lost();
        self.dropped.set(lost);
        if lost == 0 {
            return None;
        }
        self.told.set(now);
        Some(self.dropped.take())
    }

    /// Hands over what is due. Call it at each tick of the deadline sweep.
    pub fn flush(&self, now: Mono) {
        self.now.set(now);
        self.tick.set(self.tick.get() + 1);
        self.give_away(false);
    }

    /// Hands over what error logs have got, before an answer leaves: who has got that may read the log of it.
    #[inline]
    pub fn before_answer(&self) {
        if self.urgent.get() {
            self.give_away(false);
        }
    }

    /// Hands over everything, also what `buffer=` holds back: at the end, and before files are reopened.
    pub fn flush_all(&self) {
        self.give_away(true);
    }

    #[cold]
    fn give_away(&self, all: bool) {
        self.urgent.set(false);
        for lines in self.paths.borrow_mut().drain(..) {
            self.offer_at(lines);
        }
        let mut listed = self.listed.borrow_mut();
        let mut sinks = self.sinks.borrow_mut();
        listed.retain(|(id, kind)| {
            let sink = &mut sinks[id.0 as usize];
            if all || self.is_due(sink, kind) {
                self.hand_over(sink, *id, kind);
            }
            sink.listed = !sink.pending.is_empty();
            sink.listed
        });
    }

    /// Whether pending lines need wait no longer.
    fn is_due(&self, sink: &Sink, kind: &Kind) -> bool {
        match kind {
            Kind::Stream {
                buffer: 1.., flush, ..
            } => !flush.is_zero() && self.now.get().since(sink.since) >= *flush,
            _ => true,
        }
    }

    fn hand_over(&self, sink: &mut Sink, id: SinkId, kind: &Kind) {
        if sink.pending.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut sink.pending);
        let capacity = bytes.capacity().min(BUFFER_MAX);
        let job = match kind {
            Kind::Stream { gzip, .. } => Job::Write {
                sink: id,
                bytes,
                gzip: *gzip,
            },
            Kind::Syslog { .. } => Job::Send {
                sink: id,
                datagrams: bytes,
            },
            Kind::Memory(_) | Kind::Paths => return,
        };
        match self.scribe.offer(job) {
            Ok(()) => {
                if sink.tick != self.tick.get() {
                    sink.tick = self.tick.get();
                    sink.handed = 0;
                }
                sink.handed += 1;
                sink.pending = Vec::with_capacity(capacity);
            }
            Err(
                Job::Write { bytes, .. }
                | Job::Send {
                    datagrams: bytes, ..
                },
            ) => sink.pending = bytes,
            Err(_) => {}
        }
    }

    fn offer_at(&self, to: PathLines) {
        let job = Job::WriteAt {
            kept: to.kept,
            path: to.path,
            lines: to.lines,
            bytes: to.bytes,
        };
        if self.scribe.offer(job).is_err() {
            self.dropped.set(self.dropped.get() + to.lines);
        }
    }

    /// Appends a whole line, its end included.
    fn line(&self, id: SinkId, kind: &Kind, line: &[u8]) {
        self.with_sink(id, |sink| match kind {
            Kind::Stream { buffer, .. } => {
                let limit = if *buffer == 0 { BUFFER_MAX } else { *buffer };
                if sink.pending.len() + line.len() > limit {
                    self.hand_over(sink, id, kind);
                }
                self.append(
                    sink,
                    id,
                    kind,
                    |pending| pending.extend_from_slice(line),
                    line.len(),
                );
                if line.len() >= limit {
                    self.hand_over(sink, id, kind);
                }
            }
            Kind::Syslog { severity, .. } => self.datagram(sink, id, kind, *severity, line),
            Kind::Memory(size) => {
                sink.memory.extend(line);
                let over = sink.memory.len().saturating_sub(*size);
                sink.memory.drain(..over);
            }
            Kind::Paths => {}
        });
    }

    /// Appends one datagram: header, then the line without its end.
    fn datagram(&self, sink: &mut Sink, id: SinkId, kind: &Kind, severity: u8, line: &[u8]) {
        let Kind::Syslog {
            facility, label, ..
        } = kind
        else {
            return;
        };
        let unix = self.clock.unix();
        let stamp = log_syslog(unix.secs, self.clock.offset(unix));
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let put = |pending: &mut Vec<u8>| {
            let begin = pending.len();
            pending.extend_from_slice(&[0; 2]);
            // Writing to a Vec cannot fail.
            let _ = write!(pending, "<{}>", u16::from(*facility) + u16::from(severity));
            pending.extend_from_slice(&stamp);
            pending.extend_from_slice(label);
            let room = DATAGRAM_MAX.saturating_sub(pending.len() - begin);
            pending.extend_from_slice(&text[..text.len().min(room)]);
            let length = u16::try_from(pending.len() - begin - 2).unwrap_or(u16::MAX);
            pending[begin..begin + 2].copy_from_slice(&length.to_be_bytes());
        };
        self.append(sink, id, kind, put, line.len());
    }

    /// Adds to what is pending, unless the writer is hopelessly behind; the first of a tick go at once.
    fn append(
        &self,
        sink: &mut Sink,
        id: SinkId,
        kind: &Kind,
        put: impl FnOnce(&mut Vec<u8>),
        length: usize,
    ) {
        if sink.pending.len() + length > BACKLOG_MAX.max(buffer_of(kind)) {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        if sink.pending.is_empty() {
            sink.since = self.now.get();
        }
        put(&mut sink.pending);
        let held = buffer_of(kind) > 0;
        let prompt = sink.tick != self.tick.get() || sink.handed < PROMPT_MAX;
        if !held && prompt && !sink.listed {
            self.hand_over(sink, id, kind);
        }
        if !sink.listed && !sink.pending.is_empty() {
            sink.listed = true;
            self.listed.borrow_mut().push((id, kind.clone()));
        }
    }

    fn with_sink<R>(&self, id: SinkId, f: impl FnOnce(&mut Sink) -> R) -> R {
        let mut sinks = self.sinks.borrow_mut();
        let index = id.0 as usize;
        if sinks.len() <= index {
            sinks.resize_with(index + 1, Sink::default);
        }
        f(&mut sinks[index])
    }

    /// Appends whole lines to a file whose path came out of a request.
    fn line_at(&self, kept: Option<SinkId>, path: &[u8], line: &[u8]) {
        let mut paths = self.paths.borrow_mut();
        let known = paths
            .iter_mut()
            .find(|known| known.path == path && known.kept == kept);
        if let Some(known) = known {
            if known.bytes.len() < BUFFER_MAX {
                known.bytes.extend_from_slice(line);
                known.lines += 1;
                return;
            }
        } else if paths.len() < PATHS_MAX {
            let lines = PathLines {
                kept,
                path: path.to_vec(),
                lines: 1,
                bytes: line.to_vec(),
            };
            match paths.is_empty() && self.is_prompt() {
                true => self.offer_at(lines),
                false => paths.push(lines),
            }
            return;
        }
        self.dropped.set(self.dropped.get() + 1);
    }

    /// Whether this is one of the first lines of the tick for a path.
    fn is_prompt(&self) -> bool {
        let now = self.tick.get();
        let (tick, handed) = self.prompt_paths.get();
        let handed = if tick == now { handed } else { 0 };
        self.prompt_paths.set((now, handed + 1));
        handed < PROMPT_PATHS
    }

    /// Builds a line of the error log and appends it.
    fn error(&self, id: SinkId, kind: &Kind, json: bool, entry: &Entry<'_>) {
        let at = self.clock.unix();
        let stamp = Stamp {
            at,
            offset: self.clock.offset(at),
            ..self.stamp
        };
        let mut line = self.line.take();
        line.clear();
        if json {
            entry.json(&stamp, &mut line);
        } else {
            entry.classic(&stamp, &mut line);
        }
        if let Kind::Syslog { .. } = kind {
            let severity = (entry.level as u8).min(7);
            self.with_sink(id, |sink| self.datagram(sink, id, kind, severity, &line));
        } else {
            self.line(id, kind, &line);
        }
        *self.line.borrow_mut() = line;
        self.urgent.set(true);
    }

    /// What a log in memory holds.
    pub fn memory(&self, id: SinkId) -> Vec<u8> {
        self.with_sink(id, |sink| sink.memory.iter().copied().collect())
    }
}

fn buffer_of(kind: &Kind) -> usize {
    match kind {
        Kind::Stream { buffer, .. } => *buffer,
        _ => 0,
    }
}

/// The logs of one plan on one shard. Each plan has its own, because ids belong to a plan.
pub struct Logs {
    desk: Rc<Desk>,
    table: Table,
}

impl Logs {
    /// Joins a shard's desk and a plan's table.
    pub fn new(desk: Rc<Desk>, table: Table) -> Self {
        Self { desk, table }
    }

    /// Appends a line of an access log, its end included.
    pub fn access(&self, log: LogId, line: &[u8]) {
        if let Some((id, kind)) = self.table.sinks.get(log) {
            self.desk.line(*id, kind, line);
        }
    }

    /// Appends a line to the file of a path that has variables, which `kept` may keep open.
    pub fn access_at(&self, kept: Option<LogId>, path: &[u8], line: &[u8]) {
        let kept = kept.and_then(|log| self.table.sinks.get(log));
        self.desk.line_at(kept.map(|(id, _)| *id), path, line);
    }

    /// Appends an entry to every error log of a list that takes its level; to all of them where `everything` is wanted.
    pub fn tell(&self, logs: &[ErrorTo], everything: bool, entry: &Entry<'_>) {
        for to in logs {
            if (everything || entry.level <= to.most)
                && let Some((id, kind)) = self.table.sinks.get(to.log)
            {
                self.desk.error(*id, kind, to.json, entry);
            }
        }
    }

    /// The same for what is about no client.
    pub fn error_all(&self, logs: &[ErrorTo], level: LogLevel, text: fmt::Arguments<'_>) {
        self.tell(logs, false, &Entry::plain(level, text));
    }

    /// The shard's desk.
    pub fn desk(&self) -> &Rc<Desk> {
        &self.desk
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests may wait")]
mod tests {
    use super::*;
    use crate::base::ids::IdVec;
    use crate::observe::scribe::Files;
    use crate::plan::LogTarget;
    use std::io::Read as _;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    struct Bench {
        scribe: Scribe,
        desk: Rc<Desk>,
        dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let scribe = Scribe::start().unwrap();
            let desk = Desk::new(scribe.clone(), Clock::new());
            Self {
                scribe,
                desk,
                dir: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn logs(&self, kinds: &[(&str, Kind)]) -> Logs {
            let sinks = kinds.iter().map(|(name, kind)| {
                let path = self.path(name);
                let file = std::fs::File::options()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .unwrap();
                let files = Files::from([(path.clone(), Arc::new(file))]);
                (
                    self.scribe.number_of(&LogTarget::File(path), &files),
                    kind.clone(),
                )
            });
            let sinks: IdVec<LogId, _> = sinks.collect();
            Logs::new(
                Rc::clone(&self.desk),
                Table {
                    sinks: Arc::new(sinks),
                },
            )
        }

        fn read(&self, name: &str) -> String {
            self.scribe.sync();
            std::fs::read_to_string(self.path(name)).unwrap()
        }
    }

    fn plain() -> Kind {
        Kind::Stream {
            buffer: 0,
            flush: Duration::ZERO,
            gzip: 0,
        }
    }

    #[test]
    fn the_first_lines_leave_at_once_and_others_at_the_tick() {
        let bench = Bench::new();
        let logs = bench.logs(&[("a", plain())]);
        let mut prompt = String::new();
        for i in 0..PROMPT_MAX {
            logs.access(LogId(0), format!("{i}\n").as_bytes());
            prompt.push_str(&format!("{i}\n"));
            assert_eq!(bench.read("a"), prompt);
        }
        logs.access(LogId(0), b"later\n");
        logs.access(LogId(0), b"last\n");
        assert_eq!(bench.read("a"), prompt);
        bench.desk.flush(Mono(20));
        assert_eq!(bench.read("a"), prompt + "later\nlast\n");
    }

    #[test]
    fn lines_of_error_logs_leave_before_an_answer() {
        let bench = Bench::new();
        let logs = bench.logs(&[("e", plain())]);
        let to = [ErrorTo {
            log: LogId(0),
            most: LogLevel::Error,
            json: false,
        }];
        let written = || bench.read("e").lines().count();
        let told = PROMPT_MAX as usize + 3;
        (0..told).for_each(|_| logs.error_all(&to, LogLevel::Error, format_args!("broken")));
        assert_eq!(written(), PROMPT_MAX as usize);
        bench.desk.before_answer();
        assert_eq!(written(), told);
        logs.access(LogId(0), b"not an error\n");
        bench.desk.before_answer();
        assert_eq!(written(), told, "other lines wait for the tick");
    }

    #[test]
    fn buffered_logs_wait_for_size_or_time() {
        let bench = Bench::new();
        let kind = |flush| Kind::Stream {
            buffer: 10,
            flush: Duration::from_millis(flush),
            gzip: 0,
        };
        let logs = bench.logs(&[("size", kind(0)), ("time", kind(100))]);
        logs.access(LogId(0), b"1234\n");
        logs.access(LogId(0), b"5678\n");
        bench.desk.flush(Mono(u64::MAX));
        assert_eq!(bench.read("size"), "");
        logs.access(LogId(0), b"9\n");
        assert_eq!(bench.read("size"), "1234\n5678\n");
        logs.access(LogId(0), b"longer than the buffer\n");
        assert_eq!(
            bench.read("size"),
            "1234\n5678\n9\nlonger than the buffer\n"
        );
        bench.desk.flush(Mono(1000));
        logs.access(LogId(1), b"late\n");
        bench.desk.flush(Mono(1099));
        assert_eq!(bench.read("time"), "");
        bench.desk.flush(Mono(1100));
        assert_eq!(bench.read("time"), "late\n");
        logs.access(LogId(0), b"end\n");
        bench.desk.flush_all();
        assert!(bench.read("size").ends_with("\nend\n"));
    }

    #[test]
    fn compressed_logs_are_readable_members() {
        let bench = Bench::new();
        let logs = bench.logs(&[(
            "z",
            Kind::Stream {
                buffer: 1 << 20,
                flush: Duration::ZERO,
                gzip: 1,
            },
        )]);
        for _ in 0..2 {
            logs.access(LogId(0), b"hello\n");
            bench.desk.flush_all();
        }
        bench.scribe.sync();
        let mut text = String::new();
        let file = std::fs::File::open(bench.path("z")).unwrap();
        flate2::read::MultiGzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hello\nhello\n");
    }

    #[test]
    fn paths_from_requests_are_appended_to() {
        let bench = Bench::new();
        let logs = bench.logs(&[]);
        let path = bench.path("by-host");
        let path = path.as_os_str().as_encoded_bytes();
        logs.access_at(None, path, b"1\n");
        logs.access_at(None, path, b"2\n");
        logs.access_at(None, b"/nonexistent/dir/file", b"lost\n");
        bench.desk.flush(Mono(20));
        assert_eq!(bench.read("by-host"), "1\n2\n");
    }

    #[test]
    fn error_lines_have_nginxs_form_and_stay_one_line() {
        let bench = Bench::new();
        let logs = bench.logs(&[("e", plain())]);
        let message = "open() \"/x\" failed (2: No such file or directory), client: 127.0.0.1";
        let to = ErrorTo {
            log: LogId(0),
            most: LogLevel::Warn,
            json: false,
        };
        let entry = |level, message| Entry {
            connection: 7,
            ..Entry::plain(level, message)
        };
        let text = format_args!("{message}");
        logs.tell(&[to], false, &entry(LogLevel::Error, text));
        let evil = format!("evil\nline\r\0{}", "y".repeat(5000));
        logs.error_all(&[to], LogLevel::Warn, format_args!("{evil}"));
        logs.error_all(&[to], LogLevel::Info, format_args!("filtered"));
        let debugged = entry(LogLevel::Debug, format_args!("debugged"));
        logs.tell(&[to], false, &debugged);
        logs.tell(&[ErrorTo { json: true, ..to }], true, &debugged);
        bench.desk.flush_all();
        let text = bench.read("e");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].contains("\"level\":\"debug\""), "{text}");
        let pid = std::process::id();
        let (stamp, rest) = lines[0].split_at(19);
        assert!(
            stamp
                .bytes()
                .zip(b"0000/00/00 00:00:00")
                .all(|(a, b)| a.is_ascii_digit() == b.is_ascii_digit())
        );
        assert!(rest.starts_with(&format!(" [error] {pid}#")), "{rest}");
        assert!(rest.ends_with(&format!(": *7 {message}")), "{rest}");
        assert!(lines[1].contains("[warn]") && lines[1].contains("evil\\x0Aline\\x0D\\x00yyy"));
        assert_eq!(lines[1].len() + 1, crate::observe::entry::LINE_MAX);
    }

    #[test]
    fn syslog_datagrams_have_a_header_each() {
        let bench = Bench::new();
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        server
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let syslog = crate::plan::model::Syslog {
            server: server.local_addr().unwrap().to_string(),
            facility: 23,
            severity: 6,
            tag: "nginx".to_owned(),
            nohostname: false,
        };
        let sink = bench
            .scribe
            .number_of(&LogTarget::Syslog(syslog), &Files::new());
        let kind = Kind::Syslog {
            facility: 23 * 8,
            severity: 6,
            label: b" host nginx: ".to_vec(),
        };
        let sinks: IdVec<LogId, _> = vec![(sink, kind)].into();
        let logs = Logs::new(
            Rc::clone(&bench.desk),
            Table {
                sinks: Arc::new(sinks),
            },
        );
        logs.access(LogId(0), b"/a:404\n");
        logs.access(LogId(0), b"/b:404\n");
        let to = ErrorTo {
            log: LogId(0),
            most: LogLevel::Error,
            json: false,
        };
        logs.error_all(&[to], LogLevel::Error, format_args!("broken"));
        bench.desk.flush(Mono(20));
        let mut bytes = [0; 4096];
        let mut next = || {
            let n = server.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..n].to_vec()).unwrap()
        };
        let first = next();
        assert!(
            first.starts_with("<190>") && first.ends_with(" host nginx: /a:404"),
            "{first}"
        );
        assert!(next().ends_with(" host nginx: /b:404"));
        let error = next();
        assert!(
            error.starts_with("<187>") && error.ends_with(": broken"),
            "{error}"
        );
        assert!(
            error.contains(" host nginx: 2"),
            "the error log's own date follows: {error}"
        );
    }

    #[test]
    fn memory_keeps_the_end() {
        let bench = Bench::new();
        let sinks: IdVec<LogId, _> = vec![(SinkId(5), Kind::Memory(6))].into();
        let logs = Logs::new(
            Rc::clone(&bench.desk),
            Table {
                sinks: Arc::new(sinks),
            },
        );
        (0..5).for_each(|i| logs.access(LogId(0), format!("{i}\n").as_bytes()));
        assert_eq!(bench.desk.memory(SinkId(5)), b"2\n3\n4\n");
    }

    #[test]
    fn dropped_lines_are_told_now_and_then() {
        let bench = Bench::new();
        let logs = bench.logs(&[("a", Kind::Memory(0))]);
        // The first ones left at once.
        let most = PATHS_MAX + PROMPT_PATHS as usize;
        (0..most + 3)
            .for_each(|i| logs.access_at(None, format!("/nowhere/{i}").as_bytes(), b"x\n"));
        bench.desk.flush(Mono(20_000));
        assert_eq!(bench.desk.take_dropped(), Some(3));
        (0..most + 1)
            .for_each(|i| logs.access_at(None, format!("/nowhere/{i}").as_bytes(), b"x\n"));
        bench.desk.flush(Mono(29_999));
        assert_eq!(bench.desk.take_dropped(), None);
        bench.desk.flush(Mono(30_000));
        assert_eq!(bench.desk.take_dropped(), Some(1));
    }
}
