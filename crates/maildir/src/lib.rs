#![forbid(unsafe_code)]
//! Skeleton.
#![allow(missing_docs)]
pub mod conformance;
mod error;
mod flags;
mod generate;
mod keywords;
#[cfg(unix)]
mod local;
mod mailbox;
pub mod mutf7;
mod name;
mod store;
mod tree;
pub mod uidlist;
mod validity;
pub use error::Error;
pub use flags::Flags;
pub use generate::{NameGenerator, to_wire, wire_len};
pub use keywords::{BadKeyword, Keyword, Keywords};
#[cfg(unix)]
pub use local::{DotlockTimes, LocalConfig, LocalDir, LocalFs, LocalGuard, LocalStaged};
pub use mailbox::{
    Append, Appended, Changes, Copied, Delivered, Delivery, FlagChange, Mailbox, MailboxConfig, Message,
    Snapshot,
};
pub use name::{BaseName, FileName, NameError};
pub use tree::Tree;
pub use store::{Caps, Durability, Meta, Publish, Stamp, Store};
