//! A cable between two sockets that can be pulled, silently or not.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    Whole,
    /// Nothing comes through, and nobody is told.
    Silent,
    /// Connections are reset.
    Cut,
}

/// Listens, and passes on what comes to another address.
pub struct Relay {
    pub address: SocketAddr,
    state: Arc<watch::Sender<Cable>>,
}

impl Relay {
    pub async fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(Cable::Whole));
        let cable = state.clone();
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(near, to, cable.subscribe()));
            }
        });
        Relay { address, state }
    }

    pub fn set(&self, cable: Cable) {
        self.state.send_replace(cable);
    }
}

async fn carry(near: TcpStream, to: SocketAddr, mut cable: watch::Receiver<Cable>) {
    if *cable.borrow() != Cable::Whole {
        return;
    }
    let Ok(far) = TcpStream::connect(to).await else { return };
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, back) = (copy(near_in, far_out, cable.clone()), copy(far_in, near_out, cable.clone()));
    let cut = cable.wait_for(|cable| *cable == Cable::Cut);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = cut => {}
    }
}

/// What comes while the cable is silent is gone, and so is what comes later.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cable: watch::Receiver<Cable>) {
    let (mut buf, mut lost) = (vec![0; 1 << 16], false);
    while let Ok(n @ 1..) = from.read(&mut buf).await {
        lost |= *cable.borrow() != Cable::Whole;
        if !lost && to.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
    if lost {
        std::future::pending::<()>().await;
    }
}
