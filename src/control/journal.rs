//! The error log of the parent and of a starting worker: nginx's classic line, to files and to the terminal.
//!
//! Shards have logs of their own (`observe`); this one is for a process that may block. Start at [`Journal::log`].

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::identity::Identity;
use crate::base::time::log_error;
use crate::net::clock;
use crate::net::sys::zone::utc_offset;

pub use crate::config::model::LogLevel as Level;

/// The word in brackets.
#[must_use]
pub fn word(level: Level) -> &'static str {
    Level::WORDS
        .iter()
        .find(|(_, each)| *each == level)
        .map_or("", |(word, _)| word)
}

/// Where lines of one level and above go.
#[derive(Clone, Debug)]
pub struct Sink {
    /// The least serious level that is written.
    pub level: Level,
    /// The open file; `None` is standard error.
    pub file: Option<Arc<File>>,
}

/// The log of one process.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Begins a line on the terminal.
    pub identity: Identity,
    /// Where lines go.
    pub sinks: Vec<Sink>,
    /// Whether warnings and worse go to standard error as well, as long as an operator is watching.
    pub console: bool,
}

impl Journal {
    /// A log that only speaks to the terminal.
    #[must_use]
    pub fn console(identity: Identity) -> Self {
        Self {
            identity,
            sinks: Vec::new(),
            console: true,
        }
    }

    /// Opens the first log, before the configuration is known. A file that cannot be opened is told and done without.
    #[must_use]
    pub fn early(identity: Identity, path: &Path, level: Level) -> Self {
        let mut journal = Self::console(identity);
        if path.as_os_str() == "stderr" {
            return journal;
        }
        match open(path) {
            Ok(file) => journal.sinks.push(Sink {
                level,
                file: Some(Arc::new(file)),
            }),
            Err(error) => journal.log(
                Level::Alert,
                &format!(
                    "could not open error log file: open() \"{}\" failed {}",
                    path.display(),
                    cause(&error)
                ),
            ),
        }
        journal
    }

    /// Writes one line wherever its level is wanted.
    pub fn log(&self, level: Level, text: &str) {
        let text = printable(text);
        let line = line(level, &text);
        let mut on_terminal = false;
        for sink in self.sinks.iter().filter(|sink| level <= sink.level) {
            // Nobody is left to tell when the log itself cannot be written.
            match &sink.file {
                Some(file) => file.as_ref().write_all(line.as_bytes()).ok(),
                None => {
                    on_terminal = true;
                    io::stderr().write_all(line.as_bytes()).ok()
                }
            };
        }
        if self.console && level <= Level::Warn && !on_terminal {
            let line = format!("{}: [{}] {text}\n", self.identity.name(), word(level));
            io::stderr().write_all(line.as_bytes()).ok();
        }
    }

    /// A condition that cannot be ignored.
    pub fn emerg(&self, text: &str) {
        self.log(Level::Emerg, text);
    }

    /// What an operator expects to read in the course of things.
    pub fn notice(&self, text: &str) {
        self.log(Level::Notice, text);
    }

    /// Makes standard error another name of the first log file, so that the last words of a process are kept.
    pub fn take_stderr(&self) {
        if let Some(file) = self.sinks.iter().find_map(|sink| sink.file.as_ref()) {
            rustix::stdio::dup2_stderr(file.as_fd()).ok();
        }
    }
}

/// Opens a log file for appending, making it when it is missing.
pub fn open(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
}

/// An error the way nginx's log ends with it: `(98: Address already in use)`.
#[must_use]
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let text = text
                .strip_suffix(&format!(" (os error {number})"))
                .unwrap_or(&text);
            format!("({number}: {text})")
        }
        None => format!("({text})"),
    }
}

fn line(level: Level, text: &str) -> String {
    let process = rustix::process::getpid().as_raw_nonzero();
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let now = clock::unix().secs;
    let stamp = log_error(now, utc_offset(now));
    format!(
        "{} [{}] {process}#{thread}: {text}
",
        String::from_utf8_lossy(&stamp),
        word(level)
    )
}

/// Text of others inside a message must not begin a line of its own.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_read_like_nginx() {
        let error = io::Error::from_raw_os_error(98);
        assert_eq!(cause(&error), "(98: Address already in use)");
        assert_eq!(
            cause(&io::Error::from_raw_os_error(2)),
            "(2: No such file or directory)"
        );
        assert_eq!(cause(&io::Error::other("no number")), "(no number)");
    }

    #[test]
    fn a_line_goes_to_each_sink_that_wants_its_level() {
        let dir = tempfile::tempdir().expect("dir");
        let (all, few) = (dir.path().join("all"), dir.path().join("few"));
        let sink = |path: &Path, level| Sink {
            level,
            file: Some(Arc::new(open(path).expect("open"))),
        };
        let journal = Journal {
            identity: Identity::Nginx,
            sinks: vec![sink(&all, Level::Debug), sink(&few, Level::Error)],
            console: false,
        };
        journal.notice("one\ntwo");
        journal.log(Level::Error, "three");
        let all = std::fs::read_to_string(all).expect("read");
        let few = std::fs::read_to_string(few).expect("read");
        assert_eq!(all.lines().count(), 2);
        assert!(
            all.contains(" [notice] ") && all.contains("#") && all.contains(": one?two\n"),
            "{all}"
        );
        assert_eq!(few.lines().count(), 1);
        assert!(few.ends_with(": three\n"));
        let process = std::process::id();
        assert!(few.contains(&format!(" [error] {process}#")));
    }

    #[test]
    fn a_first_log_that_cannot_be_opened_is_done_without() {
        let journal = Journal::early(
            Identity::Nginx,
            Path::new("/no/such/dir/error.log"),
            Level::Notice,
        );
        assert!(journal.sinks.is_empty());
    }
}
