//! The subcommands of `ringx`. Under the name `nginx` there are none.
//!
//! Owns the words of the command line; what a command does is elsewhere. Start at [`run`].

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use super::cli::Options;
use super::identity::Identity;
use super::journal::{Journal, cause};
use super::setup::Setup;
#[cfg(feature = "top")]
use super::top;
use super::{check, cli, convert, explain, manual, quick, replace, say, show, start, tail};
use crate::config::schema;

/// Wrong use of a subcommand.
const CODE_USAGE: u8 = 2;
/// A configuration that cannot be explained or converted.
const CODE_INVALID: u8 = 3;

/// An io_uring reverse proxy that runs your nginx.conf.
///
/// Without a subcommand the options are nginx's: -c FILE, -p PREFIX, -t, -T, -q, -s SIGNAL, -g DIRECTIVES, -e FILE,
/// -v, -V, -h. Differs from nginx: without `worker_processes` there is one shard per core, and `daemon` is off.
#[derive(Debug, Parser)]
#[command(
    name = "ringx",
    version,
    override_usage = "ringx [-tTqvVh] [-c FILE] [-p PREFIX] [-e FILE] [-g DIRECTIVES] [-s SIGNAL]\n       ringx <COMMAND>"
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a configuration; takes nginx's options, as does `ringx` alone.
    #[command(disable_help_flag = true)]
    Run {
        /// nginx's options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Tell what is wrong with a configuration and what its author may not have meant; exits with 0 when nothing is, 1
    /// when something is, 2 when it cannot be loaded.
    Check(check::Ask),
    /// Tell what a configuration would do with a request, and why: nothing is served and nobody is asked.
    Explain(explain::Ask),
    /// Show what a running server does: peers, servers, caches, limits, shards.
    Show(show::Show),
    /// Change something about a running server.
    Set(show::Set),
    /// Show the last requests of a running server, with the microseconds of their phases.
    Tail(tail::Tail),
    /// Let the binary that is installed now take over from the running one, without refusing a connection.
    Upgrade(replace::Upgrade),
    /// Watch a running server in the terminal: q quits, s sorts, p pauses.
    #[cfg(feature = "top")]
    Top(top::Top),
    /// Put a proxy in front of one or more servers, without a configuration.
    Proxy(quick::Proxy),
    /// Run a proxy with sample origins on 127.0.0.1:8080 and print what to try.
    Demo {
        /// Another port for the proxy; its origins are on 101 to 109 above it.
        #[arg(long, default_value_t = quick::DEMO_PORT, value_parser = clap::value_parser!(u16).range(1..=65_000))]
        port: u16,
    },
    /// Write completions for a shell to standard output.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: manual::Shell,
    },
    /// Write the manual page to standard output: `ringx man | man -l -`.
    Man,
    /// Write the JSON Schema of the TOML form to standard output, for editors.
    Schema,
    /// Write a configuration in the other language, nginx.conf or TOML, to standard output.
    Convert {
        /// The file to read; its ending tells the language.
        file: PathBuf,
        /// The language to write; the other one when left out.
        #[arg(long, value_enum)]
        to: Option<Language>,
    },
}

/// A configuration language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// nginx.conf.
    Nginx,
    /// TOML.
    Toml,
}

/// Whether a first word is one of ours rather than an option of nginx.
#[must_use]
pub fn is_command(word: &OsString) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes == b"--help" || bytes == b"--version" || !bytes.starts_with(b"-")
}

/// Runs a subcommand.
pub fn run(command: Vec<OsString>) -> ExitCode {
    let line = match Line::try_parse_from(&command) {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(CODE_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match line.command {
        Command::Run { options } => match cli::parse(&options) {
            Ok(options) => super::run(Identity::Ringx, &options, command),
            Err(text) => {
                say(&format!("ringx: {text}\n"));
                ExitCode::from(CODE_USAGE)
            }
        },
        Command::Check(ask) => check::run(&ask),
        Command::Explain(ask) => match explain::explain(&ask) {
            Ok(text) => print(text.as_bytes()),
            Err(text) => {
                say(&text);
                ExitCode::from(CODE_INVALID)
            }
        },
        Command::Show(ask) => said(show::show(&ask)),
        Command::Set(ask) => said(show::set(&ask)),
        Command::Tail(ask) => said(tail::tail(&ask).map(|()| Vec::new())),
        Command::Upgrade(ask) => said(replace::replace(&ask)),
        #[cfg(feature = "top")]
        Command::Top(ask) => said(top::top(&ask)),
        Command::Proxy(proxy) => quick::proxy(&proxy, command),
        Command::Demo { port } => quick::demo(port, command),
        Command::Completions { shell } => {
            print(manual::completions(&described(), shell).as_bytes())
        }
        Command::Man => print(manual::page(&described()).as_bytes()),
        Command::Schema => print(schema::schema().as_bytes()),
        Command::Convert { file, to } => match convert::convert(&file, to) {
            Ok(text) => print(&text),
            Err(text) => {
                say(&text);
                ExitCode::from(CODE_INVALID)
            }
        },
    }
}

/// The command line as a value, for those who describe it.
pub fn described() -> clap::Command {
    let mut line = Line::command();
    line.build();
    line
}

/// Writes to standard output, where a reader may have gone away.
pub fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ringx: write() failed {}\n", cause(&error)));
            ExitCode::FAILURE
        }
    }
}

/// What a running server said, or why it said nothing.
fn said(answer: Result<Vec<u8>, String>) -> ExitCode {
    match answer {
        Ok(text) => print(&text),
        Err(text) => {
            say(&format!("ringx: {}\n", text.trim_end()));
            ExitCode::FAILURE
        }
    }
}

/// Starts a configuration that no file holds.
pub fn serve_text(setup: Setup) -> ExitCode {
    start::run(setup, &Options::default())
}

/// A log for complaints before anything runs.
#[must_use]
pub fn console() -> Journal {
    Journal::console(Identity::Ringx)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        Line::try_parse_from(words).map(|line| line.command)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn commands_are_told_from_options() {
        for (word, want) in [
            ("demo", true),
            ("--help", true),
            ("nonsense", true),
            ("-t", false),
            ("-c", false),
            ("-", false),
        ] {
            assert_eq!(is_command(&word.into()), want, "{word}");
        }
    }

    #[test]
    fn run_hands_options_on_untouched() {
        let Ok(Command::Run { options }) = parse(&["ringx", "run", "-tc", "f.conf", "-h"]) else {
            panic!("run takes nginx's options");
        };
        assert_eq!(options, ["-tc", "f.conf", "-h"]);
    }

    #[test]
    fn commands_take_their_arguments() {
        for good in [
            &["ringx", "check"][..],
            &["ringx", "check", "f", "--fix", "--diff"],
            &["ringx", "check", "-c", "f"],
        ] {
            assert!(matches!(parse(good), Ok(Command::Check(_))), "{good:?}");
        }
        assert!(parse(&["ringx", "check", "f", "-c", "g"]).is_err());
        assert!(matches!(
            parse(&["ringx", "demo"]),
            Ok(Command::Demo { port: 8080 })
        ));
        let Ok(Command::Convert { to, .. }) =
            parse(&["ringx", "convert", "a.conf", "--to", "toml"])
        else {
            panic!("convert takes a language");
        };
        assert_eq!(to, Some(Language::Toml));
        assert!(parse(&["ringx", "proxy"]).is_err());
        assert!(parse(&["ringx", "proxy", "--to", "127.0.0.1:3000", "--print"]).is_ok());
        assert!(parse(&["ringx", "dem"]).is_err());
    }
}
