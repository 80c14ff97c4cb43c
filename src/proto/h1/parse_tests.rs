//! Tests of `parse`: request heads as nginx takes or refuses them, whole and cut at every byte.

use super::*;
use crate::proto::head::Method;

/// Parses `input` as it grows at `cuts`.
fn parse_cut(
    input: &[u8],
    cuts: &[usize],
    limits: &HeadLimits,
) -> (Result<Parsed, RequestError>, RequestHead, RequestParser) {
    let (mut parser, mut head) = (RequestParser::new(), RequestHead::default());
    for &cut in cuts {
        match parser.parse(&input[..cut], limits, &mut head) {
            Ok(Parsed::Incomplete) => {}
            done => return (done, head, parser),
        }
    }
    (parser.parse(input, limits, &mut head), head, parser)
}

fn parse(input: &str) -> (Result<Parsed, RequestError>, RequestHead) {
    let (result, head, _) = parse_cut(input.as_bytes(), &[], &HeadLimits::default());
    (result, head)
}

fn good(input: &str) -> RequestHead {
    let (result, head) = parse(input);
    assert_eq!(result, Ok(Parsed::Complete(input.len())), "{input:?}");
    head
}

fn text(head: &RequestHead, span: Span) -> &str {
    std::str::from_utf8(head.bytes(span)).unwrap()
}

const TYPICAL: &str = "POST /api/v1/items?limit=10&q=a%20b HTTP/1.1\r\nHost: www.Example.com:8080\r\nUser-Agent: Mozilla/5.0\r\n\
    Accept:   text/html,*/*  \r\nX-Custom:1\r\ncookie: a=b\r\nCookie: c=d\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\
    Content-Length: 0012\r\nExpect: 100-Continue\r\nX-Empty:\r\n\r\n";

#[test]
fn a_typical_head() {
    let h = good(TYPICAL);
    assert_eq!(h.method, Method::Post);
    assert_eq!(text(&h, h.method_name), "POST");
    assert_eq!(
        text(&h, h.line),
        "POST /api/v1/items?limit=10&q=a%20b HTTP/1.1"
    );
    assert_eq!(text(&h, h.target), "/api/v1/items?limit=10&q=a%20b");
    assert_eq!(text(&h, h.uri), "/api/v1/items?limit=10&q=a%20b");
    assert_eq!(text(&h, h.path), "/api/v1/items");
    assert_eq!(text(&h, h.args), "limit=10&q=a%20b");
    assert_eq!(text(&h, h.protocol), "HTTP/1.1");
    assert_eq!(text(&h, h.host), "www.Example.com:8080");
    assert_eq!(h.server_host(), b"www.Example.com:8080");
    assert!(h.has_args && !h.complex && !h.quoted && !h.plus && h.authority.is_empty());
    assert_eq!(
        (h.version, h.content_length, h.chunked),
        (Version::Http11, Some(12), false)
    );
    assert!(h.upgrade && h.expect_100 && h.wants_keep_alive() && h.has_body());
    assert_eq!(h.connection, ConnectionWish::KeepAlive);
    assert_eq!(h.fields.get(Token::ACCEPT), Some(&b"text/html,*/*"[..]));
    assert_eq!(h.fields.get_name(b"x-custom"), Some(&b"1"[..]));
    assert_eq!(h.fields.get_name(b"x-empty"), Some(&b""[..]));
    assert_eq!(
        h.fields.get_all(Token::COOKIE).collect::<Vec<_>>(),
        [b"a=b", b"c=d"]
    );
    assert_eq!(h.fields.len(), 11);
    assert_eq!(h.wire_len as usize, TYPICAL.len());
    assert!(h.connection_names(b"upgrade") && !h.connection_names(b"keep"));
}

#[test]
fn every_cut_gives_the_same_head() {
    let lf = TYPICAL.replace("\r\n", "\n");
    let absolute = "\r\n\nGET http://H:81/a/../b?c#d HTTP/1.0\r\nX: y\r\nHost: other\r\n\r\n";
    for input in [
        TYPICAL,
        &lf,
        absolute,
        "GET /old\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let bytes = [input.as_bytes(), b"rest"].concat();
        let limits = HeadLimits::default();
        let (whole, expected, _) = parse_cut(&bytes, &[], &limits);
        assert_eq!(whole, Ok(Parsed::Complete(input.len())), "{input:?}");
        let expected = format!("{expected:?}");
        for cut in 0..bytes.len() {
            let (result, head, _) = parse_cut(&bytes, &[cut], &limits);
            assert_eq!(
                (result, format!("{head:?}")),
                (whole, expected.clone()),
                "{input:?} {cut}"
            );
        }
        let all: Vec<usize> = (0..bytes.len()).collect();
        let (result, head, _) = parse_cut(&bytes, &all, &limits);
        assert_eq!(
            (result, format!("{head:?}")),
            (whole, expected),
            "{input:?} bytewise"
        );
    }
}

#[test]
fn targets() {
    for (target, uri, path, args, complex) in [
        ("/", "/", "/", "", false),
        ("/a/b.c", "/a/b.c", "/a/b.c", "", false),
        ("/a?", "/a?", "/a", "", false),
        ("/a?b?c", "/a?b?c", "/a", "b?c", false),
        (
            "/a?b/../c//d%00",
            "/a?b/../c//d%00",
            "/a",
            "b/../c//d%00",
            false,
        ),
        ("/a//b", "/a//b", "/a//b", "", true),
        ("/a/./b", "/a/./b", "/a/./b", "", true),
        ("/.well-known", "/.well-known", "/.well-known", "", true),
        ("/a%20", "/a%20", "/a%20", "", true),
        ("/a#f", "/a#f", "/a", "", true),
        ("/a#f?g", "/a#f?g", "/a", "", true),
        ("/a?b#f?g", "/a?b#f?g", "/a", "b", true),
        ("/a+b", "/a+b", "/a+b", "", false),
        (
            "/\u{e9}\"<>\\^`{|}",
            "/\u{e9}\"<>\\^`{|}",
            "/\u{e9}\"<>\\^`{|}",
            "",
            false,
        ),
        ("http://h", "/", "/", "", false),
        ("http://h/", "/", "/", "", false),
        ("http://h:80/a?b", "/a?b", "/a", "b", false),
        ("http://h?b=c", "?b=c", "", "b=c", true),
        ("HtTpS+x.1-y://[::1]:/a", "/a", "/a", "", false),
    ] {
        let h = good(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(text(&h, h.target), target);
        assert_eq!(text(&h, h.uri), uri, "{target}");
        assert_eq!(text(&h, h.path), path, "{target}");
        assert_eq!(text(&h, h.args), args, "{target}");
        assert_eq!(h.complex, complex, "{target}");
        assert_eq!(h.empty_path, path.is_empty());
    }
    let h = good("GET http://User.Example:81/a HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(text(&h, h.authority), "User.Example:81");
    assert_eq!(h.server_host(), b"User.Example:81");
    assert_eq!(text(&h, h.scheme), "http");
    let h = good("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(
        (h.method, text(&h, h.authority), text(&h, h.uri)),
        (Method::Connect, "h:443", "/")
    );
}

#[test]
fn versions() {
    for (line, version, protocol) in [
        ("GET / HTTP/1.1", Version::Http11, "HTTP/1.1"),
        ("GET / HTTP/1.0", Version::Http10, "HTTP/1.0"),
        ("GET   /   HTTP/1.1  ", Version::Http11, "HTTP/1.1"),
        ("GET / HTTP/1.2", Version::Http11, "HTTP/1.2"),
        ("GET / HTTP/1.00", Version::Http10, "HTTP/1.00"),
    ] {
        let h = good(&format!("{line}\r\nHost: x\r\n\r\n"));
        assert_eq!(
            (h.version, text(&h, h.protocol), text(&h, h.line)),
            (version, protocol, line)
        );
    }
    for old in ["GET /x\r\n", "GET /x\n", "GET /x \r\n"] {
        let h = good(old);
        assert_eq!(
            (h.version, text(&h, h.protocol), text(&h, h.path)),
            (Version::Http09, "", "/x")
        );
        assert!(!h.wants_keep_alive());
    }
    let h = good("GET / HTTP/1.0\r\n\r\n");
    assert!(!h.has_host && !h.wants_keep_alive());
    assert!(good("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").wants_keep_alive());
    assert!(
        !good("GET / HTTP/1.1\r\nHost: x\r\nConnection: close, keep-alive\r\n\r\n")
            .wants_keep_alive()
    );
    assert!(!good("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n").upgrade);
    assert!(!good("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\r\n").upgrade);
    assert!(!good("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect_100);
    assert!(good("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n").chunked);
}

#[test]
fn broken_request_lines() {
    use RequestError::*;
    for (line, error) in [
        ("get / HTTP/1.1", InvalidMethod),
        ("G3T / HTTP/1.1", InvalidMethod),
        (" GET / HTTP/1.1", InvalidMethod),
        ("\rGET / HTTP/1.1", InvalidMethod),
        ("\x16\x03\x01", InvalidMethod),
        ("GET\t/ HTTP/1.1", InvalidMethod),
        ("GET", InvalidMethod),
        ("GET ", InvalidRequest),
        ("GET * HTTP/1.1", InvalidRequest),
        ("OPTIONS * HTTP/1.1", InvalidRequest),
        ("PRI * HTTP/2.0", InvalidRequest),
        ("GET /a b HTTP/1.1", InvalidRequest),
        ("GET /\x02 HTTP/1.1", InvalidRequest),
        ("GET /\t HTTP/1.1", InvalidRequest),
        ("GET /\x7f HTTP/1.1", InvalidRequest),
        ("GET /\0 HTTP/1.1", InvalidRequest),
        ("GET /?\0 HTTP/1.1", InvalidRequest),
        ("GET /a\rb HTTP/1.1", InvalidRequest),
        ("GET / HTTP/1.1\r", InvalidRequest),
        ("GET / HTTP/1.1 x", InvalidRequest),
        ("GET / http/1.1", InvalidRequest),
        ("GET / HTTP/1", InvalidRequest),
        ("GET / HTTP/1.", InvalidRequest),
        ("GET / HTTP/.1", InvalidRequest),
        ("GET / HTTP/0.9", InvalidRequest),
        ("GET / HTTP/01.1", InvalidRequest),
        ("GET / HTTP/1.1111", InvalidRequest),
        ("GET / HTTP/1.1\t", InvalidRequest),
        ("GET / HTTP/1.-1", InvalidRequest),
        ("GET / HTTPS/1.1", InvalidRequest),
        ("GET / HTTP/2.0", InvalidVersion),
        ("GET / HTTP/3.0", InvalidVersion),
        ("GET / HTTP/11.1", InvalidVersion),
        ("POST /", InvalidHttp09Method),
        ("GET http:/x HTTP/1.1", InvalidRequest),
        ("GET http//x HTTP/1.1", InvalidRequest),
        ("GET http://u@h/ HTTP/1.1", InvalidRequest),
        ("GET http://h:x/ HTTP/1.1", InvalidRequest),
        ("GET http://h_h/ HTTP/1.1", InvalidRequest),
        ("GET http://[::1/ HTTP/1.1", InvalidRequest),
        ("GET http:/// HTTP/1.1", InvalidAuthority),
        ("GET http://h:70000/ HTTP/1.1", InvalidAuthority),
        ("GET http://. HTTP/1.1", InvalidAuthority),
        ("CONNECT h HTTP/1.1", InvalidRequest),
        ("CONNECT h: HTTP/1.1", InvalidRequest),
        ("CONNECT /a HTTP/1.1", InvalidRequest),
        ("CONNECT h:1/a HTTP/1.1", InvalidRequest),
    ] {
        let input = format!("{line}\r\nHost: x\r\n\r\n");
        assert_eq!(parse(&input).0, Err(error), "{line:?}");
        let all: Vec<usize> = (0..input.len()).collect();
        let (bytewise, ..) = parse_cut(input.as_bytes(), &all, &HeadLimits::default());
        assert_eq!(bytewise, Err(error), "{line:?} bytewise");
    }
}

#[test]
fn broken_fields() {
    use RequestError::*;
    for (fields, error) in [
        ("Host : x", InvalidField),
        ("Host\t: x", InvalidField),
        (" Host: x", InvalidField),
        ("\tHost: x", InvalidField),
        ("Host: x\r\n folded", InvalidField),
        ("Host: x\r\n\tfolded: y", InvalidField),
        ("Host: x\r\nA\0: y", InvalidField),
        ("Host: x\r\nA: \0", InvalidField),
        ("Host: x\r\nA: b\0c", InvalidField),
        ("Host: x\r\nA: b\rc", InvalidField),
        ("Host: x\r\nA: b\r", InvalidField),
        ("Host: x\r\nA: \rContent-Length: 5", InvalidField),
        ("Host: x\r\nA\r: b", InvalidField),
        ("Host: x\r\n: b", InvalidField),
        ("Host: x\r\nA\x0b: b", InvalidField),
        ("Host: x\r\nA B: c", InvalidField),
        ("Host: x\r\n\rA: b", InvalidField),
        ("Host: x\r\nHost: x", DuplicateHost),
        ("Host: x\r\nhost: y", DuplicateHost),
        (
            "Host: x\r\nContent-Length: 5\r\nContent-Length: 5",
            DuplicateField,
        ),
        (
            "Host: x\r\nContent-Length: 5\r\ncontent-length: 6",
            DuplicateField,
        ),
        (
            "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            DuplicateField,
        ),
        (
            "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            DuplicateField,
        ),
        (
            "Host: x\r\nAuthorization: a\r\nAuthorization: b",
            DuplicateField,
        ),
        ("Host: x\r\nExpect: a\r\nExpect: b", DuplicateField),
        (
            "Host: x\r\nIf-None-Match: a\r\nIf-None-Match: b",
            DuplicateField,
        ),
        ("Host:", InvalidHost),
        ("Host", InvalidHost),
        ("Host: a b", InvalidHost),
        ("Host: a/b", InvalidHost),
        ("Host: a,b:c", InvalidHost),
        ("Host: user@x", InvalidHost),
        ("A: b", MissingHost),
    ] {
        assert_refused(fields, error);
    }
}

/// The head of a POST with these fields is refused, in one piece and byte by byte.
fn assert_refused(fields: &str, error: RequestError) {
    let input = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
    assert_eq!(parse(&input).0, Err(error), "{fields:?}");
    let all: Vec<usize> = (0..input.len()).collect();
    let (bytewise, ..) = parse_cut(input.as_bytes(), &all, &HeadLimits::default());
    assert_eq!(bytewise, Err(error), "{fields:?} bytewise");
}

#[test]
fn ambiguous_framing() {
    use RequestError::*;
    for (fields, error) in [
        ("Host: x\r\nContent-Length: ", InvalidContentLength),
        ("Host: x\r\nContent-Length", InvalidContentLength),
        ("Host: x\r\nContent-Length: -1", InvalidContentLength),
        ("Host: x\r\nContent-Length: +1", InvalidContentLength),
        ("Host: x\r\nContent-Length: 1,1", InvalidContentLength),
        ("Host: x\r\nContent-Length: 1 1", InvalidContentLength),
        ("Host: x\r\nContent-Length: 0x1", InvalidContentLength),
        ("Host: x\r\nContent-Length: 1\t", InvalidContentLength),
        (
            "Host: x\r\nContent-Length: 9223372036854775808",
            InvalidContentLength,
        ),
        (
            "Host: x\r\nContent-Length: 99999999999999999999999",
            InvalidContentLength,
        ),
        (
            "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            LengthAndTransferEncoding,
        ),
        (
            "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            LengthAndTransferEncoding,
        ),
        (
            "Host: x\r\nTransfer-Encoding: gzip, chunked",
            UnknownTransferEncoding,
        ),
        (
            "Host: x\r\nTransfer-Encoding: chunked, identity",
            UnknownTransferEncoding,
        ),
        (
            "Host: x\r\nTransfer-Encoding: xchunked",
            UnknownTransferEncoding,
        ),
        (
            "Host: x\r\nTransfer-Encoding: \tchunked",
            UnknownTransferEncoding,
        ),
        (
            "Host: x\r\nTransfer-Encoding: \x0bchunked",
            UnknownTransferEncoding,
        ),
        (
            "Host: x\r\nTransfer-Encoding: \"chunked\"",
            UnknownTransferEncoding,
        ),
        ("Host: x\r\nTransfer-Encoding:", UnknownTransferEncoding),
        ("Host: x\r\nTransfer-Encoding", UnknownTransferEncoding),
        ("Host: x\r\nTransfer-Encoding: chunked\r\n ", InvalidField),
    ] {
        assert_refused(fields, error);
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parse(old).0, Err(TransferEncodingInHttp10));
    assert_eq!(UnknownTransferEncoding.status(), 501);
    assert_eq!(InvalidVersion.status(), 505);
    assert_eq!(UriTooLong.status(), 414);
    assert_eq!(TooManyFields.status(), 494);
}

#[test]
fn odd_names_are_dropped_or_kept() {
    let input = "GET / HTTP/1.1\r\nHost: x\r\nX_Und: 1\r\nX(y): 2\r\nTransfer_Encoding: chunked\r\nok: 3\r\nbare\r\n\r\n";
    let names = |limits: &HeadLimits| {
        let (result, head, _) = parse_cut(input.as_bytes(), &[], limits);
        assert_eq!(result, Ok(Parsed::Complete(input.len())));
        let names = head
            .fields
            .iter()
            .map(|f| String::from_utf8_lossy(f.name).into_owned())
            .collect::<Vec<_>>();
        (
            names.join(" "),
            head.dropped
                .iter()
                .map(|&s| text(&head, s).to_owned())
                .collect::<Vec<_>>()
                .join("|"),
        )
    };
    let mut limits = HeadLimits::default();
    assert_eq!(
        names(&limits),
        (
            "Host ok bare".into(),
            "X_Und: 1|X(y): 2|Transfer_Encoding: chunked".into()
        )
    );
    limits.underscores = true;
    assert_eq!(
        names(&limits),
        (
            "Host X_Und Transfer_Encoding ok bare".into(),
            "X(y): 2".into()
        )
    );
    limits.ignore_invalid = false;
    assert_eq!(
        names(&limits),
        (
            "Host X_Und X(y) Transfer_Encoding ok bare".into(),
            String::new()
        )
    );
}

#[test]
fn buffers_are_counted_as_nginx_packs_them() {
    let small = HeadLimits {
        first_buffer: 128,
        large_count: 5,
        large_size: 256,
        ..HeadLimits::default()
    };
    let run = |input: String, limits: &HeadLimits| {
        let whole = parse_cut(input.as_bytes(), &[], limits).0;
        let cuts: Vec<usize> = (0..input.len()).collect();
        let bytewise = parse_cut(input.as_bytes(), &cuts, limits).0;
        assert_eq!(whole.is_err(), bytewise.is_err(), "{input:?}");
        whole.map(|p| p == Parsed::Complete(input.len()))
    };
    let uri = |len: usize| format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(len - 16));
    assert_eq!(run(uri(256), &small), Ok(true));
    assert_eq!(run(uri(257), &small), Err(RequestError::UriTooLong));
    let fields = |count: usize| {
        let line = format!("X-Foo: {}\r\n", "1234567890".repeat(20));
        format!("GET / HTTP/1.0\r\nHost: x\r\n{}\r\n", line.repeat(count))
    };
    assert_eq!(run(fields(5), &small), Ok(true));
    assert_eq!(run(fields(6), &small), Err(RequestError::FieldTooLarge));
    let one = |len: usize| format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "a".repeat(len - 5));
    assert_eq!(run(one(254), &small), Ok(true));
    assert_eq!(run(one(257), &small), Err(RequestError::FieldTooLarge));
    // An endless line fails as soon as no buffer can hold it.
    let endless = format!("GET / HTTP/1.0\r\nX: {}", "a".repeat(300));
    assert_eq!(run(endless, &small), Err(RequestError::FieldTooLarge));
    assert_eq!(
        run("GET /".to_owned() + &"a".repeat(300), &small),
        Err(RequestError::UriTooLong)
    );
    // A first buffer larger than the others counts.
    let wide = HeadLimits {
        first_buffer: 1000,
        ..small
    };
    assert_eq!(run(uri(900), &wide), Ok(true));
    // Nothing needs more bytes than the bound.
    let default = HeadLimits::default();
    let flood = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(100_000));
    let bound = default.bytes_max();
    let result = parse_cut(&flood.as_bytes()[..bound], &[], &default).0;
    assert!(result.is_err());
    let blank = "\r\n".repeat(300);
    assert_eq!(parse(&blank).0, Err(RequestError::InvalidRequest));
}

#[test]
fn field_counts_are_bounded() {
    let limits = HeadLimits {
        fields_max: 3,
        ..HeadLimits::default()
    };
    let run = |fields: &str| {
        parse_cut(
            format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(),
            &[],
            &limits,
        )
        .0
    };
    assert!(run("Host: x\r\na: b\r\nc: d\r\n").is_ok());
    assert_eq!(
        run("Host: x\r\na: b\r\nc: d\r\ne: f\r\n"),
        Err(RequestError::TooManyFields)
    );
    assert_eq!(
        run("Host: x\r\na_: b\r\nc_: d\r\ne_: f\r\n"),
        Err(RequestError::TooManyFields)
    );
}

#[test]
fn errors_say_what_nginx_says() {
    for (fields, expected) in [
        (
            "Host: x\r\nA B: c",
            "client sent invalid header line: \"A\\x20...\"",
        ),
        (
            "Host: x\r\nHost: y",
            "client sent duplicate host header: \"Host: y\"",
        ),
        (
            "Host: x\r\nTE: a\r\nTransfer-Encoding: gzip",
            "client sent unknown \"Transfer-Encoding\": \"gzip\"",
        ),
        (
            "A: b",
            "client sent HTTP/1.1 request without \"Host\" header",
        ),
    ] {
        let input = format!("GET /x HTTP/1.1\r\n{fields}\r\n\r\n");
        let (result, head, parser) = parse_cut(input.as_bytes(), &[], &HeadLimits::default());
        let mut out = Vec::new();
        parser.describe(result.unwrap_err(), &head, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert_eq!(text(&head, head.line), "GET /x HTTP/1.1");
    }
}

#[test]
fn parser_knows_whether_a_request_began() {
    let (mut parser, mut head) = (RequestParser::new(), RequestHead::default());
    let limits = HeadLimits::default();
    for (input, started) in [
        ("", false),
        ("\r", false),
        ("\r\n", false),
        ("\r\n\r\nG", true),
    ] {
        assert_eq!(
            parser.parse(input.as_bytes(), &limits, &mut head),
            Ok(Parsed::Incomplete)
        );
        assert_eq!(parser.started(), started, "{input:?}");
    }
    parser.reset();
    assert!(!parser.started());
}

#[test]
fn unreadable_lines_are_shown_and_spans_stay_inside() {
    for (input, shown) in [
        ("\r\nfoo bar\r\nx", "foo bar"),
        ("\x16\x03\x01", "\x16\x03\x01"),
        ("GET /a b\nHost", "GET /a b"),
        ("GET http://./ HTTP/1.1\r\n", "GET http://./ HTTP/1.1"),
    ] {
        let (result, head) = parse(input);
        assert!(result.is_err());
        assert_eq!(text(&head, head.line), shown);
        assert!(head.method_bytes().len() < 4);
    }
    let long = "GET /".to_owned() + &"a".repeat(9000);
    let (result, head) = parse(&long);
    assert_eq!(result, Err(RequestError::UriTooLong));
    assert_eq!(head.line.len, 9005);
}

#[test]
fn heads_are_reused_without_leftovers() {
    let (mut parser, mut head) = (RequestParser::new(), RequestHead::default());
    let limits = HeadLimits::default();
    let second = "GET / HTTP/1.1\r\nHost: y\r\n\r\n";
    parser
        .parse(TYPICAL.as_bytes(), &limits, &mut head)
        .unwrap();
    parser.reset();
    assert_eq!(
        parser.parse(second.as_bytes(), &limits, &mut head),
        Ok(Parsed::Complete(second.len()))
    );
    let fresh = good(second);
    assert_eq!(format!("{head:?}"), format!("{fresh:?}"));
}

#[test]
fn random_heads_never_panic_and_cuts_never_matter() {
    let words: [&[u8]; 32] = [
        b"GET ",
        b"/",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host: x",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"A",
        b":",
        b" ",
        b"\0",
        b"\t",
        b"_",
        b"#",
        b"?",
        b"%",
        b"..",
        b"http://h",
        b"Connection: close",
        b"\x80",
        b"POST ",
        b"x: y",
        b"\r\n\r\n",
        b"CONNECT ",
        b"h:1",
        b"[",
        b"]",
        b"1",
    ];
    let mut rng = crate::base::rng::Rng::new(9);
    let limits = HeadLimits {
        first_buffer: 40,
        large_count: 2,
        large_size: 60,
        ..HeadLimits::default()
    };
    for round in 0..60_000 {
        let mut input = if round % 2 == 0 {
            b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()
        } else {
            Vec::new()
        };
        (0..rng.below(10)).for_each(|_| input.extend_from_slice(words[rng.below(32) as usize]));
        let (whole, head, _) = parse_cut(&input, &[], &limits);
        let cuts: Vec<usize> = (0..input.len()).collect();
        let (bytewise, other, _) = parse_cut(&input, &cuts, &limits);
        match (whole, bytewise) {
            (Ok(Parsed::Complete(_)), _) | (_, Ok(Parsed::Complete(_))) => {
                assert_eq!(whole, bytewise, "{:?}", String::from_utf8_lossy(&input));
                assert_eq!(format!("{head:?}"), format!("{other:?}"));
                check_forwardable(&head);
            }
            // Bytewise, a bad line is looked at only once it is whole, and may be too long before that.
            (a, b) => assert!(a.is_err() || b == a, "{a:?} {b:?}"),
        }
    }
}

/// Whatever passes can be written as one unambiguous head: our own parser reads the same back.
fn check_forwardable(head: &RequestHead) {
    use super::super::encode;
    if head.version == Version::Http09 || head.method == Method::Connect {
        return;
    }
    assert!(!(head.chunked && head.content_length.is_some()));
    let mut wire = Vec::new();
    encode::request_line(&mut wire, head.method_bytes(), head.bytes(head.uri), true).unwrap();
    if !head.has_host {
        encode::field(&mut wire, b"Host", b"x");
    }
    for field in head.fields.iter() {
        assert!(
            encode::field(&mut wire, field.name, field.value),
            "{field:?}"
        );
    }
    wire.extend_from_slice(b"\r\n");
    if head.empty_path {
        return;
    }
    let (result, again, _) = parse_cut(&wire, &[], &HeadLimits::default());
    assert_eq!(
        result,
        Ok(Parsed::Complete(wire.len())),
        "{:?}",
        String::from_utf8_lossy(&wire)
    );
    assert_eq!(again.bytes(again.uri), head.bytes(head.uri));
    assert_eq!(
        (again.content_length, again.chunked),
        (head.content_length, head.chunked)
    );
    assert_eq!(
        again.fields.len(),
        head.fields.len() + usize::from(!head.has_host)
    );
}

#[test]
fn prefaces() {
    assert_eq!(h2_preface(b""), Preface::Partial);
    assert_eq!(h2_preface(b"PRI * HT"), Preface::Partial);
    assert_eq!(h2_preface(b"PUT"), Preface::No);
    assert_eq!(h2_preface(H2_PREFACE), Preface::Yes);
    assert_eq!(h2_preface(&[&H2_PREFACE[..], b"x"].concat()), Preface::Yes);
}
