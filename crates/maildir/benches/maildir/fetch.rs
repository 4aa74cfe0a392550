//! What a client asks first of 100,000 messages: flags, sizes, dates, and a digest (envelope and
//! body structure) of each, from the cache.

use posthaste_maildir::{GroupFlush, LocalConfig, LocalFs, Mailbox, MailboxConfig};

use crate::{Bench, at_least, at_most, raw, time};

const COUNT: usize = 100_000;

pub(crate) fn run(bench: &Bench) {
    let path = bench.path("fetch");
    raw::maildir(&path);
    fill(&path);
    let open = || {
        let config = LocalConfig { group_flush: GroupFlush::Never, ..LocalConfig::default() };
        let store = LocalFs::open(&path, config).unwrap();
        Mailbox::open(store.into(), b"", MailboxConfig { keep_cache: true, ..MailboxConfig::default() })
    };
    // As large as envelope and structure of an ordinary message.
    let digest = |content: &[u8]| content.iter().copied().cycle().take(400).collect::<Vec<u8>>();
    let fetch = |mailbox: &Mailbox<LocalFs>| {
        let uids: Vec<u32> = mailbox.snapshot().unwrap().messages.iter().map(|m| m.uid).collect();
        assert_eq!(mailbox.digests(&uids, 1, &digest).unwrap().len(), COUNT);
    };
    let first = open().unwrap();
    let cold = time(|| fetch(&first)).as_secs_f64();
    drop(first);
    let before = syscalls();
    let again = open().unwrap();
    let warm = time(|| fetch(&again)).as_secs_f64();
    let reads = syscalls() - before;
    println!(
        "first FETCH of 100,000: {cold:.2} s without a cache, {warm:.2} s with it and {reads} read calls"
    );
    at_least("fetch-100k-cached", cold / warm, "x", 2.0);
    // One read a message would be 100,000.
    at_most("fetch-100k-cached-reads", reads as f64, "reads", 1000.0);
}

fn fill(path: &std::path::Path) {
    let cur = raw::dir(&path.join("cur"));
    let content = b"From: a@example.org\r\nSubject: x\r\n\r\nx\r\n";
    for n in 0..COUNT {
        let stem = raw::name(n).split(',').next().unwrap_or_default().to_owned();
        let len = content.len();
        drop(raw::write(&cur, &format!("{stem},S={len},W={len}:2,S"), content));
    }
}

/// Read calls of this process.
fn syscalls() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    line.and_then(|digits| digits.trim().parse().ok()).unwrap_or(0)
}
