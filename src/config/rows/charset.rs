//! Rows of the charset family: the charset that answers are said to be in, and conversion to it.

use crate::config::lower::{Frame, Lowering};
use crate::config::mime::mime_types;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Row, args, args_min, family, row};
use crate::config::tree::{Directive, Word};
use crate::config::value::*;

family! {
    /// Settings of the charset family.
    pub struct Charset in charset {
        value charset: Option<Text> = "off", charset, HSLI, args(1), "Charset that answers are said to be in, and converted to.";
        value source_charset: Option<Text> = "", some_text, HSLI, args(1), "Charset that answers are converted from.";
        value override_charset: bool = "off", flag, HSLI, args(1), "Converts answers that name their charset too.";
        mask  charset_types: MimeTypes = "text/html text/xml text/plain text/vnd.wap.wml application/javascript application/rss+xml", mime_types, HSL, args_min(1), "Types that get a charset besides text/html; * for all.";
    } also {
    }
}

/// The block.
pub(crate) const ROWS: &[Row] = &[row(
    "charset_map",
    H,
    args(2),
    charset_map,
    "How one charset becomes another.",
)
.data()];

/// `charset`.
fn charset(args: &mut Args<'_>) -> Parsed<Option<Text>> {
    match args.bytes(0) {
        b"off" => Ok(None),
        _ => some_text(args),
    }
}

fn charset_map(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let (from, to) = (text_of(&directive.args[0]), text_of(&directive.args[1]));
    let (shown_from, shown_to) = (from.lossy(), to.lossy());
    let same = |a: &Text, b: &Text| a.bytes.eq_ignore_ascii_case(&b.bytes);
    if same(&from, &to) {
        let message = format!(
            "\"charset_map\" between the same charsets \"{shown_from}\" and \"{shown_to}\""
        );
        return load.error(message, directive.span);
    }
    if from.bytes.eq_ignore_ascii_case(b"utf-8") {
        let message = "\"charset_map\" with \"utf-8\" charset should be given in the second column";
        return load.error(message, directive.span);
    }
    let known = load.http.as_ref().is_some_and(|http| {
        http.charset_maps.iter().any(|map| {
            same(&map.from, &from) && same(&map.to, &to)
                || same(&map.from, &to) && same(&map.to, &from)
        })
    });
    if known {
        let message =
            format!("duplicate \"charset_map\" between \"{shown_from}\" and \"{shown_to}\"");
        return load.error(message, directive.span);
    }
    let utf8 = to.bytes.eq_ignore_ascii_case(b"utf-8");
    let mut pairs = Vec::new();
    for entry in directive.block.as_deref().unwrap_or_default() {
        match (&entry.args[..], &entry.block) {
            (_, Some(_)) => load.error("unexpected \"{\"", entry.span),
            ([target], None) => match pair(&entry.name, target, utf8) {
                Ok(found) => pairs.push(found),
                Err(word) => load.error(format!("invalid value \"{}\"", word.lossy()), word.span),
            },
            _ => load.error("invalid parameters number", entry.span),
        }
    }
    if let Some(http) = &mut load.http {
        http.charset_maps.push(CharsetMap { from, to, pairs });
    }
}

/// One line: a byte, and the byte or the UTF-8 sequence that it becomes.
fn pair<'a>(from: &'a Word, to: &'a Word, utf8: bool) -> Result<(u8, Vec<u8>), &'a Word> {
    let byte = |word: &Word| u8::from_str_radix(word.bytes.utf8()?, 16).ok();
    let source = byte(from).ok_or(from)?;
    if !utf8 {
        return Ok((source, vec![byte(to).ok_or(to)?]));
    }
    let sequence = unhex(&to.bytes).ok_or(to)?;
    // Characters beyond the first plane take four bytes, which no table has room for.
    let single = std::str::from_utf8(&sequence).is_ok_and(|text| text.chars().count() == 1);
    if sequence.len() > 3 || !single {
        return Err(to);
    }
    Ok((source, sequence))
}

/// Pairs of hexadecimal digits.
fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|two| u8::from_str_radix(two.utf8()?, 16).ok())
        .collect()
}

/// Bytes that should be text.
trait Utf8 {
    /// The text without a sign, which the number parser would take.
    fn utf8(&self) -> Option<&str>;
}

impl Utf8 for [u8] {
    fn utf8(&self) -> Option<&str> {
        std::str::from_utf8(self)
            .ok()
            .filter(|text| !text.starts_with('+'))
    }
}
