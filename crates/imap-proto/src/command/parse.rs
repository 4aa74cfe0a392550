use std::borrow::Cow;

use super::append::{append_head, messages, replace};
use super::fetch::{fetch_items, unchanged_since};
use super::mailboxes::{CreateParams, List, Pattern, SelectParams};
use super::metadata::{GetMetadata, acl_change, metadata_entries, quota_limits};
use super::notify::{Notify, filters};
use super::search::{SearchKeys, SearchReturns, SortCriteria, charset};
use super::{
    AppendHead, Command, CommandBody, FetchModifiers, IdField, MultiSearch, StoreAction, UrlRequests, urlauth,
};
use crate::chars::{self, TAG};
use crate::keyword::{Key, keys, keyword};
use crate::lex::{
    Ctx, In, Res, after_sp, astring, atom_str, byte, expected, fail, finish, map, nil, nstring, nz_number,
    paren_list, peek, sp, string, strip_word, word,
};
use crate::list::Element;
use crate::sequence::saved_or_set;
use crate::status::StatusItems;
use crate::text::{Capabilities, Strings, mailbox};
use crate::{Atom, Flags, Mailbox, Opaque, ParseError, ParseErrorKind, ParseLimits, Secret, Tag, base64};

impl<'a> Command<'a> {
    /// Parses one command as [`CommandDecoder`](crate::CommandDecoder) delivers it: whole, without its final CRLF, literals
    /// in place. Allocates only for an escape in a quoted string, for base64, and in commands that no client sends often.
    pub fn parse(message: &'a [u8], limits: &ParseLimits) -> Result<Self, ParseError> {
        let (rest, tag) = finish_tag(message)?;
        match command(rest, Ctx::new(limits)) {
            Ok(([], body)) => Ok(Command { tag, body }),
            other => {
                let body = finish(message, Some(&tag), other)?;
                Ok(Command { tag, body })
            }
        }
    }
}

/// Parses what stands before the octets of a message that is to be streamed.
pub(crate) fn append_start<'a>(
    text: &'a [u8],
    limits: &ParseLimits,
) -> Result<(Tag<'a>, AppendHead<'a>), ParseError> {
    let (rest, tag) = finish_tag(text)?;
    let head = finish(text, Some(&tag), append_head(rest, Ctx::new(limits)))?;
    Ok((tag, head))
}

#[inline]
fn finish_tag(message: &[u8]) -> Result<(In<'_>, Tag<'_>), ParseError> {
    let n = chars::span(message, TAG);
    match (Tag::checked(&message[..n]), message.get(n)) {
        (Some(tag), Some(b' ')) => Ok((&message[n + 1..], tag)),
        (tag, _) => Err(ParseError {
            offset: n,
            kind: ParseErrorKind::Expected(if tag.is_some() { "a command after the tag" } else { "a tag" }),
            tag: tag.filter(|_| n == message.len()).map(Tag::into_owned),
        }),
    }
}

keys!(
    CAPABILITY,
    NOOP,
    LOGOUT,
    STARTTLS,
    AUTHENTICATE,
    LOGIN,
    UNAUTHENTICATE,
    ENABLE,
    ID,
    COMPRESS,
    SELECT,
    EXAMINE,
    CREATE,
    DELETE,
    RENAME,
    SUBSCRIBE,
    UNSUBSCRIBE,
    LIST,
    LSUB,
    RLIST,
    RLSUB,
    STATUS,
    NAMESPACE,
    APPEND,
    REPLACE,
    IDLE,
    NOTIFY,
    CHECK,
    CLOSE,
    UNSELECT,
    EXPUNGE,
    SEARCH,
    SORT,
    THREAD,
    ESEARCH,
    CANCELUPDATE,
    FETCH,
    STORE,
    COPY,
    MOVE,
    UIDBATCHES,
    GETQUOTA,
    GETQUOTAROOT,
    SETQUOTA,
    SETACL,
    DELETEACL,
    GETACL,
    LISTRIGHTS,
    MYRIGHTS,
    GETMETADATA,
    SETMETADATA,
    GENURLAUTH,
    RESETKEY,
    URLFETCH,
    GETJMAPACCESS,
    LANGUAGE,
    COMPARATOR,
    CONVERT,
    CONVERSIONS,
    UID,
);

#[inline]
fn command(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    use CommandBody as C;
    let (rest, (_, verb)) = keyword(i, chars::ATOM, "a command")?;
    let plain = match verb {
        FETCH => return fetch(sp(rest)?.0, ctx, false),
        UID => return uid(sp(rest)?.0, ctx),
        CAPABILITY => C::Capability,
        NOOP => C::Noop,
        LOGOUT => C::Logout,
        STARTTLS => C::StartTls,
        UNAUTHENTICATE => C::Unauthenticate,
        NAMESPACE => C::Namespace,
        IDLE => C::Idle,
        CHECK => C::Check,
        CLOSE => C::Close,
        UNSELECT => C::Unselect,
        EXPUNGE => C::Expunge,
        _ => return on_mailbox(i, rest, verb, ctx),
    };
    Ok((rest, plain))
}

#[inline]
fn on_mailbox<'a>(start: In<'a>, i: In<'a>, verb: Key, ctx: Ctx) -> Res<'a, CommandBody<'a>> {
    use CommandBody as C;
    let arguments = |i: In<'a>| sp(i).map(|(i, ())| i);
    match verb {
        LOGIN => login(arguments(i)?, ctx),
        SELECT => select(arguments(i)?, ctx, |mailbox, params| C::Select { mailbox, params }),
        EXAMINE => select(arguments(i)?, ctx, |mailbox, params| C::Examine { mailbox, params }),
        CREATE => create(arguments(i)?, ctx),
        DELETE => map(mailbox(arguments(i)?, ctx), C::Delete),
        SUBSCRIBE => map(mailbox(arguments(i)?, ctx), C::Subscribe),
        UNSUBSCRIBE => map(mailbox(arguments(i)?, ctx), C::Unsubscribe),
        RENAME => rename(arguments(i)?, ctx),
        LIST => map(List::parse(arguments(i)?, ctx), C::List),
        LSUB => listed(arguments(i)?, ctx, |reference, pattern| C::Lsub { reference, pattern }),
        STATUS => status(arguments(i)?, ctx),
        APPEND => append(arguments(i)?, ctx),
        AUTHENTICATE => authenticate(arguments(i)?),
        ENABLE => map(Capabilities::parse_bare(arguments(i)?, ctx), C::Enable),
        ID => map(id_fields(arguments(i)?, ctx), C::Id),
        COMPRESS => map(atom_str(arguments(i)?), |a| C::Compress(Atom::checked(a))),
        NOTIFY => map(Notify::parse(arguments(i)?, ctx), C::Notify),
        _ => rarer(start, i, verb, ctx),
    }
}

fn rarer<'a>(start: In<'a>, i: In<'a>, verb: Key, ctx: Ctx) -> Res<'a, CommandBody<'a>> {
    use CommandBody as C;
    let arguments = |i: In<'a>| sp(i).map(|(i, ())| i);
    match verb {
        SEARCH | STORE | COPY | MOVE | SORT | THREAD | REPLACE | CONVERT => {
            on_messages(start, i, verb, ctx, false)
        }
        RLIST => listed(arguments(i)?, ctx, |reference, pattern| C::Rlist { reference, pattern }),
        RLSUB => listed(arguments(i)?, ctx, |reference, pattern| C::Rlsub { reference, pattern }),
        ESEARCH => multi_search(i, ctx),
        CANCELUPDATE => map(Strings::parse_bare(arguments(i)?, ctx), C::CancelUpdate),
        UIDBATCHES => uid_batches(arguments(i)?),
        GETQUOTA => map(astring(arguments(i)?, ctx), C::GetQuota),
        GETQUOTAROOT => map(mailbox(arguments(i)?, ctx), C::GetQuotaRoot),
        SETQUOTA => set_quota(arguments(i)?, ctx),
        SETACL => set_acl(arguments(i)?, ctx),
        DELETEACL => {
            mailbox_and_string(arguments(i)?, ctx, |mailbox, identifier| C::DeleteAcl { mailbox, identifier })
        }
        LISTRIGHTS => mailbox_and_string(arguments(i)?, ctx, |mailbox, identifier| C::ListRights {
            mailbox,
            identifier,
        }),
        GETACL => map(mailbox(arguments(i)?, ctx), C::GetAcl),
        MYRIGHTS => map(mailbox(arguments(i)?, ctx), C::MyRights),
        GETMETADATA => map(GetMetadata::parse(arguments(i)?, ctx), |get| C::GetMetadata(Box::new(get))),
        SETMETADATA => set_metadata(arguments(i)?, ctx),
        GENURLAUTH => urlauth::gen_url_auth(i, ctx),
        RESETKEY => urlauth::reset_key(i, ctx),
        URLFETCH => map(UrlRequests::parse_bare(arguments(i)?, ctx), C::UrlFetch),
        GETJMAPACCESS => Ok((i, C::GetJmapAccess)),
        LANGUAGE => map(urlauth::strings(i, ctx), C::Language),
        COMPARATOR => map(urlauth::strings(i, ctx), C::Comparator),
        CONVERSIONS => urlauth::conversions(arguments(i)?, ctx),
        _ => fail(start, ParseErrorKind::UnknownCommand),
    }
}

#[inline(always)]
fn uid(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (rest, (_, verb)) = keyword(i, chars::ATOM, "a command behind UID")?;
    match verb {
        FETCH => fetch(sp(rest)?.0, ctx, true),
        EXPUNGE => map(after_sp(rest, |i| saved_or_set(i, ctx)), CommandBody::UidExpunge),
        _ => on_messages(i, rest, verb, ctx, true),
    }
}

#[inline(always)]
fn on_messages<'a>(start: In<'a>, i: In<'a>, verb: Key, ctx: Ctx, uid: bool) -> Res<'a, CommandBody<'a>> {
    use CommandBody as C;
    let arguments = |i: In<'a>| sp(i).map(|(i, ())| i);
    match verb {
        STORE => store(arguments(i)?, ctx, uid),
        SEARCH => search(i, ctx, uid),
        COPY => copy(arguments(i)?, ctx, |set, mailbox| C::Copy { uid, set, mailbox }),
        MOVE => copy(arguments(i)?, ctx, |set, mailbox| C::Move { uid, set, mailbox }),
        SORT => sort(i, ctx, uid),
        THREAD => thread(arguments(i)?, ctx, uid),
        CONVERT => urlauth::convert(arguments(i)?, ctx, uid),
        REPLACE => map(replace(arguments(i)?, ctx), |(n, mailbox, message)| C::Replace {
            uid,
            n,
            mailbox,
            message: Box::new(message),
        }),
        _ => fail(start, ParseErrorKind::UnknownCommand),
    }
}

fn authenticate(i: In<'_>) -> Res<'_, CommandBody<'_>> {
    let (i, mechanism) = atom_str(i)?;
    let mechanism = Atom::checked(mechanism);
    let Some(text) = i.strip_prefix(b" ") else {
        return Ok((i, CommandBody::Authenticate { mechanism, initial: None }));
    };
    let data = match text {
        b"=" => Some(Vec::new()),
        text => base64::decode(text).filter(|_| !text.is_empty()),
    };
    match data {
        Some(data) => {
            let initial = Some(Secret::new(data));
            Ok((&text[text.len()..], CommandBody::Authenticate { mechanism, initial }))
        }
        None => expected(text, "base64"),
    }
}

fn login(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, user) = astring(i, ctx)?;
    let (i, password) = after_sp(i, |i| astring(i, ctx))?;
    Ok((i, CommandBody::Login { user, password: Secret::new(password) }))
}

fn select<'a>(
    i: In<'a>,
    ctx: Ctx,
    body: impl FnOnce(Mailbox<'a>, SelectParams<'a>) -> CommandBody<'a>,
) -> Res<'a, CommandBody<'a>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    let (i, params) = match i.strip_prefix(b" ") {
        Some(i) => SelectParams::parse_paren(i, ctx, 1)?,
        None => (i, SelectParams::default()),
    };
    Ok((i, body(mailbox, params)))
}

fn create(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    let (i, params) = match i.strip_prefix(b" ") {
        Some(i) => CreateParams::parse_paren(i, ctx, 1)?,
        None => (i, CreateParams::default()),
    };
    Ok((i, CommandBody::Create { mailbox, params }))
}

fn rename(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, from) = mailbox(i, ctx)?;
    map(after_sp(i, |i| mailbox(i, ctx)), |to| CommandBody::Rename { from, to })
}

/// A reference and a pattern.
fn listed<'a>(
    i: In<'a>,
    ctx: Ctx,
    body: impl FnOnce(Mailbox<'a>, Pattern<'a>) -> CommandBody<'a>,
) -> Res<'a, CommandBody<'a>> {
    let (i, reference) = mailbox(i, ctx)?;
    map(after_sp(i, |i| Pattern::parse(i, ctx)), |pattern| body(reference, pattern))
}

fn status(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    map(after_sp(i, |i| StatusItems::parse_paren(i, ctx, 1)), |items| CommandBody::Status { mailbox, items })
}

fn append(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    map(messages(i, ctx), |messages| CommandBody::Append { mailbox, messages })
}

/// `NIL` or `("field" "value" ...)`
pub(crate) fn id_fields(i: In<'_>, ctx: Ctx) -> Res<'_, Option<Vec<IdField<'_>>>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let field = |i| {
        let (i, name) = string(i, ctx)?;
        map(after_sp(i, |i| nstring(i, ctx)), |value| (name, value))
    };
    map(paren_list(i, ctx, 0, field), Some)
}

/// ` RETURN (...)`, if it stands here.
#[inline]
fn returns<'a>(i: In<'a>, ctx: Ctx) -> Res<'a, Option<SearchReturns<'a>>> {
    match strip_word(i, b" RETURN ") {
        Some(i) => map(SearchReturns::parse_paren(i, ctx, 0), Some),
        None => Ok((i, None)),
    }
}

/// ` [CHARSET x] keys`
#[inline]
fn charset_and_keys<'a>(i: In<'a>, ctx: Ctx) -> Res<'a, (Option<Cow<'a, [u8]>>, SearchKeys<'a>)> {
    let (i, ()) = sp(i)?;
    let (i, charset) = match strip_word(i, b"CHARSET ") {
        None => (i, None),
        Some(i) => {
            let (i, charset) = astring(i, ctx)?;
            after_sp(i, |i| Ok((i, Some(charset))))?
        }
    };
    map(SearchKeys::parse_bare(i, ctx), |keys| (charset, keys))
}

#[inline]
fn search(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, returns) = returns(i, ctx)?;
    map(charset_and_keys(i, ctx), |(charset, keys)| CommandBody::Search { uid, returns, charset, keys })
}

fn multi_search(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, mailboxes) = match strip_word(i, b" IN ") {
        Some(i) => map(filters(i, ctx), Some)?,
        None => (i, None),
    };
    let (i, returns) = returns(i, ctx)?;
    map(charset_and_keys(i, ctx), |(charset, keys)| {
        CommandBody::MultiSearch(Box::new(MultiSearch { mailboxes, returns, charset, keys }))
    })
}

fn sort(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, returns) = returns(i, ctx)?;
    let (i, criteria) = after_sp(i, |i| SortCriteria::parse_paren(i, ctx, 1))?;
    let (i, charset) = after_sp(i, |i| charset(i, ctx))?;
    let keys = after_sp(i, |i| SearchKeys::parse_bare(i, ctx));
    map(keys, |keys| CommandBody::Sort { uid, returns, criteria, charset, keys })
}

fn thread(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, algorithm) = atom_str(i)?;
    let algorithm = Atom::checked(algorithm);
    let (i, charset) = after_sp(i, |i| charset(i, ctx))?;
    let keys = after_sp(i, |i| SearchKeys::parse_bare(i, ctx));
    map(keys, |keys| CommandBody::Thread { uid, algorithm, charset, keys })
}

#[inline(always)]
fn fetch(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, set) = saved_or_set(i, ctx)?;
    let (i, items) = after_sp(i, |i| fetch_items(i, ctx))?;
    let (i, modifiers) = match i.strip_prefix(b" ") {
        Some(i) => FetchModifiers::parse_paren(i, ctx, 1)?,
        None => (i, FetchModifiers::default()),
    };
    Ok((i, CommandBody::Fetch { uid, set, items, modifiers }))
}

#[inline(always)]
fn store(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, set) = saved_or_set(i, ctx)?;
    let (i, unchanged_since) = unchanged_since(i)?;
    let (i, ()) = sp(i)?;
    if let Some(i) = strip_word(i, b"ANNOTATION ") {
        return map(Opaque::parse(i, ctx), |entries| CommandBody::StoreAnnotation {
            uid,
            set,
            unchanged_since,
            entries,
        });
    }
    let (i, action) = match peek(i) {
        Some(b'+') => (&i[1..], StoreAction::Add),
        Some(b'-') => (&i[1..], StoreAction::Remove),
        _ => (i, StoreAction::Replace),
    };
    if let Some(i) = strip_word(i, b"X-GM-LABELS") {
        return store_labels(i, ctx, uid, set, action);
    }
    let (i, ()) = word(i, b"FLAGS")?;
    let (i, silent) = silent(i);
    let (i, ()) = sp(i)?;
    let (i, flags) = match peek(i) {
        Some(b'(') => Flags::parse_paren(i, ctx, 0)?,
        _ => Flags::parse_bare(i, ctx)?,
    };
    Ok((i, CommandBody::Store { uid, set, unchanged_since, action, silent, flags }))
}

#[inline]
fn silent(i: In<'_>) -> (In<'_>, bool) {
    match strip_word(i, b".SILENT") {
        Some(i) => (i, true),
        None => (i, false),
    }
}

#[cold]
fn store_labels(
    i: In<'_>,
    ctx: Ctx,
    uid: bool,
    set: crate::SequenceSet,
    action: StoreAction,
) -> Res<'_, CommandBody<'_>> {
    let (i, silent) = silent(i);
    map(after_sp(i, |i| Opaque::parse(i, ctx)), |labels| CommandBody::StoreLabels {
        uid,
        set,
        action,
        silent,
        labels,
    })
}

#[inline(always)]
fn copy<'a>(
    i: In<'a>,
    ctx: Ctx,
    body: impl FnOnce(crate::SequenceSet, Mailbox<'a>) -> CommandBody<'a>,
) -> Res<'a, CommandBody<'a>> {
    let (i, set) = saved_or_set(i, ctx)?;
    map(after_sp(i, |i| mailbox(i, ctx)), |mailbox| body(set, mailbox))
}

fn uid_batches(i: In<'_>) -> Res<'_, CommandBody<'_>> {
    let (i, size) = nz_number(i)?;
    let (i, range) = match i.strip_prefix(b" ") {
        Some(i) => {
            let (i, first) = nz_number(i)?;
            let (i, ()) = byte(i, b':', ":")?;
            map(nz_number(i), |last| Some((first.get(), last.get())))?
        }
        None => (i, None),
    };
    Ok((i, CommandBody::UidBatches { size: size.get(), range }))
}

fn set_quota(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, root) = astring(i, ctx)?;
    map(after_sp(i, |i| quota_limits(i, ctx)), |limits| CommandBody::SetQuota { root, limits })
}

fn set_acl(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    map(after_sp(i, |i| acl_change(i, ctx)), |(identifier, change, rights)| CommandBody::SetAcl {
        mailbox,
        identifier,
        change,
        rights,
    })
}

fn mailbox_and_string<'a>(
    i: In<'a>,
    ctx: Ctx,
    body: impl FnOnce(Mailbox<'a>, Cow<'a, [u8]>) -> CommandBody<'a>,
) -> Res<'a, CommandBody<'a>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    map(after_sp(i, |i| astring(i, ctx)), |text| body(mailbox, text))
}

fn set_metadata(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    map(after_sp(i, |i| metadata_entries(i, ctx)), |entries| CommandBody::SetMetadata { mailbox, entries })
}
