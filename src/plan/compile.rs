//! `Model` to `Plan`, with the errors that only show when names, patterns and variables are resolved.
