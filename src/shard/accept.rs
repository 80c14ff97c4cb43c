//! Listeners of a shard and the connections that come from them: accept loops that rest when descriptors run out,
//! the limit on open sockets, and the tasks that serve and park.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use super::{After, Begin, Event, Open, Serve, Shard};
use crate::mail::ListenSocket;
use crate::net::join::{First, catch, race};
use crate::net::listener::{Accepted, Listener, PAUSE, is_shortage};
use crate::net::notify::Notify;
use crate::net::runtime;
use crate::net::sys::heap;

/// Connections taken from one listener before other tasks have their turn.
const BATCH_MAX: usize = 64;

/// Connections taken from a listener that is about to close: what has completed its handshake is not thrown away.
const LAST_MAX: usize = 4096;

/// When sockets run short, at most this share of the idle connections is closed to make room, and at most so many;
/// nginx's numbers.
const RECLAIM_SHARE: usize = 8;
const RECLAIM_MAX: usize = 32;

impl<S: Serve> Shard<S> {
    /// Accepts from exactly these sockets from now on: those that are open already go on undisturbed, others are
    /// opened, and those not named are closed once their queues are empty.
    pub fn set_listeners(self: &Rc<Self>, sockets: Vec<ListenSocket>) -> io::Result<()> {
        let mut kept = Vec::with_capacity(sockets.len());
        let mut fresh = Vec::new();
        {
            let mut open = self.listeners.borrow_mut();
            for socket in sockets {
                let id = socket.listener.0 as usize;
                if let Some(at) = open.iter().position(|o| o.key == socket.key) {
                    let listener = open.swap_remove(at);
                    listener.listener.set_id(id);
                    kept.push(listener);
                } else if let Some(fd) = socket.fd {
                    fresh.push((socket.key, Rc::new(Listener::new(fd, id)?)));
                }
            }
            for closed in open.drain(..) {
                // Its old number may be another listener's now.
                closed.listener.set_id(usize::MAX);
                closed.stop.notify();
            }
            for (key, listener) in &fresh {
                let stop = Rc::new(Notify::new());
                kept.push(Open {
                    key: *key,
                    listener: listener.clone(),
                    stop,
                });
            }
            *open = kept;
        }
        for open in self.listeners.borrow().iter() {
            if fresh.iter().any(|(key, _)| *key == open.key) {
                runtime::spawn(accept_from(
                    self.clone(),
                    open.listener.clone(),
                    open.stop.clone(),
                ));
            }
        }
        Ok(())
    }

    /// Stops accepting.
    pub(super) fn close_listeners(&self) {
        for open in self.listeners.borrow_mut().drain(..) {
            open.stop.notify();
        }
    }

    /// Makes room for one more socket if it can; false when there is none.
    fn has_room(&self) -> bool {
        let max = self.sockets_max.get();
        if self.deadlines.len() <= max {
            return true;
        }
        let share = (self.deadlines.idle_count() / RECLAIM_SHARE).clamp(1, RECLAIM_MAX);
        // Those close within the next turns: this connection is let in for one of them.
        self.deadlines.close_idle(share, true) > 0
    }

    fn admit(self: &Rc<Self>, accepted: Accepted) {
        if !self.has_room() {
            S::event(self, Event::Full);
            return;
        }
        self.connections.set(self.connections.get() + 1);
        self.accepted.set(self.accepted.get() + 1);
        runtime::spawn(serve(self.clone(), Begin::Accepted(accepted)));
    }
}

/// Serves one connection until it ends or idles.
async fn serve<S: Serve>(shard: Rc<Shard<S>>, begin: Begin<S>) {
    match catch(|| S::serve(shard.clone(), begin)).await {
        Ok(After::Park(parked)) => {
            runtime::spawn(park(shard, parked));
            return;
        }
        Ok(After::Apart(rest)) => {
            shard.parked.set(shard.parked.get() + 1);
            runtime::spawn(apart(shard, rest));
            return;
        }
        Ok(After::Closed) => {}
        Err(message) => S::event(&shard, Event::Panicked(&message)),
    }
    shard.connections.set(shard.connections.get() - 1);
}

/// Runs what is left of a connection.
async fn apart<S: Serve>(shard: Rc<Shard<S>>, rest: Pin<Box<dyn Future<Output = ()>>>) {
    if let Err(message) = catch(|| rest).await {
        S::event(&shard, Event::Panicked(&message));
    }
    shard.connections.set(shard.connections.get() - 1);
}

/// Parked connections that make it worth while to give memory back: their larger tasks are gone.
const PARKED_MANY: usize = 64;

/// How often that is looked at.
const COLLECT_EVERY: Duration = Duration::from_millis(500);

/// Gives memory back after many connections have become idle.
pub(super) async fn collect<S: Serve>(shard: Rc<Shard<S>>) {
    loop {
        runtime::sleep(COLLECT_EVERY).await;
        if shard.parked.take() >= PARKED_MANY {
            heap::collect();
        }
    }
}

/// Keeps a connection that has nothing to do. This task is all that it costs.
fn park<S: Serve>(shard: Rc<Shard<S>>, mut parked: S::Parked) -> impl Future<Output = ()> {
    shard.parked.set(shard.parked.get() + 1);
    // A block, because an async function would keep its arguments twice.
    async move {
        match catch(|| S::wait(&mut parked)).await {
            Ok(woken) => respawn(shard, parked, woken),
            Err(message) => {
                drop(parked);
                S::event(&shard, Event::Panicked(&message));
                shard.connections.set(shard.connections.get() - 1);
            }
        }
    }
}

/// Apart from [`park`], so that the two kinds of task do not contain each other's type.
fn respawn<S: Serve>(shard: Rc<Shard<S>>, parked: S::Parked, woken: S::Woken) {
    runtime::spawn(serve(shard, Begin::Parked(parked, woken)));
}

async fn accept_from<S: Serve>(shard: Rc<Shard<S>>, listener: Rc<Listener>, stop: Rc<Notify>) {
    let mut stopped = pin!(stop.wait());
    let mut asks = Asks::default();
    loop {
        let readable = pin!(listener.readable());
        match race(stopped.as_mut(), readable).await {
            First::Left(()) => break,
            First::Right(Ok(())) => {}
            First::Right(Err(e)) => {
                S::event(&shard, Event::AcceptFailed(&e));
                if let First::Left(()) = race(stopped.as_mut(), pin!(runtime::sleep(PAUSE))).await {
                    break;
                }
            }
        }
        if let Err(e) = take(&shard, &listener, BATCH_MAX, &mut asks) {
            let event = if is_shortage(&e) {
                Event::Short(&e)
            } else {
                Event::AcceptFailed(&e)
            };
            S::event(&shard, event);
            if let First::Left(()) = race(stopped.as_mut(), pin!(runtime::sleep(PAUSE))).await {
                break;
            }
        }
    }
    let _ = take(&shard, &listener, LAST_MAX, &mut Asks::default());
}

/// Whether to ask for another connection after one was taken. Where they come one by one only each eighth asks: the next wait
/// finds what is there too, a turn later.
#[derive(Debug, Default)]
struct Asks {
    /// How many in a row had no other one behind them, as far as is known.
    alone: u32,
}

impl Asks {
    /// From so many on, and as often, it is asked once.
    const SELDOM: u32 = 8;

    fn next(&mut self) -> bool {
        self.alone += 1;
        if self.alone == 2 * Self::SELDOM {
            self.alone = Self::SELDOM;
        }
        self.alone <= Self::SELDOM
    }

    fn found(&mut self) {
        self.alone = 0;
    }
}

fn take<S: Serve>(
    shard: &Rc<Shard<S>>,
    listener: &Listener,
    max: usize,
    asks: &mut Asks,
) -> io::Result<()> {
    for _ in 0..max {
        match listener.try_accept(&shard.deadlines)? {
            Some(accepted) => shard.admit(accepted),
            None => break,
        }
        // An accept that finds nothing costs the kernel a socket and a file that are thrown away; asking costs neither.
        if !(asks.next() && listener.has_pending()) {
            break;
        }
        asks.found();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_alone_is_seldom_asked_for_another() {
        let mut asks = Asks::default();
        let mut asked = |times: usize| (0..times).filter(|_| asks.next()).count();
        assert_eq!(asked(8), 8);
        assert_eq!(asked(80), 10);
        asks.found();
        let mut asked = |times: usize| (0..times).filter(|_| asks.next()).count();
        assert_eq!(asked(8), 8);
        assert_eq!(asked(7), 0);
    }
}
