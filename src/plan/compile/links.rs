//! `valid_referers` and `secure_link`.

use super::{Compiler, bytes_of};
use crate::config::model::{NameKind, SecureLink, Text};
use crate::plan::access::SecureLinkPlan;
use crate::plan::names::Mask;
use crate::plan::referer::RefererPlan;

impl Compiler<'_> {
    /// `valid_referers`.
    pub(super) fn referers(&mut self, words: &[Text]) -> Option<Box<RefererPlan>> {
        let first = words.first()?;
        let mut plan = RefererPlan::default();
        let mut patterns = Vec::new();
        for word in words {
            match &word.bytes[..] {
                b"" => self.error("invalid referer \"\"", word.span),
                b"none" => plan.none = true,
                b"blocked" => plan.blocked = true,
                b"server_names" => self.referring_servers(word, &mut plan),
                b"~" => self.error("empty regex in \"~\"", word.span),
                [b'~', pattern @ ..] => patterns.push(Text {
                    bytes: pattern.into(),
                    span: word.span,
                }),
                text => {
                    let slash = memchr::memchr(b'/', text).unwrap_or(text.len());
                    self.referer(&mut plan, &text[..slash], &text[slash..], word);
                }
            }
        }
        if (plan.none || plan.blocked) && plan.has_no_hosts() {
            self.error(
                "the \"none\" or \"blocked\" referers are specified in the \"valid_referers\" directive without any valid referer",
                first.span,
            );
        }
        for pattern in &patterns {
            plan.pages.extend(self.regex(pattern, true));
        }
        let empty = plan.has_no_hosts() && plan.pages.is_empty() && plan.names.is_empty();
        (!empty).then(|| Box::new(plan))
    }

    fn referring_servers(&mut self, word: &Text, plan: &mut RefererPlan) {
        for name in self.server_names.clone() {
            match name.kind {
                NameKind::Regex { caseless } => {
                    plan.names.extend(self.regex(&name.text, caseless));
                }
                _ => {
                    let host = self.own_name(&name.text.bytes).to_vec();
                    self.referer(plan, &host, b"", word);
                }
            }
        }
    }

    fn referer(&mut self, plan: &mut RefererPlan, host: &[u8], path: &[u8], word: &Text) {
        let (_, text) = Mask::of(host);
        let shown = String::from_utf8_lossy(host);
        if text.contains(&b'*') || memchr::memmem::find(host, b"..").is_some() {
            self.error(
                format!("invalid hostname or wildcard \"{shown}\""),
                word.span,
            );
        } else if !plan.add(host, path) {
            self.error(format!("conflicting parameter \"{shown}\""), word.span);
        }
    }

    /// `secure_link`, or `secure_link_secret`.
    pub(super) fn secure_link(&mut self, link: &SecureLink) -> Option<Box<SecureLinkPlan>> {
        if let Some(secret) = &link.secure_link_secret {
            return Some(Box::new(SecureLinkPlan::Secret(bytes_of(secret))));
        }
        let (text, of) = (link.secure_link.as_ref()?, link.secure_link_md5.as_ref()?);
        Some(Box::new(SecureLinkPlan::Signed {
            link: self.expr(text),
            of: self.expr(of),
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::compile::testing;

    #[test]
    fn referers_that_cannot_be() {
        let cases: &[(&str, &str)] = &[
            ("valid_referers example.com;", ""),
            ("valid_referers none blocked server_names ~x;", ""),
            (
                "valid_referers none;",
                "the \"none\" or \"blocked\" referers are specified in the \"valid_referers\" directive without any valid referer",
            ),
            (
                "valid_referers a.test a.test;",
                "conflicting parameter \"a.test\"",
            ),
            (
                "valid_referers a.*.test;",
                "invalid hostname or wildcard \"a.*.test\"",
            ),
            (
                "valid_referers a..test;",
                "invalid hostname or wildcard \"a..test\"",
            ),
            ("valid_referers ~;", "empty regex in \"~\""),
            ("valid_referers \"\";", "invalid referer \"\""),
            (
                "secure_link $nosuch; secure_link_md5 x;",
                "unknown \"nosuch\" variable",
            ),
            (
                "set_real_ip_from no.test;",
                "host not found in set_real_ip_from \"no.test\"",
            ),
            ("set_real_ip_from two.test;", ""),
            (
                "auth_basic $nosuch; auth_basic_user_file x;",
                "unknown \"nosuch\" variable",
            ),
        ];
        for (text, message) in cases {
            let text = format!("events {{}} http {{ server {{ server_name s.test; {text} }} }}");
            let told = match testing::from_text(&text) {
                Ok(_) => String::new(),
                Err(diags) => diags[0].message.clone(),
            };
            assert_eq!(told, *message, "{text}");
        }
    }
}
