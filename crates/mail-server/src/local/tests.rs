//! Operations through a local store on a temporary directory.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_maildir::sim::SimFs;
use posthaste_maildir::{LocalConfig, LocalFs};
use tempfile::TempDir;

use super::{LocalStore, LocalStoreConfig};
use crate::store::{
    Base, FlagChange, Flags, MailStore, MailboxName, Op, Part, Recipient, Reply, Snapshot, StoreError, User,
};

const BODY: &[u8] = b"Subject: hello\r\nFrom: a@example.org\r\n\r\nfirst line\r\n";

struct Fixture {
    _dir: TempDir,
    store: LocalStore<LocalFs>,
    alice: User,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalConfig { shared: false, ..LocalConfig::default() };
    let maildirs = LocalFs::open(dir.path(), config).unwrap();
    let store = LocalStore::new(maildirs, LocalStoreConfig { mailboxes_open_max: 2, ..Default::default() });
    Fixture { _dir: dir, store, alice: user("alice@example.org") }
}

fn user(name: &str) -> User {
    User::parse(name).unwrap()
}

fn mailbox(name: &str) -> MailboxName {
    MailboxName::parse(name).unwrap()
}

fn base(name: &str) -> Base {
    Base::parse(name).unwrap()
}

impl Fixture {
    async fn call(&self, op: Op) -> Reply {
        self.store.call(&self.alice, op).await.unwrap()
    }

    /// Does it twice: the second time must give the same answer.
    async fn twice(&self, op: Op) -> Reply {
        let first = self.call(op.clone()).await;
        assert_eq!(self.call(op).await, first);
        first
    }

    async fn open(&self, name: &str) -> Snapshot {
        match self.call(Op::Open(mailbox(name))).await {
            Reply::Snapshot(snapshot) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    async fn deliver(&self, name: &str) {
        let to = vec![Recipient { user: self.alice.clone(), base: base(name) }];
        self.call(Op::Deliver { to, body: Bytes::from_static(BODY) }).await;
    }

    async fn deletion(&self, name: &str) -> Op {
        Op::Delete { name: mailbox(name), uid_validity: self.open(name).await.uid_validity }
    }

    async fn delete(&self, name: &str) -> Result<Reply, StoreError> {
        let op = self.deletion(name).await;
        self.store.call(&self.alice, op).await
    }

    async fn uids(&self, name: &str) -> Vec<u32> {
        self.open(name).await.messages.iter().map(|m| m.uid).collect()
    }
}

fn append(name: &str, flags: Flags) -> Op {
    let (body, base) = (Bytes::from_static(BODY), base(name));
    Op::Append { name: mailbox("INBOX"), base, flags, date: Some(86_400), body }
}

#[tokio::test]
async fn a_message_is_delivered_read_flagged_copied_and_expunged_and_each_retry_changes_nothing() {
    let fixture = fixture();
    let to = vec![Recipient { user: fixture.alice.clone(), base: base("1.a.h") }];
    fixture.twice(Op::Deliver { to, body: Bytes::from_static(BODY) }).await;
    let inbox = fixture.open("INBOX").await;
    assert_eq!((inbox.messages.len(), inbox.recent, inbox.uid_next), (1, vec![1], 2));
    let message = &inbox.messages[0];
    assert_eq!((message.uid, message.size, &message.base[..]), (1, BODY.len() as u64, "1.a.h"));

    for (part, expected) in [
        (Part::Whole, BODY),
        (Part::Header, &BODY[..39]),
        (Part::Range { offset: 9, len: 5 }, b"hello"),
        (Part::Range { offset: 1000, len: 5 }, b""),
    ] {
        let reply = fixture.twice(Op::Fetch { name: mailbox("INBOX"), uids: vec![1, 99], part }).await;
        assert_eq!(reply, Reply::Parts(vec![(1, Bytes::copy_from_slice(expected))]), "{part:?}");
    }

    let flags = Flags { seen: true, deleted: true, keywords: vec!["$Junk".to_owned()], ..Flags::default() };
    let (name, uids, change) = (mailbox("INBOX"), vec![1, 99], FlagChange::Add);
    match fixture.twice(Op::Store { name, uids, change, flags: flags.clone() }).await {
        Reply::Messages(messages) => assert_eq!(messages[0].flags, flags),
        other => panic!("{other:?}"),
    }

    fixture.call(Op::Create(mailbox("Archive.2026"))).await;
    let (from, to) = (mailbox("INBOX"), mailbox("Archive.2026"));
    let copy = Op::Copy { from, to, messages: vec![(1, base("2.b.h")), (99, base("3.c.h"))] };
    let copied = fixture.twice(copy.clone()).await;
    let Reply::Copied { uid_validity, uids } = &copied else { panic!("{copied:?}") };
    assert_eq!(uids, &[(1, 1)]);
    let archive = fixture.open("Archive.2026").await;
    assert_eq!((archive.uid_validity, &archive.messages[0].flags), (*uid_validity, &flags));
    assert_ne!(archive.uid_validity, inbox.uid_validity);

    let (name, uids) = (mailbox("INBOX"), Some(vec![1]));
    let expunge = Op::Expunge { name, uids, even_undeleted: false };
    assert_eq!(fixture.twice(expunge).await, Reply::Vanished(vec![1]));
    assert!(fixture.uids("INBOX").await.is_empty());
    assert_eq!(fixture.call(copy).await, copied, "though its source is gone");
    fixture.deliver("1.a.h").await;
    assert!(fixture.uids("INBOX").await.is_empty(), "a late retry does not bring it back");
}

#[tokio::test]
async fn an_appended_message_keeps_flags_and_date_and_its_retry_its_uid() {
    let fixture = fixture();
    let flags = Flags { draft: true, keywords: vec!["a".to_owned(), "b".to_owned()], ..Flags::default() };
    let appended = fixture.twice(append("1.a", flags.clone())).await;
    let inbox = fixture.open("INBOX").await;
    assert_eq!(appended, Reply::Appended { uid_validity: inbox.uid_validity, uid: 1 });
    assert_eq!((inbox.messages.len(), inbox.messages[0].date), (1, 86_400));
    assert_eq!(inbox.messages[0].flags, flags);
    let nowhere = Op::Append {
        name: mailbox("None"),
        base: base("2.a"),
        flags: Flags::default(),
        date: None,
        body: Bytes::new(),
    };
    let refused = fixture.store.call(&fixture.alice, nowhere).await;
    assert_eq!(refused, Err(StoreError::NoMailbox("None".to_owned())));
}

#[tokio::test]
async fn one_delivery_to_several_users_reaches_each_under_its_own_name() {
    let fixture = fixture();
    let users = [user("a@x"), user("b@x"), user("c@x")];
    fixture.store.deliver(&users, Bytes::from_static(BODY)).await.unwrap();
    let mut names = Vec::new();
    for user in &users {
        match fixture.store.call(user, Op::Open(MailboxName::inbox())).await.unwrap() {
            Reply::Snapshot(snapshot) => names.extend(snapshot.messages.into_iter().map(|m| m.base)),
            other => panic!("{other:?}"),
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[tokio::test]
async fn changes_are_told_since_any_snapshot_and_a_closed_mailbox_starts_anew() {
    let fixture = fixture();
    fixture.deliver("1.a").await;
    let first = fixture.open("INBOX").await;
    fixture.deliver("2.a").await;
    let (name, uid_validity) = (mailbox("INBOX"), first.uid_validity);
    let ask = Op::Changes { name: name.clone(), since: first.modseq, uid_validity, peek: false };
    match fixture.call(ask.clone()).await {
        Reply::Changes(changes) => {
            assert_eq!((changes.changed[0].uid, changes.recent, changes.uid_next), (2, vec![2], 3));
        }
        other => panic!("{other:?}"),
    }
    let uid_validity = uid_validity + 1;
    let stale = Op::Changes { name, since: first.modseq, uid_validity, peek: false };
    assert!(matches!(fixture.call(stale).await, Reply::Snapshot(_)));
    // Two other mailboxes push this one out.
    for name in ["A", "B", "C"] {
        fixture.call(Op::Create(mailbox(name))).await;
        fixture.open(name).await;
    }
    match fixture.call(ask).await {
        Reply::Snapshot(snapshot) => {
            assert_eq!(snapshot.messages.len(), 2);
            assert!(snapshot.modseq > first.modseq);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn watchers_hear_of_deliveries_flags_and_expunges_after_they_are_done() {
    let fixture = fixture();
    let inbox = mailbox("INBOX");
    let mut watch = fixture.store.watch(&fixture.alice, &inbox).await.unwrap();
    let mut other = fixture.store.watch(&user("bob@example.org"), &inbox).await.unwrap();
    fixture.deliver("1.a").await;
    watch.try_recv().unwrap();
    assert!(watch.try_recv().is_err(), "one hint for one change");
    let (name, uids, change) = (inbox.clone(), vec![1], FlagChange::Add);
    fixture.call(Op::Store { name, uids, change, flags: Flags { seen: true, ..Flags::default() } }).await;
    fixture.call(Op::Expunge { name: inbox, uids: None, even_undeleted: true }).await;
    watch.try_recv().unwrap();
    assert!(other.try_recv().is_err());
}

#[tokio::test]
async fn mailboxes_are_made_listed_renamed_and_deleted() {
    let fixture = fixture();
    for name in ["Entwürfe", "Work", "Work.Old"] {
        fixture.call(Op::Create(mailbox(name))).await;
    }
    fixture.deliver("1.a").await;
    assert_eq!(fixture.uids("INBOX").await, [1]);
    let open = fixture.open("Work.Old").await;
    fixture.call(Op::Rename { from: mailbox("Work"), to: mailbox("Job") }).await;
    assert_eq!(fixture.open("Job.Old").await.uid_validity, open.uid_validity);
    fixture.twice(Op::Subscribe { name: mailbox("Gone"), on: true }).await;
    fixture.delete("Job").await.unwrap();
    let Reply::Listing(listed) = fixture.call(Op::List).await else { panic!() };
    let listed: Vec<_> = listed.iter().map(|l| (l.name.as_str(), l.exists, l.subscribed)).collect();
    let expected =
        [("Entwürfe", true, false), ("Gone", false, true), ("INBOX", true, false), ("Job.Old", true, false)];
    assert_eq!(listed, expected);
    let refused = |op| fixture.store.call(&fixture.alice, op);
    assert!(matches!(refused(Op::Create(mailbox("Job.Old"))).await, Err(StoreError::Exists(_))));
    assert!(matches!(fixture.delete("inbox").await, Err(StoreError::Refused(_))));
    assert!(matches!(refused(Op::Open(mailbox("Job"))).await, Err(StoreError::NoMailbox(_))));
    assert!(matches!(
        refused(Op::Rename { from: mailbox("None"), to: mailbox("X") }).await,
        Err(StoreError::NoMailbox(_))
    ));
}

#[tokio::test]
async fn a_retried_delete_spares_a_mailbox_made_under_the_same_name_since() {
    let fixture = fixture();
    fixture.call(Op::Create(mailbox("A"))).await;
    let delete = fixture.deletion("A").await;
    fixture.call(delete.clone()).await;
    fixture.call(Op::Create(mailbox("A"))).await;
    let again = fixture.store.call(&fixture.alice, delete.clone()).await;
    assert_eq!(delete.retried(again), Ok(Reply::Done));
    assert!(fixture.uids("A").await.is_empty(), "it is still there");
    assert_eq!(delete.retried(Err(StoreError::Full)), Err(StoreError::Full));
}

#[tokio::test]
async fn a_damaged_message_is_an_internal_error_that_no_retry_mends() {
    let damaged = std::io::Error::new(std::io::ErrorKind::InvalidData, "checksum");
    let e = posthaste_maildir::Error::Io { doing: "read a message".to_owned(), source: damaged };
    assert!(matches!(super::convert::error(e), StoreError::Internal(text) if text.contains("checksum")));
    let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let e = posthaste_maildir::Error::Io { doing: "read a message".to_owned(), source: gone };
    assert!(matches!(super::convert::error(e), StoreError::Unavailable(_)));
}

#[tokio::test]
async fn a_mailbox_that_is_made_again_has_another_uidvalidity_and_no_old_messages() {
    let fixture = fixture();
    let mut validities = Vec::new();
    for n in 0..3 {
        fixture.call(Op::Create(mailbox("A"))).await;
        let op = Op::Append {
            name: mailbox("A"),
            base: base(&format!("{n}.a")),
            flags: Flags::default(),
            date: None,
            body: Bytes::from_static(BODY),
        };
        fixture.call(op).await;
        let snapshot = fixture.open("A").await;
        assert_eq!(snapshot.messages.len(), 1);
        validities.push(snapshot.uid_validity);
        fixture.delete("A").await.unwrap();
    }
    assert!(validities.is_sorted_by(|a, b| a < b), "{validities:?}");
}

#[tokio::test]
async fn a_full_store_refuses_mail_and_goes_on_being_read_until_there_is_space() {
    let disk = Arc::new(SimFs::default());
    let store = LocalStore::shared(Arc::clone(&disk), LocalStoreConfig::default());
    let users = [user("a@x"), user("b@x")];
    let open = || store.call(&users[0], Op::Open(mailbox("INBOX")));
    store.deliver(&users, Bytes::from_static(BODY)).await.unwrap();
    open().await.unwrap();
    disk.set_full(true);
    assert_eq!(store.deliver(&users, Bytes::from_static(BODY)).await, Err(StoreError::Full));
    assert_eq!(store.call(&users[0], append("1.a", Flags::default())).await, Err(StoreError::Full));
    let Ok(Reply::Snapshot(snapshot)) = open().await else { panic!() };
    assert_eq!(snapshot.messages.len(), 1);
    disk.set_full(false);
    store.deliver(&users, Bytes::from_static(BODY)).await.unwrap();
    let Ok(Reply::Snapshot(snapshot)) = open().await else { panic!() };
    assert_eq!(snapshot.messages.len(), 2, "the refused one has left no trace");
}

#[tokio::test]
async fn every_reply_is_durable_when_it_comes() {
    let disk = Arc::new(SimFs::default());
    let store = LocalStore::shared(Arc::clone(&disk), LocalStoreConfig::default());
    let alice = user("a@x");
    let to = vec![Recipient { user: alice.clone(), base: base("1.a") }];
    let (name, flags) = (mailbox("INBOX"), Flags { seen: true, ..Flags::default() });
    let ops = [
        Op::Deliver { to, body: Bytes::from_static(BODY) },
        Op::Open(name.clone()),
        Op::Store { name: name.clone(), uids: vec![1], change: FlagChange::Add, flags },
        append("2.a", Flags::default()),
        Op::Create(mailbox("A")),
        Op::Copy { from: name.clone(), to: mailbox("A"), messages: vec![(1, base("3.a")), (2, base("4.a"))] },
        Op::Expunge { name, uids: Some(vec![1]), even_undeleted: true },
        Op::Subscribe { name: mailbox("A"), on: true },
    ];
    for op in ops {
        store.call(&alice, op.clone()).await.unwrap();
        for seed in 0..6 {
            let found = LocalStore::new(disk.crash(seed), LocalStoreConfig::default());
            for look in [Op::List, Op::Open(mailbox("INBOX")), Op::Open(mailbox("A"))] {
                let (before, after) =
                    (store.call(&alice, look.clone()).await, found.call(&alice, look).await);
                assert_eq!(without_numbers(after), without_numbers(before), "after {op:?}");
            }
        }
    }
}

/// Without change numbers and `\\Recent`, which may differ after a restart.
fn without_numbers(reply: Result<Reply, StoreError>) -> Result<Reply, StoreError> {
    reply.map(|reply| match reply {
        Reply::Snapshot(mut snapshot) => {
            snapshot.modseq = 0;
            snapshot.recent.clear();
            snapshot.messages.iter_mut().for_each(|message| message.modseq = 0);
            Reply::Snapshot(snapshot)
        }
        other => other,
    })
}
