//! Known bugs, to be switched on one at a time: what a checker finds is what it is worth.
//!
//! Each passes the fault-free scenario. Without the feature `bugs` none can be switched on.

bugs! {
    AckBeforeFlush = "ack-before-flush": "A write is acknowledged when it is visible, not when it is durable.",
    OpenBeforeLeaseEnd = "open-before-lease-end": "A voter tells the successor that its last grant is old, so nobody waits.",
    ForgetUnionHeld = "forget-union-held": "A join is proposed before acknowledgements count on the union.",
    FormatOnRejoin = "format-on-rejoin": "A node that starts formats its copies anew under their old ids.",
    EarlyRemoval = "early-removal": "A lost copy is dropped from the set before the quorum says so.",
    ServeWithoutLease = "serve-without-lease": "The lease is not checked before a reply leaves.",
    ForgetAbandon = "forget-abandon": "A leadership that is over goes on answering readers.",
    AmnesiacVotes = "amnesiac-votes": "A voter that lost its store votes at once.",
    ForgetfulGrantor = "forgetful-grantor": "A voter that restarted says that its last grant is long ago.",
    RetryFlush = "retry-flush": "A failed flush of the data is tried again, and says that all is well.",
    LyingFlush = "lying-flush": "A flush of the data reports before it has saved anything.",
    LyingMetaFlush = "lying-meta-flush": "A flush of the metadata reports before it has saved anything.",
    DropLater = "drop-later": "An address is said to be dropped while it is still there.",
    NoRollback = "no-rollback": "A new leader that was being resynced does not go back, and never opens.",
    DirtyRead = "dirty-read": "A reader is shown what is not durable everywhere yet.",
    OpenBeforeFlush = "open-before-flush": "A volume is open before the record of its epoch is durable.",
    LeaseFromAnswer = "lease-from-answer": "A lease is counted from the answer, not from the sending of the renewal.",
    NoLookAround = "no-look-around": "A new leadership waits for events that came before it.",
    ClearThenGrant = "clear-then-grant": "A pending union is over before the set that it became is taken.",
    OldIncarnation = "old-incarnation": "A restarted process says it is the life that was admitted.",
}

impl Bug {
    /// The scenario in which to hunt it, where mixed seeds would take long.
    pub fn haunt(self) -> Option<&'static str> {
        match self {
            Self::AmnesiacVotes => Some("amnesiac_voter"),
            Self::ForgetfulGrantor => Some("voter_restarts_under_a_lease"),
            Self::ForgetUnionHeld | Self::ClearThenGrant => Some("restart_storm"),
            Self::NoRollback | Self::OldIncarnation => Some("source_lost_during_resync"),
            Self::LeaseFromAnswer => Some("message_loss"),
            Self::NoLookAround => Some("failed_open"),
            _ => None,
        }
    }

    /// The bug of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|b| b.name() == name)
    }
}

/// The bug that is switched on in a run, if any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switch(Option<Bug>);

impl Switch {
    /// Nothing, or this one.
    pub fn new(bug: Option<Bug>) -> Self {
        Self(bug)
    }

    /// Whether `bug` is on.
    pub fn is(self, bug: Bug) -> bool {
        cfg!(feature = "bugs") && self.0 == Some(bug)
    }
}
