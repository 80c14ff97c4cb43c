//! `listen` lines gathered into sockets, and the server names behind each.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Compiler;
use crate::base::ids::DenseId;
use crate::config::model::{self, Http, Listen, NameKind};
use crate::plan::names::{Mask, VirtualHosts};
use crate::plan::regex::Regex;
use crate::plan::{AddressPlan, ListenAddr, ListenerPlan, ServerId};

/// One address and port with the `listen` lines that name it.
struct Address {
    addr: ListenAddr,
    options: model::ListenOptions,
    bind: bool,
    proxy_protocol: bool,
    ssl: bool,
    http2: bool,
    default: Option<ServerId>,
    /// Servers in file order.
    servers: Vec<ServerId>,
}

impl Compiler<'_> {
    /// Makes the listeners; `first` is the number of the block's first server. A wildcard also serves the other addresses of its port, unless their
    /// socket was asked for by an option.
    pub(super) fn listeners(&mut self, http: &Http, first: usize) {
        let mut addresses: Vec<Address> = Vec::new();
        for (index, server) in http.servers.iter().enumerate() {
            for listen in &server.listens {
                for addr in self.listen_addrs(listen) {
                    let server = ServerId::from_index(first + index);
                    add_address(&mut addresses, addr, listen, server);
                }
            }
        }
        let mut regexes = HashMap::new();
        let mut wildcards: HashMap<(bool, u16), usize> = HashMap::new();
        let mut own: Vec<(usize, Vec<usize>)> = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            if let Some(key) = wildcard_of(&address.addr) {
                wildcards.insert(key, index);
            }
        }
        for (index, address) in addresses.iter().enumerate() {
            let served_by = family_of(&address.addr).and_then(|key| wildcards.get(&key));
            match served_by {
                Some(&wildcard) if wildcard != index && !address.bind => {}
                Some(&wildcard) if wildcard == index => {
                    let key = family_of(&address.addr);
                    let inside = |(i, a): &(usize, &Address)| {
                        *i != index && !a.bind && family_of(&a.addr) == key
                    };
                    let others = addresses.iter().enumerate().filter(inside);
                    own.push((index, others.map(|(i, _)| i).collect()));
                }
                _ => own.push((index, Vec::new())),
            }
        }
        for (index, inside) in own {
            let mut hosts = Vec::new();
            for other in inside {
                if let ListenAddr::Tcp(addr) = addresses[other].addr {
                    hosts.push((
                        Some(addr),
                        self.address((http, first), &addresses[other], &mut regexes),
                    ));
                }
            }
            let address = &addresses[index];
            hosts.push((None, self.address((http, first), address, &mut regexes)));
            self.listeners.push(ListenerPlan {
                addr: address.addr.clone(),
                options: address.options.clone(),
                hosts,
            });
        }
    }

    fn listen_addrs(&mut self, listen: &Listen) -> Vec<ListenAddr> {
        match &listen.addr {
            model::ListenAddr::Inet(addr) => vec![ListenAddr::Tcp(*addr)],
            model::ListenAddr::Unix(path) => vec![ListenAddr::Unix(path.clone())],
            model::ListenAddr::Name(host, port) => {
                let Some(found) = self.addresses(host.as_bytes(), *port) else {
                    let shown = listen.text.lossy();
                    let message =
                        format!("host not found in \"{shown}\" of the \"listen\" directive");
                    self.error(message, listen.text.span);
                    return Vec::new();
                };
                found.into_iter().map(ListenAddr::Tcp).collect()
            }
        }
    }

    fn address(
        &mut self,
        (http, first): (&Http, usize),
        address: &Address,
        regexes: &mut HashMap<ServerId, Vec<Arc<Regex>>>,
    ) -> AddressPlan {
        let default = address.default.unwrap_or(address.servers[0]);
        let mut names = VirtualHosts::new(default);
        for &server in &address.servers {
            let own = &http.servers[server.index() - first].names;
            for name in own {
                let (mask, text) = match name.kind {
                    NameKind::Regex { .. } => continue,
                    NameKind::Exact => (Mask::Exact, self.own_name(&name.text.bytes)),
                    _ => Mask::of(&name.text.bytes),
                };
                // The first server keeps a name; `config` has warned about the others.
                names.add(text, mask, server);
            }
            let compiled = regexes.entry(server).or_insert_with(|| {
                let patterns = own.iter().filter_map(|name| match name.kind {
                    NameKind::Regex { caseless } => self.regex(&name.text, caseless).map(Arc::new),
                    _ => None,
                });
                patterns.collect()
            });
            for regex in compiled {
                names.add_regex(Arc::clone(regex), server);
            }
        }
        AddressPlan {
            proxy_protocol: address.proxy_protocol,
            ssl: address.ssl,
            listens_http2: address.http2,
            http2: address.http2 || http.servers[default.index() - first].settings.http2.http2,
            names,
        }
    }
}

fn add_address(addresses: &mut Vec<Address>, addr: ListenAddr, listen: &Listen, server: ServerId) {
    let known = addresses.iter().position(|address| address.addr == addr);
    let index = known.unwrap_or_else(|| {
        addresses.push(Address {
            addr,
            options: listen.options.clone(),
            bind: false,
            proxy_protocol: false,
            ssl: false,
            http2: false,
            default: None,
            servers: Vec::new(),
        });
        addresses.len() - 1
    });
    let address = &mut addresses[index];
    if listen.options.set {
        address.options = listen.options.clone();
    }
    address.bind |= listen.options.bind;
    address.proxy_protocol |= listen.proxy_protocol;
    address.ssl |= listen.ssl;
    address.http2 |= listen.http2;
    if listen.default_server {
        address.default.get_or_insert(server);
    }
    if !address.servers.contains(&server) {
        address.servers.push(server);
    }
}

/// Family and port of a TCP address.
fn family_of(addr: &ListenAddr) -> Option<(bool, u16)> {
    match addr {
        ListenAddr::Tcp(addr) => Some((addr.is_ipv6(), addr.port())),
        ListenAddr::Unix(_) => None,
    }
}

/// Family and port of a wildcard.
fn wildcard_of(addr: &ListenAddr) -> Option<(bool, u16)> {
    let any = match addr {
        ListenAddr::Tcp(SocketAddr::V4(addr)) => IpAddr::V4(*addr.ip()).is_unspecified(),
        ListenAddr::Tcp(SocketAddr::V6(addr)) => IpAddr::V6(*addr.ip()).is_unspecified(),
        ListenAddr::Unix(_) => false,
    };
    family_of(addr).filter(|_| any)
}
