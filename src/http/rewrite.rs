//! Runs compiled rewrite scripts: `set`, `if`, `rewrite`, `return`, `break`.
//!
//! [`Machine`] holds the place in a script and never waits; when an `if` asks about a file it stops and
//! [`run`] asks the kernel. Escaping follows nginx to the letter: captures of a URI that came escaped are
//! escaped again where they become arguments or a redirect.

use super::content::files::opening;
use super::debug::debug;
use super::exchange::Exchange;
use super::flow::{Flow, Reroute};
use super::local::Cx;
use super::log::Text;
use super::{content, log, vars};
use crate::base::escape::{self, Unescape};
use crate::plan::expr::Part;
use crate::plan::model::LogLevel;
use crate::plan::script::{AfterRewrite, Condition, FileTest, Op, Return, Rewrite, Script};

/// Whether the location that the exchange is in has a script of its own.
pub fn is_due(ex: &Exchange, cx: Cx<'_>) -> bool {
    !cx.location(ex.location).script.ops.is_empty()
        && ex.location != cx.plan.servers[ex.server].root
}

/// The script of the location that the exchange is in.
pub async fn location(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    run(&cx.location(ex.location).script, ex, cx).await
}

/// Whether the server has a script.
pub fn is_due_in_server(ex: &Exchange, cx: Cx<'_>) -> bool {
    !cx.plan.servers[ex.server].script.ops.is_empty()
}

/// The script of the server; it runs before a location is looked for, so that a new URI needs no second search.
pub async fn server(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    match run(&cx.plan.servers[ex.server].script, ex, cx).await {
        Flow::Reroute(Reroute::Uri) => Flow::Next,
        other => other,
    }
}

/// Runs a script to its end, asking about files when it does.
async fn run(script: &Script, ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let mut machine = Machine::new(ex, cx);
    loop {
        match machine.step(script, ex, cx) {
            Step::Done(flow) => return flow,
            Step::Ask { test, path } => {
                let answer = ask(test, &path, ex, cx).await;
                cx.local.buffers.give(path);
                machine.answer = Some(answer);
            }
        }
    }
}

/// A file test. Whatever goes wrong means no; what is not simply absent is logged.
async fn ask(test: FileTest, path: &[u8], ex: &mut Exchange, cx: Cx<'_>) -> bool {
    match opening::stat(path, ex, cx).await {
        Ok(stat) => match test {
            FileTest::File => stat.is_file(),
            FileTest::Directory => stat.is_dir(),
            FileTest::Exists => true,
            FileTest::Executable => stat.is_executable(),
        },
        Err(fault) => {
            if !content::is_absent(&fault.error) {
                let (call, error) = (fault.call, log::Errno(&fault.error));
                let text = format_args!("{call} \"{}\" failed ({error})", Text(path));
                log::error(ex, cx, LogLevel::Crit, text);
            }
            false
        }
    }
}

/// What a script needs next.
#[derive(Debug)]
enum Step {
    /// Nothing: it ended so.
    Done(Flow),
    /// The answer to a file test, put into [`Machine::answer`]. The path is a pooled buffer.
    Ask { test: FileTest, path: Vec<u8> },
}

/// A place in a script.
struct Machine {
    /// The next operation.
    at: usize,
    /// Captures are escaped in `set` and conditions: so until the first `rewrite` has matched, as in nginx.
    quote: bool,
    /// A `rewrite` matched: at the end a location is looked for again.
    uri_changed: bool,
    /// `rewrite_log on` where the script began.
    verbose: bool,
    /// What the kernel said about the file that the operation at `at` asked for.
    answer: Option<bool>,
}

impl Machine {
    fn new(ex: &Exchange, cx: Cx<'_>) -> Self {
        Self {
            at: 0,
            quote: true,
            uri_changed: false,
            verbose: cx.location(ex.location).settings.rewrite.rewrite_log,
            answer: None,
        }
    }

    /// Runs up to the end or the next question.
    fn step(&mut self, script: &Script, ex: &mut Exchange, cx: Cx<'_>) -> Step {
        while let Some(op) = script.ops.get(self.at) {
            self.at += 1;
            match op {
                Op::Set { target, value } => {
                    let mut buf = cx.local.buffers.take(0);
                    vars::eval_quoted(value, self.escapes(ex), ex, cx, &mut buf);
                    debug!(ex, cx, "http script set: \"{}\"", Text(&buf));
                    vars::assign(*target, ex, cx, &buf);
                    cx.local.buffers.give(buf);
                }
                Op::If {
                    condition,
                    location,
                    end,
                } => match self.condition(condition, ex, cx) {
                    Ok(true) => {
                        debug!(ex, cx, "http script if");
                        if let Some(location) = location {
                            super::route::enter(ex, cx, *location);
                        }
                    }
                    Ok(false) => {
                        debug!(ex, cx, "http script if: false");
                        self.at = *end as usize;
                    }
                    Err(question) => {
                        self.at -= 1;
                        return question;
                    }
                },
                Op::Rewrite(rewrite) => {
                    if let Some(flow) = self.rewrite(rewrite, ex, cx) {
                        return Step::Done(flow);
                    }
                }
                Op::Return(ret) => return Step::Done(answer(ret, ex, cx)),
                Op::Break => {
                    if self.uri_changed {
                        ex.rewritten_in_place = true;
                        self.uri_changed = false;
                    }
                    break;
                }
            }
        }
        Step::Done(if self.uri_changed {
            Flow::Reroute(Reroute::Uri)
        } else {
            Flow::Next
        })
    }

    /// Whether captures in values are escaped now.
    fn escapes(&self, ex: &Exchange) -> bool {
        self.quote && came_escaped(ex)
    }

    /// Whether an `if` is entered, or the question that decides it.
    fn condition(
        &mut self,
        condition: &Condition,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<bool, Step> {
        match condition {
            Condition::True(value) => Ok(vars::any_true(std::slice::from_ref(value), ex, cx)),
            Condition::Equal {
                left,
                right,
                negate,
            } => {
                let mut a = cx.local.buffers.take(0);
                let mut b = cx.local.buffers.take(0);
                vars::eval(left, ex, cx, &mut a);
                vars::eval_quoted(right, self.escapes(ex), ex, cx, &mut b);
                let equal = a == b;
                cx.local.buffers.give(a);
                cx.local.buffers.give(b);
                Ok(equal != *negate)
            }
            Condition::Match {
                subject,
                regex,
                negate,
            } => {
                let mut buf = cx.local.buffers.take(0);
                vars::eval(subject, ex, cx, &mut buf);
                let matched = vars::matches(regex, &buf, ex, cx);
                self.tell_match(regex.pattern(), &buf, matched, ex, cx);
                cx.local.buffers.give(buf);
                Ok(matched != *negate)
            }
            Condition::File { test, path, negate } => {
                if let Some(answer) = self.answer.take() {
                    return Ok(answer != *negate);
                }
                let mut buf = cx.local.buffers.take(0);
                vars::eval_quoted(path, self.escapes(ex), ex, cx, &mut buf);
                Err(Step::Ask {
                    test: *test,
                    path: buf,
                })
            }
        }
    }

    /// `rewrite`: the flow when the script ends here.
    fn rewrite(&mut self, rewrite: &Rewrite, ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
        let subject = std::mem::take(&mut ex.uri);
        let matched = vars::matches(&rewrite.regex, &subject, ex, cx);
        ex.uri = subject;
        self.tell_match(&rewrite.pattern, &ex.uri, matched, ex, cx);
        if !matched {
            return None;
        }
        self.quote = false;
        ex.internal = true;
        ex.target_unchanged = false;
        if let AfterRewrite::Redirect(status) = rewrite.then {
            self.redirect(rewrite, ex, cx);
            return Some(Flow::Error(status));
        }
        if rewrite.then == AfterRewrite::Break {
            ex.rewritten_in_place = true;
            self.uri_changed = false;
        } else {
            self.uri_changed = true;
        }
        self.replace(rewrite, ex, cx);
        if ex.uri.is_empty() {
            let args = format_args!("the rewritten URI has a zero length");
            log::error(ex, cx, LogLevel::Error, args);
            return Some(Flow::Error(500));
        }
        match rewrite.then {
            AfterRewrite::Last => Some(Flow::Reroute(Reroute::Uri)),
            AfterRewrite::Break => Some(Flow::Next),
            _ => None,
        }
    }

    /// Puts the replacement into `$uri` and `$args`.
    fn replace(&self, rewrite: &Rewrite, ex: &mut Exchange, cx: Cx<'_>) {
        let mut uri = cx.local.buffers.take(0);
        vars::eval(&rewrite.replacement, ex, cx, &mut uri);
        if let Some(expr) = &rewrite.args {
            let mut args = cx.local.buffers.take(0);
            vars::eval_quoted(expr, came_escaped(ex), ex, cx, &mut args);
            if rewrite.keep_args && !ex.args.is_empty() {
                args.push(b'&');
                args.extend_from_slice(&ex.args);
            }
            cx.local.buffers.give(std::mem::replace(&mut ex.args, args));
        } else if !rewrite.keep_args {
            ex.args.clear();
        }
        cx.local.buffers.give(std::mem::replace(&mut ex.uri, uri));
        if self.verbose {
            let text = format_args!(
                "rewritten data: \"{}\", args: \"{}\"",
                Text(&ex.uri),
                Text(&ex.args)
            );
            log::error(ex, cx, LogLevel::Notice, text);
        }
    }

    /// Puts the replacement into `Location`.
    fn redirect(&self, rewrite: &Rewrite, ex: &mut Exchange, cx: Cx<'_>) {
        let escapes = came_escaped(ex);
        let mut target = cx.local.buffers.take(0);
        vars::eval_quoted(&rewrite.replacement, escapes, ex, cx, &mut target);
        let mut has_args = rewrite
            .replacement
            .parts
            .iter()
            .any(|part| matches!(part, Part::Lit(text) if text.contains(&b'?')));
        if let Some(expr) = &rewrite.args {
            has_args = true;
            target.push(b'?');
            vars::eval_quoted(expr, escapes, ex, cx, &mut target);
        }
        let location = &mut ex.response.location;
        location.clear();
        let used = escape::unescape(location, &target, Unescape::Redirect);
        location.extend_from_slice(&target[used..]);
        cx.local.buffers.give(target);
        if rewrite.keep_args && !ex.args.is_empty() {
            location.push(if has_args { b'&' } else { b'?' });
            location.extend_from_slice(&ex.args);
        }
        ex.response.location_is_path = true;
        if self.verbose {
            let text = format_args!("rewritten redirect: \"{}\"", Text(&ex.response.location));
            log::error(ex, cx, LogLevel::Notice, text);
        }
    }

    /// One line of `rewrite_log`.
    fn tell_match(&self, pattern: &[u8], subject: &[u8], matched: bool, ex: &Exchange, cx: Cx<'_>) {
        debug!(
            ex,
            cx,
            "http script regex: \"{}\", matched: {matched}",
            Text(pattern)
        );
        if self.verbose {
            let verb = if matched { "matches" } else { "does not match" };
            let text = format_args!("\"{}\" {verb} \"{}\"", Text(pattern), Text(subject));
            log::error(ex, cx, LogLevel::Notice, text);
        }
    }
}

/// Whether the client's path came with escapes or a plus, so that captures of it need escaping again.
fn came_escaped(ex: &Exchange) -> bool {
    ex.head.quoted || ex.head.plus
}

/// `return`.
fn answer(ret: &Return, ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if ret.status >= 400 && ret.value.is_none() {
        return Flow::Error(ret.status);
    }
    let mut text = cx.local.buffers.take(0);
    if let Some(value) = &ret.value {
        vars::eval(value, ex, cx, &mut text);
    }
    if matches!(ret.status, 301 | 302 | 303 | 307 | 308) {
        cx.local
            .buffers
            .give(std::mem::replace(&mut ex.response.location, text));
        ex.response.location_is_path = true;
        return Flow::Error(ret.status);
    }
    content::fixed::text(ex, cx, ret.status, text)
}
