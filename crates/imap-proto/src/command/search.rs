//! SEARCH keys (RFC 3501 section 6.4.4, RFCs 5032, 5182, 6203, 7162, 8474 and 8514), and what SEARCH, SORT and THREAD return.

use std::borrow::Cow;

use super::fetch::{mod_seq, named_opaque, write_named};
use crate::datetime::date;
use crate::lex::{
    Ctx, In, Res, after_sp, astring, atom_str, expected, keys, keyword, map, number64, nz_number, peek, run,
    sp, string, strip_word, words,
};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::sequence::sequence_set;
use crate::write::Writer;
use crate::{Atom, Date, Opaque, PartialRange, SequenceSet, chars};

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

/// What SEARCH, SORT or THREAD is to return (RFCs 4731, 5182, 5267 and 9394).
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
    /// CONTEXT: a hint that the search will be repeated (RFC 5267).
    Context,
    /// PARTIAL: only these of the results (RFCs 5267 and 9394).
    Partial(PartialRange),
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

words! {
    /// What SORT orders by (RFCs 5256 and 5957).
    pub enum SortKey("a sort key") {
        /// INTERNALDATE
        Arrival = "ARRIVAL",
        /// The first cc's mailbox.
        Cc = "CC",
        /// The Date field.
        Date = "DATE",
        /// The first from's mailbox.
        From = "FROM",
        /// Octets.
        Size = "SIZE",
        /// The base subject.
        Subject = "SUBJECT",
        /// The first to's mailbox.
        To = "TO",
        /// The name shown for from (RFC 5957).
        DisplayFrom = "DISPLAYFROM",
        /// The name shown for to (RFC 5957).
        DisplayTo = "DISPLAYTO",
    }
}

/// One criterion of SORT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SortCriterion {
    /// REVERSE: descending.
    pub reverse: bool,
    /// By what.
    pub key: SortKey,
}

list! {
    /// SORT's criteria, most significant first.
    SortCriteria<'w> of SortCriterion
}

into_owned!(copy SortCriterion);
into_owned!(tuple Subkey);
into_owned!(struct ModSeqEntry { name, kind });
into_owned!(enum SearchReturn {
    Min, Max, All, Count, Save, Update, Context, Partial(range), Other { name, value },
});
into_owned!(enum SearchKey {
    All, Answered, Deleted, Draft, Flagged, New, Old, Recent, Seen, Unanswered, Undeleted, Undraft, Unflagged, Unseen,
    Bcc(s), Body(s), Cc(s), From(s), Subject(s), Text(s), To(s), Header(n, s), Keyword(a), Unkeyword(a), Before(d),
    On(d), Since(d), SentBefore(d), SentOn(d), SentSince(d), Larger(n), Smaller(n), Set(s), Uid(s), Older(n),
    Younger(n), ModSeq { entry, n }, SavedBefore(d), SavedOn(d), SavedSince(d), SaveDateSupported, EmailId(a),
    ThreadId(a), Fuzzy(k), Not(k), Or(a, b), And(k),
});

impl<'w> Element<'w> for SearchKey<'w> {
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        search_key(i, ctx)
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
            K::ModSeq { entry, n } => write_mod_seq(w, entry.as_ref(), *n),
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
        _ => operator(i, ctx),
    }
}

/// NOT, OR and FUZZY. The recursion passes through here and not through `named_key`, which needs more of the stack.
fn operator(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    if let Some(rest) = strip_word(i, b"NOT ") {
        return map(operand(rest, ctx), SearchKey::Not);
    }
    if let Some(rest) = strip_word(i, b"OR ") {
        let (rest, a) = operand(rest, ctx)?;
        return map(after_sp(rest, |i| operand(i, ctx)), |b| SearchKey::Or(a, b));
    }
    if let Some(rest) = strip_word(i, b"FUZZY ") {
        return map(operand(rest, ctx), SearchKey::Fuzzy);
    }
    named_key(i, ctx)
}

fn operand(i: In<'_>, ctx: Ctx) -> Res<'_, Subkey<'_>> {
    let (_, inner) = ctx.deeper(i)?;
    let (rest, _) = search_key(i, inner)?;
    Ok((rest, Subkey(Cow::Borrowed(&i[..i.len() - rest.len()]))))
}

keys!(
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
    THREADID,
    MIN,
    MAX,
    COUNT,
    SAVE,
    UPDATE,
    CONTEXT,
    PARTIAL,
);

#[inline(never)]
fn named_key(i: In<'_>, ctx: Ctx) -> Res<'_, SearchKey<'_>> {
    use SearchKey as K;
    let (rest, (name, key)) = keyword(i, chars::ATOM, "a search key")?;
    let plain = match key {
        ALL => K::All,
        ANSWERED => K::Answered,
        DELETED => K::Deleted,
        DRAFT => K::Draft,
        FLAGGED => K::Flagged,
        NEW => K::New,
        OLD => K::Old,
        RECENT => K::Recent,
        SEEN => K::Seen,
        UNANSWERED => K::Unanswered,
        UNDELETED => K::Undeleted,
        UNDRAFT => K::Undraft,
        UNFLAGGED => K::Unflagged,
        UNSEEN => K::Unseen,
        BCC => return string_key(rest, ctx, K::Bcc),
        BODY => return string_key(rest, ctx, K::Body),
        CC => return string_key(rest, ctx, K::Cc),
        FROM => return string_key(rest, ctx, K::From),
        SUBJECT => return string_key(rest, ctx, K::Subject),
        TEXT => return string_key(rest, ctx, K::Text),
        TO => return string_key(rest, ctx, K::To),
        HEADER => {
            let (rest, name) = after_sp(rest, |i| astring(i, ctx))?;
            return string_key(rest, ctx, |s| K::Header(name, s));
        }
        KEYWORD => return atom_key(rest, K::Keyword),
        UNKEYWORD => return atom_key(rest, K::Unkeyword),
        BEFORE => return date_key(rest, K::Before),
        ON => return date_key(rest, K::On),
        SINCE => return date_key(rest, K::Since),
        SENTBEFORE => return date_key(rest, K::SentBefore),
        SENTON => return date_key(rest, K::SentOn),
        SENTSINCE => return date_key(rest, K::SentSince),
        LARGER => return map(after_sp(rest, number64), K::Larger),
        SMALLER => return map(after_sp(rest, number64), K::Smaller),
        UID => return map(after_sp(rest, |i| crate::sequence::saved_or_set(i, ctx)), K::Uid),
        _ => return extension_key(i, rest, (name, key), ctx),
    };
    Ok((rest, plain))
}

fn extension_key<'a>(
    start: In<'a>,
    rest: In<'a>,
    (name, key): (In<'a>, u128),
    ctx: Ctx,
) -> Res<'a, SearchKey<'a>> {
    use SearchKey as K;
    match key {
        OLDER => map(after_sp(rest, nz_number), |n| K::Older(n.get())),
        YOUNGER => map(after_sp(rest, nz_number), |n| K::Younger(n.get())),
        MODSEQ => after_sp(rest, |i| mod_seq_key(i, ctx)),
        SAVEDBEFORE => date_key(rest, K::SavedBefore),
        SAVEDON => date_key(rest, K::SavedOn),
        SAVEDSINCE => date_key(rest, K::SavedSince),
        EMAILID => atom_key(rest, K::EmailId),
        THREADID => atom_key(rest, K::ThreadId),
        _ if name.eq_ignore_ascii_case(b"SAVEDATESUPPORTED") => Ok((rest, K::SaveDateSupported)),
        _ => expected(start, "a search key"),
    }
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

#[inline]
fn string_key<'a>(
    i: In<'a>,
    ctx: Ctx,
    key: impl FnOnce(Cow<'a, [u8]>) -> SearchKey<'a>,
) -> Res<'a, SearchKey<'a>> {
    let (i, ()) = sp(i)?;
    map(astring(i, ctx), key)
}

fn atom_key<'a>(i: In<'a>, key: impl FnOnce(Atom<'a>) -> SearchKey<'a>) -> Res<'a, SearchKey<'a>> {
    let (i, ()) = sp(i)?;
    map(atom_str(i), |a| key(Atom::checked(a)))
}

fn date_key<'a>(i: In<'a>, key: impl FnOnce(Date) -> SearchKey<'a>) -> Res<'a, SearchKey<'a>> {
    let (i, ()) = sp(i)?;
    map(date(i), key)
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
            UPDATE => Self::Update,
            CONTEXT => Self::Context,
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
            Self::Context => w.raw("CONTEXT"),
            Self::Partial(range) => {
                w.raw("PARTIAL ");
                range.write(w);
            }
            Self::Other { name, value } => write_named(w, name, value.as_ref()),
        }
    }
}

impl<'w> Element<'w> for SortCriterion {
    fn parse(i: In<'w>, _: Ctx) -> Res<'w, Self> {
        let (reverse, i) = match strip_word(i, b"REVERSE ") {
            Some(rest) => (true, rest),
            None => (false, i),
        };
        map(SortKey::parse(i), |key| Self { reverse, key })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.word(if self.reverse { "REVERSE " } else { "" }, self.key.name());
    }
}

/// A charset: an atom or a string.
pub(super) fn charset(i: In<'_>, ctx: Ctx) -> Res<'_, Cow<'_, [u8]>> {
    match peek(i) {
        Some(b'"' | b'{') => astring(i, ctx),
        _ => map(run(i, chars::ATOM, "a charset"), Cow::Borrowed),
    }
}
