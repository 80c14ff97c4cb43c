//! The life of the process: command line, test and dump, pid file, signals, reloads, a worker that dies.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use crate::support::proxy::{HUP, KILL, QUIT, TERM, USR1, is_foreign, run_bare};
use crate::support::{Config, Origin, Proxy, wait};

const SERVER: &str = "location / { return 200 one; }";

/// Runs the binary under nginx's name.
fn as_nginx(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringx"))
        .arg0("nginx")
        .args(args)
        .output()
        .expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn nginx_says_its_version_and_what_is_built_in() {
    let output = as_nginx(&["-v"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "nginx version: nginx/1.31.5\n");
    let text = stderr(&as_nginx(&["-V"]));
    assert!(
        text.starts_with("nginx version: nginx/1.31.5\nbuilt "),
        "{text}"
    );
    assert!(text.contains("\nconfigure arguments: --"), "{text}");
    let text = stderr(&as_nginx(&["-h"]));
    assert!(text.contains("Usage: nginx [-?hvVtTq]"), "{text}");
}

#[test]
fn wrong_options_are_told_in_nginx_words() {
    for (args, want) in [
        (&["-z"][..], "nginx: invalid option: \"z\"\n"),
        (&["-s", "foo"], "nginx: invalid option: \"-s foo\"\n"),
        (&["-c"], "nginx: option \"-c\" requires file name\n"),
        (&["check"], "nginx: invalid option: \"check\"\n"),
    ] {
        let output = as_nginx(args);
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(1), want),
            "{args:?}"
        );
    }
}

#[test]
fn a_good_configuration_tests_well() {
    let ran = Config::server(SERVER).test();
    let want = "ringx: the configuration file DIR/ringx.conf syntax is ok\n\
                ringx: configuration file DIR/ringx.conf test is successful\n";
    assert_eq!((ran.code(), ran.stderr().as_str()), (Some(0), want));
    let ran = Config::server(SERVER).run(&["-tq"]);
    assert_eq!((ran.code(), ran.stderr().as_str()), (Some(0), ""));
}

#[test]
fn a_bad_configuration_is_refused_with_its_line() {
    let ran = Config::main("events {}\nnonsense on;\n").run(&["-tq", "-e", "stderr"]);
    assert_eq!(ran.code(), Some(1));
    let said = ran.stderr();
    assert!(
        said.contains("[emerg]")
            && said.contains("unknown directive \"nonsense\" in DIR/ringx.conf:2\n"),
        "{said}"
    );
    assert!(
        said.ends_with("configuration file DIR/ringx.conf test failed\n"),
        "{said}"
    );
    let ran = Config::main("events {}\nnonsense on;\n").run(&[]);
    assert_eq!(ran.code(), Some(1));
    assert!(!ran.stderr().contains("test failed"));
}

#[test]
fn a_dump_shows_each_file_once() {
    let ran = Config::main(
        "events {}\ninclude DIR.conf;\nhttp { include extra/*.conf; }\n"
            .replace("DIR.conf", "main.inc")
            .as_str(),
    )
    .file("main.inc", "worker_processes 1;\n")
    .file("extra/a.conf", "# nothing\n")
    .run(&["-T"]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let want = "# configuration file DIR/ringx.conf:\nevents {}\ninclude main.inc;\nhttp { include extra/*.conf; }\n\n\
                # configuration file DIR/main.inc:\nworker_processes 1;\n\n\
                # configuration file DIR/extra/a.conf:\n# nothing\n\n";
    assert_eq!(ran.stdout(), want);
}

#[test]
fn the_pid_file_comes_and_goes() {
    let proxy = Config::server(SERVER).start();
    let (pid, path) = (proxy.pid(), proxy.path("ringx.pid"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{pid}\n"));
    assert_eq!(proxy.stop(TERM), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_reload_changes_what_is_served() {
    let (mut proxy, worker) = serving(Config::server(SERVER));
    assert_eq!(proxy.get("/").text(), "one");
    proxy.rewrite_http("server { listen %%ADDR_0%%; location / { return 200 two; } }");
    proxy.reload_until(|| proxy.get("/").text() == "two");
    assert_eq!(proxy.workers(), worker, "a reload happens in place");
    proxy.wait_log("error.log", "exited with code 0");
    proxy.wait_log("error.log", "reconfiguring");
}

#[test]
fn a_bad_reload_keeps_the_old_configuration() {
    let mut proxy = Config::server(SERVER)
        .logs("unknown directive \"nonsense\"")
        .start();
    proxy.rewrite_http("nonsense on;");
    proxy.signal(HUP);
    proxy.wait_log("error.log", "unknown directive \"nonsense\"");
    assert_eq!(proxy.get("/").text(), "one");
}

#[test]
fn a_reload_changes_listeners() {
    let mut proxy =
        Config::http("server { listen %%ADDR_0%%; location / { return 200 old; } }").start();
    proxy.rewrite_http(
        "server { listen %%ADDR_0%%; location / { return 200 new; } }
         server { listen %%ADDR_1%%; location / { return 200 more; } }",
    );
    proxy.reload_until(|| proxy.get("/").text() == "new");
    assert_eq!(
        crate::support::client::get(proxy.addr_of(1), "/").text(),
        "more"
    );
    proxy.rewrite_http("server { listen %%ADDR_1%%; location / { return 200 moved; } }");
    proxy.signal(HUP);
    wait::until("the first port to be closed", || {
        std::net::TcpStream::connect(proxy.addr()).is_err()
    });
    assert_eq!(
        crate::support::client::get(proxy.addr_of(1), "/").text(),
        "moved"
    );
}

#[test]
fn a_reload_changes_the_number_of_shards() {
    let (mut proxy, before) = serving(Config::server(SERVER));
    proxy.rewrite(
        "daemon off; worker_processes 2; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info; events {}
         http { access_log off; server { listen %%ADDR_0%%; location / { return 200 two; } } }",
    );
    proxy.reload_until(|| proxy.get("/").text() == "two");
    wait::until("the old worker to go", || {
        proxy.workers().len() == 1 && proxy.workers() != before
    });
}

/// A proxy whose worker serves already, with the worker's process id.
fn serving(config: Config) -> (Proxy, Vec<i32>) {
    let proxy = config.start();
    proxy.wait_log("error.log", "event method");
    let workers = proxy.workers();
    (proxy, workers)
}

#[test]
fn a_killed_worker_is_replaced() {
    let (proxy, before) = serving(Config::server(SERVER).logs("exited on signal 9"));
    proxy.signal_to(before[0], KILL);
    wait::until("another worker", || {
        proxy.workers().len() == 1 && proxy.workers() != before
    });
    assert_eq!(proxy.get("/").text(), "one");
}

#[test]
fn a_terminated_worker_is_replaced() {
    let (proxy, before) = serving(Config::server(SERVER));
    proxy.signal_to(before[0], TERM);
    wait::until("another worker", || {
        proxy.workers().len() == 1 && proxy.workers() != before
    });
    assert_eq!(proxy.get("/").text(), "one");
    proxy.wait_log(
        "error.log",
        &format!("worker process {} exited with code 0", before[0]),
    );
}

#[test]
fn a_connection_that_came_before_a_quit_is_still_answered() {
    let (proxy, _) = serving(Config::server(SERVER));
    let mut client = proxy.client();
    // The first answer on another connection shows that this one was accepted too.
    proxy.get("/");
    proxy.signal(QUIT);
    wait::until("the listener to close", || {
        std::net::TcpStream::connect(proxy.addr()).is_err()
    });
    let got = client.get("/").response();
    assert_eq!(
        (got.text(), got.field("connection")),
        ("one", Some("close"))
    );
    assert_eq!(proxy.wait_end(), Some(0));
}

#[test]
fn worker_shutdown_timeout_ends_what_began_before_a_reload() {
    let origin = Origin::script(|conn| while conn.request().is_some() {});
    let text =
        "daemon off; worker_processes 1; worker_shutdown_timeout 50ms; pid %%DIR%%/ringx.pid;
         error_log %%DIR%%/error.log info; events {}
         http { access_log off; server { listen %%ADDR_0%%;
         location / { return 200 one; } location /slow { proxy_pass http://%%origin%%; } } }";
    let config = Config::main(text).set("origin", origin.addr());
    let (proxy, _) = serving(config.may_log("prematurely closed"));
    let (mut silent, mut slow) = (proxy.client(), proxy.client());
    slow.get("/slow");
    wait::until("the slow request", || origin.requests().len() == 1);
    proxy.signal(HUP);
    proxy.wait_log("error.log", "exited with code 0");
    silent.expect_close();
    slow.expect_close();
    assert_eq!(proxy.get("/").text(), "one");
}

#[test]
fn logs_are_opened_again() {
    let proxy = Config::http("server { listen %%ADDR_0%%; access_log %%DIR%%/access.log; location / { return 200 one; } }").start();
    proxy.get("/before");
    proxy.wait_log("access.log", "/before");
    std::fs::rename(proxy.path("access.log"), proxy.path("access.log.1")).unwrap();
    proxy.signal(USR1);
    wait::until("a new log", || proxy.path("access.log").exists());
    wait::until("the worker to use it", || {
        proxy.get("/after");
        proxy.log("access.log").contains("/after")
    });
    assert!(proxy.log("access.log.1").contains("/before"));
}

#[test]
fn a_taken_port_is_an_error_after_five_tries() {
    let proxy = Config::server(SERVER).start();
    let text = format!(
        "daemon off; pid %%DIR%%/ringx.pid; events {{}} http {{ access_log off; server {{ listen {}; }} }}",
        proxy.addr()
    );
    let ran = Config::main(&text).run(&["-e", "stderr"]);
    assert_eq!(ran.code(), Some(1));
    let said = ran.stderr();
    let bind = format!(
        "bind() to {} failed (98: Address already in use)",
        proxy.addr()
    );
    assert_eq!(said.matches(&bind).count(), 5, "{said}");
    assert!(said.contains("still could not bind()"), "{said}");
    // A test of the same configuration does not mind.
    assert_eq!(Config::main(&text).test().code(), Some(0));
}

#[test]
fn s_signals_the_running_parent() {
    let proxy = Config::server(SERVER).start();
    let conf = proxy.path("ringx.conf").display().to_string();
    let send = |order: &str| run_bare(&["-e", "stderr", "-c", &conf, "-s", order]);
    assert_eq!(send("reload").status.code(), Some(0));
    proxy.wait_log("error.log", "reconfiguring");
    assert_eq!(send("quit").status.code(), Some(0));
    assert_eq!(proxy.wait_end(), Some(0));
}

#[test]
fn s_without_a_server_fails() {
    let ran = Config::server(SERVER).run(&["-e", "stderr", "-s", "stop"]);
    assert_eq!(ran.code(), Some(1));
    let want = "open() \"DIR/ringx.pid\" failed (2: No such file or directory)\n";
    assert!(
        ran.stderr().contains("[error]") && ran.stderr().ends_with(want),
        "{}",
        ran.stderr()
    );
    let ran = Config::server(SERVER)
        .file("ringx.pid", "\n")
        .run(&["-e", "stderr", "-s", "stop"]);
    assert!(
        ran.stderr()
            .contains("invalid PID number \"\" in \"DIR/ringx.pid\""),
        "{}",
        ran.stderr()
    );
}

#[test]
fn a_daemon_leaves_a_parent_behind() {
    let config = Config::main(
        "daemon on; worker_processes 1; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info; events {}
         http { access_log off; server { listen %%ADDR_0%%; location / { return 200 one; } } }",
    );
    let dir = config.dir().to_owned();
    let ran = config.run(&[]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let mut pid = None;
    wait::until("the pid file", || {
        let text = std::fs::read_to_string(dir.join("ringx.pid")).unwrap_or_default();
        pid = text
            .strip_suffix('\n')
            .and_then(|text| text.parse::<i32>().ok());
        pid.is_some()
    });
    let pid = rustix::process::Pid::from_raw(pid.expect("waited for")).expect("positive");
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
    wait::until("the daemon to end", || {
        rustix::process::test_kill_process(pid).is_err()
    });
    assert!(!dir.join("ringx.pid").exists());
}

#[test]
fn shards_may_run_in_the_parent() {
    let proxy: Proxy = Config::main(
        "daemon off; master_process off; worker_processes 2; pid %%DIR%%/ringx.pid;
         error_log %%DIR%%/error.log info; events {}
         http { access_log off; server { listen %%ADDR_0%%; location / { return 200 one; } } }",
    )
    .start();
    assert_eq!(proxy.get("/").text(), "one");
    assert!(proxy.workers().is_empty());
    assert_eq!(proxy.stop(QUIT), Some(0));
}

#[test]
fn check_explains_and_counts() {
    if is_foreign() {
        return;
    }
    let config = Config::main("events {}\nhttp { server { listen 80; proxy_pas http://a; } }\n");
    let path = config.dir().join("bad.conf");
    std::fs::write(
        &path,
        "events {}\nhttp { server { listen 80; proxy_pas http://a; } }\n",
    )
    .unwrap();
    let output = run_bare(&["check", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    let said = stdout(&output);
    assert!(
        said.contains("proxy_pas http://a;") && said.contains("^^^^^^^^^"),
        "{said}"
    );
    assert!(said.contains("1 error"), "{said}");
}

#[test]
fn proxy_prints_a_configuration_that_loads() {
    if is_foreign() {
        return;
    }
    let output = run_bare(&[
        "proxy",
        "--to",
        "127.0.0.1:3000",
        "--to",
        ":3001",
        "--from",
        "127.0.0.1:59999",
        "--print",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let config = Config::main("");
    let path = config.dir().join("printed.conf");
    std::fs::write(&path, stdout(&output)).unwrap();
    let output = run_bare(&["-t", "-c", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
