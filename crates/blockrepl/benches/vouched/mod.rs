//! What a second writer's read of its own copy costs: it is shown only when the leader has said that writes still wait for
//! that copy. Beside the least that this can cost: a small message to a neighbour on the loopback and his answer, then a read
//! of the same bytes of the same file; each in turn.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use posthaste_blockrepl::{BlockDevice, DATA_HEADER_LEN, Grant, Member, NodeId};

use crate::{BLOCK, PIECE, Pair, figure, identity, median, place, timed};

/// About as long as a question to the leader with its frame, and as its answer.
const MESSAGE: usize = 40;

pub(crate) fn vouched(runtime: &tokio::runtime::Runtime, pair: &Pair, dir: &Path, rounds: u64) {
    let second = runtime.block_on(join(pair));
    let mut bare = Bare {
        file: File::open(dir.join("1.data")).expect("its file"),
        echo: crate::echo::<MESSAGE, MESSAGE>(),
    };
    let small = compared(&*second, &mut bare, BLOCK, rounds);
    figure("vouched-read-latency", small.ratio, "x", "<=", 3.0);
    println!("vouched read of 4 KiB: ours {:?}, a round trip and a raw read {:?}", small.ours, small.bare);
    let long = compared(&*second, &mut bare, PIECE, rounds.div_ceil(4));
    println!(
        "vouched read of 1 MiB: ours {:?}, a round trip and a raw read {:?}: {:.2} x",
        long.ours, long.bare, long.ratio
    );
    drop(second);
    pair.volumes[0].set_grant(grant(3)).expect("a grant without it");
}

fn grant(generation: u64) -> Grant {
    let in_sync = [0, 1].map(|n| Member { node: NodeId(n), device: identity(n as u8).device }).into();
    Grant::new(1, NodeId(0), in_sync, generation)
}

/// The follower's handle, once it reads its own copy.
async fn join(pair: &Pair) -> Arc<dyn BlockDevice> {
    pair.volumes[0].set_grant(grant(2).with_writers([NodeId(1)])).expect("a grant for both");
    let second = pair.volumes[1].join(1).await.expect("a second writer");
    while !pair.volumes[1].status().session.is_some_and(|s| s.reads_here) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    second
}

/// Medians.
struct Compared {
    ratio: f64,
    ours: Duration,
    bare: Duration,
}

fn compared(second: &dyn BlockDevice, bare: &mut Bare, len: usize, rounds: u64) -> Compared {
    let mut buf = vec![0; len];
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..rounds {
        let at = place(i);
        let a = timed(|| second.read_at(at, &mut buf).expect("a read"));
        let b = timed(|| bare.read(at, &mut buf));
        ratios.push(a.as_secs_f64() / b.as_secs_f64());
        ours.push(a);
        theirs.push(b);
    }
    Compared { ratio: median(&mut ratios), ours: median(&mut ours), bare: median(&mut theirs) }
}

struct Bare {
    /// The follower's.
    file: File,
    echo: TcpStream,
}

impl Bare {
    fn read(&mut self, at: u64, buf: &mut [u8]) {
        let mut message = [7; MESSAGE];
        self.echo.write_all(&message).expect("a question");
        self.echo.read_exact(&mut message).expect("an answer");
        self.file.read_exact_at(buf, DATA_HEADER_LEN + at).expect("a read");
    }
}
