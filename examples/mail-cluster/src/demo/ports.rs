//! Addresses and ports of a demo: on the loopback, chosen so that two demos at once do not meet.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use super::people::Ports;

/// Where the service ports begin: the well-known numbers and 2000, if they are free.
const FIRST_TRY: Ports = Ports { smtp: 2025, imap: 2143, imaps: 2993, pop3: 2110, pop3s: 2995 };

/// How many blocks of 127.0.0.0/8 are tried.
const TRIES: usize = 64;

/// One block of addresses, 127.x.y.0/24, that nobody else uses.
#[derive(Debug, Clone)]
pub struct Block {
    /// The two addresses that clients use.
    pub vips: [IpAddr; 2],
    /// Where node a, node b and the witness listen for each other.
    pub peers: [SocketAddr; 3],
    /// The services' ports, free on both addresses.
    pub ports: Ports,
}

/// The port that members use among themselves.
const PEER_PORT: u16 = 7420;

/// Finds a block: every address of it is bound once to see that it is free.
///
/// # Errors
/// No block is free; the last cause.
pub fn find_block() -> io::Result<Block> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        // 127.0.y is where everybody's own services are.
        let (x, y) = (rand::random_range(1..=254), rand::random_range(0..=254));
        match try_block(x, y) {
            Ok(block) => return Ok(block),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn try_block(x: u8, y: u8) -> io::Result<Block> {
    let address = |last| IpAddr::V4(Ipv4Addr::new(127, x, y, last));
    let vips = [address(1), address(2)];
    let peers = [11, 12, 13].map(|last| SocketAddr::new(address(last), PEER_PORT));
    for peer in peers {
        TcpListener::bind(peer)?;
    }
    for port in [FIRST_TRY.smtp, FIRST_TRY.imap, FIRST_TRY.imaps, FIRST_TRY.pop3, FIRST_TRY.pop3s] {
        for vip in vips {
            TcpListener::bind((vip, port))?;
        }
    }
    Ok(Block { vips, peers, ports: FIRST_TRY })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_free_and_a_used_one_is_refused() {
        let block = find_block().unwrap();
        let IpAddr::V4(vip) = block.vips[0] else { unreachable!("IPv4") };
        let _taken = TcpListener::bind((block.vips[1], block.ports.imap)).unwrap();
        let [_, x, y, _] = vip.octets();
        assert_eq!(try_block(x, y).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
