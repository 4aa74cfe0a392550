//! A random workload beside a model of what it does.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use posthaste_clusterfs::{Dir, FormatOptions, Fs, OpenOptions};
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use crate::device::TestDevice;

pub(crate) const SIZE: usize = 8 << 20;

/// Paths of files with their content; directories have none.
pub(crate) type Tree = BTreeMap<String, Option<Arc<Vec<u8>>>>;

pub(crate) fn options() -> OpenOptions {
    OpenOptions { background: false, checkpoint_every: Duration::MAX, ..OpenOptions::default() }
}

pub(crate) fn format_options() -> FormatOptions {
    let (log_bytes, index_bytes) = (Some(1 << 20), Some(2300 << 10));
    FormatOptions { log_bytes, index_bytes, ..FormatOptions::new("vol1") }
}

pub(crate) fn formatted() -> TestDevice {
    let device = TestDevice::new(SIZE);
    Fs::format(device.clone(), &format_options()).unwrap();
    device
}

pub(crate) fn open(device: &TestDevice) -> Fs {
    Fs::open_with(device.clone(), options()).unwrap()
}

pub(crate) fn deliver(fs: &Fs, dir: Dir, name: &str, content: &[u8]) -> std::io::Result<()> {
    let mut staged = fs.stage(None);
    staged.write_all(content)?;
    fs.publish(staged, dir, name.as_bytes()).map(|_| ())
}

pub(crate) fn read(fs: &Fs, dir: Dir, name: &str) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs.open_file(dir, name.as_bytes())?.read_to_end(&mut content)?;
    Ok(content)
}

pub(crate) fn noise(rng: &mut StdRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes[..]);
    bytes
}

/// Reads the whole tree back.
pub(crate) fn dump(fs: &Fs) -> Tree {
    let mut tree = Tree::new();
    dump_dir(fs, Dir::ROOT, "", &mut tree);
    tree
}

fn dump_dir(fs: &Fs, dir: Dir, path: &str, tree: &mut Tree) {
    let mut names = Vec::new();
    fs.scan(dir, &mut |name| names.push(String::from_utf8(name.to_vec()).unwrap())).unwrap();
    for name in names {
        let content = read(fs, dir, &name).unwrap();
        assert!(tree.insert(format!("{path}/{name}"), Some(Arc::new(content))).is_none());
    }
    for name in fs.list_dirs(dir).unwrap() {
        let name = String::from_utf8(name).unwrap();
        let below = format!("{path}/{name}");
        tree.insert(below.clone(), None);
        dump_dir(fs, fs.dir(dir, name.as_bytes()).unwrap(), &below, tree);
    }
}

/// Runs random operations, and remembers the tree after each, and what was acknowledged when.
pub(crate) struct Workload {
    pub(crate) rng: StdRng,
    next: u64,
    /// `trees[n]` is the tree after `n` operations.
    pub(crate) trees: Vec<Tree>,
    /// (events of the device, operations) at each acknowledgement.
    pub(crate) acks: Vec<(usize, usize)>,
    /// Events of the device before each operation.
    pub(crate) began: Vec<usize>,
}

impl Workload {
    pub(crate) fn new(seed: u64, tree: Tree, next: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Workload { rng, next, trees: vec![tree], acks: vec![(0, 0)], began: Vec::new() }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn run(&mut self, fs: &Fs, device: &TestDevice, steps: usize) {
        for _ in 0..steps {
            match self.rng.random_range(0..20) {
                0..=3 => {
                    fs.commit().unwrap();
                    self.acks.push((device.events(), self.trees.len() - 1));
                }
                4 => fs.checkpoint().unwrap(),
                5 => fs.maintain().unwrap(),
                _ => self.operation(fs, device),
            }
        }
    }

    fn operation(&mut self, fs: &Fs, device: &TestDevice) {
        let before = device.events();
        let mut tree = self.trees.last().unwrap().clone();
        if self.change(fs, &mut tree) {
            self.began.push(before);
            self.trees.push(tree);
        }
    }

    /// Operations that a crash behind `events` may show: acknowledged, and begun.
    pub(crate) fn window(&self, events: usize) -> (usize, usize) {
        let acked = self.acks.iter().rev().find(|ack| ack.0 <= events).unwrap().1;
        let begun = self.began.iter().filter(|before| **before <= events).count();
        (acked, begun)
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("n{}", self.next)
    }

    fn pick(&mut self, tree: &Tree, file: bool) -> Option<String> {
        let of_kind = tree.iter().filter(|(_, content)| content.is_some() == file);
        of_kind.map(|(path, _)| path.clone()).choose(&mut self.rng)
    }

    fn place(&mut self, tree: &Tree) -> String {
        let dir = if self.rng.random_bool(0.2) { None } else { self.pick(tree, false) };
        format!("{}/{}", dir.unwrap_or_default(), self.fresh())
    }

    fn content(&mut self) -> Vec<u8> {
        let len = match self.rng.random_range(0..3) {
            0 => self.rng.random_range(0..1000),
            1 => self.rng.random_range(1000..5000),
            _ => self.rng.random_range(5000..20000),
        };
        noise(&mut self.rng, len)
    }

    /// Makes one change to the volume and to the model; false if there was nothing to change.
    fn change(&mut self, fs: &Fs, tree: &mut Tree) -> bool {
        let crowded = tree.len() > 30;
        let choice = if crowded { self.rng.random_range(7..11) } else { self.rng.random_range(0..16) };
        let to = self.place(tree);
        let (to_dir, to_name) = resolve(fs, &to);
        let file = self.pick(tree, true);
        match (choice, file) {
            (0, _) => {
                fs.create_dir(Dir::ROOT, &to.as_bytes()[1..]).unwrap();
                tree.insert(to, None);
            }
            (1, _) => return self.rename_dir(fs, tree, &to),
            (2, _) if tree.len() > 12 => return self.remove_dir(fs, tree),
            (3, _) => {
                let content = self.content();
                fs.replace(to_dir, to_name.as_bytes(), &content).unwrap();
                tree.insert(to, Some(Arc::new(content)));
            }
            (4..=5, Some(path)) => self.append(fs, tree, path),
            (6, Some(path)) => {
                let content = self.content();
                let (dir, name) = resolve(fs, &path);
                fs.replace(dir, name.as_bytes(), &content).unwrap();
                tree.insert(path, Some(Arc::new(content)));
            }
            (7..=8, Some(path)) => {
                let (dir, name) = resolve(fs, &path);
                fs.rename(dir, name.as_bytes(), to_dir, to_name.as_bytes()).unwrap();
                let content = tree.remove(&path).unwrap();
                tree.insert(to, content);
            }
            (9..=10, Some(path)) => {
                let (dir, name) = resolve(fs, &path);
                fs.unlink(dir, name.as_bytes()).unwrap();
                tree.remove(&path);
            }
            (11, Some(path)) => {
                let (dir, name) = resolve(fs, &path);
                fs.link(dir, name.as_bytes(), to_dir, to_name.as_bytes()).unwrap();
                let content = tree[&path].clone().unwrap();
                // Same content, same allocation: that is how the model knows links.
                tree.insert(to, Some(content));
            }
            _ => {
                let content = self.content();
                deliver(fs, to_dir, &to_name, &content).unwrap();
                tree.insert(to, Some(Arc::new(content)));
            }
        }
        true
    }

    fn append(&mut self, fs: &Fs, tree: &mut Tree, path: String) {
        let len = self.rng.random_range(1..6000);
        let bytes = noise(&mut self.rng, len);
        let (dir, name) = resolve(fs, &path);
        fs.append(dir, name.as_bytes(), &bytes).unwrap();
        let old = tree[&path].clone().unwrap();
        let new = Arc::new([&old[..], &bytes[..]].concat());
        let links = tree.values_mut().flatten().filter(|content| Arc::ptr_eq(content, &old));
        links.for_each(|content| *content = new.clone());
    }

    fn rename_dir(&mut self, fs: &Fs, tree: &mut Tree, to: &str) -> bool {
        let Some(from) = self.pick(tree, false) else { return false };
        let renamed = fs.rename_dir(Dir::ROOT, &from.as_bytes()[1..], &to.as_bytes()[1..]);
        if to.starts_with(&format!("{from}/")) {
            assert_eq!(renamed.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
            return false;
        }
        renamed.unwrap();
        let below = format!("{from}/");
        let moved = tree.keys().filter(|path| **path == from || path.starts_with(&below));
        for path in moved.cloned().collect::<Vec<_>>() {
            let content = tree.remove(&path).unwrap();
            tree.insert(format!("{to}{}", &path[from.len()..]), content);
        }
        true
    }

    fn remove_dir(&mut self, fs: &Fs, tree: &mut Tree) -> bool {
        let Some(from) = self.pick(tree, false) else { return false };
        fs.remove_dir(Dir::ROOT, &from.as_bytes()[1..]).unwrap();
        let below = format!("{from}/");
        tree.retain(|path, _| *path != from && !path.starts_with(&below));
        true
    }
}

fn resolve(fs: &Fs, path: &str) -> (Dir, String) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let dir = fs.dir(Dir::ROOT, parent.strip_prefix('/').unwrap_or("").as_bytes()).unwrap();
    (dir, name.to_owned())
}
