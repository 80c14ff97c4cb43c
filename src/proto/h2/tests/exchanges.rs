//! Whole exchanges between two machines: windows, ends, urgency.

use super::*;

/// Acts on an event; the input is what its ranges point into.
type Each<'a> = dyn FnMut(&mut Machine, Role, Event, &[u8]) + 'a;

/// A server and a client machine, mouth to ear.
struct Pair {
    server: Machine,
    client: Machine,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        Self {
            server: Machine::new(Role::Server, CONFIG),
            client: Machine::new(Role::Client, CONFIG),
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    fn ask(&mut self, path: &str, end: bool) -> Key {
        let key = self.client.open().unwrap();
        self.client.begin_block();
        self.client
            .put_request(b"GET", b"https", b"h", path.as_bytes());
        self.client.put_field(Token::COOKIE, b"Cookie", b"a=1");
        self.client.put_field(Token::COOKIE, b"Cookie", b"b=2");
        self.client
            .put_field(Token::CONNECTION, b"Connection", b"close");
        self.client.end_block(key, end);
        key
    }

    /// Moves everything until both are silent; hands each event to `each`.
    fn run(&mut self, each: &mut Each<'_>) {
        for _ in 0..10_000 {
            self.client.transmit(&mut self.to_server, 50);
            self.server.transmit(&mut self.to_client, 50);
            if self.to_server.is_empty() && self.to_client.is_empty() {
                return;
            }
            for (machine, role, input) in [
                (&mut self.server, Role::Server, &mut self.to_server),
                (&mut self.client, Role::Client, &mut self.to_client),
            ] {
                loop {
                    let step = machine.step(Mono(1), input).unwrap();
                    if let Some(event) = step.event {
                        each(machine, role, event, input);
                    }
                    input.drain(..step.consumed);
                    if step.event.is_none() {
                        break;
                    }
                }
            }
        }
        panic!("never silent");
    }
}

#[test]
fn a_whole_exchange_with_interim_answer_and_trailers() {
    let mut pair = Pair::new();
    let asked = pair.ask("/x", true);
    let (mut seen, mut body) = (Vec::new(), Vec::new());
    pair.run(&mut |machine, role, event, input| match (role, event) {
        (Role::Server, Event::Head { stream, end: true }) => {
            let mut head = RequestHead::default();
            let read = machine
                .read_request(stream, &mut head, &HeadLimits::default())
                .unwrap();
            assert!(read.is_ok());
            assert_eq!(head.fields.get(Token::COOKIE), Some(&b"a=1; b=2"[..]));
            assert!(!head.fields.has(Token::CONNECTION));
            assert_eq!(head.bytes(head.line), b"GET /x HTTP/2.0");
            machine.begin_block();
            machine.put_status(103);
            machine.end_block(stream, false);
            machine.begin_block();
            machine.put_status(201);
            machine.put_field(Token::CONTENT_LENGTH, b"Content-Length", b"5000");
            machine.put_field(Token::NONE, b"X-Upper", b"Case");
            machine.end_block(stream, false);
            machine.send(stream, &[b'z'; 5000]);
            let mut trailers = Fields::new();
            trailers.push(b"grpc-status", b"0");
            machine.finish(stream, Some(&trailers));
            machine.release(stream, ErrorCode::Internal);
        }
        (Role::Client, Event::Head { stream, end: false }) => {
            assert_eq!(stream, asked);
            let mut head = ResponseHead::default();
            assert_eq!(machine.read_response(stream, &mut head, false), Ok(Ok(())));
            seen.push((
                head.status,
                head.fields.get_name(b"x-upper").map(<[u8]>::to_vec),
            ));
        }
        (
            Role::Client,
            Event::Data {
                stream,
                from,
                to,
                end,
            },
        ) => {
            assert!(!end);
            body.extend_from_slice(&input[from..to]);
            machine.consumed(stream, to - from);
        }
        (Role::Client, Event::Trailers { stream }) => {
            let mut fields = Fields::new();
            assert_eq!(machine.read_trailers(stream, &mut fields), Ok(Ok(())));
            seen.push((1, fields.get(Token::GRPC_STATUS).map(<[u8]>::to_vec)));
            machine.release(stream, ErrorCode::Cancel);
        }
        (_, Event::Settings) => {}
        (role, other) => panic!("{role:?} {other:?}"),
    });
    assert_eq!(
        seen,
        [
            (103, None),
            (201, Some(b"Case".to_vec())),
            (1, Some(b"0".to_vec()))
        ]
    );
    assert_eq!(body, [b'z'; 5000]);
    assert_eq!(
        (pair.server.streams(), pair.client.streams()),
        (0, 0),
        "nothing is kept"
    );
}

#[test]
fn a_head_that_is_never_sent_leaves_both_tables_alike() {
    let mut pair = Pair::new();
    let given_up = pair.ask("/first", true);
    pair.ask("/second", true);
    let (mut asked, mut seen) = (Vec::new(), Vec::new());
    pair.run(&mut |_, role, event, _| {
        if let (Role::Server, Event::Head { stream, .. }) = (role, event) {
            asked.push(stream);
        }
    });
    pair.client.reset(given_up, ErrorCode::Cancel);
    pair.run(&mut |_, _, _, _| {});
    for (stream, value) in asked.into_iter().zip([b"never", b"later"]) {
        let machine = &mut pair.server;
        machine.begin_block();
        machine.put_status(203);
        machine.put_field(Token::NONE, b"X-One", value);
        machine.put_field(Token::NONE, b"X-Two", b"both");
        machine.end_block(stream, true);
    }
    pair.run(&mut |machine, role, event, _| {
        if let (Role::Client, Event::Head { stream, .. }) = (role, event) {
            let mut head = ResponseHead::default();
            assert_eq!(machine.read_response(stream, &mut head, false), Ok(Ok(())));
            let field = |name| head.fields.get_name(name).map(<[u8]>::to_vec);
            seen.push((head.status, field(b"x-one"), field(b"x-two")));
        }
    });
    let want = (203, Some(b"later".to_vec()), Some(b"both".to_vec()));
    assert_eq!(seen, [want]);
}

#[test]
fn windows_hold_the_sender_until_the_reader_reads() {
    let mut pair = Pair::new();
    let asked = pair.ask("/up", false);
    pair.client.send(asked, &[b'u'; 5000]);
    pair.client.finish(asked, None);
    let (mut got, mut server_key) = (0, None);
    pair.run(&mut |machine, role, event, _| match (role, event) {
        (Role::Server, Event::Head { stream, .. }) => {
            let mut head = RequestHead::default();
            assert!(
                machine
                    .read_request(stream, &mut head, &HeadLimits::default())
                    .unwrap()
                    .is_ok()
            );
            server_key = Some(stream);
        }
        (Role::Server, Event::Data { from, to, end, .. }) => {
            assert!(!end);
            got += to - from;
        }
        (_, Event::Settings) => {}
        (role, other) => panic!("{role:?} {other:?}"),
    });
    assert_eq!(got, 1000, "one window and no more");
    assert_eq!(pair.client.pending(asked), 4000);
    let key = server_key.unwrap();
    pair.server.consumed(key, 1000);
    let mut ended = false;
    pair.run(&mut |machine, _, event, _| {
        if let Event::Data {
            stream,
            from,
            to,
            end,
        } = event
        {
            got += to - from;
            machine.consumed(stream, to - from);
            ended |= end;
        }
    });
    assert_eq!((got, ended), (5000, true));
    assert!(pair.server.is_received(key));
}

#[test]
fn an_unread_body_ends_with_no_error_when_the_answer_is_out() {
    let mut pair = Pair::new();
    pair.ask("/up", false);
    let mut reset = None;
    pair.run(&mut |machine, role, event, _| match (role, event) {
        (Role::Server, Event::Head { stream, .. }) => {
            let mut head = RequestHead::default();
            assert!(
                machine
                    .read_request(stream, &mut head, &HeadLimits::default())
                    .unwrap()
                    .is_ok()
            );
            machine.begin_block();
            machine.put_status(413);
            machine.end_block(stream, false);
            machine.send(stream, b"too large");
            machine.finish(stream, None);
            machine.release(stream, ErrorCode::Internal);
        }
        (Role::Client, Event::Head { stream, .. }) => {
            let mut head = ResponseHead::default();
            assert_eq!(machine.read_response(stream, &mut head, false), Ok(Ok(())));
        }
        (Role::Client, Event::Reset { code, remote, .. }) => reset = Some((code, remote)),
        _ => {}
    });
    assert_eq!(reset, Some((ErrorCode::No, true)));
    assert_eq!(pair.server.streams(), 0);
}

#[test]
fn streams_that_were_taken_back_count_until_they_are_let_go() {
    let mut machine = Machine::new(Role::Server, CONFIG);
    let mut client = Client::new();
    for id in [1, 3, 5, 7] {
        client = client.get(id).frame(Kind::RstStream, 0, id, &[0; 4]);
    }
    let client = client.get(9);
    let (mut keys, mut input) = (Vec::new(), client.bytes);
    loop {
        let step = machine.step(Mono(1), &input).unwrap();
        input.drain(..step.consumed);
        match step.event {
            Some(Event::Head { stream, .. }) => {
                let mut head = RequestHead::default();
                assert!(
                    machine
                        .read_request(stream, &mut head, &HeadLimits::default())
                        .unwrap()
                        .is_ok()
                );
                keys.push(stream);
            }
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(keys.len(), 4);
    let (mut out, mut outcome) = (Vec::new(), Outcome::default());
    machine.transmit(&mut out, usize::MAX);
    told(&out, &mut outcome);
    assert_eq!(outcome.resets, [(9, ErrorCode::RefusedStream as u32)]);
    for key in keys {
        machine.release(key, ErrorCode::Cancel);
    }
    assert_eq!(machine.streams(), 0);
}

#[test]
fn the_urgent_stream_goes_first() {
    let mut machine = Machine::new(Role::Server, CONFIG);
    let mut client = Client::new();
    frame::put_settings(
        &[(setting::INITIAL_WINDOW_SIZE, 100_000)],
        &mut client.bytes,
    );
    let client = client
        .frame(Kind::PriorityUpdate, 0, 0, b"\0\0\0\x03u=0")
        .headers(1, 1, &with(GET, &[("priority", "u=6")]))
        .get(3)
        .get(5)
        .get(7);
    let mut input = client.bytes;
    loop {
        let step = machine.step(Mono(1), &input).unwrap();
        input.drain(..step.consumed);
        let Some(event) = step.event else { break };
        if let Event::Head { stream, .. } = event {
            let mut head = RequestHead::default();
            assert!(
                machine
                    .read_request(stream, &mut head, &HeadLimits::default())
                    .unwrap()
                    .is_ok()
            );
            machine.begin_block();
            machine.put_status(200);
            machine.end_block(stream, false);
            machine.send(stream, &[b'x'; 20_000]);
            machine.finish(stream, None);
        }
    }
    let mut out = Vec::new();
    machine.transmit(&mut out, usize::MAX);
    let (mut rest, mut order) = (&out[..], Vec::new());
    let mut sent = 0;
    while let Some((head, after)) = rest.split_first_chunk::<HEADER_LEN>() {
        let head = Head::parse(head);
        if head.kind == Kind::Data {
            order.push(head.stream);
            sent += head.len;
        }
        rest = &after[head.len..];
    }
    assert_eq!(
        order,
        [3, 3, 5, 7, 5, 7, 1],
        "in turns, until the connection's window is used up"
    );
    assert_eq!(sent, WINDOW_DEFAULT as usize);
    assert!(sent < CONNECTION_WINDOW as usize);
}

#[test]
fn a_websocket_becomes_an_upgrade() {
    let mut machine = Machine::new(Role::Server, CONFIG);
    let client = Client::new().headers(
        1,
        0,
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", "/chat"),
            (":authority", "h"),
            ("sec-websocket-version", "13"),
        ],
    );
    let mut at = 0;
    loop {
        let step = machine.step(Mono(1), &client.bytes[at..]).unwrap();
        at += step.consumed;
        if let Some(Event::Head { stream, end }) = step.event {
            assert!(!end);
            let mut head = RequestHead::default();
            let read = machine
                .read_request(stream, &mut head, &HeadLimits::default())
                .unwrap();
            assert!(read.unwrap().websocket);
            assert_eq!(head.method, Method::Get);
            assert!(head.upgrade && !head.has_body());
            assert_eq!(head.fields.get(Token::UPGRADE), Some(&b"websocket"[..]));
            return;
        }
    }
}

#[test]
fn noise_never_panics() {
    // Valid frames with every kind, flag and a few lengths, and payloads of a simple pseudo-random sequence.
    let mut seed = 0x9e37_79b9_u32;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed
    };
    for _ in 0..3000 {
        let mut client = Client::new();
        for _ in 0..random() % 12 {
            let (kind, flags, stream) = (random() % 18, random() as u8, random() % 8);
            let payload: Vec<u8> = (0..random() % 40).map(|_| random() as u8).collect();
            client = match random() % 4 {
                0 => client.get(stream),
                1 => client.post(stream),
                _ => client.frame(Kind::of(kind as u8), flags, stream, &payload),
            };
        }
        let at_once = serve(&client.bytes, usize::MAX);
        assert_eq!(serve(&client.bytes, 1), at_once);
    }
}

/// Runs a machine over all that stands in `bytes`; returns what is left and the last event.
fn run(machine: &mut Machine, bytes: &[u8]) -> (usize, Option<Event>) {
    let (mut at, mut last) = (0, None);
    loop {
        let step = machine.step(Mono(1), &bytes[at..]).unwrap();
        at += step.consumed;
        match step.event {
            None => return (at, last),
            event => last = event,
        }
    }
}

#[test]
fn a_block_that_is_given_up_leaves_the_tables_right() {
    // Cut inside the frame, and between its frames.
    let block = b"\x82\x86\x84\x41\x01h\x40\x01x\x01y".to_vec();
    let whole = |stream: u32| {
        let mut bytes = Vec::new();
        frame::put_head(block.len(), Kind::Headers, 5, stream, &mut bytes);
        bytes.extend_from_slice(&block);
        bytes
    };
    let mut pieces = Vec::new();
    frame::put_head(4, Kind::Headers, 1, 1, &mut pieces);
    pieces.extend_from_slice(&block[..4]);
    let cut = pieces.len();
    frame::put_head(block.len() - 4, Kind::Continuation, 4, 1, &mut pieces);
    pieces.extend_from_slice(&block[4..]);
    for (bytes, cut) in [(whole(1), 9), (whole(1), 15), (pieces, cut)] {
        let mut machine = Machine::new(Role::Server, CONFIG);
        run(&mut machine, &Client::new().bytes);
        assert_eq!(machine.begun_block(b""), None);
        let (at, _) = run(&mut machine, &bytes[..cut]);
        assert_eq!(machine.begun_block(&bytes[at..cut]), Some(1));
        machine.give_up(Mono(1), 1).unwrap();
        assert_eq!(machine.begun_block(&bytes[at..cut]), None, "told once");
        let (_, event) = run(&mut machine, &bytes[at..]);
        assert_eq!((event, machine.streams()), (None, 0));
        // `x: y` stands in the table.
        let mut next = Vec::new();
        frame::put_head(7, Kind::Headers, 5, 3, &mut next);
        next.extend_from_slice(b"\x82\x86\x84\x01\x01h\xbe");
        let (_, event) = run(&mut machine, &next);
        let Some(Event::Head { stream, end: true }) = event else {
            panic!("{event:?}");
        };
        let mut head = RequestHead::default();
        let read = machine.read_request(stream, &mut head, &HeadLimits::default());
        read.unwrap().unwrap();
        let field = head.fields.iter().find(|field| field.name == b"x");
        assert_eq!(field.unwrap().value, b"y");
        let (mut out, mut outcome) = (Vec::new(), Outcome::default());
        machine.transmit(&mut out, usize::MAX);
        told(&out, &mut outcome);
        assert_eq!(outcome.resets, [(1, ErrorCode::Protocol as u32)]);
    }
}

#[test]
fn a_body_that_is_read_as_it_comes_gets_a_wider_window() {
    // Before and after the client has seen our settings: the sum is the same.
    for acked in [false, true] {
        let mut machine = Machine::new(Role::Server, CONFIG);
        let mut client = Client::new();
        if !acked {
            client.bytes.truncate(client.bytes.len() - HEADER_LEN);
        }
        let (_, event) = run(&mut machine, &client.post(1).bytes);
        let Some(Event::Head { stream, .. }) = event else {
            panic!("{event:?}");
        };
        let mut head = RequestHead::default();
        let read = machine.read_request(stream, &mut head, &HeadLimits::default());
        read.unwrap().unwrap();
        let mut out = Vec::new();
        machine.transmit(&mut out, usize::MAX);
        out.clear();
        machine.widen(stream, 500_000);
        machine.widen(stream, 500);
        machine.transmit(&mut out, usize::MAX);
        let before = if acked { CONFIG.window } else { WINDOW_DEFAULT };
        let mut want = Vec::new();
        frame::put_window(1, 500_000 - before, &mut want);
        assert_eq!(out, want);
    }
}

#[test]
fn a_turn_has_the_size_that_its_user_says() {
    let mut machine = Machine::new(Role::Server, CONFIG);
    let (_, event) = run(&mut machine, &Client::new().get(1).bytes);
    let Some(Event::Head { stream, .. }) = event else {
        panic!("{event:?}");
    };
    let mut head = RequestHead::default();
    let read = machine.read_request(stream, &mut head, &HeadLimits::default());
    read.unwrap().unwrap();
    machine.set_turn(stream, 3);
    machine.send(stream, b"eleven byte");
    machine.finish(stream, None);
    let mut out = Vec::new();
    machine.transmit(&mut out, usize::MAX);
    let (mut rest, mut lengths) = (&out[..], Vec::new());
    while let Some((head, after)) = rest.split_first_chunk::<HEADER_LEN>() {
        let head = Head::parse(head);
        if head.kind == Kind::Data {
            lengths.push((head.len, head.flags));
        }
        rest = &after[head.len..];
    }
    assert_eq!(lengths, [(3, 0), (3, 0), (3, 0), (2, flag::END_STREAM)]);
}
