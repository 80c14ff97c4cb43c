//! TLS to the backends of a request: who they have to be, by name, and with which certificate we come. Start at [`dial`].

use std::rc::Rc;

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::vars;
use crate::plan::location::ProxyPlan;
use crate::upstream::tls::{Dial, Identity};

/// How this request speaks TLS; none where its location was compiled without, which an `https` URL never is.
pub(super) fn dial(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, h2: bool) -> Option<Dial> {
    let rules = plan.tls.as_deref()?;
    let tls = cx.generation.tls.clients.get(rules.client)?.clone();
    let mut name = Vec::new();
    vars::eval(&rules.name, ex, cx, &mut name);
    name.truncate(host_len(&name));
    Some(Dial {
        tls,
        identity: Rc::new(Identity {
            client: rules.client,
            name: name.into(),
            pair: None,
        }),
        h2,
    })
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
