//! Files being written and files being read.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::BodyDamaged;
use crate::op::{Body, Extent, Inode};
use crate::superblock::BLOCK;
use crate::volume::{Volume, read_extent};

/// The longest extent in bytes: what a reader or a writer of a file holds in memory.
pub(crate) const EXTENT_MAX: usize = 1 << 20;

/// What a body is for: a full volume still takes some of the second kind, so that mailboxes can
/// be cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Message,
    Control,
}

/// A file being written: nobody sees it before [`Fs::publish`](crate::Fs::publish). Dropped
/// unpublished, it leaves nothing behind. Holds at most 1 MiB in memory.
pub struct Staged {
    pub(crate) volume: Arc<Volume>,
    pub(crate) purpose: Purpose,
    pub(crate) modified: Option<SystemTime>,
    buffer: Vec<u8>,
    extents: Vec<Extent>,
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staged").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Staged {
    pub(crate) fn new(volume: Arc<Volume>, purpose: Purpose, modified: Option<SystemTime>) -> Self {
        Staged { volume, purpose, modified, buffer: Vec::new(), extents: Vec::new() }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.buffer.len() as u64 + self.extents.iter().map(|e| u64::from(e.len)).sum::<u64>()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Brings all content to the device (not yet durable), or keeps it if it is small.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let small = self.extents.is_empty() && self.buffer.len() <= self.volume.options.inline_max;
        if small && (self.purpose == Purpose::Control || !self.volume.index_is_half_full()) {
            return Ok(());
        }
        self.spill()
    }

    /// The finished body. Until [`keep`](Self::keep), the blocks are still this file's to return.
    pub(crate) fn body(&self) -> Body {
        if self.extents.is_empty() {
            Body::Inline(self.buffer.clone())
        } else {
            Body::Extents(self.extents.clone())
        }
    }

    /// The blocks belong to the tree now.
    pub(crate) fn keep(mut self) {
        self.extents.clear();
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let need = (self.buffer.len() as u64).div_ceil(BLOCK) as u32;
        let blocks = self.volume.space.blocks();
        let keep = if self.purpose == Purpose::Message { blocks / 64 + 1 } else { 0 };
        let runs = self.volume.take_blocks(need, keep)?;
        let mut rest = self.buffer.as_slice();
        let mut pieces = Vec::with_capacity(runs.len());
        for run in runs {
            let (piece, later) = rest.split_at(rest.len().min(run.blocks as usize * BLOCK as usize));
            let crc = crc32fast::hash(piece);
            self.extents.push(Extent { start: run.start, len: piece.len() as u32, crc });
            pieces.push((run.start, piece));
            rest = later;
        }
        for (start, piece) in pieces {
            self.volume.disk.write(self.volume.superblock.data.start + start * BLOCK, piece)?;
        }
        self.buffer.clear();
        Ok(())
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(EXTENT_MAX - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() == EXTENT_MAX {
            self.spill()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.volume.space.release(self.extents.iter().map(Extent::run));
    }
}

/// A file opened for reading. It stays readable when its last name goes. Every byte is checked
/// against its checksum; damage is an error that carries [`BodyDamaged`], never wrong bytes.
pub struct File {
    volume: Arc<Volume>,
    name: String,
    inode: Inode,
    body: Body,
    /// What a control file has beyond its body.
    tail: Vec<u8>,
    len: u64,
    position: u64,
    /// The extent read last: its first byte's offset in the file, and its bytes.
    cached: Option<(u64, Vec<u8>)>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("name", &self.name).field("inode", &self.inode).finish_non_exhaustive()
    }
}

impl File {
    /// The caller has pinned the inode.
    pub(crate) fn new(volume: Arc<Volume>, name: &[u8], inode: Inode, body: Body, tail: Vec<u8>) -> Self {
        let len = body.len() + tail.len() as u64;
        let name = String::from_utf8_lossy(name).into_owned();
        File { volume, name, inode, body, tail, len, position: 0, cached: None }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes from the current position to the end of the piece that it lies in.
    fn piece(&mut self) -> io::Result<&[u8]> {
        let base = self.len - self.tail.len() as u64;
        if self.position >= base {
            let at = usize::try_from(self.position - base).unwrap_or(usize::MAX).min(self.tail.len());
            return Ok(&self.tail[at..]);
        }
        if matches!(self.body, Body::Extents(_)) {
            self.load()?;
        }
        match (&self.body, &self.cached) {
            (Body::Inline(bytes), _) => Ok(&bytes[self.position as usize..]),
            (_, Some((start, bytes))) => Ok(&bytes[(self.position - start) as usize..]),
            (_, None) => Err(crate::error::corrupt("an extent is missing")),
        }
    }

    fn load(&mut self) -> io::Result<()> {
        let position = self.position;
        if let Some((start, bytes)) = &self.cached
            && (*start..*start + bytes.len() as u64).contains(&position)
        {
            self.volume.disk.check()?;
            return Ok(());
        }
        let (mut buf, data) = (self.cached.take().unwrap_or_default().1, self.volume.superblock.data.start);
        let mut start = 0;
        for extent in self.body.extents() {
            if position < start + u64::from(extent.len) {
                if !read_extent(&self.volume.disk, data, extent, &mut buf)? {
                    return Err(self.damaged(extent));
                }
                self.cached = Some((start, buf));
                break;
            }
            start += u64::from(extent.len);
        }
        Ok(())
    }

    fn damaged(&self, extent: &Extent) -> io::Error {
        let offset = self.volume.superblock.data.start + extent.start * BLOCK;
        let (name, inode, len) = (self.name.clone(), self.inode, extent.len);
        io::Error::new(io::ErrorKind::InvalidData, BodyDamaged { name, inode, offset, len })
    }
}

impl Read for File {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.volume.disk.check()?;
        if out.is_empty() || self.position >= self.len {
            return Ok(0);
        }
        let piece = self.piece()?;
        let take = piece.len().min(out.len());
        out[..take].copy_from_slice(&piece[..take]);
        self.position += take as u64;
        Ok(take)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the file's start");
        self.position = target.ok_or_else(before)?;
        Ok(self.position)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.volume.space.unpin(self.inode);
    }
}
