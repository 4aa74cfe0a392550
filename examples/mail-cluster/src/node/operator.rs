//! Answering the operator: status, users, drain, verify.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use posthaste_blockrepl as repl;
use posthaste_blockrepl::core::{LinkStatus, VerifyReport};
use posthaste_heartbeat::agent::{Input, Status};
use posthaste_heartbeat::consensus::{Consensus, ProposeError};
use posthaste_heartbeat::state::{self, Command, Expect, State};
use posthaste_heartbeat::{DeviceId, NodeId, VolumeId};
use posthaste_mail_server::store::User;

use super::accounts as directory;
use super::bootstrap::Lobby;
use super::quorum::AgentHandle;
use super::replica::Replica;
use super::services::Counters;
use super::volumes::OpenStores;
use crate::accounts::{self, Account};
use crate::admin::{AdminHandler, AdminReply, AdminRequest, Progress, Refusal, UserRow, VerifyRow};
use crate::config::{Config, Role};
use crate::status::{AddressStatus, MemberStatus, ReplicaStatus, StatusReport, VolumeStatus};

/// Longest wait for a drain, or for the end of one.
const DRAIN: Duration = Duration::from_secs(30);

/// What the operator's questions are answered from.
pub(crate) struct Operator {
    pub(crate) config: Arc<Config>,
    pub(crate) agent: AgentHandle,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) quorum_leader: Arc<dyn Fn() -> Option<NodeId> + Send + Sync>,
    pub(crate) replicas: Vec<Replica>,
    /// Copies that cannot be used, and why not.
    pub(crate) refused: BTreeMap<VolumeId, String>,
    /// Where other members introduce themselves.
    pub(crate) lobby: Arc<Lobby>,
    pub(crate) open: OpenStores,
    pub(crate) sessions: Counters,
}

#[async_trait]
impl AdminHandler for Operator {
    async fn handle(&self, request: AdminRequest, progress: Progress) -> AdminReply {
        let answer = match request {
            AdminRequest::Status => self.status().await,
            AdminRequest::UserAdd { name, password, volume } => self.add_user(&name, password, volume).await,
            AdminRequest::UserPasswd { name, password } => self.change_password(&name, password).await,
            AdminRequest::UserList => self.list_users().await,
            AdminRequest::UserDel { name } => self.delete_user(&name).await,
            AdminRequest::Drain { node, on } => self.drain(&node, on, &progress).await,
            AdminRequest::Replace { member } => self.replace(&member, &progress).await,
            AdminRequest::Verify { volume } => self.verify(volume, &progress).await,
        };
        answer.unwrap_or_else(|refused| refused)
    }
}

type Answer = Result<AdminReply, AdminReply>;

fn bad(text: impl Into<String>) -> AdminReply {
    AdminReply::refused(Refusal::BadRequest, text)
}

fn failed(text: impl Into<String>) -> AdminReply {
    AdminReply::refused(Refusal::Failed, text)
}

fn no_quorum(error: &ProposeError) -> AdminReply {
    match error {
        ProposeError::NoLeader(_) | ProposeError::NoQuorum(_) => {
            AdminReply::refused(Refusal::NoQuorum, error.to_string())
        }
        _ => failed(error.to_string()),
    }
}

impl Operator {
    async fn propose(&self, command: Command) -> Result<(), AdminReply> {
        let applied = self.consensus.propose(command).await.map_err(|e| no_quorum(&e))?;
        applied.outcome.map_err(|refused| bad(refused.to_string()))
    }

    async fn state(&self) -> Result<Arc<State>, AdminReply> {
        let read = self.consensus.read_linearizable().await;
        let state = read.map_err(|e| no_quorum(&e))?.state;
        if state.is_initialised() {
            return Ok(state);
        }
        Err(AdminReply::refused(
            Refusal::NoQuorum,
            "the cluster has not been started: not all members have met yet",
        ))
    }

    // ---- users ----

    fn user(&self, name: &str) -> Result<User, AdminReply> {
        let name =
            accounts::parse_name(name, &self.config.cluster.domains).map_err(|e| bad(e.to_string()))?;
        User::parse(&name).map_err(|e| bad(e.to_string()))
    }

    async fn hash(&self, password: String) -> Result<String, AdminReply> {
        let hashed = tokio::task::spawn_blocking(move || accounts::hash(password.as_bytes())).await;
        hashed.map_err(|e| failed(e.to_string()))?.map_err(|e| bad(e.to_string()))
    }

    async fn add_user(&self, name: &str, password: String, volume: Option<String>) -> Answer {
        let user = self.user(name)?;
        let state = self.state().await?;
        let volume = match volume {
            Some(name) => known_volume(&state, &name)?,
            None => emptiest(&state).ok_or_else(|| bad("the cluster has no volume"))?,
        };
        let account = Account { hash: self.hash(password).await?, volume: volume.clone() };
        if directory::find(&state, &user).is_some() {
            return Err(bad(format!("{user} exists already")));
        }
        let key = accounts::key(user.as_str());
        self.propose(Command::Put { key, value: accounts::encode(&account), expect: Expect::Absent }).await?;
        Ok(AdminReply::done(format!("{user} can log in; the mail is on {volume}")))
    }

    async fn change_password(&self, name: &str, password: String) -> Answer {
        let user = self.user(name)?;
        let state = self.state().await?;
        let old = directory::find(&state, &user).ok_or_else(|| bad(format!("there is no user {user}")))?;
        let new = Account { hash: self.hash(password).await?, volume: old.volume.clone() };
        let key = accounts::key(user.as_str());
        let expect = Expect::Value(accounts::encode(&old));
        self.propose(Command::Put { key, value: accounts::encode(&new), expect }).await?;
        Ok(AdminReply::done(format!("{user} has a new password")))
    }

    async fn list_users(&self) -> Answer {
        let state = self.state().await?;
        let row = |(key, value): (&String, &Vec<u8>)| {
            let name = accounts::name_of(key)?.to_owned();
            let volume = accounts::decode(value).map_or_else(|e| e.to_string(), |a| a.volume.to_string());
            Some(UserRow { name, volume })
        };
        Ok(AdminReply::Users { users: state.kv.iter().filter_map(row).collect() })
    }

    async fn delete_user(&self, name: &str) -> Answer {
        let user = self.user(name)?;
        let state = self.state().await?;
        let old = directory::find(&state, &user).ok_or_else(|| bad(format!("there is no user {user}")))?;
        let key = accounts::key(user.as_str());
        self.propose(Command::Delete { key, expect: Expect::Value(accounts::encode(&old)) }).await?;
        Ok(AdminReply::done(format!("{user} is removed; the mail stays on {}", old.volume)))
    }

    // ---- drain ----

    async fn drain(&self, name: &str, on: bool, progress: &Progress) -> Answer {
        let state = self.state().await?;
        let member = self.config.members.iter().find(|m| m.name == name && m.role == Role::Node);
        let node = member.ok_or_else(|| bad(format!("there is no node {name}")))?.id;
        if on
            && !state
                .members
                .iter()
                .any(|(id, m)| *id != node && m.role == state::Role::Node && state.is_welcome(*id))
        {
            return Err(bad(format!("no other node is up to take what {name} has")));
        }
        self.agent.tell(Input::Drain { node, on });
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < DRAIN {
            let state = self.state().await?;
            let drained = state.members.get(&node).is_some_and(|m| m.drained);
            let left = owned(&state, node);
            if drained == on && (!on || left.is_empty()) {
                let what = if on { "holds nothing and gets nothing" } else { "may serve again" };
                return Ok(AdminReply::done(format!("{name} {what}")));
            }
            if on {
                progress.say(format!("{name} still has {}", left.join(", ")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(failed(format!("{name} is not drained after {} s; see `posthaste status`", DRAIN.as_secs())))
    }

    // ---- replace ----

    /// Accepts a member's new store (R7) and its new, empty devices, which are then resynced (R1).
    async fn replace(&self, name: &str, progress: &Progress) -> Answer {
        let member = self.config.members.iter().find(|m| m.name == name);
        let node = member.ok_or_else(|| bad(format!("there is no member {name}")))?.id;
        let new = self.lobby.introduction_of(node).await.map_err(|why| bad(format!("{name}: {why}")))?;
        let state = self.state().await?;
        let mut done = Vec::new();
        if state.members.get(&node).is_some_and(|m| m.store != new.store) {
            self.propose(Command::Replace { node, store: new.store }).await?;
            done.push("its new store votes".to_owned());
        }
        for (volume, device) in new.devices {
            progress.say(format!("looking at the copy of {volume}"));
            done.extend(self.accept_device(node, &volume, device).await?);
        }
        match done.is_empty() {
            true => Err(bad(format!("{name} has its store and devices still: there is nothing to replace"))),
            false => Ok(AdminReply::done(format!("{name}: {}; see `posthaste status`", done.join(", ")))),
        }
    }

    /// What became of it, if it is a new one. A leader that is just changing something is waited for.
    async fn accept_device(
        &self,
        node: NodeId,
        volume: &VolumeId,
        device: DeviceId,
    ) -> Result<Option<String>, AdminReply> {
        let begun = tokio::time::Instant::now();
        loop {
            let state = self.state().await?;
            let Some(v) = state.volumes.get(volume).filter(|v| v.replicas.contains_key(&node)) else {
                return Ok(None);
            };
            if v.replicas.get(&node) == Some(&device) {
                return Ok(None);
            }
            if v.in_sync.iter().all(|(n, _)| *n == node) {
                let lost = format!("{volume} had all its mail on the lost copy alone: the new one stays out");
                return Ok(Some(lost));
            }
            let command = Command::SetReplica { volume: volume.clone(), at: v.at(), node, device };
            match self.propose(command).await {
                Ok(()) => return Ok(Some(format!("its new copy of {volume} is filled"))),
                Err(refused) if begun.elapsed() > DRAIN => return Err(refused),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    // ---- verify ----

    async fn verify(&self, name: Option<String>, progress: &Progress) -> Answer {
        let state = self.state().await?;
        let wanted = match name {
            Some(name) => vec![known_volume(&state, &name)?],
            None => state.volumes.keys().cloned().collect(),
        };
        let mut volumes = Vec::new();
        for volume in wanted {
            progress.say(format!("comparing the copies of {volume}"));
            volumes.push(self.verify_one(&state, &volume).await);
        }
        Ok(AdminReply::Verified { volumes })
    }

    async fn verify_one(&self, state: &State, volume: &VolumeId) -> VerifyRow {
        let leader = state.volumes.get(volume).and_then(|v| v.leader);
        let mut row = VerifyRow {
            volume: volume.to_string(),
            compared: 0,
            replicas: Vec::new(),
            differing: 0,
            error: None,
        };
        let Some(replica) =
            self.replicas.iter().find(|r| r.name == *volume).filter(|_| leader == Some(self.config.node.id))
        else {
            let whose = leader.map_or("nobody".to_owned(), |id| state.name_of(id));
            row.error = Some(format!("ask its leader, which is {whose}"));
            return row;
        };
        match replica.volume.verify().await {
            Ok(report) => self.fill(&mut row, state, &report),
            Err(error) => row.error = Some(error.to_string()),
        }
        row
    }

    fn fill(&self, row: &mut VerifyRow, state: &State, report: &VerifyReport) {
        let name = |node: &repl::NodeId| state.name_of(NodeId(node.0));
        row.compared = report.checked_bytes;
        row.replicas =
            std::iter::once(self.config.node.name.clone()).chain(report.peers.iter().map(name)).collect();
        row.differing = report.differing.len() as u64;
        if !report.incomplete.is_empty() {
            let lost: Vec<String> = report.incomplete.iter().map(name).collect();
            row.error = Some(format!("the link to {} broke meanwhile", lost.join(", ")));
        } else if report.peers.is_empty() {
            row.error = Some("no other copy is in step now".to_owned());
        }
    }

    // ---- status ----

    async fn status(&self) -> Answer {
        let status = self.agent.status().await.ok_or_else(|| failed("the node is ending"))?;
        let name = |id: NodeId| self.name(id);
        let report = StatusReport {
            reporter: self.config.node.name.clone(),
            cluster: self.config.cluster.name.clone(),
            cluster_id: self.config.cluster.id.to_string(),
            quorum: hears_majority(&status),
            quorum_leader: (self.quorum_leader)().map(name),
            membership_epoch: status.membership_epoch.0,
            generation: 0,
            lease_left_ms: status
                .serving
                .then(|| u64::try_from(status.lease_remaining.as_millis()).unwrap_or(0)),
            members: status.members.iter().map(|m| self.member(&status, m)).collect(),
            volumes: status.volumes.iter().map(|v| self.volume(v)).collect(),
            addresses: status.addresses.iter().map(|a| self.address(a)).collect(),
            sessions: self.sessions.report(),
            waiting: self
                .unusable()
                .chain(self.unknown_copies(&status))
                .chain(status.waits.clone())
                .collect(),
        };
        Ok(AdminReply::Status { report: Box::new(report) })
    }

    fn unusable(&self) -> impl Iterator<Item = String> {
        let me = &self.config.node.name;
        self.refused
            .iter()
            .map(move |(volume, why)| format!("{volume}: the copy on {me} cannot be used: {why}"))
    }

    /// Copies that the quorum does not know: made anew after the loss of a disk.
    fn unknown_copies(&self, status: &Status) -> impl Iterator<Item = String> {
        let node = self.config.node.id;
        let is_new = move |v: &&posthaste_heartbeat::agent::VolumeStatus| {
            let own = self.replicas.iter().find(|r| r.name == v.id);
            own.is_some_and(|own| v.replicas.get(&node).is_some_and(|known| *known != own.device))
        };
        let me = &self.config.node.name;
        let new: Vec<String> = status.volumes.iter().filter(is_new).map(|v| v.id.to_string()).collect();
        new.into_iter().map(move |volume| {
            format!(
                "{volume}: the copy on {me} is new; `posthaste replace {me}` on another member accepts it"
            )
        })
    }

    fn name(&self, id: NodeId) -> String {
        let member = self.config.members.iter().find(|m| m.id == id);
        member.map_or_else(|| id.to_string(), |m| m.name.clone())
    }

    fn member(&self, status: &Status, m: &posthaste_heartbeat::agent::MemberStatus) -> MemberStatus {
        let role = if m.role == state::Role::Node { Role::Node } else { Role::Witness };
        MemberStatus {
            name: m.name.clone(),
            id: m.id.0,
            role,
            up: m.up,
            heard: (m.id != status.me).then_some(m.alive),
            drained: m.drained,
        }
    }

    fn address(&self, a: &posthaste_heartbeat::agent::AddressStatus) -> AddressStatus {
        let mine = a.owner == Some(self.config.node.id);
        let state = match (&a.waits, mine) {
            (Some(why), _) => why.clone(),
            (None, true) => "held".to_owned(),
            (None, false) => String::new(),
        };
        AddressStatus {
            ip: a.address,
            owner: a.owner.map(|id| self.name(id)),
            home: self.name(a.home),
            state,
        }
    }

    fn volume(&self, v: &posthaste_heartbeat::agent::VolumeStatus) -> VolumeStatus {
        let local = self.replicas.iter().find(|r| r.name == v.id);
        let picture = local.map(|r| r.volume.status());
        let replicas = v.replicas.keys().map(|node| self.replica(*node, v, picture.as_ref())).collect();
        let space = self.open.find(&v.id).map(|fs| fs.space());
        let mut state = match self.refused.get(&v.id) {
            Some(_) => "copy not usable".to_owned(),
            None => v.here.clone(),
        };
        if let Some(why) = picture.as_ref().and_then(|p| p.waiting.first()) {
            state = format!("{state}, {why}");
        }
        if let Some(why) = &v.waits {
            state = format!("{state}: {why}");
        }
        VolumeStatus {
            name: v.id.to_string(),
            leader: v.leader.map(|id| self.name(id)),
            home: self.name(v.home),
            epoch: v.epoch.0,
            generation: v.generation.0,
            in_sync: v.in_sync.iter().map(|id| self.name(*id)).collect(),
            replicas,
            state,
            used_bytes: space.map(|(free, all)| all - free.min(all)),
            free_bytes: space.map(|(free, _)| free),
            sent_bytes: local.map(Replica::bytes_sent),
            written_bytes: local.map(|r| r.volume.written()).map(|written| written.data + written.meta),
        }
    }

    fn replica(
        &self,
        node: NodeId,
        v: &posthaste_heartbeat::agent::VolumeStatus,
        picture: Option<&repl::core::Status>,
    ) -> ReplicaStatus {
        let peer = picture
            .and_then(|p| p.peers.iter().find(|peer| peer.node.0 == node.0).map(|peer| (peer, p.size)));
        let (percent, state) = match (v.in_sync.contains(&node), peer) {
            (true, Some((peer, _))) if peer.link == LinkStatus::Down => {
                (Some(100.0), "in sync, disconnected".to_owned())
            }
            (true, _) => (Some(100.0), "in sync".to_owned()),
            (false, Some((peer, size))) if peer.link == LinkStatus::Syncing => {
                let right = 1.0 - peer.dirty_bytes as f64 / size.max(1) as f64;
                (Some((right * 100.0) as f32), "resync".to_owned())
            }
            (false, Some((peer, _))) if peer.link == LinkStatus::Down => (None, "disconnected".to_owned()),
            (false, _) => (None, "not in sync".to_owned()),
        };
        ReplicaStatus { node: self.name(node), percent, state }
    }
}

fn hears_majority(status: &Status) -> bool {
    let alive = status.members.iter().filter(|m| m.alive).count();
    status.index.is_some() && alive * 2 > status.members.len()
}

fn known_volume(state: &State, name: &str) -> Result<VolumeId, AdminReply> {
    let known = VolumeId::parse(name).ok().filter(|id| state.volumes.contains_key(id));
    known.ok_or_else(|| {
        let all: Vec<&str> = state.volumes.keys().map(VolumeId::as_str).collect();
        bad(format!("there is no volume {name}; volumes are {}", all.join(", ")))
    })
}

/// The volume with the fewest users.
fn emptiest(state: &State) -> Option<VolumeId> {
    let users: Vec<VolumeId> = state
        .kv
        .iter()
        .filter(|(key, _)| accounts::name_of(key).is_some())
        .filter_map(|(_, value)| accounts::decode(value).ok().map(|account| account.volume))
        .collect();
    state.volumes.keys().min_by_key(|volume| users.iter().filter(|v| v == volume).count()).cloned()
}

/// What `node` leads and which addresses it has, in words.
fn owned(state: &State, node: NodeId) -> Vec<String> {
    let volumes = state.volumes.iter().filter(|(_, v)| v.leader == Some(node)).map(|(id, _)| id.to_string());
    let addresses =
        state.addresses.iter().filter(|(_, a)| a.owner == Some(node)).map(|(ip, _)| ip.to_string());
    volumes.chain(addresses).collect()
}
