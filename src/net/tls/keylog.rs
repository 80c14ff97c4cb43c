//! The secrets of connections, for those who look into what they recorded (`ssl_key_log`): lines in the format of NSS. Where
//! they go is said when the shards start; before that, and in a parent that only looks whether all is right, they go nowhere.

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

use rustls::KeyLog;

/// Takes whole lines, without waiting.
type Sink = Box<dyn Fn(Vec<u8>) + Send + Sync>;

/// Where the secrets of one block of settings go.
#[derive(Default)]
pub struct KeyLines(OnceLock<Sink>);

impl fmt::Debug for KeyLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLines")
    }
}

impl KeyLines {
    /// Says where lines go; only the first word counts.
    pub fn connect(&self, sink: impl Fn(Vec<u8>) + Send + Sync + 'static) {
        // It is told once for each configuration.
        let _ = self.0.set(Box::new(sink));
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        // Writing to a Vec cannot fail.
        drop(write!(out, "{byte:02x}"));
    }
}

impl KeyLog for KeyLines {
    fn log(&self, label: &str, random: &[u8], secret: &[u8]) {
        let Some(sink) = self.0.get() else { return };
        let mut line = Vec::with_capacity(label.len() + 2 * (random.len() + secret.len()) + 3);
        line.extend_from_slice(label.as_bytes());
        line.push(b' ');
        hex(random, &mut line);
        line.push(b' ');
        hex(secret, &mut line);
        line.push(b'\n');
        sink(line);
    }

    fn will_log(&self, _: &str) -> bool {
        self.0.get().is_some()
    }
}
