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
