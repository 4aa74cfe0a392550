//! POP3, the reader's side (RFC 1939, STLS of RFC 2595).

use std::io;

use super::ClientError;
use super::wire::{Target, Wire};

/// One POP3 session.
pub struct Pop3Client {
    wire: Wire,
}

impl Pop3Client {
    /// Connects and logs in.
    pub async fn login(target: &Target, user: &str, password: &str) -> Result<Self, ClientError> {
        let mut client = Self { wire: Wire::connect(target).await? };
        client.status("the greeting").await?;
        if client.wire.wants_start_tls() {
            client.command("STLS").await?;
            client.wire.secure().await.map_err(|source| lost("the TLS handshake", source))?;
        }
        client.command(&format!("USER {user}")).await?;
        client.secret_command("PASS", password).await?;
        Ok(client)
    }

    /// The unique ids, in order.
    pub async fn uidl(&mut self) -> Result<Vec<String>, ClientError> {
        self.command("UIDL").await?;
        let lines = self.dotted("UIDL").await?;
        let text = String::from_utf8_lossy(&lines).into_owned();
        Ok(text.lines().filter_map(|line| line.split_once(' ')).map(|(_, id)| id.to_owned()).collect())
    }

    /// The message `number`, counted from 1, byte for byte.
    pub async fn retrieve(&mut self, number: usize) -> Result<Vec<u8>, ClientError> {
        let command = format!("RETR {number}");
        self.command(&command).await?;
        self.dotted(&command).await
    }

    /// Every message, in order.
    pub async fn retrieve_all(&mut self) -> Result<Vec<Vec<u8>>, ClientError> {
        let stat = self.command("STAT").await?;
        let count = stat.split(' ').nth(1).and_then(|count| count.parse().ok());
        let count: usize = count.ok_or_else(|| ClientError::Protocol {
            command: "STAT".into(),
            what: format!("no count: {stat:?}"),
        })?;
        let mut messages = Vec::with_capacity(count.min(10_000));
        for number in 1..=count {
            messages.push(self.retrieve(number).await?);
        }
        Ok(messages)
    }

    /// Says good-bye.
    pub async fn quit(mut self) -> Result<(), ClientError> {
        self.command("QUIT").await.map(drop)
    }

    async fn command(&mut self, command: &str) -> Result<String, ClientError> {
        let sent = self.wire.send(format!("{command}\r\n").as_bytes()).await;
        sent.map_err(|source| lost(command, source))?;
        self.status(command).await
    }

    async fn secret_command(&mut self, verb: &str, secret: &str) -> Result<String, ClientError> {
        let sent = self.wire.send(format!("{verb} {secret}\r\n").as_bytes()).await;
        sent.map_err(|source| lost(verb, source))?;
        self.status(verb).await
    }

    async fn status(&mut self, command: &str) -> Result<String, ClientError> {
        let line = self.wire.line().await.map_err(|source| lost(command, source))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with("+OK") {
            Ok(line)
        } else {
            Err(ClientError::Refused { command: command.into(), reply: line })
        }
    }

    /// The lines up to the lone dot, each with its CRLF, doubled dots made single.
    async fn dotted(&mut self, command: &str) -> Result<Vec<u8>, ClientError> {
        let mut out = Vec::new();
        loop {
            let line = self.wire.line().await.map_err(|source| lost(command, source))?;
            if line == b"." {
                return Ok(out);
            }
            out.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn lost(command: &str, source: io::Error) -> ClientError {
    ClientError::Lost { command: command.into(), source }
}
