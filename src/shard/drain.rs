//! The end of a shard: nothing new, idle connections closed, the rest finished or, when time is up, cut.

use std::rc::Rc;
use std::time::Duration;

use super::{Event, Serve, Shard};
use crate::net::{clock, runtime, stream};

/// How often a drain looks for connections that became idle.
const LOOK: Duration = Duration::from_millis(50);

/// How long a drain waits for the first request of a connection that was accepted just before it.
///
/// Differs from nginx: there it is `client_header_timeout`, for which a silent client may hold up a stop.
const FRESH_WAIT: Duration = Duration::from_secs(1);

/// What a cut connection may take to notice.
const CUT_WAIT: Duration = Duration::from_secs(1);

/// Finishes what is open. Ends the shard.
pub(super) async fn drain<S: Serve>(shard: Rc<Shard<S>>, within: Option<Duration>) {
    shard.draining.set(true);
    S::event(&shard, Event::Draining);
    shard.close_listeners();
    let mut until = within.map(|within| clock::mono().after(within));
    let mut cut = false;
    // Connections that were accepted in this turn have their tasks started first.
    runtime::yield_now().await;
    let patient_until = clock::mono().after(FRESH_WAIT);
    let mut now = clock::mono();
    // The last bytes of a connection that is gone may still be on their way.
    while shard.connections.get() > 0 || stream::late() > 0 {
        shard.deadlines.close_idle(usize::MAX, now >= patient_until);
        runtime::sleep(LOOK).await;
        now = clock::mono();
        if until.is_none_or(|until| now < until) {
            continue;
        }
        if cut {
            break;
        }
        let left = match shard.connections.get() {
            0 => stream::late(),
            connections => connections,
        };
        S::event(&shard, Event::Cut(left));
        shard.deadlines.cut_all();
        cut = true;
        until = Some(now.after(CUT_WAIT));
    }
    shard.ended.notify();
}
