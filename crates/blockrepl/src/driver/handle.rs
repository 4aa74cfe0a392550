//! The leader's blocking handle.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;

use super::Owner;
use super::shared::{LONG, Lease};
use crate::core::{Denied, Input, Reply, WRITE_MAX};
use crate::device::{BlockDevice, DeviceError};
use crate::meta::DATA_HEADER_LEN;

/// One leadership: reads go to the local disk, writes and flushes through the replica.
#[derive(Debug)]
pub(super) struct Handle {
    owner: Arc<Owner>,
    lease: Arc<Lease>,
}

impl Handle {
    pub(super) fn new(owner: Arc<Owner>, epoch: u64) -> Self {
        let lease = Arc::new(Lease { epoch, dead: OnceLock::new() });
        let mut state = owner.shared.state();
        state.set_lease(lease.clone());
        // It may have ended between the answer and here.
        let status = state.core.status();
        if status.role != crate::core::RoleStatus::Leader || status.epoch != epoch {
            drop(lease.dead.set(DeviceError::Fenced { held: epoch, current: status.epoch }));
        }
        drop(state);
        Handle { owner, lease }
    }

    fn alive(&self) -> Result<(), DeviceError> {
        self.lease.dead.get().cloned().map_or(Ok(()), Err)
    }

    fn check(&self, offset: u64, len: usize) -> Result<(), DeviceError> {
        self.alive()?;
        let (len, size) = (len as u64, self.size());
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(DeviceError::OutOfRange { offset, len, size }),
        }
    }

    fn error(&self, why: Denied) -> DeviceError {
        match why {
            Denied::Fenced { held, current } => DeviceError::Fenced { held, current },
            Denied::Disk(reason) => DeviceError::Failed(reason),
            Denied::Redundancy { have, need } => DeviceError::Redundancy { have, need },
            Denied::Corrupt { offset, len } => DeviceError::Corrupt { offset, len },
            Denied::OutOfRange { offset, len, size } => DeviceError::OutOfRange { offset, len, size },
            _ => self.alive().err().unwrap_or_else(|| {
                let held = self.lease.epoch;
                DeviceError::Fenced { held, current: self.owner.shared.state().core.status().epoch }
            }),
        }
    }

    /// What could not be read, or does not match its checksums: the core reads it at one point of the stream,
    /// from a peer if need be.
    fn read_healed(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let mut at = offset;
        for part in buf.chunks_mut(WRITE_MAX) {
            let (offset, len) = (at, part.len() as u32);
            let answer = self.owner.shared.call(false, |request| Input::Read { request, offset, len });
            match answer.map_err(|why| self.error(why))? {
                Reply::Read(data) if data.len() == part.len() => part.copy_from_slice(&data),
                _ => return Err(DeviceError::Failed("the disk gave no data".into())),
            }
            at += part.len() as u64;
        }
        self.alive()
    }

    fn call(
        &self,
        flush: bool,
        make: impl FnOnce(crate::core::RequestId) -> Input,
    ) -> Result<(), DeviceError> {
        self.alive()?;
        let answer = self.owner.shared.call(flush, make).map_err(|why| self.error(why));
        answer.and_then(|_| self.alive()).inspect_err(|_| self.owner.shared.counters.failed())
    }
}

impl BlockDevice for Handle {
    fn size(&self) -> u64 {
        self.owner.shared.size.load(Ordering::Acquire)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.check(offset, buf.len())?;
        let shared = &self.owner.shared;
        if !shared.many.load(Ordering::SeqCst) {
            let sound = match shared.checks_reads() {
                false => shared.read_data(DATA_HEADER_LEN + offset, buf).is_ok(),
                true => shared.read_verified(offset, buf),
            };
            self.alive()?;
            // Had another writer joined meanwhile, this could show what it does not see yet.
            if sound && !shared.many.load(Ordering::SeqCst) {
                shared.counters.read(buf.len());
                return Ok(());
            }
        }
        self.read_healed(offset, buf)?;
        shared.counters.read(buf.len());
        Ok(())
    }

    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> bool {
        let shared = &self.owner.shared;
        let here = || !shared.checks_reads() && !shared.many.load(Ordering::SeqCst);
        let read = self.check(offset, buf.len()).is_ok()
            && here()
            && shared.read_cached(DATA_HEADER_LEN + offset, buf)
            // As in `read_at`: what changed meanwhile may have been missed.
            && self.alive().is_ok()
            && here();
        if read {
            shared.counters.read(buf.len());
        }
        read
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.check(offset, data.len())?;
        let mut at = offset;
        for part in data.chunks(WRITE_MAX) {
            let (offset, data) = (at, self.owner.shared.keep(part));
            self.call(false, |request| Input::Write { request, offset, data })?;
            self.owner.shared.counters.wrote(part.len());
            at += part.len() as u64;
        }
        Ok(())
    }

    fn write_bytes(&self, offset: u64, data: Bytes) -> Result<(), DeviceError> {
        if data.len() < LONG {
            // A short write must not keep the whole buffer that it came in.
            return self.write_at(offset, &data);
        }
        self.check(offset, data.len())?;
        for start in (0..data.len()).step_by(WRITE_MAX) {
            let (offset, data) =
                (offset + start as u64, data.slice(start..data.len().min(start + WRITE_MAX)));
            let len = data.len();
            self.call(false, |request| Input::Write { request, offset, data })?;
            self.owner.shared.counters.wrote(len);
        }
        Ok(())
    }

    fn zeros_in(&self, range: Range<u64>, most: usize) -> Vec<Range<u64>> {
        let shared = &self.owner.shared;
        // As a read that is not checked and needs nobody else.
        let here = || !shared.checks_reads() && !shared.many.load(Ordering::SeqCst);
        if range.end > self.size() || range.is_empty() || !here() {
            return Vec::new();
        }
        let head = DATA_HEADER_LEN;
        let mut found = shared.zeros_in(head + range.start..head + range.end, most);
        if self.alive().is_err() || !here() {
            found.clear();
        }
        found.into_iter().map(|r| r.start - head..r.end - head).collect()
    }

    fn frees_discarded(&self) -> bool {
        self.owner.shared.free_discarded
    }

    fn flush(&self) -> Result<(), DeviceError> {
        let begun = Instant::now();
        self.call(true, |request| Input::Flush { request })?;
        self.owner.shared.counters.flushed(begun.elapsed());
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.lease.epoch
    }
}
