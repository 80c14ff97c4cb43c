//! `limit_rate` and `proxy_limit_rate`: how many bytes may pass now, and how long to wait for more.
//!
//! nginx's arithmetic: the budget grows by the whole rate at once each second and counts from the response's first
//! byte, so that a short body is not delayed at all.

use std::pin::pin;
use std::time::Duration;

use super::exchange::Exchange;
use super::local::Cx;
use super::vars;
use crate::base::time::Mono;
use crate::front::{ClientFault, Stream};
use crate::net;
use crate::net::join::{First, race};
use crate::net::runtime;

/// Most bytes that one step lets pass, so that a fast rate does not come in bursts.
const STEP_BYTES_MAX: u64 = 64 << 10;

/// How often a client that waits and has sent more is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A rate cap on one body.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes per second.
    rate: u64,
    /// Bytes that pass freely first.
    after: u64,
    passed: u64,
    started: Mono,
}

impl Pace {
    /// A cap of `rate` bytes per second (not 0) that begins after `after` bytes.
    #[must_use]
    pub fn new(rate: u64, after: u64, started: Mono) -> Self {
        Self {
            rate,
            after,
            passed: 0,
            started,
        }
    }

    /// The cap towards the client, if there is one.
    #[must_use]
    pub fn of_client(ex: &mut Exchange, cx: Cx<'_>) -> Option<Self> {
        if ex.is_subrequest() {
            // What it says passes through the request that made it, at that one's rate.
            return None;
        }
        let rate = vars::limit_rate(ex, cx)?;
        let after = vars::limit_rate_after(ex, cx);
        Some(Self::new(rate, after, cx.local.clock.mono()))
    }

    /// The cap on reading from the origin, if there is one.
    #[must_use]
    pub fn of_origin(ex: &mut Exchange, cx: Cx<'_>) -> Option<Self> {
        let rate = vars::proxy_limit_rate(ex, cx)?;
        Some(Self::new(rate, 0, cx.local.clock.mono()))
    }

    /// How many of `want` bytes may pass at `now`; none together with the time to wait for some.
    pub fn budget(&self, want: usize, now: Mono) -> Result<usize, Duration> {
        let seconds = now.ms_since(self.started) / 1000 + 1;
        let allowed = self.rate.saturating_mul(seconds).saturating_add(self.after);
        if allowed > self.passed {
            let n = (allowed - self.passed).min(want as u64).min(STEP_BYTES_MAX);
            return Ok(n as usize);
        }
        let over = self.passed - allowed + 1;
        Err(Duration::from_millis(
            over.saturating_mul(1000) / self.rate + 1,
        ))
    }

    /// Counts bytes that passed.
    pub fn pass(&mut self, bytes: usize) {
        self.passed += bytes as u64;
    }

    /// As [`allow`](Self::allow), for bytes on their way to `client`: a client that leaves while it waits is noticed.
    pub async fn allow_to(
        &mut self,
        want: usize,
        client: &Stream,
        cx: Cx<'_>,
    ) -> Result<usize, ClientFault> {
        loop {
            match self.budget(want, cx.local.clock.mono()) {
                Ok(n) => {
                    self.pass(n);
                    return Ok(n);
                }
                Err(wait) => wait_for(wait, client).await?,
            }
        }
    }

    /// Waits until at least one of `want` bytes may pass, counts and returns how many.
    pub async fn allow(&mut self, want: usize, cx: Cx<'_>) -> usize {
        loop {
            match self.budget(want, cx.local.clock.mono()) {
                Ok(n) => {
                    self.pass(n);
                    return n;
                }
                Err(wait) => runtime::sleep(wait).await,
            }
        }
    }
}

/// Waits, unless the client leaves first.
pub(super) async fn wait_for(wait: Duration, client: &Stream) -> Result<(), ClientFault> {
    let conn = match client {
        Stream::H1(conn) => conn,
        Stream::H2(handle) => return handle.rest(wait).await,
        _ => {
            // A subrequest ends with its parent.
            runtime::sleep(wait).await;
            return Ok(());
        }
    };
    let socket = conn.socket();
    let mut asleep = pin!(runtime::sleep(wait));
    let mut spoken = pin!(socket.rx.readable());
    if let First::Left(()) = race(asleep.as_mut(), spoken.as_mut()).await {
        return Ok(());
    }
    if socket.rx.is_ended() {
        return Err(ClientFault::Gone);
    }
    // It has sent more, which nobody reads now: only a look from time to time tells whether it stays.
    let _watched = Watched::new(socket);
    loop {
        let mut look = pin!(runtime::sleep(LOOK));
        if let First::Left(()) = race(asleep.as_mut(), look.as_mut()).await {
            return Ok(());
        }
        if socket.peer_gone() {
            return Err(ClientFault::Gone);
        }
    }
}

/// A client that is looked at from time to time.
struct Watched<'a>(&'a net::Stream);

impl<'a> Watched<'a> {
    fn new(client: &'a net::Stream) -> Self {
        client.watch(None);
        Self(client)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.unwatch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_second_is_free_up_to_the_rate() {
        let mut pace = Pace::new(100, 0, Mono(0));
        assert_eq!(pace.budget(1000, Mono(0)), Ok(100));
        pace.pass(100);
        assert!(pace.budget(1, Mono(10)).is_err());
        assert_eq!(pace.budget(1000, Mono(1000)), Ok(100));
    }

    #[test]
    fn limit_rate_after_is_on_top() {
        let mut pace = Pace::new(10, 50, Mono(5));
        assert_eq!(pace.budget(1000, Mono(5)), Ok(60));
        pace.pass(60);
        assert_eq!(pace.budget(1000, Mono(2005)), Ok(20));
    }

    #[test]
    fn waiting_is_long_enough_and_bounded() {
        let mut pace = Pace::new(7, 0, Mono(0));
        let (mut now, mut sent) = (0, 0);
        while sent < 70 {
            match pace.budget(1000, Mono(now)) {
                Ok(n) => {
                    pace.pass(n);
                    sent += n;
                }
                Err(wait) => now += wait.as_millis() as u64,
            }
            assert!(now < 20_000);
        }
        assert!(now >= 9_000, "{now}");
    }
}
