//! What shards say to each other about stored answers: the shard that owns a key is asked, answers, and is told what
//! becomes of a fill. Also what an answer is known by, which travels in letters. Start at [`Meta`].

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::Target;
use crate::plan::store::StoreRef;

/// What decides about a stored answer, and changes when it is revalidated. Seconds since 1970; -1 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The answer's status.
    pub status: u16,
    /// Words of `cache::policy`'s own, which the store keeps and never looks at.
    pub flags: u16,
    /// When it was received, or last found valid.
    pub received: i64,
    /// Its `Date`, as the policy understands it.
    pub date: i64,
    /// Its `Last-Modified`.
    pub last_modified: i64,
    /// How old it was when it was received, in seconds (`Age`).
    pub age: u32,
    /// It is fresh while `now <= valid_until`.
    pub valid_until: i64,
    /// Seconds behind `valid_until` in which it may be served while somebody fetches it anew.
    pub while_revalidate: u32,
    /// Seconds behind `valid_until` in which it may be served when the origin fails.
    pub if_error: u32,
}

/// What else is kept with a stored answer, besides its head and body. Bytes as the policy made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// What decides about it.
    pub facts: Facts,
    /// Its `ETag`, quotes included; empty when it has none.
    pub etag: Vec<u8>,
    /// Names of the fields that chose it among its variants, as the policy spells them; empty when there is but one.
    pub vary: Vec<u8>,
    /// What those fields were in the request that it answers. Anything that is equal for requests that may share it.
    pub variant: Vec<u8>,
    /// Tags by which it can be purged, one space between two.
    pub tags: Vec<u8>,
    /// Whatever else the policy wants to find again.
    pub extra: Vec<u8>,
}

/// What a shard has of a store, as it tells who decides about sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Bytes that its files take.
    pub bytes: u64,
    /// Second of the process in which its oldest entry was used.
    pub oldest: u32,
    /// Of the bytes that it was ever told to free, those that it has freed, or could not.
    pub done: u64,
}

/// MD5 of a key, or of a key with a variant; in hex it is the file's name.
pub type Digest = [u8; 16];

/// Which answer is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The key's digest: says who owns it.
    pub main: Digest,
    /// That of key and variant; the same as `main` where no variant is meant.
    pub own: Digest,
}

/// A fill as its key's owner numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FillNo {
    /// Its place.
    pub slot: u32,
    /// How many had that place before.
    pub turn: u32,
}

/// A fill as the shard numbers it that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    /// The shard.
    pub shard: Target,
    /// Its place there.
    pub slot: u32,
    /// How many had that place before.
    pub turn: u32,
}

/// Nothing more will come of a fill's file.
const BROKEN: u8 = 2;
/// All of it has been published.
const WHOLE: u8 = 1;

/// An answer that is being written to a file and can be read up to what was published. Atomics and not letters, so that
/// what is read is never older than what was told; who waits for more is woken by letter.
#[derive(Debug)]
pub struct Growing {
    /// Who writes.
    pub home: Home,
    /// What is known of the answer.
    pub meta: Meta,
    /// Its head.
    pub head: Box<[u8]>,
    /// The body's length, where the head told it.
    pub length: Option<u64>,
    /// The file.
    pub file: OwnedFd,
    /// Where the body begins in it.
    pub offset: u64,
    published: AtomicU64,
    state: AtomicU8,
}

/// How a growing answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grown {
    /// So many bytes of the body can be read, and more will come.
    Part(u64),
    /// So many, and that is all.
    Whole(u64),
    /// It will never be whole.
    Broken,
}

impl Growing {
    /// Nothing of the body can be read yet.
    pub fn new(
        home: Home,
        meta: Meta,
        head: Box<[u8]>,
        length: Option<u64>,
        file: OwnedFd,
        offset: u64,
    ) -> Self {
        Self {
            home,
            meta,
            head,
            length,
            file,
            offset,
            published: AtomicU64::new(0),
            state: AtomicU8::new(0),
        }
    }

    /// The file has so many bytes of the body.
    pub fn publish(&self, len: u64) {
        self.published.store(len, Ordering::Release);
    }

    /// What was published is all.
    pub fn end(&self) {
        self.state.store(WHOLE, Ordering::Release);
    }

    /// No more will come, and something is missing.
    pub fn break_off(&self) {
        self.state.store(BROKEN, Ordering::Release);
    }

    /// How it stands.
    pub fn grown(&self) -> Grown {
        // The state first: what was published before it is seen then.
        let state = self.state.load(Ordering::Acquire);
        let len = self.published.load(Ordering::Acquire);
        match state {
            BROKEN => Grown::Broken,
            WHOLE => Grown::Whole(len),
            _ => Grown::Part(len),
        }
    }
}

/// What is asked, besides for which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Seconds since 1970.
    pub now: i64,
    /// Requests before the answer is worth a place.
    pub min_uses: u32,
    /// Waits for who fills; a fill without a head for so many milliseconds gets another one beside it.
    pub lock_age: Option<u64>,
    /// What has expired is wanted while somebody fetches it.
    pub updating: bool,
    /// A fill is wanted whatever is stored.
    pub bypass: bool,
}

/// A question to the owner of a key.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks.
    pub from: Target,
    /// Comes back with the answer.
    pub ticket: u64,
    /// Which answer.
    pub name: Name,
    /// The key.
    pub key: Arc<[u8]>,
    /// What about it.
    pub wants: Wants,
}

/// Permission to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub fill: FillNo,
    /// An expired answer is there.
    pub update: bool,
}

/// A file that is in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filed {
    /// Names its file.
    pub digest: Digest,
    /// Which of the contents that the file had at some time.
    pub stamp: u64,
    /// It is fresh until then, whatever the file says.
    pub valid_until: i64,
}

/// The owner's word.
#[derive(Clone, Debug)]
pub enum Said {
    /// Fresh.
    Stored(Filed),
    /// Expired; with the permission to fetch it anew, or somebody does.
    Expired(Filed, Option<Grant>),
    /// There are variants.
    Vary(Arc<[u8]>),
    /// A remembered error.
    Error(u16),
    /// It can be read as it grows.
    Live(Arc<Growing>),
    /// Fill it.
    Fill(Grant),
    /// Not worth a place yet.
    Scarce,
    /// Ask the origin and store nothing.
    Pass,
    /// Another word will come. Milliseconds until it is worth asking with `Again`.
    Wait(u64),
}

/// Why a fill ends without an answer to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It failed, or nobody wants it any more.
    Failed,
    /// The answer is not to be stored.
    Uncacheable,
    /// An error of this status is remembered until then.
    Error(u16, i64),
    /// The store cannot be written.
    Fault,
}

/// An answer that is to have a file, or has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Names its file.
    pub own: Digest,
    /// Which of its contents.
    pub stamp: u64,
    /// Fresh until then.
    pub valid_until: i64,
    /// Seconds behind that in which it may be served while it is fetched anew.
    pub while_revalidate: u32,
    /// Bytes that its file takes.
    pub bytes: u64,
    /// Names of the fields that choose it; empty when there are no variants.
    pub vary: Arc<[u8]>,
    /// Its tags.
    pub tags: Box<[u8]>,
}

/// An answer that was found on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The key's digest.
    pub main: Digest,
    /// The key.
    pub key: Box<[u8]>,
    /// The rest.
    pub record: Record,
}

/// Which answers are purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// Those of this key.
    Main(Digest),
    /// Those whose keys begin so.
    Prefix(Arc<[u8]>),
    /// Those with this tag.
    Tag(Arc<[u8]>),
}

/// What is said about one store.
#[derive(Clone, Debug)]
pub enum Word {
    /// To the owner.
    Ask(Ask),
    /// To the asker, with whose word it is and the question's ticket.
    Answer(Target, u64, Said),
    /// To who sent [`Word::Purge`] or [`Word::Revalidated`], with its ticket: it is done, so many times.
    Done(u64, u64),
    /// To the owner: the answer to that ticket is still waited for, and it has been long.
    Again(Name, Target, u64),
    /// To the owner: nobody waits for that ticket any more.
    Left(Name, Target, u64),
    /// To the owner: others may read along.
    Begun(FillNo, Arc<Growing>),
    /// To the owner: all of it has come; may the file take its place?
    Whole(FillNo, Home, Box<Record>),
    /// To the filler: it may, or not.
    Place(Home, bool),
    /// To the owner: it has, or could not.
    Placed(FillNo, bool),
    /// To the owner: the fill is over.
    Dropped(FillNo, Why),
    /// To the owner: a 304 came; the facts, and a new head. The ticket is answered.
    Revalidated(FillNo, Target, u64, Box<(Facts, Option<Box<[u8]>>)>),
    /// To the owner: it is still served.
    Touch(Name),
    /// To the owner: the file with this stamp cannot be read.
    Broken(Name, u64),
    /// To who had it in memory: not any more. The number is confirmed, if there is one.
    Forget(Digest, Option<(Target, u32)>),
    /// To the owner: done.
    Forgotten(u32),
    /// To the owner: purge; the ticket is answered. `true` leaves expired answers.
    Purge(Target, u64, Matcher, bool),
    /// To the owner: what was found on disk.
    Loaded(Box<[Loaded]>),
    /// To all: everything on disk has been looked at.
    AllLoaded,
    /// To who decides about sizes: what this shard has.
    Size(Target, Holding),
    /// To an owner: so many bytes are too many.
    Evict(u64),
    /// To who writes lines for all: the disk has failed like this.
    Fault(Box<str>),
}

/// Everything that is said.
#[derive(Clone, Debug)]
pub enum Letter {
    /// About a store.
    About(StoreRef, Word),
    /// To a filler: this shard waits for more than so many bytes.
    Watch(Target, Home, u64),
    /// To who waits for more of a fill: look.
    Grew(Home),
    /// To all others: whoever asks this shard gets no answer any more, and what it fills will not come.
    Leaving(Target),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_read_no_further_than_it_was_published() {
        let home = Home {
            shard: Target(0),
            slot: 1,
            turn: 2,
        };
        let file = OwnedFd::from(std::io::pipe().unwrap().0);
        let growing = Growing::new(home, Meta::default(), Box::default(), None, file, 9);
        assert_eq!(growing.grown(), Grown::Part(0));
        growing.publish(5);
        assert_eq!(growing.grown(), Grown::Part(5));
        growing.end();
        assert_eq!(growing.grown(), Grown::Whole(5));
        growing.break_off();
        assert_eq!(growing.grown(), Grown::Broken);
    }
}
