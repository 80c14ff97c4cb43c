//! `ringx check`: what is wrong with a configuration and what its author probably did not mean, with the request that
//! suffers and the edit that helps. Offline: no name is resolved and nothing is opened but files.
//!
//! Owns the order of things and the exit code; the rules are `config::lint`'s, those about files are in [`material`].
//! Start at [`run`].

mod diff;
mod fix;
mod material;
mod report;
mod sarif;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::cli::Options;
use super::identity::Identity;
use super::reading;
use super::setup::Setup;
use super::{commands, say};
use crate::config::Loaded;
use crate::config::diag::{Diag, Level};
use crate::config::lint::{self, Finding, Rule, rules};

/// A finding at `warn` or above.
const CODE_FOUND: u8 = 1;
/// A configuration that cannot be loaded, or wrong use.
const CODE_CANNOT_LOAD: u8 = 2;

/// What is asked.
#[derive(Args, Debug, Default)]
pub struct Ask {
    /// nginx.conf or TOML; the default configuration when left out.
    file: Option<PathBuf>,
    /// The same, as nginx's option.
    #[arg(
        short = 'c',
        long = "conf",
        value_name = "FILE",
        conflicts_with = "file"
    )]
    conf: Option<PathBuf>,
    /// What relative paths start from.
    #[arg(short = 'p', long, value_name = "FOLDER")]
    prefix: Option<PathBuf>,
    /// Make the edits that are safe, in the files themselves.
    #[arg(long)]
    fix: bool,
    /// Show the edits as a diff; without --fix nothing is written.
    #[arg(long)]
    diff: bool,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Take findings of a rule as errors, or of all.
    #[arg(long, value_name = "RULE", hide_possible_values = true, value_parser = PossibleValuesParser::new(names()))]
    deny: Vec<String>,
    /// Say nothing of a rule; in a file, `# ringx: allow RULE` does that for its line, or for the next one.
    #[arg(long, value_name = "RULE", hide_possible_values = true, value_parser = PossibleValuesParser::new(names()))]
    allow: Vec<String>,
    /// List the rules.
    #[arg(long)]
    rules: bool,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: with the source lines.
    #[default]
    Text,
    /// An object with an array of findings.
    Json,
    /// SARIF 2.1.0, which code hosts show beside the lines.
    Sarif,
}

/// What was found in a configuration.
struct Examined {
    /// The text and its tree.
    loaded: Loaded,
    /// Everything found, in the order of the text.
    found: Vec<Finding>,
    /// What it comes to, when it can be served.
    sizes: Option<Sizes>,
}

/// How much there is in a plan.
#[derive(Clone, Copy)]
struct Sizes {
    listeners: usize,
    servers: usize,
    locations: usize,
    groups: usize,
}

/// Runs the command.
pub fn run(ask: &Ask) -> ExitCode {
    if ask.rules {
        return commands::print(report::rules().as_bytes());
    }
    let options = Options {
        file: ask.conf.clone().or_else(|| ask.file.clone()),
        prefix: ask.prefix.clone(),
        ..Options::default()
    };
    let setup = Setup::new(Identity::Ringx, &options, Vec::new());
    let mut edits = fix::Edits::default();
    if ask.fix || ask.diff {
        edits = match fix::fix(&setup, ask) {
            Ok(edits) => edits,
            Err(problem) => {
                say(&format!("ringx: {problem}\n"));
                return ExitCode::from(CODE_CANNOT_LOAD);
            }
        };
    }
    // What is only shown has not been made.
    let kept = if ask.fix { &edits.texts[..] } else { &[] };
    let examined = examine(&setup, kept, ask);
    let text = match ask.format {
        Format::Text => report::text(&setup, &examined, &edits, ask),
        Format::Json => report::json(&setup, &examined, &edits),
        Format::Sarif => sarif::sarif(&setup, &examined),
    };
    let printed = commands::print(text.as_bytes());
    if printed != ExitCode::SUCCESS {
        return printed;
    }
    match worst(&examined) {
        _ if examined.sizes.is_none() => ExitCode::from(CODE_CANNOT_LOAD),
        Level::Emerg | Level::Warn => ExitCode::from(CODE_FOUND),
        Level::Notice => ExitCode::SUCCESS,
    }
}

/// What `--deny` and `--allow` take.
fn names() -> impl Iterator<Item = &'static str> {
    rules::ALL.iter().map(|r| r.id).chain(["all"])
}

fn worst(examined: &Examined) -> Level {
    let levels = examined.found.iter().map(|f| f.level);
    levels.min().unwrap_or(Level::Notice)
}

/// Loads and applies every rule. `texts` stand for files that have them on the disk, or are about to.
fn examine(setup: &Setup, texts: &[(PathBuf, Vec<u8>)], ask: &Ask) -> Examined {
    let (mut loaded, plan) = reading::study_offline(setup, texts);
    let mut found = Vec::new();
    if let Some(model) = &loaded.model {
        found = lint::advise(model, &loaded.tree);
        found.extend(material::files(model, &loaded.tree, &setup.prefix));
    }
    let said = std::mem::take(&mut loaded.diags);
    let linted = loaded.model.is_some();
    for diag in &said {
        let (rule, again) = rule_of(diag);
        // What a rule says better is not said twice.
        if !(again && linted && found.iter().any(|f| f.rule == rule)) {
            found.push(finding(rule, diag));
        }
    }
    loaded.diags = said;
    found.retain(|f| !allowed(f, &loaded, ask));
    for finding in &mut found {
        if ask
            .deny
            .iter()
            .any(|id| id == finding.rule.id || id == "all")
        {
            finding.level = Level::Emerg;
        }
    }
    found.sort_by_key(|f| (f.span.line == 0, f.span.file, f.span.start));
    Examined {
        loaded,
        found,
        sizes: plan.map(|plan| Sizes {
            listeners: plan.listeners.len(),
            servers: plan.servers.len(),
            locations: plan.locations.len(),
            groups: plan.groups.len(),
        }),
    }
}

/// Which rule a diagnostic of the loader belongs to, and whether the rule finds it by itself, too.
fn rule_of(diag: &Diag) -> (&'static Rule, bool) {
    let text = &diag.message[..];
    match diag.level {
        Level::Emerg => (&rules::CANNOT_LOAD, false),
        _ if text.starts_with("the \"listen ... http2\"") => {
            (&rules::DEPRECATED_LISTEN_HTTP2, true)
        }
        _ if text.starts_with("\"proxy_http_version 2.0\"") => (&rules::HTTP_VERSION_2_0, true),
        _ if text.ends_with("cannot be offered") && text.contains("protocols\"") => {
            (&rules::OLD_TLS_VERSIONS, true)
        }
        _ if text.starts_with("\"alias\" ends with a slash") => (&rules::LOOSE_ALIAS, true),
        _ if text.starts_with("invalid server name or wildcard") => (&rules::DEAD_WILDCARD, true),
        _ if text.starts_with("conflicting server name") => {
            (&rules::CONFLICTING_SERVER_NAME, false)
        }
        _ if text.starts_with("\"ssl_stapling\" ignored") => (&rules::STAPLING_IGNORED, false),
        _ if text.starts_with("certificate \"")
            && (text.ends_with("expired") || text.ends_with("valid yet")) =>
        {
            (&rules::EXPIRED_CERTIFICATE, false)
        }
        _ => (&rules::LOAD_WARNING, false),
    }
}

fn finding(rule: &'static Rule, diag: &Diag) -> Finding {
    let finding = Finding::new(rule, diag.span, &diag.message[..]);
    let finding = match &diag.hint {
        Some(hint) => finding.advice(&hint[..]),
        None => finding,
    };
    match diag.level {
        Level::Notice => finding.note(),
        _ => finding,
    }
}

/// Whether the command line or a comment wants to hear nothing of it. What keeps a file from loading is always said.
fn allowed(finding: &Finding, loaded: &Loaded, ask: &Ask) -> bool {
    if finding.rule == &rules::CANNOT_LOAD {
        return false;
    }
    let id = finding.rule.id;
    if ask.allow.iter().any(|a| a == id || a == "all") {
        return true;
    }
    let file = loaded.tree.files.get(finding.span.file as usize);
    let Some(file) = file.filter(|_| finding.span.line != 0) else {
        return false;
    };
    let bytes = &file.bytes[..];
    let start = (finding.span.start as usize).min(bytes.len());
    let before = bytes[..start].iter().rposition(|&b| b == b'\n');
    let line = bytes[before.map_or(0, |at| at + 1)..]
        .split(|&b| b == b'\n')
        .next();
    let above = before.and_then(|at| bytes[..at].rsplit(|&b| b == b'\n').next());
    // A comment behind something else is about that alone.
    let above = above.filter(|line| line.trim_ascii_start().starts_with(b"#"));
    [line, above]
        .into_iter()
        .flatten()
        .any(|line| permits(line, id))
}

/// `# ringx: allow RULE, RULE`.
fn permits(line: &[u8], id: &str) -> bool {
    let line = String::from_utf8_lossy(line);
    let Some((_, comment)) = line.split_once('#') else {
        return false;
    };
    let words = comment.trim().strip_prefix("ringx: allow ");
    words.is_some_and(|words| words.split([',', ' ']).any(|word| word == id))
}

/// Where a finding stands: path, then line and column of its first and last character, counted in characters from 1.
struct Position<'a> {
    path: &'a Path,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

fn position<'a>(finding: &Finding, loaded: &'a Loaded) -> Option<Position<'a>> {
    let file = loaded.tree.files.get(finding.span.file as usize);
    let file = file.filter(|_| finding.span.line != 0)?;
    let at = |offset: u32| {
        let before = &file.bytes[..(offset as usize).min(file.bytes.len())];
        let start = before
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        (
            line,
            1 + String::from_utf8_lossy(&before[start..]).chars().count(),
        )
    };
    let (line, column) = at(finding.span.start);
    let (end_line, end_column) = at(finding.span.end.max(finding.span.start));
    Some(Position {
        path: &file.path,
        line,
        column,
        end_line,
        end_column,
    })
}
