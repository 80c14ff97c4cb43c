//! The table as documentation, and rules for every row.

#![expect(
    clippy::disallowed_methods,
    reason = "the test writes and reads the documentation itself"
)]

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::config::lint::Level;
use crate::config::lint::rules::ALL;
use crate::config::rows;
use crate::config::table::{Arity, Block, Inherit, Repeat, Row, Status};

/// `docs/DIRECTIVES.md`.
fn document() -> String {
    let mut out = String::from(
        "# Directives\n\n\
         Generated from the directive table; `RINGX_UPDATE_DOCS=1 cargo test --lib documentation` writes it anew.\n\n\
         *works*: does what nginx's does. *accepted*: is checked and has no effect, for the reason given. \
         *refused*: is an error with the reason given. *off only*: `off` loads, anything else is refused.\n",
    );
    let count = |wanted: fn(&Status) -> bool| rows::all().filter(|r| wanted(&r.status)).count();
    let _ = writeln!(
        out,
        "\n{} work, {} are accepted, {} are refused.",
        count(|s| matches!(s, Status::Works)),
        count(|s| matches!(s, Status::Accepted(_))),
        count(|s| matches!(s, Status::Refused(_) | Status::OffOnly(_))),
    );
    for (family, parts) in rows::FAMILIES {
        let _ = writeln!(out, "\n## {family}\n");
        out.push_str("| directive | where | parameters | default | inherited | status | |\n|---|---|---|---|---|---|---|\n");
        let mut list: Vec<&Row> = parts.iter().flat_map(|p| p.iter()).collect();
        list.sort_by_key(|r| r.name);
        for row in list {
            line(&mut out, row);
        }
    }
    out
}

fn line(out: &mut String, row: &Row) {
    let (status, why) = match row.status {
        Status::Works => ("works", ""),
        Status::Accepted(why) => ("accepted", why),
        Status::Refused(why) => ("refused", why),
        Status::OffOnly(why) => ("off only", why),
    };
    let inherited = match row.inherit {
        Inherit::Copy => "value",
        Inherit::Replace => "list",
        Inherit::Never => "",
    };
    let block = if row.block == Block::None { "" } else { " { }" };
    let repeat = if row.repeat == Repeat::Many && row.block == Block::None {
        ", repeatable"
    } else {
        ""
    };
    let default = if row.default.is_empty() {
        String::new()
    } else {
        format!("`{}`", row.default)
    };
    let doc = match why {
        "" => row.doc.to_owned(),
        why if why == row.doc => format!("{why}."),
        why => format!("{} ({why})", row.doc),
    };
    let _ = writeln!(
        out,
        "| `{}`{block} | {} | {}{repeat} | {default} | {inherited} | {status} | {doc} |",
        row.name,
        row.contexts.words(),
        count(row.arity),
    );
}

fn count(arity: Arity) -> String {
    match (arity.min, arity.max) {
        (min, u8::MAX) => format!("{min} or more"),
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min} to {max}"),
    }
}

#[test]
fn directives_are_documented() {
    generated("docs/DIRECTIVES.md", &document());
}

/// `docs/CHECKS.md`.
fn checks() -> String {
    let mut out = String::from(
        "# Checks\n\n\
         What `ringx check` looks for. Generated from the table of rules; `RINGX_UPDATE_DOCS=1 cargo test --lib documentation` \
         writes it anew.\n\n\
         It exits with 0 when nothing is wrong, 1 when there is a finding of level *warn* or above, 2 when the configuration \
         cannot be loaded. `--deny RULE` makes findings of a rule errors (`all` of every rule), `--allow RULE` keeps them quiet, \
         and so does a comment `# ringx: allow RULE` behind the line or alone on the line before it. `--fix` makes the edits \
         that are marked with *fix*, where they are sure to be meant; `--diff` shows them. No name is resolved and nobody is \
         asked.\n",
    );
    for (level, title) in [
        (Level::Emerg, "Errors"),
        (Level::Warn, "Warnings"),
        (Level::Notice, "Notes"),
    ] {
        let _ = writeln!(
            out,
            "\n## {title}\n\n| rule | what it finds | what harm that does | what to write | |\n|---|---|---|---|---|"
        );
        let mut list: Vec<_> = ALL.iter().filter(|r| r.level == level).collect();
        list.sort_by_key(|r| r.id);
        for rule in list {
            let fix = if rule.fixes { "fix" } else { "" };
            let cells = [rule.what, rule.why, rule.edit].map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(out, "| `{}` | {} | {fix} |", rule.id, cells.join(" | "));
        }
    }
    out
}

#[test]
fn checks_are_documented() {
    generated("docs/CHECKS.md", &checks());
}

#[test]
fn the_schema_is_written() {
    generated("config/ringx.schema.json", &crate::config::schema::schema());
}

/// A file of the repository that is written by this test when that is asked for, and compared else.
fn generated(path: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("RINGX_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "{path} is old; RINGX_UPDATE_DOCS=1 writes it anew"
    );
}

#[test]
fn every_row_is_whole() {
    let mut seen: HashSet<(&str, u16)> = HashSet::new();
    for row in rows::all() {
        assert!(
            !row.doc.is_empty() && row.doc.len() < 160,
            "{}: one sentence",
            row.name
        );
        assert!(
            row.name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{}",
            row.name
        );
        assert!(
            row.contexts.0 != 0 && row.arity.min <= row.arity.max,
            "{}",
            row.name
        );
        for bit in (0..16).map(|b| 1 << b).filter(|b| row.contexts.0 & b != 0) {
            assert!(
                seen.insert((row.name, bit)),
                "{} is twice in one context",
                row.name
            );
        }
        if let Status::Accepted(why) | Status::Refused(why) | Status::OffOnly(why) = row.status {
            assert!(!why.is_empty() && !why.ends_with('.'), "{}: why", row.name);
        }
    }
}

/// Every default of the families goes through its own parser when the settings are made.
#[test]
fn defaults_parse() {
    let settings = crate::config::model::Settings::default();
    assert_eq!(settings.core.keepalive_requests, 1000);
    assert_eq!(settings.proxy_pass.buffers.count, 8);
}
