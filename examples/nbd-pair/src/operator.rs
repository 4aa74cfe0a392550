//! What an operator decides.

use std::sync::Arc;
use std::time::Duration;

use posthaste_blockrepl::core::{LinkStatus, Reason, RoleStatus, Status};
use posthaste_blockrepl::{BlockDevice, DeviceError, Protocol};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::config::Pair;
use crate::control::Command;
use crate::daemon::Daemon;
use crate::device::Switch;
use crate::report;
use crate::roles::{Leading, Place};

/// A demotion's last flush may take this long.
const FLUSH_WAIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The files of a disk that failed may be in use by what hung in it for this long.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

impl Daemon {
    pub(crate) async fn command(&self, command: Command) -> Result<String, String> {
        let (volume, peer) = (self.volume(), &self.pair.peer);
        match command {
            Command::Status => Ok(self.status().await),
            Command::Promote { peer_is_down, accept_loss, new } => {
                drop(volume);
                self.promote(peer_is_down, accept_loss, new).await
            }
            Command::Demote { not_in_sync } => {
                drop(volume);
                self.demote(not_in_sync).await
            }
            Command::Attach => {
                drop(volume);
                self.attach().await
            }
            Command::Alone { peer_is_down } => self.alone(peer_is_down).await,
            Command::DiscardPeer => {
                volume.discard(peer.device);
                Ok("when it connects, its copy is overwritten\n".into())
            }
            Command::Verify => report::verified(&volume.verify().await.map_err(|e| e.to_string())?),
            Command::Resize { mib, shrink } => self.resize(mib, shrink).await,
            Command::Redundancy(copies) => {
                volume.set_min_redundancy(copies);
                Ok(format!("{copies} copies in sync are asked for, until this daemon ends\n"))
            }
            Command::Pause => {
                self.pause(true);
                Ok("a resync from here is held, now and later, until resume\n".into())
            }
            Command::Resume => {
                self.pause(false);
                Ok("a resync from here goes on\n".into())
            }
            Command::Protocol(protocol) => self.change_protocol(protocol).await,
            Command::Scrub => Ok(report::scrubbed(&volume.scrub().await.map_err(|e| e.to_string())?)),
            Command::DropSnapshots => self.drop_snapshots().await,
            Command::Snapshots => Ok(volume.snapshots().iter().map(report::kept).collect()),
            Command::Ranges { snapshot } => {
                let kept = volume.snapshots().into_iter().find(|s| s.id == snapshot);
                kept.map(|s| report::ranges(&s)).ok_or_else(|| format!("there is no snapshot {snapshot}"))
            }
            Command::Metrics => {
                let name = &self.pair.export;
                Ok(volume.metrics().prometheus(name) + &self.links.metrics(name))
            }
        }
    }

    fn is_away(&self, status: &Status) -> bool {
        self.peer(status).is_none_or(|p| p.link == LinkStatus::Down)
    }

    /// Whether a machine in this role is to leave the other one out only after the operator's program has seen to that one.
    fn must_fence(&self, status: &Status, leads: bool) -> bool {
        self.handlers.fences() && self.is_away(status) && (status.role == RoleStatus::Leader) == leads
    }

    /// How often the other machine was lost: what is known of it holds for one loss.
    fn losses(&self) -> u64 {
        self.volume().metrics().peers_lost
    }

    /// The word of the operator's program that the other machine, which was lost so often, does not lead. Nothing is locked meanwhile.
    async fn fence(&self) -> Result<u64, String> {
        let losses = self.losses();
        let back = async {
            while self.is_away(&self.volume().status()) {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            fenced = self.handlers.clone().fence_peer() => fenced.map(|()| losses).map_err(|why| {
                format!("{why}; if you made sure yourself that the other machine is down, use --peer-is-down")
            }),
            () = back => Err(format!("node {} is connected again: nothing was done", self.pair.peer.id)),
        }
    }

    async fn promote(&self, peer_is_down: bool, accept_loss: bool, new: bool) -> Result<String, String> {
        let (status, mut fenced) = (self.volume().status(), None);
        if !peer_is_down && !new && self.must_fence(&status, false) {
            // A machine that may lead is not switched off for one that may not.
            self.may_promote(&status, true, accept_loss, new)?;
            fenced = Some(self.fence().await?);
        }
        let place = &mut *self.place.lock().await;
        let peer_is_down = peer_is_down || fenced == Some(self.losses());
        let status = self.volume().status();
        if let Some(leading) = &place.leading {
            return match leading.for_peer {
                true => self.export_too(place, &status).await,
                false => Ok("it leads already\n".into()),
            };
        }
        let peer = self.pair.peer.id;
        let leads = self.peer(&status).is_some_and(|p| p.link == LinkStatus::Leader);
        if leads && (self.pair.dual || status.session.is_some()) {
            place.wanted = true;
            return Ok(format!("node {peer} leads, and this one exports the device through it\n"));
        }
        self.may_promote(&status, peer_is_down, accept_loss, new)?;
        if !status.consistent {
            self.volume().rollback().await.map_err(|e| e.to_string())?;
        }
        place.wanted = true;
        // The clients of this machine's own handle may stay: all that it answered is in this copy.
        place.hands_over = place.exported.is_some() && status.consistent && !accept_loss;
        match self.lead(place, &status, false).await {
            Ok(epoch) => Ok(format!(
                "node {} leads epoch {epoch} and exports {:?}\n",
                self.pair.me.id, self.pair.export
            )),
            Err(why) => {
                (place.wanted, place.hands_over) = (self.pair.dual, false);
                Err(why)
            }
        }
    }

    /// It leads for the other machine, whose disk failed.
    async fn export_too(&self, place: &mut Place, status: &Status) -> Result<String, String> {
        let peer = self.pair.peer.id;
        if status.writers.iter().any(|(node, _)| *node == peer) && !self.pair.dual {
            return Err(format!("node {peer} exports the device, through this one: demote it first"));
        }
        let Some(leading) = &mut place.leading else { return Err("it does not lead".into()) };
        leading.for_peer = false;
        let device = leading.device.clone();
        place.wanted = true;
        self.export(place, device);
        self.list(place).await?;
        Ok(format!("node {} exports {:?}\n", self.pair.me.id, self.pair.export))
    }

    fn may_promote(
        &self,
        status: &Status,
        peer_is_down: bool,
        accept_loss: bool,
        new: bool,
    ) -> Result<(), String> {
        let blank = status.generation.generation == 0 && status.consistent;
        let link = self.peer(status).map_or(LinkStatus::Down, |p| p.link);
        let peer = self.pair.peer.id;
        let refuse = |why: String| Err(why);
        let newer = status.candidate.reasons.iter().find(|r| matches!(r, Reason::Newer { .. }));
        match link {
            _ if let Some(why) = &status.failed => {
                refuse(format!("this machine's disk failed ({why}): repair it, then attach it"))
            }
            LinkStatus::Leader => refuse(format!("node {peer} leads: demote it first")),
            LinkStatus::Down if !peer_is_down && !new => refuse(format!(
                "node {peer} is not connected. If it still led, the two would diverge: make sure that it is \
                 down and stays so, then use --peer-is-down"
            )),
            _ if blank && !new => {
                refuse("this copy is blank: wait for its resync, or begin with --new".into())
            }
            _ if !blank && new => refuse("this copy holds data: promote it without --new".into()),
            _ if !status.consistent && !status.can_roll_back => {
                refuse("this copy is in the midst of a resync and cannot be rolled back".into())
            }
            _ if !status.consistent && !accept_loss => {
                refuse("this copy is in the midst of a resync: --accept-loss goes back to before it".into())
            }
            _ if !blank && !status.in_sync.contains(&self.pair.me.member()) && !accept_loss => {
                refuse(format!(
                    "this copy was not in sync when it last heard of node {peer}: promote that one, or use --accept-loss"
                ))
            }
            _ if let Some(why) = newer.filter(|_| !accept_loss) => {
                refuse(format!("{why}: promote that one, or use --accept-loss"))
            }
            _ => Ok(()),
        }
    }

    async fn resize(&self, mib: u64, shrink: bool) -> Result<String, String> {
        let size = mib.checked_mul(1 << 20).ok_or("the size is too large")?;
        let volume = self.volume();
        let size = match shrink {
            true => volume.shrink(size).await,
            false => volume.resize(size).await,
        };
        let size = size.map_err(|e| e.to_string())?;
        Ok(format!("{size} bytes; clients see them when they connect anew\n"))
    }

    /// From C, the other machine first leaves the set; to C, it enters it as soon as it is in step.
    async fn change_protocol(&self, protocol: Protocol) -> Result<String, String> {
        let mut place = self.place.lock().await;
        let Some(leading) = place.leading.as_mut() else { return Err("it does not lead".into()) };
        if protocol != Protocol::C && (self.pair.dual || leading.for_peer) {
            return Err("where both machines use the device it is protocol C".into());
        }
        let counted = leading.grant.in_sync.contains(&self.pair.peer.member());
        if protocol != Protocol::C && counted && self.is_away(&self.volume().status()) {
            // It may lead by now, and must not be left out just so.
            return Err(format!("node {} is away and is waited for: `alone` first", self.pair.peer.id));
        }
        self.volume().set_protocol(self.pair.peer.id, protocol);
        if protocol != Protocol::C && counted {
            let writers = leading.grant.writers.clone();
            self.regrant(leading, [self.pair.me.member()].into(), writers)?;
        }
        Ok(format!("protocol {protocol:?}, until this daemon ends\n"))
    }

    /// A machine under A or B lacks at most what is under way: it is brought in step before it takes over.
    async fn bring_in_step(&self, leading: &mut Leading) -> Result<(), String> {
        let peer = self.pair.peer.id;
        let link = || self.peer(&self.volume().status()).map(|p| p.link);
        if link() != Some(LinkStatus::Following) {
            return Ok(());
        }
        self.volume().set_protocol(peer, Protocol::C);
        let synced = async {
            while link() != Some(LinkStatus::Synced) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(FLUSH_WAIT, synced).await.map_err(|_| format!("node {peer} is not in step after 30 s"))?;
        let writers = leading.grant.writers.clone();
        self.regrant(leading, self.pair.both(), writers)
    }

    async fn demote(&self, not_in_sync: bool) -> Result<String, String> {
        let place = &mut *self.place.lock().await;
        let status = self.volume().status();
        if place.leading.is_some() && status.role != RoleStatus::Leader {
            // A failed disk, not looked at yet.
            self.leads_no_more(place, status.role);
        }
        if place.leading.is_none() {
            return self.export_no_more(place, not_in_sync).await;
        }
        self.resign(place, not_in_sync).await?;
        place.wanted = false;
        place.end_export(self.fenced());
        self.list(place).await?;
        self.introduce_anew();
        Ok("it follows\n".into())
    }

    fn fenced(&self) -> DeviceError {
        let status = self.volume().status();
        DeviceError::Fenced { held: status.epoch, current: status.known_epoch.max(status.epoch + 1) }
    }

    /// It exports through the other machine, or not at all.
    async fn export_no_more(&self, place: &mut Place, anyway: bool) -> Result<String, String> {
        if !place.wanted && place.exported.is_none() {
            return Ok("it does not lead\n".into());
        }
        if let Some(switch) = place.exported.clone().filter(|s| s.held().is_none())
            && let Err(why) = drained(&switch).await
            && !anyway
        {
            return Err(why);
        }
        place.wanted = false;
        place.end_export(self.fenced());
        self.list(place).await?;
        Ok("it exports the device no more\n".into())
    }

    /// Everything is durable on both machines, then the leadership ends.
    async fn resign(&self, place: &mut Place, not_in_sync: bool) -> Result<(), String> {
        let exported = place.exported.clone();
        let Some(leading) = place.leading.as_mut() else { return Ok(()) };
        if let Err(why) = self.bring_in_step(leading).await
            && !not_in_sync
        {
            return Err(why);
        }
        let status = self.volume().status();
        let link = self.peer(&status).map(|p| p.link);
        let in_step = link == Some(LinkStatus::Synced) && leading.grant.in_sync == self.pair.both();
        if !in_step && !not_in_sync {
            return Err(format!(
                "node {} is not in sync, so it could not take over without loss; --not-in-sync does it anyway",
                self.pair.peer.id
            ));
        }
        let drained = match &exported {
            Some(switch) => drained(switch).await,
            None => flushed(leading.device.clone()).await,
        };
        let epoch = Pair::last_epoch(leading.grant.epoch);
        let raised = match drained {
            Ok(()) => self.volume().raise_epoch(epoch).await.map(drop).map_err(|e| e.to_string()),
            Err(why) => Err(why),
        };
        if let Err(why) = raised {
            // What was held goes on.
            if let Some(switch) = exported.filter(|s| s.held().is_some()) {
                switch.put(leading.device.clone());
            }
            return Err(why);
        }
        place.leading = None;
        Ok(())
    }

    /// The failed disk's volume goes, its files are opened again, and the clients go on through the other machine meanwhile.
    async fn attach(&self) -> Result<String, String> {
        let place = &mut *self.place.lock().await;
        let status = self.volume().status();
        if status.role != RoleStatus::Failed {
            return Ok("its disk is attached\n".into());
        }
        self.leads_no_more(place, status.role);
        if let Some(switch) = place.exported.clone() {
            // It must let go of the old volume. What it holds goes on with the next handle.
            if switch.held().is_none()
                && let Err(why) = drained(&switch).await
            {
                return Err(why);
            }
            place.hands_over = true;
        }
        let old = self.replace_volume(self.pair.diskless(status.size)?);
        drop(old.close().await);
        drop(old);
        let opened = timeout(CLOSE_WAIT, async {
            loop {
                match self.pair.open() {
                    Err(why) if why.contains("in use") => sleep(Duration::from_millis(100)).await,
                    other => return other,
                }
            }
        });
        let opened = opened.await.unwrap_or_else(|_| Err("the files are still in use".into()));
        let result = opened.map(|volume| drop(self.replace_volume(volume)));
        self.introduce_anew();
        result
            .map(|()| "the disk is attached; what it missed is copied when the other machine leads\n".into())
    }

    async fn alone(&self, peer_is_down: bool) -> Result<String, String> {
        let fenced = match !peer_is_down && self.must_fence(&self.volume().status(), true) {
            true => Some(self.fence().await?),
            false => None,
        };
        let mut place = self.place.lock().await;
        let known = peer_is_down || fenced == Some(self.losses());
        if !known && self.must_fence(&self.volume().status(), true) {
            return Err(format!("node {} has gone just now: say it again", self.pair.peer.id));
        }
        let Some(leading) = place.leading.as_mut() else { return Err("it does not lead".into()) };
        self.go_on_alone(leading)?;
        Ok("it goes on alone\n".into())
    }

    async fn drop_snapshots(&self) -> Result<String, String> {
        let volume = self.volume();
        let all = volume.snapshots();
        for snapshot in &all {
            volume.delete_snapshot(snapshot.id).await.map_err(|e| e.to_string())?;
        }
        Ok(format!("{} snapshots deleted\n", all.len()))
    }
}

/// Every call of the clients is answered, and what they wrote is durable.
async fn drained(switch: &Arc<Switch>) -> Result<(), String> {
    let draining = switch.clone();
    let device = spawn_blocking(move || draining.drain(FLUSH_WAIT)).await.ok().flatten();
    let device = device.ok_or("the clients' calls are not done after 30 s; it goes on as before")?;
    flushed(device.clone()).await.inspect_err(|_| {
        switch.put(device);
    })?;
    switch.settled();
    Ok(())
}

async fn flushed(device: Arc<dyn BlockDevice>) -> Result<(), String> {
    match timeout(FLUSH_WAIT, spawn_blocking(move || device.flush())).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(why))) => Err(format!("the last flush failed: {why}")),
        _ => Err("the last flush is not done after 30 s; it goes on as before".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Listen, fresh};
    use crate::testing::{Two, ended, until};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_other_machine_is_fenced_for_what_is_then_done_and_not_left_out_without() {
        let dir = tempfile::tempdir().unwrap();
        let (program, fenced) = (dir.path().join("fence"), dir.path().join("fenced"));
        std::fs::write(&program, format!("#!/bin/sh\ntouch {}\n", fenced.display())).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let text = fresh(8, ["192.0.2.1", "192.0.2.2"]).unwrap();
        let mut pair = Pair::parse(&text, 1).unwrap();
        pair.me.dir = dir.path().into();
        pair.me.nbd = vec![Listen::Unix(dir.path().join("nbd"))];
        pair.handlers =
            toml::from_str(&format!("fence_peer = [{:?}]", program.display().to_string())).unwrap();
        pair.create().unwrap();
        let (daemon, _events) = Daemon::new(pair).unwrap();
        // The copy is blank: it may not lead, and the other machine may.
        let refused = daemon.promote(false, false, false).await.unwrap_err();
        assert!(refused.contains("blank") && !fenced.exists(), "{refused}");
        daemon.promote(false, false, true).await.unwrap();
        assert!(!fenced.exists());
        // The other machine was in sync, and is away.
        daemon.place.lock().await.leading.as_mut().unwrap().grant.in_sync = daemon.pair.both();
        let refused = daemon.change_protocol(Protocol::A).await.unwrap_err();
        assert!(refused.contains("`alone` first"), "{refused}");
        let alone = daemon.alone(false).await;
        assert!(alone.is_ok() && fenced.exists(), "{alone:?}");
        daemon.change_protocol(Protocol::A).await.unwrap();
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_machine_that_is_back_is_neither_fenced_any_more_nor_left_out() {
        let mut two = Two::new("sleep 1000 & echo $! >child; wait", |_| {}).await;
        two.cut().await;
        let daemon = two.daemon.clone();
        let alone = tokio::spawn(async move { daemon.alone(false).await });
        let child = two.child("child").await;
        assert!(!alone.is_finished());
        two.connect().await;
        let refused = alone.await.unwrap().unwrap_err();
        assert!(refused.contains("is connected again"), "{refused}");
        ended(&child).await;
        assert!(two.waits_for_the_other().await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_holds_for_one_loss_is_not_taken_to_hold_for_the_next() {
        let mut two = Two::new("echo >>fenced", |_| {}).await;
        // It is connected when the command comes, and away when its turn comes: nobody has fenced it.
        let daemon = two.daemon.clone();
        let turn = daemon.place.lock().await;
        let mut alone = std::pin::pin!(daemon.alone(false));
        assert!(timeout(Duration::from_millis(1), &mut alone).await.is_err());
        two.cut().await;
        drop(turn);
        let refused = alone.await.unwrap_err();
        assert!(refused.contains("gone just now") && !two.has("fenced"), "{refused}");
        // It is fenced, and comes and goes before the command's turn.
        let turn = daemon.place.lock().await;
        let alone = tokio::spawn({
            let daemon = daemon.clone();
            async move { daemon.alone(false).await }
        });
        until("it is fenced", async || two.has("fenced")).await;
        sleep(2 * LOOK_EVERY).await;
        two.connect().await;
        two.cut().await;
        drop(turn);
        let refused = alone.await.unwrap().unwrap_err();
        // The program may have been slow to end.
        assert!(refused.contains("gone just now") || refused.contains("is connected again"), "{refused}");
        assert!(two.waits_for_the_other().await);
    }
}
