//! Epochs, grants, leadership and its end (R1, R4).

use super::*;
use crate::ids::{GenerationId, Raised};

impl Replica {
    /// R4: from this call on lower epochs are refused; what was accepted is drained and flushed,
    /// then the epoch is made durable, then it is reported.
    pub(super) fn raise(&mut self, request: RequestId, epoch: u64) {
        if let Some(why) = self.unusable() {
            return self.done(request, Err(why));
        }
        if epoch < self.floor {
            return self.done(request, Err(Denied::EpochTooLow { asked: epoch, current: self.floor }));
        }
        if epoch < self.known {
            return self.done(request, Err(Denied::EpochTooLow { asked: epoch, current: self.known }));
        }
        let led = self.leading().is_some();
        self.begin_raise(epoch);
        if led && self.leading().is_none() {
            self.tell_resigned(epoch);
        }
        match &mut self.raise {
            Some(raise) => raise.requests.push((request, epoch)),
            None => {
                let raised = self.raised();
                self.done(request, Ok(Reply::Raised(raised)));
            }
        }
    }

    /// Starts, or lifts the aim of, a raise. Nothing to do when the epoch is durable already.
    pub(super) fn begin_raise(&mut self, epoch: u64) {
        if epoch <= self.sb.epoch {
            return;
        }
        self.floor = self.floor.max(epoch);
        self.known = self.known.max(epoch);
        self.heir = None;
        self.fence(epoch);
        self.fence_session(epoch);
        self.leave_source();
        self.purge_remote();
        self.settle_recent();
        match &mut self.raise {
            Some(raise) if raise.epoch < epoch => (raise.epoch, raise.commit) = (epoch, None),
            Some(_) => {}
            None => {
                self.raise = Some(Raise { epoch, commit: None, requests: Vec::new(), begins: Vec::new() })
            }
        }
    }

    /// Those who followed need not guess which epoch a successor must exceed.
    fn tell_resigned(&mut self, current: u64) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.send(link, Message::Refused(Refusal::Resigned { current }));
        }
    }

    pub(super) fn pump_raise(&mut self) {
        let Some((epoch, commit)) = self.raise.as_ref().map(|r| (r.epoch, r.commit)) else { return };
        if self.writes_in_flight > 0 {
            return;
        }
        if self.local.flushed < self.order {
            self.local.wanted = self.order;
            return;
        }
        match commit {
            None => {
                self.sb.epoch = epoch;
                let commit = self.touch();
                if let Some(raise) = &mut self.raise {
                    raise.commit = Some(commit);
                }
            }
            Some(commit) if self.durable(commit) => self.finish_raise(),
            Some(_) => {}
        }
    }

    fn finish_raise(&mut self) {
        let Some(raise) = self.raise.take() else { return };
        let raised = self.raised();
        for (request, asked) in raise.requests {
            let current = raised.epoch;
            let result = match asked == current {
                true => Ok(Reply::Raised(raised)),
                false => Err(Denied::EpochTooLow { asked, current }),
            };
            self.done(request, result);
        }
        for link in raise.begins {
            self.accept_begin(link);
        }
    }

    fn raised(&self) -> Raised {
        Raised {
            epoch: self.sb.epoch,
            generation: self.sb.lineage.current().generation,
            device: self.sb.identity.device,
            consistent: self.sb.consistent || self.bug(Bug::LeadHalf),
            can_roll_back: self.undo_active(),
        }
    }

    /// The reason why nothing can be asked of this replica any more.
    pub(super) fn unusable(&self) -> Option<Denied> {
        match (&self.failed, &self.role) {
            (Some(reason), _) => Some(Denied::Disk(reason.clone())),
            (None, Role::Closed) => Some(Denied::Closed),
            _ if self.closing.is_some() => Some(Denied::Closed),
            _ => None,
        }
    }

    pub(super) fn lead(&mut self, request: RequestId, grant: Grant) {
        if let Err(why) = self.may_lead(&grant) {
            return self.done(request, Err(why));
        }
        self.end_session(Denied::Closed);
        self.leave_source();
        self.purge_remote();
        self.settle_recent();
        self.seq = self.seq.max(self.order) + 1;
        self.stable = self.seq;
        self.everywhere = 0;
        self.away.clear();
        self.local.flushed_seq = 0;
        self.own_up();
        let base = self.sb.lineage.current();
        self.track(&grant.in_sync, base, true);
        self.adopt_generation(&grant);
        let recorded = self.touch_with_pages();
        self.role = Role::Leading(Leading {
            grant,
            pending: None,
            version: 1,
            told: 1,
            recorded,
            request: Some(request),
        });
    }

    /// A copy that no flush waited for, made to lead by force, has not all of its newest generation: were
    /// it to claim it, the others would take what they lost for what they never acknowledged.
    fn own_up(&mut self) {
        if !self.sb.members.is_empty() && !self.sb.members.contains(&self.me()) {
            self.sb.lineage.0.pop();
            self.slots.clear();
        }
    }

    fn may_lead(&self, grant: &Grant) -> Result<(), Denied> {
        if let Some(why) = self.unusable() {
            return Err(why);
        }
        let own = self.sb.lineage.current().generation;
        match () {
            () if grant.epoch < self.floor => {
                Err(Denied::EpochTooLow { asked: grant.epoch, current: self.floor })
            }
            () if grant.epoch != self.sb.epoch || self.raise.is_some() => {
                Err(Denied::NotRaised { asked: grant.epoch, durable: self.sb.epoch })
            }
            () if self.leading().is_some() || self.rollback.is_some() => Err(Denied::Busy),
            () if !self.sb.consistent && !self.bug(Bug::LeadHalf) => Err(Denied::Inconsistent),
            () if grant.leader != self.me().node || !grant.in_sync.contains(&self.me()) => {
                Err(Denied::NotGranted)
            }
            () if own > grant.generation => Err(Denied::GenerationOlder { own, granted: grant.generation }),
            () => Ok(()),
        }
    }

    /// Has a bitmap for each member. A member that has none yet is in sync up to what was hot here.
    pub(super) fn track(&mut self, members: &MemberSet, base: GenerationId, with_hot: bool) {
        for member in members {
            // A device that its node has replaced would take the bitmap of the one that is here.
            let replaced = |l: &Link| l.hello.node == member.node && l.hello.device != member.device;
            if *member != self.me()
                && self.slot_of(member.device).is_none()
                && !self.links.values().any(replaced)
            {
                let slot = self.make_slot(*member, base);
                if with_hot {
                    self.mark_hot(slot);
                }
            }
        }
    }

    fn adopt_generation(&mut self, grant: &Grant) {
        if grant.generation > self.sb.lineage.current().generation {
            let device = self.me().device;
            self.sb.lineage.begin(GenerationId { generation: grant.generation, epoch: grant.epoch, device });
        }
        self.sb.members = grant.in_sync.clone();
    }

    /// When the grant is on disk: gives out the handle and turns to the peers.
    pub(super) fn pump_lead(&mut self) {
        let durable = self.commit.durable;
        let Role::Leading(l) = &mut self.role else { return };
        if l.recorded > durable {
            return;
        }
        let Some(request) = l.request.take() else { return };
        self.done(request, Ok(Reply::Leading));
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.send_begin(link);
        }
    }

    /// Applies a grant that changes the set under the same leader and epoch. A grant of a higher
    /// epoch or for another leader ends this leadership.
    pub fn set_grant(&mut self, now: Duration, grant: Grant) -> Result<(), Denied> {
        self.now = self.now.max(now);
        let result = self.apply_grant(grant);
        self.advance();
        result
    }

    fn apply_grant(&mut self, grant: Grant) -> Result<(), Denied> {
        if let Some(why) = self.unusable() {
            return Err(why);
        }
        let me = self.me();
        let Role::Leading(l) = &self.role else { return Err(Denied::NotLeading) };
        let held = l.grant.epoch;
        if grant.epoch < held {
            return Err(Denied::EpochTooLow { asked: grant.epoch, current: held });
        }
        if grant.epoch > held || grant.leader != me.node || !grant.in_sync.contains(&me) {
            let current = grant.epoch;
            self.fence(current);
            return Err(Denied::Fenced { held, current });
        }
        if grant.generation < l.grant.generation {
            return Err(Denied::GenerationOlder { own: l.grant.generation, granted: grant.generation });
        }
        if grant == l.grant {
            self.settle_pending(&grant.in_sync);
            return Ok(());
        }
        self.replace_grant(grant);
        Ok(())
    }

    fn replace_grant(&mut self, grant: Grant) {
        let before = self.leading().map(|l| l.grant.in_sync.clone()).unwrap_or_default();
        let base = self.sb.lineage.current();
        self.track(&grant.in_sync, base, true);
        self.adopt_generation(&grant);
        let recorded = self.touch();
        let set = grant.in_sync.clone();
        if let Role::Leading(l) = &mut self.role {
            l.grant = grant;
            l.version += 1;
            l.recorded = recorded;
        }
        self.settle_pending(&set);
        self.revoke_writers();
        self.tell_slow_ones_again();
        let counted = self.counted();
        let gone: Vec<Member> = before.difference(&counted).copied().collect();
        for link in self
            .links
            .iter()
            .filter(|(_, l)| gone.contains(&l.member()) && !self.lags(&l.member()))
            .map(|(id, _)| *id)
            .collect::<Vec<_>>()
        {
            self.refuse(link, Refusal::Removed);
        }
    }

    /// A peer that was slow before is counted otherwise now: its owner must hear of it anew.
    fn tell_slow_ones_again(&mut self) {
        for link in self.links.values_mut() {
            if let Side::Target(t) = &mut link.side {
                t.slow_told = false;
            }
        }
    }

    /// The outcome of the proposal is known once it is the grant.
    fn settle_pending(&mut self, set: &MemberSet) {
        if let Role::Leading(l) = &mut self.role
            && l.pending.as_ref() == Some(set)
        {
            l.pending = None;
        }
    }

    /// Tells the synced peers of a changed set or generation, once it is durable here.
    pub(super) fn pump_adopt(&mut self) {
        if self.leading().is_none_or(|l| l.told == l.version) {
            return;
        }
        if self.leading().is_none_or(|l| !self.durable(l.recorded)) {
            return;
        }
        if let Role::Leading(l) = &mut self.role {
            l.told = l.version;
        }
        let synced = |l: &Link| matches!(&l.side, Side::Target(t) if t.state == TargetState::Synced);
        let links: Vec<LinkId> = self.links.iter().filter(|(_, l)| synced(l)).map(|(id, _)| *id).collect();
        let now = self.now;
        for link in links {
            let Some(message) = self.adopt_message(link) else { continue };
            self.tell_lacks(link, true);
            self.send(link, message);
            self.tell_lacks(link, false);
            if let Some(Link { side: Side::Target(t), .. }) = self.links.get_mut(&link) {
                t.asked = now;
            }
        }
    }

    /// None before it is durable here: were this leader to forget a generation that a follower has
    /// adopted, it would take the follower for diverged.
    pub(super) fn adopt_message(&self, link: LinkId) -> Option<Message> {
        let l = self.leading().filter(|l| self.durable(l.recorded))?;
        Some(Message::Adopt {
            epoch: l.grant.epoch,
            version: l.version,
            lineage: self.sb.lineage.clone(),
            members: self.told_members(link),
        })
    }

    /// R1: call this before proposing `pending` to the quorum, and with `None` once it is known
    /// that the proposal failed. Until then flushes wait for the union of both sets. Refused when
    /// `pending` names a peer that is neither a member nor synced: its copy lacks acknowledged writes.
    pub fn set_pending(&mut self, now: Duration, pending: Option<MemberSet>) -> Result<(), Denied> {
        self.now = self.now.max(now);
        if self.leading().is_none() {
            return Err(Denied::NotLeading);
        }
        let me = self.me();
        let may = |m: &Member| *m == me || self.counts(m) || self.may_join(m);
        if let Some(bad) = pending.iter().flatten().find(|m| !may(m)) {
            return Err(Denied::NotSynced(bad.node));
        }
        if let Role::Leading(l) = &mut self.role {
            l.pending = pending;
        }
        self.advance();
        Ok(())
    }

    pub(super) fn may_write(&self) -> Result<(), Denied> {
        if let Some(why) = self.unusable() {
            return Err(why);
        }
        match self.leading() {
            Some(l) if l.request.is_none() => Ok(()),
            _ => Err(Denied::NotLeading),
        }
    }

    /// The leadership is over: its handle fails for ever (R4).
    pub(super) fn fence(&mut self, current: u64) {
        let Some(held) = self.leading().map(|l| l.grant.epoch) else { return };
        let why = Denied::Fenced { held, current };
        self.leave_targets();
        self.fail_local(why);
        self.role = Role::Follower;
        self.settle_recent();
        self.event(Event::Fenced { held, current });
    }

    fn leave_targets(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.end_target(link);
        }
    }

    /// Tells the leader we followed, if any, that it is fenced; the link stays up for the next one.
    fn leave_source(&mut self) {
        let current = self.floor;
        if let Some(link) = self.source_link() {
            self.tell_fenced(link, current);
            if let Some(l) = self.links.get_mut(&link) {
                l.side = Side::Idle;
            }
        }
    }

    pub(super) fn roll_back(&mut self, request: RequestId) {
        let why = match self.unusable() {
            Some(why) => Some(why),
            None if self.rollback.is_some() || self.raise.is_some() => Some(Denied::Busy),
            None if self.sb.sync.is_none() => Some(Denied::NoRollback("the replica is consistent")),
            None if self.sb.undo_lost => Some(Denied::NoRollback("its before-images were given up")),
            None => None,
        };
        match why {
            Some(why) => self.done(request, Err(why)),
            None => {
                if let Some(link) = self.source_link() {
                    self.refuse(link, Refusal::Closing);
                }
                self.start_rollback(request);
            }
        }
    }

    pub(super) fn close(&mut self, request: RequestId) {
        if let Some(why) = self.unusable() {
            return self.done(request, Err(why));
        }
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.refuse(link, Refusal::Closing);
        }
        self.end_session(Denied::Closed);
        self.fail_local(Denied::Closed);
        self.role = Role::Closed;
        self.settle_recent();
        self.closing = Some(Closing { request, commit: None });
    }

    pub(super) fn pump_close(&mut self) {
        let Some(closing) = &self.closing else { return };
        let (request, commit) = (closing.request, closing.commit);
        if self.writes_in_flight > 0 || self.raise.is_some() || self.rollback.is_some() {
            return;
        }
        if self.local.flushed < self.order {
            self.local.wanted = self.order;
            return;
        }
        match commit {
            None => {
                // The bitmaps now say exactly what the hot extents stood for.
                self.hot.clear();
                self.sums.cool_all();
                let commit = self.touch_with_pages();
                self.closing = Some(Closing { request, commit: Some(commit) });
            }
            Some(commit) if self.durable(commit) => {
                self.closing = None;
                self.done(request, Ok(Reply::Closed));
            }
            Some(_) => {}
        }
    }
}
