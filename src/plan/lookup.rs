//! `map`, `geo` and `split_clients`: from a key to a value.
