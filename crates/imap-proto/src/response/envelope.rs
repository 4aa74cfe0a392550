use std::borrow::Cow;

use crate::lex::{Ctx, In, Res, byte, nil, nstring, peek, sp};
use crate::text::owned_bytes;
use crate::write::Writer;

type Text<'a> = Option<Cow<'a, [u8]>>;

/// A message's header as FETCH ENVELOPE tells it (RFC 3501 section 7.4.2). The octets are those of the header: encoded words are not
/// decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // The header fields' names.
pub struct Envelope<'a> {
    pub date: Text<'a>,
    pub subject: Text<'a>,
    pub from: Vec<Address<'a>>,
    pub sender: Vec<Address<'a>>,
    pub reply_to: Vec<Address<'a>>,
    pub to: Vec<Address<'a>>,
    pub cc: Vec<Address<'a>>,
    pub bcc: Vec<Address<'a>>,
    pub in_reply_to: Text<'a>,
    pub message_id: Text<'a>,
}

/// One address. A group starts with an address that has a mailbox (the group's name) and no host, and ends with one that
/// has neither.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

impl Envelope<'_> {
    /// The same envelope, independent of the input buffer.
    pub fn into_owned(self) -> Envelope<'static> {
        let all = |a: Vec<Address<'_>>| a.into_iter().map(Address::into_owned).collect();
        Envelope {
            date: self.date.map(owned_bytes),
            subject: self.subject.map(owned_bytes),
            from: all(self.from),
            sender: all(self.sender),
            reply_to: all(self.reply_to),
            to: all(self.to),
            cc: all(self.cc),
            bcc: all(self.bcc),
            in_reply_to: self.in_reply_to.map(owned_bytes),
            message_id: self.message_id.map(owned_bytes),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.raw("(");
        w.nstring(self.date.as_deref());
        w.raw(" ");
        w.nstring(self.subject.as_deref());
        for list in [&self.from, &self.sender, &self.reply_to, &self.to, &self.cc, &self.bcc] {
            w.raw(" ");
            write_addresses(w, list);
        }
        w.raw(" ");
        w.nstring(self.in_reply_to.as_deref());
        w.raw(" ");
        w.nstring(self.message_id.as_deref());
        w.raw(")");
    }
}

impl Address<'_> {
    /// The same address, independent of the input buffer.
    pub fn into_owned(self) -> Address<'static> {
        Address {
            name: self.name.map(owned_bytes),
            route: self.route.map(owned_bytes),
            mailbox: self.mailbox.map(owned_bytes),
            host: self.host.map(owned_bytes),
        }
    }
}

fn write_addresses(w: &mut Writer<'_>, list: &[Address<'_>]) {
    if list.is_empty() {
        return w.raw("NIL");
    }
    w.raw("(");
    for a in list {
        w.list([&a.name, &a.route, &a.mailbox, &a.host], |w, part| w.nstring(part.as_deref()));
    }
    w.raw(")");
}

pub(super) fn envelope(i: In<'_>, ctx: Ctx) -> Res<'_, Envelope<'_>> {
    let (i, ()) = byte(i, b'(', "an envelope")?;
    let (i, date) = then_sp(nstring(i))?;
    let (i, subject) = then_sp(nstring(i))?;
    let (i, from) = then_sp(addresses(i, ctx))?;
    let (i, sender) = then_sp(addresses(i, ctx))?;
    let (i, reply_to) = then_sp(addresses(i, ctx))?;
    let (i, to) = then_sp(addresses(i, ctx))?;
    let (i, cc) = then_sp(addresses(i, ctx))?;
    let (i, bcc) = then_sp(addresses(i, ctx))?;
    let (i, in_reply_to) = then_sp(nstring(i))?;
    let (i, message_id) = nstring(i)?;
    let (i, ()) = byte(i, b')', ")")?;
    Ok((i, Envelope { date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id }))
}

fn then_sp<'a, T>(parsed: Res<'a, T>) -> Res<'a, T> {
    let (i, value) = parsed?;
    let (i, ()) = sp(i)?;
    Ok((i, value))
}

/// NIL, `()` as some servers write it, or addresses with nothing or a space between them.
fn addresses(i: In<'_>, ctx: Ctx) -> Res<'_, Vec<Address<'_>>> {
    if let Some(rest) = nil(i) {
        return Ok((rest, Vec::new()));
    }
    let (mut i, ()) = byte(i, b'(', "addresses")?;
    let mut list = Vec::new();
    while peek(i) != Some(b')') {
        ctx.room(i, list.len())?;
        let (rest, address) = address(i)?;
        list.push(address);
        i = rest.strip_prefix(b" ").unwrap_or(rest);
    }
    Ok((&i[1..], list))
}

fn address(i: In<'_>) -> Res<'_, Address<'_>> {
    let (i, ()) = byte(i, b'(', "an address")?;
    let (i, name) = then_sp(nstring(i))?;
    let (i, route) = then_sp(nstring(i))?;
    let (i, mailbox) = then_sp(nstring(i))?;
    let (i, host) = nstring(i)?;
    let (i, ()) = byte(i, b')', ")")?;
    Ok((i, Address { name, route, mailbox, host }))
}
