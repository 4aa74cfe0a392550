//! Prints what happens in a mailbox, whoever does it: Dovecot, mutt, a delivery.
//!
//! `cargo run -p posthaste-maildir --example watch -- ~/Maildir [folder]`; ends with Ctrl-C, or
//! after the third argument's number of changes.

use std::sync::Arc;
use std::time::Duration;

use posthaste_maildir::{LocalConfig, LocalFs, MailboxConfig, Tree};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: watch <maildir> [folder] [changes]")?;
    let folder = args.next().unwrap_or_else(|| "INBOX".to_owned());
    let mut left: u64 = args.next().map_or(Ok(u64::MAX), |n| n.parse())?;
    let store = Arc::new(LocalFs::open(path, LocalConfig::default())?);
    let mailbox = Tree::new(store, b"", MailboxConfig::default()).mailbox(&folder)?;

    // First the watcher, then the picture: so nothing falls between them.
    let mut watcher = mailbox.watch()?;
    let now = mailbox.peek()?;
    let mut seen = now.modseq;
    println!("{folder}: {} messages", now.messages.len());
    while left > 0 {
        if !watcher.wait(Duration::from_secs(60))? {
            continue;
        }
        // A hint says only "look again"; what changed is asked for by number.
        let Some(changes) = mailbox.peek_changes_since(seen)? else {
            println!("too much has happened: the mailbox must be read anew");
            seen = mailbox.peek()?.modseq;
            continue;
        };
        for message in &changes.changed {
            println!("{} {:?} {:?} {} bytes", message.uid, message.flags, message.keywords, message.size);
        }
        for uid in &changes.vanished {
            println!("{uid} gone");
        }
        left = left.saturating_sub((changes.changed.len() + changes.vanished.len()) as u64);
        seen = changes.modseq;
    }
    Ok(())
}
