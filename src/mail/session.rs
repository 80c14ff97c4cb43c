//! What shards say to each other about sessions that stay with a peer (`sticky learn`): the shard that owns a session
//! is asked where it is, and told. Start at [`Letter`].

use std::time::Duration;

use super::Target;
use crate::plan::limits::Table;

/// What a peer is called: its route, or a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sid {
    len: u8,
    bytes: [u8; 32],
}

impl Sid {
    /// Copies a name; none of a name that no peer can have.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self {
            len: name.len() as u8,
            bytes,
        })
    }

    /// The name.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A session, and where it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The zone's table.
    pub table: Table,
    /// How long it is kept without a request.
    pub timeout: Duration,
    /// The digest of what it is called.
    pub key: [u8; 16],
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    /// The shard.
    pub to: Target,
    /// Comes back with the answer.
    pub ticket: u64,
}

/// Everything that is said.
#[derive(Clone, Debug)]
pub enum Letter {
    /// To the owner: where does it stay?
    Ask(Place, Return),
    /// To the owner: there it stays.
    Learn {
        /// The session.
        place: Place,
        /// Its peer.
        sid: Sid,
        /// It may be new.
        create: bool,
        /// Who waits until it is known.
        back: Option<Return>,
    },
    /// To the asker.
    Answer {
        /// The question's.
        ticket: u64,
        /// Its peer, if it is known.
        sid: Option<Sid>,
    },
    /// To all others: whoever asks this shard gets no answer any more.
    Leaving(Target),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_or_are_none() {
        for len in [0, 1, 32] {
            let name = vec![b'r'; len];
            assert_eq!(Sid::new(&name).unwrap().bytes(), name);
        }
        assert_eq!(Sid::new(&[b'r'; 33]), None);
    }
}
