//! Rows of TLS towards clients: certificates, protocols, ciphers, sessions, client certificates, stapling. Knows the
//! grammar of each; what a list of ciphers means and whether a key fits its certificate is for those who build with them.

use std::sync::Arc;
use std::time::Duration;

use super::zones::{self, Use, ZONE_BYTES_MIN};
use crate::config::diag::{Diag, Level};
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Inherit, Row, args, args_min, args_to, family, row};
use crate::config::tree::{Directive, Word};
use crate::config::value::*;

family! {
    /// Settings of TLS towards clients.
    pub struct Ssl in ssl {
        list  ssl_certificate: Text = "", text, HS, args(1), "File with a certificate and those that sign it, in PEM; several for several kinds of keys.";
        list  ssl_certificate_key: Text = "", text, HS, args(1), "File with the key of a certificate, in PEM, or data:PEM.";
        value ssl_certificate_cache: Option<CertificateCache> = "", certificate_cache, HS, args_to(1, 3), "Keeps certificates whose names hold variables.";
        value ssl_password_file: Option<Text> = "", some_text, HS, args(1), "File of passwords for encrypted keys, one in a line.";
        value ssl_dhparam: Option<Text> = "", some_text, HS, args(1), "Parameters for DHE ciphers." accepted "ciphers with finite-field DHE are not offered; key exchange is by elliptic curves and ML-KEM";
        value ssl_ecdh_curve: Text = "auto", text, HS, args(1), "Groups for key exchange in order of preference; auto begins with X25519MLKEM768.";
        mask  ssl_protocols: SslProtocols = "TLSv1.2 TLSv1.3", ssl_protocols, HS, args_min(1), "Versions of TLS; those before 1.2 cannot be offered.";
        value ssl_ciphers: Text = "HIGH:!aNULL:!MD5", text, HS, args(1), "Ciphers of TLS 1.2, as a list in OpenSSL's grammar.";
        value ssl_buffer_size: usize = "16k", size, HS, args(1), "Longest record that is sent.";
        value ssl_verify_client: VerifyClient = "off", verify_client, HS, args(1), "Asks clients for a certificate.";
        value ssl_verify_depth: u64 = "1", num, HS, args(1), "Longest chain of a client's certificate.";
        value ssl_client_certificate: Option<Text> = "", some_text, HS, args(1), "Certificates that sign those of clients; their names are sent.";
        value ssl_trusted_certificate: Option<Text> = "", some_text, HS, args(1), "Certificates that sign those of clients and of OCSP; their names are not sent.";
        value ssl_prefer_server_ciphers: bool = "off", flag, HS, args(1), "The order of our list of ciphers counts, not the client's.";
        value ssl_session_tickets: bool = "on", flag, HS, args(1), "Lets clients keep their sessions as tickets.";
        list  ssl_session_ticket_key: Text = "", text, HS, args(1), "File of 48 or 80 random bytes that seal tickets; the first file seals, all open.";
        value ssl_session_timeout: Duration = "5m", sec, HS, args(1), "How long a session can be taken up again.";
        value ssl_crl: Option<Text> = "", some_text, HS, args(1), "Revoked certificates of clients, in PEM.";
        value ssl_ocsp: Ocsp = "off", ocsp, HS, args(1), "Asks authorities whether they took the certificates of clients back.";
        value ssl_ocsp_responder: Option<Text> = "", some_text, HS, args(1), "The OCSP responder to ask about clients, instead of the one that a certificate names.";
        value ssl_stapling: bool = "off", flag, HS, args(1), "Sends along what the certificate's OCSP responder says.";
        value ssl_stapling_file: Option<Text> = "", some_text, HS, args(1), "An OCSP answer to send, instead of asking for one.";
        value ssl_stapling_responder: Option<Text> = "", some_text, HS, args(1), "The OCSP responder to ask, instead of the certificate's own.";
        value ssl_stapling_verify: bool = "off", flag, HS, args(1), "Takes only OCSP answers that are signed for the issuer of the certificate; one out of a file is sent as it is.";
        value ssl_certificate_compression: bool = "off", flag, HS, args(1), "Sends certificates compressed (TLS 1.3) to clients that can read them: zlib and Brotli.";
        value ssl_key_log: Option<Text> = "", some_text, HS, args(1), "File that the secrets of connections are written to, in the format of NSS, for those who decrypt what they recorded.";
        value ssl_early_data: bool = "off", flag, HS, args(1), "Takes requests in the first flight of a resumed session, which somebody may have replayed.";
        list  ssl_conf_command: ConfCommand = "", conf_command, HS, args(2), "A command of OpenSSL's configuration.";
        value ssl_reject_handshake: bool = "off", flag, HS, args(1), "Refuses every handshake for this server.";
    } also {
        ssl_session_cache: SessionCache = SessionCache::default(), "`ssl_session_cache`.";
        ssl_ocsp_cache: Option<(Arc<[u8]>, usize)> = None, "`ssl_ocsp_cache`: the zone's name and bytes.";
    }
}

/// The rows with setters of their own.
pub(crate) const ROWS: &[Row] = &[
    {
        let mut row = row(
            "ssl_session_cache",
            HS,
            args_to(1, 2),
            session_cache,
            "Where sessions are kept: off, none, builtin[:N], shared:NAME:SIZE.",
        )
        .default("none");
        row.inherit = Inherit::Copy;
        row
    },
    {
        let mut row = row(
            "ssl_ocsp_cache",
            HS,
            args(1),
            ocsp_cache,
            "Where it is kept what authorities said of the certificates of clients: off, shared:NAME:SIZE.",
        )
        .default("off");
        row.inherit = Inherit::Copy;
        row
    },
];

/// `ssl_certificate_cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateCache {
    /// Most entries; 0 keeps none.
    pub max: usize,
    /// How long an entry stays that nobody uses.
    pub inactive: Duration,
    /// How long an entry is trusted.
    pub valid: Duration,
}

/// `ssl_session_cache`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCache {
    /// `off` tells clients that sessions are never taken up again; `none` only never does it. All the same here.
    pub off: bool,
    /// `builtin`, with how many sessions.
    pub builtin: Option<usize>,
    /// `shared:NAME:SIZE`.
    pub shared: Option<(Arc<[u8]>, usize)>,
}

/// A command of OpenSSL's configuration: its name and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfCommand {
    /// Its name.
    pub name: Text,
    /// Its value.
    pub value: Text,
}

/// Sessions of a `builtin` cache that says no number, as in OpenSSL.
const BUILTIN_SESSIONS: usize = 20480;

pub(super) fn ssl_protocols(args: &mut Args<'_>) -> Parsed<SslProtocols> {
    any_of(
        args,
        SslProtocols::WORDS,
        SslProtocols::has,
        SslProtocols::with,
    )
}

fn ocsp(args: &mut Args<'_>) -> Parsed<Ocsp> {
    one_of(args, Ocsp::WORDS)
}

fn verify_client(args: &mut Args<'_>) -> Parsed<VerifyClient> {
    one_of(args, VerifyClient::WORDS)
}

pub(super) fn conf_command(args: &mut Args<'_>) -> Parsed<ConfCommand> {
    Ok(ConfCommand {
        name: text_of(args.word(0)),
        value: text_of(args.word(1)),
    })
}

/// `max=N [inactive=TIME] [valid=TIME] | off`.
pub(super) fn certificate_cache(args: &mut Args<'_>) -> Parsed<Option<CertificateCache>> {
    let mut cache = CertificateCache {
        max: 0,
        inactive: Duration::from_secs(10),
        valid: Duration::from_secs(60),
    };
    let mut off = false;
    for word in args.words {
        let invalid = || Fault::new(format!("invalid parameter \"{}\"", word.lossy()));
        let bytes = &word.bytes[..];
        if let Some(value) = bytes.strip_prefix(b"max=") {
            let max = decimal(value).and_then(|max| usize::try_from(max).ok());
            cache.max = max.filter(|&max| max > 0).ok_or_else(invalid)?;
        } else if let Some(value) = bytes.strip_prefix(b"inactive=") {
            cache.inactive = parse_sec(value).ok_or_else(invalid)?;
        } else if let Some(value) = bytes.strip_prefix(b"valid=") {
            cache.valid = parse_sec(value).ok_or_else(invalid)?;
        } else if bytes == b"off" {
            off = true;
        } else {
            return Err(invalid());
        }
    }
    match (off, cache.max) {
        (true, _) => Ok(None),
        (false, 0) => Err(args.fault("must have the \"max\" parameter").hint(format!(
            "say how many certificates are kept, such as {} max=1000",
            args.name
        ))),
        (false, _) => Ok(Some(cache)),
    }
}

fn session_cache(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let mut cache = SessionCache::default();
    for word in &directive.args {
        let said = session_cache_word(&mut cache, word);
        let zone = cache.shared.as_ref().map(|(_, size)| *size);
        if let Err(message) = said {
            let hint = "write shared:NAME:SIZE, such as shared:SSL:10m";
            return load.error_hint(message, hint, word.span);
        }
        if let (Some(size), Some(name)) = (zone, zone_name(word))
            && !zones::claim(load, &name, size, Use::Sessions, directive.span)
        {
            return;
        }
    }
    Arc::make_mut(&mut frame.settings.ssl).ssl_session_cache = cache;
}

fn ocsp_cache(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let word = &directive.args[0];
    let mut cache = SessionCache::default();
    if word.bytes[..] != *b"off" {
        let said = match word.bytes.starts_with(b"shared:") {
            true => session_cache_word(&mut cache, word),
            false => Err(String::new()),
        };
        let (Ok(()), Some((_, size))) = (said, &cache.shared) else {
            let message = format!("invalid OCSP cache \"{}\"", word.lossy());
            let hint = "write shared:NAME:SIZE with 32k or more, such as shared:OCSP:1m";
            return load.error_hint(message, hint, word.span);
        };
        if let Some(name) = zone_name(word)
            && !zones::claim(load, &name, *size, Use::Statuses, directive.span)
        {
            return;
        }
    }
    Arc::make_mut(&mut frame.settings.ssl).ssl_ocsp_cache = cache.shared;
}

/// The zone's name, as a word at the place of the whole parameter.
fn zone_name(word: &Word) -> Option<Word> {
    let rest = word.bytes.strip_prefix(b"shared:")?;
    let name = rest.split(|&byte| byte == b':').next()?;
    Some(Word {
        bytes: Arc::from(name),
        ..word.clone()
    })
}

fn session_cache_word(cache: &mut SessionCache, word: &Word) -> Result<(), String> {
    let invalid = || format!("invalid session cache \"{}\"", word.lossy());
    match &word.bytes[..] {
        b"off" => cache.off = true,
        b"none" => {}
        b"builtin" => cache.builtin = Some(BUILTIN_SESSIONS),
        other => {
            if let Some(count) = other.strip_prefix(b"builtin:") {
                let count = decimal(count).and_then(|count| usize::try_from(count).ok());
                cache.builtin = Some(count.ok_or_else(invalid)?);
                return Ok(());
            }
            let rest = other.strip_prefix(b"shared:").ok_or_else(invalid)?;
            let colon = rest.iter().position(|&byte| byte == b':');
            let (name, size) = rest.split_at(colon.filter(|&at| at > 0).ok_or_else(invalid)?);
            let size = parse_size(&size[1..]).ok_or_else(invalid)?;
            if size < ZONE_BYTES_MIN {
                return Err(format!("session cache \"{}\" is too small", word.lossy()));
            }
            cache.shared = Some((Arc::from(name), size));
        }
    }
    Ok(())
}

/// What can only be known when all servers are: keys for certificates, and certificates for `listen … ssl`.
pub(super) fn check(load: &mut Lowering<'_>, http: &Http) {
    let mut defaults: Vec<(&ListenAddr, usize, bool)> = Vec::new();
    for (index, server) in http.servers.iter().enumerate() {
        keys(load, &server.settings.ssl, server);
        for listen in &server.listens {
            let known = defaults.iter_mut().find(|(addr, ..)| *addr == &listen.addr);
            match known {
                Some((_, default, ssl)) => {
                    *ssl |= listen.ssl;
                    if listen.default_server {
                        *default = index;
                    }
                }
                None => defaults.push((&listen.addr, index, listen.ssl)),
            }
        }
    }
    for (addr, default, _) in defaults.into_iter().filter(|(.., ssl)| *ssl) {
        let bare = |server: &Server| {
            let ssl = &server.settings.ssl;
            ssl.ssl_certificate.is_empty() && !ssl.ssl_reject_handshake
        };
        let here = |server: &&Server| server.listens.iter().any(|listen| listen.addr == *addr);
        let first = &http.servers[default];
        if !first.settings.ssl.ssl_certificate.is_empty() {
            continue;
        }
        // A default server that refuses every handshake leaves none to those without a certificate.
        let culprit = match bare(first) {
            true => Some(first),
            false => http.servers.iter().filter(here).find(|each| bare(each)),
        };
        if let Some(server) = culprit {
            load.error_hint(
                "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive",
                "name a certificate and its key with ssl_certificate and ssl_certificate_key, or refuse handshakes \
                 with ssl_reject_handshake on",
                server.pos,
            );
        }
    }
}

fn keys(load: &mut Lowering<'_>, ssl: &Ssl, server: &Server) {
    let (certificates, keys) = (&ssl.ssl_certificate, &ssl.ssl_certificate_key);
    if let Some(last) = certificates
        .last()
        .filter(|_| keys.len() < certificates.len())
    {
        let text = last.lossy();
        let message = format!("no \"ssl_certificate_key\" is defined for certificate \"{text}\"");
        let mut diag = Diag::general(Level::Emerg, message)
            .hint("write ssl_certificate_key with the file of its private key beside it");
        diag.span = last.span;
        load.diags.push(diag);
    }
    let used = !certificates.is_empty() || ssl.ssl_reject_handshake;
    let asks = !matches!(
        ssl.ssl_verify_client,
        VerifyClient::Off | VerifyClient::OptionalNoCa
    );
    if used && asks && ssl.ssl_client_certificate.is_none() && ssl.ssl_trusted_certificate.is_none()
    {
        let message = "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client";
        let mut diag = Diag::general(Level::Emerg, message)
            .hint("name the file of the certificates that sign those of your clients");
        diag.span = server.pos;
        load.diags.push(diag);
    }
}
