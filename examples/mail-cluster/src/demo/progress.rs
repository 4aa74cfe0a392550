//! What the demo shows while it works: bars on a terminal, plain lines elsewhere. All on stderr;
//! stdout has the result.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One step's line or bar.
pub(super) struct Step {
    bar: ProgressBar,
    title: String,
    started: Instant,
}

impl Step {
    /// Begins a step of `of` units; 0 if nobody knows how many.
    pub(super) fn begin(number: u8, title: &str, of: u64) -> Self {
        let title = format!("{number}/7 {title}");
        let bar = if !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else if of == 0 {
            spinner(&title)
        } else {
            ProgressBar::new(of)
                .with_style(style("{prefix} {bar:30} {pos}/{len} {msg}"))
                .with_prefix(title.clone())
        };
        Self { bar, title, started: Instant::now() }
    }

    /// One unit is done.
    pub(super) fn one_more(&self) {
        self.bar.inc(1);
    }

    /// Says what happens now.
    pub(super) fn say(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// Ends the step and leaves one line: what came of it, and how long it took.
    pub(super) fn end(self, outcome: &str) {
        let line = format!("{}: {outcome} ({:.1} s)", self.title, self.started.elapsed().as_secs_f64());
        self.bar.finish_and_clear();
        eprintln!("{line}");
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn spinner(title: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner()
        .with_style(style("{prefix} {spinner} {msg}"))
        .with_prefix(title.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
