//! R10 on a voter's damaged store: what opens holds every record which a whole record knows to be
//! durable; what is refused is left as it was.
#![no_main]

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use libfuzzer_sys::fuzz_target;
use posthaste_fuzz::Script;
use posthaste_heartbeat::ClusterId;
use posthaste_heartbeat::raft::{LogFile, Store};

const CLUSTER: ClusterId = ClusterId(42);
const HEADER: usize = 4096;
const LEN: usize = 16 << 10;
const TURN: u64 = 3;

#[derive(Clone)]
struct MemFile(Arc<Mutex<Vec<u8>>>);

impl MemFile {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LogFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let range = offset as usize..offset as usize + buf.len();
        buf.copy_from_slice(bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let range = offset as usize..offset as usize + data.len();
        bytes.get_mut(range).ok_or(io::ErrorKind::StorageFull)?.copy_from_slice(data);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).resize(len as usize, 0);
        Ok(())
    }
}

fn header(turn: u64, base: u64) -> Vec<u8> {
    let mut head = vec![0; 72];
    head[..8].copy_from_slice(b"PHQUORUM");
    head[8] = 1;
    head[10] = 1;
    head[12..20].copy_from_slice(&turn.to_le_bytes());
    head[20..28].copy_from_slice(&base.to_le_bytes());
    head[28..44].copy_from_slice(&CLUSTER.0.to_le_bytes());
    head[44] = 7;
    let crc = crc32fast::hash(&head[..60]);
    head[60..64].copy_from_slice(&crc.to_le_bytes());
    head
}

fn checksum(turn: u64, at: usize, durable: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for number in [turn, at as u64, durable, payload.len() as u64] {
        crc.update(&number.to_le_bytes());
    }
    crc.update(payload);
    crc.finalize()
}

fn frame(file: &mut Vec<u8>, durable: u64, payload: &[u8]) {
    let crc = checksum(TURN, file.len(), durable, payload);
    file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(&durable.to_le_bytes());
    file.extend_from_slice(payload);
    file.resize(file.len().next_multiple_of(16), 0);
}

/// One record of the log as it was written.
struct Written {
    /// Without the padding, which nothing reads.
    body: Range<usize>,
    end: usize,
    durable: u64,
}

/// The vote of `term`, as postcard has it.
fn vote(term: u8) -> [u8; 4] {
    [0, term, 1, 0]
}

/// The term of the last vote in the file that is current now.
fn last_vote(file: &[u8]) -> u8 {
    // Opening writes all that counts: the vote, and what is committed.
    match file[HEADER + 16..] {
        [0, term, 1, 0, ..] => term,
        _ => 0,
    }
}

/// Votes of growing terms; the log is flushed now and then, as the script says.
fn votes(script: &mut Script<'_>) -> (Vec<u8>, Vec<Written>) {
    let (mut file, mut all) = (header(TURN, HEADER as u64), Vec::new());
    file.resize(HEADER, 0);
    let mut durable = HEADER;
    for term in 1..=script.byte() % 24 {
        if script.byte() & 1 == 0 {
            durable = file.len();
        }
        let start = file.len();
        frame(&mut file, durable as u64, &vote(term));
        let body = start..start + 16 + vote(term).len();
        all.push(Written { body, end: file.len(), durable: durable as u64 });
    }
    (file, all)
}

fn damage(file: &mut [u8], used: usize, script: &mut Script<'_>) {
    while !script.is_over() {
        let (kind, at) = (script.byte(), HEADER + script.short() % (used - HEADER + 32));
        match kind % 4 {
            0 => file[at] ^= 1 << (kind >> 5),
            1 => file[at..].iter_mut().take(16).for_each(|byte| *byte = 0),
            2 => file[at / 16 * 16..used.max(at)].fill(0),
            _ => {
                let from = HEADER + script.short() % (used - HEADER + 1);
                file.copy_within(from..from + 32, at / 16 * 16);
            }
        }
    }
}

fn open(current: Vec<u8>, other: Vec<u8>) -> (Option<Store>, [Vec<u8>; 2]) {
    let files = [current, other].map(|bytes| MemFile(Arc::new(Mutex::new(bytes))));
    let handles = files.clone().map(|file| Box::new(file) as Box<dyn LogFile>);
    let store = Store::open(handles, CLUSTER).ok();
    (store, files.map(|file| file.bytes()))
}

fn damaged_votes(script: &mut Script<'_>) {
    let (mut file, written) = votes(script);
    let used = file.len();
    file.resize(LEN, 0);
    let whole = file.clone();
    damage(&mut file, used, script);
    let intact = |record: &&Written| file[record.body.clone()] == whole[record.body.clone()];
    let durable = written.iter().filter(intact).map(|record| record.durable).max().unwrap_or(0);
    let proven = written.iter().filter(|record| record.end as u64 <= durable).count() as u8;
    let prefix = written.iter().take_while(intact).count() as u8;
    let before = [file.clone(), vec![0; LEN]];
    let (store, [old, new]) = open(file.clone(), vec![0; LEN]);
    if store.is_none() {
        assert!(prefix < proven, "{prefix} whole records, {proven} durable: refused without a reason");
        assert_eq!([old, new], before, "a refused store was changed");
        return;
    }
    assert!(prefix >= proven, "{proven} records were durable, {prefix} are left");
    assert_eq!(last_vote(&new), prefix);
    assert!(old.starts_with(&[0; 64]), "the old file still counts");
}

fn any_payloads(script: &mut Script<'_>) {
    let mut file = header(TURN, HEADER as u64);
    file.resize(HEADER, 0);
    while !script.is_over() && file.len() < LEN - 512 {
        let len = usize::from(script.byte());
        let payload = script.take(len);
        let durable = file.len() as u64;
        frame(&mut file, durable, if payload.is_empty() { &[4, 0] } else { payload });
    }
    file.resize(LEN, 0);
    let (store, [old, new]) = open(file.clone(), vec![0; LEN]);
    match store {
        Some(store) => {
            assert_eq!(store.identity().cluster, CLUSTER);
            let _ = (store.is_pristine(), store.snapshot_state().is_ok());
            drop(store);
            let (again, files) = open(old, new.clone());
            assert!(again.is_some(), "it opens only once");
            assert_eq!(records(&files[0], TURN + 2), records(&new, TURN + 1), "opening changes what is held");
        }
        None => assert!(old == file && new == vec![0; LEN], "a refused store was changed"),
    }
}

/// The payloads of a file's records of one turn.
fn records(file: &[u8], turn: u64) -> Vec<Vec<u8>> {
    let (mut all, mut at) = (Vec::new(), HEADER);
    while let Some(prefix) = file.get(at..at + 16) {
        let len = u32::from_le_bytes(prefix[..4].try_into().expect("four bytes")) as usize;
        let durable = u64::from_le_bytes(prefix[8..].try_into().expect("eight bytes"));
        let Some(payload) = file.get(at + 16..at + 16 + len) else { break };
        if len == 0 || checksum(turn, at, durable, payload).to_le_bytes() != prefix[4..8] {
            break;
        }
        all.push(payload.to_vec());
        at = (at + 16 + len).next_multiple_of(16);
    }
    all
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script(data);
    match script.byte() % 8 {
        0..=3 => damaged_votes(&mut script),
        4..=6 => any_payloads(&mut script),
        _ => {
            // Two files of any content.
            let half = script.0.len() / 2;
            let file = |bytes: &[u8]| [bytes, &vec![0; LEN]].concat();
            let files = [file(&script.0[..half]), file(&script.0[half..])];
            let (store, after) = open(files[0].clone(), files[1].clone());
            assert!(store.is_some() || after == files, "a refused store was changed");
        }
    }
});
