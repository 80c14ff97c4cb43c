//! `Model` to `Plan`: everything resolved, compiled, immutable, shareable.
