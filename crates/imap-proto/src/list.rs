//! Lists that stay as the peer wrote them. A list is checked when its message is parsed and decoded as it is read: so a
//! message costs no allocation, whatever its lists hold, and becomes owned by one copy.

use std::marker::PhantomData;

use crate::Quirks;
use crate::lex::{Ctx, In, Res, byte, expected, map, parens_len, peek};
use crate::write::Writer;

/// What a list can hold.
pub trait Element<'w>: Sized {
    /// Whether a space separates two of them.
    const SPACED: bool = true;
    /// Parses one.
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self>;
    /// Takes what [`parse`](Self::parse) takes, and makes no value of it.
    #[inline]
    fn check(i: In<'w>, ctx: Ctx) -> Res<'w, ()> {
        map(Self::parse(i, ctx), drop)
    }
    /// Writes one.
    fn write(&self, w: &mut Writer<'_>);
}

/// The elements of a list, decoded one by one.
#[derive(Debug, Clone)]
pub struct ListIter<'w, T> {
    rest: In<'w>,
    of: PhantomData<fn() -> T>,
}

impl<'w, T> ListIter<'w, T> {
    pub(crate) fn new(rest: In<'w>) -> Self {
        Self { rest, of: PhantomData }
    }
}

impl<'w, T: Element<'w>> Iterator for ListIter<'w, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.rest.is_empty() {
            return None;
        }
        // The text was checked when the list was made.
        let parsed = T::parse(self.rest, Ctx::CHECKED);
        debug_assert!(parsed.is_ok(), "checked, but no element: {}", self.rest.escape_ascii());
        let (rest, item) = parsed.ok()?;
        self.rest = rest;
        while let Some(rest) = self.rest.strip_prefix(b" ") {
            self.rest = rest;
        }
        Some(item)
    }
}

/// Checks `item SP item ...`, at least one; the text of all of them.
#[inline]
pub(crate) fn bare<'w, T: Element<'w>>(start: In<'w>, ctx: Ctx) -> Res<'w, In<'w>> {
    let mut i = start;
    let mut items = 0;
    loop {
        ctx.room(i, items)?;
        let (rest, ()) = T::check(i, ctx)?;
        items += 1;
        i = rest;
        match peek(rest) {
            Some(b' ') if T::SPACED => {
                i = &rest[1..];
                if ctx.allows(Quirks::TRAILING_SPACE) && matches!(peek(i), None | Some(b')' | b' ')) {
                    i = rest;
                    break;
                }
            }
            Some(b' ') if ctx.allows(Quirks::SPACES_BETWEEN_ADDRESSES) && rest.get(1) == Some(&b'(') => {
                i = &rest[1..]
            }
            Some(b'(') if !T::SPACED => {}
            _ => break,
        }
    }
    Ok((i, &start[..start.len() - i.len()]))
}

/// Checks `( item SP item ... )`; the text between the parentheses.
#[inline]
pub(crate) fn paren<'w, T: Element<'w>>(i: In<'w>, ctx: Ctx, min: usize) -> Res<'w, In<'w>> {
    if ctx.checked() && peek(i) == Some(b'(') {
        let n = parens_len(i);
        return Ok((&i[n..], i.get(1..n - 1).unwrap_or_default()));
    }
    let (i, ()) = byte(i, b'(', "(")?;
    if min == 0 && peek(i) == Some(b')') {
        return Ok((&i[1..], &i[..0]));
    }
    let (mut i, text) = bare::<T>(i, ctx)?;
    if ctx.allows(Quirks::TRAILING_SPACE) {
        while let Some(rest) = i.strip_prefix(b" ") {
            i = rest;
        }
    }
    match peek(i) {
        Some(b')') => Ok((&i[1..], text)),
        _ => expected(i, ") or a space"),
    }
}

/// Writes the elements, with spaces where they belong.
pub(crate) fn write_all<'w, T: Element<'w>>(items: impl IntoIterator<Item = T>, w: &mut Writer<'_>) {
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 && T::SPACED {
            w.raw(" ");
        }
        item.write(w);
    }
}

/// A list type: `list!(/// Its docs. Flags<'w> of Flag<'w>);`
macro_rules! list {
    ($(#[$meta:meta])* $name:ident<$w:lifetime> of $item:ty) => {
        $(#[$meta])*
        ///
        /// Held as the peer wrote it, decoded as it is read; made from values by `collect()`.
        #[derive(Clone, Default)]
        pub struct $name<'a>(std::borrow::Cow<'a, [u8]>);

        impl<'a> $name<'a> {
            /// The elements, decoded one by one.
            pub fn iter<$w>(&$w self) -> $crate::list::ListIter<$w, $item> {
                $crate::list::ListIter::new(&self.0)
            }

            /// Whether there is none.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// How many there are; linear.
            pub fn len(&self) -> usize {
                self.iter().count()
            }

            /// `item SP item ...`, at least one.
            #[allow(dead_code)]
            #[inline]
            pub(crate) fn parse_bare(i: $crate::lex::In<'a>, ctx: $crate::lex::Ctx) -> $crate::lex::Res<'a, Self> {
                fn check<$w>(i: $crate::lex::In<$w>, ctx: $crate::lex::Ctx) -> $crate::lex::Res<$w, $crate::lex::In<$w>> {
                    $crate::list::bare::<$item>(i, ctx)
                }
                let (i, text) = check(i, ctx)?;
                Ok((i, Self(std::borrow::Cow::Borrowed(text))))
            }

            /// `( ... )`, at least `min`.
            #[allow(dead_code)]
            #[inline]
            pub(crate) fn parse_paren(i: $crate::lex::In<'a>, ctx: $crate::lex::Ctx, min: usize) -> $crate::lex::Res<'a, Self> {
                fn check<$w>(i: $crate::lex::In<$w>, ctx: $crate::lex::Ctx, min: usize) -> $crate::lex::Res<$w, $crate::lex::In<$w>> {
                    $crate::list::paren::<$item>(i, ctx, min)
                }
                let (i, text) = check(i, ctx, min)?;
                Ok((i, Self(std::borrow::Cow::Borrowed(text))))
            }

            #[allow(dead_code)]
            pub(crate) fn write_bare(&self, w: &mut $crate::write::Writer<'_>) {
                $crate::list::write_all(self.iter(), w);
            }

            #[allow(dead_code)]
            pub(crate) fn write_paren(&self, w: &mut $crate::write::Writer<'_>) {
                w.raw("(");
                self.write_bare(w);
                w.raw(")");
            }
        }

        impl<$w> IntoIterator for &$w $name<'_> {
            type Item = $item;
            type IntoIter = $crate::list::ListIter<$w, $item>;
            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        // A list of values without a lifetime has no use for it.
        #[allow(clippy::extra_unused_lifetimes)]
        impl<$w> FromIterator<$item> for $name<'static> {
            fn from_iter<I: IntoIterator<Item = $item>>(items: I) -> Self {
                let mut out = Vec::new();
                $crate::list::write_all(items, &mut $crate::write::Writer::checked(&mut out));
                Self(std::borrow::Cow::Owned(out))
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &$name<'_>) -> bool {
                self.0 == other.0 || self.iter().eq(other.iter())
            }
        }

        impl Eq for $name<'_> {}

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }

        $crate::own::into_owned!(tuple $name);

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name<'_> {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_seq(self.iter())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de, 'a> serde::Deserialize<'de> for $name<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[allow(clippy::extra_unused_lifetimes)]
                fn collect<$w>(items: Vec<$item>) -> $name<'static> {
                    items.into_iter().collect()
                }
                Ok(collect(Vec::deserialize(from)?))
            }
        }
    };
}

pub(crate) use list;
