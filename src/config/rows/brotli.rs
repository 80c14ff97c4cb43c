//! Rows of the brotli family, as the well-known module names them.

use super::gzip::brotli_window;
use crate::config::mime::mime_types;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{args, args_min, family};
use crate::config::value::*;

family! {
    /// Settings of the brotli family.
    pub struct Brotli in brotli {
        value brotli: bool = "off", flag, HSLI, args(1), "Compresses answers with Brotli.";
        value brotli_buffers: Buffers = "32 4k", buffers, HSL, args(2), "Buffers for compressed answers."
            accepted "a compressed answer holds one buffer at a time, whatever its size";
        mask  brotli_types: MimeTypes = "text/html", mime_types, HSL, args_min(1), "Types that are compressed besides text/html; * for all.";
        value brotli_comp_level: u8 = "6", |a| num_within(a, 0, 11), HSL, args(1), "Effort of Brotli, 0 to 11.";
        value brotli_window: u8 = "512k", brotli_window, HSL, args(1), "How far back Brotli looks.";
        value brotli_min_length: usize = "20", size, HSL, args(1), "Shorter answers are not compressed.";
        value brotli_static: StaticMode = "off", |a| one_of(a, StaticMode::WORDS), HSL, args(1), "Serves FILE.br in place of FILE.";
    } also {
    }
}
