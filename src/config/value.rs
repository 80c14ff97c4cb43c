//! The value grammars that rows name: flags, sizes, times, numbers, words of a list, paths, strings. Pure functions from
//! parameters to a value or nginx's own complaint.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::lower::Lowering;
use super::model::{Amount, Buffers, List, Text};
use super::table::{Args, Fault};
use super::tree::{Directive, Span, Word};
use crate::base::size;

/// What a parser gives back.
pub(crate) type Parsed<T> = Result<T, Fault>;

/// Reads a row's default with the row's own parser.
pub(crate) fn default<T>(
    name: &'static str,
    words: &str,
    parse: fn(&mut Args<'_>) -> Parsed<T>,
) -> T {
    let words: Vec<Word> = words
        .split(' ')
        .map(|w| Word {
            bytes: Arc::from(w.as_bytes()),
            span: Span::default(),
        })
        .collect();
    let mut args = Args {
        name,
        words: &words,
        prefix: Path::new(""),
        warnings: Vec::new(),
    };
    parse(&mut args).expect("a row's default is a value of its own grammar; a test reads every one")
}

/// The default of a list, one entry or none.
pub(crate) fn defaults<T>(
    name: &'static str,
    words: &str,
    parse: fn(&mut Args<'_>) -> Parsed<T>,
) -> List<T> {
    if words.is_empty() {
        return Arc::new(Vec::new());
    }
    Arc::new(vec![default(name, words, parse)])
}

/// `on` or `off`.
pub(crate) fn flag(args: &mut Args<'_>) -> Parsed<bool> {
    let word = args.bytes(0);
    if word.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(Fault::new(format!(
            "invalid value \"{}\" in \"{}\" directive, it must be \"on\" or \"off\"",
            args.word(0).lossy(),
            args.name
        )))
    }
}

/// Decimal digits, nothing else.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    size::parse_digits(bytes)
}

/// `8k`, `1m`; never `g`.
pub(crate) fn parse_size(bytes: &[u8]) -> Option<usize> {
    size::parse_size(bytes).and_then(|v| usize::try_from(v).ok())
}

/// `8k`, `1m`, `2g`.
pub(crate) fn parse_offset(bytes: &[u8]) -> Option<u64> {
    size::parse_offset(bytes)
}

/// A time of a millisecond slot.
pub(crate) fn parse_msec(bytes: &[u8]) -> Option<Duration> {
    size::parse_msec(bytes).map(Duration::from_millis)
}

/// A time of a second slot.
pub(crate) fn parse_sec(bytes: &[u8]) -> Option<Duration> {
    size::parse_sec(bytes).map(Duration::from_secs)
}

/// A size.
pub(crate) fn size(args: &mut Args<'_>) -> Parsed<usize> {
    parse_size(args.bytes(0)).ok_or_else(|| wants(args, "a size such as 16k or 1m"))
}

/// A size that was written.
pub(crate) fn some_size(args: &mut Args<'_>) -> Parsed<Option<usize>> {
    size(args).map(Some)
}

/// A size in which `g` may stand.
pub(crate) fn offset(args: &mut Args<'_>) -> Parsed<u64> {
    parse_offset(args.bytes(0)).ok_or_else(|| wants(args, "a size such as 16k, 1m or 2g"))
}

/// A time with milliseconds.
pub(crate) fn msec(args: &mut Args<'_>) -> Parsed<Duration> {
    parse_msec(args.bytes(0)).ok_or_else(|| wants(args, "a time such as 30s, 2m or 500ms"))
}

/// A time with milliseconds that was written.
pub(crate) fn some_msec(args: &mut Args<'_>) -> Parsed<Option<Duration>> {
    msec(args).map(Some)
}

/// A time in whole seconds.
pub(crate) fn sec(args: &mut Args<'_>) -> Parsed<Duration> {
    parse_sec(args.bytes(0))
        .ok_or_else(|| wants(args, "a time in whole seconds such as 30s, 2m or 1y"))
}

fn wants(args: &Args<'_>, what: &str) -> Fault {
    args.fault("invalid value").hint(format!(
        "\"{}\" wants {what}, got \"{}\"",
        args.name,
        args.word(0).lossy()
    ))
}

/// A number.
pub(crate) fn num(args: &mut Args<'_>) -> Parsed<u64> {
    decimal(args.bytes(0)).ok_or_else(|| args.fault("invalid number"))
}

/// A number that fits 32 bits; larger ones are as good as the largest.
pub(crate) fn num32(args: &mut Args<'_>) -> Parsed<u32> {
    num(args).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// A number between bounds.
pub(crate) fn num_within(args: &mut Args<'_>, least: u8, most: u8) -> Parsed<u8> {
    u8::try_from(num(args)?)
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| {
            Fault::new(format!("value must be between {least} and {most}")).hint(format!(
                "\"{}\" was given \"{}\"",
                args.name,
                args.word(0).lossy()
            ))
        })
}

/// `COUNT SIZE`.
pub(crate) fn buffers(args: &mut Args<'_>) -> Parsed<Buffers> {
    let count = decimal(args.bytes(0))
        .filter(|&n| n > 0)
        .and_then(|n| u32::try_from(n).ok());
    let size = parse_size(args.bytes(1)).filter(|&n| n > 0);
    match (count, size) {
        (Some(count), Some(size)) => Ok(Buffers { count, size }),
        _ => Err(args
            .fault("invalid value")
            .hint("write a number and a size, such as 8 16k")),
    }
}

/// A word as it stands, with its place.
pub(crate) fn text_of(word: &Word) -> Text {
    Text {
        bytes: Arc::clone(&word.bytes),
        span: word.span,
    }
}

/// A string that may hold variables.
pub(crate) fn text(args: &mut Args<'_>) -> Parsed<Text> {
    Ok(text_of(args.word(0)))
}

/// A string that was written.
pub(crate) fn some_text(args: &mut Args<'_>) -> Parsed<Option<Text>> {
    text(args).map(Some)
}

/// Plain bytes.
pub(crate) fn bytes(args: &mut Args<'_>) -> Parsed<Arc<[u8]>> {
    Ok(Arc::clone(&args.word(0).bytes))
}

/// All parameters as strings.
pub(crate) fn texts(args: &mut Args<'_>) -> Parsed<List<Text>> {
    Ok(Arc::new(args.words.iter().map(text_of).collect()))
}

/// A size, or variables that give one.
pub(crate) fn some_amount(args: &mut Args<'_>) -> Parsed<Option<Amount>> {
    let word = args.word(0);
    if word.bytes.contains(&b'$') {
        return Ok(Some(Amount::Text(text_of(word))));
    }
    size(args).map(|n| Some(Amount::Fixed(n)))
}

/// One word of a list, whatever its case.
pub(crate) fn one_of<T: Copy>(args: &mut Args<'_>, words: &[(&str, T)]) -> Parsed<T> {
    let given = args.word(0);
    let found = words
        .iter()
        .find(|(w, _)| given.bytes.eq_ignore_ascii_case(w.as_bytes()));
    found
        .map(|(_, v)| *v)
        .ok_or_else(|| not_one_of(given, words))
}

fn not_one_of<T>(given: &Word, words: &[(&str, T)]) -> Fault {
    let list: Vec<_> = words.iter().map(|(w, _)| *w).collect();
    Fault {
        span: Some(given.span),
        ..Fault::new(format!("invalid value \"{}\"", given.lossy()))
    }
    .hint(format!("one of: {}", list.join(", ")))
}

/// Several words of a list; one that comes twice draws nginx's warning.
pub(crate) fn any_of<T: Copy + Default + PartialEq>(
    args: &mut Args<'_>,
    words: &[(&str, T)],
    has: fn(T, T) -> bool,
    with: fn(T, T) -> T,
) -> Parsed<T> {
    let mut mask = T::default();
    for given in args.words {
        let found = words
            .iter()
            .find(|(w, _)| given.bytes.eq_ignore_ascii_case(w.as_bytes()));
        let bit = found
            .map(|(_, v)| *v)
            .ok_or_else(|| not_one_of(given, words))?;
        if has(mask, bit) {
            args.warnings
                .push(format!("duplicate value \"{}\"", given.lossy()));
        }
        mask = with(mask, bit);
    }
    Ok(mask)
}

/// A path, absolute by the prefix.
pub(crate) fn full_path(prefix: &Path, bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let given = Path::new(std::ffi::OsStr::from_bytes(bytes));
    if given.is_absolute() {
        given.to_path_buf()
    } else {
        prefix.join(given)
    }
}

/// A path that was written.
pub(crate) fn path(args: &mut Args<'_>) -> Parsed<PathBuf> {
    Ok(full_path(args.prefix, args.bytes(0)))
}

/// An entry of a list that `off` cancels.
pub(crate) trait Switch {
    /// Whether this is `off`.
    fn is_off(&self) -> bool;
}

/// Adds to a list in which `off` stands alone.
pub(crate) fn push_switch<T: Switch>(
    load: &mut Lowering<'_>,
    directive: &Directive,
    list: &mut Vec<T>,
    value: T,
) {
    if list.iter().any(Switch::is_off) || (value.is_off() && !list.is_empty()) {
        load.error(
            format!("\"{}\" directive is duplicate", directive.name.lossy()),
            directive.span,
        );
    } else {
        list.push(value);
    }
}
