//! Reaching another member.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{PeerNet, PeerStream, STRANGER, WELCOME, tune};
use crate::config::{Member, NodeId};
use crate::tls::{Alpn, presented};

/// A member could not be reached. Nothing was sent to it.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The configuration has no such member.
    #[error("{0} is no member of this cluster")]
    Unknown(NodeId),
    /// No connection: the host is down, the port is wrong, a firewall is between.
    #[error("cannot connect to {member} at {address}: {cause}")]
    Connect {
        /// The member's name.
        member: String,
        /// Where it should be.
        address: String,
        /// What the system says.
        cause: io::Error,
    },
    /// It did not answer in time.
    #[error("{member} at {address} did not answer within {} ms ({stage})", after.as_millis())]
    Timeout {
        /// The member's name.
        member: String,
        /// Where it should be.
        address: String,
        /// How long we waited.
        after: Duration,
        /// For what.
        stage: &'static str,
    },
    /// Whoever listens there is not of our cluster: its certificate is not of our CA.
    #[error("whoever listens at {address} is not {member} of this cluster: {cause}")]
    WrongCluster {
        /// The member's name.
        member: String,
        /// Where it should be.
        address: String,
        /// What is wrong with the certificate.
        cause: String,
    },
    /// Another member of our cluster listens there: the address is wrong in one of the files.
    #[error("the member at {address} is not {member}: its certificate names {presented}")]
    WrongMember {
        /// The member's name.
        member: String,
        /// Where it should be.
        address: String,
        /// The names in the certificate.
        presented: String,
    },
    /// It refused us: our certificate is not of its CA, or names no member that it knows.
    #[error("{member} at {address} refused us: {cause}")]
    Refused {
        /// The member's name.
        member: String,
        /// Where it should be.
        address: String,
        /// What it says.
        cause: String,
    },
    /// It does not speak this version of the protocol.
    #[error("{member} at {address} does not speak {protocol}")]
    NotSpoken {
        /// The member's name.
        member: String,
        /// Where it should be.
        address: String,
        /// The protocol.
        protocol: Alpn,
    },
    /// The handshake broke.
    #[error("the handshake with {member} at {address} broke: {cause}")]
    Broken {
        /// The member's name.
        member: String,
        /// Where it should be.
        address: String,
        /// What the system or TLS says.
        cause: io::Error,
    },
}

impl DialError {
    /// Whether trying again can only help after someone changed a file.
    pub fn is_misconfigured(&self) -> bool {
        matches!(
            self,
            Self::Unknown(_)
                | Self::WrongCluster { .. }
                | Self::WrongMember { .. }
                | Self::Refused { .. }
                | Self::NotSpoken { .. }
        )
    }
}

impl PeerNet {
    /// Connects to member `to` for one protocol; returns when both ends have verified each other.
    /// Cancel-safe: dropped, it leaves nothing behind.
    ///
    /// # Errors
    /// [`DialError`] says which end is at fault.
    pub async fn dial(&self, to: NodeId, protocol: Alpn) -> Result<PeerStream, DialError> {
        let member = self.inner.members.get(&to).ok_or(DialError::Unknown(to))?;
        let call = Call { member, protocol };
        let timing = self.inner.timing;
        let connect = timeout(timing.connect, TcpStream::connect(&member.address)).await;
        let tcp =
            connect.map_err(|_| call.late(timing.connect, "connecting"))?.map_err(|e| call.unconnected(e))?;
        tune(&tcp, timing.dead_after).map_err(|e| call.unconnected(e))?;
        let shaken = timeout(timing.handshake, self.handshake(tcp, &call)).await;
        shaken.map_err(|_| call.late(timing.handshake, "handshake"))?
    }

    async fn handshake(&self, tcp: TcpStream, call: &Call<'_>) -> Result<PeerStream, DialError> {
        let connector = TlsConnector::from(Arc::clone(&self.inner.clients[&call.protocol]));
        let name = self.inner.tls.name_of(call.member.id);
        let mut stream = connector.connect(name, tcp).await.map_err(|e| call.unshaken(e))?;
        match stream.read_u8().await {
            Ok(WELCOME) => Ok(stream.into()),
            Ok(STRANGER) => {
                Err(call
                    .refused("it knows no member of our name; its configuration differs from ours".into()))
            }
            Ok(other) => Err(call.refused(format!("it answered {other}, which this version does not know"))),
            Err(e) => Err(call.unshaken(e)),
        }
    }
}

/// Who is called, for the errors.
struct Call<'a> {
    member: &'a Member,
    protocol: Alpn,
}

impl Call<'_> {
    fn who(&self) -> (String, String) {
        (self.member.name.clone(), self.member.address.clone())
    }

    fn late(&self, after: Duration, stage: &'static str) -> DialError {
        let (member, address) = self.who();
        DialError::Timeout { member, address, after, stage }
    }

    fn unconnected(&self, cause: io::Error) -> DialError {
        let (member, address) = self.who();
        DialError::Connect { member, address, cause }
    }

    fn refused(&self, cause: String) -> DialError {
        let (member, address) = self.who();
        DialError::Refused { member, address, cause }
    }

    /// Who is at fault for a handshake that failed.
    fn unshaken(&self, error: io::Error) -> DialError {
        let (member, address) = self.who();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {
                let presented =
                    error.get_ref().and_then(|e| e.downcast_ref()).map(presented).unwrap_or_default();
                DialError::WrongMember { member, address, presented }
            }
            Some(rustls::Error::InvalidCertificate(cause)) => {
                DialError::WrongCluster { member, address, cause: format!("certificate: {cause}") }
            }
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                DialError::NotSpoken { member, address, protocol: self.protocol }
            }
            Some(rustls::Error::AlertReceived(alert)) => self.refused(format!("TLS alert {alert:?}")),
            _ => DialError::Broken { member, address, cause: error },
        }
    }
}
