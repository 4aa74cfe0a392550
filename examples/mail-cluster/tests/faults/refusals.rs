//! Mail that is refused, by real sockets.

use posthaste_mail_cluster::demo::cluster::{A, B};

use crate::house::{Dialogue, House, ON_FIRST, ON_SECOND, block_on};

/// What the test sets as the limit.
const LIMIT: usize = 64 << 10;

/// A message of about so many bytes.
fn message(bytes: usize) -> String {
    let line = format!("{}\r\n", "x".repeat(78));
    format!("Subject: long\r\n\r\n{}.", line.repeat(bytes / line.len()))
}

async fn envelope(dialogue: &mut Dialogue, to: &str) {
    assert!(dialogue.ask("MAIL FROM:<s@client.example>").await.starts_with("250 "));
    assert!(dialogue.ask(&format!("RCPT TO:<{to}>")).await.starts_with("250 "));
    assert!(dialogue.ask("DATA").await.starts_with("354 "));
}

async fn exists(house: &House, via: usize, user: usize) -> u32 {
    house.login(via, user).await.select("INBOX").await.expect("an INBOX").exists
}

#[test]
fn a_message_over_the_size_limit_an_unknown_user_and_relaying_are_refused() {
    block_on(async {
        let mut house = House::lay(32);
        for node in [A, B] {
            house.edit_config(node, "message_size = \"50 MiB\"", "message_size = \"64 KiB\"");
        }
        house.begin().await;
        for via in [A, B] {
            too_large(&house, via, ON_FIRST).await;
            too_large(&house, via, ON_SECOND).await;
            recipients(&house, via).await;
        }
    });
}

/// 552, announced or not, and the session goes on.
async fn too_large(house: &House, via: usize, user: usize) {
    let address = &house.person(user).address;
    let before = exists(house, via, user).await;
    let mut dialogue = Dialogue::open(house, via).await;
    let announced = dialogue.ask(&format!("MAIL FROM:<s@client.example> SIZE={}", LIMIT + 1)).await;
    assert!(announced.starts_with("552 5.3.4 "), "{announced}");
    envelope(&mut dialogue, address).await;
    let sent = dialogue.ask(&message(LIMIT + 4_000)).await;
    assert!(sent.starts_with("552 5.3.4 "), "{sent}");
    assert_eq!(exists(house, via, user).await, before, "a refused message was delivered");
    envelope(&mut dialogue, address).await;
    let fits = dialogue.ask(&message(LIMIT - 4_000)).await;
    assert!(fits.starts_with("250 "), "{fits}");
    assert_eq!(exists(house, via, user).await, before + 1);
}

/// 550 for a user that does not exist and for somebody else's domain; others of the same letter get it.
async fn recipients(house: &House, via: usize) {
    let before = exists(house, via, ON_FIRST).await;
    let mut dialogue = Dialogue::open(house, via).await;
    assert!(dialogue.ask("MAIL FROM:<s@client.example>").await.starts_with("250 "));
    let nobody = dialogue.ask("RCPT TO:<nobody@demo.example>").await;
    assert!(nobody.starts_with("550 5.1.1 "), "{nobody}");
    let elsewhere = dialogue.ask("RCPT TO:<ada@elsewhere.example>").await;
    assert!(elsewhere.starts_with("550 5.7.1 "), "{elsewhere}");
    let nothing = dialogue.ask("DATA").await;
    assert!(nothing.starts_with("503 ") || nothing.starts_with("554 "), "{nothing}");
    let known = dialogue.ask(&format!("RCPT TO:<{}>", house.person(ON_FIRST).address)).await;
    assert!(known.starts_with("250 "), "{known}");
    assert!(dialogue.ask("DATA").await.starts_with("354 "));
    assert!(dialogue.ask(&message(100)).await.starts_with("250 "));
    assert_eq!(exists(house, via, ON_FIRST).await, before + 1);
}
