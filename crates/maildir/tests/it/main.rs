//! Behaviour of stores and mailboxes on a real file system.
#![cfg(unix)]

mod support;

mod adding;
mod cache;
mod crash;
mod dovecot;
mod dovecot_torture;
mod hostile;
mod local;
mod mailbox;
mod torture;
mod tree;
