//! Header fields by octets: names, unfolded values, addresses, parameters.

use std::borrow::Cow;

use posthaste_imap_proto::{Address, Addresses, Envelope};

/// Addresses taken from one field, and parameters from one value: what a flood has beyond is dropped.
const ITEMS_MAX: usize = 1000;

/// One field with its folded lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'h> {
    /// All of it, with its line ends.
    pub(super) raw: &'h [u8],
    /// Up to the colon.
    pub(super) name: &'h [u8],
    /// Behind the colon, with folds, without the last line end.
    pub(super) value: &'h [u8],
}

/// The fields of a header; lines that are none are passed over.
pub(super) fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (raw, after) = rest.split_at(field_len(rest));
            rest = after;
            if let Some(colon) = memchr::memchr(b':', raw) {
                let name = raw[..colon].trim_ascii_end();
                if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) {
                    return Some(Field { raw, name, value: raw[colon + 1..].trim_ascii() });
                }
            }
        }
        None
    })
}

/// A line, and the lines after it that begin with white space.
fn field_len(rest: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += memchr::memchr(b'\n', &rest[at..]).map_or(rest.len() - at, |lf| lf + 1);
        if !matches!(rest.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

/// The value of the first field of that name, unfolded.
pub(super) fn value<'h>(header: &'h [u8], name: &str) -> Option<Cow<'h, [u8]>> {
    let field = fields(header).find(|f| f.name.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(unfold(field.value))
}

/// Takes the line ends out; the white space that follows them stays.
pub(super) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
}

/// The header as FETCH ENVELOPE tells it. Sender and Reply-To default to From (RFC 3501 section 7.4.2).
pub(super) fn envelope(header: &[u8]) -> Envelope<'static> {
    let text = |name| value(header, name).map(|v| Cow::Owned(v.into_owned()));
    let list =
        |name| value(header, name).map_or(Addresses::default(), |v| addresses(&v).into_iter().collect());
    let from = list("From");
    let or_from = |list: Addresses<'static>| if list.is_empty() { from.clone() } else { list };
    Envelope {
        date: text("Date"),
        subject: text("Subject"),
        sender: or_from(list("Sender")),
        reply_to: or_from(list("Reply-To")),
        to: list("To"),
        cc: list("Cc"),
        bcc: list("Bcc"),
        in_reply_to: text("In-Reply-To"),
        message_id: text("Message-ID"),
        from,
    }
}

/// A token of an address list.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// An atom, with its dots, or a quoted string without its quotes.
    Word(Vec<u8>),
    Comment(Vec<u8>),
    /// One of `<>@,:;`
    Mark(u8),
}

struct Tokens<'v> {
    rest: &'v [u8],
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.rest = self.rest.trim_ascii_start();
        let first = *self.rest.first()?;
        match first {
            b'"' => Some(Token::Word(self.delimited(b'"', b'"'))),
            b'(' => Some(Token::Comment(self.delimited(b'(', b')'))),
            b'[' => {
                let mut literal = vec![b'['];
                literal.extend(self.delimited(b'[', b']'));
                literal.push(b']');
                Some(Token::Word(literal))
            }
            b'<' | b'>' | b'@' | b',' | b':' | b';' => {
                self.rest = &self.rest[1..];
                Some(Token::Mark(first))
            }
            _ => Some(self.atom()),
        }
    }
}

impl Tokens<'_> {
    fn atom(&mut self) -> Token {
        let special = |b: &u8| b.is_ascii_whitespace() || b"\"([<>@,:;".contains(b);
        // A stray closing bracket is an atom of its own, so that there is always progress.
        let n = self.rest.iter().skip(1).position(special).map_or(self.rest.len(), |n| n + 1);
        let (atom, rest) = self.rest.split_at(n);
        self.rest = rest;
        Token::Word(atom.to_vec())
    }

    /// What stands between `open` and `close`, backslashes resolved; comments nest.
    fn delimited(&mut self, open: u8, close: u8) -> Vec<u8> {
        let mut text = Vec::new();
        let mut depth = 0_u32;
        let mut bytes = self.rest.iter();
        while let Some(&b) = bytes.next() {
            match b {
                b'\\' => text.extend(bytes.next()),
                _ if b == close && (depth <= 1 || open == close) && depth > 0 => break,
                _ if b == open && depth == 0 => depth = 1,
                _ => {
                    depth = if b == open { depth + 1 } else { depth - u32::from(b == close) };
                    text.push(b);
                }
            }
        }
        self.rest = bytes.as_slice();
        text
    }
}

/// What has been read of one address.
#[derive(Default)]
struct Draft {
    words: Vec<Vec<u8>>,
    comment: Option<Vec<u8>>,
    route: Option<Vec<u8>>,
    /// The words of the name, once `<` came.
    name: Option<Vec<Vec<u8>>>,
    local: Option<Vec<u8>>,
}

/// The addresses of a field, groups as RFC 3501 section 7.4.2 tells them. Nothing is decoded.
pub(super) fn addresses(value: &[u8]) -> Vec<Address<'static>> {
    let mut list = Vec::new();
    let mut draft = Draft::default();
    for token in (Tokens { rest: value }) {
        if list.len() >= ITEMS_MAX {
            break;
        }
        match token {
            Token::Word(word) => draft.words.push(word),
            Token::Comment(text) => draft.comment = Some(text),
            Token::Mark(b'<') => draft.name = Some(std::mem::take(&mut draft.words)),
            Token::Mark(b'@') if draft.in_route() => draft.words.push(b"@".to_vec()),
            Token::Mark(b'@') => draft.local = Some(std::mem::take(&mut draft.words).concat()),
            Token::Mark(b':') if draft.name.is_some() => draft.end_route(),
            Token::Mark(b':') => {
                let group = Some(std::mem::take(&mut draft.words).join(&b' '));
                list.push(Address { mailbox: group.map(Cow::Owned), ..Address::default() });
            }
            Token::Mark(b',') if draft.in_route() => draft.words.push(b",".to_vec()),
            Token::Mark(b';') => {
                list.extend(std::mem::take(&mut draft).finish());
                list.push(Address::default());
            }
            Token::Mark(b',') => list.extend(std::mem::take(&mut draft).finish()),
            Token::Mark(_) => {}
        }
    }
    list.extend(draft.finish());
    list
}

impl Draft {
    /// `<@a,@b:` : the route stands before the colon, and a local part never begins it.
    fn in_route(&self) -> bool {
        self.name.is_some() && self.local.as_ref().is_some_and(Vec::is_empty)
    }

    fn end_route(&mut self) {
        let hosts = std::mem::take(&mut self.words).concat();
        self.route = Some([&b"@"[..], &hosts].concat());
        self.local = None;
    }

    fn finish(self) -> Option<Address<'static>> {
        let own = |bytes: Vec<u8>| Some(Cow::Owned(bytes)).filter(|b: &Cow<'static, [u8]>| !b.is_empty());
        let name = self.name.map(|words| words.join(&b' ')).filter(|n| !n.is_empty()).or(self.comment);
        let tail = self.words.concat();
        let (mailbox, host) = match self.local {
            Some(local) => (local, tail),
            None if tail.is_empty() => return None,
            // As Dovecot names what is missing; without a host it would read as a group.
            None => (tail, b"MISSING_DOMAIN".to_vec()),
        };
        Some(Address {
            name: name.and_then(own),
            route: self.route.and_then(own),
            mailbox: Some(Cow::Owned(mailbox)),
            host: Some(Cow::Owned(host)),
        })
    }
}

/// A value such as `text/plain; charset="x"`: what stands first, in lower case, and the parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Valued {
    pub(super) value: String,
    pub(super) params: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Valued {
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut pieces = semicolons(text);
        let value = pieces.next().map(strip_comment).unwrap_or_default();
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        let params = pieces.filter_map(parameter).take(ITEMS_MAX).collect();
        Self { value, params }
    }

    pub(super) fn param(&self, name: &str) -> Option<&[u8]> {
        self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| &v[..])
    }
}

fn strip_comment(piece: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'(', piece).unwrap_or(piece.len());
    piece[..end].trim_ascii()
}

/// Splits at semicolons outside quotes.
fn semicolons(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.iter().position(|&b| {
            match b {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b';' => return !quoted,
                _ => {}
            }
            false
        });
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

fn parameter(piece: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let equals = memchr::memchr(b'=', piece)?;
    let name = piece[..equals].trim_ascii();
    let value = piece[equals + 1..].trim_ascii();
    let value = match value.strip_prefix(b"\"") {
        Some(_) => Tokens { rest: value }.delimited(b'"', b'"'),
        None => strip_comment(value).to_vec(),
    };
    (!name.is_empty()).then(|| (name.to_vec(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: &str) -> Vec<String> {
        let part = |p: &Option<Cow<'_, [u8]>>| {
            p.as_ref().map_or("-".into(), |p| String::from_utf8_lossy(p).into_owned())
        };
        addresses(value.as_bytes())
            .iter()
            .map(|a| [&a.name, &a.route, &a.mailbox, &a.host].map(part).join("|"))
            .collect()
    }

    #[test]
    fn addresses_of_all_shapes_are_told_by_their_parts() {
        assert_eq!(told("a@b"), ["-|-|a|b"]);
        assert_eq!(told("Terry Gray <gray@cac.washington.edu>"), ["Terry Gray|-|gray|cac.washington.edu"]);
        assert_eq!(
            told("\"Gray, \\\"T\\\"\" <g@x> , b@y (Bob (jr))"),
            ["Gray, \"T\"|-|g|x", "Bob (jr)|-|b|y"]
        );
        assert_eq!(told("=?utf-8?q?J=C3=B6?= <j@x>"), ["=?utf-8?q?J=C3=B6?=|-|j|x"]);
        assert_eq!(
            told("A Group: a@b, C <c@d>; e@f"),
            ["-|-|A Group|-", "-|-|a|b", "C|-|c|d", "-|-|-|-", "-|-|e|f"]
        );
        assert_eq!(told("undisclosed-recipients:;"), ["-|-|undisclosed-recipients|-", "-|-|-|-"]);
        assert_eq!(told("<@a,@b:joe@x>"), ["-|@a,@b|joe|x"]);
        assert_eq!(told("x@[127.0.0.1], \"a b\"@c"), ["-|-|x|[127.0.0.1]", "-|-|a b|c"]);
        assert_eq!(told("root"), ["-|-|root|MISSING_DOMAIN"]);
        assert_eq!(told(" , ,"), Vec::<String>::new());
        assert_eq!(told("(((("), Vec::<String>::new());
        assert_eq!(told("\"unclosed <a@b>"), ["-|-|unclosed <a@b>|MISSING_DOMAIN"]);
    }

    #[test]
    fn values_split_into_what_they_are_and_parameters() {
        let v = Valued::parse(b"Text/Plain (x); charset=\"a;\\\"b\" ; name=c d; =x; y");
        assert_eq!(v.value, "text/plain");
        assert_eq!(v.param("CHARSET"), Some(&b"a;\"b"[..]));
        assert_eq!(v.param("name"), Some(&b"c d"[..]));
        assert_eq!(v.params.len(), 2);
    }

    #[test]
    fn folded_fields_are_one_field() {
        let header = b"A: 1\r\nSubject: a\r\n b\r\n\tc\r\nnonsense\r\nB:2\r\n\r\n";
        let all: Vec<_> = fields(header).map(|f| f.name).collect();
        assert_eq!(all, [&b"A"[..], b"Subject", b"B"]);
        assert_eq!(*value(header, "subject").unwrap(), *b"a b\tc");
    }
}
