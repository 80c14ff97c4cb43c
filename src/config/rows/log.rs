//! Rows of the log family: access logs and their formats.

use std::sync::Arc;

use crate::config::model::*;
use crate::config::table::family;

family! {
    /// Settings of the log family.
    pub struct Log in log {
    } also {
        access_log: Option<Arc<Vec<AccessLog>>> = None, "`access_log`; `None` is `off`.";
    }
}
