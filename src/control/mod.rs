//! The two processes: command line, parent and worker, signals, reload.
//!
//! Owns everything that happens to the process as a whole and nothing that happens to a request. Start at [`main`].

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

pub mod bundle;
pub mod cli;
pub mod crew;
pub mod identity;
pub mod journal;
pub mod pid_file;
pub mod signals;
pub mod sockets;
pub mod wire;
pub mod worker;

use identity::Identity;

/// Runs the program for this process's command line and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let argv0 = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    let identity = Identity::of(&argv0);
    match cli::parse(&args) {
        Ok(options) => run(identity, &options),
        Err(text) => {
            say(&format!("{}: {text}\n", identity.name()));
            ExitCode::FAILURE
        }
    }
}

/// What nginx's own options ask for.
fn run(identity: Identity, options: &cli::Options) -> ExitCode {
    if options.version {
        say(&if options.configure {
            identity.configure_text()
        } else {
            identity.version_line()
        });
        if options.help {
            say(&identity.usage());
        }
        if !options.test {
            return ExitCode::SUCCESS;
        }
    }
    ExitCode::SUCCESS
}

/// Writes to standard error; there is nobody left to tell when that fails.
fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).ok();
}

/// Waits; only processes that serve no request may.
fn pause(duration: std::time::Duration) {
    let timeout = rustix::event::Timespec::try_from(duration).ok();
    rustix::event::poll(&mut [], timeout.as_ref()).ok();
}
