//! SEARCH keys (RFC 3501 section 6.4.4, RFCs 5032, 5182, 6203, 7162, 8474, 8514 and 9738), and what SEARCH, SORT and THREAD return.

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::fetch::{mod_seq, named_opaque, write_named};
use super::mailboxes::Pattern;
use crate::datetime::date;
use crate::keyword::{keys, keyword};
use crate::lex::{
    Ctx, In, Res, after_sp, astring, atom, atom_str, expected, map, nstring, number64, nz_number, peek, run,
    sp, string, strip_word, words,
};
use crate::list::{self, Element, list};
use crate::own::into_owned;
use crate::sequence::{check_saved_or_set, check_set, saved_or_set, sequence_set};
use crate::write::Writer;
use crate::{Atom, Date, FetchItemList, Opaque, PartialRange, SequenceSet, chars};

/// One condition on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    /// Sequence numbers; `$` is what was saved (RFC 5182).
    Set(SequenceSet),
    Uid(SequenceSet),
    /// RFC 9738: a UID above this one.
    UidAfter(NonZeroU32),
    /// RFC 9738: a UID below this one.
    UidBefore(NonZeroU32),
    /// RFC 5032: received so many seconds ago or earlier.
    Older(u32),
    /// RFC 5032: received within so many seconds.
    Younger(u32),
    /// RFC 7162: a MODSEQ of at least `n`, perhaps of one metadata entry only.
    ModSeq {
        entry: Option<ModSeqEntry<'a>>,
        n: u64,
    },
    /// RFC 8514.
    SavedBefore(Date),
    /// RFC 8514.
    SavedOn(Date),
    /// RFC 8514.
    SavedSince(Date),
    /// RFC 8514.
    SaveDateSupported,
    /// RFC 8474.
    EmailId(Atom<'a>),
    /// RFC 8474.
    ThreadId(Atom<'a>),
    /// RFC 5466: the search that the user saved under this name.
    Filter(Atom<'a>),
    /// RFC 5257: entries, an attribute, and what its value holds.
    Annotation(Box<AnnotationKey<'a>>),
    /// X-GM-RAW of Gmail: a search as its web interface has it.
    GmailRaw(Cow<'a, [u8]>),
    /// X-GM-MSGID of Gmail.
    GmailMessageId(u64),
    /// X-GM-THRID of Gmail.
    GmailThreadId(u64),
    /// X-GM-LABELS of Gmail: has this label; `\Inbox` and its kin without quotes, as Gmail writes them.
    GmailLabel(Cow<'a, [u8]>),
    /// RFC 6203: what is like the key.
    Fuzzy(Subkey<'a>),
    Not(Subkey<'a>),
    Or(Subkey<'a>, Subkey<'a>),
    /// `( ... )`: all of them.
    And(SearchKeys<'a>),
}

list! {
    /// SEARCH keys, all of which must match.
    SearchKeys<'w> of SearchKey<'w>
}

/// A key within a key, as it stands on the wire.
#[derive(Clone)]
pub struct Subkey<'a>(Cow<'a, [u8]>);

impl Subkey<'_> {
    /// The key.
    pub fn get(&self) -> SearchKey<'_> {
        // It was parsed before.
        search_key(&self.0, Ctx::CHECKED).map_or(SearchKey::All, |(_, key)| key)
    }
}

impl From<SearchKey<'_>> for Subkey<'static> {
    fn from(key: SearchKey<'_>) -> Self {
        let mut out = Vec::new();
        key.write(&mut Writer::checked(&mut out));
        Self(Cow::Owned(out))
    }
}

impl PartialEq for Subkey<'_> {
    fn eq(&self, other: &Subkey<'_>) -> bool {
        self.0 == other.0 || self.get() == other.get()
    }
}

impl Eq for Subkey<'_> {}

impl std::fmt::Debug for Subkey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Subkey<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(to)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Subkey<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        SearchKey::deserialize(from).map(Subkey::from)
    }
}

/// What an ANNOTATION key wants (RFC 5257 section 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AnnotationKey<'a> {
    /// Entries, by a pattern as LIST has it.
    pub entries: Pattern<'a>,
    /// The attribute.
    pub attribute: Cow<'a, [u8]>,
    /// What its value is to hold; `None` is NIL: no value.
    pub value: Option<Cow<'a, [u8]>>,
}

/// Which metadata entry a MODSEQ key means (RFC 7162 section 3.1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ModSeqEntry<'a> {
    /// Its name, such as `/flags/\Seen`.
    pub name: Cow<'a, [u8]>,
    /// Whose: `priv`, `shared` or `all`.
    pub kind: EntryKind,
}

words! {
    /// Whose metadata.
    pub enum EntryKind("priv, shared or all") {
        /// The user's own.
        Private = "priv",
        /// Everybody's.
        Shared = "shared",
        /// Both.
        All = "all",
    }
}

/// What SEARCH, SORT or THREAD is to return (RFCs 4731, 5182, 5267, 6203 and 9394).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SearchReturn<'a> {
    /// MIN: the lowest number.
    Min,
    /// MAX: the highest number.
    Max,
    /// ALL: the set.
    All,
    /// COUNT: how many.
    Count,
    /// SAVE: keep it for `$` (RFC 5182).
    Save,
    /// UPDATE: tell of changes (RFC 5267).
    Update,
    /// UPDATE with items to be told of each message that is new among the results (RFC 5465 section 7).
    UpdateWith(FetchItemList<'a>),
    /// CONTEXT: a hint that the search will be repeated (RFC 5267).
    Context,
    /// PARTIAL: only these of the results (RFCs 5267 and 9394).
    Partial(PartialRange),
    /// RELEVANCY: how well each matches (RFC 6203).
    Relevancy,
    /// Of another extension.
    Other {
        /// Its name.
        name: Atom<'a>,
        /// Its value, if it has one.
        value: Option<Opaque<'a>>,
    },
}

list! {
    /// Return options; none at all means ALL.
    SearchReturns<'w> of SearchReturn<'w>
}

/// What SORT orders by (RFCs 5256, 5257, 5957 and 6203).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SortKey<'a> {
    /// INTERNALDATE
    Arrival,
    /// The first cc's mailbox.
    Cc,
    /// The Date field.
    Date,
    /// The first from's mailbox.
    From,
    /// Octets.
    Size,
    /// The base subject.
    Subject,
    /// The first to's mailbox.
    To,
    /// The name shown for from (RFC 5957).
    DisplayFrom,
    /// The name shown for to (RFC 5957).
    DisplayTo,
    /// How well a message matches; the best first (RFC 6203).
    Relevancy,
    /// ANNOTATION: the value of an entry's attribute (RFC 5257 section 4.9).
    Annotation {
        /// The entry, such as `/altsubject`.
        entry: Cow<'a, [u8]>,
        /// The attribute: `value.priv` or `value.shared`.
        attribute: Cow<'a, [u8]>,
    },
}

/// One criterion of SORT.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SortCriterion<'a> {
    /// REVERSE: descending.
    pub reverse: bool,
    /// By what.
    pub key: SortKey<'a>,
}

list! {
    /// SORT's criteria, most significant first.
    SortCriteria<'w> of SortCriterion<'w>
}

into_owned!(struct SortCriterion { reverse, key });
into_owned!(enum SortKey {
    Arrival, Cc, Date, From, Size, Subject, To, DisplayFrom, DisplayTo, Relevancy,
    Annotation { entry, attribute },
});
into_owned!(tuple Subkey);
into_owned!(struct AnnotationKey { entries, attribute, value });
into_owned!(struct ModSeqEntry { name, kind });
into_owned!(enum SearchReturn {
    Min, Max, All, Count, Save, Update, UpdateWith(items), Context, Partial(range), Relevancy,
    Other { name, value },
});
into_owned!(enum SearchKey {
    All, Answered, Deleted, Draft, Flagged, New, Old, Recent, Seen, Unanswered, Undeleted, Undraft, Unflagged, Unseen,
    Bcc(s), Body(s), Cc(s), From(s), Subject(s), Text(s), To(s), Header(n, s), Keyword(a), Unkeyword(a), Before(d),
    On(d), Since(d), SentBefore(d), SentOn(d), SentSince(d), Larger(n), Smaller(n), Set(s), Uid(s), Older(n),
    Younger(n), ModSeq { entry, n }, SavedBefore(d), SavedOn(d), SavedSince(d), SaveDateSupported, EmailId(a),
    ThreadId(a), Filter(a), Annotation(k), UidAfter(n), UidBefore(n), GmailRaw(s), GmailMessageId(n), GmailThreadId(n),
    GmailLabel(s), Fuzzy(k), Not(k), Or(a, b), And(k),
});

impl<'w> Element<'w> for SearchKey<'w> {
    #[inline]
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        search_key(i, ctx)
    }

    fn check(i: In<'w>, ctx: Ctx) -> Res<'w, ()> {
        check_key(i, ctx)
    }

    fn write(&self, w: &mut Writer<'_>) {
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
            K::Keyword(a) => w.word("KEYWORD ", a.as_str()),
            K::Unkeyword(a) => w.word("UNKEYWORD ", a.as_str()),
            K::EmailId(a) => w.word("EMAILID ", a.as_str()),
            K::ThreadId(a) => w.word("THREADID ", a.as_str()),
            K::Filter(a) => w.word("FILTER ", a.as_str()),
            K::Annotation(key) => {
                w.raw("ANNOTATION ");
                key.entries.write(w);
                text(w, " ", &key.attribute);
                w.raw(" ");
                w.nstring(key.value.as_deref());
            }
            K::Before(d) => day(w, "BEFORE ", *d),
            K::On(d) => day(w, "ON ", *d),
            K::Since(d) => day(w, "SINCE ", *d),
            K::SentBefore(d) => day(w, "SENTBEFORE ", *d),
            K::SentOn(d) => day(w, "SENTON ", *d),
            K::SentSince(d) => day(w, "SENTSINCE ", *d),
            K::SavedBefore(d) => day(w, "SAVEDBEFORE ", *d),
            K::SavedOn(d) => day(w, "SAVEDON ", *d),
            K::SavedSince(d) => day(w, "SAVEDSINCE ", *d),
            K::Larger(n) => w.numbered("LARGER ", *n),
            K::Smaller(n) => w.numbered("SMALLER ", *n),
            K::Older(n) => w.numbered("OLDER ", *n),
            K::Younger(n) => w.numbered("YOUNGER ", *n),
            K::Set(s) => s.encode(w.out),
            K::Uid(s) => {
                w.raw("UID ");
                s.encode(w.out);
            }
            K::UidAfter(n) => w.numbered("UIDAFTER ", n.get()),
            K::UidBefore(n) => w.numbered("UIDBEFORE ", n.get()),
            K::ModSeq { entry, n } => write_mod_seq(w, entry.as_ref(), *n),
            K::GmailRaw(s) => text(w, "X-GM-RAW ", s),
            K::GmailMessageId(n) => w.numbered("X-GM-MSGID ", *n),
            K::GmailThreadId(n) => w.numbered("X-GM-THRID ", *n),
            K::GmailLabel(s) => write_label(w, s),
            K::Fuzzy(k) => nested(w, "FUZZY ", k),
            K::Not(k) => nested(w, "NOT ", k),
            K::Or(a, b) => {
                nested(w, "OR ", a);
                nested(w, " ", b);
            }
            K::And(keys) if keys.is_empty() => w.raw("ALL"),
            K::And(keys) => keys.write_paren(w),
            plain => w.raw(plain_name(plain)),
        }
    }
}

fn plain_name(key: &SearchKey<'_>) -> &'static str {
    use SearchKey as K;
    match key {
        K::Answered => "ANSWERED",
        K::Deleted => "DELETED",
        K::Draft => "DRAFT",
        K::Flagged => "FLAGGED",
        K::New => "NEW",
        K::Old => "OLD",
        K::Recent => "RECENT",
        K::Seen => "SEEN",
        K::Unanswered => "UNANSWERED",
        K::Undeleted => "UNDELETED",
        K::Undraft => "UNDRAFT",
        K::Unflagged => "UNFLAGGED",
        K::Unseen => "UNSEEN",
        K::SaveDateSupported => "SAVEDATESUPPORTED",
        _ => "ALL",
    }
}

fn text(w: &mut Writer<'_>, name: &str, value: &[u8]) {
    w.raw(name);
    w.astring(value);
}

/// `\Inbox` and its kin are atoms with a backslash.
fn write_label(w: &mut Writer<'_>, label: &[u8]) {
    w.raw("X-GM-LABELS ");
    match label {
        [b'\\', name @ ..] if !name.is_empty() && chars::all(name, chars::ASTRING) => w.raw(label),
        label => w.astring(label),
    }
}

fn day(w: &mut Writer<'_>, name: &str, value: Date) {
    w.raw(name);
    value.write(w);
}

fn nested(w: &mut Writer<'_>, name: &str, key: &Subkey<'_>) {
    w.raw(name);
    key.get().write(w);
}

fn write_mod_seq(w: &mut Writer<'_>, entry: Option<&ModSeqEntry<'_>>, n: u64) {
    w.raw("MODSEQ ");
    if let Some(entry) = entry {
        w.string(&entry.name);
        w.raw(" ");
        w.word(entry.kind.name(), " ");
    }
    w.number(n);
}

fn search_key(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    match peek(i) {
        Some(b'(') => {
            let (_, inner) = ctx.deeper(i)?;
            map(SearchKeys::parse_paren(i, inner, 1), SearchKey::And)
        }
        Some(b'0'..=b'9' | b'*') => map(sequence_set(i, ctx), SearchKey::Set),
        Some(b'$') => Ok((&i[1..], SearchKey::Set(SequenceSet::SAVED))),
        _ => named_key(i, ctx),
    }
}

/// Takes what [`search_key`] takes. The recursion passes through here only.
fn check_key(i: In<'_>, ctx: Ctx) -> Res<'_, ()> {
    match peek(i) {
        Some(b'(') => {
            let (_, inner) = ctx.deeper(i)?;
            map(list::paren::<SearchKey<'_>>(i, inner, 1), drop)
        }
        Some(b'0'..=b'9' | b'*') => check_set(i, ctx),
        Some(b'$') => Ok((&i[1..], ())),
        _ => check_named(i, ctx),
    }
}

/// A key within a key, behind a space.
fn operand(i: In<'_>, ctx: Ctx) -> Res<'_, Subkey<'_>> {
    let (i, ()) = sp(i)?;
    let (_, inner) = ctx.deeper(i)?;
    let (rest, ()) = check_key(i, inner)?;
    Ok((rest, Subkey(Cow::Borrowed(&i[..i.len() - rest.len()]))))
}

keys!(
    NOT,
    OR,
    FUZZY,
    ALL,
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    NEW,
    OLD,
    RECENT,
    SEEN,
    UNANSWERED,
    UNDELETED,
    UNDRAFT,
    UNFLAGGED,
    UNSEEN,
    BCC,
    BODY,
    CC,
    FROM,
    SUBJECT,
    TEXT,
    TO,
    HEADER,
    KEYWORD,
    UNKEYWORD,
    BEFORE,
    ON,
    SINCE,
    SENTBEFORE,
    SENTON,
    SENTSINCE,
    LARGER,
    SMALLER,
    UID,
    OLDER,
    YOUNGER,
    MODSEQ,
    SAVEDBEFORE,
    SAVEDON,
    SAVEDSINCE,
    EMAILID,
    FILTER,
    ANNOTATION,
    THREADID,
    MIN,
    MAX,
    COUNT,
    SAVE,
    UPDATE,
    CONTEXT,
    PARTIAL,
    UIDAFTER,
    UIDBEFORE,
    X_GM_RAW = "X-GM-RAW",
    X_GM_MSGID = "X-GM-MSGID",
    X_GM_THRID = "X-GM-THRID",
    X_GM_LABELS = "X-GM-LABELS",
    ARRIVAL,
    DATE,
    SIZE,
    DISPLAYFROM,
    DISPLAYTO,
    RELEVANCY,
);

/// What follows a key's word, and what makes the key of it.
enum Kind<'a> {
    Plain(fn() -> SearchKey<'a>),
    Text(fn(Cow<'a, [u8]>) -> SearchKey<'a>),
    Header,
    Atom(fn(Atom<'a>) -> SearchKey<'a>),
    Day(fn(Date) -> SearchKey<'a>),
    Size(fn(u64) -> SearchKey<'a>),
    Seconds(fn(u32) -> SearchKey<'a>),
    OneUid(fn(NonZeroU32) -> SearchKey<'a>),
    Label,
    Uid,
    ModSeq,
    Annotation,
    Within(fn(Subkey<'a>) -> SearchKey<'a>),
    Or,
}

/// A key's word, and what follows it.
#[inline(always)]
fn kind(i: In<'_>) -> Res<'_, Kind<'_>> {
    use Kind::{
        Annotation, Atom, Day, Header, Label, ModSeq, OneUid, Or, Plain, Seconds, Size, Text, Uid, Within,
    };
    use SearchKey as K;
    let (rest, (name, key)) = keyword(i, chars::ATOM, "a search key")?;
    let kind = match key {
        ALL => Plain(|| K::All),
        ANSWERED => Plain(|| K::Answered),
        DELETED => Plain(|| K::Deleted),
        DRAFT => Plain(|| K::Draft),
        FLAGGED => Plain(|| K::Flagged),
        NEW => Plain(|| K::New),
        OLD => Plain(|| K::Old),
        RECENT => Plain(|| K::Recent),
        SEEN => Plain(|| K::Seen),
        UNANSWERED => Plain(|| K::Unanswered),
        UNDELETED => Plain(|| K::Undeleted),
        UNDRAFT => Plain(|| K::Undraft),
        UNFLAGGED => Plain(|| K::Unflagged),
        UNSEEN => Plain(|| K::Unseen),
        NOT => Within(K::Not),
        OR => Or,
        FUZZY => Within(K::Fuzzy),
        BCC => Text(K::Bcc),
        BODY => Text(K::Body),
        CC => Text(K::Cc),
        FROM => Text(K::From),
        SUBJECT => Text(K::Subject),
        TEXT => Text(K::Text),
        TO => Text(K::To),
        HEADER => Header,
        KEYWORD => Atom(K::Keyword),
        UNKEYWORD => Atom(K::Unkeyword),
        BEFORE => Day(K::Before),
        ON => Day(K::On),
        SINCE => Day(K::Since),
        SENTBEFORE => Day(K::SentBefore),
        SENTON => Day(K::SentOn),
        SENTSINCE => Day(K::SentSince),
        SAVEDBEFORE => Day(K::SavedBefore),
        SAVEDON => Day(K::SavedOn),
        SAVEDSINCE => Day(K::SavedSince),
        LARGER => Size(K::Larger),
        SMALLER => Size(K::Smaller),
        UID => Uid,
        OLDER => Seconds(K::Older),
        YOUNGER => Seconds(K::Younger),
        MODSEQ => ModSeq,
        EMAILID => Atom(K::EmailId),
        THREADID => Atom(K::ThreadId),
        FILTER => Atom(K::Filter),
        ANNOTATION => Annotation,
        UIDAFTER => OneUid(K::UidAfter),
        UIDBEFORE => OneUid(K::UidBefore),
        X_GM_RAW => Text(K::GmailRaw),
        X_GM_MSGID => Size(K::GmailMessageId),
        X_GM_THRID => Size(K::GmailThreadId),
        X_GM_LABELS => Label,
        _ if name.eq_ignore_ascii_case(b"SAVEDATESUPPORTED") => Plain(|| K::SaveDateSupported),
        _ => return expected(i, "a search key"),
    };
    Ok((rest, kind))
}

fn named_key(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    let (i, kind) = kind(i)?;
    match kind {
        Kind::Plain(key) => Ok((i, key())),
        Kind::Text(key) => map(after_sp(i, |i| astring(i, ctx)), key),
        Kind::Header => {
            let (i, name) = after_sp(i, |i| astring(i, ctx))?;
            map(after_sp(i, |i| astring(i, ctx)), |text| SearchKey::Header(name, text))
        }
        Kind::Atom(key) => map(after_sp(i, atom_str), |a| key(Atom::checked(a))),
        Kind::Day(key) => map(after_sp(i, date), key),
        Kind::Size(key) => map(after_sp(i, number64), key),
        Kind::Seconds(key) => map(after_sp(i, nz_number), |n| key(n.get())),
        Kind::OneUid(key) => map(after_sp(i, nz_number), key),
        Kind::Label => map(after_sp(i, |i| label(i, ctx)), SearchKey::GmailLabel),
        Kind::Uid => map(after_sp(i, |i| saved_or_set(i, ctx)), SearchKey::Uid),
        Kind::ModSeq => after_sp(i, |i| mod_seq_key(i, ctx)),
        Kind::Annotation => after_sp(i, |i| annotation_key(i, ctx)),
        Kind::Within(key) => map(operand(i, ctx), key),
        Kind::Or => {
            let (i, a) = operand(i, ctx)?;
            map(operand(i, ctx), |b| SearchKey::Or(a, b))
        }
    }
}

fn check_named(i: In<'_>, ctx: Ctx) -> Res<'_, ()> {
    let (i, kind) = kind(i)?;
    match kind {
        Kind::Plain(_) => Ok((i, ())),
        Kind::Text(_) => map(after_sp(i, |i| astring(i, ctx)), drop),
        Kind::Header => {
            let (i, _) = after_sp(i, |i| astring(i, ctx))?;
            map(after_sp(i, |i| astring(i, ctx)), drop)
        }
        Kind::Atom(_) => map(after_sp(i, atom), drop),
        Kind::Day(_) => map(after_sp(i, date), drop),
        Kind::Size(_) => map(after_sp(i, number64), drop),
        Kind::Seconds(_) | Kind::OneUid(_) => map(after_sp(i, nz_number), drop),
        Kind::Label => map(after_sp(i, |i| label(i, ctx)), drop),
        Kind::Uid => after_sp(i, |i| check_saved_or_set(i, ctx)),
        Kind::ModSeq => map(after_sp(i, |i| mod_seq_key(i, ctx)), drop),
        Kind::Annotation => map(after_sp(i, |i| annotation_key(i, ctx)), drop),
        Kind::Within(_) => map(operand(i, ctx), drop),
        Kind::Or => map(operand(operand(i, ctx)?.0, ctx), drop),
    }
}

fn label(i: In<'_>, ctx: Ctx) -> Res<'_, Cow<'_, [u8]>> {
    match i.strip_prefix(b"\\") {
        Some(name) => map(run(name, chars::ASTRING, "a label"), |name| Cow::Borrowed(&i[..name.len() + 1])),
        None => astring(i, ctx),
    }
}

fn annotation_key(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    let (i, entries) = Pattern::parse(i, ctx)?;
    let (i, attribute) = after_sp(i, |i| astring(i, ctx))?;
    map(after_sp(i, |i| nstring(i, ctx)), |value| {
        SearchKey::Annotation(Box::new(AnnotationKey { entries, attribute, value }))
    })
}

fn mod_seq_key(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    if !matches!(peek(i), Some(b'"' | b'{' | b'~')) {
        return map(mod_seq(i), |n| SearchKey::ModSeq { entry: None, n });
    }
    let (i, name) = string(i, ctx)?;
    let (i, kind) = after_sp(i, EntryKind::parse)?;
    let entry = Some(ModSeqEntry { name, kind });
    map(after_sp(i, mod_seq), |n| SearchKey::ModSeq { entry, n })
}

impl<'w> Element<'w> for SearchReturn<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (rest, (_, key)) = keyword(i, chars::ATOM, "a return option")?;
        let plain = match key {
            MIN => Self::Min,
            MAX => Self::Max,
            ALL => Self::All,
            COUNT => Self::Count,
            SAVE => Self::Save,
            UPDATE if rest.starts_with(b" (") => {
                return map(FetchItemList::parse_paren(&rest[1..], ctx, 1), Self::UpdateWith);
            }
            UPDATE => Self::Update,
            CONTEXT => Self::Context,
            RELEVANCY => Self::Relevancy,
            PARTIAL => return map(after_sp(rest, PartialRange::parse), Self::Partial),
            _ => {
                return map(named_opaque(i, ctx, "a return option"), |(name, value)| Self::Other {
                    name,
                    value,
                });
            }
        };
        Ok((rest, plain))
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Min => w.raw("MIN"),
            Self::Max => w.raw("MAX"),
            Self::All => w.raw("ALL"),
            Self::Count => w.raw("COUNT"),
            Self::Save => w.raw("SAVE"),
            Self::Update => w.raw("UPDATE"),
            Self::UpdateWith(items) => {
                w.raw("UPDATE ");
                items.write_paren(w);
            }
            Self::Context => w.raw("CONTEXT"),
            Self::Relevancy => w.raw("RELEVANCY"),
            Self::Partial(range) => {
                w.raw("PARTIAL ");
                range.write(w);
            }
            Self::Other { name, value } => write_named(w, name, value.as_ref()),
        }
    }
}

impl<'w> Element<'w> for SortCriterion<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (reverse, i) = match strip_word(i, b"REVERSE ") {
            Some(rest) => (true, rest),
            None => (false, i),
        };
        map(sort_key(i, ctx), |key| Self { reverse, key })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.raw(if self.reverse { "REVERSE " } else { "" });
        w.raw(match &self.key {
            SortKey::Arrival => "ARRIVAL",
            SortKey::Cc => "CC",
            SortKey::Date => "DATE",
            SortKey::From => "FROM",
            SortKey::Size => "SIZE",
            SortKey::Subject => "SUBJECT",
            SortKey::To => "TO",
            SortKey::DisplayFrom => "DISPLAYFROM",
            SortKey::DisplayTo => "DISPLAYTO",
            SortKey::Relevancy => "RELEVANCY",
            SortKey::Annotation { .. } => "ANNOTATION",
        });
        if let SortKey::Annotation { entry, attribute } = &self.key {
            text(w, " ", entry);
            text(w, " ", attribute);
        }
    }
}

fn sort_key(i: In<'_>, ctx: Ctx) -> Res<'_, SortKey<'_>> {
    let (rest, (_, key)) = keyword(i, chars::ATOM, "a sort key")?;
    let key = match key {
        ARRIVAL => SortKey::Arrival,
        CC => SortKey::Cc,
        DATE => SortKey::Date,
        FROM => SortKey::From,
        SIZE => SortKey::Size,
        SUBJECT => SortKey::Subject,
        TO => SortKey::To,
        DISPLAYFROM => SortKey::DisplayFrom,
        DISPLAYTO => SortKey::DisplayTo,
        RELEVANCY => SortKey::Relevancy,
        ANNOTATION => {
            let (rest, entry) = after_sp(rest, |i| astring(i, ctx))?;
            return map(after_sp(rest, |i| astring(i, ctx)), |attribute| SortKey::Annotation {
                entry,
                attribute,
            });
        }
        _ => return expected(i, "a sort key"),
    };
    Ok((rest, key))
}

/// A charset: an atom or a string.
pub(super) fn charset(i: In<'_>, ctx: Ctx) -> Res<'_, Cow<'_, [u8]>> {
    match peek(i) {
        Some(b'"' | b'{') => astring(i, ctx),
        _ => map(run(i, chars::ATOM, "a charset"), Cow::Borrowed),
    }
}
