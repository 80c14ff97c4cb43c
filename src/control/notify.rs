//! What systemd is told: that the server serves, that it reloads, that it stops (`Type=notify-reload`). Nothing happens
//! where nobody asked to be told. Start at [`Notify`].

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::net::clock;

/// Where systemd wants to be told.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The way to systemd.
#[derive(Debug, Default)]
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// Finds out whether anybody wants to be told.
    #[must_use]
    pub fn from_environment() -> Self {
        let name = std::env::var_os(VARIABLE).unwrap_or_default();
        Self::to(name.as_bytes())
    }

    fn to(name: &[u8]) -> Self {
        let address = match name {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
            [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
            _ => return Self(None),
        };
        let socket = UnixDatagram::unbound();
        Self(socket.ok().zip(address.ok()))
    }

    /// The server serves this configuration.
    pub fn ready(&self, generation: u64) {
        let pid = std::process::id();
        // After a change of the binary this is another process than the one that was started.
        self.tell(&format!(
            "MAINPID={pid}\nREADY=1\nSTATUS=serving configuration {generation}"
        ));
    }

    /// A reload begins, which ends with [`Self::ready`].
    pub fn reloading(&self) {
        let now = clock::monotonic_us();
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading"
        ));
    }

    /// A reload came to nothing: the old configuration is served.
    pub fn kept(&self, generation: u64) {
        self.tell(&format!(
            "READY=1\nSTATUS=serving configuration {generation}; the last reload was refused"
        ));
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing open connections");
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.0 {
            // Whoever does not listen any more need not know.
            socket.send_to_addr(text.as_bytes(), address).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_datagrams() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).expect("socket");
        let notify = Notify::to(path.as_os_str().as_bytes());
        let heard = || {
            let mut bytes = [0; 256];
            let count = systemd.recv(&mut bytes).expect("datagram");
            String::from_utf8_lossy(&bytes[..count]).into_owned()
        };
        notify.ready(3);
        let pid = std::process::id();
        assert_eq!(
            heard(),
            format!("MAINPID={pid}\nREADY=1\nSTATUS=serving configuration 3")
        );
        notify.reloading();
        let text = heard();
        let (_, time) = text.split_once("MONOTONIC_USEC=").expect("a time");
        let time: u64 = time
            .lines()
            .next()
            .expect("a line")
            .parse()
            .expect("a number");
        assert!(time > 0 && time <= clock::monotonic_us());
        // Nobody to tell is no trouble.
        drop(systemd);
        notify.stopping();
        for name in ["", "relative", "@"] {
            Notify::to(name.as_bytes()).stopping();
        }
    }
}
