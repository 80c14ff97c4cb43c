//! One request with its response, from decode to log: the state that the stages pass along.
//!
//! Exchanges are pooled by their shard and every field is reused, so that a warm request allocates
//! nothing. Owns no protocol and no policy. A shard fills one, [`Exchange::end`] empties it.

use std::rc::Rc;

use bytes::Bytes;

use super::access;
use super::content::cache::Cached;
use super::content::cache::body::Stored;
use super::content::files::opening::Held;
use super::content::proxy::sticky::Sticky;
use super::content::proxy::upload::Upload;
use super::filter::chain::Chain;
use super::filter::compress::Coded;
use super::filter::range::Parts;
use super::filter::{ssi, userid};
use super::slice::{Slices, Slicing};
use super::subrequest::Background;
use super::trace;
use crate::base::buf::BufPool;
use crate::base::time::Mono;
use crate::front::{ConnInfo, Stream};
use crate::net::file::{self, File};
use crate::net::{Addr, clock};
use crate::observe::recorder::Phases;
use crate::plan::regex::Captures;
use crate::plan::{GroupId, LocationId, PeerId, ServerId};
use crate::proto::head::{Fields, Method, RequestHead};
use crate::proto::tokens::Token;
use crate::upstream::origin::{Lease, Spare};

/// One request being served.
pub struct Exchange {
    /// Facts of the client connection.
    pub conn: Rc<ConnInfo>,
    /// The handle on the client: request body in, response out.
    pub stream: Stream,
    /// The client's address where `set_real_ip_from` trusts the peer's word for it; see [`Exchange::client`].
    pub real_client: Option<Addr>,
    /// Lines for debugging are wanted: by `debug_connection`, or by the location in force.
    pub debug: bool,
    /// The request as received.
    pub head: RequestHead,
    /// Server chosen by address and name.
    pub server: ServerId,
    /// Location in force now; the server's root before one is found.
    pub location: LocationId,
    /// `$uri`: decoded, normalised, changed by rewrites and internal redirects.
    pub uri: Vec<u8>,
    /// `$args`, without the question mark.
    pub args: Vec<u8>,
    /// `$host`: lower-case, without port; empty when the request named none.
    pub host: Vec<u8>,
    /// The port that the request's host named; 0 when none.
    pub host_port: u16,
    /// The method that rules see; `error_page` and `X-Accel-Redirect` make it GET.
    pub method: Method,
    /// `uri` and `args` still are what the client sent: `proxy_pass` may forward the raw target.
    pub target_unchanged: bool,
    /// Reached by an internal redirect: `internal` locations may serve it.
    pub internal: bool,
    /// `rewrite … break` changed `uri`: it no longer begins with the location's text, so `alias` cannot be used.
    pub rewritten_in_place: bool,
    /// `try_files` found a file below an `alias` of a pattern location: `uri` is its name there.
    pub uri_is_below_alias: bool,
    /// The request body is of no interest any more: nothing may ask for it, and its length is not judged again.
    pub discard_body: bool,
    /// Returns to the route stage left; at none the request fails with 500. nginx allows ten.
    pub reroutes_left: u8,
    /// An error page is being made: no second one unless `recursive_error_pages`.
    pub error_page: bool,
    /// Status that `error_page` prescribes for its target's answer; 0 when none.
    pub status_override: u16,
    /// The connection ends after this exchange, whatever the client asked.
    pub close: bool,
    /// What the client will get.
    pub response: Response,
    /// The request's body, once it was read.
    pub body: RequestBody,
    /// Body bytes that had come before an upstream was asked, where the body is handed on as it arrives.
    pub preread: Vec<u8>,
    /// URL of the attempt in progress (`http://127.0.0.1:81/path`), for the error log; empty when there is none.
    pub upstream_url: Vec<u8>,
    /// Attempts on upstream peers, for `$upstream_*` and the log.
    pub attempts: Vec<Attempt>,
    /// Head fields of the last upstream response, for `$upstream_http_*`.
    pub upstream_fields: Fields,
    /// Trailer fields of the last upstream response, if it had any.
    pub upstream_trailers: Option<Box<Fields>>,
    /// Storage that one attempt after the other uses.
    pub upstream_spare: Spare,
    /// What goes to the upstream as a body.
    pub upstream_body: UpstreamBody,
    /// An internal redirect came after the last attempt: the next one is joined with ` : `.
    pub upstream_redirected: bool,
    /// Values of variables, evaluated lazily.
    pub vars: VarCache,
    /// When its first byte was read.
    pub started: Mono,
    /// The same moment in microseconds.
    pub started_us: u64,
    /// When later steps were taken, for the flight recorder.
    pub phases: Phases,
    /// Request bytes read, head and body: `$request_length`.
    pub request_length: u64,
    /// The request's body goes to an origin while the answer is passed on.
    pub upload: Option<Rc<Upload>>,
    /// Bytes per second, where `X-Accel-Limit-Rate` or `set $limit_rate` overrule `limit_rate`; 0 is no limit.
    pub limit_rate: Option<u64>,
    /// `$proxy_host` of a `proxy_pass` with variables, once it was evaluated; empty otherwise.
    pub proxy_host: Vec<u8>,
    /// `$proxy_port` of a `proxy_pass` with variables.
    pub proxy_port: Vec<u8>,
    /// The response is read ahead of the client: `proxy_buffering`, as `X-Accel-Buffering` left it.
    pub buffering: bool,
    /// The client was too slow; `reset_timedout_connection` applies.
    pub client_timed_out: bool,
    /// The `userid` cookie of this client, once it was looked for.
    pub uids: Option<Box<userid::Ids>>,
    /// The slice that is asked for, once `$slice_range` was.
    pub slicing: Option<Slicing>,
    /// In a subrequest: the charset of the answer that it becomes a part of; empty when that has none.
    pub main_charset: Vec<u8>,
    /// Whether the client may be answered with gzip, once that was found out.
    pub gzip_ok: Option<bool>,
    /// What pages with commands keep.
    pub ssi: ssi::State,
    /// How many requests this one is inside of: 0 for a client's own, 1 for a subrequest of it.
    pub depth: u8,
    /// The client's method, where this is a subrequest with one of its own.
    pub main_method: Method,
    /// Subrequests that nobody reads, still running.
    pub background: Option<Rc<Background>>,
    /// What limits of requests and connections said, and what they count.
    pub limits: access::Limited,
    /// Which peer the request stays with; none where nothing is sticky.
    pub sticky: Option<Box<Sticky>>,
    /// What the cache said; none where it was not asked.
    pub cached: Option<Box<Cached>>,
    /// Storage for that.
    pub cached_spare: Option<Box<Cached>>,
}

/// What the client will get: fields that are edited by filters, then a body.
#[derive(Default)]
pub struct Response {
    /// Status; 0 before an answer exists. 499 and other private codes only reach the log.
    pub status: u16,
    /// Reason phrase from upstream, when it is not the standard one.
    pub reason: Vec<u8>,
    /// Fields to send besides Server, Date, Content-Type, Content-Length, Location, Last-Modified,
    /// Connection and framing, which have members or owners of their own.
    pub fields: Fields,
    /// `Content-Type`, charset included; empty when none.
    pub content_type: Vec<u8>,
    /// `Location`, perhaps still relative; made absolute by the header filter when `absolute_location`.
    pub location: Vec<u8>,
    /// `location` is a path that `absolute_redirect` applies to.
    pub location_is_path: bool,
    /// `Last-Modified` as Unix seconds.
    pub last_modified: Option<i64>,
    /// `ETag`, quotes included; empty when none.
    pub etag: Vec<u8>,
    /// Length of the body when known before it is sent.
    pub content_length: Option<u64>,
    /// Trailer fields that follow the body, if any; `filter::trailers` adds those of `add_trailer` when the body was sent.
    pub trailers: Option<Box<Fields>>,
    /// Trailers are expected, so that the body goes out chunked although its length may be known.
    pub expect_trailers: bool,
    /// Where the body comes from.
    pub body: Body,
    /// Filters that the body passes on its way out; empty for most.
    pub chain: Chain,
    /// The head went out.
    pub head_sent: bool,
    /// Bytes sent, head included: `$bytes_sent`.
    pub bytes_sent: u64,
    /// Body bytes sent: `$body_bytes_sent`.
    pub body_bytes_sent: u64,
    /// The body was cut short: the connection is closed so that the client can see it.
    pub truncated: bool,
    /// The answer depends on `Accept-Encoding`.
    pub vary_encoding: bool,
    /// `X-Accel-Charset` of an origin; empty when none.
    pub accel_charset: Vec<u8>,
    /// How the body was compressed, once it was.
    pub coded: Option<Coded>,
    /// Comes from an origin: conditions of the request are the origin's business.
    pub upstream: bool,
    /// Conditions of the request are ours to judge all the same: the origin was not told of them.
    pub conditional: bool,
    /// The origin's `Server` is passed on, or that it has none: ours does not take its place.
    pub no_server: bool,
    /// The same for `Date`.
    pub no_date: bool,
    /// The range filter may narrow the body; set by who knows it whole. See [`Response::forbid_ranges`].
    pub allow_ranges: bool,
    /// One range at most: the body comes in pieces.
    pub single_range: bool,
}

/// Where a response body comes from.
#[derive(Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// Constant bytes of the program.
    Static(&'static [u8]),
    /// A pooled buffer; goes back to the pool when it was sent.
    Buffer(Vec<u8>),
    /// A regular file, opened; the range to send.
    File {
        /// The open file.
        file: Held,
        /// First byte.
        offset: u64,
        /// Bytes to send.
        length: u64,
    },
    /// Several stretches of one of the above.
    Parts(Box<Parts>),
    /// An upstream response whose head was read; the body follows on its connection.
    Origin(Lease),
    /// Several upstream responses, one behind the other.
    Slices(Box<Slices>),
    /// What is stored on its way, or read while somebody else stores it.
    Stored(Box<Stored>),
    /// The connection becomes a tunnel after the head (101).
    Tunnel(Lease),
}

/// The request's body, once read.
#[derive(Default)]
pub enum RequestBody {
    /// Still on the connection, or there is none.
    #[default]
    Unread,
    /// In memory.
    Memory(Vec<u8>),
    /// In a temporary file.
    File(Box<BodyFile>),
    /// Taken by an upstream as it arrived, or thrown away.
    Gone,
}

/// A request body in a temporary file.
pub struct BodyFile {
    /// The file.
    pub file: File,
    /// Its length.
    pub length: u64,
    /// Its name; empty when it has none and goes with its descriptor.
    pub path: Vec<u8>,
    /// The name is taken away when the exchange ends.
    pub removed: bool,
}

/// What goes to an upstream as a body: `$proxy_internal_body_length` and `$proxy_internal_chunked`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamBody {
    /// Nothing, and no field that announces one.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, as they come from the client.
    Chunked,
}

/// One attempt on one peer: what `$upstream_addr` and its siblings print.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// Which group, when known at load.
    pub group: Option<GroupId>,
    /// Which peer of it.
    pub peer: Option<PeerId>,
    /// `$upstream_addr` text: an address, a unix path, or the group's name when no peer was usable.
    pub addr: Bytes,
    /// Status the peer answered, 502 or 504 when it did not; 0 when it was cut before.
    pub status: u16,
    /// Start of the attempt.
    pub started: Mono,
    /// Milliseconds to connect; none when it never connected.
    pub connect_ms: Option<u64>,
    /// Milliseconds to the response head.
    pub header_ms: Option<u64>,
    /// Milliseconds to the end of the response.
    pub response_ms: Option<u64>,
    /// Bytes of response body received.
    pub response_length: u64,
    /// Bytes received, head included.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// An internal redirect came before this attempt: `$upstream_*` join it with ` : ` instead of `, `.
    pub after_redirect: bool,
}

/// Values of variables of one exchange. Bytes live in one arena; a value is a range of it.
#[derive(Default)]
pub struct VarCache {
    /// Storage of all cached values.
    pub arena: Vec<u8>,
    /// Values of settable variables, by `SlotId`; may be shorter than the plan's list.
    pub slots: Vec<Option<(u32, u32)>>,
    /// Results of `map`, `geo` and `split_clients`, in this order; may be shorter than there are.
    pub tables: Vec<Option<(u32, u32)>>,
    /// The subject of the latest regex match.
    pub subject: Vec<u8>,
    /// `$0` … `$9` as ranges of `subject`; `captures_count` of them are valid.
    pub captures: Captures,
    /// How many of `captures` are valid.
    pub captures_count: u8,
    /// `$request_id`, once made.
    pub request_id: Option<[u8; 32]>,
    /// The request's place in a trace, once it has one.
    pub trace: Option<trace::Span>,
    /// Tables that are being evaluated, one inside the other.
    pub depth: u8,
}

/// Bytes of one buffer that a pooled exchange may keep. 1,024 exchanges with a dozen buffers each, of which an attack
/// may have stretched all, keep less than 64 MiB: usual requests need far less and never allocate again.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// Empties a buffer; one that a request has made large is let go.
fn reset(buf: &mut Vec<u8>) {
    if buf.capacity() > KEPT_BYTES_MAX {
        *buf = Vec::new();
    } else {
        buf.clear();
    }
}

/// Empties fields; a large buffer of theirs is let go.
fn reset_fields(fields: &mut Fields) {
    if fields.buf_capacity() > KEPT_BYTES_MAX {
        drop(fields.take_buf());
    }
    fields.clear();
}

impl VarCache {
    /// Copies a value into the arena.
    pub fn keep(&mut self, value: &[u8]) -> (u32, u32) {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(value);
        (start, self.arena.len() as u32)
    }

    /// Begins with the values of another exchange; captures of patterns are its own.
    pub fn inherit(&mut self, from: &Self) {
        self.arena.clear();
        self.arena.extend_from_slice(&from.arena);
        self.slots.clone_from(&from.slots);
        self.tables.clone_from(&from.tables);
        self.request_id = from.request_id;
        self.trace = from.trace;
    }

    /// Goes on with the captures of another exchange.
    pub fn take_captures(&mut self, from: &Self) {
        self.subject.clear();
        self.subject.extend_from_slice(&from.subject);
        self.captures = from.captures;
        self.captures_count = from.captures_count;
    }

    /// Gives the values to another exchange, which keeps its captures.
    pub fn hand_over(&mut self, to: &mut Self) {
        std::mem::swap(&mut self.arena, &mut to.arena);
        std::mem::swap(&mut self.slots, &mut to.slots);
        std::mem::swap(&mut self.tables, &mut to.tables);
        to.request_id = self.request_id;
        to.trace = self.trace;
    }

    /// Forgets all values and keeps the allocations.
    pub fn clear(&mut self) {
        reset(&mut self.arena);
        self.slots.clear();
        self.tables.clear();
        reset(&mut self.subject);
        self.captures_count = 0;
        self.request_id = None;
        self.trace = None;
        self.depth = 0;
    }
}

impl Response {
    /// The body will be other bytes than its source's: ranges of it cannot be told.
    pub fn forbid_ranges(&mut self) {
        self.allow_ranges = false;
        self.fields.remove(Token::ACCEPT_RANGES);
    }

    /// Forgets the length: a filter will change it.
    pub fn clear_length(&mut self) {
        self.content_length = None;
        self.fields.remove(Token::CONTENT_LENGTH);
    }

    /// Forgets when the answer was last modified.
    pub fn clear_modified(&mut self) {
        self.last_modified = None;
        self.fields.remove(Token::LAST_MODIFIED);
    }

    /// Forgets the tag, ours or an origin's.
    pub fn clear_etag(&mut self) {
        self.etag.clear();
        self.fields.remove(Token::ETAG);
    }

    /// The tag stays, but no longer promises the same bytes. One that is no tag at all goes.
    pub fn weaken_etag(&mut self) {
        if self.etag.is_empty()
            && let Some(value) = self.fields.get(Token::ETAG)
        {
            self.etag.extend_from_slice(value);
        }
        match self.etag.first() {
            Some(b'W') if self.etag.starts_with(b"W/") => {}
            Some(b'"') => {
                self.etag.splice(..0, *b"W/");
            }
            _ => self.clear_etag(),
        }
    }

    /// Forgets the answer and keeps the allocations. A pooled body must have been taken out.
    pub fn clear(&mut self) {
        // Field by field, in place. The pattern makes a forgotten field an error.
        let Self {
            status,
            reason,
            fields,
            content_type,
            location,
            location_is_path,
            last_modified,
            etag,
            content_length,
            trailers,
            expect_trailers,
            body,
            chain: _,
            head_sent,
            bytes_sent,
            body_bytes_sent,
            truncated,
            vary_encoding,
            accel_charset,
            coded,
            upstream,
            conditional,
            no_server,
            no_date,
            allow_ranges,
            single_range,
        } = self;
        for text in [reason, content_type, location, etag, accel_charset] {
            reset(text);
        }
        reset_fields(fields);
        *trailers = None;
        (*status, *bytes_sent, *body_bytes_sent) = (0, 0, 0);
        (*last_modified, *content_length, *coded) = (None, None, None);
        for flag in [
            location_is_path,
            expect_trailers,
            head_sent,
            truncated,
            vary_encoding,
            upstream,
            conditional,
            no_server,
            no_date,
            allow_ranges,
            single_range,
        ] {
            *flag = false;
        }
        if !matches!(body, Body::Empty) {
            *body = Body::Empty;
        }
    }
}

impl Exchange {
    /// `$scheme`.
    #[must_use]
    pub fn scheme(&self) -> &'static [u8] {
        if self.conn.tls.is_some() {
            b"https"
        } else {
            b"http"
        }
    }

    /// An exchange for a pool: of nobody, and empty.
    #[must_use]
    pub fn new(conn: Rc<ConnInfo>) -> Self {
        Self {
            conn,
            stream: Stream::None,
            real_client: None,
            debug: false,
            head: RequestHead::default(),
            server: ServerId(0),
            location: LocationId(0),
            uri: Vec::new(),
            args: Vec::new(),
            host: Vec::new(),
            host_port: 0,
            method: Method::Other,
            target_unchanged: true,
            internal: false,
            rewritten_in_place: false,
            uri_is_below_alias: false,
            discard_body: false,
            reroutes_left: 0,
            error_page: false,
            status_override: 0,
            close: false,
            response: Response::default(),
            body: RequestBody::Unread,
            preread: Vec::new(),
            upstream_url: Vec::new(),
            attempts: Vec::new(),
            upstream_fields: Fields::new(),
            upstream_trailers: None,
            upstream_spare: Spare::default(),
            upstream_body: UpstreamBody::None,
            upstream_redirected: false,
            vars: VarCache::default(),
            started: Mono::default(),
            started_us: 0,
            phases: Phases::default(),
            request_length: 0,
            upload: None,
            limit_rate: None,
            proxy_host: Vec::new(),
            proxy_port: Vec::new(),
            buffering: false,
            client_timed_out: false,
            uids: None,
            slicing: None,
            main_charset: Vec::new(),
            gzip_ok: None,
            ssi: ssi::State::default(),
            depth: 0,
            main_method: Method::Other,
            background: None,
            limits: access::Limited::default(),
            sticky: None,
            cached: None,
            cached_spare: None,
        }
    }

    /// Whether it was made by another request, not by a client.
    #[must_use]
    pub fn is_subrequest(&self) -> bool {
        self.depth > 0
    }

    /// Who asks: the peer of the connection, or whom a trusted peer named.
    #[must_use]
    pub fn client(&self) -> &Addr {
        self.real_client.as_ref().unwrap_or(&self.conn.remote)
    }

    /// What the flight recorder is told of a step that is taken now.
    #[must_use]
    pub fn step_us(&self) -> u32 {
        Phases::since(self.started_us, clock::micros())
    }

    /// What follows is fetched with GET, or HEAD if that was asked for: error pages and `X-Accel-Redirect`.
    pub fn become_get(&mut self) {
        if self.method != Method::Head {
            self.method = Method::Get;
        }
    }

    /// Gives room up that is not in use, of an exchange that will last.
    pub fn shrink(&mut self) {
        for text in [
            &mut self.uri,
            &mut self.args,
            &mut self.host,
            &mut self.upstream_url,
            &mut self.proxy_host,
            &mut self.proxy_port,
            &mut self.response.content_type,
            &mut self.response.reason,
            &mut self.vars.arena,
        ] {
            text.shrink_to_fit();
        }
        for fields in [
            &mut self.response.fields,
            &mut self.upstream_fields,
            &mut self.head.fields,
        ] {
            fields.shrink();
        }
        self.attempts.shrink_to_fit();
    }

    /// Lets go of a request that is over and of everything that belongs to it; keeps the allocations that are small.
    /// Hands back what the connection goes on with.
    pub fn end(&mut self, buffers: &BufPool) -> Stream {
        if !matches!(self.body, RequestBody::Unread) {
            match std::mem::take(&mut self.body) {
                RequestBody::Memory(body) => buffers.give(body),
                RequestBody::File(body) if body.removed => {
                    // Nothing is left to do where it is gone already.
                    let _ = file::remove(&body.path);
                }
                _ => {}
            }
        }
        if let Body::Buffer(body) = &mut self.response.body {
            buffers.give(std::mem::take(body));
        }
        if !self.response.chain.is_empty() {
            self.response.chain.clear(buffers);
        }
        self.response.clear();
        self.vars.clear();
        for text in [
            &mut self.uri,
            &mut self.args,
            &mut self.host,
            &mut self.upstream_url,
            &mut self.proxy_host,
            &mut self.proxy_port,
        ] {
            reset(text);
        }
        if self.preread.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.preread));
        }
        self.real_client = None;
        self.attempts.clear();
        self.phases = Phases::default();
        reset_fields(&mut self.upstream_fields);
        self.upstream_trailers = None;
        self.upstream_body = UpstreamBody::None;
        self.upstream_redirected = false;
        self.host_port = 0;
        self.method = Method::Other;
        self.target_unchanged = true;
        self.internal = false;
        self.rewritten_in_place = false;
        self.uri_is_below_alias = false;
        self.discard_body = false;
        self.error_page = false;
        self.status_override = 0;
        self.close = false;
        self.request_length = 0;
        self.upload = None;
        self.limit_rate = None;
        self.buffering = false;
        self.client_timed_out = false;
        self.uids = None;
        self.slicing = None;
        reset(&mut self.main_charset);
        self.gzip_ok = None;
        self.ssi.clear();
        self.depth = 0;
        self.main_method = Method::Other;
        self.background = None;
        self.limits.clear();
        self.sticky = None;
        if let Some(mut cached) = self.cached.take() {
            cached.clear();
            self.cached_spare =
                Some(cached).filter(|cached| cached.key.capacity() <= KEPT_BYTES_MAX);
        }
        self.head.clear();
        reset_fields(&mut self.head.fields);
        std::mem::take(&mut self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_fits_a_size_class_of_the_heap() {
        // Each silent tunnel keeps one. What is rare is behind a pointer.
        let size = size_of::<Exchange>();
        assert!(size <= 1536, "{size}");
    }
}
