//! Reads every field of what was parsed: what is decoded as it is read is decoded within the timing.

use std::hint::black_box;

use posthaste_imap_proto::*;

fn read<T>(value: &T) {
    black_box(value);
}

/// Every field of a command that the corpus holds.
pub(crate) fn command(command: &Command<'_>) {
    use CommandBody as C;
    black_box(&command.tag);
    match &command.body {
        C::Fetch { uid, set, items, modifiers } => {
            black_box((uid, set.ranges()));
            match items {
                FetchItems::List(items) => items.iter().for_each(|item| fetch_item(&item)),
                all => read(all),
            }
            modifiers.iter().for_each(|m| read(&m));
        }
        C::Store { uid, set, unchanged_since, action, silent, flags } => {
            black_box((uid, set.ranges(), unchanged_since, action, silent));
            flags.iter().for_each(|flag| read(&flag));
        }
        C::Search { uid, returns, charset, keys } => {
            black_box((uid, charset));
            returns.iter().flatten().for_each(|r| read(&r));
            keys.iter().for_each(|key| search_key(&key));
        }
        C::Status { mailbox, items } => {
            black_box(mailbox);
            items.iter().for_each(|item| read(&item));
        }
        C::Select { mailbox, params } | C::Examine { mailbox, params } => {
            black_box(mailbox);
            params.iter().for_each(|p| read(&p));
        }
        C::List(list) => {
            black_box(&list.reference);
            list.selection.iter().flatten().for_each(|s| read(&s));
            list.patterns.iter().for_each(|p| read(&p));
            list.returns.iter().flatten().for_each(|r| read(&r));
        }
        C::Enable(names) => names.iter().for_each(|name| read(&name)),
        plain => read(plain),
    }
}

fn fetch_item(item: &FetchItem<'_>) {
    if let FetchItem::Section {
        section:
            Section { text: Some(SectionText::HeaderFields(names) | SectionText::HeaderFieldsNot(names)), .. },
        ..
    } = item
    {
        names.iter().for_each(|name| read(&name));
    }
    black_box(item);
}

fn search_key(key: &SearchKey<'_>) {
    match key {
        SearchKey::Not(inner) | SearchKey::Fuzzy(inner) => search_key(&inner.get()),
        SearchKey::Or(a, b) => {
            search_key(&a.get());
            search_key(&b.get());
        }
        SearchKey::And(keys) => keys.iter().for_each(|key| search_key(&key)),
        plain => read(plain),
    }
}

/// Every field of a response that the corpus holds.
pub(crate) fn response(response: &Response<'_>) {
    match response {
        Response::Data(Data::Fetch { seq, items }) => {
            black_box(seq);
            items.iter().for_each(fetch_data);
        }
        Response::Data(Data::Search { ids, mod_seq }) => read(&(ids, mod_seq)),
        other => read(other),
    }
}

fn fetch_data(item: &FetchData<'_>) {
    match item {
        FetchData::Flags(flags) => flags.iter().for_each(|flag| read(&flag)),
        FetchData::Envelope(raw) => envelope(&raw.parse()),
        FetchData::Body(body) | FetchData::BodyStructure(body) => node(body.root()),
        plain => read(plain),
    }
}

fn envelope(envelope: &Envelope<'_>) {
    black_box((&envelope.date, &envelope.subject, &envelope.in_reply_to, &envelope.message_id));
    for list in
        [&envelope.from, &envelope.sender, &envelope.reply_to, &envelope.to, &envelope.cc, &envelope.bcc]
    {
        list.iter().for_each(|address| read(&address));
    }
}

fn node(body: BodyNode<'_, '_>) {
    match body.part() {
        Part::Single(part) => {
            black_box((&part.media, &part.subtype, &part.id, &part.description, &part.encoding, part.octets));
            params(&part.params);
            part.extension.iter().for_each(extension);
            if let PartKind::Message { envelope: raw, lines } = &part.kind {
                black_box(lines);
                envelope(&raw.parse());
            }
        }
        Part::Multi(part) => {
            black_box(&part.subtype);
            if let Some((p, e)) = &part.extension {
                params(p);
                extension(e);
            }
        }
    }
    body.children().for_each(node);
}

fn params(params: &Params<'_>) {
    params.iter().for_each(|param| read(&param));
}

fn extension(raw: &RawExtension<'_>) {
    let extension = raw.parse();
    black_box((&extension.md5, &extension.location));
    if let Some(disposition) = &extension.disposition {
        black_box(&disposition.kind);
        params(&disposition.params);
    }
    extension.language.iter().for_each(|l| read(&l));
    extension.more.iter().for_each(|v| read(&v));
}
