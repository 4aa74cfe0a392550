//! The operator of the demo's cluster: asks its members over their sockets, and waits for states.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::cluster::{A, B, Cluster, NAMES, WITNESS};
use crate::admin::{AdminReply, AdminRequest, VerifyRow, ask};
use crate::status::StatusReport;

/// The volumes' names, in the order of their homes.
pub const VOLUMES: [&str; 2] = ["vol1", "vol2"];

/// How long the members may take to form a cluster.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long one answer of a member may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// How often a state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A state of the cluster to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Every volume and address is led where it is at home, with both replicas in sync.
    AtHome,
    /// Every volume has both replicas in sync.
    InSync,
    /// One node leads every volume and has every address.
    AllOn(usize),
    /// As [`Goal::AllOn`], whichever node it is; only that node is asked.
    AllOnOne,
}

impl Cluster {
    /// Starts every member and waits until all is at home and clients can connect.
    ///
    /// # Errors
    /// A process that does not start or ends by itself, or a cluster that does not form.
    pub async fn start_all(&mut self) -> Result<(), String> {
        for member in [A, B, WITNESS] {
            self.start(member)?;
        }
        self.wait(Goal::AtHome, START_PATIENCE).await?;
        self.wait_for_doors(START_PATIENCE).await
    }

    /// Makes the users.
    ///
    /// # Errors
    /// What a member said.
    pub async fn add_users(&self) -> Result<(), String> {
        for person in &self.world().people {
            let volume = Some(VOLUMES[person.volume].to_owned());
            let (name, password) = (person.address.clone(), person.password.clone());
            self.done(A, AdminRequest::UserAdd { name, password, volume }).await?;
        }
        Ok(())
    }

    /// Drains a node, or ends that, by the hand of the other node.
    ///
    /// # Errors
    /// What the member said.
    pub async fn drain(&self, member: usize, on: bool) -> Result<(), String> {
        let other = if member == A { B } else { A };
        self.done(other, AdminRequest::Drain { node: NAMES[member].into(), on }).await
    }

    /// Compares the replicas of all volumes on line, each on its leader. Returns the bytes compared
    /// and what is wrong.
    ///
    /// # Errors
    /// What the members said.
    pub async fn verify(&self) -> Result<(u64, Vec<String>), String> {
        let (mut bytes, mut faults) = (0, Vec::new());
        for volume in self.status(A).await?.volumes {
            let leader = NAMES.iter().position(|name| volume.leader.as_deref() == Some(name));
            let leader = leader.ok_or_else(|| format!("nobody leads {}", volume.name))?;
            let rows =
                match self.ask(leader, AdminRequest::Verify { volume: Some(volume.name.clone()) }).await? {
                    AdminReply::Verified { volumes } => volumes,
                    other => return Err(format!("verify was answered by {other:?}")),
                };
            let both =
                rows.iter().any(|row| row.is_identical() && row.compared > 0 && row.replicas.len() == 2);
            if !both || !rows.iter().all(VerifyRow::is_identical) {
                faults.push(format!("{}: {rows:?}", volume.name));
            }
            bytes += rows.iter().map(|row| row.compared).sum::<u64>();
        }
        Ok((bytes, faults))
    }

    /// A member's view.
    ///
    /// # Errors
    /// What kept it from answering.
    pub async fn status(&self, member: usize) -> Result<StatusReport, String> {
        match self.ask(member, AdminRequest::Status).await? {
            AdminReply::Status { report } => Ok(*report),
            other => Err(format!("status was answered by {other:?}")),
        }
    }

    /// Waits until every running node sees the cluster in a state.
    ///
    /// # Errors
    /// It was not reached in time, and what was lacking; or a process ended by itself.
    pub async fn wait(&mut self, goal: Goal, limit: Duration) -> Result<(), String> {
        let started = Instant::now();
        loop {
            self.check_running()?;
            let lacking = self.lacking(goal).await;
            if lacking.is_empty() {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(format!("waited {limit:?} for {goal:?}, in vain:\n  {}", lacking.join("\n  ")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What keeps the cluster from a state; empty if it is reached.
    async fn lacking(&mut self, goal: Goal) -> Vec<String> {
        let nodes: Vec<usize> = [A, B].into_iter().filter(|&node| self.is_running(node)).collect();
        let mut lacking = Vec::new();
        for &node in &nodes {
            let seen = match self.status(node).await {
                Ok(report) => report_lacks(&report, goal, NAMES[node]),
                Err(error) => vec![error],
            };
            if goal == Goal::AllOnOne && seen.is_empty() {
                return seen;
            }
            lacking.extend(seen);
        }
        lacking
    }

    /// Waits until every service of both addresses takes connections.
    async fn wait_for_doors(&mut self, limit: Duration) -> Result<(), String> {
        let started = Instant::now();
        let (addresses, ports) = (self.world().doors.addresses, self.world().doors.ports);
        for port in [ports.smtp, ports.imap, ports.imaps, ports.pop3, ports.pop3s] {
            for address in addresses {
                while let Err(error) = TcpStream::connect((address, port)).await {
                    self.check_running()?;
                    if started.elapsed() > limit {
                        return Err(format!("waited {limit:?} for {address}:{port}, in vain: {error}"));
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
        Ok(())
    }

    async fn done(&self, member: usize, request: AdminRequest) -> Result<(), String> {
        let what = format!("{request:?}");
        match self.ask(member, request).await? {
            AdminReply::Done { .. } => Ok(()),
            other => Err(format!("{what}: {other:?}")),
        }
    }

    async fn ask(&self, member: usize, request: AdminRequest) -> Result<AdminReply, String> {
        let socket = self.socket(member);
        let what = format!("{request:?}");
        let asked = tokio::time::timeout(ANSWER_PATIENCE, ask(&socket, request, |_| ())).await;
        let asked = asked
            .map_err(|_| format!("{} did not answer {what} within {ANSWER_PATIENCE:?}", NAMES[member]))?;
        asked.map_err(|error| format!("{} to {what}: {error}", NAMES[member]))
    }

    fn socket(&self, member: usize) -> PathBuf {
        self.members()[member].dir.join("data").join("admin.sock")
    }
}

/// What keeps a goal from being reached in one member's view.
fn report_lacks(report: &StatusReport, goal: Goal, reporter: &str) -> Vec<String> {
    let mut lacking = Vec::new();
    if !report.quorum {
        lacking.push(format!("{reporter} sees no quorum"));
    }
    if report.volumes.len() != VOLUMES.len() || report.addresses.len() != VOLUMES.len() {
        lacking.push(format!(
            "{reporter} sees {} volumes and {} addresses",
            report.volumes.len(),
            report.addresses.len()
        ));
    }
    let wanted = |home: &str| match goal {
        Goal::AtHome => Some(home.to_owned()),
        Goal::AllOn(node) => Some(NAMES[node].to_owned()),
        Goal::AllOnOne => Some(reporter.to_owned()),
        Goal::InSync => None,
    };
    for volume in &report.volumes {
        let is_led = wanted(&volume.home).is_none_or(|node| volume.leader.as_ref() == Some(&node));
        let is_in_sync = matches!(goal, Goal::AllOn(_) | Goal::AllOnOne) || volume.in_sync.len() == 2;
        if !is_led || !is_in_sync {
            let (name, leader, in_sync) = (&volume.name, &volume.leader, &volume.in_sync);
            lacking.push(format!(
                "{reporter} sees {name} led by {leader:?}, in sync on {in_sync:?}, {}",
                volume.state
            ));
        }
    }
    for address in &report.addresses {
        if wanted(&address.home).is_some_and(|node| address.owner.as_ref() != Some(&node)) {
            lacking.push(format!("{reporter} sees {} at {:?}, {}", address.ip, address.owner, address.state));
        }
    }
    if !lacking.is_empty() {
        lacking.extend(report.waiting.iter().map(|why| format!("{reporter} waits: {why}")));
    }
    lacking
}
