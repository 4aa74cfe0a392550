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

impl Bond {
    /// Dials `peer` on all `paths` at once, and again whenever one is lost, as long as the bond lives. Returns with the first that
    /// is up, or with an error when all failed once. `connect` gives a connection of the path of a rank, authenticated.
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
        let (tell, mut told) = mpsc::channel(paths);
        for rank in 0..paths {
            tokio::spawn(dialler.clone().serve(rank, tell.clone()));
        }
        drop(tell);
        let mut why = LinkError::Timeout;
        for _ in 0..paths {
            match told.recv().await {
                Some(Ok(())) => return Ok(bond),
                Some(Err(e)) => why = e,
                None => break,
            }
        }
        Err(why)
    }
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
    /// Keeps one path up until the bond is over. Tells how the first attempt ended.
    async fn serve(self: Arc<Self>, rank: usize, tell: mpsc::Sender<Result<(), LinkError>>) {
        let mut tell = Some(tell);
        while self.shared.over().is_none() {
            let opened = timeout(self.config.connect_wait, self.open(rank)).await;
            let result = opened.unwrap_or(Err(LinkError::Timeout)).map(|io| self.shared.add(rank, io));
            if matches!(result, Err(LinkError::Refused(Refusal::SessionOver))) {
                self.shared.fail(Over::Forgotten);
            }
            if let Some(tell) = tell.take() {
                // It may have heard enough.
                drop(tell.try_send(result));
            }
            self.lost(rank).await;
            sleep(self.config.redial).await;
        }
    }

    /// Waits until the path is not up.
    async fn lost(&self, rank: usize) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.shared.is_up(rank) || self.shared.over().is_some() {
                return;
            }
            changed.await;
        }
    }

    async fn open(&self, rank: usize) -> Result<Box<dyn Stream>, LinkError> {
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
            Message::Opening(Opening::Taken(_)) => return Err(LinkError::Refused(Refusal::SessionOver)),
            Message::Refused(why) => return Err(LinkError::Refused(why)),
            _ => return Err(LinkError::OtherSetup),
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
