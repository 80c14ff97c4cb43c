//! `add_before_body` and `add_after_body`: answers of subrequests around a body. Owns their order; the subrequests are
//! made by whoever drives the chain.

use bytes::Bytes;

use super::super::exchange::Exchange;
use super::chain::{Ask, At, BodyFilter, Broken, Done, Fed};
use crate::plan::filters::Addition;
use crate::proto::uri;

/// What is still to be put around the body.
#[derive(Debug)]
pub struct Filter {
    before: Bytes,
    after: Bytes,
}

/// Arms the filter for an answer that is added to.
pub fn arm(plan: &Addition, ex: &mut Exchange) {
    if ex.is_subrequest() {
        return;
    }
    let response = &mut ex.response;
    if response.status != 200 || !plan.types.has(&response.content_type) {
        return;
    }
    response.clear_length();
    response.forbid_ranges();
    response.weaken_etag();
    let filter = Filter {
        before: plan.before.clone(),
        after: plan.after.clone(),
    };
    response.chain.arm(BodyFilter::Addition(filter));
}

impl Filter {
    /// Passes bytes on, after the first and before the last of them asks.
    pub fn feed(&mut self, input: &[u8], at: At, out: &mut Vec<u8>) -> Fed {
        if !self.before.is_empty() {
            return Fed::Ask(0, ask(std::mem::take(&mut self.before)));
        }
        out.extend_from_slice(input);
        if at == At::End && !self.after.is_empty() {
            return Fed::Ask(input.len(), ask(std::mem::take(&mut self.after)));
        }
        Fed::All
    }
}

/// What a subrequest that could not be made means for the body.
pub fn resume(done: &Done) -> Result<(), Broken> {
    match done.status {
        0 => Err(Broken("no text could be added".to_owned())),
        _ => Ok(()),
    }
}

fn ask(target: Bytes) -> Box<Ask> {
    let (path, args) = uri::split_args(&target);
    Box::new(Ask {
        uri: path.to_vec(),
        args: args.unwrap_or_default().to_vec(),
        ..Ask::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_stands_between_the_two() {
        let mut filter = Filter {
            before: Bytes::from_static(b"/b"),
            after: Bytes::from_static(b"/a?x"),
        };
        let mut out = Vec::new();
        let Fed::Ask(0, first) = filter.feed(b"one", At::More, &mut out) else {
            panic!("asks before the first byte");
        };
        assert_eq!((&first.uri[..], out.len()), (&b"/b"[..], 0));
        assert_eq!(filter.feed(b"one", At::More, &mut out), Fed::All);
        let Fed::Ask(3, last) = filter.feed(b"two", At::End, &mut out) else {
            panic!("asks behind the last byte");
        };
        assert_eq!((&last.uri[..], &last.args[..]), (&b"/a"[..], &b"x"[..]));
        assert_eq!(filter.feed(b"", At::End, &mut out), Fed::All);
        assert_eq!(out, b"onetwo");
    }
}
