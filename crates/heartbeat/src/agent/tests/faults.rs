//! Any schedule of faults.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Fault {
    Kill(NodeId),
    Start(NodeId),
    Pause(NodeId, u64),
    Cut(NodeId, NodeId, bool),
    OneWay(NodeId, NodeId),
    Heal,
    Loss(u64),
    LoseOutcomes(bool),
    Drain(NodeId, bool),
    PeerLost(NodeId, bool),
}

fn any_node() -> impl Strategy<Value = NodeId> {
    prop_oneof![Just(A), Just(B), Just(W)]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        any_node().prop_map(Fault::Kill),
        any_node().prop_map(Fault::Start),
        (any_node(), 50..3000u64).prop_map(|(n, ms)| Fault::Pause(n, ms)),
        (any_node(), any_node(), any::<bool>()).prop_map(|(a, b, on)| Fault::Cut(a, b, on)),
        (any_node(), any_node()).prop_map(|(a, b)| Fault::OneWay(a, b)),
        Just(Fault::Heal),
        (2..9u64).prop_map(Fault::Loss),
        any::<bool>().prop_map(Fault::LoseOutcomes),
        (prop_oneof![Just(A), Just(B)], any::<bool>()).prop_map(|(n, on)| Fault::Drain(n, on)),
        (prop_oneof![Just(A), Just(B)], any::<bool>()).prop_map(|(n, disk)| Fault::PeerLost(n, disk)),
    ]
}

impl World {
    fn inflict(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(n) => self.kill(n),
            Fault::Start(n) if self.nodes.contains_key(&n) => {}
            Fault::Start(n) => self.start(n),
            Fault::Pause(n, ms) => self.pause(n, ms),
            Fault::Cut(a, b, on) => self.set_cut(a, b, on),
            Fault::OneWay(a, b) => drop(self.cut.insert((a, b))),
            Fault::Heal => self.heal(),
            Fault::Loss(every) => self.drop_every = every,
            Fault::LoseOutcomes(on) => self.dropped_outcomes = on,
            Fault::Drain(node, on) => self.drain(node, on),
            Fault::PeerLost(node, disk) => self.lose_peer(node, disk),
        }
    }

    pub(super) fn drain(&mut self, node: NodeId, on: bool) {
        if let Some(n) = self.nodes.get(&node) {
            let (to, life) = (node, n.life);
            self.push(0, Event::Input { to, life, input: Input::Drain { node, on } });
        }
    }

    pub(super) fn lose_peer(&mut self, leader: NodeId, disk: bool) {
        let Some(n) = self.nodes.get(&leader).filter(|n| self.runs(n)) else { return };
        let peer = if leader == A { B } else { A };
        for (volume, epoch) in n.open.clone() {
            self.links.insert((leader, volume.clone()), false);
            self.report(leader, 0, VolumeReport::PeerLost { volume, epoch, node: peer, disk });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Safety is checked at every step; when the faults end, everything comes home by itself.
    #[test]
    fn any_schedule_of_faults_keeps_one_server_and_ends_at_home(
        faults in prop::collection::vec((any_fault(), 1..1500u64), 1..25)
    ) {
        let mut world = World::started();
        for (fault, pause) in faults {
            world.inflict(fault);
            world.run(pause);
        }
        world.heal();
        world.dropped_outcomes = false;
        world.run(2000);
        world.drain(A, false);
        world.drain(B, false);
        world.run_until("home", 25_000, World::is_home);
    }
}
