//! How known bugs are declared, here and in the simulator: a name in the code, one on the command line, and what is wrong.

macro_rules! bugs {
    ($($name:ident = $text:literal: $doc:literal,)*) => {
        /// One known bug.
        #[cfg_attr(not(feature = "bugs"), allow(dead_code, unreachable_pub))]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $doc] $name,)*
        }

        #[cfg_attr(not(feature = "bugs"), allow(dead_code, unreachable_pub))]
        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What is wrong.
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}
