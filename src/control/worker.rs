//! The worker: takes bundles from the parent, drops privileges, and runs the shards.
//!
//! Opens no file of a configuration; what it serves came down the channel. Start at [`serve`].

use std::ffi::OsStr;
use std::process::ExitCode;

use super::identity::Identity;
use super::signals::Signals;
use super::wire::Channel;

/// The exit code that tells the parent not to try again.
pub const CODE_FATAL: i32 = 2;

/// What follows the program's name in a process list; also how a worker knows that it is one.
const TITLE: &str = ": worker process";

/// The name under which a worker is started.
#[must_use]
pub fn title(identity: Identity) -> String {
    format!("{}{TITLE}", identity.name())
}

/// Whether this process was started as a worker, and for which name.
#[must_use]
pub fn identity(argv0: &OsStr) -> Option<Identity> {
    [Identity::Ringx, Identity::Nginx]
        .into_iter()
        .find(|identity| argv0 == OsStr::new(&title(*identity)))
}

/// The entry of a worker process: the channel is standard input.
pub fn main(identity: Identity) -> ExitCode {
    let _ = identity;
    ExitCode::FAILURE
}

/// Serves what comes down the channel until told to go. Returns the exit code.
pub fn serve(channel: Channel, signals: Option<Signals>, identity: Identity) -> i32 {
    let _ = (channel, signals, identity);
    0
}
