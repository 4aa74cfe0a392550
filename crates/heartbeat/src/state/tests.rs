//! Laws of `apply`, over random commands.

use proptest::prelude::*;

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const W: NodeId = NodeId(4);

fn vol(n: u8) -> VolumeId {
    VolumeId::parse(&format!("vol{n}")).unwrap()
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn device(n: NodeId) -> DeviceId {
    DeviceId(n.0.into())
}

fn store(n: NodeId) -> StoreId {
    StoreId(n.0.into())
}

fn initial() -> State {
    let member = |n: NodeId, role| (n, Member::new(&format!("m{}", n.0), role, store(n), "-"));
    let volume = |home, on: &[NodeId]| Volume::new(home, on.iter().map(|n| (*n, device(*n))));
    State {
        format: FORMAT,
        lease_ms: 700,
        members: [
            member(A, Role::Node),
            member(B, Role::Node),
            member(C, Role::Node),
            member(W, Role::Witness),
        ]
        .into(),
        volumes: [(vol(1), volume(A, &[A, B])), (vol(2), volume(B, &[A, B, C]))].into(),
        addresses: [(ip(1), Address::new(A)), (ip(2), Address::new(B))].into(),
        ..State::default()
    }
}

fn run(state: &mut State, command: &Command) {
    *state = apply(state, command).unwrap_or_else(|e| panic!("{command:?}: {e}"));
}

fn came(node: NodeId) -> Command {
    Command::Return { node, incarnation: Incarnation(1), store: store(node) }
}

fn fence(state: &State, target: NodeId, by: NodeId, avoid: &[NodeId]) -> Command {
    let membership_epoch = state.membership_epoch;
    Command::Fence { target, by, membership_epoch, avoid: avoid.iter().copied().collect() }
}

fn elect(state: &State, volume: u8, node: NodeId) -> Command {
    let at = state.volumes[&vol(volume)].at();
    Command::ElectLeader { volume: vol(volume), at, node, device: device(node) }
}

fn join(state: &State, volume: u8, node: NodeId) -> Command {
    let at = state.volumes[&vol(volume)].at();
    Command::JoinInSync { volume: vol(volume), at, node, device: device(node) }
}

/// All in, each volume led from home with every replica in sync, each address at home.
fn running() -> State {
    let mut s = apply(&State::default(), &Command::Bootstrap(Box::new(initial()))).unwrap();
    [A, B, C, W].iter().for_each(|n| run(&mut s, &came(*n)));
    let e = elect(&s, 1, A);
    run(&mut s, &e);
    let e = elect(&s, 2, B);
    run(&mut s, &e);
    for (v, n) in [(1, B), (2, A), (2, C)] {
        let j = join(&s, v, n);
        run(&mut s, &j);
    }
    for (n, to) in [(1, A), (2, B)] {
        let revision = s.addresses[&ip(n)].revision;
        run(&mut s, &Command::MoveAddress { address: ip(n), revision, from: None, to });
    }
    s
}

#[test]
fn a_second_bootstrap_and_commands_before_the_first_are_refused() {
    let s = running();
    assert_eq!(apply(&s, &Command::Bootstrap(Box::new(initial()))), Err(Refused::AlreadyInitialised));
    assert_eq!(apply(&State::default(), &came(A)), Err(Refused::NotInitialised));
    let mut bad = initial();
    bad.volumes.get_mut(&vol(1)).unwrap().in_sync.clear();
    let refused = apply(&State::default(), &Command::Bootstrap(Box::new(bad)));
    assert!(matches!(refused, Err(Refused::BadBootstrap(_))), "{refused:?}");
}

#[test]
fn one_fence_moves_everything_of_its_target_in_one_commit() {
    let mut s = running();
    let (epoch, follower) = (s.volumes[&vol(1)].epoch, s.volumes[&vol(2)].clone());
    let f = fence(&s, A, B, &[]);
    run(&mut s, &f);
    let v = &s.volumes[&vol(1)];
    assert_eq!((v.leader, v.epoch), (Some(B), epoch.next()));
    assert_eq!(v.in_sync, [(B, device(B))].into(), "R1: a takeover starts alone");
    assert_eq!(v.prior.keys().collect::<Vec<_>>(), [&A]);
    let v = &s.volumes[&vol(2)];
    assert!(!v.has_in_sync(A) && v.epoch == follower.epoch && v.revision > follower.revision);
    assert_eq!(s.addresses[&ip(1)].owner, Some(C), "to who has least");
    let again =
        Command::Fence { target: B, by: A, membership_epoch: MembershipEpoch(4), avoid: BTreeSet::new() };
    assert!(matches!(apply(&s, &again), Err(Refused::StaleMembership { .. })), "R6: one survivor of a cut");
}

#[test]
fn a_fence_without_a_safe_successor_leaves_the_volume_to_who_has_all_of_it() {
    let mut s = running();
    let f = fence(&s, A, C, &[B]);
    run(&mut s, &f);
    let v = &s.volumes[&vol(1)];
    assert_eq!(v.leader, None);
    assert_eq!(v.in_sync.len(), 2, "nobody has written since: both still have everything");
    let e = elect(&s, 1, A);
    assert_eq!(apply(&s, &e), Err(Refused::IsFenced(A)));
    let e = elect(&s, 1, B);
    run(&mut s, &e);
    assert_eq!(s.volumes[&vol(1)].in_sync, [(B, device(B))].into());
}

#[test]
fn of_two_changes_made_from_one_view_only_one_commits() {
    let mut s = running();
    let at = s.volumes[&vol(2)].at();
    let leave = Command::LeaveInSync { volume: vol(2), at, node: C };
    let other = Command::LeaveInSync { volume: vol(2), at, node: A };
    run(&mut s, &leave);
    assert!(matches!(apply(&s, &other), Err(Refused::StaleVolume { .. })));
    assert!(matches!(apply(&s, &leave), Err(Refused::StaleVolume { .. })), "nor twice");
}

#[test]
fn a_planned_move_keeps_the_set_and_asks_nobody_to_wait() {
    let mut s = running();
    let at = s.volumes[&vol(2)].at();
    let to_b = Command::MoveVolume { volume: vol(2), at, from: B, to: A, clean: true };
    run(&mut s, &to_b);
    let v = &s.volumes[&vol(2)];
    assert_eq!((v.leader, v.in_sync.len(), v.prior.len()), (Some(A), 3, 0));
    let at = v.at();
    let dirty = Command::MoveVolume { volume: vol(2), at, from: A, to: C, clean: false };
    run(&mut s, &dirty);
    assert_eq!(s.volumes[&vol(2)].in_sync, [(C, device(C))].into());
}

#[test]
fn a_member_with_another_store_is_refused_until_it_is_replaced() {
    let mut s = running();
    let new = StoreId(77);
    let restarted = Command::Restarted { node: A, incarnation: Incarnation(2), store: new };
    assert_eq!(apply(&s, &restarted), Err(Refused::ForeignStore(A)));
    run(&mut s, &Command::Replace { node: A, store: new });
    assert_eq!(s.volumes[&vol(1)].leader, Some(B), "replacing a member that is in throws it out");
    assert_eq!(apply(&s, &came(A)), Err(Refused::ForeignStore(A)));
    run(&mut s, &Command::Return { node: A, incarnation: Incarnation(2), store: new });
}

#[test]
fn keys_are_compared_and_limited() {
    let mut s = running();
    let put = |value: &[u8], expect| Command::Put { key: "k".into(), value: value.into(), expect };
    run(&mut s, &put(b"1", Expect::Absent));
    assert_eq!(apply(&s, &put(b"2", Expect::Absent)), Err(Refused::Unexpected("k".into())));
    run(&mut s, &put(b"2", Expect::Value(b"1".to_vec())));
    let long = put(&vec![0; limits::VALUE_BYTES + 1], Expect::Anything);
    assert!(matches!(apply(&s, &long), Err(Refused::TooLarge { .. })));
    run(&mut s, &Command::Delete { key: "k".into(), expect: Expect::Value(b"2".to_vec()) });
    assert!(s.kv.is_empty());
}

// ---- laws ----

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![Just(A), Just(B), Just(C), Just(W), Just(NodeId(9))]
}

/// A command as somebody with a recent (`back` = 0) or an older view would propose it.
#[derive(Debug, Clone)]
struct Wish {
    kind: u8,
    volume: u8,
    x: NodeId,
    y: NodeId,
    flag: bool,
    back: u64,
}

fn wish() -> impl Strategy<Value = Wish> {
    (0..11u8, 1..3u8, node(), node(), any::<bool>(), prop_oneof![4 => Just(0), 1 => 1..3u64])
        .prop_map(|(kind, volume, x, y, flag, back)| Wish { kind, volume, x, y, flag, back })
}

impl Wish {
    fn command(&self, s: &State) -> Command {
        let Self { x, y, flag, back, .. } = *self;
        let (volume, address) = (vol(self.volume), ip(self.volume));
        let mut at = s.volumes[&volume].at();
        at.revision.0 = at.revision.0.saturating_sub(back);
        let membership_epoch = MembershipEpoch(s.membership_epoch.0.saturating_sub(back));
        let leader = s.volumes[&volume].leader.filter(|_| back == 0).unwrap_or(x);
        let a = &s.addresses[&address];
        let revision = Revision(a.revision.0.saturating_sub(back));
        let incarnation = Incarnation(s.membership_epoch.0 + back);
        let avoid = if flag { [y].into() } else { BTreeSet::new() };
        match self.kind {
            0 => Command::Fence { target: x, by: y, membership_epoch, avoid },
            1 | 2 => Command::Return { node: x, incarnation, store: store(x) },
            3 => Command::Restarted { node: x, incarnation, store: store(x) },
            4 => Command::JoinInSync { volume, at, node: x, device: device(x) },
            5 => Command::LeaveInSync { volume, at, node: x },
            6 => Command::MoveVolume { volume, at, from: leader, to: y, clean: flag },
            7 => Command::ElectLeader { volume, at, node: x, device: device(x) },
            8 => Command::SetReplica { volume, at, node: x, device: device(x) },
            9 => Command::MoveAddress { address, revision, from: a.owner, to: y },
            _ => Command::Drain { node: x, on: flag },
        }
    }
}

fn check_invariants(before: &State, after: &State) {
    assert!(after.membership_epoch >= before.membership_epoch);
    for (id, v) in &after.volumes {
        let old = &before.volumes[id];
        assert!(v.epoch >= old.epoch && v.revision >= old.revision, "epochs only grow");
        assert!(v.leader == old.leader || v.epoch > old.epoch, "another leader, another epoch");
        assert!(v == old || v.revision > old.revision, "every change shows in the revision");
        assert!(!v.in_sync.is_empty(), "somebody has everything");
        assert!(v.in_sync.iter().all(|(n, d)| v.replicas.get(n) == Some(d)));
        assert!(v.leader.is_none_or(|l| v.has_in_sync(l) && after.is_up_node(l)), "R1: {v:?}");
        let grown: Vec<_> = v.in_sync.difference(&old.in_sync).collect();
        assert!(grown.len() <= 1 && (grown.is_empty() || v.epoch == old.epoch), "only a join adds");
        let handed_over = v.leader != old.leader && old.leader.is_some();
        let waits = old.leader.is_some_and(|l| v.prior.contains_key(&l));
        assert!(
            !handed_over || waits || after.is_up_node(old.leader.unwrap()),
            "whoever was thrown out is waited for"
        );
    }
    for (ip, a) in &after.addresses {
        assert!(a.owner.is_none_or(|o| after.is_up_node(o)), "{ip} belongs to one that is in");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_command_breaks_an_invariant_and_a_refused_one_changes_nothing(
        wishes in prop::collection::vec(wish(), 1..60)
    ) {
        let mut state = running();
        for wish in wishes {
            let command = wish.command(&state);
            let before = state.clone();
            match apply(&state, &command) {
                Ok(next) => {
                    check_invariants(&before, &next);
                    prop_assert_eq!(&apply(&before, &command).unwrap(), &next, "deterministic");
                    state = next;
                }
                Err(_) => prop_assert_eq!(&state, &before),
            }
            if let (Command::Fence { target, .. }, true) = (&command, state != before) {
                prop_assert!(state.volumes.values().all(|v| v.leader != Some(*target)));
                prop_assert!(state.addresses.values().all(|a| a.owner != Some(*target)), "a fence moves all");
            }
        }
    }

    #[test]
    fn states_and_commands_survive_the_wire(wishes in prop::collection::vec(wish(), 1..10)) {
        let mut state = running();
        for wish in wishes {
            let command = wish.command(&state);
            let bytes = postcard::to_stdvec(&command).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Command>(&bytes).unwrap(), command.clone());
            state = apply(&state, &command).unwrap_or(state);
            let bytes = postcard::to_stdvec(&state).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<State>(&bytes).unwrap(), &state);
        }
    }
}
