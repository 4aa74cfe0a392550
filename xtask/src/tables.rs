//! Tables of attacks or defects in a crate's tests: each row's last column names what proves it, in backquotes.
//!
//! A name is a test of that crate (its function alone), `figure:<name>` of its benchmark, or `fuzz:<target>`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is wrong with the table at `path`, which is given from the workspace's root.
pub(crate) fn problems(root: &Path, path: &str, seen: &BTreeSet<String>) -> Vec<String> {
    let package: PathBuf = Path::new(path).components().take(2).collect();
    let read = |path: &Path| std::fs::read_to_string(root.join(path));
    match (read(Path::new(path)), read(&package.join("Cargo.toml"))) {
        (Ok(table), Ok(manifest)) => {
            let library = library(&manifest);
            unproved(&table, |name| ran(root, &package, &library, name, seen))
        }
        (Err(why), _) | (_, Err(why)) => vec![format!("cannot be read: {why}")],
    }
}

/// The package's name in its `Cargo.toml`, as the compiler spells it.
fn library(manifest: &str) -> String {
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.unwrap_or_default().replace('-', "_")
}

fn ran(root: &Path, package: &Path, library: &str, name: &str, seen: &BTreeSet<String>) -> bool {
    if let Some(target) = name.strip_prefix("fuzz:") {
        return seen.contains("check:fuzz") && root.join(format!("fuzz/targets/{target}.rs")).exists();
    }
    if let Some(figure) = name.strip_prefix("figure:") {
        let package = package.file_name().unwrap_or_default().display();
        return seen.contains(&format!("figure:{package}/{figure}"));
    }
    let (begin, end) = (format!("test:{library}::"), format!("::{name}"));
    seen.iter().any(|proof| proof.starts_with(&begin) && proof.ends_with(&end))
}

/// Rows without a proof, and proofs that did not run.
fn unproved(table: &str, ran: impl Fn(&str) -> bool) -> Vec<String> {
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    if rows.is_empty() {
        return vec!["has no rows".into()];
    }
    let of_row = |row: &&str| {
        let names: Vec<&str> =
            row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            return vec![format!("names no proof: {row}")];
        }
        names.iter().filter(|name| !ran(name)).map(|name| format!("{name} did not run, or failed")).collect()
    };
    rows.iter().flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "# Words\n\n| what | shown by |\n|---|---|\n| one | `first`, `figure:growth` |\n| two | `second` |\n";

    #[test]
    fn each_name_of_each_row_must_have_run() {
        let seen: BTreeSet<String> =
            ["test:x_y::it::laws::first", "test:z::it::second", "figure:x-y/growth"].map(String::from).into();
        let ran = |name: &str| ran(Path::new("none"), Path::new("crates/x-y"), "x_y", name, &seen);
        assert_eq!(unproved(TABLE, ran), ["second did not run, or failed"]);
        assert!(!ran("fuzz:first"));
        assert_eq!(library("[package]\nname = \"x-y\"\n"), "x_y");
        assert!(unproved(TABLE, |_| true).is_empty());
        assert_eq!(unproved("| what | shown by |\n|---|---|\n", |_| true), ["has no rows"]);
        assert_eq!(unproved("| what | by |\n|---|---|\n| one | later |\n", |_| true).len(), 1);
    }
}
