//! Where the images of snapshots lie, and how they are read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::device::{BlockDevice, DeviceError};
use crate::meta::DATA_HEADER_LEN;

/// Keeps images of a whole device, made by [`SnapshotOp`](crate::core::SnapshotOp)s. Each call must be as durable
/// as it says; a call that fails leaves the device alone.
pub trait SnapshotStore: Send + Sync + std::fmt::Debug + 'static {
    /// Makes the image of a device of `size` bytes, in place of an unfinished one. True: it shares all blocks
    /// with the device as it is now; false: it is empty and will be written.
    fn create(&self, id: u64, size: u64) -> io::Result<bool>;
    /// Writes at an offset of the device.
    fn write(&self, id: u64, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes the image durable, and that there is one.
    fn flush(&self, id: u64) -> io::Result<()>;
    /// Fills `buf` from an offset of the device.
    fn read(&self, id: u64, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Removes the image, durably. That there is none is no error.
    fn remove(&self, id: u64) -> io::Result<()>;
}

/// Images as files beside the data file, `<data>.snapshot-<id>`, in the data file's own format. Their blocks are
/// shared with it where the file system can do that (XFS, btrfs), and copied, but for zeros, where not.
#[derive(Debug)]
pub struct FileSnapshots {
    data: PathBuf,
}

impl FileSnapshots {
    /// For this data file.
    pub fn new(data: &Path) -> Self {
        FileSnapshots { data: data.to_owned() }
    }

    fn path(&self, id: u64) -> PathBuf {
        let mut name = self.data.clone().into_os_string();
        name.push(format!(".snapshot-{id}"));
        name.into()
    }

    fn sync_directory(&self) -> io::Result<()> {
        let parent = self.data.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    }
}

impl SnapshotStore for FileSnapshots {
    fn create(&self, id: u64, size: u64) -> io::Result<bool> {
        let image =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.path(id))?;
        let data = File::open(&self.data)?;
        if rustix::fs::ioctl_ficlone(&image, &data).is_ok() {
            return Ok(true);
        }
        let mut header = [0; DATA_HEADER_LEN as usize];
        data.read_exact_at(&mut header, 0)?;
        image.write_all_at(&header, 0)?;
        image.set_len(DATA_HEADER_LEN + size)?;
        Ok(false)
    }

    fn write(&self, id: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let image = OpenOptions::new().write(true).open(self.path(id))?;
        image.write_all_at(data, DATA_HEADER_LEN + offset)
    }

    fn flush(&self, id: u64) -> io::Result<()> {
        File::open(self.path(id))?.sync_all()?;
        self.sync_directory()
    }

    fn read(&self, id: u64, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        File::open(self.path(id))?.read_exact_at(buf, DATA_HEADER_LEN + offset)
    }

    fn remove(&self, id: u64) -> io::Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => self.sync_directory(),
        }
    }
}

/// A snapshot as a block device: reads go on for as long as it is not deleted, writes are refused.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) store: std::sync::Arc<dyn SnapshotStore>,
    pub(crate) id: u64,
    pub(crate) size: u64,
    pub(crate) epoch: u64,
}

impl BlockDevice for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let (len, size) = (buf.len() as u64, self.size);
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(DeviceError::OutOfRange { offset, len, size });
        }
        self.store.read(self.id, offset, buf).map_err(|e| DeviceError::Failed(e.to_string().into()))
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<(), DeviceError> {
        Err(DeviceError::ReadOnly)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// A store for a volume whose owner gave none: it is never asked to make one.
#[derive(Debug)]
pub(crate) struct NoSnapshots;

impl SnapshotStore for NoSnapshots {
    fn create(&self, _id: u64, _size: u64) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn write(&self, _id: u64, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn flush(&self, _id: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn read(&self, _id: u64, _offset: u64, _buf: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove(&self, _id: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
