//! A least number of copies in sync (M8): what becomes of writes below it, and who is told to act.

use posthaste_blockrepl::core::{Denied, Reply, Waiting};
use posthaste_blockrepl::{Config, LowRedundancy};

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
