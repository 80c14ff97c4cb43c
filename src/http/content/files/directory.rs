//! What a directory stands for: `random_index`, `index`, or its listing.

use std::io;

use super::super::super::exchange::Exchange;
use super::super::super::flow::{Flow, Reroute};
use super::super::super::local::Cx;
use super::super::super::log::{self, Errno, Text};
use super::super::super::vars;
use super::super::is_absent;
use super::opening::{self, Fault};
use super::{Path, listing, map, stat_failed};
use crate::plan::model::LogLevel;
use crate::proto::head::Method;

/// Most names of a directory that one of is chosen of.
const RANDOM_MAX: usize = 1 << 18;

/// The answer for a URI that ends with a slash.
pub(super) async fn serve(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if !matches!(ex.method, Method::Get | Method::Head | Method::Post) {
        return Flow::Error(405);
    }
    let mut path = match map(ex, cx) {
        Ok(path) => path,
        Err(flow) => return flow,
    };
    let directory_end = path.bytes.len();
    let files = &cx.location(ex.location).settings.files;
    let mut answer = None;
    if files.random_index {
        answer = random(&path, ex, cx).await;
    }
    if answer.is_none() {
        answer = index(&mut path, ex, cx).await;
        path.bytes.truncate(directory_end);
    }
    if answer.is_none() && files.autoindex && ex.method != Method::Post {
        answer = Some(listing::serve(&path, ex, cx).await);
    }
    let flow = answer.unwrap_or_else(|| {
        let shown = Text(&path.bytes);
        let text = format_args!("directory index of \"{shown}\" is forbidden");
        log::error(ex, cx, LogLevel::Error, text);
        Flow::Error(403)
    });
    cx.local.buffers.give(path.bytes);
    flow
}

/// `random_index`: an internal redirect to one of the files; none when there is none.
async fn random(path: &Path, ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    let mut names = match listing::read(path, RANDOM_MAX, ex, cx).await {
        Ok(listing) => listing.entries,
        Err(flow) => return Some(flow),
    };
    names.retain(|entry| entry.stat.is_file());
    if names.is_empty() {
        return None;
    }
    // Fewer than 2^18, so that what is left over of the word cannot be noticed.
    let chosen = cx.local.random() % names.len() as u64;
    ex.uri.extend_from_slice(&names[chosen as usize].name);
    Some(Flow::Reroute(Reroute::Redirect))
}

/// `index`: an internal redirect to the first file that exists.
async fn index(path: &mut Path, ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    let location = cx.location(ex.location);
    let directory_end = path.bytes.len();
    let mut name = cx.local.buffers.take(64);
    let mut directory_tested = false;
    let mut answer = None;
    for entry in &location.index {
        name.clear();
        vars::eval(entry, ex, cx, &mut name);
        if name.first() == Some(&b'/') {
            ex.uri.clear();
            ex.uri.extend_from_slice(&name);
            answer = Some(Flow::Reroute(Reroute::Redirect));
            break;
        }
        path.bytes.truncate(directory_end);
        path.bytes.extend_from_slice(&name);
        if path.leaves_root().await {
            continue;
        }
        match opening::stat(&path.bytes, ex, cx).await {
            Ok(_) => {
                ex.uri.extend_from_slice(&name);
                answer = Some(Flow::Reroute(Reroute::Redirect));
                break;
            }
            Err(fault) => {
                let known = std::mem::replace(&mut directory_tested, true);
                answer = missing(known, &path.bytes, directory_end, &fault, ex, cx).await;
                if answer.is_some() {
                    break;
                }
            }
        }
    }
    cx.local.buffers.give(name);
    answer
}

/// What follows when an index file cannot be had: the next one (no answer), or the end.
async fn missing(
    directory_is_known: bool,
    path: &[u8],
    directory_end: usize,
    fault: &Fault,
    ex: &mut Exchange,
    cx: Cx<'_>,
) -> Option<Flow> {
    let error = &fault.error;
    if opening::is_link_fault(error) {
        return Some(Flow::Error(403));
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        let text = format_args!("\"{}\" is forbidden ({})", Text(path), Errno(error));
        log::error(ex, cx, LogLevel::Error, text);
        return Some(Flow::Error(403));
    }
    if is_absent(error) && error.kind() != io::ErrorKind::NotFound {
        return Some(not_found(path, error, ex, cx));
    }
    if !directory_is_known {
        let directory = path[..directory_end].trim_suffix_slash();
        match opening::stat(directory, ex, cx).await {
            Ok(stat) if stat.is_dir() => {}
            Ok(_) => {
                let text = format_args!("\"{}\" is not a directory", Text(directory));
                log::error(ex, cx, LogLevel::Alert, text);
                return Some(Flow::Error(500));
            }
            Err(fault) if fault.error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(fault) if opening::is_link_fault(&fault.error) => return Some(Flow::Error(403)),
            Err(fault) if is_absent(&fault.error) => {
                return Some(not_found(path, &fault.error, ex, cx));
            }
            Err(fault) => return Some(stat_failed(directory, &fault, ex, cx)),
        }
    }
    if error.kind() == io::ErrorKind::NotFound {
        return None;
    }
    Some(stat_failed(path, fault, ex, cx))
}

/// 404 for a directory, or an index file of it, that is not there.
fn not_found(path: &[u8], error: &io::Error, ex: &Exchange, cx: Cx<'_>) -> Flow {
    if cx.location(ex.location).settings.core.log_not_found {
        let text = format_args!("\"{}\" is not found ({})", Text(path), Errno(error));
        log::error(ex, cx, LogLevel::Error, text);
    }
    Flow::Error(404)
}

/// Directory names without their final slash.
pub(super) trait TrimSlash {
    /// Without one final slash, unless that is all.
    fn trim_suffix_slash(&self) -> &[u8];
}

impl TrimSlash for [u8] {
    fn trim_suffix_slash(&self) -> &[u8] {
        match self {
            [rest @ .., b'/'] if !rest.is_empty() => rest,
            all => all,
        }
    }
}
