//! The commands that nearly all of a session is, parsed where they lie in the input: line end, characters and grammar
//! in one pass. What is not plain is left to [`crate::parse`], which knows the whole grammar and all reasons; what this
//! parses, that parses alike (every law of splits holds the two against each other).

use std::borrow::Cow;

use crate::address::{ForwardPath, Mailbox, ReversePath};
use crate::class::KEYWORD;
use crate::fast::Ascii;
use crate::params::{Body, MailParams, Notify, OriginalRecipient, RcptParams, Ret};
use crate::text::{ClientName, Keyword, Secret, Text};
use crate::{Command, Event};

const fn verb(letters: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*letters)
}

const RCPT: u32 = verb(b"RCPT");
const MAIL: u32 = verb(b"MAIL");
const DATA: u32 = verb(b"DATA");
const QUIT: u32 = verb(b"QUIT");
const RSET: u32 = verb(b"RSET");
const EHLO: u32 = verb(b"EHLO");
const STARTTLS: u32 = verb(b"STAR");
const AUTH: u32 = verb(b"AUTH");

/// The command at the head of `input`, taken from there; or, where none that is common stands whole in the first `limit`
/// octets, what `otherwise` makes of it.
///
/// Each function returns an event that it built itself or that another one returned, as it is: so the event is built in the
/// place where it stays. To wrap or to look at what another one returned copies it, which takes longer than to parse it.
#[inline(always)]
pub(crate) fn command<'s, 'i: 's>(
    input: &mut &'i [u8],
    limit: usize,
    otherwise: impl FnOnce(&mut &'i [u8]) -> Option<Event<'s>>,
) -> Option<Event<'s>> {
    let mut i = Ascii::new(&input[..input.len().min(limit)]);
    let Some(letters) = i.take() else { return otherwise(input) };
    // Clearing this bit makes letters upper case, and no letter of what is none.
    match u32::from_le_bytes(letters) & verb(&[!0x20; 4]) {
        RCPT => rcpt(i, input, otherwise),
        MAIL => mail(i, input, otherwise),
        EHLO => ehlo(i, input, otherwise),
        AUTH => auth(i, input, otherwise),
        DATA if i.end(input) => Some(Event::Command(Command::Data)),
        QUIT if i.end(input) => Some(Event::Command(Command::Quit)),
        RSET if i.end(input) => Some(Event::Command(Command::Rset)),
        STARTTLS if i.eat_word(b"TTLS") && i.end(input) => Some(Event::Command(Command::StartTls)),
        _ => otherwise(input),
    }
}

#[inline(never)]
fn ehlo<'s, 'i: 's>(
    mut i: Ascii<'i>,
    input: &mut &'i [u8],
    otherwise: impl FnOnce(&mut &'i [u8]) -> Option<Event<'s>>,
) -> Option<Event<'s>> {
    let name = if i.eat(b' ') { i.graphic() } else { "" };
    if name.is_empty() || !i.end(input) {
        return otherwise(input);
    }
    Some(Event::Command(Command::Ehlo(ClientName::trusted(Cow::Borrowed(name)))))
}

#[inline(never)]
fn auth<'s, 'i: 's>(
    mut i: Ascii<'i>,
    input: &mut &'i [u8],
    otherwise: impl FnOnce(&mut &'i [u8]) -> Option<Event<'s>>,
) -> Option<Event<'s>> {
    let mechanism = if i.eat(b' ') { i.word_of(KEYWORD) } else { "" };
    let initial = if i.eat(b' ') { Some(i.base64()) } else { None };
    if mechanism.is_empty() || initial == Some("") || !i.end(input) {
        return otherwise(input);
    }
    let initial = initial.map(|text| Secret::trusted(if text == "=" { "" } else { text }));
    Some(Event::Command(Command::Auth { mechanism: Keyword::trusted(Cow::Borrowed(mechanism)), initial }))
}

#[inline(never)]
fn mail<'s, 'i: 's>(
    mut i: Ascii<'i>,
    input: &mut &'i [u8],
    otherwise: impl FnOnce(&mut &'i [u8]) -> Option<Event<'s>>,
) -> Option<Event<'s>> {
    if !i.eat_word(b" FROM:<") {
        return otherwise(input);
    }
    let path = i.path();
    if path.is_none() && !i.eat(b'>') {
        return otherwise(input);
    }
    match (PlainMail::parse(&mut i), path) {
        (Some(plain), Some((local, domain))) if i.end(input) => Some(Event::Command(Command::Mail {
            from: ReversePath::Mailbox(Mailbox::plain(local, domain)),
            params: plain.into(),
        })),
        (Some(plain), None) if i.end(input) => {
            Some(Event::Command(Command::Mail { from: ReversePath::Null, params: plain.into() }))
        }
        _ => otherwise(input),
    }
}

#[inline(never)]
fn rcpt<'s, 'i: 's>(
    mut i: Ascii<'i>,
    input: &mut &'i [u8],
    otherwise: impl FnOnce(&mut &'i [u8]) -> Option<Event<'s>>,
) -> Option<Event<'s>> {
    let path = if i.eat_word(b" TO:<") { i.path() } else { None };
    match (path, PlainRcpt::parse(&mut i)) {
        (Some((local, domain)), Some(plain)) if i.end(input) => Some(Event::Command(Command::Rcpt {
            to: ForwardPath::Mailbox(Mailbox::plain(local, domain)),
            params: plain.into(),
        })),
        _ => otherwise(input),
    }
}

/// The common parameters of MAIL. `Copy`, so that it lives in registers, unlike [`MailParams`].
#[derive(Clone, Copy, Default)]
struct PlainMail<'a> {
    size: Option<u64>,
    body: Option<Body>,
    smtputf8: bool,
    ret: Option<Ret>,
    envid: Option<&'a str>,
}

impl<'a> PlainMail<'a> {
    /// Each at most once, or it is not common.
    #[inline(always)]
    fn parse(i: &mut Ascii<'a>) -> Option<Self> {
        let mut plain = Self::default();
        while i.eat(b' ') {
            if i.eat_word(b"SIZE=") {
                set(&mut plain.size, i.number()?)?;
            } else if i.eat_word(b"BODY=8BITMIME") {
                set(&mut plain.body, Body::EightBitMime)?;
            } else if i.eat_word(b"SMTPUTF8") && !plain.smtputf8 {
                plain.smtputf8 = true;
            } else if i.eat_word(b"BODY=7BIT") {
                set(&mut plain.body, Body::SevenBit)?;
            } else if i.eat_word(b"RET=HDRS") {
                set(&mut plain.ret, Ret::Headers)?;
            } else if i.eat_word(b"RET=FULL") {
                set(&mut plain.ret, Ret::Full)?;
            } else if i.eat_word(b"ENVID=") {
                set(&mut plain.envid, i.plain_xtext()?)?;
            } else {
                return None;
            }
        }
        Some(plain)
    }
}

impl<'a> From<PlainMail<'a>> for MailParams<'a> {
    #[inline(always)]
    fn from(plain: PlainMail<'a>) -> Self {
        let PlainMail { size, body, smtputf8, ret, envid } = plain;
        let envid = envid.map(|text| Text::trusted(Cow::Borrowed(text)));
        Self {
            size,
            body,
            smtputf8,
            ret,
            envid,
            auth: None,
            requiretls: false,
            mt_priority: None,
            more: None,
        }
    }
}

/// The common parameters of RCPT.
#[derive(Clone, Copy, Default)]
struct PlainRcpt<'a> {
    notify: Option<Notify>,
    orcpt: Option<&'a str>,
}

impl<'a> PlainRcpt<'a> {
    /// Each at most once, or it is not common.
    #[inline(always)]
    fn parse(i: &mut Ascii<'a>) -> Option<Self> {
        let mut plain = Self::default();
        while i.eat(b' ') {
            if i.eat_word(b"NOTIFY=") {
                set(&mut plain.notify, notify(i)?)?;
            } else if i.eat_word(b"ORCPT=") {
                set(&mut plain.orcpt, rfc822(i.plain_xtext()?)?)?;
            } else {
                return None;
            }
        }
        Some(plain)
    }
}

impl<'a> From<PlainRcpt<'a>> for RcptParams<'a> {
    #[inline(always)]
    fn from(plain: PlainRcpt<'a>) -> Self {
        let PlainRcpt { notify, orcpt } = plain;
        Self { notify, orcpt: orcpt.map(OriginalRecipient::trusted), other: Vec::new() }
    }
}

#[inline(always)]
fn set<T: Copy>(field: &mut Option<T>, value: T) -> Option<()> {
    let is_first = field.is_none();
    *field = Some(value);
    is_first.then_some(())
}

/// `rfc822;` and an address.
#[inline(always)]
fn rfc822(orcpt: &str) -> Option<&str> {
    match orcpt.as_bytes().split_first_chunk() {
        Some((b"rfc822;" | b"RFC822;", [_, ..])) => Some(orcpt),
        _ => None,
    }
}

#[inline(always)]
fn notify(i: &mut Ascii<'_>) -> Option<Notify> {
    if i.eat_word(b"NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    loop {
        if i.eat_word(b"SUCCESS") {
            success = true;
        } else if i.eat_word(b"FAILURE") {
            failure = true;
        } else if i.eat_word(b"DELAY") {
            delay = true;
        } else {
            return None;
        }
        if !i.eat(b',') {
            return Some(Notify::On { success, failure, delay });
        }
    }
}
