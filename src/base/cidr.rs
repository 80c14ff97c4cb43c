//! Address ranges as nginx writes them. Start at [`Cidr::parse`] and [`Cidrs`].

use super::size::parse_digits;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One range: every address that equals `addr` in its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cidr {
    /// IPv4 base and mask.
    V4(u32, u32),
    /// IPv6 base and mask.
    V6(u128, u128),
}

impl Cidr {
    /// Parses `ADDRESS` or `ADDRESS/BITS`. The flag is false when bits behind the mask were set and are now cleared: nginx warns
    /// `low address bits of "…" are meaningless`.
    pub fn parse(text: &[u8]) -> Option<(Self, bool)> {
        let (addr, bits) = match text.iter().position(|&b| b == b'/') {
            Some(at) => (&text[..at], Some(parse_digits(&text[at + 1..])?)),
            None => (text, None),
        };
        match parse_ip(addr)? {
            IpAddr::V4(addr) => {
                let bits = u32::try_from(bits.unwrap_or(32))
                    .ok()
                    .filter(|&b| b <= 32)?;
                let (addr, mask) = (addr.to_bits(), u32::MAX.checked_shl(32 - bits).unwrap_or(0));
                Some((Self::V4(addr & mask, mask), addr & mask == addr))
            }
            IpAddr::V6(addr) => {
                let bits = u32::try_from(bits.unwrap_or(128))
                    .ok()
                    .filter(|&b| b <= 128)?;
                let (addr, mask) = (
                    addr.to_bits(),
                    u128::MAX.checked_shl(128 - bits).unwrap_or(0),
                );
                Some((Self::V6(addr & mask, mask), addr & mask == addr))
            }
        }
    }

    /// The range of one address.
    pub fn host(addr: IpAddr) -> Self {
        match canonical(addr) {
            IpAddr::V4(addr) => Self::V4(addr.to_bits(), u32::MAX),
            IpAddr::V6(addr) => Self::V6(addr.to_bits(), u128::MAX),
        }
    }

    /// True when the range holds `addr`. An IPv4 address mapped into IPv6 counts as IPv4, as in nginx.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (*self, canonical(addr)) {
            (Self::V4(base, mask), IpAddr::V4(addr)) => addr.to_bits() & mask == base,
            (Self::V6(base, mask), IpAddr::V6(addr)) => addr.to_bits() & mask == base,
            _ => false,
        }
    }

    /// First and last address of the range.
    pub fn bounds(&self) -> (IpAddr, IpAddr) {
        match *self {
            Self::V4(base, mask) => (IpAddr::V4(base.into()), IpAddr::V4((base | !mask).into())),
            Self::V6(base, mask) => (IpAddr::V6(base.into()), IpAddr::V6((base | !mask).into())),
        }
    }
}

/// A list of ranges, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cidrs(pub Vec<Cidr>);

impl Cidrs {
    /// True when any range holds `addr`.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|c| c.contains(addr))
    }
}

/// The address with IPv4 taken out of an IPv4-mapped IPv6 one.
pub fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

/// Parses an address without brackets or port, as lenient as nginx: IPv4 octets may have leading zeros or be empty.
pub fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    if let Some(addr) = parse_v4(text) {
        return Some(IpAddr::V4(addr));
    }
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split(|&b| b == b'.');
    for octet in &mut octets {
        for &byte in parts.next()? {
            if !byte.is_ascii_digit() {
                return None;
            }
            *octet = octet.checked_mul(10)?.checked_add(byte - b'0')?;
        }
    }
    // nginx reads 255.255.255.255 as its own error value, and so as no address.
    (parts.next().is_none() && octets != [255; 4]).then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_match() {
        for (cidr, clean, inside, outside) in [
            ("10.0.0.0/8", true, "10.255.1.2", "11.0.0.0"),
            ("10.1.2.3/8", false, "10.9.9.9", "9.9.9.9"),
            ("192.168.1.1", true, "192.168.1.1", "192.168.1.2"),
            ("0.0.0.0/0", true, "8.8.8.8", "::1"),
            ("10.0.0.0/8", true, "::ffff:10.0.0.1", "::10.0.0.1"),
            ("2001:db8::/32", true, "2001:db8:1::1", "2001:db9::"),
            ("::/0", true, "::1", "1.2.3.4"),
            ("::1", true, "::1", "::2"),
        ] {
            let (parsed, ok) = Cidr::parse(cidr.as_bytes()).unwrap();
            assert_eq!(ok, clean, "{cidr}");
            assert!(parsed.contains(inside.parse().unwrap()), "{cidr} {inside}");
            assert!(
                !parsed.contains(outside.parse().unwrap()),
                "{cidr} {outside}"
            );
        }
        for bad in [
            "",
            "/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "10.0.0.0.0",
            "10.0.0.256",
            "x",
            "::/129",
            "1::2::3",
            "10.0.0.0/-1",
            "[::1]",
        ] {
            assert_eq!(Cidr::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn bounds() {
        let (c, _) = Cidr::parse(b"10.1.0.0/16").unwrap();
        assert_eq!(
            c.bounds(),
            ("10.1.0.0".parse().unwrap(), "10.1.255.255".parse().unwrap())
        );
    }
}
