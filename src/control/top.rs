//! `ringx top`: a running server in a terminal, once a second. Start at [`top`].
//!
//! Everything shown comes from the one document that `status` serves; rates are differences between two readings of it.

use std::io;
use std::time::Duration;

use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};

use super::client::{Link, Reach};
use super::journal::cause;
use super::{pause, show};
use crate::base::json::Value;
use crate::net::clock;

/// The size of a frame that goes to no terminal.
const SIZE: (u16, u16) = (110, 50);

/// What is asked.
#[derive(Args, Debug)]
pub struct Top {
    /// Print one frame as text and end.
    #[arg(long)]
    once: bool,
    /// Seconds between two readings.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    #[command(flatten)]
    reach: Reach,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|s| (0.1..=3600.0).contains(s));
    seconds.ok_or_else(|| "write seconds, from 0.1 to 3600".to_owned())
}

/// By what tables are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// As the server tells them.
    Name,
    /// Most requests a second first.
    Rate,
    /// Most failures a second first.
    Failures,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Failures,
            Self::Failures => Self::Name,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "requests",
            Self::Failures => "failures",
        }
    }
}

/// One reading of the server's numbers.
struct Sample {
    at_us: u64,
    status: Value,
}

impl Sample {
    fn take(link: &mut Link) -> Result<Self, String> {
        let status = link.status()?;
        Ok(Self {
            at_us: clock::micros(),
            status,
        })
    }
}

/// What a frame shows.
struct View {
    before: Sample,
    now: Sample,
    sort: Sort,
    paused: bool,
    fault: Option<String>,
}

/// Shows the server until the operator has seen enough.
pub fn top(ask: &Top) -> Result<Vec<u8>, String> {
    let mut link = ask.reach.link()?;
    let every = Duration::from_secs_f64(ask.interval);
    let before = Sample::take(&mut link)?;
    if ask.once {
        pause(every);
    }
    let now = Sample::take(&mut link)?;
    let mut view = View {
        before,
        now,
        sort: Sort::Name,
        paused: false,
        fault: None,
    };
    if ask.once {
        return once(&view).map(String::into_bytes);
    }
    let failed = |error: io::Error| format!("the terminal cannot be used {}", cause(&error));
    let mut screen = ratatui::try_init().map_err(failed)?;
    let result = run(&mut screen, &mut view, link, ask, every);
    ratatui::restore();
    result.map_err(failed).map(|()| Vec::new())
}

fn run(
    screen: &mut ratatui::DefaultTerminal,
    view: &mut View,
    mut link: Link,
    ask: &Top,
    every: Duration,
) -> io::Result<()> {
    let mut due = clock::mono().after(every);
    loop {
        screen.draw(|frame| draw(frame, view))?;
        while !event::poll(due.since(clock::mono()))? {
            due = clock::mono().after(every);
            if view.paused {
                continue;
            }
            match Sample::take(&mut link) {
                Ok(sample) => {
                    view.before = std::mem::replace(&mut view.now, sample);
                    view.fault = None;
                }
                Err(fault) => {
                    view.fault = Some(fault);
                    // The server may have been replaced by another.
                    if let Ok(new) = ask.reach.link() {
                        link = new;
                    }
                }
            }
            screen.draw(|frame| draw(frame, view))?;
        }
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c') if control => return Ok(()),
                KeyCode::Char('s') => view.sort = view.sort.next(),
                KeyCode::Char('p' | ' ') => view.paused = !view.paused,
                _ => {}
            }
        }
    }
}

/// A frame as text.
fn once(view: &View) -> Result<String, String> {
    let (width, height) = terminal::size().unwrap_or(SIZE);
    let backend = TestBackend::new(width.max(SIZE.0), height.max(SIZE.1));
    let mut screen = Terminal::new(backend).map_err(|error| error.to_string())?;
    screen
        .draw(|frame| draw(frame, view))
        .map_err(|error| error.to_string())?;
    let buffer = screen.backend().buffer();
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let line: String = (0..buffer.area.width)
            .map(|x| buffer.cell((x, y)).map_or(" ", |cell| cell.symbol()))
            .collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    Ok(out)
}

/// A row of a table, with what it may be sorted by.
struct Entry {
    cells: Vec<String>,
    rate: f64,
    failures: f64,
    bad: bool,
}

impl View {
    /// By how much a number grew each second.
    fn rate(&self, now: f64, before: f64) -> f64 {
        let seconds = (self.now.at_us.saturating_sub(self.before.at_us)) as f64 / 1e6;
        // A server that was started anew counts from nothing.
        (now - before).max(0.0) / seconds.max(0.001)
    }

    fn sorted(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        match self.sort {
            Sort::Name => {}
            Sort::Rate => entries.sort_by(|a, b| b.rate.total_cmp(&a.rate)),
            Sort::Failures => entries.sort_by(|a, b| b.failures.total_cmp(&a.failures)),
        }
        entries
    }

    /// The same entry of a list in the reading before.
    fn was(&self, list: &str, keys: [&str; 2], entry: &Value) -> Option<&Value> {
        let same = |other: &&Value| keys.iter().all(|key| other.text(key) == entry.text(key));
        self.before.status.get(list)?.list().iter().find(same)
    }

    fn list(&self, name: &str) -> &[Value] {
        self.now.status.get(name).map_or(&[], Value::list)
    }

    fn classes(&self) -> [f64; 6] {
        let sums = |status: &Value| {
            let mut sums = [0.0; 6];
            for location in status.get("locations").map_or(&[][..], Value::list) {
                for (sum, class) in sums.iter_mut().zip(0..) {
                    *sum += class_of(location, class);
                }
            }
            sums
        };
        let (now, before) = (sums(&self.now.status), sums(&self.before.status));
        std::array::from_fn(|class| self.rate(now[class], before[class]))
    }

    fn locations(&self) -> Vec<Entry> {
        let each = |location: &Value| {
            let keys = ["server", "location"];
            let none = Value::Null;
            let was = self.was("locations", keys, location).unwrap_or(&none);
            let by = |name: &str| self.rate(location.number(name), was.number(name));
            let failures = self.rate(class_of(location, 5), class_of(was, 5));
            let (rate, busy) = (by("requests"), by("seconds"));
            Entry {
                cells: vec![
                    show::plain(location.text("server")),
                    show::plain(location.text("location")),
                    per_second(rate),
                    per_second(failures),
                    mean(busy, rate),
                    bytes(by("received")),
                    bytes(by("sent")),
                    format!("{}", location.number("requests")),
                ],
                rate,
                failures,
                bad: failures > 0.0,
            }
        };
        self.sorted(self.list("locations").iter().map(each).collect())
    }

    fn peers(&self) -> Vec<Entry> {
        let each = |peer: &Value| {
            let keys = ["upstream", "peer"];
            let none = Value::Null;
            let was = self.was("upstreams", keys, peer).unwrap_or(&none);
            let by = |name: &str| self.rate(peer.number(name), was.number(name));
            let bad_of = |peer: &Value| class_of(peer, 0) + class_of(peer, 5);
            let failures = self.rate(bad_of(peer), bad_of(was));
            let (rate, busy) = (by("attempts"), by("response_seconds"));
            let up = peer.flag("up");
            Entry {
                cells: vec![
                    show::plain(peer.text("upstream")),
                    show::plain(peer.text("peer")),
                    match (up, peer.flag("backup")) {
                        (true, true) => "backup".to_owned(),
                        _ => show::plain(peer.text("state")),
                    },
                    format!("{}", peer.number("weight")),
                    format!("{}", peer.number("active")),
                    per_second(rate),
                    per_second(failures),
                    mean(busy, rate),
                ],
                rate,
                failures,
                bad: !up || failures > 0.0,
            }
        };
        self.sorted(self.list("upstreams").iter().map(each).collect())
    }

    fn shards(&self) -> Vec<Entry> {
        let none = Value::Null;
        let before = self
            .before
            .status
            .get("shards")
            .map_or(&[][..], Value::list);
        let shards = self.list("shards").iter().enumerate();
        let rates: Vec<f64> = shards
            .map(|(index, shard)| {
                let was = before.get(index).unwrap_or(&none);
                self.rate(shard.number("requests"), was.number("requests"))
            })
            .collect();
        let most = rates.iter().copied().fold(1.0, f64::max);
        let shards = self.list("shards").iter().zip(rates).enumerate();
        shards
            .map(|(index, (shard, rate))| Entry {
                cells: vec![
                    format!("{index}"),
                    per_second(rate),
                    format!("{}", shard.number("active")),
                    "#".repeat((rate / most * 30.0).round() as usize),
                ],
                rate,
                failures: 0.0,
                bad: false,
            })
            .collect()
    }

    /// What has no columns of its own here: each member of each entry with its name.
    fn others(&self, name: &str) -> Vec<String> {
        let list = self.list(name).iter();
        let text = |entry: &Value| {
            let members = entry
                .members()
                .iter()
                .filter_map(|(name, value)| match value {
                    Value::Text(text) => Some(show::plain(text)),
                    Value::Number(number) => Some(format!("{name} {}", short(*number))),
                    Value::Object(counts) => Some(format!("{name} {}", some_of(counts))),
                    _ => None,
                });
            members.collect::<Vec<_>>().join("  ")
        };
        list.map(text).collect()
    }

    fn head(&self) -> Vec<Line<'static>> {
        let status = &self.now.status;
        let none = Value::Null;
        let part = |name: &str| status.get(name).unwrap_or(&none);
        let (connections, latency) = (part("connections"), part("latency_seconds"));
        let was = self.before.status.get("connections").unwrap_or(&none);
        let by = |name: &str| self.rate(connections.number(name), was.number(name));
        let at = |name: &str| show::latency_text(latency.number(name));
        let classes = self.classes();
        let paused = if self.paused { "  PAUSED" } else { "" };
        let title = format!(
            "ringx {} on {}  configuration {}  up {}{paused}",
            status.text("version"),
            status.text("driver"),
            status.number("generation"),
            show::duration(status.number("uptime_seconds")),
        );
        let mut lines = vec![
            Line::styled(title, Style::new().add_modifier(Modifier::BOLD)),
            Line::from(format!(
                "requests/s {}  connections {} ({} reading, {} writing, {} waiting), {}/s new",
                per_second(by("requests")),
                connections.number("active"),
                connections.number("reading"),
                connections.number("writing"),
                connections.number("waiting"),
                per_second(by("accepted")),
            )),
            Line::from(format!(
                "latency p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                at("p50"),
                at("p90"),
                at("p99"),
                at("p999"),
                at("max")
            )),
            Line::from(format!(
                "answers/s 1xx {}  2xx {}  3xx {}  4xx {}  5xx {}  none {}",
                per_second(classes[1]),
                per_second(classes[2]),
                per_second(classes[3]),
                per_second(classes[4]),
                per_second(classes[5]),
                per_second(classes[0]),
            )),
        ];
        if let Some(fault) = &self.fault {
            lines.push(Line::styled(fault.clone(), Style::new().fg(Color::Red)));
        }
        lines
    }
}

fn class_of(entry: &Value, class: usize) -> f64 {
    match entry
        .get("responses")
        .map(Value::list)
        .and_then(|list| list.get(class))
    {
        Some(Value::Number(number)) => *number,
        _ => 0.0,
    }
}

fn per_second(rate: f64) -> String {
    if rate >= 100.0 || rate == 0.0 {
        format!("{rate:.0}")
    } else {
        format!("{rate:.1}")
    }
}

/// The counts that are not 0.
fn some_of(counts: &[(String, Value)]) -> String {
    let some = counts.iter().filter_map(|(name, count)| match count {
        Value::Number(count) if *count > 0.0 => Some(format!("{name}={count}")),
        _ => None,
    });
    some.collect::<Vec<_>>().join(" ")
}

fn mean(seconds: f64, rate: f64) -> String {
    match rate > 0.0 {
        true => show::latency_text(seconds / rate),
        false => "-".to_owned(),
    }
}

fn short(number: f64) -> String {
    if number.fract() == 0.0 {
        format!("{number}")
    } else {
        format!("{number:.3}")
    }
}

fn bytes(rate: f64) -> String {
    let (mut rate, mut unit) = (rate, 0);
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    while rate >= 10_000.0 && unit + 1 < UNITS.len() {
        rate /= 1024.0;
        unit += 1;
    }
    format!("{rate:.0}{}", UNITS[unit])
}

/// A section of the screen.
struct Section {
    head: Vec<&'static str>,
    widths: Vec<Constraint>,
    entries: Vec<Entry>,
}

fn draw(frame: &mut ratatui::Frame<'_>, view: &View) {
    use Constraint::{Fill, Length};
    let head = view.head();
    let sections = [
        Section {
            head: vec!["SHARD", "REQ/S", "CONNS", "LOAD"],
            widths: vec![Length(6), Length(9), Length(9), Fill(1)],
            entries: view.shards(),
        },
        Section {
            head: vec![
                "SERVER", "LOCATION", "REQ/S", "5XX/S", "TIME", "IN/S", "OUT/S", "TOTAL",
            ],
            widths: vec![
                Fill(2),
                Fill(2),
                Length(9),
                Length(8),
                Length(9),
                Length(8),
                Length(8),
                Length(12),
            ],
            entries: view.locations(),
        },
        Section {
            head: vec![
                "UPSTREAM", "PEER", "STATE", "WEIGHT", "ACTIVE", "REQ/S", "FAIL/S", "TIME",
            ],
            widths: vec![
                Fill(1),
                Fill(2),
                Length(8),
                Length(7),
                Length(7),
                Length(9),
                Length(8),
                Length(9),
            ],
            entries: view.peers(),
        },
    ];
    let mut more: Vec<Line<'static>> = Vec::new();
    for (title, name) in [("CACHE", "caches"), ("LIMITS", "limits")] {
        let lines = view.others(name);
        if !lines.is_empty() {
            more.push(heading(title));
            more.extend(lines.into_iter().map(Line::from));
        }
    }
    let long = |count: usize| Length(u16::try_from(count).unwrap_or(u16::MAX));
    let mut constraints = vec![long(head.len() + 1)];
    // Long tables share what is left on the screen.
    constraints.extend(sections.iter().map(|section| match section.entries.len() {
        0 => Length(0),
        count => Constraint::Max(u16::try_from(count + 2).unwrap_or(u16::MAX)),
    }));
    constraints.extend([long(more.len()), Fill(1), Length(1)]);
    let areas = Layout::vertical(constraints).split(frame.area());
    frame.render_widget(Paragraph::new(head), areas[0]);
    for (section, area) in sections.into_iter().zip(&areas[1..4]) {
        table(frame, section, *area);
    }
    frame.render_widget(Paragraph::new(more), areas[4]);
    let keys = format!("q quit  s sort ({})  p pause", view.sort.word());
    frame.render_widget(Paragraph::new(heading(&keys)), areas[6]);
}

fn heading(text: &str) -> Line<'static> {
    Line::styled(text.to_owned(), Style::new().fg(Color::Cyan))
}

fn table(frame: &mut ratatui::Frame<'_>, section: Section, area: Rect) {
    let rows = section.entries.into_iter().map(|entry| {
        let style = if entry.bad {
            Style::new().fg(Color::Red)
        } else {
            Style::new()
        };
        Row::new(entry.cells).style(style)
    });
    let head = Row::new(section.head).style(Style::new().fg(Color::Cyan));
    frame.render_widget(Table::new(rows, section.widths).header(head), area);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_us: u64, requests: u64) -> Sample {
        let text = format!(
            r#"{{"version":"1","driver":"epoll","generation":2,"uptime_seconds":65,
            "connections":{{"active":3,"requests":{requests}}},
            "shards":[{{"requests":{requests},"active":3}},{{"requests":0,"active":0}}],
            "latency_seconds":{{"p50":0.001}},
            "locations":[{{"server":"a","location":"/","requests":{requests},"responses":[0,0,{requests},0,0,0]}},
                {{"server":"b","location":"/x","requests":0,"responses":[0,0,0,0,0,{requests}]}}],
            "upstreams":[{{"upstream":"app","peer":"127.0.0.1:1","up":false,"state":"down","active":0,"weight":1}}],
            "caches":[{{"zone":"one","entries":7,"requests":{{"hit":2,"miss":0}}}}]}}"#
        );
        Sample {
            at_us,
            status: Value::parse(text.as_bytes()).expect("JSON"),
        }
    }

    fn view(sort: Sort) -> View {
        View {
            before: sample(0, 100),
            now: sample(2_000_000, 500),
            sort,
            paused: false,
            fault: None,
        }
    }

    #[test]
    fn a_frame_shows_rates_and_states() {
        let text = once(&view(Sort::Name)).expect("frame");
        for want in [
            "ringx 1 on epoll  configuration 2  up 1m 5s",
            "requests/s 200  connections 3",
            "p50 1.00ms",
            "2xx 200  3xx 0  4xx 0  5xx 200",
            "down",
            "one  entries 7  requests hit=2",
            "q quit  s sort (name)  p pause",
        ] {
            assert!(text.contains(want), "{want} in\n{text}");
        }
        let bar = text
            .lines()
            .find(|line| line.contains("###"))
            .expect("a bar");
        assert!(bar.starts_with("0 "), "{bar}");
    }

    #[test]
    fn tables_are_sorted_as_asked() {
        let first = |sort| view(sort).locations()[0].cells[0].clone();
        assert_eq!(first(Sort::Name), "a");
        assert_eq!(first(Sort::Rate), "a");
        assert_eq!(first(Sort::Failures), "b");
        assert_eq!(Sort::Name.next().next().next(), Sort::Name);
    }
}
