//! What shards say to each other about stored answers: the shard that owns a key is asked, answers, and is told what
//! becomes of a fill. Also what an answer is known by, which travels in letters. Start at [`Meta`].

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
