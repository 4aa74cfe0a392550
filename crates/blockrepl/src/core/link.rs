//! Links: who may connect, what each message leads to, how a link ends.

use super::*;

impl Replica {
    /// What this replica says first on every link.
    pub fn hello(&self) -> Hello {
        Hello {
            cluster: self.sb.identity.cluster,
            volume: self.sb.identity.volume,
            node: self.sb.identity.node,
            device: if self.failed.is_some() { DeviceId::default() } else { self.sb.identity.device },
            size: self.layout.size,
            granule: if self.failed.is_some() { 0 } else { self.layout.granule as u32 },
            epoch: self.floor.max(self.known),
            generation: self.sb.lineage.current(),
            leading: self.leading().is_some(),
        }
    }

    /// Why a peer with this hello is not let in.
    fn objection(&self, hello: &Hello) -> Option<Refusal> {
        let id = &self.sb.identity;
        if self.failed.is_none() && self.unusable().is_some() || matches!(self.role, Role::Closed) {
            return Some(Refusal::Closing);
        }
        if hello.cluster != id.cluster {
            return Some(Refusal::WrongCluster);
        }
        if hello.volume != id.volume {
            return Some(Refusal::UnknownVolume);
        }
        if hello.node == id.node || hello.device == id.device {
            return Some(Refusal::OwnIdentity);
        }
        let ours = self.layout.granule as u32;
        let both_have_disks = self.failed.is_none() && hello.device != DeviceId::default();
        (both_have_disks && hello.granule != ours).then_some(Refusal::OtherGranule { ours })
    }

    pub(super) fn link_up(&mut self, link: LinkId, hello: Hello) {
        if let Some(why) = self.objection(&hello) {
            self.event(Event::Refused { peer: hello.node, why: why.clone() });
            self.send(link, Message::Refused(why));
            self.out.push_back(Output::CloseLink { link });
            return;
        }
        if let Some(old) = self.find_link(hello.node) {
            self.refuse(old, Refusal::Closing);
        }
        let (peer, device) = (hello.node, hello.device);
        self.known = self.known.max(hello.epoch);
        self.heir.take_if(|heir| hello.epoch > heir.epoch);
        self.links.insert(
            link,
            Link {
                hello,
                side: Side::Idle,
                begin: None,
                lineage: None,
                parked: None,
                fenced_told: 0,
                leads: None,
            },
        );
        if self.failed.is_some() {
            self.fence_session(self.known);
        }
        self.event(Event::PeerConnected { peer, device });
        if self.leading().is_some_and(|l| l.request.is_none()) {
            self.send_begin(link);
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        self.end_target(link);
        self.writer_link_down(link);
        let Some(gone) = self.links.remove(&link) else { return };
        if matches!(gone.side, Side::Source { .. }) {
            self.purge_remote();
            self.leader_lost();
        }
        let member = gone.member();
        let in_sync = self.counted().contains(&member);
        self.event(Event::PeerLost { peer: member.node, device: member.device, in_sync });
    }

    /// Says why, and closes the link.
    pub(super) fn refuse(&mut self, link: LinkId, why: Refusal) {
        let Some(peer) = self.links.get(&link).map(|l| l.hello.node) else { return };
        if !matches!(why, Refusal::Closing) {
            self.event(Event::Refused { peer, why: why.clone() });
        }
        self.send(link, Message::Refused(why));
        self.out.push_back(Output::CloseLink { link });
        self.link_down(link);
    }

    /// R4: a leader of a lower epoch is told once; its link stays up for its next role.
    pub(super) fn tell_fenced(&mut self, link: LinkId, current: u64) {
        let Some(l) = self.links.get_mut(&link) else { return };
        if l.fenced_told < current {
            l.fenced_told = current;
            self.send(link, Message::Refused(Refusal::Fenced { current }));
        }
    }

    /// The peer is no target any more: what it may lack is noted in its bitmap.
    pub(super) fn end_target(&mut self, link: LinkId) {
        let Some(l) = self.links.get_mut(&link).filter(|l| matches!(l.side, Side::Target(_))) else { return };
        let device = l.hello.device;
        let Side::Target(t) = std::mem::replace(&mut l.side, Side::Idle) else { return };
        if t.state != TargetState::Beginning
            && let Some(slot) = self.slot_of(device)
            && !self.bug(Bug::ForgetUnflushed)
        {
            self.mark_recent(slot, t.flushed.max(t.noted));
        }
        if t.state == TargetState::Synced {
            self.away.insert(device, t.flushed);
        }
        self.verify_lost(link);
        self.mend_lost(link);
    }

    pub(super) fn message(&mut self, link: LinkId, message: Message) {
        if !self.links.contains_key(&link) {
            return;
        }
        match message {
            Message::Refused(why) => self.refused(link, why),
            Message::Writer(message) if self.failed.is_some() => self.session_message(link, message),
            // It was sent before our hello, or by one that does not know yet.
            _ if self.failed.is_some() => self.refuse(link, Refusal::DiskFailed),
            Message::Hello(_) | Message::Opening(_) => self.refuse(link, Refusal::Protocol),
            Message::Begin { epoch, seq, lineage } => {
                if let Some(l) = self.links.get_mut(&link) {
                    l.lineage = Some(lineage);
                }
                self.begin(link, epoch, seq)
            }
            Message::BeginAck { .. } => self.begin_ack(link, message),
            Message::Writer(message) => self.writer_message(link, message),
            Message::FlushAck { id, bytes } => self.flush_acked(link, id, bytes),
            Message::Progress { bytes } => self.progress(link, bytes),
            Message::SyncDone { version } => self.sync_done(link, version),
            Message::Adopted { version } => self.adopted(link, version),
            Message::Resized { size } => self.resized(link, size),
            Message::Reached { seq } => self.reached(link, seq),
            Message::Compared { granule, same } => self.compare_answered(link, granule, same),
            Message::Verified { id, digest } => self.verify_remote(link, id, digest),
            Message::Fetched { id, good, void, data } => self.fetched(link, id, (good, void, data)),
            Message::Rotten { chunk } => self.rotten_there(link, chunk),
            from_leader => self.leader_message(link, from_leader),
        }
    }

    fn leader_message(&mut self, link: LinkId, message: Message) {
        let (Message::Write { epoch, .. }
        | Message::Flush { epoch, .. }
        | Message::SyncStart { epoch, .. }
        | Message::Copy { epoch, .. }
        | Message::CopyDamaged { epoch, .. }
        | Message::SyncEnd { epoch, .. }
        | Message::Adopt { epoch, .. }
        | Message::Stable { epoch, .. }
        | Message::Fetch { epoch, .. }
        | Message::Agreed { epoch, .. }
        | Message::Judged { epoch, .. }
        | Message::Reach { epoch, .. }
        | Message::Compare { epoch, .. }
        | Message::Resize { epoch, .. }
        | Message::Shrink { epoch, .. }
        | Message::Lacks { epoch, .. }
        | Message::Verify { epoch, .. }) = &message
        else {
            return;
        };
        if !self.obeys(link, *epoch) || !self.has_room_for(link) {
            return;
        }
        match message {
            Message::Write { seq, stable, offset, data, .. } => {
                self.remote_write(link, seq, stable, offset, data)
            }
            Message::Flush { id, stable, .. } => {
                self.set_stable(stable.min(self.seq));
                self.enqueue(Queued::Flush { link, id });
            }
            Message::Stable { stable, .. } => self.set_stable(stable.min(self.seq)),
            Message::SyncStart { sync, granules, .. } => {
                self.enqueue(Queued::SyncStart { link, sync, granules })
            }
            Message::Copy { granule, heal, data, .. } => self.remote_copy(link, granule, heal, data),
            Message::CopyDamaged { granule, heal, blocks, data, .. } => {
                self.remote_damaged(link, granule, heal, (&blocks, data));
            }
            Message::SyncEnd { .. } => self.remote_sync_end(link, message),
            Message::Adopt { version, lineage, members, .. } => self.adopt(link, version, &lineage, &members),
            Message::Lacks { member, base, dirty, .. } => self.note_lacks(member, base, &dirty),
            Message::Resize { size, .. } => self.remote_resize(link, size),
            Message::Shrink { size, .. } => self.remote_shrink(link, size),
            Message::Reach { seq, .. } => self.send(link, Message::Reached { seq }),
            Message::Compare { granule, digest, .. } => self.remote_compare(link, granule, digest),
            Message::Verify { id, offset, len, .. } => self.remote_verify(link, id, offset, len),
            Message::Fetch { id, chunk, .. } => self.remote_fetch(link, id, chunk),
            Message::Agreed { id, .. } => self.agreed(id),
            Message::Judged { chunk, .. } => self.left_rotten(chunk),
            _ => {}
        }
    }

    fn refused(&mut self, link: LinkId, why: Refusal) {
        let Some(l) = self.links.get(&link) else { return };
        let peer = l.hello.node;
        match why {
            Refusal::NotWriter { epoch } => {
                if self.session.as_ref().is_some_and(|s| s.is(epoch)) {
                    self.end_session(Denied::NotWriter { epoch });
                }
            }
            Refusal::Resigned { current } => self.leader_resigned(link, peer, current),
            Refusal::Fenced { current } => {
                self.known = self.known.max(current);
                self.fence_session(current);
                if self.leading().is_some_and(|l| l.grant.epoch < current) {
                    self.event(Event::RefusedBy { peer, why });
                    self.fence(current);
                }
            }
            _ => {
                if why == Refusal::DiskFailed {
                    self.leader_failed(link);
                }
                self.event(Event::RefusedBy { peer, why });
                self.out.push_back(Output::CloseLink { link });
                self.link_down(link);
            }
        }
    }

    fn leader_resigned(&mut self, link: LinkId, peer: NodeId, epoch: u64) {
        self.known = self.known.max(epoch);
        self.fence_session(epoch);
        let Some(l) = self.links.get_mut(&link) else { return };
        let led = matches!(l.side, Side::Source { .. }) || l.leads.take().is_some();
        if led {
            let in_sync = self.inherit(link, epoch, false);
            self.event(Event::LeaderResigned { peer, epoch, in_sync });
        }
    }

    fn progress(&mut self, link: LinkId, bytes: u64) {
        if let Some(Link { side: Side::Target(t), .. }) = self.links.get_mut(&link) {
            t.done(self.now, bytes);
        }
    }

    fn adopted(&mut self, link: LinkId, version: u64) {
        let (current, told) = (self.sb.lineage.current(), self.leading().map_or(0, |l| l.version));
        let Some(Link { side: Side::Target(t), hello, .. }) = self.links.get_mut(&link) else { return };
        // What it had been asked before it began anew.
        if t.state == TargetState::Beginning {
            return;
        }
        if version > told {
            return self.refuse(link, Refusal::Protocol);
        }
        t.adopted = t.adopted.max(version);
        let (peer, device) = (hello.node, hello.device);
        // With a flush outstanding, its answer tells.
        let recovered =
            t.state == TargetState::Synced && t.flush.is_none() && std::mem::take(&mut t.slow_told);
        let recovered = recovered && t.joins.is_none() && !self.lags(&Member { node: peer, device });
        if recovered {
            self.event(Event::PeerRecovered { peer, device });
        }
        if self.leading().is_some_and(|l| l.version == version)
            && let Some(slot) = self.slot_of(device)
        {
            self.slots[slot].head.base = current;
            self.touch();
        }
    }
}
