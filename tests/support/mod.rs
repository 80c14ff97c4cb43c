//! What the end-to-end tests stand on: the proxy as a process, clients and origins as scripts of bytes. It knows
//! nothing of ringx's library. Start at [`proxy::Config`], then [`client::Client`] and [`origin::Origin`].
//!
//! Everything is on the loopback, every wait is bounded by [`LIMIT`], and no test waits by sleeping: a wait is a
//! condition that is asked again until it holds.

#![allow(
    dead_code,
    unused_imports,
    reason = "a vocabulary: not every word is used at every time"
)]

pub mod client;
pub mod dns;
pub mod fastcgi;
pub mod frames;
pub mod origin;
pub mod peer;
pub mod php;
pub mod ports;
pub mod proxy;
pub mod tls;
pub mod wait;
pub mod wire;

use std::time::Duration;

/// The longest that any single wait may last before its test fails: enough for a machine that is full with other work.
pub const LIMIT: Duration = Duration::from_secs(15);

/// Says that a test cannot run here, and why. `scripts/check` counts it as skipped, not as passed.
pub fn skipped(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {why}");
    if let Some(list) = std::env::var_os("RINGX_SKIPPED") {
        let list = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(list);
        writeln!(list.unwrap(), "{test}\t{why}").unwrap();
    }
}

pub use client::Client;
pub use origin::Origin;
pub use proxy::{Config, Proxy};
