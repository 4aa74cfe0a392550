//! What is worth `unsafe`: the only module that may hold it.
//!
//! [`ascii`] makes the command mix 1.3 x as fast as the same with checked conversions to text, [`neighbours`] un-stuffing
//! with the check for bare CR and LF 1.6 x as fast as what the compiler makes of the portable loop (BENCHMARKS.md).
#![allow(unsafe_code)]

mod ascii;
mod neighbours;

pub(crate) use ascii::Ascii;
pub(crate) use neighbours::{is_remarkable, remarkable};
