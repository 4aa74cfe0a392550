//! Parameters of MAIL and RCPT: those that we know as fields, all others as opaque pairs.

use crate::text::{Keyword, Text, Value};

mod encode;
mod parse;
mod release;

pub use release::{ByMode, DeliverBy, Hold, InvalidTime, UtcTime};

/// The most unknown parameters that a command may have.
pub const OTHER_PARAMETERS_MAX: usize = 16;

/// A parameter that this crate does not know; RFC 5321 §4.1.1.11 answers it with 555.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
    /// `BINARYMIME`: only by BDAT, see [`crate::Receiver::expect_binary`].
    BinaryMime,
}

/// What a failure notice shall hold (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// Who submitted the message (RFC 4954 §5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum AuthSender<'a> {
    /// `<>`: not known, or not trusted.
    Unknown,
    /// An address, xtext decoded.
    Address(Text<'a>),
}

/// When notices are wanted (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OriginalRecipient<'a>(Text<'a>);

impl<'a> OriginalRecipient<'a> {
    /// The address as it is, not in xtext.
    pub fn new(address_type: &Keyword<'_>, address: &Text<'_>) -> Self {
        Self(Text::trusted(format!("{address_type};{address}").into()))
    }

    /// `type;address` is known to fit.
    #[inline(always)]
    pub(crate) fn trusted(text: &'a str) -> Self {
        Self(Text::trusted(text.into()))
    }

    /// `rfc822` as a rule; `utf-8` for what RFC 6533 §3 encodes.
    pub fn address_type(&self) -> &str {
        self.0.as_str().split_once(';').map_or("", |(address_type, _)| address_type)
    }

    /// The address, xtext decoded.
    pub fn address(&self) -> &str {
        self.0.as_str().split_once(';').map_or("", |(_, address)| address)
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> OriginalRecipient<'static> {
        OriginalRecipient(self.0.into_owned())
    }
}

/// Parameters of MAIL. What is rare stands in [`MoreMailParams`], so that commands are small.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
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
    /// The rare ones, if any was given.
    pub more: Option<Box<MoreMailParams<'a>>>,
}

/// The rarer parameters of MAIL, and unknown ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct MoreMailParams<'a> {
    /// `BY=` (RFC 2852).
    pub by: Option<DeliverBy>,
    /// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865); never both.
    pub hold: Option<Hold>,
    /// All others, at most [`OTHER_PARAMETERS_MAX`].
    pub other: Vec<Parameter<'a>>,
}

/// Parameters of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct RcptParams<'a> {
    /// `NOTIFY=`
    pub notify: Option<Notify>,
    /// `ORCPT=`
    pub orcpt: Option<OriginalRecipient<'a>>,
    /// All others, at most [`OTHER_PARAMETERS_MAX`].
    pub other: Vec<Parameter<'a>>,
}

impl<'a> MailParams<'a> {
    /// `BY=` (RFC 2852).
    pub fn by(&self) -> Option<DeliverBy> {
        self.more.as_ref().and_then(|more| more.by)
    }

    /// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865).
    pub fn hold(&self) -> Option<Hold> {
        self.more.as_ref().and_then(|more| more.hold)
    }

    /// The parameters that this crate does not know.
    pub fn other(&self) -> &[Parameter<'a>] {
        self.more.as_ref().map_or(&[], |more| &more.other)
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
            more: self.more.map(|more| Box::new(more.into_owned())),
        }
    }
}

impl MoreMailParams<'_> {
    fn into_owned(self) -> MoreMailParams<'static> {
        let Self { by, hold, other } = self;
        MoreMailParams { by, hold, other: other.into_iter().map(Parameter::into_owned).collect() }
    }
}

impl RcptParams<'_> {
    /// The same, owning its text.
    pub fn into_owned(self) -> RcptParams<'static> {
        RcptParams {
            notify: self.notify,
            orcpt: self.orcpt.map(OriginalRecipient::into_owned),
            other: self.other.into_iter().map(Parameter::into_owned).collect(),
        }
    }
}
