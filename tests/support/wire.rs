//! HTTP/1 as the tests read it: strict, small and written apart from the library, so that both cannot be wrong in the
//! same way. Reads messages off any blocking byte source.

use std::io::{ErrorKind, Read};

/// What a read found out about the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The message ended as its framing said.
    Whole,
    /// The connection ended before the framing was satisfied.
    Cut,
}

/// One message: its head as received, and its body with the framing removed.
#[derive(Clone, Debug)]
pub struct Message {
    /// Start line and fields, with the blank line, byte for byte.
    pub head: Vec<u8>,
    /// The content, framing removed.
    pub body: Vec<u8>,
    /// The body's bytes as they were on the wire: equal to `body` unless chunked.
    pub raw_body: Vec<u8>,
    /// The trailer section's lines.
    pub trailers: Vec<String>,
    /// Whether the framing was satisfied.
    pub end: End,
}

impl Message {
    /// The first line, without its line end.
    pub fn start_line(&self) -> &str {
        self.head_text().split("\r\n").next().unwrap_or_default()
    }

    /// The head as text; a head that is not text fails the test.
    pub fn head_text(&self) -> &str {
        std::str::from_utf8(&self.head).expect("the head is text")
    }

    /// The body as text; a body that is not text fails the test.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Field lines in order, names as sent.
    pub fn fields(&self) -> Vec<(&str, &str)> {
        self.head_text()
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect()
    }

    /// All values of the field `name`, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields()
            .into_iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
            .collect()
    }

    /// The only value of the field `name`; fails the test when there are several.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} occurs {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        let line = self.start_line();
        line.split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| panic!("no status in {line:?}"))
    }

    /// The request target of a request.
    pub fn target(&self) -> &str {
        self.start_line()
            .split(' ')
            .nth(1)
            .expect("a request line has a target")
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start_line().split(' ').next().unwrap_or_default()
    }
}

/// How a message's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// That many bytes.
    Length(usize),
    /// Chunks, then trailers.
    Chunked,
    /// All until the connection ends.
    UntilClose,
}

/// Buffers a byte source and cuts messages out of it.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    /// Every byte that was ever received.
    pub seen: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Starts with nothing read.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// The source, for settings and writing.
    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    /// Bytes that were received and not yet consumed.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Receives once. `Ok(0)` is the end of the stream; a reset counts as the end too.
    pub fn fill(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0u8; 16384];
        let n = loop {
            match self.source.read(&mut chunk) {
                Ok(n) => break n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => break 0,
                Err(e) => return Err(e),
            }
        };
        self.buffer.extend_from_slice(&chunk[..n]);
        self.seen.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    #[track_caller]
    fn fill_or_panic(&mut self, what: &str) -> usize {
        self.fill().unwrap_or_else(|e| {
            panic!(
                "{what}: {e}; received so far: {:?}",
                String::from_utf8_lossy(&self.seen)
            )
        })
    }

    /// Takes exactly `n` bytes, or fewer when the stream ends.
    #[track_caller]
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n && self.fill_or_panic("reading bytes") != 0 {}
        let n = n.min(self.buffer.len());
        self.buffer.drain(..n).collect()
    }

    /// Takes up to and including `mark`; `None` when the stream ends first (what came stays in [`Self::rest`]).
    #[track_caller]
    pub fn take_until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            let found = self.buffer[from..]
                .windows(mark.len())
                .position(|w| w == mark);
            if let Some(at) = found {
                return Some(self.buffer.drain(..from + at + mark.len()).collect());
            }
            from = self.buffer.len().saturating_sub(mark.len() - 1);
            if self.fill_or_panic("reading up to a mark") == 0 {
                return None;
            }
        }
    }

    /// Takes all until the stream ends.
    #[track_caller]
    pub fn take_all(&mut self) -> Vec<u8> {
        while self.fill_or_panic("reading to the end") != 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Takes one head; `None` when the stream ends before one is complete.
    #[track_caller]
    pub fn head(&mut self) -> Option<Vec<u8>> {
        self.take_until(b"\r\n\r\n")
    }

    /// Takes a body of the given framing.
    #[track_caller]
    pub fn body(&mut self, head: Vec<u8>, framing: Framing) -> Message {
        let mut message = Message {
            head,
            body: Vec::new(),
            raw_body: Vec::new(),
            trailers: Vec::new(),
            end: End::Whole,
        };
        match framing {
            Framing::Empty => {}
            Framing::Length(n) => {
                message.body = self.take(n);
                if message.body.len() < n {
                    message.end = End::Cut;
                }
                message.raw_body = message.body.clone();
            }
            Framing::UntilClose => {
                message.body = self.take_all();
                message.raw_body = message.body.clone();
            }
            Framing::Chunked => {
                if self.chunks(&mut message).is_none() {
                    message.end = End::Cut;
                }
            }
        }
        message
    }

    #[track_caller]
    fn chunks(&mut self, message: &mut Message) -> Option<()> {
        loop {
            let line = self.take_until(b"\r\n")?;
            message.raw_body.extend_from_slice(&line);
            let text = std::str::from_utf8(&line).expect("a chunk line is text");
            let digits = text.trim_end().split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16)
                .unwrap_or_else(|_| panic!("bad chunk size {text:?}"));
            if size == 0 {
                break;
            }
            let data = self.take(size);
            message.raw_body.extend_from_slice(&data);
            message.body.extend_from_slice(&data);
            if data.len() < size {
                return None;
            }
            let end = self.take(2);
            message.raw_body.extend_from_slice(&end);
            if end.len() < 2 {
                return None;
            }
            assert_eq!(end, b"\r\n", "a chunk ends with CRLF");
        }
        loop {
            let line = self.take_until(b"\r\n")?;
            message.raw_body.extend_from_slice(&line);
            if line == b"\r\n" {
                return Some(());
            }
            message
                .trailers
                .push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }
}

/// The framing that a response's head announces, for a request of `method`.
#[track_caller]
pub fn response_framing(head: &[u8], method: &str) -> Framing {
    let probe = probe(head);
    let status = probe.status();
    if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        return Framing::Empty;
    }
    announced(&probe).unwrap_or(Framing::UntilClose)
}

/// The framing that a request's head announces.
#[track_caller]
pub fn request_framing(head: &[u8]) -> Framing {
    announced(&probe(head)).unwrap_or(Framing::Empty)
}

fn probe(head: &[u8]) -> Message {
    Message {
        head: head.to_vec(),
        body: Vec::new(),
        raw_body: Vec::new(),
        trailers: Vec::new(),
        end: End::Whole,
    }
}

#[track_caller]
fn announced(head: &Message) -> Option<Framing> {
    let codings = head.all("transfer-encoding");
    let length = head.field("content-length");
    assert!(
        codings.is_empty() || length.is_none(),
        "both framings at once: {:?}",
        head.head_text()
    );
    if !codings.is_empty() {
        assert_eq!(codings, ["chunked"], "the only coding we speak");
        return Some(Framing::Chunked);
    }
    length.map(|n| {
        Framing::Length(
            n.parse()
                .unwrap_or_else(|_| panic!("bad Content-Length {n:?}")),
        )
    })
}
