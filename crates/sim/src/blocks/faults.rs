//! What goes wrong.

use posthaste_blockrepl::Protocol;

/// Whom a fault hits; chosen when it happens.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// This member.
    Member(usize),
    /// Whoever leads then (or led last).
    Leader,
    /// One of the other copies.
    Follower,
    /// The one that the fault before has hit.
    Same,
    /// The member without a copy, or the last one.
    Witness,
}

/// One thing that goes wrong, or right again.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Fault {
    /// The process dies; with `power` the disk's cache, too.
    Kill {
        who: Who,
        power: bool,
    },
    /// All that do not run are started.
    StartAll,
    /// This one is.
    Start(Who),
    Pause {
        who: Who,
        ms: u64,
    },
    /// Nothing passes between two members, in either direction.
    Cut {
        a: usize,
        b: usize,
        on: bool,
    },
    /// Nothing passes from one to the other.
    OneWay {
        from: usize,
        to: usize,
    },
    /// Cut off from everybody.
    Isolate(Who),
    /// The leader and this copy lose their replication link, nothing else.
    LinkCut(Who),
    /// All cuts end.
    Mend,
    Delay(u64),
    LostAnswers(u64),
    SlowDisk {
        who: Who,
        times: u64,
    },
    FailFlush {
        who: Who,
        meta: bool,
    },
    FailIo {
        who: Who,
        meta: bool,
    },
    Hang {
        who: Who,
        meta: bool,
    },
    /// What the disk says is flushed is not.
    Lie(Who),
    Lose(Who),
    Misdirect(Who),
    Flip(Who),
    /// A bit flips in a block with a checksum; if there is one, in a block that the others lack.
    Rot(Who),
    /// A clock is put forward, or what the replica is told jumps about.
    ClockJump {
        who: Who,
        ms: u64,
        back: bool,
    },
    /// A planned move.
    Move,
    /// The leader compares the copies.
    Verify,
    /// An operator makes the device larger.
    Resize,
    /// Or smaller.
    Shrink,
    /// So many copies must be in sync for writes.
    Redundancy(usize),
    /// Who is not counted as in sync gets a new, blank device.
    Replace(Who),
    /// The operator lets a node lead that nobody counts.
    Force(Who),
    /// The operator decides for the forced one.
    ForcedWins,
    /// A protocol changes while all runs.
    Protocol {
        who: Who,
        protocol: Protocol,
    },
    /// The operator lets a follower lead, accepting what it lacks.
    Promote(Who),
    /// Data and metadata cannot grow.
    NoRoom(Who),
    /// Some sectors cannot be read until they are written.
    Latent(Who),
    /// Who is not counted is taken out for good.
    Forget(Who),
    /// A replica reads its copy against its checksums.
    Scrub(Who),
    /// The owner gives the disk up, as if it had failed.
    Detach(Who),
    /// So many of a writer's operations, per mille, ask for a range for itself.
    Leases(u64),
    /// So many of clients' writes, per mille, are of zeros.
    Zeros(u64),
    /// The pace of clients, in microseconds.
    Pace(u64),
    /// Owners wait for a member that is away for so many milliseconds before they have it removed.
    Patience(u64),
}
