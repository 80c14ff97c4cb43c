//! The one integration binary: the tidy checks and every end-to-end test, sharing one `support`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may stop at the first surprise"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "tests are plain threads: they may block, read the clock and print"
)]

mod e2e;
mod http;
mod properties;
mod support;
#[path = "fuzz/targets.rs"]
mod targets;
mod tidy;
