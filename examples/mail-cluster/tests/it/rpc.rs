//! Many requests on one connection, and what happens when it breaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use posthaste_mail_cluster::config::NodeId;
use posthaste_mail_cluster::peer::{Handlers, PeerStream};
use posthaste_mail_cluster::rpc::{RpcClient, RpcError, RpcLimits, Turns, serve_rpc};
use posthaste_mail_cluster::tls::Alpn;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use crate::util::{Cluster, cluster};

const LIMITS: RpcLimits = RpcLimits { frame: 4 << 20, in_flight: 64, bytes_in_flight: 8 << 20 };

/// What the handler of these tests knows.
#[derive(Default)]
struct World {
    hold: Notify,
    asked: AtomicU64,
    /// Closing it breaks all connections.
    alive: Notify,
}

/// Answers "hold" when told, panics on "panic", too much on "huge", all else with who asked and what.
async fn answer(world: Arc<World>, from: NodeId, body: Bytes) -> Bytes {
    world.asked.fetch_add(1, Ordering::SeqCst);
    match &body[..] {
        b"hold" => world.hold.notified().await,
        b"panic" => panic!("as asked"),
        b"huge" => return vec![0; LIMITS.frame + 1].into(),
        _ => {}
    }
    [format!("{}:", from.0).as_bytes(), &body].concat().into()
}

async fn serve(cluster: &Cluster, world: &Arc<World>) -> JoinHandle<()> {
    let world = Arc::clone(world);
    let handler = move |from, stream: PeerStream| {
        let world = Arc::clone(&world);
        let ask = {
            let world = Arc::clone(&world);
            Arc::new(move |from, body| answer(Arc::clone(&world), from, body))
        };
        async move {
            tokio::select! {
                _ = serve_rpc(stream, from, ask, LIMITS, None) => {}
                () = world.alive.notified() => {}
            }
        }
    };
    cluster.listen("b", Handlers::new().on(Alpn::Mail, Handle::current(), handler)).await
}

fn client(cluster: &Cluster) -> RpcClient {
    RpcClient::new(cluster.net("a"), cluster.id("b"), Alpn::Mail, LIMITS)
}

fn text(body: impl Into<String>) -> Bytes {
    Bytes::from(body.into())
}

#[tokio::test]
async fn many_requests_share_a_connection_and_none_waits_for_a_slow_one() {
    let (cluster, world) = (cluster(), Arc::new(World::default()));
    let _listening = serve(&cluster, &world).await;
    let client = client(&cluster);
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.call(text("hold")).await }
    });
    let mut calls = JoinSet::new();
    for i in 0..300 {
        let client = client.clone();
        calls.spawn(async move { (i, client.call(text(format!("{i}"))).await.unwrap()) });
    }
    while let Some(done) = calls.join_next().await {
        let (i, reply) = done.unwrap();
        assert_eq!(reply, text(format!("1:{i}")), "each reply goes to its request");
    }
    let big = client.call(vec![b'x'; LIMITS.frame - 2].into()).await.unwrap();
    assert_eq!(big.len(), LIMITS.frame);
    assert!(!slow.is_finished());
    world.hold.notify_one();
    assert_eq!(slow.await.unwrap().unwrap(), text("1:hold"));
}

#[tokio::test]
async fn a_broken_connection_fails_what_is_pending_and_the_next_call_dials() {
    let (cluster, world) = (cluster(), Arc::new(World::default()));
    let _listening = serve(&cluster, &world).await;
    let client = client(&cluster);
    let mut pending = JoinSet::new();
    for _ in 0..5 {
        let client = client.clone();
        pending.spawn(async move { client.call(text("hold")).await });
    }
    while world.asked.load(Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.alive.notify_waiters();
    while let Some(outcome) = pending.join_next().await {
        let error = outcome.unwrap().unwrap_err();
        assert!(matches!(&error, RpcError::Broken { to, .. } if to == "b"), "{error}");
        assert!(!error.not_sent());
    }
    assert_eq!(client.call(text("again")).await.unwrap(), text("1:again"));
}

#[tokio::test]
async fn a_reset_fails_pending_calls_at_once() {
    let (cluster, world) = (cluster(), Arc::new(World::default()));
    let _listening = serve(&cluster, &world).await;
    let client = client(&cluster);
    let pending = tokio::spawn({
        let client = client.clone();
        async move { client.call(text("hold")).await }
    });
    while world.asked.load(Ordering::SeqCst) < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.reset("b was fenced");
    let error = pending.await.unwrap().unwrap_err();
    assert!(matches!(&error, RpcError::Broken { cause, .. } if cause == "b was fenced"), "{error}");
    assert_eq!(client.call(text("again")).await.unwrap(), text("1:again"));
}

#[tokio::test]
async fn without_a_member_to_dial_nothing_was_sent() {
    let cluster = cluster();
    let client = client(&cluster);
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let client = client.clone();
        calls.spawn(async move { client.call(text("x")).await.unwrap_err() });
    }
    while let Some(error) = calls.join_next().await {
        let error = error.unwrap();
        assert!(matches!(error, RpcError::Dial(_)) && error.not_sent(), "{error}");
    }
    let world = Arc::new(World::default());
    let _listening = serve(&cluster, &world).await;
    assert_eq!(client.call(text("now")).await.unwrap(), text("1:now"), "it recovers by itself");
}

#[tokio::test]
async fn a_dropped_call_and_a_panicking_handler_harm_nobody_else() {
    let (cluster, world) = (cluster(), Arc::new(World::default()));
    let _listening = serve(&cluster, &world).await;
    let client = client(&cluster);
    let error = client.call_within(text("hold"), Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, RpcError::Timeout { .. }), "{error}");
    for bad in ["panic", "huge"] {
        let error = client.call(text(bad)).await.unwrap_err();
        assert!(matches!(error, RpcError::Failed { .. }), "{error}");
    }
    world.hold.notify_one();
    assert_eq!(client.call(text("on")).await.unwrap(), text("1:on"));
    let error = client.call(vec![0; LIMITS.frame + 1].into()).await.unwrap_err();
    assert!(matches!(error, RpcError::TooLarge { .. }) && error.not_sent(), "{error}");
}

#[tokio::test]
async fn no_more_requests_are_in_work_than_the_limit() {
    let cluster = cluster();
    let limits = RpcLimits { in_flight: 3, ..LIMITS };
    let (gate, most) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let handler = {
        let (gate, most) = (Arc::clone(&gate), Arc::clone(&most));
        move |from, stream: PeerStream| {
            let (gate, most, now) = (Arc::clone(&gate), Arc::clone(&most), Arc::new(AtomicU64::new(0)));
            let ask = Arc::new(move |_, body: Bytes| {
                let (gate, most, now) = (Arc::clone(&gate), Arc::clone(&most), Arc::clone(&now));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    now.fetch_sub(1, Ordering::SeqCst);
                    body
                }
            });
            async move { drop(serve_rpc(stream, from, ask, limits, None).await) }
        }
    };
    let _listening = cluster.listen("b", Handlers::new().on(Alpn::Mail, Handle::current(), handler)).await;
    let client = client(&cluster);
    let mut calls = JoinSet::new();
    for i in 0..20_u8 {
        let client = client.clone();
        calls.spawn(async move { client.call(vec![i].into()).await.unwrap() });
    }
    while most.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gate.add_permits(20);
    assert_eq!(calls.join_all().await.len(), 20);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

/// What a handler did, in order.
type Diary = Arc<Mutex<Vec<String>>>;

/// Serves connections one after the other; "hold" waits for a permit.
async fn serve_turns(cluster: &Cluster, diary: &Diary, gate: &Arc<Semaphore>) -> JoinHandle<()> {
    let (diary, gate, turns) = (Arc::clone(diary), Arc::clone(gate), Arc::new(Turns::default()));
    // One at a time: what is behind "hold" on a connection waits unread.
    let limits = RpcLimits { in_flight: 1, ..LIMITS };
    let handler = move |from, stream: PeerStream| {
        let (diary, gate, turns) = (Arc::clone(&diary), Arc::clone(&gate), Arc::clone(&turns));
        let ask = Arc::new(move |_, body: Bytes| {
            let (diary, gate) = (Arc::clone(&diary), Arc::clone(&gate));
            async move {
                let what = String::from_utf8_lossy(&body).into_owned();
                diary.lock().unwrap().push(format!("{what} begins"));
                if what == "hold" {
                    gate.acquire().await.unwrap().forget();
                }
                diary.lock().unwrap().push(format!("{what} ends"));
                body
            }
        });
        async move { drop(serve_rpc(stream, from, ask, limits, Some(turns)).await) }
    };
    cluster.listen("b", Handlers::new().on(Alpn::Mail, Handle::current(), handler)).await
}

#[tokio::test]
async fn what_came_by_a_connection_that_was_given_up_is_ended_or_refused_before_the_next_one_begins() {
    let (cluster, diary, gate) = (cluster(), Diary::default(), Arc::new(Semaphore::new(0)));
    let _listening = serve_turns(&cluster, &diary, &gate).await;
    let client = RpcClient::in_turn(cluster.net("a"), cluster.id("b"), Alpn::Mail, LIMITS);
    let call = |what: &str| {
        let (client, what) = (client.clone(), text(what));
        tokio::spawn(async move { client.call(what).await })
    };
    let (_hold, settle) = (call("hold"), Duration::from_millis(100));
    while diary.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _late = call("late");
    tokio::time::sleep(settle).await;
    client.reset("given up");
    // A second connection breaks while it still waits for the first.
    let later = call("later");
    tokio::time::sleep(settle).await;
    later.abort();
    let again = call("replayed");
    tokio::time::sleep(settle).await;
    gate.add_permits(1);
    assert_eq!(again.await.unwrap().unwrap(), text("replayed"));
    assert_eq!(
        *diary.lock().unwrap(),
        ["hold begins", "hold ends", "replayed begins", "replayed ends"],
        "late came before the reset, and must not be done after it"
    );
}
