//! The TLS of the NBD export and of the link between the two machines.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Files in PEM, at the same places on both machines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    cert: PathBuf,
    key: PathBuf,
    /// Clients must show a certificate of this authority.
    client_ca: PathBuf,
}

/// Likewise, for the link.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkFiles {
    cert: PathBuf,
    key: PathBuf,
    /// Both machines must show a certificate of this authority, each for its own replication addresses.
    ca: PathBuf,
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|e| format!("{}: {e}", path.display()))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(Arc::new(roots))
}

fn server_config(cert: &Path, key_file: &Path, ca: &Path) -> Result<Arc<ServerConfig>, String> {
    let clients = WebPkiClientVerifier::builder(roots(ca)?).build().map_err(|e| e.to_string())?;
    let config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(cert)?, key(key_file)?)
        .map_err(|e| format!("{}: {e}", cert.display()))?;
    Ok(Arc::new(config))
}

/// What turns an NBD client's stream into a TLS stream.
pub(crate) fn acceptor(files: &Files) -> Result<TlsAcceptor, String> {
    server_config(&files.cert, &files.key, &files.client_ca).map(TlsAcceptor::from)
}

/// Both ends of the link: each side shows a certificate, and each checks the other's.
#[derive(Clone)]
pub(crate) struct LinkTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    /// What the other machine's certificate must be for: its address on each path.
    peers: Vec<ServerName<'static>>,
}

impl LinkTls {
    pub(crate) fn load(files: &LinkFiles, peers: Vec<IpAddr>) -> Result<Self, String> {
        let servers = WebPkiServerVerifier::builder(roots(&files.ca)?).build().map_err(|e| e.to_string())?;
        let dialling = ClientConfig::builder()
            .with_webpki_verifier(servers)
            .with_client_auth_cert(certificates(&files.cert)?, key(&files.key)?)
            .map_err(|e| format!("{}: {e}", files.cert.display()))?;
        let accepting = server_config(&files.cert, &files.key, &files.ca)?;
        Ok(LinkTls {
            acceptor: TlsAcceptor::from(accepting),
            connector: TlsConnector::from(Arc::new(dialling)),
            peers: peers.into_iter().map(|ip| ServerName::IpAddress(ip.into())).collect(),
        })
    }

    pub(crate) async fn connect(
        &self,
        rank: usize,
        io: TcpStream,
    ) -> Result<client::TlsStream<TcpStream>, String> {
        self.connector.connect(self.peers[rank].clone(), io).await.map_err(|e| e.to_string())
    }

    pub(crate) async fn accept(&self, io: TcpStream) -> Result<server::TlsStream<TcpStream>, String> {
        let io = self.acceptor.accept(io).await.map_err(|e| e.to_string())?;
        let shown = io.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or("it showed no certificate")?;
        let wrong = |e| format!("its certificate is not the other machine's: {e}");
        let shown = ParsedCertificate::try_from(shown).map_err(wrong)?;
        let mut tried = self.peers.iter().map(|peer| verify_server_name(&shown, peer));
        match tried.next() {
            Some(Err(e)) if !tried.any(|verified| verified.is_ok()) => Err(wrong(e)),
            _ => Ok(io),
        }
    }
}
