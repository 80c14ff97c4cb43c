//! Rows of `upstream` blocks: servers, balancing, idle connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::parse_core::resolver;
use super::sticky::ROUTE_MAX;
use super::zones;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Contexts, Fault, Row, args, args_min, args_to, refused, row};
use crate::config::tree::Directive;
use crate::config::url;
use crate::config::value::*;

/// A row that stores a parsed value in the group.
macro_rules! group_row {
    ($name:literal, $arity:expr, $parse:expr => $field:ident, $doc:literal) => {
        row(
            $name,
            U,
            $arity,
            |load, frame, directive| {
                if let (Some(value), Some(group)) =
                    (load.parse(directive, $parse), &mut frame.upstream)
                {
                    group.$field = value;
                }
            },
            $doc,
        )
    };
}

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    row("upstream", H.or(T), args(1), upstream, "A group of servers.").scope(),
    row("server", U.or(TU), args_min(1), server, "A server of the group.").many(),
    row("zone", U.or(TU), args_to(1, 2), zone, "Shares the state of the group.").many(),
    row("least_conn", U.or(TU), args(0), |l, f, d| balance(l, f, d, Balance::LeastConn), "Picks the server with the fewest connections for its weight.").many(),
    row("least_time", U, args_to(1, 2), least_time, "Picks the server that is expected to answer first.").many(),
    row("ip_hash", U, args(0), |l, f, d| balance(l, f, d, Balance::IpHash), "Keeps a client's network on one server.").many(),
    row("hash", U.or(TU), args_to(1, 2), hash, "Keeps a key on one server.").many(),
    row("random", U.or(TU), args_to(0, 2), random, "Picks servers at random.").many(),
    row("keepalive", U, args_to(1, 2), keepalive, "How many idle connections each shard keeps.").default("32 local"),
    group_row!("keepalive_timeout", args(1), msec => keepalive_timeout, "How long an idle connection is kept.").default("60s"),
    group_row!("keepalive_requests", args(1), num => keepalive_requests, "Most requests of one connection.").default("1000"),
    group_row!("keepalive_time", args(1), msec => keepalive_time, "Longest life of a connection.").default("1h"),
    group_row!("resolver", args_min(1), resolver => resolver, "Name servers of the group."),
    group_row!("resolver_timeout", args(1), some_msec => resolver_timeout, "How long to wait for a name server."),
    refused("least_time", TU, args_to(1, 2), "times of connections are not measured; least_conn is near"),
    refused("queue", U, args_to(1, 2), "requests do not wait for a free server: beyond max_conns they are answered at once, with 503 and Retry-After"),
    refused("ntlm", U, args(0), "NTLM needs a connection for each client"),
    refused("state", U, args(1), "the servers of a group come from the configuration; resolve lets a name server change them"),
];

fn upstream(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let name = directive.args[0].bytes.to_ascii_lowercase();
    let context = match frame.context {
        Contexts::STREAM => Contexts::STREAM_UPSTREAM,
        _ => Contexts::UPSTREAM,
    };
    let mut inner = frame.child(context);
    inner.upstream = Some(Box::new(Upstream {
        name: Arc::from(name),
        servers: Vec::new(),
        balance: Balance::RoundRobin,
        sticky: None,
        zone: None,
        keepalive: 32,
        keepalive_local: true,
        keepalive_timeout: Duration::from_secs(60),
        keepalive_requests: 1000,
        keepalive_time: Duration::from_secs(3600),
        resolver: None,
        resolver_timeout: None,
        pos: directive.span,
    }));
    load.apply(&mut inner, directive.block.as_deref().unwrap_or_default());
    let (Some(group), Some(http)) = (inner.upstream, &mut load.http) else {
        return;
    };
    let empty = !inner.seen.contains_key("server");
    let no_primary = !group.servers.is_empty() && group.servers.iter().all(|s| s.backup);
    let first = load.shared.groups.insert(group.name.to_vec());
    http.upstreams.push(*group);
    let name = directive.args[0].lossy();
    if !first {
        load.error(format!("duplicate upstream \"{name}\""), directive.span);
    } else if empty {
        load.error("no servers are inside upstream", directive.span);
    } else if no_primary {
        load.error(format!("no servers in upstream \"{name}\""), directive.span);
    }
}

fn server(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let methods = frame
        .upstream
        .as_ref()
        .map(|g| g.balance.clone())
        .unwrap_or_default();
    // Only a method that stands above the line is known to it, as in nginx.
    let backup = matches!(
        methods,
        Balance::RoundRobin | Balance::LeastConn | Balance::LeastTime { .. }
    );
    match load.parse(directive, parse_server) {
        Some(server) if server.backup && !backup => {
            load.error(
                "balancing method does not support parameter \"backup\"",
                directive.span,
            );
        }
        Some(server) if !server.slow_start.is_zero() && !backup => {
            load.error(
                "balancing method does not support parameter \"slow_start\"",
                directive.span,
            );
        }
        Some(server) => {
            if let Some(group) = &mut frame.upstream {
                group.servers.push(server);
            }
        }
        None => {}
    }
}

fn parse_server(args: &mut Args<'_>) -> Parsed<UpstreamServer> {
    let mut out = UpstreamServer {
        address: text_of(args.word(0)),
        host: Arc::default(),
        port: 80,
        unix: false,
        weight: 1,
        max_conns: 0,
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        backup: false,
        down: false,
        drain: false,
        route: Arc::default(),
        resolve: false,
        service: Arc::default(),
        slow_start: Duration::ZERO,
    };
    for word in &args.words[1..] {
        let invalid = || Fault {
            span: Some(word.span),
            ..Fault::new(format!("invalid parameter \"{}\"", word.lossy()))
        };
        let (key, value) = match word.bytes.iter().position(|&b| b == b'=') {
            Some(at) => word.bytes.split_at(at + 1),
            None => (&word.bytes[..], &b""[..]),
        };
        let number = || {
            decimal(value)
                .map(|n| u32::try_from(n).unwrap_or(u32::MAX))
                .ok_or_else(invalid)
        };
        match key {
            b"weight=" => out.weight = Some(number()?).filter(|&n| n > 0).ok_or_else(invalid)?,
            b"max_conns=" => out.max_conns = number()?,
            b"max_fails=" => out.max_fails = number()?,
            b"fail_timeout=" => out.fail_timeout = parse_sec(value).ok_or_else(invalid)?,
            b"backup" => out.backup = true,
            b"down" => out.down = true,
            b"resolve" => out.resolve = true,
            b"service=" if value.is_empty() => return Err(Fault::new("service is empty")),
            b"service=" => out.service = Arc::from(value),
            b"drain" => out.drain = true,
            b"route=" if value.is_empty() => return Err(Fault::new("route is empty")),
            b"route=" if value.len() > ROUTE_MAX => {
                return Err(Fault::new(format!("route is longer than {ROUTE_MAX}")));
            }
            b"route=" => out.route = Arc::from(value),
            b"slow_start=" => out.slow_start = parse_msec(value).ok_or_else(invalid)?,
            _ => return Err(invalid()),
        }
    }
    let url = url::parse(args.bytes(0), false)
        .map_err(|e| Fault::new(format!("{e} in upstream \"{}\"", args.word(0).lossy())))?;
    check_names(&mut out, &url).map_err(Fault::new)?;
    out.host = Arc::from(url.host);
    out.unix = url.unix;
    out.port = url.port.unwrap_or(80);
    Ok(out)
}

/// What `resolve` and `service=` ask of an address.
fn check_names(server: &mut UpstreamServer, url: &url::Url) -> Result<(), String> {
    let shown = server.address.lossy();
    let text = String::from_utf8_lossy(&url.host);
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let fixed = url.unix || bare.unwrap_or(&text).parse::<IpAddr>().is_ok();
    if !server.service.is_empty() {
        let problem = match (server.resolve, url.port, fixed) {
            (false, ..) => "requires \"resolve\" parameter",
            (true, Some(_), _) => "may not have port",
            (true, None, true) => "requires domain name",
            (true, None, false) => return Ok(()),
        };
        return Err(format!("service upstream \"{shown}\" {problem}"));
    }
    // An address stays what it is.
    server.resolve &= !fixed;
    Ok(())
}

fn balance(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive, method: Balance) {
    let Some(group) = &mut frame.upstream else {
        return;
    };
    let redefined = group.balance != Balance::RoundRobin;
    group.balance = method;
    if redefined {
        load.warn("load balancing method redefined", directive.span);
    }
}

fn least_time(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let what = &directive.args[0];
    let last_byte = match &what.bytes[..] {
        b"header" => false,
        b"last_byte" => true,
        _ => return load.error(format!("invalid value \"{}\"", what.lossy()), what.span),
    };
    let inflight = match directive.args.get(1) {
        None => false,
        Some(word) if *word.bytes == *b"inflight" => true,
        Some(word) => {
            return load.error(format!("invalid parameter \"{}\"", word.lossy()), word.span);
        }
    };
    let method = Balance::LeastTime {
        last_byte,
        inflight,
    };
    balance(load, frame, directive, method);
}

fn hash(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let consistent = match directive.args.get(1) {
        None => false,
        Some(word) if *word.bytes == *b"consistent" => true,
        Some(word) => {
            return load.error(format!("invalid parameter \"{}\"", word.lossy()), word.span);
        }
    };
    balance(
        load,
        frame,
        directive,
        Balance::Hash {
            key: text_of(&directive.args[0]),
            consistent,
        },
    );
}

fn random(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let expected: [&[u8]; 2] = [b"two", b"least_conn"];
    for (word, want) in directive.args.iter().zip(expected) {
        if *word.bytes != *want {
            return load.error(format!("invalid parameter \"{}\"", word.lossy()), word.span);
        }
    }
    balance(
        load,
        frame,
        directive,
        Balance::Random {
            two: !directive.args.is_empty(),
        },
    );
}

fn keepalive(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let count = &directive.args[0];
    let Some(n) = decimal(&count.bytes) else {
        return load.error(
            format!(
                "invalid value \"{}\" in \"keepalive\" directive",
                count.lossy()
            ),
            count.span,
        );
    };
    let local = match directive.args.get(1) {
        None => false,
        Some(word) if *word.bytes == *b"local" => true,
        Some(word) => {
            return load.error(format!("invalid parameter \"{}\"", word.lossy()), word.span);
        }
    };
    if let Some(group) = &mut frame.upstream {
        group.keepalive = u32::try_from(n).unwrap_or(u32::MAX);
        group.keepalive_local = local;
    }
}

fn zone(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let name = &directive.args[0];
    if name.bytes.is_empty() {
        return load.error("invalid zone name \"\"", name.span);
    }
    let size = match directive.args.get(1) {
        None => 0,
        Some(word) => match parse_size(&word.bytes) {
            None => {
                return load.error(format!("invalid zone size \"{}\"", word.lossy()), word.span);
            }
            Some(size) if size < zones::ZONE_BYTES_MIN => {
                return load.error(format!("zone \"{}\" is too small", name.lossy()), word.span);
            }
            Some(size) => size,
        },
    };
    if !zones::claim(load, name, size, zones::Use::Upstream, directive.span) {
        return;
    }
    if let Some(group) = &mut frame.upstream {
        group.zone = Some((Arc::clone(&name.bytes), size as u64));
    }
}
