//! An address is taken by binding it.

use std::net::IpAddr;

use async_trait::async_trait;

use crate::bind::listen_on_all;
use crate::driver::{AddressDriver, Claim, ClaimError, ReleaseError};

/// For addresses that every process of one host can bind, such as `127.0.0.2`: the bound port is the
/// ownership. A process that dies gives it back at once, a stopped one keeps it; nothing is announced.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loopback(());

impl Loopback {
    /// The driver.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl AddressDriver for Loopback {
    /// Waits for as long as another process has one of the ports.
    async fn claim(&self, ip: IpAddr, ports: &[u16]) -> Result<Claim, ClaimError> {
        Ok(Claim::new(ip, listen_on_all(ip, ports, None).await?, None))
    }

    async fn release(&self, claim: Claim) -> Result<(), ReleaseError> {
        drop(claim);
        Ok(())
    }

    async fn release_all(&self, _ips: &[IpAddr]) -> Result<(), ReleaseError> {
        Ok(())
    }
}
