//! Findings as text for people and as JSON for programs, and the list of rules. Start at [`text`] and [`json`].

use std::fmt::Write as _;

use super::{Ask, Examined, Setup, diff, fix::Edits, position};
use crate::base::escape;
use crate::config::diag::{Diag, Level};
use crate::config::lint::{Finding, rules};

/// The list of rules.
pub(super) fn rules() -> String {
    let mut out = String::new();
    for rule in rules::ALL {
        let fix = if rule.fixes { ", --fix" } else { "" };
        let _ = writeln!(
            out,
            "{} ({}{fix})\n    {}",
            rule.id,
            rule.level.word(),
            rule.what
        );
    }
    out
}

/// With source lines, and a last line that sums up.
pub(super) fn text(setup: &Setup, examined: &Examined, edits: &Edits, ask: &Ask) -> String {
    let mut out = String::new();
    if ask.diff {
        for ((path, new), old) in edits.texts.iter().zip(&edits.before) {
            out.push_str(&diff::unified(&path.display().to_string(), old, new));
        }
        if !ask.fix {
            return out + &summary(setup, examined);
        }
    }
    for finding in &examined.found {
        one(&mut out, finding, examined);
    }
    if ask.fix && !edits.texts.is_empty() {
        let _ = writeln!(
            out,
            "{} fixed in {}",
            plural(edits.count, "finding"),
            plural(edits.texts.len(), "file")
        );
    }
    out + &summary(setup, examined)
}

fn one(out: &mut String, finding: &Finding, examined: &Examined) {
    let files = &examined.loaded.tree.files;
    let diag: Diag = finding.diag(files);
    out.push_str(&diag.rich(files));
    let plain = finding.rule == &rules::CANNOT_LOAD || finding.rule == &rules::LOAD_WARNING;
    if !plain {
        let _ = writeln!(out, "  = why: {}", finding.rule.why);
    }
    if let Some(request) = &finding.request {
        let _ = writeln!(out, "  = request: {request}");
    }
    if !plain || finding.advice != finding.rule.edit {
        let safe = if finding.fix.is_empty() {
            ""
        } else {
            " (--fix)"
        };
        let _ = writeln!(out, "  = edit: {}{safe}", finding.advice);
    }
    out.push('\n');
}

fn summary(setup: &Setup, examined: &Examined) -> String {
    let count = |level| examined.found.iter().filter(|f| f.level == level).count();
    let errors = plural(count(Level::Emerg), "error");
    let warnings = plural(count(Level::Warn), "warning");
    let notes = plural(count(Level::Notice), "note");
    let file = setup.file.display();
    match examined.sizes {
        Some(sizes) => format!(
            "{file}: good, {errors}, {warnings}, {notes}; {}, {}, {}, {}\n",
            plural(sizes.listeners, "listener"),
            plural(sizes.servers, "server"),
            plural(sizes.locations, "location"),
            plural(sizes.groups, "upstream group"),
        ),
        None => format!("{file}: {errors}, {warnings}, {notes}; it cannot be loaded\n"),
    }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A string of JSON with its quotes.
pub(super) fn string(text: &str) -> String {
    let mut out = vec![b'"'];
    escape::log_json(&mut out, text.as_bytes());
    out.push(b'"');
    String::from_utf8_lossy(&out).into_owned()
}

/// The word for a level, as SARIF has it.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Emerg => "error",
        Level::Warn => "warning",
        Level::Notice => "note",
    }
}

/// One object; a finding without a place has no `file`.
pub(super) fn json(setup: &Setup, examined: &Examined, edits: &Edits) -> String {
    let findings: Vec<String> = examined.found.iter().map(|f| object(f, examined)).collect();
    let fixed: Vec<String> = edits
        .texts
        .iter()
        .map(|(path, _)| string(&path.to_string_lossy()))
        .collect();
    format!(
        "{{\"file\": {}, \"loads\": {}, \"edited\": [{}], \"findings\": [{}{}]}}\n",
        string(&setup.file.to_string_lossy()),
        examined.sizes.is_some(),
        fixed.join(", "),
        findings.join(","),
        if findings.is_empty() { "" } else { "\n" },
    )
}

fn object(finding: &Finding, examined: &Examined) -> String {
    let mut out = format!(
        "\n  {{\"rule\": {}, \"level\": {}, \"message\": {}",
        string(finding.rule.id),
        string(level(finding.level)),
        string(&finding.message)
    );
    if let Some(at) = position(finding, &examined.loaded) {
        let _ = write!(
            out,
            ", \"file\": {}, \"line\": {}, \"column\": {}, \"end_line\": {}, \"end_column\": {}",
            string(&at.path.to_string_lossy()),
            at.line,
            at.column,
            at.end_line,
            at.end_column
        );
    }
    if let Some(request) = &finding.request {
        let _ = write!(out, ", \"request\": {}", string(request));
    }
    let _ = write!(
        out,
        ", \"why\": {}, \"edit\": {}, \"safe\": {}}}",
        string(finding.rule.why),
        string(&finding.advice),
        !finding.fix.is_empty()
    );
    out
}
