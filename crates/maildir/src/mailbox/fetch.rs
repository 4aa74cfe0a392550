//! Reading: messages' facts, and their bytes.

use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::state::{Entry, State};
use super::{Mailbox, Message, Snapshot};
use crate::error::{Doing, Error};
use crate::generate::{to_wire, wire_len};
use crate::name::{BaseName, FileName, field};
use crate::store::Store;

/// How often a file that was renamed under our hands is looked for again.
const TRIES: usize = 4;

/// How much of a file is read at a time in search of the blank line.
const HEADER_STEP: u64 = 8192;

/// A message's file as it is named now.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: FileName,
}

impl<S: Store> Mailbox<S> {
    /// The mailbox now. Takes over what was delivered.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        self.look(State::take_recent)
    }

    /// As [`Mailbox::snapshot`]; what is recent stays so (IMAP's EXAMINE and STATUS).
    pub fn peek(&self) -> Result<Snapshot, Error> {
        self.look(State::peek_recent)
    }

    fn look(&self, recent: fn(&mut State) -> Vec<u32>) -> Result<Snapshot, Error> {
        self.sync()?;
        self.fill_facts()?;
        let mut state = self.state();
        let uids = state.uids.as_ref().expect("sync has read the uidlist");
        Ok(Snapshot {
            uid_validity: uids.validity(),
            uid_next: uids.next_uid().unwrap_or(u32::MAX),
            modseq: state.modseq(),
            keywords: state.keywords.all(),
            messages: state.entries.iter().map(|entry| describe(&state, entry)).collect(),
            recent: recent(&mut state),
        })
    }

    /// UIDVALIDITY.
    pub fn uid_validity(&self) -> Result<u32, Error> {
        self.sync()?;
        Ok(self.state().uids.as_ref().expect("sync has read the uidlist").validity())
    }

    /// One message's facts; [`Error::Gone`] if it is not there. Does not look for changes first.
    pub fn message(&self, uid: u32) -> Result<Message, Error> {
        self.fact(uid)?;
        let state = self.state();
        state.entry(uid).map(|entry| describe(&state, entry)).ok_or(Error::Gone { uid })
    }

    /// Opens a message's file, as it is stored (line ends may be LF).
    pub fn open_message(&self, uid: u32) -> Result<S::File, Error> {
        self.with_file(uid, |found| self.store.open(&self.dirs.cur, found.name.as_bytes()))
    }

    /// A whole message with CRLF line ends.
    pub fn read(&self, uid: u32) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        self.open_message(uid)?.read_to_end(&mut content).doing("read a message")?;
        let content = to_wire(content);
        // A wrong `W=` is found out here.
        let mut state = self.state();
        let facts = state.index(uid).and_then(|at| state.entries[at].facts.as_mut());
        if let Some((size, _)) = facts {
            *size = content.len() as u64;
        }
        drop(state);
        Ok(content)
    }

    /// `len` bytes of a message with CRLF line ends, from `offset`; fewer at its end.
    pub fn read_range(&self, uid: u32, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
        let base = self.state().name_of(uid).map(|name| name.base()).ok_or(Error::Gone { uid })?;
        if base.size().is_some() && base.size() == base.wire_size() {
            let mut file = self.open_message(uid)?;
            if Some(file.seek(SeekFrom::End(0)).doing("read a message")?) == base.size() {
                let mut part = Vec::new();
                file.seek(SeekFrom::Start(offset)).doing("read a message")?;
                file.take(len).read_to_end(&mut part).doing("read a message")?;
                return Ok(part);
            }
        }
        let whole = self.read(uid)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(whole.len());
        Ok(whole[from..to].to_vec())
    }

    /// A message's header with CRLF line ends and the blank line that ends it; a message without
    /// one is all header.
    pub fn read_header(&self, uid: u32) -> Result<Vec<u8>, Error> {
        let mut file = self.open_message(uid)?;
        let mut header = Vec::new();
        loop {
            let searched = header.len().saturating_sub(3);
            let read = file.by_ref().take(HEADER_STEP).read_to_end(&mut header).doing("read a header")?;
            if header.starts_with(b"\n") || header.starts_with(b"\r\n") {
                return Ok(b"\r\n".to_vec());
            }
            if let Some(end) = header_end(&header[searched..]) {
                header.truncate(searched + end);
                return Ok(to_wire(header));
            }
            if read == 0 {
                return Ok(to_wire(header));
            }
        }
    }

    /// Does something with a message's file under its name of now; a name that another program
    /// has changed is looked up again.
    pub(super) fn with_file<T>(
        &self,
        uid: u32,
        mut act: impl FnMut(&Found) -> io::Result<T>,
    ) -> Result<T, Error> {
        for _ in 0..TRIES {
            let Some(name) = self.state().name_of(uid) else { break };
            match act(&Found { name }) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.look_again()?,
                other => return other.doing("use a message's file"),
            }
        }
        Err(Error::Gone { uid })
    }

    fn look_again(&self) -> Result<(), Error> {
        self.state().cur_seen = None;
        self.sync()
    }

    /// Sizes and dates of all messages.
    fn fill_facts(&self) -> Result<(), Error> {
        self.load_facts()?;
        let unknown: Vec<u32> =
            self.state().entries.iter().filter(|e| e.facts.is_none()).map(|e| e.uid).collect();
        for uid in unknown {
            match self.fact(uid) {
                Ok(()) | Err(Error::Gone { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn fact(&self, uid: u32) -> Result<(), Error> {
        let state = self.state();
        let claimed = match state.entry(uid) {
            Some(entry) if entry.facts.is_some() => return Ok(()),
            Some(entry) => (field(state.base(entry), b'S'), field(state.base(entry), b'W')),
            None => return Err(Error::Gone { uid }),
        };
        drop(state);
        let meta = self.with_file(uid, |found| self.store.stat(&self.dirs.cur, found.name.as_bytes()))?;
        let size = match claimed {
            (Some(len), Some(size)) if len == meta.len => size,
            // Nothing is claimed, or something wrong.
            _ => self.measure(uid)?,
        };
        let mut state = self.state();
        if let Some(at) = state.index(uid) {
            state.entries[at].facts = Some((size, meta.modified));
        }
        Ok(())
    }

    /// The wire size of a message whose name does not tell.
    fn measure(&self, uid: u32) -> Result<u64, Error> {
        let mut content = Vec::new();
        self.open_message(uid)?.read_to_end(&mut content).doing("measure a message")?;
        Ok(wire_len(&content))
    }
}

/// An entry for the outside. Facts that nobody could find are taken from the name.
pub(super) fn describe(state: &super::State, entry: &Entry) -> Message {
    let base = BaseName::checked(state.base(entry));
    let (size, date) = entry.facts.unwrap_or_else(|| from_name(&base));
    let flags = entry.flags();
    Message {
        uid: entry.uid,
        keywords: state.keywords.names(flags),
        modseq: entry.modseq,
        base,
        flags,
        size,
        date,
    }
}

/// Where the header ends, its blank line included.
fn header_end(bytes: &[u8]) -> Option<usize> {
    let ends = |at: &usize| bytes[*at..].starts_with(b"\n\n") || bytes[*at..].starts_with(b"\n\r\n");
    let at = (0..bytes.len()).find(ends)?;
    Some(at + if bytes[at + 1] == b'\n' { 2 } else { 3 })
}

fn from_name(base: &BaseName) -> (u64, SystemTime) {
    let secs = Duration::from_secs(base.arrival().0);
    let date = UNIX_EPOCH.checked_add(secs).unwrap_or(UNIX_EPOCH);
    (base.wire_size().or(base.size()).unwrap_or(0), date)
}
