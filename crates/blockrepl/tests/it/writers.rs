//! Several writers under one sequencer, range leases, and a node without a disk: one behaviour a test.

use std::time::Duration;

use bytes::Bytes;
use posthaste_blockrepl::core::{
    Denied, Event, Input, LeaseId, RemoteOp, Reply, RequestId, RoleStatus, Waiting,
};
use posthaste_blockrepl::wire::Refusal;
use posthaste_blockrepl::{Config, Grant, NodeId};

use crate::harness::*;

type Answer = Result<Reply, Denied>;

fn dual(epoch: u64, leader: usize, members: &[usize], generation: u64, writers: &[usize]) -> Grant {
    grant(epoch, leader, members, generation).with_writers(writers.iter().map(|n| NodeId(*n as u64)))
}

fn join(net: &mut Net, n: usize, epoch: u64, session: u64) -> RequestId {
    net.request(n, |request| Input::Join { request, epoch, session })
}

fn remote(net: &mut Net, n: usize, session: u64, op: RemoteOp) -> RequestId {
    net.request(n, |request| Input::Remote { request, session, op })
}

fn far_write(net: &mut Net, n: usize, session: u64, offset: u64, data: &'static [u8]) -> RequestId {
    remote(net, n, session, RemoteOp::Write { offset, data: Bytes::from_static(data) })
}

fn far_read(net: &mut Net, n: usize, session: u64, offset: u64, len: u32) -> RequestId {
    remote(net, n, session, RemoteOp::Read { offset, len })
}

fn near_read(net: &mut Net, n: usize, offset: u64, len: u32) -> RequestId {
    net.request(n, |request| Input::Read { request, offset, len })
}

fn lease(net: &mut Net, n: usize, epoch: u64, offset: u64, len: u64) -> RequestId {
    net.request(n, |request| Input::Lease { request, epoch, offset, len })
}

fn answer(net: &mut Net, request: RequestId) -> Answer {
    net.settle();
    net.answers.remove(&request).expect("it is answered")
}

fn data(bytes: &'static [u8]) -> Answer {
    Ok(Reply::Read(Bytes::from_static(bytes)))
}

/// Node 0 leads; node 1 is in step and has joined as session 7.
fn pair(seed: u64) -> Net {
    let mut net = Net::new(2, seed);
    net.connect(0, 1);
    net.lead(0, dual(1, 0, &[0, 1], 1, &[1]));
    let joined = join(&mut net, 1, 1, 7);
    assert_eq!(answer(&mut net, joined), Ok(Reply::Joined));
    net
}

fn joins(net: &mut Net, n: usize, epoch: u64, session: u64) {
    let joined = join(net, n, epoch, session);
    assert_eq!(answer(net, joined), Ok(Reply::Joined));
}

fn reads_here(net: &Net, n: usize) -> bool {
    net.status(n).session.is_some_and(|s| s.reads_here)
}

#[test]
fn both_nodes_write_and_both_copies_are_the_same() {
    let mut net = pair(1);
    assert!(reads_here(&net, 1));
    assert_eq!(net.status(0).writers, vec![(NodeId(1), true)]);
    let requests = [far_write(&mut net, 1, 7, 100, b"from one"), net.write(0, 5000, b"from zero")];
    for request in requests {
        assert_eq!(answer(&mut net, request), Ok(Reply::Written));
    }
    let requests = [far_read(&mut net, 1, 7, 5000, 9), near_read(&mut net, 0, 100, 8)];
    assert_eq!(requests.map(|r| answer(&mut net, r)), [data(b"from zero"), data(b"from one")]);
    net.assert_identical(0, 1);
    let flushed = remote(&mut net, 1, 7, RemoteOp::Flush);
    assert_eq!(answer(&mut net, flushed), Ok(Reply::Flushed));
    for n in [0, 1] {
        net.crash(n);
        assert_eq!(&net.nodes[n].data.live[100..108], b"from one");
    }
}

#[test]
fn overlapping_writes_of_both_end_alike_on_both_copies_and_are_counted() {
    for seed in 0..50 {
        let mut net = pair(seed);
        let requests = [net.write(0, 4096, b"0000"), far_write(&mut net, 1, 7, 4098, b"1111")];
        net.settle();
        for request in requests {
            assert_eq!(net.answers.remove(&request), Some(Ok(Reply::Written)));
        }
        net.assert_identical(0, 1);
        assert_eq!(net.status(0).overlaps, 1, "seed {seed}");
        let told = |e: &Event| matches!(e, Event::Overlap { offset: 4098, len: 2, .. });
        assert_eq!(net.nodes[0].events.iter().filter(|e| told(e)).count(), 1);
        let again = [net.write(0, 4096, b"0000"), far_write(&mut net, 1, 7, 4100, b"1111")];
        net.settle();
        assert!(again.iter().all(|r| net.answered(*r)) && net.status(0).overlaps == 1, "side by side");
    }
}

#[test]
fn a_write_is_complete_only_when_the_other_writers_copy_has_it_and_reads_of_it_wait_until_then() {
    let mut net = pair(3);
    net.deaf = Some(1);
    let write = net.write(0, 0, b"new");
    net.settle();
    let read = near_read(&mut net, 0, 0, 3);
    let beside = near_read(&mut net, 0, 4096, 3);
    net.settle();
    assert!(!net.answered(write) && !net.answered(read) && net.answered(beside));
    assert_eq!(net.status(0).waiting, vec![Waiting::Writer(NodeId(1))]);
    net.deaf = None;
    assert_eq!(answer(&mut net, write), Ok(Reply::Written));
    assert_eq!(answer(&mut net, read), data(b"new"));
}

#[test]
fn a_writer_does_not_show_what_the_leader_could_still_miss() {
    let mut net = pair(4);
    net.hung_data = Some(0);
    let write = net.write(0, 0, b"new");
    net.settle();
    assert_eq!(&net.nodes[1].data.live[..3], b"new");
    let read = far_read(&mut net, 1, 7, 0, 3);
    net.settle();
    assert!(!net.answered(read) && !net.answered(write));
    net.hung_data = None;
    assert_eq!(answer(&mut net, read), data(b"new"));
}

#[test]
fn a_writer_that_is_not_granted_is_told_so() {
    let mut net = Net::pair(5);
    let joined = join(&mut net, 1, 1, 7);
    assert_eq!(answer(&mut net, joined), Err(Denied::NotWriter { epoch: 1 }));
    // The link is not harmed.
    net.set_grant(0, dual(1, 0, &[0, 1], 1, &[1])).unwrap();
    joins(&mut net, 1, 1, 8);
    let write = far_write(&mut net, 1, 8, 0, b"x");
    assert_eq!(answer(&mut net, write), Ok(Reply::Written));
    // And it is told when the grant changes its mind.
    net.set_grant(0, grant(1, 0, &[0, 1], 1)).unwrap();
    net.settle();
    let ended = Event::SessionEnded { epoch: 1, why: Denied::NotWriter { epoch: 1 } };
    assert!(net.nodes[1].events.contains(&ended));
    let write = far_write(&mut net, 1, 8, 0, b"y");
    assert_eq!(answer(&mut net, write), Err(Denied::Closed));
    assert!(net.status(0).writers.is_empty());
}

#[test]
fn a_raised_epoch_ends_the_session_and_the_old_leader_cannot_complete_a_write() {
    let mut net = pair(6);
    net.deaf = Some(0);
    let pending = far_write(&mut net, 1, 7, 0, b"x");
    net.raise(1, 2).unwrap();
    assert_eq!(answer(&mut net, pending), Err(Denied::Fenced { held: 1, current: 2 }));
    let write = net.write(0, 0, b"late");
    net.settle();
    assert!(!net.answered(write), "node 1 reads its copy, so nothing completes without it");
    net.deaf = None;
    assert_eq!(answer(&mut net, write), Err(Denied::Fenced { held: 1, current: 2 }));
    assert_eq!(net.status(0).role, RoleStatus::Follower);
    net.try_lead(1, grant(2, 1, &[1], 2)).unwrap();
    let late = far_write(&mut net, 1, 7, 0, b"z");
    assert_eq!(answer(&mut net, late), Err(Denied::Closed));
}

#[test]
fn a_forward_under_way_when_the_link_breaks_is_done_once() {
    for seed in 0..60 {
        let mut net = pair(seed);
        let first = far_write(&mut net, 1, 7, 0, b"first");
        for _ in 0..net.random(12) {
            net.step();
        }
        net.cut(0, 1);
        net.settle();
        // Node 1 is vouched not to read any more; node 0 goes on alone.
        net.set_pending(0, Some(set(&[0]))).unwrap();
        net.set_grant(0, dual(1, 0, &[0], 2, &[1])).unwrap();
        net.settle();
        net.connect(0, 1);
        assert_eq!(answer(&mut net, first), Ok(Reply::Written));
        let second = net.write(0, 0, b"other");
        assert_eq!(answer(&mut net, second), Ok(Reply::Written));
        net.idle();
        net.assert_identical(0, 1);
        assert_eq!(&net.nodes[1].data.live[..5], b"other", "seed {seed}");
    }
}

#[test]
fn writes_wait_for_a_writer_until_its_link_ends_or_a_grant_takes_it_out_though_it_hears_of_neither() {
    for cut in [false, true] {
        let mut net = Net::new(2, 8);
        let link = net.connect(0, 1);
        net.lead(0, dual(1, 0, &[0, 1], 1, &[1]));
        joins(&mut net, 1, 1, 7);
        net.deaf = Some(1);
        let write = net.write(0, 0, b"x");
        net.settle();
        assert!(!net.answered(write));
        assert_eq!(net.status(0).waiting, vec![Waiting::Writer(NodeId(1))]);
        match cut {
            true => net.lose_end(link, 0),
            false => net.set_grant(0, grant(1, 0, &[0, 1], 1)).unwrap(),
        }
        assert_eq!(answer(&mut net, write), Ok(Reply::Written));
        let open = [far_write(&mut net, 1, 7, 0, b"y"), far_read(&mut net, 1, 7, 0, 1)];
        net.settle();
        assert!(!open.iter().any(|request| net.answered(*request)));
        net.input(1, Input::LinkDown { link });
        assert_eq!(net.status(1).waiting, vec![Waiting::Leader { epoch: 1 }]);
    }
}

#[test]
fn by_policy_a_writer_fails_its_operations_when_the_leader_stays_away() {
    let config = Config { leader_wait: Some(Duration::from_secs(1)), ..small() };
    let mut net = Net::with(2, 9, config);
    net.connect(0, 1);
    net.lead(0, dual(1, 0, &[0, 1], 1, &[1]));
    joins(&mut net, 1, 1, 7);
    net.cut(0, 1);
    let write = far_write(&mut net, 1, 7, 0, b"x");
    net.idle();
    assert!(!net.answered(write));
    net.now += Duration::from_secs(1);
    net.idle();
    assert_eq!(net.answers.remove(&write), Some(Err(Denied::NoLeader { epoch: 1 })));
    net.connect(0, 1);
    net.idle();
    let write = far_write(&mut net, 1, 7, 0, b"y");
    assert_eq!(answer(&mut net, write), Ok(Reply::Written), "the handle is still good");
}

#[test]
fn a_writer_under_resync_reads_at_the_leader_and_then_at_home() {
    let mut net = pair(10);
    net.cut(0, 1);
    net.set_grant(0, dual(1, 0, &[0], 2, &[])).unwrap();
    net.put(0, 3 << 20, b"while away");
    net.set_grant(0, dual(1, 0, &[0], 2, &[1])).unwrap();
    net.connect(0, 1);
    let read = far_read(&mut net, 1, 7, 3 << 20, 10);
    assert_eq!(answer(&mut net, read), data(b"while away"));
    assert!(net.synced(0, 1) && reads_here(&net, 1));
}

// ---- range leases ----

#[test]
fn a_range_lease_keeps_the_other_writer_out_until_it_is_given_back() {
    let mut net = pair(11);
    let asked = lease(&mut net, 1, 1, 4096, 4096);
    let Ok(Reply::Leased(held)) = answer(&mut net, asked) else { panic!("no lease") };
    let (inside, beside) = (net.write(0, 8000, b"zero"), net.write(0, 8192, b"zero"));
    let behind = net.write(0, 8000, b"last");
    let own = far_write(&mut net, 1, 7, 8000, b"one ");
    net.settle();
    assert!(net.answered(own) && net.answered(beside) && !net.answered(inside));
    assert_eq!(net.status(0).waiting, vec![Waiting::Lease(NodeId(1))]);
    let request = far_write(&mut net, 1, 7, 8000, b"more");
    assert_eq!(answer(&mut net, request), Ok(Reply::Written));
    net.input(1, Input::Unlease(held));
    assert_eq!(answer(&mut net, inside), Ok(Reply::Written));
    assert_eq!(answer(&mut net, behind), Ok(Reply::Written));
    net.assert_identical(0, 1);
    assert_eq!(&net.nodes[0].data.live[8000..8004], b"last", "parked writes keep their order");
    assert_eq!(net.status(0).overlaps, 0);
}

/// It waits behind a write of its own that is kept out; nobody holds its own range.
#[test]
fn what_waits_for_a_lease_has_not_raced_and_what_waits_for_its_own_turn_may_have() {
    let mut net = pair(43);
    let asked = lease(&mut net, 0, 1, 0, 4096);
    let Ok(Reply::Leased(held)) = answer(&mut net, asked) else { panic!("no lease") };
    let parked = [far_write(&mut net, 1, 7, 4000, &[1; 200]), far_write(&mut net, 1, 7, 4100, &[2; 200])];
    net.settle();
    let near = [net.write(0, 4000, &[3; 50]), net.write(0, 4250, &[4; 10])];
    near.into_iter().for_each(|r| assert_eq!(answer(&mut net, r), Ok(Reply::Written)));
    assert!(!parked.iter().any(|r| net.answered(*r)) && net.status(0).overlaps == 0);
    net.input(0, Input::Unlease(held));
    parked.into_iter().for_each(|r| assert_eq!(answer(&mut net, r), Ok(Reply::Written)));
    assert_eq!(net.status(0).overlaps, 1);
    let told =
        |e: &Event| matches!(e, Event::Overlap { offset: 4250, len: 10, first, .. } if *first == NodeId(0));
    assert!(net.heard(0, told));
    net.assert_identical(0, 1);
}

#[test]
fn what_was_complete_before_a_session_has_not_raced_with_it() {
    let mut net = pair(44);
    net.put(0, 0, b"long ago");
    net.input(1, Input::Leave { session: 7 });
    net.settle();
    let joined = join(&mut net, 1, 1, 8);
    // Before it has heard what is complete.
    let write = far_write(&mut net, 1, 8, 0, b"now");
    assert_eq!([joined, write].map(|r| answer(&mut net, r)), [Ok(Reply::Joined), Ok(Reply::Written)]);
    assert_eq!(net.status(0).overlaps, 0);
}

/// It waits for the activity log while the other one's write, which came first, is done and complete.
#[test]
fn a_write_of_the_leader_that_waits_for_its_turn_may_race() {
    let mut net = pair(45);
    net.hung = Some(0);
    let far = far_write(&mut net, 1, 7, 9 << 20, b"far");
    let near = [net.write(0, 5 << 20, b"cold"), net.write(0, 9 << 20, b"near")];
    net.settle();
    assert!(!net.answered(far));
    net.hung = None;
    for request in [far, near[0], near[1]] {
        assert_eq!(answer(&mut net, request), Ok(Reply::Written));
    }
    assert_eq!(net.status(0).overlaps, 1);
    net.assert_identical(0, 1);
}

#[test]
fn a_lease_of_the_leader_keeps_a_remote_writer_out_and_leases_are_given_in_turn() {
    let mut net = pair(12);
    let asked = lease(&mut net, 0, 1, 0, 4096);
    let Ok(Reply::Leased(held)) = answer(&mut net, asked) else { panic!("no lease") };
    let second = lease(&mut net, 1, 1, 0, 100);
    net.settle();
    let third = lease(&mut net, 0, 1, 50, 100);
    let far = far_write(&mut net, 1, 7, 4000, b"wait");
    net.settle();
    assert!(!net.answered(second) && !net.answered(far));
    net.input(0, Input::Unlease(held));
    net.settle();
    assert!(matches!(net.answers.remove(&second), Some(Ok(Reply::Leased(_)))));
    assert!(!net.answered(third), "it asked later");
    assert_eq!(answer(&mut net, far), Ok(Reply::Written));
    // Who leaves gives all back.
    net.input(1, Input::Leave { session: 7 });
    assert!(matches!(answer(&mut net, third), Ok(Reply::Leased(_))));
}

#[test]
fn a_lease_outlives_a_short_absence_but_not_a_long_one() {
    let mut net = pair(13);
    let asked = lease(&mut net, 1, 1, 0, 4096);
    let Ok(Reply::Leased(held)) = answer(&mut net, asked) else { panic!("no lease") };
    net.cut(0, 1);
    net.connect(0, 1);
    net.settle();
    let write = net.write(0, 0, b"zero");
    net.settle();
    assert!(!net.answered(write), "it is back in time");
    net.cut(0, 1);
    net.now += Duration::from_secs(6);
    net.idle();
    let lost = |net: &Net, n: usize, lease: LeaseId| {
        net.nodes[n].events.contains(&Event::LeaseLost { holder: NodeId(1), lease })
    };
    assert!(lost(&net, 0, held));
    net.connect(0, 1);
    assert_eq!(answer(&mut net, write), Ok(Reply::Written));
    assert!(lost(&net, 1, held));
}

/// Whether its answer, or its end, is what the break of the link swallows.
#[test]
fn a_lease_given_back_or_granted_over_a_broken_link_is_neither_kept_for_ever_nor_lost() {
    for steps in 0..12 {
        let mut net = pair(40 + steps);
        let asked = lease(&mut net, 1, 1, 4096, 4096);
        for _ in 0..steps {
            net.step();
        }
        net.cut(0, 1);
        net.connect(0, 1);
        let Ok(Reply::Leased(held)) = answer(&mut net, asked) else { panic!("no lease after {steps} steps") };
        let write = net.write(0, 4096, b"zero");
        net.settle();
        assert!(!net.answered(write), "it holds it: {steps}");
        net.cut(0, 1);
        net.input(1, Input::Unlease(held));
        net.connect(0, 1);
        assert_eq!(answer(&mut net, write), Ok(Reply::Written), "{steps}");
        assert!(!net.nodes[1].events.iter().any(|e| matches!(e, Event::LeaseLost { .. })));
    }
}

/// Its link is cut in silence; a grant takes it out, and the next one lets it in again.
#[test]
fn a_writer_that_has_not_heard_of_a_cut_shows_nothing_that_it_missed() {
    for let_in in [false, true] {
        let mut net = Net::new(2, 41);
        let link = net.connect(0, 1);
        net.lead(0, dual(1, 0, &[0, 1], 1, &[1]));
        joins(&mut net, 1, 1, 7);
        net.put(0, 0, b"old");
        let under_way = far_read(&mut net, 1, 7, 0, 3);
        net.lose_end(link, 0);
        net.set_pending(0, Some(set(&[0]))).unwrap();
        net.set_grant(0, dual(1, 0, &[0], 2, &[])).unwrap();
        let write = net.write(0, 0, b"new");
        assert_eq!(answer(&mut net, write), Ok(Reply::Written));
        if let_in {
            net.set_grant(0, dual(1, 0, &[0], 2, &[1])).unwrap();
        }
        let reads = [under_way, far_read(&mut net, 1, 7, 0, 3)];
        net.settle();
        assert!(!reads.iter().any(|read| net.answered(*read)), "{:?}", net.answers);
        // It hears of the cut, and comes back.
        net.input(1, Input::LinkDown { link });
        net.connect(0, 1);
        let seen = if let_in { data(b"new") } else { Err(Denied::NotWriter { epoch: 1 }) };
        assert_eq!(reads.map(|read| answer(&mut net, read)), [seen.clone(), seen]);
    }
}

/// What it was told of its writes, and which of them were ordered, the leader has forgotten.
#[test]
fn a_handle_does_not_outlive_the_process_of_its_leader_though_that_leads_the_same_epoch_again() {
    let mut net = pair(42);
    let write = far_write(&mut net, 1, 7, 0, b"answered, not flushed");
    assert_eq!(answer(&mut net, write), Ok(Reply::Written));
    let open = far_write(&mut net, 1, 7, 4096, b"open");
    net.crash(0);
    net.boot(0);
    net.try_lead(0, dual(1, 0, &[0], 2, &[1])).unwrap();
    net.connect(0, 1);
    let flush = remote(&mut net, 1, 7, RemoteOp::Flush);
    let gone = Err(Denied::NotWriter { epoch: 1 });
    assert_eq!([open, flush].map(|r| answer(&mut net, r)), [gone.clone(), gone]);
    joins(&mut net, 1, 1, 8);
    net.idle();
    assert!(reads_here(&net, 1));
    net.assert_identical(0, 1);
}

/// Its operations bear the same numbers, and come by the same link.
#[test]
fn what_the_leader_said_to_an_earlier_session_is_not_taken_for_an_answer_to_the_next() {
    for seed in 0..200 {
        let mut net = pair(seed);
        net.put(0, 8192, b"there");
        let first = [
            far_write(&mut net, 1, 7, 0, b"first"),
            remote(&mut net, 1, 7, RemoteOp::Flush),
            far_read(&mut net, 1, 7, 0, 5),
        ];
        for _ in 0..net.random(30) {
            net.step();
        }
        let joined = join(&mut net, 1, 1, 8);
        let write = far_write(&mut net, 1, 8, 4096, b"other");
        let flush = remote(&mut net, 1, 8, RemoteOp::Flush);
        let read = far_read(&mut net, 1, 8, 8192, 5);
        while !net.answered(joined) && net.step() {
            assert!(!net.answered(flush) && !net.answered(read), "seed {seed}: it was not asked yet");
        }
        if !net.connected(0, 1) {
            net.connect(0, 1);
        }
        net.idle();
        assert!(first.iter().all(|r| net.answered(*r)) && net.answered(joined));
        let expected = [Ok(Reply::Written), Ok(Reply::Flushed), data(b"there")];
        assert_eq!([write, flush, read].map(|r| answer(&mut net, r)), expected, "seed {seed}");
        net.assert_identical(0, 1);
        assert_eq!(&net.nodes[0].data.live[4096..4101], b"other", "seed {seed}");
    }
}

/// Its leader remembers which of its writes were ordered.
#[test]
fn a_writer_that_was_taken_out_while_it_was_away_does_not_write_twice() {
    for seed in 0..60 {
        let mut net = pair(seed);
        let first = far_write(&mut net, 1, 7, 0, b"first");
        for _ in 0..net.random(12) {
            net.step();
        }
        net.cut(0, 1);
        net.settle();
        net.set_pending(0, Some(set(&[0]))).unwrap();
        net.set_grant(0, dual(1, 0, &[0], 2, &[])).unwrap();
        let was_ordered = &net.nodes[0].data.live[..5] == b"first";
        let second = net.write(0, 0, b"other");
        assert_eq!(answer(&mut net, second), Ok(Reply::Written));
        net.set_grant(0, dual(1, 0, &[0], 2, &[1])).unwrap();
        net.connect(0, 1);
        assert_eq!(answer(&mut net, first), Ok(Reply::Written), "seed {seed}");
        net.idle();
        net.assert_identical(0, 1);
        let last: &[u8] = if was_ordered { b"other" } else { b"first" };
        assert_eq!(&net.nodes[0].data.live[..5], last, "seed {seed}");
    }
}

// ---- without a disk ----

#[test]
fn a_node_without_a_disk_writes_and_reads_through_the_leader() {
    let mut net = Net::new(2, 14);
    net.boot_diskless(1);
    net.connect(0, 1);
    net.lead(0, dual(1, 0, &[0], 1, &[1]));
    joins(&mut net, 1, 1, 7);
    let write = far_write(&mut net, 1, 7, 10, b"no disk here");
    assert_eq!(answer(&mut net, write), Ok(Reply::Written));
    let read = far_read(&mut net, 1, 7, 10, 12);
    assert_eq!(answer(&mut net, read), data(b"no disk here"));
    let flush = remote(&mut net, 1, 7, RemoteOp::Flush);
    assert_eq!(answer(&mut net, flush), Ok(Reply::Flushed));
    assert!(net.nodes[1].data.live.iter().all(|b| *b == 0) && !reads_here(&net, 1));
    net.crash(0);
    assert_eq!(&net.nodes[0].data.live[10..22], b"no disk here");
}

#[test]
fn a_writers_read_of_a_damaged_block_comes_from_the_leader_and_the_block_is_healed() {
    for unreadable in [false, true] {
        let mut net = pair(31);
        net.put(0, 8192 - 10, &[7; 4116]);
        net.flush(0);
        net.settle();
        match unreadable {
            true => net.nodes[1].unreadable.push(8192 + 100),
            false => net.nodes[1].data.live[8192 + 100] ^= 1,
        }
        assert!(reads_here(&net, 1));
        let read = far_read(&mut net, 1, 7, 8192 - 5, 500);
        assert_eq!(answer(&mut net, read), Ok(Reply::Read(vec![7; 500].into())));
        net.settle();
        net.assert_identical(0, 1);
        assert!(net.nodes[1].unreadable.is_empty() && net.status(1).failed.is_none());
        assert!(net.heard(1, |e| matches!(e, Event::Damaged(f) if f.healed)));
    }
}

#[test]
fn a_part_of_a_block_that_no_copy_has_right_cannot_be_written_by_another_writer() {
    let mut net = pair(32);
    net.put(0, 8192, &[7; 8192]);
    net.flush(0);
    net.settle();
    (0..2).for_each(|n| net.nodes[n].data.rot(8192 + 100));
    let read = near_read(&mut net, 0, 8192, 4096);
    assert_eq!(answer(&mut net, read), Err(Denied::Corrupt { offset: 8192, len: 4096 }));
    let write = far_write(&mut net, 1, 7, 8192 + 5, b"part");
    assert_eq!(answer(&mut net, write), Err(Denied::Corrupt { offset: 8192 + 5, len: 4 }));
    let read = far_read(&mut net, 1, 7, 8192, 10);
    assert!(matches!(answer(&mut net, read), Err(Denied::Corrupt { .. })));
    let write = far_write(&mut net, 1, 7, 8192, &[9; 4096]);
    assert_eq!(answer(&mut net, write), Ok(Reply::Written));
    let read = far_read(&mut net, 1, 7, 8192, 4);
    assert_eq!(answer(&mut net, read), data(&[9; 4]));
    net.assert_identical(0, 1);
}

/// Node 0 leads, node 1 has a copy, node 2 has no disk and has joined as session 5.
fn with_a_diskless_reader(seed: u64) -> Net {
    let mut net = Net::new(3, seed);
    net.connect(0, 1);
    net.boot_diskless(2);
    net.connect(0, 2);
    net.lead(0, dual(1, 0, &[0, 1], 1, &[2]));
    net.settle();
    joins(&mut net, 2, 1, 5);
    net.put(0, 8192 - 10, &[7; 4116]);
    net.flush(0);
    net.settle();
    net
}

#[test]
fn a_reader_without_a_disk_never_sees_what_is_damaged_at_the_leader() {
    let mut net = with_a_diskless_reader(32);
    net.nodes[0].data.live[8192 + 100] ^= 1;
    let read = far_read(&mut net, 2, 5, 8192 - 5, 500);
    assert_eq!(answer(&mut net, read), Ok(Reply::Read(vec![7; 500].into())));
    net.assert_identical(0, 1);
}

/// Between the leader's check and the reader's, something damages the bytes.
#[test]
fn a_reader_without_a_disk_checks_what_it_is_told() {
    for times in 1..=2 {
        let mut net = with_a_diskless_reader(33);
        let read = far_read(&mut net, 2, 5, 8192 - 5, 500);
        let mut damaged = 0;
        while !net.answered(read) {
            assert!(net.step());
            damaged += net.damage_reads(2, times - damaged);
        }
        assert_eq!(damaged, times);
        let expected = match times {
            1 => Ok(Reply::Read(vec![7; 500].into())),
            _ => Err(Denied::Corrupt { offset: 8192 - 5, len: 500 }),
        };
        assert_eq!(answer(&mut net, read), expected);
    }
}

#[test]
fn a_writer_whose_disk_fails_goes_on_through_the_leader() {
    let mut net = pair(15);
    let write = far_write(&mut net, 1, 7, 0, b"before");
    assert_eq!(answer(&mut net, write), Ok(Reply::Written));
    let open = [far_write(&mut net, 1, 7, 0, b"during"), far_read(&mut net, 1, 7, 4096, 1)];
    net.input(1, Input::Detach { reason: "it hangs".into() });
    net.settle();
    // Whoever grants takes its copy out of the set; the node stays a writer.
    net.set_grant(0, dual(1, 0, &[0], 2, &[1])).unwrap();
    net.connect(0, 1);
    for request in open {
        assert!(answer(&mut net, request).is_ok());
    }
    let read = far_read(&mut net, 1, 7, 0, 6);
    assert_eq!(answer(&mut net, read), data(b"during"));
    assert_eq!(net.status(1).role, RoleStatus::Failed);
    // A fresh disk joins as a follower and reads are local again.
    net.cut(0, 1);
    net.replace_disk(1, 99);
    net.connect(0, 1);
    joins(&mut net, 1, 1, 8);
    net.idle();
    assert!(reads_here(&net, 1));
    net.assert_identical(0, 1);
}

#[test]
fn a_leader_whose_disk_fails_hands_over_and_goes_on_through_its_peer() {
    let mut net = pair(16);
    net.put(0, 0, b"kept");
    net.nodes[0].fail_flush = true;
    let flush = net.flush(0);
    assert!(matches!(answer(&mut net, flush), Err(Denied::Disk(_))));
    assert!(
        net.nodes[1].events.iter().any(|e| matches!(e, Event::RefusedBy { why: Refusal::DiskFailed, .. }))
    );
    net.lead(1, dual(2, 1, &[1], 2, &[0]));
    net.connect(0, 1);
    joins(&mut net, 0, 2, 5);
    let read = far_read(&mut net, 0, 5, 0, 4);
    assert_eq!(answer(&mut net, read), data(b"kept"));
    let write = far_write(&mut net, 0, 5, 0, b"more");
    assert_eq!(answer(&mut net, write), Ok(Reply::Written));
    assert_eq!(&net.nodes[1].data.live[..4], b"more");
}

#[test]
fn a_leader_that_resigns_tells_its_follower_which_epoch_a_successor_must_exceed() {
    let mut net = Net::pair(17);
    net.raise(0, 5).unwrap();
    assert!(net.nodes[1].events.contains(&Event::LeaderResigned {
        peer: NodeId(0),
        epoch: 5,
        in_sync: true
    }));
    assert_eq!((net.status(1).epoch, net.status(1).known_epoch), (1, 5));
    assert_eq!(net.raise(1, 4), Err(Denied::EpochTooLow { asked: 4, current: 5 }));
    // Who was away hears of it by the hello.
    let mut net = Net::pair(18);
    net.cut(0, 1);
    net.raise(0, 5).unwrap();
    net.connect(0, 1);
    assert_eq!(net.status(1).known_epoch, 5);
    net.lead(1, grant(6, 1, &[1], 2));
    net.settle();
    assert_eq!(net.status(1).role, RoleStatus::Leader);
}

#[test]
fn what_a_stranger_to_the_epoch_forwards_is_refused_without_effect() {
    use posthaste_blockrepl::wire::{Message, WriterMessage};
    let mut net = Net::new(2, 19);
    let link = net.connect(0, 1);
    net.lead(0, dual(3, 0, &[0, 1], 1, &[1]));
    net.settle();
    let forward = |epoch| {
        let data = Bytes::from_static(b"evil");
        Message::Writer(WriterMessage::Forward { epoch, id: 1, seen: 0, offset: 0, data })
    };
    // Of an epoch that is over: told, and the link stays.
    net.input(0, Input::Message { link, message: forward(2) });
    net.settle();
    assert!(net.connected(0, 1));
    // Of this epoch, but it has not joined.
    net.input(0, Input::Message { link, message: forward(3) });
    net.settle();
    assert!(!net.connected(0, 1));
    assert_eq!(&net.nodes[0].data.live[..4], &[0; 4]);
}
