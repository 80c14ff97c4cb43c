//! Rows of the static files families: index, try_files, autoindex, random_index, symbolic links, files that are kept open.

use std::sync::Arc;
use std::time::Duration;

use super::parse_core::{index_names, try_files};
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Inherit, Row, args, args_min, args_to, family, row};
use crate::config::tree::Directive;
use crate::config::value::*;

family! {
    /// Settings of the static files families.
    pub struct Files in files {
        never try_files: Option<Arc<TryFiles>> = "", try_files, SL, args_min(2), "Serves the first file that exists, else goes elsewhere.";
        value autoindex: bool = "off", flag, HSL, args(1), "Lists directories that have no index.";
        value autoindex_exact_size: bool = "on", flag, HSL, args(1), "Shows sizes in bytes in an HTML listing, instead of rounded ones.";
        value autoindex_format: ListingFormat = "html", |a| one_of(a, ListingFormat::WORDS), HSL, args(1), "Format of directory listings.";
        value autoindex_localtime: bool = "off", flag, HSL, args(1), "Shows local times in an HTML listing, instead of UTC.";
        value random_index: bool = "off", flag, L, args(1), "Answers a directory with one of its files, at random.";
        value disable_symlinks: DisableSymlinks = "off", disable_symlinks, HSL, args_to(1, 2), "Refuses files behind symbolic links.";
        value open_file_cache: Option<Arc<OpenFileCache>> = "off", open_file_cache, HSL, args_to(1, 2), "Keeps files open, and what is known of names, on each shard.";
        value open_file_cache_valid: Duration = "60s", sec, HSL, args(1), "How long an open file is trusted.";
        value open_file_cache_min_uses: u64 = "1", num, HSL, args(1), "Uses that keep a file open.";
        value open_file_cache_errors: bool = "off", flag, HSL, args(1), "Remembers errors too.";
        value open_file_cache_events: bool = "off", flag, HSL, args(1), "Watches open files." accepted "it needs kqueue: nginx does nothing with it on Linux either";
    } also {
        index: List<Text> = Arc::new(vec![Text::from("index.html")]), "`index`: what a directory stands for; an entry with a leading slash is a URI.";
    }
}

/// `disable_symlinks`.
#[derive(Clone, Debug, Default)]
pub struct DisableSymlinks {
    /// Which links are refused.
    pub links: Symlinks,
    /// `from=`: the beginning of a path that is not looked at.
    pub from: Option<Text>,
}

/// `open_file_cache`. Where it is inherited, the cache is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFileCache {
    /// Most entries.
    pub max: usize,
    /// How long an entry stays that is not used.
    pub inactive: Duration,
}

/// The rows with setters of their own.
pub(crate) const ROWS: &[Row] = &[row(
    "index",
    HSL,
    args_min(1),
    index,
    "What a directory stands for.",
)
.many()
.default("index.html")
.clearing(Inherit::Replace, |s| {
    Arc::make_mut(&mut s.files).index = List::default();
})];

fn index(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    if let Some(names) = load.parse(directive, index_names) {
        let files = Arc::make_mut(&mut frame.settings.files);
        Arc::make_mut(&mut files.index).extend(names);
    }
}

/// `off | on | if_not_owner [from=PART]`, in any order.
fn disable_symlinks(args: &mut Args<'_>) -> Parsed<DisableSymlinks> {
    let (mut links, mut from) = (None, None);
    for word in args.words {
        let known = Symlinks::WORDS
            .iter()
            .find(|(name, _)| name.as_bytes() == &word.bytes[..]);
        match (known, word.bytes.strip_prefix(b"from=")) {
            (Some((_, value)), _) => links = Some(*value),
            (None, Some(part)) => {
                from = Some(Text {
                    bytes: Arc::from(part),
                    span: word.span,
                });
            }
            (None, None) => {
                let message = format!("invalid parameter \"{}\"", word.lossy());
                return Err(Fault::new(message));
            }
        }
    }
    let Some(links) = links else {
        let message =
            "\"disable_symlinks\" must have \"off\", \"on\" or \"if_not_owner\" parameter";
        return Err(Fault::new(message));
    };
    if args.words.len() == 2 && from.is_none() {
        let (one, two) = (args.word(0).lossy(), args.word(1).lossy());
        return Err(Fault::new(format!("duplicate parameters \"{one} {two}\"")));
    }
    if links == Symlinks::Off && from.is_some() {
        let message = "\"from=\" cannot be used with \"off\" parameter";
        return Err(Fault::new(message));
    }
    Ok(DisableSymlinks { links, from })
}

/// `off | max=N [inactive=TIME]`.
fn open_file_cache(args: &mut Args<'_>) -> Parsed<Option<Arc<OpenFileCache>>> {
    let mut cache = OpenFileCache {
        max: 0,
        inactive: Duration::from_secs(60),
    };
    let mut off = false;
    for word in args.words {
        let bytes = &word.bytes[..];
        let known = if let Some(text) = bytes.strip_prefix(b"max=") {
            cache.max = decimal(text)
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0);
            cache.max > 0
        } else if let Some(text) = bytes.strip_prefix(b"inactive=") {
            let time = parse_sec(text);
            cache.inactive = time.unwrap_or_default();
            time.is_some()
        } else {
            off |= bytes == b"off";
            bytes == b"off"
        };
        if !known {
            let message = format!("invalid \"open_file_cache\" parameter \"{}\"", word.lossy());
            return Err(Fault::new(message));
        }
    }
    if off {
        return Ok(None);
    }
    if cache.max == 0 {
        let message = "\"open_file_cache\" must have the \"max\" parameter";
        return Err(Fault::new(message));
    }
    Ok(Some(Arc::new(cache)))
}
