//! Rows of `stream`: plain TCP, passed on. What a session shares with a request (addresses, logs, variables, resolvers,
//! groups) stands in the family it comes from and names `stream` among its places; the block is read into the same
//! shape as `http`, which is why its tables are collected by the same setters.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::main::checked;
use super::parse_proxy::bind;
use super::server;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{
    Args, Contexts, Row, Status, args, args_min, args_to, family, off_only, refused, row,
};
use crate::config::tree::{Directive, Span};
use crate::config::url;
use crate::config::value::*;

family! {
    /// Settings of a session of `stream`.
    pub struct Stream in stream {
        value proxy_bind: Option<Bind> = "", bind, TTS, args_to(1, 2), "Local address of connections to backends.";
        value proxy_connect_timeout: Duration = "60s", msec, TTS, args(1), "How long a connection to a backend may take.";
        value proxy_timeout: Duration = "10m", msec, TTS, args(1), "How long both directions may be silent before a session ends.";
        value proxy_socket_keepalive: bool = "off", flag, TTS, args(1), "TCP keep-alive towards backends.";
        value proxy_socket_rcvbuf: Option<usize> = "", some_size, TTS, args(1), "Receive buffer of sockets towards backends.";
        value proxy_socket_sndbuf: Option<usize> = "", some_size, TTS, args(1), "Send buffer of sockets towards backends.";
        value proxy_next_upstream: bool = "on", flag, TTS, args(1), "Tries another server where a connection cannot be made.";
        value proxy_next_upstream_tries: u64 = "0", num, TTS, args(1), "Most servers a session is tried on; 0 is all.";
        value proxy_next_upstream_timeout: Duration = "0", msec, TTS, args(1), "How long further servers may be tried; 0 is no limit.";
        value proxy_protocol: SendProxy = "off", send_proxy, TTS, args(1), "Begins connections to backends with a PROXY protocol header: on is version 1.";
        value proxy_half_close: bool = "off", flag, TTS, args(1), "Lets one direction go on when the other has ended.";
        value proxy_protocol_timeout: Duration = "30s", msec, TTS, args(1), "How long a client may take to send its PROXY protocol header.";
    } also {
    }
}

/// `proxy_protocol` of a server in `stream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendProxy {
    /// Nothing is sent ahead.
    #[default]
    Off,
    /// `on`: version 1.
    V1,
    /// `2`: version 2.
    V2,
}

const SESSION_TLS: &str = "TLS towards backends of stream comes with a later version";
const RATES: &str = "sessions have no rate limits yet";
const UDP: &str = "datagrams are not proxied";
const PREREAD: &str = "a session's first bytes are not looked at";

/// The rows with setters of their own, and those that do not work.
pub(crate) const ROWS: &[Row] = &[
    row("stream", M, args(0), stream, "Proxying of plain TCP.")
        .scope()
        .once(),
    row("server", T, args(0), one_server, "One server of plain TCP.").scope(),
    row(
        "listen",
        TS,
        args_min(1),
        server::listen,
        "Where a server is reached.",
    )
    .many(),
    row(
        "server_name",
        TS,
        args_min(1),
        server::server_name,
        "Names of a server; the first is $server_name.",
    )
    .many(),
    row(
        "proxy_pass",
        TS,
        args(1),
        proxy_pass,
        "Passes sessions on to a backend.",
    ),
    row(
        "return",
        TS,
        args(1),
        return_text,
        "Sends a text and closes.",
    ),
    checked!(
        "proxy_buffer_size",
        TTS,
        args(1),
        size,
        "bytes are spliced, or copied by as much as there is",
        "Buffer of each direction."
    ),
    checked!(
        "proxy_downstream_buffer",
        TTS,
        args(1),
        size,
        "bytes are spliced, or copied by as much as there is",
        "Older name of proxy_buffer_size."
    ),
    checked!(
        "proxy_upstream_buffer",
        TTS,
        args(1),
        size,
        "bytes are spliced, or copied by as much as there is",
        "Older name of proxy_buffer_size."
    ),
    checked!(
        "preread_buffer_size",
        TTS,
        args(1),
        size,
        "a session's first bytes are not looked at",
        "Buffer for the first bytes of a session."
    ),
    checked!(
        "preread_timeout",
        TTS,
        args(1),
        msec,
        "a session's first bytes are not looked at",
        "How long the first bytes may take."
    ),
    off_only("proxy_ssl", TTS, SESSION_TLS),
    refused("proxy_ssl_alpn", TTS, args_min(1), SESSION_TLS),
    refused("proxy_ssl_certificate", TTS, args(1), SESSION_TLS),
    refused(
        "proxy_ssl_certificate_cache",
        TTS,
        args_to(1, 3),
        SESSION_TLS,
    ),
    refused("proxy_ssl_certificate_key", TTS, args(1), SESSION_TLS),
    refused("proxy_ssl_ciphers", TTS, args(1), SESSION_TLS),
    refused("proxy_ssl_conf_command", TTS, args(2), SESSION_TLS),
    refused("proxy_ssl_crl", TTS, args(1), SESSION_TLS),
    refused("proxy_ssl_name", TTS, args(1), SESSION_TLS),
    refused("proxy_ssl_password_file", TTS, args(1), SESSION_TLS),
    refused("proxy_ssl_protocols", TTS, args_min(1), SESSION_TLS),
    off_only("proxy_ssl_server_name", TTS, SESSION_TLS),
    off_only("proxy_ssl_session_reuse", TTS, SESSION_TLS),
    refused("proxy_ssl_trusted_certificate", TTS, args(1), SESSION_TLS),
    off_only("proxy_ssl_verify", TTS, SESSION_TLS),
    refused("proxy_ssl_verify_depth", TTS, args(1), SESSION_TLS),
    refused("proxy_upload_rate", TTS, args(1), RATES),
    refused("proxy_download_rate", TTS, args(1), RATES),
    refused("proxy_requests", TTS, args(1), UDP),
    refused("proxy_responses", TTS, args(1), UDP),
    off_only("ssl_preread", TTS, PREREAD),
    refused(
        "pass",
        TS,
        args(1),
        "sessions are not handed to other servers; use proxy_pass with a unix socket",
    ),
    refused(
        "set",
        TS,
        args(2),
        "variables of a session come from map, geo and split_clients",
    ),
    refused(
        "limit_conn_zone",
        T,
        args(2),
        "sessions are not limited by key; max_conns bounds those of a backend",
    ),
    refused(
        "limit_conn",
        TTS,
        args(2),
        "sessions are not limited by key; max_conns bounds those of a backend",
    ),
    off_only("limit_conn_dry_run", TTS, "sessions are not limited by key"),
    refused(
        "limit_conn_log_level",
        TTS,
        args(1),
        "sessions are not limited by key",
    ),
    refused(
        "geoip_country",
        T,
        args_to(1, 2),
        "databases of addresses are not read; geo does the same with a list",
    ),
    refused(
        "geoip_org",
        T,
        args_to(1, 2),
        "databases of addresses are not read; geo does the same with a list",
    ),
    refused(
        "geoip_city",
        T,
        args_to(1, 2),
        "databases of addresses are not read; geo does the same with a list",
    ),
];

fn send_proxy(args: &mut Args<'_>) -> Parsed<SendProxy> {
    match args.bytes(0) {
        b"2" => Ok(SendProxy::V2),
        _ => Ok(if flag(args)? {
            SendProxy::V1
        } else {
            SendProxy::Off
        }),
    }
}

fn inside(directive: &Directive) -> &[Directive] {
    directive.block.as_deref().unwrap_or_default()
}

/// Reads the block with tables, groups and formats of its own: no name of `http` means anything in it.
fn stream(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let own = Http {
        pos: directive.span,
        ..Http::default()
    };
    let http = load.http.replace(own);
    let formats = mem::take(&mut load.shared.formats);
    let groups = mem::take(&mut load.shared.groups);
    let mut inner = frame.child(Contexts::STREAM);
    super::log::formats(load, inside(directive));
    load.apply(&mut inner, inside(directive));
    super::checks::stream(load);
    load.shared.formats = formats;
    load.shared.groups = groups;
    load.stream = mem::replace(&mut load.http, http);
    if let Some(stream) = &mut load.stream {
        stream.settings = inner.settings;
    }
}

fn one_server(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let mut inner = frame.child(Contexts::STREAM_SERVER);
    inner.content = Content::Session(Session::Nothing);
    load.apply(&mut inner, inside(directive));
    if inner.listens.is_empty() && !inner.seen.contains_key("listen") {
        load.error(
            "no \"listen\" is defined for server in stream",
            directive.span,
        );
    }
    if matches!(inner.content, Content::Session(Session::Nothing)) {
        load.error("no handler for server", directive.span);
    }
    if inner.names.is_empty() {
        inner.names.push(server::no_name(directive.span));
    }
    if let Some(stream) = &mut load.http {
        stream.servers.push(Server {
            settings: inner.settings,
            listens: inner.listens,
            names: inner.names,
            script: Vec::new(),
            locations: Vec::new(),
            content: inner.content,
            pos: directive.span,
        });
    }
}

fn proxy_pass(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let address = text_of(&directive.args[0]);
    let target = match address.has_variables() {
        true => None,
        false => match parse_address(&address) {
            Ok(target) => Some(target),
            Err(message) => return load.error(message, address.span),
        },
    };
    frame.content = Content::Session(Session::Pass { address, target });
}

/// `host:port`, `unix:/path`, or the name of a group.
fn parse_address(text: &Text) -> Result<Target, String> {
    let parsed = url::parse(&text.bytes, false)
        .map_err(|problem| format!("{problem} in upstream \"{}\"", text.lossy()))?;
    Ok(Target {
        secure: false,
        authority: Arc::clone(&text.bytes),
        host: Arc::from(parsed.host),
        port: parsed.port,
        unix: parsed.unix,
        uri: None,
    })
}

fn return_text(_: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    frame.content = Content::Session(Session::Return(text_of(&directive.args[0])));
}

/// What a `listen` of `stream` cannot have, and why.
pub(super) fn unfit_listen(word: &[u8]) -> Option<&'static str> {
    match word {
        b"udp" => Some(UDP),
        b"ssl" => Some("TLS of clients is spoken in http only; terminate it there or pass it on"),
        _ => None,
    }
}

/// Addresses that both blocks listen on: the second bind would fail.
pub(crate) fn check_addresses(load: &mut Lowering<'_>) {
    let (Some(http), Some(stream)) = (&load.http, &load.stream) else {
        return;
    };
    let listens = |block: &Http| -> Vec<(ListenAddr, Span)> {
        let all = block.servers.iter().flat_map(|server| &server.listens);
        all.map(|listen| (listen.addr.clone(), listen.text.span))
            .collect()
    };
    let taken = listens(http);
    for (addr, span) in listens(stream) {
        if taken.iter().any(|(other, _)| *other == addr) {
            let shown = super::checks::shown(&addr);
            load.error(format!("a server of http listens on {shown} already"), span);
        }
    }
}
