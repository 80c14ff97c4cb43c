//! The server among other processes: `ringx top` in a terminal, `ringx upgrade` under load, systemd, many reloads, and
//! the files that it is deployed with.

use super::operate::{ringx, said, wait_for_peers};
use crate::support::proxy::{HUP, QUIT, run_bare};
use crate::support::{Config, LIMIT, Origin, Proxy, skipped, wait};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const BINARY: &str = env!("CARGO_BIN_EXE_ringx");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn can_run(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok()
}

/// A terminal multiplexer of the test's own; it goes with the test.
struct Tmux(String);

impl Tmux {
    fn run(&self, words: &[&str]) -> (bool, String) {
        let output = Command::new("tmux")
            .args(["-L", &self.0, "-f", "/dev/null"])
            .args(words)
            .env("TERM", "xterm-256color")
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        let found = wait::until_some(LIMIT * 2, || {
            let (_, screen) = self.run(&["capture-pane", "-p"]);
            screen.contains(text).then_some(screen)
        });
        found.unwrap_or_else(|| panic!("no {text:?} in {:?}", self.run(&["capture-pane", "-p"])))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn top_shows_the_server_and_takes_keys() {
    let origin = Origin::text("hello");
    let proxy = Config::http(
        "upstream app { server %%o%%; }
         server { listen %%ADDR_0%%; server_name example.com; location / { proxy_pass http://app; } }",
    )
    .set("o", origin.addr())
    .workers(2)
    .start();
    proxy.get("/");
    wait_for_peers(&proxy, &origin);
    let text = said(&proxy, &["top", "--once", "--interval", "0.1"]);
    for want in [
        "requests/s",
        "p99.9",
        "5xx",
        "SHARD",
        "example.com",
        "app ",
        "q quit",
    ] {
        assert!(text.contains(want), "{want} in\n{text}");
    }
    assert!(text.contains(&origin.addr().to_string()), "{text}");
    let name = proxy
        .path("")
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    if Command::new("tmux").arg("-V").output().is_err() {
        return skipped("there is no tmux");
    }
    let tmux = Tmux(name);
    let file = proxy.path("ringx.conf");
    let command = format!("{BINARY} top --interval 0.2 -c {}", file.display());
    let (started, _) = tmux.run(&["new-session", "-d", "-x", "120", "-y", "40", &command]);
    assert!(started);
    tmux.wait_for("q quit  s sort (name)");
    tmux.run(&["send-keys", "s"]);
    tmux.wait_for("s sort (requests)");
    tmux.run(&["send-keys", "p"]);
    tmux.wait_for("PAUSED");
    tmux.run(&["send-keys", "p"]);
    proxy.get("/");
    proxy.get("/");
    let screen = tmux.wait_for("example.com");
    assert!(!screen.contains("\u{1b}"), "a screen, not its orders");
    tmux.run(&["send-keys", "q"]);
    wait::until("the screen to go", || !tmux.run(&["has-session"]).0);
}

/// Whether a new connection is taken and answered.
fn once(addr: SocketAddr) -> Result<(), String> {
    let mut stream = TcpStream::connect(addr).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut text = String::new();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut text))
        .map_err(|error| format!("{error}"))?;
    match text.starts_with("HTTP/1.1 200 ") && text.ends_with("fine") {
        true => Ok(()),
        false => Err(text),
    }
}

/// Ends the server that has taken over, and waits until it is gone.
fn end_successor(proxy: &Proxy) {
    let pid: i32 = proxy.log("ringx.pid").trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::QUIT).unwrap();
    wait::until("the new server to end", || {
        !proxy.path("ringx.pid").exists()
    });
}

#[test]
fn a_binary_is_changed_without_a_refused_connection() {
    let proxy = Config::http("server { listen %%ADDR_0%%; location / { return 200 fine; } }")
        .workers(2)
        .start();
    let (addr, old) = (proxy.addr(), proxy.pid());
    let done = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    let faults = std::thread::scope(|scope| {
        let load = || {
            let mut faults = Vec::new();
            while !done.load(Ordering::SeqCst) {
                match once(addr) {
                    Ok(()) => drop(served.fetch_add(1, Ordering::SeqCst)),
                    Err(fault) => faults.push(fault),
                }
            }
            faults
        };
        let clients = [(); 4].map(|()| scope.spawn(load));
        let some = |more: usize| {
            let from = served.load(Ordering::SeqCst);
            wait::until("requests", || served.load(Ordering::SeqCst) > from + more);
        };
        some(20);
        let text = said(&proxy, &["upgrade"]);
        assert!(text.contains(&format!("process {old} finishes")), "{text}");
        let new: i32 = proxy.log("ringx.pid").trim().parse().unwrap();
        assert_ne!(new, old);
        wait::until("the old process to end", || {
            !proxy.path("ringx.pid.oldbin").exists()
        });
        some(20);
        let status = said(&proxy, &["show", "status"]);
        assert!(status.contains("configuration 1"), "{status}");
        done.store(true, Ordering::SeqCst);
        clients
            .into_iter()
            .flat_map(|c| c.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(faults, Vec::<String>::new());
    end_successor(&proxy);
    assert_eq!(proxy.wait_end(), Some(0));
}

#[test]
fn a_binary_that_does_not_come_up_changes_nothing() {
    let version = |n: u32| format!("server {{ listen %%ADDR_0%%; return 200 v{n}; }}");
    let mut proxy = Config::http(&version(1)).start();
    proxy.rewrite_http("server { listen %%ADDR_0%%; nonsense on; }");
    proxy.announce("unknown directive \"nonsense\"");
    let pid = proxy.path("ringx.pid").display().to_string();
    let old = proxy.pid();
    let output = ringx(&proxy, &["upgrade", "--pid", &pid]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains(&format!("process {old}")) && stderr.contains("serves on"),
        "{stderr}"
    );
    assert_eq!(proxy.get("/").text(), "v1");
    assert_eq!(proxy.log("ringx.pid").trim(), old.to_string());
    // Nothing is in the way of a reload, or of the next try.
    proxy.rewrite_http(&version(2));
    assert!(ringx(&proxy, &["-s", "reload"]).status.success());
    assert_eq!(proxy.get("/").text(), "v2");
    said(&proxy, &["upgrade"]);
    assert_eq!(proxy.get("/").text(), "v2");
    end_successor(&proxy);
    assert_eq!(proxy.wait_end(), Some(0));
}

#[test]
fn systemd_hands_sockets_over_and_is_told_how_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let systemd = UnixDatagram::bind(path("notify")).unwrap();
    systemd.set_read_timeout(Some(LIMIT * 2)).unwrap();
    let heard = || {
        let mut bytes = [0; 512];
        let count = systemd.recv(&mut bytes).expect("a word to systemd");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let text = format!(
        "daemon off; worker_processes 2; pid {0}/ringx.pid; error_log {0}/error.log info; events {{}}
         http {{ access_log off; server {{ listen {addr}; return 200 fine; }} }}",
        dir.path().display()
    );
    std::fs::write(path("ringx.conf"), text).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" -p \"$1\" -c ringx.conf"])
        .args([Path::new(BINARY), dir.path()])
        .env("NOTIFY_SOCKET", path("notify"))
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .unwrap();
    let said = heard();
    assert!(
        said.contains("READY=1\n") && said.contains(&format!("MAINPID={}\n", child.id())),
        "{said}"
    );
    assert_eq!(once(addr), Ok(()));
    let log = std::fs::read_to_string(path("error.log")).unwrap();
    assert!(
        !log.contains("[emerg]") && !log.contains("[alert]"),
        "{log}"
    );
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::from_named_raw(HUP).unwrap()).unwrap();
    let said = heard();
    assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
    assert!(heard().contains("READY=1\nSTATUS=serving configuration 2"));
    std::fs::write(path("ringx.conf"), "nonsense;").unwrap();
    kill_process(pid, Signal::from_named_raw(HUP).unwrap()).unwrap();
    assert!(heard().starts_with("RELOADING=1\n"));
    assert!(heard().contains("the last reload was refused"));
    assert_eq!(once(addr), Ok(()));
    kill_process(pid, Signal::from_named_raw(QUIT).unwrap()).unwrap();
    assert!(heard().starts_with("STOPPING=1"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Reads up to an empty line.
fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "{}",
            text.escape_ascii()
        );
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// `RINGX_RELOADS=600` is the long form; there is one reload each second then.
#[test]
fn reloads_close_no_websocket_and_keep_no_memory() {
    const SOCKETS: usize = 1000;
    let limits = getrlimit(Resource::Nofile);
    let current = limits.maximum.map_or(1 << 16, |max| max.min(1 << 16));
    if current < 4 * SOCKETS as u64 {
        return skipped("too few descriptors are allowed");
    }
    let raised = Rlimit {
        current: Some(current),
        maximum: limits.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let reloads = std::env::var("RINGX_RELOADS").map_or(5, |text| text.parse().unwrap());
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Config::http(
        "server { listen %%ADDR_0%%; location / { proxy_pass http://%%o%%; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_read_timeout 1h; } }",
    )
    .set("o", origin.local_addr().unwrap())
    .workers(2)
    .start();
    let mut pairs: Vec<(TcpStream, TcpStream)> = (0..SOCKETS)
        .map(|_| {
            let mut client = TcpStream::connect(proxy.addr()).unwrap();
            client.set_read_timeout(Some(LIMIT)).unwrap();
            let ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            client.write_all(ask.as_bytes()).unwrap();
            let (mut server, _) = origin.accept().unwrap();
            server.set_read_timeout(Some(LIMIT)).unwrap();
            head(&mut server);
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            server.write_all(answer.as_bytes()).unwrap();
            assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
            (client, server)
        })
        .collect();
    let mut pass_all = |round: usize| {
        for (number, (client, server)) in pairs.iter_mut().enumerate() {
            let text = format!("{round:4}:{number:4}");
            let mut got = [0; 9];
            client.write_all(text.as_bytes()).unwrap();
            server.read_exact(&mut got).unwrap();
            assert_eq!(got, text.as_bytes());
            server.write_all(text.as_bytes()).unwrap();
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, text.as_bytes());
        }
    };
    pass_all(0);
    let mut settled = 0;
    for round in 1..=reloads {
        assert!(ringx(&proxy, &["-s", "reload"]).status.success());
        if round == 1 || round == reloads || round % 60 == 0 {
            pass_all(round);
        }
        if round == 2 {
            settled = proxy.worker_rss_kib();
        }
        if reloads > 10 {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    }
    let now = proxy.worker_rss_kib();
    assert!(
        now < settled + 4096,
        "{settled} KiB after two reloads, {now} after {reloads}"
    );
}

/// The names of metrics in a text.
fn names(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_part(c));
    let known = words.filter(|word| word.starts_with("ringx_") || word.starts_with("nginx_"));
    known.map(str::to_owned).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let origin = Origin::text("hello");
    let proxy = Config::both(
        "upstream app { zone app 64k; server %%o%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app; health_check interval=20ms; } location = /metrics { metrics; } }",
        "server { listen %%ADDR_1%%; proxy_pass %%o%%; }",
    )
    .set("o", origin.addr())
    .start();
    proxy.get("/");
    wait::until("a health check", || {
        let metrics = proxy.get("/metrics");
        metrics.text().contains("\nringx_health_checks_total{")
    });
    let metrics = proxy.get("/metrics").text().to_owned();
    let there: std::collections::BTreeSet<String> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
        .collect();
    let text = std::fs::read_to_string(Path::new(ROOT).join("config/grafana/ringx.json")).unwrap();
    let mut count = 0;
    for line in text
        .lines()
        .filter(|line| line.contains("\"expr\"") || line.contains("label_values"))
    {
        for name in names(line) {
            assert!(
                there.contains(&name),
                "{name} of the dashboard is no metric"
            );
            count += 1;
        }
    }
    assert!(
        count > 20,
        "{count} names: the file is read as it is written"
    );
}

#[test]
fn the_units_and_the_rotation_are_understood() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("config/package.conf")).unwrap();
    let types = Path::new(ROOT).join("config/mime.types");
    let ran = Config::main(
        &text
            .replace("/var/log/ringx", "%%DIR%%")
            .replace("/run/", "%%DIR%%/")
            .replace("listen 80 ", "listen %%PORT_0%% "),
    )
    .file("mime.types", std::fs::read(types).unwrap())
    .test();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let rotation = Path::new(ROOT).join("config/logrotate/ringx");
    if can_run("/usr/sbin/logrotate") {
        let output = Command::new("/usr/sbin/logrotate")
            .args(["-d", "-s", "/dev/null"])
            .arg(rotation)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("error:"), "{said}");
    } else {
        skipped("there is no logrotate");
    }
    if !can_run("systemd-analyze") {
        return skipped("there is no systemd-analyze");
    }
    // The units name a path that is not there before the package is installed.
    let dir = tempfile::tempdir().unwrap();
    let units = ["ringx.service", "ringx.socket"].map(|name| {
        let from = Path::new(ROOT).join("config/systemd").join(name);
        let text = std::fs::read_to_string(from).unwrap();
        let to = dir.path().join(name);
        std::fs::write(&to, text.replace("/usr/bin/ringx", BINARY)).unwrap();
        to
    });
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let mut bad = said
        .lines()
        .filter(|line| line.contains("ringx."))
        // Known from systemd 253 on, and a page that comes with the package.
        .filter(|line| !line.contains("notify-reload") && !line.contains("man ringx"));
    assert!(bad.next().is_none(), "{said}");
    assert!(run_bare(&["upgrade", "--help"]).status.success());
}
