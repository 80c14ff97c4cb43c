//! Section by section: what a client may not do and what it is told, then what it may do.

use super::*;

#[test]
fn what_ends_the_connection() {
    use ErrorCode as E;
    let new = Client::new;
    let raw = |bytes: &[u8]| Client {
        bytes: bytes.to_vec(),
    };
    let head = |len: usize, kind: Kind, flags, stream| {
        let mut bytes = new().bytes;
        frame::put_head(len, kind, flags, stream, &mut bytes);
        raw(&bytes)
    };
    let setting = |id, value| {
        let mut client = new();
        frame::put_settings(&[(id, value)], &mut client.bytes);
        client
    };
    let first = {
        let mut bytes = PREFACE.to_vec();
        frame::put_ping(&[0; 8], false, &mut bytes);
        raw(&bytes)
    };
    #[rustfmt::skip]
    let cases = [
        ("3.4 preface", raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"), E::Protocol),
        ("3.4 settings first", first, E::Protocol),
        ("4.2 too large", head(16_385, Kind::Data, 0, 1), E::FrameSize),
        ("4.2 too large, unknown type", head(16_385, Kind::Unknown, 0, 1), E::FrameSize),
        ("4.3 broken block", new().frame(Kind::Headers, flag::END_HEADERS, 1, b"\x80"), E::Compression),
        ("4.3 broken block of a refused stream", new().repeat(1, |c| { c.get(1).get(3).get(5).get(7).frame(Kind::Headers, 4, 9, b"\xff") }), E::Compression),
        ("5.1 data on idle", new().data(1, 0, b"x"), E::Protocol),
        ("5.1 reset on idle", new().frame(Kind::RstStream, 0, 1, &[0; 4]), E::Protocol),
        ("5.1 window on idle", new().frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1]), E::Protocol),
        ("5.1 continuation on idle", new().frame(Kind::Continuation, 4, 1, b""), E::Protocol),
        ("5.1.1 even number", new().get(2), E::Protocol),
        ("5.1.1 lower number", new().get(5).get(3), E::Protocol),
        ("6.1 data on 0", new().data(0, 0, b"x"), E::Protocol),
        ("6.1 padding too long", new().post(1).data(1, flag::PADDED, b"\x05abc"), E::Protocol),
        ("6.1 padding without length", new().post(1).data(1, flag::PADDED, b""), E::FrameSize),
        ("6.2 headers on 0", new().frame(Kind::Headers, 4, 0, b"\x82"), E::Protocol),
        ("6.2 interrupted", new().frame(Kind::Headers, 0, 1, b"\x82").get(3), E::Protocol),
        ("6.2 interrupted by ping", new().frame(Kind::Headers, 0, 1, b"\x82").frame(Kind::Ping, 0, 0, &[0; 8]), E::Protocol),
        ("6.2 interrupted by unknown", new().frame(Kind::Headers, 0, 1, b"\x82").frame(Kind::Unknown, 0, 0, b""), E::Protocol),
        ("6.2 padding too long", new().frame(Kind::Headers, flag::PADDED | 4, 1, b"\x09\x82"), E::Protocol),
        ("6.2 priority cut", new().frame(Kind::Headers, flag::PRIORITY | 4, 1, b"\0\0\0"), E::FrameSize),
        ("6.3 priority on 0", new().frame(Kind::Priority, 0, 0, &[0; 5]), E::Protocol),
        ("6.4 reset on 0", new().frame(Kind::RstStream, 0, 0, &[0; 4]), E::Protocol),
        ("6.4 reset length", new().get(1).frame(Kind::RstStream, 0, 1, &[0; 3]), E::FrameSize),
        ("6.5 settings on a stream", new().frame(Kind::Settings, 0, 1, b""), E::Protocol),
        ("6.5 settings length", new().frame(Kind::Settings, 0, 0, &[0; 5]), E::FrameSize),
        ("6.5 answer with payload", new().frame(Kind::Settings, flag::ACK, 0, &[0; 6]), E::FrameSize),
        ("6.5.2 push", setting(setting::ENABLE_PUSH, 2), E::Protocol),
        ("6.5.2 window", setting(setting::INITIAL_WINDOW_SIZE, 1 << 31), E::FlowControl),
        ("6.5.2 frame size low", setting(setting::MAX_FRAME_SIZE, 16_383), E::Protocol),
        ("6.5.2 frame size high", setting(setting::MAX_FRAME_SIZE, 1 << 24), E::Protocol),
        ("6.6 push by a client", new().frame(Kind::PushPromise, 4, 1, &[0; 4]), E::Protocol),
        ("6.7 ping on a stream", new().frame(Kind::Ping, 0, 1, &[0; 8]), E::Protocol),
        ("6.7 ping length", new().frame(Kind::Ping, 0, 0, &[0; 6]), E::FrameSize),
        ("6.8 goaway on a stream", new().frame(Kind::GoAway, 0, 1, &[0; 8]), E::Protocol),
        ("6.9 zero window", new().frame(Kind::WindowUpdate, 0, 0, &[0; 4]), E::Protocol),
        ("6.9 window length", new().frame(Kind::WindowUpdate, 0, 0, &[0; 3]), E::FrameSize),
        ("6.9.1 window overflow", new().frame(Kind::WindowUpdate, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), E::FlowControl),
        ("6.9.2 window overflow by settings", { let mut client = new().get(1).frame(Kind::WindowUpdate, 0, 1, &[0x7f, 0, 0, 0]); frame::put_settings(&[(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)], &mut client.bytes); client }, E::FlowControl),
        ("6.10 continuation on 0", new().frame(Kind::Continuation, 4, 0, b""), E::Protocol),
        ("6.10 continuation of another", new().frame(Kind::Headers, 0, 1, b"\x82").frame(Kind::Continuation, 4, 3, b""), E::Protocol),
        ("6.10 continuation behind the end", new().get(1).frame(Kind::Continuation, 4, 1, b""), E::Protocol),
        ("9218 7.1 on a stream", new().frame(Kind::PriorityUpdate, 0, 1, &[0; 4]), E::Protocol),
        ("9218 7.1 stream 0", new().frame(Kind::PriorityUpdate, 0, 0, &[0; 4]), E::Protocol),
    ];
    for (why, client, code) in cases {
        let outcome = both(&client, why);
        assert_eq!(outcome.goaway, Some(code as u32), "{why}: {outcome:?}");
    }
}

#[test]
fn what_ends_a_stream_only() {
    use ErrorCode as E;
    let new = Client::new;
    let post = |more: &[(&'static str, &'static str)]| with(POST, more);
    let length_3 = post(&[("content-length", "3")]);
    #[rustfmt::skip]
    let cases = [
        ("5.1 data behind the end", new().get(1).data(1, 0, b"x"), E::StreamClosed),
        ("5.1 headers behind the end", new().get(1).get(1), E::StreamClosed),
        ("5.3.1 a stream that depends on itself", new().frame(Kind::Headers, flag::PRIORITY | 5, 1, b"\0\0\0\x01\x10"), E::Protocol),
        ("6.3 priority length", new().get(1).frame(Kind::Priority, 0, 1, &[0; 4]), E::FrameSize),
        ("6.9 zero window", new().get(1).frame(Kind::WindowUpdate, 0, 1, &[0; 4]), E::Protocol),
        ("6.9.1 overflow", new().get(1).frame(Kind::WindowUpdate, 0, 1, &[0x7f, 0xff, 0xff, 0xff]), E::FlowControl),
        ("6.9.1 window exceeded", new().post(1).data(1, 0, &[b'x'; 1001]), E::FlowControl),
        ("8.1 trailers without an end", new().post(1).headers(1, 0, &[("a", "b")]), E::Protocol),
        ("8.1.1 more than the length", new().headers(1, 0, &length_3).data(1, 0, b"four"), E::Protocol),
        ("8.1.1 less than the length", new().headers(1, 0, &length_3).data(1, flag::END_STREAM, b"12"), E::Protocol),
        ("8.1.1 length without a body", new().headers(1, flag::END_STREAM, &length_3), E::Protocol),
        ("8.1.1 trailers before the length", new().headers(1, 0, &length_3).headers(1, flag::END_STREAM, &[("a", "b")]), E::Protocol),
        ("8.1 pseudo-field in trailers", new().post(1).headers(1, flag::END_STREAM, &[(":path", "/")]), E::Protocol),
        ("8.2.1 upper case", new().headers(1, 1, &with(GET, &[("X-a", "b")])), E::Protocol),
        ("8.2.1 space in a name", new().headers(1, 1, &with(GET, &[("x a", "b")])), E::Protocol),
        ("8.2.1 colon in a name", new().headers(1, 1, &with(GET, &[("x:a", "b")])), E::Protocol),
        ("8.2.1 line end in a value", new().headers(1, 1, &with(GET, &[("x", "b\r\nc")])), E::Protocol),
        ("8.2.1 NUL in a value", new().headers(1, 1, &with(GET, &[("x", "b\0")])), E::Protocol),
        ("8.2.2 connection", new().headers(1, 1, &with(GET, &[("connection", "close")])), E::Protocol),
        ("8.2.2 keep-alive", new().headers(1, 1, &with(GET, &[("keep-alive", "1")])), E::Protocol),
        ("8.2.2 proxy-connection", new().headers(1, 1, &with(GET, &[("proxy-connection", "close")])), E::Protocol),
        ("8.2.2 transfer-encoding", new().headers(1, 0, &post(&[("transfer-encoding", "chunked")])), E::Protocol),
        ("8.2.2 upgrade", new().headers(1, 1, &with(GET, &[("upgrade", "h2c")])), E::Protocol),
        ("8.2.2 te", new().headers(1, 1, &with(GET, &[("te", "gzip")])), E::Protocol),
        ("8.3 unknown", new().headers(1, 1, &with(GET, &[(":x", "b")])), E::Protocol),
        ("8.3 a response's", new().headers(1, 1, &with(GET, &[(":status", "200")])), E::Protocol),
        ("8.3 behind a field", new().headers(1, 1, &[(":method", "GET"), (":scheme", "http"), ("a", "b"), (":path", "/"), (":authority", "h")]), E::Protocol),
        ("8.3.1 no method", new().headers(1, 1, &GET[1..]), E::Protocol),
        ("8.3.1 no scheme", new().headers(1, 1, &with(&GET[..1], &GET[2..])), E::Protocol),
        ("8.3.1 no path", new().headers(1, 1, &with(&GET[..2], &GET[3..])), E::Protocol),
        ("8.3.1 empty path", new().headers(1, 1, &with(&GET[..2], &[(":path", ""), (":authority", "h")])), E::Protocol),
        ("8.3.1 path without a slash", new().headers(1, 1, &with(&GET[..2], &[(":path", "a"), (":authority", "h")])), E::Protocol),
        ("8.3.1 space in the path", new().headers(1, 1, &with(&GET[..2], &[(":path", "/a b"), (":authority", "h")])), E::Protocol),
        ("8.3.1 twice", new().headers(1, 1, &with(GET, &[(":path", "/")])), E::Protocol),
        ("8.3.1 method", new().headers(1, 1, &with(&[(":method", "GE T")], &GET[1..])), E::Protocol),
        ("8.3.1 neither authority nor host", new().headers(1, 1, &GET[..3]), E::Protocol),
        ("8.3.1 authority and host differ", new().headers(1, 1, &with(GET, &[("host", "other")])), E::Protocol),
        ("8.3.1 authority", new().headers(1, 1, &with(&GET[..3], &[(":authority", "a/b")])), E::Protocol),
        ("8.5 connect with a path", new().headers(1, 0, &[(":method", "CONNECT"), (":authority", "h:1"), (":path", "/")]), E::Protocol),
        ("8.5 connect without an authority", new().headers(1, 0, &[(":method", "CONNECT")]), E::Protocol),
        ("8441 4 protocol without connect", new().headers(1, 1, &with(GET, &[(":protocol", "websocket")])), E::Protocol),
        ("two lengths", new().headers(1, 0, &post(&[("content-length", "3"), ("content-length", "3")])), E::Protocol),
        ("no number", new().headers(1, 0, &post(&[("content-length", "+3")])), E::Protocol),
    ];
    for (why, client, code) in cases {
        let outcome = both(&client, why);
        assert_eq!(outcome.resets, [(1, code as u32)], "{why}: {outcome:?}");
        assert_eq!(outcome.goaway, None, "{why}");
        // The connection goes on.
        let outcome = both(&client.get(9), why);
        assert_eq!(
            outcome.events.last().map(String::as_str),
            Some("GET /a?b"),
            "{why}"
        );
    }
}

#[test]
fn what_is_allowed() {
    let new = Client::new;
    let cut = {
        let mut client = new();
        let block = client.block(GET);
        let (a, rest) = block.split_at(3);
        let (b, c) = rest.split_at(10);
        client
            .frame(Kind::Headers, flag::END_STREAM, 1, a)
            .frame(Kind::Continuation, 0, 1, b)
            .frame(Kind::Continuation, flag::END_HEADERS, 1, c)
    };
    let padded = {
        let mut client = new();
        let mut block = vec![3, 0, 0, 0, 0, 7];
        block.extend(client.block(POST));
        block.extend([0; 3]);
        client
            .frame(
                Kind::Headers,
                flag::PADDED | flag::PRIORITY | flag::END_HEADERS,
                1,
                &block,
            )
            .data(1, flag::PADDED, b"\x02ab\0\0")
            .data(1, flag::PADDED | flag::END_STREAM, b"\x00c")
    };
    #[rustfmt::skip]
    let cases: [(&str, Client, &[&str]); 15] = [
        ("a request", new().get(1), &["GET /a?b"]),
        ("a block in pieces", cut, &["GET /a?b"]),
        ("padding and priority", padded, &["POST / +body", "data abc."]),
        ("an empty end", new().post(1).data(1, 0, b"ab").data(1, flag::END_STREAM, b""), &["POST / +body", "data ab."]),
        ("trailers", new().post(1).data(1, 0, b"ab").headers(1, flag::END_STREAM, &[("x", "y"), ("host", "no")]), &["POST / +body", "data ab", "trailers 1"]),
        ("two streams", new().post(1).post(3).data(3, 1, b"three").data(1, 1, b"one"), &["POST / +body", "POST / +body", "data three.", "data one."]),
        ("unknown frames and flags", new().frame(Kind::Unknown, 0xff, 0, b"abc").headers(1, 0xd1, GET), &["GET /a?b"]),
        ("priority of idle streams", new().frame(Kind::Priority, 0, 7, &[0; 5]).get(1), &["GET /a?b"]),
        ("a reset", new().post(1).frame(Kind::RstStream, 0, 1, &[0, 0, 0, 8]).get(3), &["POST / +body", "reset CANCEL true", "GET /a?b"]),
        ("an unknown error code", new().post(1).frame(Kind::RstStream, 0, 1, &[9, 0, 0, 8]), &["POST / +body", "reset INTERNAL_ERROR true"]),
        ("frames behind a reset", new().post(1).frame(Kind::RstStream, 0, 1, &[0; 4]).frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 9]).frame(Kind::RstStream, 0, 1, &[0; 4]), &["POST / +body", "reset NO_ERROR true"]),
        ("goaway", new().get(1).frame(Kind::GoAway, 0, 0, &[0; 9]), &["GET /a?b", "goaway 0 NO_ERROR"]),
        ("host alone", new().headers(1, 1, &with(&GET[..3], &[("host", "h")])), &["GET /a?b"]),
        ("te: trailers", new().headers(1, 1, &with(GET, &[("te", "trailers")])), &["GET /a?b"]),
        ("connect", new().headers(1, 0, &[(":method", "CONNECT"), (":authority", "h:1")]), &["CONNECT / +body"]),
    ];
    for (why, client, want) in cases {
        let outcome = both(&client, why);
        assert_eq!(outcome.events, want, "{why}");
        assert_eq!(outcome.goaway, None, "{why}");
    }
}

#[test]
fn floods_end_with_calm() {
    let new = Client::new;
    let rapid = {
        let mut client = new();
        for n in 0..=guard::RESETS.burst {
            client = client
                .get(2 * n + 1)
                .frame(Kind::RstStream, 0, 2 * n + 1, &[0; 4]);
        }
        client
    };
    let made_you_reset = {
        let mut client = new();
        for n in 0..=guard::RESETS.burst {
            client = client
                .get(2 * n + 1)
                .frame(Kind::WindowUpdate, 0, 2 * n + 1, &[0; 4]);
        }
        client
    };
    let refused = {
        let mut client = new();
        for n in 0..=guard::RESETS.burst + 4 {
            client = client.get(2 * n + 1);
        }
        client
    };
    let empty = guard::EMPTY.burst as usize + 1;
    let answered = guard::ANSWERED.burst as usize + 1;
    let windows = guard::WINDOWS.burst as usize + 1;
    let big = |client: Client| client.frame(Kind::Continuation, 0, 1, &[0; 8000]);
    #[rustfmt::skip]
    let cases = [
        ("rapid reset", rapid, Flood::Resets),
        ("made you reset", made_you_reset, Flood::Resets),
        ("streams above the limit", refused, Flood::Resets),
        ("empty data", new().post(1).repeat(empty, |c| c.data(1, 0, b"")), Flood::Empty),
        ("priority", new().repeat(empty, |c| c.frame(Kind::Priority, 0, 5, &[0; 5])), Flood::Empty),
        ("unknown", new().repeat(empty, |c| c.frame(Kind::Unknown, 0, 0, b"")), Flood::Empty),
        ("ping", new().repeat(answered, |c| c.frame(Kind::Ping, 0, 0, &[0; 8])), Flood::Answered),
        ("settings", new().repeat(answered, |c| c.frame(Kind::Settings, 0, 0, b"")), Flood::Answered),
        ("windows", new().repeat(windows, |c| { c.frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0, 1]) }), Flood::Windows),
        ("continuations", new().frame(Kind::Headers, 1, 1, b"").repeat(9, |c| c.frame(Kind::Continuation, 0, 1, b"")), Flood::Continuations),
        ("a large block", new().frame(Kind::Headers, 1, 1, b"").repeat(4, big), Flood::HeaderBlock),
    ];
    for (why, client, want) in cases {
        let outcome = serve(&client.bytes, usize::MAX);
        assert_eq!(outcome.flood, Some(want), "{why}");
        assert_eq!(
            outcome.goaway,
            Some(ErrorCode::EnhanceYourCalm as u32),
            "{why}"
        );
    }
}

#[test]
fn a_compressed_bomb_is_one_refused_request() {
    // One entry of 4,000 bytes, named a hundred times: 400,000 bytes out of a hundred.
    let mut block = Vec::new();
    let mut encoder = Encoder::new();
    for (name, value) in GET {
        encoder.field(
            Token::NONE,
            name.as_bytes(),
            value.as_bytes(),
            Indexing::Plain,
            &mut block,
        );
    }
    encoder.field(Token::NONE, b"x", &[b'x'; 900], Indexing::Add, &mut block);
    block.extend([0xbe; 100]);
    let client = Client::new().frame(Kind::Headers, 5, 1, &block).get(3);
    let outcome = both(&client, "bomb");
    assert_eq!(
        outcome.events,
        [RequestError::HeadTooLarge.message(), "GET /a?b"]
    );
}
