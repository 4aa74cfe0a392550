//! The one function that decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Address, At, Command, Expect, FORMAT, Member, Refused, Role, State, Status, Volume, limits};
use crate::{DeviceId, Incarnation, MembershipEpoch, NodeId, Revision, StoreId, VolumeId};

type Outcome = Result<(), Refused>;

/// The state after `command`, or why nothing changes. Pure: every member, and the simulator, gets
/// the same answer from the same arguments.
///
/// # Errors
/// [`Refused`], with the reason; the state stays as it is.
pub fn apply(state: &State, command: &Command) -> Result<State, Refused> {
    if let Command::Bootstrap(initial) = command {
        return bootstrap(state, initial);
    }
    if !state.is_initialised() {
        return Err(Refused::NotInitialised);
    }
    let mut next = state.clone();
    change(&mut next, command)?;
    Ok(next)
}

fn bootstrap(state: &State, initial: &State) -> Result<State, Refused> {
    if state.is_initialised() {
        return Err(Refused::AlreadyInitialised);
    }
    check_header(initial)
        .and_then(|()| check_members(initial))
        .and_then(|()| check_things(initial))
        .map_err(Refused::BadBootstrap)?;
    Ok(initial.clone())
}

fn check_header(s: &State) -> Result<(), String> {
    if s.format != FORMAT {
        return Err(format!("format {} is not {FORMAT}", s.format));
    }
    if !(100..=60_000).contains(&s.lease_ms) {
        return Err(format!("a lease of {} ms is not within 100 to 60000", s.lease_ms));
    }
    Ok(())
}

fn check_members(s: &State) -> Result<(), String> {
    let voters = s.voters().count();
    if s.members.is_empty() || s.members.len() > limits::MEMBERS {
        return Err(format!("{} members; 1 to {} are possible", s.members.len(), limits::MEMBERS));
    }
    if !(1..=limits::VOTERS).contains(&voters) {
        return Err(format!("{voters} voters; 1 to {} are possible", limits::VOTERS));
    }
    let mut names = BTreeSet::new();
    for (id, m) in &s.members {
        if m.name.is_empty() || m.name.len().max(m.peer.len()) > limits::TEXT_BYTES {
            return Err(format!("the name or peer address of {id} is empty or too long"));
        }
        if !names.insert(&m.name) {
            return Err(format!("two members are called {:?}", m.name));
        }
        if m.status != Status::Fenced {
            return Err(format!("{id} is in before it has asked"));
        }
    }
    Ok(())
}

fn check_things(s: &State) -> Result<(), String> {
    let node = |n: &NodeId| s.members.get(n).is_some_and(|m| m.role == Role::Node);
    if s.volumes.len() > limits::VOLUMES || s.addresses.len() > limits::ADDRESSES {
        return Err("too many volumes or addresses".into());
    }
    for (id, v) in &s.volumes {
        let known = v.replicas.keys().all(node) && v.replicas.contains_key(&v.home);
        let sound = v.leader.is_none() && v.in_sync.iter().all(|(n, d)| v.replicas.get(n) == Some(d));
        if !known || !sound || v.in_sync.is_empty() {
            return Err(format!("volume {id}: home, replicas, leader and in-sync set do not fit"));
        }
    }
    match s.addresses.iter().find(|(_, a)| a.owner.is_some() || !node(&a.home)) {
        Some((ip, _)) => Err(format!("address {ip} has an owner, or a home that is no node")),
        None => check_kv(s),
    }
}

fn check_kv(s: &State) -> Result<(), String> {
    let fits = s.kv.iter().all(|(k, v)| k.len() <= limits::KEY_BYTES && v.len() <= limits::VALUE_BYTES);
    if !fits || s.kv.len() > limits::KEYS || kv_bytes(&s.kv) > limits::KV_BYTES {
        return Err("the key-value space exceeds a limit".into());
    }
    Ok(())
}

fn change(s: &mut State, command: &Command) -> Outcome {
    match command {
        Command::Bootstrap(_) => Err(Refused::AlreadyInitialised),
        Command::Fence { target, by, membership_epoch, avoid } => {
            fence(s, *target, *by, *membership_epoch, avoid)
        }
        Command::Return { node, incarnation, store } => come_back(s, *node, *incarnation, *store),
        Command::Restarted { node, incarnation, store } => restarted(s, *node, *incarnation, *store),
        Command::JoinInSync { volume, at, node, device } => join(s, volume, *at, *node, *device),
        Command::LeaveInSync { volume, at, node } => leave(s, volume, *at, *node),
        Command::MoveVolume { volume, at, from, to, clean } => {
            move_volume(s, volume, *at, (*from, *to), *clean)
        }
        Command::ElectLeader { volume, at, node, device } => elect(s, volume, *at, *node, *device),
        Command::SetReplica { volume, at, node, device } => set_replica(s, volume, *at, *node, *device),
        Command::MoveAddress { address, revision, from, to } => {
            move_address(s, *address, *revision, *from, *to)
        }
        Command::SetVolumeHome { volume, home } => set_volume_home(s, volume, *home),
        Command::SetAddressHome { address, home } => set_address_home(s, *address, *home),
        Command::Drain { node, on } => drain(s, *node, *on),
        Command::Replace { node, store } => replace(s, *node, *store),
        Command::Put { key, value, expect } => put(s, key, value, expect),
        Command::Delete { key, expect } => delete(s, key, expect),
    }
}

// ---- members ----

fn fence(
    s: &mut State,
    target: NodeId,
    by: NodeId,
    seen: MembershipEpoch,
    avoid: &BTreeSet<NodeId>,
) -> Outcome {
    if seen != s.membership_epoch {
        return Err(Refused::StaleMembership { seen, now: s.membership_epoch });
    }
    if target == by {
        return Err(Refused::FencesItself(by));
    }
    require_up_node(s, by)?;
    require_up_node(s, target)?;
    throw_out(s, target, avoid)
}

fn throw_out(s: &mut State, target: NodeId, avoid: &BTreeSet<NodeId>) -> Outcome {
    let stint = require_up(s, target)?.stint;
    next_membership(s);
    member_mut(s, target)?.status = Status::Fenced;
    move_volumes_off(s, target, stint, avoid);
    move_addresses_off(s, target, stint, avoid);
    Ok(())
}

fn come_back(s: &mut State, node: NodeId, incarnation: Incarnation, store: StoreId) -> Outcome {
    let member = member_mut(s, node)?;
    if member.status == Status::Up {
        return Err(Refused::IsUp(node));
    }
    admit(s, node, incarnation, store)
}

fn restarted(s: &mut State, node: NodeId, incarnation: Incarnation, store: StoreId) -> Outcome {
    let member = require_up(s, node)?;
    if member.incarnation == incarnation {
        return Err(Refused::IsUp(node));
    }
    let stint = member.stint;
    admit(s, node, incarnation, store)?;
    for v in s.volumes.values_mut().filter(|v| v.leader == Some(node)) {
        orphan(v, node, stint);
    }
    for a in s.addresses.values_mut().filter(|a| a.owner == Some(node)) {
        give_address(a, None, Some((node, stint)));
    }
    Ok(())
}

fn admit(s: &mut State, node: NodeId, incarnation: Incarnation, store: StoreId) -> Outcome {
    if member_mut(s, node)?.store != store {
        return Err(Refused::ForeignStore(node));
    }
    let stint = next_membership(s);
    let member = member_mut(s, node)?;
    member.status = Status::Up;
    member.incarnation = incarnation;
    member.stint = stint;
    Ok(())
}

fn drain(s: &mut State, node: NodeId, on: bool) -> Outcome {
    require_node(s, node)?;
    member_mut(s, node)?.drained = on;
    Ok(())
}

fn replace(s: &mut State, node: NodeId, store: StoreId) -> Outcome {
    if member_mut(s, node)?.status == Status::Up {
        throw_out(s, node, &BTreeSet::new())?;
    }
    member_mut(s, node)?.store = store;
    next_membership(s);
    Ok(())
}

fn next_membership(s: &mut State) -> MembershipEpoch {
    s.membership_epoch = s.membership_epoch.next();
    s.membership_epoch
}

fn member_mut(s: &mut State, node: NodeId) -> Result<&mut Member, Refused> {
    s.members.get_mut(&node).ok_or(Refused::NoSuchMember(node))
}

fn require_up(s: &State, node: NodeId) -> Result<&Member, Refused> {
    match s.members.get(&node) {
        None => Err(Refused::NoSuchMember(node)),
        Some(m) if m.status == Status::Fenced => Err(Refused::IsFenced(node)),
        Some(m) => Ok(m),
    }
}

fn require_node(s: &State, node: NodeId) -> Outcome {
    match s.members.get(&node) {
        None => Err(Refused::NoSuchMember(node)),
        Some(m) if m.role == Role::Witness => Err(Refused::NotANode(node)),
        Some(_) => Ok(()),
    }
}

fn require_up_node(s: &State, node: NodeId) -> Outcome {
    require_node(s, node)?;
    require_up(s, node).map(|_| ())
}

// ---- volumes ----

/// R6: one commit moves everything. Volumes of others lose the target from their in-sync set; a volume
/// without a leader keeps it there, for nobody has written since.
fn move_volumes_off(s: &mut State, target: NodeId, stint: MembershipEpoch, avoid: &BTreeSet<NodeId>) {
    let names: Vec<VolumeId> = s.volumes.keys().cloned().collect();
    for name in names {
        let successor = successor(s, &name, target, avoid);
        let Some(v) = s.volumes.get_mut(&name) else { continue };
        match v.leader {
            Some(leader) if leader == target => match successor {
                Some(next) => take_over(v, next, target, stint),
                None => orphan(v, target, stint),
            },
            Some(_) if v.in_sync.iter().any(|(n, _)| *n == target) => {
                v.in_sync.retain(|(n, _)| *n != target);
                v.revision = v.revision.next();
            }
            _ => {}
        }
    }
}

/// R1: only from the in-sync set. Home first, then whoever leads least, then the lowest id.
fn successor(s: &State, name: &VolumeId, target: NodeId, avoid: &BTreeSet<NodeId>) -> Option<NodeId> {
    let v = s.volumes.get(name)?;
    let fit = |n: &NodeId| *n != target && !avoid.contains(n) && s.is_up_node(*n) && v.has_in_sync(*n);
    let rank = |n: &NodeId| (!s.is_welcome(*n), *n != v.home, s.led_by(*n), *n);
    v.replicas.keys().copied().filter(fit).min_by_key(rank)
}

fn take_over(v: &mut Volume, next: NodeId, from: NodeId, stint: MembershipEpoch) {
    v.in_sync.retain(|(n, _)| *n == next);
    v.prior.insert(from, stint);
    set_leader(v, Some(next));
}

fn orphan(v: &mut Volume, from: NodeId, stint: MembershipEpoch) {
    v.prior.insert(from, stint);
    set_leader(v, None);
}

fn set_leader(v: &mut Volume, leader: Option<NodeId>) {
    v.leader = leader;
    v.epoch = v.epoch.next();
    v.revision = v.revision.next();
}

fn volume_at<'a>(s: &'a mut State, name: &VolumeId, at: At) -> Result<&'a mut Volume, Refused> {
    let v = s.volumes.get_mut(name).ok_or_else(|| Refused::NoSuchVolume(name.clone()))?;
    if v.at() != at {
        return Err(Refused::StaleVolume { volume: name.clone(), seen: at, now: v.at() });
    }
    Ok(v)
}

fn require_led(v: &Volume, name: &VolumeId) -> Outcome {
    match v.leader {
        Some(_) => Ok(()),
        None => Err(Refused::LedBy { volume: name.clone(), leader: None }),
    }
}

fn require_device(v: &Volume, name: &VolumeId, node: NodeId, device: DeviceId) -> Outcome {
    match v.replicas.get(&node) {
        None => Err(Refused::NoReplica { node, volume: name.clone() }),
        Some(has) if *has != device => {
            Err(Refused::WrongDevice { node, volume: name.clone(), asked: device, has: *has })
        }
        Some(_) => Ok(()),
    }
}

fn join(s: &mut State, name: &VolumeId, at: At, node: NodeId, device: DeviceId) -> Outcome {
    require_up_node(s, node)?;
    let v = volume_at(s, name, at)?;
    require_led(v, name)?;
    require_device(v, name, node, device)?;
    if !v.in_sync.insert((node, device)) {
        return Err(Refused::IsInSync { node, volume: name.clone() });
    }
    v.revision = v.revision.next();
    Ok(())
}

fn leave(s: &mut State, name: &VolumeId, at: At, node: NodeId) -> Outcome {
    let v = volume_at(s, name, at)?;
    require_led(v, name)?;
    if v.leader == Some(node) {
        return Err(Refused::LeaderStays { node, volume: name.clone() });
    }
    let before = v.in_sync.len();
    v.in_sync.retain(|(n, _)| *n != node);
    if v.in_sync.len() == before {
        return Err(Refused::NotInSync { node, volume: name.clone() });
    }
    v.revision = v.revision.next();
    Ok(())
}

fn move_volume(s: &mut State, name: &VolumeId, at: At, (from, to): (NodeId, NodeId), clean: bool) -> Outcome {
    require_up_node(s, to)?;
    let v = volume_at(s, name, at)?;
    if v.leader != Some(from) {
        return Err(Refused::NotLeader { node: from, volume: name.clone() });
    }
    if !v.has_in_sync(to) {
        return Err(Refused::NotInSync { node: to, volume: name.clone() });
    }
    if !clean {
        v.in_sync.retain(|(n, _)| *n == to);
    }
    v.prior.clear();
    set_leader(v, Some(to));
    Ok(())
}

fn elect(s: &mut State, name: &VolumeId, at: At, node: NodeId, device: DeviceId) -> Outcome {
    require_up_node(s, node)?;
    let v = volume_at(s, name, at)?;
    if v.leader.is_some() {
        return Err(Refused::LedBy { volume: name.clone(), leader: v.leader });
    }
    require_device(v, name, node, device)?;
    if !v.has_in_sync(node) {
        return Err(Refused::NotInSync { node, volume: name.clone() });
    }
    v.in_sync.retain(|(n, _)| *n == node);
    set_leader(v, Some(node));
    Ok(())
}

fn set_replica(s: &mut State, name: &VolumeId, at: At, node: NodeId, device: DeviceId) -> Outcome {
    require_node(s, node)?;
    let v = volume_at(s, name, at)?;
    if v.leader == Some(node) {
        return Err(Refused::LeaderStays { node, volume: name.clone() });
    }
    if v.in_sync.iter().all(|(n, _)| *n == node) {
        return Err(Refused::NotInSync { node, volume: name.clone() });
    }
    v.in_sync.retain(|(n, _)| *n != node);
    v.replicas.insert(node, device);
    v.revision = v.revision.next();
    Ok(())
}

fn set_volume_home(s: &mut State, name: &VolumeId, home: NodeId) -> Outcome {
    let v = s.volumes.get_mut(name).ok_or_else(|| Refused::NoSuchVolume(name.clone()))?;
    if !v.replicas.contains_key(&home) {
        return Err(Refused::NoReplica { node: home, volume: name.clone() });
    }
    v.home = home;
    Ok(())
}

// ---- addresses ----

fn move_addresses_off(s: &mut State, target: NodeId, stint: MembershipEpoch, avoid: &BTreeSet<NodeId>) {
    let owned: Vec<IpAddr> =
        s.addresses.iter().filter(|(_, a)| a.owner == Some(target)).map(|(ip, _)| *ip).collect();
    for ip in owned {
        let Some(home) = s.addresses.get(&ip).map(|a| a.home) else { continue };
        let rank = |n: &NodeId| (!s.is_welcome(*n), *n != home, owned_by(s, *n), *n);
        let next = s.up_nodes().filter(|n| !avoid.contains(n)).min_by_key(rank);
        if let Some(a) = s.addresses.get_mut(&ip) {
            give_address(a, next, Some((target, stint)));
        }
    }
}

fn owned_by(s: &State, node: NodeId) -> usize {
    s.addresses.values().filter(|a| a.owner == Some(node)).count()
}

fn give_address(a: &mut Address, next: Option<NodeId>, from: Option<(NodeId, MembershipEpoch)>) {
    a.prior.extend(from);
    a.owner = next;
    a.revision = a.revision.next();
}

fn move_address(s: &mut State, ip: IpAddr, seen: Revision, from: Option<NodeId>, to: NodeId) -> Outcome {
    require_up_node(s, to)?;
    let a = s.addresses.get_mut(&ip).ok_or(Refused::NoSuchAddress(ip))?;
    if a.revision != seen {
        return Err(Refused::StaleAddress { address: ip, seen, now: a.revision });
    }
    if a.owner != from {
        return Err(Refused::OwnedBy { address: ip, owner: a.owner });
    }
    if from.is_some() {
        a.prior.clear();
    }
    give_address(a, Some(to), None);
    Ok(())
}

fn set_address_home(s: &mut State, ip: IpAddr, home: NodeId) -> Outcome {
    require_node(s, home)?;
    s.addresses.get_mut(&ip).ok_or(Refused::NoSuchAddress(ip))?.home = home;
    Ok(())
}

// ---- keys ----

fn kv_bytes(kv: &BTreeMap<String, Vec<u8>>) -> usize {
    kv.iter().map(|(k, v)| k.len() + v.len()).sum()
}

fn require_expected(s: &State, key: &str, expect: &Expect) -> Outcome {
    let met = match (expect, s.kv.get(key)) {
        (Expect::Anything, _) | (Expect::Absent, None) => true,
        (Expect::Value(wanted), Some(value)) => wanted == value,
        _ => false,
    };
    if met { Ok(()) } else { Err(Refused::Unexpected(key.to_owned())) }
}

fn within(what: &str, size: usize, limit: usize) -> Outcome {
    if size <= limit { Ok(()) } else { Err(Refused::TooLarge { what: what.to_owned(), limit }) }
}

fn put(s: &mut State, key: &str, value: &[u8], expect: &Expect) -> Outcome {
    within("the key", key.len(), limits::KEY_BYTES)?;
    within("the value", value.len(), limits::VALUE_BYTES)?;
    require_expected(s, key, expect)?;
    Arc::make_mut(&mut s.kv).insert(key.to_owned(), value.to_owned());
    within("the number of keys", s.kv.len(), limits::KEYS)?;
    within("the key-value space", kv_bytes(&s.kv), limits::KV_BYTES)
}

fn delete(s: &mut State, key: &str, expect: &Expect) -> Outcome {
    require_expected(s, key, expect)?;
    match Arc::make_mut(&mut s.kv).remove(key) {
        Some(_) => Ok(()),
        None => Err(Refused::Unexpected(key.to_owned())),
    }
}
