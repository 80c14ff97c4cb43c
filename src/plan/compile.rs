//! `Model` to `Plan`, with the errors that only show when names, patterns and variables are resolved.
//!
//! Pure: names are resolved and files are found by whoever fills [`Env`]. Start at [`compile`].

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;

use super::{Plan, ServerToken};
use crate::config::diag::{Diag, Level};
use crate::config::model::Model;
use crate::config::tree::SourceFile;

/// What compiling needs to know of the world.
pub struct Env<'a> {
    /// Addresses of a host name with a port; none when it does not resolve.
    pub resolve: &'a dyn Fn(&str, u16) -> Option<Vec<SocketAddr>>,
    /// Files of the load, for positions in messages.
    pub files: &'a [SourceFile],
    /// `$hostname`.
    pub hostname: Bytes,
    /// What the `Server` header says.
    pub server_token: ServerToken,
    /// Prefix that relative paths start from.
    pub prefix: PathBuf,
}

/// Compiles a model. Warnings come back beside the plan; all errors of a model are told at once.
pub fn compile(model: &Model, env: &Env<'_>) -> Result<(Plan, Vec<Diag>), Vec<Diag>> {
    let _ = (model, env);
    Err(vec![Diag::general(
        Level::Emerg,
        "plans are not compiled yet",
    )])
}
