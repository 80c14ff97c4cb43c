//! `grpc_pass` and the settings that belong to it.

use bytes::Bytes;

use super::proxy::{hidden, replaced, with_trace};
use super::{Compiler, bytes_of};
use crate::config::model::{ProxyPass, Settings, Target};
use crate::plan::expr::{Expr, Var};
use crate::plan::location::{ProxyPlan, ProxyTarget, UriRule, WirePlan};
use crate::plan::vars::Builtin;
use crate::proto::tokens::Token;

/// Response fields that nginx hides unless `grpc_pass_header` names them.
const HIDDEN: &[&str] = &[
    "Date",
    "Server",
    "X-Accel-Expires",
    "X-Accel-Redirect",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
];

impl Compiler<'_> {
    /// None when the target is wrong, which was reported.
    pub(super) fn grpc(&mut self, settings: &Settings, pass: &ProxyPass) -> Option<ProxyPlan> {
        let common = &settings.grpc_pass;
        let fields = &with_trace(settings, &settings.grpc.grpc_set_header);
        let target = match &pass.target {
            Some(target) => ProxyTarget::Group(self.group_for(target, pass.url.span)?),
            None => ProxyTarget::Dynamic {
                url: self.expr(&pass.url),
            },
        };
        let (bind, bind_transparent) = self.bind(common);
        let te = |name: &[u8]| Token::of(name) == Token::TE;
        Some(ProxyPlan {
            wire: WirePlan::Grpc {
                te: !fields.iter().any(|field| te(&field.name)),
            },
            target,
            uri: UriRule::Original,
            host: authority(pass.target.as_ref()),
            port: Bytes::new(),
            set_headers: self.set_headers(fields),
            replaced: replaced(fields),
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
            cache: None,
            copy: None,
            secure: pass.target.as_ref().is_some_and(|target| target.secure),
            tls: match pass.target.as_ref().is_none_or(|target| target.secure) {
                true => self.tls_client("grpc_ssl_", &settings.grpc_ssl),
                false => None,
            },
        })
    }
}

/// What `:authority` is by default: host and port as they are written.
fn authority(target: Option<&Target>) -> Expr {
    match target {
        None => Expr::variable(Var::Builtin(Builtin::ProxyHost)),
        Some(target) if target.unix => Expr::literal(Bytes::from_static(b"localhost")),
        Some(target) => Expr::literal(bytes_of(&target.authority)),
    }
}
