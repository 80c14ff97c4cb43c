//! The row of `sticky`: what keeps a client on one server of a group. Its parameters `route=` and `drain` of `server`
//! stand with that. Start at [`sticky`].

use std::sync::Arc;
use std::time::Duration;

use super::zones;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Row, args_min, row};
use crate::config::tree::{Directive, Word};
use crate::config::value::*;

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[row(
    "sticky",
    U,
    args_min(2),
    sticky,
    "Keeps a client on one server.",
)
.many()];

/// Octets of a `route=`, and of the digest that stands for one.
pub(crate) const ROUTE_MAX: usize = 32;

/// How long a session is kept where `timeout=` does not say.
const TIMEOUT: Duration = Duration::from_secs(600);

fn sticky(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let told = frame.upstream.as_ref().is_some_and(|g| g.sticky.is_some());
    if told {
        return load.error("\"sticky\" directive is duplicate", directive.span);
    }
    let Some(sticky) = load.parse(directive, parse) else {
        return;
    };
    if let (Sticky::Learn(learn), Some(group)) = (&sticky, &frame.upstream) {
        let at = directive
            .args
            .iter()
            .find(|w| w.bytes.starts_with(b"zone="));
        let name = Word {
            bytes: Arc::clone(&learn.zone),
            span: at.map_or(directive.span, |word| word.span),
        };
        let size = usize::try_from(learn.size).unwrap_or(usize::MAX);
        if !zones::claim(load, &name, size, zones::Use::Sticky, directive.span) {
            return;
        }
        let owner = load
            .shared
            .sticky
            .entry(learn.zone.to_vec())
            .or_insert_with(|| group.name.clone());
        if **owner != *group.name {
            let message = format!(
                "sticky zone \"{}\" is already used in upstream \"{}\"",
                name.lossy(),
                String::from_utf8_lossy(owner)
            );
            return load.error(message, name.span);
        }
    }
    if let Some(group) = &mut frame.upstream {
        group.sticky = Some(Box::new(sticky));
    }
}

fn parse(args: &mut Args<'_>) -> Parsed<Sticky> {
    match args.bytes(0) {
        b"cookie" => cookie(args).map(Sticky::Cookie),
        b"route" => {
            let names = args.words[1..].iter().map(|word| variable(word, 0));
            names.collect::<Parsed<_>>().map(Sticky::Route)
        }
        b"learn" => learn(args).map(Sticky::Learn),
        _ => Err(unknown(args.word(0))),
    }
}

fn at(word: &Word, message: impl Into<String>) -> Fault {
    Fault {
        span: Some(word.span),
        ..Fault::new(message.into())
    }
}

fn unknown(word: &Word) -> Fault {
    at(word, format!("unknown parameter \"{}\"", word.lossy()))
}

/// The name of a variable that stands in a word from `from` on.
fn variable(word: &Word, from: usize) -> Parsed<Text> {
    match &word.bytes[from..] {
        [b'$', name @ ..] if !name.is_empty() => Ok(Text {
            bytes: Arc::from(name),
            span: word.span,
        }),
        _ => Err(at(
            word,
            format!("invalid variable name \"{}\"", word.lossy()),
        )),
    }
}

/// What follows a prefix of a word, with its place.
fn after(word: &Word, len: usize) -> Text {
    Text {
        bytes: Arc::from(&word.bytes[len..]),
        span: word.span,
    }
}

fn cookie(args: &mut Args<'_>) -> Parsed<StickyCookie> {
    if args.bytes(1).is_empty() {
        return Err(args.fault("empty cookie name"));
    }
    if !args.bytes(1).iter().all(|&b| is_cookie_name(b)) {
        // Differs from nginx: what would break the line is no name.
        return Err(args.fault("invalid cookie name"));
    }
    let mut out = StickyCookie {
        name: text_of(args.word(1)),
        expires: StickyExpires::Session,
        domain: None,
        path: None,
        httponly: false,
        secure: false,
        samesite: None,
    };
    let mut seen: Vec<&[u8]> = Vec::new();
    for word in &args.words[2..] {
        let (key, value) = match word.bytes.iter().position(|&b| b == b'=') {
            Some(at) => word.bytes.split_at(at + 1),
            None => (&word.bytes[..], &b""[..]),
        };
        let name = || String::from_utf8_lossy(key.strip_suffix(b"=").unwrap_or(key)).into_owned();
        if seen.contains(&key) {
            return Err(args.fault(&format!("parameter \"{}\" is duplicate", name())));
        }
        seen.push(key);
        if matches!(key, b"domain=" | b"path=") && value.is_empty() {
            return Err(args.fault(&format!("no value for \"{}\"", name())));
        }
        match key {
            b"domain=" => out.domain = Some(after(word, key.len())),
            b"path=" => out.path = Some(after(word, key.len())),
            b"expires=" if value == b"max" => out.expires = StickyExpires::Max,
            b"expires=" => match parse_sec(value) {
                Some(time) => out.expires = StickyExpires::After(time),
                None => return Err(args.fault("invalid \"expires\" parameter value")),
            },
            b"httponly" => out.httponly = true,
            b"secure" => out.secure = true,
            b"samesite=" => {
                if !value.contains(&b'$') && !is_samesite(value) {
                    return Err(args.fault("invalid \"samesite\" parameter value"));
                }
                out.samesite = Some(after(word, key.len()));
            }
            _ => return Err(unknown(word)),
        }
    }
    Ok(out)
}

fn is_cookie_name(byte: u8) -> bool {
    byte > b' ' && byte < 0x7f && !matches!(byte, b';' | b',' | b'=')
}

/// Whether a cookie may say so of itself.
pub(crate) fn is_samesite(value: &[u8]) -> bool {
    [&b"strict"[..], b"lax", b"none"]
        .iter()
        .any(|known| value.eq_ignore_ascii_case(known))
}

fn learn(args: &mut Args<'_>) -> Parsed<StickyLearn> {
    let mut out = StickyLearn {
        create: Vec::new(),
        lookup: Vec::new(),
        zone: Arc::default(),
        size: 0,
        timeout: Duration::ZERO,
        header: false,
    };
    for word in &args.words[1..] {
        let bytes = &word.bytes[..];
        if let Some(zone) = bytes.strip_prefix(b"zone=") {
            if out.size != 0 {
                return Err(args.fault("duplicate zone"));
            }
            (out.zone, out.size) = sized(args, zone)?;
        } else if let Some(timeout) = bytes.strip_prefix(b"timeout=") {
            if !out.timeout.is_zero() {
                return Err(args.fault("duplicate timeout"));
            }
            out.timeout = parse_msec(timeout)
                .filter(|timeout| !timeout.is_zero())
                .ok_or_else(|| args.fault("invalid timeout"))?;
        } else if bytes.starts_with(b"create=") {
            let missing = |_| args.fault("missing variable in the \"create\" parameter");
            out.create.push(variable(word, 7).map_err(missing)?);
        } else if bytes.starts_with(b"lookup=") {
            let missing = |_| args.fault("missing variable in the \"lookup\" parameter");
            out.lookup.push(variable(word, 7).map_err(missing)?);
        } else if bytes == b"header" {
            out.header = true;
        } else if bytes == b"sync" {
            return Err(at(
                word,
                "the \"sync\" parameter of \"sticky\" is not supported: sessions are shared by all shards of one \
                 process, not between machines",
            ));
        } else {
            return Err(unknown(word));
        }
    }
    for (missing, name) in [
        (out.lookup.is_empty(), "lookup"),
        (out.create.is_empty(), "create"),
        (out.size == 0, "zone"),
    ] {
        if missing {
            return Err(args.fault(&format!("\"{name}\" parameter is not specified")));
        }
    }
    if out.timeout.is_zero() {
        out.timeout = TIMEOUT;
    }
    Ok(out)
}

/// `NAME:SIZE`.
fn sized(args: &Args<'_>, text: &[u8]) -> Parsed<(Arc<[u8]>, u64)> {
    let colon = text.iter().position(|&b| b == b':');
    let colon = colon.ok_or_else(|| args.fault("zone size is not specified"))?;
    if colon == 0 {
        return Err(args.fault("zone name is not specified"));
    }
    let size = parse_size(&text[colon + 1..]).ok_or_else(|| args.fault("invalid zone size"))?;
    if size < zones::ZONE_BYTES_MIN {
        return Err(args.fault("zone is too small"));
    }
    Ok((Arc::from(&text[..colon]), size as u64))
}
