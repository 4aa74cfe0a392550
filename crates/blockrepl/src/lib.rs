//! Skeleton.
mod bitmap;
mod codec;
mod config;
pub mod core;
mod device;
mod disk;
mod driver;
mod ids;
mod meta;
pub mod wire;
pub use bitmap::{EXTENT, GRANULE};
pub use config::{Config, UndoPolicy};
pub use device::{BlockDevice, DeviceError};
pub use disk::{Disk, FileDisk, MemDisk, VolatileDisk};
pub use driver::{Link, LinkError, Options, Paths, Volume};
pub use ids::*;
pub use meta::{DATA_HEADER_LEN, FORMAT_VERSION, OpenError};
