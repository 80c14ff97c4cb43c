//! Messages with descriptors over the socketpair between parent and worker.
//!
//! Owns framing, batching and bounds; the meaning of a message is [`super::bundle`]'s. A message is a kind, a
//! length and a payload; its descriptors follow in frames of their own, because one `SCM_RIGHTS` message
//! carries at most 253. Start at [`Channel`].

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Descriptors in one frame: the kernel's `SCM_MAX_FD`.
const BATCH_MAX: usize = 253;
/// Bytes of one payload: some thousand configuration, certificate and include files with room to spare.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Descriptors of one message: 64 shards with 128 addresses each, and as many logs again.
pub const FDS_MAX: usize = 16 << 10;
/// Kind, payload length and number of descriptors, each four bytes.
const HEADER_BYTES: usize = 12;
/// How long a peer that has stopped reading may hold up the sender.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Payload kind of the frames that only carry descriptors.
const KIND_FDS: u32 = u32::MAX;

/// One whole message as it arrived.
#[derive(Debug)]
pub struct Message {
    /// What it is; numbered by the sender.
    pub kind: u32,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Its descriptors, in the order in which they were sent.
    pub fds: Vec<OwnedFd>,
}

/// One end of the socketpair.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// Bytes received and not yet taken as a message.
    bytes: Vec<u8>,
    /// Descriptors received and not yet claimed by a message.
    fds: VecDeque<OwnedFd>,
    /// A message whose descriptors are still on their way, with their number.
    partial: Option<(Message, usize)>,
}

impl Channel {
    /// Makes both ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self::over(a)?, Self::over(b)?))
    }

    /// Takes an end that was inherited.
    pub fn over(socket: OwnedFd) -> io::Result<Self> {
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Send,
            Some(SEND_TIMEOUT),
        )?;
        Ok(Self {
            socket,
            bytes: Vec::new(),
            fds: VecDeque::new(),
            partial: None,
        })
    }

    /// Gives the socket away, for the child to inherit.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends one message, waiting for the peer for a few seconds at most.
    pub fn send(&self, kind: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if payload.len() > PAYLOAD_BYTES_MAX || fds.len() > FDS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "message between processes is too large",
            ));
        }
        let mut head = [0u8; HEADER_BYTES];
        put_header(&mut head, kind, payload.len(), fds.len());
        self.send_all(&head)?;
        self.send_all(payload)?;
        for batch in fds.chunks(BATCH_MAX) {
            put_header(&mut head, KIND_FDS, 0, batch.len());
            let sent = self.send_fds(&head, batch)?;
            self.send_all(&head[sent..])?;
        }
        Ok(())
    }

    fn send_fds(&self, head: &[u8], batch: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(batch));
        assert!(fits, "invariant: the space was made for a whole batch");
        let sent = rustix::io::retry_on_intr(|| {
            sendmsg(
                &self.socket,
                &[IoSlice::new(head)],
                &mut control,
                SendFlags::NOSIGNAL,
            )
        })?;
        Ok(sent)
    }

    fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = rustix::io::retry_on_intr(|| {
                rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)
            })?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Takes the next whole message that has arrived, never waiting. `Ok(None)` when there is none yet; the
    /// peer's end closed is [`io::ErrorKind::UnexpectedEof`].
    pub fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.parse()? {
                return Ok(Some(message));
            }
            match self.fill() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let at = self.bytes.len();
        self.bytes.resize(at + (64 << 10), 0);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = rustix::io::retry_on_intr(|| {
            recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut self.bytes[at..])],
                &mut control,
                flags,
            )
        });
        self.bytes
            .truncate(at + got.as_ref().map_or(0, |got| got.bytes));
        let got = got?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > FDS_MAX {
            return Err(broken());
        }
        Ok(got.bytes)
    }

    /// Cuts one message from what has arrived.
    fn parse(&mut self) -> io::Result<Option<Message>> {
        loop {
            if self
                .partial
                .as_ref()
                .is_some_and(|(message, want)| message.fds.len() == *want)
            {
                return Ok(self.partial.take().map(|(message, _)| message));
            }
            let Some((kind, length, count)) = header(&self.bytes) else {
                return Ok(None);
            };
            if length > PAYLOAD_BYTES_MAX || count > FDS_MAX {
                return Err(broken());
            }
            if self.bytes.len() < HEADER_BYTES + length {
                return Ok(None);
            }
            let payload = self.bytes[HEADER_BYTES..HEADER_BYTES + length].to_vec();
            self.bytes.drain(..HEADER_BYTES + length);
            match (&mut self.partial, kind) {
                (Some((message, want)), KIND_FDS)
                    if message.fds.len() + count <= *want && count <= self.fds.len() =>
                {
                    message.fds.extend(self.fds.drain(..count));
                }
                (None, kind) if kind != KIND_FDS => {
                    self.partial = Some((
                        Message {
                            kind,
                            payload,
                            fds: Vec::new(),
                        },
                        count,
                    ));
                }
                _ => return Err(broken()),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn put_header(head: &mut [u8; HEADER_BYTES], kind: u32, length: usize, count: usize) {
    let length = u32::try_from(length).expect("invariant: bounded by PAYLOAD_BYTES_MAX");
    let count = u32::try_from(count).expect("invariant: bounded by FDS_MAX");
    head[..4].copy_from_slice(&kind.to_le_bytes());
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..].copy_from_slice(&count.to_le_bytes());
}

fn header(bytes: &[u8]) -> Option<(u32, usize, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..at + 4)?.first_chunk()?));
    Some((word(0)?, word(4)? as usize, word(8)? as usize))
}

fn broken() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "broken message between processes",
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn wait(channel: &mut Channel) -> Message {
        loop {
            if let Some(message) = channel.receive().expect("peer is alive") {
                return message;
            }
            let mut fds = [rustix::event::PollFd::new(
                &channel.socket,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, None).expect("poll");
        }
    }

    #[test]
    fn messages_cross_whole_and_in_order() {
        let (a, mut b) = Channel::pair().expect("socketpair");
        let large = vec![7u8; 1 << 20];
        let sender = std::thread::spawn(move || {
            a.send(1, b"first", &[]).expect("send");
            a.send(2, &large, &[]).expect("send");
            a.send(3, b"", &[]).expect("send");
        });
        let got = wait(&mut b);
        assert_eq!((got.kind, &got.payload[..]), (1, &b"first"[..]));
        let got = wait(&mut b);
        assert_eq!((got.kind, got.payload.len()), (2, 1 << 20));
        let got = wait(&mut b);
        assert_eq!((got.kind, got.payload.len(), got.fds.len()), (3, 0, 0));
        sender.join().expect("sender");
        let error = b.receive().expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn descriptors_keep_their_order_across_batches() {
        let (a, mut b) = Channel::pair().expect("socketpair");
        let files: Vec<std::fs::File> = (0..600)
            .map(|n: u32| {
                let mut file = tempfile::tempfile().expect("file");
                file.write_all(&n.to_le_bytes()).expect("write");
                io::Seek::rewind(&mut file).expect("seek");
                file
            })
            .collect();
        let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        a.send(9, b"logs", &borrowed).expect("send");
        a.send(10, b"next", &[]).expect("send");
        let got = wait(&mut b);
        assert_eq!((got.kind, got.fds.len()), (9, 600));
        for (n, fd) in (0u32..).zip(got.fds) {
            let mut word = [0; 4];
            std::fs::File::from(fd).read_exact(&mut word).expect("read");
            assert_eq!(u32::from_le_bytes(word), n);
        }
        assert_eq!(wait(&mut b).kind, 10);
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            &[1u8, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0][..],
            &[1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255],
            &[255, 255, 255, 255, 0, 0, 0, 0, 1, 0, 0, 0],
        ] {
            let (a, mut b) = Channel::pair().expect("socketpair");
            a.send_all(bytes).expect("send");
            assert_eq!(
                b.receive().expect_err("refused").kind(),
                io::ErrorKind::InvalidData
            );
        }
    }
}
