//! Bytes both ways between two connections after an upgrade: copied while they are few, spliced while they are many.
//! Half-close is a state: one side's end is passed on and the other direction goes on. Holds no buffer and no pipe
//! while both sides are silent.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::clock::{self, Mono};
use super::deadline::Expired;
use super::join::join2;
use super::ready::Shortcut;
use super::runtime;
use super::splice::{self, Breath, Gait, Manner, Moved, Pipes, Receiver, Splice, Turn, Way};
use super::stream::{How, Passage, RecvHalf, SendHalf, Stream};
use crate::base::buf::BufPool;

/// Bytes taken at once while a tunnel is quiet, and when it is busy: larger reads are cheaper per byte.
const CHUNK_BYTES: usize = 16 << 10;
const CHUNK_BYTES_MAX: usize = 128 << 10;

/// How a tunnel is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Ends when nothing moves in either direction for so long.
    pub idle: Duration,
    /// Ends when the origin takes nothing of what is there for it for so long.
    pub send_up: Duration,
    /// The same for the client.
    pub send_down: Duration,
    /// One side's end leaves the other direction open; else it ends the tunnel once what was received is sent.
    pub half_close: bool,
    /// Whether bytes may go past user space.
    pub splice: Manner,
}

/// What a tunnel takes from its shard.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Buffers, for what is copied.
    pub buffers: &'a BufPool,
    /// Pipes, for what is spliced.
    pub pipes: &'a Pipes,
}

/// What went through, live: a caller that is dropped half way can still log it. What was read ahead counts as sent only.
#[derive(Debug, Default)]
pub struct Totals {
    /// From the client to the origin.
    pub up: Moved,
    /// From the origin to the client.
    pub down: Moved,
    /// When the origin's first byte came.
    pub answered: Cell<Option<Mono>>,
    /// Whose end it was that ended the tunnel: of two, with half-close, the later one.
    pub ended: Cell<Option<Way>>,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides said all they had, or one did and half-close is off.
    Done,
    /// Nothing moved for the idle time, or the origin took nothing.
    Idle,
    /// The client took nothing in its time.
    ClientSlow,
    /// The client's side failed.
    ClientFailed(io::ErrorKind),
    /// The origin's side failed.
    OriginFailed(io::ErrorKind),
}

/// What broke a direction.
enum Broken {
    Recv(io::ErrorKind),
    Send(io::ErrorKind),
    Idle,
    /// Who is received from has not taken in time what the other direction posted.
    Stuck,
}

impl From<splice::Broken> for Broken {
    fn from(broken: splice::Broken) -> Self {
        match broken {
            splice::Broken::Recv(e) => Self::Recv(e.kind()),
            splice::Broken::Send(e) => Self::Send(e.kind()),
        }
    }
}

/// A buffer and how much of it has been sent.
type Rest = Option<(Vec<u8>, usize)>;

/// The way that small messages take while their direction's task sleeps.
struct Small {
    passage: Passage,
    way: Way,
    totals: Rc<Totals>,
}

impl Shortcut for Small {
    fn room(&self) -> usize {
        self.passage.room()
    }

    fn take(&self, message: &[u8]) {
        self.passage.hand_over(message);
        let moved = self.totals.moved(self.way);
        moved.receive(message.len());
        moved.send(message.len());
        self.totals.note_answer(self.way);
        self.passage.arm();
    }
}

impl Totals {
    fn moved(&self, way: Way) -> &Moved {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    /// Bytes came that way.
    fn note_answer(&self, way: Way) {
        if way == Way::Down && self.answered.get().is_none() {
            self.answered.set(Some(clock::mono()));
        }
    }
}

struct Tunnel<'a> {
    means: Means<'a>,
    options: Options,
    totals: &'a Rc<Totals>,
    /// What was read ahead, by where it goes: to the origin, to the client. Here rather than in the two directions' futures, each
    /// level of which would have room for it as long as the tunnel lasts.
    ahead: [Cell<Vec<u8>>; 2],
    /// The first reason to end: what follows from it is not one.
    cause: Cell<Option<End>>,
}

/// Moves bytes until the tunnel ends. What was read ahead of the upgrade goes first: to the origin, to the client.
pub async fn relay(
    client: &mut Stream,
    origin: &mut Stream,
    ahead: (Vec<u8>, Vec<u8>),
    means: Means<'_>,
    options: Options,
    totals: &Rc<Totals>,
) -> End {
    let tunnel = Tunnel {
        means,
        options,
        totals,
        ahead: [ahead.0, ahead.1].map(Cell::new),
        cause: Cell::new(None),
    };
    client.rx.arm(options.idle);
    origin.rx.arm(options.idle);
    join2(
        tunnel.direction(Way::Up, &mut client.rx, &mut origin.tx),
        tunnel.direction(Way::Down, &mut origin.rx, &mut client.tx),
    )
    .await;
    for stream in [client, origin] {
        stream.rx.disarm();
        stream.tx.disarm();
    }
    tunnel.cause.get().unwrap_or(End::Done)
}

impl Tunnel<'_> {
    async fn direction(&self, way: Way, rx: &mut RecvHalf, tx: &mut SendHalf) {
        let result = self.pump(way, rx, tx).await;
        if result.is_ok() && (self.options.half_close || self.totals.ended.get().is_none()) {
            self.totals.ended.set(Some(way));
        }
        if result.is_ok() && self.options.half_close {
            let _ = tx.finish();
            return;
        }
        if self.cause.get().is_none() {
            self.cause.set(Some(match (result, way) {
                (Ok(()), _) => End::Done,
                (Err(Broken::Send(io::ErrorKind::TimedOut)), Way::Down)
                | (Err(Broken::Stuck), Way::Up) => End::ClientSlow,
                (Err(Broken::Idle | Broken::Stuck | Broken::Send(io::ErrorKind::TimedOut)), _) => {
                    End::Idle
                }
                (Err(Broken::Recv(kind)), Way::Up) | (Err(Broken::Send(kind)), Way::Down) => {
                    End::ClientFailed(kind)
                }
                (Err(Broken::Recv(kind)), Way::Down) | (Err(Broken::Send(kind)), Way::Up) => {
                    End::OriginFailed(kind)
                }
            }));
        }
        // Wakes the other direction, whose bytes have nowhere to go now.
        let _ = rx.shutdown(How::Both);
        let _ = tx.shutdown(How::Both);
    }

    async fn pump(&self, way: Way, rx: &mut RecvHalf, tx: &mut SendHalf) -> Result<(), Broken> {
        if let Some(sending) = self.send_ahead(way, tx) {
            sending.await?;
        }
        let mut gait = Gait::new(self.options.splice);
        let mut room = CHUNK_BYTES;
        let mut breath = Breath::default();
        let small = self.small(way, rx, tx);
        let mut last = 0;
        loop {
            if rx.has_news() {
                // It need not be waited for.
            } else if gait.splices() {
                // Boxed, so that a silent tunnel has no room for it.
                let readable = Box::pin(rx.readable_apart());
                readable.await.map_err(receiving)?;
            } else {
                let shortcut = small.as_ref().filter(|_| last < Passage::BYTES_MAX);
                rx.readable_past(shortcut).await.map_err(receiving)?;
            }
            if !tx.is_settled() {
                tx.settled().await;
                if tx.expired().is_some() {
                    return Err(Broken::Send(io::ErrorKind::TimedOut));
                }
            }
            if gait.splices() {
                rx.unblock().map_err(receiving)?;
                tx.unblock().map_err(receiving)?;
            }
            let ahead = rx.has_ahead();
            let turn = match gait.splices() && !ahead {
                true => self.splice(way, rx, tx).await?,
                false => Turn::Refused,
            };
            let turn = match turn {
                Turn::Refused => {
                    if gait.splices() && !ahead {
                        gait.refuse();
                    }
                    let (turn, rest) = self.copy(way, (rx, tx), &mut room)?;
                    if let Some(rest) = rest {
                        Box::pin(self.forward(way, tx, rest)).await?;
                    }
                    turn
                }
                turn => turn,
            };
            match turn {
                Turn::Moved(n) => {
                    self.totals.note_answer(way);
                    gait.note(n);
                    last = n;
                    if !runtime::on_ring() {
                        // There a wait for what is ready lets nobody else run.
                        Box::pin(breath.take(n)).await;
                    }
                }
                Turn::Nothing | Turn::Refused | Turn::Blocked => breath.waited(),
                Turn::Ended => {
                    return match rx.expired() {
                        Some(Expired::Send) => Err(Broken::Stuck),
                        Some(Expired::Recv) => Err(Broken::Idle),
                        None => Ok(()),
                    };
                }
            }
        }
    }

    /// A way for small messages, where there can be one.
    fn small(&self, way: Way, rx: &RecvHalf, tx: &SendHalf) -> Option<Rc<dyn Shortcut>> {
        let passage = Passage::new(rx, tx, self.send_within(way), self.options.idle)?;
        Some(Rc::new(Small {
            passage,
            way,
            totals: self.totals.clone(),
        }))
    }

    /// Sends what was read ahead, if anything.
    fn send_ahead<'t>(
        &'t self,
        way: Way,
        tx: &'t mut SendHalf,
    ) -> Option<Pin<Box<impl Future<Output = Result<(), Broken>> + use<'t>>>> {
        let ahead = self.ahead[usize::from(way == Way::Down)].take();
        match ahead.is_empty() {
            true => None,
            false => Some(Box::pin(self.forward(way, tx, (ahead, 0)))),
        }
    }

    /// Moves what is there past user space.
    async fn splice(&self, way: Way, rx: &RecvHalf, tx: &SendHalf) -> Result<Turn, Broken> {
        let splice = Splice {
            pipes: self.means.pipes,
            way,
            receiver: Receiver::Awaited(self.send_within(way)),
            moved: self.totals.moved(way),
        };
        let progress = |rx: &RecvHalf, tx: &SendHalf| self.progress(rx, tx);
        // Boxed, as is a send that has to wait: a silent tunnel need not have room for either.
        Ok(Box::pin(splice.turn(rx, tx, u64::MAX, progress)).await?)
    }

    /// Moves what is there through a buffer, and hands out what the receiver did not take at once. Plain, so that a
    /// silent tunnel has no room for it.
    fn copy(
        &self,
        way: Way,
        (rx, tx): (&mut RecvHalf, &mut SendHalf),
        room: &mut usize,
    ) -> Result<(Turn, Rest), Broken> {
        let mut buf = self.means.buffers.take(*room);
        match rx.try_recv(&mut buf).map_err(receiving) {
            Ok(Some(n)) if n > 0 => {
                *room = if n == buf.capacity() {
                    CHUNK_BYTES_MAX
                } else {
                    CHUNK_BYTES
                };
                self.totals.moved(way).receive(n);
                self.progress(rx, tx);
                // A turn of the ring for a message would cost more than either.
                if tx.post(&buf, self.send_within(way)) {
                    self.totals.moved(way).send(n);
                    self.means.buffers.give(buf);
                    return Ok((Turn::Moved(n), None));
                }
                let at = tx.try_send(&buf).map_err(|e| Broken::Send(e.kind()))?;
                let at = at.unwrap_or(0);
                self.totals.moved(way).send(at);
                if at < n {
                    return Ok((Turn::Moved(n), Some((buf, at))));
                }
                self.means.buffers.give(buf);
                Ok((Turn::Moved(n), None))
            }
            other => {
                self.means.buffers.give(buf);
                let turn = match other? {
                    None => Turn::Nothing,
                    Some(_) => Turn::Ended,
                };
                Ok((turn, None))
            }
        }
    }

    /// Something came: both sides have their whole time again.
    fn progress(&self, rx: &RecvHalf, tx: &SendHalf) {
        rx.arm(self.options.idle);
        tx.arm_recv(self.options.idle);
    }

    /// Sends what is left of a buffer.
    async fn forward(
        &self,
        way: Way,
        tx: &mut SendHalf,
        (buf, at): (Vec<u8>, usize),
    ) -> Result<(), Broken> {
        let left = buf.len() - at;
        let (result, buf) = tx.send_from_within(self.send_within(way), buf, at).await;
        self.means.buffers.give(buf);
        match result {
            Ok(()) => {
                self.totals.moved(way).send(left);
                Ok(())
            }
            Err(e) => Err(Broken::Send(e.kind())),
        }
    }

    fn send_within(&self, way: Way) -> Duration {
        match way {
            Way::Up => self.options.send_up,
            Way::Down => self.options.send_down,
        }
    }
}

fn receiving(error: io::Error) -> Broken {
    Broken::Recv(error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Deadlines, runtime};
    use std::future::poll_fn;
    use std::pin::pin;

    const OPTIONS: Options = Options {
        idle: Duration::from_secs(10),
        send_up: Duration::from_secs(10),
        send_down: Duration::from_secs(10),
        half_close: true,
        splice: Manner::Auto,
    };

    struct Ends {
        client: Stream,
        origin: Stream,
        totals: Rc<Totals>,
        end: runtime::Task<End>,
        /// How often the tunnel's task ran.
        polls: Rc<Cell<u32>>,
        deadlines: Rc<Deadlines>,
    }

    fn tunnel(options: Options, ahead: (&'static [u8], &'static [u8])) -> Ends {
        let deadlines = Deadlines::new();
        runtime::spawn(deadlines.clone().run());
        let (client, mut a) = Stream::pair(&deadlines).unwrap();
        let (mut b, origin) = Stream::pair(&deadlines).unwrap();
        let totals = Rc::new(Totals::default());
        let counted = totals.clone();
        let polls = Rc::new(Cell::new(0));
        let polled = polls.clone();
        let end = runtime::spawn(async move {
            let (buffers, pipes) = (BufPool::new(), Pipes::default());
            let means = Means {
                buffers: &buffers,
                pipes: &pipes,
            };
            let ahead = (ahead.0.to_vec(), ahead.1.to_vec());
            let mut relay = pin!(relay(&mut a, &mut b, ahead, means, options, &counted));
            let end = poll_fn(|cx| {
                polled.set(polled.get() + 1);
                relay.as_mut().poll(cx)
            })
            .await;
            assert_eq!((buffers.lent(), pipes.lent()), (0, 0));
            end
        });
        Ends {
            client,
            origin,
            totals,
            end,
            polls,
            deadlines,
        }
    }

    #[test]
    fn half_close_leaves_the_other_direction_open() {
        runtime::on_each_driver(|| async {
            let mut ends = tunnel(OPTIONS, (b"early ", b"hi "));
            let (result, _) = ends.client.tx.send_all(b"question".to_vec()).await;
            result.unwrap();
            ends.client.tx.finish().unwrap();
            assert_eq!(ends.origin.read_to_end().await, b"early question");
            let (result, _) = ends.origin.tx.send_all(b"answer".to_vec()).await;
            result.unwrap();
            ends.origin.tx.finish().unwrap();
            assert_eq!(ends.client.read_to_end().await, b"hi answer");
            assert_eq!(ends.end.await, End::Done);
            let (up, down) = (&ends.totals.up, &ends.totals.down);
            assert_eq!((up.sent.get(), down.sent.get()), (14, 9));
            assert_eq!((up.received.get(), down.received.get()), (8, 6));
            ends.deadlines.stop();
        });
    }

    #[test]
    fn without_half_close_one_end_ends_both() {
        runtime::on_each_driver(|| async {
            let options = Options {
                half_close: false,
                ..OPTIONS
            };
            let mut ends = tunnel(options, (b"", b""));
            let (result, _) = ends.origin.tx.send_all(b"bye".to_vec()).await;
            result.unwrap();
            ends.origin.tx.finish().unwrap();
            assert_eq!(ends.client.read_to_end().await, b"bye");
            assert_eq!(ends.end.await, End::Done);
            assert_eq!(ends.origin.read_to_end().await, b"");
            ends.deadlines.stop();
        });
    }

    #[test]
    fn silence_ends_a_tunnel() {
        runtime::on_each_driver(|| async {
            let options = Options {
                idle: Duration::from_millis(50),
                ..OPTIONS
            };
            let mut ends = tunnel(options, (b"", b""));
            assert_eq!(ends.end.await, End::Idle);
            assert_eq!(ends.client.read_to_end().await, b"");
            assert_eq!(ends.origin.read_to_end().await, b"");
            ends.deadlines.stop();
        });
    }

    #[test]
    fn a_peer_that_does_not_read_ends_it_too() {
        runtime::on_each_driver(|| async {
            let options = Options {
                idle: Duration::from_millis(50),
                ..OPTIONS
            };
            let mut ends = tunnel(options, (b"", b""));
            let (_, _) = ends.client.tx.send_all(vec![7; 4 << 20]).await;
            assert_eq!(ends.end.await, End::Idle);
            ends.deadlines.stop();
        });
    }

    /// Messages are posted, and what the client does not take of them is nobody's send any more.
    #[test]
    fn a_client_that_takes_no_messages_is_the_slow_one() {
        runtime::on_each_driver(|| async {
            let options = Options {
                send_down: Duration::from_millis(50),
                splice: Manner::Off,
                ..OPTIONS
            };
            let mut ends = tunnel(options, (b"", b""));
            for _ in 0..1000 {
                if ends.origin.tx.try_send(&[7; 4096]).is_err() {
                    break;
                }
                runtime::yield_now().await;
                runtime::yield_now().await;
            }
            assert_eq!(ends.end.await, End::ClientSlow);
            ends.deadlines.stop();
        });
    }

    #[test]
    fn megabytes_cross_unchanged_in_both_directions() {
        runtime::on_each_driver(|| async {
            let ends = tunnel(OPTIONS, (b"", b""));
            let send: Vec<u8> = (0..2_000_000u32).map(|n| (n % 253) as u8).collect();
            let expected = send.clone();
            let (mut client, mut origin) = (ends.client, ends.origin);
            let (there, back) = (send.clone(), send);
            join2(
                async {
                    let (result, _) = client.tx.send_all(there).await;
                    result.unwrap();
                    client.tx.finish().unwrap();
                },
                async {
                    let got = origin.read_to_end().await;
                    assert!(got == expected);
                },
            )
            .await;
            join2(
                async {
                    let (result, _) = origin.tx.send_all(back).await;
                    result.unwrap();
                    origin.tx.finish().unwrap();
                },
                async {
                    assert_eq!(client.read_to_end().await.len(), 2_000_000);
                },
            )
            .await;
            assert_eq!(ends.end.await, End::Done);
            ends.deadlines.stop();
        });
    }

    /// Sizes on both sides of each way that bytes can take, to and fro, so that a direction changes its way again and again.
    #[test]
    fn messages_of_all_sizes_come_back_unchanged() {
        runtime::on_each_driver(|| async {
            for splice in [Manner::Off, Manner::Auto, Manner::On] {
                let mut ends = tunnel(Options { splice, ..OPTIONS }, (b"", b""));
                let mut sent = 0;
                for n in 0..200u32 {
                    let size = [
                        1,
                        64,
                        Passage::BYTES_MAX - 1,
                        Passage::BYTES_MAX,
                        Passage::BYTES_MAX + 1,
                        20_000,
                    ];
                    // Long rows of small ones end splicing.
                    let size = size[if n % 40 < 12 { 1 } else { n as usize % 6 }];
                    let message: Vec<u8> = (0..size).map(|k| (k as u32 * 7 + n) as u8).collect();
                    let mut there = Vec::new();
                    let (client, origin) = (&mut ends.client, &mut ends.origin);
                    let (result, message) = client.tx.send_all(message).await;
                    result.unwrap();
                    while there.len() < message.len() {
                        assert!(origin.rx.recv_ready(&mut there).await.unwrap() > 0);
                    }
                    let (result, there) = origin.tx.send_all(there).await;
                    result.unwrap();
                    let mut back = Vec::new();
                    while back.len() < there.len() {
                        assert!(client.rx.recv_ready(&mut back).await.unwrap() > 0);
                    }
                    assert!(back == message, "message {n} of {size} bytes, {splice:?}");
                    sent += size as u64;
                }
                let (up, down) = (&ends.totals.up, &ends.totals.down);
                for moved in [up, down] {
                    assert_eq!((moved.received.get(), moved.sent.get()), (sent, sent));
                }
                assert!(ends.totals.answered.get().is_some());
                ends.client.tx.finish().unwrap();
                ends.origin.tx.finish().unwrap();
                assert_eq!(ends.end.await, End::Done);
                assert_eq!(Rc::strong_count(&ends.totals), 1);
                ends.deadlines.stop();
            }
        });
    }

    #[test]
    fn small_messages_wake_no_task() {
        runtime::on_each_driver(|| async {
            let mut ends = tunnel(OPTIONS, (b"", b""));
            let mut polls = 0;
            for n in 0..20 {
                // Sockets enter the shard's set at their second wait, and large messages are the task's.
                let size = if n == 10 { 2 * Passage::BYTES_MAX } else { 64 };
                if n % 10 == 5 {
                    polls = ends.polls.get();
                }
                let (result, _) = ends.client.tx.send_all(vec![n; size]).await;
                result.unwrap();
                let mut got = Vec::new();
                while got.len() < size {
                    assert!(ends.origin.rx.recv_ready(&mut got).await.unwrap() > 0);
                }
                if n % 10 == 9 {
                    assert_eq!(ends.polls.get() == polls, runtime::on_ring(), "message {n}");
                }
            }
            ends.client.tx.finish().unwrap();
            ends.origin.tx.finish().unwrap();
            assert_eq!(ends.end.await, End::Done);
            ends.deadlines.stop();
        });
    }
}
