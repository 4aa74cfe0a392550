//! Delivers a message from standard input, as a mail server's delivery agent would.
//!
//! `cargo run -p posthaste-maildir --example deliver -- ~/Maildir [folder] < message`
//!
//! Ends with 0 when the message is on disk, and with 75 (try again later) when it is not: then
//! nothing of it is there.

use std::process::ExitCode;
use std::sync::Arc;

use posthaste_maildir::{Durability, Error, LocalConfig, LocalFs, MailboxConfig, Tree};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        eprintln!("usage: deliver <maildir> [folder] < message");
        return ExitCode::from(64);
    };
    match deliver(&path, args.next().as_deref().unwrap_or("INBOX")) {
        Ok(name) => {
            println!("{name}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("not delivered: {e}");
            ExitCode::from(75)
        }
    }
}

fn deliver(path: &str, folder: &str) -> Result<String, Box<dyn std::error::Error>> {
    // One store for all users would be usual; here it is one user's Maildir.
    let store = Arc::new(LocalFs::open(path, LocalConfig::default())?);
    let tree = Tree::new(store, b"", MailboxConfig::default());
    tree.ensure()?;
    if !tree.exists(folder)? {
        match tree.create(folder) {
            // Another delivery was quicker.
            Err(Error::Exists(_)) => {}
            other => other?,
        }
    }
    // The message is never held in memory whole. `Full`: it is on disk, name and content, when the
    // call returns, and only then do we say so.
    let mut input = std::io::stdin().lock();
    let delivered = tree.mailbox(folder)?.deliver_from(None, &mut input, Durability::Full)?;
    Ok(delivered.base.to_string())
}
