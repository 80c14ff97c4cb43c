//! One exchange from head to log line: the stages. Knows every stage and no socket of the client's version.
//! Start at [`flow::serve`].

pub mod access;
pub mod aftermath;
pub mod body;
pub mod browser;
pub mod certificates;
pub mod console;
pub mod content;
pub mod debug;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod filter;
pub mod flow;
pub mod health;
pub mod local;
pub mod log;
pub mod ocsp;
pub mod pace;
pub mod responder;
pub mod rewrite;
pub mod route;
pub mod slice;
pub mod spool;
pub mod stapling;
pub mod stream_tunnel;
pub mod subrequest;
pub mod tally;
pub mod trace;
pub mod transfer;
pub mod tunnel;
pub mod vars;
