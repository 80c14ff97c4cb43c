//! `charset` and its companions: the charset that an answer is said to be in, and conversion to it.
//!
//! [`arm`] edits `Content-Type`, [`Filter`] converts. The tables are in `plan::charset`.

use std::sync::Arc;

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::super::log::{self, Text};
use super::super::vars;
use super::chain::{At, BodyFilter, Fed};
use crate::plan::charset::{CharsetId, CharsetPlan, Named, Recode, UNKNOWN};
use crate::plan::model::LogLevel;
use crate::proto::tokens::Token;

/// A charset by name, with its number where the configuration knows it.
struct Found {
    name: Vec<u8>,
    id: Option<CharsetId>,
}

/// Says which charset the answer is in, and converts it where that is another than it comes in.
pub fn arm(plan: Option<&CharsetPlan>, ex: &mut Exchange, cx: Cx<'_>) {
    let Some((base, own)) = split(&ex.response.content_type) else {
        return;
    };
    let own = own.map(<[u8]>::to_vec);
    let Some(to) = destination(plan, own.is_some(), ex, cx) else {
        return;
    };
    let from = match (own, plan.and_then(|plan| plan.from.as_ref())) {
        (Some(name), _) => Some(known(name, cx)),
        (None, Some(named)) => named_charset(named, ex, cx),
        (None, None) => None,
    };
    let Some(from) = from else {
        return say(base, &to.name, ex);
    };
    match (from.id, to.id) {
        (Some(from), Some(to_id)) if from == to_id => say(base, &to.name, ex),
        (Some(from_id), Some(to_id)) => {
            let coded = ex.response.fields.get(Token::CONTENT_ENCODING);
            if coded.is_some_and(|value| !value.is_empty()) {
                return;
            }
            match cx.plan.charsets.table(from_id, to_id) {
                Some(table) => convert(base, &to.name, table, ex),
                None => no_map(&from, &to, ex, cx),
            }
        }
        (None, None) if from.name.eq_ignore_ascii_case(&to.name) => say(base, &to.name, ex),
        _ => no_map(&from, &to, ex, cx),
    }
}

/// Whether an answer whose type is set and names no charset will be said to be in UTF-8.
pub fn is_utf8(ex: &mut Exchange, cx: Cx<'_>) -> bool {
    let filters = cx.location(ex.location).filters.as_deref();
    let plan = filters.and_then(|filters| filters.charset.as_ref());
    plan.and_then(|plan| destination(Some(plan), false, ex, cx))
        .is_some_and(|to| to.name.eq_ignore_ascii_case(b"utf-8"))
}

/// Where the type proper ends in a `Content-Type`, and the charset that it names; none when it is empty.
fn split(content_type: &[u8]) -> Option<(usize, Option<&[u8]>)> {
    if content_type.is_empty() {
        return None;
    }
    let mut from = 0;
    while let Some(found) = memchr::memchr(b';', &content_type[from..]) {
        let end = from + found;
        from = end + 1;
        let rest = &content_type[from..];
        let skipped = rest.iter().position(|&b| b != b' ').unwrap_or(rest.len());
        let name = &rest[skipped..];
        if let Some((head, value)) = name.split_at_checked(8)
            && head.eq_ignore_ascii_case(b"charset=")
        {
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            let value = value.strip_suffix(b"\"").unwrap_or(value);
            return Some((end, Some(value).filter(|value| !value.is_empty())));
        }
    }
    Some((content_type.len(), None))
}

/// Tells a subrequest the charset of the answer that it becomes a part of.
pub fn hand_down(parent: &Exchange, sub: &mut Exchange) {
    let name = match split(&parent.response.content_type) {
        _ if parent.is_subrequest() => &parent.main_charset,
        Some((_, Some(name))) => name,
        _ => b"",
    };
    sub.main_charset.extend_from_slice(name);
}

/// The charset that the answer shall be in; none when nothing is to be done.
fn destination(
    plan: Option<&CharsetPlan>,
    has_own: bool,
    ex: &mut Exchange,
    cx: Cx<'_>,
) -> Option<Found> {
    if ex.is_subrequest() {
        return Some(known(ex.main_charset.clone(), cx)).filter(|found| !found.name.is_empty());
    }
    if !ex.response.accel_charset.is_empty() {
        let found = known(ex.response.accel_charset.clone(), cx);
        if found.id.is_none() {
            let text = format_args!("unknown charset \"{}\" to override", Text(&found.name));
            log::error(ex, cx, LogLevel::Error, text);
            return None;
        }
        return Some(found);
    }
    let named = plan?.to.as_ref()?;
    let settings = &cx.location(ex.location).settings.charset;
    let applies = if has_own {
        settings.override_charset
    } else {
        settings.charset_types.has(&ex.response.content_type)
    };
    if applies {
        named_charset(named, ex, cx)
    } else {
        None
    }
}

fn named_charset(named: &Named, ex: &mut Exchange, cx: Cx<'_>) -> Option<Found> {
    match named {
        Named::Fixed(id) => Some(Found {
            name: cx.plan.charsets.name(*id).to_vec(),
            id: Some(*id),
        }),
        Named::Variable(expr) => {
            let mut name = Vec::new();
            vars::eval(expr, ex, cx, &mut name);
            Some(known(name, cx)).filter(|found| !found.name.is_empty())
        }
    }
}

fn known(name: Vec<u8>, cx: Cx<'_>) -> Found {
    let id = cx.plan.charsets.find(&name);
    Found { name, id }
}

/// Writes the charset behind the type. A redirect names none: old browsers took it for that of the next page.
fn say(base: usize, name: &[u8], ex: &mut Exchange) {
    let response = &mut ex.response;
    response.content_type.truncate(base);
    if !matches!(response.status, 301 | 302) {
        response.content_type.extend_from_slice(b"; charset=");
        response.content_type.extend_from_slice(name);
    }
}

fn convert(base: usize, name: &[u8], table: &Arc<Recode>, ex: &mut Exchange) {
    say(base, name, ex);
    let response = &mut ex.response;
    if !matches!(**table, Recode::Single(_)) {
        response.clear_length();
        response.forbid_ranges();
    }
    let filter = Filter::new(Arc::clone(table));
    response.chain.arm(BodyFilter::Charset(Box::new(filter)));
}

fn no_map(from: &Found, to: &Found, ex: &Exchange, cx: Cx<'_>) {
    let (from, to) = (Text(&from.name), Text(&to.name));
    let text = format_args!("no \"charset_map\" between the charsets \"{from}\" and \"{to}\"");
    log::error(ex, cx, LogLevel::Error, text);
}

/// Input that is converted at a time: what comes out is at most ten times as much.
const PIECE_BYTES: usize = 8 << 10;

/// One answer being converted.
pub struct Filter {
    table: Arc<Recode>,
    /// A character that the last piece has begun.
    begun: [u8; 4],
    have: usize,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("begun", &&self.begun[..self.have])
            .finish_non_exhaustive()
    }
}

impl Filter {
    fn new(table: Arc<Recode>) -> Self {
        Self {
            table,
            begun: [0; 4],
            have: 0,
        }
    }

    /// Takes bytes and appends their conversion.
    pub fn feed(&mut self, input: &[u8], at: At, out: &mut Vec<u8>) -> Fed {
        let piece = &input[..input.len().min(PIECE_BYTES)];
        let table = Arc::clone(&self.table);
        match &*table {
            Recode::Single(table) => out.extend(piece.iter().map(|&b| table[usize::from(b)])),
            Recode::ToUtf8(table) => {
                for &byte in piece {
                    let [length, text @ ..] = &table[usize::from(byte)];
                    out.extend_from_slice(&text[..usize::from(*length)]);
                }
            }
            Recode::FromUtf8(pages) => self.characters(pages, piece, out),
        }
        if piece.len() < input.len() {
            return Fed::Part(piece.len());
        }
        if at == At::End && self.have > 0 {
            self.have = 0;
            out.push(UNKNOWN);
        }
        Fed::All
    }

    /// Differs from nginx: a byte that breaks a character off is read again as the beginning of the next one.
    fn characters(&mut self, pages: &Pages, input: &[u8], out: &mut Vec<u8>) {
        for &byte in input {
            if self.have > 0 {
                if byte & 0xc0 == 0x80 && may_follow(&self.begun[..self.have], byte) {
                    self.begun[self.have] = byte;
                    self.have += 1;
                    if let Ok(text) = std::str::from_utf8(&self.begun[..self.have]) {
                        let character = text.chars().next().map_or(0, u32::from);
                        character_out(pages, character, out);
                        self.have = 0;
                    }
                    continue;
                }
                out.push(UNKNOWN);
                self.have = 0;
            }
            match byte {
                0..0x80 => out.push(byte),
                0xc2..=0xf4 => {
                    self.begun[0] = byte;
                    self.have = 1;
                }
                _ => out.push(UNKNOWN),
            }
        }
    }
}

type Pages = [Option<Box<[u8; 256]>>; 256];

/// Whether a continuation byte can stand behind what has begun: overlong forms, surrogates and numbers above the last
/// character cannot be.
fn may_follow(begun: &[u8], byte: u8) -> bool {
    match begun {
        [0xe0] => byte >= 0xa0,
        [0xed] => byte < 0xa0,
        [0xf0] => byte >= 0x90,
        [0xf4] => byte < 0x90,
        _ => true,
    }
}

/// A character as the byte that stands for it, or as an entity of HTML.
fn character_out(pages: &Pages, character: u32, out: &mut Vec<u8>) {
    let page = pages
        .get((character >> 8) as usize)
        .and_then(Option::as_ref);
    match page.map_or(0, |page| page[(character & 0xff) as usize]) {
        0 => {
            out.extend_from_slice(b"&#");
            out.extend_from_slice(itoa::Buffer::new().format(character).as_bytes());
            out.push(b';');
        }
        byte => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::charset::Charsets;
    use crate::plan::model::CharsetMap;

    #[test]
    fn content_types_fall_apart() {
        for (value, want) in [
            ("text/html", Some((9, None))),
            ("text/html; charset=utf-8", Some((9, Some("utf-8")))),
            ("text/html;charset=\"a\"", Some((9, Some("a")))),
            ("text/html; a=b;  CHARSET=x", Some((14, Some("x")))),
            ("text/html; charset=", Some((9, None))),
            ("text/html;", Some((10, None))),
            ("text/html; x=charset=", Some((21, None))),
            ("", None),
        ] {
            let want = want.map(|(at, name): (usize, Option<&str>)| (at, name.map(str::as_bytes)));
            assert_eq!(split(value.as_bytes()), want, "{value}");
        }
    }

    fn recode(from: &str, to: &str, input: &[u8], piece: usize) -> Vec<u8> {
        let mut charsets = Charsets::default();
        charsets.add_map(&CharsetMap {
            from: "koi8-r".into(),
            to: "utf-8".into(),
            pairs: vec![
                (0xc0, "ю".as_bytes().to_vec()),
                (0xc1, "а".as_bytes().to_vec()),
                (0x95, "∙".as_bytes().to_vec()),
            ],
        });
        charsets.add_map(&CharsetMap {
            from: "koi8-r".into(),
            to: "windows-1251".into(),
            pairs: vec![(0xc0, vec![0xfe]), (0xc1, vec![0xe0])],
        });
        let id = |name: &str| charsets.find(name.as_bytes()).unwrap();
        let table = charsets.table(id(from), id(to)).unwrap();
        let mut filter = Filter::new(Arc::clone(table));
        let mut out = Vec::new();
        for mut part in input.chunks(piece) {
            while let Fed::Part(taken) = filter.feed(part, At::More, &mut out) {
                part = &part[taken..];
            }
        }
        assert_eq!(filter.feed(b"", At::End, &mut out), Fed::All);
        out
    }

    #[test]
    fn tables_convert_in_pieces_of_all_sizes() {
        let cases: &[(&str, &str, &[u8], &[u8])] = &[
            ("koi8-r", "utf-8", b"a\xc0\xc1\xff", "aюа?".as_bytes()),
            ("KOI8-R", "windows-1251", b"a\xc0\xc1\xff", b"a\xfe\xe0?"),
            ("windows-1251", "koi8-r", b"\xfe\xe0", b"\xc0\xc1"),
            ("utf-8", "koi8-r", "ю∙аz".as_bytes(), b"\xc0\x95\xc1z"),
            ("utf-8", "koi8-r", "€😀".as_bytes(), b"&#8364;&#128512;"),
            // What is no UTF-8 does not take its neighbours along.
            (
                "utf-8",
                "koi8-r",
                b"\xd1<\xff>\xe0\x80a\xed\xa0\x80",
                b"?<?>??a???",
            ),
            ("utf-8", "koi8-r", b"\xf5\xf0\x9f\x98", b"??"),
        ];
        for (from, to, input, want) in cases {
            for piece in [1, 2, 3, 100] {
                let got = recode(from, to, input, piece);
                assert_eq!(got, *want, "{from} {to} {} {piece}", input.escape_ascii());
            }
        }
        let long = vec![b'x'; 3 * PIECE_BYTES + 5];
        assert_eq!(recode("koi8-r", "utf-8", &long, long.len()), long);
    }
}
