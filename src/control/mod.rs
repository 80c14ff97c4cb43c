//! The two processes: command line, parent and worker, signals, reload.
//!
//! Owns everything that happens to the process as a whole and nothing that happens to a request. Start at [`main`].

#![expect(
    clippy::disallowed_methods,
    reason = "the parent, and a worker before its shards run, serve nobody and may block on files and names"
)]

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

mod built;
pub mod bundle;
pub mod certs;
pub mod check;
pub mod cli;
pub mod client;
pub mod commands;
pub mod convert;
pub mod cores;
pub mod crew;
pub mod desk;
pub mod engine;
pub mod explain;
pub mod files;
pub mod identity;
pub mod journal;
pub mod manual;
pub mod notify;
pub mod parent;
pub mod pid_file;
pub mod quick;
pub mod reading;
pub mod replace;
pub mod setup;
pub mod show;
pub mod signals;
pub mod site;
pub mod socket;
pub mod sockets;
pub mod start;
pub mod tail;
#[cfg(feature = "top")]
pub mod top;
pub mod upgrade;
pub mod wire;
pub mod worker;

use identity::Identity;

/// Runs the program for this process's command line and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let command: Vec<OsString> = std::env::args_os().collect();
    let argv0 = command.first().cloned().unwrap_or_default();
    if let Some(identity) = worker::identity(&argv0) {
        return worker::main(identity);
    }
    let identity = Identity::of(&argv0);
    if identity == Identity::Ringx && command.get(1).is_some_and(commands::is_command) {
        return commands::run(command);
    }
    match cli::parse(command.get(1..).unwrap_or_default()) {
        Ok(options) => run(identity, &options, command),
        Err(text) => {
            say(&format!("{}: {text}\n", identity.name()));
            ExitCode::FAILURE
        }
    }
}

/// What nginx's own options ask for.
fn run(identity: Identity, options: &cli::Options, command: Vec<OsString>) -> ExitCode {
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
    start::run(setup::Setup::new(identity, options, command), options)
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
