//! The simulated disk as a [`Store`].

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Change, Node, ROOT, SimDir, SimFile, SimFs, SimGuard, SimStaged, check_name, components, lie};
use crate::store::{Caps, Durability, Meta, Publish, Stamp, Store};

impl Store for SimFs {
    type Dir = SimDir;
    type File = SimFile;
    type Staged = SimStaged;
    type Guard = SimGuard;

    fn caps(&self) -> Caps {
        let coherent_scan = self.world().scan_faults.is_none();
        Caps { coherent_scan, exact_stamp: true, shared: false, watch: false, unnamed: true, nfs: false }
    }

    fn create_dir(&self, path: &[u8]) -> io::Result<bool> {
        let mut world = self.world();
        let (mut dir, mut made) = (ROOT, false);
        for name in components(path)? {
            dir = match world.entries(dir)?.get(name) {
                Some(Node::Dir(id)) => *id,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    world.room()?;
                    let id = world.id();
                    world.change(vec![Change::MakeDir(id), Change::Set(dir, name.to_vec(), Node::Dir(id))]);
                    made = true;
                    id
                }
            };
        }
        if made {
            world.flush();
        }
        Ok(made)
    }

    fn open_dir(&self, path: &[u8]) -> io::Result<SimDir> {
        self.world().dir(path).map(SimDir)
    }

    fn list_dirs(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let world = self.world();
        let entries = world.entries(world.dir(path)?)?;
        Ok(entries.iter().filter(|(_, n)| matches!(n, Node::Dir(_))).map(|(name, _)| name.clone()).collect())
    }

    fn rename_dir(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let node = Node::Dir(world.dir(from)?);
        let ((from_dir, from), (to_dir, to)) = (world.parent(from)?, world.parent(to)?);
        world.free(SimDir(to_dir), to)?;
        let clear = Change::Clear(from_dir, from.to_vec(), node);
        world.change(vec![Change::Set(to_dir, to.to_vec(), node), clear]);
        world.flush();
        Ok(())
    }

    fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let node = Node::Dir(world.dir(path)?);
        let (parent, name) = world.parent(path)?;
        world.change(vec![Change::Clear(parent, name.to_vec(), node)]);
        world.flush();
        Ok(())
    }

    fn stage(&self, _: &SimDir, name: &[u8], modified: Option<SystemTime>) -> io::Result<SimStaged> {
        check_name(name)?;
        self.world().room()?;
        Ok(SimStaged { shared: Arc::clone(&self.shared), bytes: Vec::new(), modified })
    }

    fn publish(&self, batch: Vec<Publish<Self>>, durability: Durability) -> io::Result<Vec<io::Result<()>>> {
        let mut world = self.world();
        let results = batch.into_iter().map(|item| world.publish(item)).collect();
        if durability == Durability::Full {
            world.flush();
        }
        Ok(results)
    }

    fn rename(&self, from: &SimDir, old: &[u8], to: &SimDir, new: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let node = Node::File(world.file(*from, old)?.0);
        world.free(*to, new)?;
        let clear = Change::Clear(from.0, old.to_vec(), node);
        world.change(vec![Change::Set(to.0, new.to_vec(), node), clear]);
        Ok(())
    }

    fn link(&self, from: &SimDir, old: &[u8], to: &SimDir, new: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let node = Node::File(world.file(*from, old)?.0);
        world.free(*to, new)?;
        world.room()?;
        world.change(vec![Change::Set(to.0, new.to_vec(), node)]);
        Ok(())
    }

    fn unlink(&self, dir: &SimDir, name: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let node = Node::File(world.file(*dir, name)?.0);
        world.change(vec![Change::Clear(dir.0, name.to_vec(), node)]);
        Ok(())
    }

    fn open(&self, dir: &SimDir, name: &[u8]) -> io::Result<SimFile> {
        let bytes: Arc<[u8]> = self.world().file(*dir, name)?.1.bytes.clone().into();
        Ok(SimFile(Cursor::new(bytes)))
    }

    fn stat(&self, dir: &SimDir, name: &[u8]) -> io::Result<Meta> {
        let world = self.world();
        let (id, content) = world.file(*dir, name)?;
        Ok(Meta { len: content.bytes.len() as u64, modified: content.modified, id })
    }

    fn scan(&self, dir: &SimDir, each: &mut dyn FnMut(&[u8])) -> io::Result<Stamp> {
        let stamp = self.stamp(dir)?;
        let mut world = self.world();
        let files = world.entries(dir.0)?.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        let mut names: Vec<Vec<u8>> = files.map(|(name, _)| name.clone()).collect();
        if let Some(seed) = &mut world.scan_faults {
            *seed = seed.wrapping_add(1);
            lie(&mut names, *seed);
        }
        drop(world);
        names.iter().for_each(|name| each(name));
        Ok(stamp)
    }

    fn stamp(&self, dir: &SimDir) -> io::Result<Stamp> {
        let world = self.world();
        world.entries(dir.0)?;
        let generation = world.generations.get(&dir.0).copied().unwrap_or(0);
        Ok(Stamp { id: dir.0, generation, ..Stamp::default() })
    }

    fn control_stamp(&self, dir: &SimDir, name: &[u8]) -> io::Result<Stamp> {
        let world = self.world();
        let (id, _) = world.file(*dir, name)?;
        Ok(world.control_stamp(id))
    }

    fn control_read(&self, dir: &SimDir, name: &[u8], offset: u64) -> io::Result<(Vec<u8>, Stamp)> {
        let world = self.world();
        let (id, content) = world.file(*dir, name)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.bytes.len());
        Ok((content.bytes[from..].to_vec(), world.control_stamp(id)))
    }

    fn control_append(
        &self,
        dir: &SimDir,
        name: &[u8],
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<Stamp> {
        let mut world = self.world();
        let (id, _) = world.file(*dir, name)?;
        world.room()?;
        let frozen = world.is_frozen();
        let content = world.files.get_mut(&id).expect("just seen");
        content.bytes.extend_from_slice(bytes);
        if !frozen {
            content.written_len = content.bytes.len();
        }
        if durability == Durability::Full {
            world.flush_file(id);
        }
        Ok(world.control_stamp(id))
    }

    fn control_replace(
        &self,
        dir: &SimDir,
        name: &[u8],
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<Stamp> {
        check_name(name)?;
        let mut world = self.world();
        world.entries(dir.0)?;
        world.room()?;
        let id = world.add_file(bytes, SystemTime::now());
        world.change(vec![Change::Set(dir.0, name.to_vec(), Node::File(id))]);
        if durability == Durability::Full {
            world.flush();
        }
        Ok(world.control_stamp(id))
    }

    fn lock(&self, dir: &SimDir, name: &[u8], wait: Duration) -> io::Result<SimGuard> {
        let (key, deadline) = ((dir.0, name.to_vec()), Instant::now() + wait);
        let mut held = self.shared.locks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while held.contains(&key) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let waited = self.shared.unlocked.wait_timeout(held, left);
            held = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        held.insert(key.clone());
        Ok(SimGuard { shared: Arc::clone(&self.shared), key })
    }

    fn commit(&self) -> io::Result<()> {
        self.world().flush();
        Ok(())
    }
}
