//! Dense `u32` ids with a type of their own, and vectors indexed by them.
//! Start at [`define_id!`](crate::define_id).

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// What [`define_id!`](crate::define_id) gives a type: a small integer that counts from zero.
pub trait DenseId: Copy + Eq {
    /// The id of the `index`-th element.
    fn from_index(index: usize) -> Self;
    /// The position that the id stands for.
    fn index(self) -> usize;
}

/// Defines dense id types: `define_id!(/// docs ServerId)`.
#[macro_export]
macro_rules! define_id {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $crate::base::ids::DenseId for $name {
            fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).expect("invariant: fewer than 2^32 elements of one kind"))
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )+};
}

/// A `Vec` that is indexed by one kind of id only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdVec<I, T> {
    items: Vec<T>,
    id: PhantomData<fn(I) -> I>,
}

impl<I: DenseId, T> IdVec<I, T> {
    /// Empty, without an allocation.
    pub const fn new() -> Self {
        Self {
            items: Vec::new(),
            id: PhantomData,
        }
    }

    /// Appends and returns the new element's id.
    pub fn push(&mut self, item: T) -> I {
        self.items.push(item);
        I::from_index(self.items.len() - 1)
    }

    /// The element, or `None` for an id of another vector.
    pub fn get(&self, id: I) -> Option<&T> {
        self.items.get(id.index())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Elements in id order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }

    /// Elements in id order, to change.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.items.iter_mut()
    }

    /// Ids with their elements, in order.
    pub fn enumerate(&self) -> impl Iterator<Item = (I, &T)> {
        self.items
            .iter()
            .enumerate()
            .map(|(i, t)| (I::from_index(i), t))
    }

    /// All ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = I> + use<I, T> {
        (0..self.items.len()).map(I::from_index)
    }

    /// The elements as a slice.
    pub fn as_slice(&self) -> &[T] {
        &self.items
    }
}

impl<I: DenseId, T> Default for IdVec<I, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: DenseId, T> From<Vec<T>> for IdVec<I, T> {
    fn from(items: Vec<T>) -> Self {
        Self {
            items,
            id: PhantomData,
        }
    }
}

impl<I: DenseId, T> FromIterator<T> for IdVec<I, T> {
    fn from_iter<A: IntoIterator<Item = T>>(items: A) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<I: DenseId, T> Index<I> for IdVec<I, T> {
    type Output = T;
    fn index(&self, id: I) -> &T {
        &self.items[id.index()]
    }
}

impl<I: DenseId, T> IndexMut<I> for IdVec<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.items[id.index()]
    }
}

impl<'a, I: DenseId, T> IntoIterator for &'a IdVec<I, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    define_id!(
        /// An id of these tests.
        TestId
    );

    #[test]
    fn ids_count_from_zero_and_index() {
        let mut v: IdVec<TestId, &str> = IdVec::new();
        let a = v.push("a");
        let b = v.push("b");
        assert_eq!((a, b), (TestId(0), TestId(1)));
        assert_eq!((v[a], v[b]), ("a", "b"));
        assert_eq!(v.get(TestId(2)), None);
        v[a] = "c";
        assert_eq!(v.enumerate().map(|(i, _)| i).collect::<Vec<_>>(), [a, b]);
        assert_eq!(v.into_iter().copied().collect::<Vec<_>>(), ["c", "b"]);
    }
}
