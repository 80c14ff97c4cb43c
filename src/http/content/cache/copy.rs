//! `…_store`: a copy of an answer is kept as a file, for whoever serves it from there.
//!
//! Written beside its place under another name, and put there when it is whole. Start at [`begin`].

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::log::{self, Text};
use super::super::super::vars;
use crate::net::file::{self, File};
use crate::plan::cache::CopyPlan;
use crate::plan::expr::{Expr, Var};
use crate::plan::model::LogLevel;
use crate::plan::vars::Builtin;
use crate::proto::head::Method;
use crate::proto::tokens::Token;

/// A copy on its way.
pub struct Copying {
    file: File,
    /// Its name until it is whole.
    temporary: Vec<u8>,
    path: Vec<u8>,
    access: u32,
    modified: Option<i64>,
    at: u64,
    failed: bool,
    done: bool,
}

/// Begins a copy of an answer that is worth one.
pub fn begin(ex: &mut Exchange, cx: Cx<'_>, plan: &CopyPlan, answered: u16) -> Option<Copying> {
    if answered != 200 || ex.method == Method::Head {
        return None;
    }
    let by_uri = Expr::variable(Var::Builtin(Builtin::RequestFilename));
    let mut path = Vec::new();
    vars::eval(plan.path.as_ref().unwrap_or(&by_uri), ex, cx, &mut path);
    if path.is_empty() || path.ends_with(b"/") || path.contains(&0) {
        return None;
    }
    // Every folder on the way but the root.
    let depth = memchr::memchr_iter(b'/', &path).count().saturating_sub(1);
    let mut temporary = path.clone();
    temporary.extend_from_slice(format!(".{:016x}", cx.local.random()).as_bytes());
    let file = match file::create(&temporary, depth) {
        Ok(file) => file,
        Err(error) => {
            let text = format_args!("open() \"{}\" failed ({error})", Text(&temporary));
            log::error(ex, cx, LogLevel::Crit, text);
            return None;
        }
    };
    let modified = ex.upstream_fields.get(Token::LAST_MODIFIED);
    Some(Copying {
        file,
        temporary,
        path,
        access: plan.access,
        modified: modified.and_then(crate::base::time::parse_http_date),
        at: 0,
        failed: false,
        done: false,
    })
}

impl Copying {
    /// The next bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        if self.failed || bytes.is_empty() {
            return;
        }
        let (result, _) = self.file.write_all_at(bytes.to_vec(), self.at).await;
        self.failed = result.is_err();
        self.at += bytes.len() as u64;
    }

    /// Puts the file in its place; one that could not be written is thrown away.
    pub fn finish(mut self) {
        if self.failed {
            return;
        }
        let placed = self
            .file
            .dress(self.access, self.modified)
            .and_then(|()| file::rename(&self.temporary, &self.path));
        self.done = placed.is_ok();
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        if !self.done {
            // Nothing is left to do where it is gone already.
            let _ = file::remove(&self.temporary);
        }
    }
}
