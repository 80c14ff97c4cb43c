//! The streams of a connection (RFC 9113 §5.1): records by dense keys, found by their numbers.
//!
//! A record lives until its stream is over on the wire *and* whoever uses it has let it go. So a key never changes its
//! meaning under its user, and a stream that was taken back counts against the limit for as long as the work that it
//! caused goes on: that is what makes rapid resets useless.

use std::collections::HashMap;

use slab::Slab;

use super::priority::Priority;
use crate::proto::head::Fields;

/// Largest DATA frame of a stream whose user has said nothing else.
pub const TURN_BYTES: u32 = 16 << 10;

/// Names a stream to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub u32);

/// One stream.
#[derive(Debug)]
pub struct Stream {
    /// Its number on the wire.
    pub id: u32,
    /// The peer may send more: no END_STREAM and no reset yet.
    pub receiving: bool,
    /// We may send more.
    pub sending: bool,
    /// A first header block has come: the next one is trailers. Interim responses do not count.
    pub headed: bool,
    /// It was reset by either side.
    pub reset: bool,
    /// Its head broke a rule: it ends with an error even when it was answered.
    pub refused: bool,
    /// Its user has let it go.
    pub released: bool,
    /// Bytes of DATA that the peer lets us send; below 0 after its initial window shrank (§6.9.2).
    pub send_window: i64,
    /// Bytes of DATA that we let the peer send.
    pub recv_window: i64,
    /// Consumed and not yet announced.
    pub due: u32,
    /// Delivered and not yet consumed.
    pub unread: u32,
    /// What is left of the announced length.
    pub length_left: Option<u64>,
    /// Body bytes that wait for their turn; those before `out_at` are gone.
    pub out: Vec<u8>,
    /// See `out`.
    pub out_at: usize,
    /// Nothing follows what is in `out` but these trailers.
    pub ending: Option<Option<Box<Fields>>>,
    /// Largest DATA frame: its turn, before others of its urgency have theirs.
    pub turn: u32,
    /// What the peer may send ahead of its reader.
    pub window: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// The client has said how urgent; without a word streams take turns.
    pub prioritised: bool,
    /// It stands in the scheduler.
    pub scheduled: bool,
}

impl Stream {
    /// Body bytes that wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.out.len() - self.out_at
    }

    /// Over on the wire.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.receiving && !self.sending
    }

    /// No frame goes either way any more.
    pub fn shut(&mut self) {
        self.reset = true;
        self.receiving = false;
        self.sending = false;
        self.out = Vec::new();
        self.out_at = 0;
        self.ending = None;
    }
}

/// Streams that we reset whose frames may still be on their way: as many as a client has at a time, with the usual settings,
/// when it learns of a page that is left.
const RECENT: usize = 64;

/// The streams of one connection.
pub struct Streams {
    slots: Slab<Stream>,
    by_id: HashMap<u32, u32, foldhash::fast::RandomState>,
    /// Numbers of streams that we reset, in turns.
    recent: [u32; RECENT],
    recent_at: u8,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            slots: Slab::new(),
            by_id: HashMap::default(),
            recent: [0; RECENT],
            recent_at: 0,
        }
    }
}

impl Streams {
    /// Opens a stream.
    pub fn open(&mut self, id: u32, send_window: u32, recv_window: u32) -> Key {
        let key = self.slots.insert(Stream {
            id,
            receiving: true,
            sending: true,
            headed: false,
            reset: false,
            refused: false,
            released: false,
            send_window: send_window.into(),
            recv_window: recv_window.into(),
            due: 0,
            unread: 0,
            length_left: None,
            out: Vec::new(),
            out_at: 0,
            ending: None,
            turn: TURN_BYTES,
            window: recv_window,
            priority: Priority::DEFAULT,
            prioritised: false,
            scheduled: false,
        }) as u32;
        self.by_id.insert(id, key);
        Key(key)
    }

    /// The record of a number, as long as there is one.
    #[must_use]
    pub fn find(&self, id: u32) -> Option<Key> {
        self.by_id.get(&id).map(|&key| Key(key))
    }

    /// We reset a stream: what still comes for it is to be ignored (§5.1).
    pub fn remember(&mut self, id: u32) {
        let at = usize::from(self.recent_at) % RECENT;
        self.recent[at] = id;
        self.recent_at = (at as u8 + 1) % RECENT as u8;
    }

    /// Whether we reset a stream a short while ago.
    #[must_use]
    pub fn was_reset(&self, id: u32) -> bool {
        self.recent.contains(&id)
    }

    /// Gives back the memory of records that are gone.
    pub fn rest(&mut self) {
        self.slots.shrink_to_fit();
        self.by_id.shrink_to_fit();
    }

    /// A record, if it is still there.
    #[must_use]
    pub fn peek(&self, key: Key) -> Option<&Stream> {
        self.slots.get(key.0 as usize)
    }

    /// A record that its user has not let go.
    #[must_use]
    pub fn get(&self, key: Key) -> &Stream {
        &self.slots[key.0 as usize]
    }

    /// A record that its user has not let go.
    pub fn get_mut(&mut self, key: Key) -> &mut Stream {
        &mut self.slots[key.0 as usize]
    }

    /// Forgets a stream that is over for everybody.
    pub fn reap(&mut self, key: Key) {
        let over = self
            .slots
            .get(key.0 as usize)
            .is_some_and(|stream| stream.is_closed() && stream.released && !stream.scheduled);
        if over {
            let stream = self.slots.remove(key.0 as usize);
            self.by_id.remove(&stream.id);
        }
    }

    /// Number of records: streams that are open, and those whose work goes on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All records.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Stream)> {
        self.slots
            .iter_mut()
            .map(|(key, stream)| (Key(key as u32), stream))
    }
}
