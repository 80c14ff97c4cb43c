//! Who may ask, and how often: rules that are never asked, limits that never count. Start at [`level`] and [`whole`].

use std::collections::HashMap;
use std::sync::Arc;

use super::rules;
use super::{Finding, Lint, Place, every, named};
use crate::config::model::*;
use crate::config::tree::Directive;

/// A client gives up after about this many seconds.
const PATIENCE_SECONDS: u64 = 60;

pub(super) fn level<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    answered_first(lint, place);
    no_passwords(lint, place);
    rules_in_order(lint, place);
    open_status(lint, place);
    queues(lint, place);
}

/// `return` is over before anything else is looked at.
fn answered_first<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let returned = place.script.iter().any(|op| matches!(op, Op::Return(_)));
    if !returned || place.nameless() {
        return;
    }
    let request = place.get(&place.sample(""));
    let guard = ["allow", "deny", "auth_basic", "auth_request"]
        .iter()
        .flat_map(|n| place.own(n))
        .find(|d| d.args.first().is_none_or(|w| *w.bytes != *b"off"));
    // Of a server, it may be meant for its locations; but then these are not reached either.
    if let Some(guard) = guard {
        let name = guard.name.lossy();
        let message = format!("\"return\" answers everybody: it comes before \"{name}\"");
        lint.say(
            Finding::new(&rules::RETURN_BEFORE_ACCESS, guard.span, message)
                .request(request.clone()),
        );
    }
    let limit = ["limit_req", "limit_conn"]
        .iter()
        .flat_map(|n| place.own(n))
        .next();
    if let Some(limit) = limit {
        let message = format!(
            "\"return\" answers at once: it comes before \"{}\"",
            limit.name.lossy()
        );
        lint.say(Finding::new(&rules::RETURN_BEFORE_LIMITS, limit.span, message).request(request));
    }
}

/// A realm without a user file asks for nothing: what looks closed is open.
fn no_passwords<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let (outer, inner) = (&place.above.auth_basic, &place.here.auth_basic);
    let below = place
        .inside
        .iter()
        .any(|l| l.settings.auth_basic.auth_basic_user_file.is_some());
    if Arc::ptr_eq(outer, inner) || inner.auth_basic_user_file.is_some() || below {
        return;
    }
    if let Some(realm) = inner.auth_basic.as_ref().filter(|r| *r.bytes != *b"off") {
        let message = "\"auth_basic\" asks for no password without a user file";
        lint.say(
            Finding::new(&rules::NO_PASSWORDS, realm.span, message)
                .request(place.get(&place.sample(""))),
        );
    }
}

/// `allow` and `deny`: the first that fits counts.
fn rules_in_order<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let own: Vec<&Directive> = place
        .blocks
        .last()
        .and_then(|b| b.block.as_deref())
        .unwrap_or_default()
        .iter()
        .filter(|d| [&b"allow"[..], b"deny"].contains(&&d.name.bytes[..]))
        .collect();
    let all = |d: &&&Directive| d.args.first().is_some_and(|w| *w.bytes == *b"all");
    if let Some(at) = own.iter().position(|d| all(&d))
        && let Some(dead) = own.get(at + 1)
    {
        let message = format!(
            "\"{} all\" comes before: this rule is never asked",
            own[at].name.lossy()
        );
        lint.say(
            Finding::new(&rules::UNREACHABLE_RULE, dead.span, message)
                .request(place.get(&place.sample(""))),
        );
    }
    let allows = own.iter().any(|d| *d.name.bytes == *b"allow");
    let denies = own.iter().any(|d| *d.name.bytes == *b"deny");
    // `satisfy any` lets in whom a rule names and asks the others for a password.
    let any = place.here.core.satisfy == Satisfy::Any;
    if allows && !denies && !any {
        let message = "everybody else is let in as well: nothing is denied";
        lint.say(
            Finding::new(&rules::ALLOW_WITHOUT_DENY, own[0].span, message)
                .request(place.get(&place.sample(""))),
        );
    }
}

/// Numbers for everybody.
fn open_status<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let name = match place.content {
        Content::StubStatus => "stub_status",
        Content::Metrics => "metrics",
        Content::Status => "status",
        _ => return,
    };
    let Some(directive) = place.own(name).next() else {
        return;
    };
    let local = place.server.listens.iter().all(|l| match &l.addr {
        ListenAddr::Inet(addr) => addr.ip().is_loopback(),
        ListenAddr::Unix(_) => true,
        ListenAddr::Name(name, _) => name == "localhost",
    });
    let guarded = !place.here.access.rules.is_empty()
        || place.here.auth_basic.auth_basic_user_file.is_some()
        || place.here.subrequests.auth_request.is_some();
    if !local && !guarded && !place.here.core.internal {
        let message = format!("everybody can ask for \"{name}\"");
        lint.say(
            Finding::new(&rules::OPEN_STATUS, directive.span, message)
                .request(place.get(&place.path())),
        );
    }
}

/// How long the last request of a burst waits.
fn queues<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let zones: HashMap<&[u8], u64> = lint
        .http
        .iter()
        .flat_map(|h| &h.limit_zones)
        .filter_map(|z| Some((&z.name[..], z.rate?)))
        .collect();
    let limits = &place.here.limits;
    for directive in place.own("limit_req") {
        let zone = directive
            .args
            .iter()
            .find_map(|w| w.bytes.strip_prefix(b"zone="));
        let Some(limit) = limits.limit_req.iter().find(|l| Some(&l.zone[..]) == zone) else {
            continue;
        };
        let (Some(rate), Some(delay)) = (zones.get(&limit.zone[..]), limit.delay) else {
            continue;
        };
        let seconds = limit.burst.saturating_sub(delay.min(limit.burst)) * 1000 / (*rate).max(1);
        // `delay=` lets the first ones through; the rest wait for the rate from the first on.
        let seconds = if delay == 0 {
            limit.burst * 1000 / (*rate).max(1)
        } else {
            seconds
        };
        if seconds > PATIENCE_SECONDS {
            let message = format!("the last request of a full burst waits for {seconds} s");
            lint.say(
                Finding::new(&rules::LONG_QUEUE, directive.span, message).request(format!(
                    "{} {} times at once",
                    place.get(&place.sample("")),
                    limit.burst + 1
                )),
            );
        }
    }
    let most = u64::from(lint.model.main.worker_connections)
        .checked_mul(u64::from(lint.model.main.worker_processes.unwrap_or(0)));
    for directive in place.own("limit_conn") {
        let [zone, _] = &directive.args[..] else {
            continue;
        };
        let Some(limit) = limits.limit_conn.iter().find(|l| l.zone == zone.bytes) else {
            continue;
        };
        if most.is_some_and(|most| most > 0 && u64::from(limit.max) > most) {
            let message = format!(
                "{} are never open at once: there are {} connections in all",
                limit.max,
                most.unwrap_or(0)
            );
            lint.say(
                Finding::new(&rules::UNREACHABLE_LIMIT, directive.span, message)
                    .request(place.get(&place.sample(""))),
            );
        }
    }
}

/// Zones by themselves.
pub(super) fn whole<'a>(lint: &mut Lint<'a>, http: &'a Http) {
    let levels = http.servers.iter().flat_map(|s| {
        let locations = every(s).into_iter().map(|l| &l.settings);
        locations.chain([&s.settings])
    });
    let limits: Vec<&Limits> = levels.chain([&http.settings]).map(|s| &*s.limits).collect();
    let written: Vec<&Directive> = lint
        .top
        .and_then(|top| top.block.as_deref())
        .into_iter()
        .flat_map(|inside| named(inside, "limit_req_zone").chain(named(inside, "limit_conn_zone")))
        .collect();
    for zone in &http.limit_zones {
        let name = String::from_utf8_lossy(&zone.name).into_owned();
        let names = |d: &&&Directive| {
            d.args.iter().any(|w| {
                let rest = w.bytes.strip_prefix(b"zone=");
                rest.is_some_and(|r| r.split(|&b| b == b':').next() == Some(&zone.name[..]))
            })
        };
        let Some(directive) = written.iter().find(names) else {
            continue;
        };
        let used = limits.iter().any(|l| {
            l.limit_req.iter().any(|r| r.zone == zone.name)
                || l.limit_conn.iter().any(|c| c.zone == zone.name)
        });
        if !used {
            let message = format!("nothing is limited by \"{name}\"");
            lint.say(Finding::new(&rules::UNUSED_LIMIT, directive.span, message));
        }
        key(lint, http, zone, &name);
    }
}

/// What is counted by.
fn key<'a>(lint: &mut Lint<'a>, http: &'a Http, zone: &'a LimitZone, name: &str) {
    let request = http
        .servers
        .first()
        .map_or_else(|| "GET /".into(), |s| format!("GET {}/", super::origin(s)));
    let text = zone.key.lossy();
    if !zone.key.has_variables() {
        let message = format!("all clients share the one allowance of \"{name}\"");
        lint.say(Finding::new(&rules::CONSTANT_LIMIT_KEY, zone.key.span, message).request(request));
        return;
    }
    let theirs = ["$http_", "$arg_", "$cookie_"];
    let loose = theirs.iter().any(|p| text.starts_with(p))
        && text.matches('$').count() == 1
        && text[1..]
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if loose {
        let message = format!(
            "the client may leave \"{text}\" out or invent it: \"{name}\" does not hold it back"
        );
        lint.say(
            Finding::new(&rules::OPTIONAL_LIMIT_KEY, zone.key.span, message)
                .request(format!("{request} without it")),
        );
    }
}
