//! The local file system as a store.

use std::cell::Cell;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use posthaste_maildir::{DotlockTimes, LocalConfig, LocalFs, Store, conformance};

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

/// The seven cases of Dovecot's lock files: who may be overridden, and when.
#[test]
fn the_lock_matrix_alive_dead_foreign_empty_own_touched_overridden() {
    let fixture = Fixture::new();
    let times = DotlockTimes { stale_after: Duration::from_millis(150), ..config(true).lock_times };
    let host = config(true).host;
    let store = LocalFs::open(fixture.dir.path(), LocalConfig { lock_times: times, ..config(true) }).unwrap();
    let root = store.open_dir(b"inbox").unwrap();
    let path = fixture.path("dovecot-uidlist.lock");
    let aged = |content: &str, seconds: u64| {
        std::fs::write(&path, content).unwrap();
        let then = SystemTime::now() - Duration::from_secs(seconds);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    };
    let take = |wait| store.lock(&root, b"dovecot-uidlist.lock", Duration::from_millis(wait));
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let (dead, me) = (child.id(), std::process::id());

    aged(&format!("1:{host}"), 1000);
    assert!(take(400).is_err(), "alive: never, however old");
    aged(&format!("{dead}:{host}"), 0);
    assert!(take(50).is_err(), "dead: not while it is fresh");
    aged(&format!("{dead}:{host}"), 3);
    drop(take(60_000).expect("dead: at once when it is two seconds old"));
    aged(&format!("{me}:{host}"), 3);
    drop(take(60_000).expect("our own pid: a predecessor's"));
    for content in ["1:elsewhere", "", "nonsense"] {
        aged(content, 1000);
        assert!(take(50).is_err(), "{content:?}: not before it was seen to be quiet");
        drop(take(60_000).unwrap_or_else(|e| panic!("{content:?}: when it was quiet for long enough: {e}")));
    }
    // Touched, and the file that it protects: somebody lives.
    for touched in ["dovecot-uidlist.lock", "dovecot-uidlist"] {
        aged("1:elsewhere", 1000);
        std::fs::write(fixture.path("dovecot-uidlist"), "").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0.. {
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                    let file = std::fs::File::options().write(true).open(fixture.path(touched));
                    let then = SystemTime::now() - Duration::from_secs(1000 + n % 7);
                    // The lock is gone when it was overridden, which is the failure below.
                    let _ = file.and_then(|file| file.set_modified(then));
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let taken = take(600);
            done.store(true, Ordering::SeqCst);
            assert!(taken.is_err(), "{touched} changes all the time");
        });
    }
    // Overridden while we held it: we find out before we write, and do not remove the thief's.
    std::fs::remove_file(&path).unwrap();
    let held = take(1000).unwrap();
    store.refresh_lock(&held).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "1:thief").unwrap();
    assert!(store.refresh_lock(&held).is_err());
    drop(held);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "1:thief");
}

#[test]
fn a_mailbox_whose_lock_was_taken_over_writes_nothing_and_reads_anew() {
    let fixture = Fixture::new();
    fixture.deliver(1..=1);
    fixture.inbox.sync().unwrap();
    fixture.deliver(2..=2);
    let list = std::fs::read(fixture.path("dovecot-uidlist")).unwrap();
    let lock = fixture.path("dovecot-uidlist.lock");
    let thief = std::thread::spawn(move || {
        let patience = std::time::Instant::now() + Duration::from_millis(500);
        while std::fs::remove_file(&lock).is_err() && std::time::Instant::now() < patience {
            std::hint::spin_loop();
        }
    });
    // Whether the thief comes before or after the last write is chance; if after, nothing is amiss.
    let synced = fixture.inbox.sync();
    thief.join().unwrap();
    let now = std::fs::read(fixture.path("dovecot-uidlist")).unwrap();
    assert!(now == list || (synced.is_ok() && now.starts_with(&list)));
    assert_eq!(crate::support::uids(&fixture.inbox), [1, 2]);
}

#[test]
fn a_waiter_gets_a_lock_soon_after_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    // Looks by itself every minute only: what wakes it is the lock's removal.
    let poll = (Duration::from_secs(60), Duration::from_secs(60));
    let lock_times = DotlockTimes { poll, ..DotlockTimes::default() };
    let store = LocalFs::open(dir.path(), LocalConfig { lock_times, ..config(true) }).unwrap();
    let root = store.open_dir(b"").unwrap();
    std::fs::write(dir.path().join("x.lock"), format!("1:{}", config(true).host)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            std::fs::remove_file(dir.path().join("x.lock")).unwrap();
        });
        drop(store.lock(&root, b"x.lock", Duration::from_secs(50)).unwrap());
    });
}

#[test]
fn an_nfs_tree_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let number = Cell::new(0);
    conformance::run(|| {
        number.set(number.get() + 1);
        let root = dir.path().join(number.get().to_string());
        std::fs::create_dir(&root).unwrap();
        LocalFs::open(root, LocalConfig { nfs: true, ..config(true) }).unwrap()
    });
}

#[test]
fn a_lock_file_is_whole_and_open_to_its_group_from_the_moment_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o770)).unwrap();
    let store = LocalFs::open(dir.path(), config(true)).unwrap();
    let open = store.open_dir(b"").unwrap();
    drop(store.lock(&open, b"x.lock", Duration::ZERO).unwrap());
    if !store.caps().unnamed {
        return eprintln!("skipped: the temporary directory's file system has no files without a name");
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                drop(store.lock(&open, b"x.lock", Duration::from_secs(9)).unwrap());
            }
        });
        let mut seen = 0;
        while seen < 2000 {
            let Ok(file) = std::fs::File::open(dir.path().join("x.lock")) else { continue };
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            let content = std::io::read_to_string(file).unwrap();
            seen += 1;
            stop.store(seen == 2000 || mode != 0o660 || content.is_empty(), Ordering::SeqCst);
            assert_eq!((mode, content.split(':').next()), (0o660, Some(&*std::process::id().to_string())));
        }
    });
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

#[test]
fn a_writer_that_dies_leaves_nothing_in_tmp_where_files_can_be_without_a_name() {
    let fixture = Fixture::new();
    let tmp = fixture.store.open_dir(b"inbox/tmp").unwrap();
    // Killed before it is published: nobody tidies up.
    std::mem::forget(fixture.store.stage(&tmp, b"dead", None).unwrap());
    let left = ls(fixture.path("tmp"));
    assert_eq!(left.is_empty(), fixture.store.caps().unnamed, "{left:?}");
}
