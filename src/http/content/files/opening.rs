//! How a location opens files: `disable_symlinks` and `open_file_cache`. Everything that serves a file opens it here.
//!
//! Start at [`open`] and [`stat`].

use std::io;
use std::ops::Deref;
use std::rc::Rc;

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::vars;
use crate::net::file::{self, Blocked, File, Links, Stat};
use crate::plan::location::Opening;
use crate::plan::model::Symlinks;

/// What the kernel would not do, in the words of the log.
pub type Fault = Blocked;

/// An open file, perhaps one that others have too.
pub enum Held {
    /// Opened for one answer.
    Own(File),
    /// Kept open on its shard.
    Shared(Rc<File>),
}

impl Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        match self {
            Self::Own(file) => file,
            Self::Shared(file) => file,
        }
    }
}

/// A file that was opened, none for a directory out of the cache, and what is known of it.
pub type Opened = (Option<Held>, Stat);

/// Opens a file by the rules of the exchange's location.
pub async fn open(path: &[u8], ex: &mut Exchange, cx: Cx<'_>) -> Result<Opened, Fault> {
    let Some(rules) = &cx.location(ex.location).opening else {
        return open_plain(path).await.map(own);
    };
    let links = links(rules, path, ex, cx);
    match &rules.cache {
        Some(cache) => cx.generation.open_files.open(path, links, cache, cx).await,
        None => open_by(path, links).await.map(own),
    }
}

/// What is known of a path, by the rules of the exchange's location.
pub async fn stat(path: &[u8], ex: &mut Exchange, cx: Cx<'_>) -> Result<Stat, Fault> {
    let Some(rules) = &cx.location(ex.location).opening else {
        return stat_by(path, Links::Follow).await;
    };
    let links = links(rules, path, ex, cx);
    match &rules.cache {
        Some(cache) => {
            let opened = cx.generation.open_files.open(path, links, cache, cx).await;
            opened.map(|(_, stat)| stat)
        }
        None => stat_by(path, links).await,
    }
}

fn own((file, stat): (File, Stat)) -> Opened {
    (Some(Held::Own(file)), stat)
}

/// Which links are refused in this path: `from=` counts only where it ends with a name.
fn links(rules: &Opening, path: &[u8], ex: &mut Exchange, cx: Cx<'_>) -> Links {
    let strict: fn(usize) -> Links = match rules.links {
        Symlinks::Off => return Links::Follow,
        Symlinks::On => |from| Links::Refuse { from },
        Symlinks::IfNotOwner => |from| Links::SameOwner { from },
    };
    let Some(expr) = &rules.from else {
        return strict(0);
    };
    let mut from = cx.local.buffers.take(64);
    vars::eval(expr, ex, cx, &mut from);
    let links = match path.strip_prefix(&from[..]) {
        _ if from.is_empty() => strict(0),
        None => strict(0),
        Some([]) => Links::Follow,
        Some([b'/', ..]) => strict(from.len()),
        Some(_) if from.ends_with(b"/") => strict(from.len() - 1),
        Some(_) => strict(0),
    };
    cx.local.buffers.give(from);
    links
}

/// Opens by name and asks what it is.
async fn open_plain(path: &[u8]) -> Result<(File, Stat), Fault> {
    let file = file::open(path).await.map_err(|error| Fault {
        call: "open()",
        error,
    })?;
    described(file)
}

fn described(file: File) -> Result<(File, Stat), Fault> {
    let stat = file.stat().map_err(|error| Fault {
        call: "fstat()",
        error,
    })?;
    Ok((file, stat))
}

/// Opens with links as told, and asks what it is.
pub(super) async fn open_by(path: &[u8], links: Links) -> Result<(File, Stat), Fault> {
    if links == Links::Follow {
        return open_plain(path).await;
    }
    described(file::open_strictly(path, links).await?)
}

/// What is known of a path, with links as told.
pub(super) async fn stat_by(path: &[u8], links: Links) -> Result<Stat, Fault> {
    if links == Links::Follow {
        return file::stat(path).await.map_err(|error| Fault {
            call: "stat()",
            error,
        });
    }
    open_by(path, links).await.map(|(_, stat)| stat)
}

/// Whether a path ended in a link that is refused, or in too many.
#[must_use]
pub fn is_link_fault(error: &io::Error) -> bool {
    file::is_link_fault(error)
}
