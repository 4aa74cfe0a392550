//! Split brain: both sides wrote since they parted. What policy says of it (M5).

use super::*;
use crate::config::SplitBrainPolicy;
use crate::ids::{GenerationId, Lineage};

impl Replica {
    /// The picture that a policy, or an operator, decides on.
    pub(super) fn split_brain(&self, member: Member, answer: &Message) -> Option<SplitBrain> {
        let Message::BeginAck { lineage, base, changed, .. } = answer else { return None };
        let common = self.sb.lineage.common(lineage);
        let bytes = |granules: u32| u64::from(granules.min(self.layout.granules())) * self.layout.granule;
        // Each side's notes for the other one, if they begin where the two parted.
        let slot = self.slot_of(member.device).map(|s| &self.slots[s]);
        let ours = slot.filter(|s| Some(s.head.base) == common).map(|s| bytes(s.bits.count()));
        let theirs = (common.is_some() && Some(*base) == common).then(|| bytes(*changed));
        let mut split = SplitBrain {
            peer: member.node,
            device: member.device,
            common,
            ours: Branch { first: first_after(&self.sb.lineage, common), changed_bytes: ours },
            theirs: Branch { first: first_after(lineage, common), changed_bytes: theirs },
            verdict: Verdict::Undecided,
        };
        split.verdict = self.config.split_brain.decide(self.me().node, &split);
        Some(split)
    }
}

/// The generation with which a side went its own way.
fn first_after(lineage: &Lineage, common: Option<GenerationId>) -> Option<GenerationId> {
    let entries = lineage.entries();
    let at = common.and_then(|c| entries.iter().position(|e| *e == c)).map_or(0, |at| at + 1);
    entries.get(at).copied()
}

impl SplitBrainPolicy {
    /// Whose data is to be given up.
    pub fn decide(self, me: NodeId, split: &SplitBrain) -> Verdict {
        let lose = |ours: bool| if ours { Verdict::OursLoses } else { Verdict::TheirsLoses };
        if split.common.is_none() {
            // Unrelated data is for an operator alone.
            return Verdict::Undecided;
        }
        let epochs = split.ours.first.map(|g| g.epoch).zip(split.theirs.first.map(|g| g.epoch));
        let younger = epochs.filter(|(a, b)| a != b).map(|(ours, theirs)| ours > theirs);
        let changed = split.ours.changed_bytes.zip(split.theirs.changed_bytes);
        let verdict = match self {
            SplitBrainPolicy::Disconnect => None,
            SplitBrainPolicy::DiscardPeer => Some(lose(false)),
            SplitBrainPolicy::DiscardYounger => younger.map(lose),
            SplitBrainPolicy::DiscardOlder => younger.map(|ours| lose(!ours)),
            SplitBrainPolicy::DiscardZeroChanges => match changed {
                Some((_, 0)) => Some(lose(false)),
                Some((0, _)) => Some(lose(true)),
                _ => None,
            },
            SplitBrainPolicy::DiscardLeastChanges => {
                changed.filter(|(a, b)| a != b).map(|(ours, theirs)| lose(ours < theirs))
            }
            SplitBrainPolicy::DiscardNode(node) if node == me => Some(lose(true)),
            SplitBrainPolicy::DiscardNode(node) if node == split.peer => Some(lose(false)),
            SplitBrainPolicy::DiscardNode(_) => None,
        };
        verdict.unwrap_or(Verdict::Undecided)
    }
}
