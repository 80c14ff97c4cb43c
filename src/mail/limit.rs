//! What shards say to each other about limits: the shard that owns a key is asked, answers, and is told what became of
//! a request. Start at [`Letter`].

use super::Target;
use crate::plan::limits::Table;

/// A key's bytes; short ones, addresses above all, need no allocation.
#[derive(Clone, Debug)]
pub enum Key {
    /// So many bytes of the array.
    Short(u8, [u8; 22]),
    /// More than fit.
    Long(Box<[u8]>),
}

impl Key {
    /// Copies bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut short = [0; 22];
        match short.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Self::Short(bytes.len() as u8, short)
            }
            None => Self::Long(Box::from(bytes)),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// What a key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// May one more request come?
    Request {
        /// Thousandths of a request per second.
        rate: u64,
        /// Excess above which it may not, in thousandths.
        burst: u64,
        /// It is counted at once; else it is noted, until [`Fate::Passed`] or [`Fate::Dropped`] comes.
        count: bool,
    },
    /// May one more request be in progress? It is, until [`Fate::Over`] comes.
    Connection {
        /// So many may.
        max: u32,
        /// It is in progress at once; else it is noted, until [`Fate::Passed`] or [`Fate::Dropped`] comes.
        count: bool,
    },
}

/// The owner's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may; with the excess, in thousandths of a request, where requests are counted.
    Pass(u64),
    /// It may not; with the excess.
    Busy(u64),
    /// The zone is full of keys that cannot be forgotten.
    Full,
    /// There is no owner any more, or it does not answer.
    Silent,
}

/// What became of a request that the owner had noted or counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passed all limits of requests; the rate is that of the zone.
    Counted {
        /// Thousandths of a request per second.
        rate: u64,
    },
    /// It passed all limits of connections.
    Passed,
    /// Another limit stopped it.
    Dropped,
    /// It is not in progress any more.
    Over,
}

/// A key and where it is counted.
#[derive(Clone, Debug)]
pub struct Place {
    /// The zone's table.
    pub table: Table,
    /// The key.
    pub key: Key,
    /// Its hash, which is the same on all shards of a process.
    pub hash: u64,
}

/// A question to the owner of a key.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks.
    pub from: Target,
    /// Comes back with the answer.
    pub ticket: u32,
    /// The key.
    pub place: Place,
    /// What about it.
    pub question: Question,
}

/// Everything that is said.
#[derive(Clone, Debug)]
pub enum Letter {
    /// To the owner.
    Ask(Ask),
    /// To the asker.
    Answer {
        /// The question's.
        ticket: u32,
        /// Whose word.
        from: Target,
        /// The word.
        verdict: Verdict,
    },
    /// To the owner; nobody answers.
    Tell(Place, Fate),
    /// To all others: whoever asks this shard gets no answer any more.
    Leaving(Target),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_come_back() {
        for len in [0, 4, 16, 21, 22, 23, 65_535] {
            let bytes = vec![b'k'; len];
            let key = Key::new(&bytes);
            assert_eq!(key.bytes(), bytes);
            assert_eq!(matches!(key, Key::Short(..)), len <= 22);
        }
        assert_eq!(size_of::<Key>(), 24);
    }
}
