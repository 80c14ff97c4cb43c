//! Rows of TLS to backends: one list of settings makes the struct and the rows of each family (`proxy_ssl_verify`,
//! `grpc_ssl_verify`). Start at [`PassSsl`].

use super::ssl::{certificate_cache, conf_command, ssl_protocols};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Row, args, args_min, args_to, family};
use crate::config::value::*;

/// Hands the list of settings to another macro, behind what that needs besides.
macro_rules! settings {
    ($then:ident!($($with:tt)*)) => {
        $then! {
            ($($with)*)
            value session_reuse: bool = "on", flag, args(1), "Takes sessions with backends up again.";
            mask  protocols: SslProtocols = "TLSv1.2 TLSv1.3", ssl_protocols, args_min(1), "Versions of TLS towards backends.";
            value ciphers: Text = "DEFAULT", text, args(1), "Ciphers of TLS 1.2 towards backends, as a list in OpenSSL's grammar.";
            value name: Option<Text> = "", some_text, args(1), "The name that a backend's certificate must have; the host of the URL by default.";
            value server_name: bool = "off", flag, args(1), "Tells backends the name (SNI).";
            value verify: bool = "off", flag, args(1), "Asks backends for a certificate that is good.";
            value verify_depth: u64 = "1", num, args(1), "Longest chain of a backend's certificate.";
            value trusted_certificate: Option<Text> = "", some_text, args(1), "Certificates that sign those of backends.";
            value crl: Option<Text> = "", some_text, args(1), "Revoked certificates of backends, in PEM.";
            value certificate: Option<Text> = "", some_text, args(1), "Our certificate for backends that ask for one.";
            value certificate_key: Option<Text> = "", some_text, args(1), "The key of our certificate for backends.";
            value certificate_cache: Option<CertificateCache> = "", certificate_cache, args_to(1, 3), "Keeps certificates whose names hold variables.";
            value password_file: Option<Text> = "", some_text, args(1), "File of passwords for encrypted keys, one in a line.";
            value key_log: Option<Text> = "", some_text, args(1), "File that the secrets of connections to backends are written to, in the format of NSS.";
            list  conf_command: ConfCommand = "", conf_command, args(2), "A command of OpenSSL's configuration.";
        }
    };
}

macro_rules! declare {
    (() $($kind:ident $field:ident: $ty:ty = $default:tt, $parse:expr, $arity:expr, $doc:literal;)*) => {
        /// Settings of TLS to backends; a directive is the family's prefix and the field's name.
        #[derive(Clone, Debug)]
        pub struct PassSsl {
            $(#[doc = $doc] pub $field: family!(@type $kind $ty),)*
        }

        impl Default for PassSsl {
            fn default() -> Self {
                Self {
                    $($field: family!(@default $kind $ty, $default, stringify!($field), $parse),)*
                }
            }
        }
    };
}
settings!(declare!());

macro_rules! rows {
    (($prefix:literal $slot:ident)
        $($kind:ident $field:ident: $ty:ty = $default:tt, $parse:expr, $arity:expr, $doc:literal;)*
    ) => {
        &[$(
            family!(@row $kind $slot $field (concat!($prefix, stringify!($field))) $ty, $default, $parse, HSL, $arity, $doc),
        )*]
    };
}

/// `proxy_ssl_*`.
pub(crate) const PROXY_ROWS: &[Row] = settings!(rows!("proxy_ssl_" proxy_ssl));

/// `grpc_ssl_*`.
pub(crate) const GRPC_ROWS: &[Row] = settings!(rows!("grpc_ssl_" grpc_ssl));
