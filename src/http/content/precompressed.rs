//! `gzip_static`, `brotli_static`, `zstd_static`: a file's compressed neighbour is served in its place.
//!
//! The neighbour has its own length, date and tag, and ranges count its bytes; its type is the file's. Of several the
//! client's weights choose. Knows no path but the one it is given: whether that may be opened was decided before.

use std::io;

use super::super::exchange::Exchange;
use super::super::filter::compress::accept::{self, Name};
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::log::{self, Errno, Text};
use super::files::opening::{self, Fault};
use super::{files, is_absent};
use crate::plan::filters::Coding;
use crate::plan::model::{LogLevel, StaticMode};
use crate::proto::head::Method;
use crate::proto::tokens::Token;

/// The answer if there is a neighbour for this client; none when the file itself is to be served. `path` comes back
/// as it was.
pub async fn serve(
    plan: &Coding,
    path: &mut Vec<u8>,
    ex: &mut Exchange,
    cx: Cx<'_>,
) -> Option<Flow> {
    if !matches!(ex.method, Method::Get | Method::Head) {
        return None;
    }
    let length = path.len();
    for (coding, mode, weight) in ranked(plan, ex, cx) {
        let taken = weight > 0 || mode == StaticMode::Always;
        let vary = cx.location(ex.location).settings.gzip.gzip_vary;
        if mode == StaticMode::Off || !taken && !vary {
            continue;
        }
        path.extend_from_slice(suffix(coding));
        let flow = if taken {
            neighbour(coding, mode, path, ex, cx).await
        } else {
            // Not for this client, but what it gets depends on what it has said.
            ex.response.vary_encoding |= opening::stat(path, ex, cx).await.is_ok();
            None
        };
        path.truncate(length);
        if flow.is_some() {
            return flow;
        }
    }
    None
}

/// The neighbours with the location's mode and the client's weight, the one that it likes best first.
fn ranked(plan: &Coding, ex: &mut Exchange, cx: Cx<'_>) -> [(Name, StaticMode, u16); 3] {
    let settings = &cx.location(ex.location).settings;
    let mut list = Name::ALL.map(|coding| {
        let mode = match coding {
            Name::Zstd => settings.zstd.zstd_static,
            Name::Brotli => settings.brotli.brotli_static,
            Name::Gzip => settings.gzip.gzip_static,
        };
        let weight = match mode {
            StaticMode::Off => 0,
            _ => accept::weight_of(coding, plan, ex, cx),
        };
        (coding, mode, weight)
    });
    list.sort_by_key(|&(_, _, weight)| std::cmp::Reverse(weight));
    list
}

const fn suffix(coding: Name) -> &'static [u8] {
    match coding {
        Name::Zstd => b".zst",
        Name::Brotli => b".br",
        Name::Gzip => b".gz",
    }
}

/// The answer from one neighbour; none when it cannot be had.
async fn neighbour(
    coding: Name,
    mode: StaticMode,
    path: &[u8],
    ex: &mut Exchange,
    cx: Cx<'_>,
) -> Option<Flow> {
    let (file, stat) = match opening::open(path, ex, cx).await {
        Ok(opened) => opened,
        Err(fault) => {
            failed(path, &fault, ex, cx);
            return None;
        }
    };
    ex.response.vary_encoding |= mode == StaticMode::On;
    if stat.is_dir() {
        return None;
    }
    let Some(file) = file.filter(|_| stat.is_file()) else {
        let text = format_args!("\"{}\" is not a regular file", Text(path));
        log::error(ex, cx, LogLevel::Crit, text);
        return Some(Flow::Error(404));
    };
    let flow = files::found(ex, cx, file, &stat);
    ex.response
        .fields
        .set(Token::CONTENT_ENCODING, coding.bytes());
    Some(flow)
}

/// A neighbour that is there and cannot be opened is worth a word.
fn failed(path: &[u8], fault: &Fault, ex: &Exchange, cx: Cx<'_>) {
    if is_absent(&fault.error) {
        return;
    }
    let level = match fault.error.kind() {
        io::ErrorKind::PermissionDenied => LogLevel::Error,
        _ if opening::is_link_fault(&fault.error) => LogLevel::Error,
        _ => LogLevel::Crit,
    };
    let text = format_args!(
        "{} \"{}\" failed ({})",
        fault.call,
        Text(path),
        Errno(&fault.error)
    );
    log::error(ex, cx, level, text);
}
