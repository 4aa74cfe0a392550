//! Known bugs of the core, to be switched on one at a time: what a test finds is what it is worth. (Feature
//! `bugs`, for tests of this crate's tests only; without it every switch is a constant `false`.)

macro_rules! bugs {
    ($($name:ident = $text:literal: $doc:literal,)*) => {
        /// One known bug.
        #[cfg_attr(not(feature = "bugs"), allow(dead_code, unreachable_pub))]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $doc] $name,)*
        }

        #[cfg(feature = "bugs")]
        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What is wrong.
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

bugs! {
    SkipEpochCheck = "skip-epoch-check": "A leader of a lower epoch is obeyed.",
    AckBeforePeer = "ack-before-peer": "A flush is acknowledged when the local disk has done it.",
    ForgetBit = "forget-bit": "Of a write across two granules that is not sent, only the first is marked.",
    ForgetUnflushed = "forget-unflushed": "What a lost peer had not flushed is not marked.",
    LeadHalf = "lead-half": "A copy in the midst of a resync calls itself consistent, leads and is copied: the wrong way.",
    RetryFlush = "retry-flush": "A failed flush is tried again.",
    ForgetHot = "forget-hot": "The hot extents are forgotten at a restart.",
    ForgetUnion = "forget-union": "While a change of the set is pending, acknowledgements count on the old set alone.",
    NoMark = "no-mark": "A target of a resync is not marked as inconsistent.",
    UndoUnflushed = "undo-unflushed": "Where other before-images are durable already, a granule is overwritten before its own is.",
    LoseBeforeImage = "lose-before-image": "Some before-images are not kept.",
    OutOfOrder = "out-of-order": "Of two writes that wait on a follower, the later one is done first.",
    ClearBeforeFlush = "clear-before-flush": "A bit is cleared when its copy is sent.",
    RemovedCounts = "removed-counts": "A removed member that returns counts as up to date at once.",
    StableTooEarly = "stable-too-early": "Followers may forget what a member that is away still lacks.",
    ForgetTheirBits = "forget-their-bits": "What differs by the returning peer's account is ignored.",
    CopyOvertakes = "copy-overtakes": "A write does not wait for the copy of its granule that is being read.",
    OwnFirst = "own-first": "Of several writers, each does its own writes before those that were ordered before.",
    LeaseOutlives = "lease-outlives": "A range lease goes on when its holder is gone for good.",
    LeaseIgnored = "lease-ignored": "A range lease does not keep other nodes' writes out.",
    VisibleEarly = "visible-early": "A write is complete before the copies that are read elsewhere have it.",
    ForwardTwice = "forward-twice": "A writer that was taken out and returns is not told which of its writes were ordered, and sends them again.",
    UnvouchedRead = "unvouched-read": "A writer shows what it read at home without asking whether its leader still waits for that copy.",
    RaceForgotten = "race-forgotten": "Two writes raced, and the first is complete when the second gets its turn: that is not told.",
    GrownEarly = "grown-early": "A growth is told before it is durable.",
    SnapshotForgets = "snapshot-forgets": "What a snapshot lists as written lacks its last range.",
    SnapshotLate = "snapshot-late": "The loser's image is called whole before all of it is copied.",
    AckUnreceived = "ack-unreceived": "Under protocol B a flush is answered before the peer has the writes.",
    TrustBlocks = "trust-blocks": "What a checked read finds is not compared with its checksums.",
    UncheckedSource = "unchecked-source": "The source of a resync does not compare what it copies with its checksums.",
    AckUnflushed = "ack-unflushed": "A follower answers a flush before its disk has.",
}
