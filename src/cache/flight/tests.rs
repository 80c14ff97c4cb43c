//! to come
use super::*;
