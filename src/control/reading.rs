//! Reading a configuration: from text to a compiled plan, with everything that is wrong or noteworthy told.
//!
//! The parent reads the disk and the system's resolver and keeps what they said; the worker reads what was kept; both
//! go through [`study`], so that they cannot come to different plans. Start at [`read`].

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::bundle::{Bundle, Found};
use super::certs;
use super::files::{Disk, Kept};
use super::journal::{Journal, Level};
use super::setup::Setup;
use crate::config::diag::{self, Diag};
use crate::config::source::Source;
use crate::config::{self, Loaded};
use crate::net::tls::{Memory, TlsSet};
use crate::plan::compile::{Env, compile};
use crate::plan::{LogTarget, Plan};

/// Where the access log is when nothing says so, below the prefix.
pub const ACCESS_LOG_DEFAULT: &str = "logs/access.log";

/// A configuration that has been read and found good, before anything is opened for it.
pub struct Read {
    /// Tree, diagnostics and files.
    pub loaded: Loaded,
    /// The compiled configuration.
    pub plan: Plan,
    /// What was read, by path or pattern.
    pub found: Vec<(PathBuf, Found)>,
    /// Host names as the system resolved them.
    pub names: Vec<(Vec<u8>, Vec<IpAddr>)>,
}

/// Asks the system resolver, and remembers the answers for the worker.
#[derive(Debug, Default)]
pub struct Names(RefCell<Vec<(Vec<u8>, Vec<IpAddr>)>>);

impl Names {
    /// The addresses of a host; none when it is not known.
    fn resolve(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if self.known(host).is_none() {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in (host, 0).to_socket_addrs().into_iter().flatten() {
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                }
            }
            // As nginx orders them: a client without IPv6 routes should not meet a dead address first.
            addresses.sort_by_key(IpAddr::is_ipv6);
            self.0
                .borrow_mut()
                .push((host.as_bytes().to_vec(), addresses));
        }
        with_port(&self.known(host)?, port)
    }

    fn known(&self, host: &str) -> Option<Vec<IpAddr>> {
        find_name(&self.0.borrow(), host).cloned()
    }
}

fn find_name<'a>(names: &'a [(Vec<u8>, Vec<IpAddr>)], host: &str) -> Option<&'a Vec<IpAddr>> {
    names
        .iter()
        .find(|(name, _)| name == host.as_bytes())
        .map(|(_, addresses)| addresses)
}

fn with_port(addresses: &[IpAddr], port: u16) -> Option<Vec<SocketAddr>> {
    let all: Vec<SocketAddr> = addresses
        .iter()
        .map(|address| SocketAddr::new(*address, port))
        .collect();
    (!all.is_empty()).then_some(all)
}

/// Parses and compiles, with everything that is wrong or noteworthy. The plan is missing when something is wrong.
fn study(
    setup: &Setup,
    source: &dyn Source,
    resolve: &dyn Fn(&str, u16) -> Option<Vec<SocketAddr>>,
    memory: &mut Memory,
) -> (Loaded, Option<(Plan, TlsSet)>) {
    let globals = setup.globals.as_deref().map(String::from_utf8_lossy);
    let identity = setup.identity.reader();
    let mut loaded = config::load(
        source,
        &setup.file,
        &setup.prefix,
        globals.as_deref(),
        identity,
    );
    let Some(model) = &loaded.model else {
        return (loaded, None);
    };
    let env = Env {
        resolve,
        read: &|path| source.read(path),
        files: &loaded.tree.files,
        hostname: hostname(),
        server_token: setup.identity.server_token(),
        prefix: setup.prefix.clone(),
        error_log: match setup.error_log.as_os_str().as_encoded_bytes() {
            b"stderr" => LogTarget::Stderr,
            _ => LogTarget::File(setup.error_log.clone()),
        },
    };
    match compile(model, &env) {
        Ok(mut plan) => {
            move_default_logs(setup, &mut plan);
            loaded.diags.append(&mut plan.warnings);
            let (tls, found) = certs::build(&plan, &loaded.tree.files, memory);
            let bad = found.iter().any(|diag| diag.level == diag::Level::Emerg);
            loaded.diags.extend(found);
            (loaded, (!bad).then_some((plan, tls)))
        }
        Err(errors) => {
            loaded.diags.extend(errors);
            (loaded, None)
        }
    }
}

/// The access log of a configuration that names none lies below the prefix, as in a build of nginx from source; with
/// the prefix of a package it lies where that has its logs.
fn move_default_logs(setup: &Setup, plan: &mut Plan) {
    if setup.prefix != Path::new(setup.identity.paths().prefix) {
        return;
    }
    let default = setup.prefix.join(ACCESS_LOG_DEFAULT);
    for target in plan.logs.iter_mut() {
        if *target == LogTarget::File(default.clone()) {
            *target =
                LogTarget::File(format!("/var/log/{}/access.log", setup.identity.name()).into());
        }
    }
}

/// `$hostname`: the machine's name in lower case.
#[must_use]
pub fn hostname() -> Bytes {
    let name = rustix::system::uname()
        .nodename()
        .to_bytes()
        .to_ascii_lowercase();
    Bytes::from(name)
}

/// Reads and checks the configuration.
pub fn read(setup: &Setup, journal: &Journal) -> Option<Read> {
    let disk = disk(setup);
    let names = Names::default();
    let (mut loaded, good) = study(
        setup,
        &disk,
        &|host, port| names.resolve(host, port),
        &mut Memory::default(),
    );
    tell(&loaded.diags, journal);
    let (plan, _) = good?;
    // Nobody reads it any more.
    loaded.model = None;
    Some(Read {
        loaded,
        plan,
        found: disk.into_found(),
        names: names.0.into_inner(),
    })
}

fn disk(setup: &Setup) -> Disk {
    let disk = Disk::default();
    if let Some(text) = &setup.text {
        disk.put(&setup.file, text);
    }
    disk
}

/// What the worker does with a bundle: the same study, from what the parent kept.
pub fn compile_bundle(bundle: &Bundle, memory: &mut Memory) -> Result<(Plan, TlsSet), String> {
    let setup = Setup::of_bundle(bundle);
    let resolve = |host: &str, port| with_port(find_name(&bundle.names, host)?, port);
    let (loaded, good) = study(&setup, &Kept(&bundle.files), &resolve, memory);
    good.ok_or_else(|| {
        let first = loaded
            .diags
            .iter()
            .find(|diag| diag.level == diag::Level::Emerg);
        let text = first.map_or_else(String::new, Diag::classic);
        format!("the worker cannot compile what the parent could: {text}")
    })
}

/// Reads and compiles for somebody who wants to look at the plan; the error is a whole text for a person.
pub fn compile_for_looking(setup: &Setup) -> Result<(Plan, TlsSet), String> {
    let names = Names::default();
    let resolve = |host: &str, port| names.resolve(host, port);
    let (loaded, good) = study(setup, &disk(setup), &resolve, &mut Memory::default());
    good.ok_or_else(|| {
        let errors = loaded
            .diags
            .iter()
            .filter(|diag| diag.level == diag::Level::Emerg);
        errors.map(|diag| diag.rich(&loaded.tree.files)).collect()
    })
}

/// Reads a configuration without compiling it, with its findings as a text.
pub fn load_only(setup: &Setup) -> (Loaded, String) {
    let globals = setup.globals.as_deref().map(String::from_utf8_lossy);
    let identity = setup.identity.reader();
    let loaded = config::load(
        &disk(setup),
        &setup.file,
        &setup.prefix,
        globals.as_deref(),
        identity,
    );
    let findings = loaded
        .diags
        .iter()
        .map(|diag| diag.rich(&loaded.tree.files))
        .collect();
    (loaded, findings)
}

/// The same study without asking anybody: every name has an address that is kept for examples. `texts` stand for what
/// files hold. The model is left in what was loaded.
pub fn study_offline(setup: &Setup, texts: &[(PathBuf, Vec<u8>)]) -> (Loaded, Option<Plan>) {
    let disk = disk(setup);
    for (path, text) in texts {
        disk.put(path, text);
    }
    let example = IpAddr::from([192, 0, 2, 1]);
    let (loaded, good) = study(
        setup,
        &disk,
        &|host, port| {
            let local = host == "localhost";
            let address = if local {
                IpAddr::from([127, 0, 0, 1])
            } else {
                example
            };
            Some(vec![SocketAddr::new(address, port)])
        },
        &mut Memory::default(),
    );
    (loaded, good.map(|(plan, _)| plan))
}

/// Logs findings in nginx's own words.
fn tell(diags: &[Diag], journal: &Journal) {
    for diag in diags {
        let level = match diag.level {
            diag::Level::Emerg => Level::Emerg,
            diag::Level::Warn => Level::Warn,
            diag::Level::Notice => Level::Notice,
        };
        let text = diag.classic();
        let text = text
            .split_once("] ")
            .map_or(text.as_str(), |(_, text)| text);
        journal.log(level, text);
        if let Some(hint) = diag.hint.as_ref().filter(|_| journal.console) {
            super::say(&format!("{}: {hint}\n", journal.identity.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::cli::Options;
    use crate::control::identity::Identity;

    #[test]
    fn a_worker_comes_to_the_same_plan_from_a_bundle() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("t.conf");
        std::fs::write(
            &file,
            "events {} http { include *.inc; upstream u { server localhost:81; } }",
        )
        .expect("write");
        std::fs::write(
            dir.path().join("a.inc"),
            "server { location / { proxy_pass http://u; } }",
        )
        .expect("write");
        let options = Options {
            file: Some(file),
            ..Options::default()
        };
        let setup = Setup::new(Identity::Nginx, &options, Vec::new());
        let journal = Journal {
            console: false,
            ..Journal::console(Identity::Nginx)
        };
        let read = read(&setup, &journal).expect("good");
        // Nothing of it is there any more when the worker looks.
        drop(dir);
        let bundle = Bundle {
            generation: 1,
            shards: 1,
            identity: setup.identity,
            file: setup.file.clone(),
            prefix: setup.prefix.clone(),
            error_log: setup.error_log,
            globals: None,
            files: read.found,
            names: read.names,
            credentials: None,
            logs: Vec::new(),
            listeners: Vec::new(),
        };
        let (plan, _) = compile_bundle(&bundle, &mut Memory::default()).expect("the same");
        assert_eq!(plan.locations.len(), read.plan.locations.len());
        assert_eq!(plan.groups.len(), read.plan.groups.len());
    }
}
