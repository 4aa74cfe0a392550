//! What each operation does to the tree. Checks first, changes then: a refused operation changes
//! nothing. The same code runs live and in replay, so it depends on nothing but state and operation.

use std::io;

use crate::error::{corrupt, not_found};
use crate::op::{CHUNK, Folder, Inode, Leaf, Node, Op, ROOT, key};
use crate::state::{Freed, State, entry_inode};

/// An entry of a directory: where a file's name is.
type Place<'a> = (Inode, &'a [u8]);

impl State {
    pub(crate) fn apply(&mut self, seq: u64, op: &Op) -> io::Result<()> {
        match op {
            Op::EpochStart => Ok(()),
            Op::Mkdir { parent, name, id } => self.mkdir(seq, (*parent, name), *id),
            Op::Put { dir, name, id, mtime, body, replace } => {
                let leaf = Leaf {
                    len: body.len(),
                    mtime: *mtime,
                    links: 1,
                    generation: seq,
                    base: body.len(),
                    body: body.clone(),
                };
                self.put(seq, (*dir, name), (*id, leaf), *replace)
            }
            Op::Rename { from, old, to, new } => self.rename(seq, (*from, old), (*to, new)),
            Op::Link { from, old, to, new } => self.link(seq, (*from, old), (*to, new)),
            Op::Unlink { dir, name } => self.unlink(seq, (*dir, name)),
            Op::RenameDir { from, old, to, new } => self.rename_dir(seq, (*from, old), (*to, new)),
            Op::RemoveDir { parent, name } => self.remove_dir(seq, (*parent, name)),
            Op::Append { dir, name, offset, bytes } => self.append(seq, (*dir, name), *offset, bytes),
            Op::Reap { dir, after, count } => self.reap(*dir, after, *count),
        }?;
        self.next_seq = seq + 1;
        Ok(())
    }

    pub(crate) fn folder(&self, dir: Inode) -> io::Result<Folder> {
        match self.node(dir)? {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::Leaf(_)) => Err(corrupt(format!("inode {dir} is no directory"))),
            None => Err(not_found("the directory is gone")),
        }
    }

    pub(crate) fn leaf(&self, (dir, name): Place<'_>) -> io::Result<(Inode, Leaf)> {
        self.folder(dir)?; // a removed directory's files wait for the reaper, out of sight
        let id = self.entry(dir, key::FILE, name)?.ok_or_else(|| not_found("no such file"))?;
        Ok((id, self.leaf_of(id)?))
    }

    fn leaf_of(&self, id: Inode) -> io::Result<Leaf> {
        match self.node(id)? {
            Some(Node::Leaf(leaf)) => Ok(leaf),
            _ => Err(corrupt(format!("inode {id} is missing or no file"))),
        }
    }

    fn mkdir(&mut self, seq: u64, place: Place<'_>, id: Inode) -> io::Result<()> {
        self.folder(place.0)?;
        self.vacant(place)?;
        self.adopt(id);
        self.write(key::entry(place.0, key::DIR, place.1), Some(id.to_be_bytes().to_vec()));
        self.put_node(id, &Node::Folder(Folder { parent: place.0, generation: seq }));
        self.touch(place.0, seq)
    }

    fn put(&mut self, seq: u64, place: Place<'_>, file: (Inode, Leaf), replace: bool) -> io::Result<()> {
        self.folder(place.0)?;
        let old = self.entry(place.0, key::FILE, place.1)?;
        match old {
            Some(_) if !replace => return Err(taken()),
            Some(old) => self.drop_link(old)?,
            None => self.vacant(place)?,
        }
        let (id, leaf) = file;
        self.adopt(id);
        self.active.allocs.extend(leaf.body.runs());
        self.put_node(id, &Node::Leaf(leaf));
        self.enter(place, id);
        self.touch(place.0, seq)
    }

    fn rename(&mut self, seq: u64, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        let (id, _) = self.leaf(from)?;
        self.folder(to.0)?;
        match self.entry(to.0, key::FILE, to.1)? {
            Some(same) if same == id => return Ok(()), // as POSIX says
            Some(old) => self.drop_link(old)?,
            None => self.vacant(to)?,
        }
        self.write(key::entry(from.0, key::FILE, from.1), None);
        self.enter(to, id);
        self.touch(from.0, seq)?;
        self.touch(to.0, seq)
    }

    fn link(&mut self, seq: u64, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        let (id, mut leaf) = self.leaf(from)?;
        self.folder(to.0)?;
        self.vacant(to)?;
        leaf.links = leaf.links.checked_add(1).ok_or_else(|| io::Error::other("too many links"))?;
        self.put_node(id, &Node::Leaf(leaf));
        self.enter(to, id);
        self.touch(to.0, seq)
    }

    fn unlink(&mut self, seq: u64, place: Place<'_>) -> io::Result<()> {
        let (id, _) = self.leaf(place)?;
        self.drop_link(id)?;
        self.write(key::entry(place.0, key::FILE, place.1), None);
        self.touch(place.0, seq)
    }

    fn rename_dir(&mut self, seq: u64, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        let id = self.entry(from.0, key::DIR, from.1)?.ok_or_else(|| not_found("no such directory"))?;
        self.vacant(to)?;
        let mut up = to.0;
        while up != ROOT {
            if up == id {
                let why = "a directory cannot move below itself";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            up = self.folder(up)?.parent;
        }
        self.write(key::entry(from.0, key::DIR, from.1), None);
        self.write(key::entry(to.0, key::DIR, to.1), Some(id.to_be_bytes().to_vec()));
        let generation = self.folder(id)?.generation;
        self.put_node(id, &Node::Folder(Folder { parent: to.0, generation }));
        self.touch(from.0, seq)?;
        self.touch(to.0, seq)
    }

    fn remove_dir(&mut self, seq: u64, place: Place<'_>) -> io::Result<()> {
        let top = self.entry(place.0, key::DIR, place.1)?.ok_or_else(|| not_found("no such directory"))?;
        let mut doomed = vec![top];
        while let Some(dir) = doomed.pop() {
            let (low, high) = (key::entry(dir, key::DIR, b""), key::entry(dir, key::FILE, b""));
            let mut entries = Vec::new();
            self.walk(&low, &high, &mut |key, value| {
                entries.push(key.to_vec());
                doomed.push(entry_inode(value)?);
                Ok(true)
            })?;
            for entry in entries {
                self.write(entry, None);
            }
            self.write(key::node(dir), None);
            self.write(key::orphan(dir), Some(Vec::new()));
        }
        self.write(key::entry(place.0, key::DIR, place.1), None);
        self.touch(place.0, seq)
    }

    fn append(&mut self, seq: u64, place: Place<'_>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (id, mut leaf) = self.leaf(place)?;
        if leaf.len != offset {
            return Err(corrupt(format!("append at {offset} to a file of {} bytes", leaf.len)));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let tail = leaf.len - leaf.base;
            let row = key::chunk(id, tail / CHUNK);
            let mut chunk = if tail % CHUNK == 0 { Vec::new() } else { self.read(&row)?.unwrap_or_default() };
            if chunk.len() as u64 != tail % CHUNK {
                return Err(corrupt(format!("inode {id} lacks a piece of its end")));
            }
            let (now, later) = rest.split_at(rest.len().min((CHUNK - tail % CHUNK) as usize));
            chunk.extend_from_slice(now);
            self.write(row, Some(chunk));
            leaf.len += now.len() as u64;
            rest = later;
        }
        leaf.generation = seq;
        self.put_node(id, &Node::Leaf(leaf));
        self.touch(place.0, seq)
    }

    fn reap(&mut self, dir: Inode, after: &[u8], count: u32) -> io::Result<()> {
        let low = key::entry(dir, key::FILE, after);
        let high = key::after(&key::entry(dir, key::FILE, b""));
        let mut found = Vec::new();
        self.walk(&low, &high, &mut |key, value| {
            found.push((key.to_vec(), entry_inode(value)?));
            Ok(found.len() < count as usize)
        })?;
        if found.len() < count as usize {
            self.write(key::orphan(dir), None);
        }
        for (entry, id) in found {
            self.write(entry, None);
            self.drop_link(id)?;
        }
        Ok(())
    }

    /// Takes one name from a file; with the last one it goes.
    fn drop_link(&mut self, id: Inode) -> io::Result<()> {
        let mut leaf = self.leaf_of(id)?;
        leaf.links -= 1;
        if leaf.links > 0 {
            self.put_node(id, &Node::Leaf(leaf));
            return Ok(());
        }
        for chunk in 0..(leaf.len - leaf.base).div_ceil(CHUNK) {
            self.write(key::chunk(id, chunk), None);
        }
        let freed = leaf.body.runs().map(|run| Freed { inode: id, run });
        self.active.frees.extend(freed);
        self.write(key::node(id), None);
        Ok(())
    }

    fn enter(&mut self, (dir, name): Place<'_>, id: Inode) {
        self.write(key::entry(dir, key::FILE, name), Some(id.to_be_bytes().to_vec()));
    }

    fn vacant(&self, (dir, name): Place<'_>) -> io::Result<()> {
        self.folder(dir)?;
        for kind in [key::DIR, key::FILE] {
            if self.entry(dir, kind, name)?.is_some() {
                return Err(taken());
            }
        }
        Ok(())
    }

    fn touch(&mut self, dir: Inode, seq: u64) -> io::Result<()> {
        let folder = self.folder(dir)?;
        if folder.generation != seq {
            self.put_node(dir, &Node::Folder(Folder { generation: seq, ..folder }));
        }
        Ok(())
    }

    fn adopt(&mut self, id: Inode) {
        self.next_inode = self.next_inode.max(id + 1);
    }

    /// The bytes of a small file, or of a control file's end, from `offset` on, without its body.
    pub(crate) fn tail(&self, id: Inode, leaf: &Leaf, offset: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let from = offset.max(leaf.base);
        if from >= leaf.len {
            return Ok(out);
        }
        let first = (from - leaf.base) / CHUNK;
        for number in first..(leaf.len - leaf.base).div_ceil(CHUNK) {
            let chunk = self.read(&key::chunk(id, number))?;
            out.extend(chunk.ok_or_else(|| corrupt(format!("inode {id} lacks a piece of its end")))?);
        }
        out.drain(..(from - leaf.base - first * CHUNK) as usize);
        if out.len() as u64 != leaf.len - from {
            return Err(corrupt(format!("inode {id} lacks a piece of its end")));
        }
        Ok(out)
    }
}

/// The rows of an empty tree.
pub(crate) fn root_row() -> (Vec<u8>, Vec<u8>) {
    let root = Node::Folder(Folder { parent: ROOT, generation: 0 });
    (key::node(ROOT), postcard::to_stdvec(&root).expect("a vector takes all"))
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "the name is taken")
}
