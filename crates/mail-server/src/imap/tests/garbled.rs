//! Dialogues with octets changed.

use std::time::Duration;

use super::{HELLO, Mail};
use crate::server::Service;

/// A dialogue of all commands, which the next test garbles.
const ALL_COMMANDS: &str = "a LOGIN alice@example.org \"a secret\"\r\nb SELECT INBOX\r\nc FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE BODY[1.2]<0.9>)\r\n\
    d UID SEARCH OR (TEXT x SINCE 1-Jan-2020) NOT 1:3,* HEADER subject {1+}\r\ns\r\ne STORE 1 +FLAGS (\\Seen $x)\r\nf COPY 1 INBOX\r\n\
    g APPEND INBOX (\\Seen) {5+}\r\nx\r\n\r\n\r\nh IDLE\r\nDONE\r\ni LIST \"\" \"*\"\r\nj UID EXPUNGE 1:*\r\nk STATUS INBOX (MESSAGES)\r\n\
    l RENAME x y\r\nm CREATE &AOk-\r\nn LSUB % *\r\no CLOSE\r\np AUTHENTICATE PLAIN =\r\nq STARTTLS\r\nr LOGOUT\r\n";

#[tokio::test]
async fn garbled_dialogues_end_without_a_panic_and_lose_no_mail() {
    use rand::{Rng, SeedableRng};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mail = Mail::with(|limits| limits.idle_before_login = Duration::from_secs(5));
    mail.deliver(HELLO).await;
    for seed in 0..150_u64 {
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let mut text = ALL_COMMANDS.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..12) {
            // Log in and select first, or what follows is never reached.
            let at = rng.random_range(55..text.len());
            match rng.random_range(0..3) {
                0 => text[at] = *b"\r\n\"(){}*\\ \x00\xff[]0+".get(rng.random_range(0..17)).unwrap_or(&b'x'),
                1 => drop(text.remove(at)),
                _ => text.insert(at, rng.random()),
            }
        }
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let peer = crate::Peer { addr: ([127, 0, 0, 1], 1).into(), local: [127, 0, 0, 1].into(), tls: false };
        let context = mail.world.context.clone();
        let task = tokio::spawn(crate::session(Box::new(server), peer, Service::Imap, context, false));
        client.write_all(&text).await.unwrap();
        client.shutdown().await.unwrap();
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        assert!(task.await.is_ok(), "seed {seed}: {}", text.escape_ascii());
        assert!(told.starts_with(b"* OK"), "seed {seed}");
    }
    let mut client = mail.select().await;
    let lines = client.ok("SEARCH HEADER Message-ID 1@example.org").await;
    assert!(lines[0].starts_with("* SEARCH 1"), "{lines:?}");
}
