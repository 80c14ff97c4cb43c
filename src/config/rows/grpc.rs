//! Rows of the gRPC family alone: whom to call, and the fields of a call. What it shares with the other families of its
//! kind is in [`super::pass`]; it has no buffers, and so none of their directives.

use super::parse_proxy::set_header;
use super::pass::{behind, pass_to, target_of};

use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Row, args, family, row};
use crate::config::tree::Directive;

family! {
    /// Settings of the gRPC family.
    pub struct Grpc in grpc {
        list  grpc_set_header: SetHeader = "", set_header, HSL, args(2), "Sets or removes a field of the request to a backend.";
    } also {}
}

/// The row with a setter of its own.
pub(crate) const ROWS: &[Row] = &[row(
    "grpc_pass",
    LI,
    args(1),
    grpc_pass,
    "Passes calls on to a gRPC backend.",
)];

fn grpc_pass(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    pass_to((load, frame), directive, WireKind::Grpc, take_apart);
}

/// Takes a `grpc_pass` address apart; the scheme may be left out.
fn take_apart(address: &[u8]) -> Result<Target, String> {
    if let Some(rest) = behind(address, "grpc://") {
        return target_of(false, rest, false);
    }
    match behind(address, "grpcs://") {
        Some(rest) => target_of(true, rest, false),
        None => target_of(false, address, false),
    }
}
