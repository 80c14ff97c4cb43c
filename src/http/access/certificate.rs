//! Certificates of clients: a server that asks for them answers those that are wrong or missing itself. Start at [`check`].

use super::super::exchange::Exchange;
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::log;
use super::super::ocsp;
use super::super::responder::Asker;
use crate::base::ids::DenseId;
use crate::net::tls::Offer;
use crate::plan::model::{LogLevel, VerifyClient};

/// Whether the server that the request is in takes the client's certificate, by its own rules: those of another server,
/// by whose name the client was let in, do not count.
///
/// Differs from nginx: a connection is judged anew when a request gets to a server with other rules, after a reload too.
pub fn check(ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Flow> {
    let Some(facts) = ex.conn.tls.clone() else {
        return Ok(());
    };
    let settings = &cx.location(cx.plan.servers[ex.server].root).settings.ssl;
    let mode = settings.ssl_verify_client;
    if mode == VerifyClient::Off {
        return Ok(());
    }
    if facts.chain.is_empty() {
        if mode != VerifyClient::On {
            return Ok(());
        }
        let text = format_args!(
            "client sent no required SSL certificate while reading client request headers"
        );
        return refuse(ex, cx, 496, text);
    }
    let flaw = match cx.generation.tls.server(ex.server.index()) {
        Offer::Tls(tls) => tls.flaw(&facts, cx.local.clock.unix().secs),
        _ => facts.flaw.get(),
    };
    let Some(flaw) = flaw else {
        return Ok(());
    };
    if mode == VerifyClient::OptionalNoCa && flaw.only_unknown() {
        return Ok(());
    }
    let (code, words) = (flaw.code, flaw.text);
    let reading = "while reading client request headers";
    match code {
        // What authorities say has no number.
        0 => {
            let text = format_args!("client SSL certificate verify error: {words} {reading}");
            refuse(ex, cx, 495, text)
        }
        _ => {
            let text =
                format_args!("client SSL certificate verify error: ({code}:{words}) {reading}");
            refuse(ex, cx, 495, text)
        }
    }
}

/// Whether authorities must be asked about the client first, by the rules of the server that the request is in, which are
/// not those that were asked when the connection began: another server's, or older ones.
pub fn must_ask(ex: &Exchange, cx: Cx<'_>) -> bool {
    let facts = ex.conn.tls.as_ref();
    facts.is_some_and(|facts| !facts.chain.is_empty() && ocsp::is_due(&asker(ex, cx), facts))
}

/// Asks them.
pub async fn ask(ex: &Exchange, cx: Cx<'_>) {
    if let Some(facts) = ex.conn.tls.clone() {
        let client = log::client(ex.client());
        ocsp::inquire(&asker(ex, cx), &facts, &client).await;
    }
}

fn asker<'a>(ex: &Exchange, cx: Cx<'a>) -> Asker<'a> {
    Asker {
        generation: cx.generation,
        local: cx.local,
        server: ex.server,
        system: false,
    }
}

fn refuse(
    ex: &mut Exchange,
    cx: Cx<'_>,
    status: u16,
    text: std::fmt::Arguments<'_>,
) -> Result<(), Flow> {
    log::error(ex, cx, LogLevel::Info, text);
    ex.close = true;
    ex.discard_body = true;
    Err(Flow::Error(status))
}
