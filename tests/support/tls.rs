//! Certificates of the tests, made when a test runs: a name and its key, or an authority that signs some; and a client
//! that trusts one of them. Start at [`SelfSigned`] and [`client`].

use super::Client;
use super::client::Socket;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A certificate and its key, as files hold them.
pub struct Pair {
    /// The certificate, PEM.
    pub cert: String,
    /// The key, PEM.
    pub key: String,
}

/// An authority.
pub struct Authority {
    /// Its own certificate, PEM: what clients trust.
    pub cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        Self::named("tests")
    }

    /// A new one of this name.
    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let cert = params.self_signed(&key).unwrap().pem();
        Self {
            cert,
            issuer: Issuer::new(params, key),
        }
    }

    /// An authority of this name below this one.
    pub fn authority(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self {
            cert,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for these names.
    pub fn sign(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Authority {
    /// A client's certificate: its common name and its serial number.
    pub fn client(&self, name: &str, serial: u64) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.serial_number = Some(serial.into());
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A list that revokes these serial numbers, PEM.
    pub fn revoke(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|&serial| rcgen::RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(4000, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl SelfSigned {
    /// A client that trusts it and shows this pair.
    pub fn trusted_showing(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        pair: &Pair,
    ) -> ClientConfig {
        use rustls::pki_types::PrivateKeyDer;
        use rustls::pki_types::pem::PemObject;
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap()
    }
}

/// A program of openssl with this input: what it prints, or nothing where there is no openssl.
pub fn openssl(args: &[&str], input: &[u8]) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return String::new();
    };
    // It may have ended before it read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A key under a password; none where there is no openssl.
pub fn encrypted(key: &str, password: &str) -> Option<String> {
    let password = format!("pass:{password}");
    let args = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout"];
    let text = openssl(&[&args[..], &[&password]].concat(), key.as_bytes());
    text.contains("ENCRYPTED").then_some(text)
}

/// A certificate for `localhost` and 127.0.0.1 that signs itself.
pub fn localhost() -> Pair {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    Pair {
        cert: cert.pem(),
        key: signing_key.serialize_pem(),
    }
}

/// Both versions, TLS 1.3 only, TLS 1.2 only.
pub const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];
/// TLS 1.3 only.
pub const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// TLS 1.2 only.
pub const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// A certificate that signs itself, and its key.
#[derive(Debug)]
pub struct SelfSigned {
    /// The certificate in PEM.
    pub cert: String,
    /// The key in PEM.
    pub key: String,
    /// The certificate in DER.
    pub der: CertificateDer<'static>,
}

impl SelfSigned {
    /// For these names.
    pub fn new(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self {
            cert: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
        }
    }

    /// What a client that trusts it starts from.
    pub fn trusted(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        self.trusted_by(rustls::crypto::aws_lc_rs::default_provider(), versions)
    }

    /// The same with these ciphers.
    pub fn trusted_by(
        &self,
        provider: rustls::crypto::CryptoProvider,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// Shakes hands with a server of this name; says what went wrong.
pub fn try_client(addr: SocketAddr, config: ClientConfig, name: &str) -> Result<Client, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tcp = TcpStream::connect_timeout(&addr, super::LIMIT).unwrap();
    tcp.set_read_timeout(Some(super::LIMIT)).unwrap();
    tcp.set_write_timeout(Some(super::LIMIT)).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, tcp);
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .map_err(|error| error.to_string())?;
    }
    Ok(Client::on(Socket::Tls(Box::new(stream))))
}

/// A client after its handshake.
#[track_caller]
pub fn client(addr: SocketAddr, config: ClientConfig, name: &str) -> Client {
    try_client(addr, config, name).unwrap_or_else(|error| panic!("no handshake: {error}"))
}
