//! What a link costs that is more than one TCP connection: over two paths, and sealed by a secret. Each beside the plain
//! link of the same pair, in the same round.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_blockrepl::bond::{Acceptor, Bond, BondConfig, Stream};
use posthaste_blockrepl::core::LinkStatus;
use posthaste_blockrepl::{Hello, NodeId};
use tokio::net::{TcpListener, TcpStream};

use crate::{BLOCK, PIECE, Pair, SIZE, figure, identity, median, stream, timed};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    TwoPaths,
    #[cfg(feature = "secret")]
    Sealed,
}

pub(crate) fn links(runtime: &tokio::runtime::Runtime, pair: &mut Pair, rounds: usize) {
    let kinds = [
        (Kind::TwoPaths, "two-paths", 0.85),
        // Each byte is enciphered and deciphered, on two processors that the stream keeps busy already.
        #[cfg(feature = "secret")]
        (Kind::Sealed, "sealed", 0.65),
    ];
    for (kind, name, target) in kinds {
        let (mut streams, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let plain = measured(runtime, pair, Kind::Plain);
            let ours = measured(runtime, pair, kind);
            streams.push(plain.0 / ours.0);
            writes.push(ours.1 / plain.1);
        }
        figure(&format!("link-{name}-sequential-write"), median(&mut streams), "x", ">=", target);
        figure(&format!("link-{name}-sync-write-latency"), median(&mut writes), "x", "<=", 1.15);
    }
    runtime.block_on(connect(pair, Kind::Plain));
}

/// Seconds of a stream over the whole device, and of a small write on both disks.
fn measured(runtime: &tokio::runtime::Runtime, pair: &mut Pair, kind: Kind) -> (f64, f64) {
    runtime.block_on(connect(pair, kind));
    let streamed = stream(pair, &Bytes::from(vec![9; PIECE])).as_secs_f64();
    let block = vec![7; BLOCK];
    let mut writes: Vec<f64> = (0..100u64)
        .map(|i| timed(|| pair.sync_write(i * 7919 * BLOCK as u64 % SIZE, &block)).as_secs_f64())
        .collect();
    (streamed, median(&mut writes))
}

async fn connect(pair: &mut Pair, kind: Kind) {
    pair.cut().await;
    if kind == Kind::Plain {
        return pair.connect().await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (us, them) = (identity(0), identity(1));
    let open = move || async move {
        let io = TcpStream::connect(address).await?;
        io.set_nodelay(true)?;
        std::io::Result::Ok(io)
    };
    let links = match kind {
        Kind::Plain => unreachable!("it is connected"),
        Kind::TwoPaths => {
            let open = move |_| async move { Ok(Box::new(open().await?) as Box<dyn Stream>) };
            let dial = async {
                let bond = Bond::dial(&us, NodeId(1), BondConfig::default(), 2, open).await.expect("a bond");
                pair.volumes[0].attach(NodeId(1), bond).await.expect("a link")
            };
            let acceptor = Arc::new(Acceptor::new(&them, [NodeId(0)], 2, BondConfig::default()));
            let accept = async {
                let mut first = None;
                for _ in 0..2 {
                    let (io, _) = listener.accept().await.expect("a connection");
                    io.set_nodelay(true).expect("no delay");
                    first = acceptor.accept(io).await.expect("a path").or(first);
                }
                let mut bond = first.expect("a bond");
                let hello = Hello::read(&mut bond).await.expect("a hello");
                pair.volumes[1].accept(hello, bond).await.expect("a link")
            };
            tokio::join!(dial, accept)
        }
        #[cfg(feature = "secret")]
        Kind::Sealed => {
            let secret = posthaste_blockrepl::Secret::new(&[7; 32]).expect("a secret");
            let dial = async {
                let io = open().await.expect("a connection");
                let io = secret.dial(&us, NodeId(1), io).await.expect("the secret");
                pair.volumes[0].attach(NodeId(1), io).await.expect("a link")
            };
            let accept = async {
                let (io, _) = listener.accept().await.expect("a connection");
                io.set_nodelay(true).expect("no delay");
                let mut io = secret.accept(&them, io).await.expect("the secret");
                let hello = Hello::read(&mut io).await.expect("a hello");
                pair.volumes[1].accept(hello, io).await.expect("a link")
            };
            tokio::join!(dial, accept)
        }
    };
    pair.link = Some(links);
    pair.until(LinkStatus::Synced).await;
}
