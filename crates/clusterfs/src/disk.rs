//! The device, with a memory: after its first failure no call reaches it again (R4, R11).

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_blockrepl::{BlockDevice, DeviceError};

use crate::error::{Failure, Fenced};

#[derive(Debug)]
pub(crate) struct Disk {
    device: Box<dyn BlockDevice>,
    failure: OnceLock<Failure>,
    flushes: AtomicU64,
}

impl Disk {
    pub(crate) fn new(device: impl BlockDevice) -> Self {
        Disk { device: Box::new(device), failure: OnceLock::new(), flushes: AtomicU64::new(0) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.device.size()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.device.epoch()
    }

    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// The sticky failure, if any, as an error.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.to_io()))
    }

    /// Ends the use of the device. The first failure wins.
    pub(crate) fn fail(&self, failure: Failure) {
        if self.failure.set(failure.clone()).is_ok() && !matches!(failure, Failure::Closed) {
            tracing::error!(error = %failure.to_io(), "clusterfs: the volume is lost to this process");
        }
    }

    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.check()?;
        self.settle(self.device.read_at(offset, buf))
    }

    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.settle(self.device.write_at(offset, data))
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        self.check()?;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.settle(self.device.flush())
    }

    fn settle(&self, result: Result<(), DeviceError>) -> io::Result<()> {
        let error = match result {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error {
            DeviceError::OutOfRange { .. } => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
            DeviceError::Fenced { held, current } => self.fail(Failure::Fenced(Fenced { held, current })),
            other => self.fail(Failure::Device(other.to_string().into())),
        }
        self.check()
    }
}
