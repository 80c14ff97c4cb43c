//! Strings with `$variables`, compiled: literal bytes, variables and captures.
//!
//! Only data: evaluation needs an exchange and lives in `http::vars`.

use bytes::Bytes;

use super::{GeoId, MapId, SlotId, SplitId};

/// A compiled value. Without variables it is one literal, or nothing at all.
#[derive(Clone, Debug, Default)]
pub struct Expr {
    /// Parts in order; adjacent literals are merged.
    pub parts: Box<[Part]>,
}

/// One piece of an [`Expr`].
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes as they are.
    Lit(Bytes),
    /// A variable's value, empty when it has none.
    Var(Var),
    /// `$1` … `$9` of the exchange's latest match.
    Capture(u8),
}

impl Expr {
    /// A constant.
    #[must_use]
    pub fn literal(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let parts = if bytes.is_empty() {
            Box::default()
        } else {
            Box::from([Part::Lit(bytes)])
        };
        Self { parts }
    }

    /// The value, when no variable is in it.
    #[must_use]
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Lit(bytes)] => Some(bytes),
            _ => None,
        }
    }
}

/// One variable. Small and `Copy`, so that an expression is walked without pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Var {
    /// A variable with a fixed name and meaning.
    Builtin(super::vars::Builtin),
    /// A member of an open family, its lower-case name at this index of `Plan::family_names`.
    Named(Family, u32),
    /// `set`, named captures and `*_set`.
    Slot(SlotId),
    /// `map`.
    Map(MapId),
    /// `geo`.
    Geo(GeoId),
    /// `split_clients`.
    Split(SplitId),
}

/// Variable families whose members are named by the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `$http_NAME`
    Http,
    /// `$sent_http_NAME`
    SentHttp,
    /// `$sent_trailer_NAME`
    SentTrailer,
    /// `$upstream_http_NAME`
    UpstreamHttp,
    /// `$upstream_trailer_NAME`
    UpstreamTrailer,
    /// `$upstream_cookie_NAME`
    UpstreamCookie,
    /// `$cookie_NAME`
    Cookie,
    /// `$arg_NAME`
    Arg,
    /// `$proxy_protocol_tlv_NAME`
    ProxyProtocolTlv,
}
