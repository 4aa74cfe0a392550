//! How a resync is held, slowed down, resumed, and what it copies.

use std::time::Duration;

use posthaste_blockrepl::core::{Event, LinkStatus, Reply};
use posthaste_blockrepl::{Config, GRANULE};

use crate::harness::*;

/// Node 1 is away while node 0 writes into these granules.
fn away(seed: u64, config: Config, granules: u64) -> Net {
    let mut net = Net::with(2, seed, config);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.settle();
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    for g in 0..granules {
        net.write(0, g * GRANULE, &[g as u8 + 1; 4096]);
    }
    net.flush(0);
    net.settle();
    net.nodes.iter_mut().for_each(|n| n.events.clear());
    net
}

#[test]
fn a_paused_resync_copies_nothing_takes_new_writes_and_goes_on_when_resumed() {
    let mut net = away(1, small(), 40);
    net.pause_resync(0, 1, true);
    net.connect(0, 1);
    net.settle();
    let before = net.nodes[1].written;
    net.put(0, 100 * GRANULE, &[9; 512]);
    assert_eq!(net.nodes[1].written - before, 512);
    assert_eq!(net.peer(0, 1).link, LinkStatus::Syncing);
    assert!(net.peer(0, 1).resync.unwrap().paused);
    // A break does not forget it.
    net.cut(0, 1);
    net.connect(0, 1);
    net.settle();
    assert!(net.peer(0, 1).resync.unwrap().paused && net.peer(0, 1).dirty_bytes >= 40 * GRANULE);
    net.pause_resync(0, 1, false);
    net.settle();
    assert!(net.synced(0, 1));
    net.assert_identical(0, 1);
}

#[test]
fn a_resync_never_goes_faster_than_its_most_and_is_woken_in_time() {
    let config = Config { resync_rate_max: 1 << 20, ..small() };
    let mut net = away(2, config, 100);
    let (began, before) = (net.now, net.nodes[1].written);
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.peer(0, 1).resync.unwrap().rate, Some(1 << 20));
    while !net.synced(0, 1) {
        assert!(net.wait(0), "a resync that waits for its time says when to wake it");
        net.settle();
        let (time, bytes) = (net.now - began, net.nodes[1].written - before);
        assert!(bytes as f64 <= (time.as_secs_f64() + 0.3) * (1 << 20) as f64, "{bytes} in {time:?}");
    }
    assert!(net.now - began < Duration::from_secs(9), "{:?} for 6.25 MiB", net.now - began);
    net.assert_identical(0, 1);
}

/// Flushes of the owner take 200 ms each as long as the resync is quicker than 2 MiB/s.
#[test]
fn the_owners_own_flushes_come_first() {
    let config = Config { resync_rate_min: 1 << 20, resync_window_bytes: 2 * GRANULE, ..small() };
    let mut net = away(3, config, 180);
    net.connect(0, 1);
    while net.peer(0, 1).link != LinkStatus::Syncing {
        assert!(net.step());
    }
    let mut slowest = u64::MAX;
    for i in 0..60u64 {
        net.write(0, i * 512, &[1; 512]);
        let flush = net.flush(0);
        net.hold_disks = Some(0);
        net.now += Duration::from_millis(200);
        net.hold_disks = None;
        while !net.answered(flush) {
            assert!(net.step());
        }
        for _ in 0..20 {
            net.step();
        }
        if let Some(rate) = net.peer(0, 1).resync.and_then(|r| r.rate) {
            slowest = slowest.min(rate);
        }
    }
    assert_eq!(slowest, 1 << 20, "it goes down to its least, and no further");
    // The owner falls silent: as fast as it goes.
    net.idle();
    net.idle();
    for _ in 0..100 {
        net.wait(0);
        net.settle();
    }
    assert!(net.synced(0, 1));
    net.assert_identical(0, 1);
}

#[test]
fn the_next_part_of_the_window_is_copied_while_the_former_is_flushed() {
    let config = Config { resync_window_bytes: 32 * GRANULE, ..small() };
    let mut net = away(4, config, 180);
    let before = net.nodes[1].written;
    net.connect(0, 1);
    while net.peer(0, 1).link != LinkStatus::Syncing {
        assert!(net.step());
    }
    // It takes in everything, and none of its answers arrives.
    net.deaf = Some(0);
    let syncs = net.nodes[1].data.syncs;
    net.settle();
    assert_eq!(net.nodes[1].data.syncs, syncs + 1, "a part is flushed before the window is full");
    let copied = net.nodes[1].written - before;
    assert!((32 * GRANULE..=33 * GRANULE).contains(&copied), "{copied}: no more than the window");
    net.deaf = None;
    net.settle();
    assert!(net.synced(0, 1));
    net.assert_identical(0, 1);
}

/// Granules with data and granules of zeros, in runs, up to an end that is no whole granule of a run.
#[test]
fn runs_of_granules_are_copied_whole() {
    for seed in 0..4 {
        let mut net = away(seed, small(), 0);
        for _ in 0..60 {
            let g = net.random(SIZE / GRANULE);
            let data = if net.random(3) == 0 { [0; 5000] } else { [g as u8 | 1; 5000] };
            net.put(0, g * GRANULE + 100, &data);
        }
        net.put(0, SIZE - 10, b"the end...");
        net.connect(0, 1);
        net.settle();
        assert!(net.synced(0, 1));
        net.assert_identical(0, 1);
    }
}

/// R9, wherever power is cut while several windows are on their way.
#[test]
fn no_copy_reaches_the_disk_before_its_image_is_durable() {
    let mut rolled_back = 0;
    for seed in 0..18 {
        let config = Config {
            resync_window_bytes: (4 << (seed % 6)) * GRANULE,
            resync_by_digest: seed % 3 == 0,
            undo_bytes: Some(SIZE),
            ..small()
        };
        let mut net = away(seed, config, 0);
        let consistent = net.nodes[1].data.live.clone();
        for g in 0..100 {
            net.write(0, g * GRANULE, &[g as u8 + 1; 4096]);
        }
        net.settle();
        net.connect(0, 1);
        for _ in 0..net.random(900) {
            if net.random(8) == 0 {
                let g = net.random(100);
                net.write(0, g * GRANULE + 4096, &[9; 512]);
            }
            net.step();
        }
        net.crash(1);
        net.boot(1);
        if net.status(1).consistent {
            continue;
        }
        let rollback = net.rollback(1);
        net.settle();
        assert_eq!(net.answers[&rollback], Ok(Reply::RolledBack), "seed {seed}");
        assert!(net.nodes[1].data.live == consistent, "seed {seed}: the state before the resync is back");
        rolled_back += 1;
    }
    assert!(rolled_back > 5, "{rolled_back}");
}

/// The peer is away; what it misses is read from a disk with a bad sector.
fn bad_source(copies: usize, unreadable_max: usize) -> Net {
    let mut net = Net::with(copies, 5, Config { unreadable_max, ..small() });
    let all: Vec<usize> = (0..copies).collect();
    for other in 1..copies {
        net.connect(0, other);
    }
    net.lead(0, grant(1, 0, &all, 1));
    net.settle();
    let last = copies - 1;
    net.cut(0, last);
    net.set_grant(0, grant(1, 0, &all[..last], 2)).unwrap();
    net.put(0, 0, &[5; 10 * GRANULE as usize]);
    net.flush(0);
    net.settle();
    net.nodes.iter_mut().for_each(|n| n.events.clear());
    net.nodes[0].unreadable.push(7 * GRANULE + 5000);
    net.connect(0, last);
    net.settle();
    net
}

#[test]
fn a_bad_sector_of_the_source_is_healed_from_a_copy_in_step() {
    let net = bad_source(3, 0);
    assert!(net.synced(0, 2) && net.nodes[0].unreadable.is_empty());
    net.assert_identical(0, 2);
    assert_eq!(net.status(0).failed, None);
    let block = 7 * GRANULE + 4096;
    let healed =
        |e: &Event| matches!(e, Event::Damaged(f) if (f.offset, f.len, f.healed) == (block, 4096, true));
    assert!(net.heard(0, healed), "the block that was healed is told");
    assert!(!net.heard(0, |e| matches!(e, Event::Unreadable { .. })));
}

#[test]
fn a_bad_sector_that_nothing_heals_is_left_out_and_told_until_it_is_written() {
    let mut net = bad_source(2, 1);
    assert_eq!(net.status(0).failed, None);
    assert_eq!((net.peer(0, 1).link, net.peer(0, 1).dirty_bytes), (LinkStatus::Syncing, GRANULE));
    let told =
        |e: &Event| matches!(e, Event::Unreadable { offset, len: GRANULE, .. } if *offset == 7 * GRANULE);
    assert_eq!(net.nodes[0].events.iter().filter(|e| told(e)).count(), 1);
    let block = 7 * GRANULE + 4096;
    let lost =
        |e: &Event| matches!(e, Event::Damaged(f) if (f.offset, f.len, f.healed) == (block, 4096, false));
    assert!(net.heard(0, lost), "the block is told");
    net.put(0, block, &[8; 4096]);
    assert!(net.synced(0, 1));
    net.assert_identical(0, 1);
}

#[test]
fn too_many_bad_sectors_are_a_failed_disk() {
    let net = bad_source(2, 0);
    assert_eq!(net.status(0).failed.as_deref(), Some("latent error"));
    assert!(!net.status(1).consistent);
}

#[test]
fn by_digest_only_what_differs_is_copied_and_only_that_uses_the_undo_area() {
    for seed in 0..10 {
        let config = Config { resync_by_digest: true, undo_bytes: Some(4 * GRANULE), ..small() };
        let mut net = Net::with(2, seed, config);
        net.connect(0, 1);
        net.lead(0, grant(1, 0, &[0, 1], 1));
        net.put(0, 0, &[7; 600_000]);
        net.flush(0);
        net.idle();
        net.cut(0, 1);
        net.nodes[0].events.clear();
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        // Nine granules are written, with what they held; one is changed.
        net.put(0, 0, &[7; 589_824]);
        net.put(0, 5 * GRANULE, b"changed");
        let before = net.nodes[1].written;
        net.connect(0, 1);
        // Writes meanwhile are not lost behind a digest.
        for i in 0..20u64 {
            net.write(0, 5 * GRANULE + 100 + i, &[i as u8; 3]);
            net.step();
        }
        net.settle();
        assert!(net.synced(0, 1));
        net.assert_identical(0, 1);
        let copied = net.nodes[1].written - before;
        assert!(copied <= 2 * GRANULE, "seed {seed}: {copied} bytes");
        assert!(!net.heard(1, |e| matches!(e, Event::UndoLost { .. })), "seed {seed}");
    }
}

#[test]
fn a_blank_copy_of_a_blank_volume_costs_no_copy_by_digest() {
    let mut net = Net::with(2, 7, Config { resync_by_digest: true, ..small() });
    net.lead(0, grant(1, 0, &[0], 1));
    net.put(0, 3 * GRANULE, b"one granule");
    net.connect(0, 1);
    net.settle();
    assert!(net.synced(0, 1));
    assert_eq!(net.nodes[1].written, GRANULE);
    net.assert_identical(0, 1);
}

/// It stops anywhere, also within the questions, and never copies twice what was flushed.
#[test]
fn a_resync_goes_on_where_it_stopped() {
    for seed in 0..30 {
        let config = Config { resync_by_digest: seed % 2 == 0, resync_window_bytes: 4 * GRANULE, ..small() };
        let mut net = away(seed, config, 60);
        let before = net.nodes[1].written;
        let mut breaks = 0;
        while !net.synced(0, 1) {
            net.connect(0, 1);
            for _ in 0..100 + net.random(100) {
                net.step();
            }
            net.cut(0, 1);
            breaks += 1;
            assert!(breaks < 100, "it comes no further");
        }
        net.connect(0, 1);
        net.settle();
        net.assert_identical(0, 1);
        let again = (net.nodes[1].written - before) / GRANULE - 60;
        assert!(breaks > 1 && again <= breaks * 4, "{again} granules twice at {breaks} breaks");
    }
}

/// Node 0 is the source, then the target: what it wrote last and never acknowledged is undone.
#[test]
fn the_direction_of_a_resync_follows_the_leader() {
    for seed in 0..20 {
        let mut net = away(seed, Config { undo_bytes: Some(8 << 20), ..small() }, 40);
        net.connect(0, 1);
        for _ in 0..net.random(200) {
            net.step();
        }
        // The operator gives the half-made copy's state before up, and the leadership to it.
        net.cut(0, 1);
        net.settle();
        net.raise(1, 2).unwrap();
        if !net.status(1).consistent {
            assert!(net.try_lead(1, grant(2, 1, &[1], 3)).is_err(), "not in the midst of it");
            net.rollback(1);
            net.settle();
            assert!(net.status(1).consistent);
        }
        net.lead(1, grant(3, 1, &[1], 3));
        net.put(1, 7 * GRANULE, b"by the other");
        net.input(1, posthaste_blockrepl::core::Input::Discard { device: identity(0).device });
        net.connect(1, 0);
        net.settle();
        assert!(net.synced(1, 0), "seed {seed}");
        net.assert_identical(0, 1);
        // And back again, by a planned move, in the midst of which nothing is copied.
        net.set_grant(1, grant(3, 1, &[0, 1], 3)).unwrap();
        net.flush(1);
        net.idle();
        let written = net.nodes[1].written;
        net.raise(1, 4).unwrap();
        net.lead(0, grant(4, 0, &[0, 1], 3));
        net.settle();
        assert_eq!(net.nodes[1].written, written);
    }
}
