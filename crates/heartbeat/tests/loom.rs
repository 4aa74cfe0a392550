//! What threads share, in every order of their steps that the memory model allows:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p posthaste-heartbeat --no-default-features --test loom`.
#![cfg(loom)]

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::{model, thread};
use posthaste_heartbeat::lease::{FenceLog, LeaseGrantor, LeaseHolder};
use posthaste_heartbeat::state::{Command, FORMAT, Member, Role, State, Status};
use posthaste_heartbeat::{Incarnation, MembershipEpoch, NodeId, StoreId, Time};

const ME: NodeId = NodeId(1);
const STINT: MembershipEpoch = MembershipEpoch(1);
const MARGIN: Duration = Duration::from_millis(100);

/// One voter, which is in, and leases of 700 ms.
fn state() -> State {
    let member =
        Member { status: Status::Up, stint: STINT, ..Member::new("me", Role::Node, StoreId(1), "-") };
    State { format: FORMAT, lease_ms: 700, members: [(ME, member)].into(), ..State::default() }
}

fn holder() -> LeaseHolder {
    let mut holder = LeaseHolder::new();
    holder.configure(&state(), Some(STINT), MARGIN);
    holder
}

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

/// R3: the agent ends the lease before it lets anything else happen to what a reply is built from.
#[test]
fn a_reply_built_behind_the_end_of_a_lease_does_not_pass_the_check() {
    const OURS: u64 = 1;
    const THEIRS: u64 = 2;
    model(|| {
        let mut holder = holder();
        holder.granted(at(1), ME, STINT, at(1));
        let (flag, data) = (holder.flag(), Arc::new(AtomicU64::new(OURS)));
        let replier = thread::spawn({
            let data = data.clone();
            move || {
                let reply = data.load(Ordering::Acquire);
                if flag.is_valid(at(2)) {
                    assert_eq!(reply, OURS);
                }
            }
        });
        holder.configure(&state(), None, MARGIN);
        data.store(THEIRS, Ordering::Release);
        replier.join().unwrap();
    });
}

#[test]
fn who_sees_a_lease_sees_what_the_agent_did_before_it() {
    model(|| {
        let mut holder = holder();
        let (flag, opened) = (holder.flag(), Arc::new(AtomicU64::new(0)));
        let replier = thread::spawn({
            let opened = opened.clone();
            move || {
                if flag.is_valid(at(2)) {
                    assert_eq!(opened.load(Ordering::Relaxed), 1);
                }
            }
        });
        opened.store(1, Ordering::Relaxed);
        holder.granted(at(1), ME, STINT, at(1));
        replier.join().unwrap();
    });
}

#[test]
fn while_it_is_renewed_a_lease_never_seems_to_end_earlier() {
    model(|| {
        let mut holder = holder();
        let flag = holder.flag();
        let replier = thread::spawn(move || {
            let (first, second) = (flag.ends(), flag.ends());
            assert!(first <= second, "{first:?}, then {second:?}");
            assert!([Time::ZERO, at(601), at(602)].contains(&second), "{second:?} was never granted");
        });
        holder.granted(at(3), ME, STINT, at(1));
        holder.granted(at(3), ME, STINT, at(2));
        holder.granted(at(3), ME, STINT, at(1));
        replier.join().unwrap();
    });
}

fn fence() -> Command {
    Command::Restarted { node: ME, incarnation: Incarnation(2), store: StoreId(1) }
}

/// R5: the log notes a fence before it calls the append durable; from then on the voter grants nothing.
#[test]
fn a_voter_whose_log_holds_a_fence_grants_no_lease() {
    model(|| {
        let (fences, durable) = (FenceLog::new(), Arc::new(AtomicBool::new(false)));
        let mut grantor = LeaseGrantor::new(Time::ZERO, fences.clone());
        let log = thread::spawn({
            let durable = durable.clone();
            move || {
                fences.appended(5, &fence());
                durable.store(true, Ordering::Release);
            }
        });
        let known = durable.load(Ordering::Acquire);
        let granted = grantor.grant(at(1000), &state(), ME, STINT);
        assert!(!(known && granted));
        // What it tells a successor counts that grant.
        if let Some(age) = grantor.last_grant_age(at(1100), &state(), ME, STINT) {
            assert_eq!(age, Duration::from_millis(if granted { 100 } else { 1100 }));
            assert!(!grantor.grant(at(1200), &state(), ME, STINT));
        }
        log.join().unwrap();
    });
}

#[test]
fn what_the_agent_and_the_log_do_to_other_entries_loses_no_fence() {
    model(|| {
        let fences = FenceLog::new();
        let mut grantor = LeaseGrantor::new(Time::ZERO, fences.clone());
        fences.appended(3, &fence());
        let log = thread::spawn(move || {
            fences.appended(5, &fence());
            fences.appended(6, &fence());
            fences.truncated_from(6);
        });
        grantor.observed(3);
        grantor.observed(4);
        log.join().unwrap();
        assert!(!grantor.grant(at(1000), &state(), ME, STINT));
        grantor.observed(5);
        assert!(grantor.grant(at(1000), &state(), ME, STINT), "the state has it now");
    });
}
