//! Answers to an operator, in words.

use std::sync::PoisonError;

use posthaste_blockrepl::core::{
    Candidate, Finding, PeerStatus, RoleStatus, ScrubReport, Snapshot, Status, VerifyReport, Wrong,
};

use crate::daemon::Daemon;

impl Daemon {
    pub(crate) async fn status(&self) -> String {
        let status = self.volume().status();
        let mut text = own(&status);
        if let Some(peer) = self.peer(&status) {
            text += &of_peer(peer);
        }
        let waits_for = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(name) = waits_for {
            text += &format!("resync      waits for volume {name}\n");
        }
        text += &self.links.report();
        status.waiting.iter().for_each(|why| text += &format!("waits       {why}\n"));
        if let Some(why) = &status.failed {
            text += &format!("disk        {why}\n");
        }
        let place = self.place.lock().await;
        let through = match (&place.leading, place.exported.as_ref().map(|s| s.held())) {
            (_, None) => return text,
            (_, Some(Some(_))) => "held until a machine leads".into(),
            (Some(_), _) => "led here".to_owned(),
            (None, _) => format!("through node {}", self.pair.peer.id),
        };
        text += &format!("export      {:?} at {:?}, {through}\n", self.pair.export, self.pair.me.nbd);
        text
    }
}

fn own(status: &Status) -> String {
    let set: Vec<String> = status.in_sync.iter().map(|m| m.node.to_string()).collect();
    let mut text = format!(
        "node        {}\nrole        {:?}\nsize        {}\nepoch       {}\ngeneration  {}\nconsistent  {}\nin_sync     {}\n",
        status.identity.node,
        status.role,
        status.size,
        status.epoch,
        status.generation.generation,
        status.consistent,
        set.join(" "),
    );
    let Candidate { score, reasons } = &status.candidate;
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    text += &format!("candidate   {score}: {}\n", reasons.join("; "));
    for (node, reads) in &status.writers {
        text += &format!("writer      node {node}, reads {}\n", if *reads { "its own copy" } else { "here" });
    }
    if status.overlaps > 0 && status.role == RoleStatus::Leader {
        text +=
            &format!("overlaps    {} writes of both machines to the same bytes at once\n", status.overlaps);
    }
    text
}

fn of_peer(peer: &PeerStatus) -> String {
    let disk = if peer.is_diskless() { ", without a disk" } else { "" };
    let mut text = format!("peer        {:?}{disk}, {} bytes to resync\n", peer.link, peer.dirty_bytes);
    text += &format!("protocol    {:?}\n", peer.protocol);
    if let Some(resync) = peer.resync {
        let rate = resync.rate.map_or("as fast as it goes".into(), |r| format!("at most {r} bytes a second"));
        text += &format!("resync      {}\n", if resync.paused { "paused" } else { &rate });
    }
    text
}

pub(crate) fn verified(report: &VerifyReport) -> Result<String, String> {
    let (peers, bytes) = (report.peers.len(), report.checked_bytes);
    let mut text =
        format!("{bytes} bytes compared with {peers} peer(s), {} differ\n", report.differing.len());
    text.extend(report.differing.iter().map(told));
    if report.incomplete.is_empty() { Ok(text) } else { Err(format!("{text}the link broke meanwhile")) }
}

pub(crate) fn scrubbed(report: &ScrubReport) -> String {
    let mut text = format!(
        "{} bytes read, {} of them without a checksum, {} ranges damaged\n",
        report.checked_bytes,
        report.unknown_bytes,
        report.findings.len()
    );
    text.extend(report.findings.iter().map(told));
    text
}

/// A line about a damaged range.
fn told(finding: &Finding) -> String {
    let Finding { node, offset, len, wrong, healed, .. } = finding;
    let what = match wrong {
        Wrong::Copy => "is wrong",
        Wrong::Unknown => "differs, and no checksum decides: the leader's copy is taken",
        _ => "is wrong, and so is the other one",
    };
    let then = if *healed { "healed" } else { "NOT healed" };
    format!("node {node}: {len} bytes at {offset}: this copy {what}; {then}\n")
}

/// A line about a copy that was given up.
pub(crate) fn kept(snapshot: &Snapshot) -> String {
    let written: u64 = snapshot.written.iter().map(|(_, len)| len).sum();
    let Snapshot { id, generation, .. } = snapshot;
    format!(
        "snapshot {id}: generation {}, {written} bytes written since the copies parted\n",
        generation.generation
    )
}

pub(crate) fn ranges(snapshot: &Snapshot) -> String {
    snapshot.written.iter().map(|(offset, len)| format!("{offset} {len}\n")).collect()
}
