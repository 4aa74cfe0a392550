//! SMTP, the sender's side (RFC 5321), as much as deliveries need.

use std::io;

use super::wire::{Target, Wire};
use super::{ClientError, Security};

/// What became of one message that was handed to a server.
#[derive(Debug)]
pub enum Delivery {
    /// 250 after the last dot: the server answers for the message, for these recipients.
    Accepted,
    /// Refused before or after the data, for good or for now; the server holds nothing.
    Refused(ClientError),
    /// The connection ended before the last dot was sent: the server cannot hold it.
    NotSent(ClientError),
    /// The last dot was sent and the answer never came: the server may hold it or not.
    ReplyLost(ClientError),
}

/// One SMTP session.
pub struct SmtpClient {
    wire: Wire,
    secured: bool,
}

/// One reply: its code and its last line's text.
struct Reply {
    code: u16,
    text: String,
}

impl SmtpClient {
    /// Connects, greets, and turns to TLS if the target says so.
    pub async fn connect(target: &Target) -> Result<Self, ClientError> {
        let mut client =
            Self { wire: Wire::connect(target).await?, secured: target.security != Security::Plain };
        let refused = |source| ClientError::Connect { target: target.address, source };
        let greeting = client.reply().await.map_err(refused)?;
        if greeting.code == 421 {
            return Err(ClientError::Closed { command: "the greeting".into(), farewell: greeting.text });
        }
        greeting.expect("the greeting", 220)?;
        client.command("EHLO client.example", 250).await?;
        if client.wire.wants_start_tls() {
            client.command("STARTTLS", 220).await?;
            client.wire.secure().await.map_err(|source| lost("the TLS handshake", source))?;
            client.command("EHLO client.example", 250).await?;
        }
        Ok(client)
    }

    /// Hands over one message. All recipients must be accepted, or the message is not sent.
    pub async fn deliver(&mut self, from: &str, to: &[&str], message: &[u8]) -> Delivery {
        if let Err(error) = self.envelope(from, to).await {
            return match error {
                ClientError::Refused { .. } | ClientError::Protocol { .. } => Delivery::Refused(error),
                _ => Delivery::NotSent(error),
            };
        }
        let mut text = dot_stuffed(message);
        text.extend_from_slice(LAST_DOT);
        self.send_to_the_end(&text).await
    }

    /// Hands over everything but the last dot.
    ///
    /// # Errors
    /// The command that failed.
    pub async fn deliver_almost(
        &mut self,
        from: &str,
        to: &[&str],
        message: &[u8],
    ) -> Result<(), ClientError> {
        self.envelope(from, to).await?;
        self.wire.send(&dot_stuffed(message)).await.map_err(|source| lost("the message", source))
    }

    /// Sends the last dot, and does not wait for the answer.
    ///
    /// # Errors
    /// The connection's own.
    pub async fn send_last_dot(&mut self) -> Result<(), ClientError> {
        self.wire.send(LAST_DOT).await.map_err(|source| lost("the last dot", source))
    }

    /// Waits for the answer to the last dot.
    pub async fn answer_to_last_dot(&mut self) -> Delivery {
        match self.reply().await {
            Ok(reply) if reply.code == 250 => Delivery::Accepted,
            Ok(reply) => Delivery::Refused(reply.refusal("the message")),
            Err(source) => Delivery::ReplyLost(lost("the message", source)),
        }
    }

    async fn send_to_the_end(&mut self, text: &[u8]) -> Delivery {
        let Err(source) = self.wire.send(text).await else { return self.answer_to_last_dot().await };
        // The server may have spoken before it closed. In the clear, a failed write means that the
        // last dot was not sent; under TLS it may have been.
        match self.reply().await {
            Ok(reply) if reply.code != 250 => Delivery::Refused(reply.refusal("the message")),
            _ if self.secured => Delivery::ReplyLost(lost("the message", source)),
            _ => Delivery::NotSent(lost("the message", source)),
        }
    }

    async fn envelope(&mut self, from: &str, to: &[&str]) -> Result<(), ClientError> {
        let mail = format!("MAIL FROM:<{from}>");
        let reply = self.exchange(&mail, true).await?;
        if reply.code == 421 {
            return Err(ClientError::Closed { command: mail, farewell: reply.text });
        }
        reply.expect(&mail, 250)?;
        for recipient in to {
            let command = format!("RCPT TO:<{recipient}>");
            if let Err(error) = self.command(&command, 250).await {
                let _ = self.command("RSET", 250).await;
                return Err(error);
            }
        }
        self.command("DATA", 354).await
    }

    /// Gives up the transaction and asks for nothing: NOOP.
    pub async fn noop(&mut self) -> Result<(), ClientError> {
        self.command("NOOP", 250).await
    }

    /// Says good-bye.
    pub async fn quit(mut self) -> Result<(), ClientError> {
        self.command("QUIT", 221).await
    }

    async fn command(&mut self, command: &str, code: u16) -> Result<(), ClientError> {
        self.exchange(command, false).await?.expect(command, code)
    }

    /// Sends one line and reads the reply. At a boundary (between transactions) an end of the
    /// connection is no failed command: nothing had begun.
    async fn exchange(&mut self, command: &str, boundary: bool) -> Result<Reply, ClientError> {
        let gone = |source: io::Error| {
            if boundary {
                ClientError::Closed { command: command.into(), farewell: source.to_string() }
            } else {
                lost(command, source)
            }
        };
        if boundary && self.wire.has_news().await {
            let reply = self.reply().await.map_err(gone)?;
            return Err(ClientError::Closed { command: command.into(), farewell: reply.to_string() });
        }
        // If the server has closed, its last words may still be there to read.
        let sent = self.wire.send(format!("{command}\r\n").as_bytes()).await;
        match (sent, self.reply().await) {
            (_, Ok(reply)) => Ok(reply),
            (Err(source), _) | (_, Err(source)) => Err(gone(source)),
        }
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            let line = String::from_utf8_lossy(&self.wire.line().await?).into_owned();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::other(format!("not a reply: {line:?}")))?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text: line });
            }
        }
    }
}

impl Reply {
    fn expect(self, command: &str, code: u16) -> Result<(), ClientError> {
        if self.code == code { Ok(()) } else { Err(self.refusal(command)) }
    }

    fn refusal(self, command: &str) -> ClientError {
        ClientError::Refused { command: command.into(), reply: self.text }
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn lost(command: &str, source: io::Error) -> ClientError {
    ClientError::Lost { command: command.into(), source }
}

/// What ends a message.
const LAST_DOT: &[u8] = b".\r\n";

/// The message with a dot added before every line that begins with one (RFC 5321 §4.5.2). The
/// message ends with CRLF.
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 64 + 8);
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_at_line_starts_are_doubled() {
        assert_eq!(dot_stuffed(b".\r\na.b\r\n..\r\n"), b"..\r\na.b\r\n...\r\n");
        assert_eq!(dot_stuffed(b""), b"");
    }
}
