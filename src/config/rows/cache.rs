//! Rows of the response cache and of `…_store`: zones, keys, lifetimes, who waits, what is served when it is old.
//!
//! One list of settings makes the struct and the rows of each family that can be cached (`proxy_cache`,
//! `fastcgi_cache`). Knows nothing of freshness, which is `cache::policy`'s. Start at [`Caching`].

use std::sync::Arc;
use std::time::Duration;

use super::parse_cache::*;
use super::parse_proxy::{access, next_upstream};
use super::zones::{self, Use};
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Row, args, args_min, args_to, family, row};
use crate::config::tree::Directive;
use crate::config::value::*;

/// Hands the list of settings to another macro, behind what that needs besides.
macro_rules! settings {
    ($then:ident!($($with:tt)*)) => {
        $then! {
            ($($with)*)
            value cache_key: Option<Text> = "", some_text, args(1), "What an answer is stored under.";
            gather cache_valid: List<CacheValid> = "", valid, args_min(1), "How long answers that say nothing themselves are fresh, by status.";
            mask  cache_methods: CacheMethods = "", methods, args_min(1), "Methods whose answers are stored; GET and HEAD always are.";
            value cache_min_uses: u64 = "1", num, args(1), "How often an answer is asked for before it is stored.";
            value cache_max_range_offset: Option<u64> = "", some_offset, args(1), "Ranges that begin behind this go to the backend; 0 is all.";
            mask  cache_use_stale: NextUpstream = "off", next_upstream, args_min(1), "When an answer that is no longer fresh is served.";
            gather cache_bypass: List<Text> = "", texts, args_min(1), "Values of which one that is neither empty nor 0 keeps stored answers from being served.";
            gather no_cache: List<Text> = "", texts, args_min(1), "Values of which one that is neither empty nor 0 keeps an answer from being stored.";
            value cache_lock: bool = "off", flag, args(1), "Lets one request of a key fetch what others wait for.";
            value cache_lock_timeout: Duration = "5s", msec, args(1), "How long a request waits for another one's answer.";
            value cache_lock_age: Duration = "5s", msec, args(1), "After how long another request is let through.";
            value cache_revalidate: bool = "off", flag, args(1), "Asks whether a stored answer has changed instead of fetching it again.";
            value cache_background_update: bool = "off", flag, args(1), "Fetches anew while the client gets what is stored.";
            value cache_mode: CacheMode = "nginx", mode, args(1), "Whose rules of freshness hold: nginx's or those of RFC 9111.";
            value cache_status: Option<Arc<[u8]>> = "off", status_name, args(1), "Name of this cache in a Cache-Status field (RFC 9211).";
            value cache_purge: Option<Arc<CachePurge>> = "", purge, args_min(1), "Requests that remove stored answers: by key, or by tags.";
        }
    };
}

macro_rules! declare {
    (() $($kind:ident $field:ident: $ty:ty = $default:tt, $parse:expr, $arity:expr, $doc:literal;)*) => {
        /// Settings of one family that can be cached; a directive is the family's prefix and the field's name.
        #[derive(Clone, Debug)]
        pub struct Caching {
            $(#[doc = $doc] pub $field: family!(@type $kind $ty),)*
            /// Name of the zone, perhaps with variables; none is off.
            pub cache: Option<Text>,
            /// Copies of answers are kept as files.
            pub store: Option<StorePath>,
            /// Rights of these files.
            pub store_access: u32,
            /// `proxy_cache_convert_head`: what is asked for with HEAD is fetched with GET.
            pub cache_convert_head: bool,
        }

        impl Default for Caching {
            fn default() -> Self {
                Self {
                    $($field: family!(@default $kind $ty, $default, stringify!($field), $parse),)*
                    cache: None,
                    store: None,
                    store_access: 0o600,
                    cache_convert_head: true,
                }
            }
        }
    };
}
settings!(declare!());

macro_rules! rows {
    (($prefix:literal $slot:ident $used:expr)
        $($kind:ident $field:ident: $ty:ty = $default:tt, $parse:expr, $arity:expr, $doc:literal;)*
    ) => {
        &[
            $(family!(@row $kind $slot $field (concat!($prefix, stringify!($field))) $ty, $default, $parse, HSL, $arity, $doc),)*
            family!(@row value $slot store_access (concat!($prefix, "store_access")) u32, "user:rw", access, HSL, args_to(1, 3), "Rights of the files kept by …_store."),
            family!(@inherit value $slot cache Option<Text>, row(
                concat!($prefix, "cache"),
                HSL,
                args(1),
                |load, frame, directive| {
                    if let Some(zone) = zone(load, frame, directive, concat!($prefix, "store"), $used, frame.settings.$slot.store.is_some()) {
                        let family = Arc::make_mut(&mut frame.settings.$slot);
                        if zone.is_some() {
                            family.store = None;
                        }
                        family.cache = zone;
                    }
                },
                "Stores answers in this zone and serves them from there.",
            ).default("off")),
            family!(@inherit value $slot store Option<StorePath>, row(
                concat!($prefix, "store"),
                HSL,
                args(1),
                |load, frame, directive| {
                    if let Some(path) = store(load, frame, directive, concat!($prefix, "cache"), frame.settings.$slot.cache.is_some()) {
                        let family = Arc::make_mut(&mut frame.settings.$slot);
                        if path.is_some() {
                            family.cache = None;
                        }
                        family.store = path;
                    }
                },
                "Keeps copies of answers as files.",
            ).default("off")),
            row(
                concat!($prefix, "cache_path"),
                H,
                args_min(2),
                |load, _, directive| cache_path(load, directive, $used),
                "Folder and zone of a cache.",
            ).many(),
        ]
    };
}

/// `proxy_*`.
pub(crate) const PROXY_ROWS: &[Row] =
    settings!(rows!("proxy_" proxy_cache (Use::Cache(WireKind::Http))));

/// What HTTP alone has: a FastCGI backend learns the method from a parameter.
pub(crate) const HTTP_ROWS: &[Row] = &[
    family!(@row value proxy_cache cache_convert_head ("proxy_cache_convert_head") bool, "on", flag, HSL, args(1), "Fetches with GET what is asked for with HEAD."),
];

/// `fastcgi_*`.
pub(crate) const FASTCGI_ROWS: &[Row] =
    settings!(rows!("fastcgi_" fastcgi_cache (Use::Cache(WireKind::FastCgi))));

/// `…_cache`: the zone, or `Some(None)` for `off`. None when it is wrong, which was told.
fn zone(
    load: &mut Lowering<'_>,
    frame: &Frame,
    directive: &Directive,
    other: &str,
    used: Use,
    stores: bool,
) -> Option<Option<Text>> {
    let word = &directive.args[0];
    if *word.bytes == *b"off" {
        return Some(None);
    }
    if stores && frame.seen.contains_key(other) {
        incompatible(load, directive, other);
        return None;
    }
    let text = text_of(word);
    // The name is claimed where it is declared; that it is nowhere is known at the end only.
    if !text.has_variables() && zones::claim(load, word, 0, used, directive.span) {
        let named = (directive.name.lossy(), text.clone(), directive.span);
        load.shared.caches.push(named);
    }
    Some(Some(text))
}

/// `…_store`: where to, or `Some(None)` for `off`. None when it is wrong, which was told.
fn store(
    load: &mut Lowering<'_>,
    frame: &Frame,
    directive: &Directive,
    other: &str,
    caches: bool,
) -> Option<Option<StorePath>> {
    let word = &directive.args[0];
    match &word.bytes[..] {
        b"off" => return Some(None),
        b"" => {
            load.error("empty path", directive.span);
            return None;
        }
        _ => {}
    }
    if caches && frame.seen.contains_key(other) {
        incompatible(load, directive, other);
        return None;
    }
    Some(Some(match &word.bytes[..] {
        b"on" => StorePath::Root,
        _ => StorePath::Text(text_of(word)),
    }))
}

fn incompatible(load: &mut Lowering<'_>, directive: &Directive, other: &str) {
    let name = directive.name.lossy();
    let message = format!("\"{name}\" directive is incompatible with \"{other}\"");
    load.error(message, directive.span);
}

fn cache_path(load: &mut Lowering<'_>, directive: &Directive, used: Use) {
    let Some((name, mut zone)) = load.parse(directive, path_words) else {
        return;
    };
    zone.wire = match used {
        Use::Cache(wire) => wire,
        _ => WireKind::Http,
    };
    zone.pos = directive.span;
    if !zones::claim(load, &name, zone.size, used, directive.span) {
        return;
    }
    let Some(http) = &mut load.http else { return };
    if http.caches.iter().any(|other| other.name == zone.name) {
        let message = format!("duplicate zone \"{}\"", name.lossy());
        return load.error(message, directive.span);
    }
    if let Some(other) = http.caches.iter().find(|other| other.path == zone.path) {
        let first = other.pos;
        let file = load.files.get(first.file as usize);
        let file = file.map_or_else(String::new, |file| file.path.display().to_string());
        let (path, line) = (zone.path.display(), first.line);
        // The place of the second one follows, as in every message.
        let message = format!("the same path name \"{path}\" used in {file}:{line} and");
        return load.error(message, directive.span);
    }
    http.caches.push(zone);
}
