//! Damage is copied over what a target has only if that very target was asked for what is right, and did not have it.

use std::time::Duration;

use posthaste_blockrepl::NodeId;
use posthaste_blockrepl::core::{Event, RequestId};

use crate::damaged_source::{AT, BLOCK, come_back, copied, flip, with, without_the_last};
use crate::harness::*;
use crate::image::Image;

/// The other blocks of the granule in which the damage is.
const BESIDE: u64 = AT + 2 * BLOCK as u64;

/// Of these, all but the last one are damaged; the last one lacks another block of the granule. And what is right.
fn right_only_behind(count: usize, seed: u64) -> (Net, Image) {
    let mut net = with(count, seed, small());
    without_the_last(&mut net);
    net.put(0, BESIDE, &[77; BLOCK]);
    let right = net.nodes[0].data.live.clone();
    (0..count - 1).for_each(|n| flip(&mut net, n, AT));
    (net, right)
}

/// All three are members; the two that follow lack a block of the granule, and the leader's copy is damaged.
fn two_behind(seed: u64) -> (Net, Image) {
    let mut net = with(3, seed, small());
    [1, 2].into_iter().for_each(|n| net.cut(0, n));
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.put(0, BESIDE, &[77; BLOCK]);
    let right = net.nodes[0].data.live.clone();
    flip(&mut net, 0, AT);
    (net, right)
}

fn healed(net: &Net, right: &Image) {
    assert!(net.nodes.iter().all(|n| n.data.live == *right));
    assert_eq!(copied(net), []);
}

/// `n`'s disk is asked for what is right and has not answered yet.
fn judged_and_held(net: &mut Net, n: usize) {
    net.hung_data = Some(n);
    net.connect(0, n);
    net.settle();
    net.pause_resync(0, n, true);
    net.hung_data = None;
    net.settle();
}

#[test]
fn a_target_is_asked_though_the_chunk_is_being_healed_from_the_others_already() {
    let scrub_here: fn(&mut Net) -> RequestId = |net| net.scrub(0);
    let scrub_there: fn(&mut Net) -> RequestId = |net| net.scrub(1);
    let read: fn(&mut Net) -> RequestId = |net| net.read(0, AT, 100);
    for (seed, begin) in (0..6).zip([scrub_here, read, scrub_there].into_iter().cycle()) {
        let (mut net, right) = right_only_behind(3, seed);
        net.deaf = Some(1);
        begin(&mut net);
        net.settle();
        come_back(&mut net);
        net.deaf = None;
        net.settle();
        assert!(net.synced(0, 2), "seed {seed}");
        healed(&net, &right);
    }
}

#[test]
fn a_target_that_comes_when_all_others_were_asked_is_asked_as_well() {
    for seed in 0..4 {
        let (mut net, right) = two_behind(seed);
        flip(&mut net, 1, AT);
        judged_and_held(&mut net, 1);
        net.connect(0, 2);
        net.settle();
        assert!(net.synced(0, 2));
        net.pause_resync(0, 1, false);
        net.settle();
        assert!(net.synced(0, 1));
        healed(&net, &right);
    }
}

/// What it was asked for is not what is damaged now.
#[test]
fn a_target_that_was_asked_before_a_write_is_asked_again() {
    for len in [BLOCK, 2 * BLOCK] {
        let mut net = with(2, 1, small());
        without_the_last(&mut net);
        net.put(0, AT, &[77; BLOCK]);
        flip(&mut net, 0, AT);
        judged_and_held(&mut net, 1);
        net.put(0, AT, &vec![77; len]);
        net.put(0, BESIDE, &[78; BLOCK]);
        let right = net.nodes[0].data.live.clone();
        flip(&mut net, 0, AT);
        net.pause_resync(0, 1, false);
        net.settle();
        assert!(net.synced(0, 1));
        healed(&net, &right);
    }
}

#[test]
fn targets_that_come_and_go_in_turn_are_copied_at_last() {
    for seed in 0..20 {
        let (mut net, _) = two_behind(seed);
        (1..3).for_each(|n| flip(&mut net, n, AT));
        for turn in 0..12 {
            let (comes, goes) = (1 + turn % 2, 2 - turn % 2);
            net.connect(0, comes);
            for _ in 0..net.random(60) {
                net.step();
            }
            net.cut(0, goes);
        }
        for n in [1, 2] {
            net.connect(0, n);
        }
        net.settle();
        assert!(net.synced(0, 1) && net.synced(0, 2), "seed {seed}");
        (1..3).for_each(|n| net.assert_identical(0, n));
        assert!((1..3).all(|n| net.status(n).integrity.damaged_bytes == BLOCK as u64), "seed {seed}");
    }
}

/// A write into the granule, and whether it is answered without that time passes.
fn answered_at_once(net: &mut Net) -> (RequestId, bool) {
    let write = net.write(0, AT + 3 * BLOCK as u64, &[5; BLOCK]);
    net.settle();
    (write, net.answered(write))
}

#[test]
fn a_target_whose_disk_hangs_holds_up_nobody_where_another_copy_is_right() {
    // In step, or on the way there.
    for in_step in [true, false] {
        let (mut net, _) = match in_step {
            true => {
                let (mut net, right) = right_only_behind(3, 1);
                flip(&mut net, 1, AT);
                (net, right)
            }
            false => two_behind(1),
        };
        net.hung_data = Some(2);
        for n in if in_step { 2..3 } else { 1..3 } {
            net.connect(0, n);
        }
        net.settle();
        let (_, answered) = answered_at_once(&mut net);
        assert!(answered, "in step: {in_step}");
        let right = net.nodes[0].data.live.clone();
        net.hung_data = None;
        net.settle();
        assert!(net.synced(0, 2));
        healed(&net, &right);
    }
}

#[test]
fn a_target_whose_disk_hangs_holds_up_writes_for_a_while_only_and_is_asked_again_when_it_answers() {
    let slow = small().slow_after;
    let (mut net, _) = right_only_behind(2, 3);
    net.hung_data = Some(1);
    net.connect(0, 1);
    net.settle();
    let (write, answered) = answered_at_once(&mut net);
    assert!(!answered, "it is waited for");
    let read = net.read(0, AT, 100);
    let begun = net.now;
    while !(net.answered(write) && net.answered(read)) {
        assert!(net.wait(0) && net.now <= begun + 4 * slow);
        net.settle();
    }
    assert!(net.heard(0, |e| *e == Event::PeerSlow { peer: NodeId(1), in_sync: false }));
    // Nor is it waited for again, nor is anything copied over what it has, however long it takes.
    for _ in 0..20 {
        net.now += Duration::from_secs(1);
        net.wait(0);
        net.settle();
        assert!(answered_at_once(&mut net).1);
    }
    assert_eq!(copied(&net), []);
    let mut right = net.nodes[0].data.live.clone();
    right[AT as usize + 17] ^= 4;
    net.hung_data = None;
    net.settle();
    assert!(net.synced(0, 1));
    healed(&net, &right);
    assert_eq!(net.status(0).integrity.damaged_bytes, 0);
}

/// Slow, not broken: neither is the granule left out, nor does the leader's disk count as failed for it.
#[test]
fn a_target_that_answers_too_late_each_time_is_asked_again_each_time() {
    let (mut net, right) = right_only_behind(2, 4);
    net.deaf = Some(0);
    net.connect(0, 1);
    for _ in 0..60 {
        net.settle();
        net.deaf = None;
        net.step();
        net.deaf = Some(0);
        net.settle();
        net.now += 5 * small().slow_after;
        net.wait(0);
    }
    assert_eq!(copied(&net), []);
    assert!(net.heard(0, |e| matches!(e, Event::PeerSlow { .. })));
    assert!(!net.heard(0, |e| matches!(e, Event::Unreadable { .. })));
    net.deaf = None;
    net.settle();
    assert!(net.synced(0, 1));
    healed(&net, &right);
}

/// What the checksum here does not vouch for, no target has right: its answer is not waited for, nor asked for again.
#[test]
fn what_cannot_be_read_and_has_no_checksum_is_left_out_at_once() {
    for seed in 0..4 {
        let mut net = with(2, seed, small());
        without_the_last(&mut net);
        net.put(0, AT + 100, &[77; 10]);
        net.nodes[0].unreadable.push(AT + 5);
        net.nodes[0].events.clear();
        net.hung_data = Some(1);
        net.connect(0, 1);
        net.settle();
        let told = |e: &&Event| matches!(e, Event::Unreadable { .. });
        assert_eq!(net.nodes[0].events.iter().filter(told).count(), 1, "seed {seed}");
        net.hung_data = None;
        net.settle();
        assert!(!net.synced(0, 1) && net.status(0).failed.is_none());
        net.put(0, AT, &[78; BLOCK]);
        net.settle();
        assert!(net.synced(0, 1), "written, it is copied");
        net.assert_identical(0, 1);
    }
}
