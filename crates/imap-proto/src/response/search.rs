//! What SEARCH, SORT, THREAD and ESEARCH found (RFCs 3501, 4731, 5256, 5267, 6203, 7162, 7377 and 9394).

use std::borrow::Cow;
use std::num::NonZeroU32;

use crate::command::mod_seq;
use crate::keyword::{keys, keyword};
use crate::lex::{
    Ctx, In, Res, Spaced, after_sp, ascii, byte, digits8, expected, in_parens, map, nil, number, nz_number,
    peek, sp, string, strip_word,
};
use crate::own::into_owned;
use crate::sequence::sequence_set;
use crate::text::mailbox;
use crate::write::Writer;
use crate::{Atom, Mailbox, Opaque, PartialRange, Quirks, SequenceSet, chars};

/// An ESEARCH response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Esearch<'a> {
    /// The tag of the command that it answers.
    pub tag: Option<Cow<'a, [u8]>>,
    /// The mailbox that was searched, and its UIDVALIDITY (RFC 7377).
    pub mailbox: Option<(Mailbox<'a>, NonZeroU32)>,
    /// The numbers are UIDs.
    pub uid: bool,
    /// What was found.
    pub results: Vec<SearchResult<'a>>,
}

/// Which command a response answers (RFC 4731 section 2, RFC 7377 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Correlator<'a> {
    /// The command's tag.
    pub tag: Option<Cow<'a, [u8]>>,
    /// The mailbox meant, and its UIDVALIDITY.
    pub mailbox: Option<(Mailbox<'a>, NonZeroU32)>,
}

/// One result of an ESEARCH response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SearchResult<'a> {
    /// MIN
    Min(u32),
    /// MAX
    Max(u32),
    /// COUNT
    Count(u32),
    /// ALL; in the order of the sort, after SORT.
    All(SequenceSet),
    /// MODSEQ: the highest one of what was found (RFC 7162 section 3.1.10).
    ModSeq(u64),
    /// PARTIAL: these of the results; `None` is NIL (RFC 9394).
    Partial {
        /// Which were asked for.
        range: PartialRange,
        /// What they are.
        set: Option<SequenceSet>,
    },
    /// ADDTO: these now match too; at which positions (RFC 5267).
    AddTo(Vec<(u32, SequenceSet)>),
    /// REMOVEFROM: these match no more; at which positions (RFC 5267).
    RemoveFrom(Vec<(u32, SequenceSet)>),
    /// RELEVANCY: how well each matches, from 1 to 100, in the order of ALL or PARTIAL (RFC 6203).
    Relevancy(Vec<u32>),
    /// Of another extension.
    Other {
        /// Its name.
        name: Atom<'a>,
        /// Its value.
        value: Opaque<'a>,
    },
}

/// A thread: a message, the answer to it, the answer to that ..., and the branches behind the last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Thread {
    /// Each is the parent of the next. Empty if the common parent is missing.
    pub chain: Vec<NonZeroU32>,
    /// None or at least two.
    pub branches: Vec<Thread>,
}

into_owned!(copy Thread);
into_owned!(struct Correlator { tag, mailbox });
into_owned!(struct Esearch { tag, mailbox, uid, results });
into_owned!(enum SearchResult {
    Min(n), Max(n), Count(n), All(set), ModSeq(n), Partial { range, set }, AddTo(sets), RemoveFrom(sets),
    Relevancy(scores), Other { name, value },
});

/// ` 1 2 3 [(MODSEQ n)]`
#[inline]
pub(super) fn ids(mut i: In<'_>, ctx: Ctx) -> Res<'_, (Vec<u32>, Option<u64>)> {
    // Most numbers of a mailbox have as many digits as the others: one allocation.
    let mut ids = Vec::with_capacity((i.len() / 4).min(1 << 16));
    while let [b' ', rest @ ..] = i {
        let (id, n) = match rest.first_chunk().map(|chunk| digits8(*chunk)) {
            Some((id, n @ 1..8)) => (id, n),
            _ if !peek(rest).is_some_and(|b| b.is_ascii_digit()) => break,
            _ => {
                let (after, id) = number(rest)?;
                (id, rest.len() - after.len())
            }
        };
        ctx.room(rest, ids.len())?;
        ids.push(id);
        i = alike(&rest[n..], n, ctx, &mut ids);
    }
    let (i, mod_seq) = match strip_word(i, b" (MODSEQ ") {
        Some(rest) => {
            let (rest, n) = mod_seq(rest)?;
            map(byte(rest, b')', ")"), |()| Some(n))?
        }
        None => (i, None),
    };
    let i =
        if ctx.allows(Quirks::TRAILING_SPACE) && i.iter().all(|b| *b == b' ') { &i[i.len()..] } else { i };
    Ok((i, (ids, mod_seq)))
}

/// Takes numbers that stand between two spaces and have `width` digits each: so most do that follow such a one. Where one starts does
/// not hang on what the one before it was.
#[inline]
fn alike<'a>(mut i: In<'a>, width: usize, ctx: Ctx, ids: &mut Vec<u32>) -> In<'a> {
    let Some(spaced) = Spaced::new(width) else { return i };
    while let Some(chunk) = i.first_chunk() {
        let Some(id) = spaced.number(*chunk).filter(|_| ctx.room(i, ids.len()).is_ok()) else { break };
        ids.push(id);
        i = &i[1 + width..];
    }
    i
}

pub(super) fn write_ids(
    w: &mut Writer<'_>,
    name: &str,
    ids: impl IntoIterator<Item = u32>,
    mod_seq: Option<u64>,
) {
    w.raw(name);
    for id in ids {
        w.raw(" ");
        w.number(id);
    }
    if let Some(n) = mod_seq {
        w.numbered(" (MODSEQ ", n);
        w.raw(")");
    }
}

/// ` (1 2 (3)(4 5))(6)`
pub(super) fn threads(i: In<'_>, ctx: Ctx) -> Res<'_, Vec<Thread>> {
    let Some(mut i) = i.strip_prefix(b" ") else { return Ok((i, Vec::new())) };
    let mut threads = Vec::new();
    while peek(i) == Some(b'(') {
        ctx.room(i, threads.len())?;
        let (rest, one) = thread(i, ctx)?;
        threads.push(one);
        i = rest;
    }
    Ok((i, threads))
}

fn thread(i: In<'_>, ctx: Ctx) -> Res<'_, Thread> {
    let (_, ctx) = ctx.deeper(i)?;
    let (mut i, ()) = byte(i, b'(', "a thread")?;
    let mut thread = Thread::default();
    while peek(i).is_some_and(|b| b.is_ascii_digit()) {
        ctx.room(i, thread.chain.len())?;
        let (rest, n) = nz_number(i)?;
        thread.chain.push(n);
        i = rest.strip_prefix(b" ").unwrap_or(rest);
    }
    while peek(i) == Some(b'(') {
        ctx.room(i, thread.branches.len())?;
        let (rest, branch) = self::thread(i, ctx)?;
        thread.branches.push(branch);
        i = rest;
    }
    if thread.chain.is_empty() && thread.branches.is_empty() {
        return expected(i, "a message of the thread");
    }
    map(byte(i, b')', ")"), |()| thread)
}

impl Thread {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.raw("(");
        w.spaced(&self.chain, |w, n| w.number(n.get()));
        if !self.chain.is_empty() && !self.branches.is_empty() {
            w.raw(" ");
        }
        self.branches.iter().for_each(|branch| branch.write(w));
        w.raw(")");
    }
}

keys!(MIN, MAX, COUNT, ALL, MODSEQ, PARTIAL, ADDTO, REMOVEFROM, RELEVANCY, TAG, MAILBOX, UIDVALIDITY);

/// ` [(TAG "x" ...)] [UID] name value ...`
pub(super) fn esearch(mut i: In<'_>, ctx: Ctx) -> Res<'_, Esearch<'_>> {
    let mut found = Esearch::default();
    if let Some(rest) = i.strip_prefix(b" ").filter(|rest| peek(rest) == Some(b'(')) {
        let (rest, of) = correlator(rest, ctx)?;
        (found.tag, found.mailbox) = (of.tag, of.mailbox);
        i = rest;
    }
    if let Some(rest) = strip_word(i, b" UID").filter(|rest| matches!(peek(rest), None | Some(b' '))) {
        found.uid = true;
        i = rest;
    }
    while let Some(rest) = i.strip_prefix(b" ") {
        if ctx.allows(Quirks::TRAILING_SPACE) && rest.is_empty() {
            return Ok((rest, found));
        }
        ctx.room(i, found.results.len())?;
        let (rest, result) = result(rest, ctx)?;
        found.results.push(result);
        i = rest;
    }
    Ok((i, found))
}

/// `(TAG "x" ...)`
fn correlator(i: In<'_>, ctx: Ctx) -> Res<'_, Correlator<'_>> {
    let (mut tag, mut name, mut validity) = (None, None, None);
    let (i, _) = in_parens(i, |i| {
        crate::lex::spaced(i, ctx, |i| {
            let (rest, (_, key)) = keyword(i, chars::ATOM, "TAG")?;
            let (rest, ()) = sp(rest)?;
            match key {
                TAG => map(string(rest, ctx), |t| tag = Some(t)),
                MAILBOX => map(mailbox(rest, ctx), |m| name = Some(m)),
                UIDVALIDITY => map(nz_number(rest), |n| validity = Some(n)),
                _ => map(Opaque::parse(rest, ctx), |_| ()),
            }
        })
    })?;
    Ok((i, Correlator { tag, mailbox: name.zip(validity) }))
}

fn write_correlator(w: &mut Writer<'_>, tag: &[u8], mailbox: Option<&(Mailbox<'_>, NonZeroU32)>) {
    w.raw(" (TAG ");
    w.string(tag);
    if let Some((mailbox, validity)) = mailbox {
        w.raw(" MAILBOX ");
        w.astring(mailbox.as_wire());
        w.numbered(" UIDVALIDITY ", validity.get());
    }
    w.raw(")");
}

fn result(i: In<'_>, ctx: Ctx) -> Res<'_, SearchResult<'_>> {
    use SearchResult as R;
    let (rest, (name, key)) = keyword(i, chars::ATOM, "a result")?;
    let (i, ()) = sp(rest)?;
    match key {
        MIN => map(number(i), R::Min),
        MAX => map(number(i), R::Max),
        COUNT => map(number(i), R::Count),
        ALL => map(sequence_set(i, ctx), R::All),
        MODSEQ => map(mod_seq(i), R::ModSeq),
        PARTIAL => in_parens(i, |i| partial(i, ctx)),
        ADDTO => map(positions(i, ctx), R::AddTo),
        REMOVEFROM => map(positions(i, ctx), R::RemoveFrom),
        RELEVANCY => map(crate::lex::paren_list(i, ctx, 0, number), R::Relevancy),
        _ => map(Opaque::parse(i, ctx), |value| R::Other { name: Atom::checked(ascii(name)), value }),
    }
}

fn partial(i: In<'_>, ctx: Ctx) -> Res<'_, SearchResult<'_>> {
    let (i, range) = PartialRange::parse(i)?;
    map(
        after_sp(i, |i| match nil(i) {
            Some(rest) => Ok((rest, None)),
            None => map(sequence_set(i, ctx), Some),
        }),
        |set| SearchResult::Partial { range, set },
    )
}

fn positions(i: In<'_>, ctx: Ctx) -> Res<'_, Vec<(u32, SequenceSet)>> {
    crate::lex::paren_list(i, ctx, 1, |i| {
        let (i, at) = number(i)?;
        map(after_sp(i, |i| sequence_set(i, ctx)), |set| (at, set))
    })
}

impl Esearch<'_> {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.raw("ESEARCH");
        if let Some(tag) = &self.tag {
            write_correlator(w, tag, self.mailbox.as_ref());
        }
        if self.uid {
            w.raw(" UID");
        }
        for result in &self.results {
            w.raw(" ");
            result.write(w);
        }
    }
}

impl SearchResult<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        use SearchResult as R;
        match self {
            R::Min(n) => w.numbered("MIN ", *n),
            R::Max(n) => w.numbered("MAX ", *n),
            R::Count(n) => w.numbered("COUNT ", *n),
            R::ModSeq(n) => w.numbered("MODSEQ ", *n),
            R::All(set) => {
                w.raw("ALL ");
                set.encode(w.out);
            }
            R::Partial { range, set } => {
                w.raw("PARTIAL (");
                range.write(w);
                w.raw(" ");
                match set {
                    Some(set) => set.encode(w.out),
                    None => w.raw("NIL"),
                }
                w.raw(")");
            }
            R::AddTo(sets) => write_positions(w, "ADDTO ", sets),
            R::RemoveFrom(sets) => write_positions(w, "REMOVEFROM ", sets),
            R::Relevancy(scores) => {
                w.raw("RELEVANCY ");
                w.list(scores, |w, score| w.number(*score));
            }
            R::Other { name, value } => {
                w.word(name.as_str(), " ");
                value.write(w);
            }
        }
    }
}

fn write_positions(w: &mut Writer<'_>, name: &str, sets: &[(u32, SequenceSet)]) {
    w.raw(name);
    w.list(sets, |w, (at, set)| {
        w.number(*at);
        w.raw(" ");
        set.encode(w.out);
    });
}

type Batches<'a> = (Correlator<'a>, Vec<(u32, u32)>);

/// `(TAG "x") ranges` of UIDBATCHES (RFC 10022); descending, each from its higher end.
pub(super) fn uid_batches(i: In<'_>, ctx: Ctx) -> Res<'_, Batches<'_>> {
    let (i, of) = correlator(i, ctx)?;
    let Some(mut i) = i.strip_prefix(b" ") else { return Ok((i, (of, Vec::new()))) };
    let mut batches = Vec::new();
    loop {
        ctx.room(i, batches.len())?;
        let (rest, first) = nz_number(i)?;
        let (rest, last) = match rest.strip_prefix(b":") {
            Some(rest) => nz_number(rest)?,
            None => (rest, first),
        };
        batches.push((first.get(), last.get()));
        match rest.strip_prefix(b",") {
            Some(rest) => i = rest,
            None => return Ok((rest, (of, batches))),
        }
    }
}

pub(super) fn write_uid_batches(w: &mut Writer<'_>, of: &Correlator<'_>, batches: &[(u32, u32)]) {
    w.raw("UIDBATCHES");
    write_correlator(w, of.tag.as_deref().unwrap_or_default(), of.mailbox.as_ref());
    for (n, (first, last)) in batches.iter().enumerate() {
        w.numbered(if n == 0 { " " } else { "," }, *first);
        if last != first {
            w.numbered(":", *last);
        }
    }
}
