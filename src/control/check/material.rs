//! Rules about files that a configuration names: certificates and keys. Start at [`files`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::diag::COMMAND_LINE;
use crate::config::lint::{Finding, origin, rules};
use crate::config::model::{Http, Location, Model, NameKind, Server, Settings, Text};
use crate::config::tree::Tree;
use crate::net::clock;
use crate::net::tls::{certificate, pem, verify};

/// A certificate that ends in fewer days than this should have been renewed: who renews by machine does it at 30.
const SOON_DAYS: i64 = 21;

/// What is wrong with the files.
pub(super) fn files(model: &Model, tree: &Tree, prefix: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(http) = &model.http else {
        return found;
    };
    let folder = folder(tree, prefix);
    for server in &http.servers {
        let ssl = &server.settings.ssl;
        if server.listens.iter().any(|l| l.ssl) {
            for name in ssl.ssl_certificate.iter() {
                certificates(&mut found, &folder, name, server);
            }
        }
    }
    keys(&mut found, http, &folder);
    found.sort_by_key(|f| (f.rule.id, f.span.file, f.span.start));
    found.dedup_by(|a, b| a.rule == b.rule && a.span == b.span && (a.message == b.message));
    found
}

/// Relative names of certificates start from the folder of the configuration file, as in nginx.
fn folder(tree: &Tree, prefix: &Path) -> PathBuf {
    let mut named = tree
        .files
        .iter()
        .filter(|f| f.path.as_os_str() != COMMAND_LINE);
    let main = named.next().and_then(|f| f.path.parent());
    main.unwrap_or(prefix).to_owned()
}

/// The path of a fixed name.
fn path(folder: &Path, name: &Text) -> Option<PathBuf> {
    let bytes = &name.bytes[..];
    let other = name.has_variables()
        || bytes.is_empty()
        || bytes.starts_with(b"data:")
        || bytes.starts_with(b"engine:");
    (!other).then(|| folder.join(OsStr::from_bytes(bytes)))
}

fn certificates(found: &mut Vec<Finding>, folder: &Path, name: &Text, server: &Server) {
    let Some(path) = path(folder, name) else {
        return;
    };
    let Ok(text) = std::fs::read(&path) else {
        return;
    };
    let Some(chain) = pem::certificates(&text) else {
        return;
    };
    let Some(own) = chain.first() else { return };
    let shown = name.lossy();
    let request = format!("GET {}/", origin(server));
    let now = clock::unix().secs;
    if let (Some((_, ends)), Some(days)) =
        (certificate::lifetime(own), certificate::days_left(own, now))
        && ends >= now
        && days < SOON_DAYS
    {
        let message = format!("certificate \"{shown}\" expires in {days} days");
        found.push(
            Finding::new(&rules::EXPIRING_CERTIFICATE, name.span, message).request(&request[..]),
        );
    }
    // Several certificates serve several kinds of keys, all with the same names.
    for one in &server.names {
        let host = match one.kind {
            NameKind::Exact => one.text.bytes.to_vec(),
            NameKind::NameAndSuffix => one.text.bytes[1..].to_vec(),
            NameKind::Suffix => [b"www", &one.text.bytes[1..]].concat(),
            NameKind::Prefix | NameKind::Regex { .. } => continue,
        };
        // Names without a dot are of this machine or nobody's: no authority signs them.
        if !host.contains(&b'.') || verify::names_host(own, &host) {
            continue;
        }
        let host = String::from_utf8_lossy(&host).into_owned();
        let message = format!("certificate \"{shown}\" is not for \"{host}\"");
        let place = if one.text.span.line == 0 {
            name.span
        } else {
            one.text.span
        };
        let port = origin(server);
        let port = port
            .rsplit_once(':')
            .map(|(_, p)| p)
            .filter(|p| !p.starts_with('/'));
        let port = port.map_or_else(String::new, |p| format!(":{p}"));
        found.push(
            Finding::new(&rules::CERTIFICATE_NAME, place, message)
                .request(format!("GET https://{host}{port}/")),
        );
    }
    let (mut subject, mut issuer) = (Vec::new(), Vec::new());
    certificate::name(own, certificate::Whose::Subject, &mut subject);
    certificate::name(own, certificate::Whose::Issuer, &mut issuer);
    if chain.len() == 1 && subject != issuer {
        let message = format!(
            "\"{shown}\" has no certificate of \"{}\", which signs it",
            String::from_utf8_lossy(&issuer)
        );
        found.push(Finding::new(&rules::INCOMPLETE_CHAIN, name.span, message).request(request));
    }
}

/// Who may read the keys.
fn keys(found: &mut Vec<Finding>, http: &Http, folder: &Path) {
    let levels = http.servers.iter().flat_map(|s| {
        let mut all: Vec<&Settings> = vec![&s.settings];
        let mut left: Vec<&Location> = s.locations.iter().collect();
        while let Some(location) = left.pop() {
            all.push(&location.settings);
            left.extend(&location.locations);
        }
        all
    });
    let names: Vec<&Text> = levels
        .flat_map(|s| {
            let own = s.ssl.ssl_certificate_key.iter();
            own.chain(&s.proxy_ssl.certificate_key)
                .chain(&s.grpc_ssl.certificate_key)
        })
        .collect();
    for name in names {
        let Some(path) = path(folder, name) else {
            continue;
        };
        let Ok(facts) = std::fs::metadata(&path) else {
            continue;
        };
        let mode = facts.permissions().mode() & 0o777;
        if mode & 0o004 != 0 && reachable(&path) {
            let shown = name.lossy();
            let message =
                format!("everybody on this machine can read the key \"{shown}\" ({mode:04o})");
            found.push(
                Finding::new(&rules::READABLE_KEY, name.span, message)
                    .advice(format!("chmod 600 {}", path.display())),
            );
        }
    }
}

/// Whether others get through the folders on the way; those of certbot are closed.
fn reachable(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    real.ancestors()
        .skip(1)
        .all(|f| std::fs::metadata(f).is_ok_and(|m| m.mode() & 0o001 != 0))
}
