//! HPACK (RFC 7541): the two dynamic tables and the codec of header blocks. Knows no frames and no meaning of fields;
//! [`header`](super::header) gives them one. Start at [`Decoder::decode`] and [`Encoder::field`].

use std::collections::VecDeque;

use super::huffman;
use crate::proto::tokens::Token;

/// What each entry is charged above its bytes (§4.1).
pub const ENTRY_OVERHEAD: usize = 32;

/// Size of a dynamic table before anybody has said another (§6.5.2 of RFC 9113).
pub const TABLE_DEFAULT: usize = 4096;

/// Bytes of an integer behind its prefix: five hold every value below 2^32.
const INTEGER_BYTES_MAX: usize = 5;

/// The static table (appendix A).
#[rustfmt::skip]
const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html"),
    (b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206"),
    (b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"), (b"accept-language", b""), (b"accept-ranges", b""), (b"accept", b""),
    (b"access-control-allow-origin", b""), (b"age", b""), (b"allow", b""), (b"authorization", b""), (b"cache-control", b""),
    (b"content-disposition", b""), (b"content-encoding", b""), (b"content-language", b""), (b"content-length", b""),
    (b"content-location", b""), (b"content-range", b""), (b"content-type", b""), (b"cookie", b""), (b"date", b""), (b"etag", b""),
    (b"expect", b""), (b"expires", b""), (b"from", b""), (b"host", b""), (b"if-match", b""), (b"if-modified-since", b""),
    (b"if-none-match", b""), (b"if-range", b""), (b"if-unmodified-since", b""), (b"last-modified", b""), (b"link", b""),
    (b"location", b""), (b"max-forwards", b""), (b"proxy-authenticate", b""), (b"proxy-authorization", b""), (b"range", b""),
    (b"referer", b""), (b"refresh", b""), (b"retry-after", b""), (b"server", b""), (b"set-cookie", b""),
    (b"strict-transport-security", b""), (b"transfer-encoding", b""), (b"user-agent", b""), (b"vary", b""), (b"via", b""),
    (b"www-authenticate", b""),
];

/// Why a header block cannot be read. All of them are COMPRESSION_ERROR and end the connection (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpackError {
    /// The block ends inside a field.
    Truncated,
    /// An integer is larger than anything that can be meant (§5.1).
    Integer,
    /// An index points behind both tables, or is 0 (§2.3.3, §6.1).
    Index,
    /// A string's Huffman code is wrong (§5.2).
    Huffman,
    /// A table size above the limit that was set (§6.3).
    TableSize,
    /// A table size change behind the first field, or more than two of them (§4.2).
    LateTableSize,
}

/// One entry of a dynamic table.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    name: u32,
    value: u32,
    token: Token,
}

/// A dynamic table (§2.3.2): entries in the order they came, their bytes one behind the other.
struct Table {
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    /// Size as §4.1 counts it.
    size: usize,
    /// Size that it may have now.
    max: usize,
}

impl Table {
    const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: Vec::new(),
            size: 0,
            max: TABLE_DEFAULT,
        }
    }

    fn set_max(&mut self, max: usize) {
        self.max = max;
        self.evict(0);
    }

    /// Makes room for `more`.
    fn evict(&mut self, more: usize) {
        while self.size + more > self.max {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.size -= oldest.name as usize + oldest.value as usize + ENTRY_OVERHEAD;
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    /// Adds an entry; one that is larger than the table empties it (§4.4).
    fn add(&mut self, token: Token, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        self.evict(size);
        if size > self.max {
            return;
        }
        if self.bytes.len() + name.len() + value.len() > 2 * self.max {
            self.compact();
        }
        let entry = Entry {
            start: self.bytes.len() as u32,
            name: name.len() as u32,
            value: value.len() as u32,
            token,
        };
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_back(entry);
        self.size += size;
    }

    /// Drops the bytes of entries that are gone.
    fn compact(&mut self) {
        let Some(first) = self.entries.front().map(|entry| entry.start) else {
            return self.bytes.clear();
        };
        self.bytes.drain(..first as usize);
        for entry in &mut self.entries {
            entry.start -= first;
        }
    }

    /// The entry of an index; the newest has 0.
    fn get(&self, index: usize) -> Option<(Token, &[u8], &[u8])> {
        let at = self.entries.len().checked_sub(index + 1)?;
        let entry = self.entries[at];
        let (name, value) = self.bytes[entry.start as usize..].split_at(entry.name as usize);
        Some((entry.token, name, &value[..entry.value as usize]))
    }
}

/// The reading side of a connection's compression.
pub struct Decoder {
    table: Table,
    /// What our SETTINGS allow the peer's table to have.
    limit: usize,
    /// A byte of padding too much is no error.
    patient: bool,
    /// Strings of the field at hand, after Huffman.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// A field of a block, as it is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The known name, or `NONE`; always `NONE` for pseudo-fields.
    pub token: Token,
    /// The name as sent; lower case is for the caller to check.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(TABLE_DEFAULT)
    }
}

impl Decoder {
    /// Takes a byte of padding too much, which origins may write.
    ///
    /// Differs from RFC 7541 §5.2 as nginx does.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// A fresh connection's; `limit` is the SETTINGS_HEADER_TABLE_SIZE that the peer is sent.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let mut table = Table::new();
        table.max = TABLE_DEFAULT.min(limit);
        Self {
            table,
            limit,
            patient: false,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Gives back the memory of the field that was read last.
    pub fn rest(&mut self) {
        self.name = Vec::new();
        self.value = Vec::new();
    }

    /// Reads a whole block and hands out its fields in order. After an error the connection cannot go on, for the
    /// tables of both sides differ.
    pub fn decode(
        &mut self,
        block: &[u8],
        each: &mut impl FnMut(Header<'_>),
    ) -> Result<(), HpackError> {
        let mut rest = block;
        let (mut fields, mut sizes) = (0usize, 0);
        while let Some(&first) = rest.first() {
            if first & 0xe0 == 0x20 {
                sizes += 1;
                if fields > 0 || sizes > 2 {
                    return Err(HpackError::LateTableSize);
                }
                let max = integer(&mut rest, 5)?;
                if max > self.limit {
                    return Err(HpackError::TableSize);
                }
                self.table.set_max(max);
                continue;
            }
            fields += 1;
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                let (token, name, value) = self.entry(index)?;
                each(Header { token, name, value });
                continue;
            }
            let (bits, store) = if first & 0x40 != 0 {
                (6, true)
            } else {
                (4, false)
            };
            self.literal(&mut rest, bits, store, each)?;
        }
        self.name.clear();
        self.value.clear();
        Ok(())
    }

    /// A field that is spelled out, name or value or both (§6.2).
    fn literal(
        &mut self,
        rest: &mut &[u8],
        bits: u32,
        store: bool,
        each: &mut impl FnMut(Header<'_>),
    ) -> Result<(), HpackError> {
        let index = integer(rest, bits)?;
        self.name.clear();
        let token = if index == 0 {
            let coded = string(rest)?;
            coded.write(self.patient, &mut self.name)?;
            token_of(&self.name)
        } else {
            let mut copy = std::mem::take(&mut self.name);
            let (token, name, _) = self.entry(index)?;
            copy.extend_from_slice(name);
            self.name = copy;
            token
        };
        let coded = string(rest)?;
        let value = if coded.huffman {
            self.value.clear();
            coded.write(self.patient, &mut self.value)?;
            &self.value[..]
        } else {
            coded.bytes
        };
        each(Header {
            token,
            name: &self.name,
            value,
        });
        if store {
            self.table.add(token, &self.name, value);
        }
        Ok(())
    }

    /// The entry of an index over both tables (§2.3.3).
    fn entry(&self, index: usize) -> Result<(Token, &[u8], &[u8]), HpackError> {
        if index == 0 {
            return Err(HpackError::Index);
        }
        if let Some(&(name, value)) = STATIC.get(index - 1) {
            return Ok((STATIC_TOKENS[index - 1], name, value));
        }
        self.table
            .get(index - 1 - STATIC.len())
            .ok_or(HpackError::Index)
    }

    /// Bytes that the dynamic table holds, as §4.1 counts them.
    #[must_use]
    pub fn table_size(&self) -> usize {
        self.table.size
    }
}

/// Tokens of the static table's names; known when the program is compiled, because a look-up costs.
static STATIC_TOKENS: std::sync::LazyLock<[Token; 61]> =
    std::sync::LazyLock::new(|| STATIC.map(|(name, _)| token_of(name)));

/// The token of a name; pseudo-fields have none.
fn token_of(name: &[u8]) -> Token {
    if name.first() == Some(&b':') {
        Token::NONE
    } else {
        Token::of(name)
    }
}

/// A string literal before decoding.
struct Coded<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl Coded<'_> {
    fn write(&self, patient: bool, out: &mut Vec<u8>) -> Result<(), HpackError> {
        if !self.huffman {
            out.extend_from_slice(self.bytes);
            return Ok(());
        }
        let good = match patient {
            false => huffman::decode(self.bytes, out),
            true => huffman::decode_patiently(self.bytes, out),
        };
        good.then_some(()).ok_or(HpackError::Huffman)
    }
}

/// Takes a string literal (§5.2).
fn string<'a>(rest: &mut &'a [u8]) -> Result<Coded<'a>, HpackError> {
    let huffman = *rest.first().ok_or(HpackError::Truncated)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(HpackError::Truncated)?;
    *rest = after;
    Ok(Coded { huffman, bytes })
}

/// Takes an integer with a prefix of so many bits (§5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, HpackError> {
    let (&first, mut after) = rest.split_first().ok_or(HpackError::Truncated)?;
    let mask = (1u8 << bits).wrapping_sub(1);
    let mut value = u64::from(first & mask);
    if first & mask == mask {
        let mut shift = 0;
        loop {
            let (&byte, more) = after.split_first().ok_or(HpackError::Truncated)?;
            after = more;
            if shift >= 7 * INTEGER_BYTES_MAX as u32 {
                return Err(HpackError::Integer);
            }
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
    }
    *rest = after;
    u32::try_from(value)
        .map(|value| value as usize)
        .map_err(|_| HpackError::Integer)
}

/// How a field is written (§6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexing {
    /// It will come again: into the table.
    Add,
    /// It will not come again.
    Plain,
    /// It must not be put into any table, here or behind a proxy (§7.1.3).
    Never,
}

/// The writing side of a connection's compression.
pub struct Encoder {
    table: Table,
    /// Smallest and last table size that the peer has not been told of (§4.2).
    pending: Option<(usize, usize)>,
}

/// A larger table would cost more to search than it saves on the wire.
const ENCODER_TABLE_MAX: usize = 4096;

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// A fresh connection's.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            table: Table::new(),
            pending: None,
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_limit(&mut self, limit: usize) {
        let max = limit.min(ENCODER_TABLE_MAX);
        if max == self.table.max && self.pending.is_none() {
            return;
        }
        let least = self.pending.map_or(max, |(least, _)| least.min(max));
        self.pending = Some((least, max));
        self.table.set_max(max);
    }

    /// The block that was begun last is not sent. What it added to the table the peer never hears of, so both sides
    /// begin anew, by a size of nothing in between (§4.2).
    pub fn forget(&mut self) {
        let max = self.table.max;
        self.table.set_max(0);
        self.table.set_max(max);
        self.pending = Some((0, max));
    }

    /// Begins a block: tells the peer of table sizes where they changed.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.pending.take() {
            if least != last {
                put_integer(0x20, 5, least, out);
            }
            put_integer(0x20, 5, last, out);
        }
    }

    /// Appends `:status`.
    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        let known = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits = [
                    b'0' + (status / 100 % 10) as u8,
                    b'0' + (status / 10 % 10) as u8,
                    b'0' + (status % 10) as u8,
                ];
                return self.named(8, b":status", &digits, Indexing::Add, out);
            }
        };
        out.push(0x80 | known);
    }

    /// Appends a field by its name, which is written in lower case.
    pub fn field(
        &mut self,
        token: Token,
        name: &[u8],
        value: &[u8],
        indexing: Indexing,
        out: &mut Vec<u8>,
    ) {
        match static_name(token) {
            0 => self.unknown(name, value, indexing, out),
            index => self.named(index, name, value, indexing, out),
        }
    }

    /// Appends a pseudo-field of a request. `index` is one of the static table with this name.
    pub fn pseudo(&mut self, index: usize, value: &[u8], out: &mut Vec<u8>) {
        let (name, known) = STATIC[index - 1];
        if known == value {
            out.push(0x80 | index as u8);
        } else if index == 4 {
            // Paths rarely come again.
            self.named(index, name, value, Indexing::Plain, out);
        } else {
            self.named(index, name, value, Indexing::Add, out);
        }
    }

    /// A field whose name has an index in the static table.
    fn named(
        &mut self,
        index: usize,
        name: &[u8],
        value: &[u8],
        indexing: Indexing,
        out: &mut Vec<u8>,
    ) {
        if indexing == Indexing::Add {
            let mut lower = [0; NAME_KEPT_MAX];
            let Some(name) = lowered(name, &mut lower) else {
                return self.literal(index, value, Indexing::Plain, out);
            };
            if let Some(at) = self.find(name, value) {
                return put_integer(0x80, 7, STATIC.len() + 1 + at, out);
            }
            self.table.add(Token::NONE, name, value);
        }
        self.literal(index, value, indexing, out);
    }

    /// A field whose name is in no static table.
    fn unknown(&mut self, name: &[u8], value: &[u8], indexing: Indexing, out: &mut Vec<u8>) {
        let mut lower = [0; NAME_KEPT_MAX];
        let Some(name) = lowered(name, &mut lower) else {
            let name = name.to_ascii_lowercase();
            out.push(if indexing == Indexing::Never { 0x10 } else { 0 });
            put_string(&name, out);
            return put_string(value, out);
        };
        if indexing == Indexing::Add {
            if let Some(at) = self.find(name, value) {
                return put_integer(0x80, 7, STATIC.len() + 1 + at, out);
            }
            self.table.add(Token::NONE, name, value);
        }
        out.push(match indexing {
            Indexing::Add => 0x40,
            Indexing::Plain => 0,
            Indexing::Never => 0x10,
        });
        put_string(name, out);
        put_string(value, out);
    }

    fn literal(&self, index: usize, value: &[u8], indexing: Indexing, out: &mut Vec<u8>) {
        match indexing {
            Indexing::Add => put_integer(0x40, 6, index, out),
            Indexing::Plain => put_integer(0, 4, index, out),
            Indexing::Never => put_integer(0x10, 4, index, out),
        }
        put_string(value, out);
    }

    /// Where the table has this field; the newest has 0.
    fn find(&self, name: &[u8], value: &[u8]) -> Option<usize> {
        self.table.entries.iter().rev().position(|entry| {
            entry.name as usize == name.len() && entry.value as usize == value.len() && {
                let at = entry.start as usize;
                let (known, rest) = self.table.bytes[at..].split_at(name.len());
                rest[..value.len()] == *value && known == name
            }
        })
    }
}

/// Longer names are not put into the table: they are rare, and lower case needs a place.
const NAME_KEPT_MAX: usize = 64;

/// The name in lower case, when it is short enough.
fn lowered<'a>(name: &[u8], place: &'a mut [u8; NAME_KEPT_MAX]) -> Option<&'a [u8]> {
    let place = place.get_mut(..name.len())?;
    place.copy_from_slice(name);
    place.make_ascii_lowercase();
    Some(place)
}

/// The static table's index of a name; 0 when it has none.
fn static_name(token: Token) -> usize {
    usize::from(STATIC_INDEX[usize::from(token.0)])
}

static STATIC_INDEX: std::sync::LazyLock<[u8; Token::COUNT]> = std::sync::LazyLock::new(|| {
    let mut table = [0; Token::COUNT];
    for (at, token) in STATIC_TOKENS.iter().enumerate() {
        if token.is_known() {
            table[usize::from(token.0)] = at as u8 + 1;
        }
    }
    table
});

/// Appends an integer behind the flag bits of its first byte (§5.1).
fn put_integer(flags: u8, bits: u32, value: usize, out: &mut Vec<u8>) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        return out.push(flags | value as u8);
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a string, coded where that is shorter.
fn put_string(text: &[u8], out: &mut Vec<u8>) {
    let coded = huffman::coded_len(text);
    if coded < text.len() {
        put_integer(0x80, 7, coded, out);
        huffman::encode(text, out);
    } else {
        put_integer(0, 7, text.len(), out);
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(String, String)>;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Pairs, HpackError> {
        let mut list = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.decode(block, &mut |header| {
            assert_eq!(header.token, token_of(header.name));
            list.push((text(header.name), text(header.value)));
        })?;
        Ok(list)
    }

    fn pairs(list: &[(&str, &str)]) -> Pairs {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        list.iter().map(owned).collect()
    }

    #[test]
    fn requests_of_appendix_c_4() {
        let mut decoder = Decoder::new(4096);
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let base = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ];
        assert_eq!(read(&mut decoder, first), Ok(pairs(&base)));
        assert_eq!(decoder.table_size(), 57);
        let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
        let mut want = pairs(&base);
        want.push(("cache-control".into(), "no-cache".into()));
        assert_eq!(read(&mut decoder, second), Ok(want));
        assert_eq!(decoder.table_size(), 110);
        let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
        let want = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(read(&mut decoder, third), Ok(pairs(&want)));
        assert_eq!(decoder.table_size(), 164);
    }

    #[test]
    fn responses_of_appendix_c_6_evict() {
        let mut decoder = Decoder::new(256);
        let first = b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3";
        let want = [
            (":status", "302"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ];
        assert_eq!(read(&mut decoder, first), Ok(pairs(&want)));
        assert_eq!(decoder.table_size(), 222);
        let second = read(&mut decoder, b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf");
        let mut want = pairs(&want);
        want[0].1 = "307".into();
        assert_eq!(second, Ok(want));
        assert_eq!(decoder.table_size(), 222);
    }

    #[test]
    fn wrong_blocks_are_told_apart() {
        for (block, error) in [
            (&b"\x80"[..], HpackError::Index),
            (b"\xbe", HpackError::Index),
            (b"\xff\xff\xff\xff\xff\xff\x01", HpackError::Integer),
            (b"\xff\xff\xff\xff\xff\x7f", HpackError::Integer),
            (b"\xff", HpackError::Truncated),
            (b"\x40", HpackError::Truncated),
            (b"\x41", HpackError::Truncated),
            (b"\x41\x03ab", HpackError::Truncated),
            (b"\x41\x81\xff", HpackError::Huffman),
            (b"\x3f\xe2\x1f", HpackError::TableSize),
            (b"\x82\x20", HpackError::LateTableSize),
            (b"\x20\x21\x22", HpackError::LateTableSize),
        ] {
            let mut decoder = Decoder::new(4096);
            assert_eq!(read(&mut decoder, block), Err(error), "{block:x?}");
        }
        assert_eq!(
            read(&mut Decoder::new(4096), b"\x20\x3f\xe1\x1f\x82"),
            Ok(pairs(&[(":method", "GET")]))
        );
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        let long = "x".repeat(70);
        for round in 0..200 {
            let date = format!("date number {round}");
            let mut block = Vec::new();
            if round == 50 {
                encoder.set_limit(64);
                encoder.set_limit(1000);
            }
            encoder.begin(&mut block);
            encoder.status(200 + round % 7, &mut block);
            let mut want = vec![(":status".to_owned(), (200 + round % 7).to_string())];
            for (name, value, indexing) in [
                ("Server", "ringx", Indexing::Add),
                ("Date", date.as_str(), Indexing::Add),
                ("X-Thing", "1", Indexing::Add),
                ("Set-Cookie", "a=b", Indexing::Never),
                ("ETag", "\"1\"", Indexing::Plain),
                (long.as_str(), "", Indexing::Add),
            ] {
                let token = Token::of(name.as_bytes());
                encoder.field(
                    token,
                    name.as_bytes(),
                    value.as_bytes(),
                    indexing,
                    &mut block,
                );
                want.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            assert_eq!(read(&mut decoder, &block), Ok(want), "round {round}");
            assert_eq!(decoder.table_size(), encoder.table.size);
            assert!(decoder.table.bytes.len() <= 2 * 4096);
        }
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut decoder = Decoder::new(4096);
        assert!(read(&mut decoder, b"\x40\x01a\x01b").is_ok());
        let mut block = b"\x40\x01c".to_vec();
        put_string(&vec![b'!'; 5000], &mut block);
        assert!(read(&mut decoder, &block).is_ok());
        assert_eq!(decoder.table_size(), 0);
        assert_eq!(read(&mut decoder, b"\xbe"), Err(HpackError::Index));
    }
}
