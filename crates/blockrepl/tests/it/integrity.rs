//! Checksums: which copy is wrong, and its healing. Flipped bits, lost and misdirected writes, bad sectors.

use posthaste_blockrepl::core::{Denied, Event, Finding, Input, Reply, ScrubReport, Wrong};
use posthaste_blockrepl::wire::{Message, Refusal};
use posthaste_blockrepl::{GRANULE, NodeId};

use crate::harness::*;

const BLOCK: usize = 4096;
/// A block in the third granule.
const AT: u64 = 2 * GRANULE + 4096;

/// Two copies of a megabyte, all of it in whole blocks.
fn written(seed: u64) -> Net {
    let mut net = Net::pair(seed);
    let data: Vec<u8> = (0..1 << 20).map(|i| (i / 4096 * 7 + i) as u8 | 1).collect();
    net.put(0, 0, &data);
    net.flush(0);
    net.idle();
    net
}

fn flip(net: &mut Net, n: usize, at: u64) {
    net.nodes[n].data.live[at as usize + 17] ^= 4;
}

fn scrub(net: &mut Net, n: usize) -> ScrubReport {
    let request = net.scrub(n);
    net.settle();
    match &net.answers[&request] {
        Ok(Reply::Scrubbed(report)) => report.clone(),
        other => panic!("{other:?}"),
    }
}

fn finding(node: u64, wrong: Wrong, healed: bool) -> Finding {
    Finding { node: NodeId(node), offset: AT, len: 4096, wrong, healed }
}

fn damage_told(net: &Net, n: usize) -> Vec<Finding> {
    let told = |e: &Event| if let Event::Damaged(f) = e { Some(*f) } else { None };
    net.nodes[n].events.iter().filter_map(told).collect()
}

#[test]
fn verify_names_the_copy_that_is_wrong_and_heals_it_from_the_right_one() {
    for (seed, victim) in (0..8).map(|s| (s, s as usize % 2)) {
        let mut net = written(seed);
        let before = net.nodes[0].data.live.clone();
        flip(&mut net, victim, AT);
        let found = finding(victim as u64, Wrong::Copy, true);
        assert_eq!(net.verified(0).differing, [found]);
        net.assert_identical(0, 1);
        assert!(net.nodes[0].data.live == before, "what was written is there, not what was damaged");
        assert_eq!(damage_told(&net, 0), [found]);
        let counts = net.status(0).integrity;
        let healed = if victim == 0 { (1, 0) } else { (0, 1) };
        assert_eq!((counts.healed_here, counts.healed_there), healed);
        assert_eq!(net.verified(0).differing, []);
    }
}

/// Each has to be made hot before it is rewritten: they must not take that from each other for ever.
#[test]
fn damage_in_several_cold_extents_is_healed_though_all_that_may_be_hot_is() {
    let mut net = Net::pair(5);
    (0..SIZE >> 20).for_each(|n| net.put(0, n << 20, &[n as u8 + 1; BLOCK]));
    net.flush(0);
    net.idle();
    for cold in [0..4, 4..8, 8..12, 0..4] {
        cold.for_each(|n| flip(&mut net, 0, n << 20));
        // All are judged before the first extent is hot.
        net.hung = Some(0);
        let request = net.verify(0);
        net.settle();
        net.hung = None;
        net.settle();
        assert!(matches!(&net.answers[&request], Ok(Reply::Verified(report)) if report.differing.len() == 4));
    }
    net.idle();
    net.assert_identical(0, 1);
}

#[test]
fn a_scrub_of_either_side_finds_and_heals_its_own_damage() {
    for (seed, victim) in (0..8).map(|s| (s, s as usize % 2)) {
        let mut net = written(seed);
        let before = net.nodes[0].data.live.clone();
        flip(&mut net, victim, AT);
        let report = scrub(&mut net, victim);
        assert_eq!(
            (report.checked_bytes, &report.findings[..]),
            (SIZE, &[finding(victim as u64, Wrong::Copy, true)][..])
        );
        assert!(net.nodes[victim].data.live == before);
        assert_eq!(scrub(&mut net, victim).findings, []);
        assert_eq!(scrub(&mut net, 1 - victim).findings, []);
    }
}

#[test]
fn where_both_copies_are_damaged_nothing_is_overwritten_and_both_are_named() {
    let mut net = written(1);
    flip(&mut net, 0, AT);
    flip(&mut net, 1, AT);
    net.nodes[1].data.live[AT as usize] ^= 1;
    let before = [0, 1].map(|n| net.nodes[n].data.live.clone());
    assert_eq!(net.verified(0).differing, [finding(0, Wrong::Both, false), finding(1, Wrong::Both, false)]);
    assert!([0, 1].map(|n| net.nodes[n].data.live.clone()) == before);
    let read = net.read(0, AT, 100);
    net.settle();
    assert_eq!(net.answers[&read], Err(Denied::Corrupt { offset: AT, len: 100 }));
    // Written anew, it is whole again.
    net.put(0, AT, &[9; BLOCK]);
    assert_eq!(net.verified(0).differing, []);
}

#[test]
fn different_blocks_of_one_granule_are_healed_in_both_directions() {
    let mut net = written(2);
    let before = net.nodes[0].data.live.clone();
    flip(&mut net, 0, AT);
    flip(&mut net, 1, AT + 8192);
    let there = Finding { offset: AT + 8192, ..finding(1, Wrong::Copy, true) };
    assert_eq!(net.verified(0).differing, [finding(0, Wrong::Copy, true), there]);
    assert!(net.nodes[0].data.live == before && net.nodes[1].data.live == before);
}

/// A write in parts of a block voids its checksum: the leader's copy is taken, and the report says why.
#[test]
fn where_no_checksum_decides_the_leader_wins_and_the_report_says_so() {
    let mut net = written(3);
    net.put(0, AT + 100, b"part of a block");
    let before = net.nodes[0].data.live.clone();
    flip(&mut net, 1, AT);
    assert_eq!(net.verified(0).differing, [finding(1, Wrong::Unknown, true)]);
    assert!(net.nodes[1].data.live == before);
    // What all agree on is known from now on.
    net.verified(0);
    assert_eq!(scrub(&mut net, 0).unknown_bytes, 0);
    assert_eq!(scrub(&mut net, 1).unknown_bytes, 0);
    flip(&mut net, 0, AT);
    assert_eq!(net.verified(0).differing, [finding(0, Wrong::Copy, true)]);
    assert!(net.nodes[0].data.live == before);
}

/// Whole blocks elsewhere, until the extent of `AT` is not hot any more.
fn cool(net: &mut Net) {
    for mib in 2..12 {
        net.put(0, mib << 20, &[1; BLOCK]);
        net.flush(0);
        net.idle();
    }
}

/// The follower's page of checksums is an old one: the disk lost its last write. The data is right.
fn stale_checksum(seed: u64) -> Net {
    let mut net = written(seed);
    cool(&mut net);
    let sums = |net: &Net| {
        let meta = &net.nodes[1].meta.live;
        let newest = |at: &usize| u64::from_le_bytes(meta[at + 16..at + 24].try_into().unwrap());
        let at = [0, 16384].into_iter().max_by_key(newest).unwrap() + 104;
        u64::from_le_bytes(meta[at..at + 8].try_into().unwrap()) as usize
    };
    let at = sums(&net);
    let old = net.nodes[1].meta.live[at..at + 4096].to_vec();
    net.put(0, AT, &[77; BLOCK]);
    cool(&mut net);
    net.crash(1);
    assert!(net.nodes[1].meta.live[at..at + 4096] != old);
    net.nodes[1].meta.live[at..at + 4096].copy_from_slice(&old);
    net.boot(1);
    net.connect(0, 1);
    net.settle();
    net.assert_identical(0, 1);
    net
}

#[test]
fn a_checksum_alone_that_is_wrong_is_mended_where_it_is() {
    for (seed, by_verify) in [(1, false), (2, true), (3, false)] {
        let mut net = stale_checksum(seed);
        match by_verify {
            true => assert_eq!(net.verified(0).differing, []),
            false => assert_eq!(scrub(&mut net, 1).findings, [finding(1, Wrong::Copy, true)]),
        }
        assert_eq!(scrub(&mut net, 1).findings, []);
        net.cut(0, 1);
        net.lead(1, grant(2, 1, &[1], 2));
        let read = net.read(1, AT, 10);
        net.settle();
        assert_eq!(net.answers[&read], Ok(Reply::Read(vec![77; 10].into())));
    }
}

#[test]
fn a_lost_write_and_a_misdirected_one_are_found_by_scrub() {
    for victim in 0..2 {
        let mut net = written(4);
        net.verified(0);
        let old = net.nodes[victim].data.live[AT as usize..][..BLOCK].to_vec();
        net.put(0, AT, &[77; BLOCK]);
        net.idle();
        let right = net.nodes[1 - victim].data.live.clone();
        // The disk kept the old block, and put the new one elsewhere.
        net.nodes[victim].data.live[AT as usize..][..BLOCK].copy_from_slice(&old);
        let elsewhere = 5 * (1 << 20);
        net.nodes[victim].data.live[elsewhere..][..BLOCK].fill(77);
        let found: Vec<u64> = scrub(&mut net, victim).findings.iter().map(|f| f.offset).collect();
        assert_eq!(found, [AT, elsewhere as u64]);
        assert!(net.nodes[victim].data.live == right);
    }
}

#[test]
fn a_read_is_served_from_the_peer_and_heals_what_is_damaged_here() {
    for unreadable in [false, true] {
        let mut net = written(5);
        let before = net.nodes[0].data.live.clone();
        match unreadable {
            true => net.nodes[0].unreadable.push(AT + 5),
            false => flip(&mut net, 0, AT),
        }
        let read = net.read(0, AT - 10, 5000);
        net.settle();
        let expected = before[AT as usize - 10..][..5000].to_vec();
        assert_eq!(net.answers[&read], Ok(Reply::Read(expected.into())));
        assert!(net.nodes[0].data.live == before && net.nodes[0].unreadable.is_empty());
        assert_eq!(net.status(0).failed, None);
    }
}

#[test]
fn a_bad_sector_is_healed_by_rewriting_wherever_it_is_found() {
    for victim in 0..2 {
        for by_verify in [false, true] {
            let mut net = written(6);
            let before = net.nodes[0].data.live.clone();
            net.nodes[victim].unreadable.push(AT + 5);
            match by_verify {
                true => drop(net.verified(0)),
                false => drop(scrub(&mut net, victim)),
            }
            assert!(net.nodes[victim].unreadable.is_empty(), "it was rewritten");
            net.assert_identical(0, 1);
            assert!(net.nodes[0].data.live == before);
            assert!(net.status(0).failed.is_none() && net.status(1).failed.is_none());
        }
    }
}

#[test]
fn without_a_peer_damage_is_told_and_left_alone() {
    let mut net = written(7);
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.settle();
    flip(&mut net, 0, AT);
    assert_eq!(scrub(&mut net, 0).findings, [finding(0, Wrong::Both, false)]);
    let read = net.read(0, AT, 1);
    let fine = net.read(0, 0, 1);
    net.settle();
    assert_eq!(net.answers[&read], Err(Denied::Corrupt { offset: AT, len: 1 }));
    assert!(matches!(net.answers[&fine], Ok(Reply::Read(_))));
    assert_eq!(net.status(0).integrity.lost, 2);
}

/// A peer that breaks the rules of the integrity messages is refused, and nothing is overwritten.
#[test]
fn hostile_integrity_messages_are_refused_without_effect() {
    let fetched = |good, void, len: usize| Message::Fetched { id: 1, good, void, data: vec![9; len].into() };
    let to_leader = [
        Message::Rotten { chunk: u32::MAX },
        Message::Rotten { chunk: (SIZE / GRANULE) as u32 },
        fetched(0, 0, 100),
        fetched(3, 1, GRANULE as usize),
        fetched(0, 0, GRANULE as usize + 1),
    ];
    let to_follower = [
        Message::Fetch { epoch: 1, id: 1, chunk: u32::MAX },
        Message::Fetch { epoch: 7, id: 1, chunk: 0 },
        Message::Agreed { epoch: 7, id: 1 },
    ];
    let to = |n: usize, messages: Vec<Message>| messages.into_iter().map(move |m| (n, m));
    for (victim, message) in to(0, to_leader.into()).chain(to(1, to_follower.into())) {
        let mut net = written(9);
        let before = [0, 1].map(|n| net.nodes[n].data.live.clone());
        flip(&mut net, 0, AT);
        let link = net.connect(0, 1);
        net.settle();
        if victim == 0 {
            // A granule is being judged when the message comes: the peer's answer is still under way.
            net.deaf = Some(0);
            net.scrub(0);
            net.settle();
        }
        net.input(victim, Input::Message { link, message: message.clone() });
        let refused = |e: &Event| matches!(e, Event::Refused { why: Refusal::Protocol, .. });
        assert!(net.nodes[victim].events.iter().any(refused), "{message:?}");
        net.deaf = None;
        net.settle();
        assert!(net.nodes[1].data.live == before[1], "{message:?}");
    }
    // Answers to what nobody asked are passed over.
    let mut net = written(9);
    let link = net.connect(0, 1);
    net.settle();
    let before = [0, 1].map(|n| net.nodes[n].data.live.clone());
    net.input(0, Input::Message { link, message: fetched(0xFFFF, 0, GRANULE as usize) });
    net.input(1, Input::Message { link, message: Message::Agreed { epoch: 1, id: 3 } });
    net.settle();
    assert!(net.connected(0, 1) && [0, 1].map(|n| net.nodes[n].data.live.clone()) == before);
}
