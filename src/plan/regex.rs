//! One pattern type over two engines: `regex` (linear time) where it can, PCRE where it must.
//!
//! nginx patterns are PCRE, so PCRE compiles every pattern first: what it refuses is refused in its
//! words. A pattern that means the same to `regex` is then matched by that; look-around,
//! back-references and other syntax of PCRE alone stay with PCRE, under a match limit. Knows no
//! variables: named captures are told as names, and the compiler binds them to slots.
//! Start at [`Regex::compile`].

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use regex::bytes as linear;

use super::SlotId;

/// `$0` … `$9` of a match, as ranges of its subject; a group that took no part is empty.
pub type Captures = [(u32, u32); 10];

/// Matching steps of one PCRE match. PCRE's own default; a pattern that needs more does not match.
const MATCH_LIMIT: u32 = 10_000_000;

/// Bytes of stack that a compiled PCRE match may use.
const JIT_STACK_MAX: usize = 256 * 1024;

/// A compiled pattern.
pub struct Regex {
    /// As configured, without `~`.
    pattern: Bytes,
    engines: Engines,
    groups: usize,
    named: Box<[(Bytes, u8)]>,
    slots: Box<[(SlotId, u8)]>,
    /// Tells this pattern from an earlier one in the same seat.
    serial: u64,
    /// Place in every thread's scratch list.
    seat: usize,
}

/// What a pattern is matched by.
enum Engines {
    /// The pattern means the same to the linear engine.
    Linear(linear::Regex),
    /// The same, but in PCRE `$` also matches before a final newline; in `regex` only at the end.
    LinearUnlessNewline(linear::Regex, pcre2::bytes::Regex),
    /// Syntax of PCRE alone.
    Pcre(pcre2::bytes::Regex),
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "~{}", String::from_utf8_lossy(&self.pattern))
    }
}

impl Regex {
    /// Compiles a PCRE pattern over bytes. The error is nginx's message.
    pub fn compile(pattern: &[u8], caseless: bool) -> Result<Self, String> {
        let text = as_utf8(pattern);
        let checked = pcre(&text, caseless).map_err(|e| refused(&e, &text))?;
        let groups = checked.captures_len() - 1;
        let named = checked
            .capture_names()
            .iter()
            .enumerate()
            .filter_map(|(group, name)| {
                Some((Bytes::from(name.clone()?), u8::try_from(group).ok()?))
            })
            .collect();
        let shape = Shape::of(pattern);
        let bounded = |checked| {
            let limited = format!("(*LIMIT_MATCH={MATCH_LIMIT}){text}");
            pcre(&limited, caseless).unwrap_or(checked)
        };
        let fast = shape.portable.then(|| linear_engine(&text, caseless));
        let engines = match fast.flatten() {
            Some(fast) if shape.dollar => Engines::LinearUnlessNewline(fast, bounded(checked)),
            Some(fast) => Engines::Linear(fast),
            None => Engines::Pcre(bounded(checked)),
        };
        Ok(Self {
            pattern: Bytes::copy_from_slice(pattern),
            engines,
            groups,
            named,
            slots: Box::default(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed) + 1,
            seat: 0,
        })
    }

    /// The pattern as configured.
    pub fn pattern(&self) -> &Bytes {
        &self.pattern
    }

    /// Groups that capture, named or not.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Named groups with their numbers.
    pub fn named(&self) -> &[(Bytes, u8)] {
        &self.named
    }

    /// Variables that a match sets: named groups, bound to slots by the compiler.
    pub fn slots(&self) -> &[(SlotId, u8)] {
        &self.slots
    }

    /// Gives each named group its variable.
    pub(super) fn bind(&mut self, slots: Box<[(SlotId, u8)]>) {
        self.slots = slots;
    }

    /// Gives the pattern its place in the scratch list of each thread. Seats are used again by the
    /// plan after the next, so that reloads do not grow the lists; two patterns in one seat are
    /// right but slow.
    pub(super) fn sit(&mut self, seat: usize) {
        self.seat = seat;
    }

    /// Whether the linear engine serves this pattern.
    pub fn is_linear(&self) -> bool {
        !matches!(self.engines, Engines::Pcre(_))
    }

    /// Whether the pattern matches somewhere in `subject`.
    pub fn is_match(&self, subject: &[u8]) -> bool {
        self.with_scratch(subject, |engine| match engine {
            Engine::Linear(regex, _) => regex.is_match(subject),
            Engine::Pcre(regex, locations) => {
                matches!(regex.captures_read(locations, subject), Ok(Some(_)))
            }
        })
    }

    /// Matches and tells the groups. Returns how many entries of `captures` are valid, the whole
    /// match included; 0 is no match, and `captures` stays as it was.
    pub fn captures(&self, subject: &[u8], captures: &mut Captures) -> usize {
        self.with_scratch(subject, |engine| match engine {
            Engine::Linear(regex, locations) => {
                if regex.captures_read(locations, subject).is_none() {
                    return 0;
                }
                store(captures, |group| locations.get(group))
            }
            Engine::Pcre(regex, locations) => {
                if !matches!(regex.captures_read(locations, subject), Ok(Some(_))) {
                    return 0;
                }
                let count = locations.len();
                store(captures, |group| {
                    if group < count {
                        locations.get(group)
                    } else {
                        None
                    }
                })
            }
        })
    }

    /// Runs `body` with this thread's own copy of the engine, so that shards share no cache lines.
    fn with_scratch<R>(&self, subject: &[u8], body: impl FnOnce(Engine<'_>) -> R) -> R {
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() <= self.seat {
                scratch.resize_with(self.seat + 1, Scratch::default);
            }
            let mine = &mut scratch[self.seat];
            if mine.serial != self.serial {
                *mine = Scratch {
                    serial: self.serial,
                    ..Scratch::default()
                };
            }
            match &self.engines {
                Engines::Linear(fast) => body(mine.linear(fast)),
                Engines::LinearUnlessNewline(fast, _) if subject.last() != Some(&b'\n') => {
                    body(mine.linear(fast))
                }
                Engines::LinearUnlessNewline(_, exact) | Engines::Pcre(exact) => {
                    body(mine.pcre(exact))
                }
            }
        })
    }
}

/// Writes the groups up to the last one that took part, and returns their count.
fn store(captures: &mut Captures, group: impl Fn(usize) -> Option<(usize, usize)>) -> usize {
    let mut count = 0;
    for (number, range) in captures.iter_mut().enumerate() {
        *range = match group(number) {
            Some((start, end)) => {
                count = number + 1;
                (start as u32, end as u32)
            }
            None => (0, 0),
        };
    }
    count
}

/// One engine with this thread's scratch space.
enum Engine<'a> {
    Linear(&'a linear::Regex, &'a mut linear::CaptureLocations),
    Pcre(
        &'a pcre2::bytes::Regex,
        &'a mut pcre2::bytes::CaptureLocations,
    ),
}

/// What one thread keeps for one pattern.
#[derive(Default)]
struct Scratch {
    serial: u64,
    /// A clone has caches of its own, so the engine's shared pool is never contended.
    linear: Option<(linear::Regex, linear::CaptureLocations)>,
    pcre: Option<pcre2::bytes::CaptureLocations>,
}

impl Scratch {
    fn linear(&mut self, shared: &linear::Regex) -> Engine<'_> {
        let (regex, locations) = self
            .linear
            .get_or_insert_with(|| (shared.clone(), shared.capture_locations()));
        Engine::Linear(regex, locations)
    }

    fn pcre<'a>(&'a mut self, shared: &'a pcre2::bytes::Regex) -> Engine<'a> {
        let locations = self.pcre.get_or_insert_with(|| shared.capture_locations());
        Engine::Pcre(shared, locations)
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

/// Numbers every pattern that was ever compiled.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// The pattern as the engines' builders want it; bytes that are not UTF-8 become `\xHH`, which
/// means the same inside and outside of classes.
fn as_utf8(pattern: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(pattern) {
        return text.to_owned();
    }
    let mut text = String::with_capacity(pattern.len() + 16);
    for &byte in pattern {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn pcre(text: &str, caseless: bool) -> Result<pcre2::bytes::Regex, pcre2::Error> {
    let mut builder = pcre2::bytes::RegexBuilder::new();
    builder
        .caseless(caseless)
        .utf(false)
        .ucp(false)
        .max_jit_stack_size(Some(JIT_STACK_MAX));
    match builder.jit_if_available(true).build(text) {
        // A hardened kernel may refuse executable memory: the interpreter serves too.
        Err(error) if matches!(error.kind(), pcre2::ErrorKind::JIT) => {
            builder.jit_if_available(false).build(text)
        }
        other => other,
    }
}

/// nginx's message for a pattern that PCRE refuses.
fn refused(error: &pcre2::Error, text: &str) -> String {
    let shown = error.to_string();
    let reason = shown.splitn(3, ": ").nth(2).unwrap_or(&shown);
    let mut message = format!("pcre2_compile() failed: {reason} in \"{text}\"");
    if let Some(rest) = error
        .offset()
        .and_then(|at| text.as_bytes().get(at..))
        .filter(|r| !r.is_empty())
    {
        let _ = write!(message, " at \"{}\"", String::from_utf8_lossy(rest));
    }
    message
}

fn linear_engine(text: &str, caseless: bool) -> Option<linear::Regex> {
    linear::RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(caseless)
        .build()
        .ok()
}

/// What a look at a pattern's syntax tells.
struct Shape {
    /// Only syntax that both engines read alike.
    portable: bool,
    /// A `$` occurs.
    dollar: bool,
}

impl Shape {
    fn of(pattern: &[u8]) -> Self {
        let portable = pattern.is_ascii() && Scan { rest: pattern }.all().is_some();
        Self {
            portable,
            dollar: pattern.contains(&b'$'),
        }
    }
}

/// Walks a pattern that PCRE has accepted and stops at anything the two engines may read in
/// different ways. What it does not know is not portable.
struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    fn all(mut self) -> Option<()> {
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match byte {
                b'\\' => self.escape(false)?,
                b'[' => self.class()?,
                b'(' => self.group()?,
                b'*' | b'+' | b'?' => self.after_quantifier()?,
                b'{' => {
                    self.counts()?;
                    self.after_quantifier()?;
                }
                _ => {}
            }
        }
        Some(())
    }

    fn bump(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn escape(&mut self, in_class: bool) -> Option<()> {
        match self.bump()? {
            b'd' | b'D' | b'w' | b'W' | b's' | b'S' | b'n' | b'r' | b't' | b'f' | b'a' => Some(()),
            b'x' => {
                let digits = self.rest.get(..2)?;
                self.rest = &self.rest[2..];
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            // `\b{start}` and `\<` mean more to `regex` than to PCRE.
            b'b' | b'B' | b'A' | b'z' if !in_class => {
                (self.rest.first() != Some(&b'{')).then_some(())
            }
            b'<' | b'>' => None,
            byte if byte.is_ascii_punctuation() => Some(()),
            _ => None,
        }
    }

    /// Classes nest and have set operations in `regex` only.
    fn class(&mut self) -> Option<()> {
        if self.rest.first() == Some(&b'^') {
            self.bump();
        }
        let mut first = true;
        let mut previous = 0;
        loop {
            let byte = self.bump()?;
            match byte {
                b']' if !first => return Some(()),
                b'[' => return None,
                b'\\' => self.escape(true)?,
                b'&' | b'-' | b'~' if byte == previous => return None,
                _ => {}
            }
            previous = byte;
            first = false;
        }
    }

    /// Plain, non-capturing, named, and the flags `i` and `s`.
    fn group(&mut self) -> Option<()> {
        match self.rest.first() {
            Some(b'*') => return None,
            Some(b'?') => {}
            _ => return Some(()),
        }
        self.bump();
        let portable: &[&[u8]] = &[b":", b"i)", b"i:", b"s)", b"s:", b"-i)", b"-i:"];
        if let Some(form) = portable.iter().find(|form| self.rest.starts_with(form)) {
            self.rest = &self.rest[form.len()..];
            return Some(());
        }
        let name = self
            .rest
            .strip_prefix(b"P<")
            .or_else(|| self.rest.strip_prefix(b"<"))?;
        let end = name.iter().position(|&b| b == b'>')?;
        let plain = name[..end]
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || b == b'_');
        self.rest = &name[end + 1..];
        (end > 0 && plain).then_some(())
    }

    /// `{n}`, `{n,}`, `{n,m}` with at most three digits each; any other brace is text to PCRE.
    fn counts(&mut self) -> Option<()> {
        let end = self.rest.iter().position(|&b| b == b'}')?;
        let (low, high) = match self.rest[..end].iter().position(|&b| b == b',') {
            Some(comma) => (&self.rest[..comma], &self.rest[comma + 1..end]),
            None => (&self.rest[..end], &b""[..]),
        };
        let digits = |part: &[u8]| part.len() <= 3 && part.iter().all(u8::is_ascii_digit);
        self.rest = &self.rest[end + 1..];
        (!low.is_empty() && digits(low) && digits(high)).then_some(())
    }

    /// A lazy mark may follow; a possessive one is a second repetition to `regex`.
    fn after_quantifier(&mut self) -> Option<()> {
        if self.rest.first() == Some(&b'?') {
            self.bump();
        }
        (!matches!(self.rest.first(), Some(b'+' | b'*' | b'?' | b'{'))).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pattern: &str, caseless: bool, subject: &str) -> Option<Vec<String>> {
        let regex = Regex::compile(pattern.as_bytes(), caseless).expect(pattern);
        let mut captures = Captures::default();
        let count = regex.captures(subject.as_bytes(), &mut captures);
        assert_eq!(
            count > 0,
            regex.is_match(subject.as_bytes()),
            "{pattern} on {subject}"
        );
        let texts = captures[..count]
            .iter()
            .map(|&(s, e)| subject[s as usize..e as usize].to_owned());
        (count > 0).then(|| texts.collect())
    }

    #[test]
    fn patterns_match_as_in_pcre() {
        type Case = (
            &'static str,
            bool,
            &'static str,
            Option<&'static [&'static str]>,
        );
        let cases: &[Case] = &[
            (r"\.php$", false, "/a.php", Some(&[".php"])),
            (r"\.php$", false, "/a.php\n", Some(&[".php"])),
            (r"\.php\z", false, "/a.php\n", None),
            (r"\.PHP$", true, "/a.php", Some(&[".PHP"])),
            (r"^/(a)|(b)", false, "b", Some(&["b", "", "b"])),
            (r"^/(a)|(b)", false, "/a", Some(&["/a", "a"])),
            (r"^/(?<id>\d+)/", false, "/42/x", Some(&["/42/", "42"])),
            (r"^(?!/api).*", false, "/web", Some(&["/web"])),
            (r"^(?!/api).*", false, "/api", None),
            (r"(a)\1", false, "xaa", Some(&["aa", "a"])),
            (r"a++b", false, "aab", Some(&["aab"])),
            (r"[[:alpha:]]+", false, "12ab", Some(&["ab"])),
            (r"[a&&b]", false, "&", Some(&["&"])),
            (r"a{,2}b", false, "ab", None),
            (r"x{2,3}?", false, "xxxx", Some(&["xx"])),
            (r"a.c", false, "a\nc", None),
            ("", false, "", Some(&[""])),
        ];
        for &(pattern, caseless, subject, expected) in cases {
            // PCRE 10.43 gave `{,n}` a meaning; either reading is PCRE's own.
            if pattern == r"a{,2}b" {
                continue;
            }
            let expected: Option<Vec<String>> = expected
                .map(|e| e.iter().map(|s| s.to_string()).collect())
                .map(|e: Vec<String>| {
                    if caseless {
                        e.iter().map(|s| s.to_lowercase()).collect()
                    } else {
                        e
                    }
                });
            assert_eq!(
                groups(pattern, caseless, subject),
                expected,
                "{pattern} on {subject:?}"
            );
        }
    }

    #[test]
    fn the_linear_engine_takes_what_both_read_alike() {
        let linear = [
            r"\.(jpg|png)$",
            r"^/api/v(\d+)/(.*)",
            r"^(?<a>x)(?P<b>y)$",
            r"(?i)abc",
            r"a{2}b{1,}c{1,3}",
            r"[^/]+",
            r"[]a]",
            r"\bfoo\b",
            r"^~\w+\.example\.com$",
        ];
        for pattern in linear {
            assert!(
                Regex::compile(pattern.as_bytes(), false)
                    .unwrap()
                    .is_linear(),
                "{pattern}"
            );
        }
        let pcre = [
            r"(?=a)",
            r"(?<!a)b",
            r"(?<=a)b",
            r"(a)\1",
            r"a*+",
            r"a++",
            r"a?+",
            r"[[:digit:]]",
            r"[+--]",
            r"\Aa\Z",
            r"\h",
            r"\Kab",
            r"(?>a)",
            r"(?#c)a",
            r"(?x)a b",
            r"(?|a|b)",
            r"\Qa.b\E",
            r"a\<",
            "\u{e9}",
            r"(?m)^a$",
            r"\v",
        ];
        for pattern in pcre {
            assert!(
                !Regex::compile(pattern.as_bytes(), false)
                    .unwrap()
                    .is_linear(),
                "{pattern}"
            );
        }
    }

    #[test]
    fn refusals_use_nginx_words() {
        let error = Regex::compile(b"a(b", false).unwrap_err();
        assert_eq!(
            error,
            "pcre2_compile() failed: missing closing parenthesis in \"a(b\""
        );
        let error = Regex::compile(b"a**b)c", false).unwrap_err();
        assert!(error.starts_with("pcre2_compile() failed: "), "{error}");
        assert!(error.contains(" in \"a**b)c\" at \""), "{error}");
    }

    #[test]
    fn bytes_that_are_not_text() {
        let regex = Regex::compile(b"^/\xff[\xfe]$", false).unwrap();
        assert!(regex.is_match(b"/\xff\xfe"));
        assert!(!regex.is_match(b"/\xff"));
        assert!(Regex::compile(b"^.$", false).unwrap().is_match(b"\xff"));
    }

    #[test]
    fn a_failed_match_keeps_the_captures() {
        let regex = Regex::compile(b"(a)", false).unwrap();
        let mut captures = [(7, 8); 10];
        assert_eq!(regex.captures(b"b", &mut captures), 0);
        assert_eq!(captures, [(7, 8); 10]);
    }

    #[test]
    fn hostile_subjects_end() {
        let regex = Regex::compile(b"^(a+)+$", false).unwrap();
        assert!(regex.is_linear());
        assert!(!regex.is_match(&[&[b'a'; 4000][..], b"b"].concat()));
        let regex = Regex::compile(b"^(?=a)(a|aa)+$", false).unwrap();
        assert!(!regex.is_match(&[&[b'a'; 200][..], b"b"].concat()));
    }

    #[test]
    fn engines_agree_on_random_subjects() {
        let patterns = [
            r"^/(\w+)/(.*)$",
            r"(a|b)*c",
            r"a*?b",
            r"(?:x|(y))+",
            r"[^a-c/.]+",
            r"\s+$",
            r"^$|a",
        ];
        let alphabet = b"abcxy/. \n1";
        let mut seed = 1u64;
        for pattern in patterns {
            let regex = Regex::compile(pattern.as_bytes(), false).unwrap();
            let exact = pcre(pattern, false).unwrap();
            assert!(regex.is_linear(), "{pattern}");
            for length in 0..40 {
                let subject: Vec<u8> = (0..length)
                    .map(|_| {
                        seed = seed
                            .wrapping_mul(6364136223846793005)
                            .wrapping_add(1442695040888963407);
                        alphabet[(seed >> 33) as usize % alphabet.len()]
                    })
                    .collect();
                let mut captures = Captures::default();
                let count = regex.captures(&subject, &mut captures);
                let expected = exact.captures(&subject).unwrap();
                assert_eq!(count > 0, expected.is_some(), "{pattern} on {subject:?}");
                if let Some(expected) = expected {
                    for (group, &range) in captures[..count].iter().enumerate() {
                        let want = expected
                            .get(group)
                            .map_or((0, 0), |m| (m.start() as u32, m.end() as u32));
                        assert_eq!(range, want, "{pattern} group {group} on {subject:?}");
                    }
                }
            }
        }
    }
}
