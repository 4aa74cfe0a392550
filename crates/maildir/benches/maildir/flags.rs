//! Flag changes, 32 under one lock.

use posthaste_maildir::{FlagChange, Flags, GroupFlush};

use crate::{Bench, at_least, compare, open, raw, time};

const BATCH: usize = 32;
const SLICE: usize = 100 * BATCH;

pub(crate) fn run(bench: &Bench) {
    for (name, count) in [("10k", 10_000), ("100k", 100_000)] {
        renames(bench, name, count);
    }
}

fn renames(bench: &Bench, name: &str, count: usize) {
    let (path, raw_path) = (bench.path(&format!("flags-{name}")), bench.path(&format!("flags-{name}-raw")));
    for path in [&path, &raw_path] {
        raw::maildir(path);
        raw::fill(path, count);
    }
    let ours = open(&path, GroupFlush::PerFile);
    let uids: Vec<u32> = ours.snapshot().unwrap().messages.iter().map(|m| m.uid).collect();
    // Until what was seen of the directory is old enough to be believed for long.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    ours.sync().unwrap();
    let cur = raw::dir(&raw_path.join("cur"));
    let letters = |round: usize| if round.is_multiple_of(2) { ("S", "FS") } else { ("FS", "S") };
    let raw_slice = |round: usize| {
        let (from, to) = letters(round);
        time(|| {
            for n in (0..SLICE).map(|n| n * (count / SLICE)) {
                let base = raw::name(n);
                let (from, to) = (format!("{base}:2,{from}"), format!("{base}:2,{to}"));
                rustix::fs::renameat(&cur, &from[..], &cur, &to[..]).unwrap();
            }
        })
    };
    let picked: Vec<u32> = (0..SLICE).map(|n| uids[n * (count / SLICE)]).collect();
    let our_slice = |round: usize| {
        let how = if round.is_multiple_of(2) { FlagChange::Add } else { FlagChange::Remove };
        time(|| {
            for some in picked.chunks(BATCH) {
                assert_eq!(ours.change_flags(some, how, Flags::FLAGGED, &[]).unwrap().len(), BATCH);
            }
        })
    };
    let (ratio, our_time, raw_time) = compare(bench.rounds(10) & !1, our_slice, raw_slice);
    let rate = |seconds| SLICE as f64 / seconds;
    let peer = peer_rate(bench, name, &path);
    println!(
        "flag changes in {count}: ours {:.0}/s, raw rename {:.0}/s, the maildir crate {peer:.1}/s",
        rate(our_time),
        rate(raw_time)
    );
    at_least(&format!("flags-{name}"), ratio, "x", 0.8);
    at_least(&format!("flags-{name}-over-crate"), rate(our_time) / peer, "x", 10.0);
}

/// The crate looks through the directory for each change.
fn peer_rate(bench: &Bench, name: &str, path: &std::path::Path) -> f64 {
    let peer = maildir::Maildir::from(path.to_owned());
    let changes = bench.rounds(if name == "10k" { 40 } else { 8 });
    let ids: Vec<String> = (0..changes).map(|n| raw::name(n * 7)).collect();
    let took = time(|| ids.iter().for_each(|id| peer.add_flags(id, "R").unwrap()));
    changes as f64 / took.as_secs_f64()
}
