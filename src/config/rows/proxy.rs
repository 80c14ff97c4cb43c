//! Rows of the proxy family alone: requests to backends over HTTP and what comes back. What it shares with the other
//! families of its kind is in [`super::pass`].

use std::sync::Arc;

use super::main::checked;
use super::parse_proxy::*;
use super::pass::{behind, target_of};
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Inherit, Row, Status, args, args_to, family, row};
use crate::config::tree::Directive;
use crate::config::value::*;

family! {
    /// Settings of the proxy family.
    pub struct Proxy in proxy {
        switch proxy_cookie_domain: CookieRewrite = "", cookie_domain, HSL, args_to(1, 2), "Rewrites the domain of cookies of backends.";
        switch proxy_cookie_path: CookieRewrite = "", cookie_path, HSL, args_to(1, 2), "Rewrites the path of cookies of backends.";
        switch proxy_cookie_flags: CookieFlags = "", cookie_flags, HSL, args_to(1, 4), "Sets attributes of cookies of backends.";
        list  proxy_set_header: SetHeader = "", set_header, HSL, args(2), "Sets or removes a field of the request to a backend.";
        value proxy_set_body: Option<Text> = "", some_text, HSL, args(1), "Replaces the request body.";
        value proxy_method: Option<Text> = "", some_text, HSL, args(1), "Replaces the request method.";
        value proxy_pass_trailers: bool = "off", flag, HSL, args(1), "Passes trailer fields on.";
        value proxy_http_version: HttpVersion = "1.1", http_version, HSL, args(1), "Version of HTTP towards backends.";
    } also {
        proxy_redirect: List<Redirect> = List::default(), "`proxy_redirect`; an empty list is `default`, a lone `Off` does nothing.";
    }
}

/// The rows with setters of their own, and those without effect.
pub(crate) const ROWS: &[Row] = &[
    row(
        "proxy_pass",
        LIE,
        args(1),
        proxy_pass,
        "Passes requests on to a backend.",
    ),
    row(
        "proxy_redirect",
        HSL,
        args_to(1, 2),
        proxy_redirect,
        "Rewrites Location and Refresh of backends.",
    )
    .many()
    .default("default")
    .clearing(Inherit::Replace, |s| {
        Arc::make_mut(&mut s.proxy).proxy_redirect = List::default();
    }),
    row(
        "empty_gif",
        L,
        args(0),
        |_, frame, _| frame.content = Content::EmptyGif,
        "Answers with a transparent pixel.",
    )
    .many(),
    row(
        "stub_status",
        SL,
        args_to(0, 1),
        |_, frame, _| frame.content = Content::StubStatus,
        "Answers with counters.",
    )
    .many(),
    row(
        "metrics",
        SL,
        args(0),
        |_, frame, _| frame.content = Content::Metrics,
        "Answers with all numbers as text for Prometheus and its kin. Only ringx has it.",
    )
    .many(),
    row(
        "status",
        SL,
        args(0),
        |_, frame, _| frame.content = Content::Status,
        "Answers with all numbers: a page for browsers, JSON for others. Only ringx has it.",
    )
    .many(),
    checked!(
        "proxy_headers_hash_max_size",
        HSL,
        args(1),
        num,
        "tables size themselves",
        "Size of the table of fields."
    ),
    checked!(
        "proxy_headers_hash_bucket_size",
        HSL,
        args(1),
        num,
        "tables size themselves",
        "Bucket size of the table of fields."
    ),
    checked!(
        "proxy_send_lowat",
        HSL,
        args(1),
        size,
        "Linux does not implement it",
        "Smallest send to a backend."
    ),
];

fn proxy_redirect(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let Some(value) = load.parse(directive, redirect) else {
        return;
    };
    // The default is made of the address above it, so there must be one.
    match (&value, &frame.content) {
        (Redirect::Default, Content::Proxy(pass))
            if pass.wire == WireKind::Http && pass.target.is_none() =>
        {
            let message = "\"proxy_redirect default\" cannot be used with \"proxy_pass\" directive with variables";
            return load.error(message, directive.span);
        }
        (Redirect::Default, content) if !speaks_http(content) => {
            let message =
                "\"proxy_redirect default\" should be placed after the \"proxy_pass\" directive";
            return load.error(message, directive.span);
        }
        _ => {}
    }
    let list = Arc::make_mut(&mut Arc::make_mut(&mut frame.settings.proxy).proxy_redirect);
    push_switch(load, directive, list, value);
}

fn speaks_http(content: &Content) -> bool {
    matches!(content, Content::Proxy(pass) if pass.wire == WireKind::Http)
}

impl Switch for Redirect {
    fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

impl Switch for CookieFlags {
    fn is_off(&self) -> bool {
        self.off
    }
}

fn proxy_pass(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let url = text_of(&directive.args[0]);
    let here = frame.here.as_ref();
    let place = here.map(|h| h.path.clone()).unwrap_or_default();
    let no_uri = here.is_none_or(|h| h.named || h.regex || h.noname);
    if url.has_variables() {
        let pass = ProxyPass {
            wire: WireKind::Http,
            url,
            target: None,
            location: place,
        };
        frame.content = Content::Proxy(Arc::new(pass));
        return;
    }
    let target = match parse_target(&url) {
        Ok(target) => target,
        Err(message) => return load.error(message, url.span),
    };
    if no_uri && target.uri.is_some() {
        return load.error(
            "\"proxy_pass\" cannot have URI part in location given by regular expression, or inside named location, \
             or inside \"if\" statement, or inside \"limit_except\" block",
            directive.span,
        );
    }
    let named = (target.clone(), WireKind::Http, url.span);
    load.shared.targets.push(named);
    let location = if no_uri {
        Text {
            span: place.span,
            ..Text::default()
        }
    } else {
        place
    };
    frame.content = Content::Proxy(Arc::new(ProxyPass {
        wire: WireKind::Http,
        url,
        target: Some(target),
        location,
    }));
}

/// Takes a `proxy_pass` address apart.
fn parse_target(text: &Text) -> Result<Target, String> {
    if let Some(rest) = behind(&text.bytes, "http://") {
        return target_of(false, rest, true);
    }
    match behind(&text.bytes, "https://") {
        Some(rest) => target_of(true, rest, true),
        None => Err("invalid URL prefix".into()),
    }
}
