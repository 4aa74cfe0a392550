//! A power cut by SIGKILL.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::{Disk, PAGE, check, lock, pages};

type Pages = BTreeMap<u64, Box<[u8]>>;

/// A disk that keeps unflushed writes in this process's memory and hands them to the disk below
/// only at a flush: a SIGKILL, or dropping it, then acts as a power cut. For tests.
#[derive(Debug)]
pub struct VolatileDisk {
    below: Arc<dyn Disk>,
    cache: Mutex<Cache>,
    /// One flush at a time.
    flushing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Cache {
    dirty: Pages,
    /// Being handed down; still newer than what lies below.
    leaving: Arc<Pages>,
}

impl VolatileDisk {
    /// A volatile cache over `below`, whose size must be a multiple of 4096.
    pub fn new(below: Arc<dyn Disk>) -> Self {
        VolatileDisk { below, cache: Mutex::default(), flushing: Mutex::new(()) }
    }

    fn page(&self, cache: &Cache, index: u64) -> io::Result<Box<[u8]>> {
        if let Some(page) = cache.dirty.get(&index).or_else(|| cache.leaving.get(&index)) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE as usize].into_boxed_slice();
        self.below.read_at(index * PAGE, &mut page)?;
        Ok(page)
    }
}

impl Disk for VolatileDisk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check(self.below.size()?, offset, buf.len())?;
        let cache = lock(&self.cache);
        self.below.read_at(offset, buf)?;
        let mut done = 0;
        for (index, start, n) in pages(offset, buf.len()) {
            if let Some(page) = cache.dirty.get(&index).or_else(|| cache.leaving.get(&index)) {
                buf[done..done + n].copy_from_slice(&page[start..start + n]);
            }
            done += n;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(self.below.size()?, offset, data.len())?;
        let mut cache = lock(&self.cache);
        let mut done = 0;
        for (index, start, n) in pages(offset, data.len()) {
            let mut page = match cache.dirty.remove(&index) {
                Some(page) => page,
                None => self.page(&cache, index)?,
            };
            page[start..start + n].copy_from_slice(&data[done..done + n]);
            cache.dirty.insert(index, page);
            done += n;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let _one = lock(&self.flushing);
        let leaving = {
            let mut cache = lock(&self.cache);
            cache.leaving = Arc::new(std::mem::take(&mut cache.dirty));
            cache.leaving.clone()
        };
        for (index, page) in leaving.iter() {
            self.below.write_at(index * PAGE, page)?;
        }
        self.below.flush()?;
        lock(&self.cache).leaving = Arc::default();
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.below.size()
    }

    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        self.below.grow(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_volatile_disk_loses_exactly_what_was_not_flushed(
            ops in proptest::collection::vec((0u64..60_000, 1usize..9000, any::<u8>(), any::<bool>()), 1..20)
        ) {
            let below = Arc::new(MemDisk::new(1 << 17));
            let disk = VolatileDisk::new(below.clone());
            let (mut live, mut durable) = (vec![0u8; 1 << 17], vec![0u8; 1 << 17]);
            for (offset, len, byte, flush) in ops {
                disk.write_at(offset, &vec![byte; len]).unwrap();
                live[offset as usize..offset as usize + len].fill(byte);
                if flush {
                    disk.flush().unwrap();
                    durable.copy_from_slice(&live);
                }
                let mut seen = vec![0; 1 << 17];
                disk.read_at(0, &mut seen).unwrap();
                prop_assert!(seen == live);
                below.read_at(0, &mut seen).unwrap();
                prop_assert!(seen == durable);
            }
        }
    }
}
