//! One exchange without a network: a small configuration is compiled, a request head is parsed, and the
//! answer that the stages settle on is asserted.

mod answers;
mod errors;
mod files;
mod filters;
mod headers;
mod logs;
mod rewrite;
mod routing;
mod variables;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringx::base::ids::IdVec;
use ringx::base::time::Mono;
use ringx::config::{self, Identity, source::Source};
use ringx::front::h1::{Conn, Decoded};
use ringx::front::{ConnInfo, Stream};
use ringx::http::exchange::{Body, Exchange};
use ringx::http::flow;
use ringx::http::local::{Cx, Generation, Local};
use ringx::net::runtime::{Prefer, Runtime, probe};
use ringx::net::{Addr, Clock, Deadlines};
use ringx::observe::{Counters, Desk, Logs, Scribe};
use ringx::plan::compile::{Env, compile};
use ringx::plan::{ListenerId, LogId, LogTarget, ServerToken};
use ringx::proto::h1::parse::HeadLimits;
use ringx::proto::head::RequestHead;

/// Configuration files in memory.
struct Texts(BTreeMap<PathBuf, Arc<[u8]>>);

impl Source for Texts {
    fn read(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        let found = self.0.get(path).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn glob(&self, _: &str) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// A compiled configuration and a shard's belongings, to send requests to.
pub struct Site {
    runtime: Runtime,
    generation: Rc<Generation>,
    local: Rc<Local>,
    scribe: Scribe,
    folder: tempfile::TempDir,
}

/// Opens the files that a plan logs to, as the parent process does.
fn open_logs(targets: &IdVec<LogId, LogTarget>) -> HashMap<PathBuf, Arc<File>> {
    let paths = targets.iter().filter_map(|target| match target {
        LogTarget::File(path) => Some(path.clone()),
        _ => None,
    });
    let open = |path: PathBuf| {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        (path, Arc::new(file))
    };
    paths.map(open).collect()
}

/// What the stages settled on.
#[derive(Debug)]
pub struct Answer {
    /// 0 when the connection is closed without one.
    pub status: u16,
    pub content_type: String,
    pub location: String,
    pub body: String,
    pub fields: Vec<(String, String)>,
    pub close: bool,
}

impl Answer {
    /// All values of a field, joined.
    pub fn field(&self, name: &str) -> String {
        let named = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join("|")
    }
}

impl Site {
    /// Compiles what stands inside of `http {}`. `%%ROOT%%` becomes a directory of its own.
    pub fn new(http: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let log = folder.path().join("error.log");
        let text = format!(
            "error_log {} notice;\nevents {{}}\nhttp {{\naccess_log off;\n{}\n}}\n",
            log.display(),
            http.replace("%%ROOT%%", root)
        );
        let path = PathBuf::from("/conf/nginx.conf");
        let source = Texts(BTreeMap::from([(path.clone(), Arc::from(text.as_bytes()))]));
        let loaded = config::load(&source, &path, folder.path(), None, Identity::Nginx);
        let shown: Vec<_> = loaded
            .diags
            .iter()
            .map(|diag| format!("{diag:?}"))
            .collect();
        let Some(model) = &loaded.model else {
            panic!("the configuration does not load: {shown:#?}")
        };
        let env = Env {
            resolve: &|host, port| Some(vec![SocketAddr::new(host.parse().ok()?, port)]),
            read: &|path| std::fs::read(path).map(Into::into),
            files: &loaded.tree.files,
            hostname: Bytes::from_static(b"box"),
            server_token: ServerToken {
                short: Bytes::from_static(b"nginx"),
                full: Bytes::from_static(b"nginx/1.31.5"),
                build: Bytes::from_static(b"nginx/1.31.5 (x)"),
            },
            prefix: folder.path().to_owned(),
            error_log: LogTarget::Stderr,
        };
        let plan = compile(model, &env).unwrap_or_else(|diags| panic!("{diags:#?}"));
        let runtime = Runtime::new(&probe(Prefer::Epoll), 8).unwrap();
        let plan = Arc::new(plan);
        let scribe = Scribe::start().unwrap();
        let desk = Desk::new(scribe.clone(), Clock::new());
        let table = scribe.table(&plan, &open_logs(&plan.logs));
        let deadlines = Deadlines::new();
        let counters = Counters::shards(1).remove(0);
        let local = Rc::new(Local::new(Clock::new(), deadlines, counters, 1));
        let logs = Logs::new(desk, table);
        let generation = Generation::new(plan, Arc::default(), logs, &local, (1, None));
        let generation = Rc::new(generation);
        Self {
            runtime,
            generation,
            local,
            scribe,
            folder,
        }
    }

    /// Writes a file below the root.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The directory that `%%ROOT%%` stands for.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `GET target` for host `a.test`.
    pub fn get(&mut self, target: &str) -> Answer {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
    }

    /// Serves a head up to the point where it would be sent.
    pub fn send(&mut self, head: &str) -> Answer {
        self.send_to(head, 80)
    }

    /// As [`send`](Self::send), on a listener of this port.
    pub fn send_to(&mut self, head: &str, port: u16) -> Answer {
        let conn = Rc::new(self.connection(port));
        let mut ex = Box::new(Exchange::new(conn.clone()));
        let cx = Cx::new(&self.generation, &self.local);
        // The connection is closed where it was opened: on the runtime.
        self.runtime.run(async {
            let answered = serve(&mut ex, cx, conn, head).await;
            ringx::http::log::line(&mut ex, cx);
            let answer = take(&ex, answered);
            drop(ex.end(&self.local.buffers));
            answer
        })
    }

    /// Settles the answer to `GET target` and shows the exchange as it is then.
    pub fn exchange<T>(
        &mut self,
        target: &str,
        show: impl FnOnce(&mut Exchange, Cx<'_>) -> T,
    ) -> T {
        let conn = Rc::new(self.connection(80));
        let mut ex = Box::new(Exchange::new(conn.clone()));
        let cx = Cx::new(&self.generation, &self.local);
        let head = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        self.runtime.run(async {
            assert!(serve(&mut ex, cx, conn, &head).await);
            let shown = show(&mut ex, cx);
            drop(ex.end(&self.local.buffers));
            shown
        })
    }

    fn connection(&self, port: u16) -> ConnInfo {
        let listeners = self.generation.plan.listeners.enumerate();
        let found = listeners
            .filter(|(_, plan)| matches!(&plan.addr, ringx::plan::ListenAddr::Tcp(at) if at.port() == port))
            .map(|(id, _)| id)
            .next();
        ConnInfo {
            debug: false,
            number: 7,
            remote: Addr::Ip("192.0.2.1:4000".parse().unwrap()),
            local: Addr::Ip(SocketAddr::new("127.0.0.1".parse().unwrap(), port)),
            listener: Cell::new(found.unwrap_or(ListenerId(0))),
            proxy: None,
            accepted: Mono::default(),
            requests: Cell::new(2),
            tls: None,
            misplaced: false,
            named: None,
            entry: Cell::new(None),
            pipelined: Cell::new(false),
        }
    }

    /// Lines that were written since the last call: error log first, then access logs, by name.
    pub fn lines(&self) -> Vec<String> {
        self.generation.logs.desk().flush_all();
        self.scribe.sync();
        let entries = std::fs::read_dir(self.folder()).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ext| ext == "log"));
        paths.sort_by_key(|path| (!path.ends_with("error.log"), path.clone()));
        let mut lines = Vec::new();
        for path in paths {
            let text = std::fs::read(&path).unwrap();
            lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
            File::create(&path).unwrap();
        }
        lines
    }
}

/// Reads a head from a connection of its own and settles its answer.
async fn serve(ex: &mut Exchange, cx: Cx<'_>, conn: Rc<ConnInfo>, head: &str) -> bool {
    let (socket, _client) = ringx::net::Stream::pair(&cx.local.deadlines).unwrap();
    let mut h1 = Conn::new(socket, conn.clone(), head.as_bytes().to_vec(), 0);
    let mut parsed = RequestHead::default();
    let (limits, within) = (HeadLimits::default(), Duration::from_secs(1));
    let buffers = &cx.local.buffers;
    let decoded = match h1.look_for_head(&mut parsed, &limits, buffers) {
        Some(decoded) => decoded,
        None => h1.read_head(&mut parsed, &limits, within, buffers).await,
    };
    let refused = match decoded {
        Decoded::Request => None,
        Decoded::Refused(why) => Some(why),
        Decoded::Closed => panic!("half a head: {head}"),
    };
    ex.conn = conn;
    ex.stream = Stream::H1(Box::new(h1));
    ex.head = parsed;
    flow::settle(ex, refused, cx).await
}

/// What will be sent.
fn take(ex: &Exchange, answered: bool) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let response = &ex.response;
    let body = match &response.body {
        Body::Empty | Body::Origin(_) | Body::Slices(_) | Body::Stored(_) | Body::Tunnel(_) => {
            String::new()
        }
        Body::Static(bytes) => text(bytes),
        Body::Buffer(bytes) => text(bytes),
        Body::File { length, .. } => format!("file of {length}"),
        Body::Parts(parts) => format!("{} parts", parts.ranges.len()),
    };
    let fields = response.fields.iter();
    Answer {
        status: if answered { response.status } else { 0 },
        content_type: text(&response.content_type),
        location: text(&response.location),
        body,
        fields: fields
            .map(|field| (text(field.name), text(field.value)))
            .collect(),
        close: ex.close,
    }
}
