//! Rows of the FastCGI family alone: parameters, the script's name, connections that stay open. What it shares with the
//! other families of its kind is in [`super::pass`].

use std::sync::Arc;

use super::main::checked;
use super::pass::{pass_to, target_of};

use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Row, Status, args, args_to, family, row};
use crate::config::tree::Directive;
use crate::config::value::*;

family! {
    /// Settings of the FastCGI family.
    pub struct Fastcgi in fastcgi {
        value fastcgi_index: Arc<[u8]> = "", bytes, HSL, args(1), "Follows a script name that ends with a slash.";
        value fastcgi_split_path_info: Option<Text> = "", some_text, HSL, args(1), "Parts the script name from what follows it, by a pattern with two captures.";
        list  fastcgi_param: FastcgiParam = "", param, HSL, args_to(2, 3), "Sets a parameter of the request to a backend.";
        value fastcgi_keep_conn: bool = "off", flag, HSL, args(1), "Keeps connections to backends open.";
        list  fastcgi_catch_stderr: Arc<[u8]> = "", bytes, HSL, args(1), "Refuses an answer when this text comes on stderr before it.";
    } also {}
}

/// The rows with setters of their own, and those without effect.
pub(crate) const ROWS: &[Row] = &[
    row(
        "fastcgi_pass",
        LI,
        args(1),
        fastcgi_pass,
        "Passes requests on to a FastCGI backend.",
    ),
    checked!(
        "fastcgi_send_lowat",
        HSL,
        args(1),
        size,
        "Linux does not implement it",
        "Smallest send to a backend."
    ),
];

/// `NAME VALUE [if_not_empty]`.
fn param(args: &mut Args<'_>) -> Parsed<FastcgiParam> {
    let if_not_empty = match args.words.get(2) {
        None => false,
        Some(word) if *word.bytes == *b"if_not_empty" => true,
        Some(word) => {
            return Err(Fault::new(format!(
                "invalid parameter \"{}\"",
                word.lossy()
            )));
        }
    };
    Ok(FastcgiParam {
        name: Arc::clone(&args.word(0).bytes),
        value: text_of(args.word(1)),
        if_not_empty,
    })
}

fn fastcgi_pass(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    // Whether a name without a port is that of a group is known at the end only.
    let take_apart = |address: &[u8]| target_of(false, address, false);
    pass_to((load, frame), directive, WireKind::FastCgi, take_apart);
}
