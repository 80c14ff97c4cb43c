//! What must hold for any bytes, one function for each parser. The gate runs them on seeded cases (`tests/properties.rs`),
//! cargo-fuzz runs them on whatever it finds (`tests/fuzz`).

use ringx::config::source::Source;
use ringx::config::{self, Identity};
use ringx::proto::dns::{self, Query};
use ringx::proto::fastcgi::{self, Answer, HeadStep};
use ringx::proto::h1::body::{BodyDecoder, BodyError, BodyStep};
use ringx::proto::h1::parse::{HeadLimits, Parsed, RequestParser, ResponseParser};
use ringx::proto::head::{Fields, RequestHead, ResponseHead};
use ringx::proto::{host, proxy_protocol, uri};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Large enough for every case of the gate.
const RESPONSE_HEAD_MAX: usize = 4096;

/// One head, however it is cut: the same verdict, and nothing in it that could be read in two ways.
pub fn request(data: &[u8]) {
    let limits = HeadLimits::default();
    let mut head = RequestHead::default();
    let whole = RequestParser::new().parse(data, &limits, &mut head);
    if let Ok(Parsed::Complete(length)) = whole {
        assert!(length <= data.len());
        assert!(!(head.chunked && head.content_length.is_some()));
        clean(&head.fields);
        assert!(
            head.path_bytes()
                .first()
                .is_none_or(|b| *b == b'/' || *b == b'*'),
            "a path starts at the root"
        );
    }
    let mut piecewise = RequestHead::default();
    let mut parser = RequestParser::new();
    let cut = first(data.len(), |n| {
        match parser.parse(&data[..n], &limits, &mut piecewise) {
            Ok(Parsed::Incomplete) => None,
            verdict => Some(verdict),
        }
    });
    match cut {
        // Without a line end a fault may be told later than it could be.
        None => assert!(!matches!(whole, Ok(Parsed::Complete(_)))),
        Some(verdict) => assert_eq!(verdict, whole),
    }
}

/// As [`request`], for what an origin sends.
pub fn response(data: &[u8]) {
    let mut head = ResponseHead::default();
    let whole = ResponseParser::new().parse(data, RESPONSE_HEAD_MAX, &mut head);
    if let Ok(Parsed::Complete(length)) = whole {
        assert!(length <= data.len());
        assert!((100..1000).contains(&head.status));
        assert!(!(head.chunked && head.content_length.is_some()));
        clean(&head.fields);
    }
    let mut piecewise = ResponseHead::default();
    let mut parser = ResponseParser::new();
    let cut = first(data.len(), |n| {
        match parser.parse(&data[..n], RESPONSE_HEAD_MAX, &mut piecewise) {
            Ok(Parsed::Incomplete) => None,
            verdict => Some(verdict),
        }
    });
    match cut {
        None => assert!(!matches!(whole, Ok(Parsed::Complete(_)))),
        Some(verdict) => assert_eq!(verdict, whole),
    }
}

/// The first answer of `ask` for a length from 1 to `all`.
fn first<T>(all: usize, ask: impl FnMut(usize) -> Option<T>) -> Option<T> {
    (1..=all).find_map(ask)
}

/// No field could end a line early.
fn clean(fields: &Fields) {
    for field in fields.iter() {
        let text = [field.name, field.value].concat();
        assert!(!text.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        assert!(!field.name.is_empty() && !field.name.contains(&b':'));
    }
}

/// A chunked body: the same data and the same end whether it comes at once or byte by byte.
pub fn chunked(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    assert_eq!(decode(data, 1), whole);
    assert_eq!(decode(data, 3), whole);
    if let Ok((body, _)) = &whole {
        assert!(body.len() <= data.len());
    }
}

/// The data, and where the body ended if it did.
type Decoded = Result<(Vec<u8>, Option<usize>), BodyError>;

fn decode(data: &[u8], step: usize) -> Decoded {
    let mut decoder = BodyDecoder::Chunked(Box::default());
    let mut body = Vec::new();
    let mut at = 0;
    for piece in data.chunks(step) {
        let (used, done) = decoder.decode_into(piece, &mut body)?;
        assert!(used <= piece.len());
        if done {
            return Ok((body, Some(at + used)));
        }
        assert_eq!(used, piece.len(), "what is no end is consumed");
        at += piece.len();
    }
    Ok((body, None))
}

/// An answer over FastCGI: the same head, body and end whether it comes at once or byte by byte.
pub fn fastcgi_answer(data: &[u8]) {
    for keep in [false, true] {
        let whole = take_apart(data, data.len().max(1), keep);
        for step in [1, 7] {
            let cut = take_apart(data, step, keep);
            match &whole {
                Ok(whole) => assert_eq!(cut.as_ref(), Ok(whole)),
                // Without a line end a fault may be told later than it could be.
                Err(_) => assert!(!cut.is_ok_and(|(_, _, done)| done)),
            }
        }
    }
}

/// Status, body, and whether the end was reached.
fn take_apart(
    data: &[u8],
    step: usize,
    keep: bool,
) -> Result<(u16, Vec<u8>, bool), fastcgi::Error> {
    let mut answer = Answer::default();
    answer.reset(keep);
    let mut head = ResponseHead::default();
    let mut body = Vec::new();
    let mut in_body = false;
    for piece in data.chunks(step) {
        let mut at = 0;
        if !in_body {
            match answer.head(piece, RESPONSE_HEAD_MAX, &mut head)? {
                HeadStep::More => continue,
                HeadStep::Done(used) => at = used,
            }
            assert!((200..1000).contains(&head.status));
            clean(&head.fields);
            answer.expect(head.content_length);
            in_body = true;
        }
        loop {
            match answer.step(&piece[at..])? {
                BodyStep::Data { from, to } => {
                    assert!(from < to && at + to <= piece.len());
                    body.extend_from_slice(&piece[at + from..at + to]);
                    at += to;
                }
                BodyStep::More => break,
                BodyStep::Done(len) => {
                    assert!(at + len <= piece.len());
                    assert!(
                        answer.has_excess()
                            || head.content_length.is_none_or(|n| n == body.len() as u64)
                    );
                    return Ok((head.status, body, true));
                }
            }
        }
    }
    let status = if in_body { head.status } else { 0 };
    Ok((status, body, false))
}

/// A normal form has no dot segments, no NUL, and (where wished) no empty segments; a host has one spelling.
pub fn path(data: &[u8]) {
    for merge in [true, false] {
        let mut out = b"kept".to_vec();
        if uri::normalize(data, merge, &mut out).is_err() {
            assert_eq!(out, b"kept");
            continue;
        }
        let normal = &out[4..];
        assert!(data.contains(&0) || !normal.contains(&0));
        if data.first() == Some(&b'/') {
            assert_eq!(normal.first(), Some(&b'/'));
            for (n, segment) in normal.split(|b| *b == b'/').enumerate() {
                assert!(segment != b"..", "{:?}", String::from_utf8_lossy(normal));
                assert!(segment != b"." || n == 0);
            }
            assert!(!merge || !normal.windows(2).any(|w| w == b"//"));
        }
    }
    let mut once = Vec::new();
    if host::normalize(data, &mut once).is_ok() {
        assert!(!once.iter().any(|b| b.is_ascii_uppercase() || *b < 0x21));
    }
    let _ = uri::parse_unsafe(data);
    let _ = uri::arg(data, b"a");
}

/// A PROXY header ends where it says, and a shorter reading of it is only incomplete.
pub fn proxy_header(data: &[u8]) {
    let Ok(proxy_protocol::Decoded::Complete(header, length)) = proxy_protocol::decode(data) else {
        return;
    };
    assert!(length <= data.len());
    for cut in 0..length {
        let early = proxy_protocol::decode(&data[..cut]);
        assert_eq!(early, Ok(proxy_protocol::Decoded::Incomplete));
    }
    let _ = header.tlv(2);
    let _ = header.tlv_named(b"ssl_cn");
}

/// An answer of a name server is taken or refused.
pub fn dns_answer(data: &[u8]) {
    for query in [Query::A, Query::Srv, Query::Ptr] {
        let _ = dns::decode_answer(data, b"name.example", query);
    }
}

/// A configuration gives a model or at least one reason why not, in both languages.
pub fn configuration(data: &[u8]) {
    for file in ["/main.conf", "/main.toml"] {
        let source = One(data.into());
        let path = Path::new(file);
        let loaded = config::load(&source, path, Path::new("/"), None, Identity::Ringx);
        assert!(loaded.model.is_some() || !loaded.diags.is_empty());
    }
}

/// Two files with the same bytes, for the two readers; includes find nothing.
struct One(Arc<[u8]>);

impl Source for One {
    fn read(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        match path.to_str() {
            Some("/main.conf" | "/main.toml") => Ok(Arc::clone(&self.0)),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn glob(&self, _pattern: &str) -> Vec<PathBuf> {
        Vec::new()
    }
}
