//! What two peers may agree on: versions, ciphers and groups out of the words of a configuration, for either side, and the
//! commands of OpenSSL's own configuration that change them. Start at [`agree`].

use super::Findings;
use crate::config::diag::Span;
use crate::config::model::{ConfCommand, SslProtocols, Text};
use crate::net::tls::ciphers::{self, Chosen, Cipher, Group};

/// The words of a configuration.
pub(super) struct Words<'a> {
    /// Prefix of the directives: `ssl_`, `proxy_ssl_`.
    pub(super) prefix: &'static str,
    pub(super) protocols: SslProtocols,
    pub(super) ciphers: &'a Text,
    pub(super) groups: Option<&'a Text>,
    pub(super) own_order: bool,
    pub(super) tickets: bool,
    pub(super) commands: &'a [ConfCommand],
    /// Where to complain about nothing in particular.
    pub(super) span: Span,
}

/// What they come to.
pub(super) struct Agreed {
    pub(super) tls12: bool,
    pub(super) tls13: bool,
    pub(super) ciphers: Chosen<Cipher>,
    pub(super) ciphers_13: Chosen<Cipher>,
    pub(super) groups: Chosen<Group>,
    pub(super) own_order: bool,
    pub(super) tickets: bool,
}

/// What the commands may change.
struct Wishes<'a> {
    tls12: bool,
    tls13: bool,
    ciphers: (String, Span),
    ciphers_13: Option<&'a Text>,
    groups: Option<(String, Span)>,
    own_order: bool,
    tickets: bool,
}

/// Reads the words; none when they leave nothing to offer, which was told.
pub(super) fn agree(words: &Words<'_>, findings: &mut Findings<'_>) -> Option<Agreed> {
    let mut wishes = Wishes {
        tls12: words.protocols.has(SslProtocols::TLS_1_2),
        tls13: words.protocols.has(SslProtocols::TLS_1_3),
        ciphers: (words.ciphers.lossy(), words.ciphers.span),
        ciphers_13: None,
        groups: words.groups.map(|text| (text.lossy(), text.span)),
        own_order: words.own_order,
        tickets: words.tickets,
    };
    let prefix = words.prefix;
    old_protocols(words, findings);
    for command in words.commands {
        if !obey(command, &mut wishes) {
            let (name, value) = (command.name.lossy(), command.value.lossy());
            let known = IGNORED.iter().any(|known| name.eq_ignore_ascii_case(known));
            match known {
                true => findings.warn(
                    format!("\"{prefix}conf_command {name}\" has no effect"),
                    "it is about OpenSSL's own workings, or cannot be chosen here",
                    command.name.span,
                ),
                false => findings.error(
                    format!("SSL_CONF_cmd(\"{name}\", \"{value}\") failed"),
                    "known commands: CipherString, Ciphersuites, Groups, MinProtocol, MaxProtocol, Protocol, Options, \
                     Certificate, PrivateKey",
                    command.name.span,
                ),
            }
        }
    }
    let ciphers = ciphers_12(prefix, &wishes, findings)?;
    let ciphers_13 = ciphers_13(&wishes, findings)?;
    let groups = groups(prefix, &wishes, findings)?;
    let tls12 = wishes.tls12 && !ciphers.is_empty();
    let tls13 = wishes.tls13 && !ciphers_13.is_empty();
    if !tls12 && !tls13 {
        findings.error(
            format!("\"{prefix}protocols\" and \"{prefix}ciphers\" leave nothing to offer"),
            "TLSv1.2 and TLSv1.3 are spoken, with AES-GCM and ChaCha20-Poly1305; older versions and ciphers are not \
             offered because they are broken",
            words.span,
        );
        return None;
    }
    Some(Agreed {
        tls12,
        tls13,
        ciphers,
        ciphers_13,
        groups,
        own_order: wishes.own_order,
        tickets: wishes.tickets,
    })
}

fn old_protocols(words: &Words<'_>, findings: &mut Findings<'_>) {
    let known = SslProtocols::WORDS.iter();
    let old = known.filter(|(_, version)| {
        words.protocols.has(*version)
            && !matches!(*version, SslProtocols::TLS_1_2 | SslProtocols::TLS_1_3)
    });
    let old: Vec<&str> = old.map(|(name, _)| *name).collect();
    if !old.is_empty() {
        findings.warn(
            format!(
                "\"{}protocols\": {} cannot be offered",
                words.prefix,
                old.join(", ")
            ),
            "versions before TLSv1.2 are broken; nothing that is still supported needs them",
            words.span,
        );
    }
}

fn ciphers_12(
    prefix: &str,
    wishes: &Wishes<'_>,
    findings: &mut Findings<'_>,
) -> Option<Chosen<Cipher>> {
    let (text, span) = &wishes.ciphers;
    let Some(chosen) = ciphers::list(text) else {
        findings.error(
            format!(
                "SSL_CTX_set_cipher_list(\"{text}\") failed (SSL: error:0A0000B9:SSL routines::no cipher match)"
            ),
            "leave the directive out for a good choice",
            *span,
        );
        return None;
    };
    if wishes.tls12 {
        missing(
            &format!("{prefix}ciphers"),
            &chosen.missing,
            *span,
            findings,
        );
        if chosen.is_empty() {
            findings.warn(
                format!("\"{prefix}ciphers\" names nothing that can be offered with TLSv1.2"),
                "add ECDHE ciphers with AES-GCM or ChaCha20, or leave the directive out",
                *span,
            );
        }
    }
    Some(chosen)
}

fn ciphers_13(wishes: &Wishes<'_>, findings: &mut Findings<'_>) -> Option<Chosen<Cipher>> {
    let Some(text) = wishes.ciphers_13 else {
        return Some(ciphers::default_13());
    };
    let shown = text.lossy();
    match ciphers::list_13(&shown) {
        Some(chosen) => {
            missing("Ciphersuites", &chosen.missing, text.span, findings);
            Some(chosen)
        }
        None => {
            findings.error(
                format!("SSL_CONF_cmd(\"Ciphersuites\", \"{shown}\") failed"),
                "known: TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256",
                text.span,
            );
            None
        }
    }
}

fn groups(prefix: &str, wishes: &Wishes<'_>, findings: &mut Findings<'_>) -> Option<Chosen<Group>> {
    let (text, span) = match &wishes.groups {
        Some((text, span)) => (text.as_str(), *span),
        None => ("auto", Span::default()),
    };
    let hint = "known: X25519MLKEM768, SecP256r1MLKEM768, X25519, prime256v1, secp384r1, or auto";
    match ciphers::groups(text) {
        Ok(chosen) if chosen.is_empty() => {
            let message = format!("\"{prefix}ecdh_curve\" names nothing that can be offered");
            findings.error(message, hint, span);
            None
        }
        Ok(chosen) => {
            missing(
                &format!("{prefix}ecdh_curve"),
                &chosen.missing,
                span,
                findings,
            );
            Some(chosen)
        }
        Err(name) => {
            let message =
                format!("SSL_CTX_set1_curves_list(\"{text}\") failed (unknown group \"{name}\")");
            findings.error(message, hint, span);
            None
        }
    }
}

fn missing(what: &str, names: &[String], span: Span, findings: &mut Findings<'_>) {
    if !names.is_empty() {
        findings.warn(
            format!("\"{what}\": {} cannot be offered", names.join(", ")),
            "the others are",
            span,
        );
    }
}

/// Commands that OpenSSL knows and that change nothing here.
const IGNORED: &[&str] = &[
    "SignatureAlgorithms",
    "ClientSignatureAlgorithms",
    "RecordPadding",
    "NumTickets",
    "VerifyMode",
    "DHParameters",
    "ECDHParameters",
    "ServerInfoFile",
    "ChainCAFile",
    "ChainCAPath",
    "VerifyCAFile",
    "VerifyCAPath",
    "RequestCAFile",
    "ClientCAFile",
];

/// Follows a command; false when it is not one of those that do something.
fn obey<'a>(command: &'a ConfCommand, wishes: &mut Wishes<'a>) -> bool {
    let name = command.name.lossy().to_ascii_lowercase();
    let value = command.value.lossy();
    let span = command.value.span;
    match &name[..] {
        "cipherstring" => wishes.ciphers = (value, span),
        "ciphersuites" => wishes.ciphers_13 = Some(&command.value),
        "curves" | "groups" => wishes.groups = Some((value, span)),
        "minprotocol" => match &value[..] {
            "TLSv1.3" => wishes.tls12 = false,
            "TLSv1.2" | "TLSv1.1" | "TLSv1" | "SSLv3" | "None" => {}
            _ => return false,
        },
        "maxprotocol" => match &value[..] {
            "TLSv1.2" => wishes.tls13 = false,
            "TLSv1.3" | "None" => {}
            "TLSv1.1" | "TLSv1" | "SSLv3" => (wishes.tls12, wishes.tls13) = (false, false),
            _ => return false,
        },
        "protocol" => return value.split(',').all(|word| protocol(word, wishes)),
        "options" => value.split(',').for_each(|word| option(word, wishes)),
        // The plan took them for a pair of files.
        "certificate" | "privatekey" => {}
        _ => return false,
    }
    true
}

fn protocol(word: &str, wishes: &mut Wishes<'_>) -> bool {
    let word = word.trim();
    let (on, name) = match word.strip_prefix('-') {
        Some(name) => (false, name),
        None => (true, word.strip_prefix('+').unwrap_or(word)),
    };
    match name {
        "ALL" => (wishes.tls12, wishes.tls13) = (on, on),
        "TLSv1.2" => wishes.tls12 = on,
        "TLSv1.3" => wishes.tls13 = on,
        "TLSv1.1" | "TLSv1" | "SSLv3" | "SSLv2" => {}
        _ => return false,
    }
    true
}

fn option(word: &str, wishes: &mut Wishes<'_>) {
    let word = word.trim();
    let (on, name) = match word.strip_prefix('-') {
        Some(name) => (false, name),
        None => (true, word.strip_prefix('+').unwrap_or(word)),
    };
    // Others are about what OpenSSL does and nothing here: KTLS, work-arounds, compression.
    match name {
        "ServerPreference" => wishes.own_order = on,
        "SessionTicket" => wishes.tickets = on,
        _ => {}
    }
}
