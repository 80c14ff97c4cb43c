//! Files without stopping a shard: what is in the kernel's caches is taken at once, the rest goes through the ring.
//! Under epoll, which has no file operations, calls are made in place, as nginx does without threads.
//!
//! Start with [`open`]; [`send`] is the way to a plaintext socket that copies nothing.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use monoio::buf::IoBufMut;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::stream::SendHalf;
use super::sys::disk::{self, Disk};
use super::{offload, runtime};

/// Read at most at once.
const CHUNK: usize = 2 << 20;

/// Sent at most in one call where nothing else bounds it.
const CALL_MAX: usize = 1 << 30;

/// Unnamed temporary files that a thread keeps for the next one who needs such a file: making one costs more than
/// writing it.
const SPARE_MAX: usize = 64;

/// A temporary file that grew beyond this is not kept.
const SPARE_BYTES_MAX: u64 = 1 << 20;

/// An open file. Closes when dropped.
pub struct File {
    place: Place,
    /// For reads that have to wait: a second descriptor, which the ring knows.
    waiting: OnceCell<Disk>,
    /// The folder of an unnamed temporary file, which may be used again.
    folder: Option<Box<[u8]>>,
    /// Where the furthest write ended.
    written: Cell<u64>,
    /// Operations that were begun and not seen to end: the kernel may still be at work.
    pending: Cell<u32>,
    /// Somebody else has it too.
    shared: Cell<bool>,
}

/// Who holds a descriptor.
enum Place {
    /// We: it is read at once where the kernel has the bytes, which most files need once.
    Plain(OwnedFd),
    /// The ring, which writes it too.
    Ring(Disk),
    /// Nobody: it was kept for the next one.
    Kept,
}

/// An empty, unnamed file and the folder that it is in.
type Spare = (Box<[u8]>, Disk);

thread_local! {
    /// Never freed: files may not be closed after their thread's runtime.
    static SPARES: &'static RefCell<Vec<Spare>> = Box::leak(Box::default());
}

impl Drop for File {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else {
            return;
        };
        let Place::Ring(disk) = std::mem::replace(&mut self.place, Place::Kept) else {
            return;
        };
        if self.shared.get() || self.pending.get() > 0 || self.written.get() > SPARE_BYTES_MAX {
            return;
        }
        SPARES.with(|spares| {
            // Emptied, so that whoever gets it next can never read what was in it.
            if spares.borrow().len() < SPARE_MAX && rustix::fs::ftruncate(&disk, 0).is_ok() {
                spares.borrow_mut().push((folder, disk));
            }
        });
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub len: u64,
    /// Unix seconds of the last change of its content.
    pub modified: i64,
    /// Its number on its device.
    pub inode: u64,
    mode: u32,
    device: u64,
    /// When content, owner, rights or links last changed: Unix seconds.
    changed: i64,
    /// What its two times have below a second.
    nanos: (u32, u32),
}

impl Stat {
    pub(super) fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            len: stat.st_size as u64,
            modified: stat.st_mtime,
            inode: stat.st_ino,
            mode: stat.st_mode,
            device: stat.st_dev,
            changed: stat.st_ctime,
            nanos: (stat.st_mtime_nsec as u32, stat.st_ctime_nsec as u32),
        }
    }

    /// Whether nothing has changed for `secs` seconds at the Unix time `now`.
    pub fn has_rested(&self, now: i64, secs: i64) -> bool {
        self.modified.max(self.changed) + secs < now
    }

    /// A regular file.
    pub fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::RegularFile
    }

    /// A directory.
    pub fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }

    /// A symbolic link; only [`lstat`] finds one.
    pub fn is_symlink(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Symlink
    }

    /// Whether its owner may execute it.
    pub fn is_executable(&self) -> bool {
        self.mode & 0o100 != 0
    }
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Opens for reading. Never waits on a FIFO.
pub async fn open(path: &[u8]) -> io::Result<File> {
    match cached(path, READ) {
        Ok(fd) => Ok(File::plain(fd)),
        Err(Errno::AGAIN | Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
            open_slow(path, READ).await
        }
        Err(e) => Err(e.into()),
    }
}

/// What is known of the file at a path, links followed.
pub async fn stat(path: &[u8]) -> io::Result<Stat> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = match cached(path, flags) {
        Ok(fd) => rustix::fs::fstat(&fd),
        Err(Errno::AGAIN | Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
            rustix::fs::fstat(open_slow(path, flags).await?.as_fd())
        }
        Err(e) => Err(e),
    };
    Ok(Stat::of(&found?))
}

/// As [`stat`], in place: for a name that was looked up a moment ago, so that no disk is waited for.
pub fn stat_at_once(path: &[u8]) -> io::Result<Stat> {
    Ok(Stat::of(&rustix::fs::stat(path)?))
}

/// As [`stat`], for the link itself.
pub async fn lstat(path: &[u8]) -> io::Result<Stat> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = open_slow(path, flags).await?;
    Ok(Stat::of(&rustix::fs::fstat(file.as_fd())?))
}

/// What to do about symbolic links in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Follow them.
    Follow,
    /// Refuse them behind the first `from` bytes of the path, which end before a slash.
    Refuse {
        /// How much of the path may lead through links.
        from: usize,
    },
    /// The same, but a link of the same owner as what it leads to is followed.
    SameOwner {
        /// How much of the path may lead through any link.
        from: usize,
    },
}

/// Why a file could not be opened.
#[derive(Debug)]
pub struct Blocked {
    /// The call that failed, as logs name it.
    pub call: &'static str,
    /// Its error.
    pub error: io::Error,
}

/// Whether a path ended in a link that is refused, or in too many.
#[must_use]
pub fn is_link_fault(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(Errno::LOOP.raw_os_error()) || number == Some(Errno::MLINK.raw_os_error())
}

/// Opens an absolute path for reading, with links as told.
pub async fn open_strictly(path: &[u8], links: Links) -> Result<File, Blocked> {
    let (from, same_owner) = match links {
        Links::Follow => {
            return open(path).await.map_err(|error| Blocked {
                call: "open()",
                error,
            });
        }
        Links::Refuse { from } => (from, false),
        Links::SameOwner { from } => (from, true),
    };
    let walked = match walk(path, from, same_owner, ResolveFlags::CACHED) {
        Err((_, Errno::AGAIN | Errno::NOSYS | Errno::PERM | Errno::INVAL)) => {
            let path = path.to_vec();
            let slow = move || walk(&path, from, same_owner, ResolveFlags::empty());
            offload::run(slow).await.map_err(|error| Blocked {
                call: "openat()",
                error,
            })?
        }
        other => other,
    };
    match walked {
        Ok(fd) => Ok(File::plain(fd)),
        Err((call, error)) => Err(Blocked {
            call,
            error: error.into(),
        }),
    }
}

/// Opens a path name by name.
fn walk(
    path: &[u8],
    from: usize,
    same_owner: bool,
    resolve: ResolveFlags,
) -> Result<OwnedFd, (&'static str, Errno)> {
    let search = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let named = |errno| ("openat()", errno);
    let at = |fd: &OwnedFd, name: &[u8], flags: OFlags| {
        if same_owner {
            open_owned(fd, name, flags, resolve)
        } else {
            openat(fd.as_fd(), name, flags | OFlags::NOFOLLOW, resolve)
        }
    };
    let (mut folder, mut rest) = match from {
        0 => (
            openat(CWD, b"/", search, resolve).map_err(named)?,
            path.strip_prefix(b"/").unwrap_or(path),
        ),
        _ => (
            openat(CWD, &path[..from], search, resolve).map_err(|errno| ("open()", errno))?,
            &path[from + 1..],
        ),
    };
    if !same_owner && !resolve.is_empty() && !rest.is_empty() {
        // All of it in one call; where that finds a link, what follows finds the error that nginx has.
        let strict = resolve | ResolveFlags::NO_SYMLINKS;
        match openat(folder.as_fd(), rest, READ, strict) {
            Err(Errno::LOOP) => {}
            other => return other.map_err(named),
        }
    }
    while let Some(slash) = memchr::memchr(b'/', rest) {
        let name = &rest[..slash];
        rest = &rest[slash + 1..];
        if !name.is_empty() {
            folder = at(&folder, name, search).map_err(named)?;
        }
    }
    if rest.is_empty() {
        return openat(folder.as_fd(), b".", READ, resolve).map_err(named);
    }
    at(&folder, rest, READ).map_err(named)
}

/// Opens one name, link or not, unless a link has another owner than what it leads to.
fn open_owned(
    folder: &OwnedFd,
    name: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let fd = openat(folder.as_fd(), name, flags, resolve)?;
    let link = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    // Compared even when it is no link: it may have been one a moment ago.
    if rustix::fs::fstat(&fd)?.st_uid != link.st_uid {
        return Err(Errno::LOOP);
    }
    Ok(fd)
}

fn openat(
    folder: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    if resolve.is_empty() {
        return rustix::fs::openat(folder, name, flags, Mode::empty());
    }
    rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve)
}

/// Opens what is in the name cache; EAGAIN when a disk would have to be asked.
fn cached(path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED)
}

async fn open_slow(path: &[u8], flags: OFlags) -> io::Result<File> {
    if !runtime::on_ring() {
        return Ok(File::plain(rustix::fs::open(path, flags, Mode::empty())?));
    }
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = monoio::fs::OpenOptions::new();
    options.read(true).custom_flags(flags.bits() as i32);
    Ok(File::over(Disk(
        options.open(Path::new(OsStr::from_bytes(path))).await?,
    )))
}

/// A file without a name in `folder`, for what does not fit in memory. Gone when closed.
pub fn temporary(folder: &[u8]) -> io::Result<File> {
    let spare = SPARES.with(|spares| {
        let mut spares = spares.borrow_mut();
        let at = spares.iter().rposition(|(of, _)| **of == *folder)?;
        Some(spares.swap_remove(at))
    });
    let mut file = match spare {
        Some((_, disk)) => File::over(disk),
        None => create_unnamed(folder)?,
    };
    file.folder = Some(Box::from(folder));
    Ok(file)
}

fn create_unnamed(folder: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => File::from_fd(fd),
        // Not every file system has files without names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => named_then_removed(folder),
        Err(e) => Err(e.into()),
    }
}

/// A new file of this name, readable by its owner alone. Directories above it are made, `depth` of them at most.
pub fn create(path: &[u8], depth: usize) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let fd = match open() {
        Err(Errno::NOENT) if depth > 0 => {
            make_folders(path, depth)?;
            open()?
        }
        other => other?,
    };
    File::from_fd(fd)
}

/// Makes the lowest `depth` directories of a path, from the top.
pub(super) fn make_folders(path: &[u8], depth: usize) -> io::Result<()> {
    let Some(end) = memchr::memrchr(b'/', path).filter(|_| depth > 0) else {
        return Ok(());
    };
    make_folders(&path[..end], depth - 1)?;
    match rustix::fs::mkdir(&path[..end], Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Takes a file's name away; who has it open keeps it.
pub fn remove(path: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlink(path)?)
}

/// Gives a file another name, in the place of what has that.
pub fn rename(from: &[u8], to: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::rename(from, to)?)
}

fn named_then_removed(folder: &[u8]) -> io::Result<File> {
    const TRIES: u32 = 16;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let seed = super::clock::unix();
    for attempt in 0..TRIES {
        let mut path = folder.to_vec();
        let word = std::hash::BuildHasher::hash_one(
            &std::collections::hash_map::RandomState::new(),
            (seed.secs, seed.millis, attempt),
        );
        path.extend_from_slice(format!("/{word:016x}").as_bytes());
        match rustix::fs::open(&path[..], flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => {
                rustix::fs::unlink(&path[..])?;
                return File::from_fd(fd);
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::EXIST.into())
}

impl File {
    fn over(disk: Disk) -> Self {
        Self::at(Place::Ring(disk))
    }

    fn plain(fd: OwnedFd) -> Self {
        Self::at(Place::Plain(fd))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            waiting: OnceCell::new(),
            folder: None,
            written: Cell::new(0),
            pending: Cell::new(0),
            shared: Cell::new(false),
        }
    }

    /// The file as the ring knows it.
    fn disk(&self) -> io::Result<&Disk> {
        let fd = match &self.place {
            Place::Ring(disk) => return Ok(disk),
            Place::Plain(fd) => fd,
            Place::Kept => unreachable!("invariant: only a drop takes it"),
        };
        if let Some(disk) = self.waiting.get() {
            return Ok(disk);
        }
        let disk = Disk::new(fd.try_clone()?)?;
        Ok(self.waiting.get_or_init(|| disk))
    }

    fn begin(&self) {
        self.pending.set(self.pending.get() + 1);
    }

    fn end(&self) {
        self.pending.set(self.pending.get() - 1);
    }

    /// Takes an open file over, to be read and written through the ring.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::over(Disk::new(fd)?))
    }

    /// Takes an open file over that is read, and sent, at once where the kernel has its bytes.
    pub fn for_reading(fd: OwnedFd) -> Self {
        Self::plain(fd)
    }

    /// The same file once more, for somebody who reads it at the same time. It will not be used again for anything else.
    pub fn share(&self) -> io::Result<Self> {
        self.shared.set(true);
        Ok(Self::plain(self.as_fd().try_clone_to_owned()?))
    }

    /// Sets its rights, and when it was last changed, in seconds since 1970.
    pub fn dress(&self, mode: u32, modified: Option<i64>) -> io::Result<()> {
        let fd = self.as_fd();
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?;
        if let Some(seconds) = modified {
            let at = rustix::fs::Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            };
            let times = rustix::fs::Timestamps {
                last_access: at,
                last_modification: at,
            };
            rustix::fs::futimens(fd, &times)?;
        }
        Ok(())
    }

    /// What is known of it.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(Stat::of(&rustix::fs::fstat(self.as_fd())?))
    }

    /// Appends what is at `offset` and in the kernel's memory to the buffer's spare room, at most `max` bytes. `None`
    /// when a disk would have to be asked.
    pub fn read_now(&self, buf: &mut Vec<u8>, offset: u64, max: usize) -> Option<usize> {
        match &self.place {
            Place::Plain(fd) => disk::read_now(fd.as_fd(), buf, offset, max).ok(),
            Place::Ring(_) | Place::Kept => None,
        }
    }

    /// Appends what is at `offset` to the buffer's spare room, at most `max` bytes; `Ok(0)` at the file's end.
    pub async fn read_at(
        &self,
        mut buf: Vec<u8>,
        offset: u64,
        max: usize,
    ) -> (io::Result<usize>, Vec<u8>) {
        if buf.capacity() == buf.len() {
            buf.reserve(max.min(CHUNK));
        }
        if let Some(n) = self.read_now(&mut buf, offset, max) {
            return (Ok(n), buf);
        }
        let disk = match self.disk() {
            Ok(disk) => disk,
            Err(error) => return (Err(error), buf),
        };
        let begin = buf.len();
        let end = buf.capacity().min(begin.saturating_add(max));
        self.begin();
        let reading = disk.0.read_at(buf.slice_mut(begin..end), offset);
        let (result, slice) = reading.await;
        self.end();
        (result, slice.into_inner())
    }

    /// Writes the whole buffer at `offset`.
    pub async fn write_all_at(&self, buf: Vec<u8>, offset: u64) -> (io::Result<()>, Vec<u8>) {
        self.written
            .set(self.written.get().max(offset + buf.len() as u64));
        let disk = match self.disk() {
            Ok(disk) => disk,
            Err(error) => return (Err(error), buf),
        };
        self.begin();
        let out = disk.0.write_all_at(buf, offset).await;
        self.end();
        out
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.place {
            Place::Plain(fd) => fd.as_fd(),
            Place::Ring(disk) => disk.as_fd(),
            Place::Kept => unreachable!("invariant: only a drop takes it"),
        }
    }
}

/// A stretch of a file on its way to a socket.
pub struct Sending<'a> {
    /// The file.
    pub file: &'a File,
    /// First byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
    /// Most bytes that one call moves: a fast peer should not keep its shard busy. 0 is no limit.
    pub chunk: usize,
}

/// Sends what is in `head` and then a stretch of a file, without copying that through this process; the head leaves in
/// the first packets of the file. `step` bounds each wait for the peer. Nothing may receive on the same connection
/// meanwhile: the socket does not wait then. Returns the bytes that were sent, the head's included.
pub async fn send(
    tx: &mut SendHalf,
    head: &[u8],
    sending: Sending<'_>,
    step: Option<Duration>,
) -> (io::Result<()>, u64) {
    tx.settled().await;
    let toggled = runtime::on_ring();
    if toggled && let Err(e) = rustix::io::ioctl_fionbio(tx.as_fd(), true) {
        return (Err(e.into()), 0);
    }
    let mut sent = 0;
    let result = send_loop(tx, head, &sending, step, &mut sent).await;
    tx.disarm();
    if toggled {
        let _ = rustix::io::ioctl_fionbio(tx.as_fd(), false);
    }
    (result, sent)
}

async fn send_loop(
    tx: &SendHalf,
    head: &[u8],
    sending: &Sending<'_>,
    step: Option<Duration>,
    sent: &mut u64,
) -> io::Result<()> {
    let head_len = head.len() as u64;
    let total = head_len + sending.len;
    // A call that moves more than a gigabyte would keep the shard from everything else.
    let chunk = match sending.chunk {
        0 => CALL_MAX,
        chunk => chunk.min(CALL_MAX),
    };
    let mut at = sending.offset;
    let mut turn = 0;
    while *sent < total {
        let moved = if *sent < head_len {
            let more = match sending.len {
                0 => SendFlags::empty(),
                _ => SendFlags::MORE,
            };
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more;
            rustix::net::send(tx.as_fd(), &head[*sent as usize..], flags)
        } else {
            let count = (total - *sent).min(chunk as u64) as usize;
            match rustix::fs::sendfile(tx.as_fd(), sending.file.as_fd(), Some(&mut at), count) {
                // The file became shorter: the rest cannot be made up.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                moved => moved,
            }
        };
        match moved {
            Ok(n) => {
                *sent += n as u64;
                turn += n;
                if turn >= chunk && *sent < total {
                    turn = 0;
                    runtime::yield_now().await;
                }
            }
            Err(Errno::AGAIN) => {
                if let Some(step) = step {
                    tx.arm(step);
                }
                tx.writable().await?;
                turn = 0;
            }
            Err(Errno::INTR) => {}
            Err(_) if tx.expired().is_some() => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests may block")]
mod tests {
    use super::*;
    use crate::net::{Deadlines, Stream};
    use std::future::Future;

    fn folder_with(name: &str, content: &[u8]) -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        (folder, path.as_os_str().as_encoded_bytes().to_vec())
    }

    #[test]
    fn a_file_is_opened_described_and_read_in_parts() {
        runtime::on_each_driver(|| async {
            let (_folder, path) = folder_with("a", b"hello, file");
            let file = open(&path).await.unwrap();
            let stat = file.stat().unwrap();
            assert!(stat.is_file() && !stat.is_dir() && !stat.is_executable());
            assert_eq!(stat.len, 11);
            assert_eq!(super::stat(&path).await.unwrap(), stat);
            let (n, buf) = file.read_at(b"> ".to_vec(), 7, 2).await;
            assert_eq!((n.unwrap(), &buf[..]), (2, &b"> fi"[..]));
            let (n, buf) = file.read_at(buf, 9, 100).await;
            assert_eq!((n.unwrap(), &buf[..]), (2, &b"> file"[..]));
            let (n, _) = file.read_at(buf, 11, 100).await;
            assert_eq!(n.unwrap(), 0);
        });
    }

    #[test]
    fn what_is_missing_says_so() {
        runtime::on_each_driver(|| async {
            let (folder, mut path) = folder_with("a", b"");
            let inside = folder.path().as_os_str().as_encoded_bytes().to_vec();
            assert!(stat(&inside).await.unwrap().is_dir());
            path.extend_from_slice(b"/b");
            assert_eq!(
                stat(&path).await.unwrap_err().kind(),
                io::ErrorKind::NotADirectory
            );
            let gone = [&inside[..], b"/gone"].concat();
            assert_eq!(
                open(&gone).await.err().unwrap().kind(),
                io::ErrorKind::NotFound
            );
            std::os::unix::fs::symlink("nowhere", folder.path().join("l")).unwrap();
            let link = [&inside[..], b"/l"].concat();
            assert!(lstat(&link).await.unwrap().is_symlink());
        });
    }

    #[test]
    fn links_are_refused_where_told() {
        runtime::on_each_driver(|| async {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().canonicalize().unwrap();
            let at = |name: &str| root.join(name);
            std::fs::create_dir_all(at("a/b")).unwrap();
            std::fs::write(at("a/b/file"), b"x").unwrap();
            std::os::unix::fs::symlink("file", at("a/b/link")).unwrap();
            std::os::unix::fs::symlink("b", at("a/linked")).unwrap();
            let from = at("a").as_os_str().len();
            let linked = at("a/linked").as_os_str().len();
            for (name, links, want) in [
                ("a/b/file", Links::Refuse { from: 0 }, None),
                ("a//b//file", Links::Refuse { from: 0 }, None),
                ("a/b/", Links::Refuse { from: 0 }, None),
                ("a/b/link", Links::Follow, None),
                ("a/b/link", Links::Refuse { from: 0 }, Some(Errno::LOOP)),
                ("a/b/link", Links::Refuse { from }, Some(Errno::LOOP)),
                ("a/b/link", Links::SameOwner { from: 0 }, None),
                (
                    "a/linked/file",
                    Links::Refuse { from: 0 },
                    Some(Errno::NOTDIR),
                ),
                ("a/linked/file", Links::Refuse { from: linked }, None),
                ("a/linked/file", Links::SameOwner { from }, None),
                ("a/absent", Links::Refuse { from: 0 }, Some(Errno::NOENT)),
                ("a/b/file/", Links::Refuse { from: 0 }, Some(Errno::NOTDIR)),
            ] {
                let path = at("").as_os_str().as_encoded_bytes().to_vec();
                let path = [&path[..], name.as_bytes()].concat();
                let got = open_strictly(&path, links).await.err();
                let got = got.map(|blocked| blocked.error.raw_os_error().unwrap());
                let want = want.map(Errno::raw_os_error);
                assert_eq!(got, want, "{name} {links:?}");
            }
        });
    }

    #[test]
    fn temporary_files_have_no_name_and_keep_their_bytes() {
        runtime::on_each_driver(|| async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().as_os_str().as_encoded_bytes();
            for file in [temporary(path).unwrap(), named_then_removed(path).unwrap()] {
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
                let (result, _) = file.write_all_at(b"0123456789".to_vec(), 0).await;
                result.unwrap();
                let (n, buf) = file.read_at(Vec::new(), 4, 3).await;
                assert_eq!((n.unwrap(), &buf[..]), (3, &b"456"[..]));
            }
        });
    }

    #[test]
    fn temporary_files_are_used_again_and_are_empty() {
        runtime::on_each_driver(|| async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().as_os_str().as_encoded_bytes();
            let file = temporary(path).unwrap();
            let inode = file.stat().unwrap().inode;
            file.write_all_at(b"secret".to_vec(), 0).await.0.unwrap();
            drop(file);
            let other = tempfile::tempdir().unwrap();
            let elsewhere = temporary(other.path().as_os_str().as_encoded_bytes()).unwrap();
            assert_ne!(elsewhere.stat().unwrap().inode, inode);
            let again = temporary(path).unwrap();
            assert_eq!(again.stat().unwrap().inode, inode);
            assert_eq!(again.stat().unwrap().len, 0);
            assert_eq!(again.read_at(Vec::new(), 0, 9).await.0.unwrap(), 0);
            // One that is still being written must not come back.
            let mut writing = Box::pin(again.write_all_at(vec![7; 100], 0));
            let _ = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(writing.as_mut().poll(cx).is_ready())
            })
            .await;
            drop(writing);
            let left = again.pending.get();
            drop(again);
            if left > 0 {
                assert_ne!(temporary(path).unwrap().stat().unwrap().inode, inode);
            }
        });
    }

    #[test]
    fn a_large_file_is_sent_whole_to_a_slow_reader() {
        runtime::on_each_driver(|| async {
            let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
            let (_folder, path) = folder_with("big", &content);
            let file = open(&path).await.unwrap();
            let deadlines = Deadlines::new();
            let (mut a, mut b) = Stream::pair(&deadlines).unwrap();
            let reader = runtime::spawn(async move {
                let mut got = Vec::new();
                while b.rx.recv_ready(&mut got).await.unwrap() > 0 {}
                got
            });
            let sending = Sending {
                file: &file,
                offset: 5,
                len: 2_900_000,
                chunk: 1 << 20,
            };
            let (result, sent) = send(&mut a.tx, b"head", sending, None).await;
            result.unwrap();
            assert_eq!(sent, 2_900_004);
            drop(a);
            let got = reader.await;
            assert_eq!(&got[..4], b"head");
            assert!(got[4..] == content[5..2_900_005]);
        });
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        runtime::on_each_driver(|| async {
            let (_folder, path) = folder_with("short", b"1234");
            let file = open(&path).await.unwrap();
            let (mut a, _b) = Stream::pair(&Deadlines::new()).unwrap();
            let sending = Sending {
                file: &file,
                offset: 0,
                len: 10,
                chunk: 0,
            };
            let (result, sent) = send(&mut a.tx, b"", sending, None).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(sent, 4);
        });
    }
}
