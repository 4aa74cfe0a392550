use std::borrow::Cow;
use std::num::NonZeroU32;

use super::body::body;
use super::envelope::envelope;
use super::{Code, Data, FetchData, ListEntry, Namespace, Payload, Response, Status, StatusKind};
use crate::chars::{self, ASTRING, TAG};
use crate::command::{id_fields, mailbox, section};
use crate::datetime::date_time;
use crate::flag::{flag, flag_list};
use crate::lex::{
    Ctx, In, Res, Upper, ascii, astring, atom, atom_str, byte, expected, finish, nil, nstring, number,
    number64, nz_number, opaque, paren_list, peek, quoted, run, sp, strip_word,
};
use crate::sequence::sequence_set;
use crate::{Atom, ParseError, ParseErrorKind, ParseLimits, StatusItem, Tag};

impl<'a> Response<'a> {
    /// Parses one response as [`ResponseDecoder`](crate::ResponseDecoder) delivers it: whole, without its final CRLF.
    pub fn parse(message: &'a [u8], limits: &ParseLimits) -> Result<Self, ParseError> {
        let ctx = Ctx::new(limits);
        if let Some(text) = message.strip_prefix(b"+") {
            let text = text.strip_prefix(b" ").unwrap_or(text);
            return Ok(Response::Continue(String::from_utf8_lossy(text)));
        }
        match message.strip_prefix(b"* ") {
            Some(rest) => finish(message, None, untagged(rest, ctx)),
            None => tagged(message, ctx),
        }
    }
}

fn tagged(message: &[u8], ctx: Ctx) -> Result<Response<'_>, ParseError> {
    let n = chars::span(message, TAG);
    let Some(tag) = Tag::from_bytes(&message[..n]) else {
        return Err(ParseError { tag: None, offset: 0, kind: ParseErrorKind::Expected("a response") });
    };
    let parsed = sp(&message[n..]).and_then(|(i, ())| status(i, ctx));
    let status = finish(message, Some(&tag), parsed)?;
    Ok(Response::Tagged { tag, status })
}

fn map<'a, T, U>(parsed: Res<'a, T>, f: impl FnOnce(T) -> U) -> Res<'a, U> {
    parsed.map(|(i, v)| (i, f(v)))
}

fn untagged(i: In<'_>, ctx: Ctx) -> Res<'_, Response<'_>> {
    if peek(i).is_some_and(|b| b.is_ascii_digit()) {
        return map(numbered(i, ctx), Response::Data);
    }
    let (rest, name) = atom(i)?;
    let upper = Upper::new(name);
    let data = match upper.as_bytes() {
        b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH" => return map(status(i, ctx), Response::Status),
        b"CAPABILITY" => map(capabilities(rest, ctx), Data::Capability),
        b"SEARCH" => map(search(rest, ctx), Data::Search),
        b"FLAGS" => after_sp(rest, |i| map(flag_list(i, ctx), Data::Flags)),
        b"LIST" => after_sp(rest, |i| map(list_entry(i, ctx), Data::List)),
        b"LSUB" => after_sp(rest, |i| map(list_entry(i, ctx), Data::Lsub)),
        b"STATUS" => after_sp(rest, |i| status_data(i, ctx)),
        b"NAMESPACE" => after_sp(rest, |i| namespaces(i, ctx)),
        b"ID" => after_sp(rest, |i| map(id_fields(i, ctx), Data::Id)),
        _ => Ok((&i[i.len()..], Data::Other(Cow::Borrowed(i)))),
    };
    map(data, Response::Data)
}

fn after_sp<'a, T>(i: In<'a>, then: impl FnOnce(In<'a>) -> Res<'a, T>) -> Res<'a, T> {
    let (i, ()) = sp(i)?;
    then(i)
}

fn numbered(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let whole = i;
    let (i, n) = number(i)?;
    let (i, ()) = sp(i)?;
    let (rest, name) = atom(i)?;
    let nonzero =
        |n| NonZeroU32::new(n).map_or_else(|| expected(whole, "a number above zero"), |n| Ok((whole, n)));
    let upper = Upper::new(name);
    match upper.as_bytes() {
        b"EXISTS" => Ok((rest, Data::Exists(n))),
        b"RECENT" => Ok((rest, Data::Recent(n))),
        b"EXPUNGE" => Ok((rest, Data::Expunge(nonzero(n)?.1))),
        b"FETCH" => {
            let seq = nonzero(n)?.1;
            let (rest, ()) = sp(rest)?;
            map(paren_list(rest, ctx, 0, |i| fetch_data(i, ctx)), |items| Data::Fetch { seq, items })
        }
        _ => Ok((&whole[whole.len()..], Data::Other(Cow::Borrowed(whole)))),
    }
}

fn status(i: In<'_>, ctx: Ctx) -> Res<'_, Status<'_>> {
    let (rest, name) = atom(i)?;
    let upper = Upper::new(name);
    let kind = match upper.as_bytes() {
        b"OK" => StatusKind::Ok,
        b"NO" => StatusKind::No,
        b"BAD" => StatusKind::Bad,
        b"BYE" => StatusKind::Bye,
        b"PREAUTH" => StatusKind::PreAuth,
        _ => return expected(i, "OK, NO or BAD"),
    };
    let text = rest.strip_prefix(b" ").unwrap_or(rest);
    // A code that cannot be understood becomes text: the status itself must not be lost.
    let (text, code) = match code(text, ctx) {
        Ok((rest, code)) => (rest.strip_prefix(b" ").unwrap_or(rest), Some(code)),
        Err(_) => (text, None),
    };
    Ok((&text[text.len()..], Status { kind, code, text: String::from_utf8_lossy(text) }))
}

fn code(i: In<'_>, ctx: Ctx) -> Res<'_, Code<'_>> {
    let (i, ()) = byte(i, b'[', "[")?;
    let (rest, name) = atom(i)?;
    let upper = Upper::new(name);
    let parsed = match upper.as_bytes() {
        b"CAPABILITY" => map(capabilities(rest, ctx), Code::Capability),
        b"PERMANENTFLAGS" => after_sp(rest, |i| map(flag_list(i, ctx), Code::PermanentFlags)),
        b"UIDNEXT" => after_sp(rest, |i| map(nz_number(i), Code::UidNext)),
        b"UIDVALIDITY" => after_sp(rest, |i| map(nz_number(i), Code::UidValidity)),
        b"UNSEEN" => after_sp(rest, |i| map(nz_number(i), Code::Unseen)),
        b"APPENDUID" => after_sp(rest, |i| append_uid(i, ctx)),
        b"COPYUID" => after_sp(rest, |i| copy_uid(i, ctx)),
        b"BADCHARSET" if peek(rest) == Some(b' ') => {
            after_sp(rest, |i| map(paren_list(i, ctx, 0, charset), Code::BadCharset))
        }
        b"BADCHARSET" => Ok((rest, Code::BadCharset(Vec::new()))),
        _ => match Code::plain(name) {
            Some(code) => Ok((rest, code)),
            None => other_code(i),
        },
    };
    let (i, code) = parsed.and_then(|(rest, code)| map(byte(rest, b']', "]"), |()| code)).or_else(|_| {
        let (rest, code) = other_code(i)?;
        map(byte(rest, b']', "]"), |()| code)
    })?;
    Ok((i, code))
}

fn charset(i: In<'_>) -> Res<'_, Atom<'_>> {
    let (rest, name) = astring(i)?;
    match std::str::from_utf8(&name).ok().and_then(|name| Atom::new(name.to_owned())) {
        Some(atom) => Ok((rest, atom)),
        None => expected(i, "a charset"),
    }
}

fn other_code(i: In<'_>) -> Res<'_, Code<'_>> {
    let (i, name) = atom_str(i)?;
    let name = Atom::checked(name);
    let Some(text) = i.strip_prefix(b" ") else { return Ok((i, Code::Other { name, value: None })) };
    let n = code_value(text);
    let value = Some(Cow::Borrowed(&text[..n]));
    Ok((&text[n..], Code::Other { name, value }))
}

/// Up to the bracket that closes the code: not one within a quoted string.
fn code_value(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(b) = text.get(at) {
        match b {
            b']' => break,
            b'"' => match quoted(&text[at..]) {
                Ok((rest, _)) => at = text.len() - rest.len(),
                Err(_) => at += 1,
            },
            _ => at += 1,
        }
    }
    at
}

fn append_uid(i: In<'_>, ctx: Ctx) -> Res<'_, Code<'_>> {
    let (i, uid_validity) = nz_number(i)?;
    let (i, ()) = sp(i)?;
    map(sequence_set(i, ctx), |uids| Code::AppendUid { uid_validity, uids })
}

fn copy_uid(i: In<'_>, ctx: Ctx) -> Res<'_, Code<'_>> {
    let (i, uid_validity) = nz_number(i)?;
    let (i, ()) = sp(i)?;
    let (i, from) = sequence_set(i, ctx)?;
    let (i, ()) = sp(i)?;
    map(sequence_set(i, ctx), |to| Code::CopyUid { uid_validity, from, to })
}

/// ` A B C`, with stray spaces as some servers leave at the end.
fn capabilities(mut i: In<'_>, ctx: Ctx) -> Res<'_, Vec<Atom<'_>>> {
    let mut list = Vec::new();
    while let Some(rest) = i.strip_prefix(b" ") {
        i = rest;
        if peek(rest).is_none_or(|b| matches!(b, b' ' | b']')) {
            continue;
        }
        ctx.room(i, list.len())?;
        let (rest, name) = atom_str(rest)?;
        list.push(Atom::checked(name));
        i = rest;
    }
    Ok((i, list))
}

fn search(mut i: In<'_>, ctx: Ctx) -> Res<'_, Vec<u32>> {
    let mut ids = Vec::new();
    while let Some(rest) = i.strip_prefix(b" ") {
        i = rest;
        if rest.is_empty() {
            break;
        }
        ctx.room(i, ids.len())?;
        let (rest, id) = number(rest)?;
        ids.push(id);
        i = rest;
    }
    Ok((i, ids))
}

fn delimiter(i: In<'_>) -> Res<'_, Option<u8>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let (rest, text) = quoted(i)?;
    match &text[..] {
        [] => Ok((rest, None)),
        [one] => Ok((rest, Some(*one))),
        _ => expected(i, "a delimiter of one character"),
    }
}

fn list_entry(i: In<'_>, ctx: Ctx) -> Res<'_, ListEntry<'_>> {
    let (i, attributes) = paren_list(i, ctx, 0, flag)?;
    let (i, ()) = sp(i)?;
    let (i, delimiter) = delimiter(i)?;
    let (i, ()) = sp(i)?;
    let (i, mailbox) = mailbox(i)?;
    // RFC 5258's extended data, which nobody asked for, may follow.
    let i = match i.strip_prefix(b" ") {
        Some(rest) => opaque(rest, ctx)?.0,
        None => i,
    };
    Ok((i, ListEntry { attributes, delimiter, mailbox }))
}

fn status_data(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let (i, mailbox) = mailbox(i)?;
    let (i, ()) = sp(i)?;
    let (i, items) = paren_list(i, ctx, 0, |i| {
        let (i, name) = atom(i)?;
        let (i, ()) = sp(i)?;
        match StatusItem::from_name(name) {
            Some(item) => map(number(i), |n| Some((item, n))),
            None => map(opaque(i, ctx), |_| None),
        }
    })?;
    // Some servers leave a space behind.
    let i = i.strip_prefix(b" ").filter(|rest| rest.is_empty()).unwrap_or(i);
    Ok((i, Data::Status { mailbox, items: items.into_iter().flatten().collect() }))
}

fn namespaces(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let (i, personal) = namespace(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, others) = namespace(i, ctx)?;
    let (i, ()) = sp(i)?;
    let (i, shared) = namespace(i, ctx)?;
    Ok((i, Data::Namespace(Box::new([personal, others, shared]))))
}

fn namespace(i: In<'_>, ctx: Ctx) -> Res<'_, Option<Vec<Namespace<'_>>>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let (mut i, ()) = byte(i, b'(', "a namespace")?;
    let mut list = Vec::new();
    while peek(i) != Some(b')') {
        ctx.room(i, list.len())?;
        let (rest, one) = namespace_entry(i, ctx)?;
        list.push(one);
        i = rest;
    }
    Ok((&i[1..], Some(list)))
}

fn namespace_entry(i: In<'_>, ctx: Ctx) -> Res<'_, Namespace<'_>> {
    let (i, ()) = byte(i, b'(', "a namespace")?;
    let (i, prefix) = mailbox(i)?;
    let (i, ()) = sp(i)?;
    let (mut i, delimiter) = delimiter(i)?;
    while let Some(rest) = i.strip_prefix(b" ") {
        i = opaque(rest, ctx)?.0;
    }
    let (i, ()) = byte(i, b')', ")")?;
    Ok((i, Namespace { prefix, delimiter }))
}

fn fetch_data(i: In<'_>, ctx: Ctx) -> Res<'_, FetchData<'_>> {
    use FetchData as F;
    let (rest, name) = run(i, chars::NAME, "a FETCH item")?;
    let upper = Upper::new(name);
    if upper.as_bytes() == b"BODY" && peek(rest) == Some(b'[') {
        return body_section(rest, ctx);
    }
    let value = |rest| map(sp(rest), |()| ()).map(|(i, ())| i);
    match upper.as_bytes() {
        b"FLAGS" => map(flag_list(value(rest)?, ctx), F::Flags),
        b"UID" => map(nz_number(value(rest)?), F::Uid),
        b"INTERNALDATE" => map(date_time(value(rest)?), F::InternalDate),
        b"RFC822.SIZE" => map(number64(value(rest)?), F::Rfc822Size),
        b"ENVELOPE" => map(envelope(value(rest)?, ctx), |e| F::Envelope(Box::new(e))),
        b"BODY" => map(body(value(rest)?, ctx), |b| F::Body(Box::new(b))),
        b"BODYSTRUCTURE" => map(body(value(rest)?, ctx), |b| F::BodyStructure(Box::new(b))),
        b"RFC822" => map(payload(value(rest)?), F::Rfc822),
        b"RFC822.HEADER" => map(payload(value(rest)?), F::Rfc822Header),
        b"RFC822.TEXT" => map(payload(value(rest)?), F::Rfc822Text),
        _ => other_item(i, ctx),
    }
}

/// The name may hold brackets, as BINARY's does.
fn other_item(i: In<'_>, ctx: Ctx) -> Res<'_, FetchData<'_>> {
    let n = i.iter().position(|&b| !chars::is(b, ASTRING)).unwrap_or(i.len());
    let (name, rest) = i.split_at(n);
    let (rest, ()) = sp(rest)?;
    let name = Cow::Borrowed(ascii(name));
    map(opaque(rest, ctx), |value| FetchData::Other { name, value: Cow::Borrowed(value) })
}

fn body_section(i: In<'_>, ctx: Ctx) -> Res<'_, FetchData<'_>> {
    let (i, section) = section(i, ctx)?;
    let (i, origin) = match i.strip_prefix(b"<") {
        None => (i, None),
        Some(i) => {
            let (i, origin) = number(i)?;
            let (i, ()) = byte(i, b'>', ">")?;
            (i, Some(origin))
        }
    };
    let (i, ()) = sp(i)?;
    map(payload(i), |data| FetchData::Section { section, origin, data })
}

/// A literal that the decoder streamed has NUL in the place of CRLF and its octets; no peer can send that.
fn payload(i: In<'_>) -> Res<'_, Payload<'_>> {
    if let Some(rest) = strip_word(i, b"{") {
        let (after, n) = number64(rest)?;
        if let Some(after) = after.strip_prefix(b"}\0") {
            return Ok((after, Payload::Streamed(n)));
        }
        return message_literal(i);
    }
    map(nstring(i), |data| data.map_or(Payload::Nil, Payload::Bytes))
}

/// As `literal`, but NUL passes: mail that holds it exists, and a client wants it nevertheless.
fn message_literal(i: In<'_>) -> Res<'_, Payload<'_>> {
    let (rest, ()) = byte(i, b'{', "a literal")?;
    let (rest, n) = number64(rest)?;
    let Some(rest) = rest.strip_prefix(b"}\r\n") else { return expected(rest, "a literal's length") };
    match usize::try_from(n).ok().and_then(|n| rest.split_at_checked(n)) {
        Some((data, rest)) => Ok((rest, Payload::Bytes(Cow::Borrowed(data)))),
        None => expected(rest, "the octets of a literal"),
    }
}
