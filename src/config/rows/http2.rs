//! Rows of HTTP/2 towards clients.

use super::main::checked;
use crate::config::lower::{Frame, Lowering};
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Row, Status, args, family, row};
use crate::config::tree::Directive;
use crate::config::value::*;

family! {
    /// Settings of HTTP/2.
    pub struct Http2 in http2 {
        value http2: bool = "off", flag, HS, args(1), "Speaks HTTP/2 with clients that begin with its preface.";
        value http2_max_concurrent_streams: u32 = "128", num32, HS, args(1), "Most requests of one connection at a time.";
        value http2_body_preread_size: u32 = "64k", window, HS, args(1), "Bytes of a request body that a client may send ahead of its reader.";
        value http2_chunk_size: u32 = "8k", chunk, HSL, args(1), "Largest piece of a response body: a frame, unless the client takes smaller ones only.";
        value http2_recv_buffer_size: usize = "256k", size, H, args(1), "Buffer for what clients send." accepted "each connection takes buffers as it needs them";
        value http2_pool_size: usize = "4k", size, HS, args(1), "Memory for a connection." accepted "memory is pooled by shard";
    } also {
    }
}

/// Largest window that a client can be given (RFC 9113 §6.9.1).
const WINDOW_MAX: usize = (1 << 31) - 1;

/// `http2_body_preread_size`.
fn window(args: &mut Args<'_>) -> Result<u32, Fault> {
    let bytes = size(args)?;
    u32::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes as usize <= WINDOW_MAX)
        .ok_or_else(|| {
            Fault::new(format!(
                "the maximum body preread buffer size is {WINDOW_MAX}"
            ))
        })
}

/// Largest frame that there is (RFC 9113 §4.2); nginx caps the size of a chunk at it too.
const FRAME_MAX: usize = (1 << 24) - 1;

/// `http2_chunk_size`.
fn chunk(args: &mut Args<'_>) -> Result<u32, Fault> {
    match size(args)? {
        0 => Err(Fault::new("the http2 chunk size cannot be zero".to_owned())),
        bytes => Ok(bytes.min(FRAME_MAX) as u32),
    }
}

/// What nginx takes and ignores, each with the directive that has its part now.
const OBSOLETE: &[(&str, &str)] = &[
    ("http2_idle_timeout", "keepalive_timeout"),
    ("http2_max_concurrent_pushes", ""),
    ("http2_max_field_size", "large_client_header_buffers"),
    ("http2_max_header_size", "large_client_header_buffers"),
    ("http2_max_requests", "keepalive_requests"),
    ("http2_push", ""),
    ("http2_push_preload", ""),
    ("http2_recv_timeout", "client_header_timeout"),
];

fn obsolete(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let name = directive.name.lossy();
    let instead = OBSOLETE.iter().find(|(old, _)| *old == name);
    let text = match instead {
        Some((_, new)) if !new.is_empty() => {
            format!("the \"{name}\" directive is obsolete, use the \"{new}\" directive instead")
        }
        _ => format!("the \"{name}\" directive is obsolete, ignored"),
    };
    load.warn(&text, directive.span);
}

/// The rows without a field.
pub(crate) const ROWS: &[Row] = &[
    row(
        "http2_idle_timeout",
        HS,
        args(1),
        obsolete,
        "Obsolete, as in nginx: keepalive_timeout.",
    )
    .many(),
    row(
        "http2_max_concurrent_pushes",
        HS,
        args(1),
        obsolete,
        "Obsolete, as in nginx.",
    )
    .many(),
    row(
        "http2_max_field_size",
        HS,
        args(1),
        obsolete,
        "Obsolete, as in nginx: large_client_header_buffers.",
    )
    .many(),
    row(
        "http2_max_header_size",
        HS,
        args(1),
        obsolete,
        "Obsolete, as in nginx: large_client_header_buffers.",
    )
    .many(),
    row(
        "http2_max_requests",
        HS,
        args(1),
        obsolete,
        "Obsolete, as in nginx: keepalive_requests.",
    )
    .many(),
    row(
        "http2_push",
        HSL,
        args(1),
        obsolete,
        "Obsolete, as in nginx.",
    )
    .many(),
    row(
        "http2_push_preload",
        HSL,
        args(1),
        obsolete,
        "Obsolete, as in nginx.",
    )
    .many(),
    row(
        "http2_recv_timeout",
        HS,
        args(1),
        obsolete,
        "Obsolete, as in nginx: client_header_timeout.",
    )
    .many(),
    checked!(
        "http2_streams_index_size",
        HS,
        args(1),
        num,
        "streams are found by number",
        "Size of the table of streams."
    ),
];
