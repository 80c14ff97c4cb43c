//! Passwords that were found right a short while ago, so that a browser's hundred requests cost one slow hash.
//!
//! Kept are digests under a key of this shard, made from user, password and what the user file stores: a changed file
//! makes them worthless, and none of them can be shown or compared elsewhere. Also bounds how many checks this shard
//! has running.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, RandomState};

use sha2::{Digest as _, Sha256};

use crate::base::lru::Lru;
use crate::base::time::Mono;

/// Digests that are kept, about 100 bytes each.
const KEPT_MAX: usize = 1024;

/// How long one is believed, in milliseconds.
const KEPT_MS: u64 = 300_000;

/// Checks that one shard has running: what more there is waits here, where a client that leaves costs nothing.
const RUNNING_MAX: usize = 8;

/// What a user, a password and a stored hash become.
pub type Proof = [u8; 32];

/// The digests of one shard.
pub struct Verified {
    key: [u64; 4],
    kept: RefCell<Lru<Proof, Mono>>,
    running: RefCell<Vec<Proof>>,
}

impl Default for Verified {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            key: std::array::from_fn(|n| random.hash_one(n)),
            kept: RefCell::new(Lru::new(KEPT_MAX)),
            running: RefCell::default(),
        }
    }
}

impl Verified {
    /// The digest of one check.
    #[must_use]
    pub fn proof(&self, user: &[u8], password: &[u8], stored: &[u8]) -> Proof {
        let mut hash = Sha256::new();
        for word in self.key {
            hash.update(word.to_ne_bytes());
        }
        for part in [user, password, stored] {
            hash.update(part.len().to_ne_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// Whether this check was passed a short while ago.
    #[must_use]
    pub fn knows(&self, proof: &Proof, now: Mono) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.get(proof)
            .is_some_and(|since| now.ms_since(*since) < KEPT_MS)
    }

    /// Remembers a check that was passed.
    pub fn remember(&self, proof: Proof, now: Mono) {
        self.kept.borrow_mut().insert(proof, now);
    }

    /// Takes a place for a check; none when there is none, or when the same check is running.
    pub fn begin(&self, proof: Proof) -> Option<Running<'_>> {
        let mut running = self.running.borrow_mut();
        if running.len() >= RUNNING_MAX || running.contains(&proof) {
            return None;
        }
        running.push(proof);
        Some(Running { of: self, proof })
    }
}

/// A place that a check takes up, until dropped.
pub struct Running<'a> {
    of: &'a Verified,
    proof: Proof,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.of
            .running
            .borrow_mut()
            .retain(|proof| *proof != self.proof);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_a_while_and_for_nothing_else() {
        let verified = Verified::default();
        let proof = verified.proof(b"user", b"password", b"$2y$x");
        assert!(!verified.knows(&proof, Mono(0)));
        verified.remember(proof, Mono(0));
        assert!(verified.knows(&proof, Mono(KEPT_MS - 1)));
        assert!(!verified.knows(&proof, Mono(KEPT_MS)));
        for other in [
            verified.proof(b"userp", b"assword", b"$2y$x"),
            verified.proof(b"user", b"password", b"$2y$y"),
            verified.proof(b"user", b"Password", b"$2y$x"),
            Verified::default().proof(b"user", b"password", b"$2y$x"),
        ] {
            assert!(other != proof && !verified.knows(&other, Mono(0)));
        }
    }

    #[test]
    fn checks_are_few_and_each_runs_once() {
        let verified = Verified::default();
        let first = verified.begin([0; 32]).expect("nothing is running");
        assert!(verified.begin([0; 32]).is_none());
        let more: Vec<_> = (1..20).map_while(|n| verified.begin([n; 32])).collect();
        assert_eq!(more.len(), RUNNING_MAX - 1);
        drop(first);
        assert!(verified.begin([0; 32]).is_some());
    }
}
