//! Making values independent of the buffer that they were parsed from.

use std::borrow::Cow;
use std::num::{NonZeroU32, NonZeroU64};

pub(crate) trait Own {
    type Owned;
    fn own(self) -> Self::Owned;
}

macro_rules! plain {
    ($($ty:ty),*) => { $(impl Own for $ty {
        type Owned = $ty;
        fn own(self) -> $ty {
            self
        }
    })* };
}

plain!(u8, u16, u32, u64, bool, char, NonZeroU32, NonZeroU64);

impl<T: ?Sized + ToOwned + 'static> Own for Cow<'_, T> {
    type Owned = Cow<'static, T>;
    fn own(self) -> Cow<'static, T> {
        Cow::Owned(self.into_owned())
    }
}

impl<T: Own> Own for Option<T> {
    type Owned = Option<T::Owned>;
    fn own(self) -> Self::Owned {
        self.map(T::own)
    }
}

impl<T: Own> Own for Vec<T> {
    type Owned = Vec<T::Owned>;
    fn own(self) -> Self::Owned {
        self.into_iter().map(T::own).collect()
    }
}

impl<T: Own> Own for Box<T> {
    type Owned = Box<T::Owned>;
    fn own(self) -> Self::Owned {
        Box::new((*self).own())
    }
}

impl<T: Own, U: Own> Own for (T, U) {
    type Owned = (T::Owned, U::Owned);
    fn own(self) -> Self::Owned {
        (self.0.own(), self.1.own())
    }
}

/// `into_owned` for a struct, field by field, or for an enum, variant by variant.
macro_rules! into_owned {
    (struct $name:ident { $($f:ident),* $(,)? }) => {
        impl $crate::own::Own for $name<'_> {
            type Owned = $name<'static>;
            fn own(self) -> $name<'static> {
                $name { $($f: $crate::own::Own::own(self.$f)),* }
            }
        }
        into_owned!(method $name);
    };
    (tuple $name:ident) => {
        impl $crate::own::Own for $name<'_> {
            type Owned = $name<'static>;
            fn own(self) -> $name<'static> {
                $name($crate::own::Own::own(self.0))
            }
        }
        into_owned!(method $name);
    };
    (enum $name:ident { $($v:ident $(($($t:ident),+))? $({ $($f:ident),+ })?),* $(,)? }) => {
        impl $crate::own::Own for $name<'_> {
            type Owned = $name<'static>;
            fn own(self) -> $name<'static> {
                match self {
                    $($name::$v $(($($t),+))? $({ $($f),+ })? =>
                        $name::$v $(($($crate::own::Own::own($t)),+))? $({ $($f: $crate::own::Own::own($f)),+ })?),*
                }
            }
        }
        into_owned!(method $name);
    };
    (method $name:ident) => {
        impl $name<'_> {
            /// The same value, independent of the buffer that it was parsed from.
            pub fn into_owned(self) -> $name<'static> {
                $crate::own::Own::own(self)
            }
        }
    };
    (copy $($name:ident),+ $(,)?) => { $(impl $crate::own::Own for $name {
        type Owned = $name;
        fn own(self) -> $name {
            self
        }
    })+ };
}

pub(crate) use into_owned;

impl<T: Own, const N: usize> Own for [T; N] {
    type Owned = [T::Owned; N];
    fn own(self) -> Self::Owned {
        self.map(T::own)
    }
}
