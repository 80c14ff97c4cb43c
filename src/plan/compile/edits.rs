//! Edits of response heads, content types, and what equal settings share.

use std::sync::Arc;

use bytes::Bytes;

use super::{Compiler, bytes_of};
use crate::config::model::{self, Core, Headers};
use crate::plan::location::TypesPlan;
use crate::plan::rules::{AddHeader, Expires, HeaderRules};
use crate::proto::tokens::Token;

/// Compiled values that many locations inherit unchanged.
#[derive(Default)]
pub(super) struct Caches {
    types: Vec<CachedTypes>,
}

/// A compiled `types` list under what it was compiled from.
struct CachedTypes {
    list: model::List<model::MimeType>,
    default: Arc<[u8]>,
    plan: Arc<TypesPlan>,
}

impl Compiler<'_> {
    pub(super) fn header_rules(&mut self, headers: &Headers) -> HeaderRules {
        HeaderRules {
            add: self.added(&headers.add_header),
            trailers: self.added(&headers.add_trailer),
            expires: self.expires(&headers.expires),
        }
    }

    fn added(&mut self, fields: &[model::AddHeader]) -> Box<[AddHeader]> {
        let fields = fields.iter().map(|field| AddHeader {
            name: bytes_of(&field.name),
            token: Token::of(&field.name),
            value: self.expr(&field.value),
            always: field.always,
        });
        fields.collect()
    }

    fn expires(&mut self, expires: &model::Expires) -> Option<Expires> {
        Some(match expires {
            model::Expires::Off => return None,
            model::Expires::Epoch => Expires::Epoch,
            model::Expires::Max => Expires::Max,
            model::Expires::Offset {
                seconds,
                modified: false,
            } => Expires::Access(*seconds),
            model::Expires::Offset {
                seconds,
                modified: true,
            } => Expires::Modified(*seconds),
            model::Expires::Daily(second) => Expires::Daily(*second),
            model::Expires::Variable { text, modified } => Expires::Dynamic {
                value: self.expr(text),
                modified: *modified,
            },
        })
    }

    /// Content types. Lists that were inherited are compiled once.
    pub(super) fn types(&mut self, core: &Core) -> Arc<TypesPlan> {
        let cached = self.caches.types.iter().find(|cached| {
            Arc::ptr_eq(&cached.list, &core.types) && cached.default == core.default_type
        });
        if let Some(cached) = cached {
            return Arc::clone(&cached.plan);
        }
        let mut by_extension: Vec<(Bytes, Bytes)> = core
            .types
            .iter()
            .map(|(kind, extension)| (Bytes::from(extension.to_ascii_lowercase()), bytes_of(kind)))
            .collect();
        // The later of two equal extensions counts, as in nginx.
        by_extension.reverse();
        by_extension.sort_by(|a, b| a.0.cmp(&b.0));
        by_extension.dedup_by(|next, kept| next.0 == kept.0);
        let plan = Arc::new(TypesPlan {
            by_extension,
            default: bytes_of(&core.default_type),
        });
        self.caches.types.push(CachedTypes {
            list: Arc::clone(&core.types),
            default: Arc::clone(&core.default_type),
            plan: Arc::clone(&plan),
        });
        plan
    }
}
