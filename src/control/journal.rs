//! The error log of the parent and of a starting worker: nginx's classic line, to files and to the terminal.
//!
//! Shards have logs of their own (`observe`); this one is for a process that may block. Start at [`Journal::log`].

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::identity::Identity;
use crate::base::time::log_syslog;
use crate::config::model;
use crate::net::clock;
use crate::net::sys::zone::utc_offset;

pub use crate::config::model::LogLevel as Level;
pub use crate::observe::entry::word;
use crate::observe::entry::{Entry, Stamp};

/// Where lines of one level and above go.
#[derive(Clone, Debug)]
pub struct Sink {
    /// The least serious level that is written.
    pub level: Level,
    /// Lines are JSON objects.
    pub json: bool,
    /// Where they go.
    pub outlet: Outlet,
}

/// One place for lines.
#[derive(Clone, Debug)]
pub enum Outlet {
    /// An open file.
    File(Arc<File>),
    /// Standard error.
    Stderr,
    /// A syslog server.
    Syslog(Arc<Syslog>),
}

/// A socket to a syslog server, and what its lines begin with.
#[derive(Debug)]
pub struct Syslog {
    socket: Socket,
    facility: u8,
    /// ` host tag: `, without the host when it is not wanted.
    label: String,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Port of a syslog server that names none.
const SYSLOG_PORT: u16 = 514;

impl Syslog {
    /// Opens a socket to the server: `host`, `host:port` or `unix:/path`.
    pub fn open(said: &model::Syslog, hostname: &str) -> io::Result<Self> {
        let socket = match said.server.strip_prefix("unix:") {
            Some(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Socket::Unix(socket)
            }
            None => {
                let known = said
                    .server
                    .to_socket_addrs()
                    .or_else(|_| (said.server.as_str(), SYSLOG_PORT).to_socket_addrs());
                let server = known?.next().ok_or(io::ErrorKind::NotFound)?;
                let any: SocketAddr = match server.is_ipv4() {
                    true => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    false => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(server)?;
                Socket::Udp(socket)
            }
        };
        let host = if said.nohostname {
            String::new()
        } else {
            format!("{hostname} ")
        };
        Ok(Self {
            socket,
            facility: said.facility,
            label: format!(" {host}{}: ", said.tag),
        })
    }

    fn send(&self, level: Level, line: &[u8]) {
        // Severities of syslog count from emergency at 0, as the levels do.
        let priority = self.facility * 8 + level as u8;
        let now = clock::unix().secs;
        let stamp = log_syslog(now, utc_offset(now) / 60);
        let text = format!(
            "<{priority}>{}{}{}",
            String::from_utf8_lossy(&stamp),
            self.label,
            String::from_utf8_lossy(line.trim_ascii_end())
        );
        // Nobody is left to tell when the log itself cannot be written.
        match &self.socket {
            Socket::Udp(socket) => socket.send(text.as_bytes()).ok(),
            Socket::Unix(socket) => socket.send(text.as_bytes()).ok(),
        };
    }
}

/// The log of one process.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Begins a line on the terminal.
    pub identity: Identity,
    /// Where lines go.
    pub sinks: Vec<Sink>,
    /// Whether warnings and worse go to standard error as well, as long as an operator is watching.
    pub console: bool,
    /// Somebody who is told of warnings and worse as well.
    pub listener: Option<Heard>,
}

/// Lines of a log that somebody listens to, without their beginning.
pub type Heard = Rc<RefCell<Vec<String>>>;

impl Journal {
    /// A log that only speaks to the terminal.
    #[must_use]
    pub fn console(identity: Identity) -> Self {
        Self {
            identity,
            sinks: Vec::new(),
            console: true,
            listener: None,
        }
    }

    /// Opens the first log, before the configuration is known. A file that cannot be opened is told and done without.
    #[must_use]
    pub fn early(identity: Identity, path: &Path, level: Level) -> Self {
        let mut journal = Self::console(identity);
        if path.as_os_str() == "stderr" {
            return journal;
        }
        match open(path) {
            Ok(file) => journal.sinks.push(Sink {
                level,
                json: false,
                outlet: Outlet::File(Arc::new(file)),
            }),
            Err(error) => journal.log(
                Level::Alert,
                &format!(
                    "could not open error log file: open() \"{}\" failed {}",
                    path.display(),
                    cause(&error)
                ),
            ),
        }
        journal
    }

    /// Writes one line wherever its level is wanted.
    pub fn log(&self, level: Level, text: &str) {
        let text = printable(text);
        if let Some(heard) = self.listener.as_ref().filter(|_| level <= Level::Warn) {
            heard.borrow_mut().push(format!("[{}] {text}", word(level)));
        }
        let mut on_terminal = false;
        for sink in self.sinks.iter().filter(|sink| level <= sink.level) {
            let line = line(level, &text, sink.json);
            // Nobody is left to tell when the log itself cannot be written.
            match &sink.outlet {
                Outlet::File(file) => {
                    file.as_ref().write_all(&line).ok();
                }
                Outlet::Stderr => {
                    on_terminal = true;
                    io::stderr().write_all(&line).ok();
                }
                Outlet::Syslog(server) => server.send(level, &line),
            }
        }
        if self.console && level <= Level::Warn && !on_terminal {
            let line = format!("{}: [{}] {text}\n", self.identity.name(), word(level));
            io::stderr().write_all(line.as_bytes()).ok();
        }
    }

    /// A condition that cannot be ignored.
    pub fn emerg(&self, text: &str) {
        self.log(Level::Emerg, text);
    }

    /// What an operator expects to read in the course of things.
    pub fn notice(&self, text: &str) {
        self.log(Level::Notice, text);
    }

    /// Makes standard error another name of the first log file.
    pub fn take_stderr(&self) {
        let file = self.sinks.iter().find_map(|sink| match &sink.outlet {
            Outlet::File(file) => Some(file),
            _ => None,
        });
        if let Some(file) = file {
            rustix::stdio::dup2_stderr(file.as_fd()).ok();
        }
    }
}

/// Opens a log file for appending, making it when it is missing.
pub fn open(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
}

/// An error the way nginx's log ends with it: `(98: Address already in use)`.
#[must_use]
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let text = text
                .strip_suffix(&format!(" (os error {number})"))
                .unwrap_or(&text);
            format!("({number}: {text})")
        }
        None => format!("({text})"),
    }
}

fn line(level: Level, text: &str, json: bool) -> Vec<u8> {
    let at = clock::unix();
    let stamp = Stamp {
        at,
        offset: utc_offset(at.secs) / 60,
        process: rustix::process::getpid().as_raw_nonzero().get(),
        thread: rustix::thread::gettid().as_raw_nonzero().get(),
    };
    let message = format_args!("{text}");
    let entry = Entry::plain(level, message);
    let mut line = Vec::with_capacity(128);
    if json {
        entry.json(&stamp, &mut line);
    } else {
        entry.classic(&stamp, &mut line);
    }
    line
}

/// Text of others inside a message must not begin a line of its own.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_read_like_nginx() {
        let error = io::Error::from_raw_os_error(98);
        assert_eq!(cause(&error), "(98: Address already in use)");
        assert_eq!(
            cause(&io::Error::from_raw_os_error(2)),
            "(2: No such file or directory)"
        );
        assert_eq!(cause(&io::Error::other("no number")), "(no number)");
    }

    #[test]
    fn a_line_goes_to_each_sink_that_wants_its_level() {
        let dir = tempfile::tempdir().expect("dir");
        let (all, few) = (dir.path().join("all"), dir.path().join("few"));
        let sink = |path: &Path, level| Sink {
            level,
            json: false,
            outlet: Outlet::File(Arc::new(open(path).expect("open"))),
        };
        let journal = Journal {
            identity: Identity::Nginx,
            sinks: vec![sink(&all, Level::Debug), sink(&few, Level::Error)],
            console: false,
            listener: None,
        };
        journal.notice("one\ntwo");
        journal.log(Level::Error, "three");
        let all = std::fs::read_to_string(all).expect("read");
        let few = std::fs::read_to_string(few).expect("read");
        assert_eq!(all.lines().count(), 2);
        assert!(
            all.contains(" [notice] ") && all.contains("#") && all.contains(": one?two\n"),
            "{all}"
        );
        assert_eq!(few.lines().count(), 1);
        assert!(few.ends_with(": three\n"));
        let process = std::process::id();
        assert!(few.contains(&format!(" [error] {process}#")));
    }

    #[test]
    fn syslog_gets_a_datagram_for_each_line() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        let server = UnixDatagram::bind(&path).expect("bind");
        let said = model::Syslog {
            server: format!("unix:{}", path.display()),
            facility: 23,
            severity: 6,
            tag: "nginx".to_owned(),
            nohostname: false,
        };
        let syslog = Syslog::open(&said, "host").expect("open");
        let sink = Sink {
            level: Level::Notice,
            json: false,
            outlet: Outlet::Syslog(Arc::new(syslog)),
        };
        let journal = Journal {
            identity: Identity::Nginx,
            sinks: vec![sink],
            console: false,
            listener: None,
        };
        journal.log(Level::Error, "text");
        let mut room = [0; 256];
        let length = server.recv(&mut room).expect("datagram");
        let got = String::from_utf8_lossy(&room[..length]).into_owned();
        assert!(
            got.starts_with("<187>") && got.contains(" host nginx: ") && got.ends_with(": text"),
            "{got}"
        );
    }

    #[test]
    fn a_first_log_that_cannot_be_opened_is_done_without() {
        let journal = Journal::early(
            Identity::Nginx,
            Path::new("/no/such/dir/error.log"),
            Level::Notice,
        );
        assert!(journal.sinks.is_empty());
    }
}
