//! NOTIFY (RFC 5465), and the mailboxes that it and ESEARCH (RFC 7377) speak of.

use super::fetch::FetchItemList;
use crate::lex::{Ctx, In, Res, after_sp, ascii, byte, in_parens, map, peek, run, strip_word};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::text::Mailboxes;
use crate::write::Writer;
use crate::{Atom, chars};

/// Some mailboxes (RFC 5465 section 6, RFC 7377 section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum MailboxFilter<'a> {
    /// The selected one.
    Selected,
    /// The selected one; expunges are told only when a command allows them.
    SelectedDelayed,
    /// Where mail is delivered to.
    Inboxes,
    /// The personal namespace.
    Personal,
    /// What is subscribed.
    Subscribed,
    /// These and all below them.
    Subtree(Mailboxes<'a>),
    /// These and their children.
    SubtreeOne(Mailboxes<'a>),
    /// Exactly these.
    Mailboxes(Mailboxes<'a>),
    /// Of another extension, without arguments.
    Other(Atom<'a>),
}

list! {
    /// Some mailboxes.
    MailboxFilters<'w> of MailboxFilter<'w>
}

/// A kind of event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum NotifyEvent<'a> {
    /// MessageNew, with what is to be told of a new message.
    MessageNew(Option<FetchItemList<'a>>),
    /// MessageExpunge
    MessageExpunge,
    /// FlagChange
    FlagChange,
    /// AnnotationChange
    AnnotationChange,
    /// MailboxName
    MailboxName,
    /// SubscriptionChange
    SubscriptionChange,
    /// MailboxMetadataChange
    MailboxMetadataChange,
    /// ServerMetadataChange
    ServerMetadataChange,
    /// Of another extension.
    Other(Atom<'a>),
}

list! {
    /// Kinds of events; none at all is NONE.
    NotifyEvents<'w> of NotifyEvent<'w>
}

/// Which events of which mailboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NotifyGroup<'a> {
    /// Which mailboxes.
    pub filter: MailboxFilter<'a>,
    /// Which events.
    pub events: NotifyEvents<'a>,
}

/// NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Notify<'a> {
    /// NONE: of nothing any more.
    None,
    /// SET
    Set {
        /// STATUS: tell where the mailboxes stand first.
        status: bool,
        /// What of which.
        groups: Vec<NotifyGroup<'a>>,
    },
}

into_owned!(
    enum MailboxFilter {
        Selected,
        SelectedDelayed,
        Inboxes,
        Personal,
        Subscribed,
        Subtree(m),
        SubtreeOne(m),
        Mailboxes(m),
        Other(name),
    }
);
into_owned!(
    enum NotifyEvent {
        MessageNew(items),
        MessageExpunge,
        FlagChange,
        AnnotationChange,
        MailboxName,
        SubscriptionChange,
        MailboxMetadataChange,
        ServerMetadataChange,
        Other(name),
    }
);
into_owned!(struct NotifyGroup { filter, events });
into_owned!(enum Notify { None, Set { status, groups } });

impl<'w> Element<'w> for MailboxFilter<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (rest, name) = run(i, chars::ATOM, "a kind of mailboxes")?;
        let many = |kind: fn(Mailboxes<'w>) -> Self| {
            map(
                after_sp(rest, |i| match peek(i) {
                    Some(b'(') => Mailboxes::parse_paren(i, ctx, 1),
                    _ => one_mailbox(i, ctx),
                }),
                kind,
            )
        };
        let lower = name.to_ascii_lowercase();
        let plain = match &lower[..] {
            b"selected" => Self::Selected,
            b"selected-delayed" => Self::SelectedDelayed,
            b"inboxes" => Self::Inboxes,
            b"personal" => Self::Personal,
            b"subscribed" => Self::Subscribed,
            b"subtree" => return many(Self::Subtree),
            b"subtree-one" => return many(Self::SubtreeOne),
            b"mailboxes" => return many(Self::Mailboxes),
            _ => Self::Other(Atom::checked(ascii(name))),
        };
        Ok((rest, plain))
    }

    fn write(&self, w: &mut Writer<'_>) {
        let (name, mailboxes) = match self {
            Self::Selected => ("selected", None),
            Self::SelectedDelayed => ("selected-delayed", None),
            Self::Inboxes => ("inboxes", None),
            Self::Personal => ("personal", None),
            Self::Subscribed => ("subscribed", None),
            Self::Subtree(m) => ("subtree ", Some(m)),
            Self::SubtreeOne(m) => ("subtree-one ", Some(m)),
            Self::Mailboxes(m) => ("mailboxes ", Some(m)),
            Self::Other(name) => (name.as_str(), None),
        };
        w.raw(name);
        match mailboxes {
            Some(one) if one.len() == 1 => one.write_bare(w),
            Some(many) => many.write_paren(w),
            None => {}
        }
    }
}

fn one_mailbox<'a>(i: In<'a>, ctx: Ctx) -> Res<'a, Mailboxes<'a>> {
    let (rest, _) = crate::text::mailbox(i, ctx)?;
    // Checked alone, so that what follows is not taken for another name.
    let (_, one) = Mailboxes::parse_bare(&i[..i.len() - rest.len()], ctx)?;
    Ok((rest, one))
}

impl<'w> Element<'w> for NotifyEvent<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (rest, name) = run(i, chars::ATOM, "an event")?;
        let lower = name.to_ascii_lowercase();
        let plain = match &lower[..] {
            b"messagenew" => {
                let Some(items) = rest.strip_prefix(b" ").filter(|i| peek(i) == Some(b'(')) else {
                    return Ok((rest, Self::MessageNew(None)));
                };
                return map(FetchItemList::parse_paren(items, ctx, 1), |items| Self::MessageNew(Some(items)));
            }
            b"messageexpunge" => Self::MessageExpunge,
            b"flagchange" => Self::FlagChange,
            b"annotationchange" => Self::AnnotationChange,
            b"mailboxname" => Self::MailboxName,
            b"subscriptionchange" => Self::SubscriptionChange,
            b"mailboxmetadatachange" => Self::MailboxMetadataChange,
            b"servermetadatachange" => Self::ServerMetadataChange,
            _ => Self::Other(Atom::checked(ascii(name))),
        };
        Ok((rest, plain))
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.raw(match self {
            Self::MessageNew(_) => "MessageNew",
            Self::MessageExpunge => "MessageExpunge",
            Self::FlagChange => "FlagChange",
            Self::AnnotationChange => "AnnotationChange",
            Self::MailboxName => "MailboxName",
            Self::SubscriptionChange => "SubscriptionChange",
            Self::MailboxMetadataChange => "MailboxMetadataChange",
            Self::ServerMetadataChange => "ServerMetadataChange",
            Self::Other(name) => name.as_str(),
        });
        if let Self::MessageNew(Some(items)) = self {
            w.raw(" ");
            items.write_paren(w);
        }
    }
}

impl<'a> Notify<'a> {
    pub(super) fn parse(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        if let Some(rest) = strip_word(i, b"NONE") {
            return Ok((rest, Notify::None));
        }
        let (i, ()) = crate::lex::word(i, b"SET")?;
        let (i, status) = match strip_word(i, b" STATUS") {
            Some(rest) => (rest, true),
            None => (i, false),
        };
        let (i, ()) = byte(i, b' ', "a space")?;
        map(crate::lex::spaced(i, ctx, |i| group(i, ctx)), |groups| Notify::Set { status, groups })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        let Notify::Set { status, groups } = self else { return w.raw("NOTIFY NONE") };
        w.raw(if *status { "NOTIFY SET STATUS " } else { "NOTIFY SET " });
        w.spaced(groups, |w, group| {
            w.raw("(");
            group.filter.write(w);
            w.raw(" ");
            if group.events.is_empty() {
                w.raw("NONE");
            } else {
                group.events.write_paren(w);
            }
            w.raw(")");
        });
    }
}

fn group(i: In<'_>, ctx: Ctx) -> Res<'_, NotifyGroup<'_>> {
    in_parens(i, |i| {
        let (i, filter) = MailboxFilter::parse(i, ctx)?;
        map(after_sp(i, |i| events(i, ctx)), |events| NotifyGroup { filter, events })
    })
}

fn events(i: In<'_>, ctx: Ctx) -> Res<'_, NotifyEvents<'_>> {
    match strip_word(i, b"NONE") {
        Some(rest) => Ok((rest, NotifyEvents::default())),
        // Without parentheses: so RFC 5465 has them in the examples of section 3.1, against its own grammar.
        None if peek(i) != Some(b'(') => NotifyEvents::parse_bare(i, ctx),
        None => NotifyEvents::parse_paren(i, ctx, 1),
    }
}

/// `(filter ...)`, of ESEARCH IN.
pub(super) fn filters(i: In<'_>, ctx: Ctx) -> Res<'_, MailboxFilters<'_>> {
    MailboxFilters::parse_paren(i, ctx, 1)
}
