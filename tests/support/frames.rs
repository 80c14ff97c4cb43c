//! HTTP/2 by hand: frames as bytes, sent and read by a plain [`Client`] or by an origin's script. Knows only what it
//! takes to break rules.

use super::Client;
use super::origin::Conn;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const END_STREAM_AND_HEADERS: u8 = 5;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// The client's first words, and what follows.
pub fn hello(then: &[Vec<u8>]) -> Vec<u8> {
    hello_with(&[], then)
}

/// As [`hello`], with settings.
pub fn hello_with(settings: &[(u16, u32)], then: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    out.extend(frame(SETTINGS, 0, 0, &payload));
    then.iter().for_each(|frame| out.extend(frame));
    out
}

/// GET of `/` over http with `:authority: h`.
pub fn get(stream: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_STREAM_AND_HEADERS,
        stream,
        b"\x82\x86\x84\x41\x01h",
    )
}

/// A header block that spells out each field, in no table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        assert!(name.len() < 127 && value.len() < 127);
        out.extend([0, name.len() as u8]);
        out.extend(name.as_bytes());
        out.push(value.len() as u8);
        out.extend(value.as_bytes());
    }
    out
}

/// One frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Reads a frame.
#[track_caller]
pub fn next(client: &mut Client) -> Frame {
    let head = client.bytes(9);
    let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload: client.bytes(len),
    }
}

/// Reads frames until one of this kind comes; its stream and payload.
#[track_caller]
pub fn until(client: &mut Client, kind: u8) -> (u32, Vec<u8>) {
    for _ in 0..10_000 {
        let frame = next(client);
        if frame.kind == kind {
            return (frame.stream, frame.payload);
        }
    }
    panic!("no frame of type {kind}");
}

/// An origin's first words, once the proxy has said its own; its frames follow.
pub fn greet(conn: &mut Conn, settings: &[(u16, u32)]) -> bool {
    let preface = conn.bytes(24);
    if preface.len() < 24 {
        return false;
    }
    assert_eq!(preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let hello = hello_with(settings, &[]);
    conn.send(&hello[24..])
}

/// The next frame that the proxy sends; none at its end.
pub fn next_of(conn: &mut Conn) -> Option<Frame> {
    let head = conn.bytes(9);
    if head.len() < 9 {
        return None;
    }
    let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let frame = Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload: conn.bytes(len),
    };
    if frame.kind == SETTINGS && frame.flags == 0 {
        conn.send(self::frame(SETTINGS, 1, 0, b""));
    }
    Some(frame)
}

/// The next frame of this kind.
pub fn find(conn: &mut Conn, kind: u8) -> Option<Frame> {
    loop {
        let frame = next_of(conn)?;
        if frame.kind == kind {
            return Some(frame);
        }
    }
}

/// The stream of the next request whose head comes.
pub fn request(conn: &mut Conn) -> Option<u32> {
    find(conn, HEADERS).map(|frame| frame.stream)
}

/// A response's head.
pub fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// A whole response: 200 and this body.
pub fn answer(stream: u32, body: &[u8]) -> Vec<u8> {
    let mut out = head(stream, 0, &[(":status", "200")]);
    out.extend(frame(DATA, END_STREAM, stream, body));
    out
}
