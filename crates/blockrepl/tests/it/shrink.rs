//! Cutting the device off while it is in use.

use posthaste_blockrepl::core::{Denied, Event, LinkStatus, Reply, RoleStatus};
use posthaste_blockrepl::{GRANULE, NodeId};

use crate::harness::*;

/// Not a multiple of a granule.
const SMALLER: u64 = SIZE - (3 << 20) - 12_288;

fn shrink(net: &mut Net, n: usize) -> Result<Reply, Denied> {
    let request = net.shrink(n, SMALLER);
    net.settle();
    net.answers[&request].clone()
}

fn grow(net: &mut Net, n: usize) -> Result<Reply, Denied> {
    let request = net.resize(n, SIZE);
    net.settle();
    net.answers[&request].clone()
}

/// Everybody connects, again and again, until nothing is left to do.
fn come_together(net: &mut Net, leader: usize) {
    for _ in 0..4 {
        let other = 1 - leader;
        if !net.connected(0, 1) {
            net.connect(leader, other);
        }
        net.idle();
    }
    assert_eq!(net.peer(leader, 1 - leader).link, LinkStatus::Synced);
    assert_eq!(net.status(0).size, net.status(1).size);
    net.assert_identical(0, 1);
}

#[test]
fn the_leader_becomes_smaller_first_and_what_is_cut_off_is_gone_for_good() {
    for seed in 0..10 {
        let mut net = Net::pair(seed);
        net.put(0, 0, &[1; 10_000]);
        // Under way when it is asked for, on both sides of the new end.
        let before = [net.write(0, SMALLER - 300, &[2; 600]), net.write(0, SIZE - 5000, &[3; 5000])];
        let request = net.shrink(0, SMALLER);
        let late = net.write(0, SMALLER - 1, &[4; 2]);
        assert!(matches!(net.answers[&late], Err(Denied::OutOfRange { size: SMALLER, .. })));
        while !net.answered(request) {
            assert!(net.status(0).size <= net.status(1).size, "the leader is the first");
            net.write(0, seed * 1000, &[5; 100]);
            assert!(net.step());
        }
        net.settle();
        assert_eq!(net.answers[&request], Ok(Reply::Resized { size: SMALLER }));
        assert!(before.iter().all(|w| net.answers[w] == Ok(Reply::Written)));
        assert!((0..2).all(|n| net.heard(n, |e| *e == Event::Resized { size: SMALLER })));
        assert_eq!((net.status(0).size, net.status(1).size), (SMALLER, SMALLER));
        net.put(0, SMALLER - 4, b"last");
        net.flush(0);
        net.settle();
        for n in 0..2 {
            net.crash(n);
            net.boot(n);
            assert_eq!(net.status(n).size, SMALLER);
        }
        // The other one leads on, and it grows again: the new room is empty.
        net.lead(1, grant(2, 1, &[1], 2));
        net.connect(1, 0);
        net.idle();
        net.set_grant(1, grant(2, 1, &[0, 1], 2)).unwrap();
        net.settle();
        assert_eq!(grow(&mut net, 1), Ok(Reply::Resized { size: SIZE }));
        net.assert_identical(0, 1);
        let (kept, new) = net.nodes[0].data.live.split_at(SMALLER as usize);
        assert!(kept.ends_with(b"last") && new.iter().all(|b| *b == 0));
        let verify = net.verify(1);
        net.settle();
        assert!(matches!(&net.answers[&verify], Ok(Reply::Verified(report)) if report.differing.is_empty()));
    }
}

#[test]
fn it_may_shrink_again_over_the_same_link() {
    let mut net = Net::pair(3);
    assert_eq!(shrink(&mut net, 0), Ok(Reply::Resized { size: SMALLER }));
    let size = SMALLER - (1 << 20);
    let request = net.shrink(0, size);
    net.settle();
    assert_eq!(net.answers[&request], Ok(Reply::Resized { size }));
    assert_eq!((net.status(0).size, net.status(1).size), (size, size));
}

#[test]
fn a_follower_that_has_grown_first_is_not_told_to_shrink_again() {
    for seed in 0..12 {
        let mut net = Net::new(3, seed);
        net.connect(0, 1);
        net.connect(0, 2);
        net.lead(0, grant(1, 0, &[0, 1, 2], 1));
        net.settle();
        assert_eq!(shrink(&mut net, 0), Ok(Reply::Resized { size: SMALLER }));
        assert_eq!(grow(&mut net, 0), Ok(Reply::Resized { size: SIZE }));
        assert!((0..3).all(|n| net.status(n).size == SIZE));
        assert!((0..3).all(|n| !net.heard(n, |e| matches!(e, Event::PeerLost { .. }))));
        let sizes = |e: &Event| matches!(e, Event::Resized { .. });
        assert!((0..3).all(|n| net.nodes[n].events.iter().filter(|e| sizes(e)).count() == 2), "down and up");
    }
}

#[test]
fn it_must_be_asked_for_and_every_known_copy_must_be_there() {
    let mut net = Net::pair(1);
    let unasked = net.resize(0, SMALLER);
    let why = net.answers[&unasked].clone().unwrap_err();
    assert_eq!(why, Denied::Shrinks { from: SIZE, to: SMALLER });
    assert!(why.to_string().contains("make the file system on it smaller, then ask to shrink"));
    let request = net.shrink(0, SMALLER + 1);
    assert_eq!(net.answers[&request], Err(Denied::Size(SMALLER + 1)));
    let request = net.shrink(1, SMALLER);
    assert_eq!(net.answers[&request], Err(Denied::NotLeading));
    // Also one that a grant has left out, for it could come back with what was cut off.
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    assert_eq!(shrink(&mut net, 0), Err(Denied::NotSynced(NodeId(1))));
    net.put(0, SIZE - 1, &[1]);
    net.connect(0, 1);
    net.settle();
    assert_eq!(shrink(&mut net, 0), Ok(Reply::Resized { size: SMALLER }));
    net.assert_identical(0, 1);
}

/// At every sync of the metadata, on either side; then the one or the other leads.
#[test]
fn power_may_be_cut_at_any_sync_of_a_shrinking() {
    for (victim, successor) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for k in 1.. {
            let mut net = Net::pair(k + 40);
            for i in 0..12u64 {
                net.write(0, i << 20, &[i as u8 + 1; 4096]);
            }
            net.settle();
            net.nodes[victim].meta.syncs = 0;
            net.nodes[victim].die_after_syncs = Some(k);
            let request = net.shrink(0, SMALLER);
            net.settle();
            if net.nodes[victim].replica.is_some() {
                assert!(k > 2, "file, bitmaps, superblock");
                assert_eq!(net.answers[&request], Ok(Reply::Resized { size: SMALLER }));
                break;
            }
            net.boot(victim);
            let size = net.status(successor).size;
            assert!(size == SIZE || size == SMALLER, "victim {victim} sync {k}: {size}");
            net.cut(0, 1);
            net.lead(successor, grant(2, successor, &[0, 1], 2));
            come_together(&mut net, successor);
            // Nothing that was not cut off is lost, and on both it is the same.
            let size = net.status(0).size;
            assert!(size == SIZE || size == SMALLER);
            let block = |mib: usize| &net.nodes[0].data.live[mib << 20..][..4096];
            assert!(size == SMALLER || block(11) == [12; 4096], "victim {victim} sync {k}");
            assert_eq!(block(8), [9; 4096]);
            assert_eq!(shrink(&mut net, successor), Ok(Reply::Resized { size: SMALLER }));
            net.put(successor, SMALLER - 9, b"everybody");
            net.assert_identical(0, 1);
        }
    }
}

/// Either dies anywhere, and either leads: whatever size comes of it, both are alike, also when it grows again.
#[test]
fn whoever_is_lost_half_way_no_copy_takes_zeros_for_what_was_cut_off() {
    for seed in 0..60 {
        let mut net = Net::pair(seed);
        for i in 0..12u64 {
            net.write(0, (i << 20) + seed * 100, &[i as u8 + 1; 9000]);
        }
        net.flush(0);
        net.idle();
        net.shrink(0, SMALLER);
        for _ in 0..net.random(40) {
            net.step();
        }
        let (victim, successor) = (net.random(2) as usize, net.random(2) as usize);
        net.crash(victim);
        net.cut(0, 1);
        net.settle();
        net.boot(victim);
        if net.status(successor).role != RoleStatus::Leader {
            net.lead(successor, grant(2, successor, &[successor], 2));
        } else {
            net.set_grant(successor, grant(1, successor, &[successor], 2)).unwrap();
        }
        net.put(successor, 77, b"meanwhile");
        come_together(&mut net, successor);
        assert_eq!(grow(&mut net, successor), Ok(Reply::Resized { size: SIZE }), "seed {seed}");
        net.put(successor, SIZE - GRANULE, b"at the end");
        net.flush(successor);
        net.idle();
        net.assert_identical(0, 1);
        let verify = net.verify(successor);
        net.settle();
        let clean = |r: &Result<Reply, Denied>| matches!(r, Ok(Reply::Verified(v)) if v.differing.is_empty());
        assert!(clean(&net.answers[&verify]), "seed {seed}: {:?}", net.answers[&verify]);
    }
}
