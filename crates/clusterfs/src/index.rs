//! The checkpointed index: redb on a region of the device, always committed with quick repair.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend, Table,
    TableDefinition,
};
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{Failure, OpenError, corrupt};
use crate::op::{Run, key};
use crate::space::{GROUP, group_blocks};
use crate::state::{Each, Overlay};
use crate::superblock::{BLOCK, Span};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
/// What a row costs in the index beyond its bytes.
pub(crate) const ROW_COST: u64 = 24;
const CHECKPOINT_VERSION: u32 = 1;

/// The row that ties the index to the log (R10): replay goes on from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) version: u32,
    pub(crate) lsn: u64,
    pub(crate) hash: u64,
    pub(crate) next_seq: u64,
    pub(crate) next_inode: u64,
    pub(crate) epoch: u64,
    /// Bytes of the live rows.
    pub(crate) bytes: u64,
}

impl Checkpoint {
    pub(crate) fn initial() -> Self {
        let version = CHECKPOINT_VERSION;
        Checkpoint { version, lsn: 0, hash: 0, next_seq: 1, next_inode: 2, epoch: 0, bytes: 0 }
    }
}

/// redb's file: a region of the device, with its length in two slots ahead of it.
#[derive(Debug)]
struct Region {
    disk: Arc<Disk>,
    span: Span,
    len: Mutex<Length>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Length {
    generation: u64,
    len: u64,
}

/// Two blocks of slots.
const SLOTS: u64 = 2 * BLOCK;
const SLOT: usize = 24;

impl Length {
    fn encode(self) -> [u8; SLOT] {
        let mut out = [0; SLOT];
        out[..8].copy_from_slice(&self.generation.to_le_bytes());
        out[8..16].copy_from_slice(&self.len.to_le_bytes());
        let crc = crc32fast::hash(&out[..16]);
        out[16..20].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(slot: &[u8; SLOT]) -> Option<Self> {
        let long = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
        let crc = u32::from_le_bytes(slot[16..20].try_into().expect("four bytes"));
        (crc == crc32fast::hash(&slot[..16])).then(|| Length { generation: long(0), len: long(8) })
    }
}

impl Region {
    fn create(disk: Arc<Disk>, span: Span) -> io::Result<Self> {
        for slot in 0..2 {
            let length = Length { generation: slot, len: 0 };
            disk.write(span.start + slot * BLOCK, &length.encode())?;
        }
        Ok(Region { disk, span, len: Mutex::new(Length { generation: 1, len: 0 }) })
    }

    fn open(disk: Arc<Disk>, span: Span) -> Result<Self, OpenError> {
        let mut newest: Option<Length> = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT];
            disk.read(span.start + slot * BLOCK, &mut bytes)?;
            let found = Length::decode(&bytes);
            newest = newest.into_iter().chain(found).max_by_key(|length| length.generation);
        }
        let length = newest.ok_or_else(|| OpenError::IndexCorrupt("both length slots are damaged".into()))?;
        Ok(Region { disk, span, len: Mutex::new(length) })
    }

    fn at(&self, offset: u64, len: usize) -> io::Result<u64> {
        let end = offset.checked_add(len as u64);
        match end {
            Some(end) if end <= self.len.lock().expect("no panic inside").len => {
                Ok(self.span.start + SLOTS + offset)
            }
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the index")),
        }
    }

    /// The largest length that redb can reach within the region: all but its first block doubles.
    fn reachable(&self) -> u64 {
        let (room, mut len) =
            (self.span.len - SLOTS, self.len.lock().expect("no panic inside").len.max(BLOCK));
        while len > BLOCK && len * 2 - BLOCK <= room {
            len = len * 2 - BLOCK;
        }
        len
    }
}

impl StorageBackend for Region {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.lock().expect("no panic inside").len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(self.at(offset, out.len())?, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.span.len - SLOTS {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the index region is full"));
        }
        let mut length = self.len.lock().expect("no panic inside");
        let next = Length { generation: length.generation + 1, len };
        self.disk.write(self.span.start + next.generation % 2 * BLOCK, &next.encode())?;
        // Flushed here, so that neither slot is written again before the other is durable.
        self.disk.flush()?;
        *length = next;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.flush()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(self.at(offset, data.len())?, data)
    }
}

/// The open database. Written by checkpoints alone.
#[derive(Debug)]
pub(crate) struct Index {
    db: Database,
    region: Arc<Region>,
    disk: Arc<Disk>,
}

#[derive(Debug)]
struct SharedRegion(Arc<Region>);

impl StorageBackend for SharedRegion {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

impl Index {
    /// Makes an empty index that holds the given rows.
    pub(crate) fn create(disk: Arc<Disk>, span: Span, rows: &Overlay) -> io::Result<()> {
        let region = Arc::new(Region::create(disk.clone(), span)?);
        let backend = SharedRegion(region.clone());
        let db = Builder::new().set_cache_size(1 << 20).create_with_backend(backend);
        let db = db.map_err(|error| storage(&disk, error))?;
        let index = Index { db, region, disk };
        index.checkpoint(rows, Checkpoint::initial(), 0)?;
        Ok(())
    }

    pub(crate) fn open(disk: Arc<Disk>, span: Span, cache: usize) -> Result<Self, OpenError> {
        let region = Arc::new(Region::open(disk.clone(), span)?);
        if region.len()? > span.len - SLOTS {
            return Err(OpenError::IndexCorrupt("it claims to be larger than its region".into()));
        }
        if region.len()? == 0 {
            return Err(OpenError::IndexCorrupt("it is empty".into()));
        }
        let backend = SharedRegion(region.clone());
        match Builder::new().set_cache_size(cache).create_with_backend(backend) {
            Ok(db) => Ok(Index { db, region, disk }),
            Err(error) => {
                disk.check()?;
                Err(OpenError::IndexCorrupt(error.to_string()))
            }
        }
    }

    /// Bytes of rows that may live here, so that a checkpoint of `rows` rows always finds room.
    ///
    /// Pages are half full at worst. Beside the live tree there may be two more generations of what a checkpoint
    /// rewrites: the one that readers still see, and the one whose pages are not yet reusable. In a small
    /// index a checkpoint may rewrite all of it; in a large one, at most a page a row.
    pub(crate) fn limit(&self, rows: u64) -> u64 {
        let reachable = self.region.reachable();
        let rewritten = rows * (BLOCK + BLOCK / 8);
        let large = reachable.saturating_sub(2 * rewritten) / 100 * 45;
        large.max(reachable / 100 * 16)
    }

    pub(crate) fn snapshot(&self) -> io::Result<Snapshot> {
        let fail = |error: redb::Error| storage(&self.disk, error);
        let txn = self.db.begin_read().map_err(|e| fail(e.into()))?;
        let rows = txn.open_table(ROWS).map_err(|e| fail(e.into()))?;
        Ok(Snapshot { rows, disk: self.disk.clone() })
    }

    /// Applies an overlay and the log position in one durable commit. Returns the bytes of the
    /// live rows.
    pub(crate) fn checkpoint(&self, overlay: &Overlay, at: Checkpoint, blocks: u64) -> io::Result<u64> {
        self.try_checkpoint(overlay, at, blocks).map_err(|error| match error {
            CheckpointError::Io(error) => error,
            CheckpointError::Redb(error) => storage(&self.disk, error),
        })
    }

    fn try_checkpoint(
        &self,
        overlay: &Overlay,
        mut at: Checkpoint,
        blocks: u64,
    ) -> Result<u64, CheckpointError> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
        txn.set_quick_repair(true);
        {
            let mut rows = Rows { table: txn.open_table(ROWS)?, bytes: at.bytes };
            for (key, value) in &overlay.rows {
                match value {
                    Some(value) => rows.insert(key, value)?,
                    None => rows.remove(key)?,
                }
            }
            rows.mark(&overlay.allocs, &overlay.frees, blocks)?;
            at.bytes = rows.bytes;
            let row = postcard::to_stdvec(&at).expect("plain numbers");
            rows.table.insert(key::CHECKPOINT, row.as_slice())?;
        }
        txn.commit()?;
        Ok(at.bytes)
    }
}

enum CheckpointError {
    Io(io::Error),
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for CheckpointError {
    fn from(error: E) -> Self {
        CheckpointError::Redb(error.into())
    }
}

/// The table being written, with an account of its live bytes.
struct Rows<'txn> {
    table: Table<'txn, &'static [u8], &'static [u8]>,
    bytes: u64,
}

impl Rows<'_> {
    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), redb::Error> {
        let old = self.table.insert(key, value)?.map(|old| old.value().len());
        self.bytes += cost(key, value.len());
        self.bytes -= old.map_or(0, |len| cost(key, len));
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), redb::Error> {
        let old = self.table.remove(key)?.map(|old| old.value().len());
        self.bytes -= old.map_or(0, |len| cost(key, len));
        Ok(())
    }

    /// Brings the bitmaps of used blocks up to date.
    fn mark(
        &mut self,
        allocs: &[Run],
        frees: &[crate::state::Freed],
        blocks: u64,
    ) -> Result<(), CheckpointError> {
        let mut groups: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let used = allocs.iter().map(|run| (*run, true));
        let freed = frees.iter().map(|freed| (freed.run, false));
        for (run, value) in used.chain(freed) {
            let group = (run.start / u64::from(GROUP)) as u32;
            if let std::collections::btree_map::Entry::Vacant(slot) = groups.entry(group) {
                let bits = match self.table.get(key::bitmap(group).as_slice())? {
                    Some(row) => row.value().to_vec(),
                    None => vec![0; group_blocks(group, blocks).div_ceil(8) as usize],
                };
                slot.insert(bits);
            }
            let bits = groups.get_mut(&group).expect("just there");
            set_bits(bits, run, value).map_err(CheckpointError::Io)?;
        }
        for (group, bits) in groups {
            let used: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
            let free = group_blocks(group, blocks).saturating_sub(used);
            self.insert(&key::bitmap(group), &bits)?;
            self.insert(&key::free(group), &free.to_le_bytes())?;
        }
        Ok(())
    }
}

fn set_bits(bits: &mut [u8], run: Run, value: bool) -> io::Result<()> {
    let first = (run.start % u64::from(GROUP)) as usize;
    for bit in first..first + run.blocks as usize {
        let Some(byte) = bits.get_mut(bit / 8) else {
            return Err(corrupt(format!("block {} lies outside the data region", run.start)));
        };
        let mask = 1 << (bit % 8);
        if (*byte & mask != 0) == value {
            return Err(corrupt(format!("block {} is allocated or freed twice", run.start)));
        }
        *byte ^= mask;
    }
    Ok(())
}

fn cost(key: &[u8], value: usize) -> u64 {
    key.len() as u64 + value as u64 + ROW_COST
}

/// The rows as the last checkpoint left them.
pub(crate) struct Snapshot {
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    disk: Arc<Disk>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) fn read(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.disk.check()?;
        let found = ReadableTable::get(&self.rows, key).map_err(|error| storage(&self.disk, error))?;
        Ok(found.map(|row| row.value().to_vec()))
    }

    /// The rows with `low <= key < high`, in order, until `each` says stop.
    pub(crate) fn walk(&self, low: &[u8], high: &[u8], each: &mut Each<'_>) -> io::Result<()> {
        let mut rows = self.rows(low, high)?;
        while let Some((key, value)) = rows.next()? {
            if !each(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn rows(&self, low: &[u8], high: &[u8]) -> io::Result<SnapshotRows<'_>> {
        self.disk.check()?;
        let range = ReadableTable::range::<&[u8]>(&self.rows, low..high);
        let range = range.map_err(|error| storage(&self.disk, error))?;
        Ok(SnapshotRows { range, disk: &self.disk })
    }
}

pub(crate) type Row = (Vec<u8>, Vec<u8>);

pub(crate) struct SnapshotRows<'a> {
    range: redb::Range<'a, &'static [u8], &'static [u8]>,
    disk: &'a Disk,
}

impl SnapshotRows<'_> {
    pub(crate) fn next(&mut self) -> io::Result<Option<Row>> {
        match self.range.next() {
            None => Ok(None),
            Some(Ok((key, value))) => Ok(Some((key.value().to_vec(), value.value().to_vec()))),
            Some(Err(error)) => Err(storage(self.disk, error)),
        }
    }
}

/// The position that the index was checkpointed at.
pub(crate) fn position(snapshot: &Snapshot) -> Result<Checkpoint, OpenError> {
    let row = snapshot.read(key::CHECKPOINT)?;
    let row = row.ok_or_else(|| OpenError::IndexCorrupt("it has no log position".into()))?;
    let at: Checkpoint = postcard::from_bytes(&row)
        .map_err(|error| OpenError::IndexCorrupt(format!("log position: {error}")))?;
    if at.version > CHECKPOINT_VERSION {
        let (found, supported) = (at.version, CHECKPOINT_VERSION);
        return Err(OpenError::NewerVersion { what: "checkpoint", found, supported });
    }
    Ok(at)
}

/// An error of redb's: the device's, if that is what failed, else damage, which is for ever.
fn storage(disk: &Disk, error: impl Into<redb::Error>) -> io::Error {
    if let Err(error) = disk.check() {
        return error;
    }
    let error = error.into();
    let text = error.to_string();
    disk.fail(Failure::Index(text.as_str().into()));
    corrupt(format!("the volume's index failed: {text}"))
}
