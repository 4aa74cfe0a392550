//! A vector that holds its first elements in place: the sets and paths of everyday commands allocate nothing.

use std::fmt;
use std::ops::Deref;

/// At most `N` elements in place, more on the heap.
#[derive(Clone)]
pub struct Few<T, const N: usize>(Held<T, N>);

#[derive(Clone)]
enum Held<T, const N: usize> {
    Inline { len: u8, items: [T; N] },
    Heap(Vec<T>),
}

/// A value for places that hold nothing yet.
pub(crate) trait Filler: Copy {
    const FILLER: Self;
}

impl Filler for std::num::NonZeroU32 {
    const FILLER: Self = std::num::NonZeroU32::MIN;
}

#[allow(private_bounds)]
impl<T: Filler, const N: usize> Few<T, N> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Held::Inline { len: 0, items: [T::FILLER; N] })
    }

    /// Appends one element.
    pub fn push(&mut self, item: T) {
        match &mut self.0 {
            Held::Inline { len, items } if usize::from(*len) < N => {
                items[usize::from(*len)] = item;
                *len += 1;
            }
            Held::Inline { items, .. } => {
                let mut all = Vec::with_capacity(4 * N);
                all.extend_from_slice(items);
                all.push(item);
                self.0 = Held::Heap(all);
            }
            Held::Heap(all) => all.push(item),
        }
    }
}

impl<T, const N: usize> Deref for Few<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Held::Inline { len, items } => &items[..usize::from(*len)],
            Held::Heap(all) => all,
        }
    }
}

#[allow(private_bounds)]
impl<T: Filler, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: PartialEq, const N: usize> PartialEq for Few<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for Few<T, N> {}

impl<T: std::hash::Hash, const N: usize> std::hash::Hash for Few<T, N> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for Few<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[allow(private_bounds)]
impl<T: Filler, const N: usize> FromIterator<T> for Few<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut few = Self::new();
        items.into_iter().for_each(|item| few.push(item));
        few
    }
}

impl<T, const N: usize> crate::own::Own for Few<T, N> {
    type Owned = Self;
    fn own(self) -> Self {
        self
    }
}

#[cfg(feature = "serde")]
impl<T: serde::Serialize, const N: usize> serde::Serialize for Few<T, N> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(to)
    }
}

#[cfg(feature = "serde")]
#[allow(private_bounds)]
impl<'de, T: Filler + serde::Deserialize<'de>, const N: usize> serde::Deserialize<'de> for Few<T, N> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<T>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn elements_stay_in_order_from_in_place_to_the_heap() {
        let all: Vec<NonZeroU32> = (1..20).filter_map(NonZeroU32::new).collect();
        for n in 0..all.len() {
            let few: Few<NonZeroU32, 6> = all[..n].iter().copied().collect();
            assert_eq!(*few, all[..n]);
            assert_eq!(few.clone(), few);
        }
    }
}
