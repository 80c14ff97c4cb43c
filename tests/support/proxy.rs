//! The proxy as its users have it: the built binary, a configuration in a directory of its own, signals and logs.
//!
//! A [`Config`] is nginx.conf text with placeholders: `%%PORT_n%%` is a port kept for this test, `%%ADDR_n%%` the same
//! with its address, `%%DIR%%` the directory, and `%%name%%` what [`Config::set`] says. When a [`Proxy`] is dropped it
//! is stopped with QUIT and must have behaved: exit code 0, no panic, no line above `warn` in its error log that
//! the test had not announced, no temporary file left.

use super::ports::Port;
use super::wait;
use super::{Client, LIMIT};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// Names another binary that takes nginx's command line, to compare its behaviour on the same tests.
const BINARY_VARIABLE: &str = "RINGX_TEST_BINARY";

/// What stands before the text of [`Config::http`].
const PRELUDE: &str = "daemon off;\nworker_processes %%WORKERS%%;\npid %%DIR%%/ringx.pid;\n\
    error_log %%DIR%%/error.log %%LEVEL%%;\nevents { worker_connections 4096; }\n";

/// A configuration being prepared.
#[derive(Debug)]
pub struct Config {
    text: String,
    file: &'static str,
    /// The text is nginx.conf, and what is served from is what `convert` makes of it.
    converted: bool,
    values: BTreeMap<String, String>,
    ports: Vec<Port>,
    dir: TempDir,
    announced: Vec<Announced>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
}

/// An error-log text that the test foresees.
#[derive(Debug)]
struct Announced {
    text: String,
    must_appear: bool,
}

impl Config {
    /// The text of an `http` block; the main context around it is the usual one.
    pub fn http(text: &str) -> Self {
        Self::main(&format!("{PRELUDE}http {{\naccess_log off;\n{text}\n}}\n"))
    }

    /// The text of `server` blocks or of one server's inside: `listen %%ADDR_0%%` is added to a text without `server`.
    pub fn server(text: &str) -> Self {
        Self::http(&format!("server {{\nlisten %%ADDR_0%%;\n{text}\n}}"))
    }

    /// The texts of an `http` and of a `stream` block.
    pub fn both(http: &str, stream: &str) -> Self {
        Self::main(&format!(
            "{PRELUDE}http {{\naccess_log off;\n{http}\n}}\nstream {{\n{stream}\n}}\n"
        ))
    }

    /// The text of a `stream` block; a server that says `ready` on `%%ADDR_0%%` is added.
    pub fn stream(text: &str) -> Self {
        Self::main(&stream_text(text))
    }

    /// A whole file.
    pub fn main(text: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ringx-").tempdir().unwrap();
        // The worker runs as another user when the tests run as root.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let config = Self {
            text: text.to_owned(),
            file: "ringx.conf",
            converted: false,
            values: BTreeMap::new(),
            ports: Vec::new(),
            dir,
            announced: Vec::new(),
            args: Vec::new(),
            environment: Vec::new(),
        };
        config.set("WORKERS", 1).set("LEVEL", "info")
    }

    /// A whole file in the second language.
    pub fn toml(text: &str) -> Self {
        let mut config = Self::main(text);
        config.file = "ringx.toml";
        config
    }

    /// The same configuration in the second language, as `ringx convert` writes it.
    pub fn into_toml(mut self) -> Self {
        self.file = "ringx.toml";
        self.converted = true;
        self
    }

    /// Says what `%%name%%` stands for.
    pub fn set(mut self, name: &str, value: impl Display) -> Self {
        self.values.insert(name.to_owned(), value.to_string());
        self
    }

    /// The error log's level.
    pub fn level(self, level: &str) -> Self {
        self.set("LEVEL", level)
    }

    /// The number of shards.
    pub fn workers(self, count: usize) -> Self {
        self.set("WORKERS", count)
    }

    /// Announces an error-log line that contains `text` and must appear.
    pub fn logs(mut self, text: &str) -> Self {
        self.announced.push(Announced {
            text: text.to_owned(),
            must_appear: true,
        });
        self
    }

    /// Announces an error-log line that contains `text` and may appear.
    pub fn may_log(mut self, text: &str) -> Self {
        self.announced.push(Announced {
            text: text.to_owned(),
            must_appear: false,
        });
        self
    }

    /// Adds an argument to the command line.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file below the directory, readable by everyone.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).unwrap();
        }
        std::fs::write(path, content).unwrap();
        self
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces every placeholder of `text`, reserving ports as they are named.
    #[track_caller]
    fn fill(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%%") {
            let (name, after) = after.split_once("%%").expect("a placeholder has two ends");
            out.push_str(before);
            out.push_str(&self.value(name));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    #[track_caller]
    fn value(&mut self, name: &str) -> String {
        if name == "DIR" {
            return self.dir.path().display().to_string();
        }
        let numbered = |prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse().ok());
        if let Some(n) = numbered("PORT_") {
            return self.port(n).number().to_string();
        }
        if let Some(n) = numbered("ADDR_") {
            return self.port(n).addr().to_string();
        }
        let value = self.values.get(name).cloned();
        value.unwrap_or_else(|| panic!("nothing is known of %%{name}%%"))
    }

    fn port(&mut self, n: usize) -> &Port {
        while self.ports.len() <= n {
            self.ports.push(Port::reserve());
        }
        &self.ports[n]
    }

    fn write(&mut self) {
        let text = self.text.clone();
        let mut text = self.fill(&text).into_bytes();
        if self.converted {
            let original = self.dir.path().join("original.conf");
            std::fs::write(&original, &text).unwrap();
            let ran = run_bare(&["convert", &original.display().to_string()]);
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "not converted: {said}");
            text = ran.stdout;
        }
        // In one step: a reload under way must never see half a file.
        let beside = self.dir.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.dir.path().join(self.file)).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("-p")
            .arg(self.dir.path())
            .arg("-c")
            .arg(self.dir.path().join(self.file))
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary with further arguments on this configuration to its end.
    pub fn run(mut self, args: &[&str]) -> Ran {
        self.write();
        let output = self
            .command()
            .args(args)
            .output()
            .expect("the binary starts");
        Ran {
            output,
            dir: self.dir.path().display().to_string(),
            _config: self,
        }
    }

    /// Checks the configuration with `-t`.
    pub fn test(self) -> Ran {
        self.run(&["-t"])
    }

    /// Starts the proxy and waits until it accepts.
    #[track_caller]
    pub fn start(mut self) -> Proxy {
        self.write();
        let stderr = std::fs::File::create(self.dir.path().join("stderr")).unwrap();
        let stdout = std::fs::File::create(self.dir.path().join("stdout")).unwrap();
        let child = self
            .command()
            .stderr(stderr)
            .stdout(stdout)
            .spawn()
            .expect("the binary starts");
        let mut proxy = Proxy {
            child: Some(child),
            config: self,
            fds_at_start: 0,
        };
        proxy.wait_ready();
        if !proxy.config.text.contains("master_process off") {
            wait::until("a worker", || !proxy.workers().is_empty());
        }
        proxy.fds_at_start = proxy.worker_fds();
        proxy
    }
}

/// The file around the text of a `stream` block.
fn stream_text(text: &str) -> String {
    format!("{PRELUDE}stream {{\nserver {{ listen %%ADDR_0%%; return ready; }}\n{text}\n}}\n")
}

/// The binary under test.
fn binary() -> PathBuf {
    std::env::var_os(BINARY_VARIABLE)
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ringx")), PathBuf::from)
}

/// Whether the tests run against another server than ringx.
pub fn is_foreign() -> bool {
    std::env::var_os(BINARY_VARIABLE).is_some()
}

/// Runs the binary with bare arguments.
pub fn run_bare(args: &[&str]) -> Output {
    Command::new(binary())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

/// A finished run.
#[derive(Debug)]
pub struct Ran {
    output: Output,
    dir: String,
    _config: Config,
}

impl Ran {
    /// The exit code.
    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// What it said on stderr, the directory replaced by `DIR`.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).replace(&self.dir, "DIR")
    }

    /// What it said on stdout, the directory replaced by `DIR`.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).replace(&self.dir, "DIR")
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Option<Child>,
    config: Config,
    fds_at_start: usize,
}

impl Proxy {
    #[track_caller]
    fn wait_ready(&mut self) {
        let pid = self.path("ringx.pid");
        let wants_tcp = self.config.text.contains("listen %%ADDR_0%%")
            || self.config.text.contains("listen %%PORT_0%%");
        let addr = wants_tcp.then(|| self.config.port(0).addr());
        let ready = wait::until_some(LIMIT, || {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().unwrap()) {
                return Some(Err(status));
            }
            let written = std::fs::read(&pid).is_ok_and(|p| p.ends_with(b"\n"));
            let open = written
                && addr.is_none_or(|a| std::net::TcpStream::connect_timeout(&a, LIMIT).is_ok());
            open.then_some(Ok(()))
        });
        match ready {
            Some(Ok(())) => {}
            Some(Err(status)) => panic!("the proxy ended at once ({status}):\n{}", self.said()),
            None => panic!("the proxy was not ready in time:\n{}", self.said()),
        }
    }

    /// The address of `%%PORT_n%%`.
    pub fn addr_of(&self, n: usize) -> SocketAddr {
        self.config.ports[n].addr()
    }

    /// The address of `%%PORT_0%%`.
    pub fn addr(&self) -> SocketAddr {
        self.addr_of(0)
    }

    /// A connection to `%%PORT_0%%`.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::tcp(self.addr())
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> super::wire::Message {
        self.client().get(target).response()
    }

    /// A path below the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.config.dir.path().join(name)
    }

    /// The parent's process id.
    pub fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("the proxy runs");
        i32::try_from(child.id()).expect("a process id is positive")
    }

    /// The process ids of the workers: the parent's children.
    pub fn workers(&self) -> Vec<i32> {
        let pid = self.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        list.unwrap_or_default()
            .split_whitespace()
            .filter_map(|p| p.parse().ok())
            .collect()
    }

    /// How many descriptors the workers hold together.
    pub fn worker_fds(&self) -> usize {
        self.workers()
            .into_iter()
            .filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).ok())
            .map(Iterator::count)
            .sum()
    }

    /// The workers' resident memory in KiB.
    pub fn worker_rss_kib(&self) -> usize {
        self.workers()
            .into_iter()
            .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok())
            .filter_map(|s| {
                let line = s.lines().find(|l| l.starts_with("VmRSS:"))?.to_owned();
                line.split_whitespace().nth(1)?.parse::<usize>().ok()
            })
            .sum()
    }

    /// Sends a signal to the parent.
    pub fn signal(&self, signal: i32) {
        self.signal_to(self.pid(), signal);
    }

    /// Sends a signal to one process, which must be the parent or a worker.
    pub fn signal_to(&self, pid: i32, signal: i32) {
        let pid = Pid::from_raw(pid).expect("a process id is positive");
        let signal = Signal::from_named_raw(signal).expect("a signal with a name");
        kill_process(pid, signal).unwrap();
    }

    /// Replaces the configuration's text, for the next reload.
    pub fn rewrite(&mut self, text: &str) {
        text.clone_into(&mut self.config.text);
        self.config.write();
    }

    /// Replaces the text of the `http` block, for the next reload.
    pub fn rewrite_http(&mut self, text: &str) {
        self.rewrite(&format!("{PRELUDE}http {{\naccess_log off;\n{text}\n}}\n"));
    }

    /// Replaces the text of the `stream` block, for the next reload.
    pub fn rewrite_stream(&mut self, text: &str) {
        self.rewrite(&stream_text(text));
    }

    /// Reloads and waits until `took` holds.
    #[track_caller]
    pub fn reload_until(&self, took: impl FnMut() -> bool) {
        self.signal(HUP);
        wait::until("the reload to take effect", took);
    }

    /// The error log, or another file below the directory, as text.
    pub fn log(&self, name: &str) -> String {
        let bytes = std::fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The error log's lines.
    pub fn error_log(&self) -> String {
        self.log("error.log")
    }

    /// Waits until the file `name` contains `text`.
    #[track_caller]
    pub fn wait_log(&self, name: &str, text: &str) {
        let found = wait::until_some(LIMIT, || self.log(name).contains(text).then_some(()));
        assert!(
            found.is_some(),
            "{name} never had {text:?}:\n{}",
            self.log(name)
        );
    }

    /// Announces an error-log line that must appear before the end.
    pub fn announce(&mut self, text: &str) {
        self.config.announced.push(Announced {
            text: text.to_owned(),
            must_appear: true,
        });
    }

    /// Stops the proxy with `signal`, waits for its end, checks its conduct and returns its exit code.
    #[track_caller]
    pub fn stop(mut self, signal: i32) -> Option<i32> {
        let code = self.end(signal);
        self.check_conduct();
        code
    }

    /// Waits for an end that somebody else has brought about.
    #[track_caller]
    pub fn wait_end(mut self) -> Option<i32> {
        let code = self.wait_exit();
        self.check_conduct();
        code
    }

    #[track_caller]
    fn end(&mut self, signal: i32) -> Option<i32> {
        self.signal(signal);
        self.wait_exit()
    }

    #[track_caller]
    fn wait_exit(&mut self) -> Option<i32> {
        let child = self.child.as_mut().expect("the proxy runs");
        let status = wait::until_some(LIMIT, || child.try_wait().unwrap());
        if status.is_none() {
            let said = self.said();
            self.kill();
            panic!("the proxy did not end in time:\n{said}");
        }
        self.child = None;
        status.and_then(|s| s.code())
    }

    fn kill(&mut self) {
        let workers = self.child.as_ref().map(|_| self.workers());
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for pid in workers.unwrap_or_default() {
            let _ = kill_process(Pid::from_raw(pid).expect("positive"), Signal::KILL);
        }
    }

    /// What the process said: stderr and the error log.
    fn said(&self) -> String {
        format!(
            "--- stderr\n{}--- error.log\n{}",
            self.log("stderr"),
            self.error_log()
        )
    }

    #[track_caller]
    fn check_conduct(&self) {
        let stderr = self.log("stderr");
        assert!(!stderr.contains("panicked"), "a panic:\n{stderr}");
        let log = self.error_log();
        for announced in self.config.announced.iter().filter(|a| a.must_appear) {
            assert!(
                log.contains(&announced.text),
                "the error log lacks {:?}:\n{log}",
                announced.text
            );
        }
        for line in log.lines() {
            assert!(!line.contains("panicked"), "a panic: {line}");
            let grave = ["[error]", "[crit]", "[alert]", "[emerg]"]
                .iter()
                .any(|level| line.contains(level));
            let known = self.config.announced.iter().any(|a| line.contains(&a.text));
            assert!(!grave || known, "not announced: {line}");
        }
        let left = temp_files(self.config.dir.path());
        assert!(left.is_empty(), "temporary files are left: {left:?}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("{}", self.said());
            self.kill();
            return;
        }
        self.check_fds();
        // What was given up a moment ago is removed beside the shards; what stays is found below.
        wait::until_some(LIMIT, || {
            temp_files(self.config.dir.path()).is_empty().then_some(())
        });
        let code = self.end(QUIT);
        assert_eq!(code, Some(0), "exit code after QUIT:\n{}", self.said());
        self.check_conduct();
    }
}

impl Proxy {
    /// Descriptors settle near their number at the start; idle origin connections and temp files explain the allowance.
    fn check_fds(&self) {
        const ALLOWED: usize = 48;
        if self.workers().len() != 1 {
            return;
        }
        let settled = wait::until_some(LIMIT, || {
            (self.worker_fds() <= self.fds_at_start + ALLOWED).then_some(())
        });
        assert!(
            settled.is_some(),
            "descriptors leak: {} at the start, {} now",
            self.fds_at_start,
            self.worker_fds()
        );
    }
}

/// Files in any `*_temp` folder below `dir`.
fn temp_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(dir.to_owned(), false)];
    while let Some((folder, temporary)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let named = entry.file_name().to_string_lossy().ends_with("_temp");
            if path.is_dir() {
                folders.push((path, temporary || named));
            } else if temporary {
                found.push(path);
            }
        }
    }
    found
}

/// Reload.
pub const HUP: i32 = 1;
/// Fast stop, from the keyboard.
pub const INT: i32 = 2;
/// Graceful stop.
pub const QUIT: i32 = 3;
/// The end without a word.
pub const KILL: i32 = 9;
/// Open the logs again.
pub const USR1: i32 = 10;
/// Fast stop.
pub const TERM: i32 = 15;
