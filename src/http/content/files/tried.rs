//! `try_files`.

use super::super::super::exchange::Exchange;
use super::super::super::flow::{Flow, Reroute};
use super::super::super::local::Cx;
use super::super::super::{route, vars};
use super::super::is_absent;
use super::{map, opening, stat_failed, strip};
use crate::plan::expr::Expr;
use crate::plan::location::{TryFiles, TryLast};
use crate::proto::uri;

/// `try_files`: sets `$uri` to the first that exists, or goes to the last argument.
pub async fn try_files(rule: &TryFiles, ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let mut path = match map(ex, cx) {
        Ok(path) => path,
        Err(flow) => return flow,
    };
    let mut name = cx.local.buffers.take(64);
    let mut hit = false;
    for test in &rule.tests {
        name.clear();
        try_name(&test.path, ex, cx, &mut name);
        path.below(&name);
        if path.leaves_root().await {
            continue;
        }
        match opening::stat(&path.bytes, ex, cx).await {
            Ok(stat) if stat.is_dir() == test.directory => {
                take_found(&name, test.directory, ex, cx);
                hit = true;
                break;
            }
            Ok(_) => {}
            Err(fault) if is_absent(&fault.error) => {}
            Err(fault) => {
                stat_failed(&path.bytes, &fault, ex, cx);
            }
        }
    }
    let flow = if hit {
        Flow::Next
    } else {
        try_last(&rule.last, &mut name, ex, cx)
    };
    cx.local.buffers.give(path.bytes);
    cx.local.buffers.give(name);
    flow
}

/// One name of `try_files`, below the root: an `alias` has eaten the location's text already.
fn try_name(expr: &Expr, ex: &mut Exchange, cx: Cx<'_>, name: &mut Vec<u8>) {
    vars::eval(expr, ex, cx, name);
    if let Some(strip) = strip(ex, cx)
        && cx.location(ex.location).root.alias
        && expr.as_literal().is_none()
        && name.len() >= strip
        && ex.uri.len() >= strip
        && name[..strip] == ex.uri[..strip]
    {
        name.drain(..strip);
    }
}

/// Makes a file that exists the URI.
fn take_found(name: &[u8], directory: bool, ex: &mut Exchange, cx: Cx<'_>) {
    let rule = &cx.location(ex.location).root;
    match strip(ex, cx) {
        _ if !rule.alias => ex.uri.clear(),
        Some(strip) => ex.uri.truncate(strip),
        None if directory => return,
        None => {
            ex.uri.clear();
            ex.uri_is_below_alias = true;
        }
    }
    ex.uri.extend_from_slice(name);
}

/// The last argument of `try_files`.
fn try_last(last: &TryLast, name: &mut Vec<u8>, ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    match last {
        TryLast::Status(code) => Flow::Error(*code),
        TryLast::Named(at) => route::named(ex, cx, at),
        TryLast::Uri(expr) => {
            name.clear();
            vars::eval(expr, ex, cx, name);
            if name.first() == Some(&b'@') {
                return route::named(ex, cx, name);
            }
            let (path, args) = uri::split_args(name);
            ex.uri.clear();
            ex.uri.extend_from_slice(path);
            ex.args.clear();
            ex.args.extend_from_slice(args.unwrap_or_default());
            Flow::Reroute(Reroute::Redirect)
        }
    }
}
