//! Tickets, in which clients keep their sessions: sealed with keys that all shards share and that outlive a reload.
//!
//! A ticket names its key, and holds when it was made. It opens only where the same certificates and the same rules for
//! clients are in force as where it was sealed, and for as long as `ssl_session_timeout` says. Keys that no file gives
//! are made here and replaced after that time; the one before still opens. Start at [`TicketKeys`].

#![expect(
    clippy::disallowed_types,
    reason = "handshakes of all shards share the keys; the lock is held to copy one"
)]

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use rustls::server::ProducesTickets;

use crate::net::clock;

/// Bytes of a key's name.
const NAME_BYTES: usize = 16;
/// Bytes of a time, and of a length behind it.
const HEAD_BYTES: usize = 8 + 4;

/// Tickets are filled up to a multiple of this, so that their length does not tell the name of the server.
const STEP: usize = 64;

/// One key.
#[derive(Clone)]
struct Key {
    name: [u8; NAME_BYTES],
    secret: [u8; 32],
}

/// What tickets are sealed with.
#[derive(Clone)]
pub struct TicketKeys(Arc<Source>);

enum Source {
    /// From files: the first seals.
    Files(Vec<Key>),
    /// Made here.
    Own(Mutex<Rotation>),
}

struct Rotation {
    /// Seconds of Unix time at which the first key was made.
    since: i64,
    /// The one that seals, then the one before.
    keys: Vec<Key>,
}

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKeys")
    }
}

impl TicketKeys {
    /// Keys of files, each of 48 or 80 bytes; the error is the number of a file that has another length.
    pub fn of_files(files: &[&[u8]]) -> Result<Self, usize> {
        let mut keys = Vec::new();
        for (at, file) in files.iter().enumerate() {
            if !matches!(file.len(), 48 | 80) {
                return Err(at);
            }
            let mut name = [0; NAME_BYTES];
            name.copy_from_slice(&file[..NAME_BYTES]);
            keys.push(Key {
                name,
                secret: digest_of(&[b"ringx ticket", file]),
            });
        }
        Ok(Self(Arc::new(Source::Files(keys))))
    }

    /// Keys that are made here.
    #[must_use]
    pub fn own() -> Self {
        Self(Arc::new(Source::Own(Mutex::new(Rotation {
            since: 0,
            keys: Vec::new(),
        }))))
    }

    /// The key that seals now; none when the system has no random bytes.
    fn sealing(&self, now: i64, lifetime: i64) -> Option<Key> {
        match &*self.0 {
            Source::Files(keys) => keys.first().cloned(),
            Source::Own(rotation) => {
                let mut rotation = rotation.lock().unwrap_or_else(PoisonError::into_inner);
                if rotation.keys.is_empty() || now - rotation.since >= lifetime.max(1) {
                    let fresh = Key {
                        name: random()?,
                        secret: random()?,
                    };
                    rotation.keys.insert(0, fresh);
                    rotation.keys.truncate(2);
                    rotation.since = now;
                }
                rotation.keys.first().cloned()
            }
        }
    }

    fn named(&self, name: &[u8]) -> Option<Key> {
        let find = |keys: &[Key]| keys.iter().find(|key| key.name == *name).cloned();
        match &*self.0 {
            Source::Files(keys) => find(keys),
            Source::Own(rotation) => {
                find(&rotation.lock().unwrap_or_else(PoisonError::into_inner).keys)
            }
        }
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// SHA-256 of parts, each with its length before it.
pub(super) fn digest_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Tickets of one server.
#[derive(Debug)]
pub(super) struct Tickets {
    pub(super) keys: TicketKeys,
    /// What must be the same for a ticket to open.
    pub(super) context: [u8; 32],
    /// Seconds that a ticket is good for.
    pub(super) lifetime: u32,
}

impl Tickets {
    fn seal(&self, plain: &[u8], now: i64) -> Option<Vec<u8>> {
        let key = self.keys.sealing(now, i64::from(self.lifetime))?;
        let sealer = RandomizedNonceKey::new(&AES_256_GCM_SIV, &key.secret).ok()?;
        let mut inside = now.to_be_bytes().to_vec();
        inside.extend_from_slice(&u32::try_from(plain.len()).ok()?.to_be_bytes());
        inside.extend_from_slice(plain);
        inside.resize(inside.len().next_multiple_of(STEP), 0);
        let nonce = sealer
            .seal_in_place_append_tag(Aad::from(self.context), &mut inside)
            .ok()?;
        let mut ticket = key.name.to_vec();
        ticket.extend_from_slice(nonce.as_ref());
        ticket.extend_from_slice(&inside);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: i64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let key = self.keys.named(name)?;
        let opener = RandomizedNonceKey::new(&AES_256_GCM_SIV, &key.secret).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let inside = opener
            .open_in_place(nonce, Aad::from(self.context), &mut sealed)
            .ok()?;
        let (head, rest) = inside.split_first_chunk::<HEAD_BYTES>()?;
        let (made, len) = head.split_first_chunk::<8>()?;
        let len = u32::from_be_bytes(len.try_into().ok()?) as usize;
        let plain = rest.get(..len)?;
        let age = now.saturating_sub(i64::from_be_bytes(*made));
        (age <= i64::from(self.lifetime)).then(|| plain.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, clock::unix().secs)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, clock::unix().secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(keys: &TicketKeys, context: u8) -> Tickets {
        Tickets {
            keys: keys.clone(),
            context: [context; 32],
            lifetime: 300,
        }
    }

    #[test]
    fn a_ticket_opens_in_time_under_its_key_and_rules() {
        let keys = TicketKeys::own();
        let (one, other) = (tickets(&keys, 1), tickets(&keys, 2));
        let ticket = one.seal(b"session", 1000).expect("random bytes");
        assert_ne!(one.seal(b"session", 1000).expect("random bytes"), ticket);
        assert_eq!(one.open(&ticket, 1300).as_deref(), Some(&b"session"[..]));
        assert_eq!(one.open(&ticket, 1301), None);
        assert_eq!(other.open(&ticket, 1000), None);
        assert_eq!(tickets(&TicketKeys::own(), 1).open(&ticket, 1000), None);
        for cut in 0..ticket.len() {
            assert_eq!(one.open(&ticket[..cut], 1000), None);
        }
        for at in 0..ticket.len() {
            let mut bad = ticket.clone();
            bad[at] ^= 1;
            assert_eq!(one.open(&bad, 1000), None);
        }
    }

    #[test]
    fn own_keys_are_replaced_and_the_last_one_still_opens() {
        let tickets = tickets(&TicketKeys::own(), 1);
        let first = tickets.seal(b"1", 1000).expect("sealed");
        let second = tickets.seal(b"2", 1299).expect("sealed");
        let third = tickets.seal(b"3", 1300).expect("sealed");
        assert_eq!(first[..16], second[..16]);
        assert_ne!(second[..16], third[..16]);
        assert!(tickets.open(&second, 1400).is_some());
        let fourth = tickets.seal(b"4", 1600).expect("sealed");
        assert!(tickets.open(&fourth, 1600).is_some() && tickets.open(&third, 1600).is_some());
        assert_eq!(tickets.open(&second, 1599), None);
    }

    #[test]
    fn keys_of_files_open_each_others_tickets() {
        let (a, b) = ([1u8; 48], [2u8; 80]);
        let before = TicketKeys::of_files(&[&a[..]]).expect("lengths");
        let after = TicketKeys::of_files(&[&b[..], &a[..]]).expect("lengths");
        let ticket = tickets(&before, 1).seal(b"x", 5).expect("sealed");
        assert!(tickets(&after, 1).open(&ticket, 5).is_some());
        let ticket = tickets(&after, 1).seal(b"x", 5).expect("sealed");
        assert_eq!(tickets(&before, 1).open(&ticket, 5), None);
        assert_eq!(TicketKeys::of_files(&[&a[..], b"short"]).err(), Some(1));
    }
}
