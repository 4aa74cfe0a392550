//! The side that dials: one task a path, each of which dials its path again and again.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::bundle::Over;
use super::io::Shared;
use super::{Bond, BondConfig, PATHS_MAX, Stream};
use crate::driver::LinkError;
use crate::driver::link::{read_one, write_one};
use crate::ids::{Identity, NodeId};
use crate::wire::{Message, Opening, Refusal};

/// Failures in a row after which a path is dialled less often.
const TRIES: u32 = 8;
const DOUBLINGS: u32 = 5;

impl Bond {
    /// Dials `peer` on all `paths` at once, and again whenever one is lost, as long as the bond lives. Returns with the first that
    /// is up, or with an error when all failed once and none is up by then. `connect` gives a connection of the path of a rank, authenticated.
    pub async fn dial<C, F>(
        us: &Identity,
        peer: NodeId,
        config: BondConfig,
        paths: usize,
        connect: C,
    ) -> Result<Bond, LinkError>
    where
        C: Fn(usize) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Box<dyn Stream>, LinkError>> + Send + 'static,
    {
        assert!((1..=PATHS_MAX).contains(&paths), "a bond has 1 to {PATHS_MAX} paths");
        let session = super::random()?;
        let shared = Shared::new(paths, &config);
        let bond = Bond::start(shared.clone(), peer, &config);
        let dialler =
            Arc::new(Dialler { shared, us: *us, peer, config, session, answer: Default::default(), connect });
        // Of each path a failure and a success.
        let (tell, mut told) = mpsc::channel(2 * paths);
        for rank in 0..paths {
            tokio::spawn(dialler.clone().serve(rank, tell.clone()));
        }
        drop(tell);
        let (mut why, mut failed) = (LinkError::Timeout, 0);
        while failed < paths {
            match told.recv().await {
                Some(Ok(())) => return Ok(bond),
                Some(Err(e)) => (why, failed) = (e, failed + 1),
                None => break,
            }
        }
        if (0..paths).any(|rank| bond.shared.is_up(rank)) { Ok(bond) } else { Err(why) }
    }
}

/// Why a path did not come up.
#[derive(Debug)]
enum Failed {
    Link(LinkError),
    /// The peer, once it was connected to, said that the session has ended. What came before that is no word of the peer's.
    SessionOver,
}

impl From<LinkError> for Failed {
    fn from(why: LinkError) -> Self {
        Failed::Link(why)
    }
}

impl From<Failed> for LinkError {
    fn from(why: Failed) -> Self {
        match why {
            Failed::Link(why) => why,
            Failed::SessionOver => LinkError::Refused(Refusal::SessionOver),
        }
    }
}

/// How many times as long to wait after so many failures in a row.
fn redials(failures: u32) -> u32 {
    1 << failures.saturating_sub(TRIES).min(DOUBLINGS)
}

struct Dialler<C> {
    shared: Arc<Shared>,
    us: Identity,
    peer: NodeId,
    config: BondConfig,
    session: [u8; 16],
    /// The acceptor's name for it, once it is known.
    answer: std::sync::Mutex<Option<[u8; 16]>>,
    connect: C,
}

impl<C, F> Dialler<C>
where
    C: Fn(usize) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Box<dyn Stream>, LinkError>> + Send + 'static,
{
    /// Keeps one path up until the bond is over.
    async fn serve(self: Arc<Self>, rank: usize, tell: mpsc::Sender<Result<(), LinkError>>) {
        // What is under way then is dropped: a connection of a session that has ended is of no use to the peer either.
        tokio::select! {
            () = self.keep(rank, tell) => {}
            () = self.until(|shared| shared.over().is_some()) => {}
        }
    }

    /// Tells the first failure, and the first success.
    async fn keep(&self, rank: usize, tell: mpsc::Sender<Result<(), LinkError>>) {
        let (mut failures, mut failed) = (0u32, false);
        loop {
            let opened = timeout(self.config.connect_wait, self.open(rank)).await;
            match opened.unwrap_or(Err(Failed::Link(LinkError::Timeout))) {
                Ok(io) => {
                    self.shared.add(rank, io);
                    failures = 0;
                    // It may have heard enough.
                    drop(tell.try_send(Ok(())));
                    self.until(|shared| !shared.is_up(rank)).await;
                }
                Err(why) => {
                    let over = matches!(why, Failed::SessionOver);
                    let why = LinkError::from(why);
                    self.shared.failed(rank, why.to_string());
                    if !std::mem::replace(&mut failed, true) {
                        drop(tell.try_send(Err(why)));
                    }
                    if over {
                        return self.shared.fail(Over::Forgotten);
                    }
                    failures = failures.saturating_add(1);
                }
            }
            sleep(self.config.redial * redials(failures)).await;
        }
    }

    async fn until(&self, holds: impl Fn(&Shared) -> bool) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.shared) {
                return;
            }
            changed.await;
        }
    }

    async fn open(&self, rank: usize) -> Result<Box<dyn Stream>, Failed> {
        let mut io = (self.connect)(rank).await?;
        let path = Opening::Path {
            cluster: self.us.cluster,
            volume: self.us.volume,
            from: self.us.node,
            to: self.peer,
            session: self.session,
            answer: (*self.answer()).unwrap_or_default(),
            rank: rank as u8,
        };
        write_one(&mut io, &Message::Opening(path)).await?;
        match read_one(&mut io).await? {
            Message::Opening(Opening::Taken(answer)) if self.agrees(answer) => {}
            Message::Opening(Opening::Taken(_)) | Message::Refused(Refusal::SessionOver) => {
                return Err(Failed::SessionOver);
            }
            Message::Refused(why) => return Err(LinkError::Refused(why).into()),
            _ => return Err(LinkError::OtherSetup.into()),
        }
        write_one(&mut io, &Message::Opening(Opening::Go)).await?;
        Ok(io)
    }

    fn answer(&self) -> std::sync::MutexGuard<'_, Option<[u8; 16]>> {
        self.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The first answer is the session's: another one would be of another stream.
    fn agrees(&self, answer: [u8; 16]) -> bool {
        *self.answer().get_or_insert(answer) == answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_come_up_is_dialled_less_often_but_never_much_less() {
        let waits: Vec<u32> = (0..20).map(redials).collect();
        assert_eq!(waits[..=8], [1; 9]);
        assert_eq!(waits[9..=13], [2, 4, 8, 16, 32]);
        assert!(waits[14..].iter().chain([&redials(u32::MAX)]).all(|wait| *wait == 32));
    }
}
