//! The sending side of a connection: the queue leaves, alone or with a piece of the body or a file behind it. Knows
//! nothing of heads and framing beyond what the queue needs. Start at [`Conn::flush`].

use std::io;
use std::time::Duration;

use super::{COPY_BYTES_MAX, Conn, Framing};
use crate::base::buf::BufPool;
use crate::front::ClientFault;
use crate::net::file::{self, Sending};
use crate::net::stream::SendHalf;

/// The end of a chunk before, a size in hexadecimal digits and the end of its line.
const CHUNK_LINE_BYTES_MAX: usize = 2 + 16 + 2;

impl Conn {
    /// See [`crate::front::Stream::flush`].
    pub async fn flush(&mut self, within: Duration, buffers: &BufPool) -> Result<(), ClientFault> {
        let Some((tx, out)) = self.begin_flush() else {
            return Ok(());
        };
        let sent = tx.send_all_within(within, out).await;
        self.flushed(sent, buffers)
    }

    /// See [`crate::front::Stream::post`].
    pub fn post(&mut self, within: Duration, buffers: &BufPool) -> bool {
        let length = self.out.len() as u64;
        if length == 0 || !self.socket.tx.post_buffer(&mut self.out, within) {
            return false;
        }
        self.sent += length;
        buffers.give(std::mem::take(&mut self.out));
        true
    }

    /// The half that sends and what it is to send, for who awaits that without a future between; what it comes to
    /// goes to [`Conn::flushed`].
    pub fn begin_flush(&mut self) -> Option<(&mut SendHalf, Vec<u8>)> {
        if self.out.is_empty() {
            return None;
        }
        let out = std::mem::take(&mut self.out);
        Some((&mut self.socket.tx, out))
    }

    /// The queue was sent, or that failed.
    pub fn flushed(
        &mut self,
        (result, out): (io::Result<()>, Vec<u8>),
        buffers: &BufPool,
    ) -> Result<(), ClientFault> {
        let len = out.len();
        buffers.give(out);
        self.told(result, len)
    }

    /// So many bytes were sent, or that failed.
    fn told(&mut self, result: io::Result<()>, len: usize) -> Result<(), ClientFault> {
        match result {
            Ok(()) => {
                self.sent += len as u64;
                Ok(())
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Hands the queue to who sends past this connection; what is not sent comes back by [`Conn::put_queue`].
    pub fn take_queue(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// What stands in the queue now, which must be empty.
    pub fn put_queue(&mut self, bytes: Vec<u8>, buffers: &BufPool) {
        debug_assert!(self.out.is_empty(), "nothing is queued meanwhile");
        if !bytes.is_empty() {
            self.out = bytes;
        } else if bytes.capacity() > 0 {
            buffers.give(bytes);
        }
    }

    /// See [`crate::front::Stream::try_flush`].
    pub fn try_flush(&mut self, buffers: &BufPool) -> Result<bool, ClientFault> {
        if self.out.is_empty() {
            return Ok(true);
        }
        match self.socket.tx.try_send(&self.out) {
            Ok(sent) => {
                let n = sent.unwrap_or(0);
                self.sent += n as u64;
                if n == self.out.len() {
                    buffers.give(std::mem::take(&mut self.out));
                    return Ok(true);
                }
                self.out.drain(..n);
                Ok(false)
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Queues the line before a chunk that is not queued itself.
    fn open_chunk_alone(&mut self, len: usize, buffers: &BufPool) {
        if self.framing == Framing::Chunked {
            self.room(CHUNK_LINE_BYTES_MAX, buffers);
            self.open_chunk(len);
        }
    }

    /// See [`crate::front::Stream::try_send`].
    pub fn try_send(&mut self, data: &[u8], buffers: &BufPool) -> Result<bool, ClientFault> {
        if data.is_empty() || self.framing == Framing::HeadOnly {
            return self.try_flush(buffers);
        }
        self.open_chunk_alone(data.len(), buffers);
        // In one call: a head that left alone would wake the client for nothing.
        let sent = match self.socket.tx.try_send_two(&self.out, data) {
            Ok(sent) => sent.unwrap_or(0),
            Err(error) => return Err(self.fault(&error)),
        };
        self.sent += sent as u64;
        let queued = self.out.len();
        if sent < queued {
            self.out.drain(..sent);
        } else {
            self.out.clear();
        }
        let left = &data[sent.saturating_sub(queued)..];
        if left.is_empty() {
            buffers.give(std::mem::take(&mut self.out));
            return Ok(true);
        }
        self.room(left.len(), buffers);
        self.out.extend_from_slice(left);
        Ok(false)
    }

    /// See [`crate::front::Stream::send`].
    pub async fn send(
        &mut self,
        data: Vec<u8>,
        from: usize,
        within: Duration,
        buffers: &BufPool,
    ) -> (Result<(), ClientFault>, Vec<u8>) {
        let len = data.len() - from;
        if len == 0 || self.framing == Framing::HeadOnly {
            return (self.flush(within, buffers).await, data);
        }
        if len <= COPY_BYTES_MAX {
            self.queue(&data[from..], buffers);
            return (self.flush(within, buffers).await, data);
        }
        self.open_chunk_alone(len, buffers);
        if self.out.is_empty() {
            let (result, data) = self.socket.tx.send_from_within(within, data, from).await;
            return (self.told(result, len), data);
        }
        let out = std::mem::take(&mut self.out);
        let all = out.len() + len;
        let tx = &mut self.socket.tx;
        let (result, out, data) = tx.send_all2_from_within(within, out, data, from).await;
        buffers.give(out);
        (self.told(result, all), data)
    }

    /// See [`crate::front::Stream::send_file`].
    pub async fn send_file(
        &mut self,
        sending: Sending<'_>,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<(), ClientFault> {
        let head = std::mem::take(&mut self.out);
        let (result, sent) = file::send(&mut self.socket.tx, &head, sending, Some(within)).await;
        if head.capacity() > 0 {
            buffers.give(head);
        }
        self.sent += sent;
        result.map_err(|error| self.fault(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::base::time::Mono;
    use crate::front::ConnInfo;
    use crate::net::join::join2;
    use crate::net::stream::{How, Stream};
    use crate::net::{Deadlines, runtime};

    const WITHIN: Duration = Duration::from_secs(10);

    fn connection() -> (Conn, Stream) {
        let (ours, theirs) = Stream::pair(&Deadlines::new()).unwrap();
        let info = ConnInfo::nobody(Mono::default());
        (Conn::new(ours, Rc::new(info), Vec::new(), 0), theirs)
    }

    /// All that comes, until the end.
    #[test]
    fn what_a_socket_does_not_take_of_queue_and_piece_stays_in_order() {
        runtime::on_each_driver(|| async {
            let buffers = BufPool::new();
            // All of both, a part of the piece, and a part of the queue alone.
            for (queued, len) in [
                (5, 20_000),
                (0, 2_000_000),
                (90, 2_000_000),
                (2_000_000, 90),
            ] {
                let (mut conn, mut theirs) = connection();
                let head: Vec<u8> = (0..queued).map(|n| (n % 241) as u8).collect();
                let piece: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
                conn.queue(&head, &buffers);
                let taken = conn.try_send(&piece, &buffers).unwrap();
                assert_eq!(taken, queued + len < 100_000, "{queued} {len}");
                assert_eq!(conn.sent() as usize + conn.queued(), queued + len);
                assert!(taken || conn.sent() > 0);
                let ((), got) = join2(
                    async {
                        conn.flush(WITHIN, &buffers).await.unwrap();
                        conn.socket.shutdown(How::Write).unwrap();
                    },
                    theirs.read_to_end(),
                )
                .await;
                assert_eq!(conn.sent() as usize, queued + len);
                assert!(got[..queued] == head && got[queued..] == piece);
            }
            assert_eq!(buffers.lent(), 0);
        });
    }

    #[test]
    fn a_chunk_follows_its_line_and_what_was_queued_before() {
        runtime::on_each_driver(|| async {
            let buffers = BufPool::new();
            let (mut conn, mut theirs) = connection();
            conn.framing = Framing::Chunked;
            conn.queue(b"one", &buffers);
            let mut piece = buffers.take(40_000);
            piece.resize(40_000, b'x');
            let (((), piece), got) = join2(
                async {
                    let (sent, piece) = conn.send(piece, 7232, WITHIN, &buffers).await;
                    sent.unwrap();
                    assert!(conn.try_send(&piece[..20_000], &buffers).unwrap());
                    conn.socket.shutdown(How::Write).unwrap();
                    ((), piece)
                },
                theirs.read_to_end(),
            )
            .await;
            buffers.give(piece);
            let x = |n| "x".repeat(n);
            let want = format!("3\r\none\r\n8000\r\n{}\r\n4e20\r\n{}", x(32_768), x(20_000));
            assert!(got == want.as_bytes());
            assert_eq!(conn.sent() as usize, want.len());
            assert_eq!(buffers.lent(), 0);
        });
    }
}
