//! Questions to and answers from name servers, encoded by hickory-proto. Sockets, retries and caching live with the
//! resolver. Start at [`encode_query`] and [`decode_answer`].

use hickory_proto::op::{Header, Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
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
    /// Addresses of the asked kind, in the server's order. Like nginx, takes those of every name on the way.
    pub addresses: Vec<IpAddr>,
    /// SRV records.
    pub services: Vec<Srv>,
    /// PTR names.
    pub names: Vec<Vec<u8>>,
    /// A CNAME whose target's records are not in the answer: ask again for this name.
    pub alias: Option<Vec<u8>>,
    /// The smallest TTL on the way, in seconds.
    pub ttl: u32,
    /// Cut short: ask again over TCP.
    pub truncated: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// The bytes are no answer to this question; wait for another.
    Malformed,
    /// The server's response code; 3 also when it had no records.
    Code(u8),
}

/// The code for names that do not exist.
const NXDOMAIN: u8 = 3;

/// The code of nginx for "no server answered in time".
pub const TIMED_OUT: u8 = 110;

impl DnsError {
    /// nginx's words for the code.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Code(1) => "Format error",
            Self::Code(2) => "Server failure",
            Self::Code(NXDOMAIN) => "Host not found",
            Self::Code(4) => "Unimplemented",
            Self::Code(5) => "Operation refused",
            Self::Code(TIMED_OUT) => "Operation timed out",
            _ => "Unknown error",
        }
    }

    /// The code that nginx logs before the words.
    pub const fn code(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::Code(code) => code,
        }
    }
}

/// The name cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName;

impl Query {
    const fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Srv => RecordType::SRV,
            Self::Ptr => RecordType::PTR,
        }
    }
}

/// Records of one answer that are looked at: more than fit a UDP message of the usual size.
const RECORDS_MAX: usize = 1024;

/// Appends a question for `name` with this id.
pub fn encode_query(
    out: &mut Vec<u8>,
    id: u16,
    name: &[u8],
    query: Query,
) -> Result<(), InvalidName> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(wire_name(name)?, query.record_type()));
    out.extend_from_slice(&message.to_vec().map_err(|_| InvalidName)?);
    Ok(())
}

/// Appends a PTR question for an address.
pub fn encode_ptr(out: &mut Vec<u8>, id: u16, address: IpAddr) -> Result<(), InvalidName> {
    encode_query(out, id, &ptr_name(address), Query::Ptr)
}

/// The name under which an address's PTR record lives.
pub fn ptr_name(address: IpAddr) -> Vec<u8> {
    let mut name = String::new();
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            for octet in v4.octets().iter().rev() {
                name.push_str(&octet.to_string());
                name.push('.');
            }
            name.push_str("in-addr.arpa");
        }
        IpAddr::V6(v6) => {
            for octet in v6.octets().iter().rev() {
                for nibble in [octet & 15, octet >> 4] {
                    name.push(
                        char::from_digit(u32::from(nibble), 16)
                            .expect("invariant: a nibble is below 16"),
                    );
                    name.push('.');
                }
            }
            name.push_str("ip6.arpa");
        }
    }
    name.into_bytes()
}

/// The id of a message, before anything else of it is looked at.
pub fn message_id(message: &[u8]) -> Option<u16> {
    let bytes = message.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

/// Reads an answer to the question `name`/`query`. The caller has compared the id, or compares [`Answer::id`].
pub fn decode_answer(message: &[u8], name: &[u8], query: Query) -> Result<Answer, DnsError> {
    let asked = wire_name(name).map_err(|_| DnsError::Malformed)?;
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).map_err(|_| DnsError::Malformed)?;
    if header.metadata.message_type != MessageType::Response
        || header.metadata.op_code != OpCode::Query
    {
        return Err(DnsError::Malformed);
    }
    let code = header.metadata.response_code;
    // A server that could not read the question may leave it out.
    if code == ResponseCode::FormErr {
        return Err(DnsError::Code(code.low()));
    }
    if header.counts.queries != 1 {
        return Err(DnsError::Malformed);
    }
    let question = Question::read(&mut decoder).map_err(|_| DnsError::Malformed)?;
    // Without this, a late answer to another question with the same id would be taken.
    if question.query_type() != query.record_type()
        || question.query_class() != DNSClass::IN
        || !question.name().eq_ignore_root(&asked)
    {
        return Err(DnsError::Malformed);
    }
    if code != ResponseCode::NoError {
        return Err(DnsError::Code(code.low()));
    }
    let mut answer = Answer {
        id: header.metadata.id,
        ttl: u32::MAX,
        truncated: header.metadata.truncation,
        ..Answer::default()
    };
    for _ in 0..usize::from(header.counts.answers).min(RECORDS_MAX) {
        match Record::read(&mut decoder) {
            Ok(record) => take(&record, query, &mut answer),
            // A truncated message may end inside a record.
            Err(_) if answer.truncated => break,
            Err(_) => return Err(DnsError::Malformed),
        }
    }
    finish(answer)
}

fn take(record: &Record, query: Query, answer: &mut Answer) {
    if record.dns_class != DNSClass::IN {
        return;
    }
    match (&record.data, query) {
        (RData::A(a), Query::A) => answer.addresses.push(a.0.into()),
        (RData::AAAA(a), Query::Aaaa) => answer.addresses.push(a.0.into()),
        (RData::SRV(srv), Query::Srv) => {
            let Some(target) = text_name(&srv.target) else {
                return;
            };
            answer.services.push(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target,
            });
        }
        (RData::PTR(ptr), Query::Ptr) => {
            let Some(name) = text_name(&ptr.0) else {
                return;
            };
            answer.names.push(name);
        }
        (RData::CNAME(cname), _) => {
            let Some(name) = text_name(&cname.0) else {
                return;
            };
            answer.alias = Some(name);
        }
        _ => return,
    }
    answer.ttl = answer.ttl.min(record.ttl);
}

fn finish(mut answer: Answer) -> Result<Answer, DnsError> {
    let found =
        !answer.addresses.is_empty() || !answer.services.is_empty() || !answer.names.is_empty();
    if found {
        answer.alias = None;
    } else if answer.alias.is_none() && !answer.truncated {
        return Err(DnsError::Code(NXDOMAIN));
    }
    if answer.ttl == u32::MAX {
        answer.ttl = 0;
    }
    Ok(answer)
}

fn wire_name(name: &[u8]) -> Result<Name, InvalidName> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() {
        return Err(InvalidName);
    }
    let mut wire = Name::from_labels(name.split(|&b| b == b'.')).map_err(|_| InvalidName)?;
    wire.set_fqdn(true);
    Ok(wire)
}

/// A name as text, lower case, without the last dot; `None` for the root and for labels that text cannot show.
fn text_name(name: &Name) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for label in name.iter() {
        if !label.iter().all(|&b| b.is_ascii_graphic() && b != b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};

    fn answer(
        query: Query,
        name: &str,
        code: ResponseCode,
        records: Vec<(&str, u32, RData)>,
    ) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.add_query(Question::query(
            wire_name(name.as_bytes()).unwrap(),
            query.record_type(),
        ));
        for (owner, ttl, data) in records {
            message.add_answer(Record::from_rdata(
                wire_name(owner.as_bytes()).unwrap(),
                ttl,
                data,
            ));
        }
        message.to_vec().unwrap()
    }

    fn name(text: &str) -> Name {
        wire_name(text.as_bytes()).unwrap()
    }

    #[test]
    fn questions() {
        let mut out = b">".to_vec();
        encode_query(&mut out, 0x1234, b"WWW.example.com.", Query::A).unwrap();
        let expected = b">\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03WWW\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(out, expected);
        assert_eq!(message_id(&out[1..]), Some(0x1234));
        for bad in ["", ".", "a..b", ".a", &"x".repeat(64), &"a.".repeat(200)] {
            assert_eq!(
                encode_query(&mut out, 1, bad.as_bytes(), Query::A),
                Err(InvalidName),
                "{bad}"
            );
        }
        encode_query(&mut out, 1, b"_http._tcp.a_b", Query::Srv).unwrap();
        assert_eq!(
            ptr_name("192.0.2.1".parse().unwrap()),
            b"1.2.0.192.in-addr.arpa"
        );
        let v6 = ptr_name("2001:db8::1".parse().unwrap());
        assert!(v6.starts_with(b"1.0.0.0.") && v6.ends_with(b"8.b.d.0.1.0.0.2.ip6.arpa"));
        encode_ptr(&mut out, 1, "::1".parse().unwrap()).unwrap();
    }

    #[test]
    fn addresses_and_aliases() {
        let wire = answer(
            Query::A,
            "a.example",
            ResponseCode::NoError,
            vec![
                ("A.Example", 60, RData::CNAME(CNAME(name("b.example")))),
                ("b.example", 30, RData::A(A::new(192, 0, 2, 1))),
                ("b.example", 90, RData::A(A::new(192, 0, 2, 2))),
                (
                    "b.example",
                    5,
                    RData::AAAA(AAAA::new(1, 0, 0, 0, 0, 0, 0, 1)),
                ),
            ],
        );
        let got = decode_answer(&wire, b"A.EXAMPLE", Query::A).unwrap();
        assert_eq!(
            got.addresses,
            [
                "192.0.2.1".parse::<IpAddr>().unwrap(),
                "192.0.2.2".parse().unwrap()
            ]
        );
        assert_eq!(
            (got.id, got.ttl, got.alias, got.truncated),
            (7, 30, None, false)
        );
        assert_eq!(
            decode_answer(&wire, b"other.example", Query::A),
            Err(DnsError::Malformed)
        );
        assert_eq!(
            decode_answer(&wire, b"a.example", Query::Aaaa),
            Err(DnsError::Malformed)
        );
        let alias = answer(
            Query::Aaaa,
            "a",
            ResponseCode::NoError,
            vec![("a", 9, RData::CNAME(CNAME(name("B.c"))))],
        );
        let got = decode_answer(&alias, b"a", Query::Aaaa).unwrap();
        assert_eq!((got.alias.as_deref(), got.ttl), (Some(&b"b.c"[..]), 9));
        for cut in 0..wire.len() {
            assert_eq!(
                decode_answer(&wire[..cut], b"a.example", Query::A),
                Err(DnsError::Malformed),
                "{cut}"
            );
        }
    }

    #[test]
    fn services_and_names() {
        let wire = answer(
            Query::Srv,
            "_http._tcp.a",
            ResponseCode::NoError,
            vec![(
                "_http._tcp.a",
                5,
                RData::SRV(SRV::new(1, 2, 80, name("x.a"))),
            )],
        );
        let got = decode_answer(&wire, b"_http._tcp.a", Query::Srv).unwrap();
        assert_eq!(
            got.services[0],
            Srv {
                priority: 1,
                weight: 2,
                port: 80,
                target: b"x.a".to_vec()
            }
        );
        let owner = "1.2.0.192.in-addr.arpa";
        let wire = answer(
            Query::Ptr,
            owner,
            ResponseCode::NoError,
            vec![(owner, 5, RData::PTR(PTR(name("Host.x"))))],
        );
        let got = decode_answer(&wire, owner.as_bytes(), Query::Ptr).unwrap();
        assert_eq!(got.names, [b"host.x"]);
    }

    #[test]
    fn errors() {
        for (code, number, words) in [
            (ResponseCode::FormErr, 1, "Format error"),
            (ResponseCode::ServFail, 2, "Server failure"),
            (ResponseCode::NXDomain, 3, "Host not found"),
            (ResponseCode::NotImp, 4, "Unimplemented"),
            (ResponseCode::Refused, 5, "Operation refused"),
            (ResponseCode::NotAuth, 9, "Unknown error"),
        ] {
            let error =
                decode_answer(&answer(Query::A, "a", code, vec![]), b"a", Query::A).unwrap_err();
            assert_eq!((error, error.message()), (DnsError::Code(number), words));
        }
        let empty = answer(Query::A, "a", ResponseCode::NoError, vec![]);
        assert_eq!(
            decode_answer(&empty, b"a", Query::A),
            Err(DnsError::Code(3))
        );
        let mut truncated = empty.clone();
        truncated[2] |= 2;
        assert!(decode_answer(&truncated, b"a", Query::A).unwrap().truncated);
        let mut question = empty;
        question[2] &= 0x7f;
        assert_eq!(
            decode_answer(&question, b"a", Query::A),
            Err(DnsError::Malformed)
        );
        assert_eq!(DnsError::Code(TIMED_OUT).message(), "Operation timed out");
    }

    #[test]
    fn random_messages_never_panic() {
        let wire = answer(
            Query::A,
            "a.example",
            ResponseCode::NoError,
            vec![
                ("a.example", 60, RData::CNAME(CNAME(name("b.example")))),
                ("b.example", 30, RData::A(A::new(1, 2, 3, 4))),
            ],
        );
        let mut rng = crate::base::rng::Rng::new(4);
        for _ in 0..50_000 {
            let mut bytes = wire.clone();
            (0..3).for_each(|_| bytes[rng.below(wire.len() as u64) as usize] = rng.word() as u8);
            let _ = decode_answer(&bytes, b"a.example", Query::A);
        }
    }
}
