//! IDLE (RFC 2177).

use std::time::Duration;

use posthaste_imap_proto::Event;

use super::answer::{Answer, End, Stop, bad, ok};
use super::driver::Driver;
use super::session::Session;
use crate::wire::Wire;

/// How often a client that idles is told that we are there: keeps middleboxes awake, and finds clients that are gone.
const STILL_HERE: Duration = Duration::from_secs(120);

/// How long to wait before a store that could not be watched is asked again.
const RETRY: Duration = Duration::from_millis(500);

impl Driver<'_> {
    /// Tells changes as they come, until the client's DONE.
    pub(super) async fn idle(&mut self, wire: &mut Wire) -> Answer {
        if self.session.user.is_none() {
            return Ok(bad("log in first"));
        }
        wire.out.extend_from_slice(b"+ idling\r\n");
        self.input.decoder.expect_line();
        if let Some(view) = &mut self.session.view {
            view.hinted = true;
        }
        loop {
            match self.input.decode() {
                Event::Line(line) if line.as_bytes().eq_ignore_ascii_case(b"DONE") => return Ok(ok("done")),
                Event::NeedMore => {}
                _ => return Ok(bad("expected DONE")),
            }
            self.wait(wire).await?;
        }
    }

    /// Until there is input; news are told meanwhile.
    async fn wait(&mut self, wire: &mut Wire) -> Result<(), Stop> {
        loop {
            self.session.catch_up(&mut wire.out, true).await?;
            wire.flush().await.map_err(End::from)?;
            let patience = self.patience();
            tokio::select! {
                filled = self.input.fill(wire, patience, &mut self.shutdown, true) => return Ok(filled?),
                () = hint(&mut self.session) => {}
                () = tokio::time::sleep(STILL_HERE) => wire.out.extend_from_slice(b"* OK still here\r\n"),
            }
        }
    }
}

/// Returns when something may have changed in the selected mailbox. Cancel-safe.
async fn hint(session: &mut Session<'_>) {
    let Some(view) = &mut session.view else { return std::future::pending().await };
    match &mut view.watch {
        Some(watch) if !view.hinted => match watch.recv().await {
            Some(()) => view.hinted = true,
            None => {
                view.watch = None;
                view.hinted = true;
            }
        },
        // It was asked in vain, or could not be watched.
        _ => tokio::time::sleep(RETRY).await,
    }
}
