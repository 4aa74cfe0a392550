//! A shared secret that both sides of a link prove to know, before anything else is said.
//!
//! Each side sends a fresh X25519 share. Both compute, with HMAC-SHA-256 under the secret, a root from all that was said
//! and from what the shares have in common; from the root come the proofs of both directions, and the keys of both directions.
//! Who dials proves first: one who does not know the secret learns nothing by which to try guesses, unless he is dialled.

mod sealed;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use crate::codec::Writer;
use crate::driver::LinkError;
use crate::driver::link::{HELLO_WAIT, read_one, write_one};
use crate::ids::{Identity, NodeId};
use crate::wire::{Message, Opening, Refusal};
use sealed::Seal;

/// The shortest secret, in bytes.
const SECRET_MIN: usize = 16;
const LABEL: &[u8] = b"posthaste-blockrepl shared secret 1";
const DIALLER: &[u8] = b"dialler proves";
const ACCEPTOR: &[u8] = b"acceptor proves";
const DIALLER_SEALS: &[u8] = b"dialler seals";
const ACCEPTOR_SEALS: &[u8] = b"acceptor seals";

/// Why a secret was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Too short to withstand guessing. Take 32 random bytes.
    #[error("a secret of {len} bytes is too short: take {SECRET_MIN} or more, at random")]
    TooShort {
        /// Its bytes.
        len: usize,
    },
}

/// A secret that all nodes of a volume share. Printed, it shows nothing.
#[derive(Clone)]
pub struct Secret {
    key: hmac::Key,
    sealed: bool,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

impl Secret {
    /// A secret of 16 bytes or more. What follows the proofs is sealed: encrypted and authenticated, record by record, with
    /// AES-256-GCM under keys of this connection. It can be read later neither by one who learns the secret.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        match bytes.len() {
            len if len < SECRET_MIN => Err(SecretError::TooShort { len }),
            _ => Ok(Secret { key: hmac::Key::new(hmac::HMAC_SHA256, bytes), sealed: true }),
        }
    }

    /// The proofs only: what follows is in the clear, and whoever sits on the path can change it. For a cable between two machines,
    /// or under TLS. Both sides must say the same.
    #[must_use]
    pub fn unsealed(self) -> Self {
        Secret { sealed: false, ..self }
    }

    /// Proves, on a connection that this side opened, to know the secret, and lets `peer` prove it.
    pub async fn dial<IO>(&self, us: &Identity, peer: NodeId, io: IO) -> Result<Guarded<IO>, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin,
    {
        timeout(HELLO_WAIT, self.prove_first(us, peer, io)).await.map_err(|_| LinkError::Timeout)?
    }

    /// The same on a connection that was accepted. [`Guarded::peer`] says who proved it: one of those that know the
    /// secret, for it is the same for all.
    pub async fn accept<IO>(&self, us: &Identity, io: IO) -> Result<Guarded<IO>, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin,
    {
        timeout(HELLO_WAIT, self.prove_second(us, io)).await.map_err(|_| LinkError::Timeout)?
    }

    async fn prove_first<IO>(&self, us: &Identity, peer: NodeId, mut io: IO) -> Result<Guarded<IO>, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let ours = Share::new()?;
        let asked = Asked { us: *us, from: us.node, to: peer, sealed: self.sealed };
        say(&mut io, asked.challenge(ours.public)).await?;
        let theirs = match hear(&mut io).await? {
            Opening::Share(theirs) => theirs,
            _ => return Err(LinkError::OtherSetup),
        };
        let root = self.root(&asked, (ours.public, theirs), ours.common(theirs)?);
        say(&mut io, Opening::Proof(mac(&root, DIALLER))).await?;
        match hear(&mut io).await? {
            Opening::Proof(proof) if proves(&root, ACCEPTOR, &proof) => {}
            _ => return Err(LinkError::Unauthenticated),
        }
        Ok(Guarded { io, peer, seal: self.seal(&root, DIALLER_SEALS, ACCEPTOR_SEALS) })
    }

    async fn prove_second<IO>(&self, us: &Identity, mut io: IO) -> Result<Guarded<IO>, LinkError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let (asked, theirs) = match self.challenged(us, read_one(&mut io).await?) {
            Ok(challenged) => challenged,
            Err(why) => return refuse(io, why).await,
        };
        let ours = Share::new()?;
        say(&mut io, Opening::Share(ours.public)).await?;
        let public = ours.public;
        let root = self.root(&asked, (theirs, public), ours.common(theirs)?);
        match hear(&mut io).await? {
            Opening::Proof(proof) if proves(&root, DIALLER, &proof) => {}
            _ => return refuse(io, Refusal::Unauthenticated).await,
        }
        say(&mut io, Opening::Proof(mac(&root, ACCEPTOR))).await?;
        Ok(Guarded { io, peer: asked.from, seal: self.seal(&root, ACCEPTOR_SEALS, DIALLER_SEALS) })
    }

    /// What the dialler asks, if it is for us and we are set up for it.
    fn challenged(&self, us: &Identity, message: Message) -> Result<(Asked, [u8; 32]), Refusal> {
        let Message::Opening(Opening::Challenge { cluster, volume, from, to, sealed, share }) = message
        else {
            return Err(Refusal::Unauthenticated);
        };
        if cluster != us.cluster {
            return Err(Refusal::WrongCluster);
        }
        if volume != us.volume || to != us.node {
            return Err(Refusal::UnknownVolume);
        }
        if from == us.node {
            return Err(Refusal::OwnIdentity);
        }
        if sealed != self.sealed {
            return Err(Refusal::OtherSetup);
        }
        Ok((Asked { us: *us, from, to, sealed }, share))
    }

    /// Depends on the secret, on who speaks to whom, and on both shares.
    fn root(&self, asked: &Asked, shares: ([u8; 32], [u8; 32]), common: [u8; 32]) -> hmac::Key {
        let mut said = Writer::default();
        said.bytes(LABEL).bytes(&asked.us.cluster.0).bytes(&asked.us.volume.0);
        said.u64(asked.from.0).u64(asked.to.0).u8(u8::from(asked.sealed));
        said.bytes(&shares.0).bytes(&shares.1).bytes(&common);
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.key, &said.0).as_ref())
    }

    fn seal(&self, root: &hmac::Key, ours: &[u8], theirs: &[u8]) -> Option<Box<Seal>> {
        self.sealed.then(|| Box::new(Seal::new(mac(root, ours), mac(root, theirs))))
    }
}

/// Who asks whom for what.
struct Asked {
    us: Identity,
    from: NodeId,
    to: NodeId,
    sealed: bool,
}

impl Asked {
    fn challenge(&self, share: [u8; 32]) -> Opening {
        let Asked { us, from, to, sealed } = *self;
        Opening::Challenge { cluster: us.cluster, volume: us.volume, from, to, sealed, share }
    }
}

struct Share {
    private: EphemeralPrivateKey,
    public: [u8; 32],
}

fn failed(_: ring::error::Unspecified) -> LinkError {
    LinkError::Unauthenticated
}

impl Share {
    fn new() -> Result<Self, LinkError> {
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(failed)?;
        let public = private.compute_public_key().map_err(failed)?;
        let public = public.as_ref().try_into().expect("a share of X25519 has 32 bytes");
        Ok(Share { private, public })
    }

    /// A share by which every secret would be the same is refused.
    fn common(self, theirs: [u8; 32]) -> Result<[u8; 32], LinkError> {
        let theirs = UnparsedPublicKey::new(&X25519, theirs);
        agree_ephemeral(self.private, &theirs, |common| common.try_into().expect("it has 32 bytes"))
            .map_err(failed)
    }
}

fn mac(key: &hmac::Key, what: &[u8]) -> [u8; 32] {
    hmac::sign(key, what).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Takes the same time wherever the two differ.
fn proves(key: &hmac::Key, what: &[u8], proof: &[u8; 32]) -> bool {
    hmac::verify(key, what, proof).is_ok()
}

async fn say<IO: AsyncWrite + Unpin>(io: &mut IO, opening: Opening) -> Result<(), LinkError> {
    write_one(io, &Message::Opening(opening)).await
}

/// Whoever sits on the path can refuse, and say what stands in the way of a proof; he is not believed to be the peer.
async fn hear<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Opening, LinkError> {
    match read_one(io).await? {
        Message::Opening(opening) => Ok(opening),
        Message::Refused(
            why @ (Refusal::Unauthenticated
            | Refusal::OtherSetup
            | Refusal::WrongCluster
            | Refusal::UnknownVolume
            | Refusal::OwnIdentity
            | Refusal::Closing),
        ) => Err(LinkError::Refused(why)),
        Message::Refused(_) => Err(LinkError::Unauthenticated),
        _ => Err(LinkError::OtherSetup),
    }
}

async fn refuse<T, IO: AsyncWrite + Unpin>(mut io: IO, why: Refusal) -> Result<T, LinkError> {
    let error = match &why {
        Refusal::Unauthenticated => LinkError::Unauthenticated,
        Refusal::OtherSetup => LinkError::OtherSetup,
        why => LinkError::Refused(why.clone()),
    };
    // It may have gone.
    drop(write_one(&mut io, &Message::Refused(why)).await);
    Err(error)
}

/// A connection whose other side knows the secret.
#[derive(Debug)]
pub struct Guarded<IO> {
    io: IO,
    peer: NodeId,
    seal: Option<Box<Seal>>,
}

impl<IO> Guarded<IO> {
    /// Who is on the other side.
    pub fn peer(&self) -> NodeId {
        self.peer
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        match &mut this.seal {
            Some(seal) => seal.poll_read(&mut this.io, cx, buf),
            None => Pin::new(&mut this.io).poll_read(cx, buf),
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.poll_write_vectored(cx, &[std::io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.seal {
            Some(seal) => seal.poll_write(&mut this.io, cx, bufs),
            None => Pin::new(&mut this.io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.seal.is_some() || self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if let Some(seal) = &mut this.seal {
            std::task::ready!(seal.poll_drain(&mut this.io, cx))?;
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if let Some(seal) = &mut this.seal {
            std::task::ready!(seal.poll_drain(&mut this.io, cx))?;
        }
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
