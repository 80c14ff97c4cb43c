//! `ringx upgrade`: another binary takes over from the running one, in one command, or everything stays as it was.
//!
//! The steps are nginx's: USR2 starts the new binary on the old one's listeners, QUIT lets the old one finish. Here they
//! are taken one after the other by what the processes show of themselves. Start at [`replace`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::client::{self, Link, Reach};
use super::journal::cause;
use super::pid_file::{self, Unread};
use super::{pause, site};
use crate::base::time::Mono;
use crate::net::clock;

/// How often one looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long the running server may take to start the new binary.
const START_WAIT: Duration = Duration::from_secs(5);
/// How long a new binary that was sent away may take to go.
const BACK_WAIT: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Args, Debug)]
pub struct Upgrade {
    /// Seconds that the new binary may take until it serves.
    #[arg(long, default_value_t = 30)]
    timeout: u64,
    /// The pid file of the running server; that of the configuration when left out.
    #[arg(long, value_name = "FILE")]
    pid: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

/// The server as its pid file and its control socket show it.
struct Server {
    pid_file: PathBuf,
    socket: Option<PathBuf>,
}

/// Changes the binary. What it says at the end is for a person.
pub fn replace(ask: &Upgrade) -> Result<Vec<u8>, String> {
    let (setup, main) = ask.reach.main();
    let pid_file = match &ask.pid {
        Some(path) => path.clone(),
        None => site::pid_path(&setup, &main).0,
    };
    let socket = ask.reach.socket.clone();
    let server = Server {
        socket: socket.or_else(|| client::socket_path(&setup, &main)),
        pid_file,
    };
    let old = server.pid()?;
    signal(old, Signal::USR2)?;
    let started = clock::mono();
    let new = wait(started.after(START_WAIT), || {
        server.pid().ok().filter(|pid| *pid != old)
    });
    let Some(new) = new else {
        return Err(format!(
            "process {old} started no other binary that came as far as its pid file, and serves on: its error log tells \
             why"
        ));
    };
    let within = Duration::from_secs(ask.timeout);
    let ready = wait(started.after(within), || match server.serves(new) {
        true => Some(true),
        // The old process has its pid file back: the new one has gone.
        false if server.pid().is_ok_and(|pid| pid == old) || !lives(new) => Some(false),
        false => None,
    });
    match ready {
        Some(true) => {
            signal(old, Signal::QUIT)?;
            let text = format!("process {new} serves; process {old} finishes its connections\n");
            Ok(text.into_bytes())
        }
        Some(false) => Err(format!(
            "the new binary, process {new}, ended before it served; process {old} serves on"
        )),
        None => {
            signal(new, Signal::TERM)?;
            let back = || server.pid().ok().filter(|pid| *pid == old);
            wait(clock::mono().after(BACK_WAIT), back);
            Err(format!(
                "the new binary, process {new}, did not serve within {} s and was ended; process {old} serves on",
                ask.timeout
            ))
        }
    }
}

impl Server {
    fn pid(&self) -> Result<i32, String> {
        let path = self.pid_file.display();
        pid_file::read(&self.pid_file).map_err(|error| match error {
            Unread::Io(error) => format!("open() \"{path}\" failed {}", cause(&error)),
            Unread::Invalid(text) => format!("invalid PID number \"{text}\" in \"{path}\""),
        })
    }

    /// Whether a process serves: by its own word, or, without a control socket, by its having had a worker for a while.
    fn serves(&self, pid: i32) -> bool {
        if let Some(mut link) = self
            .socket
            .as_deref()
            .and_then(|path| Link::open(path).ok())
        {
            let Ok(Ok(said)) = link.ask("hello") else {
                return false;
            };
            let said = String::from_utf8_lossy(&said).into_owned();
            let mut words = said.split_ascii_whitespace();
            let own = words.next().and_then(|word| word.parse().ok()) == Some(pid);
            return own && words.next_back() == Some("serving");
        }
        let has_worker = || {
            let children = format!("/proc/{pid}/task/{pid}/children");
            std::fs::read_to_string(Path::new(&children)).is_ok_and(|text| !text.trim().is_empty())
        };
        has_worker() && {
            pause(Duration::from_secs(1));
            has_worker()
        }
    }
}

fn lives(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

fn signal(pid: i32, signal: Signal) -> Result<(), String> {
    let target = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
    target
        .and_then(|target| kill_process(target, signal))
        .map_err(|error| {
            let error = cause(&error.into());
            format!("kill({pid}, {}) failed {error}", signal.as_raw())
        })
}

/// Looks again and again until there is something, or it is too late.
fn wait<T>(until: Mono, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if clock::mono() >= until {
            return None;
        }
        pause(LOOK);
    }
}
