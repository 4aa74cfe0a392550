//! FETCH.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use posthaste_imap_proto::{
    Code, DateTime, FetchItem, FetchItems, FetchWriter, PartPath, Partial, Section, SectionText, SequenceSet,
};

use super::answer::{Answer, Stop, bad, no, odd_reply, ok};
use super::header;
use super::mime::Entity;
use super::session::Session;
use super::structure::structure;
use super::view::{SEEN, View};
use crate::server::Reserved;
use crate::store::{FlagChange, Flags, Op, Part, Reply};
use crate::wire::Wire;

/// Octets of messages that one operation asks for, unless a single one is larger.
const BATCH_OCTETS: u64 = 4 << 20;
/// Messages that one operation asks for.
const BATCH_MESSAGES: usize = 256;
/// What a header is taken to need.
const HEADER_OCTETS: u64 = 16 << 10;
/// Literals from this size on are sent from where they lie.
const LARGE: usize = 32 << 10;

/// What of each message must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Header,
    Whole,
    /// Only these octets, which are then all that is sent.
    Range(Partial),
}

impl Need {
    fn of(items: &[FetchItem<'_>]) -> Self {
        let mut need = Need::Nothing;
        let mut contents = 0;
        let mut range = None;
        for item in items {
            let one = item_need(item);
            contents += usize::from(one != Need::Nothing);
            if let FetchItem::Section { section: Section { part, text: None }, partial: Some(p), .. } = item {
                range = range.or(part.is_empty().then_some(*p));
            }
            if one == Need::Whole || need == Need::Nothing {
                need = one;
            }
        }
        match range {
            Some(partial) if contents == 1 => Need::Range(partial),
            _ => need,
        }
    }

    pub(super) fn part(self) -> Option<Part> {
        match self {
            Need::Nothing => None,
            Need::Header => Some(Part::Header),
            Need::Whole => Some(Part::Whole),
            Need::Range(p) => Some(Part::Range { offset: p.start.into(), len: p.octets_max.get().into() }),
        }
    }

    pub(super) fn octets(self, message: u64) -> u64 {
        match self {
            Need::Nothing => 0,
            Need::Header => message.min(HEADER_OCTETS),
            Need::Whole => message,
            Need::Range(p) => message.min(p.octets_max.get().into()),
        }
    }
}

fn item_need(item: &FetchItem<'_>) -> Need {
    match item {
        FetchItem::Flags | FetchItem::Uid | FetchItem::InternalDate | FetchItem::Rfc822Size => Need::Nothing,
        FetchItem::Envelope | FetchItem::Rfc822Header => Need::Header,
        FetchItem::Section { section, .. } if section.part.is_empty() => match section.text {
            Some(SectionText::Header | SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)) => {
                Need::Header
            }
            _ => Need::Whole,
        },
        _ => Need::Whole,
    }
}

/// Those of RFC 3501; the others belong to extensions that are not advertised.
fn known(item: &FetchItem<'_>) -> bool {
    use FetchItem as F;
    matches!(
        item,
        F::Body
            | F::BodyStructure
            | F::Envelope
            | F::Flags
            | F::InternalDate
            | F::Rfc822
            | F::Rfc822Header
            | F::Rfc822Size
            | F::Rfc822Text
            | F::Uid
            | F::Section { .. }
    )
}

fn sets_seen(item: &FetchItem<'_>) -> bool {
    matches!(item, FetchItem::Section { peek: false, .. } | FetchItem::Rfc822 | FetchItem::Rfc822Text)
}

/// Indices in portions that one operation may ask for.
pub(super) fn batches(view: &View, chosen: &[usize], need: Need) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut octets = 0;
    for at in chosen {
        let size = need.octets(view.entries[*at].size);
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_MESSAGES && octets + size <= BATCH_OCTETS => {
                batch.push(*at);
                octets += size;
            }
            _ => {
                batches.push(vec![*at]);
                octets = size;
            }
        }
    }
    batches
}

impl Session<'_> {
    pub(super) async fn fetch(
        &mut self,
        wire: &mut Wire,
        uid: bool,
        set: &SequenceSet,
        items: &FetchItems<'static>,
    ) -> Answer {
        let mut items = items.expand();
        if !items.iter().all(known) {
            return Ok(bad("unknown FETCH item"));
        }
        if uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        let need = Need::of(&items);
        let (view, chosen) = self.chosen(set, uid)?;
        let see = !view.read_only && items.iter().any(sets_seen);
        let mut gone = false;
        for batch in batches(view, &chosen, need) {
            gone |= self.fetch_batch(wire, &batch, &items, need, see).await?;
        }
        if gone && !uid {
            return Ok(no(Code::ExpungeIssued, "some of the messages are gone"));
        }
        Ok(ok("fetched"))
    }

    /// Whether some messages were gone.
    async fn fetch_batch(
        &mut self,
        wire: &mut Wire,
        batch: &[usize],
        items: &[FetchItem<'_>],
        need: Need,
        see: bool,
    ) -> Result<bool, Stop> {
        let (_held, parts) = self.read(batch, need).await?;
        let newly_seen = if see { self.see(batch, &parts).await? } else { Vec::new() };
        let mut gone = false;
        for at in batch {
            let Some(view) = &self.view else { return Ok(true) };
            let uid = view.entries[*at].uid;
            let octets = parts.get(&uid);
            if octets.is_none() && need != Need::Nothing {
                gone = true;
                continue;
            }
            let whole = octets.map_or(&b""[..], |b| b);
            let tell_flags = newly_seen.contains(&uid) && !items.contains(&FetchItem::Flags);
            let mut message = Told { view, at: *at, octets: whole, need, tree: None };
            message.tell(wire, items, tell_flags).await?;
            wire.flush_if_much().await?;
        }
        Ok(gone)
    }

    /// Reads messages, under the node's memory budget.
    pub(super) async fn read(
        &self,
        batch: &[usize],
        need: Need,
    ) -> Result<(Reserved, HashMap<u32, Bytes>), Stop> {
        let (Some(view), Some(part)) = (&self.view, need.part()) else {
            return Ok((Reserved::default(), HashMap::new()));
        };
        let entries = batch.iter().map(|at| &view.entries[*at]);
        let octets: u64 = entries.clone().map(|e| need.octets(e.size)).sum();
        let held = self.reserve(octets).await?;
        let uids = entries.map(|e| e.uid).filter(|uid| !view.is_gone(*uid)).collect();
        match self.call(Op::Fetch { name: view.name.clone(), uids, part }).await? {
            Reply::Parts(parts) => Ok((held, parts.into_iter().collect())),
            _ => Err(odd_reply()),
        }
    }

    async fn reserve(&self, octets: u64) -> Result<Reserved, Stop> {
        let mut held = Reserved::default();
        for _ in 0..50 {
            if self.context.budget.take(&mut held, usize::try_from(octets).unwrap_or(usize::MAX)) {
                return Ok(held);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(no(Code::Unavailable, "too much mail is in flight, try later").into())
    }

    /// Sets \Seen where it is not; the UIDs that got it.
    async fn see(&mut self, batch: &[usize], parts: &HashMap<u32, Bytes>) -> Result<Vec<u32>, Stop> {
        let Some(view) = &self.view else { return Ok(Vec::new()) };
        let unseen = batch.iter().map(|at| &view.entries[*at]).filter(|e| !e.flags.has(SEEN));
        let uids: Vec<u32> = unseen.map(|e| e.uid).filter(|uid| parts.contains_key(uid)).collect();
        if uids.is_empty() {
            return Ok(uids);
        }
        let flags = Flags { seen: true, ..Flags::default() };
        let op = Op::Store { name: view.name.clone(), uids: uids.clone(), change: FlagChange::Add, flags };
        let Reply::Messages(messages) = self.call(op).await? else { return Err(odd_reply()) };
        if let Some(view) = &mut self.view {
            messages.iter().for_each(|message| view.upsert_told(message));
        }
        Ok(uids)
    }
}

/// One message on its way out.
struct Told<'v> {
    view: &'v View,
    at: usize,
    octets: &'v [u8],
    need: Need,
    tree: Option<Entity>,
}

impl<'v> Told<'v> {
    async fn tell(&mut self, wire: &mut Wire, items: &[FetchItem<'_>], flags: bool) -> Result<(), Stop> {
        FetchWriter::new(&mut wire.out, self.at as u32 + 1);
        let mut first = true;
        for item in items.iter().chain(flags.then_some(&FetchItem::Flags)) {
            if !std::mem::take(&mut first) {
                wire.out.push(b' ');
            }
            self.item(wire, item).await?;
        }
        wire.out.extend_from_slice(b")\r\n");
        Ok(())
    }

    async fn item(&mut self, wire: &mut Wire, item: &FetchItem<'_>) -> Result<(), Stop> {
        let entry = &self.view.entries[self.at];
        let mut out = FetchWriter::first_item(&mut wire.out);
        match item {
            FetchItem::Flags => out.flags(&self.view.flags(entry)),
            FetchItem::Uid => out.uid(entry.uid),
            FetchItem::InternalDate => out.internal_date(internal_date(entry.date)),
            FetchItem::Rfc822Size => out.size(entry.size),
            FetchItem::Envelope => {
                let end = super::mime::header_len(self.octets);
                out.envelope(&header::envelope(&self.octets[..end]));
            }
            FetchItem::Body => out.structure("BODY", &structure(self.octets, self.tree(), false)),
            FetchItem::BodyStructure => {
                out.structure("BODYSTRUCTURE", &structure(self.octets, self.tree(), true));
            }
            FetchItem::Rfc822 => self.octets_of(wire, "RFC822", &Section::default(), None).await?,
            FetchItem::Rfc822Header => {
                let section = Section { part: PartPath::new(), text: Some(SectionText::Header) };
                self.octets_of(wire, "RFC822.HEADER", &section, None).await?;
            }
            FetchItem::Rfc822Text => {
                let section = Section { part: PartPath::new(), text: Some(SectionText::Text) };
                self.octets_of(wire, "RFC822.TEXT", &section, None).await?;
            }
            FetchItem::Section { section, partial, .. } => {
                self.octets_of(wire, "", section, *partial).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn tree(&mut self) -> &Entity {
        let octets = self.octets;
        self.tree.get_or_insert_with(|| Entity::parse(octets))
    }

    /// A section under its name in RFC 822's way, or as BODY[...].
    async fn octets_of(
        &mut self,
        wire: &mut Wire,
        name: &str,
        section: &Section<'_>,
        partial: Option<Partial>,
    ) -> Result<(), Stop> {
        let data = self.section(section);
        let data = match (partial, self.need) {
            (Some(_), Need::Range(_)) | (None, _) => data,
            (Some(p), _) => data.map(|data| cut(data, p)),
        };
        let origin = partial.map(|p| p.start);
        let out = FetchWriter::first_item(&mut wire.out);
        match data {
            Some(data) if data.len() >= LARGE => {
                let octets = data.len() as u64;
                if name.is_empty() {
                    out.section_start(section, origin, octets)
                } else {
                    out.rfc822_start(name, octets)
                }
                wire.send(&data).await?;
            }
            data => {
                let mut out = out;
                if name.is_empty() {
                    out.section(section, origin, data.as_deref());
                } else {
                    out.rfc822(name, data.as_deref());
                }
            }
        }
        Ok(())
    }

    fn section(&mut self, section: &Section<'_>) -> Option<Cow<'v, [u8]>> {
        let octets = self.octets;
        if section.part.is_empty() && section.text.is_none() {
            return Some(Cow::Borrowed(octets));
        }
        self.tree().section(octets, section)
    }
}

fn cut(data: Cow<'_, [u8]>, partial: Partial) -> Cow<'_, [u8]> {
    let start = (partial.start as usize).min(data.len());
    let end = start.saturating_add(partial.octets_max.get() as usize).min(data.len());
    match data {
        Cow::Borrowed(data) => Cow::Borrowed(&data[start..end]),
        Cow::Owned(data) => Cow::Owned(data[start..end].to_vec()),
    }
}

fn internal_date(seconds: i64) -> DateTime {
    DateTime::from_unix(seconds)
        .or(DateTime::from_unix(0))
        .unwrap_or_else(|| unreachable!("1970 is in range"))
}
