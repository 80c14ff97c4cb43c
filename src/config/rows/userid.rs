//! Rows of the userid family: a cookie that tells clients apart.

use std::sync::Arc;
use std::time::Duration;

use super::parse_core::{userid_expires, userid_flags, userid_mark};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{args, args_to, family};
use crate::config::value::*;

family! {
    /// Settings of the userid family.
    pub struct Userid in userid {
        value userid: UseridMode = "off", |a| one_of(a, UseridMode::WORDS), HSL, args(1), "Sets or logs a cookie that tells clients apart.";
        value userid_service: Option<u64> = "", |a| num(a).map(Some), HSL, args(1), "Number of the service in the cookie.";
        value userid_name: Arc<[u8]> = "uid", bytes, HSL, args(1), "Name of the cookie.";
        value userid_domain: Arc<[u8]> = "none", bytes, HSL, args(1), "Domain of the cookie.";
        value userid_path: Arc<[u8]> = "/", bytes, HSL, args(1), "Path of the cookie.";
        value userid_expires: UseridExpires = "off", userid_expires, HSL, args(1), "How long the cookie lives.";
        mask  userid_flags: UseridFlags = "off", userid_flags, HSL, args_to(1, 3), "Attributes of the cookie.";
        value userid_p3p: Arc<[u8]> = "none", bytes, HSL, args(1), "Value of a P3P field that goes with the cookie.";
        value userid_mark: Option<u8> = "off", userid_mark, HSL, args(1), "Marks cookies, so that those without the mark are renewed.";
    } also {
    }
}

/// `userid_expires`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseridExpires {
    /// `off`: until the browser closes.
    #[default]
    Off,
    /// `max`: until 2037.
    Max,
    /// From now on.
    After(Duration),
}
