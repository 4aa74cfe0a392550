//! Why files are refused.

use super::FORMAT_VERSION;
use super::layout::MOST_GRANULES;

/// Why the files of a replica cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is missing, unreadable, or there is no room for it.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and on which file.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// `create` found a file with content.
    #[error("{0} exists and is not empty; remove it by hand if it is really to be overwritten")]
    Exists(String),
    /// Not a file of this program.
    #[error("the {file} file is not a replica's {file} file: {why}")]
    NotOurs {
        /// `data` or `metadata`.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Written by a newer program.
    #[error(
        "the {file} file has format version {found}; this program knows up to {FORMAT_VERSION}: upgrade it"
    )]
    Newer {
        /// `data` or `metadata`.
        file: &'static str,
        /// Its version.
        found: u32,
    },
    /// Written before the first release; nothing converts it.
    #[error(
        "the {file} file has format version {found}, which this program ({FORMAT_VERSION}) does not read any more: create the replica anew, it is copied in full"
    )]
    Older {
        /// `data` or `metadata`.
        file: &'static str,
        /// Its version.
        found: u32,
    },
    /// It belongs to another cluster, volume, node or device.
    #[error("the {file} file belongs to {what} {found}, not {expected}")]
    Foreign {
        /// `data` or `metadata`.
        file: &'static str,
        /// `cluster`, `volume`, `node` or `device`.
        what: &'static str,
        /// The id in the file.
        found: String,
        /// The id asked for.
        expected: String,
    },
    /// Shorter than it was created.
    #[error("the {file} file is truncated: {found} bytes where {expected} are expected")]
    Truncated {
        /// `data` or `metadata`.
        file: &'static str,
        /// Its length in bytes.
        found: u64,
        /// The length it needs.
        expected: u64,
    },
    /// The size asked for cannot be.
    #[error("a volume of {0} bytes: give a multiple of 4096, at least 65536 and at most 128 TiB")]
    Size(u64),
    /// The granule asked for cannot be, or is too small for so large a device.
    #[error(
        "granules of {granule} bytes for a volume of {size}: give a power of two from 4096 to 1048576, and at least {} for this size",
        size.div_ceil(MOST_GRANULES).next_power_of_two().max(4096)
    )]
    Granule {
        /// Bytes of one.
        granule: u64,
        /// Bytes of the volume.
        size: u64,
    },
}

impl OpenError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> OpenError {
        let what = what.into();
        move |source| OpenError::Io { what, source }
    }

    pub(super) fn not_ours(file: &'static str, why: impl Into<String>) -> Self {
        OpenError::NotOurs { file, why: why.into() }
    }
}
