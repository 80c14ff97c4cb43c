//! The pid file: written once the listeners are open, read by `-s`, renamed during a binary upgrade.
//!
//! Start at [`PidFile`].

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a pid file is called while a new binary takes over.
const OLD_SUFFIX: &str = ".oldbin";

/// Why `-s` finds nobody to signal.
#[derive(Debug)]
pub enum Unread {
    /// The file cannot be opened or read.
    Io(io::Error),
    /// It holds no number; this is what it holds.
    Invalid(String),
}

/// The pid file of a running parent.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Whether the file is under its `.oldbin` name now.
    old: bool,
}

impl PidFile {
    /// Writes this process's id.
    pub fn write(path: &Path) -> io::Result<Self> {
        let text = format!("{}\n", std::process::id());
        create(path, true)?;
        std::fs::write(path, text)?;
        Ok(Self {
            path: path.to_owned(),
            old: false,
        })
    }

    /// Where it is now.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        if self.old {
            old_path(&self.path)
        } else {
            self.path.clone()
        }
    }

    /// Steps aside for the process that a binary upgrade starts.
    pub fn step_aside(&mut self) -> io::Result<()> {
        std::fs::rename(&self.path, old_path(&self.path))?;
        self.old = true;
        Ok(())
    }

    /// Takes the name back after the new process has gone.
    pub fn step_back(&mut self) -> io::Result<()> {
        std::fs::rename(old_path(&self.path), &self.path)?;
        self.old = false;
        Ok(())
    }

    /// Removes the file when the process ends. What is no regular file stays: with `pid /dev/null` and root's rights the
    /// machine would lose its device.
    pub fn remove(self) -> io::Result<()> {
        let path = self.path();
        if std::fs::metadata(&path)?.is_file() {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Shows that the file could be written, without touching what it holds: what `-t` does.
pub fn probe(path: &Path) -> io::Result<()> {
    create(path, false)
}

/// Reads the id of the running parent.
pub fn read(path: &Path) -> Result<i32, Unread> {
    let bytes = std::fs::read(path).map_err(Unread::Io)?;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(22)]).into_owned();
    let text = text.trim_end_matches(['\r', '\n']);
    match text.parse::<i32>() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(Unread::Invalid(text.to_owned())),
    }
}

fn create(path: &Path, truncate: bool) -> io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o644)
        .open(path)?;
    Ok(())
}

fn old_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OLD_SUFFIX);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_lives_and_moves() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("nginx.pid");
        let mut file = PidFile::write(&path).expect("write");
        assert_eq!(
            std::fs::read_to_string(&path).expect("read"),
            format!("{}\n", std::process::id())
        );
        file.step_aside().expect("rename");
        assert!(!path.exists() && dir.path().join("nginx.pid.oldbin").exists());
        file.step_back().expect("rename");
        assert!(path.exists());
        file.remove().expect("remove");
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_file_stays() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("nginx.pid");
        std::os::unix::fs::symlink("/dev/null", &path).expect("link");
        PidFile::write(&path)
            .expect("write")
            .remove()
            .expect("remove");
        assert!(path.symlink_metadata().is_ok());
    }

    #[test]
    fn a_probe_changes_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("nginx.pid");
        std::fs::write(&path, "77\n").expect("write");
        probe(&path).expect("probe");
        assert_eq!(read(&path).expect("number"), 77);
    }

    #[test]
    fn what_is_no_number_is_told() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("nginx.pid");
        for (text, want) in [
            ("", ""),
            ("\n", ""),
            ("abc\n", "abc"),
            ("-5\n", "-5"),
            ("0\n", "0"),
        ] {
            std::fs::write(&path, text).expect("write");
            assert!(
                matches!(read(&path), Err(Unread::Invalid(got)) if got == want),
                "{text:?}"
            );
        }
        assert!(matches!(read(&dir.path().join("none")), Err(Unread::Io(_))));
    }
}
