//! Parameters out of a line. The field is found by the length of the name and one comparison.

use std::borrow::Cow;

use super::{
    AuthSender, Body, DeliverBy, Hold, MailParams, MoreMailParams, Notify, OTHER_PARAMETERS_MAX,
    OriginalRecipient, Parameter, RcptParams, Ret,
};
use crate::class::{KEYWORD, VALUE, number};
use crate::cursor::Cursor;
use crate::text::{Keyword, Text, Value};
use crate::{SyntaxError, xtext};

/// A word of the line: `NAME` or `NAME=value`.
#[derive(Clone, Copy)]
struct Word<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

/// The next word, after any blanks; `None` at the end of the line.
#[inline(always)]
fn next_word<'a>(i: &mut Cursor<'a>) -> Result<Option<Word<'a>>, SyntaxError> {
    i.eat_blanks();
    if i.is_at_end() {
        return Ok(None);
    }
    let begin = i.at();
    i.run(KEYWORD);
    let name = i.since(begin);
    let value = if i.eat(b'=') { Some(value(i)?) } else { None };
    if name.is_empty() || !matches!(i.peek(), None | Some(b' ' | b'\t')) {
        return Err(SyntaxError::BadParameter);
    }
    Ok(Some(Word { name, value }))
}

#[inline(always)]
fn value<'a>(i: &mut Cursor<'a>) -> Result<&'a str, SyntaxError> {
    let begin = i.at();
    i.run_wide(VALUE);
    if i.at() == begin { Err(SyntaxError::BadParameter) } else { Ok(i.since(begin)) }
}

impl<'a> MailParams<'a> {
    #[inline(always)]
    pub(crate) fn parse(mut i: Cursor<'a>) -> Result<Self, SyntaxError> {
        // Apart from the others, since its address is taken: the others stay in registers.
        let mut more = None;
        let mut params = Self::default();
        while let Some(word) = next_word(&mut i)? {
            let Word { name, value } = word;
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is("SIZE") => set(&mut params.size, value.and_then(number))?,
                4 if is("BODY") => set(&mut params.body, value.and_then(body))?,
                8 if is("SMTPUTF8") => set_flag(&mut params.smtputf8, value)?,
                4 if is("AUTH") => set(&mut params.auth, value.and_then(auth_sender))?,
                3 if is("RET") => set(&mut params.ret, value.and_then(ret))?,
                5 if is("ENVID") => set(&mut params.envid, value.and_then(xtext_value))?,
                10 if is("REQUIRETLS") => set_flag(&mut params.requiretls, value)?,
                11 if is("MT-PRIORITY") => set(&mut params.mt_priority, value.and_then(priority))?,
                _ => add_more(&mut more, word)?,
            }
        }
        params.more = more;
        Ok(params)
    }
}

#[cold]
#[inline(never)]
fn add_more<'a>(more: &mut Option<Box<MoreMailParams<'a>>>, word: Word<'a>) -> Result<(), SyntaxError> {
    more.get_or_insert_default().add(word)
}

impl<'a> MoreMailParams<'a> {
    #[cold]
    fn add(&mut self, word: Word<'a>) -> Result<(), SyntaxError> {
        let is = |known: &str| word.name.eq_ignore_ascii_case(known);
        match word.name.len() {
            2 if is("BY") => set(&mut self.by, word.value.and_then(DeliverBy::parse)),
            7 if is("HOLDFOR") => set(&mut self.hold, word.value.and_then(Hold::parse_for)),
            9 if is("HOLDUNTIL") => set(&mut self.hold, word.value.and_then(Hold::parse_until)),
            _ => add_other(&mut self.other, word),
        }
    }
}

impl<'a> RcptParams<'a> {
    #[inline(always)]
    pub(crate) fn parse(mut i: Cursor<'a>) -> Result<Self, SyntaxError> {
        let mut other = Vec::new();
        let mut params = Self::default();
        while let Some(word) = next_word(&mut i)? {
            match word.name.len() {
                6 if word.name.eq_ignore_ascii_case("NOTIFY") => {
                    set(&mut params.notify, word.value.and_then(notify))?;
                }
                5 if word.name.eq_ignore_ascii_case("ORCPT") => {
                    set(&mut params.orcpt, word.value.and_then(original_recipient))?;
                }
                _ => add_other(&mut other, word)?,
            }
        }
        params.other = other;
        Ok(params)
    }
}

#[inline(always)]
fn set<T>(field: &mut Option<T>, value: Option<T>) -> Result<(), SyntaxError> {
    if field.is_some() {
        return Err(SyntaxError::DuplicateParameter);
    }
    *field = Some(value.ok_or(SyntaxError::BadParameter)?);
    Ok(())
}

#[inline(always)]
fn set_flag(field: &mut bool, value: Option<&str>) -> Result<(), SyntaxError> {
    match (std::mem::replace(field, true), value) {
        (false, None) => Ok(()),
        (true, _) => Err(SyntaxError::DuplicateParameter),
        (_, Some(_)) => Err(SyntaxError::BadParameter),
    }
}

#[cold]
#[inline(never)]
fn add_other<'a>(other: &mut Vec<Parameter<'a>>, word: Word<'a>) -> Result<(), SyntaxError> {
    let name = Keyword::new(word.name).map_err(|_| SyntaxError::BadParameter)?;
    let value = word.value.map(Value::new).transpose().map_err(|_| SyntaxError::BadParameter)?;
    if other.len() == OTHER_PARAMETERS_MAX {
        return Err(SyntaxError::TooManyParameters { limit: OTHER_PARAMETERS_MAX });
    }
    if other.iter().any(|p| p.name.as_str().eq_ignore_ascii_case(name.as_str())) {
        return Err(SyntaxError::DuplicateParameter);
    }
    other.push(Parameter { name, value });
    Ok(())
}

fn body(text: &str) -> Option<Body> {
    match text.len() {
        4 if text.eq_ignore_ascii_case("7BIT") => Some(Body::SevenBit),
        8 if text.eq_ignore_ascii_case("8BITMIME") => Some(Body::EightBitMime),
        10 if text.eq_ignore_ascii_case("BINARYMIME") => Some(Body::BinaryMime),
        _ => None,
    }
}

fn ret(text: &str) -> Option<Ret> {
    match text {
        text if text.eq_ignore_ascii_case("FULL") => Some(Ret::Full),
        text if text.eq_ignore_ascii_case("HDRS") => Some(Ret::Headers),
        _ => None,
    }
}

/// A value without `+` stands for itself, and holds nothing that a [`Text`] may not.
#[inline(always)]
fn xtext_value(text: &str) -> Option<Text<'_>> {
    if memchr::memchr(b'+', text.as_bytes()).is_none() {
        Some(Text::trusted(Cow::Borrowed(text)))
    } else {
        decoded(text)
    }
}

#[inline(never)]
fn decoded(text: &str) -> Option<Text<'_>> {
    xtext::decode(text).and_then(|text| Text::new(text).ok())
}

#[inline(always)]
fn auth_sender(text: &str) -> Option<AuthSender<'_>> {
    let address = xtext_value(text)?;
    Some(if address.as_str() == "<>" { AuthSender::Unknown } else { AuthSender::Address(address) })
}

fn priority(text: &str) -> Option<i8> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let value = i8::try_from(number(digits)?).ok().filter(|value| *value <= 9)?;
    Some(if digits.len() == text.len() { value } else { -value })
}

fn notify(text: &str) -> Option<Notify> {
    if text.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in text.split(',') {
        let flag = match word {
            w if w.eq_ignore_ascii_case("SUCCESS") => &mut success,
            w if w.eq_ignore_ascii_case("FAILURE") => &mut failure,
            w if w.eq_ignore_ascii_case("DELAY") => &mut delay,
            _ => return None,
        };
        *flag = true;
    }
    Some(Notify::On { success, failure, delay })
}

#[inline(always)]
fn original_recipient(text: &str) -> Option<OriginalRecipient<'_>> {
    let (address_type, address) = text.split_once(';')?;
    // `+20` at the head of the address would be a blank at the end of a [`Text`].
    let fits = !address_type.is_empty() && KEYWORD.is_all(address_type) && !address.is_empty();
    if fits && !address.starts_with("+20") { xtext_value(text).map(OriginalRecipient) } else { None }
}
