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

pub mod disk;
mod fetch;
mod fill;
pub mod flight;
mod handle;
pub mod hot;
pub mod index;
pub mod key;
mod live;
mod load;
mod manage;
pub mod policy;
pub mod purge;
mod work;

use std::rc::Rc;
use std::time::Duration;

pub use fill::Fill;
pub use handle::Cache;
pub use live::Live;

use crate::mail::cache::Digest;
pub use crate::mail::cache::{Facts, Meta};
use crate::net::file::File;
use crate::plan::store::StoreRef;

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
    /// Which content of its file this is.
    pub stamp: u64,
    /// Names its file.
    pub digest: Digest,
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
#[derive(Clone)]
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
#[cfg(test)]
mod tests;
