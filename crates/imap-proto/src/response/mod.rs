//! What a server says.

mod body;
mod code;
mod encode;
mod envelope;
mod extension;
mod fetch;
mod mailbox;
mod parse;
mod search;
mod url;

use std::borrow::Cow;
use std::num::NonZeroU32;

pub use body::{BodyNode, BodyPart, BodyStructure, MultiPart, Params, Part, PartKind};
pub use code::{Code, Progress};
pub use encode::{FetchWriter, encode_search};
pub use envelope::{Address, Addresses, Envelope, RawEnvelope};
pub use extension::{BodyExtension, BodyExtensions, Disposition, PartExtension, RawExtension};
pub use fetch::FetchData;
pub use mailbox::{ListEntry, ListExtended, Namespace, QuotaResource};
pub use search::{Correlator, Esearch, SearchResult, Thread};
pub use url::{UrlContent, UrlData, UrlMetadata};

use crate::command::{IdField, MetadataEntries};
use crate::own::into_owned;
use crate::status::StatusDataList;
use crate::text::Strings;
use crate::{Capabilities, Flags, Mailbox, SequenceSet, Tag};

/// One response (RFC 3501 section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
}

/// Whom an access control list names, and the rights (RFC 4314 section 2).
pub type AclEntry<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Untagged data (sections 7.2 to 7.4 and the extensions).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
#[allow(missing_docs)] // The fields bear the grammar's names.
pub enum Data<'a> {
    Capability(Capabilities<'a>),
    /// RFC 5161.
    Enabled(Capabilities<'a>),
    List(ListEntry<'a>),
    Lsub(ListEntry<'a>),
    Status {
        mailbox: Mailbox<'a>,
        items: StatusDataList<'a>,
    },
    /// `mod_seq` by RFC 7162.
    Search {
        ids: Vec<u32>,
        mod_seq: Option<u64>,
    },
    /// RFC 5256.
    Sort {
        ids: Vec<u32>,
        mod_seq: Option<u64>,
    },
    /// RFC 5256.
    Thread(Vec<Thread>),
    /// RFC 4731.
    Esearch(Box<Esearch<'a>>),
    Flags(Flags<'a>),
    Exists(u32),
    Recent(u32),
    Expunge(NonZeroU32),
    /// RFC 7162: expunged UIDs; `earlier` in answer to QRESYNC or VANISHED.
    Vanished {
        earlier: bool,
        uids: SequenceSet,
    },
    Fetch {
        seq: NonZeroU32,
        items: Vec<FetchData<'a>>,
    },
    /// RFC 9586: FETCH by UID alone.
    UidFetch {
        uid: NonZeroU32,
        items: Vec<FetchData<'a>>,
    },
    /// RFC 2342: personal, other users', shared; `None` is NIL.
    Namespace(Box<[Option<Vec<Namespace<'a>>>; 3]>),
    Id(Option<Vec<IdField<'a>>>),
    /// RFC 9208.
    Quota {
        root: Cow<'a, [u8]>,
        resources: Vec<QuotaResource<'a>>,
    },
    /// RFC 9208.
    QuotaRoot {
        mailbox: Mailbox<'a>,
        roots: Vec<Cow<'a, [u8]>>,
    },
    /// RFC 4314: identifiers and their rights.
    Acl {
        mailbox: Mailbox<'a>,
        entries: Vec<AclEntry<'a>>,
    },
    /// RFC 4314: the rights that the identifier always has, and sets of which each can be granted as a whole.
    ListRights {
        mailbox: Mailbox<'a>,
        identifier: Cow<'a, [u8]>,
        always: Cow<'a, [u8]>,
        grantable: Vec<Cow<'a, [u8]>>,
    },
    /// RFC 4314.
    MyRights {
        mailbox: Mailbox<'a>,
        rights: Cow<'a, [u8]>,
    },
    /// RFC 5464: entries with values.
    Metadata {
        mailbox: Mailbox<'a>,
        entries: MetadataEntries<'a>,
    },
    /// RFC 5464: entries that changed.
    MetadataChanged {
        mailbox: Mailbox<'a>,
        names: Vec<Cow<'a, [u8]>>,
    },
    /// RFC 10022: batches of UIDs, descending; and which command they answer.
    UidBatches {
        of: Correlator<'a>,
        batches: Vec<(u32, u32)>,
    },
    /// RFC 4467: the URLs with their authorization.
    GenUrlAuth(Vec<Cow<'a, [u8]>>),
    /// RFCs 4467 and 5524: URLs and what they name.
    UrlFetch(Vec<UrlData<'a>>),
    /// RFC 5255: the language in use, or those that there are.
    Language(Vec<Cow<'a, [u8]>>),
    /// RFC 5255: the collation in use, and others that there are.
    Comparator {
        active: Cow<'a, [u8]>,
        others: Vec<Cow<'a, [u8]>>,
    },
    /// RFC 5259: what can be made of a media type, and the parameters that can be given for it.
    Conversion {
        from: Cow<'a, [u8]>,
        to: Cow<'a, [u8]>,
        params: Strings<'a>,
    },
    /// RFC 9698: the URL of the JMAP session resource with the same mail.
    JmapAccess(Cow<'a, [u8]>),
    /// Data of an extension, from its name to the end of the line.
    Other(Cow<'a, [u8]>),
}

into_owned!(copy StatusKind);
into_owned!(struct Status { kind, code, text });
into_owned!(enum Response { Continue(text), Tagged { tag, status }, Status(status), Data(data) });
into_owned!(enum Data {
    Capability(c), Enabled(c), List(entry), Lsub(entry), Status { mailbox, items }, Search { ids, mod_seq },
    Sort { ids, mod_seq }, Thread(threads), Esearch(found), Flags(flags), Exists(n), Recent(n), Expunge(n),
    Vanished { earlier, uids }, Fetch { seq, items }, UidFetch { uid, items }, Namespace(spaces), Id(fields),
    Quota { root, resources }, QuotaRoot { mailbox, roots }, Acl { mailbox, entries },
    ListRights { mailbox, identifier, always, grantable }, MyRights { mailbox, rights },
    Metadata { mailbox, entries }, MetadataChanged { mailbox, names }, UidBatches { of, batches },
    GenUrlAuth(urls), UrlFetch(urls), Language(tags), Comparator { active, others }, Conversion { from, to, params },
    JmapAccess(url), Other(raw),
});
