//! Parameters out of a line. The field is found by the length of the name and one comparison.

use super::{
    AuthSender, Body, DeliverBy, Hold, MailParams, Notify, OTHER_PARAMETERS_MAX, OriginalRecipient,
    Parameter, RcptParams, Ret,
};
use crate::class::{KEYWORD, VALUE, number};
use crate::text::{Keyword, Text, Value};
use crate::{SyntaxError, xtext};

/// A word of the line: `NAME` or `NAME=value`.
#[derive(Clone, Copy)]
struct Word<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

/// The next word, after any blanks; `None` at the end of the line.
#[inline]
fn next_word<'a>(rest: &mut &'a str) -> Option<Result<Word<'a>, SyntaxError>> {
    let text = rest.trim_start_matches([' ', '\t']);
    if text.is_empty() {
        return None;
    }
    let bytes = text.as_bytes();
    let name_end = KEYWORD.run(bytes, 0);
    let (value_begin, end) = match bytes.get(name_end) {
        Some(b'=') => (name_end + 1, VALUE.run(bytes, name_end + 1)),
        _ => (name_end, name_end),
    };
    let whole = matches!(bytes.get(end), None | Some(b' ' | b'\t'));
    let empty_value = value_begin > name_end && value_begin == end;
    if !whole || name_end == 0 || empty_value {
        return Some(Err(SyntaxError::BadParameter));
    }
    *rest = &text[end..];
    let value = (value_begin > name_end).then(|| &text[value_begin..end]);
    Some(Ok(Word { name: &text[..name_end], value }))
}

impl<'a> MailParams<'a> {
    #[inline]
    pub(crate) fn parse(&mut self, mut rest: &'a str) -> Result<(), SyntaxError> {
        while let Some(word) = next_word(&mut rest) {
            self.add(word?)?;
        }
        Ok(())
    }

    fn add(&mut self, word: Word<'a>) -> Result<(), SyntaxError> {
        let Word { name, value } = word;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("SIZE") => set(&mut self.size, value.and_then(number)),
            4 if is("BODY") => set(&mut self.body, value.and_then(body)),
            8 if is("SMTPUTF8") => set_flag(&mut self.smtputf8, value),
            4 if is("AUTH") => set(&mut self.auth, value.and_then(auth_sender)),
            3 if is("RET") => set(&mut self.ret, value.and_then(ret)),
            5 if is("ENVID") => set(&mut self.envid, value.and_then(xtext_value)),
            10 if is("REQUIRETLS") => set_flag(&mut self.requiretls, value),
            11 if is("MT-PRIORITY") => set(&mut self.mt_priority, value.and_then(priority)),
            2 if is("BY") => set(&mut self.by, value.and_then(DeliverBy::parse)),
            7 if is("HOLDFOR") => set(&mut self.hold, value.and_then(Hold::parse_for)),
            9 if is("HOLDUNTIL") => set(&mut self.hold, value.and_then(Hold::parse_until)),
            _ => add_other(&mut self.other, word),
        }
    }
}

impl<'a> RcptParams<'a> {
    #[inline]
    pub(crate) fn parse(&mut self, mut rest: &'a str) -> Result<(), SyntaxError> {
        while let Some(word) = next_word(&mut rest) {
            let word = word?;
            match word.name.len() {
                6 if word.name.eq_ignore_ascii_case("NOTIFY") => {
                    set(&mut self.notify, word.value.and_then(notify))?;
                }
                5 if word.name.eq_ignore_ascii_case("ORCPT") => {
                    set(&mut self.orcpt, word.value.and_then(original_recipient))?;
                }
                _ => add_other(&mut self.other, word)?,
            }
        }
        Ok(())
    }
}

#[inline]
fn set<T>(field: &mut Option<T>, value: Option<T>) -> Result<(), SyntaxError> {
    if field.is_some() {
        return Err(SyntaxError::DuplicateParameter);
    }
    *field = Some(value.ok_or(SyntaxError::BadParameter)?);
    Ok(())
}

fn set_flag(field: &mut bool, value: Option<&str>) -> Result<(), SyntaxError> {
    match (std::mem::replace(field, true), value) {
        (false, None) => Ok(()),
        (true, _) => Err(SyntaxError::DuplicateParameter),
        (_, Some(_)) => Err(SyntaxError::BadParameter),
    }
}

#[cold]
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

fn xtext_value(text: &str) -> Option<Text<'_>> {
    xtext::decode(text).and_then(|text| Text::new(text).ok())
}

fn auth_sender(text: &str) -> Option<AuthSender<'_>> {
    if text == "<>" { Some(AuthSender::Unknown) } else { xtext_value(text).map(AuthSender::Address) }
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

fn original_recipient(text: &str) -> Option<OriginalRecipient<'_>> {
    let (address_type, address) = text.split_once(';')?;
    Some(OriginalRecipient { address_type: Keyword::new(address_type).ok()?, address: xtext_value(address)? })
}
