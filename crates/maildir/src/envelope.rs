//! What an IMAP client asks of all messages first: envelope and body structure, by mail-parser.
//!
//! ```
//! use posthaste_maildir::envelope::{self, Summary};
//! let mail = b"From: Ann <ann@example.org>\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n\r\nhello\r\n";
//! // For `Mailbox::digests(uids, envelope::KIND, &envelope::digest)`:
//! let summary = Summary::decode(&envelope::digest(mail)).unwrap();
//! assert_eq!(summary.field("subject"), Some(&b"=?utf-8?q?caf=C3=A9?="[..]), "as it was written");
//! let envelope = summary.envelope();
//! assert_eq!(envelope.subject.as_deref(), Some("café"));
//! assert_eq!(envelope.from[0].mailbox.as_deref(), Some("ann@example.org"));
//! assert_eq!((summary.body.kind.as_str(), summary.body.lines), ("text/plain", 1));
//! ```

use mail_parser::{ContentType, MessageParser, MessagePart, MimeHeaders, PartType};

/// The kind of these digests for [`crate::Mailbox::digests`]; another one when they change.
pub const KIND: u32 = 0x456e_7601;

/// Fields of the header that are kept: those of ENVELOPE and those that mail programs list with.
const FIELDS: &[&str] = &[
    "bcc",
    "cc",
    "content-disposition",
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "importance",
    "in-reply-to",
    "list-id",
    "list-post",
    "message-id",
    "mime-version",
    "newsgroups",
    "priority",
    "references",
    "reply-to",
    "sender",
    "subject",
    "to",
    "x-priority",
    "x-spam-flag",
];
/// Parts within parts, and parts in all, that are looked at.
const DEPTH_MAX: usize = 20;
const PARTS_MAX: usize = 1000;

/// What is kept of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Fields of the header as they were written, each with its line end, in their order.
    pub fields: Vec<u8>,
    /// The body.
    pub body: Part,
}

/// A part of a message, as IMAP's BODYSTRUCTURE has it (RFC 9051 §7.5.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Type and subtype, in lower case.
    pub kind: String,
    /// Parameters of the type.
    pub parameters: Vec<(String, String)>,
    /// Content-ID.
    pub id: Option<String>,
    /// Content-Description.
    pub description: Option<String>,
    /// Content-Transfer-Encoding, in lower case.
    pub encoding: String,
    /// Content-Disposition, and its parameters.
    pub disposition: Option<(String, Vec<(String, String)>)>,
    /// Bytes, encoded as they are.
    pub size: u64,
    /// Line ends in them.
    pub lines: u64,
    /// Parts of a multipart; the one body of a message that is enclosed whole.
    pub parts: Vec<Part>,
}

/// The header fields that IMAP's ENVELOPE has, decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each is the header field of its name")]
pub struct Envelope {
    /// As it was written.
    pub date: Option<String>,
    pub subject: Option<String>,
    pub from: Vec<Address>,
    pub sender: Vec<Address>,
    pub reply_to: Vec<Address>,
    pub to: Vec<Address>,
    pub cc: Vec<Address>,
    pub bcc: Vec<Address>,
    pub in_reply_to: Option<String>,
    pub message_id: Option<String>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// The name of who has it.
    pub name: Option<String>,
    /// `local@domain`.
    pub mailbox: Option<String>,
}

/// The bytes that [`Summary::decode`] reads, of a message with CRLF line ends.
pub fn digest(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = selected_fields(message);
    put(&mut out, &fields);
    structure(message).encode(&mut out);
    out
}

impl Summary {
    /// Reads what [`digest`] made; `None` if it made something else.
    pub fn decode(digest: &[u8]) -> Option<Self> {
        let mut input = digest;
        let fields = take(&mut input)?.to_vec();
        let body = Part::decode(&mut input, DEPTH_MAX + 1)?;
        input.is_empty().then_some(Self { fields, body })
    }

    /// A field's value as it was written, without its line end; the first of its name.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let field = fields(&self.fields).find(|field| has_name(field, name))?;
        let value = &field[field.iter().position(|b| *b == b':')? + 1..];
        Some(value.trim_ascii())
    }

    /// The envelope.
    pub fn envelope(&self) -> Envelope {
        let header = [&self.fields, &b"\r\n"[..]].concat();
        let Some(parsed) = MessageParser::default().parse_headers(&header) else {
            return Envelope::default();
        };
        let raw = |name| Some(String::from_utf8_lossy(self.field(name)?).into_owned());
        Envelope {
            date: raw("date"),
            subject: parsed.subject().map(str::to_owned),
            from: addresses(parsed.from()),
            sender: addresses(parsed.sender()),
            reply_to: addresses(parsed.reply_to()),
            to: addresses(parsed.to()),
            cc: addresses(parsed.cc()),
            bcc: addresses(parsed.bcc()),
            in_reply_to: raw("in-reply-to"),
            message_id: raw("message-id"),
        }
    }
}

fn addresses(found: Option<&mail_parser::Address<'_>>) -> Vec<Address> {
    let one = |address: &mail_parser::Addr<'_>| Address {
        name: address.name.as_ref().map(|name| name.to_string()),
        mailbox: address.address.as_ref().map(|mailbox| mailbox.to_string()),
    };
    found.map_or_else(Vec::new, |found| found.iter().map(one).collect())
}

/// The header's fields, folded lines together, up to the blank line.
fn fields(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let mut end = 0;
        loop {
            let line = rest[end..].iter().position(|b| *b == b'\n').map_or(rest.len(), |at| end + at + 1);
            if line == end || (end == 0 && matches!(&rest[..line], b"\n" | b"\r\n")) {
                break;
            }
            end = line;
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, after) = rest.split_at(end);
        rest = after;
        (!field.is_empty()).then_some(field)
    })
}

fn has_name(field: &[u8], name: &str) -> bool {
    let colon = field.iter().position(|b| *b == b':').unwrap_or(0);
    field[..colon].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
}

fn selected_fields(message: &[u8]) -> Vec<u8> {
    fields(message)
        .filter(|field| FIELDS.iter().any(|name| has_name(field, name)))
        .flatten()
        .copied()
        .collect()
}

fn structure(message: &[u8]) -> Part {
    let mut left = PARTS_MAX;
    part_of_message(message, DEPTH_MAX, &mut left)
}

fn part_of_message(message: &[u8], depth: usize, left: &mut usize) -> Part {
    let Some(parsed) = MessageParser::default().parse(message) else { return plain(message) };
    match parsed.parts.first() {
        Some(_) => part(&parsed, 0, message, depth, left),
        None => plain(message),
    }
}

fn plain(body: &[u8]) -> Part {
    let (size, lines) = measure(body);
    Part { kind: "text/plain".to_owned(), encoding: "7bit".to_owned(), size, lines, ..Part::default() }
}

fn measure(body: &[u8]) -> (u64, u64) {
    (body.len() as u64, body.iter().filter(|b| **b == b'\n').count() as u64)
}

fn part(parsed: &mail_parser::Message<'_>, at: usize, raw: &[u8], depth: usize, left: &mut usize) -> Part {
    let found = &parsed.parts[at];
    *left = left.saturating_sub(1);
    let (from, to) = (found.offset_body as usize, found.offset_end as usize);
    let body = raw.get(from..to.max(from)).unwrap_or(&[]);
    let mut part = described(found);
    (part.size, part.lines) = measure(body);
    if depth == 0 || *left == 0 {
        return part;
    }
    match &found.body {
        PartType::Multipart(children) => {
            let children = children.iter().filter(|child| (**child as usize) < parsed.parts.len());
            let children = children.map(|child| self::part(parsed, *child as usize, raw, depth - 1, left));
            part.parts = children.collect();
        }
        PartType::Message(_) if !matches!(part.encoding.as_str(), "base64" | "quoted-printable") => {
            part.parts = vec![part_of_message(body, depth - 1, left)];
        }
        _ => {}
    }
    part
}

fn described(found: &MessagePart<'_>) -> Part {
    let text = |value: Option<&str>| value.map(str::to_owned);
    let default = match found.body {
        PartType::Message(_) => "message/rfc822",
        PartType::Multipart(_) => "multipart/mixed",
        _ => "text/plain",
    };
    let content_type = found.content_type();
    Part {
        kind: content_type.map_or(default.to_owned(), kind),
        parameters: content_type.map_or_else(Vec::new, parameters),
        id: text(found.content_id()),
        description: text(found.content_description()),
        encoding: found.content_transfer_encoding().unwrap_or("7bit").to_ascii_lowercase(),
        disposition: found
            .content_disposition()
            .map(|how| (how.c_type.to_ascii_lowercase(), parameters(how))),
        ..Part::default()
    }
}

fn kind(content_type: &ContentType<'_>) -> String {
    let subtype = content_type.c_subtype.as_deref().unwrap_or("plain");
    format!("{}/{subtype}", content_type.c_type).to_ascii_lowercase()
}

fn parameters(content_type: &ContentType<'_>) -> Vec<(String, String)> {
    let all = content_type.attributes.iter().flatten();
    all.map(|one| (one.name.to_ascii_lowercase(), one.value.to_string())).collect()
}

impl Part {
    fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.kind.as_bytes());
        put_pairs(out, &self.parameters);
        put_option(out, self.id.as_deref());
        put_option(out, self.description.as_deref());
        put(out, self.encoding.as_bytes());
        put_option(out, self.disposition.as_ref().map(|(how, _)| how.as_str()));
        if let Some((_, parameters)) = &self.disposition {
            put_pairs(out, parameters);
        }
        number(out, self.size);
        number(out, self.lines);
        number(out, self.parts.len() as u64);
        self.parts.iter().for_each(|part| part.encode(out));
    }

    fn decode(input: &mut &[u8], depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let mut part = Self {
            kind: take_text(input)?,
            parameters: take_pairs(input)?,
            id: take_option(input)?,
            description: take_option(input)?,
            encoding: take_text(input)?,
            ..Self::default()
        };
        part.disposition = match take_option(input)? {
            Some(how) => Some((how, take_pairs(input)?)),
            None => None,
        };
        part.size = take_number(input)?;
        part.lines = take_number(input)?;
        for _ in 0..take_number(input)? {
            part.parts.push(Self::decode(input, depth)?);
        }
        Some(part)
    }
}

/// Seven bits a byte, the lowest first.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_number(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_number(input)?).ok()?;
    let (bytes, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(bytes)
}

fn take_text(input: &mut &[u8]) -> Option<String> {
    String::from_utf8(take(input)?.to_vec()).ok()
}

fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    number(out, u64::from(text.is_some()));
    text.into_iter().for_each(|text| put(out, text.as_bytes()));
}

fn take_option(input: &mut &[u8]) -> Option<Option<String>> {
    match take_number(input)? {
        0 => Some(None),
        _ => take_text(input).map(Some),
    }
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(String, String)]) {
    number(out, pairs.len() as u64);
    for (name, value) in pairs {
        put(out, name.as_bytes());
        put(out, value.as_bytes());
    }
}

fn take_pairs(input: &mut &[u8]) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for _ in 0..take_number(input)? {
        pairs.push((take_text(input)?, take_text(input)?));
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIXED: &[u8] = b"From: a@example.org\r\nX-Other: no\r\nSubject: one\r\n two\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n\
        Content-Type: Application/PDF; name=\"a.pdf\"\r\nContent-Disposition: attachment; filename=a.pdf\r\n\
        Content-Transfer-Encoding: BASE64\r\nContent-ID: <x@y>\r\n\r\nAAAA\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninside\r\n--b--\r\n";

    #[test]
    fn parts_and_enclosed_messages_are_described() {
        let summary = Summary::decode(&digest(MIXED)).unwrap();
        assert_eq!(summary.field("Subject"), Some(&b"one\r\n two"[..]));
        assert_eq!(summary.field("X-Other"), None);
        let [text, pdf, inner] = &summary.body.parts[..] else { panic!("{:?}", summary.body) };
        assert_eq!(
            (summary.body.kind.as_str(), text.kind.as_str(), text.size),
            ("multipart/mixed", "text/plain", 5)
        );
        assert_eq!((pdf.kind.as_str(), pdf.encoding.as_str()), ("application/pdf", "base64"));
        assert_eq!(pdf.disposition.as_ref().unwrap().1, [("filename".to_owned(), "a.pdf".to_owned())]);
        assert_eq!((inner.kind.as_str(), inner.parts[0].kind.as_str()), ("message/rfc822", "text/plain"));
    }

    #[test]
    fn a_message_of_messages_ends_somewhere() {
        let deep = b"Content-Type: message/rfc822\r\n\r\n".repeat(500);
        assert!(Summary::decode(&digest(&deep)).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_summary_and_no_part_of_a_digest_has(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
            let whole = digest(&bytes);
            prop_assert!(Summary::decode(&whole).is_some());
            prop_assert!(Summary::decode(&whole[..cut.index(whole.len())]).is_none());
            let _ = Summary::decode(&bytes);
        }
    }
}
