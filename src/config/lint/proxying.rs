//! Whom requests are passed on to, and with which connection: names, TLS, pools, retries. Start at [`level`].

use std::collections::HashSet;
use std::sync::Arc;

use super::rules;
use super::{Finding, Lint, Place, every, named, reads};
use crate::config::model::*;

pub(super) fn level<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    retries(lint, place);
    let Some(pass) = place.pass().filter(|_| !place.nameless()) else {
        return;
    };
    if pass.wire == WireKind::Http {
        host(lint, place, pass);
        pool(lint, place, pass);
    }
    if pass.wire == WireKind::FastCgi {
        script(lint, place, pass);
    }
    tls(lint, place, pass);
    resolver(lint, place, pass);
    chosen(lint, place, pass);
}

/// The value that a level sends for a field.
pub(super) fn sends<'p>(place: &Place<'p>, field: &str) -> Option<&'p SetHeader> {
    let list: &'p List<SetHeader> = &place.here.proxy.proxy_set_header;
    list.iter()
        .find(|h| h.name.eq_ignore_ascii_case(field.as_bytes()))
}

/// The group that a target names.
fn group<'a>(lint: &Lint<'a>, pass: &ProxyPass) -> Option<&'a Upstream> {
    let target = pass
        .target
        .as_ref()
        .filter(|t| t.port.is_none() && !t.unix)?;
    let upstreams = lint.http.map(|h| &h.upstreams)?;
    upstreams
        .iter()
        .find(|u| u.name.eq_ignore_ascii_case(&target.host))
}

/// What the backend is told it is called.
fn host<'a>(lint: &mut Lint<'a>, place: &Place<'a>, pass: &ProxyPass) {
    let sent = sends(place, "Host");
    if let Some(header) = sent {
        if *header.value.bytes == *b"$http_host"
            && place
                .own("proxy_set_header")
                .any(|d| d.args.get(1).is_some_and(|w| w.span == header.value.span))
        {
            let message = "the backend is told what the client wrote, which need not be the host that chose this server";
            let request = format!("{} with Host: other.example", place.get(&place.sample("")));
            lint.say(Finding::new(&rules::HTTP_HOST, header.value.span, message).request(request));
        }
        return;
    }
    let Some(target) = &pass.target else { return };
    if !place.here.proxy_pass.pass_request_headers {
        return;
    }
    let grouped = group(lint, pass).is_some();
    let shown = match (target.unix, grouped) {
        (true, _) => "localhost".to_owned(),
        (false, true) => String::from_utf8_lossy(&target.host).into_owned(),
        (false, false) => String::from_utf8_lossy(&target.authority).into_owned(),
    };
    // A real name of another site is what that site wants to hear.
    let local = target.host.eq_ignore_ascii_case(b"localhost")
        || String::from_utf8_lossy(&target.host)
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok();
    if !(target.unix || grouped || local) || (grouped && target.host.contains(&b'.')) {
        return;
    }
    let message = format!("the backend is asked for \"Host: {shown}\"");
    let finding = Finding::new(&rules::MISSING_HOST, pass.url.span, message)
        .request(place.get(&place.sample("")));
    lint.say(match local && !grouped {
        true => finding.note(),
        false => finding,
    });
}

/// A pool that every request leaves empty.
fn pool<'a>(lint: &mut Lint<'a>, place: &Place<'a>, pass: &ProxyPass) {
    let Some(upstream) = group(lint, pass) else {
        return;
    };
    let written = lint
        .top
        .and_then(|top| top.block.as_deref())
        .into_iter()
        .flat_map(|inside| named(inside, "upstream"))
        .find(|d| (d.span.file, d.span.start) == (upstream.pos.file, upstream.pos.start))
        .and_then(|d| named(d.block.as_deref().unwrap_or_default(), "keepalive").next());
    if written.is_none() || upstream.keepalive == 0 {
        return;
    }
    let name = String::from_utf8_lossy(&upstream.name);
    let close = sends(place, "Connection").filter(|h| h.value.bytes.eq_ignore_ascii_case(b"close"));
    let message = if let Some(header) = close {
        (
            header.value.span,
            format!("\"Connection: close\" empties the pool of \"{name}\""),
        )
    } else if place.here.proxy.proxy_http_version == HttpVersion::Http10
        && sends(place, "Connection").is_none()
    {
        let Some(directive) = place.written("proxy_http_version") else {
            return;
        };
        (
            directive.span,
            format!("HTTP/1.0 closes each connection: the pool of \"{name}\" stays empty"),
        )
    } else {
        return;
    };
    lint.say(
        Finding::new(&rules::CLOSED_KEEPALIVE, message.0, message.1)
            .request(place.get(&place.sample(""))),
    );
}

/// PHP needs to be told which file it is about.
fn script<'a>(lint: &mut Lint<'a>, place: &Place<'a>, pass: &ProxyPass) {
    let php = place.path().to_ascii_lowercase().contains("php");
    let params = &place.here.fastcgi.fastcgi_param;
    let told = params.iter().any(|p| *p.name == *b"SCRIPT_FILENAME");
    if php && !told {
        let message = "PHP is not told which file to run";
        lint.say(
            Finding::new(&rules::MISSING_SCRIPT_FILENAME, pass.url.span, message)
                .request(place.get("/index.php")),
        );
    }
}

fn tls<'a>(lint: &mut Lint<'a>, place: &Place<'a>, pass: &ProxyPass) {
    let settings = match pass.wire {
        WireKind::Http => &place.here.proxy_ssl,
        WireKind::Grpc => &place.here.grpc_ssl,
        WireKind::FastCgi => return,
    };
    let Some(target) = pass.target.as_ref().filter(|t| t.secure) else {
        return;
    };
    let shown = String::from_utf8_lossy(&target.host).into_owned();
    let address = shown
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok();
    let local = target.unix || shown.eq_ignore_ascii_case("localhost") || shown.starts_with("127.");
    if !settings.verify && !local {
        let message = format!("the certificate of \"{shown}\" is not looked at");
        lint.say(
            Finding::new(&rules::UNVERIFIED_BACKEND, pass.url.span, message)
                .request(place.get(&place.sample(""))),
        );
    }
    if !settings.server_name && !address && !local && shown.contains('.') {
        let message = format!("the backend is not told that \"{shown}\" is meant");
        lint.say(
            Finding::new(&rules::BACKEND_WITHOUT_SNI, pass.url.span, message)
                .request(place.get(&place.sample(""))),
        );
    }
}

/// The host part of a URL with variables.
fn variable_host(pass: &ProxyPass) -> Option<String> {
    if pass.target.is_some() {
        return None;
    }
    let url = pass.url.lossy();
    let rest = url.split_once("://").map_or(&url[..], |(_, rest)| rest);
    let end = rest.find('/').unwrap_or(rest.len());
    let host = &rest[..end];
    // A URI that follows at once is no part of the host: http://app$request_uri.
    let end = ["$request_uri", "$uri", "$document_uri", "$is_args", "$args"]
        .iter()
        .filter_map(|v| host.find(v))
        .min()
        .unwrap_or(host.len());
    Some(host[..end].to_owned())
}

/// The values that a variable can have, where the text says them all.
fn values(lint: &Lint<'_>, place: &Place<'_>, variable: &[u8]) -> Option<Vec<String>> {
    let http = lint.http?;
    let mut all = Vec::new();
    if let Some(map) = http.maps.iter().find(|m| *m.variable.bytes == *variable) {
        all.push(map.default.lossy());
        all.extend(map.entries.iter().map(|e| e.value.lossy()));
    }
    if let Some(geo) = http.geos.iter().find(|g| *g.variable.bytes == *variable) {
        all.push(geo.default.lossy());
        all.extend(geo.entries.iter().map(|e| e.value.lossy()));
    }
    for split in &http.split_clients {
        if *split.variable.bytes == *variable {
            all.extend(split.parts.iter().map(|(_, v)| v.lossy()));
        }
    }
    let scripts = every(place.server).into_iter().map(|l| &l.script);
    for op in scripts.chain([&place.server.script]).flatten() {
        if let Op::Set {
            variable: set,
            value,
        } = op
            && *set.bytes == *variable
        {
            all.push(value.lossy());
        }
    }
    let known = !all.is_empty() && all.iter().all(|v| !v.contains('$'));
    known.then_some(all)
}

/// Names that come up at run time need somebody who knows them.
fn resolver<'a>(lint: &mut Lint<'a>, place: &Place<'a>, pass: &ProxyPass) {
    let Some(host) = variable_host(pass).filter(|_| place.here.core.resolver.is_none()) else {
        return;
    };
    let bare = host
        .strip_prefix('$')
        .filter(|v| v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    let hosts = match bare {
        _ if !host.contains('$') => vec![host.clone()],
        Some(name) => match values(lint, place, name.as_bytes()) {
            Some(values) => values,
            None if name == "proxy_host" || name == "server_addr" || name == "remote_addr" => {
                return;
            }
            None => Vec::new(),
        },
        None => Vec::new(),
    };
    let groups: HashSet<Vec<u8>> = lint
        .http
        .iter()
        .flat_map(|h| &h.upstreams)
        .map(|u| u.name.to_ascii_lowercase())
        .collect();
    let known = |host: &String| {
        let host = host.split_once("://").map_or(&host[..], |(_, h)| h);
        let host = host.split('/').next().unwrap_or(host);
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        host.is_empty()
            || host.starts_with("unix:")
            || groups.contains(host.to_ascii_lowercase().as_bytes())
            || name
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok()
    };
    if !hosts.is_empty() && hosts.iter().all(known) {
        return;
    }
    let message = format!("\"{host}\" is only known per request, and no resolver is named");
    lint.say(
        Finding::new(&rules::MISSING_RESOLVER, pass.url.span, message)
            .request(place.get(&place.sample(""))),
    );
}

/// A host out of the client's hands.
fn chosen<'a>(lint: &mut Lint<'a>, place: &Place<'a>, pass: &ProxyPass) {
    let Some(host) = variable_host(pass) else {
        return;
    };
    let picked = [
        "$arg_",
        "${arg_",
        "$cookie_",
        "${cookie_",
        "$http_",
        "${http_",
    ];
    let whole = host.starts_with('$') && picked.iter().any(|p| host.starts_with(p));
    // `$http_host` with a server of its own names is a choice among these.
    let own = reads(host.as_bytes(), "http_host")
        && place.server.names.iter().any(|n| !n.text.bytes.is_empty());
    if whole && !own {
        let message = format!("the client chooses the backend by \"{host}\"");
        let request = match host.strip_prefix("$arg_") {
            Some(name) => place.get(&format!(
                "{}?{}=169.254.169.254",
                place.sample(""),
                name.trim_end_matches(|c: char| !c.is_alphanumeric())
            )),
            None => place.get(&place.sample("")),
        };
        lint.say(Finding::new(&rules::OPEN_PROXY, pass.url.span, message).request(request));
    }
}

/// `non_idempotent`.
fn retries<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    for name in [
        "proxy_next_upstream",
        "grpc_next_upstream",
        "fastcgi_next_upstream",
    ] {
        for directive in place.own(name) {
            if let Some(word) = directive
                .args
                .iter()
                .find(|w| *w.bytes == *b"non_idempotent")
            {
                let message = "a POST may be made twice";
                let request = place.get(&place.sample("order")).replacen("GET", "POST", 1);
                lint.say(Finding::new(&rules::REPEATED_POST, word.span, message).request(request));
            }
        }
    }
}

/// Groups by themselves.
pub(super) fn whole<'a>(lint: &mut Lint<'a>, http: &'a Http) {
    let servers = http.servers.iter().flat_map(every);
    let used: Vec<&ProxyPass> = servers
        .filter_map(|l| match &l.content {
            Content::Proxy(pass) => Some(&**pass),
            _ => None,
        })
        .collect();
    // A name that is put together at run time may be any of them.
    let open = used.iter().any(|p| p.target.is_none());
    for upstream in &http.upstreams {
        let name = String::from_utf8_lossy(&upstream.name).into_owned();
        let named = used.iter().filter_map(|p| p.target.as_ref());
        let mut hosts = named.map(|t| &t.host);
        if !open && !used.is_empty() && !hosts.any(|h| h.eq_ignore_ascii_case(&upstream.name)) {
            let message = format!("nothing is passed on to \"{name}\"");
            lint.say(Finding::new(&rules::UNUSED_UPSTREAM, upstream.pos, message));
        }
        peers(lint, upstream, &name);
    }
}

fn peers(lint: &mut Lint<'_>, upstream: &Upstream, name: &str) {
    let mut seen: HashSet<Arc<[u8]>> = HashSet::new();
    for server in &upstream.servers {
        if !seen.insert(Arc::clone(&server.address.bytes)) {
            let message = format!("\"{}\" stands twice in \"{name}\"", server.address.lossy());
            lint.say(Finding::new(
                &rules::REPEATED_PEER,
                server.address.span,
                message,
            ));
        }
    }
    let [only] = &upstream.servers[..] else {
        return;
    };
    // A name may have several addresses.
    let single = only.unix
        || String::from_utf8_lossy(&only.host)
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok();
    if single && (only.max_fails != 1 || only.fail_timeout.as_secs() != 10) && only.max_fails != 0 {
        let message = format!("the only server of \"{name}\" is never taken out");
        lint.say(Finding::new(&rules::LONE_PEER, only.address.span, message));
    }
}
