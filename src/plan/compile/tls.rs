//! TLS of servers: the files that their settings name are read here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Compiler;
use crate::config::diag::{COMMAND_LINE, Diag, Level};
use crate::config::model::{ConfCommand, Settings, Text};
use crate::plan::tls::{Material, Pair, TlsServerPlan};

/// What stands for the path of a file whose contents are written out.
const DATA: &[u8] = b"data:";

/// The certificate and key that commands of OpenSSL's configuration name.
pub(super) fn commanded(commands: &[ConfCommand]) -> Option<(&Text, &Text)> {
    let value = |name: &[u8]| {
        let mut all = commands.iter().rev();
        let found = all.find(|command| command.name.bytes.eq_ignore_ascii_case(name));
        found.map(|command| &command.value)
    };
    Some((value(b"Certificate")?, value(b"PrivateKey")?))
}

impl Compiler<'_> {
    /// None where a server has neither certificates nor handshakes to refuse.
    pub(super) fn tls_server(&mut self, settings: &Settings) -> Option<Box<TlsServerPlan>> {
        let ssl = &settings.ssl;
        if ssl.ssl_certificate.is_empty() && !ssl.ssl_reject_handshake {
            return None;
        }
        let certificates = ssl.ssl_certificate.iter();
        let pairs = certificates.zip(ssl.ssl_certificate_key.iter());
        // A pair of the commands' counts before the others.
        let pairs = commanded(&ssl.ssl_conf_command).into_iter().chain(pairs);
        let pairs = pairs.filter_map(|(certificate, key)| self.pair(certificate, key));
        let pairs = pairs.collect();
        let resolver = match (&settings.core.resolver, ssl.ssl_stapling) {
            (Some(resolver), true) => Some(self.resolver(resolver)),
            _ => None,
        };
        let ticket_keys = ssl.ssl_session_ticket_key.iter();
        let ticket_keys = ticket_keys
            .filter_map(|key| self.material("ssl_session_ticket_key", key))
            .collect();
        Some(Box::new(TlsServerPlan {
            settings: ssl.clone(),
            pairs,
            passwords: self.some_material("ssl_password_file", ssl.ssl_password_file.as_ref()),
            client_authorities: self.some_material(
                "ssl_client_certificate",
                ssl.ssl_client_certificate.as_ref(),
            ),
            trusted: self.some_material(
                "ssl_trusted_certificate",
                ssl.ssl_trusted_certificate.as_ref(),
            ),
            revoked: self.some_material("ssl_crl", ssl.ssl_crl.as_ref()),
            ticket_keys,
            stapling_file: self.some_material("ssl_stapling_file", ssl.ssl_stapling_file.as_ref()),
            resolver,
        }))
    }

    /// A certificate and its key, read unless a name holds variables.
    pub(super) fn pair(&mut self, certificate: &Text, key: &Text) -> Option<Pair> {
        if certificate.has_variables() || key.has_variables() {
            return Some(Pair::Named {
                certificate: self.expr(certificate),
                key: self.expr(key),
            });
        }
        Some(Pair::Read {
            certificate: self.material("certificate", certificate)?,
            key: self.material("certificate key", key)?,
        })
    }

    /// A path; a relative one starts from the folder of the configuration file, as in nginx.
    fn beside_configuration(&self, path: &[u8]) -> PathBuf {
        let given = Path::new(OsStr::from_bytes(path));
        let files = self.env.files.iter().map(|file| &file.path);
        let mut named = files.filter(|path| path.as_os_str() != COMMAND_LINE);
        match named.next().and_then(|file| file.parent()) {
            Some(folder) => folder.join(given),
            None => self.env.prefix.join(given),
        }
    }

    fn some_material(&mut self, what: &str, text: Option<&Text>) -> Option<Material> {
        let text = text.filter(|text| !text.bytes.is_empty())?;
        self.material(what, text)
    }

    /// Reads a file; one that cannot be read is reported. `what` is its part in nginx's words.
    pub(super) fn material(&mut self, what: &str, text: &Text) -> Option<Material> {
        if let Some(data) = text.bytes.strip_prefix(DATA) {
            return Some(Material {
                name: "data:".into(),
                bytes: data.into(),
                span: text.span,
            });
        }
        let path = self.beside_configuration(&text.bytes);
        match (self.env.read)(&path) {
            Ok(bytes) => Some(Material {
                name: path.to_string_lossy().into(),
                bytes,
                span: text.span,
            }),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or_default();
                let text_of = error.to_string();
                let reason = text_of.split(" (os error").next().unwrap_or_default();
                let shown = path.display();
                let message =
                    format!("cannot load {what} \"{shown}\": fopen() failed ({number}: {reason})");
                let hint = match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        "the file is not there; relative paths start from the folder of the configuration file".to_owned()
                    }
                    std::io::ErrorKind::PermissionDenied => {
                        "whoever starts the server must be able to read the file".to_owned()
                    }
                    _ => "the file cannot be read".to_owned(),
                };
                let diag = Diag::at(Level::Emerg, message, text.span, self.env.files);
                self.diags.push(diag.hint(hint));
                None
            }
        }
    }
}
