//! Rows of blocks and of what belongs to a server: `http`, `server`, `listen`, `server_name`, `location`, `limit_except`.

use std::sync::Arc;

use crate::config::lower::{Frame, Here, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Contexts, Row, args, args_min, args_to, row};
use crate::config::tree::{Directive, Span, Word};
use crate::config::url;
use crate::config::value::*;

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    row("http", M, args(0), http, "Everything about HTTP.")
        .scope()
        .once(),
    row("server", H, args(0), server, "One virtual server.").scope(),
    row(
        "listen",
        S,
        args_min(1),
        listen,
        "Where a server is reached.",
    )
    .many()
    .default("*:80"),
    row(
        "server_name",
        S,
        args_min(1),
        server_name,
        "Names of a server.",
    )
    .many()
    .default("\"\""),
    row(
        "location",
        SL,
        args_to(1, 2),
        location,
        "What happens to a part of the URIs.",
    )
    .scope(),
    row(
        "limit_except",
        L,
        args_min(1),
        limit_except,
        "What happens to all methods but these.",
    )
    .scope()
    .once(),
];

fn inside(directive: &Directive) -> &[Directive] {
    directive.block.as_deref().unwrap_or_default()
}

fn http(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let mut http = Http {
        pos: directive.span,
        ..Http::default()
    };
    http.log_formats.push(super::log::combined());
    load.http = Some(http);
    let mut inner = frame.child(Contexts::HTTP);
    super::initial(load.prefix, &mut inner.settings);
    // Formats first: nginx wants them above the logs that name them, but their order is no reason to refuse a file.
    super::log::formats(load, inside(directive));
    load.apply(&mut inner, inside(directive));
    if let Some(http) = &mut load.http {
        http.settings = inner.settings;
    }
    super::checks::http(load);
}

fn server(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let mut inner = frame.child(Contexts::SERVER);
    load.apply(&mut inner, inside(directive));
    if inner.listens.is_empty() && !inner.seen.contains_key("listen") {
        // Differs from nginx: port 80 also for those who may not bind it; the bind then says why it fails.
        let addr = url::parse_listen(b"*:80", 80)
            .ok()
            .and_then(|mut a| a.pop());
        inner.listens.extend(addr.map(|addr| Listen {
            addr,
            default_server: false,
            proxy_protocol: false,
            ssl: false,
            http2: false,
            options: ListenOptions::default(),
            text: Text {
                bytes: Arc::from(&b""[..]),
                span: directive.span,
            },
        }));
    }
    if inner.names.is_empty() {
        inner.names.push(no_name(directive.span));
    }
    super::checks::locations(load, &inner.locations);
    if let Some(http) = &mut load.http {
        http.servers.push(Server {
            settings: inner.settings,
            listens: inner.listens,
            names: inner.names,
            script: inner.script,
            locations: inner.locations,
            content: inner.content,
            pos: directive.span,
        });
    }
}

/// The name of a server that has none.
pub(super) fn no_name(span: Span) -> Name {
    Name {
        text: Text {
            span,
            ..Text::default()
        },
        kind: NameKind::Exact,
    }
}

pub(super) fn server_name(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    for word in &directive.args {
        match name(load, directive, word) {
            Ok(name) => frame.names.push(name),
            Err(message) => load.error(message, word.span),
        }
    }
}

fn name(load: &mut Lowering<'_>, directive: &Directive, word: &Word) -> Result<Name, String> {
    let shown = word.lossy();
    let bytes = &word.bytes[..];
    let invalid = match bytes {
        [b'*', rest @ ..] => rest.len() < 2 || rest[0] != b'.',
        [b'.', rest @ ..] => rest.is_empty(),
        _ => false,
    };
    if invalid {
        return Err(format!("server name \"{shown}\" is invalid"));
    }
    if bytes.contains(&b'/') {
        load.warn(
            format!("server name \"{shown}\" has suspicious symbols"),
            directive.span,
        );
    }
    let text = |bytes: &[u8]| Text {
        bytes: Arc::from(bytes),
        span: word.span,
    };
    if let [b'~', pattern @ ..] = bytes {
        if pattern.is_empty() {
            return Err(format!("empty regex in server name \"{shown}\""));
        }
        let caseless = pattern.iter().any(u8::is_ascii_uppercase);
        return Ok(Name {
            text: text(pattern),
            kind: NameKind::Regex { caseless },
        });
    }
    let lower = bytes.to_ascii_lowercase();
    // A star anywhere else is refused only once names are compared, as in nginx; until then it is a name like any other.
    let stars = lower.iter().filter(|&&b| b == b'*').count();
    let kind = match &lower[..] {
        [b'*', b'.', ..] if stars == 1 => NameKind::Suffix,
        [b'.', ..] if stars == 0 => NameKind::NameAndSuffix,
        [_, .., b'.', b'*'] if stars == 1 => NameKind::Prefix,
        _ => NameKind::Exact,
    };
    Ok(Name {
        text: text(&lower),
        kind,
    })
}

fn location(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let Some((kind, path)) = location_kind(load, directive) else {
        return;
    };
    let nested = frame.context == Contexts::LOCATION;
    if let Some(outer) = frame.here.as_ref().filter(|_| nested)
        && let Some(message) = misplaced(outer, &kind, &path)
    {
        load.error(message, directive.span);
        return;
    }
    let mut inner = frame.child(Contexts::LOCATION);
    inner.here = Some(Here {
        path: path.clone(),
        named: kind == Kind::Named,
        regex: matches!(kind, Kind::Regex { .. }),
        exact: kind == Kind::Exact,
        noname: false,
    });
    load.apply(&mut inner, inside(directive));
    super::checks::locations(load, &inner.locations);
    super::checks::alias(load, &inner, &kind, &path);
    frame
        .locations
        .push(finished(inner, kind, path, directive.span));
}

/// What a finished block of location kind becomes.
pub(super) fn finished(inner: Frame, kind: Kind, path: Text, pos: Span) -> Location {
    Location {
        kind,
        path,
        settings: inner.settings,
        content: inner.content,
        check: inner.check,
        script: inner.script,
        locations: inner.locations,
        pos,
    }
}

fn location_kind(load: &mut Lowering<'_>, directive: &Directive) -> Option<(Kind, Text)> {
    let (modifier, word, skip) = match &directive.args[..] {
        [modifier, word] => (&modifier.bytes[..], word, 0),
        [word] => {
            let modifier: &[u8] = match &word.bytes[..] {
                [b'=', ..] => b"=",
                [b'^', b'~', ..] => b"^~",
                [b'~', b'*', ..] => b"~*",
                [b'~', ..] => b"~",
                _ => b"",
            };
            (modifier, word, modifier.len())
        }
        _ => return None,
    };
    let path = Text {
        bytes: Arc::from(&word.bytes[skip..]),
        span: word.span,
    };
    let kind = match modifier {
        b"=" => Kind::Exact,
        b"^~" => Kind::NoRegex,
        b"~" => Kind::Regex { caseless: false },
        b"~*" => Kind::Regex { caseless: true },
        b"" if directive.args.len() == 1 && path.bytes.first() == Some(&b'@') => Kind::Named,
        b"" if directive.args.len() == 1 => Kind::Prefix,
        _ => {
            let shown = directive.args[0].lossy();
            load.error(
                format!("invalid location modifier \"{shown}\""),
                directive.span,
            );
            return None;
        }
    };
    Some((kind, path))
}

fn misplaced(outer: &Here, kind: &Kind, path: &Text) -> Option<String> {
    let (inner, around) = (path.lossy(), outer.path.lossy());
    if outer.exact {
        Some(format!(
            "location \"{inner}\" cannot be inside the exact location \"{around}\""
        ))
    } else if outer.named {
        Some(format!(
            "location \"{inner}\" cannot be inside the named location \"{around}\""
        ))
    } else if *kind == Kind::Named {
        Some(format!(
            "named location \"{inner}\" can be on the server level only"
        ))
    } else if !matches!(kind, Kind::Regex { .. }) && !path.bytes.starts_with(&outer.path.bytes) {
        Some(format!(
            "location \"{inner}\" is outside location \"{around}\""
        ))
    } else {
        None
    }
}

/// Methods that `limit_except` knows.
const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
    "CONNECT",
    "TRACE",
];

fn limit_except(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let mut methods: Vec<Arc<[u8]>> = Vec::new();
    for word in &directive.args {
        match METHODS
            .iter()
            .find(|m| word.bytes.eq_ignore_ascii_case(m.as_bytes()))
        {
            Some(method) => methods.push(Arc::from(method.as_bytes())),
            None => return load.error(format!("invalid method \"{}\"", word.lossy()), word.span),
        }
    }
    let mut inner = noname(frame, Contexts::LIMIT_EXCEPT);
    if !matches!(inner.content, Content::Proxy(_)) {
        inner.content = Content::Files;
    }
    load.apply(&mut inner, inside(directive));
    let path = inner
        .here
        .as_ref()
        .map(|h| h.path.clone())
        .unwrap_or_default();
    frame.locations.push(finished(
        inner,
        Kind::LimitExcept(methods),
        path,
        directive.span,
    ));
}

/// The frame of an `if` or `limit_except`: it has no text of its own and starts with the content around it.
pub(super) fn noname(frame: &Frame, context: Contexts) -> Frame {
    let mut inner = frame.child(context);
    inner.content = frame.content.clone();
    inner.here = Some(match &frame.here {
        Some(here) => Here {
            noname: true,
            ..here.clone()
        },
        None => Here {
            path: Text::default(),
            named: false,
            regex: false,
            exact: false,
            noname: true,
        },
    });
    inner
}

pub(super) fn listen(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let address = &directive.args[0];
    let stream = frame.context == Contexts::STREAM_SERVER;
    let addrs = match url::parse_listen(&address.bytes, if stream { 0 } else { 80 }) {
        Ok(addrs) => addrs,
        Err(what) => {
            let message = format!(
                "{what} in \"{}\" of the \"listen\" directive",
                address.lossy()
            );
            return load.error(message, address.span);
        }
    };
    let mut listen = Listen {
        addr: ListenAddr::Name(String::new(), 0),
        default_server: false,
        proxy_protocol: false,
        ssl: false,
        http2: false,
        options: ListenOptions::default(),
        text: text_of(address),
    };
    let portless = |addr: &ListenAddr| match addr {
        ListenAddr::Inet(addr) => addr.port() == 0,
        ListenAddr::Name(_, port) => *port == 0,
        ListenAddr::Unix(_) => false,
    };
    if addrs.iter().any(portless) {
        let message = format!(
            "no port in \"{}\" of the \"listen\" directive",
            address.lossy()
        );
        return load.error(message, address.span);
    }
    for word in &directive.args[1..] {
        if stream && let Some(because) = super::stream::unfit_listen(&word.bytes) {
            let message = format!(
                "the \"{}\" parameter of \"listen\" is not supported yet: {because}",
                word.lossy()
            );
            return load.error(message, word.span);
        }
        if let Err((message, hint)) = listen_parameter(load, &mut listen, directive, word) {
            match hint {
                Some(hint) => load.error_hint(message, hint, word.span),
                None => load.error(message, word.span),
            }
            return;
        }
    }
    if listen.options.steer && matches!(addrs[..], [ListenAddr::Unix(_)]) {
        let message = "\"steer=client\" needs a TCP address: clients of unix sockets have none";
        return load.error(message, directive.span);
    }
    for addr in addrs {
        frame.listens.push(Listen {
            addr,
            ..listen.clone()
        });
    }
}

type Refusal = (String, Option<String>);

fn listen_parameter(
    load: &mut Lowering<'_>,
    listen: &mut Listen,
    directive: &Directive,
    word: &Word,
) -> Result<(), Refusal> {
    let shown = word.lossy();
    let later = |feature: &str| -> Refusal {
        (
            format!("the \"{shown}\" parameter of \"listen\" is not supported yet: {feature}"),
            None,
        )
    };
    match &word.bytes[..] {
        b"default_server" | b"default" => listen.default_server = true,
        b"proxy_protocol" => listen.proxy_protocol = true,
        b"ssl" => listen.ssl = true,
        b"quic" => return Err(later("HTTP/3")),
        b"http2" => {
            load.warn(
                "the \"listen ... http2\" directive is deprecated, use the \"http2\" directive instead",
                directive.span,
            );
            listen.http2 = true;
        }
        option => {
            listen_option(&mut listen.options, option, &shown).map_err(|m| (m, None))?;
            listen.options.set = true;
            listen.options.bind = true;
        }
    }
    Ok(())
}

fn listen_option(options: &mut ListenOptions, option: &[u8], shown: &str) -> Result<(), String> {
    let (key, value) = match option.iter().position(|&b| b == b'=') {
        Some(at) => (&option[..=at], &option[at + 1..]),
        None => (option, &b""[..]),
    };
    let number = |what: &str| {
        let parsed = decimal(value).and_then(|n| i32::try_from(n).ok());
        parsed.ok_or_else(|| format!("invalid {what} \"{shown}\""))
    };
    let size = |what: &str| parse_size(value).ok_or_else(|| format!("invalid {what} \"{shown}\""));
    match key {
        b"bind" => {}
        b"deferred" => options.deferred = true,
        b"reuseport" => options.reuseport = true,
        b"multipath" => options.multipath = true,
        // Differs from nginx: it has no such option.
        b"steer=" => match value {
            b"client" => options.steer = true,
            b"off" => options.steer = false,
            _ => return Err(format!("invalid steer \"{shown}\"")),
        },
        b"fastopen=" => options.fastopen = Some(number("fastopen")?),
        b"backlog=" => match number("backlog")? {
            0 => return Err(format!("invalid backlog \"{shown}\"")),
            backlog => options.backlog = backlog,
        },
        b"rcvbuf=" => options.rcvbuf = Some(size("rcvbuf")?),
        b"sndbuf=" => options.sndbuf = Some(size("sndbuf")?),
        b"ipv6only=" => match value {
            b"on" => options.ipv6only = true,
            b"off" => options.ipv6only = false,
            [b'o', ..] => {
                return Err(format!(
                    "invalid ipv6only flags \"{}\"",
                    String::from_utf8_lossy(value)
                ));
            }
            _ => return Err(format!("invalid parameter \"{shown}\"")),
        },
        b"so_keepalive=" => {
            options.so_keepalive = so_keepalive(value).ok_or_else(|| {
                format!(
                    "invalid so_keepalive value: \"{}\"",
                    String::from_utf8_lossy(value)
                )
            })?;
        }
        _ => return Err(format!("invalid parameter \"{shown}\"")),
    }
    Ok(())
}

fn so_keepalive(value: &[u8]) -> Option<SoKeepalive> {
    match value {
        b"on" => {
            return Some(SoKeepalive::On {
                idle: None,
                interval: None,
                count: None,
            });
        }
        b"off" => return Some(SoKeepalive::Off),
        _ => {}
    }
    let mut parts = value.splitn(3, |&b| b == b':');
    let mut time = || match parts.next() {
        None | Some(b"") => Some(None),
        Some(text) => parse_sec(text).map(|t| Some(t).filter(|t| !t.is_zero())),
    };
    let (idle, interval) = (time()?, time()?);
    let count = match parts.next() {
        None | Some(b"") => None,
        Some(text) => Some(u32::try_from(decimal(text)?).ok()?).filter(|&n| n > 0),
    };
    if idle.is_none() && interval.is_none() && count.is_none() {
        return None;
    }
    Some(SoKeepalive::On {
        idle,
        interval,
        count,
    })
}
