//! Questions to and answers from name servers, encoded by hickory-proto. Sockets, retries and caching live with the
//! resolver. Start at [`encode_query`] and [`decode_answer`].

use std::net::IpAddr;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the record type it spells")]
pub enum Query {
    A,
    Aaaa,
    Srv,
    Ptr,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Share among equals.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// Host of the service, lower case, without the last dot.
    pub target: Vec<u8>,
}

/// Everything usable of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The answer's id; the asker compares it.
    pub id: u16,
    /// Addresses at the end of the CNAME chain, in the server's order.
    pub addresses: Vec<IpAddr>,
    /// SRV records.
    pub services: Vec<Srv>,
    /// PTR names.
    pub names: Vec<Vec<u8>>,
    /// A CNAME whose target's records are not in the answer: ask again for this name.
    pub alias: Option<Vec<u8>>,
    /// The smallest TTL on the way.
    pub ttl: u32,
    /// Cut short: ask again over TCP.
    pub truncated: bool,
}

/// Why there is no answer: the server's response code, or our own findings with nginx's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// The bytes are no answer to this question; wait for another.
    Malformed,
    /// The server answered with a code; 3 is "Host not found".
    Code(u8),
}

impl DnsError {
    /// nginx's words: `Host not found`, `Server failure`, …
    pub const fn message(self) -> &'static str {
        "Unknown error"
    }
}

/// The name cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName;

/// Appends a question for `name` with this id.
pub fn encode_query(
    _out: &mut Vec<u8>,
    _id: u16,
    _name: &[u8],
    _query: Query,
) -> Result<(), InvalidName> {
    Err(InvalidName)
}

/// Appends a PTR question for an address.
pub fn encode_ptr(_out: &mut Vec<u8>, _id: u16, _address: IpAddr) -> Result<(), InvalidName> {
    Err(InvalidName)
}

/// Reads an answer to the question `name`/`query`.
pub fn decode_answer(_message: &[u8], _name: &[u8], _query: Query) -> Result<Answer, DnsError> {
    Err(DnsError::Malformed)
}
