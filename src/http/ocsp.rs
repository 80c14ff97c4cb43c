//! Asks authorities whether they took the certificates of a client back (`ssl_ocsp`): after its handshake and before its
//! first request, and again where a request gets to a server that asks others. Start at [`inquire`].

use super::responder::Asker;
use crate::base::ids::DenseId;
use crate::net::clock;
use crate::net::tls::status::{self, Asks, Inquiry};
use crate::net::tls::{Facts, Flaw, Offer, ServerTls};

/// Whether somebody has to be asked about a client, by the rules of the asker's server.
pub fn is_due(asker: &Asker<'_>, facts: &Facts) -> bool {
    match asker.generation.tls.server(asker.server.index()) {
        Offer::Tls(tls) => tls.may_inquire(facts),
        _ => false,
    }
}

/// Asks, and keeps with the facts of the connection what was said.
pub async fn inquire(asker: &Asker<'_>, facts: &Facts, client: &str) {
    let Offer::Tls(tls) = asker.generation.tls.server(asker.server.index()) else {
        return;
    };
    let Some((asks, inquiries)) = tls.inquiries(facts, clock::unix().secs) else {
        return;
    };
    let mut flaw = None;
    for inquiry in &inquiries {
        flaw = match asks.known(inquiry, clock::unix().secs) {
            Some(status) => status::flaw(status),
            None => ask(asker, &asks, inquiry, client).await,
        };
        if flaw.is_some() {
            break;
        }
    }
    ServerTls::told(facts, &asks, flaw);
}

/// What is wrong with one certificate. Where nobody answers, that is what is wrong.
async fn ask(asker: &Asker<'_>, asks: &Asks, inquiry: &Inquiry, client: &str) -> Option<Flaw> {
    let asker = Asker {
        // As with nginx: it knows the addresses of its own responder, and not those that certificates name.
        system: inquiry.configured,
        ..*asker
    };
    let (host, result) = match &inquiry.responder {
        Err(reason) => ("", Err(reason.clone())),
        Ok(responder) => {
            let answer = asker.ask(responder, inquiry.request()).await;
            let result = answer.and_then(|answer| {
                let said = asks.answered(inquiry, &answer, clock::unix().secs);
                said.map_err(str::to_owned)
            });
            (&*responder.host, result)
        }
    };
    match result {
        Ok(status) => status::flaw(status),
        Err(reason) => {
            asker.tell(&reason, host, format_args!("client: {client}"));
            Some(Flaw::STATUS_FAILED)
        }
    }
}
