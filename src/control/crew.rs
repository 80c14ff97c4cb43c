//! The parent's side of a worker: starting it, talking to it, learning how it ended.
//!
//! Knows no configuration; what is sent is a [`super::bundle`]. Start at [`Worker::start`].

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread::JoinHandle;

use super::bundle::{Down, Up};
use super::identity::Identity;
use super::wire::Channel;
use super::worker;

/// How the last act of a worker reads in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It returned this code.
    Code(i32),
    /// A signal ended it, with or without a core file.
    Signal(i32, bool),
}

impl End {
    /// Reads the system's status word.
    #[must_use]
    pub fn of(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Signal(signal, status.core_dumped()),
            None => Self::Code(status.code().unwrap_or(0)),
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal, false) => write!(f, "exited on signal {signal}"),
            Self::Signal(signal, true) => write!(f, "exited on signal {signal} (core dumped)"),
        }
    }
}

/// How a worker is started.
#[derive(Debug)]
pub enum Way {
    /// As a process with this environment.
    Process(Vec<(OsString, OsString)>),
    /// As a thread of the parent.
    Thread,
}

/// What runs the shards.
#[derive(Debug)]
enum Body {
    /// A process of its own.
    Process(Child),
    /// `master_process off`: a thread of the parent.
    Thread(Option<JoinHandle<i32>>),
}

/// A worker that was started and has not been seen to end.
#[derive(Debug)]
pub struct Worker {
    /// Its number among the workers of this parent.
    pub id: u64,
    body: Body,
    channel: Channel,
    /// Whether it has taken a bundle yet.
    pub serving: bool,
    /// Whether its end of the channel is closed.
    pub silent: bool,
    /// Whether it was told to go.
    pub leaving: bool,
    /// When it was started, in milliseconds of the parent's clock.
    pub since: u64,
}

impl Worker {
    /// Starts a worker that waits for its first bundle.
    pub fn start(identity: Identity, way: Way, id: u64, since: u64) -> io::Result<Self> {
        let (ours, theirs) = Channel::pair()?;
        let body = match way {
            Way::Thread => {
                let thread = std::thread::Builder::new().name("worker".to_owned());
                Body::Thread(Some(
                    thread.spawn(move || worker::serve(theirs, None, identity))?,
                ))
            }
            Way::Process(environment) => {
                // The running image, not the file of the same name: a package upgrade may have replaced that already.
                let mut command = Command::new("/proc/self/exe");
                command
                    .arg0(worker::title(identity))
                    .env_clear()
                    .envs(environment)
                    .stdin(theirs.into_socket());
                Body::Process(command.spawn()?)
            }
        };
        Ok(Self {
            id,
            body,
            channel: ours,
            serving: false,
            silent: false,
            leaving: false,
            since,
        })
    }

    /// The process that runs the shards.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.body {
            Body::Process(child) => child.id(),
            Body::Thread(_) => std::process::id(),
        }
    }

    /// Sends a message with its descriptors.
    pub fn send(&self, message: &Down, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let (kind, payload) = message.encode();
        self.channel.send(kind, &payload, fds)
    }

    /// Takes the next answer, never waiting. An error means that nothing more will come.
    pub fn receive(&mut self) -> io::Result<Option<Up>> {
        let Some(message) = self.channel.receive()? else {
            return Ok(None);
        };
        Up::decode(message.kind, &message.payload)
            .map(Some)
            .map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "unknown message from the worker",
                )
            })
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<End> {
        match &mut self.body {
            Body::Process(child) => child.try_wait().ok().flatten().map(End::of),
            Body::Thread(thread) => {
                let done = thread.take_if(|thread| thread.is_finished())?;
                Some(End::Code(done.join().unwrap_or(worker::CODE_FATAL)))
            }
        }
    }

    /// Ends it without asking. A thread cannot be ended so; it goes with the parent.
    pub fn kill(&mut self) {
        if let Body::Process(child) = &mut self.body {
            child.kill().ok();
        }
    }
}

impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reads_like_nginx() {
        for (status, want) in [
            (0, "exited with code 0"),
            (2 << 8, "exited with code 2"),
            (9, "exited on signal 9"),
            (11 | 0x80, "exited on signal 11 (core dumped)"),
        ] {
            assert_eq!(End::of(ExitStatus::from_raw(status)).to_string(), want);
        }
    }
}
