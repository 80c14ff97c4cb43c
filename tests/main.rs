//! The one integration binary: every end-to-end and tidy test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may stop at the first surprise"
)]
