//! One delivery after the other.

use posthaste_maildir::{Delivery, Durability, GroupFlush, LocalFs, Mailbox};

use crate::{Bench, at_least, compare, raw, time};

pub(crate) fn run(bench: &Bench) {
    durable(bench);
    unsynced(bench);
}

pub(crate) fn one(mailbox: &Mailbox<LocalFs>, content: &[u8]) {
    let item = Delivery { base: None, content };
    mailbox.deliver(&[item], Durability::Full).unwrap().remove(0).unwrap();
}

/// Flush the file, rename, flush the directory.
fn durable(bench: &Bench) {
    const SLICE: usize = 160;
    let content = raw::message();
    let ours = bench.mailbox("durable", GroupFlush::PerFile);
    // The same directories: what a new file costs depends on what was deleted near it.
    let (tmp, new) = (raw::dir(&bench.path("durable/tmp")), raw::dir(&bench.path("durable/new")));
    let peer = maildir::Maildir::from(bench.path("durable-crate"));
    peer.create_dirs().unwrap();
    let mut made = 0;
    let mut raw_slice = |_| {
        time(|| {
            for _ in 0..SLICE {
                made += 1;
                let name = raw::name(made);
                raw::write(&tmp, &name, &content).sync_all().unwrap();
                rustix::fs::renameat(&tmp, &name[..], &new, &name[..]).unwrap();
                rustix::fs::fsync(&new).unwrap();
            }
        })
    };
    let our_slice = |_| time(|| (0..SLICE).for_each(|_| one(&ours, &content)));
    let (ratio, our_time, raw_time) = compare(bench.rounds(9), our_slice, &mut raw_slice);
    let peer_slice = |_| time(|| (0..SLICE).for_each(|_| drop(peer.store_new(&content).unwrap())));
    let (peer_ratio, ..) = compare(bench.rounds(3), peer_slice, raw_slice);
    let rate = |seconds| SLICE as f64 / seconds;
    println!(
        "durable delivery of 8 KiB: ours {:.0}/s, raw {:.0}/s; the maildir crate is {peer_ratio:.2} x raw without flushing the directory",
        rate(our_time),
        rate(raw_time)
    );
    at_least("deliver-durable", ratio, "x", 0.95);
}

/// No flush at all: what the code itself costs.
fn unsynced(bench: &Bench) {
    const SLICE: usize = 2000;
    let content = raw::message();
    let ours = bench.mailbox("unsynced", GroupFlush::Never);
    let (tmp, new) = (raw::dir(&bench.path("unsynced/tmp")), raw::dir(&bench.path("unsynced/new")));
    let mut made = 0;
    let raw_slice = |_| {
        time(|| {
            for _ in 0..SLICE {
                made += 1;
                let name = raw::name(made);
                drop(raw::write(&tmp, &name, &content));
                rustix::fs::renameat(&tmp, &name[..], &new, &name[..]).unwrap();
            }
        })
    };
    let our_slice = |_| time(|| (0..SLICE).for_each(|_| one(&ours, &content)));
    let (ratio, our_time, raw_time) = compare(bench.rounds(7), our_slice, raw_slice);
    let rate = |seconds| SLICE as f64 / seconds;
    println!("delivery of 8 KiB without flushes: ours {:.0}/s, raw {:.0}/s", rate(our_time), rate(raw_time));
    at_least("deliver-unsynced", ratio, "x", 0.9);
}
