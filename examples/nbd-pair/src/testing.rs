//! For tests: this machine's daemon, which leads, and the other machine's volume, with a cable between them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthaste_blockrepl::core::LinkStatus;
use posthaste_blockrepl::{Hello, Link, Volume};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::config::{Listen, Pair, fresh};
use crate::control::Command;
use crate::daemon::Daemon;

const WAIT: Duration = Duration::from_secs(20);

pub(crate) struct Two {
    pub(crate) dir: TempDir,
    pub(crate) daemon: Arc<Daemon>,
    other: Volume,
    links: Option<[Link; 2]>,
}

impl Two {
    /// Both in sync and connected. `body` is what `fence_peer` does, in the directory.
    pub(crate) async fn new(body: &str, edit: impl FnOnce(&mut Pair)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = fresh(8, ["192.0.2.1", "192.0.2.2"]).unwrap();
        let pair = |node: u64| {
            let mut pair = Pair::parse(&text, node).unwrap();
            pair.me.dir = dir.path().join(node.to_string());
            pair.me.nbd = vec![Listen::Unix(dir.path().join("nbd"))];
            pair.create().unwrap();
            pair
        };
        let (mut ours, theirs) = (pair(1), pair(2));
        let program = script(dir.path(), body).display().to_string();
        ours.handlers = toml::from_str(&format!("fence_peer = [{program:?}]")).unwrap();
        edit(&mut ours);
        let (daemon, _events) = Daemon::new(ours).unwrap();
        let new = Command::Promote { peer_is_down: false, accept_loss: false, new: true };
        daemon.command(new).await.unwrap();
        let mut two = Two { dir, daemon, other: theirs.open().unwrap(), links: None };
        two.connect().await;
        until("both are in sync", async || {
            two.daemon.look().await;
            two.waits_for_the_other().await
        })
        .await;
        two
    }

    pub(crate) async fn connect(&mut self) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let volume = self.daemon.volume();
        let accept = async { self.other.accept(Hello::read(&mut theirs).await?, theirs).await };
        let (near, far) = tokio::join!(volume.attach(self.daemon.pair.peer.id, ours), accept);
        self.links = Some([near.unwrap(), far.unwrap()]);
        until("it is connected", async || self.link() != LinkStatus::Down).await;
    }

    pub(crate) async fn cut(&mut self) {
        self.links.take().expect("they are connected").iter().for_each(Link::cut);
        until("it is away", async || self.link() == LinkStatus::Down).await;
    }

    fn link(&self) -> LinkStatus {
        let status = self.daemon.volume().status();
        self.daemon.peer(&status).map_or(LinkStatus::Down, |peer| peer.link)
    }

    /// Whether flushes here do, because it is in the set.
    pub(crate) async fn waits_for_the_other(&self) -> bool {
        let place = self.daemon.place.lock().await;
        place.leading.as_ref().is_some_and(|leading| leading.grant.in_sync == self.daemon.pair.both())
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.dir.path().join(file).exists()
    }

    /// Until the program has written the number of its child.
    pub(crate) async fn child(&self, file: &str) -> String {
        let read = || std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default();
        until("the program runs", async || read().ends_with('\n')).await;
        read().trim().to_owned()
    }
}

fn script(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("program");
    std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{body}\n", dir.display())).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// Until a process has ended, whether its parent has taken note of that or not.
pub(crate) async fn ended(process: &str) {
    until("the process ends", async || {
        let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(" Z ")
    })
    .await;
}

pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !done().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WAIT, wait).await.unwrap_or_else(|_| panic!("waited for it in vain: {what}"));
}
