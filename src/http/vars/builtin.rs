//! Variables with a fixed name and meaning, as nginx documents them.

use std::net::IpAddr;

use super::family::join;
use super::upstream::{number, seconds};
use super::{eval, links, nested, tls, upstream};
use crate::base::{base64, size, time};
use crate::http::content::files;
use crate::http::exchange::{Exchange, RequestBody, UpstreamBody};
use crate::http::filter::compress::codec::Kind;
use crate::http::filter::userid;
use crate::http::local::Cx;
use crate::http::slice;
use crate::http::trace;
use crate::net::Addr;
use crate::plan::expr::Expr;
use crate::plan::location::Content;
use crate::plan::regex::Captures;
use crate::plan::vars::Builtin;
use crate::proto::h1::encode;
use crate::proto::head::{Method, Version};
use crate::proto::tokens::Token;

/// Appends the value; false when there is none.
pub(super) fn value(builtin: Builtin, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    use Builtin as B;
    match builtin {
        B::Args | B::QueryString | B::DocumentUri | B::Host | B::IsArgs | B::Uri => {
            target(builtin, ex, cx, out)
        }
        B::Request
        | B::RequestMethod
        | B::RequestUri
        | B::ServerProtocol
        | B::Http2
        | B::ContentLength
        | B::ContentType
        | B::RequestPort
        | B::IsRequestPort
        | B::RemoteUser
        | B::RequestBody
        | B::RequestBodyFile
        | B::RequestLength
        | B::ProxyInternalBodyLength
        | B::ProxyInternalChunked => request(builtin, ex, out),
        #[rustfmt::skip]
        B::BinaryRemoteAddr | B::Connection | B::ConnectionRequests | B::ConnectionTime | B::Pipe
        | B::ProxyAddXForwardedFor | B::ProxyProtocolAddr | B::ProxyProtocolPort | B::ProxyProtocolServerAddr
        | B::ProxyProtocolServerPort | B::RealipRemoteAddr | B::RealipRemotePort | B::RemoteAddr
        | B::RemotePort | B::ServerAddr | B::ServerPort => connection(builtin, ex, cx, out),
        B::BodyBytesSent | B::BytesSent | B::RequestCompletion | B::Status => {
            response(builtin, ex, out)
        }
        B::DocumentRoot | B::RealpathRoot | B::RequestFilename => path(builtin, ex, cx, out),
        B::Msec | B::RequestTime | B::TimeIso8601 | B::TimeLocal => moment(builtin, ex, cx, out),
        B::ProxyHost | B::ProxyPort => proxy(builtin, ex, cx, out),
        B::RequestId => {
            out.extend_from_slice(&request_id(ex, cx));
            true
        }
        #[rustfmt::skip]
        B::TraceId | B::SpanId | B::ParentId | B::TraceSampled | B::TraceParent | B::TraceState => trace::variable(builtin, ex, cx, out),
        B::LimitRate => {
            number(limit_rate(ex, cx).unwrap_or(0), out);
            true
        }
        B::FastcgiPathInfo | B::FastcgiScriptName => script(builtin, ex, cx, out),
        B::InvalidReferer => {
            links::invalid_referer(ex, cx, out);
            true
        }
        B::SecureLink => nested(ex, cx, |ex| links::secure_link(ex, cx, out)),
        B::SecureLinkExpires => nested(ex, cx, |ex| links::expires(ex, cx, out)),
        B::LimitConnStatus => bytes(ex.limits.connections.name(), out),
        B::LimitReqStatus => bytes(ex.limits.requests.name(), out),
        B::SliceRange => slice::variable(ex, cx, out),
        B::BrotliRatio | B::GzipRatio | B::ZstdRatio => ratio(builtin, ex, out),
        B::UidGot => userid::got(ex, cx, out),
        B::UidSet => userid::set(ex, cx, out),
        B::ConnectionsActive
        | B::ConnectionsReading
        | B::ConnectionsWaiting
        | B::ConnectionsWriting
        | B::Hostname
        | B::NginxVersion
        | B::Pid
        | B::ServerName => machine(builtin, ex, cx, out),
        B::Scheme => bytes(ex.scheme(), out),
        B::Https if ex.conn.tls.is_some() => bytes(b"on", out),
        // Empty rather than missing, as in nginx.
        B::Https | B::UidReset => true,
        B::DateGmt | B::DateLocal => {
            ex.ssi.date(builtin == B::DateGmt, cx, out);
            true
        }
        B::TcpinfoRcvSpace | B::TcpinfoRtt | B::TcpinfoRttvar | B::TcpinfoSndCwnd => {
            tcp(builtin, ex, out)
        }
        #[rustfmt::skip]
        B::SslAlpnProtocol | B::SslCipher | B::SslCiphers | B::SslClientCert | B::SslClientEscapedCert
        | B::SslClientFingerprint | B::SslClientIDn | B::SslClientIDnLegacy | B::SslClientRawCert
        | B::SslClientSDn | B::SslClientSDnLegacy | B::SslClientSerial | B::SslClientVEnd | B::SslClientVRemain
        | B::SslClientVStart | B::SslClientVerify | B::SslCurve | B::SslCurves | B::SslEarlyData
        | B::SslProtocol | B::SslServerName | B::SslSessionId | B::SslSessionReused | B::SslSigalgs => tls::value(builtin, ex, cx, out),
        B::Absent => false,
        B::UpstreamCacheAge
        | B::UpstreamCacheEtag
        | B::UpstreamCacheKey
        | B::UpstreamCacheLastModified
        | B::UpstreamCacheStatus => upstream::cache(builtin, ex, cx, out),
        B::UpstreamAddr
        | B::UpstreamBytesReceived
        | B::UpstreamBytesSent
        | B::UpstreamConnectTime
        | B::UpstreamHeaderTime
        | B::UpstreamResponseLength
        | B::UpstreamResponseTime
        | B::UpstreamStatus => upstream::value(builtin, ex, out),
    }
}

/// How many times shorter compression made the body, to two places.
fn ratio(builtin: Builtin, ex: &Exchange, out: &mut Vec<u8>) -> bool {
    let Some(coded) = ex.response.coded else {
        return false;
    };
    let asked = match coded.kind {
        Kind::Gzip(..) => Builtin::GzipRatio,
        Kind::Brotli(..) => Builtin::BrotliRatio,
        Kind::Zstd(_) => Builtin::ZstdRatio,
    };
    if asked != builtin || coded.given == 0 {
        return false;
    }
    // A last digit of five and more rounds up.
    let hundredths = (coded.taken * 1000 / coded.given + 5) / 10;
    number(hundredths / 100, out);
    out.push(b'.');
    out.extend([
        b'0' + (hundredths / 10 % 10) as u8,
        b'0' + (hundredths % 10) as u8,
    ]);
    true
}

/// Appends bytes; false when there are none.
fn bytes(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(text);
    !text.is_empty()
}

/// The method's name; an internal redirect may have changed it.
#[must_use]
pub fn method_name(ex: &Exchange) -> &[u8] {
    name_of(ex.method, ex)
}

/// The name of a method that a request has, or that it had when it came.
fn name_of(method: Method, ex: &Exchange) -> &[u8] {
    if method == ex.head.method || method == Method::Other {
        ex.head.method_bytes()
    } else {
        method.name().as_bytes()
    }
}

/// What is asked for now, after rewrites and internal redirects.
fn target(builtin: Builtin, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    match builtin {
        Builtin::Args | Builtin::QueryString => {
            out.extend_from_slice(&ex.args);
            return !ex.args.is_empty() || ex.head.has_args;
        }
        Builtin::IsArgs if ex.args.is_empty() => {}
        Builtin::IsArgs => out.push(b'?'),
        Builtin::Host if ex.host.is_empty() => {
            encode::value(out, &cx.plan.servers[ex.server].name);
        }
        Builtin::Host => out.extend_from_slice(&ex.host),
        // Empty rather than missing where a bad request has none, as in nginx.
        _ => out.extend_from_slice(&ex.uri),
    }
    true
}

/// What the client's head and body say.
fn request(builtin: Builtin, ex: &Exchange, out: &mut Vec<u8>) -> bool {
    let head = &ex.head;
    match builtin {
        Builtin::Request => bytes(head.bytes(head.line), out),
        Builtin::RequestMethod if ex.is_subrequest() => bytes(name_of(ex.main_method, ex), out),
        Builtin::RequestMethod => bytes(method_name(ex), out),
        Builtin::RequestUri => bytes(head.bytes(head.uri), out),
        Builtin::Http2 if head.version == Version::Http2 && ex.conn.tls.is_some() => {
            bytes(b"h2", out)
        }
        Builtin::Http2 if head.version == Version::Http2 => bytes(b"h2c", out),
        Builtin::Http2 => bytes(b"", out),
        Builtin::ServerProtocol => bytes(head.bytes(head.protocol), out),
        Builtin::ContentType => join(head.fields.get_all(Token::CONTENT_TYPE), b", ", out),
        Builtin::ContentLength => match head.fields.get(Token::CONTENT_LENGTH) {
            Some(text) => bytes(text, out),
            None => body_length(ex).is_some_and(|length| digits(length, out)),
        },
        Builtin::RequestPort => {
            if ex.host_port != 0 {
                number(ex.host_port.into(), out);
            }
            true
        }
        Builtin::IsRequestPort => {
            if ex.host_port != 0 {
                out.push(b':');
            }
            true
        }
        Builtin::RemoteUser => user(ex, out),
        Builtin::RequestBody => match &ex.body {
            RequestBody::Memory(body) => bytes(body, out),
            _ => false,
        },
        Builtin::RequestBodyFile => body_file(ex, out),
        Builtin::RequestLength => digits(ex.request_length, out),
        Builtin::ProxyInternalBodyLength => match ex.upstream_body {
            UpstreamBody::Length(length) => digits(length, out),
            UpstreamBody::None | UpstreamBody::Chunked => false,
        },
        Builtin::ProxyInternalChunked => {
            ex.upstream_body == UpstreamBody::Chunked && bytes(b"chunked", out)
        }
        _ => false,
    }
}

/// Appends a number, which is a value.
fn digits(value: u64, out: &mut Vec<u8>) -> bool {
    number(value, out);
    true
}

/// Length of a request body that was read.
fn body_length(ex: &Exchange) -> Option<u64> {
    match &ex.body {
        RequestBody::Memory(body) => Some(body.len() as u64),
        RequestBody::File(body) => Some(body.length),
        RequestBody::Unread | RequestBody::Gone => None,
    }
}

/// The name of the file that holds the body; one without a name is found through its descriptor.
fn body_file(ex: &Exchange, out: &mut Vec<u8>) -> bool {
    use std::io::Write as _;
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let RequestBody::File(body) = &ex.body else {
        return false;
    };
    let (file, path) = (&body.file, &body.path);
    if path.is_empty() {
        let (process, fd) = (std::process::id(), file.as_fd().as_raw_fd());
        // Writing to a Vec cannot fail.
        let _ = write!(out, "/proc/{process}/fd/{fd}");
    } else {
        out.extend_from_slice(path);
    }
    true
}

/// The user of Basic authentication, checked or not.
fn user(ex: &Exchange, out: &mut Vec<u8>) -> bool {
    let from = out.len();
    let Some(value) = ex.head.fields.get(Token::AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, rest)) = value.split_at_checked(6) else {
        return false;
    };
    if !scheme.eq_ignore_ascii_case(b"basic ") || base64::decode(rest.trim_ascii(), out).is_none() {
        return false;
    }
    match out[from..].iter().position(|&b| b == b':') {
        Some(length) if length > 0 => {
            out.truncate(from + length);
            true
        }
        _ => {
            out.truncate(from);
            false
        }
    }
}

/// What is known of the client's connection.
fn connection(builtin: Builtin, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let conn = &ex.conn;
    let proxied = || conn.proxy.as_ref().and_then(|facts| facts.header.addresses);
    match builtin {
        Builtin::RealipRemoteAddr => host_address(&conn.remote, out),
        Builtin::RealipRemotePort => port(&conn.remote, out),
        Builtin::RemoteAddr => host_address(ex.client(), out),
        Builtin::RemotePort => port(ex.client(), out),
        Builtin::ServerAddr => host_address(&conn.local, out),
        Builtin::ServerPort => port(&conn.local, out),
        Builtin::BinaryRemoteAddr => match ex.client() {
            Addr::Ip(at) => match at.ip() {
                IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
            },
            Addr::Unix(_) => out.extend_from_slice(b"unix:"),
        },
        Builtin::Connection => number(conn.number, out),
        Builtin::ConnectionRequests => number(conn.requests.get(), out),
        Builtin::ConnectionTime => seconds(cx.local.clock.mono().ms_since(conn.accepted), out),
        Builtin::Pipe => out.push(if conn.pipelined.get() { b'p' } else { b'.' }),
        Builtin::ProxyAddXForwardedFor => {
            if join(ex.head.fields.get_all(Token::X_FORWARDED_FOR), b", ", out) {
                out.extend_from_slice(b", ");
            }
            host_address(ex.client(), out);
        }
        Builtin::ProxyProtocolAddr => match proxied() {
            Some((from, _)) => address(from.ip(), out),
            None => return conn.proxy.is_some(),
        },
        Builtin::ProxyProtocolServerAddr => match proxied() {
            Some((_, to)) => address(to.ip(), out),
            None => return conn.proxy.is_some(),
        },
        Builtin::ProxyProtocolPort => match proxied() {
            Some((from, _)) => number(from.port().into(), out),
            None => return conn.proxy.is_some(),
        },
        Builtin::ProxyProtocolServerPort => match proxied() {
            Some((_, to)) => number(to.port().into(), out),
            None => return conn.proxy.is_some(),
        },
        _ => return false,
    }
    true
}

/// What the kernel knows of the client's connection; nothing of a unix socket.
fn tcp(builtin: Builtin, ex: &Exchange, out: &mut Vec<u8>) -> bool {
    if ex.conn.remote.is_unix() {
        return false;
    }
    let Ok(info) = ex.stream.tcp_info() else {
        return false;
    };
    let value = match builtin {
        Builtin::TcpinfoRtt => info.rtt_us,
        Builtin::TcpinfoRttvar => info.rttvar_us,
        Builtin::TcpinfoSndCwnd => info.snd_cwnd,
        _ => info.rcv_space,
    };
    digits(value.into(), out)
}

/// An address without its port, as `$remote_addr` and `$server_addr` show it.
fn host_address(addr: &Addr, out: &mut Vec<u8>) {
    match addr {
        Addr::Ip(at) => address(at.ip(), out),
        Addr::Unix(path) => {
            out.extend_from_slice(b"unix:");
            encode::value(out, path);
        }
    }
}

/// Appends an address as text, without brackets.
fn address(ip: IpAddr, out: &mut Vec<u8>) {
    use std::io::Write as _;
    match ip {
        // Most requests are sent on with such an address twice; formatting it costs ten times as much as this.
        IpAddr::V4(ip) => {
            // Four octets of three digits and a dot.
            let mut text = [b'.'; 16];
            let mut at = 0;
            for octet in ip.octets() {
                if octet >= 100 {
                    text[at] = b'0' + octet / 100;
                    at += 1;
                }
                if octet >= 10 {
                    text[at] = b'0' + octet / 10 % 10;
                    at += 1;
                }
                text[at] = b'0' + octet % 10;
                // The dot behind it is there already; the one behind the last is not taken.
                at += 2;
            }
            let start = out.len();
            out.extend_from_slice(&text);
            out.truncate(start + at - 1);
        }
        IpAddr::V6(ip) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{ip}");
        }
    }
}

/// Appends the port of a socket that has one; an address that a field named often comes without.
fn port(addr: &Addr, out: &mut Vec<u8>) {
    if let Addr::Ip(at) = addr
        && at.port() != 0
    {
        number(at.port().into(), out);
    }
}

/// What is known of the answer.
fn response(builtin: Builtin, ex: &Exchange, out: &mut Vec<u8>) -> bool {
    let response = &ex.response;
    match builtin {
        Builtin::Status => {
            use std::io::Write as _;
            let status = if ex.status_override != 0 {
                ex.status_override
            } else {
                response.status
            };
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{status:03}");
        }
        Builtin::BytesSent => number(response.bytes_sent, out),
        Builtin::BodyBytesSent => number(response.body_bytes_sent, out),
        Builtin::RequestCompletion => {
            if response.head_sent && !response.truncated {
                out.extend_from_slice(b"OK");
            }
        }
        _ => return false,
    }
    true
}

/// Names of files.
fn path(builtin: Builtin, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    match builtin {
        Builtin::RequestFilename => files::filename(ex, cx, out),
        // Differs from nginx: links are not followed, because a shard does not wait for the disk here.
        _ => files::document_root(ex, cx, out),
    }
}

/// Moments and durations.
fn moment(builtin: Builtin, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let clock = &cx.local.clock;
    match builtin {
        Builtin::RequestTime => seconds(clock.mono().ms_since(ex.started), out),
        Builtin::Msec => {
            let now = clock.unix();
            seconds(now.secs.unsigned_abs() * 1000 + u64::from(now.millis), out);
        }
        Builtin::TimeLocal => {
            let now = clock.unix();
            out.extend_from_slice(&time::log_local(now.secs, clock.offset(now)));
        }
        Builtin::TimeIso8601 => {
            let now = clock.unix();
            out.extend_from_slice(&time::log_iso8601(now.secs, clock.offset(now)));
        }
        _ => return false,
    }
    true
}

/// The two parts of `$uri` by `fastcgi_split_path_info`; what it does not match is all script. Captures stay as they are.
fn script(builtin: Builtin, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let location = cx.location(ex.location);
    let mut captures = Captures::default();
    let parts = location.split_path_info.as_ref().filter(|regex| {
        // The whole and the two that its pattern has.
        regex.captures(&ex.uri, &mut captures) > 0
    });
    let part = |(start, end): (u32, u32)| &ex.uri[start as usize..end as usize];
    let (name, info) = match parts {
        Some(_) => (part(captures[1]), part(captures[2])),
        None => (&ex.uri[..], &b""[..]),
    };
    if builtin == Builtin::FastcgiPathInfo {
        out.extend_from_slice(info);
    } else {
        out.extend_from_slice(name);
        if name.ends_with(b"/") {
            out.extend_from_slice(&location.settings.fastcgi.fastcgi_index);
        }
    }
    true
}

/// Whom the location's `proxy_pass` names.
fn proxy(builtin: Builtin, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let plan = match &cx.location(ex.location).content {
        Content::Proxy(plan) if plan.wire.is_http() => plan,
        _ => return false,
    };
    if builtin == Builtin::ProxyHost {
        if ex.proxy_host.is_empty() {
            eval(&plan.host, ex, cx, out);
        } else {
            out.extend_from_slice(&ex.proxy_host);
        }
    } else if ex.proxy_port.is_empty() {
        out.extend_from_slice(&plan.port);
    } else {
        out.extend_from_slice(&ex.proxy_port);
    }
    true
}

/// The request's random name, made when it is first asked for.
pub fn request_id(ex: &mut Exchange, cx: Cx<'_>) -> [u8; 32] {
    *ex.vars.request_id.get_or_insert_with(|| {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for half in text.chunks_exact_mut(16) {
            let mut word = cx.local.random();
            for digit in half {
                *digit = HEX[(word & 15) as usize];
                word >>= 4;
            }
        }
        text
    })
}

/// Bytes per second towards the client, if there is a limit.
pub fn limit_rate(ex: &mut Exchange, cx: Cx<'_>) -> Option<u64> {
    let rate = match ex.limit_rate {
        Some(rate) => rate,
        None => amount(&cx.location(ex.location).limit_rate, ex, cx),
    };
    Some(rate).filter(|&rate| rate != 0)
}

/// Bytes that go to the client before [`limit_rate`] begins.
pub fn limit_rate_after(ex: &mut Exchange, cx: Cx<'_>) -> u64 {
    amount(&cx.location(ex.location).limit_rate_after, ex, cx)
}

/// Bytes per second that are read from an upstream, if there is a limit.
pub fn proxy_limit_rate(ex: &mut Exchange, cx: Cx<'_>) -> Option<u64> {
    match &cx.location(ex.location).content {
        Content::Proxy(plan) => Some(amount(&plan.limit_rate, ex, cx)).filter(|&rate| rate != 0),
        _ => None,
    }
}

/// A size that may hold variables; what is no size is 0.
fn amount(expr: &Expr, ex: &mut Exchange, cx: Cx<'_>) -> u64 {
    if expr.parts.is_empty() {
        return 0;
    }
    let mut text = cx.local.buffers.take(32);
    eval(expr, ex, cx, &mut text);
    let amount = size::parse_size(&text).unwrap_or(0);
    cx.local.buffers.give(text);
    amount
}

/// What this process and its configuration are.
fn machine(builtin: Builtin, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    match builtin {
        Builtin::Hostname => return bytes(&cx.plan.hostname, out),
        Builtin::ServerName => out.extend_from_slice(&cx.plan.servers[ex.server].name),
        Builtin::NginxVersion => {
            let full = &cx.plan.server_token.full;
            let version = full.iter().position(|&b| b == b'/').map_or(0, |at| at + 1);
            out.extend_from_slice(&full[version..]);
        }
        Builtin::Pid => number(std::process::id().into(), out),
        _ => {
            let totals = cx.local.counters.totals();
            number(
                match builtin {
                    Builtin::ConnectionsActive => totals.active,
                    Builtin::ConnectionsReading => totals.reading,
                    Builtin::ConnectionsWriting => totals.writing,
                    _ => totals.waiting(),
                },
                out,
            );
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn addresses_read_as_everywhere() {
        for n in 0..=255 {
            for octets in [[n, 0, 10, 255], [1, n, n, n], [255, 99, 100, n]] {
                let ip = Ipv4Addr::from(octets);
                let mut text = b"> ".to_vec();
                address(ip.into(), &mut text);
                assert_eq!(text, format!("> {ip}").as_bytes());
            }
        }
        let mut text = Vec::new();
        address("2001:db8::1".parse().unwrap(), &mut text);
        assert_eq!(text, b"2001:db8::1");
    }
}
