//! Behaviour of stores and mailboxes on a real file system.
#![cfg(unix)]

mod support;

mod crash;
mod dovecot;
mod local;
mod mailbox;
