//! The local file system as a store.

use std::cell::Cell;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use posthaste_maildir::{LocalFs, Store, conformance};

use crate::support::{Fixture, config, ls};

fn conforms(shared: bool) {
    let dir = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    conformance::run(|| {
        number.set(number.get() + 1);
        let root = dir.path().join(number.get().to_string());
        std::fs::create_dir(&root).unwrap();
        LocalFs::open(root, config(shared)).unwrap()
    });
}

#[test]
fn a_shared_local_tree_conforms() {
    conforms(true);
}

#[test]
fn an_unshared_local_tree_conforms() {
    conforms(false);
}

#[test]
fn links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalFs::open(dir.path(), config(true)).unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(outside.path().join("cur")).unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    symlink(outside.path(), dir.path().join("box")).unwrap();
    assert!(store.open_dir(b"box").is_err());
    assert!(store.open_dir(b"box/cur").is_err());
    assert!(store.create_dir(b"box/new").is_err());
    store.create_dir(b"real").unwrap();
    symlink(outside.path().join("secret"), dir.path().join("real/msg")).unwrap();
    let real = store.open_dir(b"real").unwrap();
    assert!(store.open(&real, b"msg").is_err());
    let mut seen = 0;
    store.scan(&real, &mut |_| seen += 1).unwrap();
    assert_eq!(seen, 0, "a link is no message");
    store.remove_dir(b"real").unwrap();
    assert!(outside.path().join("secret").exists());
}

#[test]
fn paths_that_lead_out_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalFs::open(dir.path(), config(true)).unwrap();
    for path in [&b".."[..], b"a/../..", b"/etc", b"a//b", b"."] {
        assert!(store.open_dir(path).is_err() && store.create_dir(path).is_err(), "{}", path.escape_ascii());
    }
    let root = store.open_dir(b"").unwrap();
    assert!(store.open(&root, b"../x").is_err() && store.unlink(&root, b"a/b").is_err());
}

#[test]
fn messages_take_the_mode_of_their_directory() {
    let fixture = Fixture::new();
    for (mode, expected) in [(0o700, 0o600), (0o770, 0o660), (0o755, 0o644)] {
        std::fs::set_permissions(fixture.path("tmp"), PermissionsExt::from_mode(mode)).unwrap();
        let inbox = fixture.mailbox("inbox");
        let item = posthaste_maildir::Delivery { base: None, content: b"x" };
        let done =
            inbox.deliver(&[item], posthaste_maildir::Durability::None).unwrap().pop().unwrap().unwrap();
        let meta = std::fs::metadata(fixture.path("new").join(done.base.to_string())).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, expected);
    }
}

#[test]
fn a_dead_processes_lock_file_is_overridden_and_a_live_ones_respected() {
    let fixture = Fixture::new();
    let root = fixture.store.open_dir(b"inbox").unwrap();
    let lock = fixture.path("dovecot-uidlist.lock");
    let wait = Duration::from_millis(50);
    let host = config(true).host;

    std::fs::write(&lock, format!("1:{host}")).unwrap();
    assert!(fixture.store.lock(&root, b"dovecot-uidlist.lock", wait).is_err(), "pid 1 lives");

    std::fs::write(&lock, "1:elsewhere").unwrap();
    assert!(fixture.store.lock(&root, b"dovecot-uidlist.lock", wait).is_err(), "who knows");

    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    std::fs::write(&lock, format!("{}:{host}", child.id())).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3);
    std::fs::File::options().write(true).open(&lock).unwrap().set_modified(old).unwrap();
    let held = fixture.store.lock(&root, b"dovecot-uidlist.lock", Duration::from_secs(5)).unwrap();
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), format!("{}:{host}", std::process::id()));
    drop(held);
    assert!(!lock.exists());
}

#[test]
fn a_lock_that_was_taken_over_is_not_removed() {
    let fixture = Fixture::new();
    let root = fixture.store.open_dir(b"inbox").unwrap();
    let held = fixture.store.lock(&root, b"x.lock", Duration::ZERO).unwrap();
    std::fs::remove_file(fixture.path("x.lock")).unwrap();
    std::fs::write(fixture.path("x.lock"), "1:thief").unwrap();
    drop(held);
    assert_eq!(std::fs::read_to_string(fixture.path("x.lock")).unwrap(), "1:thief");
}

#[test]
fn nothing_is_left_in_tmp() {
    let fixture = Fixture::new();
    fixture.deliver(1..=3);
    fixture.deliver(1..=3);
    assert_eq!(ls(fixture.path("tmp")), Vec::<String>::new());
    assert_eq!(ls(fixture.path("new")).len(), 3);
}
