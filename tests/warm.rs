//! The warm path allocates nothing: ringx runs in one process on a counting heap, and after its pools are filled, thousands
//! of proxied requests must not ask the heap for a single block each.
//!
//! This binary plays both parts. Started by the test run it is the judge; with a `-p` argument it is ringx itself,
//! with a thread that tells the number of allocations whenever it is asked on standard input.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests may stop at the first surprise, block and print"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Requests before the count begins: enough to fill every pool.
const COLD: usize = 300;
/// Requests that are counted.
const WARM: usize = 4_000;
/// Blocks that the counted time may take in all, for what recurs by the clock rather than by request.
const BLOCKS_MAX: u64 = WARM as u64 / 100;

static BLOCKS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The thread that tells the count does not count itself.
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// The system's heap, counted.
struct Counting;

#[expect(unsafe_code, reason = "a global allocator cannot be made without it")]
// SAFETY: every call is passed to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}

fn count() {
    if !SILENT.get() {
        BLOCKS.fetch_add(1, Ordering::Relaxed);
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "-p") {
        std::thread::spawn(tell);
        return ringx::control::main();
    }
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if wanted.is_some_and(|filter| !"warm::requests_allocate_nothing".contains(&filter)) {
        println!("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out");
        return ExitCode::SUCCESS;
    }
    println!("running 1 test");
    requests_allocate_nothing();
    println!("test warm::requests_allocate_nothing ... ok");
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

/// Answers each byte on standard input with the count.
fn tell() {
    SILENT.set(true);
    let mut byte = [0];
    while std::io::stdin().read_exact(&mut byte).is_ok() {
        let count = BLOCKS.load(Ordering::SeqCst).to_le_bytes();
        let mut out = std::io::stdout();
        if out.write_all(&count).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn requests_allocate_nothing() {
    let origin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = origin.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = origin.accept() {
            std::thread::spawn(move || answer(stream));
        }
    });
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let dir = tempfile::tempdir().unwrap();
    let conf = format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log warn;
         events {{}} http {{ access_log off; keepalive_requests 1000000;
            upstream app {{ server {target}; keepalive 8; keepalive_requests 1000000; }}
            server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://app;
                proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; }} }} }}",
        dir = dir.path().display()
    );
    std::fs::write(dir.path().join("warm.conf"), conf).unwrap();
    let mut proxy = start(dir.path());
    let mut client = connect(port);
    ask(&mut client, COLD);
    let before = blocks(&mut proxy);
    ask(&mut client, WARM);
    let taken = blocks(&mut proxy) - before;
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    assert!(
        taken <= BLOCKS_MAX,
        "{WARM} warm requests took {taken} blocks from the heap"
    );
}

/// Starts this binary as ringx.
fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg("-p")
        .arg(dir)
        .arg("-c")
        .arg(dir.join("warm.conf"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Asks the proxy for its count.
fn blocks(proxy: &mut Child) -> u64 {
    proxy.stdin.as_mut().unwrap().write_all(b"?").unwrap();
    let mut count = [0; 8];
    proxy
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut count)
        .unwrap();
    u64::from_le_bytes(count)
}

fn connect(port: u16) -> TcpStream {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => {
                stream
                    .set_read_timeout(Some(Duration::from_secs(5)))
                    .unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < end, "the proxy does not listen: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends requests on one connection, one after another.
fn ask(client: &mut TcpStream, count: usize) {
    const REQUEST: &[u8] = b"GET /api/users/42?fields=name HTTP/1.1\r\nHost: shop.example\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nCookie: a=1; b=2\r\n\r\n";
    let mut buf = [0; 4096];
    for _ in 0..count {
        client.write_all(REQUEST).unwrap();
        let mut have = 0;
        while !buf[..have].ends_with(b"\r\n\r\nhello") {
            let n = client.read(&mut buf[have..]).unwrap();
            assert!(n > 0, "the proxy closed");
            have += n;
        }
        assert!(buf.starts_with(b"HTTP/1.1 200 "));
    }
}

fn answer(mut stream: TcpStream) {
    let mut buf = [0; 4096];
    let mut have = 0;
    while let Ok(n) = stream.read(&mut buf[have..]) {
        have += n;
        if n == 0 {
            return;
        }
        if buf[..have].ends_with(b"\r\n\r\n") {
            have = 0;
            let response =
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
            if stream.write_all(response).is_err() {
                return;
            }
        }
    }
}
