//! Counters of one volume, and their text for Prometheus.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Written;
use crate::core::Event;
use crate::wire::Message;

/// Upper bounds of the histogram's buckets, in microseconds; one more bucket is for all above.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 51_200, 204_800, 819_200, 3_276_800];

/// How often, and how many bytes in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How often.
    pub ops: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many took at most [`LATENCY_BOUNDS_US`] of the same place and more than that of the place before; the last: more
    /// than all.
    pub buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// The sum of all, in microseconds.
    pub sum_us: u64,
}

impl Latency {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What a volume did since it was opened. All numbers but the last two only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Writes that the leader's handle answered with success.
    pub written: Count,
    /// Reads by the leader's handle.
    pub read: Count,
    /// Flushes that the leader's handle answered with success: until all in-sync replicas had them.
    pub flushes: Latency,
    /// Calls of the leader's handle that failed.
    pub failed_calls: u64,
    /// Writes sent to peers; one write to two peers counts twice.
    pub replicated: Count,
    /// Granules sent to peers by resyncs and repairs; zeros count as no bytes.
    pub resynced: Count,
    /// Writes received from a leader.
    pub received: Count,
    /// Granules received from a leader.
    pub resync_received: Count,
    /// Links that came up.
    pub peers_connected: u64,
    /// Links that were lost.
    pub peers_lost: u64,
    /// Peers that were reported as slow.
    pub peers_slow: u64,
    /// Refusals, given and received.
    pub refusals: u64,
    /// Findings of blocks that differ from their checksums.
    pub damaged: u64,
    /// Leaderships ended by a higher epoch.
    pub fenced: u64,
    /// Disks given up (R11): 0 or 1.
    pub disk_failures: u64,
    /// Peers that were slow and are no more.
    pub peers_recovered: u64,
    /// Peers that were brought in step under protocol C.
    pub peers_synced: u64,
    /// Peers that caught up under protocol A or B.
    pub peers_following: u64,
    /// Peers under protocol A or B that fell behind.
    pub peers_behind: u64,
    /// Resyncs begun towards peers.
    pub resyncs: u64,
    /// Resyncs begun into this replica (R9).
    pub inconsistent: u64,
    /// Resyncs into this replica that ended, or were rolled back.
    pub consistent: u64,
    /// Resyncs that outgrew the undo area.
    pub undo_lost: u64,
    /// Split brains found.
    pub split_brains: u64,
    /// Peers refused because an operator must choose.
    pub diverged: u64,
    /// Losing generations that were kept.
    pub snapshots_kept: u64,
    /// Losing generations that could not be kept.
    pub snapshots_failed: u64,
    /// Leaders that resigned, as this follower heard.
    pub leaders_resigned: u64,
    /// Leaders whose disk failed, as this follower heard.
    pub leaders_failed: u64,
    /// Ranges that a leader's disk could not read for a resync, nor any other copy.
    pub unreadable: u64,
    /// Ranges of damaged blocks that were copied, marked as such.
    pub damage_copied: u64,
    /// Nodes that joined this leader as writers.
    pub writers_joined: u64,
    /// Nodes that are its writers no more.
    pub writers_left: u64,
    /// Writes of two writers to the same bytes at the same time.
    pub overlaps: u64,
    /// Range leases that ended before they were given back.
    pub leases_lost: u64,
    /// This node's handles under another leader that ended.
    pub sessions_ended: u64,
    /// Changes of the device's size.
    pub resized: u64,
    /// Handed to the two files, in whole pages.
    pub disk: Written,
    /// How good a candidate for the leadership the replica is now: [`Candidate::score`](crate::core::Candidate). This
    /// and the next one also fall.
    pub candidate_score: u64,
    /// Copies in the in-sync set, as last recorded here.
    pub in_sync_copies: u64,
}

#[derive(Debug, Default)]
struct Pair {
    ops: AtomicU64,
    bytes: AtomicU64,
}

impl Pair {
    fn add(&self, bytes: usize) {
        self.ops.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn get(&self) -> Count {
        Count { ops: load(&self.ops), bytes: load(&self.bytes) }
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The counters behind [`Metrics`]: nothing waits for a lock to count.
#[derive(Debug, Default)]
pub(super) struct Counters {
    written: Pair,
    read: Pair,
    flush_buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    flush_sum_us: AtomicU64,
    failed_calls: AtomicU64,
    replicated: Pair,
    resynced: Pair,
    received: Pair,
    resync_received: Pair,
    peers_connected: AtomicU64,
    peers_lost: AtomicU64,
    peers_slow: AtomicU64,
    refusals: AtomicU64,
    damaged: AtomicU64,
    fenced: AtomicU64,
    disk_failures: AtomicU64,
    peers_recovered: AtomicU64,
    peers_synced: AtomicU64,
    peers_following: AtomicU64,
    peers_behind: AtomicU64,
    resyncs: AtomicU64,
    inconsistent: AtomicU64,
    consistent: AtomicU64,
    undo_lost: AtomicU64,
    split_brains: AtomicU64,
    diverged: AtomicU64,
    snapshots_kept: AtomicU64,
    snapshots_failed: AtomicU64,
    leaders_resigned: AtomicU64,
    leaders_failed: AtomicU64,
    unreadable: AtomicU64,
    damage_copied: AtomicU64,
    writers_joined: AtomicU64,
    writers_left: AtomicU64,
    overlaps: AtomicU64,
    leases_lost: AtomicU64,
    sessions_ended: AtomicU64,
    resized: AtomicU64,
}

impl Counters {
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.add(bytes);
    }

    pub(super) fn read(&self, bytes: usize) {
        self.read.add(bytes);
    }

    pub(super) fn flushed(&self, took: Duration) {
        let us = took.as_micros().min(u128::from(u64::MAX)) as u64;
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        count(&self.flush_buckets[bucket]);
        self.flush_sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        count(&self.failed_calls);
    }

    pub(super) fn sent(&self, message: &Message) {
        match message {
            Message::Write { data, .. } => self.replicated.add(data.len()),
            Message::Copy { data, .. } | Message::CopyDamaged { data, .. } => self.resynced.add(data.len()),
            _ => {}
        }
    }

    pub(super) fn got(&self, message: &Message) {
        match message {
            Message::Write { data, .. } => self.received.add(data.len()),
            Message::Copy { data, .. } | Message::CopyDamaged { data, .. } => {
                self.resync_received.add(data.len())
            }
            _ => {}
        }
    }

    /// Every event is counted.
    pub(super) fn event(&self, event: &Event) {
        let counter = match event {
            Event::PeerConnected { .. } => &self.peers_connected,
            Event::PeerLost { .. } => &self.peers_lost,
            Event::PeerSlow { .. } => &self.peers_slow,
            Event::Refused { .. } | Event::RefusedBy { .. } => &self.refusals,
            Event::Damaged(_) => &self.damaged,
            Event::Fenced { .. } => &self.fenced,
            Event::DiskFailed { .. } => &self.disk_failures,
            Event::PeerRecovered { .. } => &self.peers_recovered,
            Event::PeerSynced { .. } => &self.peers_synced,
            Event::PeerFollows { .. } => &self.peers_following,
            Event::PeerBehind { .. } => &self.peers_behind,
            Event::ResyncStarted { .. } => &self.resyncs,
            Event::Inconsistent => &self.inconsistent,
            Event::Consistent { .. } => &self.consistent,
            Event::UndoLost { .. } => &self.undo_lost,
            Event::SplitBrain(_) => &self.split_brains,
            Event::Diverged { .. } => &self.diverged,
            Event::SnapshotKept { .. } => &self.snapshots_kept,
            Event::SnapshotFailed { .. } => &self.snapshots_failed,
            Event::LeaderResigned { .. } => &self.leaders_resigned,
            Event::LeaderFailed { .. } => &self.leaders_failed,
            Event::Unreadable { .. } => &self.unreadable,
            Event::DamageCopied { .. } => &self.damage_copied,
            Event::WriterJoined { .. } => &self.writers_joined,
            Event::WriterLeft { .. } => &self.writers_left,
            Event::Overlap { .. } => &self.overlaps,
            Event::LeaseLost { .. } => &self.leases_lost,
            Event::SessionEnded { .. } => &self.sessions_ended,
            Event::Resized { .. } => &self.resized,
        };
        count(counter);
    }

    pub(super) fn metrics(&self, disk: Written) -> Metrics {
        Metrics {
            written: self.written.get(),
            read: self.read.get(),
            flushes: Latency {
                buckets: std::array::from_fn(|i| load(&self.flush_buckets[i])),
                sum_us: load(&self.flush_sum_us),
            },
            failed_calls: load(&self.failed_calls),
            replicated: self.replicated.get(),
            resynced: self.resynced.get(),
            received: self.received.get(),
            resync_received: self.resync_received.get(),
            peers_connected: load(&self.peers_connected),
            peers_lost: load(&self.peers_lost),
            peers_slow: load(&self.peers_slow),
            refusals: load(&self.refusals),
            damaged: load(&self.damaged),
            fenced: load(&self.fenced),
            disk_failures: load(&self.disk_failures),
            peers_recovered: load(&self.peers_recovered),
            peers_synced: load(&self.peers_synced),
            peers_following: load(&self.peers_following),
            peers_behind: load(&self.peers_behind),
            resyncs: load(&self.resyncs),
            inconsistent: load(&self.inconsistent),
            consistent: load(&self.consistent),
            undo_lost: load(&self.undo_lost),
            split_brains: load(&self.split_brains),
            diverged: load(&self.diverged),
            snapshots_kept: load(&self.snapshots_kept),
            snapshots_failed: load(&self.snapshots_failed),
            leaders_resigned: load(&self.leaders_resigned),
            leaders_failed: load(&self.leaders_failed),
            unreadable: load(&self.unreadable),
            damage_copied: load(&self.damage_copied),
            writers_joined: load(&self.writers_joined),
            writers_left: load(&self.writers_left),
            overlaps: load(&self.overlaps),
            leases_lost: load(&self.leases_lost),
            sessions_ended: load(&self.sessions_ended),
            resized: load(&self.resized),
            disk,
            candidate_score: 0,
            in_sync_copies: 0,
        }
    }
}

impl Metrics {
    /// The text exposition format of Prometheus, each sample with the label `volume`.
    pub fn prometheus(&self, volume: &str) -> String {
        let mut out = String::new();
        self.write_to(&mut out, &escaped(volume)).expect("writing to a string does not fail");
        out
    }

    fn write_to(&self, out: &mut String, volume: &str) -> fmt::Result {
        let pairs = [
            ("written", "Writes of the leader", self.written),
            ("read", "Reads of the leader", self.read),
            ("replicated", "Writes sent to peers", self.replicated),
            ("resynced", "Granules sent by resyncs", self.resynced),
            ("received", "Writes received from a leader", self.received),
            ("resync_received", "Granules received by resyncs", self.resync_received),
        ];
        for (name, help, count) in pairs {
            counter(out, volume, &format!("{name}_ops"), help, count.ops)?;
            counter(out, volume, &format!("{name}_bytes"), help, count.bytes)?;
        }
        let singles = [
            ("failed_calls", "Calls of the leader's handle that failed", self.failed_calls),
            ("peers_connected", "Links that came up", self.peers_connected),
            ("peers_lost", "Links that were lost", self.peers_lost),
            ("peers_slow", "Peers reported as slow", self.peers_slow),
            ("refusals", "Refusals given and received", self.refusals),
            ("damaged", "Findings of blocks that differ from their checksums", self.damaged),
            ("fenced", "Leaderships ended by a higher epoch", self.fenced),
            ("disk_failures", "Disks given up", self.disk_failures),
            ("peers_recovered", "Peers that were slow and have answered", self.peers_recovered),
            ("peers_synced", "Peers that were brought in step", self.peers_synced),
            ("peers_following", "Peers that caught up under protocol A or B", self.peers_following),
            ("peers_behind", "Peers under protocol A or B that fell behind", self.peers_behind),
            ("resyncs", "Resyncs begun towards peers", self.resyncs),
            ("inconsistent", "Resyncs begun into this replica", self.inconsistent),
            ("consistent", "Resyncs into this replica that ended, or were rolled back", self.consistent),
            ("undo_lost", "Resyncs that cannot be rolled back any more", self.undo_lost),
            ("split_brains", "Split brains found", self.split_brains),
            ("diverged", "Peers refused because an operator must choose", self.diverged),
            ("snapshots_kept", "Losing generations that were kept", self.snapshots_kept),
            ("snapshots_failed", "Losing generations that could not be kept", self.snapshots_failed),
            ("leaders_resigned", "Leaders that resigned", self.leaders_resigned),
            ("leaders_failed", "Leaders whose disk failed", self.leaders_failed),
            ("unreadable", "Ranges that a resync could not read", self.unreadable),
            (
                "damage_copied",
                "Ranges of damaged blocks that were copied, marked as such",
                self.damage_copied,
            ),
            ("writers_joined", "Nodes that joined as writers", self.writers_joined),
            ("writers_left", "Nodes that are writers no more", self.writers_left),
            ("overlaps", "Writes of two writers to the same bytes at once", self.overlaps),
            ("leases_lost", "Range leases that ended before they were given back", self.leases_lost),
            ("sessions_ended", "This node's handles under another leader that ended", self.sessions_ended),
            ("resized", "Changes of the device's size", self.resized),
            ("disk_data_bytes", "Bytes handed to the data file", self.disk.data),
            ("disk_meta_bytes", "Bytes handed to the metadata file", self.disk.meta),
        ];
        for (name, help, value) in singles {
            counter(out, volume, name, help, value)?;
        }
        let gauges = [
            ("candidate_score", "How good a candidate for the leadership this copy is", self.candidate_score),
            ("in_sync_copies", "Copies in the in-sync set", self.in_sync_copies),
        ];
        for (name, help, value) in gauges {
            sample(out, volume, ("gauge", name), help, value)?;
        }
        self.write_flushes(out, volume)
    }

    fn write_flushes(&self, out: &mut String, volume: &str) -> fmt::Result {
        const NAME: &str = "blockrepl_flush_seconds";
        writeln!(out, "# HELP {NAME} Flushes, until all in-sync replicas had them")?;
        writeln!(out, "# TYPE {NAME} histogram")?;
        let mut below = 0;
        for (bound, n) in LATENCY_BOUNDS_US.iter().zip(self.flushes.buckets) {
            below += n;
            let bound = *bound as f64 / 1e6;
            writeln!(out, "{NAME}_bucket{{volume=\"{volume}\",le=\"{bound}\"}} {below}")?;
        }
        let (all, sum) = (self.flushes.count(), self.flushes.sum_us as f64 / 1e6);
        writeln!(out, "{NAME}_bucket{{volume=\"{volume}\",le=\"+Inf\"}} {all}")?;
        writeln!(out, "{NAME}_sum{{volume=\"{volume}\"}} {sum}")?;
        writeln!(out, "{NAME}_count{{volume=\"{volume}\"}} {all}")
    }
}

fn counter(out: &mut String, volume: &str, name: &str, help: &str, value: u64) -> fmt::Result {
    sample(out, volume, ("counter", &format!("{name}_total")), help, value)
}

fn sample(out: &mut String, volume: &str, (kind, name): (&str, &str), help: &str, value: u64) -> fmt::Result {
    writeln!(out, "# HELP blockrepl_{name} {help}")?;
    writeln!(out, "# TYPE blockrepl_{name} {kind}")?;
    writeln!(out, "blockrepl_{name}{{volume=\"{volume}\"}} {value}")
}

/// A label's value.
pub(crate) fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_their_buckets_and_the_text_counts_up() {
        let counters = Counters::default();
        for us in [50, 100, 101, 10_000_000] {
            counters.flushed(Duration::from_micros(us));
        }
        let metrics = counters.metrics(Written::default());
        assert_eq!((metrics.flushes.buckets[0], metrics.flushes.buckets[1]), (2, 1));
        assert_eq!((metrics.flushes.buckets[12], metrics.flushes.count()), (1, 4));
        let text = metrics.prometheus("a\"b");
        for line in [
            "blockrepl_flush_seconds_bucket{volume=\"a\\\"b\",le=\"0.0001\"} 2",
            "blockrepl_flush_seconds_bucket{volume=\"a\\\"b\",le=\"3.2768\"} 3",
            "blockrepl_flush_seconds_bucket{volume=\"a\\\"b\",le=\"+Inf\"} 4",
            "blockrepl_flush_seconds_sum{volume=\"a\\\"b\"} 10.000251",
            "blockrepl_written_bytes_total{volume=\"a\\\"b\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    /// A name as the exposition format has it.
    fn is_name(name: &str) -> bool {
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
        first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    #[test]
    fn the_text_is_what_a_prometheus_parser_takes_and_each_name_comes_once() {
        let text = Metrics::default().prometheus("one\\\"two\nthree");
        assert!(text.ends_with('\n'));
        let (mut names, mut current) = (std::collections::BTreeSet::new(), String::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(help) = line.strip_prefix("# HELP ") else {
                let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
                let (name, labels) = series.split_once('{').expect("a sample has labels");
                let of_family = [current.clone()].into_iter();
                let of_family =
                    of_family.chain(["_bucket", "_sum", "_count"].map(|end| current.clone() + end));
                assert!(of_family.into_iter().any(|n| n == name), "{line} under {current}");
                assert!(labels.starts_with("volume=\"one\\\\\\\"two\\nthree\""), "{labels}");
                assert!(labels.ends_with('}') && value.parse::<f64>().is_ok(), "{line}");
                continue;
            };
            let (name, words) = help.split_once(' ').expect("a family has a help");
            assert!(is_name(name) && !words.is_empty() && names.insert(name.to_owned()), "{line}");
            let kind = match name {
                _ if name.ends_with("_total") => "counter",
                _ if name.ends_with("_seconds") => "histogram",
                _ => "gauge",
            };
            assert_eq!(lines.next(), Some(&*format!("# TYPE {name} {kind}")));
            current = name.to_owned();
        }
        assert!(names.len() > 40 && names.contains("blockrepl_overlaps_total"), "{names:?}");
    }

    #[test]
    fn events_go_to_the_counter_of_their_name() {
        let (counters, node) = (Counters::default(), crate::ids::NodeId(1));
        let overlap = Event::Overlap { first: node, second: node, offset: 0, len: 1 };
        for event in [overlap.clone(), overlap, Event::UndoLost { reason: "" }, Event::Resized { size: 1 }] {
            counters.event(&event);
        }
        let metrics = counters.metrics(Written::default());
        assert_eq!((metrics.overlaps, metrics.undo_lost, metrics.resized, metrics.diverged), (2, 1, 1, 0));
        let text = metrics.prometheus("v");
        assert!(
            text.contains(
                "# HELP blockrepl_overlaps_total Writes of two writers to the same bytes at once\n"
            )
        );
        assert!(text.contains("blockrepl_overlaps_total{volume=\"v\"} 2\n"));
    }
}
