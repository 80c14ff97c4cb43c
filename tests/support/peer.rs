//! An HTTP/1 origin that shares no line with ringx: monoio-http on a thread of its own. It judges our requests by
//! another reading of the protocol, and its answers are framed by another hand.

use monoio::io::Splitable;
use monoio::io::sink::SinkExt;
use monoio::io::stream::Stream;
use monoio::net::{TcpListener, TcpStream};
use monoio_http::common::body::Body;
use monoio_http::common::request::Request;
use monoio_http::common::response::Response;
use monoio_http::h1::codec::decoder::{FillPayload, RequestDecoder};
use monoio_http::h1::codec::encoder::GenericEncoder;
use monoio_http::h1::payload::{FixedPayload, Payload};
use monoio_http::h2;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// A running peer. It answers each request with what it understood: `METHOD TARGET HOST`, then the body.
#[derive(Debug)]
pub struct Peer {
    addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Starts on a port of the kernel's choice.
    pub fn start() -> Self {
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                // The first connection without a request is the end: it comes from the drop below.
                while let Ok((stream, from)) = listener.accept().await {
                    if from.ip() != Ipv4Addr::LOCALHOST {
                        return;
                    }
                    monoio::spawn(serve(stream));
                }
            });
        });
        let addr = told.recv_timeout(super::LIMIT).unwrap();
        Self {
            addr,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        if let Ok(socket) = socket {
            // Any address of the loopback network but the usual one ends the peer.
            let own = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
            let _ = socket.bind(&own.into());
            let _ = socket.connect(&self.addr.into());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the peer panicked");
        }
    }
}

async fn serve(stream: TcpStream) {
    let (read, write) = stream.into_split();
    let mut requests = RequestDecoder::new(read);
    let mut responses = GenericEncoder::new(write);
    while let Some(Ok(request)) = requests.next().await {
        // The decoder feeds the body while it is asked for it.
        let (fed, response) = monoio::join!(requests.fill_payload(), understand(request));
        let (Ok(()), Some(response)) = (fed, response) else {
            return;
        };
        if responses.send_and_flush(response).await.is_err() {
            return;
        }
    }
}

/// The answer to one request; none when its body is broken.
async fn understand(request: Request) -> Option<Response> {
    let host = request.headers().get("host");
    let host = host.and_then(|h| h.to_str().ok()).unwrap_or_default();
    let mut text = format!("{} {} {host}\n", request.method(), request.uri()).into_bytes();
    let mut body: Payload = request.into_body();
    while let Some(data) = body.next_data().await {
        text.extend_from_slice(&data.ok()?);
    }
    let response = Response::<()>::builder().header("X-Peer", "1");
    response
        .body(Payload::Fixed(FixedPayload::new(text.into())))
        .ok()
}

/// An HTTP/2 origin by the same hand. It answers with what it understood: `METHOD URI`, each field on a line, an empty
/// line, the body; then the body's length as the trailer `x-length`. Each connection is numbered in `x-connection`.
#[derive(Debug)]
pub struct PeerH2 {
    addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl PeerH2 {
    /// Starts on a port of the kernel's choice.
    pub fn start() -> Self {
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let mut number = 0;
                while let Ok((stream, from)) = listener.accept().await {
                    if from.ip() != Ipv4Addr::LOCALHOST {
                        return;
                    }
                    number += 1;
                    monoio::spawn(serve_h2(stream, number));
                }
            });
        });
        let addr = told.recv_timeout(super::LIMIT).unwrap();
        Self {
            addr,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for PeerH2 {
    fn drop(&mut self) {
        // Ends as the other one does.
        drop(Peer {
            addr: self.addr,
            thread: self.thread.take(),
        });
    }
}

async fn serve_h2(stream: TcpStream, number: u32) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        monoio::spawn(understand_h2(request, respond, number));
    }
}

async fn understand_h2(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    number: u32,
) -> Option<()> {
    let (head, mut body) = request.into_parts();
    let mut text = format!("{} {}\n", head.method, head.uri).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(format!("{name}: ").as_bytes());
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    text.push(b'\n');
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        length += data.len();
        text.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    let response = Response::<()>::builder().header("x-connection", number);
    let mut send = respond.send_response(response.body(()).ok()?, false).ok()?;
    send.send_data(text.into(), false).ok()?;
    let mut trailers = Response::<()>::builder().header("x-length", length);
    send.send_trailers(std::mem::take(trailers.headers_mut()?))
        .ok()
}
