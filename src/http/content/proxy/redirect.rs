//! `proxy_redirect`, `proxy_cookie_domain`, `proxy_cookie_path` and `proxy_cookie_flags`: what an origin says about
//! itself, said again in the client's terms.

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::vars;
use crate::plan::location::{CookieFlags, ProxyPlan, RedirectFrom, RedirectRule};

/// Rewrites a `Location` value by the first rule that matches. None when no rule does.
pub fn location(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, value: &[u8]) -> Option<Vec<u8>> {
    by_rules(ex, cx, &plan.redirects, value, Kind::Prefix)
}

/// Rewrites the target in a `Refresh` value (`5; url=http://…`). None when no rule matches.
pub fn refresh(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, value: &[u8]) -> Option<Vec<u8>> {
    let at = value
        .windows(4)
        .position(|w| w.eq_ignore_ascii_case(b"url="))?
        + 4;
    let rewritten = by_rules(ex, cx, &plan.redirects, &value[at..], Kind::Prefix)?;
    let mut out = value[..at].to_vec();
    out.extend_from_slice(&rewritten);
    Some(out)
}

/// Whether any cookie rule is configured.
pub fn has_cookie_rules(plan: &ProxyPlan) -> bool {
    !(plan.cookie_domains.is_empty()
        && plan.cookie_paths.is_empty()
        && plan.cookie_flags.is_empty())
}

/// Rewrites a `Set-Cookie` value. None when nothing changes.
pub fn cookie(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, value: &[u8]) -> Option<Vec<u8>> {
    let mut attributes = Attributes::parse(value);
    let mut changed = false;
    for (name, rules, kind) in [
        (&b"domain"[..], &plan.cookie_domains, Kind::Domain),
        (b"path", &plan.cookie_paths, Kind::Prefix),
    ] {
        if rules.is_empty() {
            continue;
        }
        if let Some(slot) = attributes.find(name)
            && let Some(old) = slot.value.clone()
            && let Some(new) = by_rules(ex, cx, rules, &old, kind)
        {
            slot.value = Some(new);
            changed = true;
        }
    }
    for rule in &plan.cookie_flags {
        if matches_cookie(ex, cx, rule, &attributes.list[0].name) {
            let mut words = Vec::with_capacity(rule.flags.len());
            for flag in &rule.flags {
                let mut word = Vec::new();
                vars::eval(flag, ex, cx, &mut word);
                words.push(word);
            }
            // nginx adds them in this order, however they are listed.
            words.sort_by_key(|word| Attributes::rank(word));
            for word in words {
                attributes.apply(&word);
            }
            changed = true;
            break;
        }
    }
    changed.then(|| attributes.join())
}

/// How a text rule is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The value begins with the text, which is replaced.
    Prefix,
    /// The whole value is the text, in any case and with or without a leading dot.
    Domain,
}

fn by_rules(
    ex: &mut Exchange,
    cx: Cx<'_>,
    rules: &[RedirectRule],
    value: &[u8],
    kind: Kind,
) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for rule in rules {
        // The dot before a cookie's domain stays when a text rule replaces what is behind it.
        let mut dot: &[u8] = b"";
        let rest: &[u8] = match &rule.from {
            RedirectFrom::Text(from) => {
                text.clear();
                vars::eval(from, ex, cx, &mut text);
                match kind {
                    Kind::Prefix => match value.strip_prefix(&text[..]) {
                        Some(rest) => rest,
                        None => continue,
                    },
                    Kind::Domain => {
                        let bare = value.strip_prefix(b".").unwrap_or(value);
                        let from = text.strip_prefix(b".").unwrap_or(&text);
                        dot = &value[..value.len() - bare.len()];
                        if !bare.eq_ignore_ascii_case(from) {
                            continue;
                        }
                        b""
                    }
                }
            }
            RedirectFrom::Regex(regex) => {
                if !vars::matches(regex, value, ex, cx) {
                    continue;
                }
                b""
            }
        };
        let mut out = Vec::with_capacity(value.len() + 32);
        out.extend_from_slice(dot);
        vars::eval(&rule.to, ex, cx, &mut out);
        out.extend_from_slice(rest);
        return Some(out);
    }
    None
}

fn matches_cookie(ex: &mut Exchange, cx: Cx<'_>, rule: &CookieFlags, name: &[u8]) -> bool {
    match &rule.name {
        RedirectFrom::Text(text) => {
            let mut want = Vec::new();
            vars::eval(text, ex, cx, &mut want);
            want.eq_ignore_ascii_case(name)
        }
        RedirectFrom::Regex(regex) => vars::matches(regex, name, ex, cx),
    }
}

/// One `name=value` of a cookie, spelling kept.
struct Attribute {
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// A `Set-Cookie` value taken apart: the cookie itself first.
struct Attributes {
    list: Vec<Attribute>,
}

impl Attributes {
    fn parse(value: &[u8]) -> Self {
        let list = value
            .split(|&b| b == b';')
            .map(|part| {
                let part = part.trim_ascii();
                match memchr::memchr(b'=', part) {
                    Some(i) => Attribute {
                        name: part[..i].to_vec(),
                        value: Some(part[i + 1..].to_vec()),
                    },
                    None => Attribute {
                        name: part.to_vec(),
                        value: None,
                    },
                }
            })
            .collect();
        Self { list }
    }

    fn find(&mut self, name: &[u8]) -> Option<&mut Attribute> {
        self.list
            .iter_mut()
            .skip(1)
            .find(|a| a.name.eq_ignore_ascii_case(name))
    }

    fn remove(&mut self, name: &[u8]) {
        let mut first = true;
        self.list
            .retain(|a| std::mem::take(&mut first) || !a.name.eq_ignore_ascii_case(name));
    }

    fn set(&mut self, name: &[u8], value: Option<&[u8]>) {
        let value = value.map(<[u8]>::to_vec);
        match self.find(name) {
            Some(slot) => slot.value = value,
            None => self.list.push(Attribute {
                name: name.to_vec(),
                value,
            }),
        }
    }

    /// Where the attribute of one word of `proxy_cookie_flags` stands among those that are added.
    fn rank(word: &[u8]) -> usize {
        let has = |part: &[u8]| {
            word.to_ascii_lowercase()
                .windows(part.len())
                .any(|w| w == part)
        };
        if has(b"secure") {
            0
        } else if has(b"httponly") {
            1
        } else {
            2
        }
    }

    /// Applies one word of `proxy_cookie_flags`.
    fn apply(&mut self, word: &[u8]) {
        let lower = word.to_ascii_lowercase();
        match &lower[..] {
            b"secure" => self.set(b"Secure", None),
            b"nosecure" => self.remove(b"Secure"),
            b"httponly" => self.set(b"HttpOnly", None),
            b"nohttponly" => self.remove(b"HttpOnly"),
            b"samesite=strict" => self.set(b"SameSite", Some(b"Strict")),
            b"samesite=lax" => self.set(b"SameSite", Some(b"Lax")),
            b"samesite=none" => self.set(b"SameSite", Some(b"None")),
            b"nosamesite" => self.remove(b"SameSite"),
            _ => {}
        }
    }

    fn join(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, attribute) in self.list.iter().enumerate() {
            if i > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(&attribute.name);
            if let Some(value) = &attribute.value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Attributes;

    fn flagged(cookie: &str, words: &[&str]) -> String {
        let mut attributes = Attributes::parse(cookie.as_bytes());
        for word in words {
            attributes.apply(word.as_bytes());
        }
        String::from_utf8(attributes.join()).expect("ascii")
    }

    #[test]
    fn flags_are_set_and_cleared() {
        assert_eq!(
            flagged("a=b", &["secure", "samesite=strict"]),
            "a=b; Secure; SameSite=Strict"
        );
        assert_eq!(
            flagged("a=b; secure; HttpOnly; path=/", &["nosecure", "nohttponly"]),
            "a=b; path=/"
        );
        assert_eq!(
            flagged("a=b; SameSite=Lax", &["samesite=none"]),
            "a=b; SameSite=None"
        );
        assert_eq!(flagged("a; samesite=Lax", &["nosamesite"]), "a");
    }
}
