//! An HTTP/2 connection of either role, without io: bytes in, events out; words of the user in, bytes out.
//!
//! Feed [`Machine::step`] until it wants more bytes, and act on each event before the next step: a head is read
//! straight into its user's storage by `read_request`, `read_response` or `read_trailers`. Then take what is to be sent
//! with [`Machine::transmit`]. Time comes as an argument. Memory is bounded: by streams at a time, by their windows, by
//! the size of a header block and by [`guard`].

mod control;
mod receive;
mod write;

use super::frame::{self, HEADER_LEN, Head, Kind, PREFACE, WINDOW_MAX, Wrong, flag, setting};
use super::guard::{self, Flood, Guard};
use super::header::{Malformed, Received, RequestReader, ResponseReader, TrailerReader};
use super::hpack::{Decoder, Encoder, HpackError};
use super::priority::Priority;
use super::send::Schedule;
use super::streams::{Key, Stream, Streams};
use super::{ErrorCode, Settings, WINDOW_DEFAULT};
use crate::base::time::Mono;
use crate::proto::h1::parse::{HeadLimits, RequestError};
use crate::proto::head::{Fields, RequestHead, ResponseHead};
use crate::proto::tokens::Token;

/// Window that a client gets for the connection as a whole: about as much as all streams may hold unread.
pub const CONNECTION_WINDOW: u32 = 1 << 20;

/// PRIORITY_UPDATE frames that may come before their streams.
const EARLY_PRIORITIES_MAX: usize = 16;

/// Which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients open streams.
    Server,
    /// We open streams.
    Client,
}

/// What we tell the peer of ourselves, and what we allow it.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Streams that a client may have at a time (`http2_max_concurrent_streams`).
    pub streams_max: u32,
    /// Window of each stream, in bytes: what a body may send ahead of its reader (`http2_body_preread_size`).
    pub window: u32,
    /// Window of the connection as a whole, at least the default one.
    pub connection_window: u32,
    /// Unread bytes of all streams together above which the connection's window is no longer renewed ahead of the
    /// readers.
    pub unread_max: u64,
    /// Largest payload of a frame that the peer may send, at least [`frame::FRAME_MIN`].
    pub frame_max: usize,
    /// Bytes that a header block may have when decoded.
    pub head_bytes_max: usize,
    /// Extended CONNECT is offered (RFC 8441).
    pub connect_protocol: bool,
}

/// What a step brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request or response head (interim ones too) is complete: read it now. `end`: no body follows.
    Head {
        /// Its stream.
        stream: Key,
        /// END_STREAM was set.
        end: bool,
    },
    /// Trailers are complete, and with them the body: read them now.
    Trailers {
        /// Their stream.
        stream: Key,
    },
    /// A piece of a body: `input[from..to]` of the step's input.
    Data {
        /// Its stream.
        stream: Key,
        /// First byte.
        from: usize,
        /// Behind the last byte.
        to: usize,
        /// The body is over.
        end: bool,
    },
    /// The stream ended without its end, by the peer or because a rule was broken. Its user lets it go.
    Reset {
        /// Which.
        stream: Key,
        /// Why.
        code: ErrorCode,
        /// The peer did it.
        remote: bool,
    },
    /// The peer's settings changed.
    Settings,
    /// The peer takes no stream above `last`.
    GoAway {
        /// Highest stream that it may have worked on.
        last: u32,
        /// Why.
        code: ErrorCode,
    },
    /// The peer answered a PING of ours.
    Pong,
}

/// Why a connection ended; GOAWAY was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// A rule was broken.
    Broken(ErrorCode, &'static str),
    /// A peer makes us work for nothing.
    Flood(Flood),
}

impl Fatal {
    /// What GOAWAY says.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Broken(code, _) => code,
            Self::Flood(_) => ErrorCode::EnhanceYourCalm,
        }
    }
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// What they meant; `None` when more bytes are needed, and only then.
    pub event: Option<Event>,
}

/// What stands at the front of the input.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// The rest of the client's preface.
    Preface(usize),
    /// A frame header.
    Frame,
    /// The payload of DATA, and padding behind it.
    Data {
        stream: Option<Key>,
        /// The stream's number: its place may become another's while the frame comes.
        id: u32,
        left: usize,
        padding: usize,
        end: bool,
    },
    /// A payload that nobody wants.
    Skip(usize),
    /// Nothing: the connection is over.
    Dead,
}

/// A header block that comes in.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    /// Its stream's number; 0 when none is open.
    id: u32,
    end: bool,
    frames: u32,
    /// Which stream it belongs to, and as what; `None` for one that is refused or gone.
    whose: Option<(Key, Part)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Trailers,
}

/// A connection.
pub struct Machine {
    role: Role,
    config: Config,
    peer: Settings,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams,
    schedule: Schedule,
    guard: Guard,
    reading: Reading,
    block: Block,
    /// Frames that go before all DATA.
    control: Vec<u8>,
    /// A header block that is being written.
    writing: Vec<u8>,
    /// The block in `writing` was begun and has not been queued: the peer's table does not know what it added.
    unsaid: bool,
    send_window: i64,
    recv_window: i64,
    /// Received and not yet announced.
    due: u32,
    /// Delivered to streams and not yet consumed.
    unread: u64,
    /// Highest stream of the peer that was begun.
    last: u32,
    /// Next stream of ours.
    next: u32,
    /// The peer's first SETTINGS have come.
    settled: bool,
    /// The peer has seen ours.
    acked: bool,
    /// A stream whose header block came too slowly: it is read for the tables' sake only.
    given_up: u32,
    /// We take no stream above this one.
    leaving: Option<u32>,
    /// The peer takes no stream above this one.
    left: Option<u32>,
    /// Words of the client on streams that it has not begun.
    early: Vec<(u32, Priority)>,
    /// Streams whose pending bytes went out, or that ended, since the user looked.
    moved: Vec<Key>,
}

impl Machine {
    /// A fresh connection. What we say first is queued.
    #[must_use]
    pub fn new(role: Role, config: Config) -> Self {
        let mut control = Vec::with_capacity(64);
        let mut entries = [(0, 0); 5];
        let mut count = 0;
        let mut say = |id, value| {
            entries[count] = (id, value);
            count += 1;
        };
        match role {
            Role::Server => {
                say(setting::MAX_CONCURRENT_STREAMS, config.streams_max);
                if config.connect_protocol {
                    say(setting::ENABLE_CONNECT_PROTOCOL, 1);
                }
            }
            Role::Client => {
                control.extend_from_slice(PREFACE);
                say(setting::ENABLE_PUSH, 0);
            }
        }
        say(setting::INITIAL_WINDOW_SIZE, config.window);
        if config.frame_max > frame::FRAME_MIN {
            say(setting::MAX_FRAME_SIZE, config.frame_max as u32);
        }
        frame::put_settings(&entries[..count], &mut control);
        if let Some(more @ 1..) = config.connection_window.checked_sub(WINDOW_DEFAULT) {
            frame::put_window(0, more, &mut control);
        }
        Self {
            role,
            config,
            peer: Settings::default(),
            decoder: match role {
                Role::Server => Decoder::default(),
                Role::Client => Decoder::default().patient(),
            },
            encoder: Encoder::new(),
            streams: Streams::default(),
            schedule: Schedule::default(),
            guard: Guard::new(),
            reading: match role {
                Role::Server => Reading::Preface(0),
                Role::Client => Reading::Frame,
            },
            block: Block::default(),
            control,
            writing: Vec::new(),
            unsaid: false,
            send_window: WINDOW_DEFAULT.into(),
            recv_window: config.connection_window.max(WINDOW_DEFAULT).into(),
            due: 0,
            unread: 0,
            last: 0,
            next: 1,
            settled: false,
            acked: false,
            given_up: 0,
            leaving: None,
            left: None,
            early: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// What the peer has said of itself.
    #[must_use]
    pub const fn peer(&self) -> &Settings {
        &self.peer
    }

    /// Streams that are open, and those whose users have not let go.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Reads on. Call it again with the bytes behind `consumed` until it has no event; then with those and more.
    pub fn step(&mut self, now: Mono, input: &[u8]) -> Result<Step, Fatal> {
        let mut at = 0;
        loop {
            let read = match self.reading {
                Reading::Preface(seen) => self.preface(seen, &input[at..]),
                Reading::Frame => self.frame(now, &input[at..]),
                Reading::Data { .. } => self.data(now, &input[at..], at),
                Reading::Skip(left) => {
                    let n = left.min(input.len() - at);
                    self.reading = if n == left {
                        Reading::Frame
                    } else {
                        Reading::Skip(left - n)
                    };
                    Ok(More::Took(n, None))
                }
                Reading::Dead => Ok(More::Took(input.len() - at, None)),
            };
            let (n, event) = match read {
                Ok(More::Wait) => {
                    return Ok(Step {
                        consumed: at,
                        event: None,
                    });
                }
                Ok(More::Took(n, event)) => (n, event),
                Err(fatal) => return Err(self.die(fatal)),
            };
            at += n;
            if self.control.len() > guard::ANSWERS_QUEUED_MAX + self.head_bytes_queued() {
                return Err(self.die(Fatal::Flood(Flood::Unread)));
            }
            if event.is_some() {
                return Ok(Step {
                    consumed: at,
                    event,
                });
            }
            // An empty DATA frame means something without another byte.
            let due = matches!(self.reading, Reading::Data { left: 0, .. });
            if at == input.len() && !due {
                return Ok(Step {
                    consumed: at,
                    event: None,
                });
            }
        }
    }

    /// Heads wait among the answers; each stream may have some.
    fn head_bytes_queued(&self) -> usize {
        self.streams.len() * self.config.head_bytes_max
    }

    fn preface(&mut self, seen: usize, input: &[u8]) -> Result<More, Fatal> {
        let want = &PREFACE[seen..];
        let n = want.len().min(input.len());
        if input[..n] != want[..n] {
            return Err(broken(ErrorCode::Protocol, "invalid connection preface"));
        }
        if n < want.len() {
            self.reading = Reading::Preface(seen + n);
        } else {
            self.reading = Reading::Frame;
        }
        Ok(if n == 0 {
            More::Wait
        } else {
            More::Took(n, None)
        })
    }

    /// Begins a frame, and ends it too unless it is DATA or of no interest.
    fn frame(&mut self, now: Mono, input: &[u8]) -> Result<More, Fatal> {
        let Some((bytes, rest)) = input.split_first_chunk::<HEADER_LEN>() else {
            return Ok(More::Wait);
        };
        let head = Head::parse(bytes);
        // What is read as a whole has bounds of its own.
        let len_max = match head.kind {
            Kind::Data | Kind::Unknown => self.config.frame_max,
            Kind::Headers | Kind::Continuation => {
                let block = 2 * self.config.head_bytes_max + frame::FRAME_MIN;
                self.config.frame_max.min(block)
            }
            _ => frame::FRAME_MIN,
        };
        if head.len > len_max {
            return Err(broken(ErrorCode::FrameSize, "too large frame"));
        }
        // An acknowledgement will do, as for nginx: such a client keeps the defaults.
        if !self.settled && head.kind != Kind::Settings {
            return Err(broken(
                ErrorCode::Protocol,
                "the first frame is not SETTINGS",
            ));
        }
        if head.kind == Kind::PushPromise {
            return Err(broken(ErrorCode::Protocol, "unexpected PUSH_PROMISE"));
        }
        if self.block.id != 0 && (head.kind != Kind::Continuation || head.stream != self.block.id) {
            return Err(broken(ErrorCode::Protocol, "a header block is interrupted"));
        }
        match head.check() {
            Ok(()) => {}
            Err(Wrong::Connection(code)) => return Err(broken(code, "malformed frame")),
            Err(Wrong::Stream(code)) => {
                self.reading = Reading::Skip(head.len);
                self.guard.reset(now).map_err(Fatal::Flood)?;
                let event = self.reset_id(head.stream, code);
                return Ok(More::Took(HEADER_LEN, event));
            }
        }
        match head.kind {
            Kind::Data => {
                let begun = self.begin_data(now, head, rest)?;
                Ok(begun.map_or(More::Wait, |(n, event)| More::Took(HEADER_LEN + n, event)))
            }
            Kind::Unknown => {
                self.guard.empty(now).map_err(Fatal::Flood)?;
                self.reading = Reading::Skip(head.len);
                Ok(More::Took(HEADER_LEN, None))
            }
            _ => match rest.get(..head.len) {
                None => Ok(More::Wait),
                Some(payload) => {
                    let event = self.payload(now, head, payload)?;
                    Ok(More::Took(HEADER_LEN + head.len, event))
                }
            },
        }
    }

    /// A whole frame of the kinds that are read at once.
    fn payload(&mut self, now: Mono, head: Head, payload: &[u8]) -> Result<Option<Event>, Fatal> {
        match head.kind {
            Kind::Headers => self.headers(now, head, payload),
            Kind::Continuation => self.continuation(now, head, payload),
            Kind::Priority => {
                self.guard.empty(now).map_err(Fatal::Flood)?;
                if frame::number31(payload) == head.stream {
                    self.guard.reset(now).map_err(Fatal::Flood)?;
                    return Ok(self.reset_id(head.stream, ErrorCode::Protocol));
                }
                Ok(None)
            }
            Kind::RstStream => self.rst_stream(now, head, payload),
            Kind::Settings => self.settings(now, head, payload),
            Kind::Ping => self.ping(now, head, payload),
            Kind::GoAway => {
                self.guard.answered(now).map_err(Fatal::Flood)?;
                let last = frame::number31(payload);
                let code = ErrorCode::of(frame::number32(&payload[4..]));
                if self.left.is_some_and(|before| last > before) {
                    return Err(broken(
                        ErrorCode::Protocol,
                        "GOAWAY takes more streams than before",
                    ));
                }
                self.left = Some(last);
                Ok(Some(Event::GoAway { last, code }))
            }
            Kind::WindowUpdate => self.window_update(now, head, payload),
            Kind::PriorityUpdate => self.priority_update(now, payload),
            Kind::Data | Kind::PushPromise | Kind::Unknown => Ok(None),
        }
    }

    /// Whether a stream of this number was never begun.
    fn is_idle(&self, id: u32) -> bool {
        let ours = id % 2 == 1 && self.role == Role::Client;
        if ours {
            id >= self.next
        } else {
            // The peer's, or one that nobody can begin.
            id > self.last
        }
    }

    /// Queues RST_STREAM.
    fn put_reset(&mut self, id: u32, code: ErrorCode) {
        frame::put_reset(id, code, &mut self.control);
        self.streams.remember(id);
    }

    /// Queues GOAWAY and reads nothing any more.
    fn die(&mut self, fatal: Fatal) -> Fatal {
        if !matches!(self.reading, Reading::Dead) {
            self.reading = Reading::Dead;
            // Whatever answers still wait, this one must reach a client that reads.
            frame::put_goaway(self.last, fatal.code(), &mut self.control);
            self.leaving = Some(self.last);
        }
        fatal
    }
}

/// Buffers above this are not kept by an idle connection.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// How far a reading step came.
enum More {
    /// More bytes are needed.
    Wait,
    /// So many bytes are done with, and this is what they meant.
    Took(usize, Option<Event>),
}

const fn broken(code: ErrorCode, why: &'static str) -> Fatal {
    Fatal::Broken(code, why)
}

/// Puts a stream into the schedule when it has something to send.
fn arm(key: Key, stream: &mut Stream, schedule: &mut Schedule) {
    let sends = stream.pending() > 0 && stream.send_window > 0;
    let ends = stream.pending() == 0 && stream.ending.is_some();
    if !stream.scheduled && stream.sending && (sends || ends) {
        stream.scheduled = true;
        schedule.push(key, stream.priority);
    }
}
