//! `allow` and `deny`: the first rule that names the client's address decides.

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::super::log;
use super::Verdict;
use crate::net::Addr;
use crate::plan::access::Rules;
use crate::plan::model::{LogLevel, Satisfy};

/// Asks the rules about the client.
pub fn check(ex: &Exchange, cx: Cx<'_>, rules: &Rules) -> Verdict {
    let denied = match ex.client() {
        Addr::Ip(at) => rules.denies(at.ip()),
        Addr::Unix(_) => rules.unix,
    };
    match denied {
        None => Verdict::Silent,
        Some(false) => Verdict::Granted,
        Some(true) => {
            if cx.location(ex.location).settings.core.satisfy == Satisfy::All {
                tell_forbidden(ex, cx);
            }
            Verdict::Denied(403)
        }
    }
}

/// The line that fail2ban and its like look for.
pub fn tell_forbidden(ex: &Exchange, cx: Cx<'_>) {
    let text = format_args!("access forbidden by rule");
    log::error(ex, cx, LogLevel::Error, text);
}
