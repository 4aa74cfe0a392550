//! Clients that we did not write, on loopback.

use super::{HELLO, Mail};
use crate::server::Service;
use crate::testing::PASSWORD;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_imaplib_appends_reads_searches_and_expunges() {
    if crate::python_tests::python_is_missing() {
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let mail = Mail::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let service = tokio::spawn(crate::serve(listener, Service::Imap, false, mail.world.context.clone()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/imap.py");
    let args = ["127.0.0.1", &port, "alice@example.org", PASSWORD].map(str::to_owned);
    let run = move || std::process::Command::new("python3").arg(script).args(args).output();
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.trim(), "same");
    mail.world.shutdown.send(true).unwrap();
    service.await.unwrap();
}

/// mbsync is there; where all tests are demanded, its absence is a failure.
fn mbsync_is_missing() -> bool {
    let missing = std::process::Command::new("mbsync").arg("--version").output().is_err();
    let required = std::env::var("POSTHASTE_REQUIRE").is_ok_and(|which| which == "all");
    assert!(!(missing && required), "mbsync is not installed, and POSTHASTE_REQUIRE=all");
    missing
}

/// The messages of a Maildir, less the X-TUID line by which mbsync finds what it copied.
fn maildir_files(dir: &std::path::Path) -> Vec<String> {
    let entries =
        ["cur", "new"].into_iter().filter_map(|sub| std::fs::read_dir(dir.join(sub)).ok()).flatten();
    let text = |path| String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    let without_tuid = |text: String| {
        text.split_inclusive('\n').filter(|line| !line.starts_with("X-TUID: ")).collect::<String>()
    };
    let mut files: Vec<_> = entries.map(|e| without_tuid(text(e.unwrap().path()))).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mbsync_pulls_and_pushes_mail_byte_for_byte() {
    if mbsync_is_missing() {
        eprintln!("skipped: mbsync is not installed");
        return;
    }
    let mail = Mail::new();
    let messages: Vec<String> =
        (0..20).map(|n| HELLO.replace("<1@", &format!("<{n}@")) + &".line\r\n\r\n".repeat(n)).collect();
    for message in &messages {
        mail.deliver(message.clone()).await;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = tokio::spawn(crate::serve(listener, Service::Imap, false, mail.world.context.clone()));
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let config = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {port}\nUser alice@example.org\nPass \"{PASSWORD}\"\n\
         SSLType None\nAuthMechs LOGIN\n\n\
         IMAPStore far\nAccount a\n\n\
         MaildirStore near\nPath {at}/\nInbox {at}/INBOX\n\n\
         Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n"
    );
    std::fs::write(dir.path().join("rc"), config).unwrap();
    let rc = dir.path().join("rc");
    let sync = async || {
        let rc = rc.clone();
        let run = move || std::process::Command::new("mbsync").arg("-c").arg(rc).arg("-a").output();
        let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    sync().await;
    // mbsync keeps LF in its Maildir.
    let mut wanted: Vec<_> = messages.iter().map(|m| m.replace("\r\n", "\n")).collect();
    wanted.sort();
    let inbox = dir.path().join("INBOX");
    assert_eq!(maildir_files(&inbox), wanted);
    std::fs::write(inbox.join("new/1.pushed.x"), HELLO.replace("\r\n", "\n").replace("hello", "pushed"))
        .unwrap();
    sync().await;
    let mut client = mail.select().await;
    assert_eq!(client.ok("SEARCH SUBJECT pushed").await, ["* SEARCH 21"]);
    let lines = client.ok("FETCH 21 BODY.PEEK[TEXT]").await;
    assert_eq!(lines[1..], ["Hello Alice", ")"]);
    client.ok("STORE 1:20 +FLAGS.SILENT \\Deleted").await;
    client.ok("CLOSE").await;
    sync().await;
    assert_eq!(maildir_files(&inbox).len(), 1);
    mail.world.shutdown.send(true).unwrap();
    service.await.unwrap();
}
