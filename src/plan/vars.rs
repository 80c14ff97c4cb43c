//! The registry of variables: which names exist, and what they compile to.
//!
//! Values are made in `http::vars`; here a name becomes a [`Var`](super::expr::Var) or an
//! "unknown variable" diagnostic.
