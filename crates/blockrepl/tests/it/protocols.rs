//! Protocols A and B beside C, and how a peer becomes a candidate for the in-sync set.

use posthaste_blockrepl::core::{Denied, Event, LinkStatus, Reply, Waiting};
use posthaste_blockrepl::{Config, Congestion, GRANULE, NodeId, Protocol};

use crate::harness::*;

/// Node 0 leads alone, node 1 follows under the protocol.
fn follower(seed: u64, protocol: Protocol, config: Config) -> Net {
    let mut net = Net::with(2, seed, Config { protocol, ..config });
    net.lead(0, grant(1, 0, &[0], 1));
    net.connect(0, 1);
    net.settle();
    net
}

fn step_until(net: &mut Net, mut ready: impl FnMut(&Net) -> bool) {
    while !ready(net) {
        assert!(net.step(), "it never happens");
    }
}

/// R1: nobody may propose a peer under A or B.
#[test]
fn a_peer_under_a_or_b_follows_and_is_never_a_member() {
    for protocol in [Protocol::A, Protocol::B] {
        let mut net = follower(1, protocol, small());
        assert_eq!((net.peer(0, 1).link, net.peer(0, 1).protocol), (LinkStatus::Following, protocol));
        assert!(!net.synced(0, 1));
        assert!(net.heard(0, |e| matches!(e, Event::PeerFollows { peer: NodeId(1), .. })));
        assert_eq!(net.set_pending(0, Some(set(&[0, 1]))), Err(Denied::NotSynced(NodeId(1))));
        net.put(0, 70_000, &[3; 200_000]);
        net.flush(0);
        net.settle();
        net.assert_identical(0, 1);
    }
}

#[test]
fn under_a_no_flush_waits_for_a_peer_that_does_not_answer() {
    let mut net = follower(2, Protocol::A, small());
    net.deaf = Some(1);
    // More extents than may be hot: the activity log does not wait for it either.
    for i in 0..200u64 {
        let write = net.write(0, i % 12 * (1 << 20), &[i as u8; 4096]);
        net.settle();
        assert!(net.answered(write), "write {i}: {:?}", net.status(0).waiting);
        let flush = net.flush(0);
        net.settle();
        assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
    }
    assert_eq!(&net.nodes[1].data.live[..4096], [0; 4096]);
    net.deaf = None;
    net.settle();
    net.assert_identical(0, 1);
    assert_eq!(net.peer(0, 1).dirty_bytes, 0, "what was noted meanwhile is flushed there");
}

#[test]
fn under_b_a_flush_waits_for_the_memory_of_the_peer_and_not_for_its_disk() {
    let mut net = follower(3, Protocol::B, small());
    net.deaf = Some(1);
    net.put(0, 0, b"in memory");
    let flush = net.flush(0);
    net.settle();
    assert!(!net.answered(flush));
    assert_eq!(net.status(0).waiting, vec![Waiting::PeerMemory(NodeId(1))]);
    net.deaf = None;
    net.hold_disks = Some(1);
    net.settle();
    assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
    assert_eq!(&net.nodes[1].data.live[..9], [0; 9], "its disk has done nothing yet");
    net.hold_disks = None;
    net.settle();
    net.assert_identical(0, 1);
}

#[test]
fn a_peer_under_b_that_says_nothing_is_let_go() {
    let mut net = follower(4, Protocol::B, small());
    net.deaf = Some(1);
    net.put(0, 0, b"x");
    let flush = net.flush(0);
    net.settle();
    for _ in 0..20 {
        net.wait(0);
        net.settle();
    }
    assert!(net.heard(0, |e| *e == Event::PeerSlow { peer: NodeId(1), in_sync: false }));
    assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
}

/// Without a break and without a copy.
#[test]
fn a_protocol_is_changed_live_in_both_directions() {
    for seed in 0..10 {
        let mut net = follower(seed, Protocol::A, small());
        net.put(0, 0, &[1; 100_000]);
        let copied = net.nodes[1].written;
        net.set_protocol(0, 1, Protocol::C);
        assert_eq!(net.set_pending(0, Some(set(&[0, 1]))), Err(Denied::NotSynced(NodeId(1))));
        net.settle();
        assert!(net.synced(0, 1));
        net.set_pending(0, Some(set(&[0, 1]))).unwrap();
        net.set_grant(0, grant(1, 0, &[0, 1], 1)).unwrap();
        net.settle();
        assert_eq!(net.status(1).in_sync, set(&[0, 1]));

        // Back: until a grant leaves it out, it is waited for.
        net.set_protocol(0, 1, Protocol::A);
        net.deaf = Some(1);
        net.put(0, 0, b"still C");
        let flush = net.flush(0);
        net.settle();
        assert!(!net.answered(flush));
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        net.settle();
        assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
        net.deaf = None;
        net.settle();
        assert_eq!(net.peer(0, 1).link, LinkStatus::Following, "the link was kept");
        assert_eq!(net.status(1).in_sync, set(&[0]));
        assert_eq!(net.nodes[1].written, copied + 7, "nothing was copied");
        net.assert_identical(0, 1);
    }
}

/// R1, R2: what was acknowledged before, or while the resync ended, is durable on a candidate.
#[test]
fn a_candidate_has_on_its_disk_all_that_was_ever_acknowledged() {
    let candidate = |n: &Net| n.synced(0, 1);
    for seed in 0..60 {
        let late = seed % 2 == 0;
        let protocol = if late { Protocol::A } else { Protocol::C };
        let mut net = Net::sized(2, seed, Config { protocol, ..small() }, 3 << 20);
        net.lead(0, grant(1, 0, &[0], 1));
        net.connect(0, 1);
        if late {
            net.settle();
        }
        let (mut acked, mut flushes) = (0, Vec::new());
        for value in 1..=250u8 {
            let write = net.write(0, 4096, &[value]);
            step_until(&mut net, |n| n.answered(write) || candidate(n));
            flushes.push((net.flush(0), value));
            if late && value == 8 {
                net.set_protocol(0, 1, Protocol::C);
            }
            for _ in 0..net.random(4) {
                if !candidate(&net) {
                    net.step();
                }
            }
            acked = flushes.iter().filter(|(f, _)| net.answered(*f)).map(|(_, v)| *v).max().unwrap_or(acked);
            if candidate(&net) {
                break;
            }
        }
        assert!(candidate(&net));
        net.set_pending(0, Some(set(&[0, 1]))).unwrap();
        net.crash(0);
        net.crash(1);
        let found = net.nodes[1].data.live[4096];
        assert!(found >= acked, "seed {seed}: {found} on the candidate, {acked} acknowledged");
        // It may lead at once, and nobody takes the others for diverged.
        net.boot(1);
        net.lead(1, grant(2, 1, &[1], 2));
        net.boot(0);
        net.connect(1, 0);
        net.settle();
        assert!(net.synced(1, 0) || late, "seed {seed}");
        net.assert_identical(0, 1);
    }
}

#[test]
fn a_congested_peer_falls_behind_and_catches_up_by_itself() {
    for seed in 0..5 {
        let config = Config { peer_window_bytes: 1 << 19, congestion: Congestion::Behind, ..small() };
        let mut net = follower(seed, Protocol::A, config);
        net.deaf = Some(1);
        let mut last = None;
        for i in 0..40u64 {
            last = Some(net.write(0, i * GRANULE, &[i as u8 + 1; 20_000]));
            net.settle();
        }
        assert!(net.answered(last.unwrap()), "writes do not wait");
        assert!(net.heard(0, |e| *e == Event::PeerBehind { peer: NodeId(1) }));
        assert_eq!(net.peer(0, 1).link, LinkStatus::Syncing);
        net.deaf = None;
        net.settle();
        assert_eq!(net.peer(0, 1).link, LinkStatus::Following);
        net.assert_identical(0, 1);
        assert!(net.status(1).consistent);
    }
}

#[test]
fn a_full_window_holds_the_writes_unless_the_policy_says_otherwise() {
    let mut net = follower(1, Protocol::A, Config { peer_window_bytes: 1 << 19, ..small() });
    net.deaf = Some(1);
    let writes: Vec<_> = (0..40u64).map(|i| net.write(0, i * GRANULE, &[1; 20_000])).collect();
    net.settle();
    assert!(net.answered(writes[0]) && !net.answered(writes[39]));
    net.deaf = None;
    net.settle();
    assert!(net.answered(writes[39]));
    net.assert_identical(0, 1);
}

/// The copy under A lacked acknowledged writes when it was made to lead: that is a split brain.
#[test]
fn a_copy_under_a_that_leads_by_force_is_told_apart_from_the_one_it_followed() {
    let mut net = follower(5, Protocol::A, small());
    net.put(0, 0, b"both");
    net.flush(0);
    net.settle();
    net.cut(0, 1);
    net.put(0, 0, b"one alone");
    let flush = net.flush(0);
    net.settle();
    assert!(net.answered(flush));
    net.crash(0);
    net.lead(1, grant(2, 1, &[1], 2));
    net.boot(0);
    net.connect(1, 0);
    net.settle();
    assert!(net.heard(1, |e| matches!(e, Event::Diverged { peer: NodeId(0), .. })));
    assert_eq!(&net.nodes[0].data.live[..9], b"one alone", "nothing of it is overwritten unasked");
}

/// Random writes, breaks, crashes and changes of protocol; afterwards the copies are the same.
#[test]
fn copies_under_any_protocol_are_identical_once_quiet() {
    for seed in 0..12 {
        let congestion = if seed % 2 == 0 { Congestion::Behind } else { Congestion::Wait };
        let config =
            Config { congestion, peer_window_bytes: 1 << 19, resync_by_digest: seed % 3 == 0, ..small() };
        let mut net = Net::with(3, seed, Config { protocol: Protocol::A, ..config });
        net.lead(0, grant(1, 0, &[0], 1));
        let mut epoch = 1;
        for i in 0..300u64 {
            let peer = 1 + net.random(2) as usize;
            match net.random(40) {
                0 => net.cut(0, peer),
                1 | 2 if !net.connected(0, peer) => drop(net.connect(0, peer)),
                3 => {
                    let protocol = [Protocol::A, Protocol::B, Protocol::C][net.random(3) as usize];
                    net.set_protocol(0, peer, protocol);
                }
                4 if net.random(3) == 0 => {
                    net.crash(peer);
                    net.boot(peer);
                }
                5 if net.random(4) == 0 => {
                    epoch += 1;
                    net.crash(0);
                    net.boot(0);
                    net.lead(0, grant(epoch, 0, &[0], 1));
                }
                6..=9 => drop(net.flush(0)),
                _ => {
                    let at = net.random(SIZE - 9000);
                    let len = 1 + net.random(9000) as usize;
                    net.write(0, at, &vec![i as u8; len]);
                }
            }
            for _ in 0..net.random(10) {
                net.step();
            }
        }
        for peer in [1, 2] {
            if !net.connected(0, peer) {
                net.connect(0, peer);
            }
        }
        let flush = net.flush(0);
        net.settle();
        assert_eq!(net.answers[&flush], Ok(Reply::Flushed), "seed {seed}");
        for peer in [1, 2] {
            let link = net.peer(0, peer).link;
            assert!(matches!(link, LinkStatus::Following | LinkStatus::Synced), "seed {seed}: {link:?}");
            net.assert_identical(0, peer);
            assert!(net.status(peer).consistent);
        }
    }
}
