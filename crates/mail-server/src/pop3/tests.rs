//! Dialogues.

use std::time::Duration;

use crate::server::Service;
use crate::store::StoreError;
use crate::testing::{PASSWORD, Script, World};

const ALICE: &str = "alice@example.org";
const FIRST: &str = "Subject: one\r\n\r\nfirst\r\n.dot\r\n..\r\nlast\r\n";
const SECOND: &str = "Subject: two\r\n\r\nno line end";

fn world() -> World {
    let mut world = World::new();
    world.context.plaintext_login = true;
    world.store.put(ALICE, FIRST);
    world.store.put(ALICE, SECOND);
    world
}

async fn logged_in(world: &World) -> Script {
    let mut client = world.connect(Service::Pop3);
    client.expect("+OK mx.example.org").await;
    client.ask(&format!("USER {ALICE}"), "+OK").await;
    client.ask(&format!("PASS {PASSWORD}"), "+OK").await;
    client
}

#[tokio::test]
async fn pop3_a_whole_session() {
    let world = world();
    let mut client = logged_in(&world).await;
    client.ask("STAT", "+OK 2 66").await;
    client.ask("LIST", "+OK 2 messages").await;
    assert_eq!(client.lines().await, ["1 39", "2 27"]);
    client.ask("LIST 2", "+OK 2 27").await;
    client.ask("LIST 3", "-ERR").await;
    client.ask("UIDL", "+OK").await;
    assert_eq!(client.lines().await, ["1 1.M1P1.test", "2 1.M2P1.test"]);
    client.ask("UIDL 1", "+OK 1 1.M1P1.test").await;
    client.ask("RETR 1", "+OK 39 octets").await;
    assert_eq!(client.lines().await, ["Subject: one", "", "first", "..dot", "...", "last"]);
    client.ask("RETR 2", "+OK 27 octets").await;
    assert_eq!(client.lines().await, ["Subject: two", "", "no line end"]);
    client.ask("TOP 1 2", "+OK").await;
    assert_eq!(client.lines().await, ["Subject: one", "", "first", "..dot"]);
    client.ask("TOP 1 0", "+OK").await;
    assert_eq!(client.lines().await, ["Subject: one", ""]);
    client.ask("NOOP", "+OK").await;
    client.ask("QUIT", "+OK").await;
    client.closed().await;
    assert_eq!(world.store.inbox(ALICE).len(), 2);
}

#[tokio::test]
async fn pop3_messages_are_removed_at_quit_and_only_then() {
    let world = world();
    let mut client = logged_in(&world).await;
    client.ask("DELE 1", "+OK").await;
    client.ask("DELE 1", "-ERR").await;
    client.ask("RETR 1", "-ERR").await;
    client.ask("STAT", "+OK 1 27").await;
    client.ask("LIST", "+OK 1 messages").await;
    assert_eq!(client.lines().await, ["2 27"], "numbers stay");
    assert_eq!(world.store.inbox(ALICE).len(), 2);
    drop(client);
    let mut client = logged_in(&world).await;
    client.ask("STAT", "+OK 2 66").await;
    client.ask("DELE 2", "+OK").await;
    client.ask("RSET", "+OK").await;
    client.ask("DELE 1", "+OK").await;
    client.ask("QUIT", "+OK").await;
    client.closed().await;
    assert_eq!(world.store.inbox(ALICE), [SECOND]);
}

#[tokio::test]
async fn pop3_a_quit_that_cannot_remove_says_so() {
    let world = world();
    let mut client = logged_in(&world).await;
    client.ask("DELE 1", "+OK").await;
    world.store.fail(Some(StoreError::Unavailable("no quorum".into())));
    client.ask("RETR 2", "-ERR [SYS/TEMP]").await;
    client.ask("QUIT", "-ERR [SYS/TEMP]").await;
    client.closed().await;
    assert_eq!(world.store.inbox(ALICE).len(), 2);
}

#[tokio::test]
async fn pop3_a_message_that_another_session_removed_is_an_error() {
    let world = world();
    let mut client = logged_in(&world).await;
    world.store.clear(ALICE);
    client.ask("RETR 1", "-ERR").await;
    client.ask("STAT", "+OK 2 66").await;
    client.ask("QUIT", "+OK").await;
}

#[tokio::test]
async fn pop3_large_messages_come_whole_by_retr_and_cut_by_top() {
    let world = world();
    let line = format!(".{}\r\n", "x".repeat(97));
    // Two portions and exactly three portions: the end must be found in both cases.
    for octets in [600_000, 3 * 256 * 1024] {
        let mut message = format!("Subject: big\r\n\r\n{}", line.repeat(octets / 100 - 1));
        message.push_str(&"y".repeat(octets - message.len() - 2));
        message.push_str("\r\n");
        world.store.clear(ALICE);
        world.store.put(ALICE, message.clone());
        let mut client = logged_in(&world).await;
        client.ask("RETR 1", &format!("+OK {octets} octets")).await;
        let lines = client.lines().await;
        let text: String =
            lines.iter().map(|line| format!("{}\r\n", line.strip_prefix('.').unwrap_or(line))).collect();
        assert!(text == message, "{octets} octets came as {}", text.len());
        client.ask("TOP 1 4000", "+OK").await;
        assert_eq!(client.lines().await.len(), 4002);
        client.ask("QUIT", "+OK").await;
    }
}

#[tokio::test]
async fn pop3_commands_come_pipelined() {
    let world = world();
    let mut client = world.connect(Service::Pop3);
    client.expect("+OK").await;
    client.send(format!("USER {ALICE}\r\nPASS {PASSWORD}\r\nSTAT\r\nRETR 2\r\nQUIT\r\n")).await;
    for _ in 0..4 {
        client.expect("+OK").await;
    }
    assert_eq!(client.lines().await.len(), 3);
    client.expect("+OK").await;
    client.closed().await;
}

#[tokio::test]
async fn pop3_login_by_user_or_by_sasl() {
    let world = world();
    let mut client = world.connect(Service::Pop3);
    client.expect("+OK").await;
    client.ask("STAT", "-ERR").await;
    client.ask("PASS x", "-ERR").await;
    client.ask("USER x", "+OK").await;
    client.ask("PASS wrong", "-ERR [AUTH]").await;
    client.ask(&format!("PASS {PASSWORD}"), "-ERR").await;
    client.ask("AUTH", "+OK").await;
    assert_eq!(client.lines().await, ["PLAIN", "LOGIN"]);
    client.ask("AUTH CRAM-MD5", "-ERR").await;
    client.ask("AUTH PLAIN", "+ ").await;
    client.ask("*", "-ERR").await;
    client.ask("AUTH PLAIN", "+ ").await;
    client.ask("AGFsaWNlQGV4YW1wbGUub3JnAGEgc2VjcmV0", "+OK 2 messages").await;
    client.ask("USER x", "-ERR").await;
    client.ask("STAT", "+OK 2 66").await;
}

#[tokio::test]
async fn pop3_five_wrong_passwords_end_the_session() {
    let world = world();
    let mut client = world.connect(Service::Pop3);
    client.expect("+OK").await;
    for _ in 0..5 {
        client.ask(&format!("USER {ALICE}"), "+OK").await;
        client.ask("PASS wrong", "-ERR [AUTH]").await;
    }
    client.closed().await;
}

#[tokio::test]
async fn pop3_no_password_crosses_in_the_clear() {
    let world = World::new();
    let mut client = world.connect(Service::Pop3);
    client.expect("+OK").await;
    client.ask("CAPA", "+OK").await;
    let offered = client.lines().await;
    assert!(offered.iter().any(|line| line == "UIDL"));
    assert!(
        !offered.iter().any(|line| line == "USER" || line.starts_with("SASL") || line == "STLS"),
        "{offered:?}"
    );
    client.ask(&format!("USER {ALICE}"), "-ERR").await;
    client.ask("AUTH PLAIN", "-ERR").await;
    client.ask("STLS", "-ERR").await;
}

#[tokio::test]
async fn pop3_shutdown_ends_the_session_without_removing_anything() {
    let world = world();
    let mut client = logged_in(&world).await;
    client.ask("DELE 1", "+OK").await;
    world.shutdown.send(true).unwrap();
    client.expect("-ERR [SYS/TEMP]").await;
    client.closed().await;
    assert_eq!(world.store.inbox(ALICE).len(), 2);
}

#[tokio::test]
async fn pop3_a_silent_client_and_one_too_many_are_sent_away() {
    let mut client =
        World::with(|limits| limits.idle_before_login = Duration::from_millis(100)).connect(Service::Pop3);
    client.expect("+OK").await;
    client.expect("-ERR").await;
    client.closed().await;
    let mut client = World::new().start(Service::Pop3, true);
    client.expect("-ERR [SYS/TEMP]").await;
    client.closed().await;
}

#[tokio::test]
async fn pop3_stls_starts_tls_and_drops_what_was_injected() {
    let world = World::new().with_tls();
    let mut client = world.connect(Service::Pop3);
    client.expect("+OK").await;
    client.ask("CAPA", "+OK").await;
    assert!(client.lines().await.contains(&"STLS".to_owned()));
    client.send("STLS\r\nCAPA\r\nQUIT\r\n").await;
    client.expect("+OK").await;
    let mut client = client.start_tls().await;
    client.ask("CAPA", "+OK").await;
    let offered = client.lines().await;
    assert!(offered.contains(&"USER".to_owned()) && !offered.contains(&"STLS".to_owned()), "{offered:?}");
    client.ask("STLS", "-ERR").await;
    client.ask(&format!("USER {ALICE}"), "+OK").await;
    client.ask(&format!("PASS {PASSWORD}"), "+OK 0 messages").await;
    client.ask("QUIT", "+OK").await;
    client.closed().await;
}
