//! What is asked of a peer while the program runs: by an administrator, or by who checks its health.
//!
//! A peer is named by texts that outlive a reload and mean the same on every shard. Start at [`PeerOrder`].

use bytes::Bytes;

/// The lasting name of a peer. The same `server` line twice makes two peers of one name: an order reaches both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName {
    /// The group.
    pub group: Bytes,
    /// The text of its `server` line (for SRV records the target's name); empty for any.
    pub server: Bytes,
    /// Its address as `$upstream_addr` prints it; empty for any.
    pub address: Bytes,
}

/// Whether a peer takes requests, as an administrator wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Administrative {
    /// It does.
    #[default]
    Up,
    /// Only those of sessions that belong to it.
    Drain,
    /// It does not. What has begun may end.
    Down,
}

/// What is set on a peer. It lasts over reloads, and over times when the peer's address is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSetting {
    /// In place of `down` and `drain` of its `server` line.
    Administrative(Administrative),
    /// In place of `weight=`; 0 counts as 1.
    Weight(u32),
    /// What the last health check found. Never takes the last usable peer away.
    Healthy(bool),
    /// Forget what an administrator has set.
    Configured,
}

/// A setting for a peer; every shard gets the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOrder {
    /// Whom.
    pub peer: PeerName,
    /// What.
    pub setting: PeerSetting,
}

impl PeerName {
    /// Whether a peer with this `server` text and address is meant. An administrator may write either for the address.
    pub fn fits(&self, server: &[u8], address: &[u8]) -> bool {
        let line = self.server.is_empty() || self.server == server;
        let at = self.address.is_empty() || self.address == address || self.address == server;
        line && at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_by_line_or_address() {
        let name = |server: &'static str, address: &'static str| PeerName {
            group: "g".into(),
            server: server.into(),
            address: address.into(),
        };
        for (server, address, fits) in [
            ("", "", true),
            ("app:80", "", true),
            ("", "10.0.0.1:80", true),
            ("", "app:80", true),
            ("app:80", "10.0.0.1:80", true),
            ("app:81", "10.0.0.1:80", false),
            ("", "10.0.0.2:80", false),
        ] {
            let name = name(server, address);
            assert_eq!(name.fits(b"app:80", b"10.0.0.1:80"), fits, "{name:?}");
        }
    }
}
