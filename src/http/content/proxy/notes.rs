//! What an application says on stderr goes to the error log, and may spoil its answer (`fastcgi_catch_stderr`).

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::log::{self, Text};
use super::Failure;
use crate::plan::location::FastCgiPlan;
use crate::plan::model::LogLevel;
use crate::proto::fastcgi::Notes;
use crate::upstream::origin::{Fault, Origin};
use crate::upstream::trouble::Action;

/// Bytes of one text that are shown, so that the line has room for its context.
const SHOWN_MAX: usize = 1748;

/// Logs what came before the head or with it. An error when a text is among it that the location does not want.
pub(super) fn judge(
    ex: &mut Exchange,
    cx: Cx<'_>,
    wire: &FastCgiPlan,
    origin: &mut Origin,
) -> Result<(), Failure> {
    let Some(notes) = origin.inbound.take_notes() else {
        return Ok(());
    };
    write(ex, cx, &notes, Action::ReadingHead);
    let unwanted = |text: &Vec<u8>| {
        let found = |pattern| memchr::memmem::find(text, pattern).is_some();
        wire.catch_stderr.iter().any(|pattern| found(&pattern[..]))
    };
    match notes.texts.iter().any(unwanted) {
        true => Err(Failure::Peer(Fault::Refused, Action::ReadingHead)),
        false => Ok(()),
    }
}

/// Logs what came since it was last asked for; costs one test where nothing did.
#[inline]
pub fn tell(ex: &Exchange, cx: Cx<'_>, origin: &mut Origin) {
    if let Some(notes) = origin.inbound.take_notes() {
        let answered = ex.attempts.last().is_some_and(|a| a.header_ms.is_some());
        let action = match answered {
            true => Action::ReadingBody,
            false => Action::ReadingHead,
        };
        write(ex, cx, &notes, action);
    }
}

/// Differs from nginx: line ends inside a text are escaped, so that an application cannot write log lines.
#[cold]
fn write(ex: &Exchange, cx: Cx<'_>, notes: &Notes, action: Action) {
    let action = action.words();
    for text in &notes.texts {
        let text = &text[..text.len().min(SHOWN_MAX)];
        let text = format_args!("FastCGI sent in stderr: \"{}\" while {action}", Text(text));
        log::error(ex, cx, LogLevel::Error, text);
    }
    if notes.dropped > 0 {
        let text = format_args!(
            "FastCGI sent {} bytes more in stderr than there was room for while {action}",
            notes.dropped
        );
        log::error(ex, cx, LogLevel::Error, text);
    }
}
