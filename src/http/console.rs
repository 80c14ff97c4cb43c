//! What a shard says to a line that an operator sent to the control socket. Start at [`answer`].
//!
//! A line is a command with its words; other modules' commands are named here and done there.

use std::rc::Rc;

use bytes::Bytes;

use super::content::numbers;
use super::local::{Cx, Generation, Local};
use crate::mail::peers::{Administrative, PeerName, PeerOrder, PeerSetting};
use crate::net::clock;
use crate::observe::recorder::Filter;

/// Whether a line is put to every shard; what they say is joined, in their order. Else to one of them.
#[must_use]
pub fn concerns_all(line: &[u8]) -> bool {
    let command = line.split(u8::is_ascii_whitespace).next();
    matches!(command, Some(b"peer" | b"requests"))
}

/// Answers a line, or says what is wrong with it.
pub async fn answer(
    line: Box<[u8]>,
    generation: Rc<Generation>,
    local: Rc<Local>,
) -> Result<Vec<u8>, String> {
    let cx = Cx::new(&generation, &local);
    let text = String::from_utf8_lossy(&line).into_owned();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        ["status"] => numbers::json(cx).await.map(String::into_bytes),
        ["requests", ref words @ ..] => {
            let filter = Filter::parse(words)?;
            Ok(local
                .recorder
                .read(local.counters.own(), clock::start_us(), &filter))
        }
        ["peer", group, address, ref settings @ ..] if !settings.is_empty() => {
            peer(cx, group, address, settings)
        }
        _ => Err(format!("unknown command \"{text}\"")),
    }
}

/// Sets state and weight of the peers that a group has at an address. Nothing is set unless everything is understood.
fn peer(cx: Cx<'_>, group: &str, address: &str, settings: &[&str]) -> Result<Vec<u8>, String> {
    let wanted = settings.iter().map(|word| setting(word));
    let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
    let name = PeerName {
        group: group.to_owned().into(),
        server: Bytes::new(),
        address: address.to_owned().into(),
    };
    let mut count = 0;
    for setting in wanted {
        let peer = name.clone();
        count = cx.generation.groups.order(&PeerOrder { peer, setting });
    }
    match count {
        0 => Err(format!("no upstream \"{group}\" has a peer \"{address}\"")),
        // One shard speaks for all of them.
        _ if cx.local.counters.own() > 0 => Ok(Vec::new()),
        _ => Ok(format!("{address} of {group}: {}\n", settings.join(" ")).into_bytes()),
    }
}

/// `state=up|down|drain|auto` or `weight=N`.
fn setting(word: &str) -> Result<PeerSetting, String> {
    let number = |text: &str| text.parse().ok().filter(|n| (1..=65_535).contains(n));
    match word.split_once('=') {
        Some(("state", "up")) => Ok(PeerSetting::Administrative(Administrative::Up)),
        Some(("state", "down")) => Ok(PeerSetting::Administrative(Administrative::Down)),
        Some(("state", "drain")) => Ok(PeerSetting::Administrative(Administrative::Drain)),
        Some(("state", "auto")) => Ok(PeerSetting::Configured),
        Some(("weight", text)) => number(text)
            .map(PeerSetting::Weight)
            .ok_or_else(|| format!("\"{text}\" is no weight: write a number from 1 to 65535")),
        _ => Err(format!(
            "\"{word}\" cannot be set: write state=up, state=down, state=drain, state=auto or weight=N"
        )),
    }
}
