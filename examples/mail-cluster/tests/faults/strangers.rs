//! Whoever is not of the cluster: refused in both directions, logged, without effect.

use std::fs;
use std::path::Path;

use posthaste_mail_cluster::Config;
use posthaste_mail_cluster::demo::cluster::{A, B, WITNESS};
use posthaste_mail_cluster::demo::operator::Goal;
use posthaste_mail_cluster::demo::place::Place;
use posthaste_mail_cluster::pki::Authority;
use posthaste_mail_cluster::status::StatusReport;

use crate::house::{House, ON_FIRST, ON_SECOND, block_on, place, read_log, run_member, until};

/// A second place with the same addresses.
fn same(place: &Place) -> Place {
    Place { vips: place.vips, peers: place.peers, ports: place.ports, patience: place.patience, net: None }
}

/// A volume: its name, leader, epoch, in-sync set.
type Led = (String, Option<String>, u64, Vec<String>);

/// What must not change: epochs, leaders, members.
async fn state(house: &House) -> (u64, Vec<Led>) {
    let report: StatusReport = house.cluster.status(A).await.expect("node a answers");
    let volume = |v: posthaste_mail_cluster::status::VolumeStatus| (v.name, v.leader, v.epoch, v.in_sync);
    (report.membership_epoch, report.volumes.into_iter().map(volume).collect())
}

/// What a node logs that calls the stranger.
const CALLS: [&str; 2] = ["cannot reach a member", "is not w of this cluster: certificate"];

/// Starts a stranger where the witness was. The nodes refuse to be called by it and to take it for the
/// witness, log both, and go on as if there were nobody.
async fn stranger_in_place_of_the_witness(house: &mut House, name: &str, config: &Path) {
    house.kill(WITNESS);
    let log = house.cluster.directory().join("stranger.log");
    let stranger = run_member("witness", config, &log);
    let seen = [house.log(A).len(), house.log(B).len()];
    // It asks one member after the other, and gets no further than node a.
    for (node, line) in [(A, ["refused a member's connection", "from=127."]), (A, CALLS), (B, CALLS)] {
        until(&format!("node {node} to log {line:?}"), async || {
            let text = house.log(node)[seen[node]..].to_owned();
            text.lines().any(|logged| line.iter().all(|part| logged.contains(part)))
        })
        .await;
    }
    let before = state(house).await;
    house.deliver(A, &format!("beside-{name}-1"), ON_SECOND).await;
    house.deliver(B, &format!("beside-{name}-2"), ON_FIRST).await;
    assert_eq!(state(house).await, before, "a stranger had an effect");
    until("the witness to be missed", async || {
        let report = house.cluster.status(A).await.expect("node a answers");
        report.members.iter().any(|m| m.name == "w" && m.heard == Some(false))
    })
    .await;
    assert!(read_log(&log).contains("started"), "{}", read_log(&log));
    drop(stranger);
    fs::remove_file(log).expect("its log");
    house.run(WITNESS);
    until("the witness to be heard again", async || {
        let report = house.cluster.status(A).await.expect("node a answers");
        report.members.iter().all(|m| m.heard != Some(false))
    })
    .await;
}

#[test]
fn a_member_of_another_cluster_or_with_a_wrong_certificate_is_refused_and_logged() {
    block_on(async {
        let place = place();
        let theirs = House::lay_at(same(&place), 32);
        let mut house = House::lay_at(place, 32);
        house.begin().await;

        let config = theirs.config(WITNESS).to_owned();
        stranger_in_place_of_the_witness(&mut house, "foreign", &config).await;

        let config = forged(&house);
        stranger_in_place_of_the_witness(&mut house, "forged", &config).await;

        house.wait(Goal::AtHome).await;
        house.audit().await;
    });
}

/// A witness of the right name, that knows the cluster's id and trusts its CA, with a certificate that
/// somebody else's CA signed. Returns its configuration.
fn forged(house: &House) -> std::path::PathBuf {
    let config = Config::load(house.config(WITNESS)).expect("right");
    let authority = Authority::new(config.cluster.id).expect("a CA");
    let issued = authority.issue_member(config.node.id, "w").expect("a certificate");
    let dir = house.cluster.directory().join("forged");
    fs::create_dir(&dir).expect("a directory");
    fs::copy(house.config(WITNESS), dir.join("posthaste.toml")).expect("a configuration");
    let both = fs::read_to_string(&config.node.ca).expect("the CA") + &authority.cert_pem();
    fs::write(dir.join("ca.crt"), both).expect("written");
    fs::write(dir.join("node.crt"), issued.cert_pem).expect("written");
    fs::write(dir.join("node.key"), issued.key_pem).expect("written");
    dir.join("posthaste.toml")
}
