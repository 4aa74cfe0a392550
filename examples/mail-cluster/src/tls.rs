//! The one rustls configuration of the cluster.
//!
//! Between members: TLS 1.3 with certificates of this cluster's CA on both ends; the certificate
//! says which member speaks, ALPN says which protocol. Towards mail clients: whatever certificate
//! the operator gives, TLS 1.2 or 1.3.

use std::fs;
use std::path::Path;
use std::sync::{Arc, RwLock};

use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::config::{ClusterId, Config, NodeId, TlsFiles};
use crate::error::Error;
use crate::pki::member_dns;

/// A protocol between members: what ALPN picks. The number after the slash is its version, so a
/// newer one is refused in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// Heartbeats and leases.
    Beat,
    /// The quorum's log.
    Raft,
    /// Replication of volumes.
    Repl,
    /// Mail operations, shipped.
    Mail,
}

impl Alpn {
    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::Beat, Self::Raft, Self::Repl, Self::Mail];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Beat => "posthaste-beat/1",
            Self::Raft => "posthaste-raft/1",
            Self::Repl => "posthaste-repl/1",
            Self::Mail => "posthaste-mail/1",
        }
    }

    /// The protocol of that name.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.name().as_bytes() == name)
    }
}

impl std::fmt::Display for Alpn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a member needs to speak to the others: its own certificate and the cluster's CA.
#[derive(Clone)]
pub struct PeerTls {
    cluster: ClusterId,
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

/// A member's certificate does not name a member that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its certificate names {presented}, which is no member of this cluster")]
pub struct Stranger {
    /// The names in the certificate.
    pub presented: String,
}

impl PeerTls {
    /// Reads the files that `config` names, and checks that the certificate is this member's.
    ///
    /// # Errors
    /// [`Error::BadFile`] names the file and what is wrong with it.
    pub fn load(config: &Config) -> Result<Self, Error> {
        let node = &config.node;
        let tls = Self {
            cluster: config.cluster.id,
            provider: provider(),
            roots: Arc::new(roots(&node.ca)?),
            chain: read_chain(&node.cert)?,
            key: Arc::new(read_key(&node.key)?),
        };
        tls.check_own(config)?;
        Ok(tls)
    }

    /// A wrong file would otherwise only show as a refusal at every peer.
    fn check_own(&self, config: &Config) -> Result<(), Error> {
        let node = &config.node;
        let wrong = |cause: String| Error::BadFile(format!("{}: {cause}", node.cert.display()));
        let expected = self.name_of(node.id);
        names_in(&self.chain, &expected).map_err(|presented| {
            wrong(format!(
                "is not the certificate of {:?} (id {}): it names {presented}",
                node.name, node.id.0
            ))
        })?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider));
        let verifier = verifier.build().map_err(|e| wrong(e.to_string()))?;
        let now = rustls_pki_types::UnixTime::now();
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            &*verifier,
            &self.chain[0],
            &self.chain[1..],
            &expected,
            &[],
            now,
        )
        .map_err(|e| wrong(format!("is not signed by {}: {e}", node.ca.display())))?;
        self.server(&Alpn::ALL).map_err(|e| Error::BadFile(format!("{}: {e}", node.key.display())))?;
        Ok(())
    }

    /// The name that member `id` must show.
    pub fn name_of(&self, id: NodeId) -> ServerName<'static> {
        ServerName::try_from(member_dns(self.cluster, id)).expect("digits and hex make a DNS name")
    }

    /// The accepting end, for those protocols.
    ///
    /// # Errors
    /// When certificate and key do not fit each other.
    pub fn server(&self, protocols: &[Alpn]) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider))
                .build()
                .map_err(|e| rustls::Error::General(e.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = protocols.iter().map(|alpn| alpn.name().into()).collect();
        // Members connect rarely and stay: no tickets, no second way to be authenticated.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The dialling end, for one protocol.
    ///
    /// # Errors
    /// When certificate and key do not fit each other.
    pub fn client(&self, protocol: Alpn) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![protocol.name().into()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Which of `members` the verified chain belongs to.
    ///
    /// # Errors
    /// [`Stranger`] when it names none of them.
    pub fn identify(
        &self,
        chain: &[CertificateDer<'_>],
        members: impl IntoIterator<Item = NodeId>,
    ) -> Result<NodeId, Stranger> {
        let mut presented = "nobody".to_owned();
        for id in members {
            match names_in(chain, &self.name_of(id)) {
                Ok(()) => return Ok(id),
                Err(names) => presented = names,
            }
        }
        Err(Stranger { presented })
    }
}

/// Whether the first certificate is for `expected`; the names it has otherwise.
fn names_in(chain: &[CertificateDer<'_>], expected: &ServerName<'_>) -> Result<(), String> {
    let first = chain.first().ok_or("nobody")?;
    let parsed = ParsedCertificate::try_from(first).map_err(|e| e.to_string())?;
    verify_server_name(&parsed, expected).map_err(|e| presented(&e))
}

/// The names that a certificate had instead of the expected one, for people.
pub(crate) fn presented(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            let plain =
                |name: &String| name.trim_start_matches("DnsName(").trim_matches(['"', '(', ')']).to_owned();
            presented.iter().map(plain).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// What mail clients see. The files can be replaced while it serves: [`ServiceTls::reload`].
#[derive(Debug, Clone)]
pub struct ServiceTls {
    files: TlsFiles,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current {
    key: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Poisoned only by a panic while assigning an Arc, which cannot be half done.
        Some(Arc::clone(&self.key.read().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }
}

impl ServiceTls {
    /// Reads the chain and the key.
    ///
    /// # Errors
    /// [`Error::BadFile`] names the file and what is wrong with it.
    pub fn load(files: &TlsFiles) -> Result<Self, Error> {
        let key = RwLock::new(Arc::new(certified(files)?));
        Ok(Self { files: files.clone(), current: Arc::new(Current { key }) })
    }

    /// Reads the files again, for new connections. On an error the old ones stay in use.
    ///
    /// # Errors
    /// As [`ServiceTls::load`].
    pub fn reload(&self) -> Result<(), Error> {
        let key = Arc::new(certified(&self.files)?);
        *self.current.key.write().unwrap_or_else(std::sync::PoisonError::into_inner) = key;
        Ok(())
    }

    /// The configuration of the services that use it.
    pub fn config(&self) -> Arc<ServerConfig> {
        let resolver = Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        Arc::new(config)
    }

    /// An acceptor with that configuration.
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.config().into()
    }
}

fn certified(files: &TlsFiles) -> Result<CertifiedKey, Error> {
    let (chain, key) = (read_chain(&files.cert)?, read_key(&files.key)?);
    CertifiedKey::from_der(chain, key, &provider())
        .map_err(|e| Error::BadFile(format!("{} and {}: {e}", files.cert.display(), files.key.display())))
}

/// The cryptography that everything here uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for cert in read_chain(path)? {
        store.add(cert).map_err(|e| Error::BadFile(format!("{}: {e}", path.display())))?;
    }
    Ok(store)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |cause: String| Error::BadFile(format!("{}: {cause}", path.display()));
    let text = fs::read(path).map_err(|e| bad(e.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|e| bad(format!("is no PEM certificate: {e}")))?;
    if chain.is_empty() { Err(bad("has no PEM certificate".into())) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bad = |cause: String| Error::BadFile(format!("{}: {cause}", path.display()));
    let text = fs::read(path).map_err(|e| bad(e.to_string()))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| bad(format!("is no PEM private key: {e}")))
}
