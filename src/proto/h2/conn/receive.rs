//! DATA and header blocks as they come: windows, lengths, which stream is meant.

use super::*;

impl Machine {
    pub(super) fn begin_data(
        &mut self,
        now: Mono,
        head: Head,
        rest: &[u8],
    ) -> Result<Option<(usize, Option<Event>)>, Fatal> {
        let (mut left, mut padding, mut taken) = (head.len, 0, 0);
        if head.has(flag::PADDED) {
            if left == 0 {
                return Err(broken(
                    ErrorCode::FrameSize,
                    "DATA without its padding length",
                ));
            }
            let Some(&length) = rest.first() else {
                return Ok(None);
            };
            padding = usize::from(length);
            left -= 1;
            taken = 1;
            left = left
                .checked_sub(padding)
                .ok_or(broken(ErrorCode::Protocol, "padding longer than its frame"))?;
        }
        let all = head.len as i64;
        if all > self.recv_window {
            return Err(broken(
                ErrorCode::FlowControl,
                "the connection's window is exceeded",
            ));
        }
        self.recv_window -= all;
        if self.is_idle(head.stream) {
            return Err(broken(ErrorCode::Protocol, "DATA on an idle stream"));
        }
        let end = head.has(flag::END_STREAM);
        if left == 0 && !end {
            self.guard.empty(now).map_err(Fatal::Flood)?;
        }
        // What no reader will ask for is as good as consumed.
        self.due += (taken + padding) as u32;
        let found = self.streams.find(head.stream);
        let wrong = match found.map(|key| self.streams.get(key)) {
            // Frames that were on their way when we reset it.
            None if self.streams.was_reset(head.stream) => None,
            None => Some(ErrorCode::StreamClosed),
            Some(stream) if stream.reset => None,
            Some(stream) if !stream.receiving => Some(ErrorCode::StreamClosed),
            Some(stream) if all > stream.recv_window => Some(ErrorCode::FlowControl),
            Some(stream) if self.role == Role::Client && !stream.headed => {
                Some(ErrorCode::Protocol)
            }
            Some(stream) => match stream.length_left {
                Some(length) if left as u64 > length || end && left as u64 != length => {
                    Some(ErrorCode::Protocol)
                }
                _ => None,
            },
        };
        let mut event = None;
        let mut stream = found.filter(|&key| !self.streams.get(key).reset);
        let abandoned = stream.filter(|&key| self.streams.get(key).released);
        if let Some(code) = wrong {
            self.guard.reset(now).map_err(Fatal::Flood)?;
            event = self.reset_id(head.stream, code);
            stream = None;
        } else if let Some(key) = abandoned {
            // Nobody reads it any more; its end is all that matters.
            self.streams.get_mut(key).receiving &= !end;
            self.streams.reap(key);
            stream = None;
        }
        if let Some(key) = stream {
            let record = self.streams.get_mut(key);
            record.recv_window -= all;
            record.due += (taken + padding) as u32;
            if let Some(length) = &mut record.length_left {
                *length -= left as u64;
            }
        } else {
            self.due += left as u32;
        }
        self.reading = Reading::Data {
            stream,
            id: head.stream,
            left,
            padding,
            end,
        };
        self.announce();
        Ok(Some((taken, event)))
    }

    /// What a new stream of the peer may send: until it has seen our settings it counts with the default (§6.9.2).
    pub(super) fn own_window(&self) -> u32 {
        if self.acked {
            self.config.window
        } else {
            WINDOW_DEFAULT
        }
    }

    /// Whether somebody still wants what comes for a stream.
    fn is_wanted(&self, key: Key, id: u32) -> bool {
        self.streams
            .peek(key)
            .is_some_and(|stream| stream.id == id && !stream.reset && !stream.released)
    }

    /// Goes on with DATA. `base` is where `input` begins in the step's input.
    pub(super) fn data(&mut self, _now: Mono, input: &[u8], base: usize) -> Result<More, Fatal> {
        let Reading::Data {
            stream,
            id,
            left,
            padding,
            end,
        } = self.reading
        else {
            return Ok(More::Wait);
        };
        let n = left.min(input.len());
        if n == 0 && left > 0 {
            return Ok(More::Wait);
        }
        let done = n == left;
        self.reading = if done {
            Reading::Skip(padding)
        } else {
            Reading::Data {
                stream,
                id,
                left: left - n,
                padding,
                end,
            }
        };
        self.due += n as u32;
        // The stream may have ended, and its place may be another's, while the frame came.
        let Some(key) = stream.filter(|&key| self.is_wanted(key, id)) else {
            self.announce();
            return Ok(More::Took(n, None));
        };
        self.unread += n as u64;
        let record = self.streams.get_mut(key);
        record.unread += n as u32;
        let end = done && end;
        if end {
            record.receiving = false;
        }
        self.announce();
        if n == 0 && !end {
            return Ok(More::Took(0, None));
        }
        if end {
            self.streams.reap(key);
        }
        Ok(More::Took(
            n,
            Some(Event::Data {
                stream: key,
                from: base,
                to: base + n,
                end,
            }),
        ))
    }

    /// Renews the connection's window, unless too much stands unread.
    pub(super) fn announce(&mut self) {
        if self.due >= self.config.connection_window / 2 && self.unread <= self.config.unread_max {
            frame::put_window(0, self.due, &mut self.control);
            self.recv_window += i64::from(self.due);
            self.due = 0;
        }
    }

    /// The user has taken so many body bytes of a stream.
    pub fn consumed(&mut self, key: Key, n: usize) {
        let record = self.streams.get_mut(key);
        let n = (n as u32).min(record.unread);
        record.unread -= n;
        record.due += n;
        self.unread -= u64::from(n);
        renew(record, &mut self.control);
        self.announce();
    }

    /// Somebody reads a stream's body as it comes: it may be sent so far ahead from now on.
    pub fn widen(&mut self, key: Key, window: u32) {
        let record = self.streams.get_mut(key);
        let Some(more) = window.checked_sub(record.window) else {
            return;
        };
        record.window = window;
        record.due += more;
        renew(record, &mut self.control);
    }

    /// The stream whose header block has begun and is not over; `input` is what the last step left.
    #[must_use]
    pub fn begun_block(&self, input: &[u8]) -> Option<u32> {
        let id = match (self.reading, input.first_chunk::<HEADER_LEN>()) {
            _ if self.block.id != 0 => self.block.id,
            (Reading::Frame, Some(head)) => match Head::parse(head) {
                head if head.kind == Kind::Headers => head.stream,
                _ => return None,
            },
            _ => return None,
        };
        (id != self.given_up).then_some(id)
    }

    /// The client took too long for a header block: its stream ends, and what still comes of the block is only read for
    /// the tables' sake.
    pub fn give_up(&mut self, now: Mono, id: u32) -> Result<(), Fatal> {
        self.given_up = id;
        self.last = self.last.max(id);
        self.guard
            .reset(now)
            .map_err(|flood| self.die(Fatal::Flood(flood)))?;
        self.put_reset(id, ErrorCode::Protocol);
        if let Some((key, part)) = self.block.whose.take() {
            // Nobody knows yet of a stream without a head.
            self.streams.get_mut(key).released |= part == Part::Head;
        }
        if let Some(key) = self.streams.find(id)
            && !self.streams.get(key).reset
        {
            self.shut(key);
            self.streams.reap(key);
        }
        Ok(())
    }

    pub(super) fn headers(
        &mut self,
        now: Mono,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<Event>, Fatal> {
        let mut block = payload;
        if head.has(flag::PADDED) {
            let (&padding, rest) = block.split_first().ok_or(broken(
                ErrorCode::FrameSize,
                "HEADERS without its padding length",
            ))?;
            let len = rest
                .len()
                .checked_sub(usize::from(padding))
                .ok_or(broken(ErrorCode::Protocol, "padding longer than its frame"))?;
            block = &rest[..len];
        }
        let mut depends_on_itself = false;
        if head.has(flag::PRIORITY) {
            let rest = block
                .get(5..)
                .ok_or(broken(ErrorCode::FrameSize, "HEADERS without its priority"))?;
            depends_on_itself = frame::number31(block) == head.stream;
            block = rest;
        }
        self.block.id = head.stream;
        self.block.end = head.has(flag::END_STREAM);
        self.block.frames = 0;
        self.block.bytes.clear();
        self.block.whose = self.whose(now, head, depends_on_itself)?;
        self.collect(now, head, block)
    }

    /// Which stream a block is for; opens one for a client's request.
    pub(super) fn whose(
        &mut self,
        now: Mono,
        head: Head,
        depends_on_itself: bool,
    ) -> Result<Option<(Key, Part)>, Fatal> {
        let id = head.stream;
        let end = head.has(flag::END_STREAM);
        if id == self.given_up {
            return Ok(None);
        }
        let Some(key) = self.streams.find(id) else {
            return match self.role {
                Role::Client if self.is_idle(id) => {
                    Err(broken(ErrorCode::Protocol, "HEADERS on an idle stream"))
                }
                Role::Client => Ok(None),
                Role::Server if self.streams.was_reset(id) => {
                    self.guard.empty(now).map_err(Fatal::Flood)?;
                    Ok(None)
                }
                Role::Server => self.accept(now, id, depends_on_itself),
            };
        };
        let stream = self.streams.get(key);
        if stream.reset {
            return Ok(None);
        }
        let wrong = if !stream.receiving {
            Some(ErrorCode::StreamClosed)
        } else if stream.headed && !end {
            // Trailers end their stream (§8.1).
            Some(ErrorCode::Protocol)
        } else {
            None
        };
        if let Some(code) = wrong {
            self.guard.reset(now).map_err(Fatal::Flood)?;
            self.pend_reset(key, code);
            return Ok(None);
        }
        let part = if stream.headed {
            Part::Trailers
        } else {
            Part::Head
        };
        Ok(Some((key, part)))
    }

    /// A client begins a stream.
    pub(super) fn accept(
        &mut self,
        now: Mono,
        id: u32,
        depends_on_itself: bool,
    ) -> Result<Option<(Key, Part)>, Fatal> {
        if id.is_multiple_of(2) {
            return Err(broken(
                ErrorCode::Protocol,
                "a client's stream with an even number",
            ));
        }
        if id <= self.last {
            // §5.1.1: one that was skipped is closed, as is one that is over.
            return Err(broken(
                ErrorCode::Protocol,
                "HEADERS on a stream that is over",
            ));
        }
        self.last = id;
        if self.leaving.is_some_and(|last| id > last) {
            return Ok(None);
        }
        let refused = if self.streams.len() >= self.config.streams_max as usize {
            Some(ErrorCode::RefusedStream)
        } else if depends_on_itself {
            Some(ErrorCode::Protocol)
        } else {
            None
        };
        if let Some(code) = refused {
            self.guard.reset(now).map_err(Fatal::Flood)?;
            self.put_reset(id, code);
            return Ok(None);
        }
        let key = self
            .streams
            .open(id, self.peer.initial_window_size, self.own_window());
        if let Some(at) = self.early.iter().position(|&(early, _)| early == id) {
            let (_, priority) = self.early.swap_remove(at);
            let stream = self.streams.get_mut(key);
            (stream.priority, stream.prioritised) = (priority, true);
        }
        Ok(Some((key, Part::Head)))
    }

    pub(super) fn continuation(
        &mut self,
        now: Mono,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<Event>, Fatal> {
        if self.block.id == 0 {
            return Err(broken(ErrorCode::Protocol, "CONTINUATION of nothing"));
        }
        self.block.frames += 1;
        let max = match self.role {
            Role::Server => guard::CONTINUATIONS_MAX,
            Role::Client => guard::CONTINUATIONS_OF_ORIGIN_MAX,
        };
        if self.block.frames > max {
            return Err(Fatal::Flood(Flood::Continuations));
        }
        self.collect(now, head, payload)
    }

    /// Adds a frame to the block, and closes the block behind its last.
    pub(super) fn collect(
        &mut self,
        _now: Mono,
        head: Head,
        piece: &[u8],
    ) -> Result<Option<Event>, Fatal> {
        // Huffman's code may be longer than the text; a block of twice the size cannot be a good head.
        if self.block.bytes.len() + piece.len() > 2 * self.config.head_bytes_max + frame::FRAME_MIN
        {
            return Err(Fatal::Flood(Flood::HeaderBlock));
        }
        self.block.bytes.extend_from_slice(piece);
        if !head.has(flag::END_HEADERS) {
            return Ok(None);
        }
        self.block.id = 0;
        let whose = self.block.whose.take();
        let Some((key, part)) = whose.filter(|&(key, _)| self.is_wanted(key, head.stream)) else {
            // Read all the same: the tables of both sides must stay equal.
            return match self.decode(&mut |_| {}) {
                Ok(()) => Ok(None),
                Err(_) => Err(broken(ErrorCode::Compression, "invalid header block")),
            };
        };
        if self.block.end {
            self.streams.get_mut(key).receiving = false;
        }
        Ok(Some(match part {
            Part::Head => Event::Head {
                stream: key,
                end: self.block.end,
            },
            Part::Trailers => Event::Trailers { stream: key },
        }))
    }

    pub(super) fn decode(
        &mut self,
        each: &mut impl FnMut(super::super::hpack::Header<'_>),
    ) -> Result<(), HpackError> {
        let block = std::mem::take(&mut self.block.bytes);
        let decoded = self.decoder.decode(&block, each);
        self.block.bytes = block;
        // An idle connection keeps no large buffer.
        if self.block.bytes.capacity() > KEPT_BYTES_MAX {
            self.block.bytes = Vec::new();
        }
        decoded
    }

    /// Reads the request that the last event announced. An error of the inner kind is the client's: it is answered, and
    /// the stream ends with PROTOCOL_ERROR.
    pub fn read_request(
        &mut self,
        key: Key,
        head: &mut RequestHead,
        limits: &HeadLimits,
    ) -> Result<Result<Received, RequestError>, Fatal> {
        let wire_len = self.block.bytes.len();
        let mut reader = RequestReader::new(head, limits);
        let decoded = self.decode(&mut |header| reader.field(header));
        let end = self.block.end;
        let received = reader.finish(end);
        head.wire_len = wire_len as u32;
        if decoded.is_err() {
            return Err(self.die(broken(ErrorCode::Compression, "invalid header block")));
        }
        let received = match received {
            Ok(Received { websocket: true }) if !self.config.connect_protocol => {
                Err(RequestError::Malformed("client sent unexpected :protocol"))
            }
            other => other,
        };
        let stream = self.streams.get_mut(key);
        stream.headed = true;
        if received.is_ok() {
            stream.length_left = head.content_length;
            if let Some(value) = head.fields.get(Token::PRIORITY)
                && !stream.prioritised
            {
                stream.priority = Priority::parse(value);
                stream.prioritised = true;
            }
        }
        Ok(received)
    }

    /// Reads the response head that the last event announced. `bodiless`: an answer to HEAD, whose length is another's.
    pub fn read_response(
        &mut self,
        key: Key,
        head: &mut ResponseHead,
        bodiless: bool,
    ) -> Result<Result<(), Malformed>, Fatal> {
        let wire_len = self.block.bytes.len();
        let mut reader = ResponseReader::new(head, self.config.head_bytes_max);
        let decoded = self.decode(&mut |header| reader.field(header));
        let read = reader.finish();
        head.wire_len = wire_len as u32;
        if decoded.is_err() {
            return Err(self.die(broken(ErrorCode::Compression, "invalid header block")));
        }
        let end = self.block.end;
        let stream = self.streams.get_mut(key);
        if head.status >= 200 {
            stream.headed = true;
            let none = bodiless || matches!(head.status, 204 | 304);
            stream.length_left = if none { None } else { head.content_length };
        }
        Ok(match read {
            Ok(()) if end && stream.length_left.is_some_and(|length| length > 0) => {
                Err(Malformed("upstream closed the stream before its body"))
            }
            Ok(()) if end && head.status < 200 => Err(Malformed(
                "upstream closed the stream with an interim response",
            )),
            other => other,
        })
    }

    /// Reads the trailers that the last event announced. The body is whole only when this is all right.
    pub fn read_trailers(
        &mut self,
        key: Key,
        fields: &mut Fields,
    ) -> Result<Result<(), Malformed>, Fatal> {
        let mut reader = TrailerReader::new(fields);
        let decoded = self.decode(&mut |header| reader.field(header));
        let read = reader.finish();
        if decoded.is_err() {
            return Err(self.die(broken(ErrorCode::Compression, "invalid header block")));
        }
        let short = self
            .streams
            .get(key)
            .length_left
            .is_some_and(|left| left > 0);
        self.streams.reap(key);
        Ok(match read {
            Ok(()) if short => Err(Malformed("trailers before the end of the body")),
            other => other,
        })
    }
}

/// Renews a stream's window when half of it is used up.
fn renew(record: &mut Stream, control: &mut Vec<u8>) {
    if record.receiving && record.due >= record.window.max(2) / 2 {
        frame::put_window(record.id, record.due, control);
        record.recv_window += i64::from(record.due);
        record.due = 0;
    }
}
