//! What is known of a mailbox in memory. No I/O but what its methods are handed.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cache::ModSeqs;
use crate::flags::Flags;
use crate::keywords::Keywords;
use crate::name::FileName;
use crate::store::{Caps, Stamp};
use crate::uidlist::UidList;

/// A time stamp younger than this proves nothing: a second change may have got the same.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct State {
    pub(super) uids: Option<UidList>,
    /// The uidlist as last read, and how many of its bytes are used.
    pub(super) uids_at: Option<Stamp>,
    pub(super) uids_read: u64,
    /// The last of those bytes.
    pub(super) uids_tail: Vec<u8>,
    pub(super) keywords: Keywords,
    pub(super) keywords_at: Option<Stamp>,
    pub(super) new_seen: Option<Seen>,
    /// Did the last look leave some of `new` for the next?
    pub(super) more_in_new: bool,
    pub(super) cur_seen: Option<Seen>,
    /// UIDs ascending.
    pub(super) entries: Vec<Entry>,
    pub(super) recent: Vec<u32>,
    modseq: u64,
    /// The change number when the numbers were saved last.
    saved: u64,
    /// Have the numbers of an earlier holder been taken over?
    pub(super) resumed: bool,
    vanished: Vanished,
}

/// A message that is there.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) uid: u32,
    mark: Mark,
    pub(super) modseq: u64,
    /// Wire size and date, once somebody asked.
    pub(super) facts: Option<(u64, SystemTime)>,
}

/// What a file is named.
#[derive(Debug, Clone)]
enum Mark {
    /// As the uidlist has it for the UID, and these flags; nothing else.
    Plain(Flags),
    /// Otherwise.
    Own(Box<FileName>),
}

impl Entry {
    pub(super) fn flags(&self) -> Flags {
        match &self.mark {
            Mark::Plain(flags) => *flags,
            Mark::Own(name) => name.flags(),
        }
    }
}

impl State {
    pub(super) fn new(vanished_max: usize) -> Self {
        // Above what an earlier holder of this mailbox counted to, unless it changed a message
        // every microsecond.
        let start = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_micros() as u64);
        Self {
            uids: None,
            uids_at: None,
            uids_read: 0,
            uids_tail: Vec::new(),
            keywords: Keywords::default(),
            keywords_at: None,
            new_seen: None,
            more_in_new: false,
            cur_seen: None,
            entries: Vec::new(),
            recent: Vec::new(),
            modseq: start,
            saved: start,
            resumed: false,
            vanished: Vanished::new(start, vanished_max),
        }
    }

    pub(super) fn modseq(&self) -> u64 {
        self.modseq
    }

    /// The next change number.
    pub(super) fn tick(&mut self) -> u64 {
        self.modseq += 1;
        self.modseq
    }

    pub(super) fn entry(&self, uid: u32) -> Option<&Entry> {
        self.index(uid).map(|at| &self.entries[at])
    }

    pub(super) fn index(&self, uid: u32) -> Option<usize> {
        self.entries.binary_search_by_key(&uid, |entry| entry.uid).ok()
    }

    /// A message's file name, as last seen.
    pub(super) fn name(&self, entry: &Entry) -> FileName {
        match &entry.mark {
            Mark::Plain(flags) => FileName::canonical(self.base(entry), *flags),
            Mark::Own(name) => (**name).clone(),
        }
    }

    pub(super) fn name_of(&self, uid: u32) -> Option<FileName> {
        self.entry(uid).map(|entry| self.name(entry))
    }

    /// The bytes of a message's base name.
    pub(super) fn base<'a>(&'a self, entry: &'a Entry) -> &'a [u8] {
        match &entry.mark {
            Mark::Plain(_) => self.recorded(entry.uid).expect("a plain name has a record"),
            Mark::Own(name) => name.base_bytes(),
        }
    }

    fn recorded(&self, uid: u32) -> Option<&[u8]> {
        Some(self.uids.as_ref()?.record(uid)?.base)
    }

    fn mark(&self, uid: u32, name: FileName) -> Mark {
        match name.canonical_flags() {
            Some(flags) if self.recorded(uid) == Some(name.base_bytes()) => Mark::Plain(flags),
            _ => Mark::Own(Box::new(name)),
        }
    }

    pub(super) fn new_entry(&self, uid: u32, name: FileName, modseq: u64) -> Entry {
        Entry { uid, mark: self.mark(uid, name), modseq, facts: None }
    }

    /// Another list of UIDs. What it does not say of messages that are known, they say themselves.
    pub(super) fn replace_uids(&mut self, list: UidList) {
        let differs = |entry: &Entry| {
            matches!(entry.mark, Mark::Plain(_))
                && list.record(entry.uid).map(|record| record.base) != Some(self.base(entry))
        };
        let own: Vec<usize> = (0..self.entries.len()).filter(|at| differs(&self.entries[*at])).collect();
        for at in own {
            self.entries[at].mark = Mark::Own(Box::new(self.name(&self.entries[at])));
        }
        self.uids = Some(list);
    }

    /// About how many bytes the messages take.
    pub(super) fn memory(&self) -> usize {
        let own = |entry: &Entry| match &entry.mark {
            Mark::Plain(_) => 0,
            Mark::Own(name) => size_of::<FileName>() + name.as_bytes().len(),
        };
        let entries = self.entries.capacity() * size_of::<Entry>();
        entries + self.entries.iter().map(own).sum::<usize>() + self.uids.as_ref().map_or(0, UidList::memory)
    }

    /// How many changes have not been saved.
    pub(super) fn changes_unsaved(&self) -> u64 {
        self.modseq - self.saved.min(self.modseq)
    }

    /// What must be saved; `None` if nothing is known or nothing has changed.
    pub(super) fn unsaved(&self) -> Option<ModSeqs> {
        let uids = self.uids.as_ref().filter(|_| self.cur_seen.is_some() && self.saved != self.modseq)?;
        let message = |entry: &Entry| (entry.uid, entry.modseq, entry.flags().bits());
        Some(ModSeqs {
            validity: uids.validity(),
            uid_next: uids.next_uid().unwrap_or(u32::MAX),
            modseq: self.modseq,
            floor: self.vanished.floor,
            messages: self.entries.iter().map(message).collect(),
            vanished: self.vanished.ring.iter().copied().collect(),
        })
    }

    pub(super) fn saved(&mut self, modseq: u64) {
        self.saved = modseq;
    }

    /// Before the first look: takes over what clients were told to be gone.
    pub(super) fn resume_vanished(&mut self, told: &ModSeqs) {
        self.vanished = Vanished::new(told.floor, self.vanished.max);
        for (modseq, uid) in &told.vanished {
            self.vanished.push(*modseq, *uid);
        }
    }

    /// After it, and before new messages get UIDs: takes over the change numbers of messages that
    /// look as they did, and gives new ones to all else that happened since.
    pub(super) fn resume(&mut self, told: &ModSeqs) {
        self.modseq = self.modseq.max(told.modseq) + 1;
        let now = self.modseq;
        let mut changed = false;
        for entry in &mut self.entries {
            let same = told.messages.binary_search_by_key(&entry.uid, |(uid, ..)| *uid).ok();
            let same = same.filter(|at| told.messages[*at].2 == entry.flags().bits());
            entry.modseq = same.map_or(now, |at| told.messages[at].1);
            changed |= same.is_none();
        }
        let gone = self.gone_since(told, now);
        changed |= !gone.is_empty();
        for uid in gone {
            self.vanished.push(now, uid);
        }
        self.saved = if changed { told.modseq } else { now };
    }

    /// UIDs that were there, or were given out later, and are not there now.
    fn gone_since(&mut self, told: &ModSeqs, now: u64) -> Vec<u32> {
        let next = self.uids.as_ref().and_then(UidList::next_uid).unwrap_or(u32::MAX);
        // More than are remembered need not be looked at: they would be forgotten again.
        let most = u32::try_from(self.vanished.max).unwrap_or(u32::MAX);
        let first = told.uid_next.max(next.saturating_sub(most));
        if first > told.uid_next {
            self.vanished.floor = now;
        }
        let before = told.messages.iter().map(|(uid, ..)| *uid);
        before.chain(first..next).filter(|uid| self.index(*uid).is_none()).collect()
    }

    /// Adds a message that became visible.
    pub(super) fn insert(&mut self, uid: u32, name: FileName) {
        let modseq = self.tick();
        let entry = self.new_entry(uid, name, modseq);
        match self.entries.binary_search_by_key(&uid, |entry| entry.uid) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// Notes the new name of a message; a change of flags is a change of the message.
    pub(super) fn rename(&mut self, at: usize, name: FileName) {
        if self.entries[at].flags() != name.flags() {
            self.entries[at].modseq = self.tick();
        }
        self.entries[at].mark = self.mark(self.entries[at].uid, name);
    }

    /// What nobody was shown yet; from now on it has been.
    pub(super) fn take_recent(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.recent)
    }

    /// What nobody was shown yet, without showing it.
    pub(super) fn peek_recent(&mut self) -> Vec<u32> {
        self.recent.clone()
    }

    /// Removes messages.
    pub(super) fn remove(&mut self, gone: &[u32]) {
        if gone.is_empty() {
            return;
        }
        self.entries.retain(|entry| gone.binary_search(&entry.uid).is_err());
        self.recent.retain(|uid| gone.binary_search(uid).is_err());
        for uid in gone {
            let modseq = self.tick();
            self.vanished.push(modseq, *uid);
        }
    }

    /// Forgets all: UIDs have another meaning now.
    pub(super) fn void(&mut self) {
        self.entries.clear();
        self.recent.clear();
        self.cur_seen = None;
        self.new_seen = None;
        self.vanished = Vanished::new(self.tick(), self.vanished.max);
    }

    /// UIDs that vanished after `modseq`, ascending; `None` if that is no longer known.
    pub(super) fn vanished_since(&self, modseq: u64) -> Option<Vec<u32>> {
        if modseq < self.vanished.floor || modseq > self.modseq {
            return None;
        }
        let mut uids: Vec<u32> =
            self.vanished.ring.iter().filter(|(at, _)| *at > modseq).map(|(_, uid)| *uid).collect();
        uids.sort_unstable();
        Some(uids)
    }

    /// Was it told that this message is gone?
    pub(super) fn told_vanished(&self, uid: u32) -> bool {
        self.vanished.uids.contains(&uid)
    }

    /// Letters of flags that a client may set and clear here.
    pub(super) fn settable(&self) -> Flags {
        Flags::IMAP.union(self.keywords.named())
    }
}

/// A directory's stamp, and whether it was old enough to prove something when it was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    stamp: Stamp,
    settled: bool,
}

impl Seen {
    pub(super) fn new(stamp: Stamp, caps: Caps) -> Self {
        Self { stamp, settled: caps.exact_stamp || is_settled(stamp) }
    }

    /// Does `now` prove that nothing changed? A stamp that was too young when taken is believed
    /// for a moment, and distrusted once when that moment is over.
    pub(super) fn proves_unchanged(&self, now: Stamp) -> bool {
        now == self.stamp && (self.settled || !is_settled(now))
    }
}

fn is_settled(stamp: Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
    now - stamp.mtime_ns > TICK.as_nanos() as i128
}

#[derive(Debug)]
struct Vanished {
    ring: VecDeque<(u64, u32)>,
    /// Those in the ring.
    uids: HashSet<u32>,
    /// Nothing is known of what vanished at or before this change number.
    floor: u64,
    max: usize,
}

impl Vanished {
    fn new(floor: u64, max: usize) -> Self {
        Self { ring: VecDeque::new(), uids: HashSet::new(), floor, max }
    }

    fn push(&mut self, modseq: u64, uid: u32) {
        self.ring.push_back((modseq, uid));
        self.uids.insert(uid);
        while self.ring.len() > self.max {
            let (modseq, uid) = self.ring.pop_front().expect("longer than max");
            self.uids.remove(&uid);
            self.floor = modseq;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vanished_uids_are_told_until_the_ring_overflows() {
        let mut state = State::new(2);
        let start = state.modseq();
        state.remove(&[1, 2]);
        assert_eq!(state.vanished_since(start), Some(vec![1, 2]));
        let middle = state.modseq();
        state.remove(&[3]);
        assert_eq!(state.vanished_since(start), None, "uid 1 has been forgotten");
        assert_eq!(state.vanished_since(middle), Some(vec![3]));
        assert_eq!(state.vanished_since(middle + 100), None, "a number from the future");
    }
}
