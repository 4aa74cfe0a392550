//! Something that will happen, and whose it is.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_blockrepl::core::{Denied, Event as Told, LeaseId, OpId, Reply, RequestId};

use super::authority::Grants;
use super::driver::Ending;
use super::faults::Fault;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Event {
    Tick { n: usize, life: u64 },
    DiskEnds { n: usize, life: u64, op: OpId, what: Ending },
    DiskDone { n: usize, life: u64, op: OpId, result: Result<Bytes, Arc<str>> },
    Answer { n: usize, life: u64, request: RequestId, result: Box<Result<Reply, Denied>> },
    Hear { n: usize, life: u64, event: Box<Told> },
    Commit { n: usize, life: u64, next: Box<Grants> },
    Learn { n: usize, life: u64, rev: u64 },
    Lease { n: usize, life: u64, epoch: u64, until: u64 },
    Dial { a: usize, b: usize },
    Deliver { link: u64, end: usize },
    LinkLost { link: u64, end: usize, only_if_cut: bool },
    Client { n: usize, life: u64, epoch: u64 },
    Unlease { n: usize, life: u64, lease: LeaseId },
    Resume { n: usize, life: u64 },
    Fault(Fault),
}

impl Event {
    /// The process that handles it, and which life of it; such an event waits while the process is paused.
    pub(super) fn process(&self) -> Option<(usize, u64)> {
        match self {
            Self::Tick { n, life }
            | Self::DiskDone { n, life, .. }
            | Self::Answer { n, life, .. }
            | Self::Hear { n, life, .. }
            | Self::Learn { n, life, .. }
            | Self::Lease { n, life, .. }
            | Self::Unlease { n, life, .. }
            | Self::Client { n, life, .. } => Some((*n, *life)),
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> u64 {
        match self {
            Self::Tick { .. } => 1,
            Self::DiskEnds { .. } => 2,
            Self::DiskDone { .. } => 3,
            Self::Answer { .. } => 4,
            Self::Hear { .. } => 5,
            Self::Commit { .. } => 6,
            Self::Learn { .. } => 7,
            Self::Lease { .. } => 8,
            Self::Dial { .. } => 9,
            Self::Deliver { .. } => 10,
            Self::LinkLost { .. } => 11,
            Self::Client { .. } => 12,
            Self::Resume { .. } => 13,
            Self::Fault(_) => 14,
            Self::Unlease { .. } => 15,
        }
    }
}
