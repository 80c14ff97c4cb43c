//! Request bodies that go past user space: how much of one may, and the books about it.

use super::{BodyDecoder, Conn};

impl Conn {
    /// How much of a request body comes as it is, with no byte of it in a buffer of ours: what may be spliced.
    #[must_use]
    pub fn unread_body(&self) -> u64 {
        if self.socket.rx.has_ahead() {
            return 0;
        }
        match &self.decoder {
            BodyDecoder::Length(body) if !self.expects_continue && self.at == self.input.len() => {
                body.remaining()
            }
            _ => 0,
        }
    }

    /// Takes note of bytes of the request body that were spliced.
    pub fn count_spliced(&mut self, bytes: u64) {
        if let BodyDecoder::Length(body) = &mut self.decoder {
            body.skip(bytes);
        }
        self.body_received += bytes;
        self.body_done = self.decoder.is_done();
    }
}
