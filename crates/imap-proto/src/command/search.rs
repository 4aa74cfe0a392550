//! SEARCH keys (RFC 3501 section 6.4.4).

use std::borrow::Cow;

use crate::datetime::date;
use crate::lex::{
    Ctx, In, Res, Upper, astring, atom_str, expected, number64, paren_list, peek, run, sp, strip_word,
};
use crate::sequence::sequence_set;
use crate::text::owned_bytes;
use crate::write::Writer;
use crate::{Atom, Date, SequenceSet, chars};

/// One condition on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // The variants bear the RFC's names, which define them.
pub enum SearchKey<'a> {
    All,
    Answered,
    Deleted,
    Draft,
    Flagged,
    New,
    Old,
    Recent,
    Seen,
    Unanswered,
    Undeleted,
    Undraft,
    Unflagged,
    Unseen,
    Bcc(Cow<'a, [u8]>),
    Body(Cow<'a, [u8]>),
    Cc(Cow<'a, [u8]>),
    From(Cow<'a, [u8]>),
    Subject(Cow<'a, [u8]>),
    Text(Cow<'a, [u8]>),
    To(Cow<'a, [u8]>),
    Header(Cow<'a, [u8]>, Cow<'a, [u8]>),
    Keyword(Atom<'a>),
    Unkeyword(Atom<'a>),
    Before(Date),
    On(Date),
    Since(Date),
    SentBefore(Date),
    SentOn(Date),
    SentSince(Date),
    Larger(u64),
    Smaller(u64),
    /// Sequence numbers.
    Set(SequenceSet),
    Uid(SequenceSet),
    Not(Box<SearchKey<'a>>),
    Or(Box<SearchKey<'a>>, Box<SearchKey<'a>>),
    /// `( ... )`: all of them.
    And(Vec<SearchKey<'a>>),
}

const PLAIN: [(&str, SearchKey<'static>); 14] = [
    ("ALL", SearchKey::All),
    ("ANSWERED", SearchKey::Answered),
    ("DELETED", SearchKey::Deleted),
    ("DRAFT", SearchKey::Draft),
    ("FLAGGED", SearchKey::Flagged),
    ("NEW", SearchKey::New),
    ("OLD", SearchKey::Old),
    ("RECENT", SearchKey::Recent),
    ("SEEN", SearchKey::Seen),
    ("UNANSWERED", SearchKey::Unanswered),
    ("UNDELETED", SearchKey::Undeleted),
    ("UNDRAFT", SearchKey::Undraft),
    ("UNFLAGGED", SearchKey::Unflagged),
    ("UNSEEN", SearchKey::Unseen),
];

impl SearchKey<'_> {
    /// The same key, independent of the input buffer.
    pub fn into_owned(self) -> SearchKey<'static> {
        use SearchKey as K;
        match self {
            K::Bcc(s) => K::Bcc(owned_bytes(s)),
            K::Body(s) => K::Body(owned_bytes(s)),
            K::Cc(s) => K::Cc(owned_bytes(s)),
            K::From(s) => K::From(owned_bytes(s)),
            K::Subject(s) => K::Subject(owned_bytes(s)),
            K::Text(s) => K::Text(owned_bytes(s)),
            K::To(s) => K::To(owned_bytes(s)),
            K::Header(n, s) => K::Header(owned_bytes(n), owned_bytes(s)),
            K::Keyword(a) => K::Keyword(a.into_owned()),
            K::Unkeyword(a) => K::Unkeyword(a.into_owned()),
            K::Before(d) => K::Before(d),
            K::On(d) => K::On(d),
            K::Since(d) => K::Since(d),
            K::SentBefore(d) => K::SentBefore(d),
            K::SentOn(d) => K::SentOn(d),
            K::SentSince(d) => K::SentSince(d),
            K::Larger(n) => K::Larger(n),
            K::Smaller(n) => K::Smaller(n),
            K::Set(s) => K::Set(s),
            K::Uid(s) => K::Uid(s),
            K::Not(k) => K::Not(Box::new(k.into_owned())),
            K::Or(a, b) => K::Or(Box::new(a.into_owned()), Box::new(b.into_owned())),
            K::And(keys) => K::And(keys.into_iter().map(SearchKey::into_owned).collect()),
            plain => PLAIN.into_iter().find(|(_, k)| *k == plain).map_or(K::All, |(_, k)| k),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        use SearchKey as K;
        match self {
            K::Bcc(s) => text(w, "BCC ", s),
            K::Body(s) => text(w, "BODY ", s),
            K::Cc(s) => text(w, "CC ", s),
            K::From(s) => text(w, "FROM ", s),
            K::Subject(s) => text(w, "SUBJECT ", s),
            K::Text(s) => text(w, "TEXT ", s),
            K::To(s) => text(w, "TO ", s),
            K::Header(n, s) => {
                text(w, "HEADER ", n);
                text(w, " ", s);
            }
            K::Keyword(a) => word(w, "KEYWORD ", a),
            K::Unkeyword(a) => word(w, "UNKEYWORD ", a),
            K::Before(d) => day(w, "BEFORE ", *d),
            K::On(d) => day(w, "ON ", *d),
            K::Since(d) => day(w, "SINCE ", *d),
            K::SentBefore(d) => day(w, "SENTBEFORE ", *d),
            K::SentOn(d) => day(w, "SENTON ", *d),
            K::SentSince(d) => day(w, "SENTSINCE ", *d),
            K::Larger(n) => size(w, "LARGER ", *n),
            K::Smaller(n) => size(w, "SMALLER ", *n),
            K::Set(s) => s.encode(w.out),
            K::Uid(s) => {
                w.raw("UID ");
                s.encode(w.out);
            }
            K::Not(k) => {
                w.raw("NOT ");
                k.write(w);
            }
            K::Or(a, b) => {
                w.raw("OR ");
                a.write(w);
                w.raw(" ");
                b.write(w);
            }
            K::And(keys) if keys.is_empty() => w.raw("ALL"),
            K::And(keys) => w.list(keys, |w, k| k.write(w)),
            plain => w.raw(PLAIN.iter().find(|(_, k)| k == plain).map_or("ALL", |(name, _)| name)),
        }
    }
}

fn text(w: &mut Writer<'_>, name: &str, value: &[u8]) {
    w.raw(name);
    w.astring(value);
}

fn word(w: &mut Writer<'_>, name: &str, value: &Atom<'_>) {
    w.raw(name);
    w.raw(value.as_str());
}

fn day(w: &mut Writer<'_>, name: &str, value: Date) {
    w.raw(name);
    value.write(w);
}

fn size(w: &mut Writer<'_>, name: &str, value: u64) {
    w.raw(name);
    w.number(value);
}

/// `key SP key ...` to the end of the command.
pub(super) fn search_keys(i: In<'_>, ctx: Ctx) -> Res<'_, Vec<SearchKey<'_>>> {
    let (mut i, first) = search_key(i, ctx)?;
    let mut keys = vec![first];
    while peek(i) == Some(b' ') {
        ctx.room(i, keys.len())?;
        let (rest, key) = search_key(&i[1..], ctx)?;
        keys.push(key);
        i = rest;
    }
    Ok((i, keys))
}

fn search_key(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    match peek(i) {
        Some(b'(') => {
            let (_, inner) = ctx.deeper(i)?;
            let (i, keys) = paren_list(i, ctx, 1, |i| search_key(i, inner))?;
            Ok((i, SearchKey::And(keys)))
        }
        Some(b'0'..=b'9' | b'*') => {
            let (i, set) = sequence_set(i, ctx)?;
            Ok((i, SearchKey::Set(set)))
        }
        _ => operator(i, ctx),
    }
}

/// NOT and OR. The recursion passes through here and not through `named_key`, which needs more of the stack.
fn operator(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    if let Some(rest) = strip_word(i, b"NOT ") {
        let (rest, key) = operand(rest, ctx)?;
        return Ok((rest, SearchKey::Not(key)));
    }
    if let Some(rest) = strip_word(i, b"OR ") {
        let (rest, a) = operand(rest, ctx)?;
        let (rest, ()) = sp(rest)?;
        let (rest, b) = operand(rest, ctx)?;
        return Ok((rest, SearchKey::Or(a, b)));
    }
    named_key(i, ctx)
}

fn operand(i: In<'_>, ctx: Ctx) -> Res<'_, Box<SearchKey<'_>>> {
    let (_, inner) = ctx.deeper(i)?;
    let (i, key) = search_key(i, inner)?;
    Ok((i, Box::new(key)))
}

#[inline(never)]
fn named_key(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    use SearchKey as K;
    let (rest, name) = run(i, chars::ATOM, "a search key")?;
    let upper = Upper::new(name);
    match upper.as_bytes() {
        b"BCC" => string_key(rest, K::Bcc),
        b"BODY" => string_key(rest, K::Body),
        b"CC" => string_key(rest, K::Cc),
        b"FROM" => string_key(rest, K::From),
        b"SUBJECT" => string_key(rest, K::Subject),
        b"TEXT" => string_key(rest, K::Text),
        b"TO" => string_key(rest, K::To),
        b"HEADER" => {
            let (rest, ()) = sp(rest)?;
            let (rest, name) = astring(rest)?;
            string_key(rest, |s| K::Header(name, s))
        }
        b"KEYWORD" => atom_key(rest, K::Keyword),
        b"UNKEYWORD" => atom_key(rest, K::Unkeyword),
        b"BEFORE" => date_key(rest, K::Before),
        b"ON" => date_key(rest, K::On),
        b"SINCE" => date_key(rest, K::Since),
        b"SENTBEFORE" => date_key(rest, K::SentBefore),
        b"SENTON" => date_key(rest, K::SentOn),
        b"SENTSINCE" => date_key(rest, K::SentSince),
        b"LARGER" => number_key(rest, K::Larger),
        b"SMALLER" => number_key(rest, K::Smaller),
        b"UID" => {
            let (rest, ()) = sp(rest)?;
            let (rest, set) = sequence_set(rest, ctx)?;
            Ok((rest, K::Uid(set)))
        }
        upper => match PLAIN.into_iter().find(|(name, _)| name.as_bytes() == upper) {
            Some((_, key)) => Ok((rest, key)),
            None => expected(i, "a search key"),
        },
    }
}

fn string_key<'a>(i: In<'a>, key: impl FnOnce(Cow<'a, [u8]>) -> SearchKey<'a>) -> Res<'a, SearchKey<'a>> {
    let (i, ()) = sp(i)?;
    let (i, s) = astring(i)?;
    Ok((i, key(s)))
}

fn atom_key<'a>(i: In<'a>, key: impl FnOnce(Atom<'a>) -> SearchKey<'a>) -> Res<'a, SearchKey<'a>> {
    let (i, ()) = sp(i)?;
    let (i, a) = atom_str(i)?;
    Ok((i, key(Atom::checked(a))))
}

fn date_key<'a>(i: In<'a>, key: impl FnOnce(Date) -> SearchKey<'a>) -> Res<'a, SearchKey<'a>> {
    let (i, ()) = sp(i)?;
    let (i, d) = date(i)?;
    Ok((i, key(d)))
}

fn number_key<'a>(i: In<'a>, key: impl FnOnce(u64) -> SearchKey<'a>) -> Res<'a, SearchKey<'a>> {
    let (i, ()) = sp(i)?;
    let (i, n) = number64(i)?;
    Ok((i, key(n)))
}
