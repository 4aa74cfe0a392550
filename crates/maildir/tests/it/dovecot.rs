//! Beside a real Dovecot on one Maildir. Its IMAP program runs pre-authenticated, without a daemon.
//! Skipped where it is not installed (Debian: `dovecot-imapd`), unless `POSTHASTE_REQUIRE=all`.
//! `POSTHASTE_DOVECOT_ROOT` names a directory with another system's (a chroot that sees the same `/tmp`): Dovecot 2.3 and 2.4.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use posthaste_maildir::{
    Append, Delivery, Durability, FlagChange, Flags, Keyword, LocalFs, MailboxConfig, Store, Tree,
};
use tempfile::TempDir;

use crate::support::{Local, config};

const IMAP: &str = "/usr/lib/dovecot/imap";
const NOBODY: u32 = 65534;

pub(crate) struct Beside {
    dir: TempDir,
    tree: Tree<LocalFs>,
}

/// A Maildir for both, or `None` if there is no Dovecot here.
pub(crate) fn beside() -> Option<Beside> {
    if !Path::new(&format!("{}{IMAP}", root())).exists() {
        let required = std::env::var("POSTHASTE_REQUIRE").is_ok_and(|what| what == "all");
        assert!(!required, "{IMAP} is required and not here");
        eprintln!("skipped: {IMAP} is not here (Debian: dovecot-imapd)");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dovecot.conf"), settings(dir.path())).unwrap();
    for sub in ["", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"] {
        let sub = dir.path().join(sub);
        std::fs::create_dir_all(&sub).unwrap();
        std::fs::set_permissions(&sub, PermissionsExt::from_mode(0o770)).unwrap();
        if is_root() {
            chown(&sub, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let store = Arc::new(LocalFs::open(dir.path(), config(true)).unwrap());
    Some(Beside { tree: Tree::new(store, b"Maildir", MailboxConfig::default()), dir })
}

/// Where Dovecot's system begins: empty for this one.
fn root() -> String {
    std::env::var("POSTHASTE_DOVECOT_ROOT").unwrap_or_default()
}

/// Dovecot, as an ordinary user; it refuses to work as root.
fn as_nobody(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("chroot");
    command.arg(format!("--userspec={NOBODY}:{NOBODY}")).arg(root() + "/").arg(program);
    command
}

/// Its settings under `home`: 2.4 names its formats, and the mail's place, otherwise than 2.3.
fn settings(home: &Path) -> String {
    let path = home.display();
    let version = as_nobody("/usr/sbin/dovecot").arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    eprintln!("Dovecot {}", version.trim());
    let mail = match version.starts_with("2.3.") {
        true => format!("mail_location = maildir:{path}/Maildir\nprotocol imap {{\n}}\n"),
        false => format!(
            "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\nprotocols = imap\n\
             mail_driver = maildir\nmail_path = {path}/Maildir\nnamespace inbox {{\n  inbox = yes\n}}\n"
        ),
    };
    format!(
        "{mail}base_dir = {path}/run\nssl = no\n\
         default_internal_user = nobody\ndefault_login_user = nobody\ndefault_internal_group = nogroup\n\
         mail_uid = {NOBODY}\nmail_gid = {NOBODY}\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n"
    )
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

impl Beside {
    pub(crate) fn inbox(&self) -> Local {
        self.tree.mailbox("INBOX").unwrap()
    }

    pub(crate) fn dovecot(&self) -> Dovecot {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut child = as_nobody(IMAP)
            .arg("-kc") // the environment is kept
            .arg(self.dir.path().join("dovecot.conf"))
            .env("HOME", self.dir.path())
            .env("USER", "nobody")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut dovecot = Dovecot { child, input, output: BufReader::new(output), tags: 0 };
        assert!(dovecot.line().starts_with("* PREAUTH"));
        dovecot
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("log")
    }

    /// What Dovecot complained of.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap();
        log.lines().filter(|line| !line.contains("Info:")).map(str::to_owned).collect()
    }
}

pub(crate) struct Dovecot {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
    tags: u32,
}

impl Dovecot {
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.output.read_until(b'\n', &mut line).unwrap();
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Sends a command, returns all that is answered; panics unless it is OK.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.input.write_all(format!("{tag} {command}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "Dovecot hung up after {command}: {answer}");
            answer.push_str(&line);
            if line.starts_with(&tag) {
                assert!(line.contains(" OK "), "{command}: {answer}");
                return answer;
            }
        }
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = self.input.write_all(b"z LOGOUT\r\n");
        let _ = self.child.wait();
    }
}

#[test]
fn dovecot_and_we_agree_on_uids_flags_keywords_sizes_and_folders() {
    let Some(both) = beside() else { return };
    let inbox = both.inbox();
    let junk = [Keyword::parse("$Junk").unwrap()];
    let content = b"Subject: one\r\n\r\nhello\r\n";
    let item = Delivery { base: None, content };
    inbox.deliver(&[item], Durability::Full).unwrap().remove(0).unwrap();
    inbox.sync().unwrap();
    let two = Append {
        base: None,
        content: b"Subject: two\n\n2\n",
        flags: Flags::REPLIED,
        keywords: &junk,
        date: None,
    };
    inbox.append(&two, Durability::Full).unwrap();
    let ours = inbox.snapshot().unwrap();
    inbox.store().commit().unwrap();

    let mut dovecot = both.dovecot();
    let selected = dovecot.ask("SELECT INBOX");
    assert!(selected.contains(&format!("[UIDVALIDITY {}]", ours.uid_validity)), "{selected}");
    assert!(selected.contains("[UIDNEXT 3]"), "{selected}");
    let seen = dovecot.ask("FETCH 1:* (UID FLAGS RFC822.SIZE)");
    assert!(
        seen.contains("UID 1 FLAGS () RFC822.SIZE 23")
            || seen.contains("UID 1 FLAGS (\\Recent) RFC822.SIZE 23"),
        "{seen}"
    );
    assert!(seen.contains("(UID 2 FLAGS (\\Answered $Junk) RFC822.SIZE 19)"), "{seen}");
    assert!(dovecot.ask("UID FETCH 2 BODY.PEEK[]").contains("Subject: two\r\n\r\n2\r\n"));

    dovecot.ask("UID STORE 1 +FLAGS (\\Flagged $Later)");
    dovecot.ask("APPEND INBOX (\\Seen) {13+}\r\nthree: 3\r\n\r\n3");
    dovecot.ask("UID STORE 2 +FLAGS (\\Deleted)");
    dovecot.ask("EXPUNGE");
    dovecot.ask("CREATE Entw&APw-rfe.Alt");
    dovecot.ask("SUBSCRIBE Entw&APw-rfe.Alt");
    drop(dovecot);

    let later = inbox.snapshot().unwrap();
    assert_eq!(later.uid_validity, ours.uid_validity);
    let (first, last) = (&later.messages[0], &later.messages[1]);
    assert_eq!((first.uid, &first.base), (1, &ours.messages[0].base));
    assert!(first.flags.contains(Flags::FLAGGED));
    assert_eq!(first.keywords, [Keyword::parse("$Later").unwrap()]);
    assert_eq!((last.uid, last.flags), (3, Flags::SEEN));
    assert_eq!(inbox.read(3).unwrap(), b"three: 3\r\n\r\n3");
    assert!(both.tree.list().unwrap().contains(&"Entwürfe.Alt".to_owned()));
    assert_eq!(both.tree.subscriptions().unwrap(), ["Entwürfe.Alt"]);
    let folder = both.tree.mailbox("Entwürfe.Alt").unwrap();
    assert_ne!(folder.snapshot().unwrap().uid_validity, ours.uid_validity);

    inbox.change_flags(&[1], FlagChange::Set, Flags::SEEN, &junk).unwrap();
    inbox.expunge(Some(&[3]), false).unwrap();
    let item = Delivery { base: None, content };
    inbox.deliver(&[item], Durability::Full).unwrap().remove(0).unwrap();
    inbox.sync().unwrap();
    let mut dovecot = both.dovecot();
    dovecot.ask("SELECT INBOX");
    let seen = dovecot.ask("FETCH 1:* (UID FLAGS)");
    assert!(seen.contains("UID 1 FLAGS (\\Seen $Junk)"), "{seen}");
    assert!(seen.contains("UID 4") && !seen.contains("UID 3"), "{seen}");
    drop(dovecot);
    assert_eq!(both.complaints(), Vec::<String>::new());
}

#[test]
fn flag_changes_beside_a_watching_dovecot_expunge_nothing_and_keep_all_uids() {
    let Some(both) = beside() else { return };
    let inbox = both.inbox();
    let item = Delivery { base: None, content: b"Subject: x\r\n\r\nx\r\n" };
    let batch = vec![item.clone(); 300];
    inbox.deliver(&batch, Durability::None).unwrap();
    let before: Vec<_> = inbox.snapshot().unwrap().messages.into_iter().map(|m| (m.uid, m.base)).collect();
    let uids: Vec<u32> = before.iter().map(|(uid, _)| *uid).collect();
    let mut dovecot = both.dovecot();
    dovecot.ask("SELECT INBOX");
    let (rounds, noticed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // At least 20 rounds, and until Dovecot has come to look at some of it.
            for round in (0..2000).take_while(|n| *n < 20 || noticed.load(Ordering::SeqCst) < 2) {
                let how = if round % 2 == 0 { FlagChange::Add } else { FlagChange::Remove };
                for some in uids.chunks(50) {
                    inbox.change_flags(some, how, Flags::FLAGGED, &[]).unwrap();
                }
                inbox.deliver(std::slice::from_ref(&item), Durability::None).unwrap();
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        });
        while !writer.is_finished() {
            let told = dovecot.ask("NOOP");
            noticed.fetch_add(usize::from(told.contains(" FETCH ")), Ordering::SeqCst);
            assert!(!told.contains("EXPUNGE"), "{told}");
        }
    });
    assert!(noticed.into_inner() > 1, "Dovecot was looking");
    dovecot.ask("UID STORE 1:* +FLAGS (\\Seen)");
    drop(dovecot);
    let after = inbox.snapshot().unwrap().messages;
    assert_eq!(after.len(), 300 + rounds.into_inner());
    assert!(after.iter().zip(&before).all(|(m, (uid, base))| (&m.uid, &m.base) == (uid, base)));
    // Dovecot may not have looked since the last delivery: of those before, it has seen all.
    let unseen = after.iter().take(before.len()).filter(|m| !m.flags.contains(Flags::SEEN)).map(|m| m.uid);
    assert_eq!(unseen.collect::<Vec<_>>(), Vec::<u32>::new());
    assert_eq!(both.complaints(), Vec::<String>::new());
}
