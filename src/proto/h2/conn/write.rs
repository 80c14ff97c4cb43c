//! What the user says: streams, heads, bodies, and the order in which they leave.

use super::super::header;
use super::*;

impl Machine {
    /// Opens a stream of ours. `None` when the peer takes no more now, or none at all any more.
    pub fn open(&mut self) -> Option<Key> {
        let full = self.streams.len() >= self.peer.max_concurrent_streams as usize;
        if self.role != Role::Client || full || self.left.is_some() || self.next > WINDOW_MAX {
            return None;
        }
        let id = self.next;
        self.next += 2;
        Some(
            self.streams
                .open(id, self.peer.initial_window_size, self.own_window()),
        )
    }

    /// Whether the peer takes new streams at all: no GOAWAY came, and numbers are left.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.left.is_none() && self.next <= WINDOW_MAX && !matches!(self.reading, Reading::Dead)
    }

    /// Begins a header block: then its fields, then [`Self::end_block`].
    pub fn begin_block(&mut self) {
        if std::mem::replace(&mut self.unsaid, true) {
            self.encoder.forget();
        }
        self.writing.clear();
        self.encoder.begin(&mut self.writing);
    }

    /// Adds `:status`.
    pub fn put_status(&mut self, status: u16) {
        self.encoder.status(status, &mut self.writing);
    }

    /// Adds a request's pseudo-fields.
    pub fn put_request(&mut self, method: &[u8], scheme: &[u8], authority: &[u8], path: &[u8]) {
        const AUTHORITY: usize = 1;
        let method_index = if method == b"POST" { 3 } else { 2 };
        let scheme_index = if scheme == b"https" { 7 } else { 6 };
        self.encoder.pseudo(method_index, method, &mut self.writing);
        self.encoder.pseudo(scheme_index, scheme, &mut self.writing);
        if !authority.is_empty() {
            self.encoder.pseudo(AUTHORITY, authority, &mut self.writing);
        }
        self.encoder.pseudo(4, path, &mut self.writing);
    }

    /// Adds a field. What only HTTP/1 may have is left out.
    pub fn put_field(&mut self, token: Token, name: &[u8], value: &[u8]) {
        if header::is_forbidden(token) && !(token == Token::TE && value == b"trailers") {
            return;
        }
        let indexing = header::indexing(token);
        self.encoder
            .field(token, name, value, indexing, &mut self.writing);
    }

    /// Queues the block and says how long it is. `end`: nothing follows. A stream that has ended meanwhile takes none.
    pub fn end_block(&mut self, key: Key, end: bool) -> usize {
        let stream = self.streams.get_mut(key);
        if !stream.sending {
            return 0;
        }
        self.unsaid = false;
        let max = self.peer.max_frame_size as usize;
        let mut out = std::mem::take(&mut self.control);
        let before = out.len();
        frame::put_block(stream.id, &self.writing, end, max, &mut out);
        let len = out.len() - before;
        if end {
            self.sent_all(key, &mut out);
        }
        self.control = out;
        len
    }

    /// DATA frames of the stream have so many bytes at most.
    pub fn set_turn(&mut self, key: Key, bytes: u32) {
        self.streams.get_mut(key).turn = bytes.max(1);
    }

    /// Queues body bytes.
    pub fn send(&mut self, key: Key, data: &[u8]) {
        let stream = self.streams.get_mut(key);
        if !stream.sending || stream.ending.is_some() {
            return;
        }
        stream.out.extend_from_slice(data);
        arm(key, stream, &mut self.schedule);
    }

    /// Says that the body is over, trailers behind it.
    pub fn finish(&mut self, key: Key, trailers: Option<&Fields>) {
        let stream = self.streams.get_mut(key);
        if !stream.sending || stream.ending.is_some() {
            return;
        }
        let trailers = trailers.filter(|fields| !fields.is_empty());
        stream.ending = Some(trailers.map(|fields| Box::new(fields.clone())));
        arm(key, stream, &mut self.schedule);
    }

    /// Body bytes of a stream that wait.
    #[must_use]
    pub fn pending(&self, key: Key) -> usize {
        self.streams.get(key).pending()
    }

    /// Whether a stream ended before its time, or is none any more.
    #[must_use]
    pub fn is_reset(&self, key: Key) -> bool {
        self.streams.peek(key).is_none_or(|stream| stream.reset)
    }

    /// Whether so many bytes of a stream need nothing but their turn to be sent.
    #[must_use]
    pub fn has_window(&self, key: Key, bytes: usize) -> bool {
        let window = self.streams.get(key).send_window.min(self.send_window);
        bytes as i64 <= window
    }

    /// The stream's request broke a rule: when its answer is out it ends with PROTOCOL_ERROR (§8.1.1).
    pub fn refuse(&mut self, key: Key) {
        self.streams.get_mut(key).refused = true;
    }

    /// Whether the peer has sent all it will on this stream.
    #[must_use]
    pub fn is_received(&self, key: Key) -> bool {
        !self.streams.get(key).receiving
    }

    /// Ends a stream before its time.
    pub fn reset(&mut self, key: Key, code: ErrorCode) {
        let stream = self.streams.get(key);
        if stream.is_closed() {
            return;
        }
        self.put_reset(stream.id, code);
        self.shut(key);
    }

    /// Lets go of a stream of ours that nothing was said on: the peer never learns of it.
    pub fn forget(&mut self, key: Key) {
        self.shut(key);
        self.streams.get_mut(key).released = true;
        self.streams.reap(key);
    }

    /// As [`Self::reset`], for a rule that the peer broke: it could make us reset one stream after the other.
    pub fn punish(&mut self, now: Mono, key: Key, code: ErrorCode) -> Result<(), Fatal> {
        self.reset(key, code);
        self.guard
            .reset(now)
            .map_err(|flood| self.die(Fatal::Flood(flood)))
    }

    /// The user needs the stream no more. One that is not over on the wire is ended: NO_ERROR where the answer is
    /// complete and only the request's body is not (§8.1), else `code`.
    pub fn release(&mut self, key: Key, code: ErrorCode) {
        let stream = self.streams.get_mut(key);
        stream.released = true;
        let unfinished = match self.role {
            // Nobody waits for what is left of a request whose answer is over or not wanted.
            Role::Client => !stream.is_closed(),
            Role::Server => stream.sending && stream.ending.is_none(),
        };
        if unfinished {
            self.reset(key, code);
        } else if stream.receiving && !stream.sending {
            self.reset(key, ErrorCode::No);
        } else {
            let unread = std::mem::take(&mut stream.unread);
            self.unread -= u64::from(unread);
            self.announce();
        }
        self.streams.reap(key);
    }

    /// The peer has said that it takes no stream of ours above this one: those end, and are told.
    pub fn drop_above(&mut self, last: u32, mut told: impl FnMut(Key)) {
        let above = |(key, stream): (Key, &mut Stream)| {
            (stream.id > last && !stream.is_closed()).then_some(key)
        };
        let gone: Vec<Key> = self.streams.iter_mut().filter_map(above).collect();
        for key in gone {
            self.shut(key);
            if !self.streams.get(key).released {
                told(key);
            }
            self.streams.reap(key);
        }
    }

    /// Nothing is expected for a while: gives back the memory of buffers that are empty. The tables of header compression
    /// have to stay.
    pub fn rest(&mut self) {
        if self.control.is_empty() {
            self.control = Vec::new();
        }
        if self.block.id == 0 {
            self.block.bytes = Vec::new();
        }
        self.writing = Vec::new();
        self.decoder.rest();
        if self.streams.is_empty() {
            self.streams.rest();
            self.schedule = Schedule::default();
            self.moved = Vec::new();
        }
    }

    /// Takes no more streams; those that are open go on.
    pub fn leave(&mut self, code: ErrorCode) {
        if self.leaving.is_none() {
            self.leaving = Some(self.last);
            frame::put_goaway(self.last, code, &mut self.control);
        }
    }

    /// GOAWAY was sent.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Something can be sent now.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.control.is_empty() || self.send_window > 0 && !self.schedule.is_empty()
    }

    /// Appends what is to be sent, up to about `room` bytes.
    pub fn transmit(&mut self, out: &mut Vec<u8>, room: usize) {
        if out.is_empty() && self.control.capacity() <= KEPT_BYTES_MAX && self.schedule.is_empty() {
            std::mem::swap(out, &mut self.control);
        } else {
            out.append(&mut self.control);
        }
        if self.control.capacity() > KEPT_BYTES_MAX {
            self.control = Vec::new();
        }
        while out.len() < room {
            let Some((key, level)) = self.schedule.pop() else {
                return;
            };
            if !self.turn(key, level, out) {
                return;
            }
        }
    }

    /// One frame of a stream. False when the connection's window is used up.
    pub(super) fn turn(&mut self, key: Key, level: usize, out: &mut Vec<u8>) -> bool {
        let stream = self.streams.get_mut(key);
        let frame_max = self.peer.max_frame_size.min(stream.turn) as usize;
        let window = stream.send_window.min(self.send_window).max(0) as usize;
        let n = stream.pending().min(frame_max).min(window);
        let last = n == stream.pending() && stream.ending.is_some();
        if n == 0 && stream.pending() > 0 {
            if stream.send_window <= 0 {
                // WINDOW_UPDATE puts it back.
                stream.scheduled = false;
                return true;
            }
            self.schedule.unpop(key, level);
            return false;
        }
        let trailers = if last {
            stream.ending.take().flatten()
        } else {
            None
        };
        let end = last && trailers.is_none();
        if n > 0 || end {
            let flags = if end { flag::END_STREAM } else { 0 };
            frame::put_head(n, Kind::Data, flags, stream.id, out);
            out.extend_from_slice(&stream.out[stream.out_at..stream.out_at + n]);
            stream.out_at += n;
            stream.send_window -= n as i64;
            self.send_window -= n as i64;
        }
        if stream.pending() > 0 {
            let keeps = stream.prioritised && !stream.priority.incremental;
            if keeps {
                self.schedule.unpop(key, level);
            } else {
                self.schedule.push(key, stream.priority);
            }
            return true;
        }
        stream.out.clear();
        stream.out_at = 0;
        stream.scheduled = false;
        self.moved.push(key);
        if let Some(trailers) = trailers {
            self.put_trailers(key, &trailers, out);
        } else if end {
            self.sent_all(key, out);
        }
        true
    }

    /// The stream's last frame is in `out`. A request's body that nobody reads is not waited for (§8.1).
    pub(super) fn sent_all(&mut self, key: Key, out: &mut Vec<u8>) {
        let stream = self.streams.get_mut(key);
        stream.sending = false;
        let code = if stream.refused {
            Some(ErrorCode::Protocol)
        } else if stream.released && stream.receiving {
            Some(ErrorCode::No)
        } else {
            None
        };
        if let Some(code) = code {
            let id = stream.id;
            frame::put_reset(id, code, out);
            self.streams.remember(id);
            self.shut(key);
        }
        self.streams.reap(key);
    }

    pub(super) fn put_trailers(&mut self, key: Key, trailers: &Fields, out: &mut Vec<u8>) {
        self.begin_block();
        for field in trailers.iter() {
            self.put_field(field.token, field.name, field.value);
        }
        self.unsaid = false;
        let stream = self.streams.get_mut(key);
        let max = self.peer.max_frame_size as usize;
        frame::put_block(stream.id, &self.writing, true, max, out);
        self.sent_all(key, out);
    }

    /// Streams whose pending bytes went out or that ended since the last call. Some may be gone: ask only for those that
    /// are still in use.
    pub fn take_moved(&mut self, into: &mut Vec<Key>) {
        into.append(&mut self.moved);
    }
}
