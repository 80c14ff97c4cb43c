//! Values of the cache family that have a grammar of their own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::*;
use crate::config::table::{Args, Fault};
use crate::config::tree::{Span, Word};
use crate::config::value::*;

/// `…_cache_path`: a zone of stored answers and the folder where they are.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheZone {
    /// Its name.
    pub name: Arc<[u8]>,
    /// Which family may name it.
    pub wire: WireKind,
    /// Folder, absolute.
    pub path: PathBuf,
    /// Digits of each level of folders, 0 for none.
    pub levels: [u8; 3],
    /// Bytes for keys.
    pub size: usize,
    /// What nobody asks for in this time is dropped.
    pub inactive: Duration,
    /// Most bytes in files.
    pub max_size: Option<u64>,
    /// Bytes of the file system that stay free.
    pub min_free: u64,
    /// Answers on their way are written elsewhere first.
    pub use_temp_path: bool,
    /// How the folder is read at start.
    pub loader: Option<CachePace>,
    /// How files are removed.
    pub manager: Option<CachePace>,
    /// Where the directive stood.
    pub pos: Span,
}

/// `…_files`, `…_sleep` and `…_threshold` of `…_cache_path`: how much is done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePace {
    /// Files at a time.
    pub files: u64,
    /// Pause after these.
    pub sleep: Duration,
    /// Longest time without a pause.
    pub threshold: Duration,
}

impl Default for CachePace {
    fn default() -> Self {
        Self {
            files: 100,
            sleep: Duration::from_millis(50),
            threshold: Duration::from_millis(200),
        }
    }
}

/// One status of `…_cache_valid` with its time; status 0 is `any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheValid {
    /// Which answers; 0 is all.
    pub status: u16,
    /// How many seconds they are fresh.
    pub seconds: u64,
}

/// `…_cache_purge`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CachePurge {
    /// Values of which one that is neither empty nor `0` makes a request a purge.
    pub conditions: Vec<Text>,
    /// `tags=`: the tags to purge, where the value is not empty.
    pub tags: Option<Text>,
    /// `mode=`: answers are made stale instead of removed where this is `soft`.
    pub mode: Option<Text>,
}

/// `…_store`.
#[derive(Clone, Debug, PartialEq)]
pub enum StorePath {
    /// `on`: below `root` or `alias`.
    Root,
    /// A path.
    Text(Text),
}

/// Statuses that a time without any is for.
const USUAL: [u16; 3] = [200, 301, 302];

/// `[STATUS…|any] TIME`.
pub(crate) fn valid(args: &mut Args<'_>) -> Parsed<List<CacheValid>> {
    let (time, statuses) = args
        .words
        .split_last()
        .expect("the arity of the row is one or more");
    let Some(time) = parse_sec(&time.bytes) else {
        return Err(Fault::new(format!(
            "invalid time value \"{}\"",
            time.lossy()
        )));
    };
    let entry = |status| CacheValid {
        status,
        seconds: time.as_secs(),
    };
    if statuses.is_empty() {
        return Ok(Arc::new(USUAL.map(entry).to_vec()));
    }
    let mut list = Vec::with_capacity(statuses.len());
    for word in statuses {
        list.push(entry(match &word.bytes[..] {
            b"any" => 0,
            digits => match decimal(digits) {
                Some(status @ 100..=599) => status as u16,
                _ => return Err(Fault::new(format!("invalid status \"{}\"", word.lossy()))),
            },
        }));
    }
    Ok(Arc::new(list))
}

/// `GET HEAD POST`.
pub(crate) fn methods(args: &mut Args<'_>) -> Parsed<CacheMethods> {
    any_of(
        args,
        CacheMethods::WORDS,
        CacheMethods::has,
        CacheMethods::with,
    )
}

/// An offset that was written.
pub(crate) fn some_offset(args: &mut Args<'_>) -> Parsed<Option<u64>> {
    offset(args).map(Some)
}

/// `nginx` or `rfc9111`.
pub(crate) fn mode(args: &mut Args<'_>) -> Parsed<CacheMode> {
    one_of(args, CacheMode::WORDS)
}

/// A token or a quoted name for `Cache-Status`, or `off`.
pub(crate) fn status_name(args: &mut Args<'_>) -> Parsed<Option<Arc<[u8]>>> {
    let name = args.bytes(0);
    if name == b"off" {
        return Ok(None);
    }
    // RFC 8941 knows tokens and strings of printable characters.
    let printable = |b: &u8| (0x20..0x7f).contains(b) && !matches!(b, b'"' | b'\\');
    if name.is_empty() || !name.iter().all(printable) {
        return Err(Fault::new(format!(
            "invalid value \"{}\"",
            args.word(0).lossy()
        )));
    }
    Ok(Some(Arc::from(name)))
}

/// `VALUE… [tags=VALUE] [mode=VALUE]`.
pub(crate) fn purge(args: &mut Args<'_>) -> Parsed<Option<Arc<CachePurge>>> {
    let mut purge = CachePurge::default();
    for word in args.words {
        let value = |at: usize| {
            Some(Text {
                bytes: Arc::from(&word.bytes[at..]),
                span: word.span,
            })
        };
        if word.bytes.starts_with(b"tags=") {
            purge.tags = value(5);
        } else if word.bytes.starts_with(b"mode=") {
            purge.mode = value(5);
            let fixed = purge.mode.as_ref().filter(|mode| !mode.has_variables());
            if fixed.is_some_and(|mode| !matches!(&mode.bytes[..], b"hard" | b"soft")) {
                return Err(
                    Fault::new(format!("invalid value \"{}\"", word.lossy())).hint("hard or soft")
                );
            }
        } else {
            purge.conditions.push(text_of(word));
        }
    }
    if purge.conditions.is_empty() {
        return Err(args
            .fault("has no condition")
            .hint("name a value that is 0 or empty for requests that purge nothing"));
    }
    Ok(Some(Arc::new(purge)))
}

/// `PATH keys_zone=NAME:SIZE …`: the zone, with its name as a word.
pub(crate) fn path_words(args: &mut Args<'_>) -> Parsed<(Word, CacheZone)> {
    let path = args.bytes(0);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let mut zone = CacheZone {
        name: Arc::from(&b""[..]),
        wire: WireKind::Http,
        path: full_path(args.prefix, path),
        levels: [0; 3],
        size: 0,
        inactive: Duration::from_secs(600),
        max_size: None,
        min_free: 0,
        use_temp_path: true,
        loader: None,
        manager: None,
        pos: Span::default(),
    };
    let mut name = None;
    for word in &args.words[1..] {
        path_word(&mut zone, &mut name, word)?;
    }
    match name {
        Some(name) if zone.size > 0 && !name.bytes.is_empty() => {
            zone.name = Arc::clone(&name.bytes);
            Ok((name, zone))
        }
        _ => Err(Fault::new(format!(
            "\"{}\" must have \"keys_zone\" parameter",
            args.name
        ))),
    }
}

fn path_word(zone: &mut CacheZone, name: &mut Option<Word>, word: &Word) -> Parsed<()> {
    let shown = word.lossy();
    let invalid = |what: &str| Fault::new(format!("invalid {what} \"{shown}\""));
    let at = word.bytes.iter().position(|&b| b == b'=');
    let (key, value) = match at {
        Some(at) => (&word.bytes[..at], &word.bytes[at + 1..]),
        None => (&word.bytes[..], &b""[..]),
    };
    let number = |what| decimal(value).ok_or_else(|| invalid(what));
    let time = |what| parse_msec(value).ok_or_else(|| invalid(what));
    match key {
        b"levels" => zone.levels = levels(value).ok_or_else(|| invalid("\"levels\""))?,
        b"use_temp_path" => {
            zone.use_temp_path = match value {
                b"on" => true,
                b"off" => false,
                _ => {
                    let message = format!(
                        "invalid use_temp_path value \"{shown}\", it must be \"on\" or \"off\""
                    );
                    return Err(Fault::new(message));
                }
            }
        }
        b"keys_zone" => {
            let colon = value.iter().position(|&b| b == b':');
            let sized = colon.and_then(|at| Some((&value[..at], parse_size(&value[at + 1..])?)));
            let (text, size) = sized.ok_or_else(|| {
                invalid("keys zone size")
                    .hint("write keys_zone=NAME:SIZE, such as keys_zone=one:10m")
            })?;
            if size < KEYS_BYTES_MIN {
                let text = String::from_utf8_lossy(text);
                return Err(Fault::new(format!("keys zone \"{text}\" is too small")));
            }
            zone.size = size;
            *name = Some(Word {
                bytes: Arc::from(text),
                span: word.span,
            });
        }
        b"inactive" => {
            zone.inactive = parse_sec(value).ok_or_else(|| invalid("inactive value"))?;
        }
        b"max_size" => {
            let size = parse_offset(value).ok_or_else(|| invalid("max_size value"))?;
            zone.max_size = Some(size);
        }
        b"min_free" => {
            zone.min_free = parse_offset(value).ok_or_else(|| invalid("min_free value"))?;
        }
        b"loader_files" => {
            zone.loader.get_or_insert_default().files = number("loader_files value")?
        }
        b"loader_sleep" => zone.loader.get_or_insert_default().sleep = time("loader_sleep value")?,
        b"loader_threshold" => {
            zone.loader.get_or_insert_default().threshold = time("loader_threshold value")?
        }
        b"manager_files" => {
            zone.manager.get_or_insert_default().files = number("manager_files value")?
        }
        b"manager_sleep" => {
            zone.manager.get_or_insert_default().sleep = time("manager_sleep value")?
        }
        b"manager_threshold" => {
            zone.manager.get_or_insert_default().threshold = time("manager_threshold value")?
        }
        b"purger" | b"purger_files" | b"purger_sleep" | b"purger_threshold" => {
            let hint = "it is nginx Plus's; a wildcard purge of \"proxy_cache_purge\" removes its files at once here";
            return Err(invalid("parameter").hint(hint));
        }
        _ => return Err(invalid("parameter")),
    }
    Ok(())
}

/// nginx's zones of keys have at least two pages.
const KEYS_BYTES_MIN: usize = 2 * 4096;

/// `1:2:2`.
fn levels(text: &[u8]) -> Option<[u8; 3]> {
    let mut levels = [0; 3];
    let mut parts = text.split(|&b| b == b':');
    for (level, part) in levels.iter_mut().zip(&mut parts) {
        *level = match part {
            [digit @ b'1'..=b'2'] => digit - b'0',
            _ => return None,
        };
    }
    parts.next().is_none().then_some(levels)
}
