//! An origin as a script: one closure per connection, on threads, keeping every byte that it received.
//!
//! [`Origin::script`] gives full control; [`Origin::answer`] is the usual keep-alive server around a function from
//! request to response bytes; the others are canned. A panic inside a script fails the test when the origin is dropped.

use super::client::Socket;
use super::wire::{self, End, Message, Reader};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// One connection as its script sees it.
#[derive(Debug)]
pub struct Conn {
    reader: Reader<Recorded>,
    /// The connection's number in order of acceptance, from 0.
    pub number: usize,
    /// The end of the script resets the connection.
    resets: bool,
    shared: Arc<Shared>,
}

/// What the threads of one origin share.
#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    /// Every request that was received whole or cut, over all connections, in order of completion.
    requests: Mutex<Vec<Message>>,
    /// Every byte received, by connection.
    bytes: Mutex<Vec<Vec<u8>>>,
    /// Second handles on the connections, to end them at drop.
    sockets: Mutex<Vec<Option<Socket>>>,
    /// How many connections the proxy has closed.
    closed: Mutex<usize>,
}

/// A socket that keeps what is read from it where the test sees it, in the moment in which it arrives.
#[derive(Debug)]
struct Recorded {
    socket: Socket,
    number: usize,
    shared: Arc<Shared>,
}

impl Read for Recorded {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.socket.read(buf)?;
        self.shared.bytes.lock().unwrap()[self.number].extend_from_slice(&buf[..n]);
        Ok(n)
    }
}

impl Conn {
    /// Reads one request with its body; `None` when the proxy closes instead.
    pub fn request(&mut self) -> Option<Message> {
        let head = self.read_head()?;
        Some(self.read_body(head))
    }

    /// Reads a request's head only.
    pub fn read_head(&mut self) -> Option<Vec<u8>> {
        // An idle connection may stay open as long as the test runs: its end comes from the proxy or from our drop.
        let head = loop {
            if let Some(at) = self.reader.rest().windows(4).position(|w| w == b"\r\n\r\n") {
                break self.reader.take(at + 4);
            }
            match self.reader.fill() {
                Ok(0) => return None,
                Ok(_) => {}
                Err(_) if self.shared.stopping.load(Ordering::SeqCst) => return None,
                Err(_) => {}
            }
        };
        Some(head)
    }

    /// Reads the body that `head` announces and records the request.
    pub fn read_body(&mut self, head: Vec<u8>) -> Message {
        let framing = wire::request_framing(&head);
        let message = self.reader.body(head, framing);
        self.shared.requests.lock().unwrap().push(message.clone());
        message
    }

    /// Sends bytes as they are; a proxy that has gone away is fine.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader
            .source()
            .socket
            .write_all(bytes.as_ref())
            .is_ok()
    }

    /// Receives exactly `n` bytes, or fewer at the end.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        self.reader.take(n)
    }

    /// Receives all until the proxy stops sending.
    pub fn rest(&mut self) -> Vec<u8> {
        self.reader.take_all()
    }

    /// Sends back what comes, to its end.
    pub fn echo(&mut self) {
        loop {
            let had = self.reader.rest().to_vec();
            if !had.is_empty() {
                let bytes = self.bytes(had.len());
                if !self.send(bytes) {
                    return;
                }
            }
            match self.reader.fill() {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// The address that the connection comes from.
    pub fn peer(&mut self) -> SocketAddr {
        match &self.reader.source().socket {
            Socket::Tcp(s) => s.peer_addr().unwrap(),
            Socket::Unix(_) | Socket::Tls(_) => panic!("a unix socket has no IP address"),
        }
    }

    /// Ends the sending direction.
    pub fn half_close(&mut self) {
        self.reader.source().socket.shutdown(Shutdown::Write);
    }

    /// Makes the coming close a reset.
    pub fn reset(&mut self) {
        self.reader.source().socket.reset_on_close();
        // The second handle would keep the socket alive past the script's end.
        self.shared.sockets.lock().unwrap()[self.number] = None;
        self.resets = true;
    }
}

/// A running origin; dropping it ends its connections and reports its panics.
#[derive(Debug)]
pub struct Origin {
    shared: Arc<Shared>,
    place: Place,
    listener: Arc<Listener>,
    acceptor: Option<JoinHandle<Vec<JoinHandle<()>>>>,
}

/// Where an origin listens.
#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Either kind of listening socket.
#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Wakes the thread that accepts and refuses all that come later.
    fn shutdown(&self) {
        let socket = match self {
            Self::Tcp(l) => SockRef::from(l),
            Self::Unix(l) => SockRef::from(l),
        };
        let _ = socket.shutdown(Shutdown::Both);
    }

    fn accept(&self) -> std::io::Result<Socket> {
        match self {
            Self::Tcp(l) => l.accept().map(|(s, _)| Socket::Tcp(s)),
            Self::Unix(l) => l.accept().map(|(s, _)| Socket::Unix(s)),
        }
    }
}

impl Origin {
    /// Runs `script` for each connection, on a port of the kernel's choice.
    pub fn script(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let place = Place::Tcp(listener.local_addr().unwrap());
        Self::start(Listener::Tcp(listener), place, Arc::new(script))
    }

    /// A keep-alive server on another address with the port of a server on [`Origin::addr`].
    pub fn beside(
        other: &Self,
        ip: Ipv4Addr,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, other.addr().port())).unwrap();
        let place = Place::Tcp(listener.local_addr().unwrap());
        Self::start(Listener::Tcp(listener), place, Arc::new(serve(answer)))
    }

    /// Runs `script` for each connection of a unix socket at `path`.
    pub fn unix(path: &Path, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let listener = UnixListener::bind(path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let place = Place::Unix(path.to_owned());
        Self::start(Listener::Unix(listener), place, Arc::new(script))
    }

    fn start(
        listener: Listener,
        place: Place,
        script: Arc<dyn Fn(&mut Conn) + Send + Sync>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let listener = Arc::new(listener);
        let accepting = Arc::clone(&listener);
        let ours = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok(socket) = accepting.accept() {
                if ours.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let socket = socket.bounded();
                let number = {
                    let mut bytes = ours.bytes.lock().unwrap();
                    bytes.push(Vec::new());
                    bytes.len() - 1
                };
                ours.sockets.lock().unwrap().push(Some(socket.twin()));
                let script = Arc::clone(&script);
                let shared = Arc::clone(&ours);
                threads.push(std::thread::spawn(move || {
                    let mut conn = Conn {
                        reader: Reader::new(Recorded {
                            socket,
                            number,
                            shared: Arc::clone(&shared),
                        }),
                        number,
                        resets: false,
                        shared,
                    };
                    script(&mut conn);
                    if !conn.resets {
                        conn.reader.source().socket.shutdown(Shutdown::Both);
                    }
                    let shared = Arc::clone(&conn.shared);
                    // Closed before it is counted, so that who has seen the count knows the end is on its way.
                    drop(conn);
                    *shared.closed.lock().unwrap() += 1;
                }));
            }
            threads
        });
        Self {
            shared,
            place,
            listener,
            acceptor: Some(acceptor),
        }
    }

    /// A keep-alive server: `answer` turns each request into the bytes of a response. The connection is closed after a
    /// response that says `Connection: close`, or that is empty.
    pub fn answer(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::script(serve(answer))
    }

    /// [`Origin::answer`] on a unix socket.
    pub fn answer_unix(
        path: &Path,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::unix(path, serve(answer))
    }

    /// Answers every request with the same bytes.
    pub fn fixed(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::answer(move |_| response.clone())
    }

    /// Answers every request with 200 and `body`.
    pub fn text(body: &str) -> Self {
        Self::fixed(ok(body))
    }

    /// Answers every request with 200 and, as its body, what it received: the head, then the body.
    pub fn echo() -> Self {
        Self::answer(|request| {
            let mut body = request.head.clone();
            body.extend_from_slice(&request.body);
            ok_bytes(&body)
        })
    }

    /// Accepts an upgrade with 101 and sends back all that follows.
    pub fn upgrade_echo() -> Self {
        Self::script(|conn| {
            let Some(_) = conn.request() else { return };
            conn.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n",
            );
            conn.echo();
        })
    }

    /// Sends back whatever comes, until the other side has said all.
    pub fn mirror() -> Self {
        Self::script(Conn::echo)
    }

    /// The TCP address.
    #[track_caller]
    pub fn addr(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(addr) => *addr,
            Place::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    /// All requests so far, over all connections.
    pub fn requests(&self) -> Vec<Message> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn request(&self) -> Message {
        let mut all = self.requests();
        assert_eq!(all.len(), 1, "exactly one request was expected");
        all.remove(0)
    }

    /// The last request so far.
    #[track_caller]
    pub fn last(&self) -> Message {
        self.requests().pop().expect("there was a request")
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.shared.bytes.lock().unwrap().len()
    }

    /// How many connections have ended.
    pub fn ended(&self) -> usize {
        *self.shared.closed.lock().unwrap()
    }

    /// Every byte received, by connection.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.shared.bytes.lock().unwrap().clone()
    }

    /// How many bytes were received in all.
    pub fn received_bytes(&self) -> usize {
        self.received().iter().map(Vec::len).sum()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.listener.shutdown();
        for socket in self.shared.sockets.lock().unwrap().iter().flatten() {
            socket.shutdown(Shutdown::Both);
        }
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        let threads = acceptor.join().unwrap_or_default();
        let panics = threads
            .into_iter()
            .filter_map(|t| t.join().err())
            .collect::<Vec<_>>();
        if let Place::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
        if let Some(panic) = panics.into_iter().next()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The keep-alive loop around an answering function.
fn serve(answer: impl Fn(&Message) -> Vec<u8>) -> impl Fn(&mut Conn) {
    move |conn| {
        while let Some(request) = conn.request() {
            if request.end == End::Cut {
                return;
            }
            let response = answer(&request);
            if response.is_empty() || !conn.send(&response) {
                return;
            }
            let head = String::from_utf8_lossy(&response).to_ascii_lowercase();
            let head = head.split("\r\n\r\n").next().unwrap_or_default();
            let told = head.contains("\r\nconnection: close");
            let framed =
                head.contains("\r\ncontent-length:") || head.contains("\r\ntransfer-encoding:");
            let bodiless = ["204", "304"]
                .iter()
                .any(|s| head.split(' ').nth(1) == Some(s));
            if told || !(framed || bodiless || request.method() == "HEAD") {
                return;
            }
        }
    }
}

/// A 200 with a text body.
pub fn ok(body: &str) -> Vec<u8> {
    ok_bytes(body.as_bytes())
}

/// A 200 with a body of any bytes.
pub fn ok_bytes(body: &[u8]) -> Vec<u8> {
    response("200 OK", "", body)
}

/// A response of `status`, with `fields` (each ended by CRLF), a length and a body.
pub fn response(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A chunked 200 of the given chunks and trailer lines (each ended by CRLF).
pub fn chunked(fields: &str, chunks: &[&[u8]], trailers: &str) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in chunks {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    bytes
}
