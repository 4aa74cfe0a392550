//! Commands on mailboxes as wholes.

use std::collections::BTreeMap;

use posthaste_imap_proto::{
    Atom, Code, Data, Flag, List, ListEntry, Mailbox, Namespace, Pattern, Response, StatusData, StatusItem,
    StatusItems, StatusValue,
};

use super::answer::{Answer, Stop, bad, no, odd_reply, ok};
use super::pattern::matches;
use super::select::store_name;
use super::session::Session;
use crate::base_name;
use crate::store::{Listed, MailboxName, Op, Reply, Snapshot};
use crate::wire::Wire;

/// The hierarchy's delimiter.
const DELIMITER: u8 = b'.';

/// Messages that leave the INBOX by one operation.
const MOVED_AT_ONCE: usize = 1000;

/// What LIST says of a name.
#[derive(Default, Clone, Copy)]
struct Node {
    exists: bool,
    subscribed: bool,
    has_children: bool,
}

impl Session<'_> {
    pub(super) async fn create(&mut self, mailbox: &Mailbox<'_>) -> Answer {
        // A delimiter at the end only says that children will follow (RFC 3501 section 6.3.3).
        let wire = mailbox.as_wire().strip_suffix(b".").unwrap_or(mailbox.as_wire());
        let name = store_name(&Mailbox::from_wire(wire))?;
        if name.is_inbox() {
            return Ok(no(Code::AlreadyExists, "INBOX is always there"));
        }
        self.call_done(Op::Create(name)).await?;
        Ok(ok("created"))
    }

    pub(super) async fn delete(&mut self, mailbox: &Mailbox<'_>) -> Answer {
        let name = store_name(mailbox)?;
        if name.is_inbox() {
            return Ok(no(Code::Cannot, "INBOX stays"));
        }
        if self.view.as_ref().is_some_and(|view| view.name == name) {
            self.view = None;
        }
        // The very mailbox of now: a retry must not hit one that was made under its name since.
        let uid_validity = self.peek(name.clone()).await?.uid_validity;
        self.call_done(Op::Delete { name, uid_validity }).await?;
        Ok(ok("deleted"))
    }

    pub(super) async fn rename(&mut self, from: &Mailbox<'_>, to: &Mailbox<'_>) -> Answer {
        let (from, to) = (store_name(from)?, store_name(to)?);
        match from.is_inbox() {
            true => self.empty_inbox_into(to).await?,
            false => self.call_done(Op::Rename { from, to }).await?,
        }
        if let Some(view) = &mut self.view {
            view.hinted = true;
        }
        Ok(ok("renamed"))
    }

    /// RFC 3501 section 6.3.5: renaming INBOX moves its messages to a new mailbox and leaves it empty.
    ///
    /// Each step finds its own work when it is tried again, since the names are chosen here. The
    /// copies first: an interruption may leave a message in both, never in none.
    async fn empty_inbox_into(&self, to: MailboxName) -> Result<(), Stop> {
        let inbox = MailboxName::inbox();
        self.call_done(Op::Create(to.clone())).await?;
        let messages = self.peek(inbox.clone()).await?.messages;
        for portion in messages.chunks(MOVED_AT_ONCE) {
            let messages = portion.iter().map(|m| (m.uid, base_name(&self.context.hostname))).collect();
            let copy = Op::Copy { from: inbox.clone(), to: to.clone(), messages };
            let Reply::Copied { uids, .. } = self.call(copy).await? else { return Err(odd_reply()) };
            let uids = Some(uids.into_iter().map(|(from, _)| from).collect());
            self.call(Op::Expunge { name: inbox.clone(), uids, even_undeleted: true }).await?;
        }
        Ok(())
    }

    /// A mailbox as it is, without a trace.
    async fn peek(&self, name: MailboxName) -> Result<Snapshot, Stop> {
        match self.call(Op::Peek(name)).await? {
            Reply::Snapshot(snapshot) => Ok(snapshot),
            _ => Err(odd_reply()),
        }
    }

    pub(super) async fn subscribe(&mut self, mailbox: &Mailbox<'_>, on: bool) -> Answer {
        self.call_done(Op::Subscribe { name: store_name(mailbox)?, on }).await?;
        Ok(ok("done"))
    }

    pub(super) fn namespace(wire: &mut Wire) {
        let personal = vec![Namespace {
            prefix: Mailbox::from_wire(&b""[..]),
            delimiter: Some(DELIMITER),
            extensions: Vec::new(),
        }];
        Response::Data(Data::Namespace(Box::new([Some(personal), None, None]))).encode(&mut wire.out);
    }

    /// LIST as RFC 3501 has it: its extensions are not advertised.
    pub(super) async fn list_all(&mut self, wire: &mut Wire, list: &List<'_>) -> Answer {
        if list.selection.is_some() || list.returns.is_some() || list.patterns.len() != 1 {
            return Ok(bad("LIST-EXTENDED is not known here"));
        }
        let Some(pattern) = list.patterns.iter().next() else { return Ok(bad("a pattern is missing")) };
        self.list(wire, &list.reference, &pattern, false).await
    }

    pub(super) async fn list(
        &mut self,
        wire: &mut Wire,
        reference: &Mailbox<'_>,
        pattern: &Pattern<'_>,
        subscribed: bool,
    ) -> Answer {
        if pattern.as_wire().is_empty() && !subscribed {
            // Asks for the delimiter only.
            let attributes = [attribute("Noselect")].into_iter().collect();
            let mailbox = Mailbox::from_wire(&b""[..]);
            let entry = ListEntry { attributes, delimiter: Some(DELIMITER), mailbox, extended: Vec::new() };
            Response::Data(Data::List(entry)).encode(&mut wire.out);
            return Ok(ok("listed"));
        }
        let (Ok(reference), Ok(pattern)) = (reference.decode(), pattern.decode()) else {
            return Ok(ok("no name is like that"));
        };
        let Reply::Listing(listing) = self.call(Op::List).await? else { return Err(odd_reply()) };
        let pattern = format!("{reference}{pattern}");
        for (name, node) in tree(&listing, subscribed) {
            if matches(&pattern, &name) {
                tell_entry(&mut wire.out, &name, node, subscribed);
            }
        }
        Ok(ok("listed"))
    }

    pub(super) async fn status(
        &mut self,
        wire: &mut Wire,
        mailbox: Mailbox<'static>,
        items: &StatusItems<'_>,
    ) -> Answer {
        if items.iter().any(|item| !known(&item)) {
            return Ok(bad("unknown STATUS item"));
        }
        let snapshot = self.peek(store_name(&mailbox)?).await?;
        let items = items
            .iter()
            .map(|item| StatusData { value: StatusValue::Number(u64::from(count(&snapshot, &item))), item });
        let items = items.collect();
        Response::Data(Data::Status { mailbox, items }).encode(&mut wire.out);
        Ok(ok("done"))
    }
}

/// Those of RFC 3501; the others belong to extensions that are not advertised.
fn known(item: &StatusItem<'_>) -> bool {
    use StatusItem as S;
    matches!(item, S::Messages | S::Recent | S::UidNext | S::UidValidity | S::Unseen)
}

fn count(snapshot: &Snapshot, item: &StatusItem<'_>) -> u32 {
    match item {
        StatusItem::Messages => snapshot.messages.len() as u32,
        StatusItem::Recent => snapshot.recent.len() as u32,
        StatusItem::UidNext => snapshot.uid_next,
        StatusItem::UidValidity => snapshot.uid_validity,
        StatusItem::Unseen => snapshot.messages.iter().filter(|m| !m.flags.seen).count() as u32,
        _ => 0,
    }
}

/// All names, with the parents that exist only by their children.
fn tree(listing: &[Listed], subscribed: bool) -> BTreeMap<String, Node> {
    let mut tree: BTreeMap<String, Node> = BTreeMap::new();
    for listed in listing.iter().filter(|l| if subscribed { l.subscribed } else { l.exists }) {
        let name = listed.name.as_str();
        let node = tree.entry(name.to_owned()).or_default();
        (node.exists, node.subscribed) = (listed.exists, listed.subscribed);
        for (dot, _) in name.match_indices('.') {
            tree.entry(name[..dot].to_owned()).or_default().has_children = true;
        }
    }
    tree
}

fn attribute(name: &'static str) -> Flag<'static> {
    Atom::new(name).map_or(Flag::NewKeywords, Flag::Extension)
}

fn tell_entry(out: &mut Vec<u8>, name: &str, node: Node, subscribed: bool) {
    let mut attributes = Vec::new();
    if !node.exists || (subscribed && !node.subscribed) {
        attributes.push(attribute("Noselect"));
    }
    if !subscribed {
        attributes.push(attribute(if node.has_children { "HasChildren" } else { "HasNoChildren" }));
    }
    let entry = ListEntry {
        attributes: attributes.into_iter().collect(),
        delimiter: Some(DELIMITER),
        mailbox: Mailbox::encode(name),
        extended: Vec::new(),
    };
    Response::Data(if subscribed { Data::Lsub(entry) } else { Data::List(entry) }).encode(out);
}
