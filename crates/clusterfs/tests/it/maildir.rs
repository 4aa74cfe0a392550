//! A volume as a Maildir store.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use posthaste_clusterfs::FsStore;
use posthaste_maildir::{Durability, Publish, Store};

use crate::workload::{formatted, open};

fn store() -> FsStore {
    let store = FsStore::new(Arc::new(open(&formatted())), b"alice@example.org");
    assert!(store.create_dir(b"").unwrap());
    store
}

fn publish(store: &FsStore, dir: &[u8], name: &[u8], content: &[u8]) -> std::io::Result<()> {
    let dir = store.open_dir(dir).unwrap();
    let mut staged = store.stage(&dir, name, None).unwrap();
    staged.write_all(content).unwrap();
    let batch = vec![Publish { staged, dir, name: name.to_vec() }];
    store.publish(batch, Durability::Full).unwrap().pop().unwrap()
}

#[test]
fn a_message_is_published_once_read_renamed_and_stamped() {
    let store = store();
    for dir in [b"new", b"cur", b"tmp"] {
        assert!(store.create_dir(dir).unwrap());
        assert!(!store.create_dir(dir).unwrap());
    }
    let (new, cur) = (store.open_dir(b"new").unwrap(), store.open_dir(b"cur").unwrap());
    let empty = store.stamp(&new).unwrap();
    publish(&store, b"new", b"1", b"hello").unwrap();
    assert_ne!(store.stamp(&new).unwrap(), empty);
    assert_eq!(publish(&store, b"new", b"1", b"again").unwrap_err().kind(), ErrorKind::AlreadyExists);
    let id = store.stat(&new, b"1").unwrap().id;
    store.rename(&new, b"1", &cur, b"1:2,S").unwrap();
    store.commit().unwrap();
    let mut text = String::new();
    store.open(&cur, b"1:2,S").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), store.stat(&cur, b"1:2,S").unwrap().id), ("hello", id));
    assert_eq!(store.open(&new, b"1").unwrap_err().kind(), ErrorKind::NotFound);
    let mut names = Vec::new();
    let seen = store.scan(&cur, &mut |name| names.push(name.to_vec())).unwrap();
    assert_eq!((names, seen), (vec![b"1:2,S".to_vec()], store.stamp(&cur).unwrap()));
}

#[test]
fn control_files_append_replace_and_read_from_an_offset() {
    let store = store();
    let root = store.open_dir(b"").unwrap();
    let uidlist = b"dovecot-uidlist";
    let missing = store.control_append(&root, uidlist, b"x", Durability::None).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let mut expected = vec![b'h'; 3000];
    let first = store.control_replace(&root, uidlist, &expected, Durability::Full).unwrap();
    for line in 0..400 {
        let line = format!("{line} :name-of-message-{line}\n");
        expected.extend_from_slice(line.as_bytes());
        let stamp = store.control_append(&root, uidlist, line.as_bytes(), Durability::None).unwrap();
        assert_eq!((stamp.id, stamp.len), (first.id, expected.len() as u64));
    }
    for offset in [0, 1, 2999, 3000, 3001, 7095, 7096, 7097, expected.len() - 1, expected.len()] {
        let (bytes, _) = store.control_read(&root, uidlist, offset as u64).unwrap();
        assert!(bytes == expected[offset..], "from {offset}");
    }
    // More than an operation may carry.
    let much = vec![b'z'; 200_000];
    store.control_append(&root, uidlist, &much, Durability::Full).unwrap();
    expected.extend_from_slice(&much);
    let (bytes, stamp) = store.control_read(&root, uidlist, 0).unwrap();
    assert!(bytes == expected);
    assert_eq!(stamp, store.control_stamp(&root, uidlist).unwrap());
}

#[test]
fn a_lock_excludes_others_until_dropped() {
    let store = store();
    let root = store.open_dir(b"").unwrap();
    let held = store.lock(&root, b"uidlist.lock", Duration::ZERO).unwrap();
    let refused = store.lock(&root, b"uidlist.lock", Duration::from_millis(1)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
    store.lock(&root, b"other.lock", Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.lock(&root, b"uidlist.lock", Duration::from_secs(30)).map(drop));
        drop(held);
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn a_volume_is_a_store_by_every_law_of_the_conformance_suite() {
    let number = std::cell::Cell::new(0);
    let fs = Arc::new(open(&formatted()));
    posthaste_maildir::conformance::run(|| {
        number.set(number.get() + 1);
        let store = FsStore::new(fs.clone(), format!("user{}", number.get()).as_bytes());
        store.create_dir(b"").unwrap();
        store
    });
}
