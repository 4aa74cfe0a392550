//! A message's MIME tree by offsets, so that BODY[1.2] gives the very octets.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::Range;

use memchr::memmem;
use posthaste_imap_proto::{Section, SectionText, Strings};

use super::header::{self, Valued};

/// Levels of multiparts and messages that are told; what lies deeper is told as one leaf.
const DEPTH_MAX: usize = 50;
/// Parts that are told; the last one holds the rest.
const PARTS_MAX: usize = 2000;

/// A message, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entity {
    /// With the blank line that ends it.
    pub(super) header: Range<usize>,
    pub(super) body: Range<usize>,
    /// Content-Type with its default filled in.
    pub(super) content_type: Valued,
    pub(super) kind: Kind,
}

/// What an entity's body consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Leaf,
    /// At least one part.
    Multi(Vec<Entity>),
    /// message/rfc822
    Message(Box<Entity>),
}

impl Entity {
    /// Any octets are a message.
    pub(super) fn parse(message: &[u8]) -> Self {
        let mut parser = Parser { message, parts: 0 };
        parser.entity(0..message.len(), 0, false)
    }

    /// The octets of a section; `None` if there is no such part.
    pub(super) fn section<'m>(&self, message: &'m [u8], section: &Section<'_>) -> Option<Cow<'m, [u8]>> {
        let Some((first, rest)) = section.part.split_first() else {
            return Some(match &section.text {
                None => Cow::Borrowed(message),
                Some(text) => self.text(message, text),
            });
        };
        let mut part = self.part_of_message(*first)?;
        for n in rest {
            part = part.part_of_part(*n)?;
        }
        match (&section.text, &part.kind) {
            (None, _) => Some(Cow::Borrowed(&message[part.body.clone()])),
            (Some(SectionText::Mime), _) => Some(Cow::Borrowed(&message[part.header.clone()])),
            (Some(text), Kind::Message(inner)) => Some(inner.text(message, text)),
            _ => None,
        }
    }

    fn text<'m>(&self, message: &'m [u8], text: &SectionText<'_>) -> Cow<'m, [u8]> {
        let header = &message[self.header.clone()];
        match text {
            SectionText::Text => Cow::Borrowed(&message[self.body.clone()]),
            SectionText::Header | SectionText::Mime => Cow::Borrowed(header),
            SectionText::HeaderFields(names) => Cow::Owned(some_fields(header, names, true)),
            SectionText::HeaderFieldsNot(names) => Cow::Owned(some_fields(header, names, false)),
        }
    }

    /// Part n of a message: of its multipart, or its only body as part 1 (RFC 3501 section 6.4.5).
    fn part_of_message(&self, n: NonZeroU32) -> Option<&Entity> {
        match &self.kind {
            Kind::Multi(parts) => parts.get(n.get() as usize - 1),
            _ => (n.get() == 1).then_some(self),
        }
    }

    fn part_of_part(&self, n: NonZeroU32) -> Option<&Entity> {
        match &self.kind {
            Kind::Multi(parts) => parts.get(n.get() as usize - 1),
            Kind::Message(inner) => inner.part_of_message(n),
            Kind::Leaf => None,
        }
    }
}

/// The fields named (or all others), and a blank line.
fn some_fields(header: &[u8], names: &Strings<'_>, named: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for field in header::fields(header) {
        if names.iter().any(|n| n.eq_ignore_ascii_case(field.name)) == named {
            out.extend_from_slice(field.raw);
            if !field.raw.ends_with(b"\n") {
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

struct Parser<'m> {
    message: &'m [u8],
    parts: usize,
}

impl Parser<'_> {
    fn entity(&mut self, range: Range<usize>, depth: usize, in_digest: bool) -> Entity {
        let split = range.start + header_len(&self.message[range.clone()]);
        let (header, body) = (range.start..split, split..range.end);
        let told = header::value(&self.message[header.clone()], "Content-Type");
        let mut content_type = match &told {
            Some(value) => Valued::parse(value),
            None if in_digest => Valued::parse(b"message/rfc822"),
            None => Valued::default(),
        };
        if !content_type.value.split_once('/').is_some_and(|(t, s)| !t.is_empty() && !s.is_empty()) {
            content_type = Valued::parse(b"text/plain; charset=us-ascii");
        }
        let kind = self.kind(&mut content_type, body.clone(), depth);
        Entity { header, body, content_type, kind }
    }

    fn kind(&mut self, content_type: &mut Valued, body: Range<usize>, depth: usize) -> Kind {
        if content_type.value == "message/rfc822" {
            if depth < DEPTH_MAX {
                return Kind::Message(Box::new(self.entity(body, depth + 1, false)));
            }
            content_type.value = "application/octet-stream".into();
        }
        if content_type.value.starts_with("multipart/") {
            let digest = content_type.value == "multipart/digest";
            let parts = match content_type.param("boundary") {
                Some(boundary) if !boundary.is_empty() && depth < DEPTH_MAX => {
                    self.parts(body, boundary, depth, digest)
                }
                _ => Vec::new(),
            };
            if !parts.is_empty() {
                return Kind::Multi(parts);
            }
            // A structure of no parts cannot be told.
            *content_type = Valued::parse(b"text/plain; charset=us-ascii");
        }
        Kind::Leaf
    }

    fn parts(&mut self, body: Range<usize>, boundary: &[u8], depth: usize, digest: bool) -> Vec<Entity> {
        let delimiter = [b"--", boundary].concat();
        let mut parts = Vec::new();
        let mut open: Option<usize> = None;
        for found in Delimiters::new(&self.message[body.clone()], &delimiter) {
            if let Some(start) = open {
                let end = (body.start + found.before).max(start);
                parts.push(self.entity(start..end, depth + 1, digest));
            }
            open = (!found.last).then_some(body.start + found.after);
            self.parts += 1;
            if found.last || self.parts >= PARTS_MAX {
                break;
            }
        }
        if let Some(start) = open {
            // No closing delimiter, or too many parts: what is left is the last one.
            parts.push(self.entity(start..body.end, depth + 1, digest));
        }
        parts
    }
}

/// Octets of the header with its blank line; all, if there is none.
pub(super) fn header_len(entity: &[u8]) -> usize {
    let mut at = 0;
    while at < entity.len() {
        let end = memchr::memchr(b'\n', &entity[at..]).map_or(entity.len(), |lf| at + lf + 1);
        if matches!(&entity[at..end], b"\r\n" | b"\n") {
            return end;
        }
        at = end;
    }
    at
}

/// A line that separates parts.
struct Delimiter {
    /// Where the line break before it starts, which belongs to it.
    before: usize,
    /// Where the next line starts.
    after: usize,
    /// `--boundary--`
    last: bool,
}

struct Delimiters<'b> {
    body: &'b [u8],
    finder: memmem::Finder<'b>,
    at: usize,
}

impl<'b> Delimiters<'b> {
    fn new(body: &'b [u8], delimiter: &'b [u8]) -> Self {
        Self { body, finder: memmem::Finder::new(delimiter), at: 0 }
    }
}

impl Iterator for Delimiters<'_> {
    type Item = Delimiter;

    fn next(&mut self) -> Option<Delimiter> {
        loop {
            let start = self.at + self.finder.find(&self.body[self.at..])?;
            self.at = start + self.finder.needle().len();
            if start > 0 && self.body[start - 1] != b'\n' {
                continue;
            }
            let rest = &self.body[self.at..];
            let eol = memchr::memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1);
            let line = rest[..eol].trim_ascii();
            let last = line == b"--";
            if !line.is_empty() && !last {
                continue;
            }
            self.at += eol;
            let before = self.body[..start].strip_suffix(b"\r\n").or(self.body[..start].strip_suffix(b"\n"));
            return Some(Delimiter { before: before.map_or(start, <[u8]>::len), after: self.at, last });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &[u8] = b"From: a@b\r\nContent-Type: multipart/mixed; boundary=\"x\"\r\n\r\npreamble\r\n--x\r\n\r\nfirst\r\n\
        --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/alternative;\r\n boundary=y\r\n\r\n\
        --y\r\nContent-Type: text/plain\r\n\r\nplain\r\n\r\n--y  \r\nContent-Type: text/html\r\n\r\n--yes\r\n--y--\r\n\
        --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: single\r\n\r\nhello\r\n--x--\r\nepilogue\r\n";

    fn get(message: &[u8], part: &[u32], text: Option<SectionText<'static>>) -> Option<String> {
        let part = part.iter().map(|n| NonZeroU32::new(*n).unwrap()).collect();
        let octets = Entity::parse(message).section(message, &Section { part, text })?.into_owned();
        Some(String::from_utf8(octets).unwrap())
    }

    #[test]
    fn sections_are_the_very_octets() {
        use SectionText::{Header, Mime, Text};
        let is = |part: &[u32], text, want: &str| {
            assert_eq!(get(MIXED, part, text).as_deref(), Some(want), "{part:?}")
        };
        is(&[1], None, "first");
        is(&[1], Some(Mime), "\r\n");
        is(&[2], Some(Mime), "Content-Type: message/rfc822\r\n\r\n");
        is(&[2, 1], None, "plain\r\n");
        is(&[2, 1], Some(Mime), "Content-Type: text/plain\r\n\r\n");
        is(&[2, 2], None, "--yes");
        is(&[3], None, "Subject: single\r\n\r\nhello");
        is(&[3], Some(Header), "Subject: single\r\n\r\n");
        is(&[3], Some(Text), "hello");
        is(&[3, 1], None, "hello");
        is(
            &[],
            Some(SectionText::HeaderFields([Cow::Borrowed(&b"FROM"[..])].into_iter().collect())),
            "From: a@b\r\n\r\n",
        );
        is(
            &[3],
            Some(SectionText::HeaderFieldsNot([Cow::Borrowed(&b"subject"[..])].into_iter().collect())),
            "\r\n",
        );
        assert_eq!(get(MIXED, &[], None).unwrap().as_bytes(), MIXED);
        for missing in [&[4][..], &[1, 1], &[2, 3], &[3, 2], &[2, 1, 1]] {
            assert_eq!(get(MIXED, missing, None), None, "{missing:?}");
        }
        assert_eq!(get(MIXED, &[1], Some(Header)), None);
    }

    #[test]
    fn odd_messages_have_a_tree_nevertheless() {
        assert_eq!(get(b"A: b\r\n\r\nbody", &[1], None).as_deref(), Some("body"));
        assert_eq!(get(b"no header end", &[1], None).as_deref(), Some(""));
        assert_eq!(get(b"", &[1], None).as_deref(), Some(""));
        assert_eq!(get(b"\r\nbody", &[1], None).as_deref(), Some("body"));
        let unclosed = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x\r\n\r\nb\r\n";
        assert_eq!(get(unclosed, &[2], None).as_deref(), Some("b\r\n"));
        let none = b"Content-Type: multipart/mixed; boundary=x\r\n\r\nno parts";
        assert_eq!(Entity::parse(none).content_type.value, "text/plain");
        let empty = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x--";
        assert_eq!(get(empty, &[1], None).as_deref(), Some(""));
    }

    #[test]
    fn nesting_and_part_bombs_stay_bounded() {
        let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
        let mut entity = &Entity::parse(deep.as_bytes());
        let mut depth = 0;
        while let Kind::Message(inner) = &entity.kind {
            entity = inner;
            depth += 1;
        }
        assert_eq!(depth, DEPTH_MAX);
        let wide =
            format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n{}", "--x\r\n\r\n".repeat(50_000));
        let Kind::Multi(parts) = Entity::parse(wide.as_bytes()).kind else { panic!() };
        assert!(parts.len() <= PARTS_MAX);
    }
}
