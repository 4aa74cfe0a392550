//! Folders under both kinds of name, control files elsewhere, quota.

use std::fs;
use std::sync::Arc;

use posthaste_maildir::{
    Delivery, Durability, Error, FolderNames, LocalFs, MailboxConfig, QuotaLimits, Tree,
};
use tempfile::TempDir;

use crate::support::{base, config, ls};

fn tree(config_of: impl FnOnce(MailboxConfig) -> MailboxConfig) -> (TempDir, Tree<LocalFs>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalFs::open(dir.path(), config(true)).unwrap());
    let tree = Tree::new(store, b"user", config_of(MailboxConfig::default()));
    tree.ensure().unwrap();
    (dir, tree)
}

fn deliver(tree: &Tree<LocalFs>, mailbox: &str, name: &str, len: usize) -> Result<(), Error> {
    let item = Delivery { base: Some(base(name)), content: &vec![b'x'; len] };
    tree.mailbox(mailbox)?.deliver(&[item], Durability::None)?.remove(0).map(drop)
}

#[test]
fn folders_named_in_utf_8_and_in_modified_utf_7_are_both_read_and_used_where_they_are() {
    for (folder_names, fresh) in [(FolderNames::Mutf7, ".M&APw-ll"), (FolderNames::Utf8, ".Müll")] {
        let (dir, tree) = tree(|c| MailboxConfig { folder_names, ..c });
        for made in [".Entw&APw-rfe", ".Größe", ".R&D"] {
            for sub in ["cur", "new", "tmp"] {
                fs::create_dir_all(dir.path().join("user").join(made).join(sub)).unwrap();
            }
        }
        tree.create("Müll").unwrap();
        assert!(dir.path().join("user").join(fresh).join("maildirfolder").exists());
        assert_eq!(tree.list().unwrap(), ["INBOX", "Entwürfe", "Größe", "Müll", "R&D"]);
        for name in ["Entwürfe", "Größe", "Müll", "R&D"] {
            deliver(&tree, name, "1.a", 1).unwrap();
            assert!(matches!(tree.create(name), Err(Error::Exists(_))), "{name}");
            assert_eq!(tree.mailbox(name).unwrap().snapshot().unwrap().messages.len(), 1);
        }
        tree.delete("Größe").unwrap();
        tree.create("&U,BTFw-").unwrap();
        assert_eq!(tree.list().unwrap(), ["INBOX", "&U,BTFw-", "Entwürfe", "Müll", "R&D"]);
    }
}

#[test]
fn control_files_may_be_elsewhere_and_go_with_their_mailbox() {
    let (dir, tree) = tree(|c| MailboxConfig { control_dir: Some(b"control/user".to_vec()), ..c });
    tree.create("A").unwrap();
    deliver(&tree, "A", "1.a", 1).unwrap();
    let first = tree.mailbox("A").unwrap().snapshot().unwrap();
    tree.subscribe("A", true).unwrap();
    let control = dir.path().join("control/user");
    assert!(control.join(".A/dovecot-uidlist").exists() && control.join("subscriptions").exists());
    assert!(!dir.path().join("user/.A/dovecot-uidlist").exists());
    tree.rename("A", "B").unwrap();
    let renamed = tree.mailbox("B").unwrap().snapshot().unwrap();
    assert_eq!((renamed.uid_validity, renamed.messages[0].uid), (first.uid_validity, 1));
    tree.delete("B").unwrap();
    assert!(!control.join(".B").exists());
    tree.create("B").unwrap();
    let made_again = tree.mailbox("B").unwrap().snapshot().unwrap();
    assert!(made_again.uid_validity > first.uid_validity);
}

#[test]
fn a_quota_is_kept_by_all_that_comes_and_goes() {
    let (dir, tree) = tree(|c| c);
    assert_eq!(tree.quota().unwrap(), None);
    deliver(&tree, "INBOX", "0.a", 10).unwrap();
    fs::write(dir.path().join("user/new/unsized"), "12345").unwrap();
    let limits = QuotaLimits { bytes: Some(1000), messages: Some(5) };
    let used = |tree: &Tree<LocalFs>| {
        let quota = tree.quota().unwrap().unwrap();
        (quota.bytes, quota.messages)
    };
    let quota = tree.set_quota(limits).unwrap();
    assert_eq!((quota.limits, quota.bytes, quota.messages), (limits, 15, 2));
    tree.create("A").unwrap();
    deliver(&tree, "A", "1.a", 100).unwrap();
    deliver(&tree, "A", "1.a", 100).unwrap();
    assert_eq!(used(&tree), (115, 3), "a retry counts once");
    assert!(matches!(deliver(&tree, "INBOX", "2.a", 900), Err(Error::OverQuota)));
    let (inbox, folder) = (tree.mailbox("INBOX").unwrap(), tree.mailbox("A").unwrap());
    folder.sync().unwrap();
    folder.copy(&inbox, &[(1, base("3.a"))]).unwrap();
    assert_eq!(used(&tree), (215, 4));
    inbox.sync().unwrap();
    inbox.expunge(None, false).unwrap();
    assert_eq!(used(&tree), (100, 1), "also the one without a size in its name");
    let file = fs::read_to_string(dir.path().join("user/maildirsize")).unwrap();
    assert!(file.starts_with("1000S,5C\n15 2\n100 1\n"), "{file}");
    tree.delete("A").unwrap();
    assert_eq!(used(&tree), (0, 0));
    assert!(ls(dir.path().join("user/tmp")).is_empty());
}

#[test]
fn a_long_damaged_or_doubtful_quota_is_counted_anew() {
    let (dir, tree) = tree(|c| c);
    deliver(&tree, "INBOX", "1.a", 10).unwrap();
    let path = dir.path().join("user/maildirsize");
    let long = format!("1000S\n{}", "0 0\n".repeat(1300));
    for doubtful in [&long[..], "1000S\ngarbage\n", "1000S\n-5 -1\n", "1000S\n900 1\n900 1\n", ""] {
        fs::write(&path, doubtful).unwrap();
        let quota = tree.quota().unwrap().unwrap();
        assert_eq!((quota.bytes, quota.messages), (10, 1), "{:.20}", doubtful);
    }
    fs::write(&path, "1000S\n5 7\n").unwrap();
    assert_eq!(tree.quota().unwrap().unwrap().messages, 7, "what is short and within its limits is believed");
    fs::write(&path, "1000S\n1001 7\n").unwrap();
    assert_eq!(tree.quota().unwrap().unwrap().messages, 7, "full, but fresh and of one line");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(16 * 60);
    fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    assert_eq!(tree.quota().unwrap().unwrap().messages, 1, "full and not fresh");
}

#[test]
fn limits_of_the_embedder_rule_over_those_in_the_file() {
    let limits = QuotaLimits { bytes: Some(50), messages: None };
    let (dir, tree) = tree(|c| MailboxConfig { quota: Some(limits), ..c });
    fs::write(dir.path().join("user/maildirsize"), "7S\n0 0\n").unwrap();
    deliver(&tree, "INBOX", "1.a", 40).unwrap();
    assert!(matches!(deliver(&tree, "INBOX", "2.a", 11), Err(Error::OverQuota)));
    assert!(fs::read_to_string(dir.path().join("user/maildirsize")).unwrap().starts_with("50S\n"));
}
