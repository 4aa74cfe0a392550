//! What serde writes, it reads back.

use posthaste_smtp_proto::{Command, Ehlo, Mailbox, Reply};

#[test]
fn commands_survive_serde() {
    for line in [
        "EHLO mx.example.org",
        "MAIL FROM:<\"a b\"@example.org> SIZE=7 BODY=8BITMIME RET=HDRS ENVID=x BY=5;R HOLDUNTIL=2026-12-24T18:00:00Z X=y",
        "RCPT TO:<b@[IPv6:2001:db8::1]> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@example.org",
        "RCPT TO:<postmaster>",
        "BDAT 5 LAST",
        "AUTH PLAIN AGEAYg==",
        "XCLIENT NAME=a ADDR=192.0.2.1 LOGIN=[UNAVAILABLE]",
        "QUIT",
    ] {
        let command = Command::parse(line.as_bytes()).unwrap();
        let json = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command<'_>>(&json).unwrap(), command, "{json}");
    }
}

#[test]
fn mailboxes_replies_and_ehlo_survive_serde() {
    let mailbox: Mailbox<'_> = "\"a b\"@example.org".parse().unwrap();
    assert_eq!(serde_json::to_string(&mailbox).unwrap(), r#""\"a b\"@example.org""#);
    let reply = Reply::new(550, (1, 1), "no\nsuch user");
    let json = serde_json::to_string(&reply).unwrap();
    assert_eq!(serde_json::from_str::<Reply>(&json).unwrap(), reply);
    let ehlo = Ehlo::parse(&Reply::plain(250, "mx\nSIZE 7\nLIMITS RCPTMAX=3\nAUTH PLAIN\nX y")).unwrap();
    let json = serde_json::to_string(&ehlo).unwrap();
    assert_eq!(serde_json::from_str::<Ehlo>(&json).unwrap(), ehlo);
    assert!(
        serde_json::from_str::<Mailbox<'_>>(r#""a@b\r\nQUIT""#).is_err(),
        "text is checked as it is read"
    );
}
