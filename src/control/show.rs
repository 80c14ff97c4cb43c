//! `ringx show` and `ringx set`: what a running server says of itself, as tables or JSON, and orders to it.
//!
//! All numbers come from the one document that `status` serves. Start at [`show`] and [`set`].

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};

use super::client::Reach;
use crate::base::json::Value;

/// `ringx show`.
#[derive(Args, Debug)]
pub struct Show {
    /// What to show.
    #[arg(value_enum)]
    what: What,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// What there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Version, uptime, connections, requests and latencies.
    Status,
    /// Upstream groups and their peers.
    Peers,
    /// What health checks found of them.
    Checks,
    /// Servers and their locations.
    Servers,
    /// Sessions of stream, by listener.
    Sessions,
    /// Caches.
    Cache,
    /// Zones of limits.
    Limits,
    /// Certificates.
    Certificates,
    /// What each core does.
    Shards,
    /// The configuration in force.
    Config,
}

/// `ringx set`.
#[derive(Args, Debug)]
pub struct Set {
    #[command(subcommand)]
    what: Setting,
}

#[derive(Debug, Subcommand)]
enum Setting {
    /// A peer's state or weight, until it is set again or the server ends: reloads keep it.
    Peer {
        /// The upstream group.
        group: String,
        /// The peer's address, as `show peers` has it.
        peer: String,
        /// state=up, state=down or state=drain; weight=N; state=auto for what the configuration says of both.
        #[arg(required = true, num_args = 1..)]
        settings: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Shows something.
pub fn show(ask: &Show) -> Result<Vec<u8>, String> {
    let mut link = ask.reach.link()?;
    if ask.what == What::Config {
        return link.want("config");
    }
    if ask.what == What::Status && ask.json {
        return link.want("status");
    }
    let status = link.status()?;
    let section = match ask.what {
        What::Status => return Ok(overview(&status).into_bytes()),
        What::Peers => "upstreams",
        What::Checks => "checks",
        What::Servers => "locations",
        What::Sessions => "sessions",
        What::Cache => "caches",
        What::Limits => "limits",
        What::Certificates => "certificates",
        What::Shards => "shards",
        What::Config => "config",
    };
    let Some(section) = status.get(section) else {
        return Err(format!("the server tells nothing of its {section}\n"));
    };
    let text = if ask.json {
        let mut text = String::new();
        write_json(section, &mut text);
        text.push('\n');
        text
    } else {
        table(section)
    };
    Ok(text.into_bytes())
}

/// Orders something.
pub fn set(ask: &Set) -> Result<Vec<u8>, String> {
    let Setting::Peer {
        group,
        peer,
        settings,
        reach,
    } = &ask.what;
    let words = [group, peer].into_iter().chain(settings);
    if words
        .clone()
        .any(|word| word.is_empty() || word.contains(char::is_whitespace))
    {
        return Err("a name, an address or a setting has no spaces\n".to_owned());
    }
    let words: Vec<&str> = words.map(String::as_str).collect();
    let mut link = reach.link()?;
    link.want(&format!("peer {}", words.join(" ")))
}

/// The process as a whole.
fn overview(status: &Value) -> String {
    let none = Value::Object(Vec::new());
    let part = |name: &str| status.get(name).unwrap_or(&none);
    let (connections, latency) = (part("connections"), part("latency_seconds"));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "ringx {} on {}, configuration {}, up {}, {} shards\n\
         connections: {} active, {} reading, {} writing, {} waiting, {} accepted\n\
         requests: {}\n\
         latency: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}\n",
        status.text("version"),
        status.text("driver"),
        status.number("generation"),
        duration(status.number("uptime_seconds")),
        part("shards").list().len(),
        connections.number("active"),
        connections.number("reading"),
        connections.number("writing"),
        connections.number("waiting"),
        connections.number("accepted"),
        connections.number("requests"),
        latency_text(latency.number("p50")),
        latency_text(latency.number("p90")),
        latency_text(latency.number("p99")),
        latency_text(latency.number("p999")),
        latency_text(latency.number("max")),
    );
    out
}

/// A long time: `3d 4h`, `5m 6s`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A short time: `0.35ms`, `12ms`, `1.20s`.
#[must_use]
pub fn latency_text(seconds: f64) -> String {
    let ms = seconds * 1000.0;
    if ms >= 1000.0 {
        format!("{seconds:.2}s")
    } else if ms >= 10.0 {
        format!("{ms:.0}ms")
    } else {
        format!("{ms:.2}ms")
    }
}

/// A list of objects as columns under their names.
fn table(section: &Value) -> String {
    let rows = section.list();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(Value::members) {
        if !names.contains(&&name[..]) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return "none\n".to_owned();
    }
    let mut lines: Vec<Vec<String>> = vec![names.iter().map(|name| (*name).to_owned()).collect()];
    for row in rows {
        lines.push(names.iter().map(|name| cell(row.get(name))).collect());
    }
    let widths: Vec<usize> = (0..names.len())
        .map(|column| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A value in a table; what a terminal might take for an order is no part of it.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::Number(number)) => round(*number),
        Some(Value::Text(text)) => plain(text),
        Some(Value::List(list)) => {
            let all: Vec<String> = list.iter().map(|each| cell(Some(each))).collect();
            all.join("/")
        }
        Some(Value::Object(members)) => {
            let all = members
                .iter()
                .map(|(name, value)| format!("{name}={}", cell(Some(value))));
            all.collect::<Vec<_>>().join(" ")
        }
    }
}

fn round(number: f64) -> String {
    if number.fract() == 0.0 {
        format!("{number}")
    } else {
        format!("{number:.3}")
    }
}

/// A text without control characters.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Writes a value as JSON again.
fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => {
            let _ = write!(out, "{flag}");
        }
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Text(text) => quote(text, out),
        Value::List(list) => {
            out.push('[');
            for (index, each) in list.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write_json(each, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (name, each)) in members.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                quote(name, out);
                out.push(':');
                write_json(each, out);
            }
            out.push('}');
        }
    }
}

fn quote(text: &str, out: &mut String) {
    let mut bytes = Vec::new();
    crate::base::escape::log_json(&mut bytes, text.as_bytes());
    out.push('"');
    out.push_str(&String::from_utf8_lossy(&bytes));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_hold_no_orders_to_the_terminal() {
        let value = Value::parse(
            br#"[{"peer":"a\u001b[2J","up":true,"n":1},{"peer":"bb","up":false,"n":10.5,"more":[1,2]}]"#,
        )
        .expect("JSON");
        assert_eq!(
            table(&value),
            "peer   up   n       more\na?[2J  yes  1       -\nbb     no   10.500  1/2\n"
        );
        assert_eq!(table(&Value::List(Vec::new())), "none\n");
    }

    #[test]
    fn json_comes_out_as_it_went_in() {
        let text = r#"[{"a":"x\"y","b":[1,2.5,null,true],"c":{}}]"#;
        let mut out = String::new();
        write_json(&Value::parse(text.as_bytes()).expect("JSON"), &mut out);
        assert_eq!(out, text);
    }

    #[test]
    fn times_are_told_as_people_do() {
        for (seconds, want) in [
            (5.9, "5s"),
            (65.0, "1m 5s"),
            (7_320.0, "2h 2m"),
            (200_000.0, "2d 7h"),
        ] {
            assert_eq!(duration(seconds), want);
        }
        for (seconds, want) in [(0.00035, "0.35ms"), (0.012, "12ms"), (1.2, "1.20s")] {
            assert_eq!(latency_text(seconds), want);
        }
    }
}
