//! `fastcgi_pass` and the settings that belong to it.

use bytes::Bytes;

use super::proxy::hidden;
use super::{Compiler, bytes_of};
use crate::config::model::{Fastcgi, ProxyPass, Settings, Text, WireKind};
use crate::plan::expr::{Expr, Part, Var};
use crate::plan::location::{FastCgiPlan, Param, ProxyPlan, ProxyTarget, UriRule, WirePlan};
use crate::plan::regex::Regex;
use crate::plan::rules::FieldSet;
use crate::plan::vars::Builtin;

/// Response fields that nginx hides unless `fastcgi_pass_header` names them.
const HIDDEN: &[&str] = &[
    "Status",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
];

/// What the client's host is called in parameters.
const HTTP_HOST: &[u8] = b"HTTP_HOST";

impl Compiler<'_> {
    /// None when the target is wrong, which was reported.
    pub(super) fn fastcgi(&mut self, settings: &Settings, pass: &ProxyPass) -> Option<ProxyPlan> {
        let common = &settings.fastcgi_pass;
        let target = match &pass.target {
            Some(target) => ProxyTarget::Group(self.group_for(target, pass.url.span)?),
            None => ProxyTarget::Dynamic {
                url: self.expr(&pass.url),
            },
        };
        let (bind, bind_transparent) = self.bind(common);
        Some(ProxyPlan {
            wire: WirePlan::FastCgi(Box::new(self.fastcgi_wire(&settings.fastcgi))),
            target,
            uri: UriRule::Original,
            host: Expr::default(),
            port: Bytes::new(),
            set_headers: Box::default(),
            replaced: FieldSet::default(),
            body: None,
            method: None,
            hidden: hidden(common, HIDDEN),
            redirects: Box::default(),
            cookie_domains: Box::default(),
            cookie_paths: Box::default(),
            cookie_flags: Box::default(),
            bind,
            bind_transparent,
            limit_rate: self.amount(common.limit_rate.as_ref()),
            secure: false,
            tls: None,
            cache: self.cache(settings, pass),
            copy: self.copy(settings, WireKind::FastCgi),
        })
    }

    fn fastcgi_wire(&mut self, fastcgi: &Fastcgi) -> FastCgiPlan {
        let mut params = Vec::with_capacity(fastcgi.fastcgi_param.len() + 1);
        let mut replaced = Vec::new();
        let mut has_host = false;
        for param in fastcgi.fastcgi_param.iter() {
            has_host |= param.name.eq_ignore_ascii_case(HTTP_HOST);
            let field = param.name.strip_prefix(b"HTTP_").filter(|f| !f.is_empty());
            if let Some(field) = field {
                replaced.push(bytes_of(field));
                // Nothing at all is a way to take the client's field out.
                if param.value.bytes.is_empty() {
                    continue;
                }
            }
            params.push(Param {
                name: bytes_of(&param.name),
                value: self.expr(&param.value),
                if_not_empty: param.if_not_empty,
            });
        }
        if !has_host {
            replaced.push(Bytes::from_static(&HTTP_HOST[5..]));
            params.push(Param {
                name: Bytes::from_static(HTTP_HOST),
                value: host(),
                if_not_empty: true,
            });
        }
        FastCgiPlan {
            params: params.into(),
            replaced: replaced.into_iter().collect(),
            keep: fastcgi.fastcgi_keep_conn,
            catch_stderr: fastcgi
                .fastcgi_catch_stderr
                .iter()
                .map(|text| bytes_of(text))
                .collect(),
        }
    }

    /// `fastcgi_split_path_info`, whose pattern has a capture for the script and one for the rest.
    pub(super) fn split_path_info(&mut self, fastcgi: &Fastcgi) -> Option<Regex> {
        let pattern: &Text = fastcgi.fastcgi_split_path_info.as_ref()?;
        let regex = self.regex(pattern, false)?;
        if regex.groups() != 2 {
            let shown = pattern.lossy();
            let message = format!("pattern \"{shown}\" must have 2 captures");
            self.error(message, pattern.span);
            return None;
        }
        Some(regex)
    }
}

/// `$host$is_request_port$request_port`.
fn host() -> Expr {
    let parts = [Builtin::Host, Builtin::IsRequestPort, Builtin::RequestPort];
    Expr {
        parts: parts
            .into_iter()
            .map(|builtin| Part::Var(Var::Builtin(builtin)))
            .collect(),
    }
}
