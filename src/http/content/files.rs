//! Static files: `root`, `alias`, `index`, `try_files`.
//!
//! Paths are made from the normalised URI. Whatever the configuration makes of it, a path that climbs
//! out of the root through `..` or holds a NUL is not served.
//! Differs from nginx: it serves such paths where an `alias` lacks its final slash or a variable brings `..`.

use std::io;
use std::os::unix::ffi::OsStrExt as _;

use super::super::exchange::{Body, Exchange};
use super::super::flow::{Flow, Reroute};
use super::super::local::Cx;
use super::super::log::{self, Errno, Text};
use super::super::{route, vars};
use super::{is_absent, precompressed, set_content_type};
use crate::base::escape::{self, Place};
use crate::net::file::{self, File, Stat};
use crate::plan::expr::{Expr, Part};
use crate::plan::location::{TryFiles, TryLast};
use crate::plan::model::LogLevel;
use crate::proto::head::Method;
use crate::proto::uri;

/// A file's path while it is being made.
struct Path {
    /// A pooled buffer.
    bytes: Vec<u8>,
    /// Where the part below the root begins.
    root: usize,
    /// A variable put a `..` into the root.
    climbs: bool,
}

impl Path {
    /// Whether opening it could leave the root.
    fn is_unsafe(&self) -> bool {
        // The segment that the root's text ends in may continue below it, so it counts too.
        let joint = memchr::memrchr(b'/', &self.bytes[..self.root]).map_or(0, |at| at + 1);
        let mut end = joint;
        for segment in self.bytes[joint..].split(|&b| b == b'/') {
            end += segment.len();
            if segment == b".." && end > self.root {
                return true;
            }
            end += 1;
        }
        self.climbs || memchr::memchr(0, &self.bytes).is_some()
    }

    /// Whether the part below continues the root's last name instead of lying in it: `/srv/www` and `-secret/x`.
    fn continues(&self) -> bool {
        let (root, below) = self.bytes.split_at(self.root);
        !matches!(below.first(), None | Some(b'/')) && root.last() != Some(&b'/')
    }

    /// Whether it must not be opened. A root that is no directory may be the beginning of file names.
    async fn leaves_root(&self) -> bool {
        self.is_unsafe()
            || self.continues()
                && matches!(file::stat(&self.bytes[..self.root]).await, Ok(root) if root.is_dir())
    }

    /// Replaces what stands below the root.
    fn below(&mut self, name: &[u8]) {
        self.bytes.truncate(self.root);
        self.bytes.extend_from_slice(name);
    }
}

/// Bytes of the URI that an `alias` stands for; none when it is the alias of a pattern, which is the whole name.
fn strip(ex: &Exchange, cx: Cx<'_>) -> Option<usize> {
    let root = &cx.location(ex.location).settings.core.root;
    if !root.alias {
        return Some(0);
    }
    root.replaces.filter(|&length| length != usize::MAX)
}

/// Appends `$request_filename`; false when the URI stands for no file.
pub fn filename(ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let Ok(path) = map(ex, cx) else {
        return false;
    };
    out.extend_from_slice(&path.bytes);
    cx.local.buffers.give(path.bytes);
    true
}

/// Appends `$document_root`; false when the URI stands for no file.
pub fn document_root(ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let Ok(path) = map(ex, cx) else {
        return false;
    };
    out.extend_from_slice(&path.bytes[..path.root]);
    cx.local.buffers.give(path.bytes);
    true
}

/// The path that the URI stands for; an answer when it stands for none.
fn map(ex: &mut Exchange, cx: Cx<'_>) -> Result<Path, Flow> {
    let location = cx.location(ex.location);
    let rule = &location.root;
    if rule.alias && ex.rewritten_in_place {
        let text = format_args!(
            "\"alias\" cannot be used in location \"{}\" where URI was rewritten",
            Text(&location.name)
        );
        log::error(ex, cx, LogLevel::Alert, text);
        return Err(Flow::Error(500));
    }
    let mut bytes = cx.local.buffers.take(256);
    let climbs = eval_root(&rule.path, ex, cx, &mut bytes);
    let root = bytes.len();
    match strip(ex, cx) {
        // The alias of a pattern names the file itself.
        None if rule.alias => {
            if ex.uri_is_below_alias {
                bytes.extend_from_slice(&ex.uri);
            }
        }
        strip => bytes.extend_from_slice(ex.uri.get(strip.unwrap_or(0)..).unwrap_or_default()),
    }
    Ok(Path {
        bytes,
        root,
        climbs,
    })
}

/// Appends the text of `root` or `alias`, absolute; true when a variable or capture in it climbs.
fn eval_root(expr: &Expr, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let mut climbs = false;
    for part in &expr.parts {
        let from = out.len();
        match part {
            Part::Lit(text) => {
                out.extend_from_slice(text);
                continue;
            }
            Part::Capture(number) => vars::capture_text(*number, ex, false, out),
            Part::Var(var) => {
                vars::value(*var, ex, cx, out);
            }
        }
        climbs |= out[from..]
            .split(|&b| b == b'/')
            .any(|segment| segment == b"..");
    }
    if out.first() != Some(&b'/') {
        let prefix = cx.plan.prefix.as_os_str().as_bytes();
        out.splice(0..0, prefix.iter().copied().chain([b'/']));
    }
    climbs
}

/// The file of the URI, a redirect of a directory without its slash, or its index.
pub async fn serve(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if ex.uri.last() == Some(&b'/') {
        return directory(ex, cx).await;
    }
    if !matches!(ex.method, Method::Get | Method::Head | Method::Post) {
        return Flow::Error(405);
    }
    let mut path = match map(ex, cx) {
        Ok(path) => path,
        Err(flow) => return flow,
    };
    if path.leaves_root().await {
        return refuse(ex, cx, path);
    }
    let filters = cx.location(ex.location).filters.as_deref();
    if let Some(coding) = filters.and_then(|filters| filters.coding.as_ref())
        && coding.files
        && let Some(flow) = precompressed::serve(coding, &mut path.bytes, ex, cx).await
    {
        cx.local.buffers.give(path.bytes);
        return flow;
    }
    let opened = open(&path.bytes).await;
    let flow = match opened {
        Err(fault) => open_failed(ex, cx, &path.bytes, &fault),
        Ok((_, stat)) if stat.is_dir() => directory_redirect(ex),
        Ok((_, stat)) if !stat.is_file() => {
            let text = format_args!("\"{}\" is not a regular file", Text(&path.bytes));
            log::error(ex, cx, LogLevel::Crit, text);
            Flow::Error(404)
        }
        Ok(_) if ex.method == Method::Post => Flow::Error(405),
        Ok((file, stat)) => found(ex, cx, file, &stat),
    };
    cx.local.buffers.give(path.bytes);
    flow
}

/// What the kernel would not do, in the words of the log.
pub(super) struct Fault {
    pub(super) call: &'static str,
    pub(super) error: io::Error,
}

/// Opens a file and asks what it is.
pub(super) async fn open(path: &[u8]) -> Result<(File, Stat), Fault> {
    let file = file::open(path).await.map_err(|error| Fault {
        call: "open()",
        error,
    })?;
    let stat = file.stat().map_err(|error| Fault {
        call: "fstat()",
        error,
    })?;
    Ok((file, stat))
}

/// The answer when a file cannot be opened.
fn open_failed(ex: &Exchange, cx: Cx<'_>, path: &[u8], fault: &Fault) -> Flow {
    let (level, status) = if is_absent(&fault.error) {
        (LogLevel::Error, 404)
    } else if fault.error.kind() == io::ErrorKind::PermissionDenied {
        (LogLevel::Error, 403)
    } else {
        (LogLevel::Crit, 500)
    };
    if status != 404 || cx.location(ex.location).settings.core.log_not_found {
        let (call, path) = (fault.call, Text(path));
        let text = format_args!("{call} \"{path}\" failed ({})", Errno(&fault.error));
        log::error(ex, cx, level, text);
    }
    Flow::Error(status)
}

/// A path that must not be opened does not exist.
fn refuse(ex: &Exchange, cx: Cx<'_>, path: Path) -> Flow {
    let text = format_args!("\"{}\" is outside of its root", Text(&path.bytes));
    log::error(ex, cx, LogLevel::Error, text);
    cx.local.buffers.give(path.bytes);
    Flow::Error(404)
}

/// The answer for an open regular file.
pub(super) fn found(ex: &mut Exchange, cx: Cx<'_>, file: File, stat: &Stat) -> Flow {
    let response = &mut ex.response;
    response.status = 200;
    response.reason.clear();
    response.content_length = Some(stat.len);
    response.last_modified = Some(stat.modified);
    response.etag.clear();
    if cx.location(ex.location).settings.core.etag {
        use std::io::Write as _;
        // Writing to a Vec cannot fail.
        let _ = write!(response.etag, "\"{:x}-{:x}\"", stat.modified, stat.len);
    }
    response.body = Body::File {
        file,
        offset: 0,
        length: stat.len,
    };
    response.allow_ranges = true;
    set_content_type(ex, cx);
    ex.discard_body = true;
    Flow::Answer
}

/// 301 to the directory's own URI.
fn directory_redirect(ex: &mut Exchange) -> Flow {
    let target = &mut ex.response.location;
    target.clear();
    escape::uri(target, &ex.uri, Place::Uri);
    target.push(b'/');
    if !ex.args.is_empty() {
        target.push(b'?');
        target.extend_from_slice(&ex.args);
    }
    ex.response.location_is_path = true;
    Flow::Error(301)
}

/// `index`: an internal redirect to the first file that exists.
async fn directory(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if !matches!(ex.method, Method::Get | Method::Head | Method::Post) {
        return Flow::Error(405);
    }
    let location = cx.location(ex.location);
    let mut path = match map(ex, cx) {
        Ok(path) => path,
        Err(flow) => return flow,
    };
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
        match file::stat(&path.bytes).await {
            Ok(_) => {
                ex.uri.extend_from_slice(&name);
                answer = Some(Flow::Reroute(Reroute::Redirect));
                break;
            }
            Err(error) => {
                answer = index_missing(
                    &mut directory_tested,
                    &path.bytes,
                    directory_end,
                    &error,
                    ex,
                    cx,
                )
                .await;
                if answer.is_some() {
                    break;
                }
            }
        }
    }
    let flow = answer.unwrap_or_else(|| {
        let shown = Text(&path.bytes[..directory_end]);
        let text = format_args!("directory index of \"{shown}\" is forbidden");
        log::error(ex, cx, LogLevel::Error, text);
        Flow::Error(403)
    });
    cx.local.buffers.give(path.bytes);
    cx.local.buffers.give(name);
    flow
}

/// What follows when an index file cannot be had: the next one (no answer), or the end.
async fn index_missing(
    directory_tested: &mut bool,
    path: &[u8],
    directory_end: usize,
    error: &io::Error,
    ex: &Exchange,
    cx: Cx<'_>,
) -> Option<Flow> {
    let shown = Text(path);
    if error.kind() == io::ErrorKind::PermissionDenied {
        let text = format_args!("\"{shown}\" is forbidden ({})", Errno(error));
        log::error(ex, cx, LogLevel::Error, text);
        return Some(Flow::Error(403));
    }
    if is_absent(error) && error.kind() != io::ErrorKind::NotFound {
        return Some(index_not_found(path, error, ex, cx));
    }
    if !*directory_tested {
        *directory_tested = true;
        let directory = path[..directory_end].trim_suffix_slash();
        match file::stat(directory).await {
            Ok(stat) if stat.is_dir() => {}
            Ok(_) => {
                let text = format_args!("\"{}\" is not a directory", Text(directory));
                log::error(ex, cx, LogLevel::Alert, text);
                return Some(Flow::Error(500));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) if is_absent(&error) => return Some(index_not_found(path, &error, ex, cx)),
            Err(error) => return Some(stat_failed(directory, &error, ex, cx)),
        }
    }
    if error.kind() == io::ErrorKind::NotFound {
        return None;
    }
    Some(stat_failed(path, error, ex, cx))
}

/// 404 for a directory, or an index file of it, that is not there.
fn index_not_found(path: &[u8], error: &io::Error, ex: &Exchange, cx: Cx<'_>) -> Flow {
    if cx.location(ex.location).settings.core.log_not_found {
        let text = format_args!("\"{}\" is not found ({})", Text(path), Errno(error));
        log::error(ex, cx, LogLevel::Error, text);
    }
    Flow::Error(404)
}

/// 500 when the machine fails.
fn stat_failed(path: &[u8], error: &io::Error, ex: &Exchange, cx: Cx<'_>) -> Flow {
    let text = format_args!("stat() \"{}\" failed ({})", Text(path), Errno(error));
    log::error(ex, cx, LogLevel::Crit, text);
    Flow::Error(500)
}

/// Directory names without their final slash.
trait TrimSlash {
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
        match file::stat(&path.bytes).await {
            Ok(stat) if stat.is_dir() == test.directory => {
                take_found(&name, test.directory, ex, cx);
                hit = true;
                break;
            }
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                stat_failed(&path.bytes, &error, ex, cx);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_their_root() {
        for (root, below, want) in [
            ("/srv/www", "/a/b", false),
            ("/srv/www", "/a..b/..c/d..", false),
            ("/srv/www", "/../x", true),
            ("/srv/www", "/a/..", true),
            ("/srv/www/", "../x", true),
            ("/srv/www/", "..", true),
            ("/srv/www/", "..x", false),
            // A root without its final slash continues in the same segment.
            ("/srv/www", "../x", false),
            ("/srv/.", "./x", true),
            // What the configuration itself says is its own business.
            ("/srv/..", "/x", false),
            ("/srv/../www", "/x", false),
            ("/srv/www", "/a\0b", true),
        ] {
            let path = Path {
                bytes: [root.as_bytes(), below.as_bytes()].concat(),
                root: root.len(),
                climbs: false,
            };
            assert_eq!(path.is_unsafe(), want, "{root} {below}");
        }
    }
}
