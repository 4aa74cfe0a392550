//! What a server says.

mod body;
mod encode;
mod envelope;
mod parse;

use std::borrow::Cow;
use std::num::NonZeroU32;

pub use body::{
    BodyExtension, BodyPart, BodyStructure, Disposition, MultiPart, Params, PartExtension, PartKind,
};
pub use encode::{FetchWriter, encode_search};
pub use envelope::{Address, Envelope};

use crate::command::{IdField, owned_fields};
use crate::text::owned_bytes;
use crate::{Atom, DateTime, Flag, Mailbox, Section, SequenceSet, StatusItem, Tag};

/// One response (RFC 3501 section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response<'a> {
    /// `+ text`: the server waits for more of the command. The text is base64 during AUTHENTICATE.
    Continue(Cow<'a, str>),
    /// The end of a command.
    Tagged {
        /// The command's tag.
        tag: Tag<'a>,
        /// OK, NO or BAD.
        status: Status<'a>,
    },
    /// An untagged status; the greeting is one.
    Status(Status<'a>),
    /// Untagged data.
    Data(Data<'a>),
}

/// A status response (section 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status<'a> {
    /// Its first word.
    pub kind: StatusKind,
    /// What stands in brackets.
    pub code: Option<Code<'a>>,
    /// Text for humans. Must not start with `[` when there is no code.
    pub text: Cow<'a, str>,
}

/// The first word of a status response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Section 7.1 defines them.
pub enum StatusKind {
    Ok,
    No,
    Bad,
    PreAuth,
    Bye,
}

impl<'a> Status<'a> {
    /// A status without a code.
    pub fn new(kind: StatusKind, text: impl Into<Cow<'a, str>>) -> Self {
        Self { kind, code: None, text: text.into() }
    }

    /// The same with a code.
    pub fn with_code(self, code: Code<'a>) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same status, independent of the input buffer.
    pub fn into_owned(self) -> Status<'static> {
        Status {
            kind: self.kind,
            code: self.code.map(Code::into_owned),
            text: Cow::Owned(self.text.into_owned()),
        }
    }
}

/// A response code: RFC 3501 section 7.1, RFC 4315 section 3, RFC 5530 section 3, RFC 4469 (TOOBIG).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // The variants bear the RFCs' names, which define them.
pub enum Code<'a> {
    Alert,
    BadCharset(Vec<Atom<'a>>),
    Capability(Vec<Atom<'a>>),
    Parse,
    PermanentFlags(Vec<Flag<'a>>),
    ReadOnly,
    ReadWrite,
    TryCreate,
    UidNext(NonZeroU32),
    UidValidity(NonZeroU32),
    Unseen(NonZeroU32),
    AppendUid {
        uid_validity: NonZeroU32,
        uids: SequenceSet,
    },
    CopyUid {
        uid_validity: NonZeroU32,
        from: SequenceSet,
        to: SequenceSet,
    },
    UidNotSticky,
    Unavailable,
    AuthenticationFailed,
    AuthorizationFailed,
    Expired,
    PrivacyRequired,
    ContactAdmin,
    NoPerm,
    InUse,
    ExpungeIssued,
    Corruption,
    ServerBug,
    ClientBug,
    Cannot,
    Limit,
    OverQuota,
    AlreadyExists,
    NonExistent,
    TooBig,
    Closed,
    UnknownCte,
    /// Any other, with what follows its name up to the bracket.
    Other {
        name: Atom<'a>,
        value: Option<Cow<'a, [u8]>>,
    },
}

impl Code<'_> {
    const PLAIN: [(&'static str, Code<'static>); 25] = [
        ("ALERT", Code::Alert),
        ("PARSE", Code::Parse),
        ("READ-ONLY", Code::ReadOnly),
        ("READ-WRITE", Code::ReadWrite),
        ("TRYCREATE", Code::TryCreate),
        ("UIDNOTSTICKY", Code::UidNotSticky),
        ("UNAVAILABLE", Code::Unavailable),
        ("AUTHENTICATIONFAILED", Code::AuthenticationFailed),
        ("AUTHORIZATIONFAILED", Code::AuthorizationFailed),
        ("EXPIRED", Code::Expired),
        ("PRIVACYREQUIRED", Code::PrivacyRequired),
        ("CONTACTADMIN", Code::ContactAdmin),
        ("NOPERM", Code::NoPerm),
        ("INUSE", Code::InUse),
        ("EXPUNGEISSUED", Code::ExpungeIssued),
        ("CORRUPTION", Code::Corruption),
        ("SERVERBUG", Code::ServerBug),
        ("CLIENTBUG", Code::ClientBug),
        ("CANNOT", Code::Cannot),
        ("LIMIT", Code::Limit),
        ("OVERQUOTA", Code::OverQuota),
        ("ALREADYEXISTS", Code::AlreadyExists),
        ("NONEXISTENT", Code::NonExistent),
        ("TOOBIG", Code::TooBig),
        ("CLOSED", Code::Closed),
    ];

    fn plain(name: &[u8]) -> Option<Code<'static>> {
        if name.eq_ignore_ascii_case(b"UNKNOWN-CTE") {
            return Some(Code::UnknownCte);
        }
        Code::PLAIN.into_iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name)).map(|(_, c)| c)
    }

    fn plain_name(&self) -> &'static str {
        Code::PLAIN.iter().find(|(_, c)| c == self).map_or("UNKNOWN-CTE", |(n, _)| n)
    }

    /// The same code, independent of the input buffer.
    pub fn into_owned(self) -> Code<'static> {
        match self {
            Code::BadCharset(c) => Code::BadCharset(owned_atoms(c)),
            Code::Capability(c) => Code::Capability(owned_atoms(c)),
            Code::PermanentFlags(f) => Code::PermanentFlags(owned_flags(f)),
            Code::UidNext(n) => Code::UidNext(n),
            Code::UidValidity(n) => Code::UidValidity(n),
            Code::Unseen(n) => Code::Unseen(n),
            Code::AppendUid { uid_validity, uids } => Code::AppendUid { uid_validity, uids },
            Code::CopyUid { uid_validity, from, to } => Code::CopyUid { uid_validity, from, to },
            Code::Other { name, value } => {
                Code::Other { name: name.into_owned(), value: value.map(owned_bytes) }
            }
            plain => Code::plain(plain.plain_name().as_bytes()).unwrap_or(Code::Alert),
        }
    }
}

/// Untagged data (sections 7.2 to 7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields bear the grammar's names.
pub enum Data<'a> {
    Capability(Vec<Atom<'a>>),
    List(ListEntry<'a>),
    Lsub(ListEntry<'a>),
    Status {
        mailbox: Mailbox<'a>,
        items: Vec<(StatusItem, u32)>,
    },
    Search(Vec<u32>),
    Flags(Vec<Flag<'a>>),
    Exists(u32),
    Recent(u32),
    Expunge(NonZeroU32),
    Fetch {
        seq: NonZeroU32,
        items: Vec<FetchData<'a>>,
    },
    /// RFC 2342: personal, other users', shared; `None` is NIL.
    Namespace(Box<[Option<Vec<Namespace<'a>>>; 3]>),
    Id(Option<Vec<IdField<'a>>>),
    /// Data of an extension, from its name to the end of the line.
    Other(Cow<'a, [u8]>),
}

/// One line of LIST or LSUB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// `\Noselect`, `\HasChildren` ... as [`Flag::Extension`].
    pub attributes: Vec<Flag<'a>>,
    /// The hierarchy's delimiter; `None` in a flat namespace.
    pub delimiter: Option<u8>,
    /// The mailbox.
    pub mailbox: Mailbox<'a>,
}

/// One namespace of RFC 2342. Extension data is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace<'a> {
    /// What its mailboxes' names start with.
    pub prefix: Mailbox<'a>,
    /// Its hierarchy's delimiter.
    pub delimiter: Option<u8>,
}

/// One data item of a FETCH response (section 7.4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchData<'a> {
    /// FLAGS
    Flags(Vec<Flag<'a>>),
    /// UID
    Uid(NonZeroU32),
    /// INTERNALDATE
    InternalDate(DateTime),
    /// RFC822.SIZE, in octets
    Rfc822Size(u64),
    /// ENVELOPE
    Envelope(Box<Envelope<'a>>),
    /// BODY without a section
    Body(Box<BodyStructure<'a>>),
    /// BODYSTRUCTURE
    BodyStructure(Box<BodyStructure<'a>>),
    /// RFC822
    Rfc822(Payload<'a>),
    /// RFC822.HEADER
    Rfc822Header(Payload<'a>),
    /// RFC822.TEXT
    Rfc822Text(Payload<'a>),
    /// `BODY[section]<origin>`
    Section {
        /// Which part.
        section: Section<'a>,
        /// Where the octets start, if only some were asked for.
        origin: Option<u32>,
        /// The octets.
        data: Payload<'a>,
    },
    /// An item of an extension; the value as it stands on the wire.
    Other {
        /// Its name; it may hold a section, as `BINARY[1]` does. Of ASTRING-CHARs: others are not written.
        name: Cow<'a, str>,
        /// Its value: an atom, a string or a list.
        value: Cow<'a, [u8]>,
    },
}

/// A message's octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// NIL: there is no such part.
    Nil,
    /// All of them.
    Bytes(Cow<'a, [u8]>),
    /// So many, which [`ResponseDecoder`](crate::ResponseDecoder) streamed out before.
    Streamed(u64),
}

fn owned_flags(flags: Vec<Flag<'_>>) -> Vec<Flag<'static>> {
    flags.into_iter().map(Flag::into_owned).collect()
}

fn owned_atoms(atoms: Vec<Atom<'_>>) -> Vec<Atom<'static>> {
    atoms.into_iter().map(Atom::into_owned).collect()
}

impl Response<'_> {
    /// The same response, independent of the input buffer.
    pub fn into_owned(self) -> Response<'static> {
        match self {
            Response::Continue(text) => Response::Continue(Cow::Owned(text.into_owned())),
            Response::Tagged { tag, status } => {
                Response::Tagged { tag: tag.into_owned(), status: status.into_owned() }
            }
            Response::Status(status) => Response::Status(status.into_owned()),
            Response::Data(data) => Response::Data(data.into_owned()),
        }
    }
}

impl Data<'_> {
    /// The same data, independent of the input buffer.
    pub fn into_owned(self) -> Data<'static> {
        match self {
            Data::Capability(c) => Data::Capability(owned_atoms(c)),
            Data::List(entry) => Data::List(entry.into_owned()),
            Data::Lsub(entry) => Data::Lsub(entry.into_owned()),
            Data::Status { mailbox, items } => Data::Status { mailbox: mailbox.into_owned(), items },
            Data::Search(ids) => Data::Search(ids),
            Data::Flags(flags) => Data::Flags(owned_flags(flags)),
            Data::Exists(n) => Data::Exists(n),
            Data::Recent(n) => Data::Recent(n),
            Data::Expunge(n) => Data::Expunge(n),
            Data::Fetch { seq, items } => {
                Data::Fetch { seq, items: items.into_iter().map(FetchData::into_owned).collect() }
            }
            Data::Namespace(spaces) => Data::Namespace(Box::new(
                spaces.map(|space| space.map(|space| space.into_iter().map(Namespace::into_owned).collect())),
            )),
            Data::Id(fields) => Data::Id(fields.map(owned_fields)),
            Data::Other(raw) => Data::Other(owned_bytes(raw)),
        }
    }
}

impl ListEntry<'_> {
    /// The same entry, independent of the input buffer.
    pub fn into_owned(self) -> ListEntry<'static> {
        ListEntry {
            attributes: owned_flags(self.attributes),
            delimiter: self.delimiter,
            mailbox: self.mailbox.into_owned(),
        }
    }
}

impl Namespace<'_> {
    /// The same namespace, independent of the input buffer.
    pub fn into_owned(self) -> Namespace<'static> {
        Namespace { prefix: self.prefix.into_owned(), delimiter: self.delimiter }
    }
}

impl FetchData<'_> {
    /// The same item, independent of the input buffer.
    pub fn into_owned(self) -> FetchData<'static> {
        use FetchData as F;
        match self {
            F::Flags(f) => F::Flags(owned_flags(f)),
            F::Uid(n) => F::Uid(n),
            F::InternalDate(d) => F::InternalDate(d),
            F::Rfc822Size(n) => F::Rfc822Size(n),
            F::Envelope(e) => F::Envelope(Box::new(e.into_owned())),
            F::Body(b) => F::Body(Box::new(b.into_owned())),
            F::BodyStructure(b) => F::BodyStructure(Box::new(b.into_owned())),
            F::Rfc822(p) => F::Rfc822(p.into_owned()),
            F::Rfc822Header(p) => F::Rfc822Header(p.into_owned()),
            F::Rfc822Text(p) => F::Rfc822Text(p.into_owned()),
            F::Section { section, origin, data } => {
                F::Section { section: section.into_owned(), origin, data: data.into_owned() }
            }
            F::Other { name, value } => {
                F::Other { name: Cow::Owned(name.into_owned()), value: owned_bytes(value) }
            }
        }
    }
}

impl Payload<'_> {
    /// The same octets, independent of the input buffer.
    pub fn into_owned(self) -> Payload<'static> {
        match self {
            Payload::Nil => Payload::Nil,
            Payload::Bytes(b) => Payload::Bytes(owned_bytes(b)),
            Payload::Streamed(n) => Payload::Streamed(n),
        }
    }
}
