//! Active health checks, compiled: who is asked, how often, and what a good answer is. Start at [`CheckPlan`].

use std::time::Duration;

use bytes::Bytes;

use super::expr::Expr;
use super::regex::Regex;
use super::{GroupId, LocationId};
use crate::proto::head::Fields;

/// One `health_check` of one location.
pub struct CheckPlan {
    /// Whose peers are asked.
    pub group: GroupId,
    /// By whose settings.
    pub location: LocationId,
    /// What it is known by over reloads: equal for a check that asks for the same of the same group.
    pub tag: u64,
    /// How often.
    pub interval: Duration,
    /// How much later at random.
    pub jitter: Duration,
    /// Failures in a row after which a peer is not well.
    pub fails: u32,
    /// Passes in a row after which it is well again.
    pub passes: u32,
    /// What is asked for.
    pub uri: Bytes,
    /// Another port than the peer's.
    pub port: Option<u16>,
    /// How long one connection is used; none for a new one each time.
    pub keepalive_time: Option<Duration>,
    /// What a good answer is.
    pub wanted: Wanted,
}

/// What a good answer is.
pub enum Wanted {
    /// Any 2xx or 3xx.
    Usual,
    /// What a `match` block says.
    Match(Box<MatchPlan>),
    /// That of gRPC's protocol for health checks.
    Grpc {
        /// The service that is asked about; empty for the server as a whole.
        service: Bytes,
        /// The status that is expected instead of a good answer.
        status: Option<u32>,
    },
}

/// A `match` block.
pub struct MatchPlan {
    /// Its name.
    pub name: Bytes,
    /// The statuses that are good. Without it, any.
    pub statuses: Option<Statuses>,
    /// Fields that must be there, or not.
    pub headers: Box<[HeaderPlan]>,
    /// What the body must match; with true, must not.
    pub body: Option<(bool, Regex)>,
    /// Variables that must be neither empty nor `0`.
    pub require: Box<[Expr]>,
}

/// Statuses of good answers.
pub struct Statuses {
    /// All but these.
    pub not: bool,
    /// From, and up to and with.
    pub ranges: Box<[(u16, u16)]>,
}

/// A field that an answer must have.
pub struct HeaderPlan {
    /// Its name in lower case.
    pub name: Bytes,
    /// Whether the rule is turned round.
    pub not: bool,
    /// What of it.
    pub rule: HeaderTest,
}

/// What is asked of a field.
pub enum HeaderTest {
    /// It is there.
    Present,
    /// It is this.
    Equal(Bytes),
    /// It matches this.
    Pattern(Regex),
}

/// What of an answer is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its status.
    Status,
    /// A field.
    Header,
    /// Its body.
    Body,
    /// What it says in gRPC.
    Grpc,
    /// A variable of `require`.
    Variable,
}

impl Unfit {
    /// What was being done when that showed.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Status => "checking status code",
            Self::Header => "checking header",
            Self::Body => "checking body",
            Self::Grpc => "checking grpc status",
            Self::Variable => "checking required variables",
        }
    }
}

impl CheckPlan {
    /// The name of the `match` block; empty without one.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match &self.wanted {
            Wanted::Match(plan) => &plan.name,
            Wanted::Usual | Wanted::Grpc { .. } => b"",
        }
    }
}

impl MatchPlan {
    /// Judges a head.
    pub fn judge(&self, status: u16, fields: &Fields) -> Result<(), Unfit> {
        if let Some(Statuses { not, ranges }) = &self.statuses {
            let among = ranges
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&status));
            if among == *not {
                return Err(Unfit::Status);
            }
        }
        match self.headers.iter().all(|header| header.fits(fields)) {
            true => Ok(()),
            false => Err(Unfit::Header),
        }
    }

    /// Judges the beginning of a body.
    pub fn judge_body(&self, body: &[u8]) -> Result<(), Unfit> {
        match &self.body {
            Some((not, pattern)) if pattern.is_match(body) == *not => Err(Unfit::Body),
            _ => Ok(()),
        }
    }
}

impl HeaderPlan {
    fn fits(&self, fields: &Fields) -> bool {
        let mut values = fields.get_name_all(&self.name);
        let found = match &self.rule {
            HeaderTest::Present => values.next().is_some(),
            HeaderTest::Equal(wanted) => values.any(|value| value == &wanted[..]),
            HeaderTest::Pattern(pattern) => values.any(|value| pattern.is_match(value)),
        };
        found != self.not
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in list {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    fn header(name: &'static str, not: bool, rule: HeaderTest) -> HeaderPlan {
        HeaderPlan {
            name: name.into(),
            not,
            rule,
        }
    }

    #[test]
    fn fields_are_judged() {
        let pattern =
            |text: &str| HeaderTest::Pattern(Regex::compile(text.as_bytes(), false).unwrap());
        let equal = || HeaderTest::Equal("text/html".into());
        let html = fields(&[("Content-Type", "text/html"), ("X-A", "1"), ("X-A", "2")]);
        for (rule, fits) in [
            (header("content-type", false, HeaderTest::Present), true),
            (header("content-type", true, HeaderTest::Present), false),
            (header("x-b", true, HeaderTest::Present), true),
            (header("content-type", false, equal()), true),
            (header("content-type", true, equal()), false),
            (header("x-b", true, equal()), true),
            (header("x-a", false, pattern("^2$")), true),
            (header("x-a", true, pattern("[12]")), false),
        ] {
            assert_eq!(rule.fits(&html), fits, "{:?} {}", rule.name, rule.not);
        }
    }

    fn statuses(not: bool, ranges: &[(u16, u16)]) -> Option<Statuses> {
        Some(Statuses {
            not,
            ranges: ranges.into(),
        })
    }

    #[test]
    fn statuses_and_bodies_are_judged() {
        let mut plan = MatchPlan {
            name: "m".into(),
            statuses: statuses(false, &[(200, 200), (301, 303)]),
            headers: Box::default(),
            body: Some((false, Regex::compile(b"ok", false).unwrap())),
            require: Box::default(),
        };
        let none = fields(&[]);
        for (status, fits) in [(200, true), (204, false), (302, true), (304, false)] {
            assert_eq!(plan.judge(status, &none).is_ok(), fits, "{status}");
        }
        plan.statuses = statuses(true, &[(500, 599)]);
        assert_eq!(plan.judge(404, &none), Ok(()));
        assert_eq!(plan.judge(503, &none), Err(Unfit::Status));
        assert_eq!(plan.judge_body(b"it is ok"), Ok(()));
        assert_eq!(plan.judge_body(b"it is not"), Err(Unfit::Body));
    }
}
