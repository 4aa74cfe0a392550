//! Damage on the disk that others are copied from: it is healed, or it arrives as what it is. It never becomes sound.

use posthaste_blockrepl::core::{Denied, Event, Finding, Input, Reply, Wrong};
use posthaste_blockrepl::wire::{Message, Refusal};
use posthaste_blockrepl::{Config, GRANULE, NodeId, SplitBrainPolicy, UndoPolicy};

use crate::harness::*;

pub const BLOCK: usize = 4096;
/// A block in the third granule.
pub const AT: u64 = 2 * GRANULE + 4096;

pub fn with(count: usize, seed: u64, config: Config) -> Net {
    let mut net = Net::with(count, seed, config);
    for n in 1..count {
        net.connect(0, n);
    }
    let all: Vec<usize> = (0..count).collect();
    net.lead(0, grant(1, 0, &all, 1));
    let data: Vec<u8> = (0..1 << 20).map(|i| (i / 4096 * 7 + i) as u8 | 1).collect();
    net.put(0, 0, &data);
    net.flush(0);
    net.idle();
    net
}

/// The last copy is away, and what others write goes on without it.
pub fn without_the_last(net: &mut Net) {
    let last = net.nodes.len() - 1;
    let rest: Vec<usize> = (0..last).collect();
    net.cut(0, last);
    net.set_grant(0, grant(1, 0, &rest, 2)).unwrap();
    net.settle();
}

pub fn come_back(net: &mut Net) {
    net.nodes[0].events.clear();
    net.connect(0, net.nodes.len() - 1);
    net.settle();
}

pub fn flip(net: &mut Net, n: usize, at: u64) {
    net.nodes[n].data.rot(at as usize + 17);
}

fn read(net: &mut Net, n: usize, at: u64) -> Result<Reply, Denied> {
    let read = net.read(n, at, BLOCK as u32);
    net.settle();
    net.answers[&read].clone()
}

fn corrupt(at: u64) -> Result<Reply, Denied> {
    Err(Denied::Corrupt { offset: at, len: BLOCK as u64 })
}

pub fn copied(net: &Net) -> Vec<(u64, u64)> {
    let told = |e: &Event| {
        if let Event::DamageCopied { offset, len, .. } = e { Some((*offset, *len)) } else { None }
    };
    net.nodes[0].events.iter().filter_map(told).collect()
}

fn lost(node: u64) -> Finding {
    Finding { node: NodeId(node), offset: AT, len: BLOCK as u64, wrong: Wrong::Both, healed: false }
}

fn told(net: &Net, n: usize, finding: Finding) -> bool {
    net.heard(n, |e| *e == Event::Damaged(finding))
}

/// Node 1 lacks the block that is damaged on node 0, the only one to have it.
fn only_copy_damaged(seed: u64, config: Config) -> Net {
    let mut net = with(2, seed, config);
    without_the_last(&mut net);
    net.put(0, AT, &[77; BLOCK]);
    net.flush(0);
    net.settle();
    flip(&mut net, 0, AT);
    net
}

#[test]
fn a_source_is_healed_by_a_copy_in_step_before_it_is_copied() {
    for seed in 0..5 {
        let mut net = with(3, seed, small());
        without_the_last(&mut net);
        net.put(0, AT, &[77; BLOCK]);
        let right = net.nodes[0].data.live.clone();
        flip(&mut net, 0, AT);
        come_back(&mut net);
        assert!((0..3).all(|n| net.nodes[n].data.live == right), "seed {seed}");
        assert!(told(&net, 0, Finding { wrong: Wrong::Copy, healed: true, ..lost(0) }));
        assert!(net.synced(0, 2) && copied(&net).is_empty());
        assert_eq!(net.status(0).integrity.damaged_bytes, 0);
    }
}

/// The last sound copy of a block may be the one that is about to be overwritten.
#[test]
fn a_source_is_healed_by_the_very_target_that_it_is_copied_to() {
    for (seed, by_digest) in (0..6).map(|seed| (seed, seed % 2 == 1)) {
        let mut net = with(2, seed, Config { resync_by_digest: by_digest, ..small() });
        without_the_last(&mut net);
        net.put(0, AT + 2 * BLOCK as u64, &[77; BLOCK]);
        let right = net.nodes[0].data.live.clone();
        flip(&mut net, 0, AT);
        come_back(&mut net);
        assert!((0..2).all(|n| net.nodes[n].data.live == right), "seed {seed}");
        assert!(net.synced(0, 1) && copied(&net).is_empty());
        assert_eq!(net.verified(0).differing, []);
    }
}

#[test]
fn damage_that_no_copy_has_right_reaches_the_target_as_damage() {
    for (seed, by_digest) in (0..6).map(|seed| (seed, seed % 2 == 1)) {
        let granule_bytes = [GRANULE, 4096, 1 << 20][seed as usize % 3];
        let config = Config { resync_by_digest: by_digest, granule_bytes, ..small() };
        let mut net = only_copy_damaged(seed, config);
        come_back(&mut net);
        assert!(net.synced(0, 1), "redundancy is not held up");
        assert!(net.status(0).failed.is_none());
        net.assert_identical(0, 1);
        assert_eq!(copied(&net), [(AT, BLOCK as u64)]);
        assert!(told(&net, 0, lost(0)) && told(&net, 1, lost(1)));
        let damaged = |net: &Net, n: usize| net.status(n).integrity.damaged_bytes;
        assert_eq!([damaged(&net, 0), damaged(&net, 1)], [BLOCK as u64; 2]);
        assert_eq!(read(&mut net, 0, AT), corrupt(AT));
        // Nor do copies that agree, a power cut or another leader make it sound.
        assert_eq!(net.verified(0).differing, [lost(0), lost(1)]);
        (0..2).for_each(|n| net.crash(n));
        (0..2).for_each(|n| net.boot(n));
        net.lead(1, grant(2, 1, &[1], 3));
        assert_eq!(read(&mut net, 1, AT), corrupt(AT), "seed {seed}");
        assert!(read(&mut net, 1, 0).is_ok());
        net.connect(1, 0);
        net.settle();
        assert_eq!(read(&mut net, 1, AT), corrupt(AT), "seed {seed}");
        // Written anew, it is sound, and stays so.
        net.put(1, AT, &[5; BLOCK]);
        net.flush(1);
        net.idle();
        assert_eq!(damaged(&net, 1), 0);
        net.crash(1);
        net.boot(1);
        net.lead(1, grant(3, 1, &[1], 4));
        assert_eq!(read(&mut net, 1, AT), Ok(Reply::Read(vec![5; BLOCK].into())));
    }
}

/// More granules than could be unreadable before the disk counts as failed.
#[test]
fn much_damage_neither_fails_the_disk_nor_holds_up_redundancy() {
    let mut net = with(2, 1, Config { unreadable_max: 3, ..small() });
    without_the_last(&mut net);
    let places: Vec<u64> = (0..20).map(|n| n * GRANULE + 8192).collect();
    for at in &places {
        net.put(0, *at, &[9; BLOCK]);
    }
    net.flush(0);
    net.settle();
    places.iter().for_each(|at| flip(&mut net, 0, *at));
    come_back(&mut net);
    assert!(net.synced(0, 1) && net.status(0).failed.is_none());
    assert_eq!(copied(&net).len(), places.len());
    assert_eq!(net.status(1).integrity.damaged_bytes, (places.len() * BLOCK) as u64);
}

/// More granules than are judged before the others wait.
#[test]
fn damage_in_very_many_granules_is_judged_bit_by_bit() {
    let config = Config { granule_bytes: 4096, unreadable_max: 3, undo_bytes: Some(4 << 20), ..small() };
    let mut net = with(2, 3, config);
    without_the_last(&mut net);
    for n in 0..2 {
        net.put(0, n << 20, &[9; 1 << 20]);
    }
    net.flush(0);
    net.settle();
    (0..500).for_each(|block| flip(&mut net, 0, block * BLOCK as u64));
    come_back(&mut net);
    assert!(net.synced(0, 1) && net.status(0).failed.is_none());
    net.assert_identical(0, 1);
    assert_eq!(net.status(1).integrity.damaged_bytes, 500 * BLOCK as u64);
}

/// There is room to note 512 blocks. What is more is left out, as what cannot be read is, and told.
#[test]
fn damage_beyond_what_can_be_noted_is_left_out_and_told() {
    let mut net = with(2, 2, Config { undo_bytes: Some(4 << 20), ..small() });
    without_the_last(&mut net);
    let data = vec![9; 3 << 20];
    for (n, part) in data.chunks(1 << 20).enumerate() {
        net.put(0, (n << 20) as u64, part);
    }
    net.flush(0);
    net.settle();
    (0..600).for_each(|block| flip(&mut net, 0, block * BLOCK as u64));
    come_back(&mut net);
    assert!(net.status(0).failed.is_none() && net.status(1).failed.is_none());
    assert!(net.heard(0, |e| matches!(e, Event::Unreadable { .. })));
    assert!(!net.synced(0, 1) && net.status(1).integrity.damaged_bytes <= 512 * BLOCK as u64);
    // Written, it is copied.
    for (n, part) in data.chunks(1 << 20).enumerate() {
        net.put(0, (n << 20) as u64, part);
    }
    net.flush(0);
    net.idle();
    assert!(net.synced(0, 1));
    net.assert_identical(0, 1);
    assert_eq!(net.status(0).integrity.damaged_bytes, 0);
}

/// Power is cut on the target at every sync of its metadata; then it leads, having gone back if it must.
#[test]
fn no_crash_of_the_target_makes_the_damage_sound() {
    for then_back in [false, true] {
        for k in 1.. {
            let mut net = only_copy_damaged(k + 50, small());
            net.nodes[1].meta.syncs = 0;
            net.nodes[1].die_after_syncs = Some(k);
            come_back(&mut net);
            let over = net.nodes[1].replica.is_some();
            net.nodes[1].die_after_syncs = None;
            if !over {
                net.boot(1);
            }
            if then_back {
                come_back(&mut net);
            }
            let raised = net.raise(1, 9).unwrap();
            if !raised.consistent {
                let rollback = net.rollback(1);
                net.settle();
                assert_eq!(net.answers[&rollback], Ok(Reply::RolledBack), "sync {k}");
            }
            net.try_lead(1, grant(9, 1, &[1], 9)).unwrap();
            let old: Vec<u8> =
                (0..BLOCK).map(|i| ((AT as usize + i) / 4096 * 7 + AT as usize + i) as u8 | 1).collect();
            let found = read(&mut net, 1, AT);
            assert!(found == corrupt(AT) || found == Ok(Reply::Read(old.into())), "sync {k}: {found:?}");
            if over {
                assert!(k > 4 && found == corrupt(AT), "sync {k}");
                break;
            }
        }
    }
}

/// What a rollback brings back is what it was: damaged, if it was.
#[test]
fn a_rollback_brings_damage_back_as_damage() {
    for seed in 0..12 {
        let mut net = with(2, seed, small());
        without_the_last(&mut net);
        for g in 0..12 {
            net.write(0, g * GRANULE + 4096, &[9; BLOCK]);
        }
        net.flush(0);
        net.settle();
        flip(&mut net, 1, AT);
        flip(&mut net, 1, AT + BLOCK as u64);
        net.connect(0, 1);
        let before = net.nodes[1].written;
        while net.nodes[1].written < before + 6 * GRANULE {
            assert!(net.step());
        }
        net.crash(0);
        if seed % 3 == 0 {
            net.crash(1);
            net.boot(1);
        }
        net.settle();
        let rollback = net.rollback(1);
        if seed % 3 == 1 {
            for _ in 0..net.random(20) {
                net.step();
            }
            net.crash(1);
            net.boot(1);
            net.rollback(1);
            net.settle();
        } else {
            net.settle();
            assert_eq!(net.answers[&rollback], Ok(Reply::RolledBack));
        }
        net.lead(1, grant(2, 1, &[1], 3));
        // Granule 2 was not overwritten in each order of things; then its checksums may be void (R11).
        let was_overwritten = net.status(1).integrity.damaged_bytes > 0;
        if was_overwritten {
            assert_eq!(read(&mut net, 1, AT), corrupt(AT), "seed {seed}");
            assert_eq!(read(&mut net, 1, AT + BLOCK as u64), corrupt(AT + BLOCK as u64), "seed {seed}");
        }
        assert!(was_overwritten || seed % 3 != 2 || read(&mut net, 1, AT) == corrupt(AT));
    }
}

/// A granule that is copied to heal one block takes the leader's damage in another one with it, as damage.
#[test]
fn healing_a_peer_does_not_make_the_leader_s_damage_sound() {
    let mut net = only_copy_damaged(3, small());
    net.connect(0, 1);
    net.settle();
    // Now both are damaged there. Another block of the granule is damaged at the peer alone.
    flip(&mut net, 1, AT + BLOCK as u64);
    let report = net.verified(0);
    assert!(report.differing.contains(&lost(0)) && report.differing.contains(&lost(1)), "{report:?}");
    net.assert_identical(0, 1);
    assert_eq!(copied(&net), [(AT, BLOCK as u64); 2]);
    assert_eq!(net.status(1).integrity.damaged_bytes, BLOCK as u64);
    net.lead(1, grant(2, 1, &[1], 3));
    assert_eq!(read(&mut net, 1, AT), corrupt(AT));
    assert!(read(&mut net, 1, AT + BLOCK as u64).is_ok());
}

/// What heals one block brings another one that is damaged at the leader as well: that one is not called healed.
#[test]
fn a_follower_tells_what_was_healed_there_from_what_came_as_damage() {
    let mut net = only_copy_damaged(3, small());
    net.connect(0, 1);
    net.settle();
    flip(&mut net, 1, AT + BLOCK as u64);
    let request = net.scrub(1);
    net.settle();
    let Ok(Reply::Scrubbed(report)) = &net.answers[&request] else { panic!() };
    let healed = Finding { offset: AT + BLOCK as u64, wrong: Wrong::Copy, healed: true, ..lost(1) };
    assert_eq!(report.findings, [lost(1), healed]);
    assert!(told(&net, 1, healed));
}

/// Whoever scrubs is answered, also where nothing can be healed.
#[test]
fn a_follower_that_finds_damage_that_no_copy_has_right_is_told_so() {
    let mut net = only_copy_damaged(7, small());
    come_back(&mut net);
    for n in [1, 0, 1] {
        let request = net.scrub(n);
        net.settle();
        let Ok(Reply::Scrubbed(report)) = &net.answers[&request] else { panic!() };
        assert!(report.findings.iter().any(|f| f.node == NodeId(n as u64) && f.offset == AT && !f.healed));
    }
}

/// A third copy that has it right heals what was copied as damage.
#[test]
fn a_copy_that_returns_with_what_is_right_heals_all() {
    let mut net = with(3, 4, small());
    // Node 2 leaves with the right block; node 1 leaves, misses nothing but is told to be copied.
    net.cut(0, 2);
    net.set_grant(0, grant(1, 0, &[0, 1], 2)).unwrap();
    net.settle();
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 3)).unwrap();
    net.put(0, AT + 3 * BLOCK as u64, &[1; BLOCK]);
    net.flush(0);
    net.settle();
    let right = net.nodes[0].data.live.clone();
    flip(&mut net, 0, AT);
    flip(&mut net, 1, AT);
    net.connect(0, 1);
    net.settle();
    assert_eq!(copied(&net), [(AT, BLOCK as u64)]);
    net.connect(0, 2);
    net.settle();
    assert!((0..3).all(|n| net.nodes[n].data.live == right));
    assert_eq!([0, 1, 2].map(|n| net.status(n).integrity.damaged_bytes), [0; 3]);
    assert!(net.nodes.iter().all(|n| n.replica.is_some()) && net.verified(0).differing.is_empty());
}

#[test]
fn an_image_of_what_is_lost_that_is_damaged_is_told() {
    let config = Config { split_brain: SplitBrainPolicy::DiscardPeer, ..small() };
    let mut net = with(2, 5, config);
    net.cut(0, 1);
    net.lead(1, grant(2, 1, &[1], 2));
    net.put(1, AT, &[7; BLOCK]);
    net.flush(1);
    net.settle();
    net.lead(0, grant(3, 0, &[0], 3));
    net.put(0, 5 * GRANULE, &[8; BLOCK]);
    net.flush(0);
    net.settle();
    flip(&mut net, 1, AT);
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.snapshots(1).len(), 1);
    assert!(told(&net, 1, Finding { wrong: Wrong::Copy, ..lost(1) }));
}

#[test]
fn hostile_damage_is_refused_without_effect() {
    let copy = |granule: u32, blocks: Vec<(u8, u32)>, len: usize| Message::CopyDamaged {
        epoch: 1,
        granule,
        heal: true,
        blocks,
        data: vec![9; len].into(),
    };
    let (found, whole) = (crc32fast::hash(&[9; BLOCK]), GRANULE as usize);
    let wrong = [
        copy(u32::MAX, vec![(0, 7)], whole),
        copy((SIZE / GRANULE) as u32, vec![(0, 7)], whole),
        copy(1, vec![], whole),
        copy(1, vec![(0, 0)], whole),
        copy(1, vec![(0, found)], whole),
        copy(1, vec![(0, 7)], 0),
        copy(1, vec![(0, 7)], 100),
        copy(1, vec![(0, 7)], 2 * whole),
        copy(1, vec![(15, 7)], 2 * BLOCK),
        copy(1, vec![(16, 7)], whole),
        // No resync.
        Message::CopyDamaged {
            epoch: 1,
            granule: 1,
            heal: false,
            blocks: vec![(0, 7)],
            data: vec![9; whole].into(),
        },
    ];
    for message in wrong {
        let mut net = with(2, 6, small());
        let before = net.nodes[1].data.live.clone();
        let link = net.connect(0, 1);
        net.settle();
        net.input(1, Input::Message { link, message: message.clone() });
        assert!(net.heard(1, |e| matches!(e, Event::Refused { why: Refusal::Protocol, .. })), "{message:?}");
        net.settle();
        assert!(net.nodes[1].data.live == before && net.status(1).integrity.damaged_bytes == 0);
    }
}

/// A larger device has its checksums at another place, and those that are not in memory are not taken there.
#[test]
fn a_resize_does_not_make_damage_sound() {
    let size: u64 = 360 << 20;
    let mut net = Net::sized(1, 8, small(), size);
    net.lead(0, grant(1, 0, &[0], 1));
    net.put(0, AT, &[77; BLOCK]);
    net.flush(0);
    net.idle();
    flip(&mut net, 0, AT);
    assert_eq!(read(&mut net, 0, AT), corrupt(AT));
    // All pages of checksums are looked at, and its extent is not hot any more.
    for at in (4..360).step_by(4).map(|mib| mib << 20) {
        if at < 80 << 20 {
            net.put(0, at, &[1; BLOCK]);
            net.flush(0);
        }
        read(&mut net, 0, at).unwrap();
    }
    net.idle();
    let resize = net.resize(0, size + (4 << 20));
    net.settle();
    assert!(net.answers[&resize].is_ok());
    assert_eq!(read(&mut net, 0, AT), corrupt(AT));
    net.crash(0);
    net.boot(0);
    net.lead(0, grant(2, 0, &[0], 2));
    assert_eq!(read(&mut net, 0, AT), corrupt(AT));
}

/// Damaged, overwritten, and damaged again in the same way before what overwrote it was durable.
#[test]
fn damage_that_comes_again_is_noted_again() {
    let mut net = with(2, 9, small());
    for _ in 0..2 {
        net.put(0, AT, &[77; BLOCK]);
        (0..2).for_each(|n| flip(&mut net, n, AT));
        assert_eq!(read(&mut net, 0, AT), corrupt(AT));
        assert_eq!(net.status(0).integrity.damaged_bytes, BLOCK as u64);
    }
    net.flush(0);
    net.idle();
    (0..2).for_each(|n| net.crash(n));
    net.boot(0);
    net.lead(0, grant(2, 0, &[0], 2));
    assert_eq!(read(&mut net, 0, AT), corrupt(AT));
}

/// Node 1 missed that 600 blocks were written, and `rotten` of those that it has are damaged.
fn behind_and_damaged(seed: u64, config: Config, rotten: u64) -> Net {
    let mut net = with(2, seed, Config { undo_bytes: Some(8 << 20), ..config });
    let put = |net: &mut Net, byte: u8| {
        for n in 0..3 {
            net.put(0, n << 20, &[byte; 1 << 20]);
        }
        net.flush(0);
        net.idle();
    };
    put(&mut net, 8);
    without_the_last(&mut net);
    put(&mut net, 9);
    (0..rotten).for_each(|block| flip(&mut net, 1, block * BLOCK as u64));
    net
}

/// There is no way back to what could not be noted: then it is not overwritten.
#[test]
fn a_before_image_whose_damage_cannot_be_noted_is_none() {
    let config = Config { undo_policy: UndoPolicy::Hold, ..small() };
    let mut net = behind_and_damaged(10, config, 600);
    come_back(&mut net);
    assert!(net.heard(1, |e| matches!(e, Event::Refused { why: Refusal::UndoFull, .. })));
    net.cut(0, 1);
    let rollback = net.rollback(1);
    net.settle();
    assert_eq!(net.answers[&rollback], Ok(Reply::RolledBack));
    net.lead(1, grant(2, 1, &[1], 3));
    for at in (0..600).map(|block| block * BLOCK as u64) {
        assert_eq!(read(&mut net, 1, at), corrupt(at));
    }
}

/// What is noted for a rollback only makes room for what must be noted to be copied at all.
#[test]
fn marks_of_what_was_overwritten_do_not_hold_up_a_resync() {
    let mut net = behind_and_damaged(11, small(), 300);
    (0..300).for_each(|block| flip(&mut net, 0, block * BLOCK as u64));
    come_back(&mut net);
    assert!(!net.heard(1, |e| matches!(e, Event::Refused { .. })));
    assert!(net.heard(1, |e| matches!(e, Event::UndoLost { .. })));
    assert!(net.synced(0, 1));
    net.assert_identical(0, 1);
    assert_eq!(net.status(1).integrity.damaged_bytes, 300 * BLOCK as u64);
}

/// Both copies are damaged in the same place, and the leader knows it.
fn both_damaged(seed: u64) -> Net {
    let mut net = with(2, seed, small());
    (0..2).for_each(|n| flip(&mut net, n, AT));
    assert_eq!(read(&mut net, 0, AT), corrupt(AT));
    assert_eq!(net.status(0).integrity.damaged_bytes, BLOCK as u64);
    net
}

#[test]
fn a_part_of_a_damaged_block_cannot_be_written() {
    let mut net = both_damaged(12);
    let end = AT + BLOCK as u64;
    for (at, len) in [(AT + 100, 10), (AT - 10, 20), (end - 1, 1), (end - 5, 2 * BLOCK)] {
        let write = net.write(0, at, &vec![5; len]);
        net.settle();
        assert_eq!(net.answers[&write], Err(Denied::Corrupt { offset: AT, len: BLOCK as u64 }), "{at}");
        net.flush(0);
        net.idle();
        assert_eq!(read(&mut net, 0, AT), corrupt(AT));
        net.assert_identical(0, 1);
    }
    // With parts of its neighbours.
    let write = net.write(0, AT - 10, &[6; BLOCK + 20]);
    net.settle();
    assert_eq!(net.answers[&write], Ok(Reply::Written));
    assert_eq!(read(&mut net, 0, AT), Ok(Reply::Read(vec![6; BLOCK].into())));
    net.assert_identical(0, 1);
}

#[test]
fn a_part_of_a_block_that_is_damaged_at_a_follower_alone_is_written_and_the_rest_asked_for() {
    let mut net = only_copy_damaged(13, small());
    come_back(&mut net);
    // Its extent is not hot any more.
    for mib in 2..12 {
        net.put(0, mib << 20, &[1; BLOCK]);
        net.flush(0);
        net.idle();
    }
    net.crash(0);
    flip(&mut net, 0, AT);
    net.boot(0);
    net.lead(0, grant(2, 0, &[0], 3));
    net.connect(0, 1);
    net.settle();
    assert!(net.synced(0, 1));
    assert_eq!([0, 1].map(|n| net.status(n).integrity.damaged_bytes), [0, BLOCK as u64]);
    net.put(0, AT + 100, &[5; 10]);
    net.flush(0);
    net.idle();
    net.assert_identical(0, 1);
    assert_eq!([0, 1].map(|n| net.status(n).integrity.damaged_bytes), [0, 0]);
    net.lead(1, grant(3, 1, &[1], 3));
    assert!(read(&mut net, 1, AT).is_ok());
}

/// A mark tells what a block held when it was found damaged. That may be what it should hold now.
#[test]
fn what_is_written_is_not_damage_though_it_is_what_was_found() {
    for len in [BLOCK, 3 * BLOCK] {
        let mut net = both_damaged(14);
        net.cut(0, 1);
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        let found = net.nodes[0].data.live[AT as usize..][..len].to_vec();
        net.put(0, AT, &found);
        assert_eq!(net.status(0).integrity.damaged_bytes, 0);
        let flush = net.flush(0);
        while !net.answered(flush) {
            assert!(net.step());
        }
        net.crash(0);
        net.boot(0);
        net.lead(0, grant(2, 0, &[0], 3));
        assert_eq!(read(&mut net, 0, AT), Ok(Reply::Read(found[..BLOCK].to_vec().into())));
    }
}
