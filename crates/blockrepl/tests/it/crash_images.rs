//! Each kind of update of the metadata, and a power cut at each of its syncs: right after it, and right before it, when
//! any part of what was written since the last one may be there. In 512-byte pieces, on both sides of the pair.

use posthaste_blockrepl::core::{Denied, Finding, Input, Reply, RoleStatus};
use posthaste_blockrepl::{Config, GRANULE, MemberSet, SplitBrainPolicy};

use crate::harness::*;

const BLOCK: usize = 4096;
/// What both copies have before the update, behind all that it writes.
const KEPT: u64 = 7 << 20;

/// One kind of update: what comes before it, and itself.
struct Update {
    name: &'static str,
    prepare: fn(&mut Net),
    update: fn(&mut Net),
    /// Metadata syncs of the leader and of its peer that it has at least.
    syncs: [u64; 2],
}

const UPDATES: &[Update] = &[
    Update { name: "activity log", prepare: nothing, update: write_widely, syncs: [6, 6] },
    Update { name: "bitmaps", prepare: part, update: write_widely, syncs: [6, 0] },
    Update { name: "checksums", prepare: write_widely, update: close, syncs: [2, 0] },
    Update { name: "epoch", prepare: nothing, update: raise, syncs: [1, 1] },
    Update { name: "members, lineage", prepare: nothing, update: grant_more, syncs: [2, 2] },
    Update { name: "peers", prepare: part, update: new_device, syncs: [3, 3] },
    Update { name: "resync: mark, before-images, end", prepare: missed, update: connect, syncs: [1, 4] },
    Update { name: "rollback", prepare: half_copied, update: roll_back, syncs: [0, 1] },
    Update { name: "snapshot", prepare: split, update: connect, syncs: [1, 4] },
    Update { name: "end of a snapshot", prepare: kept_snapshot, update: delete_snapshot, syncs: [0, 2] },
    Update { name: "growth", prepare: nothing, update: grow, syncs: [3, 3] },
    Update { name: "shrinking", prepare: nothing, update: shrink, syncs: [2, 2] },
    Update { name: "damaged blocks", prepare: damaged_alike, update: verify, syncs: [1, 0] },
    Update { name: "end of damage", prepare: known_damage, update: overwrite, syncs: [1, 0] },
    Update { name: "copies of damage", prepare: only_copy_damaged, update: connect, syncs: [1, 4] },
];

fn nothing(_: &mut Net) {}

fn write_widely(net: &mut Net) {
    for i in 0..7u64 {
        net.write(0, (i * 5 % 6) * (1 << 20) + i * GRANULE, &[i as u8 + 1; BLOCK]);
        net.settle();
    }
    net.flush(0);
    net.settle();
}

fn part(net: &mut Net) {
    net.cut(0, 1);
    let granted = net.set_grant(0, grant(1, 0, &[0], 2));
    assert!(granted.is_ok());
    net.settle();
}

fn close(net: &mut Net) {
    net.close(0);
    net.settle();
}

fn raise(net: &mut Net) {
    for n in 0..2 {
        net.start_raise(n, 7);
        net.settle();
    }
}

fn grant_more(net: &mut Net) {
    for (generation, set) in [(2, &[0, 1][..]), (3, &[0, 1]), (4, &[0])] {
        let _ = net.nodes[0].replica.is_some() && net.set_grant(0, grant(1, 0, set, generation)).is_ok();
        net.settle();
    }
}

fn connect(net: &mut Net) {
    net.connect(0, 1);
    net.settle();
}

fn new_device(net: &mut Net) {
    let (after, before) = (net.nodes[1].die_after_syncs, net.nodes[1].die_before_sync);
    net.replace_disk(1, 77);
    (net.nodes[1].die_after_syncs, net.nodes[1].die_before_sync) = (after, before);
    connect(net);
}

fn missed(net: &mut Net) {
    part(net);
    for g in 0..8 {
        net.put(0, g * GRANULE, &[9; BLOCK]);
    }
    net.flush(0);
    net.settle();
}

fn half_copied(net: &mut Net) {
    missed(net);
    net.connect(0, 1);
    let before = net.nodes[1].written;
    while net.nodes[1].written < before + 3 * GRANULE {
        assert!(net.step());
    }
    net.cut(0, 1);
    net.settle();
}

fn roll_back(net: &mut Net) {
    net.rollback(1);
    net.settle();
}

fn split(net: &mut Net) {
    net.cut(0, 1);
    for (n, epoch) in [(1, 2), (0, 3)] {
        net.lead(n, grant(epoch, n, &[n], epoch));
        net.put(n, n as u64 * 3 * GRANULE, &[n as u8 + 50; BLOCK]);
        net.flush(n);
        net.settle();
    }
}

fn kept_snapshot(net: &mut Net) {
    split(net);
    connect(net);
    assert_eq!(net.snapshots(1).len(), 1);
}

fn delete_snapshot(net: &mut Net) {
    net.delete_snapshot(1, 1);
    net.settle();
}

fn grow(net: &mut Net) {
    net.resize(0, SIZE + (20 << 20));
    net.settle();
}

fn shrink(net: &mut Net) {
    net.shrink(0, 8 << 20);
    net.settle();
}

fn damaged_alike(net: &mut Net) {
    net.put(0, 0, &[3; BLOCK]);
    net.flush(0);
    net.idle();
    (0..2).for_each(|n| net.nodes[n].data.rot(5));
}

fn verify(net: &mut Net) {
    net.verify(0);
    net.settle();
}

fn known_damage(net: &mut Net) {
    damaged_alike(net);
    verify(net);
}

fn overwrite(net: &mut Net) {
    net.put(0, 0, &[4; BLOCK]);
    net.flush(0);
    net.settle();
}

fn only_copy_damaged(net: &mut Net) {
    missed(net);
    net.nodes[0].data.rot(5);
}

fn pair(seed: u64) -> Net {
    let config = Config { split_brain: SplitBrainPolicy::DiscardPeer, ..small() };
    let mut net = Net::with(2, seed, config);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    for i in 0..8u64 {
        net.put(0, KEPT + i * 3 * GRANULE / 2, &[i as u8 + 100; 2 * BLOCK]);
    }
    net.flush(0);
    net.idle();
    net
}

/// Cuts the victim's power; says whether it came to that.
fn cut_off(net: &mut Net, update: &Update, victim: usize, before: bool, k: u64) -> bool {
    (update.prepare)(net);
    net.nodes[victim].meta.syncs = 0;
    match before {
        true => net.nodes[victim].die_before_sync = Some(k),
        false => net.nodes[victim].die_after_syncs = Some(k),
    }
    (update.update)(net);
    let died = net.nodes[victim].replica.is_none();
    (net.nodes[victim].die_before_sync, net.nodes[victim].die_after_syncs) = (None, None);
    died
}

fn scrub(net: &mut Net, n: usize, what: &str) -> Vec<Finding> {
    let request = net.scrub(n);
    net.settle();
    match net.answers.get(&request) {
        Some(Ok(Reply::Scrubbed(report))) => report.findings.clone(),
        other => panic!("{what}: {other:?} of node {n}"),
    }
}

/// Whoever is told to lead has what both had; the other one comes back to the same; no checksum lies.
fn come_together(net: &mut Net, leader: usize, what: &str) {
    for n in 0..2 {
        if net.status(n).role == RoleStatus::Closed {
            net.boot(n);
        }
    }
    net.cut(0, 1);
    let raised = net.raise(leader, 50).unwrap_or_else(|why| panic!("{what}: {why:?}"));
    if !raised.consistent {
        assert!(raised.can_roll_back, "{what}");
        let rollback = net.rollback(leader);
        net.settle();
        assert_eq!(net.answers[&rollback], Ok(Reply::RolledBack), "{what}");
    }
    let newest = (0..2).map(|n| net.status(n).generation.generation).max().unwrap_or(0);
    let alone = MemberSet::from([posthaste_blockrepl::Member {
        node: net.nodes[leader].identity.node,
        device: net.nodes[leader].identity.device,
    }]);
    let mut granted = grant(50, leader, &[leader], newest + 1);
    granted.in_sync = alone;
    let led: Result<(), Denied> = net.try_lead(leader, granted);
    assert_eq!(led, Ok(()), "{what}");
    let other = 1 - leader;
    let device = net.nodes[other].identity.device;
    net.input(leader, Input::Discard { device });
    net.connect(leader, other);
    net.settle();
    if !net.connected(0, 1) {
        // One that was cut off, and is made larger, begins anew.
        net.connect(leader, other);
        net.settle();
    }
    assert!(net.status(other).consistent, "{what}");
    net.assert_identical(0, 1);
    for i in 0..8u64 {
        let at = KEPT + i * 3 * GRANULE / 2;
        if at + 2 * BLOCK as u64 <= net.status(leader).size {
            let found = &net.nodes[leader].data.live[at as usize..][..2 * BLOCK];
            assert!(found == [i as u8 + 100; 2 * BLOCK], "{what}: what both had, {i}");
        }
    }
}

/// Says whether the update has so many syncs. The one or the other copy leads afterwards.
fn survives(update: &Update, victim: usize, before: bool, k: u64) -> bool {
    let leader = (k as usize + usize::from(before)) % 2;
    let what = format!("{}: victim {victim}, before {before}, sync {k}, then {leader}", update.name);
    let mut net = pair(k);
    if !cut_off(&mut net, update, victim, before, k) {
        return false;
    }
    net.boot(victim);
    net.settle();
    // A blank device has nothing to lead with.
    let blank = net.nodes[leader].identity.device != identity(leader).device;
    come_together(&mut net, if blank { 1 - leader } else { leader }, &what);
    let damaged = update.name.contains("damage");
    for n in 0..2 {
        let found = scrub(&mut net, n, &what);
        assert!(found.iter().all(|f| damaged && f.offset == 0), "{what}: {found:?}");
    }
    true
}

fn every_cut(update: &Update, victim: usize) {
    for before in [false, true] {
        let syncs = (1..).take_while(|k| survives(update, victim, before, *k)).count() as u64;
        assert!(syncs >= update.syncs[victim], "{}: victim {victim} has {syncs} syncs", update.name);
    }
}

#[test]
fn a_power_cut_of_the_leader_at_every_sync_of_every_update() {
    UPDATES.iter().for_each(|update| every_cut(update, 0));
}

#[test]
fn a_power_cut_of_the_peer_at_every_sync_of_every_update() {
    UPDATES.iter().for_each(|update| every_cut(update, 1));
}

/// The power of the target of a resync is cut after some step, whatever is on its way to either disk; then it goes back.
/// Says whether it finds what it had.
fn goes_back(seed: u64, prepare: fn(&mut Net)) -> bool {
    let mut net = Net::with(2, seed, small());
    prepare(&mut net);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.put(0, 0, &[1; 700_000]);
    net.flush(0);
    net.idle();
    let had = net.nodes[1].data.live.clone();
    part(&mut net);
    // Not side by side: they come one by one.
    for g in 0..12 {
        net.put(0, 2 * g * GRANULE, &[9; GRANULE as usize]);
    }
    net.flush(0);
    net.settle();
    net.connect(0, 1);
    for _ in 0..30 + net.random(170) {
        net.step();
    }
    net.crash(1);
    prepare(&mut net);
    net.boot(1);
    let raised = net.raise(1, 2).unwrap();
    if raised.consistent {
        // It had not begun, or it was over.
        return true;
    }
    let rollback = net.rollback(1);
    net.settle();
    assert_eq!(net.answers[&rollback], Ok(Reply::RolledBack));
    net.nodes[1].data.live == had
}

#[test]
fn a_power_cut_of_a_resync_s_target_anywhere_can_be_rolled_back() {
    assert_eq!((0..80).find(|seed| !goes_back(*seed, nothing)), None);
}

/// What the test above is worth.
#[cfg(feature = "bugs")]
#[test]
fn before_images_that_are_not_flushed_are_missed_by_a_rollback() {
    let bug = |net: &mut Net| {
        net.bug = Some(posthaste_blockrepl::bugs::Bug::UndoUnflushed);
        net.boot(1);
    };
    assert!((0..80).any(|seed| !goes_back(seed, bug)));
}
