//! The other end of the control socket: finding it, asking, waiting for the answer. Start at [`Reach`] and [`Link::open`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::cli::Options;
use super::files::Disk;
use super::identity::Identity;
use super::journal::cause;
use super::setup::Setup;
use super::{site, socket};
use crate::base::json::Value;
use crate::config;
use crate::config::model::Main;

/// How long an answer may take that the server has at hand.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is taken.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Which server is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct Reach {
    /// The control socket; that of the configuration when left out.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The configuration that the server runs; the default one when left out.
    #[arg(short = 'c', long = "conf", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The prefix of its paths.
    #[arg(short = 'p', long, value_name = "DIR")]
    pub prefix: Option<PathBuf>,
}

impl Reach {
    /// Connects to the server.
    pub fn link(&self) -> Result<Link, String> {
        let path = match &self.socket {
            Some(path) => path.clone(),
            None => {
                let (setup, main) = self.main();
                socket_path(&setup, &main)
                    .ok_or("the configuration switches the control socket off")?
            }
        };
        Link::open(&path).map_err(|error| {
            format!(
                "connect() to \"{}\" failed {}: does the server run, and may you write to its socket? --socket names \
                 another one",
                path.display(),
                cause(&error)
            )
        })
    }

    /// The settings of the configuration outside `http`, or the defaults when it cannot be read.
    #[must_use]
    pub fn main(&self) -> (Setup, Main) {
        let options = Options {
            file: self.file.clone(),
            prefix: self.prefix.clone(),
            ..Options::default()
        };
        let setup = Setup::new(Identity::Ringx, &options, Vec::new());
        let disk = Disk::default();
        let reader = setup.identity.reader();
        let loaded = config::load(&disk, &setup.file, &setup.prefix, None, reader);
        let main = loaded.model.map(|model| model.main).unwrap_or_default();
        (setup, main)
    }
}

/// Where the control socket of a configuration is; none when it has none.
#[must_use]
pub fn socket_path(setup: &Setup, main: &Main) -> Option<PathBuf> {
    let (pid, _) = site::pid_path(setup, main);
    socket::place(&main.operate.control, &pid).map(|(path, _)| path)
}

/// A connection to a server.
#[derive(Debug)]
pub struct Link {
    stream: BufReader<UnixStream>,
}

impl Link {
    /// Connects to a socket.
    pub fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a line and waits for its answer; the inner error is the server's word.
    pub fn ask(&mut self, line: &str) -> io::Result<Result<Vec<u8>, String>> {
        self.stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())?;
        self.answer()
    }

    /// How long the next answer may take.
    pub fn set_patience(&mut self, time: Duration) -> io::Result<()> {
        self.stream.get_mut().set_read_timeout(Some(time))
    }

    /// Waits for the next answer.
    pub fn answer(&mut self) -> io::Result<Result<Vec<u8>, String>> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "no answer of a control socket");
        let mut head = String::new();
        if self.stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (word, length) = head.trim_end().split_once(' ').ok_or_else(broken)?;
        let length: u64 = length.parse().map_err(|_| broken())?;
        if length > ANSWER_BYTES_MAX {
            return Err(broken());
        }
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes)?;
        match word {
            "ok" => Ok(Ok(bytes)),
            "error" => Ok(Err(String::from_utf8_lossy(&bytes).into_owned())),
            _ => Err(broken()),
        }
    }

    /// As [`Self::ask`], with one kind of error, as a text for a person.
    pub fn want(&mut self, line: &str) -> Result<Vec<u8>, String> {
        self.ask(line)
            .unwrap_or_else(|error| Err(format!("the server does not answer {}", cause(&error))))
    }

    /// Asks for all numbers.
    pub fn status(&mut self) -> Result<Value, String> {
        let bytes = self.want("status")?;
        Value::parse(&bytes).ok_or_else(|| "the server's status cannot be read".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        for (bytes, want) in [
            (&b"ok 2\nhi"[..], Some(Ok(b"hi".to_vec()))),
            (b"ok 0\n", Some(Ok(Vec::new()))),
            (b"error 2\nno", Some(Err("no".to_owned()))),
            (b"ok 3\nhi", None),
            (b"what 2\nhi", None),
            (b"ok -2\nhi", None),
            (b"ok 99999999999\nhi", None),
            (b"", None),
        ] {
            let (ours, mut theirs) = UnixStream::pair().expect("pair");
            theirs.write_all(bytes).expect("write");
            drop(theirs);
            let mut link = Link {
                stream: BufReader::new(ours),
            };
            assert_eq!(link.answer().ok(), want, "{}", bytes.escape_ascii());
        }
    }
}
