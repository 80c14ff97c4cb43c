//! A client as a script of bytes: what it sends is what the test wrote, what it reads is kept exactly.

use super::wire::{self, Message, Reader};
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connected socket of either family.
#[derive(Debug)]
pub enum Socket {
    /// Over IP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
    /// TLS over IP; the handshake is done.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// Sets both timeouts to the limit of the tests.
    pub fn bounded(self) -> Self {
        let limit = Some(super::LIMIT);
        match &self {
            Self::Tcp(s) => {
                s.set_read_timeout(limit).unwrap();
                s.set_write_timeout(limit).unwrap();
                s.set_nodelay(true).unwrap();
            }
            Self::Unix(s) => {
                s.set_read_timeout(limit).unwrap();
                s.set_write_timeout(limit).unwrap();
            }
            // Bounded before the handshake.
            Self::Tls(_) => {}
        }
        self
    }

    /// A second handle on the same socket.
    pub fn twin(&self) -> Self {
        match self {
            Self::Tcp(s) => Self::Tcp(s.try_clone().unwrap()),
            Self::Unix(s) => Self::Unix(s.try_clone().unwrap()),
            Self::Tls(_) => panic!("TLS has one state for both directions"),
        }
    }

    /// Shuts one or both directions down; a peer that is already gone is fine.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(s) => s.shutdown(how),
            Self::Unix(s) => s.shutdown(how),
            Self::Tls(s) => s.sock.shutdown(how),
        };
    }

    /// Makes the next close a reset.
    pub fn reset_on_close(&self) {
        if let Self::Tcp(s) = self {
            socket2::SockRef::from(s)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(s) => s.read(buf),
            Self::Unix(s) => s.read(buf),
            Self::Tls(s) => match s.read(buf) {
                // As a server may end: without a word.
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
                result => result,
            },
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(s) => s.write(buf),
            Self::Unix(s) => s.write(buf),
            Self::Tls(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if let Self::Tls(s) = self {
            return s.flush();
        }
        Ok(())
    }
}

/// One connection to the proxy.
#[derive(Debug)]
pub struct Client {
    reader: Reader<Socket>,
    /// Methods of requests whose responses are still to be read, as far as [`Client::get`] and its kin sent them.
    method: String,
}

impl Client {
    /// Connects over TCP.
    #[track_caller]
    pub fn tcp(addr: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&addr, super::LIMIT)
            .unwrap_or_else(|e| panic!("connect to {addr}: {e}"));
        Self::on(Socket::Tcp(socket))
    }

    /// Connects over a unix socket.
    #[track_caller]
    pub fn unix(path: &Path) -> Self {
        let socket = UnixStream::connect(path)
            .unwrap_or_else(|e| panic!("connect to {}: {e}", path.display()));
        Self::on(Socket::Unix(socket))
    }

    /// Over what is connected already.
    pub fn on(socket: Socket) -> Self {
        Self {
            reader: Reader::new(socket.bounded()),
            method: "GET".to_owned(),
        }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.reader
            .source()
            .write_all(bytes)
            .unwrap_or_else(|e| panic!("sending {} bytes: {e}", bytes.len()));
        self
    }

    /// A second handle on the socket, to send on one thread and receive on another.
    pub fn twin(&mut self) -> Socket {
        self.reader.source().twin()
    }

    /// Sends bytes to a server that may close or reset meanwhile.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.source().write_all(bytes.as_ref()).is_ok()
    }

    /// Sends a plain GET for `target` with `Host: localhost`.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> &mut Self {
        self.request("GET", target, "")
    }

    /// Sends a head of `method` with `Host: localhost` and `fields`, each ended by CRLF.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, fields: &str) -> &mut Self {
        method.clone_into(&mut self.method);
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ))
    }

    /// Declares the method whose response is read next, for those who write their own heads.
    pub fn expecting(&mut self, method: &str) -> &mut Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Reads the next response, its body by its framing; interim responses are messages of their own.
    #[track_caller]
    pub fn response(&mut self) -> Message {
        let method = self.method.clone();
        let Some(head) = self.reader.head() else {
            panic!(
                "the connection ended before a response; received {:?}",
                String::from_utf8_lossy(self.reader.rest())
            );
        };
        let framing = wire::response_framing(&head, &method);
        self.reader.body(head, framing)
    }

    /// Reads only a response's head.
    #[track_caller]
    pub fn head(&mut self) -> Message {
        let head = self.reader.head().unwrap_or_else(|| {
            panic!(
                "the connection ended before a head; received {:?}",
                String::from_utf8_lossy(self.reader.rest())
            )
        });
        self.reader.body(head, wire::Framing::Empty)
    }

    /// Reads exactly `n` bytes, or fewer when the connection ends.
    #[track_caller]
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        self.reader.take(n)
    }

    /// Reads all until the server closes.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        self.reader.take_all()
    }

    /// Fails unless the server closes without another byte.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let rest = self.rest();
        assert!(
            rest.is_empty(),
            "expected the end, got {:?}",
            String::from_utf8_lossy(&rest)
        );
    }

    /// Whether nothing more arrives within `time` and the connection is still open.
    pub fn is_quiet_for(&mut self, time: std::time::Duration) -> bool {
        if !self.reader.rest().is_empty() {
            return false;
        }
        self.read_timeout(time);
        let quiet = self.reader.fill().is_err();
        self.read_timeout(super::LIMIT);
        quiet
    }

    fn read_timeout(&mut self, time: std::time::Duration) {
        match self.reader.source() {
            Socket::Tcp(s) => s.set_read_timeout(Some(time)).unwrap(),
            Socket::Unix(s) => s.set_read_timeout(Some(time)).unwrap(),
            Socket::Tls(s) => s.sock.set_read_timeout(Some(time)).unwrap(),
        }
    }

    /// What TLS agreed on.
    pub fn tls(&mut self) -> &mut ClientConnection {
        match self.reader.source() {
            Socket::Tls(s) => &mut s.conn,
            _ => panic!("no TLS here"),
        }
    }

    /// Sends bytes beneath TLS.
    pub fn send_raw(&mut self, bytes: &[u8]) -> &mut Self {
        if let Socket::Tls(s) = self.reader.source() {
            s.sock.write_all(bytes).unwrap();
        }
        self
    }

    /// What goes wrong when more is read.
    pub fn read_error(&mut self) -> Option<String> {
        let mut rest = Vec::new();
        let error = self.reader.source().read_to_end(&mut rest).err();
        error.map(|error| error.to_string())
    }

    /// Says so that nothing more will be sent, and nothing else: a `close_notify`.
    pub fn close_notify(&mut self) -> &mut Self {
        self.tls().send_close_notify();
        self.reader.source().flush().unwrap();
        self
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) -> &mut Self {
        self.reader.source().shutdown(Shutdown::Write);
        self
    }

    /// Drops the connection with a reset.
    pub fn reset(mut self) {
        self.reader.source().reset_on_close();
    }

    /// The client's own address, for headers and logs that tell it.
    pub fn local_addr(&mut self) -> SocketAddr {
        match self.reader.source() {
            Socket::Tcp(s) => s.local_addr().unwrap(),
            Socket::Unix(_) => panic!("a unix socket has no IP address"),
            Socket::Tls(s) => s.sock.local_addr().unwrap(),
        }
    }
}

/// One GET on a connection of its own.
#[track_caller]
pub fn get(addr: SocketAddr, target: &str) -> Message {
    Client::tcp(addr).get(target).response()
}

/// One request with fields on a connection of its own.
#[track_caller]
pub fn get_with(addr: SocketAddr, target: &str, fields: &str) -> Message {
    Client::tcp(addr).request("GET", target, fields).response()
}
