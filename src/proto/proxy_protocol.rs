//! The PROXY protocol, versions 1 and 2: decoding what a listener receives, encoding what an upstream gets.
//! Start at [`decode`].

use std::borrow::Cow;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every version 2 header starts with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest version 1 header, from the specification.
const V1_BYTES_MAX: usize = 107;

/// The longest version 2 header that is taken, as in nginx.
const V2_BYTES_MAX: usize = 4096;

/// The most bytes that a header needs; [`decode`] decides with no more.
pub const HEADER_BYTES_MAX: usize = V2_BYTES_MAX;

/// What the sender said about the connection it forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Source and destination; `None` for `UNKNOWN`, `LOCAL` and families without addresses.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// Version 2's TLVs, as ranges of `bytes`.
    pub tlvs: Vec<Tlv>,
    /// The bytes of all TLVs.
    pub bytes: Vec<u8>,
}

/// One type-length-value of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv {
    /// The type.
    pub kind: u8,
    /// First byte of the value in [`ProxyHeader::bytes`].
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

/// The type of the TLV that holds the TLS ones.
const TLV_SSL: u8 = 0x20;

impl ProxyHeader {
    /// The value of the first TLV of this type.
    pub fn tlv(&self, kind: u8) -> Option<&[u8]> {
        let tlv = self.tlvs.iter().find(|t| t.kind == kind)?;
        self.bytes
            .get(usize::from(tlv.start)..)?
            .get(..usize::from(tlv.len))
    }

    /// The value that `$proxy_protocol_tlv_NAME` shows: `alpn`, `authority`, `unique_id`, `ssl`, `netns`, `ssl_version`,
    /// `ssl_cn`, `ssl_cipher`, `ssl_sig_alg`, `ssl_key_alg`, `ssl_verify`, or a type as `0xNN` or `ssl_0xNN`.
    pub fn tlv_named(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        let Some(inner) = name.strip_prefix(b"ssl_") else {
            let kind = match name {
                b"alpn" => 0x01,
                b"authority" => 0x02,
                b"unique_id" => 0x05,
                b"ssl" => TLV_SSL,
                b"netns" => 0x30,
                _ => hex_kind(name)?,
            };
            return self.tlv(kind).map(Cow::Borrowed);
        };
        // One byte of client flags and four of the verification's result stand before the inner TLVs.
        let (verify, inner_tlvs) = self.tlv(TLV_SSL)?.split_at_checked(5)?;
        let kind = match inner {
            b"verify" => {
                let result = u32::from_be_bytes([verify[1], verify[2], verify[3], verify[4]]);
                return Some(Cow::Owned(result.to_string().into_bytes()));
            }
            b"version" => 0x21,
            b"cn" => 0x22,
            b"cipher" => 0x23,
            b"sig_alg" => 0x24,
            b"key_alg" => 0x25,
            _ => hex_kind(inner)?,
        };
        let tlv = split_tlvs(inner_tlvs).find(|t| t.kind == kind)?;
        Some(Cow::Borrowed(
            &inner_tlvs[usize::from(tlv.start)..][..usize::from(tlv.len)],
        ))
    }
}

fn hex_kind(name: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(name.strip_prefix(b"0x")?).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

/// Walks TLVs up to the first that does not fit.
fn split_tlvs(bytes: &[u8]) -> impl Iterator<Item = Tlv> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = bytes.get(at..at + 3)?;
        let len = u16::from_be_bytes([head[1], head[2]]);
        let start = at + 3;
        at = start + usize::from(len);
        (at <= bytes.len()).then_some(Tlv {
            kind: head[0],
            start: start as u16,
            len,
        })
    })
}

/// Reads a header of either version from the start of `buf`.
pub fn decode(buf: &[u8]) -> Result<Decoded, InvalidProxyHeader> {
    let len = buf.len().min(SIGNATURE.len());
    if buf[..len] == SIGNATURE[..len] {
        if len < SIGNATURE.len() {
            return Ok(Decoded::Incomplete);
        }
        return decode_v2(buf);
    }
    decode_v1(buf)
}

fn decode_v1(buf: &[u8]) -> Result<Decoded, InvalidProxyHeader> {
    const START: &[u8] = b"PROXY ";
    let len = buf.len().min(START.len());
    if buf[..len] != START[..len] {
        return Err(InvalidProxyHeader);
    }
    let near = &buf[..buf.len().min(V1_BYTES_MAX)];
    let Some(lf) = memchr::memchr(b'\n', near) else {
        if near.len() == V1_BYTES_MAX {
            return Err(InvalidProxyHeader);
        }
        return Ok(Decoded::Incomplete);
    };
    let line = near[..lf].strip_suffix(b"\r").ok_or(InvalidProxyHeader)?;
    let words = line.get(START.len()..).ok_or(InvalidProxyHeader)?;
    let addresses = if words.starts_with(b"UNKNOWN") {
        None
    } else {
        Some(v1_addresses(words).ok_or(InvalidProxyHeader)?)
    };
    let header = ProxyHeader {
        addresses,
        ..ProxyHeader::default()
    };
    Ok(Decoded::Complete(header, lf + 1))
}

/// Differs from nginx: it keeps whatever looks like an address and never parses it.
fn v1_addresses(words: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = std::str::from_utf8(words).ok()?.split(' ');
    let v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        (address.is_ipv4() == v4).then_some(address)
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || {
        let digits = words.next()?;
        let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        all_digits.then(|| digits.parse::<u16>().ok())?
    };
    let (source_port, destination_port) = (port()?, port()?);
    words.next().is_none().then_some((
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
    ))
}

fn decode_v2(buf: &[u8]) -> Result<Decoded, InvalidProxyHeader> {
    let Some(&[version, family, high, low]) = buf.get(12..16) else {
        return match buf.get(12) {
            Some(version) if version >> 4 != 2 => Err(InvalidProxyHeader),
            _ => Ok(Decoded::Incomplete),
        };
    };
    let end = 16 + usize::from(u16::from_be_bytes([high, low]));
    if version >> 4 != 2 || end > V2_BYTES_MAX {
        return Err(InvalidProxyHeader);
    }
    let Some(body) = buf.get(16..end) else {
        return Ok(Decoded::Incomplete);
    };
    let mut header = ProxyHeader::default();
    const PROXY: u8 = 1;
    const STREAM: u8 = 1;
    // Anything but a forwarded stream (LOCAL above all) says nothing about the client.
    if version & 15 != PROXY || family & 15 != STREAM {
        return Ok(Decoded::Complete(header, end));
    }
    let addresses_len = match family >> 4 {
        1 => 12,
        2 => 36,
        _ => return Ok(Decoded::Complete(header, end)),
    };
    let (addresses, tlvs) = body
        .split_at_checked(addresses_len)
        .ok_or(InvalidProxyHeader)?;
    header.addresses = Some(if addresses_len == 12 {
        (v4_at(addresses, 0, 8), v4_at(addresses, 4, 10))
    } else {
        (v6_at(addresses, 0, 32), v6_at(addresses, 16, 34))
    });
    header.bytes = tlvs.to_vec();
    header.tlvs = split_tlvs(tlvs).collect();
    Ok(Decoded::Complete(header, end))
}

fn v4_at(bytes: &[u8], address: usize, port: usize) -> SocketAddr {
    let mut octets = [0; 4];
    octets.copy_from_slice(&bytes[address..address + 4]);
    SocketAddr::new(
        Ipv4Addr::from(octets).into(),
        u16::from_be_bytes([bytes[port], bytes[port + 1]]),
    )
}

fn v6_at(bytes: &[u8], address: usize, port: usize) -> SocketAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[address..address + 16]);
    SocketAddr::new(
        Ipv6Addr::from(octets).into(),
        u16::from_be_bytes([bytes[port], bytes[port + 1]]),
    )
}

/// Appends a version 1 header; `None` writes `UNKNOWN`.
pub fn encode_v1(out: &mut Vec<u8>, addresses: Option<(SocketAddr, SocketAddr)>) {
    let Some((source, destination)) = addresses.map(|(s, d)| same_family(s, d)) else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let family = if source.is_ipv4() { 4 } else { 6 };
    write!(
        out,
        "PROXY TCP{family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
    .expect("invariant: writing to a Vec never fails");
}

/// Appends a version 2 header; `None` writes `LOCAL`.
pub fn encode_v2(out: &mut Vec<u8>, addresses: Option<(SocketAddr, SocketAddr)>) {
    encode_v2_with(out, addresses, &[]);
}

/// Appends a version 2 header with TLVs. Those that no longer fit its 16-bit length are left out.
pub fn encode_v2_with(
    out: &mut Vec<u8>,
    addresses: Option<(SocketAddr, SocketAddr)>,
    tlvs: &[(u8, &[u8])],
) {
    let start = out.len();
    out.extend_from_slice(SIGNATURE);
    match addresses.map(|(s, d)| same_family(s, d)) {
        None => out.extend_from_slice(&[0x20, 0, 0, 0]),
        Some((SocketAddr::V4(source), SocketAddr::V4(destination))) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 0]);
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
        Some((source, destination)) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 0]);
            out.extend_from_slice(&mapped(source.ip()).octets());
            out.extend_from_slice(&mapped(destination.ip()).octets());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
    }
    for (kind, value) in tlvs {
        let Ok(len) = u16::try_from(value.len()) else {
            continue;
        };
        if out.len() - start - 16 + 3 + value.len() > usize::from(u16::MAX) {
            continue;
        }
        out.push(*kind);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(value);
    }
    let len = (out.len() - start - 16) as u16;
    out[start + 14..start + 16].copy_from_slice(&len.to_be_bytes());
}

/// A header has one family: when the two differ, both become IPv6.
fn same_family(a: SocketAddr, b: SocketAddr) -> (SocketAddr, SocketAddr) {
    if a.is_ipv4() == b.is_ipv4() {
        return (a, b);
    }
    let wide = |s: SocketAddr| SocketAddr::new(mapped(s.ip()).into(), s.port());
    (wide(a), wide(b))
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn version_1() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n",
                Some((address("192.0.2.1:123"), address("192.0.2.2:5678"))),
            ),
            (
                "PROXY TCP6 2001:Db8::1 2001:Db8::2 0 65535\r\n",
                Some((address("[2001:db8::1]:0"), address("[2001:db8::2]:65535"))),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN 1 2 3 4 5 6\r\n", None),
        ] {
            let whole = [line.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
            for cut in 0..line.len() {
                assert_eq!(
                    decode(&whole[..cut]),
                    Ok(Decoded::Incomplete),
                    "{line} {cut}"
                );
            }
            let header = ProxyHeader {
                addresses: expected,
                ..ProxyHeader::default()
            };
            assert_eq!(
                decode(&whole),
                Ok(Decoded::Complete(header, line.len())),
                "{line}"
            );
        }
        for bad in [
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            "PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n",
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(InvalidProxyHeader), "{bad}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(decode(long.as_bytes()), Err(InvalidProxyHeader));
    }

    #[test]
    fn both_versions_round_trip_at_every_cut() {
        for pair in [
            None,
            Some((address("1.2.3.4:5"), address("6.7.8.9:65535"))),
            Some((address("[::1]:5"), address("[fe80::2]:0"))),
        ] {
            for encode in [encode_v1, encode_v2] {
                let mut wire = Vec::new();
                encode(&mut wire, pair);
                for cut in 0..wire.len() {
                    assert_eq!(
                        decode(&wire[..cut]),
                        Ok(Decoded::Incomplete),
                        "{pair:?} {cut}"
                    );
                }
                let Ok(Decoded::Complete(header, len)) = decode(&wire) else {
                    unreachable!()
                };
                assert_eq!((header.addresses, len), (pair, wire.len()));
            }
        }
        let mut mixed = Vec::new();
        encode_v1(&mut mixed, Some((address("1.2.3.4:5"), address("[::1]:6"))));
        assert_eq!(mixed, b"PROXY TCP6 ::ffff:1.2.3.4 ::1 5 6\r\n");
    }

    #[test]
    fn tlvs() {
        let mut ssl = vec![1, 0, 0, 1, 2];
        ssl.extend_from_slice(&[0x21, 0, 3]);
        ssl.extend_from_slice(b"1.3");
        let mut wire = Vec::new();
        let pair = (address("1.2.3.4:5"), address("6.7.8.9:10"));
        encode_v2_with(
            &mut wire,
            Some(pair),
            &[(1, b"h2"), (TLV_SSL, &ssl), (0xae, b"")],
        );
        let Ok(Decoded::Complete(header, _)) = decode(&wire) else {
            unreachable!()
        };
        for (name, value) in [
            ("alpn", Some("h2")),
            ("0x01", Some("h2")),
            ("0xae", Some("")),
            ("ssl_version", Some("1.3")),
            ("ssl_0x21", Some("1.3")),
            ("ssl_verify", Some("258")),
            ("ssl_cn", None),
            ("authority", None),
            ("nonsense", None),
            ("0xzz", None),
        ] {
            let got = header.tlv_named(name.as_bytes());
            assert_eq!(got.as_deref(), value.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn broken_version_2() {
        let mut good = Vec::new();
        encode_v2(
            &mut good,
            Some((address("1.2.3.4:5"), address("6.7.8.9:10"))),
        );
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            decode(&bytes)
        };
        assert_eq!(with(12, 0x11), Err(InvalidProxyHeader));
        assert_eq!(
            decode(&[&SIGNATURE[..], &[0x11]].concat()),
            Err(InvalidProxyHeader)
        );
        assert_eq!(with(15, 11), Err(InvalidProxyHeader));
        assert_eq!(with(14, 0xff), Err(InvalidProxyHeader));
        assert!(matches!(with(13, 0x31), Ok(Decoded::Complete(h, _)) if h.addresses.is_none()));
        assert!(matches!(with(13, 0x12), Ok(Decoded::Complete(h, _)) if h.addresses.is_none()));
        assert!(matches!(with(12, 0x20), Ok(Decoded::Complete(h, _)) if h.addresses.is_none()));
        let mut rng = crate::base::rng::Rng::new(2);
        for _ in 0..50_000 {
            let mut bytes = good.clone();
            bytes.resize(good.len() + rng.below(20) as usize, 7);
            (0..3).for_each(|_| bytes[12 + rng.below(16) as usize] = rng.word() as u8);
            if let Ok(Decoded::Complete(header, _)) = decode(&bytes) {
                header
                    .tlvs
                    .iter()
                    .for_each(|t| assert!(header.tlv(t.kind).is_some()));
            }
        }
    }
}
