//! What a shard says of itself a few times a second, for whoever reads the numbers. Start at [`Said::tell`].

use super::{Http, TICK};
use crate::base::time::Mono;
use crate::http::content::numbers;
use crate::http::local::Cx;
use crate::net::clock;
use crate::observe::live::{EVERY_MS, ResolverNow};

/// When and what was said.
#[derive(Default)]
pub(super) struct Said {
    at: Mono,
    /// How late a tick was at worst since.
    lag_ms: u64,
    resolver: ResolverNow,
}

impl Said {
    /// Says it again where that is due. A tick that slept since `slept_at` is late by what it took beyond its time.
    pub(super) fn tell(&mut self, service: &Http, slept_at: Mono) {
        let now = clock::mono();
        let late = now
            .ms_since(slept_at)
            .saturating_sub(TICK.as_millis() as u64);
        self.lag_ms = self.lag_ms.max(late);
        if now.ms_since(self.at) < EVERY_MS {
            return;
        }
        let Some(generation) = service.generation() else {
            return;
        };
        let [known, found, failed, timed_out] = generation.resolvers.take_counts();
        self.resolver.add(&ResolverNow {
            known,
            found,
            failed,
            timed_out,
        });
        let mut live = numbers::live(Cx::new(&generation, &service.local));
        live.lag_ms = std::mem::take(&mut self.lag_ms);
        live.resolver = self.resolver;
        service.local.counters.say(live);
        self.at = now;
    }
}
