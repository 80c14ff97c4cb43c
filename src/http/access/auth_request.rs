//! `auth_request`: another location of the server says whether the request may pass.
//!
//! Its answer's body is not read, and the request's body does not go there. Start at [`check`].

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::super::subrequest::{Entry, Spec, Subrequest, Wanted};
use super::super::{log, vars};
use super::Verdict;
use crate::plan::access::AuthRequest;
use crate::plan::model::LogLevel;
use crate::proto::tokens::Token;

/// Asks, keeps what `auth_request_set` names, and passes on how a 401 wants to be answered.
pub(super) async fn check(ex: &mut Exchange, cx: Cx<'_>, plan: &AuthRequest) -> Verdict {
    let spec = Spec {
        uri: &plan.uri,
        args: b"",
        same_method: false,
        with_body: false,
        wanted: Wanted::Head,
        entry: Entry::Server,
    };
    let Ok(subrequest) = Subrequest::start(ex, cx, &spec) else {
        return Verdict::Denied(500);
    };
    let mut ended = subrequest.finish(ex).await;
    let status = ended.status();
    let answer = ended.exchange();
    if status.is_none() {
        // It was closed, by a rule or because the client left: so is the request that it was made for.
        ex.response.status = answer.response.status;
        ended.release(cx);
        return Verdict::Close;
    }
    let mut value = cx.local.buffers.take(64);
    for (target, expr) in &plan.sets {
        value.clear();
        vars::eval(expr, answer, cx, &mut value);
        vars::assign(*target, ex, cx, &value);
    }
    cx.local.buffers.give(value);
    let verdict = match status.unwrap_or_default() {
        200..=299 => Verdict::Granted,
        401 => {
            let wanted = [&answer.response.fields, &answer.upstream_fields];
            let fields = wanted.iter().find(|f| f.has(Token::WWW_AUTHENTICATE));
            for value in fields
                .iter()
                .flat_map(|f| f.get_all(Token::WWW_AUTHENTICATE))
            {
                let fields = &mut ex.response.fields;
                fields.push_token(Token::WWW_AUTHENTICATE, value);
            }
            Verdict::Denied(401)
        }
        403 => Verdict::Denied(403),
        status => {
            // Where an upstream was asked, nginx is said to be sending already.
            let doing = match answer.attempts.is_empty() {
                true => "",
                false => " while sending to client",
            };
            let text = format_args!("auth request unexpected status: {status}{doing}");
            log::error(ex, cx, LogLevel::Error, text);
            Verdict::Denied(500)
        }
    };
    ended.release(cx);
    verdict
}
