//! Rows of the `shard` block: what each shard's engine is built of. nginx has no such block.

use std::time::Duration;

use super::main::Main;
use crate::base::size::parse_digits;
use crate::config::lower::{Frame, Lowering};
use crate::config::table::ctx::*;
use crate::config::table::{Args, Contexts, Row, args, row};
use crate::config::tree::Directive;
use crate::config::value::*;

/// Settings of the `shard` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// `ring_entries`.
    pub ring_entries: u32,
    /// `buffers`: how many of each size lie ready, and how many bytes these take at most.
    pub buffers: (usize, usize),
    /// `busy_poll`; zero is off.
    pub busy_poll: Duration,
    /// `pipe_size`.
    pub pipe_size: usize,
    /// `steering cpu`.
    pub steering: bool,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            ring_entries: 1024,
            buffers: (1024, 4 << 20),
            busy_poll: Duration::ZERO,
            pipe_size: 1 << 20,
            steering: false,
        }
    }
}

/// A row that stores a parsed value in [`Engine`].
macro_rules! engine_row {
    ($name:literal, $arity:expr, $parse:expr => $field:ident, $default:literal, $doc:literal) => {
        row(
            $name,
            K,
            $arity,
            |load, _, directive| {
                if let Some(value) = load.parse(directive, $parse) {
                    load.main.engine.$field = value;
                }
            },
            $doc,
        )
        .default($default)
    };
}

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    row(
        "shard",
        M,
        args(0),
        block,
        "Settings of each shard's engine; a reload that changes them starts another worker.",
    )
    .scope()
    .once(),
    engine_row!("ring_entries", args(1), ring_entries => ring_entries, "1024", "Submission entries of a shard's ring, a power of two: operations that are handed to the kernel in one call."),
    engine_row!("buffers", args(2), buffers => buffers, "1024 4m", "How many free buffers of each size (1k to 128k, doubling) a shard keeps, and bytes of one size at most."),
    engine_row!("busy_poll", args(1), busy_poll => busy_poll, "off", "How long an idle shard looks for completions again and again before it sleeps, as 50us: a core for less latency."),
    engine_row!("pipe_size", args(1), pipe_size => pipe_size, "1m", "Bytes of the pipes through which spliced bodies and tunnels go, as far as fs.pipe-max-size allows."),
    engine_row!("steering", args(1), |a| one_of(a, &[("off", false), ("cpu", true)]) => steering, "off", "With cpu, a new connection goes to the shard on whose own core its packets arrive (SO_INCOMING_CPU, Linux 6.2)."),
];

fn block(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let mut inner = frame.child(Contexts::SHARD);
    load.apply(&mut inner, directive.block.as_deref().unwrap_or_default());
}

fn ring_entries(args: &mut Args<'_>) -> Parsed<u32> {
    let number = parse_digits(args.bytes(0)).and_then(|n| u32::try_from(n).ok());
    number
        .filter(|n| n.is_power_of_two() && (64..=32_768).contains(n))
        .ok_or_else(|| {
            args.fault("invalid value")
                .hint("write a power of two from 64 to 32768")
        })
}

fn buffers(args: &mut Args<'_>) -> Parsed<(usize, usize)> {
    let number = parse_digits(args.bytes(0)).and_then(|n| usize::try_from(n).ok());
    let bytes = parse_offset(args.bytes(1)).and_then(|n| usize::try_from(n).ok());
    match (number, bytes) {
        (Some(number @ 1..=1_000_000), Some(bytes)) if bytes >= 128 << 10 => Ok((number, bytes)),
        _ => Err(args
            .fault("invalid value")
            .hint("write a number of buffers and at least 128k, as in 1024 4m")),
    }
}

fn pipe_size(args: &mut Args<'_>) -> Parsed<usize> {
    let bytes = size(args)?;
    if !(64 << 10..=1 << 30).contains(&bytes) {
        return Err(args
            .fault("invalid value")
            .hint("write a size from 64k to 1024m"));
    }
    Ok(bytes)
}

/// `off`, or a time of at most ten milliseconds.
fn busy_poll(args: &mut Args<'_>) -> Parsed<Duration> {
    let word = args.bytes(0);
    let of = |digits: &[u8], micros: u64| {
        let number = parse_digits(digits)?.checked_mul(micros)?;
        (number <= 10_000).then(|| Duration::from_micros(number))
    };
    let time = if word == b"off" {
        Some(Duration::ZERO)
    } else if let Some(digits) = word.strip_suffix(b"us") {
        of(digits, 1)
    } else if let Some(digits) = word.strip_suffix(b"ms") {
        of(digits, 1000)
    } else {
        None
    };
    time.ok_or_else(|| {
        args.fault("invalid value")
            .hint("write off, or a time of at most 10ms, as in 50us")
    })
}

impl Main {
    /// Whether a pipe, a ring or a buffer of another configuration is built otherwise.
    #[must_use]
    pub fn same_engine(&self, other: &Self) -> bool {
        let built = |main: &Self| Engine {
            // Listeners are told of it on each reload.
            steering: false,
            ..main.engine.clone()
        };
        built(self) == built(other)
    }
}
