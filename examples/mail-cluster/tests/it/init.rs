//! What `init` writes is what `Config` reads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use posthaste_mail_cluster::config::{Driver, Role};
use posthaste_mail_cluster::error::Exit;
use posthaste_mail_cluster::init::lay;
use posthaste_mail_cluster::tls::{PeerTls, ServiceTls, provider};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::util::{cluster, plan};

#[test]
fn what_init_writes_loads_and_says_what_was_planned() {
    let cluster = cluster();
    let a = cluster.config("a");
    assert_eq!((a.node.name.as_str(), a.node.id.0, a.node.role), ("a", 1, Role::Node));
    assert_eq!(a.node.data_dir, cluster.layout.dir.join("a/data"));
    assert_eq!(a.cluster.id, cluster.layout.cluster);
    assert_eq!(a.cluster.domains, ["example.org"]);
    assert_eq!(a.volumes.len(), 2);
    assert_eq!((a.volumes[1].home.0, a.volumes[1].size), (2, 64 << 20));
    assert!(a.volumes.iter().all(|v| v.replicas.len() == 2));
    assert_eq!(a.addresses[1].home.0, 2);
    assert_eq!((a.driver, a.services.imaps, a.services.lmtp), (Driver::Loopback, Some(993), None));
    let w = cluster.config("w");
    assert_eq!((w.node.role, w.node.id.0, w.members.len()), (Role::Witness, 3, 3));
    for member in ["a", "b", "w"] {
        PeerTls::load(&cluster.config(member)).unwrap();
    }
    ServiceTls::load(a.services.tls.as_ref().unwrap()).unwrap();
}

#[test]
fn keys_are_for_their_owner_only() {
    let cluster = cluster();
    for key in ["ca/ca.key", "a/node.key", "a/service.key", "w/node.key"] {
        let mode = fs::metadata(cluster.layout.dir.join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    assert!(!cluster.layout.dir.join("w/service.key").exists(), "the witness serves nobody");
}

#[test]
fn init_overwrites_nothing() {
    let cluster = cluster();
    let before = fs::read(cluster.layout.dir.join("a/node.key")).unwrap();
    let error = lay(&plan(&cluster.layout.dir)).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert_eq!(fs::read(cluster.layout.dir.join("a/node.key")).unwrap(), before);
}

#[test]
fn a_plan_that_makes_a_wrong_configuration_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan(&dir.path().join("new"));
    plan.addresses[0].1 = "c".into();
    let error = lay(&plan).unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    assert!(error.to_string().contains("\"c\" is no member"), "{error}");
    assert!(!plan.dir.exists());
}

#[test]
fn a_member_that_got_anothers_certificate_does_not_start() {
    let cluster = cluster();
    for file in ["node.crt", "node.key"] {
        fs::copy(cluster.layout.dir.join("b").join(file), cluster.layout.dir.join("a").join(file)).unwrap();
    }
    let error = PeerTls::load(&cluster.config("a")).err().unwrap();
    assert_eq!(error.exit(), Exit::Config);
    let text = error.to_string();
    assert!(
        text.contains("a/node.crt")
            && text.contains("is not the certificate of \"a\"")
            && text.contains("node-2."),
        "{text}"
    );
}

#[test]
fn a_certificate_of_another_ca_or_without_its_key_is_found_at_start() {
    let (ours, theirs) = (cluster(), cluster());
    fs::copy(theirs.layout.dir.join("a/ca.crt"), ours.layout.dir.join("a/ca.crt")).unwrap();
    let text = PeerTls::load(&ours.config("a")).err().unwrap().to_string();
    assert!(text.contains("is not signed by"), "{text}");
    fs::copy(ours.layout.dir.join("ca/ca.key"), ours.layout.dir.join("b/node.key")).unwrap();
    let text = PeerTls::load(&ours.config("b")).err().unwrap().to_string();
    assert!(text.contains("b/node.key"), "{text}");
}

/// Shakes hands as a mail client that has the cluster's CA, and calls the server `name`.
async fn client_shakes_hands(tls: &ServiceTls, ca: &Path, name: &str) -> Result<Vec<u8>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let acceptor = tls.acceptor();
    let server = tokio::spawn(async move { acceptor.accept(theirs).await.map(drop) });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, ours).await;
    let _ = server.await;
    let stream = connected.map_err(|e| e.to_string())?;
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

#[tokio::test]
async fn mail_clients_with_the_ca_trust_the_host_name_and_every_address() {
    let cluster = cluster();
    let tls = ServiceTls::load(cluster.config("b").services.tls.as_ref().unwrap()).unwrap();
    for name in ["mail.example.org", "127.0.0.2", "127.0.0.3"] {
        client_shakes_hands(&tls, &cluster.layout.ca, name).await.unwrap();
    }
    let error = client_shakes_hands(&tls, &cluster.layout.ca, "127.0.0.4").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn a_new_service_certificate_is_taken_while_running_and_a_bad_one_is_not() {
    let (ours, other) = (cluster(), cluster());
    let files = ours.config("a").services.tls.unwrap();
    let tls = ServiceTls::load(&files).unwrap();
    let first = client_shakes_hands(&tls, &ours.layout.ca, "127.0.0.2").await.unwrap();
    let theirs = other.config("a").services.tls.unwrap();
    fs::copy(&theirs.cert, &files.cert).unwrap();
    let error = tls.reload().unwrap_err();
    assert_eq!(error.exit(), Exit::Config, "its key is missing");
    assert_eq!(
        client_shakes_hands(&tls, &ours.layout.ca, "127.0.0.2").await.unwrap(),
        first,
        "the old one stays"
    );
    fs::copy(&theirs.key, &files.key).unwrap();
    tls.reload().unwrap();
    let second = client_shakes_hands(&tls, &other.layout.ca, "127.0.0.2").await.unwrap();
    assert_ne!(first, second);
}
