//! The client's real address, where a trusted peer names it: changes what `$remote_addr`, rules, limits, balancing and
//! logs see, for this request alone. The peer itself stays in `$realip_remote_addr`.

use super::super::exchange::Exchange;
use crate::net::Addr;
use crate::plan::access::{RealipHeader, RealipPlan};
use crate::plan::lookup::forwarded;
use crate::proto::tokens::Token;

/// Takes the peer's word, once in a request.
pub fn apply(ex: &mut Exchange, plan: &RealipPlan) {
    if ex.real_client.is_some() {
        return;
    }
    let peer = ex.conn.remote.ip().map(|at| at.ip());
    let fields = &ex.head.fields;
    let trusts = |addr| plan.trusts(addr);
    let found = match &plan.header {
        RealipHeader::ForwardedFor => {
            if !fields.has(Token::X_FORWARDED_FOR) {
                return;
            }
            let lines = fields
                .list()
                .iter()
                .rev()
                .filter(|field| field.token == Token::X_FORWARDED_FOR)
                .map(|field| fields.bytes(field.value));
            forwarded(peer, lines, trusts, plan.recursive)
        }
        RealipHeader::Field(name) => {
            let lines = fields.get_name(name).into_iter();
            forwarded(peer, lines, trusts, plan.recursive)
        }
        RealipHeader::ProxyProtocol => {
            let facts = ex.conn.proxy.as_ref();
            facts
                .and_then(|facts| facts.header.addresses)
                .map(|(from, _)| from)
                .filter(|_| plan.trusts(peer))
        }
    };
    ex.real_client = found.map(Addr::Ip);
}
