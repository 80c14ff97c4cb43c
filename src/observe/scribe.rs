//! The one thread of the process that writes logs, so that no shard ever waits for a disk, a pipe or a name.
//!
//! Shards hand it whole lines through a bounded queue; when the disk does not keep up they drop lines and count
//! them. Files come opened from the parent and are replaced by path (`reopen`). Start at [`Scribe::start`], then
//! [`Scribe::table`].
#![expect(
    clippy::disallowed_types,
    reason = "the queue to the writing thread; shards only ever try it and never wait"
)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::paths::{self, OpenLogs};
use crate::base::ids::IdVec;
use crate::net::addr::Addr;
use crate::net::{clock, offload, udp};
use crate::plan::{LogId, LogTarget, OpenLogRules, Plan, model};

/// Jobs that may wait for the writer. With [`super::log::BUFFER_MAX`] bytes each this bounds the queue at 64 MiB.
const JOBS_MAX: usize = 1024;

/// Port of a syslog server that names none.
const SYSLOG_PORT: u16 = 514;

/// How long nothing is written to a file after its disk was found full.
const DISK_FULL_REST: Duration = Duration::from_secs(1);

/// The number of a place where lines go. The same place keeps its number over reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkId(pub u32);

/// Log files by path, as the parent opened them.
pub type Files = HashMap<PathBuf, Arc<File>>;

/// How lines reach a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file or standard error: lines may be joined.
    Stream {
        /// `buffer=`, bytes; 0 writes at once, or at the next tick of a busy shard.
        buffer: usize,
        /// `flush=`; zero for none.
        flush: Duration,
        /// `gzip=` level; 0 for none.
        gzip: u8,
    },
    /// A syslog server: one datagram a line, behind a header.
    Syslog {
        /// Facility times eight.
        facility: u8,
        /// Severity of access lines.
        severity: u8,
        /// What stands between the time and the text: ` host tag: `.
        label: Vec<u8>,
    },
    /// The last bytes in memory.
    Memory(usize),
    /// Files by paths out of requests; lines come with their paths.
    Paths,
}

/// Where the lines of one plan's logs go.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By the plan's ids.
    pub sinks: Arc<IdVec<LogId, (SinkId, Kind)>>,
}

/// What the writer is asked to do.
pub(super) enum Job {
    /// Write whole lines.
    Write {
        sink: SinkId,
        bytes: Vec<u8>,
        gzip: u8,
    },
    /// Append whole lines to the file of this path, opened for them or by a place that keeps such files open.
    WriteAt {
        kept: Option<SinkId>,
        path: Vec<u8>,
        lines: u64,
        bytes: Vec<u8>,
    },
    /// Send datagrams, each behind its length in two bytes.
    Send { sink: SinkId, datagrams: Vec<u8> },
    /// A new place, or a new file for an old one.
    Set { sink: SinkId, outlet: Outlet },
    /// Close a place that nobody writes to any more.
    Forget(SinkId),
    /// Answer when everything before is done.
    Sync(SyncSender<()>),
}

/// A handle on the writing thread.
#[derive(Clone)]
pub struct Scribe {
    jobs: SyncSender<Job>,
    /// Lines that could not be written.
    lost: Arc<AtomicU64>,
    known: Arc<Mutex<Vec<Option<Key>>>>,
}

/// What makes two places the same.
#[derive(Clone, PartialEq)]
enum Key {
    File(PathBuf),
    Stderr,
    Syslog(model::Syslog),
    Memory(u64),
    Paths(OpenLogRules),
}

impl Key {
    fn of(target: &LogTarget) -> Self {
        match target {
            LogTarget::File(path) => Self::File(path.clone()),
            LogTarget::Stderr => Self::Stderr,
            LogTarget::Syslog(syslog) => Self::Syslog(syslog.clone()),
            LogTarget::Memory(size) => Self::Memory(*size),
            LogTarget::Paths(rules) => Self::Paths(*rules),
        }
    }
}

impl Scribe {
    /// Starts the thread. It ends when the last handle is gone.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            lost: Arc::clone(&lost),
            ..Writer::default()
        };
        std::thread::Builder::new()
            .name("ringx-log".to_owned())
            .spawn(move || {
                // Who has got an answer may read the log of it at once.
                offload::come_first();
                writer.run(&queue);
            })?;
        Ok(Self {
            jobs,
            lost,
            known: Arc::default(),
        })
    }

    /// Numbers the places of a plan and hands their files over. Called by control, once per plan; may wait.
    pub fn table(&self, plan: &Plan, files: &Files) -> Table {
        let buffers = buffers(plan);
        let sinks = plan.logs.enumerate().map(|(id, target)| {
            let sink = self.number_of(target, files);
            let kind = match target {
                LogTarget::File(_) | LogTarget::Stderr => buffers[id].clone(),
                LogTarget::Syslog(syslog) => Kind::Syslog {
                    facility: syslog.facility * 8,
                    severity: syslog.severity,
                    label: label(syslog, &plan.hostname),
                },
                LogTarget::Memory(size) => {
                    Kind::Memory(usize::try_from(*size).unwrap_or(usize::MAX))
                }
                LogTarget::Paths(_) => Kind::Paths,
            };
            (sink, kind)
        });
        Table {
            sinks: Arc::new(sinks.collect()),
        }
    }

    /// The number of a place, whose file is taken from `files` when it is there.
    pub fn number_of(&self, target: &LogTarget, files: &Files) -> SinkId {
        let key = Key::of(target);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, fresh) = match known.iter().position(|k| k.as_ref() == Some(&key)) {
            Some(index) => (index, false),
            None => {
                known.push(Some(key.clone()));
                (known.len() - 1, true)
            }
        };
        let sink = SinkId(u32::try_from(index).unwrap_or(u32::MAX));
        match key {
            Key::File(path) => {
                if let Some(file) = files.get(&path) {
                    self.set(sink, Outlet::File(Arc::clone(file)));
                }
            }
            Key::Stderr if fresh => self.set(sink, Outlet::Stderr),
            Key::Syslog(syslog) if fresh => self.set(
                sink,
                Outlet::Syslog {
                    server: syslog.server,
                    socket: None,
                },
            ),
            Key::Paths(rules) if fresh => {
                self.set(sink, Outlet::Paths(Box::new(OpenLogs::new(rules))))
            }
            _ => {}
        }
        sink
    }

    /// Writes to other files from now on; paths that are not in `files` keep theirs.
    ///
    /// Differs from nginx: files that `open_log_file_cache` keeps are opened anew too, whatever `valid` says.
    pub fn reopen(&self, files: &Files) {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (index, key) in known.iter().enumerate() {
            let outlet = match key {
                Some(Key::File(path)) => files.get(path).map(|file| Outlet::File(Arc::clone(file))),
                Some(Key::Paths(rules)) => Some(Outlet::Paths(Box::new(OpenLogs::new(*rules)))),
                _ => None,
            };
            if let Some(outlet) = outlet {
                self.set(SinkId(index as u32), outlet);
            }
        }
    }

    /// Closes the places that `plan` does not have. Called by control when no older plan is in use.
    pub fn forget_others(&self, plan: &Plan) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, slot) in known.iter_mut().enumerate() {
            let used = |key: &Key| plan.logs.iter().any(|target| Key::of(target) == *key);
            if slot.as_ref().is_some_and(|key| !used(key)) {
                *slot = None;
                // The thread lives as long as this handle does.
                let _ = self.jobs.send(Job::Forget(SinkId(index as u32)));
            }
        }
    }

    /// Takes lines for a place from any thread, and never waits: what finds the queue full is lost.
    pub fn taker(&self, sink: SinkId) -> impl Fn(Vec<u8>) + Send + Sync + 'static {
        let scribe = self.clone();
        move |bytes| {
            let job = Job::Write {
                sink,
                bytes,
                gzip: 0,
            };
            if scribe.offer(job).is_err() {
                scribe.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until everything that was handed over is written; for the end of the process.
    pub fn sync(&self) {
        let (done, wait) = sync_channel(1);
        if self.jobs.send(Job::Sync(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(2));
        }
    }

    fn set(&self, sink: SinkId, outlet: Outlet) {
        // The thread lives as long as this handle does.
        let _ = self.jobs.send(Job::Set { sink, outlet });
    }

    /// Lines that could not be written since the last call, for a full disk or another reason.
    pub fn take_lost(&self) -> u64 {
        match self.lost.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.lost.swap(0, Ordering::Relaxed),
        }
    }

    /// Hands a job over without waiting; gives it back when the queue is full.
    pub(super) fn offer(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|e| match e {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

/// How the access logs of a plan want each of its files written: the largest buffer of any line that names it.
fn buffers(plan: &Plan) -> IdVec<LogId, Kind> {
    let plain = Kind::Stream {
        buffer: 0,
        flush: Duration::ZERO,
        gzip: 0,
    };
    let mut all: IdVec<LogId, Kind> = plan.logs.ids().map(|_| plain.clone()).collect();
    for access in plan
        .locations
        .iter()
        .flat_map(|location| location.access_logs.iter())
    {
        if let Some(id) = access.log
            && (access.buffer > 0 || access.gzip > 0)
        {
            all[id] = Kind::Stream {
                buffer: usize::try_from(access.buffer).unwrap_or(usize::MAX),
                flush: Duration::from_millis(access.flush_ms),
                gzip: access.gzip,
            };
        }
    }
    all
}

fn label(syslog: &model::Syslog, hostname: &[u8]) -> Vec<u8> {
    let mut label = vec![b' '];
    if !syslog.nohostname {
        label.extend_from_slice(hostname);
        label.push(b' ');
    }
    label.extend_from_slice(syslog.tag.as_bytes());
    label.extend_from_slice(b": ");
    label
}

/// Where the writer puts bytes.
pub(super) enum Outlet {
    /// An open file.
    File(Arc<File>),
    /// Standard error.
    Stderr,
    /// A syslog server, connected when first used.
    Syslog {
        server: String,
        socket: Option<OwnedFd>,
    },
    /// Files by paths out of requests.
    Paths(Box<OpenLogs>),
}

#[derive(Default)]
struct Writer {
    outlets: Vec<Option<Outlet>>,
    /// Files whose disk is full, by sink, and until when.
    resting: HashMap<SinkId, u64>,
    lost: Arc<AtomicU64>,
    packed: Vec<u8>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Write { sink, bytes, gzip } => self.write(sink, &bytes, gzip),
                Job::WriteAt {
                    kept,
                    path,
                    lines,
                    bytes,
                } => self.write_at(kept, &path, lines, &bytes),
                Job::Send { sink, datagrams } => self.send(sink, &datagrams),
                Job::Set { sink, outlet } => {
                    let index = sink.0 as usize;
                    if self.outlets.len() <= index {
                        self.outlets.resize_with(index + 1, || None);
                    }
                    self.outlets[index] = Some(outlet);
                    self.resting.remove(&sink);
                }
                Job::Forget(sink) => {
                    if let Some(outlet) = self.outlets.get_mut(sink.0 as usize) {
                        *outlet = None;
                    }
                }
                Job::Sync(done) => _ = done.send(()),
            }
        }
    }

    fn write(&mut self, sink: SinkId, bytes: &[u8], gzip: u8) {
        let Some(Some(outlet)) = self.outlets.get(sink.0 as usize) else {
            return;
        };
        let now = clock::mono().0;
        let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
        if self.resting.get(&sink).is_some_and(|until| now < *until) {
            self.lost.fetch_add(lines, Ordering::Relaxed);
            return;
        }
        let bytes = if gzip == 0 {
            bytes
        } else {
            self.packed.clear();
            let mut pack = flate2::write::GzEncoder::new(
                &mut self.packed,
                flate2::Compression::new(gzip.into()),
            );
            // Compressing into memory cannot fail.
            let _ = pack.write_all(bytes).and_then(|()| pack.try_finish());
            drop(pack);
            &self.packed
        };
        let written = match outlet {
            Outlet::File(file) => write_all(file.as_fd(), bytes),
            Outlet::Stderr => write_all(rustix::stdio::stderr(), bytes),
            Outlet::Syslog { .. } | Outlet::Paths(_) => Ok(()),
        };
        let Err(error) = written else { return };
        self.lost.fetch_add(lines, Ordering::Relaxed);
        if error.kind() == io::ErrorKind::StorageFull {
            self.resting
                .insert(sink, now + DISK_FULL_REST.as_millis() as u64);
        }
    }

    /// Nobody is told when this fails: the path came out of a request.
    fn write_at(&mut self, kept: Option<SinkId>, path: &[u8], lines: u64, bytes: &[u8]) {
        let outlet = kept.and_then(|sink| self.outlets.get_mut(sink.0 as usize)?.as_mut());
        let file = match outlet {
            Some(Outlet::Paths(files)) => files.append(path, lines, clock::mono()),
            _ => paths::open(path).map(Arc::new),
        };
        if let Ok(file) = file {
            let _ = write_all(&*file, bytes);
        }
    }

    fn send(&mut self, sink: SinkId, mut datagrams: &[u8]) {
        let Some(Some(Outlet::Syslog { server, socket })) = self.outlets.get_mut(sink.0 as usize)
        else {
            return;
        };
        while let Some((length, rest)) = datagrams.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
            let (datagram, rest) = rest.split_at(length);
            datagrams = rest;
            // A server that was away and came back answers the first datagram with an error of the past.
            for _ in 0..2 {
                if socket.is_none() {
                    *socket = address(server).and_then(|to| udp::open(&to).ok());
                }
                let Some(open) = &socket else { break };
                if udp::try_send(open, datagram).is_ok() {
                    break;
                }
                *socket = None;
            }
        }
    }
}

/// Writes all of it, whatever it takes. One call appends whole lines; more are only needed on full disks and pipes.
fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut ready = [rustix::event::PollFd::new(
                    &fd,
                    rustix::event::PollFlags::OUT,
                )];
                rustix::event::poll(&mut ready, None)?;
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// `host`, `host:port`, an address, or `unix:/path`.
#[expect(clippy::disallowed_methods, reason = "this thread may wait for a name")]
fn address(server: &str) -> Option<Addr> {
    use std::net::ToSocketAddrs;
    if let Some(path) = server.strip_prefix("unix:") {
        return Some(Addr::Unix(path.as_bytes().into()));
    }
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<std::net::IpAddr>() {
        return Some(Addr::Ip((ip, SYSLOG_PORT).into()));
    }
    let found = server
        .to_socket_addrs()
        .or_else(|_| (server, SYSLOG_PORT).to_socket_addrs());
    found.ok()?.next().map(Addr::Ip)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests may wait")]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn syslog_servers_are_spelled_in_many_ways() {
        for (text, want) in [
            ("127.0.0.1:5514", "127.0.0.1:5514"),
            ("127.0.0.1", "127.0.0.1:514"),
            ("[::1]:5514", "[::1]:5514"),
            ("[::1]", "[::1]:514"),
            ("unix:/dev/log", "unix:/dev/log"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), want);
        }
    }

    #[test]
    fn files_are_replaced_by_path() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let file = File::options()
                .append(true)
                .create(true)
                .open(dir.path().join(name))
                .unwrap();
            Arc::new(file)
        };
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let scribe = Scribe::start().unwrap();
        let path = PathBuf::from("/var/log/access.log");
        let target = LogTarget::File(path.clone());
        let sink = scribe.number_of(&target, &Files::from([(path.clone(), open("old"))]));
        let write = |text: &str| {
            let job = Job::Write {
                sink,
                bytes: text.into(),
                gzip: 0,
            };
            assert!(scribe.offer(job).is_ok());
        };
        write("one\n");
        scribe.reopen(&Files::from([(path, open("new"))]));
        write("two\n");
        assert_eq!(scribe.number_of(&target, &Files::new()), sink);
        write("three\n");
        let name = dir.path().join("by-path");
        let job = Job::WriteAt {
            kept: None,
            lines: 1,
            path: name.as_os_str().as_bytes().to_vec(),
            bytes: b"four\n".to_vec(),
        };
        assert!(scribe.offer(job).is_ok());
        scribe.sync();
        assert_eq!(
            (read("old"), read("new"), read("by-path")),
            ("one\n".into(), "two\nthree\n".into(), "four\n".into())
        );
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let (jobs, queue) = sync_channel(1);
        let scribe = Scribe {
            jobs,
            lost: Arc::default(),
            known: Arc::default(),
        };
        let job = || Job::Write {
            sink: SinkId(0),
            bytes: b"x".to_vec(),
            gzip: 0,
        };
        assert!(scribe.offer(job()).is_ok());
        assert!(scribe.offer(job()).is_err());
        drop(queue);
        assert!(scribe.offer(job()).is_err());
    }

    #[test]
    fn what_a_full_disk_refuses_is_counted() {
        let scribe = Scribe::start().unwrap();
        let path = PathBuf::from("/dev/full");
        let full = Arc::new(File::options().write(true).open(&path).unwrap());
        let files = Files::from([(path.clone(), full)]);
        let sink = scribe.number_of(&LogTarget::File(path), &files);
        for _ in 0..2 {
            let job = Job::Write {
                sink,
                bytes: b"1\n2\n".to_vec(),
                gzip: 0,
            };
            assert!(scribe.offer(job).is_ok());
        }
        scribe.sync();
        assert_eq!((scribe.take_lost(), scribe.take_lost()), (4, 0));
    }
}
