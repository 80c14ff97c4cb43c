//! Checks that need more than one directive: locations among each other, servers on one address, groups and those who
//! name them. The words are nginx's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::diag::{Diag, Level};
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::tree::Span;

/// Two locations of one level with the same text.
pub(super) fn locations(load: &mut Lowering<'_>, locations: &[Location]) {
    let mut seen: HashSet<(bool, &[u8])> = HashSet::new();
    for location in locations {
        let exact = match location.kind {
            Kind::Exact => true,
            Kind::Prefix | Kind::NoRegex => false,
            _ => continue,
        };
        if !seen.insert((exact, &location.path.bytes)) {
            load.error(
                format!("duplicate location \"{}\"", location.path.lossy()),
                location.pos,
            );
        }
    }
}

/// An `alias` that lets a request out of its folder: `/files../x` is under `/files` and becomes `/srv/files/../x`.
pub(super) fn alias(load: &mut Lowering<'_>, frame: &Frame, kind: &Kind, path: &Text) {
    let Some(&span) = frame.seen.get("alias") else {
        return;
    };
    let root = &frame.settings.core.root;
    let open = matches!(kind, Kind::Prefix | Kind::NoRegex) && !path.bytes.ends_with(b"/");
    if open && root.path.bytes.ends_with(b"/") {
        let path = path.lossy();
        let message = format!("\"alias\" ends with a slash and location \"{path}\" does not");
        let hint =
            format!("write location {path}/, or \"{path}..\" names what lies beside the folder");
        let diag = Diag::at(Level::Warn, message, span, load.files).hint(hint);
        load.diags.push(diag);
    }
}

/// Everything that can only be known at the end of `http`.
pub(super) fn http(load: &mut Lowering<'_>) {
    let Some(http) = load.http.take() else {
        return;
    };
    listens(load, &http);
    super::ssl::check(load, &http);
    names(load, &http);
    caches(load, &http);
    groups(load, &http);
    header_buffers(load, &http);
    load.http = Some(http);
}

/// The same for `stream`.
pub(super) fn stream(load: &mut Lowering<'_>) {
    let Some(stream) = load.http.take() else {
        return;
    };
    listens(load, &stream);
    names(load, &stream);
    for server in &stream.servers {
        if let Content::Session(Session::Pass {
            address,
            target: Some(target),
        }) = &server.content
        {
            let known = load
                .shared
                .groups
                .contains(&target.host.to_ascii_lowercase());
            let shown = String::from_utf8_lossy(&target.host).into_owned();
            match (target.port, known) {
                (None, false) if !target.unix => {
                    load.error(format!("no port in upstream \"{shown}\""), address.span);
                }
                (Some(port), true) if !target.unix => load.error(
                    format!("upstream \"{shown}\" may not have port {port}"),
                    address.span,
                ),
                _ => {}
            }
        }
    }
    load.http = Some(stream);
}

fn header_buffers(load: &mut Lowering<'_>, http: &Http) {
    let small = |s: &&Server| {
        let core = &s.settings.core;
        core.large_client_header_buffers.size < core.connection_pool_size
    };
    if let Some(server) = http.servers.iter().find(small) {
        load.error(
            "the \"large_client_header_buffers\" size must be equal to or greater than \"connection_pool_size\"",
            server.pos,
        );
    }
}

/// Zones of answers that nobody declares, and caches without a key.
fn caches(load: &mut Lowering<'_>, http: &Http) {
    for (directive, zone, span) in std::mem::take(&mut load.shared.caches) {
        if !http.caches.iter().any(|known| known.name == zone.bytes) {
            // It would be told about again as a zone without a size.
            load.shared.zones.remove(&zone.bytes);
            let message = format!("\"{directive}\" zone \"{}\" is unknown", zone.lossy());
            let hint = format!("declare it with {directive}_path in http");
            load.error_hint(message, hint, span);
        }
    }
}

/// An address as nginx prints it.
pub(super) fn shown(addr: &ListenAddr) -> String {
    match addr {
        ListenAddr::Inet(addr) => addr.to_string(),
        ListenAddr::Unix(path) => format!("unix:{}", path.display()),
        ListenAddr::Name(name, port) => format!("{name}:{port}"),
    }
}

/// The parameters of a `listen` that say what is spoken: `proxy_protocol`, `ssl`, `http2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Protocols(u8);

impl Protocols {
    fn of(listen: &Listen) -> Self {
        let bit = |set: bool, at: u8| u8::from(set) << at;
        Self(bit(listen.proxy_protocol, 0) | bit(listen.ssl, 1) | bit(listen.http2, 2))
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What is known of an address from the lines before.
struct Address {
    options: bool,
    default: bool,
    /// Protocols of all lines so far, and what nginx remembers of the last ones.
    protocols: Protocols,
    protocols_set: Option<Protocols>,
    changed: bool,
    last_server: usize,
}

fn listens(load: &mut Lowering<'_>, http: &Http) {
    let mut known: HashMap<&ListenAddr, Address> = HashMap::new();
    for (index, server) in http.servers.iter().enumerate() {
        for listen in &server.listens {
            let Some(address) = known.get_mut(&listen.addr) else {
                let new = Address {
                    options: listen.options.set,
                    default: listen.default_server,
                    protocols: Protocols::of(listen),
                    protocols_set: None,
                    changed: false,
                    last_server: index,
                };
                known.insert(&listen.addr, new);
                continue;
            };
            if let Some(message) = again(load, address, listen, index) {
                load.error(message, listen.text.span);
            }
        }
    }
}

/// A further line for an address.
fn again(
    load: &mut Lowering<'_>,
    address: &mut Address,
    listen: &Listen,
    server: usize,
) -> Option<String> {
    let text = shown(&listen.addr);
    if address.last_server == server {
        return Some(format!("a duplicate listen {text}"));
    }
    address.last_server = server;
    let had_options = address.options;
    if listen.options.set {
        if had_options {
            return Some(format!("duplicate listen options for {text}"));
        }
        address.options = true;
    }
    if listen.default_server {
        if address.default {
            return Some(format!("a duplicate default server for {text}"));
        }
        address.default = true;
    }
    let (new, old) = (Protocols::of(listen), address.protocols);
    let differs = address.protocols_set.is_some_and(|p| p != new);
    let (added, removed) = (!old.has(new), !new.has(old));
    let redefined = if added {
        (address.options && !listen.options.set) || address.changed || removed
    } else if removed {
        listen.options.set || differs
    } else {
        (listen.options.set && address.changed) || differs
    };
    if redefined {
        load.warn(
            format!("protocol options redefined for {text}"),
            listen.text.span,
        );
    }
    address.changed |= new != old;
    address.protocols_set = Some(if added { old } else { new });
    address.protocols = Protocols(old.0 | new.0);
    None
}

fn names(load: &mut Lowering<'_>, http: &Http) {
    let mut servers: HashMap<&ListenAddr, Vec<usize>> = HashMap::new();
    let mut order: Vec<&ListenAddr> = Vec::new();
    for (index, server) in http.servers.iter().enumerate() {
        for listen in &server.listens {
            let list = servers.entry(&listen.addr).or_insert_with(|| {
                order.push(&listen.addr);
                Vec::new()
            });
            if list.last() != Some(&index) {
                list.push(index);
            }
        }
    }
    for addr in order {
        let list = &servers[addr];
        if list.len() < 2 {
            continue;
        }
        let mut taken: HashSet<(u8, Arc<[u8]>)> = HashSet::new();
        for name in list.iter().flat_map(|&i| &http.servers[i].names) {
            if let Some(mut diag) = unfit(name, addr) {
                diag.span = name.text.span;
                load.diags.push(diag);
            } else if !take(&mut taken, name) {
                let text = name.text.lossy();
                let message = format!(
                    "conflicting server name \"{text}\" on {}, ignored",
                    shown(addr)
                );
                // nginx says this once all is read, without a place.
                let mut diag = Diag::general(Level::Warn, message);
                diag.span = name.text.span;
                load.diags.push(diag);
            }
        }
    }
}

/// A name that no table of names can hold.
fn unfit(name: &Name, addr: &ListenAddr) -> Option<Diag> {
    let bytes = &name.text.bytes;
    let star = name.kind == NameKind::Exact && bytes.contains(&b'*');
    let dots = bytes.windows(2).any(|w| w == b"..");
    let regex = matches!(name.kind, NameKind::Regex { .. });
    (!regex && (star || dots || bytes.contains(&0))).then(|| {
        let text = name.text.lossy();
        let message = format!(
            "invalid server name or wildcard \"{text}\" on {}",
            shown(addr)
        );
        Diag::general(Level::Emerg, message)
    })
}

fn take(taken: &mut HashSet<(u8, Arc<[u8]>)>, name: &Name) -> bool {
    let bytes = &name.text.bytes;
    match name.kind {
        NameKind::Regex { .. } => true,
        NameKind::Exact => taken.insert((0, Arc::clone(bytes))),
        NameKind::Suffix => taken.insert((1, Arc::from(&bytes[2..]))),
        NameKind::Prefix => taken.insert((2, Arc::clone(bytes))),
        NameKind::NameAndSuffix => {
            let rest: Arc<[u8]> = Arc::from(&bytes[1..]);
            taken.insert((0, Arc::clone(&rest))) && taken.insert((1, rest))
        }
    }
}

fn groups(load: &mut Lowering<'_>, http: &Http) {
    let groups: HashSet<&[u8]> = http.upstreams.iter().map(|g| &g.name[..]).collect();
    let targets: Vec<(Target, WireKind, Span)> = std::mem::take(&mut load.shared.targets);
    for (target, wire, span) in targets {
        let known = groups.contains(&target.host.to_ascii_lowercase()[..]);
        let scheme = match wire {
            WireKind::Http => "http://",
            WireKind::FastCgi | WireKind::Grpc => "",
        };
        // FastCGI and gRPC have no port of their own.
        if wire != WireKind::Http && target.port.is_none() && !target.unix && !known {
            let host = String::from_utf8_lossy(&target.host).into_owned();
            load.error(format!("no port in upstream \"{host}\""), span);
        }
        if let Some(port) = target.port
            && !target.unix
            && known
        {
            let host = String::from_utf8_lossy(&target.host).into_owned();
            load.error_hint(
                format!("upstream \"{host}\" may not have port {port}"),
                format!("the ports are in the \"upstream\" block; write {scheme}{host}"),
                span,
            );
        }
    }
    let zones = load.shared.zones.iter();
    let zones = zones.filter(|(_, zone)| zone.size == 0);
    let mut empty: Vec<(Arc<[u8]>, Span)> =
        zones.map(|(n, zone)| (Arc::clone(n), zone.span)).collect();
    empty.sort_by_key(|(_, span)| (span.file, span.start));
    for (name, span) in empty {
        let name = String::from_utf8_lossy(&name);
        let mut diag = Diag::general(
            Level::Emerg,
            format!("zero size shared memory zone \"{name}\""),
        )
        .hint("give the zone a size where it is defined, such as 64k");
        diag.span = span;
        load.diags.push(diag);
    }
}
