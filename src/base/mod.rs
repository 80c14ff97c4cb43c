//! What std could have had: pooled buffers, dense ids, CIDR sets, sizes, times. Knows no HTTP.

pub mod base64;
pub mod buf;
pub mod cidr;
pub mod escape;
pub mod hash;
pub mod ids;
pub mod json;
pub mod lru;
pub mod needles;
pub mod password;
pub mod rng;
pub mod scan;
pub mod size;
pub mod strftime;
pub mod time;
