//! `sticky` of an `upstream` block.

use bytes::Bytes;

use super::{Compiler, bytes_of};
use crate::config::model::{Sticky, StickyCookie, Text, Upstream};
use crate::plan::expr::Expr;
use crate::plan::limits::Table;
use crate::plan::sticky::{CookiePlan, LearnPlan, StickyKind, StickyPlan};

impl Compiler<'_> {
    /// What keeps clients on a peer of this group; none where nothing does.
    pub(super) fn sticky(&mut self, upstream: &Upstream) -> Option<Box<StickyPlan>> {
        let (lookup, kind) = match &**upstream.sticky.as_ref()? {
            Sticky::Route(names) => (self.variables(names), StickyKind::Route),
            Sticky::Cookie(cookie) => {
                let name = [b"cookie_", &cookie.name.bytes[..]].concat();
                let name = Text {
                    bytes: name.into(),
                    span: cookie.name.span,
                };
                let plan = StickyKind::Cookie(self.cookie(cookie));
                (Box::from([self.variable(&name)]), plan)
            }
            Sticky::Learn(learn) => {
                let plan = LearnPlan {
                    create: self.variables(&learn.create),
                    zone: bytes_of(&learn.zone),
                    table: Table::of("sticky", &learn.zone, learn.size, &upstream.name),
                    timeout: learn.timeout,
                    header: learn.header,
                };
                (self.variables(&learn.lookup), StickyKind::Learn(plan))
            }
        };
        Some(Box::new(StickyPlan { lookup, kind }))
    }

    fn variables(&mut self, names: &[Text]) -> Box<[Expr]> {
        names.iter().map(|name| self.variable(name)).collect()
    }

    fn cookie(&mut self, cookie: &StickyCookie) -> CookiePlan {
        let flags: [&[u8]; 2] = [
            if cookie.httponly { b"; httponly" } else { b"" },
            if cookie.secure { b"; secure" } else { b"" },
        ];
        let path = match &cookie.path {
            Some(path) => [b"; path=", &path.bytes[..]].concat(),
            None => Vec::new(),
        };
        CookiePlan {
            start: Bytes::from([&cookie.name.bytes[..], b"="].concat()),
            expires: cookie.expires,
            domain: cookie.domain.as_ref().map(|text| self.expr(text)),
            flags: Bytes::from(flags.concat()),
            samesite: cookie.samesite.as_ref().map(|text| self.expr(text)),
            path: path.into(),
        }
    }
}
