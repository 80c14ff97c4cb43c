//! What is done to stored files and their directories as a whole: made, renamed, removed, looked through. All of it waits
//! for a disk: call it through [`super::offload`]. Start at [`create`].

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::file::{self, Stat};

/// A new file of this name, which its maker alone may read, with as many directories above it as are missing, at most
/// `depth`. It is locked as long as it is open, so that [`remove_abandoned`] can tell it from what a crash left behind.
pub fn create(path: &[u8], depth: usize) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    loop {
        let fd = match open() {
            Err(Errno::NOENT) if depth > 0 => {
                file::make_folders(path, depth)?;
                open()?
            }
            other => other?,
        };
        // Where there are no locks, nothing is told apart either. Who holds it now takes the file for abandoned, and will
        // have removed it when the lock is ours.
        let _ = rustix::fs::flock(&fd, FlockOperation::LockExclusive);
        if rustix::fs::fstat(&fd)?.st_nlink > 0 {
            return Ok(fd);
        }
    }
}

/// Removes an unfinished file unless somebody is at work on it; whether it did.
pub fn remove_abandoned(path: &[u8]) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            rustix::fs::unlink(path)?;
            Ok(true)
        }
        Err(Errno::AGAIN) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Gives a file another name, in place of what has that name; directories are made as by [`create`]. Between two file
/// systems it is copied.
pub fn rename(from: &[u8], to: &[u8], depth: usize) -> io::Result<()> {
    let result = match rustix::fs::rename(from, to) {
        Err(Errno::NOENT) if depth > 0 => {
            file::make_folders(to, depth)?;
            rustix::fs::rename(from, to)
        }
        other => other,
    };
    match result {
        Err(Errno::XDEV) => {
            let beside = [to, b".copy"].concat();
            let copied = copy(from, &beside, depth).and_then(|()| {
                rustix::fs::rename(&beside[..], to)?;
                Ok(())
            });
            if copied.is_err() {
                let _ = rustix::fs::unlink(&beside[..]);
            }
            copied?;
            Ok(rustix::fs::unlink(from)?)
        }
        other => Ok(other?),
    }
}

fn copy(from: &[u8], to: &[u8], depth: usize) -> io::Result<()> {
    // What a crash may have left.
    let _ = rustix::fs::unlink(to);
    let target = create(to, depth)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let source = rustix::fs::open(from, flags, Mode::empty())?;
    append(&source, 0, &target)
}

/// Copies a file from `offset` to its end behind what another one has.
pub fn append(from: &OwnedFd, offset: u64, to: &OwnedFd) -> io::Result<()> {
    let mut buf = vec![0; 256 << 10];
    let mut read = offset;
    let mut written = rustix::fs::fstat(to)?.st_size as u64;
    loop {
        let n = match rustix::io::pread(from, &mut buf[..], read) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if n == 0 {
            return Ok(());
        }
        write_all_at(to, &buf[..n], written)?;
        read += n as u64;
        written += n as u64;
    }
}

/// Writes all bytes at `offset`.
pub fn write_all_at(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Takes a file's name away. One that is not there is no error.
pub fn remove(path: &[u8]) -> io::Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Opens a file, to be changed too if `write`; links are not followed at its end.
pub fn open(path: &[u8], write: bool) -> io::Result<OwnedFd> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// What is known of an open file.
pub fn stat(fd: &OwnedFd) -> io::Result<Stat> {
    Ok(Stat::of(&rustix::fs::fstat(fd)?))
}

/// Appends what is at `offset` to the buffer, at most `max` bytes, fewer only at the end of the file.
pub fn read_at(fd: &OwnedFd, buf: &mut Vec<u8>, offset: u64, max: usize) -> io::Result<()> {
    let begin = buf.len();
    buf.resize(begin + max, 0);
    let mut done = 0;
    let result = loop {
        match rustix::io::pread(fd, &mut buf[begin + done..], offset + done as u64) {
            Ok(0) => break Ok(()),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(e) => break Err(e.into()),
        }
        if done == max {
            break Ok(());
        }
    };
    buf.truncate(begin + done);
    result
}

/// Bytes that somebody without privileges may still write to the file system of a path.
pub fn free_bytes(path: &[u8]) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// What one name of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Folder,
    /// A regular file.
    File,
    /// Anything else.
    Other,
}

/// A directory that is read name by name.
pub struct Folder {
    fd: OwnedFd,
    names: Dir,
}

impl Folder {
    /// Opens one.
    pub fn open(path: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let names = Dir::read_from(&fd)?;
        Ok(Self { fd, names })
    }

    /// The next name, `.` and `..` left out.
    pub fn next_name(&mut self) -> Option<io::Result<(Vec<u8>, Kind)>> {
        loop {
            let entry = match self.names.next()? {
                Ok(entry) => entry,
                Err(e) => return Some(Err(e.into())),
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                rustix::fs::FileType::Unknown => {
                    let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
                    match stat.map(|stat| Stat::of(&stat)) {
                        Ok(stat) if stat.is_dir() => Kind::Folder,
                        Ok(stat) if stat.is_file() => Kind::File,
                        _ => Kind::Other,
                    }
                }
                rustix::fs::FileType::Directory => Kind::Folder,
                rustix::fs::FileType::RegularFile => Kind::File,
                _ => Kind::Other,
            };
            return Some(Ok((name.to_vec(), kind)));
        }
    }

    /// Opens a file of this directory for reading; a link is refused.
    pub fn open_file(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests may block")]
mod tests {
    use super::*;

    fn bytes(path: &std::path::Path) -> Vec<u8> {
        path.as_os_str().as_encoded_bytes().to_vec()
    }

    #[test]
    fn files_get_their_folders_and_take_the_place_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| bytes(&folder.path().join(name));
        let fd = create(&at("a/b/one"), 2).unwrap();
        write_all_at(&fd, b"12345", 0).unwrap();
        assert!(create(&at("c/d/e/one"), 2).is_err());
        assert!(create(&at("a/b/one"), 2).is_err());
        std::fs::write(folder.path().join("other"), b"old").unwrap();
        rename(&at("a/b/one"), &at("other"), 0).unwrap();
        assert_eq!(
            std::fs::read(folder.path().join("other")).unwrap(),
            b"12345"
        );
        rename(&at("other"), &at("x/y/z"), 2).unwrap();
        let mut got = Vec::new();
        read_at(&open(&at("x/y/z"), false).unwrap(), &mut got, 1, 100).unwrap();
        assert_eq!(got, b"2345");
        let other = create(&at("more"), 0).unwrap();
        write_all_at(&other, b"head", 0).unwrap();
        append(&fd, 3, &other).unwrap();
        assert_eq!(stat(&other).unwrap().len, 6);
        remove(&at("more")).unwrap();
        remove(&at("more")).unwrap();
        assert!(free_bytes(&at("x")).unwrap() > 0);
    }

    #[test]
    fn only_what_nobody_writes_is_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let path = bytes(&folder.path().join("one"));
        let fd = create(&path, 0).unwrap();
        assert!(!remove_abandoned(&path).unwrap());
        drop(fd);
        assert!(remove_abandoned(&path).unwrap());
        assert!(remove_abandoned(&path).is_err());
    }

    #[test]
    fn folders_are_read_name_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".hidden"), b"").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        let mut reading = Folder::open(&bytes(folder.path())).unwrap();
        let mut found = Vec::new();
        while let Some(name) = reading.next_name() {
            found.push(name.unwrap());
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let want = [
            (b".hidden".to_vec(), Kind::File),
            (b"folder".to_vec(), Kind::Folder),
            (b"link".to_vec(), Kind::Other),
        ];
        assert_eq!(found, want);
        assert!(reading.open_file(b".hidden").is_ok());
        assert!(reading.open_file(b"link").is_err());
    }
}
