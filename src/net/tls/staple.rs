//! An OCSP answer that goes along with a certificate and is replaced while the server runs. What was asked last and when the
//! next question is due is kept here, shared by all shards and over reloads; who asks is somebody else. Start at [`Staple`].

#![expect(
    clippy::disallowed_types,
    reason = "handshakes of all shards share an answer; the locks are held to copy a pointer"
)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::sign::CertifiedKey;

use super::ocsp::{Question, Worthless};
use crate::net::clock;

/// Seconds between a good answer and the next question, as with nginx: an hour, or five minutes before it ends, and five
/// minutes at least.
const FRESH: i64 = 3600;
const AHEAD: i64 = 300;
const LEAST: i64 = 300;

/// Seconds until a question that failed is asked again: twice as many each time.
const AGAIN_MIN: i64 = 1;
const AGAIN_MAX: i64 = 300;

/// Answers that are longer are none.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;

/// One certificate's.
#[derive(Debug)]
pub struct Staple {
    question: Question,
    /// Where to ask.
    pub responder: Responder,
    /// The name of the certificate's file, for the log.
    pub name: Box<str>,
    strict: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answer: Option<Arc<[u8]>>,
    /// When it ends.
    until: i64,
    /// Tells answers apart.
    version: u64,
    /// When to ask again.
    due: i64,
    /// Seconds to wait after the next failure.
    again: i64,
}

/// An `http://` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responder {
    /// A name or an address.
    pub host: Box<str>,
    /// 80 unless it says otherwise.
    pub port: u16,
    /// Begins with a slash.
    pub path: Box<str>,
}

impl Responder {
    /// Takes a URL apart; none where it is none, or not of plain HTTP.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        let scheme = url.get(..7)?;
        let rest = url.get(7..)?;
        if !scheme.eq_ignore_ascii_case("http://") {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let in_brackets = authority.starts_with('[');
        let (host, port) = match authority.rfind(':') {
            Some(at) if !in_brackets || authority[..at].ends_with(']') => {
                (&authority[..at], authority[at + 1..].parse().ok()?)
            }
            _ => (authority, 80),
        };
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || port == 0 || !visible(rest) || host.contains('@') {
            return None;
        }
        Some(Self {
            host: host.into(),
            port,
            path: if path.is_empty() { "/" } else { path }.into(),
        })
    }
}

impl Staple {
    /// Nothing is known yet, and a question is due. With `strict` an answer must be signed for the issuer.
    #[must_use]
    pub fn new(question: Question, responder: Responder, name: &str, strict: bool) -> Self {
        Self {
            question,
            responder,
            name: name.into(),
            strict,
            state: Mutex::new(State {
                answer: None,
                until: 0,
                version: 0,
                due: 0,
                again: AGAIN_MIN,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to ask, where that is due: then nobody else is told so for a while. Else the seconds until it is due.
    pub fn take_due(&self, now: i64) -> Result<&[u8], i64> {
        let mut state = self.state();
        if state.due > now {
            return Err(state.due - now);
        }
        state.due = now + AGAIN_MAX;
        Ok(&self.question.request)
    }

    /// Takes an answer, if it is worth anything. One that is not does not replace the last.
    pub fn answered(&self, answer: &[u8], now: i64) -> Result<(), Worthless> {
        let until = self.question.judge(answer, self.strict, now)?;
        let until = until.unwrap_or(i64::MAX);
        let mut state = self.state();
        state.answer = Some(answer.into());
        state.until = until;
        state.version += 1;
        state.due = (now + FRESH)
            .min(until.saturating_sub(AHEAD))
            .max(now + LEAST);
        state.again = AGAIN_MIN;
        Ok(())
    }

    /// There was no answer, or none that is worth anything.
    ///
    /// Differs from nginx: the first failures are not waited out for five minutes.
    pub fn failed(&self, now: i64) {
        let mut state = self.state();
        state.due = now + state.again;
        state.again = (state.again * 2).min(AGAIN_MAX);
    }

    /// The answer that holds now, and its number.
    fn current(&self, now: i64) -> Option<(u64, Arc<[u8]>)> {
        let state = self.state();
        let answer = state.answer.as_ref().filter(|_| state.until >= now)?;
        Some((state.version, Arc::clone(answer)))
    }
}

/// A certificate and what goes along with it.
#[derive(Debug)]
pub(super) struct Stapled {
    plain: Arc<CertifiedKey>,
    staple: Option<Arc<Staple>>,
    /// The certificate with the answer of this number.
    made: Mutex<(u64, Option<Arc<CertifiedKey>>)>,
}

impl Stapled {
    pub(super) fn new(plain: Arc<CertifiedKey>, staple: Option<Arc<Staple>>) -> Self {
        Self {
            plain,
            staple,
            made: Mutex::default(),
        }
    }

    /// The certificate by itself.
    pub(super) fn plain(&self) -> &Arc<CertifiedKey> {
        &self.plain
    }

    /// The certificate with what holds now.
    pub(super) fn now(&self) -> Arc<CertifiedKey> {
        let current = self.staple.as_ref();
        let current = current.and_then(|staple| staple.current(clock::unix().secs));
        let Some((version, answer)) = current else {
            return Arc::clone(&self.plain);
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            (known, Some(key)) if *known == version => Arc::clone(key),
            _ => {
                let mut key = CertifiedKey::clone(&self.plain);
                key.ocsp = Some(answer.to_vec());
                let key = Arc::new(key);
                *made = (version, Some(Arc::clone(&key)));
                key
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let of = |url| {
            let found = Responder::of_url(url);
            found.map(|r| (r.host.to_string(), r.port, r.path.to_string()))
        };
        let expect = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(of("http://a.b/c/"), expect("a.b", 80, "/c/"));
        assert_eq!(of("HTTP://a.b:81"), expect("a.b", 81, "/"));
        assert_eq!(of("http://[::1]:8/x"), expect("[::1]", 8, "/x"));
        assert_eq!(of("http://[::1]/x"), expect("[::1]", 80, "/x"));
        for bad in [
            "https://a/",
            "a/b",
            "http:///x",
            "http://a:x/",
            "http://a:0/",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://u@h/",
            "",
            "http://",
            "h\u{e9}ttp://a",
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
