//! Tests of `body`: framing read strictly, whole and cut at every byte.

use super::super::super::tokens::Token;
use super::*;

/// Decodes `input` in pieces that end at `cuts`; the data, the unread rest, and whether it is over.
fn decode(input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Vec<u8>, ChunkedDecoder), BodyError> {
    let mut body = BodyDecoder::Chunked(Box::default());
    let (mut out, mut rest) = (Vec::new(), Vec::new());
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        if body.is_done() {
            rest.extend_from_slice(&input[start..]);
            break;
        }
        let mut piece = input[start..end].to_vec();
        body.decode_in_place(&mut piece, 0, &mut rest)?;
        out.extend_from_slice(&piece);
        start = end;
    }
    let BodyDecoder::Chunked(decoder) = body else {
        unreachable!()
    };
    Ok((out, rest, *decoder))
}

#[test]
fn good_bodies_at_every_cut() {
    for (input, data, trailers) in [
        ("0\r\n\r\n", "", &[][..]),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", &[]),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", &[]),
        ("a;x=y;z\r\n0123456789\r\n000\r\n\r\n", "0123456789", &[]),
        (
            "A \t ;q=\"a b\"\r\n0123456789\r\n0;last\r\n\r\n",
            "0123456789",
            &[],
        ),
        ("2 \r\nhi\r\n0\r\n\r\n", "hi", &[]),
        (
            "2\r\n\r\n\r\n0\r\nX-A: 1\r\nx-b:2 \r\n\r\n",
            "\r\n",
            &["X-A=1", "x-b=2"],
        ),
        (
            "0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: x\r\nOk: y\r\n\r\n",
            "",
            &["Ok=y"],
        ),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc", &[]),
    ] {
        let mut whole = input.as_bytes().to_vec();
        whole.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let check = |cuts: &[usize]| {
            let (out, rest, decoder) = decode(&whole, cuts).unwrap();
            assert_eq!(String::from_utf8_lossy(&out), data, "{input:?} {cuts:?}");
            assert_eq!(rest, b"GET / HTTP/1.1\r\n", "{input:?} {cuts:?}");
            let got: Vec<String> = decoder
                .trailers()
                .iter()
                .map(|f| {
                    format!(
                        "{}={}",
                        String::from_utf8_lossy(f.name),
                        String::from_utf8_lossy(f.value)
                    )
                })
                .collect();
            assert_eq!(got, trailers, "{input:?} {cuts:?}");
        };
        for cut in 0..=whole.len() {
            check(&[cut]);
        }
        check(&(0..whole.len()).collect::<Vec<_>>());
    }
}

#[test]
fn bad_bodies_at_every_cut() {
    use BodyError::*;
    for (input, error) in [
        ("\r\n", ChunkSize),
        ("x\r\n", ChunkSize),
        (" 5\r\nhello\r\n", ChunkSize),
        ("-5\r\n", ChunkSize),
        ("+5\r\n", ChunkSize),
        ("0x5\r\n", ChunkSize),
        ("5_\r\n", ChunkSize),
        ("5h\r\n", ChunkSize),
        ("5,5\r\n", ChunkSize),
        ("8000000000000000\r\n", ChunkSize),
        ("ffffffffffffffff\r\n", ChunkSize),
        ("10000000000000000\r\n", ChunkSize),
        ("00000000000000005\r\n", ChunkSize),
        ("5\nhello\r\n", ChunkLineEnd),
        ("5\rhello\r\n", ChunkLineEnd),
        ("5;a\nhello\r\n", ChunkLineEnd),
        ("5;a\rb\r\nhello\r\n", ChunkLineEnd),
        ("5 a\r\nhello\r\n", ChunkExtension),
        ("5;a\0\r\nhello\r\n", ChunkExtension),
        ("5;a\x0b\r\nhello\r\n", ChunkExtension),
        ("5;a\x7f\r\nhello\r\n", ChunkExtension),
        ("5\r\nhello0\r\n\r\n", ChunkLineEnd),
        ("5\r\nhello\n0\r\n\r\n", ChunkLineEnd),
        ("5\r\nhello\r0\r\n\r\n", ChunkLineEnd),
        ("5\r\nhello!\r\n0\r\n\r\n", ChunkLineEnd),
        ("0\n\r\n", ChunkLineEnd),
        ("0\r\n\n", ChunkLineEnd),
        ("0\r\nA: b\n\r\n", ChunkLineEnd),
        ("0\r\n folded\r\n\r\n", Trailer),
        ("0\r\nA : b\r\n\r\n", Trailer),
        ("0\r\nnocolon\r\n\r\n", Trailer),
        ("0\r\nA: \0\r\n\r\n", Trailer),
        ("0\r\nA: b\rc\r\n\r\n", Trailer),
        ("0\r\n: b\r\n\r\n", Trailer),
        ("0\r\n\r\r\n", Trailer),
    ] {
        let input = input.as_bytes();
        for cut in 0..=input.len() {
            assert_eq!(
                decode(input, &[cut]).err(),
                Some(error),
                "{:?} {cut}",
                String::from_utf8_lossy(input)
            );
        }
        let all: Vec<usize> = (0..input.len()).collect();
        assert_eq!(decode(input, &all).err(), Some(error));
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(5000));
    assert_eq!(
        decode(long.as_bytes(), &[]).err(),
        Some(BodyError::ChunkExtension)
    );
    // Many small chunks, each with an extension larger than its data.
    let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(20);
    assert_eq!(
        decode(many.as_bytes(), &[]).err(),
        Some(BodyError::ChunkExtension)
    );
    // Data pays for extensions.
    let fair =
        format!("400;{}\r\n{}\r\n", "x".repeat(1000), "d".repeat(1024)).repeat(100) + "0\r\n\r\n";
    assert_eq!(decode(fair.as_bytes(), &[]).unwrap().0.len(), 102_400);
    let wide = format!("0\r\nA: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(
        decode(wide.as_bytes(), &[]).err(),
        Some(BodyError::TrailerTooLarge)
    );
    let endless = format!("0\r\n{}", "x".repeat(9000));
    assert_eq!(
        decode(endless.as_bytes(), &[]).err(),
        Some(BodyError::TrailerTooLarge)
    );
    let tall = format!("0\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert_eq!(
        decode(tall.as_bytes(), &[]).err(),
        Some(BodyError::TrailerTooLarge)
    );
}

#[test]
fn random_bodies_round_trip_at_random_cuts() {
    let mut rng = crate::base::rng::Rng::new(3);
    for _ in 0..3000 {
        let (mut wire, mut data) = (Vec::new(), Vec::new());
        for _ in 0..rng.below(6) {
            let mut chunk = vec![0; rng.below(40) as usize + 1];
            rng.fill(&mut chunk);
            super::super::encode::chunk_head(&mut wire, chunk.len());
            wire.extend_from_slice(&chunk);
            wire.extend_from_slice(b"\r\n");
            data.extend_from_slice(&chunk);
        }
        wire.extend_from_slice(super::super::encode::LAST_CHUNK);
        let mut cuts: Vec<usize> = (0..rng.below(8))
            .map(|_| rng.below(wire.len() as u64) as usize)
            .collect();
        cuts.sort_unstable();
        let (out, rest, decoder) = decode(&wire, &cuts).unwrap();
        assert!(decoder.is_done() && rest.is_empty());
        assert_eq!(out, data);
    }
}

#[test]
fn random_bytes_never_panic_and_cuts_never_matter() {
    let alphabet = b"\r\n0125aF;: \t\0xX-\"";
    let mut rng = crate::base::rng::Rng::new(5);
    for _ in 0..100_000 {
        let input: Vec<u8> = (0..rng.below(24))
            .map(|_| alphabet[rng.below(alphabet.len() as u64) as usize])
            .collect();
        let all: Vec<usize> = (0..input.len()).collect();
        let (whole, bytewise) = (decode(&input, &[]), decode(&input, &all));
        match (whole, bytewise) {
            (Ok(a), Ok(b)) => assert_eq!(
                (a.0, a.1, a.2.is_done()),
                (b.0, b.1, b.2.is_done()),
                "{input:?}"
            ),
            (Err(a), Err(b)) => assert_eq!(a, b, "{input:?}"),
            other => unreachable!("{input:?} {other:?}"),
        }
    }
}

#[test]
fn lengths() {
    let mut body = LengthBody::new(5);
    assert_eq!(body.step(b""), BodyStep::More);
    assert_eq!(body.step(b"abc"), BodyStep::Data { from: 0, to: 3 });
    assert_eq!(body.step(b"defg"), BodyStep::Data { from: 0, to: 2 });
    assert_eq!(body.step(b"fg"), BodyStep::Done(0));
    let mut body = BodyDecoder::Length(LengthBody::new(u64::MAX));
    let mut out = Vec::new();
    assert_eq!(body.decode_into(b"xyz", &mut out), Ok((3, false)));
    assert!(!body.at_close());
    assert!(BodyDecoder::UntilClose.at_close() && BodyDecoder::Empty.at_close());
}

#[test]
fn responses_choose_their_framing() {
    let head = |status, length, chunked| ResponseHead {
        status,
        content_length: length,
        chunked,
        ..ResponseHead::default()
    };
    for (response, is_head, expected) in [
        (head(200, None, false), false, "UntilClose"),
        (head(200, Some(3), false), false, "Length"),
        (head(200, Some(0), false), false, "Empty"),
        (head(200, None, true), false, "Chunked"),
        (head(200, Some(3), false), true, "Empty"),
        (head(204, None, true), false, "Empty"),
        (head(304, Some(3), false), false, "Empty"),
        (head(101, None, false), false, "Empty"),
    ] {
        let body = format!("{:?}", BodyDecoder::for_response(&response, is_head));
        assert!(body.starts_with(expected), "{response:?} {body}");
    }
    let mut fields = Fields::new();
    fields.push(b"x", b"y");
    assert!(fields.get(Token::HOST).is_none());
}
