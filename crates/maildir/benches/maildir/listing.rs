//! All names of a mailbox of 100,000.

use posthaste_maildir::{GroupFlush, LocalFs, Mailbox};

use crate::{Bench, at_least, at_most, compare, open, raw, time};

pub(crate) const LARGE: usize = 100_000;

pub(crate) fn run(bench: &Bench) {
    let path = bench.path("listing");
    raw::maildir(&path);
    raw::fill(&path, LARGE);
    let ours = open(&path, GroupFlush::PerFile);
    let peer = maildir::Maildir::from(path.clone());
    let cur = path.join("cur");
    let our_list = |_| time(|| assert_eq!(ours.list().unwrap().len(), LARGE));
    // The same loop warms the cache for both.
    raw::list(&cur);
    let raw_list = |_| time(|| assert_eq!(raw::list(&cur), LARGE + 2));
    let (speed, our_time, raw_time) = compare(bench.rounds(25), our_list, raw_list);
    let peer_list = |_| time(|| assert_eq!(peer.list_cur().filter_map(Result::ok).count(), LARGE));
    let (over_peer, _, peer_time) = compare(bench.rounds(5), our_list, peer_list);
    println!(
        "100,000 names: ours {:.1} ms, raw {:.1} ms, the maildir crate {:.1} ms",
        our_time * 1e3,
        raw_time * 1e3,
        peer_time * 1e3
    );
    at_most("list-100k", 1.0 / speed, "x", 1.15);
    at_most("list-100k-memory", ours.list().unwrap().memory() as f64 / LARGE as f64, "B", 80.0);
    at_least("list-100k-over-crate", over_peer, "x", 1.0);
    opened(&path, ours);
}

/// An open mailbox knows more than names: UIDs by name, flags, change numbers, sizes, dates.
fn opened(path: &std::path::Path, first: Mailbox<LocalFs>) {
    first.sync().unwrap();
    drop(first);
    let again = open(path, GroupFlush::PerFile);
    again.sync().unwrap();
    let names: usize = again.list().unwrap().iter().map(|listed| listed.base.len()).sum();
    println!("an open mailbox: {} B a message are its base name", names / LARGE);
    at_most("open-100k-memory", again.memory() as f64 / LARGE as f64, "B", 160.0);
}
