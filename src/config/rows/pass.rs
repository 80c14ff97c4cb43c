//! What every family that passes requests on to backends has: timeouts, buffers, whom to ask next, which fields pass.
//!
//! One list of settings makes the struct and the rows of each family (`proxy_buffering`, `fastcgi_buffering`). What one
//! wire alone has stands with its family. Start at [`Pass`].

use std::sync::Arc;
use std::time::Duration;

use super::parse_core::temp_path;
use super::parse_proxy::*;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Inherit, Row, Status, args, args_min, args_to, family, row};
use crate::config::tree::Directive;
use crate::config::url;
use crate::config::value::*;

/// Hands the settings that every family has to another macro, behind what that needs besides and before some more.
macro_rules! common {
    ($then:ident!($($with:tt)*) $($more:tt)*) => {
        $then! {
            ($($with)*)
            value bind: Option<Bind> = "", bind, args_to(1, 2), "Local address of connections to backends.";
            value socket_keepalive: bool = "off", flag, args(1), "TCP keep-alive towards backends.";
            value socket_rcvbuf: Option<usize> = "", some_size, args(1), "Receive buffer of sockets towards backends.";
            value socket_sndbuf: Option<usize> = "", some_size, args(1), "Send buffer of sockets towards backends.";
            value connect_timeout: Duration = "60s", msec, args(1), "How long a connection to a backend may take.";
            value send_timeout: Duration = "60s", msec, args(1), "Longest gap between two writes to a backend.";
            value read_timeout: Duration = "60s", msec, args(1), "Longest gap between two reads from a backend.";
            value intercept_errors: bool = "off", flag, args(1), "Lets error_page replace answers of backends from 300 on.";
            value buffer_size: usize = "4k", size, args(1), "Buffer for the head of an answer.";
            mask  next_upstream: NextUpstream = "error timeout", next_upstream, args_min(1), "When a request goes to another server; off cancels everything else.";
            value next_upstream_tries: u64 = "0", num, args(1), "Most servers a request is tried on; 0 is all.";
            value next_upstream_timeout: Duration = "0", msec, args(1), "How long a request may be tried on further servers; 0 is no limit.";
            list  pass_header: Arc<[u8]> = "", bytes, args(1), "Passes a field of a backend that is hidden otherwise.";
            list  hide_header: Arc<[u8]> = "", bytes, args(1), "Hides a field of a backend.";
            mask  ignore_headers: IgnoreHeaders = "", ignore_headers, args_min(1), "Fields of a backend that do not steer us.";
            $($more)*
        }
    };
}

/// The same with what only families that buffer have.
macro_rules! settings {
    ($then:ident!($($with:tt)*)) => {
        common! {
            $then!($($with)*)
            value buffering: bool = "on", flag, args(1), "Reads answers ahead of the client.";
            value request_buffering: bool = "on", flag, args(1), "Reads the whole request body before a backend is asked.";
            value ignore_client_abort: bool = "off", flag, args(1), "Goes on when the client has left.";
            value pass_request_headers: bool = "on", flag, args(1), "Passes the client's fields on.";
            value pass_request_body: bool = "on", flag, args(1), "Passes the client's body on.";
            value buffers: Buffers = "8 4k", buffers, args(2), "Buffers for the body of an answer.";
            value busy_buffers_size: Option<usize> = "", some_size, args(1), "Bytes that may be on their way to the client while the answer is still read.";
            value force_ranges: bool = "off", flag, args(1), "Answers range requests whatever the backend says.";
            value limit_rate: Option<Amount> = "", some_amount, args(1), "Bytes per second from a backend; 0 is no limit.";
            value max_temp_file_size: Option<usize> = "", some_size, args(1), "Longest temporary file; 0 is none, 1024m by default.";
            value temp_file_write_size: Option<usize> = "", some_size, args(1), "Bytes written to a temporary file at a time." accepted "pieces are written as they come";
        }
    };
}

macro_rules! declare {
    (() $($kind:ident $field:ident: $ty:ty = $default:tt, $parse:expr, $arity:expr, $doc:literal $(accepted $because:literal)?;)*) => {
        /// Settings of one family that passes requests on; a directive is the family's prefix and the field's name.
        #[derive(Clone, Debug)]
        pub struct Pass {
            $(#[doc = $doc] pub $field: family!(@type $kind $ty),)*
            /// Directory for answers that do not fit in the buffers.
            pub temp_path: TempPath,
        }

        impl Default for Pass {
            fn default() -> Self {
                Self {
                    $($field: family!(@default $kind $ty, $default, stringify!($field), $parse),)*
                    temp_path: TempPath::default(),
                }
            }
        }
    };
}
settings!(declare!());

macro_rules! rows {
    (($prefix:literal $slot:ident)
        $($kind:ident $field:ident: $ty:ty = $default:tt, $parse:expr, $arity:expr, $doc:literal $(accepted $because:literal)?;)*
    ) => {
        &[
            $(
                family!(@row $kind $slot $field (concat!($prefix, stringify!($field))) $ty, $default, $parse, HSL, $arity, $doc)
                    $(.status(Status::Accepted($because)))?,
            )*
        ]
    };
}

macro_rules! temp_rows {
    ($prefix:literal $slot:ident) => {
        &[{
            let mut row = row(
                concat!($prefix, "temp_path"),
                HSL,
                args_to(1, 4),
                |load, frame, directive| {
                    if let Some(value) = load.parse(directive, temp_path) {
                        Arc::make_mut(&mut frame.settings.$slot).temp_path = value;
                    }
                },
                "Directory for answers that do not fit in the buffers.",
            );
            row.default = concat!($prefix, "temp");
            row.inherit = Inherit::Copy;
            row
        }]
    };
}

/// `proxy_*`.
pub(crate) const PROXY_ROWS: &[Row] = settings!(rows!("proxy_" proxy_pass));

/// `fastcgi_*`.
pub(crate) const FASTCGI_ROWS: &[Row] = settings!(rows!("fastcgi_" fastcgi_pass));

/// `grpc_*`.
pub(crate) const GRPC_ROWS: &[Row] = common!(rows!("grpc_" grpc_pass));

/// `proxy_temp_path`.
pub(crate) const PROXY_TEMP_ROWS: &[Row] = temp_rows!("proxy_" proxy_pass);

/// `fastcgi_temp_path`.
pub(crate) const FASTCGI_TEMP_ROWS: &[Row] = temp_rows!("fastcgi_" fastcgi_pass);

/// The sizes that [`Pass::check`] compares; their names follow the prefix.
const SIZES: [&str; 5] = [
    "buffer_size",
    "buffers",
    "busy_buffers_size",
    "temp_file_write_size",
    "max_temp_file_size",
];

impl Settings {
    /// The families of this kind, with the prefix of their directives.
    pub(crate) fn passes(&self) -> [(&'static str, &Pass); 2] {
        [("proxy", &self.proxy_pass), ("fastcgi", &self.fastcgi_pass)]
    }
}

impl Pass {
    /// Names of the directives whose sizes must fit together.
    pub(crate) fn size_names(prefix: &str) -> impl Iterator<Item = String> {
        SIZES.iter().map(move |name| format!("{prefix}_{name}"))
    }

    /// Bytes of all body buffers.
    pub fn buffer_bytes(&self) -> usize {
        (self.buffers.count as usize).saturating_mul(self.buffers.size)
    }

    /// The larger of one body buffer and the head's buffer, which bounds the sizes below.
    fn largest_buffer(&self) -> usize {
        self.buffer_size.max(self.buffers.size)
    }

    /// `busy_buffers_size` or what stands for it.
    pub fn busy_bytes(&self) -> usize {
        self.busy_buffers_size
            .unwrap_or_else(|| self.largest_buffer().saturating_mul(2))
    }

    /// `temp_file_write_size` or what stands for it.
    pub fn temp_write_bytes(&self) -> usize {
        self.temp_file_write_size
            .unwrap_or_else(|| self.largest_buffer().saturating_mul(2))
    }

    /// `max_temp_file_size` or what stands for it.
    pub fn temp_bytes_max(&self) -> usize {
        self.max_temp_file_size.unwrap_or(1 << 30)
    }

    /// nginx's complaint about buffer sizes that do not fit together.
    pub(crate) fn check(&self, prefix: &str) -> Option<String> {
        let size = self.largest_buffer();
        let rest = (self.buffers.count as usize)
            .saturating_sub(1)
            .saturating_mul(self.buffers.size);
        let largest = format!(
            "the maximum of the value of \"{prefix}_buffer_size\" and one of the \"{prefix}_buffers\""
        );
        if self.buffers.count < 2 {
            Some(format!("there must be at least 2 \"{prefix}_buffers\""))
        } else if self.busy_bytes() < size {
            Some(format!(
                "\"{prefix}_busy_buffers_size\" must be equal to or greater than {largest}"
            ))
        } else if self.busy_bytes() > rest {
            Some(format!(
                "\"{prefix}_busy_buffers_size\" must be less than the size of all \"{prefix}_buffers\" minus one buffer"
            ))
        } else if self.temp_write_bytes() < size {
            Some(format!(
                "\"{prefix}_temp_file_write_size\" must be equal to or greater than {largest}"
            ))
        } else if self.temp_bytes_max() != 0 && self.temp_bytes_max() < size {
            Some(format!(
                "\"{prefix}_max_temp_file_size\" must be equal to zero to disable temporary files usage or must be equal \
                 to or greater than {largest}"
            ))
        } else {
            None
        }
    }
}

/// Takes in what a `grpc_pass` or a `fastcgi_pass` says; `take_apart` knows the addresses of the family.
pub(super) fn pass_to(
    (load, frame): (&mut Lowering<'_>, &mut Frame),
    directive: &Directive,
    wire: WireKind,
    take_apart: fn(&[u8]) -> Result<Target, String>,
) {
    let url = text_of(&directive.args[0]);
    let place = frame.here.as_ref().map(|here| here.path.clone());
    let target = match url.has_variables() {
        true => None,
        false => match take_apart(&url.bytes) {
            Ok(target) => Some(target),
            Err(message) => return load.error(message, url.span),
        },
    };
    if let Some(target) = &target {
        load.shared.targets.push((target.clone(), wire, url.span));
    }
    frame.content = Content::Proxy(Arc::new(ProxyPass {
        wire,
        url,
        target,
        location: place.unwrap_or_default(),
    }));
}

/// Takes the address of a backend apart, behind its scheme; `with_uri` where a URI may follow.
pub(super) fn target_of(secure: bool, rest: &[u8], with_uri: bool) -> Result<Target, String> {
    let parsed = url::parse(rest, with_uri)
        .map_err(|e| format!("{e} in upstream \"{}\"", String::from_utf8_lossy(rest)))?;
    Ok(Target {
        secure,
        authority: Arc::from(&rest[..parsed.authority]),
        host: Arc::from(parsed.host),
        port: parsed.port,
        unix: parsed.unix,
        uri: parsed
            .uri
            .filter(|uri| with_uri && !uri.is_empty())
            .map(Arc::from),
    })
}

/// What follows a scheme, whose letters count in any case; none where the text does not begin with it.
pub(super) fn behind<'a>(text: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (begin, rest) = text.split_at_checked(scheme.len())?;
    begin
        .eq_ignore_ascii_case(scheme.as_bytes())
        .then_some(rest)
}
