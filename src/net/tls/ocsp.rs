//! What an authority says of a certificate of ours (OCSP, RFC 6960): the question, and what an answer to it is worth. Bytes
//! in, values out; who asks whom, and when, is decided elsewhere. Start at [`Question::new`] and [`Question::judge`].

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use x509_parser::asn1_rs::GeneralizedTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::der::{self, Signed, element, expect};

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// What stands in `[0]`, `[1]` and so on.
const CONTEXT: u8 = 0xa0;

/// The identifier of SHA-1, which names a certificate here and protects nothing.
const SHA1: &[u8] = &[SEQUENCE, 9, 6, 5, 0x2b, 14, 3, 2, 26, 5, 0];

/// `id-pkix-ocsp-basic`.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1];

/// Seconds that clocks may differ, as with nginx.
const SKEW: i64 = 300;

/// Certificates in an answer that are looked at.
const SIGNERS_MAX: usize = 8;

/// Why an answer is worth nothing, in nginx's words where it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worthless {
    /// It is no answer.
    Unreadable,
    /// The responder could not answer.
    Refused(u8),
    /// It says nothing of this certificate.
    Absent,
    /// The certificate was taken back.
    Revoked,
    /// The responder does not know the certificate.
    Unknown,
    /// Its time is not now.
    Untimely,
    /// Nobody who may has signed it.
    Unsigned,
}

impl Worthless {
    /// What a log says.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Unreadable => "d2i_OCSP_RESPONSE() failed",
            Self::Refused(1) => "OCSP response not successful (1: malformedrequest)",
            Self::Refused(2) => "OCSP response not successful (2: internalerror)",
            Self::Refused(3) => "OCSP response not successful (3: trylater)",
            Self::Refused(5) => "OCSP response not successful (5: sigrequired)",
            Self::Refused(6) => "OCSP response not successful (6: unauthorized)",
            Self::Refused(_) => "OCSP response not successful",
            Self::Absent => "certificate status not found in the OCSP response",
            Self::Revoked => "certificate status \"revoked\" in the OCSP response",
            Self::Unknown => "certificate status \"unknown\" in the OCSP response",
            Self::Untimely => "OCSP_check_validity() failed",
            Self::Unsigned => "OCSP_basic_verify() failed",
        }
    }
}

/// What a responder says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was not taken back.
    Good,
    /// It was.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// A certificate and who signed it.
#[derive(Debug)]
pub struct Question {
    issuer: Vec<u8>,
    /// The digests of the issuer's name and key, and the serial number, each with its header.
    id: Vec<u8>,
    /// What is sent.
    pub request: Vec<u8>,
}

/// What stands for a question: the digest of its identifier.
pub type QuestionKey = [u8; 20];

/// Appends an element.
fn put(out: &mut Vec<u8>, tag: u8, contents: &[u8]) {
    out.push(tag);
    let len = contents.len();
    match len {
        0..0x80 => out.push(len as u8),
        0x80..0x100 => out.extend_from_slice(&[0x81, len as u8]),
        _ => out.extend_from_slice(&[0x82, (len >> 8) as u8, len as u8]),
    }
    out.extend_from_slice(contents);
}

fn sequence(contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(contents.len() + 4);
    put(&mut out, SEQUENCE, contents);
    out
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, cert)| cert)
}

/// Whether the second certificate signed the first.
#[must_use]
pub fn is_issuer(cert: &[u8], issuer: &[u8]) -> bool {
    let (Some(own), Some(above)) = (parse(cert), parse(issuer)) else {
        return false;
    };
    own.tbs_certificate.issuer.as_raw() == above.tbs_certificate.subject.as_raw()
        && Signed::read(cert).is_some_and(|signed| signed.by(above.public_key().raw))
}

impl Question {
    /// Asks about a certificate; none where one of the two cannot be read.
    #[must_use]
    pub fn new(cert: &[u8], issuer: &[u8]) -> Option<Self> {
        let (own, above) = (parse(cert)?, parse(issuer)?);
        let (_, key) = der::key_of(above.public_key().raw)?;
        let hash = |bytes| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
        let mut id = Vec::new();
        let name = hash(above.tbs_certificate.subject.as_raw());
        put(&mut id, OCTETS, name.as_ref());
        put(&mut id, OCTETS, hash(key).as_ref());
        put(&mut id, INTEGER, own.raw_serial());
        let named = sequence(&[SHA1, &id].concat());
        // The identifier in a request, in the list of them, in what may be signed, in the message.
        let request = sequence(&sequence(&sequence(&sequence(&named))));
        Some(Self {
            issuer: issuer.to_vec(),
            id,
            request,
        })
    }

    /// What stands for it where answers are kept.
    #[must_use]
    pub fn key(&self) -> QuestionKey {
        let found = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.id);
        let mut key = QuestionKey::default();
        key.copy_from_slice(found.as_ref());
        key
    }

    /// Until when an answer that says "good" holds, in seconds of Unix time; none for ever. With `strict` whoever signed it
    /// must be the issuer, or have its order to do so; without, any certificate that it brings along will do, as with
    /// nginx: then clients are those who verify it.
    pub fn judge(&self, answer: &[u8], strict: bool, now: i64) -> Result<Option<i64>, Worthless> {
        match self.status(answer, strict, now)? {
            (Status::Good, until) => Ok(until),
            (Status::Revoked, _) => Err(Worthless::Revoked),
            (Status::Unknown, _) => Err(Worthless::Unknown),
        }
    }

    /// What an answer says, and until when; otherwise as [`Self::judge`].
    pub fn status(
        &self,
        answer: &[u8],
        strict: bool,
        now: i64,
    ) -> Result<(Status, Option<i64>), Worthless> {
        let basic = basic(answer)?;
        let signed = Signed::read(basic).ok_or(Worthless::Unreadable)?;
        if !self.signed(basic, &signed, strict, now) {
            return Err(Worthless::Unsigned);
        }
        let said = self.said(signed.body)?.ok_or(Worthless::Absent)?;
        let (kind, _, _, rest) = element(said).ok_or(Worthless::Unreadable)?;
        let status = match kind {
            0x80 => Status::Good,
            0xa1 => Status::Revoked,
            _ => Status::Unknown,
        };
        let (from, rest) = time(rest).ok_or(Worthless::Unreadable)?;
        let until = match expect(rest, CONTEXT) {
            Some((inside, _)) => Some(time(inside).ok_or(Worthless::Unreadable)?.0),
            None => None,
        };
        let late = until.is_some_and(|until| until < now - SKEW || until < from);
        if from > now + SKEW || late {
            return Err(Worthless::Untimely);
        }
        Ok((status, until))
    }

    /// What follows the identifier of our certificate in the list of what is said.
    fn said<'a>(&self, body: &'a [u8]) -> Result<Option<&'a [u8]>, Worthless> {
        let list = (|| {
            let (mut rest, _) = expect(body, SEQUENCE)?;
            // The version, which may be left out.
            if let Some((_, after)) = expect(rest, CONTEXT) {
                rest = after;
            }
            // Who says it, and when.
            let (_, _, _, rest) = element(rest)?;
            let (_, rest) = expect(rest, TIME)?;
            expect(rest, SEQUENCE).map(|(list, _)| list)
        })();
        let mut list = list.ok_or(Worthless::Unreadable)?;
        while !list.is_empty() {
            let (one, rest) = expect(list, SEQUENCE).ok_or(Worthless::Unreadable)?;
            list = rest;
            let (id, status) = expect(one, SEQUENCE).ok_or(Worthless::Unreadable)?;
            let (_, _, _, id) = element(id).ok_or(Worthless::Unreadable)?;
            if *id == *self.id {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    fn signed(&self, basic: &[u8], signed: &Signed<'_>, strict: bool, now: i64) -> bool {
        let by = |der: &[u8]| parse(der).is_some_and(|cert| signed.by(cert.public_key().raw));
        let mut brought = brought(basic).unwrap_or_default().into_iter();
        by(&self.issuer) || brought.any(|der| by(der) && (!strict || self.delegates(der, now)))
    }

    /// Whether the issuer made this certificate for answers like these.
    fn delegates(&self, der: &[u8], now: i64) -> bool {
        let Some(cert) = parse(der) else { return false };
        let times = cert.validity();
        let mut all = cert.extensions().iter().map(|one| one.parsed_extension());
        all.any(
            |one| matches!(one, ParsedExtension::ExtendedKeyUsage(use_of) if use_of.ocsp_signing),
        ) && (times.not_before.timestamp()..=times.not_after.timestamp()).contains(&now)
            && is_issuer(der, &self.issuer)
    }
}

/// The answer proper.
fn basic(answer: &[u8]) -> Result<&[u8], Worthless> {
    let wrong = Worthless::Unreadable;
    let (inside, _) = expect(answer, SEQUENCE).ok_or(wrong)?;
    let (status, rest) = expect(inside, ENUMERATED).ok_or(wrong)?;
    match status {
        [0] => {}
        [code] => return Err(Worthless::Refused(*code)),
        _ => return Err(wrong),
    }
    let found = (|| {
        let (bytes, _) = expect(rest, CONTEXT)?;
        let (bytes, _) = expect(bytes, SEQUENCE)?;
        let (kind, rest) = expect(bytes, 6)?;
        let (basic, _) = expect(rest, OCTETS)?;
        (kind == BASIC).then_some(basic)
    })();
    found.ok_or(wrong)
}

/// The certificates that an answer brings along.
fn brought(basic: &[u8]) -> Option<Vec<&[u8]>> {
    let (inside, _) = expect(basic, SEQUENCE)?;
    // What is signed, how, and the signature.
    let (_, _, _, rest) = element(inside)?;
    let (_, _, _, rest) = element(rest)?;
    let (_, _, _, rest) = element(rest)?;
    let (list, _) = expect(rest, CONTEXT)?;
    let (mut list, _) = expect(list, SEQUENCE)?;
    let mut all = Vec::new();
    while !list.is_empty() && all.len() < SIGNERS_MAX {
        let (_, _, whole, rest) = element(list)?;
        all.push(whole);
        list = rest;
    }
    Some(all)
}

/// A time, in seconds of Unix time, and what follows.
fn time(input: &[u8]) -> Option<(i64, &[u8])> {
    let (_, _, whole, rest) = element(input)?;
    let (_, time) = GeneralizedTime::from_der(whole).ok()?;
    Some((time.utc_datetime().ok()?.unix_timestamp(), rest))
}

#[cfg(test)]
mod tests;
