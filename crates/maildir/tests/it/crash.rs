//! What survives a loss of power at any flush: acknowledged means there, once, whole.
//!
//! A script of random operations runs on a simulated disk that stops taking flushes at the k-th.
//! What was committed before is acknowledged. The disk is then opened as it might be found.
//! `POSTHASTE_SEED=n` runs one seed; a failing one is in the message.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_maildir::sim::SimFs;
use posthaste_maildir::{
    Append, BaseName, Delivery, Durability, FlagChange, Flags, Import, Keyword, Mailbox, MailboxConfig,
    QuotaLimits, Store, Tree, conformance,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

type Box = Mailbox<SimFs>;
type Op = fn(&mut Run, usize, &mut [Told; 2]);

#[test]
fn the_simulated_disk_conforms() {
    conformance::run(SimFs::default);
}

/// What clients were told of one mailbox.
#[derive(Debug, Default, Clone)]
struct Told {
    validity: Option<u32>,
    uid_next: u32,
    /// By stem.
    messages: BTreeMap<String, Fate>,
}

#[derive(Debug, Default, Clone)]
struct Fate {
    /// A delivery, append or copy of it was acknowledged.
    acknowledged: bool,
    uid: Option<u32>,
    /// Flags that it has in any case: acknowledged and not being changed.
    flags: Option<Flags>,
    /// An expunge was begun: it may be gone.
    doomed: bool,
    /// Its expunge was acknowledged: it must not be there.
    gone: bool,
}

struct Run {
    seed: u64,
    rng: StdRng,
    disk: Arc<SimFs>,
    boxes: [Box; 2],
    told: [Told; 2],
    /// Moves that were begun: from where, the old name, the new name.
    either: Vec<(usize, String, String)>,
    made: u32,
}

fn open(disk: &Arc<SimFs>, n: usize) -> Box {
    let path = [&b"u"[..], b"u/.A"][n];
    let (validity_dir, quota_root) = (b"u".to_vec(), Some(b"u".to_vec()));
    let config = MailboxConfig { validity_dir, quota_root, keep_cache: true, ..MailboxConfig::default() };
    Mailbox::open(Arc::clone(disk), path, config).unwrap()
}

fn body(stem: &str) -> Vec<u8> {
    format!("Subject: {stem}\r\n\r\n{}\r\n", stem.repeat(50)).into_bytes()
}

fn base(stem: &str) -> BaseName {
    BaseName::parse(stem.as_bytes()).unwrap()
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = Arc::new(SimFs::default());
        let tree = Tree::new(Arc::clone(&disk), b"u", MailboxConfig::default());
        tree.ensure().unwrap();
        tree.create("A").unwrap();
        disk.commit().unwrap();
        let boxes = [open(&disk, 0), open(&disk, 1)];
        Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
            disk,
            boxes,
            told: Default::default(),
            either: Vec::new(),
            made: 0,
        }
    }

    fn stem(&mut self) -> String {
        self.made += 1;
        format!("{}.M{:06}.h", 1000 + self.made / 3, self.made)
    }

    /// Does one thing; what it told counts if the disk was alive at the end.
    fn step(&mut self) {
        let n = self.rng.random_range(0..2);
        let mut told = self.told.clone();
        let op = match self.rng.random_range(0..14u8) {
            0..3 => Self::deliver,
            3 => Self::deliver_read,
            4 => Self::deliver_batch,
            5 => Self::append,
            6 => Self::import,
            7 => Self::copy,
            8 => Self::move_away,
            9..11 => Self::flag,
            11 => Self::expunge,
            12 => Self::housekeeping,
            _ => Self::look,
        };
        self.acknowledged(op, n, &mut told);
    }

    fn acknowledged(&mut self, op: Op, n: usize, told: &mut [Told; 2]) {
        op(self, n, told);
        self.disk.commit().unwrap();
        if !self.disk.is_frozen() {
            self.told = told.clone();
        }
    }

    fn deliver_read(&mut self, n: usize, told: &mut [Told; 2]) {
        let stem = self.stem();
        let content = body(&stem);
        self.boxes[n].deliver_from(Some(&base(&stem)), &mut &content[..], Durability::None).unwrap();
        told[n].messages.entry(stem).or_default().acknowledged = true;
    }

    fn deliver_batch(&mut self, n: usize, told: &mut [Told; 2]) {
        let stems: Vec<String> = (0..3).map(|_| self.stem()).collect();
        let bodies: Vec<Vec<u8>> = stems.iter().map(|stem| body(stem)).collect();
        let item = |(stem, content)| Delivery { base: Some(base(stem)), content };
        let items: Vec<Delivery<'_>> =
            stems.iter().map(String::as_str).zip(bodies.iter().map(Vec::as_slice)).map(item).collect();
        self.boxes[n].deliver(&items, Durability::Full).unwrap().into_iter().for_each(|r| drop(r.unwrap()));
        for stem in stems {
            told[n].messages.entry(stem).or_default().acknowledged = true;
        }
    }

    /// Two messages, the second with a UID of its own.
    fn import(&mut self, n: usize, told: &mut [Told; 2]) {
        let stems = [self.stem(), self.stem()];
        let bodies = stems.each_ref().map(|stem| body(stem));
        let next = self.boxes[n].peek().unwrap().uid_next;
        let item = |at: usize, uid| {
            let (base, content) = (Some(base(&stems[at])), &bodies[at][..]);
            let message = Append { base, content, flags: Flags::DRAFT, keywords: &[], date: None };
            Import { message, uid }
        };
        let batch = [item(0, None), item(1, Some(next + 5))];
        for (stem, done) in stems.iter().zip(self.boxes[n].import(&batch, Durability::None).unwrap()) {
            told[n].validity = Some(done.uid_validity);
            let flags = Some(Flags::DRAFT);
            let fate = Fate { acknowledged: true, uid: Some(done.uid), flags, ..Fate::default() };
            told[n].messages.insert(stem.clone(), fate);
        }
    }

    fn move_away(&mut self, n: usize, told: &mut [Told; 2]) {
        let source = self.boxes[n].snapshot().unwrap();
        let Some(message) = source.messages.last() else { return };
        let old = String::from_utf8(message.base.stem().to_vec()).unwrap();
        let stem = format!("{old}x");
        self.told[n].messages.entry(old.clone()).or_default().doomed = true;
        // Nobody was told so yet: but of the two, one is there whatever happens.
        let moved = self.boxes[n].move_to(&self.boxes[1 - n], &[(message.uid, base(&stem))]).unwrap();
        self.either.push((n, old.clone(), stem.clone()));
        let gone = told[n].messages.entry(old).or_default();
        (gone.doomed, gone.gone) = (true, true);
        let fate = told[1 - n].messages.entry(stem).or_default();
        (fate.acknowledged, fate.uid) = (true, Some(moved[0].to));
    }

    /// What touches no message.
    fn housekeeping(&mut self, n: usize, _: &mut [Told; 2]) {
        let tree = Tree::new(Arc::clone(&self.disk), b"u", MailboxConfig::default());
        let name = format!("F{}", self.made);
        tree.create(&name).unwrap();
        tree.subscribe(&name, true).unwrap();
        tree.rename(&name, &format!("{name}.R")).unwrap();
        tree.delete(&format!("{name}.R")).unwrap();
        tree.set_quota(QuotaLimits { bytes: Some(1 << 40), messages: None }).unwrap();
        let uids: Vec<u32> = self.boxes[n].snapshot().unwrap().messages.iter().map(|m| m.uid).collect();
        self.boxes[n].digests(&uids, 1, &|content: &[u8]| content[..4].to_vec()).unwrap();
        self.boxes[n].save_cache().unwrap();
        self.boxes[n].clean_tmp().unwrap();
    }

    fn deliver(&mut self, n: usize, told: &mut [Told; 2]) {
        let stem = self.stem();
        let item = Delivery { base: Some(base(&stem)), content: &body(&stem) };
        assert!(self.boxes[n].deliver(&[item], Durability::None).unwrap().remove(0).unwrap().new);
        told[n].messages.entry(stem).or_default().acknowledged = true;
    }

    fn append(&mut self, n: usize, told: &mut [Told; 2]) {
        let stem = self.stem();
        let keywords = [Keyword::parse(["x", "y"][self.rng.random_range(0..2)]).unwrap()];
        let (base, content) = (Some(base(&stem)), &body(&stem)[..]);
        let item = Append { base, content, flags: Flags::SEEN, keywords: &keywords, date: None };
        let done = self.boxes[n].append(&item, Durability::None).unwrap();
        told[n].validity = Some(done.uid_validity);
        let fate =
            Fate { acknowledged: true, uid: Some(done.uid), flags: Some(Flags::SEEN), ..Fate::default() };
        told[n].messages.insert(stem, fate);
    }

    fn copy(&mut self, n: usize, told: &mut [Told; 2]) {
        let source = self.boxes[n].snapshot().unwrap();
        let Some(message) = source.messages.first() else { return };
        // A copy has the content of its source: name it so that its content can be checked.
        let stem = format!("{}x", String::from_utf8(message.base.stem().to_vec()).unwrap());
        let copied = self.boxes[n].copy(&self.boxes[1 - n], &[(message.uid, base(&stem))]).unwrap();
        let to = &mut told[1 - n];
        let fate = to.messages.entry(stem).or_default();
        fate.acknowledged = true;
        fate.uid = Some(copied[0].to);
    }

    fn flag(&mut self, n: usize, told: &mut [Told; 2]) {
        let uids: Vec<u32> = self.boxes[n].snapshot().unwrap().messages.iter().map(|m| m.uid).collect();
        for fate in self.told[n].messages.values_mut() {
            fate.flags = None;
        }
        let flags = [Flags::SEEN, Flags::FLAGGED, Flags::REPLIED][self.rng.random_range(0..3)];
        let after = self.boxes[n].change_flags(&uids, FlagChange::Add, flags, &[]).unwrap();
        for message in after {
            let stem = String::from_utf8(message.base.stem().to_vec()).unwrap();
            told[n].messages.entry(stem).or_default().flags = Some(message.flags.intersection(Flags::IMAP));
        }
    }

    fn expunge(&mut self, n: usize, told: &mut [Told; 2]) {
        let snapshot = self.boxes[n].snapshot().unwrap();
        let Some(message) = snapshot.messages.last() else { return };
        let stem = String::from_utf8(message.base.stem().to_vec()).unwrap();
        self.told[n].messages.entry(stem.clone()).or_default().doomed = true;
        self.boxes[n].expunge(Some(&[message.uid]), false).unwrap();
        let fate = told[n].messages.entry(stem).or_default();
        (fate.doomed, fate.gone) = (true, true);
    }

    fn look(&mut self, n: usize, told: &mut [Told; 2]) {
        let snapshot = self.boxes[n].snapshot().unwrap();
        told[n].validity = Some(snapshot.uid_validity);
        told[n].uid_next = snapshot.uid_next;
        for message in snapshot.messages {
            let stem = String::from_utf8(message.base.stem().to_vec()).unwrap();
            told[n].messages.entry(stem).or_default().uid = Some(message.uid);
        }
    }

    /// Opens what is left and compares it with what was told; returns what this tells.
    fn check(&self, disk: &Arc<SimFs>, told: &[Told; 2]) -> [Told; 2] {
        let mut tells = told.clone();
        let all = told;
        for (n, told) in told.iter().enumerate() {
            let mailbox = open(disk, n);
            let found = mailbox.snapshot().unwrap();
            let seed = self.seed;
            if let Some(validity) = told.validity {
                assert_eq!(found.uid_validity, validity, "seed {seed}: UIDVALIDITY");
            }
            assert!(found.uid_next >= told.uid_next, "seed {seed}: UIDNEXT went back");
            let mut there = BTreeMap::new();
            for message in &found.messages {
                let stem = String::from_utf8(message.base.stem().to_vec()).unwrap();
                let whole = mailbox.read(message.uid).unwrap() == body(stem.trim_end_matches('x'));
                assert!(whole, "seed {seed}: {stem} is torn");
                assert!(there.insert(stem.clone(), message).is_none(), "seed {seed}: {stem} is there twice");
            }
            for (stem, fate) in &told.messages {
                let message = there.get(stem);
                assert!(
                    message.is_some() || !fate.acknowledged || fate.doomed,
                    "seed {seed}: {stem} is lost"
                );
                assert!(message.is_none() || !fate.gone, "seed {seed}: {stem} came back");
                let moving = self.either.iter().find(|(from, old, _)| *from == n && old == stem);
                if let Some((_, _, new)) = moving.filter(|_| message.is_none() && fate.acknowledged) {
                    let target = open(disk, 1 - n).snapshot().unwrap();
                    let arrived = target.messages.iter().any(|m| m.base.stem() == new.as_bytes());
                    let expunged = all[1 - n].messages.get(new).is_some_and(|fate| fate.doomed);
                    assert!(arrived || expunged, "seed {seed}: {stem} was lost on its way");
                }
                let Some(message) = message else { continue };
                if let Some(uid) = fate.uid {
                    assert_eq!(message.uid, uid, "seed {seed}: the UID of {stem}");
                }
                if let Some(flags) = fate.flags {
                    assert_eq!(
                        message.flags.intersection(Flags::IMAP),
                        flags,
                        "seed {seed}: flags of {stem}"
                    );
                }
            }
            self.check_uids_are_fresh(&mailbox, told);
            tells[n].validity = Some(found.uid_validity);
            tells[n].uid_next = mailbox.snapshot().unwrap().uid_next;
            for message in mailbox.snapshot().unwrap().messages {
                let stem = String::from_utf8(message.base.stem().to_vec()).unwrap();
                let fate = tells[n].messages.entry(stem).or_default();
                (fate.acknowledged, fate.doomed, fate.uid) = (true, false, Some(message.uid));
            }
        }
        disk.commit().unwrap();
        tells
    }

    /// New messages get numbers that nobody was told for another.
    fn check_uids_are_fresh(&self, mailbox: &Box, told: &Told) {
        let used: Vec<(u32, &String)> =
            told.messages.iter().filter_map(|(stem, fate)| Some((fate.uid?, stem))).collect();
        let item = Delivery { base: Some(base("9999.M1.h")), content: &body("9999.M1.h") };
        mailbox.deliver(&[item], Durability::None).unwrap().remove(0).unwrap();
        for message in mailbox.snapshot().unwrap().messages {
            let stem = String::from_utf8(message.base.stem().to_vec()).unwrap();
            let clash = used.iter().find(|(uid, other)| *uid == message.uid && **other != stem);
            assert!(clash.is_none(), "seed {}: {stem} got the UID of {clash:?}", self.seed);
        }
    }
}

/// What may be found after the crash of a run, several times; and that it stays so.
fn check_images(run: &Run, images: u64) -> usize {
    for image in 0..images {
        let disk = Arc::new(run.disk.crash(run.seed.wrapping_mul(31).wrapping_add(image)));
        let tells = run.check(&disk, &run.told);
        if image % 4 == 0 {
            run.check(&Arc::new(disk.crash(image)), &tells);
        }
    }
    images as usize
}

fn run(seed: u64) -> usize {
    let mut run = Run::new(seed);
    let steps = run.rng.random_range(3..20);
    let freeze = run.disk.flushes() + run.rng.random_range(1..60);
    run.disk.freeze_at(freeze);
    for _ in 0..steps {
        run.step();
        if run.disk.is_frozen() {
            break;
        }
    }
    check_images(&run, 8)
}

/// Half of the seeds each, so that two processors have something to do.
fn random_points(half: u64) {
    let points: usize = (0..640).map(|n| run(n * 2 + half)).sum();
    assert!(points >= 5000, "{points} random crash points");
}

#[test]
fn acknowledged_means_present_once_and_whole_after_a_crash_at_any_flush() {
    match std::env::var("POSTHASTE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => drop(run(seed)),
        None => random_points(0),
    }
}

#[test]
fn ten_thousand_random_crash_points_lose_nothing() {
    random_points(1);
}

#[test]
fn every_prefix_of_the_flushes_of_every_operation_loses_nothing() {
    let operations: [(&str, Op); 11] = [
        ("deliver", Run::deliver),
        ("deliver_from", Run::deliver_read),
        ("deliver, a batch", Run::deliver_batch),
        ("append", Run::append),
        ("import", Run::import),
        ("copy", Run::copy),
        ("move", Run::move_away),
        ("flags", Run::flag),
        ("expunge", Run::expunge),
        ("snapshot", Run::look),
        ("folders, subscriptions, quota, cache, tmp", Run::housekeeping),
    ];
    for (name, op) in operations {
        for flush in 1.. {
            let mut run = Run::new(flush);
            for before in [Run::deliver, Run::append, Run::look, Run::flag, Run::deliver, Run::deliver_batch]
            {
                let mut told = run.told.clone();
                run.acknowledged(before, 0, &mut told);
            }
            run.disk.freeze_at(run.disk.flushes() + flush);
            let mut told = run.told.clone();
            run.acknowledged(op, 0, &mut told);
            check_images(&run, 6);
            if !run.disk.is_frozen() {
                assert!(flush > 1, "{name} flushes something");
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_deliveries_and_goes_on_being_read() {
    let disk = Arc::new(SimFs::default());
    let tree = Tree::new(Arc::clone(&disk), b"u", MailboxConfig::default());
    tree.ensure().unwrap();
    let inbox = tree.mailbox("INBOX").unwrap();
    let deliver = |mailbox: &Box, stem: &str| {
        let item = Delivery { base: Some(base(stem)), content: &body(stem) };
        mailbox.deliver(&[item], Durability::Full).and_then(|mut results| results.remove(0))
    };
    deliver(&inbox, "1.a").unwrap();
    inbox.snapshot().unwrap();
    deliver(&inbox, "2.a").unwrap();
    disk.set_full(true);
    assert!(deliver(&inbox, "3.a").unwrap_err().is_storage_full());
    let append =
        Append { base: Some(base("4.a")), content: b"", flags: Flags::EMPTY, keywords: &[], date: None };
    assert!(inbox.append(&append, Durability::Full).unwrap_err().is_storage_full());
    for mailbox in [&inbox, &tree.mailbox("INBOX").unwrap()] {
        let snapshot = mailbox.snapshot().unwrap();
        assert_eq!(snapshot.messages.iter().map(|m| m.uid).collect::<Vec<_>>(), [1], "2.a waits for its UID");
        assert_eq!(mailbox.read(1).unwrap(), body("1.a"));
    }
    disk.set_full(false);
    deliver(&inbox, "3.a").unwrap();
    let last = inbox.snapshot().unwrap().messages;
    assert_eq!(last.iter().map(|m| m.base.stem().to_vec()).collect::<Vec<_>>(), [b"1.a", b"2.a", b"3.a"]);
}
