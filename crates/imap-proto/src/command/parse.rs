use std::borrow::Cow;

use super::fetch::fetch_items;
use super::search::search_keys;
use super::{AppendHead, Command, CommandBody, IdField, StatusItem, StoreAction};
use crate::chars::{self, TAG};
use crate::datetime::date_time;
use crate::flag::{flag, flag_list};
use crate::lex::{
    Ctx, In, Res, Upper, astring, atom, atom_str, byte, expected, fail, finish, literal, nil, nstring,
    paren_list, peek, run, sp, string, strip_word, word,
};
use crate::sequence::sequence_set;
use crate::{Atom, Mailbox, ParseError, ParseErrorKind, ParseLimits, Secret, Tag, base64};

impl<'a> Command<'a> {
    /// Parses one command as [`CommandDecoder`](crate::CommandDecoder) delivers it: whole, without its final CRLF, literals
    /// in place.
    pub fn parse(message: &'a [u8], limits: &ParseLimits) -> Result<Self, ParseError> {
        let (rest, tag) = finish_tag(message)?;
        let body = match command(rest, Ctx::new(limits)) {
            Ok((rest, body)) => finish(message, Some(&tag), Ok((rest, body)))?,
            Err(e) => finish(message, Some(&tag), Err(e))?,
        };
        Ok(Command { tag, body })
    }
}

/// Parses `tag APPEND mailbox [flags] [date]`, what stands before an APPEND's message.
pub(crate) fn append_start<'a>(
    text: &'a [u8],
    limits: &ParseLimits,
) -> Result<(Tag<'a>, AppendHead<'a>), ParseError> {
    let (rest, tag) = finish_tag(text)?;
    let parsed = word(rest, "APPEND ").and_then(|(i, ())| append_head(i, Ctx::new(limits)));
    let head = finish(text, Some(&tag), parsed)?;
    Ok((tag, head))
}

fn finish_tag(message: &[u8]) -> Result<(In<'_>, Tag<'_>), ParseError> {
    let n = chars::span(message, TAG);
    match (Tag::from_bytes(&message[..n]), message.get(n)) {
        (Some(tag), Some(b' ')) => Ok((&message[n + 1..], tag)),
        (tag, _) => Err(ParseError {
            offset: n,
            kind: ParseErrorKind::Expected(if tag.is_some() { "a command after the tag" } else { "a tag" }),
            tag: tag.filter(|_| n == message.len()).map(Tag::into_owned),
        }),
    }
}

fn command(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    use CommandBody as C;
    let (rest, verb) = atom(i)?;
    let upper = Upper::new(verb);
    let plain = match upper.as_bytes() {
        b"CAPABILITY" => C::Capability,
        b"NOOP" => C::Noop,
        b"LOGOUT" => C::Logout,
        b"STARTTLS" => C::StartTls,
        b"NAMESPACE" => C::Namespace,
        b"IDLE" => C::Idle,
        b"CHECK" => C::Check,
        b"CLOSE" => C::Close,
        b"UNSELECT" => C::Unselect,
        b"EXPUNGE" => C::Expunge,
        known => return with_arguments(i, rest, known, ctx),
    };
    Ok((rest, plain))
}

fn with_arguments<'a>(verb_at: In<'a>, i: In<'a>, verb: &[u8], ctx: Ctx) -> Res<'a, CommandBody<'a>> {
    use CommandBody as C;
    let parser: fn(In<'a>, Ctx) -> Res<'a, CommandBody<'a>> = match verb {
        b"AUTHENTICATE" => |i, _| authenticate(i),
        b"LOGIN" => |i, _| login(i),
        b"SELECT" => |i, _| map(mailbox(i), C::Select),
        b"EXAMINE" => |i, _| map(mailbox(i), C::Examine),
        b"CREATE" => |i, _| map(mailbox(i), C::Create),
        b"DELETE" => |i, _| map(mailbox(i), C::Delete),
        b"SUBSCRIBE" => |i, _| map(mailbox(i), C::Subscribe),
        b"UNSUBSCRIBE" => |i, _| map(mailbox(i), C::Unsubscribe),
        b"RENAME" => |i, _| rename(i),
        b"LIST" => |i, _| map(list(i), |(reference, pattern)| C::List { reference, pattern }),
        b"LSUB" => |i, _| map(list(i), |(reference, pattern)| C::Lsub { reference, pattern }),
        b"STATUS" => |i, ctx| status(i, ctx),
        b"APPEND" => |i, ctx| append(i, ctx),
        b"ID" => |i, ctx| map(id_fields(i, ctx), C::Id),
        b"SEARCH" => |i, ctx| search(i, ctx, false),
        b"FETCH" => |i, ctx| fetch(i, ctx, false),
        b"STORE" => |i, ctx| store(i, ctx, false),
        b"COPY" => |i, ctx| copy(i, ctx, false),
        b"UID" => |i, ctx| uid(i, ctx),
        _ => return fail(verb_at, ParseErrorKind::UnknownCommand),
    };
    let (i, ()) = sp(i)?;
    parser(i, ctx)
}

fn map<'a, T, U>(parsed: Res<'a, T>, f: impl FnOnce(T) -> U) -> Res<'a, U> {
    parsed.map(|(i, v)| (i, f(v)))
}

fn uid(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (rest, verb) = atom(i)?;
    let upper = Upper::new(verb);
    let parser: fn(In<'_>, Ctx) -> Res<'_, CommandBody<'_>> = match upper.as_bytes() {
        b"SEARCH" => |i, ctx| search(i, ctx, true),
        b"FETCH" => |i, ctx| fetch(i, ctx, true),
        b"STORE" => |i, ctx| store(i, ctx, true),
        b"COPY" => |i, ctx| copy(i, ctx, true),
        b"EXPUNGE" => |i, ctx| map(sequence_set(i, ctx), CommandBody::UidExpunge),
        _ => return fail(i, ParseErrorKind::UnknownCommand),
    };
    let (rest, ()) = sp(rest)?;
    parser(rest, ctx)
}

pub(crate) fn mailbox(i: In<'_>) -> Res<'_, Mailbox<'_>> {
    map(astring(i), Mailbox::from_wire)
}

fn authenticate(i: In<'_>) -> Res<'_, CommandBody<'_>> {
    let (i, mechanism) = atom_str(i)?;
    let (i, initial) = match i.strip_prefix(b" ") {
        None => (i, None),
        Some(b"=") => (&b""[..], Some(Secret::new(Vec::new()))),
        Some(text) => match base64::decode(text).filter(|_| !text.is_empty()) {
            Some(data) => (&b""[..], Some(Secret::new(data))),
            None => return expected(text, "base64"),
        },
    };
    Ok((i, CommandBody::Authenticate { mechanism: Atom::checked(mechanism), initial }))
}

fn login(i: In<'_>) -> Res<'_, CommandBody<'_>> {
    let (i, user) = astring(i)?;
    let (i, ()) = sp(i)?;
    let (i, password) = astring(i)?;
    Ok((i, CommandBody::Login { user, password: Secret::new(password) }))
}

fn rename(i: In<'_>) -> Res<'_, CommandBody<'_>> {
    let (i, from) = mailbox(i)?;
    let (i, ()) = sp(i)?;
    let (i, to) = mailbox(i)?;
    Ok((i, CommandBody::Rename { from, to }))
}

fn list(i: In<'_>) -> Res<'_, (Mailbox<'_>, Mailbox<'_>)> {
    let (i, reference) = mailbox(i)?;
    let (i, ()) = sp(i)?;
    let (i, pattern) = match peek(i) {
        Some(b'"' | b'{') => string(i)?,
        _ => map(run(i, chars::LIST, "a mailbox pattern"), Cow::Borrowed)?,
    };
    Ok((i, (reference, Mailbox::from_wire(pattern))))
}

fn status(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, mailbox) = mailbox(i)?;
    let (i, ()) = sp(i)?;
    let (i, items) = paren_list(i, ctx, 1, status_item)?;
    Ok((i, CommandBody::Status { mailbox, items }))
}

fn status_item(i: In<'_>) -> Res<'_, StatusItem> {
    let (rest, name) = atom(i)?;
    match StatusItem::from_name(name) {
        Some(item) => Ok((rest, item)),
        None => expected(i, "a STATUS item"),
    }
}

fn append(i: In<'_>, ctx: Ctx) -> Res<'_, CommandBody<'_>> {
    let (i, head) = append_head(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, message) = literal(i)?;
    Ok((i, CommandBody::Append { head, message: Cow::Borrowed(message) }))
}

fn append_head(i: In<'_>, ctx: Ctx) -> Res<'_, AppendHead<'_>> {
    let (mut i, mailbox) = mailbox(i)?;
    let mut head = AppendHead { mailbox, flags: Vec::new(), date: None };
    if let Some(rest) = i.strip_prefix(b" ").filter(|rest| peek(rest) == Some(b'(')) {
        (i, head.flags) = flag_list(rest, ctx)?;
    }
    if let Some(rest) = i.strip_prefix(b" ").filter(|rest| peek(rest) == Some(b'"')) {
        let (rest, date) = date_time(rest)?;
        head.date = Some(date);
        i = rest;
    }
    Ok((i, head))
}

pub(crate) fn id_fields(i: In<'_>, ctx: Ctx) -> Res<'_, Option<Vec<IdField<'_>>>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let field = |i| {
        let (i, name) = string(i)?;
        let (i, ()) = sp(i)?;
        map(nstring(i), |value| (name, value))
    };
    map(paren_list(i, ctx, 0, field), Some)
}

fn search(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, charset) = match strip_word(i, b"CHARSET ") {
        None => (i, None),
        Some(i) => {
            let (i, charset) = astring(i)?;
            let (i, ()) = sp(i)?;
            (i, Some(charset))
        }
    };
    map(search_keys(i, ctx), |keys| CommandBody::Search { uid, charset, keys })
}

fn fetch(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, set) = sequence_set(i, ctx)?;
    let (i, ()) = sp(i)?;
    map(fetch_items(i, ctx), |items| CommandBody::Fetch { uid, set, items })
}

fn store(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, set) = sequence_set(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, action) = match peek(i) {
        Some(b'+') => (&i[1..], StoreAction::Add),
        Some(b'-') => (&i[1..], StoreAction::Remove),
        _ => (i, StoreAction::Replace),
    };
    let (i, ()) = word(i, "FLAGS")?;
    let (i, silent) = match strip_word(i, b".SILENT") {
        Some(i) => (i, true),
        None => (i, false),
    };
    let (i, ()) = sp(i)?;
    let (i, flags) = if peek(i) == Some(b'(') { flag_list(i, ctx)? } else { bare_flags(i, ctx)? };
    Ok((i, CommandBody::Store { uid, set, action, silent, flags }))
}

fn bare_flags(i: In<'_>, ctx: Ctx) -> Res<'_, Vec<crate::Flag<'_>>> {
    let (mut i, first) = flag(i)?;
    let mut flags = vec![first];
    while peek(i) == Some(b' ') {
        ctx.room(i, flags.len())?;
        let (rest, next) = flag(&i[1..])?;
        flags.push(next);
        i = rest;
    }
    Ok((i, flags))
}

fn copy(i: In<'_>, ctx: Ctx, uid: bool) -> Res<'_, CommandBody<'_>> {
    let (i, set) = sequence_set(i, ctx)?;
    let (i, ()) = byte(i, b' ', "a space")?;
    map(mailbox(i), |mailbox| CommandBody::Copy { uid, set, mailbox })
}
