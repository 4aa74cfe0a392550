//! The side that is dialled: which connection is a path of which bond.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::bundle::Over;
use super::io::Shared;
use super::{Bond, BondConfig, PATHS_MAX};
use crate::driver::LinkError;
use crate::driver::link::{HELLO_WAIT, read_one, write_one};
use crate::ids::{Identity, NodeId};
use crate::wire::{Message, Opening, Refusal};

/// A session by both sides' names for it.
type Session = ([u8; 16], [u8; 16]);

/// Sorts accepted connections into the bonds that their peers dial. One for each volume.
#[derive(Debug)]
pub struct Acceptor {
    us: Identity,
    paths: usize,
    config: BondConfig,
    peers: Mutex<HashMap<NodeId, Known>>,
}

/// What is known of a peer's sessions.
#[derive(Debug, Default)]
struct Known {
    /// The one in force, or the last one.
    current: Option<(Session, Weak<Shared>)>,
    /// One that the peer has asked for and not begun.
    next: Option<Session>,
}

impl Known {
    /// Our name for the peer's session.
    fn name(&mut self, session: [u8; 16], answer: [u8; 16]) -> Result<[u8; 16], LinkError> {
        let fresh = answer == [0; 16];
        if let Some(((theirs, ours), shared)) = &self.current
            && *theirs == session
        {
            let named = alive(shared).is_some() && (fresh || answer == *ours);
            return if named { Ok(*ours) } else { Err(LinkError::Refused(Refusal::SessionOver)) };
        }
        match self.next {
            Some((theirs, ours)) if theirs == session && (fresh || answer == ours) => Ok(ours),
            _ if !fresh => Err(LinkError::Refused(Refusal::SessionOver)),
            _ => {
                let ours = super::random()?;
                self.next = Some((session, ours));
                Ok(ours)
            }
        }
    }
}

fn alive(shared: &Weak<Shared>) -> Option<Arc<Shared>> {
    shared.upgrade().filter(|shared| shared.over().is_none())
}

impl Acceptor {
    /// For bonds of `paths` paths that `peers` dial.
    pub fn new(
        us: &Identity,
        peers: impl IntoIterator<Item = NodeId>,
        paths: usize,
        config: BondConfig,
    ) -> Self {
        assert!((1..=PATHS_MAX).contains(&paths), "a bond has 1 to {PATHS_MAX} paths");
        let peers = peers.into_iter().map(|peer| (peer, Known::default())).collect();
        Acceptor { us: *us, paths, config, peers: Mutex::new(peers) }
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<NodeId, Known>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection, authenticated: the first path of a bond, which is returned, or another path of one that was. A bond
    /// that the same peer had before ends.
    pub async fn accept<IO>(&self, io: IO) -> Result<Option<Bond>, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        timeout(HELLO_WAIT, self.take(None, io)).await.map_err(|_| LinkError::Timeout)?
    }

    /// The same for a connection of which it is known who is on the other side: one who says to be another is refused.
    pub async fn accept_from<IO>(&self, peer: NodeId, io: IO) -> Result<Option<Bond>, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        timeout(HELLO_WAIT, self.take(Some(peer), io)).await.map_err(|_| LinkError::Timeout)?
    }

    async fn take<IO>(&self, proven: Option<NodeId>, mut io: IO) -> Result<Option<Bond>, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let opened = match read_one(&mut io).await? {
            Message::Opening(opening) => self.opened(proven, &opening),
            Message::Refused(why) => return Err(LinkError::Refused(why)),
            _ => Err(LinkError::OtherSetup),
        };
        let (peer, session, rank) = match opened {
            Ok(opened) => opened,
            Err(why) => {
                let said = match &why {
                    LinkError::Refused(said) => said.clone(),
                    LinkError::WrongPeer { .. } => Refusal::UnknownVolume,
                    _ => Refusal::OtherSetup,
                };
                write_one(&mut io, &Message::Refused(said)).await?;
                return Err(why);
            }
        };
        write_one(&mut io, &Message::Opening(Opening::Taken(session.1))).await?;
        match read_one(&mut io).await? {
            Message::Opening(Opening::Go) => self.join(peer, session, rank, io),
            Message::Refused(why) => Err(LinkError::Refused(why)),
            _ => Err(LinkError::OtherSetup),
        }
    }

    /// Whose session it is, and which path.
    fn opened(
        &self,
        proven: Option<NodeId>,
        opening: &Opening,
    ) -> Result<(NodeId, Session, usize), LinkError> {
        let Opening::Path { cluster, volume, from, to, session, answer, rank } = opening else {
            return Err(LinkError::OtherSetup);
        };
        let no = |why| Err(LinkError::Refused(why));
        if *cluster != self.us.cluster {
            return no(Refusal::WrongCluster);
        }
        if *volume != self.us.volume || *to != self.us.node {
            return no(Refusal::UnknownVolume);
        }
        if let Some(expected) = proven
            && expected != *from
        {
            return Err(LinkError::WrongPeer { expected, found: *from });
        }
        let rank = usize::from(*rank);
        if rank >= self.paths {
            return no(Refusal::OtherSetup);
        }
        match self.peers().get_mut(from) {
            Some(known) => Ok((*from, (*session, known.name(*session, *answer)?), rank)),
            None => no(Refusal::UnknownVolume),
        }
    }

    fn join<IO>(&self, peer: NodeId, session: Session, rank: usize, io: IO) -> Result<Option<Bond>, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut peers = self.peers();
        let over = || LinkError::Refused(Refusal::SessionOver);
        let known = peers.get_mut(&peer).ok_or_else(over)?;
        if let Some((current, shared)) = &known.current
            && *current == session
        {
            let shared = alive(shared).ok_or_else(over)?;
            shared.add(rank, Box::new(io));
            return Ok(None);
        }
        known.next.take_if(|next| *next == session).ok_or_else(over)?;
        let shared = Shared::new(self.paths, &self.config);
        let before = known.current.replace((session, Arc::downgrade(&shared)));
        drop(peers);
        if let Some(before) = before.and_then(|(_, before)| before.upgrade()) {
            before.fail(Over::Replaced);
        }
        let bond = Bond::start(shared.clone(), peer, &self.config);
        shared.add(rank, Box::new(io));
        Ok(Some(bond))
    }
}
