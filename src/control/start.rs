//! What nginx's options ask for: test, dump, signal, or start, with nginx's words and exit codes.
//!
//! Start at [`run`].

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{Pid, kill_process};

use super::cli::{Options, Order};
use super::client::{self, Link};
use super::desk::Desk;
use super::identity::Identity;
use super::journal::{Journal, Level, cause};
use super::pid_file::{self, PidFile, Unread};
use super::reading;
use super::setup::Setup;
use super::signals::Signals;
use super::site::{self, Site};
use super::upgrade::{self, Upgrade};
use super::{parent, say};
use crate::config::model::Main;
use crate::net::sys::process::{Side, fork};

/// How long `-s reload` waits to hear what became of it.
const VERDICT_WAIT: Duration = Duration::from_secs(60);

/// Does what the options say.
pub fn run(mut setup: Setup, options: &Options) -> ExitCode {
    let level = if options.test {
        Level::Info
    } else {
        Level::Notice
    };
    let mut journal = Journal::early(setup.identity, &setup.error_log, level);
    if options.test {
        return test(&setup, options, &journal);
    }
    if let Some(order) = options.order {
        return signal(&setup, order, &journal);
    }
    let inherited = upgrade::inherited(&journal);
    let Some(site) = reading::read(&setup, &journal)
        .and_then(|read| Site::open(&setup, read, inherited.bound(), false, &journal))
    else {
        setup.clean_up();
        return ExitCode::FAILURE;
    };
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(&journal, &format!("sigaction() failed {}", cause(&error))),
    };
    if let Some(banner) = &setup.banner {
        say(banner);
    }
    let upgrade = Upgrade::new(&inherited);
    setup.daemonized = inherited.is_change();
    if !inherited.is_change() && site.daemon() {
        match go_to_background() {
            Ok(Side::Parent) => return ExitCode::SUCCESS,
            Ok(Side::Child) => setup.daemonized = true,
            Err(error) => return fail(&journal, &format!("fork() failed {}", cause(&error))),
        }
    }
    // Before the pid file: whoever finds that may ask for a verdict.
    let Some(mut desk) = Desk::open(&site, &journal) else {
        return ExitCode::FAILURE;
    };
    let pid_file = match PidFile::write(&site.pid.0) {
        Ok(file) => Some(file),
        // Differs from nginx: ringx does without a pid file that nobody asked for.
        Err(_) if setup.identity == Identity::Ringx && !site.pid.1 => None,
        Err(error) => {
            desk.close();
            return fail(
                &journal,
                &format!(
                    "open() \"{}\" failed {}",
                    site.pid.0.display(),
                    cause(&error)
                ),
            );
        }
    };
    journal = Journal {
        console: false,
        ..site.journal(&journal)
    };
    site.take_stderr(&journal);
    greet(&setup, &site, &journal);
    parent::run(setup, site, journal, signals, pid_file, (upgrade, desk))
}

fn fail(journal: &Journal, text: &str) -> ExitCode {
    journal.emerg(text);
    ExitCode::FAILURE
}

/// `-t` and `-T`.
fn test(setup: &Setup, options: &Options, journal: &Journal) -> ExitCode {
    let name = setup.identity.name();
    let file = setup.file.display();
    let read = reading::read(setup, journal).inspect(|_| {
        if !options.quiet {
            say(&format!(
                "{name}: the configuration file {file} syntax is ok\n"
            ));
        }
    });
    let dump = read.as_ref().map(|read| read.loaded.files.clone());
    let opened = read
        .and_then(|read| Site::open(setup, read, &[], true, journal))
        .filter(|site| {
            // What nobody asked for is not tested: an ordinary user may test the configuration of a system service.
            let result = if site.pid.1 || setup.identity == Identity::Nginx {
                pid_file::probe(&site.pid.0)
            } else {
                Ok(())
            };
            if let Err(error) = &result {
                journal.emerg(&format!(
                    "open() \"{}\" failed {}",
                    site.pid.0.display(),
                    cause(error)
                ));
            }
            result.is_ok()
        });
    let Some(dump) = dump.filter(|_| opened.is_some()) else {
        say(&format!("{name}: configuration file {file} test failed\n"));
        return ExitCode::FAILURE;
    };
    if !options.quiet {
        say(&format!(
            "{name}: configuration file {file} test is successful\n"
        ));
    }
    if options.dump {
        let mut out = io::stdout().lock();
        for (path, bytes) in &dump {
            let head = format!("# configuration file {}:\n", path.display());
            let written = out
                .write_all(head.as_bytes())
                .and_then(|()| out.write_all(bytes));
            if written.and_then(|()| out.write_all(b"\n")).is_err() {
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// `-s`.
fn signal(setup: &Setup, order: Order, journal: &Journal) -> ExitCode {
    let Some(read) = reading::read(setup, journal) else {
        return ExitCode::FAILURE;
    };
    journal.notice("signal process started");
    let (path, _) = site::pid_path(setup, &read.plan.main);
    let pid = match pid_file::read(&path) {
        Ok(pid) => pid,
        Err(Unread::Io(error)) => {
            journal.log(
                Level::Error,
                &format!("open() \"{}\" failed {}", path.display(), cause(&error)),
            );
            return ExitCode::FAILURE;
        }
        Err(Unread::Invalid(text)) => {
            let text = format!("invalid PID number \"{text}\" in \"{}\"", path.display());
            journal.log(Level::Error, &text);
            return ExitCode::FAILURE;
        }
    };
    let signal = match order {
        Order::Stop => rustix::process::Signal::TERM,
        Order::Quit => rustix::process::Signal::QUIT,
        Order::Reopen => rustix::process::Signal::USR1,
        Order::Reload => rustix::process::Signal::HUP,
    };
    let target = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
    let mut verdict = match order {
        Order::Reload => await_verdict(setup, &read.plan.main, pid),
        _ => None,
    };
    match target.and_then(|target| kill_process(target, signal)) {
        Ok(()) => verdict
            .as_mut()
            .map_or(ExitCode::SUCCESS, |link| told(link, journal)),
        Err(error) => {
            journal.log(
                Level::Alert,
                &format!(
                    "kill({pid}, {}) failed {}",
                    signal.as_raw(),
                    cause(&error.into())
                ),
            );
            ExitCode::FAILURE
        }
    }
}

/// A connection on which the verdict about the next reload will come; none when no control socket of the process answers.
fn await_verdict(setup: &Setup, main: &Main, pid: i32) -> Option<Link> {
    let path = client::socket_path(setup, main)?;
    let mut link = Link::open(&path).ok()?;
    let process = link.ask("verdict").ok()?.ok()?;
    // A socket that another process has taken tells nothing of this one.
    (process == pid.to_string().as_bytes()).then_some(link)
}

/// Differs from nginx: `-s reload` ends when the new configuration is served, and fails when it was refused.
fn told(link: &mut Link, journal: &Journal) -> ExitCode {
    let verdict = link.set_patience(VERDICT_WAIT).and_then(|()| link.answer());
    let text = match verdict {
        Ok(Ok(_)) => return ExitCode::SUCCESS,
        Ok(Err(reasons)) => {
            for line in reasons.lines() {
                say(&format!("{}: {line}\n", journal.identity.name()));
            }
            "the new configuration was refused, the old one stays".to_owned()
        }
        Err(error) => format!("no verdict about the new configuration {}", cause(&error)),
    };
    // The server has its own line about it in the log.
    say(&format!("{}: {text}\n", journal.identity.name()));
    ExitCode::FAILURE
}

/// Leaves the terminal: a new session, nothing to read, nowhere to print.
fn go_to_background() -> io::Result<Side> {
    if fork()? == Side::Parent {
        return Ok(Side::Parent);
    }
    rustix::process::setsid()?;
    rustix::process::umask(Mode::empty());
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(Side::Child)
}

/// The first lines of a log: who speaks, on what, with which limits.
fn greet(setup: &Setup, site: &Site, journal: &Journal) {
    journal.notice(&setup.identity.version());
    let system = rustix::system::uname();
    let (name, release) = (
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
    );
    journal.notice(&format!("OS: {name} {release}"));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let text = |value: Option<u64>| {
        value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string())
    };
    journal.notice(&format!(
        "getrlimit(RLIMIT_NOFILE): {}:{}",
        text(limit.current),
        text(limit.maximum)
    ));
    journal.notice(&format!(
        "shards: {}, listening sockets: {}",
        site.bundle.shards,
        site.bundle.listeners.len()
    ));
}
