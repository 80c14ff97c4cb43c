//! Requests over kept TLS connections, one after the other on each, by a client that costs less than the server that it
//! measures: of two cores the server's has to be the full one. Start at [`run`].

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::{MINUTE_NS, Options, content_length};

/// How long a wait for an answer may take.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

struct Client {
    socket: TcpStream,
    tls: ClientConnection,
    /// When its request was sent.
    asked: Instant,
    /// Bytes of its answer that are here.
    came: usize,
}

/// Asks for the options' path until the time is over, and prints how many answers came, and how long they took.
pub fn run(options: &Options) {
    let config = Arc::new(config());
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", options.path);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut buf = vec![0; 64 << 10];
    let mut length = 0;
    let mut clients: Vec<Client> = (0..options.connections)
        .map(|number| {
            let (mut client, answer) = Client::open(&config, options, request.as_bytes(), &mut buf);
            assert!(
                length == 0 || length == answer,
                "answers of different lengths"
            );
            length = answer;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&poll, &client.socket, data, epoll::EventFlags::IN).unwrap();
            client.ask(request.as_bytes());
            client
        })
        .collect();
    let begin = Instant::now();
    let end = begin + Duration::from_secs(options.seconds);
    let mut times = Histogram::<u64>::new_with_bounds(1, MINUTE_NS, 3).unwrap();
    let mut events = Vec::with_capacity(256);
    while Instant::now() < end {
        events.clear();
        let room = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&poll, room, Some(&PATIENCE)).unwrap();
        for event in &events {
            let client = &mut clients[event.data.u64() as usize];
            client.receive(&mut buf);
            assert!(client.came <= length, "more than an answer");
            if client.came == length {
                client.came = 0;
                let now = Instant::now();
                times.saturating_record((now - client.asked).as_nanos() as u64);
                client.asked = now;
                client.ask(request.as_bytes());
            }
        }
    }
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| times.value_at_quantile(share));
    let took = begin.elapsed().as_nanos();
    println!("answered {} {took} {p50} {p99} {p999}", times.len());
}

impl Client {
    /// Connects, and asks once; tells how many bytes an answer has.
    fn open(
        config: &Arc<ClientConfig>,
        options: &Options,
        request: &[u8],
        buf: &mut [u8],
    ) -> (Self, usize) {
        let socket = TcpStream::connect(&options.addr).unwrap();
        socket.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = Self {
            socket,
            tls: ClientConnection::new(config.clone(), name).unwrap(),
            asked: Instant::now(),
            came: 0,
        };
        while client.tls.is_handshaking() {
            client.tls.complete_io(&mut client.socket).unwrap();
        }
        client.ask(request);
        let mut answer = Vec::new();
        let whole = loop {
            client.take();
            client.read(buf, |bytes| answer.extend_from_slice(bytes));
            if let Some(whole) = length(&answer).filter(|&whole| answer.len() >= whole) {
                break whole;
            }
        };
        client.socket.set_nonblocking(true).unwrap();
        (client, whole)
    }

    fn ask(&mut self, request: &[u8]) {
        self.tls.writer().write_all(request).unwrap();
        self.tls.write_tls(&mut self.socket).unwrap();
        assert!(!self.tls.wants_write(), "a request does not fit the socket");
    }

    /// Takes records out of the socket; false when there are none.
    fn take(&mut self) -> bool {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => panic!("a connection was closed"),
            Ok(_) => {
                self.tls.process_new_packets().unwrap();
                true
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(e) => panic!("{e}"),
        }
    }

    /// Hands out what has been opened.
    fn read(&mut self, buf: &mut [u8], mut with: impl FnMut(&[u8])) {
        loop {
            match self.tls.reader().read(buf) {
                Ok(0) => panic!("a connection was closed"),
                Ok(n) => with(&buf[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Counts what has come of an answer, which has to be a good one.
    fn receive(&mut self, buf: &mut [u8]) {
        if !self.take() {
            return;
        }
        let mut came = self.came;
        self.read(buf, |bytes| {
            assert!(
                came > 0 || bytes.starts_with(b"HTTP/1.1 200 "),
                "a bad answer"
            );
            came += bytes.len();
        });
        self.came = came;
    }
}

/// Bytes of an answer, once its head is here.
fn length(answer: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(answer, b"\r\n\r\n")? + 4;
    Some(head + content_length(&answer[..head]).unwrap())
}

fn config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth()
}

/// Trusts the certificate that the harness has just made.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls13_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
