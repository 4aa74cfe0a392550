//! Coming back: dirty granules, before-images, divergence, verify, crash images.

use posthaste_blockrepl::core::{Denied, Event, Reply};
use posthaste_blockrepl::{Config, GRANULE, NodeId, UndoPolicy};

use crate::harness::*;
use crate::image::Image;

/// Node 1 is removed, node 0 goes on alone.
fn alone(net: &mut Net) {
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.settle();
}

#[test]
fn a_returning_peer_gets_only_what_it_missed() {
    for seed in 0..10 {
        let mut net = Net::pair(seed);
        net.put(0, 0, &[7; 300_000]);
        net.flush(0);
        net.idle();
        alone(&mut net);
        net.put(0, 3 * GRANULE + 5, b"one granule");
        net.put(0, 9 * GRANULE - 2, b"two granules");
        net.flush(0);
        net.settle();
        let before = net.nodes[1].written;
        net.connect(0, 1);
        net.settle();
        assert!(net.synced(0, 1));
        net.assert_identical(0, 1);
        assert_eq!(net.nodes[1].written - before, 3 * GRANULE);
        net.set_grant(0, grant(1, 0, &[0, 1], 2)).unwrap();
        net.settle();
        assert!(net.status(1).consistent);
        assert_eq!(net.status(1).generation, net.status(0).generation);
    }
}

/// The checksums of some granules stand on two pages; of a large device not all pages are kept in memory.
#[test]
fn granules_across_two_pages_of_checksums_are_copied_though_few_pages_are_kept() {
    const PAGE: u64 = 1020 * 4096;
    let places = || (1..160).step_by(2).map(|page| page * PAGE);
    let mut net = Net::sized(2, 1, Config { undo_bytes: Some(16 << 20), ..small() }, 160 * PAGE);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    alone(&mut net);
    for at in places() {
        net.put(0, at - 1, b"on both pages");
    }
    net.flush(0);
    net.settle();
    net.connect(0, 1);
    net.settle();
    assert!(net.synced(0, 1));
    for at in places() {
        let at = at as usize - 1;
        assert_eq!(net.nodes[1].data.live[at..][..13], *b"on both pages");
    }
}

#[test]
fn a_clean_reconnect_copies_nothing() {
    let mut net = Net::pair(1);
    net.put(0, 0, &[1; 200_000]);
    net.flush(0);
    net.idle();
    let before = net.nodes[1].written;
    net.cut(0, 1);
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.nodes[1].written, before);
    assert_eq!(net.status(0).peers[0].dirty_bytes, 0);
}

#[test]
fn foreground_writes_go_on_during_a_resync() {
    for seed in 0..20 {
        let mut net = Net::pair(seed);
        alone(&mut net);
        for g in 0..40 {
            net.write(0, g * GRANULE, &[g as u8 + 1; 4096]);
        }
        net.settle();
        net.connect(0, 1);
        for i in 0..200u64 {
            let at = net.random(40 * GRANULE);
            net.write(0, at, &i.to_le_bytes());
            for _ in 0..5 {
                net.step();
            }
        }
        net.flush(0);
        net.settle();
        assert!(net.synced(0, 1));
        net.assert_identical(0, 1);
    }
}

#[test]
fn a_resync_resumes_after_a_break_and_after_a_crash_of_either_side() {
    for seed in 0..30 {
        let mut net = Net::pair(seed);
        alone(&mut net);
        for g in 0..40 {
            net.write(0, g * GRANULE, &[g as u8 + 1; 4096]);
        }
        net.flush(0);
        net.settle();
        net.connect(0, 1);
        for _ in 0..40 + net.random(150) {
            net.step();
        }
        match seed % 3 {
            0 => net.cut(0, 1),
            1 => {
                net.crash(1);
                net.boot(1);
            }
            _ => {
                net.crash(0);
                net.boot(0);
                net.lead(0, grant(2, 0, &[0], 2));
            }
        }
        net.settle();
        net.connect(0, 1);
        net.settle();
        net.assert_identical(0, 1);
        assert!(net.status(1).consistent, "seed {seed}");
    }
}

/// The old leader's unacknowledged writes are undone by its successor's data.
#[test]
fn a_crashed_leader_comes_back_identical_to_its_successor() {
    for seed in 0..30 {
        let mut net = Net::pair(seed);
        for i in 0..30u8 {
            let at = net.random(SIZE - 5000);
            net.write(0, at, &[i + 1; 5000]);
        }
        for _ in 0..net.random(120) {
            net.step();
        }
        net.crash(0);
        net.lead(1, grant(2, 1, &[1], 2));
        net.put(1, 0, b"successor");
        let flush = net.flush(1);
        net.settle();
        assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
        net.boot(0);
        net.connect(1, 0);
        net.settle();
        assert!(net.synced(1, 0), "seed {seed}");
        net.assert_identical(0, 1);
    }
}

#[test]
fn after_a_leaders_crash_only_hot_extents_are_copied() {
    let mut net = Net::pair(3);
    net.put(0, 0, b"hot");
    net.flush(0);
    net.settle();
    net.crash(0);
    net.boot(0);
    let before = net.nodes[1].written;
    net.lead(0, grant(2, 0, &[0, 1], 1));
    net.connect(0, 1);
    net.settle();
    let copied = net.nodes[1].written - before;
    assert!(copied > 0 && copied <= 2 << 20, "{copied} bytes: at most the two hot extents");
    net.assert_identical(0, 1);
}

#[test]
fn a_clean_close_leaves_nothing_hot_and_keeps_the_bitmap() {
    let mut net = Net::pair(4);
    alone(&mut net);
    net.put(0, 5 * GRANULE, b"missed");
    net.flush(0);
    net.settle();
    let close = net.close(0);
    net.settle();
    assert_eq!(net.answers[&close], Ok(Reply::Closed));
    net.crash(0);
    net.boot(0);
    assert_eq!(net.status(0).hot_bytes, 0);
    net.lead(0, grant(2, 0, &[0], 2));
    let before = net.nodes[1].written;
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.nodes[1].written - before, GRANULE);
    net.assert_identical(0, 1);
}

#[test]
fn a_new_device_is_copied_in_full() {
    let mut net = Net::pair(5);
    net.put(0, SIZE - 10, b"the end.");
    net.flush(0);
    net.settle();
    alone(&mut net);
    net.replace_disk(1, 77);
    net.connect(0, 1);
    net.settle();
    let full = Event::ResyncStarted { peer: NodeId(1), bytes: SIZE, full: true };
    assert!(net.nodes[0].events.contains(&full));
    net.assert_identical(0, 1);
}

/// Stops in the middle of a resync of node 1: node 0 dies.
fn source_dies(seed: u64, config: Config) -> (Net, Image) {
    let mut net = Net::with(2, seed, config);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.put(0, 0, &[1; 600_000]);
    net.flush(0);
    net.settle();
    let consistent = net.nodes[1].data.live.clone();
    alone(&mut net);
    for g in 0..12 {
        net.write(0, g * GRANULE, &[9; 4096]);
    }
    net.flush(0);
    net.settle();
    net.connect(0, 1);
    let before = net.nodes[1].written;
    while net.nodes[1].written < before + 3 * GRANULE {
        assert!(net.step());
    }
    net.crash(0);
    (net, consistent)
}

/// R9.
#[test]
fn an_inconsistent_replica_refuses_to_lead_until_rolled_back() {
    for seed in 0..10 {
        let (mut net, consistent) = source_dies(seed, small());
        if seed % 2 == 0 {
            net.crash(1);
            net.boot(1);
        }
        let raised = net.raise(1, 2).unwrap();
        assert!(!raised.consistent && raised.can_roll_back);
        assert_eq!(net.try_lead(1, grant(2, 1, &[1], 3)), Err(Denied::Inconsistent));
        let rollback = net.rollback(1);
        net.settle();
        assert_eq!(net.answers[&rollback], Ok(Reply::RolledBack));
        assert!(net.nodes[1].data.live == consistent, "the state before the resync is back");
        net.try_lead(1, grant(2, 1, &[1], 3)).unwrap();

        // The source returns with data that was given up: nobody overwrites it unasked.
        net.boot(0);
        net.connect(1, 0);
        net.settle();
        assert!(net.nodes[1].events.iter().any(|e| matches!(e, Event::Diverged { common: Some(_), .. })));
        assert!(!net.connected(0, 1));
        net.input(1, posthaste_blockrepl::core::Input::Discard { device: identity(0).device });
        net.connect(1, 0);
        net.settle();
        net.assert_identical(0, 1);
    }
}

#[test]
fn a_rollback_that_was_interrupted_is_finished_by_the_next() {
    for seed in 0..10 {
        let (mut net, consistent) = source_dies(seed, small());
        net.settle();
        net.rollback(1);
        for _ in 0..net.random(12) {
            net.step();
        }
        net.crash(1);
        net.boot(1);
        let again = net.rollback(1);
        net.settle();
        let done = [Ok(Reply::RolledBack), Err(Denied::NoRollback("the replica is consistent"))];
        assert!(done.contains(&net.answers[&again]), "{:?}", net.answers[&again]);
        assert!(net.nodes[1].data.live == consistent, "seed {seed}");
    }
}

#[test]
fn after_a_rollback_the_same_source_still_copies_everything_that_differs() {
    for seed in 0..10 {
        let (mut net, _) = source_dies(seed, small());
        net.settle();
        let rollback = net.rollback(1);
        net.settle();
        assert_eq!(net.answers[&rollback], Ok(Reply::RolledBack));
        net.boot(0);
        net.lead(0, grant(2, 0, &[0], 2));
        net.connect(0, 1);
        net.settle();
        net.assert_identical(0, 1);
        assert!(net.status(1).consistent);
    }
}

/// What is copied by digest shows only on the way; otherwise it is known before the first copy whether it fits.
#[test]
fn a_full_undo_area_gives_up_the_rollback_or_holds_the_resync() {
    for resync_by_digest in [false, true] {
        let tiny = Config { undo_bytes: Some(GRANULE), resync_by_digest, ..small() };
        let (mut net, _) = source_dies(1, tiny.clone());
        net.settle();
        assert!(net.heard(1, |e| matches!(e, Event::UndoLost { .. })));
        let raised = net.raise(1, 2).unwrap();
        assert!(!raised.consistent && !raised.can_roll_back);
        let rollback = net.rollback(1);
        net.settle();
        assert_eq!(net.answers[&rollback], Err(Denied::NoRollback("its before-images were given up")));

        let mut net = Net::with(2, 1, Config { undo_policy: UndoPolicy::Hold, ..tiny });
        net.connect(0, 1);
        net.lead(0, grant(1, 0, &[0, 1], 1));
        alone(&mut net);
        for g in 0..12 {
            net.write(0, g * GRANULE, &[9; 4096]);
        }
        net.settle();
        net.connect(0, 1);
        net.settle();
        assert!(!net.connected(0, 1));
        let refused = |e: &Event| {
            e.clone()
                == Event::RefusedBy { peer: NodeId(1), why: posthaste_blockrepl::wire::Refusal::UndoFull }
        };
        assert!(net.nodes[0].events.iter().any(refused));
        assert_eq!(net.status(1).consistent, !resync_by_digest, "what does not fit does not begin");
        assert!(!net.heard(1, |e| matches!(e, Event::UndoLost { .. })));
    }
}

#[test]
fn no_image_is_kept_of_a_resync_that_will_not_fit_and_each_of_one_that_just_does() {
    let resync = |granules: u64| {
        let mut net = Net::with(2, 3, Config { undo_bytes: Some(4 * GRANULE), ..small() });
        net.connect(0, 1);
        net.lead(0, grant(1, 0, &[0, 1], 1));
        alone(&mut net);
        (0..granules).for_each(|g| net.put(0, g * GRANULE, &[9; 4096]));
        let before = net.nodes[1].meta_writes;
        net.connect(0, 1);
        net.settle();
        assert!(net.synced(0, 1));
        (net.nodes[1].meta_writes - before, net.heard(1, |e| matches!(e, Event::UndoLost { .. })))
    };
    let ((with, kept), (without, lost)) = (resync(4), resync(5));
    assert!(!kept && lost);
    assert_eq!(with, without + 4 * 2, "an image and its head");
}

#[test]
fn a_before_image_that_cannot_be_read_gives_up_the_rollback_not_the_disk() {
    let mut net = Net::new(2, 8);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    alone(&mut net);
    net.put(0, 3 * GRANULE, &[9; 4096]);
    net.nodes[1].unreadable.push(3 * GRANULE + 10);
    net.connect(0, 1);
    net.settle();
    assert!(net.heard(1, |e| matches!(e, Event::UndoLost { .. })) && net.status(1).failed.is_none());
    assert!(net.synced(0, 1) && net.nodes[1].unreadable.is_empty(), "it was overwritten");
    net.assert_identical(0, 1);
}

#[test]
fn verify_finds_a_flipped_byte_and_heals_it() {
    for seed in 0..5 {
        let mut net = Net::pair(seed);
        net.put(0, 0, &[5; 1_000_000]);
        net.flush(0);
        net.settle();
        net.nodes[1].data.live[2 * GRANULE as usize + 17] ^= 4;
        let verify = net.verify(0);
        for i in 0..30u64 {
            let at = net.random(SIZE - 8);
            net.write(0, at, &i.to_le_bytes());
            net.step();
        }
        net.settle();
        let Ok(Reply::Verified(report)) = &net.answers[&verify] else { panic!() };
        assert_eq!((report.peers.as_slice(), report.checked_bytes), (&[NodeId(1)][..], SIZE));
        let found: Vec<_> = report.differing.iter().map(|d| (d.node, d.offset, d.len)).collect();
        assert!(found == [(NodeId(1), 2 * GRANULE, 4096)] || found.is_empty() && seed > 0, "{found:?}");
        net.assert_identical(0, 1);
        assert_eq!(net.status(0).peers[0].dirty_bytes, 0);
        let second = net.verify(0);
        net.settle();
        let Ok(Reply::Verified(report)) = &net.answers[&second] else { panic!() };
        assert!(report.differing.is_empty());
    }
}

/// A third replica that never left has exactly the successor's data, and one that was away is told.
#[test]
fn three_replicas_agree_after_the_leader_dies() {
    for seed in 0..20 {
        let mut net = Net::new(3, seed);
        net.connect(0, 1);
        net.connect(0, 2);
        net.lead(0, grant(1, 0, &[0, 1, 2], 1));
        for i in 0..40u8 {
            let at = net.random(SIZE - 3000);
            net.write(0, at, &[i + 1; 3000]);
            if i % 10 == 9 {
                net.flush(0);
            }
        }
        for _ in 0..net.random(300) {
            net.step();
        }
        net.crash(0);
        net.settle();
        net.lead(1, grant(2, 1, &[1], 2));
        net.connect(1, 2);
        net.settle();
        assert!(net.synced(1, 2));
        net.assert_identical(1, 2);
        net.boot(0);
        net.connect(1, 0);
        net.settle();
        net.assert_identical(1, 0);
    }
}

/// Power is cut at every sync of the metadata, in turn; the replica always opens and comes back.
#[test]
fn every_crash_point_of_the_metadata_recovers() {
    for victim in 0..2 {
        for k in 1.. {
            let mut net = Net::pair(k + 100);
            net.nodes[victim].meta.syncs = 0;
            net.nodes[victim].die_after_syncs = Some(k);
            script(&mut net);
            if net.nodes[victim].replica.is_some() {
                assert!(k > 5, "the script has metadata syncs");
                break;
            }
            net.boot(victim);
            net.settle();
            let other = 1 - victim;
            // The survivor leads if it may; otherwise the other one does.
            let generation =
                net.status(other).generation.generation.max(net.status(victim).generation.generation);
            let leader = if victim == 0 && net.status(1).consistent { 1 } else { 0 };
            net.lead(leader, grant(50, leader, &[leader], generation + 1));
            let back = 1 - leader;
            net.input(leader, posthaste_blockrepl::core::Input::Discard { device: identity(back).device });
            net.connect(leader, back);
            net.settle();
            assert!(net.status(back).consistent, "victim {victim} sync {k}");
            net.assert_identical(0, 1);
        }
    }
}

/// Writes into many extents, a removal, a resync: every kind of metadata update.
pub fn script(net: &mut Net) {
    for i in 0..12u64 {
        net.write(0, (i * 7 % 4) * (1 << 20) + i * GRANULE, &[i as u8 + 1; 4096]);
    }
    net.flush(0);
    net.settle();
    if net.nodes.iter().any(|n| n.replica.is_none()) {
        return;
    }
    alone(net);
    if net.nodes[0].replica.is_none() {
        return;
    }
    for i in 0..12u64 {
        net.write(0, i * 3 * GRANULE, &[i as u8 + 50; 4096]);
    }
    net.flush(0);
    net.settle();
    if net.nodes.iter().any(|n| n.replica.is_none()) {
        return;
    }
    net.connect(0, 1);
    net.settle();
}

/// A leader tells nobody of a generation that it may yet forget: started anew without it, it would take
/// whoever has it for diverged.
#[test]
fn a_follower_adopts_no_generation_before_it_is_durable_on_the_leader() {
    let mut net = Net::pair(41);
    net.settle();
    net.cut(0, 1);
    net.hung = Some(0);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.connect(0, 1);
    net.settle();
    net.crash(0);
    net.hung = None;
    net.boot(0);
    net.nodes[0].events.clear();
    net.lead(0, grant(2, 0, &[0], 3));
    net.connect(0, 1);
    net.settle();
    let diverged = |e: &Event| matches!(e, Event::Diverged { .. });
    assert!(!net.nodes[0].events.iter().any(diverged));
    assert!(net.synced(0, 1));
}
