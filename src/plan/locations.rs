//! Which location a normalised URI belongs to: exact, longest prefix, patterns in order.
