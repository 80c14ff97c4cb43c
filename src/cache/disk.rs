//! The header that a stored answer's file begins with. Pure: bytes in, values out. Start at [`encode`] and [`decode`].
//!
//! ```text
//!   0  magic, version
//!  12  checksum over what is fixed and what is variable
//!  16  length of the body, where it begins, lengths of the variable parts
//!  64  facts, twice: each with a checksum, a count and a stamp
//! 192  key, vary, variant, etag, tags, extra, head
//!   …  the body, from a multiple of 8 on
//! ```
//!
//! Facts change when an answer is revalidated or marked as expired. The older copy is overwritten then, so that a crash
//! in the middle leaves the other one. Everything else is written once, before the file gets its name.

use crate::base::hash::{Crc32, crc32};
use crate::mail::cache::{Facts, Meta};

const MAGIC: &[u8; 8] = b"RINGX\r\n\x1a";

/// Counts up with each change of the layout; files of another version are dropped.
const VERSION: u16 = 1;

/// Bytes of one copy of the facts.
pub const SLOT: usize = 64;

/// Where the two copies are.
pub const SLOTS: [usize; 2] = [64, 128];

/// Where the variable parts begin.
pub const FIXED: usize = 192;

/// The longest header: a head is bounded by the buffers of who received it.
pub const HEADER_MAX: usize = 2 << 20;

/// Everything that a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The key.
    pub key: Box<[u8]>,
    /// What is known of the answer.
    pub meta: Meta,
    /// The answer's head.
    pub head: Box<[u8]>,
    /// Which content of the file this is.
    pub stamp: u64,
    /// How often its facts were written.
    pub count: u32,
    /// Bytes of the body.
    pub body_len: u64,
    /// Where the body begins.
    pub offset: u64,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// So many bytes of the file have to be read first.
    Short(usize),
    /// Not a file of ours.
    Foreign,
    /// Of another version.
    Version,
    /// A length or a checksum is wrong.
    Corrupt,
    /// The body is not as long as the header says.
    Truncated,
}

impl Unsound {
    /// For the log.
    pub fn text(self) -> &'static str {
        match self {
            Self::Short(_) | Self::Truncated => "is truncated",
            Self::Foreign => "is not a file of this cache",
            Self::Version => "has another version",
            Self::Corrupt => "is corrupt",
        }
    }
}

/// Where the body begins behind these parts; none when the header would be too long.
pub fn offset(key: &[u8], meta: &Meta, head: &[u8]) -> Option<u64> {
    let parts = parts(key, meta, head);
    let len: usize = FIXED + parts.iter().map(|part| part.len()).sum::<usize>();
    (len <= HEADER_MAX).then(|| len.next_multiple_of(8) as u64)
}

fn parts<'a>(key: &'a [u8], meta: &'a Meta, head: &'a [u8]) -> [&'a [u8]; 7] {
    [
        key,
        &meta.vary,
        &meta.variant,
        &meta.etag,
        &meta.tags,
        &meta.extra,
        head,
    ]
}

/// Appends the header of an answer whose body has come. It is `offset` long.
pub fn encode(out: &mut Vec<u8>, header: &Header) {
    let begin = out.len();
    let parts = parts(&header.key, &header.meta, &header.head);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&header.body_len.to_le_bytes());
    out.extend_from_slice(&(header.offset as u32).to_le_bytes());
    for part in parts {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
    }
    out.resize(begin + SLOTS[0], 0);
    let facts = slot(&header.meta.facts, header.stamp, header.count);
    out.extend_from_slice(&facts);
    out.extend_from_slice(&facts);
    for part in parts {
        out.extend_from_slice(part);
    }
    out.resize(begin + header.offset as usize, 0);
    let sum = checksum(&out[begin..]).to_le_bytes();
    out[begin + 12..begin + 16].copy_from_slice(&sum);
}

fn checksum(header: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(&header[..12]);
    crc.update(&header[16..SLOTS[0]]);
    crc.update(&header[FIXED..]);
    crc.finish()
}

/// One copy of the facts.
pub fn slot(facts: &Facts, stamp: u64, count: u32) -> [u8; SLOT] {
    let mut out = [0; SLOT];
    out[4..8].copy_from_slice(&count.to_le_bytes());
    out[8..16].copy_from_slice(&stamp.to_le_bytes());
    out[16..18].copy_from_slice(&facts.status.to_le_bytes());
    out[18..20].copy_from_slice(&facts.flags.to_le_bytes());
    out[20..24].copy_from_slice(&facts.age.to_le_bytes());
    let times = [
        facts.received,
        facts.date,
        facts.last_modified,
        facts.valid_until,
    ];
    for (place, time) in out[24..56].chunks_exact_mut(8).zip(times) {
        place.copy_from_slice(&time.to_le_bytes());
    }
    out[56..60].copy_from_slice(&facts.while_revalidate.to_le_bytes());
    out[60..64].copy_from_slice(&facts.if_error.to_le_bytes());
    let sum = crc32(&out[4..]).to_le_bytes();
    out[..4].copy_from_slice(&sum);
    out
}

/// One copy of the facts, with its stamp and count, if it is whole.
fn read_slot(bytes: &[u8]) -> Option<(Facts, u64, u32)> {
    if u32_at(bytes, 0) != crc32(&bytes[4..SLOT]) {
        return None;
    }
    let time = |at| u64_at(bytes, at) as i64;
    let word = u32_at(bytes, 16);
    let facts = Facts {
        status: word as u16,
        flags: (word >> 16) as u16,
        age: u32_at(bytes, 20),
        received: time(24),
        date: time(32),
        last_modified: time(40),
        valid_until: time(48),
        while_revalidate: u32_at(bytes, 56),
        if_error: u32_at(bytes, 60),
    };
    Some((facts, u64_at(bytes, 8), u32_at(bytes, 4)))
}

/// The facts of a file's first [`FIXED`] bytes, their stamp and count, and which copy has them.
pub fn newest_facts(bytes: &[u8]) -> Option<(Facts, u64, u32, usize)> {
    let copy = |n: usize| {
        let (facts, stamp, count) = read_slot(bytes.get(SLOTS[n]..SLOTS[n] + SLOT)?)?;
        Some((facts, stamp, count, n))
    };
    match (copy(0), copy(1)) {
        (Some(a), Some(b)) if b.2.wrapping_sub(a.2) as i32 > 0 => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Reads the header of a file of `file_len` bytes from its first bytes.
pub fn decode(bytes: &[u8], file_len: u64) -> Result<Header, Unsound> {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] != MAGIC[..seen] {
        return Err(Unsound::Foreign);
    }
    if bytes.len() < FIXED {
        return Err(if file_len < FIXED as u64 {
            Unsound::Truncated
        } else {
            Unsound::Short(FIXED)
        });
    }
    if bytes[8..10] != VERSION.to_le_bytes() {
        return Err(Unsound::Version);
    }
    let body_len = u64_at(bytes, 16);
    let offset = u32_at(bytes, 24) as usize;
    let lens: [usize; 7] = std::array::from_fn(|n| u32_at(bytes, 28 + 4 * n) as usize);
    let end = lens.iter().fold(FIXED as u64, |sum, len| sum + *len as u64);
    if end > HEADER_MAX as u64 || end.next_multiple_of(8) != offset as u64 {
        return Err(Unsound::Corrupt);
    }
    if bytes.len() < offset {
        return Err(if file_len < offset as u64 {
            Unsound::Truncated
        } else {
            Unsound::Short(offset)
        });
    }
    let bytes = &bytes[..offset];
    if u32_at(bytes, 12) != checksum(bytes) {
        return Err(Unsound::Corrupt);
    }
    if file_len.checked_sub(offset as u64) != Some(body_len) {
        return Err(Unsound::Truncated);
    }
    let (facts, stamp, count, _) = newest_facts(bytes).ok_or(Unsound::Corrupt)?;
    let mut at = FIXED;
    let [key, vary, variant, etag, tags, extra, head] = lens.map(|len| {
        at += len;
        &bytes[at - len..at]
    });
    Ok(Header {
        key: Box::from(key),
        meta: Meta {
            facts,
            etag: etag.to_vec(),
            vary: vary.to_vec(),
            variant: variant.to_vec(),
            tags: tags.to_vec(),
            extra: extra.to_vec(),
        },
        head: Box::from(head),
        stamp,
        count,
        body_len,
        offset: offset as u64,
    })
}

/// What a file of so many bytes takes on a disk.
pub fn on_disk(len: u64) -> u64 {
    len.next_multiple_of(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Header {
        let meta = Meta {
            facts: Facts {
                status: 200,
                flags: 7,
                received: 1_700_000_000,
                date: -1,
                last_modified: 12,
                age: 3,
                valid_until: 1_700_000_600,
                while_revalidate: 9,
                if_error: u32::MAX,
            },
            etag: b"\"e\"".to_vec(),
            vary: b"accept".to_vec(),
            variant: b"text/html".to_vec(),
            tags: b"a b".to_vec(),
            extra: vec![0, 1],
        };
        let mut header = Header {
            key: Box::from(&b"http://one/"[..]),
            meta,
            head: Box::from(&b"HTTP/1.1 200 OK\r\n\r\n"[..]),
            stamp: 0x1234_5678_9abc_def0,
            count: 1,
            body_len: 5,
            offset: 0,
        };
        header.offset = offset(&header.key, &header.meta, &header.head).unwrap();
        header
    }

    fn file() -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, &example());
        assert_eq!(out.len() as u64, example().offset);
        out.extend_from_slice(b"12345");
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let file = file();
        assert_eq!(decode(&file, file.len() as u64), Ok(example()));
        let only_head = &file[..example().offset as usize];
        assert_eq!(decode(only_head, file.len() as u64), Ok(example()));
    }

    #[test]
    fn any_changed_byte_of_the_header_is_noticed() {
        let good = file();
        for at in 0..example().offset as usize {
            for change in [1u8, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= change;
                let got = decode(&bad, bad.len() as u64);
                let in_slot = (SLOTS[0]..FIXED).contains(&at);
                if in_slot {
                    // The other copy stands in.
                    assert_eq!(got, Ok(example()), "{at}");
                } else {
                    assert!(got.is_err(), "{at}");
                }
            }
        }
    }

    #[test]
    fn any_missing_or_added_byte_is_noticed() {
        let good = file();
        for len in 0..good.len() {
            assert!(decode(&good[..len], len as u64).is_err(), "{len}");
            let got = decode(&good[..len], good.len() as u64);
            match got {
                Ok(header) => assert!(len as u64 >= header.offset),
                Err(Unsound::Short(want)) => assert!(want > len && want <= good.len()),
                other => panic!("{len}: {other:?}"),
            }
        }
        assert_eq!(
            decode(&good, good.len() as u64 + 1),
            Err(Unsound::Truncated)
        );
        assert_eq!(decode(b"", 0), Err(Unsound::Truncated));
        assert_eq!(decode(b"\x05\0\0\0", 4), Err(Unsound::Foreign));
    }

    #[test]
    fn the_newer_facts_count_and_the_older_stand_in() {
        let mut bytes = file();
        let mut facts = example().meta.facts;
        facts.valid_until += 100;
        let newer = slot(&facts, 99, 2);
        bytes[SLOTS[1]..FIXED].copy_from_slice(&newer);
        let header = decode(&bytes, bytes.len() as u64).unwrap();
        assert_eq!(
            (header.meta.facts, header.stamp, header.count),
            (facts, 99, 2)
        );
        assert_eq!(newest_facts(&bytes).unwrap().3, 1);
        for half in 1..SLOT {
            // As if the machine had stopped in the middle of writing it.
            let mut torn = file();
            torn[SLOTS[1]..SLOTS[1] + half].copy_from_slice(&newer[..half]);
            let header = decode(&torn, torn.len() as u64).unwrap();
            let old = example();
            assert!(header == old || header.meta.facts == facts, "{half}");
        }
        bytes[SLOTS[0]] ^= 1;
        bytes[SLOTS[1]] ^= 1;
        assert_eq!(decode(&bytes, bytes.len() as u64), Err(Unsound::Corrupt));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut rng = crate::base::rng::Rng::new(5);
        for _ in 0..2000 {
            let mut bytes = file();
            for _ in 0..1 + rng.below(8) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.word() as u8;
            }
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            let _ = decode(&bytes, rng.below(2 * bytes.len() as u64 + 1));
        }
        assert!(offset(&[0; HEADER_MAX], &Meta::default(), b"").is_none());
    }
}
