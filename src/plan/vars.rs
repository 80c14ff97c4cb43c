//! The registry of variables: which names exist, and what they compile to.
//!
//! Values are made in `http::vars`; here a name becomes a [`Var`] or nothing, which the caller
//! reports as an unknown variable. Names compare without case. Start at [`Registry::resolve`].

use std::collections::HashMap;

use bytes::Bytes;

use super::expr::{Family, Var};
use super::names::Table;
use super::script::SetTarget;
use super::stream::SessionVar;
use super::{FamilyName, GeoId, MapId, SlotId, SlotPlan, SplitId};
use crate::base::ids::IdVec;
use crate::proto::tokens::Token;

macro_rules! builtins {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal;)+) => {
        /// Variables with a fixed name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Builtin { $($(#[doc = $doc])* #[doc = concat!("`$", $name, "`")] $variant,)+ }

        impl Builtin {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name without `$`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

builtins! {
    Args = "args";
    BinaryRemoteAddr = "binary_remote_addr";
    BodyBytesSent = "body_bytes_sent";
    BrotliRatio = "brotli_ratio";
    BytesSent = "bytes_sent";
    Connection = "connection";
    ConnectionRequests = "connection_requests";
    ConnectionTime = "connection_time";
    ConnectionsActive = "connections_active";
    ConnectionsReading = "connections_reading";
    ConnectionsWaiting = "connections_waiting";
    ConnectionsWriting = "connections_writing";
    ContentLength = "content_length";
    ContentType = "content_type";
    DateGmt = "date_gmt";
    DateLocal = "date_local";
    DocumentRoot = "document_root";
    DocumentUri = "document_uri";
    FastcgiPathInfo = "fastcgi_path_info";
    FastcgiScriptName = "fastcgi_script_name";
    GzipRatio = "gzip_ratio";
    Host = "host";
    Hostname = "hostname";
    Http2 = "http2";
    Https = "https";
    InvalidReferer = "invalid_referer";
    IsArgs = "is_args";
    IsRequestPort = "is_request_port";
    LimitConnStatus = "limit_conn_status";
    LimitRate = "limit_rate";
    LimitReqStatus = "limit_req_status";
    Msec = "msec";
    NginxVersion = "nginx_version";
    Pid = "pid";
    Pipe = "pipe";
    ProxyAddXForwardedFor = "proxy_add_x_forwarded_for";
    ProxyHost = "proxy_host";
    ProxyInternalBodyLength = "proxy_internal_body_length";
    ProxyInternalChunked = "proxy_internal_chunked";
    ProxyPort = "proxy_port";
    ProxyProtocolAddr = "proxy_protocol_addr";
    ProxyProtocolPort = "proxy_protocol_port";
    ProxyProtocolServerAddr = "proxy_protocol_server_addr";
    ProxyProtocolServerPort = "proxy_protocol_server_port";
    ParentId = "parent_id";
    QueryString = "query_string";
    RealipRemoteAddr = "realip_remote_addr";
    RealipRemotePort = "realip_remote_port";
    RealpathRoot = "realpath_root";
    RemoteAddr = "remote_addr";
    RemotePort = "remote_port";
    RemoteUser = "remote_user";
    Request = "request";
    RequestBody = "request_body";
    RequestBodyFile = "request_body_file";
    RequestCompletion = "request_completion";
    RequestFilename = "request_filename";
    RequestId = "request_id";
    RequestLength = "request_length";
    RequestMethod = "request_method";
    RequestPort = "request_port";
    RequestTime = "request_time";
    RequestUri = "request_uri";
    Scheme = "scheme";
    SecureLink = "secure_link";
    SecureLinkExpires = "secure_link_expires";
    ServerAddr = "server_addr";
    ServerName = "server_name";
    ServerPort = "server_port";
    ServerProtocol = "server_protocol";
    Status = "status";
    TcpinfoRcvSpace = "tcpinfo_rcv_space";
    TcpinfoRtt = "tcpinfo_rtt";
    TcpinfoRttvar = "tcpinfo_rttvar";
    TcpinfoSndCwnd = "tcpinfo_snd_cwnd";
    TimeIso8601 = "time_iso8601";
    TimeLocal = "time_local";
    UidGot = "uid_got";
    UidReset = "uid_reset";
    UidSet = "uid_set";
    UpstreamAddr = "upstream_addr";
    UpstreamBytesReceived = "upstream_bytes_received";
    UpstreamBytesSent = "upstream_bytes_sent";
    UpstreamCacheAge = "upstream_cache_age";
    UpstreamCacheEtag = "upstream_cache_etag";
    UpstreamCacheKey = "upstream_cache_key";
    UpstreamCacheLastModified = "upstream_cache_last_modified";
    UpstreamCacheStatus = "upstream_cache_status";
    UpstreamConnectTime = "upstream_connect_time";
    UpstreamHeaderTime = "upstream_header_time";
    UpstreamResponseLength = "upstream_response_length";
    UpstreamResponseTime = "upstream_response_time";
    UpstreamStatus = "upstream_status";
    SliceRange = "slice_range";
    SpanId = "span_id";
    TraceId = "trace_id";
    TraceParent = "trace_parent";
    TraceSampled = "trace_sampled";
    TraceState = "trace_state";
    SslAlpnProtocol = "ssl_alpn_protocol";
    SslCipher = "ssl_cipher";
    SslCiphers = "ssl_ciphers";
    SslClientCert = "ssl_client_cert";
    SslClientEscapedCert = "ssl_client_escaped_cert";
    SslClientFingerprint = "ssl_client_fingerprint";
    SslClientIDn = "ssl_client_i_dn";
    SslClientIDnLegacy = "ssl_client_i_dn_legacy";
    SslClientRawCert = "ssl_client_raw_cert";
    SslClientSDn = "ssl_client_s_dn";
    SslClientSDnLegacy = "ssl_client_s_dn_legacy";
    SslClientSerial = "ssl_client_serial";
    SslClientVEnd = "ssl_client_v_end";
    SslClientVRemain = "ssl_client_v_remain";
    SslClientVStart = "ssl_client_v_start";
    SslClientVerify = "ssl_client_verify";
    SslCurve = "ssl_curve";
    SslCurves = "ssl_curves";
    SslEarlyData = "ssl_early_data";
    SslProtocol = "ssl_protocol";
    SslServerName = "ssl_server_name";
    SslSessionId = "ssl_session_id";
    SslSessionReused = "ssl_session_reused";
    SslSigalgs = "ssl_sigalgs";
    Uri = "uri";
    ZstdRatio = "zstd_ratio";
    /// Belongs to a feature that is not in use, and so has no value.
    Absent = "";
}

/// Names that nginx knows and that stand for parts of it that do not work here yet, or that have
/// no value without their feature. They must load: log formats name them everywhere.
const ABSENT: &[&str] = &[
    "ancient_browser",
    "http3",
    "modern_browser",
    "msie",
    "quic",
    "ssl_client_sigalg",
    "ssl_ech_outer_server_name",
    "ssl_ech_status",
    "ssl_sigalg",
];

/// Families and their prefixes; a longer prefix stands before a shorter one that it contains.
const FAMILIES: &[(&str, Family)] = &[
    ("http_", Family::Http),
    ("sent_http_", Family::SentHttp),
    ("sent_trailer_", Family::SentTrailer),
    ("upstream_http_", Family::UpstreamHttp),
    ("upstream_trailer_", Family::UpstreamTrailer),
    ("upstream_cookie_", Family::UpstreamCookie),
    ("cookie_", Family::Cookie),
    ("arg_", Family::Arg),
    ("proxy_protocol_tlv_", Family::ProxyProtocolTlv),
];

/// The family of a name in lower case, and what follows the family's prefix.
pub fn family_of(name: &[u8]) -> Option<(Family, &[u8])> {
    FAMILIES
        .iter()
        .find_map(|&(prefix, family)| Some((family, name.strip_prefix(prefix.as_bytes())?)))
}

impl FamilyName {
    /// A member by its name in lower case, without the family's prefix.
    pub fn of(name: &[u8]) -> Self {
        let dash = |&b: &u8| if b == b'_' { b'-' } else { b };
        let dashed: Vec<u8> = name.iter().map(dash).collect();
        Self {
            name: Bytes::copy_from_slice(name),
            token: Token::of(&dashed),
        }
    }
}

impl Builtin {
    /// Whether its value never has CR, LF or NUL. Those that requests name most; the others are looked at.
    pub const fn is_one_line(self) -> bool {
        matches!(
            self,
            Self::Host
                | Self::Scheme
                | Self::RemoteAddr
                | Self::RemotePort
                | Self::ServerAddr
                | Self::ServerPort
                | Self::ProxyAddXForwardedFor
                | Self::RequestId
        )
    }

    /// What a name written by the configuration stands for.
    pub fn of(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok().filter(|n| !n.is_empty())?;
        let known = Self::ALL
            .iter()
            .copied()
            .find(|b| b.name().eq_ignore_ascii_case(name));
        known.or_else(|| {
            ABSENT
                .iter()
                .any(|a| a.eq_ignore_ascii_case(name))
                .then_some(Self::Absent)
        })
    }

    /// Builtins that a configuration may define anew or `set`.
    fn is_changeable(self) -> bool {
        matches!(
            self,
            Self::Args
                | Self::InvalidReferer
                | Self::LimitRate
                | Self::ProxyHost
                | Self::ProxyPort
                | Self::UidReset
        )
    }
}

/// Who defined a name.
#[derive(Clone, Copy)]
enum Defined {
    Slot(SlotId),
    Table(Var),
}

/// Collects the variables of one configuration while it is compiled.
#[derive(Default)]
pub struct Registry {
    /// Names mean what they mean in `stream`.
    stream: bool,
    defined: Table<Defined>,
    slots: IdVec<SlotId, SlotPlan>,
    family_names: Vec<FamilyName>,
    families_seen: HashMap<(Family, Bytes), u32, foldhash::fast::FixedState>,
    /// Something asks for what TLS clients offered.
    pub wants_hello: bool,
}

impl Registry {
    /// Defines what a `map` makes. The error is nginx's message.
    pub fn define_map(&mut self, name: &[u8], id: MapId) -> Result<(), String> {
        self.define(name, Var::Map(id))
    }

    /// Defines what a `geo` makes.
    pub fn define_geo(&mut self, name: &[u8], id: GeoId) -> Result<(), String> {
        self.define(name, Var::Geo(id))
    }

    /// Defines what a `split_clients` makes.
    pub fn define_split(&mut self, name: &[u8], id: SplitId) -> Result<(), String> {
        self.define(name, Var::Split(id))
    }

    /// From now on names are those of `stream`; none of `http` is known there.
    pub fn begin_stream(&mut self) {
        self.stream = true;
        self.defined = Table::default();
    }

    /// The lower-case name, unless it is one that may not be defined.
    fn changeable(&self, name: &[u8]) -> Result<Box<[u8]>, String> {
        if !self.stream {
            return changeable(name);
        }
        let lower = name.to_ascii_lowercase();
        if SessionVar::of(&lower).is_some() {
            let shown = String::from_utf8_lossy(name);
            return Err(format!("the duplicate \"{shown}\" variable"));
        }
        Ok(lower.into_boxed_slice())
    }

    fn define(&mut self, name: &[u8], var: Var) -> Result<(), String> {
        let lower = self.changeable(name)?;
        match self.defined.get(&lower) {
            // A name that is also `set` reads the table until it is set.
            Some(&Defined::Slot(slot)) => self.slots[slot].fallback = Some(var),
            _ => {
                self.defined.insert(lower, Defined::Table(var));
            }
        }
        Ok(())
    }

    /// Defines what `set` assigns. Where nothing was assigned, a name of a family means what it means elsewhere.
    pub fn define_set(&mut self, name: &[u8]) -> Result<SetTarget, String> {
        let target = self.define_slot(name)?;
        if let SetTarget::Slot(slot) = target {
            self.slots[slot].assigned = true;
            let lower = name.to_ascii_lowercase();
            if self.slots[slot].fallback.is_none()
                && let Some((family, member)) = family_of(&lower)
            {
                let member = self.member(family, member);
                self.slots[slot].fallback = Some(Var::Named(family, member));
            }
        }
        Ok(target)
    }

    /// Defines what `set` or a named capture assigns.
    pub fn define_slot(&mut self, name: &[u8]) -> Result<SetTarget, String> {
        let lower = self.changeable(name)?;
        let builtin = Some(&lower).filter(|_| !self.stream);
        let builtin = builtin.and_then(|name| Builtin::of(name));
        let fallback = match (self.defined.get(&lower), builtin) {
            (Some(&Defined::Slot(slot)), _) => return Ok(SetTarget::Slot(slot)),
            (Some(&Defined::Table(var)), _) => Some(var),
            (None, Some(Builtin::Args)) => return Ok(SetTarget::Args),
            (None, Some(Builtin::LimitRate)) => return Ok(SetTarget::LimitRate),
            (None, builtin) => builtin.map(Var::Builtin),
        };
        let slot = self.slots.push(SlotPlan {
            name: Bytes::copy_from_slice(&lower),
            assigned: false,
            fallback,
        });
        self.defined.insert(lower, Defined::Slot(slot));
        Ok(SetTarget::Slot(slot))
    }

    /// What a name stands for; none when nothing defines it.
    pub fn resolve(&mut self, name: &[u8]) -> Option<Var> {
        let lower = name.to_ascii_lowercase();
        match self.defined.get(&lower[..]) {
            Some(&Defined::Slot(slot)) => return Some(Var::Slot(slot)),
            Some(&Defined::Table(var)) => return Some(var),
            None => {}
        }
        if self.stream {
            return match SessionVar::of(&lower) {
                Some(var) => Some(Var::Session(var)),
                None => match family_of(&lower)? {
                    (family @ Family::ProxyProtocolTlv, member) => {
                        Some(Var::Named(family, self.member(family, member)))
                    }
                    _ => None,
                },
            };
        }
        if let Some(builtin) = Builtin::of(&lower) {
            self.wants_hello |= matches!(
                builtin,
                Builtin::SslCiphers | Builtin::SslCurves | Builtin::SslSigalgs
            );
            return Some(Var::Builtin(builtin));
        }
        let (family, member) = family_of(&lower)?;
        Some(Var::Named(family, self.member(family, member)))
    }

    fn member(&mut self, family: Family, name: &[u8]) -> u32 {
        let names = &mut self.family_names;
        *self
            .families_seen
            .entry((family, Bytes::copy_from_slice(name)))
            .or_insert_with(|| {
                names.push(FamilyName::of(name));
                (names.len() - 1) as u32
            })
    }

    /// The slots and family members that were used.
    pub fn finish(self) -> (IdVec<SlotId, SlotPlan>, Vec<FamilyName>) {
        (self.slots, self.family_names)
    }
}

/// The lower-case name, unless it is one that may not be defined.
fn changeable(name: &[u8]) -> Result<Box<[u8]>, String> {
    let shown = String::from_utf8_lossy(name);
    if name.is_empty() {
        return Err("invalid variable name \"$\"".to_owned());
    }
    match Builtin::of(name) {
        Some(builtin) if !builtin.is_changeable() => {
            Err(format!("the duplicate \"{shown}\" variable"))
        }
        _ => Ok(name.to_ascii_lowercase().into_boxed_slice()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve() {
        let mut registry = Registry::default();
        registry.define_map(b"mapped", MapId(0)).unwrap();
        assert_eq!(registry.define_slot(b"Own"), Ok(SetTarget::Slot(SlotId(0))));
        assert_eq!(registry.define_slot(b"own"), Ok(SetTarget::Slot(SlotId(0))));
        let cases: &[(&str, Option<Var>)] = &[
            ("host", Some(Var::Builtin(Builtin::Host))),
            ("HOST", Some(Var::Builtin(Builtin::Host))),
            ("own", Some(Var::Slot(SlotId(0)))),
            ("mapped", Some(Var::Map(MapId(0)))),
            ("http_x_a", Some(Var::Named(Family::Http, 0))),
            ("HTTP_X_A", Some(Var::Named(Family::Http, 0))),
            ("arg_x_a", Some(Var::Named(Family::Arg, 1))),
            ("sent_http_upgrade", Some(Var::Named(Family::SentHttp, 2))),
            ("gzip_ratio", Some(Var::Builtin(Builtin::GzipRatio))),
            ("nosuch", None),
            ("", None),
            ("1", None),
        ];
        for &(name, expected) in cases {
            assert_eq!(registry.resolve(name.as_bytes()), expected, "{name}");
        }
        let (_, names) = registry.finish();
        assert_eq!(names[2].token, Token::UPGRADE);
        assert_eq!(&names[0].name[..], b"x_a");
    }

    #[test]
    fn what_may_be_defined() {
        let mut registry = Registry::default();
        assert_eq!(registry.define_slot(b"args"), Ok(SetTarget::Args));
        assert_eq!(
            registry.define_slot(b"limit_rate"),
            Ok(SetTarget::LimitRate)
        );
        assert_eq!(
            registry.define_slot(b"uri"),
            Err("the duplicate \"uri\" variable".to_owned())
        );
        assert_eq!(
            registry.define_map(b"Host", MapId(0)),
            Err("the duplicate \"Host\" variable".to_owned())
        );
        // `set` of a mapped name: the map is read until then, in either order of definition.
        registry.define_map(b"both", MapId(1)).unwrap();
        assert_eq!(
            registry.define_slot(b"both"),
            Ok(SetTarget::Slot(SlotId(0)))
        );
        registry.define_slot(b"later").unwrap();
        registry.define_map(b"later", MapId(2)).unwrap();
        let (slots, _) = registry.finish();
        assert_eq!(slots[SlotId(0)].fallback, Some(Var::Map(MapId(1))));
        assert_eq!(slots[SlotId(1)].fallback, Some(Var::Map(MapId(2))));
    }

    #[test]
    fn every_builtin_has_its_own_name() {
        let mut names: Vec<&str> = Builtin::ALL
            .iter()
            .map(|b| b.name())
            .chain(ABSENT.iter().copied())
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_family_name_that_is_set_keeps_its_meaning_elsewhere() {
        let mut registry = Registry::default();
        let set = registry.define_set(b"http_foo");
        assert_eq!(set, Ok(SetTarget::Slot(SlotId(0))));
        assert!(registry.define_slot(b"http_bar").is_ok());
        let (slots, names) = registry.finish();
        let meant = Some(Var::Named(Family::Http, 0));
        assert_eq!(slots[SlotId(0)].fallback, meant);
        assert_eq!(slots[SlotId(1)].fallback, None);
        assert_eq!(names.len(), 1);
    }
}
