//! `figure <crate>/<name> <value> <unit> target <op> <target> <ok|short>`: one line a figure.

use std::path::Path;

use crate::run;

/// A figure as a benchmark prints it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) id: String,
    pub(crate) value: String,
    pub(crate) unit: String,
    pub(crate) target: String,
    pub(crate) ok: bool,
}

/// The figures in a text, in order; lines that are not figures are passed over.
pub(crate) fn parse(text: &str) -> Vec<Figure> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Figure> {
    let mut words = line.split_whitespace();
    if words.next()? != "figure" {
        return None;
    }
    let (id, value, unit) = (words.next()?, words.next()?, words.next()?);
    let rest: Vec<&str> = words.collect();
    let (verdict, target) = rest.split_last()?;
    Some(Figure {
        id: id.to_owned(),
        value: value.to_owned(),
        unit: unit.to_owned(),
        target: target.iter().skip(1).copied().collect::<Vec<_>>().join(" "),
        ok: *verdict == "ok",
    })
}

/// Runs the benchmarks and prints the table. A short figure is no failure; a benchmark that ends
/// with an error, or prints no figure, is.
pub(crate) fn figures(name: Option<&str>, quick: bool, save: Option<&Path>) -> Result<(), String> {
    let mut text = String::new();
    for bench in benches()? {
        if name.is_none_or(|wanted| wanted == bench) {
            text.push_str(&run_bench(&bench, quick)?);
        }
    }
    if name.is_none_or(|wanted| wanted == "mail-cluster") {
        text.push_str(&run_cluster(quick)?);
    }
    let figures = parse(&text);
    if figures.is_empty() {
        return Err(format!("no figure was printed{}", name.map_or(String::new(), |n| format!(" by {n}"))));
    }
    println!("\n{}", table(&figures));
    if let Some(path) = save {
        let lines: String =
            text.lines().filter(|l| l.starts_with("figure ")).map(|l| format!("{l}\n")).collect();
        std::fs::write(path, lines).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// The crates that have benchmarks.
fn benches() -> Result<Vec<String>, String> {
    let crates = run::root().join("crates");
    let entries = std::fs::read_dir(&crates).map_err(|e| format!("{}: {e}", crates.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("benches").is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// A crate whose benchmark needs more than its tests do has it in a package of its own, `benches/Cargo.toml`.
fn run_bench(name: &str, quick: bool) -> Result<String, String> {
    let apart = run::root().join("crates").join(name).join("benches/Cargo.toml").is_file();
    let package = format!("posthaste-{name}{}", if apart { "-benches" } else { "" });
    let mut args = vec!["bench", "--quiet", "--package", &package, "--benches", "--"];
    if quick {
        args.push("--quick");
    }
    run::tee(&mut run::cargo(&args))
}

fn run_cluster(quick: bool) -> Result<String, String> {
    let mut args = vec!["run", "--quiet", "--release", "--bin", "posthaste", "--", "bench"];
    if quick {
        args.push("--quick");
    }
    run::tee(&mut run::cargo(&args))
}

fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|f| f.id.len()).max().unwrap_or(0);
    let row = |f: &Figure| {
        let verdict = if f.ok { "ok" } else { "short" };
        format!("{:width$}  {:>12} {:<8} {:<16} {verdict}\n", f.id, f.value, f.unit, f.target)
    };
    figures.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_lines_are_found_among_others() {
        let text =
            "noise\nfigure maildir/deliver 0.97 x target >= 0.95 ok\nfigure a/b 3 ms target <= 2 short\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].id.as_str(), found[0].target.as_str(), found[0].ok),
            ("maildir/deliver", ">= 0.95", true)
        );
        assert!(!found[1].ok);
    }
}
