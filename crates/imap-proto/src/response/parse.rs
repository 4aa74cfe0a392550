use std::borrow::Cow;
use std::num::NonZeroU32;

use super::code::code;
use super::fetch::fetch_items;
use super::mailbox::{ListEntry, mailbox_and_strings, namespaces, quota};
use super::search::{esearch, ids, threads, uid_batches};
use super::{Data, Response, Status, StatusKind, UrlData};
use crate::chars::{self, TAG};
use crate::command::{MetadataEntries, id_fields};
use crate::keyword::{Key, keys, keyword};
use crate::lex::{
    Ctx, In, Res, after_sp, astring, expected, finish, map, nz_number, paren_list, peek, sp, string,
    strip_word, trailing,
};
use crate::sequence::sequence_set;
use crate::status::status_data;
use crate::text::{Capabilities, Strings, mailbox};
use crate::{Flags, ParseError, ParseErrorKind, ParseLimits, Quirks, Tag};

impl<'a> Response<'a> {
    /// Parses one response as [`ResponseDecoder`](crate::ResponseDecoder) delivers it: whole, without its final CRLF.
    pub fn parse(message: &'a [u8], limits: &ParseLimits) -> Result<Self, ParseError> {
        let ctx = Ctx::new(limits);
        match message {
            [b'*', b' ', rest @ ..] => match untagged(rest, ctx) {
                Ok(([], response)) => Ok(response),
                other => finish(message, None, other),
            },
            [b'+', text @ ..] => continuation(message, text, ctx),
            _ => tagged(message, ctx),
        }
    }
}

fn continuation<'a>(message: In<'a>, text: In<'a>, ctx: Ctx) -> Result<Response<'a>, ParseError> {
    match text {
        [b' ', text @ ..] => Ok(Response::Continue(String::from_utf8_lossy(text))),
        text if ctx.allows(Quirks::EMPTY_CONTINUE) => Ok(Response::Continue(String::from_utf8_lossy(text))),
        text => finish(message, None, expected(text, "a space")),
    }
}

fn tagged(message: &[u8], ctx: Ctx) -> Result<Response<'_>, ParseError> {
    let n = chars::span(message, TAG);
    let Some(tag) = Tag::checked(&message[..n]) else {
        return Err(ParseError { tag: None, offset: 0, kind: ParseErrorKind::Expected("a response") });
    };
    let parsed = sp(&message[n..]).and_then(|(i, ())| status(i, ctx));
    let status = finish(message, Some(&tag), parsed)?;
    Ok(Response::Tagged { tag, status })
}

keys!(
    OK, NO, BAD, BYE, PREAUTH, CAPABILITY, ENABLED, SEARCH, SORT, THREAD, ESEARCH, FLAGS, LIST, LSUB, XLIST,
    STATUS, NAMESPACE, ID, QUOTA, QUOTAROOT, ACL, LISTRIGHTS, MYRIGHTS, METADATA, VANISHED, UIDBATCHES,
    GENURLAUTH, URLFETCH, LANGUAGE, COMPARATOR, CONVERSION, JMAPACCESS, EXISTS, RECENT, EXPUNGE, FETCH,
    UIDFETCH,
);

#[inline]
fn untagged(i: In<'_>, ctx: Ctx) -> Res<'_, Response<'_>> {
    if peek(i).is_some_and(|b| b.is_ascii_digit()) {
        return map(numbered(i, ctx), Response::Data);
    }
    let (rest, (_, key)) = keyword(i, chars::ATOM, "a response")?;
    let data = match key {
        OK | NO | BAD | BYE | PREAUTH => return map(status(i, ctx), Response::Status),
        CAPABILITY => map(capabilities(rest, ctx), Data::Capability),
        ENABLED => map(capabilities(rest, ctx), Data::Enabled),
        SEARCH => map(ids(rest, ctx), |(ids, mod_seq)| Data::Search { ids, mod_seq }),
        SORT => map(ids(rest, ctx), |(ids, mod_seq)| Data::Sort { ids, mod_seq }),
        THREAD => map(threads(rest, ctx), Data::Thread),
        ESEARCH => map(esearch(rest, ctx), |found| Data::Esearch(Box::new(found))),
        FLAGS => after_sp(rest, |i| map(Flags::parse_paren(i, ctx, 0), Data::Flags)),
        // XLIST: Gmail's LIST before there was SPECIAL-USE.
        LIST | XLIST => after_sp(rest, |i| map(ListEntry::parse(i, ctx), Data::List)),
        LSUB => after_sp(rest, |i| map(ListEntry::parse(i, ctx), Data::Lsub)),
        STATUS => {
            after_sp(rest, |i| map(status_data(i, ctx), |(mailbox, items)| Data::Status { mailbox, items }))
        }
        NAMESPACE => after_sp(rest, |i| map(namespaces(i, ctx), |spaces| Data::Namespace(Box::new(spaces)))),
        ID => after_sp(rest, |i| map(id_fields(i, ctx), Data::Id)),
        VANISHED => vanished(rest, ctx),
        _ => administration(i, rest, key, ctx),
    };
    map(without_spaces(data, ctx), Response::Data)
}

/// Drops spaces at the end, by quirk.
fn without_spaces<'a, T>(parsed: Res<'a, T>, ctx: Ctx) -> Res<'a, T> {
    let (i, value) = parsed?;
    let spaces = ctx.allows(Quirks::TRAILING_SPACE) && i.iter().all(|b| *b == b' ');
    Ok((if spaces { &i[i.len()..] } else { i }, value))
}

fn capabilities(i: In<'_>, ctx: Ctx) -> Res<'_, Capabilities<'_>> {
    let Some(mut rest) = i.strip_prefix(b" ") else { return Ok((i, Capabilities::default())) };
    while ctx.allows(Quirks::TRAILING_SPACE) && peek(rest) == Some(b' ') {
        rest = &rest[1..];
    }
    if rest.is_empty() { Ok((rest, Capabilities::default())) } else { Capabilities::parse_bare(rest, ctx) }
}

/// ` [(EARLIER)] uids`
fn vanished(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let (i, earlier) = match strip_word(i, b" (EARLIER)") {
        Some(rest) => (rest, true),
        None => (i, false),
    };
    map(after_sp(i, |i| sequence_set(i, ctx)), |uids| Data::Vanished { earlier, uids })
}

fn administration<'a>(start: In<'a>, rest: In<'a>, key: Key, ctx: Ctx) -> Res<'a, Data<'a>> {
    match key {
        QUOTA => after_sp(rest, |i| map(quota(i, ctx), |(root, resources)| Data::Quota { root, resources })),
        QUOTAROOT => after_sp(rest, |i| {
            map(mailbox_and_strings(i, ctx), |(mailbox, roots)| Data::QuotaRoot { mailbox, roots })
        }),
        ACL => after_sp(rest, |i| acl(i, ctx)),
        LISTRIGHTS => after_sp(rest, |i| list_rights(i, ctx)),
        MYRIGHTS => after_sp(rest, |i| {
            let (i, mailbox) = mailbox(i, ctx)?;
            map(after_sp(i, |i| astring(i, ctx)), |rights| Data::MyRights { mailbox, rights })
        }),
        METADATA => after_sp(rest, |i| metadata(i, ctx)),
        UIDBATCHES => {
            after_sp(rest, |i| map(uid_batches(i, ctx), |(of, batches)| Data::UidBatches { of, batches }))
        }
        GENURLAUTH => map(trailing(rest, ctx, |i| astring(i, ctx)), Data::GenUrlAuth),
        URLFETCH => map(trailing(rest, ctx, |i| UrlData::parse(i, ctx)), Data::UrlFetch),
        LANGUAGE => after_sp(rest, |i| map(paren_list(i, ctx, 1, |i| astring(i, ctx)), Data::Language)),
        COMPARATOR => after_sp(rest, |i| comparator(i, ctx)),
        CONVERSION => after_sp(rest, |i| conversion(i, ctx)),
        JMAPACCESS => after_sp(rest, |i| map(string(i, ctx), Data::JmapAccess)),
        _ => Ok((&start[start.len()..], Data::Other(Cow::Borrowed(start)))),
    }
}

/// `from to (parameters)`
fn conversion(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let (i, from) = astring(i, ctx)?;
    let (i, to) = after_sp(i, |i| astring(i, ctx))?;
    let params = after_sp(i, |i| Strings::parse_paren(i, ctx, 0));
    map(params, |params| Data::Conversion { from, to, params })
}

fn comparator(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let (i, active) = astring(i, ctx)?;
    let (i, others) = match i.strip_prefix(b" ") {
        Some(i) if peek(i) == Some(b'(') => paren_list(i, ctx, 1, |i| astring(i, ctx))?,
        _ => (i, Vec::new()),
    };
    Ok((i, Data::Comparator { active, others }))
}

fn acl(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    let entries = trailing(i, ctx, |i| {
        let (i, identifier) = astring(i, ctx)?;
        map(after_sp(i, |i| astring(i, ctx)), |rights| (identifier, rights))
    });
    map(entries, |entries| Data::Acl { mailbox, entries })
}

fn list_rights(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let (i, mailbox) = mailbox(i, ctx)?;
    let (i, identifier) = after_sp(i, |i| astring(i, ctx))?;
    let (i, always) = after_sp(i, |i| astring(i, ctx))?;
    map(trailing(i, ctx, |i| astring(i, ctx)), |grantable| Data::ListRights {
        mailbox,
        identifier,
        always,
        grantable,
    })
}

fn metadata(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let (i, name) = mailbox(i, ctx)?;
    if i.starts_with(b" (") {
        return map(MetadataEntries::parse_paren(&i[1..], ctx, 0), |entries| Data::Metadata {
            mailbox: name,
            entries,
        });
    }
    map(trailing(i, ctx, |i| astring(i, ctx)), |names| Data::MetadataChanged { mailbox: name, names })
}

#[inline]
fn numbered(i: In<'_>, ctx: Ctx) -> Res<'_, Data<'_>> {
    let whole = i;
    let (i, n) = crate::lex::number(i)?;
    let (i, ()) = sp(i)?;
    let (rest, (_, key)) = keyword(i, chars::ATOM, "a response")?;
    let positive = || match NonZeroU32::new(n) {
        Some(n) => Ok(n),
        None => nz_number(whole).map(|(_, n)| n),
    };
    match key {
        FETCH => {
            let seq = positive()?;
            map(fetch_items(sp(rest)?.0, ctx), |items| Data::Fetch { seq, items })
        }
        EXISTS => Ok((rest, Data::Exists(n))),
        RECENT => Ok((rest, Data::Recent(n))),
        EXPUNGE => Ok((rest, Data::Expunge(positive()?))),
        UIDFETCH => {
            let uid = positive()?;
            map(fetch_items(sp(rest)?.0, ctx), |items| Data::UidFetch { uid, items })
        }
        _ => Ok((&whole[whole.len()..], Data::Other(Cow::Borrowed(whole)))),
    }
}

fn status(i: In<'_>, ctx: Ctx) -> Res<'_, Status<'_>> {
    let (rest, (_, key)) = keyword(i, chars::ATOM, "OK, NO or BAD")?;
    let kind = match key {
        OK => StatusKind::Ok,
        NO => StatusKind::No,
        BAD => StatusKind::Bad,
        BYE => StatusKind::Bye,
        PREAUTH => StatusKind::PreAuth,
        _ => return expected(i, "OK, NO or BAD"),
    };
    let Some(text) = rest.strip_prefix(b" ").or(ctx.allows(Quirks::MISSING_TEXT).then_some(rest)) else {
        return expected(rest, "a space");
    };
    // A code that cannot be understood becomes text: the status itself must not be lost.
    let (text, code) = match peek(text) {
        Some(b'[') => match code(text, ctx) {
            Ok((rest, code)) => match rest.strip_prefix(b" ") {
                None if !ctx.allows(Quirks::MISSING_TEXT) => return expected(rest, "a space"),
                text => (text.unwrap_or(rest), Some(code)),
            },
            Err(_) => (text, None),
        },
        _ => (text, None),
    };
    Ok((&text[text.len()..], Status { kind, code, text: String::from_utf8_lossy(text) }))
}
