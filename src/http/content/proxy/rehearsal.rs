//! What would be sent to a backend, without one being asked. Start at [`rehearse`].

use super::super::super::exchange::{Exchange, UpstreamBody};
use super::super::super::flow::Flow;
use super::super::super::local::Cx;
use super::super::super::vars;
use super::{name_target, request, unbuildable};
use crate::plan::location::{ProxyPlan, ProxyTarget, WirePlan};

/// What a backend would get.
pub struct Rehearsed {
    /// Who is asked: a group or an authority.
    pub host: Vec<u8>,
    /// The key of the cache, where the configuration says what it is.
    pub key: Option<Vec<u8>>,
    /// Lines of the request, as HTTP/1.1 writes them.
    pub lines: Vec<Vec<u8>>,
}

/// Makes the request to the backend; the answer where none can be made.
pub fn rehearse(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan) -> Result<Rehearsed, Flow> {
    let dynamic = name_target(ex, cx, plan).map_err(Flow::Error)?;
    let host = match (&plan.target, &dynamic) {
        (ProxyTarget::Group(id), _) => cx.plan.groups[*id].name.to_vec(),
        (_, Some(dynamic)) => dynamic.authority().to_vec(),
        (_, None) => Vec::new(),
    };
    let lines = match &plan.wire {
        WirePlan::FastCgi(wire) => {
            let mut lines = Vec::new();
            for param in &wire.params {
                let mut line = param.name.to_vec();
                line.extend_from_slice(b" = ");
                vars::eval(&param.value, ex, cx, &mut line);
                lines.push(line);
            }
            lines
        }
        _ => {
            ex.upstream_body = match ex.head.content_length {
                Some(length) => UpstreamBody::Length(length),
                None => UpstreamBody::None,
            };
            let mut bytes = Vec::new();
            if let Err(why) = request::build(ex, cx, plan, dynamic.as_ref(), &mut bytes) {
                return Err(unbuildable(ex, cx, why));
            }
            let head = bytes
                .split(|&b| b == b'\n')
                .map(|line| line.trim_ascii_end().to_vec());
            head.take_while(|line| !line.is_empty()).collect()
        }
    };
    let written = plan.cache.as_ref().and_then(|cache| cache.key.as_ref());
    let key = written.map(|expr| {
        let mut key = Vec::new();
        vars::eval(expr, ex, cx, &mut key);
        key
    });
    Ok(Rehearsed { host, key, lines })
}
