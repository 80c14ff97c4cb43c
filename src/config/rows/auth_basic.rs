//! Rows of the auth_basic family: passwords from a file.

use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{args, family};
use crate::config::value::*;

family! {
    /// Settings of the auth_basic family.
    pub struct AuthBasic in auth_basic {
        value auth_basic: Option<Text> = "", some_text, HSLE, args(1), "Asks for a user and a password for this realm; off asks for none.";
        value auth_basic_user_file: Option<Text> = "", some_text, HSLE, args(1), "File of users with their passwords, as htpasswd writes it.";
    } also {
    }
}
