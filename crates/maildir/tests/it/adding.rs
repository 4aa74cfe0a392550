//! Ways for messages to come in and go.

use std::fs;
use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_maildir::{
    Append, Delivery, Durability, Error, Flags, GroupFlush, Import, Keyword, LocalConfig, LocalFs, Mailbox,
    MailboxConfig,
};

use crate::support::{Fixture, base, config, ls, uids};

fn import<'a>(name: &str, content: &'a [u8], uid: Option<u32>) -> Import<'a> {
    let date = Some(UNIX_EPOCH + Duration::from_secs(86_400));
    let message = Append { base: Some(base(name)), content, flags: Flags::SEEN, keywords: &[], date };
    Import { message, uid }
}

#[test]
fn a_message_that_is_read_as_it_comes_has_its_sizes_in_its_name() {
    let fixture = Fixture::new();
    // Line ends that fall on the edges of what is read at a time.
    let content = b"\r\n".repeat(40_000).into_iter().chain(*b"x\ny\n").collect::<Vec<u8>>();
    let mut pieces = content.chunks(65_535).map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter();
    let mut held: Vec<u8> = Vec::new();
    let mut reader = ReadWith(|buffer: &mut [u8]| {
        if held.is_empty() {
            held = pieces.next().unwrap_or_default();
        }
        let len = held.len().min(buffer.len());
        buffer[..len].copy_from_slice(&held[..len]);
        held.drain(..len);
        Ok(len)
    });
    let done = fixture.inbox.deliver_from(Some(&base("1.a")), &mut reader, Durability::Full).unwrap();
    assert!(done.new);
    assert_eq!((done.base.size(), done.base.wire_size()), (Some(80_004), Some(80_006)));
    assert_eq!(fixture.inbox.snapshot().unwrap().messages[0].size, 80_006);
    assert_eq!(fixture.inbox.read(1).unwrap().len(), 80_006);
    assert!(
        !fixture.inbox.deliver_from(Some(&base("1.a")), &mut &content[..], Durability::Full).unwrap().new
    );
}

struct ReadWith<F>(F);

impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for ReadWith<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.0)(buffer)
    }
}

#[test]
fn a_reader_that_fails_or_never_ends_delivers_nothing_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(LocalFs::open(dir.path(), config(true)).unwrap());
    let limits = MailboxConfig { message_bytes_max: 100_000, ..MailboxConfig::default() };
    let inbox = Mailbox::ensure(store, b"inbox", limits).unwrap();
    let mut broken = b"half"[..].chain(ReadWith(|_: &mut [u8]| Err(io::ErrorKind::ConnectionReset.into())));
    assert!(matches!(inbox.deliver_from(None, &mut broken, Durability::Full), Err(Error::Io { .. })));
    let endless = inbox.deliver_from(None, &mut io::repeat(b'x'), Durability::Full);
    assert!(matches!(endless, Err(Error::TooLarge { max: 100_000 })));
    let large = [Delivery { base: None, content: &[b'x'; 100_001] }];
    let refused = inbox.deliver(&large, Durability::Full).unwrap().remove(0);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    for sub in ["tmp", "new", "cur"] {
        assert_eq!(ls(dir.path().join("inbox").join(sub)), Vec::<String>::new());
    }
}

#[test]
fn an_import_keeps_uids_dates_flags_and_keywords() {
    let fixture = Fixture::new();
    let junk = [Keyword::parse("$Junk").unwrap()];
    let mut batch =
        vec![import("1.a", b"1", Some(7)), import("2.a", b"2", None), import("3.a", b"3", Some(100))];
    batch[1].message.keywords = &junk;
    let done = fixture.inbox.import(&batch, Durability::Full).unwrap();
    assert_eq!(done.iter().map(|d| (d.uid, d.new)).collect::<Vec<_>>(), [(7, true), (8, true), (100, true)]);
    for mailbox in [&fixture.inbox, &fixture.mailbox("inbox")] {
        let snapshot = mailbox.snapshot().unwrap();
        let seen: Vec<_> = snapshot.messages.iter().map(|m| (m.uid, m.date, m.keywords.len())).collect();
        let date = UNIX_EPOCH + Duration::from_secs(86_400);
        assert_eq!(seen, [(7, date, 0), (8, date, 1), (100, date, 0)]);
        assert_eq!(snapshot.uid_next, 101);
    }
    let again = fixture.inbox.import(&batch, Durability::Full).unwrap();
    assert_eq!(
        again.iter().map(|d| (d.uid, d.new)).collect::<Vec<_>>(),
        [(7, false), (8, false), (100, false)]
    );
}

#[test]
fn a_uid_that_was_given_out_is_refused_and_nothing_of_the_batch_is_imported() {
    let fixture = Fixture::new();
    fixture.inbox.import(&[import("1.a", b"1", Some(7))], Durability::None).unwrap();
    for bad in [vec![(2, Some(7))], vec![(2, Some(9)), (3, Some(9))], vec![(2, None), (3, Some(8))]] {
        let names: Vec<String> = bad.iter().map(|(n, _)| format!("{n}.a")).collect();
        let batch: Vec<_> = bad.iter().zip(&names).map(|((_, uid), name)| import(name, b"x", *uid)).collect();
        let refused = fixture.inbox.import(&batch, Durability::None);
        assert!(matches!(refused, Err(Error::UidTaken { .. })), "{bad:?}: {refused:?}");
    }
    assert_eq!(uids(&fixture.inbox), [7]);
    assert_eq!((ls(fixture.path("cur")).len(), ls(fixture.path("tmp")).len()), (1, 0));
    let last = [import("9.a", b"x", Some(u32::MAX))];
    assert_eq!(fixture.inbox.import(&last, Durability::None).unwrap()[0].uid, u32::MAX);
    let more = fixture.inbox.import(&[import("10.a", b"x", None)], Durability::None);
    assert!(matches!(more, Err(Error::UidsExhausted)), "{more:?}");
}

#[test]
fn one_identity_twice_in_a_batch_is_one_message() {
    let fixture = Fixture::new();
    let done =
        fixture.inbox.import(&[import("1.a", b"1", None), import("1.a", b"1", None)], Durability::None);
    assert_eq!(done.unwrap().iter().map(|d| (d.uid, d.new)).collect::<Vec<_>>(), [(1, true), (1, false)]);
    assert_eq!(uids(&fixture.inbox), [1]);
}

#[test]
fn a_moved_message_is_in_the_other_mailbox_and_a_retry_changes_nothing() {
    let fixture = Fixture::new();
    let target = fixture.mailbox("target");
    fixture.deliver(1..=3);
    uids(&fixture.inbox);
    let items = [(1, base("7.m")), (3, base("8.m")), (99, base("9.m"))];
    for new in [true, false] {
        let moved = fixture.inbox.move_to(&target, &items).unwrap();
        let expected = [(1, 1, new), (3, 2, new)];
        assert_eq!(moved.iter().map(|m| (m.from, m.to, m.new)).collect::<Vec<_>>(), expected);
        assert_eq!((uids(&fixture.inbox), uids(&target)), (vec![2], vec![1, 2]));
    }
    assert_eq!(target.read(2).unwrap(), b"3\r\n");
    assert_eq!(ls(fixture.dir.path().join("target/tmp")).len(), 0);
}

#[test]
fn deliveries_at_once_are_all_there_whatever_way_they_share_flushes() {
    for group_flush in [GroupFlush::PerFile, GroupFlush::SyncFs, GroupFlush::Never] {
        let dir = tempfile::tempdir().unwrap();
        let config = LocalConfig { group_flush, ..config(true) };
        let store = std::sync::Arc::new(LocalFs::open(dir.path(), config).unwrap());
        let inbox = Mailbox::ensure(store, b"inbox", MailboxConfig::default()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let inbox = &inbox;
                scope.spawn(move || {
                    for n in 0..4 {
                        let content = format!("{thread} {n}");
                        // Half with a name of their own, half with a wanted one.
                        let base = (n % 2 == 0).then(|| base(&format!("{n}.{thread}")));
                        let item = Delivery { base, content: content.as_bytes() };
                        assert!(inbox.deliver(&[item], Durability::Full).unwrap().remove(0).unwrap().new);
                    }
                });
            }
        });
        assert_eq!(uids(&inbox), (1..=32).collect::<Vec<u32>>(), "{group_flush:?}");
    }
}

#[test]
fn a_watcher_hears_of_what_other_programs_do_and_of_nothing_else() {
    for nfs in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store =
            std::sync::Arc::new(LocalFs::open(dir.path(), LocalConfig { nfs, ..config(true) }).unwrap());
        let config = MailboxConfig { poll_every: Duration::from_millis(5), ..MailboxConfig::default() };
        let inbox = Mailbox::ensure(store, b"inbox", config).unwrap();
        inbox.sync().unwrap();
        let mut watcher = inbox.watch().unwrap();
        assert!(!watcher.wait(Duration::from_millis(20)).unwrap(), "nfs: {nfs}");
        std::thread::scope(|scope| {
            let path = dir.path().join("inbox/new/1.foreign");
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                fs::write(path, "x").unwrap();
            });
            assert!(watcher.wait(Duration::from_secs(60)).unwrap());
        });
        assert_eq!(uids(&inbox), [1]);
        assert!(watcher.wait(Duration::from_secs(60)).unwrap(), "the move to cur");
        while watcher.wait(Duration::from_millis(20)).unwrap() {}
        inbox.expunge(Some(&[1]), false).unwrap();
        assert!(watcher.wait(Duration::from_secs(60)).unwrap());
    }
}

#[test]
fn what_dead_writers_left_in_tmp_goes_and_what_is_being_written_stays() {
    let fixture = Fixture::new();
    // Its content is old, as an import's may be; the file itself is not.
    fs::write(fixture.path("tmp/import"), "x").unwrap();
    let old = SystemTime::now() - Duration::from_secs(90 * 24 * 3600);
    fs::File::options().write(true).open(fixture.path("tmp/import")).unwrap().set_modified(old).unwrap();
    let week = Duration::from_secs(7 * 24 * 3600);
    let look_long_ago = || {
        let times = fs::FileTimes::new().set_accessed(old);
        fs::File::open(fixture.path("tmp")).unwrap().set_times(times).unwrap();
    };
    let cleaner = |tmp_unused_for| {
        let config = MailboxConfig { tmp_unused_for, tmp_clean_every: week, ..MailboxConfig::default() };
        Mailbox::open(fixture.store.clone(), b"inbox", config).unwrap()
    };
    look_long_ago();
    assert_eq!(cleaner(Duration::from_secs(36 * 3600)).clean_tmp().unwrap(), 0);
    assert_eq!(ls(fixture.path("tmp")), ["import"]);
    assert_eq!(cleaner(Duration::ZERO).clean_tmp().unwrap(), 0, "somebody has just looked");
    look_long_ago();
    assert_eq!(cleaner(Duration::ZERO).clean_tmp().unwrap(), 1);
    assert!(ls(fixture.path("tmp")).is_empty());
}

#[test]
fn a_listing_shows_names_flags_and_what_is_new_in_little_memory() {
    let fixture = Fixture::new();
    fs::write(fixture.path("cur/1.a,S=2:2,RSb"), "").unwrap();
    fs::write(fixture.path("new/2.b"), "").unwrap();
    fs::write(fixture.path("cur/.hidden"), "").unwrap();
    fs::create_dir(fixture.path("cur/dir")).unwrap();
    let listing = fixture.inbox.list().unwrap();
    let seen: Vec<_> = listing.iter().map(|m| (m.base, m.flags, m.is_new)).collect();
    let flags = Flags::REPLIED.union(Flags::SEEN).union(Flags::keyword(1).unwrap());
    assert_eq!(seen, [(&b"2.b"[..], Flags::EMPTY, true), (b"1.a,S=2", flags, false)]);
    assert_eq!(listing.memory(), "2.b1.a,S=2:2,RSb".len() + 8);
    assert_eq!(ls(fixture.path("new")), ["2.b"], "nothing is moved");
    fs::remove_dir_all(fixture.path("cur")).unwrap();
    assert!(fixture.inbox.list().is_err(), "never empty");
}
