//! What a client says.

mod encode;
mod fetch;
mod parse;
mod search;

use std::borrow::Cow;

pub use encode::EncodedCommand;
pub(crate) use encode::write_id;
pub use fetch::{FetchItem, FetchItems, Partial, Section, SectionText};
pub(crate) use fetch::{section, write_section};
pub(crate) use parse::{append_start, id_fields, mailbox};
pub use search::SearchKey;

use crate::text::owned_bytes;
use crate::{Atom, DateTime, Flag, Mailbox, Secret, SequenceSet, Tag};

/// One command with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// Chosen by the client; the final response carries it.
    pub tag: Tag<'a>,
    /// What is to be done.
    pub body: CommandBody<'a>,
}

/// Every command of RFC 3501 section 6, with UIDPLUS, IDLE, NAMESPACE, UNSELECT and ID. Strings are octets: RFC 3501
/// leaves their charset to the context.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// SELECT, section 6.3.1.
    Select(Mailbox<'a>),
    /// EXAMINE, section 6.3.2.
    Examine(Mailbox<'a>),
    /// CREATE, section 6.3.3.
    Create(Mailbox<'a>),
    /// DELETE, section 6.3.4.
    Delete(Mailbox<'a>),
    /// RENAME, section 6.3.5.
    Rename { from: Mailbox<'a>, to: Mailbox<'a> },
    /// SUBSCRIBE, section 6.3.6.
    Subscribe(Mailbox<'a>),
    /// UNSUBSCRIBE, section 6.3.7.
    Unsubscribe(Mailbox<'a>),
    /// LIST, section 6.3.8. The pattern is modified UTF-7 with `%` and `*`.
    List { reference: Mailbox<'a>, pattern: Mailbox<'a> },
    /// LSUB, section 6.3.9.
    Lsub { reference: Mailbox<'a>, pattern: Mailbox<'a> },
    /// STATUS, section 6.3.10.
    Status { mailbox: Mailbox<'a>, items: Vec<StatusItem> },
    /// APPEND, section 6.3.11, with its message in memory: what a client sends. A server's decoder hands out the
    /// message in pieces instead, see [`AppendStart`](crate::AppendStart).
    Append { head: AppendHead<'a>, message: Cow<'a, [u8]> },
    /// NAMESPACE, RFC 2342.
    Namespace,
    /// ID, RFC 2971: fields and values, or NIL.
    Id(Option<Vec<IdField<'a>>>),
    /// IDLE, RFC 2177. The line that ends it comes as [`Event::Line`](crate::Event::Line).
    Idle,
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
    /// SEARCH, section 6.4.4. All keys must match.
    Search { uid: bool, charset: Option<Cow<'a, [u8]>>, keys: Vec<SearchKey<'a>> },
    /// FETCH, section 6.4.5.
    Fetch { uid: bool, set: SequenceSet, items: FetchItems<'a> },
    /// STORE, section 6.4.6.
    Store { uid: bool, set: SequenceSet, action: StoreAction, silent: bool, flags: Vec<Flag<'a>> },
    /// COPY, section 6.4.7.
    Copy { uid: bool, set: SequenceSet, mailbox: Mailbox<'a> },
}

/// An ID field and its value, NIL being `None`.
pub type IdField<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

/// What APPEND says before the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendHead<'a> {
    /// Where to.
    pub mailbox: Mailbox<'a>,
    /// Flags to set at once.
    pub flags: Vec<Flag<'a>>,
    /// The INTERNALDATE to keep; now if absent.
    pub date: Option<DateTime>,
}

/// What STORE does with its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreAction {
    /// `FLAGS`: they become the message's flags.
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// A number that STATUS tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatusItem {
    /// MESSAGES
    Messages,
    /// RECENT
    Recent,
    /// UIDNEXT
    UidNext,
    /// UIDVALIDITY
    UidValidity,
    /// UNSEEN
    Unseen,
}

impl StatusItem {
    const ALL: [(&'static str, StatusItem); 5] = [
        ("MESSAGES", StatusItem::Messages),
        ("RECENT", StatusItem::Recent),
        ("UIDNEXT", StatusItem::UidNext),
        ("UIDVALIDITY", StatusItem::UidValidity),
        ("UNSEEN", StatusItem::Unseen),
    ];

    /// The item's name on the wire.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, item)| *item == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name)).map(|(_, item)| *item)
    }
}

impl Command<'_> {
    /// The same command, independent of the input buffer.
    pub fn into_owned(self) -> Command<'static> {
        Command { tag: self.tag.into_owned(), body: self.body.into_owned() }
    }
}

impl AppendHead<'_> {
    /// The same, independent of the input buffer.
    pub fn into_owned(self) -> AppendHead<'static> {
        AppendHead {
            mailbox: self.mailbox.into_owned(),
            flags: self.flags.into_iter().map(Flag::into_owned).collect(),
            date: self.date,
        }
    }
}

impl CommandBody<'_> {
    /// The same command, independent of the input buffer.
    pub fn into_owned(self) -> CommandBody<'static> {
        use CommandBody as C;
        match self {
            C::Capability => C::Capability,
            C::Noop => C::Noop,
            C::Logout => C::Logout,
            C::StartTls => C::StartTls,
            C::Namespace => C::Namespace,
            C::Idle => C::Idle,
            C::Check => C::Check,
            C::Close => C::Close,
            C::Unselect => C::Unselect,
            C::Expunge => C::Expunge,
            C::UidExpunge(set) => C::UidExpunge(set),
            C::Authenticate { mechanism, initial } => C::Authenticate {
                mechanism: mechanism.into_owned(),
                initial: initial.map(Secret::into_owned),
            },
            C::Login { user, password } => {
                C::Login { user: owned_bytes(user), password: password.into_owned() }
            }
            C::Select(m) => C::Select(m.into_owned()),
            C::Examine(m) => C::Examine(m.into_owned()),
            C::Create(m) => C::Create(m.into_owned()),
            C::Delete(m) => C::Delete(m.into_owned()),
            C::Subscribe(m) => C::Subscribe(m.into_owned()),
            C::Unsubscribe(m) => C::Unsubscribe(m.into_owned()),
            C::Rename { from, to } => C::Rename { from: from.into_owned(), to: to.into_owned() },
            C::List { reference, pattern } => {
                C::List { reference: reference.into_owned(), pattern: pattern.into_owned() }
            }
            C::Lsub { reference, pattern } => {
                C::Lsub { reference: reference.into_owned(), pattern: pattern.into_owned() }
            }
            C::Status { mailbox, items } => C::Status { mailbox: mailbox.into_owned(), items },
            C::Append { head, message } => {
                C::Append { head: head.into_owned(), message: owned_bytes(message) }
            }
            C::Id(fields) => C::Id(fields.map(owned_fields)),
            C::Search { uid, charset, keys } => C::Search {
                uid,
                charset: charset.map(owned_bytes),
                keys: keys.into_iter().map(SearchKey::into_owned).collect(),
            },
            C::Fetch { uid, set, items } => C::Fetch { uid, set, items: items.into_owned() },
            C::Store { uid, set, action, silent, flags } => {
                let flags = flags.into_iter().map(Flag::into_owned).collect();
                C::Store { uid, set, action, silent, flags }
            }
            C::Copy { uid, set, mailbox } => C::Copy { uid, set, mailbox: mailbox.into_owned() },
        }
    }
}

pub(crate) fn owned_fields(fields: Vec<IdField<'_>>) -> Vec<IdField<'static>> {
    fields.into_iter().map(|(k, v)| (owned_bytes(k), v.map(owned_bytes))).collect()
}
