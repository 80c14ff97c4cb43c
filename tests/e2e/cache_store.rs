//! The cache's store as an operator meets it: stampedes, kills in the middle, restarts, full and missing disks.

use crate::support::origin::{Conn, ok_bytes, response};
use crate::support::proxy::KILL;
use crate::support::wire::{End, Message};
use crate::support::{Client, Config, Origin, Proxy, skipped, wait};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What every test's zone is, with further parameters.
fn zone(more: &str) -> String {
    format!("proxy_cache_path %%DIR%%/cache levels=1:2 keys_zone=one:10m {more};\n")
}

fn server(more: &str) -> String {
    format!(
        "server {{ listen %%ADDR_0%%; location / {{
            proxy_pass http://%%origin%%; proxy_cache one; proxy_cache_key $uri; proxy_cache_valid 1h;
            add_header X-Cache $upstream_cache_status always; {more}
        }} }}"
    )
}

fn config(origin: &Origin, zone_more: &str, more: &str) -> Config {
    Config::http(&(zone(zone_more) + &server(more)))
        .set("origin", origin.addr())
        .workers(4)
}

/// The body that belongs to a path, of a length that depends on it.
fn body_of(path: &str) -> Vec<u8> {
    let seed = path.bytes().fold(7u64, |hash, byte| {
        hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
    });
    let len = (seed >> 16) as usize % 90_000;
    (0..len).map(|n| (n as u64 ^ seed) as u8).collect()
}

fn target(request: &Message) -> String {
    let line = request.start_line().to_owned();
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn files(top: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(top).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(files(&path));
        } else {
            out.push(path);
        }
    }
    out
}

/// Files that have the names of stored answers.
fn stored(proxy: &Proxy) -> usize {
    let is_name = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 32);
    let all = files(&proxy.path("cache"));
    all.iter().filter(|path| is_name(path)).count()
}

fn status(message: &Message) -> &str {
    message.field("x-cache").unwrap_or("-")
}

#[track_caller]
fn expect(proxy: &Proxy, path: &str, want: &str) {
    let got = proxy.get(path);
    assert!(got.body == body_of(path), "{path}: another body");
    assert_eq!(status(&got), want, "{path}");
}

/// Waits until the files of `count` answers are in their places.
#[track_caller]
fn wait_stored(proxy: &Proxy, count: usize) {
    wait::until("the files", || stored(proxy) == count);
}

#[test]
fn a_stampede_makes_one_request_and_all_stream_from_it() {
    const CLIENTS: usize = 200;
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let origin = Origin::script(move |conn: &mut Conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n");
            conn.send([b'a'; 30_000]);
            // The rest comes only when everybody has had a part.
            wait::until("everybody's first byte", || {
                counted.load(Ordering::SeqCst) == CLIENTS
            });
            conn.send([b'b'; 40_000]);
        }
    });
    let proxy = config(
        &origin,
        "",
        "proxy_cache_lock on; proxy_cache_lock_timeout 30s;",
    )
    .start();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (addr, seen) = (proxy.addr(), &seen);
            scope.spawn(move || {
                let mut client = Client::tcp(addr);
                client.get("/cold");
                let head = client.head();
                assert_eq!(head.start_line(), "HTTP/1.1 200 OK");
                let first = client.bytes(1);
                seen.fetch_add(1, Ordering::SeqCst);
                let rest = client.bytes(69_999);
                assert_eq!(first, b"a");
                assert!(rest[..29_999] == [b'a'; 29_999] && rest[29_999..] == [b'b'; 40_000]);
            });
        }
    });
    assert_eq!(origin.requests().len(), 1);
    wait_stored(&proxy, 1);
    assert_eq!(status(&proxy.get("/cold")), "HIT");
}

#[test]
fn what_was_stored_is_served_after_a_restart_and_told_of() {
    let origin = Origin::answer(|request| ok_bytes(&body_of(&target(request))));
    let text = zone("") + &server("");
    let cache = tempfile::Builder::new().tempdir().unwrap();
    open_to_all(cache.path());
    let text = text.replace("%%DIR%%/cache", &cache.path().display().to_string());
    let start = || {
        Config::http(&text)
            .set("origin", origin.addr())
            .workers(4)
            .logs("http file cache: ")
            .start()
    };
    let proxy = start();
    let paths: Vec<_> = (0..40).map(|n| format!("/page/{n}")).collect();
    for path in &paths {
        expect(&proxy, path, "MISS");
    }
    wait::until("the files", || files(cache.path()).len() == paths.len());
    drop(proxy);
    // Two of them are damaged meanwhile, and something strange has come.
    let mut all = files(cache.path());
    all.sort();
    let mut damaged = std::fs::read(&all[0]).unwrap();
    damaged[200] ^= 1;
    std::fs::write(&all[0], damaged).unwrap();
    std::fs::write(&all[1], b"").unwrap();
    std::fs::write(cache.path().join("notes"), b"mine").unwrap();
    let mut proxy = start();
    proxy.announce("is corrupt and was removed");
    proxy.announce("is truncated and was removed");
    proxy.announce("is not a file of this cache and is left alone");
    proxy.wait_log("error.log", "http file cache: ");
    let before = origin.requests().len();
    for path in &paths {
        assert!(proxy.get(path).body == body_of(path), "{path}");
    }
    assert_eq!(origin.requests().len(), before + 2);
    for path in &paths {
        expect(&proxy, path, "HIT");
    }
    assert_eq!(std::fs::read(cache.path().join("notes")).unwrap(), b"mine");
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// Reads one answer, however it ends; the body if it is whole.
fn try_get(addr: std::net::SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut stream = std::net::TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(crate::support::LIMIT)).ok()?;
    let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, text.as_bytes()).ok()?;
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let head = all.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&all[..head]).to_lowercase();
    if !text.starts_with("http/1.1 200") {
        return None;
    }
    let len: usize = text
        .split("content-length: ")
        .nth(1)?
        .split("\r\n")
        .next()?
        .parse()
        .ok()?;
    let body = all.split_off(head);
    assert!(body.len() <= len);
    (body.len() == len).then_some(body)
}

#[test]
fn a_kill_in_the_middle_of_a_thousand_fills_serves_nothing_wrong() {
    let slow = Arc::new(AtomicBool::new(true));
    let is_slow = slow.clone();
    let origin = Origin::script(move |conn: &mut Conn| {
        // One request for each, so that no idle connections are left to count.
        let Some(request) = conn.request() else {
            return;
        };
        let body = body_of(&target(&request));
        let answer = response("200 OK", "Connection: close\r\n", &body);
        if !is_slow.load(Ordering::SeqCst) {
            conn.send(answer);
            return;
        }
        // In pieces, so that many are in the middle at any time.
        for part in answer.chunks(answer.len() / 5 + 1) {
            if !conn.send(part) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
    });
    // Buffers that hold any answer: spooled ones would leave spare files to count.
    let proxy = config(&origin, "use_temp_path=off", "proxy_buffers 32 8k;")
        .may_log("exited on signal 9")
        .may_log("cache file")
        .may_log("upstream")
        .start();
    let paths: Vec<_> = (0..1000).map(|n| format!("/storm/{n}")).collect();
    let next = AtomicUsize::new(0);
    let old = proxy.workers();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let Some(path) = paths.get(n) else {
                        return;
                    };
                    if let Some(body) = try_get(proxy.addr(), path) {
                        assert!(body == body_of(path), "{path}");
                    }
                }
            });
        }
        for killed in 1..=3 {
            wait::until("a part of the storm", || {
                next.load(Ordering::SeqCst) >= killed * 250
            });
            let before = proxy.workers();
            for pid in &before {
                proxy.signal_to(*pid, KILL);
            }
            wait::until("another worker", || {
                let now = proxy.workers();
                !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
            });
        }
    });
    assert!(proxy.workers().iter().all(|pid| !old.contains(pid)));
    slow.store(false, Ordering::SeqCst);
    // A worker that was killed early has not told of its own.
    let last: Vec<_> = proxy
        .workers()
        .iter()
        .map(|pid| format!(" {pid}#"))
        .collect();
    wait::until("the last load", || {
        let log = proxy.error_log();
        let mut loads = log
            .lines()
            .filter(|line| line.contains("http file cache: "));
        loads.any(|line| last.iter().any(|pid| line.contains(pid)))
    });
    wait::until("no unfinished file", || {
        files(&proxy.path("cache")).len() == stored(&proxy)
    });
    let before = origin.requests().len();
    let had = stored(&proxy);
    let mut hits = 0;
    for path in &paths {
        let got = proxy.get(path);
        assert!(got.body == body_of(path), "{path}: a wrong body");
        assert_eq!(got.end, End::Whole);
        hits += usize::from(status(&got) == "HIT");
    }
    assert!(had > 100, "{had}");
    // Each file was an entry, and each entry had its file.
    assert_eq!(hits, had);
    assert_eq!(origin.requests().len() - before, paths.len() - had);
    wait_stored(&proxy, paths.len());
    for path in &paths {
        expect(&proxy, path, "HIT");
    }
}

#[test]
fn a_cache_stays_within_its_size_and_forgets_what_nobody_asks_for() {
    let origin = Origin::answer(|_| ok_bytes(&[b'x'; 9000]));
    let proxy = config(
        &origin,
        "max_size=200k manager_files=10 manager_sleep=10ms",
        "",
    )
    .start();
    for n in 0..120 {
        assert_eq!(status(&proxy.get(&format!("/{n}"))), "MISS");
    }
    // 12 KiB each on disk.
    wait::until("the manager", || stored(&proxy) <= 200 / 12);
    // Sixteen, less one or two for each shard: whole files go.
    let left = stored(&proxy);
    assert!(left >= 8, "{left}");
    assert_eq!(status(&proxy.get("/119")), "HIT");
    assert_eq!(status(&proxy.get("/0")), "MISS");
    drop(proxy);
    let proxy = config(&origin, "inactive=1s", "").start();
    proxy.get("/a");
    wait_stored(&proxy, 1);
    wait_stored(&proxy, 0);
    assert_eq!(status(&proxy.get("/a")), "MISS");
}

/// Three answers, none of which is stored, and the line that says why, once.
#[track_caller]
fn goes_on_without(proxy: &mut Proxy, line: &str) {
    let before = stored(proxy);
    for path in ["/x", "/y", "/y"] {
        expect(proxy, path, "MISS");
    }
    proxy.announce(line);
    proxy.wait_log("error.log", line);
    let text = proxy.error_log();
    assert_eq!(text.matches("[crit]").count(), 1, "{text}");
    assert_eq!(stored(proxy), before);
}

fn plain_origin() -> Origin {
    Origin::answer(|request| ok_bytes(&body_of(&target(request))))
}

#[test]
fn a_directory_that_is_gone_or_closed_costs_nothing_but_hits() {
    let origin = plain_origin();
    let mut proxy = config(&origin, "use_temp_path=off", "").start();
    expect(&proxy, "/a", "MISS");
    wait_stored(&proxy, 1);
    std::fs::remove_dir_all(proxy.path("cache")).unwrap();
    goes_on_without(&mut proxy, "failed (2: No such file or directory)");
    std::fs::create_dir(proxy.path("cache")).unwrap();
    open_to_all(&proxy.path("cache"));
    expect(&proxy, "/x", "MISS");
    // What was asked for before may be on its way to the disk still, and find the directory.
    wait::until("/x is stored", || status(&proxy.get("/x")) == "HIT");
    drop(proxy);
    let mut proxy = config(&origin, "use_temp_path=off", "").start();
    expect(&proxy, "/a", "MISS");
    wait_stored(&proxy, 1);
    proxy.wait_log("error.log", "http file cache: ");
    let closed = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o000);
    std::fs::set_permissions(proxy.path("cache"), closed).unwrap();
    if std::fs::read_dir(proxy.path("cache")).is_ok() && !rustix::process::geteuid().is_root() {
        return skipped("permissions do not bind this user");
    }
    goes_on_without(&mut proxy, "failed (13: Permission denied)");
    open_to_all(&proxy.path("cache"));
}

/// A file system of a megabyte, if there may be one.
struct Small(PathBuf);

impl Small {
    fn at(path: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs"])
            .arg(&path)
            .output();
        mounted
            .is_ok_and(|out| out.status.success())
            .then_some(Self(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_costs_nothing_but_hits() {
    let origin = Origin::answer(|request| match &target(request)[..] {
        "/fill" => ok_bytes(&[1; 900_000]),
        "/more" => ok_bytes(&[2; 700_000]),
        _ => ok_bytes(b"small"),
    });
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    let Some(small) = Small::at(folder.path().join("disk")) else {
        return skipped("no file system can be mounted here");
    };
    let text = zone("use_temp_path=off") + &server("");
    let text = text.replace(
        "%%DIR%%/cache",
        &small.0.join("cache").display().to_string(),
    );
    let proxy = Config::http(&text)
        .set("origin", origin.addr())
        .workers(2)
        .logs("failed (28: No space left on device)")
        .start();
    assert_eq!(proxy.get("/fill").body, [1; 900_000]);
    assert_eq!(status(&proxy.get("/fill")), "HIT");
    for _ in 0..3 {
        let got = proxy.get("/more");
        assert_eq!((got.body == [2; 700_000], status(&got)), (true, "MISS"));
    }
    wait::until("nothing half", || files(&small.0).len() == 1);
    assert_eq!(proxy.get("/fill").body, [1; 900_000]);
    assert_eq!(proxy.error_log().matches("[crit]").count(), 1);
    drop(proxy);
}

#[test]
fn a_reload_in_the_middle_of_a_fill_keeps_it_and_the_store() {
    let go = Arc::new(Mutex::new(false));
    let may = go.clone();
    let origin = Origin::script(move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            let body = body_of(&target(&request));
            let answer = response("200 OK", "", &body);
            let (front, back) = answer.split_at(answer.len() / 2);
            conn.send(front);
            wait::until("the reload", || *may.lock().unwrap());
            conn.send(back);
        }
    });
    let mut proxy = config(&origin, "", "proxy_cache_lock on;").start();
    let mut first = proxy.client();
    first.get("/long");
    first.head();
    let text = zone("inactive=5m") + &server("proxy_cache_lock on; add_header X-New 1;");
    proxy.rewrite_http(&text);
    let reloaded = || {
        let mut client = proxy.client();
        client.get("/long");
        client.head().field("x-new") == Some("1")
    };
    proxy.reload_until(reloaded);
    *go.lock().unwrap() = true;
    let body = body_of("/long");
    assert!(first.bytes(body.len()) == body);
    wait_stored(&proxy, 1);
    expect(&proxy, "/long", "HIT");
    assert_eq!(origin.requests().len(), 1);
}
