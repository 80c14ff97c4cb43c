//! `ringx convert`: a configuration in one language, written in the other.
//!
//! Start at [`convert`].

use std::path::Path;

use super::commands::Language;

/// Reads a file and writes it in the language that is asked for, or else in the other one.
pub fn convert(file: &Path, to: Option<Language>) -> Result<String, String> {
    let _ = (file, to);
    Err("not yet\n".to_owned())
}
