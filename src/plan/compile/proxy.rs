//! `proxy_pass` and the settings that belong to it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::{Compiler, bytes_of};
use crate::config::model::{
    self, Bind, HttpVersion, Pass, Proxy, ProxyPass, Redirect, Settings, Target, Text,
    TraceContext, WireKind,
};
use crate::plan::expr::{Expr, Var};
use crate::plan::location::{
    CookieFlags, ProxyPlan, ProxyTarget, RedirectFrom, RedirectRule, SetHeader, UriRule, WirePlan,
};
use crate::plan::rules::FieldSet;
use crate::plan::vars::Builtin;
use crate::proto::tokens::Token;

/// Client fields that nginx never forwards as they came.
pub(super) const REPLACED: &[&str] = &[
    "Host",
    "Connection",
    "Proxy-Connection",
    "Content-Length",
    "Transfer-Encoding",
    "TE",
    "Keep-Alive",
    "Expect",
    "Upgrade",
];

/// Response fields that nginx hides unless `proxy_pass_header` names them.
const HIDDEN: &[&str] = &[
    "Date",
    "Server",
    "X-Pad",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
];

impl Compiler<'_> {
    /// None when the target is wrong, which was reported.
    pub(super) fn proxy(&mut self, settings: &Settings, pass: &ProxyPass) -> Option<ProxyPlan> {
        match pass.wire {
            WireKind::FastCgi => return self.fastcgi(settings, pass),
            WireKind::Grpc => return self.grpc(settings, pass),
            WireKind::Http => {}
        }
        let proxy = &settings.proxy;
        let fields = with_trace(settings, &proxy.proxy_set_header);
        let (target, uri) = match &pass.target {
            Some(target) => (
                ProxyTarget::Group(self.group_for(target, pass.url.span)?),
                uri_rule(target, &pass.location),
            ),
            None => (
                ProxyTarget::Dynamic {
                    url: self.expr(&pass.url),
                },
                UriRule::Dynamic,
            ),
        };
        let (bind, bind_transparent) = self.bind(&settings.proxy_pass);
        Some(ProxyPlan {
            wire: match proxy.proxy_http_version {
                HttpVersion::Http2 => WirePlan::Http2,
                HttpVersion::Http10 | HttpVersion::Http11 => WirePlan::Http,
            },
            target,
            uri,
            host: proxy_host(pass.target.as_ref()),
            port: proxy_port(pass.target.as_ref()),
            set_headers: self.set_headers(&fields),
            replaced: replaced(&fields),
            body: proxy.proxy_set_body.as_ref().map(|body| self.expr(body)),
            method: proxy.proxy_method.as_ref().map(|method| self.expr(method)),
            hidden: hidden(&settings.proxy_pass, HIDDEN),
            redirects: self.redirects(proxy, pass),
            cookie_domains: self.rules(&proxy.proxy_cookie_domain),
            cookie_paths: self.rules(&proxy.proxy_cookie_path),
            cookie_flags: self.cookie_flags(&proxy.proxy_cookie_flags),
            bind,
            bind_transparent,
            limit_rate: self.amount(settings.proxy_pass.limit_rate.as_ref()),
            secure: pass.target.as_ref().is_some_and(|target| target.secure),
            tls: match pass.target.as_ref().is_none_or(|target| target.secure) {
                true => self.tls_client("proxy_ssl_", &settings.proxy_ssl),
                false => None,
            },
            cache: self.cache(settings, pass),
            copy: self.copy(settings, pass.wire),
        })
    }

    /// `…_bind`, and whether it is transparent.
    pub(super) fn bind(&mut self, pass: &Pass) -> (Option<Expr>, bool) {
        match &pass.bind {
            Some(Bind::Address {
                address,
                transparent,
            }) => (Some(self.expr(address)), *transparent),
            Some(Bind::Off) | None => (None, false),
        }
    }

    /// `Host` first, then the others in file order. Framing fields are left out: they follow from
    /// the body that is really sent.
    ///
    /// Differs from nginx: `proxy_set_header Content-Length` and `Transfer-Encoding` cannot make a
    /// request whose framing is not that of its body.
    pub(super) fn set_headers(&mut self, list: &[model::SetHeader]) -> Box<[SetHeader]> {
        let named =
            |field: &model::SetHeader, name: &str| field.name.eq_ignore_ascii_case(name.as_bytes());
        let host = list.iter().rfind(|field| named(field, "Host"));
        let host = match host {
            Some(field) => self.expr(&field.value),
            None => Expr::variable(Var::Builtin(Builtin::ProxyHost)),
        };
        let start = Bytes::from_static(b"Host: ");
        let mut out = vec![SetHeader::new(start, Token::HOST, host)];
        for field in list {
            let value = self.expr(&field.value);
            let token = Token::of(&field.name);
            let elsewhere = matches!(
                token,
                Token::HOST | Token::CONTENT_LENGTH | Token::TRANSFER_ENCODING
            );
            // An empty text removes the client's field, which `replaced` does already.
            if !elsewhere && !value.parts.is_empty() {
                let start = Bytes::from([&field.name[..], b": "].concat());
                out.push(SetHeader::new(start, token, value));
            }
        }
        out.into()
    }

    fn redirects(&mut self, proxy: &Proxy, pass: &ProxyPass) -> Box<[RedirectRule]> {
        let list = &proxy.proxy_redirect;
        if list.is_empty() {
            return default_redirect(pass).into_iter().collect();
        }
        if list.iter().any(|rule| matches!(rule, Redirect::Off)) {
            return Box::default();
        }
        let rules = list.iter().filter_map(|rule| match rule {
            Redirect::Default => default_redirect(pass),
            rule => self.rule(rule),
        });
        rules.collect()
    }

    fn rules(&mut self, list: &[Redirect]) -> Box<[RedirectRule]> {
        if list.iter().any(|rule| matches!(rule, Redirect::Off)) {
            return Box::default();
        }
        list.iter().filter_map(|rule| self.rule(rule)).collect()
    }

    fn rule(&mut self, rule: &Redirect) -> Option<RedirectRule> {
        match rule {
            Redirect::Off | Redirect::Default => None,
            Redirect::Prefix { from, to } => Some(RedirectRule {
                from: RedirectFrom::Text(self.expr(from)),
                to: self.expr(to),
            }),
            Redirect::Regex {
                regex,
                caseless,
                to,
            } => Some(RedirectRule {
                from: RedirectFrom::Regex(self.regex(regex, *caseless)?),
                to: self.expr(to),
            }),
        }
    }

    fn cookie_flags(&mut self, list: &[model::CookieFlags]) -> Box<[CookieFlags]> {
        if list.iter().any(|flags| flags.off) {
            return Box::default();
        }
        let flags = list.iter().filter_map(|flags| {
            let name = if flags.regex {
                RedirectFrom::Regex(self.regex(&flags.cookie, true)?)
            } else {
                RedirectFrom::Text(self.expr(&flags.cookie))
            };
            let flags = flags.flags.iter().map(|flag| self.expr(flag)).collect();
            Some(CookieFlags { name, flags })
        });
        flags.collect()
    }
}

fn uri_rule(target: &Target, location: &Text) -> UriRule {
    match &target.uri {
        None => UriRule::Original,
        Some(uri) => UriRule::Replace {
            with: bytes_of(uri),
            strip: location.bytes.len(),
        },
    }
}

/// `$proxy_host`: host and port as written, the port only when it is not the scheme's own.
fn proxy_host(target: Option<&Target>) -> Expr {
    let Some(target) = target else {
        return Expr::variable(Var::Builtin(Builtin::ProxyHost));
    };
    if target.unix {
        return Expr::literal(Bytes::from_static(b"localhost"));
    }
    let usual = if target.secure { 443 } else { 80 };
    match target.port.filter(|&port| port != usual) {
        None => Expr::literal(bytes_of(&target.host)),
        Some(port) => Expr::literal(Bytes::from(
            [&target.host[..], format!(":{port}").as_bytes()].concat(),
        )),
    }
}

fn proxy_port(target: Option<&Target>) -> Bytes {
    match target {
        Some(target) if !target.unix => {
            let usual = if target.secure { 443 } else { 80 };
            Bytes::from(target.port.unwrap_or(usual).to_string())
        }
        _ => Bytes::new(),
    }
}

/// The fields that are set, with those of a trace where requests belong to one; what is set by hand stays.
pub(super) fn with_trace<'a>(
    settings: &Settings,
    set: &'a [model::SetHeader],
) -> Cow<'a, [model::SetHeader]> {
    let mut all = Cow::Borrowed(set);
    if settings.log.trace_context == TraceContext::Off {
        return all;
    }
    for (name, value) in [
        ("traceparent", "$trace_parent"),
        ("tracestate", "$trace_state"),
    ] {
        let named = |field: &model::SetHeader| field.name.eq_ignore_ascii_case(name.as_bytes());
        if !set.iter().any(named) {
            all.to_mut().push(model::SetHeader {
                name: Arc::from(name.as_bytes()),
                value: Text::from(value),
            });
        }
    }
    all
}

/// Client fields that are not forwarded.
pub(super) fn replaced(set: &[model::SetHeader]) -> FieldSet {
    let own = set.iter().map(|field| &field.name[..]);
    REPLACED
        .iter()
        .map(|name| name.as_bytes())
        .chain(own)
        .collect()
}

/// `usual` fields and those of `hide_header`, less those of `pass_header`.
pub(super) fn hidden(pass: &Pass, usual: &[&str]) -> FieldSet {
    let own = pass.hide_header.iter().map(|name| &name[..]);
    let passed = |name: &&[u8]| {
        !pass
            .pass_header
            .iter()
            .any(|p| p.eq_ignore_ascii_case(name))
    };
    usual
        .iter()
        .map(|name| name.as_bytes())
        .chain(own)
        .filter(passed)
        .collect()
}

/// From the text of `proxy_pass` to the location's text. A target with variables has no default.
fn default_redirect(pass: &ProxyPass) -> Option<RedirectRule> {
    let target = pass.target.as_ref()?;
    let (from, to) = match target.uri {
        Some(_) => (bytes_of(&pass.url.bytes), bytes_of(&pass.location.bytes)),
        None => (
            Bytes::from([&pass.url.bytes[..], b"/"].concat()),
            Bytes::from_static(b"/"),
        ),
    };
    Some(RedirectRule {
        from: RedirectFrom::Text(Expr::literal(from)),
        to: Expr::literal(to),
    })
}
