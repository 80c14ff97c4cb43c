//! What all servers of one configuration offer, and how it gets to the shards: control puts it on a shelf under the
//! number of its epoch, and each shard takes it from there when it gets the plan of that number. Start at [`TlsSet`].

#![expect(
    clippy::disallowed_types,
    reason = "one lock for each configuration, taken when a shard gets it"
)]

use std::sync::{Arc, Mutex, PoisonError};

use super::staple::Staple;
use super::{ClientTls, KeyLines, ServerTls};

/// Epochs that stay on the shelf: all shards have taken the last one before the next comes.
const KEPT: usize = 2;

/// TLS of one configuration.
#[derive(Debug, Default)]
pub struct TlsSet {
    /// By the number of the server.
    pub servers: Vec<Offer>,
    /// TLS to backends, by the numbers of the plan's descriptions.
    pub clients: Vec<ClientTls>,
    /// Something asks for what clients offered.
    pub keep_hello: bool,
    /// OCSP answers to be fetched, each with the number of a server that wants it.
    pub staples: Vec<(Arc<Staple>, usize)>,
    /// Secrets that are logged, each with the number of its log.
    pub key_logs: Vec<(usize, Arc<KeyLines>)>,
}

/// What a server does with a handshake.
#[derive(Clone, Debug, Default)]
pub enum Offer {
    /// It has no certificate: the default server of the address answers.
    #[default]
    Nothing,
    /// It refuses (`ssl_reject_handshake`).
    Refuse,
    /// This.
    Tls(ServerTls),
}

impl TlsSet {
    /// What the server of this number offers.
    #[must_use]
    pub fn server(&self, index: usize) -> &Offer {
        self.servers.get(index).unwrap_or(&Offer::Nothing)
    }
}

/// Where control leaves each configuration's TLS for the shards.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<Mutex<Sets>>);

/// By the number of their epoch.
type Sets = Vec<(u64, Arc<TlsSet>)>;

impl Shelf {
    /// Leaves the TLS of an epoch.
    pub fn put(&self, epoch: u64, set: Arc<TlsSet>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((epoch, set));
        let spare = all.len().saturating_sub(KEPT);
        all.drain(..spare);
    }

    /// The TLS of an epoch; an empty one where none was left.
    #[must_use]
    pub fn get(&self, epoch: u64) -> Arc<TlsSet> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().find(|(known, _)| *known == epoch);
        found.map(|(_, set)| Arc::clone(set)).unwrap_or_default()
    }
}
