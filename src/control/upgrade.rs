//! USR2: a new binary takes the listeners over while the old one goes on serving.
//!
//! The hand-over is nginx's own, so that either of the two can replace the other: the variable `NGINX` lists the
//! descriptors, and the pid file of the old process steps aside. Start at [`Upgrade::start`] and [`inherited`].

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_setfd};

use super::crew::End;
use super::journal::{Journal, Level, cause};
use super::pid_file::PidFile;
use super::setup::Setup;
use super::sockets::{Address, Bound};
use crate::net::sys::process::adopt;

/// Descriptors of listening sockets, each number followed by a semicolon.
const VARIABLE: &str = "NGINX";

/// systemd's way to say that sockets are open: how many, from the third descriptor on, and for which process.
const ACTIVATED: (&str, &str) = ("LISTEN_FDS", "LISTEN_PID");
const ACTIVATED_FIRST: i32 = 3;
/// More are not taken for a real number.
const ACTIVATED_MAX: i32 = 4096;

/// The state of an upgrade in one process: of the old one that started it, or of the new one that it started.
#[derive(Debug, Default)]
pub struct Upgrade {
    /// The new binary, as long as it runs.
    child: Option<Child>,
    /// The process that started this one with its sockets.
    old: Option<u32>,
    /// The sockets are systemd's.
    activated: bool,
}

/// Where listeners that were there before this process came from.
#[derive(Debug, Default)]
pub enum Inherited {
    /// There are none.
    #[default]
    None,
    /// From the process before this one, in a change of the binary.
    Before(Vec<Bound>),
    /// From systemd.
    Activated(Vec<Bound>),
}

impl Inherited {
    /// The listeners.
    #[must_use]
    pub fn bound(&self) -> &[Bound] {
        match self {
            Self::None => &[],
            Self::Before(bound) | Self::Activated(bound) => bound,
        }
    }

    /// Whether this process replaces another.
    #[must_use]
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Before(_))
    }
}

impl Upgrade {
    /// For a process that was started; `inherited` tells whether its sockets came from another.
    #[must_use]
    pub fn new(inherited: &Inherited) -> Self {
        Self {
            child: None,
            old: inherited.is_change().then(parent_pid),
            activated: matches!(inherited, Inherited::Activated(_)),
        }
    }

    /// Whether a further upgrade must wait: the old process still runs, or the new one does.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.child.is_some() || self.old_is_there()
    }

    /// Whether another process listens on our sockets, so that their files must stay.
    #[must_use]
    pub fn shares_sockets(&self) -> bool {
        self.activated || self.is_blocked()
    }

    fn old_is_there(&self) -> bool {
        self.old.is_some_and(|old| old == parent_pid())
    }

    /// Starts the binary that now has our name, with our arguments and listeners.
    pub fn start(
        &mut self,
        setup: &Setup,
        pid_file: &mut PidFile,
        bound: &[Bound],
        journal: &Journal,
    ) {
        let Some((program, arguments)) = setup.command.split_first() else {
            return;
        };
        if let Err(error) = pid_file.step_aside() {
            let path = pid_file.path();
            journal.log(
                Level::Alert,
                &format!(
                    "rename() of \"{}\" failed {}",
                    path.display(),
                    cause(&error)
                ),
            );
            return;
        }
        match launch(program, arguments, bound) {
            Ok(child) => {
                journal.notice(&format!("start new binary process {}", child.id()));
                self.child = Some(child);
            }
            Err(error) => {
                let program = program.to_string_lossy();
                journal.log(
                    Level::Alert,
                    &format!(
                        "execve() failed while executing \"{program}\" {}",
                        cause(&error)
                    ),
                );
                pid_file.step_back().ok();
            }
        }
    }

    /// How the new binary ended, if it has just done so.
    pub fn reap(&mut self, journal: &Journal) -> Option<End> {
        let child = self.child.as_mut()?;
        let end = End::of(child.try_wait().ok()??);
        let level = if matches!(end, End::Signal(..)) {
            Level::Alert
        } else {
            Level::Notice
        };
        journal.log(level, &format!("new binary process {} {end}", child.id()));
        self.child = None;
        Some(end)
    }
}

fn launch(program: &OsStr, arguments: &[std::ffi::OsString], bound: &[Bound]) -> io::Result<Child> {
    let sockets: Vec<_> = bound.iter().flat_map(|bound| &bound.sockets).collect();
    let list: String = sockets
        .iter()
        .map(|socket| format!("{};", socket.as_raw_fd()))
        .collect();
    let mark = |flags| {
        sockets
            .iter()
            .try_for_each(|socket| fcntl_setfd(socket, flags))
    };
    mark(FdFlags::empty())?;
    let child = Command::new(program)
        .arg0(program)
        .args(arguments)
        .env(VARIABLE, list)
        .spawn();
    mark(FdFlags::CLOEXEC)?;
    child
}

fn parent_pid() -> u32 {
    std::os::unix::process::parent_id()
}

/// The listeners that somebody opened for this process.
#[must_use]
pub fn inherited(journal: &Journal) -> Inherited {
    let Some(list) = std::env::var_os(VARIABLE) else {
        let numbers = activated();
        if numbers.is_empty() {
            return Inherited::None;
        }
        journal.notice(&format!("using {} sockets of systemd", numbers.len()));
        return Inherited::Activated(take_all(numbers, journal));
    };
    let list = list.to_string_lossy().into_owned();
    journal.notice(&format!("using inherited sockets from \"{list}\""));
    let (numbers, rest) = numbers(&list);
    if !rest.is_empty() {
        journal.emerg(&format!(
            "invalid socket number \"{rest}\" in {VARIABLE} environment variable, ignoring the rest of the variable"
        ));
    }
    Inherited::Before(take_all(numbers, journal))
}

/// The descriptors that systemd has opened for this very process.
fn activated() -> Vec<i32> {
    let number = |name| std::env::var(name).ok()?.parse::<i32>().ok();
    let (count, pid) = (number(ACTIVATED.0), number(ACTIVATED.1));
    let ours = pid.and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id());
    let count = count.filter(|count| ours && (1..=ACTIVATED_MAX).contains(count));
    (ACTIVATED_FIRST..ACTIVATED_FIRST + count.unwrap_or(0)).collect()
}

fn take_all(numbers: Vec<i32>, journal: &Journal) -> Vec<Bound> {
    let mut bound: Vec<Bound> = Vec::new();
    for number in numbers {
        match take(number) {
            Ok((address, socket)) => {
                match bound.iter_mut().find(|bound| bound.address == address) {
                    Some(known) => known.sockets.push(socket),
                    None => bound.push(Bound {
                        address,
                        sockets: vec![socket],
                    }),
                }
            }
            Err(error) => {
                journal.log(
                    Level::Crit,
                    &format!(
                        "getsockname() of the inherited socket #{number} failed {}",
                        cause(&error)
                    ),
                );
            }
        }
    }
    bound
}

/// The numbers of a list, and what follows the last good one.
fn numbers(list: &str) -> (Vec<i32>, &str) {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some((word, after)) = rest.split_once([';', ':']) {
        // A number that stands twice would be closed twice.
        match word.parse() {
            Ok(number) if !found.contains(&number) => found.push(number),
            _ => return (found, rest),
        }
        rest = after;
    }
    (found, rest)
}

fn take(number: i32) -> io::Result<(Address, Arc<std::os::fd::OwnedFd>)> {
    let socket = adopt(number)?;
    let name = socket2::SockRef::from(&socket).local_addr()?;
    let address = match (name.as_socket(), name.as_pathname()) {
        (Some(address), _) => Address::Tcp(address),
        (None, Some(path)) => Address::Unix(PathBuf::from(path)),
        (None, None) => return Err(io::Error::from(io::ErrorKind::Unsupported)),
    };
    Ok((address, Arc::new(socket)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_up_to_the_first_nonsense() {
        for (list, want, rest) in [
            ("", &[][..], ""),
            ("3;4;5;", &[3, 4, 5], ""),
            ("3:4;", &[3, 4], ""),
            ("3;4", &[3], "4"),
            ("3;x;5;", &[3], "x;5;"),
            ("3;3;4;", &[3], "3;4;"),
            (";", &[], ";"),
        ] {
            assert_eq!(numbers(list), (want.to_vec(), rest), "{list:?}");
        }
    }
}
