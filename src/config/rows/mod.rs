//! The directive table by family. A file here holds a family's settings, its rows, and the setters of its irregular
//! directives; [`all`] is the whole table.

pub mod core;
pub mod files;
pub mod headers;
pub mod log;
pub mod main;
pub(crate) mod parse_core;
pub(crate) mod parse_proxy;
pub mod proxy;
pub mod rewrite;
pub(crate) mod syslog;
pub mod userid;

use super::table::Row;

/// The families in the order of lookup.
pub(crate) const FAMILIES: &[(&str, &[&[Row]])] = &[
    ("core", &[core::FIELD_ROWS]),
    ("proxy", &[proxy::FIELD_ROWS]),
    ("headers", &[headers::FIELD_ROWS]),
    ("log", &[log::FIELD_ROWS]),
    ("rewrite", &[rewrite::FIELD_ROWS]),
    ("files", &[files::FIELD_ROWS]),
    ("userid", &[userid::FIELD_ROWS]),
];
