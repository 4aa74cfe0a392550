//! What goes wrong, and when: schedules drawn from the seed, one generator a scenario.

use posthaste_heartbeat::StoreId;
use posthaste_heartbeat::agent::Input;

use crate::rng::Rng;
use crate::world::{Event, MS, World};
use crate::{NODES, node_id};

/// One thing that goes wrong, or right again.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Fault {
    /// The process dies; with `power` the disk's cache, too.
    Kill { n: usize, power: bool },
    /// It is started, if it does not run.
    Start(usize),
    /// It is stopped for a while; its clock runs on.
    Pause { n: usize, ms: u64 },
    /// Nothing passes between two members, in either direction.
    Cut { a: usize, b: usize, on: bool },
    /// The nodes cannot reach each other, all else is well: R6 is judged.
    PureCut(bool),
    /// Nothing passes in one direction.
    OneWay { a: usize, b: usize },
    /// Cut off from everybody, clients included.
    Isolate { n: usize, on: bool },
    /// Datagrams lost, per mille.
    Loss(u64),
    /// Added delay, at most, in milliseconds.
    Delay(u64),
    /// A voter's store is lost; the member restarts with an empty one, later the operator replaces it.
    Amnesia(usize),
    /// Its disks become this many times slower.
    SlowDisk { n: usize, times: u64 },
    /// The next flush of one of its disks fails.
    FailFlush { n: usize, v: usize, meta: bool },
    /// From its next start, a node goes on without a copy that it cannot use; or with it again.
    NoCopy { n: usize, v: usize, on: bool },
    /// The next openings of a volume there fail.
    FailOpen { n: usize, v: usize, times: u64 },
    /// The replication link of a volume breaks, nothing else.
    LinkCut { v: usize, on: bool },
    /// Answers of the quorum that get lost, per mille.
    LostAnswers(u64),
    /// The operator drains a node, or ends that.
    Drain { n: usize, on: bool },
}

/// A kind of schedule.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    plan: fn(&mut Plan),
}

/// A schedule under construction.
#[derive(Debug)]
pub struct Plan {
    rng: Rng,
    now: u64,
    faults: Vec<(u64, Fault)>,
}

/// All scenarios; [`CHAOS`] mixes the faults of all.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "fault_free", plan: |p| p.wait(6000, 6001) },
    Scenario { name: "kill", plan: Plan::kill },
    Scenario { name: "pause_past_the_lease", plan: Plan::pause },
    Scenario { name: "cut_with_the_witness_visible_to_both", plan: Plan::cut },
    Scenario { name: "isolation", plan: Plan::isolation },
    Scenario { name: "message_loss", plan: Plan::message_loss },
    Scenario { name: "amnesiac_voter", plan: Plan::amnesiac_voter },
    Scenario { name: "source_lost_during_resync", plan: Plan::source_lost },
    Scenario { name: "slow_disk", plan: Plan::slow_disk },
    Scenario { name: "failed_flush", plan: Plan::failed_flush },
    Scenario { name: "failed_open", plan: Plan::failed_open },
    Scenario { name: "unusable_copy", plan: Plan::unusable_copy },
    Scenario { name: "link_flap", plan: Plan::link_flap },
    Scenario { name: "planned_moves", plan: Plan::planned_moves },
    Scenario { name: "power_cut_of_both", plan: Plan::power_cut },
    Scenario { name: "restart_storm", plan: Plan::restart_storm },
    Scenario { name: "witness_flap", plan: Plan::witness_flap },
    Scenario { name: "voter_restarts_under_a_lease", plan: Plan::voter_restarts },
    Scenario { name: "chaos", plan: Plan::chaos },
];

/// Random faults that overlap.
pub const CHAOS: Scenario = SCENARIOS[SCENARIOS.len() - 1];

impl Scenario {
    /// The scenario of this name.
    pub fn parse(name: &str) -> Option<Self> {
        SCENARIOS.iter().copied().find(|s| s.name == name)
    }

    /// The scenario of a seed where none is asked for: half of them are chaos.
    pub fn of_seed(seed: u64) -> Self {
        let named = &SCENARIOS[1..];
        if seed.is_multiple_of(2) { CHAOS } else { named[(seed / 2) as usize % named.len()] }
    }

    /// The faults, each with its time in milliseconds after the start, and the end.
    pub fn plan(self, rng: Rng) -> (Vec<(u64, Fault)>, u64) {
        let mut plan = Plan { rng, now: 0, faults: Vec::new() };
        plan.wait(200, 1200);
        (self.plan)(&mut plan);
        (plan.faults, plan.now)
    }
}

impl Plan {
    fn wait(&mut self, low_ms: u64, high_ms: u64) {
        self.now += self.rng.between(low_ms, high_ms);
    }

    fn add(&mut self, fault: Fault) {
        self.faults.push((self.now, fault));
    }

    fn later(&mut self, ms: u64, fault: Fault) {
        self.faults.push((self.now + ms, fault));
    }

    fn node(&mut self) -> usize {
        self.rng.below(2) as usize
    }

    fn kill(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            let (n, power) = (self.rng.below(NODES as u64) as usize, self.rng.chance(700));
            self.add(Fault::Kill { n, power });
            self.wait(20, 4000);
            self.add(Fault::Start(n));
            self.wait(500, 6000);
        }
    }

    fn pause(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            let (n, ms) = (self.node(), self.rng.between(300, 4000));
            self.add(Fault::Pause { n, ms });
            self.wait(ms, ms + 4000);
        }
    }

    fn cut(&mut self) {
        self.add(Fault::PureCut(true));
        self.wait(4000, 7000);
        self.add(Fault::PureCut(false));
        self.wait(500, 5000);
        for _ in 0..self.rng.below(3) {
            self.add(Fault::Cut { a: 0, b: 1, on: true });
            self.wait(200, 3000);
            self.add(Fault::Cut { a: 0, b: 1, on: false });
            self.wait(200, 3000);
        }
    }

    fn isolation(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            let n = self.rng.below(NODES as u64) as usize;
            self.add(Fault::Isolate { n, on: true });
            self.wait(200, 4000);
            self.add(Fault::Isolate { n, on: false });
            self.wait(200, 5000);
        }
    }

    fn message_loss(&mut self) {
        let (loss, delay) = (self.rng.between(20, 500), self.rng.below(60));
        self.add(Fault::Loss(loss));
        self.add(Fault::Delay(delay));
        let lost = self.rng.below(500);
        self.add(Fault::LostAnswers(lost));
        self.wait(3000, 9000);
        let n = self.node();
        match self.rng.below(3) {
            0 => self.add(Fault::Kill { n, power: true }),
            1 => self.add(Fault::Pause { n, ms: 2000 }),
            _ => {}
        }
        self.wait(500, 3000);
    }

    /// One voter is behind, one loses its memory, the third, which knows, is away: no two may decide.
    fn amnesiac_voter(&mut self) {
        let n = self.rng.below(NODES as u64) as usize;
        let behind = (n + 1 + self.rng.below(2) as usize) % NODES;
        let knows = NODES - n - behind;
        self.add(Fault::Isolate { n: behind, on: true });
        self.wait(600, 2500);
        match self.rng.below(3) {
            0 => self.add(Fault::Pause { n: knows, ms: 2500 }),
            _ => self.add(Fault::Kill { n: knows, power: true }),
        }
        self.wait(1, 30);
        self.add(Fault::Amnesia(n));
        self.wait(10, 300);
        self.add(Fault::Isolate { n: behind, on: false });
        self.wait(500, 3500);
        self.add(Fault::Start(knows));
        self.wait(500, 3000);
    }

    fn source_lost(&mut self) {
        match self.rng.chance(500) {
            true => self.source_of_a_member_lost(),
            false => self.source_of_a_stranger_lost(),
        }
    }

    /// The target is in sync all the while: its link broke for a moment. It has to go back (R9).
    fn source_of_a_member_lost(&mut self) {
        let v = self.node();
        self.add(Fault::SlowDisk { n: 0, times: 20 });
        self.add(Fault::SlowDisk { n: 1, times: 20 });
        self.add(Fault::LinkCut { v, on: true });
        self.wait(800, 2500);
        self.add(Fault::LinkCut { v, on: false });
        self.wait(10, 300);
        self.add(Fault::Kill { n: v, power: true });
        if self.rng.chance(500) {
            // As soon as it is to lead, it is started anew.
            self.wait(450, 800);
            self.add(Fault::Kill { n: 1 - v, power: true });
            self.wait(1, 100);
            self.add(Fault::Start(1 - v));
        }
        self.wait(300, 3000);
        self.add(Fault::Start(v));
        self.wait(500, 3000);
    }

    fn source_of_a_stranger_lost(&mut self) {
        let n = self.node();
        self.add(Fault::Kill { n, power: true });
        self.wait(1500, 4000);
        self.add(Fault::SlowDisk { n: 0, times: 20 });
        self.add(Fault::SlowDisk { n: 1, times: 20 });
        self.add(Fault::Start(n));
        self.wait(20, 1500);
        self.add(Fault::Kill { n: 1 - n, power: true });
        self.wait(200, 2500);
        if self.rng.chance(500) {
            self.add(Fault::Kill { n, power: true });
            self.wait(50, 500);
            self.add(Fault::Start(n));
        }
        self.add(Fault::Start(1 - n));
        self.wait(500, 3000);
    }

    fn slow_disk(&mut self) {
        // At most, a flush takes six seconds.
        let most = if self.rng.chance(500) { 400 } else { 4000 };
        let (n, times) = (self.node(), self.rng.between(5, most));
        self.add(Fault::SlowDisk { n, times });
        self.wait(1500, 6000);
        if self.rng.chance(500) {
            self.add(Fault::Kill { n: 1 - n, power: true });
            self.wait(1000, 3000);
        }
        self.add(Fault::SlowDisk { n, times: 1 });
    }

    fn failed_flush(&mut self) {
        for _ in 0..self.rng.between(1, 3) {
            let (n, v) = (self.node(), self.rng.below(2) as usize);
            let meta = self.rng.chance(300);
            self.add(Fault::FailFlush { n, v, meta });
            self.wait(100, 4000);
            let n = if self.rng.chance(500) { n } else { 1 - n };
            self.add(Fault::Kill { n, power: true });
            self.wait(20, 2500);
            self.add(Fault::Start(n));
            self.wait(500, 4000);
        }
    }

    fn failed_open(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            for v in 0..2 {
                let (n, times) = (self.node(), self.rng.between(1, 15));
                self.add(Fault::FailOpen { n, v, times });
            }
            let n = self.node();
            match self.rng.below(3) {
                0 => self.add(Fault::Drain { n, on: true }),
                1 => self.add(Fault::Pause { n, ms: 1500 }),
                _ => self.add(Fault::Kill { n, power: true }),
            }
            self.wait(20, 2500);
            self.add(Fault::LinkCut { v: 0, on: true });
            self.wait(20, 1500);
            self.add(Fault::LinkCut { v: 0, on: false });
            self.add(Fault::Start(n));
            self.add(Fault::Drain { n, on: false });
            self.wait(500, 4000);
        }
    }

    fn unusable_copy(&mut self) {
        let (n, v) = (self.node(), self.node());
        self.add(Fault::NoCopy { n, v, on: true });
        let power = self.rng.chance(500);
        self.add(Fault::Kill { n, power });
        self.wait(20, 2500);
        self.add(Fault::Start(n));
        self.wait(200, 5000);
        match self.rng.below(3) {
            0 => self.add(Fault::Drain { n: 1 - n, on: true }),
            1 => self.add(Fault::Pause { n: 1 - n, ms: 1500 }),
            _ => {}
        }
        self.wait(500, 3000);
        self.add(Fault::Drain { n: 1 - n, on: false });
        self.add(Fault::NoCopy { n, v, on: false });
        self.add(Fault::Kill { n, power });
        self.wait(20, 800);
        self.add(Fault::Start(n));
        self.wait(500, 2000);
    }

    fn link_flap(&mut self) {
        for _ in 0..self.rng.between(1, 6) {
            let v = self.rng.below(2) as usize;
            self.add(Fault::LinkCut { v, on: true });
            self.wait(400, 5000);
            self.add(Fault::LinkCut { v, on: false });
            self.wait(10, 2000);
            if self.rng.chance(400) {
                let n = self.node();
                self.add(Fault::Kill { n, power: true });
                self.wait(20, 2500);
                self.add(Fault::Start(n));
            }
        }
    }

    fn planned_moves(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            let n = self.node();
            self.add(Fault::Drain { n, on: true });
            self.wait(20, 2500);
            if self.rng.chance(300) {
                let n = self.node();
                self.add(Fault::Pause { n, ms: 900 });
            }
            self.add(Fault::Drain { n, on: false });
            self.wait(500, 4000);
        }
    }

    fn power_cut(&mut self) {
        for n in 0..2 {
            self.add(Fault::Kill { n, power: true });
            self.wait(0, 20);
        }
        let first = self.node();
        self.wait(100, 2000);
        self.add(Fault::Start(first));
        self.wait(20, 5000);
        self.add(Fault::Start(1 - first));
        self.wait(500, 4000);
    }

    fn restart_storm(&mut self) {
        if self.rng.chance(500) {
            let delay = self.rng.between(30, 200);
            self.add(Fault::Delay(delay));
        }
        for _ in 0..self.rng.between(4, 12) {
            let (n, power) = (self.rng.below(NODES as u64) as usize, self.rng.chance(500));
            self.add(Fault::Kill { n, power });
            let after = self.rng.between(10, 600);
            self.later(after, Fault::Start(n));
            self.wait(50, 1500);
        }
    }

    fn witness_flap(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            match self.rng.below(2) {
                0 => self.add(Fault::Cut { a: 0, b: 1, on: true }),
                _ => self.add(Fault::Pause { n: 0, ms: 1500 }),
            }
            self.wait(300, 900);
            self.add(Fault::Kill { n: 2, power: true });
            self.wait(5, 200);
            self.add(Fault::Start(2));
            self.wait(200, 2000);
            self.add(Fault::Cut { a: 0, b: 1, on: false });
            self.wait(500, 4000);
        }
    }

    /// A node is suspected by the other one only; about then it loses the witness too, which restarts.
    fn voter_restarts(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            let n = self.node();
            self.add(Fault::Cut { a: 0, b: 1, on: true });
            self.wait(350, 650);
            self.add(Fault::Isolate { n, on: true });
            self.wait(0, 20);
            self.add(Fault::Kill { n: 2, power: true });
            self.wait(1, 60);
            self.add(Fault::Start(2));
            self.wait(300, 2500);
            self.add(Fault::Isolate { n, on: false });
            self.wait(1500, 4000);
        }
    }

    fn chaos(&mut self) {
        for _ in 0..self.rng.between(4, 16) {
            self.any();
            self.wait(10, 1500);
        }
    }

    /// One random fault, which mostly ends by itself.
    fn any(&mut self) {
        let (n, other) = (self.rng.below(NODES as u64) as usize, self.rng.below(NODES as u64) as usize);
        let (node, v) = (self.node(), self.rng.below(2) as usize);
        let lasts = self.rng.between(50, 3500);
        let (fault, end) = match self.rng.below(15) {
            0..=2 => {
                let power = self.rng.chance(700);
                (Fault::Kill { n, power }, Some(Fault::Start(n)))
            }
            3 | 4 => (Fault::Pause { n, ms: lasts }, None),
            5 => (Fault::Cut { a: 0, b: 1, on: true }, Some(Fault::Cut { a: 0, b: 1, on: false })),
            6 if n != other => {
                (Fault::OneWay { a: n, b: other }, Some(Fault::Cut { a: n, b: other, on: false }))
            }
            7 => (Fault::Isolate { n, on: true }, Some(Fault::Isolate { n, on: false })),
            8 => (Fault::Loss(self.rng.below(400)), Some(Fault::Loss(0))),
            9 => (
                Fault::SlowDisk { n: node, times: self.rng.between(2, 100) },
                Some(Fault::SlowDisk { n: node, times: 1 }),
            ),
            10 => (Fault::LinkCut { v, on: true }, Some(Fault::LinkCut { v, on: false })),
            11 => (Fault::LostAnswers(self.rng.below(700)), None),
            12 => (Fault::Drain { n: node, on: true }, Some(Fault::Drain { n: node, on: false })),
            14 => (Fault::FailOpen { n: node, v, times: self.rng.between(1, 8) }, None),
            13 if self.rng.chance(300) => (Fault::Amnesia(n), None),
            13 if self.rng.chance(300) => (Fault::FailFlush { n: node, v, meta: self.rng.chance(300) }, None),
            _ => (Fault::Delay(self.rng.below(80)), Some(Fault::Delay(0))),
        };
        self.add(fault);
        if let Some(end) = end {
            self.later(lasts, end);
        }
    }
}

impl World {
    pub(crate) fn inflict(&mut self, fault: Fault) {
        self.say(|| format!("FAULT {fault:?}"));
        if !matches!(fault, Fault::PureCut(_)) {
            self.checks.r6.ends();
        }
        match fault {
            Fault::Kill { n, power } => self.kill(n, power),
            Fault::Start(n) => self.start(n),
            Fault::Pause { n, ms } => self.pause(n, ms),
            Fault::Cut { a, b, on } => self.cut(a, b, on),
            Fault::PureCut(on) => self.pure_cut(on),
            Fault::OneWay { a, b } => {
                self.net.cut[a][b] = true;
                self.links_break(None);
            }
            Fault::Isolate { n, on } => {
                (0..NODES).filter(|m| *m != n).for_each(|m| self.cut(n, m, on));
                self.net.no_clients[n] = on;
            }
            Fault::Loss(per_mille) => self.net.loss = per_mille,
            Fault::Delay(ms) => self.net.delay_max = ms * MS,
            Fault::Amnesia(n) => self.lose_store(n),
            Fault::SlowDisk { n, times } => self.machines[n].slow = times,
            Fault::FailFlush { n, v, meta } => {
                self.machines[n].disks[v][usize::from(meta)].wrong.fail_flush = true
            }
            Fault::NoCopy { n, v, on } => self.machines[n].no_copy[v] = on,
            Fault::FailOpen { n, v, times } => self.machines[n].fail_open[v] = times,
            Fault::LinkCut { v, on } => {
                self.net.links_cut[v] = on;
                self.links_break(Some(v));
            }
            Fault::LostAnswers(per_mille) => self.quorum.lost_answers = per_mille,
            Fault::Drain { n, on } => self.drain_node(n, on),
        }
    }

    fn cut(&mut self, a: usize, b: usize, on: bool) {
        self.net.set_cut(a, b, on);
        if on && a + b == 1 {
            self.links_break(None);
        }
    }

    fn pure_cut(&mut self, on: bool) {
        match on {
            true => self.checks.r6.begins(),
            false => {
                let serving: Vec<Vec<usize>> =
                    [0, 1].iter().flat_map(|i| [self.serving(*i), self.answering(*i)]).collect();
                let verdict = self.checks.r6.one_survivor(&serving);
                self.judge("R6", verdict);
                self.checks.r6.ends();
            }
        }
        self.cut(0, 1, on);
    }

    /// One at a time: the loss of a majority's memory is the operator's affair (R8).
    fn lose_store(&mut self, n: usize) {
        let state = self.quorum.state();
        let lost = (0..NODES).any(|m| {
            state.members.get(&node_id(m)).is_none_or(|known| known.store != self.machines[m].store)
        });
        if lost {
            return;
        }
        self.kill(n, true);
        self.quorum.forget(n);
        self.machines[n].store = StoreId(u128::from(self.rng.draw()) << 8);
        self.start(n);
        let after = self.rng.between(1000, 4000);
        self.push(after * MS, Event::Replace(n));
    }

    fn drain_node(&mut self, node: usize, on: bool) {
        let says = (0..2).find(|n| self.procs[*n].is_some());
        if let Some(n) = says {
            self.tell_agent(n, MS, Input::Drain { node: node_id(node), on });
        }
    }

    /// The operator starts a node anew whose disk has failed, once that is well again.
    pub(crate) fn restart_if_failed(&mut self, n: usize) {
        if (0..2).any(|v| self.replica(n, v).is_some_and(|r| r.status().failed.is_some())) {
            self.kill(n, false);
            self.start(n);
        }
    }

    /// All faults end; the operator starts what does not run, and what has lost its disk.
    pub(crate) fn heal(&mut self) {
        self.say(|| "HEAL".to_owned());
        self.checks.r6.ends();
        self.net.heal();
        self.quorum.lost_answers = 0;
        self.wake_all();
        for n in 0..NODES {
            self.machines[n].slow = 1;
            self.machines[n].disks.iter_mut().flatten().for_each(|d| d.wrong.fail_flush = false);
            self.machines[n].fail_open = [0; 2];
            if self.machines[n].no_copy != [false; 2] {
                self.machines[n].no_copy = [false; 2];
                self.kill(n, false);
            }
            self.restart_if_failed(n);
            self.start(n);
            self.push(100 * MS, Event::Replace(n));
        }
        for n in 0..2 {
            self.push(1500 * MS, Event::Fault(Fault::Drain { n, on: false }));
        }
    }
}
