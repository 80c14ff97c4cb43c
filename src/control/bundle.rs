//! What the parent hands to the worker: everything a configuration needs, so that the worker opens none of its files.
//!
//! Owns the byte form of a bundle and of the short messages around it; descriptors travel beside the bytes, in
//! the order logs, then listeners. Sockets are [`super::wire`]'s. Start at [`Bundle`] and [`Down`], [`Up`].

use std::net::IpAddr;
use std::path::PathBuf;

use super::identity::Identity;

/// Files, names, logs or listeners of one bundle; a bound against nonsense, far above any real configuration.
const ITEMS_MAX: usize = 64 << 10;

/// What reading one file, or listing one pattern, gave the parent; the worker sees the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The file's bytes.
    Bytes(Vec<u8>),
    /// The paths that a pattern matches, sorted.
    Paths(Vec<PathBuf>),
    /// The error number.
    Error(i32),
}

/// Whom the worker becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The user's further groups.
    pub groups: Vec<u32>,
}

/// One listening socket of one shard, without its descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSlot {
    /// The plan's listener.
    pub listener: u32,
    /// The shard that accepts from it.
    pub shard: u32,
}

/// One configuration with all it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Counts the configurations of this parent, from 1.
    pub generation: u64,
    /// Shards to run.
    pub shards: u32,
    /// The name that the program goes by.
    pub identity: Identity,
    /// The main configuration file.
    pub file: PathBuf,
    /// Prefix of relative paths.
    pub prefix: PathBuf,
    /// The log of a configuration that names none.
    pub error_log: PathBuf,
    /// Directives of `-g`.
    pub globals: Option<Vec<u8>>,
    /// What was read, by path or pattern.
    pub files: Vec<(PathBuf, Found)>,
    /// Host names as the parent resolved them.
    pub names: Vec<(Vec<u8>, Vec<IpAddr>)>,
    /// Whom to become, when the parent is root.
    pub credentials: Option<Credentials>,
    /// Log files by path; as many descriptors come first.
    pub logs: Vec<PathBuf>,
    /// Listening sockets; their descriptors come after the logs'.
    pub listeners: Vec<ListenerSlot>,
}

/// Parent to worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// Serve this from now on. Descriptors: logs, then listeners.
    Bundle(Box<Bundle>),
    /// Write to these log files from now on. Descriptors: one for each path.
    Reopen(Vec<PathBuf>),
    /// Finish what is open, then exit.
    Quit,
    /// Exit now.
    Stop,
    /// A line of an operator, with the number that its answer carries.
    Ask(u64, Vec<u8>),
}

/// Worker to parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Up {
    /// All shards serve the generation.
    Accepted(u64),
    /// The generation cannot be served, for this reason; the one before it still is.
    Refused(u64, String),
    /// The last connection of a replaced generation is done.
    Drained(u64),
    /// The answer to a line of an operator, or what is wrong with it.
    Told(u64, Result<Vec<u8>, String>),
}

/// Bytes that are no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Down {
    /// Kind and payload for [`super::wire::Channel::send`].
    #[must_use]
    pub fn encode(&self) -> (u32, Vec<u8>) {
        let mut out = Writer(Vec::new());
        let kind = match self {
            Self::Bundle(bundle) => {
                bundle.write(&mut out);
                1
            }
            Self::Reopen(paths) => {
                out.list(paths, |out, path| out.path(path));
                2
            }
            Self::Quit => 3,
            Self::Stop => 4,
            Self::Ask(ticket, line) => {
                out.u64(*ticket);
                out.bytes(line);
                5
            }
        };
        (kind, out.0)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(kind: u32, payload: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader(payload);
        let message = match kind {
            1 => Self::Bundle(Box::new(Bundle::read(&mut from)?)),
            2 => Self::Reopen(from.list(Reader::path)?),
            3 => Self::Quit,
            4 => Self::Stop,
            5 => Self::Ask(from.u64()?, from.bytes()?.to_vec()),
            _ => return Err(Malformed),
        };
        from.end(message)
    }
}

impl Up {
    /// Kind and payload for [`super::wire::Channel::send`].
    #[must_use]
    pub fn encode(&self) -> (u32, Vec<u8>) {
        let mut out = Writer(Vec::new());
        let (kind, generation) = match self {
            Self::Accepted(generation) => (1, generation),
            Self::Refused(generation, _) => (2, generation),
            Self::Drained(generation) => (3, generation),
            Self::Told(ticket, Ok(_)) => (4, ticket),
            Self::Told(ticket, Err(_)) => (5, ticket),
        };
        out.u64(*generation);
        match self {
            Self::Refused(_, text) | Self::Told(_, Err(text)) => out.bytes(text.as_bytes()),
            Self::Told(_, Ok(bytes)) => out.bytes(bytes),
            Self::Accepted(_) | Self::Drained(_) => {}
        }
        (kind, out.0)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(kind: u32, payload: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader(payload);
        let generation = from.u64()?;
        let message = match kind {
            1 => Self::Accepted(generation),
            2 => Self::Refused(generation, from.text()?),
            3 => Self::Drained(generation),
            4 => Self::Told(generation, Ok(from.bytes()?.to_vec())),
            5 => Self::Told(generation, Err(from.text()?)),
            _ => return Err(Malformed),
        };
        from.end(message)
    }
}

impl Bundle {
    fn write(&self, out: &mut Writer) {
        out.u64(self.generation);
        out.u32(self.shards);
        out.u32(u32::from(self.identity == Identity::Nginx));
        out.path(&self.file);
        out.path(&self.prefix);
        out.path(&self.error_log);
        out.option(self.globals.as_ref(), |out, globals| out.bytes(globals));
        out.list(&self.files, |out, (path, found)| {
            out.path(path);
            match found {
                Found::Bytes(bytes) => {
                    out.u32(0);
                    out.bytes(bytes);
                }
                Found::Paths(paths) => {
                    out.u32(1);
                    out.list(paths, |out, path| out.path(path));
                }
                Found::Error(number) => {
                    out.u32(2);
                    out.u32(number.unsigned_abs());
                }
            }
        });
        out.list(&self.names, |out, (name, addresses)| {
            out.bytes(name);
            out.list(addresses, |out, address| match address {
                IpAddr::V4(v4) => out.bytes(&v4.octets()),
                IpAddr::V6(v6) => out.bytes(&v6.octets()),
            });
        });
        out.option(self.credentials.as_ref(), |out, who| {
            out.u32(who.uid);
            out.u32(who.gid);
            out.list(&who.groups, |out, group| out.u32(*group));
        });
        out.list(&self.logs, |out, path| out.path(path));
        out.list(&self.listeners, |out, slot| {
            out.u32(slot.listener);
            out.u32(slot.shard);
        });
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            generation: from.u64()?,
            shards: from.u32()?,
            identity: if from.u32()? == 0 {
                Identity::Ringx
            } else {
                Identity::Nginx
            },
            file: from.path()?,
            prefix: from.path()?,
            error_log: from.path()?,
            globals: from.option(|from| Ok(from.bytes()?.to_vec()))?,
            files: from.list(|from| Ok((from.path()?, found(from)?)))?,
            names: from.list(|from| Ok((from.bytes()?.to_vec(), from.list(address)?)))?,
            credentials: from.option(|from| {
                Ok(Credentials {
                    uid: from.u32()?,
                    gid: from.u32()?,
                    groups: from.list(Reader::u32)?,
                })
            })?,
            logs: from.list(Reader::path)?,
            listeners: from.list(|from| {
                Ok(ListenerSlot {
                    listener: from.u32()?,
                    shard: from.u32()?,
                })
            })?,
        })
    }
}

fn found(from: &mut Reader<'_>) -> Result<Found, Malformed> {
    match from.u32()? {
        0 => Ok(Found::Bytes(from.bytes()?.to_vec())),
        1 => Ok(Found::Paths(from.list(Reader::path)?)),
        2 => Ok(Found::Error(
            i32::try_from(from.u32()?).map_err(|_| Malformed)?,
        )),
        _ => Err(Malformed),
    }
}

fn address(from: &mut Reader<'_>) -> Result<IpAddr, Malformed> {
    let bytes = from.bytes()?;
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    <[u8; 16]>::try_from(bytes)
        .map(IpAddr::from)
        .map_err(|_| Malformed)
}

/// Little-endian words and length-prefixed bytes.
struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // A payload above the wire's bound is refused there, so a wrapped length never arrives anywhere.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn path(&mut self, path: &std::path::Path) {
        self.bytes(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
        for item in items {
            each(self, item);
        }
    }

    fn option<T>(&mut self, item: Option<&T>, each: impl FnMut(&mut Self, &T)) {
        self.list(item.map_or(&[], std::slice::from_ref), each);
    }
}

/// The other direction; never reads past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?.first_chunk().ok_or(Malformed)?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.first_chunk().ok_or(Malformed)?;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed)
    }

    fn path(&mut self) -> Result<PathBuf, Malformed> {
        let bytes = self.bytes()?;
        Ok(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes).into())
    }

    fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u32()? as usize;
        if count > ITEMS_MAX {
            return Err(Malformed);
        }
        (0..count).map(|_| each(self)).collect()
    }

    fn option<T>(
        &mut self,
        each: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        let mut items = self.list(each)?;
        match items.len() {
            0 | 1 => Ok(items.pop()),
            _ => Err(Malformed),
        }
    }

    fn end<T>(&self, message: T) -> Result<T, Malformed> {
        if self.0.is_empty() {
            Ok(message)
        } else {
            Err(Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Bundle {
        Bundle {
            generation: 3,
            shards: 2,
            identity: Identity::Nginx,
            file: "/etc/nginx/nginx.conf".into(),
            prefix: "/etc/nginx/".into(),
            error_log: "stderr".into(),
            globals: Some(b"daemon off;".to_vec()),
            files: vec![
                (
                    "/etc/nginx/nginx.conf".into(),
                    Found::Bytes(b"events {}\n".to_vec()),
                ),
                (
                    "conf.d/*.conf".into(),
                    Found::Paths(vec!["conf.d/a.conf".into(), "conf.d/b.conf".into()]),
                ),
                ("/missing".into(), Found::Error(2)),
            ],
            names: vec![(
                b"localhost".to_vec(),
                vec![[127, 0, 0, 1].into(), [0u8; 16].into()],
            )],
            credentials: Some(Credentials {
                uid: 33,
                gid: 33,
                groups: vec![33, 4],
            }),
            logs: vec!["/var/log/nginx/access.log".into()],
            listeners: vec![ListenerSlot {
                listener: 4,
                shard: 1,
            }],
        }
    }

    #[test]
    fn every_message_survives_the_way() {
        let bare = Bundle {
            globals: None,
            credentials: None,
            files: vec![],
            identity: Identity::Ringx,
            ..sample()
        };
        for message in [
            Down::Bundle(Box::new(sample())),
            Down::Bundle(Box::new(bare)),
            Down::Reopen(vec!["/a".into(), "/b".into()]),
            Down::Quit,
            Down::Stop,
        ] {
            let (kind, payload) = message.encode();
            assert_eq!(Down::decode(kind, &payload), Ok(message));
        }
        for message in [
            Up::Accepted(1),
            Up::Refused(u64::MAX, "no".to_owned()),
            Up::Drained(7),
        ] {
            let (kind, payload) = message.encode();
            assert_eq!(Up::decode(kind, &payload), Ok(message));
        }
    }

    #[test]
    fn cut_or_prolonged_bytes_are_malformed() {
        let (kind, mut payload) = Down::Bundle(Box::new(sample())).encode();
        for end in 0..payload.len() {
            assert_eq!(
                Down::decode(kind, &payload[..end]),
                Err(Malformed),
                "cut at {end}"
            );
        }
        payload.push(0);
        assert_eq!(Down::decode(kind, &payload), Err(Malformed));
        assert_eq!(Down::decode(99, &[]), Err(Malformed));
        assert_eq!(Up::decode(99, &[0; 8]), Err(Malformed));
    }
}
