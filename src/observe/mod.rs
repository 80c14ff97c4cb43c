//! What the operator sees: log lines, counters, latencies.
//!
//! Nothing here waits: shards append to buffers of their own, and one thread of the process ([`scribe`]) does the
//! writing. Knows no requests; who logs brings the text. Start at [`log::Desk`] and [`counters::Counters`].

pub mod counters;
pub mod entry;
pub mod latency;
pub mod live;
pub mod log;
pub mod metrics;
pub mod paths;
pub mod recorder;
pub mod scribe;
pub mod sessions;
pub mod status;
pub mod tally;
pub mod view;

pub use counters::{Counters, Totals};
pub use log::{Desk, Logs};
pub use scribe::Scribe;
