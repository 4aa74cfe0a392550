//! Python's smtplib and poplib against the services on loopback, over real Maildirs.

use std::process::Command;
use std::sync::Arc;

use posthaste_maildir::{LocalConfig, LocalFs};
use tokio::net::TcpListener;

use crate::local::{LocalStore, LocalStoreConfig};
use crate::server::{Service, serve};
use crate::testing::World;

/// Whether Python is there; where all tests are demanded, its absence is a failure.
pub(crate) fn python_is_missing() -> bool {
    let missing =
        !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    let required = std::env::var("POSTHASTE_REQUIRE").is_ok_and(|which| which == "all");
    assert!(!(missing && required), "python3 is not installed, and POSTHASTE_REQUIRE=all");
    missing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_smtplib_and_poplib_deliver_and_read_back_the_same_octets() {
    if python_is_missing() {
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("mail")).unwrap();
    let maildirs = LocalFs::open(dir.path().join("mail"), LocalConfig::default()).unwrap();
    let mut world = World::new().with_tls();
    let certificate = dir.path().join("certificate.der");
    std::fs::write(&certificate, world.root.as_ref().expect("there is TLS")).unwrap();
    world.context.store = Arc::new(LocalStore::new(maildirs, LocalStoreConfig::default()));
    let mut ports = Vec::new();
    let mut services = Vec::new();
    for service in [Service::Smtp, Service::Lmtp, Service::Submission, Service::Pop3] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        ports.push(listener.local_addr().unwrap().port().to_string());
        services.push(tokio::spawn(serve(listener, service, false, world.context.clone())));
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/smtp_pop3.py");
    let run =
        move || Command::new("python3").arg(script).arg(&certificate).arg("127.0.0.1").args(ports).output();
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.trim(), "same");
    world.shutdown.send(true).unwrap();
    for service in services {
        service.await.unwrap();
    }
}
