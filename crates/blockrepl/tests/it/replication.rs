//! Writes, flushes, grants, fencing.

use posthaste_blockrepl::core::{Denied, Event, Reply, RoleStatus, Waiting};
use posthaste_blockrepl::{Config, GRANULE, NodeId};

use crate::harness::*;

#[test]
fn an_acknowledged_flush_is_durable_on_both_replicas() {
    for seed in 0..20 {
        let mut net = Net::pair(seed);
        let write = net.write(0, 5000, b"hello");
        while !net.answered(write) {
            assert!(net.step());
        }
        let flush = net.flush(0);
        while !net.answered(flush) {
            assert!(net.step());
        }
        assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
        net.crash(0);
        net.crash(1);
        for n in 0..2 {
            assert_eq!(&net.nodes[n].data.live[5000..5005], b"hello", "seed {seed} node {n}");
        }
    }
}

#[test]
fn overlapping_writes_end_up_identical_on_both() {
    for seed in 0..20 {
        let mut net = Net::pair(seed);
        for i in 0..50u8 {
            let (at, len) = (net.random(200_000), net.random(70_000) as usize + 1);
            net.write(0, at, &vec![i; len]);
            if i % 7 == 0 {
                net.step();
            }
        }
        net.flush(0);
        net.settle();
        net.assert_identical(0, 1);
    }
}

#[test]
fn a_flush_waits_for_a_lost_peer_until_a_grant_removes_it() {
    let mut net = Net::pair(1);
    net.cut(0, 1);
    net.write(0, 0, b"x");
    net.settle();
    let flush = net.flush(0);
    net.settle();
    assert!(!net.answered(flush));
    assert_eq!(net.status(0).waiting, vec![Waiting::PeerDown(NodeId(1))]);
    assert_eq!(net.status(0).waiting[0].to_string(), "waiting for node 1, or for a grant that removes it");
    let lost = Event::PeerLost { peer: NodeId(1), device: identity(1).device, in_sync: true };
    assert!(net.nodes[0].events.contains(&lost));
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.settle();
    assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
}

#[test]
fn a_flush_waits_for_a_lost_peer_until_it_returns() {
    let mut net = Net::pair(2);
    net.cut(0, 1);
    net.put(0, 0, b"x");
    let flush = net.flush(0);
    net.settle();
    assert!(!net.answered(flush));
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
    net.assert_identical(0, 1);
}

#[test]
fn a_deaf_peer_is_reported_slow_and_the_status_says_who_is_waited_for() {
    let mut net = Net::pair(3);
    net.deaf = Some(1);
    net.put(0, 0, b"x");
    let flush = net.flush(0);
    net.settle();
    assert_eq!(net.status(0).waiting, vec![Waiting::Peer(NodeId(1))]);
    let due = net.nodes[0].replica.as_ref().unwrap().poll_timeout().unwrap();
    net.now = due;
    net.input(0, posthaste_blockrepl::core::Input::Tick);
    assert!(net.nodes[0].events.contains(&Event::PeerSlow { peer: NodeId(1), in_sync: true }));
    net.deaf = None;
    net.settle();
    assert!(net.answered(flush));
    let recovered = |e: &&Event| matches!(e, Event::PeerRecovered { peer: NodeId(1), .. });
    assert_eq!(net.nodes[0].events.iter().filter(recovered).count(), 1);
}

/// R4: the successor's replica refuses the old leader, which learns of it.
#[test]
fn a_stale_leader_is_fenced_and_can_acknowledge_nothing() {
    let mut net = Net::pair(4);
    net.put(0, 0, b"old");
    net.flush(0);
    net.settle();
    let raised = net.raise(1, 2).unwrap();
    assert_eq!((raised.epoch, raised.generation, raised.consistent), (2, 1, true));
    net.settle();
    assert!(net.nodes[0].events.contains(&Event::Fenced { held: 1, current: 2 }));
    let late = net.write(0, 0, b"late");
    net.settle();
    assert_eq!(net.answers[&late], Err(Denied::NotLeading));
    assert_eq!(net.status(0).role, RoleStatus::Follower);
    net.try_lead(1, grant(2, 1, &[1], 2)).unwrap();
    assert_eq!(&net.nodes[1].data.live[..3], b"old");
}

#[test]
fn an_isolated_stale_leader_waits_and_is_fenced_when_it_reconnects() {
    for seed in 0..10 {
        let mut net = Net::pair(seed);
        net.cut(0, 1);
        net.put(0, 0, b"never acknowledged");
        let flush = net.flush(0);
        net.settle();
        net.lead(1, grant(2, 1, &[1], 2));
        net.put(1, 0, b"new");
        let new = net.flush(1);
        net.settle();
        assert_eq!(net.answers[&new], Ok(Reply::Flushed));
        assert!(!net.answered(flush));
        net.connect(0, 1);
        net.settle();
        assert_eq!(net.answers[&flush], Err(Denied::Fenced { held: 1, current: 2 }));
        assert!(net.synced(1, 0));
        net.assert_identical(0, 1);
        assert_eq!(&net.nodes[0].data.live[..3], b"new");
    }
}

#[test]
fn a_raised_epoch_survives_a_crash_and_lower_ones_are_refused_for_ever() {
    let mut net = Net::pair(5);
    net.cut(0, 1);
    net.raise(1, 9).unwrap();
    net.crash(1);
    net.boot(1);
    assert_eq!(net.raise(1, 8), Err(Denied::EpochTooLow { asked: 8, current: 9 }));
    assert_eq!(net.try_lead(1, grant(8, 1, &[1], 2)), Err(Denied::EpochTooLow { asked: 8, current: 9 }));
    net.connect(0, 1);
    net.settle();
    assert!(net.nodes[0].events.contains(&Event::Fenced { held: 1, current: 9 }));
}

#[test]
fn only_the_granted_device_leads_and_only_after_its_raise() {
    let mut net = Net::new(2, 6);
    assert_eq!(net.try_lead(0, grant(3, 0, &[0], 1)), Err(Denied::NotRaised { asked: 3, durable: 0 }));
    net.raise(0, 3).unwrap();
    assert_eq!(net.try_lead(0, grant(3, 1, &[0, 1], 1)), Err(Denied::NotGranted));
    assert_eq!(net.try_lead(0, grant(3, 0, &[1], 1)), Err(Denied::NotGranted));
    net.try_lead(0, grant(3, 0, &[0], 5)).unwrap();
    net.raise(0, 4).unwrap();
    let older = Denied::GenerationOlder { own: 5, granted: 4 };
    assert_eq!(net.try_lead(0, grant(4, 0, &[0], 4)), Err(older));
}

/// R1: until the outcome is known, both the old and the proposed set count.
#[test]
fn a_pending_change_is_acknowledged_on_the_union_only() {
    let mut net = Net::pair(7);
    net.set_pending(0, Some(set(&[0]))).unwrap();
    net.cut(0, 1);
    net.put(0, 0, b"x");
    let flush = net.flush(0);
    net.settle();
    assert!(!net.answered(flush), "the removal is only proposed");
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.settle();
    assert!(net.answered(flush));
    assert_eq!(net.status(0).pending, None);

    // Node 1 returns, is synced, and is proposed; its loss before the outcome holds flushes back.
    assert_eq!(net.set_pending(0, Some(set(&[0, 1]))), Err(Denied::NotSynced(NodeId(1))));
    net.connect(0, 1);
    net.settle();
    net.set_pending(0, Some(set(&[0, 1]))).unwrap();
    net.cut(0, 1);
    net.put(0, 0, b"y");
    let flush = net.flush(0);
    net.settle();
    assert!(!net.answered(flush), "the quorum may already count node 1");
    net.set_pending(0, None).unwrap();
    net.settle();
    assert!(net.answered(flush), "the proposal failed: node 1 does not count");
}

#[test]
fn a_synced_peer_counts_before_any_grant_names_it() {
    let mut net = Net::pair(8);
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.settle();
    net.connect(0, 1);
    net.settle();
    assert!(net.synced(0, 1));
    net.deaf = Some(1);
    net.put(0, 0, b"x");
    let flush = net.flush(0);
    net.settle();
    assert!(!net.answered(flush), "node 1 may be in the set by now");
    net.deaf = None;
    net.settle();
    assert!(net.answered(flush));
}

/// R11.
#[test]
fn a_failed_flush_is_never_retried_and_detaches_the_replica() {
    let mut net = Net::pair(9);
    net.nodes[0].fail_flush = true;
    net.put(0, 0, b"x");
    let flush = net.flush(0);
    net.settle();
    assert_eq!(net.answers[&flush], Err(Denied::Disk("injected".into())));
    net.nodes[0].fail_flush = false;
    let again = net.flush(0);
    net.settle();
    assert_eq!(net.answers[&again], Err(Denied::Disk("injected".into())));
    assert_eq!(net.nodes[0].data.syncs, 0);
    assert_eq!(net.status(0).role, RoleStatus::Failed);
    assert!(!net.connected(0, 1));
}

#[test]
fn a_failed_disk_of_a_follower_ends_its_link_and_the_leader_waits_for_a_grant() {
    let mut net = Net::pair(10);
    net.nodes[1].fail_flush = true;
    net.put(0, 0, b"x");
    let flush = net.flush(0);
    net.settle();
    assert!(!net.answered(flush));
    assert!(!net.connected(0, 1));
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.settle();
    assert!(net.answered(flush));
}

#[test]
fn a_planned_move_needs_no_resync_and_loses_nothing() {
    let mut net = Net::pair(11);
    net.put(0, 100, b"before");
    net.flush(0);
    net.idle();
    let written = net.nodes[0].written;
    net.raise(0, 2).unwrap();
    net.lead(1, grant(2, 1, &[0, 1], 1));
    net.put(1, 200, b"after");
    let flush = net.flush(1);
    net.settle();
    assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
    net.assert_identical(0, 1);
    assert_eq!(net.nodes[0].written, written + 5, "nothing but the new write was copied");
}

#[test]
fn writes_over_many_extents_never_deadlock_the_activity_log() {
    for seed in 0..5 {
        let mut net = Net::new(2, seed);
        net.connect(0, 1);
        net.lead(0, grant(1, 0, &[0, 1], 1));
        let mut last = None;
        for i in 0..200u64 {
            let at = net.random(SIZE / GRANULE) * GRANULE;
            last = Some(net.write(0, at, &[i as u8; 512]));
        }
        net.settle();
        assert!(net.answered(last.unwrap()));
        net.flush(0);
        net.settle();
        net.assert_identical(0, 1);
    }
}

/// Else an owner that did not mind a slow copy would not learn that the one it now counts is slow.
#[test]
fn a_peer_that_becomes_a_member_while_it_is_slow_is_reported_again() {
    let mut net = Net::new(2, 13);
    net.lead(0, grant(1, 0, &[0], 1));
    net.connect(0, 1);
    net.settle();
    net.deaf = Some(1);
    net.put(0, 0, b"x");
    net.flush(0);
    net.settle();
    let slow = |net: &mut Net| {
        net.now = net.nodes[0].replica.as_ref().unwrap().poll_timeout().expect("an answer is outstanding");
        net.input(0, posthaste_blockrepl::core::Input::Tick);
        let is_slow = |e: &&Event| matches!(e, Event::PeerSlow { .. });
        net.nodes[0].events.iter().filter(is_slow).count()
    };
    assert_eq!(slow(&mut net), 1);
    net.set_grant(0, grant(1, 0, &[0, 1], 1)).unwrap();
    assert_eq!(slow(&mut net), 2);
    assert!(net.nodes[0].events.contains(&Event::PeerSlow { peer: NodeId(1), in_sync: true }));
}

#[test]
fn a_peer_that_stops_in_the_handshake_is_reported_slow() {
    let mut net = Net::new(2, 12);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.deaf = Some(1);
    net.connect(0, 1);
    net.settle();
    net.now = net.nodes[0].replica.as_ref().unwrap().poll_timeout().expect("an answer is outstanding");
    net.input(0, posthaste_blockrepl::core::Input::Tick);
    assert!(net.nodes[0].events.contains(&Event::PeerSlow { peer: NodeId(1), in_sync: true }));
}

#[test]
fn a_sequential_writer_waits_for_no_metadata() {
    let config = Config { hot_extents: 64, hot_ahead: 8, ..small() };
    let mut net = Net::with(2, 1, config);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.connect(0, 1);
    net.settle();
    for extent in 0..4 {
        net.put(0, extent << 20, b"in a row");
    }
    net.hung = Some(0);
    let elsewhere = net.write(0, 11 << 20, b"cold");
    net.settle();
    assert!(!net.answered(elsewhere));
    net.hung = None;
    net.settle();
    assert!(net.answered(elsewhere));
    for n in [0, 1] {
        net.hung = Some(n);
        let at = 4 + 2 * n as u64;
        let ahead = [at, at + 1].map(|extent| net.write(0, extent << 20, b"made hot in advance"));
        let flush = net.flush(0);
        net.settle();
        assert!(ahead.iter().all(|request| net.answered(*request)) && net.answered(flush), "node {n}");
        net.hung = None;
        net.settle();
    }
    net.assert_identical(0, 1);
}

#[test]
fn half_of_the_hot_extents_are_flushed_before_the_writer_needs_them() {
    let mut net = Net::pair(1);
    let before = net.nodes[0].data.syncs;
    for extent in 0..4 {
        net.put(0, extent << 20, b"unflushed");
    }
    assert_eq!(net.nodes[0].data.syncs, before);
    for extent in 4..6 {
        net.put(0, extent << 20, b"more than half");
    }
    assert_eq!(net.nodes[0].data.syncs, before + 1);
    assert_eq!(net.status(0).waiting, Vec::new());
}
