//! The tree as everyone sees it: what changed since the last checkpoint, over the index.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use crate::error::{Failure, corrupt};
use crate::index::{ROW_COST, Row, Snapshot, SnapshotRows};
use crate::op::{Inode, Node, Op, Run, key};

/// Blocks that a removed file held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freed {
    pub(crate) inode: Inode,
    pub(crate) run: Run,
}

/// Gets a key and a value; returns whether to go on.
pub(crate) type Each<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<bool> + 'a;

pub(crate) type RowMap = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// Changes on their way into the index. `None` is a removed row.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) rows: RowMap,
    pub(crate) allocs: Vec<Run>,
    pub(crate) frees: Vec<Freed>,
    /// An upper bound of what these rows add to the index, in bytes.
    pub(crate) growth: u64,
}

impl Overlay {
    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let cost = |value: &[u8]| value.len() as u64 + ROW_COST;
        let key_len = key.len() as u64;
        self.growth += value.as_deref().map_or(0, |value| cost(value) + key_len);
        let old = self.rows.insert(key.into(), value.map(Vec::into_boxed_slice));
        self.growth -= old.flatten().map_or(0, |old| cost(&old) + key_len);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.allocs.is_empty() && self.frees.is_empty()
    }

    /// A copy of the rows with `low <= key < high`.
    fn slice(&self, low: &[u8], high: &[u8]) -> RowMap {
        let range = self.rows.range::<[u8], _>((Bound::Included(low), Bound::Excluded(high)));
        range.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// Operations that are applied and not yet in the log.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) active: Overlay,
    /// What a running checkpoint is writing into the index.
    pub(crate) frozen: Option<Arc<Overlay>>,
    pub(crate) base: Option<Arc<Snapshot>>,
    pub(crate) pending: Pending,
    pub(crate) next_seq: u64,
    pub(crate) next_inode: Inode,
    /// Bytes of the index's rows at the last checkpoint.
    pub(crate) index_bytes: u64,
}

impl State {
    /// Applies an operation and queues it for the log. Refused, it changes nothing.
    pub(crate) fn submit(&mut self, op: &Op) -> io::Result<u64> {
        let seq = self.next_seq;
        self.apply(seq, op)?;
        let bytes = std::mem::take(&mut self.pending.bytes);
        self.pending.bytes = postcard::to_extend(op, bytes).expect("a vector takes all");
        self.pending.count += 1;
        Ok(seq)
    }

    pub(crate) fn new_inode(&self) -> Inode {
        self.next_inode
    }

    pub(crate) fn read(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let base = self.base()?;
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.rows.get(key));
        match self.active.rows.get(key).or_else(frozen) {
            Some(value) => Ok(value.as_deref().map(<[u8]>::to_vec)),
            None => base.read(key),
        }
    }

    pub(crate) fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.active.put(key, value);
    }

    pub(crate) fn entry(&self, dir: Inode, kind: u8, name: &[u8]) -> io::Result<Option<Inode>> {
        self.read(&key::entry(dir, kind, name))?.map(|row| entry_inode(&row)).transpose()
    }

    pub(crate) fn node(&self, id: Inode) -> io::Result<Option<Node>> {
        let Some(row) = self.read(&key::node(id))? else { return Ok(None) };
        postcard::from_bytes(&row).map(Some).map_err(|error| corrupt(format!("inode {id}: {error}")))
    }

    pub(crate) fn put_node(&mut self, id: Inode, node: &Node) {
        self.write(key::node(id), Some(postcard::to_stdvec(node).expect("a vector takes all")));
    }

    /// The rows with `low <= key < high`, in order, until `each` says stop.
    pub(crate) fn walk(&self, low: &[u8], high: &[u8], each: &mut Each<'_>) -> io::Result<()> {
        let empty = RowMap::new();
        let frozen = self.frozen.as_ref().map_or(&empty, |frozen| &frozen.rows);
        merge(self.base()?, [&self.active.rows, frozen], (low, high), each)
    }

    /// A view of the rows with `low <= key < high` that later changes do not touch.
    pub(crate) fn view(&self, low: Vec<u8>, high: Vec<u8>) -> io::Result<View> {
        let base = self.base()?.clone();
        let active = self.active.slice(&low, &high);
        let frozen = self.frozen.as_ref().map_or_else(RowMap::new, |frozen| frozen.slice(&low, &high));
        Ok(View { base, overlays: [active, frozen], low, high })
    }

    /// Bytes that the index may reach once everything here is in it.
    pub(crate) fn index_bound(&self) -> u64 {
        self.index_bytes + self.active.growth + self.frozen.as_ref().map_or(0, |frozen| frozen.growth)
    }

    fn base(&self) -> io::Result<&Arc<Snapshot>> {
        self.base.as_ref().ok_or_else(|| Failure::Closed.to_io())
    }
}

pub(crate) fn entry_inode(row: &[u8]) -> io::Result<Inode> {
    let bytes = row.try_into().map_err(|_| corrupt("a directory entry is not an inode number"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// See [`State::view`].
pub(crate) struct View {
    base: Arc<Snapshot>,
    overlays: [RowMap; 2],
    low: Vec<u8>,
    high: Vec<u8>,
}

impl View {
    pub(crate) fn walk(&self, each: &mut Each<'_>) -> io::Result<()> {
        let [active, frozen] = &self.overlays;
        merge(&self.base, [active, frozen], (&self.low, &self.high), each)
    }
}

/// Walks the index with its overlays, the first of which wins.
fn merge(
    base: &Snapshot,
    overlays: [&RowMap; 2],
    (low, high): (&[u8], &[u8]),
    each: &mut Each<'_>,
) -> io::Result<()> {
    let bounds = (Bound::Included(low), Bound::Excluded(high));
    let [mut newer, mut older] = overlays.map(|rows| rows.range::<[u8], _>(bounds).peekable());
    let mut base = Peeked::new(base.rows(low, high)?)?;
    loop {
        let keys = [newer.peek().map(|row| row.0), older.peek().map(|row| row.0)];
        let over = keys.into_iter().flatten().min();
        let Some(over) = over else {
            let Some((key, value)) = base.take()? else { return Ok(()) };
            if !each(&key, &value)? {
                return Ok(());
            }
            continue;
        };
        if base.key().is_some_and(|key| *key < **over) {
            let (key, value) = base.take()?.expect("peeked");
            if !each(&key, &value)? {
                return Ok(());
            }
            continue;
        }
        let over: &[u8] = over;
        if base.key() == Some(over) {
            base.take()?;
        }
        let old = older.next_if(|row| **row.0 == *over);
        let row = newer.next_if(|row| **row.0 == *over).or(old);
        if let Some((key, Some(value))) = row
            && !each(key, value)?
        {
            return Ok(());
        }
    }
}

struct Peeked<'a> {
    rows: SnapshotRows<'a>,
    next: Option<Row>,
}

impl<'a> Peeked<'a> {
    fn new(mut rows: SnapshotRows<'a>) -> io::Result<Self> {
        let next = rows.next()?;
        Ok(Peeked { rows, next })
    }

    fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|row| &*row.0)
    }

    fn take(&mut self) -> io::Result<Option<Row>> {
        let next = if self.next.is_some() { self.rows.next()? } else { None };
        Ok(std::mem::replace(&mut self.next, next))
    }
}
