//! Where the two processes get configuration text: the parent from the disk, keeping what it reads; the worker from
//! what the parent kept. Start at [`Disk`] and [`Kept`].

use std::cell::RefCell;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bundle::Found;
use crate::config::source::Source;

/// Paths that one pattern may match; more is a pattern gone wrong.
const MATCHES_MAX: usize = 16 << 10;

/// Reads the disk and remembers what it found, failures included, so that a worker finds the same.
#[derive(Debug, Default)]
pub struct Disk {
    found: RefCell<Vec<(PathBuf, Found)>>,
}

impl Disk {
    /// Knows one file without the disk: the configuration of `demo` and `proxy`.
    pub fn put(&self, path: &Path, text: &[u8]) {
        self.found
            .borrow_mut()
            .push((path.to_owned(), Found::Bytes(text.to_vec())));
    }

    /// Everything that was read.
    #[must_use]
    pub fn into_found(self) -> Vec<(PathBuf, Found)> {
        self.found.into_inner()
    }
}

impl Source for Disk {
    fn read(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        if let Some(kept) = kept(&self.found.borrow(), path) {
            return kept;
        }
        let result = std::fs::read(path);
        let found = match &result {
            Ok(bytes) => Found::Bytes(bytes.clone()),
            Err(error) => Found::Error(error.raw_os_error().unwrap_or_default()),
        };
        self.found.borrow_mut().push((path.to_owned(), found));
        result.map(Into::into)
    }

    fn glob(&self, pattern: &str) -> Vec<PathBuf> {
        let paths = glob(pattern);
        self.found
            .borrow_mut()
            .push((pattern.into(), Found::Paths(paths.clone())));
        paths
    }
}

/// Answers from a bundle; what is not in it does not exist.
#[derive(Debug)]
pub struct Kept<'a>(pub &'a [(PathBuf, Found)]);

impl Source for Kept<'_> {
    fn read(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        kept(self.0, path).unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }

    fn glob(&self, pattern: &str) -> Vec<PathBuf> {
        let paths = self.0.iter().find_map(|(path, found)| match found {
            Found::Paths(paths) if path.as_os_str() == pattern => Some(paths.clone()),
            _ => None,
        });
        paths.unwrap_or_default()
    }
}

fn kept(found: &[(PathBuf, Found)], path: &Path) -> Option<io::Result<Arc<[u8]>>> {
    found.iter().find_map(|(known, found)| match found {
        Found::Bytes(bytes) if known == path => Some(Ok(bytes.as_slice().into())),
        Found::Error(number) if known == path => Some(Err(io::Error::from_raw_os_error(*number))),
        _ => None,
    })
}

/// The existing paths that a shell pattern matches, sorted by their bytes. `*` and `?` do not match a leading dot.
#[must_use]
pub fn glob(pattern: &str) -> Vec<PathBuf> {
    let mut heads: Vec<Vec<u8>> = vec![if pattern.starts_with('/') {
        b"/".to_vec()
    } else {
        Vec::new()
    }];
    let words: Vec<&str> = pattern.split('/').filter(|word| !word.is_empty()).collect();
    for (at, word) in words.iter().enumerate() {
        let last = at + 1 == words.len();
        let mut next = Vec::new();
        for head in heads {
            step(&head, word.as_bytes(), last, &mut next);
        }
        next.truncate(MATCHES_MAX);
        heads = next;
    }
    heads.sort();
    heads
        .into_iter()
        .map(|path| std::ffi::OsString::from_vec(path).into())
        .collect()
}

/// Follows one word of a pattern from one folder.
fn step(head: &[u8], word: &[u8], last: bool, next: &mut Vec<Vec<u8>>) {
    let mut push = |name: &[u8]| {
        let mut path = head.to_vec();
        path.extend_from_slice(name);
        let at = Path::new(std::ffi::OsStr::from_bytes(&path));
        if if last {
            at.symlink_metadata().is_ok()
        } else {
            at.is_dir()
        } {
            if !last {
                path.push(b'/');
            }
            next.push(path);
        }
    };
    if !word.iter().any(|byte| b"*?[\\".contains(byte)) {
        push(word);
        return;
    }
    let folder = if head.is_empty() { b"." } else { head };
    let entries = std::fs::read_dir(std::ffi::OsStr::from_bytes(folder))
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries.take(MATCHES_MAX) {
        let name = entry.file_name();
        if (name.as_bytes()[0] != b'.' || word[0] == b'.') && matches(word, name.as_bytes()) {
            push(name.as_bytes());
        }
    }
}

/// Whether a name matches one word of a shell pattern. Linear but for the last `*`, to which it may step back.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, n));
            p += 1;
            continue;
        }
        match (one(&pattern[p..], name.get(n).copied()), retry) {
            (Some(0), _) => return true,
            (Some(used), _) => {
                p += used;
                n += 1;
            }
            (None, Some((star, from))) if from < name.len() => {
                retry = Some((star, from + 1));
                (p, n) = (star + 1, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// How many bytes of the pattern one byte of the name takes; 0 when both have ended.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<usize> {
    match (pattern, byte) {
        ([], None) => Some(0),
        ([], Some(_)) | (_, None) => None,
        ([b'?', ..], Some(_)) => Some(1),
        ([b'\\', escaped, ..], Some(byte)) => (*escaped == byte).then_some(2),
        ([b'[', rest @ ..], Some(byte)) => match set(rest, byte) {
            Some((true, used)) => Some(used + 1),
            Some((false, _)) => None,
            // Without a closing bracket it is an ordinary character.
            None => (byte == b'[').then_some(1),
        },
        ([literal, ..], Some(byte)) => (*literal == byte).then_some(1),
    }
}

/// Whether a byte is in the set that follows a `[`, and how long the set is with its closing bracket.
fn set(rest: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(rest.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let mut at = start;
    let mut found = false;
    loop {
        match *rest.get(at)? {
            b']' if at > start => return Some((found != negated, at + 1)),
            low => {
                let range = rest.get(at + 1) == Some(&b'-')
                    && rest.get(at + 2).is_some_and(|high| *high != b']');
                let high = if range { rest[at + 2] } else { low };
                found |= (low..=high).contains(&byte);
                at += if range { 3 } else { 1 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_match_like_the_shell() {
        for (pattern, name, want) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "a", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("abc", "abd", false),
            ("****a", "bbba", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                want,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn patterns_list_what_is_there_in_order() {
        let dir = tempfile::tempdir().expect("dir");
        for name in ["b.conf", "a.conf", ".hidden.conf", "x.txt"] {
            std::fs::write(dir.path().join(name), name).expect("write");
        }
        std::fs::create_dir(dir.path().join("sub")).expect("dir");
        std::fs::write(dir.path().join("sub/c.conf"), "c").expect("write");
        let list = |pattern: &str| -> Vec<String> {
            let all = glob(&format!("{}/{pattern}", dir.path().display()));
            let short = all.iter().map(|path| {
                path.strip_prefix(dir.path())
                    .expect("below")
                    .display()
                    .to_string()
            });
            short.collect()
        };
        assert_eq!(list("*.conf"), ["a.conf", "b.conf"]);
        assert_eq!(list("*/*.conf"), ["sub/c.conf"]);
        assert_eq!(list("s?b/c.[c]onf"), ["sub/c.conf"]);
        assert_eq!(list("none/*.conf"), Vec::<String>::new());
        assert_eq!(list("a.conf"), ["a.conf"]);
    }

    #[test]
    fn a_worker_sees_what_the_parent_saw() {
        let dir = tempfile::tempdir().expect("dir");
        let (file, missing) = (dir.path().join("f.conf"), dir.path().join("missing"));
        std::fs::write(&file, "text").expect("write");
        let pattern = format!("{}/*.conf", dir.path().display());
        let disk = Disk::default();
        disk.put(Path::new("built in"), b"demo");
        let seen = (
            disk.read(&file).expect("there"),
            disk.glob(&pattern),
            disk.read(&missing).expect_err("not there").raw_os_error(),
        );
        std::fs::remove_file(&file).expect("remove");
        let found = disk.into_found();
        let kept = Kept(&found);
        assert_eq!(&*kept.read(&file).expect("kept"), &*seen.0);
        assert_eq!(kept.glob(&pattern), seen.1);
        assert_eq!(
            kept.read(&missing).expect_err("kept").raw_os_error(),
            seen.2
        );
        assert_eq!(&*kept.read(Path::new("built in")).expect("kept"), b"demo");
        assert!(kept.read(Path::new("/etc/passwd")).is_err());
    }
}
