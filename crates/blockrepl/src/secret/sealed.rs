//! Records of a sealed connection: each direction has a key of its own, and counts its records.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most data of one record, in bytes.
const DATA_MAX: usize = 64 << 10;
const TAG: usize = 16;
const HEAD: usize = 4;
/// Records of one direction before a connection must be replaced: far below what AES-GCM bears.
const RECORDS_MAX: u64 = 1 << 40;

/// Both directions of a sealed connection.
pub(super) struct Seal {
    ours: Direction,
    theirs: Direction,
    /// Sealed and not sent yet.
    out: Vec<u8>,
    sent: usize,
    /// Records that came, or begin to.
    inbox: Box<[u8]>,
    full: std::ops::Range<usize>,
    /// What of the inbox is opened and not taken.
    open: std::ops::Range<usize>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

struct Direction {
    key: LessSafeKey,
    records: u64,
}

impl Direction {
    fn new(key: [u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("a key of 32 bytes");
        Direction { key: LessSafeKey::new(key), records: 0 }
    }

    /// The number of a record: it is used once, as the key is this connection's.
    fn nonce(&mut self) -> io::Result<Nonce> {
        if self.records == RECORDS_MAX {
            return Err(io::Error::other("so much went over this connection that it needs a new one"));
        }
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&self.records.to_le_bytes());
        self.records += 1;
        Ok(Nonce::assume_unique_for_key(bytes))
    }
}

fn not_authentic() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record was changed, repeated or left out on its way")
}

impl Seal {
    pub(super) fn new(ours: [u8; 32], theirs: [u8; 32]) -> Self {
        Seal {
            ours: Direction::new(ours),
            theirs: Direction::new(theirs),
            out: Vec::new(),
            sent: 0,
            inbox: vec![0; HEAD + DATA_MAX + TAG].into(),
            full: 0..0,
            open: 0..0,
        }
    }

    // ---- out ----

    /// Sends what is sealed.
    pub(super) fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.out[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        Poll::Ready(Ok(()))
    }

    /// Seals one record, when the former one is sent.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(io, cx))?;
        let len = bufs.iter().map(|b| b.len()).sum::<usize>().min(DATA_MAX);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        let head = (len as u32).to_le_bytes();
        self.out.clear();
        self.out.extend_from_slice(&head);
        for buf in bufs {
            let room = HEAD + len - self.out.len();
            self.out.extend_from_slice(&buf[..buf.len().min(room)]);
        }
        let nonce = self.ours.nonce()?;
        let sealed = self.ours.key.seal_in_place_separate_tag(nonce, Aad::from(head), &mut self.out[HEAD..]);
        let tag = sealed.map_err(|_| io::Error::other("sealing"))?;
        self.out.extend_from_slice(tag.as_ref());
        self.sent = 0;
        // The rest is sent with the next record, or a flush.
        if let Poll::Ready(Err(e)) = self.poll_drain(io, cx) {
            return Poll::Ready(Err(e));
        }
        Poll::Ready(Ok(len))
    }

    // ---- in ----

    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.open.is_empty() {
            if self.open_next()? {
                break;
            }
            self.inbox.copy_within(self.full.clone(), 0);
            self.full = 0..self.full.len();
            let mut rest = ReadBuf::new(&mut self.inbox[self.full.end..]);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut rest))?;
            let read = rest.filled().len();
            if read == 0 {
                // The end of the stream; the frames above know whether it may end here.
                return Poll::Ready(Ok(()));
            }
            self.full.end += read;
        }
        let taken = self.open.len().min(buf.remaining());
        buf.put_slice(&self.inbox[self.open.start..self.open.start + taken]);
        self.open.start += taken;
        Poll::Ready(Ok(()))
    }

    /// Opens the next record; false when it is not whole.
    fn open_next(&mut self) -> io::Result<bool> {
        let full = &mut self.inbox[self.full.clone()];
        let Some(head) = full.first_chunk::<HEAD>().copied() else { return Ok(false) };
        let len = u32::from_le_bytes(head) as usize;
        if !(1..=DATA_MAX).contains(&len) {
            return Err(not_authentic());
        }
        let Some(record) = full.get_mut(HEAD..HEAD + len + TAG) else { return Ok(false) };
        let nonce = self.theirs.nonce()?;
        self.theirs.key.open_in_place(nonce, Aad::from(head), record).map_err(|_| not_authentic())?;
        let start = self.full.start + HEAD;
        self.open = start..start + len;
        self.full.start = start + len + TAG;
        Ok(true)
    }
}
