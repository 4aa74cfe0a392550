use super::{Code, Data, FetchData, ListEntry, Namespace, Payload, Response, Status, StatusKind};
use crate::command::{write_id, write_section};
use crate::flag::write_flags;
use crate::write::Writer;
use crate::{BodyStructure, DateTime, Envelope, Flag, Section, chars};

impl Response<'_> {
    /// Appends the response with its final CRLF. Allocates nothing but `out`'s growth.
    ///
    /// # Panics
    /// With debug assertions, on [`Payload::Streamed`]: its octets are gone. Without, it is written as NIL.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let w = &mut Writer::response(out);
        match self {
            Response::Continue(text) => {
                w.raw("+ ");
                w.text(text);
            }
            Response::Tagged { tag, status } => {
                w.raw(tag.as_str());
                w.raw(" ");
                write_status(w, status);
            }
            Response::Status(status) => {
                w.raw("* ");
                write_status(w, status);
            }
            Response::Data(data) => write_data(w, data),
        }
        w.raw("\r\n");
    }
}

fn write_status(w: &mut Writer<'_>, status: &Status<'_>) {
    w.raw(match status.kind {
        StatusKind::Ok => "OK ",
        StatusKind::No => "NO ",
        StatusKind::Bad => "BAD ",
        StatusKind::PreAuth => "PREAUTH ",
        StatusKind::Bye => "BYE ",
    });
    match &status.code {
        Some(code) => {
            w.raw("[");
            write_code(w, code);
            w.raw("] ");
            w.text(&status.text);
        }
        None => w.text(status.text.trim_start_matches('[')),
    }
}

fn write_code(w: &mut Writer<'_>, code: &Code<'_>) {
    match code {
        Code::BadCharset(charsets) => {
            w.raw("BADCHARSET");
            if !charsets.is_empty() {
                w.raw(" ");
                w.list(charsets, |w, c| w.raw(c.as_str()));
            }
        }
        Code::Capability(list) => {
            w.raw("CAPABILITY ");
            w.spaced(list, |w, c| w.raw(c.as_str()));
        }
        Code::PermanentFlags(flags) => {
            w.raw("PERMANENTFLAGS ");
            write_flags(w, flags);
        }
        Code::UidNext(n) => numbered(w, "UIDNEXT ", n.get()),
        Code::UidValidity(n) => numbered(w, "UIDVALIDITY ", n.get()),
        Code::Unseen(n) => numbered(w, "UNSEEN ", n.get()),
        Code::AppendUid { uid_validity, uids } => {
            numbered(w, "APPENDUID ", uid_validity.get());
            w.raw(" ");
            uids.encode(w.out);
        }
        Code::CopyUid { uid_validity, from, to } => {
            numbered(w, "COPYUID ", uid_validity.get());
            w.raw(" ");
            from.encode(w.out);
            w.raw(" ");
            to.encode(w.out);
        }
        Code::Other { name, value } => {
            w.raw(name.as_str());
            if let Some(value) = value {
                w.raw(" ");
                w.out.extend(value.iter().filter(|b| !matches!(b, 0 | b'\r' | b'\n')));
            }
        }
        plain => w.raw(plain.plain_name()),
    }
}

fn numbered(w: &mut Writer<'_>, name: &str, n: u32) {
    w.raw(name);
    w.number(n);
}

fn write_data(w: &mut Writer<'_>, data: &Data<'_>) {
    match data {
        Data::Fetch { seq, items } => {
            let mut fetch = FetchWriter::new(w.out, seq.get());
            items.iter().for_each(|item| fetch.item(item));
            return fetch.end_without_crlf();
        }
        Data::Search(ids) => return write_search(w, ids.iter().copied()),
        _ => w.raw("* "),
    }
    match data {
        Data::Capability(list) => {
            w.raw("CAPABILITY ");
            w.spaced(list, |w, c| w.raw(c.as_str()));
        }
        Data::List(entry) => write_entry(w, "LIST ", entry),
        Data::Lsub(entry) => write_entry(w, "LSUB ", entry),
        Data::Status { mailbox, items } => {
            w.raw("STATUS ");
            w.astring(mailbox.as_wire());
            w.raw(" ");
            w.list(items, |w, (item, n)| {
                w.raw(item.name());
                w.raw(" ");
                w.number(*n);
            });
        }
        Data::Flags(flags) => {
            w.raw("FLAGS ");
            write_flags(w, flags);
        }
        Data::Exists(n) => {
            w.number(*n);
            w.raw(" EXISTS");
        }
        Data::Recent(n) => {
            w.number(*n);
            w.raw(" RECENT");
        }
        Data::Expunge(n) => {
            w.number(n.get());
            w.raw(" EXPUNGE");
        }
        Data::Namespace(spaces) => {
            w.raw("NAMESPACE ");
            w.spaced(spaces.iter(), |w, space| write_namespace(w, space.as_deref()));
        }
        Data::Id(fields) => {
            w.raw("ID ");
            write_id(w, fields.as_deref());
        }
        Data::Other(raw) => w.raw(raw),
        Data::Fetch { .. } | Data::Search(_) => {}
    }
}

fn write_delimiter(w: &mut Writer<'_>, delimiter: Option<u8>) {
    match delimiter {
        Some(d) => w.quoted(&[d]),
        None => w.raw("NIL"),
    }
}

fn write_entry(w: &mut Writer<'_>, name: &str, entry: &ListEntry<'_>) {
    w.raw(name);
    write_flags(w, &entry.attributes);
    w.raw(" ");
    write_delimiter(w, entry.delimiter);
    w.raw(" ");
    w.astring(entry.mailbox.as_wire());
}

fn write_namespace(w: &mut Writer<'_>, space: Option<&[Namespace<'_>]>) {
    let Some(space) = space else { return w.raw("NIL") };
    w.raw("(");
    for one in space {
        w.raw("(");
        w.string(one.prefix.as_wire());
        w.raw(" ");
        write_delimiter(w, one.delimiter);
        w.raw(")");
    }
    w.raw(")");
}

/// Appends `* SEARCH 1 2 3` CRLF from an iterator.
pub fn encode_search(out: &mut Vec<u8>, ids: impl IntoIterator<Item = u32>) {
    let w = &mut Writer::response(out);
    write_search(w, ids);
    w.raw("\r\n");
}

fn write_search(w: &mut Writer<'_>, ids: impl IntoIterator<Item = u32>) {
    w.raw("* SEARCH");
    for id in ids {
        w.raw(" ");
        w.number(id);
    }
}

/// Writes a FETCH response item by item, without building a [`Response`] first and without allocating.
///
/// ```
/// use posthaste_imap_proto::{FetchWriter, Flag};
///
/// let mut out = Vec::new();
/// let mut fetch = FetchWriter::new(&mut out, 3);
/// fetch.uid(17);
/// fetch.flags(&[Flag::Seen]);
/// fetch.end();
/// assert_eq!(out, b"* 3 FETCH (UID 17 FLAGS (\\Seen))\r\n");
/// ```
#[derive(Debug)]
pub struct FetchWriter<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> FetchWriter<'o> {
    /// Starts the response for the message with sequence number `seq`.
    pub fn new(out: &'o mut Vec<u8>, seq: u32) -> Self {
        let mut w = Writer::response(out);
        w.raw("* ");
        w.number(seq);
        w.raw(" FETCH (");
        Self { out, first: true }
    }

    fn named(&mut self, name: &str) -> Writer<'_> {
        if !self.first {
            self.out.push(b' ');
        }
        self.first = false;
        let mut w = Writer::response(self.out);
        w.raw(name);
        w
    }

    /// UID
    pub fn uid(&mut self, uid: u32) {
        self.named("UID ").number(uid);
    }

    /// FLAGS
    pub fn flags(&mut self, flags: &[Flag<'_>]) {
        write_flags(&mut self.named("FLAGS "), flags);
    }

    /// INTERNALDATE
    pub fn internal_date(&mut self, date: DateTime) {
        date.write(&mut self.named("INTERNALDATE "));
    }

    /// RFC822.SIZE, in octets
    pub fn size(&mut self, octets: u64) {
        self.named("RFC822.SIZE ").number(octets);
    }

    /// ENVELOPE
    pub fn envelope(&mut self, envelope: &Envelope<'_>) {
        envelope.write(&mut self.named("ENVELOPE "));
    }

    /// BODY or BODYSTRUCTURE
    pub fn structure(&mut self, name: &str, body: &BodyStructure<'_>) {
        let mut w = self.named(name);
        w.raw(" ");
        body.write(&mut w);
    }

    /// RFC822, RFC822.HEADER or RFC822.TEXT, as a literal; `None` is NIL.
    pub fn rfc822(&mut self, name: &str, data: Option<&[u8]>) {
        let mut w = self.named(name);
        w.raw(" ");
        write_payload(&mut w, data);
    }

    /// `BODY[section]<origin>`, as a literal; `None` is NIL.
    pub fn section(&mut self, section: &Section<'_>, origin: Option<u32>, data: Option<&[u8]>) {
        let mut w = self.named("BODY");
        write_section(&mut w, section);
        if let Some(origin) = origin {
            w.raw("<");
            w.number(origin);
            w.raw(">");
        }
        w.raw(" ");
        write_payload(&mut w, data);
    }

    /// Starts `BODY[section]<origin>` with the announcement of a literal. Append its octets to the output by other means, then go
    /// on with [`resume`](Self::resume): so a large message need not be copied.
    pub fn section_start(mut self, section: &Section<'_>, origin: Option<u32>, octets: u64) {
        let mut w = self.named("BODY");
        write_section(&mut w, section);
        if let Some(origin) = origin {
            w.raw("<");
            w.number(origin);
            w.raw(">");
        }
        announce(&mut w, octets);
    }

    /// Starts RFC822, RFC822.HEADER or RFC822.TEXT, likewise.
    pub fn rfc822_start(mut self, name: &str, octets: u64) {
        announce(&mut self.named(name), octets);
    }

    /// Writes one item at the very place where `out` ends, without a space before it: for a caller that writes the rest of
    /// the response itself.
    pub fn first_item(out: &'o mut Vec<u8>) -> Self {
        Self { out, first: true }
    }

    /// Goes on with a response after the octets of a literal.
    pub fn resume(out: &'o mut Vec<u8>) -> Self {
        Self { out, first: false }
    }

    fn item(&mut self, item: &FetchData<'_>) {
        match item {
            FetchData::Flags(flags) => self.flags(flags),
            FetchData::Uid(uid) => self.uid(uid.get()),
            FetchData::InternalDate(date) => self.internal_date(*date),
            FetchData::Rfc822Size(octets) => self.size(*octets),
            FetchData::Envelope(envelope) => self.envelope(envelope),
            FetchData::Body(body) => self.structure("BODY", body),
            FetchData::BodyStructure(body) => self.structure("BODYSTRUCTURE", body),
            FetchData::Rfc822(data) => self.rfc822("RFC822", octets(data)),
            FetchData::Rfc822Header(data) => self.rfc822("RFC822.HEADER", octets(data)),
            FetchData::Rfc822Text(data) => self.rfc822("RFC822.TEXT", octets(data)),
            FetchData::Section { section, origin, data } => self.section(section, *origin, octets(data)),
            FetchData::Other { name, value } => {
                let mut w = self.named("");
                w.out.extend(name.bytes().filter(|b| chars::is(*b, chars::ASTRING)));
                w.raw(" ");
                w.raw(value);
            }
        }
    }

    /// Ends the response.
    pub fn end(self) {
        self.out.extend_from_slice(b")\r\n");
    }

    fn end_without_crlf(self) {
        self.out.push(b')');
    }
}

fn announce(w: &mut Writer<'_>, octets: u64) {
    w.raw(" {");
    w.number(octets);
    w.raw("}\r\n");
}

fn octets<'p>(data: &'p Payload<'_>) -> Option<&'p [u8]> {
    match data {
        Payload::Bytes(bytes) => Some(bytes),
        Payload::Nil => None,
        Payload::Streamed(_) => {
            debug_assert!(false, "the octets of a streamed literal are gone");
            None
        }
    }
}

fn write_payload(w: &mut Writer<'_>, data: Option<&[u8]>) {
    match data {
        Some(data) => w.literal(data),
        None => w.raw("NIL"),
    }
}
