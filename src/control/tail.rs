//! `ringx tail`: the last requests of a running server from its flight recorder, and those to come. Start at [`tail`].

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use super::client::{Link, Reach};
use super::journal::cause;
use super::{pause, show};
use crate::base::json::Value;
use crate::base::size;
use crate::observe::recorder::{ANSWER_MAX, Filter, network};

/// How often a server that is followed is asked.
const EVERY: Duration = Duration::from_millis(250);

/// What is asked.
#[derive(Args, Debug)]
pub struct Tail {
    /// Go on with requests as they end.
    #[arg(short, long)]
    follow: bool,
    /// How many requests to begin with.
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// Only requests that took at least so long: 1s, 250ms.
    #[arg(long, value_name = "TIME", value_parser = slow)]
    slow: Option<u64>,
    /// Only answers of this status, class or range: 404, 5xx, 400-499; 0 for requests without an answer.
    #[arg(long, value_parser = status)]
    status: Option<(u16, u16)>,
    /// Only requests of clients in this network.
    #[arg(long, value_name = "CIDR", value_parser = client)]
    client: Option<String>,
    /// Only requests for this host.
    #[arg(long)]
    host: Option<String>,
    /// Only requests that this location served.
    #[arg(long)]
    location: Option<String>,
    /// Write JSON, one object for each request.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

fn slow(text: &str) -> Result<u64, String> {
    let ms = size::parse_msec(text.as_bytes());
    let ms = ms.ok_or("write a time as in a configuration: 1s, 250ms")?;
    Ok(ms.saturating_mul(1000))
}

fn status(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|n| *n < 1000);
    let range = match (text.strip_suffix("xx"), text.split_once('-')) {
        (Some(class), _) => number(class)
            .filter(|class| (1..=9).contains(class))
            .map(|class| (class * 100, class * 100 + 99)),
        (None, Some((from, to))) => number(from).zip(number(to)),
        (None, None) => number(text).map(|n| (n, n)),
    };
    range.ok_or_else(|| "write a status, a class or a range: 404, 5xx, 400-499".to_owned())
}

fn client(text: &str) -> Result<String, String> {
    network(text)
        .map(|(text, _)| text)
        .ok_or_else(|| "write an address or a network: 192.0.2.0/24".to_owned())
}

/// Writes requests to standard output until there are no more, or nobody reads on.
pub fn tail(ask: &Tail) -> Result<(), String> {
    let mut filter = Filter {
        slow_us: ask.slow.unwrap_or(0),
        status: ask.status,
        client: ask.client.as_deref().and_then(network),
        host: ask.host.clone().unwrap_or_default().to_ascii_lowercase(),
        location: ask.location.clone().unwrap_or_default(),
        limit: ask.lines.min(ANSWER_MAX),
        after: Vec::new(),
    };
    let mut link = ask.reach.link()?;
    let mut first = true;
    loop {
        let (heads, mut records) = requests(&mut link, &filter)?;
        if first && ask.lines < records.len() {
            records.drain(..records.len() - ask.lines);
        }
        if !first {
            let missed: f64 = heads.iter().map(|head| head.number("missed")).sum();
            if missed > 0.0 {
                super::say(&format!("ringx: {missed} requests went by too fast\n"));
            }
        }
        let text: String = records
            .iter()
            .map(|(line, value)| match ask.json {
                true => format!("{line}\n"),
                false => describe(value),
            })
            .collect();
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(format!("write() failed {}", cause(&error))),
        }
        drop(out);
        if !ask.follow {
            return Ok(());
        }
        filter.limit = ANSWER_MAX;
        filter.after = heads
            .iter()
            .map(|head| head.number("next") as u64)
            .collect();
        first = false;
        pause(EVERY);
    }
}

/// The heads of the shards' answers, and their records with their lines, oldest first.
type Answer = (Vec<Value>, Vec<(String, Value)>);

fn requests(link: &mut Link, filter: &Filter) -> Result<Answer, String> {
    let bytes = link.want(&format!("requests {}", filter.words()))?;
    let text = String::from_utf8_lossy(&bytes);
    let (mut heads, mut records) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let value = Value::parse(line.as_bytes()).ok_or("the server's answer cannot be read")?;
        match value.get("next") {
            Some(_) => heads.push(value),
            None => records.push((line.to_owned(), value)),
        }
    }
    // Texts of the same form sort as the moments that they tell.
    records.sort_by(|(_, a), (_, b)| a.text("time").cmp(b.text("time")));
    Ok((heads, records))
}

/// One line for a person.
fn describe(record: &Value) -> String {
    let time = record.text("time");
    let time = time.get(11..23).unwrap_or(time);
    let us = |name: &str| show::latency_text(record.number(name) / 1e6);
    let mut steps = Vec::new();
    for (name, key) in [
        ("head", "head_us"),
        ("connect", "connect_us"),
        ("header", "header_us"),
        ("first byte", "first_us"),
    ] {
        if record.number(key) > 0.0 {
            steps.push(format!("{name} {}", us(key)));
        }
    }
    let upstream = match record.text("upstream") {
        "" => String::new(),
        peer => format!(" > {}", show::plain(peer)),
    };
    format!(
        "{time} {} {} {}{}{} {} {}B {}{upstream} ({}; location {}; shard {})\n",
        record.text("client"),
        show::plain(record.text("method")),
        show::plain(record.text("host")),
        show::plain(record.text("target")),
        if record.flag("cut") { "..." } else { "" },
        record.number("status"),
        record.number("sent"),
        us("last_us"),
        steps.join(", "),
        show::plain(record.text("location")),
        record.number("shard"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_written_as_people_do() {
        for (text, want) in [
            ("404", Some((404, 404))),
            ("5xx", Some((500, 599))),
            ("400-404", Some((400, 404))),
            ("0", Some((0, 0))),
            ("xx", None),
            ("0xx", None),
            ("5x", None),
            ("", None),
        ] {
            assert_eq!(status(text).ok(), want, "{text}");
        }
        assert_eq!(slow("1s"), Ok(1_000_000));
        assert_eq!(slow("250ms"), Ok(250_000));
        assert!(slow("fast").is_err());
        assert!(client("10.0.0.0/8").is_ok() && client("ten").is_err());
    }

    #[test]
    fn a_line_tells_the_steps_that_were_taken() {
        let record = Value::parse(
            br#"{"time":"2026-01-02T03:04:05.678Z","shard":1,"client":"192.0.2.7","method":"GET","host":"h","target":"/a\u001b","cut":true,"location":"/","status":200,"sent":7,"upstream":"","head_us":20,"connect_us":0,"header_us":0,"first_us":40,"last_us":1500}"#,
        )
        .expect("JSON");
        assert_eq!(
            describe(&record),
            "03:04:05.678 192.0.2.7 GET h/a?... 200 7B 1.50ms (head 0.02ms, first byte 0.04ms; location /; shard 1)\n"
        );
    }
}
