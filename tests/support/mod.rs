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
pub mod origin;
pub mod peer;
pub mod php;
pub mod ports;
pub mod proxy;
pub mod wait;
pub mod wire;

use std::time::Duration;

/// The longest that any single wait may last before its test fails.
pub const LIMIT: Duration = Duration::from_secs(5);

pub use client::Client;
pub use origin::Origin;
pub use proxy::{Config, Proxy};
