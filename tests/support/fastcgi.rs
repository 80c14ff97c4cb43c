//! FastCGI as the tests speak it, written apart from the library: an origin's script reads a request's records and
//! sends records of its own, good or bad.

use super::origin::Conn;

/// END_REQUEST.
pub const END: u8 = 3;
/// STDOUT.
pub const STDOUT: u8 = 6;
/// STDERR.
pub const STDERR: u8 = 7;

/// A request, its records put together.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Parameters in order.
    pub params: Vec<(String, String)>,
    /// stdin.
    pub body: Vec<u8>,
    /// FCGI_KEEP_CONN was asked for.
    pub keep: bool,
    /// Content lengths of the PARAMS records.
    pub param_records: Vec<usize>,
}

impl Request {
    /// The only parameter of this name.
    #[track_caller]
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut all = self.params.iter().filter(|(n, _)| n == name);
        let value = all.next().map(|(_, v)| &v[..]);
        assert!(all.next().is_none(), "{name} occurs twice");
        value
    }
}

/// Reads one request; `None` when the proxy closes instead.
pub fn read(conn: &mut Conn) -> Option<Request> {
    let mut request = Request::default();
    let mut params = Vec::new();
    loop {
        let header = conn.bytes(8);
        if header.len() < 8 {
            return None;
        }
        assert_eq!(
            (header[0], header[2], header[3]),
            (1, 0, 1),
            "version and id"
        );
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let content = conn.bytes(len);
        conn.bytes(usize::from(header[6]));
        match header[1] {
            1 => {
                assert_eq!(content[..2], [0, 1], "the role is that of a responder");
                request.keep = content[2] & 1 == 1;
            }
            4 => {
                params.extend_from_slice(&content);
                request.param_records.push(len);
            }
            5 if len == 0 => break,
            5 => request.body.extend_from_slice(&content),
            kind => panic!("a record of type {kind}"),
        }
    }
    let mut rest = &params[..];
    while !rest.is_empty() {
        let (name, value) = (length(&mut rest), length(&mut rest));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        request
            .params
            .push((text(&rest[..name]), text(&rest[name..name + value])));
        rest = &rest[name + value..];
    }
    Some(request)
}

fn length(rest: &mut &[u8]) -> usize {
    let (len, used) = match rest[0] {
        short @ 0..=127 => (usize::from(short), 1),
        _ => {
            let long = u32::from_be_bytes([rest[0] & 0x7f, rest[1], rest[2], rest[3]]);
            (long as usize, 4)
        }
    };
    *rest = &rest[used..];
    len
}

/// One record.
pub fn record(kind: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    padded(kind, content, 0)
}

/// One record with padding.
pub fn padded(kind: u8, content: impl AsRef<[u8]>, padding: u8) -> Vec<u8> {
    let content = content.as_ref();
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut out = vec![1, kind, 0, 1, high, low, padding, 0];
    out.extend_from_slice(content);
    out.extend(std::iter::repeat_n(0, usize::from(padding)));
    out
}

/// The end of stdout and of the request.
pub fn end() -> Vec<u8> {
    [record(STDOUT, ""), record(END, [0; 8])].concat()
}

/// A whole answer of one record.
pub fn answer(text: impl AsRef<[u8]>) -> Vec<u8> {
    [padded(STDOUT, text, 3), end()].concat()
}
