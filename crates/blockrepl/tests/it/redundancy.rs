//! A least number of copies in sync (M8): what becomes of writes below it, and who is told to act.

use bytes::Bytes;
use posthaste_blockrepl::core::{Denied, Input, RemoteOp, Reply, Waiting};
use posthaste_blockrepl::{Config, LowRedundancy, NodeId};

use crate::harness::*;

fn pair(policy: LowRedundancy) -> Net {
    let config = Config { min_redundancy: 2, low_redundancy: policy, ..small() };
    let mut net = Net::with(2, 3, config);
    net.connect(0, 1);
    net
}

fn ask_for(net: &mut Net, n: usize, copies: usize) {
    let now = net.now;
    net.nodes[n].replica.as_mut().unwrap().set_min_redundancy(now, copies);
    net.collect(n);
}

#[test]
fn writes_and_flushes_wait_for_enough_copies_and_the_status_says_who_must_act() {
    let mut net = pair(LowRedundancy::Suspend);
    // A takeover begins alone.
    net.lead(0, grant(1, 0, &[0], 1));
    let write = net.write(0, 0, b"two copies");
    let flush = net.flush(0);
    net.idle();
    assert!(!net.answered(write) && !net.answered(flush));
    assert!(net.nodes.iter().all(|n| n.data.live.iter().all(|b| *b == 0)));
    let waiting = net.status(0).waiting;
    assert!(waiting.contains(&Waiting::Redundancy { have: 1, need: 2 }), "{waiting:?}");
    assert!(waiting.iter().any(|w| w.to_string().contains("connect a peer and grant it, or ask for fewer")));
    // The other one is in step meanwhile; counted, it lets the writes go.
    assert!(net.synced(0, 1));
    net.set_grant(0, grant(1, 0, &[0, 1], 1)).unwrap();
    net.settle();
    assert_eq!((&net.answers[&write], &net.answers[&flush]), (&Ok(Reply::Written), &Ok(Reply::Flushed)));
    net.assert_identical(0, 1);
    // It is lost and left out: the next write waits, until the operator asks for fewer.
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    let write = net.write(0, 4096, b"one copy");
    net.idle();
    assert!(!net.answered(write));
    ask_for(&mut net, 0, 1);
    net.settle();
    assert_eq!(net.answers[&write], Ok(Reply::Written));
}

#[test]
fn by_policy_they_fail_with_a_typed_answer_and_the_leader_goes_on() {
    let mut net = pair(LowRedundancy::Fail);
    net.lead(0, grant(1, 0, &[0, 1], 1));
    net.put(0, 0, b"kept");
    net.cut(0, 1);
    // This one waits for the member that is away, and fails when it is left out.
    let early = net.flush(0);
    net.settle();
    assert!(!net.answered(early));
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    let (write, flush, read) = (net.write(0, 0, b"lost"), net.flush(0), net.read(0, 0, 4));
    net.settle();
    let too_few = Err(Denied::Redundancy { have: 1, need: 2 });
    assert!([early, write, flush].iter().all(|request| net.answers[request] == too_few));
    assert_eq!(net.answers[&read], Ok(Reply::Read(b"kept"[..].into())));
    // Nothing is latched: with the peer back in the set all is well again.
    net.connect(0, 1);
    net.settle();
    net.set_grant(0, grant(1, 0, &[0, 1], 2)).unwrap();
    let (write, flush) = (net.write(0, 0, b"back"), net.flush(0));
    net.settle();
    assert_eq!((&net.answers[&write], &net.answers[&flush]), (&Ok(Reply::Written), &Ok(Reply::Flushed)));
    net.assert_identical(0, 1);
}

/// The writes of a second writer are the leader's to order, so they wait, or fail, by its policy.
#[test]
fn another_nodes_writes_and_flushes_wait_or_fail_as_the_leaders_own_do() {
    for policy in [LowRedundancy::Suspend, LowRedundancy::Fail] {
        let mut net = pair(policy);
        let grant = |members: &[usize]| grant(1, 0, members, 1).with_writers([NodeId(1)]);
        net.lead(0, grant(&[0]));
        let joined = net.request(1, |request| Input::Join { request, epoch: 1, session: 7 });
        net.settle();
        assert_eq!(net.answers[&joined], Ok(Reply::Joined));
        let remote = |net: &mut Net, op| net.request(1, |request| Input::Remote { request, session: 7, op });
        let write = |data| RemoteOp::Write { offset: 0, data: Bytes::from_static(data) };
        // More than may be forwarded at once, were those that failed not counted out.
        let asked: Vec<_> = (0..150).map(|_| remote(&mut net, write(&[7; 90_000]))).collect();
        let flush = remote(&mut net, RemoteOp::Flush);
        let read = remote(&mut net, RemoteOp::Read { offset: 0, len: 4 });
        net.idle();
        assert_eq!(net.answers[&read], Ok(Reply::Read(vec![0; 4].into())));
        assert!(net.nodes.iter().all(|n| n.data.live.iter().all(|b| *b == 0)));
        let too_few = Err(Denied::Redundancy { have: 1, need: 2 });
        let failed = asked.iter().chain([&flush]).filter(|r| net.answers.get(r) == Some(&too_few)).count();
        assert_eq!(failed, if policy == LowRedundancy::Fail { 151 } else { 0 });
        // Nothing is latched, and what waited is done in its order.
        let last = remote(&mut net, write(b"last"));
        if policy == LowRedundancy::Suspend {
            net.set_grant(0, grant(&[0, 1])).unwrap();
            net.settle();
            assert_eq!(net.answers[&flush], Ok(Reply::Flushed));
        } else {
            net.settle();
            assert_eq!(net.answers.remove(&last), Some(too_few));
            net.set_grant(0, grant(&[0, 1])).unwrap();
        }
        let again = remote(&mut net, write(b"more"));
        net.settle();
        assert_eq!(net.answers[&again], Ok(Reply::Written));
        net.assert_identical(0, 1);
        assert_eq!(&net.nodes[0].data.live[..4], b"more");
    }
}
