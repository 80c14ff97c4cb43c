//! `host`, `host:port`, `[v6]:port`, `unix:/path`, with or without a URI part: the one grammar of addresses in a
//! configuration, with nginx's complaints. Resolves nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::model::ListenAddr;
use crate::base::cidr::parse_ip;

/// An address, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Name, address, `[v6]` with brackets, or the path of a unix socket.
    pub(crate) host: Vec<u8>,
    /// The port, when one is written.
    pub(crate) port: Option<u16>,
    /// What was written for the port, for messages and for the authority.
    pub(crate) authority: usize,
    /// `unix:`.
    pub(crate) unix: bool,
    /// What follows the address, beginning with `/` or `?`; after a second colon for `unix:`.
    pub(crate) uri: Option<Vec<u8>>,
}

/// Longest path of a unix socket: `sun_path` has 108 bytes, one of them for the final NUL.
const UNIX_PATH_MAX: usize = 107;

/// Takes an address apart. `uri_part` says whether a URI may follow.
pub(crate) fn parse(text: &[u8], uri_part: bool) -> Result<Url, &'static str> {
    if text.len() >= 5 && text[..5].eq_ignore_ascii_case(b"unix:") {
        return parse_unix(text, uri_part);
    }
    let brackets = match text {
        [b'[', ..] => text.iter().position(|&b| b == b']').ok_or("invalid host")? + 1,
        _ => 0,
    };
    let stop: &[u8] = if brackets > 0 { b"/" } else { b"/?" };
    let end = text[brackets..]
        .iter()
        .position(|b| stop.contains(b))
        .map_or(text.len(), |i| brackets + i);
    if end < text.len() && !uri_part {
        return Err("invalid host");
    }
    let uri = (end < text.len()).then(|| text[end..].to_vec());
    let address = &text[..end];
    let (host, port) = if brackets > 0 {
        match address[brackets..] {
            [] => (address, None),
            [b':', ..] => (&address[..brackets], Some(&address[brackets + 1..])),
            _ => return Err("invalid host"),
        }
    } else {
        match address.iter().position(|&b| b == b':') {
            Some(i) => (&address[..i], Some(&address[i + 1..])),
            None => (address, None),
        }
    };
    let port = port.map(parse_port).transpose()?;
    if host.is_empty() || host == b"[]" {
        return Err("no host");
    }
    if brackets > 0 && !is_v6(&host[1..host.len() - 1]) {
        return Err("invalid IPv6 address");
    }
    Ok(Url {
        host: host.to_vec(),
        port,
        authority: end,
        unix: false,
        uri,
    })
}

fn parse_unix(text: &[u8], uri_part: bool) -> Result<Url, &'static str> {
    let colon = text[5..]
        .iter()
        .position(|&b| b == b':')
        .filter(|_| uri_part)
        .map(|i| i + 5);
    let end = colon.unwrap_or(text.len());
    let path = &text[5..end];
    if path.is_empty() {
        return Err("no path in the unix domain socket");
    }
    if path.len() > UNIX_PATH_MAX {
        return Err("too long path in the unix domain socket");
    }
    Ok(Url {
        host: path.to_vec(),
        port: None,
        authority: end,
        unix: true,
        uri: colon.map(|i| text[i + 1..].to_vec()),
    })
}

fn parse_port(text: &[u8]) -> Result<u16, &'static str> {
    match super::value::decimal(text) {
        Some(n @ 1..=65_535) => Ok(n as u16),
        _ => Err("invalid port"),
    }
}

fn is_v6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|t| t.parse::<Ipv6Addr>().is_ok())
}

/// An IP address written plainly, brackets allowed around IPv6.
pub(crate) fn ip(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => parse_ip(host).filter(IpAddr::is_ipv4),
    }
}

/// The addresses of a `listen` parameter: one, or one for each port of a range.
pub(crate) fn parse_listen(
    text: &[u8],
    default_port: u16,
) -> Result<Vec<ListenAddr>, &'static str> {
    if text.len() >= 5 && text[..5].eq_ignore_ascii_case(b"unix:") {
        use std::os::unix::ffi::OsStringExt as _;
        let path = std::ffi::OsString::from_vec(parse_unix(text, false)?.host);
        return Ok(vec![ListenAddr::Unix(PathBuf::from(path))]);
    }
    // Nothing of a URI may follow; nginx sees that before it reads the port.
    let bracket = text.iter().position(|&b| b == b']').unwrap_or(0);
    let bad: &[u8] = if text.first() == Some(&b'[') {
        b"/"
    } else {
        b"/?"
    };
    if text[bracket..].iter().any(|b| bad.contains(b)) {
        return Err("invalid host");
    }
    let whole = text.first() != Some(&b'[') && !text.contains(&b':');
    if let Some(range) = bare_ports(text).filter(|_| whole) {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        return Ok(range?
            .map(|p| ListenAddr::Inet(SocketAddr::new(any, p)))
            .collect());
    }
    let colon = if text.first() == Some(&b'[') {
        text.iter()
            .position(|&b| b == b']')
            .and_then(|i| text[i..].iter().position(|&b| b == b':').map(|j| i + j))
    } else {
        text.iter().position(|&b| b == b':')
    };
    let (address, ports) = match colon {
        Some(i) => (&text[..i], port_range(&text[i + 1..])?),
        None => (text, default_port..=default_port),
    };
    if address == b"*" {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        return Ok(ports
            .map(|p| ListenAddr::Inet(SocketAddr::new(any, p)))
            .collect());
    }
    let url = parse(address, false)?;
    Ok(ports
        .map(|p| match ip(&url.host) {
            Some(ip) => ListenAddr::Inet(SocketAddr::new(ip, p)),
            None => ListenAddr::Name(String::from_utf8_lossy(&url.host).into_owned(), p),
        })
        .collect())
}

type Ports = std::ops::RangeInclusive<u16>;

/// `80` or `8000-8010`; `None` if it is no number, so it must be a host.
fn bare_ports(text: &[u8]) -> Option<Result<Ports, &'static str>> {
    let first = text.split(|&b| b == b'-').next()?;
    super::value::decimal(first)?;
    if let Some(dash) = text.iter().position(|&b| b == b'-') {
        super::value::decimal(&text[dash + 1..])?;
    }
    Some(port_range(text))
}

fn port_range(text: &[u8]) -> Result<Ports, &'static str> {
    let Some(dash) = text.iter().position(|&b| b == b'-') else {
        return parse_port(text).map(|p| p..=p);
    };
    let (first, last) = (parse_port(&text[..dash])?, parse_port(&text[dash + 1..])?);
    if first > last {
        Err("invalid port range")
    } else {
        Ok(first..=last)
    }
}
