//! From a file to an object in memory. Start at [`Cache::read`].

use std::io;
use std::rc::Rc;

use super::handle::Store;
use super::{Body, Cache, Hot, Object, disk, fill, key};
use crate::mail::cache::{Filed, Name};
use crate::net::clock;
use crate::net::file::{self, File};
use crate::plan::model::LogLevel;

/// Bodies up to this length are kept in memory; longer ones are sent from their files.
pub(super) const BODY_MAX: u64 = 32 << 10;

/// Read at once: most headers, and small answers whole.
const FIRST_READ: usize = 16 << 10;

/// Why there is no object.
enum Missing {
    /// Somebody has removed it.
    Gone,
    /// The file is not what the index says, or not readable.
    Lost(String),
    /// It is another one than the index said a moment ago.
    Changed,
    /// It cannot be read now.
    Fault(io::Error),
}

/// A place among the files that are being read.
struct Reading<'a> {
    store: &'a Store,
    place: usize,
}

impl Reading<'_> {
    /// Nobody has said meanwhile that the answer changed.
    fn may_keep(&self) -> bool {
        let reading = self.store.reading.borrow();
        reading.get(self.place).is_some_and(|(_, keep)| *keep)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.store.reading.borrow_mut().remove(self.place);
    }
}

impl Cache {
    /// Reads a file that the owner says is there, and keeps it in memory. None when it is not what was said; the owner
    /// knows it then. A stamp of 0 stands for any.
    pub(super) async fn read(
        self: &Rc<Self>,
        store: &Rc<Store>,
        name: Name,
        key: &[u8],
        filed: Filed,
    ) -> Option<Rc<Object>> {
        let place = store.reading.borrow_mut().insert((filed.digest, true));
        let reading = Reading { store, place };
        let plan = store.plan.borrow().clone();
        let mut path = plan.path.to_vec();
        key::push_path(&mut path, plan.levels, &filed.digest);
        match read(&path, key, filed).await {
            Ok(object) => {
                let object = Rc::new(object);
                if reading.may_keep() {
                    let what = Hot::Object(object.clone());
                    let now = clock::unix().secs;
                    store.hot.borrow_mut().put(name, key, what, now);
                }
                Some(object)
            }
            Err(Missing::Changed) => None,
            Err(Missing::Gone) => {
                if filed.stamp != 0 {
                    self.lost(store, name, filed.stamp);
                }
                None
            }
            Err(Missing::Lost(why)) => {
                if filed.stamp != 0 {
                    let path = String::from_utf8_lossy(&path);
                    self.note(LogLevel::Crit, format!("cache file \"{path}\" {why}"));
                    self.lost(store, name, filed.stamp);
                }
                None
            }
            Err(Missing::Fault(error)) => {
                self.fault(store, || fill::fault("open()", &path, &error));
                None
            }
        }
    }
}

async fn read(path: &[u8], key: &[u8], filed: Filed) -> Result<Object, Missing> {
    let file = match file::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Missing::Gone);
        }
        Err(error) => return Err(Missing::Fault(error)),
    };
    let (header, mut bytes) = read_header(&file).await?;
    if *header.key != *key {
        return Err(Missing::Lost("has md5 collision".to_owned()));
    }
    if filed.stamp != 0 && header.stamp != filed.stamp {
        return Err(Missing::Changed);
    }
    let (offset, len) = (header.offset, header.body_len);
    let body = if len <= BODY_MAX {
        let end = (offset + len) as usize;
        bytes = read_up_to(&file, bytes, end).await?;
        let Some(body) = bytes.get(offset as usize..end) else {
            return Err(Missing::Lost("is truncated".to_owned()));
        };
        Body::Memory(Box::from(body))
    } else {
        Body::File {
            file: Rc::new(file),
            offset,
        }
    };
    let mut meta = header.meta;
    let until = &mut meta.facts.valid_until;
    *until = filed.valid_until.min(*until);
    Ok(Object {
        meta,
        head: header.head,
        body,
        len,
        stamp: header.stamp,
        digest: filed.digest,
    })
}

/// The header of an open file, and what was read of the file for it.
async fn read_header(file: &File) -> Result<(disk::Header, Vec<u8>), Missing> {
    let len = file.stat().map_err(Missing::Fault)?.len;
    let mut want = FIRST_READ;
    let mut bytes = Vec::new();
    loop {
        bytes = read_up_to(file, bytes, want).await?;
        match disk::decode(&bytes, len) {
            Ok(header) => return Ok((header, bytes)),
            Err(disk::Unsound::Short(more)) if more > bytes.len() && more > want => want = more,
            Err(unsound) => return Err(Missing::Lost(unsound.text().to_owned())),
        }
    }
}

/// Reads until there are so many bytes, or the file ends.
async fn read_up_to(file: &File, mut bytes: Vec<u8>, want: usize) -> Result<Vec<u8>, Missing> {
    while bytes.len() < want {
        let at = bytes.len();
        bytes.reserve_exact(want - at);
        let (read, back) = file.read_at(bytes, at as u64, want - at).await;
        bytes = back;
        if read.map_err(Missing::Fault)? == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// What an index has to know of a file's header.
pub(super) fn record(header: &disk::Header) -> crate::mail::cache::Loaded {
    let meta = &header.meta;
    let main = key::digest(&header.key);
    let own = if meta.vary.is_empty() {
        main
    } else {
        key::variant(&header.key, &meta.vary, &meta.variant)
    };
    crate::mail::cache::Loaded {
        main,
        key: header.key.clone(),
        record: crate::mail::cache::Record {
            own,
            stamp: header.stamp,
            valid_until: meta.facts.valid_until,
            while_revalidate: meta.facts.while_revalidate,
            bytes: disk::on_disk(header.offset + header.body_len),
            vary: meta.vary.as_slice().into(),
            tags: meta.tags.as_slice().into(),
        },
    }
}
