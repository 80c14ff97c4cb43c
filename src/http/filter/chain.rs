//! The body filters that an answer has armed, and how bytes pass through them.
//!
//! A filter is sans-io: it is fed bytes and appends what is ready. It may ask for a subrequest, whose output then
//! takes the place that the filter has come to. Knows no source and no socket: `transfer::filtered` pulls, feeds and
//! sends. Start at [`Chain::feed`].

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::{addition, charset, compress, gunzip, ssi, sub};
use crate::base::buf::BufPool;

/// What stands behind the bytes that a filter is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// More will come: hold back what is not ready yet.
    More,
    /// More may come late: what can leave should leave.
    Flush,
    /// Nothing: the body is over, properly.
    End,
}

/// How far a filter came with what it was fed.
#[derive(Debug, PartialEq, Eq)]
pub enum Fed {
    /// Everything was taken.
    All,
    /// So many bytes were taken, and enough was appended for now: the rest is fed again when that has gone.
    Part(usize),
    /// So many bytes were taken. What the subrequest answers comes next; then the rest is fed again.
    Ask(usize, Box<Ask>),
}

/// A subrequest that a filter wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Path, decoded.
    pub uri: Vec<u8>,
    /// Arguments, without the question mark.
    pub args: Vec<u8>,
    /// The output does not go to the client: at most so many bytes of it are handed to the filter.
    pub keep: Option<usize>,
    /// The output waits until it is seen whether it is an error or empty; then something else takes its place.
    pub stub: bool,
}

/// What came of a subrequest.
#[derive(Debug, Default)]
pub struct Done {
    /// Its status; 0 when it could not be made at all.
    pub status: u16,
    /// It is an error that no origin has answered with.
    pub failed: bool,
    /// Its body, where it was kept; of an error that failed, what was held back for a `stub`.
    pub kept: Vec<u8>,
    /// Length of its body.
    pub length: u64,
}

/// A body that a filter cannot go on with: the client must see that its end is missing. Holds the log's words.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// One armed filter. The order of the variants is the order in which bytes pass them, nginx's.
#[derive(Debug)]
pub enum BodyFilter {
    /// `gunzip`.
    Gunzip(Box<gunzip::Filter>),
    /// `add_before_body`, `add_after_body`.
    Addition(addition::Filter),
    /// `sub_filter`.
    Sub(Box<sub::Filter>),
    /// `charset`.
    Charset(Box<charset::Filter>),
    /// `gzip`, `brotli`, `zstd`.
    Compress(Box<compress::Filter>),
    /// `ssi`.
    Ssi(Box<ssi::Filter>),
}

impl BodyFilter {
    /// Place in the chain. Subrequests' output enters behind everything up to [`JOIN`].
    fn rank(&self) -> u8 {
        match self {
            Self::Gunzip(_) => 1,
            Self::Addition(_) => 2,
            Self::Sub(_) => 3,
            Self::Charset(_) => 4,
            Self::Ssi(_) => 5,
            Self::Compress(_) => 7,
        }
    }

    /// Takes bytes, appends what is ready.
    fn feed(
        &mut self,
        input: &[u8],
        at: At,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Fed, Broken> {
        match self {
            Self::Gunzip(filter) => filter.feed(input, at, out),
            Self::Addition(filter) => Ok(filter.feed(input, at, out)),
            Self::Sub(filter) => Ok(filter.feed(input, at, ex, cx, out)),
            Self::Charset(filter) => Ok(filter.feed(input, at, out)),
            Self::Compress(filter) => filter.feed(input, at, ex, out),
            Self::Ssi(filter) => Ok(filter.feed(input, at, ex, cx, out)),
        }
    }

    /// A subrequest's output follows: what was held back for a possible continuation goes out before it.
    fn seam(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Ssi(_) => {}
            Self::Sub(filter) => filter.seam(out),
            Self::Gunzip(_) | Self::Addition(_) | Self::Charset(_) | Self::Compress(_) => {}
        }
    }

    /// Tells the filter how the subrequest ended that it had asked for.
    fn resume(
        &mut self,
        done: Done,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        match self {
            Self::Addition(_) => addition::resume(&done),
            Self::Gunzip(_) | Self::Sub(_) | Self::Charset(_) | Self::Compress(_) => Ok(()),
            Self::Ssi(filter) => {
                filter.resume(done, ex, cx, out);
                Ok(())
            }
        }
    }

    /// Gives back what the filter has borrowed from the shard.
    fn end(self, buffers: &BufPool) {
        let _ = buffers;
        match self {
            Self::Gunzip(_)
            | Self::Addition(_)
            | Self::Sub(_)
            | Self::Charset(_)
            | Self::Ssi(_)
            | Self::Compress(_) => {}
        }
    }
}

/// Filters of a higher rank also see what subrequests answer, which the others do not: it has passed filters of its
/// own.
const JOIN: u8 = 5;

/// Bytes that come out of a chain before they are sent.
const OUT_BYTES: usize = 64 << 10;

/// What is to be done next with a chain.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Send what came out, then feed more.
    Feed,
    /// Send what came out, then call [`Chain::go_on`].
    GoOn,
    /// Send what came out, then what this subrequest answers, by [`Chain::insert`]; then call [`Chain::resume`].
    Ask(Box<Ask>),
}

/// What follows the bytes of an inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    #[default]
    None,
    /// The output of a subrequest.
    Seam,
    Flush,
    End,
}

impl Mark {
    fn of(at: At) -> Self {
        match at {
            At::More => Self::None,
            At::Flush => Self::Flush,
            At::End => Self::End,
        }
    }

    fn at(self) -> At {
        match self {
            Self::None | Self::Seam => At::More,
            Self::Flush => At::Flush,
            Self::End => At::End,
        }
    }
}

/// A filter and what waits before it.
#[derive(Debug)]
struct Stage {
    filter: BodyFilter,
    /// Bytes still to be fed, from `from` on.
    inbox: Vec<u8>,
    from: usize,
    /// What follows them.
    mark: Mark,
    /// It waits for a subrequest.
    asking: bool,
    /// The subrequest that it waits for, while nobody has begun it.
    ask: Option<Box<Ask>>,
}

impl Stage {
    fn has_work(&self) -> bool {
        self.from < self.inbox.len() || self.mark != Mark::None
    }

    /// The inbox, for more bytes.
    fn inbox(&mut self, buffers: &BufPool) -> &mut Vec<u8> {
        if self.from == self.inbox.len() {
            self.inbox.clear();
            self.from = 0;
        }
        if self.inbox.capacity() == 0 {
            self.inbox = buffers.take(0);
        }
        &mut self.inbox
    }
}

/// The armed filters of one answer, in their order. Empty for most.
#[derive(Debug, Default)]
pub struct Chain {
    stages: Vec<Stage>,
}

impl Chain {
    /// Whether the body passes as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Adds a filter at its place.
    pub fn arm(&mut self, filter: BodyFilter) {
        let rank = filter.rank();
        let place = self.first_above(rank);
        let stage = Stage {
            filter,
            inbox: Vec::new(),
            from: 0,
            mark: Mark::None,
            asking: false,
            ask: None,
        };
        self.stages.insert(place, stage);
    }

    /// Lets everything go, the list's own storage excepted.
    pub fn clear(&mut self, buffers: &BufPool) {
        for stage in self.stages.drain(..) {
            if stage.inbox.capacity() > 0 {
                buffers.give(stage.inbox);
            }
            stage.filter.end(buffers);
        }
    }

    /// Feeds a piece of the body and appends to `out` what comes out at the other end.
    pub fn feed(
        &mut self,
        input: &[u8],
        at: At,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Next, Broken> {
        self.run(0, input, Mark::of(at), ex, cx, out)?;
        self.settle(0, ex, cx, out)
    }

    /// Goes on with what was fed.
    pub fn go_on(
        &mut self,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Next, Broken> {
        self.settle(0, ex, cx, out)
    }

    /// Takes in a piece of a subrequest's output. Never asks; after [`Next::GoOn`] it wants to be called again, with
    /// nothing.
    pub fn insert(
        &mut self,
        input: &[u8],
        at: At,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Next, Broken> {
        let join = self.first_above(JOIN);
        match self.stages.get_mut(join) {
            Some(stage) => {
                stage.inbox(&cx.local.buffers).extend_from_slice(input);
                stage.mark = stage.mark.max(Mark::of(at));
            }
            None => out.extend_from_slice(input),
        }
        self.settle(join, ex, cx, out)
    }

    /// Goes on after a subrequest.
    pub fn resume(
        &mut self,
        done: Done,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Next, Broken> {
        if let Some(index) = self.stages.iter().rposition(|stage| stage.asking) {
            let (before, behind) = self.stages.split_at_mut(index + 1);
            let target = match behind.first_mut() {
                Some(next) => next.inbox(&cx.local.buffers),
                None => &mut *out,
            };
            let stage = &mut before[index];
            stage.asking = false;
            stage.filter.resume(done, ex, cx, target)?;
        }
        self.settle(0, ex, cx, out)
    }

    /// Index of the first filter above a rank.
    fn first_above(&self, rank: u8) -> usize {
        self.stages
            .iter()
            .position(|stage| stage.filter.rank() > rank)
            .unwrap_or(self.stages.len())
    }

    /// Works until nothing is left to do, the last filters first, or until something has to happen outside.
    fn settle(
        &mut self,
        lowest: usize,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Next, Broken> {
        loop {
            let busy = |stage: &Stage| stage.asking || stage.has_work();
            let Some(index) = self.stages[lowest..].iter().rposition(busy) else {
                return Ok(Next::Feed);
            };
            let stage = &mut self.stages[lowest + index];
            if let Some(ask) = stage.ask.take() {
                return Ok(Next::Ask(ask));
            }
            if stage.asking {
                // Its subrequest is under way: what it asked for comes through `insert`.
                return Ok(Next::Feed);
            }
            if out.len() >= OUT_BYTES {
                return Ok(Next::GoOn);
            }
            let inbox = std::mem::take(&mut stage.inbox);
            let from = std::mem::take(&mut stage.from);
            let mark = std::mem::take(&mut stage.mark);
            let fed = self.run(lowest + index, &inbox[from..], mark, ex, cx, out);
            cx.local.buffers.give(inbox);
            fed?;
        }
    }

    /// Feeds one filter. What it does not take stays in its inbox.
    fn run(
        &mut self,
        index: usize,
        input: &[u8],
        mark: Mark,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let buffers = &cx.local.buffers;
        let (before, behind) = self.stages.split_at_mut(index + 1);
        let stage = &mut before[index];
        let mut next = behind.first_mut();
        let target = match &mut next {
            Some(next) => next.inbox(buffers),
            None => out,
        };
        let (taken, rest_mark, passed) =
            match stage.filter.feed(input, mark.at(), ex, cx, target)? {
                Fed::All => {
                    if mark == Mark::Seam {
                        stage.filter.seam(target);
                    }
                    (input.len(), Mark::None, mark)
                }
                Fed::Part(taken) => (taken, mark, Mark::None),
                Fed::Ask(taken, ask) => {
                    stage.ask = Some(ask);
                    stage.asking = true;
                    (taken, mark, Mark::Seam)
                }
            };
        if taken < input.len() {
            stage.inbox(buffers).extend_from_slice(&input[taken..]);
        }
        stage.mark = rest_mark;
        if let Some(next) = next
            && (passed != Mark::Seam || next.filter.rank() <= JOIN)
        {
            next.mark = next.mark.max(passed);
        }
        Ok(())
    }
}
