//! Content codings and charsets of a location.

use super::Compiler;
use crate::config::model::{Http, Settings, StaticMode, Text};
use crate::plan::charset::{CharsetPlan, Named};
use crate::plan::filters::Coding;

impl Compiler<'_> {
    /// The `charset_map` blocks, before anything names a charset.
    pub(super) fn charset_maps(&mut self, http: &Http) {
        for map in &http.charset_maps {
            self.charsets.add_map(map);
        }
    }

    pub(super) fn charset(&mut self, settings: &Settings) -> Option<CharsetPlan> {
        let family = &settings.charset;
        let to = family.charset.as_ref().map(|text| self.named(text));
        let from = family.source_charset.as_ref().map(|text| self.named(text));
        if let (Some(Named::Fixed(to)), Some(Named::Fixed(from))) = (&to, &from)
            && to != from
            && self.charsets.table(*from, *to).is_none()
        {
            let shown = |id| String::from_utf8_lossy(self.charsets.name(id)).into_owned();
            let message = format!(
                "no \"charset_map\" between the charsets \"{}\" and \"{}\"",
                shown(*from),
                shown(*to)
            );
            let span = family.charset.as_ref().map(|text| text.span);
            self.error(message, span.unwrap_or_default());
        }
        (to.is_some() || from.is_some()).then_some(CharsetPlan { to, from })
    }

    fn named(&mut self, text: &Text) -> Named {
        match text.bytes.strip_prefix(b"$") {
            Some(name) => Named::Variable(self.variable(&Text {
                bytes: name.into(),
                span: text.span,
            })),
            None => Named::Fixed(self.charsets.add(&text.bytes)),
        }
    }

    pub(super) fn coding(&mut self, settings: &Settings) -> Option<Coding> {
        let (gzip, brotli, zstd) = (&settings.gzip, &settings.brotli, &settings.zstd);
        let statics = [gzip.gzip_static, brotli.brotli_static, zstd.zstd_static];
        let files = statics.iter().any(|&mode| mode != StaticMode::Off);
        // Patterns that are wrong are told even where nothing uses them.
        let patterns = gzip.gzip_disable.iter();
        let gzip_disable = patterns
            .filter_map(|pattern| self.regex(pattern, true))
            .collect();
        if !(gzip.gzip || gzip.gunzip || brotli.brotli || zstd.zstd || files) {
            return None;
        }
        Some(Coding {
            zstd: zstd.zstd,
            brotli: brotli.brotli,
            gzip: gzip.gzip,
            gunzip: gzip.gunzip,
            files,
            gzip_disable,
        })
    }
}
