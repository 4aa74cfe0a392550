//! The brain of one member: turns beats, committed states and reports into proposals and orders.
//!
//! It compares what the committed state says with what is the case here and emits what is missing.
//! Nothing is remembered about intentions: after any loss it derives the same again.

mod addresses;
mod io;
mod membership;
mod proposals;
mod status;
mod takeovers;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use io::{AddressOrder, AddressReport, Input, Outcome, Output, ProposalId, VolumeOrder, VolumeReport};
pub use status::{AddressStatus, MemberStatus, Status, VolumeStatus};

use crate::detector::{Detector, DetectorConfig};
use crate::lease::{FenceLog, LeaseFlag, LeaseGrantor, LeaseHolder};
use crate::message::{Beat, Message};
use crate::state::{Member, Role, State};
use crate::{ClusterId, Incarnation, MembershipEpoch, NodeId, StoreId, Time, VolumeId};

/// Who an agent is and how patient.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Which member.
    pub me: NodeId,
    /// Of which cluster; beats of another are ignored.
    pub cluster: ClusterId,
    /// This life of the process: random, drawn at its start. One process a member at a time: the caller
    /// holds a lock.
    pub incarnation: Incarnation,
    /// This member's durable store (R7).
    pub store: StoreId,
    /// Failure detection.
    pub detector: DetectorConfig,
    /// The part of a lease that is given away for the drift of clocks. 100 ms of 700 covers far
    /// more than any real drift.
    pub lease_margin: Duration,
    /// How much longer the less preferred side of a cut waits before it fences the other (R6). Must
    /// exceed the time of a commit and four `heartbeat_every`, after which a one-way cut is noticed.
    pub cut_delay: Duration,
    /// How long after its own start a member spares peers that it has never heard.
    pub start_grace: Duration,
    /// How long a fenced member must hear the others well before it asks back in.
    pub return_after: Duration,
    /// How long a volume's or address's home must be fit before it moves there.
    pub home_after: Duration,
    /// How long a node leaves a volume without a leader to its home.
    pub elect_after: Duration,
    /// How long a leader waits for a replica behind a broken link whose node is alive, before it goes on
    /// without it. Must exceed suspicion and `cut_delay`: a cut is the fence's affair.
    pub peer_patience: Duration,
    /// Pause before something that failed is tried again.
    pub retry_every: Duration,
    /// After this an outcome that was not reported counts as unknown.
    pub outcome_within: Duration,
}

impl AgentConfig {
    /// The defaults of DESIGN §3.
    pub fn new(me: NodeId, cluster: ClusterId, incarnation: Incarnation, store: StoreId) -> Self {
        Self {
            me,
            cluster,
            incarnation,
            store,
            detector: DetectorConfig::default(),
            lease_margin: Duration::from_millis(100),
            cut_delay: Duration::from_millis(600),
            start_grace: Duration::from_secs(3),
            return_after: Duration::from_millis(500),
            home_after: Duration::from_secs(2),
            elect_after: Duration::from_secs(1),
            peer_patience: Duration::from_secs(2),
            retry_every: Duration::from_millis(200),
            outcome_within: Duration::from_secs(5),
        }
    }
}

/// One member's agent; a witness has one, too. See the crate's docs for the driving contract.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    started: Time,
    peers: Vec<NodeId>,
    view: Option<View>,
    detector: Detector,
    holder: LeaseHolder,
    grantor: LeaseGrantor,
    next_beat: Time,
    serving: bool,
    foreign_beats: u64,
    flights: proposals::Flights,
    members: membership::Watch,
    takeovers: takeovers::Takeovers,
    volumes: BTreeMap<VolumeId, volumes::Local>,
    addresses: BTreeMap<IpAddr, addresses::Local>,
    out: VecDeque<Output>,
}

/// The newest committed state known here.
#[derive(Debug, Clone)]
struct View {
    index: u64,
    state: Arc<State>,
}

impl Agent {
    /// An agent that starts at `now`. `peers` are whom to send beats to until a state names the
    /// members; `fences` is the one that this member's log store writes.
    pub fn new(
        config: AgentConfig,
        peers: impl IntoIterator<Item = NodeId>,
        fences: FenceLog,
        now: Time,
    ) -> Self {
        let peers: Vec<NodeId> = peers.into_iter().filter(|p| *p != config.me).collect();
        let mut detector = Detector::new(config.detector.clone(), now);
        detector.watch(now, peers.iter().copied());
        Self {
            started: now,
            peers,
            view: None,
            detector,
            holder: LeaseHolder::new(),
            grantor: LeaseGrantor::new(now, fences),
            next_beat: now,
            serving: false,
            foreign_beats: 0,
            flights: proposals::Flights::default(),
            members: membership::Watch::default(),
            takeovers: takeovers::Takeovers::default(),
            volumes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            out: VecDeque::new(),
            config,
        }
    }

    /// The end of this node's lease, for every thread that replies (R3).
    pub fn lease(&self) -> LeaseFlag {
        self.holder.flag()
    }

    /// Takes one input in. Drain [`poll_output`](Self::poll_output) afterwards.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Message { from, message } => self.handle_message(now, from, message),
            Input::Gone { node } => self.detector.note_gone(now, node),
            Input::Committed { index, state } => self.handle_committed(now, index, state),
            Input::Outcome { id, outcome } => self.handle_outcome(now, id, outcome),
            Input::Volume(report) => self.handle_volume(now, report),
            Input::Address(report) => self.handle_address(now, report),
            Input::Drain { node, on } => self.propose_drain(now, node, on),
        }
        self.reconcile(now);
    }

    /// To be called when [`poll_timeout`](Self::poll_timeout) is due; earlier or later does no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        self.detector.handle_timeout(now);
        if now >= self.next_beat {
            self.next_beat = now + self.config.detector.heartbeat_every;
            self.send_beats(now);
        }
        self.reconcile(now);
    }

    /// The next thing to do; none when all has been taken.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let lease_end = self.serving.then(|| self.holder.ends());
        [Some(self.next_beat), self.detector.poll_timeout(), lease_end]
            .into_iter()
            .chain([self.takeovers.poll_timeout(self.state()), self.flights.poll_timeout()])
            .flatten()
            .min()
    }

    fn state(&self) -> Option<&State> {
        self.view.as_ref().map(|v| &*v.state)
    }

    /// This member as committed, if it is one.
    fn myself(&self) -> Option<&Member> {
        self.state()?.members.get(&self.config.me)
    }

    /// The stint of this very process; none while it is not in.
    fn stint(&self) -> Option<MembershipEpoch> {
        self.myself()
            .filter(|m| m.status == crate::state::Status::Up && m.incarnation == self.config.incarnation)
            .map(|m| m.stint)
    }

    fn handle_message(&mut self, now: Time, from: NodeId, message: Message) {
        if from == self.config.me {
            return;
        }
        match message {
            Message::Beat(beat) => self.handle_beat(now, from, &beat),
            Message::Grant { sent, stint, granted: true } => self.holder.granted(now, from, stint, sent),
            Message::Grant { .. } => {}
            Message::AskAge { holder, stint, sent } => self.answer_age(now, from, holder, stint, sent),
            Message::Age { holder, stint, age_nanos, .. } => {
                self.take_age(now, from, holder, stint, Duration::from_nanos(age_nanos));
            }
        }
    }

    fn handle_beat(&mut self, now: Time, from: NodeId, beat: &Beat) {
        if beat.cluster != self.config.cluster {
            self.foreign_beats += 1;
            return;
        }
        self.detector.handle(now, from, beat);
        let Some(stint) = beat.stint else { return };
        let Some(view) = self.view.clone() else { return };
        if self.is_voter(&view.state) {
            let granted = self.grantor.grant(now, &view.state, from, stint);
            self.send(from, Message::Grant { sent: beat.sent, stint, granted });
        }
    }

    fn handle_committed(&mut self, now: Time, index: u64, state: Arc<State>) {
        if !state.is_initialised() || self.view.as_ref().is_some_and(|v| v.index >= index) {
            return;
        }
        self.view = Some(View { index, state: state.clone() });
        self.grantor.observed(index);
        self.peers = state.members.keys().copied().filter(|n| *n != self.config.me).collect();
        self.detector.watch(now, self.peers.iter().copied());
        self.holder.configure(&state, self.stint(), self.config.lease_margin);
        self.flights.observed(now, index);
        self.volumes.retain(|name, _| state.volumes.contains_key(name));
        self.addresses.retain(|ip, _| state.addresses.contains_key(ip));
    }

    fn is_voter(&self, state: &State) -> bool {
        state.members.get(&self.config.me).is_some_and(|m| m.voter)
    }

    fn send_beats(&mut self, now: Time) {
        let stint = self.stint().filter(|_| self.myself().is_some_and(|m| m.role == Role::Node));
        let beat = Beat {
            cluster: self.config.cluster,
            incarnation: self.config.incarnation,
            sent: now,
            stint,
            silent_ms: self.detector.silences(now),
        };
        for to in self.peers.clone() {
            self.send(to, Message::Beat(beat.clone()));
        }
        self.grant_myself(now, stint);
    }

    /// A node that votes asks itself as it asks the others.
    fn grant_myself(&mut self, now: Time, stint: Option<MembershipEpoch>) {
        let (Some(stint), Some(view)) = (stint, self.view.clone()) else { return };
        let me = self.config.me;
        if self.is_voter(&view.state) && self.grantor.grant(now, &view.state, me, stint) {
            self.holder.granted(now, me, stint, now);
        }
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.out.push_back(Output::Send { to, message });
    }

    /// Emits what is missing between the committed state and what is the case here.
    fn reconcile(&mut self, now: Time) {
        while self.detector.poll_event().is_some() {}
        self.flights.tick(now, self.config.outcome_within);
        self.repeat_proposals(now);
        let Some(view) = self.view.clone() else { return };
        let state = &*view.state;
        self.step_up_or_down(now);
        self.run_takeovers(now, state);
        self.reconcile_members(now, state);
        self.reconcile_volumes(now, state);
        self.reconcile_addresses(now, state);
    }

    fn step_up_or_down(&mut self, now: Time) {
        let serving = self.stint().is_some() && self.holder.is_valid(now);
        if serving != self.serving {
            self.serving = serving;
            self.out.push_back(if serving { Output::Resume } else { Output::StepDown });
        }
    }
}
