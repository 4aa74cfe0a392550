//! Several processes on one mailbox, of which now and then one is killed, preferably the one that
//! holds the lock; then the mailbox is compared with what each of them was told.
//!
//! The processes are this test program, started again with `POSTHASTE_TORTURE_DIR`.
//! `POSTHASTE_TORTURE_SECONDS` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_maildir::{
    Append, Delivery, DotlockTimes, Durability, FlagChange, Flags, Keyword, LocalConfig, LocalFs, Mailbox,
    MailboxConfig, Store,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{base, config};

const WORKERS: usize = 4;

fn open(dir: &Path) -> Mailbox<LocalFs> {
    let lock_times = DotlockTimes { dead_after: Duration::from_millis(20), ..config(true).lock_times };
    let store = LocalFs::open(dir, LocalConfig { lock_times, ..config(true) }).unwrap();
    Mailbox::ensure(Arc::new(store), b"inbox", MailboxConfig { keep_cache: true, ..MailboxConfig::default() })
        .unwrap()
}

fn body(name: &str) -> Vec<u8> {
    format!("Subject: {name}\r\n\r\n{}\r\n", name.repeat(100)).into_bytes()
}

/// What a worker says it was told: one line a fact, written before anything else is begun.
struct Log(fs::File);

impl Log {
    fn say(&mut self, fact: &str) {
        self.0.write_all(format!("{fact}\n").as_bytes()).unwrap();
    }
}

/// The process that works until it is killed.
fn work(dir: &Path, worker: usize, life: u64) {
    let mut rng = StdRng::seed_from_u64(life);
    let mut log = Log(fs::File::create(dir.join(format!("log.{worker}.{life}"))).unwrap());
    let inbox = open(dir);
    let mut mine: Vec<(String, u32)> = Vec::new();
    for n in 0.. {
        let name = format!("{}.w{worker}l{life}", 1000 + n);
        match rng.random_range(0..8u8) {
            0..3 => deliver(&inbox, &mut log, &name),
            3..5 => mine.push(append(&inbox, &mut log, name)),
            5 => flag(&inbox, &mut log, &mine),
            6 if !mine.is_empty() => expunge(&inbox, &mut log, mine.remove(0)),
            _ => look(&inbox, &mut log),
        }
    }
}

fn deliver(inbox: &Mailbox<LocalFs>, log: &mut Log, name: &str) {
    let item = Delivery { base: Some(base(name)), content: &body(name) };
    inbox.deliver(&[item], Durability::Full).unwrap().remove(0).unwrap();
    log.say(&format!("there {name}"));
}

fn append(inbox: &Mailbox<LocalFs>, log: &mut Log, name: String) -> (String, u32) {
    let keywords = [Keyword::parse("kw").unwrap()];
    let (content, flags) = (body(&name), Flags::SEEN);
    let item = Append { base: Some(base(&name)), content: &content, flags, keywords: &keywords, date: None };
    let done = inbox.append(&item, Durability::Full).unwrap();
    log.say(&format!("there {name}"));
    log.say(&format!("uid {name} {}", done.uid));
    (name, done.uid)
}

/// On all of its own: others change other flags of the same messages meanwhile.
fn flag(inbox: &Mailbox<LocalFs>, log: &mut Log, mine: &[(String, u32)]) {
    let uids: Vec<u32> = mine.iter().map(|(_, uid)| *uid).collect();
    inbox.change_flags(&uids, FlagChange::Add, Flags::FLAGGED, &[]).unwrap();
    inbox.store().commit().unwrap();
    mine.iter().for_each(|(name, _)| log.say(&format!("flagged {name}")));
}

fn expunge(inbox: &Mailbox<LocalFs>, log: &mut Log, (name, uid): (String, u32)) {
    log.say(&format!("doomed {name}"));
    assert_eq!(inbox.expunge(Some(&[uid]), false).unwrap(), [uid]);
    inbox.store().commit().unwrap();
    log.say(&format!("gone {name}"));
}

/// Tells the UIDs of the newest, and marks some of others' as answered.
fn look(inbox: &Mailbox<LocalFs>, log: &mut Log) {
    let snapshot = inbox.snapshot().unwrap();
    inbox.store().commit().unwrap();
    log.say(&format!("validity {}", snapshot.uid_validity));
    for message in snapshot.messages.iter().rev().take(50) {
        log.say(&format!("uid {} {}", String::from_utf8_lossy(message.base.stem()), message.uid));
    }
    let some: Vec<u32> = snapshot.messages.iter().rev().take(5).map(|m| m.uid).collect();
    inbox.change_flags(&some, FlagChange::Add, Flags::REPLIED, &[]).unwrap();
}

fn start(dir: &Path, worker: usize, life: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "torture::processes_that_are_killed_lose_nothing_that_was_acknowledged"])
        .env("POSTHASTE_TORTURE_DIR", dir)
        .env("POSTHASTE_TORTURE_WORKER", format!("{worker}.{life}"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join(format!("err.{worker}.{life}"))).unwrap())
        .spawn()
        .unwrap()
}

fn holder(dir: &Path) -> Option<u32> {
    let lock = fs::read_to_string(dir.join("inbox/dovecot-uidlist.lock")).ok()?;
    lock.split(':').next()?.parse().ok()
}

#[test]
fn processes_that_are_killed_lose_nothing_that_was_acknowledged() {
    if let Some(dir) = std::env::var_os("POSTHASTE_TORTURE_DIR") {
        let me = std::env::var("POSTHASTE_TORTURE_WORKER").unwrap();
        let (worker, life) = me.split_once('.').unwrap();
        work(Path::new(&dir), worker.parse().unwrap(), life.parse().unwrap());
        return;
    }
    let seconds = std::env::var("POSTHASTE_TORTURE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mut workers: Vec<Child> = (0..WORKERS).map(|worker| start(dir.path(), worker, 0)).collect();
    let (mut kills, mut holders, mut life) = (0, 0, 0);
    let end = Instant::now() + Duration::from_secs(seconds);
    // Until at least three holders were hit, however slow the machine.
    while Instant::now() < end || (holders < 3 && kills < 300) {
        std::thread::sleep(Duration::from_millis(60));
        let patience = Instant::now() + Duration::from_millis(100);
        let victim = loop {
            let held = holder(dir.path()).and_then(|pid| workers.iter().position(|w| w.id() == pid));
            if held.is_some() || Instant::now() > patience {
                break held;
            }
        };
        holders += usize::from(victim.is_some());
        let victim = victim.unwrap_or(kills % WORKERS);
        // By itself a worker ends only with an error.
        if let Some(status) = workers[victim].try_wait().unwrap() {
            panic!("a worker ended: {status}\n{}", errors(dir.path()));
        }
        workers[victim].kill().unwrap();
        workers[victim].wait().unwrap();
        (kills, life) = (kills + 1, life + 1);
        workers[victim] = start(dir.path(), victim, life);
    }
    for worker in &mut workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let facts = compare(dir.path());
    eprintln!("{kills} kills, {holders} of them of who held the lock, {facts} facts held");
    assert!(facts > 20 && holders > 0);
}

fn errors(dir: &Path) -> String {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let errors =
        files.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("err.")));
    errors.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Every fact that a worker was told must hold; returns how many there were.
fn compare(dir: &Path) -> usize {
    let inbox = open(dir);
    let snapshot = inbox.snapshot().unwrap();
    let mut there = BTreeMap::new();
    for message in &snapshot.messages {
        let name = String::from_utf8(message.base.stem().to_vec()).unwrap();
        assert!(inbox.read(message.uid).unwrap() == body(&name), "{name} is torn");
        assert!(there.insert(name.clone(), message).is_none(), "{name} is there twice");
    }
    let logs: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log.")))
        .collect();
    let text: String = logs.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let facts: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let named = |what: &str| -> BTreeSet<&str> {
        facts.iter().filter(|fact| fact[0] == what && fact.len() == 2).map(|fact| fact[1]).collect()
    };
    let (doomed, gone) = (named("doomed"), named("gone"));
    for name in named("there") {
        assert!(there.contains_key(name) || doomed.contains(name), "{name} is lost");
    }
    for name in &gone {
        assert!(!there.contains_key(*name), "{name} came back");
    }
    for name in named("flagged").difference(&doomed) {
        assert!(there[*name].flags.contains(Flags::FLAGGED), "{name} lost its flag");
    }
    for validity in named("validity") {
        assert_eq!(validity, snapshot.uid_validity.to_string());
    }
    let mut meanings: BTreeMap<u32, &str> = BTreeMap::new();
    // The last line of a log may be cut off by the kill: then it was not told.
    for fact in facts.iter().filter(|fact| fact[0] == "uid" && fact.len() == 3) {
        let uid: u32 = fact[2].parse().unwrap();
        let first = meanings.entry(uid).or_insert(fact[1]);
        assert_eq!(*first, fact[1], "UID {uid} had two meanings");
        if let Some(message) = there.get(fact[1]) {
            assert_eq!(message.uid, uid, "{} has another UID now", fact[1]);
        }
    }
    facts.len()
}
