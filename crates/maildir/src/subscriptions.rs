//! The file `subscriptions`: Dovecot's two formats, and Courier's file where there is no other.

use std::io;

use crate::error::Error;
use crate::mutf7;
use crate::store::Store;
use crate::tree::is_inbox;

pub(crate) const FILE: &[u8] = b"subscriptions";
pub(crate) const LOCK: &[u8] = b"subscriptions.lock";
const COURIERS: &[u8] = b"courierimapsubscribed";
/// First lines of Dovecot's second format; its levels are separated by tabs.
const SECOND_FORMAT: &[u8] = b"V\t2\n\n";

/// The file `subscriptions`. Lines that cannot be read are kept.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    /// Does it begin with [`SECOND_FORMAT`]?
    second_format: bool,
    lines: Vec<Vec<u8>>,
}

impl Subscriptions {
    pub(crate) fn read<S: Store>(store: &S, dir: &S::Dir) -> Result<Self, Error> {
        let bytes = match store.control_read(dir, FILE, 0) {
            Ok((bytes, _)) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Self::read_couriers(store, dir),
            Err(e) => return Err(Error::io("read subscriptions", e)),
        };
        Ok(Self::parse(&bytes))
    }

    fn read_couriers<S: Store>(store: &S, dir: &S::Dir) -> Result<Self, Error> {
        match store.control_read(dir, COURIERS, 0) {
            Ok((bytes, _)) => Ok(Self::parse_couriers(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::parse(b"")),
            Err(e) => Err(Error::io("read courierimapsubscribed", e)),
        }
    }

    /// All names below INBOX, as Courier writes them.
    fn parse_couriers(bytes: &[u8]) -> Self {
        let mut this = Self::parse(bytes);
        for line in &mut this.lines {
            if let Some(below) = line.strip_prefix(b"INBOX.") {
                *line = below.to_vec();
            }
        }
        this
    }

    /// The names, in byte order and each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.lines.iter().filter_map(|line| decode_line(line)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn parse(bytes: &[u8]) -> Self {
        let body = bytes.strip_prefix(SECOND_FORMAT);
        let lines = body.unwrap_or(bytes).split(|b| *b == b'\n').filter(|line| !line.is_empty());
        Self { second_format: body.is_some(), lines: lines.map(<[u8]>::to_vec).collect() }
    }

    pub(crate) fn render(&self) -> Vec<u8> {
        let mut out = if self.second_format { SECOND_FORMAT.to_vec() } else { Vec::new() };
        for line in &self.lines {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        out
    }

    /// Returns whether anything changed.
    pub(crate) fn set(&mut self, name: &str, on: bool) -> bool {
        let before = self.lines.len();
        let same = |line: &[u8]| decode_line(line).as_deref() == Some(name);
        match on {
            true if self.lines.iter().any(|line| same(line)) => {}
            true => self.lines.push(self.encode_line(name)),
            false => self.lines.retain(|line| !same(line)),
        }
        self.lines.len() != before
    }

    fn encode_line(&self, name: &str) -> Vec<u8> {
        let line = mutf7::encode(name);
        if self.second_format { line.replace('.', "\t").into_bytes() } else { line.into_bytes() }
    }
}

fn decode_line(line: &[u8]) -> Option<String> {
    let line: Vec<u8> = line.iter().map(|b| if *b == b'\t' { b'.' } else { *b }).collect();
    mutf7::decode(&line).or_else(|| String::from_utf8(line).ok()).map(|name| match is_inbox(&name) {
        true => "INBOX".to_owned(),
        false => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_dovecots_subscription_formats_are_kept() {
        let mut first = Subscriptions::parse(b"A.B\nEntw&APw-rfe\n");
        assert!(first.set("Entwürfe", false) && first.set("C.D", true) && !first.set("A.B", true));
        assert_eq!(first.render(), b"A.B\nC.D\n");
        let mut second = Subscriptions::parse(b"V\t2\n\nA\tB\n");
        assert!(!second.set("A.B", true) && second.set("C.D", true));
        assert_eq!(second.render(), b"V\t2\n\nA\tB\nC\tD\n");
    }

    #[test]
    fn couriers_subscriptions_are_taken_over() {
        let couriers = Subscriptions::parse_couriers(b"INBOX\nINBOX.Sent\nINBOX.Entw&APw-rfe\n");
        assert_eq!(couriers.names(), ["Entwürfe", "INBOX", "Sent"]);
    }
}
