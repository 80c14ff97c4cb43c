//! What std could have had: pooled buffers, dense ids, CIDR sets, sizes, times. Knows no HTTP.
