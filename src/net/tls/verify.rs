//! What a peer's certificate is worth. A handshake takes any certificate whose key the peer has; whether it is good is
//! asked afterwards, of a [`Trust`], because the answer is a page or a log line, not an alert. The rules, their order
//! and their names are OpenSSL's: the last thing that is wrong is what is told.
//!
//! Start at [`Trust::verify`].

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme};
use x509_parser::asn1_rs::Any;
use x509_parser::extensions::{GeneralName, NameConstraints, ParsedExtension};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::der::{self, Signed};
use super::pem;

/// The signatures that are taken.
pub(super) fn schemes() -> &'static WebPkiSupportedAlgorithms {
    static SCHEMES: OnceLock<WebPkiSupportedAlgorithms> = OnceLock::new();
    SCHEMES.get_or_init(|| {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
    })
}

/// What is wrong with a certificate: OpenSSL's number and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The number.
    pub code: u16,
    /// The words.
    pub text: &'static str,
}

macro_rules! flaws {
    ($($name:ident = $code:literal $text:literal;)+) => {
        impl Flaw { $(#[doc = $text] pub const $name: Self = Self { code: $code, text: $text };)+ }
    };
}

flaws! {
    NO_ISSUER = 2 "unable to get issuer certificate";
    NO_CRL = 3 "unable to get certificate CRL";
    SIGNATURE = 7 "certificate signature failure";
    CRL_SIGNATURE = 8 "CRL signature failure";
    EARLY = 9 "certificate is not yet valid";
    EXPIRED = 10 "certificate has expired";
    CRL_EARLY = 11 "CRL is not yet valid";
    CRL_EXPIRED = 12 "CRL has expired";
    SELF_SIGNED = 18 "self-signed certificate";
    SELF_SIGNED_IN_CHAIN = 19 "self-signed certificate in certificate chain";
    NO_LOCAL_ISSUER = 20 "unable to get local issuer certificate";
    FIRST = 21 "unable to verify the first certificate";
    TOO_LONG = 22 "certificate chain too long";
    REVOKED = 23 "certificate revoked";
    NO_CA = 24 "invalid CA certificate";
    PATH_LENGTH = 25 "path length constraint exceeded";
    PURPOSE = 26 "unsuitable certificate purpose";
    CRITICAL = 34 "unhandled critical extension";
    PERMITTED = 47 "permitted subtree violation";
    EXCLUDED = 48 "excluded subtree violation";
    UNREADABLE = 1 "unspecified certificate verification error";
    STATUS_REVOKED = 0 "certificate revoked";
    STATUS_UNKNOWN = 0 "certificate status unknown";
    STATUS_FAILED = 0 "certificate status request failed";
}

impl Flaw {
    /// Whether nobody known having signed it is all that is wrong, which `optional_no_ca` takes.
    #[must_use]
    pub fn only_unknown(self) -> bool {
        matches!(
            self,
            Self::SELF_SIGNED | Self::SELF_SIGNED_IN_CHAIN | Self::NO_LOCAL_ISSUER | Self::FIRST
        )
    }
}

/// Which side's certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's.
    Client,
    /// A server's.
    Server,
}

/// Whom one trusts to sign certificates.
#[derive(Debug, Default)]
pub struct Trust {
    /// Tells it from others in this process; none has the number 0.
    number: u64,
    /// Trusted certificates in DER.
    anchors: Vec<Vec<u8>>,
    /// Their places by subject.
    by_subject: HashMap<Vec<u8>, Vec<usize>>,
    /// Lists of revoked certificates in DER.
    revocations: Vec<Vec<u8>>,
    /// Certificates between a peer's and a trusted one, at most.
    depth: usize,
}

/// The number of the next one.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Longest chain that is looked at, whatever the depth says.
const CHAIN_MAX: usize = 32;

/// One certificate of a chain in the making.
struct Link<'a> {
    der: &'a [u8],
    cert: X509Certificate<'a>,
    trusted: bool,
}

impl<'a> Link<'a> {
    fn new(der: &'a [u8], trusted: bool) -> Option<Self> {
        let (rest, cert) = X509Certificate::from_der(der).ok()?;
        rest.is_empty().then_some(Self { der, cert, trusted })
    }

    fn subject(&self) -> &'a [u8] {
        self.cert.tbs_certificate.subject.as_raw()
    }

    fn issuer(&self) -> &'a [u8] {
        self.cert.tbs_certificate.issuer.as_raw()
    }

    fn own_issuer(&self) -> bool {
        self.subject() == self.issuer() && may_sign(&self.cert)
    }

    /// Whether this certificate's name and key identifier are those of the one that signed `below`.
    fn issued(&self, below: &Self) -> bool {
        self.subject() == below.issuer()
            && keys_agree(&self.cert, &below.cert)
            && may_sign(&self.cert)
    }
}

fn extensions<'a, 'b>(
    cert: &'b X509Certificate<'a>,
) -> impl Iterator<Item = &'b ParsedExtension<'a>> {
    cert.extensions().iter().map(|one| one.parsed_extension())
}

/// A key usage, where there is one, allows signing certificates.
fn may_sign(cert: &X509Certificate<'_>) -> bool {
    extensions(cert).all(|one| match one {
        ParsedExtension::KeyUsage(usage) => usage.key_cert_sign(),
        _ => true,
    })
}

fn keys_agree(issuer: &X509Certificate<'_>, below: &X509Certificate<'_>) -> bool {
    let wanted = extensions(below).find_map(|one| match one {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
        _ => None,
    });
    let own = extensions(issuer).find_map(|one| match one {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id),
        _ => None,
    });
    match (wanted, own) {
        (Some(wanted), Some(own)) => wanted.0 == own.0,
        _ => true,
    }
}

impl Trust {
    /// Trusts the certificates of these PEM texts; none when one is broken or holds no certificate. `depth` is how many
    /// certificates may stand between a peer's and a trusted one.
    #[must_use]
    pub fn new(texts: &[&[u8]], depth: usize) -> Option<Self> {
        let mut trust = Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            depth,
            ..Self::default()
        };
        for text in texts {
            let ders = pem::certificates(text).filter(|ders| !ders.is_empty())?;
            for der in ders {
                let link = Link::new(&der, true)?;
                let subject = link.subject().to_vec();
                let places = trust.by_subject.entry(subject).or_default();
                places.push(trust.anchors.len());
                trust.anchors.push(der);
            }
        }
        Some(trust)
    }

    /// The certificates of a PEM text in DER; none where it cannot be read.
    #[must_use]
    pub fn certificates(text: &[u8]) -> Vec<Vec<u8>> {
        pem::certificates(text).unwrap_or_default()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Reads lists of revoked certificates; none when one is broken, or when there is none.
    #[must_use]
    pub fn revoking(mut self, text: &[u8]) -> Option<Self> {
        let sections = pem::sections(text)?.into_iter();
        for section in sections.filter(|section| section.label == "X509 CRL") {
            CertificateRevocationList::from_der(&section.der).ok()?;
            self.revocations.push(section.der);
        }
        (!self.revocations.is_empty()).then_some(self)
    }

    /// The subjects of the certificates of a PEM text, as hints for clients.
    pub(super) fn subjects(text: &[u8]) -> Vec<DistinguishedName> {
        let ders = pem::certificates(text).unwrap_or_default();
        let subject = |der: &Vec<u8>| {
            let (_, cert) = X509Certificate::from_der(der).ok()?;
            let (_, contents, ..) = der::element(cert.tbs_certificate.subject.as_raw())?;
            Some(DistinguishedName::in_sequence(contents))
        };
        let mut all: Vec<DistinguishedName> = Vec::new();
        for name in ders.iter().filter_map(subject) {
            if !all.iter().any(|known| known.as_ref() == name.as_ref()) {
                all.push(name);
            }
        }
        all
    }

    /// Whether a chain in DER, the peer's own certificate first, is good at a second of Unix time.
    pub fn verify(&self, chain: &[Box<[u8]>], purpose: Purpose, now: i64) -> Result<(), Flaw> {
        let mut looked_at = chain.iter().take(CHAIN_MAX);
        if chain.is_empty() || !looked_at.all(|der| Link::new(der, false).is_some()) {
            return Err(Flaw::UNREADABLE);
        }
        let (links, mut flaw) = self.path(chain).ok_or(Flaw::UNREADABLE)?;
        let mut note = |found: Option<Flaw>| flaw = found.or(flaw);
        note(extension_flaw(&links, purpose));
        if !self.revocations.is_empty() {
            note(self.revocation_flaw(&links, now));
        }
        note(signature_flaw(&links, now));
        note(constraint_flaw(&links));
        flaw.map_or(Ok(()), Err)
    }

    /// The certificates from a peer's own to a trusted one in DER, as far as they go.
    pub(super) fn way<'a>(&'a self, chain: &'a [Box<[u8]>]) -> Vec<&'a [u8]> {
        let links = self.path(chain).map(|(links, _)| links);
        let links = links.unwrap_or_default().into_iter();
        links.map(|link| link.der).collect()
    }

    /// The way from a peer's certificate to a trusted one, as far as it goes, and why it goes no further.
    fn path<'a>(&'a self, chain: &'a [Box<[u8]>]) -> Option<(Vec<Link<'a>>, Option<Flaw>)> {
        let mut spare: Vec<Link<'a>> = Vec::new();
        for der in chain.iter().take(CHAIN_MAX).skip(1) {
            spare.push(Link::new(der, false)?);
        }
        let first = Link::new(chain.first()?, false)?;
        let first_known = self.anchors.iter().any(|anchor| *anchor == *first.der);
        let mut links = vec![first];
        let most = self.depth.min(CHAIN_MAX) + 1;
        loop {
            let last = links.last()?;
            let at_end = last.own_issuer();
            if at_end && (last.trusted || (links.len() == 1 && first_known)) {
                return Some((links, None));
            }
            if links.len() > most {
                return Some((links, Some(Flaw::TOO_LONG)));
            }
            if let Some(anchor) = self.anchor_for(last) {
                if at_end {
                    // A certificate of the peer's that is trusted under the same name: ours counts.
                    links.pop();
                }
                links.push(anchor);
                continue;
            }
            let signer = match at_end || last.trusted {
                true => None,
                false => spare.iter().position(|one| one.issued(last)),
            };
            let Some(signer) = signer else {
                let flaw = match (at_end, links.len(), last.trusted) {
                    (true, 1, _) => Flaw::SELF_SIGNED,
                    (true, ..) => Flaw::SELF_SIGNED_IN_CHAIN,
                    (false, _, true) => Flaw::NO_ISSUER,
                    (false, _, false) => Flaw::NO_LOCAL_ISSUER,
                };
                return Some((links, Some(flaw)));
            };
            links.push(spare.swap_remove(signer));
        }
    }

    /// The trusted certificate that signed another one.
    fn anchor_for<'a>(&'a self, below: &Link<'a>) -> Option<Link<'a>> {
        let places = self.by_subject.get(below.issuer())?.iter();
        let mut known = places.filter_map(|&at| Link::new(&self.anchors[at], true));
        if below.own_issuer() {
            return known.find(|anchor| anchor.der == below.der);
        }
        known.find(|anchor| anchor.issued(below))
    }

    fn revocation_flaw(&self, links: &[Link<'_>], now: i64) -> Option<Flaw> {
        let mut flaw = None;
        for (at, link) in links.iter().enumerate() {
            let issuer = match links.get(at + 1) {
                Some(issuer) => issuer,
                None if link.own_issuer() => link,
                None => {
                    flaw = Some(Flaw::NO_CRL);
                    continue;
                }
            };
            flaw = self.revoked(link, issuer, now).or(flaw);
        }
        flaw
    }

    fn revoked(&self, link: &Link<'_>, issuer: &Link<'_>, now: i64) -> Option<Flaw> {
        let lists = self.revocations.iter();
        let lists = lists.filter_map(|der| {
            let (_, list) = CertificateRevocationList::from_der(der).ok()?;
            (list.tbs_cert_list.issuer.as_raw() == link.issuer()).then_some((der, list))
        });
        let mut flaw = Some(Flaw::NO_CRL);
        for (der, list) in lists {
            let spki = issuer.cert.public_key().raw;
            if !Signed::read(der).is_some_and(|signed| signed.by(spki)) {
                flaw = Some(Flaw::CRL_SIGNATURE);
                continue;
            }
            let serial = link.cert.raw_serial();
            let mut revoked = list.iter_revoked_certificates();
            if revoked.any(|one| one.raw_serial() == serial) {
                return Some(Flaw::REVOKED);
            }
            let ends = list.next_update().map(|time| time.timestamp());
            flaw = match () {
                () if list.last_update().timestamp() > now => Some(Flaw::CRL_EARLY),
                () if ends.is_some_and(|ends| ends < now) => Some(Flaw::CRL_EXPIRED),
                () => None,
            };
            if flaw.is_none() {
                break;
            }
        }
        flaw
    }
}

/// Authorities that are none, paths that are too long, keys that are for something else.
fn extension_flaw(links: &[Link<'_>], purpose: Purpose) -> Option<Flaw> {
    let mut flaw = None;
    // Authorities below the one that is looked at, those that signed themselves left out.
    let mut below = 0;
    for (at, link) in links.iter().enumerate() {
        let unknown = link.cert.extensions().iter().any(|one| {
            one.critical
                && matches!(
                    one.parsed_extension(),
                    ParsedExtension::UnsupportedExtension { .. }
                        | ParsedExtension::ParseError { .. }
                        | ParsedExtension::Unparsed
                )
        });
        if unknown {
            flaw = Some(Flaw::CRITICAL);
        }
        let constraints = extensions(&link.cert).find_map(|one| match one {
            ParsedExtension::BasicConstraints(one) => Some(one),
            _ => None,
        });
        if at > 0 {
            let old_root = link.trusted && link.own_issuer() && link.cert.version().0 == 0;
            if !constraints.map_or(old_root, |one| one.ca) || !may_sign(&link.cert) {
                flaw = Some(Flaw::NO_CA);
            }
            let most = constraints.and_then(|one| one.path_len_constraint);
            if most.is_some_and(|most| below > most) {
                flaw = Some(Flaw::PATH_LENGTH);
            }
            below += u32::from(!link.own_issuer());
        }
        if !fits(&link.cert, purpose, at == 0) {
            flaw = Some(Flaw::PURPOSE);
        }
    }
    flaw
}

fn fits(cert: &X509Certificate<'_>, purpose: Purpose, own: bool) -> bool {
    extensions(cert).all(|one| match one {
        ParsedExtension::ExtendedKeyUsage(usage) => match purpose {
            Purpose::Client => usage.client_auth,
            Purpose::Server => usage.server_auth,
        },
        ParsedExtension::KeyUsage(usage) if own => {
            let signs = usage.digital_signature() || usage.key_agreement();
            signs || (purpose == Purpose::Server && usage.key_encipherment())
        }
        _ => true,
    })
}

/// Signatures and lifetimes, from the top down.
fn signature_flaw(links: &[Link<'_>], now: i64) -> Option<Flaw> {
    let mut flaw = None;
    for (at, link) in links.iter().enumerate().rev() {
        match links.get(at + 1) {
            Some(issuer) => {
                let spki = issuer.cert.public_key().raw;
                if !Signed::read(link.der).is_some_and(|signed| signed.by(spki)) {
                    flaw = Some(Flaw::SIGNATURE);
                }
            }
            // The top: trusted as it is, or already complained about.
            None if at == 0 && !link.own_issuer() => flaw = Some(Flaw::FIRST),
            None => {}
        }
        let validity = link.cert.validity();
        if validity.not_before.timestamp() > now {
            flaw = Some(Flaw::EARLY);
        }
        if validity.not_after.timestamp() < now {
            flaw = Some(Flaw::EXPIRED);
        }
    }
    flaw
}

/// Names that an authority may not sign for. Kinds of names that are not understood are not permitted by anybody who
/// constrains them.
fn constraint_flaw(links: &[Link<'_>]) -> Option<Flaw> {
    let first = &links.first()?.cert;
    let mut names: Vec<GeneralName<'_>> = alternative_names(first).into_iter().cloned().collect();
    if !names
        .iter()
        .any(|name| matches!(name, GeneralName::DNSName(_)))
    {
        // Then the common name is the host, and stands under the same constraints.
        let common = first.subject().iter_common_name();
        let common =
            common.filter_map(|name| std::str::from_utf8(any_string(name.attr_value())?).ok());
        names.extend(common.map(GeneralName::DNSName));
    }
    links.iter().skip(1).find_map(|link| {
        let constraints = extensions(&link.cert).find_map(|one| match one {
            ParsedExtension::NameConstraints(one) => Some(one),
            _ => None,
        })?;
        breaks(constraints, &names)
    })
}

fn breaks(constraints: &NameConstraints<'_>, names: &[GeneralName<'_>]) -> Option<Flaw> {
    let same_kind = |a: &GeneralName<'_>, b: &GeneralName<'_>| {
        std::mem::discriminant(a) == std::mem::discriminant(b)
    };
    for name in names {
        let excluded = constraints.excluded_subtrees.iter().flatten();
        if excluded
            .clone()
            .any(|tree| same_kind(&tree.base, name) && within(name, &tree.base) != Some(false))
        {
            return Some(Flaw::EXCLUDED);
        }
        let permitted = constraints.permitted_subtrees.iter().flatten();
        let mut of_kind = permitted
            .filter(|tree| same_kind(&tree.base, name))
            .peekable();
        if of_kind.peek().is_some() && !of_kind.any(|tree| within(name, &tree.base) == Some(true)) {
            return Some(Flaw::PERMITTED);
        }
    }
    None
}

/// Whether a name lies in a subtree; none where that is not known.
fn within(name: &GeneralName<'_>, tree: &GeneralName<'_>) -> Option<bool> {
    match (name, tree) {
        (GeneralName::DNSName(name), GeneralName::DNSName(tree)) => {
            let (name, tree) = (name.to_ascii_lowercase(), tree.to_ascii_lowercase());
            let bare = tree.strip_prefix('.').unwrap_or(&tree);
            let below = name.strip_suffix(bare);
            Some(
                bare.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            )
        }
        (GeneralName::IPAddress(name), GeneralName::IPAddress(tree)) => {
            let (net, mask) = tree.split_at(tree.len() / 2);
            let bits = name.iter().zip(net).zip(mask);
            Some(name.len() == net.len() && bits.clone().all(|((n, t), m)| n & m == t & m))
        }
        _ => None,
    }
}

fn alternative_names<'a, 'b>(cert: &'b X509Certificate<'a>) -> Vec<&'b GeneralName<'a>> {
    let lists = extensions(cert).filter_map(|one| match one {
        ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.iter()),
        _ => None,
    });
    lists.flatten().collect()
}

/// Whether a certificate in DER is for this host: by its alternative names, or by its common name where it has none.
#[must_use]
pub fn names_host(der: &[u8], host: &[u8]) -> bool {
    let Ok((_, cert)) = X509Certificate::from_der(der) else {
        return false;
    };
    if host.is_empty() {
        return false;
    }
    let names = alternative_names(&cert);
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let dns: Vec<&str> = dns.collect();
    if !dns.is_empty() {
        return dns.iter().any(|name| host_matches(name.as_bytes(), host));
    }
    let common = cert.subject().iter_common_name();
    let mut common = common.filter_map(|name| any_string(name.attr_value()));
    common.any(|name| host_matches(name, host))
}

/// The bytes of a string: UTF8String, PrintableString, TeletexString or IA5String.
fn any_string<'a>(value: &'a Any<'_>) -> Option<&'a [u8]> {
    matches!(value.tag().0, 12 | 19 | 20 | 22).then_some(value.data)
}

/// A name of a certificate and a host; a star stands for one whole label, the first, and needs two more.
fn host_matches(name: &[u8], host: &[u8]) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let Some(rest) = name.strip_prefix(b"*.") else {
        return name.eq_ignore_ascii_case(host);
    };
    let Some(dot) = host.iter().position(|&byte| byte == b'.') else {
        return false;
    };
    dot > 0 && rest.contains(&b'.') && rest.eq_ignore_ascii_case(&host[dot + 1..])
}

/// Whether the peer has the key of its certificate, which is all that a handshake asks.
fn holds_key(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    strict: bool,
) -> Result<HandshakeSignatureValid, Error> {
    let wrong = || Error::from(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);
    let bad = || Error::InvalidCertificate(rustls::CertificateError::BadSignature);
    let broken = || Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| broken())?;
    let (kind, key) = der::key_of(parsed.public_key().raw).ok_or_else(broken)?;
    let mapping = schemes().mapping.iter();
    let mut known = mapping.filter(|(scheme, _)| *scheme == signed.scheme);
    let (_, algorithms) = known.next().ok_or_else(wrong)?;
    // TLS 1.3 ties a scheme to one kind of key.
    let taken = if strict { 1 } else { algorithms.len() };
    let mut fitting = algorithms[..taken]
        .iter()
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == kind);
    let algorithm = fitting.next().ok_or_else(wrong)?;
    algorithm
        .verify_signature(key, message, signed.signature())
        .map(|()| HandshakeSignatureValid::assertion())
        .map_err(|_| bad())
}

/// What both sides ask of a peer's signature: two traits of the library want the same methods.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            holds_key(message, cert, dss, false)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            holds_key(message, cert, dss, true)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            schemes().supported_schemes()
        }
    };
}

/// Takes certificates of clients without judging them.
#[derive(Debug)]
pub(super) struct AnyClient {
    pub(super) hints: Vec<DistinguishedName>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        readable(end_entity).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}

/// Takes certificates of servers without judging them.
#[derive(Debug)]
pub(super) struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        readable(end_entity).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

fn readable(der: &[u8]) -> Result<(), Error> {
    match X509Certificate::from_der(der) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::InvalidCertificate(
            rustls::CertificateError::BadEncoding,
        )),
    }
}

#[cfg(test)]
mod tests;
