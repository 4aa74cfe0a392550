//! The durable log of one voter: two files, of which one is current.
//!
//! ```text
//! file     header (4096) | record | record | ... | zeros up to the reserved length
//! header   magic 8 | format u16 | genesis u8 | 0 | turn u64 | base u64 | cluster u128 | store u128 | crc32
//! record   len u32 | crc32 u32 | durable u64 | payload, padded to 16 bytes
//! ```
//!
//! All integers are little-endian. A record's checksum covers the file's `turn` and the record's offset, so
//! what an earlier use of the file left behind is never taken for a record. When the current file is full,
//! and at every opening, all that still counts is written into the *other* file: body, flush, header with
//! the next turn, flush; then the old header is zeroed. So the space for the next turn is always there
//! already (R11), and two damaged headers are damage, not emptiness.
//!
//! `durable` says how much of the file was flushed when the record was written. A bad record at or above every
//! known `durable` is a torn write: it was never acknowledged and ends the log. Below it is damage: the store
//! is refused, never truncated. `base` is the first value of it.

use std::collections::BTreeMap;
use std::io;
use std::mem;

use openraft::{Entry, LogId, SnapshotMeta, Vote};
use serde::{Deserialize, Serialize};

use super::{LogFile, TypeConfig};
use crate::{ClusterId, StoreId};

const MAGIC: &[u8; 8] = b"PHQUORUM";
const FORMAT: u16 = 1;
const HEADER: u64 = 4096;
const HEADER_BYTES: usize = 72;
const PREFIX: usize = 16;
/// Longest record; a larger length is damage.
const RECORD_MAX: usize = 64 * 1024 * 1024;

/// Why a store cannot be opened or formatted. Nothing on disk has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system failed.
    #[error("the quorum store failed: {0}")]
    Io(#[from] io::Error),
    /// No valid header: not a store, or damaged.
    #[error(
        "the files hold no quorum store, or both headers are damaged; if this member lost its disk, the operator must `replace` it"
    )]
    NoStore,
    /// There is a store already.
    #[error("the files are not empty; a store is never overwritten")]
    NotEmpty,
    /// A store of another cluster.
    #[error("the quorum store belongs to cluster {found}, not to {expected}")]
    ForeignCluster {
        /// In the file.
        found: ClusterId,
        /// As configured.
        expected: ClusterId,
    },
    /// Another format.
    #[error("the quorum store has format {0}; this release reads {FORMAT}")]
    Format(u16),
    /// A durable record is damaged (R10).
    #[error(
        "the quorum store is damaged at byte {offset}, below what was durable ({durable}): replace this member"
    )]
    Damaged {
        /// Where.
        offset: u64,
        /// Known to have been flushed.
        durable: u64,
    },
    /// A sound record that this release cannot read: it was written by a newer one.
    #[error(
        "the quorum store's record at byte {offset} is sound but unknown: was it written by a newer release?"
    )]
    Unreadable {
        /// Where.
        offset: u64,
    },
}

/// Who a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Its own id (R7).
    pub store: StoreId,
    /// It was made together with its cluster and may vote at once. A later one may not, until
    /// `Replace` names it.
    pub genesis: bool,
}

/// One change of what is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Record {
    Vote(Vote<u64>),
    Append(Entry<TypeConfig>),
    TruncateFrom(u64),
    PurgeTo(LogId<u64>),
    Committed(Option<LogId<u64>>),
    Snapshot(SnapshotMeta<u64, ()>, Vec<u8>),
}

/// What is stored: the sum of all records.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pub(super) vote: Option<Vote<u64>>,
    pub(super) entries: BTreeMap<u64, Entry<TypeConfig>>,
    pub(super) purged: Option<LogId<u64>>,
    pub(super) committed: Option<LogId<u64>>,
    pub(super) snapshot: Option<(SnapshotMeta<u64, ()>, Vec<u8>)>,
}

impl Image {
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Append(entry) => drop(self.entries.insert(entry.log_id.index, entry)),
            Record::TruncateFrom(index) => drop(self.entries.split_off(&index)),
            Record::PurgeTo(id) => {
                self.entries.retain(|index, _| *index > id.index);
                self.purged = self.purged.max(Some(id));
            }
            Record::Committed(id) => self.committed = id,
            Record::Snapshot(meta, data) => self.snapshot = Some((meta, data)),
        }
    }

    fn records(&self) -> Vec<Record> {
        let mut all = Vec::new();
        all.extend(self.snapshot.clone().map(|(meta, data)| Record::Snapshot(meta, data)));
        all.extend(self.vote.map(Record::Vote));
        all.extend(self.purged.map(Record::PurgeTo));
        all.extend(self.entries.values().cloned().map(Record::Append));
        all.push(Record::Committed(self.committed));
        all
    }
}

/// The store of one voter.
pub(super) struct Journal {
    /// The current file, and the one for the next turn.
    current: Box<dyn LogFile>,
    other: Box<dyn LogFile>,
    pub(super) identity: StoreIdentity,
    pub(super) image: Image,
    turn: u64,
    tail: u64,
    durable: u64,
    failed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    identity: StoreIdentity,
    turn: u64,
    base: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut b = [0; HEADER_BYTES];
        b[..8].copy_from_slice(MAGIC);
        b[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        b[10] = u8::from(self.identity.genesis);
        b[12..20].copy_from_slice(&self.turn.to_le_bytes());
        b[20..28].copy_from_slice(&self.base.to_le_bytes());
        b[28..44].copy_from_slice(&self.identity.cluster.0.to_le_bytes());
        b[44..60].copy_from_slice(&self.identity.store.0.to_le_bytes());
        let crc = crc32fast::hash(&b[..60]);
        b[60..64].copy_from_slice(&crc.to_le_bytes());
        b
    }

    /// None if there is no valid header.
    fn read(file: &dyn LogFile) -> Result<Option<Self>, StoreError> {
        if file.len()? < HEADER {
            return Ok(None);
        }
        let mut b = [0; HEADER_BYTES];
        file.read_at(0, &mut b)?;
        if &b[..8] != MAGIC || crc32fast::hash(&b[..60]).to_le_bytes() != b[60..64] {
            return Ok(None);
        }
        let format = u16::from_le_bytes(array(&b[8..10]));
        if format != FORMAT {
            return Err(StoreError::Format(format));
        }
        let cluster = ClusterId(u128::from_le_bytes(array(&b[28..44])));
        let store = StoreId(u128::from_le_bytes(array(&b[44..60])));
        let identity = StoreIdentity { cluster, store, genesis: b[10] != 0 };
        let turn = u64::from_le_bytes(array(&b[12..20]));
        Ok(Some(Self { identity, turn, base: u64::from_le_bytes(array(&b[20..28])) }))
    }
}

/// Callers pass slices of just this length.
fn array<const N: usize>(b: &[u8]) -> [u8; N] {
    let mut a = [0; N];
    a.copy_from_slice(b);
    a
}

impl Journal {
    /// Makes a new store in two empty files, `reserve` bytes each.
    pub(super) fn format(
        files: [Box<dyn LogFile>; 2],
        identity: StoreIdentity,
        reserve: u64,
    ) -> Result<Self, StoreError> {
        let [mut current, mut other] = files;
        if current.len()? != 0 || other.len()? != 0 {
            return Err(StoreError::NotEmpty);
        }
        let reserve = reserve.max(HEADER * 4);
        current.reserve(reserve)?;
        other.reserve(reserve)?;
        let image = Image::default();
        let mut journal =
            Self { current, other, identity, image, turn: 0, tail: HEADER, durable: HEADER, failed: false };
        journal.next_turn()?;
        Ok(journal)
    }

    /// Opens the store and starts its next turn.
    pub(super) fn open(files: [Box<dyn LogFile>; 2], cluster: ClusterId) -> Result<Self, StoreError> {
        let [a, b] = files;
        let (head_a, head_b) = (Header::read(&*a)?, Header::read(&*b)?);
        let a_is_newer = head_a.map(|h| h.turn) > head_b.map(|h| h.turn);
        let (current, other, head) = if a_is_newer { (a, b, head_a) } else { (b, a, head_b) };
        let head = head.ok_or(StoreError::NoStore)?;
        if head.identity.cluster != cluster {
            return Err(StoreError::ForeignCluster { found: head.identity.cluster, expected: cluster });
        }
        let image = replay(&*current, head)?;
        let (identity, turn) = (head.identity, head.turn);
        let mut journal =
            Self { current, other, identity, image, turn, tail: HEADER, durable: HEADER, failed: false };
        journal.next_turn()?;
        Ok(journal)
    }

    /// Writes records; durable after [`sync`](Self::sync). After an error nothing is accepted any more.
    pub(super) fn write(&mut self, records: Vec<Record>) -> io::Result<()> {
        self.guarded(|j| j.try_write(records))
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.guarded(|j| {
            j.current.sync()?;
            j.durable = j.tail;
            Ok(())
        })
    }

    /// R11: a failed write or flush is never retried.
    fn guarded(&mut self, run: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the quorum store has failed before"));
        }
        let done = run(self);
        self.failed = done.is_err();
        done
    }

    fn try_write(&mut self, records: Vec<Record>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for record in &records {
            frame(&mut bytes, record, self.turn, self.tail, self.durable)?;
        }
        let fits = self.tail + bytes.len() as u64 <= self.current.len()?;
        if fits {
            self.current.write_at(self.tail, &bytes)?;
            self.tail += bytes.len() as u64;
        }
        records.into_iter().for_each(|r| self.image.apply(r));
        if fits { Ok(()) } else { self.next_turn() }
    }

    /// Writes all that counts into the other file and makes that one current.
    fn next_turn(&mut self) -> io::Result<()> {
        let turn = self.turn + 1;
        self.other.write_at(0, &[0; HEADER_BYTES])?;
        self.other.sync()?;
        let mut bytes = Vec::new();
        for record in self.image.records() {
            frame(&mut bytes, &record, turn, HEADER, HEADER)?;
        }
        let base = HEADER + bytes.len() as u64;
        let room = base * 2;
        if self.other.len()? < room {
            self.other.reserve(room.next_power_of_two())?;
        }
        self.other.write_at(HEADER, &bytes)?;
        self.other.sync()?;
        self.other.write_at(0, &Header { identity: self.identity, turn, base }.encode())?;
        self.other.sync()?;
        self.current.write_at(0, &[0; HEADER_BYTES])?;
        self.current.sync()?;
        mem::swap(&mut self.current, &mut self.other);
        (self.turn, self.tail, self.durable) = (turn, base, base);
        Ok(())
    }
}

fn checksum(turn: u64, offset: u64, durable: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for n in [turn, offset, durable, payload.len() as u64] {
        crc.update(&n.to_le_bytes());
    }
    crc.update(payload);
    crc.finalize()
}

/// Appends a record that will stand at `start + out.len()`.
fn frame(out: &mut Vec<u8>, record: &Record, turn: u64, start: u64, durable: u64) -> io::Result<()> {
    let payload = postcard::to_stdvec(record).map_err(io::Error::other)?;
    let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= RECORD_MAX);
    let len = len.ok_or_else(|| io::Error::other("a record exceeds 64 MiB"))?;
    let crc = checksum(turn, start + out.len() as u64, durable, &payload);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&durable.to_le_bytes());
    out.extend_from_slice(&payload);
    out.resize(out.len().next_multiple_of(PREFIX), 0);
    Ok(())
}

/// A valid record at `at` of the file's bytes: its payload, what was durable, and where the next begins.
fn parse(file: &[u8], at: usize, turn: u64) -> Option<(&[u8], u64, usize)> {
    let prefix = file.get(at..at + PREFIX)?;
    let len = u32::from_le_bytes(array(&prefix[..4])) as usize;
    if len == 0 || len > RECORD_MAX {
        return None;
    }
    let crc = u32::from_le_bytes(array(&prefix[4..8]));
    let durable = u64::from_le_bytes(array(&prefix[8..]));
    let payload = file.get(at + PREFIX..at + PREFIX + len)?;
    let sound = checksum(turn, at as u64, durable, payload) == crc;
    sound.then(|| (payload, durable, (at + PREFIX + len).next_multiple_of(PREFIX)))
}

fn replay(file: &dyn LogFile, head: Header) -> Result<Image, StoreError> {
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_at(0, &mut bytes)?;
    let (mut image, mut at, mut durable) = (Image::default(), HEADER as usize, head.base);
    while let Some((payload, known, next)) = parse(&bytes, at, head.turn) {
        let record =
            postcard::from_bytes(payload).map_err(|_| StoreError::Unreadable { offset: at as u64 })?;
        image.apply(record);
        durable = durable.max(known);
        at = next;
    }
    // What follows the end may still tell that the end was durable.
    let later = (at..len).step_by(PREFIX).filter_map(|at| parse(&bytes, at, head.turn));
    let durable = later.map(|(_, known, _)| known).fold(durable, u64::max);
    if (at as u64) < durable {
        return Err(StoreError::Damaged { offset: at as u64, durable });
    }
    Ok(image)
}
