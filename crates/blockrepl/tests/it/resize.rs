//! Growing the device while it is in use.

use posthaste_blockrepl::core::{Denied, Event, LinkStatus, Reply};
use posthaste_blockrepl::wire::Refusal;
use posthaste_blockrepl::{GRANULE, NodeId};

use crate::harness::*;

/// Not a multiple of a granule.
const LARGER: u64 = SIZE + (5 << 20) + 12_288;

fn grow(net: &mut Net, n: usize) -> Result<Reply, Denied> {
    let request = net.resize(n, LARGER);
    net.settle();
    net.answers[&request].clone()
}

#[test]
fn the_members_grow_first_then_the_leader_and_both_ends_are_used_at_once() {
    for seed in 0..10 {
        let mut net = Net::pair(seed);
        net.put(0, SIZE - 700, &[3; 700]);
        let beyond = net.write(0, SIZE - 10, &[4; 20]);
        let request = net.resize(0, LARGER);
        while !net.answered(request) {
            assert!(net.status(0).size <= net.status(1).size, "the leader is the last");
            net.write(0, seed * 1000, &[5; 100]);
            assert!(net.step());
        }
        net.settle();
        assert!(matches!(net.answers[&beyond], Err(Denied::OutOfRange { .. })));
        assert_eq!(net.answers[&request], Ok(Reply::Resized { size: LARGER }));
        assert!((0..2).all(|n| net.heard(n, |e| *e == Event::Resized { size: LARGER })));
        net.put(0, LARGER - 5000, &[6; 5000]);
        let flush = net.flush(0);
        net.settle();
        assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
        // Both find themselves again after a power cut, and go on.
        for n in 0..2 {
            net.crash(n);
            net.boot(n);
            assert_eq!(net.status(n).size, LARGER);
        }
        net.lead(1, grant(2, 1, &[1], 2));
        net.put(1, LARGER - 3, b"end");
        net.connect(1, 0);
        net.settle();
        assert!(net.synced(1, 0));
        net.assert_identical(0, 1);
        assert!(net.nodes[0].data.live.ends_with(b"end"));
    }
}

#[test]
fn a_device_does_not_shrink_and_a_refusal_changes_nothing() {
    let mut net = Net::pair(1);
    for (size, why) in [
        (SIZE - 4096, Denied::Shrinks { from: SIZE, to: SIZE - 4096 }),
        (SIZE + 1, Denied::Size(SIZE + 1)),
        (256 << 40, Denied::Size(256 << 40)),
    ] {
        let request = net.resize(0, size);
        assert_eq!(net.answers[&request], Err(why));
    }
    let request = net.resize(0, SIZE);
    assert_eq!(net.answers[&request], Ok(Reply::Resized { size: SIZE }));
    let request = net.resize(1, LARGER);
    assert_eq!(net.answers[&request], Err(Denied::NotLeading));
    net.cut(0, 1);
    assert_eq!(grow(&mut net, 0), Err(Denied::NotSynced(NodeId(1))), "a member is away");
    assert_eq!((net.status(0).size, net.status(1).size), (SIZE, SIZE));
}

#[test]
fn without_room_at_a_member_or_at_the_leader_nothing_changes_and_it_can_be_asked_again() {
    for poor in 0..2 {
        let mut net = Net::pair(poor as u64);
        net.nodes[poor].no_room = true;
        let answer = grow(&mut net, 0);
        match poor {
            0 => assert_eq!(answer, Err(Denied::CannotGrow("no room".into()))),
            _ => {
                assert_eq!(answer, Err(Denied::NotSynced(NodeId(1))), "it refused, and its link is gone");
                let why = Event::RefusedBy { peer: NodeId(1), why: Refusal::CannotGrow };
                assert!(net.heard(0, |e| *e == why));
            }
        }
        assert_eq!((net.status(0).size, net.status(poor).size), (SIZE, SIZE));
        net.nodes[poor].no_room = false;
        if !net.connected(0, 1) {
            net.connect(0, 1);
            net.settle();
        }
        assert_eq!(grow(&mut net, 0), Ok(Reply::Resized { size: LARGER }));
        net.put(0, LARGER - 1, &[1]);
        net.assert_identical(0, 1);
    }
}

#[test]
fn one_that_was_away_grows_when_it_returns_and_gets_only_what_it_missed() {
    for seed in 0..10 {
        let mut net = Net::pair(seed);
        net.put(0, 0, &[1; 400_000]);
        net.flush(0);
        net.idle();
        net.cut(0, 1);
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        assert_eq!(grow(&mut net, 0), Ok(Reply::Resized { size: LARGER }));
        net.put(0, 100, b"missed");
        net.put(0, SIZE + GRANULE, b"missed too");
        let before = net.nodes[1].written;
        if seed % 2 == 0 {
            net.nodes[1].no_room = true;
            net.connect(0, 1);
            net.settle();
            assert!(!net.connected(0, 1), "refused, not forgotten");
            net.nodes[1].no_room = false;
        }
        net.connect(0, 1);
        net.settle();
        assert!(net.synced(0, 1));
        assert_eq!(net.nodes[1].written - before, 2 * GRANULE);
        net.assert_identical(0, 1);
    }
}

/// The members have grown, the leader dies before its turn: whoever leads next has a whole device.
#[test]
fn a_leader_that_dies_half_way_leaves_copies_of_two_sizes_that_come_together() {
    for seed in 0..40 {
        let mut net = Net::pair(seed);
        net.put(0, SIZE - GRANULE, &[1; 4096]);
        net.flush(0);
        net.idle();
        net.resize(0, LARGER);
        for _ in 0..net.random(30) {
            net.step();
        }
        net.crash(0);
        net.boot(0);
        if seed % 2 == 0 {
            net.lead(0, grant(2, 0, &[0, 1], 1));
            net.connect(0, 1);
            net.settle();
            assert_eq!(net.peer(0, 1).link, LinkStatus::Synced, "seed {seed}");
            net.put(0, net.status(0).size - 1, &[9]);
            net.flush(0);
            net.settle();
            assert!(matches!(grow(&mut net, 0), Ok(Reply::Resized { size: LARGER })));
        } else {
            net.lead(1, grant(2, 1, &[1], 2));
            net.connect(0, 1);
            net.settle();
            assert!(net.synced(1, 0), "seed {seed}");
            assert_eq!(net.status(0).size, net.status(1).size);
        }
        net.settle();
        net.assert_identical(0, 1);
    }
}

/// At every sync of the metadata, on either side.
#[test]
fn power_may_be_cut_at_any_sync_of_a_growth() {
    for victim in 0..2 {
        for k in 1.. {
            let mut net = Net::pair(k + 40);
            for i in 0..6u64 {
                net.write(0, i * 7 * GRANULE, &[i as u8 + 1; 4096]);
            }
            net.settle();
            net.nodes[victim].meta.syncs = 0;
            net.nodes[victim].die_after_syncs = Some(k);
            net.resize(0, LARGER);
            net.settle();
            if net.nodes[victim].replica.is_some() {
                assert!(k > 3, "file, bitmaps, superblock");
                break;
            }
            net.boot(victim);
            let size = net.status(victim).size;
            assert!(size == SIZE || size == LARGER, "victim {victim} sync {k}: {size}");
            // The other one is told to be the leader, knowing what the victim may lack.
            net.lead(1, grant(2, 1, &[1], 2));
            net.connect(0, 1);
            net.settle();
            assert!(net.synced(1, 0), "victim {victim} sync {k}");
            assert_eq!(grow(&mut net, 1), Ok(Reply::Resized { size: LARGER }));
            net.put(1, LARGER - 9, b"everybody");
            net.settle();
            net.assert_identical(0, 1);
        }
    }
}

/// The last chunk is judged as long as it was when it was asked for.
#[test]
fn a_device_grows_while_its_last_chunk_is_judged() {
    for (seed, unreadable) in (0..16).map(|seed| (seed, seed % 2 == 1)) {
        let mut net = Net::sized(2, seed, small(), LARGER);
        net.connect(0, 1);
        net.lead(0, grant(1, 0, &[0, 1], 1));
        net.put(0, LARGER - 4096, &[7; 4096]);
        match unreadable {
            true => net.nodes[0].unreadable.push(LARGER - 9),
            false => net.nodes[0].data.rot(LARGER as usize - 9),
        }
        // The files have grown, but for the metadata here.
        net.hung = Some(0);
        let resize = net.resize(0, LARGER + 8192);
        net.settle();
        let read = net.read(0, LARGER - 4096, 4096);
        assert!(net.step());
        net.hung = None;
        net.settle();
        assert_eq!(net.answers[&resize], Ok(Reply::Resized { size: LARGER + 8192 }));
        assert!(net.answers[&read] == Ok(Reply::Read(vec![7; 4096].into())), "seed {seed}");
        net.assert_identical(0, 1);
    }
}

/// It has grown, the leader could not: what it has of the last chunk heals all the same.
#[test]
fn a_follower_that_is_larger_heals_the_end_of_the_leader() {
    for seed in 0..4 {
        let mut net = Net::sized(2, seed, small(), LARGER);
        net.connect(0, 1);
        net.lead(0, grant(1, 0, &[0, 1], 1));
        net.put(0, LARGER - 4096, &[7; 4096]);
        net.nodes[0].no_room = true;
        let resize = net.resize(0, LARGER + (1 << 20));
        net.settle();
        assert_eq!(net.answers[&resize], Err(Denied::CannotGrow("no room".into())));
        assert!(net.status(1).size > net.status(0).size);
        net.nodes[0].data.rot(LARGER as usize - 9);
        let read = net.read(0, LARGER - 4096, 4096);
        net.settle();
        assert!(net.answers[&read] == Ok(Reply::Read(vec![7; 4096].into())), "seed {seed}");
        assert!(!net.heard(0, |e| matches!(e, Event::Refused { .. })));
        net.assert_identical(0, 1);
    }
}
