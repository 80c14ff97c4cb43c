//! Pooled byte buffers of one shard: plain `Vec<u8>`s in power-of-two size classes with bounded free lists.
//! Refuses to know what the bytes are. Start at [`BufPool::take`].

use std::cell::{Cell, RefCell};

/// The capacities that are kept; anything larger is allocated and freed as asked.
const CLASSES: [usize; 8] = [
    1 << 10,
    2 << 10,
    4 << 10,
    8 << 10,
    16 << 10,
    32 << 10,
    64 << 10,
    128 << 10,
];

/// Free bytes that one class may hold unless it is said otherwise: 8 classes x 4 MiB = 32 MiB at most per shard.
const CLASS_BYTES_MAX: usize = 4 << 20;

/// Free buffers that one class may hold, so that small classes stay short.
const CLASS_COUNT_MAX: usize = 1024;

/// A shard's buffers. Shared by `&self`; never crosses threads.
#[derive(Debug)]
pub struct BufPool {
    free: [RefCell<Vec<Vec<u8>>>; CLASSES.len()],
    lent: Cell<usize>,
    allocated: Cell<u64>,
    /// Free buffers that each class may hold.
    max: [usize; CLASSES.len()],
}

impl Default for BufPool {
    fn default() -> Self {
        Self::new()
    }
}

impl BufPool {
    /// Starts empty: an unused class costs nothing.
    pub fn new() -> Self {
        Self::bounded(CLASS_COUNT_MAX, CLASS_BYTES_MAX)
    }

    /// Keeps at most so many free buffers of each class, and so many bytes of them.
    pub fn bounded(count_max: usize, bytes_max: usize) -> Self {
        Self {
            free: Default::default(),
            lent: Cell::new(0),
            allocated: Cell::new(0),
            max: CLASSES.map(|class| (bytes_max / class).min(count_max)),
        }
    }

    /// An empty buffer with room for at least `min` bytes.
    pub fn take(&self, min: usize) -> Vec<u8> {
        self.lent.set(self.lent.get() + 1);
        let Some(class) = class_up(min) else {
            self.allocated.set(self.allocated.get() + 1);
            return Vec::with_capacity(min);
        };
        if let Some(buf) = self.free[class].borrow_mut().pop() {
            return buf;
        }
        self.allocated.set(self.allocated.get() + 1);
        Vec::with_capacity(CLASSES[class])
    }

    /// Takes a buffer back. Odd sizes go to the class below; buffers without a class, and those beyond a class's
    /// bound, are freed.
    pub fn give(&self, mut buf: Vec<u8>) {
        self.lent.set(self.lent.get().saturating_sub(1));
        let Some(class) = class_down(buf.capacity()) else {
            return;
        };
        let mut free = self.free[class].borrow_mut();
        if free.len() < self.max[class] {
            buf.clear();
            free.push(buf);
        }
    }

    /// Grows `buf` to room for `min` bytes in all, keeping its contents, through the pool's classes.
    pub fn grow(&self, buf: &mut Vec<u8>, min: usize) {
        if buf.capacity() >= min {
            return;
        }
        let mut larger = self.take(min);
        larger.extend_from_slice(buf);
        self.give(std::mem::replace(buf, larger));
    }

    /// Frees what lies unused; for a shard that has gone idle.
    pub fn shrink(&self) {
        for free in &self.free {
            *free.borrow_mut() = Vec::new();
        }
    }

    /// Buffers taken and not given back. A buffer that is simply dropped stays counted.
    pub fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Buffers that came from the heap since the start; does not move when the pool is warm.
    pub fn allocated(&self) -> u64 {
        self.allocated.get()
    }

    /// Bytes held in free lists.
    pub fn free_bytes(&self) -> usize {
        self.free
            .iter()
            .map(|f| f.borrow().iter().map(Vec::capacity).sum::<usize>())
            .sum()
    }
}

/// The smallest class that holds `min` bytes.
#[inline]
fn class_up(min: usize) -> Option<usize> {
    // The magnitude of the last byte's place, in halves of the smallest class: no test for powers of two.
    let class = ((min.max(CLASSES[0]) - 1) >> 9).ilog2() as usize;
    (class < CLASSES.len()).then_some(class)
}

/// The largest class that `capacity` satisfies. Twice the largest class is too much to keep.
#[inline]
fn class_down(capacity: usize) -> Option<usize> {
    let class = (capacity >> 10).checked_ilog2()? as usize;
    (class < CLASSES.len()).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_and_bound() {
        for (min, class) in [
            (0, Some(0)),
            (1, Some(0)),
            (1024, Some(0)),
            (1025, Some(1)),
            (4096, Some(2)),
            (131_072, Some(7)),
            (131_073, None),
        ] {
            assert_eq!(class_up(min), class, "{min}");
        }
        for (cap, class) in [
            (0, None),
            (1023, None),
            (1024, Some(0)),
            (1500, Some(0)),
            (2048, Some(1)),
            (131_072, Some(7)),
            (262_143, Some(7)),
            (262_144, None),
        ] {
            assert_eq!(class_down(cap), class, "{cap}");
        }
    }

    #[test]
    fn take_gives_empty_and_reuses() {
        let pool = BufPool::new();
        let mut a = pool.take(3000);
        assert!(a.is_empty() && a.capacity() >= 4096);
        a.extend_from_slice(b"x");
        let address = a.as_ptr();
        pool.give(a);
        let b = pool.take(4096);
        assert!(b.is_empty());
        assert_eq!(b.as_ptr(), address);
        assert_eq!((pool.lent(), pool.allocated()), (1, 1));
    }

    #[test]
    fn free_lists_are_bounded() {
        let pool = BufPool::new();
        let all: Vec<_> = (0..100).map(|_| pool.take(128 << 10)).collect();
        all.into_iter().for_each(|b| pool.give(b));
        assert_eq!(pool.free_bytes(), CLASS_BYTES_MAX);
        pool.shrink();
        assert_eq!(pool.free_bytes(), 0);
    }

    #[test]
    fn grow_keeps_contents() {
        let pool = BufPool::new();
        let mut b = pool.take(10);
        b.extend_from_slice(b"abc");
        pool.grow(&mut b, 5000);
        assert!(b.capacity() >= 8192);
        assert_eq!(b, b"abc");
        assert_eq!(pool.lent(), 1);
    }
}
