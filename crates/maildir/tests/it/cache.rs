//! The cache of our own: what it saves, and that nothing depends on it.

use std::fs;
use std::sync::Arc;

use posthaste_maildir::{
    Delivery, Durability, FlagChange, Flags, LocalFs, Mailbox, MailboxConfig, sim::SimFs,
};

use crate::support::{Fixture, Local, base, ls};

fn open(fixture: &Fixture) -> Local {
    let config = MailboxConfig { keep_cache: true, ..MailboxConfig::default() };
    Mailbox::open(Arc::clone(&fixture.store), b"inbox", config).unwrap()
}

fn upper(content: &[u8]) -> Vec<u8> {
    content.to_ascii_uppercase()
}

fn digests(mailbox: &Mailbox<LocalFs>, kind: u32) -> Vec<(u32, Vec<u8>)> {
    let uids: Vec<u32> = mailbox.snapshot().unwrap().messages.iter().map(|m| m.uid).collect();
    let found = mailbox.digests(&uids, kind, &upper).unwrap();
    found.into_iter().map(|(uid, digest)| (uid, digest.to_vec())).collect()
}

/// Makes message files unreadable in place: whoever opens one sees other bytes.
fn spoil(fixture: &Fixture) {
    for name in ls(fixture.path("cur")) {
        fs::write(fixture.path("cur").join(name), "spoilt").unwrap();
    }
}

#[test]
fn what_is_cached_is_told_without_opening_a_message() {
    let fixture = Fixture::new();
    fs::write(fixture.path("cur/0.unsized:2,"), "a\n").unwrap();
    fixture.deliver(1..=150);
    let first = open(&fixture);
    let before = (digests(&first, 1), first.snapshot().unwrap());
    assert_eq!(before.0[0], (1, b"A\r\n".to_vec()));
    drop(first);
    spoil(&fixture);
    let again = open(&fixture);
    let facts = |snapshot: &posthaste_maildir::Snapshot| -> Vec<_> {
        snapshot.messages.iter().map(|m| (m.uid, m.size, m.date, m.modseq)).collect()
    };
    assert_eq!(digests(&again, 1), before.0);
    assert_eq!(facts(&again.snapshot().unwrap()), facts(&before.1), "sizes, dates and change numbers too");
}

#[test]
fn a_damaged_cut_or_missing_cache_is_made_again() {
    let fixture = Fixture::new();
    fixture.deliver(1..=5);
    let expected = digests(&open(&fixture), 1);
    let path = fixture.path("posthaste-cache");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        for bytes in [&damaged[..], &whole[..at]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(digests(&open(&fixture), 1), expected, "at {at}");
            fs::write(fixture.path("posthaste-modseq"), &bytes[..at]).unwrap();
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(digests(&open(&fixture), 1), expected);
    assert_eq!(fs::read(&path).unwrap(), whole, "and it is there again");
}

#[test]
fn digests_of_another_kind_or_uidvalidity_are_not_used() {
    let fixture = Fixture::new();
    fixture.deliver(1..=2);
    digests(&open(&fixture), 1);
    spoil(&fixture);
    assert_eq!(digests(&open(&fixture), 2)[0].1, b"SPOILT", "another kind");
    fs::remove_file(fixture.path("dovecot-uidlist")).unwrap();
    fixture.deliver(9..=9);
    assert!(digests(&open(&fixture), 2).iter().any(|(_, digest)| digest == b"9\r\n"));
}

#[test]
fn two_processes_share_one_cache() {
    let fixture = Fixture::new();
    fixture.deliver(1..=100);
    let (one, two) = (open(&fixture), open(&fixture));
    let expected = digests(&one, 1);
    assert_eq!(digests(&two, 1), expected);
    one.save_cache().unwrap();
    fixture.deliver(101..=200);
    let all = digests(&two, 1);
    two.save_cache().unwrap();
    assert_eq!(digests(&one, 1), all);
    drop((one, two));
    spoil(&fixture);
    assert_eq!(digests(&open(&fixture), 1), all);
}

#[test]
fn change_numbers_go_on_where_they_ended_and_tell_what_others_did_meanwhile() {
    let fixture = Fixture::new();
    fixture.deliver(1..=5);
    let first = open(&fixture);
    let seen = first.snapshot().unwrap();
    first.expunge(Some(&[2]), false).unwrap();
    drop(first);
    // Another program, while nobody of ours looks: a flag, a removal, a delivery, and one that
    // came and went.
    fs::rename(fixture.path("cur/1.a,S=3,W=3:2,"), fixture.path("cur/1.a,S=3,W=3:2,F")).unwrap();
    fs::remove_file(fixture.path("cur/3.a,S=3,W=3:2,")).unwrap();
    let list = fs::read_to_string(fixture.path("dovecot-uidlist")).unwrap();
    fs::write(fixture.path("dovecot-uidlist"), format!("{list}6 :gone.a\n")).unwrap();
    fixture.deliver(7..=7);
    let again = open(&fixture);
    let changes = again.changes_since(seen.modseq).unwrap().expect("it is known what happened");
    assert_eq!(changes.changed.iter().map(|m| m.uid).collect::<Vec<_>>(), [1, 7]);
    assert_eq!(changes.vanished, [2, 3, 6]);
    let unchanged = again.message(4).unwrap();
    assert_eq!(unchanged.modseq, seen.messages[3].modseq);
    let now = changes.modseq;
    drop(again);
    let quiet = open(&fixture).changes_since(now).unwrap().unwrap();
    assert!(quiet.changed.is_empty() && quiet.vanished.is_empty(), "{quiet:?}");
}

#[test]
fn a_message_that_was_told_to_be_gone_does_not_come_back_in_another_life() {
    let fixture = Fixture::new();
    fixture.deliver(1..=2);
    let first = open(&fixture);
    first.sync().unwrap();
    fs::copy(fixture.path("cur/1.a,S=3,W=3:2,"), fixture.dir.path().join("saved")).unwrap();
    first.expunge(Some(&[1]), false).unwrap();
    drop(first);
    fs::rename(fixture.dir.path().join("saved"), fixture.path("cur/1.a,S=3,W=3:2,")).unwrap();
    let uids: Vec<u32> = open(&fixture).snapshot().unwrap().messages.iter().map(|m| m.uid).collect();
    assert_eq!(uids, [2, 3]);
}

/// After a crash, whoever asks for what changed since a number that it was told learns of
/// everything that is now different from what it was told.
#[test]
fn a_crash_makes_no_client_miss_a_change() {
    let mut known = 0;
    for seed in 0..300 {
        let disk = Arc::new(SimFs::default());
        let config = || MailboxConfig { keep_cache: true, ..MailboxConfig::default() };
        let open = |disk: &Arc<SimFs>| Mailbox::ensure(Arc::clone(disk), b"m", config()).unwrap();
        let mut inbox = open(&disk);
        for n in 0..6 {
            let item = Delivery { base: Some(base(&format!("{n}.a"))), content: b"x" };
            inbox.deliver(&[item], Durability::None).unwrap();
        }
        inbox.snapshot().unwrap();
        if seed % 3 > 0 {
            drop(inbox);
            inbox = open(&disk);
        }
        let uid = 1 + (seed % 6) as u32;
        inbox.change_flags(&[uid], FlagChange::Add, Flags::SEEN, &[]).unwrap();
        let told = inbox.snapshot().unwrap();
        posthaste_maildir::Store::commit(&*disk).unwrap();
        if seed % 2 == 0 {
            inbox.save_cache().unwrap();
        }
        inbox.change_flags(&[uid], FlagChange::Add, Flags::FLAGGED, &[]).unwrap();
        inbox.expunge(Some(&[1 + uid % 6]), false).unwrap();
        let after = open(&Arc::new(disk.crash(seed)));
        let now = after.snapshot().unwrap();
        let Some(changes) = after.changes_since(told.modseq).unwrap() else { continue };
        known += 1;
        let mut view: std::collections::BTreeMap<u32, Flags> =
            told.messages.iter().map(|m| (m.uid, m.flags)).collect();
        view.extend(changes.changed.iter().map(|m| (m.uid, m.flags)));
        view.retain(|uid, _| !changes.vanished.contains(uid));
        let is: std::collections::BTreeMap<u32, Flags> =
            now.messages.iter().map(|m| (m.uid, m.flags)).collect();
        assert_eq!(view, is, "seed {seed}");
    }
    assert!(known >= 100, "only {known} knew what had happened");
}
