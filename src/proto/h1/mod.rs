//! HTTP/1.x on the wire: [`parse`] reads heads, [`body`] finds where bodies end, [`encode`] writes.

pub mod body;
pub mod encode;
mod line;
pub mod parse;
mod response;
