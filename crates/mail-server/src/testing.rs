//! What the sessions' tests share: a store in memory whose every operation can be made to fail or to wait, two
//! users, and a client that speaks a script.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::server::{BoxedStream, Budget, Context, Limits, Peer, Service, Shutdown, session};
use crate::store::{
    Directory, Flags, MailStore, MailboxName, Message, Op, Part, Reply, Resolved, Snapshot, StoreError, User,
    Watch,
};

/// The password of every user.
pub(crate) const PASSWORD: &str = "a secret";

#[derive(Default)]
struct State {
    inboxes: BTreeMap<User, Vec<(u32, Bytes)>>,
    next_uid: u32,
    failure: Option<StoreError>,
    gone: BTreeSet<u32>,
}

/// A store of inboxes in memory.
pub(crate) struct MemoryStore {
    state: Mutex<State>,
    /// `deliver` takes a permit first; tests that want to see it wait start with none.
    pub(crate) gate: Semaphore,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the lock held")
    }

    /// All operations fail like this from now on, or work again.
    pub(crate) fn fail(&self, failure: Option<StoreError>) {
        self.state().failure = failure;
    }

    /// The messages in an inbox.
    pub(crate) fn inbox(&self, name: &str) -> Vec<Bytes> {
        let user = User::parse(name).expect("a user");
        self.state().inboxes.get(&user).into_iter().flatten().map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn put(&self, name: &str, body: impl Into<Bytes>) {
        let user = User::parse(name).expect("a user");
        let mut state = self.state();
        state.next_uid += 1;
        let uid = state.next_uid;
        state.inboxes.entry(user).or_default().push((uid, body.into()));
    }

    /// Somebody else removes all messages.
    pub(crate) fn clear(&self, name: &str) {
        self.state().inboxes.remove(&User::parse(name).expect("a user"));
    }
}

fn message(uid: u32, body: &Bytes) -> Message {
    let base = format!("1.M{uid}P1.test");
    Message { uid, size: body.len() as u64, date: 0, flags: Flags::default(), modseq: 1, base }
}

fn part(body: &Bytes, part: Part) -> Bytes {
    let Part::Range { offset, len } = part else { return body.clone() };
    let from = (offset as usize).min(body.len());
    let to = (offset.saturating_add(len) as usize).min(body.len());
    body.slice(from..to)
}

#[async_trait]
impl MailStore for MemoryStore {
    async fn call(&self, user: &User, op: Op) -> Result<Reply, StoreError> {
        let mut state = self.state();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let uid_next = state.next_uid + 1;
        let inbox = state.inboxes.entry(user.clone()).or_default();
        match op {
            Op::Open(_) | Op::Peek(_) => Ok(Reply::Snapshot(Snapshot {
                uid_validity: 1,
                uid_next,
                modseq: 1,
                messages: inbox.iter().map(|(uid, body)| message(*uid, body)).collect(),
                keywords: Vec::new(),
                recent: Vec::new(),
            })),
            Op::Fetch { uids, part: wanted, .. } => {
                let found = inbox.iter().filter(|(uid, _)| uids.contains(uid));
                Ok(Reply::Parts(found.map(|(uid, body)| (*uid, part(body, wanted))).collect()))
            }
            Op::Expunge { uids: Some(uids), even_undeleted: true, .. } => {
                inbox.retain(|(uid, _)| !uids.contains(uid));
                state.gone.extend(&uids);
                Ok(Reply::Vanished(uids))
            }
            other => Err(StoreError::Refused(format!("not in this test store: {other:?}"))),
        }
    }

    async fn deliver(&self, to: &[User], body: Bytes) -> Result<(), StoreError> {
        self.gate.acquire().await.expect("never closed").forget();
        if let Some(failure) = self.state().failure.clone() {
            return Err(failure);
        }
        to.iter().for_each(|user| self.put(user.as_str(), body.clone()));
        Ok(())
    }

    async fn watch(&self, _: &User, _: &MailboxName) -> Result<Watch, StoreError> {
        Ok(tokio::sync::mpsc::channel(1).1)
    }
}

/// alice, bob and postmaster of example.org; `later@` can't be told.
struct TwoUsers;

#[async_trait]
impl Directory for TwoUsers {
    async fn resolve(&self, local: &str, domain: &str) -> Resolved {
        let local = local.to_ascii_lowercase();
        match (local.as_str(), domain.to_ascii_lowercase().as_str()) {
            ("alice" | "bob", "example.org") => {
                Resolved::User(User::parse(&format!("{local}@example.org")).expect("a user"))
            }
            ("postmaster", "mx.example.org" | "example.org") => {
                Resolved::User(User::parse("alice@example.org").expect("a user"))
            }
            ("later", "example.org") => Resolved::TryLater,
            (_, "example.org" | "mx.example.org") => Resolved::NoSuchUser,
            _ => Resolved::NotLocal,
        }
    }

    async fn authenticate(&self, login: &str, password: &[u8]) -> Result<Option<User>, StoreError> {
        let known = matches!(login, "alice@example.org" | "bob@example.org");
        Ok(User::parse(login).ok().filter(|_| known && password == PASSWORD.as_bytes()))
    }
}

/// A node's context and the handles that a test needs.
pub(crate) struct World {
    pub(crate) context: Context,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) shutdown: tokio::sync::watch::Sender<bool>,
    /// What clients trust, where there is TLS.
    pub(crate) root: Option<CertificateDer<'static>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other limits than the usual ones.
    pub(crate) fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits { login_failure_delay: Duration::ZERO, ..Limits::default() };
        change(&mut limits);
        let store = Arc::new(MemoryStore { state: Mutex::default(), gate: Semaphore::new(1000) });
        let (sender, shutdown) = Shutdown::channel();
        let context = Context {
            hostname: "mx.example.org".into(),
            store: Arc::clone(&store) as Arc<dyn MailStore>,
            directory: Arc::new(TwoUsers),
            tls: None,
            plaintext_login: false,
            budget: Budget::new(limits.memory_bytes),
            limits: Arc::new(limits),
            shutdown,
        };
        Self { context, store, shutdown: sender, root: None }
    }

    /// With a certificate for its name.
    pub(crate) fn with_tls(mut self) -> Self {
        let made = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).expect("a certificate");
        let cert = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.clone()], key);
        self.context.tls = Some(TlsAcceptor::from(Arc::new(config.expect("the key fits"))));
        self.root = Some(cert);
        self
    }

    /// Starts a session and connects to it.
    pub(crate) fn connect(&self, service: Service) -> Script {
        self.start(service, false)
    }

    pub(crate) fn start(&self, service: Service, busy: bool) -> Script {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
        let peer = Peer { addr: (localhost, 4321).into(), local: localhost, tls: false };
        let task = tokio::spawn(session(Box::new(theirs), peer, service, self.context.clone(), busy));
        Script { stream: Box::new(ours), unread: Vec::new(), task, root: self.root.clone() }
    }
}

/// A client. Waits for nothing longer than [`PATIENCE`]: a session that hangs fails its test.
pub(crate) struct Script {
    pub(crate) stream: BoxedStream,
    unread: Vec<u8>,
    task: JoinHandle<()>,
    root: Option<CertificateDer<'static>>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Script {
    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("the session reads");
    }

    /// The next line without CRLF, or `None` when the session closed.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let read = self.stream.read_buf(&mut self.unread);
            if timeout(PATIENCE, read).await.expect("an answer").expect("a read") == 0 {
                assert!(self.unread.is_empty(), "half a line: {:?}", self.unread);
                return None;
            }
        }
    }

    /// Reads one reply of SMTP, which must begin with `start`; returns its lines.
    pub(crate) async fn expect(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.unwrap_or_else(|| panic!("closed instead of {start}"));
            let last = line.as_bytes().get(3) != Some(&b'-') || line.starts_with("-ERR");
            lines.push(line);
            if last {
                break;
            }
        }
        assert!(
            lines[0].replacen('-', " ", 1).starts_with(start) || lines[0].starts_with(start),
            "{start}: {lines:?}"
        );
        lines
    }

    /// Sends a line and expects a reply.
    pub(crate) async fn ask(&mut self, line: &str, start: &str) -> Vec<String> {
        self.send(format!("{line}\r\n")).await;
        self.expect(start).await
    }

    /// Goes on inside TLS; nothing may be left unread.
    pub(crate) async fn start_tls(self) -> Self {
        assert!(self.unread.is_empty(), "in the clear: {:?}", self.unread);
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone().expect("a world with TLS")).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = "mx.example.org".try_into().expect("a name");
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, self.stream).await.expect("a handshake");
        Self { stream: Box::new(stream), ..self }
    }

    /// Lines to the dot.
    pub(crate) async fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.expect("a dot before the end");
            if line == "." {
                return lines;
            }
            lines.push(line);
        }
    }

    /// The session closes, with nothing left to say, and its task ends.
    pub(crate) async fn closed(mut self) {
        assert_eq!(self.line().await, None);
        drop(self.stream);
        timeout(PATIENCE, self.task).await.expect("the task ends").expect("without panic");
    }
}
