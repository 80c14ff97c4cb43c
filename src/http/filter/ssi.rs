//! `ssi`: commands in a page, run as it passes. Includes become subrequests, whose answers take the command's place.
//!
//! [`parse`] finds the commands, [`commands`] runs them, [`text`] knows variables. A page and what it includes share
//! variables and blocks. Start at [`Filter::feed`].

mod commands;
mod parse;
mod text;

use std::cell::RefCell;
use std::rc::Rc;

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::super::log;
use super::chain::{Ask, At, BodyFilter, Done, Fed};
use crate::base::strftime::strftime;
use crate::plan::LocationId;
use crate::plan::filters::Ssi;
use crate::plan::model::LogLevel;
use parse::{Event, Parser};

/// What one feed may append before the rest has to wait.
const OUT_BYTES: usize = 64 << 10;

/// Variables and blocks that the pages of one request may keep, in bytes.
const SHARED_BYTES_MAX: usize = 1 << 20;

/// Default texts inside default texts.
const DEPTH_MAX: u8 = 50;

/// What `$date_local` looks like until a page says something else.
const TIME_FORMAT: &[u8] = b"%A, %d-%b-%Y %H:%M:%S %Z";

/// What an exchange knows of SSI.
#[derive(Default)]
pub struct State {
    /// Common to a request and its subrequests; none until one of them has a page.
    pub shared: Option<Rc<RefCell<Shared>>>,
    /// `timefmt`; empty for the default.
    time_format: Vec<u8>,
}

impl State {
    /// Forgets it all.
    pub fn clear(&mut self) {
        self.shared = None;
        self.time_format = Vec::new();
    }

    /// What a subrequest begins with.
    #[must_use]
    pub fn inherited(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            time_format: Vec::new(),
        }
    }

    /// Appends `$date_local` or `$date_gmt`.
    pub fn date(&self, gmt: bool, cx: Cx<'_>, out: &mut Vec<u8>) {
        let format = match &self.time_format[..] {
            b"" => TIME_FORMAT,
            given => given,
        };
        let now = cx.local.clock.unix();
        let offset = cx.local.clock.offset(now);
        // Differs from nginx: a local zone other than UTC has no name, but its offset.
        let zone = format!(
            "{}{:02}{:02}",
            if offset < 0 { '-' } else { '+' },
            offset.unsigned_abs() / 60,
            offset.unsigned_abs() % 60
        );
        match (gmt, offset) {
            (true, _) => strftime(out, format, now.secs, 0, "GMT"),
            (false, 0) => strftime(out, format, now.secs, 0, "UTC"),
            (false, offset) => strftime(out, format, now.secs, offset, &zone),
        }
    }
}

/// What the pages of one request have in common.
#[derive(Default)]
pub struct Shared {
    vars: Vec<(Vec<u8>, Vec<u8>)>,
    /// `$0` … `$9` of the latest match.
    captures: Vec<Vec<u8>>,
    blocks: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of all of it.
    size: usize,
}

impl Shared {
    /// A variable's value; the name is in lower case.
    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        if let [digit @ b'0'..=b'9'] = name
            && let Some(text) = self.captures.get(usize::from(digit - b'0'))
        {
            return Some(text);
        }
        let found = self.vars.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &value[..])
    }

    /// Keeps a variable. False when there is too much of everything.
    fn set(&mut self, name: &[u8], value: Vec<u8>) -> bool {
        if !self.grow(name.len() + value.len()) {
            return false;
        }
        match self.vars.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.vars.push((name.to_vec(), value)),
        }
        true
    }

    fn grow(&mut self, bytes: usize) -> bool {
        // What is replaced still counts: a page that assigns without end is bounded, too.
        self.size = self.size.saturating_add(bytes);
        self.size <= SHARED_BYTES_MAX
    }
}

/// A command failed; why was logged.
#[derive(Debug, PartialEq, Eq)]
struct Failed;

/// How `echo` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    None,
    Url,
    Entity,
}

/// Where a page stands in an `if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Branch {
    Outside,
    If,
    Else,
}

/// What is to be done with the answer of an include.
#[derive(Debug)]
enum Waiting {
    /// It has come out where it belongs.
    Nothing,
    /// It becomes this variable's value.
    Set(Vec<u8>),
    /// This comes out in its place if it has none.
    Stub(Vec<u8>),
}

/// Runs the commands of one page.
pub struct Filter {
    location: LocationId,
    parser: Parser,
    shared: Rc<RefCell<Shared>>,
    encoding: Encoding,
    /// `errmsg`.
    complaint: Vec<u8>,
    branch: Branch,
    /// A branch of the `if` was taken.
    chosen: bool,
    /// Text comes out: not in a branch that was not taken, nor in a block.
    output: bool,
    /// Text goes into the latest block.
    block: bool,
    waiting: Waiting,
    /// The default text of an include, to be read before the page goes on.
    inserted: Vec<u8>,
    /// How many default texts the text that is being read stands in.
    depth: u8,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("parser", &self.parser)
            .finish_non_exhaustive()
    }
}

/// Arms the filter for a page.
pub fn arm(plan: &Ssi, ex: &mut Exchange) {
    let response = &mut ex.response;
    if response.content_length == Some(0) || !plan.types.has(&response.content_type) {
        return;
    }
    response.clear_length();
    response.forbid_ranges();
    if plan.last_modified {
        response.weaken_etag();
    } else {
        response.clear_modified();
        response.clear_etag();
    }
    let shared = ex.ssi.shared.get_or_insert_default().clone();
    let filter = Filter {
        location: ex.location,
        parser: Parser::new(plan.value_length),
        shared,
        encoding: Encoding::Entity,
        complaint: b"[an error occurred while processing the directive]".to_vec(),
        branch: Branch::Outside,
        chosen: false,
        output: true,
        block: false,
        waiting: Waiting::Nothing,
        inserted: Vec::new(),
        depth: 0,
    };
    ex.response.chain.arm(BodyFilter::Ssi(Box::new(filter)));
}

impl Filter {
    /// Reads on; text comes out, commands do what they say.
    pub fn feed(
        &mut self,
        input: &[u8],
        at: At,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Fed {
        if !self.inserted.is_empty() {
            let text = std::mem::take(&mut self.inserted);
            match self.read(&text, ex, cx, out) {
                Fed::All => {}
                Fed::Part(taken) => {
                    self.inserted = text[taken..].to_vec();
                    return Fed::Part(0);
                }
                Fed::Ask(taken, ask) => {
                    self.inserted = text[taken..].to_vec();
                    return Fed::Ask(0, ask);
                }
            }
        }
        self.depth = 0;
        let fed = self.read(input, ex, cx, out);
        if at == At::End && fed == Fed::All {
            // Differs from nginx: a page may end in what looks like the beginning of a command.
            let mut rest = Vec::new();
            self.parser.end(&mut rest);
            if self.output {
                out.extend_from_slice(&rest);
            }
        }
        fed
    }

    fn read(&mut self, input: &[u8], ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> Fed {
        let mut at = 0;
        let mut unseen = Vec::new();
        while at < input.len() {
            let target = if self.output { &mut *out } else { &mut unseen };
            let (taken, event) = self.parser.next(&input[at..], target);
            at += taken;
            if !unseen.is_empty() {
                self.keep_unseen(&unseen);
                unseen.clear();
            }
            let done = match event {
                Event::More => break,
                Event::Malformed(text) => {
                    log::error(ex, cx, LogLevel::Error, format_args!("{text}"));
                    Err(Failed)
                }
                Event::Command => self.command(ex, cx, out),
            };
            match done {
                Ok(None) => {}
                Ok(Some(ask)) => return Fed::Ask(at, ask),
                Err(Failed) => self.fail(cx, out),
            }
            if out.len() >= OUT_BYTES && at < input.len() {
                return Fed::Part(at);
            }
        }
        Fed::All
    }

    /// Text that does not come out belongs to a block, or to nobody.
    fn keep_unseen(&mut self, text: &[u8]) {
        let mut shared = self.shared.borrow_mut();
        if self.block
            && shared.grow(text.len())
            && let Some((_, kept)) = shared.blocks.last_mut()
        {
            kept.extend_from_slice(text);
        }
    }

    /// Writes the error message.
    fn fail(&self, cx: Cx<'_>, out: &mut Vec<u8>) {
        let silent = self.plan(cx).is_some_and(|plan| plan.silent_errors);
        if !silent {
            out.extend_from_slice(&self.complaint);
        }
    }

    fn plan<'a>(&self, cx: Cx<'a>) -> Option<&'a Ssi> {
        let filters = cx.location(self.location).filters.as_ref()?;
        filters.ssi.as_ref()
    }

    /// Goes on after an include.
    pub fn resume(&mut self, done: Done, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        if done.status == 0 {
            return self.fail(cx, out);
        }
        match waiting {
            Waiting::Nothing => {}
            Waiting::Set(name) => {
                let whole = done.length == done.kept.len() as u64;
                let value = match whole && done.status < 300 {
                    true => done.kept,
                    false => Vec::new(),
                };
                if !whole {
                    let text = format_args!("too big subrequest response: {}", done.length);
                    log::error(ex, cx, LogLevel::Error, text);
                }
                if !self.shared.borrow_mut().set(&name, value) {
                    self.too_much(ex, cx, out);
                }
            }
            Waiting::Stub(text) => {
                if !done.failed && done.length > 0 {
                    return;
                }
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return self.too_much(ex, cx, out);
                }
                self.inserted.splice(..0, text);
            }
        }
    }

    fn too_much(&self, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
        let text = format_args!("too many SSI variables, blocks or stubs");
        log::error(ex, cx, LogLevel::Error, text);
        self.fail(cx, out);
    }

    /// An ask for an include, whose answer `waiting` says what to do with.
    fn ask(&mut self, target: (Vec<u8>, Vec<u8>), waiting: Waiting, keep: usize) -> Box<Ask> {
        let ask = Ask {
            uri: target.0,
            args: target.1,
            keep: matches!(waiting, Waiting::Set(_)).then_some(keep),
            stub: matches!(waiting, Waiting::Stub(_)),
        };
        self.waiting = waiting;
        Box::new(ask)
    }
}
