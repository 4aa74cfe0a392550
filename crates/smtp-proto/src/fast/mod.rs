//! What is worth `unsafe`: the only module that may hold it.
//!
//! [`ascii`] makes the mix of commands 1.3 times as fast as the same with checked conversions to text; `vectors` makes
//! the check for bare CR and LF more than twice as fast as what the compiler makes of the portable loop in [`neighbours`], and
//! copies what it looks at at little more than the cost of looking.
#![allow(unsafe_code)]

mod ascii;
mod neighbours;
#[cfg(target_arch = "x86_64")]
mod vectors;

pub(crate) use ascii::Ascii;
pub(crate) use neighbours::{copy_to_remarkable, is_remarkable, remarkable};
