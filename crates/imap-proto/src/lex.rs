//! The leaves of the grammar, as nom parsers over complete input: the decoder has already found the message's end.

use std::borrow::Cow;
use std::num::NonZeroU32;

use nom::IResult;
use nom::error::{ErrorKind, ParseError as NomError};

use crate::chars::{self, ASTRING, ATOM, HIGH, QUOTED};
use crate::{ParseError, ParseErrorKind, ParseLimits, Quirks, Tag};

pub(crate) type In<'a> = &'a [u8];
pub(crate) type Res<'a, T> = IResult<In<'a>, T, Fault<'a>>;

/// Where and why a parser gave up.
#[derive(Debug)]
pub struct Fault<'a> {
    pub(crate) rest: In<'a>,
    pub(crate) kind: ParseErrorKind,
}

impl<'a> NomError<In<'a>> for Fault<'a> {
    fn from_error_kind(rest: In<'a>, _: ErrorKind) -> Self {
        Self { rest, kind: ParseErrorKind::Expected("valid syntax") }
    }

    fn append(_: In<'a>, _: ErrorKind, other: Self) -> Self {
        other
    }
}

#[cold]
pub(crate) fn fail<T>(rest: In<'_>, kind: ParseErrorKind) -> Res<'_, T> {
    Err(nom::Err::Error(Fault { rest, kind }))
}

#[cold]
pub(crate) fn expected<'a, T>(rest: In<'a>, what: &'static str) -> Res<'a, T> {
    fail(rest, ParseErrorKind::Expected(what))
}

/// Runs `parser` over all of `message`.
pub(crate) fn finish<'a, T>(
    message: In<'a>,
    tag: Option<&Tag<'_>>,
    result: Res<'a, T>,
) -> Result<T, ParseError> {
    let error = |rest: In<'_>, kind| ParseError {
        tag: tag.map(|t| t.clone().into_owned()),
        offset: message.len() - rest.len(),
        kind,
    };
    match result {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => Err(error(rest, ParseErrorKind::Trailing)),
        Err(nom::Err::Error(f) | nom::Err::Failure(f)) => Err(error(f.rest, f.kind)),
        Err(nom::Err::Incomplete(_)) => Err(error(&[], ParseErrorKind::Expected("more"))),
    }
}

/// How deep the parser is, against [`ParseLimits`], and what it tolerates. Small enough for two registers.
#[derive(Clone, Copy)]
pub struct Ctx {
    items_max: u32,
    depth: u16,
    depth_max: u16,
    switches: u32,
}

/// Set beside the quirks.
const CHECKED_BIT: u32 = 1 << 31;

impl Ctx {
    /// For text that was parsed before.
    pub(crate) const CHECKED: Ctx = Ctx {
        switches: Quirks::ALL.bits() | CHECKED_BIT,
        depth: 0,
        depth_max: u16::MAX,
        items_max: u32::MAX,
    };

    pub(crate) fn new(limits: &ParseLimits) -> Self {
        Self {
            switches: limits.quirks.bits(),
            depth: 0,
            depth_max: u16::try_from(limits.depth_max).unwrap_or(u16::MAX),
            items_max: u32::try_from(limits.items_max).unwrap_or(u32::MAX),
        }
    }

    /// Whether `quirk` parses.
    #[inline]
    pub(crate) fn allows(self, quirk: Quirks) -> bool {
        self.switches & quirk.bits() != 0
    }

    /// The text was parsed before: lists within it need not be checked again.
    #[inline]
    pub(crate) fn checked(self) -> bool {
        self.switches & CHECKED_BIT != 0
    }

    pub(crate) fn deeper<'a>(self, at: In<'a>) -> Res<'a, Self> {
        if self.depth >= self.depth_max {
            return fail(at, ParseErrorKind::TooDeep { limit: self.depth_max() });
        }
        Ok((at, Self { depth: self.depth + 1, ..self }))
    }

    #[inline]
    pub(crate) fn room<'a>(self, at: In<'a>, items: usize) -> Res<'a, ()> {
        if items >= self.items_max as usize {
            return fail(at, ParseErrorKind::TooManyItems { limit: self.items_max as usize });
        }
        Ok((at, ()))
    }

    pub(crate) fn depth_left(self) -> u32 {
        u32::from(self.depth_max - self.depth)
    }

    pub(crate) fn depth_max(self) -> u32 {
        u32::from(self.depth_max)
    }
}

#[inline]
pub(crate) fn map<'a, T, U>(parsed: Res<'a, T>, f: impl FnOnce(T) -> U) -> Res<'a, U> {
    parsed.map(|(i, v)| (i, f(v)))
}

#[inline]
pub(crate) fn byte<'a>(i: In<'a>, want: u8, what: &'static str) -> Res<'a, ()> {
    match i.split_first() {
        Some((&b, rest)) if b == want => Ok((rest, ())),
        _ => expected(i, what),
    }
}

#[inline]
pub(crate) fn sp(i: In<'_>) -> Res<'_, ()> {
    byte(i, b' ', "a space")
}

/// `then`, behind a space.
#[inline]
pub(crate) fn after_sp<'a, T>(i: In<'a>, then: impl FnOnce(In<'a>) -> Res<'a, T>) -> Res<'a, T> {
    let (i, ()) = sp(i)?;
    then(i)
}

/// `( then )`
pub(crate) fn in_parens<'a, T>(i: In<'a>, then: impl FnOnce(In<'a>) -> Res<'a, T>) -> Res<'a, T> {
    let (i, ()) = byte(i, b'(', "(")?;
    let (i, value) = then(i)?;
    let (i, ()) = byte(i, b')', ")")?;
    Ok((i, value))
}

#[inline]
pub(crate) fn peek(i: In<'_>) -> Option<u8> {
    i.first().copied()
}

/// Strips `word`, in any case, if it stands here.
#[inline(always)]
pub(crate) fn strip_word<'a, const N: usize>(i: In<'a>, word: &[u8; N]) -> Option<In<'a>> {
    let (head, rest) = i.split_first_chunk::<N>()?;
    let mut others = 0;
    // As the word is a constant, this is one comparison of a number or two.
    for (a, b) in head.iter().zip(word) {
        others |= (a ^ b) & if b.is_ascii_alphabetic() { !0x20 } else { !0 };
    }
    (others == 0).then_some(rest)
}

#[inline(always)]
pub(crate) fn word<'a, const N: usize>(i: In<'a>, word: &'static [u8; N]) -> Res<'a, ()> {
    match strip_word(i, word) {
        Some(rest) => Ok((rest, ())),
        None => expected(i, ascii(word)),
    }
}

/// At least one octet of `class`.
#[inline]
pub(crate) fn run<'a>(i: In<'a>, class: u8, what: &'static str) -> Res<'a, In<'a>> {
    match chars::span(i, class) {
        0 => expected(i, what),
        n => Ok((&i[n..], &i[..n])),
    }
}

#[inline]
pub(crate) fn atom(i: In<'_>) -> Res<'_, In<'_>> {
    run(i, ATOM, "an atom")
}

/// Octets of a class within ASCII, as text.
#[inline]
pub(crate) fn ascii(bytes: &[u8]) -> &str {
    // Every class used with it holds ASCII only.
    std::str::from_utf8(bytes).unwrap_or("")
}

#[inline]
pub(crate) fn atom_str(i: In<'_>) -> Res<'_, &str> {
    let (i, a) = atom(i)?;
    Ok((i, ascii(a)))
}

#[inline]
pub(crate) fn number64(i: In<'_>) -> Res<'_, u64> {
    let mut value: u64 = 0;
    let mut n = 0;
    while let Some(digit) = i.get(n).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        if n < 19 {
            value = value * 10 + u64::from(digit);
        } else {
            value = match value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit))) {
                Some(v) => v,
                None => return fail(i, ParseErrorKind::NumberTooLarge),
            };
        }
        n += 1;
    }
    if n == 0 { expected(i, "a number") } else { Ok((&i[n..], value)) }
}

#[inline]
pub(crate) fn number(i: In<'_>) -> Res<'_, u32> {
    let (rest, n) = number64(i)?;
    match u32::try_from(n) {
        Ok(n) => Ok((rest, n)),
        Err(_) => fail(i, ParseErrorKind::NumberTooLarge),
    }
}

#[inline]
pub(crate) fn nz_number(i: In<'_>) -> Res<'_, NonZeroU32> {
    let (rest, n) = number(i)?;
    match NonZeroU32::new(n) {
        Some(n) => Ok((rest, n)),
        None => expected(i, "a number above zero"),
    }
}

/// A size. A negative one is 0 by quirk.
pub(crate) fn size(i: In<'_>, ctx: Ctx) -> Res<'_, u64> {
    match i.strip_prefix(b"-") {
        Some(rest) if ctx.allows(Quirks::NEGATIVE_NUMBERS) => map(number64(rest), |_| 0),
        _ => number64(i),
    }
}

/// `string`: quoted or literal.
#[inline]
pub(crate) fn string(i: In<'_>, ctx: Ctx) -> Res<'_, Cow<'_, [u8]>> {
    match peek(i) {
        Some(b'"') => quoted(i, ctx),
        Some(b'{' | b'~') => map(literal(i), Cow::Borrowed),
        _ => expected(i, "a string"),
    }
}

/// `astring`.
#[inline]
pub(crate) fn astring(i: In<'_>, ctx: Ctx) -> Res<'_, Cow<'_, [u8]>> {
    match peek(i) {
        Some(b'"' | b'{') => string(i, ctx),
        _ => map(run(i, ASTRING, "a string or an atom"), Cow::Borrowed),
    }
}

/// `nstring`: a string or NIL.
#[inline]
pub(crate) fn nstring(i: In<'_>, ctx: Ctx) -> Res<'_, Option<Cow<'_, [u8]>>> {
    match peek(i) {
        Some(b'"') => map(quoted(i, ctx), Some),
        _ => match nil(i) {
            Some(rest) => Ok((rest, None)),
            None => map(string(i, ctx), Some),
        },
    }
}

#[inline]
pub(crate) fn nil(i: In<'_>) -> Option<In<'_>> {
    match i {
        [b'N' | b'n', b'I' | b'i', b'L' | b'l', rest @ ..] => {
            (!peek(rest).is_some_and(|b| chars::is(b, ATOM))).then_some(rest)
        }
        _ => None,
    }
}

/// What may stand in a quoted string.
#[inline]
fn quoted_class(ctx: Ctx) -> u8 {
    if ctx.allows(Quirks::RAW_8BIT) { QUOTED | HIGH } else { QUOTED }
}

#[inline]
pub(crate) fn quoted(i: In<'_>, ctx: Ctx) -> Res<'_, Cow<'_, [u8]>> {
    let Some(text) = i.strip_prefix(b"\"") else { return expected(i, "a quoted string") };
    let plain = chars::span(text, quoted_class(ctx));
    match text.get(plain) {
        Some(b'"') if closes(&text[plain + 1..], ctx) => {
            Ok((&text[plain + 1..], Cow::Borrowed(&text[..plain])))
        }
        _ => quoted_escaped(text, plain, ctx),
    }
}

/// Whether a quote before `rest` closes its string.
#[inline]
fn closes(rest: In<'_>, ctx: Ctx) -> bool {
    !ctx.allows(Quirks::UNESCAPED_QUOTES)
        || matches!(peek(rest), None | Some(b' ' | b')' | b'(' | b']' | b'>'))
}

#[cold]
fn quoted_escaped<'a>(text: In<'a>, plain: usize, ctx: Ctx) -> Res<'a, Cow<'a, [u8]>> {
    let class = quoted_class(ctx);
    let mut value = text[..plain].to_vec();
    let mut rest = &text[plain..];
    loop {
        match rest {
            [b'"', after @ ..] if closes(after, ctx) => return Ok((after, Cow::Owned(value))),
            [b'\\', b @ (b'"' | b'\\'), after @ ..] => {
                value.push(*b);
                rest = after;
            }
            [b'"', after @ ..] => {
                value.push(b'"');
                rest = after;
            }
            [0, ..] => return fail(rest, ParseErrorKind::Nul),
            [b, ..] if chars::is(*b, class) => {
                let n = chars::span(rest, class);
                value.extend_from_slice(&rest[..n]);
                rest = &rest[n..];
            }
            [b, ..] if *b >= 0x80 => return fail(rest, ParseErrorKind::EightBit),
            _ => return expected(rest, "a closing quote"),
        }
    }
}

/// A literal that the decoder has collected in place: `{n}`, `{n+}` or `{n-}`, CRLF, n octets without NUL; with `~` before it, with
/// any octets (RFC 3516).
pub(crate) fn literal(i: In<'_>) -> Res<'_, In<'_>> {
    let (rest, data) = any_literal(i)?;
    if peek(i) != Some(b'~') {
        if let Some(at) = memchr::memchr(0, data) {
            return fail(&data[at..], ParseErrorKind::Nul);
        }
    }
    Ok((rest, data))
}

/// As [`literal`], but NUL passes: mail that holds it exists, and a client wants it nevertheless.
pub(crate) fn any_literal(i: In<'_>) -> Res<'_, In<'_>> {
    let (rest, n) = literal_head(i)?;
    let Some(rest) = rest.strip_prefix(b"\r\n") else { return expected(rest, "a literal's octets") };
    match usize::try_from(n).ok().and_then(|n| rest.split_at_checked(n)) {
        Some((data, rest)) => Ok((rest, data)),
        None => expected(rest, "the octets of a literal"),
    }
}

/// `{n}` and its kin, to the brace.
pub(crate) fn literal_head(i: In<'_>) -> Res<'_, u64> {
    let rest = i.strip_prefix(b"~").unwrap_or(i);
    let (rest, ()) = byte(rest, b'{', "a literal")?;
    let (rest, n) = number64(rest)?;
    let rest = rest.strip_prefix(b"+").or(rest.strip_prefix(b"-")).unwrap_or(rest);
    map(byte(rest, b'}', "}"), |()| n)
}

/// How long the parentheses at the start of checked text are, with what is in them.
#[inline]
pub(crate) fn parens_len(i: In<'_>) -> usize {
    // Most lists are flat and hold no strings.
    let flat = memchr::memchr(b')', i).map_or(i.len(), |at| at + 1);
    match memchr::memchr3(b'(', b'"', b'{', &i[1..flat]) {
        None => flat,
        Some(_) => nested_len(i),
    }
}

fn nested_len(i: In<'_>) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&b) = i.get(at) {
        at += match b {
            b'"' => i.len() - at - quoted_rest(&i[at..]).len(),
            b'{' => i.len() - at - literal(&i[at..]).map_or(&[][..], |(rest, _)| rest).len(),
            _ => 1,
        };
        depth += usize::from(b == b'(');
        depth = depth.saturating_sub(usize::from(b == b')'));
        if depth == 0 {
            break;
        }
    }
    at.min(i.len())
}

/// What follows a checked quoted string.
#[inline]
fn quoted_rest(i: In<'_>) -> In<'_> {
    let mut at = 1;
    while let Some(&b) = i.get(at) {
        match b {
            b'"' if closes(&i[at + 1..], Ctx::CHECKED) => return &i[at + 1..],
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    &[]
}

/// `( item SP item ... )`, at least `min` of them.
pub(crate) fn paren_list<'a, T>(
    i: In<'a>,
    ctx: Ctx,
    min: usize,
    mut item: impl FnMut(In<'a>) -> Res<'a, T>,
) -> Res<'a, Vec<T>> {
    let (i, ()) = byte(i, b'(', "(")?;
    if min == 0 {
        if let Some(rest) = i.strip_prefix(b")") {
            return Ok((rest, Vec::new()));
        }
    }
    let (mut i, items) = spaced(i, ctx, &mut item)?;
    if ctx.allows(Quirks::TRAILING_SPACE) {
        i = i.strip_prefix(b" ").unwrap_or(i);
    }
    map(byte(i, b')', ") or a space"), |()| items)
}

/// `item SP item ...`, at least one.
pub(crate) fn spaced<'a, T>(
    i: In<'a>,
    ctx: Ctx,
    mut item: impl FnMut(In<'a>) -> Res<'a, T>,
) -> Res<'a, Vec<T>> {
    let (mut i, first) = item(i)?;
    let mut items = vec![first];
    while let Some(rest) = i.strip_prefix(b" ") {
        if ctx.allows(Quirks::TRAILING_SPACE) && matches!(peek(rest), None | Some(b')')) {
            break;
        }
        ctx.room(i, items.len())?;
        let (rest, next) = item(rest)?;
        items.push(next);
        i = rest;
    }
    Ok((i, items))
}

/// ` A B C`, perhaps nothing at all.
pub(crate) fn trailing<'a, T>(
    mut i: In<'a>,
    ctx: Ctx,
    mut item: impl FnMut(In<'a>) -> Res<'a, T>,
) -> Res<'a, Vec<T>> {
    let mut list = Vec::new();
    while let Some(rest) = i.strip_prefix(b" ") {
        i = rest;
        if ctx.allows(Quirks::TRAILING_SPACE) && peek(rest).is_none_or(|b| b == b' ') {
            continue;
        }
        ctx.room(i, list.len())?;
        let (rest, value) = item(rest)?;
        list.push(value);
        i = rest;
    }
    Ok((i, list))
}

/// Any one value, kept as it stands: atom, string, or balanced list (RFC 4466 tagged-ext-val). Iterative.
pub(crate) fn opaque(i: In<'_>, ctx: Ctx) -> Res<'_, In<'_>> {
    let mut depth = 0;
    let mut rest = i;
    loop {
        rest = match peek(rest) {
            Some(b'(') => {
                if depth == ctx.depth_left() {
                    return fail(rest, ParseErrorKind::TooDeep { limit: ctx.depth_max() });
                }
                depth += 1;
                &rest[1..]
            }
            Some(b')') if depth > 0 => {
                depth -= 1;
                &rest[1..]
            }
            Some(b' ') if depth > 0 => &rest[1..],
            Some(b'"') => quoted(rest, ctx)?.0,
            Some(b'{') => literal(rest)?.0,
            Some(b'~') if rest.get(1) == Some(&b'{') => literal(rest)?.0,
            Some(b'\\') if rest.get(1) == Some(&b'*') => &rest[2..],
            Some(b'\\') => run(&rest[1..], chars::ASTRING, "a flag")?.0,
            _ => run(rest, chars::LIST, "a value")?.0,
        };
        if depth == 0 {
            return Ok((rest, &i[..i.len() - rest.len()]));
        }
    }
}

const ONES: u64 = u64::MAX / 0xff;
const HIGH_BITS: u64 = ONES * 0x80;

/// Eight digits at once: the number that `chunk` starts with, and of how many digits.
#[inline]
pub(crate) fn digits8(chunk: [u8; 8]) -> (u32, usize) {
    let digits = u64::from_le_bytes(chunk) ^ (ONES * 0x30);
    // A high bit in each octet that is no digit.
    let others = (((digits & (ONES * 0x7f)) + ONES * 0x76) | digits) & HIGH_BITS;
    let n = (others.trailing_zeros() / 8) as usize;
    if n == 0 {
        return (0, 0);
    }
    (value(digits << (64 - 8 * n)), n)
}

/// The number of eight digits, the first in the lowest octet.
#[inline]
fn value(digits: u64) -> u32 {
    let v = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let v = v.wrapping_mul(100).wrapping_add(v >> 16) & 0x0000_ffff_0000_ffff;
    v.wrapping_mul(10_000).wrapping_add(v >> 32) as u32
}

/// Numbers of one width between two spaces, read by eight octets at once.
#[derive(Clone, Copy)]
pub(crate) struct Spaced {
    width: u32,
    /// The octets that count.
    mask: u64,
    /// What each must differ from by a digit, or by nothing for a space.
    expected: u64,
    /// What makes the high bit of an octet that differs by more.
    slack: u64,
}

impl Spaced {
    /// `None` if such a number and its spaces are more than eight octets.
    #[inline]
    pub(crate) fn new(width: usize) -> Option<Self> {
        let width = u32::try_from(width).ok().filter(|w| *w <= 6)?;
        let spaces = 1 | 1 << (8 * (width + 1));
        let (expected, slack) = (ONES * 0x30 - spaces * 0x10, ONES * 0x76 + spaces * 0x09);
        Some(Self { width, mask: u64::MAX >> (8 * (6 - width)), expected, slack })
    }

    #[inline(always)]
    pub(crate) fn number(self, chunk: [u8; 8]) -> Option<u32> {
        let digits = (u64::from_le_bytes(chunk) ^ self.expected) & self.mask;
        // An octet that would carry into the next one has its high bit set itself.
        if (digits.wrapping_add(self.slack) | digits) & HIGH_BITS != 0 {
            return None;
        }
        Some(value(digits << (8 * (7 - self.width))))
    }
}

/// An enumeration of words, parsed and written: `words!(/// docs; pub enum X { A = "A" } "a thing")`.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident($what:literal) { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[non_exhaustive]
        pub enum $name { $($(#[$vmeta])* $variant),* }

        impl $name {
            const ALL: &'static [($name, &'static str)] = &[$(($name::$variant, $text)),*];

            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// `None` for a name that is none of these.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::find(name.as_bytes())
            }

            pub(crate) fn find(name: &[u8]) -> Option<Self> {
                Self::ALL.iter().find(|(_, text)| text.as_bytes().eq_ignore_ascii_case(name)).map(|(v, _)| *v)
            }

            #[allow(dead_code)]
            pub(crate) fn parse(i: $crate::lex::In<'_>) -> $crate::lex::Res<'_, Self> {
                let (rest, name) = $crate::lex::run(i, $crate::chars::ATOM, $what)?;
                match Self::find(name) {
                    Some(value) => Ok((rest, value)),
                    None => $crate::lex::expected(i, $what),
                }
            }
        }

        $crate::own::into_owned!(copy $name);
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_at_once_are_the_same_number() {
        for text in ["1", "0", "12345", "99999999", "00000012", "1234567"] {
            let mut chunk = *b" (x/:;Az";
            chunk[..text.len()].copy_from_slice(text.as_bytes());
            assert_eq!(digits8(chunk), (text.parse().unwrap(), text.len()), "{text}");
        }
        for b in (0..=255).filter(|b: &u8| !b.is_ascii_digit()) {
            assert_eq!(digits8([b'7', b, b'1', b'1', b'1', b'1', b'1', b'1']), (7, 1), "{b}");
        }
    }

    #[test]
    fn a_number_between_spaces_is_read_as_such_and_nothing_else_is() {
        for width in 1..=6 {
            let spaced = Spaced::new(width).unwrap();
            for text in ["0000000", "9999999", "1234567", "0907050"] {
                let text = &text[..width];
                let mut chunk = *b" //::99z";
                chunk[1..=width].copy_from_slice(text.as_bytes());
                chunk[width + 1] = b' ';
                assert_eq!(spaced.number(chunk), text.parse().ok(), "{text}");
                for (at, b) in (0..width + 2).flat_map(|at| (0..=255).map(move |b| (at, b))) {
                    let mut other = chunk;
                    other[at] = b;
                    let fits = if at == 0 || at > width { b == b' ' } else { b.is_ascii_digit() };
                    assert_eq!(spaced.number(other).is_some(), fits, "{}", other.escape_ascii());
                }
            }
        }
        assert!(Spaced::new(7).is_none());
    }
}
