//! What holds for every granule that a volume can be created with.

use posthaste_blockrepl::core::{Event, Replica};
use posthaste_blockrepl::wire::Refusal;
use posthaste_blockrepl::{Config, NodeId, OpenError};
use proptest::prelude::*;
use std::collections::BTreeSet;

use crate::harness::*;

fn of(granule_bytes: u64) -> Config {
    Config { granule_bytes, ..small() }
}

/// All writes stay within one extent, so that a crash of the leader hides nothing.
fn missed() -> impl Strategy<Value = Vec<(u64, usize)>> {
    proptest::collection::vec((0..SIZE - 9000, 1usize..9000), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_a_peer_missed_is_copied_in_granules_and_nothing_else(
        shift in 12u32..=20, seed in 0u64..1000, writes in missed()
    ) {
        let granule = 1u64 << shift;
        let mut net = Net::pair_with(seed, of(granule));
        net.cut(0, 1);
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        let mut touched = BTreeSet::new();
        for (i, (at, len)) in writes.iter().enumerate() {
            net.put(0, *at, &vec![i as u8 + 1; *len]);
            touched.extend(at / granule..=(at + *len as u64 - 1) / granule);
        }
        prop_assert_eq!(net.peer(0, 1).dirty_bytes, touched.len() as u64 * granule);
        let before = net.nodes[1].written;
        net.connect(0, 1);
        net.settle();
        prop_assert_eq!(net.nodes[1].written - before, touched.len() as u64 * granule);
        net.assert_identical(0, 1);
    }

    #[test]
    fn a_resync_that_is_cut_off_anywhere_is_rolled_back_to_what_was(
        shift in 12u32..=20, seed in 0u64..1000, steps in 0u64..400, writes in missed()
    ) {
        let granule = 1u64 << shift;
        // Room for all before-images.
        let config = Config { undo_bytes: Some(SIZE), ..of(granule) };
        let mut net = Net::pair_with(seed, config);
        net.put(0, 5, b"of both");
        net.flush(0);
        net.settle();
        net.cut(0, 1);
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        writes.iter().for_each(|(at, len)| net.put(0, *at, &vec![7; *len]));
        let state = net.nodes[1].data.live.clone();
        net.connect(0, 1);
        (0..steps).for_each(|_| { net.step(); });
        net.crash(1);
        net.boot(1);
        if !net.status(1).consistent {
            let request = net.rollback(1);
            net.settle();
            prop_assert!(net.answers.remove(&request).unwrap().is_ok());
            prop_assert!(net.nodes[1].data.live == state, "as it was before the resync");
        }
        net.crash(0);
        net.settle();
        net.boot(0);
        net.lead(0, grant(2, 0, &[0], 3));
        net.connect(0, 1);
        net.settle();
        net.assert_identical(0, 1);
    }
}

#[test]
fn copies_of_different_granules_refuse_each_other_and_say_so() {
    let mut net = Net::with(2, 1, of(4096));
    net.nodes[1].config.granule_bytes = 1 << 20;
    net.replace_disk(1, 99);
    net.connect(0, 1);
    net.settle();
    let ours = |granule| Event::Refused { peer: NodeId(1), why: Refusal::OtherGranule { ours: granule } };
    assert!(net.nodes[0].events.contains(&ours(4096)), "{:?}", net.nodes[0].events);
    assert!(!net.connected(0, 1));
}

#[test]
fn the_granule_of_creation_is_in_force_whatever_the_configuration_says_later() {
    let mut net = Net::with(2, 1, of(4096));
    net.nodes.iter_mut().for_each(|n| n.config.granule_bytes = 1 << 20);
    for n in 0..2 {
        net.crash(n);
        net.boot(n);
    }
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.put(0, 9000, b"within one of 4096");
    assert_eq!(net.peer(0, 1).dirty_bytes, 4096);
}

#[test]
fn a_granule_that_cannot_be_is_refused_when_a_volume_is_created() {
    for granule in [0, 2048, 4097, 12 << 10, 2 << 20] {
        let refused = Replica::format(&of(granule), &identity(0), SIZE);
        assert!(matches!(refused, Err(OpenError::Granule { .. })), "{granule}");
    }
}

#[test]
fn wrong_copies_and_bad_sectors_are_healed_whatever_the_granule() {
    for (seed, granule) in [4096, 16 << 10, 256 << 10, 1 << 20].into_iter().enumerate() {
        let mut net = Net::pair_with(seed as u64, of(granule));
        net.put(0, 1 << 20, &[5; 1 << 20]);
        for (n, at) in [(0, (1 << 20) + 70_000), (1, (1 << 20) + 300_000)] {
            net.nodes[n].data.live[at] ^= 4;
        }
        net.nodes[0].unreadable.push((1 << 20) + 500_000);
        for n in [0, 1] {
            net.scrub(n);
            net.settle();
        }
        net.assert_identical(0, 1);
        assert_eq!(net.nodes[0].data.live[(1 << 20)..(2 << 20)], [5; 1 << 20], "{granule}");
        assert!(net.nodes[0].unreadable.is_empty(), "{granule}");
        // A source that cannot read has the granule judged first.
        net.cut(0, 1);
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        net.put(0, 3 << 20, &[6; 8192]);
        net.nodes[0].unreadable.push((3 << 20) + 4096);
        net.connect(0, 1);
        net.settle();
        assert_eq!(net.peer(0, 1).dirty_bytes, granule, "left out, with its whole granule");
        net.put(0, (3 << 20) + 4096, &[7; 4096]);
        net.settle();
        net.idle();
        net.assert_identical(0, 1);
    }
}

#[test]
fn a_device_grows_and_shrinks_with_the_granule_it_has() {
    for granule in [4096, 1 << 20] {
        let mut net = Net::pair_with(3, of(granule));
        net.resize(0, 2 * SIZE);
        net.settle();
        net.put(0, 2 * SIZE - 4096, &[1; 4096]);
        net.flush(0);
        net.idle();
        net.cut(0, 1);
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        net.put(0, SIZE + 4096, &[2; 4096]);
        net.put(0, 2 * SIZE - 8192, &[3; 4096]);
        assert_eq!(net.peer(0, 1).dirty_bytes, 2 * granule);
        net.connect(0, 1);
        net.settle();
        net.assert_identical(0, 1);
    }
}

#[test]
fn a_device_that_has_grown_opens_again_whatever_the_granule() {
    for granule in [4096u64, 65_536, 1 << 20] {
        for undo in [16 << 10, 4 * 65_536, 1 << 20, SIZE] {
            for more in 1..4 {
                let mut net = Net::pair_with(1, Config { undo_bytes: Some(undo), ..of(granule) });
                net.resize(0, SIZE + (more << 20));
                net.settle();
                for n in 0..2 {
                    net.crash(n);
                    net.boot(n);
                    assert_eq!(net.status(n).size, SIZE + (more << 20), "{granule} {undo}");
                }
            }
        }
    }
}
