//! Rows of the gRPC family alone: whom to call, and the fields of a call. What it shares with the other families of its
//! kind is in [`super::pass`]; it has no buffers, and so none of their directives.

use std::sync::Arc;

use super::parse_proxy::set_header;

use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Row, args, family, row};
use crate::config::tree::Directive;
use crate::config::url;
use crate::config::value::*;

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
    let url = text_of(&directive.args[0]);
    let place = frame.here.as_ref().map(|here| here.path.clone());
    let target = match url.has_variables() {
        true => None,
        false => match parse_target(&url) {
            Ok(target) => Some(target),
            Err(message) => return load.error(message, url.span),
        },
    };
    if let Some(target) = &target {
        let named = (target.clone(), WireKind::Grpc, url.span);
        load.shared.targets.push(named);
    }
    frame.content = Content::Proxy(Arc::new(ProxyPass {
        wire: WireKind::Grpc,
        url,
        target,
        location: place.unwrap_or_default(),
    }));
}

/// Takes a `grpc_pass` address apart; the scheme may be left out.
fn parse_target(text: &Text) -> Result<Target, String> {
    let bytes = &text.bytes[..];
    let starts = |prefix: &str| {
        bytes.len() >= prefix.len() && bytes[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
    };
    let (secure, rest) = if starts("grpc://") {
        (false, &bytes[7..])
    } else if starts("grpcs://") {
        (true, &bytes[8..])
    } else {
        (false, bytes)
    };
    let parsed = url::parse(rest, false)
        .map_err(|e| format!("{e} in upstream \"{}\"", String::from_utf8_lossy(rest)))?;
    Ok(Target {
        secure,
        authority: Arc::from(&rest[..parsed.authority]),
        host: Arc::from(parsed.host),
        port: parsed.port,
        unix: parsed.unix,
        uri: None,
    })
}
