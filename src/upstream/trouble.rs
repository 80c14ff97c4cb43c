//! What goes wrong with an upstream, in the words of nginx's error log. Only text: who logs adds the request's
//! context. Start at [`Trouble::write`].

use std::io::{self, Write};

use crate::net::tls::{self, Flaw};
use crate::plan::model::LogLevel;

/// What was being done when it went wrong; the log says `while …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `resolving`
    Resolving,
    /// `connecting to upstream`
    Connecting,
    /// `SSL handshaking to upstream`
    Handshaking,
    /// `sending request to upstream`
    Sending,
    /// `reading response header from upstream`
    ReadingHead,
    /// `reading upstream`
    ReadingBody,
    /// `proxying upgraded connection`
    Tunnelling,
    /// `sending to client`
    Answering,
}

impl Action {
    /// The words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Connecting => "connecting to upstream",
            Self::Handshaking => "SSL handshaking to upstream",
            Self::Sending => "sending request to upstream",
            Self::ReadingHead => "reading response header from upstream",
            Self::ReadingBody => "reading upstream",
            Self::Tunnelling => "proxying upgraded connection",
            Self::Answering => "sending to client",
        }
    }
}

/// What went wrong.
#[derive(Debug)]
pub enum Trouble {
    /// No peer was usable.
    NoLive,
    /// No socket could be had: descriptors or memory are short here.
    Socket(io::Error),
    /// A connection failed at once; the peer is named.
    ConnectTo(Vec<u8>, io::Error),
    /// A connection failed after a while.
    Connect(io::Error),
    /// Connecting, sending or receiving took too long.
    TimedOut,
    /// Sending failed.
    Send(io::Error),
    /// Receiving failed.
    Recv(io::Error),
    /// The peer closed before it was done.
    Closed,
    /// The response's status line or a field breaks the protocol.
    InvalidHeader,
    /// The response's head does not fit `proxy_buffer_size`.
    BigHeader,
    /// The body's framing breaks the protocol.
    InvalidBody,
    /// 101 without an Upgrade that was asked for.
    UnexpectedUpgrade,
    /// Another protocol than HTTP was broken, in these words.
    Protocol(Vec<u8>),
    /// No handshake of TLS.
    Handshake(tls::Trouble),
    /// This is wrong with the peer's certificate.
    Certificate(Flaw),
    /// The peer's certificate is not for this name.
    Misnamed(Vec<u8>),
    /// Failed `max_fails` times.
    Disabled,
}

impl Trouble {
    /// The level that nginx logs it at.
    pub fn level(&self) -> LogLevel {
        match self {
            Self::Disabled => LogLevel::Warn,
            Self::Socket(_) => LogLevel::Alert,
            Self::ConnectTo(_, e) if !is_common(e) => LogLevel::Crit,
            Self::Handshake(tls::Trouble::Protocol(reason)) if !reason.usual => LogLevel::Crit,
            _ => LogLevel::Error,
        }
    }

    /// Appends the message, up to where the context begins.
    pub fn write(&self, while_: Action, out: &mut Vec<u8>) {
        match self {
            Self::NoLive => out.extend_from_slice(b"no live upstreams"),
            Self::ConnectTo(name, e) => {
                out.extend_from_slice(b"connect() to ");
                out.extend_from_slice(name);
                out.extend_from_slice(b" failed ");
                write_error(e, out);
            }
            Self::Socket(e) => failed("socket()", e, out),
            Self::Connect(e) => failed("connect()", e, out),
            Self::TimedOut => {
                out.extend_from_slice(b"upstream timed out (110: Connection timed out)")
            }
            Self::Send(e) => failed("writev()", e, out),
            // The calls are those that nginx makes in these places; log watchers know them.
            Self::Recv(e) if while_ == Action::ReadingBody => failed("readv()", e, out),
            Self::Recv(e) => failed("recv()", e, out),
            Self::Closed => out.extend_from_slice(b"upstream prematurely closed connection"),
            Self::InvalidHeader => out.extend_from_slice(b"upstream sent invalid header"),
            Self::BigHeader => out.extend_from_slice(b"upstream sent too big header"),
            Self::InvalidBody => out.extend_from_slice(b"upstream sent invalid chunked response"),
            Self::UnexpectedUpgrade => {
                out.extend_from_slice(
                    b"upstream switched protocols, which the client did not ask for",
                );
            }
            Self::Handshake(trouble) => handshake(trouble, out),
            Self::Certificate(Flaw { code, text }) => {
                // Writing to a Vec cannot fail.
                let _ = write!(
                    out,
                    "upstream SSL certificate verify error: ({code}:{text})"
                );
            }
            Self::Misnamed(name) => {
                out.extend_from_slice(b"upstream SSL certificate does not match \"");
                out.extend_from_slice(name);
                out.push(b'"');
            }
            Self::Protocol(text) => out.extend_from_slice(text),
            Self::Disabled => out.extend_from_slice(b"upstream server temporarily disabled"),
        }
        out.extend_from_slice(b" while ");
        out.extend_from_slice(while_.words().as_bytes());
    }
}

fn handshake(trouble: &tls::Trouble, out: &mut Vec<u8>) {
    match trouble {
        tls::Trouble::NotTls => out.extend_from_slice(
            b"SSL_do_handshake() failed (SSL: error:0A00010B:SSL routines::wrong version number)",
        ),
        tls::Trouble::Closed => {
            out.extend_from_slice(b"peer closed connection in SSL handshake");
        }
        tls::Trouble::TimedOut => out.extend_from_slice(b"upstream timed out"),
        tls::Trouble::Failed(kind, number) => {
            let error = number.map_or_else(|| (*kind).into(), io::Error::from_raw_os_error);
            failed("SSL_do_handshake()", &error, out);
        }
        tls::Trouble::Protocol(reason) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "SSL_do_handshake() failed ({reason})");
        }
    }
}

fn failed(call: &str, error: &io::Error, out: &mut Vec<u8>) {
    out.extend_from_slice(call.as_bytes());
    out.extend_from_slice(b" failed ");
    write_error(error, out);
}

/// Appends `(111: Connection refused)`; an error without a number becomes its text in parentheses.
pub fn write_error(error: &io::Error, out: &mut Vec<u8>) {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    // Writing to a Vec cannot fail.
    let _ = match error.raw_os_error() {
        Some(number) => write!(out, "({number}: {text})"),
        None => write!(out, "({text})"),
    };
}

/// Connection errors that nginx logs as errors; others are critical.
fn is_common(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused
            | K::ConnectionReset
            | K::NetworkDown
            | K::NetworkUnreachable
            | K::HostUnreachable
            | K::WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_nginxs() {
        let refused = || io::Error::from_raw_os_error(111);
        let missing = io::Error::from_raw_os_error(2);
        for (trouble, action, level, text) in [
            (
                Trouble::Connect(refused()),
                Action::Connecting,
                LogLevel::Error,
                "connect() failed (111: Connection refused) while connecting to upstream",
            ),
            (
                Trouble::ConnectTo(b"unix:/run/a".to_vec(), missing),
                Action::Connecting,
                LogLevel::Crit,
                "connect() to unix:/run/a failed (2: No such file or directory) while connecting to upstream",
            ),
            (
                Trouble::TimedOut,
                Action::ReadingHead,
                LogLevel::Error,
                "upstream timed out (110: Connection timed out) while reading response header from upstream",
            ),
            (
                Trouble::NoLive,
                Action::Connecting,
                LogLevel::Error,
                "no live upstreams while connecting to upstream",
            ),
            (
                Trouble::Closed,
                Action::ReadingHead,
                LogLevel::Error,
                "upstream prematurely closed connection while reading response header from upstream",
            ),
            (
                Trouble::Send(io::Error::from_raw_os_error(32)),
                Action::Sending,
                LogLevel::Error,
                "writev() failed (32: Broken pipe) while sending request to upstream",
            ),
            (
                Trouble::Recv(io::Error::from_raw_os_error(104)),
                Action::ReadingBody,
                LogLevel::Error,
                "readv() failed (104: Connection reset by peer) while reading upstream",
            ),
            (
                Trouble::Socket(io::Error::from_raw_os_error(24)),
                Action::Connecting,
                LogLevel::Alert,
                "socket() failed (24: Too many open files) while connecting to upstream",
            ),
            (
                Trouble::Disabled,
                Action::Connecting,
                LogLevel::Warn,
                "upstream server temporarily disabled while connecting to upstream",
            ),
        ] {
            let mut out = Vec::new();
            trouble.write(action, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
            assert_eq!(trouble.level(), level, "{text}");
        }
    }
}
