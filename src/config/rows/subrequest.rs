//! Rows of what makes subrequests: auth_request, mirror, slice, and what follows a request.

use std::sync::Arc;

use super::rewrite::variable;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, args, family};
use crate::config::value::*;

family! {
    /// Settings of what makes subrequests.
    pub struct Subrequests in subrequests {
        value auth_request: Option<Arc<[u8]>> = "off", uri, HSL, args(1), "Asks another location whether a request may pass.";
        list  auth_request_set: AuthRequestSet = "", auth_request_set, HSL, args(2), "Keeps a value of the answer of auth_request.";
        switch mirror: MirrorTo = "", |a| uri(a).map(MirrorTo), HSL, args(1), "Sends a copy of each request to another location, whose answer nobody reads.";
        value mirror_request_body: bool = "on", flag, HSL, args(1), "Reads the body first and sends it with the copies.";
        value slice: usize = "0", size, HSL, args(1), "Fetches answers in ranges of this size, by $slice_range; 0 is off.";
        value post_action: Arc<[u8]> = "", bytes, HSLI, args(1), "A location that each request visits when it is answered.";
        value log_subrequest: bool = "off", flag, HSL, args(1), "Writes subrequests to the access log.";
        value subrequest_output_buffer_size: usize = "4k", size, HSL, args(1), "Longest answer of a subrequest that is kept in memory.";
    } also {
    }
}

/// Where a copy goes; none is `mirror off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorTo(pub Option<Arc<[u8]>>);

impl Switch for MirrorTo {
    fn is_off(&self) -> bool {
        self.0.is_none()
    }
}

/// `auth_request_set`.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthRequestSet {
    /// The variable.
    pub variable: Text,
    /// What it gets, by what the subrequest was answered.
    pub value: Text,
}

/// A location, or `off`.
fn uri(args: &mut Args<'_>) -> Parsed<Option<Arc<[u8]>>> {
    let word = args.word(0);
    Ok((*word.bytes != *b"off").then(|| word.bytes.clone()))
}

/// `$NAME VALUE`.
fn auth_request_set(args: &mut Args<'_>) -> Parsed<AuthRequestSet> {
    let name = args.word(0);
    match variable(name) {
        Some(variable) => Ok(AuthRequestSet {
            variable,
            value: text_of(args.word(1)),
        }),
        None => Err(Fault {
            span: Some(name.span),
            ..Fault::new(format!("invalid variable name \"{}\"", name.lossy()))
        }),
    }
}
