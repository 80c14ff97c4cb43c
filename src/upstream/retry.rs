//! What a failed attempt means: another peer, a new connection to the same one, or a status for the client.
//! Pure policy over facts; sees no bytes and no sockets. Start at [`Facts`] and [`decide`].
//!
//! The rules are nginx's (`proxy_next_upstream`), with one exception, told at [`Verdict::Again`].

use std::time::Duration;

use super::selection::{Outcome, Selection};
use crate::base::time::Mono;
use crate::plan::model::NextUpstream;

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No peer was usable.
    NoLive,
    /// All usable peers have as many requests as they may.
    ///
    /// Differs from nginx: there the answer is 502, as if they were dead.
    Full,
    /// A connection could not be made, or broke before the response head was read.
    Error,
    /// Connecting, sending or reading the head took too long.
    Timeout,
    /// What came is no response head, or one too large.
    InvalidHeader,
    /// There was no socket to be had: nobody else is asked, and nobody is to blame.
    Local,
    /// A response with this status, which `proxy_next_upstream` may reject.
    Status(u16),
}

impl Cause {
    /// The word of `proxy_next_upstream` that lets the request move on; none when nothing does.
    fn condition(self) -> Option<NextUpstream> {
        Some(match self {
            Self::NoLive | Self::Full | Self::Local => return None,
            Self::Error => NextUpstream::ERROR,
            Self::Timeout => NextUpstream::TIMEOUT,
            Self::InvalidHeader => NextUpstream::INVALID_HEADER,
            Self::Status(500) => NextUpstream::HTTP_500,
            Self::Status(502) => NextUpstream::HTTP_502,
            Self::Status(503) => NextUpstream::HTTP_503,
            Self::Status(504) => NextUpstream::HTTP_504,
            Self::Status(403) => NextUpstream::HTTP_403,
            Self::Status(404) => NextUpstream::HTTP_404,
            Self::Status(429) => NextUpstream::HTTP_429,
            Self::Status(_) => return None,
        })
    }

    /// What the client gets when nobody else is asked.
    pub fn status(self) -> u16 {
        match self {
            Self::Timeout => 504,
            Self::Local => 500,
            Self::Full => 503,
            Self::Status(status) => status,
            Self::NoLive | Self::Error | Self::InvalidHeader => 502,
        }
    }

    /// Whether the peer is to blame: 403 and 404 are answers of a peer that is well.
    fn outcome(self) -> Outcome {
        match self {
            Self::Status(403 | 404) => Outcome::Next,
            Self::Local => Outcome::Ok,
            _ => Outcome::Failed,
        }
    }
}

/// The method repeats nothing when it is sent twice. nginx counts all but POST, LOCK and PATCH.
pub fn idempotent(method: &[u8]) -> bool {
    !matches!(method, b"POST" | b"LOCK" | b"PATCH")
}

/// What `proxy_next_upstream*` of the location say.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `proxy_next_upstream`.
    pub conditions: NextUpstream,
    /// `proxy_next_upstream_timeout`; zero for none.
    pub timeout: Duration,
}

/// What happened in an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Why it failed.
    pub cause: Cause,
    /// [`idempotent`] of the method.
    pub idempotent: bool,
    /// A byte of the request was handed to the kernel, in this attempt or an earlier one.
    pub sent: bool,
    /// The body is passed on as it arrives (`proxy_request_buffering off`): it cannot be sent twice.
    pub streamed: bool,
    /// Body bytes were already taken from the client for good.
    pub body_taken: bool,
    /// The connection came from the pool.
    pub reused: bool,
    /// The peer took no byte of this request: it had closed the reused connection before.
    pub untouched: bool,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask the next peer.
    Next,
    /// Send the request again on a new connection: the pooled one was dead before it.
    ///
    /// Differs from nginx: whatever the method and `proxy_next_upstream`, because the kernel knows that nobody saw
    /// the request. nginx answers such a POST with 502.
    Again,
    /// Answer with this status.
    GiveUp(u16),
}

/// Books the failure with the balancer and decides. The second value is true when the peer was switched off, which
/// is worth a line in the log.
pub fn decide(
    facts: &Facts,
    policy: Policy,
    selection: &mut Selection,
    now: Mono,
) -> (Verdict, bool) {
    if stale(facts) {
        selection.report(Outcome::Stale, now);
        return (Verdict::Again, false);
    }
    let disabled = selection.report(facts.cause.outcome(), now);
    if facts.reused && facts.cause == Cause::Error {
        // The pool's fault more likely than the peer's: the attempt does not count.
        selection.grant();
    }
    let left = selection.tries_left() > 0;
    let verdict = if left && may_move_on(facts, policy, selection.started(), now) {
        Verdict::Next
    } else {
        Verdict::GiveUp(facts.cause.status())
    };
    (verdict, disabled)
}

/// Whether a response with this status is thrown away to ask another peer. Ask before the response is passed on; if
/// so, [`decide`] with [`Cause::Status`]. The last peer's answer reaches the client as it is.
pub fn rejects(facts: &Facts, policy: Policy, selection: &Selection, now: Mono) -> bool {
    selection.tries_left() > 1 && may_move_on(facts, policy, selection.started(), now)
}

fn stale(facts: &Facts) -> bool {
    facts.reused && facts.untouched && facts.cause == Cause::Error && !facts.body_taken
}

fn may_move_on(facts: &Facts, policy: Policy, started: Mono, now: Mono) -> bool {
    let Some(condition) = facts.cause.condition() else {
        return false;
    };
    let repeatable =
        !facts.sent || facts.idempotent || policy.conditions.has(NextUpstream::NON_IDEMPOTENT);
    let in_time = policy.timeout.is_zero() || now.since(started) < policy.timeout;
    policy.conditions.has(condition) && repeatable && !(facts.sent && facts.streamed) && in_time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{GroupId, PeerAddr};
    use crate::upstream::balance::Key;
    use crate::upstream::group::Group;
    use crate::upstream::selection::Pick;

    fn facts(cause: Cause) -> Facts {
        Facts {
            cause,
            idempotent: true,
            sent: true,
            streamed: false,
            body_taken: false,
            reused: false,
            untouched: false,
        }
    }

    fn policy(conditions: &[NextUpstream]) -> Policy {
        let conditions = conditions
            .iter()
            .fold(NextUpstream::default(), |all, &one| all.with(one));
        Policy {
            conditions,
            timeout: Duration::ZERO,
        }
    }

    fn default_policy() -> Policy {
        policy(&[NextUpstream::ERROR, NextUpstream::TIMEOUT])
    }

    /// A selection over `count` peers that is in its first attempt.
    fn selection(count: u16) -> Selection {
        let addresses = (1..=count).map(|port| PeerAddr::Tcp(([127, 0, 0, 1], port).into()));
        let group = Group::of_targets("g".into(), addresses);
        let mut selection = Selection::new(group, Key::None, 0, Mono(1000));
        assert_ne!(selection.pick(Mono(1000), 0), Pick::None);
        selection
    }

    fn verdict(facts: Facts, policy: Policy, peers: u16) -> Verdict {
        decide(&facts, policy, &mut selection(peers), Mono(1000)).0
    }

    #[test]
    fn each_cause_needs_its_word() {
        let words = [
            (Cause::Error, NextUpstream::ERROR, 502),
            (Cause::Timeout, NextUpstream::TIMEOUT, 504),
            (Cause::InvalidHeader, NextUpstream::INVALID_HEADER, 502),
            (Cause::Status(500), NextUpstream::HTTP_500, 500),
            (Cause::Status(502), NextUpstream::HTTP_502, 502),
            (Cause::Status(503), NextUpstream::HTTP_503, 503),
            (Cause::Status(504), NextUpstream::HTTP_504, 504),
            (Cause::Status(403), NextUpstream::HTTP_403, 403),
            (Cause::Status(404), NextUpstream::HTTP_404, 404),
            (Cause::Status(429), NextUpstream::HTTP_429, 429),
        ];
        for (cause, word, status) in words {
            for (_, other, _) in words {
                let want = if word == other {
                    Verdict::Next
                } else {
                    Verdict::GiveUp(status)
                };
                assert_eq!(
                    verdict(facts(cause), policy(&[other]), 2),
                    want,
                    "{cause:?} {other:?}"
                );
            }
            let off = policy(&[NextUpstream::OFF]);
            assert_eq!(
                verdict(facts(cause), off, 2),
                Verdict::GiveUp(status),
                "{cause:?} off"
            );
            assert_eq!(
                verdict(facts(cause), policy(&[word]), 1),
                Verdict::GiveUp(status),
                "{cause:?} alone"
            );
        }
    }

    #[test]
    fn nobody_alive_is_a_bad_gateway_whatever_is_configured() {
        let all = policy(
            &NextUpstream::WORDS
                .iter()
                .map(|&(_, bit)| bit)
                .collect::<Vec<_>>(),
        );
        assert_eq!(verdict(facts(Cause::NoLive), all, 2), Verdict::GiveUp(502));
        assert_eq!(verdict(facts(Cause::Local), all, 2), Verdict::GiveUp(500));
    }

    #[test]
    fn post_lock_and_patch_are_sent_once() {
        for (method, once) in [
            ("POST", true),
            ("LOCK", true),
            ("PATCH", true),
            ("PUT", false),
            ("DELETE", false),
            ("GET", false),
            ("MKCOL", false),
            ("post", false),
        ] {
            let mut f = facts(Cause::Error);
            f.idempotent = idempotent(method.as_bytes());
            let want = if once {
                Verdict::GiveUp(502)
            } else {
                Verdict::Next
            };
            assert_eq!(verdict(f, default_policy(), 2), want, "{method}");
            // Not a byte went out: any method may move on.
            f.sent = false;
            assert_eq!(
                verdict(f, default_policy(), 2),
                Verdict::Next,
                "{method} unsent"
            );
            f.sent = true;
            let asked = policy(&[NextUpstream::ERROR, NextUpstream::NON_IDEMPOTENT]);
            assert_eq!(
                verdict(f, asked, 2),
                Verdict::Next,
                "{method} non_idempotent"
            );
        }
    }

    #[test]
    fn a_streamed_body_stays_where_it_went() {
        let mut f = facts(Cause::Error);
        f.streamed = true;
        assert_eq!(verdict(f, default_policy(), 2), Verdict::GiveUp(502));
        f.sent = false;
        assert_eq!(verdict(f, default_policy(), 2), Verdict::Next);
    }

    #[test]
    fn a_reused_connection_grants_one_more_try() {
        let mut f = facts(Cause::Error);
        f.reused = true;
        assert_eq!(verdict(f, default_policy(), 1), Verdict::Next);
        f.idempotent = false;
        assert_eq!(verdict(f, default_policy(), 1), Verdict::GiveUp(502));
        f.idempotent = true;
        f.cause = Cause::Timeout;
        assert_eq!(
            verdict(f, default_policy(), 1),
            Verdict::GiveUp(504),
            "only errors grant it"
        );
    }

    #[test]
    fn a_stale_connection_is_replaced_for_every_method() {
        for (idempotent, conditions) in [
            (true, default_policy()),
            (false, default_policy()),
            (false, policy(&[NextUpstream::OFF])),
        ] {
            let mut f = facts(Cause::Error);
            f.reused = true;
            f.untouched = true;
            f.idempotent = idempotent;
            let mut selection = selection(1);
            assert_eq!(
                decide(&f, conditions, &mut selection, Mono(1000)),
                (Verdict::Again, false)
            );
            assert!(selection.fresh_only());
            assert_eq!(
                selection.pick(Mono(1000), 0),
                Pick::Peer(crate::plan::PeerId(0))
            );
            // The second attempt is on a new connection and follows the ordinary rules.
            f.reused = false;
            f.untouched = false;
            let (second, _) = decide(&f, conditions, &mut selection, Mono(1000));
            assert_eq!(second, Verdict::GiveUp(502));
        }
        let mut taken = facts(Cause::Error);
        (
            taken.reused,
            taken.untouched,
            taken.body_taken,
            taken.streamed,
        ) = (true, true, true, true);
        assert_eq!(
            verdict(taken, default_policy(), 2),
            Verdict::GiveUp(502),
            "the body is gone"
        );
    }

    #[test]
    fn the_timeout_of_next_upstream_ends_the_search() {
        let mut limited = default_policy();
        limited.timeout = Duration::from_millis(500);
        for (now, want) in [
            (1000, Verdict::Next),
            (1499, Verdict::Next),
            (1500, Verdict::GiveUp(502)),
        ] {
            let got = decide(&facts(Cause::Error), limited, &mut selection(2), Mono(now)).0;
            assert_eq!(got, want, "{now}");
        }
    }

    #[test]
    fn the_last_answer_is_passed_on() {
        let f = facts(Cause::Status(503));
        let asked = policy(&[NextUpstream::HTTP_503]);
        assert!(rejects(&f, asked, &selection(2), Mono(1000)));
        assert!(!rejects(&f, asked, &selection(1), Mono(1000)));
        assert!(!rejects(&f, default_policy(), &selection(2), Mono(1000)));
        let mut post = f;
        post.idempotent = false;
        assert!(!rejects(&post, asked, &selection(2), Mono(1000)));
    }

    #[test]
    fn what_counts_as_a_failure_of_the_peer() {
        for (cause, fails) in [
            (Cause::Error, 1),
            (Cause::Timeout, 1),
            (Cause::InvalidHeader, 1),
            (Cause::Status(500), 1),
            (Cause::Status(429), 1),
            (Cause::Status(403), 0),
            (Cause::Status(404), 0),
            (Cause::Local, 0),
        ] {
            let mut selection = selection(2);
            let peer = selection.current().unwrap();
            let (_, disabled) = decide(&facts(cause), default_policy(), &mut selection, Mono(1000));
            assert_eq!(
                selection.group().peer(peer).unwrap().fails,
                fails,
                "{cause:?}"
            );
            assert_eq!(disabled, fails > 0, "{cause:?}");
        }
        let _: Option<GroupId> = selection(1).group().id;
    }
}
