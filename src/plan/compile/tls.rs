//! TLS of servers: the files that their settings name are read here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Compiler;
use crate::config::diag::{COMMAND_LINE, Diag, Level};
use crate::config::model::{ConfCommand, Ocsp, PassSsl, Settings, Text};
use crate::plan::expr::{Expr, Var};
use crate::plan::tls::{Material, Pair, ProxyTls, TlsClientPlan, TlsServerPlan};
use crate::plan::vars::Builtin;
use crate::plan::{LogId, LogTarget};

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
        // A pair of the commands' takes the place of those with its kind of key: the last one counts.
        let pairs = pairs.chain(commanded(&ssl.ssl_conf_command));
        let pairs = pairs.filter_map(|(certificate, key)| self.pair(certificate, key));
        let pairs = pairs.collect();
        let asks = ssl.ssl_stapling || ssl.ssl_ocsp != Ocsp::Off;
        let resolver = match (&settings.core.resolver, asks) {
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
            key_log: self.key_log(ssl.ssl_key_log.as_ref()),
        }))
    }

    /// TLS of a location to its backends. Locations with the same settings share a description.
    pub(super) fn tls_client(
        &mut self,
        prefix: &'static str,
        settings: &Arc<PassSsl>,
    ) -> Option<Box<ProxyTls>> {
        let known = self.tls_clients.iter();
        let mut known = known
            .enumerate()
            .filter(|(_, one)| one.prefix == prefix && Arc::ptr_eq(&one.settings, settings));
        let client = match known.next() {
            Some((index, _)) => index,
            None => {
                let plan = self.tls_client_plan(prefix, settings)?;
                self.tls_clients.push(plan);
                self.tls_clients.len() - 1
            }
        };
        let pair = match &self.tls_clients[client].pair {
            Some(Pair::Named { certificate, key }) => Some((certificate.clone(), key.clone())),
            _ => None,
        };
        Some(Box::new(ProxyTls {
            client,
            name: match &settings.name {
                Some(name) => self.expr(name),
                None => Expr::variable(Var::Builtin(Builtin::ProxyHost)),
            },
            pair,
        }))
    }

    fn tls_client_plan(
        &mut self,
        prefix: &'static str,
        settings: &Arc<PassSsl>,
    ) -> Option<TlsClientPlan> {
        let own = settings.certificate.as_ref();
        let own = own.filter(|certificate| !certificate.bytes.is_empty());
        let pair = match (own, &settings.certificate_key) {
            (None, _) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(certificate), None) => {
                let shown = certificate.lossy();
                let message = format!(
                    "no \"{prefix}certificate_key\" is defined for certificate \"{shown}\""
                );
                self.error(message, certificate.span);
                None
            }
        };
        let pair = commanded(&settings.conf_command).or(pair);
        let pair = pair.and_then(|(certificate, key)| self.pair(certificate, key));
        let trusted = settings.trusted_certificate.as_ref();
        if settings.verify && trusted.is_none() {
            let message = format!("no {prefix}trusted_certificate for {prefix}verify");
            let diag = Diag::general(Level::Emerg, message)
                .hint("name a file with the certificates that sign those of your backends");
            self.diags.push(diag);
        }
        Some(TlsClientPlan {
            prefix,
            settings: Arc::clone(settings),
            pair,
            passwords: self.some_material("password file", settings.password_file.as_ref()),
            trusted: match settings.verify {
                true => self.some_material("trusted certificate", trusted),
                false => None,
            },
            revoked: match settings.verify {
                true => self.some_material("crl", settings.crl.as_ref()),
                false => None,
            },
            key_log: self.key_log(settings.key_log.as_ref()),
        })
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

    /// A log for secrets; a relative path starts from the prefix, as those of other logs do.
    fn key_log(&mut self, path: Option<&Text>) -> Option<LogId> {
        let path = path.filter(|path| !path.bytes.is_empty())?;
        let given = Path::new(OsStr::from_bytes(&path.bytes));
        Some(self.log(LogTarget::File(self.env.prefix.join(given))))
    }

    /// A path; a relative one starts from the folder of the configuration file, as in nginx.
    pub(super) fn beside_configuration(&self, path: &[u8]) -> PathBuf {
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
