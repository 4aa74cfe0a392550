//! Records of a sealed connection: each direction has a key of its own, and counts its records.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::mac;

/// The most data of one record, in bytes.
const DATA_MAX: usize = 64 << 10;
const TAG: usize = 16;
const HEAD: usize = 4;
/// Records of one direction under one key. Full ones have 2^12 blocks: 2^34 of them, half of what RFC 8446 section 5.5 allows
/// a key of AES-GCM.
const KEY_RECORDS: u64 = 1 << 22;
const KEY: &[u8] = b"key";
const NEXT: &[u8] = b"next";

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
    /// A record was not authentic: nothing behind it is, whoever asks again.
    broken: bool,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

struct Direction {
    /// The secret of the keys from now on.
    secret: hmac::Key,
    key: LessSafeKey,
    records: u64,
}

fn key(secret: &hmac::Key) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &mac(secret, KEY)).expect("a key of 32 bytes"))
}

fn secret(bytes: [u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &bytes)
}

impl Direction {
    fn new(bytes: [u8; 32]) -> Self {
        let secret = secret(bytes);
        Direction { key: key(&secret), secret, records: 0 }
    }

    /// The number of the next record, which is used once, as the key is this connection's. The key is another one after so many.
    fn nonce(&mut self) -> Nonce {
        if self.records > 0 && self.records.is_multiple_of(KEY_RECORDS) {
            self.secret = secret(mac(&self.secret, NEXT));
            self.key = key(&self.secret);
        }
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&self.records.to_le_bytes());
        // At a million a second, for half a million years.
        self.records += 1;
        Nonce::assume_unique_for_key(bytes)
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
            broken: false,
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
        let nonce = self.ours.nonce();
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
            if self.broken {
                return Poll::Ready(Err(not_authentic()));
            }
            let opened = self.open_next();
            self.broken = opened.is_err();
            if opened? {
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
        let nonce = self.theirs.nonce();
        self.theirs.key.open_in_place(nonce, Aad::from(head), record).map_err(|_| not_authentic())?;
        let start = self.full.start + HEAD;
        self.open = start..start + len;
        self.full.start = start + len + TAG;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one side sends of `data`, when it has sent `records` records.
    fn sealed(records: u64, data: &[u8]) -> Vec<u8> {
        let mut seal = Seal::new([1; 32], [2; 32]);
        seal.ours.records = records;
        let (mut out, mut cx) = (Vec::new(), Context::from_waker(std::task::Waker::noop()));
        assert!(seal.poll_write(&mut out, &mut cx, &[IoSlice::new(data)]).is_ready());
        out
    }

    /// The same, opened under a key by its number, as `docs/format.md` draws it.
    fn opened(record: &[u8], number: u64, key: u32) -> Option<Vec<u8>> {
        let hmac = |key: &[u8], what: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), what);
        let secret = (0..key).fold(vec![1; 32], |secret, _| hmac(&secret, b"next").as_ref().to_vec());
        let key = UnboundKey::new(&AES_256_GCM, hmac(&secret, b"key").as_ref()).unwrap();
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_le_bytes());
        let (head, body) = record.split_first_chunk::<HEAD>().unwrap();
        let (nonce, mut body) = (Nonce::assume_unique_for_key(nonce), body.to_vec());
        LessSafeKey::new(key).open_in_place(nonce, Aad::from(*head), &mut body).ok().map(|data| data.to_vec())
    }

    #[test]
    fn no_key_seals_more_records_than_it_may() {
        let last = KEY_RECORDS - 1;
        for (number, key) in [(0, 0), (1, 0), (last, 0), (KEY_RECORDS, 1)] {
            let record = sealed(number, b"data");
            assert_eq!(opened(&record, number, key).as_deref(), Some(&b"data"[..]), "record {number}");
            assert_eq!(opened(&record, number, 1 - key), None, "record {number}");
        }
        assert!((last * DATA_MAX as u64 / 16) < 1 << 34);
    }

    /// A record that was left out takes its number with it when the next one is refused, and zeros take the place of that one's
    /// data: to ask again would open it, where its data are zeros when they are sealed.
    #[test]
    fn what_follows_a_record_that_was_left_out_is_never_read() {
        let key_stream = sealed(1, &[0])[HEAD];
        let mut second = &sealed(1, &[key_stream])[..];
        assert_eq!(second[HEAD], 0);
        let (mut theirs, mut cx) =
            (Seal::new([2; 32], [1; 32]), Context::from_waker(std::task::Waker::noop()));
        let mut space = [0; 9];
        for _ in 0..3 {
            let mut buf = ReadBuf::new(&mut space);
            let read = theirs.poll_read(&mut second, &mut cx, &mut buf);
            assert!(matches!(read, Poll::Ready(Err(_))) && buf.filled().is_empty(), "{read:?}");
        }
    }

    #[tokio::test]
    async fn both_sides_change_the_key_with_the_same_record() {
        let (mut ours, mut theirs) = (Seal::new([1; 32], [2; 32]), Seal::new([2; 32], [1; 32]));
        (ours.ours.records, theirs.theirs.records) = (2 * KEY_RECORDS - 2, 2 * KEY_RECORDS - 2);
        let (mut near, mut far) = tokio::io::duplex(1 << 12);
        for n in 0..4 {
            let data = [n; 7];
            let sent = std::future::poll_fn(|cx| ours.poll_write(&mut near, cx, &[IoSlice::new(&data)]));
            assert_eq!(sent.await.unwrap(), data.len());
            let (mut got, mut taken) = ([0; 7], 0);
            while taken < got.len() {
                let mut buf = ReadBuf::new(&mut got[taken..]);
                std::future::poll_fn(|cx| theirs.poll_read(&mut far, cx, &mut buf)).await.unwrap();
                taken += buf.filled().len();
            }
            assert_eq!(got, data);
        }
    }
}
