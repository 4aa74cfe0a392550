//! `maildirsize`: how much a user's tree holds, and may hold (Maildir++).
//!
//! ```text
//! 1000000S,1000C      limits: bytes, messages
//! 81234 12            what a recalculation found
//! 512 1               what was added since, one line a change; removals are negative
//! ```
//! The sum of the lines is the usage. The file is only a sum of what its writers claim: it is
//! recalculated when it has grown to 5,120 bytes, and when it says "full" without being fresh.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{Doing, Error};
use crate::mailbox::join;
use crate::name::FileName;
use crate::store::{Durability, Stamp, Store};

const FILE: &[u8] = b"maildirsize";
/// A file this long is recalculated, in bytes.
const LEN_MAX: u64 = 5120;
/// A file that says "full" is believed for this long.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// How often a recalculation begins anew because mail came or went meanwhile.
const PASSES: usize = 3;

/// What a tree may hold; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaLimits {
    /// Bytes on disk.
    pub bytes: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// What a tree may hold, and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// The limits.
    pub limits: QuotaLimits,
    /// Bytes on disk.
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
}

impl QuotaLimits {
    fn parse(line: &[u8]) -> Self {
        let mut limits = Self::default();
        for part in line.split(|b| *b == b',') {
            let Some((unit, digits)) = part.split_last() else { continue };
            // 0 is "no limit", as Courier and Dovecot have it.
            let value =
                std::str::from_utf8(digits).ok().and_then(|d| d.trim().parse().ok()).filter(|n| *n > 0);
            match unit {
                b'S' => limits.bytes = value,
                b'C' => limits.messages = value,
                _ => {}
            }
        }
        limits
    }

    fn render(self) -> String {
        let part = |limit: Option<u64>, unit| limit.map(|n| format!("{n}{unit}"));
        let parts: Vec<String> =
            [part(self.bytes, 'S'), part(self.messages, 'C')].into_iter().flatten().collect();
        if parts.is_empty() { "0S".to_owned() } else { parts.join(",") }
    }
}

impl Quota {
    /// Would this much more be too much?
    pub fn would_exceed(&self, bytes: u64, messages: u64) -> bool {
        let over = |limit: Option<u64>, used: u64, more: u64| {
            limit.is_some_and(|max| used.saturating_add(more) > max)
        };
        over(self.limits.bytes, self.bytes, bytes) || over(self.limits.messages, self.messages, messages)
    }
}

/// A file as read.
#[derive(Debug)]
struct Content {
    quota: Quota,
    /// Lines of usage.
    lines: usize,
    len: u64,
}

impl Content {
    /// `None`: the file is damaged, or its sum is below zero; both call for a recalculation.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|b| *b == b'\n')?;
        let (mut sum, mut count, mut lines) = (0i64, 0i64, 0);
        for line in bytes[end + 1..].split_inclusive(|b| *b == b'\n') {
            let mut numbers = std::str::from_utf8(line).ok()?.split_ascii_whitespace().map(str::parse::<i64>);
            sum = sum.checked_add(numbers.next()?.ok()?)?;
            count = count.checked_add(numbers.next()?.ok()?)?;
            lines += 1;
        }
        let quota = Quota {
            limits: QuotaLimits::parse(&bytes[..end]),
            bytes: u64::try_from(sum).ok()?,
            messages: u64::try_from(count).ok()?,
        };
        Some(Self { quota, lines, len: bytes.len() as u64 })
    }
}

/// The `maildirsize` of one tree.
#[derive(Debug)]
pub(crate) struct MaildirSize<S: Store> {
    store: Arc<S>,
    root: Vec<u8>,
    dir: S::Dir,
    /// The embedder's limits; else those in the file.
    limits: Option<QuotaLimits>,
}

impl<S: Store> MaildirSize<S> {
    pub(crate) fn new(store: Arc<S>, root: &[u8], limits: Option<QuotaLimits>) -> Result<Self, Error> {
        let dir = store.open_dir(root).doing("look for maildirsize")?;
        Ok(Self { store, root: root.to_vec(), dir, limits })
    }

    /// The quota; `None` if the tree has none.
    pub(crate) fn quota(&self) -> Result<Option<Quota>, Error> {
        let found = match self.read()? {
            None if self.limits.is_none() => return Ok(None),
            None => return self.recalculate(self.limits.unwrap_or_default()).map(Some),
            Some(bytes) => bytes,
        };
        let in_file = QuotaLimits::parse(found.split(|b| *b == b'\n').next().unwrap_or(&[]));
        let limits = self.limits.unwrap_or(in_file);
        match Content::parse(&found) {
            Some(content) if content.quota.limits == limits && !self.is_doubtful(&content)? => {
                Ok(Some(content.quota))
            }
            _ => self.recalculate(limits).map(Some),
        }
    }

    /// An error if so much more is too much.
    pub(crate) fn check(&self, bytes: u64, messages: u64) -> Result<(), Error> {
        match self.quota()? {
            Some(quota) if quota.would_exceed(bytes, messages) => Err(Error::OverQuota),
            _ => Ok(()),
        }
    }

    /// Notes what came or went, if the tree has a quota. An error is only logged: what was done to
    /// the mail is done, and the next recalculation puts the sum right.
    pub(crate) fn charge(&self, bytes: i64, messages: i64) {
        let line = format!("{bytes} {messages}\n");
        match self.store.control_append(&self.dir, FILE, line.as_bytes(), Durability::None) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => tracing::warn!(error = %e, "maildirsize cannot be kept"),
        }
    }

    /// Counts all messages, and writes the file anew.
    pub(crate) fn recalculate(&self, limits: QuotaLimits) -> Result<Quota, Error> {
        for _ in 0..PASSES {
            let (quota, stamps) = self.count(limits)?;
            let text = format!("{}\n{} {}\n", limits.render(), quota.bytes, quota.messages);
            self.store
                .control_replace(&self.dir, FILE, text.as_bytes(), Durability::None)
                .doing("write maildirsize")?;
            if self.stamps()? == stamps {
                return Ok(quota);
            }
        }
        // Too busy to be counted. The file must not stay wrong; but if it alone knows the limits,
        // it must stay.
        let (quota, _) = self.count(limits)?;
        if self.limits.is_some() {
            match self.store.unlink(&self.dir, FILE) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove maildirsize", e));
                }
                _ => {}
            }
        }
        Ok(quota)
    }

    fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        match self.store.control_read(&self.dir, FILE, 0) {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read maildirsize", e)),
        }
    }

    /// Must the sum be checked before it is believed?
    fn is_doubtful(&self, content: &Content) -> Result<bool, Error> {
        if content.len >= LEN_MAX {
            return Ok(true);
        }
        if !content.quota.would_exceed(0, 0) {
            return Ok(false);
        }
        let written = self.store.stat(&self.dir, FILE).doing("look at maildirsize")?.modified;
        let age = SystemTime::now().duration_since(written).unwrap_or_default();
        Ok(content.lines > 1 || age >= FRESH)
    }

    fn count(&self, limits: QuotaLimits) -> Result<(Quota, Vec<Option<Stamp>>), Error> {
        let stamps = self.stamps()?;
        let mut quota = Quota { limits, ..Quota::default() };
        for path in self.message_dirs()? {
            let Some(dir) = self.open(&path)? else { continue };
            let mut unsized_names = Vec::new();
            let mut each = |name: &[u8]| {
                let Ok(name) = FileName::parse(name) else { return };
                quota.messages += 1;
                match name.base_size() {
                    Some(size) => quota.bytes += size,
                    None => unsized_names.push(name),
                }
            };
            self.store.scan(&dir, &mut each).doing("count messages")?;
            for name in unsized_names {
                // One that was renamed meanwhile changed the stamp: it is counted again.
                quota.bytes += self.store.stat(&dir, name.as_bytes()).map_or(0, |meta| meta.len);
            }
        }
        Ok((quota, stamps))
    }

    fn stamps(&self) -> Result<Vec<Option<Stamp>>, Error> {
        let stamp = |path: Vec<u8>| match self.open(&path)? {
            Some(dir) => self.store.stamp(&dir).map(Some).doing("look at a mailbox"),
            None => Ok(None),
        };
        self.message_dirs()?.into_iter().map(stamp).collect()
    }

    fn open(&self, path: &[u8]) -> Result<Option<S::Dir>, Error> {
        match self.store.open_dir(path) {
            Ok(dir) => Ok(Some(dir)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("count messages", e)),
        }
    }

    /// `new` and `cur` of INBOX and of each folder, in a fixed order.
    fn message_dirs(&self) -> Result<Vec<Vec<u8>>, Error> {
        let below = self.store.list_dirs(&self.root).doing("list mailboxes")?;
        let is_folder = |name: &Vec<u8>| name.starts_with(b".") && !name.starts_with(b"..");
        let mut homes: Vec<Vec<u8>> =
            below.into_iter().filter(is_folder).map(|name| join(&self.root, &name)).collect();
        homes.push(self.root.clone());
        homes.sort_unstable();
        Ok(homes.iter().flat_map(|home| [join(home, b"new"), join(home, b"cur")]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn couriers_and_dovecots_files_are_read() {
        let content = Content::parse(b"10485760S,1000C\n   81234    12\n512 1\n-100 -1\n").unwrap();
        let limits = QuotaLimits { bytes: Some(10_485_760), messages: Some(1000) };
        assert_eq!(content.quota, Quota { limits, bytes: 81_646, messages: 12 });
        assert_eq!(limits.render(), "10485760S,1000C");
        assert_eq!(QuotaLimits::parse(b"0S,5C"), QuotaLimits { bytes: None, messages: Some(5) });
    }

    #[test]
    fn a_damaged_file_or_a_sum_below_zero_is_no_sum() {
        for bad in
            [&b""[..], b"1S", b"1S\n12\n", b"1S\nx 1\n", b"1S\n-5 -1\n", b"1S\n9223372036854775807 0\n1 0\n"]
        {
            assert!(Content::parse(bad).is_none(), "{}", bad.escape_ascii());
        }
    }
}
