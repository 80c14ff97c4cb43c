//! What shards are built of: cores, rings, buffers, pipes; what the log tells of it, and what a reload changes.

use crate::support::{Config, Origin, Proxy, wait};

/// The cores that each shard's thread may run on, in the order of the shards.
fn cores(proxy: &Proxy) -> Vec<String> {
    let worker = proxy.workers()[0];
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{worker}/task")).unwrap() {
        let status = task.unwrap().path().join("status");
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        if field("Name:").starts_with("shard ") {
            found.push((field("Name:"), field("Cpus_allowed_list:")));
        }
    }
    found.sort();
    found.into_iter().map(|(_, list)| list).collect()
}

/// The first two cores of this process.
fn two_cores() -> Option<[String; 2]> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    let [first, second, ..] = all[..] else {
        crate::support::skipped("one core only");
        return None;
    };
    Some([first.to_string(), second.to_string()])
}

fn text(main: &str) -> String {
    format!(
        "daemon off; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log notice; {main}
         http {{ access_log off; server {{ listen %%ADDR_0%%;
            location / {{ proxy_pass http://%%origin%%; }}
            location /large {{ proxy_pass http://%%origin%%; proxy_buffering off; }} }} }}"
    )
}

fn config(origin: &Origin, main: &str) -> Config {
    Config::main(&text(main)).set("origin", origin.addr())
}

#[test]
fn shards_are_built_as_the_block_says_and_the_log_tells_so() {
    let Some([first, second]) = two_cores() else {
        return;
    };
    let body = "x".repeat(3 << 20);
    let origin = Origin::text(&body);
    let engine =
        "shard { ring_entries 256; buffers 16 256k; busy_poll 50us; pipe_size 64k; steering cpu; }";
    let proxy = config(
        &origin,
        &format!("worker_processes 2; worker_cpu_affinity auto; {engine}"),
    )
    .start();
    let expected = [first.clone(), second.clone()];
    wait::until("pinned shards", || cores(&proxy) == expected);
    proxy.wait_log("error.log", "shard: 16 buffers");
    let log = proxy.error_log();
    for text in [
        "[notice] ",
        "event method",
        &format!("shards: 2, on cores {first} {second}"),
        "busy polling for 50us, steering by core",
        "shard: 16 buffers of each size in 256 KiB at most, pipes of 64 KiB",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
    if log.contains("using the \"io_uring\"") {
        assert!(log.contains("ring of 256 entries"), "{log}");
    }
    for _ in 0..8 {
        assert_eq!(proxy.get("/large").body.len(), body.len());
        assert_eq!(proxy.get("/").body.len(), body.len());
    }
}

#[test]
fn masks_say_which_cores_and_another_engine_is_another_worker() {
    let Some([_, second]) = two_cores() else {
        return;
    };
    let mask = format!("1{}", "0".repeat(second.parse().unwrap()));
    let origin = Origin::text("x");
    let main =
        |engine: &str| format!("worker_processes 2; worker_cpu_affinity {mask} {mask}; {engine}");
    let mut proxy = config(&origin, &main("")).start();
    let expected = [second.clone(), second];
    wait::until("pinned shards", || cores(&proxy) == expected);
    proxy.wait_log(
        "error.log",
        "shard: 1024 buffers of each size in 4096 KiB at most",
    );
    let log = proxy.error_log();
    assert!(log.contains("busy polling off, steering off"), "{log}");
    let worker = proxy.workers();
    proxy.rewrite(&text(&main("shard { buffers 64 1m; steering cpu; }")));
    proxy.reload_until(|| {
        let now = proxy.workers();
        now.len() == 1 && now != worker
    });
    let told = "steering off (not every shard has a core of its own)";
    wait::until("what it is built of", || proxy.error_log().contains(told));
    assert_eq!(proxy.get("/").text(), "x");
}

#[test]
fn what_cannot_be_built_is_an_error() {
    for (engine, error) in [
        ("ring_entries 1000", "write a power of two from 64 to 32768"),
        ("buffers 10 1k", "a number of buffers and at least 128k"),
        ("busy_poll 1s", "a time of at most 10ms"),
        ("pipe_size 4k", "write a size from 64k to 1024m"),
        ("steering on", "one of: off, cpu"),
    ] {
        let text = format!("events {{}} shard {{ {engine}; }} http {{}}");
        let ran = Config::main(&text).test();
        assert_eq!(ran.code(), Some(1), "{engine}");
        assert!(ran.stderr().contains(error), "{}", ran.stderr());
    }
}
