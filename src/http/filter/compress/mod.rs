//! Compression of answers: gzip, Brotli and Zstandard.
//!
//! [`arm`] decides and edits the head, [`Filter`] compresses. Which codings there are to choose from is in
//! [`accept`], how they work in [`codec`].
//! Differs from nginx: gzip, br and zstd are one decision, by the client's weights, not three modules in a row.

pub mod accept;
pub mod codec;

use std::rc::Rc;

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::chain::{At, BodyFilter, Broken, Fed};
use crate::plan::filters::Coding;
use crate::plan::model::Settings;
use crate::proto::tokens::Token;
use accept::Name;
use codec::{Encoder, Idle, Kind, Stuck};

/// What a body became: for `$gzip_ratio` and its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded {
    /// How it was compressed.
    pub kind: Kind,
    /// Its bytes.
    pub taken: u64,
    /// Bytes that they became.
    pub given: u64,
}

/// The longest answer of an origin that is gathered before it is compressed.
const GATHERED_BYTES_MAX: u64 = 64 << 10;

/// One answer being compressed.
#[derive(Debug)]
pub struct Filter {
    kind: Kind,
    /// The length of the answer, where it is known.
    length: Option<u64>,
    idle: Rc<Idle>,
    /// Made when the first byte has to be compressed.
    encoder: Option<Encoder>,
    /// Gathered while it is less than `postpone_gzipping` asks for.
    held: Vec<u8>,
    /// How much may be gathered; 0 when nothing is any more.
    postpone: usize,
    /// Something was fed since the last flush.
    fresh: bool,
    taken: u64,
    given: u64,
}

/// Compresses the answer if the location, the answer and the client want it.
pub fn arm(plan: &Coding, ex: &mut Exchange, cx: Cx<'_>) {
    let response = &ex.response;
    let coded = response.fields.get(Token::CONTENT_ENCODING);
    if !matches!(response.status, 200 | 403 | 404) || coded.is_some_and(|value| !value.is_empty()) {
        return;
    }
    let settings = &cx.location(ex.location).settings;
    let wanted = wanted(plan, settings, ex);
    if wanted == [false; 3] {
        return;
    }
    ex.response.vary_encoding = true;
    let Some(kind) = choose(wanted, plan, ex, cx) else {
        return;
    };
    let length = ex.response.content_length;
    // A short answer that is buffered anyway is compressed in one go: an encoder that waits for an origin between two
    // pieces loses its place in the core's cache.
    let gathered = length.filter(|&length| ex.buffering && length <= GATHERED_BYTES_MAX);
    let gathered = gathered.unwrap_or(0) as usize;
    let response = &mut ex.response;
    response
        .fields
        .set(Token::CONTENT_ENCODING, kind.name().bytes());
    response.clear_length();
    response.forbid_ranges();
    response.weaken_etag();
    let postpone = match kind {
        Kind::Gzip(..) => settings.gzip.postpone_gzipping.max(gathered),
        _ => gathered,
    };
    let filter = Filter {
        kind,
        length,
        idle: Rc::clone(&cx.local.codecs),
        encoder: None,
        held: Vec::new(),
        postpone,
        fresh: false,
        taken: 0,
        given: 0,
    };
    response.chain.arm(BodyFilter::Compress(Box::new(filter)));
}

/// Which codings the location has for such an answer, in the order of [`Name::ALL`].
fn wanted(plan: &Coding, settings: &Settings, ex: &Exchange) -> [bool; 3] {
    let (zstd, brotli, gzip) = (&settings.zstd, &settings.brotli, &settings.gzip);
    let length = ex.response.content_length;
    let long = |least: usize| length.is_none_or(|length| length >= least as u64);
    let typed = &ex.response.content_type;
    [
        plan.zstd && long(zstd.zstd_min_length) && zstd.zstd_types.has(typed),
        plan.brotli && long(brotli.brotli_min_length) && brotli.brotli_types.has(typed),
        plan.gzip && long(gzip.gzip_min_length) && gzip.gzip_types.has(typed),
    ]
}

/// The coding that the client likes best, with what the location says about it.
fn choose(wanted: [bool; 3], plan: &Coding, ex: &mut Exchange, cx: Cx<'_>) -> Option<Kind> {
    let mut best = None;
    for (coding, wanted) in Name::ALL.into_iter().zip(wanted) {
        if !wanted {
            continue;
        }
        let weight = accept::weight_of(coding, plan, ex, cx);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    let settings = &cx.location(ex.location).settings;
    let (brotli, gzip) = (&settings.brotli, &settings.gzip);
    Some(match best?.0 {
        Name::Zstd => Kind::Zstd(settings.zstd.zstd_comp_level),
        Name::Brotli => Kind::Brotli(brotli.brotli_comp_level, brotli.brotli_window),
        Name::Gzip => Kind::Gzip(gzip.gzip_comp_level, gzip.gzip_window),
    })
}

impl Filter {
    /// Takes bytes and appends what of them is compressed. All is taken at once: what comes out is smaller, but for a
    /// few bytes.
    pub fn feed(
        &mut self,
        input: &[u8],
        at: At,
        ex: &mut Exchange,
        out: &mut Vec<u8>,
    ) -> Result<Fed, Broken> {
        self.taken += input.len() as u64;
        let from = out.len();
        self.compress(input, at, out)
            .map_err(|Stuck(text)| Broken(text))?;
        self.given += (out.len() - from) as u64;
        if at == At::End {
            // The encoder is of use to others now.
            self.encoder = None;
            ex.response.coded = Some(Coded {
                kind: self.kind,
                taken: self.taken,
                given: self.given,
            });
        }
        Ok(Fed::All)
    }

    fn compress(&mut self, input: &[u8], at: At, out: &mut Vec<u8>) -> Result<(), Stuck> {
        if at == At::More && self.held.len() + input.len() <= self.postpone {
            self.held.extend_from_slice(input);
            return Ok(());
        }
        self.postpone = 0;
        self.fresh |= !input.is_empty() || !self.held.is_empty();
        if at == At::Flush && !self.fresh {
            return Ok(());
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            empty => empty.insert(Encoder::new(self.kind, self.length, &self.idle)?),
        };
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            encoder.feed(&held, At::More, out)?;
        }
        if at == At::More && input.is_empty() {
            return Ok(());
        }
        encoder.feed(input, at, out)?;
        self.fresh = at == At::More;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(kind: Kind, postpone: usize) -> Filter {
        Filter {
            kind,
            length: None,
            idle: Rc::default(),
            encoder: None,
            held: Vec::new(),
            postpone,
            fresh: false,
            taken: 0,
            given: 0,
        }
    }

    #[test]
    fn nothing_is_compressed_while_it_is_postponed() {
        let mut filter = filter(Kind::Gzip(1, 15), 100);
        let mut out = Vec::new();
        filter.compress(&[b'a'; 60], At::More, &mut out).unwrap();
        assert!(out.is_empty() && filter.encoder.is_none());
        filter.compress(&[b'b'; 60], At::More, &mut out).unwrap();
        assert!(filter.encoder.is_some() && filter.held.is_empty());
        filter.compress(b"c", At::End, &mut out).unwrap();
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&out[..]), &mut plain)
            .unwrap();
        let want = [&[b'a'; 60][..], &[b'b'; 60], b"c"].concat();
        assert_eq!(plain, want);
    }

    #[test]
    fn a_flush_without_news_makes_no_bytes() {
        for kind in [Kind::Gzip(1, 15), Kind::Brotli(4, 16), Kind::Zstd(1)] {
            let mut filter = filter(kind, 0);
            let mut out = Vec::new();
            filter.compress(b"", At::Flush, &mut out).unwrap();
            assert!(out.is_empty() && filter.encoder.is_none(), "{kind:?}");
            filter.compress(b"x", At::More, &mut out).unwrap();
            filter.compress(b"", At::Flush, &mut out).unwrap();
            let length = out.len();
            assert!(length > 0, "{kind:?}");
            for _ in 0..3 {
                filter.compress(b"", At::Flush, &mut out).unwrap();
            }
            assert_eq!(out.len(), length, "{kind:?}");
        }
    }
}
