//! Checksums never lie: not after any crash, not in a resync, and they know what they can know.

use std::collections::BTreeMap;

use posthaste_blockrepl::core::{Denied, Finding, Reply};
use posthaste_blockrepl::{Config, EXTENT, GRANULE};
use proptest::prelude::*;

use crate::harness::*;

const BLOCK: u64 = 4096;

/// What a scrub of `n` finds; `None` in the midst of a resync.
fn scrub(net: &mut Net, n: usize) -> Option<Vec<Finding>> {
    let request = net.scrub(n);
    net.settle();
    match net.answers.remove(&request) {
        Some(Ok(Reply::Scrubbed(report))) => Some(report.findings),
        Some(Err(Denied::Inconsistent)) => None,
        other => panic!("{other:?}"),
    }
}

fn some_writes(net: &mut Net, leader: usize, count: u64) {
    for i in 0..count {
        let (at, len) = match net.random(4) {
            3 => {
                let at = net.random(SIZE - (1 << 20)) / BLOCK * BLOCK;
                let len = 1 + net.random(100_000) as usize;
                net.zero(leader, at, len);
                continue;
            }
            0 => (net.random(SIZE / BLOCK) * BLOCK, BLOCK),
            1 => (net.random(SIZE / GRANULE) * GRANULE, GRANULE),
            _ => (net.random(SIZE - 9000), 1 + net.random(9000)),
        };
        net.write(leader, at, &vec![i as u8 + 1; len as usize]);
        if net.random(4) == 0 {
            net.flush(leader);
        }
        for _ in 0..net.random(30) {
            net.step();
        }
    }
}

#[test]
fn no_crash_makes_a_checksum_lie() {
    for seed in 0..27 {
        let granule_bytes = [4096, GRANULE, EXTENT][seed as usize % 3];
        let mut net = Net::pair_with(seed, Config { granule_bytes, ..small() });
        let mut epoch = 1;
        for round in 0..3 {
            some_writes(&mut net, 0, 40);
            if net.random(2) == 0 {
                // The peer is away for a while and returns into a resync.
                net.cut(0, 1);
                net.set_grant(0, grant(epoch, 0, &[0], epoch + 1)).unwrap();
                some_writes(&mut net, 0, 20);
                net.connect(0, 1);
                for _ in 0..net.random(200) {
                    net.step();
                }
            }
            let victim = net.random(2) as usize;
            net.crash(victim);
            net.settle();
            net.boot(victim);
            for n in 0..2 {
                let found = scrub(&mut net, n).unwrap_or_default();
                assert!(found.is_empty(), "seed {seed} round {round} node {n}, {victim} crashed: {found:?}");
            }
            epoch += 1;
            net.cut(0, 1);
            net.lead(0, grant(epoch, 0, &[0], epoch + 1));
            net.connect(0, 1);
            net.settle();
            net.assert_identical(0, 1);
            for n in 0..2 {
                assert_eq!(scrub(&mut net, n), Some(vec![]), "seed {seed} round {round} node {n}, resynced");
            }
        }
    }
}

/// Power is cut at every sync of the metadata, in turn: what a checksum says afterwards is true, and so is
/// what the bitmaps say: the copies are the same after the resync, by their bytes and by their checksums.
#[test]
fn every_crash_point_of_the_metadata_leaves_checksums_that_hold() {
    for victim in 0..2 {
        for k in 1.. {
            let mut net = Net::pair(k + 300);
            net.nodes[victim].meta.syncs = 0;
            net.nodes[victim].die_after_syncs = Some(k);
            crate::resync::script(&mut net);
            if net.nodes[victim].replica.is_some() {
                assert!(k > 5, "the script has metadata syncs");
                break;
            }
            net.boot(victim);
            net.settle();
            assert!(scrub(&mut net, victim).unwrap_or_default().is_empty(), "victim {victim} sync {k}");
            let other = 1 - victim;
            let generation = |n: usize| net.status(n).generation.generation;
            let newest = generation(other).max(generation(victim));
            let leader = usize::from(victim == 0 && net.status(1).consistent);
            let back = 1 - leader;
            net.lead(leader, grant(50, leader, &[leader], newest + 1));
            net.input(leader, posthaste_blockrepl::core::Input::Discard { device: identity(back).device });
            net.connect(leader, back);
            net.settle();
            net.assert_identical(0, 1);
            for n in 0..2 {
                assert_eq!(scrub(&mut net, n), Some(vec![]), "victim {victim} sync {k} node {n}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Whole(u64, u64, u8),
    Part(u64, u64, u8),
    Flush,
    Crash,
    Scrub,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let blocks = SIZE / BLOCK;
    let op = prop_oneof![
        4 => (0..blocks - 20, 1u64..20, any::<u8>()).prop_map(|(at, n, byte)| Op::Whole(at, n, byte)),
        3 => (0..SIZE - 9000, 1u64..9000, any::<u8>()).prop_map(|(at, len, byte)| Op::Part(at, len, byte)),
        2 => Just(Op::Flush),
        1 => Just(Op::Crash),
        1 => Just(Op::Scrub),
    ];
    proptest::collection::vec(op, 1..30)
}

/// What is known of each block, as the crate's words say: whole writes are known, parts are not, a
/// crash forgets what was hot, a scrub of a lone leader learns all.
#[derive(Default)]
struct Model {
    known: BTreeMap<u64, bool>,
}

impl Model {
    fn write(&mut self, offset: u64, len: u64) {
        for block in offset / BLOCK..(offset + len).div_ceil(BLOCK) {
            let whole = block * BLOCK >= offset && (block + 1) * BLOCK <= offset + len;
            self.known.insert(block, whole);
        }
    }
}

fn sum(block: &[u8]) -> u32 {
    crc32fast::hash(block).max(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn checksums_behave_as_their_model(ops in ops()) {
        let mut net = Net::new(1, 1);
        let (mut model, mut epoch) = (Model::default(), 1);
        net.lead(0, grant(1, 0, &[0], 1));
        for op in ops {
            match op {
                Op::Whole(at, n, byte) => {
                    net.put(0, at * BLOCK, &vec![byte; (n * BLOCK) as usize]);
                    model.write(at * BLOCK, n * BLOCK);
                }
                Op::Part(at, len, byte) => {
                    net.put(0, at, &vec![byte; len as usize]);
                    model.write(at, len);
                }
                Op::Flush => {
                    net.flush(0);
                    net.settle();
                }
                Op::Crash => {
                    let hot = net.status(0).hot_bytes / EXTENT;
                    prop_assert!(hot <= 16, "the activity log is bounded");
                    net.crash(0);
                    net.boot(0);
                    epoch += 1;
                    net.lead(0, grant(epoch, 0, &[0], 1));
                    // Which extents were hot is not for this model: it forgets all.
                    model.known.clear();
                }
                Op::Scrub => {
                    prop_assert_eq!(scrub(&mut net, 0), Some(vec![]));
                    model.known.extend((0..SIZE / BLOCK).map(|block| (block, true)));
                }
            }
            for (block, known) in &model.known {
                let content = &net.nodes[0].data.live[(block * BLOCK) as usize..][..BLOCK as usize];
                let replica = net.nodes[0].replica.as_ref().unwrap();
                let right = sum(content);
                // None: not in memory; the next scrub reads it.
                if let Some(holds) = replica.sums_hold(block * BLOCK, &[right]) {
                    prop_assert!(holds, "block {} is as it was written", block);
                    prop_assert_eq!(replica.sums_hold(block * BLOCK, &[right ^ 2]), Some(!known), "block {}", block);
                }
            }
        }
        prop_assert_eq!(scrub(&mut net, 0), Some(vec![]));
        let memory = net.status(0).integrity.memory_bytes;
        prop_assert!(memory <= (64 + 2 * 16) * 4096, "{} bytes", memory);
    }
}
