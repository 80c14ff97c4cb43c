//! What TLS needs, as the configuration describes it: settings, and the contents of the files that they name. Knows no
//! certificate from a key; `control/certs` makes of it what `net` speaks with. Start at [`TlsServerPlan`] and
//! [`TlsClientPlan`].

use std::sync::Arc;

use super::expr::Expr;
use super::{LogId, ResolverId};
use crate::config::diag::Span;
use crate::config::model;

/// A file that was read when the configuration was.
#[derive(Clone, Debug)]
pub struct Material {
    /// Its path as messages show it, or what was written in its place.
    pub name: Box<str>,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Where the configuration names it.
    pub span: Span,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub enum Pair {
    /// Known when the configuration is loaded.
    Read {
        /// The chain.
        certificate: Material,
        /// The key.
        key: Material,
    },
    /// Their names hold variables: known when a client says hello.
    Named {
        /// The path of the chain, or `data:` and the chain.
        certificate: Expr,
        /// The path of the key, or `data:` and the key.
        key: Expr,
    },
}

/// TLS of a server that has a certificate or refuses handshakes.
#[derive(Clone, Debug)]
pub struct TlsServerPlan {
    /// Plain values.
    pub settings: Arc<model::Ssl>,
    /// Certificates in order.
    pub pairs: Box<[Pair]>,
    /// `ssl_password_file`.
    pub passwords: Option<Material>,
    /// `ssl_client_certificate`.
    pub client_authorities: Option<Material>,
    /// `ssl_trusted_certificate`.
    pub trusted: Option<Material>,
    /// `ssl_crl`.
    pub revoked: Option<Material>,
    /// `ssl_session_ticket_key` in order.
    pub ticket_keys: Box<[Material]>,
    /// `ssl_stapling_file`.
    pub stapling_file: Option<Material>,
    /// `resolver` of the server, for OCSP.
    pub resolver: Option<ResolverId>,
    /// `ssl_key_log`.
    pub key_log: Option<LogId>,
}

/// TLS to the backends of a location, as far as no request decides about it.
#[derive(Clone, Debug)]
pub struct TlsClientPlan {
    /// Prefix of its directives: `proxy_ssl_`, `grpc_ssl_`.
    pub prefix: &'static str,
    /// Plain values.
    pub settings: Arc<model::PassSsl>,
    /// Our certificate, where no request decides about it.
    pub pair: Option<Pair>,
    /// `proxy_ssl_password_file`.
    pub passwords: Option<Material>,
    /// `proxy_ssl_trusted_certificate`.
    pub trusted: Option<Material>,
    /// `proxy_ssl_crl`.
    pub revoked: Option<Material>,
    /// `proxy_ssl_key_log`.
    pub key_log: Option<LogId>,
}

/// TLS to the backends of a location, as far as a request decides about it.
pub struct ProxyTls {
    /// Which of the plan's [`TlsClientPlan`]s.
    pub client: usize,
    /// `proxy_ssl_name`: may have a port, which does not count.
    pub name: Expr,
    /// Our certificate and its key, where their names hold variables.
    pub pair: Option<(Expr, Expr)>,
}
