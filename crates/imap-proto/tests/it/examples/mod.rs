//! The examples of the covered RFCs, all of them, both ways: what a client says as a server reads it and as a client writes it, what
//! a server says the other way round. [`dialogue`] holds how they are written down and what is asked of each line.

mod base;
mod dialogue;
mod extensions;
mod names;
mod opaque;
mod values;
