//! What hostile input, faults and load may never do, with the numbers that are promised.

use crate::support::origin::ok_bytes;
use crate::support::{Client, Config, LIMIT, Origin, Proxy, wait};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn to(origin: &Origin, text: &str) -> Proxy {
    Config::server(text).set("o", origin.addr()).start()
}

#[test]
fn idle_connections_cost_little() {
    let proxy = Config::server("location / { return 200 x; }").start();
    proxy.get("/");
    let before = proxy.worker_rss_kib();
    let mut clients = Vec::new();
    for _ in 0..500 {
        let mut client = proxy.client();
        assert_eq!(client.get("/").response().status(), 200);
        clients.push(client);
    }
    let each = (proxy.worker_rss_kib().saturating_sub(before)) * 1024 / clients.len();
    assert!(each < 16 * 1024, "{each} bytes for an idle connection");
}

#[test]
fn slow_heads_are_gone_in_time_and_disturb_nobody() {
    let proxy = Config::server("client_header_timeout 1s; location / { return 200 x; }").start();
    let mut slow = (0..200)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nX-Slow: ");
            client
        })
        .collect::<Vec<_>>();
    let from = Instant::now();
    assert_eq!(proxy.get("/").status(), 200);
    assert!(
        from.elapsed() < Duration::from_secs(1),
        "others are served meanwhile"
    );
    for client in &mut slow {
        client.rest();
    }
    assert!(from.elapsed() < Duration::from_secs(4));
}

#[test]
fn stalled_downloads_do_not_fill_memory() {
    const SIZE: usize = 50 << 20;
    let body = ok_bytes(&vec![b'x'; SIZE]);
    let origin = Origin::answer(move |_| body.clone());
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%o%%; proxy_max_temp_file_size 0; send_timeout 60s; }",
    );
    proxy.client().get("/").head();
    let before = proxy.worker_rss_kib();
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut client = proxy.client();
        client.get("/").head();
        stalled.push(client);
    }
    let grown = proxy.worker_rss_kib().saturating_sub(before);
    assert!(
        grown < 32 * 1024,
        "{grown} KiB for {} stalled downloads",
        stalled.len()
    );
}

#[test]
fn a_large_upload_does_not_fill_memory() {
    let origin = Origin::text("x");
    let proxy = Config::server("client_max_body_size 0; client_body_temp_path %%DIR%%/up_temp; location / { proxy_pass http://%%o%%; }")
        .set("o", origin.addr())
        .may_log("buffered to a temporary file")
        .start();
    // A worker that has not served yet has not grown to its size.
    assert_eq!(proxy.get("/").status(), 200);
    let before = proxy.worker_rss_kib();
    let part = vec![b'u'; 1 << 20];
    let mut client = proxy.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        part.len() * 40
    ));
    for _ in 0..40 {
        client.send(&part);
    }
    assert_eq!(client.response().status(), 200);
    let grown = proxy.worker_rss_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB for an upload of 40 MiB");
}

#[test]
fn running_out_of_connections_is_survived() {
    let proxy = Config::main(
        "daemon off; worker_processes 1; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info;
         events { worker_connections 32; }
         http { access_log off; server { listen %%ADDR_0%%; keepalive_timeout 60s; location / { return 200 x; } } }",
    )
    .may_log("worker_connections are not enough")
    .start();
    let held = (0..80)
        .filter_map(|_| TcpStream::connect_timeout(&proxy.addr(), LIMIT).ok())
        .collect::<Vec<_>>();
    assert!(held.len() > 32);
    drop(held);
    wait::until("service after the crowd has left", || {
        let Ok(stream) = TcpStream::connect_timeout(&proxy.addr(), LIMIT) else {
            return false;
        };
        drop(stream);
        let mut client = Client::tcp(proxy.addr());
        client.try_send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            && client.rest().starts_with(b"HTTP/1.1 200")
    });
}

#[test]
fn a_client_that_resets_in_the_middle_costs_nobody_else() {
    let origin = Origin::answer(|_| ok_bytes(&vec![b'x'; 1 << 20]));
    let proxy = to(&origin, "location / { proxy_pass http://%%o%%; }");
    for _ in 0..20 {
        let mut client = proxy.client();
        client.get("/").head();
        client.reset();
    }
    assert_eq!(proxy.get("/").body.len(), 1 << 20);
}
