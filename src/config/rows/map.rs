//! Rows of the blocks that define variables: `map`, `geo`, `split_clients`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::main::checked;
use super::rewrite::variable;
use crate::base::cidr::parse_ip;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Row, Status, args, args_to, row};
use crate::config::tree::{Directive, Word};
use crate::config::value::*;

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    row(
        "map",
        H.or(T),
        args(2),
        map,
        "A variable whose value depends on another.",
    )
    .data(),
    row(
        "geo",
        H.or(T),
        args_to(1, 2),
        geo,
        "A variable whose value depends on an address.",
    )
    .data(),
    row(
        "split_clients",
        H.or(T),
        args(2),
        split_clients,
        "A variable that splits clients into shares.",
    )
    .data(),
    checked!(
        "map_hash_max_size",
        H.or(T),
        args(1),
        num,
        "tables size themselves",
        "Size of the tables of maps."
    ),
    checked!(
        "map_hash_bucket_size",
        H.or(T),
        args(1),
        num,
        "tables size themselves",
        "Bucket size of the tables of maps."
    ),
];

fn entries(directive: &Directive) -> &[Directive] {
    directive.block.as_deref().unwrap_or_default()
}

/// The variable that a block defines, without its `$`.
fn defined(load: &mut Lowering<'_>, word: &Word) -> Option<Text> {
    let name = variable(word);
    if name.is_none() {
        load.error(
            format!("invalid variable name \"{}\"", word.lossy()),
            word.span,
        );
    }
    name
}

fn map(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let Some(variable) = defined(load, &directive.args[1]) else {
        return;
    };
    let mut out = Map {
        source: text_of(&directive.args[0]),
        variable,
        hostnames: false,
        volatile: false,
        default: Text::default(),
        entries: Vec::new(),
        pos: directive.span,
    };
    let mut default = false;
    let mut keys: HashSet<Vec<u8>> = HashSet::new();
    for entry in entries(directive) {
        let value = match (&entry.name.bytes[..], &entry.args[..], &entry.block) {
            (_, _, Some(_)) => {
                load.error("unexpected \"{\"", entry.span);
                continue;
            }
            (b"hostnames", [], _) => {
                out.hostnames = true;
                continue;
            }
            (b"volatile", [], _) => {
                out.volatile = true;
                continue;
            }
            (_, [value], _) => text_of(value),
            _ => {
                load.error("invalid number of the map parameters", entry.span);
                continue;
            }
        };
        if *entry.name.bytes == *b"default" {
            if default {
                load.error("duplicate default map parameter", entry.span);
            }
            default = true;
            out.default = value;
            continue;
        }
        let (skip, kind) = match &entry.name.bytes[..] {
            [b'~', b'*', ..] => (2, MapKey::Regex { caseless: true }),
            [b'~', ..] => (1, MapKey::Regex { caseless: false }),
            [b'\\', ..] => (1, MapKey::Exact),
            _ => (0, MapKey::Exact),
        };
        let key = Text {
            bytes: Arc::from(&entry.name.bytes[skip..]),
            span: entry.name.span,
        };
        if kind == MapKey::Exact && !keys.insert(map_key(&key.bytes, out.hostnames)) {
            load.error(
                format!(
                    "conflicting parameter \"{}\"",
                    key.lossy().to_ascii_lowercase()
                ),
                entry.span,
            );
            continue;
        }
        if kind == MapKey::Exact && out.hostnames && bad_wildcard(&key.bytes) {
            load.error(
                format!("invalid hostname or wildcard \"{}\"", key.lossy()),
                entry.span,
            );
            continue;
        }
        out.entries.push(MapEntry { key, kind, value });
    }
    if let Some(http) = &mut load.http {
        http.maps.push(out);
    }
}

/// What makes two keys the same.
fn map_key(key: &[u8], hostnames: bool) -> Vec<u8> {
    let lower = key.to_ascii_lowercase();
    match &lower[..] {
        // `.example.com` covers the name and `*.example.com`; only the wildcard half can clash with another entry.
        [b'.', rest @ ..] if hostnames => [b"*.", rest].concat(),
        _ => lower,
    }
}

fn bad_wildcard(key: &[u8]) -> bool {
    let stars = key.iter().filter(|&&b| b == b'*').count();
    let fits = match key {
        [b'*', b'.', rest @ ..] => !rest.is_empty(),
        [rest @ .., b'.', b'*'] => !rest.is_empty(),
        _ => stars == 0,
    };
    !fits || stars > 1 || key.windows(2).any(|w| w == b"..")
}

fn split_clients(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let Some(variable) = defined(load, &directive.args[1]) else {
        return;
    };
    let mut parts = Vec::new();
    let mut sum = 0u32;
    for entry in entries(directive) {
        if entry.block.is_some() {
            load.error("unexpected \"{\"", entry.span);
            continue;
        }
        let share = match &entry.name.bytes[..] {
            b"*" => None,
            [number @ .., b'%'] => match hundredths(number).filter(|&n| n > 0) {
                Some(n) => Some(n),
                None => {
                    load.error(
                        format!("invalid percent value \"{}\"", entry.name.lossy()),
                        entry.span,
                    );
                    continue;
                }
            },
            _ => {
                load.error(
                    format!("invalid percent value \"{}\"", entry.name.lossy()),
                    entry.span,
                );
                continue;
            }
        };
        let [value] = &entry.args[..] else {
            load.error("invalid number of the split_clients parameters", entry.span);
            continue;
        };
        // A rest takes what is left, so that nothing may follow it.
        sum = share.map_or(10_000, |n| sum.saturating_add(n));
        if sum > 10_000 {
            load.error("percent total is greater than 100%", directive.span);
            break;
        }
        parts.push((share, text_of(value)));
    }
    if let Some(http) = &mut load.http {
        http.split_clients.push(SplitClients {
            key: text_of(&directive.args[0]),
            variable,
            parts,
            pos: directive.span,
        });
    }
}

/// A number with at most two decimals, times a hundred.
fn hundredths(text: &[u8]) -> Option<u32> {
    let (whole, fraction) = match text.iter().position(|&b| b == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 2 {
        return None;
    }
    let digits = |t: &[u8]| if t.is_empty() { Some(0) } else { decimal(t) };
    let scale = [100, 10, 1][fraction.len()];
    let value = digits(whole)?
        .checked_mul(100)?
        .checked_add(digits(fraction)?.checked_mul(scale)?)?;
    u32::try_from(value).ok()
}

fn geo(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let (source, word) = match &directive.args[..] {
        [source, word] => {
            let Some(source) = defined(load, source) else {
                return;
            };
            (Some(source), word)
        }
        [word] => (None, word),
        _ => return,
    };
    let Some(variable) = defined(load, word) else {
        return;
    };
    let mut out = Geo {
        source,
        variable,
        ranges: false,
        proxies: Vec::new(),
        proxy_recursive: false,
        volatile: false,
        default: Text::default(),
        entries: Vec::new(),
        pos: directive.span,
    };
    let mut table = GeoTable::default();
    for entry in entries(directive) {
        geo_entry(load, &mut out, &mut table, entry);
    }
    out.entries = if out.ranges {
        table.ranges.finish()
    } else {
        table.finish()
    };
    if let Some(http) = &mut load.http {
        http.geos.push(out);
    }
}

/// Entries of a `geo` so far.
#[derive(Default)]
struct GeoTable {
    networks: Vec<Option<GeoEntry>>,
    places: HashMap<Cidr, usize>,
    ranges: Ranges,
    default: bool,
}

impl GeoTable {
    fn finish(self) -> Vec<GeoEntry> {
        self.networks.into_iter().flatten().collect()
    }
}

fn geo_entry(load: &mut Lowering<'_>, out: &mut Geo, table: &mut GeoTable, entry: &Directive) {
    let value = match (&entry.name.bytes[..], &entry.args[..], &entry.block) {
        (_, _, Some(_)) => return load.error("unexpected \"{\"", entry.span),
        (b"ranges", [], _) => {
            if !table.networks.is_empty() || table.default {
                load.error(
                    "the \"ranges\" directive must be the first directive inside \"geo\" block",
                    entry.span,
                );
            }
            out.ranges = true;
            return;
        }
        (b"proxy_recursive", [], _) => {
            out.proxy_recursive = true;
            return;
        }
        (b"volatile", [], _) => {
            out.volatile = true;
            return;
        }
        (_, [value], _) => value,
        _ => return load.error("invalid number of the geo parameters", entry.span),
    };
    match &entry.name.bytes[..] {
        b"default" => {
            if table.default && out.ranges {
                let message = format!(
                    "duplicate default geo range value: \"{}\", old value: \"{}\"",
                    value.lossy(),
                    out.default.lossy()
                );
                load.warn(message, entry.span);
            } else if table.default {
                duplicate_network(load, entry, "default", value, &out.default);
            }
            table.default = true;
            out.default = text_of(value);
        }
        b"proxy" => {
            if let Some(cidr) = network(load, entry, value) {
                out.proxies.push(cidr);
            }
        }
        b"delete" if out.ranges => match range(&value.bytes) {
            Some((first, last)) => {
                if !table.ranges.delete(first, last) {
                    load.warn(
                        format!("no address range \"{}\" to delete", value.lossy()),
                        entry.span,
                    );
                }
            }
            None => load.error(format!("invalid range \"{}\"", value.lossy()), value.span),
        },
        b"delete" => {
            if let Some(cidr) = network(load, entry, value) {
                match table.places.remove(&cidr) {
                    Some(at) => table.networks[at] = None,
                    None => load.warn(
                        format!("no network \"{}\" to delete", value.lossy()),
                        entry.span,
                    ),
                }
            }
        }
        _ if out.ranges => geo_range(load, table, entry, value),
        _ => geo_network(load, table, entry, value),
    }
}

fn geo_range(load: &mut Lowering<'_>, table: &mut GeoTable, entry: &Directive, value: &Word) {
    let shown = entry.name.lossy();
    let Some((first, last)) = range(&entry.name.bytes) else {
        return load.error(format!("invalid range \"{shown}\""), entry.name.span);
    };
    let text = text_of(value);
    match table.ranges.add(first, last, &text) {
        Added::Fine => {}
        Added::Duplicate(old) => {
            let message = format!(
                "duplicate range \"{shown}\", value: \"{}\", old value: \"{}\"",
                text.lossy(),
                old.lossy()
            );
            load.warn(message, entry.span);
        }
        Added::Overlap(a, b) => {
            let (a, b) = (Ipv4Addr::from(a), Ipv4Addr::from(b));
            load.error(
                format!("range \"{shown}\" overlaps \"{a}-{b}\""),
                entry.span,
            );
        }
    }
}

fn geo_network(load: &mut Lowering<'_>, table: &mut GeoTable, entry: &Directive, value: &Word) {
    let Some(cidr) = network(load, entry, &entry.name) else {
        return;
    };
    let text = text_of(value);
    let (first, last) = cidr.bounds();
    let prefix = match cidr {
        Cidr::V4(_, mask) => mask.count_ones(),
        Cidr::V6(_, mask) => mask.count_ones(),
    };
    let new = GeoEntry {
        first,
        last,
        prefix: prefix as u8,
        value: text,
    };
    match table.places.get(&cidr) {
        Some(&at) => {
            let old = table.networks[at].replace(new);
            let old = old.map(|o| o.value).unwrap_or_default();
            duplicate_network(load, entry, &entry.name.lossy(), value, &old);
        }
        None => {
            table.places.insert(cidr, table.networks.len());
            table.networks.push(Some(new));
        }
    }
}

fn duplicate_network(
    load: &mut Lowering<'_>,
    entry: &Directive,
    name: &str,
    value: &Word,
    old: &Text,
) {
    let message = format!(
        "duplicate network \"{name}\", value: \"{}\", old value: \"{}\"",
        value.lossy(),
        old.lossy()
    );
    load.warn(message, entry.span);
}

fn network(load: &mut Lowering<'_>, entry: &Directive, word: &Word) -> Option<Cidr> {
    // The one address that stands for an error elsewhere in nginx is an address here.
    if *word.bytes == *b"255.255.255.255" {
        return Some(Cidr::V4(u32::MAX, u32::MAX));
    }
    let Some((cidr, clean)) = Cidr::parse(&word.bytes) else {
        load.error(format!("invalid network \"{}\"", word.lossy()), word.span);
        return None;
    };
    if !clean {
        load.warn(
            format!("low address bits of {} are meaningless", word.lossy()),
            entry.span,
        );
    }
    Some(cidr)
}

fn range(text: &[u8]) -> Option<(u32, u32)> {
    let dash = text.iter().position(|&b| b == b'-')?;
    match (parse_ip(&text[..dash])?, parse_ip(&text[dash + 1..])?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Some((first.into(), last.into())),
        _ => None,
    }
}

/// IPv4 ranges that never overlap: first address to last address and value.
#[derive(Default)]
struct Ranges(BTreeMap<u32, (u32, Text)>);

/// What became of a new range.
enum Added {
    Fine,
    Duplicate(Text),
    Overlap(u32, u32),
}

impl Ranges {
    /// A range inside an older one cuts it, an equal one replaces it, a crossing one is refused: nginx's rules. nginx
    /// applies them to each block of 65,536 addresses, so a range that crosses others is tried again in such pieces.
    fn add(&mut self, first: u32, last: u32, value: &Text) -> Added {
        match self.add_whole(first, last, value) {
            Added::Overlap(a, b) if first >> 16 == last >> 16 => Added::Overlap(a, b),
            Added::Overlap(..) => {
                self.cut_at_blocks(first, last);
                let mut result = Added::Fine;
                for block in first >> 16..=last >> 16 {
                    let (low, high) = ((block << 16).max(first), (block << 16 | 0xffff).min(last));
                    match self.add_whole(low, high, value) {
                        Added::Fine => {}
                        Added::Duplicate(old) => result = Added::Duplicate(old),
                        overlap @ Added::Overlap(..) => return overlap,
                    }
                }
                result
            }
            fine => fine,
        }
    }

    fn add_whole(&mut self, first: u32, last: u32, value: &Text) -> Added {
        let Some((&a, (b, old))) = self
            .0
            .range(..=last)
            .next_back()
            .filter(|(_, (b, _))| *b >= first)
        else {
            self.0.insert(first, (last, value.clone()));
            return Added::Fine;
        };
        let (b, old) = (*b, old.clone());
        if a > first || b < last {
            return Added::Overlap(a, b);
        }
        if a < first {
            self.0.insert(a, (first - 1, old.clone()));
        }
        if b > last {
            self.0.insert(last + 1, (b, old.clone()));
        }
        self.0.insert(first, (last, value.clone()));
        if a == first && b == last {
            Added::Duplicate(old)
        } else {
            Added::Fine
        }
    }

    /// Cuts what overlaps `first..=last` at the borders of blocks.
    fn cut_at_blocks(&mut self, first: u32, last: u32) {
        let from = self
            .0
            .range(..=first)
            .next_back()
            .map_or(first, |(&a, _)| a);
        let crossing: Vec<(u32, u32, Text)> = self
            .0
            .range(from..=last)
            .map(|(&a, (b, v))| (a, *b, v.clone()))
            .collect();
        for (a, b, value) in crossing {
            let mut low = a;
            for block in a >> 16..=b >> 16 {
                let high = (block << 16 | 0xffff).min(b);
                self.0.insert(low, (high, value.clone()));
                low = high.wrapping_add(1);
            }
        }
    }

    /// Removes exactly this range, in pieces if it has been cut.
    fn delete(&mut self, first: u32, last: u32) -> bool {
        let pieces: Vec<(u32, u32)> = self
            .0
            .range(first..=last)
            .map(|(&a, (b, _))| (a, *b))
            .collect();
        let mut next = Some(first);
        for &(a, b) in &pieces {
            if next != Some(a) || b > last {
                return false;
            }
            next = b.checked_add(1);
        }
        let whole = !pieces.is_empty() && next == last.checked_add(1);
        if whole {
            for (a, _) in pieces {
                self.0.remove(&a);
            }
        }
        whole
    }

    fn finish(self) -> Vec<GeoEntry> {
        let entry = |(a, (b, value)): (u32, (u32, Text))| GeoEntry {
            first: Ipv4Addr::from(a).into(),
            last: Ipv4Addr::from(b).into(),
            prefix: (a ^ b).leading_zeros() as u8,
            value,
        };
        self.0.into_iter().map(entry).collect()
    }
}
