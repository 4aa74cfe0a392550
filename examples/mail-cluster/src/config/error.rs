//! What is wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The configuration cannot be used; nothing was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; absent if it is about the whole file.
    pub line: Option<usize>,
    /// The key, like `volume[1].home`.
    pub key: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl ConfigError {
    /// The file itself cannot be read.
    pub(super) fn file(path: &Path, cause: &io::Error) -> Self {
        Self { file: path.to_owned(), line: None, key: None, message: cause.to_string() }
    }

    /// The TOML or its shape is wrong.
    pub(super) fn toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span();
        Self {
            file: file.to_owned(),
            line: span.as_ref().map(|span| line_of(text, span)),
            key: span.as_ref().and_then(|span| key_at(text, span)),
            message: error.message().trim().replace('\n', ", "),
        }
    }
}

/// The line, from 1, where `span` begins.
pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    1 + text.as_bytes().iter().take(span.start).filter(|b| **b == b'\n').count()
}

/// The key at `span`, with its table: the text before the line's `=`, and the header above.
fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let line = line_of(text, span);
    let above: Vec<&str> = text.lines().take(line).map(str::trim).collect();
    let header = |l: &&&str| l.starts_with('[') && l.contains(']');
    let table = above.iter().rev().find(header).map(|l| table_name(l));
    let key = above.last().and_then(|l| l.split_once('=')).map(|(key, _)| key.trim().to_owned());
    match (table, key) {
        (Some(table), Some(key)) => Some(format!("{table}.{key}")),
        (table, key) => key.or(table),
    }
}

fn table_name(header: &str) -> String {
    header.split(']').next().unwrap_or("").trim_start_matches('[').trim().to_owned()
}
