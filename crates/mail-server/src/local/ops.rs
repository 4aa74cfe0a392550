//! One operation, on a blocking thread.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use posthaste_maildir as maildir;
use posthaste_maildir::{Append, BaseName, Delivery, Durability, Error, Mailbox};

use super::cache::Home;
use super::{Inner, Outcome, convert};
use crate::store::{
    Base, FlagChange, Flags, Listed, MailboxName, Op, Part, Recipient, Reply, StoreError, User,
};

type Done = Result<Outcome, StoreError>;

impl<S: maildir::Store> Inner<S> {
    pub(super) fn execute(&self, user: &User, op: Op) -> Done {
        match op {
            Op::Deliver { to, body } => self.deliver(&to, &body),
            Op::List => self.list(user),
            Op::Create(name) => self.create(user, &name),
            Op::Delete { name, uid_validity } => self.delete(user, &name, uid_validity),
            Op::Rename { from, to } => self.rename(user, &from, &to),
            Op::Subscribe { name, on } => self.subscribe(user, &name, on),
            Op::Open(name) => self.open(user, &name, Mailbox::snapshot),
            Op::Peek(name) => self.open(user, &name, Mailbox::peek),
            Op::Changes { name, since, uid_validity, peek: false } => {
                self.changes(user, &name, uid_validity, |m| m.changes_since(since), Mailbox::snapshot)
            }
            Op::Changes { name, since, uid_validity, peek: true } => {
                self.changes(user, &name, uid_validity, |m| m.peek_changes_since(since), Mailbox::peek)
            }
            Op::Fetch { name, uids, part } => self.fetch(user, &name, &uids, part),
            Op::Store { name, uids, change, flags } => self.change_flags(user, &name, &uids, change, &flags),
            Op::Append { name, base, flags, date, body } => {
                self.append(user, &name, &base, &flags, date, &body)
            }
            Op::Copy { from, to, messages } => self.copy(user, &from, &to, &messages),
            Op::Expunge { name, uids, even_undeleted } => {
                self.expunge(user, &name, uids.as_deref(), even_undeleted)
            }
        }
    }

    fn deliver(&self, to: &[Recipient], body: &Bytes) -> Done {
        let inbox = MailboxName::inbox();
        let mut inboxes = Vec::with_capacity(to.len());
        for recipient in to {
            let home = self.home(&recipient.user)?;
            let _structure = read(&home);
            inboxes.push(self.mailbox(&recipient.user, &home, &inbox)?);
        }
        let bases: Vec<BaseName> = to.iter().map(|r| convert::base(&r.base)).collect::<Result<_, _>>()?;
        let deliveries: Vec<(&Mailbox<S>, Delivery<'_>)> = inboxes
            .iter()
            .zip(bases)
            .map(|(inbox, base)| (&**inbox, Delivery { base: Some(base), content: body }))
            .collect();
        Mailbox::deliver_to_all(&deliveries).map_err(convert::error)?;
        let changed = to.iter().map(|recipient| (recipient.user.clone(), inbox.clone())).collect();
        Ok(Outcome { reply: Reply::Done, changed })
    }

    fn list(&self, user: &User) -> Done {
        let home = self.home(user)?;
        let _structure = read(&home);
        let mut all: BTreeMap<String, (bool, bool)> = BTreeMap::new();
        for name in home.tree.list().map_err(convert::error)? {
            all.entry(name).or_default().0 = true;
        }
        for name in home.tree.subscriptions().map_err(convert::error)? {
            all.entry(name).or_default().1 = true;
        }
        let listed = all.into_iter().filter_map(|(name, (exists, subscribed))| {
            // What another program subscribed to or made may have no name in our sense.
            let name = MailboxName::parse(&name).ok()?;
            Some(Listed { name, subscribed, exists })
        });
        Ok(unchanged(Reply::Listing(listed.collect())))
    }

    fn create(&self, user: &User, name: &MailboxName) -> Done {
        let home = self.home(user)?;
        let _structure = write(&home);
        home.tree.create(name.as_str()).map_err(convert::error)?;
        Ok(changed(Reply::Done, user, name))
    }

    fn delete(&self, user: &User, name: &MailboxName, uid_validity: u32) -> Done {
        let home = self.home(user)?;
        let _structure = write(&home);
        let mailbox = self.mailbox(user, &home, name)?;
        if mailbox.uid_validity().map_err(convert::error)? != uid_validity {
            return Err(StoreError::NoMailbox(name.to_string()));
        }
        drop(mailbox);
        self.cache.close(user, |open| open == name);
        home.tree.delete(name.as_str()).map_err(convert::error)?;
        Ok(changed(Reply::Done, user, name))
    }

    fn rename(&self, user: &User, from: &MailboxName, to: &MailboxName) -> Done {
        let home = self.home(user)?;
        let _structure = write(&home);
        let below = format!("{from}.");
        self.cache.close(user, |open| open == from || open.as_str().starts_with(&below));
        let moves = home.tree.rename(from.as_str(), to.as_str()).map_err(convert::error)?;
        let names = moves.into_iter().flat_map(|(old, new)| [old, new]);
        let names = names.filter_map(|name| MailboxName::parse(&name).ok());
        Ok(Outcome { reply: Reply::Done, changed: names.map(|name| (user.clone(), name)).collect() })
    }

    fn subscribe(&self, user: &User, name: &MailboxName, on: bool) -> Done {
        self.home(user)?.tree.subscribe(name.as_str(), on).map_err(convert::error)?;
        Ok(unchanged(Reply::Done))
    }

    fn open(
        &self,
        user: &User,
        name: &MailboxName,
        look: fn(&Mailbox<S>) -> Result<maildir::Snapshot, Error>,
    ) -> Done {
        let snapshot = self.with(user, name, look)?;
        Ok(unchanged(Reply::Snapshot(convert::snapshot(snapshot))))
    }

    fn changes(
        &self,
        user: &User,
        name: &MailboxName,
        uid_validity: u32,
        changes: impl FnOnce(&Mailbox<S>) -> Result<Option<maildir::Changes>, Error>,
        look: fn(&Mailbox<S>) -> Result<maildir::Snapshot, Error>,
    ) -> Done {
        let reply = self.with(user, name, |mailbox| match changes(mailbox)? {
            Some(changes) if changes.uid_validity == uid_validity => {
                Ok(Reply::Changes(convert::changes(changes)))
            }
            // What the changes told as recent, nobody is told: a client that must begin anew
            // loses a mark that has no meaning to it.
            _ => look(mailbox).map(convert::snapshot).map(Reply::Snapshot),
        })?;
        Ok(unchanged(reply))
    }

    fn fetch(&self, user: &User, name: &MailboxName, uids: &[u32], part: Part) -> Done {
        let max = self.config.fetch_bytes_max;
        let parts = self.with(user, name, |mailbox| {
            if !uids.iter().all(|uid| mailbox.message(*uid).is_ok()) {
                mailbox.sync()?;
            }
            let mut parts = Vec::with_capacity(uids.len());
            let mut total = 0usize;
            for uid in uids {
                match read_part(mailbox, *uid, part) {
                    Ok(bytes) => {
                        total += bytes.len();
                        parts.push((*uid, Bytes::from(bytes)));
                    }
                    Err(Error::Gone { .. }) => {}
                    Err(e) => return Err(e),
                }
                if total > max && parts.len() > 1 {
                    return Ok(None);
                }
            }
            Ok(Some(parts))
        })?;
        let too_much =
            || StoreError::Refused(format!("one fetch may return {max} bytes; ask for fewer messages"));
        parts.map(Reply::Parts).map(unchanged).ok_or_else(too_much)
    }

    fn change_flags(
        &self,
        user: &User,
        name: &MailboxName,
        uids: &[u32],
        change: FlagChange,
        flags: &Flags,
    ) -> Done {
        let (system, keywords) = (convert::system_flags(flags), convert::keywords(flags)?);
        let messages = self.with(user, name, |mailbox| {
            mailbox.change_flags(uids, convert::flag_change(change), system, &keywords)
        })?;
        Ok(changed(Reply::Messages(messages.into_iter().map(convert::message).collect()), user, name))
    }

    fn append(
        &self,
        user: &User,
        name: &MailboxName,
        base: &Base,
        flags: &Flags,
        date: Option<i64>,
        body: &Bytes,
    ) -> Done {
        let item = Append {
            base: Some(convert::base(base)?),
            content: body,
            flags: convert::system_flags(flags),
            keywords: &convert::keywords(flags)?,
            date: date.map(convert::time),
        };
        let done = self.with(user, name, |mailbox| mailbox.append(&item, Durability::None))?;
        Ok(changed(Reply::Appended { uid_validity: done.uid_validity, uid: done.uid }, user, name))
    }

    fn copy(&self, user: &User, from: &MailboxName, to: &MailboxName, messages: &[(u32, Base)]) -> Done {
        let items: Vec<(u32, BaseName)> = messages
            .iter()
            .map(|(uid, base)| convert::base(base).map(|base| (*uid, base)))
            .collect::<Result<_, _>>()?;
        let home = self.home(user)?;
        let _structure = read(&home);
        let source = self.mailbox(user, &home, from)?;
        let target = self.mailbox(user, &home, to)?;
        let copied = source.copy(&target, &items).map_err(convert::error)?;
        let uid_validity = target.uid_validity().map_err(convert::error)?;
        let uids = copied.into_iter().map(|copy| (copy.from, copy.to)).collect();
        Ok(changed(Reply::Copied { uid_validity, uids }, user, to))
    }

    fn expunge(&self, user: &User, name: &MailboxName, uids: Option<&[u32]>, even_undeleted: bool) -> Done {
        let gone = self.with(user, name, |mailbox| mailbox.expunge(uids, !even_undeleted))?;
        Ok(changed(Reply::Vanished(gone), user, name))
    }

    fn home(&self, user: &User) -> Result<Arc<Home<S>>, StoreError> {
        self.cache.home(user).map_err(convert::error)
    }

    fn mailbox(
        &self,
        user: &User,
        home: &Home<S>,
        name: &MailboxName,
    ) -> Result<Arc<Mailbox<S>>, StoreError> {
        self.cache.mailbox(user, home, name).map_err(convert::error)
    }

    /// Does something with a mailbox that nobody removes or renames meanwhile.
    fn with<T>(
        &self,
        user: &User,
        name: &MailboxName,
        act: impl FnOnce(&Mailbox<S>) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let home = self.home(user)?;
        let _structure = read(&home);
        let mailbox = self.mailbox(user, &home, name)?;
        act(&mailbox).map_err(|e| {
            if matches!(&e, Error::Io { .. }) && !e.is_storage_full() {
                // Another program may have removed the mailbox and made it again: open it anew.
                self.cache.close(user, |open| open == name);
            }
            convert::error(e)
        })
    }
}

fn read_part<S: maildir::Store>(mailbox: &Mailbox<S>, uid: u32, part: Part) -> Result<Vec<u8>, Error> {
    match part {
        Part::Whole => mailbox.read(uid),
        Part::Header => mailbox.read_header(uid),
        Part::Range { offset, len } => mailbox.read_range(uid, offset, len),
    }
}

fn unchanged(reply: Reply) -> Outcome {
    Outcome { reply, changed: Vec::new() }
}

fn changed(reply: Reply, user: &User, name: &MailboxName) -> Outcome {
    Outcome { reply, changed: vec![(user.clone(), name.clone())] }
}

fn read<S: maildir::Store>(home: &Home<S>) -> RwLockReadGuard<'_, ()> {
    home.structure.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write<S: maildir::Store>(home: &Home<S>) -> RwLockWriteGuard<'_, ()> {
    home.structure.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}
