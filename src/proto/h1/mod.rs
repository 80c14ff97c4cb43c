//! HTTP/1.x on the wire: [`parse`] reads heads, [`body`] finds where bodies end, [`encode`] writes.

pub mod body;
pub mod encode;
pub(super) mod line;
pub mod parse;
mod response;
