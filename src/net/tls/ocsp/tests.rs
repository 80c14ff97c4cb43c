//! Answers are made here, by authorities that are made here.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SigningKey,
};

use super::*;

const NOW: i64 = 1_800_000_000;
const ECDSA_SHA256: &[u8] = &[SEQUENCE, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const GOOD: &[u8] = &[0x80, 0];
const UNKNOWN: &[u8] = &[0x82, 0];
const REVOKED: &[u8] = b"\xa1\x11\x18\x0f20240101000000Z";

struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate and its key, good for answers or not.
    fn sign(&self, for_answers: bool) -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = params("leaf");
        if for_answers {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        }
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.der().to_vec(), key)
    }
}

fn element_of(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, tag, contents);
    out
}

/// What is said of a certificate: its status, since when, and until when.
fn said(question: &Question, status: &[u8], from: &str, until: Option<&str>) -> Vec<u8> {
    let id = sequence(&[SHA1, &question.id].concat());
    let until = until.map_or_else(Vec::new, |until| {
        element_of(CONTEXT, &element_of(TIME, until.as_bytes()))
    });
    let one = [&id, status, &element_of(TIME, from.as_bytes()), &until].concat();
    let by = element_of(0xa2, &element_of(OCTETS, &[7; 20]));
    let made = element_of(TIME, b"20270115080000Z");
    sequence(&[by, made, sequence(&sequence(&one))].concat())
}

/// A whole answer.
fn answer(body: &[u8], key: &impl SigningKey, brought: &[&[u8]]) -> Vec<u8> {
    let signature = [&[0][..], &key.sign(body).unwrap()].concat();
    let mut basic = [body, ECDSA_SHA256, &element_of(3, &signature)].concat();
    if !brought.is_empty() {
        basic.extend(element_of(CONTEXT, &sequence(&brought.concat())));
    }
    let bytes = [element_of(6, BASIC), element_of(OCTETS, &sequence(&basic))].concat();
    let bytes = element_of(CONTEXT, &sequence(&bytes));
    sequence(&[vec![ENUMERATED, 1, 0], bytes].concat())
}

const BEFORE: &str = "20270115075000Z";
const LATER: &str = "20270116080000Z";
const LATER_SECONDS: i64 = 1_800_086_400;

#[test]
fn an_answer_is_worth_what_its_signer_its_status_and_its_time_say() {
    let (authority, other) = (Authority::new("a"), Authority::new("b"));
    let (leaf, _) = authority.sign(false);
    assert!(is_issuer(&leaf, &authority.der) && !is_issuer(&leaf, &other.der));
    let question = Question::new(&leaf, &authority.der).unwrap();
    let good = said(&question, GOOD, BEFORE, Some(LATER));
    let (delegate, delegate_key) = authority.sign(true);
    let (plain, plain_key) = authority.sign(false);
    let (stranger, stranger_key) = other.sign(true);
    let own = authority.issuer.key();
    let judge = |answer: &[u8], strict| question.judge(answer, strict, NOW);
    let fine = Ok(Some(LATER_SECONDS));
    for strict in [true, false] {
        assert_eq!(judge(&answer(&good, own, &[]), strict), fine);
        let by = answer(&good, &delegate_key, &[&plain, &delegate]);
        assert_eq!(judge(&by, strict), fine);
        // Signed by nobody who is known, and by a key that does not fit.
        for (key, brought) in [(&delegate_key, &[][..]), (&plain_key, &[&delegate[..]][..])] {
            let by = answer(&good, key, brought);
            assert_eq!(judge(&by, strict), Err(Worthless::Unsigned));
        }
        // Anybody may have signed what clients verify.
        for (cert, key) in [(&plain, &plain_key), (&stranger, &stranger_key)] {
            let by = answer(&good, key, &[cert]);
            let expected = if strict {
                Err(Worthless::Unsigned)
            } else {
                fine
            };
            assert_eq!(judge(&by, strict), expected);
        }
    }
    for (status, from, until, expected) in [
        (REVOKED, BEFORE, Some(LATER), Err(Worthless::Revoked)),
        (UNKNOWN, BEFORE, Some(LATER), Err(Worthless::Unknown)),
        (GOOD, LATER, None, Err(Worthless::Untimely)),
        (
            GOOD,
            BEFORE,
            Some("20270115075400Z"),
            Err(Worthless::Untimely),
        ),
        (
            GOOD,
            BEFORE,
            Some("20270115074900Z"),
            Err(Worthless::Untimely),
        ),
        (GOOD, "20270115080459Z", None, Ok(None)),
        (GOOD, BEFORE, Some("20270115075501Z"), Ok(Some(NOW - 299))),
        (GOOD, "yesterday", None, Err(Worthless::Unreadable)),
    ] {
        let body = said(&question, status, from, until);
        assert_eq!(
            judge(&answer(&body, own, &[]), true),
            expected,
            "{from} {until:?}"
        );
    }
    let (second, _) = authority.sign(false);
    let about_another = Question::new(&second, &authority.der).unwrap();
    let body = said(&about_another, GOOD, BEFORE, None);
    assert_eq!(
        judge(&answer(&body, own, &[]), true),
        Err(Worthless::Absent)
    );
}

#[test]
fn broken_answers_are_worthless() {
    let authority = Authority::new("a");
    let (leaf, _) = authority.sign(false);
    let question = Question::new(&leaf, &authority.der).unwrap();
    let body = said(&question, GOOD, BEFORE, None);
    let whole = answer(&body, authority.issuer.key(), &[]);
    assert_eq!(question.judge(&whole, true, NOW), Ok(None));
    for cut in 0..whole.len() {
        assert!(question.judge(&whole[..cut], true, NOW).is_err(), "{cut}");
        let mut other = whole.clone();
        other[cut] ^= 0x41;
        // Whatever it is then: no panic, and nothing that nobody signed.
        let _ = question.judge(&other, false, NOW);
    }
    let busy = [SEQUENCE, 3, ENUMERATED, 1, 3];
    assert_eq!(question.judge(&busy, true, NOW), Err(Worthless::Refused(3)));
    assert!(Question::new(&leaf, b"no certificate").is_none());
}
