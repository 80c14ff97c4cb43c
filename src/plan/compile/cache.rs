//! Zones of caches, and what a location does with one.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::proxy::{REPLACED, with_trace};
use super::{Compiler, bytes_of};
use crate::config::model::{CachePace, Caching, Http, ProxyPass, Settings, StorePath, WireKind};
use crate::plan::cache::{CachePlan, CopyPlan, PurgePlan, ZoneChoice};
use crate::plan::expr::{Expr, Var};
use crate::plan::location::{ParamNames, SetHeader};
use crate::plan::rules::FieldSet;
use crate::plan::store::{Steps, StorePlan, StoreRef};
use crate::plan::vars::Builtin;
use crate::proto::tokens::Token;

/// Client fields that ask for less than the whole answer.
const CONDITIONS: [&str; 6] = [
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-None-Match",
    "If-Match",
    "Range",
    "If-Range",
];

/// What takes the place of two of them, with the name of the parameter.
const OURS: [(&str, Token, Builtin); 2] = [
    (
        "If-Modified-Since",
        Token::IF_MODIFIED_SINCE,
        Builtin::UpstreamCacheLastModified,
    ),
    (
        "If-None-Match",
        Token::IF_NONE_MATCH,
        Builtin::UpstreamCacheEtag,
    ),
];

impl Compiler<'_> {
    /// Compiles the zones.
    pub(super) fn stores(&mut self, http: &Http) {
        for zone in &http.caches {
            let temp = match zone.wire {
                WireKind::FastCgi => &http.settings.fastcgi_pass.temp_path,
                _ => &http.settings.proxy_pass.temp_path,
            };
            let (name, path) = (bytes_of(&zone.name), path_bytes(&zone.path));
            let steps = |pace: CachePace| Steps {
                files: u32::try_from(pace.files).unwrap_or(u32::MAX),
                threshold: pace.threshold,
                sleep: pace.sleep,
            };
            self.stores.push(Arc::new(StorePlan {
                inactive: zone.inactive,
                max_size: zone.max_size,
                min_free: zone.min_free,
                temp_path: zone.use_temp_path.then(|| path_bytes(&temp.path)),
                loader: zone.loader.map(steps),
                manager: steps(zone.manager.unwrap_or_default()),
                ..StorePlan::new(name, path, zone.levels, zone.size as u64)
            }));
        }
    }

    fn store_named(&self, name: &[u8]) -> Option<StoreRef> {
        // One that nobody declares was reported when the file was read.
        self.stores
            .iter()
            .find(|s| *s.name == *name)
            .map(Arc::clone)
    }

    /// What a location does with a cache; none where it has none.
    pub(super) fn cache(
        &mut self,
        settings: &Settings,
        pass: &ProxyPass,
    ) -> Option<Box<CachePlan>> {
        let wire = pass.wire;
        let caching = caching_of(settings, wire)?;
        let zone = caching.cache.as_ref()?;
        let zone = match zone.has_variables() {
            true => ZoneChoice::Named(self.expr(zone)),
            false => ZoneChoice::Fixed(self.store_named(&zone.bytes)?),
        };
        let exprs = |this: &mut Self, list: &[_]| list.iter().map(|text| this.expr(text)).collect();
        let purge = caching.cache_purge.as_ref().map(|purge| {
            Box::new(PurgePlan {
                conditions: exprs(self, &purge.conditions),
                tags: purge.tags.as_ref().map(|text| self.expr(text)),
                mode: purge.mode.as_ref().map(|text| self.expr(text)),
            })
        });
        let names = CONDITIONS.map(str::as_bytes);
        Some(Box::new(CachePlan {
            zone,
            keys_body: caching.cache_key.as_ref().is_some_and(|key| {
                let of = |name: &[u8]| memchr::memmem::find(&key.bytes, name).is_some();
                of(b"$request_body") || of(b"${request_body")
            }),
            origin: origin(pass),
            key: caching.cache_key.as_ref().map(|key| self.expr(key)),
            bypass: exprs(self, &caching.cache_bypass),
            no_cache: exprs(self, &caching.no_cache),
            purge,
            settings: Arc::clone(caching),
            conditions: conditions(settings, wire),
            replaced: replaced(settings, &names),
            replaced_params: replaced_params(settings),
        }))
    }

    /// `…_store` of a location; none where it is off.
    pub(super) fn copy(&mut self, settings: &Settings, wire: WireKind) -> Option<Box<CopyPlan>> {
        let caching = caching_of(settings, wire)?;
        let path = match caching.store.as_ref()? {
            StorePath::Root => None,
            StorePath::Text(text) => Some(self.expr(text)),
        };
        let access = caching.store_access;
        Some(Box::new(CopyPlan { path, access }))
    }
}

/// `http://host:port` as a key begins with it.
fn origin(pass: &ProxyPass) -> Bytes {
    let Some(target) = &pass.target else {
        return Bytes::new();
    };
    let scheme: &[u8] = match pass.wire {
        WireKind::FastCgi => b"",
        _ if target.secure => b"https://",
        _ => b"http://",
    };
    let usual = if target.secure { 443 } else { 80 };
    let mut out = scheme.to_vec();
    if target.unix {
        out.extend_from_slice(b"unix:");
        out.extend_from_slice(
            target
                .authority
                .strip_prefix(b"unix:")
                .unwrap_or(&target.authority),
        );
        out.push(b':');
    } else {
        out.extend_from_slice(&target.host);
        if let Some(port) = target.port.filter(|&port| port != usual) {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
    }
    out.into()
}

fn caching_of(settings: &Settings, wire: WireKind) -> Option<&Arc<Caching>> {
    match wire {
        WireKind::FastCgi => Some(&settings.fastcgi_cache),
        WireKind::Http => Some(&settings.proxy_cache),
        // An answer over gRPC is one to a body.
        WireKind::Grpc => None,
    }
}

/// The conditions that revalidation sends, unless the configuration has fields of these names.
fn conditions(settings: &Settings, wire: WireKind) -> Box<[SetHeader]> {
    let is_set = |name: &str| match wire {
        WireKind::FastCgi => {
            let name = param_name(name);
            let mut params = settings.fastcgi.fastcgi_param.iter();
            params.any(|param| param.name.strip_prefix(b"HTTP_") == Some(&name[..]))
        }
        _ => {
            let mut fields = settings.proxy.proxy_set_header.iter();
            fields.any(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        }
    };
    let ours = OURS.iter().filter(|(name, ..)| !is_set(name));
    ours.map(|&(name, token, builtin)| {
        let start = match wire {
            WireKind::FastCgi => Bytes::from([&b"HTTP_"[..], &param_name(name)].concat()),
            _ => Bytes::from([name.as_bytes(), b": "].concat()),
        };
        SetHeader::new(start, token, Expr::variable(Var::Builtin(builtin)))
    })
    .collect()
}

fn path_bytes(path: &Path) -> Bytes {
    bytes_of(path.as_os_str().as_bytes())
}

fn param_name(field: &str) -> Vec<u8> {
    field.to_ascii_uppercase().replace('-', "_").into_bytes()
}

fn replaced(settings: &Settings, further: &[&[u8]]) -> FieldSet {
    let fields = with_trace(settings, &settings.proxy.proxy_set_header);
    let own = fields.iter().map(|field| &field.name[..]);
    let usual = REPLACED.iter().map(|name| name.as_bytes());
    usual.chain(own).chain(further.iter().copied()).collect()
}

fn replaced_params(settings: &Settings) -> ParamNames {
    let params = settings.fastcgi.fastcgi_param.iter();
    let own = params.filter_map(|param| param.name.strip_prefix(b"HTTP_"));
    let own = own.filter(|name| !name.is_empty()).map(bytes_of);
    let ours = CONDITIONS.iter().map(|name| Bytes::from(param_name(name)));
    let host = std::iter::once(Bytes::from_static(b"HOST"));
    own.chain(ours).chain(host).collect()
}
