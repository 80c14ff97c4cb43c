//! `set`, `if`, `rewrite`, `return` and `break` as one flat list of operations.
//!
//! Only data; `http::rewrite` runs it. An `if` is a jump: its body follows it inline.

use bytes::Bytes;

use super::expr::Expr;
use super::regex::Regex;
use super::{LocationId, SlotId};

/// A compiled rewrite script. Empty for most locations.
#[derive(Default)]
pub struct Script {
    /// Operations, run from the first.
    pub ops: Box<[Op]>,
}

/// One operation.
pub enum Op {
    /// `set $name value`.
    Set {
        /// The variable.
        target: SetTarget,
        /// Its new value.
        value: Expr,
    },
    /// `if (condition) {`: when true the location's settings become `location` and the body that
    /// follows runs; when false execution goes on at `end`.
    If {
        /// The condition.
        condition: Condition,
        /// Settings of the block; none in a server-level `if` whose body has only rewrite directives.
        location: Option<LocationId>,
        /// Index of the operation after the body.
        end: u32,
    },
    /// `rewrite REGEX REPLACEMENT [flag]`.
    Rewrite(Box<Rewrite>),
    /// `return CODE [TEXT]`.
    Return(Box<Return>),
    /// `break`.
    Break,
}

/// What a `set` assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTarget {
    /// A variable of the configuration.
    Slot(SlotId),
    /// `$args`: the request's arguments.
    Args,
    /// `$limit_rate`, in the size grammar; what cannot be read is ignored.
    LimitRate,
}

/// What an `if` tests.
pub enum Condition {
    /// `$name`: not empty and not `0`.
    True(Expr),
    /// `=` or `!=`.
    Equal {
        /// Left side.
        left: Expr,
        /// Right side.
        right: Expr,
        /// `!=`.
        negate: bool,
    },
    /// `~`, `~*`, `!~`, `!~*`.
    Match {
        /// Subject.
        subject: Expr,
        /// Pattern.
        regex: Regex,
        /// `!~`.
        negate: bool,
    },
    /// `-f`, `-d`, `-e`, `-x` and their negations.
    File {
        /// What is asked of the file.
        test: FileTest,
        /// Its path.
        path: Expr,
        /// `!-f`.
        negate: bool,
    },
}

/// File tests of `if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTest {
    /// `-f`
    File,
    /// `-d`
    Directory,
    /// `-e`
    Exists,
    /// `-x`
    Executable,
}

/// `rewrite`.
pub struct Rewrite {
    /// Matched against the current URI.
    pub regex: Regex,
    /// New URI (and arguments, split at run time at the first literal `?`), or a redirect's target.
    pub replacement: Expr,
    /// New arguments, when the replacement's text has a `?`.
    pub args: Option<Expr>,
    /// The request's own arguments are appended (no `?` at the end of the replacement).
    pub keep_args: bool,
    /// What happens after a match.
    pub then: AfterRewrite,
    /// Pattern text, for `rewrite_log`.
    pub pattern: Bytes,
}

/// What follows a `rewrite` that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRewrite {
    /// No flag: the next operation.
    Continue,
    /// `last`: look for a location again.
    Last,
    /// `break`: stay here.
    Break,
    /// `redirect`, `permanent` or an absolute replacement.
    Redirect(u16),
}

/// `return`.
pub struct Return {
    /// Status; 444 closes without an answer.
    pub status: u16,
    /// Body text, or the target of a redirect status.
    pub value: Option<Expr>,
}
