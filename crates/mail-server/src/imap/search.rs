//! SEARCH, evaluated here: first on what the view knows, then on headers or whole messages where a key needs them.

use mail_parser::parsers::MessageStream;
use mail_parser::{HeaderValue, MessageParser, PartType};
use posthaste_imap_proto::{Atom, Code, Date, SearchKey, SearchKeys, encode_search};

use super::answer::{Answer, Stop, bad, no, ok};
use super::fetch::{Need, batches};
use super::header;
use super::mime::{Entity, Kind};
use super::session::Session;
use super::view::{ANSWERED, DELETED, DRAFT, Entry, FLAGGED, SEEN, View};
use crate::wire::Wire;

impl Session<'_> {
    pub(super) async fn search(
        &mut self,
        wire: &mut Wire,
        uid: bool,
        charset: Option<&[u8]>,
        keys: &SearchKeys<'_>,
    ) -> Answer {
        let known =
            charset.is_none_or(|c| [&b"US-ASCII"[..], b"UTF-8"].iter().any(|k| c.eq_ignore_ascii_case(k)));
        if !known {
            let charsets = ["UTF-8", "US-ASCII"].into_iter().filter_map(Atom::new).collect();
            return Ok(no(Code::BadCharset(charsets), "unknown charset"));
        }
        let Some(view) = &self.view else { return Ok(bad("select a mailbox first")) };
        let Some(keys) = keys.iter().map(|k| Key::new(&k, view)).collect::<Option<Vec<_>>>() else {
            return Ok(bad("no such message, or text that is not UTF-8"));
        };
        let key = Key::And(keys);
        let found = self.find(&key).await?;
        let Some(view) = &self.view else { return Ok(bad("select a mailbox first")) };
        encode_search(
            &mut wire.out,
            found.into_iter().map(|at| if uid { view.entries[at].uid } else { at as u32 + 1 }),
        );
        Ok(ok("searched"))
    }

    async fn find(&self, key: &Key) -> Result<Vec<usize>, Stop> {
        let Some(view) = &self.view else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut open = Vec::new();
        for (at, entry) in view.entries.iter().enumerate() {
            match key.test(&Known { at, entry, octets: None }) {
                Some(true) => found.push(at),
                Some(false) => {}
                None => open.push(at),
            }
        }
        let need = key.need();
        for batch in batches(view, &open, need) {
            let (_held, parts) = self.read(&batch, need).await?;
            for at in batch {
                let entry = &view.entries[at];
                // A message that is gone matches nothing.
                let Some(octets) = parts.get(&entry.uid) else { continue };
                if key.test(&Known { at, entry, octets: Some(octets) }) == Some(true) {
                    found.push(at);
                }
                tokio::task::yield_now().await;
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// What is known of a message.
struct Known<'m> {
    at: usize,
    entry: &'m Entry,
    /// Its header, or all of it; at least what the key needs.
    octets: Option<&'m [u8]>,
}

/// A key, prepared: sets resolved, text in lower case.
enum Key {
    All,
    Has(u8),
    Hasnt(u8),
    Recent(bool),
    New,
    Keyword(Option<usize>, bool),
    Larger(u64),
    Smaller(u64),
    Day(Order, i64),
    SentDay(Order, i64),
    Set(posthaste_imap_proto::IdSet),
    Uid(posthaste_imap_proto::IdSet),
    Header(String, String),
    Body(String),
    Text(String),
    Not(Box<Key>),
    Or(Box<Key>, Box<Key>),
    And(Vec<Key>),
}

#[derive(Clone, Copy)]
enum Order {
    Before,
    On,
    Since,
}

impl Order {
    fn holds(self, day: i64, bound: i64) -> bool {
        match self {
            Order::Before => day < bound,
            Order::On => day == bound,
            Order::Since => day >= bound,
        }
    }
}

fn lower(text: &[u8]) -> Option<String> {
    std::str::from_utf8(text).ok().map(str::to_lowercase)
}

fn day(order: Order, date: Date) -> Key {
    Key::Day(order, date.days())
}

fn sent(order: Order, date: Date) -> Key {
    Key::SentDay(order, date.days())
}

impl Key {
    /// `None` if a set or a text makes no sense.
    fn new(key: &SearchKey<'_>, view: &View) -> Option<Self> {
        use SearchKey as S;
        let field = |name: &str, text: &[u8]| Some(Key::Header(name.to_owned(), lower(text)?));
        let keyword =
            |name: &Atom<'_>| view.keywords.iter().position(|k| k.eq_ignore_ascii_case(name.as_str()));
        let last = view.entries.len() as u32;
        Some(match key {
            S::All => Key::All,
            S::Answered => Key::Has(ANSWERED),
            S::Deleted => Key::Has(DELETED),
            S::Draft => Key::Has(DRAFT),
            S::Flagged => Key::Has(FLAGGED),
            S::Seen => Key::Has(SEEN),
            S::Unanswered => Key::Hasnt(ANSWERED),
            S::Undeleted => Key::Hasnt(DELETED),
            S::Undraft => Key::Hasnt(DRAFT),
            S::Unflagged => Key::Hasnt(FLAGGED),
            S::Unseen => Key::Hasnt(SEEN),
            S::Recent => Key::Recent(true),
            S::Old => Key::Recent(false),
            S::New => Key::New,
            S::Keyword(name) => Key::Keyword(keyword(name), true),
            S::Unkeyword(name) => Key::Keyword(keyword(name), false),
            S::Larger(n) => Key::Larger(*n),
            S::Smaller(n) => Key::Smaller(*n),
            S::Before(d) => day(Order::Before, *d),
            S::On(d) => day(Order::On, *d),
            S::Since(d) => day(Order::Since, *d),
            S::SentBefore(d) => sent(Order::Before, *d),
            S::SentOn(d) => sent(Order::On, *d),
            S::SentSince(d) => sent(Order::Since, *d),
            S::Bcc(text) => return field("Bcc", text),
            S::Cc(text) => return field("Cc", text),
            S::From(text) => return field("From", text),
            S::To(text) => return field("To", text),
            S::Subject(text) => return field("Subject", text),
            S::Header(name, text) => return field(std::str::from_utf8(name).ok()?, text),
            S::Body(text) => Key::Body(lower(text)?),
            S::Text(text) => Key::Text(lower(text)?),
            S::Set(set) => Key::Set(set.resolve(last)),
            S::Uid(set) => Key::Uid(set.resolve(view.entries.last().map_or(0, |e| e.uid))),
            S::Not(key) => Key::Not(Box::new(Key::new(&key.get(), view)?)),
            S::Or(a, b) => Key::Or(Box::new(Key::new(&a.get(), view)?), Box::new(Key::new(&b.get(), view)?)),
            S::And(keys) => Key::And(keys.iter().map(|k| Key::new(&k, view)).collect::<Option<_>>()?),
            _ => return None,
        })
    }

    fn need(&self) -> Need {
        match self {
            Key::Header(..) | Key::SentDay(..) => Need::Header,
            Key::Body(_) | Key::Text(_) => Need::Whole,
            Key::Not(key) => key.need(),
            Key::Or(a, b) => more(a.need(), b.need()),
            Key::And(keys) => keys.iter().map(Key::need).fold(Need::Nothing, more),
            _ => Need::Nothing,
        }
    }

    /// Whether the message matches; `None` if that needs its octets.
    fn test(&self, m: &Known<'_>) -> Option<bool> {
        let entry = m.entry;
        Some(match self {
            Key::All => true,
            Key::Has(bit) => entry.flags.has(*bit),
            Key::Hasnt(bit) => !entry.flags.has(*bit),
            Key::Recent(is) => entry.recent == *is,
            Key::New => entry.recent && !entry.flags.has(SEEN),
            Key::Keyword(at, has) => at.is_some_and(|at| entry.flags.keywords & (1 << at) != 0) == *has,
            Key::Larger(n) => entry.size > *n,
            Key::Smaller(n) => entry.size < *n,
            Key::Day(order, bound) => order.holds(entry.date.div_euclid(86_400), *bound),
            Key::SentDay(order, bound) => sent_day(m.octets?).is_some_and(|d| order.holds(d, *bound)),
            Key::Set(set) => set.contains(m.at as u32 + 1),
            Key::Uid(set) => set.contains(entry.uid),
            Key::Header(name, text) => header_contains(m.octets?, Some(name), text),
            Key::Body(text) => body_contains(m.octets?, text),
            Key::Text(text) => header_contains(m.octets?, None, text) || body_contains(m.octets?, text),
            Key::Not(key) => !key.test(m)?,
            Key::Or(a, b) => match (a.test(m), b.test(m)) {
                (Some(true), _) | (_, Some(true)) => true,
                (Some(false), Some(false)) => false,
                _ => return None,
            },
            Key::And(keys) => return all(keys, m),
        })
    }
}

fn all(keys: &[Key], m: &Known<'_>) -> Option<bool> {
    let mut open = false;
    for key in keys {
        match key.test(m) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => open = true,
        }
    }
    (!open).then_some(true)
}

fn more(a: Need, b: Need) -> Need {
    match (a, b) {
        (Need::Whole, _) | (_, Need::Whole) => Need::Whole,
        (Need::Header, _) | (_, Need::Header) => Need::Header,
        _ => Need::Nothing,
    }
}

fn header_of(message: &[u8]) -> &[u8] {
    &message[..super::mime::header_len(message)]
}

/// The day that the Date field names, in its own zone.
fn sent_day(message: &[u8]) -> Option<i64> {
    let value = header::value(header_of(message), "Date")?;
    let date = mail_parser::DateTime::parse_rfc822(std::str::from_utf8(&value).ok()?)?;
    Some(Date::new(date.year, date.month, date.day)?.days())
}

/// A field's text with encoded words decoded, in lower case.
fn decoded(value: &[u8]) -> String {
    let mut text = header::unfold(value).into_owned();
    text.push(b'\n');
    match MessageStream::new(&text).parse_unstructured() {
        HeaderValue::Text(text) => text.to_lowercase(),
        _ => String::from_utf8_lossy(&text).to_lowercase(),
    }
}

/// Whether a field (any, without a name) contains the text; an empty one is contained in each field.
fn header_contains(message: &[u8], name: Option<&str>, text: &str) -> bool {
    header::fields(header_of(message)).any(|field| match name {
        Some(name) => field.name.eq_ignore_ascii_case(name.as_bytes()) && decoded(field.value).contains(text),
        None => {
            let line = String::from_utf8_lossy(&header::unfold(field.raw)).to_lowercase();
            line.contains(text) || decoded(field.value).contains(text)
        }
    })
}

fn body_contains(message: &[u8], text: &str) -> bool {
    text.is_empty() || entity_contains(message, &Entity::parse(message), text)
}

/// Whether a text part, decoded, contains the text; messages within count with their headers.
fn entity_contains(message: &[u8], entity: &Entity, text: &str) -> bool {
    match &entity.kind {
        Kind::Multi(parts) => parts.iter().any(|part| entity_contains(message, part, text)),
        Kind::Message(inner) => {
            header_contains(&message[inner.header.clone()], None, text)
                || entity_contains(message, inner, text)
        }
        Kind::Leaf if entity.content_type.value.starts_with("text/") => {
            let part = &message[entity.header.start..entity.body.end];
            leaf_text(part).contains(text)
        }
        Kind::Leaf => false,
    }
}

/// A text part by itself, transfer encoding and charset decoded, in lower case.
fn leaf_text(part: &[u8]) -> String {
    let parsed = MessageParser::default().parse(part);
    let body = parsed.as_ref().and_then(|m| m.parts.first()).map(|p| &p.body);
    match body {
        Some(PartType::Text(text) | PartType::Html(text)) => text.to_lowercase(),
        _ => String::from_utf8_lossy(part).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Subject: =?iso-8859-1?Q?Gr=FC=DFe?= an\r\n alle\r\nDate: Tue, 2 Jan 2024 23:30:00 -0800\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nSch=F6nes Wetter=\r\nbericht\r\n--b\r\n\
        Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+VGllZjwvYj4=\r\n--b\r\n\
        Content-Type: application/octet-stream\r\n\r\nhidden\r\n--b--\r\n";

    #[test]
    fn text_is_searched_decoded_and_without_regard_to_case() {
        assert!(header_contains(MESSAGE, Some("subject"), "grüße an alle"));
        assert!(!header_contains(MESSAGE, Some("from"), ""));
        assert!(header_contains(MESSAGE, Some("subject"), ""));
        assert!(body_contains(MESSAGE, "schönes wetterbericht"));
        assert!(body_contains(MESSAGE, "tief"));
        assert!(!body_contains(MESSAGE, "hidden"));
        assert!(header_contains(MESSAGE, None, "date: tue, 2 jan"));
    }

    #[test]
    fn the_sent_day_is_that_of_its_own_zone() {
        assert_eq!(sent_day(MESSAGE), Some(Date::new(2024, 1, 2).unwrap().days()));
        assert_eq!(sent_day(b"Date: nonsense\r\n\r\n"), None);
    }
}
