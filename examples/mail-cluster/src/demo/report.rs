//! What was promised and what was measured.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

/// One promise, and what was seen of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The step of the demo.
    pub step: u8,
    /// The promise.
    pub promised: String,
    /// What was measured.
    pub measured: String,
    /// Whether it holds.
    pub ok: bool,
    /// What to look at if it does not.
    pub evidence: Vec<String>,
}

/// A number worth keeping, whether or not a promise hangs on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

/// The result of a demo.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The seed that repeats it.
    pub seed: u64,
    /// Every promise that was looked at.
    pub checks: Vec<Check>,
    /// Times and counts.
    pub measures: Vec<Measure>,
    /// How long all of it took, in seconds.
    pub seconds: f64,
    /// Where the cluster's files and logs are, if they were kept.
    pub directory: Option<PathBuf>,
}

/// How much evidence a failed check prints.
const EVIDENCE_LINES_MAX: usize = 12;

impl Report {
    /// Enters a check that holds if there is no fault.
    pub fn check(&mut self, step: u8, promised: &str, measured: String, faults: Vec<String>) {
        let ok = faults.is_empty();
        self.checks.push(Check { step, promised: promised.to_owned(), measured, ok, evidence: faults });
    }

    /// Enters a number.
    pub fn measure(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.measures.push(Measure { name, value, unit });
    }

    /// Whether every promise held; false if none was looked at.
    pub fn holds(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }

    /// The table, and under it the evidence of what failed.
    pub fn table(&self) -> String {
        let width =
            |cell: fn(&Check) -> &str| self.checks.iter().map(|c| cell(c).chars().count()).max().unwrap_or(0);
        let promised = width(|check| &check.promised).max("promised".len());
        let measured = width(|check| &check.measured).max("measured".len());
        let mut out = String::new();
        let _ = writeln!(out, "   {:promised$}  {:measured$}  ok", "promised", "measured");
        for check in &self.checks {
            let ok = if check.ok { "yes" } else { "NO" };
            let _ = writeln!(
                out,
                "{:>2} {:promised$}  {:measured$}  {ok}",
                check.step, check.promised, check.measured
            );
        }
        for check in self.checks.iter().filter(|check| !check.ok) {
            let _ = writeln!(out, "\nnot kept: {}", check.promised);
            for line in check.evidence.iter().take(EVIDENCE_LINES_MAX) {
                let _ = writeln!(out, "  {line}");
            }
            let more = check.evidence.len().saturating_sub(EVIDENCE_LINES_MAX);
            if more > 0 {
                let _ = writeln!(out, "  and {more} more");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_only_if_something_was_checked_and_all_of_it_holds() {
        let mut report = Report::default();
        assert!(!report.holds());
        report.check(1, "it runs", "it ran".into(), vec![]);
        assert!(report.holds());
        report.check(2, "it stays", "it went".into(), vec!["gone".into()]);
        assert!(!report.holds());
        let table = report.table();
        assert!(table.contains("NO") && table.contains("not kept: it stays") && table.contains("gone"));
    }
}
