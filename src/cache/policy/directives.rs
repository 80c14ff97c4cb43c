//! `Cache-Control` of requests and answers as RFC 9111 reads it, and `CDN-Cache-Control` (RFC 9213).
//!
//! Start at [`Response::read`] and [`Request::read`].

use crate::proto::head::Fields;
use crate::proto::tokens::Token;

/// Seconds of a directive. What is larger than this is as good as for ever (RFC 9111 1.2.2).
pub type Seconds = u32;

/// What an answer's `Cache-Control` says to a shared cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Any directive was there.
    pub present: bool,
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`, with or without names of fields.
    pub no_cache: bool,
    /// `private`, with or without names of fields.
    pub private: bool,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `max-age`
    pub max_age: Option<Seconds>,
    /// `s-maxage`
    pub s_maxage: Option<Seconds>,
    /// `stale-while-revalidate` (RFC 5861)
    pub while_revalidate: Option<Seconds>,
    /// `stale-if-error` (RFC 5861)
    pub if_error: Option<Seconds>,
    /// A number is none: the answer is taken for stale (RFC 9111 4.2.1).
    pub invalid: bool,
}

/// What a request's `Cache-Control` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`, or `Pragma: no-cache` without `Cache-Control`.
    pub no_cache: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `max-age`
    pub max_age: Option<Seconds>,
    /// `max-stale`; without a number any age will do.
    pub max_stale: Option<Seconds>,
    /// `min-fresh`
    pub min_fresh: Option<Seconds>,
}

/// One directive of a list: its name, and its argument without quotes.
fn items(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = end_of_item(rest);
            let item = rest[..end].trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            if item.is_empty() {
                continue;
            }
            let (name, argument) = match item.iter().position(|&b| b == b'=') {
                Some(at) => (item[..at].trim_ascii(), Some(item[at + 1..].trim_ascii())),
                None => (item, None),
            };
            let unquoted = |a: &'_ [u8]| -> usize {
                usize::from(a.len() >= 2 && a.starts_with(b"\"") && a.ends_with(b"\""))
            };
            let argument = argument.map(|a| {
                let cut = unquoted(a);
                &a[cut..a.len() - cut]
            });
            return Some((name, argument));
        }
    })
}

/// Where an item ends: at a comma that is not inside quotes.
fn end_of_item(text: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Seconds of an argument; none when it is no number.
fn seconds(argument: Option<&[u8]>) -> Option<Seconds> {
    let digits = argument?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = std::str::from_utf8(digits).ok()?.parse::<u64>();
    Some(value.map_or(Seconds::MAX, |n| {
        Seconds::try_from(n).unwrap_or(Seconds::MAX)
    }))
}

impl Response {
    /// Reads what an answer says: `CDN-Cache-Control` where it is there and well-formed, else `Cache-Control`.
    #[must_use]
    pub fn read(fields: &Fields) -> (Self, bool) {
        if let Some(targeted) = Self::targeted(fields) {
            return (targeted, true);
        }
        let mut said = Self::default();
        for value in fields.get_all(Token::CACHE_CONTROL) {
            for (name, argument) in items(value) {
                said.take(name, argument, true);
            }
        }
        (said, false)
    }

    /// RFC 9213: a dictionary of structured fields. One that is empty or is none counts as absent.
    fn targeted(fields: &Fields) -> Option<Self> {
        let mut said = Self::default();
        for value in fields.get_name_all(b"cdn-cache-control") {
            for (name, argument) in dictionary(value)? {
                match argument {
                    Member::Yes => said.take(name, None, false),
                    Member::Number(digits) => said.take(name, Some(digits), false),
                    // Of another type than the directive has: it is as if it were not there (RFC 9213 2.1).
                    Member::Other => {}
                }
            }
        }
        said.present.then_some(said)
    }

    /// Takes a directive. The first of two with one name holds.
    fn take(&mut self, name: &[u8], argument: Option<&[u8]>, strict: bool) {
        self.present = true;
        let slot = match &name.to_ascii_lowercase()[..] {
            b"max-age" => &mut self.max_age,
            b"s-maxage" => &mut self.s_maxage,
            b"stale-while-revalidate" => &mut self.while_revalidate,
            b"stale-if-error" => &mut self.if_error,
            flag => {
                let flag = match flag {
                    b"no-store" => &mut self.no_store,
                    b"no-cache" => &mut self.no_cache,
                    b"private" => &mut self.private,
                    b"public" => &mut self.public,
                    b"must-revalidate" => &mut self.must_revalidate,
                    b"proxy-revalidate" => &mut self.proxy_revalidate,
                    b"must-understand" => &mut self.must_understand,
                    _ => return,
                };
                *flag = true;
                return;
            }
        };
        match seconds(argument) {
            Some(value) => {
                slot.get_or_insert(value);
            }
            None => self.invalid |= strict,
        }
    }
}

/// The value of a dictionary's member.
enum Member<'a> {
    Yes,
    Number(&'a [u8]),
    Other,
}

/// The members of a dictionary (RFC 8941 3.2) without their parameters; none when it is malformed.
fn dictionary(value: &[u8]) -> Option<Vec<(&[u8], Member<'_>)>> {
    let mut members = Vec::new();
    let mut rest = value.trim_ascii();
    while !rest.is_empty() {
        let end = end_of_item(rest);
        let item = rest[..end].trim_ascii();
        let last = end == rest.len();
        rest = rest.get(end + 1..).unwrap_or_default().trim_ascii_start();
        // A comma at the end is an error.
        if item.is_empty() || (!last && rest.is_empty()) {
            return None;
        }
        let bare = item.iter().position(|&b| b == b';');
        let item = &item[..bare.unwrap_or(item.len())].trim_ascii();
        let at = item.iter().position(|&b| b == b'=');
        let key = &item[..at.unwrap_or(item.len())];
        let first = |b: &u8| b.is_ascii_lowercase() || *b == b'*';
        let further = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(b);
        if !key.first().is_some_and(first) || !key.iter().all(further) {
            return None;
        }
        let member = match at.map(|at| &item[at + 1..]) {
            None | Some(b"?1") => Member::Yes,
            Some(b"") => return None,
            Some(digits) if digits.len() <= 15 && digits.iter().all(u8::is_ascii_digit) => {
                Member::Number(digits)
            }
            Some(_) => Member::Other,
        };
        members.push((key, member));
    }
    Some(members)
}

impl Request {
    /// Reads what a request asks for.
    #[must_use]
    pub fn read(fields: &Fields) -> Self {
        let mut asks = Self::default();
        for value in fields.get_all(Token::CACHE_CONTROL) {
            for (name, argument) in items(value) {
                asks.take(name, argument);
            }
        }
        if !fields.has(Token::CACHE_CONTROL) {
            let mut pragma = fields.get_all(Token::PRAGMA);
            asks.no_cache = pragma.any(|list| crate::proto::head::list_has(list, b"no-cache"));
        }
        asks
    }

    fn take(&mut self, name: &[u8], argument: Option<&[u8]>) {
        match &name.to_ascii_lowercase()[..] {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"only-if-cached" => self.only_if_cached = true,
            // What is no number asks for the most careful answer.
            b"max-age" => self.max_age = Some(seconds(argument).unwrap_or(0)),
            b"min-fresh" => self.min_fresh = Some(seconds(argument).unwrap_or(Seconds::MAX)),
            b"max-stale" => {
                self.max_stale = match argument {
                    None => Some(Seconds::MAX),
                    argument => seconds(argument),
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in list {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    #[test]
    fn directives_of_answers() {
        let read = |value: &str| Response::read(&fields(&[("Cache-Control", value)])).0;
        assert_eq!(read("max-age=5").max_age, Some(5));
        assert_eq!(read("MAX-AGE=\"5\" ").max_age, Some(5));
        assert_eq!(read("max-age=5, max-age=9").max_age, Some(5));
        assert_eq!(read("max-age=99999999999").max_age, Some(Seconds::MAX));
        assert_eq!(read("max-age=5").s_maxage, None);
        assert!(
            read("max-age=five").invalid && read("max-age").invalid && read("s-maxage=-1").invalid
        );
        assert!(read("private=\"set-cookie, no-store\"").private);
        assert!(!read("private=\"set-cookie, no-store\"").no_store);
        assert!(read("foo=\"a\\\", no-store\", no-cache").no_cache);
        assert!(!read("foo=\"a\\\", no-store\"").no_store);
        assert!(!read("").present && !read(" , ").present);
        let two = fields(&[("Cache-Control", "public"), ("cache-control", "s-maxage=7")]);
        let (two, _) = Response::read(&two);
        assert!(two.public && two.s_maxage == Some(7));
    }

    #[test]
    fn a_targeted_field_takes_the_place_of_the_other() {
        let cases: &[(&str, bool, Option<Seconds>)] = &[
            ("max-age=60", true, Some(60)),
            ("max-age=60;ext=1, no-store", true, Some(60)),
            ("no-store=?1", true, None),
            ("max-age=\"60\"", false, Some(5)),
            ("max-age=60,", false, Some(5)),
            ("Max-Age=60", false, Some(5)),
            ("max-age=", false, Some(5)),
            ("", false, Some(5)),
        ];
        for &(text, targeted, max_age) in cases {
            let both = fields(&[("CDN-Cache-Control", text), ("Cache-Control", "max-age=5")]);
            let (said, from) = Response::read(&both);
            assert_eq!((from, said.max_age), (targeted, max_age), "{text}");
        }
    }

    #[test]
    fn directives_of_requests() {
        let read = |value: &str| Request::read(&fields(&[("Cache-Control", value)]));
        assert!(read("no-cache").no_cache && read("No-Store").no_store);
        assert!(read("only-if-cached").only_if_cached);
        assert_eq!(read("max-age=x").max_age, Some(0));
        assert_eq!(read("max-stale").max_stale, Some(Seconds::MAX));
        assert_eq!(read("max-stale=x").max_stale, None);
        assert_eq!(read("min-fresh=4").min_fresh, Some(4));
        assert!(Request::read(&fields(&[("Pragma", "no-cache")])).no_cache);
        let both = fields(&[("Pragma", "no-cache"), ("Cache-Control", "max-age=5")]);
        assert!(!Request::read(&both).no_cache);
    }
}
