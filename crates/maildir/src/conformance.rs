//! What every [`Store`] must do: run it against yours.
//!
//! ```
//! # #[cfg(unix)] {
//! use posthaste_maildir::{LocalConfig, LocalFs, conformance};
//! let dir = tempfile::tempdir()?;
//! let number = std::cell::Cell::new(0);
//! conformance::run(|| {
//!     number.set(number.get() + 1);
//!     let root = dir.path().join(number.get().to_string());
//!     std::fs::create_dir(&root).unwrap();
//!     LocalFs::open(root, LocalConfig::default()).unwrap()
//! });
//! # }
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::flags::Flags;
use crate::keywords::Keyword;
use crate::mailbox::{Append, Delivery, FlagChange, Mailbox, MailboxConfig};
use crate::name::BaseName;
use crate::store::{Durability, Publish, Store};
use crate::tree::Tree;

/// Runs every law, each on a new empty store from `make`. Panics at the first that is broken.
pub fn run<S: Store>(make: impl Fn() -> S) {
    directories_are_made_with_their_parents_and_listed(&make());
    a_missing_directory_is_an_error_and_never_empty(&make());
    a_directory_is_renamed_under_its_open_handle(&make());
    a_removed_directory_is_gone_with_its_content(&make());
    a_staged_file_is_seen_only_when_published(&make());
    a_dropped_staged_file_leaves_nothing(&make());
    what_a_store_says_that_it_can_do_it_can(&make());
    a_taken_name_fails_alone_in_its_batch(&make());
    a_given_date_is_kept(&make());
    a_rename_keeps_the_file_and_tells_when_it_is_gone(&make());
    a_link_is_a_second_name_of_one_file(&make());
    what_is_not_there_is_not_found(&make());
    names_are_bytes(&make());
    a_file_is_read_from_any_place(&make());
    a_scan_shows_each_file_once_and_no_directory(&make());
    every_change_changes_the_stamp(&make());
    control_files_grow_and_are_replaced(&make());
    a_lock_keeps_others_out_until_it_is_dropped(&make());
    commits_may_come_from_many_threads(Arc::new(make()));
    a_mailbox_works(Arc::new(make()));
    a_tree_works(Arc::new(make()));
}

fn dirs<S: Store>(store: &S) -> (S::Dir, S::Dir, S::Dir) {
    let open = |name: &[u8]| {
        store.create_dir(name).unwrap();
        store.open_dir(name).unwrap()
    };
    (open(b"m/tmp"), open(b"m/new"), open(b"m/cur"))
}

fn stage<S: Store>(store: &S, tmp: &S::Dir, name: &[u8], content: &[u8]) -> S::Staged {
    let mut staged = store.stage(tmp, name, None).unwrap();
    staged.write_all(content).unwrap();
    staged
}

fn put<S: Store>(store: &S, tmp: &S::Dir, dir: &S::Dir, name: &[u8], content: &[u8]) {
    let staged = stage(store, tmp, &[b"t-", name].concat(), content);
    let item = Publish { staged, dir: dir.clone(), name: name.to_vec() };
    store.publish(vec![item], Durability::None).unwrap().pop().unwrap().unwrap();
}

fn names<S: Store>(store: &S, dir: &S::Dir) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    store.scan(dir, &mut |name| found.push(name.to_vec())).unwrap();
    found.sort();
    found
}

fn content<S: Store>(store: &S, dir: &S::Dir, name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(dir, name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: io::Result<T>, kind: io::ErrorKind) {
    assert_eq!(result.map_err(|e| e.kind()).unwrap_err(), kind);
}

fn directories_are_made_with_their_parents_and_listed<S: Store>(store: &S) {
    assert!(store.create_dir(b"a/b").unwrap(), "made");
    assert!(!store.create_dir(b"a/b").unwrap(), "was there");
    assert!(store.create_dir(b"a/.c").unwrap());
    let mut below = store.list_dirs(b"a").unwrap();
    below.sort();
    assert_eq!(below, [b".c".to_vec(), b"b".to_vec()]);
    assert_eq!(store.list_dirs(b"").unwrap(), [b"a".to_vec()]);
}

fn a_missing_directory_is_an_error_and_never_empty<S: Store>(store: &S) {
    assert_kind(store.open_dir(b"none"), io::ErrorKind::NotFound);
    assert_kind(store.list_dirs(b"none"), io::ErrorKind::NotFound);
    assert_kind(store.rename_dir(b"none", b"other"), io::ErrorKind::NotFound);
    assert_kind(store.remove_dir(b"none"), io::ErrorKind::NotFound);
    let (_, new, _) = dirs(store);
    store.remove_dir(b"m").unwrap();
    assert!(store.stamp(&new).is_err(), "a directory that was removed has no stamp");
}

fn a_directory_is_renamed_under_its_open_handle<S: Store>(store: &S) {
    let (tmp, new, _) = dirs(store);
    store.create_dir(b"taken").unwrap();
    assert_kind(store.rename_dir(b"m", b"taken"), io::ErrorKind::AlreadyExists);
    store.rename_dir(b"m", b".x").unwrap();
    put(store, &tmp, &new, b"late", b"1");
    assert_eq!(names(store, &store.open_dir(b".x/new").unwrap()), [b"late".to_vec()]);
    assert_kind(store.open_dir(b"m"), io::ErrorKind::NotFound);
}

fn a_removed_directory_is_gone_with_its_content<S: Store>(store: &S) {
    let (tmp, new, _) = dirs(store);
    put(store, &tmp, &new, b"x", b"1");
    store.control_replace(&new, b"control", b"c", Durability::Full).unwrap();
    store.remove_dir(b"m").unwrap();
    assert_kind(store.open_dir(b"m/new"), io::ErrorKind::NotFound);
    let (_, new, _) = dirs(store);
    assert!(names(store, &new).is_empty(), "a new directory under the old name");
    assert_kind(store.control_stamp(&new, b"control"), io::ErrorKind::NotFound);
}

fn a_staged_file_is_seen_only_when_published<S: Store>(store: &S) {
    let (tmp, new, _) = dirs(store);
    let staged = stage(store, &tmp, b"t", b"whole");
    assert!(names(store, &new).is_empty());
    let item = Publish { staged, dir: new.clone(), name: b"n".to_vec() };
    let results = store.publish(vec![item], Durability::Full).unwrap();
    assert!(results.len() == 1 && results[0].is_ok());
    assert_eq!(content(store, &new, b"n"), b"whole");
    let meta = store.stat(&new, b"n").unwrap();
    assert_eq!(meta.len, 5);
    let age = SystemTime::now().duration_since(meta.modified).unwrap_or_default();
    assert!(age < Duration::from_secs(3600), "dated now");
    assert!(names(store, &tmp).is_empty(), "nothing is left behind");
}

fn a_dropped_staged_file_leaves_nothing<S: Store>(store: &S) {
    let (tmp, new, _) = dirs(store);
    drop(stage(store, &tmp, b"t", b"never"));
    assert!(names(store, &tmp).is_empty() && names(store, &new).is_empty());
    put(store, &tmp, &new, b"t", b"the name is free");
}

fn what_a_store_says_that_it_can_do_it_can<S: Store>(store: &S) {
    let (tmp, new, _) = dirs(store);
    let staged = stage(store, &tmp, b"t", b"");
    // After the first file: some find out with it.
    let caps = store.caps();
    assert_eq!(names(store, &tmp).is_empty(), caps.unnamed, "a staged file's name is seen");
    drop(staged);
    match store.watch(&[&new]) {
        Ok(_) => assert!(caps.watch),
        Err(e) => assert!(!caps.watch && e.kind() == io::ErrorKind::Unsupported, "{e}"),
    }
}

fn a_taken_name_fails_alone_in_its_batch<S: Store>(store: &S) {
    let (tmp, new, cur) = dirs(store);
    put(store, &tmp, &new, b"taken", b"old");
    let item = |tmp_name: &[u8], dir: &S::Dir, name: &[u8]| Publish {
        staged: stage(store, &tmp, tmp_name, name),
        dir: dir.clone(),
        name: name.to_vec(),
    };
    let batch = vec![item(b"1", &new, b"a"), item(b"2", &new, b"taken"), item(b"3", &cur, b"b")];
    let results = store.publish(batch, Durability::Full).unwrap();
    let kinds: Vec<_> = results.into_iter().map(|r| r.map_err(|e| e.kind())).collect();
    assert_eq!(kinds, [Ok(()), Err(io::ErrorKind::AlreadyExists), Ok(())]);
    assert_eq!(content(store, &new, b"taken"), b"old");
    assert_eq!((content(store, &new, b"a"), content(store, &cur, b"b")), (b"a".to_vec(), b"b".to_vec()));
    assert!(store.publish(Vec::new(), Durability::Full).unwrap().is_empty());
}

fn a_given_date_is_kept<S: Store>(store: &S) {
    let (tmp, new, cur) = dirs(store);
    let date = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut staged = store.stage(&tmp, b"t", Some(date)).unwrap();
    staged.write_all(b"x").unwrap();
    let item = Publish { staged, dir: new.clone(), name: b"n".to_vec() };
    store.publish(vec![item], Durability::None).unwrap().pop().unwrap().unwrap();
    assert_eq!(store.stat(&new, b"n").unwrap().modified, date);
    store.rename(&new, b"n", &cur, b"n:2,S").unwrap();
    assert_eq!(store.stat(&cur, b"n:2,S").unwrap().modified, date);
}

fn a_rename_keeps_the_file_and_tells_when_it_is_gone<S: Store>(store: &S) {
    let (tmp, new, cur) = dirs(store);
    put(store, &tmp, &new, b"n", b"1");
    let id = store.stat(&new, b"n").unwrap().id;
    store.rename(&new, b"n", &cur, b"n:2,").unwrap();
    store.rename(&cur, b"n:2,", &cur, b"n:2,S").unwrap();
    assert_eq!(store.stat(&cur, b"n:2,S").unwrap().id, id);
    assert_eq!(content(store, &cur, b"n:2,S"), b"1");
    assert_kind(store.rename(&new, b"n", &cur, b"other"), io::ErrorKind::NotFound);
    assert!(names(store, &new).is_empty());
}

fn a_link_is_a_second_name_of_one_file<S: Store>(store: &S) {
    let (tmp, new, cur) = dirs(store);
    put(store, &tmp, &new, b"n", b"1");
    match store.link(&new, b"n", &cur, b"l") {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => return,
        other => other.unwrap(),
    }
    assert_eq!(store.stat(&new, b"n").unwrap().id, store.stat(&cur, b"l").unwrap().id);
    assert_kind(store.link(&new, b"n", &cur, b"l"), io::ErrorKind::AlreadyExists);
    assert_kind(store.link(&new, b"none", &cur, b"k"), io::ErrorKind::NotFound);
    store.unlink(&new, b"n").unwrap();
    assert_eq!(content(store, &cur, b"l"), b"1");
}

fn what_is_not_there_is_not_found<S: Store>(store: &S) {
    let (_, new, _) = dirs(store);
    assert_kind(store.unlink(&new, b"none"), io::ErrorKind::NotFound);
    assert_kind(store.stat(&new, b"none"), io::ErrorKind::NotFound);
    assert_kind(store.open(&new, b"none").map(drop), io::ErrorKind::NotFound);
}

fn names_are_bytes<S: Store>(store: &S) {
    let (tmp, new, cur) = dirs(store);
    let odd: &[u8] = b"\xff\xfe \"*,=;\\\x7f";
    put(store, &tmp, &new, odd, b"1");
    assert_eq!(names(store, &new), [odd.to_vec()]);
    let long = [b'n'; 255];
    store.rename(&new, odd, &cur, &long).unwrap();
    assert_eq!(names(store, &cur), [long.to_vec()]);
}

fn a_file_is_read_from_any_place<S: Store>(store: &S) {
    let (tmp, new, _) = dirs(store);
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    put(store, &tmp, &new, b"n", &bytes);
    assert!(content(store, &new, b"n") == bytes);
    let mut file = store.open(&new, b"n").unwrap();
    file.seek(SeekFrom::Start(70_000)).unwrap();
    let mut part = Vec::new();
    file.by_ref().take(1000).read_to_end(&mut part).unwrap();
    assert!(part == bytes[70_000..71_000]);
    file.seek(SeekFrom::Start(200_000)).unwrap();
    assert_eq!(file.read(&mut [0; 10]).unwrap(), 0, "nothing behind the end");
}

fn a_scan_shows_each_file_once_and_no_directory<S: Store>(store: &S) {
    let (tmp, new, _) = dirs(store);
    store.create_dir(b"m/new/sub").unwrap();
    let expected: Vec<Vec<u8>> = (0..300).map(|i| format!("n{i:03}").into_bytes()).collect();
    for name in &expected {
        put(store, &tmp, &new, name, b"x");
    }
    assert_eq!(names(store, &new), expected);
}

fn every_change_changes_the_stamp<S: Store>(store: &S) {
    let (tmp, new, cur) = dirs(store);
    let mut seen = BTreeSet::new();
    let mut note = |dir: &S::Dir, what: &str| {
        let stamp = store.stamp(dir).unwrap();
        assert_eq!(store.stamp(dir).unwrap(), stamp, "no change, no new stamp");
        assert_eq!(store.scan(dir, &mut |_| {}).unwrap(), stamp, "a scan gives the same stamp");
        assert!(seen.insert((stamp.id, stamp.mtime_ns, stamp.generation)), "{what} did not change the stamp");
    };
    note(&cur, "nothing");
    put(store, &tmp, &cur, b"a", b"1");
    note(&cur, "a publication");
    store.rename(&cur, b"a", &cur, b"b").unwrap();
    note(&cur, "a rename");
    put(store, &tmp, &new, b"c", b"1");
    store.rename(&new, b"c", &cur, b"c").unwrap();
    note(&cur, "a rename from elsewhere");
    store.rename(&cur, b"c", &new, b"c").unwrap();
    note(&cur, "a rename to elsewhere");
    if store.link(&new, b"c", &cur, b"l").is_ok() {
        note(&cur, "a link");
    }
    store.unlink(&cur, b"b").unwrap();
    note(&cur, "an unlink");
}

fn control_files_grow_and_are_replaced<S: Store>(store: &S) {
    let (_, dir, _) = dirs(store);
    assert_kind(store.control_stamp(&dir, b"c"), io::ErrorKind::NotFound);
    assert_kind(store.control_read(&dir, b"c", 0), io::ErrorKind::NotFound);
    assert_kind(store.control_append(&dir, b"c", b"x", Durability::None), io::ErrorKind::NotFound);
    let first = store.control_replace(&dir, b"c", b"one\n", Durability::Full).unwrap();
    assert_eq!(store.control_stamp(&dir, b"c").unwrap(), first);
    let grown = store.control_append(&dir, b"c", b"two\n", Durability::Full).unwrap();
    assert_eq!((grown.id, grown.len), (first.id, 8), "the same file, longer");
    assert_eq!(store.control_read(&dir, b"c", 4).unwrap(), (b"two\n".to_vec(), grown));
    assert_eq!(store.control_read(&dir, b"c", 8).unwrap().0, b"");
    let other = store.control_replace(&dir, b"c", b"One\nTwo\n", Durability::None).unwrap();
    assert_ne!(other, grown, "replaced by as many bytes");
    assert_eq!(store.control_read(&dir, b"c", 0).unwrap(), (b"One\nTwo\n".to_vec(), other));
    store.control_replace(&dir, b"empty", b"", Durability::None).unwrap();
    store.rename(&dir, b"empty", &dir, b"renamed").unwrap();
    assert!(names(store, &dir).contains(&b"renamed".to_vec()), "control files are files of their directory");
}

fn a_lock_keeps_others_out_until_it_is_dropped<S: Store>(store: &S) {
    let (_, dir, other) = dirs(store);
    let wait = Duration::from_secs(60);
    let held = store.lock(&dir, b"l.lock", wait).unwrap();
    assert_kind(store.lock(&dir, b"l.lock", Duration::from_millis(5)), io::ErrorKind::TimedOut);
    drop(store.lock(&dir, b"m.lock", wait).unwrap());
    drop(store.lock(&other, b"l.lock", wait).unwrap());
    store.refresh_lock(&held).unwrap();
    drop(held);
    let inside = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let _held = store.lock(&dir, b"l.lock", wait).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold one lock");
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
}

fn commits_may_come_from_many_threads<S: Store>(store: Arc<S>) {
    let (tmp, new, _) = dirs(&*store);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, tmp, new) = (&store, &tmp, &new);
            scope.spawn(move || {
                for i in 0..10 {
                    put(&**store, tmp, new, format!("{thread}.{i}").as_bytes(), b"x");
                    store.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(names(&*store, &new).len(), 40);
}

fn a_mailbox_works<S: Store>(store: Arc<S>) {
    let open = |path: &[u8]| Mailbox::ensure(Arc::clone(&store), path, MailboxConfig::default()).unwrap();
    let (inbox, archive) = (open(b"inbox"), open(b"archive"));
    let base = |name: &str| BaseName::parse(name.as_bytes()).unwrap();
    let delivery = Delivery { base: Some(base("1.a.h")), content: b"Subject: a\r\n\r\nhello\r\n" };
    for new in [true, false] {
        let results = inbox.deliver(std::slice::from_ref(&delivery), Durability::Full).unwrap();
        assert_eq!(results[0].as_ref().unwrap().new, new);
    }
    let junk = [Keyword::parse("$Junk").unwrap()];
    let append = Append {
        base: Some(base("2.b.h")),
        content: b"b\r\n",
        flags: Flags::SEEN,
        keywords: &junk,
        date: Some(UNIX_EPOCH + Duration::from_secs(5)),
    };
    let appended = inbox.append(&append, Durability::Full).unwrap();
    assert_eq!(inbox.append(&append, Durability::Full).unwrap().uid, appended.uid);
    let before = inbox.snapshot().unwrap();
    assert_eq!(before.messages.len(), 2);
    inbox.change_flags(&[1], FlagChange::Add, Flags::TRASHED, &[]).unwrap();
    let copied = inbox.copy(&archive, &[(1, base("3.c.h")), (2, base("4.d.h"))]).unwrap();
    assert_eq!(copied.iter().map(|c| (c.from, c.to)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    assert_eq!(inbox.expunge(None, true).unwrap(), [1]);
    store.commit().unwrap();
    let changes = inbox.changes_since(before.modseq).unwrap().unwrap();
    assert_eq!((changes.vanished, changes.changed.len()), (vec![1], 0));
    let archived = archive.snapshot().unwrap().messages;
    assert_eq!(archive.read(1).unwrap(), delivery.content);
    assert_eq!((archived[1].date, &archived[1].keywords), (append.date.unwrap(), &junk.to_vec()));
    let again = open(b"archive").snapshot().unwrap();
    assert_eq!(again.messages.iter().map(|m| m.uid).collect::<Vec<_>>(), [1, 2], "UIDs stay");
}

fn a_tree_works<S: Store>(store: Arc<S>) {
    let tree = Tree::new(store, b"user", MailboxConfig::default());
    tree.ensure().unwrap();
    tree.create("Entwürfe.Alt").unwrap();
    tree.create("Entwürfe").unwrap();
    let first = tree.mailbox("Entwürfe").unwrap().snapshot().unwrap().uid_validity;
    tree.rename("Entwürfe", "Drafts").unwrap();
    assert_eq!(tree.list().unwrap(), ["INBOX", "Drafts", "Drafts.Alt"]);
    tree.subscribe("Drafts", true).unwrap();
    assert_eq!(tree.subscriptions().unwrap(), ["Drafts"]);
    tree.delete("Drafts").unwrap();
    assert!(!tree.exists("Drafts").unwrap() && tree.exists("Drafts.Alt").unwrap());
    tree.create("Drafts").unwrap();
    let second = tree.mailbox("Drafts").unwrap().snapshot().unwrap().uid_validity;
    assert!(second > first, "a mailbox that is made again has another UIDVALIDITY");
}
