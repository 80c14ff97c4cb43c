//! Which location takes a request, and which file it comes to: slashes, patterns, what nothing gets to. Start at [`level`].

use super::edit::set_word;
use super::{Finding, Lint, Place, pattern, rules};
use crate::config::model::*;
use crate::config::tree::Directive;

pub(super) fn level<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    alias(lint, place);
    dots(lint, place);
    if !place.outermost() {
        order(lint, place);
        stolen(lint, place);
        lone_root(lint, place);
    }
    tries(lint, place);
    conditions(lint, place);
    listing(lint, place);
    slashes(lint, place);
    uploads(lint, place);
}

/// `location /a` with `alias /srv/a/`, and the other way round.
fn alias<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let Some(directive) = place.own("alias").next().filter(|_| place.by_prefix()) else {
        return;
    };
    let Some(word) = directive.args.first().filter(|w| !w.bytes.contains(&b'$')) else {
        return;
    };
    let (path, folder) = (place.path(), word.lossy());
    match (path.ends_with('/'), folder.ends_with('/')) {
        (false, true) => {
            let message =
                format!("\"{path}../x\" is looked for as \"{folder}../x\", beside the folder");
            lint.say(
                Finding::new(&rules::LOOSE_ALIAS, directive.span, message)
                    .request(place.get(&format!("{path}../x")))
                    .advice(format!("write location {path}/")),
            );
        }
        (true, false) => {
            let message = format!("\"{path}x\" is looked for as \"{folder}x\"");
            lint.say(
                Finding::new(&rules::GLUED_ALIAS, directive.span, message)
                    .request(place.get(&format!("{path}x")))
                    .advice(format!("alias {folder}/;")),
            );
        }
        _ => {}
    }
}

/// `~* .(js|css)$` also takes `/xjs`.
fn dots<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let Some(location) = place.location else {
        return;
    };
    let Kind::Regex { .. } = &location.kind else {
        return;
    };
    let text = &location.path.bytes;
    let found = pattern::loose_dots(text);
    if found.is_empty() {
        return;
    }
    let good = pattern::escaped(text, &found);
    let shown = String::from_utf8_lossy(&good).into_owned();
    let message = format!(
        "the dot in \"{}\" stands for any character",
        location.path.lossy()
    );
    // `~ pattern` in two words; glued to its mark it is one.
    let block = place.blocks.last();
    let at = block.and_then(|b| b.args.iter().position(|w| w.bytes == *text));
    let edit = at.and_then(|at| set_word(lint.tree, block?, at, &good));
    let harmed = pattern::extensions(text)
        .first()
        .map_or_else(|| place.sample(""), |e| format!("/x{e}"));
    lint.say(
        Finding::new(&rules::LOOSE_DOT, location.path.span, message)
            .request(place.get(&harmed))
            .advice(format!("write {shown}"))
            .fix(edit),
    );
}

/// Patterns behind one that takes everything they do.
fn order<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let patterns: Vec<&Location> = place
        .inside
        .iter()
        .copied()
        .filter(|l| matches!(l.kind, Kind::Regex { .. }))
        .collect();
    for (at, location) in patterns.iter().enumerate() {
        let caseless = matches!(location.kind, Kind::Regex { caseless: true });
        let earlier = patterns[..at].iter().find(|e| {
            let wider = matches!(e.kind, Kind::Regex { caseless: true });
            pattern::takes_all(&e.path.bytes)
                || (e.path.bytes == location.path.bytes && (wider || !caseless))
        });
        let begins = pattern::prefix(&location.path.bytes);
        let text = String::from_utf8_lossy(&begins).into_owned();
        let taker = earlier.map(|e| format!("the pattern \"{}\" before it", e.path.lossy()));
        let taker = taker.or_else(|| {
            above(&place.inside, &begins).map(|p| format!("\"^~ {}\"", p.path.lossy()))
        });
        if let Some(taker) = taker {
            let shown = location.path.lossy();
            let message = format!("{taker} takes every request of \"{shown}\"");
            let path = if text.is_empty() {
                "/".to_owned()
            } else {
                text
            };
            lint.say(
                Finding::new(&rules::UNREACHABLE_LOCATION, location.path.span, message)
                    .request(place.get(&path)),
            );
        }
    }
}

/// The `^~` prefix that keeps each path with this beginning from the patterns.
fn above<'a>(siblings: &[&'a Location], begins: &[u8]) -> Option<&'a Location> {
    if begins.is_empty() {
        // Only the root takes what may begin with anything.
        let root = siblings
            .iter()
            .copied()
            .find(|l| l.kind == Kind::NoRegex && *l.path.bytes == *b"/")?;
        let others = siblings.iter().any(|l| l.kind == Kind::Prefix);
        return (!others).then_some(root);
    }
    let taker = siblings
        .iter()
        .copied()
        .filter(|l| l.kind == Kind::NoRegex && begins.starts_with(&l.path.bytes))
        .max_by_key(|l| l.path.bytes.len())?;
    // A longer prefix without the mark lets patterns in again.
    let reopened = siblings.iter().any(|l| {
        l.kind == Kind::Prefix
            && l.path.bytes.len() > taker.path.bytes.len()
            && l.path.bytes.starts_with(&taker.path.bytes)
    });
    (!reopened).then_some(taker)
}

/// A list of extensions takes files from under a prefix that has a folder of its own.
fn stolen<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let lists = place.inside.iter().filter_map(|l| {
        let known = pattern::extensions(&l.path.bytes);
        let first = known.into_iter().next()?;
        matches!(l.kind, Kind::Regex { .. }).then_some((l, first))
    });
    for (list, extension) in lists {
        // Scripts are meant to be taken wherever they lie.
        if matches!(list.content, Content::Proxy(_)) || list.settings.core.root.alias {
            continue;
        }
        let own_folder = |l: &&Location| {
            l.kind == Kind::Prefix
                && l.path.bytes.len() > 1
                && matches!(l.content, Content::Files)
                && l.settings.core.root.path != list.settings.core.root.path
                && !l
                    .locations
                    .iter()
                    .any(|i| matches!(i.kind, Kind::Regex { .. }))
        };
        for prefix in place.inside.iter().copied().filter(own_folder) {
            let path = prefix.path.lossy();
            let slash = if path.ends_with('/') { "" } else { "/" };
            let example = format!("{path}{slash}x.{extension}");
            let message = format!(
                "\"{example}\" is taken by the pattern \"{}\"",
                list.path.lossy()
            );
            lint.say(
                Finding::new(&rules::STOLEN_FILES, prefix.path.span, message)
                    .request(place.get(&example))
                    .advice(format!("location ^~ {path}")),
            );
        }
    }
}

/// `root` in `location /` alone.
fn lone_root<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    if place.location.is_some() || place.written("root").is_some() {
        return;
    }
    let owns = |l: &&Location| l.settings.core.root != place.here.core.root;
    let slash = place
        .inside
        .iter()
        .copied()
        .find(|l| l.kind == Kind::Prefix && *l.path.bytes == *b"/" && owns(l));
    let Some(slash) = slash.filter(|l| matches!(l.content, Content::Files)) else {
        return;
    };
    for &location in &place.inside {
        let by_path = matches!(
            location.kind,
            Kind::Exact | Kind::Prefix | Kind::NoRegex | Kind::Regex { .. }
        );
        let answers = location.script.iter().any(|op| {
            matches!(op, Op::Return(_))
                || matches!(op, Op::Rewrite(r) if r.flag != RewriteFlag::Break && r.flag != RewriteFlag::None)
        });
        // Where nobody is let in, or all is nested, no file is looked for.
        let closed = location
            .settings
            .access
            .rules
            .first()
            .is_some_and(|r| r.deny && r.source == Source::All);
        let nested = !location.locations.is_empty();
        if by_path
            && matches!(location.content, Content::Files)
            && !owns(&location)
            && !answers
            && !closed
            && !nested
            && location.path != slash.path
        {
            let path = location.path.lossy();
            let root = place.here.core.root.path.lossy();
            let message =
                format!("\"{path}\" has no root of its own: files are looked for in {root}");
            let request = match location.kind {
                Kind::Regex { .. } => "/x".to_owned(),
                _ => path,
            };
            lint.say(
                Finding::new(&rules::ROOT_IN_LOCATION, location.pos, message)
                    .request(place.get(&request)),
            );
        }
    }
}

/// A last parameter that is one more try.
fn tries<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let Some(directive) = place.own("try_files").next() else {
        return;
    };
    let Some(last) = directive.args.last() else {
        return;
    };
    let loops = [
        &b"$uri"[..],
        b"$uri/",
        b"$request_uri",
        b"$document_uri",
        b"${uri}",
    ];
    if loops.contains(&&last.bytes[..]) {
        let message = format!(
            "\"{}\" is not tried but gone to, and comes back here",
            last.lossy()
        );
        lint.say(
            Finding::new(&rules::TRY_FILES_LOOP, last.span, message)
                .request(place.get(&place.sample("missing"))),
        );
    }
}

/// What may stand in an `if` without surprises.
const HARMLESS: &[&[u8]] = &[
    b"return",
    b"rewrite",
    b"set",
    b"break",
    b"access_log",
    b"limit_rate",
    b"limit_rate_after",
    b"rewrite_log",
];

/// An `if` is a location of its own.
fn conditions<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    if place.location.is_none() {
        return;
    }
    for block in place.own("if") {
        let inside: &[Directive] = block.block.as_deref().unwrap_or_default();
        let odd = inside
            .iter()
            .find(|d| !HARMLESS.contains(&&d.name.bytes[..]));
        let ends = inside.iter().any(|d| *d.name.bytes == *b"return");
        let Some(odd) = odd.filter(|_| !ends) else {
            continue;
        };
        let tries = place.own("try_files").next().is_some();
        let others = place.own("if").count() > 1;
        let message = match (tries, others) {
            (true, _) => "\"try_files\" does not work where this \"if\" is true".to_owned(),
            (false, true) => format!(
                "where another \"if\" of this location is true as well, \"{}\" may not count",
                odd.name.lossy()
            ),
            (false, false) => format!(
                "\"{}\" in an \"if\" is the setting of a location of its own",
                odd.name.lossy()
            ),
        };
        let finding = Finding::new(&rules::IF_WITH_SETTINGS, odd.span, message)
            .request(place.get(&place.sample("")));
        lint.say(if tries || others {
            finding
        } else {
            finding.note()
        });
    }
}

/// Listed folders with hidden files.
fn listing<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let on = |d: &&Directive| {
        d.args
            .first()
            .is_some_and(|w| w.bytes.eq_ignore_ascii_case(b"on"))
    };
    let Some(directive) = place.own("autoindex").find(on) else {
        return;
    };
    let hidden = |l: &Location| {
        matches!(l.kind, Kind::Regex { .. }) && {
            let text = l.path.lossy();
            text.contains("/\\.") || text.contains("/[.]")
        }
    };
    let guarded =
        place.server.locations.iter().any(hidden) || place.inside.iter().any(|l| hidden(l));
    if !guarded {
        let message =
            "hidden files are left out of the listing, and served to who knows their names";
        lint.say(
            Finding::new(&rules::SERVED_DOTFILES, directive.span, message)
                .request(place.get(&place.sample(".git/config"))),
        );
    }
}

/// `merge_slashes off` in front of guarded locations.
fn slashes<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let off = |d: &&Directive| {
        d.args
            .first()
            .is_some_and(|w| w.bytes.eq_ignore_ascii_case(b"off"))
    };
    let Some(directive) = place.own("merge_slashes").find(off) else {
        return;
    };
    let guarded = place.inside.iter().find(|l| {
        let own = !l.settings.access.rules.is_empty()
            || l.settings.auth_basic.auth_basic.is_some()
            || l.settings.subrequests.auth_request.is_some();
        own && l.path.bytes.len() > 1
            && matches!(l.kind, Kind::Prefix | Kind::NoRegex | Kind::Exact)
    });
    if let Some(location) = guarded {
        let path = location.path.lossy();
        let message = format!("\"/{path}\" is not under \"{path}\": its rules are passed by");
        lint.say(
            Finding::new(&rules::DOUBLE_SLASHES, directive.span, message)
                .request(place.get(&format!("/{path}"))),
        );
    }
}

/// `client_max_body_size 0` where bodies are kept.
fn uploads<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let Some(directive) = place.own("client_max_body_size").last() else {
        return;
    };
    let kept = match place.pass() {
        Some(_) => place.here.proxy_pass.request_buffering,
        None => place.location.is_none(),
    };
    if place.here.core.client_max_body_size == 0 && kept {
        let message = "one upload may fill the disk";
        lint.say(
            Finding::new(&rules::UNLIMITED_BODY, directive.span, message)
                .request(place.get(&place.sample("")).replacen("GET", "POST", 1)),
        );
    }
}
