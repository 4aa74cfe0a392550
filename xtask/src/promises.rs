//! PROMISES.toml: each promise names its proofs; a proof that did not run is a failure.
//!
//! A proof is `test:<library>::<path>` (`test:posthaste_maildir::name::tests::round_trip`, or, in
//! `tests/it/main.rs`, `test:posthaste_maildir::it::crash::…`), `figure:<crate>/<name>`, `check:<name>`
//! (a line `check <name> ok` that a check prints), or `table:<path>`, whose every row names such proofs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use crate::{figures, run, tables};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    promise: Vec<Promise>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promise {
    id: String,
    text: String,
    #[serde(default)]
    proof: Vec<String>,
    status: Status,
    #[serde(default)]
    note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Kept,
    Short,
    Missing,
}

/// Checks that each named proof was seen in the logs, and prints the table.
pub(crate) fn promises(logs: &[PathBuf], markdown: bool) -> Result<(), String> {
    let file = load()?;
    if markdown {
        print!("{}", table(&file.promise));
        return Ok(());
    }
    let seen = seen(&output(logs)?);
    let problems: Vec<String> = file.promise.iter().flat_map(|p| problems(p, &seen)).collect();
    print!("{}", table(&file.promise));
    if problems.is_empty() {
        println!("\nevery named proof ran: {} promises", file.promise.len());
        Ok(())
    } else {
        Err(format!("promises without their proof:\n  {}", problems.join("\n  ")))
    }
}

fn load() -> Result<File, String> {
    let path = run::root().join("PROMISES.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file: File = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut ids = BTreeSet::new();
    match file.promise.iter().find(|p| !ids.insert(p.id.as_str())) {
        Some(twice) => Err(format!("{}: two promises have the id {}", path.display(), twice.id)),
        None => Ok(file),
    }
}

fn output(logs: &[PathBuf]) -> Result<String, String> {
    if logs.is_empty() {
        // The names of the test binaries are on standard error.
        let out = run::cargo(&["test", "--workspace"]).output().map_err(|e| format!("cargo test: {e}"))?;
        return Ok(format!(
            "{}{}",
            String::from_utf8_lossy(&out.stderr),
            String::from_utf8_lossy(&out.stdout)
        ));
    }
    let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    logs.iter().map(read).collect()
}

/// The proofs that a log shows as passed.
fn seen(log: &str) -> BTreeSet<String> {
    let mut seen: BTreeSet<String> =
        figures::parse(log).into_iter().map(|f| format!("figure:{}", f.id)).collect();
    let (mut library, mut binary) = ("", String::new());
    for line in log.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            // Cargo runs a package's library first, then its other binaries and tests.
            ["Running", "unittests", "src/lib.rs", path] => {
                library = binary_name(path);
                library.clone_into(&mut binary);
            }
            ["Running", "unittests", _, path] => binary_name(path).clone_into(&mut binary),
            ["Running", _, path] => binary = format!("{library}::{}", binary_name(path)),
            ["test", name, "...", "ok"] => drop(seen.insert(format!("test:{binary}::{name}"))),
            ["check", name, "ok", ..] => drop(seen.insert(format!("check:{name}"))),
            _ => {}
        }
    }
    seen
}

/// `it` of `(target/debug/deps/it-0123456789abcdef)`.
fn binary_name(path: &str) -> &str {
    let file = path.trim_matches(['(', ')']).rsplit('/').next().unwrap_or(path);
    file.rsplit_once('-').map_or(file, |(name, _hash)| name)
}

fn problems(promise: &Promise, seen: &BTreeSet<String>) -> Vec<String> {
    if promise.status == Status::Missing {
        return Vec::new();
    }
    if promise.proof.is_empty() {
        return vec![format!("{}: names no proof", promise.id)];
    }
    let wrong = |proof: &String| match proof.strip_prefix("table:") {
        Some(path) => tables::problems(&run::root(), path, seen),
        None if seen.contains(proof) => Vec::new(),
        None => vec!["did not run, or failed".into()],
    };
    let of_proof = |proof| wrong(proof).into_iter().map(move |why| format!("{}: {proof}: {why}", promise.id));
    promise.proof.iter().flat_map(of_proof).collect()
}

fn table(promises: &[Promise]) -> String {
    let mut text = String::from("| promise | status | proof |\n|---|---|---|\n");
    for p in promises {
        let status = match p.status {
            Status::Kept => "kept",
            Status::Short => "short",
            Status::Missing => "missing",
        };
        let note = if p.note.is_empty() { String::new() } else { format!(" ({})", p.note) };
        text.push_str(&format!("| {}{note} | {status} | {} |\n", p.text, p.proof.join("<br>")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_counts_only_if_it_passed() {
        let seen = seen(
            "     Running unittests src/lib.rs (target/debug/deps/x_y-0a1b)\ntest a::b ... ok\ntest c ... FAILED\ncheck demo ok\nfigure x/y 1 x target >= 1 ok\n",
        );
        let promise = |proof: &str| Promise {
            id: "p".into(),
            text: "t".into(),
            proof: vec![proof.into()],
            status: Status::Kept,
            note: String::new(),
        };
        assert!(problems(&promise("test:x_y::a::b"), &seen).is_empty());
        assert!(problems(&promise("check:demo"), &seen).is_empty());
        assert!(problems(&promise("figure:x/y"), &seen).is_empty());
        assert_eq!(problems(&promise("test:x_y::c"), &seen).len(), 1);
        assert_eq!(problems(&promise("test:x_y::d"), &seen).len(), 1);
    }

    #[test]
    fn two_crates_tests_of_one_name_are_told_apart() {
        let run = |lib: &str| {
            format!(
                "Running unittests src/lib.rs (t/deps/{lib}-1)\nRunning tests/it/main.rs (t/deps/it-2)\ntest laws::same ... ok\n"
            )
        };
        let seen = seen(&(run("first") + &run("second").replace("... ok", "... FAILED")));
        assert!(seen.contains("test:first::it::laws::same"));
        assert!(!seen.contains("test:second::it::laws::same"));
    }

    #[test]
    fn the_project_file_parses_with_unique_ids() {
        assert!(!load().expect("PROMISES.toml is well formed").promise.is_empty());
    }
}
