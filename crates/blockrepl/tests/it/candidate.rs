//! Who should lead next (M13): the score of a candidate with its reasons, and the heir of a leader that ended.

use posthaste_blockrepl::NodeId;
use posthaste_blockrepl::core::{Event, Heir, Input, Reason};

use crate::harness::*;

fn score(net: &Net, n: usize) -> u32 {
    net.status(n).candidate.score
}

fn reasons(net: &Net, n: usize) -> Vec<Reason> {
    net.status(n).candidate.reasons
}

#[test]
fn the_better_a_copy_the_higher_its_score_and_the_reasons_say_why() {
    let mut net = Net::with(3, 5, small());
    assert_eq!((score(&net, 0), reasons(&net, 0)), (20, vec![Reason::Blank]));
    net.connect(0, 1);
    net.connect(0, 2);
    net.lead(0, grant(1, 0, &[0, 1, 2], 1));
    net.put(0, 0, b"data");
    net.idle();
    assert_eq!(score(&net, 0), 100);
    assert_eq!(reasons(&net, 0)[0], Reason::Leads);
    assert_eq!((score(&net, 1), reasons(&net, 1)), (61, vec![Reason::InSync, Reason::Follows(NodeId(0))]));
    // Node 2 goes away and is left out, without hearing of it; it meets node 1, which knows better.
    net.cut(0, 2);
    net.set_grant(0, grant(1, 0, &[0, 1], 2)).unwrap();
    net.put(0, 0, b"more");
    net.idle();
    assert_eq!(score(&net, 2), 60, "as far as it knows");
    net.connect(1, 2);
    net.settle();
    assert_eq!(score(&net, 2), 21);
    assert!(reasons(&net, 2).contains(&Reason::Newer { node: NodeId(1), generation: 2 }));
    assert_eq!(score(&net, 1), 62);
    // Who has no disk cannot lead.
    net.input(1, Input::Detach { reason: "it hangs".into() });
    assert_eq!((score(&net, 1), &reasons(&net, 1)[0]), (0, &Reason::NoDisk("it hangs".into())));
}

#[test]
fn one_in_the_midst_of_a_resync_is_the_last_choice() {
    let mut net = Net::pair(6);
    net.put(0, 0, b"data");
    net.cut(0, 1);
    net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
    net.put(0, 0, &[7; 300_000]);
    net.connect(0, 1);
    while net.status(1).consistent {
        assert!(net.step());
    }
    assert_eq!((score(&net, 1), &reasons(&net, 1)[0]), (11, &Reason::Inconsistent { can_roll_back: true }));
    net.settle();
    // In step: no flush is answered without it.
    assert_eq!((score(&net, 1), &reasons(&net, 1)[0]), (61, &Reason::InSync));
}

#[test]
fn an_in_sync_follower_is_the_heir_of_a_leader_that_resigned_or_whose_disk_failed() {
    for disk_failed in [false, true] {
        let mut net = Net::pair(7);
        net.put(0, 0, b"data");
        net.idle();
        match disk_failed {
            true => net.input(0, Input::Detach { reason: "it hangs".into() }),
            false => drop(net.raise(0, 3).unwrap()),
        }
        net.settle();
        let epoch = if disk_failed { 1 } else { 3 };
        assert_eq!(net.status(1).heir, Some(Heir { leader: NodeId(0), epoch, disk_failed }));
        assert!(reasons(&net, 1).contains(&Reason::Heir) && score(&net, 1) >= 80);
        let event = match disk_failed {
            true => Event::LeaderFailed { peer: NodeId(0), epoch, in_sync: true },
            false => Event::LeaderResigned { peer: NodeId(0), epoch, in_sync: true },
        };
        assert!(net.heard(1, |e| *e == event));
        // It takes over, and is nobody's heir any more.
        net.lead(1, grant(epoch + 1, 1, &[1], 2));
        assert_eq!(net.status(1).heir, None);
    }
}

/// What it last heard is of no use when that was before: only what the leader said on this link counts.
#[test]
fn one_that_was_left_out_is_no_heir_though_it_does_not_know() {
    for seed in 0..20 {
        let mut net = Net::pair(seed);
        net.put(0, 0, b"data");
        net.idle();
        net.cut(0, 1);
        net.set_grant(0, grant(1, 0, &[0], 2)).unwrap();
        net.put(0, 0, b"more");
        net.flush(0);
        net.settle();
        assert!(net.status(1).in_sync.contains(&member(1)), "it was not told");
        net.connect(0, 1);
        // Anywhere in the handshake or the resync.
        for _ in 0..seed {
            net.step();
        }
        net.input(0, Input::Detach { reason: "it hangs".into() });
        net.settle();
        assert_eq!(net.status(1).heir, None, "seed {seed}");
        assert!(!net.heard(1, |e| matches!(e, Event::LeaderFailed { in_sync: true, .. })));
    }
}
