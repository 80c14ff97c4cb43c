//! Rows of the gzip family: compression by gzip, decompression for clients that cannot, and compressed files.

use std::sync::Arc;

use crate::config::lower::{Frame, Lowering};
use crate::config::mime::mime_types;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Inherit, Row, args, args_min, family, row};
use crate::config::tree::Directive;
use crate::config::value::*;

family! {
    /// Settings of the gzip family.
    pub struct Gzip in gzip {
        value gzip: bool = "off", flag, HSLI, args(1), "Compresses answers with gzip.";
        value gzip_buffers: Buffers = "32 4k", buffers, HSL, args(2), "Buffers for compressed answers."
            accepted "a compressed answer holds one buffer at a time, whatever its size";
        mask  gzip_types: MimeTypes = "text/html", mime_types, HSL, args_min(1), "Types that are compressed besides text/html; * for all.";
        value gzip_comp_level: u8 = "1", |a| num_within(a, 1, 9), HSL, args(1), "Effort of gzip, 1 to 9.";
        value gzip_window: u8 = "32k", gzip_window, HSL, args(1), "How far back gzip looks.";
        value gzip_hash: u8 = "64k", gzip_hash, HSL, args(1), "Size of gzip's hash table."
            accepted "the tables of this compressor have one size";
        value postpone_gzipping: usize = "0", size, HSL, args(1), "How much of an answer is gathered before it is compressed.";
        value gzip_no_buffer: bool = "off", flag, HSL, args(1), "Sends what is compressed whenever an answer pauses."
            accepted "what is compressed is never kept while an answer pauses";
        value gzip_min_length: usize = "20", size, HSL, args(1), "Shorter answers are not compressed.";
        value gzip_http_version: HttpVersion = "1.1", |a| one_of(a, &HttpVersion::WORDS[..2]), HSL, args(1), "Oldest version of a request whose answer is compressed.";
        mask  gzip_proxied: GzipProxied = "off", |a| any_of(a, GzipProxied::WORDS, GzipProxied::has, GzipProxied::with), HSL, args_min(1), "Which answers to other proxies are compressed.";
        value gzip_vary: bool = "off", flag, HSL, args(1), "Tells caches that the answer depends on Accept-Encoding.";
        value gzip_static: StaticMode = "off", |a| one_of(a, StaticMode::WORDS), HSL, args(1), "Serves FILE.gz in place of FILE.";
        value gunzip: bool = "off", flag, HSL, args(1), "Decompresses answers for clients without gzip.";
        value gunzip_buffers: Buffers = "32 4k", buffers, HSL, args(2), "Buffers for decompressed answers."
            accepted "a decompressed answer holds one buffer at a time, whatever its size";
    } also {
        gzip_disable: List<Text> = List::default(), "`gzip_disable`: patterns of clients that get no gzip.";
        gzip_disable_msie6: bool = false, "`gzip_disable msie6`.";
    }
}

/// The row with a setter of its own.
pub(crate) const ROWS: &[Row] = &[row(
    "gzip_disable",
    HSL,
    args_min(1),
    gzip_disable,
    "Clients that get no gzip, by patterns of their User-Agent.",
)
.many()
.clearing(Inherit::Replace, |settings| {
    // The word msie6 is inherited by itself, as in nginx.
    Arc::make_mut(&mut settings.gzip).gzip_disable = List::default();
})];

fn gzip_disable(_: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let family = Arc::make_mut(&mut frame.settings.gzip);
    for word in &directive.args {
        match &word.bytes[..] {
            b"msie6" => family.gzip_disable_msie6 = true,
            // The machine is never short of memory in the sense of this word.
            b"degradation" => {}
            _ => Arc::make_mut(&mut family.gzip_disable).push(text_of(word)),
        }
    }
}

/// A power of two between two sizes, as the number of its bits.
fn bits(args: &Args<'_>, from: u8, to: u8, complaint: &str) -> Parsed<u8> {
    parse_size(args.bytes(0))
        .filter(|size| size.is_power_of_two())
        .and_then(|size| u8::try_from(size.trailing_zeros()).ok())
        .filter(|bits| (from..=to).contains(bits))
        .ok_or_else(|| -> Fault { args.fault(complaint) })
}

/// `gzip_window`.
fn gzip_window(args: &mut Args<'_>) -> Parsed<u8> {
    bits(args, 9, 15, "must be 512, 1k, 2k, 4k, 8k, 16k, or 32k")
}

/// `gzip_hash`.
fn gzip_hash(args: &mut Args<'_>) -> Parsed<u8> {
    bits(
        args,
        9,
        17,
        "must be 512, 1k, 2k, 4k, 8k, 16k, 32k, 64k, or 128k",
    )
}

/// `brotli_window`.
pub(super) fn brotli_window(args: &mut Args<'_>) -> Parsed<u8> {
    bits(
        args,
        10,
        24,
        "must be 1k, 2k, 4k, 8k, 16k, 32k, 64k, 128k, 256k, 512k, 1m, 2m, 4m, 8m or 16m",
    )
}
