//! IMAP4rev1, the reader's side (RFC 3501, IDLE of RFC 2177).

use std::fmt;
use std::io;
use std::time::Duration;

use super::ClientError;
use super::wire::{Target, Wire};

/// The largest literal that is believed.
const LITERAL_BYTES_MAX: usize = 256 << 20;

/// One IMAP session.
pub struct ImapClient {
    wire: Wire,
    tag: u32,
    exists: u32,
    farewell: Option<String>,
}

/// What SELECT said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// How many messages the mailbox holds.
    pub exists: u32,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// The UID that the next message gets, at least; 0 if the server did not say.
    pub uid_next: u32,
}

/// One message as FETCH gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its UID.
    pub uid: u32,
    /// Its flags, sorted.
    pub flags: Vec<String>,
    /// What was asked for: the message, or some header lines.
    pub body: Vec<u8>,
}

/// Which messages a UID FETCH asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UidSet {
    /// All of them.
    All,
    /// Those from this UID on.
    From(u32),
    /// This one.
    One(u32),
}

impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("1:*"),
            Self::From(uid) => write!(f, "{uid}:*"),
            Self::One(uid) => write!(f, "{uid}"),
        }
    }
}

impl ImapClient {
    /// Connects, turns to TLS if the target says so, and logs in.
    pub async fn login(target: &Target, user: &str, password: &str) -> Result<Self, ClientError> {
        let mut client = Self { wire: Wire::connect(target).await?, tag: 0, exists: 0, farewell: None };
        client.greeting(target).await?;
        if client.wire.wants_start_tls() {
            client.command("STARTTLS").await?;
            client.wire.secure().await.map_err(|source| lost("the TLS handshake", source))?;
        }
        client.run(&format!("LOGIN \"{user}\" \"{password}\""), "LOGIN").await?;
        Ok(client)
    }

    async fn greeting(&mut self, target: &Target) -> Result<(), ClientError> {
        let greeting = self.wire.line().await;
        let greeting = greeting.map_err(|source| ClientError::Connect { target: target.address, source })?;
        let greeting = String::from_utf8_lossy(&greeting).into_owned();
        let command = || "the greeting".to_owned();
        match greeting.split(' ').nth(1) {
            Some("OK") => Ok(()),
            Some("BYE") => Err(ClientError::Closed { command: command(), farewell: greeting }),
            _ => Err(ClientError::Protocol { command: command(), what: greeting }),
        }
    }

    /// Opens a mailbox.
    pub async fn select(&mut self, mailbox: &str) -> Result<Selected, ClientError> {
        let command = format!("SELECT \"{mailbox}\"");
        let answers = self.command(&command).await?;
        let code = |name: &str| answers.iter().find_map(|answer| answer.code(name));
        let missing = || ClientError::Protocol { command: command.clone(), what: "no UIDVALIDITY".into() };
        Ok(Selected {
            exists: self.exists,
            uid_validity: code("UIDVALIDITY").ok_or_else(missing)?,
            uid_next: code("UIDNEXT").unwrap_or(0),
        })
    }

    /// Fetches whole messages, without setting `\Seen`.
    pub async fn fetch(&mut self, uids: UidSet) -> Result<Vec<Fetched>, ClientError> {
        self.fetch_items(uids, "BODY.PEEK[]").await
    }

    /// Fetches one header field of messages.
    pub async fn fetch_field(&mut self, uids: UidSet, field: &str) -> Result<Vec<Fetched>, ClientError> {
        self.fetch_items(uids, &format!("BODY.PEEK[HEADER.FIELDS ({field})]")).await
    }

    async fn fetch_items(&mut self, uids: UidSet, body: &str) -> Result<Vec<Fetched>, ClientError> {
        let command = format!("UID FETCH {uids} (UID FLAGS {body})");
        let answers = self.command(&command).await?;
        let fetched = answers.iter().filter_map(|answer| answer.fetched().transpose());
        let nonsense = |what| ClientError::Protocol { command: command.clone(), what };
        let mut fetched = fetched.collect::<Result<Vec<_>, _>>().map_err(nonsense)?;
        if let UidSet::From(first) = uids {
            // `n:*` names the last message even where its UID is below n.
            fetched.retain(|message| message.uid >= first);
        }
        Ok(fetched)
    }

    /// Adds a flag to one message, or takes it away.
    pub async fn set_flag(&mut self, uid: u32, flag: &str, on: bool) -> Result<(), ClientError> {
        let sign = if on { '+' } else { '-' };
        self.command(&format!("UID STORE {uid} {sign}FLAGS.SILENT ({flag})")).await.map(drop)
    }

    /// Sends a command and does not wait for its answer.
    ///
    /// # Errors
    /// The connection is already closing.
    pub async fn send_only(&mut self, command: &str) -> Result<String, ClientError> {
        self.begin(command, command).await
    }

    /// Waits for the answer to a command of [`Self::send_only`].
    ///
    /// # Errors
    /// Anything but OK.
    pub async fn answer_to(&mut self, tag: &str) -> Result<(), ClientError> {
        self.finish(tag, "the command sent before").await.map(drop)
    }

    /// Waits in IDLE until the mailbox holds more messages than before, or `wait` is over. Says
    /// whether there was news.
    pub async fn idle(&mut self, wait: Duration) -> Result<bool, ClientError> {
        let tag = self.begin("IDLE", "IDLE").await?;
        let before = self.exists;
        self.go_ahead(&tag, "IDLE").await?;
        let deadline = tokio::time::Instant::now() + wait;
        while self.exists == before {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match self.answer_within(left).await {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(source) => return Err(self.gone("IDLE", source)),
                Ok(answer) => self.note(&answer),
            }
        }
        let news = self.exists != before;
        // As in `begin`: an error shows again, with the server's last words.
        let _ = self.wire.send(b"DONE\r\n").await;
        self.finish(&tag, "IDLE").await?;
        Ok(news)
    }

    /// NOOP.
    pub async fn noop(&mut self) -> Result<(), ClientError> {
        self.command("NOOP").await.map(drop)
    }

    /// Says good-bye.
    pub async fn logout(mut self) -> Result<(), ClientError> {
        self.command("LOGOUT").await.map(drop)
    }

    async fn command(&mut self, command: &str) -> Result<Vec<Answer>, ClientError> {
        self.run(command, command).await
    }

    /// Sends a command and collects its untagged answers; errors call it `name`.
    async fn run(&mut self, command: &str, name: &str) -> Result<Vec<Answer>, ClientError> {
        let tag = self.begin(command, name).await?;
        self.finish(&tag, name).await
    }

    async fn begin(&mut self, command: &str, name: &str) -> Result<String, ClientError> {
        while self.wire.has_news().await {
            let answer = self.answer_within(Duration::from_secs(5)).await;
            match answer {
                Ok(answer) => self.note(&answer),
                Err(source) => {
                    let farewell = self.farewell.take().unwrap_or_else(|| source.to_string());
                    return Err(ClientError::Closed { command: name.into(), farewell });
                }
            }
        }
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        // An error here shows again when the answer is read, together with the server's last words.
        let _ = self.wire.send(format!("{tag} {command}\r\n").as_bytes()).await;
        Ok(tag)
    }

    /// Waits for the continuation request.
    async fn go_ahead(&mut self, tag: &str, name: &str) -> Result<(), ClientError> {
        loop {
            let answer = self.answer(name).await?;
            if answer.is_continuation() {
                return Ok(());
            }
            if answer.tagged(tag).is_some() {
                return Err(ClientError::Refused { command: name.into(), reply: answer.text() });
            }
            self.note(&answer);
        }
    }

    async fn finish(&mut self, tag: &str, name: &str) -> Result<Vec<Answer>, ClientError> {
        let mut answers = Vec::new();
        loop {
            let answer = self.answer(name).await?;
            let Some(status) = answer.tagged(tag) else {
                self.note(&answer);
                answers.push(answer);
                continue;
            };
            if status == "OK" {
                return Ok(answers);
            }
            return Err(ClientError::Refused { command: name.into(), reply: answer.text() });
        }
    }

    fn note(&mut self, answer: &Answer) {
        if let Some(count) = answer.exists() {
            self.exists = count;
        }
        if answer.text().starts_with("* BYE") {
            self.farewell = Some(answer.text());
        }
    }

    async fn answer(&mut self, name: &str) -> Result<Answer, ClientError> {
        let wait = self.wire.command_wait();
        match self.answer_within(wait).await {
            Ok(answer) => Ok(answer),
            Err(source) => Err(self.gone(name, source)),
        }
    }

    /// A connection that ended after BYE ended between commands: the one that waits never began.
    fn gone(&mut self, name: &str, source: io::Error) -> ClientError {
        match self.farewell.take() {
            Some(farewell) if name != "LOGOUT" => ClientError::Closed { command: name.into(), farewell },
            _ => lost(name, source),
        }
    }

    async fn answer_within(&mut self, wait: Duration) -> io::Result<Answer> {
        let mut parts = vec![Part::Text(self.wire.line_within(wait).await?)];
        while let Some(length) = parts.last().and_then(Part::announces) {
            if length > LITERAL_BYTES_MAX {
                return Err(io::Error::other(format!("a literal of {length} bytes")));
            }
            parts.push(Part::Literal(self.wire.exactly(length).await?));
            parts.push(Part::Text(self.wire.line().await?));
        }
        Ok(Answer { parts })
    }
}

fn lost(command: &str, source: io::Error) -> ClientError {
    ClientError::Lost { command: command.into(), source }
}

/// One answer: text and literals in turn.
struct Answer {
    parts: Vec<Part>,
}

enum Part {
    Text(Vec<u8>),
    Literal(Vec<u8>),
}

impl Part {
    /// The length of the literal that follows this text.
    fn announces(&self) -> Option<usize> {
        let Self::Text(text) = self else { return None };
        let inner = text.strip_suffix(b"}")?;
        let open = inner.iter().rposition(|&byte| byte == b'{')?;
        std::str::from_utf8(&inner[open + 1..]).ok()?.parse().ok()
    }
}

impl Answer {
    /// Its text up to the first literal.
    fn text(&self) -> String {
        match self.parts.first() {
            Some(Part::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        }
    }

    fn is_continuation(&self) -> bool {
        self.text().starts_with('+')
    }

    /// The status word, if this is the answer that ends the command `tag`.
    fn tagged(&self, tag: &str) -> Option<String> {
        let text = self.text();
        let rest = text.strip_prefix(tag)?.strip_prefix(' ')?;
        rest.split(' ').next().map(str::to_ascii_uppercase)
    }

    fn exists(&self) -> Option<u32> {
        let text = self.text();
        text.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok()
    }

    /// The number of a response code such as `* OK [UIDNEXT 12]`.
    fn code(&self, name: &str) -> Option<u32> {
        let text = self.text();
        let code = text.strip_prefix("* OK [")?.strip_prefix(name)?.strip_prefix(' ')?;
        code.split(']').next()?.parse().ok()
    }

    /// The message, if this is a FETCH with a body. FETCH answers with flags alone (a change by
    /// another session) are not ours.
    fn fetched(&self) -> Result<Option<Fetched>, String> {
        let mut values = Reader::new(&self.parts).values();
        let is_fetch = matches!(&values[..], [Value::Atom(star), _, Value::Atom(verb), Value::List(_)]
            if star == "*" && verb == "FETCH");
        if !is_fetch {
            return Ok(None);
        }
        let Some(Value::List(items)) = values.pop() else { return Ok(None) };
        let (mut uid, mut flags, mut body) = (None, Vec::new(), None);
        let mut items = items.into_iter();
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            match (name, value) {
                (Value::Atom(name), Value::Atom(number)) if name == "UID" => uid = number.parse().ok(),
                (Value::Atom(name), Value::List(list)) if name == "FLAGS" => flags = atoms(list),
                (Value::Atom(name), Value::Bytes(bytes)) if name.starts_with("BODY[") => body = Some(bytes),
                _ => {}
            }
        }
        let Some(body) = body else { return Ok(None) };
        let uid = uid.ok_or_else(|| format!("FETCH without UID: {:?}", self.text()))?;
        flags.retain(|flag| flag != "\\Recent");
        flags.sort();
        Ok(Some(Fetched { uid, flags, body }))
    }
}

fn atoms(values: Vec<Value>) -> Vec<String> {
    values
        .into_iter()
        .filter_map(|value| if let Value::Atom(atom) = value { Some(atom) } else { None })
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Atom(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
}

/// Reads values out of an answer's parts.
struct Reader<'a> {
    parts: std::slice::Iter<'a, Part>,
    text: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(parts: &'a [Part]) -> Self {
        Self { parts: parts.iter(), text: b"" }
    }

    /// The values up to the end of a list or of the answer.
    fn values(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        loop {
            match self.text.first() {
                None => match self.parts.next() {
                    None => return values,
                    Some(Part::Literal(bytes)) => values.push(Value::Bytes(bytes.clone())),
                    Some(part @ Part::Text(text)) => self.text = without_announcement(part, text),
                },
                Some(b' ') => self.text = &self.text[1..],
                Some(b'(') => {
                    self.text = &self.text[1..];
                    values.push(Value::List(self.values()));
                }
                Some(b')') => {
                    self.text = &self.text[1..];
                    return values;
                }
                Some(b'"') => values.push(Value::Bytes(self.quoted())),
                Some(_) => values.push(Value::Atom(self.atom())),
            }
        }
    }

    fn quoted(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = self.text[1..].iter();
        while let Some(&byte) = rest.next() {
            match byte {
                b'"' => break,
                b'\\' => out.extend(rest.next()),
                _ => out.push(byte),
            }
        }
        self.text = rest.as_slice();
        out
    }

    /// An atom; what stands in brackets belongs to it.
    fn atom(&mut self) -> String {
        let mut depth = 0usize;
        let end = self.text.iter().position(|&byte| {
            match byte {
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                b' ' | b'(' | b')' => return depth == 0,
                _ => {}
            }
            false
        });
        let (atom, rest) = self.text.split_at(end.unwrap_or(self.text.len()));
        self.text = rest;
        String::from_utf8_lossy(atom).into_owned()
    }
}

/// A text's bytes less the `{n}` at its end.
fn without_announcement<'a>(part: &Part, text: &'a [u8]) -> &'a [u8] {
    match part.announces() {
        Some(_) => &text[..text.iter().rposition(|&byte| byte == b'{').unwrap_or(text.len())],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(parts: Vec<Part>) -> Answer {
        Answer { parts }
    }

    #[test]
    fn a_fetch_with_a_literal_gives_uid_flags_and_body() {
        let parts = vec![
            Part::Text(b"* 3 FETCH (UID 7 FLAGS (\\Seen $Later \\Recent) BODY[] {5}".to_vec()),
            Part::Literal(b") UID".to_vec()),
            Part::Text(b")".to_vec()),
        ];
        let fetched = answer(parts).fetched().expect("sound").expect("a FETCH");
        let flags = vec!["$Later".to_owned(), "\\Seen".to_owned()];
        assert_eq!(fetched, Fetched { uid: 7, flags, body: b") UID".to_vec() });
    }

    #[test]
    fn a_section_with_parentheses_is_one_name_and_a_quoted_body_is_taken() {
        let text = b"* 1 FETCH (BODY[HEADER.FIELDS (X-Posthaste-Id)] \"a\\\"b\" UID 9 FLAGS ())".to_vec();
        let fetched = answer(vec![Part::Text(text)]).fetched().expect("sound").expect("a FETCH");
        assert_eq!((fetched.uid, fetched.body.as_slice()), (9, &b"a\"b"[..]));
    }

    #[test]
    fn a_change_of_flags_alone_is_no_fetched_message() {
        let text = b"* 1 FETCH (UID 3 FLAGS (\\Seen))".to_vec();
        assert_eq!(answer(vec![Part::Text(text)]).fetched(), Ok(None));
    }

    #[test]
    fn codes_and_counts_are_read() {
        let one = |text: &[u8]| answer(vec![Part::Text(text.to_vec())]);
        assert_eq!(one(b"* OK [UIDVALIDITY 17] fine").code("UIDVALIDITY"), Some(17));
        assert_eq!(one(b"* 12 EXISTS").exists(), Some(12));
        assert_eq!(one(b"a4 NO try later").tagged("a4").as_deref(), Some("NO"));
        assert_eq!(one(b"a40 OK").tagged("a4"), None);
    }
}
