//! What stands outside `http`: processes, files, limits and the `events` block.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{ErrorLog, Text};

/// Settings outside `http`.
#[derive(Clone, Debug)]
pub struct Main {
    /// `worker_processes`; `None` is `auto`.
    pub worker_processes: Option<u32>,
    /// `user`: name and group.
    pub user: Option<(String, Option<String>)>,
    /// `pid`, absolute.
    pub pid: Option<PathBuf>,
    /// `daemon`.
    pub daemon: bool,
    /// `master_process`.
    pub master_process: bool,
    /// `error_log` lines; empty means the built-in default.
    pub error_log: Vec<ErrorLog>,
    /// `worker_rlimit_nofile`.
    pub worker_rlimit_nofile: Option<u64>,
    /// `worker_rlimit_core`.
    pub worker_rlimit_core: Option<u64>,
    /// `worker_shutdown_timeout`.
    pub worker_shutdown_timeout: Option<Duration>,
    /// `worker_cpu_affinity`.
    pub worker_cpu_affinity: CpuAffinity,
    /// `worker_priority`.
    pub worker_priority: i32,
    /// `working_directory`.
    pub working_directory: Option<PathBuf>,
    /// `env`: name, and value if one is set.
    pub env: Vec<(Arc<[u8]>, Option<Arc<[u8]>>)>,
    /// `worker_connections` of `events`.
    pub worker_connections: u32,
    /// `multi_accept` of `events`.
    pub multi_accept: bool,
    /// `use` of `events`: which way of waiting is asked for.
    pub event_method: Option<Text>,
    /// An `events` block stands in the file.
    pub events: bool,
}

impl Default for Main {
    fn default() -> Self {
        Self {
            worker_processes: Some(1),
            user: None,
            pid: None,
            daemon: true,
            master_process: true,
            error_log: Vec::new(),
            worker_rlimit_nofile: None,
            worker_rlimit_core: None,
            worker_shutdown_timeout: None,
            worker_cpu_affinity: CpuAffinity::None,
            worker_priority: 0,
            working_directory: None,
            env: Vec::new(),
            worker_connections: 512,
            multi_accept: false,
            event_method: None,
            events: false,
        }
    }
}

/// `worker_cpu_affinity`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CpuAffinity {
    /// Not written.
    #[default]
    None,
    /// `auto [mask]`: one core each, of those in the mask (bit 0 is core 0).
    Auto(Option<Vec<bool>>),
    /// A mask for each worker; the last one serves the rest.
    Masks(Vec<Vec<bool>>),
}
