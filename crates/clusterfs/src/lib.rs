#![forbid(unsafe_code)]
//! The file store of one replicated volume: what was committed survives, whole, and a volume opens in a
//! time that does not grow with it.

mod apply;
mod disk;
mod error;
mod file;
mod fs;
mod index;
mod locks;
mod log;
mod op;
mod record;
mod space;
mod state;
#[cfg(feature = "maildir")]
mod store;
mod superblock;
mod volume;

pub use error::{BodyDamaged, Fenced, FormatError, OpenError};
pub use file::{File, Staged};
pub use fs::{Attributes, Dir, Fs, LockGuard, NAME_MAX, OpenOptions, Sequence, Status};
#[cfg(feature = "maildir")]
pub use store::FsStore;
pub use superblock::FormatOptions;
