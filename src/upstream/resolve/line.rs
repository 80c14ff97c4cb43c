//! The addresses of a `server` line: those of a host, or of the SRV records of a service and their targets.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{Asked, CHAIN_MAX, Flight, Known, NXDOMAIN, ResolveError, Resolver, SERVFAIL, Waiter};
use crate::base::time::Mono;
use crate::net::clock;
use crate::net::join::{First, race};
use crate::net::runtime;
use crate::plan::lines::{FoundPeer, LinePlan};
use crate::proto::dns::Srv;

/// How long it is believed that a name has no address.
const NOTHING_FOR: Duration = Duration::from_secs(10);

/// Peers that one line may have; what is beyond is not taken.
const PEERS_MAX: usize = 4096;

/// One resolver, for as long as somebody holds it.
#[derive(Clone)]
pub struct Handle(pub(super) Rc<Resolver>);

/// What was found for a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Its peers.
    pub peers: Vec<FoundPeer>,
    /// How long that holds.
    pub until: Mono,
    /// Targets of SRV records that have no address, and why.
    pub lost: Vec<(Vec<u8>, ResolveError)>,
}

impl Handle {
    /// How long it is believed that a name has no address.
    pub fn nothing_for(&self) -> Duration {
        self.0.plan.valid.unwrap_or(NOTHING_FOR)
    }

    /// Asks for the peers of a line.
    pub async fn find(&self, line: &LinePlan, within: Duration) -> Result<Discovery, ResolveError> {
        let found = if line.service.is_empty() {
            let known = self.0.addresses(&line.host, within).await?;
            Discovery {
                peers: known.peers(None).collect(),
                until: known.until,
                lost: Vec::new(),
            }
        } else {
            self.service(line, within).await?
        };
        Ok(found)
    }

    async fn service(&self, line: &LinePlan, within: Duration) -> Result<Discovery, ResolveError> {
        let asking = pin!(self.0.services(&line.service));
        let limit = pin!(runtime::sleep(within));
        let (services, mut until) = match race(asking, limit).await {
            First::Left(Ok(answer)) => answer,
            First::Left(Err(code)) => return Err(ResolveError::Code(code)),
            First::Right(()) => return Err(ResolveError::TimedOut),
        };
        let first = services.iter().map(|srv| srv.priority).min();
        let (mut peers, mut lost) = (Vec::new(), Vec::new());
        for srv in &services {
            match self.0.addresses(&srv.target, within).await {
                Ok(known) => {
                    until = until.min(known.until);
                    peers.extend(known.peers(Some((srv, first))));
                }
                Err(why) => lost.push((srv.target.clone(), why)),
            }
            if peers.len() >= PEERS_MAX {
                break;
            }
        }
        peers.truncate(PEERS_MAX);
        if !peers.is_empty() {
            return Ok(Discovery { peers, until, lost });
        }
        // As nginx: that one target does not exist says more than that another one is not known.
        let nothing = ResolveError::Code(NXDOMAIN);
        let gone = lost.iter().find(|(_, why)| *why == nothing);
        Err(gone
            .or_else(|| lost.first())
            .map_or(nothing, |(_, why)| *why))
    }
}

impl Known {
    fn peers(&self, of: Option<(&Srv, Option<u16>)>) -> impl Iterator<Item = FoundPeer> + use<> {
        let (target, port, backup, weight) = match of {
            None => (Bytes::new(), 0, false, 0),
            Some((srv, first)) => (
                Bytes::copy_from_slice(&srv.target),
                srv.port,
                Some(srv.priority) != first,
                srv.weight,
            ),
        };
        let addresses = Rc::clone(&self.addresses);
        let count = addresses.len().min(PEERS_MAX);
        (0..count).map(move |at| FoundPeer {
            addr: (addresses[at], port).into(),
            target: target.clone(),
            backup,
            weight,
        })
    }
}

impl Resolver {
    /// The SRV records of a name, and how long they hold.
    async fn services(&self, name: &Bytes) -> Result<(Vec<Srv>, Mono), u8> {
        let waiter = Waiter::new(Rc::new(Flight::default()));
        let mut current = name.to_vec();
        let mut least = Duration::MAX;
        for _ in 0..=CHAIN_MAX {
            match self.ask(&current, true, &waiter.0).await {
                Asked::Services(services, ttl) => {
                    let lifetime = self.plan.valid.unwrap_or_else(|| ttl.min(least));
                    return Ok((services, clock::mono().after(lifetime)));
                }
                Asked::Found(..) => return Err(SERVFAIL),
                Asked::Alias(next, ttl) => {
                    least = least.min(ttl);
                    current = next;
                }
                Asked::Failed(code) => return Err(code),
                Asked::Abandoned => return Err(SERVFAIL),
            }
        }
        Err(NXDOMAIN)
    }
}
