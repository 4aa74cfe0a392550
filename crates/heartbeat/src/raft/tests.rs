//! openraft's storage suite, crash images of the log, and three voters in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId, StorageError, Vote};

use super::journal::{Image, Journal, Record};
use super::store::{LogStore, Machine};
use super::*;
use crate::consensus::{Applied, Consensus, ProposeError};
use crate::lease::FenceLog;
use crate::state::{Expect, Member, Role, State};
use crate::{ClusterId, NodeId, StoreId};

const CLUSTER: ClusterId = ClusterId(42);

/// A disk of two files that notes every write and flush.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Vec<Op>>>, Arc<AtomicBool>);

#[derive(Debug, Clone)]
enum Op {
    Write(usize, u64, Vec<u8>),
    Reserve(usize, u64),
    Sync(usize),
}

struct DiskFile {
    disk: Disk,
    number: usize,
    bytes: Vec<u8>,
}

impl LogFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(self.bytes.get(at..at + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let room = self.bytes.get_mut(at..at + data.len()).ok_or(io::ErrorKind::StorageFull)?;
        room.copy_from_slice(data);
        self.disk.note(Op::Write(self.number, offset, data.to_vec()));
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.disk.1.load(Ordering::Relaxed) {
            return Err(io::Error::other("a bad sector"));
        }
        self.disk.note(Op::Sync(self.number));
        Ok(())
    }
    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.bytes.resize(usize::try_from(len).unwrap(), 0);
        self.disk.note(Op::Reserve(self.number, len));
        Ok(())
    }
}

type Files = [Box<dyn LogFile>; 2];

impl Disk {
    fn note(&self, op: Op) {
        self.0.lock().unwrap().push(op);
    }

    fn ops(&self) -> Vec<Op> {
        self.0.lock().unwrap().clone()
    }

    fn files_with(contents: [Vec<u8>; 2]) -> Files {
        let disk = Self::default();
        let mut number = 0;
        contents.map(|bytes| {
            disk.note(Op::Reserve(number, bytes.len() as u64));
            disk.note(Op::Write(number, 0, bytes.clone()));
            disk.note(Op::Sync(number));
            number += 1;
            Box::new(DiskFile { disk: disk.clone(), number: number - 1, bytes }) as Box<dyn LogFile>
        })
    }

    fn files(&self) -> Files {
        [0, 1].map(|number| {
            Box::new(DiskFile { disk: self.clone(), number, bytes: Vec::new() }) as Box<dyn LogFile>
        })
    }

    /// What the disk holds if the power goes after `ops`; of the writes that were not flushed, those
    /// that `survives` says, whole or only their first half.
    fn image(ops: &[Op], survives: impl Fn(usize) -> Survival) -> [Vec<u8>; 2] {
        let mut files = [Vec::new(), Vec::new()];
        for (i, op) in ops.iter().enumerate() {
            match op {
                Op::Reserve(f, len) => files[*f].resize(usize::try_from(*len).unwrap(), 0),
                Op::Sync(_) => {}
                Op::Write(f, at, data) => {
                    let flushed = ops[i..].iter().any(|o| matches!(o, Op::Sync(g) if g == f));
                    let kept = match survives(i) {
                        _ if flushed => data.len(),
                        Survival::Whole => data.len(),
                        Survival::Half => data.len() / 2,
                        Survival::Lost => 0,
                    };
                    let at = usize::try_from(*at).unwrap();
                    files[*f][at..at + kept].copy_from_slice(&data[..kept]);
                }
            }
        }
        files
    }

    /// The files after a crash that loses all that was not flushed.
    fn after_crash(&self) -> [Vec<u8>; 2] {
        Self::image(&self.ops(), |_| Survival::Lost)
    }
}

#[derive(Clone, Copy)]
enum Survival {
    Whole,
    Half,
    Lost,
}

fn identity(store: u64) -> StoreIdentity {
    StoreIdentity { cluster: CLUSTER, store: StoreId(store.into()), genesis: true }
}

fn put(key: &str, value: Vec<u8>) -> Command {
    Command::Put { key: key.into(), value, expect: Expect::Anything }
}

fn entry(index: u64, bytes: usize) -> Entry<TypeConfig> {
    let payload = EntryPayload::Normal(put(&format!("key {index}"), vec![index as u8; bytes]));
    Entry { log_id: LogId::new(CommittedLeaderId::new(1, 1), index), payload }
}

// ---- the store ----

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine> for Builder {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<u64>> {
        let store = Store::format(Disk::default().files(), identity(1), 64 * 1024).unwrap();
        let (log, machine, _) = store.split(FenceLog::new()).unwrap();
        Ok(((), log, machine))
    }
}

#[test]
fn the_store_passes_the_storage_suite_of_openraft() {
    Suite::test_all(Builder).unwrap();
}

/// What a script of appends, votes, truncations and purges had made durable after so many operations.
fn scripted() -> (Disk, Vec<(usize, Image)>) {
    let disk = Disk::default();
    let mut journal = Journal::format(disk.files(), identity(1), 0).unwrap();
    let mut acknowledged = vec![(disk.ops().len(), journal.image.clone())];
    for i in 1..150u64 {
        let mut records = vec![Record::Append(entry(i, 400))];
        match i % 10 {
            3 => records.push(Record::Vote(Vote::new(i, 1))),
            5 => records.insert(0, Record::Committed(Some(entry(i - 2, 0).log_id))),
            7 => records.extend([Record::TruncateFrom(i), Record::Append(entry(i, 500))]),
            9 | 4 if i > 20 => records.push(Record::PurgeTo(entry(i - 12, 0).log_id)),
            _ => {}
        }
        journal.write(records).unwrap();
        journal.sync().unwrap();
        acknowledged.push((disk.ops().len(), journal.image.clone()));
    }
    (disk, acknowledged)
}

fn same(a: &Image, b: &Image) -> bool {
    a.vote == b.vote && a.entries == b.entries && a.purged == b.purged && a.committed == b.committed
}

#[test]
fn the_log_survives_a_power_cut_at_every_write() {
    let (disk, acknowledged) = scripted();
    let ops = disk.ops();
    let turns = ops.iter().filter(|o| matches!(o, Op::Write(_, 4096, _))).count();
    assert!(turns > 3, "the script is long enough to change files: {turns}");
    let first = acknowledged[0].0;
    for cut in first..=ops.len() {
        let known = acknowledged.iter().rposition(|(n, _)| *n <= cut).unwrap();
        let patterns: [&dyn Fn(usize) -> Survival; 4] = [
            &|_| Survival::Lost,
            &|_| Survival::Whole,
            &|i| if i + 1 == cut { Survival::Half } else { Survival::Whole },
            &|i| if i % 2 == 0 { Survival::Whole } else { Survival::Lost },
        ];
        for survives in patterns {
            let files = Disk::files_with(Disk::image(&ops[..cut], survives));
            let journal = Journal::open(files, CLUSTER).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
            let old = &acknowledged[known].1;
            let next = acknowledged.get(known + 1).map_or(old, |(_, image)| image);
            let between = |i: &Image| {
                i.entries.values().all(|e| {
                    old.entries.get(&e.log_id.index) == Some(e)
                        || next.entries.get(&e.log_id.index) == Some(e)
                })
            };
            let kept = old
                .entries
                .keys()
                .all(|k| journal.image.entries.contains_key(k) || !next.entries.contains_key(k));
            let vote = journal.image.vote == old.vote || journal.image.vote == next.vote;
            let touched = next.entries.keys().next_back();
            let torn = |k: &u64| Some(k) == touched;
            let lost: Vec<_> =
                old.entries.keys().filter(|k| !journal.image.entries.contains_key(k)).collect();
            let excused = lost.iter().all(|k| torn(k) || !next.entries.contains_key(k));
            assert!(vote && between(&journal.image) && (kept || excused), "cut at {cut}: lost {lost:?}");
        }
    }
    let last = Journal::open(Disk::files_with(disk.after_crash()), CLUSTER).unwrap();
    assert!(same(&last.image, &acknowledged.last().unwrap().1));
}

#[test]
fn a_damaged_durable_log_is_refused_never_shortened() {
    let (disk, acknowledged) = scripted();
    // Opened once, so that all of it is in the base of a fresh file.
    let reopened = Disk::default();
    let files = disk.after_crash().map(|bytes| (bytes.len() as u64, bytes));
    let mut number = 0;
    let files = files.map(|(len, bytes)| {
        reopened.note(Op::Reserve(number, len));
        reopened.note(Op::Write(number, 0, bytes.clone()));
        reopened.note(Op::Sync(number));
        number += 1;
        Box::new(DiskFile { disk: reopened.clone(), number: number - 1, bytes }) as Box<dyn LogFile>
    });
    drop(Journal::open(files, CLUSTER).unwrap());
    let image = reopened.after_crash();
    let wanted = &acknowledged.last().unwrap().1;
    let current = usize::from(image[1][..8] == *b"PHQUORUM");
    let used = image[current].iter().rposition(|b| *b != 0).unwrap();
    for at in (0..72).chain((4096..=used).step_by(29)) {
        let mut damaged = image.clone();
        damaged[current][at] ^= 0x10;
        if let Ok(journal) = Journal::open(Disk::files_with(damaged), CLUSTER) {
            assert!(same(&journal.image, wanted), "byte {at} changed what is stored");
        }
        let mut cut = image.clone();
        cut[current].truncate(at);
        if let Ok(journal) = Journal::open(Disk::files_with(cut), CLUSTER) {
            assert!(same(&journal.image, wanted), "cut at {at}");
        }
    }
}

#[test]
fn a_bad_record_below_what_was_durable_is_damage() {
    let disk = Disk::default();
    let mut journal = Journal::format(disk.files(), identity(1), 0).unwrap();
    let start = disk.ops().len();
    for i in 1..4 {
        journal.write(vec![Record::Append(entry(i, 100))]).unwrap();
        journal.sync().unwrap();
    }
    let ops = disk.ops();
    let Some(Op::Write(file, at, _)) = ops[start..].iter().find(|o| matches!(o, Op::Write(..))) else {
        panic!("no write");
    };
    let mut image = disk.after_crash();
    image[*file][usize::try_from(*at).unwrap() + 20] ^= 1;
    let error = Journal::open(Disk::files_with(image), CLUSTER).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { offset, .. } if offset == *at), "{error}");
}

#[test]
fn foreign_empty_and_existing_stores_are_refused() {
    let disk = Disk::default();
    drop(Journal::format(disk.files(), identity(1), 0).unwrap());
    let files = || Disk::files_with(disk.after_crash());
    let foreign = Store::open(files(), ClusterId(7)).unwrap_err();
    assert!(matches!(foreign, StoreError::ForeignCluster { found: CLUSTER, .. }));
    assert!(matches!(Store::open(Disk::default().files(), CLUSTER).unwrap_err(), StoreError::NoStore));
    assert!(matches!(Store::format(files(), identity(2), 0).unwrap_err(), StoreError::NotEmpty));
    assert_eq!(Store::open(files(), CLUSTER).unwrap().identity(), identity(1));
}

#[test]
fn a_store_on_real_files_is_created_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|n| dir.path().join(n));
    assert!(OsFile::open(&paths[0]).is_err(), "opening never creates");
    let made = paths.each_ref().map(|p| Box::new(OsFile::create(p).unwrap()) as Box<dyn LogFile>);
    drop(Store::format(made, identity(5), 1 << 20).unwrap());
    assert_eq!(std::fs::metadata(&paths[0]).unwrap().len(), 1 << 20, "space is reserved (R11)");
    let open = paths.each_ref().map(|p| Box::new(OsFile::open(p).unwrap()) as Box<dyn LogFile>);
    assert_eq!(Store::open(open, CLUSTER).unwrap().identity().store, StoreId(5));
}

// ---- three voters ----

#[derive(Default)]
struct Net {
    nodes: Mutex<BTreeMap<NodeId, Arc<RaftNode>>>,
    /// Packets of these pairs vanish.
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
}

struct Wire {
    net: Arc<Net>,
    me: NodeId,
}

#[async_trait]
impl RaftTransport for Wire {
    async fn call(&self, to: NodeId, request: Vec<u8>) -> io::Result<Vec<u8>> {
        let pair = (self.me.min(to), self.me.max(to));
        if self.net.cut.lock().unwrap().contains(&pair) {
            std::future::pending::<()>().await;
        }
        let node = self.net.nodes.lock().unwrap().get(&to).cloned();
        match node {
            Some(node) => Ok(node.handle_rpc(self.me, &request).await),
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

struct Voters {
    net: Arc<Net>,
    disks: BTreeMap<NodeId, Disk>,
}

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const W: NodeId = NodeId(3);

fn initial() -> State {
    let member = |n: NodeId, role| (n, Member::new(&format!("m{}", n.0), role, StoreId(n.0.into()), "-"));
    let members = [member(A, Role::Node), member(B, Role::Node), member(W, Role::Witness)].into();
    State { format: crate::state::FORMAT, cluster: CLUSTER, lease_ms: 700, members, ..State::default() }
}

impl Voters {
    async fn start() -> Self {
        let mut voters = Self { net: Arc::default(), disks: BTreeMap::new() };
        for n in [A, B, W] {
            voters.format(n, identity(n.0));
            voters.restart(n).await;
        }
        voters.node(A).bootstrap(&initial()).await.unwrap_or_else(|e| panic!("{e}"));
        voters
    }

    fn format(&mut self, n: NodeId, identity: StoreIdentity) {
        let disk = Disk::default();
        drop(Store::format(disk.files(), identity, 64 * 1024).unwrap());
        self.disks.insert(n, disk);
    }

    /// Starts `n` on what its disk holds after a power cut.
    async fn restart(&mut self, n: NodeId) {
        let disk = Disk::default();
        let mut number = 0;
        let files = self.disks[&n].after_crash().map(|bytes| {
            disk.note(Op::Reserve(number, bytes.len() as u64));
            disk.note(Op::Write(number, 0, bytes.clone()));
            disk.note(Op::Sync(number));
            number += 1;
            Box::new(DiskFile { disk: disk.clone(), number: number - 1, bytes }) as Box<dyn LogFile>
        });
        self.disks.insert(n, disk);
        let store = Store::open(files, CLUSTER).unwrap();
        let all = vec![A, B, W];
        let mut config = if n == W { RaftConfig::witness(n, all) } else { RaftConfig::node(n, all) };
        config.snapshot_every = 40;
        let wire = Arc::new(Wire { net: self.net.clone(), me: n });
        let node = RaftNode::start(config, store, wire, FenceLog::new()).await.unwrap();
        self.net.nodes.lock().unwrap().insert(n, node);
    }

    async fn kill(&self, n: NodeId) {
        let node = self.net.nodes.lock().unwrap().remove(&n).unwrap();
        node.shutdown().await;
    }

    fn node(&self, n: NodeId) -> Arc<RaftNode> {
        self.net.nodes.lock().unwrap()[&n].clone()
    }

    /// Proposes at `n` until the outcome is known.
    async fn put(&self, n: NodeId, key: &str) -> Applied {
        for _ in 0..20 {
            match self.node(n).propose(put(key, vec![1])).await {
                Ok(applied) => return applied,
                Err(e) => tracing::info!("{e}"),
            }
        }
        panic!("no outcome for {key} at {n}");
    }

    async fn sees(&self, n: NodeId, key: &str) {
        let mut watch = self.node(n).watch();
        let seen = watch.wait_for(|c| c.state.kv.contains_key(key));
        tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_survive_one_death_refuse_after_two_and_recover() {
    let mut voters = Voters::start().await;
    voters.put(A, "first").await;
    voters.kill(B).await;
    voters.put(A, "second").await;
    assert!(voters.node(W).read_linearizable().await.unwrap().state.kv.contains_key("second"));
    voters.kill(W).await;
    let refused = loop {
        // A leader notices only after a while that nobody follows any more.
        match voters.node(A).propose(put("third", vec![1])).await {
            Err(ProposeError::Timeout(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(refused, Err(ProposeError::NoQuorum(_) | ProposeError::NoLeader(_))), "{refused:?}");
    voters.restart(B).await;
    voters.put(A, "fourth").await;
    for key in ["first", "second", "fourth"] {
        voters.sees(B, key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_between_two_voters_is_bridged_by_the_third() {
    let voters = Voters::start().await;
    voters.put(A, "before").await;
    voters.net.cut.lock().unwrap().insert((A, B));
    for i in 0..5 {
        for n in [A, B] {
            let key = format!("key {i} of {n}");
            voters.put(n, &key).await;
            voters.sees(A, &key).await;
            voters.sees(B, &key).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_lost_its_store_counts_only_after_replace() {
    let mut voters = Voters::start().await;
    voters.put(A, "first").await;
    voters.kill(W).await;
    let fresh = StoreIdentity { genesis: false, ..identity(99) };
    voters.format(W, fresh);
    voters.restart(W).await;
    voters.kill(B).await;
    for _ in 0..2 {
        let outcome = voters.node(A).propose(put("lonely", vec![1])).await;
        assert!(outcome.is_err(), "R7: the amnesiac helped to commit: {outcome:?}");
    }
    voters.restart(B).await;
    let replace = Command::Replace { node: W, store: StoreId(99) };
    loop {
        if let Ok(applied) = voters.node(A).propose(replace.clone()).await {
            assert_eq!(applied.outcome, Ok(()));
            break;
        }
    }
    voters.put(A, "second").await;
    voters.sees(W, "second").await;
    voters.kill(B).await;
    voters.put(A, "third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_goes_on_through_the_replacement_of_a_voter_that_it_knew() {
    let mut voters = Voters::start().await;
    for i in 0..20 {
        voters.put(A, &format!("key {i}")).await;
    }
    let leader = voters.node(A).leader().unwrap();
    let lost = if leader == B { A } else { B };
    voters.kill(lost).await;
    voters.put(leader, "alone").await;
    voters.format(lost, StoreIdentity { genesis: false, ..identity(99) });
    voters.restart(lost).await;
    let replace = Command::Replace { node: lost, store: StoreId(99) };
    assert_eq!(voters.node(leader).propose(replace).await.unwrap().outcome, Ok(()));
    voters.put(leader, "after").await;
    voters.sees(lost, "key 0").await;
    voters.sees(lost, "after").await;
    let leading = voters.node(leader);
    let ended = tokio::time::timeout(Duration::from_millis(500), leading.failed());
    assert!(ended.await.is_err(), "the leader must not stumble over a log that became shorter");
    voters.put(lost, "through the new one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_away_for_long_catches_up_by_a_snapshot_and_keeps_it() {
    let mut voters = Voters::start().await;
    voters.kill(B).await;
    for i in 0..150 {
        voters.put(A, &format!("key {i}")).await;
    }
    voters.restart(B).await;
    voters.sees(B, "key 0").await;
    voters.sees(B, "key 149").await;
    voters.kill(B).await;
    voters.restart(B).await;
    voters.sees(B, "key 149").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_whose_store_fails_says_so_and_the_others_go_on() {
    let mut voters = Voters::start().await;
    let failing = voters.node(B);
    let failed = tokio::spawn(async move { failing.failed().await });
    voters.put(A, "before").await;
    assert!(!failed.is_finished());
    voters.disks[&B].1.store(true, Ordering::Relaxed);
    // If it led, the outcome is unknown.
    let _ = voters.node(A).propose(put("after", vec![1])).await;
    let why = tokio::time::timeout(Duration::from_secs(10), failed).await.unwrap().unwrap();
    assert!(why.contains("a bad sector"), "{why}");
    voters.kill(B).await;
    voters.put(A, "later").await;
    voters.restart(B).await;
    voters.sees(B, "later").await;
}

#[test]
fn a_purge_up_to_the_last_possible_index_is_no_overflow() {
    let mut image = Image::default();
    let id = |index| LogId::new(CommittedLeaderId::new(1, 1), index);
    for index in [7, 8, 9, u64::MAX] {
        image.apply(Record::Append(Entry { log_id: id(index), payload: EntryPayload::Blank }));
    }
    image.apply(Record::PurgeTo(id(8)));
    assert_eq!(image.entries.keys().copied().collect::<Vec<_>>(), [9, u64::MAX]);
    image.apply(Record::PurgeTo(id(u64::MAX)));
    assert!(image.entries.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_nonsense_are_refused() {
    let voters = Voters::start().await;
    let node = voters.node(A);
    for bytes in [&b""[..], b"nonsense", &[0xff; 300]] {
        assert!(!node.handle_rpc(B, bytes).await.is_empty());
    }
    voters.put(A, "still works").await;
}
