//! Signals as a readable descriptor, with the process that sent them.
//!
//! Owns the set of signals and their names; what they ask for is the parent's and the worker's. Start at [`Signals`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;

/// One signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Which.
    pub signal: Signal,
    /// Who sent it, when that was a process.
    pub sender: Option<i32>,
}

/// The signals that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are the names of the signals")]
pub enum Signal {
    Hup,
    Int,
    Quit,
    Usr1,
    Usr2,
    Term,
    Chld,
    Winch,
}

const ALL: &[(Signal, i32, &str)] = &[
    (Signal::Hup, SIGHUP, "SIGHUP"),
    (Signal::Int, SIGINT, "SIGINT"),
    (Signal::Quit, SIGQUIT, "SIGQUIT"),
    (Signal::Usr1, SIGUSR1, "SIGUSR1"),
    (Signal::Usr2, SIGUSR2, "SIGUSR2"),
    (Signal::Term, SIGTERM, "SIGTERM"),
    (Signal::Chld, SIGCHLD, "SIGCHLD"),
    (Signal::Winch, SIGWINCH, "SIGWINCH"),
];

impl Arrived {
    /// The log line: `signal 1 (SIGHUP) received from 42, reconfiguring`.
    #[must_use]
    pub fn line(&self, action: &str) -> String {
        let (_, number, name) = ALL
            .iter()
            .find(|(signal, ..)| *signal == self.signal)
            .expect("invariant: the table names each signal");
        match self.sender {
            Some(sender) => format!("signal {number} ({name}) received from {sender}{action}"),
            None => format!("signal {number} ({name}) received{action}"),
        }
    }
}

/// Catches the signals from the moment it is made.
#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
}

impl Signals {
    /// Installs the handlers.
    pub fn catch() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let numbers = ALL.iter().map(|(_, number, _)| *number);
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), numbers)?;
        Ok(Self { delivery })
    }

    /// What has arrived since the last call, never waiting.
    pub fn pending(&mut self) -> Vec<Arrived> {
        let origins = self.delivery.pending();
        let known = |number| {
            ALL.iter()
                .find(|(_, each, _)| *each == number)
                .map(|(signal, ..)| *signal)
        };
        origins
            .filter_map(|origin| {
                let sender = origin
                    .process
                    .map(|process| process.pid)
                    .filter(|pid| *pid != 0);
                Some(Arrived {
                    signal: known(origin.signal)?,
                    sender,
                })
            })
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_arrives_with_its_sender() {
        let mut signals = Signals::catch().expect("handlers");
        let process = rustix::process::getpid();
        rustix::process::kill_process(process, rustix::process::Signal::WINCH).expect("kill");
        let got = loop {
            let got = signals.pending();
            if !got.is_empty() {
                break got;
            }
        };
        let want = Arrived {
            signal: Signal::Winch,
            sender: Some(process.as_raw_nonzero().get()),
        };
        assert!(got.contains(&want), "{got:?}");
    }

    #[test]
    fn lines_read_like_nginx() {
        let from = Arrived {
            signal: Signal::Hup,
            sender: Some(42),
        };
        assert_eq!(
            from.line(", reconfiguring"),
            "signal 1 (SIGHUP) received from 42, reconfiguring"
        );
        let alone = Arrived {
            signal: Signal::Chld,
            sender: None,
        };
        assert_eq!(alone.line(""), "signal 17 (SIGCHLD) received");
    }
}
