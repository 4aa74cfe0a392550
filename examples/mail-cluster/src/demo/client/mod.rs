//! Small mail clients: what the demo and the bench see of the cluster, they see through these.
//!
//! They share no line of code with the servers, so that a fault in a parser of ours cannot hide on
//! both sides of a connection. Every wait has a limit; every failure says during which command it
//! happened, because the demo must tell "refused" from "the answer was lost".

mod imap;
mod pop3;
mod smtp;
mod wire;

pub use imap::{Fetched, ImapClient, Selected, UidSet};
pub use pop3::Pop3Client;
pub use smtp::{Delivery, SmtpClient};
pub use wire::{Security, Target, trust};

use std::io;
use std::time::Duration;

/// How a command of a client failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection came up; no command was sent.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// The address and port.
        target: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server said good-bye (421, BYE) between two commands, or in place of answering one it
    /// never began. Connect again and repeat the command.
    #[error("the server closed between commands, before {command}: {farewell}")]
    Closed {
        /// The command that found the connection closing.
        command: String,
        /// What the server said.
        farewell: String,
    },
    /// The connection broke while a command waited for its answer.
    #[error("the connection broke during {command}: {source}")]
    Lost {
        /// The command without an answer.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The server answered, but not with yes.
    #[error("{command} was refused: {reply}")]
    Refused {
        /// The command.
        command: String,
        /// The answer, its first line.
        reply: String,
    },
    /// The answer makes no sense.
    #[error("{command} was answered by nonsense: {what}")]
    Protocol {
        /// The command.
        command: String,
        /// What was wrong with the answer.
        what: String,
    },
}

impl ClientError {
    /// Whether this counts as a failed command: an error reply, or a connection that broke in the
    /// middle of one. A connection that cannot be made, or that ended between two commands, is none.
    pub fn is_failed_command(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Refused { .. } | Self::Protocol { .. })
    }
}

/// How long a client waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection and its TLS handshake. 1 s suits loopback: a dead address refuses at once.
    pub connect: Duration,
    /// For the answer to one command.
    pub command: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(1), command: Duration::from_secs(30) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    /// A server that answers line for line: each item is what it waits for (the start of a line)
    /// and what it then sends. It closes at the end.
    async fn scripted(greeting: &'static str, script: &'static [(&'static str, &'static str)]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(greeting.as_bytes()).await.expect("open");
            for (awaited, answer) in script {
                while let Some(line) = lines.next_line().await.expect("readable") {
                    if line.contains(awaited) {
                        break;
                    }
                }
                write.write_all(answer.as_bytes()).await.expect("open");
            }
        });
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Target { address, security: Security::Plain, trust: Arc::new(trust), patience: Patience::default() }
    }

    const ENVELOPE: [(&str, &str); 4] =
        [("EHLO", "250 x\r\n"), ("MAIL", "250 ok\r\n"), ("RCPT", "250 ok\r\n"), ("DATA", "354 go\r\n")];

    async fn deliver(target: &Target) -> Delivery {
        let mut client = SmtpClient::connect(target).await.expect("a session");
        client.deliver("a@b", &["c@d"], b"\r\nx\r\n").await
    }

    #[tokio::test]
    async fn a_delivery_is_accepted_by_its_250_alone() {
        static SCRIPT: &[(&str, &str)] =
            &[ENVELOPE[0], ENVELOPE[1], ENVELOPE[2], ENVELOPE[3], (".", "250-2.0.0 kept\r\n250 ok\r\n")];
        let target = scripted("220 hi\r\n", SCRIPT).await;
        assert!(matches!(deliver(&target).await, Delivery::Accepted));
    }

    #[tokio::test]
    async fn a_connection_that_ends_after_the_last_dot_is_a_lost_reply() {
        static SCRIPT: &[(&str, &str)] = &[ENVELOPE[0], ENVELOPE[1], ENVELOPE[2], ENVELOPE[3], (".", "")];
        let target = scripted("220 hi\r\n", SCRIPT).await;
        assert!(matches!(deliver(&target).await, Delivery::ReplyLost(ClientError::Lost { .. })));
    }

    #[tokio::test]
    async fn a_421_between_transactions_is_a_farewell_and_in_one_it_is_a_failure() {
        static AT_MAIL: &[(&str, &str)] = &[ENVELOPE[0], ("MAIL", "421 moving\r\n")];
        let target = scripted("220 hi\r\n", AT_MAIL).await;
        assert!(matches!(deliver(&target).await, Delivery::NotSent(error) if !error.is_failed_command()));
        static AT_RCPT: &[(&str, &str)] = &[ENVELOPE[0], ENVELOPE[1], ("RCPT", "421 moving\r\n")];
        let target = scripted("220 hi\r\n", AT_RCPT).await;
        assert!(matches!(deliver(&target).await, Delivery::Refused(error) if error.is_failed_command()));
    }

    #[tokio::test]
    async fn bye_before_a_command_is_a_farewell_and_an_end_without_it_is_a_failure() {
        static BYE: &[(&str, &str)] = &[("LOGIN", "a1 OK\r\n"), ("NOOP", "* BYE moving\r\n")];
        let target = scripted("* OK hi\r\n", BYE).await;
        let mut client = ImapClient::login(&target, "u", "p").await.expect("logged in");
        assert!(
            matches!(client.noop().await, Err(ClientError::Closed { farewell, .. }) if farewell.contains("moving"))
        );
        static IDLE: &[(&str, &str)] = &[("LOGIN", "a1 OK\r\n"), ("IDLE", "* BYE moving\r\n")];
        let target = scripted("* OK hi\r\n", IDLE).await;
        let mut client = ImapClient::login(&target, "u", "p").await.expect("logged in");
        let idle = client.idle(std::time::Duration::from_millis(1)).await;
        assert!(matches!(idle, Err(ClientError::Closed { farewell, .. }) if farewell.contains("moving")));
        static END: &[(&str, &str)] = &[("LOGIN", "a1 OK\r\n"), ("NOOP", "")];
        let target = scripted("* OK hi\r\n", END).await;
        let mut client = ImapClient::login(&target, "u", "p").await.expect("logged in");
        assert!(matches!(client.noop().await, Err(ClientError::Lost { .. })));
    }

    #[tokio::test]
    async fn a_mailbox_is_read_with_literals_and_a_pop3_message_without_its_stuffing() {
        static IMAP: &[(&str, &str)] = &[
            ("LOGIN", "a1 OK\r\n"),
            ("SELECT", "* 1 EXISTS\r\n* OK [UIDVALIDITY 5] ok\r\n* OK [UIDNEXT 8] ok\r\na2 OK\r\n"),
            ("FETCH", "* 1 FETCH (UID 7 FLAGS () BODY[] {7}\r\na\r\n)\r\nx)\r\na3 OK\r\n"),
        ];
        let target = scripted("* OK hi\r\n", IMAP).await;
        let mut client = ImapClient::login(&target, "u", "p").await.expect("logged in");
        let selected = client.select("INBOX").await.expect("selected");
        assert_eq!(selected, Selected { exists: 1, uid_validity: 5, uid_next: 8 });
        let fetched = client.fetch(UidSet::All).await.expect("fetched");
        assert_eq!(fetched, [Fetched { uid: 7, flags: vec![], body: b"a\r\n)\r\nx".to_vec() }]);
        static POP3: &[(&str, &str)] = &[
            ("USER", "+OK\r\n"),
            ("PASS", "+OK\r\n"),
            ("STAT", "+OK 1 9\r\n"),
            ("RETR 1", "+OK\r\n..\r\na\r\n.\r\n"),
        ];
        let target = scripted("+OK hi\r\n", POP3).await;
        let mut client = Pop3Client::login(&target, "u", "p").await.expect("logged in");
        assert_eq!(client.retrieve_all().await.expect("read"), [b".\r\na\r\n".to_vec()]);
    }
}
