//! TLS to the backends of a request: who they have to be, by name, and with which certificate we come. Start at [`dial`].

use std::rc::Rc;

use super::super::super::certificates::Wanted;
use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::{log, vars};
use crate::net::tls::ClientTls;
use crate::plan::location::ProxyPlan;
use crate::plan::model::LogLevel;
use crate::upstream::tls::{Dial, Identity};

/// How this request speaks TLS; none where its location was compiled without, which an `https` URL never is.
pub(super) fn dial(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, h2: bool) -> Option<Dial> {
    let rules = plan.tls.as_deref()?;
    let tls = cx.generation.tls.clients.get(rules.client)?.clone();
    let mut name = Vec::new();
    vars::eval(&rules.name, ex, cx, &mut name);
    name.truncate(host_len(&name));
    let pair = rules.pair.as_ref().and_then(|(certificate, key)| {
        let mut names = (Vec::new(), Vec::new());
        vars::eval(certificate, ex, cx, &mut names.0);
        vars::eval(key, ex, cx, &mut names.1);
        // An empty name is no certificate.
        (!names.0.is_empty()).then(|| (names.0.into(), names.1.into()))
    });
    Some(Dial {
        tls,
        identity: Rc::new(Identity {
            client: rules.client,
            name: name.into(),
            pair,
        }),
        h2,
    })
}

/// What is asked of a server on a new connection: with our certificate, where the request decided about it. The error
/// was logged.
pub(super) async fn armed(ex: &mut Exchange, cx: Cx<'_>, dial: &Dial) -> Result<ClientTls, ()> {
    let Some((certificate, key)) = &dial.identity.pair else {
        return Ok(dial.tls.clone());
    };
    let plan = &cx.plan.tls_clients[dial.identity.client];
    let wanted = Wanted {
        settings: std::ptr::from_ref(&*plan.settings).addr(),
        certificate,
        key,
        passwords: plan.passwords.as_ref().map_or(&[], |file| &file.bytes[..]),
        folder: &cx.plan.folder,
        cache: plan.settings.certificate_cache,
    };
    let now = cx.local.clock.mono();
    match cx.generation.certificates.get(wanted, now).await {
        Ok(own) => Ok(dial.tls.with_certificate(&own)),
        Err(text) => {
            log::error(ex, cx, LogLevel::Error, format_args!("{text}"));
            Err(())
        }
    }
}

/// The length of a host without the port behind it.
fn host_len(name: &[u8]) -> usize {
    let from = match name.first() {
        Some(b'[') => memchr::memchr(b']', name).unwrap_or(0),
        _ => 0,
    };
    memchr::memchr(b':', &name[from..]).map_or(name.len(), |at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_name() {
        for (name, host) in [
            ("example.com", "example.com"),
            ("example.com:8443", "example.com"),
            ("[::1]:443", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(&name[..host_len(name.as_bytes())], host);
        }
    }
}
