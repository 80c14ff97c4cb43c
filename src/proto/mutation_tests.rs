//! Realistic messages, broken a little at random: no input may panic, and where the input is cut never changes what comes out.
//! Seeded; `RINGX_MUTATIONS` asks for more rounds than the gate runs, `RINGX_SEED` for others.

use super::h1::body::{BodyDecoder, BodyError};
use super::h1::encode;
use super::h1::parse::{HeadLimits, Parsed, RequestParser, ResponseParser};
use super::head::{RequestHead, ResponseHead};
use super::{host, proxy_protocol, uri};
use crate::base::rng::Rng;
use crate::base::{cidr, size, time};

/// Bytes that mean something to one of the parsers.
const NASTY: &[u8] = b"\r\n\0 :;,/\t%.#?_-aA0159\x7f\x80\xff[]";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Hands `check` mutants of `seeds`, each with a place to cut it.
fn mutate(seeds: &[&[u8]], mut check: impl FnMut(&[u8], usize)) {
    let mut rng = Rng::new(setting("RINGX_SEED", 1));
    for _ in 0..setting("RINGX_MUTATIONS", 20_000) {
        let mut bytes = seeds[rng.below(seeds.len() as u64) as usize].to_vec();
        for _ in 0..rng.below(5) {
            mutate_once(&mut bytes, &mut rng);
        }
        let cut = rng.below(bytes.len() as u64 + 1) as usize;
        check(&bytes, cut);
    }
}

fn mutate_once(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.below(bytes.len() as u64) as usize;
    let nasty = NASTY[rng.below(NASTY.len() as u64) as usize];
    match rng.below(5) {
        0 => bytes[at] = nasty,
        1 => drop(bytes.remove(at)),
        2 => bytes.insert(at, nasty),
        3 => {
            let end = (at + rng.below(20) as usize).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = rng.below(bytes.len() as u64) as usize;
            bytes.splice(to..to, piece);
        }
        _ => bytes.truncate(at),
    }
}

#[test]
fn request_heads() {
    let seeds: [&[u8]; 3] = [
        b"GET /api/v1/items?limit=10 HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: M/5.0 (X; R)\r\nAccept: */*\r\n\
          Content-Length: 12\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\nCookie: a=b\r\n\r\nhello",
        b"\r\nPOST http://[::1]:80/a/..//b%20?x#y HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\nX_a: b\n\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\n\r\n",
    ];
    let limits = HeadLimits::default();
    let (mut whole, mut cut_head) = (RequestHead::default(), RequestHead::default());
    mutate(&seeds, |bytes, cut| {
        let shown = String::from_utf8_lossy(bytes);
        let (mut parser, mut other) = (RequestParser::new(), RequestParser::new());
        let result = parser.parse(bytes, &limits, &mut whole);
        let cut_result = match other.parse(&bytes[..cut], &limits, &mut cut_head) {
            Ok(Parsed::Incomplete) => other.parse(bytes, &limits, &mut cut_head),
            done => done,
        };
        // A broken line may be noticed early, or only once it is whole.
        if result.is_ok() || matches!(cut_result, Ok(Parsed::Complete(_))) {
            assert_eq!(result, cut_result, "{shown:?} {cut}");
        }
        match result {
            Ok(Parsed::Complete(len)) => {
                assert!(len <= bytes.len());
                assert_eq!(
                    format!("{whole:?}"),
                    format!("{cut_head:?}"),
                    "{shown:?} {cut}"
                );
                check_request(&whole);
            }
            Ok(Parsed::Incomplete) => {}
            Err(error) => {
                parser.describe(error, &whole, &mut Vec::new());
                whole.bytes(whole.line);
                whole.method_bytes();
            }
        }
    });
}

/// What every accepted head promises to those who forward it.
fn check_request(head: &RequestHead) {
    assert!(!(head.chunked && head.content_length.is_some()));
    for field in head.fields.iter() {
        assert!(encode::is_field_name(field.name));
        assert!(
            !field.value.iter().any(|b| b"\r\n\0".contains(b)),
            "{field:?}"
        );
    }
    for span in [
        head.line,
        head.protocol,
        head.target,
        head.scheme,
        head.authority,
        head.args,
        head.host,
    ] {
        head.bytes(span);
    }
    for merge in [true, false] {
        let mut path = Vec::new();
        if uri::normalize(head.bytes(head.path), merge, &mut path).is_ok() && !head.complex {
            assert_eq!(path, head.path_bytes(), "only complex paths change");
        }
    }
    let (mut together, mut one_by_one) = (Vec::new(), Vec::new());
    encode::fields(&mut together, &head.fields, |_| true);
    for field in head.fields.iter() {
        encode::field(&mut one_by_one, field.name, field.value);
    }
    assert_eq!(together, one_by_one);
}

#[test]
fn response_heads() {
    let seeds: [&[u8]; 2] = [
        b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: y\r\nContent-Length: 5\r\nSet-Cookie: a\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.0 404\nTransfer-Encoding: chunked\nContent-Type: a\nContent-Type: b\n\n0\r\n\r\n",
    ];
    let (mut whole, mut cut_head) = (ResponseHead::default(), ResponseHead::default());
    mutate(&seeds, |bytes, cut| {
        let shown = String::from_utf8_lossy(bytes);
        let (mut parser, mut other) = (ResponseParser::new(), ResponseParser::new());
        let result = parser.parse(bytes, 4096, &mut whole);
        let cut_result = match other.parse(&bytes[..cut], 4096, &mut cut_head) {
            Ok(Parsed::Incomplete) => other.parse(bytes, 4096, &mut cut_head),
            done => done,
        };
        if result.is_ok() || matches!(cut_result, Ok(Parsed::Complete(_))) {
            assert_eq!(result, cut_result, "{shown:?} {cut}");
        }
        match result {
            Ok(Parsed::Complete(_)) => assert_eq!(
                format!("{whole:?}"),
                format!("{cut_head:?}"),
                "{shown:?} {cut}"
            ),
            Ok(Parsed::Incomplete) => {}
            Err(error) => parser.describe(error, &whole, &mut Vec::new()),
        }
    });
}

/// Data, bytes used and whether the body is over, fed in two pieces.
fn decode(bytes: &[u8], cut: usize) -> Result<(Vec<u8>, usize, bool), BodyError> {
    let mut body = BodyDecoder::Chunked(Box::default());
    let mut data = Vec::new();
    let (used, done) = body.decode_into(&bytes[..cut], &mut data)?;
    if done {
        return Ok((data, used, true));
    }
    let (more, done) = body.decode_into(&bytes[cut..], &mut data)?;
    Ok((data, used + more, done))
}

#[test]
fn chunked_bodies() {
    let seeds: [&[u8]; 2] = [
        b"5;a=b\r\nhello\r\n1F\r\n0123456789012345678901234567890\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\nGET",
        b"0\r\n\r\n",
    ];
    mutate(&seeds, |bytes, cut| {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(
            decode(bytes, bytes.len()),
            decode(bytes, cut),
            "{shown:?} {cut}"
        );
    });
}

#[test]
fn small_grammars() {
    let seeds: [&[u8]; 8] = [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\nGET",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x14\x01\x02\x03\x04\x01\x02\x03\x04\x00\x01\x00\x02\x01\x00\x02h2\x20\x00\x00",
        b"/a/./b/../c//d%2e%2e/%25%41?x=y#z",
        b"Example.com.:8080",
        b"[2001:db8::1]:80",
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"2001:db8::/32",
        b"1w2d3h4m5s600ms",
    ];
    mutate(&seeds, |bytes, cut| {
        let part = &bytes[..cut];
        if let Ok(proxy_protocol::Decoded::Complete(header, len)) = proxy_protocol::decode(bytes) {
            assert!(len <= bytes.len());
            header
                .tlvs
                .iter()
                .for_each(|tlv| assert!(header.tlv(tlv.kind).is_some()));
            // A header that is not whole is never taken for one.
            if cut < len {
                assert_eq!(
                    proxy_protocol::decode(part),
                    Ok(proxy_protocol::Decoded::Incomplete)
                );
            }
        }
        let mut out = Vec::new();
        if uri::normalize(bytes, true, &mut out).is_ok() && bytes.starts_with(b"/") {
            assert!(!out.split(|&b| b == b'/').any(|segment| segment == b".."));
        }
        if let Ok(valid) = host::validate(part) {
            assert!((1..=part.len()).contains(&valid.len));
        }
        uri::parse_unsafe(part);
        time::parse_http_date(part);
        cidr::Cidr::parse(part);
        size::parse_msec(part);
        size::parse_offset(part);
    });
}
