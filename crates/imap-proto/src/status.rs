//! STATUS: what is asked for, and what is told (RFC 3501 sections 6.3.10 and 7.2.4, RFCs 7162, 7889, 8438, 8474, 9051, 9208).

use crate::chars;
use crate::keyword::{keys, keyword};
use crate::lex::{Ctx, In, Res, after_sp, ascii, atom_str, in_parens, map, nil, number64, peek, run};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::text::mailbox;
use crate::write::Writer;
use crate::{Atom, Mailbox, Opaque, Quirks};

/// A thing that STATUS tells.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum StatusItem<'a> {
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
    /// HIGHESTMODSEQ (RFC 7162)
    HighestModSeq,
    /// SIZE in octets (RFCs 8438 and 9051)
    Size,
    /// DELETED: messages with \Deleted (RFCs 9051 and 9208)
    Deleted,
    /// DELETED-STORAGE: octets that EXPUNGE would free (RFC 9208)
    DeletedStorage,
    /// APPENDLIMIT in octets (RFC 7889); NIL for none
    AppendLimit,
    /// MAILBOXID (RFC 8474)
    MailboxId,
    /// Of another extension.
    Other(Atom<'a>),
}

keys!(
    MESSAGES,
    RECENT,
    UIDNEXT,
    UIDVALIDITY,
    UNSEEN,
    HIGHESTMODSEQ,
    SIZE,
    DELETED,
    APPENDLIMIT,
    MAILBOXID,
    DELETED_STORAGE = "DELETED-STORAGE",
);

list! {
    /// What STATUS asks for.
    StatusItems<'w> of StatusItem<'w>
}

into_owned!(
    enum StatusItem {
        Messages,
        Recent,
        UidNext,
        UidValidity,
        Unseen,
        HighestModSeq,
        Size,
        Deleted,
        DeletedStorage,
        AppendLimit,
        MailboxId,
        Other(name),
    }
);

impl StatusItem<'_> {
    /// The item's name on the wire.
    pub fn name(&self) -> &str {
        match self {
            StatusItem::Messages => "MESSAGES",
            StatusItem::Recent => "RECENT",
            StatusItem::UidNext => "UIDNEXT",
            StatusItem::UidValidity => "UIDVALIDITY",
            StatusItem::Unseen => "UNSEEN",
            StatusItem::HighestModSeq => "HIGHESTMODSEQ",
            StatusItem::Size => "SIZE",
            StatusItem::Deleted => "DELETED",
            StatusItem::DeletedStorage => "DELETED-STORAGE",
            StatusItem::AppendLimit => "APPENDLIMIT",
            StatusItem::MailboxId => "MAILBOXID",
            StatusItem::Other(name) => name.as_str(),
        }
    }
}

impl<'w> Element<'w> for StatusItem<'w> {
    #[inline]
    fn parse(i: In<'w>, _: Ctx) -> Res<'w, Self> {
        let (rest, (name, key)) = keyword(i, chars::ATOM, "a STATUS item")?;
        let item = match key {
            MESSAGES => StatusItem::Messages,
            RECENT => StatusItem::Recent,
            UIDNEXT => StatusItem::UidNext,
            UIDVALIDITY => StatusItem::UidValidity,
            UNSEEN => StatusItem::Unseen,
            HIGHESTMODSEQ => StatusItem::HighestModSeq,
            SIZE => StatusItem::Size,
            DELETED => StatusItem::Deleted,
            DELETED_STORAGE => StatusItem::DeletedStorage,
            APPENDLIMIT => StatusItem::AppendLimit,
            MAILBOXID => StatusItem::MailboxId,
            _ => StatusItem::Other(Atom::checked(ascii(name))),
        };
        Ok((rest, item))
    }

    #[inline]
    fn check(i: In<'w>, _: Ctx) -> Res<'w, ()> {
        // Any atom may be an extension's item.
        map(run(i, chars::ATOM, "a STATUS item"), drop)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.raw(self.name());
    }
}

/// One item with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StatusData<'a> {
    /// Which.
    pub item: StatusItem<'a>,
    /// What it is.
    pub value: StatusValue<'a>,
}

/// What STATUS tells of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum StatusValue<'a> {
    /// A number.
    Number(u64),
    /// NIL: no limit.
    Nil,
    /// An object's id (RFC 8474).
    Id(Atom<'a>),
    /// Another extension's value.
    Other(Opaque<'a>),
}

list! {
    /// What STATUS tells of a mailbox.
    StatusDataList<'w> of StatusData<'w>
}

into_owned!(struct StatusData { item, value });
into_owned!(
    enum StatusValue {
        Number(n),
        Nil,
        Id(id),
        Other(value),
    }
);

impl StatusDataList<'_> {
    /// The number told of `item`.
    pub fn number(&self, item: &StatusItem<'_>) -> Option<u64> {
        self.iter().find(|data| data.item == *item).and_then(|data| match data.value {
            StatusValue::Number(n) => Some(n),
            _ => None,
        })
    }
}

impl<'w> Element<'w> for StatusData<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (i, item) = StatusItem::parse(i, ctx)?;
        let (i, value) = after_sp(i, |i| match (&item, peek(i)) {
            (StatusItem::MailboxId, _) => {
                map(in_parens(i, atom_str), |id| StatusValue::Id(Atom::checked(id)))
            }
            (StatusItem::Other(_), _) => map(Opaque::parse(i, ctx), StatusValue::Other),
            _ => match nil(i) {
                Some(rest) => Ok((rest, StatusValue::Nil)),
                None => map(number64(i), StatusValue::Number),
            },
        })?;
        Ok((i, Self { item, value }))
    }

    fn write(&self, w: &mut Writer<'_>) {
        self.item.write(w);
        w.raw(" ");
        match &self.value {
            StatusValue::Number(n) => w.number(*n),
            StatusValue::Nil => w.raw("NIL"),
            StatusValue::Id(id) => {
                w.word("(", id.as_str());
                w.raw(")");
            }
            StatusValue::Other(value) => value.write(w),
        }
    }
}

/// `mailbox SP (item value ...)`
pub(crate) fn status_data(i: In<'_>, ctx: Ctx) -> Res<'_, (Mailbox<'_>, StatusDataList<'_>)> {
    let (i, name) = mailbox(i, ctx)?;
    let (i, items) = after_sp(i, |i| StatusDataList::parse_paren(i, ctx, 0))?;
    let i = i
        .strip_prefix(b" ")
        .filter(|rest| ctx.allows(Quirks::TRAILING_SPACE) && rest.is_empty())
        .unwrap_or(i);
    Ok((i, (name, items)))
}
