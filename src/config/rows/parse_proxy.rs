//! Values of the proxy family that have a grammar of their own.

use std::sync::Arc;

use crate::config::model::*;
use crate::config::table::{Args, Fault};
use crate::config::tree::Word;
use crate::config::url;
use crate::config::value::*;

/// `proxy_redirect`.
pub(crate) fn redirect(args: &mut Args<'_>) -> Parsed<Redirect> {
    match (args.words.len(), args.bytes(0)) {
        (1, b"off") => Ok(Redirect::Off),
        (1, b"default") => Ok(Redirect::Default),
        (1, _) => Err(invalid_parameter(args, 0)),
        _ => Ok(pair(args)),
    }
}

fn pair(args: &Args<'_>) -> Redirect {
    let mut from = text_of(args.word(0));
    let to = text_of(args.word(1));
    let (skip, caseless) = match &from.bytes[..] {
        [b'~', b'*', ..] => (2, true),
        [b'~', ..] => (1, false),
        _ => return Redirect::Prefix { from, to },
    };
    from.bytes = Arc::from(&from.bytes[skip..]);
    Redirect::Regex {
        regex: from,
        caseless,
        to,
    }
}

fn invalid_parameter(args: &Args<'_>, index: usize) -> Fault {
    Fault::new(format!(
        "invalid parameter \"{}\"",
        args.word(index).lossy()
    ))
}

/// `proxy_cookie_path`.
pub(crate) fn cookie_path(args: &mut Args<'_>) -> Parsed<CookieRewrite> {
    match (args.words.len(), args.bytes(0)) {
        (1, b"off") => Ok(Redirect::Off),
        (1, _) => Err(invalid_parameter(args, 0)),
        _ => Ok(pair(args)),
    }
}

/// `proxy_cookie_domain`: patterns never mind case. A leading dot means nothing on either side: the one of the cookie
/// stays.
pub(crate) fn cookie_domain(args: &mut Args<'_>) -> Parsed<CookieRewrite> {
    match (args.words.len(), args.bytes(0)) {
        (1, b"off") => return Ok(Redirect::Off),
        (1, _) => return Err(invalid_parameter(args, 0)),
        _ => {}
    }
    let (mut from, mut to) = (text_of(args.word(0)), text_of(args.word(1)));
    if let [b'~', rest @ ..] = &from.bytes[..] {
        from.bytes = Arc::from(rest);
        return Ok(Redirect::Regex {
            regex: from,
            caseless: true,
            to,
        });
    }
    for text in [&mut from, &mut to] {
        if let [b'.', rest @ ..] = &text.bytes[..] {
            text.bytes = Arc::from(rest);
        }
    }
    Ok(Redirect::Prefix { from, to })
}

/// `proxy_cookie_flags`.
pub(crate) fn cookie_flags(args: &mut Args<'_>) -> Parsed<CookieFlags> {
    let mut cookie = text_of(args.word(0));
    if args.words.len() == 1 {
        return match args.bytes(0) {
            b"off" => Ok(CookieFlags {
                off: true,
                cookie,
                regex: false,
                flags: Vec::new(),
            }),
            _ => Err(invalid_parameter(args, 0)),
        };
    }
    let regex = cookie.bytes.first() == Some(&b'~');
    if regex {
        cookie.bytes = Arc::from(&cookie.bytes[1..]);
    }
    Ok(CookieFlags {
        off: false,
        cookie,
        regex,
        flags: args.words[1..].iter().map(text_of).collect(),
    })
}

/// `proxy_bind`.
pub(crate) fn bind(args: &mut Args<'_>) -> Parsed<Option<Bind>> {
    if args.words.len() == 1 && args.bytes(0) == b"off" {
        return Ok(Some(Bind::Off));
    }
    let address = text_of(args.word(0));
    if !address.has_variables() {
        let parsed = url::parse(&address.bytes, false)
            .ok()
            .and_then(|u| url::ip(&u.host));
        // A bare IPv6 address needs no brackets here.
        let bare = || {
            std::str::from_utf8(&address.bytes)
                .ok()
                .and_then(|t| t.parse::<std::net::IpAddr>().ok())
        };
        if parsed.or_else(bare).is_none() {
            return Err(Fault::new(format!(
                "invalid address \"{}\"",
                address.lossy()
            )));
        }
    }
    let transparent = match args.words.get(1) {
        None => false,
        Some(word) if *word.bytes == *b"transparent" => true,
        Some(_) => return Err(invalid_parameter(args, 1)),
    };
    Ok(Some(Bind::Address {
        address,
        transparent,
    }))
}

/// `NAME VALUE`.
pub(crate) fn set_header(args: &mut Args<'_>) -> Parsed<SetHeader> {
    Ok(SetHeader {
        name: Arc::clone(&args.word(0).bytes),
        value: text_of(args.word(1)),
    })
}

/// `proxy_next_upstream`, `fastcgi_next_upstream`.
pub(crate) fn next_upstream(args: &mut Args<'_>) -> Parsed<NextUpstream> {
    // A FastCGI backend is no gateway: nginx does not know these words there.
    let unknown = |word: &&Word| matches!(&*word.bytes, b"http_502" | b"http_504");
    if args.name.starts_with("fastcgi")
        && let Some(word) = args.words.iter().find(unknown)
    {
        return Err(Fault::new(format!("invalid value \"{}\"", word.lossy())));
    }
    any_of(
        args,
        NextUpstream::WORDS,
        NextUpstream::has,
        NextUpstream::with,
    )
}

/// `proxy_ignore_headers`.
pub(crate) fn ignore_headers(args: &mut Args<'_>) -> Parsed<IgnoreHeaders> {
    any_of(
        args,
        IgnoreHeaders::WORDS,
        IgnoreHeaders::has,
        IgnoreHeaders::with,
    )
}

/// `proxy_http_version`. `2.0`, which guides write, is nginx's `2`.
///
/// Differs from nginx: there `2.0` is no value.
pub(crate) fn http_version(args: &mut Args<'_>) -> Parsed<HttpVersion> {
    if args.bytes(0) == b"2.0" {
        let text = "\"proxy_http_version 2.0\" is taken for \"2\", which is how nginx writes it";
        args.warnings.push(text.to_owned());
        return Ok(HttpVersion::Http2);
    }
    one_of(args, HttpVersion::WORDS)
}

/// `user:rw group:r all:r`.
pub(crate) fn access(args: &mut Args<'_>) -> Parsed<u32> {
    let mut mode = 0o600;
    for word in args.words {
        let whom = [(&b"user:"[..], 6), (b"group:", 3), (b"all:", 0)];
        let mut whom = whom.into_iter();
        let known = whom.find_map(|(who, shift)| Some((word.bytes.strip_prefix(who)?, shift)));
        mode |= match known {
            Some((b"rw", shift)) => 6 << shift,
            Some((b"r", shift)) => 4 << shift,
            _ => return Err(Fault::new(format!("invalid value \"{}\"", word.lossy()))),
        };
    }
    Ok(mode)
}
