use super::mailbox::{write_namespaces, write_quota, write_strings};
use super::search::{write_ids, write_uid_batches};
use super::{Data, FetchData, Response, Status, StatusKind};
use crate::command::{write_id, write_part, write_section};
use crate::flag::write_flags;
use crate::write::Writer;
use crate::{BodyStructure, DateTime, Envelope, Flag, Payload, Section, chars};

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
                w.raw(tag.as_bytes());
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
            code.write(w);
            w.raw("] ");
            w.text(&status.text);
        }
        None => w.text(status.text.trim_start_matches('[')),
    }
}

fn write_data(w: &mut Writer<'_>, data: &Data<'_>) {
    match data {
        Data::Fetch { seq, items } => write_fetch(w, seq.get(), " FETCH (", items),
        Data::UidFetch { uid, items } => write_fetch(w, uid.get(), " UIDFETCH (", items),
        Data::Search { ids, mod_seq } => write_ids(w, "* SEARCH", ids.iter().copied(), *mod_seq),
        Data::Sort { ids, mod_seq } => write_ids(w, "* SORT", ids.iter().copied(), *mod_seq),
        _ => {
            w.raw("* ");
            write_plain(w, data);
        }
    }
}

fn write_fetch(w: &mut Writer<'_>, n: u32, name: &'static str, items: &[FetchData<'_>]) {
    let mut fetch = FetchWriter::start(w.out, n, name);
    items.iter().for_each(|item| fetch.item(item));
    fetch.end_without_crlf();
}

fn write_plain(w: &mut Writer<'_>, data: &Data<'_>) {
    match data {
        Data::Capability(list) => {
            w.raw("CAPABILITY ");
            list.write_bare(w);
        }
        Data::Enabled(list) => {
            w.raw("ENABLED");
            w.raw(if list.is_empty() { "" } else { " " });
            list.write_bare(w);
        }
        Data::List(entry) => {
            w.raw("LIST ");
            entry.write(w);
        }
        Data::Lsub(entry) => {
            w.raw("LSUB ");
            entry.write(w);
        }
        Data::Status { mailbox, items } => {
            w.raw("STATUS ");
            w.astring(mailbox.as_wire());
            w.raw(" ");
            items.write_paren(w);
        }
        Data::Flags(flags) => {
            w.raw("FLAGS ");
            flags.write_paren(w);
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
        Data::Vanished { earlier, uids } => {
            w.raw(if *earlier { "VANISHED (EARLIER) " } else { "VANISHED " });
            uids.encode(w.out);
        }
        Data::Namespace(spaces) => {
            w.raw("NAMESPACE ");
            write_namespaces(w, spaces);
        }
        Data::Id(fields) => {
            w.raw("ID ");
            write_id(w, fields.as_deref());
        }
        _ => write_of_extension(w, data),
    }
}

fn write_of_extension(w: &mut Writer<'_>, data: &Data<'_>) {
    match data {
        Data::Thread(threads) => {
            w.raw("THREAD");
            w.raw(if threads.is_empty() { "" } else { " " });
            threads.iter().for_each(|thread| thread.write(w));
        }
        Data::Esearch(found) => found.write(w),
        Data::Quota { root, resources } => write_quota(w, root, resources),
        Data::QuotaRoot { mailbox, roots } => {
            w.raw("QUOTAROOT ");
            w.astring(mailbox.as_wire());
            write_strings(w, roots);
        }
        Data::Acl { mailbox, entries } => {
            w.raw("ACL ");
            w.astring(mailbox.as_wire());
            for (identifier, rights) in entries {
                w.raw(" ");
                w.astring(identifier);
                w.raw(" ");
                w.astring(rights);
            }
        }
        Data::ListRights { mailbox, identifier, always, grantable } => {
            w.raw("LISTRIGHTS ");
            w.astring(mailbox.as_wire());
            w.raw(" ");
            w.astring(identifier);
            w.raw(" ");
            w.astring(always);
            write_strings(w, grantable);
        }
        Data::MyRights { mailbox, rights } => {
            w.raw("MYRIGHTS ");
            w.astring(mailbox.as_wire());
            w.raw(" ");
            w.astring(rights);
        }
        Data::Metadata { mailbox, entries } => {
            w.raw("METADATA ");
            w.astring(mailbox.as_wire());
            w.raw(" ");
            entries.write_paren(w);
        }
        Data::MetadataChanged { mailbox, names } => {
            w.raw("METADATA ");
            w.astring(mailbox.as_wire());
            write_strings(w, names);
        }
        Data::UidBatches { of, batches } => write_uid_batches(w, of, batches),
        Data::GenUrlAuth(urls) => {
            w.raw("GENURLAUTH");
            write_strings(w, urls);
        }
        Data::UrlFetch(urls) => {
            w.raw("URLFETCH");
            for url in urls {
                w.raw(" ");
                url.write(w);
            }
        }
        Data::Language(tags) => {
            w.raw("LANGUAGE ");
            w.list(tags, |w, tag| w.astring(tag));
        }
        Data::Comparator { active, others } => {
            w.raw("COMPARATOR ");
            w.astring(active);
            if !others.is_empty() {
                w.raw(" ");
                w.list(others, |w, name| w.astring(name));
            }
        }
        Data::Conversion { from, to, params } => {
            w.raw("CONVERSION ");
            w.string(from);
            w.raw(" ");
            w.string(to);
            w.raw(" ");
            w.list(params, |w, name| w.string(&name));
        }
        Data::JmapAccess(url) => {
            w.raw("JMAPACCESS ");
            w.quoted_only(url);
        }
        Data::Other(raw) => w.raw(raw),
        // The others were written before.
        _ => {}
    }
}

/// Appends `* SEARCH 1 2 3` CRLF from an iterator.
pub fn encode_search(out: &mut Vec<u8>, ids: impl IntoIterator<Item = u32>) {
    let w = &mut Writer::response(out);
    write_ids(w, "* SEARCH", ids, None);
    w.raw("\r\n");
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
        Self::start(out, seq, " FETCH (")
    }

    /// Starts a UIDFETCH response (RFC 9586): the message is known by its UID alone.
    pub fn uid_only(out: &'o mut Vec<u8>, uid: u32) -> Self {
        Self::start(out, uid, " UIDFETCH (")
    }

    fn start(out: &'o mut Vec<u8>, n: u32, name: &'static str) -> Self {
        let mut w = Writer::response(out);
        w.raw("* ");
        w.number(n);
        w.raw(name);
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

    /// MODSEQ (RFC 7162)
    pub fn mod_seq(&mut self, n: u64) {
        let mut w = self.named("MODSEQ (");
        w.number(n);
        w.raw(")");
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
        write_origin(&mut w, origin);
        w.raw(" ");
        write_payload(&mut w, data);
    }

    /// Starts `BODY[section]<origin>` with the announcement of a literal. Append its octets to the output by other means, then go
    /// on with [`resume`](Self::resume): so a large message need not be copied.
    pub fn section_start(mut self, section: &Section<'_>, origin: Option<u32>, octets: u64) {
        let mut w = self.named("BODY");
        write_section(&mut w, section);
        write_origin(&mut w, origin);
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

    /// Any item.
    ///
    /// # Panics
    /// With debug assertions, on [`Payload::Streamed`]: its octets are gone. Without, it is written as NIL.
    pub fn item(&mut self, item: &FetchData<'_>) {
        match item {
            FetchData::Flags(flags) => flags.write_paren(&mut self.named("FLAGS ")),
            FetchData::Uid(uid) => self.uid(uid.get()),
            FetchData::InternalDate(date) => self.internal_date(*date),
            FetchData::Rfc822Size(octets) => self.size(*octets),
            FetchData::Envelope(envelope) => envelope.write(&mut self.named("ENVELOPE ")),
            FetchData::Body(body) => self.structure("BODY", body),
            FetchData::BodyStructure(body) => self.structure("BODYSTRUCTURE", body),
            FetchData::Rfc822(data) => self.rfc822("RFC822", octets(data)),
            FetchData::Rfc822Header(data) => self.rfc822("RFC822.HEADER", octets(data)),
            FetchData::Rfc822Text(data) => self.rfc822("RFC822.TEXT", octets(data)),
            FetchData::Section { section, origin, data } => self.section(section, *origin, octets(data)),
            FetchData::ModSeq(n) => self.mod_seq(*n),
            other => self.item_of_extension(other),
        }
    }

    fn item_of_extension(&mut self, item: &FetchData<'_>) {
        match item {
            FetchData::Binary { part, origin, data } => {
                let mut w = self.named("BINARY");
                write_part(&mut w, part);
                write_origin(&mut w, *origin);
                w.raw(" ");
                write_payload(&mut w, octets(data));
            }
            FetchData::BinarySize { part, octets } => {
                let mut w = self.named("BINARY.SIZE");
                write_part(&mut w, part);
                w.numbered(" ", *octets);
            }
            FetchData::EmailId(id) => {
                let mut w = self.named("EMAILID (");
                w.word(id.as_str(), ")");
            }
            FetchData::ThreadId(Some(id)) => {
                let mut w = self.named("THREADID (");
                w.word(id.as_str(), ")");
            }
            FetchData::ThreadId(None) => drop(self.named("THREADID NIL")),
            FetchData::SaveDate(Some(date)) => date.write(&mut self.named("SAVEDATE ")),
            FetchData::SaveDate(None) => drop(self.named("SAVEDATE NIL")),
            FetchData::Preview(text) => self.named("PREVIEW ").nstring(text.as_deref()),
            FetchData::Other { name, value } => {
                let mut w = self.named("");
                w.out.extend(name.bytes().filter(|b| chars::is(*b, chars::ASTRING)));
                w.raw(" ");
                value.write(&mut w);
            }
            // The others were written before.
            _ => {}
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

pub(super) fn octets<'p>(data: &'p Option<Payload<'_>>) -> Option<&'p [u8]> {
    let data = data.as_ref()?;
    debug_assert!(data.bytes().is_some(), "the octets of a streamed literal are gone");
    data.bytes()
}

fn write_origin(w: &mut Writer<'_>, origin: Option<u32>) {
    if let Some(origin) = origin {
        w.numbered("<", origin);
        w.raw(">");
    }
}

fn write_payload(w: &mut Writer<'_>, data: Option<&[u8]>) {
    match data {
        Some(data) => w.literal(data),
        None => w.raw("NIL"),
    }
}
