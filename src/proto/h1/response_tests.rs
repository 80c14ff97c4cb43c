//! Tests of `response`: heads of origins, whole and cut at every byte.

use super::*;

fn parse_cut(
    input: &[u8],
    cuts: &[usize],
    max: usize,
) -> (Result<Parsed, ResponseError>, ResponseHead, ResponseParser) {
    let (mut parser, mut head) = (ResponseParser::new(), ResponseHead::default());
    for &cut in cuts {
        match parser.parse(&input[..cut], max, &mut head) {
            Ok(Parsed::Incomplete) => {}
            done => return (done, head, parser),
        }
    }
    (parser.parse(input, max, &mut head), head, parser)
}

fn parse(input: &str) -> (Result<Parsed, ResponseError>, ResponseHead) {
    let (result, head, _) = parse_cut(input.as_bytes(), &[], 4096);
    (result, head)
}

fn good(input: &str) -> ResponseHead {
    let (result, head) = parse(input);
    assert_eq!(result, Ok(Parsed::Complete(input.len())), "{input:?}");
    head
}

const TYPICAL: &str = "HTTP/1.1 200 OK\r\nServer: x\r\nDate: d\r\nContent-Type: text/html\r\ncontent-type: text/plain\r\n\
    Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 5\r\nX-Weird(name): y\r\nConnection: keep-alive\r\n\r\n";

#[test]
fn a_typical_head_at_every_cut() {
    let h = good(TYPICAL);
    assert_eq!(
        (h.status, h.version, h.content_length),
        (200, Version::Http11, Some(5))
    );
    assert_eq!(h.bytes(h.status_line), b"200 OK");
    assert_eq!(h.bytes(h.reason), b"OK");
    assert_eq!(
        h.fields.get_all(Token::CONTENT_TYPE).collect::<Vec<_>>(),
        [b"text/html"]
    );
    assert_eq!(h.ignored.len(), 1);
    assert_eq!(h.bytes(h.ignored[0]), b"content-type: text/plain");
    assert_eq!(h.fields.get_all(Token::SET_COOKIE).count(), 2);
    assert_eq!(h.fields.get_name(b"x-weird(name)"), Some(&b"y"[..]));
    assert!(h.wants_keep_alive() && !h.is_interim());
    let lf = TYPICAL.replace("\r\n", "\n");
    for input in [TYPICAL, &lf] {
        let bytes = [input.as_bytes(), b"hello"].concat();
        let (whole, expected, _) = parse_cut(&bytes, &[], 4096);
        assert_eq!(whole, Ok(Parsed::Complete(input.len())));
        let expected = format!("{expected:?}");
        for cut in 0..bytes.len() {
            let (result, head, _) = parse_cut(&bytes, &[cut], 4096);
            assert_eq!(
                (result, format!("{head:?}")),
                (whole, expected.clone()),
                "{cut}"
            );
        }
        let cuts: Vec<usize> = (0..bytes.len()).collect();
        let (result, head, _) = parse_cut(&bytes, &cuts, 4096);
        assert_eq!((result, format!("{head:?}")), (whole, expected));
    }
}

#[test]
fn status_lines() {
    for (line, status, text, version) in [
        ("HTTP/1.1 200 OK", 200, "200 OK", Version::Http11),
        (
            "HTTP/1.0 404 Not  Found ",
            404,
            "404 Not  Found ",
            Version::Http10,
        ),
        ("HTTP/1.1 200", 200, "200", Version::Http11),
        ("HTTP/1.1 200 ", 200, "200 ", Version::Http11),
        ("HTTP/1.1  299 \u{e9}", 299, "299 \u{e9}", Version::Http11),
        (
            "HTTP/1.1 403.1 Forbidden",
            403,
            "403.1 Forbidden",
            Version::Http11,
        ),
        ("HTTP/2.0 200 OK", 200, "200 OK", Version::Http11),
        ("HTTP/1.1 999 x", 999, "999 x", Version::Http11),
    ] {
        let h = good(&format!("{line}\r\n\r\n"));
        assert_eq!((h.status, h.version), (status, version), "{line}");
        assert_eq!(h.bytes(h.status_line), text.as_bytes(), "{line}");
    }
    for line in [
        "",
        " HTTP/1.1 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 x",
        "HTTP/1.1 000",
        "HTTP/1.1 20x OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1 200 OK",
        "HTTP/.1 200 OK",
        "HTTP/1. 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 -20 x",
        "ICY 200 OK",
        "hello",
        "HTTP/1111.1 200 x",
        "\x16\x03",
        "HTTP/1.1 200\tOK",
    ] {
        assert_eq!(
            parse(&format!("{line}\r\n\r\n")).0,
            Err(ResponseError::InvalidStatusLine),
            "{line:?}"
        );
    }
}

#[test]
fn framing_and_fields() {
    use ResponseError::*;
    for (fields, error) in [
        ("Content-Length: 5\r\nContent-Length: 5", DuplicateField),
        ("Content-Length: 5\r\nContent-Length: 6", DuplicateField),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            DuplicateField,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            LengthAndTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            LengthAndTransferEncoding,
        ),
        ("Transfer-Encoding: gzip", UnknownTransferEncoding),
        ("Transfer-Encoding: gzip, chunked", UnknownTransferEncoding),
        ("Transfer-Encoding: identity", UnknownTransferEncoding),
        ("Content-Length: x", InvalidContentLength),
        ("Content-Length: -5", InvalidContentLength),
        ("Content-Length: 5, 5", InvalidContentLength),
        ("Content-Length:", InvalidContentLength),
        ("A : b", InvalidField),
        (" A: b", InvalidField),
        ("A: b\r\n c", InvalidField),
        ("A: b\0", InvalidField),
        ("A: b\rc", InvalidField),
        (": b", InvalidField),
        ("HTTP/1.1 200 OK", InvalidField),
    ] {
        let input = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        assert_eq!(parse(&input).0, Err(error), "{fields:?}");
        let cuts: Vec<usize> = (0..input.len()).collect();
        assert_eq!(
            parse_cut(input.as_bytes(), &cuts, 4096).0,
            Err(error),
            "{fields:?}"
        );
    }
    assert!(good("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n").chunked);
    let interim =
        good("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n");
    assert!(interim.is_interim() && interim.content_length.is_none() && !interim.chunked);
    assert!(!good("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").wants_keep_alive());
    assert!(
        !good("HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n")
            .wants_keep_alive()
    );
    let upgraded = good("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(upgraded.upgrade && !upgraded.is_interim());
    assert_eq!(parse("HTTP/1.0 103 x\r\n\r\n").0, Err(EarlyHintsInHttp10));
}

#[test]
fn heads_fit_the_buffer_or_fail() {
    let input = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(100));
    let len = input.len();
    for (max, expected) in [
        (len, Ok(Parsed::Complete(len))),
        (len + 1, Ok(Parsed::Complete(len))),
        (len - 1, Err(ResponseError::TooBig)),
        (10, Err(ResponseError::TooBig)),
    ] {
        assert_eq!(parse_cut(input.as_bytes(), &[], max).0, expected, "{max}");
        let cuts: Vec<usize> = (0..len).collect();
        assert_eq!(
            parse_cut(input.as_bytes(), &cuts, max).0,
            expected,
            "{max} bytewise"
        );
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(1001));
    assert_eq!(
        parse_cut(many.as_bytes(), &[], 1 << 20).0,
        Err(ResponseError::TooBig)
    );
}

#[test]
fn errors_say_what_nginx_says() {
    for (fields, expected) in [
        ("A B: c", "upstream sent invalid header: \"A\\x20...\""),
        (
            "Content-Length: x",
            "upstream sent invalid \"Content-Length\" header: \"Content-Length: x\"",
        ),
        (
            "Transfer-Encoding: gzip",
            "upstream sent unknown \"Transfer-Encoding\": \"gzip\"",
        ),
    ] {
        let input = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        let (result, head, parser) = parse_cut(input.as_bytes(), &[], 4096);
        let mut out = Vec::new();
        parser.describe(result.unwrap_err(), &head, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

#[test]
fn random_heads_never_panic_and_cuts_never_matter() {
    let words: [&[u8]; 20] = [
        b"HTTP/1.1 ",
        b"200",
        b" OK",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"A: b",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b":",
        b" ",
        b"\0",
        b"Date: x",
        b"\r\n\r\n",
        b"HTTP/1.0 ",
        b"100",
        b"\t",
        b".",
        b"Connection: close",
    ];
    let mut rng = crate::base::rng::Rng::new(21);
    for round in 0..60_000 {
        let mut input = if round % 2 == 0 {
            b"HTTP/1.1 200 OK\r\n".to_vec()
        } else {
            Vec::new()
        };
        (0..rng.below(10)).for_each(|_| input.extend_from_slice(words[rng.below(20) as usize]));
        let (whole, head, _) = parse_cut(&input, &[], 100);
        let cuts: Vec<usize> = (0..input.len()).collect();
        let (bytewise, other, _) = parse_cut(&input, &cuts, 100);
        // Bytewise, a bad line is looked at only once it is whole, and may be too big before that.
        if whole.is_ok() || matches!(bytewise, Ok(Parsed::Complete(_))) {
            assert_eq!(whole, bytewise, "{:?}", String::from_utf8_lossy(&input));
        }
        if let Ok(Parsed::Complete(_)) = whole {
            assert_eq!(format!("{head:?}"), format!("{other:?}"));
        }
    }
}
