//! Compares a Maildir before and after a migration: is every message there, with its UID, flags,
//! keywords, date and content?
//!
//! `cargo run -p posthaste-maildir --example migrate-check -- picture ~/Maildir > before`, then
//! migrate, then `… -- compare ~/Maildir < before`. Ends with 1 and says what differs. Changes
//! nothing that Dovecot would not change too (messages in `new` move to `cur`).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use posthaste_maildir::{LocalConfig, LocalFs, MailboxConfig, Tree};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["picture", path] => picture(path).map(|lines| lines.iter().for_each(|line| println!("{line}"))),
        ["compare", path] => compare(path),
        _ => Err("usage: migrate-check picture|compare <maildir>".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// One line a mailbox, then one a message: what IMAP and POP3 clients know them by.
fn picture(path: &str) -> Result<Vec<String>> {
    let store = Arc::new(LocalFs::open(path, LocalConfig::default())?);
    let tree = Tree::new(store, b"", MailboxConfig::default());
    let mut lines = Vec::new();
    for name in tree.list()? {
        let mailbox = tree.mailbox(&name)?;
        let now = mailbox.peek()?;
        lines.push(format!("{name}\tuidvalidity {}", now.uid_validity));
        for message in now.messages {
            let mut keywords: Vec<&str> = message.keywords.iter().map(|k| k.as_str()).collect();
            keywords.sort_unstable();
            let date = message.date.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            let content = fingerprint(&mailbox.read(message.uid)?);
            // The base name is POP3's UIDL; its flags are what IMAP shows.
            lines.push(format!(
                "{name}\t{}\t{} flags {:?} keywords {} date {date} size {} content {content:016x}",
                message.uid,
                message.base,
                message.flags.intersection(posthaste_maildir::Flags::IMAP),
                keywords.join(","),
                message.size,
            ));
        }
    }
    let subscribed = tree.subscriptions()?;
    lines.extend(subscribed.iter().map(|name| format!("{name}\tsubscribed")));
    Ok(lines)
}

fn compare(path: &str) -> Result<()> {
    let mut before = String::new();
    std::io::stdin().read_to_string(&mut before)?;
    let (before, after) = (keyed(before.lines()), picture(path)?);
    let after = keyed(after.iter().map(String::as_str));
    let mut differences = Vec::new();
    for (key, was) in &before {
        match after.get(key) {
            None => differences.push(format!("missing  {key}: {was}")),
            Some(is) if is != was => differences.push(format!("was      {key}: {was}\nis       {key}: {is}")),
            Some(_) => {}
        }
    }
    let added = after.keys().filter(|key| !before.contains_key(*key)).count();
    println!("{} the same, {} differ, {added} are new", before.len() - differences.len(), differences.len());
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

/// By mailbox and UID.
fn keyed<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let line = |line: &str| match line.splitn(3, '\t').collect::<Vec<_>>()[..] {
        [mailbox, uid, rest] => Some((format!("{mailbox} {uid}"), rest.to_owned())),
        [mailbox, fact] => {
            let (what, value) = fact.split_once(' ').unwrap_or((fact, ""));
            Some((format!("{mailbox} {what}"), value.to_owned()))
        }
        _ => None,
    };
    lines.filter_map(line).collect()
}

fn fingerprint(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
