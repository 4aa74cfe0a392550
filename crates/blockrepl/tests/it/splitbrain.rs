//! Both sides wrote since they parted: who is given up, and what is kept of it. And what only looks so.

use posthaste_blockrepl::core::{Branch, Denied, Event, Input, Reply, RoleStatus, SplitBrain, Verdict};
use posthaste_blockrepl::wire::Refusal;
use posthaste_blockrepl::{Config, DeviceId, GRANULE, GenerationId, NodeId, SplitBrainPolicy};

use crate::harness::*;

/// Node 0 wrote one granule on its own under epoch 2, node 1 two under epoch 3. Both lead no more.
fn parted(seed: u64, config: Config) -> Net {
    let mut net = Net::with(2, seed, config);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.put(0, 0, &[1; 300_000]);
    net.flush(0);
    net.idle();
    net.cut(0, 1);
    net.lead(0, grant(2, 0, &[0], 2));
    net.put(0, 2 * GRANULE, b"what node 0 wrote");
    net.flush(0);
    net.settle();
    net.lead(1, grant(3, 1, &[1], 3));
    net.put(1, 3 * GRANULE, &[7; 100_000]);
    net.flush(1);
    net.settle();
    net
}

fn split(net: &Net, n: usize) -> SplitBrain {
    let told = |e: &Event| if let Event::SplitBrain(s) = e { Some((**s).clone()) } else { None };
    net.nodes[n].events.iter().find_map(told).expect("a split brain is told")
}

fn whole_images(net: &Net, n: usize) -> Vec<Vec<u8>> {
    net.nodes[n].images.values().map(|(bytes, _)| bytes.clone()).collect()
}

#[test]
fn a_split_brain_is_described_and_nothing_is_done_unasked() {
    let mut net = parted(1, small());
    net.connect(0, 1);
    net.settle();
    let split = split(&net, 1);
    let generation =
        |n, epoch| GenerationId { generation: n, epoch, device: identity(epoch as usize - 2).device };
    assert_eq!(split.common.map(|g| g.generation), Some(1));
    assert_eq!(split.ours, Branch { first: Some(generation(3, 3)), changed_bytes: Some(2 * GRANULE) });
    // What was hot there when it parted may have changed as well.
    assert_eq!(split.theirs.first, Some(generation(2, 2)));
    assert!(split.theirs.changed_bytes.is_some_and(|bytes| bytes >= GRANULE));
    assert_eq!(split.verdict, Verdict::Undecided);
    assert!(net.nodes[1].events.iter().any(|e| matches!(e, Event::Diverged { .. })));
    assert!(!net.connected(0, 1) && net.nodes[0].images.is_empty());
}

/// A third copy missed something before the two parted, and has led since: that one side has noted it for the third copy
/// has it copied, but is no change of its own.
#[test]
fn what_a_third_copy_lacked_is_no_change_of_either_side() {
    let mut net = Net::new(3, 1);
    net.connect(0, 1);
    net.connect(0, 2);
    net.lead(0, grant(1, 0, &[0, 1, 2], 1));
    net.settle();
    net.cut(0, 2);
    net.set_grant(0, grant(1, 0, &[0, 1], 2)).unwrap();
    net.put(0, 0, &[1; 5 * GRANULE as usize]);
    net.flush(0);
    net.idle();
    net.cut(0, 1);
    net.lead(0, grant(2, 0, &[0], 3));
    net.put(0, 8 * GRANULE, b"what node 0 wrote");
    net.flush(0);
    net.settle();
    // The others go on, the third copy leads, and then the second one again.
    net.connect(1, 2);
    net.lead(1, grant(3, 1, &[1], 3));
    net.settle();
    net.set_grant(1, grant(3, 1, &[1, 2], 3)).unwrap();
    net.idle();
    net.lead(2, grant(4, 2, &[1, 2], 4));
    net.settle();
    net.lead(1, grant(5, 1, &[1, 2], 5));
    net.put(1, 9 * GRANULE, b"what node 1 wrote");
    net.flush(1);
    net.idle();
    net.connect(0, 1);
    net.settle();
    let split = split(&net, 1);
    assert_eq!([split.ours, split.theirs].map(|branch| branch.changed_bytes), [Some(GRANULE); 2]);
}

#[test]
fn each_policy_gives_up_the_side_that_it_names() {
    let generation = |epoch| Some(GenerationId { generation: epoch, epoch, device: DeviceId([0; 16]) });
    let split = |ours: (u64, Option<u64>), theirs: (u64, Option<u64>)| SplitBrain {
        peer: NodeId(1),
        device: DeviceId([1; 16]),
        common: generation(1),
        ours: Branch { first: generation(ours.0), changed_bytes: ours.1 },
        theirs: Branch { first: generation(theirs.0), changed_bytes: theirs.1 },
        verdict: Verdict::Undecided,
    };
    use SplitBrainPolicy as P;
    use Verdict::{OursLoses, TheirsLoses, Undecided};
    let one = split((3, Some(10)), (2, Some(20)));
    let cases = [
        (P::Disconnect, one.clone(), Undecided),
        (P::DiscardPeer, one.clone(), TheirsLoses),
        (P::DiscardYounger, one.clone(), OursLoses),
        (P::DiscardOlder, one.clone(), TheirsLoses),
        (P::DiscardYounger, split((2, None), (3, None)), TheirsLoses),
        (P::DiscardYounger, split((3, None), (3, None)), Undecided),
        (P::DiscardZeroChanges, one.clone(), Undecided),
        (P::DiscardZeroChanges, split((3, Some(5)), (2, Some(0))), TheirsLoses),
        (P::DiscardZeroChanges, split((3, Some(0)), (2, Some(5))), OursLoses),
        (P::DiscardZeroChanges, split((3, Some(5)), (2, None)), Undecided),
        (P::DiscardLeastChanges, one.clone(), OursLoses),
        (P::DiscardLeastChanges, split((3, Some(9)), (2, Some(9))), Undecided),
        (P::DiscardNode(NodeId(0)), one.clone(), OursLoses),
        (P::DiscardNode(NodeId(1)), one.clone(), TheirsLoses),
        (P::DiscardNode(NodeId(7)), one.clone(), Undecided),
        (P::DiscardPeer, SplitBrain { common: None, ..one }, Undecided),
    ];
    for (i, (policy, split, verdict)) in cases.into_iter().enumerate() {
        assert_eq!(policy.decide(NodeId(0), &split), verdict, "case {i}: {policy:?}");
    }
}

#[test]
fn what_is_given_up_is_kept_whole_though_the_live_copy_moves_on() {
    for (seed, clones) in [(1, false), (2, true), (3, false)] {
        let mut net = parted(seed, Config { split_brain: SplitBrainPolicy::DiscardPeer, ..small() });
        net.nodes[0].clones = clones;
        let lost = net.nodes[0].data.live.to_vec();
        net.connect(0, 1);
        for i in 0..20u64 {
            net.write(1, i * GRANULE, &[i as u8; 5000]);
            net.step();
        }
        net.flush(1);
        net.settle();
        net.assert_identical(0, 1);
        let kept = net.snapshots(0);
        assert_eq!(kept.len(), 1);
        assert!(whole_images(&net, 0) == [lost], "the image is the device as it was");
        let within = |at: u64| kept[0].written.iter().any(|(from, len)| (*from..from + len).contains(&at));
        assert!(within(2 * GRANULE) && !within(11 << 20), "{:?}", kept[0].written);
        assert_eq!((kept[0].generation.generation, kept[0].size), (2, SIZE));
        assert!(net.nodes[0].events.contains(&Event::SnapshotKept { id: 1, generation: 2, bytes: SIZE }));

        net.crash(0);
        net.boot(0);
        assert_eq!(net.snapshots(0), kept, "it outlives a restart");
        let delete = net.delete_snapshot(0, 1);
        net.settle();
        assert_eq!(net.answers[&delete], Ok(Reply::Deleted));
        assert!(net.snapshots(0).is_empty() && net.nodes[0].images.is_empty());
        let again = net.delete_snapshot(0, 1);
        assert_eq!(net.answers[&again], Err(Denied::NoSnapshot(1)));
    }
}

/// What a resync of node 0 from node 1 was said to copy.
fn resynced(net: &Net) -> (u64, bool) {
    let told = |e: &Event| match e {
        Event::ResyncStarted { bytes, full, .. } => Some((*bytes, *full)),
        _ => None,
    };
    net.nodes[1].events.iter().rev().find_map(told).expect("a resync began")
}

#[test]
fn of_the_loser_only_what_either_side_wrote_is_copied() {
    for seed in 0..10 {
        let policy = if seed % 2 == 0 { SplitBrainPolicy::DiscardPeer } else { SplitBrainPolicy::Disconnect };
        let mut net = parted(seed, Config { split_brain: policy, ..small() });
        for n in [0, 1] {
            if net.random(2) == 0 {
                net.crash(n);
                net.boot(n);
            }
        }
        if !matches!(net.status(1).role, RoleStatus::Leader) {
            net.lead(1, grant(4, 1, &[1], 4));
        }
        net.input(1, Input::Discard { device: identity(0).device });
        let lost = net.nodes[0].data.live.to_vec();
        net.connect(0, 1);
        // A break in the midst of it does not forget what is still to be copied.
        for _ in 0..net.random(120) {
            net.step();
        }
        net.cut(0, 1);
        net.input(1, Input::Discard { device: identity(0).device });
        net.connect(0, 1);
        net.settle();
        net.assert_identical(0, 1);
        assert!(net.status(0).consistent, "seed {seed}");
        let (bytes, full) = resynced(&net);
        assert!(!full && bytes < SIZE, "seed {seed}: {bytes}");
        assert!(whole_images(&net, 0).iter().all(|image| *image == lost), "seed {seed}");
    }
}

#[test]
fn without_a_bitmap_since_the_parting_the_loser_is_copied_in_full() {
    let mut net = parted(3, Config { split_brain: SplitBrainPolicy::DiscardPeer, ..small() });
    let now = net.now;
    net.nodes[1].replica.as_mut().unwrap().forget(now, identity(0).device).unwrap();
    net.collect(1);
    net.connect(0, 1);
    net.settle();
    net.assert_identical(0, 1);
    assert_eq!(resynced(&net), (SIZE, true));
}

#[test]
fn a_leader_that_should_lose_says_so_and_overwrites_nothing() {
    let mut net = parted(4, Config { split_brain: SplitBrainPolicy::DiscardNode(NodeId(1)), ..small() });
    net.connect(0, 1);
    net.settle();
    assert_eq!(split(&net, 1).verdict, Verdict::OursLoses);
    // Its owner lets the other one lead.
    net.lead(0, grant(4, 0, &[0], 4));
    net.connect(0, 1);
    net.settle();
    assert_eq!(split(&net, 0).verdict, Verdict::TheirsLoses);
    assert_eq!(net.snapshots(1).len(), 1);
    net.assert_identical(0, 1);
}

#[test]
fn without_room_for_the_snapshot_nothing_is_overwritten() {
    for (no_images, max) in [(true, 2), (false, 1)] {
        let config = Config { snapshots_max: max, split_brain: SplitBrainPolicy::DiscardPeer, ..small() };
        let mut net = parted(5, config);
        net.nodes[0].no_images = no_images;
        if !no_images {
            // The only place is taken by an earlier one.
            net.connect(0, 1);
            net.settle();
            net.cut(0, 1);
            net.lead(0, grant(4, 0, &[0], 4));
            net.put(0, 0, b"again");
            net.lead(1, grant(5, 1, &[1], 5));
            net.put(1, 0, b"on both sides");
            net.nodes[0].events.clear();
        }
        let before = net.nodes[0].data.live.clone();
        net.connect(0, 1);
        net.settle();
        assert!(net.nodes[0].data.live == before && net.status(0).consistent);
        assert!(net.nodes[0].events.iter().any(|e| matches!(e, Event::SnapshotFailed { .. })));
        let refused = Event::RefusedBy { peer: NodeId(0), why: Refusal::CannotKeep };
        assert!(net.nodes[1].events.contains(&refused));
        assert_eq!(net.nodes[0].images.len(), usize::from(!no_images), "nothing half made is left");
    }
}

/// Power is cut at every sync of the metadata while a snapshot is made and deleted: what is listed is whole,
/// what is not is gone, and nothing was overwritten before it was kept.
#[test]
fn every_crash_point_of_a_snapshot_leaves_it_whole_or_not_at_all() {
    for k in 1.. {
        let mut net = parted(100 + k, Config { split_brain: SplitBrainPolicy::DiscardPeer, ..small() });
        let lost = net.nodes[0].data.live.to_vec();
        net.nodes[0].meta.syncs = 0;
        net.nodes[0].die_after_syncs = Some(k);
        net.connect(0, 1);
        net.settle();
        let died = net.nodes[0].replica.is_none();
        if died {
            net.boot(0);
            net.input(0, Input::Tick);
            net.settle();
        }
        let kept = net.snapshots(0);
        let images = whole_images(&net, 0);
        assert_eq!(kept.len(), images.len(), "sync {k}: no image without a record");
        assert!(images.iter().all(|image| *image == lost), "sync {k}");
        assert!(!kept.is_empty() || net.nodes[0].data.live[..] == lost, "sync {k}: overwritten unkept");
        net.connect(0, 1);
        net.settle();
        net.assert_identical(0, 1);
        assert!(whole_images(&net, 0).contains(&lost), "sync {k}");
        if !died {
            assert!(k > 4, "a snapshot has syncs of the metadata");
            return;
        }
    }
}

/// Three copies: node 0 leads, removes node 2 under a new generation, and dies; node 1, which was not told of that, leads.
fn took_over_before_it_heard(seed: u64) -> Net {
    let mut net = Net::new(3, seed);
    net.connect(0, 1);
    net.connect(0, 2);
    net.lead(0, grant(1, 0, &[0, 1, 2], 1));
    net.put(0, 0, &[3; 200_000]);
    net.flush(0);
    net.idle();
    net.cut(0, 2);
    net.deaf = Some(1);
    net.set_grant(0, grant(1, 0, &[0, 1], 2)).unwrap();
    net.write(0, 0, b"not acknowledged");
    net.settle();
    net.crash(0);
    net.deaf = None;
    net.settle();
    net.lead(1, grant(2, 1, &[1], 3));
    net
}

/// With three copies: node 2 was removed under a generation that node 1 was not told of before it took over.
/// Node 0, which had acknowledged nothing under it, only looks diverged.
#[test]
fn a_removal_that_the_new_leader_was_not_told_of_is_no_split_brain() {
    for seed in 0..10 {
        let mut net = took_over_before_it_heard(seed);
        net.put(1, GRANULE, b"the successor's");
        net.flush(1);
        net.settle();
        net.boot(0);
        net.connect(1, 0);
        net.settle();
        assert!(!net.nodes[1].events.iter().any(|e| matches!(e, Event::Diverged { .. })), "seed {seed}");
        assert!(net.synced(1, 0), "seed {seed}");
        net.assert_identical(0, 1);
    }
}

/// The same, and the one that was removed leads by the time the old leader returns: it was not in its set, but it descends from
/// one that was.
#[test]
fn nor_is_one_that_a_later_leader_was_not_in_the_set_of() {
    for seed in 0..10 {
        let mut net = took_over_before_it_heard(seed);
        net.connect(1, 2);
        net.idle();
        net.set_pending(1, Some(set(&[1, 2]))).unwrap();
        net.set_grant(1, grant(2, 1, &[1, 2], 3)).unwrap();
        net.put(1, GRANULE, b"the successor's");
        net.flush(1);
        net.idle();
        net.lead(2, grant(3, 2, &[2, 1], 3));
        net.boot(0);
        net.connect(2, 0);
        net.settle();
        assert!(!net.nodes[2].events.iter().any(|e| matches!(e, Event::Diverged { .. })), "seed {seed}");
        assert!(net.synced(2, 0), "seed {seed}");
        net.assert_identical(0, 2);
    }
}

/// The quorum has made node 1 a member, and node 0, which waits for it from before that, has not heard of it when it dies.
#[test]
fn a_member_that_its_leader_had_not_heard_of_yet_succeeds_it() {
    let mut net = Net::new(2, 3);
    net.connect(0, 1);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.put(0, 0, b"while it was away");
    net.connect(0, 1);
    net.settle();
    net.set_pending(0, Some(set(&[0, 1]))).unwrap();
    // It returns once more, and is told of the set then.
    net.cut(0, 1);
    net.settle();
    net.connect(0, 1);
    net.settle();
    net.put(0, 9, b"acknowledged");
    net.flush(0);
    net.settle();
    net.crash(0);
    net.raise(1, 2).unwrap();
    net.lead(1, grant(2, 1, &[1], 3));
    net.boot(0);
    net.connect(1, 0);
    net.settle();
    assert!(!net.heard(1, |e| matches!(e, Event::Diverged { .. })));
    assert!(net.synced(1, 0));
    net.assert_identical(0, 1);
}
