//! Memory.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Disk, PAGE, check, lock, pages};

/// A disk in memory, sparse. Nothing outlives it.
#[derive(Debug)]
pub struct MemDisk {
    size: AtomicU64,
    pages: Mutex<HashMap<u64, Box<[u8]>>>,
}

impl MemDisk {
    /// `size` zero bytes.
    pub fn new(size: u64) -> Self {
        MemDisk { size: AtomicU64::new(size), pages: Mutex::default() }
    }
}

impl Disk for MemDisk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check(self.size()?, offset, buf.len())?;
        let all = lock(&self.pages);
        let mut done = 0;
        for (index, start, n) in pages(offset, buf.len()) {
            match all.get(&index) {
                Some(page) => buf[done..done + n].copy_from_slice(&page[start..start + n]),
                None => buf[done..done + n].fill(0),
            }
            done += n;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(self.size()?, offset, data.len())?;
        let mut all = lock(&self.pages);
        let mut done = 0;
        for (index, start, n) in pages(offset, data.len()) {
            let page = all.entry(index).or_insert_with(|| vec![0; PAGE as usize].into_boxed_slice());
            page[start..start + n].copy_from_slice(&data[done..done + n]);
            done += n;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size.load(Ordering::Acquire))
    }

    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        lock(&self.pages).retain(|page, _| page * PAGE < from);
        self.size.fetch_max(to, Ordering::AcqRel);
        Ok(())
    }
}
