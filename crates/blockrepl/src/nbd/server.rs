//! Connections on tokio.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::handshake::{ExportInfo, Negotiation, Session, Step, TlsPolicy};
use super::proto::{STRING_MAX, flag};
use super::reply::{self, Errno, Style};
use super::request::{Command, Decoder, Request};
use super::{Limits, NbdError};
use crate::device::{BlockDevice, DeviceError};
use crate::pool::{Buffer, Pool};
use crate::zeros::Zeros;

/// Ranges of zeros that one answer tells of. What lies behind them counts as data.
const EXTENTS: usize = 1024;
/// Replies are put into one write up to this many bytes.
const BATCH: usize = 256 << 10;
/// Data of a reply from this length on goes to the stream from where it lies.
const LONG: usize = 32 << 10;
/// Reads up to this length are answered by the connection's task when they need not wait for the disk.
const AT_ONCE: u32 = 1 << 20;

/// What a client's `TRIM` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Trim {
    /// Nothing: it is a hint.
    #[default]
    Ignore,
    /// The range becomes zeros on all replicas, at the price of a small write: a resync sends it as nothing. Its blocks stay allocated (R11)
    /// on those without [`Config::free_discarded`](crate::Config::free_discarded).
    Zero,
}

/// A device under a name.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name, at most 4096 bytes of UTF-8.
    pub name: String,
    /// A description for people; may be empty; at most 4096 bytes.
    pub description: String,
    /// What is exported. It is held until the last connection and the server have gone.
    pub device: Arc<dyn BlockDevice>,
    /// Refuse writes. Default false.
    pub read_only: bool,
    /// Answer a write only when it is durable on every in-sync replica, as if each carried `FUA`: for clients that
    /// reconnect by themselves after a failover. Default false.
    pub write_through: bool,
    /// What a `TRIM` does.
    pub trim: Trim,
}

impl Export {
    /// A writable export with the defaults.
    pub fn new(name: &str, device: Arc<dyn BlockDevice>) -> Self {
        Export {
            name: name.into(),
            description: String::new(),
            device,
            read_only: false,
            write_through: false,
            trim: Trim::Ignore,
        }
    }

    fn info(&self) -> ExportInfo {
        ExportInfo {
            name: self.name.clone(),
            description: self.description.clone(),
            size: self.device.size(),
            read_only: self.read_only,
        }
    }
}

/// The exports or limits make no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportsError {
    /// A client could not tell them apart.
    #[error("two exports have the name {0:?}")]
    SameName(String),
    /// The protocol has no room for it.
    #[error("the name or description of an export has {0} bytes; the protocol's limit is {STRING_MAX}")]
    TooLong(usize),
    /// See [`Limits`].
    #[error("the limits contradict each other: {0}")]
    Limits(&'static str),
}

/// Why a connection ended, other than by the client's wish. The device is unharmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The client broke the protocol or a limit.
    #[error(transparent)]
    Client(#[from] NbdError),
    /// The negotiation took longer than [`Limits::handshake`].
    #[error("the client did not finish the negotiation in time")]
    Timeout,
    /// As many clients as [`Limits::connections`] are served already.
    #[error("too many connections")]
    Full,
}

/// Serves exports to any number of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    exports: Vec<Export>,
    limits: Limits,
    connections: Arc<Semaphore>,
    pool: Arc<Pool>,
}

impl Server {
    /// A server with the default limits. A client that asks for no name gets the first export.
    pub fn new(exports: Vec<Export>) -> Result<Self, ExportsError> {
        Self::with_limits(exports, Limits::default())
    }

    /// A server with these limits.
    pub fn with_limits(exports: Vec<Export>, limits: Limits) -> Result<Self, ExportsError> {
        check(&exports, &limits)?;
        let connections = Arc::new(Semaphore::new(limits.connections));
        Ok(Server { shared: Arc::new(Shared { exports, limits, connections, pool: Arc::default() }) })
    }

    /// Serves one connection until the client leaves (`Ok`) or it ends otherwise. Requests under way when
    /// the future is dropped are still done, and answered to nobody.
    pub async fn serve<IO>(&self, mut io: IO) -> Result<(), Ended>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let _place = self.place()?;
        let mut negotiation = self.negotiation(TlsPolicy::Off);
        let mut input = BytesMut::new();
        let step = self.in_time(negotiate(&mut io, &mut negotiation, &mut input, true)).await?;
        self.transmit(io, step, input).await
    }

    /// As [`serve`](Self::serve), for a client that may (with `required`: must) ask for TLS: `upgrade` then runs
    /// the handshake of a TLS server on the stream.
    pub async fn serve_tls<IO, TLS, F>(
        &self,
        mut io: IO,
        required: bool,
        upgrade: impl FnOnce(IO) -> F,
    ) -> Result<(), Ended>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin,
        TLS: AsyncRead + AsyncWrite + Send + Unpin,
        F: Future<Output = std::io::Result<TLS>>,
    {
        let _place = self.place()?;
        let tls = if required { TlsPolicy::Required } else { TlsPolicy::Offered };
        let mut negotiation = self.negotiation(tls);
        let mut input = BytesMut::new();
        let step = self.in_time(negotiate(&mut io, &mut negotiation, &mut input, true)).await?;
        if step != Step::StartTls {
            return self.transmit(io, step, input).await;
        }
        let secured = async {
            let mut io = upgrade(io).await?;
            let step = negotiate(&mut io, &mut negotiation, &mut input, false).await?;
            Ok((io, step))
        };
        let (io, step) = self.in_time(secured).await?;
        self.transmit(io, step, input).await
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Ended> {
        self.shared.connections.clone().try_acquire_owned().map_err(|_| Ended::Full)
    }

    fn negotiation(&self, tls: TlsPolicy) -> Negotiation {
        let exports = self.shared.exports.iter().map(Export::info).collect();
        Negotiation::new(exports, self.shared.limits.clone(), tls)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
        tokio::time::timeout(self.shared.limits.handshake, work).await.map_err(|_| Ended::Timeout)?
    }

    async fn transmit<IO>(&self, io: IO, step: Step, input: BytesMut) -> Result<(), Ended>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let Step::Start(session) = step else { return Ok(()) };
        let export = self.shared.exports[session.export].clone();
        let limits = &self.shared.limits;
        let pool = self.shared.pool.clone();
        let connection = Arc::new(Connection { export, session, payload: limits.payload, pool });
        let room = Room {
            requests: Arc::new(Semaphore::new(limits.requests)),
            bytes: Arc::new(Semaphore::new(limits.in_flight as usize)),
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        let (read, write) = tokio::io::split(io);
        let reading = read_loop(connection, read, Decoder::new(input, limits.payload), room, sender);
        let mut reading = std::pin::pin!(reading);
        let mut writing = std::pin::pin!(write_loop(write, receiver));
        let ended = tokio::select! {
            // Who left in good order gets every answer. For the others a flush that waits for a grant
            // must not keep the connection's place.
            ended = &mut reading => {
                ended?;
                writing.await.map_err(Ended::Io)
            }
            // It ends before the reader only when it cannot send.
            sent = &mut writing => sent.map_err(Ended::Io),
        };
        // Who goes on finds new ones.
        self.shared.pool.clear();
        ended
    }
}

fn check(exports: &[Export], limits: &Limits) -> Result<(), ExportsError> {
    for (i, export) in exports.iter().enumerate() {
        if let Some(long) = [&export.name, &export.description].into_iter().find(|s| s.len() > STRING_MAX) {
            return Err(ExportsError::TooLong(long.len()));
        }
        if exports[..i].iter().any(|e| e.name == export.name) {
            return Err(ExportsError::SameName(export.name.clone()));
        }
    }
    let wrong = match limits {
        l if l.payload > 1 << 30 => "a payload has at most 1 GiB",
        l if l.in_flight < l.payload => "in_flight is less than payload",
        l if l.in_flight > 1 << 31 => "in_flight is more than 2 GiB",
        l if l.payload < 4096 || l.requests == 0 || l.options == 0 => "too small to serve anybody",
        l if l.requests > 1 << 20 || l.connections > 1 << 20 => "more than a million requests or connections",
        _ => return Ok(()),
    };
    Err(ExportsError::Limits(wrong))
}

async fn negotiate<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    negotiation: &mut Negotiation,
    input: &mut BytesMut,
    greet: bool,
) -> Result<Step, Ended> {
    let mut out = BytesMut::new();
    if greet {
        negotiation.greet(&mut out);
    }
    loop {
        let step = negotiation.handle(input, &mut out);
        io.write_all(&out).await?;
        io.flush().await?;
        out.clear();
        match step? {
            Step::More => {}
            step => return Ok(step),
        }
        if io.read_buf(input).await? == 0 {
            return Err(Ended::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

struct Connection {
    export: Export,
    session: Session,
    payload: u32,
    pool: Arc<Pool>,
}

/// What one connection may have under way.
struct Room {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A place for one request; its holder is at work.
struct Place {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Room {
    async fn enter(&self, request: &Request) -> Place {
        let bytes = match request.command {
            Command::Read | Command::Write => request.len,
            _ => 0,
        };
        // Neither semaphore is ever closed, and no request is longer than `in_flight`.
        let request = self.requests.clone().acquire_owned().await.expect("never closed");
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await.expect("never closed");
        Place { _request: request, _bytes: bytes }
    }
}

/// A reply on its way, with the place that its request takes.
struct Answer {
    head: BytesMut,
    data: Option<Buffer>,
    _place: Place,
}

impl Answer {
    fn data(&self) -> &[u8] {
        self.data.as_ref().map_or(&[], AsRef::as_ref)
    }
}

/// What the writing half is to see to, in turn.
enum Reply {
    Done(Answer),
    /// A read that is done when its turn comes, if it need not wait for the disk: then its data is still in the processor's cache
    /// when it is sent, and a client that does not take it holds up the next one.
    Read(Work),
}

/// A request that the device is to be asked for.
struct Work {
    connection: Arc<Connection>,
    request: Request,
    place: Place,
    answers: mpsc::UnboundedSender<Reply>,
}

impl Work {
    /// Asks the device on a thread of the blocking pool.
    fn begin(self, refused: Option<Refused>) {
        let work = move || {
            let (head, data) = self.connection.answer(&self.request, refused);
            // The client may have gone.
            drop(self.answers.send(Reply::Done(Answer { head, data, _place: self.place })));
        };
        drop(tokio::task::spawn_blocking(work));
    }
}

impl Reply {
    fn answer(self) -> Option<Answer> {
        match self {
            Reply::Done(answer) => Some(answer),
            Reply::Read(work) => match work.connection.read_at_once(&work.request) {
                Some((head, data)) => Some(Answer { head, data: Some(data), _place: work.place }),
                None => {
                    work.begin(None);
                    None
                }
            },
        }
    }
}

async fn read_loop<IO: AsyncRead>(
    connection: Arc<Connection>,
    mut io: ReadHalf<IO>,
    mut decoder: Decoder,
    room: Room,
    answers: mpsc::UnboundedSender<Reply>,
) -> Result<(), Ended> {
    loop {
        while let Some(mut request) = decoder.next()? {
            if request.command == Command::Disconnect {
                return Ok(());
            }
            let refused = connection.refuse(&request);
            if refused.is_some() {
                // It was looked at and will not be done: nothing of it is held.
                request.len = 0;
                request.data = Bytes::new();
            }
            let place = room.enter(&request).await;
            let at_once = refused.is_none() && request.command == Command::Read && request.len <= AT_ONCE;
            let work = Work { connection: connection.clone(), request, place, answers: answers.clone() };
            if at_once {
                // The client may have gone.
                drop(answers.send(Reply::Read(work)));
            } else {
                work.begin(refused);
            }
        }
        decoder.buffer().reserve(64 << 10);
        if io.read_buf(decoder.buffer()).await? == 0 {
            return Err(Ended::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

async fn write_loop<IO: AsyncWrite>(
    mut io: WriteHalf<IO>,
    mut replies: mpsc::UnboundedReceiver<Reply>,
) -> std::io::Result<()> {
    let mut out = BytesMut::new();
    // Their places are free only when they are sent.
    let mut sending = Vec::new();
    while let Some(first) = replies.recv().await {
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(reply) = next {
            if let Some(answer) = reply.answer() {
                out.extend_from_slice(&answer.head);
                bytes += answer.data().len();
                if answer.data().len() < LONG {
                    out.extend_from_slice(answer.data());
                    sending.push(answer);
                } else {
                    write_both(&mut io, &out, answer.data()).await?;
                    out.clear();
                    sending.clear();
                }
            }
            next = if bytes < BATCH { replies.try_recv().ok() } else { None };
        }
        io.write_all(&out).await?;
        out.clear();
        sending.clear();
        io.flush().await?;
    }
    Ok(())
}

async fn write_both<IO: AsyncWrite>(
    io: &mut WriteHalf<IO>,
    mut head: &[u8],
    mut data: &[u8],
) -> std::io::Result<()> {
    while !head.is_empty() || !data.is_empty() {
        let written = io.write_vectored(&[IoSlice::new(head), IoSlice::new(data)]).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        let from_head = written.min(head.len());
        head = &head[from_head..];
        data = &data[written - from_head..];
    }
    Ok(())
}

/// Why a request is not done, in the protocol's words and in ours.
type Refused = (Errno, String);

impl Connection {
    /// What can be said before the device is asked.
    fn refuse(&self, request: &Request) -> Option<Refused> {
        let no = |errno, why: &str| Some((errno, why.to_owned()));
        let writes = matches!(request.command, Command::Write | Command::Trim | Command::WriteZeroes);
        let past_end =
            request.offset.checked_add(request.len.into()).is_none_or(|end| end > self.export.device.size());
        match request.command {
            _ if request.flags & !self.known_flags(request.command) != 0 => {
                no(Errno::Inval, "a flag that this command does not have here")
            }
            Command::Unknown(number) => Some((Errno::Inval, format!("command {number} is not spoken here"))),
            _ if writes && self.export.read_only => no(Errno::Perm, "the export is read-only"),
            Command::Flush | Command::Disconnect => None,
            Command::Write | Command::WriteZeroes if past_end => {
                no(Errno::NoSpace, "over the end of the device")
            }
            _ if past_end => no(Errno::Inval, "over the end of the device"),
            Command::WriteZeroes if request.flags & flag::FAST_ZERO != 0 => {
                no(Errno::NotSup, "zeros are as slow as data here")
            }
            Command::Read if request.len > self.payload => {
                Some((Errno::Overflow, format!("a read has at most {} bytes here", self.payload)))
            }
            Command::BlockStatus if self.session.allocation.is_none() || request.len == 0 => {
                no(Errno::Inval, "no metadata context was negotiated, or an empty range")
            }
            _ => None,
        }
    }

    fn known_flags(&self, command: Command) -> u16 {
        match command {
            Command::Read if self.session.style == Style::Structured => flag::FUA | flag::DF,
            Command::WriteZeroes => flag::FUA | flag::NO_HOLE | flag::FAST_ZERO,
            Command::BlockStatus => flag::FUA | flag::REQ_ONE,
            // Where nothing is written, FUA has no meaning and does no harm.
            _ => flag::FUA,
        }
    }

    /// The answer to a read that need not wait for the disk.
    fn read_at_once(&self, request: &Request) -> Option<(BytesMut, Buffer)> {
        if request.len == 0 {
            return None;
        }
        let mut data = self.pool.take(request.len as usize);
        self.export.device.read_cached(request.offset, data.as_mut()).then(|| (self.data_head(request), data))
    }

    fn data_head(&self, request: &Request) -> BytesMut {
        let mut head = BytesMut::with_capacity(64);
        reply::data_head(&mut head, self.session.style, request.cookie, request.offset, request.len);
        head
    }

    fn answer(&self, request: &Request, refused: Option<Refused>) -> (BytesMut, Option<Buffer>) {
        let mut head = BytesMut::with_capacity(64);
        let (style, cookie) = (self.session.style, request.cookie);
        match refused.map_or_else(|| self.perform(request), Err) {
            Err((errno, why)) => reply::error(&mut head, style, cookie, errno, &why),
            Ok(data) if request.command == Command::Read => return (self.data_head(request), data),
            Ok(_) => match (request.command, self.session.allocation) {
                (Command::BlockStatus, Some(id)) => self.status(&mut head, id, request),
                _ => reply::ok(&mut head, style, cookie),
            },
        }
        (head, None)
    }

    fn perform(&self, request: &Request) -> Result<Option<Buffer>, Refused> {
        let device = &*self.export.device;
        let mut data = None;
        let done = match request.command {
            Command::Read => {
                let buffer = data.insert(self.pool.take(request.len as usize));
                device.read_at(request.offset, buffer.as_mut())
            }
            Command::Write => device.write_bytes(request.offset, request.data.clone()),
            Command::WriteZeroes if request.flags & flag::NO_HOLE != 0 => zero(device, request, Zeros::Kept),
            Command::WriteZeroes => zero(device, request, Zeros::Free),
            Command::Trim if self.export.trim == Trim::Zero => zero(device, request, Zeros::Free),
            Command::Flush => device.flush(),
            Command::Trim | Command::BlockStatus | Command::Disconnect | Command::Unknown(_) => Ok(()),
        };
        done.and_then(|()| if self.must_flush(request) { device.flush() } else { Ok(()) })
            .map_err(refusal)?;
        Ok(data)
    }

    fn status(&self, head: &mut BytesMut, context: u32, request: &Request) {
        let device = &self.export.device;
        let range = request.offset..request.offset + u64::from(request.len);
        let one = request.flags & flag::REQ_ONE != 0;
        let zeros = device.zeros_in(range.clone(), if one { 1 } else { EXTENTS });
        let mut extents = extents(range, &zeros);
        if one {
            extents.truncate(1);
        }
        reply::block_status(head, request.cookie, context, &extents, device.frees_discarded());
    }

    fn must_flush(&self, request: &Request) -> bool {
        let writes = matches!(request.command, Command::Write | Command::Trim | Command::WriteZeroes);
        writes && (self.export.write_through || request.flags & flag::FUA != 0)
    }
}

fn zero(device: &dyn BlockDevice, request: &Request, zeros: Zeros) -> Result<(), DeviceError> {
    let (mut at, end) = (request.offset, request.offset + u64::from(request.len));
    while at < end {
        let n = (end - at).min(Zeros::MAX as u64);
        device.write_bytes(at, zeros.bytes(n as usize))?;
        at += n;
    }
    Ok(())
}

/// A range as extents of data and of zeros: `(length, whether it is zeros)`.
fn extents(range: Range<u64>, zeros: &[Range<u64>]) -> Vec<(u32, bool)> {
    let (mut at, mut extents) = (range.start, Vec::new());
    for zeros in zeros {
        extents.push(((zeros.start - at) as u32, false));
        extents.push(((zeros.end - zeros.start) as u32, true));
        at = zeros.end;
    }
    extents.push(((range.end - at) as u32, false));
    extents.retain(|(len, _)| *len > 0);
    extents
}

fn refusal(why: DeviceError) -> Refused {
    let errno = match &why {
        DeviceError::Fenced { .. } => Errno::Shutdown,
        DeviceError::OutOfRange { .. } => Errno::Inval,
        _ => Errno::Io,
    };
    (errno, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_cover_a_range_without_gaps() {
        assert_eq!(extents(10..30, &[]), [(20, false)]);
        assert_eq!(extents(10..30, std::slice::from_ref(&(10..30))), [(20, true)]);
        let several = [12..15, 16..20, 25..30];
        let expected = [(2, false), (3, true), (1, false), (4, true), (5, false), (5, true)];
        assert_eq!(extents(10..30, &several), expected);
    }
}
