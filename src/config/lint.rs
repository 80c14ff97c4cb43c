//! Advice: what a configuration is allowed to say but its author probably did not mean. Nothing here keeps a file from
//! loading, and `-t` does not print it; `ringx check` does. Start at [`advise`].

use std::sync::Arc;

use super::diag::{Diag, Level};
use super::model::*;
use super::tree::{SourceFile, Span};

/// Everything worth saying about a model, in the order of the text.
pub(crate) fn advise(model: &Model, files: &[SourceFile]) -> Vec<Diag> {
    let mut lint = Lint {
        files,
        found: Vec::new(),
    };
    if let Some(http) = &model.http {
        for server in &http.servers {
            lint.shadowed(&http.settings, &server.settings, server.pos);
            lint.names(server);
            lint.no_passwords(&http.settings, &server.settings);
            for location in &server.locations {
                lint.location(&server.settings, location);
            }
        }
    }
    lint.found.sort_by_key(|d| (d.span.file, d.span.start));
    lint.found
}

struct Lint<'a> {
    files: &'a [SourceFile],
    found: Vec<Diag>,
}

impl Lint<'_> {
    fn say(&mut self, message: String, hint: impl Into<String>, span: Span) {
        self.found
            .push(Diag::at(Level::Notice, message, span, self.files).hint(hint));
    }

    fn location(&mut self, above: &Settings, location: &Location) {
        self.shadowed(above, &location.settings, location.pos);
        self.loose_dot(location);
        self.fixed_upgrade(above, location);
        self.textual_prefix(location);
        self.no_passwords(above, &location.settings);
        self.answered_first(above, location);
        for inner in &location.locations {
            self.location(&location.settings, inner);
        }
    }

    /// A list of one's own drops the whole list of the level above.
    fn shadowed(&mut self, above: &Settings, here: &Settings, span: Span) {
        let (outer, inner) = (&above.headers, &here.headers);
        if !Arc::ptr_eq(&outer.add_header, &inner.add_header)
            && inner.add_header_inherit == HeaderInherit::On
        {
            let lost = missing(
                outer.add_header.iter().map(|h| &h.name),
                inner.add_header.iter().map(|h| &h.name),
            );
            if !lost.is_empty() && !inner.add_header.is_empty() {
                let message = format!(
                    "\"add_header\" here drops what the level above adds: {}",
                    lost.join(", ")
                );
                self.say(
                    message,
                    "repeat them, or write \"add_header_inherit merge\"",
                    span,
                );
            }
        }
        let (outer, inner) = (&above.proxy.proxy_set_header, &here.proxy.proxy_set_header);
        if !Arc::ptr_eq(outer, inner) && !inner.is_empty() {
            let lost = missing(outer.iter().map(|h| &h.name), inner.iter().map(|h| &h.name));
            if !lost.is_empty() {
                let message = format!(
                    "\"proxy_set_header\" here drops what the level above sets: {}",
                    lost.join(", ")
                );
                self.say(
                    message,
                    "repeat them here, or include them from a file of their own",
                    span,
                );
            }
        }
    }

    /// A realm without a user file asks for nothing: what looks closed is open.
    fn no_passwords(&mut self, above: &Settings, here: &Settings) {
        let (outer, inner) = (&above.auth_basic, &here.auth_basic);
        if Arc::ptr_eq(outer, inner) || inner.auth_basic_user_file.is_some() {
            return;
        }
        if let Some(realm) = inner.auth_basic.as_ref().filter(|r| *r.bytes != *b"off") {
            let message = "\"auth_basic\" asks for no password without a user file".into();
            self.say(
                message,
                "name one with \"auth_basic_user_file\"",
                realm.span,
            );
        }
    }

    /// `return` is over before addresses and passwords are asked about.
    fn answered_first(&mut self, above: &Settings, location: &Location) {
        let here = &location.settings;
        let guarded = !Arc::ptr_eq(&above.access, &here.access)
            || !Arc::ptr_eq(&above.auth_basic, &here.auth_basic);
        let returns = location.script.iter().any(|op| matches!(op, Op::Return(_)));
        if guarded && returns {
            let message = "\"return\" answers everybody: it comes before access rules".into();
            let hint = "leave the answer to a file, a backend or another location";
            self.say(message, hint, location.pos);
        }
    }

    /// `~* .(js|css)$` also takes `/xjs`.
    fn loose_dot(&mut self, location: &Location) {
        let pattern = &location.path.bytes[..];
        let (Kind::Regex { .. }, [b'.', b'(', ..]) = (&location.kind, pattern) else {
            return;
        };
        let text = location.path.lossy();
        let message = format!("the dot in \"{text}\" stands for any character");
        self.say(message, format!("write \\{text}"), location.path.span);
    }

    /// A fixed `Connection: upgrade` reaches the backend on ordinary requests too.
    fn fixed_upgrade(&mut self, above: &Settings, location: &Location) {
        let list = &location.settings.proxy.proxy_set_header;
        if Arc::ptr_eq(list, &above.proxy.proxy_set_header) {
            return;
        }
        let fixed = list.iter().find(|h| {
            h.name.eq_ignore_ascii_case(b"connection")
                && h.value.bytes.eq_ignore_ascii_case(b"upgrade")
        });
        if let Some(header) = fixed {
            let message =
                "requests that ask for no upgrade carry \"Connection: upgrade\" too".into();
            let hint = "use a map of $http_upgrade: default upgrade, '' close";
            self.say(message, hint, header.value.span);
        }
    }

    /// `location /api` with `proxy_pass http://x/` turns `/api/users` into `//users`.
    fn textual_prefix(&mut self, location: &Location) {
        let (Kind::Prefix | Kind::NoRegex, Content::Proxy(pass)) =
            (&location.kind, &location.content)
        else {
            return;
        };
        let uri = pass.target.as_ref().and_then(|t| t.uri.as_deref());
        let path = &location.path.bytes;
        if uri.is_some_and(|u| u.ends_with(b"/")) && !path.ends_with(b"/") {
            let path = location.path.lossy();
            let uri = String::from_utf8_lossy(uri.unwrap_or_default()).into_owned();
            let message =
                format!("\"{path}/x\" becomes \"{uri}/x\": the prefix is replaced as text");
            self.say(message, format!("write location {path}/"), pass.url.span);
        }
    }

    /// A wildcard in the middle of a name matches nothing.
    fn names(&mut self, server: &Server) {
        for name in server
            .names
            .iter()
            .filter(|n| n.kind == NameKind::Exact && n.text.bytes.contains(&b'*'))
        {
            let message = format!("server name \"{}\" matches no host", name.text.lossy());
            self.say(
                message,
                "a star stands for whole labels at one end; or write a pattern after ~",
                name.text.span,
            );
        }
    }
}

/// Names of the outer list that the inner one lacks, each once.
fn missing<'n>(
    outer: impl Iterator<Item = &'n Arc<[u8]>>,
    inner: impl Iterator<Item = &'n Arc<[u8]>>,
) -> Vec<String> {
    let inner: Vec<&Arc<[u8]>> = inner.collect();
    let mut lost: Vec<String> = Vec::new();
    for name in outer.filter(|n| !inner.iter().any(|i| i.eq_ignore_ascii_case(n))) {
        let text = String::from_utf8_lossy(name).into_owned();
        if !lost.contains(&text) {
            lost.push(text);
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::super::tests::load_text;

    #[test]
    fn each_is_told_once() {
        let cases: &[(&str, &[&str])] = &[
            (
                "add_header A 1; add_header B 2; server { location / { add_header b 3; } }",
                &["\"add_header\" here drops what the level above adds: A"],
            ),
            (
                "add_header A 1; server { add_header_inherit merge; add_header B 2; }",
                &[],
            ),
            (
                "add_header A 1; server { location / { if ($a) { return 1; } } }",
                &[],
            ),
            (
                "proxy_set_header Host h; server { proxy_set_header X y; location /a { } }",
                &["\"proxy_set_header\" here drops what the level above sets: Host"],
            ),
            (
                "server { location ~* .(js|css)$ { } location ~ \\.(js)$ { } }",
                &["the dot in \".(js|css)$\" stands for any character"],
            ),
            (
                "server { location / { proxy_set_header Connection \"upgrade\"; } }",
                &["requests that ask for no upgrade carry \"Connection: upgrade\" too"],
            ),
            (
                "server { location /api { proxy_pass http://h/; } location /b/ { proxy_pass http://h/; } }",
                &["\"/api/x\" becomes \"//x\": the prefix is replaced as text"],
            ),
            (
                "server { location /a { auth_basic x; } location /b { auth_basic off; } location /c { auth_basic x; auth_basic_user_file f; } }",
                &["\"auth_basic\" asks for no password without a user file"],
            ),
            (
                "server { location /a { deny all; return 200; } location /b { return 200; } location /c { deny all; if ($a) { return 200; } } }",
                &["\"return\" answers everybody: it comes before access rules"],
            ),
            (
                "server { server_name www.*.org; }",
                &["server name \"www.*.org\" matches no host"],
            ),
        ];
        for (text, want) in cases {
            let loaded = load_text(&format!("events {{}} http {{ {text} }}"));
            assert!(loaded.model.is_some(), "{text}");
            let said: Vec<&str> = loaded.advice.iter().map(|d| &d.message[..]).collect();
            assert_eq!(said, *want, "{text}");
        }
    }
}
