//! A real Dovecot and our threads at work on one Maildir at the same moment: flags at 1,000
//! changes a second, deliveries and expunges on both sides.
//!
//! `POSTHASTE_DOVECOT_SECONDS` makes it longer (`.ci/checks/dovecot`: 60).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use posthaste_maildir::{Append, Delivery, Durability, FlagChange, Flags, Keyword, Store};

use crate::dovecot::{Beside, Dovecot, beside};
use crate::support::Local;

/// Messages that nobody expunges; all flags change on them.
const STABLE: u32 = 400;
/// Flag changes under one lock.
const BATCH: usize = 40;
const RATE: usize = 1000;

/// What the parties tell each other.
#[derive(Default)]
struct Shared {
    /// UIDs whose expunge somebody has begun.
    doomed: Mutex<BTreeSet<u32>>,
    changes: AtomicUsize,
    vanished: AtomicUsize,
    looks: AtomicUsize,
    done: AtomicBool,
}

impl Shared {
    fn doom(&self, uids: &[u32]) {
        self.doomed.lock().unwrap().extend(uids);
    }

    fn is_done(&self) -> bool {
        self.done.load(SeqCst)
    }
}

/// Says that all are done, also when this thread panics: the others must not work for ever.
struct Done<'a>(&'a Shared);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, SeqCst);
    }
}

#[test]
fn a_thousand_flag_changes_a_second_beside_dovecot_expunge_nothing_and_agree_in_the_end() {
    let Some(both) = beside() else { return };
    let seconds: u64 =
        std::env::var("POSTHASTE_DOVECOT_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let inbox = both.inbox();
    let item = Delivery { base: None, content: b"Subject: x\r\n\r\nx\r\n" };
    inbox.deliver(&vec![item; STABLE as usize], Durability::Full).unwrap();
    let before: BTreeMap<u32, _> =
        inbox.snapshot().unwrap().messages.into_iter().map(|m| (m.uid, m.base)).collect();
    inbox.store().commit().unwrap();
    let shared = Shared::default();
    let (watcher, writer) = (selected(&both), selected(&both));
    std::thread::scope(|scope| {
        let shared = &shared;
        scope.spawn(|| watch(shared, watcher));
        scope.spawn(|| dovecot_works(shared, writer));
        scope.spawn(|| come_and_go(shared, &both.inbox()));
        let _done = Done(shared);
        change_flags(shared, &inbox, seconds);
    });
    agree(&both, &inbox, &before);
    let count = |n: &AtomicUsize| n.load(SeqCst);
    eprintln!(
        "{seconds} s: {} flag changes of ours, {} looks by Dovecot, {} UIDs told as vanished, all rightly",
        count(&shared.changes),
        count(&shared.looks),
        count(&shared.vanished)
    );
    assert!(count(&shared.changes) >= RATE * seconds as usize && count(&shared.looks) > 0);
    assert_eq!(both.complaints(), Vec::<String>::new());
}

/// With QRESYNC, so that expunges are told by UID.
fn selected(both: &Beside) -> Dovecot {
    let mut dovecot = both.dovecot();
    dovecot.ask("ENABLE QRESYNC");
    dovecot.ask("SELECT INBOX");
    dovecot
}

fn change_flags(shared: &Shared, inbox: &Local, seconds: u64) {
    let started = Instant::now();
    let keywords = ["kw0", "kw1"].map(|name| [Keyword::parse(name).unwrap()]);
    let mut made = 0;
    while made < RATE * seconds as usize || started.elapsed() < Duration::from_secs(seconds) {
        if shared.is_done() {
            return;
        }
        let round = made / BATCH;
        let first = 1 + (round * BATCH) as u32 % STABLE;
        let uids: Vec<u32> = (first..first + BATCH as u32).collect();
        let how = if (round / 10).is_multiple_of(2) { FlagChange::Add } else { FlagChange::Remove };
        let words: &[Keyword] = if round.is_multiple_of(3) { &keywords[round % 2] } else { &[] };
        let there = inbox.change_flags(&uids, how, Flags::FLAGGED, words).unwrap();
        assert_eq!(there.len(), BATCH, "no message is missing, ever");
        made += BATCH;
        shared.changes.store(made, SeqCst);
        let due = Duration::from_millis((made * 1000 / RATE) as u64);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
}

/// Ours: a message comes, and an earlier one goes.
fn come_and_go(shared: &Shared, inbox: &Local) {
    let _done = Done(shared);
    let mut mine = Vec::new();
    while !shared.is_done() {
        let item = Delivery { base: None, content: b"Subject: ours\r\n\r\nin new\r\n" };
        inbox.deliver(&[item], Durability::Full).unwrap();
        let (content, flags) = (&b"Subject: ours\n\nin cur\n"[..], Flags::SEEN);
        let item = Append { base: None, content, flags, keywords: &[], date: None };
        mine.push(inbox.append(&item, Durability::Full).unwrap().uid);
        if mine.len() > 3 {
            let uid = mine.remove(0);
            shared.doom(&[uid]);
            assert_eq!(inbox.expunge(Some(&[uid]), false).unwrap(), [uid]);
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// Dovecot's own changes: flags of ours, messages that come and go.
fn dovecot_works(shared: &Shared, mut dovecot: Dovecot) {
    let _done = Done(shared);
    let mut mine = Vec::new();
    for round in 0u32.. {
        if shared.is_done() {
            return;
        }
        let uid = 1 + round * 7 % STABLE;
        let sign = if round % 2 == 0 { "+" } else { "-" };
        check_vanished(shared, &dovecot.ask(&format!("UID STORE {uid} {sign}FLAGS.SILENT (\\Seen kwd)")));
        let appended = dovecot.ask("APPEND INBOX (\\Seen) {16+}\r\nSubject: d\r\n\r\nd\r\n");
        check_vanished(shared, &appended);
        let uid = appended.split("[APPENDUID ").nth(1).and_then(|s| s.split([' ', ']']).nth(1));
        mine.push(uid.unwrap_or_else(|| panic!("{appended}")).parse().unwrap());
        if mine.len() > 3 {
            let uid: u32 = mine.remove(0);
            shared.doom(&[uid]);
            check_vanished(shared, &dovecot.ask(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")));
            check_vanished(shared, &dovecot.ask(&format!("UID EXPUNGE {uid}")));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// A client that looks all the time.
fn watch(shared: &Shared, mut dovecot: Dovecot) {
    let _done = Done(shared);
    while !shared.is_done() {
        let told = dovecot.ask("NOOP");
        shared.looks.fetch_add(usize::from(told.contains(" FETCH ")), SeqCst);
        check_vanished(shared, &told);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whatever Dovecot tells its client to be gone was expunged by one of us.
fn check_vanished(shared: &Shared, answer: &str) {
    for line in answer.lines() {
        assert!(!line.contains(" EXPUNGE") || line.contains(" OK "), "{line}");
        let Some(set) = line.strip_prefix("* VANISHED ") else { continue };
        for uid in uids(set.trim_start_matches("(EARLIER) ").trim()) {
            assert!(shared.doomed.lock().unwrap().contains(&uid), "UID {uid} was expunged by nobody: {line}");
            shared.vanished.fetch_add(1, SeqCst);
        }
    }
}

fn uids(set: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (from, to) = part.split_once(':').unwrap_or((part, part));
        from.parse::<u32>().unwrap()..=to.parse().unwrap()
    };
    set.split(',').flat_map(range).collect()
}

/// UIDs, flags and keywords, as both see them when it is quiet.
fn agree(both: &Beside, inbox: &Local, before: &BTreeMap<u32, posthaste_maildir::BaseName>) {
    let ours = inbox.snapshot().unwrap();
    inbox.store().commit().unwrap();
    for (uid, base) in before {
        let message = ours.messages.iter().find(|m| m.uid == *uid);
        assert_eq!(message.map(|m| &m.base), Some(base), "UID {uid}");
    }
    let mut dovecot = both.dovecot();
    let selected = dovecot.ask("SELECT INBOX");
    assert!(selected.contains(&format!("[UIDVALIDITY {}]", ours.uid_validity)), "{selected}");
    let answer = dovecot.ask("FETCH 1:* (UID FLAGS)");
    let theirs: BTreeMap<u32, BTreeSet<String>> = answer.lines().filter_map(fetched).collect();
    let ours: BTreeMap<u32, BTreeSet<String>> =
        ours.messages.iter().map(|message| (message.uid, words(message))).collect();
    assert_eq!(ours.len(), theirs.len());
    for (uid, flags) in &ours {
        assert_eq!(Some(flags), theirs.get(uid), "UID {uid}");
    }
}

/// `* 3 FETCH (UID 5 FLAGS (\Seen kw0))`
fn fetched(line: &str) -> Option<(u32, BTreeSet<String>)> {
    let (_, rest) = line.split_once(" FETCH (UID ")?;
    let (uid, rest) = rest.split_once(" FLAGS (")?;
    let flags = rest.split(')').next()?.split_ascii_whitespace().map(str::to_owned);
    Some((uid.parse().ok()?, flags.filter(|flag| flag != "\\Recent").collect()))
}

fn words(message: &posthaste_maildir::Message) -> BTreeSet<String> {
    let system = [
        (Flags::SEEN, "\\Seen"),
        (Flags::REPLIED, "\\Answered"),
        (Flags::FLAGGED, "\\Flagged"),
        (Flags::TRASHED, "\\Deleted"),
        (Flags::DRAFT, "\\Draft"),
    ];
    let system = system.iter().filter(|(flag, _)| message.flags.contains(*flag)).map(|(_, word)| *word);
    system.chain(message.keywords.iter().map(Keyword::as_str)).map(str::to_owned).collect()
}
