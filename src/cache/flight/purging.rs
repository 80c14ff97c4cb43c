//! Purges: a key's at once, others by going through all entries in steps; done when every shard that had something in memory
//! has confirmed that it has nothing any more. Start at [`Owner::scan`].

use super::super::purge::means;
use super::{Act, Owner, holders};
use crate::mail::Target;
use crate::mail::cache::Matcher;

/// A purge that goes through all entries.
pub(super) struct Scan {
    matcher: Matcher,
    soft: bool,
    cursor: u32,
    count: u64,
    to: Target,
    ticket: u64,
    /// Shards that had something of it.
    holders: u64,
}

/// A purge that shards have to confirm.
pub(super) struct Confirm {
    left: u32,
    to: Target,
    ticket: u64,
    count: u64,
}

impl Owner {
    pub(super) fn purge(&mut self, to: Target, ticket: u64, matcher: Matcher, soft: bool) {
        self.purges.add(matcher.clone(), soft, self.cold);
        let mut scan = Scan {
            matcher,
            soft,
            cursor: 0,
            count: 0,
            to,
            ticket,
            holders: 0,
        };
        let Matcher::Main(digest) = scan.matcher else {
            return self.scans.push_back(scan);
        };
        if let Some(main) = self.index.find(&digest) {
            let mut all: Vec<_> = self.index.variants(main).collect();
            all.push(main);
            for at in all {
                self.purge_entry(&mut scan, at);
            }
        } else if self.cold && !soft {
            self.remove_unknown(digest);
        }
        self.finish_scan(scan);
    }

    fn purge_entry(&mut self, scan: &mut Scan, at: u32) {
        let entry = &mut self.index[at];
        entry.error = 0;
        if !entry.stored {
            return;
        }
        scan.count += 1;
        scan.holders |= if scan.soft {
            entry.valid_until = entry.valid_until.min(0);
            let act = Act::Expire(entry.digest, entry.stamp, entry.valid_until);
            self.acts.push(act);
            self.forget(at)
        } else {
            self.remove_file(at)
        };
    }

    /// Goes on with purges, through so many entries; true when there is more to do.
    pub fn scan(&mut self, steps: u32) -> bool {
        let Some(mut scan) = self.scans.pop_front() else {
            return false;
        };
        let end = self.index.places().min(scan.cursor.saturating_add(steps));
        for at in scan.cursor..end {
            let entry = &self.index[at];
            if !entry.is_live() {
                continue;
            }
            let main = self.index[entry.main].digest;
            let tags = entry.tags.as_deref().unwrap_or_default();
            if means(&scan.matcher, &main, self.index.key(at), tags) {
                self.purge_entry(&mut scan, at);
            }
        }
        scan.cursor = end;
        if end < self.index.places() {
            self.scans.push_front(scan);
        } else {
            self.finish_scan(scan);
        }
        !self.scans.is_empty()
    }

    /// Every shard that had something confirms that it has nothing any more.
    fn finish_scan(&mut self, scan: Scan) {
        let left = holders(scan.holders, self.shards).count() as u32;
        if left == 0 {
            return self.acts.push(Act::Done(scan.to, scan.ticket, scan.count));
        }
        let confirm = self.confirms.insert(Confirm {
            left,
            to: scan.to,
            ticket: scan.ticket,
            count: scan.count,
        });
        let act = Act::Forget(scan.holders, [0; 16], Some(confirm as u32));
        self.acts.push(act);
    }

    pub(super) fn forgotten(&mut self, confirm: u32) {
        let Some(waiting) = self.confirms.get_mut(confirm as usize) else {
            return;
        };
        waiting.left -= 1;
        if waiting.left == 0 {
            let Confirm {
                to, ticket, count, ..
            } = self.confirms.remove(confirm as usize);
            self.acts.push(Act::Done(to, ticket, count));
        }
    }
}
