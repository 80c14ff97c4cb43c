//! The control socket, as the parent serves it: operators' lines come in, answers go out.
//!
//! A line is a command with its words. Its answer is `ok LENGTH` or `error LENGTH`, a line end, and so many bytes; the next
//! line of a client is looked at when the last one was answered. Who may write to the socket's file may say anything, so
//! that its rights are all there is of access control. What lines mean is not known here. Start at [`Console::open`].

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};

use crate::config::model::Control;

/// Clients at a time; a further one takes the place of the one that is idle longest.
const CLIENTS_MAX: usize = 16;
/// Bytes of a line.
pub const LINE_BYTES_MAX: usize = 4096;

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: its next line is welcome.
    Nothing,
    /// The answer of the worker with this number.
    Worker(u64),
    /// The end of a reload that begins after so many others.
    Reload(u64),
}

/// One client.
#[derive(Debug)]
struct Client {
    id: u64,
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    waits: Wait,
    /// It says no more.
    silent: bool,
    over: bool,
}

/// The listening socket and its clients.
#[derive(Debug)]
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
    mode: u32,
    /// Device and number of the socket's file: another may have taken its name since.
    inode: (u64, u64),
    clients: Vec<Client>,
    last_id: u64,
}

/// Where the socket is, by the configuration and the path of the pid file.
#[must_use]
pub fn place(control: &Control, pid: &Path) -> Option<(PathBuf, u32)> {
    match control {
        Control::Off => None,
        Control::At(path, mode) => Some((path.clone(), *mode)),
        Control::BesidePid => Some((pid.with_extension("control"), 0o600)),
    }
}

impl Console {
    /// Listens under this name, also where another process did so before: as with the pid file, the last one has it.
    pub fn open(path: &Path, mode: u32) -> io::Result<Self> {
        if let Ok(data) = std::fs::symlink_metadata(path)
            && !data.file_type().is_socket()
        {
            return Err(ErrorKind::AlreadyExists.into());
        }
        // Under another name first: nobody gets in before the rights are set, and the old name never stands for nothing.
        let mut beside = OsString::from(path);
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        std::fs::remove_file(&beside).ok();
        let listener = UnixListener::bind(&beside)?;
        let ready = || {
            std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))?;
            listener.set_nonblocking(true)?;
            let data = std::fs::symlink_metadata(&beside)?;
            std::fs::rename(&beside, path)?;
            Ok((data.dev(), data.ino()))
        };
        let inode = match ready() {
            Ok(inode) => inode,
            Err(error) => {
                std::fs::remove_file(&beside).ok();
                return Err(error);
            }
        };
        Ok(Self {
            listener,
            path: path.to_owned(),
            mode,
            inode,
            clients: Vec::new(),
            last_id: 0,
        })
    }

    /// Whether it is what a configuration asks for.
    #[must_use]
    pub fn is_at(&self, path: &Path, mode: u32) -> bool {
        self.path == path && self.mode == mode && self.has_its_name()
    }

    fn has_its_name(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|data| (data.dev(), data.ino()) == self.inode)
    }

    /// Removes the file, unless it is another's by now.
    pub fn close(self) {
        if self.has_its_name() {
            std::fs::remove_file(&self.path).ok();
        }
    }

    /// What to wait for.
    pub fn fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::from_borrowed_fd(
            self.listener.as_fd(),
            PollFlags::IN,
        ));
        for client in &self.clients {
            let wants = match client.output.is_empty() {
                false => PollFlags::OUT,
                true if client.is_heard() => PollFlags::IN,
                true => PollFlags::empty(),
            };
            fds.push(PollFd::from_borrowed_fd(client.stream.as_fd(), wants));
        }
    }

    /// Moves bytes both ways, never waiting; the lines that have come, with their clients.
    pub fn lines(&mut self) -> Vec<(u64, Vec<u8>)> {
        while let Ok((stream, _)) = self.listener.accept() {
            self.admit(stream);
        }
        let mut lines = Vec::new();
        for client in &mut self.clients {
            client.flush();
            client.fill();
            match client.line() {
                Some(line) => lines.push((client.id, line)),
                None => client.over |= client.is_done(),
            }
        }
        self.clients.retain(|client| !client.over);
        lines
    }

    fn admit(&mut self, stream: UnixStream) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.clients.len() >= CLIENTS_MAX {
            let idle = |client: &Client| client.waits == Wait::Nothing;
            let oldest = self.clients.iter().position(idle).unwrap_or(0);
            self.clients.remove(oldest);
        }
        self.last_id += 1;
        self.clients.push(Client {
            id: self.last_id,
            stream,
            input: Vec::new(),
            output: Vec::new(),
            waits: Wait::Nothing,
            silent: false,
            over: false,
        });
    }

    /// Answers a client, which may have gone.
    pub fn answer(&mut self, id: u64, answer: &Result<Vec<u8>, String>) {
        self.say(id, answer, Wait::Nothing);
    }

    /// Answers a client and lets it wait for more.
    pub fn say(&mut self, id: u64, answer: &Result<Vec<u8>, String>, waits: Wait) {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else {
            return;
        };
        let (word, bytes) = match answer {
            Ok(bytes) => ("ok", &bytes[..]),
            Err(text) => ("error", text.as_bytes()),
        };
        let head = format!("{word} {}\n", bytes.len());
        client.output.extend_from_slice(head.as_bytes());
        client.output.extend_from_slice(bytes);
        client.waits = waits;
        client.flush();
    }

    /// Notes what a client waits for.
    pub fn waits(&mut self, id: u64, waits: Wait) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.waits = waits;
        }
    }

    /// The clients that wait for something.
    #[must_use]
    pub fn waiting(&self, for_what: impl Fn(Wait) -> bool) -> Vec<u64> {
        let such = |client: &&Client| for_what(client.waits);
        self.clients.iter().filter(such).map(|c| c.id).collect()
    }
}

impl Client {
    /// One that has not taken its answer is not listened to.
    fn is_heard(&self) -> bool {
        self.output.is_empty() && self.input.len() <= LINE_BYTES_MAX && !(self.over || self.silent)
    }

    /// It says no more and has got everything.
    fn is_done(&self) -> bool {
        self.silent && self.waits == Wait::Nothing && self.output.is_empty()
    }

    fn fill(&mut self) {
        let mut bytes = [0; 1024];
        while self.is_heard() {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.silent = true,
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.over = true,
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        if self.waits != Wait::Nothing || !self.output.is_empty() {
            return None;
        }
        let Some(end) = memchr::memchr(b'\n', &self.input) else {
            self.over |= self.input.len() > LINE_BYTES_MAX;
            return None;
        };
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.truncate(line.trim_ascii_end().len());
        Some(line)
    }

    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => self.over = true,
                Ok(count) => {
                    self.output.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.over = true;
                    self.output.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(console: &mut Console, client: &mut UnixStream, text: &[u8]) -> Vec<(u64, Vec<u8>)> {
        client.write_all(text).expect("write");
        console.lines()
    }

    #[test]
    fn lines_come_one_at_a_time_and_answers_are_framed() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("c");
        let mut console = Console::open(&path, 0o600).expect("socket");
        let mode = std::fs::metadata(&path).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = UnixStream::connect(&path).expect("connect");
        let got = talk(&mut console, &mut client, b"one wo");
        assert!(got.is_empty());
        let got = talk(&mut console, &mut client, b"rd\r\ntwo\n");
        assert_eq!(got, [(1, b"one word".to_vec())]);
        console.waits(1, Wait::Worker(7));
        assert!(console.lines().is_empty(), "it still waits");
        assert_eq!(console.waiting(|wait| wait == Wait::Worker(7)), [1]);
        console.answer(1, &Ok(b"fine\n".to_vec()));
        assert_eq!(console.lines(), [(1, b"two".to_vec())]);
        console.answer(1, &Err("no".to_owned()));
        let mut bytes = [0; 64];
        let count = client.read(&mut bytes).expect("read");
        assert_eq!(&bytes[..count], b"ok 5\nfine\nerror 2\nno");
        console.close();
        assert!(!path.exists());
    }

    #[test]
    fn a_flood_of_bytes_or_clients_is_bounded() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("c");
        let mut console = Console::open(&path, 0o600).expect("socket");
        let mut client = UnixStream::connect(&path).expect("connect");
        assert!(talk(&mut console, &mut client, &[b'x'; 3 * LINE_BYTES_MAX]).is_empty());
        assert!(console.clients.is_empty(), "a line without end is cut");
        let clients: Vec<_> = (0..2 * CLIENTS_MAX)
            .map(|_| {
                let client = UnixStream::connect(&path).expect("connect");
                console.lines();
                client
            })
            .collect();
        assert_eq!(console.clients.len(), CLIENTS_MAX);
        drop(clients);
        console.lines();
        assert!(console.clients.is_empty());
    }

    #[test]
    fn the_last_one_has_the_name_and_no_other_file_is_replaced() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("c");
        let first = Console::open(&path, 0o600).expect("socket");
        let second = Console::open(&path, 0o660).expect("socket");
        assert!(!first.is_at(&path, 0o600) && second.is_at(&path, 0o660));
        first.close();
        assert!(path.exists(), "it is the second one's");
        second.close();
        std::fs::write(&path, "a file").expect("file");
        assert!(Console::open(&path, 0o600).is_err());
        assert_eq!(std::fs::read(&path).expect("file"), b"a file");
    }
}
