//! Rows of the rewrite family: switches, and the steps of a script.

use crate::config::table::ctx::*;
use crate::config::table::{args, family};
use crate::config::value::*;

family! {
    /// Switches of the rewrite family.
    pub struct Rewriting in rewrite {
        value rewrite_log: bool = "off", flag, HSFLI, args(1), "Logs each step of the rewrite phase at notice level.";
        value uninitialized_variable_warn: bool = "on", flag, HSFLI, args(1), "Warns when a variable is read that was never set.";
    } also {
    }
}
