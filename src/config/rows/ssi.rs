//! Rows of the SSI family: commands in pages.

use crate::config::mime::mime_types;
use crate::config::model::MimeTypes;
use crate::config::table::ctx::*;
use crate::config::table::{args, args_min, family};
use crate::config::value::*;

family! {
    /// Settings of the SSI family.
    pub struct SsiSettings in ssi {
        value ssi: bool = "off", flag, HSLI, args(1), "Runs the commands that pages hold.";
        value ssi_silent_errors: bool = "off", flag, HSL, args(1), "Writes nothing in the place of a command that failed.";
        value ssi_ignore_recycled_buffers: bool = "off", flag, HSL, args(1), "Passes buffers on at once." accepted "buffers are not recycled in a page";
        value ssi_min_file_chunk: usize = "1k", size, HSL, args(1), "Shortest part of a file that is sent by sendfile." accepted "a page passes through memory";
        value ssi_value_length: usize = "255", size, HSL, args(1), "Longest value in a command.";
        mask  ssi_types: MimeTypes = "text/html", mime_types, HSL, args_min(1), "Content types of pages.";
        value ssi_last_modified: bool = "off", flag, HSL, args(1), "Keeps Last-Modified and a weak ETag of a page.";
    } also {
    }
}
