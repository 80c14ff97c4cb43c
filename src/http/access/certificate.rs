//! Certificates of clients: a server that asks for them answers those that are wrong or missing itself. Start at [`check`].

use super::super::exchange::Exchange;
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::log;
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
    let text = format_args!(
        "client SSL certificate verify error: ({code}:{words}) while reading client request headers"
    );
    refuse(ex, cx, 495, text)
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
