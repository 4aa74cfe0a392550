//! R5 under random delays, restarts of voters, drifting clocks and late fences.

use std::time::Duration;

use proptest::prelude::*;

use crate::lease::{FenceLog, LeaseGrantor, LeaseHolder, Takeover};
use crate::state::{Command, FORMAT, Member, Role, State, Status};
use crate::{MembershipEpoch, NodeId, StoreId, Time};

const A: NodeId = NodeId(1);
const VOTERS: [NodeId; 3] = [A, NodeId(2), NodeId(3)];
const STINT: MembershipEpoch = MembershipEpoch(1);
const MARGIN: Duration = Duration::from_millis(100);

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn state(a: Status) -> State {
    let members = VOTERS.map(|n| {
        let mut m = Member::new("m", Role::Node, StoreId(0), "-");
        m.status = Status::Up;
        m.stint = STINT;
        (n, m)
    });
    let mut state = State { format: FORMAT, lease_ms: 700, members: members.into(), ..State::default() };
    state.members.get_mut(&A).unwrap().status = a;
    state.membership_epoch = MembershipEpoch(if a == Status::Up { 1 } else { 2 });
    state
}

fn fence() -> Command {
    Command::Fence { target: A, by: NodeId(2), membership_epoch: STINT, avoid: [].into() }
}

/// A voter: its clock runs ahead of true time by `skew`, and by `drift` parts in ten thousand faster.
struct Voter {
    grantor: LeaseGrantor,
    fences: FenceLog,
    holds_fence: bool,
    skew: u64,
    drift: i64,
}

impl Voter {
    fn clock(&self, ms: u64) -> Time {
        clock(self.skew, self.drift, ms)
    }

    fn restart(&mut self, ms: u64) {
        self.fences = FenceLog::new();
        if self.holds_fence {
            self.fences.appended(7, &fence());
        }
        self.grantor = LeaseGrantor::new(self.clock(ms), self.fences.clone());
    }
}

fn clock(skew: u64, drift: i64, ms: u64) -> Time {
    let micros = i64::try_from(ms * 1000).unwrap();
    let drifted = u64::try_from(micros + micros / 10_000 * drift).unwrap();
    Time::from_boot(Duration::from_micros(drifted) + Duration::from_millis(skew))
}

#[derive(Debug, Clone)]
struct Plan {
    /// For each beat of A (every 100 ms): the delay to each voter and back; beyond 3000 it is lost.
    delays: Vec<[(u64, u64); 3]>,
    /// When each voter's log holds the fence; the second soonest is the commit.
    fenced: [u64; 3],
    restarts: Vec<(usize, u64)>,
    ask_after: u64,
    ask_delays: [(u64, u64); 3],
    skews: [u64; 4],
    drifts: [i64; 4],
}

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 1..40u64, 2 => 40..900u64, 1 => Just(9999u64)]
}

fn plan() -> impl Strategy<Value = Plan> {
    let pair = || (delay(), delay());
    let trip = || [pair(), pair(), pair()];
    let skew = || 0..100_000u64;
    // ±0.5 %: far more than a real clock, within what the margin pays for.
    let drift = || -50..50i64;
    (
        prop::collection::vec(trip(), 30),
        [1000..3000u64, 1000..3000u64, 1000..3000u64],
        prop::collection::vec((0..3usize, 500..4000u64), 0..4),
        0..400u64,
        trip(),
        [skew(), skew(), skew(), skew()],
        [drift(), drift(), drift(), drift()],
    )
        .prop_map(|(delays, fenced, restarts, ask_after, ask_delays, skews, drifts)| Plan {
            delays,
            fenced,
            restarts,
            ask_after,
            ask_delays,
            skews,
            drifts,
        })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Fenced(usize),
    Restart(usize),
    /// A beat of A reaches a voter; true send time, and when the answer arrives.
    Beat(usize, u64, u64),
    /// The answer arrives at A, for the beat sent at this true time.
    Answer(usize, u64),
    Ask(usize, u64),
}

/// Runs the plan; gives the true times at which A's lease ended for the last time, and at which the
/// successor starts.
fn play(plan: &Plan) -> (u64, Option<u64>) {
    let mut steps = std::collections::BTreeSet::new();
    for (i, trip) in plan.delays.iter().enumerate() {
        let sent = i as u64 * 100 + 50;
        for (v, (there, back)) in trip.iter().enumerate().filter(|(_, t)| t.0 < 3000) {
            steps.insert((sent + there, Step::Beat(v, sent, sent + there + back)));
        }
    }
    let mut sorted = plan.fenced;
    sorted.sort_unstable();
    let committed = sorted[1];
    for (v, when) in plan.fenced.iter().enumerate() {
        steps.insert((*when, Step::Fenced(v)));
    }
    for (v, when) in &plan.restarts {
        steps.insert((*when, Step::Restart(*v)));
    }
    for (v, (there, back)) in plan.ask_delays.iter().enumerate() {
        // Asked again and again, as the agent does.
        for again in 0..20 {
            let asked = committed + plan.ask_after + again * 50;
            steps.insert((asked + there, Step::Ask(v, asked + there + back)));
        }
    }
    let mut game = Game::new(plan);
    while let Some((now, step)) = steps.pop_first() {
        if let Some(next) = game.step(now, step) {
            steps.insert(next);
        }
    }
    (game.lease_end, game.successor_starts())
}

struct Game<'a> {
    plan: &'a Plan,
    voters: Vec<Voter>,
    holder: LeaseHolder,
    takeover: Takeover,
    lease_end: u64,
}

impl<'a> Game<'a> {
    fn new(plan: &'a Plan) -> Self {
        let voters = (0..3).map(|v| {
            let fences = FenceLog::new();
            let (skew, drift) = (plan.skews[v], plan.drifts[v]);
            let grantor = LeaseGrantor::new(clock(skew, drift, 0), fences.clone());
            Voter { grantor, fences, holds_fence: false, skew, drift }
        });
        let mut holder = LeaseHolder::new();
        holder.configure(&state(Status::Up), Some(STINT), MARGIN);
        let takeover = Takeover::new(A, STINT);
        Self { plan, voters: voters.collect(), holder, takeover, lease_end: 0 }
    }

    /// A's clock is that of voter 0; the successor's is the fourth.
    fn step(&mut self, now: u64, step: Step) -> Option<(u64, Step)> {
        match step {
            Step::Fenced(v) => {
                self.voters[v].holds_fence = true;
                self.voters[v].fences.appended(7, &fence());
            }
            Step::Restart(v) => self.voters[v].restart(now),
            Step::Beat(v, sent, back) => {
                let voter = &mut self.voters[v];
                let time = voter.clock(now);
                // The state shown to a voter lags: it still says that A is in.
                if voter.grantor.grant(time, &state(Status::Up), A, STINT) {
                    return Some((back, Step::Answer(v, sent)));
                }
            }
            Step::Answer(v, sent) => {
                let time = |ms| clock(self.plan.skews[0], self.plan.drifts[0], ms);
                self.holder.granted(time(now), VOTERS[v], STINT, time(sent));
                self.note_lease_end(now);
            }
            Step::Ask(v, back) => {
                let voter = &mut self.voters[v];
                let time = voter.clock(now);
                let age = voter.grantor.last_grant_age(time, &state(Status::Up), A, STINT);
                if let Some(age) = age {
                    let time = clock(self.plan.skews[3], self.plan.drifts[3], back);
                    self.takeover.answered(time, VOTERS[v], age, Duration::from_millis(700));
                }
            }
        }
        None
    }

    /// The last true millisecond at which A's clock says that the lease holds, if it does now.
    fn note_lease_end(&mut self, now: u64) {
        let valid = |ms| self.holder.is_valid(clock(self.plan.skews[0], self.plan.drifts[0], ms));
        let last = (now..now + 1500).take_while(|ms| valid(*ms)).last();
        self.lease_end = self.lease_end.max(last.unwrap_or(0));
    }

    fn successor_starts(&self) -> Option<u64> {
        let over = self.takeover.over_at(&state(Status::Fenced))?;
        (0..20_000).find(|ms| clock(self.plan.skews[3], self.plan.drifts[3], *ms) >= over)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_holders_lease_ends_before_the_successor_starts(plan in plan()) {
        if let (end, Some(start)) = play(&plan) {
            prop_assert!(end < start, "lease until {end}, successor from {start}");
        }
    }
}

#[test]
fn a_lease_ends_the_margin_early_after_the_sending_of_what_a_majority_granted() {
    let mut holder = LeaseHolder::new();
    holder.configure(&state(Status::Up), Some(STINT), MARGIN);
    holder.granted(at(1000), A, STINT, at(1000));
    assert!(!holder.is_valid(at(1000)), "one of three is no majority");
    holder.granted(at(1200), VOTERS[1], STINT, at(900));
    assert_eq!(holder.ends(), at(1500), "it counts from the sending");
    assert!(holder.is_valid(at(1499)) && !holder.is_valid(at(1500)));
    holder.granted(at(1300), VOTERS[2], MembershipEpoch(9), at(1250));
    assert_eq!(holder.ends(), at(1500), "another stint's answer counts for nothing");
    holder.configure(&state(Status::Fenced), None, MARGIN);
    assert_eq!(holder.ends(), Time::ZERO);
}

#[test]
fn a_voter_refuses_from_the_append_of_a_fence_on_and_grants_again_if_the_log_loses_it() {
    let fences = FenceLog::new();
    let mut voter = LeaseGrantor::new(at(0), fences.clone());
    let up = state(Status::Up);
    assert!(!voter.grant(at(699), &up, A, STINT), "a restarted voter grants nothing for D");
    assert!(voter.grant(at(700), &up, A, STINT));
    fences.appended(5, &fence());
    assert!(!voter.grant(at(800), &up, A, STINT));
    fences.truncated_from(5);
    assert!(voter.grant(at(900), &up, A, STINT));
    assert_eq!(voter.last_grant_age(at(950), &up, A, STINT), None, "its log holds no fence");
    fences.appended(6, &fence());
    assert_eq!(voter.last_grant_age(at(950), &up, A, STINT), Some(Duration::from_millis(50)));
    fences.truncated_from(6);
    assert!(!voter.grant(at(1000), &up, A, STINT), "the answer was a promise");
}

#[test]
fn a_refused_fence_stops_nobody_once_it_is_applied() {
    let fences = FenceLog::new();
    let mut voter = LeaseGrantor::new(at(0), fences.clone());
    fences.appended(5, &fence());
    assert!(!voter.grant(at(800), &state(Status::Up), A, STINT));
    voter.observed(5);
    assert!(voter.grant(at(800), &state(Status::Up), A, STINT), "the state as of 5 has A in");
}
