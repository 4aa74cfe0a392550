//! No, and why.

use std::fmt;

use crate::codec::Short;

/// Why a replica will not talk, in words for the other side's log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A higher epoch is known here: the addressee's leadership is over (R4).
    Fenced {
        /// That epoch.
        current: u64,
    },
    /// The addressee belongs to another cluster.
    WrongCluster,
    /// No such volume here.
    UnknownVolume,
    /// The addressee shows this replica's own node or device id.
    OwnIdentity,
    /// The addressee's copy was created with other granules: one of the two must be created anew.
    OtherGranule {
        /// Bytes of those here.
        ours: u32,
    },
    /// The disk here has failed (R11).
    DiskFailed,
    /// The data of the two sides do not descend from each other; an operator must choose.
    Diverged,
    /// The grant no longer counts the addressee as in sync; it returns by connecting anew.
    Removed,
    /// The undo area is full and the policy is to hold (R9).
    UndoFull,
    /// The device was to grow, and there is no room for it here.
    CannotGrow,
    /// More blocks are damaged than can be noted here.
    TooDamaged,
    /// The frame does not belong here.
    Protocol,
    /// The data here, which the leader's does not descend from, could not be kept as a snapshot; it was not
    /// overwritten.
    CannotKeep,
    /// The addressee did not prove that it knows the secret that this side asks for.
    Unauthenticated,
    /// The addressee began otherwise than this side is set up for: with or without a secret, with one path or several.
    OtherSetup,
    /// The link that the addressee would go on with on another path has ended here; connect anew.
    SessionOver,
    /// This replica is closing down, or a newer link replaces this one.
    Closing,
    /// The leader's grant does not name the addressee's node as a writer. The link stays up.
    NotWriter {
        /// The leader's epoch.
        epoch: u64,
    },
    /// The sender led and was told to stop. A successor needs an epoch above this. The link stays up.
    Resigned {
        /// The epoch the sender raised.
        current: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Fenced { current } => write!(f, "fenced: epoch {current} is known"),
            Refusal::WrongCluster => f.write_str("the replica belongs to another cluster"),
            Refusal::UnknownVolume => f.write_str("no such volume here"),
            Refusal::OwnIdentity => f.write_str("the other side has the same node or device id"),
            Refusal::OtherGranule { ours } => {
                write!(
                    f,
                    "the copies were created with different granules, this one with {ours} bytes: create one anew"
                )
            }
            Refusal::DiskFailed => f.write_str("the disk has failed"),
            Refusal::Diverged => f.write_str("the two copies have diverged; an operator must choose one"),
            Refusal::Removed => f.write_str("removed from the in-sync set; connect anew to be resynced"),
            Refusal::UndoFull => f.write_str("the undo area is full and the policy is to hold"),
            Refusal::CannotGrow => f.write_str("there is no room for the larger device"),
            Refusal::CannotKeep => f.write_str("the data that would be lost could not be kept as a snapshot"),
            Refusal::TooDamaged => f.write_str("more blocks are damaged than can be noted"),
            Refusal::Protocol => f.write_str("a frame that does not belong here"),
            Refusal::Unauthenticated => f.write_str("no proof of the same secret"),
            Refusal::OtherSetup => f.write_str("the two sides differ in their secret or their paths"),
            Refusal::SessionOver => f.write_str("that link has ended; connect anew"),
            Refusal::Closing => f.write_str("closing, or replaced by a newer link"),
            Refusal::NotWriter { epoch } => write!(f, "the grant of epoch {epoch} names no such writer"),
            Refusal::Resigned { current } => write!(f, "leads no more: epoch {current} is known"),
        }
    }
}

pub(super) fn code(r: &Refusal) -> (u8, u64) {
    match r {
        Refusal::Fenced { current } => (1, *current),
        Refusal::WrongCluster => (2, 0),
        Refusal::UnknownVolume => (3, 0),
        Refusal::OwnIdentity => (5, 0),
        Refusal::OtherGranule { ours } => (12, u64::from(*ours)),
        Refusal::DiskFailed => (6, 0),
        Refusal::Diverged => (7, 0),
        Refusal::Removed => (8, 0),
        Refusal::UndoFull => (9, 0),
        Refusal::Protocol => (10, 0),
        Refusal::Closing => (11, 0),
        Refusal::NotWriter { epoch } => (32, *epoch),
        Refusal::Resigned { current } => (33, *current),
        Refusal::CannotKeep => (48, 0),
        Refusal::CannotGrow => (64, 0),
        Refusal::TooDamaged => (65, 0),
        Refusal::Unauthenticated => (80, 0),
        Refusal::OtherSetup => (81, 0),
        Refusal::SessionOver => (82, 0),
    }
}

pub(super) fn parse(code: u8, value: u64) -> Result<Refusal, Short> {
    if value != 0 && !matches!(code, 1 | 12 | 32 | 33) {
        return Err(Short);
    }
    Ok(match code {
        1 => Refusal::Fenced { current: value },
        2 => Refusal::WrongCluster,
        3 => Refusal::UnknownVolume,
        5 => Refusal::OwnIdentity,
        6 => Refusal::DiskFailed,
        7 => Refusal::Diverged,
        8 => Refusal::Removed,
        9 => Refusal::UndoFull,
        10 => Refusal::Protocol,
        11 => Refusal::Closing,
        12 => Refusal::OtherGranule { ours: u32::try_from(value).map_err(|_| Short)? },
        32 => Refusal::NotWriter { epoch: value },
        33 => Refusal::Resigned { current: value },
        48 => Refusal::CannotKeep,
        64 => Refusal::CannotGrow,
        65 => Refusal::TooDamaged,
        80 => Refusal::Unauthenticated,
        81 => Refusal::OtherSetup,
        82 => Refusal::SessionOver,
        _ => return Err(Short),
    })
}
