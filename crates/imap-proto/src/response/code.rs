//! Response codes: RFC 3501 section 7.1, RFC 5530, RFC 9051 and the extensions.

use std::borrow::Cow;
use std::num::NonZeroU32;

use crate::command::mod_seq;
use crate::keyword::{Key, keys, keyword};
use crate::lex::{
    Ctx, In, Res, after_sp, astring, atom, atom_str, byte, expected, in_parens, map, nil, number, nz_number,
    paren_list, peek, quoted, string, trailing,
};
use crate::own::into_owned;
use crate::sequence::sequence_set;
use crate::write::Writer;
use crate::{Atom, Capabilities, Flags, Quirks, SequenceSet, chars};

/// What stands in the brackets of a status response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
#[allow(missing_docs)] // The variants bear the RFCs' names, which define them.
pub enum Code<'a> {
    Alert,
    BadCharset(Vec<Atom<'a>>),
    Capability(Capabilities<'a>),
    Parse,
    PermanentFlags(Flags<'a>),
    ReadOnly,
    ReadWrite,
    TryCreate,
    UidNext(NonZeroU32),
    UidValidity(NonZeroU32),
    Unseen(NonZeroU32),
    /// RFC 4315.
    AppendUid {
        uid_validity: NonZeroU32,
        uids: SequenceSet,
    },
    /// RFC 4315.
    CopyUid {
        uid_validity: NonZeroU32,
        from: SequenceSet,
        to: SequenceSet,
    },
    /// RFC 4315.
    UidNotSticky,
    // RFC 5530.
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
    /// RFC 4469 and RFC 7889.
    TooBig,
    /// RFC 4469.
    BadUrl(Cow<'a, [u8]>),
    /// RFC 7162.
    Closed,
    /// RFC 7162.
    HighestModSeq(u64),
    /// RFC 7162.
    NoModSeq,
    /// RFC 7162: STORE with UNCHANGEDSINCE left these alone.
    Modified(SequenceSet),
    /// RFC 3516.
    UnknownCte,
    /// RFC 5182.
    NotSaved,
    /// RFC 9051.
    HasChildren,
    /// RFC 6154: CREATE's special use cannot be had.
    UseAttr,
    /// RFC 4978.
    CompressionActive,
    /// RFC 8474.
    MailboxId(Atom<'a>),
    /// RFC 5465: the events that the server knows.
    BadEvent(Vec<Atom<'a>>),
    /// RFC 5465.
    NotificationOverflow,
    /// RFC 5267: the search of this tag gets no updates.
    NoUpdate(Cow<'a, [u8]>),
    /// RFC 5464: so long is the longest entry that was left out, in octets.
    MetadataLongEntries(u32),
    /// RFC 5464: values may be so long, in octets.
    MetadataMaxSize(u32),
    /// RFC 5464.
    MetadataTooMany,
    /// RFC 5464.
    MetadataNoPrivate,
    /// RFC 9585: the command's tag, how far it is, and of how much.
    InProgress(Option<Progress<'a>>),
    /// RFC 9586.
    UidRequired,
    /// RFC 9738: so many messages at once; and the UID up to which the command did its work.
    MessageLimit {
        limit: u32,
        uid: Option<NonZeroU32>,
    },
    /// RFC 9738.
    SaveLimit(u32),
    /// RFCs 2193 and 2221: URLs of where to go; for a RENAME, of both mailboxes.
    Referral(Vec<Cow<'a, [u8]>>),
    /// RFC 5466: no such filter.
    UndefinedFilter(Atom<'a>),
    /// RFC 10022: batches of so few messages cannot be had.
    TooFew,
    /// RFC 10022: so many batches cannot be had.
    TooMany,
    /// RFC 5259: try the conversion later.
    TempFail,
    /// RFC 5259: conversions of so many messages at once.
    MaxConvertMessages(u32),
    /// RFC 5259: conversions of so many parts of a message at once.
    MaxConvertParts(u32),
    /// RFC 4467: mechanisms of GENURLAUTH.
    UrlMech(Vec<Atom<'a>>),
    /// RFC 5255: no such collation.
    BadComparator,
    /// Any other, with what follows its name up to the bracket.
    Other {
        name: Atom<'a>,
        value: Option<Cow<'a, [u8]>>,
    },
}

/// How far a command is (RFC 9585 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Progress<'a> {
    /// The command's tag.
    pub tag: Option<Cow<'a, [u8]>>,
    /// What is done, in units of the server's choice.
    pub done: Option<u32>,
    /// What is to be done.
    pub goal: Option<u32>,
}

into_owned!(struct Progress { tag, done, goal });
into_owned!(enum Code {
    Alert, BadCharset(c), Capability(c), Parse, PermanentFlags(f), ReadOnly, ReadWrite, TryCreate, UidNext(n), UidValidity(n),
    Unseen(n), AppendUid { uid_validity, uids }, CopyUid { uid_validity, from, to }, UidNotSticky, Unavailable,
    AuthenticationFailed, AuthorizationFailed, Expired, PrivacyRequired, ContactAdmin, NoPerm, InUse, ExpungeIssued,
    Corruption, ServerBug, ClientBug, Cannot, Limit, OverQuota, AlreadyExists, NonExistent, TooBig, BadUrl(url), Closed,
    HighestModSeq(n), NoModSeq, Modified(set), UnknownCte, NotSaved, HasChildren, UseAttr, CompressionActive,
    MailboxId(id), BadEvent(events), NotificationOverflow, NoUpdate(tag), MetadataLongEntries(n), MetadataMaxSize(n),
    MetadataTooMany, MetadataNoPrivate, InProgress(progress), UidRequired, MessageLimit { limit, uid }, SaveLimit(n),
    Referral(urls), UndefinedFilter(name), TooFew, TooMany, TempFail, MaxConvertMessages(n),
    MaxConvertParts(n), UrlMech(names), BadComparator, Other { name, value },
});

const PLAIN: [(&str, Code<'static>); 38] = [
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
    ("NOMODSEQ", Code::NoModSeq),
    ("UNKNOWN-CTE", Code::UnknownCte),
    ("NOTSAVED", Code::NotSaved),
    ("HASCHILDREN", Code::HasChildren),
    ("USEATTR", Code::UseAttr),
    ("COMPRESSIONACTIVE", Code::CompressionActive),
    ("NOTIFICATIONOVERFLOW", Code::NotificationOverflow),
    ("UIDREQUIRED", Code::UidRequired),
    ("BADCOMPARATOR", Code::BadComparator),
    ("INPROGRESS", Code::InProgress(None)),
    ("TOOFEW", Code::TooFew),
    ("TOOMANY", Code::TooMany),
    ("TEMPFAIL", Code::TempFail),
];

fn plain(name: &[u8]) -> Option<Code<'static>> {
    PLAIN.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name)).map(|(_, c)| c.clone())
}

keys!(
    CAPABILITY,
    PERMANENTFLAGS,
    UIDNEXT,
    UIDVALIDITY,
    UNSEEN,
    APPENDUID,
    COPYUID,
    BADCHARSET,
    BADURL,
    HIGHESTMODSEQ,
    MODIFIED,
    MAILBOXID,
    BADEVENT,
    NOUPDATE,
    METADATA,
    INPROGRESS,
    MESSAGELIMIT,
    SAVELIMIT,
    REFERRAL,
    URLMECH,
    UNDEFINED_FILTER = "UNDEFINED-FILTER",
    MAXCONVERTPARTS,
    LONGENTRIES,
    MAXSIZE,
    TOOMANY,
    NOPRIVATE,
);

/// `[code]`
pub(super) fn code(i: In<'_>, ctx: Ctx) -> Res<'_, Code<'_>> {
    let (i, ()) = byte(i, b'[', "[")?;
    let closed = |(rest, code)| map(byte(rest, b']', "]"), |()| code);
    match known(i, ctx).and_then(closed) {
        Ok(known) => Ok(known),
        Err(_) => other(i).and_then(closed),
    }
}

fn known(i: In<'_>, ctx: Ctx) -> Res<'_, Code<'_>> {
    let (rest, (name, key)) = keyword(i, chars::ATOM, "a code")?;
    match key {
        CAPABILITY => after_sp(rest, |i| map(Capabilities::parse_bare(trim(i, ctx), ctx), Code::Capability))
            .map(close_spaces),
        PERMANENTFLAGS => after_sp(rest, |i| map(Flags::parse_paren(i, ctx, 0), Code::PermanentFlags)),
        UIDNEXT => after_sp(rest, |i| map(nz_number(i), Code::UidNext)),
        UIDVALIDITY => after_sp(rest, |i| map(nz_number(i), Code::UidValidity)),
        UNSEEN => after_sp(rest, |i| map(nz_number(i), Code::Unseen)),
        HIGHESTMODSEQ => after_sp(rest, |i| map(mod_seq(i), Code::HighestModSeq)),
        APPENDUID => after_sp(rest, |i| append_uid(i, ctx)),
        COPYUID => after_sp(rest, |i| copy_uid(i, ctx)),
        MODIFIED => after_sp(rest, |i| map(sequence_set(i, ctx), Code::Modified)),
        BADCHARSET if peek(rest) == Some(b' ') => {
            after_sp(rest, |i| map(paren_list(i, ctx, 0, |i| charset(i, ctx)), Code::BadCharset))
        }
        BADCHARSET => Ok((rest, Code::BadCharset(Vec::new()))),
        _ => match plain(name) {
            Some(code) if peek(rest) == Some(b']') => Ok((rest, code)),
            _ => of_extension(i, (name, rest), key, ctx),
        },
    }
}

fn of_extension<'a>(start: In<'a>, (name, rest): (In<'a>, In<'a>), key: Key, ctx: Ctx) -> Res<'a, Code<'a>> {
    match key {
        BADURL => after_sp(rest, |i| map(astring(i, ctx), Code::BadUrl)),
        MAILBOXID => after_sp(rest, |i| map(in_parens(i, atom_str), |id| Code::MailboxId(Atom::checked(id)))),
        BADEVENT => after_sp(rest, |i| {
            map(paren_list(i, ctx, 0, |i| map(atom_str(i), Atom::checked)), Code::BadEvent)
        }),
        NOUPDATE => after_sp(rest, |i| map(string(i, ctx), Code::NoUpdate)),
        METADATA => after_sp(rest, metadata),
        INPROGRESS => {
            after_sp(rest, |i| map(in_parens(i, |i| progress(i, ctx)), |p| Code::InProgress(Some(p))))
        }
        MESSAGELIMIT => after_sp(rest, message_limit),
        SAVELIMIT => after_sp(rest, |i| map(number(i), Code::SaveLimit)),
        MAXCONVERTPARTS => after_sp(rest, |i| map(number(i), Code::MaxConvertParts)),
        _ if name.eq_ignore_ascii_case(b"MAXCONVERTMESSAGES") => {
            after_sp(rest, |i| map(number(i), Code::MaxConvertMessages))
        }
        UNDEFINED_FILTER => {
            after_sp(rest, |i| map(atom_str(i), |name| Code::UndefinedFilter(Atom::checked(name))))
        }
        URLMECH => map(trailing(rest, ctx, |i| map(atom_str(i), Atom::checked)), Code::UrlMech),
        REFERRAL => map(trailing(rest, ctx, url), Code::Referral),
        _ => expected(start, "a known code"),
    }
}

/// A URL as REFERRAL has it: up to a space or the bracket.
fn url(i: In<'_>) -> Res<'_, Cow<'_, [u8]>> {
    let n = i.iter().position(|b| matches!(b, b' ' | b']')).unwrap_or(i.len());
    if n == 0 { expected(i, "a URL") } else { Ok((&i[n..], Cow::Borrowed(&i[..n]))) }
}

/// Leading spaces, by quirk.
fn trim(i: In<'_>, ctx: Ctx) -> In<'_> {
    if ctx.allows(Quirks::TRAILING_SPACE) { i.trim_ascii_start() } else { i }
}

fn close_spaces<'a>((i, code): (In<'a>, Code<'a>)) -> (In<'a>, Code<'a>) {
    let trimmed = i.trim_ascii_start();
    if peek(trimmed) == Some(b']') { (trimmed, code) } else { (i, code) }
}

fn charset(i: In<'_>, ctx: Ctx) -> Res<'_, Atom<'_>> {
    let (rest, name) = astring(i, ctx)?;
    match std::str::from_utf8(&name).ok().and_then(|name| Atom::new(name.to_owned())) {
        Some(atom) => Ok((rest, atom)),
        None => expected(i, "a charset"),
    }
}

fn other(i: In<'_>) -> Res<'_, Code<'_>> {
    let (i, name) = match atom(i) {
        Ok((rest, name)) => (rest, crate::lex::ascii(name)),
        Err(e) => return Err(e),
    };
    let name = Atom::checked(name);
    let Some(text) = i.strip_prefix(b" ") else { return Ok((i, Code::Other { name, value: None })) };
    let n = value_len(text);
    let value = Some(Cow::Borrowed(&text[..n]));
    Ok((&text[n..], Code::Other { name, value }))
}

/// Up to the bracket that closes the code: not one within a quoted string.
fn value_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(b) = text.get(at) {
        match b {
            b']' => break,
            b'"' => match quoted(&text[at..], Ctx::CHECKED) {
                Ok((rest, _)) => at = text.len() - rest.len(),
                // Unclosed: no later one closes either.
                Err(_) => return memchr::memchr(b']', &text[at..]).map_or(text.len(), |n| at + n),
            },
            _ => at += 1,
        }
    }
    at
}

fn append_uid(i: In<'_>, ctx: Ctx) -> Res<'_, Code<'_>> {
    let (i, uid_validity) = nz_number(i)?;
    map(after_sp(i, |i| sequence_set(i, ctx)), |uids| Code::AppendUid { uid_validity, uids })
}

fn copy_uid(i: In<'_>, ctx: Ctx) -> Res<'_, Code<'_>> {
    let (i, uid_validity) = nz_number(i)?;
    let (i, from) = after_sp(i, |i| sequence_set(i, ctx))?;
    map(after_sp(i, |i| sequence_set(i, ctx)), |to| Code::CopyUid { uid_validity, from, to })
}

fn metadata(i: In<'_>) -> Res<'_, Code<'_>> {
    let (rest, (_, key)) = keyword(i, chars::ATOM, "a METADATA code")?;
    match key {
        LONGENTRIES => after_sp(rest, |i| map(number(i), Code::MetadataLongEntries)),
        MAXSIZE => after_sp(rest, |i| map(number(i), Code::MetadataMaxSize)),
        TOOMANY => Ok((rest, Code::MetadataTooMany)),
        NOPRIVATE => Ok((rest, Code::MetadataNoPrivate)),
        _ => expected(i, "a METADATA code"),
    }
}

fn or_nil<'a, T>(i: In<'a>, value: impl FnOnce(In<'a>) -> Res<'a, T>) -> Res<'a, Option<T>> {
    match nil(i) {
        Some(rest) => Ok((rest, None)),
        None => map(value(i), Some),
    }
}

fn progress<'a>(i: In<'a>, ctx: Ctx) -> Res<'a, Progress<'a>> {
    let (i, tag) = or_nil(i, |i| string(i, ctx))?;
    let (i, done) = after_sp(i, |i| or_nil(i, number))?;
    map(after_sp(i, |i| or_nil(i, number)), |goal| Progress { tag, done, goal })
}

fn message_limit(i: In<'_>) -> Res<'_, Code<'_>> {
    let (i, limit) = number(i)?;
    let (i, uid) = match i.strip_prefix(b" ") {
        Some(i) => map(nz_number(i), Some)?,
        None => (i, None),
    };
    Ok((i, Code::MessageLimit { limit, uid }))
}

impl Code<'_> {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        match self {
            Code::BadCharset(charsets) => {
                w.raw("BADCHARSET");
                if !charsets.is_empty() {
                    w.raw(" ");
                    w.list(charsets, |w, c| w.raw(c.as_str()));
                }
            }
            Code::Capability(list) => {
                w.raw("CAPABILITY ");
                list.write_bare(w);
            }
            Code::PermanentFlags(flags) => {
                w.raw("PERMANENTFLAGS ");
                flags.write_paren(w);
            }
            Code::UidNext(n) => w.numbered("UIDNEXT ", n.get()),
            Code::UidValidity(n) => w.numbered("UIDVALIDITY ", n.get()),
            Code::Unseen(n) => w.numbered("UNSEEN ", n.get()),
            Code::HighestModSeq(n) => w.numbered("HIGHESTMODSEQ ", *n),
            Code::AppendUid { uid_validity, uids } => {
                w.numbered("APPENDUID ", uid_validity.get());
                w.raw(" ");
                uids.encode(w.out);
            }
            Code::CopyUid { uid_validity, from, to } => {
                w.numbered("COPYUID ", uid_validity.get());
                w.raw(" ");
                from.encode(w.out);
                w.raw(" ");
                to.encode(w.out);
            }
            Code::Modified(set) => {
                w.raw("MODIFIED ");
                set.encode(w.out);
            }
            Code::Other { name, value } => {
                w.raw(name.as_str());
                if let Some(value) = value {
                    w.raw(" ");
                    w.out.extend(value.iter().filter(|b| !matches!(b, 0 | b'\r' | b'\n')));
                }
            }
            _ => self.write_of_extension(w),
        }
    }

    fn write_of_extension(&self, w: &mut Writer<'_>) {
        match self {
            Code::BadUrl(url) => {
                w.raw("BADURL ");
                w.quoted_only(url);
            }
            Code::MailboxId(id) => {
                w.word("MAILBOXID (", id.as_str());
                w.raw(")");
            }
            Code::BadEvent(events) => {
                w.raw("BADEVENT ");
                w.list(events, |w, e| w.raw(e.as_str()));
            }
            Code::NoUpdate(tag) => {
                w.raw("NOUPDATE ");
                w.quoted_only(tag);
            }
            Code::MetadataLongEntries(n) => w.numbered("METADATA LONGENTRIES ", *n),
            Code::MetadataMaxSize(n) => w.numbered("METADATA MAXSIZE ", *n),
            Code::MetadataTooMany => w.raw("METADATA TOOMANY"),
            Code::MetadataNoPrivate => w.raw("METADATA NOPRIVATE"),
            Code::InProgress(Some(progress)) => progress.write(w),
            Code::MessageLimit { limit, uid } => {
                w.numbered("MESSAGELIMIT ", *limit);
                if let Some(uid) = uid {
                    w.numbered(" ", uid.get());
                }
            }
            Code::SaveLimit(n) => w.numbered("SAVELIMIT ", *n),
            Code::MaxConvertMessages(n) => w.numbered("MAXCONVERTMESSAGES ", *n),
            Code::MaxConvertParts(n) => w.numbered("MAXCONVERTPARTS ", *n),
            Code::UndefinedFilter(name) => w.word("UNDEFINED-FILTER ", name.as_str()),
            Code::UrlMech(names) => {
                w.raw("URLMECH");
                names.iter().for_each(|name| w.word(" ", name.as_str()));
            }
            Code::Referral(urls) => {
                w.raw("REFERRAL");
                for url in urls {
                    w.raw(" ");
                    w.out.extend(url.iter().filter(|b| !matches!(b, 0..=b' ' | b']' | 0x7f..)));
                }
            }
            plain => w.raw(PLAIN.iter().find(|(_, c)| c == plain).map_or("ALERT", |(name, _)| name)),
        }
    }
}

impl Progress<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        w.raw("INPROGRESS (");
        match &self.tag {
            Some(tag) => w.quoted_only(tag),
            None => w.raw("NIL"),
        }
        for n in [self.done, self.goal] {
            match n {
                Some(n) => w.numbered(" ", n),
                None => w.raw(" NIL"),
            }
        }
        w.raw(")");
    }
}
