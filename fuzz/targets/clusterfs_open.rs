//! R10 on a damaged volume: what opens shows a prefix of all operations that holds everything which a
//! whole record of the log knows to be committed; what is refused is left as it was.
#![no_main]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use posthaste_blockrepl::{BlockDevice, DeviceError};
use posthaste_clusterfs::{Dir, FormatOptions, Fs, OpenOptions};
use posthaste_fuzz::Script;

const SIZE: usize = 5 << 20;
const BLOCK: usize = 4096;
const RING: usize = 4096;
const RING_LEN: usize = 1 << 20;
const HEADER: usize = 64;
const UUID: [u8; 16] = [9; 16];

/// A device that shares its image until a block is written.
#[derive(Debug, Clone)]
struct Device {
    base: Arc<Vec<u8>>,
    blocks: Arc<Mutex<BTreeMap<usize, Box<[u8]>>>>,
    epoch: u64,
}

impl Device {
    fn new(base: Arc<Vec<u8>>, epoch: u64) -> Self {
        Device { base, blocks: Arc::default(), epoch }
    }

    fn block(&self, number: usize) -> Vec<u8> {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.get(&number).map_or_else(|| self.base[number * BLOCK..][..BLOCK].to_vec(), |b| b.to_vec())
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.read_at(at as u64, &mut out).expect("within the device");
        out
    }

    fn put(&self, at: usize, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let (number, start) = ((at + done) / BLOCK, (at + done) % BLOCK);
            let n = (BLOCK - start).min(data.len() - done);
            let mut block = self.block(number);
            block[start..start + n].copy_from_slice(&data[done..done + n]);
            self.blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(number, block.into());
            done += n;
        }
    }

    fn image(&self) -> Vec<u8> {
        self.bytes(0, self.base.len())
    }

    fn range(&self, offset: u64, len: u64) -> Result<usize, DeviceError> {
        let error = DeviceError::OutOfRange { offset, len, size: self.size() };
        let end = offset.checked_add(len).filter(|end| *end <= self.size());
        end.map(|_| offset as usize).ok_or(error)
    }
}

impl BlockDevice for Device {
    fn size(&self) -> u64 {
        self.base.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let at = self.range(offset, buf.len() as u64)?;
        buf.copy_from_slice(&self.base[at..at + buf.len()]);
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, block) in blocks.range(at / BLOCK..(at + buf.len()).div_ceil(BLOCK)) {
            let start = number * BLOCK;
            let (from, to) = (start.max(at), (start + BLOCK).min(at + buf.len()));
            buf[from - at..to - at].copy_from_slice(&block[from - start..to - start]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        let at = self.range(offset, data.len() as u64)?;
        self.put(at, data);
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// A record of the log as it was written.
#[derive(Debug)]
struct Record {
    at: usize,
    len: usize,
    committed: u64,
}

/// A volume with a checkpoint behind some messages, and the log behind it.
struct Base {
    image: Arc<Vec<u8>>,
    records: Vec<Record>,
    /// The operations that published the messages.
    messages: Vec<u64>,
    /// The last operation that the index holds.
    checkpointed: u64,
}

static BASES: LazyLock<[Base; 2]> = LazyLock::new(|| [base(0), base(4)]);

fn options() -> OpenOptions {
    OpenOptions {
        background: false,
        checkpoint_every: Duration::MAX,
        cache_bytes: 1 << 20,
        ..OpenOptions::default()
    }
}

fn body(n: usize) -> Vec<u8> {
    let len = if n % 3 == 2 { 5000 + n } else { 20 * n };
    (0..len).map(|at| (at * 7 + n * 31) as u8 | 1).collect()
}

fn base(checkpoint_behind: usize) -> Base {
    let device = Device::new(Arc::new(vec![0; SIZE]), 1);
    let format = FormatOptions {
        uuid: UUID,
        log_bytes: Some(RING_LEN as u64),
        index_bytes: Some(1200 << 10),
        ..FormatOptions::new("vol1")
    };
    Fs::format(device.clone(), &format).expect("formatted");
    let fs = Fs::open_with(device.clone(), options()).expect("opened");
    let mut messages = Vec::new();
    for n in 0..10 {
        if n == checkpoint_behind && n > 0 {
            fs.checkpoint().expect("checkpointed");
        }
        let mut staged = fs.stage(None);
        staged.write_all(&body(n)).expect("staged");
        let sequence = fs.publish(staged, Dir::ROOT, format!("m{n}").as_bytes()).expect("published");
        fs.commit_until(sequence).expect("committed");
        messages.push(sequence.0);
    }
    let checkpointed = fs.status().expect("open").checkpointed.0;
    drop(fs);
    let image = Arc::new(device.image());
    Base { records: records(&image), image, messages, checkpointed }
}

fn records(image: &[u8]) -> Vec<Record> {
    let long = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"));
    let mut found = Vec::new();
    for at in (RING..RING + RING_LEN).step_by(BLOCK) {
        if image[at..].starts_with(b"PHLR") && long(at + 16) == (at - RING) as u64 {
            let len = u32::from_le_bytes(image[at + 8..at + 12].try_into().expect("four bytes")) as usize;
            found.push(Record { at, len, committed: long(at + 32) });
        }
    }
    assert!(found.len() > 10, "an epoch start and ten messages");
    found
}

/// What was done to the image.
#[derive(Debug, Default)]
struct Damage {
    /// A record was made up whose hash is right.
    forged: bool,
    /// The superblocks or the index were touched.
    elsewhere: bool,
    bodies: bool,
}

fn damage(device: &Device, base: &Base, script: &mut Script<'_>) -> Damage {
    let mut done = Damage::default();
    while !script.is_over() {
        let kind = script.byte();
        let record = &base.records[usize::from(script.byte()) % base.records.len()];
        match kind % 16 {
            0..=5 => {
                let at = record.at + script.short() % record.len;
                device.put(at, script.take(1 + usize::from(kind >> 5)));
            }
            6 => device.put(record.at, &vec![0; script.short() % (4 * BLOCK)]),
            7 => {
                let other = &base.records[usize::from(script.byte()) % base.records.len()];
                device.put(other.at, &device.bytes(record.at, BLOCK));
            }
            8 => device.put(record.at, &vec![0; RING + RING_LEN - record.at]),
            9..=11 => {
                done.forged = true;
                forge(device, record, script, kind);
            }
            12 | 13 => {
                done.bodies = true;
                let data = SIZE - 2 * BLOCK - script.short() * 16 % (SIZE - RING - RING_LEN - (1300 << 10));
                device.put(data, script.take(1 + usize::from(kind >> 4)));
            }
            14 => {
                done.elsewhere = true;
                let last = if script.byte() & 1 == 0 { 0 } else { SIZE - BLOCK };
                device.put(last + script.short() % 512, script.take(1 + usize::from(kind >> 5)));
            }
            _ => {
                done.elsewhere = true;
                // The two slots that hold the length of the index.
                device.put(
                    RING + RING_LEN + script.short() % (2 * BLOCK),
                    script.take(1 + usize::from(kind >> 5)),
                );
            }
        }
    }
    done
}

/// Puts a payload of the input's choosing into a record, in its place in the chain.
fn forge(device: &Device, record: &Record, script: &mut Script<'_>, kind: u8) {
    let mut bytes = device.bytes(record.at, record.len);
    let room = BLOCK - HEADER;
    if kind & 16 == 0 {
        let payload = script.take(usize::from(script.0.first().copied().unwrap_or(0)) + 1);
        bytes.truncate(HEADER);
        bytes.extend_from_slice(&payload[..payload.len().min(room)]);
        bytes[12..16].copy_from_slice(&u32::from(kind >> 5).to_le_bytes());
    } else {
        let at = 4 + script.short() % (bytes.len() - 4);
        let value = script.take(1 + usize::from(kind >> 5));
        let end = (at + value.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&value[..end - at]);
    }
    let len = bytes.len() as u32;
    if kind & 16 == 0 {
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
    }
    let seed = xxhash_rust::xxh3::xxh3_64(&UUID);
    let hash = {
        let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(seed);
        hasher.update(&bytes[..HEADER - 8]);
        hasher.update(&bytes[HEADER..]);
        hasher.digest()
    };
    bytes[HEADER - 8..HEADER].copy_from_slice(&hash.to_le_bytes());
    device.put(record.at, &bytes);
}

fn holds_what_was_committed(fs: &Fs, base: &Base, device: &Device, damage: &Damage) {
    let before = Device::new(base.image.clone(), 1);
    let whole = |record: &&Record| device.bytes(record.at, record.len) == before.bytes(record.at, record.len);
    let proven = base.records.iter().filter(whole).map(|record| record.committed).max().unwrap_or(0);
    let status = fs.status().expect("open");
    // Opening adds the start of an epoch behind what it replayed.
    let replayed = status.applied.0 - 1;
    assert!(
        replayed >= proven.max(base.checkpointed),
        "{replayed} operations, {proven} were committed: {damage:?}"
    );
    if base.records.iter().all(|record| whole(&record)) && !damage.bodies {
        assert_eq!(Some(&replayed), base.messages.last(), "an undamaged log was cut");
    }
    let shown = base.messages.iter().filter(|sequence| **sequence <= replayed).count();
    let mut names = Vec::new();
    fs.scan(Dir::ROOT, &mut |name| names.push(String::from_utf8_lossy(name).into_owned())).expect("a root");
    names.sort_unstable();
    assert_eq!(names, (0..shown).map(|n| format!("m{n}")).collect::<Vec<_>>());
    for (n, name) in names.iter().enumerate() {
        let mut content = Vec::new();
        let read =
            fs.open_file(Dir::ROOT, name.as_bytes()).and_then(|mut file| file.read_to_end(&mut content));
        match read {
            Ok(_) => assert!(content == body(n), "{name} has another content"),
            Err(error) => assert!(damage.bodies, "{name}: {error}"),
        }
    }
}

fn every_call_answers(fs: &Fs) {
    let mut names = Vec::new();
    let _ = fs.scan(Dir::ROOT, &mut |name| names.push(name.to_vec()));
    for name in names {
        if let Ok(mut file) = fs.open_file(Dir::ROOT, &name) {
            let _ = file.read(&mut [0; 512]);
        }
    }
    let mut staged = fs.stage(None);
    let _ = staged.write_all(&[5; 6000]);
    let _ = fs.publish(staged, Dir::ROOT, b"after");
    let _ = fs.unlink(Dir::ROOT, b"m0");
    let _ = fs.commit();
    let _ = fs.checkpoint();
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    let base = &BASES[usize::from(script.byte() & 1)];
    let device = Device::new(base.image.clone(), 2);
    let damage = damage(&device, base, &mut script);
    let before =
        Device { blocks: Arc::new(Mutex::new(device.blocks.lock().unwrap().clone())), ..device.clone() };
    match Fs::open_with(device.clone(), options()) {
        Ok(fs) if damage.forged || damage.elsewhere => every_call_answers(&fs),
        Ok(fs) => holds_what_was_committed(&fs, base, &before, &damage),
        Err(_) => {
            let same = |at, len| device.bytes(at, len) == before.bytes(at, len);
            assert!(same(0, RING + RING_LEN) && same(SIZE - BLOCK, BLOCK), "a refused volume was changed");
        }
    }
});
