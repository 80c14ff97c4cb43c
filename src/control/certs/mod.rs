//! From descriptions of TLS to what shards speak with: reads certificates and keys out of the bytes that the parent
//! read, and tells what is wrong with them where the configuration names them. The parent does it to refuse what is
//! wrong, the worker to serve it. Start at [`build`].

mod agree;
mod stapling;

use std::sync::Arc;

use agree::{Words, agree};

use crate::base::ids::DenseId;
use crate::config::diag::{Diag, Level, SourceFile, Span};
use crate::config::model::{Ocsp, VerifyClient};
use crate::net::clock;
use crate::net::tls::staple::{Responder, Staple};
use crate::net::tls::{
    Asks, Certified, ClientParts, ClientTls, Clients, KeyLines, Memory, Offer, PairFault,
    ServerParts, SessionParts, TicketKeys, TlsSet, Trust,
};
use crate::plan::tls::{Material, Pair, TlsClientPlan, TlsServerPlan};
use crate::plan::{LogId, Plan};

/// The store of `builtin` caches, which have no name; no zone's name is empty.
const BUILTIN: &[u8] = b"";

/// The store for early data of servers without a cache.
const EARLY: &[u8] = b"\0early";

/// Sessions that it holds.
const EARLY_SESSIONS: usize = 20480;

/// What a session takes in a store, about.
const SESSION_BYTES: usize = 512;

/// Findings of one configuration.
struct Findings<'a> {
    files: &'a [SourceFile],
    diags: Vec<Diag>,
}

impl Findings<'_> {
    fn error(&mut self, message: String, hint: &str, span: Span) {
        let diag = Diag::at(Level::Emerg, message, span, self.files);
        self.diags.push(diag.hint(hint));
    }

    fn warn(&mut self, message: String, hint: &str, span: Span) {
        let diag = Diag::at(Level::Warn, message, span, self.files);
        self.diags.push(diag.hint(hint));
    }
}

/// What shards are to do besides.
#[derive(Default)]
struct Wanted {
    staples: Vec<Arc<Staple>>,
    key_logs: Vec<(usize, Arc<KeyLines>)>,
}

impl Wanted {
    /// Where the secrets for a log go.
    fn key_lines(&mut self, log: Option<LogId>) -> Option<Arc<KeyLines>> {
        let number = log?.index();
        let known = self.key_logs.iter().find(|(known, _)| *known == number);
        if let Some((_, lines)) = known {
            return Some(Arc::clone(lines));
        }
        let lines = Arc::<KeyLines>::default();
        self.key_logs.push((number, Arc::clone(&lines)));
        Some(lines)
    }
}

/// Builds the TLS of a plan, with everything that is wrong or noteworthy. `files` are those of the load, for positions;
/// `memory` is what is kept over reloads.
#[must_use]
pub fn build(plan: &Plan, files: &[SourceFile], memory: &mut Memory) -> (TlsSet, Vec<Diag>) {
    let mut findings = Findings {
        files,
        diags: Vec::new(),
    };
    let mut wanted = Wanted::default();
    let mut staples = Vec::new();
    let servers = plan.servers.iter().enumerate();
    let servers = servers.map(|(number, server)| match &server.tls {
        None => Offer::Nothing,
        Some(tls) => {
            let offer = offer(tls, memory, &mut wanted, &mut findings).unwrap_or_default();
            for staple in wanted.staples.drain(..) {
                // Servers share them; whichever comes first says how its responder is found.
                if !staples.iter().any(|(known, _)| Arc::ptr_eq(known, &staple)) {
                    staples.push((staple, number));
                }
            }
            offer
        }
    });
    let servers = servers.collect();
    let clients = plan.tls_clients.iter();
    let clients = clients.filter_map(|one| client(one, &mut wanted, &mut findings));
    let clients = clients.collect();
    // What servers inherit is built for each of them, and wrong in each of them.
    let mut diags: Vec<Diag> = Vec::new();
    for diag in findings.diags {
        let known = |other: &Diag| other.span == diag.span && other.message == diag.message;
        if !diags.iter().any(known) {
            diags.push(diag);
        }
    }
    (
        TlsSet {
            servers,
            clients,
            keep_hello: plan.wants_hello,
            staples,
            key_logs: wanted.key_logs,
        },
        diags,
    )
}

/// None where something is wrong, which was told.
fn offer(
    tls: &TlsServerPlan,
    memory: &mut Memory,
    wanted: &mut Wanted,
    findings: &mut Findings<'_>,
) -> Option<Offer> {
    let settings = &tls.settings;
    let mut certificates = Vec::new();
    for pair in &tls.pairs {
        if let Pair::Read { certificate, key } = pair {
            let passwords = passwords(tls.passwords.as_ref());
            certificates.extend(certified(certificate, key, &passwords, findings));
        }
    }
    if settings.ssl_stapling {
        certificates = stapling::stapled(certificates, tls, memory, &mut wanted.staples, findings);
    }
    let span = match settings.ssl_certificate.first() {
        Some(text) => text.span,
        None => Span::default(),
    };
    let words = Words {
        prefix: "ssl_",
        protocols: settings.ssl_protocols,
        ciphers: &settings.ssl_ciphers,
        groups: Some(&settings.ssl_ecdh_curve),
        own_order: settings.ssl_prefer_server_ciphers,
        tickets: settings.ssl_session_tickets,
        commands: &settings.ssl_conf_command,
        span,
    };
    let agreed = agree(&words, findings);
    let clients = match settings.ssl_verify_client {
        VerifyClient::Off => Some(None),
        _ => clients(tls, memory, findings).map(Some),
    };
    let sessions = sessions(
        tls,
        agreed.as_ref().is_some_and(|a| a.tickets),
        memory,
        findings,
    );
    if settings.ssl_reject_handshake {
        return Some(Offer::Refuse);
    }
    let (agreed, sessions) = (agreed?, sessions?);
    let parts = ServerParts {
        certificates,
        tls12: agreed.tls12,
        tls13: agreed.tls13,
        ciphers: agreed.ciphers,
        ciphers_13: agreed.ciphers_13,
        groups: agreed.groups,
        record_bytes: settings.ssl_buffer_size,
        own_order: agreed.own_order,
        clients: clients?,
        sessions,
        early_data: settings.ssl_early_data,
        compresses: settings.ssl_certificate_compression,
        key_log: wanted.key_lines(tls.key_log),
    };
    match parts.build() {
        Ok(tls) => Some(Offer::Tls(tls)),
        Err(reason) => {
            let message = format!("TLS cannot be offered: {reason}");
            findings.error(message, "see the directives beside it", span);
            None
        }
    }
}

/// None where something is wrong, which was told.
fn client(
    tls: &TlsClientPlan,
    wanted: &mut Wanted,
    findings: &mut Findings<'_>,
) -> Option<ClientTls> {
    let settings = &tls.settings;
    let certificate = match &tls.pair {
        Some(Pair::Read { certificate, key }) => {
            let passwords = passwords(tls.passwords.as_ref());
            Some(certified(certificate, key, &passwords, findings)?)
        }
        _ => None,
    };
    let words = Words {
        prefix: tls.prefix,
        protocols: settings.protocols,
        ciphers: &settings.ciphers,
        groups: None,
        own_order: true,
        tickets: true,
        commands: &settings.conf_command,
        span: settings.ciphers.span,
    };
    let agreed = agree(&words, findings);
    let trust = match settings.verify {
        true => {
            let depth = usize::try_from(settings.verify_depth).unwrap_or(usize::MAX);
            let found = trust(&[&tls.trusted], tls.revoked.as_ref(), depth, findings)?;
            Some(Arc::new(found))
        }
        false => None,
    };
    let agreed = agreed?;
    let parts = ClientParts {
        certificate,
        tls12: agreed.tls12,
        tls13: agreed.tls13,
        ciphers: agreed.ciphers,
        ciphers_13: agreed.ciphers_13,
        groups: agreed.groups,
        tells_name: settings.server_name,
        trust,
        resumes: settings.session_reuse,
        key_log: wanted.key_lines(tls.key_log),
    };
    match parts.build() {
        Ok(tls) => Some(tls),
        Err(reason) => {
            let message = format!("TLS to backends cannot be spoken: {reason}");
            findings.error(message, "see the directives beside it", words.span);
            None
        }
    }
}

/// Whom to trust with certificates of clients.
fn clients(
    tls: &TlsServerPlan,
    memory: &mut Memory,
    findings: &mut Findings<'_>,
) -> Option<Clients> {
    let settings = &tls.settings;
    let depth = usize::try_from(settings.ssl_verify_depth).unwrap_or(usize::MAX);
    let files = [&tls.client_authorities, &tls.trusted];
    let trust = trust(&files, tls.revoked.as_ref(), depth, findings)?;
    let bytes = |file: &Option<Material>| file.as_ref().map_or_else(Vec::new, |f| f.bytes.to_vec());
    let mut rule = format!("{:?} {depth} ", settings.ssl_verify_client).into_bytes();
    rule.extend(bytes(&tls.trusted));
    rule.push(0);
    rule.extend(bytes(&tls.revoked));
    Some(Clients {
        trust: Arc::new(trust),
        asks: asks(tls, memory, findings)?,
        hints: bytes(&tls.client_authorities),
        rule,
    })
}

/// Who is asked whether certificates of clients were taken back; nobody where `ssl_ocsp` is off. None where something is
/// wrong, which was told.
fn asks(
    tls: &TlsServerPlan,
    memory: &mut Memory,
    findings: &mut Findings<'_>,
) -> Option<Option<Arc<Asks>>> {
    let settings = &tls.settings;
    if settings.ssl_ocsp == Ocsp::Off {
        return Some(None);
    }
    if settings.ssl_verify_client == VerifyClient::OptionalNoCa {
        findings.error(
            "\"ssl_ocsp\" is incompatible with \"ssl_verify_client optional_no_ca\"".to_owned(),
            "nobody known has signed such certificates, so nobody can be asked; write ssl_verify_client optional",
            settings.ssl_certificate.first().map_or_else(Span::default, |text| text.span),
        );
        return None;
    }
    let responder = match &settings.ssl_ocsp_responder {
        None => None,
        Some(text) => {
            let found = Responder::of_url(&text.lossy());
            if found.is_none() {
                findings.error(
                    format!(
                        "invalid URL prefix in OCSP responder \"{}\" in \"ssl_ocsp_responder\"",
                        text.lossy()
                    ),
                    "responders are asked by plain HTTP: http://host/path",
                    text.span,
                );
                return None;
            }
            found
        }
    };
    let zone = settings.ssl_ocsp_cache.as_ref();
    let known = zone.map(|(name, bytes)| memory.known(name, *bytes));
    let leaf = settings.ssl_ocsp == Ocsp::Leaf;
    Some(Some(Arc::new(Asks::new(leaf, responder, known))))
}

/// Whom to trust, out of files of certificates and one of revoked ones; none when one is wrong, which was told.
fn trust(
    files: &[&Option<Material>],
    revoked: Option<&Material>,
    depth: usize,
    findings: &mut Findings<'_>,
) -> Option<Trust> {
    let files: Vec<&Material> = files.iter().filter_map(|file| file.as_ref()).collect();
    for file in &files {
        if Trust::new(&[&file.bytes[..]], depth).is_none() {
            let name = &file.name;
            findings.error(
                format!(
                    "SSL_CTX_load_verify_locations(\"{name}\") failed (SSL: error:05880088:x509 certificate \
                     routines::no certificate or crl found)"
                ),
                "the file must hold certificates in PEM",
                file.span,
            );
            return None;
        }
    }
    let texts: Vec<&[u8]> = files.iter().map(|file| &file.bytes[..]).collect();
    let trust = Trust::new(&texts, depth)?;
    let Some(file) = revoked else {
        return Some(trust);
    };
    let found = trust.revoking(&file.bytes);
    if found.is_none() {
        let name = &file.name;
        findings.error(
            format!(
                "X509_LOOKUP_load_file(\"{name}\") failed (SSL: error:05800066:x509 certificate routines::no crl found)"
            ),
            "the file must hold lists of revoked certificates in PEM",
            file.span,
        );
    }
    found
}

fn sessions(
    tls: &TlsServerPlan,
    tickets: bool,
    memory: &mut Memory,
    findings: &mut Findings<'_>,
) -> Option<SessionParts> {
    let settings = &tls.settings;
    let cache = &settings.ssl_session_cache;
    let seconds = settings.ssl_session_timeout.as_secs();
    let mut store = match (&cache.shared, cache.builtin) {
        (Some((name, bytes)), _) => Some(memory.store(name, *bytes)),
        (None, Some(count)) => Some(memory.store(BUILTIN, count.saturating_mul(SESSION_BYTES))),
        (None, None) => None,
    };
    if settings.ssl_early_data {
        store = store.or_else(|| Some(memory.store(EARLY, EARLY_SESSIONS * SESSION_BYTES)));
    }
    let keys = match &tls.ticket_keys[..] {
        [] => memory.ticket_keys(seconds),
        files => {
            let bytes: Vec<&[u8]> = files.iter().map(|file| &file.bytes[..]).collect();
            match TicketKeys::of_files(&bytes) {
                Ok(keys) => keys,
                Err(at) => {
                    let file = &files[at];
                    let name = &file.name;
                    findings.error(
                        format!("\"{name}\" must be 48 or 80 bytes"),
                        "make one with: openssl rand 80",
                        file.span,
                    );
                    return None;
                }
            }
        }
    };
    Some(SessionParts {
        tickets: tickets.then_some(keys),
        store,
        lifetime: u32::try_from(seconds).unwrap_or(u32::MAX),
    })
}

/// The passwords of a file, one in a line.
fn passwords(file: Option<&Material>) -> Vec<&[u8]> {
    let lines = file
        .iter()
        .flat_map(|file| file.bytes.split(|&byte| byte == b'\n'));
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).collect()
}

fn certified(
    certificate: &Material,
    key: &Material,
    passwords: &[&[u8]],
    findings: &mut Findings<'_>,
) -> Option<Certified> {
    let (file, key_file) = (&certificate.name, &key.name);
    match Certified::read(&certificate.bytes, &key.bytes, passwords) {
        Ok(one) => {
            lifetime(&one, certificate, findings);
            return Some(one);
        }
        Err(PairFault::Certificate(reason)) => findings.error(
            format!("cannot load certificate \"{file}\": PEM_read_bio_X509_AUX() failed ({reason})"),
            "the file must hold the certificate and those that sign it in PEM, the server's own first",
            certificate.span,
        ),
        Err(PairFault::Key(reason)) => findings.error(
            format!(
                "cannot load certificate key \"{key_file}\": PEM_read_bio_PrivateKey() failed ({reason})"
            ),
            "the file must hold an RSA (2048 bits or more), EC or Ed25519 key in PEM; name the passwords of an encrypted \
             one with ssl_password_file",
            key.span,
        ),
        Err(PairFault::Mismatch) => findings.error(
            format!(
                "SSL_CTX_use_PrivateKey(\"{key_file}\") failed (SSL: error:05800074:x509 certificate \
                 routines::key values mismatch)"
            ),
            "the key belongs to another certificate; the order of ssl_certificate_key lines is that of ssl_certificate \
             lines, and the server's own certificate comes first in its file",
            key.span,
        ),
    }
    None
}

/// nginx loads certificates outside their time; a user would want to know.
fn lifetime(one: &Certified, certificate: &Material, findings: &mut Findings<'_>) {
    let now = clock::unix().secs;
    let file = &certificate.name;
    if one.ends < now {
        findings.warn(
            format!("certificate \"{file}\" has expired"),
            "clients will refuse it; renew it and reload",
            certificate.span,
        );
    } else if one.begins > now {
        findings.warn(
            format!("certificate \"{file}\" is not valid yet"),
            "clients will refuse it until then; is the clock right?",
            certificate.span,
        );
    }
}
