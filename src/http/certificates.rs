//! Certificates whose names hold variables: read when a handshake asks for them, beside the shard, and kept for as long as
//! the configuration says. Start at [`Kept::get`].
//!
//! Unlike all others these are opened by the worker, under its user: nobody knows their names before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::lru::Lru;
use crate::base::time::Mono;
use crate::net::offload;
use crate::net::tls::{Certified, PairFault};
use crate::plan::model::CertificateCache;

/// What stands for the path of a file whose contents are the name itself.
const DATA: &[u8] = b"data:";

/// Files that an entry stands for: nginx counts each.
const FILES: usize = 2;

/// Whose a pair is: the block of settings, and the names of both files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    settings: usize,
    certificate: Box<[u8]>,
    key: Box<[u8]>,
}

struct Entry {
    pair: Certified,
    read: Mono,
    used: Mono,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Tells blocks of settings apart.
    pub settings: usize,
    /// Name of the chain's file, or `data:` and the chain.
    pub certificate: &'a [u8],
    /// Name of the key's file, or `data:` and the key.
    pub key: &'a [u8],
    /// Passwords, one in a line.
    pub passwords: &'a [u8],
    /// What relative names start from.
    pub folder: &'a Path,
    /// What is kept.
    pub cache: Option<CertificateCache>,
}

/// The certificates of one generation on one shard.
#[derive(Default)]
pub struct Kept {
    caches: RefCell<HashMap<CacheKey, Lru<Key, Entry>>>,
}

/// Caches differ by what they hold.
type CacheKey = (usize, Duration, Duration);

impl Kept {
    /// A pair, read unless it is here. The error is what a log should tell.
    pub async fn get(&self, wanted: Wanted<'_>, now: Mono) -> Result<Certified, String> {
        let Some(rules) = wanted.cache else {
            return read(wanted).await;
        };
        let cache = (rules.max, rules.inactive, rules.valid);
        let key = Key {
            settings: wanted.settings,
            certificate: wanted.certificate.into(),
            key: wanted.key.into(),
        };
        if let Some(pair) = self.find(cache, &key, now) {
            return Ok(pair);
        }
        let pair = read(wanted).await?;
        if pair.sealed {
            // As in nginx: what a password protects is not kept.
            return Ok(pair);
        }
        let mut caches = self.caches.borrow_mut();
        let entries = caches
            .entry(cache)
            .or_insert_with(|| Lru::new((rules.max / FILES).max(1)));
        let entry = Entry {
            pair: pair.clone(),
            read: now,
            used: now,
        };
        entries.insert(key, entry);
        Ok(pair)
    }

    fn find(&self, cache: CacheKey, key: &Key, now: Mono) -> Option<Certified> {
        let (_, inactive, valid) = cache;
        let mut caches = self.caches.borrow_mut();
        let entries = caches.get_mut(&cache)?;
        let entry = entries.get(key)?;
        if now.since(entry.read) < valid && now.since(entry.used) < inactive {
            entry.used = now;
            return Some(entry.pair.clone());
        }
        entries.remove(key);
        None
    }
}

async fn read(wanted: Wanted<'_>) -> Result<Certified, String> {
    let source = |name: &[u8]| match name.strip_prefix(DATA) {
        Some(data) => Err(data.to_vec()),
        None => Ok(wanted.folder.join(OsStr::from_bytes(name))),
    };
    let (certificate, key) = (source(wanted.certificate), source(wanted.key));
    let passwords = wanted.passwords.to_vec();
    let work = move || load(certificate, key, &passwords);
    match offload::run(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("cannot load certificate: {error}")),
    }
}

/// A path, or the contents themselves.
type Source = Result<PathBuf, Vec<u8>>;

fn load(certificate: Source, key: Source, passwords: &[u8]) -> Result<Certified, String> {
    let (chain, chain_name) = contents(certificate, "certificate")?;
    let (key, key_name) = contents(key, "certificate key")?;
    let lines = passwords.split(|&byte| byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let passwords: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    Certified::read(&chain, &key, &passwords).map_err(|fault| match fault {
        PairFault::Certificate(reason) => format!(
            "cannot load certificate \"{chain_name}\": PEM_read_bio_X509_AUX() failed ({reason})"
        ),
        PairFault::Key(reason) => format!(
            "cannot load certificate key \"{key_name}\": PEM_read_bio_PrivateKey() failed ({reason})"
        ),
        PairFault::Mismatch => format!(
            "SSL_use_PrivateKey(\"{key_name}\") failed (SSL: error:05800074:x509 certificate routines::key values \
             mismatch)"
        ),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "runs on a helper thread, which may wait for a disk"
)]
fn contents(source: Source, what: &str) -> Result<(Vec<u8>, String), String> {
    let path = match source {
        Ok(path) => path,
        Err(data) => return Ok((data, "data:".to_owned())),
    };
    let name = path.display().to_string();
    match std::fs::read(&path) {
        Ok(bytes) => Ok((bytes, name)),
        Err(error) => {
            let number = error.raw_os_error().unwrap_or_default();
            let text = error.to_string();
            let reason = text.split(" (os error").next().unwrap_or_default();
            Err(format!(
                "cannot load {what} \"{name}\": fopen() failed ({number}: {reason})"
            ))
        }
    }
}
