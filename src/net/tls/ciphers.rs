//! Cipher suites and key exchange groups: what the lists of a configuration mean, in OpenSSL's grammar, and what each is
//! called there. Knows every suite by name that a list may hold, and which of them can be offered. Start at [`list`].

use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SignatureAlgorithm, SupportedCipherSuite, SupportedProtocolVersion};

/// A suite of TLS 1.2 or older, by its properties in OpenSSL's words.
#[derive(Debug)]
struct Suite {
    name: &'static str,
    /// IANA's number; 0 where it does not matter, as it is never offered.
    number: u16,
    exchange: Exchange,
    sign: Sign,
    cipher: &'static str,
    bits: u16,
    mac: &'static str,
    /// `TLSv1.2`, `TLSv1.0` or `SSLv3`.
    since: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Ecdhe,
    Dhe,
    Rsa,
    Psk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Rsa,
    Ecdsa,
    Psk,
    Nobody,
}

const fn suite(
    name: &'static str,
    number: u16,
    exchange: Exchange,
    sign: Sign,
    cipher: (&'static str, u16),
    mac: &'static str,
    since: &'static str,
) -> Suite {
    Suite {
        name,
        number,
        exchange,
        sign,
        cipher: cipher.0,
        bits: cipher.1,
        mac,
        since,
    }
}

const GCM256: (&str, u16) = ("AES256GCM", 256);
const GCM128: (&str, u16) = ("AES128GCM", 128);
const CCM256: (&str, u16) = ("AES256CCM", 256);
const CCM128: (&str, u16) = ("AES128CCM", 128);
const CHACHA: (&str, u16) = ("CHACHA20", 256);
const CBC256: (&str, u16) = ("AES256", 256);
const CBC128: (&str, u16) = ("AES128", 128);
const CAM256: (&str, u16) = ("CAMELLIA256", 256);
const CAM128: (&str, u16) = ("CAMELLIA128", 128);
const TRIPLE: (&str, u16) = ("3DES", 112);
const RC4: (&str, u16) = ("RC4", 128);
const NULL: (&str, u16) = ("NULL", 0);
const T12: &str = "TLSv1.2";
const T10: &str = "TLSv1.0";
const S3: &str = "SSLv3";

use Exchange::{Dhe, Ecdhe, Psk, Rsa};
use Sign as S;

/// In OpenSSL's own order of preference.
#[rustfmt::skip]
const SUITES: &[Suite] = &[
    suite("ECDHE-ECDSA-AES256-GCM-SHA384", 0xc02c, Ecdhe, S::Ecdsa, GCM256, "AEAD", T12),
    suite("ECDHE-RSA-AES256-GCM-SHA384", 0xc030, Ecdhe, S::Rsa, GCM256, "AEAD", T12),
    suite("DHE-RSA-AES256-GCM-SHA384", 0x009f, Dhe, S::Rsa, GCM256, "AEAD", T12),
    suite("ECDHE-ECDSA-CHACHA20-POLY1305", 0xcca9, Ecdhe, S::Ecdsa, CHACHA, "AEAD", T12),
    suite("ECDHE-RSA-CHACHA20-POLY1305", 0xcca8, Ecdhe, S::Rsa, CHACHA, "AEAD", T12),
    suite("DHE-RSA-CHACHA20-POLY1305", 0xccaa, Dhe, S::Rsa, CHACHA, "AEAD", T12),
    suite("ECDHE-ECDSA-AES256-CCM", 0xc0ad, Ecdhe, S::Ecdsa, CCM256, "AEAD", T12),
    suite("DHE-RSA-AES256-CCM", 0xc09f, Dhe, S::Rsa, CCM256, "AEAD", T12),
    suite("ADH-AES256-GCM-SHA384", 0x00a7, Dhe, S::Nobody, GCM256, "AEAD", T12),
    suite("ECDHE-ECDSA-AES128-GCM-SHA256", 0xc02b, Ecdhe, S::Ecdsa, GCM128, "AEAD", T12),
    suite("ECDHE-RSA-AES128-GCM-SHA256", 0xc02f, Ecdhe, S::Rsa, GCM128, "AEAD", T12),
    suite("DHE-RSA-AES128-GCM-SHA256", 0x009e, Dhe, S::Rsa, GCM128, "AEAD", T12),
    suite("ECDHE-ECDSA-AES128-CCM", 0xc0ac, Ecdhe, S::Ecdsa, CCM128, "AEAD", T12),
    suite("DHE-RSA-AES128-CCM", 0xc09e, Dhe, S::Rsa, CCM128, "AEAD", T12),
    suite("ADH-AES128-GCM-SHA256", 0x00a6, Dhe, S::Nobody, GCM128, "AEAD", T12),
    suite("ECDHE-ECDSA-AES256-SHA384", 0xc024, Ecdhe, S::Ecdsa, CBC256, "SHA384", T12),
    suite("ECDHE-RSA-AES256-SHA384", 0xc028, Ecdhe, S::Rsa, CBC256, "SHA384", T12),
    suite("DHE-RSA-AES256-SHA256", 0x006b, Dhe, S::Rsa, CBC256, "SHA256", T12),
    suite("ECDHE-ECDSA-CAMELLIA256-SHA384", 0xc073, Ecdhe, S::Ecdsa, CAM256, "SHA384", T12),
    suite("ECDHE-RSA-CAMELLIA256-SHA384", 0xc077, Ecdhe, S::Rsa, CAM256, "SHA384", T12),
    suite("DHE-RSA-CAMELLIA256-SHA256", 0x00c4, Dhe, S::Rsa, CAM256, "SHA256", T12),
    suite("ADH-AES256-SHA256", 0x006d, Dhe, S::Nobody, CBC256, "SHA256", T12),
    suite("ECDHE-ECDSA-AES128-SHA256", 0xc023, Ecdhe, S::Ecdsa, CBC128, "SHA256", T12),
    suite("ECDHE-RSA-AES128-SHA256", 0xc027, Ecdhe, S::Rsa, CBC128, "SHA256", T12),
    suite("DHE-RSA-AES128-SHA256", 0x0067, Dhe, S::Rsa, CBC128, "SHA256", T12),
    suite("ECDHE-ECDSA-CAMELLIA128-SHA256", 0xc072, Ecdhe, S::Ecdsa, CAM128, "SHA256", T12),
    suite("ECDHE-RSA-CAMELLIA128-SHA256", 0xc076, Ecdhe, S::Rsa, CAM128, "SHA256", T12),
    suite("DHE-RSA-CAMELLIA128-SHA256", 0x00be, Dhe, S::Rsa, CAM128, "SHA256", T12),
    suite("ADH-AES128-SHA256", 0x006c, Dhe, S::Nobody, CBC128, "SHA256", T12),
    suite("ECDHE-ECDSA-AES256-SHA", 0xc00a, Ecdhe, S::Ecdsa, CBC256, "SHA1", T10),
    suite("ECDHE-RSA-AES256-SHA", 0xc014, Ecdhe, S::Rsa, CBC256, "SHA1", T10),
    suite("DHE-RSA-AES256-SHA", 0x0039, Dhe, S::Rsa, CBC256, "SHA1", S3),
    suite("DHE-RSA-CAMELLIA256-SHA", 0x0088, Dhe, S::Rsa, CAM256, "SHA1", S3),
    suite("AECDH-AES256-SHA", 0xc019, Ecdhe, S::Nobody, CBC256, "SHA1", T10),
    suite("ADH-AES256-SHA", 0x003a, Dhe, S::Nobody, CBC256, "SHA1", S3),
    suite("ECDHE-ECDSA-AES128-SHA", 0xc009, Ecdhe, S::Ecdsa, CBC128, "SHA1", T10),
    suite("ECDHE-RSA-AES128-SHA", 0xc013, Ecdhe, S::Rsa, CBC128, "SHA1", T10),
    suite("DHE-RSA-AES128-SHA", 0x0033, Dhe, S::Rsa, CBC128, "SHA1", S3),
    suite("DHE-RSA-CAMELLIA128-SHA", 0x0045, Dhe, S::Rsa, CAM128, "SHA1", S3),
    suite("AECDH-AES128-SHA", 0xc018, Ecdhe, S::Nobody, CBC128, "SHA1", T10),
    suite("ADH-AES128-SHA", 0x0034, Dhe, S::Nobody, CBC128, "SHA1", S3),
    suite("ECDHE-ECDSA-DES-CBC3-SHA", 0xc008, Ecdhe, S::Ecdsa, TRIPLE, "SHA1", T10),
    suite("ECDHE-RSA-DES-CBC3-SHA", 0xc012, Ecdhe, S::Rsa, TRIPLE, "SHA1", T10),
    suite("EDH-RSA-DES-CBC3-SHA", 0x0016, Dhe, S::Rsa, TRIPLE, "SHA1", S3),
    suite("DHE-RSA-DES-CBC3-SHA", 0x0016, Dhe, S::Rsa, TRIPLE, "SHA1", S3),
    suite("ECDHE-ECDSA-RC4-SHA", 0xc007, Ecdhe, S::Ecdsa, RC4, "SHA1", T10),
    suite("ECDHE-RSA-RC4-SHA", 0xc011, Ecdhe, S::Rsa, RC4, "SHA1", T10),
    suite("PSK-AES256-GCM-SHA384", 0x00a9, Psk, S::Psk, GCM256, "AEAD", T12),
    suite("PSK-CHACHA20-POLY1305", 0xccab, Psk, S::Psk, CHACHA, "AEAD", T12),
    suite("PSK-AES128-GCM-SHA256", 0x00a8, Psk, S::Psk, GCM128, "AEAD", T12),
    suite("PSK-AES256-CBC-SHA", 0x008d, Psk, S::Psk, CBC256, "SHA1", S3),
    suite("PSK-AES128-CBC-SHA", 0x008c, Psk, S::Psk, CBC128, "SHA1", S3),
    suite("AES256-GCM-SHA384", 0x009d, Rsa, S::Rsa, GCM256, "AEAD", T12),
    suite("AES256-CCM", 0xc09d, Rsa, S::Rsa, CCM256, "AEAD", T12),
    suite("AES128-GCM-SHA256", 0x009c, Rsa, S::Rsa, GCM128, "AEAD", T12),
    suite("AES128-CCM", 0xc09c, Rsa, S::Rsa, CCM128, "AEAD", T12),
    suite("AES256-SHA256", 0x003d, Rsa, S::Rsa, CBC256, "SHA256", T12),
    suite("CAMELLIA256-SHA256", 0x00c0, Rsa, S::Rsa, CAM256, "SHA256", T12),
    suite("AES128-SHA256", 0x003c, Rsa, S::Rsa, CBC128, "SHA256", T12),
    suite("CAMELLIA128-SHA256", 0x00ba, Rsa, S::Rsa, CAM128, "SHA256", T12),
    suite("AES256-SHA", 0x0035, Rsa, S::Rsa, CBC256, "SHA1", S3),
    suite("CAMELLIA256-SHA", 0x0084, Rsa, S::Rsa, CAM256, "SHA1", S3),
    suite("AES128-SHA", 0x002f, Rsa, S::Rsa, CBC128, "SHA1", S3),
    suite("CAMELLIA128-SHA", 0x0041, Rsa, S::Rsa, CAM128, "SHA1", S3),
    suite("DES-CBC3-SHA", 0x000a, Rsa, S::Rsa, TRIPLE, "SHA1", S3),
    suite("RC4-SHA", 0x0005, Rsa, S::Rsa, RC4, "SHA1", S3),
    suite("RC4-MD5", 0x0004, Rsa, S::Rsa, RC4, "MD5", S3),
    suite("ECDHE-ECDSA-NULL-SHA", 0xc006, Ecdhe, S::Ecdsa, NULL, "SHA1", T10),
    suite("ECDHE-RSA-NULL-SHA", 0xc010, Ecdhe, S::Rsa, NULL, "SHA1", T10),
    suite("NULL-SHA256", 0x003b, Rsa, S::Rsa, NULL, "SHA256", T12),
    suite("NULL-SHA", 0x0002, Rsa, S::Rsa, NULL, "SHA1", S3),
    suite("NULL-MD5", 0x0001, Rsa, S::Rsa, NULL, "MD5", S3),
];

/// TLS 1.3, by OpenSSL's name.
const SUITES_13: &[(&str, u16)] = &[
    ("TLS_AES_256_GCM_SHA384", 0x1302),
    ("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
    ("TLS_AES_128_GCM_SHA256", 0x1301),
    ("TLS_AES_128_CCM_SHA256", 0x1304),
    ("TLS_AES_128_CCM_8_SHA256", 0x1305),
];

/// Groups by OpenSSL's names, with IANA's number and what offers them.
const GROUPS: &[(&[&str], u16, Option<&'static dyn SupportedKxGroup>)] = &[
    (&["X25519MLKEM768"], 0x11ec, Some(kx_group::X25519MLKEM768)),
    (
        &["SecP256r1MLKEM768"],
        0x11eb,
        Some(kx_group::SECP256R1MLKEM768),
    ),
    (&["X25519", "x25519"], 0x001d, Some(kx_group::X25519)),
    (
        &["prime256v1", "P-256", "secp256r1"],
        0x0017,
        Some(kx_group::SECP256R1),
    ),
    (&["secp384r1", "P-384"], 0x0018, Some(kx_group::SECP384R1)),
    (&["MLKEM768"], 0x0201, Some(kx_group::MLKEM768)),
    (&["MLKEM1024"], 0x0202, Some(kx_group::MLKEM1024)),
    (&["secp521r1", "P-521"], 0x0019, None),
    (&["X448", "x448"], 0x001e, None),
    (&["SecP384r1MLKEM1024"], 0x11ed, None),
    (&["MLKEM512"], 0x0200, None),
    (&["brainpoolP256r1"], 0x001a, None),
    (&["brainpoolP384r1"], 0x001b, None),
    (&["brainpoolP512r1"], 0x001c, None),
    (&["secp224r1", "P-224"], 0x0015, None),
    (&["secp256k1"], 0x0016, None),
    (&["ffdhe2048"], 0x0100, None),
    (&["ffdhe3072"], 0x0101, None),
    (&["ffdhe4096"], 0x0102, None),
];

/// What `auto` offers, in order.
const GROUPS_AUTO: &[&str] = &["X25519MLKEM768", "X25519", "prime256v1", "secp384r1"];

/// What a list of the configuration comes to.
#[derive(Clone, Debug)]
pub struct Chosen<T> {
    /// What is offered, in order.
    pub(super) offered: Vec<T>,
    /// What the list names and cannot be offered.
    pub missing: Vec<String>,
}

impl<T> Chosen<T> {
    /// Whether nothing is left to offer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offered.is_empty()
    }
}

/// A suite that can be offered.
pub type Cipher = SupportedCipherSuite;
/// A group that can be offered.
pub type Group = &'static dyn SupportedKxGroup;

fn offered(number: u16) -> Option<SupportedCipherSuite> {
    let all = ALL_CIPHER_SUITES.iter();
    all.copied()
        .find(|suite| u16::from(suite.suite()) == number)
}

impl Suite {
    /// Whether this is one of those that a word means.
    fn is(&self, word: &str) -> bool {
        let gcm = self.cipher.ends_with("GCM");
        let ccm = self.cipher.ends_with("CCM");
        match word {
            "ALL" => self.cipher != "NULL",
            "COMPLEMENTOFALL" | "eNULL" | "NULL" => self.cipher == "NULL",
            "DEFAULT" => self.is("ALL") && !self.is("aNULL") && self.bits >= 128 && !self.is("RC4"),
            "COMPLEMENTOFDEFAULT" => self.is("ALL") && !self.is("DEFAULT"),
            "HIGH" => self.bits >= 128 && self.cipher != "RC4",
            "MEDIUM" => self.cipher == "RC4" || self.cipher == "3DES",
            "aNULL" => self.sign == Sign::Nobody,
            "aRSA" => self.sign == Sign::Rsa,
            "aECDSA" | "ECDSA" => self.sign == Sign::Ecdsa,
            "kRSA" | "RSA" => self.exchange == Rsa,
            "kEDH" | "kDHE" | "DH" => self.exchange == Dhe,
            "EDH" | "DHE" => self.exchange == Dhe && self.sign != Sign::Nobody,
            "ADH" => self.exchange == Dhe && self.sign == Sign::Nobody,
            "kEECDH" | "kECDHE" | "ECDH" => self.exchange == Ecdhe,
            "EECDH" | "ECDHE" => self.exchange == Ecdhe && self.sign != Sign::Nobody,
            "AECDH" => self.exchange == Ecdhe && self.sign == Sign::Nobody,
            "PSK" | "kPSK" | "aPSK" => self.exchange == Psk,
            "AES" => self.cipher.starts_with("AES"),
            "AES128" => self.cipher.starts_with("AES128"),
            "AES256" => self.cipher.starts_with("AES256"),
            "AESGCM" => gcm,
            "AESCCM" => ccm,
            "CHACHA20" | "3DES" | "RC4" => self.cipher == word,
            "CAMELLIA" => self.cipher.starts_with("CAMELLIA"),
            "CAMELLIA128" | "CAMELLIA256" => self.cipher == word,
            "SHA" | "SHA1" => self.mac == "SHA1",
            "SHA256" | "SHA384" | "MD5" => self.mac == word,
            "TLSv1.2" | "SSLv3" => self.since == word,
            "TLSv1" | "TLSv1.0" => self.since == "TLSv1.0",
            name => self.name == name,
        }
    }
}

/// Reads a list of ciphers. None when nothing matches it, of whatever can or cannot be offered.
#[must_use]
pub fn list(text: &str) -> Option<Chosen<Cipher>> {
    let mut chosen: Vec<&Suite> = Vec::new();
    let mut killed: Vec<&str> = Vec::new();
    let mut missing = Vec::new();
    let words = text.split([':', ' ', ',', ';']);
    for word in words.filter(|word| !word.is_empty()) {
        let (mark, rest) = match word.as_bytes()[0] {
            mark @ (b'!' | b'-' | b'+') => (Some(mark), &word[1..]),
            _ => (None, word),
        };
        if let Some(command) = rest.strip_prefix('@') {
            if command == "STRENGTH" {
                chosen.sort_by_key(|suite| std::cmp::Reverse(suite.bits));
            } else if !command.starts_with("SECLEVEL=") {
                return None;
            }
            continue;
        }
        let meant = |suite: &&Suite| rest.split('+').all(|word| suite.is(word));
        match mark {
            Some(b'!') => {
                killed.extend(SUITES.iter().filter(meant).map(|suite| suite.name));
                chosen.retain(|suite| !meant(suite));
            }
            Some(b'-') => chosen.retain(|suite| !meant(suite)),
            Some(_) => chosen.sort_by_key(meant),
            None => {
                for suite in SUITES.iter().filter(meant) {
                    let known = chosen.iter().any(|other| other.name == suite.name);
                    if known || killed.contains(&suite.name) {
                        continue;
                    }
                    chosen.push(suite);
                    // A name is a wish, a word for many is not.
                    if suite.name == rest && offered(suite.number).is_none() {
                        missing.push(rest.to_owned());
                    }
                }
            }
        }
    }
    if chosen.is_empty() {
        return None;
    }
    missing.retain(|name| chosen.iter().any(|suite| suite.name == name));
    let offered = chosen.iter().filter_map(|suite| offered(suite.number));
    Some(Chosen {
        offered: offered.collect(),
        missing,
    })
}

/// Reads a list of TLS 1.3's suites, between colons. None when one is unknown.
#[must_use]
pub fn list_13(text: &str) -> Option<Chosen<Cipher>> {
    let mut chosen = Chosen {
        offered: Vec::new(),
        missing: Vec::new(),
    };
    for word in text.split(':').filter(|word| !word.is_empty()) {
        let (_, number) = SUITES_13.iter().find(|(name, _)| *name == word)?;
        match offered(*number) {
            Some(suite) => chosen.offered.push(suite),
            None => chosen.missing.push(word.to_owned()),
        }
    }
    Some(chosen)
}

/// TLS 1.3's suites where nobody chose, in OpenSSL's order.
#[must_use]
pub fn default_13() -> Chosen<Cipher> {
    let all = SUITES_13.iter();
    Chosen {
        offered: all.filter_map(|(_, number)| offered(*number)).collect(),
        missing: Vec::new(),
    }
}

/// Reads a list of groups, between colons, or `auto`. The error is a name that is unknown.
pub fn groups(text: &str) -> Result<Chosen<Group>, String> {
    let mut chosen = Chosen {
        offered: Vec::new(),
        missing: Vec::new(),
    };
    let auto = GROUPS_AUTO.join(":");
    let text = if text == "auto" || text == "DEFAULT" {
        &auto
    } else {
        text
    };
    // OpenSSL 3.5 groups the list by slashes, marks key shares with stars, and unknown names with question marks.
    for word in text.split([':', '/']).filter(|word| !word.is_empty()) {
        let name = word.trim_start_matches(['*', '?', '-']);
        let known = GROUPS
            .iter()
            .find(|(names, ..)| names.iter().any(|each| each.eq_ignore_ascii_case(name)));
        match known {
            Some((_, _, Some(group))) => chosen.offered.push(*group),
            Some(_) => chosen.missing.push(name.to_owned()),
            None if word.starts_with('?') => {}
            None => return Err(name.to_owned()),
        }
    }
    Ok(chosen)
}

/// OpenSSL's name of a suite by IANA's number; none when it has none here.
#[must_use]
pub fn cipher_name(number: u16) -> Option<&'static str> {
    let old = SUITES.iter().find(|suite| suite.number == number);
    let new = || SUITES_13.iter().find(|(_, known)| *known == number);
    old.map(|suite| suite.name)
        .or_else(|| new().map(|(name, _)| *name))
}

/// OpenSSL's name of a group by IANA's number.
#[must_use]
pub fn group_name(number: u16) -> Option<&'static str> {
    let known = GROUPS.iter().find(|(_, known, _)| *known == number)?;
    known.0.first().copied()
}

/// The kind of key that a suite of TLS 1.2 wants; none for those of TLS 1.3 and those that are not known.
pub(super) fn signed_by(suite: u16) -> Option<SignatureAlgorithm> {
    match suite {
        0xc02b | 0xc02c | 0xcca9 => Some(SignatureAlgorithm::ECDSA),
        0xc02f | 0xc030 | 0xcca8 => Some(SignatureAlgorithm::RSA),
        _ => None,
    }
}

/// What rustls is to offer: the groups, and of each version that is switched on the suites; a version without suites is off.
pub(super) fn provider(
    groups: &Chosen<Group>,
    tls13: Option<&Chosen<Cipher>>,
    tls12: Option<&Chosen<Cipher>>,
) -> (CryptoProvider, Vec<&'static SupportedProtocolVersion>) {
    let mut provider = CryptoProvider {
        kx_groups: groups.offered.clone(),
        cipher_suites: Vec::new(),
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    let mut versions = Vec::new();
    for (version, suites) in [(&TLS13, tls13), (&TLS12, tls12)] {
        if let Some(suites) = suites.filter(|suites| !suites.is_empty()) {
            versions.push(version);
            provider.cipher_suites.extend(&suites.offered);
        }
    }
    (provider, versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<&'static str>> {
        let chosen = list(text)?;
        let numbers = chosen.offered.iter().map(|suite| u16::from(suite.suite()));
        Some(numbers.filter_map(cipher_name).collect())
    }

    #[test]
    fn lists_mean_what_they_mean_to_openssl() {
        let all = names("HIGH:!aNULL:!MD5").expect("some");
        assert_eq!(all.len(), 6);
        assert_eq!(all[0], "ECDHE-ECDSA-AES256-GCM-SHA384");
        for (text, want) in [
            (
                "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384",
                &["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"][..],
            ),
            (
                "EECDH+aRSA+AESGCM:!AES128",
                &["ECDHE-RSA-AES256-GCM-SHA384"],
            ),
            (
                "ECDHE+CHACHA20:!aECDSA:ALL",
                &[
                    "ECDHE-RSA-CHACHA20-POLY1305",
                    "ECDHE-RSA-AES256-GCM-SHA384",
                    "ECDHE-RSA-AES128-GCM-SHA256",
                ],
            ),
            (
                "aRSA+AESGCM+kEECDH:+AES256",
                &["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"],
            ),
            (
                "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:@STRENGTH",
                &["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"],
            ),
            ("AES256-SHA", &[]),
            (
                "nonsense:ECDHE-RSA-CHACHA20-POLY1305",
                &["ECDHE-RSA-CHACHA20-POLY1305"],
            ),
        ] {
            assert_eq!(names(text).as_deref(), Some(want), "{text}");
        }
        for text in ["", "nonsense", "!ALL", "HIGH:!HIGH", "HIGH:@NONSENSE"] {
            assert!(list(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_asked_for_by_name_and_missing_is_told() {
        let text =
            "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:AES128-SHA:!AES128-SHA:HIGH";
        assert_eq!(
            list(text).expect("some").missing,
            ["DHE-RSA-AES128-GCM-SHA256"]
        );
    }

    #[test]
    fn groups_are_known_by_each_of_their_names() {
        assert_eq!(groups("auto").expect("known").offered.len(), 4);
        let chosen = groups("P-256:secp384r1:secp521r1:x25519").expect("known");
        assert_eq!(chosen.offered.len(), 3);
        assert_eq!(chosen.missing, ["secp521r1"]);
        assert_eq!(groups("X25519:nonsense").err().as_deref(), Some("nonsense"));
        assert_eq!(group_name(0x11ec), Some("X25519MLKEM768"));
    }
}
