//! The PROXY protocol, versions 1 and 2: decoding what a listener receives, encoding what an upstream gets.
//! Start at [`decode`].

use std::net::SocketAddr;

/// What the sender said about the connection it forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Source and destination; `None` for `UNKNOWN`, `LOCAL` and families without addresses.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// Version 2's TLVs, as ranges of the decoded bytes.
    pub tlvs: Vec<Tlv>,
}

/// One type-length-value of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv {
    /// The type.
    pub kind: u8,
    /// First byte of the value, from the start of the header.
    pub start: u16,
    /// Bytes of the value.
    pub len: u16,
}

/// How far a header is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// More bytes are needed.
    Incomplete,
    /// The header and its length in bytes.
    Complete(ProxyHeader, usize),
}

/// The bytes are no PROXY header; the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidProxyHeader;

/// Reads a header of either version from the start of `buf`.
pub fn decode(_buf: &[u8]) -> Result<Decoded, InvalidProxyHeader> {
    Ok(Decoded::Incomplete)
}

/// Appends a version 1 header; `None` writes `UNKNOWN`.
pub fn encode_v1(_out: &mut Vec<u8>, _addresses: Option<(SocketAddr, SocketAddr)>) {}

/// Appends a version 2 header; `None` writes `LOCAL`.
pub fn encode_v2(_out: &mut Vec<u8>, _addresses: Option<(SocketAddr, SocketAddr)>) {}
