//! What a shard does with a connection: reads requests from it and hands each to `http::flow::serve`.
//!
//! The loop that a connection waits in is small; an exchange and its future come from pools for as long as a request
//! lasts. Start at [`Http::connection`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::pool::Workers;
use super::{After, Begin, Event, Serve, Shard};
use crate::base::time::Mono;
use crate::front::accept::{self, Broken};
use crate::front::h1::{Conn, Decoded, Ending};
use crate::front::{ConnInfo, Refusal, Stream};
use crate::http::exchange::Exchange;
use crate::http::flow;
use crate::http::local::{Generation, Local};
use crate::mail::{Mail, NewPlan, PeerChange, PeerState};
use crate::net::listener::Accepted;
use crate::net::runtime;
use crate::observe::{Count, Gauge};
use crate::plan::model::{LingeringClose, LogLevel, Settings};
use crate::plan::{ListenerId, Plan};
use crate::proto::h1::parse::HeadLimits;

/// Exchanges that wait, at most.
const EXCHANGES_MAX: usize = 1024;

/// How often a replaced generation is looked at for its last exchange to end.
const RETIRE_LOOK: Duration = Duration::from_millis(20);

/// One request for a worker.
pub(super) struct Job {
    exchange: Box<Exchange>,
    refused: Option<Refusal>,
    generation: Rc<Generation>,
    local: Rc<Local>,
}
