//! Two nodes: node 1 asks, node 2 leads. The wire between them is the test's own.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use posthaste_heartbeat::state::{Member, Role, Volume};
use posthaste_heartbeat::{Generation, Incarnation, MembershipEpoch, Revision, StoreId};
use posthaste_mail_server::local::{LocalStore, LocalStoreConfig};
use posthaste_maildir::{LocalConfig, LocalFs};

use super::super::led::Led;
use super::*;

const ASKING: NodeId = NodeId(1);
const LEADING: NodeId = NodeId(2);

fn volume() -> VolumeId {
    VolumeId::parse("vol1").unwrap()
}

fn alice() -> User {
    User::parse("alice@example.org").unwrap()
}

fn mailbox(name: &str) -> MailboxName {
    MailboxName::parse(name).unwrap()
}

fn member() -> Member {
    Member {
        name: "node".into(),
        role: Role::Node,
        voter: true,
        status: Status::Up,
        incarnation: Incarnation(1),
        stint: MembershipEpoch(1),
        store: StoreId(1),
        peer: String::new(),
        drained: false,
    }
}

fn state(epoch: u64) -> State {
    let led = Volume {
        leader: Some(LEADING),
        epoch: Epoch(epoch),
        revision: Revision(1),
        in_sync: BTreeSet::new(),
        generation: Generation(1),
        home: LEADING,
        replicas: BTreeMap::new(),
        prior: BTreeMap::new(),
    };
    State {
        members: [ASKING, LEADING].map(|node| (node, member())).into(),
        volumes: [(volume(), led)].into(),
        ..State::default()
    }
}

/// Carries requests to the leader, and loses the reply to one of them if told.
#[derive(Default)]
struct Wire {
    leader: OnceLock<RoutedStore>,
    lose_a_reply: AtomicBool,
}

#[async_trait]
impl MailPeers for Arc<Wire> {
    async fn ask(&self, _: NodeId, request: Bytes) -> Result<Bytes, NotAnswered> {
        let leader = self.leader.get().expect("set at the start");
        let answer = leader.serve(ASKING, &request).await;
        match self.lose_a_reply.swap(false, Ordering::Relaxed) {
            true => Err(NotAnswered { maybe_done: true, why: "the connection broke".into() }),
            false => Ok(answer),
        }
    }

    async fn ask_patiently(&self, to: NodeId, request: Bytes) -> Result<Bytes, NotAnswered> {
        self.ask(to, request).await
    }
}

struct Pair {
    _dir: tempfile::TempDir,
    committed: watch::Sender<Committed>,
    led: LedVolumes,
    store: LocalStore<LocalFs>,
    wire: Arc<Wire>,
    asking: RoutedStore,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fs = LocalFs::open(dir.path(), LocalConfig::default()).unwrap();
        let store = LocalStore::new(fs, LocalStoreConfig::default());
        let (committed, watch) = watch::channel(Committed { index: 1, state: Arc::new(state(3)) });
        let (led, wire) = (LedVolumes::default(), Arc::new(Wire::default()));
        let routed = |me, led: &LedVolumes| {
            let wire = Arc::new(Arc::clone(&wire));
            RoutedStore::new(me, "h".into(), watch.clone(), led.clone(), wire)
        };
        let _ = wire.leader.set(routed(LEADING, &led));
        let asking = routed(ASKING, &LedVolumes::default());
        let pair = Self { _dir: dir, committed, led, store, wire, asking };
        pair.lead(3);
        pair
    }

    fn lead(&self, epoch: u64) {
        let (store, guard) = (Arc::new(self.store.clone()), Arc::new(|| true));
        self.led.begin(Led::new(volume(), Epoch(epoch), store, guard));
    }

    async fn ask(&self, op: Op) -> Result<Reply, StoreError> {
        self.asking.on_volume(&volume(), &alice(), op).await
    }

    /// What the leader says to a request of this epoch.
    async fn late(&self, epoch: u64, op: Op) -> Result<Reply, StoreError> {
        let request = Request::Call { volume: volume(), epoch: Epoch(epoch), user: alice(), op };
        let leader = self.wire.leader.get().expect("set at the start");
        match wire::decode(&leader.serve(ASKING, &wire::encode(&request)).await)? {
            Response::Reply(reply) => Ok(reply),
            Response::Failed(error) => Err(error),
            Response::Seen(_) => panic!("another question"),
        }
    }
}

#[tokio::test]
async fn an_operation_whose_reply_was_lost_is_done_once() {
    let pair = Pair::new();
    pair.ask(Op::Create(mailbox("Old"))).await.unwrap();
    let Ok(Reply::Snapshot(old)) = pair.ask(Op::Peek(mailbox("Old"))).await else { panic!() };
    let body = Bytes::from_static(b"Subject: x\r\n\r\nx\r\n");
    let inbox = MailboxName::inbox;
    let (from, to) = (mailbox("New"), mailbox("Newer"));
    for op in [
        Op::Deliver { to: vec![Recipient { user: alice(), base: base_name("h") }], body: body.clone() },
        Op::Append { name: inbox(), base: base_name("h"), flags: <_>::default(), date: None, body },
        Op::Create(mailbox("New")),
        Op::Copy { from: inbox(), to: mailbox("New"), messages: vec![(1, base_name("h"))] },
        Op::Expunge { name: inbox(), uids: Some(vec![1]), even_undeleted: true },
        Op::Subscribe { name: mailbox("New"), on: true },
        Op::Rename { from, to },
        Op::Delete { name: mailbox("Old"), uid_validity: old.uid_validity },
    ] {
        pair.wire.lose_a_reply.store(true, Ordering::Relaxed);
        pair.ask(op.clone()).await.unwrap_or_else(|e| panic!("{op:?}: {e}"));
    }
    for (name, uids) in [("INBOX", &[2][..]), ("Newer", &[1])] {
        let Ok(Reply::Snapshot(found)) = pair.ask(Op::Open(mailbox(name))).await else { panic!("{name}") };
        assert_eq!(found.messages.iter().map(|m| m.uid).collect::<Vec<_>>(), uids, "{name}");
    }
    let Ok(Reply::Listing(listed)) = pair.ask(Op::List).await else { panic!() };
    assert_eq!(listed.iter().filter(|l| l.exists).count(), 2, "{listed:?}");
}

#[tokio::test]
async fn an_operation_for_an_earlier_leadership_is_refused_also_by_the_same_leader() {
    let pair = Pair::new();
    pair.lead(5);
    let late = pair.late(3, Op::Create(mailbox("Late"))).await;
    assert!(matches!(&late, Err(StoreError::Unavailable(why)) if why.contains("epoch 5")), "{late:?}");
    assert_eq!(pair.late(5, Op::Create(mailbox("Late"))).await, Ok(Reply::Done), "it was not done");
    // The asking node learns of the new leadership, and asks again by itself.
    let asked = tokio::spawn({
        let asking = pair.asking.clone();
        async move { asking.on_volume(&volume(), &alice(), Op::Create(mailbox("Next"))).await }
    });
    tokio::task::yield_now().await;
    pair.committed.send_replace(Committed { index: 2, state: Arc::new(state(5)) });
    assert_eq!(asked.await.unwrap(), Ok(Reply::Done));
}

#[tokio::test]
async fn a_node_that_was_fenced_gets_no_late_operation_done() {
    let pair = Pair::new();
    let mut fenced = state(3);
    fenced.members.get_mut(&ASKING).unwrap().status = Status::Fenced;
    pair.committed.send_replace(Committed { index: 2, state: Arc::new(fenced) });
    let late = pair.late(3, Op::Create(mailbox("Late"))).await;
    assert!(matches!(&late, Err(StoreError::Unavailable(why)) if why.contains("out of")), "{late:?}");
    pair.committed.send_replace(Committed { index: 3, state: Arc::new(state(3)) });
    assert_eq!(pair.late(3, Op::Create(mailbox("Late"))).await, Ok(Reply::Done));
}
