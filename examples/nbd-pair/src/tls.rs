//! The TLS of the NBD export.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Files in PEM, at the same places on both machines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    cert: PathBuf,
    key: PathBuf,
    /// Clients must show a certificate of this authority.
    client_ca: PathBuf,
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|e| format!("{}: {e}", path.display()))
}

/// What turns a client's stream into a TLS stream.
pub(crate) fn acceptor(files: &Files) -> Result<TlsAcceptor, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.client_ca)? {
        roots.add(certificate).map_err(|e| format!("{}: {e}", files.client_ca.display()))?;
    }
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(|e| e.to_string())?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|e| format!("{}: {e}", files.key.display()))?;
    let config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&files.cert)?, key)
        .map_err(|e| format!("{}: {e}", files.cert.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
