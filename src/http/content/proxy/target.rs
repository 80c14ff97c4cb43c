//! Whom a proxied request goes to: a group of the plan, or what a URL with variables says for this request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::log::{self, Text};
use super::super::super::vars;
use crate::net::Addr;
use crate::plan::expr::Expr;
use crate::plan::location::{ProxyPlan, WirePlan};
use crate::plan::model::LogLevel;
use crate::plan::{GroupId, Method, PeerAddr};
use crate::upstream::balance::Key;
use crate::upstream::group::Group;
use crate::upstream::selection::Selection;

/// A `proxy_pass` URL that was evaluated for one request.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    /// The whole URL.
    url: Vec<u8>,
    /// Where the host and port are in it.
    authority: (usize, usize),
    /// Where the URI part begins; its end is the URL's.
    uri_at: usize,
    /// `http://unix:`: the authority is a path.
    unix: bool,
    /// `https://`.
    secure: bool,
}

impl Dynamic {
    /// The URI part, when there is one: it is used as it is.
    #[must_use]
    pub fn uri(&self) -> Option<&[u8]> {
        (self.uri_at < self.url.len()).then(|| &self.url[self.uri_at..])
    }

    /// Everything before the URI: scheme, host and port as written.
    #[must_use]
    pub fn origin(&self) -> &[u8] {
        &self.url[..self.authority.1]
    }

    /// Host and port as written: what `$proxy_host` is.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        &self.url[self.authority.0..self.authority.1]
    }

    /// Whether it names a unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.unix
    }

    /// Whether it asks for TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Takes `http://host:port/uri` or `http://unix:/path:/uri` apart.
    #[must_use]
    pub fn parse(url: Vec<u8>) -> Option<Self> {
        let scheme = scheme(&url)?;
        let secure = scheme == HTTPS.len();
        let rest = &url[scheme..];
        if rest.starts_with(b"unix:") {
            let path_at = scheme + 5;
            let path_end = memchr::memchr(b':', &url[path_at..]).map_or(url.len(), |i| path_at + i);
            let uri_at = (path_end + 1).min(url.len());
            return (path_end > path_at).then_some(Self {
                authority: (path_at, path_end),
                uri_at,
                unix: true,
                secure,
                url,
            });
        }
        let end = rest
            .iter()
            .position(|b| matches!(b, b'/' | b'?' | b'#'))
            .map_or(url.len(), |i| scheme + i);
        (end > scheme).then_some(Self {
            authority: (scheme, end),
            uri_at: end,
            unix: false,
            secure,
            url,
        })
    }

    /// Takes `host:port` or `unix:/path` as it is. The error is nginx's word for it.
    pub fn parse_address(address: Vec<u8>) -> Result<Self, &'static str> {
        let unix = address.len() >= 5 && address[..5].eq_ignore_ascii_case(b"unix:");
        let from = if unix { 5 } else { 0 };
        match &address[from..] {
            [] if unix => return Err("no path in the unix domain socket"),
            [] | [b':', ..] => return Err("no host"),
            rest if !unix && rest.iter().any(|b| matches!(b, b'/' | b'?')) => {
                return Err("invalid host");
            }
            _ => {}
        }
        Ok(Self {
            authority: (from, address.len()),
            uri_at: address.len(),
            unix,
            secure: false,
            url: address,
        })
    }

    /// Host and port, taken apart; the port is 80 when none is written.
    fn host_port(&self) -> Option<(&[u8], Option<u16>)> {
        let text = self.authority();
        let host_end = if text.starts_with(b"[") {
            memchr::memchr(b']', text)? + 1
        } else {
            0
        };
        match memchr::memchr(b':', &text[host_end..]) {
            None => Some((text, None)),
            Some(i) => {
                let at = host_end + i;
                let port = std::str::from_utf8(&text[at + 1..])
                    .ok()?
                    .parse::<u16>()
                    .ok()
                    .filter(|&p| p != 0)?;
                (at > 0).then_some((&text[..at], Some(port)))
            }
        }
    }
}

const HTTP: &[u8] = b"http://";
const HTTPS: &[u8] = b"https://";

/// The length of the scheme that a URL begins with.
fn scheme(url: &[u8]) -> Option<usize> {
    let begins = |scheme: &&&[u8]| {
        url.len() >= scheme.len() && url[..scheme.len()].eq_ignore_ascii_case(scheme)
    };
    [HTTP, HTTPS].iter().find(begins).map(|scheme| scheme.len())
}

/// Evaluates the URL of a dynamic target.
pub fn evaluate(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    url: &Expr,
) -> Result<Dynamic, u16> {
    let mut text = Vec::new();
    vars::eval(url, ex, cx, &mut text);
    let shown = text.clone();
    if matches!(plan.wire, WirePlan::FastCgi(_) | WirePlan::Grpc { .. }) {
        let (text, secure) = match plan.wire {
            WirePlan::Grpc { .. } if starts(&text, b"grpcs://") => (text[8..].to_vec(), true),
            WirePlan::Grpc { .. } if starts(&text, b"grpc://") => (text[7..].to_vec(), false),
            _ => (text, false),
        };
        let parsed = Dynamic::parse_address(text).map(|parsed| Dynamic { secure, ..parsed });
        return parsed.map_err(|problem| {
            let text = format_args!("{problem} in upstream \"{}\"", Text(&shown));
            log::error(ex, cx, LogLevel::Error, text);
            500
        });
    }
    let prefix_known = scheme(&text).is_some();
    Dynamic::parse(text).ok_or_else(|| {
        let problem = if prefix_known {
            "no host in upstream"
        } else {
            "invalid URL prefix in"
        };
        log::error(
            ex,
            cx,
            LogLevel::Error,
            format_args!("{problem} \"{}\"", Text(&shown)),
        );
        500
    })
}

fn starts(text: &[u8], prefix: &[u8]) -> bool {
    text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix)
}

fn tries_max(ex: &Exchange, cx: Cx<'_>) -> u32 {
    let tries = cx.location(ex.location).pass.next_upstream_tries;
    u32::try_from(tries).unwrap_or(u32::MAX)
}

/// Starts the request's way through a group of the plan.
pub fn in_group(ex: &mut Exchange, cx: Cx<'_>, id: GroupId) -> Selection {
    let tries = tries_max(ex, cx);
    let now = cx.local.deadlines.now();
    let groups = &cx.generation.groups;
    match &cx.plan.groups[id].method {
        Method::Hash(expr) | Method::Consistent(expr) => {
            let mut key = cx.local.buffers.take(0);
            vars::eval(expr, ex, cx, &mut key);
            let selection = groups.begin(id, Key::Text(&key), tries, now);
            cx.local.buffers.give(key);
            selection
        }
        Method::IpHash => {
            let client = match ex.client() {
                Addr::Ip(at) => Some(at.ip()),
                Addr::Unix(_) => None,
            };
            groups.begin(id, Key::Client(client), tries, now)
        }
        Method::RoundRobin
        | Method::LeastConn
        | Method::LeastTime { .. }
        | Method::Random { .. } => groups.begin(id, Key::None, tries, now),
    }
}

/// A target that is only known now: an `upstream` of that name, an address, or a name to resolve.
pub async fn by_name(
    ex: &mut Exchange,
    cx: Cx<'_>,
    wire: &WirePlan,
    dynamic: &Dynamic,
) -> Result<Selection, u16> {
    let now = cx.local.deadlines.now();
    let name = Bytes::copy_from_slice(dynamic.authority());
    let fixed = |group: Rc<Group>, ex: &Exchange| {
        Ok(Selection::new(group, Key::None, tries_max(ex, cx), now))
    };
    if dynamic.is_unix() {
        let path = PathBuf::from(std::ffi::OsString::from(
            String::from_utf8_lossy(&name).into_owned(),
        ));
        return fixed(
            Group::of_targets(name, std::iter::once(PeerAddr::Unix(path))),
            ex,
        );
    }
    let Some((host, port)) = dynamic.host_port() else {
        log::error(
            ex,
            cx,
            LogLevel::Error,
            format_args!("invalid port in upstream \"{}\"", Text(&name)),
        );
        return Err(500);
    };
    let usual = match wire {
        WirePlan::Http | WirePlan::Http2 if dynamic.secure => Some(443),
        WirePlan::Http | WirePlan::Http2 => Some(80),
        WirePlan::Grpc { .. } | WirePlan::FastCgi(_) => None,
    };
    if let Some(id) = cx.plan.group_index.find(host, port, usual.unwrap_or(80)) {
        return Ok(in_group(ex, cx, id));
    }
    let Some(port) = port.or(usual) else {
        let text = format_args!("no port in upstream \"{}\"", Text(&name));
        log::error(ex, cx, LogLevel::Error, text);
        return Err(500);
    };
    if let Some(at) = literal(host, port) {
        return fixed(Group::of_addresses(name, &[at]), ex);
    }
    let host = host.to_vec();
    let addresses = resolve(ex, cx, &host).await?;
    let addresses: Vec<_> = addresses
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect();
    fixed(Group::of_addresses(name, &addresses), ex)
}

fn literal(host: &[u8], port: u16) -> Option<SocketAddr> {
    let text = std::str::from_utf8(host).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok().map(|ip| SocketAddr::new(ip, port))
}

async fn resolve(ex: &mut Exchange, cx: Cx<'_>, host: &[u8]) -> Result<Vec<std::net::IpAddr>, u16> {
    let location = cx.location(ex.location);
    let within = location.settings.core.resolver_timeout;
    match cx
        .generation
        .resolvers
        .resolve(location.resolver, host, within)
        .await
    {
        Ok(addresses) => Ok(addresses),
        Err(error) => {
            let mut text = Vec::new();
            error.write(host, &mut text);
            log::error(ex, cx, LogLevel::Error, format_args!("{}", Text(&text)));
            Err(502)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dynamic;

    /// An authority, and the URI behind it.
    type Parts = Option<(&'static str, Option<&'static str>)>;

    #[test]
    fn urls_are_taken_apart() {
        let cases: [(&str, Parts); 10] = [
            ("https://a:8443/x", Some(("a:8443", Some("/x")))),
            ("http://a", Some(("a", None))),
            ("http://a:8080/x?y", Some(("a:8080", Some("/x?y")))),
            ("HTTP://a?y", Some(("a", Some("?y")))),
            ("http://[::1]:80/", Some(("[::1]:80", Some("/")))),
            ("http://unix:/tmp/s", Some(("/tmp/s", None))),
            ("http://unix:/tmp/s:/u", Some(("/tmp/s", Some("/u")))),
            ("http://", None),
            ("ftp://a", None),
            ("", None),
        ];
        for (url, want) in cases {
            let got = Dynamic::parse(url.as_bytes().to_vec());
            let got = got.as_ref().map(|d| (d.authority(), d.uri()));
            assert_eq!(
                got,
                want.map(|(a, u)| (a.as_bytes(), u.map(str::as_bytes))),
                "{url}"
            );
        }
    }

    #[test]
    fn ports_are_checked() {
        let host_port = |url: &str| {
            Dynamic::parse(url.as_bytes().to_vec())
                .and_then(|d| d.host_port().map(|(h, p)| (h.to_vec(), p)))
        };
        assert_eq!(host_port("http://a:81"), Some((b"a".to_vec(), Some(81))));
        assert_eq!(
            host_port("http://[::1]:81"),
            Some((b"[::1]".to_vec(), Some(81)))
        );
        assert_eq!(host_port("http://[::1]"), Some((b"[::1]".to_vec(), None)));
        for bad in [
            "http://a:0",
            "http://a:x",
            "http://a:99999",
            "http://a:",
            "http://[::1",
        ] {
            assert_eq!(host_port(bad), None, "{bad}");
        }
    }
}
