//! Whether authorities took certificates of clients back (`ssl_ocsp`): which certificates are asked about and whom, what
//! is remembered of the answers, and what they mean. Who asks is somebody else. Start at [`Asks`].

#![expect(
    clippy::disallowed_types,
    reason = "the shards share what is known; the lock is held to copy a word, once for each handshake"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::ocsp::{Question, QuestionKey, Status};
use super::staple::Responder;
use super::{Facts, Flaw, Trust, certificate};
use crate::base::lru::Lru;

/// Bytes of a zone for each answer that it holds.
const ANSWER_BYTES: usize = 128;

/// Seconds that an answer is believed which names no end, as with nginx.
const ENDLESS: i64 = 3600;

/// The number of the next one.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Answers that are remembered (`ssl_ocsp_cache`), of all shards.
#[derive(Debug)]
pub struct Known(Mutex<Lru<QuestionKey, (Status, i64)>>);

impl Known {
    /// Remembers what a zone of so many bytes holds.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Mutex::new(Lru::new((bytes / ANSWER_BYTES).max(1))))
    }

    fn get(&self, key: &QuestionKey, now: i64) -> Option<Status> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, until) = *known.get(key)?;
        if until > now {
            return Some(status);
        }
        known.remove(key);
        None
    }

    fn put(&self, key: QuestionKey, status: Status, until: Option<i64>, now: i64) {
        let until = until.unwrap_or(now + ENDLESS);
        if until >= now {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(key, (status, until));
        }
    }
}

/// How a server asks about the certificates of its clients.
#[derive(Debug)]
pub struct Asks {
    /// Tells it from others in this process; none has the number 0.
    number: u64,
    /// `ssl_ocsp leaf`: about a client's own certificate alone.
    leaf: bool,
    /// `ssl_ocsp_responder`; none asks whom the certificates name.
    responder: Option<Responder>,
    known: Option<Arc<Known>>,
}

/// One question about a certificate of a client.
#[derive(Debug)]
pub struct Inquiry {
    /// What is asked; none where the certificates cannot be read.
    question: Option<Question>,
    /// Whom; none where there is nobody, and why.
    pub responder: Result<Responder, String>,
    /// Whether the responder is the configuration's and not the certificate's.
    pub configured: bool,
}

impl Asks {
    /// What `ssl_ocsp`, `ssl_ocsp_responder` and `ssl_ocsp_cache` say.
    #[must_use]
    pub fn new(leaf: bool, responder: Option<Responder>, known: Option<Arc<Known>>) -> Self {
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            leaf,
            responder,
            known,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What has to be asked about a client's certificates: those on the way to a trusted one, which itself is beyond doubt.
    pub(super) fn inquiries(&self, trust: &Trust, facts: &Facts) -> Vec<Inquiry> {
        let way = trust.way(&facts.chain);
        let most = if self.leaf { 1 } else { usize::MAX };
        let pairs = way.windows(2).take(most);
        pairs.map(|pair| self.inquiry(pair[0], pair[1])).collect()
    }

    fn inquiry(&self, cert: &[u8], issuer: &[u8]) -> Inquiry {
        let responder = match &self.responder {
            Some(responder) => Ok(responder.clone()),
            None => match certificate::responder(cert) {
                None => Err("no OCSP responder URL in certificate".to_owned()),
                Some(url) => Responder::of_url(&url).ok_or_else(|| {
                    format!("invalid URL prefix in OCSP responder \"{url}\" in certificate")
                }),
            },
        };
        Inquiry {
            question: Question::new(cert, issuer),
            responder,
            configured: self.responder.is_some(),
        }
    }

    /// What is remembered of an answer.
    pub fn known(&self, inquiry: &Inquiry, now: i64) -> Option<Status> {
        let (known, question) = (self.known.as_ref()?, inquiry.question.as_ref()?);
        known.get(&question.key(), now)
    }

    /// What an answer says, which is remembered; else what is wrong with it.
    pub fn answered(
        &self,
        inquiry: &Inquiry,
        answer: &[u8],
        now: i64,
    ) -> Result<Status, &'static str> {
        let unasked = "certificates cannot be asked about";
        let question = inquiry.question.as_ref().ok_or(unasked)?;
        let said = question.status(answer, true, now);
        let (status, until) = said.map_err(|worthless| worthless.text())?;
        if let Some(known) = &self.known {
            known.put(question.key(), status, until, now);
        }
        Ok(status)
    }
}

impl Inquiry {
    /// What is sent; nothing where the certificates cannot be read.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        self.question.as_ref().map_or(&[], |asked| &asked.request)
    }
}

/// What a status means for a client.
#[must_use]
pub fn flaw(status: Status) -> Option<Flaw> {
    match status {
        Status::Good => None,
        Status::Revoked => Some(Flaw::STATUS_REVOKED),
        Status::Unknown => Some(Flaw::STATUS_UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_remembered_while_they_hold_and_while_there_is_room() {
        let known = Known::new(2 * ANSWER_BYTES);
        let key = |n| [n; 20];
        known.put(key(1), Status::Revoked, Some(100), 50);
        known.put(key(2), Status::Good, None, 50);
        assert_eq!(known.get(&key(1), 99), Some(Status::Revoked));
        assert_eq!(known.get(&key(1), 100), None);
        assert_eq!(known.get(&key(1), 99), None, "it is gone");
        assert_eq!(known.get(&key(2), 50 + ENDLESS - 1), Some(Status::Good));
        known.put(key(3), Status::Good, Some(49), 50);
        assert_eq!(known.get(&key(3), 40), None, "it was over already");
        known.put(key(4), Status::Unknown, Some(100), 50);
        known.put(key(5), Status::Good, Some(100), 50);
        assert_eq!(known.get(&key(2), 60), None, "the oldest made room");
        assert_eq!(known.get(&key(4), 60), Some(Status::Unknown));
    }
}
