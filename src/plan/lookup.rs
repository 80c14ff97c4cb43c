//! `map`, `geo` and `split_clients`: from a key to a value.
//!
//! The tables hold what the configuration says; who evaluates the key and keeps the result is
//! `http::vars`. A look-up allocates nothing for keys of usual length. Start at [`MapPlan::find`].

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use foldhash::fast::FixedState;

use super::expr::Expr;
use super::names::{Mask, NameTable};
use super::regex::{Captures, Regex};
use crate::base::cidr::{Cidrs, canonical, parse_ip};
use crate::base::hash::murmur2;

/// A `map` block.
pub struct MapPlan {
    /// The variable it defines, without `$`.
    pub name: Bytes,
    /// What is looked up.
    pub source: Expr,
    /// Evaluated each time instead of once for each request.
    pub volatile: bool,
    hostnames: bool,
    table: NameTable<u32>,
    /// Longest key of `table`: a longer subject needs no search when there are no masks.
    longest: usize,
    regexes: Vec<(Regex, u32)>,
    /// The default is the first.
    values: Vec<Expr>,
}

/// The answer of [`MapPlan::find`].
pub struct MapMatch<'a> {
    /// The value, still to be evaluated.
    pub value: &'a Expr,
    /// The pattern that matched and how many captures it left.
    pub regex: Option<(&'a Regex, usize)>,
}

/// Keys up to this length are lower-cased on the stack.
const KEY_STACK: usize = 256;

impl MapPlan {
    /// A map without entries. `hostnames` gives masks such as `*.example.com` their meaning.
    pub fn new(name: Bytes, source: Expr, default: Expr, hostnames: bool, volatile: bool) -> Self {
        Self {
            name,
            source,
            volatile,
            hostnames,
            table: NameTable::default(),
            longest: 0,
            regexes: Vec::new(),
            values: vec![default],
        }
    }

    /// Adds a key; false when it is there already.
    pub fn add(&mut self, key: &[u8], value: Expr) -> bool {
        let (mask, text) = if self.hostnames {
            Mask::of(key)
        } else {
            (Mask::Exact, key)
        };
        self.longest = self.longest.max(text.len());
        let index = self.value(value);
        self.table.add(text, mask, index)
    }

    /// Adds a pattern; patterns are tried in the order of adding, after the keys.
    pub fn add_regex(&mut self, regex: Regex, value: Expr) {
        let index = self.value(value);
        self.regexes.push((regex, index));
    }

    fn value(&mut self, value: Expr) -> u32 {
        self.values.push(value);
        (self.values.len() - 1) as u32
    }

    /// Finds the value of a key.
    pub fn find(&self, key: &[u8], captures: &mut Captures) -> MapMatch<'_> {
        let key = if self.hostnames {
            key.strip_suffix(b".").unwrap_or(key)
        } else {
            key
        };
        if let Some(index) = self.find_text(key) {
            return MapMatch {
                value: &self.values[index as usize],
                regex: None,
            };
        }
        if !key.is_empty() {
            for (regex, index) in &self.regexes {
                let count = regex.captures(key, captures);
                if count > 0 {
                    let value = &self.values[*index as usize];
                    return MapMatch {
                        value,
                        regex: Some((regex, count)),
                    };
                }
            }
        }
        MapMatch {
            value: &self.values[0],
            regex: None,
        }
    }

    fn find_text(&self, key: &[u8]) -> Option<u32> {
        if key.len() <= KEY_STACK {
            let mut lower = [0; KEY_STACK];
            let lower = &mut lower[..key.len()];
            lower.copy_from_slice(key);
            lower.make_ascii_lowercase();
            return self.table.find(lower).copied();
        }
        if !self.hostnames && key.len() > self.longest {
            return None;
        }
        self.table.find(&key.to_ascii_lowercase()).copied()
    }
}

/// A `geo` block.
pub struct GeoPlan {
    /// The variable it defines, without `$`.
    pub name: Bytes,
    /// Where the address comes from; none is the client's own address.
    pub source: Option<Expr>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub proxies: Cidrs,
    /// Skip believed addresses in the middle of the list too.
    pub proxy_recursive: bool,
    /// Looked up each time instead of once for each request.
    pub volatile: bool,
    /// Entries are ranges: only IPv4 is looked up.
    ranges: bool,
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u32)]>,
    values: Vec<Bytes>,
}

impl GeoPlan {
    /// The value for an address. None, for a unix socket or text that is no address, is looked up
    /// as 255.255.255.255, as in nginx.
    pub fn find(&self, addr: Option<IpAddr>) -> &Bytes {
        let value = match addr.map(canonical) {
            Some(IpAddr::V4(addr)) => covering(&self.v4, addr.to_bits()),
            Some(IpAddr::V6(addr)) if !self.ranges => covering(&self.v6, addr.to_bits()),
            _ => covering(&self.v4, u32::MAX),
        };
        &self.values[value as usize]
    }
}

/// The value of the last step that begins at or before `key`.
fn covering<K: Ord + Copy>(steps: &[(K, u32)], key: K) -> u32 {
    let after = steps.partition_point(|&(start, _)| start <= key);
    after.checked_sub(1).map_or(0, |index| steps[index].1)
}

/// Collects the entries of a `geo`.
pub struct GeoBuilder {
    name: Bytes,
    source: Option<Expr>,
    ranges: bool,
    /// First and last address as numbers, prefix length, value.
    v4: Vec<(u128, u128, u8, u32)>,
    v6: Vec<(u128, u128, u8, u32)>,
    values: Vec<Bytes>,
    /// Positions in `values`: a table of a country has few values, one of ranges may have many.
    known: HashMap<Bytes, u32, FixedState>,
}

impl GeoBuilder {
    /// A table that gives `default` for every address.
    pub fn new(name: Bytes, source: Option<Expr>, default: Bytes, ranges: bool) -> Self {
        Self {
            name,
            source,
            ranges,
            v4: Vec::new(),
            v6: Vec::new(),
            known: HashMap::from_iter([(default.clone(), 0)]),
            values: vec![default],
        }
    }

    /// Adds the addresses from `first` to `last`. The longest `prefix` wins, and the later of two
    /// equal ones; among ranges the later wins.
    pub fn add(&mut self, first: IpAddr, last: IpAddr, prefix: u8, value: Bytes) {
        let values = &mut self.values;
        let index = *self.known.entry(value).or_insert_with_key(|value| {
            values.push(value.clone());
            (values.len() - 1) as u32
        });
        let prefix = if self.ranges { 0 } else { prefix };
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                self.v4
                    .push((first.to_bits().into(), last.to_bits().into(), prefix, index));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                self.v6
                    .push((first.to_bits(), last.to_bits(), prefix, index));
            }
            _ => {}
        }
    }

    /// Flattens the entries into steps without overlap.
    pub fn build(self, proxies: Cidrs, proxy_recursive: bool) -> GeoPlan {
        let v4 = flatten(self.v4, u32::MAX.into());
        GeoPlan {
            name: self.name,
            source: self.source,
            proxies,
            proxy_recursive,
            volatile: false,
            ranges: self.ranges,
            v4: v4
                .into_iter()
                .map(|(start, value)| (start as u32, value))
                .collect(),
            v6: flatten(self.v6, u128::MAX).into(),
            values: self.values,
        }
    }
}

/// Paints the entries over each other, short prefixes first, and returns where each colour begins.
fn flatten(mut entries: Vec<(u128, u128, u8, u32)>, last_address: u128) -> Vec<(u128, u32)> {
    entries.sort_by_key(|&(_, _, prefix, _)| prefix);
    let mut steps = BTreeMap::from([(0, 0)]);
    for (first, last, _, value) in entries {
        let under = |steps: &BTreeMap<u128, u32>, at: u128| {
            steps
                .range(..=at)
                .next_back()
                .map_or(0, |(_, &value)| value)
        };
        if last < last_address {
            let resumed = under(&steps, last + 1);
            steps.insert(last + 1, resumed);
        }
        let covered: Vec<u128> = steps.range(first..=last).map(|(&start, _)| start).collect();
        for start in covered {
            steps.remove(&start);
        }
        steps.insert(first, value);
    }
    let mut flat: Vec<(u128, u32)> = steps.into_iter().collect();
    flat.dedup_by(|next, kept| next.1 == kept.1);
    flat
}

/// What a list of proxies says of the address `addr`; see [`forwarded`].
pub fn forwarded_addr<'a>(
    addr: IpAddr,
    lines: impl Iterator<Item = &'a [u8]>,
    believed: &Cidrs,
    recursive: bool,
) -> IpAddr {
    let believes = |peer: Option<IpAddr>| peer.is_some_and(|peer| believed.contains(peer));
    forwarded(Some(addr), lines, believes, recursive).map_or(addr, |at| at.ip())
}

/// Follows an `X-Forwarded-For` list backwards from `peer` (none is the client of a unix socket), as `geo` and realip
/// do: while the address so far is believed, the entry before it takes its place; without `recursive` only once.
/// `lines` are the field's values, the last one first. None when the peer is not believed or names nobody.
pub fn forwarded<'a>(
    peer: Option<IpAddr>,
    lines: impl Iterator<Item = &'a [u8]>,
    believes: impl Fn(Option<IpAddr>) -> bool,
    recursive: bool,
) -> Option<SocketAddr> {
    let mut found = None;
    for line in lines {
        let mut empty = true;
        for entry in line
            .rsplit(|&b| b == b',' || b == b' ')
            .filter(|entry| !entry.is_empty())
        {
            empty = false;
            let last = found.map_or(peer, |at: SocketAddr| Some(at.ip()));
            if !believes(last) {
                return found;
            }
            let Some(next) = forwarded_entry(entry) else {
                return found;
            };
            found = Some(next);
            if !recursive {
                return found;
            }
        }
        // A line without an entry names nobody, and what stands before it is not for this peer to say.
        if empty {
            return found;
        }
    }
    found
}

/// One entry: an address, perhaps with brackets or a port.
fn forwarded_entry(entry: &[u8]) -> Option<SocketAddr> {
    if let Some(addr) = parse_ip(entry) {
        return Some(SocketAddr::new(addr, 0));
    }
    let (addr, rest) = match entry.strip_prefix(b"[") {
        Some(inner) => {
            let end = memchr::memchr(b']', inner)?;
            (&inner[..end], &inner[end + 1..])
        }
        None => entry.split_at(memchr::memchr(b':', entry)?),
    };
    let addr = parse_ip(addr)?;
    let port = match rest {
        [] => 0,
        [b':', digits @ ..] => {
            let port = crate::base::size::parse_digits(digits)?;
            u16::try_from(port).ok().filter(|&port| port > 0)?
        }
        _ => return None,
    };
    Some(SocketAddr::new(addr, port))
}

/// A `split_clients` block.
pub struct SplitPlan {
    /// The variable it defines, without `$`.
    pub name: Bytes,
    /// What is hashed.
    pub source: Expr,
    /// First hash that is no longer in this part, and the part's value; none takes the rest.
    parts: Box<[(Option<u32>, Bytes)]>,
}

impl SplitPlan {
    /// `parts` are shares in hundredths of a percent with their values; none is `*`.
    pub fn new(
        name: Bytes,
        source: Expr,
        parts: impl IntoIterator<Item = (Option<u32>, Bytes)>,
    ) -> Self {
        let (mut sum, mut last) = (0u32, 0u32);
        let parts = parts.into_iter().map(|(share, value)| {
            let bound = share.and_then(|share| {
                sum += share;
                let width = u64::from(share) * u64::from(u32::MAX) / 10_000;
                last = last.wrapping_add(width as u32);
                // nginx lets the part that completes 100% take the rounding rest as well.
                (sum < 10_000).then_some(last)
            });
            (bound, value)
        });
        Self {
            name,
            source,
            parts: parts.collect(),
        }
    }

    /// The value for a key; empty when the parts leave a rest and the key falls into it.
    pub fn find(&self, key: &[u8]) -> &[u8] {
        let hash = murmur2(key);
        let part = self
            .parts
            .iter()
            .find(|(bound, _)| bound.is_none_or(|bound| hash < bound));
        part.map_or(&b""[..], |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cidr::Cidr;

    fn value(found: &Expr) -> &str {
        std::str::from_utf8(found.as_literal().unwrap()).unwrap()
    }

    fn literal(text: &str) -> Expr {
        Expr::literal(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn map_keys() {
        let mut map = MapPlan::new(Bytes::new(), Expr::default(), literal("d"), false, false);
        assert!(map.add(b"One", literal("1")));
        assert!(!map.add(b"oNE", literal("x")));
        assert!(map.add(b"", literal("empty")));
        assert!(map.add(b"*.example.com", literal("text")));
        map.add_regex(Regex::compile(b"^re(.*)$", false).unwrap(), literal("r"));
        map.add_regex(Regex::compile(b"^RE", true).unwrap(), literal("i"));
        let long = "a".repeat(300);
        let cases = [
            ("one", "1"),
            ("ONE", "1"),
            ("two", "d"),
            ("", "empty"),
            ("*.Example.com", "text"),
            ("a.example.com", "d"),
            ("rest", "r"),
            ("REST", "i"),
            (&long, "d"),
        ];
        for (key, expected) in cases {
            assert_eq!(
                value(map.find(key.as_bytes(), &mut Captures::default()).value),
                expected,
                "{key}"
            );
        }
        let mut captures = Captures::default();
        assert_eq!(map.find(b"reX", &mut captures).regex.unwrap().1, 2);
        assert_eq!(captures[1], (2, 3));
    }

    #[test]
    fn map_hostnames() {
        let mut map = MapPlan::new(Bytes::new(), Expr::default(), literal("d"), true, false);
        for (key, text) in [
            ("*.example.com", "s"),
            (".example.org", "n"),
            ("www.example.*", "p"),
            ("a.example.com", "e"),
        ] {
            assert!(map.add(key.as_bytes(), literal(text)), "{key}");
        }
        let cases = [
            ("example.com", "d"),
            ("b.example.com", "s"),
            ("A.Example.COM.", "e"),
            ("example.org", "n"),
            ("x.example.org", "n"),
            ("www.example.net", "p"),
        ];
        for (key, expected) in cases {
            assert_eq!(
                value(map.find(key.as_bytes(), &mut Captures::default()).value),
                expected,
                "{key}"
            );
        }
    }

    fn geo(entries: &[(&str, &str)], ranges: bool) -> GeoPlan {
        let mut builder = GeoBuilder::new(Bytes::new(), None, Bytes::from_static(b"d"), ranges);
        for (range, text) in entries {
            let text = Bytes::copy_from_slice(text.as_bytes());
            if let Some((first, last)) = range.split_once('-') {
                builder.add(first.parse().unwrap(), last.parse().unwrap(), 0, text);
            } else {
                let (first, last) = Cidr::parse(range.as_bytes()).unwrap().0.bounds();
                builder.add(
                    first,
                    last,
                    range
                        .split_once('/')
                        .map_or(32, |(_, bits)| bits.parse().unwrap()),
                    text,
                );
            }
        }
        builder.build(Cidrs::default(), false)
    }

    #[test]
    fn geo_takes_the_longest_prefix() {
        let geo = geo(
            &[
                ("10.1.0.0/16", "b"),
                ("10.0.0.0/8", "a"),
                ("10.1.2.3/32", "c"),
                ("192.168.0.0/16", "x"),
                ("192.168.0.0/16", "y"),
                ("255.255.255.254/31", "u"),
                ("2001:db8::/32", "6"),
                ("::/0", "all6"),
            ],
            false,
        );
        let cases = [
            ("9.255.255.255", "d"),
            ("10.0.0.0", "a"),
            ("10.1.0.0", "b"),
            ("10.1.2.2", "b"),
            ("10.1.2.3", "c"),
            ("10.1.2.4", "b"),
            ("10.2.0.0", "a"),
            ("11.0.0.0", "d"),
            ("192.168.1.1", "y"),
            ("2001:db8::1", "6"),
            ("2001:db9::1", "all6"),
            ("::ffff:10.1.2.3", "c"),
        ];
        for (addr, expected) in cases {
            assert_eq!(
                geo.find(Some(addr.parse().unwrap())),
                expected.as_bytes(),
                "{addr}"
            );
        }
        assert_eq!(geo.find(None), &b"u"[..]);
    }

    #[test]
    fn geo_ranges_overwrite() {
        let geo = geo(
            &[
                ("10.0.0.0-10.0.0.255", "a"),
                ("10.0.0.10-10.0.0.20", "b"),
                ("1.0.0.0-255.255.255.255", "d2"),
            ],
            true,
        );
        assert_eq!(geo.find(parse_ip(b"10.0.0.10")), &b"d2"[..]);
        let geo = self::geo(
            &[("10.0.0.0-10.0.0.255", "a"), ("10.0.0.10-10.0.0.20", "b")],
            true,
        );
        for (addr, expected) in [
            ("10.0.0.9", "a"),
            ("10.0.0.10", "b"),
            ("10.0.0.20", "b"),
            ("10.0.0.21", "a"),
            ("10.0.1.0", "d"),
            ("::1", "d"),
        ] {
            assert_eq!(
                geo.find(parse_ip(addr.as_bytes())),
                expected.as_bytes(),
                "{addr}"
            );
        }
    }

    #[test]
    fn forwarded_lists_are_read_backwards() {
        let believed = Cidrs(vec![Cidr::parse(b"10.0.0.0/8").unwrap().0]);
        let cases: &[(&str, &[&str], bool, &str)] = &[
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2"], false, "2.2.2.2"),
            ("10.0.0.1", &["1.1.1.1, 10.0.0.2"], true, "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.2", "1.1.1.1"], true, "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.2, bad"], true, "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1:80"], true, "1.1.1.1"),
            ("10.0.0.1", &["[2001:db8::1]:80"], true, "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], true, "2001:db8::1"),
            ("10.0.0.1", &["1.1.1.1:0"], true, "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1:70000"], true, "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1:80x"], true, "10.0.0.1"),
            ("10.0.0.1", &["[::1]x"], true, "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1 , ,, "], true, "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1", ""], true, "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1", "10.0.0.2"], false, "10.0.0.2"),
            ("9.9.9.9", &["1.1.1.1"], true, "9.9.9.9"),
            ("10.0.0.1", &[], true, "10.0.0.1"),
        ];
        for &(addr, lines, recursive, expected) in cases {
            let lines_backwards = lines.iter().rev().map(|line| line.as_bytes());
            let found =
                forwarded_addr(addr.parse().unwrap(), lines_backwards, &believed, recursive);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{lines:?}");
        }
    }

    #[test]
    fn split_shares() {
        let text = |s: &str| Bytes::copy_from_slice(s.as_bytes());
        let split = SplitPlan::new(
            Bytes::new(),
            Expr::default(),
            [
                (Some(5100), text("first")),
                (Some(1000), text("second")),
                (None, text("rest")),
            ],
        );
        let mut counts = [0; 3];
        for n in 0..10_000u32 {
            match split.find(format!("key{n}").as_bytes()) {
                b"first" => counts[0] += 1,
                b"second" => counts[1] += 1,
                _ => counts[2] += 1,
            }
        }
        assert!(
            (4900..5300).contains(&counts[0]) && (850..1150).contains(&counts[1]),
            "{counts:?}"
        );
        let whole = SplitPlan::new(Bytes::new(), Expr::default(), [(Some(10_000), text("all"))]);
        assert_eq!(whole.find(b"x"), b"all");
        let none = SplitPlan::new(Bytes::new(), Expr::default(), [(Some(1), text("few"))]);
        assert_eq!(none.find(b""), b"few");
        assert_eq!(none.find(b"a"), b"");
    }
}
