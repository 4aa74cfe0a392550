//! The mailbox as it was at login, and what the session has marked.

use posthaste_pop3_proto::{ListEntry, MessageNumber, Stat, UidlEntry, UniqueId};

use crate::store::{MailboxName, Message, Op, Reply, Snapshot, StoreError, User};
use crate::{Context, store};

/// One message.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) uid: u32,
    pub(super) octets: u64,
    pub(super) id: UniqueId<'static>,
    pub(super) deleted: bool,
}

/// The inbox of a user. The messages' numbers are their places in it, from 1.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) user: User,
    entries: Vec<Entry>,
}

impl Mailbox {
    /// Takes a snapshot of the inbox.
    pub(super) async fn open(context: &Context, user: User) -> Result<Self, StoreError> {
        match context.store.call(&user, Op::Peek(MailboxName::inbox())).await? {
            Reply::Snapshot(snapshot) => Ok(Self { user, entries: entries(&snapshot) }),
            other => Err(unexpected(&other)),
        }
    }

    /// The message of this number, unless it is marked deleted.
    pub(super) fn get(&self, number: MessageNumber) -> Option<&Entry> {
        self.entries.get(index(number)).filter(|entry| !entry.deleted)
    }

    /// Marks it; false if it was marked, or is none.
    pub(super) fn delete(&mut self, number: MessageNumber) -> bool {
        match self.entries.get_mut(index(number)) {
            Some(entry) => !std::mem::replace(&mut entry.deleted, true),
            None => false,
        }
    }

    /// Takes all marks back.
    pub(super) fn reset(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.deleted = false);
    }

    /// Number and size of all that is not marked.
    pub(super) fn stat(&self) -> Stat {
        let (mut messages, mut octets) = (0, 0);
        for (_, entry) in self.present() {
            messages += 1;
            octets += entry.octets;
        }
        Stat { messages, octets }
    }

    /// LIST's lines.
    pub(super) fn list(&self) -> impl Iterator<Item = ListEntry> {
        self.present().map(|(message, entry)| ListEntry { message, octets: entry.octets })
    }

    /// UIDL's lines.
    pub(super) fn uidl(&self) -> impl Iterator<Item = UidlEntry<'static>> {
        self.present().map(|(message, entry)| UidlEntry { message, id: entry.id.clone() })
    }

    /// The update state (RFC 1939 §6): removes what is marked, for good.
    pub(super) async fn update(&self, context: &Context) -> Result<(), StoreError> {
        let uids: Vec<u32> =
            self.entries.iter().filter(|entry| entry.deleted).map(|entry| entry.uid).collect();
        if uids.is_empty() {
            return Ok(());
        }
        let op = Op::Expunge { name: MailboxName::inbox(), uids: Some(uids), even_undeleted: true };
        context.store.call(&self.user, op).await.map(drop)
    }

    /// `len` octets of a message from `offset`, fewer at its end; `None` if the message is gone.
    pub(super) async fn read(
        &self,
        context: &Context,
        uid: u32,
        offset: u64,
        len: u64,
    ) -> Result<Option<bytes::Bytes>, StoreError> {
        let op = Op::Fetch {
            name: MailboxName::inbox(),
            uids: vec![uid],
            part: store::Part::Range { offset, len },
        };
        match context.store.call(&self.user, op).await? {
            Reply::Parts(parts) => Ok(parts.into_iter().next().map(|(_, octets)| octets)),
            other => Err(unexpected(&other)),
        }
    }

    fn present(&self) -> impl Iterator<Item = (MessageNumber, &Entry)> {
        let numbers = (1..=u32::MAX).filter_map(MessageNumber::new);
        numbers.zip(&self.entries).filter(|(_, entry)| !entry.deleted)
    }
}

fn index(number: MessageNumber) -> usize {
    usize::try_from(number.get() - 1).unwrap_or(usize::MAX)
}

fn entries(snapshot: &Snapshot) -> Vec<Entry> {
    let entry = |message: &Message| Entry {
        uid: message.uid,
        octets: message.size,
        id: unique_id(snapshot.uid_validity, message),
        deleted: false,
    };
    snapshot.messages.iter().map(entry).collect()
}

/// The base name; where a foreign program made one that UIDL can't show, UIDVALIDITY and UID, as stable.
fn unique_id(uid_validity: u32, message: &Message) -> UniqueId<'static> {
    UniqueId::new(message.base.clone())
        .or_else(|_| UniqueId::new(format!("{uid_validity:08x}{:08x}", message.uid)))
        .unwrap_or_else(|_| unreachable!("sixteen hexadecimal digits"))
}

fn unexpected(reply: &Reply) -> StoreError {
    let kind = format!("{reply:?}");
    StoreError::Internal(format!("unexpected reply {}", kind.split(['(', ' ']).next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Flags;

    #[test]
    fn a_uidl_is_the_base_name_or_else_validity_and_uid() {
        let message = |base: &str| Message {
            uid: 7,
            size: 1,
            date: 0,
            flags: Flags::default(),
            modseq: 1,
            base: base.to_owned(),
        };
        assert_eq!(unique_id(255, &message("1.M2P3.host")).as_str(), "1.M2P3.host");
        assert_eq!(unique_id(255, &message(&"x".repeat(71))).as_str(), "000000ff00000007");
        assert_eq!(unique_id(255, &message("with blank")).as_str(), "000000ff00000007");
    }
}
