//! A request of a group with `sticky` stays with a peer: by what it says itself, or by the session that it belongs to.
//! What the client is told, and what is remembered, is here too. Knows no balancing. Start at [`begin`].

use super::super::super::exchange::{Body, Exchange};
use super::super::super::local::Cx;
use super::super::super::vars;
use crate::base::time;
use crate::mail::session::{Place, Sid};
use crate::plan::GroupId;
use crate::plan::expr::Expr;
use crate::plan::model::StickyExpires;
use crate::plan::sticky::{CookiePlan, LearnPlan, StickyKind, StickyPlan};
use crate::proto::tokens::Token;
use crate::upstream::selection::Selection;
use crate::upstream::sessions;

/// What a request stays with.
#[derive(Default)]
pub struct Sticky {
    /// The group that is being asked, where it is sticky.
    group: Option<GroupId>,
    /// What the request says of itself; empty when nothing.
    id: Vec<u8>,
    /// Where its session stays.
    found: Option<Sid>,
    /// The peer that was picked last.
    peer: Option<Sid>,
    /// An answer's head was taken over.
    accepted: bool,
    /// The session is known to stay with the peer.
    learned: bool,
    /// Cookies for the client, one of each group that was asked.
    cookies: Vec<(GroupId, Vec<u8>)>,
}

/// Whether [`begin`] has something to do.
#[inline]
pub(super) fn is_due(ex: &Exchange, cx: Cx<'_>, selection: &Selection) -> bool {
    let group = selection.group().id;
    ex.sticky.is_some() || group.is_some_and(|id| cx.plan.groups[id].sticky.is_some())
}

/// Finds out with which peer the request stays.
pub(super) async fn begin(ex: &mut Exchange, cx: Cx<'_>, selection: &mut Selection) {
    let mut state = ex.sticky.take().unwrap_or_default();
    let plan = of_group(cx, selection.group().id);
    state.group = plan.and(selection.group().id);
    state.id.clear();
    (state.found, state.peer) = (None, None);
    (state.accepted, state.learned) = (false, false);
    if let Some(plan) = plan {
        first(&plan.lookup, ex, cx, &mut state.id);
        match &plan.kind {
            _ if state.id.is_empty() => {}
            StickyKind::Learn(learn) => {
                state.found = cx.local.sessions.find(place(learn, &state.id)).await;
                if let Some(sid) = &state.found {
                    selection.stay(sid.bytes());
                }
            }
            StickyKind::Route | StickyKind::Cookie(_) => selection.stay(&state.id),
        }
    }
    ex.sticky = Some(state);
}

fn of_group<'a>(cx: Cx<'a>, group: Option<GroupId>) -> Option<&'a StickyPlan> {
    cx.plan.groups[group?].sticky.as_deref()
}

fn learning<'a>(ex: &Exchange, cx: Cx<'a>) -> Option<&'a LearnPlan> {
    match of_group(cx, ex.sticky.as_ref()?.group)?.kind {
        StickyKind::Learn(ref learn) => Some(learn),
        StickyKind::Route | StickyKind::Cookie(_) => None,
    }
}

fn place(learn: &LearnPlan, name: &[u8]) -> Place {
    Place {
        table: learn.table,
        timeout: learn.timeout,
        key: sessions::key(name),
    }
}

/// The first value that is not empty.
fn first(list: &[Expr], ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    for expr in list {
        vars::eval(expr, ex, cx, out);
        if !out.is_empty() {
            return;
        }
    }
}

/// A peer was picked, whatever becomes of the attempt.
#[inline]
pub(super) fn picked(ex: &mut Exchange, cx: Cx<'_>, selection: &Selection) {
    if ex.sticky.is_some() {
        note_picked(ex, cx, selection);
    }
}

#[inline(never)]
fn note_picked(ex: &mut Exchange, cx: Cx<'_>, selection: &Selection) {
    let Some(mut state) = ex.sticky.take() else {
        return;
    };
    if let (Some(group), Some(target)) = (state.group, selection.target()) {
        let sid = &target.sid;
        state.peer = Sid::new(sid);
        if let Some(StickyKind::Cookie(plan)) = of_group(cx, Some(group)).map(|plan| &plan.kind) {
            let at = state.cookies.iter().position(|(of, _)| *of == group);
            let at = at.unwrap_or_else(|| {
                state.cookies.push((group, Vec::new()));
                state.cookies.len() - 1
            });
            let text = &mut state.cookies[at].1;
            text.clear();
            write_cookie(plan, sid, ex, cx, text);
        }
    }
    ex.sticky = Some(state);
}

/// The value of `Set-Cookie`.
fn write_cookie(plan: &CookiePlan, sid: &[u8], ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&plan.start);
    out.extend_from_slice(sid);
    match plan.expires {
        StickyExpires::Session => {}
        StickyExpires::Max => {
            out.extend_from_slice(b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000");
        }
        StickyExpires::After(lifetime) => {
            let now = cx.local.clock.unix().secs;
            out.extend_from_slice(b"; expires=");
            time::cookie_date(now.saturating_add_unsigned(lifetime.as_secs()), out);
            out.extend_from_slice(b"; max-age=");
            out.extend_from_slice(itoa::Buffer::new().format(lifetime.as_secs()).as_bytes());
        }
    }
    if let Some(domain) = &plan.domain {
        attribute(b"; domain=", domain, ex, cx, out);
    }
    out.extend_from_slice(&plan.flags);
    if let Some(samesite) = &plan.samesite {
        let before = out.len();
        let value = attribute(b"; samesite=", samesite, ex, cx, out);
        let known = [&b"strict"[..], b"lax", b"none"];
        if value < out.len() && !known.iter().any(|k| out[value..].eq_ignore_ascii_case(k)) {
            out.truncate(before);
            out.extend_from_slice(b"; samesite=strict");
        }
    }
    out.extend_from_slice(&plan.path);
}

/// Appends an attribute with a value, or nothing where that comes out empty. Says where the value begins.
fn attribute(name: &[u8], value: &Expr, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> usize {
    let before = out.len();
    out.extend_from_slice(name);
    let at = out.len();
    vars::eval(value, ex, cx, out);
    if out.len() == at {
        out.truncate(before);
    }
    at
}

/// The head of an answer will be the client's.
#[inline]
pub(super) fn accept(ex: &mut Exchange) {
    if let Some(state) = &mut ex.sticky {
        state.accepted = true;
    }
}

/// An answer's head was judged. A session that begins with it, or with a body that is here as a whole, is known to all
/// shards before the client can come back with it.
pub(super) async fn answered(ex: &mut Exchange, cx: Cx<'_>) {
    let Some(learn) = learning(ex, cx) else {
        return;
    };
    let due = if learn.header {
        ex.sticky.as_ref().is_some_and(|state| state.accepted)
    } else {
        match &ex.response.body {
            Body::Origin(origin) => {
                origin.inbound.is_ended() || origin.inbound.is_whole(usize::MAX)
            }
            _ => false,
        }
    };
    if due && let Some((place, sid, create)) = lesson(ex, cx, learn) {
        let known = ex.sticky.as_ref().is_some_and(|s| s.found == Some(sid));
        if create && !known {
            cx.local.sessions.learn_first(place, sid).await;
        } else {
            cx.local.sessions.learn(place, sid, create);
        }
    }
}

/// An attempt ended without a fault of the peer.
#[inline]
pub(super) fn over(ex: &mut Exchange, cx: Cx<'_>) {
    if ex.sticky.is_some() {
        remember(ex, cx);
    }
}

fn remember(ex: &mut Exchange, cx: Cx<'_>) {
    if let Some(learn) = learning(ex, cx)
        && !learn.header
        && let Some((place, sid, create)) = lesson(ex, cx, learn)
    {
        cx.local.sessions.learn(place, sid, create);
    }
}

/// Which session stays where from now on, and whether it may be new; none where nothing is to be learned, or was.
fn lesson(ex: &mut Exchange, cx: Cx<'_>, learn: &LearnPlan) -> Option<(Place, Sid, bool)> {
    let state = ex.sticky.as_mut()?;
    let sid = state.peer?;
    if std::mem::replace(&mut state.learned, true) {
        return None;
    }
    let mut name = cx.local.buffers.take(64);
    first(&learn.create, ex, cx, &mut name);
    let create = !name.is_empty();
    let state = ex.sticky.as_mut()?;
    if create && name != state.id {
        // What was found belongs to another session.
        state.found = None;
    }
    let told = if create { &name } else { &state.id };
    let lesson = (!told.is_empty()).then(|| (place(learn, told), sid, create));
    cx.local.buffers.give(name);
    lesson
}

/// Adds the cookies to the answer.
#[inline]
pub fn tell(ex: &mut Exchange) {
    if ex.sticky.is_some() {
        tell_cookies(ex);
    }
}

#[inline(never)]
fn tell_cookies(ex: &mut Exchange) {
    let Some(state) = &ex.sticky else {
        return;
    };
    let fields = &mut ex.response.fields;
    for (_, cookie) in &state.cookies {
        let told = |value: &[u8]| value == &cookie[..];
        if !fields.get_all(Token::SET_COOKIE).any(told) {
            fields.push_token(Token::SET_COOKIE, cookie);
        }
    }
}
