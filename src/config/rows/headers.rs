//! Rows of the headers family: fields that are added to answers.

use super::parse_core::{add_header, expires};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{args, args_to, family};
use crate::config::value::*;

family! {
    /// Settings of the headers family.
    pub struct Headers in headers {
        value expires: Expires = "off", expires, HSLI, args_to(1, 2), "Sets Expires and Cache-Control.";
        list  add_header: AddHeader = "", add_header, HSLI, args_to(2, 3), "Adds a field to answers.";
        list  add_trailer: AddHeader = "", add_header, HSLI, args_to(2, 3), "Adds a trailer field to answers.";
        value add_header_inherit: HeaderInherit = "on", |a| one_of(a, HeaderInherit::WORDS), HSLI, args(1), "What add_header inherits from the level above.";
        value add_trailer_inherit: HeaderInherit = "on", |a| one_of(a, HeaderInherit::WORDS), HSLI, args(1), "What add_trailer inherits from the level above.";
    } also {
    }
}
