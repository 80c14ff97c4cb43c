//! What is counted of sessions of `stream {}`: by the address that they came in at. Cells of a shard's sheet have one
//! writer, as all of [`super::tally`]. Start at [`Counted`].

use std::sync::atomic::{AtomicU64, Ordering};

use super::counters::add;
use super::tally::Sheet;
use crate::plan::location::Content;
use crate::plan::{ListenAddr, ListenerId, Plan};

/// The statuses that sessions end with, as labels have them; the last one is for those that a defect of this program
/// ended.
pub const STATUSES: [&str; 7] = ["200", "400", "403", "500", "502", "503", "none"];

/// Sessions that began, those that ended by status, bytes from and to clients, and attempts that found no backend.
pub(super) const SESSION_CELLS: usize = 1 + STATUSES.len() + 3;

/// The first cell behind the statuses.
const BEHIND: usize = 1 + STATUSES.len();

/// Sums of one listener or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSums(pub(super) [u64; SESSION_CELLS]);

impl SessionSums {
    /// Sessions that ended with the status of this place in [`STATUSES`].
    #[must_use]
    pub fn ended(&self, status: usize) -> u64 {
        self.0[1 + status]
    }

    /// Sessions in progress. Read while others count: what ends meanwhile may have begun unseen.
    #[must_use]
    pub fn active(&self) -> u64 {
        let ended: u64 = self.0[1..BEHIND].iter().sum();
        self.0[0].saturating_sub(ended)
    }

    /// Bytes that came from clients.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0[BEHIND]
    }

    /// Bytes that went to clients.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0[BEHIND + 1]
    }

    /// Attempts that came to no connection to a backend.
    #[must_use]
    pub fn unconnected(&self) -> u64 {
        self.0[BEHIND + 2]
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    /// Its status.
    pub status: u16,
    /// Bytes that came from the client.
    pub received: u64,
    /// Bytes that went to it.
    pub sent: u64,
    /// Attempts that came to no connection to a backend.
    pub unconnected: u64,
}

/// A session that is counted as being in progress until this is gone.
pub struct Counted<'a> {
    sheet: &'a Sheet,
    listener: ListenerId,
    ended: bool,
}

impl<'a> Counted<'a> {
    /// Counts a session that begins.
    #[must_use]
    pub fn begin(sheet: &'a Sheet, listener: ListenerId) -> Self {
        add(&sheet.sessions(listener)[0], 1);
        Self {
            sheet,
            listener,
            ended: false,
        }
    }

    /// Counts its end.
    pub fn end(mut self, ended: &Ended) {
        self.ended = true;
        let cells = self.sheet.sessions(self.listener);
        let status = ended.status.to_string();
        let place = STATUSES.iter().position(|known| *known == status);
        add(&cells[1 + place.unwrap_or(STATUSES.len() - 1)], 1);
        add(&cells[BEHIND], ended.received);
        add(&cells[BEHIND + 1], ended.sent);
        add(&cells[BEHIND + 2], ended.unconnected);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            add(&self.sheet.sessions(self.listener)[STATUSES.len()], 1);
        }
    }
}

/// The listeners of `stream {}` with their names and cells.
pub(super) fn rows<'a>(
    plan: &'a Plan,
    cells: &'a [AtomicU64],
) -> impl Iterator<Item = (String, [u64; SESSION_CELLS])> + 'a {
    let each = plan.listeners.iter().zip(cells.chunks_exact(SESSION_CELLS));
    each.filter_map(|(listener, row)| {
        let (_, address) = listener.hosts.first()?;
        let root = plan.servers[address.names.default_server()].root;
        if !matches!(plan.locations[root].content, Content::Session(_)) {
            return None;
        }
        let name = match &listener.addr {
            ListenAddr::Tcp(at) => at.to_string(),
            ListenAddr::Unix(path) => format!("unix:{}", path.display()),
        };
        let mut sums = [0; SESSION_CELLS];
        for (sum, cell) in sums.iter_mut().zip(row) {
            *sum = cell.load(Ordering::Relaxed);
        }
        Some((name, sums))
    })
}
