//! Input and surroundings that want to hurt; and, one by one, the defects that others have had.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use posthaste_maildir::{
    Append, Delivery, Durability, Error, FlagChange, Flags, Keyword, LocalFs, Mailbox, MailboxConfig, Store,
    Tree,
};

use crate::support::{Fixture, Local, base, config, ls, uids};

fn put(fixture: &Fixture, name: &[u8], content: &str) {
    fs::write(fixture.dir.path().join("inbox").join(std::ffi::OsStr::from_bytes(name)), content).unwrap();
}

fn raw_names(fixture: &Fixture, sub: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(fixture.path(sub)).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().as_bytes().to_vec()).collect();
    names.sort();
    names
}

fn names(mailbox: &Local) -> Vec<Vec<u8>> {
    mailbox.list().unwrap().iter().map(|m| m.name.to_vec()).collect()
}

// ---- names ----------------------------------------------------------------------------------

#[test]
fn hostile_names_are_messages_or_left_alone_and_never_lost() {
    let fixture = Fixture::new();
    let long = [b'n'; 255];
    let messages: [&[u8]; 6] = [b"\xff\xfe", b"a:2:2,RS", b"b:1,x", b"c d\x7f\x01", b"-rf", &long];
    for name in messages {
        put(&fixture, &[b"new/", name].concat(), "x\n");
        put(&fixture, &[b"cur/", &name[..name.len() - 1], b"c"].concat(), "x\n");
    }
    for name in [&b"new/:2,S"[..], b"cur/:2,S", b"new/x\r", b"cur/y\nz", b"new/.nfs00"] {
        put(&fixture, name, "no message");
    }
    fs::create_dir(fixture.path("cur/dir:2,S")).unwrap();
    let snapshot = fixture.inbox.snapshot().unwrap();
    assert_eq!(snapshot.messages.len(), 12, "also that with no room for `:2,` behind its name");
    for message in &snapshot.messages {
        assert_eq!(fixture.inbox.read(message.uid).unwrap(), b"x\r\n");
    }
    assert_eq!(raw_names(&fixture, "new").len(), 3, "what is no message is left alone");
    let all: Vec<u32> = snapshot.messages.iter().map(|m| m.uid).collect();
    let flagged = fixture.inbox.change_flags(&all[..5], FlagChange::Add, Flags::SEEN, &[]).unwrap();
    assert!(flagged.iter().all(|m| m.flags.contains(Flags::SEEN)));
    assert_eq!(uids(&fixture.mailbox("inbox")), all, "UIDs stay, also those of odd names");
}

#[test]
fn a_name_with_no_room_for_flags_is_an_error_for_it_alone() {
    let fixture = Fixture::new();
    let long = [&[b'n'; 252][..], b":2,"].concat();
    put(&fixture, &[b"cur/", &long[..]].concat(), "x");
    put(&fixture, b"cur/1.a:2,", "x");
    assert_eq!(uids(&fixture.inbox).len(), 2);
    for uid in uids(&fixture.inbox) {
        let _ = fixture.inbox.change_flags(&[uid], FlagChange::Add, Flags::SEEN, &[]);
    }
    let flags: Vec<_> = fixture.inbox.snapshot().unwrap().messages.iter().map(|m| m.flags).collect();
    assert_eq!(flags.iter().filter(|f| f.contains(Flags::SEEN)).count(), 1);
}

// ---- surroundings ---------------------------------------------------------------------------

#[test]
fn links_where_directories_should_be_are_errors() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("1.a:2,"), "secret").unwrap();
    for sub in ["cur", "new", "tmp"] {
        let tree = Tree::new(fixture.store.clone(), b"inbox", MailboxConfig::default());
        let path = fixture.path(sub);
        fs::remove_dir_all(&path).unwrap();
        symlink(outside.path(), &path).unwrap();
        assert!(tree.mailbox("INBOX").is_err(), "{sub}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }
    symlink(outside.path().join("1.a:2,"), fixture.path("cur/2.b:2,")).unwrap();
    symlink(outside.path().join("list"), fixture.path("dovecot-uidlist")).unwrap();
    assert!(fixture.inbox.snapshot().is_err(), "a control file is no link");
    assert!(!outside.path().join("list").exists());
    fs::remove_file(fixture.path("dovecot-uidlist")).unwrap();
    assert_eq!(uids(&fixture.mailbox("inbox")), Vec::<u32>::new(), "a link is no message");
}

/// Runs one test of this program again as `nobody`, below a directory that is given to it: root
/// may read everything. False where that cannot be.
fn as_nobody(test: &str, dir: &Path) -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let exe = std::env::current_exe().unwrap();
    let mut command = match root {
        true => Command::new("setpriv"),
        false => Command::new(&exe),
    };
    if root {
        let copy = dir.join("tests");
        fs::copy(&exe, &copy).unwrap();
        fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    }
    let run = command.args(["--exact", test, "--nocapture"]).env("POSTHASTE_AS_NOBODY", dir).output();
    match run {
        Ok(output) if output.status.success() => true,
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => {
            let required = std::env::var("POSTHASTE_REQUIRE").is_ok_and(|what| what == "all");
            assert!(!required, "setpriv is required: {e}");
            eprintln!("skipped: no setpriv ({e})");
            false
        }
    }
}

#[test]
fn an_unreadable_directory_is_an_error_and_never_empty() {
    let Some(dir) = std::env::var_os("POSTHASTE_AS_NOBODY") else {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, PermissionsExt::from_mode(0o777)).unwrap();
        as_nobody("hostile::an_unreadable_directory_is_an_error_and_never_empty", dir.path());
        return;
    };
    let home = Path::new(&dir).join("home");
    let store = std::sync::Arc::new(LocalFs::open(&home, config(true)).unwrap());
    let inbox = Mailbox::ensure(store.clone(), b"inbox", MailboxConfig::default()).unwrap();
    let item = Delivery { base: None, content: b"x\r\n" };
    inbox.deliver(&[item], Durability::Full).unwrap();
    assert_eq!(uids(&inbox), [1]);
    let mode = |sub: &str, bits| {
        fs::set_permissions(home.join("inbox").join(sub), PermissionsExt::from_mode(bits)).unwrap();
    };
    for sub in ["cur", "new"] {
        mode(sub, 0o000);
        let again = Mailbox::open(store.clone(), b"inbox", MailboxConfig::default());
        assert!(again.and_then(|mailbox| mailbox.snapshot()).is_err(), "{sub}");
        assert!(
            Mailbox::open(store.clone(), b"inbox", MailboxConfig::default()).and_then(|m| m.list()).is_err()
        );
        mode(sub, 0o700);
    }
    mode("", 0o000);
    let tree = Tree::new(store.clone(), b"inbox", MailboxConfig::default());
    assert!(tree.list().is_err() && tree.exists("INBOX").is_err() && tree.mailbox("INBOX").is_err());
    // May be looked into and not be changed: what has a UID can be read.
    mode("", 0o500);
    let reader = Mailbox::open(store, b"inbox", MailboxConfig::default()).unwrap();
    assert_eq!(reader.read(uids(&reader)[0]).unwrap(), b"x\r\n");
    let refused = reader.change_flags(&[1], FlagChange::Add, Flags::SEEN, &[]);
    assert!(refused.unwrap_err().is_read_only());
    mode("", 0o700);
    assert_eq!(uids(&reader), [1], "nothing was lost");
}

/// Runs one test of this program again with a small disk of its own at the directory it is given.
fn on_a_small_disk(test: &str, dir: &Path) {
    let script = "mount -t tmpfs -o size=256k,mode=777 none \"$0\" && exec \"$1\" --exact \"$2\" --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(dir).arg(std::env::current_exe().unwrap()).arg(test);
    let output = command.env("POSTHASTE_SMALL_DISK", dir).output();
    let ran =
        output.as_ref().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    if !ran {
        let why = output.map(|o| String::from_utf8_lossy(&[o.stdout, o.stderr].concat()).into_owned());
        let no_mount = why.as_ref().map_or(true, |why| !why.contains("panicked"));
        let required = std::env::var("POSTHASTE_REQUIRE").is_ok_and(|what| what == "all");
        assert!(no_mount && !required, "{why:?}");
        eprintln!("skipped: no disk of its own can be mounted here ({why:?})");
    }
}

#[test]
fn a_full_and_a_read_only_disk_are_read_on_and_refuse_the_rest() {
    let Some(disk) = std::env::var_os("POSTHASTE_SMALL_DISK") else {
        let dir = tempfile::tempdir().unwrap();
        on_a_small_disk("hostile::a_full_and_a_read_only_disk_are_read_on_and_refuse_the_rest", dir.path());
        return;
    };
    let store = std::sync::Arc::new(LocalFs::open(&disk, config(true)).unwrap());
    let inbox = Mailbox::ensure(store.clone(), b"inbox", MailboxConfig::default()).unwrap();
    let content = vec![b'x'; 10_000];
    let ballast = Path::new(&disk).join("ballast");
    fs::write(&ballast, vec![0; 60_000]).unwrap();
    let deliver = || {
        let item = Delivery { base: None, content: &content };
        inbox.deliver(&[item], Durability::Full).and_then(|mut results| results.remove(0))
    };
    deliver().unwrap();
    assert_eq!(uids(&inbox), [1]);
    let mut delivered = 1;
    let refused = loop {
        match deliver() {
            Ok(_) => delivered += 1,
            Err(e) => break e,
        }
    };
    assert!(refused.is_storage_full(), "{refused}");
    assert!(delivered > 5 && ls(Path::new(&disk).join("inbox/tmp")).is_empty());
    // The last free bytes.
    let rest = fs::File::create(Path::new(&disk).join("rest")).unwrap();
    while std::io::Write::write(&mut &rest, &[0; 512]).is_ok_and(|n| n > 0) {}
    drop(rest);
    let reopened = Mailbox::open(store.clone(), b"inbox", MailboxConfig::default()).unwrap();
    for mailbox in [&inbox, &reopened] {
        assert!(uids(mailbox).contains(&1));
        assert_eq!(mailbox.read(1).unwrap().len(), 10_000);
    }
    fs::remove_file(ballast).unwrap();
    assert_eq!(uids(&inbox).len(), delivered, "every acknowledged one, once there is room");
    // Also so that no file is open for writing.
    store.commit().unwrap();
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk).status().unwrap();
    assert!(remount.success());
    let reader = Mailbox::open(store, b"inbox", MailboxConfig::default()).unwrap();
    assert_eq!((uids(&reader).len(), reader.read(1).unwrap().len()), (delivered, 10_000));
    assert!(deliver().unwrap_err().is_read_only());
    assert!(reader.expunge(None, false).unwrap_err().is_read_only());
}

#[test]
fn a_uidlist_cut_anywhere_gives_no_uid_to_another_message() {
    let fixture = Fixture::new();
    fixture.deliver(1..=4);
    let before = fixture.inbox.snapshot().unwrap();
    let whole = fs::read(fixture.path("dovecot-uidlist")).unwrap();
    for cut in 0..whole.len() {
        fs::write(fixture.path("dovecot-uidlist"), &whole[..cut]).unwrap();
        let after = fixture.mailbox("inbox").snapshot().unwrap();
        assert_eq!(after.messages.len(), 4, "cut at {cut}");
        if after.uid_validity != before.uid_validity {
            assert!(after.uid_validity > before.uid_validity);
            continue;
        }
        for message in &after.messages {
            let same_uid = before.messages.iter().find(|m| m.uid == message.uid);
            assert!(same_uid.is_none_or(|m| m.base == message.base), "cut at {cut}: {message:?}");
        }
    }
}

#[test]
fn a_fifo_or_device_among_the_messages_stops_nobody() {
    let fixture = Fixture::new();
    let made = Command::new("mkfifo").arg(fixture.path("cur/1.fifo:2,")).status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    fixture.deliver(1..=1);
    assert_eq!(uids(&fixture.inbox).len(), 1);
}

// ---- defects of other implementations (reference §2–§4), each by its name --------------------

#[test]
fn maildir_crate_a_message_moved_from_new_gets_flags_in_its_name() {
    let fixture = Fixture::new();
    fixture.deliver(1..=1);
    fixture.inbox.sync().unwrap();
    assert_eq!(ls(fixture.path("cur")), ["1.a,S=3,W=3:2,"]);
    assert_eq!(fixture.inbox.list().unwrap().len(), 1, "and is listed");
}

#[test]
fn maildir_crate_and_opendal_a_missing_mailbox_is_no_empty_one() {
    let fixture = Fixture::new();
    let none = Mailbox::open(fixture.store.clone(), b"none", MailboxConfig::default());
    assert!(matches!(none, Err(Error::NoMailbox(_))));
    fs::write(fixture.dir.path().join("file"), "").unwrap();
    assert!(Mailbox::open(fixture.store.clone(), b"file", MailboxConfig::default()).is_err());
}

#[test]
fn maildir_crate_a_flag_change_leaves_what_follows_the_second_comma() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1.a:2,Sb,ext", "x");
    fixture.inbox.change_flags(&uids(&fixture.inbox), FlagChange::Add, Flags::FLAGGED, &[]).unwrap();
    assert_eq!(ls(fixture.path("cur")), ["1.a:2,FSb,ext"]);
}

#[test]
fn maildir_crate_a_name_that_is_not_utf_8_keeps_its_identity() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1.\xff\xfe:2,", "x");
    fixture.inbox.change_flags(&uids(&fixture.inbox), FlagChange::Add, Flags::SEEN, &[]).unwrap();
    assert_eq!(raw_names(&fixture, "cur"), [b"1.\xff\xfe:2,S".to_vec()]);
}

#[test]
fn maildir_crate_a_copy_is_never_seen_half_in_cur() {
    let fixture = Fixture::new();
    let target = fixture.mailbox("target");
    let content = vec![b'x'; 3_000_000];
    fixture.inbox.append(&append(&content), Durability::None).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (target, done, path) = (&target, &done, fixture.dir.path().join("target/cur"));
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                for name in ls(&path) {
                    assert_eq!(fs::metadata(path.join(&name)).unwrap().len(), 3_000_000, "{name}");
                }
            }
        });
        for n in 0..20 {
            fixture.inbox.copy(target, &[(1, base(&format!("{n}.c")))]).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert_eq!(uids(&target).len(), 20);
}

fn append(content: &[u8]) -> Append<'_> {
    Append { base: None, content, flags: Flags::EMPTY, keywords: &[], date: None }
}

#[test]
fn maildir_crate_36_a_taken_name_is_never_written_over() {
    let fixture = Fixture::new();
    put(&fixture, b"new/1.a,S=3,W=3", "old");
    let item = Delivery { base: Some(base("1.a,S=3,W=3")), content: b"new" };
    assert!(!fixture.inbox.deliver(&[item], Durability::None).unwrap().remove(0).unwrap().new);
    assert_eq!(fixture.inbox.snapshot().unwrap().messages.len(), 1);
    assert_eq!(fixture.inbox.read(1).unwrap(), b"old");
}

#[test]
fn maildir_crate_44_flags_in_new_are_read_and_kept() {
    let fixture = Fixture::new();
    put(&fixture, b"new/1.a:2,FS", "x");
    assert_eq!(fixture.inbox.snapshot().unwrap().messages[0].flags, Flags::FLAGGED.union(Flags::SEEN));
    assert_eq!(ls(fixture.path("cur")), ["1.a:2,FS"]);
}

#[test]
fn maildirs_crate_a_flag_change_keeps_keyword_letters() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1.a:2,Sabz", "x");
    fixture.inbox.change_flags(&uids(&fixture.inbox), FlagChange::Set, Flags::FLAGGED, &[]).unwrap();
    assert_eq!(ls(fixture.path("cur")), ["1.a:2,Fabz"], "letters without a name are not ours to drop");
}

#[test]
fn mail_parser_a_size_that_ends_in_2_and_a_comma_is_no_flag_part() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1.h,S=12,W=12,FLAGS", "x");
    let message = &fixture.inbox.snapshot().unwrap().messages[0];
    assert_eq!((message.flags, message.base.size()), (Flags::EMPTY, Some(12)));
}

#[test]
fn madmail_143_a_delivery_within_one_clock_tick_of_a_scan_is_not_lost() {
    let fixture = Fixture::new();
    for n in 0..60 {
        // Delivery by another program, at once after a look: often in the same tick of the clock.
        put(&fixture, format!("new/{n}.a").as_bytes(), "x");
        fixture.inbox.sync().unwrap();
        put(&fixture, format!("new/{n}.b").as_bytes(), "x");
    }
    // As if the tick had been the same for all: the directory's time is set to what was seen.
    fixture.inbox.sync().unwrap();
    let seen = fs::metadata(fixture.path("new")).unwrap().modified().unwrap();
    put(&fixture, b"new/last", "x");
    let times = fs::FileTimes::new().set_modified(seen);
    fs::File::open(fixture.path("new")).unwrap().set_times(times).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(uids(&fixture.inbox).len(), 121);
}

#[test]
fn madmail_uidvalidity_is_not_constant_and_cur_does_not_mean_seen() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1.a", "x");
    let snapshot = fixture.inbox.snapshot().unwrap();
    assert!(snapshot.uid_validity > 1 && snapshot.messages[0].flags.is_empty());
    assert_ne!(fixture.mailbox("other").snapshot().unwrap().uid_validity, snapshot.uid_validity);
}

#[test]
fn neomutt_2285_of_one_file_under_two_names_nothing_is_removed() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1.a:2,", "x");
    fs::hard_link(fixture.path("cur/1.a:2,"), fixture.path("cur/1.a:2,S")).unwrap();
    assert_eq!(fixture.inbox.snapshot().unwrap().messages.len(), 1);
    assert_eq!(ls(fixture.path("cur")).len(), 2);
}

#[test]
fn neomutt_1826_a_message_that_is_gone_is_an_answer_and_stops_no_batch() {
    let fixture = Fixture::new();
    fixture.deliver(1..=3);
    uids(&fixture.inbox);
    fs::remove_file(fixture.path("cur/2.a,S=3,W=3:2,")).unwrap();
    let changed = fixture.inbox.change_flags(&[1, 2, 3], FlagChange::Add, Flags::SEEN, &[]).unwrap();
    assert_eq!(changed.iter().map(|m| m.uid).collect::<Vec<_>>(), [1, 3]);
    assert!(matches!(fixture.inbox.read(2), Err(Error::Gone { uid: 2 })));
    assert_eq!(fixture.inbox.expunge(Some(&[1, 2]), false).unwrap(), [1, 2]);
}

#[test]
fn go_maildir_another_process_s_changes_are_seen_at_the_next_look() {
    let fixture = Fixture::new();
    let other = fixture.mailbox("inbox");
    fixture.deliver(1..=3);
    uids(&fixture.inbox);
    other.change_flags(&uids(&other)[..1], FlagChange::Add, Flags::SEEN, &[]).unwrap();
    other.expunge(Some(&[2]), false).unwrap();
    let now = fixture.inbox.snapshot().unwrap();
    let seen: Vec<_> = now.messages.iter().map(|m| (m.uid, m.flags.contains(Flags::SEEN))).collect();
    assert_eq!(seen, [(1, true), (3, false)]);
}

#[test]
fn stalwart_55_only_what_is_in_cur_and_new_is_a_message() {
    let fixture = Fixture::new();
    for name in ["dovecot.index.cache", "dovecot.index.log", "courierimapuiddb", "tmp/1.half", "1.stray:2,S"]
    {
        put(&fixture, name.as_bytes(), "no message");
    }
    assert!(fixture.inbox.snapshot().unwrap().messages.is_empty());
    assert!(names(&fixture.inbox).is_empty());
}

#[test]
fn chatmail_374_a_removed_uidlist_gives_no_old_number_another_meaning() {
    let fixture = Fixture::new();
    fixture.deliver(1..=2);
    let before = fixture.inbox.snapshot().unwrap();
    fs::remove_file(fixture.path("dovecot-uidlist")).unwrap();
    for mailbox in [&fixture.inbox, &fixture.mailbox("inbox")] {
        let after = mailbox.snapshot().unwrap();
        assert!(after.uid_validity > before.uid_validity);
        assert_eq!(after.messages.len(), 2);
    }
}

#[test]
fn python_a_file_being_delivered_is_not_cleaned_away_for_its_old_date() {
    let fixture = Fixture::new();
    let root = fixture.store.open_dir(b"inbox/tmp").unwrap();
    let old = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let staged = fixture.store.stage(&root, b"import", old).unwrap();
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(fixture.store.sweep(&root, day, Duration::ZERO).unwrap(), 0);
    drop(staged);
}

#[test]
fn mbsync_and_freebsd_57696_a_scan_that_misses_names_expunges_nothing() {
    let disk = std::sync::Arc::new(posthaste_maildir::sim::SimFs::default());
    disk.set_scan_faults(Some(7));
    let inbox = Mailbox::ensure(disk.clone(), b"m", MailboxConfig::default()).unwrap();
    for n in 0..40 {
        let item = Delivery { base: Some(base(&format!("{n}.a"))), content: b"x" };
        inbox.deliver(&[item], Durability::None).unwrap();
    }
    for n in 0..50 {
        let again = Mailbox::open(disk.clone(), b"m", MailboxConfig::default()).unwrap();
        let first = again.snapshot().unwrap();
        // Messages that one scan missed appear by the next; none gets another UID.
        let item = Append { base: Some(base(&format!("{n}.x"))), ..append(b"y") };
        inbox.append(&item, Durability::None).unwrap();
        let changes = again.changes_since(first.modseq).unwrap().unwrap();
        assert_eq!(changes.vanished, Vec::<u32>::new());
    }
    disk.set_scan_faults(None);
    let last = Mailbox::open(disk, b"m", MailboxConfig::default()).unwrap().snapshot().unwrap();
    assert_eq!(last.messages.iter().map(|m| m.uid).collect::<Vec<_>>(), (1..=90).collect::<Vec<_>>());
}

#[test]
fn dovecot_a_wrong_size_in_a_name_closes_nothing() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1.a,S=9999,W=9999:2,", "x\n");
    let message = fixture.inbox.snapshot().unwrap().messages.remove(0);
    assert_eq!(fixture.inbox.read(message.uid).unwrap(), b"x\r\n");
    assert_eq!(fixture.inbox.read_range(message.uid, 1, 100).unwrap(), b"\r\n");
    assert_eq!(message.size, 3, "measured");
    assert_eq!(ls(fixture.path("cur")).len(), 1);
    assert_eq!(uids(&fixture.inbox), [1], "it keeps its UID");
}

#[test]
fn couriers_unsorted_flags_and_its_uid_database_are_taken_over() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1700.M1.h,S=1:2,TS", "x");
    put(&fixture, b"courierimapuiddb", "1 1234567 43\n42 1700.M1.h,S=1\n");
    let snapshot = fixture.inbox.snapshot().unwrap();
    assert_eq!((snapshot.uid_validity, snapshot.uid_next), (1_234_567, 43));
    assert_eq!(
        (snapshot.messages[0].uid, snapshot.messages[0].flags),
        (42, Flags::SEEN.union(Flags::TRASHED))
    );
    let list = fs::read_to_string(fixture.path("dovecot-uidlist")).unwrap();
    assert!(list.starts_with("3 V1234567 N43 G") && list.ends_with("\n42 :1700.M1.h,S=1\n"), "{list}");
    assert!(fixture.path("courierimapuiddb").exists());
}

#[test]
fn couriers_keywords_are_taken_over_also_after_a_crash_half_way() {
    let fixture = Fixture::new();
    put(&fixture, b"cur/1700.M1.h,S=1:2,S", "x");
    put(&fixture, b"cur/1700.M2.h,S=1:2,", "x");
    put(&fixture, b"cur/1700.M3.h,S=1:2,F", "x");
    put(
        &fixture,
        b"courierimapuiddb",
        "1 1234567 44\n41 1700.M1.h,S=1\n42 1700.M2.h,S=1\n43 1700.M3.h,S=1\n",
    );
    fs::create_dir(fixture.path("courierimapkeywords")).unwrap();
    let list = "$Forwarded\nJunk\n\n1700.M1.h,S=1:0 1\n1700.M3.h,S=1:1\n1.gone:0\n";
    put(&fixture, b"courierimapkeywords/:list", list);
    put(&fixture, b"courierimapkeywords/.5.1700.M2.h,S=1", "work\n");
    // As a crash between the renames and the table leaves it.
    fs::rename(fixture.path("cur/1700.M1.h,S=1:2,S"), fixture.path("cur/1700.M1.h,S=1:2,Sab")).unwrap();
    let snapshot = fixture.inbox.snapshot().unwrap();
    let found: Vec<_> = snapshot.messages.iter().map(|m| (m.uid, format!("{:?}", m.keywords))).collect();
    let wanted = [(41, "[\"$Forwarded\", \"Junk\"]"), (42, "[\"work\"]"), (43, "[\"Junk\"]")];
    assert_eq!(found, wanted.map(|(uid, words)| (uid, words.to_owned())));
    let names = ["1700.M1.h,S=1:2,Sab", "1700.M2.h,S=1:2,c", "1700.M3.h,S=1:2,Fb"];
    assert_eq!(ls(fixture.path("cur")), names);
    // What was taken over once is ours: Courier's files say no more.
    put(&fixture, b"courierimapkeywords/1700.M2.h,S=1", "late\n");
    assert_eq!(fixture.mailbox("inbox").snapshot().unwrap().keywords.len(), 3);
}

#[test]
fn a_27th_keyword_of_another_program_hides_no_message() {
    let fixture = Fixture::new();
    let table: String = (0..30).map(|n| format!("{n} word{n}\n")).collect();
    put(&fixture, b"dovecot-keywords", &table);
    put(&fixture, b"cur/1.a:2,abz", "x");
    let message = &fixture.inbox.snapshot().unwrap().messages[0];
    let words: Vec<&str> = message.keywords.iter().map(Keyword::as_str).collect();
    assert_eq!(words, ["word0", "word1", "word25"]);
}
