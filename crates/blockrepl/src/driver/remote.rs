//! Writing through another node's leader: the handle, and range leases.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::shared::{LONG, Shared};
use super::{Owner, Volume};
use crate::config::Config;
use crate::core::{Denied, Input, LeaseId, RemoteOp, Replica, Reply, RequestId, WRITE_MAX};
use crate::device::{BlockDevice, DeviceError};
use crate::disk::MemDisk;
use crate::ids::Identity;
use crate::meta::OpenError;
use crate::snapshot::NoSnapshots;

/// Limits of time are looked at this often.
const TICK: Duration = Duration::from_millis(100);

impl Volume {
    /// A node without a disk of its own, or whose disk is away: it follows and leads nothing, and can
    /// only [`join`](Self::join). `identity.device` is of no importance.
    pub fn diskless(identity: &Identity, size: u64, config: Config) -> Result<Volume, OpenError> {
        let core = Replica::diskless(config.clone(), identity, size)?;
        let none = || Arc::new(MemDisk::new(0));
        Self::start(Shared::new(core, (none(), none()), Arc::new(NoSnapshots), &config))
    }

    /// Becomes a second writer: a handle on the device that another node leads in `epoch`, whose grant must
    /// name this node among its [`writers`](crate::Grant::writers). Waits until that leader is connected.
    ///
    /// The leader orders all writes. A write completes when every copy that is read has it, so reads on
    /// all handles of the epoch are linearizable, block by block. While this replica is in step they are
    /// served from its own disk, and the leader is asked beside it whether writes still wait for this copy; during
    /// a resync, without a disk, and after it failed, they are served by the leader. While
    /// the leader is away operations wait, or fail as `Config::leader_wait` says. The handle belongs to
    /// the epoch: it fails for ever once a higher one is known, the grant leaves this node out (R4), or the leader's
    /// process was started anew.
    /// A new handle ends the one before it; dropping it leaves.
    pub async fn join(&self, epoch: u64) -> Result<Arc<dyn BlockDevice>, Denied> {
        self.keep_ticking();
        let owner = self.owner.clone();
        // If the caller loses patience, the session still ends with the handle.
        let task = tokio::spawn(async move {
            let handle = RemoteHandle::new(owner, epoch);
            let session = handle.session;
            handle.owner.shared.ask(|request| Input::Join { request, epoch, session }).await?;
            Ok(Arc::new(handle) as Arc<dyn BlockDevice>)
        });
        task.await.unwrap_or(Err(Denied::Closed))
    }

    /// N3: from the answer until the guard is dropped, no other writer of `epoch` writes to these `len` bytes
    /// at `offset`: their writes wait. For the leader's handle and for one that [joined](Self::join). Leases
    /// end with the epoch, when a grant takes their holder out, and when it has been away for `Config::lease_grace`; a holder
    /// that is cut off finds that out when it is back, and until then can neither read nor write.
    pub async fn lease_range(&self, epoch: u64, offset: u64, len: u64) -> Result<RangeLease, Denied> {
        self.keep_ticking();
        let owner = self.owner.clone();
        let task = tokio::spawn(async move {
            match owner.shared.ask(|request| Input::Lease { request, epoch, offset, len }).await? {
                Reply::Leased(lease) => Ok(RangeLease { owner, lease, offset, len }),
                _ => Err(Denied::Closed),
            }
        });
        task.await.unwrap_or(Err(Denied::Closed))
    }

    /// Links tick while they are up; what waits for one needs time to pass without any.
    fn keep_ticking(&self) {
        let shared = &self.owner.shared;
        if !shared.ticking.swap(true, Ordering::Relaxed) {
            tokio::spawn(tick(Arc::downgrade(shared)));
        }
    }
}

async fn tick(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(shared) = shared.upgrade().filter(|s| !s.stopped()) else { return };
        shared.input(Input::Tick);
    }
}

/// A range of the device that only its holder writes to. Dropping it gives it back.
#[derive(Debug)]
pub struct RangeLease {
    owner: Arc<Owner>,
    lease: LeaseId,
    offset: u64,
    len: u64,
}

impl RangeLease {
    /// Where it begins, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How long it is, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never: a lease of nothing is refused.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its name in [`Event::LeaseLost`](crate::Event::LeaseLost).
    pub fn id(&self) -> LeaseId {
        self.lease
    }

    /// Whether it still holds, as far as is known here.
    pub fn is_held(&self) -> bool {
        self.owner.shared.state().core.holds(self.lease)
    }
}

impl Drop for RangeLease {
    fn drop(&mut self) {
        self.owner.shared.input(Input::Unlease(self.lease));
    }
}

/// One session under another node's leadership.
#[derive(Debug)]
struct RemoteHandle {
    owner: Arc<Owner>,
    epoch: u64,
    session: u64,
    dead: OnceLock<DeviceError>,
}

impl RemoteHandle {
    fn new(owner: Arc<Owner>, epoch: u64) -> Self {
        RemoteHandle { owner, epoch, session: random(), dead: OnceLock::new() }
    }

    fn call(&self, op: RemoteOp) -> Result<Reply, DeviceError> {
        if let Some(why) = self.dead.get() {
            return Err(why.clone());
        }
        let session = self.session;
        let make = |request: RequestId| Input::Remote { request, session, op };
        self.owner.shared.call(false, make).map_err(|why| self.error(why))
    }

    fn error(&self, why: Denied) -> DeviceError {
        let epoch = self.epoch;
        let last = match why {
            Denied::OutOfRange { offset, len, size } => return DeviceError::OutOfRange { offset, len, size },
            Denied::Redundancy { have, need } => return DeviceError::Redundancy { have, need },
            Denied::Corrupt { offset, len } => return DeviceError::Corrupt { offset, len },
            Denied::NoLeader { epoch } => return DeviceError::Unreachable { epoch },
            Denied::Fenced { held, current } => DeviceError::Fenced { held, current },
            Denied::NotWriter { epoch } => DeviceError::Revoked { epoch },
            Denied::Disk(reason) => DeviceError::Failed(reason),
            _ => {
                let current = self.owner.shared.state().core.status().known_epoch;
                DeviceError::Fenced { held: epoch, current }
            }
        };
        // The first reason stays.
        self.dead.get_or_init(|| last).clone()
    }
}

impl Drop for RemoteHandle {
    fn drop(&mut self) {
        self.owner.shared.input(Input::Leave { session: self.session });
    }
}

impl BlockDevice for RemoteHandle {
    fn size(&self) -> u64 {
        self.owner.shared.size.load(Ordering::Acquire)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        read_parts(offset, buf, |offset, len| self.call(RemoteOp::Read { offset, len }))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        let mut at = offset;
        for part in data.chunks(WRITE_MAX) {
            self.call(RemoteOp::Write { offset: at, data: Bytes::copy_from_slice(part) })?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn write_bytes(&self, offset: u64, data: Bytes) -> Result<(), DeviceError> {
        if data.len() < LONG {
            return self.write_at(offset, &data);
        }
        for start in (0..data.len()).step_by(WRITE_MAX) {
            let part = data.slice(start..data.len().min(start + WRITE_MAX));
            self.call(RemoteOp::Write { offset: offset + start as u64, data: part })?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.call(RemoteOp::Flush).map(drop)
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// Fills `buf` by reads through the core.
pub(super) fn read_parts(
    offset: u64,
    buf: &mut [u8],
    mut read: impl FnMut(u64, u32) -> Result<Reply, DeviceError>,
) -> Result<(), DeviceError> {
    let mut at = offset;
    for part in buf.chunks_mut(WRITE_MAX) {
        match read(at, part.len() as u32)? {
            Reply::Read(data) if data.len() == part.len() => part.copy_from_slice(&data),
            _ => return Err(DeviceError::Failed("the leader answered a read with too few bytes".into())),
        }
        at += part.len() as u64;
    }
    Ok(())
}

/// A number that no other session of this node has had.
fn random() -> u64 {
    RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now()))
}
