//! Static files: from a URI to a path, and from a path to an answer. Directories, `try_files` and how files are opened
//! have modules of their own. Start at [`serve`].
//!
//! Paths are made from the normalised URI. Whatever the configuration makes of it, a path that climbs
//! out of the root through `..` or holds a NUL is not served.
//! Differs from nginx: it serves such paths where an `alias` lacks its final slash or a variable brings `..`.

mod directory;
pub mod kept;
mod listing;
pub mod opening;
pub mod small;
mod tried;

pub use tried::try_files;

use std::io;
use std::os::unix::ffi::OsStrExt as _;

use super::super::exchange::{Body, Exchange};
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::log::{self, Errno, Text};
use super::super::vars;
use super::{is_absent, precompressed, set_content_type};
use crate::base::escape::{self, Place};
use crate::net::file::{self, Stat};
use crate::plan::expr::{Expr, Part};
use crate::plan::model::LogLevel;
use crate::proto::head::Method;
use opening::{Fault, Held};

/// A file's path while it is being made.
struct Path {
    /// A pooled buffer.
    bytes: Vec<u8>,
    /// Where the part below the root begins.
    root: usize,
    /// What the variables of the root did.
    joints: Joints,
}

/// Where the root's variables may have taken it.
#[derive(Clone, Copy, Default)]
struct Joints {
    /// A variable put a `..` into the root.
    climbs: bool,
    /// Where a capture, which is the client's text, first continues a name of the configuration; 0 when nowhere.
    loose: usize,
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
        self.joints.climbs || memchr::memchr(0, &self.bytes).is_some()
    }

    /// Whether the part below continues the root's last name instead of lying in it: `/srv/www` and `-secret/x`.
    fn continues(&self) -> bool {
        let (root, below) = self.bytes.split_at(self.root);
        !matches!(below.first(), None | Some(b'/')) && root.last() != Some(&b'/')
    }

    /// Whether it must not be opened. A root that is no directory may be the beginning of file names.
    async fn leaves_root(&self) -> bool {
        self.is_unsafe()
            || self.continues() && is_folder(&self.bytes[..self.root]).await
            || self.joints.loose > 0 && is_folder(&self.bytes[..self.joints.loose]).await
    }

    /// Replaces what stands below the root.
    fn below(&mut self, name: &[u8]) {
        self.bytes.truncate(self.root);
        self.bytes.extend_from_slice(name);
    }
}

async fn is_folder(path: &[u8]) -> bool {
    matches!(file::stat(path).await, Ok(stat) if stat.is_dir())
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
    let joints = eval_root(&rule.path, ex, cx, &mut bytes);
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
        joints,
    })
}

/// Appends the text of `root` or `alias`, absolute.
fn eval_root(expr: &Expr, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> Joints {
    let mut joints = Joints::default();
    for part in &expr.parts {
        let from = out.len();
        match part {
            Part::Lit(text) => {
                out.extend_from_slice(text);
                continue;
            }
            Part::Capture(number) => {
                vars::capture_text(*number, ex, false, out);
                let goes_on = from > 0 && out[from - 1] != b'/';
                if goes_on && !matches!(out.get(from), None | Some(b'/')) && joints.loose == 0 {
                    joints.loose = from;
                }
            }
            Part::Var(var) => {
                vars::value(*var, ex, cx, out);
            }
        }
        joints.climbs |= out[from..]
            .split(|&b| b == b'/')
            .any(|segment| segment == b"..");
    }
    if out.first() != Some(&b'/') {
        let prefix = cx.plan.prefix.as_os_str().as_bytes();
        out.splice(0..0, prefix.iter().copied().chain([b'/']));
        if joints.loose > 0 {
            joints.loose += prefix.len() + 1;
        }
    }
    joints
}

/// The file of the URI, a redirect of a directory without its slash, or its index.
pub async fn serve(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if ex.uri.last() == Some(&b'/') {
        return directory::serve(ex, cx).await;
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
    let plainly = cx.location(ex.location).opening.is_none();
    if plainly
        && ex.method != Method::Post
        && let Some((bytes, stat)) = cx.generation.small_files.look(&path.bytes, cx)
    {
        cx.local.buffers.give(path.bytes);
        return answer(ex, cx, Body::Buffer(bytes), &stat);
    }
    let opened = opening::open(&path.bytes, ex, cx).await;
    if plainly
        && let Ok((Some(file), stat)) = &opened
        && stat.is_file()
    {
        cx.generation.small_files.note(&path.bytes, file, stat, cx);
    }
    let flow = match opened {
        Err(fault) => open_failed(ex, cx, &path.bytes, &fault),
        Ok((_, stat)) if stat.is_dir() => directory_redirect(ex),
        Ok((Some(_), stat)) if stat.is_file() && ex.method == Method::Post => Flow::Error(405),
        Ok((Some(file), stat)) if stat.is_file() => found(ex, cx, file, &stat),
        Ok(_) => {
            let text = format_args!("\"{}\" is not a regular file", Text(&path.bytes));
            log::error(ex, cx, LogLevel::Crit, text);
            Flow::Error(404)
        }
    };
    cx.local.buffers.give(path.bytes);
    flow
}

/// The answer when a file cannot be opened.
fn open_failed(ex: &Exchange, cx: Cx<'_>, path: &[u8], fault: &Fault) -> Flow {
    let (level, status) = if is_absent(&fault.error) {
        (LogLevel::Error, 404)
    } else if fault.error.kind() == io::ErrorKind::PermissionDenied
        || opening::is_link_fault(&fault.error)
    {
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

/// 500 when the machine fails.
fn stat_failed(path: &[u8], fault: &Fault, ex: &Exchange, cx: Cx<'_>) -> Flow {
    let (call, shown) = (fault.call, Text(path));
    let text = format_args!("{call} \"{shown}\" failed ({})", Errno(&fault.error));
    log::error(ex, cx, LogLevel::Crit, text);
    Flow::Error(500)
}

/// A path that must not be opened does not exist.
fn refuse(ex: &Exchange, cx: Cx<'_>, path: Path) -> Flow {
    let flow = refuse_open(ex, cx, &path.bytes);
    cx.local.buffers.give(path.bytes);
    flow
}

fn refuse_open(ex: &Exchange, cx: Cx<'_>, path: &[u8]) -> Flow {
    let text = format_args!("\"{}\" is outside of its root", Text(path));
    log::error(ex, cx, LogLevel::Error, text);
    Flow::Error(404)
}

/// The answer for an open regular file.
pub(super) fn found(ex: &mut Exchange, cx: Cx<'_>, file: Held, stat: &Stat) -> Flow {
    let body = Body::File {
        file,
        offset: 0,
        length: stat.len,
    };
    answer(ex, cx, body, stat)
}

/// The answer whose body is a regular file.
fn answer(ex: &mut Exchange, cx: Cx<'_>, body: Body, stat: &Stat) -> Flow {
    let response = &mut ex.response;
    response.status = 200;
    response.reason.clear();
    response.content_length = Some(stat.len);
    response.last_modified = Some(stat.modified);
    response.etag.clear();
    if cx.location(ex.location).settings.core.etag {
        let tag = &mut response.etag;
        tag.push(b'"');
        // A time before 1970 is shown as nginx shows it: as its two's complement.
        escape::hex(tag, stat.modified as u64);
        tag.push(b'-');
        escape::hex(tag, stat.len);
        tag.push(b'"');
    }
    response.body = body;
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
                joints: Joints::default(),
            };
            assert_eq!(path.is_unsafe(), want, "{root} {below}");
        }
    }
}
