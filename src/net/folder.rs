//! What is in a directory. Blocks while it looks: call it through [`super::offload`].

use std::io;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, statat};
use rustix::io::Errno;

use super::file::Stat;

/// One name of a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// What a link leads to, or the link itself where that is nothing.
    pub stat: Stat,
}

/// What is in a directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// Everything whose name does not begin with a dot, in no order.
    pub entries: Vec<Entry>,
    /// Names that may not be looked at; the first few.
    pub forbidden: Vec<Vec<u8>>,
}

/// Why a directory could not be read.
#[derive(Debug)]
pub enum Unread {
    /// It cannot be opened.
    Open(io::Error),
    /// It could not be read to its end.
    Read(io::Error),
    /// This name in it could not be looked at.
    Entry(Vec<u8>, io::Error),
    /// It has more names than were asked for.
    TooMany,
}

/// Names whose refusal is remembered.
const FORBIDDEN_MAX: usize = 16;

/// Reads a directory of at most `max` names; of none, it is only tried whether it opens.
pub fn list(path: &[u8], max: usize) -> Result<Listing, Unread> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Unread::Open(e.into()))?;
    let mut listing = Listing::default();
    if max == 0 {
        return Ok(listing);
    }
    let names = Dir::read_from(&fd).map_err(|e| Unread::Read(e.into()))?;
    for entry in names {
        let entry = entry.map_err(|e| Unread::Read(e.into()))?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        let stat = match statat(&fd, name, AtFlags::empty()) {
            // A link that leads nowhere, or a name that has just gone.
            Err(Errno::NOENT | Errno::LOOP) => statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW),
            other => other,
        };
        match stat {
            Ok(stat) => listing.entries.push(Entry {
                name: name.to_bytes().to_vec(),
                stat: Stat::of(&stat),
            }),
            Err(Errno::ACCESS) => {
                if listing.forbidden.len() < FORBIDDEN_MAX {
                    listing.forbidden.push(name.to_bytes().to_vec());
                }
            }
            Err(Errno::NOENT) => {}
            Err(e) => return Err(Unread::Entry(name.to_bytes().to_vec(), e.into())),
        }
        if listing.entries.len() > max {
            return Err(Unread::TooMany);
        }
    }
    Ok(listing)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests may block")]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_with_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), b"12345").unwrap();
        std::fs::write(at(".hidden"), b"").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("broken")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let path = folder.path().as_os_str().as_encoded_bytes();
        let mut found = list(path, 100).unwrap().entries;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<_> = found
            .iter()
            .map(|e| {
                let kind = match &e.stat {
                    s if s.is_dir() => 'd',
                    s if s.is_file() => 'f',
                    s if s.is_symlink() => 'l',
                    _ => '?',
                };
                format!("{}{kind}", String::from_utf8_lossy(&e.name))
            })
            .collect();
        assert_eq!(names, ["brokenl", "filef", "folderd", "linkf", "loopl"]);
        assert_eq!((found[1].stat.len, found[3].stat.len), (5, 5));
        assert!(matches!(list(path, 4), Err(Unread::TooMany)));
        assert_eq!(list(path, 0).unwrap().entries.len(), 0);
        let absent = [path, b"/absent"].concat();
        assert!(matches!(list(&absent, 9), Err(Unread::Open(_))));
        let file = [path, b"/file"].concat();
        assert!(
            matches!(list(&file, 9), Err(Unread::Open(e)) if e.kind() == io::ErrorKind::NotADirectory)
        );
    }
}
