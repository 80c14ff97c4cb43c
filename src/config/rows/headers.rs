//! Rows of the headers family: fields that are added to answers.

use std::sync::Arc;

use super::parse_core::{add_header, expires};
use crate::config::lower::Frame;
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

/// Applies `add_header_inherit` and `add_trailer_inherit` once a block's own fields are known: `merge` appends what the
/// level above has, `off` drops it. The lists have been cleared if the block has fields of its own.
pub(crate) fn inherit(frame: &mut Frame, above: &Headers) {
    let own = |name: &str| frame.seen.contains_key(name);
    let (own_headers, own_trailers) = (own("add_header"), own("add_trailer"));
    let here = &frame.settings.headers;
    let modes = (here.add_header_inherit, here.add_trailer_inherit);
    if modes == (HeaderInherit::On, HeaderInherit::On) {
        return;
    }
    let headers = Arc::make_mut(&mut frame.settings.headers);
    merge(
        modes.0,
        own_headers,
        &mut headers.add_header,
        &above.add_header,
    );
    merge(
        modes.1,
        own_trailers,
        &mut headers.add_trailer,
        &above.add_trailer,
    );
}

fn merge(mode: HeaderInherit, own: bool, list: &mut List<AddHeader>, above: &List<AddHeader>) {
    match mode {
        HeaderInherit::Merge if own => Arc::make_mut(list).extend(above.iter().cloned()),
        HeaderInherit::Off if !own => *list = List::default(),
        _ => {}
    }
}
