//! Frames as they are on the wire (RFC 9113 §4, §6): headers read and written, payloads of fixed form taken apart.
//! Judges each frame by itself; what a frame means for its stream is the business of [`conn`](super::conn).

use super::{ErrorCode, Settings};

/// Bytes of a frame header.
pub const HEADER_LEN: usize = 9;

/// Payload that every endpoint takes (§4.2); we never ask for more.
pub const FRAME_MIN: usize = 16_384;

/// Largest payload that a length field can say.
pub const FRAME_MAX: usize = (1 << 24) - 1;

/// Largest window (§6.9.1).
pub const WINDOW_MAX: u32 = (1 << 31) - 1;

/// What a client sends first (§3.4).
pub use crate::proto::h1::parse::H2_PREFACE as PREFACE;

/// Frame types (§6; PRIORITY_UPDATE: RFC 9218 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the frame type it spells")]
#[repr(u8)]
pub enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    RstStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
    PriorityUpdate = 16,
    /// Anything else is read and forgotten (§5.5).
    Unknown = 255,
}

impl Kind {
    /// The type of its number.
    #[must_use]
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            16 => Self::PriorityUpdate,
            _ => Self::Unknown,
        }
    }
}

/// Flag bits; each type has its own use of them.
pub mod flag {
    /// SETTINGS and PING: an answer.
    pub const ACK: u8 = 1;
    /// DATA and HEADERS: the stream's last.
    pub const END_STREAM: u8 = 1;
    /// HEADERS, PUSH_PROMISE and CONTINUATION: the block's last.
    pub const END_HEADERS: u8 = 4;
    /// DATA and HEADERS: padding is there.
    pub const PADDED: u8 = 8;
    /// HEADERS: the old priority fields are there.
    pub const PRIORITY: u8 = 32;
}

/// A frame's first nine bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of payload.
    pub len: usize,
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
}

impl Head {
    /// Reads a header; the reserved bit is ignored (§4.1).
    #[must_use]
    pub const fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            len: (a as usize) << 16 | (b as usize) << 8 | c as usize,
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & WINDOW_MAX,
        }
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What is wrong with a frame by its header alone: its stream or its length (§6). A stream's error where the RFC
    /// says so, else the connection's.
    pub const fn check(self) -> Result<(), Wrong> {
        let on_stream = self.stream != 0;
        match self.kind {
            Kind::Data | Kind::Headers | Kind::Continuation | Kind::PushPromise if !on_stream => {
                Err(Wrong::Connection(ErrorCode::Protocol))
            }
            Kind::Priority if !on_stream => Err(Wrong::Connection(ErrorCode::Protocol)),
            Kind::Priority if self.len != 5 => Err(Wrong::Stream(ErrorCode::FrameSize)),
            Kind::RstStream if !on_stream => Err(Wrong::Connection(ErrorCode::Protocol)),
            Kind::RstStream if self.len != 4 => Err(Wrong::Connection(ErrorCode::FrameSize)),
            Kind::Settings if on_stream => Err(Wrong::Connection(ErrorCode::Protocol)),
            Kind::Settings
                if self.has(flag::ACK) && self.len != 0 || !self.len.is_multiple_of(6) =>
            {
                Err(Wrong::Connection(ErrorCode::FrameSize))
            }
            Kind::Ping if on_stream => Err(Wrong::Connection(ErrorCode::Protocol)),
            Kind::Ping if self.len != 8 => Err(Wrong::Connection(ErrorCode::FrameSize)),
            Kind::GoAway if on_stream => Err(Wrong::Connection(ErrorCode::Protocol)),
            Kind::GoAway if self.len < 8 => Err(Wrong::Connection(ErrorCode::FrameSize)),
            Kind::WindowUpdate if self.len != 4 => Err(Wrong::Connection(ErrorCode::FrameSize)),
            Kind::PriorityUpdate if on_stream => Err(Wrong::Connection(ErrorCode::Protocol)),
            Kind::PriorityUpdate if self.len < 4 => Err(Wrong::Connection(ErrorCode::FrameSize)),
            _ => Ok(()),
        }
    }
}

/// Whose error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The connection ends with GOAWAY.
    Connection(ErrorCode),
    /// The stream ends with RST_STREAM.
    Stream(ErrorCode),
}

/// The 31 bits of a number whose first bit is reserved.
#[must_use]
pub fn number31(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_be_bytes(word) & WINDOW_MAX
}

/// A number of 32 bits.
#[must_use]
pub fn number32(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_be_bytes(word)
}

/// Settings that we know, by number (§6.5.2; 8: RFC 8441; 9: RFC 9218).
#[allow(missing_docs, reason = "each constant is the setting it spells")]
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
    pub const NO_RFC7540_PRIORITIES: u16 = 9;
}

/// Takes over what a SETTINGS payload says; its length is a multiple of six.
pub fn read_settings(payload: &[u8], settings: &mut Settings) -> Result<(), ErrorCode> {
    for entry in payload.chunks_exact(6) {
        let id = u16::from_be_bytes([entry[0], entry[1]]);
        let value = number32(&entry[2..]);
        match id {
            setting::HEADER_TABLE_SIZE => settings.header_table_size = value,
            setting::ENABLE_PUSH if value > 1 => return Err(ErrorCode::Protocol),
            setting::ENABLE_PUSH => settings.enable_push = value == 1,
            setting::MAX_CONCURRENT_STREAMS => settings.max_concurrent_streams = value,
            setting::INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                return Err(ErrorCode::FlowControl);
            }
            setting::INITIAL_WINDOW_SIZE => settings.initial_window_size = value,
            setting::MAX_FRAME_SIZE
                if (value as usize) < FRAME_MIN || value as usize > FRAME_MAX =>
            {
                return Err(ErrorCode::Protocol);
            }
            setting::MAX_FRAME_SIZE => settings.max_frame_size = value,
            setting::MAX_HEADER_LIST_SIZE => settings.max_header_list_size = Some(value),
            setting::ENABLE_CONNECT_PROTOCOL if value > 1 => return Err(ErrorCode::Protocol),
            setting::ENABLE_CONNECT_PROTOCOL => {
                // Once allowed it stays so (RFC 8441 §3).
                if settings.enable_connect_protocol && value == 0 {
                    return Err(ErrorCode::Protocol);
                }
                settings.enable_connect_protocol = value == 1;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Appends a frame header.
pub fn put_head(len: usize, kind: Kind, flags: u8, stream: u32, out: &mut Vec<u8>) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind as u8, flags, s0, s1, s2, s3]);
}

/// Appends SETTINGS with these entries.
pub fn put_settings(entries: &[(u16, u32)], out: &mut Vec<u8>) {
    put_head(entries.len() * 6, Kind::Settings, 0, 0, out);
    for (id, value) in entries {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the answer to SETTINGS.
pub fn put_settings_ack(out: &mut Vec<u8>) {
    put_head(0, Kind::Settings, flag::ACK, 0, out);
}

/// Appends PING, or its answer.
pub fn put_ping(payload: &[u8; 8], ack: bool, out: &mut Vec<u8>) {
    put_head(8, Kind::Ping, if ack { flag::ACK } else { 0 }, 0, out);
    out.extend_from_slice(payload);
}

/// Appends RST_STREAM.
pub fn put_reset(stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    put_head(4, Kind::RstStream, 0, stream, out);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Appends GOAWAY.
pub fn put_goaway(last: u32, code: ErrorCode, out: &mut Vec<u8>) {
    put_head(8, Kind::GoAway, 0, 0, out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Appends WINDOW_UPDATE.
pub fn put_window(stream: u32, more: u32, out: &mut Vec<u8>) {
    put_head(4, Kind::WindowUpdate, 0, stream, out);
    out.extend_from_slice(&more.to_be_bytes());
}

/// Appends a header block, cut into HEADERS and CONTINUATION by the peer's frame size.
pub fn put_block(stream: u32, block: &[u8], end: bool, frame_max: usize, out: &mut Vec<u8>) {
    let mut kind = Kind::Headers;
    let mut flags = if end { flag::END_STREAM } else { 0 };
    let mut rest = block;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(frame_max));
        if after.is_empty() {
            flags |= flag::END_HEADERS;
        }
        put_head(piece.len(), kind, flags, stream, out);
        out.extend_from_slice(piece);
        if after.is_empty() {
            return;
        }
        (kind, flags, rest) = (Kind::Continuation, 0, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let mut out = Vec::new();
        put_head(0x01_02_03, Kind::Headers, 0x25, 0x7fff_fffe, &mut out);
        let mut bytes = [0; HEADER_LEN];
        bytes.copy_from_slice(&out);
        let head = Head::parse(&bytes);
        assert_eq!(head.len, 0x01_02_03);
        assert_eq!(head.kind, Kind::Headers);
        assert!(head.has(flag::PRIORITY) && head.has(flag::END_STREAM));
        assert_eq!(head.stream, 0x7fff_fffe);
        bytes[5] |= 0x80;
        assert_eq!(Head::parse(&bytes), head, "the reserved bit is ignored");
    }

    #[test]
    fn frames_are_judged_by_their_heads() {
        use ErrorCode::{FrameSize, Protocol};
        let connection = |code| Err(Wrong::Connection(code));
        for (kind, flags, len, stream, want) in [
            (Kind::Data, 0, 0, 0, connection(Protocol)),
            (Kind::Data, 0, 0, 1, Ok(())),
            (Kind::Headers, 0, 0, 0, connection(Protocol)),
            (Kind::Continuation, 0, 0, 0, connection(Protocol)),
            (Kind::Priority, 0, 5, 0, connection(Protocol)),
            (Kind::Priority, 0, 4, 3, Err(Wrong::Stream(FrameSize))),
            (Kind::Priority, 0, 5, 3, Ok(())),
            (Kind::RstStream, 0, 4, 0, connection(Protocol)),
            (Kind::RstStream, 0, 5, 1, connection(FrameSize)),
            (Kind::Settings, 0, 6, 1, connection(Protocol)),
            (Kind::Settings, 0, 7, 0, connection(FrameSize)),
            (Kind::Settings, flag::ACK, 6, 0, connection(FrameSize)),
            (Kind::Settings, flag::ACK, 0, 0, Ok(())),
            (Kind::Ping, 0, 8, 1, connection(Protocol)),
            (Kind::Ping, 0, 7, 0, connection(FrameSize)),
            (Kind::GoAway, 0, 8, 1, connection(Protocol)),
            (Kind::GoAway, 0, 7, 0, connection(FrameSize)),
            (Kind::WindowUpdate, 0, 3, 0, connection(FrameSize)),
            (Kind::WindowUpdate, 0, 4, 9, Ok(())),
            (Kind::PriorityUpdate, 0, 4, 1, connection(Protocol)),
            (Kind::PriorityUpdate, 0, 3, 0, connection(FrameSize)),
            (Kind::Unknown, 0xff, 77, 5, Ok(())),
        ] {
            let head = Head {
                len,
                kind,
                flags,
                stream,
            };
            assert_eq!(head.check(), want, "{head:?}");
        }
    }

    #[test]
    fn settings_are_read_and_judged() {
        let mut settings = Settings::default();
        let mut out = Vec::new();
        put_settings(
            &[
                (1, 0),
                (3, 7),
                (4, 100),
                (5, 20_000),
                (6, 9),
                (8, 1),
                (99, 1),
            ],
            &mut out,
        );
        assert_eq!(read_settings(&out[HEADER_LEN..], &mut settings), Ok(()));
        assert_eq!(settings.header_table_size, 0);
        assert_eq!(settings.max_concurrent_streams, 7);
        assert_eq!(settings.initial_window_size, 100);
        assert_eq!(settings.max_frame_size, 20_000);
        assert_eq!(settings.max_header_list_size, Some(9));
        assert!(settings.enable_connect_protocol);
        for (id, value, want) in [
            (2, 2, ErrorCode::Protocol),
            (4, 1 << 31, ErrorCode::FlowControl),
            (5, 16_383, ErrorCode::Protocol),
            (5, 1 << 24, ErrorCode::Protocol),
            (8, 2, ErrorCode::Protocol),
            (8, 0, ErrorCode::Protocol),
        ] {
            let mut out = Vec::new();
            put_settings(&[(id, value)], &mut out);
            assert_eq!(
                read_settings(&out[HEADER_LEN..], &mut settings),
                Err(want),
                "{id} {value}"
            );
        }
    }

    #[test]
    fn blocks_are_cut_by_the_frame_size() {
        for (len, frames) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3)] {
            let block = vec![7; len];
            let mut out = Vec::new();
            put_block(3, &block, true, 10, &mut out);
            let (mut rest, mut seen, mut joined) = (&out[..], 0, Vec::new());
            while let Some((head, after)) = rest.split_first_chunk::<HEADER_LEN>() {
                let head = Head::parse(head);
                seen += 1;
                assert_eq!(
                    head.kind,
                    if seen == 1 {
                        Kind::Headers
                    } else {
                        Kind::Continuation
                    }
                );
                assert_eq!(head.has(flag::END_HEADERS), seen == frames);
                assert_eq!(head.has(flag::END_STREAM), seen == 1);
                joined.extend_from_slice(&after[..head.len]);
                rest = &after[head.len..];
            }
            assert_eq!((seen, joined), (frames, block));
        }
    }
}
