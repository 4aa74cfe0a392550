//! Scripted dialogues over real Maildirs.

mod clients;
mod garbled;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_maildir::{LocalConfig, LocalFs};

use crate::local::{LocalStore, LocalStoreConfig};
use crate::server::{Limits, Service};
use crate::store::{MailStore, MailboxName, Op, Reply, StoreError, User, Watch};
use crate::testing::{PASSWORD, Script, World};

/// Alice's mail on a plain directory, with a switch that makes the store unavailable.
struct Mail {
    world: World,
    store: Arc<Switched>,
    _dir: tempfile::TempDir,
}

struct Switched {
    store: LocalStore<LocalFs>,
    failure: std::sync::Mutex<Option<StoreError>>,
    /// Each operation's reply is lost, once, and the operation tried again, as in a failover.
    replies_lost: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl MailStore for Switched {
    async fn call(&self, user: &User, op: Op) -> Result<Reply, StoreError> {
        let failure = self.failure.lock().unwrap().clone();
        match failure {
            Some(error) => Err(error),
            None if self.replies_lost.load(std::sync::atomic::Ordering::Relaxed) => {
                let _ = self.store.call(user, op.clone()).await;
                op.retried(self.store.call(user, op.clone()).await)
            }
            None => self.store.call(user, op).await,
        }
    }

    async fn deliver(&self, to: &[User], body: Bytes) -> Result<(), StoreError> {
        self.store.deliver(to, body).await
    }

    async fn watch(&self, user: &User, name: &MailboxName) -> Result<Watch, StoreError> {
        self.store.watch(user, name).await
    }
}

fn alice() -> User {
    User::parse("alice@example.org").unwrap()
}

impl Mail {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let maildirs = LocalFs::open(dir.path(), LocalConfig::default()).unwrap();
        let store = LocalStore::new(maildirs, LocalStoreConfig::default());
        let store =
            Arc::new(Switched { store, failure: Default::default(), replies_lost: Default::default() });
        let mut world = World::with(change);
        world.context.store = Arc::clone(&store) as Arc<dyn MailStore>;
        world.context.plaintext_login = true;
        Self { world, store, _dir: dir }
    }

    async fn deliver(&self, body: impl Into<Bytes>) {
        self.store.deliver(&[alice()], body.into()).await.unwrap();
    }

    /// A session, greeted.
    async fn connect(&self) -> Client {
        let mut script = self.world.connect(Service::Imap);
        let greeting = script.line().await.unwrap();
        assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 "), "{greeting}");
        Client { script, tag: 0 }
    }

    /// A session, logged in.
    async fn login(&self) -> Client {
        let mut client = self.connect().await;
        client.ok(&format!("LOGIN alice@example.org \"{PASSWORD}\"")).await;
        client
    }

    /// A session with INBOX selected.
    async fn select(&self) -> Client {
        let mut client = self.login().await;
        client.ok("SELECT INBOX").await;
        client
    }
}

struct Client {
    script: Script,
    tag: u32,
}

impl Client {
    /// Sends a command; the untagged lines, and the tagged one without its tag.
    async fn ask(&mut self, command: &str) -> (Vec<String>, String) {
        self.tag += 1;
        self.script.send(format!("t{} {command}\r\n", self.tag)).await;
        self.answer().await
    }

    async fn answer(&mut self) -> (Vec<String>, String) {
        let tag = format!("t{} ", self.tag);
        let mut lines = Vec::new();
        loop {
            let line = self.script.line().await.unwrap_or_else(|| panic!("closed after {lines:?}"));
            match line.strip_prefix(&tag) {
                Some(status) => return (lines, status.to_owned()),
                None => lines.push(line),
            }
        }
    }

    async fn ok(&mut self, command: &str) -> Vec<String> {
        let (lines, status) = self.ask(command).await;
        assert!(status.starts_with("OK"), "{command}: {status}");
        lines
    }

    /// The tagged line, which must not be OK.
    async fn refused(&mut self, command: &str) -> String {
        let (lines, status) = self.ask(command).await;
        assert!(!status.starts_with("OK"), "{command}: {status} {lines:?}");
        status
    }

    /// Appends with a non-synchronizing literal.
    async fn append(&mut self, args: &str, message: &str) -> (Vec<String>, String) {
        self.ask(&format!("APPEND {args} {{{}+}}\r\n{message}", message.len())).await
    }
}

const HELLO: &str = "From: Bob <bob@example.org>\r\nTo: alice@example.org\r\nSubject: hello\r\n\
    Date: Tue, 2 Jan 2024 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nHello Alice\r\n";

#[tokio::test]
async fn imap_reads_a_delivered_message_byte_for_byte() {
    let mail = Mail::new();
    mail.deliver(HELLO).await;
    let mut client = mail.login().await;
    let (lines, status) = client.ask("SELECT inbox").await;
    assert!(status.starts_with("OK [READ-WRITE]"), "{status}");
    for part in ["* 1 EXISTS", "* 1 RECENT", "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)"] {
        assert!(lines.iter().any(|l| l == part), "{part}: {lines:?}");
    }
    for part in ["[UIDVALIDITY ", "[UIDNEXT 2]", "[UNSEEN 1]", "\\Draft \\*)]"] {
        assert!(lines.iter().any(|l| l.contains(part)), "{part}: {lines:?}");
    }
    let lines = client.ok("FETCH 1 (UID RFC822.SIZE BODY[])").await;
    let size = HELLO.len();
    assert_eq!(lines[0], format!("* 1 FETCH (UID 1 RFC822.SIZE {size} BODY[] {{{size}}}"));
    assert_eq!(lines[1..].join("\r\n"), format!("{HELLO} FLAGS (\\Seen \\Recent))"));
    assert_eq!(
        client.ok("UID FETCH 1 ENVELOPE").await,
        [
            "* 1 FETCH (UID 1 ENVELOPE (\"Tue, 2 Jan 2024 10:00:00 +0000\" \"hello\" ((\"Bob\" NIL \"bob\" \"example.org\")) \
          ((\"Bob\" NIL \"bob\" \"example.org\")) ((\"Bob\" NIL \"bob\" \"example.org\")) ((NIL NIL \"alice\" \"example.org\")) \
          NIL NIL NIL \"<1@example.org>\"))"
        ]
    );
    assert_eq!(client.ok("FETCH 1 BODY[1]<6.5>").await, ["* 1 FETCH (BODY[1]<6> {5}", "Alice)"]);
    assert_eq!(client.ok("FETCH 1 BODY[]<6.3>").await, ["* 1 FETCH (BODY[]<6> {3}", "Bob)"]);
    assert_eq!(
        client.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]").await,
        ["* 1 FETCH (BODY[HEADER.FIELDS (SUBJECT)] {18}", "Subject: hello", "", ")"]
    );
    assert_eq!(client.ok("FETCH 1 BODY[7]").await, ["* 1 FETCH (BODY[7] NIL)"]);
}

#[tokio::test]
async fn large_messages_are_sent_whole_and_by_parts() {
    let mail = Mail::new();
    let body = "0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(40_000);
    let message = format!("Subject: large\r\n\r\n{body}");
    mail.deliver(message.clone()).await;
    let mut client = mail.select().await;
    let lines = client.ok("FETCH 1 (BODY.PEEK[] UID)").await;
    assert_eq!(lines[0], format!("* 1 FETCH (BODY[] {{{}}}", message.len()));
    assert_eq!(lines[1..].join("\r\n"), format!("{message} UID 1)"));
    let lines = client.ok("FETCH 1 BODY.PEEK[]<18.100000>").await;
    assert_eq!(lines[1..].join("\r\n"), format!("{})", &body[..100_000]));
}

#[tokio::test]
async fn append_store_copy_expunge_tell_what_they_did() {
    let mail = Mail::new();
    let mut client = mail.login().await;
    client.ok("CREATE Archive").await;
    let (_, status) = client.append("Nowhere", "x").await;
    assert!(status.starts_with("NO [TRYCREATE]"), "{status}");
    let (_, status) = client.append("INBOX (\\Flagged $Work) \" 7-Feb-1994 22:43:04 -0800\"", HELLO).await;
    assert!(status.starts_with("OK [APPENDUID ") && status.contains(" 1] "), "{status}");
    client.ok("SELECT INBOX").await;
    let (lines, _) = client.append("INBOX", "bare\nlf\n").await;
    assert!(lines.contains(&"* 2 EXISTS".to_owned()), "{lines:?}");
    assert_eq!(
        client.ok("FETCH 1 (FLAGS INTERNALDATE)").await,
        ["* 1 FETCH (FLAGS (\\Flagged $Work) INTERNALDATE \" 8-Feb-1994 06:43:04 +0000\")"]
    );
    assert_eq!(client.ok("FETCH 2 BODY.PEEK[]").await[1..], ["bare", "lf", ")"]);
    let lines = client.ok("STORE 1:2 +FLAGS (\\Deleted)").await;
    assert!(lines[0].starts_with("* 1 FETCH (UID 1 FLAGS (\\Flagged \\Deleted"), "{lines:?}");
    assert_eq!(client.ok("STORE 2 -FLAGS.SILENT (\\Deleted)").await, [] as [String; 0]);
    let (_, status) = client.ask("UID COPY 1:2 Archive").await;
    assert!(status.starts_with("OK [COPYUID ") && status.contains(" 1:2 1:2] "), "{status}");
    assert!(client.refused("COPY 1 Missing").await.starts_with("NO [TRYCREATE]"));
    assert_eq!(client.ok("EXPUNGE").await, ["* 1 EXPUNGE"]);
    client.ok("UID STORE 2 +FLAGS.SILENT \\Deleted").await;
    assert_eq!(client.ok("UID EXPUNGE 1").await, [] as [String; 0]);
    assert_eq!(client.ok("UID EXPUNGE 2").await, ["* 1 EXPUNGE"]);
    let lines = client.ok("STATUS Archive (MESSAGES UNSEEN UIDNEXT)").await;
    assert_eq!(lines, ["* STATUS Archive (MESSAGES 2 UNSEEN 2 UIDNEXT 3)"]);
}

#[tokio::test]
async fn close_expunges_silently_and_examine_changes_nothing() {
    let mail = Mail::new();
    mail.deliver(HELLO).await;
    let mut client = mail.login().await;
    let (lines, status) = client.ask("EXAMINE INBOX").await;
    assert!(status.starts_with("OK [READ-ONLY]"), "{status}");
    assert!(lines.iter().any(|l| l.contains("[PERMANENTFLAGS ()]")), "{lines:?}");
    assert!(client.refused("STORE 1 +FLAGS \\Deleted").await.starts_with("NO"));
    assert!(client.refused("EXPUNGE").await.starts_with("NO"));
    client.ok("FETCH 1 BODY[TEXT]").await;
    client.ok("CLOSE").await;
    client.ok("SELECT INBOX").await;
    assert!(!client.ok("FETCH 1 FLAGS").await[0].contains("\\Seen"));
    client.ok("STORE 1 +FLAGS.SILENT \\Deleted").await;
    client.ok("UNSELECT").await;
    assert!(client.refused("FETCH 1 FLAGS").await.starts_with("BAD"));
    assert!(client.ok("SELECT INBOX").await.contains(&"* 1 EXISTS".to_owned()));
    assert_eq!(client.ok("CLOSE").await, [] as [String; 0]);
    assert!(client.ok("SELECT INBOX").await.contains(&"* 0 EXISTS".to_owned()));
}

#[tokio::test]
async fn another_sessions_expunge_waits_for_a_command_that_may_tell_it() {
    let mail = Mail::new();
    for _ in 0..3 {
        mail.deliver(HELLO).await;
    }
    let mut one = mail.select().await;
    let mut two = mail.select().await;
    two.ok("STORE 2 +FLAGS.SILENT \\Deleted").await;
    two.ok("EXPUNGE").await;
    // Numbers hold: 3 is still the third.
    let (lines, status) = one.ask("FETCH 3 UID").await;
    assert!(status.starts_with("OK") && !lines.iter().any(|l| l.contains("EXPUNGE")), "{lines:?}");
    assert_eq!(lines[0], "* 3 FETCH (UID 3)");
    assert!(one.refused("FETCH 1:3 BODY.PEEK[]").await.starts_with("NO [EXPUNGEISSUED]"));
    let lines = one.ok("STORE 3 +FLAGS (\\Seen)").await;
    assert!(!lines.iter().any(|l| l.contains("EXPUNGE")), "{lines:?}");
    assert_eq!(one.ok("NOOP").await, ["* 2 EXPUNGE"]);
    assert_eq!(one.ok("FETCH 2 UID").await, ["* 2 FETCH (UID 3)"]);
    assert_eq!(
        two.ok("NOOP").await,
        ["* 2 FETCH (UID 3 FLAGS (\\Seen \\Recent))"].map(|l| l.replace(" \\Recent", ""))
    );
}

#[tokio::test]
async fn idle_tells_new_mail_flags_and_expunges_at_once() {
    let mail = Mail::new();
    mail.deliver(HELLO).await;
    let mut idler = mail.select().await;
    let mut other = mail.select().await;
    idler.tag += 1;
    idler.script.send(format!("t{} IDLE\r\n", idler.tag)).await;
    assert_eq!(idler.script.line().await.unwrap(), "+ idling");
    mail.deliver(HELLO).await;
    assert_eq!(idler.script.line().await.unwrap(), "* 2 EXISTS");
    assert!(idler.script.line().await.unwrap().ends_with(" RECENT"));
    other.ok("STORE 1 +FLAGS (\\Deleted)").await;
    let line = idler.script.line().await.unwrap();
    assert!(line.starts_with("* 1 FETCH (UID 1 FLAGS (\\Deleted"), "{line}");
    other.ok("EXPUNGE").await;
    assert_eq!(idler.script.line().await.unwrap(), "* 1 EXPUNGE");
    idler.script.send("DONE\r\n").await;
    assert!(idler.answer().await.1.starts_with("OK"));
    idler.ok("NOOP").await;
}

#[tokio::test]
async fn search_finds_by_flags_dates_header_and_text() {
    let mail = Mail::new();
    let mut client = mail.login().await;
    client.append("INBOX (\\Seen $Work) \"01-Jan-2020 12:00:00 +0000\"", HELLO).await;
    client
        .append(
            "INBOX (\\Flagged) \"01-Jan-2021 12:00:00 +0000\"",
            "Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n\r\nna\u{ef}ve\r\n",
        )
        .await;
    client
        .append(
            "INBOX",
            "From: carol@x\r\n\r\nHello again, this one is longer than the others by quite a bit\r\n",
        )
        .await;
    client.ok("SELECT INBOX").await;
    for (keys, found) in [
        ("ALL", " 1 2 3"),
        ("UNSEEN", " 2 3"),
        ("SEEN KEYWORD $work", " 1"),
        ("OR FLAGGED SEEN", " 1 2"),
        ("NOT (OR FLAGGED SEEN)", " 3"),
        ("SINCE 1-Jan-2021 BEFORE 2-Jan-2021", " 2"),
        ("SENTON 2-Jan-2024", " 1"),
        ("FROM carol", " 3"),
        ("TEXT hello", " 1 3"),
        ("BODY hello UNSEEN", " 3"),
        ("HEADER message-id \"\"", " 1"),
        ("2:3 UNFLAGGED", " 3"),
        ("UID 1,3:*", " 1 3"),
        ("LARGER 70 SMALLER 150 TEXT zzz", ""),
        ("NOT BODY hello", " 2"),
        ("CHARSET UTF-8 SUBJECT {7+}\r\ngr\u{fc}\u{df}e", " 2"),
    ] {
        assert_eq!(client.ok(&format!("SEARCH {keys}")).await, [format!("* SEARCH{found}")], "{keys}");
    }
    assert_eq!(client.ok("UID SEARCH FLAGGED").await, ["* SEARCH 2"]);
    assert!(
        client.refused("SEARCH CHARSET X-UNKNOWN ALL").await.starts_with("NO [BADCHARSET (UTF-8 US-ASCII)]")
    );
}

#[tokio::test]
async fn mailboxes_are_made_listed_renamed_subscribed_and_deleted() {
    let mail = Mail::new();
    let mut client = mail.login().await;
    assert_eq!(client.ok("LIST \"\" \"\"").await, ["* LIST (\\Noselect) \".\" \"\""]);
    client.ok("CREATE Work.2024.Reports").await;
    client.ok("CREATE \"Entw&APw-rfe\"").await;
    assert!(client.refused("CREATE inbox").await.starts_with("NO [ALREADYEXISTS]"));
    assert!(client.refused("CREATE \"Entw&APw-rfe\"").await.starts_with("NO [ALREADYEXISTS]"));
    assert!(client.refused("CREATE a/b").await.starts_with("NO [CANNOT]"));
    let lines = client.ok("LIST \"\" %").await;
    assert!(lines.contains(&"* LIST (\\HasNoChildren) \".\" INBOX".to_owned()), "{lines:?}");
    assert!(lines.contains(&"* LIST (\\HasNoChildren) \".\" Entw&APw-rfe".to_owned()), "{lines:?}");
    assert!(lines.contains(&"* LIST (\\Noselect \\HasChildren) \".\" Work".to_owned()), "{lines:?}");
    assert_eq!(client.ok("LIST Work. *Rep*").await, ["* LIST (\\HasNoChildren) \".\" Work.2024.Reports"]);
    client.ok("SUBSCRIBE Work.2024.Reports").await;
    assert_eq!(client.ok("LSUB \"\" *").await.last().unwrap(), "* LSUB () \".\" Work.2024.Reports");
    client.ok("RENAME Work.2024.Reports Old").await;
    assert!(client.refused("SELECT Work.2024.Reports").await.starts_with("NO [NONEXISTENT]"));
    client.ok("SELECT Old").await;
    client.ok("DELETE Old").await;
    assert!(client.refused("DELETE INBOX").await.starts_with("NO [CANNOT]"));
    assert_eq!(client.ok("NAMESPACE").await, ["* NAMESPACE ((\"\" \".\")) NIL NIL"]);
    assert!(client.ok("ID NIL").await[0].starts_with("* ID (\"name\" \"Posthaste\""));
}

#[tokio::test]
async fn renaming_the_inbox_moves_its_messages_once_also_when_replies_are_lost() {
    let mail = Mail::new();
    for lost in [false, true] {
        mail.store.replies_lost.store(lost, std::sync::atomic::Ordering::Relaxed);
        mail.deliver(HELLO).await;
        mail.deliver(HELLO).await;
        let mut client = mail.login().await;
        client.ok(&format!("RENAME INBOX Old.{lost}")).await;
        assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await, ["* STATUS INBOX (MESSAGES 0)"]);
        let moved = client.ok(&format!("STATUS Old.{lost} (MESSAGES UIDNEXT)")).await;
        assert_eq!(moved, [format!("* STATUS Old.{lost} (MESSAGES 2 UIDNEXT 3)")]);
    }
    mail.store.replies_lost.store(false, std::sync::atomic::Ordering::Relaxed);
    let status = mail.login().await.refused("RENAME INBOX Old.true").await;
    assert!(status.starts_with("NO [ALREADYEXISTS]"), "{status}");
}

#[tokio::test]
async fn each_command_on_a_mailbox_does_its_work_once_when_replies_are_lost() {
    let mail = Mail::new();
    mail.store.replies_lost.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut client = mail.login().await;
    client.ok("CREATE A").await;
    client.ok("CREATE A.Below").await;
    client.ok("SUBSCRIBE A").await;
    client.append("A", HELLO).await;
    client.ok("SELECT A").await;
    client.ok("STORE 1 +FLAGS (\\Flagged $Work)").await;
    client.ok("COPY 1 A.Below").await;
    client.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(client.ok("EXPUNGE").await, ["* 1 EXPUNGE"]);
    client.ok("RENAME A B").await;
    assert_eq!(
        client.ok("STATUS B.Below (MESSAGES UIDNEXT)").await,
        ["* STATUS B.Below (MESSAGES 1 UIDNEXT 2)"]
    );
    client.ok("DELETE B").await;
    assert!(client.refused("SELECT B").await.starts_with("NO [NONEXISTENT]"));
    assert_eq!(client.ok("LSUB \"\" *").await, ["* LSUB (\\Noselect) \".\" A"]);
}

#[tokio::test]
async fn status_and_examine_leave_recent_to_who_selects() {
    let mail = Mail::new();
    mail.deliver(HELLO).await;
    let mut examiner = mail.login().await;
    assert_eq!(examiner.ok("STATUS INBOX (RECENT)").await, ["* STATUS INBOX (RECENT 1)"]);
    assert!(examiner.ok("EXAMINE INBOX").await.contains(&"* 1 RECENT".to_owned()));
    mail.deliver(HELLO).await;
    assert!(examiner.ok("NOOP").await.contains(&"* 2 RECENT".to_owned()));
    let mut client = mail.login().await;
    assert!(client.ok("SELECT INBOX").await.contains(&"* 2 RECENT".to_owned()));
    assert_eq!(examiner.ok("STATUS INBOX (RECENT)").await, ["* STATUS INBOX (RECENT 0)"]);
    mail.deliver(HELLO).await;
    assert!(
        client.ok("NOOP").await.contains(&"* 3 RECENT".to_owned()),
        "this session was the first to hear of it"
    );
}

#[tokio::test]
async fn a_mailbox_deleted_under_a_session_is_deselected_not_dropped() {
    let mail = Mail::new();
    let mut one = mail.login().await;
    one.ok("CREATE Doomed").await;
    one.ok("SELECT Doomed").await;
    let mut two = mail.login().await;
    two.ok("DELETE Doomed").await;
    let lines = one.ok("NOOP").await;
    assert!(lines[0].starts_with("* NO [NONEXISTENT]"), "{lines:?}");
    one.ok("SELECT INBOX").await;
}

#[tokio::test]
async fn a_store_that_is_not_available_answers_no_and_the_session_goes_on() {
    let mail = Mail::new();
    mail.deliver(HELLO).await;
    let mut client = mail.select().await;
    let fail = |error| *mail.store.failure.lock().unwrap() = error;
    for (error, code) in [
        (StoreError::Unavailable("no quorum".into()), "NO [UNAVAILABLE]"),
        (StoreError::Full, "NO [OVERQUOTA]"),
        (StoreError::Internal("bug".into()), "NO [SERVERBUG]"),
        (StoreError::Refused("no".into()), "NO [CANNOT]"),
    ] {
        fail(Some(error));
        for command in [
            "FETCH 1 BODY[]",
            "STORE 1 +FLAGS \\Seen",
            "STATUS INBOX (MESSAGES)",
            "LIST \"\" *",
            "COPY 1 INBOX",
            "SEARCH TEXT x",
        ] {
            assert!(client.refused(command).await.starts_with(code), "{command}");
        }
        let (_, status) = client.append("INBOX", HELLO).await;
        assert!(status.starts_with(code), "{status}");
        client.ok("NOOP").await;
    }
    fail(None);
    client.ok("FETCH 1 BODY[]").await;
    assert!(client.ok("STATUS INBOX (MESSAGES)").await[0].contains("MESSAGES 1"));
}

#[tokio::test]
async fn commands_are_refused_in_the_wrong_state_and_bad_ones_by_their_tag() {
    let mail = Mail::new();
    let mut client = mail.connect().await;
    assert!(client.refused("SELECT INBOX").await.starts_with("BAD"));
    assert!(client.refused("STARTTLS").await.starts_with("BAD"));
    assert!(client.refused("FROB").await.starts_with("BAD unknown command"));
    assert!(client.refused("LOGIN {2000+}\r\nt9 NOOP\r\n").await.starts_with("BAD literal"));
    client.script.send("x".repeat(1989)).await;
    client.script.send("\r\n* NOOP\r\n").await;
    assert!(client.script.line().await.unwrap().starts_with("* BAD"));
    client.ok(&format!("LOGIN {{17}}\r\nalice@example.org \"{PASSWORD}\"")).await;
    assert!(client.refused("FETCH 1 FLAGS").await.starts_with("BAD"));
    client.ok("SELECT INBOX").await;
    assert!(client.refused("FETCH 1 FLAGS").await.starts_with("BAD no such message"));
    assert_eq!(client.ok("UID FETCH 1:* FLAGS").await, [] as [String; 0]);
    let lines = client.ok("LOGOUT").await;
    assert!(lines[0].starts_with("* BYE"));
    client.script.closed().await;
}

#[tokio::test]
async fn authenticate_plain_works_with_and_without_an_initial_response() {
    let mail = Mail::new();
    let token = "AGFsaWNlQGV4YW1wbGUub3JnAGEgc2VjcmV0";
    let mut client = mail.connect().await;
    client.ok(&format!("AUTHENTICATE PLAIN {token}")).await;
    assert!(client.refused(&format!("AUTHENTICATE PLAIN {token}")).await.starts_with("BAD"));
    let mut client = mail.connect().await;
    client.tag += 1;
    client.script.send(format!("t{} AUTHENTICATE PLAIN\r\n", client.tag)).await;
    assert_eq!(client.script.line().await.unwrap(), "+ ");
    client.script.send(format!("{token}\r\n")).await;
    assert!(client.answer().await.1.starts_with("OK [CAPABILITY "));
    let mut client = mail.connect().await;
    client.tag += 1;
    client.script.send(format!("t{} AUTHENTICATE PLAIN\r\n", client.tag)).await;
    client.script.line().await.unwrap();
    client.script.send("*\r\n").await;
    assert!(client.answer().await.1.starts_with("BAD"));
    assert!(client.refused("AUTHENTICATE CRAM-MD5").await.starts_with("NO"));
}

#[tokio::test]
async fn the_fifth_wrong_password_ends_the_session() {
    let mail = Mail::new();
    let mut client = mail.connect().await;
    for _ in 0..4 {
        let status = client.refused("LOGIN alice@example.org wrong").await;
        assert!(status.starts_with("NO [AUTHENTICATIONFAILED]"), "{status}");
    }
    client.script.send("x LOGIN alice@example.org wrong\r\n").await;
    assert!(client.script.line().await.unwrap().starts_with("* BYE"));
    client.script.closed().await;
}

#[tokio::test]
async fn starttls_drops_what_was_pipelined_and_passwords_wait_for_tls() {
    let mut mail = Mail::new();
    mail.world = mail.world.with_tls();
    mail.world.context.plaintext_login = false;
    let mut client = mail.connect().await;
    let lines = client.ok("CAPABILITY").await;
    assert!(lines[0].contains(" STARTTLS LOGINDISABLED"), "{lines:?}");
    assert!(client.refused("LOGIN alice@example.org x").await.starts_with("NO [PRIVACYREQUIRED]"));
    client.tag += 1;
    client.script.send(format!("t{} STARTTLS\r\nevil LOGIN x y\r\n", client.tag)).await;
    assert!(client.answer().await.1.starts_with("OK"));
    let mut client = Client { script: client.script.start_tls().await, tag: 100 };
    let lines = client.ok("CAPABILITY").await;
    assert!(
        lines.len() == 1 && lines[0].contains("AUTH=PLAIN") && !lines[0].contains("STARTTLS"),
        "{lines:?}"
    );
    client.ok(&format!("LOGIN alice@example.org \"{PASSWORD}\"")).await;
    client.ok("SELECT INBOX").await;
}

#[tokio::test]
async fn a_shutdown_says_bye_between_commands_and_in_idle() {
    let mail = Mail::new();
    let mut idler = mail.select().await;
    let mut quiet = mail.login().await;
    idler.script.send("i IDLE\r\n").await;
    assert_eq!(idler.script.line().await.unwrap(), "+ idling");
    mail.world.shutdown.send(true).unwrap();
    assert!(idler.script.line().await.unwrap().starts_with("* BYE [UNAVAILABLE]"));
    assert!(quiet.script.line().await.unwrap().starts_with("* BYE [UNAVAILABLE]"));
    idler.script.closed().await;
    quiet.script.closed().await;
}

#[tokio::test]
async fn a_busy_server_and_a_silent_client_get_bye() {
    let mail = Mail::with(|limits| limits.idle_before_login = Duration::from_millis(50));
    let mut refused = mail.world.start(Service::Imap, true);
    assert!(refused.line().await.unwrap().starts_with("* BYE [UNAVAILABLE]"));
    refused.closed().await;
    let mut silent = mail.connect().await;
    silent.script.send("a NOO").await;
    assert!(silent.script.line().await.unwrap().starts_with("* BYE"));
    silent.script.closed().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_skipped() {
    let mail = Mail::with(|limits| limits.message_bytes = 100);
    let mut client = mail.login().await;
    let (_, status) = client.append("INBOX", &"t9 LOGOUT\r\n".repeat(20)).await;
    assert!(status.starts_with("NO [TOOBIG]"), "{status}");
    let (_, status) = client.append("INBOX", &"x\r\n".repeat(33)).await;
    assert!(status.starts_with("OK [APPENDUID"), "{status}");
    client.tag += 1;
    client.script.send(format!("t{} APPEND INBOX {{5}}\r\n", client.tag)).await;
    assert_eq!(client.script.line().await.unwrap(), "+ OK");
    client.script.send("hello\r\n").await;
    assert!(client.answer().await.1.starts_with("OK"));
}

#[tokio::test]
async fn a_mailbox_made_anew_under_a_session_ends_it_since_uids_mean_nothing_any_more() {
    let mail = Mail::new();
    let mut one = mail.login().await;
    one.ok("CREATE Box").await;
    one.append("Box", HELLO).await;
    one.ok("SELECT Box").await;
    let mut two = mail.login().await;
    two.ok("DELETE Box").await;
    two.ok("CREATE Box").await;
    two.append("Box", "Subject: another\r\n\r\n").await;
    one.script.send("x NOOP\r\n").await;
    let line = one.script.line().await.unwrap();
    assert!(line.starts_with("* BYE"), "{line}");
    one.script.closed().await;
}

#[tokio::test]
async fn an_append_beyond_the_memory_budget_is_refused_and_the_session_goes_on() {
    let mail = Mail::with(|limits| limits.memory_bytes = 128 << 10);
    let mut client = mail.login().await;
    let (_, status) = client.append("INBOX", &"0123456789\r\n".repeat(20_000)).await;
    assert!(status.starts_with("NO [UNAVAILABLE]"), "{status}");
    let (_, status) = client.append("INBOX", HELLO).await;
    assert!(status.starts_with("OK [APPENDUID"), "{status}");
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("SEARCH ALL").await, ["* SEARCH 1"]);
}
