//! How another thread wakes a shard: an event counter that the shard waits on through its own driver. Wakers must
//! never cross threads in this runtime.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::sys::duplex::Duplex;

/// An event counter; whoever holds a descriptor of it may write 8 bytes to ring it.
pub fn event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// The waiting end, registered with this thread's runtime.
pub struct Bell(Duplex);

impl Bell {
    /// Takes a descriptor of the counter.
    pub fn new(event: OwnedFd) -> io::Result<Self> {
        Ok(Self(Duplex::new(event)?))
    }

    /// Waits until it was rung since the last wait.
    pub async fn wait(&self) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            let mut count = [0u8; 8];
            match rustix::io::read(self.0.as_fd(), &mut count) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::runtime;

    #[test]
    fn another_thread_rings_it() {
        runtime::on_each_driver(|| async {
            let event = event().unwrap();
            let ringer = event.try_clone().unwrap();
            let bell = Bell::new(event).unwrap();
            for _ in 0..3 {
                let ringer = ringer.try_clone().unwrap();
                let thread = std::thread::spawn(move || {
                    rustix::io::write(&ringer, &1u64.to_ne_bytes()).unwrap();
                });
                bell.wait().await.unwrap();
                thread.join().unwrap();
            }
        });
    }
}
