//! Mailbox names, base64 and sequence sets: what decodes has one encoding, and the set operations
//! are those of sets.
#![no_main]

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::{Script, seeded};
use posthaste_imap_proto::*;

fn names(text: &[u8]) {
    if let Ok(name) = Mailbox::from_wire(text).decode() {
        // UTF-8 on the wire is understood, and written as modified UTF-7.
        let again = Mailbox::encode(&name).into_owned();
        assert_eq!(again.decode().as_deref(), Ok(&*name));
        assert!(again.as_wire().is_ascii());
        assert!(!text.is_ascii() || again == Mailbox::from_wire(text), "{}", text.escape_ascii());
    }
    // Control characters have no place in a name.
    let plain = text.iter().all(|b| *b >= b' ' && *b != 127);
    if let (true, Ok(name)) = (plain, std::str::from_utf8(text)) {
        let wire = Mailbox::encode(name);
        assert_eq!(wire.decode().as_deref(), Ok(if wire.is_inbox() { "INBOX" } else { name }));
    }
}

fn base64s(text: &[u8]) {
    let mut encoded = Vec::new();
    base64::encode(text, &mut encoded);
    assert_eq!(base64::decode(&encoded).as_deref(), Some(text));
    if let Some(octets) = base64::decode(text) {
        encoded.clear();
        base64::encode(&octets, &mut encoded);
        assert_eq!(encoded, text);
    }
}

/// Numbers around both ends of what fits, few enough to meet each other.
fn number(script: &mut Script<'_>) -> u32 {
    match script.byte() {
        low @ 0..128 => u32::from(low) + 1,
        high => u32::MAX - u32::from(255 - high),
    }
}

fn set(script: &mut Script<'_>, last: u32) -> (IdSet, BTreeSet<u32>) {
    let (mut ranges, mut model) = (Vec::new(), BTreeSet::new());
    for _ in 0..script.byte() % 8 {
        let start = number(script);
        let end = match script.byte() {
            0..200 => start.saturating_add(u32::from(script.byte() % 16)),
            _ => last,
        };
        if start.abs_diff(end) > 200 {
            continue;
        }
        model.extend(start.min(end)..=start.max(end));
        let nz = |n| SeqNum::Number(NonZeroU32::new(n).expect("not zero"));
        ranges.push(SeqRange { start: nz(start), end: if end == last { SeqNum::Last } else { nz(end) } });
    }
    let mut ids = SequenceSet::new(ranges).map(|set| set.resolve(last)).unwrap_or_default();
    if script.byte() & 1 == 1 {
        let id = number(script);
        ids.insert(id);
        model.insert(id);
    }
    is(&ids, &model);
    (ids, model)
}

fn is(ids: &IdSet, model: &BTreeSet<u32>) {
    assert!(ids.iter().eq(model.iter().copied()), "{ids:?} is not {model:?}");
    assert_eq!(ids.len(), model.len() as u64);
    assert_eq!((ids.first(), ids.last()), (model.first().copied(), model.last().copied()));
    let apart = ids.ranges().zip(ids.ranges().skip(1)).all(|(a, b)| a.1 < u32::MAX && a.1 + 1 < b.0);
    assert!(apart, "{ids:?} has ranges that touch");
    if let Some(set) = SequenceSet::from_ids(ids) {
        assert_eq!(set.resolve(u32::MAX), *ids);
        let mut command = b"a EXPUNGE".to_vec();
        command.splice(2..9, *b"UID EXPUNGE ");
        set.encode(&mut command);
        let parsed = Command::parse(&command, &ParseLimits::default()).expect("its own encoding");
        assert_eq!(parsed.body, CommandBody::UidExpunge(set));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((_, text)) = seeded(data) else { return };
    names(text);
    base64s(text);
    let mut script = Script(text);
    let last = number(&mut script);
    let ((a, model_a), (b, model_b)) = (set(&mut script, last), set(&mut script, last));
    is(&a.union(&b), &model_a.union(&model_b).copied().collect());
    is(&a.intersection(&b), &model_a.intersection(&model_b).copied().collect());
    is(&a.difference(&b), &model_a.difference(&model_b).copied().collect());
});
