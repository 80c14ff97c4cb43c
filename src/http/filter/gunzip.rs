//! `gunzip`: an answer that is compressed with gzip reaches a client without gzip as plain bytes.
//!
//! The filter hands on a bounded piece at a time, so that a small answer that stands for a huge one costs no memory.
//! Headers of members are read here, the deflate stream between by the library, so that streams of several members
//! work and their checksums are checked. Start at [`Filter::feed`].

use std::rc::Rc;

use flate2::Crc;

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::chain::{At, BodyFilter, Broken, Fed};
use super::compress::accept;
use super::compress::codec::{Idle, Inflate, Step};
use crate::plan::filters::Coding;
use crate::proto::tokens::Token;

/// What is appended at a time before the rest has to wait.
const PIECE_BYTES: usize = 32 << 10;

/// Fixed part of a member's head: magic, method, flags, time, extra flags, system.
const HEAD_BYTES: usize = 10;
/// Checksum and length behind the data of a member.
const TAIL_BYTES: usize = 8;

/// Flags of a member's head.
const HAS_CHECKSUM: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// Where in a member the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The fixed part of the head.
    Head,
    /// The length of the extra field.
    ExtraLength,
    /// So many bytes of the extra field are left.
    Extra(u16),
    /// The name, which ends with a zero.
    Name,
    /// The comment, which ends with a zero.
    Comment,
    /// The checksum of the head.
    HeadChecksum,
    /// Compressed data.
    Data,
    /// Checksum and length.
    Tail,
}

/// One answer being decompressed.
#[derive(Debug)]
pub struct Filter {
    place: Place,
    /// Bytes of a fixed part, as far as they have come.
    part: [u8; HEAD_BYTES],
    have: usize,
    /// Flags of the member.
    flags: u8,
    /// Checksum of the head, then of the data.
    checksum: Crc,
    /// Members that are over.
    members: u64,
    /// Made when data comes.
    inflate: Option<Box<Inflate>>,
    idle: Rc<Idle>,
}

/// Decompresses the answer if it is compressed and the client cannot.
pub fn arm(plan: &Coding, ex: &mut Exchange, cx: Cx<'_>) {
    let coding = ex.response.fields.get(Token::CONTENT_ENCODING);
    if !coding.is_some_and(|name| name.eq_ignore_ascii_case(b"gzip")) {
        return;
    }
    ex.response.vary_encoding = true;
    if accept::gzip_ok(plan, ex, cx) {
        return;
    }
    let response = &mut ex.response;
    response.fields.remove(Token::CONTENT_ENCODING);
    response.clear_length();
    response.forbid_ranges();
    response.weaken_etag();
    let filter = Filter::new(Rc::clone(&cx.local.codecs));
    response.chain.arm(BodyFilter::Gunzip(Box::new(filter)));
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(inflate) = self.inflate.take() {
            self.idle.give_inflate(inflate);
        }
    }
}

impl Filter {
    fn new(idle: Rc<Idle>) -> Self {
        Self {
            place: Place::Head,
            part: [0; HEAD_BYTES],
            have: 0,
            flags: 0,
            checksum: Crc::new(),
            members: 0,
            inflate: None,
            idle,
        }
    }

    /// Takes bytes and appends what they stand for, a bounded piece at a time.
    pub fn feed(&mut self, input: &[u8], at: At, out: &mut Vec<u8>) -> Result<Fed, Broken> {
        let bound = out.len() + PIECE_BYTES;
        let mut from = 0;
        loop {
            if self.place == Place::Data {
                from += self.data(&input[from..], bound, out)?;
                if self.place == Place::Data {
                    if out.len() >= bound {
                        return Ok(Fed::Part(from));
                    }
                    break;
                }
            } else if from < input.len() {
                self.frame(input[from])?;
                from += 1;
            } else {
                break;
            }
        }
        let whole = self.members > 0 && self.place == Place::Head && self.have == 0;
        if at == At::End && !whole {
            return Err(Broken(String::from(
                "inflate() returned -5 on response end",
            )));
        }
        Ok(Fed::All)
    }

    /// Inflates as far as input and room go; returns how much was taken.
    fn data(&mut self, input: &[u8], bound: usize, out: &mut Vec<u8>) -> Result<usize, Broken> {
        let inflate = self.inflate.get_or_insert_with(|| self.idle.take_inflate());
        let mut from = 0;
        loop {
            let (taken, piece, step) = inflate.step(&input[from..]).map_err(|_| failed())?;
            from += taken;
            self.checksum.update(piece);
            out.extend_from_slice(piece);
            let idle = taken == 0 && piece.is_empty();
            match step {
                Step::End => {
                    inflate.reset();
                    self.place = Place::Tail;
                    return Ok(from);
                }
                _ if out.len() >= bound => return Ok(from),
                Step::Hungry if from == input.len() => return Ok(from),
                Step::Hungry if idle => return Err(failed()),
                Step::Hungry | Step::Full => {}
            }
        }
    }

    /// One byte of what stands around the data.
    fn frame(&mut self, byte: u8) -> Result<(), Broken> {
        if !matches!(self.place, Place::HeadChecksum | Place::Tail) {
            self.checksum.update(&[byte]);
        }
        match self.place {
            Place::Head => {
                self.gather(byte);
                if self.have == HEAD_BYTES {
                    self.head()?;
                }
            }
            Place::ExtraLength => {
                self.gather(byte);
                if self.have == 2 {
                    self.go(Place::Extra(u16::from_le_bytes([
                        self.part[0],
                        self.part[1],
                    ])));
                }
            }
            Place::Extra(left) => self.go(Place::Extra(left - 1)),
            Place::Name | Place::Comment if byte != 0 => {}
            Place::Name => self.go(Place::Comment),
            Place::Comment => self.go(Place::HeadChecksum),
            Place::HeadChecksum => {
                self.gather(byte);
                if self.have == 2 {
                    let told = u16::from_le_bytes([self.part[0], self.part[1]]);
                    if u32::from(told) != self.checksum.sum() & 0xffff {
                        return Err(failed());
                    }
                    self.begin_data();
                }
            }
            Place::Tail => {
                self.gather(byte);
                if self.have == TAIL_BYTES {
                    self.tail()?;
                }
            }
            // Data is not read byte by byte.
            Place::Data => {}
        }
        Ok(())
    }

    fn gather(&mut self, byte: u8) {
        self.part[self.have] = byte;
        self.have += 1;
    }

    /// Judges the fixed part of a head.
    fn head(&mut self) -> Result<(), Broken> {
        let [0x1f, 0x8b, 8, flags, ..] = self.part else {
            return Err(failed());
        };
        if flags & RESERVED != 0 {
            return Err(failed());
        }
        self.flags = flags;
        self.go(Place::ExtraLength);
        Ok(())
    }

    /// Goes to a place, or behind it where the member has no such part.
    fn go(&mut self, place: Place) {
        self.have = 0;
        let has = |flag| self.flags & flag != 0;
        self.place = match place {
            Place::ExtraLength if !has(HAS_EXTRA) => return self.go(Place::Name),
            Place::Extra(0) => return self.go(Place::Name),
            Place::Name if !has(HAS_NAME) => return self.go(Place::Comment),
            Place::Comment if !has(HAS_COMMENT) => return self.go(Place::HeadChecksum),
            Place::HeadChecksum if !has(HAS_CHECKSUM) => return self.begin_data(),
            place => place,
        };
    }

    fn begin_data(&mut self) {
        self.have = 0;
        self.place = Place::Data;
        self.checksum.reset();
    }

    /// Judges checksum and length of the data; another member may follow.
    fn tail(&mut self) -> Result<(), Broken> {
        let [a, b, c, d, e, f, g, h, ..] = self.part;
        let (sum, length) = (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        );
        if sum != self.checksum.sum() || length != self.checksum.amount() {
            return Err(failed());
        }
        self.checksum.reset();
        self.members += 1;
        self.have = 0;
        self.place = Place::Head;
        Ok(())
    }
}

/// The words of nginx's log for data that is not what it should be.
fn failed() -> Broken {
    Broken(String::from("inflate() failed: 0, -3"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};

    use super::*;

    fn plain(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * i / 7 % 251) as u8).collect()
    }

    fn member(data: &[u8], builder: GzBuilder) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Feeds in pieces, whatever the filter leaves over again; the longest single output too.
    fn run(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize), Broken> {
        let idle = Rc::new(Idle::default());
        let mut filter = Filter::new(idle);
        let (mut all, mut most) = (Vec::new(), 0);
        let mut pieces: Vec<&[u8]> = input.chunks(piece).collect();
        pieces.push(b"");
        let last = pieces.len() - 1;
        for (index, mut rest) in pieces.into_iter().enumerate() {
            let at = if index == last { At::End } else { At::More };
            loop {
                let mut out = Vec::new();
                let fed = filter.feed(rest, at, &mut out)?;
                most = most.max(out.len());
                all.extend_from_slice(&out);
                match fed {
                    Fed::Part(taken) => rest = &rest[taken..],
                    _ => break,
                }
            }
        }
        Ok((all, most))
    }

    #[test]
    fn members_of_all_forms_in_pieces_of_all_sizes() {
        let data = plain(100_000);
        let mut stream = member(&data, GzBuilder::new());
        stream.extend(member(
            b"",
            GzBuilder::new()
                .filename("a")
                .comment("b")
                .extra(vec![1; 300]),
        ));
        stream.extend(member(b"end", GzBuilder::new().filename("x").mtime(7)));
        let mut want = data;
        want.extend_from_slice(b"end");
        for piece in [1, 2, 7, 1000, 1 << 20] {
            assert_eq!(run(&stream, piece).unwrap().0, want, "{piece}");
        }
    }

    #[test]
    fn a_checksum_of_the_head_is_checked() {
        let mut stream = member(b"x", GzBuilder::new());
        stream[3] |= HAS_CHECKSUM;
        let mut crc = Crc::new();
        crc.update(&stream[..HEAD_BYTES]);
        let sum = (crc.sum() as u16).to_le_bytes();
        stream.splice(HEAD_BYTES..HEAD_BYTES, sum);
        assert_eq!(run(&stream, 3).unwrap().0, b"x");
        stream[HEAD_BYTES] ^= 1;
        assert!(run(&stream, 3).is_err());
    }

    #[test]
    fn a_bomb_comes_out_in_small_pieces() {
        let bomb = member(&vec![0; 32 << 20], GzBuilder::new());
        assert!(bomb.len() < 64 << 10);
        let (out, most) = run(&bomb, 16 << 10).unwrap();
        assert_eq!(out.len(), 32 << 20);
        assert!(most <= 2 * PIECE_BYTES, "{most}");
    }

    #[test]
    fn what_is_cut_or_wrong_is_noticed() {
        let good = member(&plain(1000), GzBuilder::new());
        for cut in 0..good.len() {
            assert!(run(&good[..cut], 64).is_err(), "cut at {cut}");
        }
        let spoilt = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            bytes
        };
        for at in [0, 1, 2, 3, good.len() - 1, good.len() - 5, good.len() / 2] {
            assert!(run(&spoilt(at), 64).is_err(), "spoilt at {at}");
        }
        let mut tail = good;
        tail.extend_from_slice(b"garbage follows");
        assert!(run(&tail, 64).is_err());
    }

    #[test]
    fn a_decoder_is_used_again() {
        let idle = Rc::new(Idle::default());
        let stream = member(&plain(5000), GzBuilder::new());
        for _ in 0..3 {
            let mut filter = Filter::new(Rc::clone(&idle));
            let mut out = Vec::new();
            // The second stream is left in the middle.
            filter.feed(&stream[..900], At::More, &mut out).unwrap();
        }
        assert!(format!("{idle:?}").contains("inflate: 1"), "{idle:?}");
        let mut filter = Filter::new(idle);
        let mut out = Vec::new();
        assert_eq!(filter.feed(&stream, At::End, &mut out), Ok(Fed::All));
        assert_eq!(out, plain(5000));
    }
}
