//! Tests of the records and of answers cut at every byte; owns no code of its own.

use super::*;

/// A record as an application sends it.
fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let mut out = vec![1, kind, 0, 1, high, low, padding, 0];
    out.extend_from_slice(content);
    out.extend(std::iter::repeat_n(0xee, usize::from(padding)));
    out
}

fn records(parts: &[(u8, &[u8], u8)]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|&(kind, content, padding)| record(kind, content, padding))
        .collect()
}

/// What an answer came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    status: u16,
    status_line: String,
    body: Vec<u8>,
    done: bool,
    reusable: bool,
    excess: bool,
    stderr: Vec<String>,
    error: Option<Error>,
    /// Bytes behind the answer.
    left: usize,
}

/// Reads an answer that comes in pieces.
fn read(keep: bool, pieces: &[&[u8]], length: fn(&ResponseHead) -> Option<u64>) -> Read {
    let mut answer = Answer::default();
    answer.reset(keep);
    let mut head = ResponseHead::default();
    let mut read = Read::default();
    let mut in_body = false;
    let mut input: Vec<u8> = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut at = 0;
        if !in_body {
            match answer.head(&input, 4096, &mut head) {
                Ok(HeadStep::More) => at = input.len(),
                Ok(HeadStep::Done(used)) => {
                    at = used;
                    in_body = true;
                    answer.expect(length(&head));
                    read.status = head.status;
                    read.status_line =
                        String::from_utf8_lossy(head.bytes(head.status_line)).into_owned();
                }
                Err(error) => read.error = Some(error),
            }
        }
        while in_body && !read.done && read.error.is_none() {
            match answer.step(&input[at..]) {
                Ok(BodyStep::Data { from, to }) => {
                    assert!(from < to, "data is never empty");
                    read.body.extend_from_slice(&input[at + from..at + to]);
                    at += to;
                }
                Ok(BodyStep::More) => {
                    at = input.len();
                    break;
                }
                Ok(BodyStep::Done(len)) => {
                    at += len;
                    read.done = true;
                }
                Err(error) => read.error = Some(error),
            }
        }
        if read.error.is_some() {
            break;
        }
        input.drain(..at);
    }
    read.left = input.len();
    read.reusable = answer.is_reusable();
    read.excess = answer.has_excess();
    let notes = answer.take_notes().texts;
    let notes = notes
        .iter()
        .map(|n| String::from_utf8_lossy(n).into_owned());
    read.stderr = notes.collect();
    read
}

fn announced(head: &ResponseHead) -> Option<u64> {
    head.content_length
}

/// Reads in one piece, then cut in two at every byte, then byte by byte: always the same.
fn read_anyhow(keep: bool, bytes: &[u8]) -> Read {
    let whole = read(keep, &[bytes], announced);
    for cut in 0..=bytes.len() {
        let two = read(keep, &[&bytes[..cut], &bytes[cut..]], announced);
        // Bytes behind the end may be the next piece.
        let same = Read {
            left: whole.left,
            ..two
        };
        assert_eq!(same, whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    let mut same = read(keep, &single, announced);
    same.left = whole.left;
    assert_eq!(same, whole, "byte by byte");
    whole
}

const END: (u8, &[u8], u8) = (3, &[0; 8], 0);

#[test]
fn an_answer_is_put_together_from_its_records() {
    let bytes = records(&[
        (7, b"PHP Notice: a.\n", 1),
        (6, b"Status: 404 Not Here\r\nContent-", 2),
        (7, b"more\r\n", 0),
        (6, b"Type: text/plain\n\nhel", 3),
        (6, b"lo", 6),
        (7, b"late", 4),
        (6, b"", 0),
        (3, &[0; 8], 5),
    ]);
    for keep in [false, true] {
        let got = read_anyhow(keep, &bytes);
        assert_eq!(got.status, 404);
        assert_eq!(got.status_line, "404 Not Here");
        assert_eq!(got.body, b"hello");
        assert_eq!(got.stderr, ["PHP Notice: a", "more", "late"]);
        assert!(got.done && got.reusable == keep && got.error.is_none());
    }
}

#[test]
fn the_status_comes_from_fields() {
    let cases: [(&str, Result<u16, &str>, &str); 13] = [
        ("Content-Type: a", Ok(200), ""),
        ("Location: /x", Ok(302), ""),
        ("Location: /x\r\nStatus: 201", Ok(201), ""),
        ("Status: 503", Ok(503), ""),
        ("Status: 503 Busy Now", Ok(503), "503 Busy Now"),
        ("status: 999 x", Ok(999), "999 x"),
        ("Status: 200 A\r\nStatus: 500 B", Ok(200), "200 A"),
        ("Status: 101 Switching", Err("101 Switching"), ""),
        ("Status: 099", Err("099"), ""),
        ("Status: 2000", Err("2000"), ""),
        ("Status: 20", Err("20"), ""),
        ("Status: abc", Err("abc"), ""),
        ("Status:", Err(""), ""),
    ];
    for (head, want, line) in cases {
        let head = format!("{head}\r\n\r\n");
        let got = read_anyhow(false, &records(&[(6, head.as_bytes(), 0), END]));
        match want {
            Ok(status) => assert_eq!((got.status, &got.status_line[..]), (status, line), "{head}"),
            Err(shown) => assert_eq!(got.error, Some(Error::Status(shown.as_bytes().into()))),
        }
    }
}

#[test]
fn lengths_are_kept() {
    let head = b"Content-Length: 5\r\n\r\n";
    let with = |parts: &[(u8, &[u8], u8)]| {
        let mut all = vec![(6, &head[..], 3)];
        all.extend_from_slice(parts);
        read_anyhow(true, &records(&all))
    };
    let got = with(&[(6, b"hello", 3), (6, b"", 0), END]);
    assert!(got.done && got.reusable && !got.excess && got.body == b"hello");
    let got = with(&[(6, b"hello, you", 0), (6, b"", 0), END]);
    assert!(got.done && got.excess && !got.reusable);
    assert_eq!(got.body, b"hello");
    let got = with(&[(6, b"hello", 0), (6, b"!", 0), END]);
    assert!(got.done && got.excess && !got.reusable && got.body == b"hello");
    let got = with(&[(6, b"hell", 4), (6, b"", 0), END]);
    assert_eq!(got.error, Some(Error::StdoutClosed));
    let got = with(&[(6, b"hell", 4), END]);
    assert_eq!(got.error, Some(Error::RequestClosed));
}

#[test]
fn chunked_means_nothing_here() {
    let got = read_anyhow(
        false,
        &records(&[(6, b"Transfer-Encoding: chunked\r\n\r\n2\r\nab", 0), END]),
    );
    assert_eq!(got.body, b"2\r\nab");
}

#[test]
fn what_is_no_answer_is_an_error() {
    let ok = record(6, b"A: b\r\n\r\n", 0);
    let patched = |at: usize, byte: u8| {
        let mut bytes = ok.clone();
        bytes[at] = byte;
        bytes
    };
    let cases: Vec<(Vec<u8>, Error)> = vec![
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Error::Version(b'H')),
        (patched(0, 2), Error::Version(2)),
        (patched(1, 5), Error::Type(5)),
        (patched(1, 11), Error::Type(11)),
        (patched(2, 1), Error::IdHigh(1)),
        (patched(3, 0), Error::IdLow(0)),
        (patched(3, 2), Error::IdLow(2)),
        (records(&[END]), Error::Unexpected(3)),
        (records(&[(7, b"x", 0), END]), Error::Unexpected(3)),
        (records(&[(6, b"", 0)]), Error::StdoutClosed),
        (
            records(&[(6, b"A: b\r\n", 0), (6, b"", 0)]),
            Error::StdoutClosed,
        ),
        (
            records(&[(6, b"A\0: b\r\n\r\n", 0)]),
            Error::Head(
                ResponseError::InvalidField,
                (*b"upstream sent invalid header: \"A\\x00...\"").into(),
            ),
        ),
        (
            records(&[(6, b"Content-Length: x\r\n\r\n", 0)]),
            Error::Head(
                ResponseError::InvalidContentLength,
                (*b"upstream sent invalid \"Content-Length\" header: \"Content-Length: x\"").into(),
            ),
        ),
        (
            records(&[(6, &[b'a'; 5000], 0)]),
            Error::Head(
                ResponseError::TooBig,
                (*b"upstream sent too big header").into(),
            ),
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(read(false, &[&bytes], announced).error, Some(error.clone()));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(false, &single, announced).error, Some(error));
    }
    // The same in the body.
    let mut bytes = ok.clone();
    bytes.extend_from_slice(&patched(1, 2));
    assert_eq!(read_anyhow(true, &bytes).error, Some(Error::Type(2)));
}

#[test]
fn what_follows_the_end_spoils_the_connection_only() {
    let mut bytes = records(&[(6, b"A: b\r\n\r\nx", 0), (6, b"", 0), END]);
    bytes.extend_from_slice(b"junk");
    let got = read(true, &[&bytes], announced);
    assert!(got.done && got.body == b"x");
    assert_eq!(got.left, 4);
}

#[test]
fn where_a_close_is_an_end() {
    for (bytes, length, want) in [
        (records(&[(6, b"\r\nabc", 0)]), None, false),
        (records(&[(6, b"\r\nabc", 0)]), Some(3), true),
        (records(&[(6, b"\r\nab", 0)]), Some(3), false),
        (records(&[(6, b"\r\nabc", 0), (6, b"", 0)]), None, true),
    ] {
        let mut answer = Answer::default();
        answer.reset(true);
        let mut head = ResponseHead::default();
        let Ok(HeadStep::Done(used)) = answer.head(&bytes, 4096, &mut head) else {
            panic!("a head");
        };
        answer.expect(length);
        let mut at = used;
        while let Ok(BodyStep::Data { to, .. }) = answer.step(&bytes[at..]) {
            at += to;
        }
        assert_eq!(answer.at_close(), want);
        assert!(!answer.is_reusable());
    }
}

#[test]
fn a_flood_of_stderr_is_bounded() {
    let mut answer = Answer::default();
    answer.reset(false);
    let mut head = ResponseHead::default();
    let flood = record(7, &[b'x'; 60_000], 0);
    for _ in 0..10 {
        assert_eq!(answer.head(&flood, 4096, &mut head), Ok(HeadStep::More));
    }
    let notes = answer.take_notes();
    assert!(notes.texts.iter().map(Vec::len).sum::<usize>() <= NOTES_BYTES_MAX);
    assert_eq!(
        notes.dropped as usize,
        600_000 - notes.texts.iter().map(Vec::len).sum::<usize>()
    );
    assert!(!answer.has_notes());
}

/// Takes a request apart as an application does: type and content of each record.
fn sent(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        assert_eq!((bytes[0], bytes[2], bytes[3]), (1, 0, 1));
        let len = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        let end = 8 + len + usize::from(bytes[6]);
        assert_eq!(end % 8, 0, "records are padded");
        out.push((bytes[1], bytes[8..8 + len].to_vec()));
        bytes = &bytes[end..];
    }
    out
}

#[test]
fn requests_are_records() {
    let mut out = Vec::new();
    begin(true, &mut out);
    let mut params = Params::begin(&mut out);
    params.pair((b"A", b""), b"b", &mut out).unwrap();
    params
        .pair((b"HTTP_", b"X"), &[b'v'; 200], &mut out)
        .unwrap();
    params.end(&mut out);
    stdin(b"body", &mut out);
    stdin_end(&mut out);
    let got = sent(&out);
    assert_eq!(got[0], (1, vec![0, 1, 1, 0, 0, 0, 0, 0]));
    let mut want = b"\x01\x01Ab\x06\x80\x00\x00\xc8HTTP_X".to_vec();
    want.extend_from_slice(&[b'v'; 200]);
    assert_eq!(got[1], (4, want));
    assert_eq!(got[2..], [(4, vec![]), (5, b"body".to_vec()), (5, vec![])]);
}

#[test]
fn no_parameters_are_one_empty_record() {
    let mut out = Vec::new();
    Params::begin(&mut out).end(&mut out);
    assert_eq!(sent(&out), [(4, vec![])]);
}

#[test]
fn many_parameters_take_several_records_of_whole_pairs() {
    let mut out = Vec::new();
    let mut params = Params::begin(&mut out);
    for _ in 0..5 {
        params.pair((b"N", b""), &[b'v'; 30_000], &mut out).unwrap();
    }
    let before = out.len();
    let error = params.pair((b"N", b""), &[b'v'; 65_531], &mut out);
    assert_eq!(error, Err(TooBig(65_537)));
    assert_eq!(out.len(), before, "nothing of it was written");
    params.pair((b"N", b""), &[b'v'; 65_529], &mut out).unwrap();
    params.end(&mut out);
    let lengths: Vec<usize> = sent(&out).iter().map(|(_, c)| c.len()).collect();
    assert_eq!(lengths, [60_012, 60_012, 30_006, 65_535, 0]);
}

#[test]
fn bodies_are_cut_into_records() {
    for len in [0, 1, 8, 32 << 10, (32 << 10) + 1, 100_000] {
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut out = Vec::new();
        stdin(&body, &mut out);
        stdin_end(&mut out);
        assert!(out.len() <= stdin_room(len), "{len}");
        let parts = sent(&out);
        let (last, parts) = parts.split_last().unwrap();
        assert_eq!(*last, (5, vec![]));
        assert!(parts.iter().all(|(kind, c)| *kind == 5 && !c.is_empty()));
        assert_eq!(parts.concat_contents(), body);
    }
}

trait Contents {
    fn concat_contents(&self) -> Vec<u8>;
}

impl Contents for [(u8, Vec<u8>)] {
    fn concat_contents(&self) -> Vec<u8> {
        self.iter()
            .flat_map(|(_, content)| content.clone())
            .collect()
    }
}

#[test]
fn errors_are_told_in_nginxs_words() {
    for (error, text) in [
        (
            Error::Version(72),
            "upstream sent unsupported FastCGI protocol version: 72",
        ),
        (
            Error::Type(9),
            "upstream sent invalid FastCGI record type: 9",
        ),
        (
            Error::IdHigh(1),
            "upstream sent unexpected FastCGI request id high byte: 1",
        ),
        (
            Error::IdLow(2),
            "upstream sent unexpected FastCGI request id low byte: 2",
        ),
        (
            Error::Unexpected(3),
            "upstream sent unexpected FastCGI record: 3",
        ),
        (
            Error::StdoutClosed,
            "upstream prematurely closed FastCGI stdout",
        ),
        (
            Error::RequestClosed,
            "upstream prematurely closed FastCGI request",
        ),
        (
            Error::Status((*b"x").into()),
            "upstream sent invalid status \"x\"",
        ),
        (
            Error::Head(
                ResponseError::TooBig,
                (*b"upstream sent too big header").into(),
            ),
            "upstream sent too big header",
        ),
    ] {
        let mut out = Vec::new();
        error.write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
