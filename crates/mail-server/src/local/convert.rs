//! Between the services' types and the Maildir's.

use std::io;
use std::time::{Duration, SystemTime};

use posthaste_maildir as maildir;
use posthaste_maildir::{BaseName, Keyword};

use crate::store::{Base, Changes, FlagChange, Flags, Message, Snapshot, StoreError, unix_seconds};

pub(super) fn error(e: maildir::Error) -> StoreError {
    use maildir::Error;
    if e.is_storage_full() {
        return StoreError::Full;
    }
    match e {
        Error::NoMailbox(name) => StoreError::NoMailbox(name),
        Error::Exists(name) => StoreError::Exists(name),
        Error::BadMailboxName { .. }
        | Error::BadMessageName(_)
        | Error::KeywordsFull
        | Error::UidsExhausted => StoreError::Refused(e.to_string()),
        // Also the next try would read what does not match its checksum.
        Error::Io { ref source, .. } if source.kind() == io::ErrorKind::InvalidData => {
            tracing::error!(error = %e, "the store below is damaged");
            StoreError::Internal(e.to_string())
        }
        // Half of it may have been done; doing it again does the rest.
        Error::Io { .. } => {
            tracing::error!(error = %e, "a mail operation failed in the store below");
            StoreError::Unavailable(e.to_string())
        }
        other => StoreError::Internal(other.to_string()),
    }
}

pub(super) fn base(base: &Base) -> Result<BaseName, StoreError> {
    BaseName::parse(base.as_str().as_bytes()).map_err(|e| StoreError::Refused(e.to_string()))
}

pub(super) fn snapshot(s: maildir::Snapshot) -> Snapshot {
    Snapshot {
        uid_validity: s.uid_validity,
        uid_next: s.uid_next,
        modseq: s.modseq,
        messages: s.messages.into_iter().map(message).collect(),
        keywords: strings(&s.keywords),
        recent: s.recent,
    }
}

pub(super) fn changes(c: maildir::Changes) -> Changes {
    Changes {
        modseq: c.modseq,
        uid_next: c.uid_next,
        changed: c.changed.into_iter().map(message).collect(),
        vanished: c.vanished,
        keywords: strings(&c.keywords),
        recent: c.recent,
    }
}

pub(super) fn message(m: maildir::Message) -> Message {
    let has = |flag| m.flags.contains(flag);
    Message {
        uid: m.uid,
        size: m.size,
        date: unix_seconds(m.date),
        flags: Flags {
            seen: has(maildir::Flags::SEEN),
            answered: has(maildir::Flags::REPLIED),
            flagged: has(maildir::Flags::FLAGGED),
            deleted: has(maildir::Flags::TRASHED),
            draft: has(maildir::Flags::DRAFT),
            keywords: strings(&m.keywords),
        },
        modseq: m.modseq,
        base: identity(&m.base),
    }
}

/// The base name as its maker chose it: without the sizes that a store added, and printable.
fn identity(base: &BaseName) -> String {
    let mut name = base.as_bytes();
    while let Some(comma) = name.iter().rposition(|b| *b == b',') {
        match &name[comma + 1..] {
            [b'S' | b'W', b'=', ..] => name = &name[..comma],
            _ => break,
        }
    }
    let mut out = String::with_capacity(name.len());
    for byte in name {
        match byte {
            0x21..=0x7e => out.push(char::from(*byte)),
            odd => out.push_str(&format!("\\x{odd:02x}")),
        }
    }
    out
}

pub(super) fn system_flags(flags: &Flags) -> maildir::Flags {
    [
        (flags.seen, maildir::Flags::SEEN),
        (flags.answered, maildir::Flags::REPLIED),
        (flags.flagged, maildir::Flags::FLAGGED),
        (flags.deleted, maildir::Flags::TRASHED),
        (flags.draft, maildir::Flags::DRAFT),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(maildir::Flags::EMPTY, |all, (_, flag)| all.union(flag))
}

pub(super) fn keywords(flags: &Flags) -> Result<Vec<Keyword>, StoreError> {
    let parse =
        |name: &String| Keyword::parse(name).map_err(|e| StoreError::Refused(format!("{name:?}: {e}")));
    flags.keywords.iter().map(parse).collect()
}

pub(super) fn flag_change(change: FlagChange) -> maildir::FlagChange {
    match change {
        FlagChange::Add => maildir::FlagChange::Add,
        FlagChange::Remove => maildir::FlagChange::Remove,
        FlagChange::Replace => maildir::FlagChange::Set,
    }
}

/// Seconds since 1970 as a time; the nearest that the system can hold.
pub(super) fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn strings(keywords: &[Keyword]) -> Vec<String> {
    let mut names: Vec<String> = keywords.iter().map(|keyword| keyword.as_str().to_owned()).collect();
    names.sort_unstable();
    names
}
