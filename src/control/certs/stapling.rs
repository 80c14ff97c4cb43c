//! What goes along with a server's certificates: an answer out of a file, or one that is fetched while the server runs.

use std::sync::Arc;

use super::Findings;
use crate::config::model::Text;
use crate::net::tls::certificate;
use crate::net::tls::ocsp::{Question, is_issuer};
use crate::net::tls::staple::{Responder, Staple};
use crate::net::tls::{Certified, Memory, Trust};
use crate::plan::tls::TlsServerPlan;

/// Puts OCSP answers to certificates. Never an error, as in nginx: a certificate without an answer is as good as before.
pub(super) fn stapled(
    certificates: Vec<Certified>,
    tls: &TlsServerPlan,
    memory: &mut Memory,
    staples: &mut Vec<Arc<Staple>>,
    findings: &mut Findings<'_>,
) -> Vec<Certified> {
    let names = tls.settings.ssl_certificate.iter();
    let one = |(certificate, name): (Certified, &Text)| {
        if let Some(file) = &tls.stapling_file {
            return certificate.stapled(file.bytes.to_vec());
        }
        match fetched(&certificate, name, tls, memory, findings) {
            Some(staple) => {
                staples.push(staple.clone());
                certificate.stapling(staple)
            }
            None => certificate,
        }
    };
    certificates.into_iter().zip(names).map(one).collect()
}

/// An answer that is to be fetched; none where that cannot be, which was told.
fn fetched(
    certificate: &Certified,
    name: &Text,
    tls: &TlsServerPlan,
    memory: &mut Memory,
    findings: &mut Findings<'_>,
) -> Option<Arc<Staple>> {
    let shown = name.lossy();
    let mut chain = certificate.chain();
    let own = chain.next().unwrap_or_default();
    let given = tls.settings.ssl_stapling_responder.as_ref();
    let Some(url) = given
        .map(|text| text.lossy())
        .or_else(|| certificate::responder(own))
    else {
        findings.warn(
            format!("\"ssl_stapling\" ignored, no OCSP responder URL in the certificate \"{shown}\""),
            "its authority has no responder any more, as Let's Encrypt since 2025; remove ssl_stapling",
            name.span,
        );
        return None;
    };
    let Some(responder) = Responder::of_url(&url) else {
        findings.warn(
            format!(
                "\"ssl_stapling\" ignored, invalid URL prefix in OCSP responder \"{url}\" in the certificate \"{shown}\""
            ),
            "responders are asked by plain HTTP: http://host/path",
            name.span,
        );
        return None;
    };
    let trusted = tls
        .trusted
        .as_ref()
        .map(|file| Trust::certificates(&file.bytes));
    let trusted = trusted.unwrap_or_default();
    let mut above = chain.chain(trusted.iter().map(|der| &der[..]));
    let Some(issuer) = above.find(|issuer| is_issuer(own, issuer)) else {
        findings.warn(
            format!("\"ssl_stapling\" ignored, issuer certificate not found for certificate \"{shown}\""),
            "put the issuer's certificate behind the server's own in its file, or into ssl_trusted_certificate",
            name.span,
        );
        return None;
    };
    let strict = tls.settings.ssl_stapling_verify;
    let question = Question::new(own, issuer)?;
    let whose = [own, issuer, url.as_bytes(), &[u8::from(strict)]];
    Some(memory.staple(&whose, || Staple::new(question, responder, &shown, strict)))
}
