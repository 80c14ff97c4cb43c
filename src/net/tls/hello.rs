//! Reads what a client says first, a ClientHello, before any configuration is chosen: the name it asks for, the
//! protocols and ciphers it offers. Bytes in, values out; checks only what choosing a server needs, the machine of
//! the handshake reads the same bytes again. Start at [`read`].

/// Longest ClientHello, with its record headers: twice what clients with several post-quantum shares send.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
/// Longest plaintext of a record.
const RECORD_BYTES_MAX: usize = 1 << 14;
const EXTENSION_NAME: u16 = 0;
const EXTENSION_GROUPS: u16 = 10;
const EXTENSION_SIGNATURES: u16 = 13;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_VERSIONS: u16 = 43;
/// Longest name: what DNS allows.
const NAME_BYTES_MAX: usize = 255;

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name it asks for, as it wrote it.
    pub name: Option<Box<[u8]>>,
    /// Its newest version: 0x0303 is TLS 1.2.
    pub version: u16,
    /// Cipher suites by number, in its order.
    pub ciphers: Box<[u16]>,
    /// Groups for the key exchange by number, in its order.
    pub groups: Box<[u16]>,
    /// Signature schemes by number, in its order.
    pub signatures: Box<[u16]>,
    /// Application protocols, each behind one byte of length, as on the wire.
    pub alpn: Box<[u8]>,
}

/// What the first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// More bytes are needed.
    Incomplete,
    /// All of it.
    Hello(Hello),
    /// Plain HTTP, or something else that is no TLS.
    NotTls,
    /// TLS of a kind that cannot be answered, or broken.
    Broken(Fault),
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record that is not of the handshake, or not a ClientHello.
    Unexpected,
    /// A length that does not fit.
    Decode,
    /// A record, or the whole, is too long.
    TooLong,
    /// A record of SSL 3 or older, or of no known version.
    Version,
    /// The name is none.
    Name,
}

impl Hello {
    /// The application protocols in the client's order.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.alpn[..];
        std::iter::from_fn(move || {
            let (&len, more) = rest.split_first()?;
            let (one, more) = more.split_at_checked(len as usize)?;
            rest = more;
            Some(one)
        })
    }
}

/// Reads a ClientHello from the beginning of what a client sent.
pub fn read(input: &[u8]) -> Status {
    let Some(&first) = input.first() else {
        return Status::Incomplete;
    };
    if first != HANDSHAKE {
        // As in nginx: SSL 2 begins with a length, everything else may be plain HTTP.
        return match first {
            0x80.. => Status::Broken(Fault::Version),
            _ => Status::NotTls,
        };
    }
    match message(input) {
        Ok(Some(body)) => match parse(&body) {
            Ok(hello) => Status::Hello(hello),
            Err(fault) => Status::Broken(fault),
        },
        Ok(None) if input.len() >= HELLO_BYTES_MAX => Status::Broken(Fault::TooLong),
        Ok(None) => Status::Incomplete,
        Err(fault) => Status::Broken(fault),
    }
}

/// The handshake message, out of as many records as it was cut into; none while it is not whole.
fn message(mut input: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut joined = Vec::new();
    loop {
        match input.first() {
            None => return Ok(None),
            Some(&HANDSHAKE) => {}
            Some(_) => return Err(Fault::Unexpected),
        }
        if input.get(1).is_some_and(|&major| major != 3) {
            return Err(Fault::Version);
        }
        let Some((header, rest)) = input.split_at_checked(RECORD_HEADER) else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if len > RECORD_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        if len == 0 {
            // An empty piece of a handshake is forbidden, and would go on for ever.
            return Err(Fault::Unexpected);
        }
        let here = &rest[..len.min(rest.len())];
        joined.extend_from_slice(here);
        if joined.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
            return Err(Fault::Unexpected);
        }
        if joined.len() >= 4 {
            let want = 4 + (u32::from_be_bytes([0, joined[1], joined[2], joined[3]]) as usize);
            if want > HELLO_BYTES_MAX {
                return Err(Fault::TooLong);
            }
            if joined.len() >= want {
                joined.truncate(want);
                joined.drain(..4);
                return Ok(Some(joined));
            }
        }
        input = &rest[here.len()..];
        if here.len() < len {
            return Ok(None);
        }
    }
}

/// A position in a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (one, rest) = self.0.split_at_checked(len).ok_or(Fault::Decode)?;
        self.0 = rest;
        Ok(one)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Fault> {
        let bytes = self.take(bytes)?;
        Ok(bytes.iter().fold(0, |n, &b| n << 8 | usize::from(b)))
    }

    /// A stretch behind its length of so many bytes.
    fn stretch(&mut self, bytes: usize) -> Result<Self, Fault> {
        let len = self.number(bytes)?;
        self.take(len).map(Reader)
    }

    fn numbers(&self) -> Result<Box<[u16]>, Fault> {
        if !self.0.len().is_multiple_of(2) {
            return Err(Fault::Decode);
        }
        let pairs = self.0.chunks_exact(2);
        Ok(pairs.map(|p| u16::from_be_bytes([p[0], p[1]])).collect())
    }
}

fn parse(body: &[u8]) -> Result<Hello, Fault> {
    let mut body = Reader(body);
    let mut hello = Hello {
        version: body.number(2)? as u16,
        ..Hello::default()
    };
    body.take(32)?;
    body.stretch(1)?;
    hello.ciphers = body.stretch(2)?.numbers()?;
    body.stretch(1)?;
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = body.stretch(2)?;
    if !body.0.is_empty() {
        return Err(Fault::Decode);
    }
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)? as u16;
        extension(&mut hello, kind, extensions.stretch(2)?)?;
    }
    Ok(hello)
}

fn extension(hello: &mut Hello, kind: u16, mut data: Reader<'_>) -> Result<(), Fault> {
    match kind {
        EXTENSION_NAME => {
            let mut list = data.stretch(2)?;
            while !list.0.is_empty() {
                let kind = list.number(1)?;
                let name = list.stretch(2)?.0;
                if kind != 0 || hello.name.is_some() {
                    continue;
                }
                if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(&0) {
                    return Err(Fault::Name);
                }
                hello.name = Some(name.into());
            }
        }
        EXTENSION_GROUPS => hello.groups = data.stretch(2)?.numbers()?,
        EXTENSION_SIGNATURES => hello.signatures = data.stretch(2)?.numbers()?,
        EXTENSION_ALPN => {
            let list = data.stretch(2)?;
            let mut one = Reader(list.0);
            while !one.0.is_empty() {
                if one.stretch(1)?.0.is_empty() {
                    return Err(Fault::Decode);
                }
            }
            hello.alpn = list.0.into();
        }
        EXTENSION_VERSIONS => {
            let versions = data.stretch(1)?.numbers()?;
            // Numbers that clients put in at random to keep servers tolerant are no versions.
            let known = versions.iter().copied().filter(|v| v >> 8 == 3);
            hello.version = known.max().unwrap_or(hello.version);
        }
        _ => {}
    }
    Ok(())
}
