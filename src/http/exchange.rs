//! One request with its response, from decode to log: the state that the stages pass along.
//!
//! Exchanges are pooled by their shard and every field is reused, so that a warm request allocates
//! nothing. Owns no protocol and no policy. [`Exchange::begin`] fills one, [`Exchange::end`] empties it.

use std::rc::Rc;

use bytes::Bytes;

use crate::base::time::{Mono, Unix};
use crate::front::{ConnInfo, Stream};
use crate::net::file::File;
use crate::plan::{LocationId, PeerId, GroupId, ServerId};
use crate::proto::head::{Fields, Method, RequestHead};
use crate::upstream::origin::Origin;

/// One request being served.
pub struct Exchange {
    /// Facts of the client connection.
    pub conn: Rc<ConnInfo>,
    /// The handle on the client: request body in, response out.
    pub stream: Stream,
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
    /// The method that rules see; `error_page` and `X-Accel-Redirect` make it GET.
    pub method: Method,
    /// `uri` and `args` still are what the client sent: `proxy_pass` may forward the raw target.
    pub target_unchanged: bool,
    /// Reached by an internal redirect: `internal` locations may serve it.
    pub internal: bool,
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
    /// Attempts on upstream peers, for `$upstream_*` and the log.
    pub attempts: Vec<Attempt>,
    /// Head fields of the last upstream response, for `$upstream_http_*`.
    pub upstream_fields: Fields,
    /// Trailer fields of the last upstream response.
    pub upstream_trailers: Fields,
    /// Values of variables, evaluated lazily.
    pub vars: VarCache,
    /// When its first byte was read.
    pub started: Mono,
    /// The same on the wall clock.
    pub started_unix: Unix,
    /// Request bytes read, head and body: `$request_length`.
    pub request_length: u64,
    /// What `limit_rate` resolves to, bytes per second; `X-Accel-Limit-Rate` and `set $limit_rate` change it.
    pub limit_rate: Option<u64>,
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
    /// Trailer fields that follow the body (`add_trailer`, upstream trailers).
    pub trailers: Fields,
    /// Where the body comes from.
    pub body: Body,
    /// The head went out.
    pub head_sent: bool,
    /// Bytes sent, head included: `$bytes_sent`.
    pub bytes_sent: u64,
    /// Body bytes sent: `$body_bytes_sent`.
    pub body_bytes_sent: u64,
    /// The body was cut short: the connection is closed so that the client can see it.
    pub truncated: bool,
    /// `expires` of the backend was overridden by X-Accel or `expires`; kept for `Cache-Control` handling.
    pub upstream: bool,
}

/// Where a response body comes from.
#[derive(Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// A regular file, opened; the range to send.
    File {
        /// The open file.
        file: File,
        /// First byte.
        offset: u64,
        /// Bytes to send.
        length: u64,
    },
    /// An upstream response whose head was read; the body follows on its connection.
    Origin(Box<Origin>),
    /// The connection becomes a tunnel after the head (101).
    Tunnel(Box<Origin>),
}

/// The request's body, once read.
#[derive(Default)]
pub enum RequestBody {
    /// Still on the connection, or there is none.
    #[default]
    Unread,
    /// In memory.
    Memory(Vec<u8>),
    /// In a temporary file, already unlinked.
    File {
        /// The file.
        file: File,
        /// Its length.
        length: u64,
    },
    /// Taken by an upstream as it arrived, or thrown away.
    Gone,
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
    /// Values of settable variables, by `SlotId`.
    pub slots: Vec<Option<(u32, u32)>>,
    /// Results of `map`s that are not `volatile`, by `MapId`.
    pub maps: Vec<Option<(u32, u32)>>,
    /// The subject of the latest regex match.
    pub subject: Vec<u8>,
    /// `$0` … `$9` as ranges of `subject`; `captures_count` of them are valid.
    pub captures: [(u32, u32); 10],
    /// How many of `captures` are valid.
    pub captures_count: u8,
    /// `$request_id`, once made.
    pub request_id: Option<[u8; 32]>,
}

