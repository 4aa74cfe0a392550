//! What Courier left in a mailbox that nobody else has used: UIDs and keywords.

use std::io::{self, Read};

use super::sync::Locked;
use super::{KEYWORDS, join};
use crate::courier::CourierKeywords;
use crate::error::{Doing, Error};
use crate::name::FileName;
use crate::store::Store;
use crate::uidlist::UidList;

/// In the first version of the format.
const UIDS: &[u8] = b"courierimapuiddb";
const KEYWORD_DIR: &[u8] = b"courierimapkeywords";
/// No file there is larger, unless it was not made by Courier.
const FILE_MAX: u64 = 64 << 20;

impl<S: Store> Locked<'_, S> {
    /// The UIDs that Courier gave, where no file of Dovecot's is. Keywords are taken over first:
    /// what fails half-way is begun anew with the next opening. Courier's files stay as they are.
    pub(super) fn take_over_couriers(&mut self) -> Result<Option<UidList>, Error> {
        // A file of Dovecot's that was here and is gone leaves no way back to an older one.
        if self.state.uids.is_some() || self.guard.is_none() {
            return Ok(None);
        }
        // With the mail, wherever Dovecot's files are.
        let dir = self.mailbox.store.open_dir(&self.mailbox.path).doing("open a mailbox")?;
        let list = match self.mailbox.store.control_read(&dir, UIDS, 0) {
            Ok((bytes, _)) => UidList::parse(&bytes).ok().map(|(list, _)| list),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io("read courierimapuiddb", e)),
        };
        if list.is_some() && self.mailbox.control_stamp(KEYWORDS)?.is_none() {
            self.take_over_keywords()?;
        }
        Ok(list)
    }

    fn take_over_keywords(&mut self) -> Result<(), Error> {
        let Some(keywords) = self.couriers_keywords()? else { return Ok(()) };
        let (store, cur) = (&self.mailbox.store, self.mailbox.dirs.cur.clone());
        let mut marked = Vec::new();
        store
            .scan(&cur, &mut |name| {
                let name = FileName::parse(name).ok();
                marked.extend(name.filter(|name| !keywords.of(name.base_bytes()).is_empty()));
            })
            .doing("read cur")?;
        // By base name: a second try gives the same letters.
        marked.sort_unstable_by(|a, b| a.base_bytes().cmp(b.base_bytes()));
        let mut table = self.state.keywords.clone();
        for keyword in marked.iter().flat_map(|name| keywords.of(name.base_bytes())) {
            if table.assign(keyword).is_none() {
                tracing::warn!(%keyword, "a mailbox of Courier's has more than 26 keywords; one is dropped");
            }
        }
        // The renames come first: while there is no table, all is done again.
        for (step, old) in marked.iter().enumerate() {
            self.still_ours(step)?;
            let letters = keywords.of(old.base_bytes()).iter().filter_map(|keyword| table.find(keyword));
            let new = old.with_flags(letters.fold(old.flags(), |all, letter| all.union(letter)));
            match self.mailbox.store.rename(&cur, old.as_bytes(), &cur, new.as_bytes()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("take over a message's keywords", e));
                }
                _ => {}
            }
        }
        self.state.cur_seen = None;
        self.write_keywords(table)
    }

    /// What the directory says; `None` if there is none.
    fn couriers_keywords(&self) -> Result<Option<CourierKeywords>, Error> {
        let store = &self.mailbox.store;
        let dir = match store.open_dir(&join(&self.mailbox.path, KEYWORD_DIR)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.doing("open courierimapkeywords")?,
        };
        let (mut names, mut keywords) = (Vec::new(), CourierKeywords::default());
        store.scan(&dir, &mut |name| names.push(name.to_vec())).doing("read courierimapkeywords")?;
        for name in names {
            let mut content = Vec::new();
            let file = store.open(&dir, &name).doing("read a message's keywords")?;
            file.take(FILE_MAX).read_to_end(&mut content).doing("read a message's keywords")?;
            keywords.add(&name, &content);
        }
        Ok(Some(keywords))
    }
}
