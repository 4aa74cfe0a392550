//! The ring on the device, and what opening makes of it (R10).

use std::io;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::index::Checkpoint;
use crate::op::Op;
use crate::record::{Bad, HEADER, Header, VERSION};
use crate::superblock::{BLOCK, Span};

/// Bytes read at a time when a damaged record makes the whole ring of interest.
const SWEEP: usize = 1 << 20;

/// The log's place on the device.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    disk: Arc<Disk>,
    span: Span,
    pub(crate) seed: u64,
}

/// Where the log ends: the next record goes there, after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) lsn: u64,
    /// Hash of the last record.
    pub(crate) hash: u64,
}

/// What replay found.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) head: Head,
    pub(crate) epoch: u64,
    pub(crate) operations: u64,
    /// Whether something lay behind the last good record that was never acknowledged.
    pub(crate) cut: bool,
}

/// A record that is whole and in its place.
struct Record {
    header: Header,
    hash: u64,
    ops: Vec<Op>,
}

/// A whole record's header, hash and payload.
type Loaded = (Header, u64, Vec<u8>);

enum Found {
    Record(Record),
    Nothing(Bad),
}

impl Ring {
    pub(crate) fn new(disk: Arc<Disk>, span: Span, seed: u64) -> Self {
        Ring { disk, span, seed }
    }

    pub(crate) fn len(&self) -> u64 {
        self.span.len
    }

    /// The longest record.
    pub(crate) fn record_max(&self) -> u64 {
        (self.span.len / 8).min(4 << 20)
    }

    /// Writes a record; it wraps at the ring's end. The caller saw to the room, and flushes.
    pub(crate) fn write(&self, lsn: u64, record: &[u8]) -> io::Result<()> {
        let at = lsn % self.span.len;
        let (here, rest) = record.split_at(record.len().min((self.span.len - at) as usize));
        self.disk.write(self.span.start + at, here)?;
        if rest.is_empty() { Ok(()) } else { self.disk.write(self.span.start, rest) }
    }

    fn read(&self, lsn: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = lsn % self.span.len;
        let here = buf.len().min((self.span.len - at) as usize);
        let (here, rest) = buf.split_at_mut(here);
        self.disk.read(self.span.start + at, here)?;
        if rest.is_empty() { Ok(()) } else { self.disk.read(self.span.start, rest) }
    }

    /// Replays the log from a checkpoint on. `apply` gets each operation with its sequence;
    /// `whole` says whether the bodies that a record names are on the device.
    pub(crate) fn replay(
        &self,
        from: &Checkpoint,
        whole: &dyn Fn(&[Op]) -> io::Result<bool>,
        apply: &mut dyn FnMut(u64, &Op) -> io::Result<()>,
    ) -> Result<Replayed, OpenError> {
        let mut head = Head { lsn: from.lsn, hash: from.hash };
        let mut next_seq = from.next_seq;
        let mut replayed = Replayed { head, epoch: from.epoch, operations: 0, cut: false };
        let mut found = self.find(head, next_seq)?;
        loop {
            let record = match found {
                Found::Record(record) => record,
                Found::Nothing(bad) => {
                    self.refuse_if_committed(head.lsn, next_seq, &bad, from.lsn)?;
                    replayed.cut |= bad != Bad::NoMagic && bad != Bad::Place;
                    break;
                }
            };
            let after = Head { lsn: record.header.next_lsn(), hash: record.hash };
            found = self.find(after, record.header.last() + 1)?;
            let proven =
                matches!(&found, Found::Record(next) if next.header.committed >= record.header.last());
            if !proven && !whole(&record.ops)? {
                // Its bodies never became durable, so it was never acknowledged; but a later
                // record may prove the contrary.
                self.refuse_if_committed(head.lsn, next_seq, &Bad::Hash, from.lsn)?;
                replayed.cut = true;
                break;
            }
            for (seq, op) in (record.header.first..).zip(&record.ops) {
                apply(seq, op).map_err(|error| contradiction(seq, error))?;
            }
            replayed.operations += u64::from(record.header.count);
            replayed.epoch = replayed.epoch.max(record.header.epoch);
            (head, next_seq) = (after, record.header.last() + 1);
        }
        replayed.head = head;
        Ok(replayed)
    }

    /// Reads the record at `head`, if there is one that continues the chain.
    fn find(&self, head: Head, next_seq: u64) -> Result<Found, OpenError> {
        let (header, hash, payload) = match self.load(head.lsn)? {
            Ok(loaded) => loaded,
            Err(Bad::Newer(found)) => {
                let (what, found, supported) = ("log record", found.into(), VERSION.into());
                return Err(OpenError::NewerVersion { what, found, supported });
            }
            Err(bad) => return Ok(Found::Nothing(bad)),
        };
        if header.prev != head.hash || header.first != next_seq {
            return Ok(Found::Nothing(Bad::Hash));
        }
        Ok(match operations(&payload, header.count) {
            Some(ops) => Found::Record(Record { header, hash, ops }),
            None => Found::Nothing(Bad::Length),
        })
    }

    fn load(&self, lsn: u64) -> io::Result<Result<Loaded, Bad>> {
        let mut head = [0; HEADER];
        self.read(lsn, &mut head)?;
        let header = match Header::peek(&head, lsn, self.record_max()) {
            Ok(header) => header,
            Err(bad) => return Ok(Err(bad)),
        };
        let mut record = vec![0; header.len as usize];
        self.read(lsn, &mut record)?;
        Ok(Header::verify(&record, self.seed).map(|hash| (header, hash, record.split_off(HEADER))))
    }

    /// R10: a bad record ends the log only if no later record knows it to be committed.
    fn refuse_if_committed(&self, lsn: u64, next_seq: u64, bad: &Bad, tail: u64) -> Result<(), OpenError> {
        let end = tail + self.span.len;
        let mut at = lsn + BLOCK;
        let mut buf = vec![0; SWEEP];
        while at < end {
            let len = (end - at).min(SWEEP as u64) as usize;
            self.read(at, &mut buf[..len])?;
            for block in buf[..len].chunks_exact(BLOCK as usize) {
                if let Ok(header) = Header::peek(block, at, self.record_max())
                    && header.committed >= next_seq
                    && self.load(at)?.is_ok()
                {
                    return Err(OpenError::LogCorrupt {
                        position: lsn % self.span.len,
                        sequence: next_seq,
                        reason: describe(bad).into(),
                    });
                }
                at += BLOCK;
            }
        }
        Ok(())
    }
}

fn operations(mut payload: &[u8], count: u32) -> Option<Vec<Op>> {
    let mut ops = Vec::new();
    for _ in 0..count {
        let (op, rest) = postcard::take_from_bytes(payload).ok()?;
        ops.push(op);
        payload = rest;
    }
    payload.is_empty().then_some(ops)
}

fn contradiction(seq: u64, error: io::Error) -> OpenError {
    if crate::Fenced::of(&error).is_some() || error.kind() == io::ErrorKind::Other {
        return OpenError::Io(error);
    }
    OpenError::IndexCorrupt(format!("operation {seq} of the log cannot be replayed: {error}"))
}

fn describe(bad: &Bad) -> &'static str {
    match bad {
        Bad::NoMagic => "no record is there",
        Bad::Length => "its length is impossible",
        Bad::Hash => "its hash, its place in the chain or its bodies do not match",
        Bad::Place => "a record of an earlier lap is there",
        Bad::Newer(_) => "it is of a newer version",
    }
}
