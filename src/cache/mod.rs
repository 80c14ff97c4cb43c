//! Stored answers: who has one, who fetches it, where its bytes are. Start at [`Cache`].
//!
//! Each key has an owner shard, which alone decides: it has the key's index entry, knows who is filling it and who waits.
//! Other shards ask by mail. What was served lately each shard keeps in its own memory ([`Cache::hot`]) and serves without
//! mail; the owner takes it back when it changes. Knows nothing of HTTP: a head is bytes, and when an answer is fresh is
//! said by [`Facts`].
//!
//! # How a request uses it
//!
//! 1. [`Cache::hot`] with the key: a fresh object is served; nothing was waited for, sent or allocated. Where it says
//!    [`Hot::Vary`], the request's variant is made from the names and the same is asked again with it.
//! 2. Else [`Cache::lookup`]. [`Found`] says what to do, one arm for each.
//! 3. Who got a [`Fill`] asks the origin and tells the fill what comes: [`Fill::begin`], [`Fill::write`]…,
//!    [`Fill::finish`]; or [`Fill::revalidated`] after a 304, [`Fill::uncacheable`], [`Fill::remember_error`]. A fill that is
//!    dropped has failed: one who waits takes over, and what was written is thrown away.
//!
//! `proxy_cache_bypass` asks with [`Ask::bypass`]. `proxy_cache_purge` calls [`Cache::purge`].
//!
//! # Variants
//!
//! The first request for a key does not know that its answer will vary. So whoever holds an object or a live fill whose
//! `meta.vary` is not empty makes the variant of its own request from those names, and if that differs from `meta.variant`,
//! asks again with [`Ask::variant`] set. From the second request on [`Hot::Vary`] and [`Found::Vary`] say so at once.

use std::rc::Rc;
use std::time::Duration;

use crate::mail::cache::Letter;
pub use crate::mail::cache::{Facts, Meta};
use crate::mail::{Mail, Outbox};
use crate::net::clock::Mono;
use crate::net::file::File;
use crate::plan::model::LogLevel;
use crate::plan::store::{StorePlan, StoreRef};

/// A stored answer as a shard has it in its memory.
pub struct Object {
    /// What is known of it.
    pub meta: Meta,
    /// Its head, as it was given to [`Fill::begin`].
    pub head: Box<[u8]>,
    /// Its body.
    pub body: Body,
    /// Bytes of the body.
    pub len: u64,
}

/// Where the body of an [`Object`] is.
pub enum Body {
    /// All of it in memory.
    Memory(Box<[u8]>),
    /// In a file, as [`crate::net::file::send`] wants it.
    File {
        /// The open file. Complete: it has `offset + len` bytes and never changes.
        file: Rc<File>,
        /// Where the body begins.
        offset: u64,
    },
}

/// What a shard knows of a key without asking.
pub enum Hot {
    /// A stored answer; perhaps expired, see its facts.
    Object(Rc<Object>),
    /// There are variants, chosen by fields of these names ([`Meta::vary`]).
    Vary(Rc<[u8]>),
}

/// What is asked about a key.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// The store.
    pub store: &'a StoreRef,
    /// The key: `proxy_cache_key`, evaluated.
    pub key: &'a [u8],
    /// The names that the variant was made from, and the variant; none asks for the key as such.
    pub variant: Option<(&'a [u8], &'a [u8])>,
    /// Seconds since 1970.
    pub now: i64,
    /// `proxy_cache_min_uses`.
    pub min_uses: u32,
    /// `proxy_cache_lock on`: wait for who fills.
    pub lock: Option<Lock>,
    /// `proxy_cache_use_stale updating`: what has expired is wanted while somebody fetches it, however old it is.
    pub updating: bool,
    /// `proxy_cache_bypass`: a fill is wanted whatever is stored, and replaces it.
    pub bypass: bool,
}

/// How long to wait for who fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// `proxy_cache_lock_timeout`: then the request is answered from the origin and not stored ([`Found::Pass`]).
    pub timeout: Duration,
    /// `proxy_cache_lock_age`: a fill without a head for so long gets another one beside it.
    pub age: Duration,
}

/// What to do about a request.
pub enum Found {
    /// HIT: fresh.
    Hit(Rc<Object>),
    /// It has expired. With a fill: this request fetches or revalidates it (EXPIRED; or serves it and lets a background
    /// request take the fill; or, when the origin fails, serves it and drops the fill). Without one: somebody else
    /// does, and it may be served meanwhile (UPDATING), by `updating` or its `while_revalidate`.
    Stale {
        /// The expired answer.
        object: Rc<Object>,
        /// Permission to fetch it anew.
        fill: Option<Fill>,
    },
    /// Variants are chosen by fields of these names: ask again with [`Ask::variant`].
    Vary(Rc<[u8]>),
    /// An error of this status was remembered by [`Fill::remember_error`].
    Error(u16),
    /// It is being filled and can be read as it grows; a HIT. With [`Ask::lock`], or when all of it has come from the origin
    /// and only its file is not in its place.
    Live(Live),
    /// MISS: this request fetches it.
    Fill(Fill),
    /// MISS, but not asked for often enough yet: fetched and not stored.
    Scarce,
    /// MISS: fetched and not stored, because who fills took too long, or the store cannot be asked.
    Pass,
}

/// The permission, and the duty, to fetch what a key stands for. Dropping it is a failure.
pub struct Fill {
    _private: (),
}

/// Somebody else's fill, whose bytes are read as they come.
pub struct Live {
    meta: Meta,
    head: Vec<u8>,
}

/// A fill failed after its head, or its file cannot be read: the response has to be broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What to purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge<'a> {
    /// This key, with its variants.
    Key(&'a [u8]),
    /// All keys that begin so.
    Prefix(&'a [u8]),
    /// All answers with this tag.
    Tag(&'a [u8]),
}

/// What was purged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many answers.
    pub objects: u64,
    /// Every shard has confirmed it. Otherwise some did not answer in time and will do it when they can.
    pub complete: bool,
}

/// Stored answers as one shard sees them.
pub struct Cache {
    _outbox: Option<Rc<Outbox<Mail>>>,
}

impl Cache {
    /// The cache of a shard that has no other beside it.
    #[must_use]
    pub fn alone() -> Rc<Self> {
        Rc::new(Self { _outbox: None })
    }

    /// The cache of a shard among others.
    #[must_use]
    pub fn among(outbox: Rc<Outbox<Mail>>) -> Rc<Self> {
        Rc::new(Self {
            _outbox: Some(outbox),
        })
    }

    /// Declares the stores of a plan. `shard` calls it when it takes a plan, with the stores of the replaced plan too, as
    /// its requests may go on. A store that was there stays as it is, with the new bounds; a new one begins to be loaded;
    /// one that is not named any more is forgotten, and its files stay.
    pub fn declare(self: &Rc<Self>, _stores: impl Iterator<Item = StoreRef>) {}

    /// What this shard has of a key in its own memory. Never waits, never allocates. Expired objects are given too: look
    /// at `valid_until`. `variant` as in [`Ask::variant`]; `now` in seconds since 1970.
    pub fn hot(
        &self,
        _store: &StorePlan,
        _key: &[u8],
        _variant: Option<(&[u8], &[u8])>,
        _now: i64,
    ) -> Option<Hot> {
        None
    }

    /// Asks whoever owns a key. May be dropped at any time: what was granted is given back.
    pub async fn lookup(self: &Rc<Self>, _ask: Ask<'_>) -> Found {
        Found::Pass
    }

    /// Purges. When it returns, no shard serves what was purged, unless [`Purged::complete`] is false. `soft` leaves the
    /// objects there as expired ones, so that they can be revalidated or served stale. Fills that had begun before are
    /// served to who waits for them and not stored.
    pub async fn purge(&self, _store: &StoreRef, _what: Purge<'_>, _soft: bool) -> Purged {
        Purged::default()
    }

    /// Whoever could not read an object's file says so: it is dropped from memory and index, and asked for again it is
    /// a miss.
    pub fn broken(&self, _store: &StoreRef, _key: &[u8], _object: &Object) {}

    /// What recurs; `shard` calls it at each tick.
    pub fn sweep(self: &Rc<Self>, _now: Mono) {}

    /// Takes what is to be logged; `shard` calls it at each tick.
    pub fn notes(&self, mut _tell: impl FnMut(LogLevel, String)) {}

    /// Takes a letter of another shard.
    pub fn take(self: &Rc<Self>, _letter: Letter) {}

    /// The last word of a shard that ends; what has been fetched whole is put in its place before.
    pub async fn leave(&self) {}
}

impl Fill {
    /// The head has come and the answer will be stored: with what is known of it, its head as bytes that
    /// [`Object::head`] gives back, and the body's length where that is known. Whoever waits starts to read. Waits for
    /// nothing.
    pub fn begin(&mut self, _meta: Meta, _head: &[u8], _length: Option<u64>) {}

    /// The next bytes of the body. Waits only while much has not reached the disk. When the disk fails the bytes go
    /// nowhere, without a word here (the log has one): the request goes on all the same.
    pub async fn write(&mut self, _bytes: &[u8]) {}

    /// The whole body has come. Call it before the last bytes go to the client, so that its next request is a hit. The
    /// file is put in its place in the background.
    pub fn finish(self) {}

    /// As [`Fill::finish`], and waits until it is stored; false when it is not.
    pub async fn stored(self) -> bool {
        false
    }

    /// The origin answered, and the answer is not to be stored: all who wait ask the origin themselves.
    pub fn uncacheable(self) {}

    /// The origin could not be asked, and that is an answer too (`proxy_cache_valid 502`): [`Found::Error`] until then.
    pub fn remember_error(self, _status: u16, _valid_until: i64) {}

    /// A 304 came: the stored answer lives on with these facts; with a new head, if one is given. Returns it as it is now;
    /// none when it has gone meanwhile, and the caller serves what it has. All other members of the meta stay.
    pub async fn revalidated(self, _facts: Facts, _head: Option<&[u8]>) -> Option<Rc<Object>> {
        None
    }

    /// Whether an expired answer is stored, which may be served if the origin fails.
    pub fn is_update(&self) -> bool {
        false
    }
}

impl Live {
    /// What is known of the answer.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Its head.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Bytes of the body, when they are known: always once all has come.
    pub fn length(&self) -> Option<u64> {
        None
    }

    /// Appends what comes next to the buffer's spare room, at most `max` bytes, and waits until there is something;
    /// `Ok(0)` at the body's end. May be dropped at any time.
    pub async fn read(&mut self, buf: Vec<u8>, _max: usize) -> (Result<usize, Broken>, Vec<u8>) {
        (Err(Broken), buf)
    }
}
