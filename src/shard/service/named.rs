//! Certificates whose names hold variables: evaluated for the client that says hello, as if it had made a request.
//! Start at [`Http::with_named`].

use std::cell::Cell;
use std::rc::Rc;

use super::Http;
use super::tls::Newcomer;
use crate::front::ConnInfo;
use crate::http::certificates::Wanted;
use crate::http::exchange::Exchange;
use crate::http::local::{Cx, Generation};
use crate::http::vars;
use crate::net::tls::{Certified, Facts, Hello, ServerTls};
use crate::plan::ServerId;
use crate::plan::tls::{Pair, TlsServerPlan};

impl Http {
    /// What a server offers to this client, with the certificates that its names come to. The error is for the log.
    pub(super) async fn with_named(
        &self,
        generation: &Rc<Generation>,
        server: ServerId,
        tls: &ServerTls,
        hello: &Hello,
        who: &Newcomer<'_>,
    ) -> Result<ServerTls, String> {
        let Some(plan) = generation.plan.servers[server].tls.as_deref() else {
            return Ok(tls.clone());
        };
        let names = self.names(generation, server, plan, hello, who);
        let mut certificates: Vec<Certified> = Vec::new();
        for (certificate, key) in &names {
            let passwords = plan.passwords.as_ref();
            let wanted = Wanted {
                settings: std::ptr::from_ref(&*plan.settings).addr(),
                certificate,
                key,
                passwords: passwords.map_or(&[], |file| &file.bytes[..]),
                folder: &generation.plan.folder,
                cache: plan.settings.ssl_certificate_cache,
            };
            let now = self.local.clock.mono();
            certificates.push(generation.certificates.get(wanted, now).await?);
        }
        Ok(tls.with_certificates(certificates))
    }

    /// The names of all pairs: those of pairs that are known already have been evaluated to themselves.
    fn names(
        &self,
        generation: &Rc<Generation>,
        server: ServerId,
        plan: &TlsServerPlan,
        hello: &Hello,
        who: &Newcomer<'_>,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let info = Rc::new(ConnInfo {
            tls: Some(Rc::new(Facts::foretold(hello))),
            debug: false,
            misplaced: false,
            named: None,
            entry: Cell::new(None),
            number: who.number,
            remote: who.peer.clone(),
            local: who.local.clone(),
            listener: Cell::new(who.listener),
            proxy: None,
            accepted: self.local.clock.mono(),
            requests: Cell::new(0),
            pipelined: Cell::new(false),
        });
        // Not one of the pool's: nothing of it shall be found in a request.
        let mut ex = Box::new(Exchange::new(info));
        ex.server = server;
        ex.location = generation.plan.servers[server].root;
        let cx = Cx::new(generation, &self.local);
        let mut all = Vec::new();
        for pair in &plan.pairs {
            if let Pair::Named { certificate, key } = pair {
                let mut names = (Vec::new(), Vec::new());
                vars::eval(certificate, &mut ex, cx, &mut names.0);
                vars::eval(key, &mut ex, cx, &mut names.1);
                all.push(names);
            }
        }
        all
    }
}
