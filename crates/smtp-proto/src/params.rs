//! Parameters of MAIL and RCPT: those that we know as fields, all others as opaque pairs.

use std::fmt;

use crate::command::put;
use crate::parse::number;
use crate::text::{Keyword, Text, Value};
use crate::{SyntaxError, xtext};

/// The most unknown parameters that a command may have.
pub const OTHER_PARAMETERS_MAX: usize = 16;

/// A parameter that this crate does not know; RFC 5321 §4.1.1.11 answers it with 555.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Parameter<'a> {
    /// Its name, as written.
    pub name: Keyword<'a>,
    /// What follows `=`, if anything does.
    pub value: Option<Value<'a>>,
}

impl Parameter<'_> {
    fn into_owned(self) -> Parameter<'static> {
        Parameter { name: self.name.into_owned(), value: self.value.map(Value::into_owned) }
    }
}

/// How the body is encoded (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
    /// `BINARYMIME`: only by BDAT.
    BinaryMime,
}

/// What a failure notice shall hold (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// Who submitted the message (RFC 4954 §5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AuthSender<'a> {
    /// `<>`: not known, or not trusted.
    Unknown,
    /// An address, xtext decoded.
    Address(Text<'a>),
}

/// When notices are wanted (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notify {
    /// `NEVER`
    Never,
    /// Any of the three; at least one.
    On {
        /// `SUCCESS`
        success: bool,
        /// `FAILURE`
        failure: bool,
        /// `DELAY`
        delay: bool,
    },
}

/// The recipient that the sender originally named (RFC 3461 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OriginalRecipient<'a> {
    /// `rfc822` as a rule.
    pub address_type: Keyword<'a>,
    /// The address, xtext decoded.
    pub address: Text<'a>,
}

/// Parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParams<'a> {
    /// `SIZE=`: octets that the message will have (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=`
    pub body: Option<Body>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `AUTH=` (RFC 4954 §5).
    pub auth: Option<AuthSender<'a>>,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`, xtext decoded (RFC 3461 §4.4).
    pub envid: Option<Text<'a>>,
    /// `REQUIRETLS` (RFC 8689).
    pub requiretls: bool,
    /// `MT-PRIORITY=`, -9 to 9 (RFC 6710).
    pub mt_priority: Option<i8>,
    /// All others, at most [`OTHER_PARAMETERS_MAX`].
    pub other: Vec<Parameter<'a>>,
}

/// Parameters of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptParams<'a> {
    /// `NOTIFY=`
    pub notify: Option<Notify>,
    /// `ORCPT=`
    pub orcpt: Option<OriginalRecipient<'a>>,
    /// All others, at most [`OTHER_PARAMETERS_MAX`].
    pub other: Vec<Parameter<'a>>,
}

impl<'a> MailParams<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let mut params = Self::default();
        for (name, value) in words(text) {
            params.add(name, value)?;
        }
        Ok(params)
    }

    fn add(&mut self, name: &'a str, value: Option<&'a str>) -> Result<(), SyntaxError> {
        if name.eq_ignore_ascii_case("SIZE") {
            set(&mut self.size, value.and_then(number))
        } else if name.eq_ignore_ascii_case("BODY") {
            set(&mut self.body, value.and_then(body))
        } else if name.eq_ignore_ascii_case("SMTPUTF8") {
            set_flag(&mut self.smtputf8, value)
        } else if name.eq_ignore_ascii_case("AUTH") {
            set(&mut self.auth, value.and_then(auth_sender))
        } else if name.eq_ignore_ascii_case("RET") {
            set(&mut self.ret, value.and_then(ret))
        } else if name.eq_ignore_ascii_case("ENVID") {
            set(&mut self.envid, value.and_then(xtext_value))
        } else if name.eq_ignore_ascii_case("REQUIRETLS") {
            set_flag(&mut self.requiretls, value)
        } else if name.eq_ignore_ascii_case("MT-PRIORITY") {
            set(&mut self.mt_priority, value.and_then(priority))
        } else {
            add_other(&mut self.other, name, value)
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(size) = self.size {
            put(out, format_args!(" SIZE={size}"));
        }
        if let Some(body) = self.body {
            put(out, format_args!(" BODY={body}"));
        }
        if self.smtputf8 {
            out.extend(b" SMTPUTF8");
        }
        match &self.auth {
            None => {}
            Some(AuthSender::Unknown) => out.extend(b" AUTH=<>"),
            Some(AuthSender::Address(address)) => put_xtext(out, " AUTH=", address),
        }
        match self.ret {
            None => {}
            Some(Ret::Full) => out.extend(b" RET=FULL"),
            Some(Ret::Headers) => out.extend(b" RET=HDRS"),
        }
        if let Some(envid) = &self.envid {
            put_xtext(out, " ENVID=", envid);
        }
        if self.requiretls {
            out.extend(b" REQUIRETLS");
        }
        if let Some(priority) = self.mt_priority {
            put(out, format_args!(" MT-PRIORITY={priority}"));
        }
        put_other(out, &self.other);
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> MailParams<'static> {
        MailParams {
            size: self.size,
            body: self.body,
            smtputf8: self.smtputf8,
            auth: self.auth.map(|auth| match auth {
                AuthSender::Unknown => AuthSender::Unknown,
                AuthSender::Address(text) => AuthSender::Address(text.into_owned()),
            }),
            ret: self.ret,
            envid: self.envid.map(Text::into_owned),
            requiretls: self.requiretls,
            mt_priority: self.mt_priority,
            other: self.other.into_iter().map(Parameter::into_owned).collect(),
        }
    }
}

impl<'a> RcptParams<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let mut params = Self::default();
        for (name, value) in words(text) {
            if name.eq_ignore_ascii_case("NOTIFY") {
                set(&mut params.notify, value.and_then(notify))?;
            } else if name.eq_ignore_ascii_case("ORCPT") {
                set(&mut params.orcpt, value.and_then(original_recipient))?;
            } else {
                add_other(&mut params.other, name, value)?;
            }
        }
        Ok(params)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(notify) = self.notify {
            put(out, format_args!(" NOTIFY={notify}"));
        }
        if let Some(orcpt) = &self.orcpt {
            put(out, format_args!(" ORCPT={}", orcpt.address_type));
            put_xtext(out, ";", &orcpt.address);
        }
        put_other(out, &self.other);
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> RcptParams<'static> {
        RcptParams {
            notify: self.notify,
            orcpt: self.orcpt.map(|orcpt| OriginalRecipient {
                address_type: orcpt.address_type.into_owned(),
                address: orcpt.address.into_owned(),
            }),
            other: self.other.into_iter().map(Parameter::into_owned).collect(),
        }
    }
}

/// `NAME` and `NAME=value`, by blanks.
fn words(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split([' ', '\t']).filter(|word| !word.is_empty()).map(|word| match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    })
}

fn set<T>(field: &mut Option<T>, value: Option<T>) -> Result<(), SyntaxError> {
    let value = value.ok_or(SyntaxError::BadParameter)?;
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(SyntaxError::DuplicateParameter),
    }
}

fn set_flag(field: &mut bool, value: Option<&str>) -> Result<(), SyntaxError> {
    match (std::mem::replace(field, true), value) {
        (false, None) => Ok(()),
        (true, _) => Err(SyntaxError::DuplicateParameter),
        (_, Some(_)) => Err(SyntaxError::BadParameter),
    }
}

fn add_other<'a>(
    other: &mut Vec<Parameter<'a>>,
    name: &'a str,
    value: Option<&'a str>,
) -> Result<(), SyntaxError> {
    let name = Keyword::new(name).map_err(|_| SyntaxError::BadParameter)?;
    let value = value.map(Value::new).transpose().map_err(|_| SyntaxError::BadParameter)?;
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
    [("7BIT", Body::SevenBit), ("8BITMIME", Body::EightBitMime), ("BINARYMIME", Body::BinaryMime)]
        .into_iter()
        .find_map(|(name, body)| name.eq_ignore_ascii_case(text).then_some(body))
}

fn ret(text: &str) -> Option<Ret> {
    [("FULL", Ret::Full), ("HDRS", Ret::Headers)]
        .into_iter()
        .find_map(|(name, ret)| name.eq_ignore_ascii_case(text).then_some(ret))
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

fn put_xtext(out: &mut Vec<u8>, name: &str, text: &Text<'_>) {
    out.extend(name.as_bytes());
    xtext::encode(text.as_str(), out);
}

fn put_other(out: &mut Vec<u8>, other: &[Parameter<'_>]) {
    for Parameter { name, value } in other {
        match value {
            Some(value) => put(out, format_args!(" {name}={value}")),
            None => put(out, format_args!(" {name}")),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::SevenBit => "7BIT",
            Body::EightBitMime => "8BITMIME",
            Body::BinaryMime => "BINARYMIME",
        })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notify::On { success, failure, delay } = *self else { return f.write_str("NEVER") };
        let names = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let mut separator = "";
        for (_, name) in names.into_iter().filter(|(wanted, _)| *wanted) {
            write!(f, "{separator}{name}")?;
            separator = ",";
        }
        Ok(())
    }
}
