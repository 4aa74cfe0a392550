//! The demo's own book: what was sent, what was acknowledged, what IMAP said; and the audit of
//! mailboxes against it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::{Fetched, Selected};

/// The header line that marks one delivery. It is the first line of every message the demo sends,
/// so that whatever stands above it was added on the way.
pub const MARK: &str = "X-Posthaste-Id";

/// Header fields that a server may put above a message it takes (RFC 5321 §4.4).
const TRACE_FIELDS: &[&str] = &["Return-Path", "Received", "Delivered-To"];

/// A user's place in [`people`](super::people).
pub type UserIndex = usize;

/// What became of a letter, as its sender knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No 250 for it (yet).
    Open,
    /// Its 250 came.
    Acknowledged,
}

/// One letter: one message on its way to some users.
#[derive(Debug, Clone)]
pub struct Letter {
    /// What is compared: the message with its mark.
    pub bytes: Arc<[u8]>,
    /// Its recipients.
    pub to: Vec<UserIndex>,
    /// Which of the two addresses took it.
    pub via: usize,
    /// What became of it.
    pub fate: Fate,
    /// How often it was re-sent because the answer to its last dot never came. That many further
    /// copies are allowed.
    pub replies_lost: usize,
}

/// A mailbox as one session read it.
#[derive(Debug, Clone)]
pub struct Dump {
    /// Whose INBOX.
    pub user: UserIndex,
    /// What SELECT said.
    pub selected: Selected,
    /// Every message, in order.
    pub messages: Vec<Fetched>,
}

/// What IMAP told about one mailbox.
#[derive(Debug, Default)]
struct Told {
    uid_validity: Option<u32>,
    uids: BTreeMap<u32, String>,
    flags: Vec<(u32, String)>,
}

/// The book. Shared between the tasks of a load.
#[derive(Debug, Default)]
pub struct Ledger {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    letters: BTreeMap<String, Letter>,
    told: HashMap<UserIndex, Told>,
    contradictions: Vec<String>,
}

/// What an audit found. All lists are empty when every promise held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Copies of acknowledged letters that were compared.
    pub compared: usize,
    /// Copies beyond the first that a lost reply excuses.
    pub excused_duplicates: usize,
    /// UIDs that had been told before and were found again with the same message.
    pub uids_confirmed: usize,
    /// Acknowledged, but not in the mailbox.
    pub missing: Vec<String>,
    /// In the mailbox, but not as sent.
    pub altered: Vec<String>,
    /// More copies than lost replies excuse.
    pub duplicates: Vec<String>,
    /// Nobody sent it, or not to this user.
    pub strangers: Vec<String>,
    /// A UID, UIDVALIDITY or flag that was told before and means something else now.
    pub changed_meaning: Vec<String>,
}

impl Audit {
    /// Everything that is wrong, in words.
    pub fn faults(&self) -> Vec<String> {
        let lists = [&self.missing, &self.altered, &self.duplicates, &self.strangers, &self.changed_meaning];
        lists.into_iter().flatten().cloned().collect()
    }

    /// Adds the findings of another audit.
    pub fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.excused_duplicates += other.excused_duplicates;
        self.uids_confirmed += other.uids_confirmed;
        self.missing.extend(other.missing);
        self.altered.extend(other.altered);
        self.duplicates.extend(other.duplicates);
        self.strangers.extend(other.strangers);
        self.changed_meaning.extend(other.changed_meaning);
    }
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a letter before it is sent, and returns its bytes: the mark, then the message.
    ///
    /// # Panics
    /// Two letters with one `id`: the audit could not tell them apart.
    pub fn enter(&self, id: &str, message: &[u8], to: Vec<UserIndex>, via: usize) -> Arc<[u8]> {
        let bytes: Arc<[u8]> = marked(id, message).into();
        let letter = Letter { bytes: Arc::clone(&bytes), to, via, fate: Fate::Open, replies_lost: 0 };
        let other = self.book().letters.insert(id.to_owned(), letter);
        assert!(other.is_none(), "two letters are called {id}");
        bytes
    }

    /// Its 250 came.
    pub fn acknowledged(&self, id: &str) {
        if let Some(letter) = self.book().letters.get_mut(id) {
            letter.fate = Fate::Acknowledged;
        }
    }

    /// The answer to its last dot was lost.
    pub fn reply_lost(&self, id: &str) {
        if let Some(letter) = self.book().letters.get_mut(id) {
            letter.replies_lost += 1;
        }
    }

    /// How many letters got their 250, and how many did not.
    pub fn acknowledged_and_open(&self) -> (usize, usize) {
        let book = self.book();
        let acknowledged = book.letters.values().filter(|letter| letter.fate == Fate::Acknowledged).count();
        (acknowledged, book.letters.len() - acknowledged)
    }

    /// How many answers were lost.
    pub fn replies_lost(&self) -> usize {
        self.book().letters.values().map(|letter| letter.replies_lost).sum()
    }

    /// How many UIDs IMAP sessions were told so far.
    pub fn uids_told(&self) -> usize {
        self.book().told.values().map(|told| told.uids.len()).sum()
    }

    /// A session saw this UIDVALIDITY.
    pub fn told_uid_validity(&self, user: UserIndex, value: u32) {
        let mut book = self.book();
        let before = *book.told.entry(user).or_default().uid_validity.get_or_insert(value);
        if before != value {
            book.contradictions.push(format!("user {user}: UIDVALIDITY was {before} and is {value}"));
        }
    }

    /// A session saw this UID name the message with this mark.
    pub fn told_uid(&self, user: UserIndex, uid: u32, id: &str) {
        let mut book = self.book();
        let before =
            book.told.entry(user).or_default().uids.entry(uid).or_insert_with(|| id.to_owned()).clone();
        if before != id {
            book.contradictions.push(format!("user {user}: UID {uid} was {before} and is {id}"));
        }
    }

    /// A session was told that this message has this flag for good.
    pub fn told_flag(&self, user: UserIndex, uid: u32, flag: &str) {
        self.book().told.entry(user).or_default().flags.push((uid, flag.to_owned()));
    }

    /// The highest UID told for a user.
    pub fn last_uid(&self, user: UserIndex) -> u32 {
        self.book().told.get(&user).and_then(|told| told.uids.last_key_value()).map_or(0, |(&uid, _)| uid)
    }

    /// Enters all that a dump says about UIDs.
    pub fn learn(&self, dump: &Dump) {
        self.told_uid_validity(dump.user, dump.selected.uid_validity);
        for message in &dump.messages {
            if let Some((id, _)) = without_trace(&message.body) {
                self.told_uid(dump.user, message.uid, id);
            }
        }
    }

    /// Compares one mailbox with the book. `via` limits it to the letters that this address took.
    pub fn audit(&self, dump: &Dump, via: Option<usize>) -> Audit {
        let book = self.book();
        let mut audit = Audit::default();
        let copies = book.compare_messages(dump, &mut audit);
        book.compare_counts(dump.user, via, &copies, &mut audit);
        book.compare_told(dump, &mut audit);
        audit
    }

    /// What sessions were told that contradicts what sessions were told before.
    pub fn contradictions(&self) -> Vec<String> {
        self.book().contradictions.clone()
    }
}

impl Book {
    /// Compares each message with the letter it is marked as; returns the number of copies by mark.
    fn compare_messages<'a>(&self, dump: &'a Dump, audit: &mut Audit) -> HashMap<&'a str, usize> {
        let mut copies = HashMap::new();
        for message in &dump.messages {
            let place = format!("user {} UID {}", dump.user, message.uid);
            let Some((id, content)) = without_trace(&message.body) else {
                audit
                    .strangers
                    .push(format!("{place}: a message without the mark: {}", start_of(&message.body)));
                continue;
            };
            match self.letters.get(id) {
                Some(letter) if letter.to.contains(&dump.user) => {
                    *copies.entry(id).or_insert(0) += 1;
                    audit.compared += 1;
                    if let Some(difference) = difference(&letter.bytes, content) {
                        audit.altered.push(format!("{place}: {id} {difference}"));
                    }
                }
                Some(_) => audit.strangers.push(format!("{place}: {id} was not sent to this user")),
                None => audit.strangers.push(format!("{place}: {id} was never sent")),
            }
        }
        copies
    }

    fn compare_counts(
        &self,
        user: UserIndex,
        via: Option<usize>,
        copies: &HashMap<&str, usize>,
        audit: &mut Audit,
    ) {
        let mine = self.letters.iter().filter(|(_, letter)| letter.to.contains(&user));
        for (id, letter) in mine.filter(|(_, letter)| via.is_none_or(|via| letter.via == via)) {
            let found = copies.get(id.as_str()).copied().unwrap_or(0);
            let once = usize::from(letter.fate == Fate::Acknowledged);
            if found < once {
                audit.missing.push(format!("user {user}: {id} had its 250 and is not there"));
            }
            if found > once + letter.replies_lost {
                let lost = letter.replies_lost;
                audit
                    .duplicates
                    .push(format!("user {user}: {id} is there {found} times; {lost} replies were lost"));
            } else {
                audit.excused_duplicates += found.saturating_sub(1);
            }
        }
    }

    fn compare_told(&self, dump: &Dump, audit: &mut Audit) {
        let Some(told) = self.told.get(&dump.user) else { return };
        let user = dump.user;
        let now: HashMap<u32, &Fetched> =
            dump.messages.iter().map(|message| (message.uid, message)).collect();
        if told.uid_validity.is_some_and(|before| before != dump.selected.uid_validity) {
            audit.changed_meaning.push(format!("user {user}: UIDVALIDITY is another one"));
        }
        for (uid, id) in &told.uids {
            match now.get(uid).map(|message| without_trace(&message.body).map(|(id, _)| id)) {
                Some(Some(found)) if found == id => audit.uids_confirmed += 1,
                Some(found) => {
                    audit.changed_meaning.push(format!("user {user}: UID {uid} was {id}, is {found:?}"))
                }
                None => audit.changed_meaning.push(format!("user {user}: UID {uid} was {id}, is gone")),
            }
        }
        for (uid, flag) in &told.flags {
            if !now.get(uid).is_some_and(|message| message.flags.contains(flag)) {
                audit.changed_meaning.push(format!("user {user}: UID {uid} had {flag} and has it no more"));
            }
        }
        let ordered = dump.messages.windows(2).all(|pair| pair[0].uid < pair[1].uid);
        if !ordered {
            audit.changed_meaning.push(format!("user {user}: UIDs do not grow"));
        }
    }
}

/// The message with its mark on top.
fn marked(id: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{MARK}: {id}\r\n").into_bytes();
    bytes.extend_from_slice(message);
    bytes
}

/// The mark's value, and the message from the mark on. `None` if anything but trace fields
/// stands above the mark.
pub fn without_trace(message: &[u8]) -> Option<(&str, &[u8])> {
    let mut rest = message;
    loop {
        if let Some(id) = mark_of(rest) {
            return Some((id, rest));
        }
        rest = after_trace_field(rest)?;
    }
}

/// The value of a mark at the start of these header lines.
pub fn mark_of(header: &[u8]) -> Option<&str> {
    let value = header.strip_prefix(MARK.as_bytes())?.strip_prefix(b": ")?;
    let end = value.windows(2).position(|pair| pair == b"\r\n")?;
    std::str::from_utf8(&value[..end]).ok()
}

/// What follows the trace field at the start, with its folded lines.
fn after_trace_field(message: &[u8]) -> Option<&[u8]> {
    let colon = message.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&message[..colon]).ok()?;
    TRACE_FIELDS.iter().find(|field| field.eq_ignore_ascii_case(name))?;
    let mut rest = message;
    loop {
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        rest = &rest[end + 1..];
        if !matches!(rest.first(), Some(b' ' | b'\t')) {
            return Some(rest);
        }
    }
}

/// Where two byte strings differ, in words.
fn difference(sent: &[u8], found: &[u8]) -> Option<String> {
    if sent == found {
        return None;
    }
    let at = sent.iter().zip(found).position(|(a, b)| a != b).unwrap_or(sent.len().min(found.len()));
    Some(format!(
        "differs from what was sent at byte {at}: sent {} bytes, found {}; sent {}, found {}",
        sent.len(),
        found.len(),
        start_of(&sent[at..]),
        start_of(&found[at..])
    ))
}

/// The first bytes, printable.
fn start_of(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(40)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(user: UserIndex, messages: &[(u32, &[u8])]) -> Dump {
        let message = |&(uid, body): &(u32, &[u8])| Fetched { uid, flags: Vec::new(), body: body.to_vec() };
        let selected = Selected { exists: 0, uid_validity: 9, uid_next: 0 };
        Dump { user, selected, messages: messages.iter().map(message).collect() }
    }

    fn with_trace(bytes: &[u8]) -> Vec<u8> {
        let mut out = b"Return-Path: <a@b>\r\nReceived: from x\r\n\tby y; now\r\n".to_vec();
        out.extend_from_slice(bytes);
        out
    }

    #[test]
    fn a_whole_message_below_its_trace_headers_is_accepted_once() {
        let ledger = Ledger::default();
        let bytes = ledger.enter("m1", b"\r\nbody\r\n", vec![0], 1);
        ledger.acknowledged("m1");
        let audit = ledger.audit(&dump(0, &[(1, &with_trace(&bytes))]), None);
        assert_eq!(audit, Audit { compared: 1, ..Audit::default() });
    }

    #[test]
    fn missing_altered_stranger_and_duplicate_are_told_apart() {
        let ledger = Ledger::default();
        let first = ledger.enter("m1", b"\r\none\r\n", vec![0], 0);
        let second = ledger.enter("m2", b"\r\ntwo\r\n", vec![0], 0);
        ledger.enter("m3", b"\r\nthree\r\n", vec![1], 0);
        for id in ["m1", "m2", "m3"] {
            ledger.acknowledged(id);
        }
        let mut altered = second.to_vec();
        *altered.last_mut().unwrap() = b'!';
        let found: &[(u32, &[u8])] =
            &[(1, &first), (2, &first), (3, &altered), (4, b"X-Posthaste-Id: m9\r\n")];
        let audit = ledger.audit(&dump(0, found), None);
        assert_eq!((audit.duplicates.len(), audit.altered.len(), audit.strangers.len()), (1, 1, 1));
        assert_eq!(audit.missing.len(), 0);
        assert_eq!(ledger.audit(&dump(1, &[]), None).missing.len(), 1);
    }

    #[test]
    fn a_lost_reply_excuses_one_copy_and_no_more() {
        let ledger = Ledger::default();
        let bytes = ledger.enter("m1", b"\r\n", vec![0], 0);
        ledger.reply_lost("m1");
        ledger.acknowledged("m1");
        let twice = ledger.audit(&dump(0, &[(1, &bytes), (2, &bytes)]), None);
        assert!(twice.faults().is_empty());
        assert_eq!(twice.excused_duplicates, 1);
        let thrice = ledger.audit(&dump(0, &[(1, &bytes), (2, &bytes), (3, &bytes)]), None);
        assert_eq!(thrice.duplicates.len(), 1);
    }

    #[test]
    fn an_open_letter_may_be_absent_but_not_present_unless_its_reply_was_lost() {
        let ledger = Ledger::default();
        let bytes = ledger.enter("m1", b"\r\n", vec![0], 0);
        assert!(ledger.audit(&dump(0, &[]), None).faults().is_empty());
        assert_eq!(ledger.audit(&dump(0, &[(1, &bytes)]), None).duplicates.len(), 1);
        ledger.reply_lost("m1");
        assert!(ledger.audit(&dump(0, &[(1, &bytes)]), None).faults().is_empty());
    }

    #[test]
    fn a_uid_that_changes_its_meaning_or_goes_is_found() {
        let ledger = Ledger::default();
        let (a, b) = (ledger.enter("a", b"\r\n", vec![0], 0), ledger.enter("b", b"\r\n", vec![0], 0));
        for id in ["a", "b"] {
            ledger.acknowledged(id);
        }
        ledger.learn(&dump(0, &[(1, &a), (2, &b)]));
        assert_eq!(ledger.audit(&dump(0, &[(1, &a), (2, &b)]), None).uids_confirmed, 2);
        assert_eq!(ledger.audit(&dump(0, &[(1, &b), (2, &a)]), None).changed_meaning.len(), 2);
        assert_eq!(ledger.audit(&dump(0, &[(3, &a), (4, &b)]), None).changed_meaning.len(), 2);
        ledger.told_uid(0, 1, "b");
        assert_eq!(ledger.contradictions().len(), 1);
    }

    #[test]
    fn a_flag_that_was_told_must_stay() {
        let ledger = Ledger::default();
        ledger.told_flag(0, 1, "\\Flagged");
        assert_eq!(ledger.audit(&dump(0, &[]), None).changed_meaning.len(), 1);
    }

    #[test]
    fn only_trace_fields_may_stand_above_the_mark() {
        assert!(without_trace(b"Subject: x\r\nX-Posthaste-Id: a\r\n").is_none());
        assert!(without_trace(b"Delivered-To: x\r\nX-Posthaste-Id: a\r\n\r\n").is_some());
        assert!(without_trace(b"").is_none());
    }
}
