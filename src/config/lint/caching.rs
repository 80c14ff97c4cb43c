//! The response cache: directives that do nothing, keys that mix answers up, what must not be shared. Start at [`level`] and
//! [`whole`].

use std::collections::HashMap;
use std::sync::Arc;

use super::rules;
use super::{Finding, Lint, Place, every, reads};
use crate::config::model::*;

/// What is only about answers that are stored, without the family's prefix.
const ABOUT: &[&str] = &[
    "cache_valid",
    "cache_key",
    "cache_use_stale",
    "cache_lock",
    "cache_min_uses",
    "cache_methods",
    "cache_revalidate",
    "cache_background_update",
];

/// A family that can be cached.
struct Family {
    prefix: &'static str,
    wire: WireKind,
    of: fn(&Settings) -> &Caching,
    pass: fn(&Settings) -> &Pass,
}

const FAMILIES: [Family; 2] = [
    Family {
        prefix: "proxy_",
        wire: WireKind::Http,
        of: |s| &s.proxy_cache,
        pass: |s| &s.proxy_pass,
    },
    Family {
        prefix: "fastcgi_",
        wire: WireKind::FastCgi,
        of: |s| &s.fastcgi_cache,
        pass: |s| &s.fastcgi_pass,
    },
];

pub(super) fn level<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    for family in &FAMILIES {
        inert(lint, place, family);
        let here = place.pass().is_some_and(|p| p.wire == family.wire);
        if here && !place.nameless() && (family.of)(place.here).cache.is_some() {
            stored(lint, place, family);
        }
    }
    for directive in place
        .own("proxy_cache_key")
        .chain(place.own("fastcgi_cache_key"))
    {
        if let Some(word) = directive.args.first()
            && reads(&word.bytes, "request_method")
        {
            let message = "HEAD and GET are stored apart, though both are fetched as GET";
            lint.say(
                Finding::new(&rules::CACHE_KEY_METHOD, word.span, message)
                    .request(place.get(&place.sample("")).replacen("GET", "HEAD", 1)),
            );
        }
    }
}

/// Directives about stored answers where none is stored, neither here nor further in.
fn inert<'a>(lint: &mut Lint<'a>, place: &Place<'a>, family: &Family) {
    let stores = |s: &Settings| (family.of)(s).cache.is_some();
    let mut left = place.inside.clone();
    let mut any = stores(place.here);
    if place.outermost() {
        let servers = lint.http.iter().flat_map(|h| &h.servers);
        any |= servers.into_iter().any(|s| stores(&s.settings));
    }
    while let Some(location) = left.pop() {
        any |= stores(&location.settings);
        left.extend(&location.locations);
    }
    if any {
        return;
    }
    for name in ABOUT {
        let name = format!("{}{name}", family.prefix);
        let Some(directive) = place.own(&name).next() else {
            continue;
        };
        // What says off is meant to do nothing.
        if directive.args.first().is_some_and(|w| *w.bytes == *b"off") {
            continue;
        }
        let message = format!(
            "\"{name}\" does nothing: no \"{}cache\" is in force here",
            family.prefix
        );
        lint.say(
            Finding::new(&rules::INERT_CACHE, directive.span, message)
                .request(place.get(&place.sample("a.js")))
                .advice(format!(
                    "{}cache with a zone of {}cache_path, or remove the line",
                    family.prefix, family.prefix
                )),
        );
        // One of them tells it all.
        return;
    }
}

/// A location that stores answers.
fn stored<'a>(lint: &mut Lint<'a>, place: &Place<'a>, family: &Family) {
    let (caching, pass) = ((family.of)(place.here), (family.pass)(place.here));
    let prefix = family.prefix;
    if !pass.buffering
        && let Some(directive) = place.written(&format!("{prefix}buffering"))
    {
        let message =
            format!("without buffering nothing is stored, though \"{prefix}cache\" is on");
        lint.say(
            Finding::new(&rules::UNBUFFERED_CACHE, directive.span, message)
                .request(place.get(&place.sample(""))),
        );
    }
    let hides = pass
        .hide_header
        .iter()
        .any(|h| h.eq_ignore_ascii_case(b"set-cookie"));
    if pass.ignore_headers.has(IgnoreHeaders::SET_COOKIE)
        && !hides
        && let Some(directive) = place.written(&format!("{prefix}ignore_headers"))
    {
        let message = "the first client's cookie is stored, and given to everybody";
        lint.say(
            Finding::new(&rules::CACHED_COOKIES, directive.span, message)
                .request(place.get(&place.sample("")))
                .advice(format!("{prefix}hide_header Set-Cookie;")),
        );
    }
    let key = caching.cache_key.as_ref();
    let sliced = key.is_some_and(|k| reads(&k.bytes, "slice_range"));
    if place.here.subrequests.slice > 0 && !sliced {
        let span = place.written("slice").map_or(place.pos, |d| d.span);
        let message = "all slices of a file share one key: the first is served for each";
        lint.say(
            Finding::new(&rules::SLICE_KEY, span, message)
                .request(place.get(&place.sample("large.iso"))),
        );
    }
}

/// Who uses a zone: a server, by its place among all, and a location of it.
type User<'a> = (usize, &'a Location);

/// Zones by themselves, and who shares them.
pub(super) fn whole<'a>(lint: &mut Lint<'a>, http: &'a Http) {
    let mut used: HashMap<(u8, Arc<[u8]>), Vec<User<'a>>> = HashMap::new();
    let mut open = false;
    for (index, server) in http.servers.iter().enumerate() {
        for location in every(server) {
            for family in &FAMILIES {
                if let Some(zone) = &(family.of)(&location.settings).cache {
                    open |= zone.has_variables();
                    let key = (family.wire as u8, Arc::clone(&zone.bytes));
                    used.entry(key).or_default().push((index, location));
                }
            }
        }
    }
    // A cache may also be named where there is no location.
    for settings in http
        .servers
        .iter()
        .map(|s| &s.settings)
        .chain([&http.settings])
    {
        for family in &FAMILIES {
            if let Some(zone) = &(family.of)(settings).cache {
                used.entry((family.wire as u8, Arc::clone(&zone.bytes)))
                    .or_default();
            }
        }
    }
    for zone in &http.caches {
        let key = (zone.wire as u8, Arc::clone(&zone.name));
        if !open && !used.contains_key(&key) {
            let name = String::from_utf8_lossy(&zone.name);
            let message = format!("nothing is stored in \"{name}\"");
            lint.say(Finding::new(&rules::UNUSED_CACHE, zone.pos, message));
        }
    }
    let mut zones: Vec<_> = used.iter().collect();
    zones.sort_by(|a, b| a.0.cmp(b.0));
    for ((wire, _), users) in zones {
        if *wire == WireKind::Http as u8 {
            shared(lint, http, users);
        }
    }
}

/// Servers that share a zone, a backend and a key that does not tell them apart.
fn shared<'a>(lint: &mut Lint<'a>, http: &'a Http, users: &[User<'a>]) {
    let tells = |key: &Option<Text>| {
        key.as_ref().is_some_and(|k| {
            ["host", "http_host", "server_name", "ssl_server_name"]
                .iter()
                .any(|v| reads(&k.bytes, v))
        })
    };
    let target = |l: &Location| match &l.content {
        Content::Proxy(pass) => Some((pass.url.bytes.clone(), pass.wire == WireKind::Http)),
        _ => None,
    };
    // Only a backend that is told the host answers differently by it.
    let told = |l: &Location| {
        let list = &l.settings.proxy.proxy_set_header;
        list.iter().any(|h| {
            h.name.eq_ignore_ascii_case(b"host")
                && (reads(&h.value.bytes, "host") || reads(&h.value.bytes, "http_host"))
        })
    };
    let mut said = false;
    for (at, &(server, location)) in users.iter().enumerate() {
        let key = &location.settings.proxy_cache.cache_key;
        let mine = target(location);
        if mine.is_none() || tells(key) || !told(location) || said {
            continue;
        }
        let twin = users[..at].iter().find(|(other, l)| {
            *other != server
                && http.servers[*other].names != http.servers[server].names
                && target(l) == mine
                && l.settings.proxy_cache.cache_key == *key
                && told(l)
        });
        let Some((other, _)) = twin else { continue };
        said = true;
        let (one, two) = (&http.servers[*other], &http.servers[server]);
        let message = format!(
            "a page of {} is served for {} when both have the same path",
            super::origin(one),
            super::origin(two)
        );
        let span = key.as_ref().map_or(location.pos, |k| k.span);
        lint.say(
            Finding::new(&rules::CACHE_KEY_HOST, span, message).request(format!(
                "GET {}/, then GET {}/",
                super::origin(one),
                super::origin(two)
            )),
        );
    }
}
