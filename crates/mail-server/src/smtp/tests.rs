//! Dialogues.

use std::time::Duration;

use crate::server::Service;
use crate::store::StoreError;
use crate::testing::{PASSWORD, Script, World};

const MESSAGE: &str = "Subject: hello\r\n\r\nGrüße\r\n.. two dots\r\n.\r\n";
const STORED: &str = "Subject: hello\r\n\r\nGrüße\r\n. two dots\r\n";

async fn greeted(world: &World, service: Service) -> Script {
    let mut client = world.connect(service);
    client.expect("220 mx.example.org").await;
    let hello = if service == Service::Lmtp { "LHLO" } else { "EHLO" };
    client.ask(&format!("{hello} client.example.com"), "250").await;
    client
}

async fn envelope(client: &mut Script, recipients: &[&str]) {
    client.ask("MAIL FROM:<carol@example.com>", "250 2.1.0").await;
    for recipient in recipients {
        client.ask(&format!("RCPT TO:<{recipient}>"), "250 2.1.5").await;
    }
}

async fn at_data(world: &World) -> Script {
    let mut client = greeted(world, Service::Smtp).await;
    envelope(&mut client, &["alice@example.org"]).await;
    client.ask("DATA", "354").await;
    client
}

fn without_trace(message: &[u8]) -> String {
    let text = String::from_utf8(message.to_vec()).unwrap();
    let at = text.find("\r\nReceived: ").unwrap() + 2;
    let body = text[at..].split("\r\n").skip_while(|l| l.starts_with("Received:") || l.starts_with('\t'));
    body.collect::<Vec<_>>().join("\r\n")
}

#[tokio::test]
async fn smtp_delivers_a_message_as_it_was_sent_behind_its_trace_header() {
    let world = World::new();
    let mut client = at_data(&world).await;
    client.ask(MESSAGE.strip_suffix("\r\n").unwrap(), "250 2.0.0").await;
    client.ask("QUIT", "221 2.0.0").await;
    client.closed().await;
    let inbox = world.store.inbox("alice@example.org");
    let text = std::str::from_utf8(&inbox[0]).unwrap();
    let start = "Return-Path: <carol@example.com>\r\nDelivered-To: alice@example.org\r\n\
        Received: from client.example.com ([127.0.0.1])\r\n\tby mx.example.org with ESMTP id ";
    assert!(text.starts_with(start), "{text}");
    assert!(text.ends_with(&format!(" +0000\r\n{STORED}")), "{text}");
    assert_eq!(without_trace(&inbox[0]), STORED);
}

#[tokio::test]
async fn smtp_ehlo_lists_what_is_offered() {
    let world = World::with(|limits| limits.message_bytes = 12_345);
    let mut client = world.connect(Service::Smtp);
    client.expect("220").await;
    let lines = client.ask("EHLO [127.0.0.1]", "250 mx.example.org").await;
    let expected = ["PIPELINING", "SIZE 12345", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"];
    let offered: Vec<&str> = lines[1..].iter().map(|line| &line[4..]).collect();
    assert_eq!(offered, expected, "neither STARTTLS without a certificate nor AUTH");
    client.ask("HELO x", "250 mx.example.org").await;
}

#[tokio::test]
async fn smtp_takes_a_pipelined_transaction_in_one_packet() {
    let world = World::new();
    let mut client = world.connect(Service::Smtp);
    client.expect("220").await;
    let commands =
        "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<BOB@EXAMPLE.ORG>\r\nDATA\r\n";
    client.send(format!("{commands}{MESSAGE}QUIT\r\n")).await;
    for start in ["250", "250 2.1.0", "250 2.1.5", "250 2.1.5", "354", "250 2.0.0", "221"] {
        client.expect(start).await;
    }
    client.closed().await;
    for user in ["alice@example.org", "bob@example.org"] {
        let inbox = world.store.inbox(user);
        assert_eq!(inbox.len(), 1);
        assert!(inbox[0].starts_with(b"Return-Path: <>\r\nReceived: "), "nobody learns of another recipient");
        assert_eq!(without_trace(&inbox[0]), STORED);
    }
}

#[tokio::test]
async fn smtp_refuses_unknown_users_and_relaying_at_rcpt() {
    let world = World::new();
    let mut client = greeted(&world, Service::Smtp).await;
    client.ask("MAIL FROM:<a@example.org>", "250").await;
    client.ask("RCPT TO:<nobody@example.org>", "550 5.1.1").await;
    client.ask("RCPT TO:<alice@elsewhere.example>", "550 5.7.1").await;
    client.ask("RCPT TO:<alice@[127.0.0.1]>", "550 5.7.1").await;
    client.ask("RCPT TO:<alice%elsewhere.example@example.org>", "550 5.1.1").await;
    client.ask("RCPT TO:<later@example.org>", "451 4.3.0").await;
    client.ask("RCPT TO:<grün@example.org>", "553 5.6.7").await;
    client.ask("RCPT TO:<postmaster>", "250").await;
    client.ask("DATA", "354").await;
}

#[tokio::test]
async fn smtp_commands_out_of_order_are_refused() {
    let world = World::new();
    let mut client = world.connect(Service::Smtp);
    client.expect("220").await;
    client.ask("MAIL FROM:<a@b.c>", "503 5.5.1").await;
    client.ask("EHLO c", "250").await;
    client.ask("RCPT TO:<alice@example.org>", "503 5.5.1").await;
    client.ask("DATA", "503 5.5.1").await;
    client.ask("MAIL FROM:<a@b.c>", "250").await;
    client.ask("MAIL FROM:<a@b.c>", "503 5.5.1").await;
    client.ask("DATA", "503 5.5.1").await;
    client.ask("RSET", "250").await;
    client.ask("RCPT TO:<alice@example.org>", "503 5.5.1").await;
    client.ask("LHLO c", "500 5.5.1").await;
    client.ask("FOO", "500 5.5.1").await;
    client.ask("STARTTLS", "502 5.5.1").await;
    client.ask("AUTH PLAIN", "502 5.5.1").await;
    client.ask("VRFY alice", "252").await;
    client.ask("NOOP", "250").await;
}

#[tokio::test]
async fn smtp_parameters_that_were_not_offered_are_refused() {
    let world = World::new();
    let mut client = greeted(&world, Service::Smtp).await;
    for param in
        ["X-FOO=1", "RET=FULL", "ENVID=x", "REQUIRETLS", "MT-PRIORITY=1", "BODY=BINARYMIME", "AUTH=a@b.c"]
    {
        client.ask(&format!("MAIL FROM:<a@b.c> {param}"), "555 5.5.4").await;
    }
    client.ask("MAIL FROM:<a@b.c> BODY=8BITMIME SMTPUTF8 AUTH=<>", "250").await;
    client.ask("RCPT TO:<alice@example.org> NOTIFY=NEVER", "555 5.5.4").await;
}

#[tokio::test]
async fn smtp_250_comes_only_after_the_store_has_the_message() {
    let world = World::new();
    world.store.gate.forget_permits(1000);
    let mut client = at_data(&world).await;
    client.send(MESSAGE).await;
    let early = tokio::time::timeout(Duration::from_millis(100), client.line()).await;
    assert!(early.is_err(), "answered {early:?} before the store did");
    world.store.gate.add_permits(1);
    client.expect("250 2.0.0").await;
    assert_eq!(world.store.inbox("alice@example.org").len(), 1);
}

#[tokio::test]
async fn smtp_a_failing_store_is_answered_by_its_kind_and_the_session_goes_on() {
    let world = World::new();
    let mut client = greeted(&world, Service::Smtp).await;
    for (failure, answer) in [
        (StoreError::Full, "452 4.3.1"),
        (StoreError::Unavailable("no quorum".into()), "451 4.3.0"),
        (StoreError::Internal("x".into()), "451 4.3.0"),
        (StoreError::NoUser("alice@example.org".into()), "451 4.2.1"),
        (StoreError::Refused("x".into()), "554 5.3.0"),
    ] {
        world.store.fail(Some(failure));
        envelope(&mut client, &["alice@example.org"]).await;
        client.ask("DATA", "354").await;
        client.send(MESSAGE).await;
        client.expect(answer).await;
    }
    assert!(world.store.inbox("alice@example.org").is_empty());
    world.store.fail(None);
    envelope(&mut client, &["alice@example.org"]).await;
    client.ask("DATA", "354").await;
    client.send(MESSAGE).await;
    client.expect("250").await;
}

#[tokio::test]
async fn smtp_a_message_over_the_limit_is_refused_early_and_late() {
    let world = World::with(|limits| limits.message_bytes = 1000);
    let mut client = greeted(&world, Service::Smtp).await;
    client.ask("MAIL FROM:<a@b.c> SIZE=1001", "552 5.3.4").await;
    client.ask("MAIL FROM:<a@b.c> SIZE=10", "250").await;
    client.ask("RCPT TO:<alice@example.org>", "250").await;
    client.ask("DATA", "354").await;
    client.send(format!("{}\r\n.\r\n", "x".repeat(200_000))).await;
    client.expect("552 5.3.4").await;
    envelope(&mut client, &["alice@example.org"]).await;
    client.ask("DATA", "354").await;
    client.send(format!("{}\r\n.\r\n", "x".repeat(998))).await;
    client.expect("250").await;
    assert_eq!(world.store.inbox("alice@example.org").len(), 1);
}

#[tokio::test]
async fn smtp_without_memory_a_message_is_deferred_and_the_next_one_taken() {
    let world = World::with(|limits| limits.memory_bytes = 100_000);
    let mut client = at_data(&world).await;
    client.send(format!("{}\r\n.\r\n", "x".repeat(300_000))).await;
    client.expect("452 4.3.1").await;
    envelope(&mut client, &["alice@example.org"]).await;
    client.ask("DATA", "354").await;
    client.send(MESSAGE).await;
    client.expect("250").await;
}

#[tokio::test]
async fn smtp_long_lines_and_8_bit_pass_unchanged() {
    let world = World::new();
    let mut client = at_data(&world).await;
    let body = [b"X: y\r\n\r\n".as_slice(), &[0xff; 100_000], b"\r\n"].concat();
    client.send(&body).await;
    client.send(".\r\n").await;
    client.expect("250").await;
    assert!(world.store.inbox("alice@example.org")[0].ends_with(&body));
}

#[tokio::test]
async fn smtp_smuggled_commands_are_message_text_and_the_message_is_refused() {
    let world = World::new();
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r"] {
        let mut client = at_data(&world).await;
        client
            .send(format!(
                "x{end}MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\ny\r\n.\r\n"
            ))
            .await;
        client.expect("554 5.6.0").await;
        client.ask("NOOP", "250").await;
    }
    assert!(
        world.store.inbox("alice@example.org").is_empty() && world.store.inbox("bob@example.org").is_empty()
    );
}

#[tokio::test]
async fn smtp_bdat_chunks_make_one_message() {
    let world = World::new();
    let mut client = greeted(&world, Service::Smtp).await;
    envelope(&mut client, &["alice@example.org"]).await;
    client.send("BDAT 8\r\nA: b\r\n\r\n").await;
    client.expect("250").await;
    client.ask("DATA", "503").await;
    client.ask("RCPT TO:<bob@example.org>", "503").await;
    client.send("BDAT 7\r\n.\r\nQUIT").await;
    client.send("BDAT 2 LAST\r\n\r\nNOOP\r\n").await;
    for start in ["250", "250 2.0.0 delivered", "250"] {
        client.expect(start).await;
    }
    assert_eq!(without_trace(&world.store.inbox("alice@example.org")[0]), "A: b\r\n\r\n.\r\nQUIT\r\n");
}

#[tokio::test]
async fn smtp_unwanted_bdat_chunks_are_read_and_refused() {
    let world = World::with(|limits| limits.message_bytes = 10);
    let mut client = greeted(&world, Service::Smtp).await;
    client.send("BDAT 6\r\nQUIT\r\nNOOP\r\n").await;
    client.expect("503").await;
    client.expect("250").await;
    envelope(&mut client, &["alice@example.org"]).await;
    client.send("BDAT 12\r\nQUIT\r\nQUIT\r\nBDAT 0 LAST\r\n").await;
    client.expect("552 5.3.4").await;
    client.expect("503").await;
    assert!(world.store.inbox("alice@example.org").is_empty());
}

#[tokio::test]
async fn lmtp_answers_once_for_each_recipient() {
    let world = World::new();
    let mut client = greeted(&world, Service::Lmtp).await;
    client.ask("EHLO x", "500").await;
    envelope(&mut client, &["alice@example.org", "bob@example.org", "ALICE@example.org"]).await;
    client.ask("RCPT TO:<nobody@example.org>", "550").await;
    client.ask("DATA", "354").await;
    client.send(format!("{MESSAGE}NOOP\r\n")).await;
    for _ in 0..3 {
        client.expect("250 2.0.0 delivered").await;
    }
    client.expect("250 2.0.0 fine").await;
    assert_eq!(world.store.inbox("alice@example.org").len(), 1, "one user, one copy");
    assert_eq!(world.store.inbox("bob@example.org").len(), 1);
    world.store.fail(Some(StoreError::Full));
    envelope(&mut client, &["alice@example.org", "bob@example.org"]).await;
    client.ask("DATA", "354").await;
    client.send(MESSAGE).await;
    client.expect("452").await;
    client.expect("452").await;
    client.ask("DATA", "503").await;
}

#[tokio::test]
async fn smtp_limits_recipients_errors_and_commands() {
    let world = World::with(|limits| (limits.recipients, limits.errors, limits.commands) = (2, 5, 100));
    let mut client = greeted(&world, Service::Smtp).await;
    envelope(&mut client, &["alice@example.org", "bob@example.org"]).await;
    client.ask("RCPT TO:<alice@example.org>", "452 4.5.3").await;
    for _ in 0..5 {
        client.ask("FOO", "500").await;
    }
    client.expect("421 4.7.0").await;
    client.closed().await;
    let mut client = greeted(&world, Service::Smtp).await;
    for _ in 0..99 {
        client.ask("NOOP", "250").await;
    }
    client.ask("NOOP", "421 4.7.0").await;
    client.closed().await;
}

#[tokio::test]
async fn smtp_a_silent_or_dripping_client_is_sent_away() {
    let world = World::with(|limits| limits.idle_smtp = Duration::from_millis(200));
    let mut client = world.connect(Service::Smtp);
    client.expect("220").await;
    client.expect("421 4.4.2").await;
    client.closed().await;
    let mut client = world.connect(Service::Smtp);
    client.expect("220").await;
    for _ in 0..1000 {
        use tokio::io::AsyncWriteExt as _;
        if client.stream.write_all(b"x").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.expect("421 4.4.2").await;
}

#[tokio::test]
async fn smtp_shutdown_waits_for_the_message_and_no_longer() {
    let world = World::new();
    let mut idle = greeted(&world, Service::Smtp).await;
    let mut busy = at_data(&world).await;
    busy.send("Subject: half\r\n").await;
    // The session has read the first half before the shutdown begins.
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.shutdown.send(true).unwrap();
    idle.expect("421 4.3.2").await;
    idle.closed().await;
    busy.send("\r\nother half\r\n.\r\n").await;
    busy.expect("250 2.0.0").await;
    busy.expect("421 4.3.2").await;
    busy.closed().await;
    assert_eq!(world.store.inbox("alice@example.org").len(), 1);
}

#[tokio::test]
async fn smtp_shutdown_waits_for_the_transaction() {
    let world = World::new();
    let mut busy = greeted(&world, Service::Smtp).await;
    busy.ask("MAIL FROM:<a@b.c>", "250").await;
    world.shutdown.send(true).unwrap();
    busy.ask("RCPT TO:<alice@example.org>", "250").await;
    busy.ask("DATA", "354").await;
    busy.send("\r\nx\r\n.\r\n").await;
    busy.expect("250 2.0.0").await;
    busy.expect("421 4.3.2").await;
    busy.closed().await;
}

#[tokio::test]
async fn smtp_one_connection_too_many_is_refused_politely() {
    let mut client = World::new().start(Service::Smtp, true);
    client.expect("421 4.3.2").await;
    client.closed().await;
}

#[tokio::test]
async fn smtp_a_client_that_vanishes_in_a_message_delivers_nothing() {
    let world = World::new();
    let mut client = at_data(&world).await;
    client.send("Subject: half\r\n\r\nhalf").await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
    client.closed().await;
    assert!(world.store.inbox("alice@example.org").is_empty());
}

#[tokio::test]
async fn smtp_a_mail_loop_is_broken() {
    let world = World::new();
    let mut client = at_data(&world).await;
    client.send("Received: again\r\n".repeat(101)).await;
    client.send(MESSAGE).await;
    client.expect("554 5.4.6").await;
}

fn plain(password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("\0alice@example.org\0{password}"))
}

#[tokio::test]
async fn submission_takes_mail_only_after_login() {
    let mut world = World::new();
    let mut client = greeted(&world, Service::Submission).await;
    client.ask("AUTH PLAIN", "538 5.7.11").await;
    world.context.plaintext_login = true;
    let mut client = world.connect(Service::Submission);
    client.expect("220").await;
    let lines = client.ask("EHLO c", "250").await;
    assert_eq!(lines.last().unwrap(), "250 AUTH PLAIN LOGIN");
    client.ask("MAIL FROM:<alice@example.org>", "530 5.7.0").await;
    client.ask("AUTH CRAM-MD5", "504 5.5.4").await;
    client.ask(&format!("AUTH PLAIN {}", plain("wrong")), "535 5.7.8").await;
    client.ask("AUTH PLAIN", "334").await;
    client.ask("*", "501").await;
    client.ask("AUTH PLAIN", "334").await;
    client.ask(&plain(PASSWORD), "235 2.7.0").await;
    client.ask("AUTH PLAIN", "503").await;
    client.ask("MAIL FROM:<alice@example.org>", "250").await;
    client.ask("RCPT TO:<bob@elsewhere.example>", "550 5.7.1").await;
    client.ask("RCPT TO:<bob@example.org>", "250").await;
    client.ask("DATA", "354").await;
    client.send(MESSAGE).await;
    client.expect("250").await;
    let inbox = world.store.inbox("bob@example.org");
    assert!(String::from_utf8_lossy(&inbox[0]).contains(" with ESMTPA id "));
}

#[tokio::test]
async fn submission_takes_auth_login_and_ends_after_five_wrong_passwords() {
    let mut world = World::new();
    world.context.plaintext_login = true;
    let mut client = greeted(&world, Service::Submission).await;
    client.ask("AUTH LOGIN", "334 VXNlcm5hbWU6").await;
    client.ask("YWxpY2VAZXhhbXBsZS5vcmc=", "334 UGFzc3dvcmQ6").await;
    client.ask("YSBzZWNyZXQ=", "235").await;
    let mut client = greeted(&world, Service::Submission).await;
    for _ in 0..5 {
        client.ask(&format!("AUTH PLAIN {}", plain("wrong")), "535").await;
    }
    client.expect("421 4.7.0").await;
    client.closed().await;
}

#[tokio::test]
async fn smtp_starttls_starts_tls_forgets_all_and_drops_what_was_injected() {
    let world = World::new().with_tls();
    let mut client = world.connect(Service::Submission);
    client.expect("220").await;
    let lines = client.ask("EHLO c", "250").await;
    assert_eq!(lines.last().unwrap(), "250 STARTTLS");
    client.send("STARTTLS\r\nEHLO evil\r\nQUIT\r\n").await;
    client.expect("220").await;
    let mut client = client.start_tls().await;
    client.ask("MAIL FROM:<alice@example.org>", "503 5.5.1 greet me first").await;
    let lines = client.ask("EHLO c", "250").await;
    assert_eq!(lines.last().unwrap(), "250 AUTH PLAIN LOGIN");
    client.ask("STARTTLS", "503 5.5.1").await;
    client.ask(&format!("AUTH PLAIN {}", plain(PASSWORD)), "235").await;
    envelope(&mut client, &["bob@example.org"]).await;
    client.ask("DATA", "354").await;
    client.send(MESSAGE).await;
    client.expect("250").await;
    let inbox = world.store.inbox("bob@example.org");
    assert!(String::from_utf8_lossy(&inbox[0]).contains(" with ESMTPSA id "));
    client.ask("QUIT", "221").await;
    client.closed().await;
}

#[tokio::test]
async fn smtp_a_session_that_closed_reads_on_so_that_no_reset_eats_its_last_words() {
    use tokio::io::AsyncWriteExt as _;
    let world = World::with(|limits| limits.errors = 1);
    let mut client = world.connect(Service::Smtp);
    client.expect("220").await;
    client.ask("FOO", "500").await;
    client.expect("421 4.7.0").await;
    assert_eq!(client.line().await, None, "our side is closed");
    client.stream.write_all(b"MAIL FROM:<a@b.c>\r\n").await.expect("somebody still reads");
    client.closed().await;
}
