//! `autoindex`: what is in a directory, as HTML, JSON, JSONP or XML, byte for byte as nginx writes it.
//!
//! Start at [`serve`].

use std::io::Write as _;

use super::super::super::exchange::{Body, Exchange};
use super::super::super::filter::charset;
use super::super::super::flow::Flow;
use super::super::super::local::Cx;
use super::super::super::log::{self, Errno, Text};
use super::super::is_absent;
use super::directory::TrimSlash as _;
use super::{Path, refuse_open};
use crate::base::escape::{self, Place};
use crate::base::time::{self, Civil};
use crate::net::folder::{self, Entry, Listing, Unread};
use crate::net::offload;
use crate::plan::model::{ListingFormat, LogLevel};
use crate::proto::head::Method;
use crate::proto::uri;

/// Most names of a listing.
/// Differs from nginx: it lists directories of any size.
const NAMES_MAX: usize = 1 << 18;

/// Characters of a name that an HTML listing shows.
const SHOWN_MAX: usize = 50;

/// Longest name of a function.
const CALLBACK_MAX: usize = 128;

/// Answers with the names in a directory.
pub(super) async fn serve(path: &Path, ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let settings = &cx.location(ex.location).settings.files;
    ex.discard_body = true;
    let format = settings.autoindex_format;
    let callback = match format {
        ListingFormat::Jsonp => match callback(ex, cx) {
            Ok(name) => name,
            Err(flow) => return flow,
        },
        _ => None,
    };
    // Nobody will read the names of a head's body.
    let max = if ex.method == Method::Head {
        0
    } else {
        NAMES_MAX
    };
    let mut entries = match read(path, max, ex, cx).await {
        Ok(listing) => listing.entries,
        Err(flow) => return flow,
    };
    entries.sort_unstable_by(|a, b| {
        let order = b.stat.is_dir().cmp(&a.stat.is_dir());
        order.then_with(|| a.name.cmp(&b.name))
    });
    let kind: &[u8] = match (format, &callback) {
        (ListingFormat::Html, _) => b"text/html",
        (ListingFormat::Xml, _) => b"text/xml; charset=utf-8",
        (ListingFormat::Jsonp, Some(_)) => b"application/javascript",
        (ListingFormat::Json | ListingFormat::Jsonp, _) => b"application/json",
    };
    let response = &mut ex.response;
    response.status = 200;
    response.reason.clear();
    response.content_type.clear();
    response.content_type.extend_from_slice(kind);
    let mut out = cx.local.buffers.take(entries.len() * 128 + 512);
    match (format, callback) {
        (ListingFormat::Html, _) => html(&entries, ex, cx, &mut out),
        (ListingFormat::Xml, _) => xml(&entries, &mut out),
        (ListingFormat::Jsonp, Some(name)) => {
            out.extend_from_slice(b"/* callback */\r\n");
            out.extend_from_slice(&name);
            out.push(b'(');
            json(&entries, &mut out);
            out.extend_from_slice(b");");
        }
        (ListingFormat::Json | ListingFormat::Jsonp, _) => json(&entries, &mut out),
    }
    ex.response.body = Body::Buffer(out);
    Flow::Answer
}

/// Reads a directory off this thread; the answer when it cannot be read.
pub(super) async fn read(
    path: &Path,
    max: usize,
    ex: &Exchange,
    cx: Cx<'_>,
) -> Result<Listing, Flow> {
    if path.leaves_root().await {
        return Err(refuse_open(ex, cx, &path.bytes));
    }
    let folder = path.bytes.trim_suffix_slash();
    let name = folder.to_vec();
    let shown = Text(folder);
    let unread = match offload::run(move || folder::list(&name, max)).await {
        Ok(Ok(listing)) => {
            for name in &listing.forbidden {
                let text = format_args!(
                    "stat() \"{shown}/{}\" failed (13: Permission denied)",
                    Text(name)
                );
                log::error(ex, cx, LogLevel::Crit, text);
            }
            return Ok(listing);
        }
        Ok(Err(unread)) => unread,
        Err(error) => Unread::Read(error),
    };
    let status = match &unread {
        Unread::Open(error) => {
            let (level, status) = if is_absent(error) {
                (LogLevel::Error, 404)
            } else if error.kind() == std::io::ErrorKind::PermissionDenied {
                (LogLevel::Error, 403)
            } else {
                (LogLevel::Crit, 500)
            };
            let text = format_args!("opendir() \"{shown}\" failed ({})", Errno(error));
            log::error(ex, cx, level, text);
            status
        }
        Unread::Read(error) => {
            let text = format_args!("readdir() \"{shown}\" failed ({})", Errno(error));
            log::error(ex, cx, LogLevel::Crit, text);
            500
        }
        Unread::Entry(name, error) => {
            let name = Text(name);
            let text = format_args!("stat() \"{shown}/{name}\" failed ({})", Errno(error));
            log::error(ex, cx, LogLevel::Crit, text);
            500
        }
        Unread::TooMany => {
            let text = format_args!("\"{shown}\" has more than {max} names, which are not listed");
            log::error(ex, cx, LogLevel::Error, text);
            500
        }
    };
    Err(Flow::Error(status))
}

/// The function that the request names, if any; 400 when that is no name.
fn callback(ex: &Exchange, cx: Cx<'_>) -> Result<Option<Vec<u8>>, Flow> {
    let Some(name) = uri::arg(&ex.args, b"callback").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
    let what = if name.len() > CALLBACK_MAX {
        "too long"
    } else if !name.iter().all(is_name) {
        "invalid"
    } else {
        return Ok(Some(name.to_vec()));
    };
    let text = format_args!("client sent {what} callback name: \"{}\"", Text(name));
    log::error(ex, cx, LogLevel::Info, text);
    Err(Flow::Error(400))
}

fn html(entries: &[Entry], ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    let location = cx.location(ex.location);
    let files = &location.settings.files;
    let look = Look {
        utf8: charset::is_utf8(ex, cx),
        exact: files.autoindex_exact_size,
        offset: if files.autoindex_localtime {
            cx.local.clock.offset(cx.local.clock.unix())
        } else {
            0
        },
    };
    out.extend_from_slice(b"<html>\r\n<head><title>Index of ");
    escape::html(out, &ex.uri);
    out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
    escape::html(out, &ex.uri);
    out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
    for entry in entries {
        look.line(entry, out);
    }
    out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
}

/// How an HTML listing looks.
struct Look {
    /// Names are UTF-8: their characters count, not their bytes.
    utf8: bool,
    /// Sizes in bytes.
    exact: bool,
    /// Minutes that the shown times are ahead of UTC.
    offset: i32,
}

impl Look {
    fn line(&self, entry: &Entry, out: &mut Vec<u8>) {
        let folder = entry.stat.is_dir();
        out.extend_from_slice(b"<a href=\"");
        escape::uri(out, &entry.name, Place::Component);
        if folder {
            out.push(b'/');
        }
        out.extend_from_slice(b"\">");
        let text = std::str::from_utf8(&entry.name).ok().filter(|_| self.utf8);
        let mut length = text.map_or(entry.name.len(), |text| text.chars().count());
        if length > SHOWN_MAX {
            let kept = SHOWN_MAX - 3;
            let end = text
                .and_then(|text| text.char_indices().nth(kept))
                .map_or(kept, |(at, _)| at);
            escape::html(out, &entry.name[..end]);
            out.extend_from_slice(b"..&gt;</a>");
        } else {
            escape::html(out, &entry.name);
            if folder && length < SHOWN_MAX {
                out.push(b'/');
                length += 1;
            }
            out.extend_from_slice(b"</a>");
            out.resize(out.len() + SHOWN_MAX - length, b' ');
        }
        let at = Civil::local(entry.stat.modified, self.offset);
        // Writing to a Vec cannot fail.
        let _ = write!(out, " {:02}-", at.day);
        out.extend_from_slice(at.month_name());
        let _ = write!(out, "-{} {:02}:{:02} ", at.year, at.hour, at.minute);
        let _ = match (self.exact, folder) {
            (true, true) => write!(out, "{:>19}", "-"),
            (true, false) => write!(out, "{:>19}", entry.stat.len),
            (false, true) => write!(out, "{:>7}", "-"),
            (false, false) => match rounded(entry.stat.len) {
                (size, Some(unit)) => write!(out, "{size:>6}{unit}"),
                (size, None) => write!(out, " {size:>6}"),
            },
        };
        out.extend_from_slice(b"\r\n");
    }
}

/// A size as at most a few digits and a unit; halves go up.
fn rounded(size: u64) -> (u64, Option<char>) {
    const K: u64 = 1 << 10;
    const M: u64 = 1 << 20;
    const G: u64 = 1 << 30;
    let (unit, letter) = match size {
        G.. => (G, 'G'),
        M.. => (M, 'M'),
        10_000.. => (K, 'K'),
        _ => return (size, None),
    };
    (
        size / unit + u64::from(size % unit >= unit / 2),
        Some(letter),
    )
}

/// What an entry is called where types have names.
fn kind(entry: &Entry) -> &'static str {
    if entry.stat.is_dir() {
        "directory"
    } else if entry.stat.is_file() {
        "file"
    } else {
        "other"
    }
}

fn json(entries: &[Entry], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"\r\n{ \"name\":\"");
        escape::log_json(out, &entry.name);
        out.extend_from_slice(b"\", \"type\":\"");
        out.extend_from_slice(kind(entry).as_bytes());
        out.extend_from_slice(b"\", \"mtime\":\"");
        out.extend_from_slice(&time::http_date(entry.stat.modified));
        out.push(b'"');
        if entry.stat.is_file() {
            // Writing to a Vec cannot fail.
            let _ = write!(out, ", \"size\":{}", entry.stat.len);
        }
        out.extend_from_slice(b" }");
    }
    out.extend_from_slice(b"\r\n]");
}

fn xml(entries: &[Entry], out: &mut Vec<u8>) {
    out.extend_from_slice(b"<?xml version=\"1.0\"?>\r\n<list>\r\n");
    for entry in entries {
        let kind = kind(entry);
        let at = Civil::of(entry.stat.modified);
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "<{kind} mtime=\"{:4}-{:02}-{:02}T{:02}:{:02}:{:02}Z\"",
            at.year, at.month, at.day, at.hour, at.minute, at.second
        );
        if entry.stat.is_file() {
            let _ = write!(out, " size=\"{}\"", entry.stat.len);
        }
        out.push(b'>');
        escape::html(out, &entry.name);
        let _ = write!(out, "</{kind}>\r\n");
    }
    out.extend_from_slice(b"</list>\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_the_nearer_unit() {
        for (size, want) in [
            (0, (0, None)),
            (9_999, (9_999, None)),
            (10_000, (10, Some('K'))),
            (10_751, (10, Some('K'))),
            (10_752, (11, Some('K'))),
            ((1 << 20) - 1, (1024, Some('K'))),
            (1 << 20, (1, Some('M'))),
            ((1 << 20) + (1 << 19), (2, Some('M'))),
            ((1 << 30) - 1, (1024, Some('M'))),
            (5 << 30, (5, Some('G'))),
        ] {
            assert_eq!(rounded(size), want, "{size}");
        }
    }
}
