//! Mailboxes beside other writers, and after retries.

use std::fs;

use posthaste_maildir::{
    Append, Delivery, Durability, Error, FlagChange, Flags, Keyword, MailboxConfig, Tree,
};

use crate::support::{Fixture, base, ls, uids};

fn keyword(name: &str) -> Keyword {
    Keyword::parse(name).unwrap()
}

fn append(name: &str) -> Append<'static> {
    Append { base: Some(base(name)), content: b"x\r\n", flags: Flags::EMPTY, keywords: &[], date: None }
}

#[test]
fn delivered_messages_get_uids_in_the_order_of_their_arrival() {
    let fixture = Fixture::new();
    for name in ["20.M5P1.h", "3.M1P1.h", "20.M000004P1.h"] {
        fs::write(fixture.path("new").join(name), "x").unwrap();
    }
    let snapshot = fixture.inbox.snapshot().unwrap();
    let order: Vec<_> = snapshot.messages.iter().map(|m| (m.uid, m.base.to_string())).collect();
    let expected = [(1, "3.M1P1.h"), (2, "20.M000004P1.h"), (3, "20.M5P1.h")];
    assert_eq!(order, expected.map(|(uid, name)| (uid, name.to_owned())));
    assert_eq!(snapshot.recent, [1, 2, 3]);
    assert!(fixture.inbox.snapshot().unwrap().recent.is_empty());
    assert_eq!(ls(fixture.path("cur")), ["20.M000004P1.h:2,", "20.M5P1.h:2,", "3.M1P1.h:2,"]);
}

#[test]
fn a_peek_shows_what_is_recent_and_leaves_it_so() {
    let fixture = Fixture::new();
    fixture.deliver(1..=1);
    let first = fixture.inbox.peek().unwrap();
    fixture.deliver(2..=2);
    let changes = fixture.inbox.peek_changes_since(first.modseq).unwrap().unwrap();
    assert_eq!((first.recent, changes.recent), (vec![1], vec![1, 2]));
    assert_eq!(fixture.inbox.snapshot().unwrap().recent, [1, 2]);
    assert!(fixture.inbox.peek().unwrap().recent.is_empty());
}

#[test]
fn uids_survive_a_reopening_and_are_never_reused() {
    let fixture = Fixture::new();
    fixture.deliver(1..=3);
    let first = fixture.inbox.snapshot().unwrap();
    assert_eq!(fixture.inbox.expunge(Some(&[3]), false).unwrap(), [3]);
    let again = fixture.mailbox("inbox");
    let second = again.snapshot().unwrap();
    assert_eq!((second.uid_validity, second.uid_next), (first.uid_validity, 4));
    fixture.deliver(4..=4);
    assert_eq!(uids(&again), [1, 2, 4]);
    assert_eq!(uids(&fixture.inbox), [1, 2, 4]);
}

#[test]
fn a_retried_delivery_finds_its_first_try_wherever_it_is() {
    let fixture = Fixture::new();
    let item = Delivery { base: Some(base("7.a")), content: b"x\r\n" };
    let try_it = |mailbox: &crate::support::Local| {
        mailbox.deliver(std::slice::from_ref(&item), Durability::Full).unwrap().pop().unwrap().unwrap().new
    };
    assert!(try_it(&fixture.inbox));
    assert!(!try_it(&fixture.inbox), "it is in new");
    fixture.inbox.sync().unwrap();
    assert!(!try_it(&fixture.inbox), "it is in cur");
    fixture.inbox.change_flags(&[1], FlagChange::Add, Flags::SEEN, &[]).unwrap();
    assert!(!try_it(&fixture.mailbox("inbox")), "it is in cur with flags, seen by another");
    fixture.inbox.expunge(Some(&[1]), false).unwrap();
    assert!(!try_it(&fixture.inbox), "it was expunged");
    assert!(!try_it(&fixture.mailbox("inbox")), "it was expunged, asked of another");
    assert!(fixture.inbox.contains_base(&base("7.a")).unwrap());
    assert_eq!(uids(&fixture.inbox), Vec::<u32>::new());
}

#[test]
fn retried_appends_and_copies_change_nothing() {
    let fixture = Fixture::new();
    let target = fixture.mailbox("target");
    let first = fixture.inbox.append(&append("1.a"), Durability::None).unwrap();
    let again = fixture.inbox.append(&append("1.a"), Durability::None).unwrap();
    assert_eq!((first.uid, first.new, again.uid, again.new), (1, true, 1, false));
    let wanted = [(1, base("2.b"))];
    assert!(fixture.inbox.copy(&target, &wanted).unwrap()[0].new);
    fixture.inbox.expunge(Some(&[1]), false).unwrap();
    let again = fixture.inbox.copy(&target, &wanted).unwrap();
    assert_eq!((again.len(), again[0].to, again[0].new), (1, 1, false), "though the source is gone");
    assert_eq!(fixture.inbox.expunge(Some(&[1]), false).unwrap(), [1], "the same answer again");
    assert_eq!(uids(&target), [1]);
    assert_eq!(ls(fixture.dir.path().join("target/tmp")), Vec::<String>::new());
}

#[test]
fn two_writers_flag_changes_both_survive() {
    let fixture = Fixture::new();
    fixture.deliver(1..=1);
    let (one, two) = (&fixture.inbox, fixture.mailbox("inbox"));
    uids(one);
    uids(&two);
    one.change_flags(&[1], FlagChange::Add, Flags::SEEN, &[keyword("a")]).unwrap();
    let after = two.change_flags(&[1], FlagChange::Add, Flags::FLAGGED, &[keyword("b")]).unwrap();
    assert_eq!(after[0].flags.intersection(Flags::IMAP), Flags::SEEN.union(Flags::FLAGGED));
    assert_eq!(after[0].keywords, [keyword("a"), keyword("b")]);
    let after = one.change_flags(&[1], FlagChange::Remove, Flags::SEEN, &[keyword("a")]).unwrap();
    assert_eq!(
        (after[0].flags.intersection(Flags::IMAP), &after[0].keywords[..]),
        (Flags::FLAGGED, &[keyword("b")][..])
    );
}

#[test]
fn a_rename_by_a_program_without_the_lock_is_found_again() {
    let fixture = Fixture::new();
    fixture.deliver(1..=2);
    uids(&fixture.inbox);
    fs::rename(fixture.path("cur/1.a,S=3,W=3:2,"), fixture.path("cur/1.a,S=3,W=3:2,PX")).unwrap();
    let after = fixture.inbox.change_flags(&[1, 2], FlagChange::Set, Flags::SEEN, &[]).unwrap();
    assert_eq!(after.len(), 2);
    assert_eq!(ls(fixture.path("cur")), ["1.a,S=3,W=3:2,PSX", "2.a,S=3,W=3:2,S"]);
    fs::rename(fixture.path("cur/1.a,S=3,W=3:2,PSX"), fixture.path("cur/1.a,S=3,W=3:2,")).unwrap();
    assert_eq!(fixture.inbox.read(1).unwrap(), b"1\r\n");
}

#[test]
fn changes_tell_what_is_new_changed_and_gone() {
    let fixture = Fixture::with(false);
    fixture.deliver(1..=3);
    let start = fixture.inbox.snapshot().unwrap().modseq;
    fixture.inbox.change_flags(&[2], FlagChange::Add, Flags::TRASHED, &[]).unwrap();
    fixture.inbox.expunge(Some(&[1]), false).unwrap();
    fixture.deliver(4..=4);
    let changes = fixture.inbox.changes_since(start).unwrap().unwrap();
    assert_eq!(changes.changed.iter().map(|m| m.uid).collect::<Vec<_>>(), [2, 4]);
    assert_eq!((&changes.vanished[..], &changes.recent[..]), (&[1][..], &[4][..]));
    assert_eq!(fixture.inbox.expunge(None, true).unwrap(), [2]);
    let later = fixture.inbox.changes_since(changes.modseq).unwrap().unwrap();
    assert_eq!((later.changed.len(), &later.vanished[..]), (0, &[2][..]));
    assert!(fixture.inbox.changes_since(1).unwrap().is_none(), "from another life");
}

#[test]
fn two_files_with_one_base_become_two_messages_and_one_file_with_two_names_stays() {
    let fixture = Fixture::new();
    fs::write(fixture.path("cur/1.a:2,"), "one").unwrap();
    fs::write(fixture.path("cur/1.a:2,S"), "two").unwrap();
    fs::write(fixture.path("cur/2.b:2,"), "three").unwrap();
    fs::hard_link(fixture.path("cur/2.b:2,"), fixture.path("cur/2.b:2,S")).unwrap();
    assert_eq!(fixture.inbox.snapshot().unwrap().messages.len(), 3);
    assert_eq!(ls(fixture.path("cur")).len(), 4, "nothing was removed");
    assert_eq!(uids(&fixture.mailbox("inbox")), [1, 2, 3]);
}

#[test]
fn a_vanished_message_that_comes_back_is_a_new_one() {
    let fixture = Fixture::new();
    fixture.deliver(1..=1);
    uids(&fixture.inbox);
    fs::copy(fixture.path("cur/1.a,S=3,W=3:2,"), fixture.dir.path().join("saved")).unwrap();
    fixture.inbox.expunge(Some(&[1]), false).unwrap();
    fs::rename(fixture.dir.path().join("saved"), fixture.path("cur/1.a,S=3,W=3:2,")).unwrap();
    assert_eq!(uids(&fixture.inbox), [2]);
}

#[test]
fn a_uidlist_and_keywords_from_dovecot_are_taken_over_and_handed_back() {
    let fixture = Fixture::new();
    let header = "3 V1700000000 N3 G0123456789abcdef0123456789abcdef";
    fs::write(fixture.path("dovecot-uidlist"), format!("{header}\n5 W3 :1.a\n9 :2.b\n")).unwrap();
    fs::write(fixture.path("dovecot-keywords"), "0 $Forwarded\n").unwrap();
    fs::write(fixture.path("cur/1.a:2,Sa"), "1\n").unwrap();
    fs::write(fixture.path("cur/2.b:2,"), "2\n").unwrap();
    fs::write(fixture.path("new/3.c"), "3\n").unwrap();
    let snapshot = fixture.inbox.snapshot().unwrap();
    assert_eq!((snapshot.uid_validity, snapshot.uid_next), (1_700_000_000, 11));
    let seen: Vec<_> = snapshot.messages.iter().map(|m| (m.uid, m.size, m.keywords.clone())).collect();
    assert_eq!(seen, [(5, 3, vec![keyword("$forwarded")]), (9, 3, vec![]), (10, 3, vec![])]);
    assert_eq!(fixture.inbox.read(5).unwrap(), b"1\r\n");
    assert_eq!(fixture.inbox.read_range(5, 1, 10).unwrap(), b"\r\n");
    let list = fs::read_to_string(fixture.path("dovecot-uidlist")).unwrap();
    assert_eq!(list, format!("{header}\n5 W3 :1.a\n9 :2.b\n10 :3.c\n"));
}

#[test]
fn an_unreadable_uidlist_is_put_aside_and_uidvalidity_grows() {
    let fixture = Fixture::new();
    fixture.deliver(1..=1);
    let before = fixture.inbox.snapshot().unwrap();
    fs::write(fixture.path("dovecot-uidlist"), "garbage").unwrap();
    let after = fixture.inbox.snapshot().unwrap();
    assert!(after.uid_validity > before.uid_validity);
    assert_eq!(after.messages.len(), 1);
    assert_eq!(fs::read_to_string(fixture.path("dovecot-uidlist.damaged")).unwrap(), "garbage");
    assert!(fixture.inbox.changes_since(before.modseq).unwrap().is_none(), "all UIDs are void");
}

#[test]
fn a_27th_keyword_is_refused_and_changes_nothing() {
    let fixture = Fixture::new();
    fixture.deliver(1..=1);
    let all: Vec<_> = (0..26).map(|i| keyword(&format!("k{i}"))).collect();
    fixture.inbox.change_flags(&[1], FlagChange::Add, Flags::EMPTY, &all).unwrap();
    let more = [keyword("one-more")];
    let refused = fixture.inbox.change_flags(&[1], FlagChange::Set, Flags::SEEN, &more);
    assert!(matches!(refused, Err(Error::KeywordsFull)));
    assert_eq!(fixture.inbox.message(1).unwrap().keywords.len(), 26);
}

#[test]
fn a_header_ends_with_its_blank_line_wherever_that_falls() {
    let fixture = Fixture::new();
    for (uid, len) in [(1, 3), (2, 8187), (3, 8188), (4, 8189), (5, 8190), (6, 20_000)] {
        let header = format!("{}\r\n\r\n", "h".repeat(len));
        let content = format!("{header}body\r\n\r\nmore");
        let item = Delivery { base: None, content: content.as_bytes() };
        fixture.inbox.deliver(&[item], Durability::None).unwrap().pop().unwrap().unwrap();
        fixture.inbox.sync().unwrap();
        assert!(fixture.inbox.read_header(uid).unwrap() == header.as_bytes(), "{len}");
    }
    for (uid, content, header) in
        [(7, "no end\n", "no end\r\n"), (8, "\r\nno header\n\n", "\r\n"), (9, "", "")]
    {
        let item = Delivery { base: None, content: content.as_bytes() };
        fixture.inbox.deliver(&[item], Durability::None).unwrap().pop().unwrap().unwrap();
        fixture.inbox.sync().unwrap();
        assert_eq!(fixture.inbox.read_header(uid).unwrap(), header.as_bytes());
    }
}

#[test]
fn one_deliverys_retries_that_race_with_readers_make_one_message() {
    let fixture = Fixture::with(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for n in 1..=20 {
                    fixture.deliver(n..=n);
                }
            });
            scope.spawn(|| {
                for _ in 0..20 {
                    fixture.inbox.sync().unwrap();
                }
            });
        }
    });
    assert_eq!(uids(&fixture.inbox).len(), 20);
}

#[test]
fn a_name_that_claims_a_wrong_size_is_refused() {
    let fixture = Fixture::new();
    let item = Delivery { base: Some(base("1.a,S=4,W=4")), content: b"1\r\n" };
    let result = fixture.inbox.deliver(&[item], Durability::None).unwrap().pop().unwrap();
    assert!(matches!(result, Err(Error::WrongSize { claimed: 4, actual: 3 })));
    assert!(ls(fixture.path("new")).is_empty() && ls(fixture.path("tmp")).is_empty());
}

#[test]
fn a_mailbox_that_is_not_there_is_an_error_and_never_empty() {
    let fixture = Fixture::new();
    let tree = Tree::new(fixture.store.clone(), b"inbox", MailboxConfig::default());
    assert!(matches!(tree.mailbox("none"), Err(Error::NoMailbox(_))));
    fs::remove_dir_all(fixture.path("cur")).unwrap();
    assert!(fixture.inbox.snapshot().is_err());
}

#[test]
fn names_that_could_lead_out_of_the_tree_are_refused() {
    let fixture = Fixture::new();
    let tree = Tree::new(fixture.store.clone(), b"inbox", MailboxConfig::default());
    for name in ["", ".", "..", "a..b", "a/b", "a.", "x\0y", &"l".repeat(255)] {
        assert!(matches!(tree.create(name), Err(Error::BadMailboxName { .. })), "{name:?}");
    }
    assert_eq!(tree.list().unwrap(), ["INBOX"]);
}

#[test]
fn concurrent_writers_lose_nothing() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (fixture, mailbox) = (&fixture, fixture.mailbox("inbox"));
            scope.spawn(move || {
                for n in 0..8 {
                    let name = base(&format!("{}.{writer}", 100 + n));
                    let item = Delivery { base: Some(name), content: b"x\r\n" };
                    mailbox.deliver(&[item], Durability::None).unwrap().pop().unwrap().unwrap();
                    fixture
                        .inbox
                        .append(&append(&format!("{}.{writer}.app", 200 + n)), Durability::None)
                        .unwrap();
                    let all = uids(&mailbox);
                    mailbox.change_flags(&all, FlagChange::Add, Flags::SEEN, &[]).unwrap();
                }
            });
        }
    });
    let last = fixture.mailbox("inbox").snapshot().unwrap();
    assert_eq!(last.messages.len(), 48);
    assert_eq!(last.uid_next, 49, "each got one UID");
    assert_eq!(uids(&fixture.inbox), last.messages.iter().map(|m| m.uid).collect::<Vec<_>>());
}

#[test]
fn a_change_of_thousands_takes_several_turns_of_the_lock_and_reaches_all() {
    let fixture = Fixture::new();
    for n in 0..2500 {
        fs::write(fixture.path("cur").join(format!("{n}.a,S=1,W=1:2,")), "x").unwrap();
    }
    let all = uids(&fixture.inbox);
    let changed = fixture.inbox.change_flags(&all, FlagChange::Add, Flags::TRASHED, &[]).unwrap();
    assert!(changed.len() == 2500 && changed.iter().all(|m| m.flags == Flags::TRASHED));
    assert_eq!(fixture.inbox.expunge(Some(&all[..1500]), true).unwrap(), all[..1500]);
    assert_eq!(fixture.inbox.expunge(None, true).unwrap(), all[1500..]);
    assert!(ls(fixture.path("cur")).is_empty() && uids(&fixture.mailbox("inbox")).is_empty());
}

#[test]
fn a_flood_in_new_is_taken_in_in_stretches_and_in_the_order_of_its_arrival() {
    let fixture = Fixture::new();
    let names = |n: u32| format!("{}.M{:06}.h", 1_700_000_000 + n / 7, n % 7);
    // Made in another order than they arrived.
    for n in (0..2345).map(|n| n * 1009 % 2345) {
        std::fs::write(fixture.path("new").join(names(n)), "x").unwrap();
    }
    let snapshot = fixture.inbox.snapshot().unwrap();
    let found: Vec<String> = snapshot.messages.iter().map(|m| m.base.to_string()).collect();
    assert!(found.iter().eq((0..2345).map(names).collect::<Vec<_>>().iter()), "by UID, in one look");
    assert_eq!(snapshot.recent.len(), 2345);
    assert!(ls(fixture.path("new")).is_empty());
}
