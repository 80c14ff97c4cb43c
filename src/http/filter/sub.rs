//! `sub_filter`: texts of a body replaced by others, as they pass. Owns what it holds back while a text may still come
//! true, which is shorter than the longest text. Start at [`Filter::feed`].

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::super::vars;
use super::chain::{At, BodyFilter, Fed};
use crate::base::needles::{Found, Needles};
use crate::plan::LocationId;
use crate::plan::filters::Sub;

/// What one feed may append before the rest has to wait.
const OUT_BYTES: usize = 64 << 10;

/// Replaces texts of one body.
#[derive(Debug)]
pub struct Filter {
    location: LocationId,
    /// Texts that are other ones for each request.
    own: Option<Box<Needles>>,
    /// For each text: the pair that it is of, and its replacement once that was needed.
    pairs: Vec<Pair>,
    /// Texts that may still be replaced.
    left: usize,
    /// The beginning of a text, perhaps.
    held: Vec<u8>,
}

#[derive(Debug)]
struct Pair {
    index: u8,
    /// Replaced once.
    applied: bool,
    value: Option<Vec<u8>>,
}

/// Arms the filter for an answer of one of its types.
pub fn arm(plan: &Sub, ex: &mut Exchange, cx: Cx<'_>) {
    let response = &mut ex.response;
    if response.content_length == Some(0) || !plan.types.has(&response.content_type) {
        return;
    }
    let mut pairs = Vec::with_capacity(plan.pairs.len());
    let mut own = None;
    if plan.needles.is_none() {
        let mut texts = Vec::with_capacity(plan.pairs.len());
        for (index, pair) in plan.pairs.iter().enumerate() {
            let mut text = Vec::new();
            vars::eval(&pair.pattern, ex, cx, &mut text);
            if !text.is_empty() {
                texts.push(text);
                pairs.push(Pair::new(index));
            }
        }
        let Some(needles) = Needles::new(texts.iter().map(Vec::as_slice)) else {
            return;
        };
        own = Some(Box::new(needles));
    } else {
        pairs.extend((0..plan.pairs.len()).map(Pair::new));
    }
    let response = &mut ex.response;
    response.clear_length();
    if plan.last_modified {
        response.weaken_etag();
    } else {
        response.clear_modified();
        response.clear_etag();
    }
    let filter = Filter {
        location: ex.location,
        own,
        left: pairs.len(),
        pairs,
        held: Vec::new(),
    };
    response.chain.arm(BodyFilter::Sub(Box::new(filter)));
}

impl Pair {
    fn new(index: usize) -> Self {
        Self {
            index: index as u8,
            applied: false,
            value: None,
        }
    }
}

impl Filter {
    /// Replaces what is found in `input`.
    pub fn feed(
        &mut self,
        input: &[u8],
        at: At,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Fed {
        let Some(plan) = cx.location(self.location).filters.as_ref() else {
            return self.seam_and_pass(input, out);
        };
        let Some(plan) = &plan.sub else {
            return self.seam_and_pass(input, out);
        };
        self.replace(input, at, plan, out, |index, value| {
            vars::eval(&plan.pairs[index].value, ex, cx, value);
        })
    }

    fn seam_and_pass(&mut self, input: &[u8], out: &mut Vec<u8>) -> Fed {
        self.seam(out);
        out.extend_from_slice(input);
        Fed::All
    }

    /// The same, with the replacements from `evaluate`, which is asked once for each.
    fn replace(
        &mut self,
        input: &[u8],
        at: At,
        plan: &Sub,
        out: &mut Vec<u8>,
        mut evaluate: impl FnMut(usize, &mut Vec<u8>),
    ) -> Fed {
        let held = self.held.len();
        let mut joined = std::mem::take(&mut self.held);
        let data = if held == 0 {
            input
        } else {
            joined.extend_from_slice(input);
            &joined[..]
        };
        let own = self.own.take();
        let Some(needles) = own.as_deref().or(plan.needles.as_ref()) else {
            out.extend_from_slice(data);
            return Fed::All;
        };
        let mut done = 0;
        let mut fed = Fed::All;
        let rest = loop {
            if self.left == 0 {
                break data.len();
            }
            if out.len() >= OUT_BYTES && done > held && done < data.len() {
                fed = Fed::Part(done - held);
                break done;
            }
            let pairs = &self.pairs;
            let found = needles.find(data, done, |text| plan.once && pairs[text].applied);
            match found {
                Found::Text { start, index } => {
                    out.extend_from_slice(&data[done..start]);
                    self.put(index, plan.once, out, &mut evaluate);
                    done = start + needles.length(index);
                }
                Found::Perhaps(start) if at != At::End => break start,
                Found::Perhaps(_) | Found::Nothing => break data.len(),
            }
        };
        out.extend_from_slice(&data[done..rest]);
        if fed == Fed::All && rest < data.len() {
            self.held = data[rest..].to_vec();
        }
        self.own = own;
        fed
    }

    /// Appends the replacement of a text.
    fn put(
        &mut self,
        text: usize,
        once: bool,
        out: &mut Vec<u8>,
        evaluate: &mut impl FnMut(usize, &mut Vec<u8>),
    ) {
        let pair = &mut self.pairs[text];
        let index = usize::from(pair.index);
        let value = pair.value.get_or_insert_with(|| {
            let mut value = Vec::new();
            evaluate(index, &mut value);
            value
        });
        out.extend_from_slice(value);
        pair.applied = true;
        if once {
            self.left -= 1;
        }
    }

    /// Other bytes follow: what was held back is no text.
    pub fn seam(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::expr::Expr;
    use crate::plan::filters::SubPair;

    fn plan(pairs: &[(&str, &str)], once: bool) -> Sub {
        let pair = |(from, to): &(&str, &str)| SubPair {
            pattern: Expr::literal(from.as_bytes().to_vec()),
            value: Expr::literal(to.as_bytes().to_vec()),
        };
        Sub {
            pairs: pairs.iter().map(pair).collect(),
            needles: Needles::new(pairs.iter().map(|(from, _)| from.as_bytes())),
            once,
            last_modified: false,
            types: Default::default(),
        }
    }

    /// Feeds pieces of `step` bytes.
    fn run(plan: &Sub, body: &[u8], step: usize) -> Vec<u8> {
        let mut filter = Filter {
            location: LocationId(0),
            own: None,
            pairs: (0..plan.pairs.len()).map(Pair::new).collect(),
            left: plan.pairs.len(),
            held: Vec::new(),
        };
        let mut out = Vec::new();
        let mut pieces: Vec<(&[u8], At)> = body.chunks(step).map(|p| (p, At::More)).collect();
        pieces.push((b"", At::End));
        for (mut piece, at) in pieces {
            loop {
                let mut some = Vec::new();
                let fed = filter.replace(piece, at, plan, &mut some, |index, value| {
                    let text = plan.pairs[index].value.as_literal();
                    value.extend_from_slice(text.unwrap_or_default());
                });
                out.extend_from_slice(&some);
                assert!(filter.held.len() < 16, "what is held back is bounded");
                match fed {
                    Fed::Part(taken) => piece = &piece[taken..],
                    _ => break,
                }
            }
        }
        out
    }

    #[test]
    fn the_cut_makes_no_difference() {
        for (pairs, once, body, want) in [
            (&[("bar", "FOO")][..], true, "a bar b bar", "a FOO b bar"),
            (&[("bar", "FOO")], false, "a bAr b BAR", "a FOO b FOO"),
            (&[("aab", "X")], false, "aaab aab", "aX X"),
            (
                &[("ab", "1"), ("cd", "2")],
                true,
                "ab cd ab cd",
                "1 2 ab cd",
            ),
            (&[("ab", ""), ("b", "ab")], false, "abb", "ab"),
            (&[("a", "aa")], false, "aaa", "aaaaaa"),
            (&[("</body>", "!</body>")], true, "x</body>", "x!</body>"),
            (&[("long text", "-")], true, "long tex", "long tex"),
            // As in nginx: what may have become the first text is not looked at again for the second.
            (&[("abc", "1"), ("ab", "2")], false, "xab", "xab"),
            (&[("abc", "1"), ("ab", "2")], false, "xabx", "x2x"),
        ] {
            let plan = plan(pairs, once);
            for step in 1..=body.len() {
                let got = run(&plan, body.as_bytes(), step);
                assert_eq!(got, want.as_bytes(), "{pairs:?} in {body} by {step}");
            }
        }
    }

    #[test]
    fn replacements_that_are_much_longer_come_in_parts() {
        let long = "y".repeat(1000);
        let plan = plan(&[("x", &long)], false);
        let got = run(&plan, &b"x".repeat(1000), 1000);
        assert_eq!(got.len(), 1_000_000);
    }
}
