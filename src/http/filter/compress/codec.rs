//! The three encoders behind one face, and the idle ones that a shard keeps: making the tables of one costs more than
//! compressing a small answer.
//!
//! Knows bytes only. Start at [`Encoder::feed`].

use std::cell::RefCell;
use std::rc::Rc;

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderOperation as Op, BrotliEncoderParameter as Param, BrotliEncoderStateStruct,
};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use super::super::chain::At;
use super::accept::Name;

/// Idle gzip encoders and decoders that a shard keeps of each kind: about 330 and 40 KiB each.
const IDLE_MAX: usize = 16;

/// Bytes that the idle zstd encoders of a shard may hold in all.
const IDLE_ZSTD_BYTES_MAX: usize = 16 << 20;

/// What an encoder or decoder puts out at a time.
const ROOM: usize = 8 << 10;

/// The largest window of zstd that browsers accept (RFC 9659), as a power of two: 8 MiB.
const ZSTD_WINDOW_MAX: u32 = 23;

/// An encoder or decoder that cannot go on; holds what it says.
#[derive(Debug, PartialEq, Eq)]
pub struct Stuck(pub String);

/// What an encoder has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// gzip with a level and the bits of its window.
    Gzip(u8, u8),
    /// Brotli with a level and the bits of its window.
    Brotli(u8, u8),
    /// Zstandard with a level.
    Zstd(u8),
}

impl Kind {
    /// The coding that it makes.
    #[must_use]
    pub const fn name(self) -> Name {
        match self {
            Self::Gzip(..) => Name::Gzip,
            Self::Brotli(..) => Name::Brotli,
            Self::Zstd(_) => Name::Zstd,
        }
    }
}

/// An encoder of gzip with a place of its own to write to: the library would clear a caller's free room on each call.
struct Deflate {
    state: Compress,
    room: [u8; ROOM],
}

/// The same for a decoder of deflate.
pub struct Inflate {
    state: Decompress,
    room: [u8; ROOM],
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Inflate").field(&self.state).finish()
    }
}

impl Inflate {
    /// Decompresses once, as far as input and room go. What was taken, what came out, and how it stands.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, &[u8], Step), Stuck> {
        let before = (self.state.total_in(), self.state.total_out());
        let status = self
            .state
            .decompress(input, &mut self.room, FlushDecompress::None)
            .map_err(|error| Stuck(error.to_string()))?;
        let taken = (self.state.total_in() - before.0) as usize;
        let given = (self.state.total_out() - before.1) as usize;
        let step = match status {
            Status::StreamEnd => Step::End,
            _ if given == ROOM => Step::Full,
            _ => Step::Hungry,
        };
        Ok((taken, &self.room[..given], step))
    }

    /// Begins another stream.
    pub fn reset(&mut self) {
        self.state.reset(false);
    }
}

/// How a decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The stream is over.
    End,
    /// There is more to come out.
    Full,
    /// It wants more input.
    Hungry,
}

/// The idle encoders and decoders of a shard.
#[derive(Default)]
pub struct Idle {
    deflate: RefCell<Vec<(Kind, Box<Deflate>)>>,
    inflate: RefCell<Vec<Box<Inflate>>>,
    zstd: RefCell<Vec<CCtx<'static>>>,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idle")
            .field("deflate", &self.deflate.borrow().len())
            .field("inflate", &self.inflate.borrow().len())
            .field("zstd", &self.zstd.borrow().len())
            .finish()
    }
}

impl Idle {
    /// A decoder of deflate, at the beginning of a stream.
    pub fn take_inflate(&self) -> Box<Inflate> {
        let idle = self.inflate.borrow_mut().pop();
        idle.unwrap_or_else(|| {
            Box::new(Inflate {
                state: Decompress::new(false),
                room: [0; ROOM],
            })
        })
    }

    /// Takes a decoder back.
    pub fn give_inflate(&self, mut state: Box<Inflate>) {
        let mut idle = self.inflate.borrow_mut();
        if idle.len() < IDLE_MAX {
            state.reset();
            idle.push(state);
        }
    }

    fn take_deflate(&self, kind: Kind, level: u8, window: u8) -> Box<Deflate> {
        let mut idle = self.deflate.borrow_mut();
        // The one that was used last: its tables are still in the core's cache.
        match idle.iter().rposition(|(known, _)| *known == kind) {
            Some(index) => idle.remove(index).1,
            None => {
                let level = Compression::new(effort(level));
                Box::new(Deflate {
                    state: Compress::new_gzip(level, window),
                    room: [0; ROOM],
                })
            }
        }
    }

    fn give_deflate(&self, kind: Kind, mut state: Box<Deflate>) {
        let mut idle = self.deflate.borrow_mut();
        // What was kept for a configuration that is gone makes room.
        if idle.len() == IDLE_MAX {
            idle.remove(0);
        }
        state.state.reset();
        idle.push((kind, state));
    }

    fn take_zstd(&self) -> Option<CCtx<'static>> {
        let idle = self.zstd.borrow_mut().pop();
        idle.or_else(CCtx::try_create)
    }

    fn give_zstd(&self, mut state: CCtx<'static>) {
        let mut idle = self.zstd.borrow_mut();
        let held: usize = idle.iter().map(CCtx::sizeof).sum();
        if held + state.sizeof() <= IDLE_ZSTD_BYTES_MAX
            && state.reset(ResetDirective::SessionAndParameters).is_ok()
        {
            idle.push(state);
        }
    }
}

/// The library's level for a level of zlib's. Its first one is much faster and compresses a quarter less; those after
/// it give what zlib gives a level earlier, and still cost less.
fn effort(level: u8) -> u32 {
    match level {
        1 | 2 => u32::from(level) + 1,
        level => u32::from(level),
    }
}

type Brotli = BrotliEncoderStateStruct<StandardAlloc>;

enum State {
    Gzip(Box<Deflate>),
    Brotli(Box<Brotli>),
    Zstd(CCtx<'static>),
}

/// One stream being compressed.
pub struct Encoder {
    kind: Kind,
    /// Always there, except while it is dropped.
    state: Option<State>,
    idle: Rc<Idle>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Encoder").field(&self.kind).finish()
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        match self.state.take() {
            Some(State::Gzip(state)) => self.idle.give_deflate(self.kind, state),
            Some(State::Zstd(state)) => self.idle.give_zstd(state),
            // This one cannot be used again.
            Some(State::Brotli(_)) | None => {}
        }
    }
}

impl Encoder {
    /// An encoder of a kind for an answer whose length may be known.
    pub fn new(kind: Kind, length: Option<u64>, idle: &Rc<Idle>) -> Result<Self, Stuck> {
        let state = match kind {
            Kind::Gzip(level, window) => State::Gzip(idle.take_deflate(kind, level, window)),
            Kind::Brotli(level, window) => State::Brotli(brotli(level, window, length)),
            Kind::Zstd(level) => State::Zstd(zstd(idle, level, length)?),
        };
        Ok(Self {
            kind,
            state: Some(state),
            idle: Rc::clone(idle),
        })
    }

    /// Compresses a piece and appends what is ready: what was held back too, unless more follows.
    pub fn feed(&mut self, input: &[u8], at: At, out: &mut Vec<u8>) -> Result<(), Stuck> {
        match &mut self.state {
            Some(State::Gzip(state)) => feed_gzip(state, input, at, out),
            Some(State::Brotli(state)) => feed_brotli(state, input, at, out),
            Some(State::Zstd(state)) => feed_zstd(state, input, at, out),
            None => Err(Stuck(String::from("no encoder"))),
        }
    }
}

fn feed_gzip(gzip: &mut Deflate, input: &[u8], at: At, out: &mut Vec<u8>) -> Result<(), Stuck> {
    let Deflate { state, room } = gzip;
    let flush = match at {
        At::More => FlushCompress::None,
        At::Flush => FlushCompress::Sync,
        At::End => FlushCompress::Finish,
    };
    let mut from = 0;
    loop {
        let before = (state.total_in(), state.total_out());
        let status = state
            .compress(&input[from..], room, flush)
            .map_err(|error| Stuck(format!("deflate() failed: {error}")))?;
        from += (state.total_in() - before.0) as usize;
        let given = (state.total_out() - before.1) as usize;
        out.extend_from_slice(&room[..given]);
        // A call that leaves room has nothing more to say; the end has a mark of its own.
        let done = match at {
            At::End => status == Status::StreamEnd,
            _ => from == input.len() && given < ROOM,
        };
        if done {
            return Ok(());
        }
    }
}

/// An encoder whose window is no larger than the answer.
fn brotli(level: u8, window: u8, length: Option<u64>) -> Box<Brotli> {
    let mut state = Box::new(Brotli::new(StandardAlloc::default()));
    let mut window = u32::from(window);
    if let Some(length) = length {
        while window > 10 && length < 1 << (window - 1) {
            window -= 1;
        }
        let hint = u32::try_from(length).unwrap_or(u32::MAX);
        state.set_parameter(Param::BROTLI_PARAM_SIZE_HINT, hint);
    }
    state.set_parameter(Param::BROTLI_PARAM_QUALITY, u32::from(level));
    state.set_parameter(Param::BROTLI_PARAM_LGWIN, window);
    state
}

fn feed_brotli(state: &mut Brotli, input: &[u8], at: At, out: &mut Vec<u8>) -> Result<(), Stuck> {
    let op = match at {
        At::More => Op::BROTLI_OPERATION_PROCESS,
        At::Flush => Op::BROTLI_OPERATION_FLUSH,
        At::End => Op::BROTLI_OPERATION_FINISH,
    };
    let (mut left, mut from) = (input.len(), 0);
    loop {
        let (mut room, mut written) = (0, 0);
        let ok = state.compress_stream(
            op,
            &mut left,
            input,
            &mut from,
            &mut room,
            &mut [],
            &mut written,
            &mut None,
            &mut |_, _, _, _| (),
        );
        if !ok {
            return Err(Stuck(String::from("brotli encoder failed")));
        }
        while state.has_more_output() {
            // Zero asks for all that lies ready; how much that is comes back.
            let mut ready = 0;
            let piece = state.take_output(&mut ready);
            out.extend_from_slice(&piece[..ready]);
        }
        let done = match at {
            At::End => state.is_finished(),
            _ => left == 0,
        };
        if done {
            return Ok(());
        }
    }
}

fn zstd(idle: &Idle, level: u8, length: Option<u64>) -> Result<CCtx<'static>, Stuck> {
    let failed = |code| Stuck(format!("zstd failed: {}", zstd_safe::get_error_name(code)));
    let none = || Stuck(String::from("zstd failed: no memory"));
    let mut state = idle.take_zstd().ok_or_else(none)?;
    let level = i32::from(level);
    state
        .set_parameter(CParameter::CompressionLevel(level))
        .map_err(failed)?;
    if level > 19 {
        state
            .set_parameter(CParameter::WindowLog(ZSTD_WINDOW_MAX))
            .map_err(failed)?;
    }
    state.set_pledged_src_size(length).map_err(failed)?;
    Ok(state)
}

fn feed_zstd(
    state: &mut CCtx<'static>,
    input: &[u8],
    at: At,
    out: &mut Vec<u8>,
) -> Result<(), Stuck> {
    let directive = match at {
        At::More => Directive::ZSTD_e_continue,
        At::Flush => Directive::ZSTD_e_flush,
        At::End => Directive::ZSTD_e_end,
    };
    let mut input = InBuffer::around(input);
    loop {
        if out.capacity() - out.len() < ROOM / 16 {
            out.reserve(ROOM);
        }
        let from = out.len();
        let mut output = OutBuffer::around_pos(out, from);
        let left = state
            .compress_stream2(&mut output, &mut input, directive)
            .map_err(|code| Stuck(format!("zstd failed: {}", zstd_safe::get_error_name(code))))?;
        let done = match at {
            At::More => input.pos() == input.src.len(),
            _ => left == 0,
        };
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const KINDS: [Kind; 9] = [
        Kind::Gzip(1, 15),
        Kind::Gzip(6, 15),
        Kind::Gzip(9, 9),
        Kind::Brotli(0, 10),
        Kind::Brotli(6, 19),
        Kind::Brotli(11, 24),
        Kind::Zstd(1),
        Kind::Zstd(19),
        Kind::Zstd(22),
    ];

    fn sample(length: usize) -> Vec<u8> {
        let mut seed = 7u32;
        let words = [&b"alpha "[..], b"\"id\": ", b"beta", b"\n", b"{\"x\": 1}"];
        let mut out = Vec::new();
        while out.len() < length {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            out.extend_from_slice(words[(seed >> 16) as usize % words.len()]);
            out.push((seed >> 24) as u8);
        }
        out.truncate(length);
        out
    }

    fn decode(kind: Kind, coded: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match kind {
            Kind::Gzip(..) => {
                flate2::read::GzDecoder::new(coded)
                    .read_to_end(&mut out)
                    .unwrap();
            }
            Kind::Brotli(..) => {
                brotli::Decompressor::new(coded, 4096)
                    .read_to_end(&mut out)
                    .unwrap();
            }
            Kind::Zstd(_) => {
                out.reserve(4 << 20);
                zstd_safe::decompress(&mut out, coded).unwrap();
            }
        }
        out
    }

    fn encode(kind: Kind, data: &[u8], piece: usize, idle: &Rc<Idle>) -> Vec<u8> {
        let mut encoder = Encoder::new(kind, Some(data.len() as u64), idle).unwrap();
        let mut out = Vec::new();
        for part in data.chunks(piece) {
            encoder.feed(part, At::More, &mut out).unwrap();
        }
        encoder.feed(b"", At::End, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_encoded_in_pieces_decodes_to_the_same() {
        let idle = Rc::new(Idle::default());
        for kind in KINDS {
            for (length, piece) in [(0, 1), (1, 1), (700, 1), (70_000, 977), (300_000, 1 << 20)] {
                let data = sample(length);
                let coded = encode(kind, &data, piece, &idle);
                assert!(decode(kind, &coded) == data, "{kind:?} {length} {piece}");
                // The quickest Brotli makes a block of each piece.
                assert!(
                    piece < 100 || coded.len() < length * 4 / 5,
                    "{kind:?} {length}"
                );
            }
        }
    }

    #[test]
    fn all_at_once_is_the_same_as_byte_by_byte() {
        let idle = Rc::new(Idle::default());
        let data = sample(3000);
        for kind in KINDS {
            let mut encoder = Encoder::new(kind, None, &idle).unwrap();
            let mut out = Vec::new();
            encoder.feed(&data, At::End, &mut out).unwrap();
            assert_eq!(decode(kind, &out), data, "{kind:?}");
        }
    }

    #[test]
    fn a_flush_lets_everything_out() {
        let idle = Rc::new(Idle::default());
        for kind in KINDS {
            let mut encoder = Encoder::new(kind, None, &idle).unwrap();
            let mut out = Vec::new();
            encoder.feed(b"first words ", At::Flush, &mut out).unwrap();
            let seen = so_far(kind, &out);
            assert_eq!(seen, b"first words ", "{kind:?}");
            encoder.feed(b"and more", At::End, &mut out).unwrap();
            assert_eq!(decode(kind, &out), b"first words and more", "{kind:?}");
        }
    }

    /// What a decoder makes of the beginning of a stream.
    fn so_far(kind: Kind, coded: &[u8]) -> Vec<u8> {
        let mut seen = vec![0; 100];
        let mut have = 0;
        let mut read: Box<dyn std::io::Read> = match kind {
            Kind::Gzip(..) => Box::new(flate2::read::GzDecoder::new(coded)),
            Kind::Brotli(..) => Box::new(brotli::Decompressor::new(coded, 4096)),
            Kind::Zstd(_) => {
                let mut context = zstd_safe::DCtx::create();
                let mut input = InBuffer::around(coded);
                let mut output = OutBuffer::around(&mut seen[..]);
                context.decompress_stream(&mut output, &mut input).unwrap();
                have = output.pos();
                seen.truncate(have);
                return seen;
            }
        };
        while let Ok(n @ 1..) = read.read(&mut seen[have..]) {
            have += n;
        }
        seen.truncate(have);
        seen
    }

    #[test]
    fn idle_encoders_are_used_again_and_bounded() {
        let idle = Rc::new(Idle::default());
        let kind = Kind::Gzip(1, 15);
        let data = sample(5000);
        let first = encode(kind, &data, 512, &idle);
        {
            // One that is left in the middle must not leak into the next answer.
            let mut broken = Encoder::new(kind, None, &idle).unwrap();
            broken
                .feed(b"something else", At::More, &mut Vec::new())
                .unwrap();
        }
        assert_eq!(encode(kind, &data, 512, &idle), first);
        assert_eq!(idle.deflate.borrow().len(), 1);
        let many: Vec<_> = (0..IDLE_MAX + 5)
            .map(|_| Encoder::new(kind, None, &idle).unwrap())
            .collect();
        drop(many);
        assert_eq!(idle.deflate.borrow().len(), IDLE_MAX);
        let zstd = Kind::Zstd(3);
        let first = encode(zstd, &data, 512, &idle);
        {
            let mut broken = Encoder::new(zstd, Some(1), &idle).unwrap();
            let _ = broken.feed(&data, At::More, &mut Vec::new());
            assert!(broken.feed(b"", At::End, &mut Vec::new()).is_err());
        }
        assert_eq!(encode(zstd, &data, 512, &idle), first);
        assert_eq!(idle.zstd.borrow().len(), 1);
    }

    #[test]
    fn the_cheapest_gzip_is_no_worse_than_that_of_zlib() {
        let idle = Rc::new(Idle::default());
        let data = sample(64 << 10);
        let sizes: Vec<usize> = (1..=9)
            .map(|level| encode(Kind::Gzip(level, 15), &data, 16 << 10, &idle).len())
            .collect();
        assert!(sizes[0] <= sizes[8] * 3 / 2, "{sizes:?}");
    }

    /// The programs of the same names read what is made here, where they are installed.
    #[test]
    fn other_programs_can_read_it() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};

        let idle = Rc::new(Idle::default());
        let data = sample(100_000);
        for (program, kind) in [
            ("gzip", Kind::Gzip(5, 12)),
            ("brotli", Kind::Brotli(5, 18)),
            ("zstd", Kind::Zstd(9)),
        ] {
            let coded = encode(kind, &data, 10_000, &idle);
            let spawned = Command::new(program)
                .args(["-d", "-c"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            let Ok(mut child) = spawned else {
                eprintln!("skipped: {program} is not installed");
                continue;
            };
            let mut input = child.stdin.take().unwrap();
            let writer = std::thread::spawn(move || input.write_all(&coded).unwrap());
            let out = child.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(out.status.success() && out.stdout == data, "{program}");
        }
    }
}
