//! `dovecot-uidvalidity`: numbers that no two mailboxes of one tree ever share.
//!
//! The value is 8 hex digits in the file, and again in the name of an empty companion
//! (`dovecot-uidvalidity.xxxxxxxx`). The next value is taken by renaming the companion: only one
//! process can. Values grow strictly and start at the clock, so a mailbox that is made again under
//! an old name never gets its old UIDVALIDITY.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Doing, Error};
use crate::store::{Durability, Store};

const FILE: &[u8] = b"dovecot-uidvalidity";
const LOCK: &[u8] = b"dovecot-uidvalidity.lock";
const TRIES: usize = 10;

/// Takes the next UIDVALIDITY of the tree at `dir`, durably.
pub(crate) fn take<S: Store>(store: &S, dir: &S::Dir, wait: Duration) -> Result<u32, Error> {
    let _guard = store.lock(dir, LOCK, wait).doing("lock dovecot-uidvalidity")?;
    for _ in 0..TRIES {
        let last = read(store, dir)?;
        let next = last.unwrap_or(0).saturating_add(1).max(clock());
        if claim(store, dir, last, next)? {
            let text = format!("{next:08x}");
            store
                .control_replace(dir, FILE, text.as_bytes(), Durability::Full)
                .doing("write dovecot-uidvalidity")?;
            return Ok(next);
        }
    }
    Err(Error::io("take a UIDVALIDITY", io::Error::other("another program keeps changing it")))
}

/// The largest value that the file or a companion shows.
fn read<S: Store>(store: &S, dir: &S::Dir) -> Result<Option<u32>, Error> {
    let mut largest = match store.control_read(dir, FILE, 0) {
        Ok((text, _)) => hex(&text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("read dovecot-uidvalidity", e)),
    };
    let mut companion = |name: &[u8]| {
        let digits = name.strip_prefix(FILE).and_then(|rest| rest.strip_prefix(b"."));
        largest = largest.max(digits.and_then(hex));
    };
    store.scan(dir, &mut companion).doing("look for dovecot-uidvalidity")?;
    Ok(largest)
}

/// Renames the companion; false if another process was quicker.
fn claim<S: Store>(store: &S, dir: &S::Dir, last: Option<u32>, next: u32) -> Result<bool, Error> {
    let new = companion_name(next);
    if let Some(last) = last {
        match store.rename(dir, &companion_name(last), dir, &new) {
            Ok(()) => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Gone because another took it, or because there never was one.
                if read(store, dir)? != Some(last) {
                    return Ok(false);
                }
            }
            Err(e) => return Err(Error::io("take a UIDVALIDITY", e)),
        }
    }
    store.control_replace(dir, &new, b"", Durability::None).doing("take a UIDVALIDITY")?;
    Ok(true)
}

fn companion_name(value: u32) -> Vec<u8> {
    [FILE, format!(".{value:08x}").as_bytes()].concat()
}

fn hex(text: &[u8]) -> Option<u32> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let whole = text.len() == 8 && text.iter().all(u8::is_ascii_hexdigit);
    u32::from_str_radix(std::str::from_utf8(text).ok().filter(|_| whole)?, 16).ok()
}

fn clock() -> u32 {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs());
    u32::try_from(secs).unwrap_or(u32::MAX).max(1)
}
