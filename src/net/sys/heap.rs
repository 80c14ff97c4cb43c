//! Giving memory back: the heap of this thread keeps what was freed until it needs it again.

// Links the allocator's library, which the binary makes the global one.
use mimalloc as _;

unsafe extern "C" {
    fn mi_collect(force: bool);
}

/// Returns what this thread has freed to the system. Takes up to a millisecond; for moments when a shard has let go
/// of much.
pub fn collect() {
    // SAFETY: works on the calling thread's own heap, which other code of this thread is not inside of; without effect
    // when another allocator is the global one.
    unsafe { mi_collect(true) };
}
