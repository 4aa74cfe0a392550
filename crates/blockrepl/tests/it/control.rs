//! How a resync is held, slowed down, resumed, and what it copies.

use std::time::Duration;

use posthaste_blockrepl::core::{Event, LinkStatus};
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
        assert!(!net.heard(1, |e| *e == Event::UndoLost), "seed {seed}");
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
