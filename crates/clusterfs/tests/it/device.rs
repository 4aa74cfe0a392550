//! A device with a volatile cache: what was written but not flushed may be lost, reordered or torn at
//! sectors of 512 bytes when the power goes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_blockrepl::{BlockDevice, DeviceError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Event {
    Write(u64, Vec<u8>),
    /// A flush began; what was written before is durable once it ends.
    FlushBegin,
    /// The flush that began at this event is over.
    FlushEnd(usize),
}

#[derive(Debug, Default)]
struct Disk {
    live: Vec<u8>,
    /// The image before the first event.
    start: Vec<u8>,
    events: Vec<Event>,
    recording: bool,
}

#[derive(Debug)]
struct Inner {
    disk: Mutex<Disk>,
    size: u64,
    epoch: u64,
    fenced: AtomicBool,
    flush_fails: AtomicBool,
    flush_time: Mutex<Duration>,
    written: AtomicU64,
    read: AtomicU64,
    held: AtomicBool,
    waiting: AtomicBool,
    flushes: AtomicU64,
}

/// Clones share the device.
#[derive(Debug, Clone)]
pub(crate) struct TestDevice(Arc<Inner>);

impl TestDevice {
    pub(crate) fn new(size: usize) -> Self {
        Self::from_image(vec![0; size], 1)
    }

    pub(crate) fn from_image(image: Vec<u8>, epoch: u64) -> Self {
        let size = image.len() as u64;
        let disk = Disk { live: image, ..Disk::default() };
        TestDevice(Arc::new(Inner {
            disk: Mutex::new(disk),
            size,
            epoch,
            fenced: AtomicBool::new(false),
            flush_fails: AtomicBool::new(false),
            flush_time: Mutex::new(Duration::ZERO),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            held: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            flushes: AtomicU64::new(0),
        }))
    }

    /// From here on, writes and flushes can be crashed at. What is there is durable.
    pub(crate) fn record(&self) {
        let mut disk = self.0.disk.lock().unwrap();
        disk.start = disk.live.clone();
        disk.events.clear();
        disk.recording = true;
    }

    /// Writes and flushes so far.
    pub(crate) fn events(&self) -> usize {
        self.0.disk.lock().unwrap().events.len()
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.0.disk.lock().unwrap().live.clone()
    }

    pub(crate) fn fence(&self) {
        self.0.fenced.store(true, Ordering::SeqCst);
    }

    pub(crate) fn fail_flushes(&self) {
        self.0.flush_fails.store(true, Ordering::SeqCst);
    }

    /// Flushes by threads named `checkpoint` do not end while this holds.
    pub(crate) fn hold_checkpoints(&self, held: bool) {
        self.0.held.store(held, Ordering::SeqCst);
    }

    /// Returns once such a flush waits.
    pub(crate) fn await_checkpoint(&self) {
        while !self.0.waiting.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn slow_flushes(&self, time: Duration) {
        *self.0.flush_time.lock().unwrap() = time;
    }

    pub(crate) fn flushes(&self) -> u64 {
        self.0.flushes.load(Ordering::SeqCst)
    }

    pub(crate) fn written(&self) -> u64 {
        self.0.written.load(Ordering::SeqCst)
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.read.load(Ordering::SeqCst)
    }

    /// What the disk may hold after a power cut behind the first `at` events.
    pub(crate) fn crash(&self, at: usize, how: Crash) -> Vec<u8> {
        let disk = self.0.disk.lock().unwrap();
        let mut image = disk.start.clone();
        let events = &disk.events[..at];
        let ended = |event: &Event| if let Event::FlushEnd(began) = event { Some(*began) } else { None };
        let durable = events.iter().filter_map(ended).max().unwrap_or(0);
        for event in &events[..durable] {
            apply(&mut image, event);
        }
        how.apply(&mut image, &events[durable..]);
        image
    }

    /// Remembers an event; returns its number.
    fn log(&self, event: Event) -> usize {
        let mut disk = self.0.disk.lock().unwrap();
        if disk.recording {
            disk.events.push(event);
        }
        disk.events.len().saturating_sub(1)
    }

    fn check(&self) -> Result<(), DeviceError> {
        if self.0.fenced.load(Ordering::SeqCst) {
            return Err(DeviceError::Fenced { held: self.0.epoch, current: self.0.epoch + 1 });
        }
        Ok(())
    }
}

fn apply(image: &mut [u8], event: &Event) {
    if let Event::Write(offset, data) = event {
        image[*offset as usize..*offset as usize + data.len()].copy_from_slice(data);
    }
}

/// What becomes of the writes that no flush covers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Crash {
    /// All are lost.
    Lost,
    /// All survive.
    Kept,
    /// Each sector shows any of its versions.
    Torn(u64),
}

impl Crash {
    fn apply(self, image: &mut [u8], events: &[Event]) {
        match self {
            Crash::Lost => {}
            Crash::Kept => events.iter().for_each(|event| apply(image, event)),
            Crash::Torn(seed) => tear(image, events, &mut StdRng::seed_from_u64(seed)),
        }
    }
}

fn tear(image: &mut [u8], events: &[Event], rng: &mut StdRng) {
    let mut versions: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for event in events {
        let Event::Write(offset, data) = event else { continue };
        let (start, end) = (*offset as usize, *offset as usize + data.len());
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let base = sector * SECTOR;
            let history = versions
                .entry(sector)
                .or_insert_with(|| vec![image[base..(base + SECTOR).min(image.len())].to_vec()]);
            let mut next = history.last().unwrap().clone();
            let (from, to) = (start.max(base), end.min(base + SECTOR));
            next[from - base..to - base].copy_from_slice(&data[from - start..to - start]);
            history.push(next);
        }
    }
    for (sector, history) in versions {
        let version = &history[rng.random_range(0..history.len())];
        image[sector * SECTOR..sector * SECTOR + version.len()].copy_from_slice(version);
    }
}

impl BlockDevice for TestDevice {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.check()?;
        let disk = self.0.disk.lock().unwrap();
        let len = buf.len() as u64;
        self.0.read.fetch_add(len, Ordering::SeqCst);
        let out = DeviceError::OutOfRange { offset, len, size: self.size() };
        let end = offset.checked_add(len).filter(|end| *end <= self.size()).ok_or(out)?;
        buf.copy_from_slice(&disk.live[offset as usize..end as usize]);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.check()?;
        let len = data.len() as u64;
        if offset + len > self.size() {
            return Err(DeviceError::OutOfRange { offset, len, size: self.size() });
        }
        self.0.written.fetch_add(len, Ordering::SeqCst);
        let event = Event::Write(offset, data.to_vec());
        let mut disk = self.0.disk.lock().unwrap();
        apply(&mut disk.live, &event);
        if disk.recording {
            disk.events.push(event);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.check()?;
        if self.0.flush_fails.load(Ordering::SeqCst) {
            return Err(DeviceError::Failed("test: the flush failed".into()));
        }
        let began = self.log(Event::FlushBegin);
        let checkpoint = std::thread::current().name() == Some("checkpoint");
        while checkpoint && self.0.held.load(Ordering::SeqCst) {
            self.0.waiting.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(*self.0.flush_time.lock().unwrap());
        self.0.flushes.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        self.log(Event::FlushEnd(began));
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.0.epoch
    }
}
