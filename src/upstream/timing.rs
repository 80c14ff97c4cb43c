//! How long a peer takes to answer, for `least_time`: running averages of the time to the head and to the last byte, and of
//! answers that are not there yet. nginx's arithmetic, in milliseconds. Start at [`Timing::eta`].

/// What `least_time` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastTime {
    /// The whole answer, not its head.
    pub last_byte: bool,
    /// Answers that are not there yet, too.
    pub inflight: bool,
}

/// Peers that take longer are equally bad: the number of their requests decides.
const SLOW_MS: u64 = 5000;

/// Times are rounded to so many milliseconds, so that those who are about as fast take turns.
const STEP_MS: u64 = 20;

/// What is known of the answers of one peer.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    header: u64,
    response: u64,
    /// The average of answers that are not there yet.
    waiting: u64,
    /// Requests whose answer is not there yet.
    inflight: u32,
    /// The time that these have waited in all, up to `changed`.
    waited: u64,
    changed: u64,
}

fn average(of: &mut u64, value: u64) {
    *of = if *of == 0 {
        value
    } else {
        (value + *of * 19 + 10) / 20
    };
}

impl Timing {
    fn catch_up(&mut self, now: u64) {
        self.waited += now.saturating_sub(self.changed) * u64::from(self.inflight);
        self.changed = now;
    }

    /// A request was given to the peer.
    pub(super) fn begin(&mut self, now: u64) {
        self.catch_up(now);
        self.inflight += 1;
    }

    /// The answer of a request that began `took` ago is there, or will never come.
    pub(super) fn end(&mut self, now: u64, took: u64) {
        self.catch_up(now);
        self.inflight = self.inflight.saturating_sub(1);
        self.waited = match self.inflight {
            0 => 0,
            _ => self.waited.saturating_sub(took),
        };
    }

    /// A request left without an answer.
    pub(super) fn leave(&mut self) {
        let each = self.waited.checked_div(u64::from(self.inflight));
        self.end(self.changed, each.unwrap_or(0));
    }

    /// A head came after so long.
    pub(super) fn header(&mut self, took: u64) {
        average(&mut self.header, took);
    }

    /// An answer was complete after so long.
    pub(super) fn response(&mut self, took: u64) {
        average(&mut self.response, took);
    }

    /// Takes those into account that are waited for. Once for each peer and pick.
    pub(super) fn look(&mut self, now: u64) {
        if self.inflight > 0 {
            let each = self.waited / u64::from(self.inflight);
            average(&mut self.waiting, each + now.saturating_sub(self.changed));
        }
    }

    /// The time that the peer is expected to need for one more request beside `conns`. `rests` says how often the
    /// peer could have been tried since it was last looked at: each time halves what is held against it.
    pub(super) fn eta(&self, rule: LeastTime, conns: u32, rests: i64) -> u64 {
        let mut time = if rule.last_byte {
            self.response
        } else {
            self.header
        };
        if rests > 0 {
            let rests = u32::try_from(rests).unwrap_or(u32::MAX);
            time = time.checked_shr(rests).unwrap_or(0);
        }
        if self.inflight > 0 {
            time = time.max(self.waiting);
        }
        let time = if time > SLOW_MS {
            SLOW_MS
        } else {
            time + STEP_MS - time % STEP_MS
        };
        time * (1 + u64::from(conns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: LeastTime = LeastTime {
        last_byte: true,
        inflight: false,
    };
    const HEAD: LeastTime = LeastTime {
        last_byte: false,
        inflight: true,
    };

    #[test]
    fn the_first_time_counts_whole_and_later_ones_a_twentieth() {
        let mut timing = Timing::default();
        assert_eq!(timing.eta(WHOLE, 0, 0), 20);
        timing.response(1000);
        assert_eq!(timing.response, 1000);
        timing.response(0);
        assert_eq!(timing.response, 950);
        timing.response(2000);
        assert_eq!(timing.response, 1003);
        timing.header(55);
        for (rule, conns, rests, want) in [
            (WHOLE, 0, 0, 1020),
            (WHOLE, 2, 0, 3060),
            (WHOLE, 0, 1, 520),
            (WHOLE, 0, 4, 80),
            (WHOLE, 0, 99, 20),
            (HEAD, 0, 0, 60),
        ] {
            assert_eq!(timing.eta(rule, conns, rests), want, "{conns} {rests}");
        }
        timing.response(1_000_000);
        assert_eq!(timing.eta(WHOLE, 1, 0), 2 * SLOW_MS);
    }

    #[test]
    fn what_is_waited_for_counts_when_it_takes_longer() {
        let mut timing = Timing::default();
        timing.header(100);
        timing.begin(1000);
        timing.begin(1500);
        timing.look(2000);
        // 1000 and 500 ms have passed so far.
        assert_eq!(timing.waiting, 750);
        assert_eq!(timing.eta(HEAD, 0, 0), 760);
        timing.end(2000, 1000);
        assert_eq!((timing.inflight, timing.waited), (1, 500));
        timing.end(2000, 500);
        timing.look(9000);
        assert_eq!(timing.eta(HEAD, 0, 0), 120, "nobody waits any more");
        timing.end(9000, 1);
        assert_eq!(timing.inflight, 0);
    }
}
