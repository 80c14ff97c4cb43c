//! A body that crosses without being looked at: from the origin's socket to the client's inside the kernel.
//!
//! Begins where the bytes that came with the head have been sent, and hands back to the copying loop whenever the stream
//! becomes too thin for it. Start at [`run`].

use std::cell::Cell;

use super::super::exchange::Exchange;
use super::super::local::Cx;
use crate::front::ClientFault;
use crate::net::splice::{Broken, Gait, Manner, Moved, Ran, Receiver, Splice, Unsent, Way};
use crate::plan::model::Splicing;
use crate::upstream::origin::{Fault, Origin};

/// How splicing ended.
pub(super) enum Stopped {
    /// What is left of the body, if anything, is to be copied.
    Copy,
    /// The client does not keep up, and was not waited for. What it did not take is queued.
    Blocked,
    /// The client's side failed.
    Client(ClientFault),
    /// The origin's side failed.
    Origin(Fault),
}

/// What `splice` asks for.
#[must_use]
pub fn manner(splicing: Splicing) -> Manner {
    match splicing {
        Splicing::Off => Manner::Off,
        Splicing::On => Manner::On,
        Splicing::Auto => Manner::Auto,
    }
}

/// Splices what may be spliced of the body, while it pays. Nothing of it may be left in a buffer of ours. The client is
/// waited for, unless the transfer `buffers`: then nothing need have been sent of what is queued, which goes out with the
/// first bytes.
pub(super) async fn run(
    ex: &mut Exchange,
    cx: Cx<'_>,
    origin: &mut Origin,
    (gait, buffers): (&mut Gait, bool),
) -> Stopped {
    let location = cx.location(ex.location);
    let moved = Moved::default();
    let client = ex.stream.h1_mut();
    let queued = match buffers {
        true => client.take_queue(),
        false => Vec::new(),
    };
    let unsent = Unsent {
        bytes: Cell::new(queued),
        most: location.pass.buffer_bytes(),
    };
    let splice = Splice {
        pipes: &cx.local.pipes,
        way: Way::Down,
        receiver: match buffers {
            true => Receiver::Spared(&unsent),
            false => Receiver::Awaited(location.settings.core.send_timeout),
        },
        moved: &moved,
    };
    let bounds = (origin.unread(), location.pass.read_timeout);
    let (rx, tx) = (&origin.conn.stream.rx, &client.socket().tx);
    let before = tx.sent();
    let ran = splice.run(rx, tx, bounds, gait).await;
    let sent = tx.sent() - before;
    client.count_sent(sent);
    client.put_queue(unsent.bytes.take(), &cx.local.buffers);
    origin.inbound.count_spliced(moved.received.get());
    match ran {
        Ran::Blocked => Stopped::Blocked,
        Ran::Whole => {
            // What nobody asked for is still in the socket.
            if !rx.is_quiet() && !rx.is_ended() {
                origin.inbound.note_excess();
            }
            Stopped::Copy
        }
        Ran::Thin => Stopped::Copy,
        Ran::Ended if rx.cut() => Stopped::Origin(Fault::Cut),
        Ran::Ended if origin.inbound.ends_at_close() => Stopped::Copy,
        Ran::Ended => Stopped::Origin(Fault::Closed),
        Ran::Broken(Broken::Recv(error)) => Stopped::Origin(Fault::of(error, rx.cut())),
        Ran::Broken(Broken::Send(error)) => Stopped::Client(client.fault(&error)),
    }
}
