//! Bytes in and out: listeners, streams, datagrams, files, the clock. The only caller of the kernel; unsafe only in
//! `net/sys`. Knows no protocol above TCP and no configuration.
//!
//! Start with [`runtime`] (what drives a shard), then [`stream`] (one connection) and [`deadline`] (how it times
//! out without a timer per operation). Every type of the ring's runtime stays behind this module.

pub mod addr;
pub mod bell;
pub mod busy;
pub mod clock;
pub mod connect;
pub mod deadline;
pub mod depot;
pub mod file;
pub mod folder;
pub mod join;
pub mod listener;
pub mod names;
pub mod notify;
pub mod offload;
mod ready;
mod round;
pub mod runtime;
pub mod splice;
pub mod stream;
pub mod sys;
pub mod tls;
pub mod tunnel;
pub mod turn;
pub mod udp;

pub use addr::Addr;
pub use clock::Clock;
pub use deadline::Deadlines;
pub use stream::Stream;
