//! Listening on all ports of an address, or on none.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Instant, sleep};

use crate::driver::{ClaimError, Listener};

/// How often a port in use is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// How often the log says that we still wait.
const COMPLAIN: Duration = Duration::from_secs(5);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on all of `ports`; waits while one of them is in use, for ever or for `patience`.
pub(crate) async fn listen_on_all(
    ip: IpAddr,
    ports: &[u16],
    patience: Option<Duration>,
) -> Result<Vec<Listener>, ClaimError> {
    // In one order everywhere: of two claimants, the one that gets the first port gets all.
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    let began = Instant::now();
    let mut complain_at = began + COMPLAIN;
    loop {
        let (address, cause) = match try_all(ip, &ports) {
            Ok(listeners) => return Ok(listeners),
            Err(failed) => failed,
        };
        if cause.kind() != io::ErrorKind::AddrInUse {
            return Err(ClaimError::Listen { address, cause });
        }
        let now = Instant::now();
        if patience.is_some_and(|patience| now >= began + patience) {
            return Err(ClaimError::PortInUse { address });
        }
        if now >= complain_at {
            tracing::warn!(%address, waited = ?now - began, "still in use by another process; trying on");
            complain_at = now + COMPLAIN;
        }
        sleep(RETRY).await;
    }
}

/// All or none: what was bound is closed again when one fails.
fn try_all(ip: IpAddr, ports: &[u16]) -> Result<Vec<Listener>, (SocketAddr, io::Error)> {
    let one = |port: &u16| {
        let address = SocketAddr::new(ip, *port);
        listen(address).map(|socket| Listener::new(*port, socket)).map_err(|e| (address, e))
    };
    ports.iter().map(one).collect()
}

/// With `SO_REUSEADDR`, so that connections of the former owner that still close do not block it;
/// never with `SO_REUSEPORT`, which would let two owners listen at once.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
