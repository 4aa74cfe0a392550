//! What survives a loss of power at any flush: acknowledged means there, once, whole.
//!
//! A script of random operations runs on a simulated disk that stops taking flushes at the k-th.
//! What was committed before is acknowledged. The disk is then opened as it might be found.
//! `POSTHASTE_SEED=n` runs one seed; a failing one is in the message.

use std::collections::BTreeMap;
use std::sync::Arc;

use posthaste_maildir::sim::SimFs;
use posthaste_maildir::{
    Append, BaseName, Delivery, Durability, FlagChange, Flags, Keyword, Mailbox, MailboxConfig, Store, Tree,
    conformance,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

type Box = Mailbox<SimFs>;

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
    made: u32,
}

fn open(disk: &Arc<SimFs>, n: usize) -> Box {
    let path = [&b"u"[..], b"u/.A"][n];
    let config = MailboxConfig { validity_dir: b"u".to_vec(), ..MailboxConfig::default() };
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
        Self { seed, rng: StdRng::seed_from_u64(seed), disk, boxes, told: Default::default(), made: 0 }
    }

    fn stem(&mut self) -> String {
        self.made += 1;
        format!("{}.M{:06}.h", 1000 + self.made / 3, self.made)
    }

    /// Does one thing; what it told counts if the disk was alive at the end.
    fn step(&mut self) {
        let n = self.rng.random_range(0..2);
        let mut told = self.told.clone();
        match self.rng.random_range(0..8u8) {
            0..3 => self.deliver(n, &mut told),
            3 => self.append(n, &mut told),
            4 => self.copy(n, &mut told),
            5 => self.flag(n, &mut told),
            6 => self.expunge(n, &mut told),
            _ => self.look(n, &mut told),
        }
        self.disk.commit().unwrap();
        if !self.disk.is_frozen() {
            self.told = told;
        }
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

fn run(seed: u64) {
    let mut run = Run::new(seed);
    let steps = run.rng.random_range(3..25);
    let freeze = run.disk.flushes() + run.rng.random_range(1..50);
    run.disk.freeze_at(freeze);
    for _ in 0..steps {
        run.step();
        if run.disk.is_frozen() {
            break;
        }
    }
    for image in 0..4 {
        let disk = Arc::new(run.disk.crash(seed.wrapping_mul(31).wrapping_add(image)));
        let tells = run.check(&disk, &run.told);
        // And it stays so.
        run.check(&Arc::new(disk.crash(image)), &tells);
    }
}

#[test]
fn acknowledged_means_present_once_and_whole_after_a_crash_at_any_flush() {
    match std::env::var("POSTHASTE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(seed),
        None => (0..200).for_each(run),
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
