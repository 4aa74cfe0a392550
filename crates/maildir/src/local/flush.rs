//! What must reach the disk: names in directories and bytes of control files.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::dir::OpenDir;
use super::group::Group;

/// Something that must reach the disk.
#[derive(Debug)]
pub(super) enum Touched {
    /// Names in a directory.
    Dir(Arc<OpenDir>),
    /// Bytes of a control file.
    File(File),
}

/// By device and inode.
type Batch = HashMap<(u64, u64), Touched>;

/// Directories and control files that concurrent callers flush together.
#[derive(Debug, Default)]
pub(super) struct SharedFlush(Group<Batch>);

impl SharedFlush {
    /// Adds to the batch.
    pub(super) fn touch(&self, id: (u64, u64), what: Touched) {
        self.0.add(|batch| drop(batch.insert(id, what)));
    }

    /// Returns when all that was touched before the call is on disk.
    pub(super) fn commit(&self) -> io::Result<()> {
        self.0.flush(flush_all)
    }

    pub(super) fn poison_on_error(&self, result: io::Result<()>) -> io::Result<()> {
        self.0.poison_on_error(result)
    }
}

/// Files first: a directory may name what must be readable by then.
fn flush_all(batch: Batch) -> io::Result<()> {
    let (files, dirs): (Vec<_>, Vec<_>) =
        batch.into_values().partition(|touched| matches!(touched, Touched::File(_)));
    files.into_iter().chain(dirs).try_for_each(|touched| match touched {
        Touched::File(file) => file.sync_data(),
        Touched::Dir(dir) => Ok(rustix::fs::fsync(&dir.fd)?),
    })
}
