//! Makes the edits that are safe: in memory until nothing is left to edit and the result loads, then in the files, each in
//! one step. Start at [`fix`].

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::{Ask, examine};
use crate::config::lint::{Edit, apply};
use crate::control::journal::cause;
use crate::control::setup::Setup;

/// Rounds after which something goes in circles. A line that needs several edits gets one in each.
const ROUNDS_MAX: usize = 32;

/// What was edited.
#[derive(Default)]
pub(super) struct Edits {
    /// Findings that went away.
    pub(super) count: usize,
    /// Files with their new texts.
    pub(super) texts: Vec<(PathBuf, Vec<u8>)>,
    /// The old texts of the same files.
    pub(super) before: Vec<Vec<u8>>,
}

/// Finds, edits and finds again. Nothing is written unless that is asked for, and nothing that does not load.
pub(super) fn fix(setup: &Setup, ask: &Ask) -> Result<Edits, String> {
    let mut texts: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let mut before: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut examined = examine(setup, &texts, ask);
    let first = examined.found.len();
    // What cannot be loaded is not touched: nobody knows what it means.
    for _ in 0..ROUNDS_MAX {
        if examined.sizes.is_none() {
            break;
        }
        let edits = examined.found.iter().flat_map(|f| &f.fix);
        let mut files: BTreeMap<u32, Vec<Edit>> = BTreeMap::new();
        for edit in edits {
            files.entry(edit.file).or_default().push(edit.clone());
        }
        if files.is_empty() {
            break;
        }
        let mut next = texts.clone();
        for (index, edits) in files {
            let file = &examined.loaded.tree.files[index as usize];
            before
                .entry(file.path.clone())
                .or_insert_with(|| file.bytes.to_vec());
            let text = apply(&file.bytes, &edits);
            next.retain(|(path, _)| *path != file.path);
            next.push((file.path.clone(), text));
        }
        let again = examine(setup, &next, ask);
        if again.sizes.is_none() {
            return Err(
                "an edit would make a configuration that does not load; nothing was written".into(),
            );
        }
        (texts, examined) = (next, again);
    }
    texts.sort();
    let before: Vec<Vec<u8>> = texts
        .iter()
        .map(|(path, _)| before.remove(path).unwrap_or_default())
        .collect();
    if ask.fix {
        for ((path, text), old) in texts.iter().zip(&before) {
            replace(path, old, text).map_err(|error| {
                format!("\"{}\" cannot be written {}", path.display(), cause(&error))
            })?;
        }
    }
    Ok(Edits {
        count: first.saturating_sub(examined.found.len()),
        texts,
        before,
    })
}

/// Puts a new text in the place of a file that still has the old one: whoever reads it meanwhile gets either.
fn replace(path: &Path, old: &[u8], new: &[u8]) -> io::Result<()> {
    // A link stays one: `sites-enabled` is full of them.
    let path = path.canonicalize()?;
    if fs::read(&path)? != old {
        return Err(io::Error::other("it has changed meanwhile"));
    }
    let facts = fs::metadata(&path)?;
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let beside = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = write_beside(&beside, &facts, new).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_beside(beside: &Path, facts: &fs::Metadata, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)?;
    file.write_all(text)?;
    // Only root can give a file away; for others it is theirs already, or stays readable by the group at most.
    let _ = fchown(&file, Some(facts.uid()), Some(facts.gid()));
    file.set_permissions(Permissions::from_mode(facts.mode() & 0o7777))?;
    file.sync_all()
}
