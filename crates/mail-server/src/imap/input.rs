//! What comes from the client: octets, decoded, under deadlines.

use std::time::Duration;

use posthaste_imap_proto::{CommandDecoder, Event};
use tokio::time::Instant;

use super::answer::End;
use crate::server::Shutdown;
use crate::wire::{self, Wire};

/// Octets that one read takes.
const READ_BUFFER: usize = 8 * 1024;

pub(super) struct Input {
    pub(super) decoder: CommandDecoder,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// When the last whole thing came: half a line does not count, so that nobody can drip for ever.
    heard: Instant,
}

impl Input {
    pub(super) fn new(decoder: CommandDecoder) -> Self {
        Self {
            decoder,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            heard: Instant::now(),
        }
    }

    /// The next event in what was read.
    pub(super) fn decode(&mut self) -> Event<'_> {
        let mut rest = &self.buffer[self.start..self.end];
        let event = self.decoder.decode(&mut rest);
        self.start = self.end - rest.len();
        if event != Event::NeedMore {
            self.heard = Instant::now();
        }
        event
    }

    /// The server has said something: the client's patience and ours start anew.
    pub(super) fn touch(&mut self) {
        self.heard = Instant::now();
    }

    /// Forgets what came in the clear; says how much that was.
    pub(super) fn discard_plaintext(&mut self) -> usize {
        let mut rest = &self.buffer[self.start..self.end];
        let discarded = self.decoder.discard_plaintext(&mut rest);
        self.start = self.end;
        discarded
    }

    /// Sends what is to be sent and reads more, all that was read before being used up. Ends at the shutdown only between
    /// commands, or where `interruptible`.
    pub(super) async fn fill(
        &mut self,
        wire: &mut Wire,
        patience: Duration,
        shutdown: &mut Shutdown,
        interruptible: bool,
    ) -> Result<(), End> {
        debug_assert_eq!(self.start, self.end, "decode first");
        let may_end = interruptible || self.decoder.is_idle();
        let deadline = self.heard + patience;
        match wire.read(&mut self.buffer, deadline, may_end.then_some(shutdown)).await? {
            wire::Input::Octets(n) => {
                (self.start, self.end) = (0, n);
                Ok(())
            }
            wire::Input::End => Err(End::Gone(std::io::ErrorKind::UnexpectedEof.into())),
            wire::Input::Silent => Err(End::Silent),
            wire::Input::Shutdown => Err(End::Shutdown),
        }
    }
}
