//! What `posthaste status` shows: the report that a member makes of itself and of what the quorum
//! decided, and its tables.

use std::fmt::{self, Write};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Role, show_size};

/// A member's view of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Who reports.
    pub reporter: String,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// Whether the reporter sees a majority of the voters.
    pub quorum: bool,
    /// The voter that leads the quorum's log.
    pub quorum_leader: Option<String>,
    /// Counts changes of membership.
    pub membership_epoch: u64,
    /// Counts the times that an operator overrode the quorum.
    pub generation: u64,
    /// What is left of the reporter's own lease, in milliseconds; none if it holds no lease.
    pub lease_left_ms: Option<u64>,
    /// All members.
    pub members: Vec<MemberStatus>,
    /// All volumes.
    pub volumes: Vec<VolumeStatus>,
    /// All addresses.
    pub addresses: Vec<AddressStatus>,
    /// Sessions on the reporter by service.
    pub sessions: Vec<ServiceSessions>,
    /// Why something waits, in sentences; empty when nothing does.
    pub waiting: Vec<String>,
}

/// A member, as the quorum and the reporter see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u64,
    /// Whether it holds mail.
    pub role: Role,
    /// Whether the quorum counts it in (`up`) or out (`fenced`).
    pub up: bool,
    /// Whether the reporter hears it: `None` for the reporter itself.
    pub heard: Option<bool>,
    /// Whether an operator took it out of service.
    pub drained: bool,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// Its name.
    pub name: String,
    /// Who leads it.
    pub leader: Option<String>,
    /// Where it is led when all is well.
    pub home: String,
    /// Counts leaderships.
    pub epoch: u64,
    /// Counts overrides of the quorum, as stamped on it.
    pub generation: u64,
    /// Who has everything that was ever acknowledged.
    pub in_sync: Vec<String>,
    /// Who has a copy and how far it is; in-sync ones have 100.
    pub replicas: Vec<ReplicaStatus>,
    /// What the reporter's own part of it does, in words.
    pub state: String,
    /// Bytes used by mail; none if the reporter does not lead it.
    pub used_bytes: Option<u64>,
    /// Bytes free for mail; none if the reporter does not lead it.
    pub free_bytes: Option<u64>,
    /// Bytes that the reporter sent to other copies since its start; none if it has no copy.
    #[serde(default)]
    pub sent_bytes: Option<u64>,
    /// Bytes that the reporter wrote to its copy's files since its start, in whole pages; none if it
    /// has no copy.
    #[serde(default)]
    pub written_bytes: Option<u64>,
}

/// A copy of a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Who has it.
    pub node: String,
    /// How much of it is right, of 100; none if the reporter does not know.
    pub percent: Option<f32>,
    /// In words: in sync, resync, disconnected, failed.
    pub state: String,
}

/// An address that moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// The address.
    pub ip: IpAddr,
    /// Who has it by the quorum's decision.
    pub owner: Option<String>,
    /// Who has it when all is well.
    pub home: String,
    /// What the reporter does with it: held, claiming, or empty.
    pub state: String,
}

/// Sessions of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSessions {
    /// smtp, imap, …
    pub service: String,
    /// How many now.
    pub open: u64,
    /// How many since the start.
    pub total: u64,
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quorum = if self.quorum { "quorum" } else { "NO QUORUM: nothing is acknowledged" };
        writeln!(f, "cluster {} ({}), seen from {}: {quorum}", self.cluster, self.cluster_id, self.reporter)?;
        let leader = self.quorum_leader.as_deref().unwrap_or("nobody");
        let lease = self.lease_left_ms.map_or("no lease".into(), |ms| format!("lease for {ms} ms"));
        writeln!(f, "quorum led by {leader}, membership epoch {}, {lease}", self.membership_epoch)?;
        if self.generation > 0 {
            writeln!(f, "generation {}: an operator has overridden the quorum", self.generation)?;
        }
        writeln!(f, "\n{}", self.member_table())?;
        writeln!(f, "{}", self.volume_table())?;
        if !self.addresses.is_empty() {
            writeln!(f, "{}", self.address_table())?;
        }
        if !self.sessions.is_empty() {
            writeln!(f, "{}", self.session_table())?;
        }
        for reason in &self.waiting {
            writeln!(f, "waiting: {reason}")?;
        }
        Ok(())
    }
}

impl StatusReport {
    fn member_table(&self) -> Table {
        let mut table = Table::new(&["MEMBER", "ID", "ROLE", "STATE", "HEARD"]);
        for m in &self.members {
            let state = match (m.up, m.drained) {
                (true, false) => "up",
                (true, true) => "up, drained",
                (false, false) => "fenced",
                (false, true) => "fenced, drained",
            };
            let heard = m.heard.map_or("(self)", |heard| if heard { "yes" } else { "no" });
            table.row([m.name.clone(), m.id.to_string(), m.role.to_string(), state.into(), heard.into()]);
        }
        table
    }

    fn volume_table(&self) -> Table {
        let mut table =
            Table::new(&["VOLUME", "LEADER", "HOME", "EPOCH", "IN SYNC", "REPLICAS", "FREE", "STATE"]);
        for v in &self.volumes {
            let replicas: Vec<String> = v.replicas.iter().map(ToString::to_string).collect();
            table.row([
                v.name.clone(),
                v.leader.clone().unwrap_or_else(|| "-".into()),
                v.home.clone(),
                v.epoch.to_string(),
                v.in_sync.join(" "),
                replicas.join(", "),
                v.free_bytes.map_or_else(|| "-".into(), |b| show_size(b).to_string()),
                v.state.clone(),
            ]);
        }
        table
    }

    fn address_table(&self) -> Table {
        let mut table = Table::new(&["ADDRESS", "OWNER", "HOME", "STATE"]);
        for a in &self.addresses {
            table.row([
                a.ip.to_string(),
                a.owner.clone().unwrap_or_else(|| "-".into()),
                a.home.clone(),
                a.state.clone(),
            ]);
        }
        table
    }

    fn session_table(&self) -> Table {
        let mut table = Table::new(&["SERVICE", "OPEN", "SINCE START"]);
        for s in &self.sessions {
            table.row([s.service.clone(), s.open.to_string(), s.total.to_string()]);
        }
        table
    }
}

impl fmt::Display for ReplicaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.percent {
            Some(percent) if percent < 100.0 => write!(f, "{} {percent:.1}% ({})", self.node, self.state),
            _ => write!(f, "{} ({})", self.node, self.state),
        }
    }
}

/// Columns of text, each as wide as its widest cell.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with that head.
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| {
            self.rows.iter().filter_map(|r| r.get(i)).map(|c: &String| c.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> StatusReport {
        StatusReport {
            reporter: "b".into(),
            cluster: "example.org".into(),
            cluster_id: "00ff".into(),
            quorum: true,
            quorum_leader: Some("w".into()),
            membership_epoch: 3,
            lease_left_ms: Some(412),
            members: vec![
                MemberStatus {
                    name: "a".into(),
                    id: 1,
                    role: Role::Node,
                    up: false,
                    heard: Some(false),
                    drained: false,
                },
                MemberStatus {
                    name: "b".into(),
                    id: 2,
                    role: Role::Node,
                    up: true,
                    heard: None,
                    drained: false,
                },
            ],
            volumes: vec![VolumeStatus {
                name: "vol1".into(),
                leader: Some("b".into()),
                home: "a".into(),
                epoch: 7,
                generation: 0,
                in_sync: vec!["b".into()],
                replicas: vec![ReplicaStatus {
                    node: "a".into(),
                    percent: Some(42.25),
                    state: "resync".into(),
                }],
                state: "leading".into(),
                used_bytes: Some(1 << 20),
                free_bytes: Some(3 << 30),
                sent_bytes: None,
                written_bytes: None,
            }],
            waiting: vec!["vol1 is not at home: a is fenced".into()],
            ..StatusReport::default()
        }
    }

    #[test]
    fn the_report_says_who_leads_and_why_something_waits() {
        let text = report().to_string();
        assert!(text.contains("seen from b: quorum\n"), "{text}");
        assert!(text.contains("a       1   node  fenced  no\n"), "{text}");
        assert!(
            text.contains("vol1    b       a     7      b        a 42.2% (resync)  3 GiB  leading\n"),
            "{text}"
        );
        assert!(text.ends_with("waiting: vol1 is not at home: a is fenced\n"), "{text}");
        assert!(!text.lines().any(|l| l.ends_with(' ')), "{text:?}");
    }

    #[test]
    fn the_report_survives_json() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<StatusReport>(&json).unwrap(), report());
    }
}
