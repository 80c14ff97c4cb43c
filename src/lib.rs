//! ringx: an io_uring, thread-per-core reverse proxy for Linux that runs your nginx.conf.
//!
//! Modules import only downwards in this list (a test checks it):
//!
//! | module | one responsibility |
//! |---|---|
//! | [`base`] | what std could have had |
//! | [`proto`] | wire protocols as pure codecs and machines |
//! | [`config`] | text to tree to model, all diagnostics |
//! | [`plan`] | model to plan: compiled, immutable |
//! | [`net`] | bytes in and out, the only kernel caller |
//! | [`mail`] | how shards talk |
//! | [`front`] | downstream connections |
//! | [`upstream`] | groups, peers, balancing, origin connections |
//! | [`cache`] | stored answers: index, single flight, files |
//! | [`observe`] | logs and counters |
//! | [`http`] | one exchange from head to log line |
//! | [`shard`] | what one core owns and runs |
//! | [`control`] | the two processes |

pub mod base;

pub mod proto;

pub mod config;

pub mod plan;

pub mod net;

pub mod mail;

pub mod front;

pub mod upstream;

pub mod cache;

pub mod observe;

pub mod http;

pub mod stream;

pub mod shard;

pub mod control;
