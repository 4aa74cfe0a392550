//! The lines that `cargo xtask figures` reads (DESIGN §7).

use std::fmt;

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

/// One figure: the median of its rounds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    target: Target,
}

impl Figure {
    /// The median of `rounds`, which is not empty.
    pub(super) fn median(
        name: impl Into<String>,
        rounds: &[f64],
        unit: &'static str,
        target: Target,
    ) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let value = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        Self { name: name.into(), value, unit, target }
    }

    fn is_met(&self) -> bool {
        match self.target {
            Target::AtLeast(least) => self.value >= least,
            Target::AtMost(most) => self.value <= most,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value, unit) = (&self.name, Short(self.value), self.unit);
        let verdict = if self.is_met() { "ok" } else { "short" };
        let (sign, target) = match self.target {
            Target::AtLeast(least) => (">=", least),
            Target::AtMost(most) => ("<=", most),
        };
        write!(f, "figure mail-cluster/{name} {value} {unit} target {sign} {target} {verdict}")
    }
}

/// A number with as many digits as mean something.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.abs() >= 100.0 { write!(f, "{:.0}", self.0) } else { write!(f, "{:.2}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_in_the_agreed_form() {
        let figure = Figure::median("x_to_y", &[3.0, 0.5, 1.25], "x", Target::AtLeast(1.0));
        assert_eq!(figure.to_string(), "figure mail-cluster/x_to_y 1.25 x target >= 1 ok");
        let figure = Figure::median("cost", &[812.4], "B", Target::AtMost(500.0));
        assert_eq!(figure.to_string(), "figure mail-cluster/cost 812 B target <= 500 short");
    }
}
