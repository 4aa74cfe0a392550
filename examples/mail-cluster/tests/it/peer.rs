//! Only members of this cluster speak to each other, each as itself.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_mail_cluster::config::NodeId;
use posthaste_mail_cluster::peer::{DialError, Handlers, PeerNet, PeerStream};
use posthaste_mail_cluster::tls::Alpn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::util::{Cluster, cluster};

/// Says who dialled, and echoes one byte.
fn echo() -> (Handlers, mpsc::UnboundedReceiver<NodeId>) {
    let (seen, who) = mpsc::unbounded_channel();
    let handler = move |from: NodeId, mut stream: PeerStream| {
        let seen = seen.clone();
        async move {
            seen.send(from).unwrap();
            let byte = stream.read_u8().await.unwrap();
            stream.write_u8(byte).await.unwrap();
            stream.flush().await.unwrap();
        }
    };
    (Handlers::new().on(Alpn::Mail, Handle::current(), handler), who)
}

async fn echoed(mut stream: PeerStream, byte: u8) -> u8 {
    stream.write_u8(byte).await.unwrap();
    stream.flush().await.unwrap();
    stream.read_u8().await.unwrap()
}

#[tokio::test]
async fn the_right_member_is_let_in_and_known_by_its_certificate() {
    let cluster = cluster();
    let (handlers, mut who) = echo();
    let _listening = cluster.listen("b", handlers).await;
    let stream = cluster.net("a").dial(cluster.id("b"), Alpn::Mail).await.unwrap();
    assert_eq!(echoed(stream, 42).await, 42);
    assert_eq!(who.recv().await, Some(cluster.id("a")));
}

#[tokio::test]
async fn a_handler_may_live_on_a_runtime_of_its_own() {
    let cluster = cluster();
    let own = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("beats")
        .enable_all()
        .build()
        .unwrap();
    let (name, mut names) = mpsc::unbounded_channel();
    let handler = move |_, mut stream: PeerStream| {
        let name = name.clone();
        async move {
            let byte = stream.read_u8().await.unwrap();
            name.send(std::thread::current().name().map(str::to_owned)).unwrap();
            stream.write_u8(byte).await.unwrap();
            stream.flush().await.unwrap();
        }
    };
    let handlers = Handlers::new().on(Alpn::Beat, own.handle().clone(), handler);
    let _listening = cluster.listen("b", handlers).await;
    let stream = cluster.net("w").dial(cluster.id("b"), Alpn::Beat).await.unwrap();
    assert_eq!(echoed(stream, 7).await, 7);
    assert_eq!(names.recv().await.unwrap().as_deref(), Some("beats"));
    own.shutdown_background();
}

/// The network of our member `name`, with the certificates of the same member of `theirs`.
fn with_certificates_of(ours: &Cluster, theirs: &Cluster, name: &str) -> PeerNet {
    let mut config = ours.config(name);
    let other = theirs.config(name);
    config.cluster.id = other.cluster.id;
    (config.node.ca, config.node.cert, config.node.key) = (other.node.ca, other.node.cert, other.node.key);
    PeerNet::new(&config).unwrap()
}

#[tokio::test]
async fn a_member_of_another_cluster_is_refused_in_both_directions() {
    let (ours, theirs) = (cluster(), cluster());
    let (handlers, mut who) = echo();
    let listening = ours.listen("b", handlers).await;
    let stranger = with_certificates_of(&ours, &theirs, "a");
    let error = stranger.dial(ours.id("b"), Alpn::Mail).await.unwrap_err();
    assert!(matches!(&error, DialError::WrongCluster { member, .. } if member == "b"), "{error}");
    assert!(error.is_misconfigured());
    listening.abort();
    assert!(who.recv().await.is_none(), "a stranger's stream reached the handler");
}

#[tokio::test]
async fn a_dialler_with_a_certificate_of_another_ca_is_refused_by_the_listener() {
    let (ours, theirs) = (cluster(), cluster());
    let (handlers, mut who) = echo();
    let listening = ours.listen("b", handlers).await;
    // It trusts our CA and knows our cluster's id, but its own certificate is from elsewhere.
    let forged = forge(&ours, &theirs);
    let error = forged.dial(ours.id("b"), Alpn::Mail).await.unwrap_err();
    assert!(matches!(&error, DialError::Refused { member, .. } if member == "b"), "{error}");
    listening.abort();
    assert!(who.recv().await.is_none(), "a stranger's stream reached the handler");
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_refusal_is_logged_with_the_address_and_the_reason() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let named = std::thread::Builder::new().name("a_refusal_is_logged".into());
    named.spawn(move || runtime.block_on(refused_and_logged())).unwrap().join().unwrap();
}

async fn refused_and_logged() {
    let log = Log::default();
    let writer = log.clone();
    // For all threads, since a subscriber of one thread races with tests that log first. All tasks of
    // this test run on one thread, whose name marks its lines.
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_thread_names(true);
    tracing::subscriber::set_global_default(subscriber.with_writer(move || writer.clone()).finish()).unwrap();
    let (ours, theirs) = (cluster(), cluster());
    let (handlers, _who) = echo();
    let _listening = ours.listen("b", handlers).await;
    forge(&ours, &theirs).dial(ours.id("b"), Alpn::Mail).await.unwrap_err();
    let refusal = || {
        let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        let ours = |line: &&str| {
            line.contains("a_refusal_is_logged") && line.contains("refused a member's connection")
        };
        text.lines().find(ours).map(str::to_owned)
    };
    let mut line = refusal();
    for _ in 0..500 {
        if line.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        line = refusal();
    }
    let line = line.expect("it is logged");
    assert!(
        line.contains("WARN") && line.contains("from=127.0.0.1:") && line.contains("certificate"),
        "{line}"
    );
}

/// A net that trusts both CAs but shows a certificate of `theirs`.
fn forge(ours: &Cluster, theirs: &Cluster) -> PeerNet {
    let authority = posthaste_mail_cluster::pki::Authority::new(ours.layout.cluster).unwrap();
    let issued = authority.issue_member(ours.id("a"), "a").unwrap();
    let dir = &theirs.layout.dir.join("a");
    let both = fs::read_to_string(ours.layout.dir.join("ca/ca.crt")).unwrap() + &authority.cert_pem();
    fs::write(dir.join("ca.crt"), both).unwrap();
    fs::write(dir.join("node.crt"), issued.cert_pem).unwrap();
    fs::write(dir.join("node.key"), issued.key_pem).unwrap();
    let mut config = ours.config("a");
    (config.node.ca, config.node.cert, config.node.key) =
        (dir.join("ca.crt"), dir.join("node.crt"), dir.join("node.key"));
    PeerNet::new(&config).unwrap()
}

#[tokio::test]
async fn the_wrong_member_at_an_address_is_refused_and_named() {
    let cluster = cluster();
    let (handlers, mut who) = echo();
    let listening = cluster.listen("b", handlers).await;
    let mut config = cluster.config("a");
    let b = cluster.config("b").node.peer_listen.to_string();
    config.members.iter_mut().filter(|m| m.name == "w").for_each(|m| m.address.clone_from(&b));
    let error = PeerNet::new(&config).unwrap().dial(cluster.id("w"), Alpn::Mail).await.unwrap_err();
    let DialError::WrongMember { member, presented, .. } = &error else { panic!("{error}") };
    assert_eq!((member.as_str(), presented), ("w", &format!("node-2.{}.posthaste", cluster.layout.cluster)));
    listening.abort();
    assert!(who.recv().await.is_none(), "the stream reached the handler");
}

#[tokio::test]
async fn a_certified_member_that_the_listener_does_not_know_is_told_so() {
    let cluster = cluster();
    let mut config = cluster.config("b");
    config.members.retain(|m| m.name != "w");
    let (handlers, mut who) = echo();
    let listener = PeerNet::new(&config).unwrap().listen(config.node.peer_listen).await.unwrap();
    let listening = tokio::spawn(listener.serve(handlers));
    let error = cluster.net("w").dial(cluster.id("b"), Alpn::Mail).await.unwrap_err();
    assert!(
        matches!(&error, DialError::Refused { cause, .. } if cause.contains("configuration differs")),
        "{error}"
    );
    listening.abort();
    assert!(who.recv().await.is_none(), "the stream reached the handler");
}

#[tokio::test]
async fn a_protocol_that_is_not_spoken_and_a_closed_port_are_told_apart() {
    let cluster = cluster();
    let (handlers, _who) = echo();
    let _listening = cluster.listen("b", handlers).await;
    let net = cluster.net("a");
    let error = net.dial(cluster.id("b"), Alpn::Raft).await.unwrap_err();
    assert!(matches!(error, DialError::NotSpoken { protocol: Alpn::Raft, .. }), "{error}");
    let error = net.dial(cluster.id("w"), Alpn::Mail).await.unwrap_err();
    assert!(matches!(error, DialError::Connect { .. }) && !error.is_misconfigured(), "{error}");
    let error = net.dial(NodeId(99), Alpn::Mail).await.unwrap_err();
    assert!(matches!(error, DialError::Unknown(NodeId(99))), "{error}");
}

#[tokio::test]
async fn a_peer_port_in_use_is_an_error_that_names_it() {
    let cluster = Arc::new(cluster());
    let address = cluster.config("b").node.peer_listen;
    let _taken = cluster.net("b").listen(address).await.unwrap();
    let error = cluster.net("b").listen(address).await.err().unwrap().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("in use"), "{error}");
}
