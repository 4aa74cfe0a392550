//! What may come before a hello: the proof of a shared secret, and which path of which link a connection is.

use crate::codec::{Reader, Short, Writer};
use crate::ids::{ClusterId, NodeId, VolumeId};

/// Messages before the first hello. On a link that is up they are out of place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The dialler asks for the proof of a shared secret, and will give its own.
    Challenge {
        /// The dialler's cluster.
        cluster: ClusterId,
        /// The volume the link is for.
        volume: VolumeId,
        /// The dialler.
        from: NodeId,
        /// Whom it means to reach.
        to: NodeId,
        /// Whether all that follows the proofs is sealed.
        sealed: bool,
        /// The dialler's X25519 share, new for each connection.
        share: [u8; 32],
    },
    /// The acceptor's share.
    Share([u8; 32]),
    /// That the sender knows the secret, and saw these shares: the dialler's first, then the acceptor's.
    Proof([u8; 32]),
    /// This connection is one path of a link.
    Path {
        /// The dialler's cluster.
        cluster: ClusterId,
        /// The volume the link is for.
        volume: VolumeId,
        /// The dialler.
        from: NodeId,
        /// Whom it means to reach.
        to: NodeId,
        /// The dialler's name for the session: random, the same on all paths.
        session: [u8; 16],
        /// The acceptor's name for it; zeros as long as no path has come up.
        answer: [u8; 16],
        /// Which path: 0 is preferred.
        rank: u8,
    },
    /// The acceptor's name for the session.
    Taken([u8; 16]),
    /// The dialler goes on with this session, on this path.
    Go,
}

pub(super) fn head(opening: &Opening) -> (u8, Vec<u8>) {
    let mut w = Writer::default();
    let kind = match opening {
        Opening::Challenge { cluster, volume, from, to, sealed, share } => {
            w.bytes(&cluster.0).bytes(&volume.0).u64(from.0).u64(to.0).u8(u8::from(*sealed)).bytes(share);
            80
        }
        Opening::Share(share) => {
            w.bytes(share);
            81
        }
        Opening::Proof(mac) => {
            w.bytes(mac);
            82
        }
        Opening::Path { cluster, volume, from, to, session, answer, rank } => {
            w.bytes(&cluster.0).bytes(&volume.0).u64(from.0).u64(to.0);
            w.bytes(session).bytes(answer).u8(*rank);
            96
        }
        Opening::Taken(answer) => {
            w.bytes(answer);
            97
        }
        Opening::Go => 98,
    };
    (kind, w.0)
}

pub(super) fn parse(kind: u8, r: &mut Reader<'_>) -> Result<Opening, Short> {
    Ok(match kind {
        80 => Opening::Challenge {
            cluster: r.cluster()?,
            volume: r.volume()?,
            from: NodeId(r.u64()?),
            to: NodeId(r.u64()?),
            sealed: r.flag()?,
            share: r.array()?,
        },
        81 => Opening::Share(r.array()?),
        82 => Opening::Proof(r.array()?),
        96 => Opening::Path {
            cluster: r.cluster()?,
            volume: r.volume()?,
            from: NodeId(r.u64()?),
            to: NodeId(r.u64()?),
            session: r.array()?,
            answer: r.array()?,
            rank: r.u8()?,
        },
        97 => Opening::Taken(r.array()?),
        98 => Opening::Go,
        _ => return Err(Short),
    })
}
