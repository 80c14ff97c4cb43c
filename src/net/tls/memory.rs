//! What TLS keeps from one configuration to the next: sessions by zone, and the keys of tickets. Start at [`Memory`].

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::sessions::Store;
use super::staple::Staple;
use super::status::Known;
use super::tickets::{TicketKeys, digest_of};

/// Sessions and keys of a process.
#[derive(Debug, Default)]
pub struct Memory {
    zones: HashMap<Vec<u8>, (usize, Arc<Store>)>,
    /// By how long they seal, in seconds.
    keys: HashMap<u64, TicketKeys>,
    /// What is known of clients' certificates, by zone.
    known: HashMap<Vec<u8>, (usize, Arc<Known>)>,
    /// OCSP answers that a configuration uses, by what they are about and whom they come from.
    staples: HashMap<[u8; 32], Weak<Staple>>,
}

impl Memory {
    /// The sessions of a zone. One whose size has changed starts anew.
    pub fn store(&mut self, zone: &[u8], bytes: usize) -> Arc<Store> {
        let known = self.zones.get(zone).filter(|(size, _)| *size == bytes);
        if let Some((_, store)) = known {
            return Arc::clone(store);
        }
        let store = Arc::new(Store::new(bytes));
        self.zones
            .insert(zone.to_vec(), (bytes, Arc::clone(&store)));
        store
    }

    /// What a zone holds of clients' certificates. One whose size has changed starts anew.
    pub fn known(&mut self, zone: &[u8], bytes: usize) -> Arc<Known> {
        let known = self.known.get(zone).filter(|(size, _)| *size == bytes);
        if let Some((_, known)) = known {
            return Arc::clone(known);
        }
        let known = Arc::new(Known::new(bytes));
        self.known
            .insert(zone.to_vec(), (bytes, Arc::clone(&known)));
        known
    }

    /// The keys of servers that name no file, by how long a key seals.
    pub fn ticket_keys(&mut self, seconds: u64) -> TicketKeys {
        let keys = self.keys.entry(seconds).or_insert_with(TicketKeys::own);
        keys.clone()
    }

    /// The OCSP answer of this name, made unless it is in use.
    pub fn staple(&mut self, name: &[&[u8]], make: impl FnOnce() -> Staple) -> Arc<Staple> {
        self.staples.retain(|_, known| known.strong_count() > 0);
        let name = digest_of(name);
        if let Some(known) = self.staples.get(&name).and_then(Weak::upgrade) {
            return known;
        }
        let made = Arc::new(make());
        self.staples.insert(name, Arc::downgrade(&made));
        made
    }
}
