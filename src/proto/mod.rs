//! Wire protocols as pure codecs and machines: bytes in, values out. No io, no clock, no configuration.
//! Start at [`head`] for what a message is, and at [`h1`] for how it is read and written.

pub mod dns;
pub mod fastcgi;
pub mod h1;
pub mod h2;
pub mod head;
pub mod host;
pub mod proxy_protocol;
pub mod tokens;
pub mod trace;
pub mod uri;
pub mod ws;

#[cfg(test)]
mod mutation_tests;
