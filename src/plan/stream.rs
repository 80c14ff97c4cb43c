//! What a server of `stream` does with a session, and the variables that sessions have.
//!
//! Its settings, logs and address rules are those of the server's root location. Values are made in `stream::vars`.

use super::GroupId;
use super::expr::Expr;

/// A server of `stream`.
pub struct SessionPlan {
    /// What its sessions are for.
    pub content: SessionContent,
    /// `proxy_bind`.
    pub bind: Option<Expr>,
    /// `proxy_bind … transparent`.
    pub bind_transparent: bool,
}

/// What sessions are for.
pub enum SessionContent {
    /// `proxy_pass` to a group.
    Group(GroupId),
    /// `proxy_pass` with variables.
    Dynamic(Expr),
    /// `return`.
    Return(Expr),
}

macro_rules! variables {
    ($($variant:ident = $name:literal;)+) => {
        /// Variables of sessions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SessionVar {
            $(#[doc = concat!("`$", $name, "`")] $variant,)+
            /// Belongs to a feature that is not in use, and so has no value.
            Absent,
        }

        /// All of them with their names.
        const ALL: &[(&str, SessionVar)] = &[$(($name, SessionVar::$variant)),+];
    };
}

variables! {
    BinaryRemoteAddr = "binary_remote_addr";
    BytesReceived = "bytes_received";
    BytesSent = "bytes_sent";
    Connection = "connection";
    Hostname = "hostname";
    Msec = "msec";
    NginxVersion = "nginx_version";
    Pid = "pid";
    Protocol = "protocol";
    ProxyProtocolAddr = "proxy_protocol_addr";
    ProxyProtocolPort = "proxy_protocol_port";
    ProxyProtocolServerAddr = "proxy_protocol_server_addr";
    ProxyProtocolServerPort = "proxy_protocol_server_port";
    RealipRemoteAddr = "realip_remote_addr";
    RealipRemotePort = "realip_remote_port";
    RemoteAddr = "remote_addr";
    RemotePort = "remote_port";
    ServerAddr = "server_addr";
    ServerName = "server_name";
    ServerPort = "server_port";
    SessionTime = "session_time";
    Status = "status";
    TimeIso8601 = "time_iso8601";
    TimeLocal = "time_local";
    UpstreamAddr = "upstream_addr";
    UpstreamBytesReceived = "upstream_bytes_received";
    UpstreamBytesSent = "upstream_bytes_sent";
    UpstreamConnectTime = "upstream_connect_time";
    UpstreamFirstByteTime = "upstream_first_byte_time";
    UpstreamSessionTime = "upstream_session_time";
}

/// Names that log formats have for parts of nginx that do not work here, or have no value without their feature.
const ABSENT: &[&str] = &[
    "limit_conn_status",
    "ssl_alpn_protocol",
    "ssl_cipher",
    "ssl_ciphers",
    "ssl_client_cert",
    "ssl_client_fingerprint",
    "ssl_client_i_dn",
    "ssl_client_raw_cert",
    "ssl_client_s_dn",
    "ssl_client_serial",
    "ssl_client_v_end",
    "ssl_client_v_remain",
    "ssl_client_v_start",
    "ssl_client_verify",
    "ssl_curve",
    "ssl_curves",
    "ssl_preread_alpn_protocols",
    "ssl_preread_protocol",
    "ssl_preread_server_name",
    "ssl_protocol",
    "ssl_server_name",
    "ssl_session_id",
    "ssl_session_reused",
];

impl SessionVar {
    /// What a name in lower case stands for.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        let known = ALL.iter().find(|(known, _)| known.as_bytes() == name);
        let absent = || ABSENT.iter().any(|absent| absent.as_bytes() == name);
        match known {
            Some(&(_, var)) => Some(var),
            None => absent().then_some(Self::Absent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_found() {
        let mut names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        names.extend(ABSENT);
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(SessionVar::of(b"status"), Some(SessionVar::Status));
        assert_eq!(SessionVar::of(b"ssl_cipher"), Some(SessionVar::Absent));
        assert_eq!(SessionVar::of(b"request_uri"), None);
    }
}
