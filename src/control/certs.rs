//! From descriptions of TLS to what shards speak with: reads certificates and keys out of the bytes that the parent
//! read, and tells what is wrong with them where the configuration names them. The parent does it to refuse what is
//! wrong, the worker to serve it. Start at [`build`].

use crate::config::diag::{Diag, Level, SourceFile, Span};
use crate::config::model::SslProtocols;
use crate::net::clock;
use crate::net::tls::{Certified, Offer, PairFault, ServerParts, TlsSet};
use crate::plan::Plan;
use crate::plan::tls::{Material, Pair, TlsServerPlan};

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

/// Builds the TLS of a plan, with everything that is wrong or noteworthy. `files` are those of the load, for positions.
#[must_use]
pub fn build(plan: &Plan, files: &[SourceFile]) -> (TlsSet, Vec<Diag>) {
    let mut findings = Findings {
        files,
        diags: Vec::new(),
    };
    let servers = plan.servers.iter();
    let servers = servers.map(|server| match &server.tls {
        None => Offer::Nothing,
        Some(tls) => offer(tls, &mut findings),
    });
    let servers = servers.collect();
    // What servers inherit is built for each of them, and wrong in each of them.
    let mut diags: Vec<Diag> = Vec::new();
    for diag in findings.diags {
        let known = |other: &Diag| other.span == diag.span && other.message == diag.message;
        if !diags.iter().any(known) {
            diags.push(diag);
        }
    }
    let keep_hello = false;
    (
        TlsSet {
            servers,
            keep_hello,
        },
        diags,
    )
}

fn offer(tls: &TlsServerPlan, findings: &mut Findings<'_>) -> Offer {
    let settings = &tls.settings;
    let mut certificates = Vec::new();
    for pair in &tls.pairs {
        if let Pair::Read { certificate, key } = pair {
            certificates.extend(certified(certificate, key, tls, findings));
        }
    }
    if settings.ssl_reject_handshake {
        return Offer::Refuse;
    }
    let parts = ServerParts {
        certificates,
        tls12: settings.ssl_protocols.has(SslProtocols::TLS_1_2),
        tls13: settings.ssl_protocols.has(SslProtocols::TLS_1_3),
        record_bytes: settings.ssl_buffer_size,
        own_order: settings.ssl_prefer_server_ciphers,
    };
    match parts.build() {
        Ok(tls) => Offer::Tls(tls),
        Err(reason) => {
            let span = settings.ssl_certificate.first().map(|text| text.span);
            let message = format!("TLS cannot be offered: {reason}");
            findings.error(
                message,
                "see the directives beside it",
                span.unwrap_or_default(),
            );
            Offer::Nothing
        }
    }
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
    tls: &TlsServerPlan,
    findings: &mut Findings<'_>,
) -> Option<Certified> {
    let passwords = passwords(tls.passwords.as_ref());
    let (file, key_file) = (&certificate.name, &key.name);
    match Certified::read(&certificate.bytes, &key.bytes, &passwords) {
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
