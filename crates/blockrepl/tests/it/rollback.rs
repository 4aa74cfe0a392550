//! The way back to before a resync (R9): whole, or refused and told; never a part of it taken for the whole.

use posthaste_blockrepl::core::{Denied, Event, Reply};
use posthaste_blockrepl::{Config, GRANULE};

use crate::format_records::whole;
use crate::harness::*;
use crate::image::Image;

const GRANULES: u64 = 24;

/// The follower misses 24 granules, and the link is cut when the leader has copied some of them. And the follower's data before.
fn half_copied(seed: u64) -> (Net, Image) {
    let mut net = Net::with(2, seed, Config { undo_bytes: Some(4 << 20), ..small() });
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    for n in 0..3 {
        net.put(0, n << 20, &[1 + n as u8; 1 << 20]);
    }
    net.flush(0);
    net.idle();
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    // Not side by side: they come one by one.
    for g in 0..GRANULES {
        net.put(0, 2 * g * GRANULE, &[9; 4096]);
    }
    net.flush(0);
    net.settle();
    let before = net.nodes[1].data.live.clone();
    net.connect(0, 1);
    let written = net.nodes[1].written;
    while net.nodes[1].written < written + 14 * GRANULE {
        assert!(net.step());
    }
    (net, before)
}

fn rolled_back(net: &mut Net) -> Result<Reply, Denied> {
    let rollback = net.rollback(1);
    net.settle();
    net.answers[&rollback].clone()
}

/// What it has put back, the source takes for copied.
#[test]
fn a_resync_that_goes_on_after_a_rollback_that_was_interrupted_copies_what_was_put_back() {
    let mut interrupted = 0;
    for seed in 0..30 {
        let (mut net, _) = half_copied(seed);
        while net.peer(0, 1).dirty_bytes > 0 {
            assert!(net.step());
        }
        net.cut(0, 1);
        net.settle();
        net.rollback(1);
        for _ in 0..net.random(40) {
            net.step();
        }
        net.crash(1);
        net.boot(1);
        interrupted += u32::from(!net.status(1).consistent);
        net.connect(0, 1);
        net.settle();
        assert!(net.status(1).consistent);
        net.assert_identical(0, 1);
    }
    assert!(interrupted > 5);
}

/// Where the entries of the undo area lie at node 1, and how long each is.
fn undo_area(net: &Net) -> (usize, usize) {
    let meta = &net.nodes[1].meta.live;
    let newest = |at: &usize| u64::from_le_bytes(meta[at + 16..at + 24].try_into().unwrap());
    let at = [0, 16384].into_iter().max_by_key(newest).unwrap() + 120;
    (u64::from_le_bytes(meta[at..at + 8].try_into().unwrap()) as usize, 4096 + GRANULE as usize)
}

/// But for what stands in the place of the next one.
fn entries(net: &Net) -> impl Iterator<Item = &[u8]> {
    let (at, len) = undo_area(net);
    net.nodes[1].meta.live[at..].chunks(len).take_while(|entry| whole(entry, b"PHREPLUN"))
}

/// How many entries another one says were durable before it.
fn durable(net: &Net) -> usize {
    entries(net)
        .map(|entry| u32::from_le_bytes(entry[36..40].try_into().unwrap()) as usize)
        .max()
        .unwrap_or(0)
}

#[test]
fn a_before_image_that_rotted_gives_up_the_rollback_and_is_told() {
    for seed in 0..12 {
        let (mut net, _) = half_copied(seed);
        let last = seed % 2 == 0;
        if last {
            net.cut(0, 1);
            net.settle();
            net.raise(1, 2).unwrap();
        }
        net.crash(1);
        let (at, len) = undo_area(&net);
        let rotten = if last { entries(&net).count() - 1 } else { seed as usize % durable(&net) };
        net.nodes[1].meta.rot(at + rotten * len + 5000);
        net.nodes[1].events.clear();
        net.boot(1);
        net.collect(1);
        assert!(
            net.heard(1, |e| *e == Event::UndoLost { reason: "a before-image is damaged" }),
            "seed {seed}"
        );
        let raised = net.raise(1, 3).unwrap();
        assert!(!raised.consistent && !raised.can_roll_back);
        let damaged = Denied::NoRollback("its before-images were given up");
        assert_eq!(rolled_back(&mut net), Err(damaged.clone()));
        assert_eq!(net.try_lead(1, grant(3, 1, &[1], 3)), Err(Denied::Inconsistent));
        // Nor is it forgotten.
        net.crash(1);
        net.boot(1);
        assert_eq!(rolled_back(&mut net), Err(damaged));
        net.lead(0, grant(4, 0, &[0], 3));
        net.connect(0, 1);
        net.settle();
        assert!(net.status(1).consistent);
        net.assert_identical(0, 1);
    }
}

/// What a power cut has left of the last entries is not rot: what they speak of was not overwritten.
#[test]
fn entries_that_a_power_cut_has_torn_are_not_missed() {
    for seed in 0..20 {
        let (mut net, before) = half_copied(seed);
        net.crash(1);
        net.boot(1);
        assert!(!net.heard(1, |e| matches!(e, Event::UndoLost { .. })), "seed {seed}");
        assert_eq!(rolled_back(&mut net), Ok(Reply::RolledBack));
        assert!(net.nodes[1].data.live == before, "seed {seed}");
    }
}

/// A bad sector in the undo area costs the way back at most, not the replica.
#[test]
fn a_bad_sector_in_the_undo_area_does_not_keep_a_replica_from_being_opened() {
    for seed in 0..12 {
        let (mut net, before) = half_copied(seed);
        net.crash(1);
        let (at, len) = undo_area(&net);
        let slots = (net.nodes[1].meta.live.len() - at) / len;
        // In an entry, in its head, and where there is none.
        let bad = [5000, 0, (slots - 1) * len][seed as usize % 3];
        // What stands in the place of the next entry says that there is none behind it.
        let told = seed % 2 == 0;
        if told {
            net.boot(1);
            net.idle();
            net.crash(1);
        } else {
            let end = at + entries(&net).count() * len;
            net.nodes[1].meta.rot(end);
        }
        net.nodes[1].events.clear();
        net.nodes[1].unreadable_meta = vec![(at + bad) as u64];
        net.boot(1);
        net.collect(1);
        let lost = !told || seed % 3 != 2;
        assert_eq!(net.heard(1, |e| matches!(e, Event::UndoLost { .. })), lost, "seed {seed}");
        if !lost {
            assert_eq!(rolled_back(&mut net), Ok(Reply::RolledBack));
            assert!(net.nodes[1].data.live == before, "seed {seed}");
        }
        net.connect(0, 1);
        net.settle();
        assert!(net.status(1).consistent);
        net.assert_identical(0, 1);
    }
}

/// What was found when the replica was opened is overwritten without another entry that says that it is durable.
#[test]
fn an_entry_found_at_open_that_rots_once_it_is_needed_is_missed() {
    for seed in 0..40 {
        let (mut net, _) = half_copied(seed);
        net.crash(1);
        let found = entries(&net).count();
        net.boot(1);
        net.connect(0, 1);
        let written = net.nodes[1].written;
        while net.nodes[1].written == written {
            assert!(net.step());
        }
        let (at, len) = undo_area(&net);
        net.nodes[1].meta.rot(at + (found - 1) * len + 5000);
        net.crash(1);
        net.nodes[1].events.clear();
        net.boot(1);
        net.collect(1);
        assert!(net.heard(1, |e| matches!(e, Event::UndoLost { .. })), "seed {seed}");
    }
}
