//! ENVELOPE (RFC 3501 section 7.4.2).

use std::borrow::Cow;
use std::fmt;

use crate::Quirks;
use crate::lex::{Ctx, In, Res, byte, expected, map, nil, nstring, peek, sp};
use crate::list::{Element, list};
use crate::own::into_owned;
use crate::write::Writer;

type Text<'a> = Option<Cow<'a, [u8]>>;

/// A message's header as FETCH ENVELOPE tells it. The octets are those of the header: encoded words are not decoded.
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(missing_docs)] // The header fields' names.
pub struct Envelope<'a> {
    pub date: Text<'a>,
    pub subject: Text<'a>,
    pub from: Addresses<'a>,
    pub sender: Addresses<'a>,
    pub reply_to: Addresses<'a>,
    pub to: Addresses<'a>,
    pub cc: Addresses<'a>,
    pub bcc: Addresses<'a>,
    pub in_reply_to: Text<'a>,
    pub message_id: Text<'a>,
}

/// One address. A group starts with an address that has a mailbox (the group's name) and no host, and ends with one that
/// has neither.
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Address<'a> {
    /// The display name.
    pub name: Text<'a>,
    /// The source route, long obsolete.
    pub route: Text<'a>,
    /// What stands before the `@`.
    pub mailbox: Text<'a>,
    /// What stands behind it.
    pub host: Text<'a>,
}

list! {
    /// Addresses of an envelope; none is NIL.
    Addresses<'w> of Address<'w>
}

/// An envelope as it stands on the wire, checked.
#[derive(Clone)]
pub struct RawEnvelope<'a>(Cow<'a, [u8]>);

into_owned!(tuple RawEnvelope);
into_owned!(struct Address { name, route, mailbox, host });
into_owned!(struct Envelope { date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id });

impl<'a> RawEnvelope<'a> {
    /// Its fields.
    pub fn parse(&self) -> Envelope<'_> {
        // It was parsed before.
        envelope(&self.0, Ctx::CHECKED).map(|(_, e)| e).unwrap_or_default()
    }

    pub(super) fn check(i: In<'a>, ctx: Ctx) -> Res<'a, Self> {
        let (rest, _) = envelope(i, ctx)?;
        Ok((rest, Self(Cow::Borrowed(&i[..i.len() - rest.len()]))))
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        self.parse().write(w);
    }
}

impl From<&Envelope<'_>> for RawEnvelope<'static> {
    fn from(envelope: &Envelope<'_>) -> Self {
        let mut out = Vec::new();
        envelope.write(&mut Writer::checked(&mut out));
        Self(Cow::Owned(out))
    }
}

impl PartialEq for RawEnvelope<'_> {
    fn eq(&self, other: &RawEnvelope<'_>) -> bool {
        self.0 == other.0 || self.parse() == other.parse()
    }
}

impl Eq for RawEnvelope<'_> {}

impl fmt::Debug for RawEnvelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parse().fmt(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for RawEnvelope<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.parse().serialize(to)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for RawEnvelope<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Envelope::deserialize(from).map(|e| RawEnvelope::from(&e))
    }
}

/// Octets as text, for `Debug`.
pub(crate) struct Shown<'s>(pub(crate) &'s [u8]);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.0))
    }
}

fn shown<'s>(text: &'s Text<'_>) -> Option<Shown<'s>> {
    text.as_deref().map(Shown)
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("date", &shown(&self.date))
            .field("subject", &shown(&self.subject))
            .field("from", &self.from)
            .field("sender", &self.sender)
            .field("reply_to", &self.reply_to)
            .field("to", &self.to)
            .field("cc", &self.cc)
            .field("bcc", &self.bcc)
            .field("in_reply_to", &shown(&self.in_reply_to))
            .field("message_id", &shown(&self.message_id))
            .finish()
    }
}

impl fmt::Debug for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, route) = (shown(&self.name), shown(&self.route));
        let (mailbox, host) = (shown(&self.mailbox), shown(&self.host));
        write!(f, "Address(name: {name:?}, route: {route:?}, mailbox: {mailbox:?}, host: {host:?})")
    }
}

impl Envelope<'_> {
    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.raw("(");
        w.nstring(self.date.as_deref());
        w.raw(" ");
        w.nstring(self.subject.as_deref());
        for list in [&self.from, &self.sender, &self.reply_to, &self.to, &self.cc, &self.bcc] {
            w.raw(" ");
            if list.is_empty() {
                w.raw("NIL");
            } else {
                list.write_paren(w);
            }
        }
        w.raw(" ");
        w.nstring(self.in_reply_to.as_deref());
        w.raw(" ");
        w.nstring(self.message_id.as_deref());
        w.raw(")");
    }
}

impl<'w> Element<'w> for Address<'w> {
    const SPACED: bool = false;

    #[inline]
    fn parse(i: In<'w>, ctx: Ctx) -> Res<'w, Self> {
        let (i, ()) = byte(i, b'(', "an address")?;
        let (i, name) = then_sp(nstring(i, ctx))?;
        let (i, route) = then_sp(nstring(i, ctx))?;
        let (i, mailbox) = then_sp(nstring(i, ctx))?;
        let (i, host) = nstring(i, ctx)?;
        map(byte(i, b')', ")"), |()| Address { name, route, mailbox, host })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.list([&self.name, &self.route, &self.mailbox, &self.host], |w, part| w.nstring(part.as_deref()));
    }
}

#[inline]
fn envelope(i: In<'_>, ctx: Ctx) -> Res<'_, Envelope<'_>> {
    let (i, ()) = byte(i, b'(', "an envelope")?;
    let (i, date) = then_sp(nstring(i, ctx))?;
    let (i, subject) = then_sp(nstring(i, ctx))?;
    let (i, from) = then_sp(addresses(i, ctx))?;
    let (i, sender) = then_sp(addresses(i, ctx))?;
    let (i, reply_to) = then_sp(addresses(i, ctx))?;
    let (i, to) = then_sp(addresses(i, ctx))?;
    let (i, cc) = then_sp(addresses(i, ctx))?;
    let (i, bcc) = then_sp(addresses(i, ctx))?;
    let (i, in_reply_to) = then_sp(nstring(i, ctx))?;
    let (i, message_id) = nstring(i, ctx)?;
    let (i, ()) = byte(i, b')', ")")?;
    Ok((i, Envelope { date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id }))
}

#[inline]
fn then_sp<'a, T>(parsed: Res<'a, T>) -> Res<'a, T> {
    let (i, value) = parsed?;
    let (i, ()) = sp(i)?;
    Ok((i, value))
}

/// NIL or addresses, nothing between them. By quirk `()`, and a space between them.
fn addresses(i: In<'_>, ctx: Ctx) -> Res<'_, Addresses<'_>> {
    if peek(i) == Some(b'(') {
        return Addresses::parse_paren(i, ctx, usize::from(!ctx.allows(Quirks::EMPTY_ADDRESS_LIST)));
    }
    match nil(i) {
        Some(rest) => Ok((rest, Addresses::default())),
        None => expected(i, "addresses or NIL"),
    }
}
