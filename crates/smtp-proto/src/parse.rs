//! One complete line → one [`Command`]: dispatch on the verb's four octets, then hand loops.

use crate::address::{ForwardPath, Mailbox, ReversePath, forward_path, plain_path, reverse_path};
use crate::attributes::attributes;
use crate::class::number;
use crate::cursor::Cursor;
use crate::params::{MailParams, RcptParams};
use crate::text::{ClientName, Keyword, Secret, Text};
use crate::{Command, SyntaxError};

/// What becomes of a parsed line.
pub(crate) type Parsed<'a> = Result<Command<'a>, SyntaxError>;

/// What is done with the outcome. A trait and no closure, since a closure can't be made to be inlined.
pub(crate) trait Then<'a> {
    type Output;

    fn then(self, parsed: Parsed<'a>) -> Self::Output;
}

/// Hands the outcome up as it is.
pub(crate) struct Return;

impl<'a> Then<'a> for Return {
    type Output = Parsed<'a>;

    #[inline(always)]
    fn then(self, parsed: Parsed<'a>) -> Parsed<'a> {
        parsed
    }
}

/// The line, for a second look at it, and what is done at the end.
struct Done<'a, N> {
    text: &'a str,
    wide: bool,
    next: N,
}

impl<'a, N: Then<'a>> Done<'a, N> {
    #[inline(always)]
    fn with(self, parsed: Parsed<'a>) -> N::Output {
        match parsed {
            Ok(command) => self.ok(command),
            Err(error) => self.failed(error),
        }
    }

    #[inline(always)]
    fn ok(self, command: Command<'a>) -> N::Output {
        self.next.then(Ok(command))
    }

    #[inline(always)]
    fn failed(self, error: SyntaxError) -> N::Output {
        self.next.then(if self.wide { Err(error) } else { again(self.text, error) })
    }
}

/// Parses one line without its CRLF, and hands the outcome to `next`.
///
/// What is common is parsed by functions that end in `next`, are all inlined, and so build the command in the place where it
/// stays: to hand commands up as return values copied each one several times over, which took longer than to parse it.
///
/// The line is read as ASCII first, which it nearly always is. Where that fails, the reason may be characters of other
/// scripts, which stand in addresses, parameters and free text only (RFC 6531 §3.3).
#[inline(always)]
pub(crate) fn command<'a, N: Then<'a>>(line: &'a [u8], next: N) -> N::Output {
    match std::str::from_utf8(line) {
        Ok(text) => parse(text, Done { text, wide: false, next }),
        Err(_) => next.then(Err(SyntaxError::NotUtf8)),
    }
}

#[cold]
#[inline(never)]
fn again(text: &str, error: SyntaxError) -> Parsed<'_> {
    // A control character is the better reason, whatever it made of the grammar.
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(SyntaxError::ControlCharacter);
    }
    if text.is_ascii() {
        return Err(error);
    }
    let command = parse(text, Done { text, wide: true, next: Return })?;
    match &command {
        Command::Mail { from: ReversePath::Mailbox(from), params }
            if !from.is_ascii() && !params.smtputf8 =>
        {
            Err(SyntaxError::NeedsSmtpUtf8)
        }
        _ => Ok(command),
    }
}

const fn verb(letters: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*letters)
}

const RCPT: u32 = verb(b"RCPT");
const MAIL: u32 = verb(b"MAIL");
const DATA: u32 = verb(b"DATA");
const QUIT: u32 = verb(b"QUIT");
const RSET: u32 = verb(b"RSET");
const EHLO: u32 = verb(b"EHLO");

#[inline(always)]
fn parse<'a, N: Then<'a>>(line: &'a str, done: Done<'a, N>) -> N::Output {
    let line = trim_end(line);
    let Some(letters) = line.as_bytes().first_chunk::<4>() else {
        return done.failed(SyntaxError::UnknownCommand);
    };
    let rest = match line.as_bytes().get(4) {
        None => "",
        Some(b' ' | b'\t') => &line[5..],
        Some(_) => return done.with(long_verb(line)),
    };
    match verb(letters) & verb(&[!0x20; 4]) {
        RCPT => rcpt(Cursor::new(rest, done.wide), done),
        MAIL => mail(Cursor::new(rest, done.wide), done),
        DATA if rest.is_empty() => done.ok(Command::Data),
        QUIT if rest.is_empty() => done.ok(Command::Quit),
        RSET if rest.is_empty() => done.ok(Command::Rset),
        EHLO => match client_name(rest) {
            Ok(name) => done.ok(Command::Ehlo(name)),
            Err(error) => done.failed(error),
        },
        _ => done.with(other_verb(*letters, rest)),
    }
}

#[inline(never)]
fn other_verb(mut verb: [u8; 4], rest: &str) -> Parsed<'_> {
    verb.make_ascii_uppercase();
    match &verb {
        b"DATA" | b"QUIT" | b"RSET" => Err(SyntaxError::UnexpectedArgument),
        b"AUTH" => auth(rest),
        b"BDAT" => bdat(rest),
        b"NOOP" => optional(rest).map(Command::Noop),
        b"HELO" => client_name(rest).map(Command::Helo),
        b"LHLO" => client_name(rest).map(Command::Lhlo),
        b"HELP" => optional(rest).map(Command::Help),
        b"VRFY" => required(rest).map(Command::Vrfy),
        b"EXPN" => required(rest).map(Command::Expn),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

#[inline]
fn trim_end(line: &str) -> &str {
    match line.as_bytes().last() {
        Some(b' ' | b'\t') => line.trim_end_matches([' ', '\t']),
        _ => line,
    }
}

/// The verbs of more than four letters.
#[inline(never)]
fn long_verb(line: &str) -> Parsed<'_> {
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    match verb {
        v if v.eq_ignore_ascii_case("STARTTLS") && rest.is_empty() => Ok(Command::StartTls),
        v if v.eq_ignore_ascii_case("STARTTLS") => Err(SyntaxError::UnexpectedArgument),
        v if v.eq_ignore_ascii_case("XCLIENT") => attributes(rest).map(Command::XClient),
        v if v.eq_ignore_ascii_case("XFORWARD") => attributes(rest).map(Command::XForward),
        _ => Err(SyntaxError::UnknownCommand),
    }
}

#[inline]
fn client_name(rest: &str) -> Result<ClientName<'_>, SyntaxError> {
    match rest.trim_start_matches(' ') {
        "" => Err(SyntaxError::MissingArgument),
        name => ClientName::new(name).map_err(|_| SyntaxError::BadClientName),
    }
}

fn optional(rest: &str) -> Result<Option<Text<'_>>, SyntaxError> {
    match rest.trim_matches([' ', '\t']) {
        "" => Ok(None),
        text => Text::new(text).map(Some).map_err(|_| SyntaxError::ControlCharacter),
    }
}

fn required(rest: &str) -> Result<Text<'_>, SyntaxError> {
    optional(rest)?.ok_or(SyntaxError::MissingArgument)
}

/// `FROM:` or `TO:` in any case; blanks around it are wrong but common.
#[inline(always)]
fn keyword(i: &mut Cursor<'_>, keyword: &str) -> bool {
    i.eat_blanks();
    let here = i.eat_word(keyword);
    i.eat_blanks();
    here
}

#[inline(always)]
fn mail<'a, N: Then<'a>>(mut i: Cursor<'a>, done: Done<'a, N>) -> N::Output {
    if !keyword(&mut i, "FROM:") {
        return done.failed(SyntaxError::MissingArgument);
    }
    let Some((local, domain)) = plain_path(&mut i) else { return done.with(other_mail(i)) };
    let from = ReversePath::Mailbox(Mailbox::plain(local, domain));
    if i.is_at_end() {
        return done.ok(Command::Mail { from, params: MailParams::default() });
    }
    if i.peek() != Some(b' ') {
        return done.failed(SyntaxError::BadSender);
    }
    match MailParams::parse(i) {
        Ok(params) => done.ok(Command::Mail { from, params }),
        Err(error) => done.failed(error),
    }
}

/// MAIL with a path that is not plain.
#[inline(never)]
fn other_mail(mut i: Cursor<'_>) -> Parsed<'_> {
    let from = reverse_path(&mut i).map_err(|_| SyntaxError::BadSender)?;
    match i.peek() {
        None | Some(b' ') => Ok(Command::Mail { from, params: MailParams::parse(i)? }),
        _ => Err(SyntaxError::BadSender),
    }
}

#[inline(always)]
fn rcpt<'a, N: Then<'a>>(mut i: Cursor<'a>, done: Done<'a, N>) -> N::Output {
    if !keyword(&mut i, "TO:") {
        return done.failed(SyntaxError::MissingArgument);
    }
    let Some((local, domain)) = plain_path(&mut i) else { return done.with(other_rcpt(i)) };
    let to = ForwardPath::Mailbox(Mailbox::plain(local, domain));
    if i.is_at_end() {
        return done.ok(Command::Rcpt { to, params: RcptParams::default() });
    }
    if i.peek() != Some(b' ') {
        return done.failed(SyntaxError::BadRecipient);
    }
    match RcptParams::parse(i) {
        Ok(params) => done.ok(Command::Rcpt { to, params }),
        Err(error) => done.failed(error),
    }
}

/// RCPT with a path that is not plain.
#[inline(never)]
fn other_rcpt(mut i: Cursor<'_>) -> Parsed<'_> {
    let to = forward_path(&mut i).map_err(|_| SyntaxError::BadRecipient)?;
    match i.peek() {
        None | Some(b' ') => Ok(Command::Rcpt { to, params: RcptParams::parse(i)? }),
        _ => Err(SyntaxError::BadRecipient),
    }
}

fn bdat(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let mut words = rest.split(' ').filter(|w| !w.is_empty());
    let size = words.next().and_then(number).ok_or(SyntaxError::BadChunkSize)?;
    match (words.next(), words.next()) {
        (None, _) => Ok(Command::Bdat { size, last: false }),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Ok(Command::Bdat { size, last: true }),
        _ => Err(SyntaxError::BadChunkSize),
    }
}

fn auth(rest: &str) -> Result<Command<'_>, SyntaxError> {
    let (mechanism, initial) = match rest.split_once(' ') {
        Some((mechanism, initial)) => (mechanism, Some(initial)),
        None if rest.is_empty() => return Err(SyntaxError::MissingArgument),
        None => (rest, None),
    };
    let mechanism = Keyword::new(mechanism).map_err(|_| SyntaxError::BadAuth)?;
    let initial = match initial {
        None => None,
        Some("=") => Secret::new(""),
        Some("") => return Err(SyntaxError::BadAuth),
        Some(text) => Some(Secret::new(text).ok_or(SyntaxError::BadAuth)?),
    };
    Ok(Command::Auth { mechanism, initial })
}
