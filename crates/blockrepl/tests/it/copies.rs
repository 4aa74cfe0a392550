//! Three copies, and copies that come and go for good.

use posthaste_blockrepl::core::{Denied, Event, LinkStatus, Reply};
use posthaste_blockrepl::{Config, GRANULE, NodeId};

use crate::harness::*;

/// Node 0 leads all three.
fn three(seed: u64) -> Net {
    let mut net = Net::new(3, seed);
    net.connect(0, 1);
    net.connect(0, 2);
    net.lead(0, grant(1, 0, &[0, 1, 2], 1));
    net.put(0, 0, &[1; 500_000]);
    net.flush(0);
    net.idle();
    net
}

/// Node 2 goes away; the others go on without it.
fn without_two(net: &mut Net) {
    net.cut(0, 2);
    net.set_grant(0, grant(1, 0, &[0, 1], 2)).unwrap();
    net.settle();
    net.put(0, 3 * GRANULE, b"missed");
    net.flush(0);
    net.idle();
}

/// A leader that nobody in the set hears writes, and brings a third copy in step. Whoever is led next brings that one in step
/// anew, so it no longer has what it was copied: when it leads, the former leader must not take that for known there.
#[test]
fn what_a_former_leader_copied_to_one_that_was_copied_anew_since_is_not_taken_for_there() {
    for seed in 0..30 {
        let mut net = Net::with(3, seed, Config { unflushed_writes_max: 4, ..small() });
        net.connect(0, 1);
        net.connect(0, 2);
        net.lead(0, grant(1, 0, &[0, 1, 2], 1));
        net.settle();
        without_two(&mut net);
        net.cut(0, 1);
        (9..30).for_each(|n| net.put(0, n * GRANULE, b"not acknowledged"));
        net.connect(0, 2);
        for _ in 0..seed * 15 {
            net.step();
        }
        net.cut(0, 2);
        net.lead(1, grant(2, 1, &[1], 3));
        net.connect(1, 2);
        net.idle();
        net.set_grant(1, grant(2, 1, &[1, 2], 3)).unwrap();
        net.settle();
        net.crash(1);
        net.lead(2, grant(3, 2, &[2], 4));
        net.connect(2, 0);
        net.idle();
        net.assert_identical(2, 0);
    }
}

#[test]
fn one_that_was_away_while_the_leadership_moved_gets_only_what_it_missed() {
    for seed in 0..12 {
        let mut net = three(seed);
        without_two(&mut net);
        match seed % 3 {
            // The successor may have been down in between,
            0 => {
                net.crash(1);
                net.boot(1);
            }
            // or away,
            1 => {
                net.cut(0, 1);
                net.connect(0, 1);
                net.settle();
            }
            _ => {}
        }
        net.settle();
        net.crash(0);
        net.lead(1, grant(2, 1, &[1], 3));
        net.put(1, 9 * GRANULE, b"by the next leader");
        let before = net.nodes[2].written;
        net.connect(1, 2);
        net.settle();
        assert!(net.synced(1, 2));
        let partial = |e: &Event| matches!(e, Event::ResyncStarted { peer: NodeId(2), full: false, .. });
        // A crash leaves extents of 1 MiB in doubt.
        assert!(net.heard(1, partial), "seed {seed}");
        let copied = net.nodes[2].written - before;
        assert!(copied <= if seed % 3 == 0 { 3 << 20 } else { 2 * GRANULE }, "seed {seed}: {copied} bytes");
        net.assert_identical(1, 2);
        // The old leader too.
        net.boot(0);
        net.connect(1, 0);
        net.settle();
        net.assert_identical(1, 0);
    }
}

#[test]
fn what_one_missed_is_forgotten_when_it_is_a_member_again() {
    for seed in 0..6 {
        let mut net = three(seed);
        without_two(&mut net);
        net.connect(0, 2);
        net.settle();
        net.set_grant(0, grant(1, 0, &[0, 1, 2], 2)).unwrap();
        net.settle();
        net.put(0, 5 * GRANULE, b"on all three");
        net.flush(0);
        net.idle();
        // A planned move: nothing is copied to anybody.
        let before = [0, 2].map(|n| net.nodes[n].written);
        net.raise(0, 2).unwrap();
        net.lead(1, grant(2, 1, &[0, 1, 2], 2));
        net.connect(1, 2);
        net.settle();
        assert_eq!(net.peer(1, 2).link, LinkStatus::Synced);
        assert_eq!([0, 2].map(|n| net.nodes[n].written), before, "seed {seed}");
    }
}

/// The leader crashed with writes that nobody else had, and gave them to one of the others only.
#[test]
fn a_successor_knows_what_an_absent_member_never_got() {
    for seed in 0..10 {
        let mut net = three(seed);
        net.cut(0, 1);
        net.cut(0, 2);
        net.put(0, 20 * GRANULE, &[7; 9000]);
        net.crash(0);
        net.boot(0);
        net.lead(0, grant(2, 0, &[0, 1, 2], 1));
        net.connect(0, 1);
        net.settle();
        net.crash(0);
        net.lead(1, grant(3, 1, &[1], 2));
        net.connect(1, 2);
        net.settle();
        assert!(net.synced(1, 2));
        net.assert_identical(1, 2);
    }
}

#[test]
fn a_copy_is_added_and_removed_while_the_device_is_in_use() {
    for seed in 0..6 {
        let mut net = Net::new(3, seed);
        net.connect(0, 1);
        net.lead(0, grant(1, 0, &[0, 1], 1));
        net.put(0, 0, &[1; 500_000]);
        net.connect(0, 2);
        let mut last = None;
        for i in 0..100u64 {
            last = Some(net.write(0, i * 40_000, &i.to_le_bytes()));
            for _ in 0..8 {
                net.step();
            }
        }
        net.settle();
        assert!(net.answered(last.unwrap()) && net.synced(0, 2));
        net.set_pending(0, Some(set(&[0, 1, 2]))).unwrap();
        net.set_grant(0, grant(1, 0, &[0, 1, 2], 1)).unwrap();
        net.flush(0);
        net.settle();
        net.assert_identical(0, 1);
        net.assert_identical(0, 2);

        let device = identity(1).device;
        let forget = |net: &mut Net| {
            let now = net.now;
            let result = net.nodes[0].replica.as_mut().unwrap().forget(now, device);
            net.collect(0);
            result
        };
        assert_eq!(forget(&mut net), Err(Denied::StillCounted(NodeId(1))));
        net.set_grant(0, grant(1, 0, &[0, 2], 2)).unwrap();
        net.settle();
        assert_eq!(forget(&mut net), Ok(()));
        net.settle();
        for n in [0, 2] {
            assert!(net.status(n).peers.iter().all(|p| p.node != NodeId(1)), "nobody keeps a bitmap for it");
        }
        net.put(0, 7, b"without it");
        let flush = net.flush(0);
        net.settle();
        assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
        // Should it come back, it is a new one.
        net.connect(0, 1);
        net.settle();
        assert!(net.heard(0, |e| matches!(e, Event::ResyncStarted { peer: NodeId(1), full: true, .. })));
        net.assert_identical(0, 1);
    }
}
