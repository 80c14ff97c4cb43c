//! The machine of one connection: ciphertext in, plaintext out, and back. No io; every buffer is the caller's, and
//! what is kept between two calls is a record that has not come as a whole or plaintext that nobody had room for.
//! Start at [`Session::advance`] and [`Session::seal`].

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, ReadEarlyData, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error, ProtocolVersion};

/// What a record costs beyond its plaintext, at most: header, explicit nonce or content type, tag.
pub(super) const RECORD_EXTRA: usize = 5 + 8 + 16 + 1;

/// Plaintext that is sealed for one send, at most.
pub(super) const BATCH_BYTES: usize = 4 * super::RECORD_BYTES_MAX;

/// rustls's machine of either side.
pub(super) enum Machine {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One connection's TLS.
pub(super) struct Session {
    machine: Machine,
    record_bytes: u16,
    /// The peer has said that nothing more comes.
    pub(super) peer_closed: bool,
    /// This side has said so.
    pub(super) closed: bool,
    /// Early data has come.
    pub(super) early: bool,
    /// What broke the connection.
    pub(super) failed: Option<Box<Error>>,
    /// The beginning of a record whose rest is on the way.
    pub(super) partial: Vec<u8>,
    /// Plaintext that nobody had room for, and where it begins.
    pub(super) plain: Vec<u8>,
    pub(super) plain_at: usize,
    /// Ciphertext that goes out before anything else.
    pub(super) out: Vec<u8>,
    /// Plaintext that is in `out`, of which the caller does not know yet that it was taken.
    pub(super) untold: usize,
}

/// Where a turn puts what comes out of it.
struct Sink<'a> {
    /// The caller's buffer; never grown.
    into: &'a mut Vec<u8>,
    plain: &'a mut Vec<u8>,
    out: &'a mut Vec<u8>,
}

impl Sink<'_> {
    fn deliver(&mut self, bytes: &[u8]) {
        let room = if self.plain.is_empty() {
            self.into.capacity() - self.into.len()
        } else {
            0
        };
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        self.into.extend_from_slice(now);
        self.plain.extend_from_slice(later);
    }
}

/// How a turn of the machine ended.
enum Turn {
    /// There may be more.
    Again,
    /// Plaintext was delivered; there may be more.
    Plain,
    /// Early data was delivered.
    Early,
    /// The peer has closed.
    PeerClosed,
    /// Nothing more without more input.
    Done,
    Failed(Error),
}

/// A side whose machine may yield early data.
trait Side: Sized {
    fn early(data: ReadEarlyData<'_, '_, Self>, sink: &mut Sink<'_>) -> Result<usize, Error>;
}

impl Side for ServerConnectionData {
    fn early(mut data: ReadEarlyData<'_, '_, Self>, sink: &mut Sink<'_>) -> Result<usize, Error> {
        let mut discard = 0;
        while let Some(record) = data.next_record() {
            let record = record?;
            discard += record.discard;
            sink.deliver(record.payload);
        }
        Ok(discard)
    }
}

impl Side for ClientConnectionData {
    fn early(_: ReadEarlyData<'_, '_, Self>, _: &mut Sink<'_>) -> Result<usize, Error> {
        Ok(0)
    }
}

/// Takes what the machine has to say; returns how much input it is done with.
fn turn<S: Side>(status: UnbufferedStatus<'_, '_, S>, sink: &mut Sink<'_>) -> (usize, Turn) {
    let mut discard = status.discard;
    let state = match status.state {
        Ok(state) => state,
        Err(error) => return (discard, Turn::Failed(error)),
    };
    let turn = match state {
        ConnectionState::ReadTraffic(mut traffic) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    sink.deliver(record.payload);
                }
                Some(Err(error)) => break Turn::Failed(error),
                None => break Turn::Plain,
            }
        },
        ConnectionState::ReadEarlyData(data) => match S::early(data, sink) {
            Ok(more) => {
                discard += more;
                Turn::Early
            }
            Err(error) => Turn::Failed(error),
        },
        ConnectionState::EncodeTlsData(mut message) => {
            let begin = sink.out.len();
            let wanted = match message.encode(&mut []) {
                Err(EncodeError::InsufficientSize(size)) => size.required_size,
                _ => 0,
            };
            sink.out.resize(begin + wanted, 0);
            match message.encode(&mut sink.out[begin..]) {
                Ok(_) => Turn::Again,
                Err(_) => Turn::Failed(Error::EncryptError),
            }
        }
        ConnectionState::TransmitTlsData(message) => {
            // It is in `out`, ahead of everything else.
            message.done();
            Turn::Again
        }
        ConnectionState::PeerClosed => Turn::PeerClosed,
        _ => Turn::Done,
    };
    (discard, turn)
}

impl Session {
    pub(super) fn new(machine: Machine, record_bytes: u16) -> Self {
        Self {
            machine,
            record_bytes,
            peer_closed: false,
            closed: false,
            early: false,
            failed: None,
            partial: Vec::new(),
            plain: Vec::new(),
            plain_at: 0,
            out: Vec::new(),
            untold: 0,
        }
    }

    /// What both sides have in common.
    pub(super) fn common(&self) -> &CommonState {
        match &self.machine {
            Machine::Server(machine) => machine,
            Machine::Client(machine) => machine,
        }
    }

    /// Whether what is left to say after the handshake is nothing that the peer waits for: a server's tickets.
    pub(super) fn may_defer(&self) -> bool {
        let newest = self.common().protocol_version() == Some(ProtocolVersion::TLSv1_3);
        newest && matches!(self.machine, Machine::Server(_))
    }

    /// Whether the handshake is not complete.
    pub(super) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Feeds the machine. Plaintext goes to `into` as far as it has room, answers to `out`. Returns how much of the
    /// input it is done with; an error leaves its alert in `out` and stays.
    pub(super) fn advance(&mut self, input: &mut [u8], into: &mut Vec<u8>) -> Result<usize, Error> {
        if let Some(error) = &self.failed {
            return Err((**error).clone());
        }
        let mut used = 0;
        let failed = loop {
            let (discard, turn) = self.turn(&mut input[used..], into);
            used += discard;
            match turn {
                // What comes most often, in one turn: as much plaintext as there was input.
                Turn::Plain if used == input.len() && !self.common().wants_write() => break None,
                Turn::Again | Turn::Plain => {}
                Turn::Early => self.early = true,
                Turn::PeerClosed => self.peer_closed = true,
                Turn::Failed(error) => break Some(error),
                Turn::Done => break None,
            }
        };
        if let Some(error) = failed {
            // For the alert, and for nothing beyond it: a machine that failed does not look at its input again.
            while self.common().wants_write() {
                let (_, _) = self.turn(&mut [], into);
            }
            self.failed = Some(Box::new(error.clone()));
            return Err(error);
        }
        if self.peer_closed {
            // What follows the end is nobody's.
            return Ok(input.len());
        }
        Ok(used)
    }

    fn turn(&mut self, input: &mut [u8], into: &mut Vec<u8>) -> (usize, Turn) {
        let mut sink = Sink {
            into,
            plain: &mut self.plain,
            out: &mut self.out,
        };
        match &mut self.machine {
            Machine::Server(machine) => turn(machine.process_tls_records(input), &mut sink),
            Machine::Client(machine) => turn(machine.process_tls_records(input), &mut sink),
        }
    }

    /// Takes kept plaintext, as much as there is room for.
    pub(super) fn take_plain(&mut self, into: &mut Vec<u8>) -> usize {
        let kept = &self.plain[self.plain_at..];
        let n = kept.len().min(into.capacity() - into.len());
        into.extend_from_slice(&kept[..n]);
        self.plain_at += n;
        if self.plain_at == self.plain.len() {
            // Not cleared: it would be a buffer that an idle connection holds.
            self.plain = Vec::new();
            self.plain_at = 0;
        }
        n
    }

    /// Whether plaintext, or the peer's end, can be received without a look at the socket.
    pub(super) fn has_news(&self) -> bool {
        !self.plain.is_empty() || self.peer_closed || self.failed.is_some()
    }

    /// Room that `seal` needs for so much plaintext.
    pub(super) fn room_for(&self, plain: usize) -> usize {
        plain + (plain / usize::from(self.record_bytes) + 2) * RECORD_EXTRA
    }

    /// Encrypts into `to` from `end` on; `to` grows where the machine has more to say than was thought. Returns the
    /// new end.
    pub(super) fn seal(
        &mut self,
        plain: &[u8],
        to: &mut Vec<u8>,
        end: usize,
    ) -> Result<usize, Error> {
        if plain.is_empty() {
            return Ok(end);
        }
        let record = usize::from(self.record_bytes);
        self.order(Order::Seal { plain, record }, to, end)
    }

    /// Says that nothing more comes: an alert at the end of `out`.
    pub(super) fn close(&mut self) {
        // Behind early data there may be answers before the handshake is over, and so an end of them.
        let silent = self.is_handshaking() && !self.early;
        if std::mem::replace(&mut self.closed, true) || silent {
            return;
        }
        let mut out = std::mem::take(&mut self.out);
        let end = out.len();
        let closed = self.order(Order::Close, &mut out, end);
        out.truncate(closed.unwrap_or(end));
        self.out = out;
    }

    fn order(
        &mut self,
        mut order: Order<'_>,
        to: &mut Vec<u8>,
        mut end: usize,
    ) -> Result<usize, Error> {
        if let Some(error) = &self.failed {
            return Err((**error).clone());
        }
        loop {
            // The machine remembers where in it a message is that has not come as a whole.
            let input = &mut self.partial[..];
            let (discard, turn) = match &mut self.machine {
                Machine::Server(machine) => {
                    obey(machine.process_tls_records(input), &mut order, to, &mut end)
                }
                Machine::Client(machine) => {
                    obey(machine.process_tls_records(input), &mut order, to, &mut end)
                }
            };
            if discard > 0 {
                self.partial.drain(..discard);
            }
            match turn {
                Turn::Done => return Ok(end),
                Turn::PeerClosed => self.peer_closed = true,
                Turn::Again | Turn::Plain | Turn::Early => {}
                Turn::Failed(error) => {
                    self.failed = Some(Box::new(error.clone()));
                    return Err(error);
                }
            }
        }
    }
}

/// What a machine that can send is told to.
enum Order<'a> {
    Seal { plain: &'a [u8], record: usize },
    Close,
}

/// Room for `more` bytes behind `end`.
fn grow(to: &mut Vec<u8>, end: usize, more: usize) {
    if to.len() < end + more {
        to.resize(end + more, 0);
    }
}

/// One turn of a machine that is to send.
fn obey<S>(
    status: UnbufferedStatus<'_, '_, S>,
    order: &mut Order<'_>,
    to: &mut Vec<u8>,
    end: &mut usize,
) -> (usize, Turn) {
    let turn = match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => carry_out(&mut traffic, order, to, end),
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            if let Err(EncodeError::InsufficientSize(size)) = message.encode(&mut []) {
                grow(to, *end, size.required_size);
            }
            match message.encode(&mut to[*end..]) {
                Ok(n) => {
                    *end += n;
                    Turn::Again
                }
                Err(_) => Turn::Failed(Error::EncryptError),
            }
        }
        Ok(ConnectionState::TransmitTlsData(message)) => {
            message.done();
            Turn::Again
        }
        Ok(ConnectionState::PeerClosed) => Turn::PeerClosed,
        // Plaintext is taken when it comes, so that none waits here; the handshake is over, or nothing is sent.
        Ok(_) => Turn::Failed(Error::HandshakeNotComplete),
        Err(error) => Turn::Failed(error),
    };
    (status.discard, turn)
}

fn carry_out<S>(
    traffic: &mut WriteTraffic<'_, S>,
    order: &mut Order<'_>,
    to: &mut Vec<u8>,
    end: &mut usize,
) -> Turn {
    loop {
        let result = match order {
            Order::Seal { plain: [], .. } => return Turn::Done,
            Order::Seal { plain, record } => {
                let (now, later) = plain.split_at((*record).min(plain.len()));
                let sealed = traffic.encrypt(now, &mut to[*end..]);
                if sealed.is_ok() {
                    *plain = later;
                }
                sealed
            }
            Order::Close => match traffic.queue_close_notify(&mut to[*end..]) {
                Ok(n) => {
                    *end += n;
                    return Turn::Done;
                }
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(n) => *end += n,
            Err(EncryptError::InsufficientSize(size)) => grow(to, *end, size.required_size),
            Err(EncryptError::EncryptExhausted) => return Turn::Failed(Error::EncryptError),
        }
    }
}
