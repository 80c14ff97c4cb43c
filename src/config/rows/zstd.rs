//! Rows of the zstd family, as the well-known module names them.

use crate::config::mime::mime_types;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Row, args, args_min, family, refused};
use crate::config::value::*;

family! {
    /// Settings of the zstd family.
    pub struct Zstd in zstd {
        value zstd: bool = "off", flag, HSLI, args(1), "Compresses answers with Zstandard.";
        value zstd_buffers: Buffers = "32 4k", buffers, HSL, args(2), "Buffers for compressed answers."
            accepted "a compressed answer holds one buffer at a time, whatever its size";
        mask  zstd_types: MimeTypes = "text/html", mime_types, HSL, args_min(1), "Types that are compressed besides text/html; * for all.";
        value zstd_comp_level: u8 = "1", |a| num_within(a, 1, 22), HSL, args(1), "Effort of Zstandard, 1 to 22.";
        value zstd_min_length: usize = "20", size, HSL, args(1), "Shorter answers are not compressed.";
        value zstd_static: StaticMode = "off", |a| one_of(a, StaticMode::WORDS), HSL, args(1), "Serves FILE.zst in place of FILE.";
    } also {
    }
}

/// A private dictionary is one that no client can name.
pub(crate) const ROWS: &[Row] = &[refused(
    "zstd_dict_file",
    H,
    args(1),
    "clients that accept zstd do not have the dictionary, and could not read the answers",
)];
