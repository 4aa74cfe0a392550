//! The leaves of the grammar, as nom parsers over complete input: the decoder has already found the message's end.

use std::borrow::Cow;

use nom::IResult;
use nom::error::{ErrorKind, ParseError as NomError};

use crate::chars::{self, ASTRING, ATOM};
use crate::{ParseError, ParseErrorKind, ParseLimits, Tag};

pub(crate) type In<'a> = &'a [u8];
pub(crate) type Res<'a, T> = IResult<In<'a>, T, Fault<'a>>;

/// Where and why a parser gave up.
#[derive(Debug)]
pub(crate) struct Fault<'a> {
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

pub(crate) fn fail<T>(rest: In<'_>, kind: ParseErrorKind) -> Res<'_, T> {
    Err(nom::Err::Error(Fault { rest, kind }))
}

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

/// How deep the parser is, against [`ParseLimits`].
#[derive(Clone, Copy)]
pub(crate) struct Ctx {
    limits: ParseLimits,
    depth: u32,
}

impl Ctx {
    pub(crate) fn new(limits: &ParseLimits) -> Self {
        Self { limits: *limits, depth: 0 }
    }

    pub(crate) fn deeper<'a>(self, at: In<'a>) -> Res<'a, Self> {
        if self.depth >= self.limits.depth_max {
            return fail(at, ParseErrorKind::TooDeep { limit: self.limits.depth_max });
        }
        Ok((at, Self { depth: self.depth + 1, ..self }))
    }

    pub(crate) fn room<'a>(self, at: In<'a>, items: usize) -> Res<'a, ()> {
        if items >= self.limits.items_max {
            return fail(at, ParseErrorKind::TooManyItems { limit: self.limits.items_max });
        }
        Ok((at, ()))
    }

    pub(crate) fn depth_left(self) -> u32 {
        self.limits.depth_max - self.depth
    }

    pub(crate) fn depth_max(self) -> u32 {
        self.limits.depth_max
    }
}

pub(crate) fn byte<'a>(i: In<'a>, want: u8, what: &'static str) -> Res<'a, ()> {
    match i.split_first() {
        Some((&b, rest)) if b == want => Ok((rest, ())),
        _ => expected(i, what),
    }
}

pub(crate) fn sp(i: In<'_>) -> Res<'_, ()> {
    byte(i, b' ', "a space")
}

pub(crate) fn peek(i: In<'_>) -> Option<u8> {
    i.first().copied()
}

/// Strips `word`, in any case, if it stands here.
pub(crate) fn strip_word<'a>(i: In<'a>, word: &[u8]) -> Option<In<'a>> {
    let head = i.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &i[word.len()..])
}

pub(crate) fn word<'a>(i: In<'a>, word: &'static str) -> Res<'a, ()> {
    match strip_word(i, word.as_bytes()) {
        Some(rest) => Ok((rest, ())),
        None => expected(i, word),
    }
}

/// At least one octet of `class`.
pub(crate) fn run<'a>(i: In<'a>, class: u8, what: &'static str) -> Res<'a, In<'a>> {
    match chars::span(i, class) {
        0 => expected(i, what),
        n => Ok((&i[n..], &i[..n])),
    }
}

pub(crate) fn atom(i: In<'_>) -> Res<'_, In<'_>> {
    run(i, ATOM, "an atom")
}

/// Octets of a class within ASCII, as text.
pub(crate) fn ascii(bytes: &[u8]) -> &str {
    // Every class but QUOTED holds ASCII only.
    std::str::from_utf8(bytes).unwrap_or("")
}

pub(crate) fn atom_str(i: In<'_>) -> Res<'_, &str> {
    let (i, a) = atom(i)?;
    Ok((i, ascii(a)))
}

pub(crate) fn number64(i: In<'_>) -> Res<'_, u64> {
    let mut value: u64 = 0;
    let mut n = 0;
    while let Some(digit) = i.get(n).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        value = match value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit))) {
            Some(v) => v,
            None => return fail(i, ParseErrorKind::NumberTooLarge),
        };
        n += 1;
    }
    if n == 0 { expected(i, "a number") } else { Ok((&i[n..], value)) }
}

pub(crate) fn number(i: In<'_>) -> Res<'_, u32> {
    let (rest, n) = number64(i)?;
    match u32::try_from(n) {
        Ok(n) => Ok((rest, n)),
        Err(_) => fail(i, ParseErrorKind::NumberTooLarge),
    }
}

pub(crate) fn nz_number(i: In<'_>) -> Res<'_, std::num::NonZeroU32> {
    let (rest, n) = number(i)?;
    match std::num::NonZeroU32::new(n) {
        Some(n) => Ok((rest, n)),
        None => expected(i, "a number above zero"),
    }
}

/// `string`: quoted or literal.
pub(crate) fn string(i: In<'_>) -> Res<'_, Cow<'_, [u8]>> {
    match peek(i) {
        Some(b'"') => quoted(i),
        Some(b'{') => {
            let (i, l) = literal(i)?;
            Ok((i, Cow::Borrowed(l)))
        }
        _ => expected(i, "a string"),
    }
}

/// `astring`.
pub(crate) fn astring(i: In<'_>) -> Res<'_, Cow<'_, [u8]>> {
    match peek(i) {
        Some(b'"' | b'{') => string(i),
        _ => {
            let (i, a) = run(i, ASTRING, "a string or an atom")?;
            Ok((i, Cow::Borrowed(a)))
        }
    }
}

/// `nstring`: a string or NIL.
pub(crate) fn nstring(i: In<'_>) -> Res<'_, Option<Cow<'_, [u8]>>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, None));
    }
    let (i, s) = string(i)?;
    Ok((i, Some(s)))
}

pub(crate) fn nil(i: In<'_>) -> Option<In<'_>> {
    strip_word(i, b"NIL").filter(|rest| !peek(rest).is_some_and(|b| chars::is(b, ATOM)))
}

pub(crate) fn quoted(i: In<'_>) -> Res<'_, Cow<'_, [u8]>> {
    let (i, ()) = byte(i, b'"', "a quoted string")?;
    let plain = chars::span(i, chars::QUOTED);
    match i.get(plain) {
        Some(b'"') => Ok((&i[plain + 1..], Cow::Borrowed(&i[..plain]))),
        Some(b'\\') => quoted_escaped(i, plain),
        Some(0) => fail(&i[plain..], ParseErrorKind::Nul),
        _ => expected(&i[plain..], "a closing quote"),
    }
}

fn quoted_escaped(i: In<'_>, plain: usize) -> Res<'_, Cow<'_, [u8]>> {
    let mut value = i[..plain].to_vec();
    let mut rest = &i[plain..];
    loop {
        match rest {
            [b'"', after @ ..] => return Ok((after, Cow::Owned(value))),
            [b'\\', b @ (b'"' | b'\\'), after @ ..] => {
                value.push(*b);
                rest = after;
            }
            [0, ..] => return fail(rest, ParseErrorKind::Nul),
            [b, ..] if chars::is(*b, chars::QUOTED) => {
                let n = chars::span(rest, chars::QUOTED);
                value.extend_from_slice(&rest[..n]);
                rest = &rest[n..];
            }
            _ => return expected(rest, "a closing quote"),
        }
    }
}

/// A literal that the decoder has collected in place: `{n}` or `{n+}`, CRLF, n octets without NUL.
pub(crate) fn literal(i: In<'_>) -> Res<'_, In<'_>> {
    let (rest, ()) = byte(i, b'{', "a literal")?;
    let (rest, n) = number64(rest)?;
    let rest = rest.strip_prefix(b"+").unwrap_or(rest);
    let Some(rest) = rest.strip_prefix(b"}\r\n") else { return expected(rest, "a literal's length") };
    let data = usize::try_from(n).ok().and_then(|n| rest.get(..n));
    let Some(data) = data else { return expected(rest, "the octets of a literal") };
    if let Some(at) = memchr::memchr(0, data) {
        return fail(&data[at..], ParseErrorKind::Nul);
    }
    Ok((&rest[data.len()..], data))
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
    let (i, first) = item(i)?;
    let mut items = vec![first];
    let mut i = i;
    loop {
        match peek(i) {
            Some(b' ') => {
                ctx.room(i, items.len())?;
                let (rest, next) = item(&i[1..])?;
                items.push(next);
                i = rest;
            }
            Some(b')') => return Ok((&i[1..], items)),
            _ => return expected(i, ") or a space"),
        }
    }
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
            Some(b'"') => quoted(rest)?.0,
            Some(b'{') => literal(rest)?.0,
            Some(b'\\') => run(&rest[1..], chars::ASTRING, "a flag")?.0,
            _ => run(rest, chars::LIST, "a value")?.0,
        };
        if depth == 0 {
            return Ok((rest, &i[..i.len() - rest.len()]));
        }
    }
}

/// An upper-cased copy of a keyword, for one `match`; longer ones than any known keyword come out empty.
pub(crate) struct Upper {
    bytes: [u8; 20],
    len: usize,
}

impl Upper {
    pub(crate) fn new(word: &[u8]) -> Self {
        let mut bytes = [0; 20];
        let len = if word.len() <= bytes.len() { word.len() } else { 0 };
        bytes[..len].copy_from_slice(&word[..len]);
        bytes.make_ascii_uppercase();
        Self { bytes, len }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
