//! The process as a whole: files, users, logs, and words of the text that have become old. Start at [`whole`].

use super::edit::{drop_word, set_word};
use super::{Finding, Lint, named, rules};
use crate::config::model::*;
use crate::config::tree::Directive;

pub(super) fn whole(lint: &mut Lint<'_>) {
    files(lint);
    user(lint);
    let mut left: Vec<&Directive> = lint.tree.directives.iter().collect();
    while let Some(directive) = left.pop() {
        match &directive.name.bytes[..] {
            b"error_log" => error_log(lint, directive),
            b"proxy_http_version" => version(lint, directive),
            b"ssl_protocols" | b"proxy_ssl_protocols" | b"grpc_ssl_protocols" => {
                protocols(lint, directive);
            }
            _ => {}
        }
        left.extend(directive.block.iter().flatten());
    }
    access_log(lint);
}

/// Each connection is a file, and so is that to its backend.
fn files(lint: &mut Lint<'_>) {
    let main = &lint.model.main;
    let Some(limit) = main.worker_rlimit_nofile else {
        return;
    };
    let proxies = lint.http.iter().flat_map(|h| &h.servers).any(|s| {
        let all = super::every(s);
        all.iter().any(|l| matches!(l.content, Content::Proxy(_)))
    });
    // Differs from nginx: all workers are threads of one process, which the limit is for.
    let workers = u64::from(main.worker_processes.unwrap_or(1).max(1));
    let needed = u64::from(main.worker_connections) * workers * if proxies { 2 } else { 1 };
    let Some(directive) = named(&lint.tree.directives, "worker_rlimit_nofile").next() else {
        return;
    };
    if limit < needed {
        let message = format!("{limit} files are less than the {needed} that all connections need");
        lint.say(
            Finding::new(&rules::FEW_FILES, directive.span, message)
                .request(format!("connection {limit} and all that follow"))
                .advice(format!("worker_rlimit_nofile {};", needed + 1024)),
        );
    }
}

fn user(lint: &mut Lint<'_>) {
    for directive in named(&lint.tree.directives, "user") {
        if directive.args.first().is_some_and(|w| *w.bytes == *b"root") {
            let message = "the worker keeps all rights of the machine";
            lint.say(Finding::new(&rules::ROOT_WORKER, directive.span, message));
        }
    }
}

fn error_log(lint: &mut Lint<'_>, directive: &Directive) {
    let [target, rest @ ..] = &directive.args[..] else {
        return;
    };
    if *target.bytes == *b"off" {
        let message = "errors are written to a file with the name \"off\"";
        lint.say(Finding::new(&rules::ERROR_LOG_OFF, directive.span, message));
    } else if rest.iter().any(|w| *w.bytes == *b"debug") {
        let message = "everything about every request is written down";
        lint.say(Finding::new(&rules::DEBUG_LOG, directive.span, message));
    }
}

fn version(lint: &mut Lint<'_>, directive: &Directive) {
    if directive.args.first().is_some_and(|w| *w.bytes == *b"2.0") {
        let message = "nginx writes it as \"2\" and knows no \"2.0\"";
        lint.say(
            Finding::new(&rules::HTTP_VERSION_2_0, directive.span, message)
                .fix(set_word(lint.tree, directive, 0, b"2")),
        );
    }
}

fn protocols(lint: &mut Lint<'_>, directive: &Directive) {
    let old = |bytes: &[u8]| [&b"SSLv2"[..], b"SSLv3", b"TLSv1", b"TLSv1.1"].contains(&bytes);
    let shown: Vec<String> = directive
        .args
        .iter()
        .filter(|w| old(&w.bytes))
        .map(|w| w.lossy())
        .collect();
    if shown.is_empty() {
        return;
    }
    let good = shown.len() < directive.args.len();
    // One word at a time: what is left is found again.
    let first = directive.args.iter().position(|w| old(&w.bytes));
    let edit = first
        .filter(|_| good)
        .and_then(|at| drop_word(lint.tree, directive, at));
    let message = format!("{} cannot be offered any more", shown.join(" and "));
    lint.say(Finding::new(&rules::OLD_TLS_VERSIONS, directive.span, message).fix(edit));
}

/// `access_log off` in `http` with nothing further in that logs.
fn access_log(lint: &mut Lint<'_>) {
    let Some(http) = lint.http.filter(|h| !h.servers.is_empty()) else {
        return;
    };
    let silent = |s: &Settings| s.log.access_log.as_ref().is_none_or(|l| l.is_empty());
    let all = http
        .servers
        .iter()
        .all(|s| silent(&s.settings) && super::every(s).iter().all(|l| silent(&l.settings)));
    let inside = lint.top.and_then(|t| t.block.as_deref());
    let off = named(inside.unwrap_or_default(), "access_log").next();
    if let Some(directive) = off.filter(|_| all) {
        let message = "no request is logged anywhere";
        lint.say(Finding::new(&rules::NO_ACCESS_LOG, directive.span, message));
    }
}
