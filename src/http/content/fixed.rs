//! Answers that are only bytes: `return` with a text, and `empty_gif`.

use super::super::exchange::{Body, Exchange};
use super::super::flow::Flow;
use super::super::local::Cx;
use crate::proto::head::Method;

/// A transparent picture of one pixel: header, two-colour palette, transparency, one pixel.
#[rustfmt::skip]
const GIF: &[u8] = &[
    b'G', b'I', b'F', b'8', b'9', b'a', 1, 0, 1, 0, 0x80, 1, 0,
    0, 0, 0, 0xff, 0xff, 0xff,
    0x21, 0xf9, 4, 1, 0, 0, 1, 0,
    0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0,
    2, 2, 0x4c, 1, 0, 0x3b,
];

/// When the picture was made, as nginx tells: 28 September 1970, 06:00.
const GIF_MODIFIED: i64 = 23_349_600;

/// `return CODE TEXT`: `text` is a pooled buffer.
pub fn text(ex: &mut Exchange, cx: Cx<'_>, status: u16, text: Vec<u8>) -> Flow {
    super::set_content_type(ex, cx);
    let response = &mut ex.response;
    response.status = status;
    response.reason.clear();
    response.content_length = Some(text.len() as u64);
    response.body = Body::Buffer(text);
    Flow::Answer
}

/// `empty_gif`.
pub fn empty_gif(ex: &mut Exchange) -> Flow {
    if !matches!(ex.method, Method::Get | Method::Head) {
        return Flow::Error(405);
    }
    let response = &mut ex.response;
    response.status = 200;
    response.content_type.clear();
    response.content_type.extend_from_slice(b"image/gif");
    response.last_modified = Some(GIF_MODIFIED);
    response.content_length = Some(GIF.len() as u64);
    response.body = Body::Static(GIF);
    Flow::Answer
}
