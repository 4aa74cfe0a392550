//! Behaviour of stores and mailboxes on a real file system.
#![cfg(unix)]

mod support;

mod local;
mod mailbox;
