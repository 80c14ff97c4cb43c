//! Which server answers for a host name: exact, then wildcards, then patterns, then the default.
