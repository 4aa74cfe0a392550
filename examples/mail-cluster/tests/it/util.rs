//! Throw-away clusters on the loopback.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use posthaste_mail_cluster::Config;
use posthaste_mail_cluster::config::NodeId;
use posthaste_mail_cluster::init::{Layout, Plan, Planned, lay};
use posthaste_mail_cluster::peer::{Handlers, PeerNet};
use tokio::task::JoinHandle;

/// A port that is free just now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A plan with nodes a and b, a witness w, and an address for each node.
pub(crate) fn plan(dir: &Path) -> Plan {
    let mut plan = Plan::new(dir, "example.org");
    plan.nodes =
        vec![Planned::new("a", free_address().to_string()), Planned::new("b", free_address().to_string())];
    plan.witness = Some(Planned::new("w", free_address().to_string()));
    plan.addresses =
        vec![("127.0.0.2".parse().unwrap(), "a".into()), ("127.0.0.3".parse().unwrap(), "b".into())];
    plan.volume_size = 64 << 20;
    plan.data_dir = "data".into();
    plan
}

/// A laid out cluster; it goes with the directory.
pub(crate) struct Cluster {
    pub(crate) layout: Layout,
    _dir: tempfile::TempDir,
}

pub(crate) fn cluster() -> Cluster {
    let dir = tempfile::tempdir().unwrap();
    let layout = lay(&plan(&dir.path().join("cluster"))).unwrap();
    Cluster { layout, _dir: dir }
}

impl Cluster {
    pub(crate) fn config(&self, name: &str) -> Config {
        Config::load(&self.layout.member(name).unwrap().config).unwrap()
    }

    pub(crate) fn id(&self, name: &str) -> NodeId {
        self.layout.member(name).unwrap().id
    }

    pub(crate) fn net(&self, name: &str) -> PeerNet {
        PeerNet::new(&self.config(name)).unwrap()
    }

    /// Listens as `name` where its peers expect it, until the handle is aborted.
    pub(crate) async fn listen(&self, name: &str, handlers: Handlers) -> JoinHandle<()> {
        let config = self.config(name);
        let listener = self.net(name).listen(config.node.peer_listen).await.unwrap();
        tokio::spawn(async move { listener.serve(handlers).await.unwrap() })
    }
}
