//! Which of its two names the program was started under, and what that name promises: version texts, usage, default paths.
//!
//! Knows no directive and opens no file. Start at [`Identity::of`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;

use super::cli;
use crate::config;
use crate::plan::ServerToken;

/// nginx's version whose behaviour is matched; other tools parse it.
pub const NGINX_VERSION: &str = "1.31.5";

/// The name that the program goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Started as `ringx`: subcommands, foreground and one shard per core unless told otherwise.
    Ringx,
    /// Started through a link called `nginx`: nginx's command line, defaults and version, nothing else.
    Nginx,
}

/// Parts of nginx that it only has when they are asked for, and that are here.
const PRESENT: &[&str] = &[
    "stub_status",
    "ssl",
    "v2",
    "auth_request",
    "addition",
    "sub",
    "random_index",
    "realip",
    "secure_link",
    "slice",
    "gunzip",
    "gzip_static",
];

/// Parts of nginx that `-V` says were left out, so that tools and test suites do not count on them.
const ABSENT: &[&str] = &["uwsgi", "scgi", "memcached", "browser", "tunnel"];

/// The same for `stream`.
const STREAM_PRESENT: &[&str] = &["realip"];

/// The same for `stream`.
const STREAM_ABSENT: &[&str] = &["limit_conn", "pass", "set", "upstream_least_time"];

/// Paths that hold when neither the command line nor the configuration names one. They are those of
/// nginx's own packages (`/etc/nginx/nginx.conf`), not of a build from source (`/usr/local/nginx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Prefix of relative paths.
    pub prefix: &'static str,
    /// Configuration files, in the order in which they are looked for.
    pub files: &'static [&'static str],
    /// First log, until the configuration names one.
    pub error_log: &'static str,
    /// Pid file.
    pub pid: &'static str,
}

impl Identity {
    /// Takes the identity from the program's own name, `argv[0]`.
    #[must_use]
    pub fn of(argv0: &OsStr) -> Self {
        match Path::new(argv0).file_name().map(OsStr::as_bytes) {
            Some(b"nginx") => Self::Nginx,
            _ => Self::Ringx,
        }
    }

    /// The same for the configuration reader.
    #[must_use]
    pub fn reader(self) -> config::Identity {
        match self {
            Self::Ringx => config::Identity::Ringx,
            Self::Nginx => config::Identity::Nginx,
        }
    }

    /// What the `Server` header and error pages call the program.
    #[must_use]
    pub fn server_token(self) -> ServerToken {
        ServerToken {
            short: Bytes::from_static(self.name().as_bytes()),
            full: Bytes::from(self.version()),
            build: Bytes::from(self.version()),
        }
    }

    /// The name itself, as messages begin with it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ringx => "ringx",
            Self::Nginx => "nginx",
        }
    }

    /// Name and version with a slash between.
    #[must_use]
    pub fn version(self) -> String {
        match self {
            Self::Ringx => format!("ringx/{}", env!("CARGO_PKG_VERSION")),
            Self::Nginx => format!("nginx/{NGINX_VERSION}"),
        }
    }

    /// The defaults that come with the name.
    #[must_use]
    pub fn paths(self) -> Paths {
        match self {
            Self::Nginx => Paths {
                prefix: "/etc/nginx/",
                files: &["/etc/nginx/nginx.conf"],
                error_log: "/var/log/nginx/error.log",
                pid: "/run/nginx.pid",
            },
            // Differs from nginx: errors go to the terminal or journal until the configuration names a file.
            Self::Ringx => Paths {
                prefix: "/etc/ringx/",
                files: &["/etc/ringx/ringx.toml", "/etc/ringx/nginx.conf"],
                error_log: "stderr",
                pid: "/run/ringx.pid",
            },
        }
    }

    /// The text of `-v`.
    #[must_use]
    pub fn version_line(self) -> String {
        format!("{} version: {}\n", self.name(), self.version())
    }

    /// The text of `-V`: what is built in, in the words that tools look for.
    #[must_use]
    pub fn configure_text(self) -> String {
        let paths = self.paths();
        let mut text = self.version_line();
        if self == Self::Ringx {
            text.push_str(&format!("behaves as nginx/{NGINX_VERSION}\n"));
        }
        text.push_str("built with Rust ");
        text.push_str(env!("CARGO_PKG_RUST_VERSION"));
        text.push_str(" or later, monoio 0.2 (io_uring, epoll)\n");
        text.push_str(match self {
            // Tools look for a version of OpenSSL and decide by it what they may ask for: the one whose behaviour is
            // matched.
            Self::Nginx => "built with OpenSSL 1.1.1 (compatible; rustls 0.23)\n",
            Self::Ringx => "built with rustls 0.23 over aws-lc\n",
        });
        text.push_str("TLS SNI support enabled\nconfigure arguments:");
        let prefix = paths.prefix.trim_end_matches('/');
        let file = paths.files[0];
        text.push_str(&format!(
            " --prefix={prefix} --conf-path={file} --error-log-path={} --pid-path={}",
            paths.error_log, paths.pid
        ));
        text.push_str(" --with-debug --with-threads");
        for module in PRESENT {
            text.push_str(&format!(" --with-http_{module}_module"));
        }
        for module in ABSENT {
            text.push_str(&format!(" --without-http_{module}_module"));
        }
        text.push_str(" --with-stream");
        for module in STREAM_PRESENT {
            text.push_str(&format!(" --with-stream_{module}_module"));
        }
        for module in STREAM_ABSENT {
            text.push_str(&format!(" --without-stream_{module}_module"));
        }
        text.push('\n');
        text
    }

    /// The text of `-h`, after the version line.
    #[must_use]
    pub fn usage(self) -> String {
        let paths = self.paths();
        let name = self.name();
        let pad = " ".repeat(name.len());
        let mut out = format!(
            "Usage: {name} [-?hvVtTq] [-s signal] [-p prefix]\n\
             \x20      {pad} [-e filename] [-c filename] [-g directives]\n\n\
             Options:\n"
        );
        for row in cli::OPTIONS {
            let option = match (row.letter, row.value) {
                ('h', _) => "-?,-h".to_owned(),
                (letter, Some(value)) => format!("-{letter} {value}"),
                (letter, None) => format!("-{letter}"),
            };
            let default = match row.letter {
                'p' => format!(" (default: {})", paths.prefix),
                'e' => format!(" (default: {})", paths.error_log),
                'c' => format!(" (default: {})", paths.files.join(", else ")),
                _ => String::new(),
            };
            out.push_str(&format!("  {option:<13} : {}{default}\n", row.about));
        }
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for (argv0, want) in [
            ("nginx", Identity::Nginx),
            ("/usr/sbin/nginx", Identity::Nginx),
            ("ringx", Identity::Ringx),
            ("./target/release/ringx", Identity::Ringx),
            ("nginx-debug", Identity::Ringx),
            ("", Identity::Ringx),
        ] {
            assert_eq!(Identity::of(OsStr::new(argv0)), want, "{argv0:?}");
        }
    }

    #[test]
    fn version_texts_hold_what_tools_parse() {
        assert_eq!(
            Identity::Nginx.version_line(),
            "nginx version: nginx/1.31.5\n"
        );
        let text = Identity::Nginx.configure_text();
        assert!(text.starts_with("nginx version: nginx/1.31.5\n"));
        assert!(text.contains("\nconfigure arguments: --prefix=/etc/nginx "));
        assert!(text.contains(" --with-http_stub_status_module"));
        assert!(text.contains(" --without-http_uwsgi_module"));
        assert!(text.contains("\nTLS SNI support enabled\n"));
        assert!(text.contains(" --with-http_ssl_module"));
    }

    /// A line of a location that each absent part would understand.
    const PROBES: &[(&str, &str)] = &[
        ("uwsgi", "uwsgi_pass 127.0.0.1:1;"),
        ("scgi", "scgi_pass 127.0.0.1:1;"),
        ("memcached", "memcached_pass 127.0.0.1:1;"),
        ("browser", "ancient_browser x;"),
        ("tunnel", "tunnel_pass x;"),
    ];

    /// A line of a server in `stream` that each absent part would understand.
    const STREAM_PROBES: &[(&str, &str)] = &[
        ("limit_conn", "limit_conn x 1;"),
        ("pass", "pass 127.0.0.1:1;"),
        ("set", "set $x 1;"),
        (
            "upstream_least_time",
            "} upstream u { least_time connect; server 127.0.0.1:1; } server {",
        ),
    ];

    #[test]
    fn what_is_absent_is_refused_and_the_other_way_round() {
        assert_eq!(PROBES.len(), ABSENT.len());
        assert_eq!(STREAM_PROBES.len(), STREAM_ABSENT.len());
        let requests = PROBES.iter().map(|(module, line)| {
            assert!(ABSENT.contains(module), "{module}");
            let text = format!("events {{}} http {{ server {{ location / {{ {line} }} }} }}");
            (module, text)
        });
        let sessions = STREAM_PROBES.iter().map(|(module, line)| {
            assert!(STREAM_ABSENT.contains(module), "{module}");
            let text = format!("events {{}} stream {{ server {{ listen 1; {line} }} }}");
            (module, text)
        });
        for (module, text) in requests.chain(sessions) {
            let disk = crate::control::files::Disk::default();
            disk.put(Path::new("/t.conf"), text.as_bytes());
            let loaded = config::load(
                &disk,
                Path::new("/t.conf"),
                Path::new("/"),
                None,
                config::Identity::Nginx,
            );
            let told: Vec<String> = loaded
                .diags
                .iter()
                .map(config::diag::Diag::classic)
                .collect();
            assert!(
                told.iter().any(|text| text.contains("not supported yet")),
                "{module}: {told:?}"
            );
        }
    }

    #[test]
    fn usage_names_each_option() {
        for identity in [Identity::Ringx, Identity::Nginx] {
            let usage = identity.usage();
            for option in [
                "-?,-h", "-v ", "-V ", "-t ", "-T ", "-q ", "-s ", "-p ", "-e ", "-c ", "-g ",
            ] {
                assert!(usage.contains(option), "{option}");
            }
        }
    }
}
