//! The only folder with unsafe code: safe functions on owned descriptors and buffers. Each unsafe block holds one
//! operation and says who owns what it touches. Prefer rustix or socket2 even here.

#![expect(
    unsafe_code,
    reason = "the one folder where the kernel is called without a safe wrapper"
)]

pub mod both;
pub mod burst;
#[cfg(test)]
pub mod count;
pub mod disk;
pub mod duplex;
pub mod fd;
pub mod heap;
pub mod option;
pub mod poll;
pub mod process;
pub mod steer;
pub mod thread;
pub mod zone;
