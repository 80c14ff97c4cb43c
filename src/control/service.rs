//! What the shards of a worker do with their connections.

use std::cell::Cell;
use std::rc::Rc;

use super::engine::Kit;
use crate::mail::Mail;
use crate::shard::{After, Begin, Event, Parts, Serve, Shard};

/// Takes plans and closes connections.
pub struct Service {
    epoch: Cell<u64>,
}

/// Made on each shard's thread.
pub fn make(_: &Parts, _: Kit) -> Service {
    Service {
        epoch: Cell::new(0),
    }
}

impl Serve for Service {
    type Parked = ();

    fn started(_: &Rc<Shard<Self>>) {}

    async fn serve(_: Rc<Shard<Self>>, _: Begin<()>) -> After<()> {
        After::Closed
    }

    async fn wait((): &mut ()) {}

    fn mail(shard: &Rc<Shard<Self>>, mail: Mail) {
        if let Mail::NewPlan(new) = mail {
            let old = shard.service.epoch.replace(new.epoch);
            shard.set_sockets_max(new.plan.main.worker_connections as usize);
            shard.set_listeners(new.sockets).ok();
            let control = shard.outbox.control();
            shard.outbox.post(
                control,
                Mail::Serving {
                    shard: shard.index,
                    epoch: new.epoch,
                },
            );
            if old != 0 {
                shard.outbox.post(
                    control,
                    Mail::Retired {
                        shard: shard.index,
                        epoch: old,
                    },
                );
            }
        }
    }

    fn event(_: &Shard<Self>, _: Event<'_>) {}

    async fn end(_: &Rc<Shard<Self>>) {}
}
