//! Rows of what operators look at a running server with: the control socket and the flight recorder.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::config::table::ctx::*;
use crate::config::table::{Args, Row, args, args_to, row};
use crate::config::value::*;

/// Requests that a shard remembers unless `flight_recorder` says otherwise: 80 KiB, which stay in a core's cache. Ten times
/// that would be written to memory anew with each round.
const FLIGHTS_DEFAULT: u32 = 256;

/// The most requests that a shard may be told to remember: some 25 MiB.
const FLIGHTS_MAX: u32 = 65_536;

/// `control`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// Not written: a socket beside the pid file, for the user of the parent only.
    #[default]
    BesidePid,
    /// `off`.
    Off,
    /// A path, and the rights on it.
    At(PathBuf, u32),
}

/// Settings of this family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operate {
    /// `control`.
    pub control: Control,
    /// `flight_recorder`; 0 is `off`.
    pub flights: u32,
}

impl Default for Operate {
    fn default() -> Self {
        Self {
            control: Control::default(),
            flights: FLIGHTS_DEFAULT,
        }
    }
}

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    row("control", M, args_to(1, 2), |load, _, directive| {
        if let Some(value) = load.parse(directive, control) {
            load.main.operate.control = value;
        }
    }, "The socket that `ringx show`, `set`, `top`, `tail` and `-s reload` talk to; whoever may write to its file may use it.")
        .default("unix:PIDFILE with .control instead of .pid, mode=0600"),
    row("flight_recorder", M, args(1), |load, _, directive| {
        if let Some(value) = load.parse(directive, flights) {
            load.main.operate.flights = value;
        }
    }, "How many of its last requests each shard remembers for `ringx tail`.").default("256"),
];

fn control(args: &mut Args<'_>) -> Parsed<Control> {
    let word = args.bytes(0);
    if word == b"off" && args.words.len() == 1 {
        return Ok(Control::Off);
    }
    let Some(path) = word.strip_prefix(b"unix:").filter(|path| !path.is_empty()) else {
        return Err(args
            .fault("invalid value")
            .hint("write unix: and a path, or off"));
    };
    let path = args.prefix.join(OsStr::from_bytes(path));
    let mode = match args.words.get(1) {
        None => 0o600,
        Some(word) => {
            let digits = word.bytes.strip_prefix(b"mode=");
            let mode = digits
                .filter(|digits| (3..=4).contains(&digits.len()))
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u32::from_str_radix(digits, 8).ok())
                .filter(|mode| *mode <= 0o777);
            match mode {
                Some(mode) => mode,
                None => {
                    return Err(args
                        .fault("invalid parameter")
                        .hint("rights are written as for chmod: mode=0660"));
                }
            }
        }
    };
    Ok(Control::At(path, mode))
}

fn flights(args: &mut Args<'_>) -> Parsed<u32> {
    if args.bytes(0) == b"off" {
        return Ok(0);
    }
    match decimal(args.bytes(0)).and_then(|n| u32::try_from(n).ok()) {
        Some(n) if (1..=FLIGHTS_MAX).contains(&n) => Ok(n),
        _ => Err(args
            .fault("invalid value")
            .hint("write a number of requests up to 65536, or off")),
    }
}
