//! Looking again at a mailbox that is open.

use posthaste_maildir::{Delivery, Durability, GroupFlush};

use crate::{Bench, at_most, median, open, raw, time};

pub(crate) fn run(bench: &Bench) {
    let path = bench.path("reopen");
    raw::maildir(&path);
    raw::fill(&path, 10_000);
    let ours = open(&path, GroupFlush::PerFile);
    ours.sync().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    ours.sync().unwrap();
    let looks = 1000;
    let slice = || time(|| (0..looks).for_each(|_| ours.sync().unwrap())).as_secs_f64() / f64::from(looks);
    let each = median((0..bench.rounds(9)).map(|_| slice()).collect());
    at_most("reopen-unchanged", each * 1e6, "us", 10.0);

    // Another process's view of the same mailbox takes in 200 messages.
    let other = open(&path, GroupFlush::Never);
    let list = path.join("dovecot-uidlist");
    let before = std::fs::metadata(&list).unwrap().len();
    let items = vec![Delivery { base: None, content: b"x\r\n" }; 200];
    other.deliver(&items, Durability::None).unwrap();
    other.sync().unwrap();
    let appended = std::fs::metadata(&list).unwrap().len() - before;
    let start = bytes_read();
    let overhead = bytes_read() - start;
    let start = bytes_read();
    ours.sync().unwrap();
    let read = bytes_read() - start - overhead;
    println!("reopened after 200 appends ({appended} bytes): {read} bytes were read");
    // 64 bytes before them show that it is the same file.
    at_most("reopen-appended-bytes", read as f64 / (appended + 64) as f64, "x", 1.0);
}

/// By this process, since it began.
fn bytes_read() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|digits| digits.trim().parse().ok()).unwrap_or(0)
}
