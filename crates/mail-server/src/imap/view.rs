//! A selected mailbox as this client has been told of it.

use std::collections::BTreeSet;

use posthaste_imap_proto::{Atom, FetchWriter, Flag, IdSet, SequenceSet};

use crate::store::{Changes, FlagChange, Flags, MailboxName, Message, Snapshot, Watch};

/// Keywords of one mailbox that a view can hold; the store has room for 26.
const KEYWORDS_MAX: usize = 32;

/// One message, in 32 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) uid: u32,
    pub(super) flags: Bits,
    pub(super) recent: bool,
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) date: i64,
}

/// Flags as bits; keywords by their place in [`View::keywords`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits {
    pub(super) system: u8,
    pub(super) keywords: u32,
}

pub(super) const SEEN: u8 = 1;
pub(super) const ANSWERED: u8 = 2;
pub(super) const FLAGGED: u8 = 4;
pub(super) const DELETED: u8 = 8;
pub(super) const DRAFT: u8 = 16;

impl Bits {
    pub(super) fn has(self, system: u8) -> bool {
        self.system & system != 0
    }
}

/// Sequence numbers out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoSuchMessage;

/// The selected mailbox. Messages that are gone stay in it until the client may be told.
pub(super) struct View {
    pub(super) name: MailboxName,
    pub(super) read_only: bool,
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) modseq: u64,
    pub(super) keywords: Vec<String>,
    /// By UID; the index plus one is the sequence number.
    pub(super) entries: Vec<Entry>,
    pub(super) watch: Option<Watch>,
    /// Something may have changed since the store was asked.
    pub(super) hinted: bool,
    vanished: BTreeSet<u32>,
    /// UIDs whose flags the client does not know.
    changed: BTreeSet<u32>,
    told_exists: usize,
    told_keywords: usize,
}

impl View {
    pub(super) fn new(name: MailboxName, read_only: bool, snapshot: Snapshot, watch: Option<Watch>) -> Self {
        let mut view = Self {
            name,
            read_only,
            uid_validity: snapshot.uid_validity,
            uid_next: snapshot.uid_next,
            modseq: snapshot.modseq,
            keywords: Vec::new(),
            entries: Vec::with_capacity(snapshot.messages.len()),
            hinted: watch.is_none(),
            watch,
            vanished: BTreeSet::new(),
            changed: BTreeSet::new(),
            told_exists: 0,
            told_keywords: 0,
        };
        view.apply_snapshot(snapshot);
        view.changed.clear();
        view.told_exists = view.entries.len();
        view.told_keywords = view.keywords.len();
        view
    }

    /// Takes in what happened.
    pub(super) fn apply(&mut self, changes: Changes) {
        self.modseq = changes.modseq;
        self.uid_next = changes.uid_next;
        self.learn(&changes.keywords);
        changes.changed.iter().for_each(|message| self.upsert(message));
        self.mark_recent(&changes.recent);
        self.vanish(changes.vanished);
    }

    /// Takes in the whole mailbox, of the same UIDVALIDITY.
    pub(super) fn apply_snapshot(&mut self, snapshot: Snapshot) {
        self.modseq = snapshot.modseq;
        self.uid_next = snapshot.uid_next;
        self.learn(&snapshot.keywords);
        let there: IdSet = snapshot.messages.iter().map(|m| m.uid).collect();
        let gone: Vec<u32> = self.entries.iter().map(|e| e.uid).filter(|uid| !there.contains(*uid)).collect();
        snapshot.messages.iter().for_each(|message| self.upsert(message));
        self.mark_recent(&snapshot.recent);
        self.vanish(gone);
    }

    /// Takes in messages as they are now; `told` if the client hears of them by other means.
    pub(super) fn upsert_told(&mut self, message: &Message) {
        let known = self.changed.contains(&message.uid);
        self.upsert(message);
        if !known {
            self.changed.remove(&message.uid);
        }
    }

    fn upsert(&mut self, message: &Message) {
        let flags = self.bits(&message.flags);
        match self.entries.binary_search_by_key(&message.uid, |e| e.uid) {
            Ok(at) => {
                if self.entries[at].flags != flags {
                    self.entries[at].flags = flags;
                    self.changed.insert(message.uid);
                }
            }
            Err(at) => {
                let entry =
                    Entry { uid: message.uid, flags, recent: false, size: message.size, date: message.date };
                // A UID below the last one told would shift numbers unasked; the store never gives one.
                if at >= self.told_exists {
                    self.entries.insert(at, entry);
                }
            }
        }
    }

    fn mark_recent(&mut self, uids: &[u32]) {
        for uid in uids {
            if let Ok(at) = self.entries.binary_search_by_key(uid, |e| e.uid) {
                self.entries[at].recent = true;
            }
        }
    }

    pub(super) fn vanish(&mut self, uids: impl IntoIterator<Item = u32>) {
        for uid in uids {
            match self.entries.binary_search_by_key(&uid, |e| e.uid) {
                Ok(at) if at >= self.told_exists => {
                    self.entries.remove(at);
                }
                Ok(_) => {
                    self.vanished.insert(uid);
                }
                Err(_) => {}
            }
            self.changed.remove(&uid);
        }
    }

    pub(super) fn is_gone(&self, uid: u32) -> bool {
        self.vanished.contains(&uid)
    }

    fn learn(&mut self, keywords: &[String]) {
        for keyword in keywords {
            if self.keywords.len() < KEYWORDS_MAX
                && !self.keywords.contains(keyword)
                && Atom::new(keyword.as_str()).is_some()
            {
                self.keywords.push(keyword.clone());
            }
        }
    }

    fn bits(&mut self, flags: &Flags) -> Bits {
        self.learn(&flags.keywords);
        let mut bits = Bits::default();
        for (set, bit) in [
            (flags.seen, SEEN),
            (flags.answered, ANSWERED),
            (flags.flagged, FLAGGED),
            (flags.deleted, DELETED),
            (flags.draft, DRAFT),
        ] {
            bits.system |= if set { bit } else { 0 };
        }
        for keyword in &flags.keywords {
            if let Some(at) = self.keywords.iter().position(|k| k == keyword) {
                bits.keywords |= 1 << at;
            }
        }
        bits
    }

    /// What an entry's flags become by a change, if nobody else changes them.
    pub(super) fn expect(&mut self, before: &Entry, change: FlagChange, flags: &Flags) -> Bits {
        let (old, new) = (before.flags, self.bits(flags));
        let with = |f: fn(u32, u32) -> u32| Bits {
            system: f(u32::from(old.system), u32::from(new.system)) as u8,
            keywords: f(old.keywords, new.keywords),
        };
        match change {
            FlagChange::Add => with(|old, new| old | new),
            FlagChange::Remove => with(|old, new| old & !new),
            FlagChange::Replace => new,
        }
    }

    /// The flags of an entry as the wire has them.
    pub(super) fn flags(&self, entry: &Entry) -> Vec<Flag<'_>> {
        let mut flags = Vec::with_capacity(4);
        for (bit, flag) in [
            (SEEN, Flag::Seen),
            (ANSWERED, Flag::Answered),
            (FLAGGED, Flag::Flagged),
            (DELETED, Flag::Deleted),
            (DRAFT, Flag::Draft),
        ] {
            if entry.flags.has(bit) {
                flags.push(flag);
            }
        }
        if entry.recent {
            flags.push(Flag::Recent);
        }
        let named = self.keywords.iter().enumerate().filter(|(n, _)| entry.flags.keywords & (1 << n) != 0);
        flags.extend(named.filter_map(|(_, keyword)| Flag::keyword(keyword)));
        flags
    }

    /// What FLAGS tells.
    pub(super) fn known_flags(&self) -> Vec<Flag<'_>> {
        let mut flags = vec![Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Seen, Flag::Draft];
        flags.extend(self.keywords.iter().filter_map(|keyword| Flag::keyword(keyword)));
        flags
    }

    pub(super) fn recent(&self) -> usize {
        self.entries.iter().filter(|e| e.recent).count()
    }

    /// The indices that a set means. UIDs that do not exist are passed over; sequence numbers must exist.
    pub(super) fn resolve(&self, set: &SequenceSet, uid: bool) -> Result<Vec<usize>, NoSuchMessage> {
        let told = &self.entries[..self.told_exists.min(self.entries.len())];
        if uid {
            let ids = set.resolve(told.last().map_or(0, |e| e.uid));
            let index = |uid| told.partition_point(|e| e.uid < uid);
            let ranges = ids.ranges().map(|(a, b)| index(a)..b.checked_add(1).map_or(told.len(), index));
            return Ok(ranges.flatten().collect());
        }
        let count = told.len() as u32;
        let ids = set.resolve(count);
        if ids.is_empty() || ids.first() == Some(0) || ids.last().is_some_and(|last| last > count) {
            return Err(NoSuchMessage);
        }
        Ok(ids.iter().map(|seq| seq as usize - 1).collect())
    }

    /// Drains the hints.
    pub(super) fn poll_hints(&mut self) {
        use tokio::sync::mpsc::error::TryRecvError;
        while let Some(watch) = &mut self.watch {
            match watch.try_recv() {
                Ok(()) => self.hinted = true,
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.watch = None;
                    self.hinted = true;
                }
            }
        }
    }

    /// Tells the client what it does not know; of messages that are gone only with `expunge`.
    pub(super) fn tell(&mut self, out: &mut Vec<u8>, expunge: bool) {
        if expunge && !self.vanished.is_empty() {
            self.tell_expunged(out);
        }
        if self.keywords.len() > self.told_keywords {
            self.told_keywords = self.keywords.len();
            posthaste_imap_proto::Response::Data(posthaste_imap_proto::Data::Flags(
                self.known_flags().into_iter().collect(),
            ))
            .encode(out);
        }
        if self.entries.len() > self.told_exists {
            self.told_exists = self.entries.len();
            out.extend_from_slice(
                format!("* {} EXISTS\r\n* {} RECENT\r\n", self.told_exists, self.recent()).as_bytes(),
            );
        }
        for uid in std::mem::take(&mut self.changed) {
            if let Ok(at) = self.entries.binary_search_by_key(&uid, |e| e.uid) {
                self.tell_flags(out, at);
            }
        }
    }

    /// `* n FETCH (UID u FLAGS (...))`
    pub(super) fn tell_flags(&self, out: &mut Vec<u8>, at: usize) {
        let entry = &self.entries[at];
        let mut fetch = FetchWriter::new(out, at as u32 + 1);
        fetch.uid(entry.uid);
        fetch.flags(&self.flags(entry));
        fetch.end();
    }

    /// From the last to the first, so that no number shifts before it is told.
    fn tell_expunged(&mut self, out: &mut Vec<u8>) {
        for (at, entry) in self.entries.iter().enumerate().rev() {
            if self.vanished.contains(&entry.uid) {
                out.extend_from_slice(format!("* {} EXPUNGE\r\n", at + 1).as_bytes());
            }
        }
        let vanished = std::mem::take(&mut self.vanished);
        self.entries.retain(|e| !vanished.contains(&e.uid));
        self.told_exists -= vanished.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(uid: u32, keywords: &[&str]) -> Message {
        let flags =
            Flags { keywords: keywords.iter().map(|k| (*k).to_owned()).collect(), ..Flags::default() };
        Message { uid, size: 10, date: 0, flags, modseq: 1, base: format!("b{uid}") }
    }

    fn view(uids: &[u32]) -> View {
        let messages = uids.iter().map(|uid| message(*uid, &[])).collect();
        let snapshot = Snapshot {
            uid_validity: 1,
            uid_next: 100,
            modseq: 1,
            messages,
            keywords: vec![],
            recent: vec![],
        };
        View::new(MailboxName::inbox(), false, snapshot, None)
    }

    fn changes(changed: Vec<Message>, vanished: Vec<u32>) -> Changes {
        Changes { modseq: 2, uid_next: 100, changed, vanished, keywords: vec![], recent: vec![] }
    }

    fn tell(view: &mut View, expunge: bool) -> String {
        let mut out = Vec::new();
        view.tell(&mut out, expunge);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn expunges_wait_until_they_may_be_told_and_numbers_hold_until_then() {
        let mut view = view(&[1, 2, 5, 9]);
        view.apply(changes(vec![message(12, &[])], vec![2, 9]));
        assert_eq!(tell(&mut view, false), "* 5 EXISTS\r\n* 0 RECENT\r\n");
        let set = SequenceSet::single(3).unwrap();
        assert_eq!(view.entries[view.resolve(&set, false).unwrap()[0]].uid, 5);
        assert_eq!(tell(&mut view, true), "* 4 EXPUNGE\r\n* 2 EXPUNGE\r\n");
        assert_eq!(view.entries[view.resolve(&set, false).unwrap()[0]].uid, 12);
        assert_eq!(tell(&mut view, true), "");
    }

    #[test]
    fn a_message_that_came_and_went_untold_is_never_told() {
        let mut view = view(&[1]);
        view.apply(changes(vec![message(2, &[])], vec![]));
        view.apply(changes(vec![], vec![2]));
        assert_eq!(tell(&mut view, true), "");
    }

    #[test]
    fn new_flags_and_keywords_are_told_once() {
        let mut view = view(&[1, 4]);
        view.apply(changes(vec![message(4, &["$Junk"])], vec![]));
        let told = tell(&mut view, false);
        assert_eq!(
            told,
            "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk)\r\n* 2 FETCH (UID 4 FLAGS ($Junk))\r\n"
        );
        view.apply(changes(vec![message(4, &["$Junk"])], vec![]));
        assert_eq!(tell(&mut view, false), "");
    }

    #[test]
    fn sets_resolve_to_what_the_client_knows() {
        let view = view(&[3, 5, 8]);
        let all = SequenceSet::all();
        assert_eq!(view.resolve(&all, false).unwrap(), [0, 1, 2]);
        assert_eq!(view.resolve(&all, true).unwrap(), [0, 1, 2]);
        assert_eq!(view.resolve(&SequenceSet::single(4).unwrap(), true).unwrap(), [] as [usize; 0]);
        assert_eq!(view.resolve(&SequenceSet::single(4).unwrap(), false), Err(NoSuchMessage));
        let empty = self::view(&[]);
        assert_eq!(empty.resolve(&all, false), Err(NoSuchMessage));
        assert_eq!(empty.resolve(&all, true).unwrap(), [] as [usize; 0]);
    }
}
