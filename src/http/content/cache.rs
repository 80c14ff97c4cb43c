//! The cache before the proxy: what is stored is served, what is fetched is stored.
//!
//! [`before`] is asked before an origin is: it answers from the store, or leaves in `ex.cached` what the proxy needs to know
//! and, with the permission to fill, the duty to. What comes back from the origin goes through [`answer`]; bytes cross
//! in [`body`]. When something is fresh is `cache::policy`'s, where it is stored is `cache`'s. A request in a location
//! without a cache costs one test of an `Option`.

pub mod answer;
pub mod body;
pub mod copy;
mod purge;
mod serve;
mod status;

use std::rc::Rc;

use super::super::exchange::Exchange;
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::log::{self, Text};
use super::super::subrequest::{self, Entry, Spec, Wanted};
use super::super::vars;
use super::proxy::{request, target::Dynamic};
use crate::base::size::parse_digits;
use crate::cache::policy::directives;
use crate::cache::policy::rfc9111::{self, Admits};
use crate::cache::policy::{HEAD_ONLY, vary};
use crate::cache::{Ask, Fill, Found, Hot, Live, Lock, Object};
use crate::front::BodyLength;
use crate::plan::cache::{CachePlan, ZoneChoice};
use crate::plan::expr::Expr;
use crate::plan::location::{Content, ProxyPlan, WirePlan};
use crate::plan::model::{CacheMethods, CacheMode, LogLevel, NextUpstream};
use crate::plan::store::StoreRef;
use crate::proto::head::Method;
use crate::proto::tokens::Token;

/// What came of asking the cache: `$upstream_cache_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It was not asked.
    #[default]
    None,
    /// Nothing was stored.
    Miss,
    /// `…_cache_bypass`.
    Bypass,
    /// It was, and no longer fresh: fetched anew.
    Expired,
    /// Served although it is no longer fresh.
    Stale,
    /// The same, while somebody else fetches it.
    Updating,
    /// The origin said that it has not changed.
    Revalidated,
    /// Served from the store.
    Hit,
}

impl Status {
    /// The word; none where the cache was not asked.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::None => return None,
            Self::Miss => "MISS",
            Self::Bypass => "BYPASS",
            Self::Expired => "EXPIRED",
            Self::Stale => "STALE",
            Self::Updating => "UPDATING",
            Self::Revalidated => "REVALIDATED",
            Self::Hit => "HIT",
        })
    }
}

/// What an exchange knows of the cache.
#[derive(Default)]
pub struct Cached {
    /// What came of asking.
    pub status: Status,
    /// The key.
    pub key: Vec<u8>,
    /// Where it is stored.
    store: Option<StoreRef>,
    /// The answer may be stored, as far as is known.
    pub cacheable: bool,
    /// Asked for with HEAD and fetched with GET.
    pub as_get: bool,
    /// Permission to store.
    fill: Option<Fill>,
    /// What is stored and has expired, or has to be validated.
    object: Option<Rc<Object>>,
    /// Fetched for the store alone, while the client was served.
    background: bool,
    /// The request's directives, where the rules are those of RFC 9111.
    asks: directives::Request,
    /// It changes what it asks about: what is stored is gone when it succeeds (RFC 9111 4.4).
    pub invalidates: bool,
    /// The store knows variants, and none of them fits.
    varies: bool,
    /// Somebody else's fetch was waited for.
    collapsed: bool,
    /// The answer went to the store.
    stored: bool,
    /// Seconds of a served object's freshness that are left, and its age.
    ttl: i64,
    age: Option<i64>,
}

impl Cached {
    /// Forgets everything but the allocations.
    pub fn clear(&mut self) {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        *self = Self {
            key,
            ..Self::default()
        };
    }

    /// The number of the store that was asked.
    #[must_use]
    pub fn store(&self) -> Option<u64> {
        self.store.as_ref().map(|store| store.id)
    }

    /// Whether a permission to fill is held: the origin is asked for others too.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.cacheable && self.fill.is_some()
    }

    /// The age of what was served, in seconds.
    #[must_use]
    pub fn age(&self) -> Option<i64> {
        self.age
    }

    /// What a condition of revalidation is made of; none where there is nothing to ask about.
    #[must_use]
    pub fn validated(&self) -> Option<&Object> {
        match self.status {
            Status::Expired => self.object.as_deref(),
            _ => None,
        }
    }
}

/// What the cache says before an origin is asked.
pub enum Before {
    /// Ask it.
    Ask,
    /// The answer is made.
    Done(Flow),
}

/// Whether the rules are those of RFC 9111.
fn is_strict(cache: &CachePlan) -> bool {
    cache.settings.cache_mode == CacheMode::Rfc9111
}

/// Whether stored answers are asked about instead of fetched anew.
#[must_use]
pub fn revalidates(cache: &CachePlan) -> bool {
    cache.settings.cache_revalidate || is_strict(cache)
}

/// Asks the cache.
pub async fn before(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    cache: &CachePlan,
    dynamic: Option<&Dynamic>,
) -> Before {
    if ex.cached.as_ref().is_some_and(|cached| cached.background) {
        return Before::Ask;
    }
    match prepare(ex, cx, plan, cache, dynamic) {
        Prepared::Not => Before::Ask,
        Prepared::Failed => Before::Done(Flow::Error(500)),
        Prepared::Purge => Before::Done(Box::pin(purge::run(ex, cx, cache)).await),
        Prepared::Bypass => Box::pin(lookup(ex, cx, cache, Way::Bypass)).await,
        Prepared::Look => match hot(ex, cx, plan, cache) {
            Some(flow) => Before::Done(flow),
            None => Box::pin(lookup(ex, cx, cache, Way::Usual)).await,
        },
    }
}

/// What is to be done about a request.
enum Prepared {
    /// It has nothing to do with the cache.
    Not,
    /// It cannot be served.
    Failed,
    /// It removes what is stored.
    Purge,
    /// It is fetched whatever is stored.
    Bypass,
    /// It may be served from the store.
    Look,
}

/// Decides what a request has to do with the cache, and makes its key.
fn prepare(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    cache: &CachePlan,
    dynamic: Option<&Dynamic>,
) -> Prepared {
    let purges = match &cache.purge {
        Some(purge) => any(&purge.conditions, ex, cx),
        None => false,
    };
    let method = match ex.method {
        Method::Get => Some(CacheMethods::GET),
        Method::Head => Some(CacheMethods::HEAD),
        Method::Post => Some(CacheMethods::POST),
        _ => None,
    };
    let methods = cache.settings.cache_methods;
    let usual = matches!(ex.method, Method::Get | Method::Head);
    let fits = method.is_some_and(|method| usual || methods.has(method));
    let unsafe_method = !matches!(
        ex.method,
        Method::Get | Method::Head | Method::Options | Method::Other
    );
    let invalidates = is_strict(cache) && unsafe_method && !fits;
    if !fits && !purges && !invalidates {
        return Prepared::Not;
    }
    // An answer to a body that the key does not tell from others is nobody else's, unless the method is asked for.
    if usual && !purges && !cache.keys_body && ex.stream.body_length() != BodyLength::None {
        return Prepared::Not;
    }
    let store = match &cache.zone {
        ZoneChoice::Fixed(store) => store.clone(),
        ZoneChoice::Named(name) => match named(name, ex, cx) {
            Ok(Some(store)) => store,
            Ok(None) => return Prepared::Not,
            Err(()) => return Prepared::Failed,
        },
    };
    let mut cached = ex.cached_spare.take().unwrap_or_default();
    cached.clear();
    let mut key = std::mem::take(&mut cached.key);
    make_key(ex, cx, plan, cache, dynamic, &mut key);
    if !fits_buffer(&key, ex, cx) {
        cached.key = key;
        ex.cached_spare = Some(cached);
        return Prepared::Not;
    }
    cached.key = key;
    cached.store = Some(store);
    if purges {
        ex.cached = Some(cached);
        return Prepared::Purge;
    }
    if invalidates {
        cached.invalidates = true;
        ex.cached = Some(cached);
        return Prepared::Not;
    }
    cached.cacheable = true;
    cached.as_get =
        ex.method == Method::Head && cache.settings.cache_convert_head && plan.wire.is_http();
    if is_strict(cache) {
        cached.asks = directives::Request::read(&ex.head.fields);
    }
    cached.status = Status::Miss;
    ex.cached = Some(cached);
    if any(&cache.bypass, ex, cx) {
        set_status(ex, Status::Bypass);
        return Prepared::Bypass;
    }
    Prepared::Look
}

fn set_status(ex: &mut Exchange, status: Status) {
    if let Some(cached) = &mut ex.cached {
        cached.status = status;
    }
}

/// The zone that a value names; none for `off`.
fn named(name: &Expr, ex: &mut Exchange, cx: Cx<'_>) -> Result<Option<StoreRef>, ()> {
    let mut text = cx.local.buffers.take(32);
    vars::eval(name, ex, cx, &mut text);
    let found = match &text[..] {
        b"" | b"off" => Ok(None),
        name => {
            let mut stores = cx.plan.stores.iter();
            let known = stores.find(|store| *store.name == *name);
            known.map(|store| Some(store.clone())).ok_or(())
        }
    };
    if found.is_err() {
        let text = format_args!("cache \"{}\" not found", Text(&text));
        log::error(ex, cx, LogLevel::Error, text);
    }
    cx.local.buffers.give(text);
    found
}

/// Whether one of the values is neither empty nor `0`.
pub fn any(list: &[Expr], ex: &mut Exchange, cx: Cx<'_>) -> bool {
    if list.is_empty() {
        return false;
    }
    let mut text = cx.local.buffers.take(64);
    let found = list.iter().any(|expr| {
        text.clear();
        vars::eval(expr, ex, cx, &mut text);
        !matches!(&text[..], b"" | b"0")
    });
    cx.local.buffers.give(text);
    found
}

/// What an answer is stored under.
fn make_key(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    cache: &CachePlan,
    dynamic: Option<&Dynamic>,
    out: &mut Vec<u8>,
) {
    if let Some(key) = &cache.key {
        return vars::eval(key, ex, cx, out);
    }
    match &plan.wire {
        WirePlan::Http | WirePlan::Http2 | WirePlan::Grpc { .. } => {
            out.extend_from_slice(dynamic.map_or(&cache.origin[..], Dynamic::origin));
            request::target(ex, plan, dynamic, out);
        }
        // Differs from nginx: without a key it would give one answer to all requests; it warns of that, and so do we.
        WirePlan::FastCgi(_) => {
            out.extend_from_slice(b"fastcgi:");
            out.extend_from_slice(&cache.origin);
            out.extend_from_slice(ex.head.method_bytes());
            out.extend_from_slice(&ex.host);
            out.extend_from_slice(ex.head.bytes(ex.head.uri));
        }
    }
}

/// nginx keeps the key before the head in `…_buffer_size`; configurations are made with its complaint in mind.
fn fits_buffer(key: &[u8], ex: &Exchange, cx: Cx<'_>) -> bool {
    /// Bytes of nginx's own before and behind the key.
    const AROUND: usize = 336 + 6 + 1 + 256;
    let size = cx.location(ex.location).pass.buffer_size;
    let need = key.len() + AROUND;
    if need <= size {
        return true;
    }
    let family = match &cx.location(ex.location).content {
        Content::Proxy(plan) if matches!(plan.wire, WirePlan::FastCgi(_)) => "fastcgi",
        _ => "proxy",
    };
    let text = format_args!(
        "{family}_buffer_size {size} is not enough for cache key, it should be increased to at least {}",
        need.next_multiple_of(1024)
    );
    log::error(ex, cx, LogLevel::Error, text);
    false
}

/// What the shard has in its memory, if that is an answer to this request.
fn hot(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, cache: &CachePlan) -> Option<Flow> {
    let now = cx.local.clock.unix().secs;
    let cached = ex.cached.as_deref()?;
    let store = cached.store.as_ref()?;
    let object = match cx.local.cache.hot(store, &cached.key, None, now)? {
        Hot::Object(object) => object,
        Hot::Vary(names) => {
            let mut variant = cx.local.buffers.take(64);
            vary::variant(&names, &ex.head.fields, &mut variant);
            let with = Some((&names[..], &variant[..]));
            let found = cx.local.cache.hot(store, &cached.key, with, now);
            cx.local.buffers.give(variant);
            match found? {
                Hot::Object(object) => object,
                Hot::Vary(_) => return None,
            }
        }
    };
    if !answers(&object, ex) || !varies_alike(&object, ex, cx) {
        return None;
    }
    let facts = &object.meta.facts;
    let status = if is_strict(cache) {
        match rfc9111::admits(facts, &cached.asks, now) {
            Admits::Yes if facts.valid_until < now => Status::Stale,
            Admits::Yes => Status::Hit,
            Admits::Validated => return None,
        }
    } else if facts.valid_until < now {
        return None;
    } else {
        Status::Hit
    };
    set_status(ex, status);
    serve::object(ex, cx, plan, &object)
}

/// Whether an object is an answer to a request of this method.
fn answers(object: &Object, ex: &Exchange) -> bool {
    object.meta.facts.flags & HEAD_ONLY == 0 || ex.method == Method::Head
}

/// Whether an object is an answer to a request with these fields.
fn varies_alike(object: &Object, ex: &Exchange, cx: Cx<'_>) -> bool {
    same_variant(&object.meta.vary, &object.meta.variant, ex, cx)
}

fn same_variant(names: &[u8], variant: &[u8], ex: &Exchange, cx: Cx<'_>) -> bool {
    if names.is_empty() {
        return true;
    }
    let mut ours = cx.local.buffers.take(64);
    vary::variant(names, &ex.head.fields, &mut ours);
    let same = ours == variant;
    cx.local.buffers.give(ours);
    same
}

/// How the store is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Usual,
    /// For a permission to fill, whatever is stored.
    Bypass,
}

/// Asks whoever owns the key.
async fn lookup(ex: &mut Exchange, cx: Cx<'_>, cache: &CachePlan, way: Way) -> Before {
    let settings = &cache.settings;
    let Some(store) = ex.cached.as_ref().and_then(|cached| cached.store.clone()) else {
        return Before::Ask;
    };
    let strict = is_strict(cache);
    let mut way = way;
    let mut variant: Option<(Vec<u8>, Vec<u8>)> = None;
    loop {
        let now = cx.local.clock.unix().secs;
        let Some(cached) = ex.cached.as_deref() else {
            return Before::Ask;
        };
        let ask = Ask {
            store: &store,
            key: &cached.key,
            variant: variant.as_ref().map(|(names, of)| (&names[..], &of[..])),
            now,
            min_uses: u32::try_from(settings.cache_min_uses).unwrap_or(u32::MAX),
            lock: settings.cache_lock.then_some(Lock {
                timeout: settings.cache_lock_timeout,
                age: settings.cache_lock_age,
            }),
            updating: settings.cache_use_stale.allows(NextUpstream::UPDATING),
            bypass: way == Way::Bypass,
        };
        let found = cx.local.cache.lookup(ask).await;
        // Another request's answer shows at last that there are variants.
        let names = match &found {
            Found::Vary(names) => Some(names.to_vec()),
            Found::Hit(object) | Found::Stale { object, .. } if !varies_alike(object, ex, cx) => {
                Some(object.meta.vary.clone())
            }
            Found::Live(live) if !fits_live(live, ex, cx) => Some(live.meta().vary.clone()),
            _ => None,
        };
        if let Some(names) = names {
            let mut of = Vec::new();
            vary::variant(&names, &ex.head.fields, &mut of);
            if variant
                .as_ref()
                .is_some_and(|known| *known == (names.clone(), of.clone()))
            {
                // What the store gives does not fit what it was asked for.
                give_up_storing(ex);
                return Before::Ask;
            }
            if let Some(cached) = &mut ex.cached {
                cached.varies = true;
            }
            variant = Some((names, of));
            continue;
        }
        match decide(ex, cx, cache, found, (strict, now)) {
            Decided::Before(before) => return before,
            Decided::Fill if way == Way::Bypass => {
                give_up_storing(ex);
                return Before::Ask;
            }
            Decided::Fill => way = Way::Bypass,
        }
    }
}

fn fits_live(live: &Live, ex: &Exchange, cx: Cx<'_>) -> bool {
    same_variant(&live.meta().vary, &live.meta().variant, ex, cx)
}

/// The origin is asked for this request alone.
fn give_up_storing(ex: &mut Exchange) {
    if let Some(cached) = &mut ex.cached {
        cached.cacheable = false;
        if let Some(fill) = cached.fill.take() {
            fill.uncacheable();
        }
    }
}

/// What follows from an answer of the store.
enum Decided {
    Before(Before),
    /// A permission to fill is needed, whatever is stored.
    Fill,
}

fn decide(
    ex: &mut Exchange,
    cx: Cx<'_>,
    cache: &CachePlan,
    found: Found,
    (strict, now): (bool, i64),
) -> Decided {
    let Content::Proxy(plan) = &cx.location(ex.location).content else {
        return Decided::Before(Before::Ask);
    };
    let Some(cached) = &mut ex.cached else {
        return Decided::Before(Before::Ask);
    };
    let asks = cached.asks;
    match found {
        Found::Vary(_) => Decided::Before(Before::Ask),
        Found::Hit(object) => {
            if !answers(&object, ex) {
                return Decided::Fill;
            }
            if strict && rfc9111::admits(&object.meta.facts, &asks, now) == Admits::Validated {
                return validate(ex, object);
            }
            served(ex, cx, plan, &object, Status::Hit)
        }
        Found::Stale { object, fill } => {
            if !answers(&object, ex) {
                return Decided::Fill;
            }
            stale(ex, cx, (plan, cache), (object, fill), (strict, now))
        }
        Found::Live(live) => {
            if live.meta().facts.flags & HEAD_ONLY != 0 && ex.method != Method::Head {
                return Decided::Fill;
            }
            if strict && rfc9111::admits(&live.meta().facts, &asks, now) == Admits::Validated {
                return Decided::Fill;
            }
            if let Some(cached) = &mut ex.cached {
                cached.status = Status::Hit;
                cached.collapsed = true;
            }
            match serve::live(ex, cx, plan, live) {
                Some(flow) => Decided::Before(Before::Done(flow)),
                None => Decided::Before(Before::Ask),
            }
        }
        Found::Error(status) => {
            cached.status = Status::Hit;
            Decided::Before(Before::Done(Flow::Error(status)))
        }
        Found::Fill(fill) => {
            cached.fill = Some(fill);
            if cached.object.is_some() {
                // It is fresh, and has to be validated for this request.
                cached.status = Status::Expired;
            }
            ask(ex, cache)
        }
        Found::Scarce | Found::Pass => {
            cached.cacheable = false;
            if asks.only_if_cached {
                return Decided::Before(Before::Done(Flow::Error(504)));
            }
            Decided::Before(Before::Ask)
        }
    }
}

/// The origin is asked, unless the request forbids that.
fn ask(ex: &mut Exchange, cache: &CachePlan) -> Decided {
    let Some(cached) = &mut ex.cached else {
        return Decided::Before(Before::Ask);
    };
    if cached.asks.only_if_cached {
        cached.fill = None;
        return Decided::Before(Before::Done(Flow::Error(504)));
    }
    if !range_is_near(&ex.head.fields, cache.settings.cache_max_range_offset) {
        give_up_storing(ex);
    }
    Decided::Before(Before::Ask)
}

/// A stored answer that is fresh has to be validated all the same.
fn validate(ex: &mut Exchange, object: Rc<Object>) -> Decided {
    if let Some(cached) = &mut ex.cached {
        cached.object = Some(object);
    }
    Decided::Fill
}

fn served(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    object: &Rc<Object>,
    status: Status,
) -> Decided {
    set_status(ex, status);
    match serve::object(ex, cx, plan, object) {
        Some(flow) => Decided::Before(Before::Done(flow)),
        None => {
            // Its head cannot be read: as if it were not there.
            if let Some(cached) = ex.cached.as_deref()
                && let Some(store) = &cached.store
            {
                cx.local.cache.broken(store, &cached.key, object);
            }
            set_status(ex, Status::Miss);
            Decided::Fill
        }
    }
}

/// What is stored has expired.
fn stale(
    ex: &mut Exchange,
    cx: Cx<'_>,
    (plan, cache): (&ProxyPlan, &CachePlan),
    (object, fill): (Rc<Object>, Option<Fill>),
    (strict, now): (bool, i64),
) -> Decided {
    let settings = &cache.settings;
    let facts = object.meta.facts;
    let asks = ex.cached.as_ref().map(|c| c.asks).unwrap_or_default();
    if strict && rfc9111::admits(&facts, &asks, now) == Admits::Yes {
        // The client said that it is content with that.
        drop(fill);
        return served(ex, cx, plan, &object, Status::Stale);
    }
    let never = strict && facts.flags & crate::cache::policy::NEVER_STALE != 0 || asks.no_cache;
    let Some(fill) = fill else {
        if never {
            return validate(ex, object);
        }
        return served(ex, cx, plan, &object, Status::Updating);
    };
    let until = facts
        .valid_until
        .saturating_add(i64::from(facts.while_revalidate));
    let may = settings.cache_use_stale.allows(NextUpstream::UPDATING) || until >= now;
    if may && !never && settings.cache_background_update && !asks.only_if_cached {
        set_status(ex, Status::Stale);
        if let Some(flow) = serve::object(ex, cx, plan, &object) {
            update_behind(ex, cx, (object, fill));
            return Decided::Before(Before::Done(flow));
        }
    }
    if let Some(cached) = &mut ex.cached {
        cached.status = Status::Expired;
        cached.object = Some(object);
        cached.fill = Some(fill);
    }
    ask(ex, cache)
}

/// Fetches what is stored anew, while the client is served.
///
/// Differs from nginx: a connection that stays open does not wait for that before it takes its next request.
fn update_behind(ex: &mut Exchange, cx: Cx<'_>, (object, fill): (Rc<Object>, Fill)) {
    let Some(cached) = ex.cached.as_deref() else {
        return;
    };
    let handed = Box::new(Cached {
        status: Status::Expired,
        key: cached.key.clone(),
        store: cached.store.clone(),
        cacheable: true,
        as_get: cached.as_get,
        fill: Some(fill),
        object: Some(object),
        background: true,
        ..Cached::default()
    });
    let (uri, args) = (ex.uri.clone(), ex.args.clone());
    let spec = Spec {
        uri: &uri,
        args: &args,
        same_method: true,
        with_body: true,
        wanted: Wanted::Head,
        entry: Entry::Content,
    };
    let _ = subrequest::behind(ex, cx, &spec, |sub| sub.cached = Some(handed));
}

/// `…_cache_max_range_offset`: whether a range begins where the whole is worth fetching.
fn range_is_near(fields: &crate::proto::head::Fields, max: Option<u64>) -> bool {
    let (Some(max), Some(value)) = (max, fields.get(Token::RANGE)) else {
        return true;
    };
    if max == 0 {
        return false;
    }
    let Some((unit, range)) = value.split_at_checked(6) else {
        return true;
    };
    if range.is_empty() || !unit.eq_ignore_ascii_case(b"bytes=") {
        return true;
    }
    let range = range.trim_ascii_start();
    if range.starts_with(b"-") {
        return false;
    }
    let end = range.iter().position(|b| !b.is_ascii_digit());
    match parse_digits(&range[..end.unwrap_or(range.len())]) {
        Some(first) => first < max,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::range_is_near;
    use crate::proto::head::Fields;

    #[test]
    fn ranges_near_the_beginning_are_worth_the_whole() {
        for (range, max, want) in [
            ("bytes=0-", None, true),
            ("bytes=0-", Some(0), false),
            ("bytes=4-", Some(4), false),
            ("bytes=3-9", Some(4), true),
            ("bytes= 3-", Some(4), true),
            ("bytes=-3", Some(4), false),
            ("bytes=x", Some(4), true),
            ("lines=9-", Some(4), true),
        ] {
            let mut fields = Fields::new();
            fields.push(b"Range", range.as_bytes());
            assert_eq!(range_is_near(&fields, max), want, "{range} {max:?}");
        }
        assert!(range_is_near(&Fields::new(), Some(0)));
    }
}
