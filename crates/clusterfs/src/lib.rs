#![forbid(unsafe_code)]
//! The file store of one replicated volume: what was committed survives, whole, and a volume opens in a
//! time that does not grow with it.
//!
//! ```
//! # use std::sync::{Arc, Mutex};
//! # use posthaste_blockrepl::{BlockDevice, DeviceError};
//! # #[derive(Debug, Clone)]
//! # struct Ram(Arc<Mutex<Vec<u8>>>);
//! # impl BlockDevice for Ram {
//! #     fn size(&self) -> u64 { self.0.lock().unwrap().len() as u64 }
//! #     fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
//! #         buf.copy_from_slice(&self.0.lock().unwrap()[at as usize..at as usize + buf.len()]);
//! #         Ok(())
//! #     }
//! #     fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
//! #         self.0.lock().unwrap()[at as usize..at as usize + data.len()].copy_from_slice(data);
//! #         Ok(())
//! #     }
//! #     fn flush(&self) -> Result<(), DeviceError> { Ok(()) }
//! #     fn epoch(&self) -> u64 { 1 }
//! # }
//! # let device = Ram(Arc::new(Mutex::new(vec![0; 16 << 20])));
//! use posthaste_clusterfs::{Dir, FormatOptions, Fs};
//! use std::io::{Read, Write};
//!
//! Fs::format(device.clone(), &FormatOptions::new("vol1"))?;
//! let fs = Fs::open(device.clone())?;
//! fs.create_dir(Dir::ROOT, b"alice@example.org/new")?;
//! let new = fs.dir(Dir::ROOT, b"alice@example.org/new")?;
//!
//! let mut staged = fs.stage(None);
//! staged.write_all(b"Subject: hello\r\n\r\n")?;
//! let sequence = fs.publish(staged, new, b"1764100000.M1.node-a")?; // visible
//! fs.commit_until(sequence)?; // and durable on every in-sync replica
//! drop(fs); // a crash
//!
//! let mut text = String::new();
//! Fs::open(device)?.open_file(new, b"1764100000.M1.node-a")?.read_to_string(&mut text)?;
//! assert_eq!(text, "Subject: hello\r\n\r\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types
//!
//! - [`Fs`] is the volume: [`format`](Fs::format) it once, [`open`](Fs::open) it on the leader,
//!   [`close`](Fs::close) it. [`Dir`] is an open directory, [`Staged`] a file being written,
//!   [`File`] one being read, [`Sequence`] a place in the order of all changes.
//! - [`FsStore`] is a subtree of it as a `maildir::Store`: one user's tree.
//! - [`FormatOptions`] lay a volume out, [`OpenOptions`] say how much memory it may take and how
//!   often it checkpoints, [`Status`] is for operators.
//! - [`Fenced`] and [`BodyDamaged`] travel inside [`io::Error`](std::io::Error)s.
//!
//! # How it works
//!
//! An operation changes the tree in memory, under one lock, and joins the pending batch.
//! [`commit`](Fs::commit) writes the batch to the log as one record, sequentially, and flushes once; all
//! who come meanwhile share the next flush. Bodies beyond 1 KiB were written to their extents before,
//! under that same flush; the record carries their checksums. Every second or so a checkpoint
//! moves what changed into redb, in one commit that also holds the log's position, and frees the log. `docs/format.md`
//! draws the bytes.
//!
//! # What callers must know
//!
//! - A change is visible to everyone here at once, and durable after a commit. Let no reply that depends on what was
//!   read or changed leave before [`commit`](Fs::commit) returned (DESIGN R3).
//! - Fenced (R4) or after a failed flush (R11), every call fails for ever and memory is let go. Open the
//!   volume again under a new epoch.
//! - A full volume refuses new files with `StorageFull` before anything is acknowledged. Reading,
//!   renaming, unlinking and control files go on; space comes back with the next checkpoint.
//! - An opened [`File`] stays whole when its last name goes.
//!
//! # Limits, and what it does not do
//!
//! Names have at most 255 bytes, paths 4,096. A reader or a writer of a file holds at most 1 MiB of it;
//! what waits for a checkpoint is bounded by [`OpenOptions::overlay_bytes`]. An index holds at most about 2
//! million files (2.1 GiB): use more volumes. Sizes are fixed at format. A volume cannot grow, its index is
//! not compacted, files cannot be changed in place, only appended to or replaced, and there are no owners,
//! modes or symbolic links: the FUSE mount will need them. A damaged log or body is reported, not fetched from the peer.
//!
//! # Features
//!
//! - `maildir` (default): [`FsStore`].

mod fs;

mod file;
#[cfg(feature = "maildir")]
mod store;

mod volume;

mod log;
mod record;

mod apply;
mod op;
mod state;

mod index;
mod space;

mod disk;
mod error;
mod locks;
mod superblock;

pub use error::{BodyDamaged, Fenced, FormatError, OpenError};
pub use file::{File, Staged};
pub use fs::{Attributes, Dir, Fs, LockGuard, NAME_MAX, OpenOptions, PATH_MAX, Sequence, Status};
#[cfg(feature = "maildir")]
pub use store::FsStore;
pub use superblock::FormatOptions;
