//! What is counted of a bond, and its text for Prometheus.

use std::fmt::Write;

use super::PathStatus;

/// What is counted of a bond since it came up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BondMetrics {
    /// How often a path began to carry the stream, the first one among them.
    pub moves: u64,
    /// Bytes that were under way on another path then, and were sent again, at most.
    pub resent_bytes: u64,
    /// Each path.
    pub paths: Vec<PathStatus>,
}

/// A sample's name, kind and help, and where it is found.
type Column = (&'static str, &'static str, &'static str, fn(&PathStatus) -> u64);

const COLUMNS: [Column; 5] = [
    ("path_up", "gauge", "Whether the path is up", |p| p.up.into()),
    ("path_carries", "gauge", "Whether this side sends on the path", |p| p.carries.into()),
    ("path_sent_bytes_total", "counter", "Bytes of the link sent on the path", |p| p.sent_bytes),
    ("path_received_bytes_total", "counter", "Bytes of the link that came on the path first", |p| {
        p.received_bytes
    }),
    ("path_losses_total", "counter", "How often the path was lost", |p| p.losses),
];

impl BondMetrics {
    /// The text exposition format of Prometheus, each sample with the label `volume`, those of a path with `path`. All counters begin
    /// anew with a new bond.
    pub fn prometheus(&self, volume: &str) -> String {
        let volume = crate::driver::escaped(volume);
        let mut out = String::new();
        let totals = [
            ("path_moves_total", "How often a path began to carry the link", self.moves),
            ("path_resent_bytes_total", "Bytes sent again on another path", self.resent_bytes),
        ];
        let mut line = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a string takes all");
        for (name, help, value) in totals {
            line(format_args!("# HELP blockrepl_{name} {help}\n# TYPE blockrepl_{name} counter\n"));
            line(format_args!("blockrepl_{name}{{volume=\"{volume}\"}} {value}\n"));
        }
        for (name, kind, help, value) in COLUMNS {
            line(format_args!("# HELP blockrepl_{name} {help}\n# TYPE blockrepl_{name} {kind}\n"));
            for path in &self.paths {
                let (rank, value) = (path.rank, value(path));
                line(format_args!("blockrepl_{name}{{volume=\"{volume}\",path=\"{rank}\"}} {value}\n"));
            }
        }
        out
    }
}
