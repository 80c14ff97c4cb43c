//! The first bytes of a connection: a PROXY protocol header where the address expects one, before any HTTP.

use std::rc::Rc;
use std::time::Duration;

use super::ProxyFacts;
use crate::base::buf::BufPool;
use crate::net::Stream as Socket;
use crate::proto::proxy_protocol::{self, Decoded};

/// Longest header: 16 bytes and the 65,535 that version 2's length field can name; nginx stops at 4,096.
const HEADER_BYTES_MAX: usize = 4096;

/// Why there is no PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The bytes are something else; told in the log.
    Invalid,
    /// It did not come in time, or the client closed.
    Gone,
}

/// Reads the header, `within` in all. Returns its facts and the bytes received with the length of the header:
/// what follows is the first request.
pub async fn proxy_header(
    socket: &mut Socket,
    within: Duration,
    buffers: &BufPool,
) -> Result<(Rc<ProxyFacts>, Vec<u8>, usize), Broken> {
    socket.rx.arm(within);
    let mut input = buffers.take(HEADER_BYTES_MAX);
    let result = loop {
        match proxy_protocol::decode(&input) {
            Ok(Decoded::Complete(header, len)) => {
                let bytes = Box::from(&input[..len]);
                break Ok((Rc::new(ProxyFacts { header, bytes }), len));
            }
            Ok(Decoded::Incomplete) if input.len() < HEADER_BYTES_MAX => {}
            Ok(Decoded::Incomplete) | Err(_) => break Err(Broken::Invalid),
        }
        let (read, back) = socket.rx.recv(std::mem::take(&mut input)).await;
        input = back;
        if !matches!(read, Ok(n) if n > 0) {
            break Err(Broken::Gone);
        }
    };
    socket.rx.disarm();
    match result {
        Ok((facts, len)) => Ok((facts, input, len)),
        Err(broken) => {
            buffers.give(input);
            Err(broken)
        }
    }
}
