//! The commands of SSI: `include`, `echo`, `config`, `set`, `if` and its kin, `block`. Start at [`Filter::command`].

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::log::{self, Text};
use super::super::chain::Ask;
use super::parse::PARAMS_MAX;
use super::text::{evaluate, variable};
use super::{Branch, Encoding, Failed, Filter, SHARED_BYTES_MAX, Waiting};
use crate::base::escape::{self, Place};
use crate::plan::model::LogLevel;
use crate::plan::regex::{Captures, Regex};
use crate::proto::uri;

/// A command and what it takes.
struct Command {
    name: &'static str,
    run: Run,
    /// Names of its parameters, and whether they must be there.
    params: &'static [(&'static str, bool)],
    /// The furthest branch of an `if` in which it may stand; outside of one when it need not.
    branch: Branch,
}

#[derive(Clone, Copy)]
enum Run {
    Include,
    Echo,
    Config,
    Set,
    If,
    Elif,
    Else,
    Endif,
    Block,
    Endblock,
}

const fn command(
    name: &'static str,
    run: Run,
    branch: Branch,
    params: &'static [(&'static str, bool)],
) -> Command {
    Command {
        name,
        run,
        params,
        branch,
    }
}

/// What is told of an error that only the log's reader can do something about.
macro_rules! complain {
    ($ex:expr, $cx:expr, $($text:tt)+) => {{
        log::error($ex, $cx, LogLevel::Error, format_args!($($text)+));
        Failed
    }};
}

const COMMANDS: &[Command] = &[
    command(
        "include",
        Run::Include,
        Branch::Outside,
        &[
            ("virtual", false),
            ("file", false),
            ("wait", false),
            ("set", false),
            ("stub", false),
        ],
    ),
    command(
        "echo",
        Run::Echo,
        Branch::Outside,
        &[("var", true), ("default", false), ("encoding", false)],
    ),
    command(
        "config",
        Run::Config,
        Branch::Outside,
        &[("errmsg", false), ("timefmt", false)],
    ),
    command(
        "set",
        Run::Set,
        Branch::Outside,
        &[("var", true), ("value", true)],
    ),
    command("if", Run::If, Branch::Outside, &[("expr", true)]),
    command("elif", Run::Elif, Branch::If, &[("expr", true)]),
    command("else", Run::Else, Branch::If, &[]),
    command("endif", Run::Endif, Branch::Else, &[]),
    command("block", Run::Block, Branch::Outside, &[("name", true)]),
    command("endblock", Run::Endblock, Branch::Outside, &[]),
];

/// Values of a command's parameters, in the order of its list.
type Params<'a> = [Option<&'a [u8]>; 5];

impl Filter {
    /// Runs the command that was read.
    pub(super) fn command(
        &mut self,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Box<Ask>>, Failed> {
        let (name, given) = self.parser.take_command();
        let shown = Text(&name);
        let Some(command) = COMMANDS.iter().find(|c| c.name.as_bytes() == name) else {
            return match self.output {
                true => Err(complain!(ex, cx, "invalid SSI command: \"{shown}\"")),
                false => Ok(None),
            };
        };
        if !self.output && !matches!(command.run, Run::Endblock) {
            if self.block {
                self.record(&name, &given);
                return Ok(None);
            }
            if command.branch == Branch::Outside {
                return Ok(None);
            }
        }
        if command.branch != Branch::Outside
            && (self.branch == Branch::Outside || self.branch > command.branch)
        {
            let failed = complain!(ex, cx, "invalid context of SSI command: \"{shown}\"");
            return Err(failed);
        }
        let params = bind(command, &given, ex, cx)?;
        match command.run {
            Run::Include => self.include(params, ex, cx),
            other => self.simple(other, params, ex, cx, out).map(|()| None),
        }
    }

    /// Commands that make no subrequest.
    fn simple(
        &mut self,
        run: Run,
        params: Params<'_>,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failed> {
        match run {
            Run::Include => {}
            Run::Echo => self.echo(params, ex, cx, out),
            Run::Config => self.config(params, ex),
            Run::Set => return self.set(params, ex, cx),
            Run::If | Run::Elif => {
                if matches!(run, Run::If) && self.branch != Branch::Outside {
                    return Err(complain!(
                        ex,
                        cx,
                        "the \"if\" command inside the \"if\" command"
                    ));
                }
                if self.chosen {
                    self.output = false;
                    return Ok(());
                }
                let truth = self.judge(params[0].unwrap_or_default(), ex, cx)?;
                self.output = truth;
                self.chosen = truth;
                self.branch = Branch::If;
            }
            Run::Else => {
                self.output = !self.chosen;
                self.branch = Branch::Else;
            }
            Run::Endif => {
                self.output = true;
                self.chosen = false;
                self.branch = Branch::Outside;
            }
            Run::Block => {
                let name = params[0].unwrap_or_default();
                let mut shared = self.shared.borrow_mut();
                if shared.grow(name.len() + size_of::<(Vec<u8>, Vec<u8>)>()) {
                    shared.blocks.push((name.to_vec(), Vec::new()));
                }
                self.output = false;
                self.block = true;
            }
            Run::Endblock => {
                self.output = true;
                self.block = false;
            }
        }
        Ok(())
    }

    /// A command inside a block is text, until the block is used.
    fn record(&mut self, name: &[u8], params: &[(Vec<u8>, Vec<u8>)]) {
        let mut text = b"<!--#".to_vec();
        text.extend_from_slice(name);
        for (key, value) in params {
            text.push(b' ');
            text.extend_from_slice(key);
            text.extend_from_slice(b"=\"");
            text.extend_from_slice(value);
            text.push(b'"');
        }
        text.extend_from_slice(b" -->");
        self.keep_unseen(&text);
    }

    fn include(
        &mut self,
        params: Params<'_>,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<Option<Box<Ask>>, Failed> {
        let what = source(params, ex, cx)?;
        let shared = self.shared.clone();
        let mut path = evaluate(what, &shared.borrow(), ex, cx)?;
        if path.first() != Some(&b'/') {
            let folder = memchr::memrchr(b'/', &ex.uri).map_or(0, |slash| slash + 1);
            path.splice(..0, ex.uri[..folder].iter().copied());
        }
        let Some(target) = uri::parse_unsafe(&path) else {
            let path = Text(&path);
            return Err(complain!(ex, cx, "unsafe URI \"{path}\" was detected"));
        };
        let [.., set, stub] = params;
        let waiting = match (set, stub) {
            (Some(name), _) => Waiting::Set(name.to_ascii_lowercase()),
            (None, None) => Waiting::Nothing,
            (None, Some(name)) => {
                let shared = shared.borrow();
                let block = shared.blocks.iter().find(|(known, _)| known == name);
                let Some((_, text)) = block else {
                    let name = Text(name);
                    let failed = complain!(ex, cx, "\"stub\"=\"{name}\" for \"include\" not found");
                    return Err(failed);
                };
                Waiting::Stub(text.clone())
            }
        };
        let settings = &cx.location(self.location).settings.subrequests;
        let keep = settings.subrequest_output_buffer_size;
        Ok(Some(self.ask(target, waiting, keep)))
    }

    fn echo(&mut self, params: Params<'_>, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
        let [name, default, encoding, ..] = params;
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let mut value = Vec::new();
        if !variable(&name, &self.shared.borrow(), ex, cx, &mut value) {
            value.extend_from_slice(default.unwrap_or(b"(none)"));
        }
        if value.is_empty() {
            return;
        }
        match encoding {
            None => {}
            Some(b"none") => self.encoding = Encoding::None,
            Some(b"url") => self.encoding = Encoding::Url,
            Some(b"entity") => self.encoding = Encoding::Entity,
            Some(other) => {
                let other = Text(other);
                complain!(
                    ex,
                    cx,
                    "unknown encoding \"{other}\" in the \"echo\" command"
                );
            }
        }
        match self.encoding {
            Encoding::None => out.extend_from_slice(&value),
            Encoding::Url => escape::uri(out, &value, Place::Html),
            Encoding::Entity => escape::html(out, &value),
        }
    }

    fn config(&mut self, params: Params<'_>, ex: &mut Exchange) {
        let [complaint, time_format, ..] = params;
        if let Some(text) = time_format {
            ex.ssi.time_format = text.to_vec();
        }
        if let Some(text) = complaint {
            self.complaint = text.to_vec();
        }
    }

    fn set(&mut self, params: Params<'_>, ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Failed> {
        let name = params[0].unwrap_or_default().to_ascii_lowercase();
        let text = params[1].unwrap_or_default();
        let value = evaluate(text, &self.shared.borrow(), ex, cx)?;
        if !self.shared.borrow_mut().set(&name, value) {
            return Err(complain!(
                ex,
                cx,
                "SSI variables and blocks of more than {SHARED_BYTES_MAX} bytes"
            ));
        }
        Ok(())
    }

    /// Evaluates the condition of an `if`: a text, or a comparison of two, or of a text with a `/pattern/`.
    fn judge(&mut self, expr: &[u8], ex: &mut Exchange, cx: Cx<'_>) -> Result<bool, Failed> {
        let is_left = |&b: &u8| {
            b.is_ascii_alphanumeric() || matches!(b, b'$' | b'{' | b'}' | b'_' | b'"' | b'\'')
        };
        let end = expr.iter().position(|b| !is_left(b)).unwrap_or(expr.len());
        let left = expr[..end].to_ascii_lowercase();
        let rest = skip_spaces(&expr[end..]);
        let shared = self.shared.clone();
        let left = evaluate(&left, &shared.borrow(), ex, cx)?;
        if rest.is_empty() {
            return Ok(!left.is_empty());
        }
        let invalid = |ex: &Exchange| complain!(ex, cx, "invalid expression in \"{}\"", Text(expr));
        let (negative, right) = match rest {
            [b'=', right @ ..] => (false, right),
            [b'!', b'=', right @ ..] => (true, right),
            _ => return Err(invalid(ex)),
        };
        let equal = match skip_spaces(right) {
            [b'/', pattern @ .., b'/'] => {
                let pattern = evaluate(pattern, &shared.borrow(), ex, cx)?;
                self.matches(&pattern, &left, ex, cx)?
            }
            [b'/', _, ..] => return Err(invalid(ex)),
            [b'\\', text @ ..] if text.first() == Some(&b'/') => {
                left == evaluate(text, &shared.borrow(), ex, cx)?
            }
            text => left == evaluate(text, &shared.borrow(), ex, cx)?,
        };
        Ok(equal != negative)
    }

    /// Matches a pattern and keeps what its groups have found.
    fn matches(
        &mut self,
        pattern: &[u8],
        subject: &[u8],
        ex: &Exchange,
        cx: Cx<'_>,
    ) -> Result<bool, Failed> {
        let regex = match Regex::compile(pattern, false) {
            Ok(regex) => regex,
            Err(text) => return Err(complain!(ex, cx, "{text}")),
        };
        let mut captures = Captures::default();
        let count = regex.captures(subject, &mut captures);
        if count == 0 {
            return Ok(false);
        }
        let group = |index: usize| {
            let (start, end) = captures.get(index).copied().unwrap_or_default();
            subject[start as usize..end as usize].to_vec()
        };
        let mut shared = self.shared.borrow_mut();
        shared.captures = (0..count.min(captures.len())).map(group).collect();
        for (name, index) in regex.named() {
            let value = group(usize::from(*index));
            if !shared.set(&name.to_ascii_lowercase(), value) {
                break;
            }
        }
        Ok(true)
    }
}

/// What an `include` names, if its parameters go together.
fn source<'a>(params: Params<'a>, ex: &Exchange, cx: Cx<'_>) -> Result<&'a [u8], Failed> {
    let [target, file, wait, set, stub] = params;
    let what = match (target, file) {
        (Some(uri), Some(file)) => {
            let (uri, file) = (Text(uri), Text(file));
            return Err(complain!(
                ex,
                cx,
                "inclusion may be either virtual=\"{uri}\" or file=\"{file}\""
            ));
        }
        (None, None) => {
            return Err(complain!(ex, cx, "no parameter in \"include\" SSI command"));
        }
        (Some(what), None) | (None, Some(what)) => what,
    };
    if set.is_some() && stub.is_some() {
        return Err(complain!(
            ex,
            cx,
            "\"set\" and \"stub\" cannot be used together in \"include\" SSI command"
        ));
    }
    // Includes wait for each other anyway.
    if let (Some(_), Some(file)) = (wait, file) {
        let file = Text(file);
        return Err(complain!(
            ex,
            cx,
            "\"wait\" cannot be used with file=\"{file}\""
        ));
    }
    if let Some(wait) = wait
        && !wait.eq_ignore_ascii_case(b"no")
        && !wait.eq_ignore_ascii_case(b"yes")
    {
        let wait = Text(wait);
        return Err(complain!(
            ex,
            cx,
            "invalid value \"{wait}\" in the \"wait\" parameter"
        ));
    }
    Ok(what)
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|&&b| b == b' ').count();
    &text[spaces..]
}

/// Gives parameters their places.
fn bind<'a>(
    command: &Command,
    given: &'a [(Vec<u8>, Vec<u8>)],
    ex: &Exchange,
    cx: Cx<'_>,
) -> Result<Params<'a>, Failed> {
    let name = command.name;
    if given.len() > PARAMS_MAX {
        return Err(complain!(
            ex,
            cx,
            "too many SSI command parameters: \"{name}\""
        ));
    }
    let mut params = Params::default();
    for (key, value) in given {
        let place = command
            .params
            .iter()
            .position(|(known, _)| known.as_bytes() == key);
        let shown = Text(key);
        match place.map(|place| &mut params[place]) {
            None => {
                return Err(complain!(
                    ex,
                    cx,
                    "invalid parameter name: \"{shown}\" in \"{name}\" SSI command"
                ));
            }
            Some(Some(_)) => {
                return Err(complain!(
                    ex,
                    cx,
                    "duplicate \"{shown}\" parameter in \"{name}\" SSI command"
                ));
            }
            Some(free) => *free = Some(value),
        }
    }
    for ((key, mandatory), value) in command.params.iter().zip(&params) {
        if *mandatory && value.is_none() {
            return Err(complain!(
                ex,
                cx,
                "mandatory \"{key}\" parameter is absent in \"{name}\" SSI command"
            ));
        }
    }
    Ok(params)
}
