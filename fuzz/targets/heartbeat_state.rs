//! Whatever commands reach the quorum: epochs, revisions and stints only grow, a volume is led by a
//! member of its in-sync set that is in, and a refusal changes nothing; commands and states that decode
//! come back from their encoding.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::Script;
use posthaste_heartbeat::state::*;
use posthaste_heartbeat::*;

const STORE: StoreId = StoreId(1);

fn address(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n % 2 + 1))
}

fn volume(n: u8) -> VolumeId {
    VolumeId::parse(if n & 1 == 0 { "vol1" } else { "vol2" }).expect("a name")
}

fn node(script: &mut Script<'_>) -> NodeId {
    NodeId(u64::from(script.byte() % 4) + 1)
}

fn initial() -> State {
    let member = |n: u64| (NodeId(n), Member::new(&format!("m{n}"), role(n), STORE, "-"));
    let replicas = || [1, 2].map(|n| (NodeId(n), DeviceId(u128::from(n))));
    State {
        format: FORMAT,
        cluster: ClusterId(1),
        lease_ms: 700,
        members: [1, 2, 3].map(member).into(),
        volumes: [
            (volume(0), Volume::new(NodeId(1), replicas())),
            (volume(1), Volume::new(NodeId(2), replicas())),
        ]
        .into(),
        addresses: [(address(0), Address::new(NodeId(1))), (address(1), Address::new(NodeId(2)))].into(),
        ..State::default()
    }
}

fn role(n: u64) -> Role {
    if n == 3 { Role::Witness } else { Role::Node }
}

/// A command that may well fit the state: the views are the present ones, or a little off.
fn command(state: &State, script: &mut Script<'_>) -> Command {
    let (kind, which) = (script.byte(), script.byte());
    let stale = u64::from(which >> 7);
    let volume = volume(which);
    let at = state.volumes.get(&volume).map_or(At { epoch: Epoch(0), revision: Revision(0) }, |v| At {
        epoch: Epoch(v.epoch.0.saturating_sub(stale)),
        revision: v.revision,
    });
    let store = StoreId(1 + u128::from(which >> 6 & 1));
    let incarnation = Incarnation(u64::from(which >> 4));
    let device = |script: &mut Script<'_>| DeviceId(u128::from(script.byte() % 4));
    match kind % 16 {
        0 => Command::Bootstrap(Box::new(initial())),
        1 | 2 => Command::Fence {
            target: node(script),
            by: node(script),
            membership_epoch: MembershipEpoch(state.membership_epoch.0.saturating_sub(stale)),
            avoid: if which & 64 == 0 { [].into() } else { [node(script)].into() },
        },
        3 | 4 => Command::Return { node: node(script), incarnation, store },
        5 => Command::Restarted { node: node(script), incarnation, store },
        6 => Command::JoinInSync { volume, at, node: node(script), device: device(script) },
        7 => Command::LeaveInSync { volume, at, node: node(script) },
        8 => {
            let (from, to) = (node(script), node(script));
            Command::MoveVolume { volume, at, from, to, clean: which & 64 == 0 }
        }
        9 | 10 => Command::ElectLeader { volume, at, node: node(script), device: device(script) },
        11 => Command::SetReplica { volume, at, node: node(script), device: device(script) },
        12 => {
            let address = address(which);
            let known = state.addresses.get(&address);
            let revision = known.map_or(Revision(0), |a| Revision(a.revision.0.saturating_sub(stale)));
            Command::MoveAddress { address, revision, from: known.and_then(|a| a.owner), to: node(script) }
        }
        13 if which & 1 == 0 => Command::SetVolumeHome { volume, home: node(script) },
        13 => Command::SetAddressHome { address: address(which), home: node(script) },
        14 if which & 1 == 0 => Command::Drain { node: node(script), on: which & 2 == 0 },
        14 => Command::Replace { node: node(script), store },
        _ if which & 1 == 0 => {
            let expect = if which & 2 == 0 { Expect::Anything } else { Expect::Absent };
            Command::Put { key: format!("k{}", which >> 6), value: vec![which], expect }
        }
        _ => Command::Delete { key: format!("k{}", which >> 6), expect: Expect::Value(vec![which]) },
    }
}

fn is_sound(state: &State) {
    for (name, volume) in &state.volumes {
        assert!(!volume.in_sync.is_empty(), "{name} has no replica");
        if let Some(leader) = volume.leader {
            assert!(state.is_up_node(leader), "{name} is led by {leader}, which is out");
            assert!(volume.has_in_sync(leader), "{name} is led by {leader}, which is not in sync");
            assert!(!volume.prior.contains_key(&leader) || volume.epoch.0 > 0);
        }
    }
    for (ip, address) in &state.addresses {
        assert!(address.owner.is_none_or(|owner| state.is_up_node(owner)), "{ip} is owned by one who is out");
    }
}

fn only_grows(old: &State, new: &State) {
    assert!(new.membership_epoch >= old.membership_epoch && new.generation >= old.generation);
    for (id, member) in &new.members {
        let before = &old.members[id];
        assert!(member.stint >= before.stint);
        assert!(member.status == before.status || new.membership_epoch > old.membership_epoch);
    }
    for (name, volume) in &new.volumes {
        let before = &old.volumes[name];
        assert!(volume.epoch >= before.epoch && volume.revision >= before.revision, "{name} goes back");
        let led = volume.leader == before.leader || volume.epoch > before.epoch;
        assert!(led, "{name} has two leaders in one epoch");
        let same = volume.in_sync == before.in_sync
            && volume.leader == before.leader
            && volume.prior == before.prior;
        assert!(
            same || volume.revision > before.revision || volume.epoch > before.epoch,
            "{name}: no new revision"
        );
        // R1: who leads next was in sync before.
        if volume.leader != before.leader {
            assert!(
                volume.leader.is_none_or(|next| before.has_in_sync(next)),
                "{name} is led by one not in sync"
            );
        }
    }
    for (ip, address) in &new.addresses {
        let before = &old.addresses[ip];
        assert!(address.owner == before.owner || address.revision > before.revision, "{ip}: no new revision");
    }
}

fn decodes(data: &[u8]) {
    if let Ok(command) = postcard::from_bytes::<Command>(data) {
        let encoded = postcard::to_stdvec(&command).expect("plain data");
        assert_eq!(postcard::from_bytes::<Command>(&encoded).as_ref(), Ok(&command));
        let started =
            apply(&State::default(), &Command::Bootstrap(Box::new(initial()))).expect("a sound state");
        for state in [State::default(), started] {
            if let Ok(next) = apply(&state, &command) {
                is_sound(&next);
            }
        }
    }
    if let Ok(state) = postcard::from_bytes::<State>(data) {
        let encoded = postcard::to_stdvec(&state).expect("plain data");
        assert_eq!(postcard::from_bytes::<State>(&encoded).as_ref(), Ok(&state));
        if let Ok(started) = apply(&State::default(), &Command::Bootstrap(Box::new(state))) {
            is_sound(&started);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    if script.byte() & 1 == 1 {
        return decodes(script.0);
    }
    let mut state = State::default();
    while !script.is_over() {
        let command = command(&state, &mut script);
        if let Ok(next) = apply(&state, &command) {
            assert_eq!(apply(&state, &command).as_ref(), Ok(&next), "the same command, another answer");
            if state.is_initialised() {
                only_grows(&state, &next);
            }
            is_sound(&next);
            state = next;
        }
    }
    let encoded = postcard::to_stdvec(&state).expect("plain data");
    assert_eq!(postcard::from_bytes::<State>(&encoded).as_ref(), Ok(&state));
});
