//! Style as a test: what the compiler cannot see about this repository. Arrows between modules, where unsafe code, the
//! runtime and the clock may be named, module docs, sizes, left-overs, machine paths, and the reasons in `Cargo.toml`.
//! Each check collects every finding before it fails, so that one run shows all.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Each module with those that it may import; the order is downwards from the bottom. `all` names every module before it.
const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("proto", &["base"]),
    ("config", &["base"]),
    ("plan", &["base", "proto", "config::model", "config::diag"]),
    ("net", &["base"]),
    ("mail", &["base", "plan"]),
    ("front", &["base", "proto", "plan", "net"]),
    ("upstream", &["base", "proto", "plan", "net", "mail"]),
    ("cache", &["base", "proto", "plan", "net", "mail"]),
    ("observe", &["base", "plan", "net"]),
    (
        "http",
        &[
            "base", "proto", "plan", "net", "mail", "front", "upstream", "cache", "observe",
        ],
    ),
    (
        "stream",
        &[
            "base", "proto", "plan", "net", "front", "upstream", "observe", "http",
        ],
    ),
    (
        "shard",
        &[
            "base", "proto", "plan", "net", "mail", "front", "upstream", "cache", "observe",
            "http", "stream",
        ],
    ),
    (
        "control",
        &[
            "base", "proto", "config", "plan", "net", "mail", "front", "upstream", "cache",
            "observe", "http", "stream", "shard",
        ],
    ),
];

/// Words with one home: (word, path prefixes below `src` where it may stand, why).
const HOMES: &[(&str, &[&str], &str)] = &[
    ("unsafe", &["net/sys"], "unsafe code lives in net/sys only"),
    (
        "libc::",
        &["net/sys"],
        "raw system calls live in net/sys only",
    ),
    ("monoio::", &["net/"], "the runtime's types stay inside net"),
    (
        "Instant::now",
        &["net/clock.rs"],
        "time is an argument; net::clock reads it",
    ),
    (
        "SystemTime::now",
        &["net/clock.rs"],
        "time is an argument; net::clock reads it",
    ),
    (
        "clap::",
        &["control/"],
        "only control reads the command line",
    ),
    (
        "pcre2::",
        &["base/", "plan/"],
        "patterns are compiled into the plan",
    ),
];

/// A file of logic may have this many lines; tables of rows are exempt.
const FILE_LINES_MAX: usize = 1_000;
/// A function may have this many lines, signature and braces included.
const FUNCTION_LINES_MAX: usize = 100;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository below `folder` with one of the `endings` (all when empty), as (path, text).
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", "out", "corpus", "artifacts"].contains(&name.as_str()) {
                    folders.push(path);
                }
                continue;
            }
            if !endings.is_empty() && !endings.iter().any(|e| name.ends_with(e)) {
                continue;
            }
            if let Ok(text) = std::fs::read_to_string(&path) {
                found.push((relative(&root, &path), text));
            }
        }
    }
    found.sort();
    found
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .expect("walked from the root")
        .display()
        .to_string()
}

fn sources() -> Vec<(String, String)> {
    files("src", &[".rs"])
}

/// The program text alone: comments and the insides of strings become spaces, lines stay where they are.
fn program(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        if let Some(end) = end {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment, string or character literal that begins at `at` ends; `None` when none begins there.
fn token_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        return Some(at + find(rest, b"\n").unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(at + find(rest, b"*/").map_or(rest.len(), |n| n + 2));
    }
    if rest[0] == b'r' || rest.starts_with(b"br") {
        let start = if rest[0] == b'b' { 2 } else { 1 };
        let hashes = rest[start..].iter().take_while(|b| **b == b'#').count();
        if !after_word && rest.get(start + hashes) == Some(&b'"') {
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let body = start + hashes + 1;
            return Some(
                at + find(&rest[body..], &close).map_or(rest.len(), |n| body + n + close.len()),
            );
        }
        return None;
    }
    if rest[0] == b'"' {
        let mut n = 1;
        while n < rest.len() && rest[n] != b'"' {
            n += if rest[n] == b'\\' { 2 } else { 1 };
        }
        return Some((at + n + 1).min(bytes.len()));
    }
    if rest[0] == b'\'' {
        // A lifetime has no closing quote near.
        if rest.get(1) == Some(&b'\\') {
            let close = find(&rest[3.min(rest.len())..], b"'")?;
            return Some(at + 3 + close + 1);
        }
        let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
            .map_or_else(|e| e.valid_up_to(), str::len);
        let first = std::str::from_utf8(&rest[1..=width])
            .ok()?
            .chars()
            .next()?
            .len_utf8();
        if rest.get(1 + first) == Some(&b'\'') {
            return Some(at + first + 2);
        }
    }
    None
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// The module that a path below `src` belongs to; empty for the crate's roots.
fn module_of(path: &str) -> &str {
    let below = path.strip_prefix("src/").expect("a path below src");
    match below.split_once('/') {
        Some((module, _)) => module,
        None => below
            .strip_suffix(".rs")
            .filter(|m| !["lib", "main"].contains(m))
            .unwrap_or(""),
    }
}

/// Every `crate::a::b` that `text` names, as (`a`, `a::b`), groups expanded.
fn crate_paths(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        for path in expand(&text[at + "crate::".len()..]) {
            let mut words = path.split("::");
            let first = words.next().unwrap_or_default().to_owned();
            let second = words
                .next()
                .map_or_else(|| first.clone(), |s| format!("{first}::{s}"));
            found.push((first, second));
        }
    }
    found
}

/// The paths that begin at the start of `text`: one, or several where a `{…}` group stands.
fn expand(text: &str) -> Vec<String> {
    let word_end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(word_end);
    if let Some(rest) = rest.strip_prefix("::") {
        return expand(rest)
            .into_iter()
            .map(|p| format!("{word}::{p}"))
            .collect();
    }
    if word.is_empty() && rest.starts_with('{') {
        let mut depth = 0;
        let mut items = vec![String::new()];
        for c in rest.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if c == ',' && depth == 1 {
                items.push(String::new());
            } else if !(c == '{' && depth == 1 && items.len() == 1 && items[0].is_empty()) {
                items.last_mut().expect("never empty").push(c);
            }
        }
        return items.iter().flat_map(|i| expand(i.trim())).collect();
    }
    vec![word.to_owned()]
}

#[track_caller]
fn report(what: &str, findings: &BTreeSet<String>) {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    assert!(findings.is_empty(), "{what}:\n{text}");
}

#[test]
fn imports_point_downwards() {
    let mut findings = BTreeSet::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if module.is_empty() {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            findings.insert(format!(
                "{path}: {module} is not one of the thirteen modules"
            ));
            continue;
        };
        for (first, second) in crate_paths(&program(&text)) {
            let known = ARROWS.iter().any(|(name, _)| *name == first);
            let fine = first == module
                || allowed.contains(&first.as_str())
                || allowed.contains(&second.as_str());
            if known && !fine {
                findings.insert(format!("{path}: {module} may not import {second}"));
            }
        }
    }
    report("arrows that point up", &findings);
}

#[test]
fn words_stay_at_home() {
    let mut findings = BTreeSet::new();
    for (path, text) in sources() {
        let below = path
            .strip_prefix("src/")
            .expect("a path below src")
            .to_owned();
        let text = program(&text);
        for (number, line) in text.lines().enumerate() {
            for (word, homes, why) in HOMES {
                let at_home = homes.iter().any(|home| below.starts_with(home));
                if !at_home && has_word(line, word) {
                    findings.insert(format!("{path}:{}: {word}: {why}", number + 1));
                }
            }
        }
    }
    report("words away from home", &findings);
}

/// Whether `word` stands in `line` by itself.
fn has_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let ends_open = word.ends_with(|c: char| !is_word(c));
        !before.is_some_and(is_word) && (ends_open || !after.is_some_and(is_word))
    })
}

#[test]
fn every_file_begins_with_its_module_doc() {
    let all = sources().into_iter().chain(files("tests", &[".rs"]));
    let findings = all
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| format!("{path}: begin with `//! ` what it owns and refuses to know"))
        .collect();
    report("files without a module doc", &findings);
}

#[test]
fn files_and_functions_stay_small() {
    let mut findings = BTreeSet::new();
    for (path, text) in sources().into_iter().chain(files("tests", &[".rs"])) {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX && !path.contains("/rows/") {
            findings.insert(format!("{path}: {lines} lines"));
        }
        let text = program(&text);
        let lines = text.lines().collect::<Vec<_>>();
        for (start, line) in lines.iter().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            let head = line.trim_start();
            // A declaration ends in `;` before any brace opens.
            let signature = lines[start..]
                .iter()
                .find(|l| l.trim_end().ends_with(['{', ';', '}']));
            if !has_word(head, "fn") || signature.is_none_or(|l| !l.trim_end().ends_with('{')) {
                continue;
            }
            // rustfmt closes a function at the indentation at which it began.
            let close = format!("{indent}}}");
            let length = lines[start..].iter().position(|l| l.trim_end() == close);
            if let Some(length) = length.filter(|n| *n >= FUNCTION_LINES_MAX) {
                findings.insert(format!(
                    "{path}:{}: a function of {} lines",
                    start + 1,
                    length + 1
                ));
            }
        }
    }
    report("too long", &findings);
}

#[test]
fn nothing_is_left_lying_about() {
    // Written in halves, so that this file does not find itself.
    let markers = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["dbg", "!"],
        ["todo", "!"],
        ["unimplemented", "!"],
        ["#[ign", "ore"],
    ]
    .map(|halves| halves.concat());
    let machine = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]].map(|halves| halves.concat());
    let mut findings = BTreeSet::new();
    for (path, text) in files("", &[]) {
        if ["Cargo.lock", ".git"].contains(&path.as_str()) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            for marker in &markers {
                if has_word(line, marker) {
                    findings.insert(format!("{place}: {marker}"));
                }
            }
            for folder in &machine {
                let absolute = line.match_indices(folder.as_str()).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._}-)$%".contains(c))
                });
                if absolute {
                    findings.insert(format!("{place}: a path of one machine: {folder}"));
                }
            }
        }
    }
    report("left-overs", &findings);
}

#[test]
fn dependencies_say_what_they_are_for() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut findings = BTreeSet::new();
    let mut inside = false;
    let mut previous = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside && !line.trim().is_empty() && !line.starts_with('#') {
            let sentence = previous.starts_with("# ") && previous.ends_with('.');
            if !sentence {
                findings.insert(format!("Cargo.toml: no sentence before {line}"));
            }
        }
        previous = line;
    }
    report("dependencies without a reason", &findings);
}

#[test]
fn what_works_is_shown_at_work() {
    let table = std::fs::read_to_string(root().join("docs/DIRECTIVES.md")).unwrap();
    let shown = ["tests", "config", "src"]
        .iter()
        .flat_map(|folder| files(folder, &[]))
        .filter(|(path, _)| !path.starts_with("src/") || path.contains("test"))
        .map(|(_, text)| text)
        .collect::<String>();
    let findings = table
        .lines()
        .filter(|line| line.contains("| works |"))
        .filter_map(|line| line.split('`').nth(1))
        .filter(|name| !shown.lines().any(|line| has_word(line, name)))
        .map(|name| format!("{name}: no test and no shipped configuration uses it"))
        .collect();
    report("directives that nothing shows", &findings);
}

#[test]
fn the_package_brings_everything_and_keeps_what_was_edited() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let part = |from: &str, to: &str| {
        let rest = manifest.split_once(from).unwrap().1;
        rest.split_once(to).unwrap().0.to_owned()
    };
    let mut findings = BTreeSet::new();
    let mut installed = BTreeSet::new();
    for line in part("\nassets = [\n", "\n]\n").lines() {
        let words: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let [from, to, _] = words[..] else {
            panic!("an asset is three words: {line}");
        };
        let (folder, name) = from.rsplit_once('/').unwrap_or(("", from));
        let names: Vec<String> = match name {
            "*" => std::fs::read_dir(root().join(folder))
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect(),
            name => vec![name.to_owned()],
        };
        if !folder.starts_with("target")
            && (names.is_empty() || !root().join(folder).join(&names[0]).exists())
        {
            findings.insert(format!("{from} is installed and is not there"));
        }
        for name in names {
            let whole = if to.ends_with('/') {
                format!("{to}{name}")
            } else {
                to.to_owned()
            };
            installed.insert(format!("/{whole}"));
        }
    }
    let kept = part("\nconf-files = [\n", "\n]\n");
    let kept: BTreeSet<&str> = kept.split('"').skip(1).step_by(2).collect();
    for path in installed.iter().filter(|path| path.starts_with("/etc/")) {
        if !kept.contains(&path[..]) {
            findings.insert(format!("{path} is overwritten by an upgrade"));
        }
    }
    for path in kept.iter().filter(|path| !installed.contains(**path)) {
        findings.insert(format!("{path} is kept and is not installed"));
    }
    // What is made from the command line comes along.
    for path in [
        "/usr/bin/ringx",
        "/usr/share/man/man8/ringx.8",
        "/usr/share/bash-completion/completions/ringx",
        "/usr/share/zsh/vendor-completions/_ringx",
        "/usr/share/fish/vendor_completions.d/ringx.fish",
    ] {
        if !installed.contains(path) {
            findings.insert(format!("{path} is not installed"));
        }
    }
    report("the package", &findings);
}

#[test]
fn an_exception_to_a_lint_gives_its_reason() {
    let mut findings = BTreeSet::new();
    for (path, text) in sources() {
        let text = program(&text);
        for attribute in ["[allow(", "[expect("] {
            for (at, _) in text.match_indices(attribute) {
                let end = text[at..].find(']').unwrap_or(0);
                if !text[at..at + end].contains("reason") {
                    let line = text[..at].lines().count();
                    findings.insert(format!("{path}:{line}: {attribute}…)] has no reason"));
                }
            }
        }
    }
    report("exceptions without a reason", &findings);
}

#[test]
fn the_checks_see_what_they_should() {
    let text = "use crate::{base::buf, plan}; // crate::shard\nlet s = \"crate::http\"; let c = '\"'; crate::net::x();";
    let paths = crate_paths(&program(text));
    let firsts = paths.iter().map(|(f, _)| f.as_str()).collect::<Vec<_>>();
    assert_eq!(firsts, ["base", "plan", "net"]);
    let nested = crate_paths("use crate::config::{model::{A, B}, diag};");
    let seconds = nested.iter().map(|(_, s)| s.as_str()).collect::<Vec<_>>();
    assert_eq!(seconds, ["config::model", "config::model", "config::diag"]);
    assert!(has_word("    unsafe {", "unsafe"));
    assert!(!has_word("deny(unsafe_code)", "unsafe"));
    let bare = program("a r#\"x\"y\"# b 'c' '\\'' &'d e \"f\\\"\" g");
    let words = bare.split_whitespace().collect::<Vec<_>>();
    assert_eq!(words, ["a", "b", "&'d", "e", "g"]);
    assert_eq!(module_of("src/http/content/proxy.rs"), "http");
    assert_eq!(module_of("src/mail.rs"), "mail");
    assert_eq!(module_of("src/lib.rs"), "");
}
