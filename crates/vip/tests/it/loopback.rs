//! Takeover on one host: the port is the ownership.

use std::net::IpAddr;
use std::time::Duration;

use posthaste_vip::{AddressDriver, Claim, ClaimError, Loopback};
use tokio::net::TcpStream;
use tokio::time::timeout;

const IP: &str = "127.0.0.77";

fn ip() -> IpAddr {
    IP.parse().unwrap()
}

/// Two ports that are free just now.
async fn free_ports() -> Vec<u16> {
    let claim = Loopback::new().claim(ip(), &[0, 0]).await.unwrap();
    claim.listeners().iter().map(|l| l.local_addr().unwrap().port()).collect()
}

async fn claim(ports: &[u16]) -> Claim {
    timeout(Duration::from_secs(10), Loopback::new().claim(ip(), ports)).await.expect("in time").unwrap()
}

#[tokio::test]
async fn a_second_claim_waits_until_the_first_is_released() {
    let ports = free_ports().await;
    let mut first = claim(&ports).await;
    let second = tokio::spawn({
        let ports = ports.clone();
        async move { claim(&ports).await }
    });
    // A connection of a client that stays open must not hold up the new owner.
    let served = first.take_listener(ports[0]).unwrap().into_tokio().unwrap();
    let client = TcpStream::connect((ip(), ports[0])).await.unwrap();
    let (server, _) = served.accept().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!second.is_finished(), "two owners");
    drop(served);
    Loopback::new().release(first).await.unwrap();
    let second = second.await.unwrap();
    assert_eq!(second.listeners().len(), 2);
    TcpStream::connect((ip(), ports[0])).await.expect("the new owner listens");
    drop((client, server));
}

#[tokio::test]
async fn a_waiting_claim_holds_nothing() {
    let ports = free_ports().await;
    let (low, high) = (ports[0].min(ports[1]), ports[0].max(ports[1]));
    let blocker = claim(&[high]).await;
    let waiting = tokio::spawn(async move { claim(&[low, high]).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    claim(&[low]).await;
    drop(blocker);
}

#[tokio::test]
async fn dropping_a_claim_releases_it() {
    let ports = free_ports().await;
    drop(claim(&ports).await);
    claim(&ports).await;
}

#[tokio::test]
async fn an_address_that_is_not_here_is_an_error_and_not_a_wait() {
    let elsewhere = "192.0.2.1".parse().unwrap();
    let error =
        timeout(Duration::from_secs(10), Loopback::new().claim(elsewhere, &[0])).await.expect("no wait");
    assert!(matches!(error.unwrap_err(), ClaimError::Listen { address, .. } if address.ip() == elsewhere));
}
