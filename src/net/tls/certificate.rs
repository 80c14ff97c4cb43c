//! What a certificate says, in the words that variables have for it: nginx's, which are OpenSSL's. DER in, text out.
//! Start at [`name`].

use std::io::Write as _;

use aws_lc_rs::digest;
use x509_parser::asn1_rs::Any;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::base::base64;

/// Characters of base64 in a line of PEM.
const LINE: usize = 64;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Short names of attributes by their identifiers, as OpenSSL has them.
const SHORT: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// Which name of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Its own.
    Subject,
    /// That of who signed it.
    Issuer,
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, cert)| cert)
}

fn name_of<'c, 'a>(cert: &'c X509Certificate<'a>, whose: Whose) -> &'c X509Name<'a> {
    match whose {
        Whose::Subject => &cert.tbs_certificate.subject,
        Whose::Issuer => &cert.tbs_certificate.issuer,
    }
}

/// In PEM, with its last line break.
pub fn pem(der: &[u8], out: &mut Vec<u8>) {
    let mut text = Vec::new();
    base64::encode(der, &mut text);
    out.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
    for line in text.chunks(LINE) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(b"-----END CERTIFICATE-----\n");
}

/// A name by RFC 2253: the most particular part first.
pub fn name(der: &[u8], whose: Whose, out: &mut Vec<u8>) {
    let Some(cert) = parse(der) else { return };
    let parts: Vec<_> = name_of(&cert, whose).iter_rdn().collect();
    for (at, part) in parts.iter().rev().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                out.push(b'+');
            }
            let id = attribute.attr_type().to_id_string();
            match short(&id) {
                Some(short) => {
                    out.extend_from_slice(short.as_bytes());
                    out.push(b'=');
                    match utf8(attribute.attr_value()) {
                        Some(text) => escape(&text, out),
                        None => dump(attribute.attr_value(), out),
                    }
                }
                None => {
                    out.extend_from_slice(id.as_bytes());
                    out.push(b'=');
                    dump(attribute.attr_value(), out);
                }
            }
        }
    }
}

/// A name as `/C=DE/O=x/CN=y`, the form before nginx 1.11.6.
pub fn legacy_name(der: &[u8], whose: Whose, out: &mut Vec<u8>) {
    let Some(cert) = parse(der) else { return };
    for attribute in name_of(&cert, whose).iter_attributes() {
        let id = attribute.attr_type().to_id_string();
        out.push(b'/');
        out.extend_from_slice(short(&id).unwrap_or(&id).as_bytes());
        out.push(b'=');
        for &byte in attribute.attr_value().data {
            match byte {
                b' '..=b'~' => out.push(byte),
                // Writing to a Vec cannot fail.
                _ => drop(write!(out, "\\x{byte:02X}")),
            }
        }
    }
}

fn short(id: &str) -> Option<&'static str> {
    let known = SHORT.iter().find(|(known, _)| *known == id)?;
    Some(known.1)
}

/// A string of any of the kinds that names have, in UTF-8.
fn utf8(value: &Any<'_>) -> Option<String> {
    match value.tag().0 {
        12 => String::from_utf8(value.data.to_vec()).ok(),
        // Printable, numeric, IA5 and visible strings are ASCII; a Teletex string is taken for Latin-1, as by OpenSSL.
        18 | 19 | 20 | 22 | 26 => Some(value.data.iter().map(|&byte| char::from(byte)).collect()),
        // BMPString.
        30 => {
            let units = value.data.chunks_exact(2);
            let units = units.map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16(&units.collect::<Vec<u16>>()).ok()
        }
        _ => None,
    }
}

fn escape(text: &str, out: &mut Vec<u8>) {
    let last = text.len().wrapping_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                out.extend_from_slice(&[b'\\', byte])
            }
            _ if edge => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            // Writing to a Vec cannot fail.
            _ => drop(write!(out, "\\{byte:02X}")),
        }
    }
}

/// `#` and the value in DER, as hexadecimal digits.
fn dump(value: &Any<'_>, out: &mut Vec<u8>) {
    out.push(b'#');
    let len = u8::try_from(value.data.len())
        .ok()
        .filter(|len| *len < 0x80);
    let Some(len) = len else { return };
    let head = [value.tag().0 as u8, len];
    for byte in head.iter().chain(value.data) {
        // Writing to a Vec cannot fail.
        drop(write!(out, "{byte:02X}"));
    }
}

/// The serial number in hexadecimal digits.
pub fn serial(der: &[u8], out: &mut Vec<u8>) {
    let Some(cert) = parse(der) else { return };
    let raw = cert.raw_serial();
    let zeros = raw.iter().take_while(|&&byte| byte == 0).count();
    let digits = &raw[zeros.min(raw.len().saturating_sub(1))..];
    for byte in digits {
        // Writing to a Vec cannot fail.
        drop(write!(out, "{byte:02X}"));
    }
}

/// SHA-1 of the certificate in hexadecimal digits.
pub fn fingerprint(der: &[u8], out: &mut Vec<u8>) {
    for byte in digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref() {
        // Writing to a Vec cannot fail.
        drop(write!(out, "{byte:02x}"));
    }
}

/// When it begins and ends, in seconds of Unix time.
#[must_use]
pub fn lifetime(der: &[u8]) -> Option<(i64, i64)> {
    let cert = parse(der)?;
    let times = cert.validity();
    Some((times.not_before.timestamp(), times.not_after.timestamp()))
}

/// When the first certificate of a PEM text ends, in seconds since 1970.
#[must_use]
pub fn end_of_pem(text: &[u8]) -> Option<i64> {
    let chain = super::pem::certificates(text)?;
    lifetime(chain.first()?).map(|(_, end)| end)
}

/// Whole days that are left; 0 when it ends within a day.
#[must_use]
pub fn days_left(der: &[u8], now: i64) -> Option<i64> {
    let (_, end) = lifetime(der)?;
    Some(((end - now) / DAY).max(0))
}

/// The URL of its OCSP responder.
#[must_use]
pub fn responder(der: &[u8]) -> Option<String> {
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    let cert = parse(der)?;
    let mut all = cert.extensions().iter().map(|one| one.parsed_extension());
    all.find_map(|one| match one {
        ParsedExtension::AuthorityInfoAccess(access) => access.iter().find_map(|one| {
            let ocsp = one.access_method.to_id_string() == "1.3.6.1.5.5.7.48.1";
            match &one.access_location {
                GeneralName::URI(url) if ocsp => Some((*url).to_owned()),
                _ => None,
            }
        }),
        _ => None,
    })
}
