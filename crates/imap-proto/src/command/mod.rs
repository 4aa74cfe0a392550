//! What a client says.

mod append;
mod encode;
mod fetch;
mod mailboxes;
mod metadata;
mod notify;
mod parse;
mod search;
mod urlauth;

use std::borrow::Cow;

pub use append::{AppendData, AppendHead, AppendMessage, CatenatePart, LiteralKind};
pub use encode::EncodedCommand;
pub(crate) use encode::write_id;
pub use fetch::{
    FetchItem, FetchItemList, FetchItems, FetchModifier, FetchModifiers, PartPath, Partial, PartialRange,
    Section, SectionText,
};
pub(crate) use fetch::{mod_seq, part_path, section, write_part, write_section};
pub use mailboxes::{
    CreateParam, CreateParams, List, ListReturn, ListReturns, ListSelection, ListSelections, Pattern,
    Patterns, SelectParam, SelectParams,
};
pub use metadata::{
    AclChange, GetMetadata, MetadataDepth, MetadataEntries, MetadataEntry, QuotaLimit, QuotaLimits,
};
pub use notify::{MailboxFilter, MailboxFilters, Notify, NotifyEvent, NotifyEvents, NotifyGroup};
pub(crate) use parse::{append_start, id_fields};
pub use search::{
    AnnotationKey, EntryKind, ModSeqEntry, SearchKey, SearchKeys, SearchReturn, SearchReturns, SortCriteria,
    SortCriterion, SortKey, Subkey,
};
pub use urlauth::{UrlItem, UrlRequest, UrlRequests};

use crate::own::into_owned;
use crate::status::StatusItems;
use crate::text::Strings;
use crate::{Atom, Capabilities, Flags, Mailbox, Opaque, Secret, SeqNum, SequenceSet, Tag};

/// One command with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Command<'a> {
    /// Chosen by the client; the final response carries it.
    pub tag: Tag<'a>,
    /// What is to be done.
    pub body: CommandBody<'a>,
}

/// Every command of RFC 3501 section 6, RFC 9051 and the extensions. Strings are octets: RFC 3501 leaves their charset to
/// the context. Sections are those of RFC 3501 where no RFC is named.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
#[allow(missing_docs)] // The fields bear the grammar's names.
pub enum CommandBody<'a> {
    /// CAPABILITY, section 6.1.1.
    Capability,
    /// NOOP, section 6.1.2.
    Noop,
    /// LOGOUT, section 6.1.3.
    Logout,
    /// STARTTLS, section 6.2.1. See [`CommandDecoder::discard_plaintext`](crate::CommandDecoder::discard_plaintext).
    StartTls,
    /// AUTHENTICATE, section 6.2.2, with RFC 4959's initial response, decoded (`=` is an empty one).
    Authenticate { mechanism: Atom<'a>, initial: Option<Secret<'a>> },
    /// LOGIN, section 6.2.3.
    Login { user: Cow<'a, [u8]>, password: Secret<'a> },
    /// UNAUTHENTICATE, RFC 8437.
    Unauthenticate,
    /// ENABLE, RFC 5161.
    Enable(Capabilities<'a>),
    /// ID, RFC 2971: fields and values, or NIL.
    Id(Option<Vec<IdField<'a>>>),
    /// COMPRESS, RFC 4978: the algorithm, `DEFLATE`. After its OK everything is compressed.
    Compress(Atom<'a>),
    /// SELECT, section 6.3.1.
    Select { mailbox: Mailbox<'a>, params: SelectParams<'a> },
    /// EXAMINE, section 6.3.2.
    Examine { mailbox: Mailbox<'a>, params: SelectParams<'a> },
    /// CREATE, section 6.3.3.
    Create { mailbox: Mailbox<'a>, params: CreateParams<'a> },
    /// DELETE, section 6.3.4.
    Delete(Mailbox<'a>),
    /// RENAME, section 6.3.5.
    Rename { from: Mailbox<'a>, to: Mailbox<'a> },
    /// SUBSCRIBE, section 6.3.6.
    Subscribe(Mailbox<'a>),
    /// UNSUBSCRIBE, section 6.3.7.
    Unsubscribe(Mailbox<'a>),
    /// LIST, section 6.3.8 and RFC 5258.
    List(List<'a>),
    /// LSUB, section 6.3.9.
    Lsub { reference: Mailbox<'a>, pattern: Pattern<'a> },
    /// RLIST, RFC 2193: LIST, with the mailboxes of other servers.
    Rlist { reference: Mailbox<'a>, pattern: Pattern<'a> },
    /// RLSUB, RFC 2193: LSUB, with the mailboxes of other servers.
    Rlsub { reference: Mailbox<'a>, pattern: Pattern<'a> },
    /// STATUS, section 6.3.10.
    Status { mailbox: Mailbox<'a>, items: StatusItems<'a> },
    /// NAMESPACE, RFC 2342.
    Namespace,
    /// APPEND, section 6.3.11; several messages with RFC 3502. A server's decoder hands out their octets in pieces first, see
    /// [`AppendStart`](crate::AppendStart).
    Append { mailbox: Mailbox<'a>, messages: Vec<AppendMessage<'a>> },
    /// REPLACE, RFC 8508.
    Replace { uid: bool, n: SeqNum, mailbox: Mailbox<'a>, message: Box<AppendMessage<'a>> },
    /// IDLE, RFC 2177. The line that ends it comes as [`Event::Line`](crate::Event::Line).
    Idle,
    /// NOTIFY, RFC 5465.
    Notify(Notify<'a>),
    /// CHECK, section 6.4.1.
    Check,
    /// CLOSE, section 6.4.2.
    Close,
    /// UNSELECT, RFC 3691.
    Unselect,
    /// EXPUNGE, section 6.4.3.
    Expunge,
    /// UID EXPUNGE, RFC 4315.
    UidExpunge(SequenceSet),
    /// SEARCH, section 6.4.4. All keys must match. `returns` is RFC 4731's RETURN.
    Search {
        uid: bool,
        returns: Option<SearchReturns<'a>>,
        charset: Option<Cow<'a, [u8]>>,
        keys: SearchKeys<'a>,
    },
    /// SORT, RFC 5256; `returns` by RFC 5267.
    Sort {
        uid: bool,
        returns: Option<SearchReturns<'a>>,
        criteria: SortCriteria<'a>,
        charset: Cow<'a, [u8]>,
        keys: SearchKeys<'a>,
    },
    /// THREAD, RFC 5256: ORDEREDSUBJECT, REFERENCES, REFS.
    Thread { uid: bool, algorithm: Atom<'a>, charset: Cow<'a, [u8]>, keys: SearchKeys<'a> },
    /// ESEARCH in several mailboxes, RFC 7377.
    MultiSearch(Box<MultiSearch<'a>>),
    /// CANCELUPDATE, RFC 5267: the tags of searches with UPDATE.
    CancelUpdate(Strings<'a>),
    /// FETCH, section 6.4.5. `modifiers` by RFC 4466.
    Fetch { uid: bool, set: SequenceSet, items: FetchItems<'a>, modifiers: FetchModifiers<'a> },
    /// STORE, section 6.4.6. `unchanged_since` by RFC 7162.
    Store {
        uid: bool,
        set: SequenceSet,
        unchanged_since: Option<u64>,
        action: StoreAction,
        silent: bool,
        flags: Flags<'a>,
    },
    /// COPY, section 6.4.7.
    Copy { uid: bool, set: SequenceSet, mailbox: Mailbox<'a> },
    /// MOVE, RFC 6851.
    Move { uid: bool, set: SequenceSet, mailbox: Mailbox<'a> },
    /// UIDBATCHES, RFC 10022: batches of so many messages; perhaps only these batches.
    UidBatches { size: u32, range: Option<(u32, u32)> },
    /// GETQUOTA, RFC 9208.
    GetQuota(Cow<'a, [u8]>),
    /// GETQUOTAROOT, RFC 9208.
    GetQuotaRoot(Mailbox<'a>),
    /// SETQUOTA, RFC 9208.
    SetQuota { root: Cow<'a, [u8]>, limits: QuotaLimits<'a> },
    /// SETACL, RFC 4314.
    SetAcl { mailbox: Mailbox<'a>, identifier: Cow<'a, [u8]>, change: AclChange, rights: Cow<'a, [u8]> },
    /// DELETEACL, RFC 4314.
    DeleteAcl { mailbox: Mailbox<'a>, identifier: Cow<'a, [u8]> },
    /// GETACL, RFC 4314.
    GetAcl(Mailbox<'a>),
    /// LISTRIGHTS, RFC 4314.
    ListRights { mailbox: Mailbox<'a>, identifier: Cow<'a, [u8]> },
    /// MYRIGHTS, RFC 4314.
    MyRights(Mailbox<'a>),
    /// GETMETADATA, RFC 5464.
    GetMetadata(Box<GetMetadata<'a>>),
    /// SETMETADATA, RFC 5464.
    SetMetadata { mailbox: Mailbox<'a>, entries: MetadataEntries<'a> },
    /// STORE ANNOTATION, RFC 5257: `(entry (attribute value ...) ...)`.
    StoreAnnotation { uid: bool, set: SequenceSet, unchanged_since: Option<u64>, entries: Opaque<'a> },
    /// STORE X-GM-LABELS, Gmail's X-GM-EXT-1: labels as Gmail writes them, `(\Inbox "a b")`.
    StoreLabels { uid: bool, set: SequenceSet, action: StoreAction, silent: bool, labels: Opaque<'a> },
    /// GENURLAUTH, RFC 4467: URLs, and the mechanism by which each is to be authorized.
    GenUrlAuth(Vec<(Cow<'a, [u8]>, Atom<'a>)>),
    /// RESETKEY, RFC 4467: of one mailbox, perhaps for some mechanisms only; or of all.
    ResetKey(Option<(Mailbox<'a>, Vec<Atom<'a>>)>),
    /// URLFETCH, RFC 4467; with what is wanted of each URL by RFC 5524.
    UrlFetch(UrlRequests<'a>),
    /// LANGUAGE, RFC 5255: languages in order of preference; none to ask which there are.
    Language(Strings<'a>),
    /// COMPARATOR, RFC 5255: collations in order of preference; none to ask which is in use.
    Comparator(Strings<'a>),
    /// GETJMAPACCESS, RFC 9698.
    GetJmapAccess,
    /// CONVERT, RFC 5259: `(type (parameters))` or `(NIL)`, and the items wanted.
    Convert { uid: bool, set: SequenceSet, to: Opaque<'a>, items: Opaque<'a> },
    /// CONVERSIONS, RFC 5259: media types, perhaps with wildcards.
    Conversions { from: Cow<'a, [u8]>, to: Cow<'a, [u8]> },
}

/// ESEARCH (RFC 7377 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MultiSearch<'a> {
    /// IN: which mailboxes; the selected one if absent.
    pub mailboxes: Option<MailboxFilters<'a>>,
    /// RETURN
    pub returns: Option<SearchReturns<'a>>,
    /// CHARSET
    pub charset: Option<Cow<'a, [u8]>>,
    /// All must match.
    pub keys: SearchKeys<'a>,
}

/// An ID field and its value, NIL being `None`.
pub type IdField<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

/// What STORE does with its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum StoreAction {
    /// `FLAGS`: they become the message's flags.
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

into_owned!(copy StoreAction);
into_owned!(struct Command { tag, body });
into_owned!(struct MultiSearch { mailboxes, returns, charset, keys });
into_owned!(enum CommandBody {
    Capability, Noop, Logout, StartTls, Authenticate { mechanism, initial }, Login { user, password }, Unauthenticate,
    Enable(names), Id(fields), Compress(algorithm), Select { mailbox, params }, Examine { mailbox, params },
    Create { mailbox, params }, Delete(m), Rename { from, to }, Subscribe(m), Unsubscribe(m), List(list),
    Lsub { reference, pattern }, Rlist { reference, pattern }, Rlsub { reference, pattern }, Status { mailbox, items }, Namespace, Append { mailbox, messages },
    Replace { uid, n, mailbox, message }, Idle, Notify(notify), Check, Close, Unselect, Expunge, UidExpunge(set),
    Search { uid, returns, charset, keys }, Sort { uid, returns, criteria, charset, keys },
    Thread { uid, algorithm, charset, keys }, MultiSearch(search), CancelUpdate(tags),
    Fetch { uid, set, items, modifiers }, Store { uid, set, unchanged_since, action, silent, flags },
    Copy { uid, set, mailbox }, Move { uid, set, mailbox }, UidBatches { size, range }, GetQuota(root), GetQuotaRoot(m),
    SetQuota { root, limits }, SetAcl { mailbox, identifier, change, rights }, DeleteAcl { mailbox, identifier },
    GetAcl(m), ListRights { mailbox, identifier }, MyRights(m), GetMetadata(get), SetMetadata { mailbox, entries },
    StoreAnnotation { uid, set, unchanged_since, entries }, StoreLabels { uid, set, action, silent, labels },
    GetJmapAccess, GenUrlAuth(urls), ResetKey(of), UrlFetch(urls), Language(tags),
    Comparator(names), Convert { uid, set, to, items }, Conversions { from, to },
});
