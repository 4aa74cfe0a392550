//! What a client asks first.
use crate::Bench;

pub(crate) fn run(_: &Bench) {}
