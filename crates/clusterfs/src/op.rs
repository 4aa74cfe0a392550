//! The operations that the log carries, and the rows that the index holds.

use serde::{Deserialize, Serialize};

use crate::superblock::BLOCK;

/// Identity of a file or a directory; never used twice on a volume.
pub(crate) type Inode = u64;

pub(crate) const ROOT: Inode = 1;
/// Control files grow by rows of this many bytes.
pub(crate) const CHUNK: u64 = 4096;

/// Consecutive blocks of the data region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) blocks: u32,
}

/// A piece of a body: `len` bytes from block `start` on, with their CRC-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

impl Extent {
    pub(crate) fn run(&self) -> Run {
        Run { start: self.start, blocks: u64::from(self.len).div_ceil(BLOCK) as u32 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    Inline(Vec<u8>),
    Extents(Vec<Extent>),
}

impl Body {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Body::Inline(bytes) => bytes.len() as u64,
            Body::Extents(extents) => extents.iter().map(|e| u64::from(e.len)).sum(),
        }
    }

    pub(crate) fn extents(&self) -> &[Extent] {
        match self {
            Body::Inline(_) => &[],
            Body::Extents(extents) => extents,
        }
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.extents().iter().map(Extent::run)
    }
}

/// A directory: its row in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Folder {
    pub(crate) parent: Inode,
    /// Sequence of the last operation that changed it.
    pub(crate) generation: u64,
}

/// A file: its row in the index. Bytes `[0, base)` are the body, the rest lies in chunk rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leaf {
    pub(crate) len: u64,
    /// Nanoseconds since 1970.
    pub(crate) mtime: i64,
    pub(crate) links: u32,
    pub(crate) generation: u64,
    pub(crate) base: u64,
    pub(crate) body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Node {
    Folder(Folder),
    Leaf(Leaf),
}

/// One change. Never reorder or remove a variant: postcard stores its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    /// A leader took over.
    EpochStart,
    Mkdir {
        parent: Inode,
        name: Vec<u8>,
        id: Inode,
    },
    Put {
        dir: Inode,
        name: Vec<u8>,
        id: Inode,
        mtime: i64,
        body: Body,
        replace: bool,
    },
    Rename {
        from: Inode,
        old: Vec<u8>,
        to: Inode,
        new: Vec<u8>,
    },
    Link {
        from: Inode,
        old: Vec<u8>,
        to: Inode,
        new: Vec<u8>,
    },
    Unlink {
        dir: Inode,
        name: Vec<u8>,
    },
    RenameDir {
        from: Inode,
        old: Vec<u8>,
        to: Inode,
        new: Vec<u8>,
    },
    /// Unlinks a whole tree at once; its files are reaped later.
    RemoveDir {
        parent: Inode,
        name: Vec<u8>,
    },
    Append {
        dir: Inode,
        name: Vec<u8>,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Drops up to `count` files, after `after`, of a directory that `RemoveDir` unlinked.
    Reap {
        dir: Inode,
        after: Vec<u8>,
        count: u32,
    },
}

impl Op {
    /// The body that a record's reader must find on the device.
    pub(crate) fn body(&self) -> Option<&Body> {
        match self {
            Op::Put { body, .. } => Some(body),
            _ => None,
        }
    }
}

/// The rows' keys. Names sort below their directory, directories before files.
pub(crate) mod key {
    use super::Inode;

    pub(crate) const DIR: u8 = 0;
    pub(crate) const FILE: u8 = 1;
    pub(crate) const CHECKPOINT: &[u8] = b"mcheckpoint";

    pub(crate) fn entry(dir: Inode, kind: u8, name: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(10 + name.len());
        key.push(b'd');
        key.extend_from_slice(&dir.to_be_bytes());
        key.push(kind);
        key.extend_from_slice(name);
        key
    }

    /// Length of an entry's key before the name.
    pub(crate) const ENTRY: usize = 10;

    pub(crate) fn node(id: Inode) -> Vec<u8> {
        tagged(b'i', &id.to_be_bytes())
    }

    pub(crate) fn chunks(id: Inode) -> Vec<u8> {
        tagged(b't', &id.to_be_bytes())
    }

    pub(crate) fn chunk(id: Inode, number: u64) -> Vec<u8> {
        let mut key = chunks(id);
        key.extend_from_slice(&number.to_be_bytes());
        key
    }

    pub(crate) fn orphan(dir: Inode) -> Vec<u8> {
        tagged(b'o', &dir.to_be_bytes())
    }

    pub(crate) fn bitmap(group: u32) -> Vec<u8> {
        tagged(b'b', &group.to_be_bytes())
    }

    pub(crate) fn free(group: u32) -> Vec<u8> {
        tagged(b'g', &group.to_be_bytes())
    }

    fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + rest.len());
        key.push(tag);
        key.extend_from_slice(rest);
        key
    }

    /// The first key after all that begin with `prefix` (whose last byte is never 255 here, or
    /// carries over).
    pub(crate) fn after(prefix: &[u8]) -> Vec<u8> {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < 255 {
                end.push(last + 1);
                break;
            }
        }
        end
    }
}
