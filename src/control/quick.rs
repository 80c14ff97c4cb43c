//! Serving without a configuration file: `proxy` writes one from its arguments, `demo` has one built in.
//!
//! Start at [`proxy`] and [`demo`].

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::cli::Options;
use super::commands::{console, print, serve_text};
use super::identity::Identity;
use super::journal::cause;
use super::setup::Setup;

/// The configuration of `demo`.
const DEMO: &str = include_str!("../../config/demo.conf");

/// Where the demo's proxy listens in its configuration.
pub const DEMO_PORT: u16 = 8080;

/// What to try once the demo runs.
const DEMO_TEXT: &str = "ringx demo: a proxy on http://127.0.0.1:8080 with two origins of its own. Try:\n
  curl http://127.0.0.1:8080/app/               two origins in turn, the first one twice as often
  curl http://127.0.0.1:8080/app/echo?a=1       what the origin was sent
  curl http://127.0.0.1:8080/flaky/             one origin is down, and nobody notices
  curl -i http://127.0.0.1:8080/down/           all origins are down: a page of our own
  curl http://127.0.0.1:8080/old/page?x=1       a rewrite that keeps the query
  curl http://127.0.0.1:8080/variant            one visitor in ten is blue
  curl -i http://127.0.0.1:8080/moved           a redirect from the origin, brought back to this address
  curl http://127.0.0.1:8080/stream             passed on without buffering
  curl http://127.0.0.1:8080/status             connections and requests so far\n
The configuration is config/demo.conf. Ctrl-C stops it. Each request is logged below.\n\n";

/// Arguments of `proxy`.
#[derive(Args, Debug)]
pub struct Proxy {
    /// A server to pass requests to: PORT, HOST:PORT, http://HOST:PORT/path or unix:/path; several are used in turn.
    #[arg(long, required = true, value_name = "ADDR")]
    to: Vec<String>,
    /// Where to listen: PORT, ADDR:PORT, NAME or NAME:PORT.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    from: Vec<String>,
    /// Print the configuration instead of serving it.
    #[arg(long)]
    print: bool,
}

/// `ringx proxy`.
pub fn proxy(arguments: &Proxy, command: Vec<OsString>) -> ExitCode {
    let text = match write(&arguments.to, &arguments.from) {
        Ok(text) => text,
        Err(text) => {
            console().emerg(&text);
            return ExitCode::from(2);
        }
    };
    if arguments.print {
        return print(text.as_bytes());
    }
    let banner = format!(
        "ringx: {} to {}\n",
        arguments.from.join(", "),
        arguments.to.join(", ")
    );
    serve("proxy.conf", text, banner, command)
}

/// `ringx demo`.
pub fn demo(port: u16, command: Vec<OsString>) -> ExitCode {
    serve(
        "demo.conf",
        moved(DEMO, port),
        moved(DEMO_TEXT, port),
        command,
    )
}

/// A text of the demo with its ports moved.
fn moved(text: &str, port: u16) -> String {
    let mut text = text.to_owned();
    for above in [0, 101, 102, 109] {
        let from = format!("127.0.0.1:{}", DEMO_PORT + above);
        text = text.replace(&from, &format!("127.0.0.1:{}", port + above));
    }
    text
}

fn serve(name: &str, text: String, banner: String, command: Vec<OsString>) -> ExitCode {
    let scratch = match scratch() {
        Ok(path) => path,
        Err(error) => {
            console().emerg(&format!(
                "mkdir() in {} failed {}",
                std::env::temp_dir().display(),
                cause(&error)
            ));
            return ExitCode::FAILURE;
        }
    };
    let options = Options {
        file: Some(scratch.join(name)),
        ..Options::default()
    };
    let mut setup = Setup::new(Identity::Ringx, &options, command);
    setup.globals = Some(format!("pid \"{}\";", scratch.join("ringx.pid").display()).into_bytes());
    setup.text = Some(text.into_bytes());
    setup.scratch = Some(scratch);
    setup.banner = Some(banner);
    serve_text(setup)
}

/// A folder of our own for temporary files and the pid.
fn scratch() -> io::Result<PathBuf> {
    let base: &Path = &std::env::temp_dir();
    let process = std::process::id();
    // The folder must be new: one that is there already may belong to somebody else.
    (0..100)
        .map(|try_number: u32| base.join(format!("ringx-{process}-{try_number}")))
        .map(|path| {
            std::fs::DirBuilder::new()
                .mode(0o711)
                .create(&path)
                .map(|()| path)
        })
        .find(|made| {
            !made
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
        })
        .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
}

/// A `listen` and a `server_name` from one `--from`.
fn from(text: &str) -> Result<(String, Option<&str>), String> {
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok((format!("{port}"), None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.to_string(), None));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok((SocketAddr::new(address, 80).to_string(), None));
    }
    let bad = || format!("--from wants PORT, ADDR:PORT, NAME or NAME:PORT, got \"{text}\"");
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().map_err(|_| bad())?),
        None => (text, 80),
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_*".contains(&byte);
    if name.is_empty() || !name.bytes().all(good) {
        return Err(bad());
    }
    Ok((port.to_string(), Some(name)))
}

/// A `server` of the upstream group and the URI part from one `--to`.
fn to(text: &str) -> Result<(String, &str), String> {
    if text.starts_with("https://") {
        return Err(format!(
            "--to \"{text}\": TLS to upstream servers is not supported yet; use http://"
        ));
    }
    let bad = || {
        format!("--to wants PORT, HOST:PORT, http://HOST:PORT/path or unix:/path, got \"{text}\"")
    };
    let safe = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"'`;{}$#\\".contains(&byte))
    };
    if text.is_empty() || !safe(text) {
        return Err(bad());
    }
    if text.starts_with("unix:/") {
        return Ok((text.to_owned(), ""));
    }
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let (host, uri) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if let Ok(port) = host.strip_prefix(':').unwrap_or(host).parse::<u16>() {
        return Ok((format!("127.0.0.1:{port}"), uri));
    }
    if host.is_empty() || host.starts_with(':') || host.ends_with(':') {
        return Err(bad());
    }
    Ok((host.to_owned(), uri))
}

/// The whole configuration.
fn write(targets: &[String], sources: &[String]) -> Result<String, String> {
    let targets = targets
        .iter()
        .map(|text| to(text))
        .collect::<Result<Vec<_>, _>>()?;
    let uri = targets[0].1;
    if targets.iter().any(|(_, other)| *other != uri) {
        return Err("all --to must have the same path".to_owned());
    }
    let sources = sources
        .iter()
        .map(|text| from(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut out = String::from(HEAD);
    out.push_str("    upstream application {\n");
    for (server, _) in &targets {
        let _ = writeln!(out, "        server {server};");
    }
    out.push_str("        keepalive 32;\n    }\n\n    server {\n");
    let mut listens: Vec<&str> = Vec::new();
    for (listen, _) in &sources {
        if !listens.contains(&listen.as_str()) {
            let _ = writeln!(out, "        listen {listen};");
            listens.push(listen);
        }
    }
    let names: Vec<&str> = sources.iter().filter_map(|(_, name)| *name).collect();
    if !names.is_empty() {
        let _ = writeln!(out, "        server_name {};", names.join(" "));
    }
    let _ = write!(
        out,
        "\n        location / {{\n            proxy_pass http://application{uri};\n{TAIL}"
    );
    Ok(out)
}

const HEAD: &str = r#"worker_processes auto;
daemon off;
error_log stderr warn;

events {
    worker_connections 4096;
}

http {
    access_log /dev/stdout;
    client_max_body_size 0;

    map $http_upgrade $connection_upgrade {
        default upgrade;
        ""      "";
    }

"#;

const TAIL: &str = "            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }
    }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_may_be_ports_addresses_and_names() {
        for (text, want) in [
            ("8080", Ok(("8080", None))),
            (":8080", Ok(("8080", None))),
            ("127.0.0.1:80", Ok(("127.0.0.1:80", None))),
            ("[::1]:80", Ok(("[::1]:80", None))),
            ("::1", Ok(("[::1]:80", None))),
            ("10.0.0.1", Ok(("10.0.0.1:80", None))),
            ("example.com", Ok(("80", Some("example.com")))),
            ("*.example.com:81", Ok(("81", Some("*.example.com")))),
            ("example.com:x", Err(())),
            ("a;b", Err(())),
            ("", Err(())),
            ("99999", Ok(("80", Some("99999")))),
        ] {
            let got = from(text).map_err(|_| ());
            let want = want.map(|(listen, name): (&str, _)| (listen.to_owned(), name));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn targets_may_be_ports_hosts_urls_and_sockets() {
        for (text, want) in [
            ("3000", Ok(("127.0.0.1:3000", ""))),
            (":3000", Ok(("127.0.0.1:3000", ""))),
            ("app:3000", Ok(("app:3000", ""))),
            ("http://app:3000", Ok(("app:3000", ""))),
            ("http://app/v1/", Ok(("app", "/v1/"))),
            ("unix:/run/app.sock", Ok(("unix:/run/app.sock", ""))),
            ("https://app", Err(())),
            ("ftp://app", Err(())),
            ("a;b", Err(())),
            ("$host", Err(())),
            ("", Err(())),
        ] {
            let got = to(text).map_err(|_| ());
            assert_eq!(
                got,
                want.map(|(host, uri): (&str, _)| (host.to_owned(), uri)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_demo_moves_with_all_its_ports() {
        let text = moved(DEMO, 9000);
        for port in [9000, 9101, 9102, 9109] {
            assert!(text.contains(&format!("127.0.0.1:{port}")), "{port}");
        }
        assert!(!text.contains(":8080") && !text.contains(":818"));
        assert_eq!(moved(DEMO, DEMO_PORT), DEMO);
    }

    #[test]
    fn a_configuration_comes_out() {
        let words =
            |list: &[&str]| -> Vec<String> { list.iter().map(|word| (*word).to_owned()).collect() };
        let text = write(
            &words(&["3000", "app:3001"]),
            &words(&["example.com", "example.org"]),
        )
        .expect("written");
        assert!(text.contains("        server 127.0.0.1:3000;\n        server app:3001;\n"));
        assert_eq!(text.matches("listen 80;").count(), 1);
        assert!(text.contains("server_name example.com example.org;"));
        assert!(text.contains("proxy_pass http://application;"));
        assert!(write(&words(&["http://a/x", "http://b/y"]), &words(&["80"])).is_err());
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
