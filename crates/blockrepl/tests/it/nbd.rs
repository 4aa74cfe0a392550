//! The NBD server: laws of its codec, and its behaviour towards a client on an in-memory stream.
//! Real clients are met in `.ci/checks/nbd`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use posthaste_blockrepl::nbd::proto::{self, chunk, cmd, export, flag, info, option, rep};
use posthaste_blockrepl::nbd::{
    Command, Decoder, Ended, Export, ExportInfo, ExportsError, Limits, NbdError, Negotiation, Request,
    Server, Session, Step, TlsPolicy, Trim, reply::Style,
};
use posthaste_blockrepl::{BlockDevice, DeviceError};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

const SIZE: u64 = 1 << 20;

// ---- the codec ----

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(proto::OPTION_MAGIC);
    out.put_u32(number);
    out.put_u32(data.len() as u32);
    out.put_slice(data);
    out
}

fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
    out
}

fn go(name: &str, wanted: &[u16]) -> Vec<u8> {
    let mut data = string(name);
    data.put_u16(wanted.len() as u16);
    wanted.iter().for_each(|w| data.put_u16(*w));
    data
}

fn contexts(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = string(name);
    data.put_u32(queries.len() as u32);
    queries.iter().for_each(|q| data.extend(string(q)));
    data
}

fn export_info(name: &str) -> ExportInfo {
    ExportInfo { name: name.into(), description: "a test".into(), size: SIZE, read_only: false }
}

fn negotiation(tls: TlsPolicy) -> Negotiation {
    Negotiation::new(vec![export_info("one"), export_info("two")], Limits::default(), tls)
}

const FLAGS: [u8; 4] = [0, 0, 0, 3];

/// An answer: option, kind, data.
type Answer = (u32, u32, Vec<u8>);

/// What the options are answered, and the last step.
fn answers(mut n: Negotiation, options: &[Vec<u8>]) -> (Vec<Answer>, Result<Step, NbdError>) {
    let mut input = BytesMut::from(&FLAGS[..]);
    options.iter().for_each(|o| input.extend_from_slice(o));
    let mut out = BytesMut::new();
    let step = n.handle(&mut input, &mut out);
    let mut answers = Vec::new();
    while !out.is_empty() {
        assert_eq!(out.get_u64(), proto::OPTION_REPLY_MAGIC);
        let (number, kind, len) = (out.get_u32(), out.get_u32(), out.get_u32() as usize);
        answers.push((number, kind, out.split_to(len).to_vec()));
    }
    (answers, step)
}

fn kinds(answers: &[Answer]) -> Vec<u32> {
    answers.iter().map(|a| a.1).collect()
}

#[test]
fn go_tells_size_flags_and_block_sizes_and_an_unknown_name_is_refused() {
    let wanted = [info::NAME, info::DESCRIPTION, info::BLOCK_SIZE];
    let options = [option(option::GO, &go("three", &[])), option(option::GO, &go("two", &wanted))];
    let (got, step) = answers(negotiation(TlsPolicy::Off), &options);
    assert_eq!(kinds(&got), [rep::ERR_UNKNOWN, rep::INFO, rep::INFO, rep::INFO, rep::INFO, rep::ACK]);
    let mut info = &got[1].2[..];
    assert_eq!((info.get_u16(), info.get_u64()), (info::EXPORT, SIZE));
    let flags = info.get_u16();
    assert_eq!(flags & export::CAN_MULTI_CONN, export::CAN_MULTI_CONN);
    assert_eq!(flags & export::SEND_DF, 0, "no structured replies were asked for");
    assert_eq!(got[2].2, [0, 3, 0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0]);
    assert_eq!(got[3].2, b"\0\x01two");
    assert_eq!(got[4].2, b"\0\x02a test");
    assert_eq!(step, Ok(Step::Start(Session { export: 1, style: Style::Simple, allocation: None })));
}

#[test]
fn info_lists_contexts_and_structured_replies_are_negotiated_in_order() {
    let options = [
        option(option::SET_META_CONTEXT, &contexts("two", &["base:allocation"])),
        option(option::STRUCTURED_REPLY, b""),
        option(option::LIST, b""),
        option(option::LIST_META_CONTEXT, &contexts("", &[])),
        option(option::SET_META_CONTEXT, &contexts("two", &["qemu:dirty-bitmap:x", "base:allocation"])),
        option(99, b"what"),
        option(option::INFO, &go("one", &[])),
        option(option::GO, &go("two", &[])),
    ];
    let (got, step) = answers(negotiation(TlsPolicy::Off), &options);
    let expected = [
        rep::ERR_INVALID,
        rep::ACK,
        rep::SERVER,
        rep::SERVER,
        rep::ACK,
        rep::META_CONTEXT,
        rep::ACK,
        rep::META_CONTEXT,
        rep::ACK,
        rep::ERR_UNSUP,
        rep::INFO,
        rep::INFO,
        rep::ACK,
        rep::INFO,
        rep::INFO,
        rep::ACK,
    ];
    assert_eq!(kinds(&got), expected);
    assert_eq!(got[2].2, b"\0\0\0\x03onea test");
    let session = Session { export: 1, style: Style::Structured, allocation: Some(1) };
    assert_eq!(step, Ok(Step::Start(session)));

    // A context belongs to the export it was set for.
    let options = [
        option(option::STRUCTURED_REPLY, b""),
        option(option::SET_META_CONTEXT, &contexts("two", &["base:allocation"])),
        option(option::GO, &go("", &[])),
    ];
    let (_, step) = answers(negotiation(TlsPolicy::Off), &options);
    let session = Session { export: 0, style: Style::Structured, allocation: None };
    assert_eq!(step, Ok(Step::Start(session)));
}

#[test]
fn tls_is_refused_by_policy_or_required_first_and_nothing_may_hide_behind_it() {
    let start = option(option::STARTTLS, b"");
    let (got, step) = answers(negotiation(TlsPolicy::Off), std::slice::from_ref(&start));
    assert_eq!((kinds(&got), step), (vec![rep::ERR_POLICY], Ok(Step::More)));

    let options = [option(option::LIST, b""), option(option::GO, &go("one", &[])), start.clone()];
    let (got, step) = answers(negotiation(TlsPolicy::Required), &options);
    assert_eq!(kinds(&got), [rep::ERR_TLS_REQD, rep::ERR_TLS_REQD, rep::ACK]);
    assert_eq!(step, Ok(Step::StartTls));
    let named = [option(option::EXPORT_NAME, b"one")];
    assert_eq!(answers(negotiation(TlsPolicy::Required), &named).1, Err(NbdError::TlsRequired));

    let injected = [start, option(option::GO, &go("one", &[]))];
    assert_eq!(answers(negotiation(TlsPolicy::Offered), &injected).1, Err(NbdError::ClearAfterStartTls));
}

#[test]
fn hostile_lengths_and_foreign_bytes_are_refused_before_they_are_awaited() {
    let head = |number: u32, len: u32| {
        let mut out = option(number, b"");
        out[12..16].copy_from_slice(&len.to_be_bytes());
        out
    };
    let (got, step) = answers(negotiation(TlsPolicy::Off), &[head(option::GO, u32::MAX)]);
    assert_eq!(kinds(&got), [rep::ERR_TOO_BIG]);
    assert!(matches!(step, Err(NbdError::OptionTooLong { len: u32::MAX, .. })), "{step:?}");
    let noise = [b"GET / HTTP/1.1\r\n".to_vec()];
    assert!(matches!(answers(negotiation(TlsPolicy::Off), &noise).1, Err(NbdError::OptionMagic(_))));
    let many = vec![option(99, b""); 257];
    assert_eq!(answers(negotiation(TlsPolicy::Off), &many).1, Err(NbdError::TooManyOptions(256)));
    let unknown = [option(option::EXPORT_NAME, b"three")];
    let step = answers(negotiation(TlsPolicy::Off), &unknown).1;
    assert_eq!(step, Err(NbdError::UnknownExport("three".into())));

    // Inner lengths that point outside of the option, and counts without their entries.
    let hostile = [
        option(option::GO, &u32::MAX.to_be_bytes()),
        option(option::GO, &[0, 0, 0, 0, 255, 255]),
        option(option::SET_META_CONTEXT, &[0, 0, 0, 0, 255, 255, 255, 255]),
        option(option::LIST, b"x"),
        option(option::STRUCTURED_REPLY, b"x"),
    ];
    let (got, step) = answers(negotiation(TlsPolicy::Off), &hostile);
    assert_eq!((kinds(&got), step), (vec![rep::ERR_INVALID; 5], Ok(Step::More)));

    let mut bytes = BytesMut::new();
    request(Command::Write, 0, 0, 0, 0).encode(&mut bytes);
    bytes[24..28].copy_from_slice(&5000u32.to_be_bytes());
    let refused = Decoder::new(bytes, 4999).next();
    assert_eq!(refused, Err(NbdError::WriteTooLong { len: 5000, limit: 4999 }));
    let noise = Decoder::new(BytesMut::from(&[7u8; 28][..]), 4999).next();
    assert_eq!(noise, Err(NbdError::RequestMagic(0x0707_0707)));
}

fn request(command: Command, flags: u16, cookie: u64, offset: u64, len: u32) -> Request {
    Request { flags, command, cookie, offset, len, data: Bytes::new() }
}

fn write_request(flags: u16, cookie: u64, offset: u64, data: &[u8]) -> Request {
    let data = Bytes::copy_from_slice(data);
    Request { flags, command: Command::Write, cookie, offset, len: data.len() as u32, data }
}

fn any_request() -> impl Strategy<Value = Request> {
    let data = proptest::collection::vec(any::<u8>(), 0..200);
    (0u16..9, any::<u16>(), any::<u64>(), any::<u64>(), any::<u32>(), data).prop_map(
        |(number, flags, cookie, offset, len, data)| match number {
            cmd::READ => request(Command::Read, flags, cookie, offset, len),
            cmd::WRITE => write_request(flags, cookie, offset, &data),
            cmd::DISC => request(Command::Disconnect, flags, cookie, offset, len),
            cmd::FLUSH => request(Command::Flush, flags, cookie, offset, len),
            cmd::TRIM => request(Command::Trim, flags, cookie, offset, len),
            cmd::WRITE_ZEROES => request(Command::WriteZeroes, flags, cookie, offset, len),
            cmd::BLOCK_STATUS => request(Command::BlockStatus, flags, cookie, offset, len),
            other => request(Command::Unknown(other), flags, cookie, offset, len),
        },
    )
}

fn any_option() -> impl Strategy<Value = Vec<u8>> {
    let data = proptest::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        Just(option(option::STRUCTURED_REPLY, b"")),
        Just(option(option::LIST, b"")),
        Just(option(option::INFO, &go("two", &[1, 2, 3]))),
        Just(option(option::GO, &go("three", &[]))),
        Just(option(option::SET_META_CONTEXT, &contexts("two", &["base:allocation"]))),
        (4u32..14, data).prop_map(|(number, data)| option(number, &data)),
    ]
}

proptest! {
    #[test]
    fn requests_come_out_as_they_went_in_for_any_split(
        requests in proptest::collection::vec(any_request(), 1..8),
        cuts in proptest::collection::vec(1usize..90, 1..40),
    ) {
        let mut bytes = BytesMut::new();
        requests.iter().for_each(|r| r.encode(&mut bytes));
        let (mut decoder, mut seen) = (Decoder::new(BytesMut::new(), 4096), Vec::new());
        for cut in cuts.into_iter().cycle() {
            let piece = bytes.split_to(cut.min(bytes.len()));
            decoder.buffer().extend_from_slice(&piece);
            while let Some(request) = decoder.next().unwrap() {
                seen.push(request);
            }
            if bytes.is_empty() {
                break;
            }
        }
        prop_assert_eq!(seen, requests);
    }

    #[test]
    fn a_negotiation_gives_the_same_answers_for_any_split(
        options in proptest::collection::vec(any_option(), 1..8),
        cuts in proptest::collection::vec(1usize..40, 1..40),
    ) {
        let mut bytes = BytesMut::from(&FLAGS[..]);
        options.iter().for_each(|o| bytes.extend_from_slice(o));
        bytes.extend_from_slice(&option(option::GO, &go("two", &[])));
        let (mut whole, mut out) = (bytes.clone(), BytesMut::new());
        let step = negotiation(TlsPolicy::Off).handle(&mut whole, &mut out);
        let (mut input, mut pieces, mut n) = (BytesMut::new(), BytesMut::new(), negotiation(TlsPolicy::Off));
        for cut in cuts.into_iter().cycle() {
            let piece = bytes.split_to(cut.min(bytes.len()));
            input.extend_from_slice(&piece);
            let got = n.handle(&mut input, &mut pieces);
            if got != Ok(Step::More) || bytes.is_empty() {
                prop_assert_eq!(&got, &step);
                break;
            }
        }
        prop_assert_eq!(pieces, out);
    }

    #[test]
    fn no_bytes_make_the_negotiation_or_the_decoder_panic_or_grow(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        number in 0u32..14,
    ) {
        let mut bytes = FLAGS.to_vec();
        bytes.extend(option(number, &noise));
        bytes.extend(&noise);
        let (mut input, mut out) = (BytesMut::from(&bytes[..]), BytesMut::new());
        drop(negotiation(TlsPolicy::Off).handle(&mut input, &mut out));
        prop_assert!(out.len() < 2000);
        let mut magic = proto::REQUEST_MAGIC.to_be_bytes().to_vec();
        magic.extend(&noise);
        let mut decoder = Decoder::new(BytesMut::from(&magic[..]), 1000);
        while let Ok(Some(_)) = decoder.next() {}
        prop_assert!(decoder.buffer().capacity() < 4096);
    }
}

// ---- the server ----

/// A device in memory that counts its flushes and can be told to fail or to hang.
#[derive(Debug, Default)]
struct Device {
    bytes: Mutex<Vec<u8>>,
    flushes: AtomicU64,
    failure: Mutex<Option<DeviceError>>,
    shut: Mutex<bool>,
    opened: Condvar,
    cached: AtomicBool,
    inside: AtomicU64,
}

impl Device {
    fn new() -> Arc<Self> {
        Arc::new(Device { bytes: Mutex::new(vec![0; SIZE as usize]), ..Device::default() })
    }
    fn check(&self) -> Result<(), DeviceError> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let mut shut = self.shut.lock().unwrap();
        while *shut {
            shut = self.opened.wait(shut).unwrap();
        }
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }
    fn open(&self) {
        *self.shut.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

impl BlockDevice for Device {
    fn size(&self) -> u64 {
        SIZE
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.check()?;
        let at = offset as usize;
        buf.copy_from_slice(&self.bytes.lock().unwrap()[at..at + buf.len()]);
        Ok(())
    }
    fn read_cached(&self, offset: u64, buf: &mut [u8]) -> bool {
        let at = offset as usize;
        let cached = self.cached.load(Ordering::SeqCst);
        if cached {
            buf.copy_from_slice(&self.bytes.lock().unwrap()[at..at + buf.len()]);
        }
        cached
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.check()?;
        let at = offset as usize;
        self.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
    fn flush(&self) -> Result<(), DeviceError> {
        self.check()?;
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn epoch(&self) -> u64 {
        1
    }
}

type Serving = JoinHandle<Result<(), Ended>>;

/// A client past the negotiation of `name`.
struct Client {
    io: DuplexStream,
    structured: bool,
}

/// A reply: errno, words, data.
type Got = Result<Vec<u8>, (u32, String)>;

async fn connect(server: &Server, name: &str, structured: bool) -> (Client, Serving) {
    let (mut io, theirs) = tokio::io::duplex(1 << 16);
    let server = server.clone();
    let serving = tokio::spawn(async move { server.serve(theirs).await });
    io.write_all(&FLAGS).await.unwrap();
    if structured {
        io.write_all(&option(option::STRUCTURED_REPLY, b"")).await.unwrap();
    }
    io.write_all(&option(option::EXPORT_NAME, name.as_bytes())).await.unwrap();
    let mut greeting = vec![0; 18 + if structured { 20 } else { 0 } + 10];
    io.read_exact(&mut greeting).await.unwrap();
    (Client { io, structured }, serving)
}

impl Client {
    async fn send(&mut self, request: &Request) {
        let mut out = BytesMut::new();
        request.encode(&mut out);
        self.io.write_all(&out).await.unwrap();
    }

    /// The next reply, and whose it is; `read` bytes of data follow a simple one that went well.
    async fn reply(&mut self, read: usize) -> (u64, Got) {
        if !self.structured {
            assert_eq!(self.io.read_u32().await.unwrap(), proto::SIMPLE_REPLY_MAGIC);
            let (errno, cookie) = (self.io.read_u32().await.unwrap(), self.io.read_u64().await.unwrap());
            let mut data = vec![0; if errno == 0 { read } else { 0 }];
            self.io.read_exact(&mut data).await.unwrap();
            return (cookie, if errno == 0 { Ok(data) } else { Err((errno, String::new())) });
        }
        assert_eq!(self.io.read_u32().await.unwrap(), proto::STRUCTURED_REPLY_MAGIC);
        assert_eq!(self.io.read_u16().await.unwrap(), chunk::DONE);
        let (kind, cookie) = (self.io.read_u16().await.unwrap(), self.io.read_u64().await.unwrap());
        let mut data = vec![0; self.io.read_u32().await.unwrap() as usize];
        self.io.read_exact(&mut data).await.unwrap();
        let mut rest = &data[..];
        let got = match kind {
            chunk::ERROR => {
                let (errno, len) = (rest.get_u32(), rest.get_u16());
                assert_eq!(rest.len(), usize::from(len));
                Err((errno, String::from_utf8(rest.to_vec()).unwrap()))
            }
            chunk::OFFSET_DATA => Ok(rest[8..].to_vec()),
            _ => Ok(rest.to_vec()),
        };
        (cookie, got)
    }

    async fn call(&mut self, request: &Request) -> Got {
        self.send(request).await;
        let read = if request.command == Command::Read { request.len as usize } else { 0 };
        let (cookie, got) = self.reply(read).await;
        assert_eq!(cookie, request.cookie);
        got
    }

    async fn errno(&mut self, request: &Request) -> u32 {
        self.call(request).await.expect_err("it is refused").0
    }
}

fn serve(export: Export) -> Server {
    Server::new(vec![export]).unwrap()
}

#[tokio::test]
async fn both_styles_of_reply_carry_what_was_written_and_leave_in_good_order() {
    for structured in [false, true] {
        let device = Device::new();
        let (mut client, serving) = connect(&serve(Export::new("x", device)), "x", structured).await;
        assert_eq!(client.call(&write_request(0, 1, 1000, b"some bytes")).await, Ok(vec![]));
        let read = request(Command::Read, if structured { flag::DF } else { 0 }, 2, 998, 14);
        assert_eq!(client.call(&read).await, Ok(b"\0\0some bytes\0\0".to_vec()));
        assert_eq!(client.call(&request(Command::WriteZeroes, flag::NO_HOLE, 3, 1001, 3)).await, Ok(vec![]));
        assert_eq!(client.call(&request(Command::Read, 0, 4, 1000, 5)).await, Ok(b"s\0\0\0 ".to_vec()));
        assert_eq!(client.call(&request(Command::Read, 0, 5, SIZE, 0)).await, Ok(vec![]));
        client.send(&request(Command::Disconnect, 0, 6, 0, 0)).await;
        serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn requests_that_cannot_be_done_are_refused_and_the_session_goes_on() {
    let device = Device::new();
    let mut read_only = Export::new("ro", device.clone());
    read_only.read_only = true;
    let server = Server::new(vec![Export::new("rw", device.clone()), read_only]).unwrap();
    let (mut client, _serving) = connect(&server, "rw", true).await;
    let cases = [
        (write_request(0, 1, SIZE - 1, b"ab"), 28),
        (write_request(0, 1, u64::MAX, b"ab"), 28),
        (request(Command::WriteZeroes, 0, 2, 1, u32::MAX), 28),
        (request(Command::WriteZeroes, flag::FAST_ZERO, 3, 0, 4096), 95),
        (request(Command::Read, 0, 4, SIZE - 1, 2), 22),
        (request(Command::Trim, 0, 5, SIZE, 1), 22),
        (request(Command::BlockStatus, 0, 6, 0, 4096), 22),
        (request(Command::Read, flag::REQ_ONE, 7, 0, 1), 22),
        (request(Command::Unknown(5), 0, 8, 0, 1), 22),
    ];
    for (request, errno) in cases {
        assert_eq!(client.errno(&request).await, errno, "{request:?}");
    }
    client.call(&write_request(0, 9, 0, b"x")).await.unwrap();

    let (mut client, _serving) = connect(&server, "ro", false).await;
    assert_eq!(client.errno(&write_request(0, 1, 0, b"y")).await, 1);
    assert_eq!(client.errno(&request(Command::WriteZeroes, 0, 2, 0, 1)).await, 1);
    assert_eq!(client.call(&request(Command::Read, 0, 3, 0, 1)).await, Ok(b"x".to_vec()));
}

#[tokio::test]
async fn fua_and_write_through_flush_before_the_answer_and_a_plain_write_does_not() {
    let device = Device::new();
    let mut through = Export::new("through", device.clone());
    (through.write_through, through.trim) = (true, Trim::Zero);
    let server = Server::new(vec![Export::new("plain", device.clone()), through]).unwrap();
    let flushes = || device.flushes.load(Ordering::SeqCst);
    let (mut client, _serving) = connect(&server, "plain", false).await;
    client.call(&write_request(0, 1, 0, b"abc")).await.unwrap();
    client.call(&request(Command::Trim, 0, 2, 0, 3)).await.unwrap();
    assert_eq!(flushes(), 0);
    assert_eq!(client.call(&request(Command::Read, 0, 3, 0, 3)).await, Ok(b"abc".to_vec()));
    client.call(&write_request(flag::FUA, 4, 0, b"abd")).await.unwrap();
    client.call(&request(Command::WriteZeroes, flag::FUA, 5, 9, 9)).await.unwrap();
    client.call(&request(Command::Flush, 0, 6, 0, 0)).await.unwrap();
    assert_eq!(flushes(), 3);
    let (mut client, _serving) = connect(&server, "through", false).await;
    client.call(&write_request(0, 1, 1, b"x")).await.unwrap();
    client.call(&request(Command::Trim, 0, 2, 0, 1)).await.unwrap();
    assert_eq!(flushes(), 5);
    assert_eq!(client.call(&request(Command::Read, 0, 3, 0, 3)).await, Ok(b"\0xd".to_vec()));
}

#[tokio::test]
async fn a_fenced_or_failed_device_answers_with_its_reason() {
    let device = Device::new();
    let (mut client, _serving) = connect(&serve(Export::new("x", device.clone())), "x", true).await;
    *device.failure.lock().unwrap() = Some(DeviceError::Fenced { held: 1, current: 5 });
    let why = (108, "fenced: epoch 1 is over (epoch 5 is known)".to_owned());
    assert_eq!(client.call(&write_request(0, 1, 0, b"x")).await, Err(why.clone()));
    assert_eq!(client.call(&request(Command::Flush, 0, 2, 0, 0)).await, Err(why));
    *device.failure.lock().unwrap() = Some(DeviceError::Failed("worn out".into()));
    assert_eq!(client.errno(&request(Command::Read, 0, 3, 0, 1)).await, 5);
}

/// The reader stops at the limit, so that the rest waits in the client's socket; answers set it going again.
#[tokio::test]
async fn requests_beyond_the_limit_wait_and_are_all_answered() {
    let device = Device::new();
    let limits =
        Limits { requests: 3, payload: 64 << 10, in_flight: 64 << 10, connections: 1, ..Limits::default() };
    let server = Server::with_limits(vec![Export::new("x", device.clone())], limits).unwrap();
    let (mut client, _serving) = connect(&server, "x", true).await;
    assert!(matches!(server.serve(tokio::io::duplex(64).0).await, Err(Ended::Full)));
    *device.shut.lock().unwrap() = true;
    for cookie in 0..9 {
        client.send(&request(Command::Read, 0, cookie, cookie, 100)).await;
    }
    let entered = async {
        while device.inside.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), entered).await.unwrap();
    assert_eq!(device.inside.load(Ordering::SeqCst), 3);
    device.open();
    let mut cookies = Vec::new();
    for _ in 0..9 {
        let (cookie, got) = client.reply(100).await;
        assert_eq!(got.map(|data| data.len()), Ok(100));
        cookies.push(cookie);
    }
    cookies.sort_unstable();
    assert_eq!(cookies, (0..9).collect::<Vec<_>>());
    // A longer read than the limit is refused, a longer write ends the connection.
    assert_eq!(client.errno(&request(Command::Read, 0, 10, 0, (64 << 10) + 1)).await, 75);
}

#[tokio::test]
async fn what_is_in_memory_is_read_while_the_disk_hangs() {
    let device = Device::new();
    let (mut client, _serving) = connect(&serve(Export::new("x", device.clone())), "x", true).await;
    assert_eq!(client.call(&write_request(0, 1, 70_000, &[8; 50_000])).await, Ok(vec![]));
    *device.shut.lock().unwrap() = true;
    client.send(&request(Command::Flush, 0, 2, 0, 0)).await;
    device.cached.store(true, Ordering::SeqCst);
    assert_eq!(client.call(&request(Command::Read, 0, 3, 70_000, 50_000)).await, Ok(vec![8; 50_000]));
    assert_eq!(client.errno(&request(Command::Read, 0, 4, SIZE, 1)).await, 22, "checked all the same");
    device.open();
    assert_eq!(client.reply(0).await, (2, Ok(vec![])));
}

#[tokio::test]
async fn a_client_out_of_step_is_hung_up_on_and_another_one_is_served() {
    let device = Device::new();
    let server = serve(Export::new("x", device));
    let (mut client, serving) = connect(&server, "x", false).await;
    let mut bytes = BytesMut::new();
    request(Command::Write, 0, 1, 0, 0).encode(&mut bytes);
    bytes[24..28].copy_from_slice(&u32::MAX.to_be_bytes());
    client.io.write_all(&bytes).await.unwrap();
    let ended = serving.await.unwrap();
    assert!(matches!(ended, Err(Ended::Client(NbdError::WriteTooLong { .. }))), "{ended:?}");
    let (mut client, _serving) = connect(&server, "x", false).await;
    client.call(&request(Command::Flush, 0, 1, 0, 0)).await.unwrap();
}

#[tokio::test]
async fn tls_takes_over_the_stream_after_starttls() {
    let server = serve(Export::new("x", Device::new()));
    let (mut io, theirs) = tokio::io::duplex(1 << 16);
    let (mut inner, upgraded) = tokio::io::duplex(1 << 16);
    let serving =
        tokio::spawn(async move { server.serve_tls(theirs, true, async |_clear| Ok(upgraded)).await });
    io.write_all(&FLAGS).await.unwrap();
    io.write_all(&option(option::STARTTLS, b"")).await.unwrap();
    let mut got = vec![0; 18 + 20];
    io.read_exact(&mut got).await.unwrap();
    assert_eq!(got[30..34], rep::ACK.to_be_bytes());
    inner.write_all(&option(option::EXPORT_NAME, b"x")).await.unwrap();
    inner.read_exact(&mut got[..10]).await.unwrap();
    let mut client = Client { io: inner, structured: false };
    client.call(&request(Command::Flush, 0, 1, 0, 0)).await.unwrap();
    client.send(&request(Command::Disconnect, 0, 6, 0, 0)).await;
    serving.await.unwrap().unwrap();
}

#[test]
fn exports_and_limits_that_contradict_each_other_make_no_server() {
    let export = |name: &str| Export::new(name, Device::new());
    let twice = Server::new(vec![export("x"), export("x")]);
    assert_eq!(twice.unwrap_err(), ExportsError::SameName("x".into()));
    let long = Server::new(vec![export(&"x".repeat(4097))]);
    assert_eq!(long.unwrap_err(), ExportsError::TooLong(4097));
    let limits = Limits { in_flight: 4096, ..Limits::default() };
    assert!(matches!(Server::with_limits(vec![export("x")], limits), Err(ExportsError::Limits(_))));
}
