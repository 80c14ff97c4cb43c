//! HTTP/2 (RFC 9113) without io: frames, header compression, and the machine that a connection of either role is.
//!
//! [`frame`] and [`hpack`] are codecs; [`header`] gives a block its meaning as a request or response head;
//! [`conn::Machine`] is the connection: feed it bytes, take what it says. [`guard`] bounds what a peer may make us do.

pub mod conn;
pub mod frame;
pub mod guard;
pub mod header;
pub mod hpack;
pub mod huffman;
pub mod priority;
pub mod send;
pub mod streams;

#[cfg(test)]
mod tests;

use frame::{FRAME_MIN, WINDOW_MAX};

/// Error codes (§7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the error code it spells")]
#[repr(u32)]
pub enum ErrorCode {
    No = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    SettingsTimeout = 4,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    Connect = 10,
    EnhanceYourCalm = 11,
    InadequateSecurity = 12,
    Http11Required = 13,
}

impl ErrorCode {
    /// The code of its number; unknown ones are as good as INTERNAL_ERROR (§7).
    #[must_use]
    pub const fn of(number: u32) -> Self {
        match number {
            0 => Self::No,
            1 => Self::Protocol,
            3 => Self::FlowControl,
            4 => Self::SettingsTimeout,
            5 => Self::StreamClosed,
            6 => Self::FrameSize,
            7 => Self::RefusedStream,
            8 => Self::Cancel,
            9 => Self::Compression,
            10 => Self::Connect,
            11 => Self::EnhanceYourCalm,
            12 => Self::InadequateSecurity,
            13 => Self::Http11Required,
            _ => Self::Internal,
        }
    }

    /// The RFC's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "NO_ERROR",
            Self::Protocol => "PROTOCOL_ERROR",
            Self::Internal => "INTERNAL_ERROR",
            Self::FlowControl => "FLOW_CONTROL_ERROR",
            Self::SettingsTimeout => "SETTINGS_TIMEOUT",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::FrameSize => "FRAME_SIZE_ERROR",
            Self::RefusedStream => "REFUSED_STREAM",
            Self::Cancel => "CANCEL",
            Self::Compression => "COMPRESSION_ERROR",
            Self::Connect => "CONNECT_ERROR",
            Self::EnhanceYourCalm => "ENHANCE_YOUR_CALM",
            Self::InadequateSecurity => "INADEQUATE_SECURITY",
            Self::Http11Required => "HTTP_1_1_REQUIRED",
        }
    }
}

/// What one side has said of itself (§6.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Dynamic table that it keeps for decoding, in bytes.
    pub header_table_size: u32,
    /// Whether it takes pushed streams.
    pub enable_push: bool,
    /// Streams of the other side that it takes at a time.
    pub max_concurrent_streams: u32,
    /// Window of a new stream, in bytes.
    pub initial_window_size: u32,
    /// Largest payload of a frame that it takes, in bytes.
    pub max_frame_size: u32,
    /// Largest field section that it takes, in bytes as §6.5.2 counts; advice only.
    pub max_header_list_size: Option<u32>,
    /// Extended CONNECT may be used (RFC 8441).
    pub enable_connect_protocol: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table_size: hpack::TABLE_DEFAULT as u32,
            enable_push: true,
            max_concurrent_streams: u32::MAX,
            initial_window_size: WINDOW_DEFAULT,
            max_frame_size: FRAME_MIN as u32,
            max_header_list_size: None,
            enable_connect_protocol: false,
        }
    }
}

/// Window of a stream and of a connection before anybody has said another (§6.9.2).
pub const WINDOW_DEFAULT: u32 = 65_535;

const _: () = assert!(WINDOW_DEFAULT < WINDOW_MAX);
