//! `health_check` of a location, and the `match` block that it names.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use super::{Compiler, bytes_of};
use crate::config::model::{self, HealthCheck, MatchBlock};
use crate::plan::LocationId;
use crate::plan::health::{CheckPlan, HeaderPlan, HeaderTest, MatchPlan, Statuses, Wanted};
use crate::plan::location::{Content, ProxyTarget, WirePlan};

impl Compiler<'_> {
    /// Compiles the check of a location that was compiled.
    pub(super) fn health_check(&mut self, location: &model::Location, id: LocationId) {
        let Some(check) = &location.check else {
            return;
        };
        let group = match &self.locations[id].content {
            Content::Proxy(proxy) => match proxy.target {
                ProxyTarget::Group(group) if self.groups[group].explicit => Ok((group, proxy)),
                ProxyTarget::Group(_) => Err("a group of servers (an \"upstream\" block)"),
                ProxyTarget::Dynamic { .. } => Err("a group that is known at load"),
            },
            _ => Err("\"proxy_pass\", \"grpc_pass\" or \"fastcgi_pass\""),
        };
        let (group, grpc) = match group {
            Ok((group, proxy)) => (group, matches!(proxy.wire, WirePlan::Grpc { .. })),
            Err(needs) => {
                let message = format!("\"health_check\" needs {needs} in the same location");
                return self.error(message, check.span);
            }
        };
        if check.grpc.is_some() && !grpc {
            let message = "\"health_check\" with \"type=grpc\" needs \"grpc_pass\"";
            return self.error(message, check.span);
        }
        let Some(wanted) = self.wanted(check) else {
            return;
        };
        let uri = check.uri.as_deref().unwrap_or(b"/");
        let tag = tag(&[
            &self.groups[group].name,
            uri,
            check.matched.as_ref().map_or(b"", |name| &name.bytes[..]),
            &check.port.unwrap_or(0).to_be_bytes(),
            &location.path.bytes,
        ]);
        let plan = CheckPlan {
            group,
            location: id,
            tag,
            interval: check.interval,
            jitter: check.jitter,
            fails: check.fails,
            passes: check.passes,
            uri: bytes_of(uri),
            port: check.port,
            keepalive_time: check.keepalive_time,
            wanted,
        };
        self.checks.push(plan);
        let checked = &mut self.groups[group].checked;
        let persistent = check.persistent || !check.mandatory;
        *checked = checked.with(check.mandatory, persistent);
    }

    fn wanted(&mut self, check: &HealthCheck) -> Option<Wanted> {
        if let Some(grpc) = &check.grpc {
            return Some(Wanted::Grpc {
                service: bytes_of(&grpc.service),
                status: grpc.status,
            });
        }
        let Some(name) = &check.matched else {
            return Some(Wanted::Usual);
        };
        let matches = self.matches.clone();
        let Some(block) = matches.iter().find(|block| block.name.bytes == name.bytes) else {
            let message = format!("match \"{}\" not found", name.lossy());
            self.error(message, name.span);
            return None;
        };
        let plan = self.match_block(block)?;
        Some(Wanted::Match(Box::new(plan)))
    }

    fn match_block(&mut self, block: &MatchBlock) -> Option<MatchPlan> {
        let mut headers = Vec::new();
        for header in &block.headers {
            let (not, rule) = match &header.rule {
                model::HeaderRule::Present => (false, HeaderTest::Present),
                model::HeaderRule::Absent => (true, HeaderTest::Present),
                model::HeaderRule::Equal { not, value } => {
                    (*not, HeaderTest::Equal(bytes_of(&value.bytes)))
                }
                model::HeaderRule::Pattern { not, value } => {
                    (*not, HeaderTest::Pattern(self.regex(value, false)?))
                }
            };
            headers.push(HeaderPlan {
                name: header.name.to_ascii_lowercase().into(),
                not,
                rule,
            });
        }
        let body = match &block.body {
            Some((not, pattern)) => Some((*not, self.regex(pattern, false)?)),
            None => None,
        };
        let require = block.require.iter().map(|name| self.variable(name));
        let require = require.collect();
        let statuses = block.statuses.as_ref();
        Some(MatchPlan {
            name: bytes_of(&block.name.bytes),
            statuses: statuses.map(|s| Statuses {
                not: s.not,
                ranges: s.ranges.clone().into(),
            }),
            headers: headers.into(),
            body,
            require,
        })
    }
}

/// What a check is known by over reloads.
fn tag(parts: &[&[u8]]) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::testing::from_text;
    use crate::plan::health::Wanted;

    #[test]
    fn checks_belong_to_groups_and_what_is_missing_is_told() {
        let (plan, _) = from_text(
            "http { upstream u { server 127.0.0.1:1; } match ok { status 200; }
                    server { location / { proxy_pass http://u; health_check match=ok port=81 mandatory persistent; }
                             location /b { proxy_pass http://u; health_check uri=/b; } } }",
        )
        .unwrap_or_else(|diags| panic!("{diags:?}"));
        let [first, second] = &plan.checks[..] else {
            panic!("two checks");
        };
        assert_ne!(first.tag, second.tag);
        assert!(matches!(&first.wanted, Wanted::Match(m) if m.name == "ok"));
        assert_eq!((first.name(), second.name()), (&b"ok"[..], &b""[..]));
        assert_eq!((first.port, &second.uri[..]), (Some(81), &b"/b"[..]));
        let checked = plan.groups[first.group].checked;
        assert!(checked.any && checked.mandatory && !checked.forgetful);
        for (inside, told) in [
            (
                "health_check;",
                "\"health_check\" needs \"proxy_pass\", \"grpc_pass\" or \"fastcgi_pass\" in the same location",
            ),
            (
                "proxy_pass http://127.0.0.1; health_check;",
                "\"health_check\" needs a group of servers (an \"upstream\" block) in the same location",
            ),
            (
                "proxy_pass http://$host; health_check;",
                "\"health_check\" needs a group that is known at load in the same location",
            ),
            (
                "proxy_pass http://u; health_check match=x;",
                "match \"x\" not found",
            ),
            (
                "proxy_pass http://u; health_check type=grpc;",
                "\"health_check\" with \"type=grpc\" needs \"grpc_pass\"",
            ),
        ] {
            let text = format!(
                "http {{ upstream u {{ server 127.0.0.1:1; }} server {{ location / {{ {inside} }} }} }}"
            );
            let diags = from_text(&text).err().expect(inside);
            assert!(
                diags.iter().any(|d| d.message == told),
                "{inside}: {diags:?}"
            );
        }
    }
}
