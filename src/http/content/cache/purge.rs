//! `…_cache_purge`: a request that removes what is stored, by its own key, by the beginning of keys, or by tags.
//!
//! Start at [`run`].

use super::super::super::exchange::{Body, Exchange};
use super::super::super::flow::Flow;
use super::super::super::local::Cx;
use super::super::super::vars;
use crate::cache::{Purge, Purged};
use crate::plan::cache::CachePlan;
use crate::plan::expr::Expr;

/// Removes, and says so: 204, or 202 while other shards are still at it.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>, cache: &CachePlan) -> Flow {
    let Some(plan) = &cache.purge else {
        return Flow::Error(500);
    };
    let text = |expr: &Option<Expr>, ex: &mut Exchange| {
        let mut out = Vec::new();
        if let Some(expr) = expr {
            vars::eval(expr, ex, cx, &mut out);
        }
        out
    };
    let tags = text(&plan.tags, ex);
    let soft = text(&plan.mode, ex).eq_ignore_ascii_case(b"soft");
    let Some(mut cached) = ex.cached.take() else {
        return Flow::Error(500);
    };
    let Some(store) = cached.store.take() else {
        return Flow::Error(500);
    };
    let mut complete = true;
    let mut note = |purged: Purged| complete &= purged.complete;
    if !tags.is_empty() {
        for tag in words(&tags) {
            note(cx.local.cache.purge(&store, Purge::Tag(tag), soft).await);
        }
    } else {
        let what = match cached.key.strip_suffix(b"*") {
            Some(prefix) => Purge::Prefix(prefix),
            None => Purge::Key(&cached.key),
        };
        note(cx.local.cache.purge(&store, what, soft).await);
    }
    ex.cached_spare = Some(cached);
    ex.response.status = if complete { 204 } else { 202 };
    ex.response.body = Body::Empty;
    ex.response.content_length = (!complete).then_some(0);
    Flow::Answer
}

/// The words of a list with commas or blanks between.
pub fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| matches!(b, b',' | b' ' | b'\t'))
        .filter(|word| !word.is_empty())
}
