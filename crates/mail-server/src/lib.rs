#![forbid(unsafe_code)]
//! IMAP, POP3, SMTP, submission and LMTP services over any mail store.
pub mod imap;
pub mod local;
pub mod pop3;
#[cfg(all(test, unix))]
mod python_tests;
mod sasl;
mod server;
pub mod smtp;
pub mod store;
#[cfg(test)]
mod testing;
mod wire;

pub use server::{
    BoxedStream, Budget, Context, Count, Limits, Peer, Reserved, Service, Shutdown, Stream, base_name, serve,
    serve_counted, session,
};
pub use store::{Directory, MailStore, User};
