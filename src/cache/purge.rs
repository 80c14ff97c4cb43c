//! Which answers a purge means, and what was purged lately: a fill that began before a purge, or a file that is found on
//! disk after it, must not bring back what was purged. Start at [`PurgeLog`].

use std::collections::VecDeque;

use crate::mail::cache::{Digest, Matcher};

/// Purges that are remembered, when everything on disk is known.
const LOG_MAX: usize = 256;

/// And while it is not.
const LOG_MAX_COLD: usize = 16 << 10;

/// Whether a purge means an answer.
pub fn means(matcher: &Matcher, main: &Digest, key: &[u8], tags: &[u8]) -> bool {
    match matcher {
        Matcher::Main(digest) => digest == main,
        Matcher::Prefix(prefix) => key.starts_with(prefix),
        Matcher::Tag(tag) => has_tag(tags, tag),
    }
}

/// Whether a tag is among tags with spaces between them.
pub fn has_tag(tags: &[u8], tag: &[u8]) -> bool {
    !tag.is_empty() && tags.split(|byte| *byte == b' ').any(|one| one == tag)
}

struct Done {
    number: u64,
    matcher: Matcher,
    soft: bool,
}

/// Purges in their order.
#[derive(Default)]
pub struct PurgeLog {
    number: u64,
    done: VecDeque<Done>,
    /// Purges up to this number are forgotten.
    forgotten: u64,
}

/// What a purge did to an answer that was not in the index then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing.
    Kept,
    /// It has expired by it.
    Soft,
    /// It is gone by it, or might be.
    Gone,
}

impl PurgeLog {
    /// The number of the last purge.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// One more.
    pub fn add(&mut self, matcher: Matcher, soft: bool, cold: bool) {
        self.number += 1;
        self.done.push_back(Done {
            number: self.number,
            matcher,
            soft,
        });
        let max = if cold { LOG_MAX_COLD } else { LOG_MAX };
        while self.done.len() > max {
            if let Some(oldest) = self.done.pop_front() {
                self.forgotten = oldest.number;
            }
        }
    }

    /// What became of an answer by the purges behind number `since`.
    pub fn since(&self, since: u64, main: &Digest, key: &[u8], tags: &[u8]) -> Since {
        if since >= self.number {
            return Since::Kept;
        }
        if since < self.forgotten {
            return Since::Gone;
        }
        let mut so_far = Since::Kept;
        let later = self.done.iter().rev();
        for done in later.take_while(|done| done.number > since) {
            if means(&done.matcher, main, key, tags) {
                if !done.soft {
                    return Since::Gone;
                }
                so_far = Since::Soft;
            }
        }
        so_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_whole_words() {
        for (tags, tag, want) in [
            ("a b", "a", true),
            ("a b", "b", true),
            ("ab", "a", false),
            ("a  b", "", false),
            ("", "", false),
            ("a", "a b", false),
        ] {
            assert_eq!(
                has_tag(tags.as_bytes(), tag.as_bytes()),
                want,
                "{tags} {tag}"
            );
        }
    }

    #[test]
    fn what_began_before_a_purge_is_gone() {
        let mut log = PurgeLog::default();
        let look = |log: &PurgeLog, since| log.since(since, &[1; 16], b"/a/b", b"x y");
        assert_eq!(look(&log, 0), Since::Kept);
        log.add(Matcher::Prefix(b"/c".as_slice().into()), false, false);
        assert_eq!(look(&log, 0), Since::Kept);
        log.add(Matcher::Tag(b"y".as_slice().into()), true, false);
        assert_eq!(look(&log, 1), Since::Soft);
        assert_eq!(look(&log, 2), Since::Kept);
        log.add(Matcher::Prefix(b"/a".as_slice().into()), false, false);
        assert_eq!((look(&log, 2), look(&log, 0)), (Since::Gone, Since::Gone));
        log.add(Matcher::Main([1; 16]), false, false);
        assert_eq!((look(&log, 3), look(&log, 4)), (Since::Gone, Since::Kept));
        for _ in 0..LOG_MAX {
            log.add(Matcher::Main([9; 16]), false, false);
        }
        // Nobody knows any more.
        assert_eq!(look(&log, 3), Since::Gone);
        assert_eq!(look(&log, 4), Since::Kept);
    }
}
