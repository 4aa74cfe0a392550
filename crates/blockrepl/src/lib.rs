//! A replicated block device in user space: what its one writer was told is flushed is on the disk
//! of every in-sync replica, whatever dies next.
//!
//! ```
//! use posthaste_blockrepl::*;
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let member = |n: u64| Member { node: NodeId(n), device: DeviceId([n as u8; 16]) };
//! let open = |n: u64| {
//!     let paths = Paths { data: dir.path().join(format!("{n}.data")), meta: dir.path().join(format!("{n}.meta")) };
//!     let (cluster, volume) = (ClusterId([7; 16]), VolumeId([8; 16]));
//!     let identity = Identity { cluster, volume, device: member(n).device, node: NodeId(n) };
//!     Volume::create(&paths, &identity, 1 << 20, Options::default())
//! };
//! let (a, b) = (open(1)?, open(2)?);
//!
//! // Whoever decides, a quorum or an operator, grants. The epoch is raised before it is led (R4).
//! let grant = Grant::new(1, NodeId(1), [member(1), member(2)].into(), 1);
//! a.raise_epoch(grant.epoch).await?;
//! let device = a.lead(grant).await?;
//!
//! // Any byte stream links two replicas; here a pipe.
//! let (ours, mut theirs) = tokio::io::duplex(64 << 10);
//! let accept = async { b.accept(Hello::read(&mut theirs).await?, theirs).await };
//! let (dialled, accepted) = tokio::join!(a.attach(NodeId(2), ours), accept);
//! let _links = (dialled?, accepted?);
//!
//! tokio::task::spawn_blocking(move || {
//!     device.write_at(4096, b"on both disks")?;
//!     device.flush()
//! })
//! .await??;
//! # Ok(())
//! # }
//! ```
//!
//! # The types
//!
//! [`Volume`] is one replica on its disks; [`Volume::lead`] gives the only handle that writes, a
//! [`BlockDevice`]. Its owner tells it who leads ([`Grant`]), and hears from it by [`core::Event`] what
//! to propose next. [`core::Replica`] is the same replica without disks, links, threads and clock,
//! for embedders and simulators; its driving contract stands in [`core`]. [`nbd`] exports a handle to programs
//! that speak NBD (feature `nbd`, on by default).
//!
//! # Protocols, resync
//!
//! A peer is under [`Protocol`] C, B or A: a flush waits for its disk, for its memory, or not at all. The configured
//! one is changed for one peer with [`Volume::set_protocol`], at any time and without a copy. Under A and B a peer follows
//! the stream ([`Event::PeerFollows`]) and is never a member of the in-sync set; brought to C it is
//! a candidate as soon as it has caught up (`PeerSynced`). A member that goes to A or B is waited for until a grant leaves it out.
//! A copy under A or B that is made to lead by force knows that it lacked something: the others then show as `Diverged`.
//!
//! The leader is the source of every resync, so its direction follows the leadership. It copies as fast as it
//! can while nobody writes; the leader's own flushes come first (`Config::resync_delay_target`, down to `resync_rate_min`).
//! `resync_by_digest` compares before it copies. [`Volume::pause_resync`] holds it: that is how an owner of many volumes
//! puts them in an order. After a break it goes on where it stopped, under the same leader; a
//! peer that a leader left half-copied is copied in full by the next one (by digest: compared in full).
//!
//! A new replica joins as a blank one that connects: it is copied in full and then is a candidate. One that a grant has left out
//! is taken out for good by [`Volume::forget`].
//!
//! [`Volume::resize`] grows the device in use, [`Volume::shrink`] cuts it off. NBD clients see the new size when they connect anew.
//!
//! # Several writers
//!
//! A [`Grant`] may name writers besides the leader. On their nodes [`Volume::join`] gives a handle of the
//! same epoch: writes are forwarded to the leader, which gives them their place in its stream; all copies
//! apply them in that order. A write is complete, and may be read, once every copy that is read has it.
//!
//! ```
//! # use posthaste_blockrepl::*;
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let member = |n: u64| Member { node: NodeId(n), device: DeviceId([n as u8; 16]) };
//! # let open = |n: u64| {
//! #     let paths = Paths { data: dir.path().join(format!("{n}.data")), meta: dir.path().join(format!("{n}.meta")) };
//! #     let (cluster, volume) = (ClusterId([7; 16]), VolumeId([8; 16]));
//! #     let identity = Identity { cluster, volume, device: member(n).device, node: NodeId(n) };
//! #     Volume::create(&paths, &identity, 1 << 20, Options::default())
//! # };
//! # let (a, b) = (open(1)?, open(2)?);
//! # let (ours, mut theirs) = tokio::io::duplex(64 << 10);
//! # let accept = async { b.accept(Hello::read(&mut theirs).await?, theirs).await };
//! let grant = Grant::new(1, NodeId(1), [member(1), member(2)].into(), 1).with_writers([NodeId(2)]);
//! a.raise_epoch(grant.epoch).await?;
//! let here = a.lead(grant).await?;
//! # let (dialled, accepted) = tokio::join!(a.attach(NodeId(2), ours), accept);
//! # let _links = (dialled?, accepted?);
//! let there = b.join(1).await?;
//! let lease = b.lease_range(1, 0, 4096).await?; // optional: nobody else writes here meanwhile
//! tokio::task::spawn_blocking(move || {
//!     there.write_at(0, b"from there")?;
//!     let mut seen = [0; 10];
//!     here.read_at(0, &mut seen)?;
//!     assert_eq!(&seen, b"from there");
//!     here.flush()
//! })
//! .await??;
//! drop(lease);
//! # Ok(())
//! # }
//! ```
//!
//! A writer whose copy is in step reads it at home, and asks the leader meanwhile whether writes still wait for that copy: a
//! round trip beside the disk's time. So the leader alone decides whose copies writes wait for. It stops waiting when a
//! link ends or a grant takes the writer out; a writer that has heard of neither shows nothing, and its reads wait. A leader whose disk
//! failed: let an in-sync peer lead a higher epoch with this node among the writers, and [`join`](Volume::join) it with
//! the same [`Volume`], which is now one [without a disk](Volume::diskless); to attach a disk again, open it as another
//! `Volume`, link it and join.
//!
//! # Disks
//!
//! [`Options::direct`] reads and writes past the page cache. Through it (the default), reads of what was written lately cost no I/O
//! and small writes are gathered until a flush, at the price of one more copy in memory; past it is right
//! where a guest or a file system above has a cache of its own. Both give the same guarantees, and so does `io_uring` (feature
//! `io-uring`, for direct disks only, where writes wait for the disk): it is off by default, for through the page cache there is
//! nothing to wait for. [`Volume::with_disks`] takes any [`Disk`]; [`disk::conformance`] checks one.
//!
//! [`Volume::metrics`] counts, [`Volume::events`] tells with reasons.
//!
//! # Links
//!
//! Any byte stream is a link. A [`bond::Bond`] is one over several paths, and outlives each of them. A `Secret` (feature
//! `secret`) makes both sides prove that they know it, and seals what follows; without it, or TLS, whoever reaches the port may say to be
//! any node. Unsealed, the proof says who began the link, and nothing of what is changed on its way later.
//!
//! # What the owner must do
//!
//! - Grow the epoch with each change of leader, never give one epoch to two leaders, and take a new
//!   leader only from the in-sync set, by node *and* device, and only if [`Raised::consistent`] (R1).
//! - Grow the generation when the set loses a member: at a takeover and at a removal. When two
//!   sides may each have been told to lead (an operator's force), both must grow.
//! - Call [`Volume::set_pending`] before each proposal to change the set, and clear it only when the
//!   outcome is known; apply grants in the order of their commits.
//! - Take nodes from the writers, and let them in again, whenever you like. A higher *epoch* is another matter: until it
//!   hears of that, a former leader goes on answering reads, its own and those of its writers. Where no read may be out of date, these
//!   answer only under a lease (R5), and the handle of the higher epoch is used when all of them are over.
//! - To choose among several, see [`Status::candidate`](core::Status). An [heir](core::Status) may be led at once.
//! - On `PeerLost { in_sync: true }`, decide: wait, or propose its removal. On `PeerSynced`, propose
//!   to add it. Of two nodes, let one dial, again and again.
//!
//! # Integrity, and split brain
//!
//! Each block of 4096 bytes has a checksum beside the metadata. [`Volume::verify`] compares the copies,
//! [`Volume::scrub`] reads one against its checksums; both name the copy that is wrong and heal it from the right
//! one, as does a read of a bad sector, or any read with [`Config::verify_reads`]. What was hot at a crash has no
//! checksums until a verify; a block that is written in parts has none either. What another writer reads is checked where it
//! is read, its own disk or the leader's, and an answer of the leader's once more where it arrives.
//!
//! A bad sector of a resync's source is healed from a copy in step; without one, its granule is left out and told
//! ([`Event::Unreadable`]) until it can be read or is written to, and more than [`Config::unreadable_max`] of them fail the disk.
//!
//! What a resync, or the healing of a peer, copies is compared with the checksums first. A damaged block is healed from a copy in
//! step that has it right, or from the very target, which is overwritten with damage only if it was asked before and has it no better. Who
//! writes or reads there waits for a target that does not answer for four times [`Config::slow_after`]; it then gets the rest first.
//! What no copy has right is copied as it is, and told ([`Event::DamageCopied`]):
//! the target, too, answers a read of it with [`Denied::Corrupt`] until it is written, also after a crash or a rollback, and whatever
//! `verify_reads` says. The same holds for a block that a verify or a scrub found damaged in all copies, and for what a rollback
//! brings back. 512 such blocks can be noted; more are left out as bad sectors are, though the disk does not count as failed. A write
//! of a part of such a block fails with [`Denied::Corrupt`]: a write of all of it makes it sound.
//!
//! When both sides wrote since they parted, [`Event::SplitBrain`] describes it and [`Config::split_brain`] or an
//! operator decides. What is given up is kept first ([`Volume::snapshots`], [`Volume::open_snapshot`]); then only what
//! either side wrote since is copied, if both bitmaps go back to where they parted, otherwise everything.
//!
//! # What it does not do yet
//!
//! A writer under protocol A or B reads at the leader. A replica that a leader left half-copied is copied in full by
//! the next one. A reread after healing may come from the page cache. A cloned image of a lost generation is not read, so damage in it
//! is not told. A write of a part of a block that is not known to be damaged takes what is around it for sound, also with
//! [`Config::verify_reads`]. Of blocks whose checksums are
//! void (after a crash, or written in parts) no damage is found, by the source of a resync neither. A before-image of the
//! last that were written may rot untold until the metadata is next flushed, by a new epoch if by nothing else.
//!
//! On-disk and wire formats are drawn in `docs/format.md`.

#[macro_use]
mod known_bugs;

mod bitmap;
pub mod bond;
#[cfg(feature = "bugs")]
#[doc(hidden)]
pub mod bugs;
#[cfg(not(feature = "bugs"))]
mod bugs;
mod codec;
mod config;
pub mod core;
mod data;
mod device;
pub mod disk;
mod driver;
mod ids;
mod meta;
#[cfg(feature = "nbd")]
pub mod nbd;
mod order;
mod pool;
#[cfg(feature = "secret")]
mod secret;
mod snapshot;
pub mod wire;
mod zeros;

pub use bitmap::{EXTENT, GRANULE};
pub use config::{Config, Congestion, LowRedundancy, Protocol, SplitBrainPolicy, UndoPolicy};
pub use core::{Denied, Event, Status};
pub use data::Data;
pub use device::{BlockDevice, DeviceError};
pub use disk::{DirectDisk, Disk, FileDisk, MemDisk, VolatileDisk};
pub use driver::{
    Count, LATENCY_BOUNDS_US, Latency, Link, LinkError, Metrics, Options, Paths, RangeLease, Volume, Written,
};
pub use ids::{
    ClusterId, DeviceId, GenerationId, Grant, Identity, Lineage, Member, MemberSet, NodeId, Raised, VolumeId,
};
pub use meta::{DATA_HEADER_LEN, FORMAT_VERSION, OpenError};
pub use order::{ResyncOrder, Turn};
#[cfg(feature = "secret")]
pub use secret::{Guarded, Secret, SecretError};
pub use snapshot::{FileSnapshots, SnapshotStore};
pub use wire::Hello;
pub use zeros::Zeros;
